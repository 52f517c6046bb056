"""What a cell computes: equal wherever the training is the same, and whole."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from torch import nn

from tests import moving
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
    kept = ["gradient", "images", "loss", "outputs", "rounding", "samples"]
    assert [sorted(step) for step in found["steps"]] == [kept] * 3
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


def shares(found: dict[str, Any]) -> list[float]:
    """How far rounding moves whatever it moves."""
    rows = (row for kind in ("steps", "evaluations", "tensors") for row in found[kind])
    return [share for row in rows for share in row["rounding"].values()]


def without_rounding(found: dict[str, Any]) -> dict[str, Any]:
    """As an older version keeps it."""
    rows = {kind: [dict(row) for row in found[kind]] for kind in ("steps", "evaluations", "tensors")}
    for row in (row for kind in rows.values() for row in kind):
        del row["rounding"]
    return found | rows


def test_another_layout_within_a_batch_normalisation_is_the_same_training(tmp_path: Path) -> None:
    base, laid = (
        computed(cell_of("train", model=model, dataset="synthetic"), tmp_path)
        for model in ("resnet20", "tests.moving:Laid")
    )
    assert compare_computations(base, laid).told is None
    assert compare_computations(laid, base).told is None
    assert compare_computations(without_rounding(base), laid).told is not None
    assert max(shares(base)) > 1e-3
    assert max(base["steps"][0]["rounding"].values()) < 1e-2 < max(base["steps"][2]["rounding"].values())


@pytest.mark.parametrize("workload", WITH_MODELS)
def test_rounding_stays_small_in_a_network_without_normalisation(workload: str, tmp_path: Path) -> None:
    found = shares(computed(cell_of(workload), tmp_path))
    assert all(1e-6 < share < 1e-4 for share in found)


def test_a_record_tells_what_the_first_step_does_to_running_means(tmp_path: Path) -> None:
    steps = computed(cell_of("train", model="resnet20", dataset="synthetic"), tmp_path)["steps"]
    assert [("buffers" in step) for step in steps] == [True, False, False]


@pytest.mark.parametrize("model", ["system_chance", "Particular"])
def test_nothing_is_told_of_rounding_where_it_cannot_be_told(model: str, tmp_path: Path) -> None:
    """Of chance that nobody seeds, and of a layer that takes no other layout."""
    found = computed(cell_of("train", model=f"tests.moving:{model}", dataset="synthetic"), tmp_path)
    assert len(found["steps"]) == 3
    assert not any("rounding" in row for kind in ("steps", "evaluations", "tensors") for row in found[kind])


def test_what_the_other_steps_leave_behind_is_not_seen_by_these(tmp_path: Path) -> None:
    cell = cell_of("train", model="tests.moving:Counting", dataset="synthetic")
    moving.calls.clear()
    found = computed(cell, tmp_path)
    assert moving.calls == [FEW["batch_size"]] * 4
    assert all(share < 1e-5 for share in shares(found))


def test_nothing_that_looks_on_stays_behind(tmp_path: Path) -> None:
    computed(cell_of("train"), tmp_path)
    modules = torch.nn.modules.module
    assert not modules._global_forward_pre_hooks
    assert not modules._global_forward_hooks
    assert not torch.optim.lr_scheduler.LRScheduler.__init__.__qualname__.startswith("_")
