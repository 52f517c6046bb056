"""What each mode of torch.compile gives, by family of models and over all: speed-up, share that compiles, costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median

from trainmark.advise.break_even import Payback, paybacks
from trainmark.store.cell import Cell, join_key
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import Record

ALL = "all"
MEMORY = ("device_allocated_bytes", "peak_memory_bytes")  # of the device where it was read, else of the process


@dataclass(frozen=True)
class CompileMode:
    """A mode of torch.compile over the configurations of one workload, device and family.

    Attributes:
        workload: Such as ``train``.
        device: Where they ran.
        mode: A value of ``--compile``.
        family: Of models; ALL for all of them.
        tried: Configurations that were to be compiled.
        compiled: Of them, those that were measured compiled.
        speedup: Geometric mean of eager over compiled step times; None where no twin was measured eagerly.
        twins: How many that is the mean of.
        decided: Of these, those whose two times differ by their intervals.
        compile_seconds: Median of the first steps with an empty cache; None where none compiled.
        memory: Geometric mean of compiled over eager peak memory; None where it was not read.
    """

    workload: str
    device: str
    mode: str
    family: str
    tried: int
    compiled: int
    speedup: float | None
    twins: int
    decided: int
    compile_seconds: float | None
    memory: float | None


def compile_modes(records: Sequence[Record]) -> list[CompileMode]:
    """A row for each workload, device, mode and family that was compiled; of several families one more over all.

    Source: the columns of the dashboard of TorchInductor (pytorch/benchmarks/dynamo/runner.py).
    """
    tried = [record for record in records if _mode(record) and record.status != "skipped"]
    by_key = {payback.compiled.key: payback for payback in paybacks(records)}
    eager = {record.key: record for record in records}
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in tried:
        place = record.cell.workload, str(record.cell.settings.get("device", "cpu")), _mode(record)
        groups.setdefault(place, []).append(record)
    rows = []
    for place, some in groups.items():
        families = {family_of(record.cell): None for record in some}
        for family in (*families, *([ALL] if len(families) > 1 else [])):
            of = [record for record in some if family in (ALL, family_of(record.cell))]
            rows.append(_row(place, family, of, by_key, eager))
    return rows


def family_of(cell: Cell) -> str:
    """By the model's name: ``resnet20`` and ``resnet18-cifar`` are of ``resnet``, ``nets:wide(8)`` of ``wide``."""
    name = str(cell.settings.get("model", "")).rpartition(":")[2]
    letters = re.match(r"[^\W\d]+", name)
    return letters[0] if letters else name


def _mode(record: Record) -> str:
    """Empty where it is eager, or takes no such parameter."""
    mode = str(record.cell.settings.get("compile", ""))
    return "" if mode == PARAMETERS["compile"].default else mode


def _row(
    place: tuple[str, str, str],
    family: str,
    some: Sequence[Record],
    by_key: dict[str, Payback],
    eager: dict[str, Record],
) -> CompileMode:
    compiled = [record for record in some if record.metrics.get("compile_seconds") is not None]
    beside = [by_key[record.key] for record in compiled if record.key in by_key]
    return CompileMode(
        *place,
        family,
        tried=len(some),
        compiled=len(compiled),
        speedup=_mean(payback.speedup for payback in beside),
        twins=len(beside),
        decided=sum(payback.decided for payback in beside),
        compile_seconds=median(found) if (found := [_seconds(record) for record in compiled]) else None,
        memory=_mean(ratio for record in compiled if (ratio := _memory(record, eager)) is not None),
    )


def _seconds(record: Record) -> float:
    return record.metrics["compile_seconds"] or 0.0


def _memory(record: Record, eager: dict[str, Record]) -> float | None:
    """Compiled over eager."""
    settings = record.cell.settings | {"compile": PARAMETERS["compile"].default}
    twin = eager.get(join_key(record.cell.workload, settings))
    for name in MEMORY:
        ours, theirs = record.metrics.get(name), twin.metrics.get(name) if twin else None
        if ours and theirs:
            return ours / theirs
    return None


def _mean(ratios: Iterable[float]) -> float | None:
    found = list(ratios)
    return geometric_mean(found) if found else None
