"""From a cell to something that takes steps: the model, its batches and the step, put together."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainmark.measure import precision, switches
from trainmark.measure.data import Batch, Data, Feed, load
from trainmark.measure.lazy import materialise
from trainmark.measure.outputs import checked
from trainmark.measure.settings import Settings
from trainmark.measure.training import LEARNING_RATE, Criterion, Model, Step, mixed_precision_step, train_step
from trainmark.model import ModelSpec, load_model
from trainmark.store.cell import Cell
from trainmark.workloads import entry_of


@dataclass(frozen=True)
class TrainingParts:
    """What a training step is made of; an instrument may put stand-ins in their place.

    Attributes:
        model: From images [B, C, H, W] to logits [B, classes]; compiled where the cell is.
        criterion: From logits and labels [B] to a mean loss [].
        optimizer: Of the model's parameters.
        dtype: Of autocast; None for full precision.
        scaler: Of the loss; disabled except for fp16.
    """

    model: Model
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler

    @property
    def step(self) -> Step:
        """The lecture's step over these parts."""
        if self.dtype is None:
            return partial(train_step, self.model, self.criterion, self.optimizer)
        return partial(mixed_precision_step, self.model, self.criterion, self.optimizer, self.dtype, self.scaler)


@dataclass(frozen=True)
class InferenceParts:
    """What an inference step is made of.

    Attributes:
        model: From images [B, C, H, W] to logits [B, classes]; compiled where the cell is.
        dtype: Of autocast; None for full precision.
    """

    model: Model
    dtype: torch.dtype | None

    @property
    def step(self) -> Step:
        """The forward pass; the labels are there and not looked at."""
        return self._forward if self.dtype is None else self._autocast_forward

    def _forward(self, images: Tensor, _labels: Tensor) -> Tensor:
        return self.model(images)

    def _autocast_forward(self, images: Tensor, _labels: Tensor) -> Tensor:
        with torch.autocast(images.device.type, self.dtype):
            return self.model(images)


@dataclass
class Alive:
    """The variables of a training loop: they hold what the last step left until the next replaces it."""

    batch: Batch | None = None
    result: Tensor | None = None


@dataclass(frozen=True)
class Steps:
    """A cell made ready.

    Attributes:
        batches: Without end, on the device.
        step: From a batch to the tensor that must stay finite: loss, output, or the batch itself.
        context: To be entered around all steps.
        shape: Of a batch: [B, C, H, W].
        feed: Where the batches come from.
        adaptation: What was done to the images to fit the model.
        model: Uncompiled; None where the workload has none.
        parts: What the step is made of; None likewise.
        classes: That the model promises to tell apart; None likewise.
        alive: What the last step left behind.
    """

    batches: Iterator[Batch]
    step: Step
    context: AbstractContextManager[object]
    shape: tuple[int, ...]
    feed: Feed
    adaptation: str
    model: nn.Module | None = None
    parts: TrainingParts | InferenceParts | None = None
    classes: int | None = None
    alive: Alive = field(default_factory=Alive)

    def advance(self) -> Tensor:
        """Takes a batch and does a step with it.

        Batch and result stay alive until the next ones are there, as the variables of a training
        loop do: memory is taken and given back in the order in which a loop would.
        """
        return self._take(self.step)

    def advance_looking(self) -> Tensor:
        """The same, and what the model gives is looked at.

        Raises:
            ModelError: It is no logits of the model's classes.
        """
        if self.parts is None or self.classes is None:
            return self.advance()
        return self._take(replace(self.parts, model=checked(self.parts.model, self.classes)).step)

    def _take(self, step: Step) -> Tensor:
        self.alive.batch = batch = next(self.batches)
        self.alive.result = result = step(*batch)
        return result


class Repeatable(Protocol):
    """What a pair of processes repeats by turns: one step, one fit, one pass."""

    @property
    def context(self) -> AbstractContextManager[object]:
        """To be entered around all of it."""

    def advance(self) -> Tensor:
        """Does it once, and gives the tensor that must stay finite."""


def prepare(cell: Cell, settings: Settings, scratch: Path) -> Any:
    """What the cell's workload repeats, made ready: :class:`Steps` of a model's workload, else a :class:`Repeatable`.

    Raises:
        UnsupportedError: Model and data set do not fit each other.
        MissingDataError: The data set's files are not there.
    """
    return pkgutil.resolve_name(entry_of(cell.workload).steps)(cell, settings, scratch)


def training_steps(cell: Cell, settings: Settings, _scratch: Path) -> Steps:
    """Steps of a training."""
    spec, data = model_and_data(cell, settings)
    model = built(spec, cell, settings.seed).train()
    return _model_steps(cell, spec, data, model, training_parts(compiled(model, cell), cell), nullcontext())


def inference_steps(cell: Cell, settings: Settings, _scratch: Path) -> Steps:
    """Forward passes in eval mode, without gradients in the cell's way."""
    spec, data = model_and_data(cell, settings)
    model = built(spec, cell, settings.seed).eval()
    off: AbstractContextManager[object]
    off = torch.no_grad() if cell["grad_mode"] == "no_grad" else torch.inference_mode()
    return _model_steps(cell, spec, data, model, inference_parts(compiled(model, cell), cell), off)


def _model_steps(
    cell: Cell,
    spec: ModelSpec,
    data: Data,
    model: nn.Module,
    parts: TrainingParts | InferenceParts,
    context: AbstractContextManager[object],
) -> Steps:
    source = feed(cell, data)
    return Steps(
        batches=source.endless(),
        step=parts.step,
        context=context,
        shape=(int(cell["batch_size"]), *spec.input_shape),
        feed=source,
        adaptation=str(data.adaptation),
        model=model,
        parts=parts,
        classes=spec.classes,
    )


def input_steps(cell: Cell, settings: Settings, _scratch: Path) -> Steps:
    """Batches, and nothing done with them."""
    data = load(str(cell["dataset"]), settings.places, None, None, samples=int(cell["batch_size"]))
    source = feed(cell, data)
    batches = source.endless()
    images, _ = next(batches)
    return Steps(
        batches=batches,
        step=lambda images, _labels: images,
        context=nullcontext(),
        shape=tuple(images.shape),
        feed=source,
        adaptation=str(data.adaptation),
    )


def model_and_data(cell: Cell, settings: Settings) -> tuple[ModelSpec, Data]:
    """The cell's model and its data set, adapted to the model."""
    spec = load_model(str(cell["model"]))
    samples = int(cell["batch_size"])
    return spec, load(str(cell["dataset"]), settings.places, spec.input_shape, spec.classes, samples)


def built(spec: ModelSpec, cell: Cell, seed: int) -> nn.Module:
    """A new model in training mode, on the cell's device, in its memory format and precision.

    Whatever the model's code does to chance and to the switches of the process while it is imported and built,
    afterwards both are as the cell wants them.
    """
    switches.seed_everything(seed)
    model = materialise(spec.build(), spec.input_shape)
    switches.held().restore()
    switches.seed_everything(seed)
    precision.set_float32_arithmetic(str(cell["precision"]))
    for name in precision.SWITCHES:
        switches.held().keep(name)
    model = model.to(str(cell["device"])).train()
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


def training_parts(model: nn.Module, cell: Cell) -> TrainingParts:
    """AdamW and cross-entropy, as the lecture has them, in the cell's precision."""
    name, device = str(cell["precision"]), str(cell["device"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    dtype, scaler = precision.autocast_dtype(name), precision.grad_scaler(name, device)
    return TrainingParts(model, nn.CrossEntropyLoss(), optimizer, dtype, scaler)


def inference_parts(model: nn.Module, cell: Cell) -> InferenceParts:
    """The forward pass in the cell's precision."""
    return InferenceParts(model, precision.autocast_dtype(str(cell["precision"])))


def feed(cell: Cell, data: Data) -> Feed:
    """The cell's batches."""
    channels_last = cell.settings.get("memory_format") == "channels_last"
    return Feed(data, str(cell["loader"]), int(cell["batch_size"]), str(cell["device"]), channels_last)
