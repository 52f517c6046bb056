"""A task's own data: from what its author gives to a training and a held-out split, and how each is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler

from trainmark.measure.batches import Batch, kind_of, mapped, part, parted_by, tensors
from trainmark.measure.failures import ModelError, UnsupportedError
from trainmark.task import Task

KEPT_OPTIONS = (  # of a DataLoader; batch size, order and dropping are the benchmark's
    *("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator"),
    *("prefetch_factor", "persistent_workers"),
)
EXAMPLES = 16  # batches that made-up ones are like
NEEDED = "give a Dataset, a DataLoader, or tensors of as many samples"


class TensorSamples(Dataset[Any]):
    """Samples of tensors that lie in memory.

    Args:
        whole: A tuple, list or dict of tensors [N, …], nested.
    """

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        sizes = {len(tensor) for tensor in tensors(whole)}
        if len(sizes) != 1:
            raise ModelError(f"the data have tensors of {', '.join(map(str, sorted(sizes)))} samples: {NEEDED}")
        (self.size,) = sizes

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return mapped(lambda tensor: tensor[index], self.whole)


@dataclass(frozen=True)
class Split:
    """Samples, and how batches are made of them.

    Attributes:
        dataset: Has a length, but for an IterableDataset.
        options: Of a DataLoader.
        sampler: Whose order it is; None for a new random one each epoch.
        drop_last: Whether a smaller last batch is left out.
        of_loader: Whether its author made a DataLoader of it.
    """

    dataset: Dataset[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    sampler: Any = None
    drop_last: bool = False
    of_loader: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether the samples come in an order of their own, and nobody knows how many."""
        return isinstance(self.dataset, IterableDataset)


def own_parts(task: Task) -> tuple[str, ...]:
    """What a task says itself, of what a parameter might say; of its DataLoader only where its data are no function."""
    train = task.data[0] if isinstance(task.data, tuple) and task.data else task.data
    said = {
        "optimizer": task.optimizer is not None,
        "step": task.step is not None,
        "schedule": task.schedule is not None,
        "data": task.data is not None,
        "DataLoader": isinstance(train, DataLoader),
    }
    return tuple(part for part, is_said in said.items() if is_said)


def read_own_data(task: Task) -> tuple[Split, Split | None]:
    """The training and the held-out split of a task; None where it has no held-out data.

    Raises:
        ModelError: What it gives are no data, or there are none in them.
    """
    given = task.data
    if callable(given) and not isinstance(given, Dataset | DataLoader):
        given = given()
    if isinstance(given, tuple) and len(given) == 2 and not any(isinstance(one, Tensor) for one in given):
        train, held_out = given
        return _split(train, task, "training"), None if held_out is None else _split(held_out, task, "held-out")
    return _split(given, task, "training"), None


def _split(given: Any, task: Task, name: str) -> Split:
    options: dict[str, Any] = {}
    sampler, drop_last = None, False
    dataset = given
    if isinstance(given, DataLoader):
        dataset = given.dataset
        if given.batch_size is None:
            has = "no batch_size" if given.batch_sampler is None else "a batch_sampler"
            raise UnsupportedError(
                f"the DataLoader of the {name} data has {has}, and its batch size is its own: give the data set, and "
                "collate= where it needs one"
            )
        options = {option: getattr(given, option) for option in KEPT_OPTIONS}
        if not options["num_workers"]:
            for option in ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout"):
                del options[option]
        own_order = not isinstance(given.sampler, RandomSampler) and not isinstance(dataset, IterableDataset)
        sampler = given.sampler if own_order else None
        drop_last = given.drop_last
    elif _are_tensors(given):
        dataset = TensorSamples(given)
    if not isinstance(dataset, IterableDataset):
        _refuse_no_samples(dataset, given, name)
    if task.collate is not None:
        options["collate_fn"] = task.collate
    return Split(dataset, options, sampler, drop_last, isinstance(given, DataLoader))


def _refuse_no_samples(dataset: Any, given: Any, name: str) -> None:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ModelError(f"the {name} data are {kind_of(given)}, without a length: {NEEDED}")
    if isinstance(dataset, str | Mapping):
        raise ModelError(f"the {name} data are {kind_of(given)}: {NEEDED}")
    if not len(dataset):
        raise ModelError(f"the {name} data have no samples")


def _are_tensors(given: Any) -> bool:
    """Whether it is a tensor, or a tuple or dict of tensors alone; a list is one of samples."""
    if isinstance(given, Tensor):
        return bool(given.ndim)
    parts = given.values() if isinstance(given, Mapping) else given if isinstance(given, tuple) else ()
    return bool(parts) and all(_are_tensors(one) for one in parts)


def made_up(split: Split, way: Callable[[Any], Batch] | None, batch_size: int) -> list[Batch]:
    """Batches like the first of a split: as many, of these shapes and types, with other numbers in them.

    Floating-point numbers are normal with the example's mean and spread, whole numbers uniform between its
    smallest and largest; what is no tensor is the example's own.

    Args:
        split: Of which examples are taken.
        way: How a batch is parted; None for the usual one.
        batch_size: Samples of a batch.
    """
    generator = torch.Generator().manual_seed(0)
    parted = part if way is None else parted_by(way)
    examples = _examples(split, batch_size, generator)
    return [mapped_batch(lambda tensor: _like(tensor, generator), parted(batch)) for batch in examples]


def _examples(split: Split, batch_size: int, generator: torch.Generator) -> Iterator[Any]:
    if split.is_stream:
        return islice(DataLoader(split.dataset, batch_size, drop_last=True, **split.options), EXAMPLES)
    order = torch.randperm(len(split.dataset), generator=generator).tolist()  # type: ignore[arg-type]  # it has one
    wanted = EXAMPLES * batch_size
    places = (order * -(-wanted // len(order)))[:wanted]
    loader: DataLoader[Any] = DataLoader(split.dataset, batch_size, sampler=places, drop_last=True, **split.options)
    return islice(iter(loader), min(EXAMPLES, max(1, len(order) // batch_size)))


def mapped_batch(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """The batch with the function applied to each tensor; targets that are the inputs stay the same ones."""
    inputs = mapped(function, batch[0])
    return inputs, inputs if batch[1] is batch[0] else mapped(function, batch[1])


def _like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.numel():
        return tensor
    if tensor.is_floating_point():
        spread = tensor.std().item() if tensor.numel() > 1 else 0.0
        return torch.randn(tensor.shape, generator=generator).mul_(spread).add_(tensor.mean()).to(tensor.dtype)
    if tensor.dtype == torch.bool:
        return torch.rand(tensor.shape, generator=generator) < tensor.float().mean()
    if tensor.is_complex():
        return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    return torch.randint(int(tensor.min()), int(tensor.max()) + 1, tensor.shape, generator=generator).to(tensor.dtype)


def chosen(batch: Batch, places: Tensor) -> Batch:
    """Some samples of a batch whose tensors are all [N, …]."""
    return mapped_batch(lambda tensor: tensor[places.to(tensor.device)], batch)


def endlessly(batches: list[Batch]) -> Iterator[Batch]:
    """The batches again and again, each time in a new random order."""
    while True:
        for place in torch.randperm(len(batches)).tolist():
            yield batches[place]
