"""How the times of two sides are distributed: the share of rounds that took no longer, baseline and candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.ticker import PercentFormatter

from trainmark import formatting
from trainmark.judge.comparison import CellComparison
from trainmark.page.plots.canvas import BLUE, ORANGE, SECONDS, Numbers, Plot, Style, axes, drawing, spots, svg

SIDES = {"baseline": BLUE, "candidate": ORANGE}
MOST_CELLS = 3  # that fail, or changed most
FEWEST = 4  # times that have a distribution
QUANTILES = (0.25, 0.5, 0.75)
Times = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def distribution_plots(cells: Sequence[CellComparison], times: Times) -> list[Plot]:
    """The distribution of both sides of the cells that differ most, in the order of the comparison.

    Args:
        cells: Of a comparison, those that fail first.
        times: Join key -> seconds of the baseline and of the candidate: rounds, or the best block of each process.
    """
    drawn = [cell for cell in cells if min(map(len, times.get(cell.key, ((), ())))) >= FEWEST]
    with drawing():
        return [_distribution(cell, *times[cell.key]) for cell in drawn[:MOST_CELLS]]


def _distribution(cell: CellComparison, base: Sequence[float], new: Sequence[float]) -> Plot:
    sides = dict(zip(SIDES, (base, new), strict=True))
    canvas = axes()
    for side, seconds in sides.items():
        canvas.ecdf(list(seconds), color=SIDES[side], linewidth=1.6)  # of matplotlib: seaborn's takes far longer
    canvas.yaxis.set_major_formatter(PercentFormatter(1))
    canvas.xaxis.set_major_formatter(SECONDS)
    canvas.locator_params(axis="x", nbins=4)
    canvas.set(xlabel="time of a step or training", ylabel="share that took no longer")
    middles = [quantile(seconds, 0.5) for seconds in sides.values()]
    apart = min(new) > max(base) or max(new) < min(base)
    finding = (
        f"{cell.verdict.capitalize()}: medians {' and '.join(map(formatting.duration, middles))}; "
        f"the two {'do not overlap' if apart else 'overlap'}."
    )
    numbers = Numbers(
        ("Side", "Times", *(f"{formatting.percent(share, 0)} took at most" for share in QUANTILES)),
        tuple(
            (side, str(len(seconds)), *(formatting.duration(quantile(seconds, share)) for share in QUANTILES))
            for side, seconds in sides.items()
        ),
    )
    values = spots(canvas, (
        (quantile(seconds, share), share,
         f"{side}: {formatting.percent(share, 0)} took at most {formatting.duration(quantile(seconds, share))}")
        for side, seconds in sides.items() for share in QUANTILES
    ))  # fmt: skip
    styles = tuple(Style(side, color, marker="") for side, color in SIDES.items())
    label = formatting.plain(cell.label)
    alt = f"Distribution of the times of {label}, baseline and candidate. {finding}"
    return Plot(label, finding, alt, svg(canvas), numbers, styles, spots=values)


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of them does not exceed: where the step of the distribution reaches it."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
