"""Models that change what is not theirs, for tests: switches of the process and sources of chance."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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


def __getattr__(name: str) -> Any:
    """``moves_threads`` and its like."""
    switch = name.removeprefix("moves_").replace("_", "-")
    if switch not in SWITCHES:
        raise AttributeError(name)
    return WhileBuilt(switch)
