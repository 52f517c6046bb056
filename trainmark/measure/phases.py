"""Where a step's time goes: the lecture's five lines and what surrounds them, timed one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

import psutil
import torch
from torch import Tensor

from trainmark.measure.steps import Steps, TrainingParts
from trainmark.measure.training import Model, Step

PHASES = ("data", "copy", "forward", "loss", "zero_grad", "backward", "optimizer")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Phases:
    """How long the parts of a step take, instruments included, mean over the steps looked at.

    Attributes:
        seconds: Name from PHASES -> seconds; absent where the workload has no such part.
        step_seconds: The whole step. What no part accounts for is ``other_seconds``.
        loading_cpu_seconds: That processors worked on having a batch, those of workers included; None where unknown.
    """

    seconds: dict[str, float]
    step_seconds: float
    loading_cpu_seconds: float | None = None

    @property
    def other_seconds(self) -> float:
        """The step without its parts: the loop itself, autocast, the interpreter."""
        return self.step_seconds - sum(self.seconds.values())


class PhaseClock:
    """Marks the beginning and the end of each part; reads the marks when all steps are done.

    On CUDA a mark is an event on the stream: it waits for nothing and changes no order of work.
    Elsewhere it is the host's clock, and on MPS and XPU therefore the time to launch.

    Args:
        device: Where the steps run.
    """

    def __init__(self, device: str) -> None:
        self._on_cuda = device == "cuda"
        self._spans: list[tuple[str, Any, Any]] = []
        self._inner: list[list[tuple[Any, Any]]] = []  # for each open span the spans within it
        self._nested: dict[int, list[tuple[Any, Any]]] = {}  # span number -> spans to take off it

    @contextmanager
    def span(self, phase: str) -> Iterator[None]:
        """Times a block as that phase; a span within it is taken off."""
        self._inner.append([])
        begin = self._mark()
        try:
            yield
        finally:
            end = self._mark()
            within = self._inner.pop()
            if self._inner:
                self._inner[-1].append((begin, end))
            self._nested[len(self._spans)] = within
            self._spans.append((phase, begin, end))

    def around(self, phase: str, function: Callable[P, T]) -> Callable[P, T]:
        """The function, timed as that phase."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.span(phase):
                return function(*args, **kwargs)

        return timed

    def totals(self) -> dict[str, float]:
        """Seconds of each phase over all spans, without what was nested in them."""
        if self._on_cuda:
            torch.cuda.synchronize()
        found: dict[str, float] = {}
        for number, (phase, begin, end) in enumerate(self._spans):
            own = self._between(begin, end) - sum(self._between(*inner) for inner in self._nested[number])
            found[phase] = found.get(phase, 0.0) + own
        return found

    def _mark(self) -> Any:
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, begin: Any, end: Any) -> float:
        return float(begin.elapsed_time(end) / 1e3 if self._on_cuda else end - begin)


def measure_phases(steps: Steps, device: str, number: int) -> Phases:
    """Times the parts of some steps, each where it is called.

    The step itself is the one that the clean pass timed: same lines, same order. The model is called through a
    stand-in that has all its attributes; optimizer, scaler and ``Tensor.backward`` have their methods timed meanwhile.

    Args:
        steps: A cell made ready; afterwards as before.
        device: Where it runs.
        number: Steps to look at.
    """
    clock = PhaseClock(device)
    original = steps.feed.transfer
    steps.feed.transfer = clock.around("copy", original)
    take_batch = clock.around("data", steps.batches.__next__)
    own_cpu, before = 0.0, _workers_cpu()
    try:
        with _timed_methods(steps, clock):
            step = _timed_step(steps, clock)
            for _ in range(number):
                with clock.span("other"):
                    begun = time.process_time()
                    batch = take_batch()
                    own_cpu += time.process_time() - begun
                    step(*batch)
    finally:
        steps.feed.transfer = original
    after = _workers_cpu()
    of_workers = sum(seconds - before.get(worker, 0.0) for worker, seconds in after.items())
    totals = {phase: seconds / number for phase, seconds in clock.totals().items()}
    whole = sum(totals.values())
    del totals["other"]
    if steps.feed.is_resident:
        totals["copy"] = 0.0  # the batches are on the device already
    return Phases(totals, whole, (own_cpu + of_workers) / number)


def _workers_cpu() -> dict[tuple[int, float], float]:
    """Processor seconds of each process that this one has started: workers that load batches."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # an epoch has ended meanwhile, and its workers with it
            times = child.cpu_times()
            found[child.pid, child.create_time()] = times.user + times.system
    return found


def _timed_step(steps: Steps, clock: PhaseClock) -> Step:
    if steps.parts is None:
        return steps.step
    model = _TimedModel(steps.parts.model, clock)
    if not isinstance(steps.parts, TrainingParts):
        return replace(steps.parts, model=model).step
    criterion = clock.around("loss", steps.parts.criterion)
    return replace(steps.parts, model=model, criterion=criterion).step


@dataclass(frozen=True)
class _TimedModel:
    """Stands in for a model: its call is timed, and all else is its own."""

    model: Model
    clock: PhaseClock

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        with self.clock.span("forward"):
            return self.model(*inputs, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


@contextmanager
def _timed_methods(steps: Steps, clock: PhaseClock) -> Iterator[None]:
    """Times what a step calls of others until the block ends: ``backward``, optimizers and a scaler of losses."""
    parts = steps.parts
    if not isinstance(parts, TrainingParts):
        yield
        return
    timed: list[tuple[object, str, str]] = [(Tensor, "backward", "backward")]
    for optimizer in parts.optimizers:
        timed += [(optimizer, "zero_grad", "zero_grad"), (optimizer, "step", "optimizer")]
    scaler = parts.scaler
    timed += [(scaler, "scale", "loss"), (scaler, "step", "optimizer"), (scaler, "update", "optimizer")]
    with ExitStack() as until_left:
        for owner, name, phase in timed:
            until_left.enter_context(_replaced(owner, name, clock.around(phase, getattr(owner, name))))
        yield


@contextmanager
def _replaced(owner: object, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Puts a function in the place of a method until the block ends; afterwards as before."""
    own = vars(owner).get(name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
