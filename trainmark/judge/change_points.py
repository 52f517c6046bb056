"""When the time of a cell changed: change points over all stored runs of one machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from trainmark.store.metrics import METRICS
from trainmark.store.record import Run

MINIMUM = 3  # runs on either side of a change: fewer are an outlier
NOISE_FLOOR = 0.005  # of a logarithm of time: rounds repeat no better than this


@dataclass(frozen=True)
class ChangePoint:
    """A lasting change of a cell's time.

    Attributes:
        key: Join key of the cell.
        label: Of the cell.
        metric: Its time: a key of METRICS.
        last_before: Run that still had the old time.
        first_after: Run that had the new time first.
        ratio: New over old time, of the medians of the runs between the changes around it.
        runs: How many runs on either side that is.
    """

    key: str
    label: str
    metric: str
    last_before: Run
    first_after: Run
    ratio: float
    runs: tuple[int, int]


def change_points(runs: Sequence[Run]) -> list[ChangePoint]:
    """The changes of each cell's time, the largest first.

    Args:
        runs: Of one fingerprint, in the order of their moments.

    Source: Killick, Fearnhead and Eckley, Optimal detection of changepoints with a linear computational
    cost, JASA 107, 2012, as the package ruptures has it; the penalty is the usual one for a change of
    the mean under normal noise, 3 sigma^2 log n, with sigma from the differences of neighbours.
    """
    labels = {record.key: record.label for run in runs for record in run.records}
    found = [
        change for (key, name), points in times_of(runs).items() for change in _changes(key, labels[key], name, points)
    ]
    return sorted(found, key=lambda change: -abs(math.log(change.ratio)))


def times_of(runs: Sequence[Run]) -> dict[tuple[str, str], list[tuple[Run, float]]]:
    """Join key and metric -> each run that has the time, with it."""
    series: dict[tuple[str, str], list[tuple[Run, float]]] = {}
    for run in runs:
        for record in run.records:
            for name, metric in METRICS.items():
                value = record.metrics.get(name)
                if metric.compared == "time" and record.status == "ok" and value:
                    series.setdefault((record.key, name), []).append((run, value))
    return series


def _changes(key: str, label: str, metric: str, points: Sequence[tuple[Run, float]]) -> list[ChangePoint]:
    if len(points) < 2 * MINIMUM:
        return []
    import ruptures  # here: it takes a second to load, and only the history needs it

    logs = np.log([value for _, value in points])
    sigma = max(1.4826 * float(np.median(np.abs(np.diff(logs)))) / math.sqrt(2), NOISE_FLOOR)
    search = ruptures.Pelt(model="l2", min_size=MINIMUM, jump=1).fit(logs)
    ends = search.predict(pen=3 * sigma**2 * math.log(len(points)))
    starts = [0, *ends]
    parts = [points[start:end] for start, end in zip(starts, ends, strict=False)]
    found = [
        ChangePoint(
            key,
            label,
            metric,
            before[-1][0],
            after[0][0],
            median(value for _, value in after) / median(value for _, value in before),
            (len(before), len(after)),
        )
        for before, after in pairwise(parts)
    ]
    return [change for change in found if abs(math.log(change.ratio)) > 2 * sigma]  # else one run was far off
