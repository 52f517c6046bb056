"""What becomes of a check whose sides do not fit each other: verdict, exit code and one clear sentence for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trainmark.judge.comparison import compare_paired, control_floor
from trainmark.judge.margins import Margins
from trainmark.judge.policy import Policy
from trainmark.judge.verdict import judge
from trainmark.store.pairs import Pair, Replicate, write_paired_run
from trainmark.store.record import Run

MLP = "train mlp 64 cpu fp32"
CNN = "train cnn 256 cpu fp32"
LEARNT = "accuracy mlp 64 cpu fp32"
KEY, CNN_KEY = "train", "train batch_size=256 model=cnn"
ENOUGH = 24


def small(run: Run) -> Run:
    """The run with three cells that succeed."""
    return replace(run, records=tuple(one for one in run.records if one.label in (MLP, CNN, LEARNT)))


# Two stored runs


def removed(stored: Any, run: Run) -> Run:
    return replace(run, records=run.records[1:])


def renamed(stored: Any, run: Run) -> Run:
    old = run.records[0]
    axes = tuple((name, "mlp2" if name == "model" else value) for name, value in old.cell.axes)
    return replace(run, records=(replace(old, cell=replace(old.cell, axes=axes)), *run.records[1:]))


def broken(stored: Any, run: Run) -> Run:
    return stored.changed(run, MLP, status="error", reason="TypeError: no", metrics={}, rounds=())


def failed(stored: Any, run: Run) -> Run:
    lost = {"status": "crashed", "reason": "died of SIGSEGV", "metrics": {}, "rounds": ()}
    return replace(run, records=tuple(replace(one, **lost) for one in run.records))


def moved(stored: Any, run: Run) -> Run:
    return replace(run, environment={**run.environment, "fingerprint": "f", "torch": "2.16.0"})


def empty(stored: Any, run: Run) -> Run:
    return replace(run, records=())


def unchanged(stored: Any, run: Run) -> Run:
    return run


CASES: list[tuple[Callable[[Any, Run], Run], int, str, str]] = [
    (removed, 1, "Regressed: 1 of 31 cells is worse, failed or missing", "1 missing"),
    (renamed, 1, "Regressed: 1 of 32 cells is worse, failed or missing", "1 missing"),
    (broken, 1, "Regressed: 1 of 31 cells is worse, failed or missing", "1 failed"),
    (failed, 1, "Regressed: 29 of 31 cells are worse, failed or missing", "29 failed"),  # one was skipped before
    (moved, 3, "Not comparable: 0002_9f8e7d_20260102_090000 and 0001_1a2b3c_20260101_120000", "torch 2.15.0 → 2.16.0"),
    (empty, 2, "0002_9f8e7d_20260102_090000 holds no record", "Measure it again"),
]


@pytest.mark.parametrize(("change", "code", "sentence", "told"), CASES, ids=lambda one: getattr(one, "__name__", ""))
def test_each_misfit_has_its_verdict_its_code_and_one_sentence(
    stored: Any,
    reports_command: Any,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Any, Run], Run],
    code: int,
    sentence: str,
    told: str,
) -> None:
    stored.store(stored.run())
    stored.store(change(stored, stored.run("0002_9f8e7d_20260102_090000")))
    assert reports_command("check", "1", "2") == code
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert said.splitlines()[0].startswith(sentence)
    assert told in said
    assert "Traceback" not in said


def test_a_renamed_cell_is_missing_under_its_old_name_and_new_under_the_other(stored: Any) -> None:
    comparison = stored.compared(stored.run(), renamed(stored, stored.run()))
    assert (comparison.counts["missing"], comparison.counts["new"]) == (1, 1)


def test_a_run_of_a_newer_schema_is_a_usage_error(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.run())
    file = stored.store(stored.run("0002_9f8e7d_20260102_090000"))
    document = json.loads(file.read_text(encoding="utf-8"))
    document["trainmark"]["schema_version"] = 99
    file.write_text(json.dumps(document), encoding="utf-8")
    assert reports_command("check", "1", "2") == 2
    assert "update trainmark to read it" in capsys.readouterr().err


def test_swapped_runs_are_told(stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stored.store(stored.run())
    run = stored.run("0002_9f8e7d_20260102_090000")
    stored.store(replace(run, facts=replace(run.facts, started="2026-01-02T09:00:00+00:00")))
    reports_command("check", "2", "1")
    assert "0002_9f8e7d_20260102_090000, the base, is the newer run: are the two swapped?" in capsys.readouterr().out
    reports_command("check", "1", "2")
    assert "swapped" not in capsys.readouterr().out


@pytest.mark.parametrize(("policy", "code"), [("fail", 1), ("warn", 0), ("pass", 0)])
def test_missing_cells_fail_the_check_unless_told_otherwise(stored: Any, policy: str, code: int) -> None:
    verdict = judge(stored.compared(stored.run(), removed(stored, stored.run())), Policy("pass", policy))
    assert verdict.exit_code == code
    assert any("--missing=warn" in detail for detail in verdict.details) == (policy == "warn")


# Two sides measured together


@pytest.mark.parametrize(
    ("ratio", "word", "code"), [(1.0, "unchanged", 0), (1.08, "regressed", 1), (0.9, "improved", 0)]
)
def test_a_time_is_judged_by_its_pairs(stored: Any, ratio: float, word: str, code: int) -> None:
    run = small(stored.run())
    comparison = compare_paired(stored.paired(run, run, {KEY: 1.0, CNN_KEY: ratio}))
    cell = next(one for one in comparison.cells if one.label == CNN)
    assert (cell.verdict, judge(comparison).exit_code) == (word, code)
    assert cell.time is not None and cell.time.low is not None and cell.time.high is not None
    assert cell.time.low < ratio < cell.time.high
    assert cell.time.pairs == ENOUGH * (1 if word == "unchanged" else 2)


def test_an_accuracy_cell_is_judged_without_its_time(stored: Any) -> None:
    run = small(stored.run())
    cell = next(one for one in compare_paired(stored.paired(run, run, {KEY: 1.0})).cells if one.label == LEARNT)
    assert (cell.verdict, cell.time) == ("unchanged", None)


@pytest.mark.parametrize(("inconclusive", "code"), [("pass", 0), ("warn", 0), ("fail", 3)])
def test_undecided_cells_are_the_users_to_weigh(stored: Any, inconclusive: str, code: int) -> None:
    run = small(stored.run())
    comparison = compare_paired(
        replace(stored.paired(run, run, {KEY: 1.0}), pairs={KEY: stored.pairs(1.0), CNN_KEY: stored.pairs(1.0, 5)})
    )
    cell = next(one for one in comparison.cells if one.label == CNN)
    assert cell.verdict == "inconclusive"
    assert cell.reason is not None and "about 7 more pairs would decide" in cell.reason
    assert judge(comparison, Policy(inconclusive)).exit_code == code


@pytest.mark.parametrize(("inconclusive", "code"), [("pass", 0), ("warn", 3), ("fail", 3)])
def test_where_nothing_at_all_is_decided_the_check_says_so(stored: Any, inconclusive: str, code: int) -> None:
    run = replace(stored.run(), records=tuple(one for one in stored.run().records if one.label == MLP))
    comparison = compare_paired(replace(stored.paired(run, run, {}), pairs={KEY: stored.pairs(1.0, 3)}))
    assert judge(comparison, Policy(inconclusive)).exit_code == code


def test_disturbed_pairs_are_dropped_and_counted(stored: Any) -> None:
    run = small(stored.run())
    some = {KEY: [*stored.pairs(1.0), *stored.pairs(9.0, 5, disturbed=True)], CNN_KEY: stored.pairs(1.0)}
    comparison = compare_paired(replace(stored.paired(run, run, {}), pairs=some))
    time = next(one for one in comparison.cells if one.label == MLP).time
    assert time is not None
    assert (time.verdict, time.pairs, time.dropped) == ("unchanged", ENOUGH, 5)
    assert any("5 pairs were dropped" in detail for detail in judge(comparison).details)


def test_only_disturbed_pairs_decide_nothing(stored: Any) -> None:
    run = small(stored.run())
    comparison = compare_paired(replace(stored.paired(run, run, {}), pairs={KEY: stored.pairs(9.0, disturbed=True)}))
    cell = next(one for one in comparison.cells if one.label == MLP)
    assert cell.verdict == "inconclusive"
    assert cell.reason is not None and "no undisturbed pair" in cell.reason


def test_a_count_that_changed_regresses_however_the_pairs_look(stored: Any) -> None:
    run = small(stored.run())
    comparison = compare_paired(stored.paired(run, stored.with_metrics(run, MLP, parameters=10**12), {KEY: 1.0}))
    assert judge(comparison).exit_code == 1


def test_what_the_user_set_apart_is_told_and_no_obstacle(stored: Any) -> None:
    base = small(stored.run())
    base = stored.changed(base, MLP, settings={"threads": 2, "seed": 0, "adaptation": None})
    base = replace(base, environment={**base.environment, "fingerprint": "f", "environment_variables": {}})
    comparison = compare_paired(
        stored.paired(base, small(stored.run()), {KEY: 1.0, CNN_KEY: 1.0}, side="env:OMP_NUM_THREADS=2")
    )
    assert next(one for one in comparison.cells if one.label == MLP).verdict == "unchanged"
    assert any("environment variables none → OMP_NUM_THREADS 1" in detail for detail in judge(comparison).details)


def test_counts_of_another_torch_are_told_and_not_judged_but_those_of_the_model_are(stored: Any) -> None:
    run = small(stored.run())
    base = stored.with_metrics(run, MLP, operators_per_step=100, copies_per_step=1)
    base = replace(base, environment={**base.environment, "fingerprint": "f", "torch": "2.11.0"})
    new = stored.with_metrics(run, MLP, operators_per_step=110, copies_per_step=1)
    cell = next(one for one in compare_paired(stored.paired(base, new, {KEY: 1.0})).cells if one.label == MLP)
    assert cell.verdict == "unchanged"
    assert "operators per step 100 → 110" in cell.notes
    new = stored.with_metrics(new, MLP, parameters=1)
    cell = next(one for one in compare_paired(stored.paired(base, new, {KEY: 1.0})).cells if one.label == MLP)
    assert cell.verdict == "regressed"


def test_settings_that_nobody_set_apart_on_purpose_keep_two_sides_from_being_compared(stored: Any) -> None:
    run = small(stored.run())
    base = stored.changed(run, MLP, settings={"threads": 1, "seed": 0, "adaptation": "pad 2"})
    cell = next(one for one in compare_paired(stored.paired(base, run, {KEY: 1.0})).cells if one.label == MLP)
    assert (cell.verdict, cell.reason) == ("incomparable", "measured with other settings: adaptation pad 2 → –")


@pytest.mark.parametrize("side", ["base", "new"])
def test_cells_of_one_side_alone_are_missing_or_new(stored: Any, side: str) -> None:
    run = small(stored.run())
    less = replace(run, records=run.records[:-1])
    comparison = compare_paired(stored.paired(*((run, less) if side == "base" else (less, run)), {KEY: 1.0}))
    assert ("missing" if side == "base" else "new") in comparison.counts


def test_a_machine_whose_own_control_differs_supports_no_smaller_margin(stored: Any) -> None:
    run = small(stored.run())
    controls = [stored.paired(run, run, {KEY: 1.0, CNN_KEY: 1.06}, side="self")]
    floor = control_floor(controls, run.environment["fingerprint"])
    assert floor == pytest.approx(0.06, abs=0.005)
    assert control_floor(controls, "another") is control_floor([], run.environment["fingerprint"]) is None
    assert control_floor([stored.paired(run, run, {KEY: 1.06}, side="main")], run.environment["fingerprint"]) is None
    assert control_floor([stored.paired(run, run, {KEY: 1.0}, side="self")], run.environment["fingerprint"]) == 0
    comparison = compare_paired(stored.paired(run, run, {KEY: 1.0, CNN_KEY: 1.05}), Margins().with_floor(floor))
    assert "regressed" not in comparison.counts
    assert any("supports no less" in detail for detail in judge(comparison).details)


def test_the_least_margin_that_was_asked_for_is_named_beside_the_floor(stored: Any) -> None:
    run = small(stored.run())
    margins = Margins.parse("4%,train mlp=2%,train cnn=9%").with_floor(0.06)
    details = judge(compare_paired(stored.paired(run, run, {KEY: 1.0, CNN_KEY: 1.0}), margins)).details
    assert "The margin is 6.0% and not 2.0%: the A/A control of this machine supports no less." in details
    fine = judge(compare_paired(stored.paired(run, run, {KEY: 1.0}), margins.with_floor(0.01))).details
    assert not any("The margin is" in detail for detail in fine)


def test_a_check_holds_a_paired_run_against_the_control_of_its_machine(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small(stored.run("20260101T120000-abcdef"))
    write_paired_run(stored.paired(run, run, {KEY: 1.08, CNN_KEY: 1.0}), stored.folder)
    assert reports_command("check", "abcdef") == 1
    control = replace(run, name="20251231T120000-fedcba")
    write_paired_run(stored.paired(control, control, {KEY: 1.1, CNN_KEY: 1.0}, side="self"), stored.folder)
    capsys.readouterr()
    assert reports_command("check", "abcdef") == 0
    assert "The margin is 10.0% and not 3.0%" in capsys.readouterr().out


def test_the_time_told_of_a_pair_is_that_of_a_step_and_of_undisturbed_pairs_alone(stored: Any) -> None:
    run = small(stored.run())
    measured = stored.paired(run, run, {KEY: 1.0})
    pairs = [*stored.pairs(1.1), *stored.pairs(1.1, confirming=True), *stored.pairs(9.0, 12, disturbed=True)]
    comparison = compare_paired(replace(measured, pairs={KEY: pairs}, steps={KEY: 8}))
    time = next(one for one in comparison.cells if one.label == MLP).time
    assert time is not None
    assert (time.verdict, time.pairs, time.dropped) == ("regressed", 48, 12)
    assert time.base == 1 / 8
    assert time.new == pytest.approx(1.1 / 8, rel=1e-3)


def test_a_machine_without_a_control_is_told_of_it(stored: Any) -> None:
    run = small(stored.run())
    details = judge(compare_paired(stored.paired(run, run, {KEY: 1.0}))).details
    assert any("pytest bench --against self" in detail for detail in details)


def test_a_paired_run_is_checked_by_its_name(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small(stored.run("20260101T120000-abcdef"))
    write_paired_run(stored.paired(run, run, {KEY: 1.08, CNN_KEY: 1.0}), stored.folder)
    assert reports_command("check", "abcdef") == reports_command("check", "latest") == 1
    assert "regressed, step time +8.0% [+7." in capsys.readouterr().out
    assert reports_command("check", "abcdef", "--margin", "20%") == 0


PAIRED_CASES: list[tuple[Callable[[Any, Run], Run], Callable[[Any, Run], Run], int, str, str]] = [
    (unchanged, removed, 1, "Regressed: 1 of 3 cells is worse, failed or missing against main.", "1 missing"),
    (unchanged, renamed, 1, "Regressed: 1 of 4 cells is worse, failed or missing against main.", "1 missing"),
    (unchanged, broken, 1, "Regressed: 1 of 3 cells is worse, failed or missing against main.", "TypeError: no"),
    (unchanged, failed, 1, "Regressed: 3 of 3 cells are worse, failed or missing against main.", "died of SIGSEGV"),
    (failed, unchanged, 0, "No regression against main: 3 of 3 cells compared.", "3 improved"),
    (failed, failed, 3, "Not comparable: no cell was measured", "failed on both sides: accuracy mlp"),
    (unchanged, empty, 2, "20260101T120000-abcdef holds no record", "Measure it again with --against"),
    (empty, unchanged, 3, "Not comparable: no cell was measured", "3 new"),
]


@pytest.mark.parametrize(
    ("before", "after", "code", "sentence", "told"), PAIRED_CASES, ids=lambda one: getattr(one, "__name__", "")
)
def test_each_misfit_of_two_sides_has_its_verdict_its_code_and_one_sentence(
    stored: Any,
    reports_command: Any,
    capsys: pytest.CaptureFixture[str],
    before: Callable[[Any, Run], Run],
    after: Callable[[Any, Run], Run],
    code: int,
    sentence: str,
    told: str,
) -> None:
    run = small(stored.run("20260101T120000-abcdef"))
    base, new = before(stored, run), after(stored, run)
    measured = [{one.key for one in side.records if one.status == "ok"} for side in (base, new)]
    ratios = {key: 1.0 for key in (KEY, CNN_KEY) if all(key in keys for keys in measured)}
    write_paired_run(stored.paired(base, new, ratios), stored.folder)
    assert reports_command("check", "latest") == code
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert said.splitlines()[0].startswith(sentence)
    assert told in said
    assert "Traceback" not in said


def test_a_paired_run_of_a_newer_schema_is_a_usage_error(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small(stored.run("20260101T120000-abcdef"))
    file = write_paired_run(stored.paired(run, run, {KEY: 1.0}), stored.folder)
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    later = json.dumps(json.loads(header) | {"schema_version": 99})
    file.write_text("\n".join([later, *lines, ""]), encoding="utf-8")
    assert reports_command("check", "latest") == 2
    told = capsys.readouterr().err
    assert "update trainmark to read it" in told
    assert told.count("\n") == 1


def test_a_stored_run_and_a_paired_one_are_not_taken_for_each_other(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small(stored.run("20260101T120000-abcdef"))
    file, pairs = stored.store(run), write_paired_run(stored.paired(run, run, {KEY: 1.0}), stored.folder)
    assert reports_command("check", str(file)) == reports_command("check", str(pairs), str(file)) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"{one}: ") for line, one in zip(told, (file, pairs), strict=True)] == [True, True]


@pytest.mark.parametrize("records", [True, False])
def test_a_paired_run_that_is_not_there_or_holds_nothing_is_a_usage_error(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str], records: bool
) -> None:
    run = replace(stored.run("20260101T120000-abcdef"), records=())
    write_paired_run(stored.paired(run, run, {}), stored.folder)
    assert reports_command("check", "nowhere" if records else "abcdef") == 2
    told = capsys.readouterr().err
    assert ("No paired run named" if records else "holds no record") in told
    assert told.count("\n") == 1


def test_a_damaged_paired_run_is_a_usage_error(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "broken.json"
    file.write_text("{", encoding="utf-8")
    assert reports_command("check", str(file)) == 2
    assert "cut short" in capsys.readouterr().err


# For any pairs


@st.composite
def measurements(draw: st.DrawFn) -> list[float]:
    """Times of a new side whose base takes a second: the same, a little or much slower or faster; or anything."""
    centre = draw(st.sampled_from([0.8, 1.0, 1.03, 1.25]))
    noise = st.floats(0.98, 1.02) if draw(st.booleans()) else st.floats(0.5, 2)
    return [centre * one for one in draw(st.lists(noise, min_size=1, max_size=2 * ENOUGH))]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(measurements(), st.floats(0.01, 100))
@example([1.25 + number / 1000 for number in range(2 * ENOUGH)], 10.0)  # regressed, or improved
@example([1.0 + number / 10_000 for number in range(2 * ENOUGH)], 10.0)  # unchanged
def test_swapping_inverts_scaling_changes_nothing_and_a_run_never_regresses_against_itself(
    stored: Any, ratios: list[float], by: float
) -> None:
    run = replace(stored.run(), records=tuple(one for one in stored.run().records if one.label == MLP))

    def judged(base: list[float], new: list[float]) -> Any:
        some = [
            Pair(Replicate((one,)), Replicate((other,)), confirming=number >= ENOUGH)
            for number, (one, other) in enumerate(zip(base, new, strict=True))
        ]
        return compare_paired(replace(stored.paired(run, run, {}), pairs={KEY: some}, steps={KEY: 1})).cells[0]

    ones = [1.0] * len(ratios)
    there, back = judged(ones, ratios), judged(ratios, ones)
    scaled = judged([by] * len(ratios), [by * one for one in ratios])
    opposite = {"regressed": "improved", "improved": "regressed"}
    assert back.verdict == opposite.get(there.verdict, there.verdict)
    assert back.time.ratio == pytest.approx(1 / there.time.ratio)
    assert (scaled.verdict, scaled.time.ratio) == (there.verdict, pytest.approx(there.time.ratio))
    assert judged(ratios, ratios).verdict in ("unchanged", "inconclusive")
