"""A model that can be measured: how it is built, what it takes, and where one is found by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from trainmark import suite
from trainmark.measure.failures import BrokenTask
from trainmark.named import FailedImport, UnknownObject, UnreadableName, find, layers, read_name, refuse_wrong_arguments
from trainmark.store.metrics import register_metrics
from trainmark.task import CLASSES, GREY_28, NotATask, Task, TaskError, TaskFactory

if TYPE_CHECKING:
    from torch import nn

ARGUMENTS = {  # part of a task -> what it is called with
    "model": (),
    "criterion": ("output", "targets"),
    "optimizer": ("parameters",),
    "schedule": ("optimizer", "steps"),
    "step": ("training", "inputs", "targets"),
    "split": ("batch",),
    "collate": ("samples",),
    "count": ("inputs", "targets"),
}


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be measured.

    Attributes:
        build: Gives a new model with random weights on the CPU.
        input_shape: Of one sample: channels, height, width.
        classes: Logits that it gives for a sample.
        parameters: Trainable parameters, exactly; None where nobody has counted them.
        source: The lecture or the paper it is from.
        family: Models of one family share what torch.compile makes of them.
        task: All that is trained, where the name is of a task; None for the lecture's around this model.
    """

    build: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int | None
    source: str
    family: str
    task: Task | None = None


class UnknownModel(ValueError):
    """No model has the name asked for."""


class BrokenModule(UnknownModel):
    """The module that has the model is there, and importing it fails."""


def load_model(name: str) -> ModelSpec:
    """The suite's model of that name, or the one behind a name of the user's own: see :mod:`trainmark.named`.

    A factory is whatever gives a new ``nn.Module`` when it is called without arguments: a function, a class of
    modules, a partial, an instance that can be called, or one of these with its arguments in the name; or it is a
    ModelSpec. A module that is built already is none: wrap it in a function that builds it.

    The attributes ``input_shape`` and ``classes`` of a factory count where it has them, those of a partial's
    function too; else it is taken to read 28x28 grey images and to tell ten classes apart.

    Raises:
        UnknownModel: No entry has that name; or its module, its file or its attribute is not there, or gives no model.
        BrokenTask: It is a task that is put together wrongly.
    """
    registered = suite.current().models_by_name()
    if name in registered:
        found: ModelSpec = registered[name]
        return found
    try:
        return _behind(name)
    except UnreadableName as error:
        raise UnknownModel(f'The model "{name}" cannot be read: {error}.') from error
    except FailedImport as error:
        raise BrokenModule(str(error)) from error.__cause__
    except UnknownObject as error:
        raise UnknownModel(str(error)) from error.__cause__


def _behind(text: str) -> ModelSpec:
    name = read_name(text)
    if name is None:
        registered = suite.current().models_by_name()
        listed = f"Name one of {', '.join(registered)}; or your own as" if registered else "Name it as"
        raise UnknownModel(f'No model named "{text}". {listed} package.module:factory or path/to/file.py:factory.')
    from torch import nn

    factory = find(name, "model")
    if isinstance(factory, ModelSpec):
        return factory
    task = _task_of(factory)
    if task is not None:
        task = _known(str(name), task)
        return ModelSpec(task.model, task.input_shape, task.classes, None, str(name), str(name), task)
    if isinstance(layers(factory)[-1], nn.Module) or not callable(factory):
        raise UnknownModel(
            f'"{name}" is {type(layers(factory)[-1]).__name__}, not a ModelSpec or a callable that builds a model: '
            "wrap it in a function."
        )
    refuse_wrong_arguments(factory, name, "model")
    return ModelSpec(
        build=factory,
        input_shape=_declared(factory, "input_shape", GREY_28),
        classes=_declared(factory, "classes", CLASSES),
        parameters=None,
        source=str(name),
        family=str(name),
    )


def load_task(name: str) -> Task:
    """What the model of that name is trained for: its own task, or the lecture's.

    Raises:
        UnknownModel: See :func:`load_model`.
        BrokenTask: A function of the task's cannot be called as a training calls it.
    """
    spec = load_model(name)
    if spec.task is None:
        return Task(model=spec.build, input_shape=spec.input_shape, classes=spec.classes)
    for part, arguments in ARGUMENTS.items():
        _refuse_other_arguments(part, getattr(spec.task, part), arguments)
    for of, metric in spec.task.held_out_metrics.items():
        if not isinstance(metric.function, type):
            _refuse_other_arguments(f"metric {of}", metric.function, ARGUMENTS["criterion"])
    return spec.task


def _refuse_other_arguments(part: str, function: Callable[..., Any] | None, arguments: Sequence[str]) -> None:
    """A function of a task must take what a training gives it.

    Raises:
        BrokenTask: It takes other arguments.
    """
    try:
        called = function if isinstance(function, type) else getattr(function, "forward", function)
        signature = None if called is None else inspect.signature(called)
    except (TypeError, ValueError):
        return  # written in C: it says so itself when it is called
    try:
        if signature is not None:
            signature.bind(*arguments)
    except TypeError as error:
        given = ", ".join(arguments) or "nothing"
        raise BrokenTask(f"the task's {part} is called with {given}, and takes {signature}: {error}") from error


def _task_of(found: Any) -> Task | None:
    """The task behind a name; None where it is of a model.

    Raises:
        BrokenTask: A function that is marked as one of a task's fails, or the task has a part of the wrong kind.
    """
    if isinstance(found, Task):
        return _rightly_made(found)
    function = found.func if isinstance(found, partial) else found
    if not isinstance(function, TaskFactory):
        return None
    try:
        task: Task = found()
    except Exception as error:  # whatever the function does
        place = "" if isinstance(error, NotATask) else suite.where(error)
        raise BrokenTask(f"making the task fails{place}: {suite.told(error)}") from error
    return _rightly_made(task)


def _rightly_made(task: Task) -> Task:
    try:
        task.refuse_wrong_parts()
    except TaskError as error:
        file, line = task.written
        raise BrokenTask(f"the task in {file}, line {line}, is put together wrongly: {error}") from error
    return task


def _known(name: str, task: Task) -> Task:
    """The task, whose metrics are known from now on.

    Raises:
        UnknownModel: Another task has one of the same name.
    """
    try:
        register_metrics(task.described_metrics())
    except ValueError as error:
        raise UnknownModel(f'The task "{name}": {error}.') from error
    return task


def _declared(factory: Callable[..., nn.Module], attribute: str, default: Any) -> Any:
    """What a factory says of itself; what a partial's function says where the partial does not."""
    declaring = [one for one in layers(factory) if hasattr(one, attribute)]
    return getattr(declaring[0], attribute) if declaring else default
