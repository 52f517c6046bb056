"""A model that can be measured: how it is built, what it takes, and where one is found by its name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainmark import suite
from trainmark.measure.failures import BrokenTask
from trainmark.store.metrics import register_metrics
from trainmark.task import CLASSES, GREY_28, Task, TaskFactory

if TYPE_CHECKING:
    from torch import nn


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


def load_model(name: str) -> ModelSpec:
    """The suite's model of that name, or the one behind ``package.module:factory``.

    A factory is a ModelSpec, or a callable that gives an ``nn.Module``. Of a callable the
    attributes ``input_shape`` and ``classes`` count where it has them; else it is taken to read
    28x28 grey images and to tell ten classes apart.

    Raises:
        UnknownModel: No entry has that name, or its module or attribute is not there.
    """
    registered = suite.current().models_by_name()
    if name in registered:
        found: ModelSpec = registered[name]
        return found
    module_name, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        listed = f"Name one of {', '.join(registered)}; or your own as" if registered else "Name it as"
        raise UnknownModel(f'No model named "{name}". {listed} package.module:factory.')
    _refuse_two_of_one_name(name, module_name)
    from torch import nn

    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnknownModel(
            f'Importing the model "{name}" found no module named "{error.name}"{_where(error)}.'
        ) from error
    except (Exception, SystemExit) as error:  # whatever the file does when it is imported
        told = f"{_where(error)}: {suite.told(error)}"
        raise UnknownModel(f'Importing the model "{name}" fails{told}.') from error
    try:
        factory = attrgetter(attribute)(module)
    except AttributeError as error:
        raise UnknownModel(f'The model "{name}" is not there: {error}.') from error
    if isinstance(factory, ModelSpec):
        return factory
    task = _task_of(factory)
    if task is not None:
        task = _known(name, task)
        return ModelSpec(task.model, task.input_shape, task.classes, None, name, name, task)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UnknownModel(f'"{name}" is {type(factory).__name__}, not a ModelSpec or a callable that builds a model.')
    return ModelSpec(
        build=factory,
        input_shape=getattr(factory, "input_shape", GREY_28),
        classes=getattr(factory, "classes", CLASSES),
        parameters=None,
        source=name,
        family=name,
    )


def load_task(name: str) -> Task:
    """What the model of that name is trained for: its own task, or the lecture's.

    Raises:
        UnknownModel: See :func:`load_model`.
    """
    spec = load_model(name)
    return spec.task or Task(model=spec.build, input_shape=spec.input_shape, classes=spec.classes)


def _task_of(found: Any) -> Task | None:
    """The task behind a name; None where it is of a model.

    Raises:
        BrokenTask: A function that is marked as one of a task's fails.
    """
    if isinstance(found, Task):
        return found
    function = found.func if isinstance(found, partial) else found
    if not isinstance(function, TaskFactory):
        return None
    try:
        task: Task = found()
    except Exception as error:  # whatever the function does
        raise BrokenTask(f"making the task fails{_where(error)}: {suite.told(error)}") from error
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


def _where(error: BaseException) -> str:
    """Where in a file it went wrong; this one is none of the model's."""
    place = suite.where(error)
    return "" if place.startswith(f" in {__file__},") else place


def _refuse_two_of_one_name(model: str, module: str) -> None:
    """A module that lies in two folders of the search path is nobody's: the first would stand for both.

    Raises:
        UnknownModel: It does; the message says where.
    """
    found: dict[Path, Path] = {}
    for folder in dict.fromkeys(Path(entry or ".").resolve() for entry in sys.path):
        place = folder.joinpath(*module.split("."))
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                found.setdefault(file.resolve(), folder)
    if len(set(found.values())) > 1:
        here, elsewhere = list(dict.fromkeys(found.values()))[:2]
        raise UnknownModel(
            f'The model "{model}": a module {module} lies in {here} and in {elsewhere}, and the first would be '
            "measured. Call from the folder of the one that you mean, without the other on PYTHONPATH."
        )
