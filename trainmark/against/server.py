"""One side of a paired comparison: a server that forks a process for each task, and lets it speak.

    python -m trainmark.against.server      in the suite's root, with the interpreter and in the environment of the side

Requests come on standard input and replies go to standard output, one JSON document a line; what
libraries print goes to standard error. The first line says which protocol is spoken. Each request
is served by a process of its own, forked from this one, which has imported torch and computed
nothing; when that process is gone, whatever became of it, this one says so::

    {"protocol": 2}
    <- {"task": "replicate", "cell": …, "settings": …, "seconds": 900, "block_seconds": 0.02}
    -> {"ready": 16}                                  steps that take about that long
    <- {"block": 16}
    -> {"seconds": 0.0213, "own": 0.0209}             by the clock, and without waiting for a core
    <- {"end": true}
    -> {"status": "ok", "reason": null, "value": …}
    -> {"gone": 0}                                    the exit code

Tasks are ``plan`` (which cells this side has), ``record`` (one whole record) and ``replicate``
(one half of a pair). A change of what a line means raises PROTOCOL.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import importlib.metadata
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from trainmark import suite
from trainmark.measure import processes
from trainmark.measure.settings import Places, Settings, default_threads
from trainmark.measure.worker import finish
from trainmark.scratch import keeping_in, scratch
from trainmark.store import glossary
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS, is_name_of_data

PROTOCOL = 2  # 2: a suite is opened first, and a workload's entry measures
WAITING = Path("/proc/thread-self/schedstat")
WAIT_MILLISECONDS = 1000
CONTROL_REPEATS = 5
CONTROL_LOOPS = 20_000  # about a millisecond of plain Python


class Channel:
    """Lines of JSON over two file descriptors; nothing is read ahead, so that a fork can go on with them."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._process = os.getpid()

    def hand_over(self) -> None:
        """Makes it this process's, which has been forked from the one that had it."""
        self._process = os.getpid()

    def send(self, document: Mapping[str, Any]) -> None:
        """Writes one line."""
        self._refuse_copies()
        unwritten = json.dumps(document).encode() + b"\n"
        while unwritten:
            unwritten = unwritten[os.write(self._writing, unwritten) :]

    def close(self) -> None:
        """Closes both descriptors."""
        os.close(self._reading)
        os.close(self._writing)

    def wait(self, child: int, ended: int) -> bool:
        """Waits until a child is gone; False where this channel is closed at its other end, before that.

        Args:
            child: Its number.
            ended: A descriptor that is closed at its other end when the child, and all that it forked, is gone.
        """
        watched = select.poll()
        watched.register(self._reading, select.POLLHUP)  # what can be read there is the child's
        watched.register(ended, select.POLLIN)
        patience = WAIT_MILLISECONDS
        while True:
            found = dict(watched.poll(patience))
            if _has_ended(child):
                return True
            if ended in found:  # the child is about to end; or it has closed what is not its own, and goes on
                watched.unregister(ended)
                patience = 0
            patience = min(2 * patience + 1, WAIT_MILLISECONDS)
            if found.get(self._reading, 0) & select.POLLHUP:
                return False
            if not found:
                time.sleep(0.01)  # macOS returns at once, with nothing, while a line waits for the child

    def receive(self) -> dict[str, Any] | None:
        """Waits for one line; None where the other end is gone."""
        self._refuse_copies()
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(self._reading, 1)
            if not byte:
                return None
            line += byte
        document: dict[str, Any] = json.loads(line)
        return document

    def _refuse_copies(self) -> None:
        if os.getpid() != self._process:
            os._exit(0)  # a model has forked, and both have come back: one of them goes on


def _has_ended(child: int) -> bool:
    """Whether a process has ended, which is left for somebody else to wait for."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def serve(channel: Channel) -> None:
    """Answers requests until the other end is gone."""
    channel.send({"protocol": PROTOCOL})
    while (request := channel.receive()) is not None:
        alive, held = os.pipe()  # the child, and what it forks, holds one end for as long as it lives
        child = os.fork()
        if child == 0:
            os.close(alive)
            serve_once(request, channel)
        os.close(held)
        if not channel.wait(child, alive):
            _end(child)
        os.close(alive)
        _, status = os.waitpid(child, 0)
        _end_orphans()
        channel.send({"gone": os.waitstatus_to_exitcode(status)})


def _end_orphans() -> None:
    """Ends what a process of this server, which is gone, has left; what has ended is waited for."""
    processes.end_all(lambda: processes.below(os.getpid()))
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end(child: int) -> None:
    """Ends a process whose answer nobody waits for any more, and what it has started."""
    processes.kill_all(processes.below(os.getpid()))
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # all that the client of this server began: this process too
    os.kill(child, signal.SIGKILL)


def serve_once(request: Mapping[str, Any], channel: Channel) -> NoReturn:
    """Does one task in this new process, and ends it."""
    processes.begin_anew()
    channel.hand_over()
    faulthandler.enable()
    with scratch("task") as folder, keeping_in(folder):
        ending = finish(f"trainmark.against.server:{request['task']}", (request, channel, folder))
    channel.send({"status": ending.status, "reason": ending.reason, "value": ending.value})
    sys.stderr.flush()
    os._exit(0)  # nothing of the server is this process's to tidy up


def plan(request: Mapping[str, Any], _channel: Channel, _scratch: Path) -> dict[str, Any]:
    """The environment of this side, its threads, and the cells that it would measure."""
    from trainmark.measure.environment import Refusal, describe_with, look_at_models
    from trainmark.measure.machine import ModelFacts
    from trainmark.workloads import entries
    from trainmark.workloads.grid import GRIDS
    from trainmark.workloads.planning import Request, plan

    settings = _settings(request["settings"])
    given = {name: tuple(values) for name, values in request["given"].items() if name in PARAMETERS}
    asked = Request(request["grid"], given, request["seeds"], request.get("only"), compares=True)
    if asked.grid not in GRIDS:
        raise suite.SuiteError(f"it has no grid named {asked.grid}; it has {', '.join(GRIDS)}")
    looked = look_at_models(asked.models, request.get("seconds"))
    for found in looked.values():
        if isinstance(found, Refusal) and (found.lent or found.of_suite or not asked.models):
            raise found.error  # else a model of the other side alone
    known = {name: found for name, found in looked.items() if isinstance(found, ModelFacts)}
    if "dataset" in given:
        given["dataset"] = tuple(name for name in given["dataset"] if _is_there(str(name)))
        asked = replace(asked, given=given)
    machine = describe_with(known, (), settings.places, settings.threads, lambda _doing: None)
    planned = [item for entry in entries() for item in plan(entry.name, asked, machine)]
    return {
        "environment": dict(machine.environment),
        "packages": installed_packages(),
        "files": {name: facts.file for name, facts in known.items() if facts.file}
        | files_of(filter(is_name_of_data, map(str, given.get("dataset", ())))),
        "copies": {name: file for facts in known.values() for name, file in facts.copies.items()},
        "threads": settings.threads,
        "glossary": glossary.describe((), {name for facts in machine.models.values() for name in facts.metrics}),
        "cells": [
            {
                "workload": item.cell.workload,
                "axes": item.cell.settings,
                "skipped": item.skip_reason,
                "failed": None if (failure := machine.failure_of(item.cell)) is None else asdict(failure),
            }
            for item in planned
        ],
    }


def _is_there(name: str) -> bool:
    """Whether this side has a data set, where that is one behind a name of the user's own."""
    from trainmark.measure.data import find_data
    from trainmark.measure.failures import BrokenTask, MissingDataError

    try:
        if is_name_of_data(name):
            find_data(name)
    except BrokenTask:
        pass  # its cells say so
    except MissingDataError as error:
        _raise_lent(error)
        return False
    return True


def _raise_lent(error: Exception) -> None:
    """What only the working tree would have lent is told in the words of that, and not as a model that is nowhere."""
    if getattr(error.__cause__, "lent", False):
        assert error.__cause__ is not None  # it has been asked for an attribute
        raise error.__cause__


def files_of(names: Iterable[str]) -> dict[str, str]:
    """Data set of the user's own -> the file of the module that names it."""
    files = {name: getattr(sys.modules.get(name.partition(":")[0]), "__file__", None) for name in names}
    return {name: file for name, file in files.items() if file}


def installed_packages() -> str:
    """Digest of all that this interpreter has installed, by name and version."""
    told = sorted({f"{one.name} {one.version}" for one in importlib.metadata.distributions()})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def record(request: Mapping[str, Any], _channel: Channel, _scratch: Path) -> dict[str, Any]:
    """One whole record of a cell, measured by its workload's entry as in a run."""
    from trainmark.measure.context import Context
    from trainmark.measure.worker import Limits, Workers

    cell, settings = _cell(request["cell"]), _settings(request["settings"])
    settings = replace(settings, energy=request.get("energy", True))
    glossary.learn(request.get("words"))
    context = Context(Workers(start="fork"), Limits(request.get("seconds")))
    try:
        measured, _ = context.measure(cell, settings)
    finally:
        context.close()
    return measured.to_json()


def replicate(request: Mapping[str, Any], channel: Channel, scratch: Path) -> dict[str, Any]:
    """One half of a pair: gets the cell ready, then times a block whenever it is asked to."""
    from trainmark.measure.protocol import set_up, timed_block, warm_up
    from trainmark.measure.steps import prepare
    from trainmark.meters.clock import clock_of
    from trainmark.meters.disturbance import DisturbanceMeter

    cell, settings = _cell(request["cell"]), _settings(request["settings"])
    set_up(settings, scratch)
    steps, clock = prepare(cell, settings, scratch), clock_of(str(cell["device"]))
    with steps.context:
        timed_block(clock, steps.advance, 1)
        step_seconds = warm_up(clock, steps.advance, settings, lambda _doing: None).step_seconds
        before = control_seconds()
        channel.send({"ready": max(1, round(request["block_seconds"] / step_seconds))})
        with DisturbanceMeter(str(cell["device"])) as meter:
            while (asked := channel.receive()) is not None and "block" in asked:
                waited, worked = waiting_seconds(), time.thread_time()
                seconds = timed_block(clock, steps.advance, asked["block"]).seconds
                waited, worked = waiting_seconds() - waited, time.thread_time() - worked
                own = own_seconds(seconds, waited, worked) if cell["device"] == "cpu" else seconds
                channel.send({"seconds": seconds, "own": own})
        after = control_seconds()
    assert meter.result is not None  # its block has ended
    return {"disturbance": meter.result.to_json(), "control_seconds": [before, after]}


def waiting_seconds() -> float:
    """Seconds for which this thread has been ready and had no core; 0 where the system does not tell."""
    return int(WAITING.read_bytes().split()[1]) / 1e9 if WAITING.exists() else 0.0


def own_seconds(seconds: float, waited: float, worked: float) -> float:
    """What a block took without the time in which it was ready and another process had the core.

    Sleeping and waiting for data count: only the scheduler's queue does not. The kernel may tell of a
    wait late, in the next block; a block takes no less than the thread has computed, though.
    """
    return max(seconds - waited, worked)


def control_seconds() -> float:
    """Seconds of a fixed piece of work that no change of a training can touch: the quickest of a few tries.

    Of computing, not by the clock: it tells how fast the core is, as a neighbour on its other half or the
    temperature may change it.
    """
    times = []
    for _ in range(CONTROL_REPEATS):
        begun = time.thread_time()
        number = 0
        for step in range(CONTROL_LOOPS):
            number ^= step
        times.append(time.thread_time() - begun)
    return min(times)


def _cell(document: Mapping[str, Any]) -> Cell:
    return Cell.of(document["workload"], **document["axes"])


def _settings(document: Mapping[str, Any]) -> Settings:
    """The settings asked for; threads that are not given are this side's to choose, by its environment."""
    given = dict(document)
    places = given.pop("places")
    named = {
        parameter: {name: Path(path) for name, path in paths.items()} for parameter, paths in places["named"].items()
    }
    cache = given.pop("compile_cache")
    return Settings(
        **(given | {"threads": given["threads"] or default_threads()}),
        places=Places(Path(places["root"]), places["download"], named),
        compile_cache=Path(cache) if cache else None,
    )


def main() -> None:
    """Takes standard input and output for the protocol, imports what all tasks need, and serves."""
    channel = Channel(os.dup(0), os.dup(1))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # for C++ too
    try:
        suite.open_suite(Path.cwd())
    except suite.SuiteError as error:
        sys.exit(str(error))
    from trainmark.measure import preload

    if preload.failure is not None:
        sys.exit(f"what every cell needs cannot be imported: {preload.failure}")
    serve(channel)


if __name__ == "__main__":
    main()
