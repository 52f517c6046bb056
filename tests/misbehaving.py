"""Functions and models that end badly, for tests: importable, as a worker's child wants them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import torch
from torch import Tensor, nn

from trainmark.measure.failures import NotFiniteError, UnsupportedError

Report = Callable[[str], None]


def give(value: object, report: Report, scratch: Path) -> tuple[object, bool, int]:
    report("giving")
    return value, scratch.is_dir(), os.getpid()


def abort(report: Report, scratch: Path) -> None:
    report("aborting")
    os.abort()


def leave(report: Report, scratch: Path) -> None:
    os._exit(3)


def hold_semaphores(for_ever: bool, report: Report, scratch: Path) -> None:
    """Of the kind that has a name, which somebody must give back: as a pool of compiling processes has them."""
    kept.extend(multiprocessing.get_context("spawn").Lock() for _ in range(4))
    report("holding")
    if for_ever:
        time.sleep(1e6)


kept: list[object] = []


def sleep_for_ever(report: Report, scratch: Path) -> None:
    report("sleeping")
    time.sleep(1e6)


def sleep_beside(pids: Path, report: Report, scratch: Path) -> None:
    """Tells its own process and one that it starts, then both sleep."""
    child = os.fork()
    if child == 0:
        time.sleep(1e6)
    pids.write_text(f"{os.getpid()} {child}")
    sleep_for_ever(report, scratch)


def fork_and_leave(pids: Path, report: Report, scratch: Path) -> None:
    """Leaves a copy that holds all that the process had open."""
    child = os.fork()
    if child == 0:
        time.sleep(1e6)
    pids.write_text(f"{os.getpid()} {child}")
    os._exit(0)


def fork_and_return(report: Report, scratch: Path) -> int:
    """Both go on with what there is to do."""
    os.fork()
    report("going on")
    return 1


def leave_a_daemon(pids: Path, report: Report, scratch: Path) -> int:
    """In a session of its own, and with nobody for a parent."""
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child == 0:
            time.sleep(1e6)
        pids.write_text(str(child))
        os._exit(0)
    while not pids.exists() or not pids.read_text():
        time.sleep(0.01)
    return 1


def kill_parent(report: Report, scratch: Path) -> None:
    report("killing")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1e6)


def close_descriptors(first: int, report: Report, scratch: Path) -> int:
    os.closerange(first, 1024)
    return 1


def write_everywhere(report: Report, scratch: Path) -> None:
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, b"not a message")
    time.sleep(1e6)


def leave_junk(report: Report, scratch: Path) -> None:
    """In the place of a last message, and without one."""
    (scratch / "ending").write_bytes(b"not a message")
    os._exit(3)


def print_much(report: Report, scratch: Path) -> None:
    os.write(1, b"\x1b[31m" + b"x" * 10_000_000)
    raise ValueError("\x1b]0;title\x07" + "y" * 5_000_000)


def exit_politely(report: Report, scratch: Path) -> None:
    sys.exit("no licence")


def ask(report: Report, scratch: Path) -> None:
    input("Which weights? ")


def take_memory(report: Report, scratch: Path) -> None:
    report("taking memory")
    kept = []
    while True:
        kept.append(torch.ones(10_000_000))


def ask_for_too_much(report: Report, scratch: Path) -> None:
    torch.empty(10**15)


def divide(report: Report, scratch: Path) -> None:
    print("before the fault")
    print("on the other stream", file=sys.stderr)
    raise ZeroDivisionError("of one by nothing\nand a second line")


def diverge(report: Report, scratch: Path) -> None:
    raise NotFiniteError("the loss is not finite (nan)")


def refuse(report: Report, scratch: Path) -> None:
    raise UnsupportedError("no such arithmetic here")


def tell_modules(measured_by: str, cell: object, settings: object, report: Report, scratch: Path) -> list[str]:
    """Measures a cell, and tells all that its process has imported."""
    resolve_name(measured_by)(cell, settings, report, scratch)
    return sorted(sys.modules)


class Digits(nn.Module):
    """A linear model of 28x28 digits that does something first."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        self.misbehave()
        return self.linear(images.flatten(1))

    def misbehave(self) -> None:
        pass


class Hungry(Digits):
    kept: list[Tensor] = []

    def misbehave(self) -> None:
        self.kept.append(torch.ones(50_000_000))


class Aborting(Digits):
    def misbehave(self) -> None:
        os.abort()


class Sleeping(Digits):
    def misbehave(self) -> None:
        time.sleep(1e6)


class NotANumber(Digits):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float("nan")


class Reading(Digits):
    """The host reads a number off the device at each step."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        self.largest = logits.detach().amax().item()
        return logits


class Upcasting(Digits):
    """Computes in float64 where float32 was meant."""

    def forward(self, images: Tensor) -> Tensor:
        weight, bias = self.linear.weight.double(), self.linear.bias.double()
        return nn.functional.linear(images.flatten(1).double(), weight, bias).float()


class Copying(Digits):
    """Copies its input for nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.clone())


class Keeping(Digits):
    """Keeps what it computed, and with it the graph behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        self.history.append(logits)
        return logits


class Breaking(Digits):
    """Leaves the graph in the middle of it."""

    def misbehave(self) -> None:
        torch._dynamo.graph_break()


class Recompiling(Digits):
    """Is another model at each step."""

    steps = 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += 1
        return super().forward(images) * self.steps


class Spacious(Digits):
    """Takes 8 MB of memory for each sample."""

    def forward(self, images: Tensor) -> Tensor:
        self.space = torch.ones(len(images), 2_000_000)
        return super().forward(images)


class ShyOfProfilers(Digits):
    """Dies where somebody watches its operators: after the clean pass, in the static one."""

    def misbehave(self) -> None:
        from torch.utils._python_dispatch import _get_current_dispatch_mode

        if _get_current_dispatch_mode() is not None:
            os.abort()


def hash_a_word(report: Report, scratch: Path) -> int:
    """Of a string: another in each process of Python, unless somebody has said otherwise."""
    return hash("a word")
