"""Faults planted in the code: a few of those in docs/evidence, and a refactoring that is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from docs.evidence.changes import CHANGES, SEEN, is_seen, written_from_outside
from docs.evidence.changes import HARMLESS as REFACTORINGS
from docs.evidence.mutations import FAULTS, HARMLESS, Base, Mutation, compare_with, flagged, mutated
from trainmark.against.client import Side
from trainmark.against.places import working_tree
from trainmark.store.metrics import METRICS

QUICK = ("missing no_grad", "lost shuffle of tensors", "smaller batch reported as the same", "layers named")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a side forks its processes")


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    """The untouched tree: one server for all of them."""
    with Side(working_tree("untouched", Path(__file__).parents[1])) as side:
        yield Base(side)


@pytest.mark.parametrize("mutation", [one for one in FAULTS + HARMLESS if one.name in QUICK], ids=lambda one: one.name)
def test_a_fault_is_told_by_its_metric_and_a_refactoring_by_none(base: Base, mutation: Mutation) -> None:
    found = flagged(compare_with(base, replace(mutation, timed=False)))  # pairs take minutes
    assert found == {} if mutation.metric is None else mutation.metric in found


PLANTED = (*CHANGES, *REFACTORINGS, *written_from_outside("change"), *written_from_outside("harmless"))


@pytest.mark.parametrize("mutation", [*FAULTS, *HARMLESS, *PLANTED], ids=lambda one: one.name)
def test_every_planted_fault_still_fits_the_code(mutation: Mutation) -> None:
    with mutated(mutation) as folder:
        compile((folder / mutation.file).read_text(encoding="utf-8"), mutation.file, "exec")
    assert mutation.metric in (None, "failed", "changed", *METRICS)


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 25
    assert len(HARMLESS) >= 5
    assert len({one.name for one in FAULTS + HARMLESS}) == len(FAULTS + HARMLESS)


SEEN_AT_ONCE = ("loss summed, not averaged", "evaluation in training mode", "stale logits", "images not scaled")


@pytest.mark.parametrize("change", [one for one in CHANGES if one.name in SEEN_AT_ONCE], ids=lambda one: one.name)
def test_a_change_of_what_is_trained_is_told_by_facts_and_never_improved(base: Base, change: Mutation) -> None:
    verdicts = [cell.verdict for cell in compare_with(base, change, counts_decide=False).cells]
    assert set(verdicts) & set(SEEN)
    assert "improved" not in verdicts


def test_a_refactoring_is_no_change(base: Base) -> None:
    (one,) = [one for one in REFACTORINGS if one.name == "loss as a function"]
    assert not is_seen(compare_with(base, one, counts_decide=False))
