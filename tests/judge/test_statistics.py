"""Pure functions of arrays: their exact values where these are known, and what holds for any array."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from trainmark.judge.statistics import (
    between_runs_interval,
    hodges_lehmann,
    holm,
    paired_difference,
    pairs_needed,
    position,
    ratio_interval,
    signed_rank_p,
    smallest_signed_rank_p,
)

durations = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)
logs = st.lists(st.floats(-2, 2).filter(lambda value: abs(value) > 1e-6), min_size=1, max_size=40)


# The signed-rank test


@pytest.mark.parametrize(("n", "p"), [(1, 1 / 2), (6, 1 / 64), (12, 1 / 4096)])
def test_values_all_above_zero_are_as_rare_as_one_choice_of_signs(n: int, p: float) -> None:
    assert signed_rank_p(np.arange(1, n + 1)) == p == smallest_signed_rank_p(n)


def test_a_known_sum_of_ranks_has_its_tabulated_probability() -> None:
    # Ranks 1 and 3 are negative: of all choices of negative ranks {}, 1, 2, 3, 4, 1+2 and 1+3 sum to no more.
    assert signed_rank_p([-1, 2, -3, 4, 5, 6, 7, 8]) == 7 / 256


@given(st.lists(st.integers(-50, 50).filter(bool), min_size=2, max_size=30, unique_by=abs))
def test_the_exact_test_agrees_with_another_that_was_written_elsewhere(values: list[int]) -> None:
    expected = scipy.stats.wilcoxon(values, alternative="greater", method="exact").pvalue
    assert signed_rank_p(values) == pytest.approx(expected)


def test_tied_values_share_their_ranks() -> None:
    assert signed_rank_p([1, 1, -1]) == 4 / 8  # 2 + 2 of the ranks 2, 2, 2: three choices of signs reach 4, one 6


@given(logs)
def test_no_values_and_values_at_zero_show_nothing(values: list[float]) -> None:
    assert signed_rank_p([]) == signed_rank_p([0.0] * len(values)) == 1


@given(logs)
def test_both_sides_of_the_test_cover_all_outcomes(values: list[float]) -> None:
    assert signed_rank_p(values) + signed_rank_p([-value for value in values]) >= 1


def test_the_test_is_wrong_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    false = np.mean([signed_rank_p(random.standard_t(2, 12)) <= 0.05 for _ in range(4000)])
    assert 0.035 < false <= 0.058  # the largest attainable level below 0.05 is 0.046; two standard errors around it


# Estimates


def test_the_centre_of_few_values_is_the_median_of_their_means() -> None:
    centre = hodges_lehmann([0.0, 2.0, 10.0])
    assert (centre.middle, centre.low) == (3.5, None)  # of the means 0, 1, 2, 5, 6, 10


def test_six_values_give_an_interval_between_their_extremes() -> None:
    centre = hodges_lehmann(range(1, 7))
    assert (centre.low, centre.middle, centre.high) == (1.0, 3.5, 6.0)


def test_an_estimate_needs_a_value() -> None:
    with pytest.raises(ValueError, match="at least one"):
        hodges_lehmann([])


@given(logs)
def test_turning_the_signs_turns_the_estimate_and_its_interval(values: list[float]) -> None:
    there, back = hodges_lehmann(values), hodges_lehmann([-value for value in values])
    assert there.middle == pytest.approx(-back.middle)
    assert (there.low is None) == (back.high is None)
    if there.low is not None and back.high is not None:
        assert there.low == pytest.approx(-back.high)


@given(logs, st.floats(-3, 3))
def test_moving_all_values_moves_the_estimate_by_as_much(values: list[float], by: float) -> None:
    moved = hodges_lehmann([value + by for value in values])
    assert moved.middle == pytest.approx(hodges_lehmann(values).middle + by, abs=1e-9)


def test_the_interval_holds_the_centre_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    held = [
        (interval.low or 0) <= 0 <= (interval.high or 0)
        for interval in (hodges_lehmann(random.standard_t(3, 15)) for _ in range(2000))
    ]
    assert 0.935 < np.mean(held) < 0.985


def test_holm_asks_most_of_the_smallest() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "c": 0.06, "b": 0.06}
    assert holm({}) == {}


@given(st.dictionaries(st.integers(), st.floats(0, 1), min_size=1, max_size=20))
def test_holm_raises_each_p_value_and_keeps_their_order(p_values: dict[int, float]) -> None:
    adjusted = holm(p_values)
    assert all(p_values[key] <= adjusted[key] <= 1 for key in p_values)
    ordered = sorted(p_values, key=p_values.__getitem__)
    assert [adjusted[key] for key in ordered] == sorted(adjusted.values())


# Seeds, and runs of different moments


def test_paired_numbers_differ_by_their_mean_with_students_interval() -> None:
    difference = paired_difference([1.0, 2.0, 3.0], [2.0, 2.0, 5.0])
    assert difference.middle == 1.0
    half = 2.92 / math.sqrt(3)  # the 95% quantile of t with two degrees of freedom, spread 1
    assert difference.low == pytest.approx(1 - half, abs=1e-3)
    assert difference.high == pytest.approx(1 + half, abs=1e-3)


def test_one_pair_has_no_interval() -> None:
    assert (paired_difference([1.0], [2.0]).low, paired_difference([1.0], [2.0]).middle) == (None, 1.0)


def test_pairs_need_two_sides_of_one_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [])


def test_two_runs_are_told_apart_by_no_more_than_earlier_ones_differ() -> None:
    steady = between_runs_interval([1.0, 1.01, 0.99, 1.0, 1.01, 1.0], 1.0, 1.2, 0.95)
    shaky = between_runs_interval([1.0, 1.4, 0.9, 1.3, 1.0, 1.4], 1.0, 1.2, 0.95)
    assert steady is not None and steady.low is not None and steady.low > 1.1
    assert shaky is not None and shaky.low is not None and shaky.low < 1
    assert shaky.middle == 1.2


def test_a_history_of_two_runs_has_no_spread() -> None:
    assert between_runs_interval([1.0, 1.0], 1.0, 1.0, 0.95) is None


@given(st.lists(st.floats(0.5, 2), min_size=3, max_size=12), st.floats(0.5, 2), st.floats(0.5, 2), st.floats(0.1, 9))
def test_the_unit_of_time_changes_nothing(history: list[float], base: float, new: float, unit: float) -> None:
    plain = between_runs_interval(history, base, new, 0.95)
    scaled = between_runs_interval([unit * one for one in history], unit * base, unit * new, 0.95)
    assert plain is not None and scaled is not None
    assert scaled.middle == pytest.approx(plain.middle)
    assert scaled.low == pytest.approx(plain.low)


def test_pairs_needed_grow_with_the_square_of_spread_over_distance() -> None:
    near, far = pairs_needed(0.03, 0.01, 0.05), pairs_needed(0.03, 0.02, 0.05)
    assert near is not None and far is not None
    assert near / far == pytest.approx(4, rel=0.1)
    # (1.6449 + 0.8416)^2 * 9 * pi / 3 = 58.3; with a power of one half (1.6449)^2 * 9 * pi / 3 = 25.5
    assert (near, pairs_needed(0.03, 0.01, 0.05, power=0.5)) == (59, 26)
    assert pairs_needed(0.03, 0.0, 0.05) is None


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(1.4, 2, "above"), (0.1, 0.6, "below"), (0.9, 1.1, "inside"), (0.7, 1.3, "inside"), (1.2, 1.4, "astride")],
)
def test_an_interval_lies_above_below_inside_or_astride_the_band(low: float, high: float, found: str) -> None:
    assert position(low, high, 0.7, 1.3) == found


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
