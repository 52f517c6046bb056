"""How efficient a training on several processes is, beside the ideal and beside what the all-reduce leaves of it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from trainmark import formatting
from trainmark.page.plots.canvas import (
    BLUE,
    INK,
    ORANGE,
    Numbers,
    Plot,
    axes,
    axis_value,
    batch_scale,
    drawing,
    escaped,
    svg,
)

TAKES_OVER = 0.5  # of a step: from here on more than half of it waits for the all-reduce
TOLD = ("model", "batch_size", "precision", "scaling_mode")


def efficiency_plots(records: pd.DataFrame) -> Iterator[Plot]:
    """A picture for each training that was measured on more than one number of processes, or on several.

    Args:
        records: Of scaling, a row each.
    """
    if records.empty or "scaling_efficiency" not in records:
        return
    rows = records[records["status"].eq("ok") & records["scaling_efficiency"].notna()]
    varied = [name for name in records.columns if name in _parameters() and name != "processes"]
    named = rows.assign(**{name: [axis_value(value) for value in rows[name]] for name in varied})
    with drawing():
        for _, group in named.groupby(varied, sort=False):
            if group["processes"].max() > 1:
                yield _efficiency(group.sort_values("processes"))


def _parameters() -> tuple[str, ...]:
    from trainmark.store.cell import WORKLOADS

    return WORKLOADS["scaling"].parameters


def _efficiency(rows: pd.DataFrame) -> Plot:
    first = rows.iloc[0]
    title = formatting.plain(" ".join(str(first[name]) for name in TOLD), 60)
    left = 1 - (rows["exposed_communication_seconds"].fillna(0.0) / rows["step_seconds"]).clip(0, 1)
    canvas = axes()
    canvas.axhline(1, color=INK, linewidth=0.9)
    canvas.vlines(
        rows["processes"], rows["scaling_efficiency_low"], rows["scaling_efficiency_high"], colors=BLUE, linewidth=1.4
    )
    canvas.plot(rows["processes"], rows["scaling_efficiency"], color=BLUE, marker="o", markersize=4.5, linewidth=1.2)
    canvas.plot(rows["processes"], left, color=ORANGE, linestyle=(0, (4, 1.5)), linewidth=1.1)
    canvas.text(rows["processes"].iloc[0], 1.02, "ideal", color=INK)
    highest = rows["scaling_efficiency_high"].fillna(rows["scaling_efficiency"]).max()
    canvas.set_ylim(0, max(1.15, float(highest) * 1.1))
    batch_scale(canvas, rows["processes"])
    canvas.set(xlabel="processes", ylabel="efficiency")
    taken = rows[(1 - left).ge(TAKES_OVER)]
    if not taken.empty:
        where = float(taken["processes"].iloc[0])
        canvas.axvline(where, color=ORANGE, linewidth=0.9)
        canvas.annotate(escaped("communication takes over"), (where, 0.03), color=INK, rotation=90, ha="right")
    last = rows.iloc[-1]
    low, high = last["scaling_efficiency_low"], last["scaling_efficiency_high"]
    finding = f"{last['scaling_efficiency']:.2f} {formatting.interval(low, high)} on {last['processes']:.0f} processes"
    finding += f"; {1 - left.iloc[-1]:.0%} of a step waits for the all-reduce"
    finding += f", more than half from {taken['processes'].iloc[0]:.0f} processes on." if len(taken) else "."
    numbers = Numbers(
        ("Processes", "Efficiency", "95% interval", "All-reduce not hidden"),
        tuple(
            (
                f"{row['processes']:.0f}",
                f"{row['scaling_efficiency']:.2f}",
                formatting.interval(row["scaling_efficiency_low"], row["scaling_efficiency_high"]),
                formatting.duration(max(0.0, row["exposed_communication_seconds"])),
            )
            for row in rows.to_dict("records")
        ),
    )
    return Plot(title, finding, f"Efficiency of {title} over processes. {finding}", svg(canvas), numbers)
