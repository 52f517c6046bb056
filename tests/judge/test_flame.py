"""Two profiles call by call: boxes add up, what makes a step slow is named first, and a sentence says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from call_trees import Tree, held, profile
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainmark.export.markdown import MOST_EXPLAINED, render
from trainmark.judge.comparison import CellComparison, MetricChange, compare
from trainmark.judge.flame import (
    OUTSIDE,
    Difference,
    Profiled,
    Times,
    difference,
    differences,
    of_settings,
    sentence,
    times_of,
)
from trainmark.judge.verdict import judge
from trainmark.meters.profiler import measure_profile
from trainmark.store.cell import Cell
from trainmark.store.profiles import Profile, write_profile
from trainmark.store.record import Record
from trainmark.store.runs import artifact_folder


def test_calls_meet_by_their_path_and_not_by_their_name() -> None:
    """The same operator within two callers is two boxes, and one term."""
    base = {"forward": (1.0, {"mm": 10.0}), "backward": (1.0, {"mm": 20.0})}
    new = {"forward": (1.0, {"mm": 13.0}), "backward": (1.0, {"mm": 18.0})}
    found = held(base, new, (40, 41))
    boxes = {(root.name, child.name): child.seconds for root in found.roots for child in root.children}
    assert boxes == {("forward", "mm"): pytest.approx(0.003), ("backward", "mm"): pytest.approx(-0.002)}
    assert found.terms[0].name == "mm"
    assert found.terms[0].seconds == pytest.approx(0.001)
    assert found.terms[0].base_calls == 2


def test_what_one_side_alone_calls_counts_in_full() -> None:
    found = held({"a": (1.0, {"gone": 4.0})}, {"a": 1.0, "come": (2.0, {"within": 3.0})}, (10, 11))
    assert found.slower == pytest.approx(0.005)
    assert found.faster == pytest.approx(0.004)
    come = next(root for root in found.roots if root.name == "come")
    assert (come.base_seconds, come.children[0].base_seconds) == (None, None)


MILLISECONDS = st.floats(0, 50)
TREES = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), MILLISECONDS, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), st.tuples(MILLISECONDS, inner), max_size=4),
    max_leaves=12,
)


@given(TREES, TREES, st.floats(1, 500), st.floats(1, 500))
def test_boxes_add_up_to_the_difference_of_profiled_steps(base: Tree, new: Tree, before: float, after: float) -> None:
    found = difference(profile(base or {"a": 0.0}, before), profile(new or {"a": 0.0}, after))
    assert found is not None
    assert found.seconds == pytest.approx((after - before) / 1e3, abs=1e-9)
    assert found.slower - found.faster == pytest.approx(found.seconds, abs=1e-9)
    assert sum(term.seconds for term in found.terms) == pytest.approx(found.seconds, abs=1e-9)


def test_what_no_operator_takes_is_outside_of_them_all() -> None:
    found = held({"a": 10.0}, {"a": 10.0}, (30, 50))
    assert found.terms[0].name == OUTSIDE
    assert found.terms[0].seconds == pytest.approx(0.020)


@given(TREES, TREES, st.floats(1, 500), st.floats(1, 500), st.floats(0.1, 300), st.floats(0.1, 300))
def test_boxes_add_up_to_the_difference_as_it_was_timed(
    base: Tree, new: Tree, before: float, after: float, timed: float, later: float
) -> None:
    times = Times(timed, later - timed - 1, later - timed, later - timed + 1)
    found = difference(profile(base or {"a": 0.0}, 1e3 * before), profile(new or {"a": 0.0}, 1e3 * after), times)
    assert found is not None
    assert found.seconds == pytest.approx(later - timed, abs=1e-6)


def test_what_the_profiler_takes_of_each_call_is_left_out() -> None:
    """It takes 1 ms of each: the new step has two calls more that take nothing else."""
    times = Times(0.006, -0.001, 0.0, 0.001)
    found = held({"a": 4.0, "b": 4.0}, {"a": 4.0, "b": 4.0, "c": 1.0, "d": 1.0}, (8, 10), times)
    assert max(abs(term.seconds) for term in found.terms) < 1e-9
    assert not found.is_shown


def test_a_profile_of_a_slower_moment_is_no_difference() -> None:
    times = Times(0.010, -0.001, 0.0, 0.001)
    found = held({"a": 4.0, "b": 6.0}, {"a": 5.2, "b": 7.8}, (10, 13), times)
    assert max(abs(term.seconds) for term in found.terms) < 1e-9


def test_a_profile_without_a_tree_is_held_against_nothing() -> None:
    assert difference(replace(profile({"a": 1.0}), tree=()), profile({"a": 1.0})) is None


# The sentence


def test_the_sentence_tells_percent_its_interval_and_what_it_is_made_of() -> None:
    times = Times(0.1, 0.0025, 0.0031, 0.0037)
    found = held({"aten::addmm": 20.0, "b": 10.0}, {"aten::addmm": 22.8, "b": 10.0}, (100, 103.1), times)
    assert sentence(found) == ("+3.1% [+2.5%, +3.7%] = 2.8 from addmm, 0.3 outside operators, 0.0 from 1 other")
    assert held({"a": 10.0}, {"a": 5.0}, (100, 95)).terms[0].name == "a"


def test_a_faster_step_is_told_by_what_it_saves_first() -> None:
    found = held({"mm": 50.0, "relu": 5.0}, {"fused": 20.0, "relu": 5.0}, (60, 30))
    assert sentence(found) == "\N{MINUS SIGN}50.0% = \N{MINUS SIGN}83.3 from mm, 33.3 from fused, 0.0 from 2 others"


def test_a_hostile_name_is_one_line() -> None:
    found = held({"a\n\x1b[31m" + "x" * 500: 1.0}, {"a\n\x1b[31m" + "x" * 500: 9.0}, (10, 18))
    assert "\n" not in sentence(found)
    assert "\x1b" not in sentence(found)
    assert len(sentence(found)) < 200


# Runs


def record(key_axes: dict[str, Any], step: float, half: float = 0.0001) -> Record:
    metrics = {"step_seconds": step, "step_seconds_low": step - half, "step_seconds_high": step + half}
    return Record(Cell.of("train", **key_axes), "ok", metrics=metrics)


def test_times_are_those_of_both_records_unless_a_ratio_was_judged() -> None:
    base, new = record({}, 0.010), record({}, 0.012)
    assert times_of(base, new) == pytest.approx((0.010, 0.0018, 0.002, 0.0022))
    judged = MetricChange("step_seconds", 0.01, 0.012, "regressed", None, 1.2, 1.1, 1.3)
    assert times_of(base, new, judged) == pytest.approx((0.010, 0.001, 0.002, 0.003))
    assert times_of(base, replace(new, metrics={})) is None


def test_settings_of_one_run_are_held_against_their_twin_with_the_default(tmp_path: Any) -> None:
    plain, half, compiled, both, larger = (
        record(axes, step)
        for axes, step in (
            ({}, 0.010),
            ({"precision": "bf16"}, 0.006),
            ({"compile": "default"}, 0.0101),
            ({"compile": "default", "precision": "bf16"}, 0.005),
            ({"batch_size": 256}, 0.030),
        )
    )
    for one in (plain, half, compiled, both, larger):
        write_profile(tmp_path, replace(profile({"a": 1.0}, key=one.key), label=one.cell.label))
    found = of_settings(Profiled(tmp_path, (plain, half, compiled, both, larger)))
    assert [(one.label, one.base) for one in found] == [
        (both.cell.label, compiled.cell.label),
        (half.cell.label, plain.cell.label),
        (both.cell.label, half.cell.label),
        (compiled.cell.label, plain.cell.label),
    ]
    assert [one.is_shown for one in found] == [True, True, True, False]


def stored_differences(stored: Any, slower: float) -> tuple[Any, list[Difference]]:
    """Two stored runs with one profile each, of a step that takes so many milliseconds more in the second."""
    runs = [stored.run("0001_1a2b3c_20260101_120000"), stored.run("0002_9f8e7d_20260102_120000")]
    key = next(one.key for one in runs[0].records if one.metrics.get("step_seconds"))
    folders = []
    for run, more in zip(runs, (0.0, slower), strict=True):
        folders.append(artifact_folder(stored.store(run)))
        write_profile(folders[-1], profile({"aten::relu": 1.0 + more, "b": 1.0}, 10 + more, key))
    base, new = (Profiled(folder, run.records) for folder, run in zip(folders, runs, strict=True))
    comparison = compare(*runs)
    return comparison, differences(base, new, comparison)


def test_profiles_of_two_runs_are_held_against_each_other(stored: Any) -> None:
    comparison, (found,) = stored_differences(stored, 5.0)
    assert found.base == comparison.base
    assert found.terms[0].name == "aten::relu"
    assert found.times is not None


def test_the_markdown_of_a_check_tells_the_operators_of_what_differs(stored: Any) -> None:
    comparison, (found,) = stored_differences(stored, 5.0)
    shown = replace(found, times=Times(0.01, 0.004, 0.005, 0.006))
    told = render(judge(comparison), comparison, explained=[shown] * (MOST_EXPLAINED + 2))
    assert "Which operators differ, in percent of the base's step:" in told
    assert told.count(" from relu") == MOST_EXPLAINED
    assert "- 2 more" in told
    alike = replace(found, times=Times(0.01, -0.001, 0.0, 0.001))
    assert render(judge(comparison), comparison, explained=[alike]) == render(judge(comparison), comparison)


def test_operators_that_are_told_leave_room_for_the_rest(stored: Any) -> None:
    run = stored.run()
    comparison = compare(run, run)
    cells = tuple(CellComparison(f"k{number}", "cell " * 20, "unchanged") for number in range(900))
    comparison = replace(comparison, cells=cells)
    found = replace(held({"a": 1.0}, {"a": 2.0}, (5, 6)), label="x" * 500)
    told = render(judge(comparison), comparison, explained=[found] * 10)
    assert len(told) < 65_536
    assert told.count("0 from a") or told.count(" from a")


def test_the_command_check_writes_them(stored: Any, reports_command: Callable[..., int], tmp_path: Any) -> None:
    stored_differences(stored, 500.0)
    file = tmp_path / "verdict.md"
    reports_command("check", "1", "2", "--markdown", str(file))
    text = file.read_text(encoding="utf-8")
    assert ("from relu" in text) == ("Which operators differ" in text)
    reports_command("diff-profile", "1", "2")


# Slow-downs that are planted and measured


PLANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "aten::mm": lambda square: square @ square,
    "aten::sort": lambda square: square.sort(1).values,
    "aten::sin": torch.sin,
    "aten::copy_": Tensor.double,
    "aten::cumsum": lambda square: square.cumsum(1),
}


class Net(nn.Module):
    """An MLP with a place for what is planted; it changes no gradient."""

    def __init__(self, planted: str | None) -> None:
        super().__init__()
        self.planted = planted
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        self.square = torch.randn(512, 512)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 64] -> [B, 10]."""
        with torch.no_grad():
            for _ in range(10 if self.planted else 0):
                PLANTS[self.planted or ""](self.square)
        outputs: Tensor = self.layers(x)
        return outputs


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two of them would wait for each other beside another test."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measured(planted: str | None) -> Profile:
    torch.manual_seed(0)
    net, x, labels = Net(planted), torch.randn(64, 64), torch.arange(64) % 10

    def advance() -> Tensor:
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        return loss

    return measure_profile(advance, Cell.of("train"), 6)


@pytest.fixture(scope="module")
def plain() -> Profile:
    return measured(None)


@pytest.mark.parametrize("planted", PLANTS)
def test_a_planted_slow_operator_is_named_first_and_its_boxes_add_up(plain: Profile, planted: str) -> None:
    slower = measured(planted)
    found = difference(plain, slower)
    assert found is not None
    named = [term.name for term in found.terms if term.name != OUTSIDE]
    assert named[0] == planted
    assert found.seconds == pytest.approx(slower.step_seconds - plain.step_seconds)
