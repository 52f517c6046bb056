"""What a cell computes: equal wherever the training is the same, and whole."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from torch import nn

from tests.misbehaving import Digits
from trainmark.judge.sameness import compare_computations
from trainmark.measure.settings import Settings
from trainmark.measure.switches import Held
from trainmark.measure.worker import Workers
from trainmark.store.cell import FEW, Cell, plain
from trainmark.workloads import entries, entry_of

WITH_MODELS = ("train", "inference", "accuracy")


def computed(cell: Cell, scratch: Path, **settings: Any) -> dict[str, Any]:
    """In this process, which is left as it was."""
    held = Held()
    try:
        how = Settings(threads=1, **settings)
        found: dict[str, Any] = resolve_name(entry_of(cell.workload).computed_by)(plain(cell), how, print, scratch)
        return found
    finally:
        held.restore()


def cell_of(workload: str, **values: Any) -> Cell:
    return Cell.of(workload, **({"dataset": "mnist-5k"} | values))


@pytest.mark.parametrize("workload", [entry.name for entry in entries() if entry.computed_by])
def test_a_cell_computes_the_same_each_time(workload: str, tmp_path: Path) -> None:
    cell = cell_of(workload)
    assert computed(cell, tmp_path) == computed(cell, tmp_path)


@pytest.mark.parametrize("workload", WITH_MODELS)
@pytest.mark.parametrize("how", [{"precision": "bf16"}, {"compile": "default"}, {"memory_format": "channels_last"}])
def test_how_a_cell_computes_does_not_matter(workload: str, how: dict[str, Any]) -> None:
    assert plain(cell_of(workload, **how)) == plain(cell_of(workload))
    assert plain(cell_of(workload, loader="dataloader")) != plain(cell_of(workload, loader="resident"))


@pytest.mark.parametrize("source", ["python_chance", "numpy_chance"])
def test_chance_that_is_not_of_pytorch_is_seeded_too(source: str, tmp_path: Path) -> None:
    cell = cell_of("train", model=f"tests.moving:{source}")
    assert computed(cell, tmp_path) == computed(cell, tmp_path)
    assert computed(cell, tmp_path) != computed(cell, tmp_path, seed=1)


def test_it_is_equal_in_fresh_processes_on_one_thread_and_on_two() -> None:
    workers, cell = Workers(), plain(cell_of("train", model="cnn", dataset="synthetic"))
    found = [
        workers.call("trainmark.measure.computation:of_steps", cell, Settings(threads=threads)).value
        for threads in (1, 1, 2)
    ]
    assert found[0] is not None
    assert found[0] == found[1]
    for facts in (one["facts"] for one in found):
        del facts["threads in a step"], facts["threads in an evaluation"]
    assert compare_computations(found[0], found[2]).told is None


def test_of_a_step_it_keeps_what_goes_in_comes_out_and_flows_back(tmp_path: Path) -> None:
    found = computed(cell_of("train"), tmp_path)
    assert [sorted(step) for step in found["steps"]] == [["gradient", "images", "loss", "outputs", "samples"]] * 3
    assert [step["samples"] for step in found["steps"]] == [FEW["batch_size"]] * 3
    assert len(found["tensors"]) == 10
    assert all(row["steps"] == 3 and row["before"] != row["after"] for row in found["tensors"])
    assert found["facts"]["parameter groups"][0]["elements"] == 270_346
    assert found["facts"]["parameter groups"][0]["lr"] == 1e-3
    assert found["facts"]["loss"] == {
        "class": "CrossEntropyLoss",
        "reduction": "mean",
        "ignore_index": -100,
        "label_smoothing": 0.0,
    }


def test_a_training_is_evaluated_without_gradients_and_over_all_that_is_held_out(tmp_path: Path) -> None:
    facts = computed(cell_of("accuracy"), tmp_path)["facts"]
    assert (facts["training mode in a step"], facts["training mode in an evaluation"]) == ("on", "off")
    assert (facts["gradients in a step"], facts["gradients in an evaluation"]) == ("on", "off")
    assert facts["samples evaluated"] == 1000
    assert facts["share of made-up answers evaluated as right"] == 0.334  # each third of a thousand
    assert facts["samples of an epoch"] == facts["different samples of an epoch"] == [4000, 4000]
    assert facts["order of samples"][0] != facts["order of samples"][1]


def test_the_first_gradient_is_that_of_the_loss_by_the_weights(tmp_path: Path) -> None:
    """Worked out again without an optimizer: the same digits, a linear model and PyTorch's own derivative."""
    found = computed(cell_of("train", model="tests.misbehaving:Digits", dataset="synthetic"), tmp_path)
    torch.manual_seed(0)
    model = Digits()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (8,), generator=generator)
    loss = nn.functional.cross_entropy(model(images), labels)  # the order within a batch changes neither
    loss.backward()  # type: ignore[no-untyped-call]  # of PyTorch
    assert found["steps"][0]["loss"][0] == pytest.approx(loss.item(), rel=1e-6)
    gradient = model.linear.weight.grad
    assert gradient is not None
    assert found["tensors"][0]["gradient"] == pytest.approx(float(gradient.norm()), rel=1e-5)


def test_nothing_that_looks_on_stays_behind(tmp_path: Path) -> None:
    computed(cell_of("train"), tmp_path)
    modules = torch.nn.modules.module
    assert not modules._global_forward_pre_hooks
    assert not modules._global_forward_hooks
    assert not torch.optim.lr_scheduler.LRScheduler.__init__.__qualname__.startswith("_")
