"""What a model gives is looked at once: other than logits of its classes ends the cell in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from models import MODELS
from trainmark.measure.data import Adaptation, Data
from trainmark.measure.failures import ModelError, NotFiniteError
from trainmark.measure.outputs import check_logits, checked, looking_first
from trainmark.measure.settings import Settings
from trainmark.measure.training import evaluate
from trainmark.measure.worker import Finished, finish
from trainmark.model import ModelSpec
from trainmark.store.cell import Cell
from trainmark.workloads import entry_of

Forward = Callable[[Tensor], Any]
REMEDY = "choose a batch size that leaves no batch of one sample"


class Net(nn.Module):
    """A linear model of 28x28 digits whose logits become something else."""

    def __init__(self, forward: Forward, outputs: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(784, outputs)
        self.more = forward

    def forward(self, images: Tensor) -> Any:
        return self.more(self.linear(images.flatten(1)))


def normalised() -> nn.Module:
    """Over the batch alone, which takes two samples to train."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10))


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Finished]:
    """Measures a cell of a made-up model here, and tells how it ended."""
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "")

    def measure(workload: str, build: Callable[[], nn.Module], classes: int = 10, **axes: Any) -> Finished:
        monkeypatch.setitem(MODELS, "made-up", ModelSpec(build, (1, 28, 28), classes, None, "a test", "made-up"))
        more = {"epochs": 1} if workload == "accuracy" else {}
        cell = Cell.of(workload, model="made-up", **({"batch_size": 8} | more | axes))
        settings = Settings(once=True, threads=torch.get_num_threads())
        return finish(entry_of(workload).measured_by, (cell, settings, lambda doing: None, tmp_path))

    return measure


Ending = Callable[..., Finished]
OTHERS: dict[str, tuple[Forward, str]] = {
    "one number a sample": (lambda logits: logits[:, 0], "a float32 tensor [8]"),
    "a scalar": (lambda logits: logits.sum(), "a float32 tensor []"),
    "integers": (lambda logits: logits.argmax(1), "an int64 tensor [8]"),
    "integers of classes": (lambda logits: logits.long(), "an int64 tensor [8, 10]"),
    "truths": (lambda logits: logits > 0, "a bool tensor [8, 10]"),
    "complex": (lambda logits: logits.cfloat(), "a complex64 tensor [8, 10]"),
    "two columns": (lambda logits: logits[:, :2], "a float32 tensor [8, 2]"),
    "eleven columns": (lambda logits: torch.cat([logits, logits[:, :1]], 1), "a float32 tensor [8, 11]"),
    "turned": (lambda logits: logits.t(), "a float32 tensor [10, 8]"),
    "pixels": (lambda logits: logits[:, :, None, None], "a float32 tensor [8, 10, 1, 1]"),
    "a tuple": (lambda logits: (logits, logits), "a tuple"),
    "a dictionary": (lambda logits: {"logits": logits}, "a dict with logits"),
    "a list": (lambda logits: [logits], "a list"),
    "a number": (lambda logits: 1.5, "a float"),
    "an integer": (lambda logits: 1, "an int"),
    "nothing": (lambda logits: None, "None"),
}


@pytest.mark.parametrize("workload", ["train", "inference", "accuracy"])
@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_logits_is_told_in_a_sentence(ending: Ending, workload: str, what: str) -> None:
    forward, came = OTHERS[what]
    found = ending(workload, lambda: Net(forward))
    needed = "needed are logits [8, 10], floating-point"
    assert (found.status, found.reason) == ("error", f"the model gave {came}; {needed}")


@pytest.mark.parametrize("workload", ["train", "inference", "accuracy"])
def test_a_model_may_tell_more_classes_apart_than_the_data_set_has(ending: Ending, workload: str) -> None:
    assert ending(workload, lambda: Net(lambda logits: logits, 12), classes=12).status == "ok"
    found = ending(workload, lambda: Net(lambda logits: logits, 10), classes=12)
    assert found.reason == "the model gave a float32 tensor [8, 10]; needed are logits [8, 12], floating-point"


@pytest.mark.parametrize("workload", ["train", "inference", "accuracy"])
def test_logits_that_are_no_numbers_are_told_as_such(ending: Ending, workload: str) -> None:
    assert ending(workload, lambda: Net(lambda logits: logits * float("nan"))).status == "nan"


class OtherWhenEvaluated(Net):
    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return logits if self.training else self.spoilt(logits)

    def __init__(self, spoilt: Forward) -> None:
        super().__init__(lambda logits: logits)
        self.spoilt = spoilt


def test_what_a_model_gives_when_it_is_evaluated_is_looked_at_too(ending: Ending) -> None:
    found = ending("accuracy", lambda: OtherWhenEvaluated(lambda logits: logits[:, :2]))
    assert found.reason == "the model gave a float32 tensor [1000, 2]; needed are logits [1000, 10], floating-point"
    assert ending("accuracy", lambda: OtherWhenEvaluated(lambda logits: logits / 0 * 0)).status == "nan"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_logits_are_welcome_in_every_precision(dtype: torch.dtype) -> None:
    check_logits(torch.zeros(3, 7, dtype=dtype), 3, 7)


def test_no_number_is_no_answer_of_an_evaluation() -> None:
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
    with pytest.raises(NotFiniteError, match="evaluation"):
        evaluate(lambda images, labels: logits, torch.zeros(2, 1), torch.tensor([1, 0]))


def test_only_the_first_batch_of_each_size_is_looked_at() -> None:
    looked: list[int] = []

    def looking(images: Tensor, labels: Tensor) -> Tensor:
        looked.append(len(images))
        return images

    take = looking_first(lambda images, labels: images, looking)
    for size in (8, 8, 8, 3, 8, 3):
        take(torch.zeros(size), torch.zeros(size))
    assert looked == [8, 3]


# Batches of one sample


@pytest.mark.parametrize("workload", ["train", "accuracy"])
def test_a_model_that_normalises_over_one_sample_is_told_what_to_do(ending: Ending, workload: str) -> None:
    found = ending(workload, normalised, batch_size=1)
    assert (found.status, found.reason) == (
        "error",
        f"the model cannot be trained on one sample, over which it normalises: {REMEDY}",
    )
    assert ending(workload, normalised, batch_size=2).status == "ok"
    assert ending("inference", normalised, batch_size=1).status == "ok"


def of_samples(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Puts so many made-up digits in the place of the data set."""
    samples = TensorDataset(torch.rand(number, 1, 28, 28), torch.arange(number) % 10)
    data = Data("made-up", samples, samples, Adaptation(), 10)
    monkeypatch.setattr("trainmark.measure.steps.load_for", lambda *_: data)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (normalised, "the model cannot be trained on one sample, over which it normalises"),
        (
            lambda: Net(lambda logits: logits.squeeze()),
            "the model gave a float32 tensor [10]; needed are logits [1, 10], floating-point",
        ),
    ],
    ids=["normalised", "squeezed"],
)
@pytest.mark.parametrize("loader", ["resident", "dataloader"])
def test_a_last_batch_of_one_sample_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build: Callable[[], nn.Module], reason: str, loader: str
) -> None:
    monkeypatch.setitem(MODELS, "made-up", ModelSpec(build, (1, 28, 28), 10, None, "a test", "made-up"))
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
    settings = Settings(threads=torch.get_num_threads())
    for samples, told in ((17, f"{reason}: {REMEDY}"), (18, None)):
        of_samples(monkeypatch, samples)
        cell = Cell.of("accuracy", model="made-up", batch_size=8, epochs=2, loader=loader)
        ended = finish(entry_of("accuracy").measured_by, (cell, settings, lambda doing: None, tmp_path))
        assert ended.reason == told


def test_what_a_model_raises_otherwise_is_left_as_it_is() -> None:
    def fail(images: Tensor) -> Tensor:
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        checked(fail, 10)(torch.zeros(1, 1))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_normalisation_over_one_sample_is_told_compiled_too(compiled: bool) -> None:
    model: Any = normalised()
    if compiled:
        torch._dynamo.reset()
        model = torch.compile(model, backend="eager")
    with pytest.raises(ModelError, match="cannot be trained on one sample"):
        checked(model, 10)(torch.zeros(1, 1, 28, 28))
