"""One fresh process a call, forked from a server that has torch imported; whatever happens to it is told."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import multiprocessing
import os
import pickle
import pkgutil
import re
import secrets
import signal
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from trainmark import suite
from trainmark.formatting import excerpt
from trainmark.measure import processes
from trainmark.measure.failures import MissingDataError, ModelError, NotFiniteError, UnsupportedError
from trainmark.scratch import keeping_in, scratch
from trainmark.suite import ROOT_VARIABLE, SuiteError

PRELOAD = "trainmark.measure.preload"
AFTER_ITS_SOCKET = -200  # multiprocessing removes its own folder at -100
START_SECONDS = 120.0  # for the fork server to import torch and what the suite names, on a busy machine
GRACE_SECONDS = 5.0  # for a child that has answered to tidy up and end
STUCK_SECONDS = 5.0  # until a process that was killed must have been seen to end
POLL_SECONDS = 0.1  # how often the memory of a running child is looked at
LOW_MEMORY_SHARE = 0.03  # of the machine's memory: with less left, the child is stopped before the kernel acts
INSTALLED = {"site-packages", "dist-packages"}
NOT_THE_USERS = (Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")))
HASH_SEED = "PYTHONHASHSEED"
LARGEST_MESSAGE = 2**30  # bytes; the largest that is sent is a record with its curves
LOG_LINES = 20  # of the child's last words kept for a reason
LOG_LINE = 500  # characters of each
LOG_TAIL = 64 * 1024  # bytes of a log that are looked at: its end
LOG_BYTES = 64 * 2**20  # of a log on the disk: what is longer begins anew
ENDING = "ending"  # file in the scratch folder, for a last message that finds its pipe closed
MARKED = secrets.token_hex(8)  # what comes from this process's fork server
CGROUP = Path("/sys/fs/cgroup")
NO_MEMORY = (  # in PyTorch's words, and in those of cuBLAS and cuDNN, which allocate by themselves
    *("can't allocate memory", "out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    *("HOST_ALLOCATION_FAILED", "DEVICE_ALLOCATION_FAILED"),  # of cuDNN from 9 on, behind CUDNN_STATUS_INTERNAL_ERROR_
    "was unable to find an engine to execute this computation",  # each of cuDNN's that fits wants a workspace
)


@dataclass(frozen=True)
class Limits:
    """What a call may use.

    Attributes:
        seconds: Wall-clock time; None for no limit.
        memory_bytes: Resident memory; None for what the machine has.
        spent: Seconds of that time that calls before it have taken.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    spent: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        status: ``ok``, ``oom``, ``timeout``, ``crashed``, ``nan``, ``error`` or ``skipped``.
        value: What the function gave; unless ``ok`` what it had handed over so far, None if nothing.
        reason: One sentence; None where ``ok``.
        log: The last lines that the process printed, its traceback included.
        seconds: From the start of the process to its end.
        outlived: Names of processes that it had started, and that went on when it had ended by itself.
    """

    status: str
    value: Any
    reason: str | None
    log: str
    seconds: float
    outlived: tuple[str, ...] = ()


class Workers:
    """Runs functions in processes of their own, one at a time.

    Each process is forked from a server that has only imported, never computed: a child starts in
    about 30 ms and its memory is its own. Where there is no fork server a process is spawned.

    Args:
        root: Of the suite that the processes open; None for that of this process.
        in_process: Run in this very process instead, for a debugger; no limit is kept then.
        start: How processes are started; by default by a fork server where there is one. ``fork`` is for a
            process that has one thread and has computed nothing.
        apart: Whether another process stands between this one and each of those that it starts, which may kill
            their parent.
    """

    def __init__(
        self, root: Path | None = None, *, in_process: bool = False, start: str | None = None, apart: bool = False
    ) -> None:
        self.root = root
        self.apart = apart
        self.in_process = in_process
        methods = multiprocessing.get_all_start_methods()
        self._start = start or ("forkserver" if "forkserver" in methods else "spawn")
        self._context: Any = multiprocessing.get_context(self._start)
        if self._start == "fork":
            processes.adopt_orphans()
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
        kills_before = kernel_kills()
        receiver, sender = self._context.Pipe(duplex=False)
        log_path = scratch / "log"
        root = self.root or suite.current().root
        preloaded = self._start == "forkserver"
        opened = self.root if self._start == "fork" else root  # a copy of this process has its suite open
        asked = (sender, opened, function, arguments, scratch, log_path, preloaded, self.apart)
        child = self._context.Process(target=_child, args=asked)
        family = _Family(child, preloaded)
        try:
            try:
                with setting_environment(**_for_the_fork_server(root)), self._starting():
                    child.start()
            except (EOFError, ConnectionError) as error:
                family.end()
                return Outcome("error", None, _no_server(error), "", time.perf_counter() - begun)
            sender.close()
            ending, so_far = _listen(_Inbox(receiver), child, limits, log_path)
        except BaseException:
            if child.pid is not None:
                family.end()
            raise
        else:
            outlived = family.end(GRACE_SECONDS if isinstance(ending, Finished) else 0.0)
        finally:
            receiver.close()
        log = _last_words(log_path)
        if isinstance(ending, _Vanished):
            ending = _left_in(scratch) or _how_it_died(child, family, ending, log, kernel_kills() > kills_before)
        value = getattr(ending, "value", None)
        value = so_far if value is None else value
        reason = None if ending.reason is None else excerpt(ending.reason)
        return Outcome(ending.status, value, reason, log, time.perf_counter() - begun, outlived)

    def _starting(self) -> AbstractContextManager[None]:
        """The fork server starts with the first child, and leaves its socket, and what torch leaves, in a folder."""
        return keeping_in(_server_folder()) if self._start == "forkserver" else contextlib.nullcontext()


_open_folders: list[contextlib.ExitStack] = []  # a fork forgets its finalizers, and must not end what they would have


@functools.cache
def _server_folder() -> Path:
    """A folder for the fork server, which serves this process until its end, as the folder does."""
    until_exit = contextlib.ExitStack()
    util.Finalize(None, until_exit.close, exitpriority=AFTER_ITS_SOCKET)
    _open_folders.append(until_exit)
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


class _Inbox:
    """What comes from a child: whole messages, and never a wait for the rest of one that was cut short."""

    def __init__(self, receiver: Connection) -> None:
        self._receiver = receiver
        self._unread = bytearray()
        self.is_open = True
        os.set_blocking(receiver.fileno(), False)

    def wait_for(self, child: Any) -> bool:
        """Whether the child has ended, as soon as there may be something new, or when POLL_SECONDS are over."""
        ready = wait([self._receiver, child.sentinel] if self.is_open else [child.sentinel], timeout=POLL_SECONDS)
        if child.exitcode is None and child.sentinel in ready:
            time.sleep(POLL_SECONDS)  # it has closed that, and goes on
        return child.exitcode is not None

    def read(self) -> list[Any]:
        """The messages that have come.

        Raises:
            pickle.UnpicklingError: Something else than messages has.
        """
        while self.is_open:
            try:
                some = os.read(self._receiver.fileno(), 1 << 20)
            except BlockingIOError:
                break
            self.is_open = bool(some)
            self._unread += some
        messages = []
        while (length := self._length()) is not None:
            start, end = length
            text = bytes(self._unread[start:end])
            del self._unread[:end]
            messages.append(_message(text))
        return messages

    def _length(self) -> tuple[int, int] | None:
        """Where the next message begins and ends; None where it has not come whole. As multiprocessing writes them."""
        start, size = 4, int.from_bytes(self._unread[:4], signed=True)
        if size == -1:
            start, size = 12, int.from_bytes(self._unread[4:12])
        if len(self._unread) < start:
            return None
        if not 0 <= size <= LARGEST_MESSAGE:
            raise pickle.UnpicklingError
        return None if len(self._unread) < start + size else (start, start + size)


def _message(text: bytes) -> Any:
    """What a process has sent.

    Raises:
        pickle.UnpicklingError: It is none: bytes of somebody else may raise anything where they are read as one.
    """
    try:
        return pickle.loads(text)
    except Exception as error:
        raise pickle.UnpicklingError from error


def _listen(inbox: _Inbox, child: Any, limits: Limits, log_path: Path) -> tuple[Finished | _Stopped | _Vanished, Any]:
    """Waits for the child's end, and for a reason to end it; gives also what it handed over before."""
    begun = time.perf_counter()  # a server that had to be started first is not the child's
    doing, so_far = "starting", None
    watched = psutil.Process(child.pid) if psutil.pid_exists(child.pid) else None
    while True:
        has_ended = inbox.wait_for(child)  # asked first: what it has sent before is there to be read
        try:
            messages = inbox.read()
        except pickle.UnpicklingError:
            return _Stopped("error", f"something else was written to the pipe of its results while {doing}"), so_far
        for message in messages:
            if isinstance(message, Finished):
                return message, so_far
            if isinstance(message, SoFar):
                so_far = message.value
            else:
                doing = excerpt(message)
        if has_ended:
            return _Vanished(doing), so_far
        elapsed = time.perf_counter() - begun + limits.spent
        if limits.seconds is not None and elapsed > limits.seconds:
            return _Stopped("timeout", f"not done after {limits.seconds:g} s (--timeout), while {doing}"), so_far
        excess = _memory_excess(watched, limits)
        if excess:
            return _Stopped("oom", f"stopped while {doing}: {excess}"), so_far
        _shorten(log_path)


def _no_server(error: BaseException) -> str:
    return (
        "what every cell needs cannot be imported: the process that imports it has ended, or was not done after "
        f"{START_SECONDS:g} s ({type(error).__name__})"
    )


def _left_in(scratch: Path) -> Finished | _Stopped | None:
    """The last message of a process that had closed the pipe for it; None where it has left none."""
    try:
        found = _message((scratch / ENDING).read_bytes())
    except FileNotFoundError:
        return None
    except pickle.UnpicklingError:
        return _Stopped("error", "what it left in the place of its last message is none")
    return found if isinstance(found, Finished) else None


def _how_it_died(child: Any, family: _Family, ending: _Vanished, log: str, kernel_killed: bool) -> _Stopped:
    if family.has_lost_its_server:
        return _Stopped("crashed", f"the process that had started it was killed while {ending.doing}")
    return _Stopped(*explain_death(child.exitcode, ending.doing, log, kernel_killed))


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


def kernel_kills() -> int:
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
        name = processes.signal_name(-exit_code)
        if exit_code == -signal.SIGKILL and kernel_killed:
            return "oom", f"killed by the kernel for want of memory while {doing}"
        frame = re.search(r'File "([^"]+)", line (\d+) in (\S+)', log)  # of faulthandler: the innermost comes first
        where = f", in {Path(frame[1]).name} line {frame[2]}, {frame[3]}" if frame else ""
        return "crashed", f"died of {name} while {doing}{where}"
    return "crashed", f"left with exit code {exit_code} and no result while {doing}"


class _Family:
    """A child and whatever it has started, in its group or out of it, alive or with nobody to look after it.

    Args:
        child: Not started yet.
        of_server: Whether a fork server starts it, which adopts what is left; else this process does.
    """

    def __init__(self, child: Any, of_server: bool) -> None:
        self._child = child
        self._of_server = of_server
        self._server: int | None = None
        parent = self._started_server() if of_server else os.getpid()
        self._others = {process.pid for process in processes.below(parent)} if parent else set()  # whoever began them

    @property
    def has_lost_its_server(self) -> bool:
        """Whether the server has ended, which nothing but the child can have brought about."""
        server = self._server_pid()
        return server is not None and not _is_there(server)

    def end(self, grace: float = 0.0) -> tuple[str, ...]:
        """Ends all of it; gives the names of what went on after a child that had ended by itself.

        A child that is done may tidy up first: semaphores and shared memory are its own to give back. What it has
        started may see that it has gone, and is asked to end before it must: Python's own keeper of semaphores
        then gives back the rest.

        Args:
            grace: Seconds that the child may take to end by itself.
        """
        child = self._child
        if child.pid is None:
            return ()
        by_itself = self._has_ended_within(grace)
        left = processes.await_none(self._descendants) if by_itself else []
        names = processes.names_of(left)
        _signal_group(child.pid, signal.SIGTERM)
        child.kill()
        server = self._server_pid()
        if not self._has_ended_within(STUCK_SECONDS) and server is not None and _is_there(server):
            os.kill(server, signal.SIGKILL)  # stopped by the child: it never tells of its end
        child.join()
        processes.end_all(self._descendants)
        _signal_group(child.pid, signal.SIGKILL)
        return names

    def _has_ended_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._child.exitcode is None:
            if time.monotonic() >= until:
                return False
            time.sleep(processes.POLL_SECONDS)
        return True

    def _descendants(self) -> list[psutil.Process]:
        """What is still running, the child itself left out."""
        server = self._server_pid()
        if self._of_server and self.has_lost_its_server:
            found = processes.marked(MARKED)
        else:
            found = processes.below(os.getpid() if server is None else server)
        return [process for process in found if process.pid not in self._others | {self._child.pid}]

    def _server_pid(self) -> int | None:
        if self._of_server and self._server is None:
            self._server = self._started_server()
        return self._server

    @staticmethod
    def _started_server() -> int | None:
        server: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)  # there is no public way to ask
        return server


def _is_there(pid: int) -> bool:
    try:
        return processes.is_running(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


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
    """Variables that it and all that comes from it have."""
    return {processes.MARK: MARKED, **where_things_are(root)}


def where_things_are(root: Path) -> dict[str, str]:
    """Variables that tell another process of the suite and of this very trainmark, which may be installed nowhere."""
    engine = str(Path(__file__).parents[2])
    return {
        ROOT_VARIABLE: str(root),
        "PYTHONPATH": os.pathsep.join(filter(None, [engine, os.environ.get("PYTHONPATH")])),
        **same_hashes(),
    }


@contextlib.contextmanager
def setting_environment(**variables: str) -> Iterator[None]:
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
    root: Path | None,
    function: str,
    arguments: tuple[Any, ...],
    scratch: Path,
    log_path: Path,
    preloaded: bool,
    apart: bool,
) -> None:
    """Runs in the new process: calls the function and sends how it ended."""
    if apart:
        _stand_apart()
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is the parent's to answer; and the group can be ended as one
    if not scratch.exists():
        os._exit(1)  # whoever asked was interrupted meanwhile, and knows nothing of this process
    _volunteer_for_the_oom_killer()
    processes.begin_anew()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    tell = _Outbox(sender, scratch)
    with log_path.open("a", encoding="utf-8", errors="replace") as log, Path(os.devnull).open("rb") as nothing:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(nothing.fileno(), 0)  # nobody is there to answer: what a program below asks for ends at once
        os.dup2(log.fileno(), 1)  # for C++ too: what libraries print belongs to the cell, not to the terminal
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="replace", line_buffering=True
        )
        faulthandler.enable(log, all_threads=False)
        lacking = "the fork server has not found trainmark" if preloaded and PRELOAD not in sys.modules else None
        failed = getattr(sys.modules.get(PRELOAD), "failure", lacking)
        if failed is not None:
            tell(Finished("error", None, f"what every cell needs cannot be imported: {failed}"))
            return
        _own_resource_tracker()
        with keeping_in(scratch):
            tell(finish(function, (*arguments, tell, scratch), root))


def _stand_apart() -> None:
    """Goes on in a child of this process, which waits for it and ends as it does."""
    child = os.fork()
    if not child:
        return
    processes.begin_anew()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code % 256)


class _Outbox:
    """What a child says to the process that has called it; a copy that a model made of the child says nothing.

    Args:
        sender: The pipe.
        scratch: Where the last message goes if a model has closed that.
    """

    def __init__(self, sender: Connection, scratch: Path) -> None:
        self._sender = sender
        self._scratch = scratch
        self._process = os.getpid()
        self._pipe = os.fstat(sender.fileno())

    def __call__(self, message: str | SoFar | Finished) -> None:
        """Sends a line on what is being done, a value so far, or how it ended.

        Raises:
            ModelError: Nothing can be said any more.
        """
        if os.getpid() != self._process:
            os._exit(0)  # a model has forked, and both have come back
        if self._is_open():
            self._sender.send(message)
        elif isinstance(message, Finished):
            unfinished = self._scratch / f"{ENDING}.part"
            unfinished.write_bytes(pickle.dumps(message))
            unfinished.replace(self._scratch / ENDING)  # whole, or not there
        else:
            raise ModelError("it has closed the file descriptors of its process: what is measured cannot be told")

    def _is_open(self) -> bool:
        """Whether the descriptor is still that of the pipe, and not closed, or another file's by now."""
        try:
            found = os.fstat(self._sender.fileno())
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (self._pipe.st_dev, self._pipe.st_ino)


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
        return Finished("skipped", None, excerpt(error))
    except NotFiniteError as error:
        return Finished("nan", None, excerpt(error))
    except (MissingDataError, ModelError, SuiteError) as error:
        return Finished("error", None, excerpt(error))
    except SystemExit as error:  # as sys.exit and argparse raise it
        told = f"SystemExit: {suite.first_line(error)}".removesuffix(": ")
        return Finished("crashed", None, f"it ended its process by {told}{_place_of(error)}")
    except Exception as error:  # noqa: BLE001  # a user's model ends as it likes: each end becomes a record
        with contextlib.suppress(OSError, ValueError):  # it has closed what is printed to
            traceback.print_exc()
        status = "oom" if _is_out_of_memory(error) else "error"
        return Finished(
            status, None, f"{type(error).__name__}: {suite.first_line(error, 'no message')}{_place_of(error)}"
        )


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


def _shorten(path: Path) -> None:
    """Lets a log that has become too long begin anew: it is appended to, wherever its end is."""
    try:
        if path.stat().st_size > LOG_BYTES:
            os.truncate(path, 0)
    except OSError:
        return  # not there yet, or the model has deleted it


def _last_words(path: Path) -> str:
    """The last lines of a log; see :func:`last_lines`."""
    try:
        with path.open("rb") as log:
            return "\n".join(last_lines(log, LOG_LINES))
    except FileNotFoundError:
        return ""


def last_lines(log: BinaryIO, number: int) -> list[str]:
    """The last lines that a program has printed, as they may be shown; of a fatal error the first.

    Of a long log only the end is looked at, and the first line says how much came before.
    """
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - LOG_TAIL))
    lines = [excerpt(line, LOG_LINE) for line in log.read(LOG_TAIL).decode(errors="replace").splitlines()]
    fatal = next((at for at, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    shown = lines[-number:] if fatal is None else lines[fatal : fatal + number]
    return [f"[{size - LOG_TAIL:,} bytes of its log left out]", *shown] if size > LOG_TAIL else shown


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.2f} GB"
