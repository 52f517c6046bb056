"""Lazy layers: in every workload a lazy model is the same as its eager twin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import MODELS
from trainmark.measure.failures import ModelError
from trainmark.measure.lazy import materialise
from trainmark.measure.settings import Settings
from trainmark.measure.steps import prepare
from trainmark.measure.worker import finish
from trainmark.meters.flops import count_flops, count_parameters
from trainmark.model import ModelSpec
from trainmark.store.cell import Cell
from trainmark.workloads import entry_of

Build = Callable[[], nn.Module]


def lazy_mlp() -> nn.Module:
    """The lecture's MLP, of layers that learn what they are given."""
    hidden = [(nn.LazyLinear(256), nn.ReLU(), nn.LayerNorm(256), nn.Dropout(0.1)) for _ in range(2)]
    return nn.Sequential(nn.Flatten(), *hidden[0], *hidden[1], nn.LazyLinear(10))


def lazy_cnn() -> nn.Module:
    layers = (nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.LazyInstanceNorm2d(affine=True))
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(10))


def eager_cnn() -> nn.Module:
    layers = (nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.InstanceNorm2d(8, affine=True))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 26 * 26, 10))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.head = nn.LazyLinear(10), nn.LazyLinear(3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.used(images.flatten(1))
        return logits


@pytest.fixture
def with_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Build], str]:
    """Adds a model to MODELS for one test; gives its name."""
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "")

    def add(build: Build) -> str:
        monkeypatch.setitem(MODELS, "made-up", ModelSpec(build, (1, 28, 28), 10, None, "a test", "made-up"))
        return "made-up"

    return add


WithModel = Callable[[Build], str]


@pytest.mark.parametrize("workload", ["train", "inference", "accuracy"])
def test_a_lazy_mlp_has_as_many_parameters_as_the_lectures(
    with_model: WithModel, workload: str, tmp_path: Path
) -> None:
    whole = workload == "accuracy"
    cell = Cell.of(workload, model=with_model(lazy_mlp), batch_size=16, **({"epochs": 1} if whole else {}))
    settings = Settings(max_seconds=0.02, once=whole, threads=torch.get_num_threads())
    ending = finish(entry_of(workload).measured_by, (cell, settings, lambda doing: None, tmp_path))
    assert (ending.status, ending.reason) == ("ok", None)
    assert ending.value.metrics["parameters"] == 270_346


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("workload", ["train", "inference"])
def test_lazy_layers_work_in_every_memory_format(
    with_model: WithModel, workload: str, memory_format: str, tmp_path: Path
) -> None:
    cell = Cell.of(workload, model=with_model(lazy_cnn), batch_size=8, memory_format=memory_format)
    steps = prepare(cell, Settings(), tmp_path)
    with steps.context:
        steps.advance()
    assert count_parameters(steps.model) == count_parameters(eager_cnn())


def test_the_optimizer_of_a_lazy_model_moves_all_its_parameters(with_model: WithModel, tmp_path: Path) -> None:
    steps = prepare(Cell.of("train", model=with_model(lazy_mlp), batch_size=8), Settings(), tmp_path)
    before = [parameter.detach().clone() for parameter in steps.model.parameters()]
    steps.advance()
    assert all(not torch.equal(old, new) for old, new in zip(before, steps.model.parameters(), strict=True))


def test_the_largest_batch_of_a_lazy_model_can_be_tried(with_model: WithModel, tmp_path: Path) -> None:
    cell = Cell.of("train", model=with_model(lazy_mlp), batch_size=2)
    settings = Settings(threads=torch.get_num_threads())
    ending = finish("trainmark.measure.protocol:try_batch", (cell, settings, lambda doing: None, tmp_path))
    assert (ending.status, ending.reason) == ("ok", None)


def test_a_lazy_model_begins_with_the_numbers_of_its_eager_twin() -> None:
    made = []
    for build in (lazy_cnn, eager_cnn):
        torch.manual_seed(3)
        made.append(materialise(build(), partial(torch.zeros, 2, 1, 28, 28)).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[1])


def test_a_model_that_is_not_lazy_is_left_alone() -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("called for nothing")

    model = eager_cnn()
    model.register_forward_pre_hook(refuse)
    assert materialise(model, partial(torch.zeros, 2, 1, 28, 28)) is model
    assert model.training


def test_a_lazy_layer_that_nothing_uses_is_named() -> None:
    with pytest.raises(ModelError, match=r"have no size: head\.weight, head\.bias"):
        materialise(Unused(), partial(torch.zeros, 2, 1, 28, 28))


def test_the_operations_of_a_lazy_model_are_those_of_its_twin() -> None:
    """A suite's own are built on the meta device to be described."""
    with torch.device("meta"):
        model = lazy_mlp()
    assert count_flops(model, (1, 1, 28, 28), training=False) == 2 * (784 * 256 + 256 * 256 + 256 * 10)
