"""A task's own data: what may be given, how batches are made of it, and what is refused in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from trainmark.measure.data import OWN_DATA, SYNTHETIC, Data, Feed, load_for
from trainmark.measure.failures import ModelError, UnsupportedError
from trainmark.measure.settings import Places
from trainmark.task import Task

X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10)


class Rows(Dataset[Any]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return X[index], index


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def read(data: Any, name: str = OWN_DATA, batch_size: int = 4, **parts: Any) -> Data:
    return load_for(Task(model=lambda: nn.Linear(2, 1), data=data, **parts), name, Places(), batch_size)


def numbers(batches: Any) -> list[list[int]]:
    return [targets.tolist() for _, targets in batches]


WAYS = {
    "tensors": lambda: (X, Y),
    "a function": lambda: lambda: (X, Y),
    "a data set": Rows,
    "a TensorDataset": lambda: TensorDataset(X, Y),
    "a list of samples": lambda: [Rows()[index] for index in range(10)],
    "a loader": lambda: DataLoader(Rows(), batch_size=3, shuffle=True),
    "both splits": lambda: ((X, Y), (X[:2], Y[:2])),
    "both data sets": lambda: (Rows(), Rows()),
}


@pytest.mark.parametrize("loader", ["resident", "dataloader"])
@pytest.mark.parametrize("way", WAYS)
def test_an_epoch_of_own_data_has_each_sample_once_with_its_own_target(way: str, loader: str) -> None:
    feed = Feed(read(WAYS[way]()), loader, 4, "cpu")
    batches = list(feed.epoch())
    assert sorted(target for targets in numbers(batches) for target in targets) == list(range(10))
    assert [len(targets) for _, targets in batches] == [4, 4, 2]
    assert all(torch.equal(inputs, X[targets]) for inputs, targets in batches)


@pytest.mark.parametrize("loader", ["resident", "dataloader"])
@pytest.mark.parametrize("way", WAYS)
def test_batches_without_end_are_whole(way: str, loader: str) -> None:
    batches = Feed(read(WAYS[way]()), loader, 4, "cpu").endless()
    assert [len(next(batches)[1]) for _ in range(9)] == [4] * 9


def test_what_is_kept_on_the_device_is_not_loaded_again() -> None:
    asked: list[int] = []

    class Counting(Rows):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            asked.append(index)
            return super().__getitem__(index)

    feed = Feed(read(Counting()), "resident", 4, "cpu")
    before = len(asked)
    assert before == 8  # two whole batches of ten samples
    batches = feed.endless()
    for _ in range(6):
        next(batches)
    assert len(asked) == before and feed.is_resident and feed.resident_bytes > 0


def test_a_loader_keeps_what_it_says_but_for_its_batch_size() -> None:
    def doubled(samples: list[Any]) -> tuple[Tensor, Tensor]:
        return torch.stack([2 * row for row, _ in samples]), torch.tensor([index for _, index in samples])

    given = DataLoader(Rows(), batch_size=7, shuffle=False, drop_last=True, collate_fn=doubled)
    feed = Feed(read(given), "dataloader", 4, "cpu")
    assert numbers(feed.epoch()) == [[0, 1, 2, 3], [4, 5, 6, 7]]  # its order, and no smaller batch
    assert feed.steps_of_epoch() == 2
    assert torch.equal(next(feed.epoch())[0], 2 * X[:4])


def test_a_sampler_of_ones_own_keeps_the_order() -> None:
    always_the_third = WeightedRandomSampler([0.0, 0.0, 1.0, *[0.0] * 7], 10)
    feed = Feed(read(DataLoader(Rows(), batch_size=2, sampler=always_the_third)), "dataloader", 5, "cpu")
    assert numbers(feed.epoch()) == [[2] * 5] * 2
    assert numbers(feed.numbered(5).epoch()) == [[2] * 5] * 2


def test_made_up_batches_are_like_an_example_and_have_other_numbers() -> None:
    def sample(number: int) -> dict[str, Any]:
        return {"x": 5 + torch.randn(3), "on": torch.tensor(number % 2 == 0), "name": "a", "label": number % 4}

    data = read([sample(number) for number in range(12)], SYNTHETIC, batch_size=6)
    assert data.held_out is None
    inputs, targets = next(Feed(data, "dataloader", 6, "cpu").endless())
    assert inputs["x"].shape == (6, 3) and inputs["x"].dtype == torch.float32 and 2 < inputs["x"].mean() < 8
    assert inputs["on"].dtype == torch.bool and inputs["name"] == ["a"] * 6
    assert targets.dtype == torch.int64 and targets.min() >= 0 and targets.max() <= 3


def test_a_batch_larger_than_the_data_wraps_round() -> None:
    for loader in ("resident", "dataloader"):
        assert len(next(Feed(read(Rows()), loader, 24, "cpu").endless())[1]) == 24


@pytest.mark.parametrize(
    ("data", "error", "told"),
    [
        (lambda: None, ModelError, "the training data are None"),
        (lambda: "cats", ModelError, "the training data are a str"),
        (lambda: 5, ModelError, "the training data are an int, without a length"),
        (Stream, ModelError, "the training data are a Stream, without a length"),
        (lambda: [], ModelError, "the training data have no samples"),
        (lambda: (X, Y[:3]), ModelError, "the data have tensors of 3, 10 samples"),
        (lambda: ((X, Y), "cats"), ModelError, "the held-out data are a str"),
        (lambda: DataLoader(Rows(), batch_sampler=[[0, 1]]), UnsupportedError, "has a batch_sampler"),
    ],
)
def test_what_is_no_data_is_refused_in_a_sentence(data: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        read(data)


def test_a_task_with_own_data_takes_no_other_and_one_without_has_none() -> None:
    with pytest.raises(UnsupportedError, match="the task has data of its own: --dataset own-data or synthetic"):
        read((X, Y), "mnist-5k")
    with pytest.raises(UnsupportedError, match="the task has no data of its own"):
        read(None, OWN_DATA)
