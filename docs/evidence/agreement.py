"""Does the suite tell the same step time as a loop written by hand? Both in fresh processes, by turns.

    python docs/evidence/agreement.py [PAIRS [CELL ...]] [--kept FILE]     a CELL such as cnn-64

Each pair is a line of FILE. Prints the ratio of each cell, suite over hand-written, over all pairs that FILE holds,
with its 95% interval; docs/measuring.md quotes it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from bench.datasets import mnist_5k
from trainmark.measure.allocator import keep_freed_memory
from trainmark.measure.protocol import measure_steps
from trainmark.measure.settings import Settings
from trainmark.measure.worker import SoFar, Workers
from trainmark.store.cell import Cell

WARM_SECONDS = 0.3  # about what the suite takes to find these cells steady
SECONDS = 0.5  # of rounds on either side
BLOCK_SECONDS = 0.02


def hand_written_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 256), nn.ReLU(), nn.LayerNorm(256), nn.Dropout(0.1)),
        *(nn.Linear(256, 256), nn.ReLU(), nn.LayerNorm(256), nn.Dropout(0.1)),
        nn.Linear(256, 10),
    )


def hand_written_cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(4096, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 10)),
    )


def time_by_hand(name: str, batch_size: int, report: Callable[[str], None], scratch: Path) -> float:
    """Median seconds of a training step as anybody would write it; of the suite it takes digits and allocator alone."""
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    (pixels, targets), _ = mnist_5k()
    images = torch.tensor(pixels).unsqueeze(1).float() / 255
    labels = torch.tensor(targets)
    if name == "cnn":
        images = nn.functional.pad(images, (2, 2, 2, 2)).repeat(1, 3, 1, 1)
    model = {"mlp": hand_written_mlp, "cnn": hand_written_cnn}[name]()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    steps = 0
    steps_a_block = 1
    blocks: list[float] = []
    begun = block_begun = time.perf_counter()
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            x, y = images[chosen], labels[chosen]
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if steps % steps_a_block == 0:
                now = time.perf_counter()
                if now - begun > WARM_SECONDS:
                    blocks.append((now - block_begun) / steps_a_block)
                    if now - begun > WARM_SECONDS + SECONDS:
                        return median(blocks)
                else:
                    steps_a_block = max(1, round(BLOCK_SECONDS / (now - block_begun) * steps_a_block))
                    steps = 0
                block_begun = now


class Timed(Exception):
    """The suite has timed the cell: what it would measure besides is not needed here."""


def time_by_suite(name: str, batch_size: int, report: Callable[[str], None], scratch: Path) -> float:
    """Median seconds of a training step as the suite tells it."""

    def listen(message: str | SoFar) -> None:
        if isinstance(message, SoFar):
            raise Timed(message.value.metrics["step_seconds"])

    cell = Cell.of("train", model=name, batch_size=batch_size)
    try:
        measure_steps(cell, Settings(max_seconds=SECONDS), listen, scratch)
    except Timed as timed:
        return float(timed.args[0])
    raise RuntimeError("the suite has told no time")


def main(pairs: int, cells: Sequence[str], kept: Path) -> None:
    workers = Workers()
    order = random.Random()
    with kept.open("a") as stream:
        for cell in cells:
            name, batch_size = cell.split("-")
            for _ in range(pairs):
                sides = ["suite", "hand"]
                order.shuffle(sides)
                seconds = {}
                for side in sides:
                    outcome = workers.call(f"agreement:time_by_{side}", name, int(batch_size))
                    if outcome.status != "ok":
                        raise RuntimeError(outcome.reason)
                    seconds[side] = outcome.value
                stream.write(json.dumps({"cell": cell, **seconds}) + "\n")
                stream.flush()
    found: dict[str, list[float]] = {}
    for line in kept.read_text().splitlines():
        pair = json.loads(line)
        found.setdefault(pair["cell"], []).append(pair["suite"] / pair["hand"])
    for cell, ratios in found.items():
        logs = np.log(ratios)
        interval = bootstrap((logs,), np.median, confidence_level=0.95, rng=0).confidence_interval
        quartiles = np.percentile(ratios, [25, 75])
        print(
            f"train {cell}: {np.exp(np.median(logs)):.4f} "
            f"[{np.exp(interval.low):.4f}, {np.exp(interval.high):.4f}], {len(ratios)} pairs, "
            f"half of them within {quartiles[0]:.3f} and {quartiles[1]:.3f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="?", type=int, default=40)
    parser.add_argument("cells", nargs="*", default=["mlp-64", "mlp-256", "cnn-64"])
    parser.add_argument("--kept", type=Path, default=Path("agreement.jsonl"))
    options = parser.parse_args()
    main(options.pairs, options.cells, options.kept)
