"""Tomorrow's price of a share, told from the last twenty days; and whether that beats "tomorrow is today"."""

from functools import partial

import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from torch import Tensor, nn

from trainmark.task import HeldOut, Task

DAYS = 20  # that the network sees
TRAINED = 0.8  # of all days, the first; what comes later is held out
PERCENT = 100


def changes() -> Tensor:
    """By how many percent the price changed, day by day: [N].

    A change is what there is to tell: "tomorrow is today" is then a forecast of zero.

    Source: Google's share from August 2004 to October 2008, from the sample data that matplotlib ships.
    """
    with get_sample_data("goog.npz") as sample:
        prices = np.asarray(sample["price_data"]["adj_close"], dtype=np.float32)
    return PERCENT * torch.from_numpy(prices).log().diff()


def windows() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Twenty days [N, 20] and the one after them [N, 1]: each day that is held out is later than all trained on."""
    days = changes()
    cut = days.unfold(0, DAYS + 1, 1)  # [days] -> [N, 21], each a day later than the one before
    inputs, targets = cut[:, :DAYS].contiguous(), cut[:, DAYS:].contiguous()
    known = int(TRAINED * len(days)) - DAYS  # of the last of these the day to tell is the last that is trained on
    return (inputs[:known], targets[:known]), (inputs[known:], targets[known:])


class Forecaster(nn.Module):
    """Reads the days one by one."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.gru = nn.GRU(1, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, days: Tensor) -> Tensor:
        """[B, 20] -> [B, 1]."""
        hidden, _ = self.gru(days.unsqueeze(2))  # [B, 20] -> [B, 20, width]
        return self.head(hidden[:, -1])


class RootMeanSquaredError:
    """Over all held-out days: the root of a mean is no mean of roots."""

    def __init__(self) -> None:
        self.told, self.naive, self.days = 0.0, 0.0, 0

    def update(self, output: Tensor, targets: Tensor) -> None:
        """Takes in a batch, [B, 1] each."""
        self.told += float((output - targets).square().sum())
        self.naive += float(targets.square().sum())
        self.days += len(targets)

    def compute(self) -> float:
        """Of the network's forecast, as a share of the price."""
        return (self.told / self.days) ** 0.5 / PERCENT


class AgainstNaive(RootMeanSquaredError):
    """The network's error over that of "tomorrow is today": below one it has learnt something."""

    def compute(self) -> float:
        """The ratio of the two."""
        return (self.told / self.naive) ** 0.5


tomorrow = Task(
    model=Forecaster,
    data=windows,
    criterion=nn.MSELoss(),
    optimizer=partial(torch.optim.AdamW, lr=1e-3),
    metrics={
        "rmse": HeldOut(RootMeanSquaredError, better="lower", unit="share", margin=0.001),
        "rmse_over_naive": HeldOut(AgainstNaive, better="lower"),
    },
)
