"""The instrumented and the static pass: where a step's time and memory go, and what it does, counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch

from trainmark.measure.batches import Batch, MicroBatches, samples_of, tensors
from trainmark.measure.compiling import take_until_settled
from trainmark.measure.phases import measure_phases
from trainmark.measure.settings import Settings
from trainmark.measure.steps import Steps, TrainingParts
from trainmark.measure.switches import seed_everything
from trainmark.meters import counts
from trainmark.meters.flops import FlopCount, count_parameters, examine_flops, examine_step
from trainmark.store.cell import Cell

PHASE_SHARE = 0.5  # of max_seconds, at most
PHASE_STEPS = (2, 100)  # at least, at most

Findings = dict[str, float | int | None]


@dataclass(frozen=True)
class Work:
    """What the counts of a step have come to.

    Attributes:
        metrics: By name.
        flags: Of the record: ``flops-partial`` where a product has no formula.
        reason: Why there is a count that gave nothing, in a sentence; None where there is none.
    """

    metrics: Findings
    flags: tuple[str, ...] = ()
    reason: str | None = None


def time_phases(steps: Steps, cell: Cell, step_seconds: float, settings: Settings) -> Findings:
    """Seconds of each phase of a step, mean over as many steps as the time allows."""
    fewest, most = PHASE_STEPS
    affordable = math.floor(PHASE_SHARE * settings.max_seconds / step_seconds)
    phases = measure_phases(steps, str(cell["device"]), number=min(max(affordable, fewest), most))
    named: Findings = {f"{phase}_seconds": seconds for phase, seconds in phases.seconds.items()}
    return named | {
        "other_seconds": phases.other_seconds,
        "instrumented_step_seconds": phases.step_seconds,
        "loading_cpu_seconds": phases.loading_cpu_seconds,
    }


def count_compilation(cell: Cell) -> Findings:
    """What torch.compile has made of a compiled cell."""
    if cell.settings.get("compile", "off") == "off":
        return {}
    made = counts.compile_counts()
    if made is None:
        return {}
    return {
        "graphs": made.graphs,
        "graph_breaks": made.graph_breaks,
        "recompiles": made.recompiles,
        "cudagraph_skips": made.cudagraph_skips,
    }


def count_work(steps: Steps, cell: Cell, settings: Settings) -> Work:
    """Counts over a step, which is eager, all of them the same in every run."""
    found = count_samples(steps.feed.endless, settings.seed)
    if steps.model is None:
        return Work(found)
    device, batch = str(cell["device"]), _first_batch(steps, settings.seed)
    with steps.context:
        take_until_settled(lambda: steps.step(*batch), steps.parts)  # a new model has no gradients yet
        counted, again = (counts.count_step(lambda: steps.step(*batch), steps.model, device) for _ in range(2))
    flops, flops_again = (_flops(steps, batch) for _ in range(2))
    found |= {
        "parameters": count_parameters(steps.model),
        **_holdings(steps),
    }
    of_step: Findings = {
        "flops_per_step": flops.flops,
        "operators_per_step": counted.operators,
        "copies_per_step": counted.copies,
        "host_reads_per_step": counted.host_reads,
        "float64_operators_per_step": counted.float64_operators,
        "gradient_additions_per_step": counted.gradient_additions,
        "new_bytes_per_step": counted.new_bytes,
        "moved_bytes_per_step": counted.moved_bytes,
        "retained_tensors_per_step": counted.retained_tensors,
        "activation_bytes": counted.saved_bytes,
    }
    varying = _varying(counted, again) | ({"flops_per_step"} if flops.flops != flops_again.flops else set())
    of_step |= dict.fromkeys(varying)
    flags, reason = ("flops-partial",) if flops.without_formula else (), flops.reason
    if varying:
        flags = (*flags, "counts-vary")
        reason = reason or f"two steps differ in what is counted: {', '.join(sorted(varying))}"
    return Work(found | of_step, flags, reason)


def _first_batch(steps: Steps, seed: int) -> Batch:
    """The one that every run is given first: where lengths vary, others hold more or less."""
    seed_everything(seed)
    return next(steps.feed.endless())


def _flops(steps: Steps, batch: Batch) -> FlopCount:
    """Of a step: of images on a copy of the model that computes nothing, of any other task on a step as it is."""
    assert steps.model is not None
    if steps.shape is not None:
        return examine_flops(steps.model, steps.shape, training=isinstance(steps.parts, TrainingParts))
    with steps.context:
        return examine_step(lambda: steps.step(*batch))


def _varying(one: counts.StepCounts, other: counts.StepCounts) -> set[str]:
    """Metrics whose counts are another in each step: they are of the step's chance, and compare nothing."""
    names = {"saved_bytes": "activation_bytes"}
    return {
        names.get(part.name, f"{part.name}_per_step")
        for part in fields(one)
        if getattr(one, part.name) != getattr(other, part.name)
    }


def count_samples(order: Callable[[], Iterator[Batch]], seed: int) -> Findings:
    """Samples of a batch, and how many of them have the same place where the data is gone through once more.

    The seed makes the two orders the same in every run: what is repeated in one is in all.
    """
    seed_everything(seed)
    (first, labels), (second, _) = next(order()), next(order())
    repeated = [_repeated(one, other) for one, other in _side_by_side(first, second)]
    known = [number for number in repeated if number is not None]
    return {
        "samples_per_step": samples_of(first, labels),
        "repeated_samples_per_epoch": sum(known) if len(known) == len(repeated) else None,
    }


def _side_by_side(first: Any, second: Any) -> Iterator[tuple[Any, Any]]:
    """The inputs of two steps, those of each batch beside those of the other's."""
    yield from zip(first, second, strict=False) if isinstance(first, MicroBatches) else [(first, second)]


def _repeated(first: Any, second: Any) -> int | None:
    """Samples at the same place of two batches, by all of their tensors; None where these are not one row a sample."""
    pairs = list(zip(tensors(first), tensors(second), strict=False))
    if not pairs or any(one.shape != other.shape or not one.ndim for one, other in pairs):
        return None
    if len({len(one) for one, _ in pairs}) > 1:
        return None
    same = [(one == other).flatten(1).all(1) if one.ndim > 1 else one == other for one, other in pairs]
    return int(torch.stack(same).all(0).sum())  # [tensors, B] -> []


def count_launches(steps: Steps, device: str, step_seconds: float, seed: int) -> Findings:
    """Launches and waits of a step as the cell runs it, compiled or not, and how busy they keep the device."""
    batch = _first_batch(steps, seed)
    with steps.context:
        launches = counts.count_launches(lambda: steps.step(*batch), device)
    if launches is None:
        return {}
    return {
        "kernel_launches_per_step": launches.kernels,
        "synchronisations_per_step": launches.synchronisations,
        "device_busy_share": min(1.0, launches.busy_seconds / step_seconds),
    }


def workspace_bytes(found: Findings, allocated: int | None, steps: Steps) -> int | None:
    """What the device held at its peak beside model, gradients, optimizer, activations and data."""
    names = ("parameter_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes")
    if allocated is None or any(found.get(name) is None for name in names):
        return None
    return allocated - steps.feed.resident_bytes - sum(int(found[name] or 0) for name in names)


def _holdings(steps: Steps) -> Findings:
    assert steps.model is not None  # asked for cells with a model alone
    if not isinstance(steps.parts, TrainingParts):
        return {"parameter_bytes": counts.held_bytes((*steps.model.parameters(), *steps.model.buffers()))}
    held = counts.composition(steps.model, steps.parts.optimizers)
    return {
        "parameter_bytes": held.parameters,
        "gradient_bytes": held.gradients,
        "optimizer_bytes": held.optimizer,
    }
