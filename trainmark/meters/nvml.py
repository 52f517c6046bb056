"""The state of the GPU that PyTorch uses, as NVIDIA's management library (NVML) tells it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

# Bits of nvml.h, called nvmlClocksEventReason… and before that nvmlClocksThrottleReason….
SETTINGS = 0x001 | 0x002 | 0x100  # idle, clocks set by the user, clocks set for a display: nothing holds the GPU back
THROTTLE_WORDS = {
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "thermal",
    0x040: "thermal",
    0x080: "power brake",
    0x200: "board limit",
    0x400: "reliability",
}

# Field numbers of nvml.h: how long each of these has held the GPU back, in nanoseconds since the driver was loaded.
HELD_BACK_WORDS = {
    74: "power cap",
    75: "thermal",
    76: "sync boost",
    77: "board limit",
    79: "reliability",
    269: "thermal",  # by software, and below by hardware: newer drivers tell them apart
    270: "thermal",
    271: "power brake",
}


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment; None where NVML does not tell.

    Attributes:
        power_watts: Drawn by the whole board; from Ampere on the mean of the last second.
        sm_clock_mhz: Of the multiprocessors.
        memory_clock_mhz: Of the memory.
        temperature_celsius: Of the chip.
        throttle_reasons: Why the clocks are lower than they could be; empty where nothing holds them back.
        other_memory_bytes: That other processes hold on the GPU. None too where this process is not
            on NVML's list: it has not computed yet, or it is in a container, whose process numbers
            are not those that NVML knows.
        energy_joules: Counter since the driver was loaded; it moves every 20 to 100 ms.
        held_back_seconds: Word of a reason -> how long it has held the clocks back, likewise counted. It
            tells what happened between two looks, when ``throttle_reasons`` may have come and gone.
    """

    power_watts: float | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_celsius: int | None
    throttle_reasons: tuple[str, ...] | None
    other_memory_bytes: int | None
    energy_joules: float | None
    held_back_seconds: Mapping[str, float] | None


class Gpu:
    """A GPU that can be asked; a context manager, which lets NVML go at its end.

    A MIG instance is a part of a GPU: clocks, temperature and reasons are those of the whole GPU;
    power and energy, which it shares with other instances, are None.

    Args:
        library: The module ``pynvml``, initialised.
        board: NVML's handle of the whole GPU.
        part: Its handle of what PyTorch computes on: the board, a MIG instance of it, or None where
            NVML does not tell which instance that is.
    """

    def __init__(self, library: Any, board: Any, part: Any | None) -> None:
        self._nvml = library
        self._board = board
        self._part = part

    def __enter__(self) -> Gpu:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets NVML go; it counts who has asked for it."""
        self._nvml.nvmlShutdown()

    def state(self) -> GpuState:
        """Everything at this moment."""
        nvml, board = self._nvml, self._board
        temperature = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
        reasons = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        bits = _ask(nvml, reasons, board)
        return GpuState(
            power_watts=self._thousandths("nvmlDeviceGetPowerUsage"),
            sm_clock_mhz=_ask(nvml, ("nvmlDeviceGetClockInfo",), board, nvml.NVML_CLOCK_SM),
            memory_clock_mhz=_ask(nvml, ("nvmlDeviceGetClockInfo",), board, nvml.NVML_CLOCK_MEM),
            temperature_celsius=_ask(nvml, temperature, board, nvml.NVML_TEMPERATURE_GPU),
            throttle_reasons=None if bits is None else throttle_words(bits),
            other_memory_bytes=self._other_memory_bytes(),
            energy_joules=self.energy_joules(),
            held_back_seconds=self._held_back_seconds(),
        )

    def energy_joules(self) -> float | None:
        """The energy counter alone; GPUs before Volta have none."""
        return self._thousandths("nvmlDeviceGetTotalEnergyConsumption")

    def _thousandths(self, spelling: str) -> float | None:
        """A number of the whole board that NVML tells in mW or mJ; None where others share the board."""
        if self._part is not self._board:
            return None
        number = _ask(self._nvml, (spelling,), self._board)
        return None if number is None else number / 1e3

    def _held_back_seconds(self) -> dict[str, float] | None:
        fields = _ask(self._nvml, ("nvmlDeviceGetFieldValues",), self._board, list(HELD_BACK_WORDS))
        found: dict[str, float] = {}
        for field in fields or ():
            if field.nvmlReturn == self._nvml.NVML_SUCCESS:  # each has an answer of its own
                word = HELD_BACK_WORDS[field.fieldId]
                found[word] = max(found.get(word, 0.0), field.value.ullVal / 1e9)
        return found or None

    def _other_memory_bytes(self) -> int | None:
        if self._part is None:
            return None
        spellings = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2")
        processes = _ask(self._nvml, spellings, self._part)
        if processes is None or os.getpid() not in [process.pid for process in processes]:
            return None
        held = [process.usedGpuMemory for process in processes if process.pid != os.getpid()]
        return None if None in held else sum(held)  # Windows does not tell who holds how much


def open_gpu(device: str) -> Gpu | None:
    """The GPU behind a device of PyTorch, found by its UUID; None where there is no NVML that knows it.

    An index would not do: ``CUDA_VISIBLE_DEVICES`` gives PyTorch other numbers than NVML has.

    Args:
        device: ``"cuda"`` for the current one, or ``"cuda:1"``.
    """
    wanted = torch.device(device)
    if wanted.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # a container may hide NVML though CUDA works
        return None
    index = torch.cuda.current_device() if wanted.index is None else wanted.index
    gpu = _find(pynvml, str(torch.cuda.get_device_properties(index).uuid))
    if gpu is None:
        pynvml.nvmlShutdown()
    return gpu


def throttle_words(bits: int) -> tuple[str, ...]:
    """The reasons in a bit mask, each once; bits of a later NVML are told by their number."""
    words = [word for bit, word in THROTTLE_WORDS.items() if bits & bit]
    unknown = bits & ~SETTINGS & ~sum(THROTTLE_WORDS)
    if unknown:
        words.append(f"reason {unknown:#x}")
    return tuple(dict.fromkeys(words))


def _find(nvml: Any, uuid: str) -> Gpu | None:
    """The GPU, or the MIG instance of one, with the UUID that PyTorch gives without its kind."""
    by_uuid = ("nvmlDeviceGetHandleByUUID",)
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    board = _ask(nvml, by_uuid, f"GPU-{bare}")
    if board is not None:
        mode = _ask(nvml, ("nvmlDeviceGetMigMode",), board)  # [now, after the next reset]; None before Ampere
        divided = mode is not None and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE
        return Gpu(nvml, board, None if divided else board)
    instance = _ask(nvml, by_uuid, f"MIG-{bare}")
    if instance is None:
        return None
    board = _ask(nvml, ("nvmlDeviceGetDeviceHandleFromMigDeviceHandle",), instance)
    return None if board is None else Gpu(nvml, board, instance)


def _ask(nvml: Any, spellings: Sequence[str], *arguments: Any) -> Any:
    """NVML's answer by the first of these functions that gives one; None where none does.

    The package may be too old or too new for a spelling, the driver too old, the GPU without such
    a fact, the user without the right to it: each is the same to a meter.
    """
    for name in spellings:
        function = getattr(nvml, name, None)
        if function is not None:
            with contextlib.suppress(nvml.NVMLError):
                return function(*arguments)
    return None
