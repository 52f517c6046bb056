"""What the user sees while a run goes on: one line a cell, the time that is left, and what became of it all."""

from __future__ import annotations

from collections import Counter

from trainmark.formatting import about, counted
from trainmark.measure.session import Measured, Session
from trainmark.store.record import Record
from trainmark.workloads import entry_of

LABEL_WIDTH = 44


def opening(session: Session, cells: int, seconds: float) -> str:
    """What is about to be measured, where, and how long it takes."""
    facts, threads = session.machine.environment, session.invocation.settings.threads
    hardware = [str(facts["cpu"]), f"{threads} thread{'s' * (threads > 1)}", *(gpu["name"] for gpu in facts["gpus"])]
    return f"{cells} cell{'s' * (cells != 1)} on {', '.join(hardware)}; torch {facts['torch']}: about {about(seconds)}"


def cell_line(measured: Measured, done: int, total: int, seconds_left: float) -> str:
    """One finished cell: what, how fast, how long still."""
    record = measured.record
    left = f", about {about(seconds_left)} left" if done < total else ""
    origin = "  (from the journal)" if measured.recovered else ""
    return f"{record.label:{LABEL_WIDTH}} {_result(record)}{origin}  [{done}/{total}{left}]"


def _result(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    return entry_of(record.cell.workload).line(record) + "".join(f"  ! {flag}" for flag in record.flags)


def summary(session: Session, resume: str, results: str) -> list[str]:
    """How the cells ended, and where their records are.

    Args:
        session: The run.
        resume: The command that would go on with it.
        results: What a reading command needs to find its records.
    """
    records = list(session.records.values())
    counts = Counter(record.status for record in records)
    lines = [", ".join(f"{number} {status}" for status, number in counts.items())]
    flagged = [record for record in records if record.flags]
    if flagged:
        flags = ", ".join(sorted({flag for record in flagged for flag in record.flags}))
        lines.append(f"{len(flagged)} flagged ({flags}): the page says what each means, and docs/measuring.md why")
    if session.stored is not None:
        lines += [f"records: {session.stored}", f"report:  trainmark html{results}"]
    if not session.complete and session.left_in_journal:
        missing = len(set(session.facts.planned) - set(session.records))
        verb = "is" if missing == 1 else "are"
        lines.append(f"{counted(missing, 'cell')} {verb} missing; measure them with: {resume}")
    elif session.left_in_journal:
        lines.append(f"not saved; save the records with: {resume} --benchmark-autosave")
    return lines
