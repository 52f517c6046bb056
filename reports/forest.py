"""A forest plot: each compared cell's ratio of times with its interval, against the band that counts as no change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.comparison import CellComparison, Comparison

WIDTH = 240  # units of the drawing
MOST_BARS = 60  # more is no picture; the table of cells has all
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
    """

    cell: CellComparison
    low: float | None
    middle: float | None
    high: float | None
    beyond: str


@dataclass(frozen=True)
class Forest:
    """The plot.

    Attributes:
        bars: In the order of the comparison: the worst first, MOST_BARS at most.
        left_out: Cells that have none.
        ticks: Ratio in words, and its place.
        band: Begin and width of what counts as no change.
        width: Of the drawing.
    """

    bars: tuple[Bar, ...]
    left_out: int
    ticks: tuple[tuple[str, float], ...]
    band: tuple[float, float]
    width: int = WIDTH


def forest(comparison: Comparison) -> Forest:
    """Every compared cell, on a logarithmic axis that is the same to the left and to the right of 1."""
    known = [cell.time for cell in comparison.cells if cell.time is not None]
    ends = [end for time in known for end in (time.low, time.ratio, time.high) if end]
    margin = 1 + max(comparison.margins.default, comparison.margins.floor or 0.0)
    reach = min(max([margin * 1.15, *(max(end, 1 / end) for end in ends)]), FARTHEST)

    def place(ratio: float) -> float:
        share = 0.5 + math.log(ratio) / math.log(reach) / 2
        return round(WIDTH * min(max(share, 0.02), 0.98), 1)

    def bar(cell: CellComparison) -> Bar:
        time = cell.time
        low, ratio, high = (time.low, time.ratio, time.high) if time else (None, None, None)
        beyond = "" if not ratio else "right" if ratio > reach else "left" if ratio < 1 / reach else ""
        begin, middle, end = (place(end) if end else None for end in (low, ratio, high))
        return Bar(cell, begin, middle, end, beyond)

    left, right = place(1 / margin), place(margin)
    marks = [ratio for ratio in (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0) if 1 / reach <= ratio <= reach]
    ticks = tuple((f"{ratio:g}", place(ratio)) for ratio in marks)
    shown = comparison.cells[:MOST_BARS]
    return Forest(tuple(map(bar, shown)), len(comparison.cells) - len(shown), ticks, (left, round(right - left, 1)))
