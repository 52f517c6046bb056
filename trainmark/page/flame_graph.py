"""A differential flame graph: to the right what takes longer, to the left what takes less, below who called it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainmark import formatting
from trainmark.judge.flame import Difference, Node, sentence
from trainmark.page.sections import Section

NARROWEST = 0.4  # percent of the drawing: boxes below are left out, and lie within their caller's
PHONE, DESK = 310, 1080  # pixels of the drawing's width, on a screen of 400 and of 1280
LETTER, EDGES = 7.0, 8.0  # pixels of a letter, and around the words of a box
DEEPEST = 14  # rows
ROW = 20  # pixels
MOST = 30  # differences on a page
MOST_BOXES = 40  # of a difference, the widest: what is left out lies within its caller's
ROWS = 15  # of a table
LEAST = 0.01  # percent of all that moved: what is less is no row
SLOWER, FASTER = "slower", "faster"


@dataclass(frozen=True)
class Box:
    """A box of the drawing.

    Attributes:
        left: Where it begins, in percent of the width.
        width: Likewise: its share of all that moved, to either side.
        top: In pixels.
        side: ``slower`` or ``faster``.
        text: Name and seconds, or the name alone where no more has room.
        title: The same with more, shown where the pointer rests.
        room: ``roomy``, ``tight`` or ``none``: where its words are shown.
    """

    left: float
    width: float
    top: int
    side: str
    text: str
    title: str
    room: str


@dataclass(frozen=True)
class FlameGraph:
    """The drawing of one difference, with its sentence and its numbers.

    Attributes:
        label: What was profiled.
        base: What it is held against.
        sentence: What the difference is made of.
        boxes: Callers first.
        middle: Where neither slower nor faster is, in percent of the width.
        height: In pixels.
        remark: What boxes add up to, beside what was measured.
        rows: Name, milliseconds, calls of the base and of the new one.
        left_out: Operators that the rows leave out.
    """

    label: str
    base: str
    sentence: str
    boxes: tuple[Box, ...]
    middle: float
    height: int
    remark: str
    rows: tuple[tuple[str, ...], ...]
    left_out: int


def flame_graph(found: Difference) -> FlameGraph:
    """Boxes of all that moved, as wide as what they gained or saved: the right side less the left is the difference."""
    moved = found.slower + found.faster
    scale = 100 / moved if moved else 0.0
    middle = found.faster * scale
    sides = [box for side in (SLOWER, FASTER) for box in _side(found.roots, side, middle, scale, found)]
    boxes = sorted(sides, key=lambda box: (-box.width, box.top))[:MOST_BOXES]
    terms = [term for term in found.terms if abs(term.seconds) * scale >= LEAST]
    terms.sort(key=lambda term: -abs(term.seconds))
    return FlameGraph(
        label=found.label,
        base=found.base,
        sentence=sentence(found),
        boxes=tuple(boxes),
        middle=round(middle, 3),
        height=max((box.top for box in boxes), default=0) + ROW,
        remark=_remark(found),
        rows=tuple(
            (term.name, _signed(term.seconds), f"{term.base_calls:g}", f"{term.new_calls:g}") for term in terms[:ROWS]
        ),
        left_out=max(0, len(terms) - ROWS),
    )


def _side(roots: Sequence[Node], side: str, middle: float, scale: float, found: Difference) -> Iterator[Box]:
    """One side of the drawing: the box of all of it, and below it its calls, the largest next to the middle."""
    total = found.slower if side == SLOWER else found.faster
    if not total:
        return
    yield _box(f"all that is {side}", total, side, (middle, 0), scale, None)
    yield from _row(roots, side, (middle, 1), scale)


def _row(nodes: Sequence[Node], side: str, at: tuple[float, int], scale: float) -> Iterator[Box]:
    """Boxes of some calls from a place on, away from the middle; then those of what they called."""
    begin, row = at
    for node in sorted(nodes, key=lambda node: -_part(node, side)):
        part = _part(node, side)
        if part * scale < NARROWEST or row >= DEEPEST:
            return
        yield _box(node.name, part, side, (begin, row), scale, node)
        yield from _row(node.children, side, (begin, row + 1), scale)
        begin += part * scale * (1 if side == SLOWER else -1)


def _part(node: Node, side: str) -> float:
    return node.slower if side == SLOWER else node.faster


def _box(name: str, seconds: float, side: str, at: tuple[float, int], scale: float, node: Node | None) -> Box:
    begin, row = at
    width = seconds * scale
    left = begin if side == SLOWER else begin - width
    signed = _signed(seconds if side == SLOWER else -seconds)
    short = formatting.plain(name.removeprefix("aten::"), 80)
    text = next((text for text in (f"{short} {signed}", short) if _fits(text, width, DESK)), "")
    room = "roomy" if _fits(text, width, PHONE) else "tight" if text else "none"
    words = text or f"{short} {signed}"
    return Box(round(left, 3), round(width, 3), row * ROW, side, words, _title(name, signed, node), room)


def _fits(text: str, width: float, pixels: int) -> bool:
    """Whether words are shown whole in a box of so many percent of the drawing: else they are not shown."""
    return bool(text) and len(text) * LETTER + EDGES <= width / 100 * pixels


def _title(name: str, signed: str, node: Node | None) -> str:
    if node is None:
        return f"{name}: {signed}"
    before, after = (
        "not called" if seconds is None else formatting.duration(max(seconds, 0.0))
        for seconds in (node.base_seconds, node.new_seconds)
    )
    return f"{formatting.plain(name)}: {signed} with what it calls; itself {before} → {after}"


def _signed(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else chr(0x2212)}{formatting.duration(abs(seconds))}"


def _remark(found: Difference) -> str:
    parts = f"{_signed(found.slower)} and {_signed(-found.faster)}"
    times = found.times
    if times is None:
        return f"The boxes add up to {_signed(found.seconds)}, {parts}. The step was not timed without a profiler."
    longer = found.base_seconds / times.base, found.new_seconds / (times.base + times.middle)
    interval = f"{_signed(times.low)} to {_signed(times.high)}"
    return (
        f"The boxes add up to {_signed(found.seconds)}, {parts}, as timed without a profiler ({interval}). With it the "
        f"steps took {formatting.times(longer[0])} and {formatting.times(longer[1])} as long: what that is for each "
        "call is left out."
    )


def sections(found: Sequence[Difference]) -> list[Section]:
    """The differences as a section of a page; none where there is nothing to hold against each other."""
    from trainmark.page.html import templates  # here: the page knows sections

    if not found:
        return []
    graphs = [flame_graph(one) for one in found[:MOST]]
    html = templates().get_template("flame.html").render(graphs=graphs, left_out=len(found) - len(graphs), row=ROW)
    return [Section((("differing-operators", "Operators"),), Markup(html))]  # the template escapes
