"""What loading costs the lecture's training: whole epochs of its MLP on mnist-5k, fed in each way, by turns.

    PYTHONPATH=. python docs/evidence/loading.py [TURNS]

In a turn each way of feeding trains an epoch (4,000 digits in batches of 64, AdamW, one thread), in an order that is
drawn; each has a model of its own. Printed is the median over the turns of an epoch's time, and its ratio to that of
the lecture's loader, a DataLoader without workers, with the 95% interval. Pinned memory means something on a GPU alone:
without one it is left out. docs/measuring.md quotes it.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch

from trainmark import suite
from trainmark.judge.statistics import hodges_lehmann
from trainmark.measure.protocol import set_up
from trainmark.measure.settings import Settings
from trainmark.measure.steps import TrainingParts, prepare
from trainmark.measure.training import train_epoch
from trainmark.store.cell import Cell
from trainmark.store.parameters import Value

LECTURES = "dataloader, 0 workers"
WAYS: Mapping[str, Mapping[str, Value]] = {
    LECTURES: {},
    **{f"{number} worker{'s' * (number > 1)}": {"workers": number} for number in (1, 2)},
    **{
        f"{number} worker{'s' * (number > 1)} that stay": {"workers": number, "persistent_workers": "on"}
        for number in (1, 2)
    },
    "resident": {"loader": "resident"},
}
PINNED = {f"{way}, pinned": {**said, "pin_memory": "on"} for way, said in WAYS.items() if way != "resident"}


def training(said: Mapping[str, Value], device: str, scratch: Path) -> Callable[[], float]:
    """A function that trains one epoch and gives its seconds."""
    cell = Cell.of("train", model="mlp", dataset="mnist-5k", device=device, **{"loader": "dataloader", **said})
    steps = prepare(cell, Settings(threads=1), scratch)
    assert isinstance(steps.parts, TrainingParts)
    step, feed = steps.parts.step, steps.feed

    def epoch() -> float:
        begun = time.perf_counter()
        loss, _ = train_epoch(step, feed.epoch())
        loss.item()  # waits for the device
        return time.perf_counter() - begun

    return epoch


def main(turns: int) -> None:
    suite.current()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as scratch:
        set_up(Settings(threads=1), Path(scratch))
        ways = WAYS if device == "cpu" else {**WAYS, **PINNED}
        epochs = {way: training(said, device, Path(scratch)) for way, said in ways.items()}
        for epoch in epochs.values():
            epoch()
        took: dict[str, list[float]] = {way: [] for way in epochs}
        for _ in range(turns):
            for way in random.sample(sorted(epochs), len(epochs)):
                took[way].append(epochs[way]())
    for way, seconds in took.items():
        logs = [math.log(mine / lectures) for mine, lectures in zip(seconds, took[LECTURES], strict=True)]
        told = f"{way}: {median(seconds) * 1e3:.0f} ms"
        if way != LECTURES:
            ratio = hodges_lehmann(logs, 0.95)
            assert ratio.low is not None and ratio.high is not None, "more turns are needed"
            low, middle, high = (math.exp(end) for end in (ratio.low, ratio.middle, ratio.high))
            told += f", {middle:.3f} [{low:.3f}, {high:.3f}] of the lecture's"
        print(f"{told}; {turns} turns on the {device}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
