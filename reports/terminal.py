"""Comparisons, verdicts and lists of runs as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from reports import formatting
from reports.check import Verdict, counts_sentence, judge
from reports.comparison import CellComparison, Comparison
from reports.conditions import machine
from results.record import Run
from results.runs import UnreadableRun, read_run

LABEL_WIDTH = 60


def comparison_table(comparison: Comparison) -> str:
    """Every cell with its times, their ratio with interval, its verdict and what else changed."""
    header = ("cell", "base", "new", "ratio", "interval", "verdict", "why, and what else changed")
    rows = [_comparison_row(cell) for cell in comparison.cells]
    return "\n".join(
        [
            f"base: {formatting.plain(comparison.base)}",
            f"new:  {formatting.plain(comparison.new)}",
            "",
            *table([header, *rows], right_aligned=(1, 2, 3, 4)),
            "",
            check_summary(judge(comparison), comparison, with_regressions=False),
        ]
    )


def check_summary(verdict: Verdict, comparison: Comparison, *, with_regressions: bool = True) -> str:
    """The verdict in one sentence, then the regressions, then how many cells have each verdict."""
    lines = [verdict.sentence]
    if with_regressions:
        lines += [
            f"  {formatting.plain(cell.label, LABEL_WIDTH)}: {cell.verdict}{_because(cell)}"
            for cell in verdict.regressions
        ]
    return "\n".join([*lines, f"Cells: {counts_sentence(comparison)}.", *verdict.details])


def runs_table(files: Sequence[Path], folder: Path) -> str:
    """Stored runs, one a line, the oldest first; then the files that cannot be read, with the reason."""
    rows, unreadable = [], []
    for file in files:
        try:
            rows.append(_run_row(read_run(file)))
        except UnreadableRun as error:
            unreadable.append(f"unreadable: {formatting.plain(error, 300)}")
    if not files:
        return f"No runs in {folder}. Record one: pytest bench --benchmark-autosave"
    header = ("run", "started", "commit", "machine", "cells", "failed", "state")
    return "\n".join([*(table([header, *rows], right_aligned=(4, 5)) if rows else []), *unreadable])


def table(rows: Sequence[Sequence[str]], right_aligned: Iterable[int] = ()) -> list[str]:
    """Lines of text with aligned columns, two spaces apart; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = set(right_aligned)
    lines = [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _comparison_row(cell: CellComparison) -> tuple[str, ...]:
    time = cell.time
    return (
        formatting.plain(cell.label, LABEL_WIDTH),
        formatting.duration(time.base if time else None),
        formatting.duration(time.new if time else None),
        formatting.times(time.ratio if time else None),
        formatting.interval(time.low, time.high) if time else formatting.DASH,
        cell.verdict,
        cell.notes,
    )


def _because(cell: CellComparison) -> str:
    return f", {cell.reason}" if cell.reason else ""


def _run_row(run: Run) -> tuple[str, ...]:
    commit = formatting.plain(run.commit.get("id") or formatting.DASH)[:12]
    return (
        formatting.plain(run.name, LABEL_WIDTH),
        formatting.moment(run.facts.started),
        f"{commit} (dirty)" if run.commit.get("dirty") else commit,
        formatting.plain(machine(run), LABEL_WIDTH),
        str(len(run.records)),
        str(len([record for record in run.records if record.failed])),
        "complete" if run.facts.complete else "interrupted",
    )
