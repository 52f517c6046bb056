"""Trainings at the same time, a process and a core each: for what they learn, not for how long they take."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import psutil

from trainmark.measure.failures import ModelError
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.record import Record

Job = tuple[Cell, Settings]


def places_for(device: str, threads: int) -> int:
    """How many trainings have cores of their own: one where the device is not the CPU, which they would share.

    Args:
        device: Of all of them.
        threads: CPU threads of each.
    """
    cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))  # a container or a scheduler may leave it fewer
    return max(1, cores // threads) if device == "cpu" else 1


def measure_trainings(jobs: Sequence[Job], report: Callable[[Any], None], scratch: Path) -> list[Record]:
    """The records of whole trainings, in the order of the jobs; each learns what it learns alone.

    Args:
        jobs: An accuracy cell each, with its seeds and threads; all of one device, and of as many threads.
        report: Told how many are done.
        scratch: An empty folder.

    Raises:
        ModelError: A training ended its process; or what :func:`trainmark.measure.protocol.measure_training` raises.
    """
    cell, settings = jobs[0]
    at_once = min(len(jobs), places_for(str(cell["device"]), settings.threads))
    # Forked: this process has imported torch and computed nothing.
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("fork")) as pool:
        begun = [pool.submit(_train, *job, scratch / str(number)) for number, job in enumerate(jobs)]
        try:
            for done, future in enumerate(as_completed(begun), 1):
                future.result()
                report(f"{done} of {len(jobs)} trainings done")
        except BrokenProcessPool as error:
            raise ModelError("a training of it ended its own process") from error
        finally:
            pool.shutdown(cancel_futures=True)
        return [future.result() for future in begun]


def _train(cell: Cell, settings: Settings, folder: Path) -> Record:
    from trainmark.measure.protocol import measure_training

    folder.mkdir()
    return measure_training(cell, settings, lambda _doing: None, folder)
