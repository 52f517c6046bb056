"""Measuring two sides together: pairs of processes that take turns, until every cell is decided or time is up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

from trainmark.against.client import Side, SideEnded
from trainmark.against.places import Place
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.pairs import Pair, Replicate
from trainmark.store.record import Record

BLOCK_SECONDS = 0.02  # long against a clock and a switch of processes, short against a neighbour's burst
QUADS = 6  # of four blocks each, ABBA or BAAB: a drift that is even over a quad cancels
GENERATION_ROUNDS = 6  # pairs of each cell between two starts of the servers: one start's memory layout is no verdict
FEW_CELLS = 3  # with no more than these a generation has twice as many rounds: starting costs as much as some pairs
WARM_SECONDS = 0.1  # see Settings.max_seconds; a process that was forked needs few blocks to be steady

Look = Callable[[Mapping[str, Sequence[Pair]]], Mapping[str, bool]]


@dataclass(frozen=True)
class PairSettings:
    """How both sides are measured.

    Attributes:
        settings: As for a run; each side replaces ``threads`` where ``threads`` below is None.
        threads: CPU threads of both sides; None for what each side's environment says.
        timeout: Seconds that an answer may take.
        budget_seconds: For all of it, records included.
        seed: Of the order of sides, cells and blocks.
    """

    settings: Settings
    threads: int | None
    timeout: float
    budget_seconds: float
    seed: int

    def to_json(self, *, seeds: int = 1, compile_cache: str | None = None) -> dict[str, Any]:
        """The settings as :mod:`trainmark.against.server` reads them.

        Args:
            seeds: Trainings of an accuracy cell.
            compile_cache: Folder that torch.compile fills once and reads in each later process; what lies
                there is found by its content, so that both sides may share it.
        """
        settings = self.settings
        places = settings.places
        return {
            "threads": self.threads,
            "seed": settings.seed,
            "seeds": seeds,
            "min_rounds": settings.min_rounds,
            "max_seconds": WARM_SECONDS,
            "places": {
                "root": str(places.root),
                "download": places.download,
                "named": {
                    parameter: {name: str(path) for name, path in paths.items()}
                    for parameter, paths in places.named.items()
                },
            },
            "compile_cache": compile_cache,
        }


@dataclass
class Findings:
    """What has been measured so far.

    Attributes:
        records: ``base`` and ``new`` -> join key -> record.
        pairs: Join key -> pairs.
        steps: Join key -> steps in a block.
    """

    records: dict[str, dict[str, Record]] = field(default_factory=lambda: {"base": {}, "new": {}})
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)


def describe_cell(cell: Cell) -> dict[str, Any]:
    """The cell as :mod:`trainmark.against.server` reads it."""
    return {"workload": cell.workload, "axes": cell.settings}


def measure_records(
    side: Side, cells: Mapping[Cell, int], how: PairSettings, told: Callable[[str], None]
) -> dict[str, Record]:
    """One record of each cell on one side: counts, memory, compile time and accuracy.

    Args:
        side: The side.
        cells: Cell -> trainings of an accuracy cell.
        how: Settings.
        told: Told what is being done.
    """
    records = {}
    for cell, seeds in cells.items():
        told(f"{side.place.name}: {cell.label}")
        try:
            document = side.call("record", cell=describe_cell(cell), settings=how.to_json(seeds=seeds))
            records[cell.key] = Record.from_json(document)
        except SideEnded as end:
            records[cell.key] = Record(cell, end.status, end.reason)
    return records


def measure_pairs(
    places: Mapping[str, Place],
    cells: Iterable[Cell],
    how: PairSettings,
    findings: Findings,
    look: Look,
    until: float,
    told: Callable[[str], None],
    start: Callable[[Place, float], Side] = Side,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Measures pairs of cells by turns until none is open or time is up; what is found goes into ``findings``.

    The servers are started anew for each generation of pairs, so that no verdict rests on where one
    process happened to lie in memory. It is looked at the pairs between generations only.

    Args:
        places: Of ``base`` and ``new``.
        cells: Those to measure in pairs.
        how: Settings.
        findings: Gets the pairs, and the record of a side that fails to measure its half.
        look: From all pairs so far to the cells that need more, with whether these pairs confirm an alarm.
        until: When to stop, as ``clock`` tells it.
        told: Told how far it is.
        start: Starts the server of a side.
        clock: Tells the time in seconds.
    """
    order = random.Random(how.seed)
    by_key = {cell.key: cell for cell in cells}
    findings.pairs.update({key: [] for key in by_key})
    generation = 0
    with TemporaryDirectory(prefix="trainmark-compiled-") as caches:
        while clock() < until:
            wanted = {key: confirming for key, confirming in look(findings.pairs).items() if key in by_key}
            if not wanted:
                return
            generation += 1
            told(f"generation {generation}: {len(wanted)} of {len(findings.pairs)} cells are open")
            with ExitStack() as stack:
                sides = {
                    name: stack.enter_context(start(places[name], how.timeout))
                    for name in order.sample(sorted(places), 2)
                }
                for _ in range(rounds_of(len(wanted))):
                    for key in order.sample(sorted(wanted), len(wanted)):
                        if clock() > until:
                            return
                        if key not in by_key:
                            continue  # it has failed in an earlier round
                        request = {
                            "cell": describe_cell(by_key[key]),
                            "settings": how.to_json(compile_cache=caches),
                            "block_seconds": BLOCK_SECONDS,
                        }
                        try:
                            halves, findings.steps[key] = measure_pair(sides, request, order, findings.steps.get(key))
                        except PairFailed as failure:
                            cell = by_key.pop(key)
                            findings.records[failure.side][key] = Record(cell, failure.status, failure.reason)
                        else:
                            findings.pairs[key].append(Pair(**halves, generation=generation, confirming=wanted[key]))


def rounds_of(cells: int) -> int:
    """Pairs of each cell in a generation of so many cells."""
    return GENERATION_ROUNDS if cells > FEW_CELLS else 2 * GENERATION_ROUNDS


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
        request: Cell, settings and length of a block, as :mod:`trainmark.against.server` reads them.
        order: Decides which side is first, and in each quad.
        steps: Of a block; None to take what the base finds.

    Returns:
        ``base`` and ``new``, and the steps of a block.

    Raises:
        PairFailed: A side could not go on; the other has been ended.
    """
    names = order.sample(["base", "new"], 2)
    begun: list[str] = []
    blocks: dict[str, list[tuple[float, float]]] = {"base": [], "new": []}
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


def _replicate(blocks: Sequence[tuple[float, float]], ending: Mapping[str, Any]) -> Replicate:
    disturbance = ending["disturbance"]
    before, after = ending["control_seconds"]
    return Replicate(
        blocks=tuple(own for own, _ in blocks),
        wall_blocks=tuple(wall for _, wall in blocks),
        waiting_share=disturbance["waiting_share"],
        steal_share=disturbance["steal_share"],
        throttled=bool(disturbance["throttled_periods"] or disturbance["thermal_events"]),
        control_drift=math.log(after / before),
    )
