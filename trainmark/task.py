"""A task: what is trained, in one object that reads like the lecture's loop; what is not given is the lecture's."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainmark.store.metrics import SHARE, Metric

if TYPE_CHECKING:
    from torch import Tensor, nn

DIRECTIONS = ("higher", "lower")
INTERVALS = ("step", "epoch")
TARGETS = ("target", "targets", "label", "labels", "y")  # what a batch with names may call them
ACCURACY = "accuracy"
GREY_28 = (1, 28, 28)  # what a model that says nothing is taken to read: the lecture's digits
CLASSES = 10


class TaskError(ValueError):
    """A task is not put together rightly; the message says what was given and what was needed."""


class NotATask(TaskError):
    """A function that is marked as one of a task's gives something else."""


@dataclass(frozen=True)
class HeldOut:
    """A number by which a trained model is judged, on data that it was not trained on.

    Attributes:
        function: From the output for a batch and its targets to the mean over the samples of the batch, a float or a
            tensor []; or a class of which an object has ``update(output, targets)`` and ``compute()``, as
            torchmetrics has them, where the number is no mean of batches.
        better: ``"higher"`` or ``"lower"``.
        unit: Of the number; ``"share"`` for one between 0 and 1, which is shown as percent; empty for a count.
        margin: By how much it may differ before it has become worse, in its own unit; None for a number that is
            shown and not judged.
        meaning: One line for the report.
    """

    function: Callable[..., Any]
    better: str
    unit: str = ""
    margin: float | None = None
    meaning: str = ""

    def refuse_wrong_parts(self) -> None:
        """Looks at each part.

        Raises:
            TaskError: One is of the wrong kind.
        """
        if not callable(self.function):
            raise TaskError(f"a held-out metric is a function of output and targets, not {_kind(self.function)}")
        if self.better not in DIRECTIONS:
            raise TaskError(f"a held-out metric is better when {' or '.join(DIRECTIONS)}, not {self.better!r}")
        if self.margin is not None and not (isinstance(self.margin, int | float) and self.margin > 0):
            raise TaskError(f"the margin of a held-out metric is a number above 0 or None, not {self.margin!r}")
        for name in ("unit", "meaning"):
            if not isinstance(getattr(self, name), str):
                raise TaskError(f"the {name} of a held-out metric is a string, not {_kind(getattr(self, name))}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained.

    A batch is parted into inputs and targets: a pair as it is, of more parts the last are the targets, of one with
    names those called ``target``, ``targets``, ``label``, ``labels`` or ``y``; a lone tensor is both. Inputs that are a
    tuple or a list are the model's arguments, inputs with names its arguments by name.

    A part of the wrong kind is told when the task is measured, and not where it is written: other tasks of the same
    file go on.

    Attributes:
        model: Gives a new model with random weights on the CPU.
        data: The training data, or a pair of training and held-out data, or a function that gives either. Each is
            a Dataset, a DataLoader, or tensors of as many samples: inputs and targets, or a dict of them. A
            DataLoader keeps all but its batch size, which is the benchmark's. None for what ``--dataset`` names.
        criterion: From the model's output and the targets to a loss, a tensor [].
        optimizer: From ``model.parameters()`` to an optimizer; from the model, where its argument is named ``model``.
            One for a step of one's own may give several: a tuple.
        schedule: From the optimizer and the number of steps of a training to a schedule of its learning rate.
        schedule_interval: After what the schedule takes a step: ``"step"`` or ``"epoch"``.
        metrics: Name -> how the trained model is judged. None for the accuracy where the criterion is the lecture's,
            else for the loss on the held-out data.
        step: ``step(training, inputs, targets)``, which gives the loss, in the place of the lecture's five lines;
            ``training`` has ``model``, ``criterion``, ``optimizer`` and ``number``, how many steps came before.
        split: From a batch to inputs and targets, where the above does not fit.
        collate: From a list of samples to a batch, as DataLoader has it.
        unit: What throughput counts, in the singular: ``"sample"``, ``"token"``, ``"pixel"``.
        count: From inputs and targets to how many of these a batch has; needed for any other than samples.
        input_shape: Of one sample, where ``data`` is None: channels, height, width.
        classes: Logits of a sample, likewise.
        written: File and line where it is.
    """

    model: Callable[[], nn.Module]
    data: Any = None
    criterion: Callable[[Any, Any], Tensor] | None = None
    optimizer: Callable[..., Any] | None = None
    schedule: Callable[[Any, int], Any] | None = None
    schedule_interval: str = "step"
    metrics: Mapping[str, HeldOut] | None = None
    step: Callable[..., Any] | None = None
    split: Callable[[Any], tuple[Any, Any]] | None = None
    collate: Callable[[list[Any]], Any] | None = None
    unit: str = "sample"
    count: Callable[[Any, Any], int] | None = None
    input_shape: tuple[int, int, int] = GREY_28
    classes: int = CLASSES
    written: tuple[str, int] = field(default=("", 0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "written", _caller())

    def refuse_wrong_parts(self) -> None:
        """Looks at each part.

        Raises:
            TaskError: One is of the wrong kind.
        """
        from torch import nn

        if isinstance(self.model, nn.Module):
            raise TaskError("model is a module; each training begins with a new one: give a function that builds it")
        parts = ("model", "criterion", "optimizer", "schedule", "step", "split", "collate", "count")
        for name in parts:
            part = getattr(self, name)
            if not callable(part) and (part is not None or name == "model"):
                raise TaskError(f"{name} is {_kind(part)}, not a function")
        if self.schedule_interval not in INTERVALS:
            raise TaskError(f"schedule_interval is {self.schedule_interval!r}, not {' or '.join(INTERVALS)}")
        self._refuse_wrong_metrics()
        if not _is_identifier(self.unit) or (self.unit != "sample" and self.count is None):
            raise TaskError(f"unit is {self.unit!r}: write one word, and count=… where it is not sample")
        if not (
            isinstance(self.input_shape, tuple | list) and len(self.input_shape) == 3 and _are_counts(*self.input_shape)
        ):
            raise TaskError(f"input_shape is {self.input_shape!r}, not channels, height and width of an image")
        if not _are_counts(self.classes):
            raise TaskError(f"classes is {self.classes!r}, not a whole number above zero")

    def _refuse_wrong_metrics(self) -> None:
        if not isinstance(self.metrics, Mapping | None):
            raise TaskError(f"metrics is {_kind(self.metrics)}, not a dict of names to HeldOut(function, better=…)")
        for name, metric in (self.metrics or {}).items():
            if not isinstance(metric, HeldOut):
                raise TaskError(f"metric {name} is {_kind(metric)}: write HeldOut(function, better=…)")
            metric.refuse_wrong_parts()
            if not _is_identifier(name):
                raise TaskError(f"{name!r} is no name for a metric: write it as a Python identifier")
            if name == ACCURACY and (metric.better, metric.unit, metric.margin) != ("higher", SHARE, None):
                raise TaskError(
                    'accuracy is HeldOut(function, "higher", "share"), of a known margin; or name it otherwise'
                )

    @property
    def is_plain(self) -> bool:
        """Whether it is the lecture's but for its model: images of one shape to logits of classes."""
        own = (self.data, self.criterion, self.step, self.split, self.collate)
        return all(part is None for part in own)

    @property
    def held_out_metrics(self) -> Mapping[str, HeldOut]:
        """Name -> how a trained model is judged."""
        if self.metrics is not None:
            return self.metrics
        if self.criterion is None:
            return {ACCURACY: HeldOut(accuracy, "higher", SHARE)}
        return {"held_out_loss": HeldOut(self.criterion, "lower", meaning="the criterion on held-out data")}

    def described_metrics(self) -> dict[str, Metric]:
        """What its records hold beyond those of every training: name -> how it is read and compared."""
        found: dict[str, Metric] = {}
        for name, metric in self.held_out_metrics.items():
            if name == ACCURACY:
                continue  # every suite knows it
            after = f"{metric.meaning or name.replace('_', ' ')}, held out, after the last epoch"
            compared = "no" if metric.margin is None else "points" if metric.unit == SHARE else "difference"
            of = (metric.unit, metric.better)
            found[name] = Metric(*of, compared, f"{after}, mean over seeds", metric.margin, signed=True)
            for end in ("lowest", "highest"):
                found[f"{name}_{end}"] = Metric(*of, "no", f"the {end} of the seeds: {after}", signed=True)
        if self.unit != "sample":
            told = f"throughput: {self.unit}s of a step over step_seconds"
            found[f"{self.unit}s_per_second"] = Metric("1/s", "higher", "no", told)
        return found


def accuracy(output: Any, targets: Any) -> Any:
    """Share of targets that have the largest logit.

    Args:
        output: Logits [B, classes, …].
        targets: Class numbers [B, …].
    """
    return (output.argmax(1) == targets).float().mean()


class TaskFactory:
    """A function that gives a task; called when the task is needed, not before."""

    def __init__(self, function: Callable[..., Task]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any, **named: Any) -> Task:
        """The task.

        Raises:
            NotATask: The function gave something else.
        """
        made = self.function(*arguments, **named)
        if not isinstance(made, Task):
            raise NotATask(f"{getattr(self.function, '__name__', 'a task')} gives {_kind(made)}, not a Task")
        return made


def task(function: Callable[..., Task]) -> TaskFactory:
    """Marks a function that gives a :class:`Task`, as a decorator: ``--task package.module:name`` finds it."""
    return TaskFactory(function)


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _is_identifier(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _are_counts(*values: Any) -> bool:
    return all(type(value) is int and value > 0 for value in values)


def _caller() -> tuple[str, int]:
    """File and line of the code that makes a task, by its name or by ``dataclasses.replace``."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename in _MAKING:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


_MAKING = (__file__, dataclasses.__file__, "<string>")  # the last one is where a dataclass has its __init__
