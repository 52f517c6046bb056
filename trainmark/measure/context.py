"""What a workload measures with: processes of its own, a folder that lasts for the run, and the machine's peaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainmark.measure.processes import sentence_of
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Outcome, Workers
from trainmark.meters.probes import peaks_of, utilisation
from trainmark.scratch import scratch
from trainmark.store.cell import Cell, plain
from trainmark.store.folders import without_folders
from trainmark.store.record import Record
from trainmark.workloads import entry_of

OUTLIVED = "outlived"  # flag of a cell that left a process behind


@dataclass
class Context:
    """The means of a run, or of one side of a pair.

    Attributes:
        workers: Where functions are called, each in a process of its own.
        limits: Of each call.
        peaks: Device -> what it was seen to reach; a workload may add what bounds it.
        notes: Sentences that the user should hear at the end; a workload adds what its records lack, and why.
        known: Records of the same code on this machine: of earlier runs, then of this one. None on a side of a pair.
        unspent: Seconds that the run's answers have left of their time: those that come may take them.
    """

    workers: Workers
    limits: Limits = field(default_factory=Limits)
    peaks: MutableMapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    known: Callable[[], Sequence[Record]] = tuple
    unspent: float = 0.0
    _until: float | None = None
    _taken: float = 0.0
    _called: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    _folder: Path | None = None
    _until_closed: ExitStack = field(default_factory=ExitStack)

    def measure(self, cell: Cell, settings: Settings) -> tuple[Record, str]:
        """The record of a cell, as its workload's entry measures it, and the last lines that its process printed.

        All processes that it takes share the time of a cell.
        """
        seconds = self.limits.seconds
        self._until = None if seconds is None else time.monotonic() + seconds - self.limits.spent
        self._taken = 0.0
        try:
            record, log = entry_of(cell.workload).measure(cell, settings, self)
        finally:
            self._until = None
        return replace(record, metrics={**record.metrics, "cell_seconds": self._taken}), log

    def call(self, function: str, *arguments: Any) -> Outcome:
        """Calls ``package.module:name`` in a process of its own, within the limits of a cell."""
        limits = self.limits
        if self._until is not None and limits.seconds is not None:
            limits = replace(limits, spent=max(0.0, limits.seconds - (self._until - time.monotonic())))
        outcome = self.workers.call(function, *arguments, limits=limits)
        self._taken += outcome.seconds
        return outcome

    def once(self, function: str, *arguments: Any) -> Outcome:
        """The same, but the same call only once in a run: what came of it is kept.

        Args:
            function: As above.
            arguments: Picklable; told apart by their ``repr``.
        """
        key = (function, repr(arguments))
        if key in self._called:
            return self._called[key]
        outcome = self.call(function, *arguments)
        if outcome.status != "timeout":  # which may be for want of time that the cell had spent before
            self._called[key] = outcome
        return outcome

    @property
    def folder(self) -> Path:
        """A folder that is there until the run ends."""
        if self._folder is None:
            self._folder = self._until_closed.enter_context(scratch("run"))
        return self._folder

    def record(self, cell: Cell, settings: Settings, outcome: Outcome) -> tuple[Record, str]:
        """The record that a call gave, or that says how it ended; and the last lines that it printed."""
        reason = None if outcome.reason is None else without_folders(outcome.reason)
        flags, left = ((OUTLIVED,), sentence_of(outcome.outlived)) if outcome.outlived else ((), None)
        if not isinstance(outcome.value, Record):
            reason = _together(reason, left)
            told = {"threads": settings.threads, "seed": settings.seed}
            return Record(cell, outcome.status, reason, settings=told, flags=flags), outcome.log
        record = outcome.value  # whole, or timed before an instrument ended badly
        if outcome.status != "ok":
            flags = (*flags, f"instruments-{outcome.status}")
        if flags:
            reason = _together(reason or record.reason, left)
            record = replace(record, reason=reason, flags=(*record.flags, *flags))
        return record if settings.once else self._with_computation(record, settings), outcome.log

    def _with_computation(self, record: Record, settings: Settings) -> Record:
        """The record with what its cell computes; cells that compute the same share one look at it."""
        function = entry_of(record.cell.workload).computed_by
        if record.status != "ok" or not function:
            return record
        how = Settings(threads=1, seed=settings.seed, places=settings.places)
        outcome = self.once(function, plain(record.cell), how)
        if outcome.status == "ok":
            return replace(record, computation=outcome.value)
        reason = record.reason or f"what it computes was not looked at: {without_folders(outcome.reason or '')}"
        return replace(record, reason=reason, flags=(*record.flags, f"computation-{outcome.status}"))

    def with_utilisation(self, record: Record) -> Record:
        """The record with its distance from this machine's peaks, where both are known."""
        metrics, settings = record.metrics, record.cell.settings
        device = str(settings.get("device"))
        if metrics.get("step_seconds") is None or device not in self.peaks or "precision" not in settings:
            return record
        eager = settings.get("compile", "off") == "off"  # what a compiled step moves, nobody has counted
        found = utilisation(
            metrics.get("flops_per_step"),
            metrics.get("moved_bytes_per_step") if eager else None,
            metrics["step_seconds"],
            str(settings["precision"]),
            peaks_of(self.peaks[device]),
        )
        return replace(record, metrics={**metrics, **found})

    def close(self) -> None:
        """Removes the folder."""
        self._until_closed.close()
        self._folder = None


def _together(*sentences: str | None) -> str | None:
    return "; ".join(filter(None, sentences)) or None


def now() -> str:
    """This moment in UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
