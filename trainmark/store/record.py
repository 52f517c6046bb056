"""The schema: a record, the metrics it can hold, a run of records, and their JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trainmark.store import glossary
from trainmark.store.cell import Cell, join_key, label
from trainmark.store.documents import SchemaError, convert
from trainmark.store.metrics import METRICS

SCHEMA_VERSION = 1
# 1  first version: cell, status, metrics, rounds, series, settings, disturbance, flags. A run may also hold its
#    glossary: what it takes to read it without the suite that measured it.

STATUSES = {
    "ok": "measured",
    "oom": "ran out of memory, on the host or on the device",
    "timeout": "took longer than --timeout allows",
    "crashed": "the process died of a signal or left without a result",
    "nan": "the loss or the output is not finite",
    "error": "raised an exception",
    "skipped": "this machine cannot run it",
}
FAILED = ("oom", "timeout", "crashed", "nan", "error")
UNRELIABLE = (  # flags of a cell whose times decide nothing
    *("disturbed", "unsteady", "slow-moment", "throttled", "shared-gpu"),
    *("traced", "clocks-disagree", "recompiles"),
)
NOT_OF_TIMES = {"flops-partial", "counts-vary", "equal-seeds"}  # flags that warn of another number than a time


def held_out_series(metric: str) -> str:
    """The curve of a metric on the held-out data: ``held_out_accuracy``."""
    return metric if metric.startswith(HELD_OUT) else HELD_OUT + metric


HELD_OUT = "held_out_"


@dataclass(frozen=True)
class Record:
    """Everything known about one cell in one run.

    Attributes:
        cell: What was measured.
        status: A key of STATUSES.
        reason: Why the status is not ``ok``, or why an instrument gave nothing; else None.
        metrics: Name from METRICS -> number, or None where it was not measured; never NaN.
        rounds: Seconds of one ``round_unit`` of the workload (a step, a batch, a training), one
            number a round, as the primary clock told them: device events on CUDA, else the host.
        host_rounds: The same rounds by the synchronised host clock, where events were primary.
        steps_per_round: Steps timed as one block.
        series: Curves, such as ``held_out_accuracy``: one list of epochs a seed.
        settings: What the cell was run with beside its axes: ``threads``, ``seeds``, ``seed`` …
            Two records are comparable only where these are equal.
        computation: What the cell computes, on a few samples: equal in two records of the same training; see
            ``trainmark.measure.computation``. Empty where it was not looked at.
        disturbance: What else the machine did meanwhile; see ``trainmark.meters.disturbance``.
        flags: Words of warning: ``disturbed``, ``unsteady``, ``clocks-disagree``, ``few-rounds``,
            ``recompiles``, ``throttled``, ``shared-gpu``, ``outlived``, ``flops-partial``, ``instruments-oom`` and the
            like.
        started: UTC time in ISO 8601.
    """

    cell: Cell
    status: str
    reason: str | None = None
    metrics: Mapping[str, float | int | None] = field(default_factory=dict)
    rounds: tuple[float, ...] = ()
    host_rounds: tuple[float, ...] = ()
    steps_per_round: int | None = None
    series: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    disturbance: Mapping[str, float | int | str | None] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    started: str | None = None
    computation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise SchemaError(f"status {self.status!r} is not one of {', '.join(STATUSES)}")
        unknown = sorted(set(self.metrics) - set(METRICS))
        if unknown:
            raise SchemaError(f"no metric named {', '.join(unknown)}: METRICS lists the known ones")
        for name, value in self.metrics.items():
            if value is not None and not math.isfinite(value):
                raise SchemaError(f"{name} of {self.label} is {value}: what was not measured is None")
        if not all(math.isfinite(seconds) for seconds in (*self.rounds, *self.host_rounds)):
            raise SchemaError(f"a round of {self.label} has no finite duration")

    @property
    def key(self) -> str:
        """Join key: records of two runs with the same key are of the same cell."""
        return join_key(self.cell.workload, self.cell.settings)

    @property
    def label(self) -> str:
        """The cell's name for people."""
        return label(self.cell.workload, self.cell.settings)

    @property
    def held_out_metrics(self) -> tuple[str, ...]:
        """What a trained model was judged by, the first one first; empty where none was trained."""
        return tuple(name for name in self.metrics if f"{name}_lowest" in self.metrics)

    @property
    def failed(self) -> bool:
        """Whether the cell was tried and gave no result."""
        return self.status in FAILED

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        document = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "cell"}
        return {
            "workload": self.cell.workload,
            "axes": self.cell.settings,
            **document,
            "rounds": list(self.rounds),
            "host_rounds": list(self.host_rounds),
            "flags": list(self.flags),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Record:
        """The record that :meth:`to_json` wrote.

        Unknown keys are ignored, so that a newer minor addition does no harm.

        Raises:
            SchemaError: A needed part is missing or of the wrong kind.
        """
        try:
            cell = {"workload": document["workload"], "axes": list(document["axes"].items())}
            metrics = {name: value for name, value in document["metrics"].items() if name in METRICS}
        except (KeyError, TypeError, AttributeError) as error:
            raise SchemaError(f"not a record: {error!r}") from error
        return convert({**document, "cell": cell, "metrics": metrics}, cls, "a record")


AGAIN = "measured_again"  # of a record's disturbance: how often


def beyond_tolerance(base: Record, new: Record) -> list[str]:
    """The metrics with a tolerance that two records of one cell differ in by more than that."""
    if base.status != "ok" or new.status != "ok":
        return []
    found = []
    for name, before in base.metrics.items():
        after, tolerance = new.metrics.get(name), METRICS[name].tolerance
        if METRICS[name].compared == "tolerance" and before and after and tolerance is not None:
            low, high = sorted((before, after))
            if high > low * (1 + tolerance):
                found.append(name)
    return found


def with_better(first: Record, again: Record, attempts: int) -> Record:
    """The first record, with the better of both values of each metric that has a tolerance.

    Args:
        first: What was measured.
        again: The same cell, measured anew; where that failed the first record stands.
        attempts: How often it was measured anew by now.
    """
    told = {**first.disturbance, AGAIN: attempts}
    if again.status != "ok":
        return replace(first, disturbance=told)
    metrics = dict(first.metrics)
    for name, value in metrics.items():
        other = again.metrics.get(name)
        if METRICS[name].compared == "tolerance" and value is not None and other is not None:
            metrics[name] = max(value, other) if METRICS[name].better == "higher" else min(value, other)
    return replace(first, metrics=metrics, disturbance=told)


@dataclass(frozen=True)
class RunFacts:
    """What holds for a whole run.

    Attributes:
        id: Unique; kept when an interrupted run is resumed.
        started: UTC time in ISO 8601.
        finished: Likewise; None while the run goes on or where it was cut off.
        complete: Whether every planned cell has a record.
        options: The command-line options that chose the cells, for ``--resume`` and for readers.
        planned: Join keys of the planned cells.
        left_out: Join keys of those that the call asked for by its options and left out, as with ``-k``.
        peaks: Device -> what probes reached on it; see ``trainmark.meters.probes.Peaks``. Empty where not probed.
    """

    id: str
    started: str
    finished: str | None = None
    complete: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    planned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    peaks: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return asdict(self) | {"planned": list(self.planned), "left_out": list(self.left_out)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunFacts:
        """The facts that :meth:`to_json` wrote.

        Raises:
            SchemaError: A needed part is missing.
        """
        return convert(document, cls, "the facts of a run")


@dataclass(frozen=True)
class Run:
    """The records of one ``pytest bench`` call, with one environment.

    Attributes:
        name: The stored file's name without its ending, such as ``0003_1a2b3c_20260101_120000``.
        facts: What holds for the whole run.
        environment: Stable facts of machine and software, with their ``fingerprint``.
        commit: ``id``, ``dirty``, ``branch`` of the working tree.
        records: One a cell.
    """

    name: str
    facts: RunFacts
    environment: Mapping[str, Any]
    commit: Mapping[str, Any]
    records: tuple[Record, ...]


SECTION = "trainmark"  # the key of our part in a document of pytest-benchmark


def run_section(facts: RunFacts, records: Sequence[Record]) -> dict[str, Any]:
    """Our part of a stored run, put beside pytest-benchmark's own under SECTION."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": facts.to_json(),
        "glossary": describe_records(records),
        "records": [record.to_json() for record in records],
    }


def describe_records(records: Sequence[Record]) -> dict[str, Any]:
    """What it takes to read these records without the suite that measured them."""
    return glossary.describe(
        (record.cell for record in records), (name for record in records for name in record.metrics)
    )


def read_records(documents: Sequence[Mapping[str, Any]], words: Any) -> tuple[Record, ...]:
    """The records of a run, by what it says of its own parameters, metrics and workloads.

    Args:
        documents: As :meth:`Record.to_json` gives them.
        words: What :func:`describe_records` gave; None of a run that is older than it.

    Raises:
        SchemaError: A record or the glossary is not one.
    """
    try:
        glossary.learn(words)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SchemaError(f"what it says of its parameters and metrics cannot be read: {error!r}") from error
    try:
        filled = [{**one, "axes": glossary.fill(one["axes"], one["workload"], words)} for one in documents]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SchemaError(f"not a record: {error!r}") from error
    return tuple(Record.from_json(one) for one in filled)


def parse_run(name: str, document: Any) -> Run:
    """The run in a document that pytest-benchmark stored.

    Raises:
        SchemaError: The document holds no run, or one of a newer schema.
    """
    if not isinstance(document, dict) or not isinstance(document.get(SECTION), dict):
        if isinstance(document, dict) and "benchmarks" in document:
            raise SchemaError("a run of pytest-benchmark that trainmark did not measure")
        raise SchemaError("not a stored run")
    section = document[SECTION]
    check_schema_version(section.get("schema_version"))
    if not isinstance(section.get("run"), dict) or not isinstance(section.get("records"), list):
        raise SchemaError("its run or its records are missing")
    environment, commit = document.get("machine_info") or {}, document.get("commit_info") or {}
    if not isinstance(environment, dict) or not isinstance(commit, dict):
        raise SchemaError("its machine or its commit is not a set of facts")
    return Run(
        name=name,
        facts=RunFacts.from_json(section["run"]),
        environment=environment,
        commit=commit,
        records=read_records(section["records"], section.get("glossary")),
    )


def check_schema_version(version: Any) -> None:
    """Refuses a schema that this version cannot read.

    Raises:
        SchemaError: The version is newer than SCHEMA_VERSION, or no version at all.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise SchemaError(f"its schema version is {version!r}, not a whole number")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"written in schema {version}, this version reads up to {SCHEMA_VERSION}: update trainmark to read it"
        )
