"""Models whose second process ends badly after some steps, or hangs: for tests of a training on several processes."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import Tensor, nn

SOUND_STEPS = 2


class OfOneRank(nn.Module):
    """A linear model that does something else in the process of rank 1."""

    input_shape = (1, 28, 28)
    classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)
        self.steps = 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += self.training
        if self.steps > SOUND_STEPS and os.environ.get("RANK") == "1":
            self.misbehave()
        logits: Tensor = self.layer(images.flatten(1))
        return logits

    def misbehave(self) -> None:
        raise NotImplementedError


class Killed(OfOneRank):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(OfOneRank):
    def misbehave(self) -> None:
        time.sleep(1e6)


class OutOfMemory(OfOneRank):
    def misbehave(self) -> None:
        raise MemoryError("no room for another tensor")


class Greedy(OfOneRank):
    def misbehave(self) -> None:
        self.kept = torch.ones(2**28)  # 1 GiB, touched
        time.sleep(1e6)
