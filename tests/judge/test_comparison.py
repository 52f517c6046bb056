from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from trainmark import formatting
from trainmark.judge.comparison import CellComparison, Comparison, MetricChange
from trainmark.judge.margins import Margins
from trainmark.store.metrics import METRICS
from trainmark.store.record import UNRELIABLE, Run

CNN = "train cnn 256 cpu fp32"
MLP = "train mlp 64 cpu fp32"
LEARNT = "accuracy mlp 64 cpu fp32"
SKIPPED = "train mlp 64 cpu fp16"
OOM = "train resnet20 256 cpu fp32"


def cell(comparison: Comparison, label: str) -> CellComparison:
    return next(one for one in comparison.cells if one.label == label)


def metric(comparison: Comparison, label: str, name: str) -> MetricChange:
    return next(one for one in cell(comparison, label).changes if one.name == name)


def without(run: Run, label: str) -> Run:
    return replace(run, records=tuple(record for record in run.records if record.label != label))


def learnt(stored: Any, *accuracies: float) -> Run:
    curves = [[0.5, accuracy] for accuracy in accuracies]
    run = stored.with_metrics(stored.run(), LEARNT, accuracy=sum(accuracies) / len(accuracies))
    seeds = {"seed": list(range(len(curves))), "held_out_accuracy": curves}
    return stored.changed(run, LEARNT, series=seeds)


def test_a_run_against_itself_has_no_change(stored: Any) -> None:
    comparison = stored.compared(stored.run(), stored.run())
    assert {one.verdict for one in comparison.cells} == {"unchanged", "inconclusive", "incomparable"}
    assert all(change.base == change.new for one in comparison.cells for change in one.changes)


def test_two_runs_of_the_same_code_have_no_regression(stored: Any) -> None:
    assert not any(one.fails for one in stored.compared(stored.run(), stored.run(seed=1)).cells)


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "regressed"), (0.8, "improved"), (1.1, "unchanged")])
def test_a_time_is_judged_by_how_much_earlier_runs_differ(stored: Any, factor: float, verdict: str) -> None:
    margins = Margins(0.15)
    comparison = stored.compared(stored.run(), stored.slowed(stored.run(seed=1), CNN, factor), margins=margins)
    assert cell(comparison, CNN).verdict == verdict


def test_a_time_whose_interval_reaches_across_the_margin_is_inconclusive(stored: Any) -> None:
    found = cell(stored.compared(stored.run(), stored.slowed(stored.run(), CNN, 1.05)), CNN)
    assert found.verdict == "inconclusive"
    assert found.reason is not None
    assert "across the margin of 5.0%" in found.reason


def test_the_interval_of_two_runs_is_as_sure_for_all_cells_as_it_says_for_one(stored: Any) -> None:
    base, new = stored.run(), stored.slowed(stored.run(), CNN, 1.2)
    past = [one.metrics["step_seconds"] for run in stored.earlier for one in run.records if one.label == CNN]
    cells = sum(record.status == "ok" for record in base.records)
    assert (len(past), cells) == (8, 28)
    steps = np.diff(np.log(past))
    half = scipy.stats.t.ppf(1 - 0.05 / cells / 2, len(steps)) * np.sqrt(np.mean(steps**2))
    found = metric(stored.compared(base, new), CNN, "step_seconds")
    assert (found.low, found.ratio, found.high) == pytest.approx((1.2 / math.exp(half), 1.2, 1.2 * math.exp(half)))


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.4, "unchanged"), (1 / 1.4, "unchanged"), (1.65, "regressed"), (1 / 1.65, "improved")]
)
def test_half_as_much_again_is_the_margin_of_a_half_and_two_thirds_its_inverse(
    stored: Any, factor: float, verdict: str
) -> None:
    comparison = stored.compared(stored.run(), stored.slowed(stored.run(), CNN, factor), margins=Margins(0.5))
    assert metric(comparison, CNN, "step_seconds").verdict == verdict


@pytest.mark.parametrize("runs", [0, 5])
def test_without_a_history_time_is_not_decided_however_large_the_change(stored: Any, runs: int) -> None:
    new = stored.slowed(stored.run(), CNN, 9)
    found = cell(stored.compared(stored.run(), new, history=stored.earlier[:runs]), CNN)
    assert found.verdict == "inconclusive"
    assert found.reason is not None
    assert f"with {runs} stored runs of this cell here" in found.reason


def test_runs_of_another_machine_teach_nothing_of_this_one(stored: Any) -> None:
    foreign = [replace(run, environment={"fingerprint": "f"}) for run in stored.earlier]
    found = cell(stored.compared(stored.run(), stored.slowed(stored.run(), CNN, 9), history=foreign), CNN)
    assert found.verdict == "inconclusive"


def test_the_margin_is_as_wide_for_faster_as_for_slower(stored: Any) -> None:
    run = stored.run()
    there = cell(stored.compared(run, stored.slowed(run, CNN, 1.2), margins=Margins(0.15)), CNN)
    back = cell(stored.compared(stored.slowed(run, CNN, 1.2), run, margins=Margins(0.15)), CNN)
    assert (there.verdict, back.verdict) == ("regressed", "improved")


def test_a_smaller_margin_decides_a_smaller_change(stored: Any) -> None:
    base, new = stored.run(), stored.slowed(stored.run(), CNN, 1.2)
    assert cell(stored.compared(base, new, margins=Margins(0.3)), CNN).verdict == "unchanged"
    assert cell(stored.compared(base, new, margins=Margins(0.05)), CNN).verdict == "regressed"


def test_a_cell_may_carry_a_margin_of_its_own(stored: Any) -> None:
    new = stored.slowed(stored.slowed(stored.run(), CNN, 1.2), MLP, 1.2)
    comparison = stored.compared(stored.run(), new, margins=Margins.parse("3%,cnn=40%"))
    assert (cell(comparison, CNN).verdict, cell(comparison, MLP).verdict) == ("unchanged", "regressed")


@pytest.mark.parametrize("flag", ["disturbed", "unsteady"])
@pytest.mark.parametrize("factor", [3, 1 / 3])
@pytest.mark.parametrize("flagged", ["base", "new"])
def test_an_unreliable_time_is_never_a_change(stored: Any, flag: str, factor: float, flagged: str) -> None:
    base, new = stored.run(), stored.slowed(stored.run(), CNN, factor)
    base, new = (
        stored.changed(run, CNN, flags=(flag,)) if name == flagged else run
        for name, run in (("base", base), ("new", new))
    )
    found = cell(stored.compared(base, new), CNN)
    assert found.verdict == "inconclusive"
    assert found.reason is not None
    assert flag in found.reason


def test_swapping_sides_inverts_ratios_and_verdicts(stored: Any) -> None:
    base, new = stored.run(), stored.slowed(stored.slowed(stored.run(seed=1), CNN, 2), MLP, 0.5)
    there, back = stored.compared(base, new), stored.compared(new, base)
    opposite = {"regressed": "improved", "improved": "regressed"}
    for one in there.cells:
        other = next(each for each in back.cells if each.key == one.key)
        assert other.verdict == opposite.get(one.verdict, one.verdict)
        if one.time is not None and one.time.ratio is not None:
            assert other.time is not None
            assert other.time.ratio == pytest.approx(1 / one.time.ratio)


def test_a_changed_parameter_count_is_a_regression_in_either_direction(stored: Any) -> None:
    for count in (270_350, 270_340):
        found = cell(stored.compared(stored.run(), stored.with_metrics(stored.run(), MLP, parameters=count)), MLP)
        assert found.verdict == "regressed"
        assert found.reason == f"parameters changed 270,346 → {count:,}"


EXPLAINING = [name for name, metric in METRICS.items() if metric.compared == "explains"]


@pytest.mark.parametrize("name", EXPLAINING)
def test_a_count_that_explains_is_told_and_decides_only_where_it_is_asked_to(stored: Any, name: str) -> None:
    base = stored.with_metrics(stored.run(), MLP, **{name: 1000})
    for count, verdict in ((1001, "regressed"), (999, "improved")):
        new = stored.with_metrics(base, MLP, **{name: count})
        told = cell(stored.compared(base, new), MLP)
        assert told.verdict == "unchanged"
        assert formatting.metric_name(name) in told.notes
        assert cell(stored.compared(base, new, counts_decide=True), MLP).verdict == verdict


def test_operators_copies_bytes_moved_and_flops_explain_and_what_stalls_or_leaks_is_judged() -> None:
    assert set(EXPLAINING) == {
        *("flops_per_step", "operators_per_step", "copies_per_step", "new_bytes_per_step", "moved_bytes_per_step"),
        "kernel_launches_per_step",
    }
    hazards = ("host_reads_per_step", "graph_breaks", "recompiles", "retained_tensors_per_step")
    assert {METRICS[name].compared for name in (*hazards, "float64_operators_per_step")} == {"exact"}


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "regressed"), (1.05, "unchanged"), (0.8, "improved")])
def test_memory_is_judged_by_its_tolerance(stored: Any, factor: float, verdict: str) -> None:
    memory = next(one for one in stored.run().records if one.label == MLP).metrics["peak_memory_bytes"]
    new = stored.with_metrics(stored.run(), MLP, peak_memory_bytes=memory * factor)
    assert metric(stored.compared(stored.run(), new), MLP, "peak_memory_bytes").verdict == verdict


def test_a_number_that_was_zero_and_is_not_any_more_is_beyond_every_tolerance(stored: Any) -> None:
    base = stored.with_metrics(stored.run(), MLP, peak_memory_bytes=0)
    found = metric(stored.compared(base, stored.run()), MLP, "peak_memory_bytes")
    assert (found.verdict, found.ratio) == ("regressed", None)
    assert metric(stored.compared(base, base), MLP, "peak_memory_bytes").verdict == "unchanged"


def test_a_metric_that_is_no_longer_measured_is_inconclusive(stored: Any) -> None:
    found = cell(stored.compared(stored.run(), stored.with_metrics(stored.run(), MLP, flops_per_step=None)), MLP)
    assert found.verdict == "inconclusive"
    assert found.reason == "flops per step is no longer measured"


def test_a_metric_that_the_base_did_not_measure_is_not_judged(stored: Any) -> None:
    base = stored.with_metrics(stored.run(), MLP, flops_per_step=None)
    assert cell(stored.compared(base, stored.run()), MLP).verdict == "unchanged"


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ((0.93, 0.93, 0.931), "regressed"),
        ((0.96, 0.961, 0.96), "improved"),
        ((0.941, 0.939, 0.942), "unchanged"),
        ((0.92, 0.92, 0.95), "inconclusive"),
        ((0.93, 0.92, 0.935), "inconclusive"),  # worse in each seed, and not surely by so much
    ],
)
def test_accuracy_is_worse_where_its_whole_interval_over_the_seeds_is(
    stored: Any, accuracies: tuple[float, ...], verdict: str
) -> None:
    comparison = stored.compared(learnt(stored, 0.94, 0.94, 0.94), learnt(stored, *accuracies))
    assert metric(comparison, LEARNT, "accuracy").verdict == verdict


@pytest.mark.parametrize(
    ("lost", "verdict"), [(0.004, "unchanged"), (0.006, "regressed"), (-0.004, "unchanged"), (-0.006, "improved")]
)
@pytest.mark.parametrize("before", [0.1, 0.5, 0.98])
def test_accuracy_has_half_a_point_of_margin_wherever_it_stands(
    stored: Any, before: float, lost: float, verdict: str
) -> None:
    after = [before - lost + spread for spread in (-0.0001, 0.0, 0.0001)]  # an interval of 0.00017 to either side
    comparison = stored.compared(learnt(stored, before, before, before), learnt(stored, *after))
    found = metric(comparison, LEARNT, "accuracy")
    assert found.verdict == verdict
    half = 2.91999 * 0.0001 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((-lost - half, -lost + half), abs=1e-8)


def test_the_same_seeds_are_held_against_each_other_in_whatever_order_they_stand(stored: Any) -> None:
    base = learnt(stored, 0.90, 0.95, 0.99)
    new = learnt(stored, 0.9801, 0.94, 0.8899)
    seeds = {"seed": [2, 1, 0], "held_out_accuracy": [[0.5, 0.9801], [0.5, 0.94], [0.5, 0.8899]]}
    found = metric(stored.compared(base, stored.changed(new, LEARNT, series=seeds)), LEARNT, "accuracy")
    assert found.verdict == "regressed"  # a point less in each
    assert (found.low, found.high) == pytest.approx((-0.01 - 0.000169, -0.01 + 0.000169), abs=1e-5)


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.934, "inconclusive"), (0.94, "unchanged")])
def test_one_seed_that_differs_says_nothing(stored: Any, accuracy: float, verdict: str) -> None:
    comparison = stored.compared(learnt(stored, 0.94), learnt(stored, accuracy))
    assert metric(comparison, LEARNT, "accuracy").verdict == verdict


def test_a_faster_step_is_no_gain_where_the_model_learns_worse(stored: Any) -> None:
    new = stored.slowed(learnt(stored, 0.90, 0.90, 0.90), MLP, 0.5)
    found = cell(stored.compared(learnt(stored, 0.94, 0.94, 0.94), new), MLP)
    assert found.time is not None and found.time.verdict == "improved"
    assert found.verdict == "regressed"
    assert found.reason is not None
    assert "accuracy −4.00 points: faster and worse is no gain" in found.reason


def test_a_cell_that_the_new_run_lacks_is_missing(stored: Any) -> None:
    assert cell(stored.compared(stored.run(), without(stored.run(), CNN)), CNN).verdict == "missing"


def test_a_cell_that_only_the_new_run_has_is_new(stored: Any) -> None:
    found = cell(stored.compared(without(stored.run(), CNN), stored.run()), CNN)
    assert (found.verdict, found.fails) == ("new", False)


@pytest.mark.parametrize("status", ["oom", "timeout", "crashed", "nan", "error"])
def test_a_cell_that_fails_where_the_base_did_not_has_failed(stored: Any, status: str) -> None:
    new = stored.changed(stored.run(), CNN, status=status, reason="here is why", metrics={}, rounds=())
    found = cell(stored.compared(stored.run(), new), CNN)
    assert found.verdict == "failed"
    assert found.reason is not None
    assert "here is why" in found.reason


def test_a_cell_that_failed_in_the_base_and_is_measured_now_has_improved(stored: Any) -> None:
    base = stored.changed(stored.run(), CNN, status="oom", metrics={}, rounds=())
    assert cell(stored.compared(base, stored.run()), CNN).verdict == "improved"


def test_a_cell_that_was_measured_and_is_skipped_now_is_missing(stored: Any) -> None:
    new = stored.changed(stored.run(), CNN, status="skipped", reason="no such device", metrics={}, rounds=())
    assert cell(stored.compared(stored.run(), new), CNN).verdict == "missing"


def test_a_cell_that_neither_run_measured_cannot_be_compared(stored: Any) -> None:
    comparison = stored.compared(stored.run(), stored.run())
    assert cell(comparison, OOM).verdict == "incomparable"
    assert cell(comparison, SKIPPED).verdict == "incomparable"
    assert cell(stored.compared(stored.run(), without(stored.run(), SKIPPED)), SKIPPED).verdict == "incomparable"


def test_records_of_other_settings_are_not_compared_and_say_what_differs(stored: Any) -> None:
    new = stored.changed(stored.slowed(stored.run(), CNN, 9), CNN, settings={"threads": 2, "seed": 0})
    found = cell(stored.compared(stored.run(), new), CNN)
    assert found.verdict == "incomparable"
    assert found.reason == "measured with other settings: threads 1 → 2"
    assert found.changes == ()


def test_another_machine_is_not_compared_and_the_facts_that_differ_are_named(stored: Any) -> None:
    new = replace(stored.run(), environment={**stored.run().environment, "fingerprint": "f", "torch": "2.16.0"})
    comparison = stored.compared(stored.run(), new)
    assert not comparison.same_machine
    assert [str(one) for one in comparison.differences] == ["torch 2.15.0 → 2.16.0"]
    assert {one.verdict for one in comparison.cells} == {"incomparable"}


def test_runs_without_a_fingerprint_are_not_taken_for_one_machine(stored: Any) -> None:
    nowhere = replace(stored.run(), environment={})
    assert not stored.compared(nowhere, nowhere).same_machine


def test_what_is_portable_can_be_compared_across_machines_and_only_that(stored: Any) -> None:
    run = stored.with_metrics(stored.slowed(stored.run(), CNN, 9), MLP, parameters=1, peak_memory_bytes=10**12)
    new = replace(run, environment={"fingerprint": "f"})
    comparison = stored.compared(stored.run(), new, allow_different_machine=True)
    assert cell(comparison, CNN).verdict == "unchanged"
    assert metric(comparison, CNN, "step_seconds").verdict == "incomparable"
    assert metric(comparison, CNN, "step_seconds").ratio is None
    assert cell(comparison, MLP).verdict == "regressed"
    assert cell(comparison, MLP).reason == "parameters changed 270,346 → 1"


def test_failing_cells_come_first_and_then_the_largest_change(stored: Any) -> None:
    new = stored.slowed(stored.slowed(stored.run(), CNN, 0.2), "train mlp 256 cpu bf16", 0.5)
    new = without(stored.with_metrics(new, MLP, parameters=270_350), "input resident 64")
    labels = [one.label for one in stored.compared(stored.run(), new).cells]
    assert labels[:4] == ["input resident 64", MLP, CNN, "train mlp 256 cpu bf16"]


TIMED = [name for name, metric in METRICS.items() if metric.compared == "tolerance" and metric.timed]


@pytest.mark.parametrize("flag", UNRELIABLE)
@pytest.mark.parametrize("name", TIMED)
def test_what_was_timed_in_a_bad_moment_decides_nothing(stored: Any, name: str, flag: str) -> None:
    """As a compile time of 22.6 s beside one of 48.9 s, taken while the machine was busy."""
    base = stored.with_metrics(stored.run(), MLP, **{name: 22.6})
    for one, other in ((base, flagged(stored, base, flag)), (flagged(stored, base, flag), base)):
        found = cell(stored.compared(one, stored.with_metrics(other, MLP, **{name: 48.9})), MLP)
        change = next(change for change in found.changes if change.name == name)
        assert change.verdict == "inconclusive"
        assert change.reason is not None and f"measured {flag}" in change.reason


def flagged(stored: Any, run: Run, flag: str) -> Run:
    changed: Run = stored.changed(run, MLP, flags=(flag,))
    return changed


@pytest.mark.parametrize("name", TIMED)
def test_a_tolerance_without_a_history_says_that_it_is_a_guess(stored: Any, name: str) -> None:
    base = stored.with_metrics(stored.run(), MLP, **{name: 10.0})
    found = cell(stored.compared(base, stored.with_metrics(base, MLP, **{name: 30.0}), history=()), MLP)
    change = next(change for change in found.changes if change.name == name)
    assert change.verdict == "regressed"
    assert change.reason is not None and "which is a guess: 0 of 6 earlier runs" in change.reason


@pytest.mark.parametrize(("spread", "verdict"), [(0.01, "regressed"), (1.0, "inconclusive")])
def test_with_a_history_its_spread_says_whether_a_compile_time_has_changed(
    stored: Any, spread: float, verdict: str
) -> None:
    def compiling(run: Run, seconds: float) -> Run:
        changed: Run = stored.with_metrics(run, MLP, compile_seconds=seconds)
        return changed

    past = [compiling(stored.run(), 10.0 * (1 + spread * (number % 2))) for number in range(8)]
    found = cell(stored.compared(compiling(stored.run(), 10.0), compiling(stored.run(), 30.0), history=past), MLP)
    assert next(change for change in found.changes if change.name == "compile_seconds").verdict == verdict
