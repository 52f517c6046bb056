"""Models that change what is not theirs, for tests: switches of the process and sources of chance."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.resnet import ResNet20
from tests.misbehaving import Digits
from trainmark.measure.switches import SWITCHES

ELSEWHERE = {
    "default-dtype": torch.float64,
    "default-device": "meta",
    "deterministic": "warn",
    "matmul-precision": "medium",
}


def move(name: str) -> None:
    """Sets a switch to what it is not."""
    now = SWITCHES[name].read()
    SWITCHES[name].write(ELSEWHERE.get(name, now + 1 if type(now) is int else not now))


class WhileBuilt:
    """A factory that moves a switch, and all sources of chance."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> nn.Module:
        model = Digits()
        move(self.name)
        return model


class InForward(Digits):
    """Moves threads in its forward pass: the suite's steps run on one."""

    def misbehave(self) -> None:
        torch.set_num_threads(2)


class Chance(Digits):
    """Adds noise from another source than PyTorch's."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images) + self.draw()
        return logits


def python_chance() -> nn.Module:
    return Chance(random.random)


def numpy_chance() -> nn.Module:
    return Chance(np.random.rand)


class SometimesDeeper(Digits):
    """Takes a second product in half of its steps."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images)
        return logits + super().forward(images) if random.random() < 0.5 else logits


def same_weights() -> nn.Module:
    """Seeds for itself: all its seeds begin with the same weights."""
    torch.manual_seed(0)
    return Digits()


class Unmoved(Digits):
    """Nothing that it learns reaches its outputs: all seeds give the same curves."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 0.0


class Laid(ResNet20):
    """ResNet-20 that lays its images out in channels_last."""

    input_shape = (3, 32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class Viewed(nn.Conv2d):
    """A convolution whose images must lie in the default layout."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.view(len(images), -1).view_as(images))


class Particular(nn.Module):
    """A model with such a convolution."""

    input_shape = (3, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.whole = Viewed(3, 10, 32)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.whole(images).flatten(1)
        return logits


calls: list[int] = []  # samples of each call of Counting


class Counting(Digits):
    """Gives half as much each second time that one of its kind is called in this process."""

    def forward(self, images: Tensor) -> Tensor:
        calls.append(len(images))
        logits: Tensor = super().forward(images) / (1 + len(calls) % 2)
        return logits


def system_chance() -> Chance:
    """Noise that nobody can seed, and that is another in each process for certain."""
    return Chance(lambda: os.getpid() % 1000 + random.SystemRandom().random())


def __getattr__(name: str) -> Any:
    """``moves_threads`` and its like."""
    switch = name.removeprefix("moves_").replace("_", "-")
    if switch not in SWITCHES:
        raise AttributeError(name)
    return WhileBuilt(switch)
