"""The schema: a record, the metrics it can hold, a run of records, and their JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from trainmark.store import glossary
from trainmark.store.cell import Cell, join_key, label
from trainmark.store.documents import SchemaError, check, check_version, convert, moment
from trainmark.store.documents import facts as facts_of
from trainmark.store.metrics import METRICS
from trainmark.store.nodes import FLAG as OTHER_NODE
from trainmark.store.nodes import Node
from trainmark.store.parameters import PARAMETERS
from trainmark.store.ranges import LARGEST, Amount, Count, Duration, Integer, Range, Rate, Real, Seconds, Some
from trainmark.store.tried import SERIES as TRIED
from trainmark.store.tried import read_tried

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
    *("traced", "clocks-disagree", "recompiles", OTHER_NODE),
)
NOT_PAIRED = "not-paired"  # flag of a cell of which no two processes fit into memory at once
NOT_OF_TIMES = {  # flags that warn of another number than a time
    *("flops-partial", "counts-vary", "equal-seeds", "gradients-differ", "search-bounded", NOT_PAIRED),
}


def held_out_series(metric: str) -> str:
    """The curve of a metric on the held-out data: ``held_out_accuracy``."""
    return metric if metric.startswith(HELD_OUT) else HELD_OUT + metric


HELD_OUT = "held_out_"
NUMBERS = {int, float, type(None)}  # types of a metric; a truth is none
Curve = list[list[Real | None] | Real | None]
Measured = Annotated[list[Real | str | None], Meta(min_length=2, max_length=2)]  # with its size


class Settings(TypedDict, total=False):
    """Those settings of a record whose kind matters to a reader."""

    threads: Some | None
    seeds: Some | None
    seed: Integer | None


class Series(TypedDict, total=False):
    """Those series of a record whose kind matters to a reader, beside the curves on held-out data."""

    seed: list[Integer]
    train_loss: list[list[Real | None]]


class Tensor(TypedDict):
    """A trained tensor in a record's computation."""

    name: str
    shape: list[Count]
    before: Measured
    gradient: Real | str | None
    after: Measured
    steps: Count


class Computation(TypedDict):
    """What :mod:`trainmark.judge.sameness` compares."""

    facts: dict[str, Any]
    steps: list[dict[str, Measured | dict[str, Amount] | Real | str | None]]
    evaluations: list[dict[str, Measured | dict[str, Amount] | Real | str | None]]
    tensors: list[Tensor]


class Options(TypedDict, total=False):
    """Those options of a run that tell what it has left out."""

    grid: str | None
    exhaustive: bool
    only: str | None
    whole: bool
    given: dict[str, list[str | int]] | None
    workloads: dict[str, bool] | None
    shard: str | None


class DevicePeaks(TypedDict, total=False):
    """What probes reached on a device; see :class:`trainmark.meters.probes.Peaks`."""

    flops_per_second: dict[str, Rate]
    bytes_per_second: Rate | None
    copy_bytes_per_second: Rate | None
    updates_per_second: Rate | None
    device: str
    threads: Some
    seconds_taken: Duration


class Environment(TypedDict, total=False):
    """Those facts of an environment whose kind matters to a reader."""

    fingerprint: str | None
    cpu: str | None
    memory_gib: Amount | None
    gpus: list[dict[str, Any]] | None


class Commit(TypedDict, total=False):
    """Those facts of a commit whose kind matters to a reader."""

    id: str | None
    dirty: bool | None
    branch: str | None


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
        series: Curves, such as ``held_out_accuracy``: one list of epochs a seed. Of an answer the settings that were
            tried: see :mod:`trainmark.store.tried`.
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
    rounds: tuple[Seconds, ...] = ()
    host_rounds: tuple[Seconds, ...] = ()
    steps_per_round: Some | None = None
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
            if value is not None and value not in METRICS[name].range:
                if isinstance(value, float) and not math.isfinite(value):
                    raise SchemaError(f"{name} of {self.label} is {value}: what was not measured is None")
                raise SchemaError(f"{name} of {self.label} is {str(value)[:20]}, not {METRICS[name].range}")
        if not all(map(math.isfinite, (*self.rounds, *self.host_rounds))):
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
            SchemaError: A needed part is missing, of the wrong kind or out of its range.
        """
        try:
            cell = {"workload": document["workload"], "axes": list(document["axes"].items())}
            metrics = {name: value for name, value in document["metrics"].items() if name in METRICS}
        except (KeyError, TypeError, AttributeError) as error:
            raise SchemaError(f"not a record: {error!r}") from error
        if not NUMBERS.issuperset(map(type, metrics.values())):
            words = next(name for name, value in metrics.items() if type(value) not in NUMBERS)
            raise SchemaError(f"not a record: {words} is {metrics[words]!r:.80}, not a number")
        record = convert({**document, "cell": cell, "metrics": metrics}, cls, "a record")
        if record.status == "ok" and all(value is None for value in document["metrics"].values()):
            raise SchemaError(f"not a record: {record.label} is ok, and nothing of it was measured")
        _check_cell(record.cell)
        _check_facts(record)
        return record


def _check_cell(cell: Cell) -> None:
    """Refuses names that no join key can hold, and values that their parameter cannot have."""
    for name in (cell.workload, *(name for name, _ in cell.axes)):
        if not glossary.NAME.fullmatch(name):
            raise SchemaError(f"not a record: {name[:80]!r} is no name of a workload or a parameter")
    for name, value in cell.axes:
        if name in PARAMETERS and not PARAMETERS[name].allows(value):
            raise SchemaError(f"not a record: its {name} is {str(value)[:80]!r}")


def _check_facts(record: Record) -> None:
    """Refuses what the annotations of a record do not tell: of facts whose names nobody knows beforehand."""
    if record.started is not None:
        moment(record.started, "started")
    check(facts_of(record.settings, "settings"), Settings, "a record's settings")
    for name, value in record.disturbance.items():
        if value is not None and not _disturbs(name, value):
            raise SchemaError(f"not a record: {name} of its disturbance is {str(value)[:80]!r}")
    if record.computation:
        check(facts_of(record.computation, "computation"), Computation, "a record's computation")
    if not record.series:
        return
    check({name: told for name, told in record.series.items() if name != TRIED}, dict[str, Curve], "a record's series")
    check(record.series, Series, "a record's series")
    if read_tried(record.series.get(TRIED, ())) and record.settings.get("metric", "accuracy") not in METRICS:
        raise SchemaError(
            f"not a record: its metric is {str(record.settings['metric'])[:80]!r}, which nothing describes"
        )
    for name in (name for name in record.series if name.startswith(HELD_OUT)):
        check(record.series[name], list[list[Real | None]], f"a curve of {name}")
        metric = METRICS.get(name.removeprefix(HELD_OUT)) or METRICS.get(name)
        if metric is not None:
            _check_curves(name, record.series[name], metric.range)


def _disturbs(name: str, value: float | int | str) -> bool:
    """Whether a fact can be one of a disturbance: reasons are words, the others numbers."""
    if isinstance(value, str) or "reasons" in name:
        return isinstance(value, str) and "reasons" in name
    return (-LARGEST if "celsius" in name else 0) <= value <= LARGEST


def _check_curves(name: str, curves: Sequence[Sequence[float | None]], allowed: Range) -> None:
    for curve in curves:
        for value in curve:
            if value is not None and value not in allowed:
                raise SchemaError(f"not a record: a value of {name} is {str(value)[:20]}, not {allowed}")


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
        elsewhere: Join keys of those that the other shards of the run measure.
        nodes: Where it was measured, of a shard, of a run that was merged and of one on a cluster.
    """

    id: str
    started: str
    finished: str | None = None
    complete: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    planned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    peaks: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        keys = {name: list(getattr(self, name)) for name in ("planned", "left_out", "elsewhere")}
        return asdict(self) | keys | {"nodes": [asdict(node) | {"keys": list(node.keys)} for node in self.nodes]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunFacts:
        """The facts that :meth:`to_json` wrote.

        Raises:
            SchemaError: A needed part is missing, of the wrong kind or out of its range.
        """
        found = convert(document, cls, "the facts of a run")
        moment(found.started, "started")
        if found.finished is not None:
            moment(found.finished, "finished")
        check(facts_of(found.options, "options"), Options, "the options of a run")
        check(found.peaks, dict[str, DevicePeaks], "the peaks of a run")
        return found


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


Report = Callable[[str], None]  # takes a sentence on what was left out


def refuse(told: str) -> None:
    """Leaves nothing out.

    Raises:
        SchemaError: Always.
    """
    raise SchemaError(told)


def read_records(documents: Sequence[Any], words: Any, left_out: Report = refuse) -> tuple[Record, ...]:
    """The records of a run, by what it says of its own parameters, metrics and workloads.

    Args:
        documents: As :meth:`Record.to_json` gives them.
        words: What :func:`describe_records` gave; None of a run that is older than it.
        left_out: Told of each record that cannot be read, and of those that are of one benchmark: which of
            them counts, nobody knows.

    Raises:
        SchemaError: The glossary is none, or nothing is left of the records.
    """
    try:
        glossary.learn(words)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SchemaError(f"what it says of its parameters and metrics cannot be read: {error!r}") from error
    read: list[Record] = []
    damaged: list[str] = []
    for number, one in enumerate(documents, start=1):
        try:
            read.append(_filled(one, words))
        except SchemaError as error:
            damaged.append(f"record {number}{_named(one)}: {error}")
    keys = Counter(record.key for record in read)
    damaged += [f"{count} records are of one benchmark, {key}" for key, count in keys.items() if count > 1]
    kept = tuple(record for record in read if keys[record.key] == 1)
    if damaged and not kept:
        raise SchemaError(damaged[0])
    for told in damaged:
        left_out(f"{told}; left out")
    return kept


def _filled(document: Any, words: Any) -> Record:
    try:
        axes = glossary.fill(document["axes"], document["workload"], words)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SchemaError(f"not a record: {error!r}") from error
    return Record.from_json({**document, "axes": axes})


def _named(document: Any) -> str:
    """Which benchmark a damaged record is of, where that can be told."""
    try:
        return f" ({label(document['workload'], document['axes'])[:80]!r})"
    except (KeyError, TypeError, AttributeError, ValueError):
        return ""


def parse_run(name: str, document: Any, left_out: Report = refuse) -> Run:
    """The run in a document that pytest-benchmark stored.

    Args:
        name: Of the run.
        document: What JSON was read to.
        left_out: Told what of it was left out.

    Raises:
        SchemaError: The document holds no run, or one of a newer schema; or what would be left out is refused.
    """
    if not isinstance(document, dict) or not isinstance(document.get(SECTION), dict):
        if isinstance(document, dict) and "benchmarks" in document:
            raise SchemaError("a run of pytest-benchmark that trainmark did not measure")
        raise SchemaError("not a stored run")
    section = document[SECTION]
    check_schema_version(section.get("schema_version"))
    if not isinstance(section.get("run"), dict) or not isinstance(section.get("records"), list):
        raise SchemaError("its run or its records are missing")
    environment, commit = read_circumstances(document.get("machine_info") or {}, document.get("commit_info") or {})
    return Run(
        name=name,
        facts=RunFacts.from_json(section["run"]),
        environment=environment,
        commit=commit,
        records=read_records(section["records"], section.get("glossary"), left_out),
    )


def read_circumstances(environment: Any, commit: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of machine and software, and those of the commit, of a run.

    Raises:
        SchemaError: One is no set of facts, or one of them is of the wrong kind.
    """
    machine, code = facts_of(environment, "its machine"), facts_of(commit, "its commit")
    check(machine, Environment, "the facts of a machine")
    check(code, Commit, "the facts of a commit")
    return machine, code


def check_schema_version(version: Any) -> None:
    """Refuses a schema that this version cannot read.

    Raises:
        SchemaError: The version is newer than SCHEMA_VERSION, or no version at all.
    """
    check_version(version, SCHEMA_VERSION, "schema version")
