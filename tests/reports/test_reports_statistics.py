from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics import paired_difference, position, ratio_interval

durations = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)


def test_the_ratio_is_that_of_the_medians() -> None:
    assert ratio_interval([2.0, 1.0, 3.0], [4.0, 4.0, 9.0]).middle == 2.0


def test_five_rounds_give_a_ratio_without_an_interval() -> None:
    ratio = ratio_interval([1.0] * 5, [2.0] * 30)
    assert (ratio.low, ratio.high) == (None, None)


def test_six_rounds_give_an_interval_from_their_extremes() -> None:
    ratio = ratio_interval([1.0, 1.0, 1.0, 1.0, 1.0, 2.0], [2.0, 3.0, 3.0, 3.0, 3.0, 4.0])
    assert (ratio.low, ratio.high) == (1.0, 4.0)


@given(durations, durations)
def test_swapping_sides_inverts_the_ratio_and_its_interval(base: list[float], new: list[float]) -> None:
    there, back = ratio_interval(base, new), ratio_interval(new, base)
    assert there.middle == pytest.approx(1 / back.middle)
    if there.low is not None:
        assert back.high is not None
        assert there.low == pytest.approx(1 / back.high)


@given(durations)
def test_a_side_against_itself_has_one_within_its_interval(rounds: list[float]) -> None:
    ratio = ratio_interval(rounds, rounds)
    assert ratio.middle == 1
    if ratio.low is not None:
        assert ratio.high is not None
        assert ratio.low <= 1 <= ratio.high


@pytest.mark.parametrize("duration", [0.0, -1.0, math.nan])
def test_a_duration_that_is_not_above_zero_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        ratio_interval([1.0], [duration])


def test_paired_numbers_differ_by_their_mean_and_range() -> None:
    difference = paired_difference([1.0, 2.0, 3.0], [2.0, 2.0, 5.0])
    assert (difference.middle, difference.low, difference.high) == (1.0, 0.0, 2.0)


def test_pairs_need_two_sides_of_one_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [])


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(1.4, 2, "above"), (0.1, 0.6, "below"), (0.9, 1.1, "inside"), (0.7, 1.3, "inside"), (1.2, 1.4, "astride")],
)
def test_an_interval_lies_above_below_inside_or_astride_the_band(low: float, high: float, found: str) -> None:
    assert position(low, high, 0.7, 1.3) == found
