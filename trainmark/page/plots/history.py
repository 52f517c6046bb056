"""How a cell's time moved from run to run on the same machine, with the points where it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd
import seaborn as sns

from trainmark import formatting
from trainmark.judge.change_points import change_points
from trainmark.page.plots.canvas import BLUE, SECONDS, Numbers, Plot, axes, drawing, spots, svg
from trainmark.store.frame import to_frame
from trainmark.store.record import Run

DRAWN = ("step_seconds", "training_seconds")
FEWEST_RUNS = 3  # that make a history
MOST_CELLS = 6
CHANGE = "#b3261e"


def history_plots(subject: Run, runs: Sequence[Run]) -> list[Plot]:
    """Step or training time of the cells that moved most, run by run; none where too few runs share a machine.

    Args:
        subject: Whose machine it is about, and whose cells.
        runs: In any order, the subject among them; those of another machine are left out.
    """
    known = subject.environment.get("fingerprint")
    same = sorted((run for run in runs if run.environment.get("fingerprint") == known), key=_moment)
    if len(same) < FEWEST_RUNS:
        return []
    frame = to_frame(same)
    frame = frame[frame["key"].isin([record.key for record in subject.records])]
    frame = frame.assign(seconds=frame["step_seconds"].fillna(frame["training_seconds"]))
    frame = frame[frame["status"].eq("ok") & frame["seconds"].gt(0)]
    counts = frame.groupby("key")["seconds"].transform("size")
    frame = frame[counts.ge(FEWEST_RUNS)]
    if frame.empty:
        return []
    span = frame.groupby("key")["seconds"].agg(lambda seconds: seconds.max() / seconds.min())
    changes = _changes(same)
    moved = sorted(span.index, key=lambda key: (key not in changes, -span[key], key))
    order = {run.name: number for number, run in enumerate(same)}
    with drawing():
        return [_history(frame[frame["key"].eq(key)], order, changes.get(key, ())) for key in moved[:MOST_CELLS]]


def _changes(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Join key -> names of the runs from which on the cell's time is another, in the order of the runs."""
    found = [point for point in change_points(runs) if point.metric in DRAWN]
    return {
        key: tuple(run.name for run in runs if any(run is one.first_after for one in found if one.key == key))
        for key in dict.fromkeys(point.key for point in found)
    }


def _moment(run: Run) -> tuple[str, str]:
    try:
        return datetime.fromisoformat(run.facts.started).isoformat(), run.name
    except ValueError:
        return run.facts.started, run.name


def _history(cell: pd.DataFrame, order: Mapping[str, int], changes: tuple[str, ...]) -> Plot:
    label = formatting.plain(cell["label"].iloc[0], 60)
    points = cell.assign(number=[order[name] for name in cell["run"]]).sort_values("number", kind="stable")
    first, last = points["seconds"].iloc[0], points["seconds"].iloc[-1]
    finding = (
        f"{formatting.duration(first)} in the first of {len(points)} runs, {formatting.duration(last)} in the last, "
        f"{formatting.relative(last / first)}"
    )
    finding += f"; it changed at {', '.join(formatting.plain(name, 24) for name in changes)}." if changes else "."
    canvas = axes()
    canvas.vlines(points["number"], points["step_seconds_low"], points["step_seconds_high"], colors=BLUE, linewidth=1)
    sns.lineplot(points, x="number", y="seconds", color=BLUE, marker="o", markersize=4.5, markeredgewidth=0,
                 linewidth=1.2, estimator=None, ax=canvas)  # fmt: skip
    for name in changes:
        if name in order:
            canvas.axvline(order[name] - 0.5, color=CHANGE, linestyle=(0, (4, 2)), linewidth=1.1)
    canvas.set_ylim(0, points["seconds"].max() * 1.15)
    canvas.yaxis.set_major_formatter(SECONDS)
    canvas.set_xticks(points["number"], [str(number + 1) for number in points["number"]])
    unit = "training" if cell["workload"].iloc[0] == "accuracy" else "step"
    canvas.set(xlabel="run", ylabel=f"time of a {unit}")
    numbers = Numbers(
        ("Run", "Commit", "Time"),
        tuple(
            (
                formatting.plain(row["run"], 48),
                formatting.plain(row["commit"] or formatting.DASH)[:12],
                formatting.duration(row["seconds"]),
            )
            for row in points.to_dict("records")
        ),
    )
    said = [
        f"{run}: {formatting.duration(seconds)}" for run, seconds in zip(points["run"], points["seconds"], strict=True)
    ]
    values = spots(canvas, zip(points["number"], points["seconds"], said, strict=True))
    alt = f"Time of {label} in {len(points)} runs. {finding}"
    return Plot(label, finding, alt, svg(canvas), numbers, spots=values)
