"""The median of the rounds of one cell, and the interval that covers it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainmark.store.rounds import median_interval

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no bug
durations = st.floats(1e-9, 1e4)
many = st.lists(durations, min_size=6, max_size=200)


@unhurried
@given(st.lists(durations, min_size=1, max_size=200))
def test_the_interval_covers_the_median_and_lies_within_the_rounds(rounds: list[float]) -> None:
    interval = median_interval(rounds)
    if interval.low is not None and interval.high is not None:
        assert min(rounds) <= interval.low <= interval.middle <= interval.high <= max(rounds)


@unhurried
@given(many)
def test_both_ends_are_rounds_that_were_measured(rounds: list[float]) -> None:
    interval = median_interval(rounds)
    assert interval.low in rounds
    assert interval.high in rounds


@unhurried
@given(st.lists(durations, min_size=1, max_size=5))
def test_fewer_than_six_rounds_have_no_interval(rounds: list[float]) -> None:
    interval = median_interval(rounds)
    assert (interval.low, interval.high) == (None, None)


@unhurried
@given(many, st.integers(-20, 20))
def test_rounds_in_another_unit_give_the_interval_in_that_unit(rounds: list[float], exponent: int) -> None:
    scale = 2.0**exponent  # a power of two, so that no rounding hides a difference
    interval = median_interval(rounds)
    scaled = median_interval([scale * seconds for seconds in rounds])
    assert interval.low is not None
    assert interval.high is not None
    assert (scaled.low, scaled.middle, scaled.high) == (
        scale * interval.low,
        scale * interval.middle,
        scale * interval.high,
    )


@unhurried
@given(many, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter(rounds: list[float], shuffler: random.Random) -> None:
    shuffled = list(rounds)
    shuffler.shuffle(shuffled)
    assert median_interval(shuffled) == median_interval(rounds)


@unhurried
@given(many)
def test_more_confidence_never_gives_a_narrower_interval(rounds: list[float]) -> None:
    narrow, wide = median_interval(rounds, 0.8), median_interval(rounds, 0.95)
    assert wide.low is not None
    assert wide.high is not None
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.low <= narrow.low <= narrow.high <= wide.high


@pytest.mark.parametrize(
    ("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (25, 8, 18), (50, 18, 33)]
)
def test_the_ends_are_the_order_statistics_of_the_published_table(n: int, low: int, high: int) -> None:
    """Ranks at 95% from the binomial table, as in any table of confidence limits of the median."""
    interval = median_interval([float(rank) for rank in range(1, n + 1)])
    assert (interval.low, interval.high) == (low, high)


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    n, samples = 20, 4000
    draw = random.Random(20)
    true_median = 1.0  # of exp(N(0, 1)): far from symmetric, as durations are
    covered = 0
    for _ in range(samples):
        interval = median_interval([draw.lognormvariate(0.0, 1.0) for _ in range(n)])
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= true_median <= interval.high
    expected = 1 - 2 * sum(math.comb(n, below) for below in range(6)) / 2**n
    assert expected == pytest.approx(0.9586, abs=1e-4)
    standard_error = math.sqrt(expected * (1 - expected) / samples)
    assert covered / samples == pytest.approx(expected, abs=4 * standard_error)


@pytest.mark.parametrize("n", [200, 1000, 1023, 1040, 1100, 3000])  # 2**-n is 0.0 from 1075 on
def test_thousands_of_rounds_have_an_interval_of_about_two_root_n_ranks(n: int) -> None:
    interval = median_interval([float(rank) for rank in range(1, n + 1)])
    assert interval.low is not None
    assert interval.high is not None
    assert interval.high - interval.low == pytest.approx(1.96 * math.sqrt(n), abs=3)


def test_equal_rounds_have_an_interval_without_width() -> None:
    interval = median_interval([0.25] * 30)
    assert (interval.low, interval.middle, interval.high) == (0.25, 0.25, 0.25)


def test_a_single_slow_round_moves_neither_the_median_nor_the_interval() -> None:
    rounds = [1.0] * 30
    assert median_interval([*rounds[:-1], 1000.0]) == median_interval(rounds)


def test_no_rounds_have_no_median() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        median_interval([])
