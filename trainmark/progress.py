"""What the user sees while a run goes on: one line a cell, the time that is left, and what became of it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from bench.ngram.grid import NGRAM_WORKLOADS
from trainmark.measure.session import Measured, Session
from trainmark.store.record import Record

LABEL_WIDTH = 44
ROUNDS_TO_1 = 0.9995  # in three digits: else 0.9996 s would be 1e+03 ms


def opening(session: Session, cells: int, seconds: float) -> str:
    """What is about to be measured, where, and how long it takes."""
    facts, threads = session.machine.environment, session.invocation.settings.threads
    hardware = [str(facts["cpu"]), f"{threads} thread{'s' * (threads > 1)}", *(gpu["name"] for gpu in facts["gpus"])]
    return (
        f"{cells} cell{'s' * (cells != 1)} on {', '.join(hardware)}; torch {facts['torch']}: about {duration(seconds)}"
    )


def cell_line(measured: Measured, done: int, total: int, seconds_left: float) -> str:
    """One finished cell: what, how fast, how long still."""
    record = measured.record
    left = f", about {duration(seconds_left)} left" if done < total else ""
    origin = "  (from the journal)" if measured.recovered else ""
    return f"{record.label:{LABEL_WIDTH}} {_result(record)}{origin}  [{done}/{total}{left}]"


def _result(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    metrics = record.metrics
    if record.cell.workload == "capacity":
        text = f"fits {metrics['max_batch_size']} samples  {len(record.rounds)} attempts"
    elif record.cell.workload == "lecture":
        text = f"{metrics['claims_held']} of {metrics['claims']} claims hold"
    elif record.cell.workload == "accuracy":
        low, high = metrics["accuracy_lowest"], metrics["accuracy_highest"]
        seeds = len(record.rounds)
        spread = f" ({low:.2%} to {high:.2%}, {seeds} seeds)" if seeds > 1 else " (1 seed)"
        text = f"{metrics['accuracy']:.2%}{spread} in {duration(metrics['training_seconds'] or 0)}"
    elif record.cell.workload in NGRAM_WORKLOADS:
        text = _ngram_result(record)
    else:
        text = f"{time(metrics['step_seconds'] or 0)} {_spread(metrics)}  {count(metrics['samples_per_second'] or 0)}/s"
        if metrics.get("compile_seconds") is not None:
            text += f"  compiled in {duration(metrics['compile_seconds'] or 0)}"
    return text + "".join(f"  ! {flag}" for flag in record.flags)


def _ngram_result(record: Record) -> str:
    """How fast a text was fitted or scored; of a fit by a peer what it computes, of a score its perplexity."""
    metrics = record.metrics
    if record.cell.workload == "ngram_fit":
        text = f"{time(metrics['fit_seconds'] or 0)}  {count(metrics['tokens_per_second'] or 0)} tokens/s"
        return f"{text}  {record.settings['computes']}"
    text = f"{time(metrics['score_seconds'] or 0)}  {count(metrics['score_tokens_per_second'] or 0)} tokens/s"
    if metrics.get("perplexity") is None:
        return f"{text}  infinite perplexity, {metrics['unseen_share'] or 0:.1%} unseen"
    return f"{text}  perplexity {metrics['perplexity']:.1f}"


def _spread(metrics: Mapping[str, float | int | None]) -> str:
    low, middle, high = (metrics[name] for name in ("step_seconds_low", "step_seconds", "step_seconds_high"))
    if low is None or high is None or not middle:
        return "      "
    return f"± {max(high - middle, middle - low) / middle:4.1%}"


def summary(session: Session) -> list[str]:
    """How the cells ended, and where their records are."""
    records = list(session.records.values())
    counts = Counter(record.status for record in records)
    lines = [", ".join(f"{number} {status}" for status, number in counts.items())]
    flagged = [record for record in records if record.flags]
    if flagged:
        flags = ", ".join(sorted({flag for record in flagged for flag in record.flags}))
        lines.append(f"{len(flagged)} flagged ({flags}): their times deserve a second look, see docs/measuring.md")
    if session.stored is not None:
        lines += [f"records: {session.stored}", "report:  trainmark html"]
    if not session.complete and session.left_in_journal:
        missing = len(set(session.facts.planned) - set(session.records))
        lines.append(f"{missing} cells are missing; measure them with: pytest bench --resume")
    elif session.left_in_journal:
        lines.append("not saved; save the records with: pytest bench --resume --benchmark-autosave")
    return lines


def duration(seconds: float) -> str:
    """A time for people: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 9.95:  # what would read as 10.0 is 10
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def time(seconds: float) -> str:
    """A short time with its unit, seven characters wide: ``1.23 ms``."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= ROUNDS_TO_1:
            return f"{_three_digits(seconds * factor)} {unit}".rjust(7)
    return f"{_three_digits(seconds * 1e9)} ns".rjust(7)


def count(number: float) -> str:
    """A number of things, six characters wide: ``25.8k``."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number / factor >= ROUNDS_TO_1:
            return f"{_three_digits(number / factor)}{unit}".rjust(6)
    return _three_digits(number).rjust(6)


def _three_digits(number: float) -> str:
    return f"{float(f'{number:.3g}'):g}"  # the outer format has no exponent below a million
