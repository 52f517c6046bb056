"""What the raw rounds of one cell say: their median, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Interval:
    """A median with its confidence interval, in the unit of the rounds.

    Attributes:
        middle: The median.
        low: Lower end; None where there are too few rounds for the confidence asked.
        high: Upper end; None likewise.
    """

    middle: float
    low: float | None
    high: float | None


def median_interval(rounds: Sequence[float], confidence: float = 0.95) -> Interval:
    """Median of the rounds with the interval between two of their order statistics.

    It assumes nothing of the rounds' distribution: the number of rounds below the true median is
    binomial(n, 1/2), so the interval from the k-th smallest to the k-th largest round covers it
    with probability 1 - 2 P(X < k). The largest k that keeps the confidence is taken; below six
    rounds none does at 95%, and the ends are None. Rounds of one process are not independent of
    that process: the interval says nothing of how another process would differ.

    Args:
        rounds: Durations, in any order; at least one.
        confidence: Between 0 and 1.

    Raises:
        ValueError: There are no rounds.

    Source: Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2.
    """
    if not rounds:
        raise ValueError("no rounds: a median needs at least one")
    ordered = sorted(rounds)
    n = len(ordered)
    tail = 0.0
    k = 0
    for below in range(n // 2):
        tail += math.comb(n, below) / 2**n
        if 2 * tail > 1 - confidence:
            break
        k = below + 1
    low, high = (ordered[k - 1], ordered[n - k]) if k else (None, None)
    return Interval(median(ordered), low, high)
