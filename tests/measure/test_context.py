"""What a workload measures with: calls of which some are made once in a run, and records of how they ended."""

from __future__ import annotations

from typing import Any

import pytest

from trainmark.measure.context import Context
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Outcome
from trainmark.store.cell import Cell
from trainmark.store.record import Record

CELL = Cell.of("train")
LIMITS = Limits(60.0, 10**9)
PEAKS = {
    "flops_per_second": {"fp32": 1e9},
    "bytes_per_second": 1e9,
    "copy_bytes_per_second": 1e9,
    "device": "cpu",
    "threads": 1,
    "seconds_taken": 2.0,
}


class FakeWorkers:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def call(self, function: str, *arguments: Any, limits: Limits | None = None) -> Outcome:
        self.calls.append((function, *arguments, limits))
        return Outcome("ok", len(self.calls), None, "", 1.0)


@pytest.fixture
def context() -> Any:
    made = Context(FakeWorkers(), LIMITS)  # type: ignore[arg-type]
    yield made
    made.close()


def test_every_call_is_made_within_the_limits_of_a_cell(context: Context) -> None:
    context.call("some.module:function", CELL)
    context.once("some.module:function", 3)
    assert context.workers.calls == [  # type: ignore[attr-defined]
        ("some.module:function", CELL, LIMITS),
        ("some.module:function", 3, LIMITS),
    ]


def test_a_call_that_is_made_once_gives_what_came_of_it_then(context: Context) -> None:
    first, again, other = (context.once("some.module:function", number) for number in (1, 1, 2))
    assert first is again
    assert other.value == 2
    assert [context.call("some.module:function", 1).value for _ in range(2)] == [3, 4]  # and that of a cell each time


def test_the_folder_of_a_run_is_there_until_the_run_ends(context: Context) -> None:
    folder = context.folder
    (folder / "text").write_text("kept for the next cell")
    assert context.folder == folder
    context.close()
    assert not folder.exists()
    context.close()  # a run without one ends too


def test_a_record_tells_the_seconds_of_all_calls_that_its_cell_made(context: Context) -> None:
    context.call("some.module:function", "of another cell")
    record, _ = context.measure(CELL, Settings())
    calls = len(context.workers.calls) - 1  # type: ignore[attr-defined]
    assert calls >= 1
    assert record.metrics == {"cell_seconds": float(calls)}  # each took a second


def test_what_ends_badly_is_a_record_of_that(context: Context) -> None:
    ending = Outcome("crashed", None, "died of SIGSEGV in /home/ada/code/net.py", "its last words", 3.0)
    record, log = context.record(CELL, Settings(threads=2, seed=5), ending)
    assert (record.status, record.reason, log) == ("crashed", "died of SIGSEGV in net.py", "its last words")
    assert record.metrics == {}
    assert record.settings == {"threads": 2, "seed": 5}


def test_what_was_timed_before_an_instrument_ended_badly_is_kept_and_flagged(context: Context) -> None:
    timed = Record(CELL, "ok", metrics={"step_seconds": 0.5}, rounds=(0.5,), flags=("unsteady",))
    record, _ = context.record(CELL, Settings(), Outcome("timeout", timed, "not done after 5 s", "", 5.0))
    assert (record.status, record.reason, record.rounds) == ("ok", "not done after 5 s", (0.5,))
    assert record.flags == ("unsteady", "instruments-timeout")
    assert record.metrics == {"step_seconds": 0.5}


def test_what_a_compiled_step_moves_nobody_has_counted(context: Context) -> None:
    context.peaks["cpu"] = PEAKS
    metrics = {"step_seconds": 0.5, "flops_per_step": 10**8, "moved_bytes_per_step": 10**8}
    eager, compiled = (
        context.with_utilisation(Record(Cell.of("train", compile=mode), "ok", metrics=metrics)).metrics
        for mode in ("off", "default")
    )
    assert eager["flops_utilisation"] == compiled["flops_utilisation"] == pytest.approx(0.2)
    assert eager["bytes_utilisation"] == pytest.approx(0.2)
    assert compiled.get("bytes_utilisation") is None


def test_a_step_whose_operations_are_not_known_keeps_its_share_of_the_bytes(context: Context) -> None:
    context.peaks["cpu"] = PEAKS
    metrics = {"step_seconds": 0.5, "flops_per_step": None, "moved_bytes_per_step": 10**8}
    found = context.with_utilisation(Record(Cell.of("train"), "ok", metrics=metrics)).metrics
    assert found["bytes_utilisation"] == pytest.approx(0.2)
    assert found["flops_utilisation"] is None


def test_a_record_without_a_time_has_no_utilisation(context: Context) -> None:
    context.peaks["cpu"] = PEAKS
    record = Record(Cell.of("train"), "error", "no")
    assert context.with_utilisation(record) is record


@pytest.mark.parametrize("cell", [Cell.of("train", device="cuda"), Cell.of("input")])
def test_without_a_peak_or_a_precision_there_is_no_utilisation(context: Context, cell: Cell) -> None:
    context.peaks["cpu"] = PEAKS
    record = Record(cell, "ok", metrics={"step_seconds": 0.5, "flops_per_step": 10**8})
    assert context.with_utilisation(record) is record
