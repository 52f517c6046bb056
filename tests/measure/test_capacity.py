"""The largest batch: found to one part in 64, and each attempt costs nothing but itself."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmark.measure.context import Context
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Outcome
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.workloads.capacity import BOUNDED, CAPACITY, LARGEST, RESOLUTION, largest_that_fits


@given(limit=st.integers(1, 2**20))
def test_the_limit_is_found_within_one_step_of_bisection(limit: int) -> None:
    found = largest_that_fits(lambda size: size <= limit)
    assert found <= limit < found + max(1, found // RESOLUTION) + 1


@given(limit=st.integers(1, 63))
def test_a_small_limit_is_found_exactly(limit: int) -> None:
    assert largest_that_fits(lambda size: size <= limit) == limit


def test_nothing_fits_where_not_even_one_does() -> None:
    assert largest_that_fits(lambda size: False) == 0


@given(limit=st.integers(0, 2**20), first=st.integers(1, 5))
def test_nothing_is_tried_below_the_first(limit: int, first: int) -> None:
    tried: list[int] = []
    found = largest_that_fits(lambda size: tried.append(size) or size <= limit, first)
    assert min(tried) == first
    assert found == 0 if limit < first else first <= found <= limit


class Attempts:
    """Answers each attempt at a batch; the sizes are kept.

    Args:
        fewest: Samples that the model can be trained on.
        most: Samples for which there is memory.
    """

    def __init__(self, fewest: int, most: int) -> None:
        self.tried: list[int] = []
        self.fewest, self.most = fewest, most
        self.limits = Limits()

    def call(self, function: str, cell: Cell, settings: Settings) -> Outcome:
        size = int(cell["batch_size"])
        self.tried.append(size)
        if size < self.fewest:
            return Outcome("error", None, "the model cannot be trained on one sample", "", 1.0)
        if size > self.most:
            return Outcome("oom", None, "no memory", "", 1.0)
        return Outcome("ok", 1000 * size, None, "", 1.0)

    def record(self, cell: Cell, settings: Settings, outcome: Outcome) -> tuple[Record, str]:
        return Record(cell, outcome.status, outcome.reason), outcome.log


def largest(attempts: Attempts) -> Record:
    record, _ = CAPACITY.measure(Cell.of("capacity"), Settings(), cast(Context, attempts))
    return record


def test_a_model_that_cannot_be_trained_on_one_sample_is_tried_with_two() -> None:
    attempts = Attempts(fewest=2, most=50)
    assert largest(attempts).metrics["max_batch_size"] == 50
    assert attempts.tried[:3] == [1, 2, 4]
    assert attempts.tried.count(1) == 1


def test_a_model_that_can_is_not_tried_otherwise_than_before() -> None:
    attempts = Attempts(fewest=1, most=2)
    assert largest(attempts).metrics["max_batch_size"] == 2
    assert attempts.tried == [1, 2, 4, 3]


class Crashing(Attempts):
    """Dies where a model could not be trained, and where there would be no memory."""

    def call(self, function: str, cell: Cell, settings: Settings) -> Outcome:
        outcome = super().call(function, cell, settings)
        return outcome if outcome.status == "ok" else Outcome("crashed", None, "died", "", 1.0)


def test_an_attempt_that_dies_before_any_has_worked_is_what_the_record_says() -> None:
    attempts = Crashing(fewest=2, most=50)
    assert largest(attempts).status == "crashed"
    assert attempts.tried == [1]


def test_an_attempt_that_dies_later_bounds_the_search_and_loses_nothing() -> None:
    attempts = Crashing(fewest=1, most=3)
    record = largest(attempts)
    assert (record.status, record.metrics["max_batch_size"]) == ("ok", 3)
    assert record.flags == (BOUNDED,)
    assert record.reason == "a batch of 4 ended otherwise than for memory: died"
    assert "at least 3" in CAPACITY.line(record)
    assert attempts.tried == [1, 2, 4, 3]


class OutOfTime(Attempts):
    """Is not done in the time of the cell from some size on."""

    def call(self, function: str, cell: Cell, settings: Settings) -> Outcome:
        outcome = super().call(function, cell, settings)
        return outcome if outcome.status == "ok" else Outcome("timeout", None, "not done after 900 s", "", 1.0)


def test_a_search_that_runs_out_of_time_keeps_what_it_has_and_tries_no_more() -> None:
    attempts = OutOfTime(fewest=1, most=100)
    record = largest(attempts)
    assert (record.status, record.metrics["max_batch_size"], record.flags) == ("ok", 64, (BOUNDED,))
    assert record.reason == "a batch of 128 ended otherwise than for memory: not done after 900 s"
    assert attempts.tried[-1] == 128


def test_a_search_that_ends_at_its_own_bound_says_so() -> None:
    record = largest(Attempts(fewest=1, most=2**40))
    assert (record.metrics["max_batch_size"], record.flags) == (LARGEST, (BOUNDED,))
    assert record.reason == f"the search ends at {LARGEST} samples, and all fitted: larger batches were not tried"


@pytest.mark.parametrize("most", [1, 50, 1000])
def test_a_search_that_memory_ends_says_nothing_more(most: int) -> None:
    record = largest(Attempts(fewest=1, most=most))
    assert (record.reason, record.flags) == (None, ())
    assert "at least" not in CAPACITY.line(record)


def test_where_two_samples_do_not_fit_that_is_told() -> None:
    record = largest(Attempts(fewest=2, most=1))
    assert (record.status, record.reason) == ("oom", "no memory")


def test_a_model_that_can_be_trained_on_no_batch_is_told_as_it_ended() -> None:
    attempts = Attempts(fewest=10, most=50)
    assert largest(attempts).status == "error"
    assert attempts.tried == [1, 2]


def test_the_search_ends_where_all_fits() -> None:
    assert largest_that_fits(lambda size: True, largest=1000) == 512


def test_few_attempts_are_needed() -> None:
    tried: list[int] = []
    largest_that_fits(lambda size: tried.append(size) or size <= 100_000)
    assert len(tried) == len(set(tried)) <= 30
