"""How fast: throughput against batch size, speed-ups against fp32 eager, and whether the rounds were steady."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import FuncFormatter

from trainmark import formatting
from trainmark.page.plots.canvas import (
    BLUE,
    CHARACTER_INCHES,
    HEIGHT_INCHES,
    LINE_INCHES,
    LONGEST_NAME,
    MOST_ROWS,
    RATE,
    SERIES_AXES,
    WIDE_INCHES,
    Numbers,
    Plot,
    Spot,
    Style,
    as_much,
    axes,
    axis_value,
    batch_scale,
    drawing,
    panels,
    rate_scale,
    row_axes,
    row_names,
    series_label,
    spots,
    svg,
    wrapped,
    write_legibly,
)
from trainmark.store.parameters import PARAMETERS

# Slower, the same, faster: told apart by colour-blind readers, and by their number.
DIVERGING = LinearSegmentedColormap.from_list("slower-faster", ["#b5561c", "#f0c9a4", "#eef0f2", "#a9c8e8", "#205f9f"])
_TOLD = [*SERIES_AXES, "batch_size", "samples_per_second", "step_seconds", "step_seconds_low", "step_seconds_high"]
MOST_CELL_INCHES = 1.2
MOST_STRIPS = 8
MOST_DOTS = 60  # of a strip; of more rounds every n-th is drawn
MOST_SETTINGS = 10
STEADY = 0.05  # spread of the rounds below which a strip looks like a line


def throughput_plots(records: pd.DataFrame) -> list[Plot]:
    """Samples a second against batch size, a line a precision and compile mode, a panel a model.

    Where a panel has a single batch size, a dot each instead.

    Args:
        records: Rows of one workload, as :func:`trainmark.store.runs.to_frame` gives them.
    """
    drawn = records.assign(batch_size=pd.to_numeric(records["batch_size"], errors="coerce"))
    drawn = drawn[drawn["status"].eq("ok") & drawn["samples_per_second"].gt(0) & drawn["batch_size"].gt(0)]
    with drawing():
        return [
            _throughput(title, panel.sort_values("batch_size", kind="stable"))
            for title, panel in panels(drawn, ("batch_size",))
        ]


def _throughput(title: str, panel: pd.DataFrame) -> Plot:
    styles = unique_styles(panel)
    single = panel["batch_size"].nunique() == 1
    image, values = _draw_dots(panel, styles) if single else _draw_lines(panel, styles)
    finding = _fastest(panel)
    rows = tuple(
        (
            series_label(row),
            f"{row['batch_size']:.0f}",
            formatting.prefixed(row["samples_per_second"]),
            formatting.duration(row["step_seconds"]),
            _ends(row["step_seconds_low"], row["step_seconds_high"]),
        )
        for row in panel[_TOLD].to_dict("records")
    )
    numbers = Numbers(("Setting", "Batch", "Samples/s", "Step time", "95% interval"), rows)
    alt = f"Throughput of {title} in {len(styles)} settings. {finding}"
    return Plot(title, finding, alt, image, numbers, () if single else tuple(styles.values()), spots=values)


def _fastest(panel: pd.DataFrame) -> str:
    """Which setting is ahead, and how many are not told apart from it by the intervals."""
    ranked = panel.sort_values("samples_per_second", ascending=False, kind="stable")
    best, others = ranked.iloc[0], ranked.iloc[1:]
    rate = formatting.prefixed(best["samples_per_second"])
    told = f"{series_label(best)} at batch {best['batch_size']:.0f}, {rate} samples/s"
    if others.empty:
        return f"{told}: the only setting here."
    near = [
        not _samples(row) / row["step_seconds_low"] < _samples(best) / best["step_seconds_high"]
        for row in others[["samples_per_second", "step_seconds", "step_seconds_low"]].to_dict("records")
    ]  # without an interval nothing is told apart
    if any(near):
        return f"Fastest by its median: {told}; {sum(near)} of {len(others)} others are not told apart from it."
    return f"Fastest: {told}."


def unique_styles(panel: pd.DataFrame) -> dict[str, Style]:
    """Series -> how it looks, in the order of the run."""
    return {style.name: style for style in panel["style"]}


def draw_series(drawn: Axes, panel: pd.DataFrame, x: str, y: str, styles: dict[str, Style]) -> None:
    """A line with marks for each series of a panel; seaborn would take three times as long, for dozens of panels."""
    names = pd.Series([style.name for style in panel["style"]], panel.index)
    for name, style in styles.items():
        series = panel[names.eq(name)]
        dashes = (0, style.dashes) if style.dashes else "-"
        drawn.plot(
            series[x].to_numpy(),
            series[y].to_numpy(),
            color=style.color,
            linestyle=dashes,
            marker=style.marker,
            markersize=5,
            linewidth=1.6,
        )


def _draw_lines(panel: pd.DataFrame, styles: dict[str, Style]) -> tuple[bytes, tuple[Spot, ...]]:
    drawn = axes()
    draw_series(drawn, panel, "batch_size", "samples_per_second", styles)
    low, high = _rate_interval(panel)
    drawn.vlines(panel["batch_size"], low, high, colors=[style.color for style in panel["style"]], linewidth=1)
    batch_scale(drawn, panel["batch_size"])
    rate_scale(drawn, panel["samples_per_second"])
    drawn.set(xlabel="batch size", ylabel="samples/s")
    points = zip(panel["batch_size"], panel["samples_per_second"], _said(panel), strict=True)
    return svg(drawn), spots(drawn, points)


def _said(panel: pd.DataFrame) -> list[str]:
    """What a mark says: its setting, its batch and its rate."""
    rates = map(formatting.prefixed, panel["samples_per_second"])
    return [
        f"{series_label(row)}, batch {row['batch_size']:.0f}: {rate}/s"
        for row, rate in zip(panel[_TOLD].to_dict("records"), rates, strict=True)
    ]


def _draw_dots(panel: pd.DataFrame, styles: dict[str, Style]) -> tuple[bytes, tuple[Spot, ...]]:
    longest = max(len(line) for name in styles for line in wrapped(name, 16).split("\n"))
    left_inches = 0.3 + CHARACTER_INCHES * longest
    drawn = axes(min(0.75 + 0.36 * len(styles), 2 * HEIGHT_INCHES), left_inches=left_inches)
    sns.stripplot(
        panel[["samples_per_second"]].assign(series=[wrapped(style.name, 16) for style in panel["style"]]),
        x="samples_per_second",
        y="series",
        hue="series",
        palette={wrapped(name, 16): style.color for name, style in styles.items()},
        jitter=False,
        legend=False,
        size=7,
        ax=drawn,
    )
    rows = {name: row for row, name in enumerate(styles)}
    low, high = _rate_interval(panel)
    at = [rows[style.name] for style in panel["style"]]
    drawn.hlines(at, low, high, colors=[style.color for style in panel["style"]], linewidth=1.5)
    ends = high.fillna(panel["samples_per_second"]).clip(lower=panel["samples_per_second"])
    for row, rate, end in zip(at, panel["samples_per_second"], ends, strict=True):  # beyond the interval, not on it
        drawn.annotate(formatting.prefixed(rate), (end, row), (7, 0), textcoords="offset points", va="center")
    drawn.set_xlim(0, ends.max() * 1.35)
    drawn.set_ylim(len(rows) - 0.4, -0.6)
    drawn.locator_params(axis="x", nbins=4)
    drawn.xaxis.set_major_formatter(RATE)
    drawn.grid(visible=False, axis="y")
    drawn.set(xlabel=f"samples/s at batch size {panel['batch_size'].iloc[0]:.0f}", ylabel="")
    return svg(drawn), spots(drawn, zip(panel["samples_per_second"], at, _said(panel), strict=True))


def _rate_interval(panel: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """Samples a second at both ends of the interval of the step time."""
    return _samples(panel) / panel["step_seconds_high"], _samples(panel) / panel["step_seconds_low"]


def _samples(told: Any) -> Any:
    """Of a step: several batches where gradients are added up."""
    return told["samples_per_second"] * told["step_seconds"]


def _ends(low: float, high: float) -> str:
    if pd.isna(low) or pd.isna(high):
        return formatting.DASH
    return f"{formatting.duration(low)} to {formatting.duration(high)}"


def speedup_plot(records: pd.DataFrame) -> Plot | None:
    """Throughput over that of fp32 eager in the same model and batch size, as a heatmap; None without a pair.

    Args:
        records: Rows of one workload.
    """
    drawn = records[records["status"].eq("ok") & records["samples_per_second"].gt(0)]
    fixed = [axis for axis in PARAMETERS if axis not in _varied()]
    groups: dict[tuple[str, ...], list[dict[Hashable, Any]]] = {}
    for row in drawn[[*PARAMETERS, "key", *_TOLD[-4:], "flags"]].to_dict("records"):
        groups.setdefault(tuple(axis_value(row[axis]) for axis in fixed), []).append(row)
    rows: dict[str, dict[str, float]] = {}
    flags: dict[tuple[str, str], tuple[str, ...]] = {}
    apart: list[tuple[float, str, str]] = []
    for group in groups.values():
        default = next((row for row in group if _is_default(row)), None)
        if default is None:
            continue
        for row in group:
            if row["key"] != default["key"]:
                ratio = row["samples_per_second"] / default["samples_per_second"]
                rows.setdefault(_row_name(row), {})[_setting(row)] = ratio
                flags[_row_name(row), _setting(row)] = tuple(dict.fromkeys((*row["flags"], *default["flags"])))
                if row["step_seconds_high"] < default["step_seconds_low"] and not (row["flags"] or default["flags"]):
                    apart.append((ratio, _setting(row), _row_name(row)))
    if not rows:
        return None
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table[sorted(table.columns, key=lambda name: (-table[name].median(), name))]
    shown = table.iloc[:MOST_ROWS, :MOST_SETTINGS]
    every = [(ratio, name, row) for row, found in rows.items() for name, ratio in found.items()]
    finding = _largest_gain(every, [one for one in apart if one[0] > 1])
    if shown.shape != table.shape:
        finding += (
            f" Shown are {len(shown.columns)} of {formatting.counted(len(table.columns), 'setting')} and {len(shown)} "
            f"of {formatting.counted(len(table), 'row')}; all are in the numbers."
        )
    numbers = Numbers(
        ("Model and batch", *map(str, table.columns)),
        tuple(
            (str(name), *(_ratio_words(ratio, flags.get((name, setting), ())) for setting, ratio in found.items()))
            for name, found in _by_name(table).items()
        ),
    )
    alt = f"Speed-ups of {len(table.columns)} settings against fp32 eager in {len(table)} cells. {finding}"
    image, values = _draw_heatmap(shown, flags)
    return Plot("Speed-up against fp32 eager", finding, alt, image, numbers, wide=True, spots=values)


def _by_name(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Row -> setting -> ratio."""
    return {
        str(name): {str(setting): ratio for setting, ratio in found.items()}
        for name, found in table.to_dict("index").items()
    }


def _ratio_words(ratio: float, flags: Sequence[str]) -> str:
    """A ratio with the warnings about either side: ``1.42× (unsteady)``."""
    return formatting.times(ratio) + (f" ({', '.join(map(formatting.plain, flags))})" if flags else "")


def _largest_gain(every: Sequence[tuple[float, str, str]], apart: Sequence[tuple[float, str, str]]) -> str:
    """The largest gain that the intervals show, where they show one.

    Args:
        every: Ratio, setting and row of each pair.
        apart: Of them, the gains whose intervals do not meet, and that are not flagged.
    """

    def told(one: tuple[float, str, str]) -> str:
        return f"{one[1]}, {formatting.times(one[0])}, for {one[2]}"

    largest = max(every)
    if largest[0] <= 1:
        return f"Nothing is faster than fp32 eager; the nearest is {told(largest)}."
    if not apart:
        return f"Largest ratio to fp32 eager: {told(largest)}; the two are not told apart, or were flagged."
    shown = max(apart)
    larger = sum(one[0] > shown[0] for one in every)
    rest = f"; of {larger} larger, one side was flagged or both are not told apart" if larger else ""
    return f"Largest gain over fp32 eager: {told(shown)}{rest}."


def _varied() -> tuple[str, ...]:
    """What settings are told apart by: precision, and all that trains the same from the same data in the same order."""
    same = (name for name, axis in PARAMETERS.items() if axis.same_arithmetic and name not in ("loader", "grad_mode"))
    return ("precision", *same)


def _beyond(row: Mapping[Any, Any], names: Iterable[str]) -> list[str]:
    """Values that are not the default, in words."""
    return [
        PARAMETERS[name].worded(row[name])
        for name in names
        if axis_value(row[name]) not in ("", str(PARAMETERS[name].default))
    ]


def _is_default(row: Mapping[Any, Any]) -> bool:
    return not _beyond(row, _varied())


def _row_name(row: Mapping[Any, Any]) -> str:
    beyond = _beyond(row, [axis for axis in PARAMETERS if axis not in ("model", "batch_size", *_varied())])
    return formatting.plain(" ".join([str(row["model"]), axis_value(row["batch_size"]), *beyond]), LONGEST_NAME)


def _setting(row: Mapping[Any, Any]) -> str:
    beyond = _beyond(row, [name for name in _varied() if name not in SERIES_AXES])
    return formatting.plain(" ".join([series_label(row), *beyond]), LONGEST_NAME)


def _draw_heatmap(
    table: pd.DataFrame, flags: Mapping[tuple[str, str], Sequence[str]]
) -> tuple[bytes, tuple[Spot, ...]]:
    """The ratios as a picture; an exclamation mark where either side was flagged."""
    with drawing():
        names, labels = [wrapped(str(name), 18) for name in table.columns], [wrapped(str(n)) for n in table.index]
        lines = [line for name in names for line in name.split("\n")]
        upright = len(names) > 4
        below = 0.3 + (0.05 * max(map(len, lines)) if upright else LINE_INCHES * (max(n.count("\n") for n in names)))
        left = 0.25 + CHARACTER_INCHES * max(len(line) for name in labels for line in name.split("\n"))
        height = max(0.27, 0.1 + LINE_INCHES * (1 + max(name.count("\n") for name in labels)))
        right = max(0.12, WIDE_INCHES - left - MOST_CELL_INCHES * len(names))
        drawn = axes(0.15 + below + height * len(table), WIDE_INCHES, left, below, right)
        farthest = max(max(ratio, 1 / ratio) for ratio in table.to_numpy().ravel() if ratio > 0)
        reach = min(max(farthest, 1.25), 8)
        narrow = len(table.columns) > 6
        told = [
            ["" if pd.isna(ratio) else f"{ratio:.1f}" if narrow else f"{ratio:.2f}" for ratio in found.values()]
            for found in _by_name(table).values()
        ]
        marked = [
            [
                text + "!" * bool(text and flags.get((name, setting)))
                for setting, text in zip(table.columns, row, strict=True)
            ]
            for name, row in zip(table.index, told, strict=True)
        ]
        sns.heatmap(
            table,
            annot=np.array(marked),
            fmt="",
            annot_kws={"size": 7 if narrow else 8},
            norm=LogNorm(1 / reach, reach),
            cmap=DIVERGING,
            cbar=False,
            linewidths=1,
            linecolor="none",
            ax=drawn,
        )
        write_legibly(drawn)
        drawn.grid(visible=False)
        drawn.tick_params(axis="y", labelrotation=0)
        turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if upright else {}
        drawn.set_xticks(np.arange(len(names)) + 0.5, names, **turned)
        drawn.set_yticks(np.arange(len(table)) + 0.5, labels)
        drawn.set(xlabel="", ylabel="")
        values = [
            (column + 0.5, place + 0.5, f"{name}, {setting}: {_ratio_words(ratio, flags.get((name, setting), ()))}")
            for place, (name, found) in enumerate(_by_name(table).items())
            for column, (setting, ratio) in enumerate(found.items())
            if not pd.isna(ratio)
        ]
        return svg(drawn), spots(drawn, values)


def rounds_plot(records: pd.DataFrame) -> Plot | None:
    """The rounds of the cells that spread most, each over its own median: is the time steady? None without rounds."""
    drawn = records[records["status"].eq("ok") & records["rounds"].map(len).ge(2) & records["step_seconds"].gt(0)]
    if drawn.empty:
        return None
    spread = drawn["rounds"].map(relative_spread)
    chosen = drawn.assign(spread=spread).sort_values("spread", ascending=False, kind="stable").head(MOST_STRIPS)
    points = pd.DataFrame(
        [
            {"place": place + _jitter(number), "relative": seconds / median(row["rounds"])}
            for place, row in enumerate(chosen.to_dict("records"))
            for number, seconds in enumerate(thinned(row["rounds"], MOST_DOTS))
        ]
    )
    flagged = drawn["flags"].map(lambda flags: "unsteady" in flags)
    quiet = int((spread.lt(STEADY) & ~flagged).sum())
    spreads = [formatting.percent(value, 1) for value in chosen["spread"]]
    finding = (
        f"{quiet} of {formatting.counted(len(drawn), 'cell')} are steady, half of their rounds within "
        f"{formatting.percent(STEADY, 0)} and none flagged; the widest is {chosen.iloc[0]['label']}, "
        f"{spreads[0]}{as_much(spreads)}."
    )
    numbers = Numbers(
        ("Cell", "Rounds", "Spread of the middle half", "Shortest", "Longest"),
        tuple(
            (
                formatting.plain(row["label"]),
                str(len(row["rounds"])),
                formatting.percent(row["spread"], 1),
                formatting.times(min(row["rounds"]) / median(row["rounds"])),
                formatting.times(max(row["rounds"]) / median(row["rounds"])),
            )
            for row in chosen.to_dict("records")
        ),
    )
    with drawing():
        canvas = row_axes(row_names(chosen))
        canvas.axvline(1, color="#8a94a0", linewidth=1)
        sns.scatterplot(points, x="relative", y="place", color=BLUE, s=9, alpha=0.5, linewidth=0, ax=canvas)
        canvas.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}×"))
        canvas.set(xlabel="time of a round over its median", ylabel="")
        said = [f"{row['label']}: {spread}, {len(row['rounds'])} rounds"
                for row, spread in zip(chosen.to_dict("records"), spreads, strict=True)]  # fmt: skip
        values = spots(canvas, ((1.0, place, text) for place, text in enumerate(said)))
        image = svg(canvas)
    alt = f"Rounds of the {len(chosen)} cells that spread most, each over its median. {finding}"
    return Plot("The least steady cells", formatting.plain(finding, 240), alt, image, numbers, wide=True, spots=values)


def thinned(rounds: Sequence[float], most: int) -> Sequence[float]:
    """All of some rounds, or every n-th where there are more than so many."""
    return rounds[:: -(-len(rounds) // most)]


def _jitter(number: int) -> float:
    """How far a dot stands from its row, the same each time: seaborn's own would be random."""
    return 0.4 * (number * 0.6180339887 % 1 - 0.5)  # of the golden ratio: no two near each other in turn


def relative_spread(rounds: tuple[float, ...]) -> float:
    """Width of the middle half of the rounds, over their median."""
    low, high = np.percentile(rounds, (25, 75))
    return float((high - low) / median(rounds))
