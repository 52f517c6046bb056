"""What a process has started, wherever that has gone: found by its parents or by a mark, told by name, and ended."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

import psutil

from trainmark.formatting import plain

MARK = "TRAINMARK_STARTED_BY"  # in the environment of a server, and so of all that comes from it
ASKED_SECONDS = 1.0  # for a process to end when it is asked to, or because the one that it served is gone
KILLED_SECONDS = 5.0  # until one that was killed is gone, its children and those that it begins meanwhile included
POLL_SECONDS = 0.005
NAMED = 3  # of the processes that were left
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)

Find = Callable[[], list[psutil.Process]]


def serve() -> None:
    """Makes this process one that others are forked from: what they leave behind is its own, and ends with it."""
    adopt_orphans()
    warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")  # of what it has adopted
    signal.signal(signal.SIGTERM, lambda *_: _end_server())  # see begin_anew()
    end_with_parent(signal.SIGTERM)  # whose end nothing else may tell: a daemon may hold all that would be closed
    server = os.getpid()
    atexit.register(lambda: kill_all(below(server)) if os.getpid() == server else None)


def _end_server() -> NoReturn:
    """Ends this process at once with all that is below it: an exception might be raised in the middle of its end."""
    kill_all(below(os.getpid()))
    os._exit(1)


def adopt_orphans() -> None:
    """Makes this process the parent of what its children leave behind when they end, where the system is Linux."""
    _prctl(SET_CHILD_SUBREAPER, 1)


def begin_anew() -> None:
    """Makes a process that a server has forked one that is asked to end as any other, and that ends with the server."""
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)


def end_with_parent(number: int) -> None:
    """Lets this process get a signal when its parent ends, where the system is Linux."""
    _prctl(SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def below(parent: int) -> list[psutil.Process]:
    """What a process has started and is still running: children and theirs, and what it has adopted of them."""
    try:
        found = psutil.Process(parent).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in found if is_running(process)]


def marked(mark: str) -> list[psutil.Process]:
    """What runs with a mark in its environment and is no child of this process.

    For when the parent of it all is gone: whoever was below it is now below nobody.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # gone meanwhile, or another user's
            if process.environ().get(MARK) == mark and process.ppid() != os.getpid() and is_running(process):
                found.append(process)
    return found


def is_running(process: psutil.Process) -> bool:
    """Whether a process is more than an entry that waits for its parent to look at it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def names_of(processes: Iterable[psutil.Process]) -> tuple[str, ...]:
    """What they are called, as the system has it."""
    names = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            names.append(plain(process.name(), 40))
    return tuple(names)


def sentence_of(names: Sequence[str]) -> str:
    """``it left 2 processes running, which were ended: sleep, python``."""
    told = "a process running, which was" if len(names) == 1 else f"{len(names)} processes running, which were"
    return f"it left {told} ended: {', '.join(dict.fromkeys(names[:NAMED]))}"


def signal_name(number: int) -> str:
    """What a signal is called; those of real time have but a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def await_none(find: Find, seconds: float = ASKED_SECONDS) -> list[psutil.Process]:
    """Waits until nothing is found any more; gives what is left when the time is over."""
    until = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return found


def end_all(find: Find) -> None:
    """Ends what is found: it is asked to, then killed, until nothing is left or KILLED_SECONDS are over."""
    for process in find():
        _send(process, signal.SIGTERM)
    await_none(find)
    until = time.monotonic() + KILLED_SECONDS
    while (found := find()) and time.monotonic() < until:
        for process in found:
            _send(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kills processes at once."""
    for process in processes:
        _send(process, signal.SIGKILL)


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
        if number == signal.SIGTERM and process.status() == psutil.STATUS_STOPPED:
            process.send_signal(signal.SIGCONT)
