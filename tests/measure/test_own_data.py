"""A task's own data: what may be given, how batches are made of it, and what is refused in a sentence."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from trainmark import suite
from trainmark.measure.data import OWN_DATA, SYNTHETIC, Data, Feed, Source, StreamFeed, check, fed, load_alone, load_for
from trainmark.measure.failures import MissingDataError, ModelError, UnsupportedError
from trainmark.measure.instruments import count_work
from trainmark.measure.protocol import measure_steps, measure_training
from trainmark.measure.settings import Places, Settings
from trainmark.measure.steps import prepare
from trainmark.measure.switches import seed_everything
from trainmark.store.cell import Cell
from trainmark.store.metrics import METRICS
from trainmark.suite import Suite
from trainmark.task import HeldOut, Task

X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10)


class Rows(Dataset[Any]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return X[index], index


class Stream(IterableDataset[Any]):
    """The same rows one after the other, without a length."""

    def __init__(self, rows: int = 10) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        yield from ((X[index], index) for index in range(self.rows))


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
        (lambda: [], ModelError, "the training data have no samples"),
        (lambda: (X, Y[:3]), ModelError, "the data have tensors of 3, 10 samples"),
        (lambda: ((X, Y), "cats"), ModelError, "the held-out data are a str"),
        (lambda: DataLoader(Rows(), batch_sampler=[[0, 1]]), UnsupportedError, "has a batch_sampler"),
        (lambda: DataLoader(Rows(), batch_size=None), UnsupportedError, "has no batch_size"),
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


# Streams: an IterableDataset has an order of its own, and no known number of samples


@pytest.mark.parametrize("given", [Stream, lambda: DataLoader(Stream(), batch_size=7)])
def test_a_stream_is_fed_in_its_own_order_pass_after_pass(given: Any) -> None:
    feed = StreamFeed(read(given()), "dataloader", 4, "cpu")
    assert numbers(feed.epoch()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert feed.samples is None and feed.steps_of_epoch() == 3
    batches = feed.endless()
    assert numbers(next(batches) for _ in range(3)) == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert numbers(feed.some(torch.arange(3)).in_order()) == [[0, 1, 2]]


def test_of_a_stream_the_first_batches_are_kept_on_the_device() -> None:
    feed = StreamFeed(read(Stream()), "resident", 4, "cpu")
    assert feed.is_resident
    assert {tuple(targets) for targets in numbers(next(feed.endless()) for _ in range(9))} <= {
        (0, 1, 2, 3),
        (4, 5, 6, 7),
    }


def test_a_stream_of_fewer_samples_than_a_batch_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="a stream of fewer samples than a batch"):
        next(StreamFeed(read(Stream(3)), "dataloader", 4, "cpu").endless())


def test_made_up_batches_are_like_those_of_a_stream_too() -> None:
    inputs, targets = next(StreamFeed(read(Stream(), SYNTHETIC), "dataloader", 4, "cpu").endless())
    assert inputs.shape == (4, 2) and targets.dtype == torch.int64


# Data by their names


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of a user's in whose suite this process is."""
    made = ModuleType("data_of_a_user")
    monkeypatch.setitem(sys.modules, "data_of_a_user", made)
    monkeypatch.setattr(suite, "_opened", [Suite(tmp_path)])
    threads, metrics = torch.get_num_threads(), dict(METRICS)
    yield made
    torch.set_num_threads(threads)
    METRICS.clear()
    METRICS.update(metrics)


def rows(number: int = 10) -> tuple[Any, Any]:
    return (X[:number], Y[:number].float()[:, None]), (X, Y.float()[:, None])


def regression(**parts: Any) -> Task:
    return Task(model=lambda: nn.Linear(2, 1), criterion=nn.MSELoss(), **parts)


@pytest.mark.parametrize(
    ("name", "samples"),
    [("data_of_a_user:rows", 10), ("data_of_a_user:rows(number=6)", 6), ("data_of_a_user:stored", 10)],
)
def test_data_are_found_by_a_name_as_models_are(module: ModuleType, name: str, samples: int) -> None:
    module.rows, module.stored = rows, rows()  # type: ignore[attr-defined]
    for task in (regression(), regression(data=lambda: (X[:2], Y[:2]))):  # in the place of its own, too
        data = load_for(fed(task, name), name, Places(), 4)
        assert (data.name, len(data.train), len(data.held_out)) == (name, samples, 10)


def test_a_file_has_data_too(module: ModuleType, tmp_path: Path) -> None:
    text = "import torch\n\n\ndef rows(number):\n    return torch.zeros(number, 2), torch.zeros(number)\n"
    (tmp_path / "rows_of_a_user.py").write_text(text)
    name = "rows_of_a_user.py:rows(3)"
    assert len(load_for(fed(regression(), name), name, Places(), 4).train) == 3


def test_a_name_may_be_of_a_source_whose_images_are_made_to_fit(module: ModuleType) -> None:
    images = TensorDataset(torch.rand(6, 1, 28, 28), torch.arange(6))
    module.digits = Source(lambda places, transform: (images, images, (1, 28, 28), 10))  # type: ignore[attr-defined]
    task = Task(model=nn.Flatten, input_shape=(1, 32, 32))
    data = load_for(fed(task, "data_of_a_user:digits"), "data_of_a_user:digits", Places(), 4)
    assert (str(data.adaptation), data.classes) == ("pad 2", 10)


def test_a_name_may_be_of_a_task_whose_data_are_meant(module: ModuleType) -> None:
    module.other = Task(model=nn.Identity, data=[1.0, 2.0, 3.0], collate=lambda some: (torch.tensor(some), "names"))  # type: ignore[attr-defined]
    task, data = load_alone("data_of_a_user:other", Places(), 2)
    assert task is module.other  # type: ignore[attr-defined]
    assert next(Feed(data, "dataloader", 3, "cpu").in_order())[1] == "names"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("data_of_a_user:nothing", 'The data set "data_of_a_user:nothing" is not there'),
        ("not_installed_anywhere:rows", 'found no module named "not_installed_anywhere"'),
        ("data_of_a_user:rows(size=3)", "cannot be called with the arguments that it has"),
        ("data_of_a_user:rows(X)", "its argument X is no literal"),
        ("no_file.py:rows", "has no file no_file.py"),
    ],
)
def test_a_name_without_data_is_told_in_a_sentence(module: ModuleType, name: str, told: str) -> None:
    module.rows = rows  # type: ignore[attr-defined]
    with pytest.raises(MissingDataError, match=re.escape(told)):
        check(name, Places())


def test_a_training_on_named_data_or_a_stream_is_measured(module: ModuleType, tmp_path: Path) -> None:
    module.rows = rows  # type: ignore[attr-defined]
    module.wide = regression()  # type: ignore[attr-defined]
    module.flow = regression(data=lambda: (Sums(), Sums()))  # type: ignore[attr-defined]
    for model, dataset, known in (("wide", "data_of_a_user:rows", 10), ("flow", "own-data", None)):
        settings = Settings(max_seconds=0.01, min_rounds=2)
        values: Any = {"model": f"data_of_a_user:{model}", "dataset": dataset, "batch_size": 4}
        assert measure_steps(Cell.of("train", **values), settings, print, tmp_path).status == "ok"
        training = measure_training(Cell.of("accuracy", **values, epochs=2), settings, print, tmp_path)
        assert training.metrics["training_samples"] == 20  # what came in two epochs of ten
        assert training.metrics["samples_per_second"] == pytest.approx(20 / training.metrics["training_seconds"])
        assert training.settings["train_samples"] == training.settings["held_out_samples"] == known


class Sums(Stream):
    """Rows with a number to tell of each."""

    def __iter__(self) -> Iterator[Any]:
        yield from ((X[index] / 20, X[index].sum(0, keepdim=True) / 20) for index in range(self.rows))


# The input pipeline of a task


def test_the_input_of_a_task_is_that_of_its_own_data_in_its_own_unit(module: ModuleType, tmp_path: Path) -> None:
    module.words = regression(  # type: ignore[attr-defined]
        data=lambda: DataLoader(Rows(), collate_fn=lambda some: {"x": torch.stack([row for row, _ in some]), "y": "z"}),
        unit="word",
        count=lambda inputs, _: 3 * len(inputs["x"]),
        metrics={"error": HeldOut(nn.L1Loss(), "lower")},
    )
    for loader in ("resident", "dataloader"):
        cell = Cell.of("input", dataset="data_of_a_user:words", loader=loader, batch_size=4)
        record = measure_steps(cell, Settings(max_seconds=0.01, min_rounds=2), print, tmp_path)
        assert record.metrics["words_per_second"] == pytest.approx(3 * (record.metrics["samples_per_second"] or 0))
        assert record.metrics["samples_per_step"] == 4


class Lengths(Dataset[tuple[Tensor, Tensor]]):
    """Sequences of 1 to 64 rows."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.ones(1 + index, 4), torch.zeros(1)


def padded(batch: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*batch, strict=True)
    return nn.utils.rnn.pad_sequence(list(inputs), batch_first=True), torch.stack(targets)


class Mean(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 1)

    def forward(self, input: Tensor) -> Tensor:  # as its parent has it
        return super().forward(input).mean(1)  # [B, T, 4] -> [B, 1]


@pytest.mark.parametrize("loader", ["resident", "dataloader"])
def test_of_batches_whose_length_varies_every_run_counts_the_same_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loader: str
) -> None:
    module = ModuleType("varying_lengths")
    module.task = Task(  # type: ignore[attr-defined]
        model=Mean, data=lambda: (Lengths(), Lengths()), collate=padded, criterion=nn.MSELoss()
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    cell = Cell.of("train", model="varying_lengths:task", dataset=OWN_DATA, batch_size=4, loader=loader)
    counted = []
    for steps_before in (0, 1, 5):
        seed_everything(0)
        steps = prepare(cell, Settings(), tmp_path)
        for _ in range(steps_before):
            steps.advance()
        counted.append(count_work(steps, cell, Settings()).metrics["activation_bytes"])
    assert counted[0] == counted[1] == counted[2]
