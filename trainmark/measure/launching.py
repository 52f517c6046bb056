"""A data-parallel training on one machine by torch's own launcher: its record, and which rank failed where one did."""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trainmark import suite
from trainmark.measure.beats import Beat, Beats, told
from trainmark.measure.context import now
from trainmark.measure.protocol import drifts
from trainmark.measure.ranks import FOLDER_OF_ENDINGS, RankFindings, batch_of_rank, run_rank
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Finished, SoFar, explain_death, kernel_kills
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.store.rounds import median_interval

WATCH_SECONDS = 0.25
AS_ONE = 1e-3  # of the largest entry of a gradient: sums in another order differ by less, other sums by more
DIFFER = "gradients-differ"
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")  # variables of torch: which network the ranks speak over


def measure_scaling(
    cell: Cell, settings: Settings, memory_limit: int | None, report: Callable[[str | SoFar], None], scratch: Path
) -> Record:
    """Launches as many processes as the cell has, and gives the record of what they found together.

    Args:
        cell: What to measure.
        settings: How.
        memory_limit: Bytes of resident memory of each process; None for what the machine has.
        report: Told where the ranks are, for the reason of a timeout.
        scratch: An empty folder.
    """
    for name in INTERFACES:
        os.environ.setdefault(name, loopback())
    ranks, started, kills = int(cell["processes"]), now(), kernel_kills()
    beats = Beats(scratch / "beats", ranks)
    begun = time.perf_counter()
    with _Watch(beats, report, memory_limit) as watch:
        try:
            found = elastic_launch(_config(ranks, scratch), run_rank)(cell, settings, scratch, suite.current().root)
        except ChildFailedError as error:
            status, reason = _how_it_failed(error, scratch, watch, kernel_kills() > kills)
            told_settings = {"threads": settings.threads, "seed": settings.seed}
            return Record(cell, status, reason, settings=told_settings, started=started)
    seconds = time.perf_counter() - begun
    return _record(cell, settings, [found[rank] for rank in range(ranks)], seconds, started)


def _config(ranks: int, scratch: Path) -> LaunchConfig:
    """One node, no restarts; ranks meet over files, so that no port is opened for it."""
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=secrets.token_hex(4),
        rdzv_backend="c10d",
        rdzv_endpoint=str(scratch / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        max_restarts=0,
        start_method="spawn",
        local_addr="127.0.0.1",
    )


def loopback() -> str:
    """The name of the network interface that leads to this machine alone."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.family == socket.AF_INET and one.address.startswith("127.") for one in addresses):
            return name
    return "lo"


class _Watch:
    """Looks at the ranks while they run: tells where they are, and ends one that takes too much memory."""

    def __init__(self, beats: Beats, report: Callable[[str | SoFar], None], memory_limit: int | None) -> None:
        self.beats, self.excess = beats, {}  # type: tuple[Beats, dict[int, int]]
        self._report, self._limit = report, memory_limit
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        said = ""
        while not self._ended.wait(WATCH_SECONDS):
            beats = self.beats.read()
            if (line := told(beats)) != said:
                said = line
                self._report(line)
            if self._limit is not None:
                self._hold_to(self._limit, beats)

    def _hold_to(self, limit: int, beats: Sequence[Beat]) -> None:
        for rank, beat in enumerate(beats):
            if not beat.process or rank in self.excess:
                continue
            try:
                resident = psutil.Process(beat.process).memory_info().rss
            except psutil.NoSuchProcess:
                continue
            if resident > limit:
                self.excess[rank] = resident
                os.kill(beat.process, signal.SIGKILL)


def _how_it_failed(error: ChildFailedError, scratch: Path, watch: _Watch, kernel_killed: bool) -> tuple[str, str]:
    """Status and reason of a launch in which a rank failed: of the first, which the others then missed."""
    beats = watch.beats.read()
    if watch.excess:
        rank, resident = next(iter(watch.excess.items()))
        return "oom", f"{_named(rank, beats)} took {resident / 1e9:.2f} GB while {beats[rank]}, over --memory-limit"
    died = {rank: failure.exitcode for rank, failure in error.failures.items() if failure.exitcode < 0}
    by_itself = {rank: code for rank, code in died.items() if -code != signal.SIGTERM}  # which the launcher sends
    if by_itself:
        rank = min(by_itself, key=lambda rank: (error.failures[rank].timestamp, rank))
        status, reason = explain_death(by_itself[rank], str(beats[rank]), "", kernel_killed)
        return status, f"{_named(rank, beats)} {reason}"
    endings = _endings(scratch)
    if endings:
        rank, ending = endings[0]
        if ending.status == "skipped":
            return ending.status, str(ending.reason)
        return ending.status, f"{_named(rank, beats)} ended while {beats[rank]}: {ending.reason}"
    rank, failure = error.get_first_failure()
    return "crashed", f"{_named(rank, beats)} left with exit code {failure.exitcode} while {beats[rank]}"


def _named(rank: int, beats: Sequence[Beat]) -> str:
    return f"rank {rank} of {len(beats)}"


def _endings(scratch: Path) -> list[tuple[int, Finished]]:
    """Rank and ending of those that left one, the first first: the others may have failed for want of it."""
    found = []
    for path in (scratch / FOLDER_OF_ENDINGS).glob("*"):
        if path.name.isdecimal():
            moment, ending = pickle.loads(path.read_bytes())
            found.append((moment, int(path.name), ending))
    return [(rank, ending) for _, rank, ending in sorted(found, key=lambda one: one[:2])]


def _record(cell: Cell, settings: Settings, found: Sequence[RankFindings], seconds: float, started: str) -> Record:
    """What all ranks say together: a step of all is as long as that of the slowest."""
    first = found[0]
    together = [max(steps) for steps in zip(*(one.together for one in found), strict=True)]
    apart = [max(steps) for steps in zip(*(one.unsynchronised for one in found), strict=True)]
    step = median_interval(together)
    samples = batch_of_rank(cell) * len(found)
    grown = 1 if cell["scaling_mode"] == "weak" else len(found)
    efficiency = median_interval([one / (grown * all_) for one, all_ in zip(first.alone, together, strict=True)])
    exposed = median_interval([all_ - without for all_, without in zip(together, apart, strict=True)])
    differences = [one.gradient_difference for one in found]
    difference = None if None in differences else max(filter(None, differences), default=0.0)
    peaks = [one.peak_bytes for one in found if one.peak_bytes is not None]
    flags = {
        "unsteady": drifts(together),
        "few-rounds": step.low is None,
        DIFFER: difference is not None and difference > AS_ONE,
    }
    inside = max(one.ended for one in found) - max(one.begun for one in found)
    metrics: Mapping[str, Any] = {
        "step_seconds": step.middle,
        "step_seconds_low": step.low,
        "step_seconds_high": step.high,
        "samples_per_second": samples / step.middle,
        "scaling_efficiency": efficiency.middle,
        "scaling_efficiency_low": efficiency.low,
        "scaling_efficiency_high": efficiency.high,
        "exposed_communication_seconds": exposed.middle,
        "exposed_communication_seconds_low": exposed.low,
        "exposed_communication_seconds_high": exposed.high,
        "communication_buckets": len(first.buckets),
        "communication_bytes": sum(first.buckets),
        "unequal_ranks": sum(one.digest != first.digest for one in found),
        "gradient_difference": difference,
        "launch_seconds": seconds - inside,
        "parameters": first.parameters,
        "samples_per_step": samples,
        "peak_memory_bytes" if cell["device"] == "cpu" else "device_allocated_bytes": max(peaks, default=None),
    }
    return Record(
        cell,
        "ok",
        metrics=metrics,
        rounds=tuple(together),
        steps_per_round=first.steps,
        settings={"threads": settings.threads, "seed": settings.seed, "adaptation": first.adaptation},
        disturbance=first.disturbance,
        flags=(*first.flags, *(name for name, raised in flags.items() if raised)),
        started=started,
    )
