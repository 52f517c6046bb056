"""How two sets of numbers differ, and how sure that is: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Literal

from results.rounds import Interval, median_interval

CONFIDENCE = 0.95
Position = Literal["below", "inside", "above", "astride"]


def ratio_interval(base: Sequence[float], new: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Ratio of the medians, new over base, between the quotients of the opposite ends of their intervals.

    It assumes no distribution, and needs six rounds a side where each median's interval has 95%. The
    ratio is then covered in 90% of cases or more: both medians would have to be missed, or one by far.
    The interval knows the spread within the two processes, not that between processes.

    Args:
        base: Durations above zero, in any order and unit; at least one.
        new: Likewise, in the same unit.
        confidence: Of the interval of each median; between 0 and 1.

    Raises:
        ValueError: A side is empty, or holds a duration that is not above zero.
    """
    if not all(duration > 0 for duration in (*base, *new)):  # NaN is not above zero either
        raise ValueError("durations are above zero")
    below, above = median_interval(base, confidence), median_interval(new, confidence)
    ratio = above.middle / below.middle
    if below.low is None or below.high is None or above.low is None or above.high is None:
        return Interval(ratio, None, None)
    return Interval(ratio, above.low / below.high, above.high / below.low)


def paired_difference(base: Sequence[float], new: Sequence[float]) -> Interval:
    """Mean of the differences new - base of paired numbers, with the smallest and the largest of them.

    The range needs no more than two pairs and assumes no distribution. It covers the median
    difference with probability 1 - 2^(1 - n): 75% for three seeds, 94% for five.

    Args:
        base: One number a seed.
        new: The same seeds in the same order.

    Raises:
        ValueError: The sides are empty or not of one length.
    """
    if not base:
        raise ValueError("no pairs: a difference needs at least one")
    differences = [after - before for before, after in zip(base, new, strict=True)]
    return Interval(mean(differences), min(differences), max(differences))


def position(low: float, high: float, floor: float, ceiling: float) -> Position:
    """Where the interval from ``low`` to ``high`` lies against the band from ``floor`` to ``ceiling``."""
    if low > ceiling:
        return "above"
    if high < floor:
        return "below"
    return "inside" if floor <= low and high <= ceiling else "astride"
