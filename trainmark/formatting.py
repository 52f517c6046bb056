"""Numbers, moments and names as people read them; what was not measured is an en dash."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trainmark.store.metrics import METRICS

DASH = "\N{EN DASH}"  # for what was not measured
MINUS = "\N{MINUS SIGN}"
LONGEST_LINE = 4000  # characters of one that names files and models of somebody else's
EXCERPT = 600  # characters of a sentence of somebody else's
Number = float | int | None
_COMMAND = re.compile(r"(^ *:|##)([:\[])")  # as GitHub's runner takes them from a log


def digits(value: Number, significant: int = 3) -> str:
    """Three significant digits without an exponent: ``0.0512``, ``1.30``, ``1,310``."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, significant - 1 - exponent)
    decimals = max(0, significant - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}".replace("-", MINUS)


def whole(value: Number) -> str:
    """An exact count: ``270,346``."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,}"


def prefixed(value: Number, unit: str = "") -> str:
    """A number with an SI prefix from thousands on: ``33.7 k``, ``412 MB``."""
    if value is None or not math.isfinite(value):
        return DASH
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:  # 999,600 is 1.00 M, not 1,000 k
            return f"{digits(value / size)} {prefix}{unit}"
    short = whole(value) if isinstance(value, int) else digits(value)
    return f"{short} {unit}".rstrip()


def duration(seconds: Number) -> str:
    """A time in the unit that suits it: ``64.2 µs``, ``1.30 ms``, ``12.4 s``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(seconds) >= size * 0.9995:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds * 1e9)} ns" if seconds else "0 s"


def about(seconds: Number) -> str:
    """A time that nobody needs exactly: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 9.95:  # what would read as 10.0 is 10
        return f"{seconds:.1f} s"
    whole_seconds = round(seconds)
    if whole_seconds < 60:
        return f"{whole_seconds} s"
    if whole_seconds < 3600:
        return f"{whole_seconds // 60} min {whole_seconds % 60:02d} s"
    return f"{whole_seconds // 3600} h {whole_seconds % 3600 // 60:02d} min"


def percent(share: Number, decimals: int = 2) -> str:
    """A share of one as percent: ``98.04%``."""
    return DASH if share is None or not math.isfinite(share) else f"{100 * share:.{decimals}f}%"


def points(difference: Number) -> str:
    """A difference of two shares: ``-1.20 points`` with a true minus sign."""
    if difference is None or not math.isfinite(difference):
        return DASH
    return f"{100 * difference:+.2f} points".replace("-", MINUS)


def times(ratio: Number) -> str:
    """A ratio with two decimals and a times sign: ``1.32``."""
    return DASH if ratio is None or not math.isfinite(ratio) else f"{ratio:.2f}\N{MULTIPLICATION SIGN}"


def interval(low: Number, high: Number) -> str:
    """The ends of a ratio's interval: ``[0.98, 1.03]``."""
    return DASH if low is None or high is None else f"[{low:.2f}, {high:.2f}]"


def pairs(pairs: int, dropped: int) -> str:
    """How many pairs a number rests on: ``24 pairs, 2 more disturbed``."""
    return counted(pairs, "pair") + (f", {dropped} more disturbed" if dropped else "")


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 pair``, ``24 pairs``."""
    return f"{whole(number)} {noun}{'s' * (number != 1)}"


def relative(ratio: Number) -> str:
    """A ratio as a signed change: ``+32.0%``."""
    if ratio is None or not math.isfinite(ratio):
        return DASH
    change = round(100 * (ratio - 1), 1) + 0.0  # without the sign of a zero that was just below
    return f"{change:+.1f}%".replace("-", MINUS)


def metric(name: str, value: Number) -> str:
    """A value of METRICS with its unit."""
    described = METRICS[name]
    if described.compared in ("exact", "explains"):
        return whole(value)
    if described.is_share:
        return percent(value)
    return duration(value) if described.unit == "s" else prefixed(value, described.unit)


def difference(name: str, value: Number) -> str:
    """A difference of two values of METRICS that is judged over seeds: points of a share, else in its unit."""
    if METRICS[name].is_share or value is None or not math.isfinite(value):
        return points(value)
    sign = "+" if value >= 0 else MINUS
    return f"{sign}{metric(name, abs(value))}"


def metric_name(name: str) -> str:
    """A metric's name in a sentence: ``step time``, ``peak memory``; its unit is left to its value."""
    return name.replace("_seconds", "_time").removesuffix("_bytes").replace("_", " ")


def metric_meaning(name: str) -> str:
    """What a value of METRICS means, in one line."""
    return METRICS[name].meaning


def moment(iso: str | None) -> str:
    """A stored moment to the minute, in UTC; what is not a moment is shown as it is."""
    if not iso:
        return DASH
    try:
        then = datetime.fromisoformat(iso)
    except ValueError:
        return plain(iso)
    if then.tzinfo is not None:
        then = then.astimezone(UTC)
    return f"{then:%Y-%m-%d %H:%M} UTC"


def plain(value: object, limit: int = 120) -> str:
    """One line of printable text: control and direction marks are spelled out, the middle of a long one is left out."""
    text = str(value)
    if len(text) > limit:
        half = (limit - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return printable(text)


def printable(text: str) -> str:
    """One line of printable text, however long: as :func:`plain`, which leaves out the middle of a long one."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _spelled(character) for character in text)


def excerpt(text: object, limit: int = EXCERPT) -> str:
    """A sentence of somebody else's as it may be shown and kept: one line of printable text, of a bounded length.

    Whatever a model, a library or another program says comes in here: of a long text both ends stay, with how much
    lies between them.
    """
    whole = str(text)
    if len(whole) <= limit:
        return plain(whole, limit)
    head, tail = limit * 3 // 4, limit // 4
    left_out = f"[{len(whole) - head - tail:,} characters left out]"
    return f"{plain(whole[:head], head)} {left_out} {plain(whole[-tail:], tail)}"


def readable(text: object) -> str:
    """Sentences that quote somebody else, each line of them as :func:`plain` has it: for what is said of an error."""
    return "\n".join(excerpt(line, LONGEST_LINE) for line in str(text).splitlines())


def for_terminal(text: str) -> str:
    """Lines for a terminal and for the log of a CI job: they hold no control characters and are no command to it."""
    return "\n".join(_COMMAND.sub("\\1\u200b\\2", printable(line)) for line in text.split("\n"))


def fact(value: Any) -> str:
    """A fact of an environment, such as a number, a list of GPUs or a table of variables, in one line."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if "name" in value:
            rest = {name: item for name, item in value.items() if name != "name"}
            return f"{fact(value['name'])} ({fact(rest)})" if rest else fact(value["name"])
        return ", ".join(_named(plain(name), fact(item)) for name, item in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(fact(item) for item in value) or "none"
    return digits(value, 4) if isinstance(value, float) else plain(value, 200)


def _named(name: str, value: str) -> str:
    """A fact with its name, or with the unit that the name carries: ``139 GiB``."""
    return f"{value} GiB" if name.endswith("_gib") else f"{name} {value}"


def _spelled(character: str) -> str:
    return " " if character.isspace() else f"\\u{ord(character):04x}"
