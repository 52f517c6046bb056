"""From a cell to something that takes steps: the model, its batches and the step, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bench import precision
from bench.datasets import Batch, Data, Feed, load
from bench.settings import Settings
from bench.training import LEARNING_RATE, Step, mixed_precision_step, train_step
from models import ModelSpec
from models import load as load_model
from results.cell import Cell


@dataclass(frozen=True)
class Steps:
    """A cell made ready.

    Attributes:
        advance: Takes one step and gives the tensor that must stay finite: loss, output or batch.
        context: To be entered around all steps.
        shape: Of a batch: [B, C, H, W].
        adaptation: What was done to the images to fit the model.
        model: Uncompiled; None where the workload has none.
    """

    advance: Callable[[], Tensor]
    context: AbstractContextManager[object]
    shape: tuple[int, ...]
    adaptation: str
    model: nn.Module | None = None


def prepare(cell: Cell, settings: Settings) -> Steps:
    """The steps of a ``train``, ``inference`` or ``input`` cell.

    Raises:
        UnsupportedError: Model and data set do not fit each other.
        MissingDataError: The data set's files are not there.
    """
    return {"train": _training_steps, "inference": _inference_steps, "input": _input_steps}[cell.workload](
        cell, settings
    )


def _training_steps(cell: Cell, settings: Settings) -> Steps:
    spec, data = model_and_data(cell, settings)
    model = built(spec, cell)
    batches = feed(cell, data).endless()
    step = training_step(compiled(model, cell), cell)
    return Steps(
        advance=lambda: step(*next(batches)),
        context=nullcontext(),
        shape=(int(cell["batch_size"]), *spec.input_shape),
        adaptation=str(data.adaptation),
        model=model,
    )


def _inference_steps(cell: Cell, settings: Settings) -> Steps:
    spec, data = model_and_data(cell, settings)
    model = built(spec, cell).eval()
    batches = feed(cell, data).endless()
    forward = forward_pass(compiled(model, cell), cell)
    return Steps(
        advance=lambda: forward(next(batches)[0]),
        context=torch.inference_mode(),
        shape=(int(cell["batch_size"]), *spec.input_shape),
        adaptation=str(data.adaptation),
        model=model,
    )


def _input_steps(cell: Cell, settings: Settings) -> Steps:
    data = load(str(cell["dataset"]), settings.places, None, None, samples=int(cell["batch_size"]))
    batches: Iterator[Batch] = feed(cell, data).endless()
    images, _ = next(batches)
    return Steps(
        advance=lambda: next(batches)[0],
        context=nullcontext(),
        shape=tuple(images.shape),
        adaptation=str(data.adaptation),
    )


def model_and_data(cell: Cell, settings: Settings) -> tuple[ModelSpec, Data]:
    """The cell's model and its data set, adapted to the model."""
    spec = load_model(str(cell["model"]))
    samples = int(cell["batch_size"])
    return spec, load(str(cell["dataset"]), settings.places, spec.input_shape, spec.classes, samples)


def built(spec: ModelSpec, cell: Cell) -> nn.Module:
    """A new model in training mode, on the cell's device, in its memory format and precision."""
    precision.set_float32_arithmetic(str(cell["precision"]))
    model = spec.build().to(str(cell["device"])).train()
    if cell["memory_format"] == "channels_last":
        model.to(memory_format=torch.channels_last)
    return model


def compiled(model: nn.Module, cell: Cell) -> nn.Module:
    """The model as the cell runs it; compilation itself happens in the first step."""
    mode = str(cell["compile"])
    if mode == "off":
        return model
    torch._dynamo.reset()
    return torch.compile(model, mode=mode)  # type: ignore[return-value]  # a module gives a module


def training_step(model: nn.Module, cell: Cell) -> Step:
    """The lecture's step with AdamW and cross-entropy, in the cell's precision."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    dtype = precision.autocast_dtype(str(cell["precision"]))
    if dtype is None:
        return partial(train_step, model, criterion, optimizer)
    scaler = precision.grad_scaler(str(cell["precision"]), str(cell["device"]))
    return partial(mixed_precision_step, model, criterion, optimizer, dtype, scaler)


def forward_pass(model: nn.Module, cell: Cell) -> Callable[[Tensor], Tensor]:
    """From images [B, C, H, W] to logits [B, classes], in the cell's precision."""
    dtype = precision.autocast_dtype(str(cell["precision"]))
    if dtype is None:
        return model
    device = str(cell["device"])

    def forward(images: Tensor) -> Tensor:
        with torch.autocast(device, dtype):
            return model(images)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    return forward


def feed(cell: Cell, data: Data) -> Feed:
    """The cell's batches."""
    channels_last = cell.settings.get("memory_format") == "channels_last"
    return Feed(data, str(cell["loader"]), int(cell["batch_size"]), str(cell["device"]), channels_last)
