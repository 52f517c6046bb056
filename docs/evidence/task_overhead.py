"""What the task layer costs: a step as the engine takes it against the same step in a loop written by hand.

    python docs/evidence/task_overhead.py [PAIRS]

Three trainings: the lecture's MLP at batch 64, a GRU over tokens of varying length whose batches have names, and a
regression of 20 columns. Both loops train models of their own, on the same data, in one process; blocks of steps
alternate, and the first of a pair is drawn. Printed are the median ratio of a pair's blocks, engine over hand, and its
bootstrap interval. The goal is at most 1.01.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "any-task"
sys.path[:0] = [str(ROOT)]

from trainmark import suite  # noqa: E402  # found where this file lies
from trainmark.measure.protocol import set_up  # noqa: E402
from trainmark.measure.settings import Settings  # noqa: E402
from trainmark.measure.steps import prepare  # noqa: E402
from trainmark.store.cell import Cell  # noqa: E402

BLOCK_SECONDS = 0.02
BATCH = 64


def orders(samples: int) -> Iterator[torch.Tensor]:
    """Places of whole batches, epoch after epoch."""
    while True:
        order = torch.randperm(samples)
        for start in range(0, samples - BATCH + 1, BATCH):
            yield order[start : start + BATCH]


def lectures_mlp(resident: Any) -> Callable[[], None]:
    """The lecture's five lines over images on the device."""
    from models.mlp import mlp

    (images, labels), model, criterion = resident, mlp(), nn.CrossEntropyLoss()
    optimizer, places = torch.optim.AdamW(model.parameters(), lr=1e-3), orders(len(labels))

    def step() -> None:
        chosen = next(places)
        x, y = images[chosen].contiguous(), labels[chosen]
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def gru(kept: list[Any]) -> Callable[[], None]:
    """The same lines over batches that are there already."""
    from tasks.texts import LanguageModel, next_token

    model = LanguageModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def endless() -> Iterator[Any]:
        while True:
            for place in torch.randperm(len(kept)).tolist():
                yield kept[place]

    batches = endless()

    def step() -> None:
        inputs, targets = next(batches)
        loss = next_token(model(tokens=inputs["tokens"], lengths=inputs["lengths"]), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def regression(resident: Any) -> Callable[[], None]:
    """The same lines over rows on the device."""
    from tasks.columns import net

    (rows, wanted), model, criterion = resident, net(), nn.MSELoss()
    optimizer, places = torch.optim.AdamW(model.parameters(), lr=1e-3), orders(len(rows))

    def step() -> None:
        chosen = next(places)
        loss = criterion(model(rows[chosen].contiguous()), wanted[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


TRAININGS: dict[str, tuple[Cell, Callable[[Any], Callable[[], None]]]] = {
    "MLP": (Cell.of("train", model="mlp", batch_size=BATCH), lectures_mlp),
    "GRU": (Cell.of("train", model="tasks.texts:tokens", dataset="own-data", batch_size=BATCH), gru),
    "regression": (
        Cell.of("train", model="tasks.columns:regression", dataset="own-data", batch_size=BATCH),
        regression,
    ),
}


def seconds(step: Callable[[], object], steps: int) -> float:
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - begun


def compare(cell: Cell, by_hand: Callable[[Any], Callable[[], None]], pairs: int) -> list[float]:
    """The ratio of each pair of blocks."""
    with tempfile.TemporaryDirectory() as scratch:
        set_up(Settings(threads=1), Path(scratch))
        steps = prepare(cell, Settings(threads=1), Path(scratch))
        torch.manual_seed(0)
        hand = by_hand(steps.feed.resident if steps.feed.resident is not None else steps.feed.kept)
        for step in (steps.advance, hand):
            seconds(step, 100)
        number = max(1, round(BLOCK_SECONDS / (seconds(hand, 50) / 50)))
        ratios = []
        for _ in range(pairs):
            taken: dict[bool, float] = {}
            for engine in random.sample((True, False), 2):
                taken[engine] = seconds(steps.advance if engine else hand, number)
            ratios.append(taken[True] / taken[False])
    return ratios


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    if len(sys.argv) < 3:  # each in a process of its own: two suites cannot be open at once
        for name in TRAININGS:
            subprocess.run([sys.executable, __file__, str(pairs), name], check=True)
        return
    name = sys.argv[2]
    suite.open_suite(ROOT if name == "MLP" else EXAMPLE)
    ratios = compare(*TRAININGS[name], pairs)
    draws = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(2000))
    print(f"{name}: {median(ratios):.4f} [{draws[50]:.4f}, {draws[-51]:.4f}], {pairs} pairs")


if __name__ == "__main__":
    main()
