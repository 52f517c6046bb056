"""What could be wrong on a GPU, and how that shows: the checks of docs/evidence/gpu.py, each in a process of its own.

They come from a review of each path that only a GPU takes, against PyTorch's and NVML's documentation. A check says
what it saw, and whether that is as it should be: None where the device has no such thing, or where it only tells.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import torch

from trainmark.measure import precision
from trainmark.measure.compiling import compiling_steps, take_until_settled, wake_libraries
from trainmark.measure.phases import measure_phases
from trainmark.measure.protocol import set_up, timed_block
from trainmark.measure.settings import Settings
from trainmark.measure.steps import Steps, prepare
from trainmark.meters.clock import clock_of
from trainmark.meters.counts import compile_counts, count_launches, reset_compile_counts
from trainmark.meters.energy import SHORTEST_WINDOW, EnergyMeter
from trainmark.meters.memory import device_peak, reset_device_peak
from trainmark.meters.nvml import open_gpu
from trainmark.meters.profiler import measure_profile
from trainmark.meters.timeline import record_timeline
from trainmark.store.cell import Cell

Report = Callable[[Any], None]
MIB = 2**20


@dataclass(frozen=True)
class Asked:
    """What a check is given.

    Attributes:
        device: Where.
        small: Whether only its way is looked at, as in a rehearsal: little work, and no limit is judged.
        dataset: That models of grey images are fed.
        folder: An empty one.
    """

    device: str
    small: bool
    dataset: str
    folder: Path

    @property
    def on_gpu(self) -> bool:
        """Whether there is CUDA, or what PyTorch calls so."""
        return self.device == "cuda"

    def steps(self, model: str = "mlp", batch_size: int = 64, **axes: Any) -> Steps:
        """A training made ready."""
        cell = self.cell(model, batch_size, **axes)
        set_up(Settings(), self.folder)
        made: Steps = prepare(cell, Settings(), self.folder)
        return made

    def cell(self, model: str = "mlp", batch_size: int = 64, **axes: Any) -> Cell:
        """A training."""
        size = min(batch_size, 8) if self.small else batch_size
        fed = {"dataset": self.dataset if "resnet" not in model else "synthetic", "device": self.device}
        return Cell.of("train", model=model, batch_size=size, **{**fed, **axes})


Found = tuple[bool | None, Mapping[str, Any]]


def clocks(asked: Asked) -> Found:
    """Events and the host's clock differ by less than 2% over a round of 20 ms, and events resolve microseconds."""
    steps, clock = asked.steps(), clock_of(asked.device)
    take = 20 if asked.small else 200
    timed_block(clock, steps.advance, 5)
    blocks = [timed_block(clock, steps.advance, take) for _ in range(10)]
    both = [block.host_seconds / block.seconds for block in blocks if block.host_seconds is not None]
    empty = min(clock(lambda: None).seconds for _ in range(20))
    told = {"ratio_median": median(both) if both else None, "ratios": both, "empty_block_seconds": empty}
    return (abs(median(both) - 1) < 0.02 if both else None), told


def launches(asked: Asked) -> Found:
    """A launch takes the host microseconds; CUPTI sees each, equally often in two steps, and a share of it is busy."""
    steps = asked.steps()
    batch = next(steps.batches)
    timed_block(clock_of(asked.device), steps.advance, 3)
    number = torch.ones(1, device=asked.device)
    begun = time.perf_counter()
    for _ in range(1000):
        number.add_(1)
    launch_seconds = (time.perf_counter() - begun) / 1000
    one, two = (count_launches(lambda: steps.step(*batch), asked.device) for _ in range(2))
    seconds = timed_block(clock_of(asked.device), steps.advance, 20).seconds / 20
    told = {"launch_seconds": launch_seconds, "step_seconds": seconds}
    if one is None or two is None:
        return (False if asked.on_gpu else None), told
    told |= {"kernels": [one.kernels, two.kernels], "busy_share": one.busy_seconds / seconds}
    return one.kernels == two.kernels and one.busy_seconds > 0, told


def peaks(asked: Asked) -> Found:
    """A peak is no less than what was held, is forgotten at the reset, and what is reserved is no less than it."""
    size = 4 * MIB if asked.small else 256 * MIB
    reset_device_peak(asked.device)
    held = torch.ones(size // 4, device=asked.device)
    high = device_peak(asked.device)
    del held
    reset_device_peak(asked.device)
    low = device_peak(asked.device)
    told = {"high": [high.allocated, high.reserved], "after_reset": [low.allocated, low.reserved], "held": size}
    if high.allocated is None or high.reserved is None or low.allocated is None:
        return (False if asked.on_gpu else None), told
    return high.allocated >= size and high.reserved >= high.allocated and low.allocated < size, told


def expandable(asked: Asked) -> Found:
    """With expandable segments peaks are still told, and nothing is reserved twice."""
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):  # the name from 2.9 on, and the one before
        os.environ[name] = "expandable_segments:True"
    holds, told = peaks(asked)
    return holds, told


def fragments(asked: Asked) -> Found:
    """Every second block is freed: what is reserved stays, and what is allocated falls."""
    count, size = (8, MIB) if asked.small else (256, 4 * MIB)
    blocks = [torch.ones(size // 4, device=asked.device) for _ in range(count)]
    kept = blocks[::2]
    del blocks
    told: dict[str, Any] = {"kept_bytes": len(kept) * size}
    if not asked.on_gpu:
        return None, told
    stats = torch.cuda.memory_stats()
    allocated, reserved = stats["allocated_bytes.all.current"], stats["reserved_bytes.all.current"]
    told |= {"allocated": allocated, "reserved": reserved, "requested": stats["requested_bytes.all.current"]}
    return reserved > allocated >= told["kept_bytes"], told


def nvml(asked: Asked) -> Found:
    """NVML's GPU is PyTorch's, by its UUID; this process holds memory on it, and what others hold is told."""
    held = torch.ones(MIB if asked.small else 64 * MIB, device=asked.device)
    gpu = open_gpu(asked.device)
    if gpu is None:
        return (False if asked.on_gpu and not torch.version.hip else None), {"state": None}
    with gpu:
        state = gpu.state()
    told = {name: getattr(state, name) for name in state.__dataclass_fields__}
    del held
    return state.sm_clock_mhz is not None and state.held_back_seconds is not None, told


def visible(asked: Asked) -> Found:
    """A process that is given the GPU by its UUID, as a scheduler does for MIG too, finds the same one in NVML."""
    if not asked.on_gpu:
        return None, {"given": os.environ.get("CUDA_VISIBLE_DEVICES")}
    import pynvml

    pynvml.nvmlInit()  # before CUDA: the variable is read when that begins
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    uuid = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or str(pynvml.nvmlDeviceGetUUID(handle))
    os.environ["CUDA_VISIBLE_DEVICES"] = uuid
    gpu = open_gpu(asked.device)
    count = torch.cuda.device_count()
    if gpu is not None:
        gpu.close()
    return gpu is not None and count == 1, {"kind_given": uuid.partition("-")[0], "devices": count}


def loaded_gpu(asked: Asked) -> Found:
    """Under a load of seconds clocks rise, and time that the GPU was held back is counted, not only looked at."""
    seconds = 0.2 if asked.small else 4.0
    matrix = torch.randn(256 if asked.small else 8192, 256 if asked.small else 8192, device=asked.device)
    states = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(5):
            matrix @ matrix
        if (gpu := open_gpu(asked.device)) is not None:
            with gpu:
                states.append(gpu.state())
        if asked.on_gpu:
            torch.cuda.synchronize()
    told: dict[str, Any] = {"looks": len(states)}
    if not states:
        return (False if asked.on_gpu and not torch.version.hip else None), told
    first, last = states[0], states[-1]
    held = {
        word: number - (first.held_back_seconds or {}).get(word, number)
        for word, number in (last.held_back_seconds or {}).items()
    }
    told |= {"sm_clock_mhz": [state.sm_clock_mhz for state in states][:: max(1, len(states) // 8)]}
    told |= {"reasons": sorted({reason for state in states for reason in state.throttle_reasons or ()})}
    told |= {"held_back_seconds": held, "power_watts": last.power_watts, "temperature": last.temperature_celsius}
    return None, told


def energy(asked: Asked) -> Found:
    """Ten windows of the same work draw the same, to 5%; the counter's mean power is what NVML tells at a look."""
    window = 0.05 if asked.small else SHORTEST_WINDOW.get(asked.device, 0.1) + 0.1
    steps = asked.steps("resnet18-cifar" if asked.on_gpu and not asked.small else "mlp", 256)
    watts = []
    for _ in range(2 if asked.small else 10):
        with EnergyMeter(asked.device) as meter:
            begun = time.perf_counter()
            while time.perf_counter() - begun < window:
                steps.advance()
        if meter.result is not None:
            watts.append(meter.result.watts)
    if len(watts) < 2:
        return None, {"watts": watts, "window_seconds": window}
    spread = stdev(watts) / fmean(watts)
    return spread < 0.05, {"watts": watts, "spread": spread, "window_seconds": window}


def after_profile(asked: Asked) -> Found:
    """A step before a profiler's session and after it: the reason why energy is measured before any."""
    steps, clock = asked.steps(), clock_of(asked.device)
    take = 10 if asked.small else 200
    timed_block(clock, steps.advance, take)
    before = min(timed_block(clock, steps.advance, take).seconds for _ in range(5))
    batch = next(steps.batches)
    count_launches(lambda: steps.step(*batch), asked.device)
    after = min(timed_block(clock, steps.advance, take).seconds for _ in range(5))
    return None, {"after_over_before": after / before}


def graphs(asked: Asked) -> Found:
    """Of CUDA graphs the second step is the slow one after the first, the third is replayed, and none is skipped."""
    mode = "reduce-overhead"
    cell = asked.cell(compile=mode)
    reset_compile_counts()
    steps, clock = asked.steps(compile=mode), clock_of(asked.device)
    wake_libraries(asked.device)
    seconds = [timed_block(clock, steps.advance, 1).waited_seconds for _ in range(6)]
    counts = compile_counts()
    told = {"first_steps_seconds": seconds, "counted_as_compiling": compiling_steps(cell)}
    told |= {"cudagraph_skips": None if counts is None else counts.cudagraph_skips}
    if not asked.on_gpu:
        return None, told
    return counts is not None and counts.cudagraph_skips == 0 and seconds[1] > 3 * median(seconds[3:]), told


def scaler(asked: Asked) -> Found:
    """In fp16 the scaler skips the first steps of a deep ResNet; steps are taken until the optimizer has its state."""
    model = "resnet20" if asked.small or not asked.on_gpu else "resnet152-cifar"
    steps = asked.steps(model, 64, precision="fp16")
    taken = take_until_settled(steps.advance, steps.parts)
    state = any(one.state for one in steps.parts.optimizers)  # type: ignore[union-attr]  # of a training
    return state, {"model": model, "steps_taken": taken}


def pinned(asked: Asked) -> Found:
    """A copy from pinned memory gives the host its time back; one from pageable memory keeps it."""
    elements = MIB if asked.small else 64 * MIB
    told = {}
    for name, source in (("pageable", torch.ones(elements)), ("pinned", torch.ones(elements))):
        if name == "pinned" and asked.on_gpu:
            source = source.pin_memory()  # noqa: PLW2901  # the same in other memory
        begun = time.perf_counter()
        copied = source.to(asked.device, non_blocking=True)
        told[f"{name}_host_seconds"] = time.perf_counter() - begun
        if asked.on_gpu:
            torch.cuda.synchronize()
        del copied
    return (told["pinned_host_seconds"] < told["pageable_host_seconds"] if asked.on_gpu else None), told


def timeline(asked: Asked) -> Found:
    """The memory of a step, event by event, peaks where the allocator says that it does."""
    steps = asked.steps("cnn")
    timed_block(clock_of(asked.device), steps.advance, 3)
    found = record_timeline(steps.advance, "check", asked.device)
    if found is None:
        return (False if asked.on_gpu else None), {}
    stats = torch.cuda.memory_stats()
    seen, peak = max(found.allocated_bytes), stats["requested_bytes.all.peak"]
    return seen <= peak and len(found.seconds) > 10, {"largest_seen": seen, "peak": peak, "events": len(found.seconds)}


def phases(asked: Asked) -> Found:
    """The phases by events add up to a step that is timed as a whole, to 25%."""
    steps, clock = asked.steps("cnn"), clock_of(asked.device)
    timed_block(clock, steps.advance, 5)
    step = timed_block(clock, steps.advance, 20).seconds / 20
    found = measure_phases(steps, asked.device, 10)
    told = {"step_seconds": step, "phases": found.seconds, "other_seconds": found.other_seconds}
    return (abs(math.log(found.step_seconds / step)) < math.log(1.25) if not asked.small else None), told


def arithmetic(asked: Asked) -> Found:
    """float32 products are exact to float32 in fp32 and coarser in tf32; convolutions too."""
    size = 256 if asked.small else 2048
    left, right = (torch.randn(size, size, device=asked.device) for _ in range(2))
    exact = left.double() @ right.double()
    errors = {}
    for name in ("fp32", "tf32"):
        precision.set_float32_arithmetic(name)
        errors[name] = float(((left @ right).double() - exact).abs().max() / exact.abs().max())
    precision.set_float32_arithmetic("fp32")
    if not asked.on_gpu:
        return None, {"errors": errors}
    modern = torch.version.hip or torch.cuda.get_device_capability() >= (8, 0)
    return errors["fp32"] < 1e-5 and (errors["tf32"] > 3 * errors["fp32"] or not modern), {"errors": errors}


def tried_out(asked: Asked) -> Found:
    """A convolution as cuDNN chooses it, and the quickest of all that it tries."""
    clock, seconds, switches = clock_of(asked.device), {}, {}
    for said in ("off", "on"):
        steps = asked.steps("cnn", 256, cudnn_benchmark=said)
        timed_block(clock, steps.advance, 5)
        seconds[said] = timed_block(clock, steps.advance, 10).seconds / 10
        switches[said] = torch.backends.cudnn.benchmark
    return switches == {"off": False, "on": True}, {"step_seconds": seconds}


def profiled(asked: Asked) -> Found:
    """A profile has kernels with times of the device, of which no more is busy than the step takes."""
    cell, steps = asked.cell("cnn"), asked.steps("cnn")
    timed_block(clock_of(asked.device), steps.advance, 3)
    found = measure_profile(steps.advance, cell, 2)
    kernels = [row for row in found.operators if row.kind == "kernel"]
    seconds = sum(row.self_seconds_per_step for row in kernels)
    told = {"rows": len(found.operators), "kernels": len(kernels), "kernel_seconds": seconds}
    return (bool(kernels) and 0 < seconds <= found.step_seconds if asked.on_gpu else None), told


def forked(asked: Asked) -> Found:
    """This very process was forked from a server with no CUDA in it, and could begin it."""
    was = torch.cuda.is_initialized()
    torch.ones(1, device=asked.device)
    return not was, {"initialized_at_first": was, "initialized_now": torch.cuda.is_initialized()}


def too_large(asked: Asked) -> Found:
    """More memory than there is ends as out of memory, in PyTorch's allocator as in cuDNN's: raises on purpose."""
    torch.empty(2**50, device=asked.device)
    return False, {"allocated": 2**50}


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        look: Does it.
        seconds: That it takes on a GPU, its process included: estimated.
        status: How its process ends, where all is as it should be.
        first: Whether all numbers rest on it.
    """

    look: Callable[[Asked], Found]
    seconds: float
    status: str = "ok"
    first: bool = False


CHECKS = {
    "clocks": Check(clocks, 6, first=True),
    "launches": Check(launches, 5, first=True),
    "peaks": Check(peaks, 4, first=True),
    "nvml": Check(nvml, 4, first=True),
    "energy": Check(energy, 26, first=True),
    "loaded_gpu": Check(loaded_gpu, 8, first=True),
    "after_profile": Check(after_profile, 5, first=True),
    "forked": Check(forked, 3, first=True),
    "too_large": Check(too_large, 3, "oom"),
    "phases": Check(phases, 5),
    "graphs": Check(graphs, 40),
    "arithmetic": Check(arithmetic, 4),
    "scaler": Check(scaler, 8),
    "timeline": Check(timeline, 5),
    "profiled": Check(profiled, 8),
    "tried_out": Check(tried_out, 6),
    "pinned": Check(pinned, 4),
    "expandable": Check(expandable, 4),
    "fragments": Check(fragments, 4),
    "visible": Check(visible, 4),
}


def run_check(name: str, device: str, small: bool, dataset: str, _report: Report, scratch: Path) -> dict[str, Any]:
    """What a check saw, in plain values, with ``holds``; called in a process of its own."""
    holds, told = CHECKS[name].look(Asked(device, small, dataset, scratch))
    return {"holds": holds, **told}
