"""How a CUDA device's memory rises and falls within a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trainmark.store.profiles import MemoryTimeline

EVENTS = 200_000  # kept by the allocator's recorder: a step of ResNet-152 has some ten thousand
CHANGES = {"alloc": 1, "free_completed": -1}  # of live memory; the allocator's own segments are left out


def record_timeline(step: Callable[[], object], key: str, device: str) -> MemoryTimeline | None:
    """The memory of live tensors at each allocation and release of one step; None on other devices.

    The recorder is private to PyTorch and the documented way to such a picture; it is asked for no
    stacks, so nothing of it names a file.
    """
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    begun_bytes = torch.cuda.memory_stats()["requested_bytes.all.current"]  # as the events count: not rounded up
    torch.cuda.memory._record_memory_history("all", context=None, stacks="python", max_entries=EVENTS)
    try:
        step()
        torch.cuda.synchronize()
        snapshot: dict[str, Any] = torch.cuda.memory._snapshot()
    finally:
        torch.cuda.memory._record_memory_history(None)
    return timeline(snapshot["device_traces"][torch.cuda.current_device()], key, begun_bytes)


def timeline(events: list[dict[str, Any]], key: str, begun_bytes: int) -> MemoryTimeline:
    """The timeline of a recorder's events.

    Args:
        events: With ``action``, ``size`` in bytes and ``time_us``, in their order.
        key: Join key of the cell.
        begun_bytes: Live memory before the first event.
    """
    changes = [event for event in events if event["action"] in CHANGES]
    start = changes[0]["time_us"] if changes else 0
    live = begun_bytes
    seconds, sizes = [0.0], [begun_bytes]
    for event in changes:
        live += CHANGES[event["action"]] * event["size"]
        seconds.append((event["time_us"] - start) / 1e6)
        sizes.append(live)
    return MemoryTimeline(key, tuple(seconds), tuple(sizes))
