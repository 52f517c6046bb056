"""A task whose loss is a sum: the mean over processes of a sum is not the sum over all of them."""

from __future__ import annotations

import torch
from torch import nn

from trainmark.task import Task


def _rows() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(64, 20), torch.randn(64, 1)


summed = Task(model=lambda: nn.Linear(20, 1), data=_rows, criterion=nn.MSELoss(reduction="sum"))
