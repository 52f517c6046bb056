"""Two computations held against each other: what is another training, and what is rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from trainmark.judge.comparison import compare_paired
from trainmark.judge.policy import Policy
from trainmark.judge.sameness import SAFETY, TOLERANCE, Found, compare_computations
from trainmark.judge.verdict import judge

Change = Callable[[dict[str, Any]], object]


def computation() -> dict[str, Any]:
    """Of two steps of a model with two tensors, evaluated once."""
    step = {"samples": 8, "images": [3.0, 20.0], "outputs": [1.0, 5.0], "loss": [2.31, 2.31], "gradient": [17.0, 17.0]}
    row = {"before": [1.0, 9.0], "gradient": 10.0, "after": [1.5, 9.1], "steps": 2}
    return {
        "facts": {
            "training mode in a step": "on",
            "gradients in an evaluation": "off",
            "threads in a step": 1,
            "loss": {"class": "CrossEntropyLoss", "reduction": "mean"},
            "optimizer": {"class": "AdamW"},
            "parameter groups": [{"lr": 0.001, "weight_decay": 0.01, "betas": [0.9, 0.999]}],
            "samples of an epoch": [4000, 4000],
            "order of samples": ["aa", "bb"],
            "samples evaluated": 1000,
        },
        "steps": [step, copy.deepcopy(step)],
        "evaluations": [{"samples": 8, "images": [4.0, 30.0], "outputs": [2.0, 6.0]}],
        "tensors": [{"name": "a.weight", "shape": [4, 3], **row}, {"name": "a.bias", "shape": [4], **row}],
    }


def compared(change: Change) -> Found:
    new = computation()
    change(new)
    return compare_computations(computation(), new)


def put(*path: Any, to: Any) -> Change:
    """Sets what lies at a path."""

    def change(found: Any) -> None:
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("steps", 0, "loss", to=[147.9, 147.9]), "another training since step 1: loss 2.31 → 147.9"),
        (put("steps", 1, "outputs", to=[1.0, 5.5]), "another training since step 2: norm of the outputs 5 → 5.5"),
        (put("steps", 1, "outputs", to=[-1.0, 5.0]), "another training since step 2: outputs"),
        (put("steps", 0, "loss", to=[2.31005, 2.31005]), "another training since step 1: loss 2.31 → 2.31005"),
        (put("steps", 1, "loss", to=["nan", "nan"]), "another training since step 2: loss 2.31 → nan"),
        (put("steps", 0, "samples", to=7), "another training since step 1: samples 8 → 7"),
        (put("steps", to=[]), "another training since step 1: calls of the model 2 → 0"),
        (
            put("facts", "parameter groups", 0, "weight_decay", to=0.3),
            "another training: weight_decay 0.01000 → 0.3000",
        ),
        (put("facts", "loss", "reduction", to="sum"), "another training: reduction mean → sum"),
        (put("facts", "training mode in a step", to="some"), "another training: training mode in a step on → some"),
        (put("facts", "threads in a step", to=2), "another training: threads in a step 1 → 2"),
        (put("facts", "order of samples", to=["aa", "aa"]), "another training: order of samples"),
        (put("facts", "schedules", to=[{"class": "StepLR"}]), "another training: schedules: none before"),
        (put("facts", "samples evaluated", to=500), "another evaluation: samples evaluated 1000 → 500"),
        (put("evaluations", 0, "outputs", to=[2.0, 9.0]), "another evaluation: norm of the outputs 6 → 9"),
        (put("tensors", 0, "before", to=[2.0, 9.0]), "another training: first weights of a.weight"),
        (put("tensors", 0, "gradient", to=11.0), "another training: gradient of a.weight 10 → 11"),
        (put("tensors", 1, "gradient", to=None), "another training: a.bias is no longer trained"),
        (put("tensors", 1, "after", to=[1.6, 9.1]), "another training: weights of a.bias after 2 steps"),
        (put("tensors", 1, "shape", to=[5]), "another training: shape of a.bias 4 → 5"),
        (lambda found: found["tensors"].pop(), "another training: trained tensors 2 → 1"),
        (lambda found: found["facts"].pop("gradients in an evaluation"), "no evaluation without gradients"),
    ],
)
def test_a_difference_is_told_where_it_arises(change: Change, told: str) -> None:
    assert told in (compared(change).told or "")


@pytest.mark.parametrize(
    "change",
    [
        put("facts", "optimizer", to={"class": "MyAdamW"}),
        put("facts", "loss", to={"class": "SoftmaxLoss"}),
        lambda found: found["facts"].pop("loss"),
        put("facts", "looked at by a newer version alone", to=1),
        put("tensors", 0, "name", to="renamed.weight"),
        lambda found: found["tensors"].reverse(),
    ],
)
def test_another_name_or_order_for_the_same_is_no_difference(change: Change) -> None:
    assert compared(change) == Found()


@pytest.mark.parametrize("place", [("steps", 1, "loss"), ("evaluations", 0, "outputs"), ("tensors", 0, "after")])
@pytest.mark.parametrize(("share", "is_rounding"), [(0.9, True), (1.1, False)])
def test_a_difference_up_to_the_tolerance_is_rounding(place: tuple[Any, ...], share: float, is_rounding: bool) -> None:
    value, size = eval_at(computation(), place)
    found = compared(put(*place, to=[value + share * TOLERANCE * size, size]))
    assert (found.told is None) == is_rounding
    assert found.rounding == (pytest.approx(share * TOLERANCE, rel=1e-3) if is_rounding else 0.0)


@pytest.mark.parametrize("place", [("steps", 1, "loss"), ("evaluations", 0, "outputs"), ("tensors", 0, "after")])
@pytest.mark.parametrize(("share", "is_rounding"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("moved", [(1e-3, 1e-4), (0.0, 1e-3), (1e-7, 1e-8)])
def test_a_number_may_differ_as_far_as_rounding_moves_it_on_either_side(
    place: tuple[Any, ...], share: float, is_rounding: bool, moved: tuple[float, float]
) -> None:
    allowed = max(TOLERANCE, SAFETY * max(moved))
    sides = computation(), computation()
    for side, known in zip(sides, moved, strict=True):
        eval_at(side, place[:-1])["rounding"] = {place[-1]: known} if known else {}
    value, size = eval_at(sides[1], place)
    put(*place, to=[value + share * allowed * size, size])(sides[1])
    assert (compare_computations(*sides).told is None) == is_rounding
    del eval_at(sides[0], place[:-1])["rounding"]  # as in an older record
    assert (compare_computations(*sides).told is None) == (is_rounding and allowed == TOLERANCE)


def test_a_gradient_may_differ_as_far_as_rounding_moves_it() -> None:
    for known, told in ((1e-2, None), (1e-3, "another training: gradient of a.weight 10 → 10.5")):
        sides = computation(), computation()
        for side in sides:
            side["tensors"][0]["rounding"] = {"gradient": known}
        sides[1]["tensors"][0]["gradient"] = 10.5
        assert compare_computations(*sides).told == told


def test_running_means_are_compared_where_both_records_have_them() -> None:
    base, new = computation(), computation()
    base["steps"][0]["buffers"] = [1.0, 4.0]
    assert compare_computations(base, new) == compare_computations(new, base) == Found()
    new["steps"][0]["buffers"] = [1.0, 5.0]
    assert compare_computations(base, new).told == "another training since step 1: norm of the buffers 4 → 5"


def eval_at(found: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        found = found[key]
    return found


def test_a_gradient_that_is_rounding_beside_the_others_tells_nothing() -> None:
    """As of a bias before a normalisation that takes it off again."""
    base, new = computation(), computation()
    base["tensors"][1] |= {"gradient": 1e-6, "after": [1.5, 9.1]}
    new["tensors"][1] |= {"gradient": 3e-6, "after": [1.7, 9.2]}
    assert compare_computations(base, new) == Found()


def test_what_was_not_looked_at_on_a_side_is_no_difference() -> None:
    assert compare_computations({}, computation()) == compare_computations(computation(), {}) == Found()


def paired(stored: Any, ratio: float = 1.0, side: str = "main", **new: Any) -> Any:
    """A paired run of one cell whose new side computes something else."""
    run = stored.run()
    run = run.__class__(run.name, run.facts, run.environment, run.commit, run.records[:1])
    base = stored.changed(run, run.records[0].label, computation=computation())
    other = computation()
    other["steps"][0]["loss"] = [147.9, 147.9]
    changed = stored.changed(run, run.records[0].label, computation=other, **new)
    return stored.paired(base, changed, {run.records[0].key: ratio}, side=side)


def test_a_cell_that_computes_something_else_is_changed_and_never_improved(stored: Any) -> None:
    for ratio in (1.0, 0.11):
        cell = compare_paired(paired(stored, ratio)).cells[0]
        assert cell.verdict == "changed"
        assert cell.reason is not None and cell.reason.startswith("another training since step 1: loss 2.31 → 147.9")
    assert "step time −89" in cell.notes


def test_a_change_hides_no_regression(stored: Any) -> None:
    cell = compare_paired(paired(stored, 2.0)).cells[0]
    assert cell.verdict == "regressed"
    assert cell.reason is not None and "loss 2.31 → 147.9" in cell.reason and "step time +100" in cell.reason


@pytest.mark.parametrize(
    ("side", "policy", "code"),
    [
        ("main", None, 0),
        ("main", "warn", 0),
        ("main", "pass", 0),
        ("main", "fail", 1),
        ("self", None, 1),
        ("self", "warn", 0),
    ],
)
def test_a_change_fails_a_check_against_itself_or_where_it_is_asked_to(
    stored: Any, side: str, policy: str | None, code: int
) -> None:
    verdict = judge(compare_paired(paired(stored, side=side)), Policy(changed=policy))
    assert verdict.exit_code == code
    assert verdict.word == ("fine" if policy == "pass" else "changed")
    told = " ".join((verdict.sentence, *verdict.details, *(cell.reason or "" for cell in verdict.regressions)))
    assert ("147.9" in told) == (policy != "pass")


def test_with_other_software_a_difference_is_a_note(stored: Any) -> None:
    run = paired(stored)
    run = run.__class__(
        **{**run.__dict__, "base": run.base.__class__(**{**run.base.__dict__, "environment": {"torch": "1"}})}
    )
    cell = compare_paired(run).cells[0]
    assert cell.verdict == "unchanged"
    assert "with other software" in cell.notes


def test_an_accuracy_that_is_summed_up_otherwise_is_another_evaluation(stored: Any) -> None:
    """As one of the best epoch: each seed ends as before, so that no statistics would see it."""
    run = stored.run()
    label = next(record.label for record in run.records if record.cell.workload == "accuracy")
    series = {"seed": [0, 1], "train_loss": [[1.0, 0.5], [1.1, 0.6]], "held_out_accuracy": [[0.9, 0.8], [0.7, 0.8]]}
    base, new = (
        stored.with_metrics(stored.changed(run, label, series=series), label, accuracy=told) for told in (0.8, 0.85)
    )
    verdicts = {cell.label: cell for cell in stored.compared(base, new).cells}
    assert verdicts[label].verdict == "changed"
    assert "mean of the last epochs on one side alone" in (verdicts[label].reason or "")
    assert next(cell for cell in stored.compared(base, base).cells if cell.label == label).verdict != "changed"


def test_an_accuracy_without_curves_on_a_side_is_no_other_evaluation(stored: Any) -> None:
    run = stored.run()
    label = next(record.label for record in run.records if record.cell.workload == "accuracy")
    series = {"seed": [0, 1], "train_loss": [[0.5], [0.6]], "held_out_accuracy": [[0.8], [0.8]]}
    base, new = (
        stored.with_metrics(stored.changed(run, label, series=some), label, accuracy=0.8) for some in ({}, series)
    )
    for one, other in ((base, new), (new, base)):
        assert next(cell for cell in stored.compared(one, other).cells if cell.label == label).verdict != "changed"
