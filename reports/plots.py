"""Plots of a run's records as SVG images that follow the reader's light or dark mode."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from reports import formatting
from results.cell import AXES

WIDTH_INCHES, HEIGHT_INCHES = 3.3, 2.5
DOT_ROW_INCHES = 0.3
LEGEND_ROW_INCHES = 0.16
SERIES_CHARACTERS = 24  # of a name beside an axis; a longer one leaves no room for the axis
FITS_IN_A_LINE = 26  # characters of three names in a legend as wide as a panel
LOG_FROM = 10  # largest over smallest value from which an axis is logarithmic
INK, GRID = "#57606b", "#e2e5ea"  # replaced by variables in the SVG, so that a dark page has light ink
THEME = """<style>:root{--ink:#57606b;--grid:#e2e5ea}
@media (prefers-color-scheme:dark){:root{--ink:#a9b3be;--grid:#2c333c}}</style>"""
# Seaborn's "colorblind" hues, shifted to be told apart on white and on near-black alike.
COLORS = {"fp32": "#3d7fc4", "tf32": "#9a6fd0", "bf16": "#e0812f", "fp16": "#2a9d78"}
OTHER_COLOR = "#c45b8e"
STYLES = {"off": ("", "o"), "default": ((4, 1.5), "s"), "reduce-overhead": ((2, 1), "D"), "max-autotune": ((1, 1), "^")}
OTHER_STYLE = ((5, 1, 1, 1), "X")
_AXIS_WORDS = {"batch_size": "batch {}", "epochs": "{} epochs"}
_SERIES_AXES = ("precision", "compile")
_LAYOUT: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trainmark",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.edgecolor": GRID,
    "xtick.bottom": False,
    "ytick.left": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
}
_RATE = FuncFormatter(
    lambda value, _: f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
)


@dataclass(frozen=True)
class Plot:
    """One picture.

    Attributes:
        title: What its panel is of, such as a model's name.
        finding: What is best in it, in a few words.
        alt: What it shows, in words.
        svg: The picture.
    """

    title: str
    finding: str
    alt: str
    svg: bytes


def throughput_plots(records: pd.DataFrame) -> list[Plot]:
    """Samples a second against batch size, a line a precision and compile mode, a panel a model.

    Where a panel has a single batch size, a dot each instead.

    Args:
        records: Rows of one workload, as :func:`results.runs.to_frame` gives them.
    """
    drawn = records.assign(batch_size=pd.to_numeric(records["batch_size"], errors="coerce"))
    drawn = drawn[drawn["status"].eq("ok") & drawn["samples_per_second"].gt(0) & drawn["batch_size"].gt(0)]
    return [_throughput(title, panel.sort_values("batch_size")) for title, panel in _panels(drawn, ("batch_size",))]


def accuracy_plots(records: pd.DataFrame) -> list[Plot]:
    """Held-out accuracy after each epoch, a line a seed, a panel a model.

    Args:
        records: Rows as :func:`results.runs.to_frame` gives them; those without curves are left out.
    """
    points = [
        {**row, "epoch": epoch, "curve": f"{row['key']} {number}", "held_out": share}
        for row in records[records["status"].eq("ok")].to_dict("records")
        for number, curve in enumerate(row["series"].get("held_out_accuracy") or ())
        for epoch, share in enumerate(curve, start=1)
        if share is not None
    ]
    drawn = pd.DataFrame(points, columns=[*records.columns, "epoch", "curve", "held_out"])
    return [_accuracy(title, panel) for title, panel in _panels(drawn)]


def _panels(records: pd.DataFrame, within: tuple[str, ...] = ()) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of each combination of the axes that one panel cannot show together."""
    apart = [axis for axis in AXES if axis not in (*_SERIES_AXES, *within)]
    # In a picture $ would begin a formula; titles stand outside of it.
    named = records.assign(series=[_label(row).replace("$", r"\$") for row in records.to_dict("records")])
    for axis in apart:
        named[axis] = [_axis_value(value) for value in named[axis]]
    for values, panel in named.groupby(apart, sort=False):
        told = [
            _AXIS_WORDS.get(axis, "{}").format(value)
            for axis, value in zip(apart, values, strict=True)
            if axis == "model" or value not in ("", str(AXES[axis].default))
        ]
        yield formatting.plain(" ".join(told), 60), panel


def _axis_value(value: Any) -> str:
    """An axis as text; empty where the workload takes no such axis."""
    return "" if pd.isna(value) else str(value)


def _label(row: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """The precision, and the compile mode where there is one: ``fp32 compiled``."""
    modes = {"off": "", "default": " compiled"}
    return formatting.plain(
        f"{row['precision']}{modes.get(row['compile'], ' ' + str(row['compile']))}", SERIES_CHARACTERS
    )


def _throughput(title: str, panel: pd.DataFrame) -> Plot:
    single = panel["batch_size"].nunique() == 1
    with mpl.rc_context(_LAYOUT):
        image = _draw_dots(panel) if single else _draw_lines(panel)
    best = panel.sort_values("samples_per_second").iloc[-1]
    rate = formatting.prefixed(best["samples_per_second"])
    finding = f"fastest: {_label(best)}, batch {best['batch_size']:.0f}, {rate} samples/s"
    alt = f"Throughput of {title} in {panel['series'].nunique()} settings; {finding}."
    return Plot(title, finding, alt, image)


def _draw_lines(panel: pd.DataFrame) -> bytes:
    axes = _axes(HEIGHT_INCHES)
    styles = _styles(panel)
    sns.lineplot(
        panel,
        x="batch_size",
        y="samples_per_second",
        hue="series",
        style="series",
        palette={name: color for name, (color, _, _) in styles.items()},
        dashes={name: dashes for name, (_, dashes, _) in styles.items()},
        markers={name: marker for name, (_, _, marker) in styles.items()},
        estimator=None,
        linewidth=1.6,
        markersize=5,
        markeredgewidth=0,
        ax=axes,
    )
    low, high = _rate_interval(panel)
    axes.vlines(panel["batch_size"], low, high, colors=[styles[name][0] for name in panel["series"]], linewidth=1)
    sizes = sorted(panel["batch_size"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    rate = panel["samples_per_second"]
    if rate.max() / rate.min() >= LOG_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, rate.max() * 1.12)
    axes.yaxis.set_major_formatter(_RATE)
    axes.set(xlabel="batch size", ylabel="samples/s")
    return _svg(axes)


def _draw_dots(panel: pd.DataFrame) -> bytes:
    styles = _styles(panel)
    axes = _axes(0.75 + DOT_ROW_INCHES * len(styles))
    sns.stripplot(
        panel,
        x="samples_per_second",
        y="series",
        hue="series",
        palette={name: color for name, (color, _, _) in styles.items()},
        jitter=False,
        legend=False,
        size=7,
        ax=axes,
    )
    rows = {name: row for row, name in enumerate(dict.fromkeys(panel["series"]))}
    low, high = _rate_interval(panel)
    colors = [styles[name][0] for name in panel["series"]]
    axes.hlines([rows[name] for name in panel["series"]], low, high, colors=colors, linewidth=1.5)
    for name, rate in zip(panel["series"], panel["samples_per_second"], strict=True):
        axes.annotate(formatting.prefixed(rate), (rate, rows[name]), (8, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, panel["samples_per_second"].max() * 1.3)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(_RATE)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=f"samples/s at batch size {panel['batch_size'].iloc[0]:.0f}", ylabel="")
    return _svg(axes)


def _rate_interval(panel: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """Samples a second at both ends of the interval of the step time."""
    return panel["batch_size"] / panel["step_seconds_high"], panel["batch_size"] / panel["step_seconds_low"]


def _accuracy(title: str, panel: pd.DataFrame) -> Plot:
    with mpl.rc_context(_LAYOUT):
        axes = _axes(HEIGHT_INCHES)
        sns.lineplot(
            panel,
            x="epoch",
            y="held_out",
            hue="series",
            palette={name: color for name, (color, _, _) in _styles(panel).items()},
            units="curve",
            estimator=None,
            linewidth=1.2,
            alpha=0.7,
            marker="o",
            markersize=3.5,
            markeredgewidth=0,
            ax=axes,
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        epochs = panel["epoch"].max()
        axes.set(xlabel="epoch", ylabel="held-out accuracy", xlim=(0.7, epochs + 0.3))
        image = _svg(axes)
    last = panel[panel["epoch"].eq(epochs)]["held_out"]
    finding = f"after epoch {epochs}: {formatting.percent(last.min())} to {formatting.percent(last.max())}"
    alt = f"Held-out accuracy of {title} by epoch in {panel['curve'].nunique()} trainings; {finding}."
    return Plot(title, finding, alt, image)


def _styles(panel: pd.DataFrame) -> dict[str, tuple[str, Any, str]]:
    """Series -> its colour by precision, and its dashes and marker by compile mode."""
    return {
        row["series"]: (COLORS.get(row["precision"], OTHER_COLOR), *STYLES.get(row["compile"], OTHER_STYLE))
        for row in panel.to_dict("records")
    }


def _axes(height_inches: float) -> Axes:
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return axes


def _svg(axes: Axes) -> bytes:
    figure = axes.get_figure(root=True)
    assert figure is not None, "the axes were made with a figure"
    legend = axes.get_legend()
    if legend is not None:  # above the axes, where it hides nothing
        names = [text.get_text() for text in legend.get_texts()]
        columns = 3 if sum(map(len, names[:3])) <= FITS_IN_A_LINE else 2 if max(map(len, names)) <= 20 else 1
        handles = [handle for handle in legend.legend_handles if handle is not None]
        extra_rows = -(-len(names) // columns) - 1
        figure.set_size_inches(WIDTH_INCHES, HEIGHT_INCHES + LEGEND_ROW_INCHES * extra_rows)
        figure.legend(handles, names, loc="outside upper left", ncols=columns)
        legend.remove()
    image = io.StringIO()
    figure.savefig(image, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawing = image.getvalue().replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
    return drawing.replace("<defs>", THEME + "<defs>", 1).encode("utf-8", errors="replace")
