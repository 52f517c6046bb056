"""A forest plot: of each cell the ratio that its verdict is of, with its interval, against what counts as no change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trainmark.judge.beside import Beside, beside
from trainmark.judge.comparison import CellComparison, Comparison, MetricChange
from trainmark.store.metrics import METRICS

WIDTH = 240  # units of the drawing
MOST_BARS = 60  # more is no picture, where a table of cells has all
MOST_NOTED = 12  # that a reader looks at before anything else; the others are folded
QUIET = ("unchanged", "inconclusive", "unmeasured", "excluded", "new")  # verdicts that ask for nothing
WIDE = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)  # ratios at the ticks
NARROW = (0.9, 1.0, 1.1)  # where 0.8 and 1.25 lie outside
FARTHEST = 4.0  # ratio at the edge: what lies beyond is drawn at the edge, with an arrow


@dataclass(frozen=True)
class Bar:
    """One cell's place in the plot.

    Attributes:
        cell: As compared.
        shown: The numbers beside it.
        low: Where its interval begins, in units from the left; None where it has none.
        middle: Where its ratio lies; None where it has none.
        high: Where the interval ends; None likewise.
        beyond: ``left`` or ``right`` where the ratio lies outside; else empty.
        band: Begin and width of what counts as no change in this cell.
    """

    cell: CellComparison
    shown: Beside
    low: float | None
    middle: float | None
    high: float | None
    beyond: str
    band: tuple[float, float]


@dataclass(frozen=True)
class Forest:
    """The plot.

    Attributes:
        bars: In the order of the comparison: the worst first, MOST_BARS at most.
        left_out: Cells that have none, by verdict.
        ticks: Ratio in words, and its place.
        width: Of the drawing.
    """

    bars: tuple[Bar, ...]
    left_out: Mapping[str, int]
    ticks: tuple[tuple[str, float], ...]
    width: int = WIDTH

    @property
    def noted(self) -> tuple[Bar, ...]:
        """Bars of what differs or fails: at most MOST_NOTED of them."""
        return tuple(bar for bar in self.bars if bar.cell.verdict not in QUIET)[:MOST_NOTED]

    @property
    def alike(self) -> tuple[Bar, ...]:
        """All other bars."""
        return tuple(bar for bar in self.bars if bar not in self.noted)

    @property
    def alike_words(self) -> str:
        """How many of them have each verdict: ``3 inconclusive, 20 unchanged``."""
        return _counted([bar.cell.verdict for bar in self.alike])

    @property
    def left_out_words(self) -> str:
        """How many cells have no bar, by verdict: ``2 inconclusive, 3 unchanged``."""
        return ", ".join(f"{count} {verdict}" for verdict, count in self.left_out.items())


def _counted(verdicts: Sequence[str]) -> str:
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))


def forest(comparison: Comparison, most: int = MOST_BARS) -> Forest:
    """Every compared cell, on a logarithmic axis that is the same to the left and to the right of 1.

    Args:
        comparison: Of two runs or sides.
        most: Bars; cells beyond them are counted.
    """
    known = [change for cell in comparison.cells if (change := _drawn(cell)) is not None]
    ends = [end for change in known for end in (change.low, change.ratio, change.high) if end]
    margin = 1 + max([comparison.margins.default, *(comparison.margins.of(cell.label) for cell in comparison.cells)])
    reach = min(max([margin * 1.15, *(max(end, 1 / end) for end in ends)]), FARTHEST)

    def place(ratio: float) -> float:
        share = 0.5 + math.log(ratio) / math.log(reach) / 2
        return round(WIDTH * min(max(share, 0.02), 0.98), 1)

    def bar(cell: CellComparison) -> Bar:
        change = _drawn(cell)
        low, ratio, high = (change.low, change.ratio, change.high) if change else (None, None, None)
        beyond = "" if not ratio else "right" if ratio > reach else "left" if ratio < 1 / reach else ""
        begin, middle, end = (place(end) if end else None for end in (low, ratio, high))
        margin = comparison.margins.of(cell.label)
        widest = 1 + (margin if change is None or change.timed else METRICS[change.name].tolerance or 0.0)
        left, right = place(1 / widest), place(widest)
        shown = beside(cell, signed=comparison.paired)
        return Bar(cell, shown, begin, middle, end, beyond, (left, round(right - left, 1)))

    marks = WIDE if reach >= 1.25 else NARROW
    ticks = tuple((f"{ratio:g}", place(ratio)) for ratio in marks if 1 / reach <= ratio <= reach)
    shown = comparison.cells[:most]
    return Forest(tuple(map(bar, shown)), replace(comparison, cells=comparison.cells[most:]).counts, ticks)


def _drawn(cell: CellComparison) -> MetricChange | None:
    """The change that decided it, where that is judged by a ratio: counts and accuracy have no place on the axis."""
    change = cell.deciding
    return change if change is not None and METRICS[change.name].compared in ("time", "tolerance") else None
