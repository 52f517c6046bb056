"""A forest plot: each compared cell's ratio of times with its interval, against the band that counts as no change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainmark.judge.comparison import CellComparison, Comparison

WIDTH = 240  # units of the drawing
MOST_BARS = 60  # more is no picture, where a table of cells has all
WIDE = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)  # ratios at the ticks
NARROW = (0.9, 1.0, 1.1)  # where 0.8 and 1.25 lie outside
FARTHEST = 4.0  # ratio at the edge: what lies beyond is drawn at the edge, with an arrow


@dataclass(frozen=True)
class Bar:
    """One cell's place in the plot.

    Attributes:
        cell: As compared.
        low: Where its interval begins, in units from the left; None where it has none.
        middle: Where its ratio lies; None where it has none.
        high: Where the interval ends; None likewise.
        beyond: ``left`` or ``right`` where the ratio lies outside; else empty.
        band: Begin and width of what counts as no change in this cell.
    """

    cell: CellComparison
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
        left_out: Cells that have none.
        ticks: Ratio in words, and its place.
        width: Of the drawing.
    """

    bars: tuple[Bar, ...]
    left_out: int
    ticks: tuple[tuple[str, float], ...]
    width: int = WIDTH


def forest(comparison: Comparison, most: int = MOST_BARS) -> Forest:
    """Every compared cell, on a logarithmic axis that is the same to the left and to the right of 1.

    Args:
        comparison: Of two runs or sides.
        most: Bars; cells beyond them are counted.
    """
    known = [cell.time for cell in comparison.cells if cell.time is not None]
    ends = [end for time in known for end in (time.low, time.ratio, time.high) if end]
    margin = 1 + max([comparison.margins.default, *(comparison.margins.of(cell.label) for cell in comparison.cells)])
    reach = min(max([margin * 1.15, *(max(end, 1 / end) for end in ends)]), FARTHEST)

    def place(ratio: float) -> float:
        share = 0.5 + math.log(ratio) / math.log(reach) / 2
        return round(WIDTH * min(max(share, 0.02), 0.98), 1)

    def bar(cell: CellComparison) -> Bar:
        time = cell.time
        low, ratio, high = (time.low, time.ratio, time.high) if time else (None, None, None)
        beyond = "" if not ratio else "right" if ratio > reach else "left" if ratio < 1 / reach else ""
        begin, middle, end = (place(end) if end else None for end in (low, ratio, high))
        widest = 1 + comparison.margins.of(cell.label)
        left, right = place(1 / widest), place(widest)
        return Bar(cell, begin, middle, end, beyond, (left, round(right - left, 1)))

    marks = WIDE if reach >= 1.25 else NARROW
    ticks = tuple((f"{ratio:g}", place(ratio)) for ratio in marks if 1 / reach <= ratio <= reach)
    shown = comparison.cells[:most]
    return Forest(tuple(map(bar, shown)), len(comparison.cells) - len(shown), ticks)
