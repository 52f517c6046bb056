"""A side of a paired comparison, as the process that compares sees it: its server, and what is asked of that."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from trainmark import git
from trainmark.against import own_tree
from trainmark.against.places import Place, SideError
from trainmark.against.server import PROTOCOL
from trainmark.formatting import excerpt
from trainmark.measure import processes
from trainmark.measure.worker import LOG_BYTES, LOG_LINES, START_SECONDS, last_lines, same_hashes
from trainmark.scratch import keeping_in, scratch
from trainmark.suite import search_path

LAST_LINES = 5  # of what a side printed, for the reason of its end
GRACE_SECONDS = 10.0  # for a side to say itself that a process of its own was not done in time, and has been ended
LOOK_SECONDS = 1.0  # how often it is looked how much a side has printed


class SideEnded(RuntimeError):
    """The process that should have answered is gone, or took too long; the message says which."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Side:
    """The server of a side, from its start to the end of the block.

    As in::

        with Side(place, timeout=900) as side:
            ending = side.call("record", cell=…, settings=…)

    Args:
        place: Where the side is.
        timeout: Seconds that all answers to a request may take together.
        wait: Whether to wait until it can be asked; else :meth:`wait_until_ready` must be called before that.

    Raises:
        SideError: It does not start, or does not speak this protocol.
    """

    def __init__(self, place: Place, timeout: float = 900.0, *, wait: bool = True) -> None:
        self.place = place
        self.timeout = timeout
        self.words: Any = None  # of its own tasks' metrics, once it has said them: a new process of it knows none
        self._left = timeout  # of the request that is being served
        self._begin()
        if wait:
            self.wait_until_ready()

    @classmethod
    def launch(cls, place: Place, timeout: float) -> Side:
        """Starts one without waiting for it: two can get ready side by side."""
        return cls(place, timeout, wait=False)

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server and what it has started, wherever that has gone."""
        started = processes.below(self._server.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or nothing but the dead is left
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        processes.kill_all(started)
        processes.end_all(lambda: processes.marked(self._mark))
        for stream in (self._server.stdin, self._server.stdout):
            assert stream is not None  # both are pipes
            stream.close()
        self._until_closed.close()

    def call(self, task: str, *, within: float | None = None, **request: Any) -> dict[str, Any]:
        """Does a task in a process of its own, and gives what came of it.

        Args:
            task: Its name.
            within: Seconds that it may take; None for those that one process may take, and be ended after.
            request: What it is told, beside those.

        Raises:
            SideEnded: Nothing came of it.
        """
        self.send({"task": task, "seconds": self.timeout, "words": self.words, **request})
        self._left = self.timeout + GRACE_SECONDS if within is None else within
        value: dict[str, Any] = self.receive()["value"]
        self.wait_until_gone()
        return value

    def send(self, document: Mapping[str, Any]) -> None:
        """Writes one line to the server, or to the process that it has forked.

        Raises:
            SideEnded: The server is gone; another one has been started.
        """
        assert self._server.stdin is not None  # a pipe
        try:
            self._server.stdin.write(json.dumps(document).encode() + b"\n")
            self._server.stdin.flush()
        except BrokenPipeError:
            words = self._last_words()
            self._restart()
            raise SideEnded("crashed", f"the server of {self.place.name} is gone: {words}") from None

    def receive(self) -> dict[str, Any]:
        """The next line.

        Raises:
            SideEnded: The process that should have written it is gone, or took too long; the server
                is then ready for the next request.
        """
        begun = time.monotonic()
        document = self._next_line(self._left)
        self._left -= time.monotonic() - begun  # while it was another's turn nothing of it is spent
        if document is None:
            self._restart()
            raise SideEnded("timeout", f"not done after {self.timeout:g} s (--timeout)")
        if "gone" in document:
            code, words = document["gone"], self._last_words()
            if self._server.poll() is not None:
                self._restart()
            how = processes.signal_name(-code) if code < 0 else f"exit code {code}"
            raise SideEnded("crashed", f"died of {how}: {words}")
        if document.get("status", "ok") != "ok":  # the last line of a process that could not go on
            self.wait_until_gone()
            raise SideEnded(document["status"], excerpt(document["reason"]))
        return document

    def begin(self, request: Mapping[str, Any]) -> int:
        """Gets one half of a pair ready; gives the steps of a block.

        Raises:
            SideEnded: It could not be made ready.
        """
        self.send({"task": "replicate", **request})
        self._left = self.timeout
        return int(self.receive()["ready"])

    def block(self, steps: int) -> tuple[float, float]:
        """Seconds of a block of steps: its own, and by the clock.

        Raises:
            SideEnded: The process is gone, or what it computes is not finite.
        """
        self.send({"block": steps})
        took = self.receive()
        return float(took["own"]), float(took["seconds"])

    def end(self) -> dict[str, Any]:
        """Ends this half of the pair, and gives what disturbed it meanwhile.

        Raises:
            SideEnded: The process was gone before.
        """
        self.send({"end": True})
        ending = self.receive()
        self.wait_until_gone()
        value: dict[str, Any] = ending["value"]
        return value

    def wait_until_gone(self) -> None:
        """Returns when the process that served the last request has ended."""
        document = self._next_line(GRACE_SECONDS)
        if document is None or "gone" not in document:
            self._restart()

    def _restart(self) -> None:
        self.close()
        self._begin()
        self.wait_until_ready()

    def _begin(self) -> None:
        self._until_closed = ExitStack()
        self._log = self._until_closed.enter_context(tempfile.TemporaryFile("a+b"))  # noqa: SIM115  # closed with it
        self._mark = secrets.token_hex(8)
        self._folder = self._until_closed.enter_context(scratch("server"))  # what it leaves goes when it is ended
        self._unread = b""
        self._server = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with keeping_in(self._folder):
            asked = {**self.place.variables, "PYTHONPATH": self._python_path()}
            variables = {**git.environment(), **same_hashes(), processes.MARK: self._mark, **asked}
            return subprocess.Popen(
                [self.place.interpreter, "-P", own_tree.__file__, json.dumps(self.place.to_json())],
                cwd=self.place.root,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is the controller's to answer, and the whole group can be ended
            )

    def wait_until_ready(self) -> None:
        """Returns when the server, which has just been started, can be asked.

        Raises:
            SideError: It does not start, or does not speak this protocol.
        """
        hello = self._next_line(START_SECONDS)
        if hello is None or "protocol" not in hello:
            words = self._last_words()
            self.close()
            raise SideError(f"{self.place.name} does not start: {words}")
        if hello["protocol"] != PROTOCOL:
            self.close()
            raise SideError(
                f"{self.place.name} speaks protocol {hello['protocol']} of paired measurement, and this trainmark "
                f"{PROTOCOL}: compare with a commit that speaks the same, or compare stored runs."
            )

    def _python_path(self) -> str:
        """The side's own folder before what the user and pytest's ini file name: for what the server starts too."""
        given = self.place.variables.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
        return os.pathsep.join([str(self.place.root), *self.place.pythonpath, *search_path(given)])

    def _next_line(self, seconds: float) -> dict[str, Any] | None:
        """The next document; None where it does not come in time. The end of the server reads as one."""
        assert self._server.stdout is not None  # a pipe
        until = time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = max(0.0, until - time.monotonic())
            ready, _, _ = select.select([self._server.stdout], [], [], min(left, LOOK_SECONDS))
            if not ready:
                if self._log.seek(0, os.SEEK_END) > LOG_BYTES:
                    self._log.truncate(0)
                if left > LOOK_SECONDS:
                    continue
                return None
            some = os.read(self._server.stdout.fileno(), 65536)
            if not some:
                return {"gone": self._server.wait()}
            self._unread += some
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            told = excerpt(line.decode(errors="replace"), 80)
            self.close()
            raise SideError(f"{self.place.name} does not speak the protocol of paired measurement: it wrote {told!r}.")
        return document

    def _last_words(self) -> str:
        lines = [line.strip() for line in last_lines(self._log, LOG_LINES)]
        return " / ".join([line for line in lines if line][-LAST_LINES:]) or "it printed nothing"
