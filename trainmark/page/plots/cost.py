"""What a step costs: memory, energy, where its time goes, how near the machine's limits it is, what compiling takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import PercentFormatter

from trainmark import formatting
from trainmark.advise.break_even import Payback
from trainmark.advise.stretched import is_like, not_ranked, stretch
from trainmark.page.plots.canvas import (
    BYTES,
    MOST_ROWS,
    SERIES_AXES,
    WIDE_INCHES,
    Numbers,
    Plot,
    Style,
    as_much,
    axes,
    batch_scale,
    drawing,
    escaped,
    left_out,
    log_scale,
    named_styles,
    panels,
    rate_scale,
    row_axes,
    row_names,
    series_label,
    setting_style,
    spots,
    svg,
    wrapped,
)
from trainmark.page.plots.speed import draw_series, unique_styles
from trainmark.store.record import Run
from trainmark.workloads import entries

PHASES = {
    "data": "data",
    "copy": "copy",
    "forward": "forward",
    "loss": "loss",
    "zero_grad": "zero_grad",
    "backward": "backward",
    "optimizer": "optimizer",
    "other": "other",
}
# Neighbours in a bar differ in lightness, so that the order of the legend tells them apart without their hue.
_PHASE_COLORS = ("#b8952a", "#e5cf8c", "#3d7fc4", "#c45b8e", "#c9cfd6", "#1f4e82", "#e0812f", "#8d97a2")
NEAR_LIMIT = 0.05  # of a device's memory: below, its limit would squeeze the curves into the axis
MOST_LINES = 6


def memory_plots(records: pd.DataFrame, run: Run) -> list[Plot]:
    """Peak memory against batch size, a panel a model, with the device's limit where it is in sight.

    Args:
        records: Rows of training.
        run: Whose machine's memory is the limit.
    """
    device = records["device_allocated_bytes"]
    drawn = records.assign(
        memory=device.where(device.notna(), records["peak_memory_bytes"]),
        batch_size=pd.to_numeric(records["batch_size"], errors="coerce"),
    )
    drawn = drawn[drawn["status"].eq("ok") & drawn["memory"].gt(0) & drawn["batch_size"].gt(0)]
    with drawing():
        return [
            _memory(
                title, panel.sort_values("batch_size", kind="stable"), memory_limit(run, str(panel["device"].iloc[0]))
            )
            for title, panel in panels(drawn, ("batch_size",))
            if panel["batch_size"].nunique() > 1
        ]


def memory_limit(run: Run, device: str) -> float | None:
    """Bytes that the device has; None where the run does not tell."""
    if device == "cuda":
        gpus = run.environment.get("gpus")
        facts = gpus[0] if isinstance(gpus, Sequence) and gpus and isinstance(gpus[0], Mapping) else {}
    else:
        facts = run.environment
    size = facts.get("memory_gib")
    return size * 2**30 if isinstance(size, int | float) and size > 0 else None


def _memory(title: str, panel: pd.DataFrame, limit: float | None) -> Plot:
    styles = unique_styles(panel)
    largest = float(panel["memory"].max())
    drawn = axes()
    draw_series(drawn, panel, "batch_size", "memory", styles)
    batch_scale(drawn, panel["batch_size"])
    in_sight = limit is not None and largest >= NEAR_LIMIT * limit
    rate_scale(drawn, pd.concat([panel["memory"], pd.Series([limit])]) if in_sight else panel["memory"], BYTES)
    if limit is not None and in_sight:
        drawn.axhline(limit, color="#b3261e", linestyle=(0, (4, 2)), linewidth=1.2)
        drawn.annotate("the device's memory", (1, limit), (0, -3), ("axes fraction", "data"), "offset points",
                       ha="right", va="top")  # fmt: skip
    drawn.set(xlabel="batch size", ylabel="peak memory")
    values = spots(drawn, (
        (row["batch_size"], row["memory"],
         f"{series_label(row)}, batch {row['batch_size']:.0f}: {formatting.prefixed(row['memory'], 'B')}")
        for row in panel[[*SERIES_AXES, "batch_size", "memory"]].to_dict("records")
    ))  # fmt: skip
    leanest = panel.sort_values("memory", kind="stable").iloc[0]
    share = "" if limit is None else f", {formatting.percent(largest / limit, 0)} of the device's"
    finding = (
        f"From {formatting.prefixed(leanest['memory'], 'B')} ({series_label(leanest)}, batch "
        f"{leanest['batch_size']:.0f}) to {formatting.prefixed(largest, 'B')}{share}."
    )
    numbers = Numbers(
        ("Setting", "Batch", "Peak memory"),
        tuple(
            (series_label(row), f"{row['batch_size']:.0f}", formatting.prefixed(row["memory"], "B"))
            for row in panel[[*SERIES_AXES, "batch_size", "memory"]].to_dict("records")
        ),
    )
    return Plot(title, finding, f"Peak memory of {title} against batch size. {finding}", svg(drawn), numbers,
                tuple(styles.values()), spots=values)  # fmt: skip


def energy_plot(records: pd.DataFrame) -> Plot | None:
    """Energy a sample of each cell, the least first; None where none was measured."""
    name = "energy_joules_per_sample"
    drawn = records[records["status"].eq("ok") & records[name].gt(0)].sort_values(name, kind="stable")
    if drawn.empty:
        return None
    shown = drawn.head(MOST_ROWS)
    finding = f"{_least_energy(drawn, name)}."
    numbers = Numbers(
        ("Cell", "Joules a sample"),
        tuple((formatting.plain(row["label"]), formatting.digits(row[name])) for row in drawn.to_dict("records")),
    )
    with drawing():
        canvas = row_axes(row_names(shown))
        rows = shown[[name]].assign(place=range(len(shown)))
        colors = [setting_style(row).color for row in shown.to_dict("records")]
        sns.scatterplot(rows, x=name, y="place", c=colors, s=36, linewidth=0, legend=False, ax=canvas)
        rate_scale(canvas, shown[name], which="x")
        canvas.set(xlabel="joules a sample", ylabel="")
        said = [
            f"{label}: {formatting.digits(joules)} J" for label, joules in zip(shown["label"], shown[name], strict=True)
        ]
        values = spots(canvas, zip(shown[name], range(len(shown)), said, strict=True))
        image = svg(canvas)
    whole = finding + left_out(len(drawn) - len(shown))
    alt = f"Energy a sample of {len(shown)} cells. {whole}"
    return Plot("Energy", whole, alt, image, numbers, wide=True, spots=values)


def _least_energy(drawn: pd.DataFrame, name: str) -> str:
    """The first of each workload: a forward pass is not held against a training."""
    told = []
    for workload, cells in drawn.groupby("workload", sort=False):
        values = [formatting.digits(value) for value in cells[name]]
        label = formatting.plain(cells["label"].iloc[0])
        told.append(f"{formatting.plain(workload, 40)}: {label}, {values[0]} J a sample{as_much(values)}")
    return f"Least energy in {'; in '.join(told)}"


def phases_plot(records: pd.DataFrame) -> Plot | None:
    """Where a step's time goes, a bar a cell: of each model and precision the largest batch; None without phases."""
    drawn = records[records["status"].eq("ok") & records["instrumented_step_seconds"].gt(0)]
    if drawn.empty:
        return None
    names = [f"{phase}_seconds" for phase in PHASES]
    shares = drawn[names].div(drawn["instrumented_step_seconds"], axis=0).fillna(0.0)
    drawn = drawn.assign(**{phase: shares[name] for phase, name in zip(PHASES, names, strict=True)})
    largest = drawn.sort_values("batch_size", ascending=False, kind="stable").drop_duplicates(
        ["workload", "model", "device", "precision", "compile", "memory_format"]
    )
    plain = largest[largest["compile"].isin(["off"]) & largest["memory_format"].isin(["contiguous"])]
    chosen = (plain if len(plain) else largest).sort_index().head(MOST_ROWS)
    stretched = [
        stretch(timed, instrumented)
        for timed, instrumented in zip(chosen["step_seconds"], chosen["instrumented_step_seconds"], strict=True)
    ]
    finding = " ".join(filter(None, [_most(chosen[list(map(is_like, stretched))]), not_ranked(stretched)]))
    numbers = Numbers(
        ("Cell", *(f"{word} (%)" for word in PHASES.values()), "Step over the timed one"),
        tuple(
            (formatting.plain(row["label"]), *(f"{100 * row[phase]:.1f}" for phase in PHASES), formatting.times(times))
            for row, times in zip(chosen.to_dict("records"), stretched, strict=True)
        ),
    )
    cells = row_names(records.loc[chosen.index])  # a phase has the name of a parameter: optimizer
    long = pd.DataFrame(
        [
            {"cell": wrapped(cell), "phase": PHASES[phase], "share": share}
            for cell, row in zip(cells, chosen.to_dict("records"), strict=True)
            for phase in PHASES
            if (share := row[phase]) > 0
        ]
    )
    colors = dict(zip(PHASES.values(), _PHASE_COLORS, strict=True))
    present = [word for word in PHASES.values() if word in set(long["phase"])]
    long["cell"] = pd.Categorical(list(long["cell"]), list(map(wrapped, cells)))
    with drawing():
        canvas = row_axes(cells)
        sns.histplot(
            long, y="cell", hue="phase", hue_order=present[::-1], weights="share", multiple="stack", shrink=0.72,
            palette=colors, alpha=1, linewidth=0, legend=False, ax=canvas,
        )  # fmt: skip
        canvas.set_xlim(0, 1)
        canvas.set_ylim(len(cells) - 0.4, -0.6)
        canvas.xaxis.set_major_formatter(PercentFormatter(1))
        canvas.grid(visible=False, axis="y")
        canvas.set(xlabel="share of a step", ylabel="")
        values = spots(canvas, _middles(cells, chosen[[*PHASES]].to_dict("records")))
        image = svg(canvas)
    finding += left_out(len(largest if plain.empty else plain) - len(chosen))
    alt = f"Shares of the phases in a step of {len(chosen)} cells, stacked. {finding}"
    styles = tuple(Style(word, colors[word], marker="block") for word in present)
    return Plot("Where a step's time goes", finding, alt, image, numbers, styles, wide=True, spots=values)


def _middles(cells: Sequence[str], rows: Sequence[Mapping[Any, float]]) -> list[tuple[float, float, str]]:
    """The middle of each part of each bar, with its share."""
    found: list[tuple[float, float, str]] = []
    for place, (cell, shares) in enumerate(zip(cells, rows, strict=True)):
        begun = 0.0
        for phase, word in PHASES.items():
            if shares[phase] > 0:
                said = f"{cell}: {word} {formatting.percent(shares[phase], 1)}"
                found.append((begun + shares[phase] / 2, place, said))
            begun += shares[phase]
    return found


def _most(ranked: pd.DataFrame) -> str:
    """Which phase takes most, in how many of the trainings; of other steps where there is no training."""
    trained = {entry.name for entry in entries() if entry.role == "training"}
    trainings = ranked[ranked["workload"].isin(trained)]
    drawn, noun = (trainings, "training") if len(trainings) else (ranked, "cell without training")
    if drawn.empty:
        return ""
    shares = drawn[list(PHASES)].round(3)  # as the numbers below show them
    alone = shares[shares.eq(shares.max(axis=1), axis=0).sum(axis=1).eq(1)]
    if alone.empty:
        return f"No phase alone takes most in any of {formatting.counted(len(drawn), noun)}."
    leaders = alone.idxmax(axis=1).value_counts(sort=False)
    first = str(min(leaders.index, key=lambda phase: (-leaders[phase], -shares[phase].mean())))
    others = shares.mean().drop(first).sort_values(ascending=False)
    which = f"{leaders[first]} of {len(drawn)} {noun.replace('cell', 'cells') if len(drawn) > 1 else noun}"
    which += "s" if noun == "training" and len(drawn) > 1 else ""
    mean = "on average" if len(drawn) > 1 else "there"
    return (
        f"{first.capitalize()} takes most in {which}, {formatting.percent(shares[first].mean(), 0)} of a step {mean}; "
        f"{others.index[0]} takes {formatting.percent(others.iloc[0], 0)}."
    )


def payback_plot(found: Sequence[Payback]) -> Plot | None:
    """Speed-up of compiling after so many steps, its own time included; None without a compiled pair."""
    if not found:
        return None
    best = sorted(found, key=lambda one: (-one.speedup, one.compiled.key))[:MOST_LINES]
    steps = np.geomspace(10, 1e7, 61)
    names = [formatting.plain(one.compiled.label, 60) for one in best]
    styles = named_styles(names)
    rows = []
    for name, one in zip(names, best, strict=True):
        compiled = one.compiled.metrics["step_seconds"] or 0.0
        eager = compiled * one.speedup
        cost = one.compiled.metrics["compile_seconds"] or 0.0
        rows += [{"name": name, "steps": n, "speedup": n * eager / (cost + n * compiled)} for n in steps]
    paid = [one for one in found if one.decided and one.steps is not None]
    never = [one for one in found if one.decided and one.steps is None]
    undecided = len(found) - len(paid) - len(never)
    cells = formatting.counted(len(found), "compiled cell")
    if paid:
        first = min(paid, key=lambda one: (one.steps or math.inf, one.compiled.key))
        finding = (
            f"Compiling pays in {len(paid)} of {cells}, first in "
            f"{formatting.plain(first.compiled.label, 60)}, "
            f"after {formatting.prefixed(math.ceil(first.steps or 0))} steps."
        )
    elif undecided:
        finding = f"Compiling is not shown to pay back in any of {cells}; {len(never)} are slower than eager."
    else:
        finding = f"Compiling never pays back here: each of {cells} is slower than eager."
    if undecided:
        finding += f" Undecided: {undecided}."
    numbers = Numbers(
        ("Cell", "Compiling", "Speed-up of a step", "Pays after (steps)"),
        tuple(
            (
                formatting.plain(one.compiled.label),
                formatting.duration(one.compiled.metrics["compile_seconds"]),
                formatting.times(one.speedup),
                payback_words(one),
            )
            for one in found
        ),
    )
    lines = pd.DataFrame(rows)
    with drawing():
        canvas = axes(2.4, WIDE_INCHES)
        canvas.axhline(1, color="#8a94a0", linewidth=1)
        sns.lineplot(lines, x="steps", y="speedup", hue="name", palette={n: styles[n].color for n in styles},
                     linewidth=1.6, estimator=None, legend=False, ax=canvas)  # fmt: skip
        canvas.set_xscale("log")
        log_scale(canvas.xaxis, steps[0], steps[-1])
        canvas.set_ylim(0, max(1.25, lines["speedup"].max() * 1.1))
        canvas.set(xlabel="steps, compilation included", ylabel="speed-up over eager")
        canvas.annotate("as fast as eager", (1, 1), (-2, 3), ("axes fraction", "data"), "offset points", ha="right")
        values = spots(canvas, (
            (row["steps"], row["speedup"],
             f"{row['name']}, {formatting.prefixed(row['steps'])} steps: {formatting.times(row['speedup'])}")
            for row in rows[::6]
        ))  # fmt: skip
        image = svg(canvas)
    lines_told = tuple(Style(style.name, style.color, marker="") for style in styles.values())
    alt = f"Speed-up over eager after so many steps, with compilation, of {len(best)} cells. {finding}"
    return Plot("When compiling pays back", finding, alt, image, numbers, lines_told, wide=True, spots=values)


def payback_words(payback: Payback) -> str:
    """After how many steps compiling has paid, in words."""
    if not payback.decided:
        return "undecided"
    return "never" if payback.steps is None else formatting.whole(math.ceil(payback.steps))


def roofline_plot(records: pd.DataFrame, peaks: Mapping[str, Any], device: str) -> Plot | None:
    """Rate of each cell's arithmetic against its intensity, under what the device can reach; None without peaks.

    Args:
        records: Rows of any workload.
        peaks: ``flops_per_second`` by precision and ``bytes_per_second``, as probes reached them on the device.
        device: Whose peaks they are.
    """
    ceilings = {name: rate for name, rate in _floats(peaks.get("flops_per_second")).items() if rate > 0}
    copied, cached = peaks.get("copy_bytes_per_second"), peaks.get("bytes_per_second")
    # The ridge of the table of limits is that of a copy out of caches, so the slope is too; older runs know but one.
    traffic = copied if isinstance(copied, int | float) and copied > 0 else cached
    drawn = records[
        records["status"].eq("ok")
        & records["device"].eq(device)
        & records["arithmetic_intensity"].gt(0)
        & records["achieved_flops_per_second"].gt(0)
    ]
    if drawn.empty or not ceilings or not isinstance(traffic, int | float) or traffic <= 0:
        return None
    x = drawn["arithmetic_intensity"]
    ends = min(x.min(), min(ceilings.values()) / traffic) / 2, max(x.max(), max(ceilings.values()) / traffic) * 2.5
    styles = {style.name: style for style in map(setting_style, drawn.to_dict("records"))}
    above = int(drawn["achieved_flops_per_second"].gt(drawn["arithmetic_intensity"] * traffic).sum())
    finding = (
        f"Memory as drawn moves {formatting.prefixed(traffic, 'B/s')}{' out of caches' if traffic is copied else ''}; "
        f"{above} of {formatting.counted(len(drawn), 'cell')} lie above it{', by their caches' if above else ''}."
    )
    by_share = drawn[drawn["flops_utilisation"].notna()].sort_values(
        "flops_utilisation", ascending=False, kind="stable"
    )
    if len(by_share):
        shares = [formatting.percent(share, 0) for share in by_share["flops_utilisation"]]
        finding += (
            f" Largest share of the peak arithmetic that probes reached: {shares[0]}, "
            f"{formatting.plain(by_share['label'].iloc[0], 60)}{as_much(shares)}."
        )
    numbers = Numbers(
        ("Cell", "FLOP/byte", "FLOP/s", "Of the peak"),
        tuple(
            (
                formatting.plain(row["label"]),
                formatting.digits(row["arithmetic_intensity"]),
                formatting.prefixed(row["achieved_flops_per_second"]),
                formatting.percent(row["flops_utilisation"], 0),
            )
            for row in drawn.to_dict("records")
        ),
    )
    with drawing():
        canvas = axes(2.8, WIDE_INCHES)
        reach = np.geomspace(*ends, 40)
        for precision, rate in ceilings.items():
            style = setting_style({"precision": precision, "compile": "off"})
            canvas.plot(reach, np.minimum(reach * traffic, rate), color=style.color, linewidth=1.2)
            canvas.annotate(f"{escaped(precision)}: {formatting.prefixed(rate)}FLOP/s", (ends[1], rate), (-2, 3),
                            textcoords="offset points", ha="right")  # fmt: skip
        points = drawn[["arithmetic_intensity", "achieved_flops_per_second", "workload"]].assign(
            series=[series_label(row) for row in drawn.to_dict("records")]
        )
        sns.scatterplot(points, x="arithmetic_intensity", y="achieved_flops_per_second", hue="series", style="series",
                        palette={name: style.color for name, style in styles.items()},
                        markers={name: style.marker for name, style in styles.items()},
                        s=28, alpha=0.75, linewidth=0, legend=False, ax=canvas)  # fmt: skip
        canvas.set_xscale("log")
        canvas.set_yscale("log")
        canvas.set_ylim(drawn["achieved_flops_per_second"].min() / 2, max(ceilings.values()) * 2)
        log_scale(canvas.xaxis, *canvas.get_xlim())
        log_scale(canvas.yaxis, *canvas.get_ylim())
        canvas.set(xlabel="FLOP/byte", ylabel="FLOP/s")
        values = spots(canvas, (
            (row["arithmetic_intensity"], row["achieved_flops_per_second"],
             f"{row['label']}: {formatting.prefixed(row['achieved_flops_per_second'])}FLOP/s")
            for row in drawn.to_dict("records")
        ))  # fmt: skip
        image = svg(canvas)
    alt = f"Roofline of {device}: {len(drawn)} cells and {len(ceilings)} ceilings. {finding}"
    return Plot(
        f"Roofline, {formatting.plain(device)}", finding, alt, image, numbers, tuple(styles.values()), wide=True,
        spots=values,
    )  # fmt: skip


def _floats(found: Any) -> dict[str, float]:
    """The numbers among the values of what should be a table."""
    if not isinstance(found, Mapping):
        return {}
    return {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}
