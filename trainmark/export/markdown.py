"""A verdict as Markdown: for a pull request's comment, and for the summary of a step."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainmark import formatting
from trainmark.judge.beside import beside, reading
from trainmark.judge.comparison import CellComparison, Comparison
from trainmark.judge.flame import Difference, sentence
from trainmark.judge.verdict import Verdict, counts_sentence

MOST_EXPLAINED = 10  # cells with their operators
LIMIT = 65_536  # characters that GitHub takes for a comment
SIGNS = {"fine": "✅", "regressed": "❌", "changed": "⚠️", "undecided": "❔", "not comparable": "❔"}
HEADER = "| cell | verdict | base | new | new / base | why |\n|---|---|--:|--:|--:|---|"
ESCAPED = {
    **{character: f"\\{character}" for character in "\\`*_[]#|~"},
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "@": "@\u200b",
}
LINK = re.compile(r"(?<=:)(?=//)|(?<=\b[wW]{3})(?=\.)")  # what GitHub makes a link of by itself
BEGINNING = re.compile(r"^(\d{0,9})([-+.)](?=\s|$)|[-=]+$)")  # of a line that would be a list, a rule or a heading


def render(verdict: Verdict, comparison: Comparison, limit: int = LIMIT, explained: Sequence[Difference] = ()) -> str:
    """The verdict, then every cell, regressions first; rows that do not fit are counted, as is what was left out.

    Args:
        verdict: On the comparison.
        comparison: Its cells are in order already.
        limit: Characters, above what the verdict alone takes.
        explained: Of what operators the differences of profiled cells are made.
    """
    head = "\n\n".join(
        [
            f"### {SIGNS[verdict.word]} {text(verdict.sentence)}",
            f"{counts_sentence(comparison)}.",
            *map(text, verdict.details),
        ]
    )
    foot = "\n\n".join([*_operators(explained), text(reading(comparison))])
    room = limit - len(head) - len(HEADER) - len(foot) - 100  # for the line that counts the rest
    rows: list[str] = []
    shown = [cell for cell in comparison.cells if cell.verdict != "excluded"]
    for cell in shown:
        row = _row(cell)
        room -= len(row) + 1
        if room < 0:
            break
        rows.append(row)
    hidden = len(shown) - len(rows)
    rest = f"\n\n{formatting.counted(hidden, 'more cell')} not shown." if hidden else ""
    return f"{head}\n\n{HEADER}\n" + "\n".join(rows) + rest + f"\n\n{foot}\n"


def _operators(explained: Sequence[Difference]) -> list[str]:
    """A line for each of the cells that are shown to differ, as many as MOST_EXPLAINED."""
    shown = [one for one in explained if one.is_shown]
    if not shown:
        return []
    lines = [f"- **{text(one.label)}**: {text(sentence(one))}" for one in shown[:MOST_EXPLAINED]]
    more = [f"- {len(shown) - len(lines)} more"] if len(shown) > len(lines) else []
    return ["Which operators differ, in percent of the base's step:", "\n".join([*lines, *more])]


def _row(cell: CellComparison) -> str:
    shown = beside(cell)
    word = shown.named(f"**{cell.verdict}**" if cell.fails else cell.verdict)
    ratio = shown.ratio if shown.interval == formatting.DASH else f"{shown.ratio} {shown.interval}"
    before, after = map(text, (shown.base, shown.new))
    return f"| {text(cell.label)} | {word} | {before} | {after} | {text(ratio)} | {text(cell.notes)} |"


def text(words: str) -> str:
    """Text that Markdown and HTML leave as it is, in one line, and that calls nobody."""
    line = LINK.sub("\u200b", formatting.plain(words, 500))
    escaped = "".join(ESCAPED.get(character, character) for character in line)
    return BEGINNING.sub(r"\1\\\2", escaped)
