"""The schema: a record, the metrics it can hold, a run of records, and their JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trainmark.store.cell import Cell, Value, join_key, label

SCHEMA_VERSION = 1
# 1  first version: cell, status, metrics, rounds, series, settings, disturbance, flags.

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


@dataclass(frozen=True)
class Metric:
    """A number that a record can hold.

    Attributes:
        unit: SI or field's standard unit; empty for a count or a share.
        better: ``"lower"``, ``"higher"`` or ``"neither"``.
        compared: How two runs are compared: ``"time"`` by intervals and a margin, ``"exact"``,
            ``"tolerance"`` relative to the base, ``"points"`` as an absolute difference, or
            ``"no"``: shown, never judged.
        meaning: One line for the report.
        tolerance: For ``"tolerance"`` a share of the base, for ``"points"`` a difference.
    """

    unit: str
    better: str
    compared: str
    meaning: str
    tolerance: float | None = None


METRICS: dict[str, Metric] = {
    "step_seconds": Metric("s", "lower", "time", "median over the rounds of the time of a step"),
    "step_seconds_low": Metric("s", "lower", "no", "lower end of its 95% interval within the process"),
    "step_seconds_high": Metric("s", "lower", "no", "upper end of its 95% interval within the process"),
    "samples_per_second": Metric("1/s", "higher", "no", "throughput: samples of a step over step_seconds"),
    "latency_p50_seconds": Metric("s", "lower", "no", "median time of a single step waited for"),
    "latency_p99_seconds": Metric("s", "lower", "no", "99th percentile of the same, from 100 steps on"),
    "training_seconds": Metric("s", "lower", "time", "median over seeds of the time in training, without evaluation"),
    "accuracy": Metric("", "higher", "points", "held-out accuracy after the last epoch, mean over seeds", 0.005),
    "accuracy_lowest": Metric("", "higher", "no", "the worst seed's held-out accuracy after the last epoch"),
    "accuracy_highest": Metric("", "higher", "no", "the best seed's held-out accuracy after the last epoch"),
    "loss": Metric("", "lower", "no", "mean training loss of the last epoch, mean over seeds"),
    "claims": Metric("", "neither", "exact", "claims of the lecture that were computed"),
    "claims_held": Metric("", "higher", "exact", "of them, that hold"),
    "compile_seconds": Metric("s", "lower", "tolerance", "first step with an empty compile cache", 0.5),
    "max_batch_size": Metric("", "higher", "tolerance", "largest batch that can be trained, exact to 1 in 64", 0.05),
    "peak_memory_bytes": Metric("B", "lower", "tolerance", "largest resident memory of the cell's own process", 0.1),
    "device_allocated_bytes": Metric("B", "lower", "tolerance", "peak of live tensors on the device", 0.02),
    "device_reserved_bytes": Metric("B", "lower", "tolerance", "peak of what the allocator held on the device", 0.1),
    "compile_warm_seconds": Metric("s", "lower", "tolerance", "first step with a filled compile cache", 0.5),
    "compile_peak_memory_bytes": Metric("B", "lower", "tolerance", "peak_memory_bytes up to the first step's end", 0.1),
    "compile_device_allocated_bytes": Metric(
        "B", "lower", "tolerance", "peak of live tensors on the device up to the first step's end", 0.1
    ),
    "graphs": Metric("", "lower", "exact", "unique graphs that torch.compile made"),
    "graph_breaks": Metric("", "lower", "exact", "places where a compiled model goes back to Python"),
    "recompiles": Metric("", "lower", "exact", "times that a function was compiled again"),
    "cudagraph_skips": Metric("", "lower", "exact", "times that CUDA graphs were asked for and not used"),
    "parameters": Metric("", "neither", "exact", "trainable parameters"),
    "samples_per_step": Metric("", "neither", "exact", "samples of the batch that a step was given"),
    "repeated_samples_per_epoch": Metric("", "lower", "exact", "of a batch, at the same place in the next epoch"),
    "training_samples": Metric("", "neither", "exact", "samples that a whole training was given, over all seeds"),
    "flops_per_step": Metric("FLOP", "lower", "exact", "floating-point operations of a step, 2 per multiply-add"),
    "operators_per_step": Metric("", "lower", "exact", "operators that an eager step dispatches"),
    "copies_per_step": Metric("", "lower", "exact", "of them, that copy or convert a tensor"),
    "host_reads_per_step": Metric("", "lower", "exact", "of them, whose result the host waits for"),
    "float64_operators_per_step": Metric("", "lower", "exact", "of them, that give a float64 tensor"),
    "gradient_additions_per_step": Metric("", "lower", "exact", "of them, that add to a gradient already there"),
    "new_bytes_per_step": Metric("B", "lower", "exact", "tensors that an eager step makes"),
    "moved_bytes_per_step": Metric(
        "B", "lower", "exact", "tensors that an eager step reads and writes, views left out"
    ),
    "retained_tensors_per_step": Metric("", "lower", "exact", "tensors alive that each step adds"),
    "kernel_launches_per_step": Metric("", "lower", "exact", "CUDA kernels and graphs launched"),
    "synchronisations_per_step": Metric("", "lower", "exact", "times that the host waited for the CUDA device"),
    "parameter_bytes": Metric("B", "lower", "exact", "parameters and buffers"),
    "gradient_bytes": Metric("B", "lower", "exact", "gradients held after a step"),
    "optimizer_bytes": Metric("B", "lower", "exact", "state of the optimizer"),
    "activation_bytes": Metric("B", "lower", "exact", "what the forward pass keeps for the backward pass"),
    "workspace_bytes": Metric("B", "lower", "no", "device_allocated_bytes without all of these and the data"),
    "data_seconds": Metric("s", "lower", "no", "of an instrumented step: having a batch"),
    "copy_seconds": Metric("s", "lower", "no", "of an instrumented step: host to device"),
    "forward_seconds": Metric("s", "lower", "no", "of an instrumented step: the model"),
    "loss_seconds": Metric("s", "lower", "no", "of an instrumented step: the criterion"),
    "zero_grad_seconds": Metric("s", "lower", "no", "of an instrumented step: optimizer.zero_grad"),
    "backward_seconds": Metric("s", "lower", "no", "of an instrumented step: loss.backward"),
    "optimizer_seconds": Metric("s", "lower", "no", "of an instrumented step: optimizer.step"),
    "other_seconds": Metric("s", "lower", "no", "of an instrumented step: what is between the lines"),
    "instrumented_step_seconds": Metric("s", "lower", "no", "the sum of these: a step with its phases timed"),
    "energy_joules_per_step": Metric("J", "lower", "tolerance", "drawn by the whole GPU, or all CPU packages", 0.1),
    "energy_joules_per_sample": Metric("J", "lower", "no", "the same over the samples of a step"),
    "power_watts": Metric("W", "neither", "no", "mean power while steps ran"),
    "idle_power_watts": Metric("W", "neither", "no", "mean power while this process did nothing"),
    "achieved_flops_per_second": Metric("FLOP/s", "higher", "no", "flops_per_step over step_seconds"),
    "flops_utilisation": Metric("", "higher", "no", "the same, of the largest rate that probes reached here"),
    "achieved_bytes_per_second": Metric("B/s", "higher", "no", "moved_bytes_per_step over step_seconds"),
    "bytes_utilisation": Metric(
        "", "higher", "no", "the same, of the largest rate that probes reached, caches included"
    ),
    "arithmetic_intensity": Metric("FLOP/B", "neither", "no", "flops_per_step over moved_bytes_per_step"),
    "ridge_intensity": Metric(
        "FLOP/B", "neither", "no", "of the roofline: arithmetic limits above it, memory below, out of caches"
    ),
    "fit_seconds": Metric("s", "lower", "time", "median over the rounds of the time from text to n-gram model"),
    "tokens_per_second": Metric(
        "1/s", "higher", "no", "tokens of the text, ends of sentences included, over fit_seconds"
    ),
    "encode_seconds": Metric("s", "lower", "no", "of a fit: text to ids; median"),
    "count_seconds": Metric("s", "lower", "no", "of a fit: ids to table; median"),
    "estimate_seconds": Metric("s", "lower", "no", "of a fit: table to probabilities; median"),
    "kernel_compile_seconds": Metric("s", "lower", "no", "before the first fit: compiling kernels, or loading them"),
    "peak_bytes_per_token": Metric("B", "lower", "no", "peak_memory_bytes, all of it, over the tokens of the text"),
    "table_entries": Metric("", "neither", "exact", "n-grams in the table, of every order that it holds"),
    "bytes_per_entry": Metric("B", "lower", "tolerance", "bytes of the model's arrays over table_entries", 0.01),
    "random_update_share": Metric(
        "", "higher", "no", "tokens counted a second, of the machine's random updates a second"
    ),
    "copy_share": Metric("", "higher", "no", "text, ids and table moved once a fit, of what a copy moves meanwhile"),
    "score_seconds": Metric(
        "s", "lower", "time", "median over the rounds of the time to score the ids of a held-out text"
    ),
    "score_tokens_per_second": Metric("1/s", "higher", "no", "tokens of the held-out text over score_seconds"),
    "perplexity": Metric(
        "", "lower", "tolerance", "of the held-out text, unknown words included; none if infinite", 1e-6
    ),
    "perplexity_without_unknown": Metric("", "lower", "tolerance", "the same over its known words alone", 1e-6),
    "unseen_share": Metric(
        "", "neither", "tolerance", "of held-out tokens, whose whole n-gram is not in the table", 1e-9
    ),
    "unknown_share": Metric("", "neither", "tolerance", "of held-out tokens, that the vocabulary has not", 1e-9),
    "vocabulary_size": Metric("", "neither", "exact", "words that the model knows, with </s> and <unk>"),
    "warmup_seconds": Metric("s", "lower", "no", "time from the first step until rounds began, compilation left out"),
    "cell_seconds": Metric("s", "lower", "no", "time the whole cell took, its process included"),
}


class SchemaError(ValueError):
    """A stored document is not a run or a record of a schema that this version reads."""


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
        disturbance: What else the machine did meanwhile; see ``trainmark.meters.disturbance``.
        flags: Words of warning: ``disturbed``, ``unsteady``, ``clocks-disagree``, ``few-rounds``,
            ``recompiles``, ``throttled``, ``shared-gpu``, ``instruments-oom`` and the like.
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
            axes: dict[str, Value] = dict(document["axes"])
            known = {item.name for item in fields(cls)} - {"cell"}
            parts = {name: value for name, value in document.items() if name in known}
            for name in ("rounds", "host_rounds", "flags"):
                parts[name] = tuple(parts.get(name, ()))
            parts["metrics"] = {name: value for name, value in parts["metrics"].items() if name in METRICS}
            _check_kinds(document["workload"], axes, parts)
            return cls(cell=Cell(document["workload"], tuple(axes.items())), **parts)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SchemaError(f"not a record: {error!r}") from error


def _check_kinds(workload: Any, axes: Mapping[Any, Any], parts: Mapping[str, Any]) -> None:
    """Refuses with a TypeError what would fail only later, where nobody expects it."""
    if not isinstance(workload, str):
        raise TypeError(f"workload is {workload!r}")
    for name, value in axes.items():
        if not isinstance(value, str | int):
            raise TypeError(f"axis {name} is {value!r}")
    for name in ("rounds", "host_rounds"):
        if not all(isinstance(seconds, float | int) for seconds in parts[name]):
            raise TypeError(f"{name} are {parts[name]!r}")
    for name in ("metrics", "series", "settings", "disturbance"):
        if not isinstance(parts.get(name, {}), Mapping):
            raise TypeError(f"{name} is {parts[name]!r}")


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
        peaks: Device -> what probes reached on it; see ``trainmark.meters.probes.Peaks``. Empty where not probed.
    """

    id: str
    started: str
    finished: str | None = None
    complete: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    planned: tuple[str, ...] = ()
    peaks: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return asdict(self) | {"planned": list(self.planned)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunFacts:
        """The facts that :meth:`to_json` wrote.

        Raises:
            SchemaError: A needed part is missing.
        """
        try:
            known = {item.name for item in fields(cls)}
            parts = {name: value for name, value in document.items() if name in known}
            if not isinstance(parts.get("id"), str):
                raise TypeError(f"id is {parts.get('id')!r}")
            return cls(**(parts | {"planned": tuple(parts.get("planned", ()))}))
        except (TypeError, AttributeError) as error:
            raise SchemaError(f"not the facts of a run: {error!r}") from error


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
        "records": [record.to_json() for record in records],
    }


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
        records=tuple(Record.from_json(record) for record in section["records"]),
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
