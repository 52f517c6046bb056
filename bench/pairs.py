"""Measuring two sides together: pairs of processes that take turns, until every cell is decided or time is up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.settings import Settings
from bench.sides import Place, Side, SideEnded
from results.cell import Cell
from results.pairs import Pair, Replicate

BLOCK_SECONDS = 0.04  # long against a clock and a switch of processes, short against a neighbour's burst
QUADS = 3  # of four blocks each, ABBA or BAAB: a drift that is even over a quad cancels
GENERATION_ROUNDS = 6  # pairs of each cell between two starts of the servers: one start's memory layout is no verdict
WARM_SECONDS = 0.1  # see Settings.max_seconds; a process that was forked needs few blocks to be steady


class PairFailed(RuntimeError):
    """A half of a pair ended without its blocks."""

    def __init__(self, side: str, end: SideEnded) -> None:
        super().__init__(end.reason)
        self.side = side
        self.status = end.status
        self.reason = end.reason


def measure_pair(
    sides: Mapping[str, Side], request: Mapping[str, Any], order: random.Random, steps: int | None = None
) -> tuple[dict[str, Replicate], int]:
    """One pair: both processes are made ready one after the other, then take turns block by block.

    Args:
        sides: ``base`` and ``new``.
        request: Cell, settings and length of a block, as :mod:`bench.side` reads them.
        order: Decides which side is first, and in each quad.
        steps: Of a block; None to take what the base finds.

    Returns:
        ``base`` and ``new``, and the steps of a block.

    Raises:
        PairFailed: A side could not go on; the other has been ended.
    """
    names = order.sample(["base", "new"], 2)
    begun: list[str] = []
    blocks: dict[str, list[float]] = {"base": [], "new": []}
    ends: dict[str, dict[str, Any]] = {}
    doing = names[0]
    try:
        found = {}
        for doing in names:
            found[doing] = sides[doing].begin(request)
            begun.append(doing)
        steps = steps or found["base"]
        for _ in range(QUADS):
            first, second = order.sample(["base", "new"], 2)
            for doing in (first, second, second, first):
                blocks[doing].append(sides[doing].block(steps))
        for doing in names:
            ends[doing] = sides[doing].end()
            begun.remove(doing)
    except SideEnded as end:
        for name in begun:
            if name != doing:
                with suppress(SideEnded):
                    sides[name].end()
        raise PairFailed(doing, end) from end
    return {name: _replicate(blocks[name], ends[name]) for name in ("base", "new")}, steps


def _replicate(blocks: Sequence[float], ending: Mapping[str, Any]) -> Replicate:
    disturbance = ending["disturbance"]
    before, after = ending["control_seconds"]
    return Replicate(
        blocks=tuple(blocks),
        waiting_share=disturbance["waiting_share"],
        steal_share=disturbance["steal_share"],
        throttled=bool(disturbance["throttled_periods"] or disturbance["thermal_events"]),
        control_drift=math.log(after / before),
    )
