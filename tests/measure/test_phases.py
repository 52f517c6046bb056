"""The phases of a step on a GPU that is made up: marks on its stream, read when all is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainmark.measure.instruments import time_phases
from trainmark.measure.phases import PhaseClock, Phases, measure_phases
from trainmark.measure.settings import Settings
from trainmark.measure.steps import Steps, TrainingParts, prepare
from trainmark.store.cell import Cell


class FakeStream:
    """A device that works on long after the host has gone on."""

    def __init__(self) -> None:
        self.done_at = 0.0  # milliseconds of work queued so far
        self.waited = 0

    def launch(self, milliseconds: float) -> None:
        self.done_at += milliseconds

    def synchronize(self) -> None:
        self.waited += 1

    def new_event(self, *, enable_timing: bool) -> FakeEvent:
        assert enable_timing
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, stream: FakeStream) -> None:
        self.stream = stream
        self.at: float | None = None

    def record(self) -> None:
        self.at = self.stream.done_at

    def elapsed_time(self, end: FakeEvent) -> float:
        assert self.stream.waited, "an event is read before the device has come to it"
        assert self.at is not None and end.at is not None, "an event is read that was never recorded"
        return end.at - self.at


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    fake = FakeStream()
    monkeypatch.setattr(torch.cuda, "Event", fake.new_event)
    monkeypatch.setattr(torch.cuda, "synchronize", fake.synchronize)
    return fake


def test_a_phase_is_as_long_as_its_work_on_the_device(stream: FakeStream) -> None:
    clock = PhaseClock("cuda")
    for _ in range(2):
        with clock.span("forward"):
            stream.launch(3.0)
        with clock.span("backward"):
            stream.launch(5.0)
    assert stream.waited == 0  # nothing waits while steps are taken
    assert clock.totals() == {"forward": pytest.approx(6e-3), "backward": pytest.approx(10e-3)}
    assert stream.waited == 1


def test_a_phase_within_another_is_taken_off_it_at_every_depth(stream: FakeStream) -> None:
    clock = PhaseClock("cuda")
    with clock.span("other"):
        stream.launch(1.0)
        with clock.span("data"):
            stream.launch(2.0)
            with clock.span("copy"):
                stream.launch(4.0)
        stream.launch(8.0)
    assert clock.totals() == {
        "copy": pytest.approx(4e-3),
        "data": pytest.approx(2e-3),
        "other": pytest.approx(9e-3),
    }


@pytest.fixture
def step_on_cuda(
    stream: FakeStream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str], Steps]]:
    """A training step of the CPU whose parts queue work of their own length on the stream."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def launching(function: Callable[..., object], milliseconds: float) -> Callable[..., object]:
        def launched(*args: object, **kwargs: object) -> object:
            stream.launch(milliseconds)
            return function(*args, **kwargs)

        return launched

    def prepared(precision: str) -> Steps:
        steps: Steps = prepare(Cell.of("train", batch_size=8, precision=precision), Settings(), tmp_path)
        assert isinstance(steps.parts, TrainingParts) and steps.model is not None
        monkeypatch.setattr(steps.model, "forward", launching(steps.model.forward, 1.0))
        monkeypatch.setattr(steps.parts.criterion, "forward", launching(steps.parts.criterion.forward, 2.0))  # type: ignore[attr-defined]
        monkeypatch.setattr(steps.parts.optimizer, "zero_grad", launching(steps.parts.optimizer.zero_grad, 4.0))
        monkeypatch.setattr(Tensor, "backward", launching(Tensor.backward, 8.0))
        monkeypatch.setattr(steps.parts.optimizer, "step", launching(steps.parts.optimizer.step, 16.0))
        return steps

    yield prepared
    torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_lines_of_a_step_are_told_apart_and_sum_to_it(step_on_cuda: Callable[[str], Steps], precision: str) -> None:
    found = measure_phases(step_on_cuda(precision), "cuda", number=3)
    assert {name: round(seconds * 1e3, 6) for name, seconds in found.seconds.items()} == {
        "data": 0,
        "copy": 0,
        "forward": 1,
        "loss": 2,
        "zero_grad": 4,
        "backward": 8,
        "optimizer": 16,
    }
    assert found.step_seconds == pytest.approx(31e-3)
    assert found.other_seconds == pytest.approx(0)


@pytest.mark.parametrize(("step_seconds", "number"), [(0.01, 50), (0.0625, 8), (10.0, 2), (0.0001, 100)])
def test_phases_are_timed_for_half_of_the_time_within_two_and_a_hundred_steps(
    monkeypatch: pytest.MonkeyPatch, step_seconds: float, number: int
) -> None:
    asked: list[int] = []

    def measure(_steps: Any, _device: str, number: int) -> Phases:
        asked.append(number)
        return Phases({"forward": 0.3, "backward": 0.6}, 1.0, 0.05)

    monkeypatch.setattr("trainmark.measure.instruments.measure_phases", measure)
    steps: Any = None
    found = time_phases(steps, Cell.of("train"), step_seconds, Settings(max_seconds=1.0))
    assert asked == [number]
    assert found.pop("other_seconds") == pytest.approx(0.1)
    assert found == {
        "forward_seconds": 0.3,
        "backward_seconds": 0.6,
        "instrumented_step_seconds": 1.0,
        "loading_cpu_seconds": 0.05,
    }
