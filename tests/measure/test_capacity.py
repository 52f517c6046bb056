"""The largest batch: found to one part in 64, and each attempt costs nothing but itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainmark.workloads.capacity import RESOLUTION, largest_that_fits


@given(limit=st.integers(1, 2**20))
def test_the_limit_is_found_within_one_step_of_bisection(limit: int) -> None:
    found = largest_that_fits(lambda size: size <= limit)
    assert found <= limit < found + max(1, found // RESOLUTION) + 1


@given(limit=st.integers(1, 63))
def test_a_small_limit_is_found_exactly(limit: int) -> None:
    assert largest_that_fits(lambda size: size <= limit) == limit


def test_nothing_fits_where_not_even_one_does() -> None:
    assert largest_that_fits(lambda size: False) == 0


def test_the_search_ends_where_all_fits() -> None:
    assert largest_that_fits(lambda size: True, largest=1000) == 512


def test_few_attempts_are_needed() -> None:
    tried: list[int] = []
    largest_that_fits(lambda size: tried.append(size) or size <= 100_000)
    assert len(tried) == len(set(tried)) <= 30
