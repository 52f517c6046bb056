"""When a cell is decided: pairs are looked at a fixed number of times, and error rates hold in spite of it.

A cell has two hypotheses of change, "slower than the margin" and "faster than its inverse", and one of
none: "within both". Each is tested by the exact signed-rank test at the looks of LOOKS and nowhere
else. Every look spends the same part of alpha, so by the union bound the smallest p-value of all looks
times their number is a p-value whenever one stops: it needs no joint distribution of the looks, costs
little power, and lets the pairs of a cell be stopped for any reason, time included. Over the cells
Holm's procedure is applied to these.

A change is an alarm until it has been confirmed: pairs of other processes, of other servers, are
measured after it, and must show the same change against the margin by themselves.

Sources: Lan and DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70, 1983 (alpha is
spent look by look); Jennison and Turnbull, Interim analyses: the repeated confidence interval approach,
JRSS B 51, 1989; Ye, Li, Liu and Yao, A group sequential Holm procedure with multiple primary endpoints,
Statistics in Medicine 32, 2013; Schuirmann, A comparison of the two one-sided tests procedure, J.
Pharmacokin. Biopharm. 15, 1987.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainmark.judge.statistics import Floats, hodges_lehmann, holm, pairs_needed, signed_rank_p, smallest_signed_rank_p
from trainmark.store.rounds import Interval

ALPHA = 0.05  # of a false alarm anywhere, where a cell's ratio is just the margin; before the confirmation
LOOKS = (12, 24, 36, 48, 72, 96)  # pairs; at the first dozens of cells can be decided, where all pairs agree
CONFIRMING_LOOKS = (12, 24, 36, 48)
FOCUS = 3  # cells that are measured on their own once all have been looked at twice


@dataclass(frozen=True)
class Measured:
    """The undisturbed pairs of a cell.

    Attributes:
        margin: Share by which its time may differ.
        exploring: Logarithms of the ratios new / base, in the order in which they were measured.
        confirming: Likewise, of the pairs measured after an alarm.
    """

    margin: float
    exploring: Sequence[float]
    confirming: Sequence[float] = ()


@dataclass(frozen=True)
class Decision:
    """What the pairs of a cell say.

    Attributes:
        word: ``regressed``, ``improved``, ``unchanged`` or ``inconclusive``.
        alarm: The change that the first pairs show, confirmed or not; None where they show none.
        exhausted: Whether all looks have been taken: more pairs would not be looked at.
        p_value: Of the change that is nearer to an alarm, shared among the cells.
        ratio: Estimate over all pairs, with an interval that holds in spite of the looks; None without pairs.
        more_pairs: Roughly how many more pairs it would take; None where that cannot be told.
    """

    word: str
    alarm: str | None
    exhausted: bool
    p_value: float
    ratio: Interval | None
    more_pairs: int | None = None

    @property
    def open(self) -> bool:
        """Whether more pairs may decide it."""
        return self.word == "inconclusive" and not self.exhausted


def decide(cells: Mapping[str, Measured]) -> dict[str, Decision]:
    """What can be said of each cell now; the same pairs give the same answer, however often one asks.

    Args:
        cells: Join key -> pairs, of all cells of the comparison, those without pairs too: the error
            rate is shared among them.
    """
    worse = holm({key: _smallest_p(cell.exploring, math.log1p(cell.margin), len(cells)) for key, cell in cells.items()})
    better = holm(
        {
            key: _smallest_p([-value for value in cell.exploring], math.log1p(cell.margin), len(cells))
            for key, cell in cells.items()
        }
    )
    return {key: _decide(cell, worse[key], better[key], len(cells)) for key, cell in cells.items()}


def next_cells(cells: Mapping[str, Measured], decisions: Mapping[str, Decision]) -> dict[str, bool]:
    """The cells to measure now: join key -> whether it is to confirm an alarm; empty where none is open.

    All open cells, until each has been looked at twice; from then on those in alarm, and a few that lie
    nearest to one: so that the budget goes where a change may be. Which cells are measured when is free:
    each is looked at after its own number of pairs, whenever it has them.
    """
    wanted = [key for key, decision in decisions.items() if decision.open]
    alarmed = [key for key in wanted if decisions[key].alarm]
    others = [key for key in wanted if not decisions[key].alarm]
    young = [key for key in others if len(cells[key].exploring) < LOOKS[1]]
    nearest = sorted(others, key=lambda key: decisions[key].p_value)[: max(FOCUS - len(alarmed), 0)]
    return {key: decisions[key].alarm is not None for key in alarmed + (young or nearest)}


def _decide(cell: Measured, worse: float, better: float, family: int) -> Decision:
    alarm = "regressed" if worse <= ALPHA else "improved" if better <= ALPHA else None
    everything = [*cell.exploring, *cell.confirming]
    ratio = _ratio(everything) if everything else None
    bound = math.log1p(cell.margin)
    if alarm is None:
        p_value = min(worse, better)
        if _is_within(cell.exploring, bound):
            return Decision("unchanged", None, True, p_value, ratio)
        exhausted = len(cell.exploring) >= LOOKS[-1]
        return Decision("inconclusive", None, exhausted, p_value, ratio, _more_pairs(cell.exploring, bound, family))
    sign = 1 if alarm == "regressed" else -1
    confirming, p_value = [sign * value for value in cell.confirming], min(worse, better)
    if _smallest_p(confirming, bound, 1, CONFIRMING_LOOKS) <= ALPHA:
        return Decision(alarm, alarm, True, p_value, ratio)
    exhausted = len(confirming) >= CONFIRMING_LOOKS[-1]
    more = _more_pairs(confirming or cell.exploring, bound, 1)
    return Decision("inconclusive", alarm, exhausted, p_value, ratio, more)


def _smallest_p(values: Sequence[float], bound: float, family: int, looks: Sequence[int] = LOOKS) -> float:
    """The p-value of "the centre is above the bound", over the looks that the values reach.

    A look at which not even values all on one side would be significant is not asked.
    """
    asked = [n for n in looks if n <= len(values) and smallest_signed_rank_p(n) * len(looks) * family <= ALPHA]
    shifted = np.asarray(values, dtype=float) - bound
    return min((min(1.0, len(looks) * signed_rank_p(shifted[:n])) for n in asked), default=1.0)


def _is_within(values: Sequence[float], bound: float) -> bool:
    """Whether the centre is shown to lie between -bound and bound, by two one-sided tests at one look."""
    array = np.asarray(values, dtype=float)
    return any(
        len(LOOKS) * max(signed_rank_p(array[:n] + bound), signed_rank_p(bound - array[:n])) <= ALPHA
        for n in LOOKS
        if n <= len(array)
    )


def _ratio(values: Sequence[float]) -> Interval:
    centre = hodges_lehmann(values, 1 - ALPHA / len(LOOKS))
    ends = (None if end is None else math.exp(end) for end in (centre.low, centre.high))
    return Interval(math.exp(centre.middle), *ends)


def _more_pairs(values: Sequence[float], bound: float, family: int) -> int | None:
    """From the spread so far and the distance to the nearer bound."""
    if len(values) < LOOKS[0]:
        return LOOKS[0] - len(values)
    array: Floats = np.asarray(values, dtype=float)
    spread = 1.4826 * float(np.median(np.abs(array - np.median(array))))
    distance = abs(abs(float(np.median(array))) - bound)
    needed = pairs_needed(spread, distance, ALPHA / len(LOOKS) / family)
    return None if needed is None else max(needed - len(array), 1)
