"""Whether a setting trains a model that is no worse: paired trainings, looked at a fixed number of times.

A setting is *not inferior* where the mean difference to the default's trainings of the same seeds is shown to lie
above minus the margin, one-sided. Trainings are added until that is shown, so each look of SEED_LOOKS spends its part
of ALPHA: by the union bound all of them together are wrong in no more than ALPHA of cases. A setting is *inferior*
where the opposite is shown at ALPHA at a look: nobody is promised anything by that, it only ends the trying.

Sources: Wellek, Testing Statistical Hypotheses of Equivalence and Noninferiority, 2010, chapter 5; the looks as in
:mod:`trainmark.judge.sequential`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.special import stdtrit  # of Student's t: scipy.stats takes a second to import

from trainmark.store.rounds import Interval

ALPHA = 0.05
SEED_LOOKS = (6, 9, 13, 20)  # pairs of trainings after which it is looked
FEWEST = 4  # differences that tell a spread at all: to stop trying, and to say how far it is


@dataclass(frozen=True)
class Judgement:
    """What paired trainings say.

    Attributes:
        word: ``not inferior``, ``inferior``, ``undecided`` or ``not measured``.
        difference: Mean of the differences, and the ends that hold at each look; None without trainings.
        seeds: Pairs of trainings.
        more_seeds: Roughly how many more would decide it; 0 where it is decided.
    """

    word: str
    difference: Interval | None
    seeds: int
    more_seeds: int

    @property
    def decided(self) -> bool:
        """Whether more trainings would change nothing."""
        return self.word in ("not inferior", "inferior")


def judge_differences(differences: Sequence[float], margin: float, resolution: float = 0.0) -> Judgement:
    """What the differences to the default's trainings say, the same however often one asks.

    Args:
        differences: Of the metric, a pair of trainings each in the order of their seeds; above zero is better.
        margin: By how much the metric may be worse; above zero.
        resolution: Smallest step of the metric, such as 1 over the held-out samples: equal numbers do not show that
            there is no spread.
    """
    n = len(differences)
    if not n:
        return Judgement("not measured", None, 0, SEED_LOOKS[0])
    for look in (size for size in SEED_LOOKS if size <= n):
        middle, spread = _moments(differences[:look], resolution)
        if middle - _quantile(look, ALPHA / len(SEED_LOOKS)) * spread > -margin:
            return Judgement("not inferior", _interval(differences, resolution), n, 0)
        if middle + _quantile(look, ALPHA) * spread < -margin:
            return Judgement("inferior", _interval(differences, resolution), n, 0)
    more = _more_seeds(differences, margin, resolution)
    return Judgement("undecided", _interval(differences, resolution), n, more)


def _moments(differences: Sequence[float], resolution: float) -> tuple[float, float]:
    """Mean, and standard error of the mean."""
    return mean(differences), max(stdev(differences), resolution) / math.sqrt(len(differences))


def _quantile(n: int, alpha: float) -> float:
    return float(stdtrit(n - 1, 1 - alpha))


def _interval(differences: Sequence[float], resolution: float) -> Interval:
    n = len(differences)
    if n < 2:
        return Interval(differences[0], None, None)
    middle, spread = _moments(differences, resolution)
    reach = _quantile(n, ALPHA / len(SEED_LOOKS)) * spread
    return Interval(middle, middle - reach, middle + reach)


def _more_seeds(differences: Sequence[float], margin: float, resolution: float) -> int:
    """Up to the look at which the interval would clear the margin, if mean and spread stay what they are."""
    n = len(differences)
    later = [size for size in SEED_LOOKS if size > n]
    if not later:
        return 0
    if n < FEWEST:
        return later[0] - n
    middle, error = _moments(differences, resolution)
    spread = error * math.sqrt(n)
    for look in later:
        if abs(middle + margin) > _quantile(look, ALPHA / len(SEED_LOOKS)) * spread / math.sqrt(look):
            return look - n
    return later[-1] - n
