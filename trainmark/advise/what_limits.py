"""What limits a training step: arithmetic, memory bandwidth, the launching of operators, or its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainmark import formatting
from trainmark.advise.waiting import LAUNCHED, WAITS, bottleneck
from trainmark.store.record import Record
from trainmark.workloads import of_role

# Of an operator that does next to nothing: add_ to one element took 3.2 to 4.4 us on one core of an AMD EPYC with torch
# 2.15 (n = 7). On an accelerator the host launches meanwhile, and how little the device does tells.
LAUNCH_SECONDS = 3.3e-6
DOMINATES = 0.3  # share of a step from which on it is said to limit it
WORDS = {
    "compute": "compute-bound",
    "bandwidth": "memory-bandwidth-bound",
    "launching": "overhead-bound",
    "data": "waits for its data",
    "none": "no single limit",
}


@dataclass(frozen=True)
class Limit:
    """What limits a step, with the shares that decide it.

    Attributes:
        record: Of the training.
        name: A key of WORDS: the largest of the shares, where it is DOMINATES at least.
        compute: Share of a step that its arithmetic alone would take, at the largest rate that probes reached here.
        bandwidth: Likewise of the bytes that it moves.
        launching: Likewise of launching its operators, on a CPU; None elsewhere.
        data: Share that goes into having a batch; None where the phases are not known.
    """

    record: Record
    name: str
    compute: float
    bandwidth: float
    launching: float | None
    data: float | None

    @property
    def sentence(self) -> str:
        """``compute-bound: arithmetic 47%, traffic 6%, launching 1% of a step``."""
        parts = [("arithmetic", self.compute), ("memory traffic", self.bandwidth), ("launching", self.launching)]
        told = [f"{name} {formatting.percent(share, 0)}" for name, share in parts if share is not None]
        if self.name == "data" and self.data is not None:
            told.insert(0, f"data {formatting.percent(self.data, 0)}")
        return f"{WORDS[self.name]}: {', '.join(told)} of a step"


def limit(record: Record) -> Limit | None:
    """Of a step whose utilisation is known; None of others, and of a compiled one: it launches other kernels."""
    metrics, settings = record.metrics, record.cell.settings
    compute, bandwidth = metrics.get("flops_utilisation"), metrics.get("bytes_utilisation")
    operators, step = metrics.get("operators_per_step"), metrics.get("step_seconds")
    if compute is None or bandwidth is None or not step or settings.get("compile", "off") != "off":
        return None
    found = bottleneck(record)
    data = found.waiting if found is not None else None
    on_cpu = settings.get("device", "cpu") == "cpu"
    launching = min(1.0, operators * LAUNCH_SECONDS / step) if on_cpu and operators else None
    if data is not None and data >= max(WAITS, compute, bandwidth, launching or 0.0):
        name = "data"
    elif launching is None and max(compute, bandwidth) < LAUNCHED:
        name = "launching"  # the device waits for the host
    else:
        shares = {"compute": compute, "bandwidth": bandwidth, "launching": launching or 0.0}
        name = max(shares, key=lambda one: shares[one])
        name = name if shares[name] >= DOMINATES else "none"
    return Limit(record, name, compute, bandwidth, launching, data)


def limits(records: Sequence[Record]) -> list[Limit]:
    """Of each training whose step was timed beside the machine's peaks."""
    return [found for record in of_role("training", records) if (found := limit(record)) is not None]


def limits_sentence(found: Sequence[Limit]) -> str:
    """How many trainings each limits, the most frequent first; empty where nothing is known."""
    counts = {name: sum(one.name == name for one in found) for name in WORDS}
    named = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    if not named:
        return ""
    plural = {"data": "waiting for data", "none": "with no single limit"}
    told = ", ".join(f"{counts[name]} {plural.get(name, WORDS[name])}" for name in named)
    return f"Of {formatting.counted(len(found), 'training step')}: {told}."
