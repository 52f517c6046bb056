"""The terminal's table: the columns in which each workload says its numbers, under one header."""

from __future__ import annotations

from trainmark import formatting
from trainmark.store.record import Record

NAME_WIDTH = 44
TITLES = ("time", "± 95%", "per s", "memory", "accuracy")


def header() -> str:
    """The titles of the columns, with what stands behind them."""
    return f"{'benchmark':{NAME_WIDTH}} {_aligned(*TITLES)}  [done/all, time left]"


def columns(
    *, time: str, spread: str = "", rate: str = "", memory: str = "", accuracy: str = "", more: str = ""
) -> str:
    """Numbers of a benchmark under their titles; blank where there is none.

    Args:
        time: Of a step, a fit or a training, with its unit.
        spread: Half of its interval, as ``± 1.2%``.
        rate: Throughput, as ``33.7 k/s``.
        memory: The most that it held.
        accuracy: On held-out data.
        more: What has no column.
    """
    return (
        f"{_aligned(time, spread, rate, memory, accuracy)}  {more}"
        if more
        else _aligned(time, spread, rate, memory, accuracy).rstrip()
    )


def _aligned(time: str, spread: str, rate: str, memory: str, accuracy: str) -> str:
    return f"{time:>7} {spread:7} {rate:>8}  {memory:>7}  {accuracy:>8}"


def memory_of(record: Record) -> str:
    """The most that the device held where it tells, else the process; empty where neither is known."""
    found = record.metrics.get("device_allocated_bytes") or record.metrics.get("peak_memory_bytes")
    return formatting.prefixed(found, "B") if found else ""
