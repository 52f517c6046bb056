"""How a cell's DataLoader loads: by workers or without, the same samples in the same order; and what that takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trainmark.measure import data as data_sets
from trainmark.measure.data import Adaptation, Data, Feed
from trainmark.measure.failures import UnsupportedError
from trainmark.measure.phases import measure_phases
from trainmark.measure.settings import Settings
from trainmark.measure.steps import prepare
from trainmark.store.cell import Cell, plain
from trainmark.task import Task

HERE = "tests.measure.test_loading"
SAMPLE_CPU_SECONDS = 5e-3


class Processes(Dataset[Any]):
    """Samples that tell which process has loaded them."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(os.getpid())]), index


class Waiting(Dataset[Any]):
    """A slow disk: samples that take time, and no processor."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        time.sleep(SAMPLE_CPU_SECONDS)
        return torch.zeros(2), index % 2


class Working(Waiting):
    """A slow transform: samples that take a processor."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        begun = time.thread_time()
        while time.thread_time() - begun < SAMPLE_CPU_SECONDS:
            pass
        return torch.zeros(2), index % 2


def linear() -> nn.Module:
    return nn.Linear(2, 2)


slow_disk, slow_transform = (Task(model=linear, data=dataset()) for dataset in (Waiting, Working))
own_loader = Task(model=linear, data=lambda: DataLoader(Working()))  # which nobody knows before it is called


def of(dataset: Dataset[Any]) -> Data:
    return Data("made up", dataset, None, Adaptation(), None)


def order(batches: Iterator[Any], number: int) -> list[list[int]]:
    return [targets.tolist() for _, targets in islice(batches, number)]


@pytest.mark.parametrize("batches", ["epoch", "endless"])
@pytest.mark.parametrize("loading", [{"num_workers": 1}, {"num_workers": 2, "prefetch_factor": 4}])
def test_workers_load_the_same_samples_in_the_same_order(batches: str, loading: dict[str, Any]) -> None:
    numbers = TensorDataset(torch.arange(10), torch.arange(10))
    orders = []
    for said in ({}, loading):
        torch.manual_seed(0)
        orders.append(order(getattr(Feed(of(numbers), "dataloader", 4, "cpu", loading=said), batches)(), 3))
    assert orders[0] == orders[1]


def test_samples_are_loaded_by_other_processes_where_there_are_workers() -> None:
    def loaders(**loading: Any) -> set[float]:
        feed = Feed(of(Processes()), "dataloader", 4, "cpu", loading=loading)
        return {pid for _ in range(2) for pids, _ in feed.epoch() for pid in pids.flatten().tolist()}

    here = float(os.getpid())
    assert loaders() == {here}
    assert here not in loaders(num_workers=1)
    assert len(loaders(num_workers=1, persistent_workers=True)) == 1
    assert len(loaders(num_workers=1)) == 2  # an epoch each


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ({}, {}),
        ({"workers": 2}, {"num_workers": 2, "prefetch_factor": 2}),
        ({"workers": 1, "prefetch": 8}, {"num_workers": 1, "prefetch_factor": 8}),
        (
            {"workers": 1, "persistent_workers": "on"},
            {"num_workers": 1, "prefetch_factor": 2, "persistent_workers": True},
        ),
        ({"pin_memory": "on"}, {"pin_memory": True}),
    ],
)
@pytest.mark.parametrize("workload", ["train", "inference", "input"])
def test_a_loader_is_given_what_its_cell_says_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workload: str, said: dict[str, Any], options: dict[str, Any]
) -> None:
    given: list[dict[str, Any]] = []

    def recorded(dataset: Any, batch_size: int, **others: Any) -> list[Any]:
        given.append({name: value for name, value in others.items() if name not in ("sampler", "drop_last")})
        return [(torch.zeros(batch_size, 1, 28, 28), torch.zeros(batch_size, dtype=torch.long))]

    monkeypatch.setattr(data_sets, "DataLoader", recorded)
    cell = Cell.of(workload, dataset="synthetic", loader="dataloader", batch_size=8, **said)
    next(prepare(cell, Settings(), tmp_path).batches)
    assert given == [options]


def test_a_task_and_a_cell_cannot_both_say_how_to_load(tmp_path: Path) -> None:
    own = {"dataset": "own-data", "loader": "dataloader", "batch_size": 4}
    prepare(Cell.of("train", model=f"{HERE}:own_loader", **own), Settings(), tmp_path)
    with pytest.raises(UnsupportedError, match="the task says its own DataLoader: --workers 2 is for those that say"):
        prepare(Cell.of("train", model=f"{HERE}:own_loader", **own, workers=2), Settings(), tmp_path)


def loading_seconds(task: str, tmp_path: Path, **said: Any) -> float:
    cell = Cell.of("train", model=f"{HERE}:{task}", dataset="own-data", loader="dataloader", batch_size=4, **said)
    steps = prepare(cell, Settings(), tmp_path)
    found = measure_phases(steps, "cpu", number=3).loading_cpu_seconds
    assert found is not None
    return found


def test_processors_work_for_a_slow_transform_and_not_for_a_slow_disk(tmp_path: Path) -> None:
    assert loading_seconds("slow_transform", tmp_path) >= 4 * SAMPLE_CPU_SECONDS
    assert loading_seconds("slow_disk", tmp_path) < 2 * SAMPLE_CPU_SECONDS


def test_what_workers_work_counts_too(tmp_path: Path) -> None:
    assert loading_seconds("slow_transform", tmp_path, workers=1) >= 3 * SAMPLE_CPU_SECONDS


def test_what_a_cell_computes_is_looked_at_without_workers() -> None:
    said = {"workers": 2, "persistent_workers": "on", "prefetch": 4, "checkpointing": "on", "cudnn_benchmark": "on"}
    fused = Cell.of("train", loader="dataloader", optimizer="sgd", optimizer_implementation="fused", **said)
    assert plain(fused) == plain(Cell.of("train", loader="dataloader", optimizer="sgd"))
    assert plain(Cell.of("train", optimizer="sgd")) != plain(Cell.of("train"))
    assert plain(Cell.of("train", accumulate=4)) != plain(Cell.of("train"))


def test_a_task_keeps_the_loader_that_its_author_made() -> None:
    from trainmark.measure.own_data import own_parts

    numbers = TensorDataset(torch.arange(10), torch.arange(10))
    assert own_parts(Task(model=linear, data=(DataLoader(numbers), numbers))) == ("data", "DataLoader")
    assert own_parts(Task(model=linear, data=(numbers, DataLoader(numbers)))) == ("data",)
    told = Task(model=linear, optimizer=torch.optim.SGD, step=lambda training, inputs, targets: None)
    assert own_parts(told) == ("optimizer", "step")
