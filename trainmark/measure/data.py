"""Data sets by name, adapted once to the model's input, and the two ways to feed a step.

The data sets themselves are the suite's: ``data`` of its table names a mapping of :class:`Source`.
What this module has are ``synthetic``, ``folder:PATH``, and data behind a name of the user's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset, TensorDataset

from trainmark import suite
from trainmark.measure import own_data
from trainmark.measure.batches import Batch, on_device, part, parted_by, tensors
from trainmark.measure.failures import MissingDataError, UnsupportedError
from trainmark.measure.settings import Places
from trainmark.model import load_task
from trainmark.named import (
    ImageOptions,
    UnknownObject,
    UnreadableName,
    find,
    layers,
    parts_of_folder,
    read_image_options,
    read_name,
    refuse_wrong_arguments,
)
from trainmark.store.parameters import FOLDER, OWN_DATA, is_name_of_data
from trainmark.task import Task, TaskFactory

Shape = tuple[int, int, int]  # channels, height, width
Samples = Dataset[Any]  # items are (image, label)
SYNTHETIC = "synthetic"
KEPT_BATCHES = 64  # at most, of data that cannot lie on the device as a whole
KEPT_BYTES = 2**30  # likewise
AS_THEY_ARE = ImageOptions()


@dataclass(frozen=True)
class Source:
    """A data set that a suite has.

    Attributes:
        read: From where data lies, and the transform of an image, to the training split, the held-out
            split, the shape of an image and the number of classes; raises MissingDataError.
        shape: Of an image; None where it is known only when it has been read.
        preload: Reads what each cell's process shall find in memory from the start; None for nothing.
    """

    read: Callable[[Places, Callable[[Any], Tensor]], tuple[Samples, Samples, Shape, int]]
    shape: Shape | None = None
    preload: Callable[[], object] | None = None


def sources() -> Mapping[str, Source]:
    """The data sets of the suite, by name."""
    found: Mapping[str, Source] = suite.current().data()
    return found


def names() -> tuple[str, ...]:
    """What ``--dataset`` takes."""
    return (*sources(), SYNTHETIC, OWN_DATA, f"{FOLDER}PATH", "package.module:factory")


def find_data(name: str) -> Any:
    """What is behind a name of the user's own: a Source, a Task whose data is meant, or data as a Task has them.

    Raises:
        MissingDataError: It is not there, or cannot be called with the arguments that it has.
        BrokenTask: It is a task that is put together wrongly.
    """
    try:
        read = read_name(name)
        if read is None:
            raise MissingDataError(f'No data set named "{name}". Name one of {", ".join(names())}.')
        found = find(read, "data set")
        if isinstance(layers(found)[-1], Task | TaskFactory):
            return load_task(name)
        if callable(found) and not isinstance(found, Source | Dataset | DataLoader):
            refuse_wrong_arguments(found, read, "data set")
    except UnreadableName as error:
        raise MissingDataError(f'The data set "{name}" cannot be read: {error}.') from error
    except UnknownObject as error:
        raise MissingDataError(str(error)) from error.__cause__
    return found


def fed(task: Task, name: str) -> Task:
    """The task with the data of that name in the place of its own, where that is a name of the user's own.

    Raises:
        MissingDataError: See :func:`find_data`.
        UnsupportedError: It is a task, and has no data.
    """
    given = find_data(name) if is_name_of_data(name) else None
    if given is None or isinstance(given, Source):
        return task
    if not isinstance(given, Task):
        return replace(task, data=given)
    if given.data is None:
        raise UnsupportedError(f"{name} has no data of its own")
    return replace(task, data=given.data, split=given.split, collate=given.collate)


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
        remedy = (
            f": write {FOLDER}PATH(size={_side(want)})" if dataset.startswith(FOLDER) and channels == want[0] else ""
        )
        raise UnsupportedError(f"{dataset} has images of {_text(have)}, the model takes {_text(want)}{remedy}")


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
            raise UnsupportedError(
                f"{self.dataset} begins with an image of {_text(self.shape)} and has one of {found}: "
                f"write {FOLDER}PATH(size={max(self.shape[1:])}), or whichever size all shall have"
            )
        return image


@dataclass(frozen=True)
class Data:
    """A data set, ready for a model.

    Attributes:
        name: As given.
        train: Items are (image [C, H, W] in [0, 1], label).
        held_out: Likewise; None where the data set has no accuracy.
        adaptation: What was done to fit the model.
        classes: Number of labels; None where nobody says so.
        loading: How batches are made of a task's own data; None for the lecture's way.
        held_out_loading: Likewise, of the held-out data.
        made_up: Batches that are given instead of samples.
        split: From a batch to inputs and targets; None for the usual way.
    """

    name: str
    train: Samples
    held_out: Samples | None
    adaptation: Adaptation
    classes: int | None
    loading: own_data.Split | None = None
    held_out_loading: own_data.Split | None = None
    made_up: tuple[Batch, ...] = ()
    split: Callable[[Any], Batch] | None = None

    @property
    def is_stream(self) -> bool:
        """Whether its samples come in an order of their own, and nobody knows how many."""
        return self.loading is not None and self.loading.is_stream

    def of_held_out(self) -> Data:
        """The held-out split in the place of the training split."""
        assert self.held_out is not None  # asked for where there is one
        return replace(self, train=self.held_out, loading=self.held_out_loading, made_up=())


def load_for(task: Task, name: str, places: Places, samples: int) -> Data:
    """The data set of that name for a task: its own, made up after the example of that, or one of images.

    Args:
        task: What is trained, :func:`fed` with what the name says.
        name: One of :func:`names`.
        places: Where files lie.
        samples: Of a batch.

    Raises:
        MissingDataError: The files are not there.
        ModelError: The task's own data are none.
        UnsupportedError: The data set does not fit the task.
    """
    if task.data is None:
        if name == OWN_DATA:
            raise UnsupportedError(f"the task has no data of its own; name one of {', '.join(names())}")
        found = load(name, places, task.input_shape, task.classes, samples)
        split = None if task.collate is None else own_data.Split(found.train, {"collate_fn": task.collate})
        return replace(found, loading=split, held_out_loading=split, split=task.split)
    if name not in (OWN_DATA, SYNTHETIC) and not is_name_of_data(name):
        raise UnsupportedError(f"the task has data of its own: --dataset {OWN_DATA} or {SYNTHETIC}, not {name}")
    train, held_out = own_data.read_own_data(task)
    made_up = own_data.made_up(train, task.split, samples) if name == SYNTHETIC else []
    return Data(
        name,
        train.dataset,
        None if held_out is None or made_up else held_out.dataset,
        Adaptation(),
        None,
        train,
        held_out,
        tuple(made_up),
        task.split,
    )


def load_alone(name: str, places: Places, samples: int) -> tuple[Task | None, Data]:
    """The data set of that name without a model, as it is; and the task whose data it is, where it is one's.

    Args:
        name: One of :func:`names`, or a task's.
        places: Where files lie.
        samples: Of a batch.

    Raises:
        MissingDataError: The files, or what the name says, are not there.
        BrokenTask: The task is put together wrongly.
        ModelError: The data are none.
    """
    given = find_data(name) if is_name_of_data(name) else None
    if given is None or isinstance(given, Source):
        return None, load(name, places, None, None, samples)
    task = given if isinstance(given, Task) else Task(model=torch.nn.Identity, data=given)
    return task, load_for(task, OWN_DATA if task.data is None else name, places, samples)


def load(name: str, places: Places, shape: Shape | None, classes: int | None, samples: int) -> Data:
    """The data set of that name, adapted to a model's input.

    Args:
        name: One of :func:`names`.
        places: Where files lie.
        shape: The model's input; None for the data set's own.
        classes: The model's outputs; None where there is no model.
        samples: How many items ``synthetic`` makes.

    Raises:
        MissingDataError: The files are not there.
        UnsupportedError: The images cannot be made to fit the model, or have too many classes.
    """
    if name == SYNTHETIC:
        return _synthetic(shape or (3, 32, 32), classes or 10, samples)
    transform = Transform(_image_options(name, places))
    train, held_out, own_shape, own_classes = _read(name, places, transform)
    if classes is not None and own_classes > classes:
        raise UnsupportedError(f"{name} has {own_classes} classes, the model {classes} outputs")
    adaptation = Adaptation.between(own_shape, shape or own_shape, name)
    if adaptation != Adaptation():
        transform.steps.append(adaptation)
    return Data(name, train, held_out, adaptation, own_classes)


class Transform:
    """The lecture's ``ToTensor``, and what is done around it: steps may be added until the first image is read.

    Args:
        options: What is said of a folder: its images are brought to a size, and normalised.
    """

    def __init__(self, options: ImageOptions = AS_THEY_ARE) -> None:
        from torchvision import transforms

        self.steps: list[Callable[[Any], Any]] = [transforms.ToTensor()]
        if isinstance(options.size, int):
            self.steps.insert(0, transforms.CenterCrop(options.size))
        if options.size is not None:
            self.steps.insert(0, transforms.Resize(options.size))
        if options.normalize is not None:
            self.steps.append(transforms.Normalize(options.normalize.mean, options.normalize.std))

    def __call__(self, image: Any) -> Tensor:
        """From a PIL image to a tensor [C, H, W] in [0, 1]."""
        for step in self.steps:
            image = step(image)
        found: Tensor = image
        return found


def check(name: str, places: Places) -> None:
    """Makes sure that a data set is there, fetching it where ``places`` allows.

    Raises:
        MissingDataError: It is not there, or no data set has that name.
    """
    if name in (SYNTHETIC, OWN_DATA):
        return
    if name in sources() or name.startswith(FOLDER):
        _read(name, places, Transform(_image_options(name, places)))
        return
    found = find_data(name)
    if isinstance(found, Source):
        found.read(places, Transform())


def _image_options(name: str, places: Places) -> ImageOptions:
    """What the name of a folder of images says of them."""
    path, (_, call) = places.find("dataset", name), parts_of_folder(name.removeprefix(FOLDER))
    has_none = path is None or name == f"{FOLDER}{path.name}"  # whose own name may have brackets
    return AS_THEY_ARE if has_none else read_image_options(call)


def _read(name: str, places: Places, transform: Transform) -> tuple[Samples, Samples, Shape, int]:
    """Training split, held-out split, shape of an image, number of classes."""
    if not name.startswith(FOLDER):
        source = find_data(name) if is_name_of_data(name) else sources()[name]
        return source.read(places, transform)
    from torchvision.datasets import ImageFolder

    path = places.find("dataset", name)
    if path is None:
        raise MissingDataError(f"{name}: where it lies is not known here.")
    try:
        parts = [ImageFolder(str(path / part), transform) for part in ("train", "test")]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingDataError(f"{name}: {path} needs train/CLASS/*.jpg and test/CLASS/*.jpg ({error}).") from error
    if parts[0].classes != parts[1].classes:
        raise MissingDataError(f"{name}: train/ and test/ have different classes.")
    first, _ = parts[0][0]
    transform.steps.append(OneSize(name, tuple(first.shape)))
    return parts[0], parts[1], tuple(first.shape), len(parts[0].classes)


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
        loader: ``resident``: on the device from the start, in a new random order each time: images and a task's
            own tensors sample by sample; of other data as many whole batches as fit, for steps alone.
            ``dataloader``: the lecture's, a DataLoader(shuffle=True) over single images turned by ToTensor, or what
            a task says of its own.
        batch_size: Samples in a batch.
        device: Where batches are wanted.
        channels_last: Whether images lie in that memory format.
    """

    def __init__(self, data: Data, loader: str, batch_size: int, device: str, channels_last: bool = False) -> None:
        self.batch_size = batch_size
        self.device = device
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.dataset = data.train
        self.loading = data.loading
        self.part = part if data.split is None else parted_by(data.split)
        self.size = 0 if data.is_stream else len(data.train)  # type: ignore[arg-type]  # all others have a length
        self.transfer: Callable[[Any, Any], Batch] = self._to_device  # an instrument may time it
        self.resident: Batch | None = None
        self.kept = [self._to_device(*batch) for batch in data.made_up]
        self._loader: DataLoader[Any] | None = None  # whose processes stay
        if loader == "resident" and not self.kept:
            whole = self._whole(data)
            if whole is None:
                self.kept = self._some_batches()
            else:
                self.resident = own_data.mapped_batch(lambda tensor: tensor.to(device), whole)
                if not isinstance(whole[0], Tensor) or whole[0].ndim != 4:
                    self.layout = torch.contiguous_format

    @property
    def samples(self) -> int | None:
        """Of an epoch; None where nobody knows."""
        return self.size

    @property
    def is_resident(self) -> bool:
        """Whether batches are on the device before they are asked for."""
        return self.resident is not None or bool(self.kept)

    @property
    def resident_bytes(self) -> int:
        """Of the data that are there from the start."""
        held = ([self.resident] if self.resident is not None else []) + self.kept
        return sum(tensor.numel() * tensor.element_size() for batch in held for tensor in tensors(batch))

    def epoch(self) -> Iterator[Batch]:
        """Each sample once, in a new random order; the last batch may be smaller."""
        if self.resident is not None:
            return self._chosen(torch.randperm(self.size, device=self.device))
        if self.loading is None:
            return self._loaded(DataLoader(self.dataset, self.batch_size, shuffle=True))
        return self._loaded(self._own_loader(self.loading, self.loading.sampler, self.loading.drop_last))

    def in_order(self) -> Iterator[Batch]:
        """Each sample once, in the order of the data set."""
        options = {} if self.loading is None else self.loading.options
        return self._loaded(DataLoader(self.dataset, self.batch_size, **options))

    def batches_of_epoch(self) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(self.size, self.batch_size)
        dropped = self.resident is None and self.loading is not None and self.loading.drop_last
        return whole + (rest > 0 and not dropped)

    def some(self, places: Tensor) -> Feed:
        """The same way of feeding, over a few of the samples.

        Args:
            places: Which, int64 [n].
        """
        few = self._over(Subset(self.dataset, places.tolist()), len(places))
        if self.resident is not None:
            few.resident = own_data.chosen(self.resident, places)
        return few

    def numbered(self, batch_size: int) -> Feed:
        """The same way of feeding, over numbers that stand for the samples: what it shows is their order."""
        numbers = torch.arange(self.size)
        few = self._over(TensorDataset(numbers, numbers), self.size)
        few.part, few.batch_size, few.device = part, batch_size, "cpu"
        if self.loading is not None:
            few.loading = own_data.Split(few.dataset, {}, self.loading.sampler, self.loading.drop_last)
        few.resident = None if self.resident is None else (numbers, numbers)
        return few

    def _over(self, dataset: Samples, size: int) -> Feed:
        few = copy.copy(self)
        few.dataset, few.size = dataset, size
        few.transfer, few.kept, few._loader = few._to_device, [], None
        if few.loading is not None:
            few.loading = replace(few.loading, dataset=dataset, sampler=None)  # an order of all is none of a few
        return few

    def first(self, batches: int) -> Iterator[Batch]:
        """The first batches of an epoch."""
        return islice(self.epoch(), batches)

    def endless(self) -> Iterator[Batch]:
        """Whole batches only, epoch after epoch; a batch larger than the data set wraps round."""
        if self.kept:
            yield from own_data.endlessly(self.kept)
        wraps = -(-self.batch_size // self.size)  # permutations that one batch needs
        whole = self.size * wraps // self.batch_size * self.batch_size
        if self.resident is not None:
            while True:
                orders = [torch.randperm(self.size, device=self.device) for _ in range(wraps)]
                yield from self._chosen(torch.cat(orders)[:whole])
        sampler = RandomSampler(self.dataset, num_samples=self.size * wraps)  # type: ignore[arg-type]  # it has one
        if self.loading is None:
            loader = DataLoader(self.dataset, self.batch_size, sampler=sampler, drop_last=True)
        else:
            loader = self._own_loader(self.loading, self.loading.sampler or sampler, drop_last=True)
        if not len(loader):
            raise UnsupportedError(f"the data have {self.size} samples in an order of their own, fewer than a batch")
        while True:
            yield from self._loaded(loader)

    def _own_loader(self, loading: own_data.Split, sampler: Any, drop_last: bool) -> DataLoader[Any]:
        """A DataLoader as a task says; one whose processes stay is made once for each way of ordering."""
        options = loading.options
        if sampler is None and not loading.is_stream:
            sampler = RandomSampler(self.dataset)  # type: ignore[arg-type]  # it has a length
        if options.get("persistent_workers") and self._loader is not None and self._loader.drop_last == drop_last:
            return self._loader
        self._loader = DataLoader(self.dataset, self.batch_size, sampler=sampler, drop_last=drop_last, **options)
        return self._loader

    def _whole(self, data: Data) -> Batch | None:
        """All samples as one batch, where they are tensors of one shape; None where they are not."""
        if data.loading is None:
            return as_tensors(data.train, data.adaptation)
        plain = not data.loading.options and data.loading.sampler is None and not data.loading.drop_last
        if plain and isinstance(self.dataset, own_data.TensorSamples):
            return self.part(self.dataset.whole)
        return None

    def _some_batches(self) -> list[Batch]:
        """As many batches as may be kept on the device."""
        kept: list[Batch] = []
        size = 0
        for batch in islice(self._to_keep(), KEPT_BATCHES):
            kept.append(batch)
            size += sum(tensor.numel() * tensor.element_size() for tensor in tensors(batch))
            if size > KEPT_BYTES:
                break
        self._loader = None  # its processes are no longer needed
        return kept

    def _to_keep(self) -> Iterator[Batch]:
        return islice(self.endless(), max(1, self.size // self.batch_size))

    def _chosen(self, order: Tensor) -> Iterator[Batch]:
        assert self.resident is not None
        images, labels = self.resident
        are_tensors = isinstance(images, Tensor) and isinstance(labels, Tensor) and images is not labels
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            if not are_tensors:
                yield own_data.chosen(self.resident, chosen)
                continue
            yield images[chosen].contiguous(memory_format=self.layout), labels[chosen]

    def _loaded(self, loader: DataLoader[Any]) -> Iterator[Batch]:
        for batch in loader:
            yield self.transfer(*self.part(batch))

    def _to_device(self, inputs: Any, targets: Any) -> Batch:
        return on_device((inputs, targets), self.device, self.layout)


class StreamFeed(Feed):
    """Batches of an IterableDataset: in its own order, and of as many samples as come."""

    def __init__(self, data: Data, loader: str, batch_size: int, device: str, channels_last: bool = False) -> None:
        self._data = data
        super().__init__(data, loader, batch_size, device, channels_last)

    @property
    def samples(self) -> None:
        """Nobody knows."""
        return

    def batches_of_epoch(self) -> int:
        """How many batches come, if the stream ends; it is gone through to know."""
        return sum(1 for _ in self.epoch())

    def some(self, places: Tensor) -> Feed:
        """The same way of feeding, over as many samples: the first that come."""
        first: Any = [*islice(iter(self.dataset), len(places))]
        loading = None if self.loading is None else replace(self.loading, dataset=first)
        return Feed(replace(self._data, train=first, loading=loading), "dataloader", self.batch_size, self.device)

    def endless(self) -> Iterator[Batch]:
        """Whole batches only, pass after pass."""
        if self.kept:
            yield from own_data.endlessly(self.kept)
        while True:
            some = False
            for batch in self._pass():
                some = True
                yield batch
            if not some:
                raise UnsupportedError("the data are a stream of fewer samples than a batch")

    def _pass(self) -> Iterator[Batch]:
        assert self.loading is not None  # a stream is a task's own
        return self._loaded(self._own_loader(self.loading, None, drop_last=True))

    def _to_keep(self) -> Iterator[Batch]:
        return self._pass()


def _side(shape: Shape) -> str:
    """As a folder's size says it: one number for a square."""
    _, height, width = shape
    return str(height) if height == width else f"({height},{width})"


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
