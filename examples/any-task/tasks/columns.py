"""Tasks over rows of 20 numbers: regression, other optimizers, steps of one's own."""

from functools import partial

import torch
from torch import Tensor, nn

from trainmark.task import HeldOut, Task, task

COLUMNS = 20


def rows() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """640 rows to train on and 160 held out: [N, 20] and what is to be told of them, [N, 1]."""
    inputs = torch.randn(800, COLUMNS)
    targets = inputs @ torch.randn(COLUMNS, 1) + 0.1 * torch.randn(800, 1)
    return (inputs[:640], targets[:640]), (inputs[640:], targets[640:])


def net(width: int = 32) -> nn.Module:
    """[B, 20] -> [B, 1]."""
    return nn.Sequential(nn.Linear(COLUMNS, width), nn.ReLU(), nn.Linear(width, 1))


def rmse(output: Tensor, targets: Tensor) -> Tensor:
    """Root of the mean squared error of a batch."""
    return (output - targets).square().mean().sqrt()


ERROR = {"rmse": HeldOut(rmse, better="lower", unit="m", margin=0.5)}
columns = partial(Task, model=net, data=rows, criterion=nn.MSELoss(), metrics=ERROR)

regression = columns()

momentum = columns(
    optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
    schedule=lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=steps),
)

fused = columns(optimizer=partial(torch.optim.AdamW, lr=1e-3, fused=True))


def accumulate(training, inputs, targets):
    """The gradients of four batches, then a step of the optimizer."""
    loss = training.criterion(training.model(inputs), targets)
    (loss / 4).backward()
    if training.number % 4 == 3:
        training.optimizer.step()
        training.optimizer.zero_grad()
    return loss


def clip(training, inputs, targets):
    """The lecture's lines, and the gradients cut to a norm of one."""
    loss = training.criterion(training.model(inputs), targets)
    training.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
    training.optimizer.step()
    return loss


def both(training, inputs, targets):
    """A step of each of two optimizers."""
    loss = training.criterion(training.model(inputs), targets)
    for optimizer in training.optimizer:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in training.optimizer:
        optimizer.step()
    return loss


accumulated = columns(step=accumulate)
clipped = columns(step=clip)
two_optimizers = columns(
    step=both,
    optimizer=lambda model: (torch.optim.SGD(model[0].parameters(), 0.01), torch.optim.AdamW(model[2].parameters())),
)
lazy = columns(model=lambda: nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.LazyLinear(1)))


@task
def wide(width: int) -> Task:
    """The regression with as many hidden units as its name says."""
    return columns(model=partial(net, width))
