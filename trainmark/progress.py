"""What the user sees while a run goes on: one line a cell, the time that is left, and what became of it all."""

from __future__ import annotations

from collections import Counter

from trainmark import suite
from trainmark.formatting import about, counted, excerpt
from trainmark.measure.session import Measured, Session
from trainmark.store.record import NOT_OF_TIMES, Record
from trainmark.workloads import entry_of
from trainmark.workloads.terminal_line import NAME_WIDTH

WITHIN = "± is within its process: two processes differ by more, see docs/measuring.md, From process to process"


def opening(session: Session, cells: int, seconds: float) -> str:
    """What is about to be measured, where, and how long it takes."""
    facts, threads = session.machine.environment, session.invocation.settings.threads
    hardware = [str(facts["cpu"]), f"{threads} thread{'s' * (threads > 1)}", *(gpu["name"] for gpu in facts["gpus"])]
    return f"{cells} cell{'s' * (cells != 1)} on {', '.join(hardware)}; torch {facts['torch']}: about {about(seconds)}"


def cell_line(measured: Measured, done: int, total: int, seconds_left: float) -> str:
    """One finished cell under :func:`trainmark.workloads.terminal_line.header`: what, how fast, how long still."""
    record = measured.record
    left = f", about {about(seconds_left)} left" if done < total else ""
    origin = "  (from the journal)" if measured.recovered else ""
    again = "  (measured again)" if measured.again else ""
    return f"{record.label:{NAME_WIDTH}} {_result(record)}{origin}{again}  [{done}/{total}{left}]"


def _result(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {excerpt(record.reason)}"
    flags = "".join(f"  ! {flag}" for flag in record.flags)
    why = f"  ({excerpt(record.reason)})" if record.reason else ""
    return entry_of(record.cell.workload).line(record) + flags + why


def _answers(records: list[Record]) -> list[str]:
    """Which setting to train each model with, and what to call where that is not decided."""
    if not any(record.status == "ok" and entry_of(record.cell.workload).role == "answer" for record in records):
        return []
    from trainmark.advise.answer import answers  # loads the statistics
    from trainmark.advise.answer_words import command, sentence

    lines = []
    for found in answers(records):
        lines.append(sentence(found))
        if (more := command(found, suite.current().benchmarks)) is not None:
            lines.append(f"  {more}")
    return [*lines, ""]


def summary(session: Session, resume: str, results: str) -> list[str]:
    """How the cells ended, and where their records are.

    Args:
        session: The run.
        resume: The command that would go on with it.
        results: What a reading command needs to find its records.
    """
    records = list(session.records.values())
    counts = Counter(record.status for record in records)
    lines = [*_answers(records), ", ".join(f"{number} {status}" for status, number in counts.items())]
    flagged = [flags for record in records if (flags := set(record.flags) - NOT_OF_TIMES)]
    if flagged:
        named = ", ".join(sorted({flag for flags in flagged for flag in flags}))
        lines.append(f"{len(flagged)} flagged ({named}): the page says what each means, and docs/measuring.md why")
    uncounted = sum("flops-partial" in record.flags for record in records)
    if uncounted:
        lines.append(f"{uncounted} flagged (flops-partial): their FLOPs lack a formula, see docs/measuring.md")
    if any(record.metrics.get("step_seconds_low") is not None for record in records):
        lines.append(WITHIN)
    if session.stored is not None:
        lines += [f"records: {session.stored}", f"report:  trainmark html{results}"]
    if not session.complete and session.left_in_journal:
        missing = len(set(session.facts.planned) - set(session.records))
        verb = "is" if missing == 1 else "are"
        lines.append(f"{counted(missing, 'cell')} {verb} missing; measure them with: {resume}")
    elif session.left_in_journal:
        lines.append(f"not saved; save the records with: {resume} --benchmark-autosave")
    return lines
