"""From a cell to something that takes steps: the model, its batches and the step, put together."""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from trainmark.measure import precision, switches
from trainmark.measure.batches import Batch, call, device_type, kind_of
from trainmark.measure.checkpointing import checkpoint_blocks
from trainmark.measure.data import Data, Feed, StreamFeed, fed, load_alone, load_for
from trainmark.measure.failures import ModelError, UnsupportedError
from trainmark.measure.lazy import materialise
from trainmark.measure.outputs import checked, checked_loss
from trainmark.measure.settings import Settings
from trainmark.measure.training import (
    LEARNING_RATE,
    Criterion,
    Model,
    Step,
    accumulating_step,
    mixed_precision_step,
    train_step,
)
from trainmark.model import load_task
from trainmark.store.cell import Cell
from trainmark.store.parameters import LOADING_PARAMETERS, PARAMETERS, USUAL_BATCH
from trainmark.task import Task
from trainmark.workloads import entry_of

MANY_STEPS = 10**7  # of a schedule where no training ends: more than are ever timed
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, lr=LEARNING_RATE),  # the lecture's
    "adam": partial(torch.optim.Adam, lr=LEARNING_RATE),
    "sgd": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
}
IMPLEMENTATIONS: Mapping[str, Mapping[str, bool]] = {
    "default": {},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


@dataclass(frozen=True)
class TrainingParts:
    """What a training step is made of; an instrument may put stand-ins in their place.

    Attributes:
        model: From inputs to outputs, of the lecture's images [B, C, H, W] to logits [B, classes]; compiled where
            the cell is.
        criterion: From outputs and targets to a mean loss [].
        optimizer: Of the model's parameters; for a step of one's own perhaps several.
        dtype: Of autocast; None for full precision.
        scaler: Of the loss; disabled except for fp16.
        schedule: Of the learning rate; None where it stays as it is.
        each_step: Whether the schedule goes on after each step; else somebody does it after each epoch.
        own_step: Of the task, in the place of the lecture's.
        spreads: Whether inputs may be several: see :func:`trainmark.measure.batches.call`.
        accumulates: Whether a step is given several batches at once.
    """

    model: Model
    criterion: Criterion
    optimizer: Any
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler
    schedule: Any = None
    each_step: bool = True
    own_step: Callable[..., Any] | None = None
    spreads: bool = False
    accumulates: bool = False

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """The one, or those of a step of one's own."""
        return tuple(self.optimizer) if isinstance(self.optimizer, list | tuple) else (self.optimizer,)

    @property
    def step(self) -> Step:
        """The lecture's step over these parts, or the task's own."""
        step = self._lectures_step if self.own_step is None else _counting(self.own_step, self._state())
        return step if self.schedule is None or not self.each_step else _scheduled(step, self.schedule)

    @property
    def _lectures_step(self) -> Step:
        model = partial(call, self.model) if self.spreads else self.model
        if self.accumulates:
            return partial(accumulating_step, model, self.criterion, self.optimizer, self.dtype, self.scaler)
        if self.dtype is None:
            return partial(train_step, model, self.criterion, self.optimizer)
        return partial(mixed_precision_step, model, self.criterion, self.optimizer, self.dtype, self.scaler)

    def _state(self) -> TrainState:
        model, criterion = self.model, self.criterion
        if self.dtype is not None:
            model, criterion = (_Autocast(part, self.dtype) for part in (model, criterion))
        return TrainState(model, criterion, self.optimizer)


@dataclass
class TrainState:
    """What a step of one's own works with.

    Attributes:
        model: Of the task; its call and the criterion's are in the benchmark's precision.
        criterion: Of the task, or cross-entropy.
        optimizer: What the task's ``optimizer`` gave.
        number: Steps that came before.
    """

    model: Model
    criterion: Criterion
    optimizer: Any
    number: int = 0


def _counting(step: Callable[..., Any], state: TrainState) -> Step:
    """A step of one's own that knows how many came before."""

    def take(inputs: Any, targets: Any) -> Any:
        loss = step(state, inputs, targets)
        state.number += 1
        return loss

    return take


def _scheduled(step: Step, schedule: Any) -> Step:
    """A step after which the learning rate is set anew."""

    def take(inputs: Any, targets: Any) -> Any:
        loss = step(inputs, targets)
        schedule.step()
        return loss

    return take


@dataclass(frozen=True)
class _Autocast:
    """Stands in for a model or a criterion: its call is under autocast, and all else is its own."""

    function: Callable[..., Any]
    dtype: torch.dtype

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        with torch.autocast(device_type((inputs, named)), self.dtype):
            return self.function(*inputs, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)


@dataclass(frozen=True)
class InferenceParts:
    """What an inference step is made of.

    Attributes:
        model: From inputs to outputs; compiled where the cell is.
        dtype: Of autocast; None for full precision.
        spreads: Whether inputs may be several.
    """

    model: Model
    dtype: torch.dtype | None
    spreads: bool = False

    @property
    def step(self) -> Step:
        """The forward pass; the targets are there and not looked at."""
        return self._forward if self.dtype is None else self._autocast_forward

    def _forward(self, inputs: Any, _targets: Any) -> Any:
        return call(self.model, inputs) if self.spreads else self.model(inputs)

    def _autocast_forward(self, inputs: Any, _targets: Any) -> Any:
        with torch.autocast(device_type(inputs), self.dtype):
            return call(self.model, inputs) if self.spreads else self.model(inputs)


@dataclass
class Alive:
    """The variables of a training loop: they hold what the last step left until the next replaces it."""

    batch: Batch | None = None
    result: Any = None


@dataclass(frozen=True)
class Steps:
    """A cell made ready.

    Attributes:
        batches: Without end, on the device.
        step: From a batch to what must stay finite: loss, output, or the batch itself.
        context: To be entered around all steps.
        samples: Of a step.
        feed: Where the batches come from.
        adaptation: What was done to the images to fit the model.
        model: Uncompiled; None where the workload has none.
        parts: What the step is made of; None likewise.
        shape: Of a batch of images [B, C, H, W] whose model tells classes apart; None for other tasks.
        classes: That the model promises to tell apart; None where it is another kind of model.
        task: What is trained, or whose data it is; None where there is none.
        alive: What the last step left behind.
    """

    batches: Iterator[Batch]
    step: Step
    context: AbstractContextManager[object]
    samples: int
    feed: Feed
    adaptation: str
    model: nn.Module | None = None
    parts: TrainingParts | InferenceParts | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    task: Task | None = None
    alive: Alive = field(default_factory=Alive)

    def advance(self) -> Any:
        """Takes a batch and does a step with it.

        Batch and result stay alive until the next ones are there, as the variables of a training
        loop do: memory is taken and given back in the order in which a loop would.
        """
        return self._take(self.step)

    def advance_looking(self) -> Any:
        """The same, and what model and criterion give is looked at.

        Raises:
            ModelError: It is no logits of the model's classes, or no loss.
        """
        return self.advance() if self.parts is None else self._take(looking_parts(self.parts, self.classes).step)

    def _take(self, step: Step) -> Any:
        self.alive.batch = batch = next(self.batches)
        self.alive.result = result = step(*batch)
        return result


class Repeatable(Protocol):
    """What a pair of processes repeats by turns: one step, one fit, one pass."""

    @property
    def context(self) -> AbstractContextManager[object]:
        """To be entered around all of it."""

    def advance(self) -> Any:
        """Does it once, and gives what must stay finite."""


def prepare(cell: Cell, settings: Settings, scratch: Path) -> Any:
    """What the cell's workload repeats, made ready: :class:`Steps` of a model's workload, else a :class:`Repeatable`.

    Raises:
        UnsupportedError: Model and data set do not fit each other.
        MissingDataError: The data set's files are not there.
    """
    return pkgutil.resolve_name(entry_of(cell.workload).steps)(cell, settings, scratch)


def training_steps(cell: Cell, settings: Settings, _scratch: Path) -> Steps:
    """Steps of a training."""
    task, data = task_and_data(cell, settings)
    source = feed(cell, data)
    model = built(task, cell, settings.seed, source).train()
    parts = training_parts(compiled(model, cell), cell, task)
    return _model_steps(cell, task, data, source, model, parts, nullcontext())


def inference_steps(cell: Cell, settings: Settings, _scratch: Path) -> Steps:
    """Forward passes in eval mode, without gradients in the cell's way."""
    task, data = task_and_data(cell, settings)
    source = feed(cell, data)
    model = built(task, cell, settings.seed, source).eval()
    off: AbstractContextManager[object]
    off = torch.no_grad() if cell["grad_mode"] == "no_grad" else torch.inference_mode()
    return _model_steps(cell, task, data, source, model, inference_parts(compiled(model, cell), cell, task), off)


def _model_steps(
    cell: Cell,
    task: Task,
    data: Data,
    source: Feed,
    model: nn.Module,
    parts: TrainingParts | InferenceParts,
    context: AbstractContextManager[object],
) -> Steps:
    samples = int(cell["batch_size"]) * source.accumulate
    return Steps(
        batches=source.endless(),
        step=parts.step,
        context=context,
        samples=samples,
        feed=source,
        adaptation=str(data.adaptation),
        model=model,
        parts=parts,
        shape=(samples, *task.input_shape) if task.is_plain else None,
        classes=task.classes if task.is_plain else None,
        task=task,
    )


def input_steps(cell: Cell, settings: Settings, _scratch: Path) -> Steps:
    """Batches, and nothing done with them."""
    samples = int(cell["batch_size"])
    task, data = load_alone(str(cell["dataset"]), settings.places, samples)
    source = feed(cell, data)
    return Steps(
        batches=source.endless(),
        step=lambda images, _labels: images,
        context=nullcontext(),
        samples=samples,
        feed=source,
        adaptation=str(data.adaptation),
        task=task,
    )


def task_and_data(cell: Cell, settings: Settings) -> tuple[Task, Data]:
    """What the cell trains, and its data: the task's own, or a data set of images adapted to the model.

    Raises:
        UnsupportedError: Cell and task both say how batches are loaded; the plan knows of a DataLoader that is there.
    """
    task = fed(load_task(str(cell["model"])), str(cell["dataset"]))
    data = load_for(task, str(cell["dataset"]), settings.places, int(cell["batch_size"]))
    if data.loading is not None and data.loading.of_loader:
        for parameter in (PARAMETERS[name] for name in LOADING_PARAMETERS):
            value = cell[parameter.name]
            if parameter.own_part and value != parameter.default:
                raise UnsupportedError(parameter.left_to_task(value))
    return task, data


def built(task: Task, cell: Cell, seed: int, source: Feed | None = None) -> nn.Module:
    """A new model in training mode, on the cell's device, in its memory format and precision.

    Whatever the model's code does to chance and to the switches of the process while it is imported and built,
    afterwards both are as the cell wants them.

    Args:
        task: What is trained.
        cell: How.
        seed: Of the weights.
        source: Of batches, from which lazy layers learn their sizes; None for images of the task's shape.

    Raises:
        ModelError: The task's ``model`` gives no module.
    """
    switches.seed_everything(seed)
    model = task.model()
    if not isinstance(model, nn.Module):
        raise ModelError(f"building the model gave {kind_of(model)}; needed is a torch.nn.Module")
    if task.is_plain or source is None:
        materialise(model, partial(torch.zeros, 2, *task.input_shape))
    else:
        materialise(model, lambda: next(source.single_batches())[0])
    switches.held().restore()
    switches.seed_everything(seed)
    precision.set_float32_arithmetic(str(cell["precision"]))
    for name in precision.SWITCHES:
        switches.held().keep(name)
    torch.backends.cudnn.benchmark = cell["cudnn_benchmark"] == "on"
    switches.held().keep("cudnn-benchmark")
    if cell.settings.get("checkpointing") == "on":
        checkpoint_blocks(model)
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


def training_parts(model: nn.Module, cell: Cell, task: Task, steps: int = MANY_STEPS) -> TrainingParts:
    """What the task says; else the cell's optimizer and the lecture's cross-entropy; in the cell's precision.

    Args:
        model: As the cell runs it.
        cell: How.
        task: What is trained.
        steps: Of the whole training, for a schedule of the learning rate.

    Raises:
        ModelError: The task's ``optimizer`` or ``schedule`` gives something else.
        UnsupportedError: A step of one's own cannot be taken in the cell's precision.
    """
    name, device = str(cell["precision"]), str(cell["device"])
    how = IMPLEMENTATIONS[str(cell["optimizer_implementation"])]
    optimizer = _own_optimizer(task, model) or OPTIMIZERS[str(cell["optimizer"])](model.parameters(), **how)
    scaling = str(cell.settings.get("lr_scaling", "none"))
    if scaling != "none" and task.schedule is not None:
        raise UnsupportedError("the task's schedule sets the learning rate, which can then not follow the batch size")
    scale_learning_rate(optimizer, scaling, int(cell["batch_size"]) * int(cell["accumulate"]))
    dtype, scaler = precision.autocast_dtype(name), precision.grad_scaler(name, device)
    if task.step is not None and scaler.is_enabled():
        raise UnsupportedError(f"{name} needs a scaled loss, which a step of one's own does not have")
    schedule = None
    if task.schedule is not None:
        schedule = task.schedule(optimizer, steps)
        if not callable(getattr(schedule, "step", None)):
            raise ModelError(f"the task's schedule gave {kind_of(schedule)}; needed is a schedule of the learning rate")
    return TrainingParts(
        model,
        task.criterion or nn.CrossEntropyLoss(),
        optimizer,
        dtype,
        scaler,
        schedule,
        each_step=task.schedule_interval == "step",
        own_step=task.step,
        spreads=not task.is_plain,
        accumulates=int(cell["accumulate"]) > 1,
    )


def scale_learning_rate(optimizers: Any, rule: str, batch_size: int) -> None:
    """Multiplies the learning rates of all groups by what a rule says of a batch size.

    Args:
        optimizers: An optimizer, or several.
        rule: ``none``, ``linear`` in the batch size or ``sqrt``, its square root.
        batch_size: Against USUAL_BATCH, at which nothing changes.

    Sources: Goyal and others, Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017 (linear); Malladi and
    others, On the SDEs and scaling rules for adaptive gradient algorithms, NeurIPS 2022 (square root, of Adam).
    """
    if rule == "none":
        return
    factor = {"linear": batch_size / USUAL_BATCH, "sqrt": math.sqrt(batch_size / USUAL_BATCH)}[rule]
    for optimizer in optimizers if isinstance(optimizers, list | tuple) else (optimizers,):
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor


def _own_optimizer(task: Task, model: nn.Module) -> Any:
    """What the task's ``optimizer`` gives; None where it has none."""
    if task.optimizer is None:
        return None
    made = task.optimizer(model if _wants_the_model(task.optimizer) else model.parameters())
    several = isinstance(made, list | tuple) and task.step is not None
    if several and not made:
        raise ModelError("the task's optimizer gave none; needed is a torch.optim.Optimizer, or several")
    for one in made if several else (made,):
        if not isinstance(one, torch.optim.Optimizer):
            remedy = "" if task.step is not None else "; several need a step of one's own"
            raise ModelError(f"the task's optimizer gave {kind_of(one)}; needed is a torch.optim.Optimizer{remedy}")
    return made


def _wants_the_model(factory: Callable[..., Any]) -> bool:
    """Whether a factory of an optimizer is given the model, by the name of its first argument."""
    try:
        arguments = list(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # one of C has no signature
        return False
    return bool(arguments) and arguments[0] == "model"


def inference_parts(model: nn.Module, cell: Cell, task: Task) -> InferenceParts:
    """The forward pass in the cell's precision."""
    return InferenceParts(model, precision.autocast_dtype(str(cell["precision"])), spreads=not task.is_plain)


def looking_parts(parts: TrainingParts | InferenceParts, classes: int | None) -> TrainingParts | InferenceParts:
    """The same parts, with what they give looked at."""
    if not isinstance(parts, TrainingParts):
        return replace(parts, model=checked(parts.model, classes))
    if parts.own_step is not None:
        return replace(parts, own_step=checked_loss(parts.own_step, "the task's step"))
    return replace(parts, model=checked(parts.model, classes), criterion=checked_loss(parts.criterion))


def feed(cell: Cell, data: Data) -> Feed:
    """The cell's batches."""
    kind = StreamFeed if data.is_stream else Feed
    return kind(
        data,
        str(cell["loader"]),
        int(cell["batch_size"]),
        str(cell["device"]),
        channels_last=cell.settings.get("memory_format") == "channels_last",
        accumulate=int(cell.settings.get("accumulate", 1)),
        loading=_loading(cell),
    )


def _loading(cell: Cell) -> dict[str, Any]:
    """What a cell says of a DataLoader beyond PyTorch's defaults."""
    said = {
        "num_workers": int(cell["workers"]),
        "pin_memory": cell["pin_memory"] == "on",
        "persistent_workers": cell["persistent_workers"] == "on",
    }
    if said["num_workers"]:  # without any there is nothing that loads ahead
        said["prefetch_factor"] = int(cell["prefetch"])
    return {name: value for name, value in said.items() if value}
