"""Why a cell has a record in only one of two runs: lost, not reached, or left out on purpose."""

from __future__ import annotations

from trainmark.store.record import Record, Run


def absence(record: Record, other: Run, base: Run) -> str:
    """What it means that the other run lacks a record of this cell.

    On purpose means that the request, which a run stores, leaves the cell out; what was asked for and is
    not there has been lost.

    Args:
        record: Of the run that has the cell.
        other: The run that has not.
        base: The run that has.

    Returns:
        ``unmeasured``, ``excluded`` or ``missing``: see :data:`trainmark.judge.comparison.VERDICTS`.
    """
    facts = other.facts
    if record.key in facts.planned:
        return "missing" if facts.complete else "unmeasured"
    if not facts.complete and not facts.planned:
        return "unmeasured"  # cut off before it was known what it would measure
    return "excluded" if is_excluded(record, other, base) else "missing"


def is_excluded(record: Record, run: Run, base: Run) -> bool:
    """Whether what a run was asked for leaves a cell out that another run has."""
    options, axes, workload = run.facts.options, record.cell.settings, record.cell.workload
    if record.key in run.facts.left_out:
        return True
    given = options.get("given") or {}
    if any(name in axes and axes[name] not in values for name, values in given.items()):
        return True
    asked = options.get("workloads")
    if asked is not None and not asked.get(workload, options.get("whole", True)):
        return True
    if options.get("only") not in (None, workload):
        return True
    if base.facts.options.get("only") == workload and options.get("only") != workload:
        return True  # measured only where it is asked for by an option of its own
    return options.get("grid") != base.facts.options.get("grid") and not options.get("exhaustive", False)


def interruption(run: Run) -> str:
    """Why a run has not reached all that it planned."""
    return "interrupted" if run.facts.finished is None else "the budget was spent"
