"""Comparisons, verdicts and lists of runs as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from trainmark import formatting
from trainmark.advise.conditions import machine
from trainmark.judge.beside import beside, reading
from trainmark.judge.change_points import MINIMUM, ChangePoint, times_of
from trainmark.judge.comparison import CellComparison, Comparison
from trainmark.judge.explanation import Change, Explanation, Rest
from trainmark.judge.verdict import Verdict, counts_sentence, judge
from trainmark.store.profiles import OTHERS, MemoryTimeline, Operator, Profile
from trainmark.store.record import Run
from trainmark.store.runs import UnreadableRun, read_run

LABEL_WIDTH = 60
SHAPES_WIDTH = 48
REASON_WIDTH = 1000
PROFILED = "A profiled step is longer than a measured one, often by far: read shares, and let compare tell times."


def comparison_table(comparison: Comparison, verdict: Verdict | None = None) -> str:
    """Every cell with its verdict, the numbers of the metric that has it, and what else changed.

    What was left out on purpose is counted in the verdict, and not listed.

    Args:
        comparison: Of two sides.
        verdict: On it; None for that of the default policy.
    """
    header = ("cell", "base", "new", "ratio", "interval", "verdict", "why, and what else changed")
    rows = [_comparison_row(cell) for cell in comparison.cells if cell.verdict != "excluded"]
    return "\n".join(
        [
            f"base: {formatting.plain(comparison.base)}",
            f"new:  {formatting.plain(comparison.new)}",
            "",
            *table([header, *rows], right_aligned=(1, 2, 3, 4)),
            reading(comparison),
            "",
            check_summary(verdict or judge(comparison), comparison, with_regressions=False),
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


def history_table(changes: Sequence[ChangePoint], runs: Sequence[Run]) -> str:
    """When each cell's time changed, the largest change first, with the commits between which it did."""
    if not changes:
        told = f"over {formatting.counted(len(runs), 'run')} of this machine."
        most = max((len(values) for values in times_of(runs).values()), default=0)
        if most < 2 * MINIMUM:
            return f"No time can be followed {told} It takes {2 * MINIMUM} runs of a cell; the most are {most}."
        return f"No change of a time is found {told}"
    header = ("cell", "new / old", "runs", "last before", "first after", "commits")
    rows = [
        (
            formatting.plain(change.label, LABEL_WIDTH),
            formatting.times(change.ratio),
            f"{change.runs[0]} and {change.runs[1]}",
            formatting.plain(change.last_before.name, LABEL_WIDTH),
            formatting.plain(change.first_after.name, LABEL_WIDTH),
            f"{_commit(change.last_before)}..{_commit(change.first_after)}",
        )
        for change in changes
    ]
    return "\n".join(
        [
            *table([header, *rows], right_aligned=(1,)),
            "",
            "To find the commit: trainmark bisect GOOD BAD -- -k CELL",
        ]
    )


def _commit(run: Run) -> str:
    return formatting.plain(run.commit.get("id") or formatting.DASH)[:12]


def profile_table(profile: Profile, top: int) -> str:
    """Where the steps of a cell spend their time: its kernels, then its operators, largest self time first."""
    steps = f"mean of {profile.steps} steps" if profile.steps != 1 else "one step"
    lines = [
        f"{formatting.plain(profile.label)}: a profiled step takes {formatting.duration(profile.step_seconds)} "
        f"on {formatting.plain(profile.device)}, {steps}."
    ]
    for kind in ("kernel", "operator"):
        rows = [row for row in profile.operators if row.kind == kind]
        if rows:
            lines += ["", *_operators_table(kind, rows, profile.step_seconds, top)]
    between = f"{formatting.duration(profile.between_seconds)}, {_share(profile.between_seconds, profile.step_seconds)}"
    lines += ["", f"Between operators, in Python, the profiler or waiting: {between} of a step.", PROFILED]
    return "\n".join(lines)


def timeline_line(timeline: MemoryTimeline, file: Path) -> str:
    """When in a step the device held the most."""
    at, most = timeline.peak
    begun = timeline.allocated_bytes[0]
    return (
        f"Memory of a step: from {begun / 1e6:,.0f} MB to {most / 1e6:,.0f} MB after {formatting.duration(at)}; "
        f"each change of it is in {file}"
    )


def explanation_table(explanation: Explanation, top: int) -> str:
    """Why a step of a cell takes another time: the operators that changed, largest change first."""
    shown, hidden = explanation.changes[:top], explanation.changes[top:]
    rows = [_change_row(change, explanation) for change in shown]
    if hidden:
        seconds = sum(change.seconds for change in hidden)
        rows.append(_sum_row(f"{len(hidden)} more that changed", seconds, explanation))
    rows += [_rest_row(rest, explanation) for rest in explanation.rest]
    rows.append(_sum_row("between operators: Python, the profiler, waiting", explanation.between_seconds, explanation))
    header = ("operator", "shapes", "base", "new", "change", "share", "calls of a step")
    return "\n".join([_explanation_sentence(explanation), "", *table([header, *rows], right_aligned=(2, 3, 4, 5))])


def _explanation_sentence(explanation: Explanation) -> str:
    base, new = formatting.duration(explanation.base_seconds), formatting.duration(explanation.new_seconds)
    label = formatting.plain(explanation.label)
    if not explanation.differs:
        said = f"{label}: a profiled step took {base} and takes {new}, too little of a difference to explain."
    else:
        said = f"{label}: a profiled step took {base} and takes {new}, {_signed(explanation.seconds)}."
    if explanation.same_work:
        return f"{said}\nThe operators that both list are the same, on the same shapes, as often: their times differ."
    return said


def _operators_table(kind: str, rows: Sequence[Operator], step_seconds: float, top: int) -> list[str]:
    listed = [row for row in rows if row.name != OTHERS]
    shown, hidden = listed[:top], [*listed[top:], *(row for row in rows if row.name == OTHERS)]
    with_device = kind == "operator" and any(row.device_seconds_per_step is not None for row in rows)
    header = [kind, "shapes", "calls", "self", "share", "total", "device", "FLOP", "memory"]
    body = [
        [
            formatting.plain(row.name, LABEL_WIDTH),
            formatting.plain(row.shapes, SHAPES_WIDTH),
            _calls(row.calls_per_step),
            formatting.duration(row.self_seconds_per_step),
            _share(row.self_seconds_per_step, step_seconds),
            formatting.duration(row.total_seconds_per_step),
            formatting.duration(row.device_seconds_per_step),
            formatting.prefixed(row.flops_per_step),
            formatting.prefixed(row.allocated_bytes_per_step, "B"),
        ]
        for row in shown
    ]
    if hidden:
        seconds = sum(row.self_seconds_per_step for row in hidden)
        calls = _calls(sum(row.calls_per_step for row in hidden))
        body.append(["all others", "", calls, formatting.duration(seconds), _share(seconds, step_seconds), *[""] * 4])
    left_out = {
        *(("device",) if not with_device else ()),
        *(("shapes", "total", "FLOP", "memory") if kind == "kernel" else ()),
    }
    columns = [number for number, name in enumerate(header) if name not in left_out]
    picked = [[row[number] for number in columns] for row in [header, *body]]
    first_number = columns.index(header.index("calls"))
    return table(picked, right_aligned=range(first_number, len(columns)))


def _change_row(change: Change, explanation: Explanation) -> tuple[str, ...]:
    calls = _calls(change.new_calls)
    if change.calls_changed:
        calls = f"{_calls(change.base_calls)} → {calls}"
    return (
        formatting.plain(change.name, LABEL_WIDTH),
        "kernel" if change.kind == "kernel" else formatting.plain(change.shapes, SHAPES_WIDTH),
        formatting.duration(change.base_seconds),
        formatting.duration(change.new_seconds),
        _signed(change.seconds),
        _share_of(explanation, change.seconds),
        calls,
    )


def _rest_row(rest: Rest, explanation: Explanation) -> tuple[str, ...]:
    noun = rest.kind if rest.count == 1 else f"{rest.kind}s"
    return _sum_row(f"{rest.count} {noun} that hardly changed", rest.seconds, explanation)


def _sum_row(name: str, seconds: float, explanation: Explanation) -> tuple[str, ...]:
    return (name, "", "", "", _signed(seconds), _share_of(explanation, seconds), "")


def _signed(seconds: float) -> str:
    return f"{formatting.MINUS if seconds < 0 else '+'}{formatting.duration(abs(seconds))}"


def _share_of(explanation: Explanation, seconds: float) -> str:
    return formatting.percent(explanation.share(seconds), 0).replace("-", formatting.MINUS)


def _calls(per_step: float) -> str:
    return formatting.whole(per_step) if float(per_step).is_integer() else formatting.digits(per_step)


def _share(seconds: float, whole: float) -> str:
    return formatting.percent(seconds / whole if whole > 0 else None, 1)


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
    shown = beside(cell)
    numbers = (shown.base, shown.new, shown.ratio, shown.interval)
    notes = formatting.plain(cell.notes, REASON_WIDTH)
    return (formatting.plain(cell.label, LABEL_WIDTH), *numbers, shown.named(cell.verdict), notes)


def _because(cell: CellComparison) -> str:
    return f", {formatting.plain(cell.reason, REASON_WIDTH)}" if cell.reason else ""


def _run_row(run: Run) -> tuple[str, ...]:
    commit = _commit(run)
    return (
        formatting.plain(run.name, LABEL_WIDTH),
        formatting.moment(run.facts.started),
        f"{commit} (dirty)" if run.commit.get("dirty") else commit,
        formatting.plain(machine(run), LABEL_WIDTH),
        str(len(run.records)),
        str(len([record for record in run.records if record.failed])),
        "complete" if run.facts.complete else "interrupted",
    )
