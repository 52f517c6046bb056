"""The clock of a device: how long a block of steps took, by the host and by the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Block:
    """How long a block of steps took.

    Attributes:
        seconds: By the primary clock.
        host_seconds: By the synchronised host clock, where the primary is the device's; else None.
    """

    seconds: float
    host_seconds: float | None

    @property
    def waited_seconds(self) -> float:
        """How long the host waited until the block was done."""
        return self.seconds if self.host_seconds is None else self.host_seconds


Clock = Callable[[Callable[[], None]], Block]


def host_clock(work: Callable[[], None]) -> Block:
    """Times work that is done when the call returns, as on a CPU."""
    start = time.perf_counter()
    work()
    return Block(time.perf_counter() - start, None)


def synchronised_clock(work: Callable[[], None]) -> Block:
    """Times work that an accelerator may still be doing when the call returns."""
    torch.accelerator.synchronize()
    start = time.perf_counter()
    work()
    torch.accelerator.synchronize()
    return Block(time.perf_counter() - start, None)


def event_clock(work: Callable[[], None]) -> Block:
    """Times work on a CUDA stream by two events on it, and by the host around both.

    Events resolve 0.5 microseconds; the host clock adds the time to wait for the device.
    """
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start = time.perf_counter()
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    host_seconds = time.perf_counter() - start
    return Block(begin.elapsed_time(end) / 1e3, host_seconds)


def clock_of(device: str) -> Clock:
    """The clock for cells on that device."""
    return {"cpu": host_clock, "cuda": event_clock}.get(device, synchronised_clock)
