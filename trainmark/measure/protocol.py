"""The protocol that turns a cell into a record: warm up, calibrate, time rounds, instrument, count."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from trainmark.measure import switches
from trainmark.measure.allocator import keep_freed_memory
from trainmark.measure.batches import Batch, kind_of, singly, tensors
from trainmark.measure.compiling import (
    captures_graphs,
    compiling_steps,
    outlasting,
    take_until_settled,
    wake_libraries,
)
from trainmark.measure.context import now
from trainmark.measure.data import Data, Feed, as_tensors
from trainmark.measure.failures import ModelError, NotFiniteError, UnsupportedError
from trainmark.measure.instruments import (
    Findings,
    Work,
    count_compilation,
    count_launches,
    count_samples,
    count_work,
    time_phases,
    workspace_bytes,
)
from trainmark.measure.outputs import looking_first
from trainmark.measure.settings import Settings
from trainmark.measure.steps import (
    Steps,
    built,
    compiled,
    feed,
    inference_parts,
    looking_parts,
    prepare,
    task_and_data,
    training_parts,
)
from trainmark.measure.training import evaluate, evaluate_task, train_epoch
from trainmark.measure.worker import SoFar
from trainmark.meters.clock import Block, Clock, clock_of
from trainmark.meters.control import take_control, to_facts
from trainmark.meters.counts import reset_compile_counts
from trainmark.meters.disturbance import DisturbanceMeter
from trainmark.meters.energy import measure_energy
from trainmark.meters.flops import count_parameters
from trainmark.meters.memory import device_peak, peak_memory_bytes, reset_device_peak
from trainmark.meters.profiler import profile_steps
from trainmark.store.cell import Cell
from trainmark.store.record import Record, held_out_series
from trainmark.store.rounds import median_interval
from trainmark.task import HeldOut, Task

Result = TypeVar("Result")
Report = Callable[[str | SoFar], None]

ROUND_SECONDS = 0.02  # long against every clock used (events resolve 0.5 us), short against a neighbour's burst
STEADY = 0.05  # warm-up ends when the last blocks are not this much faster than all before
DRIFT = 0.10  # between the first and the last third of the rounds: more is called unsteady
WARMUP_LIMIT = 3.0  # of max_seconds; a cell that is not steady by then is measured and flagged
CLOCKS_AGREE = 0.02  # between the device's and the host's time of a cell
LATENCY_STEPS = 100  # enough for a 99th percentile
PROFILE_STEPS = 10  # at most: the quicker half of them is kept
PROFILE_SECONDS = 2.0  # of steps in a profile, two of them at least
LATENCY_SHARE = 0.5  # of max_seconds, at most
UNIT_BATCHES = 64  # in which a task's own unit is counted: lengths vary


def measure_steps(cell: Cell, settings: Settings, report: Report, scratch: Path) -> Record:
    """Measures a cell that takes steps, in this process.

    Args:
        cell: What to measure.
        settings: How.
        report: Told what is being done, for the reason of a timeout.
        scratch: An empty folder for this cell alone. Unless the settings name another, torch.compile
            keeps its cache there: so the compile time is that of a cold cache.

    Raises:
        UnsupportedError: The cell cannot be run here.
        ModelError: The model gives no logits of its classes.
        NotFiniteError: A loss or an output is not finite.
    """
    return measured(cell, settings, scratch, lambda: _time_steps(cell, settings, report, scratch))


def measure_training(cell: Cell, settings: Settings, report: Report, scratch: Path) -> Record:
    """Trains a cell's model from the start, once a seed, in this process; arguments and errors as above."""
    return measured(cell, settings, scratch, lambda: _train(cell, settings, report))


def measured(cell: Cell, settings: Settings, scratch: Path, work: Callable[[], Mapping[str, Any]]) -> Record:
    """The record of a piece of work, done in this process made ready for it.

    Args:
        cell: What is measured.
        settings: How.
        scratch: An empty folder.
        work: Gives the parts of the record.
    """
    set_up(settings, scratch)
    started = now()
    reset_device_peak(str(cell["device"]))
    return Record(cell=cell, status="ok", started=started, **work())


def measure_first_step(cell: Cell, settings: Settings, report: Report, scratch: Path) -> float:
    """Seconds in which a compiled cell compiles, in a process that has compiled nothing before.

    With the cache of another process in ``settings.compile_cache`` this is the warm-cache time.
    """
    set_up(settings, scratch)
    report("compiling from the cache")
    steps = prepare(cell, settings, scratch)
    device = str(cell["device"])
    wake_libraries(device)
    with steps.context:
        return sum(timed_block(clock_of(device), steps.advance, 1).waited_seconds for _ in range(compiling_steps(cell)))


def count_eager_step(
    cell: Cell, settings: Settings, allocated: int | None, report: Report, scratch: Path
) -> tuple[Findings, tuple[str, ...], str | None]:
    """What a compiled cell's step does as the compiler was given it: metrics, flags and reason of a ``Work``.

    In a process of its own, for a second model beside the compiled one would need as much memory again.

    Args:
        cell: Compiled.
        settings: How.
        allocated: Peak of the compiled steps on the device; None where it has none.
        report: Told what is being done.
        scratch: An empty folder.
    """
    set_up(settings, scratch)
    report("counting an eager step")
    eager = Cell.of(cell.workload, **(cell.settings | {"compile": "off"}))
    steps = prepare(eager, settings, scratch)
    work = count_work(steps, eager, settings)
    return work.metrics | {"workspace_bytes": workspace_bytes(work.metrics, allocated, steps)}, work.flags, work.reason


def try_batch(cell: Cell, settings: Settings, report: Report, scratch: Path) -> int | None:
    """Trains three steps, and gives the peak memory: of the device where it tells, else of the process.

    More where a scaler of losses skips the first ones: without the optimizer's state a batch fits that will not.
    """
    set_up(settings, scratch)
    device = str(cell["device"])
    reset_device_peak(device)
    steps = prepare(cell, settings, scratch)
    clock = clock_of(device)
    report(f"trying a batch of {cell['batch_size']}")
    timed_block(clock, steps.advance_looking, 1)
    take_until_settled(lambda: timed_block(clock, steps.advance, 1), steps.parts)
    timed_block(clock, steps.advance, 1)  # has the optimizer's state beside the gradients from its beginning
    return device_peak(device).allocated or peak_memory_bytes()


def set_up(settings: Settings, scratch: Path) -> None:
    """Makes this process ready to measure: allocator, threads, seed, and folders of the compiler's own."""
    cache = settings.compile_cache or scratch
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(cache / "triton")
    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    # A worker's own process was started otherwise; those of a DataLoader start as they would in the user's program.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    switches.hold()
    switches.seed_everything(settings.seed)


def _time_steps(cell: Cell, settings: Settings, report: Report, scratch: Path) -> dict[str, Any]:
    """The parts of a record of a workload that takes steps."""
    report("preparing")
    steps = prepare(cell, settings, scratch)
    device = str(cell["device"])
    clock = clock_of(device)
    is_compiled = cell.settings.get("compile", "off") != "off"
    if is_compiled:
        reset_compile_counts()
        wake_libraries(device)
    with steps.context:
        report("compiling" if is_compiled else "warming up")
        first = timed_block(clock, steps.advance_looking, 1)
        more = [] if settings.once else [timed_block(clock, steps.advance, 1) for _ in range(1, compiling_steps(cell))]
        compile_seconds = first.waited_seconds + sum(block.waited_seconds for block in more)
        first_peak, first_device_peak = peak_memory_bytes(), device_peak(device)
        if is_compiled:
            reset_device_peak(device)  # what the compiler tried out is no part of a step
        warmup = Warmup(0.0, True, 1) if settings.once else warm_up(clock, steps.advance, settings, report)
        report("timing rounds")
        before = take_control()
        with DisturbanceMeter(device) as meter:
            if settings.once:
                blocks, recompiled = [first], False
            else:
                blocks, recompiled = time_steady_rounds(
                    clock, steps.advance, warmup.steps_per_round, settings, is_compiled
                )
        host_peak, peak = peak_memory_bytes(), device_peak(device)  # before instruments add their own
        moment = to_facts(before, take_control())
        report("timing single steps")
        if warmup.steps_per_round == 1:  # the rounds are single steps already
            latencies = [block.waited_seconds for block in blocks]
        else:
            latencies = single_steps(clock, steps.advance, settings)
    rounds = [block.seconds / warmup.steps_per_round for block in blocks]
    host_rounds = [block.host_seconds / warmup.steps_per_round for block in blocks if block.host_seconds is not None]
    interval = median_interval(rounds)
    disturbance = meter.result
    assert disturbance is not None  # the meter's block has ended
    flags = {
        "unsteady": not warmup.steady or drifts(rounds),
        "clocks-disagree": clocks_disagree(rounds, host_rounds),
        "few-rounds": interval.low is None,
        "recompiles": recompiled,
    }
    metrics: Findings = {
        "step_seconds": interval.middle,
        "step_seconds_low": interval.low,
        "step_seconds_high": interval.high,
        "samples_per_second": steps.samples / interval.middle,
        **count_units(steps, interval.middle),
        "latency_p50_seconds": median(latencies),
        "latency_p99_seconds": percentile_99(latencies),
        "compile_seconds": compile_seconds if is_compiled else None,
        "compile_peak_memory_bytes": first_peak if is_compiled else None,
        "compile_device_allocated_bytes": first_device_peak.allocated if is_compiled else None,
        "warmup_seconds": warmup.seconds + (0.0 if is_compiled else first.seconds),
        "peak_memory_bytes": host_peak,
        "device_allocated_bytes": peak.allocated,
        "device_reserved_bytes": peak.reserved,
        **count_compilation(cell),
    }
    findings: dict[str, Any] = {
        "metrics": metrics,
        "rounds": tuple(rounds),
        "host_rounds": tuple(host_rounds),
        "steps_per_round": warmup.steps_per_round,
        "settings": {"threads": torch.get_num_threads(), "seed": settings.seed, "adaptation": steps.adaptation},
        "disturbance": disturbance.to_json() | moment,
        "flags": (*disturbance.flags, *(name for name, raised in flags.items() if raised), *switches.flags()),
    }
    if not settings.once:
        report(SoFar(Record(cell=cell, status="ok", **findings)))  # no instrument can lose what was timed
        work = _instrument(steps, cell, interval.middle, settings, report)
        metrics |= work.metrics
        if not is_compiled:  # whose parts are counted in a process of their own
            metrics["workspace_bytes"] = workspace_bytes(metrics, peak.allocated, steps)
        findings |= {"flags": (*findings["flags"], *work.flags), "reason": work.reason}
    return findings


def _instrument(steps: Steps, cell: Cell, step_seconds: float, settings: Settings, report: Report) -> Work:
    """What the instrumented and the static pass find; with a profile where one is asked for.

    Energy comes first: a profiler's session leaves CUPTI attached, and a step takes longer afterwards
    (pytorch/pytorch#146604). Counts of a compiled cell's eager step are left to :func:`count_eager_step`.
    """
    device = str(cell["device"])
    found: Findings = {}
    if settings.energy:
        report("measuring energy")
        with steps.context:
            found |= measure_energy(steps.advance, device, steps.samples)
    report("timing phases")
    with steps.context:
        found |= time_phases(steps, cell, step_seconds, settings)
    report("counting")
    if steps.model is not None:
        found |= count_launches(steps, device, step_seconds, settings.seed)
    if cell.settings.get("compile", "off") == "off":
        work = count_work(steps, cell, settings)
    else:
        work = Work(count_samples(steps.feed.endless, settings.seed))
    found |= work.metrics
    if settings.artifacts is not None and steps.model is not None:
        report("profiling")
        affordable = math.ceil(PROFILE_SECONDS / step_seconds)
        with steps.context:
            profile_steps(steps.advance, cell, settings.artifacts, steps=min(max(affordable, 2), PROFILE_STEPS))
    return replace(work, metrics=found)


def count_units(steps: Steps, step_seconds: float) -> Findings:
    """Throughput in the task's own unit, where it has one: the mean of UNIT_BATCHES batches over the step time."""
    task = steps.task
    if task is None or task.count is None or task.unit == "sample":
        return {}
    counted = [task.count(*batch) for _ in range(UNIT_BATCHES) for batch in singly(next(steps.batches))]
    for number in counted:
        if not isinstance(number, int):
            raise ModelError(f"the task's count gave {kind_of(number)}; needed is a whole number of {task.unit}s")
    return {f"{task.unit}s_per_second": sum(counted) / UNIT_BATCHES / step_seconds}


def _train(cell: Cell, settings: Settings, report: Report) -> dict[str, Any]:
    """The parts of a record of whole trainings, one a seed."""
    report("preparing")
    task, data = task_and_data(cell, settings)
    device = str(cell["device"])
    batches = feed(cell, data)
    held_out = HeldOutData.of(cell, task, data)
    epochs = 1 if settings.once else int(cell["epochs"])
    seeds = list(range(settings.seed, settings.seed + (1 if settings.once else settings.seeds)))
    before = take_control()
    with DisturbanceMeter(device) as meter:
        trainings = [train_once(cell, task, batches, held_out, seed, epochs, settings, report) for seed in seeds]
    host_peak, peak = peak_memory_bytes(), device_peak(device)
    moment = to_facts(before, take_control())
    disturbance = meter.result
    assert disturbance is not None  # the meter's block has ended
    different = {(*training.losses, *training.curve) for training in trainings}  # of equal ones each counts once
    seconds = [training.seconds for training in trainings]
    metrics: Findings = {
        "training_seconds": median(seconds),
        "samples_per_second": None if settings.once else trainings[0].samples / median(seconds),
    }
    curves: dict[str, list[list[float]]] = {}
    for name in task.held_out_metrics:
        curves[name] = [[told[name] for told in training.told] for training in trainings]
        final = [curve[-1] for curve in curves[name]]
        metrics |= {name: sum(final) / len(final), f"{name}_lowest": min(final), f"{name}_highest": max(final)}
    return {
        "metrics": metrics
        | {
            "loss": sum(training.losses[-1] for training in trainings) / len(trainings),
            "peak_memory_bytes": host_peak,
            "device_allocated_bytes": peak.allocated,
            "device_reserved_bytes": peak.reserved,
            "parameters": trainings[0].parameters,
            "training_samples": sum(training.samples for training in trainings),
            "repeated_samples_per_epoch": count_samples(batches.epoch, settings.seed)["repeated_samples_per_epoch"],
        },
        "rounds": tuple(seconds),
        "series": {
            "seed": seeds,
            "train_loss": [training.losses for training in trainings],
            **{held_out_series(name): curve for name, curve in curves.items()},
        },
        "settings": {
            "threads": torch.get_num_threads(),
            "seed": settings.seed,
            "seeds": len(different),
            "adaptation": str(data.adaptation),
            "train_samples": batches.samples,
            "held_out_samples": held_out.samples,
        },
        "disturbance": disturbance.to_json() | moment,
        "flags": (*disturbance.flags, *switches.flags(), *(("equal-seeds",) if len(different) < len(seeds) else ())),
    }


@dataclass(frozen=True)
class HeldOutData:
    """What a training is judged by.

    Attributes:
        samples: How many; None where nobody knows.
        metrics: Name -> how.
        whole: All of them at once on the device, images and labels of the lecture's evaluation; else None.
        batches: One after the other, of any other task.
    """

    samples: int | None
    metrics: Mapping[str, HeldOut]
    whole: Batch | None = None
    batches: Callable[[], Iterator[Batch]] | None = None

    @classmethod
    def of(cls, cell: Cell, task: Task, data: Data) -> HeldOutData:
        """The held-out data of a cell.

        Raises:
            UnsupportedError: The data set has none.
        """
        device = str(cell["device"])
        if data.loading is None and task.is_plain and task.metrics is None:
            whole = held_out_batch(data, device)
            return cls(len(whole[1]), task.held_out_metrics, whole)
        if data.held_out is None:
            why = "made-up data" if data.made_up or data.loading is None else "a task without held-out data"
            raise UnsupportedError(f"{why}: a training cannot be judged")
        source = feed(cell, data.of_held_out())
        return cls(source.samples, task.held_out_metrics, batches=source.in_order)

    def some(self, places: Tensor) -> HeldOutData:
        """A few of the samples; of batches the first."""
        if self.whole is None:
            assert self.batches is not None
            first = self.batches
            return replace(self, batches=lambda: islice(first(), 1))
        return replace(self, samples=len(places), whole=(self.whole[0][places], self.whole[1][places]))

    def judge(self, forward: Callable[[Any, Any], Any]) -> dict[str, float]:
        """What the metrics say of a model in eval mode.

        Args:
            forward: From inputs, and targets that it leaves alone, to outputs.
        """
        if self.whole is not None:
            return {"accuracy": evaluate(forward, *self.whole)}
        assert self.batches is not None
        return evaluate_task(forward, self.batches(), self.metrics)


def held_out_batch(data: Data, device: str) -> Batch:
    """All held-out images and labels on the device: what the lecture's training is judged by.

    Raises:
        UnsupportedError: The data set has none.
    """
    if data.held_out is None:
        raise UnsupportedError(f"{data.name} has random labels: it has no accuracy")
    images, labels = as_tensors(data.held_out, data.adaptation)
    return images.to(device), labels.to(device)


@dataclass(frozen=True)
class Training:
    """One whole training.

    Attributes:
        seconds: In its epochs, evaluation left out.
        losses: Mean training loss of each epoch.
        told: What the held-out data say after each epoch: name of a metric -> its number.
        parameters: Of the model.
        samples: That steps were given.
    """

    seconds: float
    losses: list[float]
    told: list[dict[str, float]]
    parameters: int
    samples: int = 0

    @property
    def curve(self) -> tuple[float, ...]:
        """All that was told, in its order."""
        return tuple(value for told in self.told for value in told.values())


def train_once(
    cell: Cell,
    task: Task,
    batches: Feed,
    held_out: HeldOutData,
    seed: int,
    epochs: int,
    settings: Settings,
    report: Report,
) -> Training:
    """Trains a new model for some epochs, as the lecture does, and evaluates it after each.

    Raises:
        NotFiniteError: The loss of an epoch is not finite, or an output of its evaluation is no number.
        ModelError: The model gives no logits of its classes, or the criterion no loss.
    """
    clock = clock_of(str(cell["device"]))
    model = built(task, cell, seed, batches)
    runnable = compiled(model, cell)
    parts = training_parts(runnable, cell, task, epochs * batches.steps_of_epoch())
    classes = task.classes if task.is_plain else None
    forward = looking_parts(inference_parts(runnable, cell, task), classes).step
    forward = outlasting(forward) if captures_graphs(cell) else forward
    training = Training(0.0, [], [], count_parameters(model))
    step, looking = parts.step, looking_parts(parts, classes).step
    for epoch in range(epochs):
        report(f"training seed {seed}, epoch {epoch + 1} of {epochs}")
        some = batches.first(2) if settings.once else batches.epoch()
        runnable.train()
        taken = step if epoch else looking_first(step, looking)
        (loss, samples), block = timed(clock, partial(train_epoch, taken, some))
        check_finite(loss, f"the loss of epoch {epoch + 1} with seed {seed}")
        if parts.schedule is not None and not parts.each_step:
            parts.schedule.step()
        runnable.eval()
        training.losses.append(loss.item())
        training.told.append(held_out.judge(forward))
        training = replace(training, seconds=training.seconds + block.seconds, samples=training.samples + samples)
    return training


@dataclass(frozen=True)
class Warmup:
    """How a cell got ready.

    Attributes:
        seconds: That it took.
        steady: Whether blocks had stopped getting faster.
        steps_per_round: Steps that take about ROUND_SECONDS.
        step_seconds: Of the better of the last two blocks; 0 where there was none.
    """

    seconds: float
    steady: bool
    steps_per_round: int
    step_seconds: float = 0.0


def warm_up(clock: Clock, advance: Callable[[], Any], settings: Settings, report: Report) -> Warmup:
    """Runs blocks until they stop getting faster, and finds how many steps make a round.

    A block is compared by its time per step. It is steady when the better of the last two blocks
    is not faster, by STEADY, than the best of all blocks before; the smallest times are compared
    because a neighbour can only add to them.
    """
    begun = time.perf_counter()
    per_step = [timed_block(clock, advance, 1).seconds]
    steps = max(1, math.ceil(ROUND_SECONDS / max(per_step[0], 1e-9)))
    steady = False
    while not steady and time.perf_counter() - begun < WARMUP_LIMIT * settings.max_seconds:
        per_step.append(timed_block(clock, advance, steps).seconds / steps)
        if len(per_step) == 2:  # the first step was slow: its estimate made the block too short
            steps = max(1, math.ceil(ROUND_SECONDS / max(per_step[1], 1e-9)))
        report(f"warming up, {len(per_step)} blocks of {steps} steps")
        steady = len(per_step) > 2 and min(per_step[-2:]) >= (1 - STEADY) * min(per_step[:-2])
    return Warmup(time.perf_counter() - begun, steady, steps, min(per_step[-2:]))


def time_rounds(clock: Clock, advance: Callable[[], Any], steps: int, settings: Settings) -> list[Block]:
    """The clean pass: blocks of steps with nothing attached to them."""
    blocks: list[Block] = []
    total = 0.0
    while len(blocks) < settings.min_rounds or total < settings.max_seconds:
        blocks.append(timed_block(clock, advance, steps))
        total += blocks[-1].seconds
    return blocks


def time_steady_rounds(
    clock: Clock, advance: Callable[[], Any], steps: int, settings: Settings, is_compiled: bool
) -> tuple[list[Block], bool]:
    """The clean pass, with recompilation forbidden; and whether the cell recompiled all the same.

    What recompiles in its steady state is timed as it is, recompilations included.
    """
    if not is_compiled:
        return time_rounds(clock, advance, steps, settings), False
    try:
        with torch.compiler.set_stance("fail_on_recompile"):
            return time_rounds(clock, advance, steps, settings), False
    except RuntimeError as error:
        if "recompile" not in str(error):
            raise
    return time_rounds(clock, advance, steps, settings), True


def single_steps(clock: Clock, advance: Callable[[], Any], settings: Settings) -> list[float]:
    """Seconds of single steps, each waited for: at least two, at most LATENCY_STEPS."""
    latencies: list[float] = []
    while len(latencies) < LATENCY_STEPS and (
        len(latencies) < 2 or sum(latencies) < LATENCY_SHARE * settings.max_seconds
    ):
        latencies.append(timed_block(clock, advance, 1).waited_seconds)
    return latencies


def timed_block(clock: Clock, advance: Callable[[], Any], steps: int) -> Block:
    """Times a block of steps, and looks at the last one's result after the clock has stopped.

    Raises:
        NotFiniteError: That result is not finite.
    """

    def work() -> Any:
        for _ in range(steps - 1):
            advance()
        return advance()

    last, block = timed(clock, work)
    check_finite(last, "the result of a step")
    return block


def timed(clock: Clock, work: Callable[[], Result]) -> tuple[Result, Block]:
    """The result of work and how long it took."""
    results: list[Result] = []
    block = clock(lambda: results.append(work()))
    return results[0], block


def check_finite(result: Any, what: str) -> None:
    """Raises NotFiniteError where any number of a tensor, or of the tensors of a result, is NaN or infinite."""
    for tensor in tensors(result):
        if not bool(torch.isfinite(tensor).all()):
            shown = f" ({tensor.item()})" if tensor.numel() == 1 else ""
            raise NotFiniteError(f"{what} is not finite{shown}")


def drifts(rounds: Sequence[float]) -> bool:
    """Whether the last third of the rounds differs from the first by more than DRIFT."""
    third = len(rounds) // 3
    if third < 2:
        return False
    return abs(median(rounds[-third:]) / median(rounds[:third]) - 1) > DRIFT


def clocks_disagree(rounds: Sequence[float], host_rounds: Sequence[float]) -> bool:
    """Whether device and host tell times that differ by more than CLOCKS_AGREE."""
    return bool(host_rounds) and abs(median(host_rounds) / median(rounds) - 1) > CLOCKS_AGREE


def percentile_99(latencies: Sequence[float]) -> float | None:
    """The 99th percentile; None below LATENCY_STEPS numbers, which do not tell it."""
    if len(latencies) < LATENCY_STEPS:
        return None
    return sorted(latencies)[math.ceil(0.99 * len(latencies)) - 1]
