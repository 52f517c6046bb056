"""Tasks over images: batch normalisation, frozen parts, a class for each pixel, a DataLoader with processes."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trainmark.task import HeldOut, Task

SIZE = 12


class Squares(Dataset):
    """Grey images [1, 12, 12] of noise with a bright square; its quarter of the image is the label."""

    def __init__(self, number: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(4, (number,), generator=generator)
        self.images = 0.3 * torch.rand(number, 1, SIZE, SIZE, generator=generator)
        for image, label in zip(self.images, self.labels, strict=True):
            top, left = divmod(int(label), 2)
            image[0, 6 * top + 1 : 6 * top + 5, 6 * left + 1 : 6 * left + 5] += 0.7

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


class Pixels(Squares):
    """The same images, each pixel of which is of the square or not: int64 [12, 12]."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], (self.images[index, 0] > 0.5).long()


def squares() -> tuple[Squares, Squares]:
    """Training and held-out data."""
    return Squares(320, 0), Squares(80, 1)


def convolutions() -> nn.Module:
    """[B, 1, 12, 12] -> [B, 4], with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * SIZE * SIZE, 4)
    )


def half_frozen() -> nn.Module:
    """The same with a first layer that is not trained."""
    model = convolutions()
    model[0].requires_grad_(False)
    return model


normalised = Task(model=convolutions, data=squares)
frozen = Task(model=half_frozen, data=squares)


def workers() -> Iterator[DataLoader]:
    """Two processes load the data, and stay."""
    return tuple(
        DataLoader(data, batch_size=16, shuffle=True, num_workers=2, persistent_workers=True) for data in squares()
    )


loaded_beside = Task(model=convolutions, data=workers)


def intersection_over_union(output: Tensor, targets: Tensor) -> Tensor:
    """Of the pixels told to be of the square and those that are."""
    told, true = output.argmax(1) == 1, targets == 1
    return (told & true).sum() / (told | true).sum().clamp(min=1)


per_pixel = Task(
    model=lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)),
    data=lambda: (Pixels(320, 0), Pixels(80, 1)),
    metrics={"iou": HeldOut(intersection_over_union, better="higher", unit="share", margin=0.05)},
    unit="pixel",
    count=lambda images, _: images.shape[0] * SIZE * SIZE,
)
