"""One run: its cells, each measured or taken from the journal, each kept until the run is stored."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from trainmark import git, suite
from trainmark.git import Code
from trainmark.measure.context import Context, now
from trainmark.measure.machine import Machine
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Workers
from trainmark.meters.control import FLAG, LIMIT, Best, from_facts
from trainmark.meters.probes import load_peaks, store_peaks
from trainmark.store.cell import Cell
from trainmark.store.folders import without_folders
from trainmark.store.journal import FOLDER, Journal, JournalState, interrupted, read_journal
from trainmark.store.metrics import register_metrics
from trainmark.store.nodes import Node
from trainmark.store.pairs import PairedRun, interrupted_pairs, read_paired_run
from trainmark.store.record import UNRELIABLE, Record, Run, RunFacts
from trainmark.store.runs import artifact_folder, read_runs, run_files, written
from trainmark.store.shards import Shard
from trainmark.workloads import entry_of
from trainmark.workloads.planning import PlannedCell, Request, estimate_seconds, is_asked, plan

PEAKS = "peaks"  # folder of what each machine can reach, beside the journals
HISTORY = 3  # stored runs that are asked how long a cell took
KNOWN_RUNS = 10  # stored runs whose records count as evidence, where they are of the same code
NOT_HERE = "the node that was to measure it cannot run it"
PASSING = {FLAG, "disturbed", "unsteady"}  # flags of a moment, which another moment may not have


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
        shard: The share of the cells that this call measures; None for all.
        executor: What places the processes that measure; None for here.
        jobs: How many of them.
    """

    request: Request
    settings: Settings
    limits: Limits
    in_process: bool = False
    profile: bool = False
    shard: Shard | None = None
    executor: str | None = None
    jobs: int = 1


@dataclass(frozen=True)
class Measured:
    """A record with what only the terminal needs.

    Attributes:
        record: Of the cell.
        log: The last lines that its process printed.
        recovered: Whether it comes from the journal of an interrupted run.
        again: Whether the cell was measured a second time; the record is the better one of both.
    """

    record: Record
    log: str = ""
    recovered: bool = False
    again: bool = False


class Session:
    """The run in progress.

    Args:
        invocation: What is asked for.
        folder: Where runs are stored; the journal lies in a folder of its own there.
        root: Of the suite; None for that of this process.
        code: What is measured; None to look.
        cache: Where it is kept what each machine can reach; None for beside the journal.
        node: Name of the node, where several measure the run; empty where it is this machine's alone.
    """

    def __init__(
        self,
        invocation: Invocation,
        folder: Path,
        root: Path | None = None,
        code: Code | None = None,
        *,
        cache: Path | None = None,
        node: str = "",
    ) -> None:
        self.invocation = invocation
        self.folder = folder
        self.root = root or suite.current().root
        self.journals = folder / FOLDER
        self.cache = cache or self.journals / PEAKS  # what each machine can reach
        self.node = node or (f"shard {invocation.shard}" if invocation.shard else "")
        self.stored: Path | None = None
        self.notes: list[str] = []  # what the user should hear before the first cell
        self.notes_at_end: list[str] = []  # and after the last
        self.unsaved: list[str] = []  # why the run could not be stored
        self.records: dict[str, Record] = {}
        self.facts = RunFacts(id=_new_id(), started=now(), options=_told(invocation))
        self.workers = Workers(self.root, in_process=invocation.in_process)
        self.context = Context(self.workers, invocation.limits, known=self._known_records)
        self.asks_for_all = True  # whether the whole folder of benchmarks is named
        self._code = code
        self._earlier: list[Record] | None = None  # records of earlier runs that are evidence for this one
        self._asked: dict[str, bool] = {}  # workload -> whether the call is about it
        self._plan: dict[str, PlannedCell] = {}
        self._elsewhere: tuple[str, ...] = ()
        self.measured_in: Mapping[str, Any] = {}  # facts of the nodes, where others than this machine have measured
        self.apart: dict[str, str] = {}  # join key -> why its record is in another run
        self._recovered: frozenset[str] = frozenset()
        self._journal: Journal | None = None
        self._machine: Machine | None = None

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
        outcome = self.workers.call(
            "trainmark.measure.environment:describe",
            request.models,
            datasets,
            settings.places,
            settings.threads,
            self.invocation.limits.seconds,
        )
        if outcome.status != "ok":
            raise SessionError(outcome.reason)
        self._machine = outcome.value
        for facts in self._machine.models.values():
            register_metrics(facts.metrics)  # its own process has looked that none is another's

    def plan(self, workload: str) -> list[Cell]:
        """The cells of a workload, in the order in which they run."""
        self._asked[workload] = is_asked(entry_of(workload), self.invocation.request)
        planned = plan(workload, self.invocation.request, self.machine)
        self._plan.update((item.cell.key, item) for item in planned)
        return [item.cell for item in planned]

    @property
    def code(self) -> Code:
        """What is measured; looked at once, before anything is."""
        if self._code is None:
            code = git.code_of(self.root, [self.folder])
            beside = git.code_on(suite.search_path(os.environ.get("PYTHONPATH", "")))
            self._code = replace(code, difference=f"{code.difference} {beside}".strip())
        return self._code

    def deal(self, cells: Sequence[Cell]) -> list[Cell]:
        """This call's share of the cells, in their order; all of them where it is no shard."""
        shard = self.invocation.shard
        if shard is None:
            return list(cells)
        own = shard.deal(cells)
        mine = {cell.key for cell in own}
        self._elsewhere = tuple(cell.key for cell in cells if cell.key not in mine)
        return own

    def choose(self, cells: Iterable[Cell]) -> None:
        """Says which of the planned cells are measured: the rest was left out by name, or is of other shards."""
        chosen = tuple(cell.key for cell in cells)
        options = {**self.facts.options, "whole": self.asks_for_all, "workloads": dict(self._asked)}
        known = {*chosen, *self._elsewhere}
        left_out = tuple(key for key in self._plan if key not in known)
        self.facts = replace(self.facts, planned=chosen, left_out=left_out, options=options, elsewhere=self._elsewhere)

    def has_planned(self, cell: Cell) -> bool:
        """Whether this working tree has the cell."""
        return cell.key in self._plan

    @property
    def planned_keys(self) -> list[str]:
        """Join keys of the cells planned so far, in their order."""
        return list(self._plan)

    def seeds_of(self, cell: Cell) -> int:
        """Trainings of a cell of the plan; of one that is not in it, as many as were asked for."""
        planned = self._plan.get(cell.key)
        return planned.seeds if planned else self.invocation.request.seeds or 1

    def skip_reason_of(self, cell: Cell) -> str | None:
        """Why this machine cannot run a cell of the plan; None where it can."""
        return self._plan[cell.key].skip_reason

    def probe_peaks(self, cells: Iterable[Cell]) -> None:
        """Finds out what each device of these cells can reach, once a machine: peaks are kept by fingerprint.

        Where the probes fail, utilisation is not measured, and ``notes`` says why.
        """
        fingerprint, threads = self.machine.environment["fingerprint"], self.invocation.settings.threads
        stepping = [cell for cell in cells if "precision" in cell.settings and not self._plan[cell.key].skip_reason]
        for device in dict.fromkeys(str(cell["device"]) for cell in stepping):
            wanted = {str(cell["precision"]) for cell in stepping if cell["device"] == device}
            peaks = load_peaks(self.cache, fingerprint, device, threads)
            if peaks is None or not wanted <= set(peaks.flops_per_second):
                missing = wanted - set(peaks.flops_per_second if peaks else ())
                outcome = self.workers.call(
                    "trainmark.meters.probes:measure_peaks", device, tuple(sorted(missing)), threads
                )
                if outcome.status != "ok":
                    self.notes.append(f"no utilisation on {device}: its probes ended with {outcome.reason}")
                    continue
                known = {} if peaks is None else peaks.flops_per_second
                peaks = replace(outcome.value, flops_per_second={**known, **outcome.value.flops_per_second})
                store_peaks(self.cache, fingerprint, peaks)
            self.context.peaks[device] = asdict(peaks)
        self.facts = replace(self.facts, peaks=dict(self.context.peaks))

    def begin(self, cells: Iterable[Cell], invocation: Mapping[str, Any]) -> None:
        """Opens the journal of a new run of these cells.

        Raises:
            OSError: It cannot be written.
            SessionError: The fixed work that tells this machine from those of the other shards did not end well.
        """
        self.choose(cells)
        if self.node:
            self._look_at_node()
        environment = self.machine.environment
        self._journal = Journal.begin(
            self.journals,
            self.facts,
            environment["fingerprint"],
            self.code.to_json(),
            invocation,
            environment,
        )

    @property
    def commit(self) -> dict[str, Any]:
        """What a stored run says of its commit."""
        return git.describe(self.root, self.code)

    def _look_at_node(self) -> None:
        """Does the fixed work that tells a node from others, and keeps it among the facts of the run.

        Raises:
            SessionError: It did not end well.
        """
        outcome = self.workers.call("trainmark.meters.control:control_of_node", self.invocation.settings.threads)
        if outcome.status != "ok":
            raise SessionError(f"The fixed work that each node does first ended with {outcome.reason}.")
        node = Node(self.node, str(self.machine.environment["fingerprint"]), outcome.value)
        self.facts = replace(self.facts, nodes=(node,))

    def resume(self, path: Path) -> None:
        """Goes on with the journal of an interrupted run; what it holds is not measured again.

        Raises:
            SessionError: The environment or the code is another than when the run began.
        """
        journal, state = Journal.resume(path)
        obstacle = self._other_conditions(state)
        if obstacle:
            journal.close()
            raise SessionError(obstacle)
        self._journal = journal
        self.facts = state.facts
        self.context.peaks.update(state.facts.peaks)
        self.records = dict(state.records)
        self._recovered = frozenset(state.records)

    def _other_conditions(self, state: JournalState) -> str | None:
        """Why this call's cells would not be comparable with those of an interrupted run."""
        fingerprint = self.machine.environment["fingerprint"]
        if state.fingerprint != fingerprint:
            return (
                f"The run {state.facts.id} began in environment {state.fingerprint}, and this is {fingerprint}: "
                "its cells would not be comparable. Start anew, without --resume."
            )
        return other_code(state.facts.id, state.code, self.code)

    def take(self, record: Record) -> None:
        """Keeps a record that another process has measured for this run: it is not measured again."""
        self._keep(record)
        self._recovered |= {record.key}

    @property
    def environment(self) -> Mapping[str, Any]:
        """Facts of the machine that the records are of: this one, or the nodes of a cluster."""
        return self.measured_in or self.machine.environment

    def is_planned(self, cell: Cell) -> bool:
        """Whether the run, as it began, has this cell."""
        return cell.key in self.facts.planned

    def measure(self, cell: Cell) -> Measured:
        """The cell's record: from the journal if it is there, else measured and kept at once."""
        if cell.key in self.apart:
            return Measured(Record(cell, "skipped", self.apart[cell.key]), recovered=True)
        if cell.key in self._recovered:
            return Measured(self.records[cell.key], recovered=True)
        if cell.key not in self._plan:  # of a cluster whose nodes are not alike
            return self._keep(Record(cell, "skipped", NOT_HERE, started=now()))
        if reason := self._plan[cell.key].skip_reason:
            return self._keep(Record(cell, "skipped", reason, started=now()))
        if failure := self.machine.failure_of(cell):
            return self._keep(Record(cell, failure.status, without_folders(failure.reason), started=now()))
        return self._keep(*self._measured(cell))

    def measure_again(self, seconds: float) -> Iterator[Measured]:
        """Measures cells that had a bad moment once more, and keeps the better record of each.

        Better is the one with fewer flags of unreliable times, of equals the one of the quicker moment: what the cell
        itself took is not asked. Until that is known the first record stands, in the journal too.

        Args:
            seconds: What all of it may take; one cell is measured in any case.
        """
        if self.invocation.in_process or self.invocation.settings.once:
            return
        spent = 0.0
        for first in [record for record in self.records.values() if self._had_a_bad_moment(record)]:
            cost = float(first.metrics.get("cell_seconds") or 0.0)
            if spent and spent + cost > seconds:
                continue
            spent += cost
            second, log = self._measured(first.cell)
            if _badness(second) < _badness(first):
                yield replace(self._keep(second, log), again=True)
            else:
                yield Measured(first, again=True)

    def _had_a_bad_moment(self, record: Record) -> bool:
        """Whether a cell of this call may do better; what keeps files would write over those of the first record."""
        keeps_files = self.invocation.profile or entry_of(record.cell.workload).keeps_files
        measured_now = record.status == "ok" and record.key not in self._recovered
        return measured_now and not keeps_files and bool(PASSING & set(record.flags))

    def _measured(self, cell: Cell) -> tuple[Record, str]:
        """The cell's record, not kept yet, and the last lines that its process printed."""
        started, entry = now(), entry_of(cell.workload)
        artifacts = self.artifacts if self.invocation.profile or entry.keeps_files else None
        settings = replace(self.invocation.settings, seeds=self._plan[cell.key].seeds, artifacts=artifacts)
        record, log = self.context.measure(cell, settings)
        return self.in_its_moment(replace(record, started=started)), log

    def in_its_moment(self, record: Record) -> Record:
        """The record with how slow the machine was beside its best, and a flag where that was too slow."""
        control = from_facts(record.disturbance)
        if control is None:
            return record
        best = Best(self.cache, str(self.machine.environment["fingerprint"]))
        ratio = best.ratio(control, int(record.settings.get("threads") or 1))
        flags = (*record.flags, *((FLAG,) if ratio > LIMIT else ()))
        return replace(record, disturbance={**record.disturbance, "control_ratio": ratio}, flags=flags)

    def _known_records(self) -> list[Record]:
        """Records of this very code on this machine: of the newest stored runs, then of this one."""
        fingerprint = self.machine.environment["fingerprint"]
        if self._earlier is None:  # read once: a run has several answers
            newest = sorted(run_files(self.folder), key=written)[-KNOWN_RUNS:]
            self._earlier = [
                record
                for run in read_runs(newest, self.notes_at_end.append)
                if run.environment.get("fingerprint") == fingerprint and self._is_of_this_code(run)
                for record in run.records
            ]
        return [*self._earlier, *self.records.values()]

    def _is_of_this_code(self, run: Run) -> bool:
        code = (self.code.commit or "unversioned", self.code.difference)
        return (run.commit.get("id"), run.commit.get("difference")) == code

    def _keep(self, record: Record, log: str = "") -> Measured:
        self.records[record.key] = record  # first: Ctrl-C may come while the journal waits for the disk
        if self._journal is not None:
            self._journal.append(record)
        return Measured(record, log)

    @property
    def broken_models(self) -> bool:
        """Whether a model of a cell that has a record cannot be imported."""
        return any(self.machine.failure_of(record.cell) for record in self.records.values())

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
        finished = now() if complete else None  # of one that was cut off it is not known when it would have
        return replace(self.facts, finished=finished, complete=complete, peaks=dict(self.context.peaks))

    def close(self, stored: Path | None) -> None:
        """Ends the journal; it is deleted where the complete run is stored in a file, its artifacts beside it.

        Args:
            stored: The file; None where the run was not saved.
        """
        self.stored = stored
        self.context.close()
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
        wanted = {cell.key: entry_of(cell.workload) for cell in cells}
        known: dict[str, float] = {}
        newest = sorted(run_files(self.folder), key=written)[-HISTORY:]
        for run in read_runs(newest, self.notes.append):  # a warning could be an error here, and stop the run
            if run.environment.get("fingerprint") == fingerprint:
                same = self._is_of_this_code(run)
                known.update(
                    (record.key, seconds)
                    for record in run.records
                    if record.key in wanted
                    and (seconds := wanted[record.key].seconds_again(record, same_code=same)) is not None
                )
        known |= dict.fromkeys(self._recovered, 0.0)
        settings = self.invocation.settings
        return {
            key: known[key] if key in known else estimate_seconds(self._plan[key], self.machine, settings)
            for key in wanted
        }


def _badness(record: Record) -> tuple[bool, int, float]:
    """By which of two records of a cell the smaller is kept."""
    ratio = record.disturbance.get("control_ratio")
    moment = float(ratio) if isinstance(ratio, float | int) else math.inf
    return record.status != "ok", len(set(record.flags) & set(UNRELIABLE)), moment


def other_code(run: str, before: Mapping[str, Any], code: Code) -> str | None:
    """Why an interrupted run cannot go on with the code as it is now; None where it is the same.

    Args:
        run: Its name.
        before: What its code was, as :meth:`trainmark.git.Code.to_json` told it.
        code: What it is now.
    """
    if before.get("difference") is None:
        return f"The run {run} did not keep what its code was: start anew, without --resume."
    if before.get("id") != code.commit:
        return (
            f"The run {run} began at commit {before.get('id')}, and the working tree is at {code.commit}. "
            "Check that commit out, or start anew without --resume."
        )
    if before["difference"] != code.difference:
        return f"The code was edited since the run {run} began: undo that, or start anew without --resume."
    return None


def find_interrupted(folder: Path) -> tuple[Path, JournalState | PairedRun]:
    """The newest interrupted run in a folder of runs, of one side or of two.

    Raises:
        SessionError: There is none.
    """
    found = [*islice(interrupted(folder / FOLDER), 1), *islice(interrupted_pairs(folder), 1)]
    if not found:
        raise SessionError(f"No interrupted run in {folder}: start one with pytest bench --benchmark-autosave.")
    path = max(found, key=lambda path: path.name)  # which begins with the moment
    return path, read_journal(path) if path.parent.name == FOLDER else read_paired_run(path)


def _told(invocation: Invocation) -> dict[str, Any]:
    """What a stored run says of how it was asked for: no paths."""
    request, settings = invocation.request, invocation.settings
    return {
        "grid": request.grid,
        "exhaustive": request.values.exhaustive,
        "only": request.only,
        "given": {axis: list(values) for axis, values in request.given.items()},
        "seeds": request.seeds,
        "threads": settings.threads,
        "min_rounds": settings.min_rounds,
        "max_seconds": settings.max_seconds,
        "timeout_seconds": invocation.limits.seconds,
        "memory_limit_bytes": invocation.limits.memory_bytes,
        "in_process": invocation.in_process,
        "profile": invocation.profile,
        "shard": None if invocation.shard is None else str(invocation.shard),
    }


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
