"""Peak memory of this process and of its device."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def peak_memory_bytes() -> int | None:
    """Largest resident memory that this process has had.

    On Linux from the kernel's high-water mark of this very process; a forked child begins with
    the pages that it shares with its parent. Elsewhere from getrusage.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None  # a kernel that keeps no such mark
    try:
        import resource
    except ImportError:  # Windows has no getrusage
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class DeviceMemory:
    """Peaks since the reset, in bytes; None where the device does not tell.

    Attributes:
        allocated: Live tensors.
        reserved: What the allocator held.
    """

    allocated: int | None
    reserved: int | None


def reset_device_peak(device: str) -> None:
    """Starts the device's peak anew; nothing on a CPU and on devices that keep none."""
    if device in ("cuda", "xpu"):
        torch.empty(0, device=device)  # the allocator has to be there before it can forget
        torch.accelerator.reset_peak_memory_stats()


def device_peak(device: str) -> DeviceMemory:
    """The device's peaks since :func:`reset_device_peak`."""
    if device in ("cuda", "xpu"):
        return DeviceMemory(torch.accelerator.max_memory_allocated(), torch.accelerator.max_memory_reserved())
    return DeviceMemory(None, None)
