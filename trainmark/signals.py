"""SIGTERM and a closed terminal, answered like Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

DESCRIPTORS = 64  # of open files that may be the terminal


def end_like_ctrl_c(config: pytest.Config) -> None:
    """Lets a system that ends this process, or a terminal that is closed, be answered like Ctrl-C: all is kept.

    Args:
        config: pytest's; when that is done with, it is as before.
    """
    terminals = {os.fstat(number).st_rdev for number in (1, 2) if os.isatty(number)}

    def interrupt(number: int, _frame: Any) -> None:
        if number == getattr(signal, "SIGHUP", None):
            signal.signal(number, signal.SIG_IGN)  # it may come twice, and nobody waits
            _let_go_of(terminals)
        raise KeyboardInterrupt(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # one that nohup ignores stays ignored
            signal.signal(number, interrupt)
            config.add_cleanup(partial(_restore, number))


def _let_go_of(terminals: set[int]) -> None:
    """What is said from now on has nobody to hear it: the terminal is closed, and each write to it would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in range(1, DESCRIPTORS):  # pytest keeps copies while it captures
        with suppress(OSError):  # not open
            if os.fstat(number).st_rdev in terminals:
                os.dup2(nowhere, number)


def _restore(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
