"""What memory holds: parameters, gradients, optimizer, activations and the rest, above what any process holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from trainmark import formatting
from trainmark.page.plots.canvas import (
    BYTES,
    MOST_ROWS,
    Numbers,
    Plot,
    Style,
    drawing,
    left_out,
    rate_scale,
    row_axes,
    row_names,
    spots,
    svg,
)

HELD = {
    "parameters": "parameter_bytes",
    "gradients": "gradient_bytes",
    "optimizer": "optimizer_bytes",
    "activations": "activation_bytes",
}
REST = "rest"
COLORS = {
    "parameters": "#1f4e82",
    "gradients": "#4fb0d8",
    "optimizer": "#b8952a",
    "activations": "#e0812f",
    REST: "#c9cfd6",
}


def holding_plot(records: pd.DataFrame, every: pd.DataFrame) -> Plot | None:
    """The parts of a training's peak memory, a bar for the largest batch of each model; None where no part is known.

    On a CPU the peak is that of the whole process, and the bars begin at its floor: what the leanest process of the
    run held beside its tensors. On an accelerator it is of live tensors, and the floor is 0.

    Args:
        records: Rows of training.
        every: All rows of the run, for the floor.
    """
    measured = _with_peak(records)
    if measured.empty:
        return None
    largest = measured.sort_values("batch_size", ascending=False, kind="stable").drop_duplicates(["model", "device"])
    chosen = largest.sort_index()
    shown = chosen.head(MOST_ROWS)
    floors = {device: _floor(_with_peak(every[every["device"].eq(device)])) for device in shown["device"].unique()}
    names = row_names(shown)
    parts = [_parts(row, floors[row["device"]]) for row in shown.to_dict("records")]
    finding = _finding(names, parts, floors) + left_out(len(chosen) - len(shown))
    numbers = Numbers(
        ("Configuration", "Floor", *HELD, REST, "Peak"),
        tuple(
            (
                formatting.plain(row["label"]),
                formatting.prefixed(floors[row["device"]], "B"),
                *(formatting.prefixed(part, "B") for part in some.values()),
                formatting.prefixed(row["peak"], "B"),
            )
            for row, some in zip(shown.to_dict("records"), parts, strict=True)
        ),
    )
    values: list[tuple[float, float, str]] = []
    with drawing():
        canvas = row_axes(names)
        for place, (name, some) in enumerate(zip(names, parts, strict=True)):
            begun = 0.0
            for part, size in some.items():
                canvas.barh(place, size, 0.68, begun, color=COLORS[part], linewidth=0)
                values.append((begun + size / 2, place, f"{name}: {part} {formatting.prefixed(size, 'B')}"))
                begun += size
        above = pd.Series([sum(some.values()) for some in parts], dtype=float)
        rate_scale(canvas, pd.concat([above, pd.Series([0.0])]), BYTES, which="x")
        canvas.set(xlabel="peak memory above the floor", ylabel="")
        told = spots(canvas, [one for one in values if one[0] > 0])
        image = svg(canvas)
    styles = tuple(Style(part, color, marker="block") for part, color in COLORS.items())
    alt = f"Parts of the peak memory of {len(shown)} trainings, stacked. {finding}"
    return Plot("What memory holds", finding, alt, image, numbers, styles, wide=True, spots=told)


def _with_peak(records: pd.DataFrame) -> pd.DataFrame:
    """Measured rows that know their parts, with their peak: of the device where it tells, else of the process."""
    device = records["device_allocated_bytes"]
    found = records.assign(peak=device.where(device.notna(), records["peak_memory_bytes"]))
    return found[found["status"].eq("ok") & found["peak"].gt(0) & found["parameter_bytes"].gt(0)]


def _floor(records: pd.DataFrame) -> float:
    if records.empty or records["device_allocated_bytes"].notna().any():
        return 0.0
    return float((records["peak"] - records[list(HELD.values())].fillna(0).sum(axis=1)).min())


def _parts(row: Mapping[Any, Any], floor: float) -> dict[str, float]:
    """What is held above the floor; the rest is never below zero."""
    parts = {part: 0.0 if pd.isna(row[name]) else float(row[name]) for part, name in HELD.items()}
    return {**parts, REST: max(0.0, float(row["peak"]) - floor - sum(parts.values()))}


def _finding(names: Sequence[str], parts: Sequence[Mapping[str, float]], floors: Mapping[str, float]) -> str:
    """Which part is the largest of what the training with most memory holds, and how high the floor is."""
    totals = [sum(some.values()) for some in parts]
    most = max(range(len(totals)), key=lambda place: totals[place])
    part = max(parts[most], key=lambda one: parts[most][one])
    name = "the rest, such as workspaces and copies," if part == REST else part
    share = formatting.percent(parts[most][part] / (totals[most] or 1), 0)
    told = (
        f"{names[most]} holds most, {formatting.prefixed(totals[most], 'B')} above the floor: {name} "
        f"{'takes' if part in (REST, 'optimizer') else 'take'} {share}."
    )
    above = {device: floor for device, floor in floors.items() if floor}
    floor = "; ".join(f"{formatting.prefixed(size, 'B')} on the {device}" for device, size in above.items())
    return told + (f" The floor, of Python, PyTorch and data: {floor}." if floor else "")
