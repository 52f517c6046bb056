"""Five slow operators, planted in the lecture's MLP: whether a differential flame graph names each first, and adds up.

    PYTHONPATH=. python docs/evidence/flame.py [BLOCKS]

Both sides train in one process, one thread. BLOCKS times (60) each trains for a block of STEPS steps, by turns: the
ratio of their times with its 95% interval is the measured difference. Then each is profiled, as a benchmark is. Printed
is what is planted, the sentence, and whether what the boxes add up to lies within the interval. docs/measuring.md
quotes it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from models.mlp import mlp
from trainmark import suite
from trainmark.judge.flame import Difference, Times, difference, sentence
from trainmark.judge.statistics import hodges_lehmann
from trainmark.measure.training import train_step
from trainmark.meters.profiler import measure_profile
from trainmark.store.cell import Cell

STEPS = 20
PROFILED = 40  # steps
CULPRITS = {
    "a second matrix product": ("aten::mm",),
    "a layer in float64": ("aten::addmm", "aten::mm", "aten::copy_"),
    "sorting": ("aten::sort",),
    "sines": ("aten::sin",),
    "copies": ("aten::copy_",),
}


class Planted(nn.Module):
    """The lecture's MLP, with something that makes it slower and changes no gradient."""

    def __init__(self, planted: str | None) -> None:
        super().__init__()
        self.net, self.planted = mlp(), planted
        self.square, self.linear = torch.randn(384, 384), nn.Linear(784, 384).double().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images."""
        with torch.no_grad():
            if self.planted == "a second matrix product":
                self.square @ self.square
            elif self.planted == "a layer in float64":
                self.linear(x.flatten(1).double())
            elif self.planted == "sorting":
                x.flatten(1).sort(1)
            elif self.planted == "sines":
                for _ in range(5):
                    x.sin()
            elif self.planted == "copies":
                for _ in range(40):
                    x.clone()
        logits: Tensor = self.net(x)
        return logits


def training(planted: str | None) -> Callable[[], Tensor]:
    """A function that takes a step."""
    torch.manual_seed(0)
    model = Planted(planted).train()
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=1e-3)
    images, labels = torch.rand(64, 1, 28, 28), torch.randint(10, (64,))
    return lambda: train_step(model, nn.CrossEntropyLoss(), optimizer, images, labels)


def block(step: Callable[[], Tensor]) -> float:
    """Seconds of a step, mean over a block."""
    begun = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - begun) / STEPS


def measured(base: Callable[[], Tensor], new: Callable[[], Tensor], blocks: int) -> Times:
    """By how much a step of the one is longer, by turns."""
    block(base), block(new)
    pairs = [(block(base), block(new)) if number % 2 else (block(new), block(base))[::-1] for number in range(blocks)]
    ratio = hodges_lehmann([math.log(theirs / ours) for ours, theirs in pairs], 0.95)
    assert ratio.low is not None and ratio.high is not None, "more blocks are needed"
    seconds = median(ours for ours, _ in pairs)
    return Times(seconds, *(seconds * (math.exp(end) - 1) for end in (ratio.low, ratio.middle, ratio.high)))


def explained(planted: str, blocks: int) -> Difference:
    """The difference that it makes."""
    base, new = training(None), training(planted)
    times = measured(base, new, blocks)
    cell = Cell.of("train", model="mlp")
    profiles = [measure_profile(step, cell, PROFILED) for step in (base, new)]
    found = difference(*profiles, times)
    assert found is not None
    return found


def main(blocks: int) -> None:
    suite.current()
    torch.set_num_threads(1)
    first = within = 0
    for planted, culprits in CULPRITS.items():
        found = explained(planted, blocks)
        assert found.times is not None
        leader = found.terms[0].name
        low, middle, high = (end * 1e6 for end in found.times[1:])
        boxes = found.seconds * 1e6
        first, within = first + (leader in culprits), within + (low <= boxes <= high)
        print(f"{planted}: {leader} first; {sentence(found)}")
        own = sum(term.seconds for term in found.terms if term.name in culprits) * 1e6
        interval = f"{middle:+.0f} [{low:+.0f}, {high:+.0f}]"
        print(f"    boxes add up to {boxes:+.0f} us, measured {interval}; what is planted alone {own:+.0f}")
    print(f"{first} of {len(CULPRITS)} named first, {within} of {len(CULPRITS)} add up within the interval")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
