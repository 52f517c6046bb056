"""No sentence of the advice, the notices or the terminal is refuted by what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from trainmark.advise.break_even import Payback
from trainmark.advise.notices import notices
from trainmark.advise.phrases import headline, payback_sentence
from trainmark.advise.recommend import Advice, Choice, advise
from trainmark.export import terminal
from trainmark.export.essentials import advice_text, essentials
from trainmark.judge.change_points import MINIMUM
from trainmark.judge.explanation import explain
from trainmark.page.html import render
from trainmark.progress import summary
from trainmark.store.cell import Cell
from trainmark.store.profiles import OTHERS, Operator, Profile
from trainmark.store.record import Record, Run


def trained(rate: float, *, flags: tuple[str, ...] = (), memory: int = 500, **axes: Any) -> Record:
    seconds = int(axes.get("batch_size", 64)) / rate
    rounds = tuple(seconds * (1 + 0.001 * number) for number in range(10))
    metrics = {"samples_per_second": rate, "step_seconds": seconds, "peak_memory_bytes": memory}
    return Record(Cell.of("train", model="mlp", **axes), "ok", metrics=metrics, rounds=rounds, flags=flags)


def speed(*records: Record, **options: Any) -> tuple[Choice, Advice]:
    (advice,) = advise(records, **options)
    choice = advice.choice("speed")
    assert choice is not None
    return choice, advice


def test_the_only_setting_is_not_said_to_have_beaten_others() -> None:
    assert headline(*speed(trained(1000))) == "The default (fp32, batch 64, eager) is the only setting measured."


def test_a_faster_setting_of_open_accuracy_is_not_denied() -> None:
    told = headline(*speed(trained(1000), trained(2000, precision="bf16")))
    assert told == "No setting whose accuracy is known to hold is shown to beat the default (fp32, batch 64, eager)."


def test_a_setting_that_is_not_told_apart_is_not_said_to_be_slower() -> None:
    told = headline(*speed(trained(1000), trained(1050, compile="default")))
    assert told == "No setting is shown to beat the default (fp32, batch 64, eager)."


def test_a_default_that_does_not_fit_is_not_named_as_the_answer() -> None:
    told = headline(
        *speed(trained(1000, memory=9000), trained(1000, memory=100, compile="default"), max_memory_bytes=500)
    )
    assert told == "The default is not among what fits; of that, fp32, batch 64, compile=default is best."


def test_the_page_says_of_each_goal_why_the_default_stands(stored: Any) -> None:
    run = replace(stored.run(), records=(trained(1000), trained(2000, precision="bf16")))
    page = render([run])
    assert "No setting beats" not in page
    assert "No setting whose accuracy is known to hold is shown to beat the default" in page
    assert "energy or memory" in " ".join(page.split())  # a gain in these has no interval


def test_a_model_trained_in_fp32_eager_by_another_loader_is_not_denied(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(stored.run(), records=(trained(1000, loader="dataloader"),))
    assert "No model was trained in the default setting here (fp32, eager, contiguous, from resident data)" in render(
        [run]
    )
    stored.store(run)
    assert reports_command("recommend") == 2
    assert "no training in the default setting (fp32, eager, contiguous, from resident data)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("decided", "steps", "told"),
    [(True, None, "compiling never pays back"), (True, 10.2, "compiling pays back after 11 steps")],
)
def test_compiling_is_said_to_pay_or_never_where_that_is_decided(decided: bool, steps: float | None, told: str) -> None:
    assert payback_sentence(Payback(trained(1), 0.9, steps, decided)) == told
    open_ = payback_sentence(Payback(trained(1), 0.9, steps, decided=False)) or ""
    assert "never" not in open_ and "after" not in open_


def test_one_setting_and_one_cell_are_counted_as_one(stored: Any) -> None:
    assert advice_text(speed(trained(1000))[1]).startswith("mlp on cpu, mnist-5k: 1 setting, against ")
    text = essentials(replace(stored.run(), records=(trained(1000, flags=("disturbed",)),)))
    assert ": 1 cell, " in text
    assert "(1 cell). " in text


def advice_of(run: Run, status: str, **axes: Any) -> str:
    failed = Record(Cell.of("train", model="mlp", **axes), status, "because")
    run = replace(run, records=(failed,))
    return next(notice.advice for notice in notices(run) if notice.records)


def test_no_cell_is_told_to_use_the_precision_that_it_has(stored: Any) -> None:
    run = stored.run()
    assert advice_of(run, "nan") == "Lower the learning rate."
    assert "or use fp32" in advice_of(run, "nan", precision="fp16")
    assert "a narrower precision" in advice_of(run, "oom")
    assert "narrower" not in advice_of(run, "oom", precision="bf16")


def test_instruments_that_were_read_are_not_said_to_be_missing(stored: Any) -> None:
    record = replace(trained(1000, flags=("instruments-crashed",)), metrics={"forward_seconds": 1.0, "step_seconds": 1})
    (notice,) = [one for one in notices(replace(stored.run(), records=(record,))) if one.records]
    assert "phases" not in notice.advice
    session: Any = SimpleNamespace(records={"k": record}, stored=None, complete=True, left_in_journal=False)
    assert not any("times deserve" in line for line in summary(session, "", ""))  # the notice says that they hold


def history(stored: Any, count: int) -> list[Run]:
    return [stored.run(f"{number:04}", seed=number) for number in range(count)]


def test_too_few_runs_are_not_said_to_show_no_change(stored: Any) -> None:
    few, enough = (terminal.history_table([], history(stored, count)) for count in (2 * MINIMUM - 1, 2 * MINIMUM))
    assert few == "No time can be followed over 5 runs of this machine. It takes 6 runs of a cell; the most are 5."
    assert enough == "No change of a time is found over 6 runs of this machine."
    cut = [replace(run, records=run.records[:1] if number % 2 else run.records[1:2])
           for number, run in enumerate(history(stored, 6))]  # fmt: skip
    assert terminal.history_table([], cut).startswith("No time can be followed")  # many runs, and few of a cell


def test_work_is_said_to_be_the_same_of_what_both_list_alone() -> None:
    rows = (Operator("aten::mm", "2x2, 2x2", 1.0, 0.006, 0.006, None, 1.0, 1.0, "operator"),
            Operator(OTHERS, "", 9.0, 0.001, 0.001, None, 1.0, 1.0, "operator"))  # fmt: skip
    base = Profile("train", "train mlp", 5, 0.01, "cpu", rows)
    new = replace(base, step_seconds=0.02, operators=(replace(rows[0], self_seconds_per_step=0.016), rows[1]))
    told = terminal.explanation_table(explain(base, new), 5)
    assert "The operators that both list are the same" in told
    assert "Both do the same operators" not in told


def test_no_bound_is_put_on_how_long_a_profiled_step_takes() -> None:
    table = terminal.profile_table(Profile("train", "train mlp", 5, 5.0, "cpu", ()), 3)
    assert "up to" not in table
