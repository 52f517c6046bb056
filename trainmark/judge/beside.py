"""The numbers beside a verdict in words: always those of the metric that has the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from trainmark import formatting
from trainmark.judge.comparison import CellComparison, Comparison, MetricChange
from trainmark.store.metrics import METRICS, OVER_SEEDS

USUAL = "step_seconds"  # needs no name
_READING = (
    "Numbers are of the metric that has the verdict: the step time where no other is named; "
    "of counts and accuracy the difference."
)
_PAIRED = "New is the base's median times the ratio, which is estimated over the pairs."


@dataclass(frozen=True)
class Beside:
    """What stands beside the verdict of a cell; an en dash where there is nothing.

    Attributes:
        name: Of the metric; empty for the step time, and where no metric decided.
        base: Its value in the base.
        new: Its value in the new run.
        ratio: new / base; the difference for what is not judged by a ratio.
        interval: Of the same; an en dash where it has none.
    """

    name: str
    base: str
    new: str
    ratio: str
    interval: str

    def named(self, verdict: str) -> str:
        """The verdict with the metric that has it: ``regressed (compile time)``."""
        return f"{verdict} ({self.name})" if self.name else verdict


def beside(cell: CellComparison, *, signed: bool = False) -> Beside:
    """The numbers of the metric that decided a cell.

    Args:
        cell: As compared.
        signed: Whether a ratio reads as a change: ``+32.0%``.
    """
    change = cell.deciding
    if change is None:
        return Beside("", *[formatting.DASH] * 4)
    name = "" if change.name == USUAL else formatting.metric_name(change.name)
    base, new = (formatting.metric(change.name, value) for value in (change.base, change.new))
    return Beside(name, base, new, *_change_in_words(change, signed=signed))


def reading(comparison: Comparison) -> str:
    """How to read the numbers, in a line under them."""
    return f"{_READING} {_PAIRED}" if comparison.paired else _READING


def _change_in_words(change: MetricChange, *, signed: bool) -> tuple[str, str]:
    compared = METRICS[change.name].compared
    if change.base is None or change.new is None:
        return formatting.DASH, formatting.DASH
    if compared in OVER_SEEDS:
        difference, low, high = (
            formatting.difference(change.name, value) for value in (change.new - change.base, change.low, change.high)
        )
        return difference, _ends(low, high)
    if compared in ("exact", "explains"):
        return f"{change.new - change.base:+,}".replace("-", formatting.MINUS), formatting.DASH
    if signed:
        low, high = formatting.relative(change.low), formatting.relative(change.high)
        return formatting.relative(change.ratio), _ends(low, high)
    return formatting.times(change.ratio), formatting.interval(change.low, change.high)


def _ends(low: str, high: str) -> str:
    return formatting.DASH if formatting.DASH in (low, high) else f"{low} to {high}"
