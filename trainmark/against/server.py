"""One side of a paired comparison: a server that forks a process for each task, and lets it speak.

    python -m trainmark.against.server      in the suite's root, with the interpreter and in the environment of the side

Requests come on standard input and replies go to standard output, one JSON document a line; what
libraries print goes to standard error. The first line says which protocol is spoken. Each request
is served by a process of its own, forked from this one, which has imported torch and computed
nothing; when that process is gone, whatever became of it, this one says so::

    {"protocol": 2}
    <- {"task": "replicate", "cell": …, "settings": …, "block_seconds": 0.02}
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainmark import suite
from trainmark.measure.settings import Places, Settings, default_threads
from trainmark.measure.worker import finish
from trainmark.scratch import keeping_in, scratch
from trainmark.store import glossary
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS, is_name_of_data

SOURCES = "src"  # where a project keeps its packages, if not beside the suite
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

    def send(self, document: Mapping[str, Any]) -> None:
        """Writes one line."""
        os.write(self._writing, json.dumps(document).encode() + b"\n")

    def wait(self, ended: int) -> bool:
        """Waits until another descriptor is closed at its other end; False where this channel's is, before that."""
        watched = select.poll()
        watched.register(self._reading, select.POLLHUP)  # what can be read there is the child's
        watched.register(ended, select.POLLIN)
        while True:
            found = dict(watched.poll(WAIT_MILLISECONDS))
            if ended in found:
                return True
            if found.get(self._reading, 0) & select.POLLHUP:
                return False
            if not found:
                time.sleep(0.01)  # macOS returns at once, with nothing, while a line waits for the child

    def receive(self) -> dict[str, Any] | None:
        """Waits for one line; None where the other end is gone."""
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(self._reading, 1)
            if not byte:
                return None
            line += byte
        document: dict[str, Any] = json.loads(line)
        return document


def serve(channel: Channel) -> None:
    """Answers requests until the other end is gone."""
    channel.send({"protocol": PROTOCOL})
    while (request := channel.receive()) is not None:
        alive, held = os.pipe()  # the child, and what it forks, holds one end for as long as it lives
        child = os.fork()
        if child == 0:
            os.close(alive)
            _serve_once(request, channel)
        os.close(held)
        if not channel.wait(alive):
            _end(child)
        os.close(alive)
        _, status = os.waitpid(child, 0)
        channel.send({"gone": os.waitstatus_to_exitcode(status)})


def _end(child: int) -> None:
    """Ends a process whose answer nobody waits for any more, and what it has started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # all that the client of this server began: this process too
    os.kill(child, signal.SIGKILL)


def _serve_once(request: Mapping[str, Any], channel: Channel) -> None:
    """Does one task in this new process, and ends it."""
    faulthandler.enable()
    with scratch("task") as folder, keeping_in(folder):
        ending = finish(f"trainmark.against.server:{request['task']}", (request, channel, folder))
    channel.send({"status": ending.status, "reason": ending.reason, "value": ending.value})
    sys.stderr.flush()
    os._exit(0)  # nothing of the server is this process's to tidy up


def plan(request: Mapping[str, Any], _channel: Channel, scratch: Path) -> dict[str, Any]:
    """The environment of this side, its threads, and the cells that it would measure."""
    from trainmark.measure.environment import describe
    from trainmark.measure.failures import BrokenTask
    from trainmark.model import UnknownModel, load_model
    from trainmark.workloads import entries
    from trainmark.workloads.grid import GRIDS
    from trainmark.workloads.planning import Request, plan

    settings = _settings(request["settings"])
    given = {name: tuple(values) for name, values in request["given"].items() if name in PARAMETERS}
    asked = Request(request["grid"], given, request["seeds"], request.get("only"))
    if asked.grid not in GRIDS:
        raise suite.SuiteError(f"it has no grid named {asked.grid}; it has {', '.join(GRIDS)}")
    known = []
    for name in asked.models:
        try:
            load_model(name)
        except BrokenTask:
            pass  # its cells say so
        except UnknownModel as error:
            _raise_lent(error)
            continue  # a model of the other side alone
        known.append(name)
    listed = suite.current().models
    for name in listed if isinstance(listed, tuple) and not asked.models else ():
        try:
            load_model(name)
        except UnknownModel as error:
            _raise_lent(error)
    if "dataset" in given:
        given["dataset"] = tuple(name for name in given["dataset"] if _is_there(str(name)))
        asked = replace(asked, given=given)
    machine = describe(known, (), settings.places, settings.threads, lambda _doing: None, scratch)
    planned = [item for entry in entries() for item in plan(entry.name, asked, machine)]
    return {
        "environment": dict(machine.environment),
        "packages": installed_packages(),
        "files": files_of([*machine.models, *filter(is_name_of_data, map(str, given.get("dataset", ())))]),
        "copies": copies_of(suite.current().root / SOURCES),
        "threads": settings.threads,
        "glossary": glossary.describe((), {name for facts in machine.models.values() for name in facts.metrics}),
        "cells": [
            {"workload": item.cell.workload, "axes": item.cell.settings, "skipped": item.skip_reason}
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


def files_of(models: Iterable[str]) -> dict[str, str]:
    """Model, or data set of the user's own, -> the file of the module that names it."""
    ours = suite.current()
    registered = ours.models_by_name()
    modules = {name: str(ours.models) if name in registered else name for name in models}
    files = {
        name: getattr(sys.modules.get(module.partition(":")[0]), "__file__", None) for name, module in modules.items()
    }
    return {name: file for name, file in files.items() if file}


def copies_of(folder: Path) -> dict[str, str]:
    """Package of a folder -> the file that it was imported from instead: a copy that is installed."""
    packages = (file.parent.name for file in folder.glob("*/__init__.py"))
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in packages}
    return {name: file for name, file in files.items() if file and folder.resolve() not in Path(file).resolve().parents}


def installed_packages() -> str:
    """Digest of all that this interpreter has installed, by name and version."""
    told = sorted({f"{one.name} {one.version}" for one in importlib.metadata.distributions()})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def record(request: Mapping[str, Any], _channel: Channel, _scratch: Path) -> dict[str, Any]:
    """One whole record of a cell, measured by its workload's entry as in a run."""
    from trainmark.measure.context import Context
    from trainmark.measure.worker import Workers
    from trainmark.workloads import entry_of

    cell, settings = _cell(request["cell"]), _settings(request["settings"])
    _learn_metrics(cell)
    context = Context(Workers(start="fork"))
    try:
        measured, _ = entry_of(cell.workload).measure(cell, settings, context)
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
        few = warm_up(clock, steps.advance, settings, lambda _doing: None).steps_per_round
        step_seconds = timed_block(clock, steps.advance, few).seconds / few
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


def _learn_metrics(cell: Cell) -> None:
    """Makes known what the task of a cell, or of its data, is judged by; of a task that fails its record says so."""
    from trainmark.measure.failures import BrokenTask
    from trainmark.model import UnknownModel, load_model

    for name in (cell.settings.get("model"), cell.settings.get("dataset")):
        with contextlib.suppress(BrokenTask, UnknownModel):
            load_model(str(name))


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
