"""Two settings of one training in pairs, within one process of the run: each half is a process forked from it."""

from __future__ import annotations

import math
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainmark.against.client import SideEnded
from trainmark.against.server import Channel, serve_once
from trainmark.against.turns import BLOCK_SECONDS, QUADS, PairFailed, PairSettings, describe_cell, take_turns
from trainmark.measure.failures import ModelError
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.pairs import Pair

PAIR_SECONDS = 0.6  # of blocks at the least: where a single step takes longer than a block should, there are fewer
FEWEST_QUADS = 1


class Forked:
    """One half of a pair: a fork of this process, which has imported torch and computed nothing."""

    def __init__(self) -> None:
        self._child = 0
        self._channel: Channel

    def begin(self, request: Mapping[str, Any]) -> int:
        """Gets ready; gives the steps of a block.

        Raises:
            SideEnded: It could not be made ready.
        """
        theirs, ours = os.pipe(), os.pipe()  # each for reading, then for writing
        self._child = os.fork()
        if self._child == 0:
            os.close(theirs[1])
            os.close(ours[0])
            serve_once({"task": "replicate", **request}, Channel(theirs[0], ours[1]))
        os.close(theirs[0])
        os.close(ours[1])
        self._channel = Channel(ours[0], theirs[1])
        return int(self._receive()["ready"])

    def block(self, steps: int) -> tuple[float, float]:
        """Seconds of a block of steps: its own, and by the clock.

        Raises:
            SideEnded: The process is gone, or what it computes is not finite.
        """
        self._send({"block": steps})
        took = self._receive()
        return float(took["own"]), float(took["seconds"])

    def end(self) -> dict[str, Any]:
        """Ends the process, and gives what disturbed it meanwhile.

        Raises:
            SideEnded: It was gone before.
        """
        self._send({"end": True})
        value: dict[str, Any] = self._receive()["value"]
        self._leave()
        return value

    def _send(self, document: Mapping[str, Any]) -> None:
        try:
            self._channel.send(document)
        except BrokenPipeError:
            self._receive()  # its last words say why

    def _receive(self) -> dict[str, Any]:
        document = self._channel.receive()
        if document is None:
            code = self._leave()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise SideEnded("crashed", f"died of {how} while a pair was measured")
        if document.get("status", "ok") != "ok":
            self._leave()
            raise SideEnded(document["status"], document["reason"])
        return document

    def _leave(self) -> int:
        self._channel.close()
        _, status = os.waitpid(self._child, 0)
        return os.waitstatus_to_exitcode(status)


def measure_settings(
    default: Cell,
    other: Cell,
    pairs: int,
    step_seconds: Sequence[float],
    settings: Settings,
    report: Callable[[Any], None],
    scratch: Path,
) -> list[float]:
    """Pairs of two settings of a training, in a process that has computed nothing.

    Args:
        default: A training cell.
        other: Likewise, of another setting.
        pairs: To measure.
        step_seconds: Roughly, of a step of each: as they were screened.
        settings: How.
        report: Told what is being done.
        scratch: An empty folder: what is compiled is compiled once, and then read from there.

    Returns:
        Logarithms of the seconds a sample, other over default; of undisturbed pairs alone.

    Raises:
        ModelError: A setting does not run.
    """
    how = PairSettings(settings, settings.threads, 0.0, 0.0, settings.seed)
    common = {"settings": how.to_json(compile_cache=str(scratch)), "block_seconds": BLOCK_SECONDS}
    requests = {name: {"cell": describe_cell(cell), **common} for name, cell in (("base", default), ("new", other))}
    order = random.Random()
    quads, found = quads_of([max(one, BLOCK_SECONDS) for one in step_seconds]), []
    for number in range(1, pairs + 1):
        report(f"measuring pair {number} of {pairs}")
        try:
            halves, steps = take_turns({"base": Forked(), "new": Forked()}, requests, order, quads=quads)
        except PairFailed as failure:
            cell = default if failure.side == "base" else other
            raise ModelError(f"{cell.label} in a pair: {failure.reason}") from failure
        pair = Pair(halves["base"], halves["new"])
        if not pair.disturbed:
            a_sample = log_of_a_sample(pair, steps, {"base": default, "new": other})
            found.append(a_sample)
        quads = quads_of([pair.base.seconds, pair.new.seconds])
    return found


def log_of_a_sample(pair: Pair, steps: Mapping[str, int], cells: Mapping[str, Cell]) -> float:
    """Logarithm of the seconds a sample, new over base: blocks may hold other numbers of steps and of samples."""
    samples = {name: steps[name] * samples_of_a_step(cell) for name, cell in cells.items()}
    return math.log(pair.new.seconds / samples["new"]) - math.log(pair.base.seconds / samples["base"])


def samples_of_a_step(cell: Cell) -> int:
    """Of a training's step: of all batches whose gradients it adds up."""
    return int(cell["batch_size"]) * int(cell["accumulate"])


def quads_of(block_seconds: Sequence[float]) -> int:
    """Quads of the next pair: QUADS, or fewer where blocks are long."""
    return max(FEWEST_QUADS, min(QUADS, round(PAIR_SECONDS / (2 * sum(block_seconds)))))
