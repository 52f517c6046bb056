"""What every picture has in common: its size, its colours, its words, and SVG that is the same for the same data."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from trainmark import formatting
from trainmark.page.names import name_of, value_words, varying
from trainmark.store.parameters import PARAMETERS

WIDTH_INCHES, HEIGHT_INCHES = 3.3, 2.3
WIDE_INCHES = 5.6  # for pictures with names beside an axis: on a phone, as wide as its screen, they can still be read
ROW_INCHES = 0.24  # of a picture that has a row a cell
MOST_SPOTS = 50  # values of a picture that can be pointed at
POINTS_A_INCH = 72  # of an SVG, whatever the figure's resolution
MOST_ROWS = 24  # that a reader can take in; a picture with more says how many it left out
MOST_NUMBERS = 9  # columns of a picture's numbers beside the first
LOG_FROM = 10  # largest over smallest value from which an axis is logarithmic
NAME_CHARACTERS = 30  # of a line of a name beside an axis: longer ones have several, and lose nothing
CHARACTER_INCHES, LINE_INCHES = 0.069, 0.14  # of the font below
LONGEST_NAME = 160  # characters of a name that somebody else has given
INK, GRID = "#57606b", "#e2e5ea"  # replaced by variables in the SVG, so that a dark page has light ink
THEME = (
    "<style>:root{--ink:#57606b;--grid:#e2e5ea}"
    "@media (prefers-color-scheme:dark){:root{--ink:#a9b3be;--grid:#2c333c}}"
    "text{font:8.5px 'DejaVu Sans',sans-serif;fill:var(--ink)}</style>"
)
# What matplotlib writes and a page with dozens of pictures can do without: half of their size.
_TAG = re.compile(r"<[^>]*>")
_SIZE = re.compile(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_NEEDLESS = (
    (re.compile(r"(\d\.\d)\d+"), r"\1"),  # of a tenth of a point
    (re.compile(r' id="(?:figure|axes|patch|line2d|text|[xy]tick|matplotlib\.axis|[A-Z]\w*Collection)_\d+"'), ""),
    (re.compile(r' transform="rotate\(-0 [^"]*"'), ""),
    (re.compile(r"font-size: 8\.5px; font-family: 'DejaVu Sans', sans-serif; "), ""),
    (re.compile(r"; fill: var\(--ink\)(?=\")"), ""),
    (re.compile(r"\s*\n\s*"), " "),
    (re.compile(r"(?<=[;:]) (?=[\w#.-]+[;\":])"), ""),
)

# Okabe and Ito's hues for colour-blind readers (jfly.uni-koeln.de/color), made to show on white and near-black alike.
BLUE, ORANGE, GREEN, PURPLE, PINK, SKY, OCHRE = (
    "#3d7fc4", "#e0812f", "#2a9d78", "#9a6fd0", "#c45b8e", "#4fb0d8", "#b8952a",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, PINK, SKY, OCHRE)
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
COLORS = {"fp32": BLUE, "tf32": PURPLE, "bf16": ORANGE, "fp16": GREEN}
OTHER_COLOR = PINK
NEAR_BLACK = "#010101"  # black itself is left out of an SVG, where the theme's ink takes its place
EQUALLY_LEGIBLE = 0.18  # luminance on which black and white have the same contrast: sqrt(1.05 * 0.05) - 0.05
DASHES: Mapping[str, tuple[float, ...]] = {
    "off": (),
    "default": (4, 1.5),
    "reduce-overhead": (2, 1),
    "max-autotune": (1, 1),
}
OTHER_DASHES = (5, 1, 1, 1)
_MARKS = {"off": "o", "default": "s", "reduce-overhead": "D", "max-autotune": "^"}
_COMPILE_WORDS = {"off": "", "default": " compiled"}
SERIES_AXES = ("precision", "compile")
LAYOUT: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trainmark",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: margins are the same on every machine
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
    "lines.markeredgewidth": 0,
    "axes.formatter.useoffset": False,
}
_SETTINGS = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"} | LAYOUT
RATE = FuncFormatter(lambda value, _: _round(value, ""))
BYTES = FuncFormatter(lambda value, _: _round(value, "B"))
SECONDS = FuncFormatter(lambda value, _: _round(value, "s"))


@dataclass(frozen=True)
class Style:
    """How a series looks, in its picture and in the legend beside it.

    Attributes:
        name: Of the series.
        color: A hue of PALETTE.
        dashes: Lengths of stroke and gap; empty for a solid line.
        marker: matplotlib's letter for it.
    """

    name: str
    color: str
    dashes: tuple[float, ...] = ()
    marker: str = "o"


@dataclass(frozen=True)
class Numbers:
    """What a picture shows, as a table: its header and its rows, as text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def parts(self) -> tuple[Numbers, ...]:
        """The table in pieces that a sheet of paper has room for, each with the names of the rows."""
        width = MOST_NUMBERS
        starts = range(1, max(len(self.header), 2), width)
        return tuple(
            Numbers(
                (self.header[0], *self.header[start : start + width]),
                tuple((row[0], *row[start : start + width]) for row in self.rows),
            )
            for start in starts
        )


@dataclass(frozen=True)
class Spot:
    """A place of a picture that says its value to who points at it: in units of the SVG, from the top left."""

    x: int
    y: int
    text: str


@dataclass(frozen=True)
class Plot:
    """One picture.

    Attributes:
        title: What it is of, such as a model's name.
        finding: What to see in it, in a sentence.
        alt: What it shows, in words.
        svg: The picture.
        numbers: The same as a table.
        styles: Of its series, for a legend; empty where names stand in the picture.
        wide: Whether it takes the width of two panels.
        spots: Its values, where they are drawn.
    """

    title: str
    finding: str
    alt: str
    svg: bytes
    numbers: Numbers
    styles: tuple[Style, ...] = ()
    wide: bool = False
    spots: tuple[Spot, ...] = ()

    @property
    def size(self) -> tuple[str, str]:
        """Width and height in units of the SVG, as it tells them."""
        found = _SIZE.search(self.svg)
        return (found[1].decode(), found[2].decode()) if found else ("100", "100")


def setting_style(row: Mapping[Any, Any]) -> Style:
    """Colour by precision, dashes and marker by compile mode: the same in every picture."""
    precision, mode = str(row["precision"]), str(row["compile"])
    return Style(
        series_label(row),
        COLORS.get(precision, OTHER_COLOR),
        DASHES.get(mode, OTHER_DASHES),
        _MARKS.get(mode, "X"),
    )


def named_styles(names: Iterable[Hashable]) -> dict[str, Style]:
    """A style for each of some names, in their order; they repeat where there are too many."""
    return {
        name: Style(name, PALETTE[number % len(PALETTE)], marker=MARKERS[number % len(MARKERS)])
        for number, name in enumerate(dict.fromkeys(map(str, names)))
    }


def series_label(row: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """The precision, and the compile mode where there is one: ``fp32 compiled``."""
    mode = str(row["compile"])
    return formatting.plain(f"{row['precision']}{_COMPILE_WORDS.get(mode, ' compiled ' + mode)}", LONGEST_NAME)


def panels(records: pd.DataFrame, within: Sequence[str] = ()) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of each combination of the axes that one panel cannot show together."""
    apart = [axis for axis in PARAMETERS if axis not in (*SERIES_AXES, *within)]
    named = records.assign(**{axis: [axis_value(value) for value in records[axis]] for axis in apart})
    named["style"] = pd.Series(
        [setting_style(row) for row in records[list(SERIES_AXES)].to_dict("records")], named.index, dtype=object
    )
    for values, panel in named.groupby(apart, sort=False):
        told = [
            value_words(axis, value)
            for axis, value in zip(apart, values, strict=True)
            if axis == "model" or value not in ("", str(PARAMETERS[axis].default))
        ]
        yield formatting.plain(" ".join(told), LONGEST_NAME), panel


def axis_value(value: Any) -> str:
    """An axis as text; empty where the workload takes no such axis."""
    return "" if pd.isna(value) else str(value)


def escaped(text: str) -> str:
    """The text for a picture, where a $ would begin a formula."""
    return text.replace("$", r"\$")


def row_names(records: pd.DataFrame, *, apart: Iterable[str] = ()) -> list[str]:
    """A name for each record beside an axis: whatever tells it from the others, and nothing that it shares with them.

    Args:
        records: Rows as :func:`trainmark.store.frame.to_frame` gives them.
        apart: Parameters that the picture tells in another way.
    """
    settings = [{name: row.get(name) for name in PARAMETERS} for row in records.to_dict("records")]
    telling = [name for name in varying(settings) if name not in apart]
    names = [name_of(one, telling) for one in settings]
    if records["workload"].nunique() > 1:
        names = [f"{formatting.plain(w, 40)} {name}" for w, name in zip(records["workload"], names, strict=True)]
    return _told_apart(names)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names that read the same get a number: rows must not fall together."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def wrapped(name: str, characters: int = NAME_CHARACTERS) -> str:
    """A name in lines that are short enough to stand beside an axis; nothing of it is lost."""
    return escaped("\n".join(textwrap.wrap(name, characters, break_on_hyphens=False)) or name)


def axes(
    height_inches: float = HEIGHT_INCHES,
    width_inches: float = WIDTH_INCHES,
    left_inches: float = 0.8,
    bottom_inches: float = 0.45,
    right_inches: float = 0.12,
) -> Axes:
    """Axes on a transparent page, with margins that are the same for every panel, so that panels line up."""
    figure = Figure(figsize=(width_inches, height_inches))
    figure.patch.set_alpha(0)
    top_inches = 0.1
    drawn = figure.add_axes(
        (
            left_inches / width_inches,
            bottom_inches / height_inches,
            1 - (left_inches + right_inches) / width_inches,
            1 - (bottom_inches + top_inches) / height_inches,
        )
    )
    drawn.patch.set_alpha(0)
    return drawn


def row_axes(names: Sequence[str]) -> Axes:
    """Wide axes with a row a name, from the top: as high as their lines, and with as much room as the longest needs."""
    lines = [wrapped(name).split("\n") for name in names]
    left_inches = min(0.25 + CHARACTER_INCHES * max(len(line) for some in lines for line in some), 2.6)
    row_inches = max(ROW_INCHES, 0.05 + LINE_INCHES * max(map(len, lines)))
    drawn = axes(0.55 + row_inches * len(names), WIDE_INCHES, left_inches)
    drawn.set_yticks(range(len(names)), [wrapped(name) for name in names])
    drawn.set_ylim(len(names) - 0.4, -0.6)
    drawn.grid(visible=False, axis="y")
    return drawn


def spots(drawn: Axes, points: Iterable[tuple[float, float, str]]) -> tuple[Spot, ...]:
    """Where points lie in the SVG of the axes, with what each says; call it when its scales are set.

    Args:
        drawn: The axes.
        points: x, y and what to say, in the axes' own units.
    """
    figure = drawn.get_figure(root=True)
    assert figure is not None, "the axes were made with a figure"
    every = list(points)
    shown = every[:: -(-len(every) // MOST_SPOTS) or 1]  # of a cloud nobody can point at each
    if not shown:
        return ()
    places = drawn.transData.transform(np.array([(x, y) for x, y, _ in shown], dtype=float))
    across, up = figure.transFigure.inverted().transform(places).T
    width, height = figure.get_size_inches() * POINTS_A_INCH
    return tuple(
        Spot(round(float(right) * width), round((1 - float(above)) * height), formatting.plain(text, LONGEST_NAME))
        for right, above, (_, _, text) in zip(across, up, shown, strict=True)
        if 0 <= right <= 1 and 0 <= above <= 1
    )


def rate_scale(drawn: Axes, values: pd.Series[float], formatter: FuncFormatter = RATE, *, which: str = "y") -> None:
    """From zero where that tells the values apart, else logarithmic."""
    scaled = drawn.yaxis if which == "y" else drawn.xaxis
    largest, smallest = float(values.max()), float(values.min())
    if smallest > 0 and largest / smallest >= LOG_FROM:
        (drawn.set_yscale if which == "y" else drawn.set_xscale)("log")
        log_scale(scaled, smallest, largest)
    else:
        (drawn.set_ylim if which == "y" else drawn.set_xlim)(0, (largest or 1) * 1.12)
        drawn.locator_params(axis="y" if which == "y" else "x", nbins=5)
    scaled.set_major_formatter(formatter)


def batch_scale(drawn: Axes, sizes: Iterable[float]) -> None:
    """Batch sizes as they are, a doubling apart."""
    ticks = sorted(set(sizes))
    drawn.set_xscale("log", base=2)
    drawn.set_xticks(ticks, [f"{size:.0f}" for size in ticks])
    drawn.xaxis.set_minor_locator(NullLocator())
    if len(ticks) == 1:
        drawn.set_xlim(ticks[0] / 1.5, ticks[0] * 1.5)


def log_scale(scaled: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis: 1, 2 and 5 of each decade, or 1 alone where there are many."""
    scaled.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,), numticks=9))
    scaled.set_minor_locator(NullLocator())
    scaled.set_major_formatter(RATE)


def _round(value: float, unit: str) -> str:
    """A tick's number without trailing zeros: ``0``, ``500 µs``, ``1.5 k``."""
    prefixes = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")][3 if unit == "s" else 0 :]
    size, prefix = next((pair for pair in prefixes if abs(value) >= pair[0] * 0.9995), (1.0, ""))
    if not unit and abs(value) < 1:
        size, prefix = 1.0, ""
    return f"{value / size:.3g} {prefix}{unit}".strip()


def drawing() -> Any:
    """The context in which a picture is drawn: our style, whatever matplotlib's configuration here says."""
    return mpl.rc_context(_SETTINGS)


def svg(drawn: Axes) -> bytes:
    """The picture, which follows the reader's light or dark mode."""
    figure = drawn.get_figure(root=True)
    assert figure is not None, "the axes were made with a figure"
    image = io.StringIO()
    # Not savefig, which draws every picture twice.
    FigureCanvasSVG(figure).print_svg(image, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = image.getvalue().replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
    text = _TAG.sub(_bare, text[text.index("<svg") :])
    text = re.sub(r">\s*\n\s*<", "><", text)
    return text.replace("<defs>", THEME + "<defs>", 1).encode("utf-8", errors="replace")


def _bare(tag: re.Match[str]) -> str:
    """An element's tag without what it can do without; its text is never touched."""
    text = tag[0]
    for needless, instead in _NEEDLESS:
        text = needless.sub(instead, text)
    return text


def luminance(color: Sequence[float]) -> float:
    """Relative luminance of red, green and blue between 0 and 1, as WCAG 2 defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def write_legibly(drawn: Axes) -> None:
    """The numbers of a heatmap in black or white, whichever is read better on the colour behind."""
    mesh = drawn.collections[0]
    values = mesh.get_array()
    empty = np.ma.getmaskarray(np.ma.masked_invalid(values if values is not None else [])).ravel()
    shown = [color for color, blank in zip(np.asarray(mesh.get_facecolor()), empty, strict=True) if not blank]
    for text, color in zip(drawn.texts, shown, strict=True):
        text.set_color(NEAR_BLACK if luminance(color[:3]) > EQUALLY_LEGIBLE else "#ffffff")


def left_out(number: int) -> str:
    """What a picture says where it could not show all rows."""
    return f" The other {number} are in the tables below." if number > 0 else ""


def as_much(texts: Sequence[str]) -> str:
    """What a superlative adds where others read the same as the first: ``, as 2 others``."""
    same = sum(text == texts[0] for text in texts) - 1
    return f", as {formatting.counted(same, 'other')}" if same else ""
