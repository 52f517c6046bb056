"""The optimizer of a cell, gradients that are added up, and activations that are computed again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import MODELS
from models.resnet import Block
from trainmark.measure import switches
from trainmark.measure.checkpointing import blocks, checkpoint_blocks
from trainmark.measure.data import Adaptation, Data, Feed
from trainmark.measure.failures import UnsupportedError
from trainmark.measure.instruments import count_samples, count_work
from trainmark.measure.protocol import HeldOutData, train_once
from trainmark.measure.settings import Settings
from trainmark.measure.steps import Steps, TrainingParts, prepare, task_and_data
from trainmark.measure.training import train_epoch
from trainmark.meters.flops import count_flops
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS

SMOOTH = "tests.measure.test_optimizing:smooth"  # without dropout: one batch draws other numbers than four


def smooth() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 10))


def made(scratch: Path, **said: Any) -> Steps:
    steps: Steps = prepare(Cell.of("train", **{"dataset": "mnist-5k", "batch_size": 16} | said), Settings(), scratch)
    return steps


def losses(steps: Steps, number: int) -> list[float]:
    torch.manual_seed(0)
    return [float(steps.advance().detach()) for _ in range(number)]


def optimizer_of(steps: Steps) -> torch.optim.Optimizer:
    assert isinstance(steps.parts, TrainingParts)
    return steps.parts.optimizers[0]


# The optimizer


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("adamw", torch.optim.AdamW, {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.01}),
        ("adam", torch.optim.Adam, {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0}),
        ("sgd", torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9, "weight_decay": 0, "nesterov": False}),
    ],
)
def test_an_optimizer_has_the_hyperparameters_that_its_entry_tells(
    name: str, kind: type, told: dict[str, Any], tmp_path: Path
) -> None:
    optimizer = optimizer_of(made(tmp_path, optimizer=name))
    assert type(optimizer) is kind
    assert optimizer.defaults.items() >= told.items()
    assert (optimizer.defaults["foreach"], optimizer.defaults["fused"]) == (None, None)


def test_every_optimizer_and_implementation_can_be_made_and_learns(tmp_path: Path) -> None:
    for name in PARAMETERS["optimizer"].values:
        plain, *others = (
            losses(made(tmp_path, model=SMOOTH, optimizer=name, optimizer_implementation=how), 20)
            for how in PARAMETERS["optimizer_implementation"].values
        )
        assert plain[-1] < plain[0]
        for other in others:
            assert other == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("how", ["foreach", "fused"])
def test_an_implementation_is_the_one_asked_for(how: str, tmp_path: Path) -> None:
    assert optimizer_of(made(tmp_path, optimizer_implementation=how)).defaults[how] is True


def test_cudnn_is_told_to_try_in_cells_that_say_so_and_in_no_later_one(tmp_path: Path) -> None:
    held = switches.hold()
    try:
        for said in ("on", "off"):
            made(tmp_path, cudnn_benchmark=said)
            assert torch.backends.cudnn.benchmark is (said == "on")
            assert "moved-cudnn-benchmark" not in switches.flags()
    finally:
        torch.backends.cudnn.benchmark = False
        held.restore()


# Gradients that are added up


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_four_batches_of_16_train_as_one_of_64(precision: str, tmp_path: Path) -> None:
    several, one = (
        losses(made(tmp_path, model=SMOOTH, precision=precision, batch_size=size, accumulate=number), 12)
        for size, number in ((16, 4), (64, 1))
    )
    assert several == pytest.approx(one, abs=1e-5 if precision == "fp32" else 1e-2)


def test_gradients_that_are_not_weighed_would_be_noticed(tmp_path: Path) -> None:
    several, one = (losses(made(tmp_path, model=SMOOTH, batch_size=16, accumulate=number), 12) for number in (4, 1))
    assert several != pytest.approx(one, abs=1e-3)


def digits(number: int) -> Data:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(number, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (number,), generator=generator)
    return Data("made up", torch.utils.data.TensorDataset(images, labels), None, Adaptation(), 10)


@pytest.mark.parametrize("loader", ["resident", "dataloader"])
def test_a_whole_training_by_groups_equals_one_by_large_batches_its_smaller_last_one_too(
    loader: str, tmp_path: Path
) -> None:
    found = []
    for size, number in ((16, 4), (64, 1)):
        cell = Cell.of("accuracy", model=SMOOTH, dataset="synthetic", batch_size=size, accumulate=number, epochs=2)
        task, _ = task_and_data(cell, Settings())
        feed = Feed(digits(150), loader, size, "cpu", accumulate=number)
        assert feed.steps_of_epoch() == 3
        held_out = HeldOutData(8, {}, (torch.zeros(8, 1, 28, 28), torch.zeros(8, dtype=torch.long)))
        found.append(train_once(cell, task, feed, held_out, 0, 2, Settings(), lambda _: None))
    assert found[0].losses == pytest.approx(found[1].losses, abs=1e-5)
    assert found[0].samples == found[1].samples == 300


def test_a_step_is_one_of_the_optimizer_and_has_the_samples_of_all_its_batches(tmp_path: Path) -> None:
    steps = made(tmp_path, batch_size=16, accumulate=4)
    taken: list[int] = []
    optimizer_of(steps).register_step_post_hook(lambda *_: taken.append(1))
    steps.advance_looking()
    assert taken == [1]
    assert steps.samples == count_samples(steps.feed.endless, 0)["samples_per_step"] == 64
    assert count_samples(steps.feed.endless, 0)["repeated_samples_per_epoch"] < 32  # type: ignore[operator]
    assert [len(labels) for labels in next(steps.batches)[1]] == [16] * 4


def test_a_step_that_is_given_the_same_samples_again_is_noticed() -> None:
    batches = list(Feed(digits(64), "resident", 16, "cpu", accumulate=4).epoch())
    found = count_samples(lambda: iter(batches), 0)
    assert found == {"samples_per_step": 64, "repeated_samples_per_epoch": 64}


def test_counts_of_such_a_step_are_of_all_of_it(tmp_path: Path) -> None:
    found = [
        count_work(made(tmp_path, model=SMOOTH, **said), Cell.of("train", model=SMOOTH, **said), Settings())
        for said in ({"batch_size": 64, "accumulate": 1}, {"batch_size": 16, "accumulate": 4})
    ]
    one, several = (work.metrics for work in found)
    assert several["flops_per_step"] == one["flops_per_step"]
    assert several["gradient_bytes"] == one["gradient_bytes"]
    assert several["gradient_additions_per_step"] == 3 * 6  # of each parameter, after the first batch
    assert {work.reason for work in found} == {None}


# Activations that are computed again


class Normal(nn.Module):
    """Blocks with all that a second computation could change: chance, and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([self.block(784), self.block(32), self.block(32)])
        self.head = nn.Linear(32, 10)

    @staticmethod
    def block(inputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


class Single(nn.Module):
    """Layers and nothing that holds several of them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1))
        return logits


NORMAL = "tests.measure.test_optimizing:Normal"


def trained(steps: Steps) -> Iterator[Tensor]:
    torch.manual_seed(0)
    train_epoch(steps.step, (next(steps.batches) for _ in range(3)))
    assert steps.model is not None
    yield from (*steps.model.parameters(), *steps.model.buffers())


@pytest.mark.parametrize("model", [NORMAL, "mlp", "mlp-residual", "cnn", "resnet20"])
def test_a_training_that_computes_activations_again_is_the_same_training(model: str, tmp_path: Path) -> None:
    kept, again = (
        list(trained(made(tmp_path, model=model, batch_size=4, checkpointing=said))) for said in ("off", "on")
    )
    assert len(kept) == len(again)
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet20"])
def test_fewer_activations_are_kept_and_more_is_computed(model: str, tmp_path: Path) -> None:
    found = []
    for said in ("off", "on"):
        cell = Cell.of("train", model=model, dataset="mnist-5k", batch_size=16, checkpointing=said)
        found.append(count_work(prepare(cell, Settings(), tmp_path), cell, Settings()).metrics)
    kept, again = found
    assert again["activation_bytes"] < kept["activation_bytes"]  # type: ignore[operator]  # both are counted
    assert again["operators_per_step"] > kept["operators_per_step"]  # type: ignore[operator]
    assert again["flops_per_step"] > kept["flops_per_step"]  # type: ignore[operator]
    assert again["parameters"] == kept["parameters"]


def test_blocks_are_members_of_stacks_and_else_the_smallest_parts_with_parts() -> None:
    resnet20 = MODELS["resnet20"].build()
    assert [type(block) for block in blocks(resnet20)] == [nn.Sequential, *[Block] * 9]
    assert len(blocks(MODELS["mlp-residual"].build())) == 2
    assert blocks(MODELS["cnn"].build()) == []
    assert len(blocks(Normal())) == 3
    assert len(blocks(MODELS["resnet50"].build())) == 3 + 4 + 6 + 3
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 4)
    assert len(blocks(encoder)) == len(blocks(nn.Sequential(nn.Linear(8, 8), encoder))) == 4
    assert blocks(nn.ModuleList([nn.Linear(8, 8)])) == blocks(nn.Sequential(nn.ModuleList([nn.Linear(8, 8)]))) == []


def test_a_model_of_single_layers_is_told_to_have_no_blocks() -> None:
    with pytest.raises(UnsupportedError, match="has no blocks whose activations could be dropped"):
        checkpoint_blocks(Single())


def test_an_evaluation_and_a_copy_are_as_before() -> None:
    model = MODELS["resnet20"].build()
    checkpointed = copy.deepcopy(model)
    checkpoint_blocks(checkpointed)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(checkpointed.eval()(images), model.eval()(images))
    assert list(checkpointed.state_dict()) == list(model.state_dict())
    assert count_flops(checkpointed, (2, 3, 32, 32), training=False) == count_flops(
        model, (2, 3, 32, 32), training=False
    )
