"""Land or sea, for each place of a map, told from the slope of the ground there and around."""

from functools import partial

import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trainmark.task import HeldOut, Task

SIDE, STEP = 16, 3  # of a tile, and from one to the next
NORTH = 60  # rows of the map that are trained on; the 31 in the south are held out
KILOMETRE = 1000.0
LAND, SEA = 0, 1


def tiles(height: Tensor) -> TensorDataset:
    """Slopes to the south and to the east [N, 2, 16, 16], and land or sea [N, 16, 16], of a part of the map."""
    slopes = torch.stack(torch.gradient(height / KILOMETRE))  # [2, rows, columns]: no longer how high it is
    layers = torch.cat([slopes, (height < 0).float().unsqueeze(0)])
    cut = layers.unfold(1, SIDE, STEP).unfold(2, SIDE, STEP)  # -> [3, down, across, 16, 16]
    cut = cut.permute(1, 2, 0, 3, 4).flatten(0, 1)  # -> [N, 3, 16, 16]
    return TensorDataset(cut[:, :2].contiguous(), cut[:, 2].long())


def parts() -> tuple[TensorDataset, TensorDataset]:
    """Tiles of the north to train on and of the south held out: Vancouver Island, and the coast behind it.

    Source: heights and depths in metres [91, 120], from the sample data that matplotlib ships.
    """
    with get_sample_data("topobathy.npz") as sample:
        height = torch.from_numpy(np.asarray(sample["topo"]))
    return tiles(height[:NORTH]), tiles(height[NORTH:])


def layer(channels_in: int, channels_out: int) -> nn.Module:
    """[B, in, H, W] -> [B, out, H, W]."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU())


class SmallUNet(nn.Module):
    """What is near at full resolution, what is far at half of it, and both together."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.near = layer(2, width)
        self.far = nn.Sequential(
            nn.MaxPool2d(2), layer(width, 2 * width), layer(2 * width, width), nn.Upsample(scale_factor=2)
        )
        self.head = nn.Sequential(layer(2 * width, width), nn.Conv2d(width, 2, 1))

    def forward(self, slopes: Tensor) -> Tensor:
        """[B, 2, H, W] -> logits of land and sea [B, 2, H, W]."""
        near = self.near(slopes)
        return self.head(torch.cat([near, self.far(near)], 1))


class IntersectionOverUnion:
    """Of the pixels told to be sea and those that are, over all tiles."""

    def __init__(self) -> None:
        self.both = self.either = 0

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Takes in a batch: [B, 2, H, W] and [B, H, W]."""
        told, true = logits.argmax(1) == SEA, truth == SEA
        self.both += int((told & true).sum())
        self.either += int((told | true).sum())

    def compute(self) -> float:
        """Of all that was seen."""
        return self.both / self.either


coast = Task(
    model=SmallUNet,
    data=parts,
    optimizer=partial(torch.optim.AdamW, lr=3e-3),
    metrics={"iou": HeldOut(IntersectionOverUnion, better="higher", unit="share", margin=0.05)},
    unit="pixel",
    count=lambda _, truth: truth.numel(),
)
