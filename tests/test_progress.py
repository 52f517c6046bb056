"""What the user reads while a run goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmark.formatting import about, duration, prefixed
from trainmark.measure.session import Measured
from trainmark.progress import WITHIN, cell_line, opening, summary
from trainmark.store.cell import Cell
from trainmark.store.record import FAILED, Record
from trainmark.workloads.terminal_line import NAME_WIDTH, header

TRAIN = Record(
    Cell.of("train", model="cnn"),
    "ok",
    metrics={
        "step_seconds": 0.00123,
        "step_seconds_low": 0.00122,
        "step_seconds_high": 0.00126,
        "samples_per_second": 52_000.0,
        "compile_seconds": None,
    },
    rounds=(0.00123,) * 6,
)
ACCURACY = Record(
    Cell.of("accuracy", loader="dataloader"),
    "ok",
    metrics={
        "accuracy": 0.9512,
        "accuracy_lowest": 0.949,
        "accuracy_highest": 0.953,
        "training_seconds": 12.3,
    },
    rounds=(12.0, 12.3, 13.0),
)


def line(record: Record, done: int = 1, total: int = 1, seconds_left: float = 0.0, **of_measured: Any) -> str:
    return cell_line(Measured(record, **of_measured), done, total, seconds_left)


def with_metrics(record: Record, **metrics: float | None) -> Record:
    return replace(record, metrics={**record.metrics, **metrics})


# Numbers for people


def told(run: Any) -> list[str]:
    return summary(run, "pytest bench --resume", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.4, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (12, "12 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_a_time_that_nobody_needs_exactly_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.234, "1.23 s"),
        (12.34, "12.3 s"),
        (0.001234, "1.23 ms"),
        (0.0001234, "123 µs"),
        (0.000012, "12.0 µs"),
        (5e-9, "5.00 ns"),
        (1.0, "1.00 s"),
        (0.9996, "1.00 s"),
        (0.00099951, "1.00 ms"),
        (1234.0, "1,230 s"),
    ],
)
def test_a_short_time_has_three_digits_and_its_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (25_800, "25.8 k"),
        (1_234_567, "1.23 M"),
        (2.5e9, "2.50 G"),
        (999, "999"),
        (1000, "1.00 k"),
        (12.345, "12.3"),
        (0.5, "0.500"),
        (999.7, "1.00 k"),
        (999_700, "1.00 M"),
    ],
)
def test_a_number_of_things_has_three_digits_and_its_factor(number: float, text: str) -> None:
    assert prefixed(number) == text


@pytest.mark.parametrize("number", [10.0**power * part for power in range(-8, 3) for part in (1, 2.345, 9.994, 9.996)])
def test_times_and_counts_have_one_width(number: float) -> None:
    times = {"step_seconds": number, "step_seconds_low": 0.99 * number, "step_seconds_high": 1.024 * number}
    shown = line(with_metrics(TRAIN, **times, samples_per_second=number * 1e6))
    assert [shown.index(sign) for sign in ("±", "/s")] == [line(TRAIN).index(sign) for sign in ("±", "/s")]
    assert "e" not in duration(number) + prefixed(number * 1e6)


# A finished cell


def test_a_cell_that_takes_steps_shows_its_time_its_spread_and_its_throughput() -> None:
    assert line(TRAIN) == f"{'train cnn 64 cpu fp32':{NAME_WIDTH}} 1.23 ms ± 2.4%  52.0 k/s  [1/1]"


def test_the_spread_is_the_wider_half_of_the_interval() -> None:
    assert "± 10.0%" in line(with_metrics(TRAIN, step_seconds=0.01, step_seconds_low=0.009, step_seconds_high=0.0105))


def test_without_an_interval_there_is_no_spread() -> None:
    shown = line(with_metrics(TRAIN, step_seconds_low=None, step_seconds_high=None))
    assert "±" not in shown
    assert len(shown) == len(line(TRAIN))


def test_a_compiled_cell_shows_how_long_it_compiled() -> None:
    assert line(with_metrics(TRAIN, compile_seconds=31.2)).endswith("  compiled in 31 s  [1/1]")
    assert "compiled" not in line(TRAIN)


@pytest.mark.parametrize("workload", ["train", "inference", "input"])
def test_every_workload_that_takes_steps_has_a_line(workload: str) -> None:
    shown = line(replace(TRAIN, cell=Cell.of(workload)))
    assert shown.startswith(Cell.of(workload).label)
    assert "1.23 ms" in shown


def test_an_accuracy_shows_its_mean_its_spread_and_its_time() -> None:
    assert "95.12%  (94.90% to 95.30%, 3 seeds)  [" in line(ACCURACY)
    assert line(ACCURACY).index("12 s") + 4 == line(TRAIN).index("1.23 ms") + 7  # both end where the header's time does


def test_an_accuracy_of_one_seed_has_no_spread() -> None:
    assert "95.12%  (1 seed)  [" in line(replace(ACCURACY, rounds=(12.3,)))


@pytest.mark.parametrize("status", [*FAILED, "skipped"])
@pytest.mark.parametrize("workload", ["train", "input", "accuracy"])
def test_a_cell_without_a_result_shows_why(status: str, workload: str) -> None:
    record = Record(Cell.of(workload), status, "no such luck", metrics={"cell_seconds": 1.0})
    assert f"{status}: no such luck  [1/1]" in line(record)


def test_flags_stand_behind_the_numbers() -> None:
    assert "52.0 k/s  ! disturbed  ! unsteady  [" in line(replace(TRAIN, flags=("disturbed", "unsteady")))


def test_a_cell_from_the_journal_says_so() -> None:
    assert "(from the journal)" in line(TRAIN, recovered=True)
    assert "journal" not in line(TRAIN)


def test_the_time_left_is_told_until_the_last_cell() -> None:
    assert line(TRAIN, 3, 10, 185).endswith("  [3/10, about 3 min 05 s left]")
    assert line(TRAIN, 10, 10, 185).endswith("  [10/10]")


def test_numbers_stand_under_each_other() -> None:
    labels = [TRAIN, replace(TRAIN, cell=Cell.of("inference", model="mlp-residual", batch_size=256))]
    assert len({line(record).index("1.23 ms") for record in labels}) == 1


# The run


def session(**parts: Any) -> Any:
    facts = {"cpu": "Fast 9000", "gpus": [], "torch": "2.15.0"}
    return SimpleNamespace(
        **{
            "machine": SimpleNamespace(environment=facts),
            "invocation": SimpleNamespace(settings=SimpleNamespace(threads=3)),
            "records": {},
            "facts": SimpleNamespace(planned=()),
            "stored": None,
            "complete": True,
            "left_in_journal": False,
        }
        | parts
    )


def records(*found: Record) -> dict[str, Record]:
    return {record.key: record for record in found}


def test_the_opening_says_what_is_measured_where_and_how_long_it_takes() -> None:
    assert opening(session(), 41, 170) == "41 cells on Fast 9000, 3 threads; torch 2.15.0: about 2 min 50 s"


def test_the_opening_names_every_gpu_and_counts_one_thread_as_one() -> None:
    run = session(invocation=SimpleNamespace(settings=SimpleNamespace(threads=1)))
    run.machine.environment["gpus"] = [{"name": "H200"}, {"name": "L4"}]
    assert "on Fast 9000, 1 thread, H200, L4; torch" in opening(run, 2, 1)


def test_the_summary_counts_how_cells_ended() -> None:
    skipped, slow = Record(Cell.of("input"), "skipped", "no"), Record(Cell.of("inference"), "timeout", "no")
    assert told(session(records=records(TRAIN, ACCURACY, skipped, slow))) == ["2 ok, 1 skipped, 1 timeout", WITHIN]


def test_the_summary_tells_each_flag_once() -> None:
    flagged = [replace(TRAIN, flags=("unsteady", "disturbed")), replace(ACCURACY, flags=("disturbed",))]
    lines = told(session(records=records(*flagged, Record(Cell.of("input"), "ok"))))
    assert lines[1].startswith("2 flagged (disturbed, unsteady): ")


def test_the_summary_does_not_doubt_times_for_want_of_a_formula() -> None:
    flagged = [replace(TRAIN, flags=("flops-partial",)), replace(ACCURACY, flags=("unsteady",))]
    lines = told(session(records=records(*flagged)))
    assert lines[1].startswith("1 flagged (unsteady): the page says")
    assert lines[2].startswith("1 flagged (flops-partial): their FLOPs lack a formula")


def test_a_finished_cell_says_what_an_instrument_did_not_give() -> None:
    record = replace(TRAIN, flags=("flops-partial",), reason="there is no formula for mine::product")
    assert line(record).split("/s")[1].startswith("  ! flops-partial  (there is no formula for mine::product)")


def test_the_summary_of_a_stored_run_says_where_it_is_and_how_to_read_it() -> None:
    lines = told(session(records=records(TRAIN), stored=Path("results/0001.json")))
    assert lines == ["1 ok", WITHIN, "records: results/0001.json", "report:  trainmark html"]


def test_the_summary_of_an_incomplete_run_says_how_to_finish_it() -> None:
    facts = SimpleNamespace(planned=(TRAIN.key, ACCURACY.key, "input"))
    run = session(records=records(TRAIN), facts=facts, complete=False, left_in_journal=True)
    assert told(run)[-1] == "2 cells are missing; measure them with: pytest bench --resume"


def test_the_summary_of_a_run_that_was_not_saved_says_how_to_save_it() -> None:
    lines = told(session(records=records(TRAIN), left_in_journal=True))
    assert lines[-1] == "not saved; save the records with: pytest bench --resume --benchmark-autosave"


def test_the_summary_of_a_run_without_a_journal_promises_nothing() -> None:
    assert told(session(records=records(TRAIN), complete=False)) == ["1 ok", WITHIN]


def test_an_interval_is_said_to_be_within_its_process_where_one_was_told() -> None:
    assert WITHIN not in told(session(records=records(ACCURACY)))
    assert "±" in line(TRAIN) and "within its process" in WITHIN


def test_a_cell_that_was_measured_again_says_so() -> None:
    assert "(measured again)" in line(TRAIN, again=True)
    assert "again" not in line(TRAIN)


def test_a_header_stands_over_the_columns_of_a_line() -> None:
    over, below = header(), line(TRAIN)
    assert over.startswith("benchmark ")
    assert over.index("±") == below.index("±")
    assert over.index("time") + len("time") == below.index("±") - 1  # both end there
    full = line(with_metrics(TRAIN, peak_memory_bytes=412_000_000))
    trained = line(ACCURACY)
    for title, shown, text in (
        ("per s", full, "52.0 k/s"),
        ("memory", full, "412 MB"),
        ("accuracy", trained, "95.12%"),
    ):
        assert over.index(title) + len(title) == shown.index(text) + len(text), title
    assert over.endswith("accuracy  [done/all, time left]")
