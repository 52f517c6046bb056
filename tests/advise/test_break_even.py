"""Whether torch.compile pays is said only where the two step times really differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmark.advise.break_even import break_even_steps, paybacks
from trainmark.store.cell import Cell
from trainmark.store.record import Record

seconds = st.floats(1e-6, 1e3)


def record(step: float, **axes: str) -> Record:
    metrics = {"step_seconds": step, "step_seconds_low": 0.99 * step, "step_seconds_high": 1.01 * step}
    if axes.get("compile", "off") != "off":
        metrics["compile_seconds"] = 10.0
    return Record(Cell.of("train", **axes), "ok", metrics=metrics)


def test_a_faster_step_wins_the_compilation_back() -> None:
    (found,) = paybacks([record(0.3), record(0.2, compile="default")])
    assert found.steps == pytest.approx(100)
    assert found.speedup == pytest.approx(1.5)
    assert found.decided


def test_a_slower_step_never_does() -> None:
    (found,) = paybacks([record(0.2), record(0.3, compile="default")])
    assert found.steps is None
    assert found.decided


@pytest.mark.parametrize(("eager", "flags"), [(0.2, ()), (0.3, ("disturbed",))])
def test_times_that_do_not_differ_or_are_flagged_decide_nothing(eager: float, flags: tuple[str, ...]) -> None:
    (found,) = paybacks([replace(record(eager), flags=flags), record(0.201, compile="default")])
    assert not found.decided


def test_a_flag_that_is_not_of_times_leaves_them_decided() -> None:
    (found,) = paybacks([replace(record(0.3), flags=("flops-partial",)), record(0.2, compile="default")])
    assert found.decided


def test_only_the_eager_cell_of_the_same_setting_counts() -> None:
    assert paybacks([record(0.3, model="cnn"), record(0.2, compile="default")]) == []


def test_each_mode_is_compared_with_the_eager_cell() -> None:
    found = paybacks([record(0.2, compile="max-autotune"), record(0.3), record(0.25, compile="default")])
    assert [payback.compiled.cell["compile"] for payback in found] == ["max-autotune", "default"]


@given(cost=seconds, eager=seconds, compiled=seconds)
def test_break_even_is_where_both_have_taken_the_same_time(cost: float, eager: float, compiled: float) -> None:
    steps = break_even_steps(cost, eager, compiled)
    if steps is None:
        assert compiled >= eager
    else:
        assert cost + steps * compiled == pytest.approx(steps * eager, rel=1e-6)
