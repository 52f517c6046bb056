"""What does the clean pass add to a loop written by hand? Both over the same model and data, block by block.

    python docs/evidence/overhead.py [PROCESSES [CELL ...]] [--kept FILE]     a CELL such as cnn-64

In one process both meet the same memory and the same neighbours, so that nothing but their code differs. Each process
is a line of FILE: the median ratio of its pairs of blocks. Prints the ratio of each cell, suite over hand-written, over
all lines that FILE holds, with its 95% interval; docs/measuring.md quotes it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.stats import bootstrap

from trainmark.measure.allocator import keep_freed_memory
from trainmark.measure.protocol import ROUND_SECONDS, timed_block
from trainmark.measure.settings import Settings
from trainmark.measure.steps import Steps, TrainingParts, prepare
from trainmark.measure.worker import Workers
from trainmark.meters.clock import host_clock
from trainmark.store.cell import Cell

PAIRS = 60  # of blocks in a process
WARM_SECONDS = 0.5


def loop_by_hand(steps: Steps, batch_size: int, block: int) -> Iterator[None]:
    """The lecture's loop as anybody would write it, with a stop after every block of steps."""
    assert isinstance(steps.parts, TrainingParts) and steps.feed.resident is not None
    model, criterion, optimizer = steps.parts.model, steps.parts.criterion, steps.parts.optimizer
    images, labels = steps.feed.resident
    taken = 0
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            x, y = images[chosen], labels[chosen]
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            taken += 1
            if taken % block == 0:
                yield


def compare(name: str, batch_size: int, report: Callable[[str], None], scratch: Path) -> float:
    """Time of a block by the suite over that of one by hand: median of the pairs of this process."""
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps = prepare(Cell.of("train", model=name, batch_size=batch_size), Settings(), scratch)
    begun, taken = time.perf_counter(), 0
    while time.perf_counter() - begun < WARM_SECONDS:
        steps.advance()
        taken += 1
    block = max(1, round(ROUND_SECONDS / WARM_SECONDS * taken))
    by_hand = loop_by_hand(steps, batch_size, block)

    def hand_seconds() -> float:
        start = time.perf_counter()
        next(by_hand)
        return time.perf_counter() - start

    ways = {"suite": lambda: timed_block(host_clock, steps.advance, block).seconds, "hand": hand_seconds}
    ratios = []
    for number in range(PAIRS + 2):
        order = random.sample(sorted(ways), 2)
        seconds = {way: ways[way]() for way in order}
        if number >= 2:  # the first of each way are not warm
            ratios.append(seconds["suite"] / seconds["hand"])
    return median(ratios)


def main(processes: int, cells: Sequence[str], kept: Path) -> None:
    workers = Workers()
    with kept.open("a") as stream:
        for _ in range(processes):
            for cell in cells:  # by turns, so that a bad minute hits all of them
                name, batch_size = cell.split("-")
                outcome = workers.call("overhead:compare", name, int(batch_size))
                if outcome.status != "ok":
                    raise RuntimeError(outcome.reason)
                stream.write(json.dumps({"cell": cell, "ratio": outcome.value}) + "\n")
                stream.flush()
    found: dict[str, list[float]] = {}
    for line in kept.read_text().splitlines():
        process = json.loads(line)
        found.setdefault(process["cell"], []).append(process["ratio"])
    for cell, ratios in found.items():
        interval = bootstrap((ratios,), np.median, confidence_level=0.95, rng=0).confidence_interval
        print(
            f"train {cell}: {median(ratios):.4f} [{interval.low:.4f}, {interval.high:.4f}], {len(ratios)} processes "
            f"of {PAIRS} pairs, from {min(ratios):.4f} to {max(ratios):.4f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processes", nargs="?", type=int, default=12)
    parser.add_argument("cells", nargs="*", default=["mlp-64", "mlp-256", "cnn-64"])
    parser.add_argument("--kept", type=Path, default=Path("overhead.jsonl"))
    options = parser.parse_args()
    main(options.processes, options.cells, options.kept)
