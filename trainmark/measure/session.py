"""One run: its cells, each measured or taken from the journal, each kept until the run is stored."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainmark.measure.capacity import largest_that_fits
from trainmark.workloads.planning import PlannedCell, Request, estimate_seconds, plan
from trainmark.measure.machine import Machine
from bench.ngram.grid import NGRAM_WORKLOADS
from trainmark.measure.paths import without_folders
from trainmark.meters.probes import CountingLimits, Peaks, load_peaks, store_peaks, utilisation
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Outcome, Workers
from trainmark.store.cell import Cell
from trainmark.store.journal import FOLDER, Journal, JournalState, interrupted, read_journal
from trainmark.store.record import Record, RunFacts
from trainmark.store.runs import artifact_folder, read_runs, run_files

PEAKS = "peaks"  # folder of what each machine can reach, beside the runs
COUNTING = "counting"  # beside the devices among the peaks of a run
HISTORY = 3  # stored runs that are asked how long a cell took


class SessionError(RuntimeError):
    """The run cannot begin; the message says why and what to do."""


@dataclass(frozen=True)
class Invocation:
    """What one call of ``pytest bench`` asks for.

    Attributes:
        request: Which cells.
        settings: How they are measured.
        limits: What a cell may use.
        in_process: Whether cells run in this process, for a debugger.
        profile: Whether a profile of each cell is taken as well.
    """

    request: Request
    settings: Settings
    limits: Limits
    in_process: bool = False
    profile: bool = False


@dataclass(frozen=True)
class Measured:
    """A record with what only the terminal needs.

    Attributes:
        record: Of the cell.
        log: The last lines that its process printed.
        recovered: Whether it comes from the journal of an interrupted run.
    """

    record: Record
    log: str = ""
    recovered: bool = False


class Session:
    """The run in progress.

    Args:
        invocation: What is asked for.
        folder: Where runs are stored; the journal lies in a folder of its own there.
    """

    def __init__(self, invocation: Invocation, folder: Path) -> None:
        self.invocation = invocation
        self.folder = folder
        self.journals = folder / FOLDER
        self.stored: Path | None = None
        self.notes: list[str] = []  # what the user should hear before the first cell
        self.records: dict[str, Record] = {}
        self.facts = RunFacts(id=_new_id(), started=_now(), options=_told(invocation))
        self._workers = Workers(in_process=invocation.in_process)
        self._plan: dict[str, PlannedCell] = {}
        self._recovered: frozenset[str] = frozenset()
        self._journal: Journal | None = None
        self._machine: Machine | None = None
        self._corpora: TemporaryDirectory[str] | None = None
        self._written: dict[tuple[str, int, bool], Outcome] = {}

    @property
    def machine(self) -> Machine:
        """What the machine can run; see :meth:`look_at_machine`."""
        self.look_at_machine()
        assert self._machine is not None  # looked at just now
        return self._machine

    def look_at_machine(self) -> None:
        """Looks once, in a process of its own: this one neither imports torch nor touches a device.

        Raises:
            SessionError: A model or a data set that the command line names is not there.
        """
        if self._machine is not None:
            return
        request, settings = self.invocation.request, self.invocation.settings
        datasets = tuple(str(name) for name in request.given.get("dataset", ()))
        outcome = self._workers.call(
            "trainmark.measure.environment:describe", request.models, datasets, settings.places, settings.threads
        )
        if outcome.status != "ok":
            raise SessionError(outcome.reason)
        self._machine = outcome.value

    def plan(self, workload: str) -> list[Cell]:
        """The cells of a workload, in the order in which they run."""
        planned = plan(workload, self.invocation.request, self.machine)
        self._plan.update((item.cell.key, item) for item in planned)
        return [item.cell for item in planned]

    def seeds_of(self, cell: Cell) -> int:
        """Trainings of a cell of the plan; of one that is not in it, as many as were asked for."""
        planned = self._plan.get(cell.key)
        return planned.seeds if planned else self.invocation.request.seeds or 1

    def obstacle_of(self, cell: Cell) -> str | None:
        """Why this machine cannot run a cell of the plan; None where it can."""
        return self._plan[cell.key].obstacle

    def probe_peaks(self, cells: Iterable[Cell]) -> None:
        """Finds out what each device of these cells can reach, once a machine: peaks are kept by fingerprint.

        Where the probes fail, utilisation is not measured, and ``notes`` says why.
        """
        cells = list(cells)
        fingerprint, threads = self.machine.environment["fingerprint"], self.invocation.settings.threads
        stepping = [cell for cell in cells if "precision" in cell.settings and not self._plan[cell.key].obstacle]
        for device in dict.fromkeys(str(cell["device"]) for cell in stepping):
            wanted = {str(cell["precision"]) for cell in stepping if cell["device"] == device}
            peaks = load_peaks(self.folder / PEAKS, fingerprint, device, threads)
            if peaks is None or not wanted <= set(peaks.flops_per_second):
                missing = wanted - set(peaks.flops_per_second if peaks else ())
                outcome = self._workers.call("trainmark.meters.probes:measure_peaks", device, tuple(sorted(missing)), threads)
                if outcome.status != "ok":
                    self.notes.append(f"no utilisation on {device}: its probes ended with {outcome.reason}")
                    continue
                known = {} if peaks is None else peaks.flops_per_second
                peaks = replace(outcome.value, flops_per_second={**known, **outcome.value.flops_per_second})
                store_peaks(self.folder / PEAKS, fingerprint, peaks)
            self.facts = replace(self.facts, peaks={**self.facts.peaks, device: asdict(peaks)})
        if any(cell.workload == "ngram_fit" and not self._plan[cell.key].obstacle for cell in cells):
            self._probe_counting(threads)

    def _probe_counting(self, threads: int) -> None:
        """Probed in each run that counts: a neighbour takes of memory's speed, and differs from run to run."""
        outcome = self._workers.call("bench.ngram.probes:measure_limits", threads)
        if outcome.status == "ok":
            self.facts = replace(self.facts, peaks={**self.facts.peaks, COUNTING: asdict(outcome.value)})
        else:
            self.notes.append(f"no share of the machine's limits: its probes ended with {outcome.reason}")

    def begin(self, cells: Iterable[Cell], commit: str | None, invocation: Mapping[str, Any]) -> None:
        """Opens the journal of a new run of these cells."""
        self.facts = replace(self.facts, planned=tuple(cell.key for cell in cells))
        fingerprint = self.machine.environment["fingerprint"]
        self._journal = Journal.begin(self.journals, self.facts, fingerprint, commit, invocation)

    def resume(self, path: Path, commit: str | None) -> None:
        """Goes on with the journal of an interrupted run; what it holds is not measured again.

        Raises:
            SessionError: The environment or the commit is another than when the run began.
        """
        journal, state = Journal.resume(path)
        obstacle = self._other_conditions(state, commit)
        if obstacle:
            journal.close()
            raise SessionError(obstacle)
        self._journal = journal
        self.facts = state.facts
        self.records = dict(state.records)
        self._recovered = frozenset(state.records)

    def _other_conditions(self, state: JournalState, commit: str | None) -> str | None:
        """Why this call's cells would not be comparable with those of an interrupted run."""
        fingerprint = self.machine.environment["fingerprint"]
        if state.fingerprint != fingerprint:
            return (
                f"The run {state.facts.id} began in environment {state.fingerprint}, and this is {fingerprint}: "
                "its cells would not be comparable. Start anew, without --resume."
            )
        if state.commit != commit:
            return (
                f"The run {state.facts.id} began at commit {state.commit}, and the working tree is at {commit}. "
                "Check that commit out, or start anew without --resume."
            )
        return None

    def is_planned(self, cell: Cell) -> bool:
        """Whether the run, as it began, has this cell."""
        return cell.key in self.facts.planned

    def measure(self, cell: Cell) -> Measured:
        """The cell's record: from the journal if it is there, else measured and kept at once."""
        if cell.key in self._recovered:
            return Measured(self.records[cell.key], recovered=True)
        planned = self._plan[cell.key]
        artifacts = self.artifacts if self.invocation.profile or cell.workload == "lecture" else None
        settings = replace(self.invocation.settings, seeds=planned.seeds, artifacts=artifacts)
        if planned.obstacle:
            return self._keep(Record(cell, "skipped", planned.obstacle, started=_now()))
        if cell.workload == "capacity":
            return self._keep(*self._find_capacity(cell, settings))
        if cell.workload in NGRAM_WORKLOADS:
            return self._keep(*self._measure_ngram(cell, settings))
        started = _now()
        with TemporaryDirectory(prefix="trainmark-compiled-") as cache:
            settings = replace(settings, compile_cache=Path(cache))
            outcome = self._call("measure", cell, settings)
            record = _to_record(cell, outcome, settings, started)
            if record.metrics.get("compile_seconds") is not None:
                again = self._call("measure_first_step", cell, settings)
                record = replace(record, metrics={**record.metrics, "compile_warm_seconds": again.value})
                if again.status != "ok":
                    record = replace(record, flags=(*record.flags, f"warm-compile-{again.status}"))
        return self._keep(self._with_utilisation(record), outcome.log)

    def _measure_ngram(self, cell: Cell, settings: Settings) -> tuple[Record, str]:
        """The record of an n-gram cell, or of the corpus that could not be written for it."""
        started = _now()
        outcome = self._corpus(cell)
        if outcome.status == "ok":
            settings = replace(settings, corpus=outcome.value, counting_limits=self._counting_limits())
            limits = self.invocation.limits
            outcome = self._workers.call("bench.ngram.measuring:measure", cell, settings, limits=limits)
        return _to_record(cell, outcome, settings, started), outcome.log

    def _corpus(self, cell: Cell) -> Outcome:
        """Writes the text of a cell, once a run, in a process of its own: it shall not count to the cell's memory."""
        if self._corpora is None:
            self._corpora = TemporaryDirectory(prefix="trainmark-corpora-")
        asked = (str(cell["corpus"]), int(cell["tokens"]), cell.workload == "ngram_score")
        if asked not in self._written:
            folder, places = Path(self._corpora.name), self.invocation.settings.places
            limits = self.invocation.limits
            outcome = self._workers.call("bench.ngram.corpora:write_corpus", *asked, places, folder, limits=limits)
            self._written[asked] = outcome
        return self._written[asked]

    def _counting_limits(self) -> CountingLimits | None:
        """What bounds counting here, probed in this very run; None where it was not, and ``notes`` say why."""
        told = self.facts.peaks.get(COUNTING)
        return None if told is None else CountingLimits(**told)

    def _with_utilisation(self, record: Record) -> Record:
        """The record with its distance from this machine's peaks."""
        metrics, device = record.metrics, str(record.cell["device"])
        if metrics.get("flops_per_step") is None or device not in self.facts.peaks:
            return record
        eager = record.cell["compile"] == "off"  # what a compiled step moves, nobody has counted
        found = utilisation(
            metrics["flops_per_step"],
            metrics.get("moved_bytes_per_step") if eager else None,
            metrics["step_seconds"],
            str(record.cell["precision"]),
            Peaks(**self.facts.peaks[device]),
        )
        return replace(record, metrics={**metrics, **found})

    def _find_capacity(self, cell: Cell, settings: Settings) -> tuple[Record, str]:
        """The record of the largest batch, or of the first attempt that ended otherwise than for memory."""
        started = _now()
        on_device = cell["device"] in ("cuda", "xpu")
        limit = self.invocation.limits.memory_bytes
        peaks: dict[int, int | None] = {}
        attempts: list[Outcome] = []

        def fits(batch_size: int) -> bool:
            attempt = Cell.of("train", **(cell.settings | {"batch_size": batch_size}))
            attempts.append(self._call("try_batch", attempt, settings))
            if attempts[-1].status not in ("ok", "oom"):
                raise _EndedOtherwise
            peaks[batch_size] = peak = attempts[-1].value
            unseen = limit and not on_device and peak and peak > limit  # a peak between two looks at the memory
            return attempts[-1].status == "ok" and not unseen

        try:
            largest = largest_that_fits(fits)
        except _EndedOtherwise:
            return _to_record(cell, attempts[-1], settings, started), attempts[-1].log
        if not largest:
            reason = attempts[0].reason or f"a single sample takes {peaks[1]} bytes, more than --memory-limit"
            return _to_record(
                cell, replace(attempts[0], status="oom", value=None, reason=reason), settings, started
            ), ""
        record = Record(
            cell,
            "ok",
            metrics={
                "max_batch_size": largest,
                "device_allocated_bytes" if on_device else "peak_memory_bytes": peaks[largest],
                "cell_seconds": sum(attempt.seconds for attempt in attempts),
            },
            rounds=tuple(attempt.seconds for attempt in attempts),
            settings={
                "threads": settings.threads,
                "seed": settings.seed,
                "memory_limit_bytes": limit,
            },
            started=started,
        )
        return record, attempts[-1].log

    def _call(self, function: str, cell: Cell, settings: Settings) -> Outcome:
        return self._workers.call(f"trainmark.measure.protocol:{function}", cell, settings, limits=self.invocation.limits)

    def _keep(self, record: Record, log: str = "") -> Measured:
        if self._journal is not None:
            self._journal.append(record)
        self.records[record.key] = record
        return Measured(record, log)

    @property
    def artifacts(self) -> Path:
        """Where profiles and traces lie until the run is stored."""
        return self.journals / f"{self.facts.id}.artifacts"

    @property
    def complete(self) -> bool:
        """Whether every planned cell has a record."""
        return set(self.facts.planned) <= set(self.records)

    def finish(self) -> None:
        """Marks the run as finished, complete or not."""
        self.facts = self.finished_facts(self.complete)

    def finished_facts(self, complete: bool) -> RunFacts:
        """The facts of the run if it ends now."""
        return replace(self.facts, finished=_now(), complete=complete)

    def close(self, stored: Path | None) -> None:
        """Ends the journal; it is deleted where the complete run is stored in a file, its artifacts beside it.

        Args:
            stored: The file; None where the run was not saved.
        """
        self.stored = stored
        if self._corpora is not None:
            self._corpora.cleanup()
        if self._journal is None:
            return
        if stored is not None and self.complete:
            if self.artifacts.is_dir():
                self.artifacts.rename(artifact_folder(stored))
            self._journal.remove()
        else:
            self._journal.close()

    @property
    def left_in_journal(self) -> bool:
        """Whether the run can be finished with --resume."""
        return self._journal is not None and self._journal.path.exists()

    def estimates(self, cells: Iterable[Cell]) -> dict[str, float]:
        """Join key -> seconds that a cell will take: as in the last runs here, else by its size."""
        fingerprint = self.machine.environment["fingerprint"]
        known: dict[str, float] = {}
        newest = sorted(run_files(self.folder), key=lambda path: path.stat().st_mtime)[-HISTORY:]
        for run in read_runs(newest):
            if run.environment.get("fingerprint") == fingerprint:
                known.update(
                    (record.key, seconds)
                    for record in run.records
                    if (seconds := record.metrics.get("cell_seconds")) is not None
                )
        settings = self.invocation.settings
        return {
            cell.key: 0.0
            if cell.key in self._recovered
            else known.get(cell.key) or estimate_seconds(self._plan[cell.key], self.machine, settings)
            for cell in cells
        }


class _EndedOtherwise(Exception):
    """An attempt to train a batch ended neither well nor for want of memory."""


def find_interrupted(folder: Path) -> tuple[Path, JournalState]:
    """The newest interrupted run in a folder of runs.

    Raises:
        SessionError: There is none.
    """
    for path in interrupted(folder / FOLDER):
        return path, read_journal(path)
    raise SessionError(f"No interrupted run in {folder}: start one with pytest bench --benchmark-autosave.")


def _to_record(cell: Cell, outcome: Outcome, settings: Settings, started: str) -> Record:
    reason = None if outcome.reason is None else without_folders(outcome.reason)
    if isinstance(outcome.value, Record):  # whole, or timed before an instrument ended badly
        record = outcome.value
        if outcome.status != "ok":
            record = replace(record, reason=reason, flags=(*record.flags, f"instruments-{outcome.status}"))
        return replace(record, metrics={**record.metrics, "cell_seconds": outcome.seconds}, started=started)
    return Record(
        cell,
        outcome.status,
        reason,
        metrics={"cell_seconds": outcome.seconds},
        settings={"threads": settings.threads, "seed": settings.seed},
        started=started,
    )


def _told(invocation: Invocation) -> dict[str, Any]:
    """What a stored run says of how it was asked for: no paths."""
    request, settings = invocation.request, invocation.settings
    return {
        "grid": request.grid,
        "given": {axis: list(values) for axis, values in request.given.items()},
        "seeds": request.seeds,
        "threads": settings.threads,
        "min_rounds": settings.min_rounds,
        "max_seconds": settings.max_seconds,
        "timeout_seconds": invocation.limits.seconds,
        "memory_limit_bytes": invocation.limits.memory_bytes,
        "in_process": invocation.in_process,
        "profile": invocation.profile,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
