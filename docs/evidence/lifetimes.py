"""What does it cost to let go of a batch and its loss at the end of each step? A loop's variables hold them longer.

    python docs/evidence/lifetimes.py [PROCESSES]

Prints the step time and the page faults a step of the lecture's CNN; docs/measuring.md quotes it.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from trainmark.measure.allocator import keep_freed_memory
from trainmark.measure.settings import Settings
from trainmark.measure.steps import prepare
from trainmark.measure.worker import Workers
from trainmark.store.cell import Cell

WAYS = ("nothing", "loss", "batch", "both", "all memory")
WARM_STEPS, STEPS = 10, 35


def time_steps(kept: str, report: Callable[[str], None], scratch: Path) -> tuple[float, float]:
    """Median seconds of a step, and page faults a step, with so much kept until the next step has replaced it."""
    if kept == "all memory":
        keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps = prepare(Cell.of("train", model="cnn"), Settings(), scratch)
    batch = loss = None
    seconds = []
    for number in range(WARM_STEPS + STEPS):
        if number == WARM_STEPS:
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        begin = time.perf_counter()
        if kept in ("nothing", "all memory"):
            steps.step(*next(steps.batches))
        elif kept == "loss":
            loss = steps.step(*next(steps.batches))
        elif kept == "batch":
            batch = next(steps.batches)
            steps.step(*batch)
        else:
            batch = next(steps.batches)
            loss = steps.step(*batch)
        seconds.append(time.perf_counter() - begin)
    del batch, loss
    return median(seconds[WARM_STEPS:]), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / STEPS


def main(processes: int) -> None:
    workers = Workers()
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(processes):
        for way in WAYS:
            found[way].append(workers.call("lifetimes:time_steps", way).value)
    for way, results in found.items():
        seconds, faults = zip(*results, strict=True)
        ends = f"{min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f}"
        print(
            f"keeps {way}: {median(seconds) * 1e3:.1f} ms a step ({ends}), "
            f"{median(faults):.0f} page faults a step, {processes} processes"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
