"""The modes of torch.compile as a section of the page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from trainmark import formatting
from trainmark.advise.compile_modes import CompileMode, compile_modes
from trainmark.page.sections import Section
from trainmark.store.record import Record


def sections(records: Sequence[Record]) -> list[Section]:
    """A table of the modes; none where nothing was to be compiled."""
    from trainmark.page.html import templates  # here: the page knows sections

    rows = compile_modes(records)
    if not rows:
        return []
    html = templates().get_template("compile_modes.html").render(rows=[(row, _shown(row)) for row in rows])
    return [Section((("compile-modes", "Compile modes"),), Markup(html))]  # the template escapes


def _shown(row: CompileMode) -> tuple[tuple[str, str], ...]:
    """Title and words of each column."""
    decided = f" ({row.decided} of {row.twins} decided)" if row.twins else ""
    return (
        ("Speed-up", formatting.times(row.speedup) + decided),
        ("Compiles", f"{formatting.percent(row.compiled / row.tried, 0)} ({row.compiled} of {row.tried})"),
        ("Compile time", formatting.duration(row.compile_seconds)),
        ("Peak memory", formatting.times(row.memory)),
    )
