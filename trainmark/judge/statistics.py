"""How two sets of numbers differ, and how sure that is: pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from trainmark.store.rounds import Interval, median_interval

CONFIDENCE = 0.95
WIDEST = 300.0  # logarithm of a ratio that may be any: its exponential is finite still
Position = Literal["below", "inside", "above", "astride"]
Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float64]


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


def signed_rank_p(values: ArrayLike) -> float:
    """How likely values at least so far above zero are, where they lie evenly around zero.

    The exact one-sided probability of the sum of the ranks of the positive values, over all ways to
    set the signs; tied values share the mean of their ranks. Values at zero speak for neither side
    and count as negative, so that they never help to find a difference. Its smallest result is 2^-n.

    Args:
        values: Differences of pairs, [n]; 1 is given for none.

    Source: Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1, 1945; Pratt,
    Remarks on zeros and ties in the Wilcoxon signed rank procedures, JASA 54, 1959.
    """
    array = np.asarray(values, dtype=float)
    magnitudes = np.abs(array)
    order = np.argsort(magnitudes)
    doubled = np.arange(2, 2 * len(array) + 1, 2)  # ranks, whole numbers in spite of ties
    if np.any(np.diff(magnitudes[order]) == 0):
        doubled = np.rint(2 * rankdata(magnitudes[order])).astype(int)
    survival = _survival(tuple(doubled.tolist()))
    return float(survival[int(doubled[array[order] > 0].sum())])


@lru_cache(maxsize=256)
def _survival(doubled_ranks: tuple[int, ...]) -> Floats:
    """P(sum of the ranks with a positive sign >= s) for each s, all signs being equally likely."""
    mass = np.zeros(sum(doubled_ranks) + 1)
    mass[0] = 1.0
    for rank in doubled_ranks:
        with_rank = np.zeros_like(mass)
        with_rank[rank:] = mass[: len(mass) - rank]
        mass = (mass + with_rank) / 2
    return np.cumsum(mass[::-1])[::-1]


def smallest_signed_rank_p(n: int) -> float:
    """What :func:`signed_rank_p` gives at the least for n values."""
    return float(0.5**n)


def hodges_lehmann(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """The centre of the values, the median of all means of two, with its exact interval.

    The interval holds every centre that the signed-rank test does not reject on either side; its ends
    are None where there are too few values for the confidence asked.

    Args:
        values: Of a distribution that is even around its centre, [n]; at least one.
        confidence: Between 0 and 1.

    Raises:
        ValueError: There are no values.

    Source: Hodges and Lehmann, Estimates of location based on rank tests, Ann. Math. Stat. 34, 1963.
    """
    array = np.asarray(values, dtype=float)
    if not len(array):
        raise ValueError("no values: a centre needs at least one")
    rows, columns = np.triu_indices(len(array))
    walsh = np.sort((array[rows] + array[columns]) / 2)
    survival = _survival(tuple(range(2, 2 * len(array) + 1, 2)))[::2]  # P(W >= w), w = 0 … all ranks
    k = int(np.count_nonzero(survival <= (1 - confidence) / 2))  # so many of the outermost sums are too rare
    low, high = (float(walsh[k - 1]), float(walsh[-k])) if k else (None, None)
    return Interval(float(np.median(walsh)), low, high)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """The p-values made fit for being looked at together: none below alpha is wrong in more than alpha of families.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6, 1979.
    """
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for place, key in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - place) * p_values[key])
        adjusted[key] = min(largest, 1.0)
    return adjusted


def paired_difference(base: Sequence[float], new: Sequence[float], confidence: float = 0.90) -> Interval:
    """Mean of the differences new - base of paired numbers, with Student's interval.

    Of the interval at 90% each end by itself holds in 95% of cases, as a test of non-inferiority wants
    it. One pair has no interval.

    Args:
        base: One number a seed.
        new: The same seeds in the same order.
        confidence: Between 0 and 1.

    Raises:
        ValueError: The sides are empty or not of one length.
    """
    if not base:
        raise ValueError("no pairs: a difference needs at least one")
    differences = np.array([after - before for before, after in zip(base, new, strict=True)])
    middle, n = float(differences.mean()), len(differences)
    if n == 1:
        return Interval(middle, None, None)
    half = float(student.ppf((1 + confidence) / 2, n - 1) * differences.std(ddof=1) / math.sqrt(n))
    return Interval(middle, middle - half, middle + half)


def between_runs_interval(history: Sequence[float], base: float, new: float, confidence: float) -> Interval | None:
    """Ratio new / base of two runs of different moments, with the interval that earlier runs teach.

    Two runs of unchanged code differ as neighbours in the history do, so the spread is the root mean
    square of the steps between these, in logarithms; where the code has changed in between, the
    interval is only wider.

    Args:
        history: Numbers above zero of earlier runs, in the order of their moments.
        base: Above zero.
        new: Above zero.
        confidence: Between 0 and 1.

    Returns:
        None for a history of fewer than three runs, which has no spread.

    Source: von Neumann, Distribution of the ratio of the mean square successive difference to the
    variance, Ann. Math. Stat. 12, 1941.
    """
    if len(history) < 3:
        return None
    steps = np.diff(np.log(history))
    half = float(student.ppf((1 + confidence) / 2, len(steps)) * math.sqrt(float(np.mean(steps**2))))
    half = min(half, WIDEST)
    ratio = new / base
    return Interval(ratio, ratio * math.exp(-half), ratio * math.exp(half))


def pairs_needed(spread: float, distance: float, alpha: float, power: float = 0.8) -> int | None:
    """Roughly how many pairs a one-sided test takes to see a centre at that distance; None for no distance.

    Args:
        spread: Standard deviation of the values, or what stands for it.
        distance: From the centre to the bound, in the same unit.
        alpha: Of the test.
        power: How often it shall succeed.
    """
    if distance <= 0:
        return None
    quantiles = float(norm.isf(alpha) + norm.ppf(power))
    return math.ceil((quantiles * spread / distance) ** 2 * math.pi / 3)  # the rank test's efficiency is 3 / pi


def position(low: float, high: float, floor: float, ceiling: float) -> Position:
    """Where the interval from ``low`` to ``high`` lies against the band from ``floor`` to ``ceiling``."""
    if low > ceiling:
        return "above"
    if high < floor:
        return "below"
    return "inside" if floor <= low and high <= ceiling else "astride"
