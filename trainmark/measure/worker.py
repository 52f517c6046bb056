"""One fresh process a call, forked from a server that has torch imported; whatever happens to it is told."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import multiprocessing
import os
import pkgutil
import re
import signal
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from trainmark import suite
from trainmark.measure.failures import MissingDataError, ModelError, NotFiniteError, UnsupportedError
from trainmark.scratch import keeping_in, scratch
from trainmark.suite import ROOT_VARIABLE, SuiteError

PRELOAD = "trainmark.measure.preload"
AFTER_ITS_SOCKET = -200  # multiprocessing removes its own folder at -100
GRACE_SECONDS = 5.0  # for a child that has answered to tidy up and end
GROUP_SECONDS = 1.0  # for what it had started to end when it is asked to
POLL_SECONDS = 0.1  # how often the memory of a running child is looked at
LOW_MEMORY_SHARE = 0.03  # of the machine's memory: with less left, the child is stopped before the kernel acts
INSTALLED = {"site-packages", "dist-packages"}
NOT_THE_USERS = (Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")))
HASH_SEED = "PYTHONHASHSEED"
LOG_LINES = 20  # of the child's last words kept for a reason
CGROUP = Path("/sys/fs/cgroup")
NO_MEMORY = (  # in PyTorch's words, and in those of cuBLAS and cuDNN, which allocate by themselves
    *("can't allocate memory", "out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)


@dataclass(frozen=True)
class Limits:
    """What a call may use.

    Attributes:
        seconds: Wall-clock time; None for no limit.
        memory_bytes: Resident memory; None for what the machine has.
    """

    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        status: ``ok``, ``oom``, ``timeout``, ``crashed``, ``nan``, ``error`` or ``skipped``.
        value: What the function gave; unless ``ok`` what it had handed over so far, None if nothing.
        reason: One sentence; None where ``ok``.
        log: The last lines that the process printed, its traceback included.
        seconds: From the start of the process to its end.
    """

    status: str
    value: Any
    reason: str | None
    log: str
    seconds: float


class Workers:
    """Runs functions in processes of their own, one at a time.

    Each process is forked from a server that has only imported, never computed: a child starts in
    about 30 ms and its memory is its own. Where there is no fork server a process is spawned.

    Args:
        root: Of the suite that the processes open; None for that of this process.
        in_process: Run in this very process instead, for a debugger; no limit is kept then.
        start: How processes are started; by default by a fork server where there is one. ``fork`` is for a
            process that has one thread and has computed nothing.
    """

    def __init__(self, root: Path | None = None, *, in_process: bool = False, start: str | None = None) -> None:
        self.root = root
        self.in_process = in_process
        methods = multiprocessing.get_all_start_methods()
        self._start = start or ("forkserver" if "forkserver" in methods else "spawn")
        self._context: Any = multiprocessing.get_context(self._start)
        if self._start == "forkserver":
            self._context.set_forkserver_preload([PRELOAD])

    def call(self, function: str, *arguments: Any, limits: Limits | None = None) -> Outcome:
        """Calls a function as ``function(*arguments, report, scratch)`` and says how it went.

        Args:
            function: ``package.module:name``, imported in the child alone: this process needs
                nothing of what the function does. ``report`` takes a line on what is being done,
                for the reason of a timeout; ``scratch`` is an empty folder, deleted afterwards.
            arguments: Picklable.
            limits: What the call may use.
        """
        with scratch("cell") as folder:
            if self.in_process:
                return _call_here(function, arguments, folder)
            return self._call_in_child(function, arguments, limits or Limits(), folder)

    def _call_in_child(self, function: str, arguments: tuple[Any, ...], limits: Limits, scratch: Path) -> Outcome:
        begun = time.perf_counter()
        kills_before = _kernel_kills()
        receiver, sender = self._context.Pipe(duplex=False)
        log_path = scratch / "log"
        root = self.root or suite.current().root
        preloaded = self._start == "forkserver"
        asked = (sender, root, function, arguments, scratch, log_path, preloaded)
        child = self._context.Process(target=_child, args=asked)
        try:
            with _environment(**_for_the_fork_server(root)), self._starting():
                child.start()
            sender.close()
            ending, so_far = _listen(receiver, child, limits, begun)
        except BaseException:
            if child.pid is not None:
                _stop(child)
            raise
        else:
            _stop(child, GRACE_SECONDS if isinstance(ending, Finished) else 0.0)
        finally:
            receiver.close()
        log = _last_words(log_path)
        if isinstance(ending, Finished):
            status, value, reason = ending.status, ending.value, ending.reason
        elif isinstance(ending, _Stopped):
            status, value, reason = ending.status, None, ending.reason
        else:
            status, reason = explain_death(child.exitcode, ending.doing, log, _kernel_kills() > kills_before)
            value = None
        value = so_far if value is None else value
        return Outcome(status, value, reason, log, time.perf_counter() - begun)

    def _starting(self) -> AbstractContextManager[None]:
        """The fork server starts with the first child, and leaves its socket, and what torch leaves, in a folder."""
        return keeping_in(_server_folder()) if self._start == "forkserver" else contextlib.nullcontext()


@functools.cache
def _server_folder() -> Path:
    """A folder for the fork server, which serves this process until its end, as the folder does."""
    until_exit = contextlib.ExitStack()
    util.Finalize(None, until_exit.close, exitpriority=AFTER_ITS_SOCKET)
    return until_exit.enter_context(scratch("server"))


@dataclass(frozen=True)
class SoFar:
    """A value that a function hands to ``report``: it is kept whatever happens to the process afterwards."""

    value: Any


@dataclass(frozen=True)
class Finished:
    """How a function ended that was called in a process of its own.

    Attributes:
        status: ``ok``, ``oom``, ``nan``, ``error`` or ``skipped``.
        value: What it gave; None unless ``ok``.
        reason: One sentence; None where ``ok``.
    """

    status: str
    value: Any
    reason: str | None


@dataclass(frozen=True)
class _Stopped:
    """The parent's decision to end the child."""

    status: str
    reason: str


@dataclass(frozen=True)
class _Vanished:
    """The child ended without a last message."""

    doing: str


def _listen(
    receiver: Connection, child: Any, limits: Limits, begun: float
) -> tuple[Finished | _Stopped | _Vanished, Any]:
    """Waits for the child's end, and for a reason to end it; gives also what it handed over before."""
    doing, so_far = "starting", None
    watched = psutil.Process(child.pid) if psutil.pid_exists(child.pid) else None
    while True:
        if wait([receiver, child.sentinel], timeout=POLL_SECONDS):
            try:
                message = receiver.recv()
            except EOFError:
                return _Vanished(doing), so_far
            if isinstance(message, Finished):
                return message, so_far
            if isinstance(message, SoFar):
                so_far = message.value
            else:
                doing = message
        elapsed = time.perf_counter() - begun
        if limits.seconds is not None and elapsed > limits.seconds:
            return _Stopped("timeout", f"not done after {limits.seconds:g} s (--timeout), while {doing}"), so_far
        excess = _memory_excess(watched, limits)
        if excess:
            return _Stopped("oom", f"stopped while {doing}: {excess}"), so_far


def _memory_excess(watched: psutil.Process | None, limits: Limits) -> str | None:
    """Why the child must end for its memory, if it must."""
    if watched is None:
        return None
    try:
        resident = watched.memory_info().rss
    except psutil.NoSuchProcess:
        return None
    if limits.memory_bytes is not None and resident > limits.memory_bytes:
        return f"{_gigabytes(resident)} resident, over the limit of {_gigabytes(limits.memory_bytes)} (--memory-limit)"
    machine = psutil.virtual_memory()
    available, total = min(((machine.available, machine.total), *_cgroup_memory()), key=lambda pair: pair[0])
    if available < LOW_MEMORY_SHARE * total:
        return f"{_gigabytes(resident)} resident, and only {_gigabytes(available)} left of {_gigabytes(total)}"
    return None


def _cgroup_memory() -> Iterator[tuple[int, int]]:
    """Bytes left and bytes allowed in this control group, where it has a limit."""
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        yield int(text) - int(used.read_text()), int(text)


def _kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not tell."""
    path = Path("/proc/vmstat")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def explain_death(exit_code: int | None, doing: str, log: str, kernel_killed: bool) -> tuple[str, str]:
    """Status and reason of a child that ended without a last message."""
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        if exit_code == -signal.SIGKILL and kernel_killed:
            return "oom", f"killed by the kernel for want of memory while {doing}"
        frame = re.search(r'File "([^"]+)", line (\d+) in (\S+)', log)  # of faulthandler: the innermost comes first
        where = f", in {Path(frame[1]).name} line {frame[2]}, {frame[3]}" if frame else ""
        return "crashed", f"died of {name} while {doing}{where}"
    return "crashed", f"left with exit code {exit_code} and no result while {doing}"


def _stop(child: Any, grace: float = 0.0) -> None:
    """Ends the child and whatever it has started.

    A child that is done may tidy up first: semaphores and shared memory are its own to give back. What else is
    in its group is asked to end before it must: Python's own keeper of semaphores then gives back the rest.

    Args:
        child: The process.
        grace: Seconds that it may take to end by itself.
    """
    if grace:
        child.join(timeout=grace)
    if hasattr(os, "killpg"):
        _signal_group(child.pid, signal.SIGTERM)
    child.kill()
    child.join()
    until = time.monotonic() + GROUP_SECONDS
    while _signal_group(child.pid, 0) and time.monotonic() < until:
        time.sleep(0.005)
    _signal_group(child.pid, signal.SIGKILL)


def _signal_group(leader: int, number: int) -> bool:
    """Sends a signal to what a process has started; False where nothing of that is left, or it has no group."""
    if not hasattr(os, "killpg"):
        return False
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def same_hashes() -> dict[str, str]:
    """A variable that lets Python hash strings alike in every process: a set of them is gone through in one order.

    A model that is built from such a set would else be another one in each run. What the user has set stays.
    """
    return {HASH_SEED: os.environ.get(HASH_SEED, "0")}


def _for_the_fork_server(root: Path) -> dict[str, str]:
    """Variables that tell it of the suite, and where this very trainmark is: it may be installed nowhere."""
    engine = str(Path(__file__).parents[2])
    return {
        ROOT_VARIABLE: str(root),
        "PYTHONPATH": os.pathsep.join(filter(None, [engine, os.environ.get("PYTHONPATH")])),
        **same_hashes(),
    }


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Sets variables for the length of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _child(
    sender: Connection,
    root: Path,
    function: str,
    arguments: tuple[Any, ...],
    scratch: Path,
    log_path: Path,
    preloaded: bool,
) -> None:
    """Runs in the new process: calls the function and sends how it ended."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is the parent's to answer; and the group can be ended as one
    if not scratch.exists():
        os._exit(1)  # whoever asked was interrupted meanwhile, and knows nothing of this process
    _volunteer_for_the_oom_killer()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with log_path.open("w", encoding="utf-8", errors="replace") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)  # for C++ too: what libraries print belongs to the cell, not to the terminal
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="replace", line_buffering=True
        )
        faulthandler.enable(log, all_threads=False)
        lacking = "the fork server has not found trainmark" if preloaded and PRELOAD not in sys.modules else None
        failed = getattr(sys.modules.get(PRELOAD), "failure", lacking)
        if failed is not None:
            sender.send(Finished("error", None, f"what every cell needs cannot be imported: {failed}"))
            return
        _own_resource_tracker()
        with keeping_in(scratch):
            sender.send(finish(function, (*arguments, sender.send, scratch), root))


def _own_resource_tracker() -> None:
    """Lets semaphores of this process be kept by a tracker of its own, started when there is one to keep.

    The server's, which each process inherits, would complain at the end of the run of those that a killed one left.
    """
    if hasattr(resource_tracker, "_resource_tracker"):
        resource_tracker._resource_tracker._fd = None  # type: ignore[attr-defined]  # there is no public way
        resource_tracker._resource_tracker._pid = None  # type: ignore[attr-defined]


def finish(function: str, arguments: tuple[Any, ...], root: Path | None = None) -> Finished:
    """Calls ``package.module:name`` and puts its end into words; interruptions pass.

    Args:
        function: What to call.
        arguments: Of it.
        root: Of the suite to open before; None for that of this process.
    """
    try:
        if root is not None:
            suite.open_suite(root)
        return Finished("ok", pkgutil.resolve_name(function)(*arguments), None)
    except UnsupportedError as error:
        return Finished("skipped", None, str(error))
    except NotFiniteError as error:
        return Finished("nan", None, str(error))
    except (MissingDataError, ModelError, SuiteError) as error:
        return Finished("error", None, str(error))
    except Exception as error:  # noqa: BLE001  # a user's model ends as it likes: each end becomes a record
        traceback.print_exc()
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        status = "oom" if _is_out_of_memory(error) else "error"
        return Finished(status, None, f"{type(error).__name__}: {first_line}{_place_of(error)}")


def _place_of(error: BaseException) -> str:
    """`` (nets.py, line 12)`` of the innermost line of the user's own code; empty where none has a part in it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        installed = INSTALLED & set(file.parts) or any(folder in file.parents for folder in NOT_THE_USERS)
        if file.is_absolute() and not installed:
            return f" ({file.name}, line {frame.lineno})"
    return ""


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether host or device had no memory left, by type or by PyTorch's wording."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in NO_MEMORY)


def _call_here(function: str, arguments: tuple[Any, ...], scratch: Path) -> Outcome:
    begun = time.perf_counter()
    handed_over: list[Any] = [None]

    def listen(message: str | SoFar) -> None:
        if isinstance(message, SoFar):
            handed_over.append(message.value)

    ending = finish(function, (*arguments, listen, scratch))
    value = handed_over[-1] if ending.value is None else ending.value
    return Outcome(ending.status, value, ending.reason, "", time.perf_counter() - begun)


def _volunteer_for_the_oom_killer() -> None:
    """Where memory runs out, the kernel shall end the cell and not the run."""
    path = Path("/proc/self/oom_score_adj")
    if path.exists():
        with contextlib.suppress(PermissionError):  # some containers forbid it; then the kernel chooses
            path.write_text("1000")


def _leave_with_parent() -> None:
    """Ends this process, and what it has started, when the one that asked for it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _last_words(path: Path) -> str:
    """The last lines of a log; of a fatal error the first, where Python says what it was doing."""
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fatal = next((number for number, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    return "\n".join(lines[-LOG_LINES:] if fatal is None else lines[fatal : fatal + LOG_LINES])


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.2f} GB"
