"""Tasks that somebody has put together wrongly: each ends in a sentence, and no error is raised by accident in ours."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from inspect import currentframe
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainmark
from trainmark import suite
from trainmark.measure.failures import MissingDataError, ModelError, NotFiniteError, UnsupportedError
from trainmark.measure.settings import Settings
from trainmark.measure.worker import finish
from trainmark.store.cell import Cell
from trainmark.store.metrics import METRICS
from trainmark.suite import Suite
from trainmark.task import HeldOut, Task, task

X, Y = torch.randn(24, 3), torch.randn(24, 1)
OUR_SENTENCES = (ModelError, UnsupportedError, NotFiniteError, MissingDataError)


def good(**parts: Any) -> Task:
    return Task(
        **{"model": partial(nn.Linear, 3, 1), "data": lambda: ((X, Y), (X, Y)), "criterion": nn.MSELoss()} | parts
    )


class Net(nn.Module):
    def __init__(self, forward: Callable[[Any], Any]) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(3, 1), forward

    def forward(self, inputs: Tensor) -> Any:
        return self.way(self.layer(inputs))


class Bad:
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        raise LookupError("no such row")


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("boom")


@task
def failing() -> Task:
    return boom()


@task
def other() -> Any:
    return nn.Linear(3, 1)


# What is wrong -> the task, and the words of the sentence that says so.
WRONG: dict[str, tuple[Any, str]] = {
    "a model that is None": (good(model=lambda: None), "building the model gave None; needed is a torch.nn.Module"),
    "a model that is a class": (good(model=lambda: nn.Linear), "building the model gave a type"),
    "a factory that raises": (good(model=boom), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "a forward pass that raises": (good(model=lambda: Net(boom)), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "a model of another width": (good(model=partial(nn.Linear, 5, 1)), "mat1 and mat2 shapes cannot be multiplied"),
    "outputs with names": (good(model=lambda: Net(lambda x: {"logits": x})), "'dict' object"),
    "outputs that are None": (good(model=lambda: Net(lambda x: None)), "'NoneType' object"),
    "a criterion that raises": (good(criterion=boom), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "a criterion of each row": (
        good(criterion=nn.MSELoss(reduction="none")),
        "the criterion gave a float32 tensor [8, 1]",
    ),
    "a criterion that gives a float": (
        good(criterion=lambda out, wanted: 1.5),
        "the criterion gave a float; needed is a loss",
    ),
    "a criterion that gives nothing": (good(criterion=lambda out, wanted: None), "the criterion gave None"),
    "a loss that is detached": (
        good(criterion=lambda out, wanted: out.detach().mean()),
        "the loss depends on no parameter",
    ),
    "all frozen": (good(model=lambda: nn.Linear(3, 1).requires_grad_(False)), "the loss depends on no parameter"),
    "no parameters": (good(model=nn.Identity, data=lambda: (Y, Y)), "optimizer got an empty parameter list"),
    "a loss that is NaN": (good(criterion=lambda out, wanted: out.mean() * float("nan")), "is not finite"),
    "no optimizer": (good(optimizer=lambda parameters: None), "the task's optimizer gave None"),
    "two optimizers for one step": (good(optimizer=lambda parameters: []), "several need a step of one's own"),
    "no optimizer for a step of one's own": (
        good(optimizer=lambda parameters: (), step=lambda training, inputs, targets: None),
        "the task's optimizer gave none",
    ),
    "an optimizer that raises": (good(optimizer=boom), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "a wrong hyperparameter": (good(optimizer=partial(torch.optim.SGD, lr=-1)), "Invalid learning rate"),
    "no schedule": (good(schedule=lambda optimizer, steps: None), "the task's schedule gave None"),
    "a schedule that raises": (good(schedule=boom), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "no data": (good(data=lambda: None), "the training data are None"),
    "data that raise": (good(data=boom), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "a row that raises": (good(data=lambda: (Bad(), Bad())), "LookupError: no such row (test_wrong_tasks.py, line"),
    "rows of two lengths": (good(data=lambda: (X, Y[:5])), "tensors of 5, 24 samples"),
    "names without a target": (good(data=lambda: {"x": X, "z": Y}), "none of these is called target"),
    "a split of one part": (good(split=lambda batch: batch[0]), "the task's split gave a float32 tensor"),
    "a split that raises": (good(split=boom), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "a collate that raises": (
        good(data=lambda: [(row, 1.0) for row in X], collate=boom),
        "RuntimeError: boom (test_wrong",
    ),
    "a step that gives nothing": (good(step=lambda training, inputs, targets: None), "the task's step gave None"),
    "a step that raises": (good(step=boom), "RuntimeError: boom (test_wrong_tasks.py, line"),
    "a step of two arguments": (
        good(step=lambda inputs, targets: None),
        "the task's step is called with training, inputs, targets, and takes (inputs, targets): too many",
    ),
    "a model of one argument": (
        good(model=lambda width: nn.Linear(3, width)),
        "the task's model is called with nothing",
    ),
    "a criterion of one argument": (
        good(criterion=lambda out: out.mean()),
        "the task's criterion is called with output, t",
    ),
    "a schedule of one argument": (
        good(schedule=lambda optimizer: None),
        "the task's schedule is called with optimizer, st",
    ),
    "a split of two arguments": (
        good(split=lambda x, y: (x, y)),
        "the task's split is called with batch, and takes (x, y)",
    ),
    "a count that is no number": (
        good(unit="token", count=lambda inputs, targets: "many"),
        "the task's count gave a str",
    ),
    "a task that fails": (failing, "making the task fails in "),
    "a task that is none": (other, "making the task fails: NotATask: other gives a Linear, not a Task"),
}
JUDGED_WRONGLY: dict[str, tuple[Any, str]] = {
    "no held-out data": (good(data=lambda: (X, Y)), "a task without held-out data: a training cannot be judged"),
    "a metric that raises": (
        good(metrics={"error": HeldOut(boom, "lower")}),
        "RuntimeError: boom (test_wrong_tasks.py",
    ),
    "a metric of one argument": (
        good(metrics={"error": HeldOut(lambda out: 1.0, "lower")}),
        "the task's metric error is",
    ),
    "a metric of each row": (
        good(metrics={"error": HeldOut(lambda out, wanted: (out - wanted).abs(), "lower")}),
        "the metric error gave a float32 tensor [8, 1]; needed is one number",
    ),
    "a metric that is NaN": (
        good(metrics={"error": HeldOut(lambda *_: float("nan"), "lower")}),
        "error on the held-out data",
    ),
}


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Any], tuple[str, str, Any]]]:
    """How a task's cell ends: its status, its reason, and the error, where there was one."""
    raised: list[BaseException] = []
    monkeypatch.setattr(suite, "_opened", [Suite(tmp_path)])
    monkeypatch.setattr(traceback, "print_exc", lambda: raised.append(sys.exc_info()[1]))
    module = ModuleType("tasks_gone_wrong")
    monkeypatch.setitem(sys.modules, "tasks_gone_wrong", module)
    threads, metrics = torch.get_num_threads(), dict(METRICS)

    def measure(workload: str, wrong: Any) -> tuple[str, str, Any]:
        module.wrong = wrong  # type: ignore[attr-defined]
        own = {"epochs": 1, "loader": "dataloader"} if workload == "accuracy" else {}
        cell = Cell.of(workload, model="tasks_gone_wrong:wrong", dataset="own-data", batch_size=8, **own)  # type: ignore[arg-type]
        function = "measure_training" if workload == "accuracy" else "measure_steps"
        settings = Settings(max_seconds=0.01, min_rounds=2)
        found = finish(f"trainmark.measure.protocol:{function}", (cell, settings, lambda _: None, tmp_path))
        return found.status, found.reason or "", raised[-1] if raised else None

    yield measure
    torch.set_num_threads(threads)
    METRICS.clear()
    METRICS.update(metrics)


def of_an_accident(error: BaseException | None) -> bool:
    """Whether an error was raised in a file of ours without a sentence of ours."""
    if error is None or isinstance(error, OUR_SENTENCES):
        return False
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Path(trainmark.__file__).parent in Path(last.filename).parents


@pytest.mark.parametrize("what", WRONG)
def test_a_task_that_is_wrong_ends_in_a_sentence(ending: Callable[..., Any], what: str) -> None:
    wrong, told = WRONG[what]
    status, reason, error = ending("train", wrong)
    assert status in ("error", "nan") and told in reason, reason
    assert "\n" not in reason and not of_an_accident(error)


@pytest.mark.parametrize("what", JUDGED_WRONGLY)
def test_a_training_that_cannot_be_judged_ends_in_a_sentence(ending: Callable[..., Any], what: str) -> None:
    wrong, told = JUDGED_WRONGLY[what]
    status, reason, error = ending("accuracy", wrong)
    assert status in ("error", "nan", "skipped") and told in reason, reason
    assert not of_an_accident(error)


def test_a_task_that_is_right_is_measured(ending: Callable[..., Any]) -> None:
    """What the wrong ones differ from."""
    assert ending("train", good())[:2] == ("ok", "")
    assert ending("accuracy", good())[:2] == ("ok", "")


PARTS_OF_A_WRONG_KIND: list[tuple[dict[str, Any], str]] = [
    ({"model": nn.Linear(3, 1)}, "model is a module"),
    ({"model": None}, "model is None, not a function"),
    ({"criterion": 5}, "criterion is an int, not a function"),
    ({"optimizer": "adam"}, "optimizer is a str, not a function"),
    ({"schedule": 0.1}, "schedule is a float, not a function"),
    ({"step": 3}, "step is an int, not a function"),
    ({"split": "x"}, "split is a str, not a function"),
    ({"collate": []}, "collate is a list, not a function"),
    ({"count": 7}, "count is an int, not a function"),
    ({"schedule_interval": "minute"}, "schedule_interval is 'minute', not step or epoch"),
    ({"metrics": nn.L1Loss()}, "metrics is a L1Loss, not a dict of names"),
    ({"metrics": {"error": print}}, "metric error is a builtin_function_or_method: write HeldOut"),
    ({"metrics": {"two words": HeldOut(print, "lower")}}, "is no name for a metric"),
    ({"metrics": {3: HeldOut(print, "lower")}}, "3 is no name for a metric"),
    ({"metrics": {"accuracy": HeldOut(print, "lower")}}, "accuracy is HeldOut"),
    ({"metrics": {"error": HeldOut(5, "lower")}}, "a function of output and targets, not an int"),  # type: ignore[arg-type]
    ({"metrics": {"error": HeldOut(print, "smaller")}}, "better when higher or lower, not 'smaller'"),
    ({"metrics": {"error": HeldOut(print, "lower", "m", -1)}}, "a number above 0 or None, not -1"),
    ({"metrics": {"error": HeldOut(print, "lower", 5)}}, "the unit of a held-out metric is a string, not an int"),  # type: ignore[arg-type]
    ({"unit": "token"}, "unit is 'token': write one word, and count="),
    ({"unit": 5}, "unit is 5: write one word"),
    ({"input_shape": 28}, "input_shape is 28, not channels, height and width"),
    ({"classes": "ten"}, "classes is 'ten', not a whole number"),
]


@pytest.mark.parametrize(("parts", "told"), PARTS_OF_A_WRONG_KIND)
def test_a_part_of_the_wrong_kind_is_told_with_the_line_of_its_task(
    ending: Callable[..., Any], parts: dict[str, Any], told: str
) -> None:
    """And not where the task is written: an import would fail, and with it each other task of the file."""
    status, reason, error = ending("train", good(**parts))
    line = good.__code__.co_firstlineno + 1
    assert status == "error" and told in reason, reason
    assert reason.startswith(f"the task in {__file__}, line {line}, is put together wrongly: ")
    assert not of_an_accident(error)


def test_the_line_is_that_of_whoever_makes_the_task() -> None:
    """By its name, by a partial, or as a copy of another."""
    begun = currentframe().f_lineno  # type: ignore[union-attr]
    made = Task(model=nn.Identity)
    bound = partial(Task, model=nn.Identity)()
    copied = replace(made, classes=3)
    assert [one.written for one in (made, bound, copied)] == [(__file__, begun + place) for place in (1, 2, 3)]
    assert made == bound  # where it is written is none of what it is
