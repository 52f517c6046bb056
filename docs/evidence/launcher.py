"""Whether a step takes longer in a process that torch's elastic launcher has started than in one that nobody watches.

    python docs/evidence/launcher.py          # about a minute; prints ratios, launched over plain, with their intervals

Both processes are alive at once and take turns, block by block, as the sides of a comparison do. The launcher's agent
looks at its process ten times a second in all blocks.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

from trainmark import suite
from trainmark.judge.statistics import hodges_lehmann
from trainmark.measure.launching import _config
from trainmark.measure.protocol import set_up, timed_block
from trainmark.measure.settings import Settings
from trainmark.measure.steps import training_steps
from trainmark.meters.clock import clock_of
from trainmark.store.cell import Cell

ROOT = Path(__file__).parents[2]
CELLS = (("mlp", 64, 15), ("cnn", 64, 2))  # model, batch, steps of a block
BLOCKS = 60


def serve(address: str, model: str, batch: int, steps: int) -> None:
    """Takes a block of steps whenever it is asked to, and says how long one took."""
    suite.open_suite(ROOT)
    folder = Path(tempfile.mkdtemp())
    set_up(Settings(), folder)
    made = training_steps(Cell.of("train", model=model, batch_size=batch), Settings(), folder)
    clock = clock_of("cpu")
    timed_block(clock, made.advance, 3 * steps)
    with Client(address) as asked:
        while asked.recv():
            asked.send(timed_block(clock, made.advance, steps).seconds / steps)


def launched(address: str, scratch: str, *how: Any) -> None:
    """The same in a process of the launcher, whose agent is in this one."""
    from torch.distributed.launcher.api import elastic_launch

    elastic_launch(_config(1, Path(scratch)), serve)(address, *how)


def started(context: Any, target: Callable[..., None], scratch: Path, *how: Any) -> tuple[Any, Any]:
    """A process and the connection to it."""
    address = str(scratch / f"{target.__name__}-{time.monotonic_ns()}")
    with Listener(address) as listener:
        given = (address, *((str(scratch),) if target is launched else ()), *how)
        process = context.Process(target=target, args=given)
        process.start()
        return process, listener.accept()


def compare(model: str, batch: int, steps: int) -> None:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        sides = [started(context, target, Path(folder), model, batch, steps) for target in (serve, launched)]
        logs = []
        for number in range(BLOCKS):
            took: dict[int, float] = {}
            for side in (0, 1) if number % 2 else (1, 0):
                sides[side][1].send(True)
                took[side] = sides[side][1].recv()
            logs.append(math.log(took[1] / took[0]))
        for process, asked in sides:
            asked.send(False)
            process.join()
    ratio = hodges_lehmann(logs, 0.95)
    assert ratio.low is not None and ratio.high is not None
    ends = ", ".join(f"{math.exp(end):.3f}" for end in (ratio.low, ratio.high))
    print(
        f"{model} {batch}: {math.exp(ratio.middle):.3f} [{ends}], {BLOCKS} pairs of blocks of {steps} steps", flush=True
    )


if __name__ == "__main__":
    os.chdir(ROOT)
    for told in CELLS:
        compare(*told)
