"""First steps: what compiling takes of them, libraries that are awake, and a scaler that skips some."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainmark.measure import compiling, steps
from trainmark.measure.compiling import MOST_SKIPPED, compiling_steps, take_until_settled, wake_libraries
from trainmark.measure.steps import InferenceParts, TrainingParts
from trainmark.store.cell import Cell

STEEP = 15.8  # a gradient of a deep ResNet when it is new: times 65,536 it is beyond what fp16 can hold


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("mode", ["off", "default", "reduce-overhead", "max-autotune"])
def test_graphs_are_captured_on_a_gpu_in_the_second_step(device: str, mode: str) -> None:
    captures = device == "cuda" and mode in ("reduce-overhead", "max-autotune")
    assert compiling_steps(Cell.of("train", device=device, compile=mode)) == 1 + captures


def test_what_has_no_model_compiles_nothing() -> None:
    assert compiling_steps(Cell.of("input", device="cuda")) == 1


class Called(TorchDispatchMode):
    """Writes down each operator."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_products_and_convolutions_of_both_directions_wake_their_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    ones = lambda *shape, device, requires_grad: torch.ones(*shape, requires_grad=requires_grad)  # noqa: E731  # a fake
    accelerator = SimpleNamespace(synchronize=lambda: waited.append("done"))
    monkeypatch.setattr(compiling, "torch", SimpleNamespace(ones=ones, device=torch.device, accelerator=accelerator))
    with Called() as called:
        wake_libraries("cuda")
    assert called.names.count("mm") == 3  # forward, and back to both factors
    assert {"convolution", "convolution_backward"} <= set(called.names)
    assert waited == ["done"]


def test_nothing_has_to_be_woken_elsewhere() -> None:
    with Called() as called:
        wake_libraries("cpu")
    assert called.names == []


# A scaler that skips steps


def training(optimizer: Any, *, scaled: bool = True, gradient: float = STEEP) -> tuple[TrainingParts, Any]:
    """A weight whose gradient is that, in fp16 on a CPU; with one step of its training."""
    model = nn.Linear(1, 1, bias=False)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    criterion = lambda output, _targets: gradient * output.float().mean()  # noqa: E731  # a criterion
    parts = TrainingParts(model, criterion, optimizer(model.parameters()), torch.float16, scaler)
    batch: tuple[Tensor, Tensor] = torch.ones(4, 1), torch.ones(4)
    return parts, lambda: parts.step(*batch)


def test_steps_are_taken_until_the_optimizer_has_its_state() -> None:
    parts, take = training(torch.optim.AdamW)
    assert take_until_settled(take, parts) == 5  # 65,536 halves four times until 15.8 of it is below 65,504
    assert parts.optimizer.state


def test_where_none_is_skipped_one_step_is_enough() -> None:
    for parts, take in (training(torch.optim.AdamW, gradient=0.5), training(torch.optim.AdamW, scaled=False)):
        assert take_until_settled(take, parts) == 1
        assert parts.optimizer.state


def test_an_optimizer_without_a_state_is_not_waited_for_for_ever() -> None:
    parts, take = training(torch.optim.SGD)
    assert take_until_settled(take, parts) == MOST_SKIPPED + 1


def test_an_inference_has_no_optimizer() -> None:
    taken: list[int] = []
    assert take_until_settled(lambda: taken.append(1), InferenceParts(nn.Linear(1, 1), None)) == 1
    assert take_until_settled(lambda: taken.append(1), None) == 1
    assert taken == [1, 1]


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
def test_a_model_is_compiled_anew_in_the_mode_of_its_cell(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    told: list[Any] = []
    monkeypatch.setattr(torch._dynamo, "reset", lambda: told.append("reset"))
    real = create_autospec(torch.compile, side_effect=lambda model, *, mode: told.append(mode) or model)
    monkeypatch.setattr(torch, "compile", real)
    model = nn.Linear(1, 1)
    assert steps.compiled(model, Cell.of("train", compile=mode)) is model
    assert steps.compiled(model, Cell.of("train")) is model
    assert told == ["reset", mode]
