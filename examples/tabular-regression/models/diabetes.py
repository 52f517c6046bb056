"""How far diabetes has progressed after a year, told from ten measurements of a patient."""

from functools import partial

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from trainmark.task import HeldOut, Task

HELD_OUT = 5  # every fifth patient
HUNDRED = 100  # the network tells hundreds of points: numbers near one are learnt sooner


def patients() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """353 patients to train on and 89 held out: measurements [N, 10] and progression [N, 1] in hundreds."""
    columns, progression = (torch.tensor(part).float() for part in load_diabetes(return_X_y=True, scaled=False))
    held_out = torch.arange(len(columns)) % HELD_OUT == 0
    seen = columns[~held_out]
    inputs = (columns - seen.mean(0)) / seen.std(0)  # by what may be known before the test
    targets = progression.unsqueeze(1) / HUNDRED
    return (inputs[~held_out], targets[~held_out]), (inputs[held_out], targets[held_out])


def net(width: int = 32) -> nn.Module:
    """[B, 10] -> [B, 1]."""
    return nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 1))


class RootMeanSquaredError:
    """Over all patients, in points: the root of a mean is no mean of roots."""

    def __init__(self) -> None:
        self.squares, self.patients = 0.0, 0

    def update(self, output: Tensor, targets: Tensor) -> None:
        """Takes in a batch, [B, 1] each."""
        self.squares += float((HUNDRED * (output - targets)).square().sum())
        self.patients += len(targets)

    def compute(self) -> float:
        """Of all that was seen."""
        return (self.squares / self.patients) ** 0.5


progression = Task(
    model=net,
    data=patients,
    criterion=nn.MSELoss(),
    optimizer=partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.1),
    metrics={"rmse": HeldOut(RootMeanSquaredError, better="lower", margin=2.0)},
)
