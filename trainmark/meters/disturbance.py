"""What else the machine did while a cell was timed."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from trainmark.meters.nvml import GpuState, open_gpu

# Shares of the timed window above which a cell counts as disturbed: docs/measuring.md, "Disturbance".
WAITING_LIMIT = 0.05
STEAL_LIMIT = 0.02
HELD_BACK_LIMIT = 0.02  # of a GPU: as for steal; no GPU has been seen yet
PASSING = "power cap"  # a reason that a busy GPU shows now and then: a single look at it says little

T = TypeVar("T", int, float)

CGROUP_STATS = (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat"))


@dataclass(frozen=True)
class Disturbance:
    """Counters over a timed window; None where the system does not tell.

    Attributes:
        waiting_share: Time that threads of this process were ready and had no core, over the window.
        steal_share: Time that the hypervisor gave to others, over the cores' time.
        involuntary_switches: Times that a thread of this process was taken off its core.
        throttled_periods: Scheduler periods in which a CPU quota stopped this control group.
        thermal_events: Times that a core was slowed for its temperature.
        load_before: Runnable threads on the machine, mean of the minute before.
        gpu_throttled: 1 where the GPU was held back for more than HELD_BACK_LIMIT of the window; where it counts no
            such time, where a look before or after shows a reason, and both looks where that is its power cap; else 0.
        gpu_throttle_reasons_before: Why it was, in words with commas between; empty where nothing held it back.
        gpu_throttle_reasons_after: Likewise.
        gpu_held_back_share: Time that the reason which held it back longest did so, over the window.
        gpu_other_memory_bytes: That other processes hold on the GPU.
        gpu_power_watts_before: Drawn by the whole board.
        gpu_power_watts_after: Likewise.
        gpu_temperature_celsius_before: Of the GPU.
        gpu_temperature_celsius_after: Likewise.
        gpu_sm_clock_mhz_before: Of its multiprocessors.
        gpu_sm_clock_mhz_after: Likewise.
        gpu_memory_clock_mhz_before: Of its memory.
        gpu_memory_clock_mhz_after: Likewise.
    """

    waiting_share: float | None
    steal_share: float | None
    involuntary_switches: int | None
    throttled_periods: int | None
    thermal_events: int | None
    load_before: float | None
    gpu_throttled: int | None = None
    gpu_throttle_reasons_before: str | None = None
    gpu_throttle_reasons_after: str | None = None
    gpu_held_back_share: float | None = None
    gpu_other_memory_bytes: int | None = None
    gpu_power_watts_before: float | None = None
    gpu_power_watts_after: float | None = None
    gpu_temperature_celsius_before: float | None = None
    gpu_temperature_celsius_after: float | None = None
    gpu_sm_clock_mhz_before: float | None = None
    gpu_sm_clock_mhz_after: float | None = None
    gpu_memory_clock_mhz_before: float | None = None
    gpu_memory_clock_mhz_after: float | None = None

    @property
    def disturbed(self) -> bool:
        """Whether the times of this window are not to be trusted to a few percent."""
        return (
            (self.waiting_share or 0) > WAITING_LIMIT
            or (self.steal_share or 0) > STEAL_LIMIT
            or (self.throttled_periods or 0) > 0
            or (self.thermal_events or 0) > 0
        )

    @property
    def flags(self) -> tuple[str, ...]:
        """What a record of this window warns of."""
        raised = {
            "disturbed": self.disturbed,
            "throttled": bool(self.gpu_throttled),
            "shared-gpu": bool(self.gpu_other_memory_bytes),
        }
        return tuple(name for name, is_raised in raised.items() if is_raised)

    def to_json(self) -> dict[str, float | int | str | None]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class _Counters:
    clock: float
    waiting: float | None
    steal: tuple[float, float] | None
    switches: int | None
    throttled: int | None
    thermal: int | None


class DisturbanceMeter:
    """A context manager: ``result`` holds the Disturbance of the block once it has ended.

    Args:
        device: Whose GPU is looked at, where it is one that NVML knows.
    """

    result: Disturbance | None = None

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def __enter__(self) -> DisturbanceMeter:
        self._gpu_before = _gpu_state(self._device)
        self._load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._before = _read_counters()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before, after = self._before, _read_counters()
        window = max(after.clock - before.clock, 1e-9)
        steal = None
        if before.steal is not None and after.steal is not None:
            total = after.steal[1] - before.steal[1]
            steal = (after.steal[0] - before.steal[0]) / total if total > 0 else None  # no tick has passed
        waiting = _difference(before.waiting, after.waiting)
        self.result = Disturbance(
            waiting_share=None if waiting is None else max(waiting, 0.0) / window,  # ended threads took theirs along
            steal_share=steal,
            involuntary_switches=_difference(before.switches, after.switches),
            throttled_periods=_difference(before.throttled, after.throttled),
            thermal_events=_difference(before.thermal, after.thermal),
            load_before=self._load,
            **_gpu_facts(self._gpu_before, _gpu_state(self._device), window),
        )


def _gpu_state(device: str) -> GpuState | None:
    gpu = open_gpu(device)
    if gpu is None:
        return None
    with gpu:
        return gpu.state()


def _gpu_facts(before: GpuState | None, after: GpuState | None, window: float) -> dict[str, Any]:
    if before is None or after is None:
        return {}
    others = [state.other_memory_bytes for state in (before, after) if state.other_memory_bytes is not None]
    held_back = _held_back_share(before, after, window)
    facts: dict[str, Any] = {
        "gpu_throttled": _throttled(before, after) if held_back is None else int(held_back > HELD_BACK_LIMIT),
        "gpu_held_back_share": held_back,
        "gpu_other_memory_bytes": max(others, default=None),
    }
    for moment, state in (("before", before), ("after", after)):
        words = state.throttle_reasons
        facts[f"gpu_throttle_reasons_{moment}"] = None if words is None else ", ".join(words)
        for name in ("power_watts", "temperature_celsius", "sm_clock_mhz", "memory_clock_mhz"):
            facts[f"gpu_{name}_{moment}"] = getattr(state, name)
    return facts


def _throttled(before: GpuState, after: GpuState) -> int | None:
    """By the reasons at two moments, of a GPU that counts no time."""
    looks = [state.throttle_reasons for state in (before, after) if state.throttle_reasons is not None]
    if not looks:
        return None
    seen = {reason for look in looks for reason in look}
    always = all(PASSING in look for look in looks)
    return int(bool(seen - {PASSING}) or always)


def _held_back_share(before: GpuState, after: GpuState, window: float) -> float | None:
    if before.held_back_seconds is None or after.held_back_seconds is None:
        return None
    longest = [
        seconds - before.held_back_seconds[word]
        for word, seconds in after.held_back_seconds.items()
        if word in before.held_back_seconds
    ]
    return max(longest) / window if longest else None


def _difference(before: T | None, after: T | None) -> T | None:
    return None if before is None or after is None else after - before


def _read_counters() -> _Counters:
    return _Counters(
        clock=time.perf_counter(),
        waiting=_waiting_seconds(),
        steal=_steal_and_total(),
        switches=_involuntary_switches(),
        throttled=_throttled_periods(),
        thermal=_thermal_events(),
    )


def _waiting_seconds() -> float | None:
    """Seconds that the threads of this process have been ready without a core."""
    run = total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            ran, waited, _ = path.read_text().split()
        except (FileNotFoundError, ProcessLookupError):  # a thread that ended since the listing
            continue
        run += int(ran)
        total += int(waited)
    return total / 1e9 if run else None  # a kernel that keeps no statistics writes zeros


def _steal_and_total() -> tuple[float, float] | None:
    """Stolen time and all time of all cores, in the kernel's ticks."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    ticks = [float(number) for number in path.read_text().split("\n", 1)[0].split()[1:9]]
    return (ticks[7], sum(ticks)) if len(ticks) == 8 else None  # user … softirq, steal


def _involuntary_switches() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no getrusage
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _throttled_periods() -> int | None:
    for path in CGROUP_STATS:
        if path.exists():
            for line in path.read_text().splitlines():
                if line.startswith("nr_throttled "):
                    return int(line.split()[1])
    return None


def _thermal_events() -> int | None:
    counts = [
        int(path.read_text())
        for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    ]
    return sum(counts) if counts else None
