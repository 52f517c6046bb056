"""The energy that a device draws over a window, from counters of the hardware."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from trainmark.meters.nvml import Gpu, open_gpu

POWERCAP = Path("/sys/class/powercap")
SHORTEST_WINDOW = {
    "cuda": 2.0,  # seconds: NVML's counter moves every 20 to 100 ms, which is 5% of this
    "cpu": 0.1,  # seconds: RAPL's moves every millisecond
}

CHUNK_SECONDS = 0.1  # of steps between two waits for the device: rare, so that it is not kept from work

# Name of a counter -> joules that it shows, and joules at which it begins anew.
Reading = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Energy:
    """What was drawn over a window.

    Attributes:
        joules: Of the whole GPU, or of all CPU packages.
        seconds: How long the window was.
    """

    joules: float
    seconds: float

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


class EnergyMeter:
    """A context manager: ``result`` holds the Energy of the block once it has ended.

    It waits for the device before it reads, at both ends. ``result`` is None where there is no
    counter or it may not be read, and where the window is shorter than SHORTEST_WINDOW.

    What is counted is the hardware, not the process: of a GPU the whole board, of a CPU all its
    packages, with every other program that ran on them and without the memory modules.

    Args:
        device: ``cuda`` reads NVML, ``cpu`` reads RAPL; others have no counter.
    """

    result: Energy | None = None

    def __init__(self, device: str) -> None:
        self._kind = torch.device(device).type
        self._device = device
        self._gpu: Gpu | None = None
        self._before: Reading | None = None

    def __enter__(self) -> EnergyMeter:
        self.result = None
        self._gpu = open_gpu(self._device)
        self._before = self._read()
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            after = None if error else self._read()
            seconds = time.perf_counter() - self._begun
        finally:
            if self._gpu is not None:
                self._gpu.close()
        joules = _spent(self._before, after)
        if joules is not None and seconds >= SHORTEST_WINDOW[self._kind]:
            self.result = Energy(joules, seconds)

    @property
    def can_measure(self) -> bool:
        """Whether there was something to read at the beginning of the block."""
        return self._before is not None

    def _read(self) -> Reading | None:
        if self._kind == "cpu":
            return _read_rapl()
        if self._gpu is None:
            return None
        _synchronise(self._device)
        joules = self._gpu.energy_joules()
        return None if joules is None else {"gpu": (joules, math.inf)}


def measure_idle_power(device: str, seconds: float = 2.0) -> float | None:
    """Watts while this process does nothing; None where there is no counter to read.

    A GPU keeps higher clocks for some seconds after work, and for as long as a process has a
    context on it: this is what the device draws between two steps, not on an unused machine.

    Args:
        device: See :class:`EnergyMeter`.
        seconds: How long to wait.
    """
    with EnergyMeter(device) as meter:
        if meter.can_measure:
            time.sleep(seconds)
    return meter.result.watts if meter.result else None


def measure_energy(
    advance: Callable[[], Tensor], device: str, samples_per_step: int, window_seconds: float = 2.0
) -> dict[str, float | None]:
    """Runs steps for at least the window and gives what they drew.

    Where there is no counter to read all is None, at once: no step is run.

    Args:
        advance: Takes a step.
        device: See :class:`EnergyMeter`.
        samples_per_step: Samples of a batch.
        window_seconds: For the steps, and as long again without them for the idle power.
    """
    idle_watts = measure_idle_power(device, window_seconds)
    steps = 0
    with EnergyMeter(device) as meter:
        if meter.can_measure:
            steps = _advance_for(window_seconds, advance, device)
    energy = meter.result
    joules = energy.joules / steps if energy and steps else None
    return {
        "energy_joules_per_step": joules,
        "energy_joules_per_sample": None if joules is None else joules / samples_per_step,
        "power_watts": energy.watts if energy else None,
        "idle_power_watts": idle_watts,
    }


def _advance_for(seconds: float, advance: Callable[[], Tensor], device: str) -> int:
    """Takes steps for that long, and gives their number; the device is never far behind the host."""
    begun = time.perf_counter()
    steps, chunk = 0, 1
    while (start := time.perf_counter()) - begun < seconds:
        for _ in range(chunk):
            advance()
        _synchronise(device)
        steps += chunk
        if time.perf_counter() - start < CHUNK_SECONDS:
            chunk *= 2
    return steps


def _synchronise(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _read_rapl() -> Reading | None:
    """The counters of all CPU packages; None where one is missing, or for root alone."""
    found = {}
    for zone in sorted(POWERCAP.glob("intel-rapl:*")):  # of AMD too; packages, and parts of packages
        try:
            name = (zone / "name").read_text().strip()
            if name.startswith("package-"):
                microjoules, limit = (int((zone / part).read_text()) for part in ("energy_uj", "max_energy_range_uj"))
                found[zone.name] = (microjoules / 1e6, limit / 1e6)
        except OSError:  # a sum without this package would be taken for the whole
            return None
    return found or None


def _spent(before: Reading | None, after: Reading | None) -> float | None:
    """Joules between two readings; a counter that shows less than before has begun anew once."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    total = 0.0
    for name, (start, limit) in before.items():
        end = after[name][0]
        total += end - start if end >= start else end - start + limit
    return total if math.isfinite(total) else None  # NVML's never wraps: its driver was loaded anew
