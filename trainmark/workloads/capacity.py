"""Capacity: the largest batch that can be trained, by doubling, then by bisection, each attempt in a new process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainmark.store.cell import Cell
from trainmark.store.folders import without_folders
from trainmark.store.parameters import Value
from trainmark.store.record import Record
from trainmark.workloads.stepping import ModelWorkload

if TYPE_CHECKING:
    from trainmark.measure.context import Context
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Settings
    from trainmark.measure.worker import Outcome
    from trainmark.page.tables import Detail
    from trainmark.workloads.planning import PlannedCell, Request

CAPACITY_SECONDS = 44.0  # of twenty attempts, without what their processes take; nobody knows how large they get
ATTEMPTS = 20
LARGEST = 2**20  # a batch that no model here is trained with
BOUNDED = "search-bounded"  # flag of a search that something else than memory has ended
RESOLUTION = 64  # the answer is exact to one part in so many


@dataclass(frozen=True, kw_only=True)
class Capacity(ModelWorkload):
    """The largest batch of a training."""

    def choices(self, model: str, device: str, request: Request, machine: Machine) -> Mapping[str, Sequence[Value]]:
        """Full precision and bf16."""
        precisions = machine.precisions.get(device, ("fp32",))
        return {
            "dataset": (machine.models[model].dataset,),
            "precision": [name for name in precisions if name in ("fp32", "bf16")],
        }

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """A guess: see CAPACITY_SECONDS."""
        return CAPACITY_SECONDS + ATTEMPTS * self.overhead_seconds(planned.cell)

    def measure(self, cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
        """The record of the largest batch that worked, with what bounds it where that is not memory.

        Where no batch has worked before an attempt ends otherwise than for memory, that is what the record says.
        """
        on_device = cell["device"] in ("cuda", "xpu")
        limit = context.limits.memory_bytes
        peaks: dict[int, int | None] = {}
        attempts: list[Outcome] = []
        worked: set[int] = set()
        bounds: dict[int, Outcome] = {}  # sizes that ended otherwise, and how

        def fits(batch_size: int) -> bool:
            attempt = Cell.of("train", **(cell.settings | {"batch_size": batch_size}))
            attempts.append(context.call("trainmark.measure.protocol:try_batch", attempt, settings))
            if attempts[-1].status not in ("ok", "oom"):
                if not worked:
                    raise _EndedOtherwise
                bounds[batch_size] = attempts[-1]
                if attempts[-1].status == "timeout":
                    raise _TimeIsUp
                return False
            peaks[batch_size] = peak = attempts[-1].value
            unseen = limit and not on_device and peak and peak > limit  # a peak between two looks at the memory
            if attempts[-1].status == "ok" and not unseen:
                worked.add(batch_size)
            return batch_size in worked

        first = 1
        try:
            try:
                largest = largest_that_fits(fits)
            except _EndedOtherwise:
                if len(attempts) > 1 or attempts[0].status != "error":
                    raise
                first = 2  # some models cannot be trained on one sample: what normalises over the batch
                largest = largest_that_fits(fits, first)
        except _EndedOtherwise:
            return context.record(cell, settings, attempts[-1])
        except _TimeIsUp:
            largest = max(worked)
        if not largest:
            samples = "a single sample takes" if first == 1 else "two samples take"
            reason = attempts[-1].reason or f"{samples} {peaks[first]} bytes, more than --memory-limit"
            failed = replace(attempts[-1], status="oom", value=None, reason=reason, log="")
            return context.record(cell, settings, failed)
        metrics = {
            "max_batch_size": largest,
            "device_allocated_bytes" if on_device else "peak_memory_bytes": peaks[largest],
        }
        told = {"threads": settings.threads, "seed": settings.seed, "memory_limit_bytes": limit}
        rounds = tuple(attempt.seconds for attempt in attempts)
        bound = _bound(largest, worked, peaks, bounds)
        flags = () if bound is None else (BOUNDED,)
        return Record(cell, "ok", bound, metrics, rounds, settings=told, flags=flags), attempts[-1].log

    def line(self, record: Record) -> str:
        """The largest batch, and in how many attempts it was found."""
        least = "at least " * (BOUNDED in record.flags)
        return f"fits {least}{record.metrics['max_batch_size']} samples  {len(record.rounds)} attempts"

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """The largest batches."""
        from trainmark.page.tables import Detail, capacity_table

        meaning = "The largest batch that can be trained, exact to one part in 64."
        yield Detail("Largest batch", meaning, capacity_table(records), whole=True)


CAPACITY = Capacity(
    name="capacity",
    parameters=("model", "dataset", "device", "precision", "compile", "memory_format", "checkpointing", "optimizer"),
    meaning="the largest batch that can be trained",
    round_unit="attempt",
    place=50,
    option="--find-max-batch",
    option_help="look for the largest batch that can be trained, and for nothing else",
)


class _EndedOtherwise(Exception):
    """An attempt to train a batch ended neither well nor for want of memory, before any had worked."""


class _TimeIsUp(Exception):
    """An attempt was not done in the time of its cell: no other one can be."""


def _bound(largest: int, worked: set[int], tried: Iterable[int], bounds: Mapping[int, Outcome]) -> str | None:
    """What ended a search, unless a larger batch did not fit: a sentence."""
    larger = min((size for size in {*tried, *bounds} - worked if size > largest), default=None)
    if larger is None:
        return f"the search ends at {largest} samples, and all fitted: larger batches were not tried"
    if larger in bounds:
        return f"a batch of {larger} ended otherwise than for memory: {without_folders(bounds[larger].reason or '')}"
    return None


def largest_that_fits(fits: Callable[[int], bool], first: int = 1, largest: int = LARGEST) -> int:
    """The largest number for which ``fits`` is true, to one part in RESOLUTION; 0 where none is.

    Args:
        fits: Whether a number fits; once one does not, no larger one does.
        first: The smallest that is tried, where the doubling begins.
        largest: Where it ends.
    """
    low, high = first - 1, first
    while high <= largest and fits(high):
        low, high = high, 2 * high
    if low < first:
        return 0
    if high > largest:
        return low
    while high - low > max(1, low // RESOLUTION):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
