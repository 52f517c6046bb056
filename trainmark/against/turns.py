"""Measuring two sides together: pairs of processes that take turns, until every cell is decided or time is up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from trainmark.against.client import Side, SideEnded
from trainmark.against.places import Place
from trainmark.formatting import about
from trainmark.measure.settings import Settings
from trainmark.scratch import scratch
from trainmark.store.cell import Cell
from trainmark.store.documents import SchemaError
from trainmark.store.folders import without_folders
from trainmark.store.pairs import Pair, PairsJournal, Replicate
from trainmark.store.parameters import default_of
from trainmark.store.record import NOT_PAIRED, Record

BLOCK_SECONDS = 0.02  # long against a clock and a switch of processes, short against a neighbour's burst
QUADS = 6  # of four blocks each, ABBA or BAAB: a drift that is even over a quad cancels
GENERATION_ROUNDS = 6  # pairs of each cell between two starts of the servers: one start's memory layout is no verdict
FEW_CELLS = 3  # with no more than these a generation has twice as many rounds: starting costs as much as some pairs
WARM_SECONDS = 0.1  # see Settings.max_seconds; a process that was forked needs few blocks to be steady

TOLD_SECONDS = 20.0  # between two lines on how far it is

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
    """What has been measured so far; each piece is on the disk before the next is begun.

    Attributes:
        records: ``base`` and ``new`` -> join key -> record.
        pairs: Join key -> pairs.
        steps: Join key -> steps in a block.
        journal: Where all of it is kept; None to keep nothing.
    """

    records: dict[str, dict[str, Record]] = field(default_factory=lambda: {"base": {}, "new": {}})
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    journal: PairsJournal | None = None

    def add_record(self, side: str, record: Record) -> None:
        """Keeps a record of a side."""
        self.records[side][record.key] = record  # first: Ctrl-C may come while the journal waits for the disk
        if self.journal is not None:
            self.journal.append_record(side, record)

    def add_failure(self, cell: Cell, failure: PairFailed) -> None:
        """Keeps that a side could not measure its half of a pair.

        Where two processes at once have no memory, that says nothing of one: its record stays, and says that the cell
        was not paired.
        """
        record, reason = self.records[failure.side].get(cell.key), without_folders(failure.reason)
        if record is None or record.status != "ok" or failure.status != "oom":
            return self.add_record(failure.side, Record(cell, failure.status, reason))
        reason = f"not paired: two processes at once have no memory: {reason}"
        return self.add_record(failure.side, replace(record, reason=reason, flags=(*record.flags, NOT_PAIRED)))

    def add_pair(self, key: str, steps: int, pair: Pair, seconds: float) -> None:
        """Keeps a pair of a cell, and how long it took."""
        self.pairs.setdefault(key, []).append(pair)
        self.steps[key] = steps
        if self.journal is not None:
            self.journal.append_pair(key, steps, pair, seconds)


def describe_cell(cell: Cell) -> dict[str, Any]:
    """The cell as :mod:`trainmark.against.server` reads it; a side may be older than a parameter at its default."""
    axes = {name: value for name, value in cell.settings.items() if value != default_of(name)}
    return {"workload": cell.workload, "axes": axes}


def measure_record(side: Side, cell: Cell, seeds: int, how: PairSettings) -> Record:
    """One record of a cell on one side: counts, memory, compile time and accuracy.

    Args:
        side: The side.
        cell: What to measure.
        seeds: Trainings, of an accuracy cell.
        how: Settings.
    """
    try:
        how_it_is = how.to_json(seeds=seeds)  # without energy, whose windows take longer than all else of a record
        document = side.call("record", cell=describe_cell(cell), settings=how_it_is, energy=False)
        return Record.from_json(document)
    except SideEnded as end:
        return Record(cell, end.status, without_folders(end.reason))
    except SchemaError as error:
        return Record(cell, "error", f"the side gave no record: {error}")


def measure_pairs(
    places: Mapping[str, Place],
    cells: Iterable[Cell],
    how: PairSettings,
    findings: Findings,
    look: Look,
    until: float,
    told: Callable[[str], None],
    start: Callable[[Place, float], Side] = Side.launch,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Measures pairs of cells by turns until none is open or time is up; what is found goes into ``findings``.

    The servers are started anew for each generation of pairs, so that no verdict rests on where one
    process happened to lie in memory. It is looked at the pairs between generations only.

    Args:
        places: Of ``base`` and ``new``.
        cells: Those to measure in pairs.
        how: Settings.
        findings: Gets the pairs, and the record of a side that fails to measure its half; pairs that it has
            already, of an interrupted run, count.
        look: From all pairs so far to the cells that need more, with whether these pairs confirm an alarm.
        until: When to stop, as ``clock`` tells it.
        told: Told how far it is, and how much time is left.
        start: Starts the server of a side, and need not wait until that is ready.
        clock: Tells the time in seconds.
    """
    by_key = {cell.key: cell for cell in cells}
    for key in by_key:
        findings.pairs.setdefault(key, [])
    known = sum(map(len, findings.pairs.values()))
    generation = max((pair.generation for pairs in findings.pairs.values() for pair in pairs), default=0)
    order = random.Random(f"{how.seed} {known}" if known else how.seed)  # a resumed run goes on by chance, not again
    last_told = clock()
    with scratch("compiled") as caches:
        while clock() < until:
            wanted = {key: confirming for key, confirming in look(findings.pairs).items() if key in by_key}
            if not wanted:
                return
            generation += 1
            told(
                f"generation {generation}: {len(wanted)} of {len(findings.pairs)} cells are open, "
                f"{sum(map(len, findings.pairs.values()))} pairs so far, {_left(until - clock())}"
            )
            with ExitStack() as stack:
                sides = {
                    name: stack.enter_context(start(places[name], how.timeout))
                    for name in order.sample(sorted(places), 2)
                }
                for side in sides.values():
                    side.wait_until_ready()
                rounds, done = rounds_of(len(wanted)), 0
                for _ in range(rounds):
                    for key in order.sample(sorted(wanted), len(wanted)):
                        begun = clock()
                        if begun > until:
                            return
                        if key not in by_key:
                            continue  # it has failed in an earlier round
                        if begun - last_told > TOLD_SECONDS:
                            told(f"  pair {done + 1} of {rounds * len(wanted)}, {_left(until - begun)}")
                            last_told = begun
                        request = {
                            "cell": describe_cell(by_key[key]),
                            "settings": how.to_json(compile_cache=str(caches)),
                            "block_seconds": BLOCK_SECONDS,
                        }
                        try:
                            halves, steps = measure_pair(sides, request, order, findings.steps.get(key))
                        except PairFailed as failure:
                            findings.add_failure(by_key.pop(key), failure)
                        else:
                            pair = Pair(**halves, generation=generation, confirming=wanted[key])
                            findings.add_pair(key, steps, pair, clock() - begun)
                        done += 1


def _left(seconds: float) -> str:
    return f"at most {about(max(seconds, 0.0))} left"


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


class Half(Protocol):
    """What measures one half of a pair when it is asked to: a server of a side, or a process of its own."""

    def begin(self, request: Mapping[str, Any]) -> int:
        """Gets ready; gives the steps of a block."""

    def block(self, steps: int) -> tuple[float, float]:
        """Seconds of a block of steps: its own, and by the clock."""

    def end(self) -> dict[str, Any]:
        """Ends, and gives what disturbed it meanwhile."""


def measure_pair(
    sides: Mapping[str, Half], request: Mapping[str, Any], order: random.Random, steps: int | None = None
) -> tuple[dict[str, Replicate], int]:
    """One pair of a cell on both sides: two processes that take turns, with equal blocks.

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

    def alike(found: Mapping[str, int]) -> Mapping[str, int]:
        return dict.fromkeys(found, steps or found["base"])

    halves, taken = take_turns(sides, {"base": request, "new": request}, order, alike)
    return halves, taken["base"]


def take_turns(
    sides: Mapping[str, Half],
    requests: Mapping[str, Mapping[str, Any]],
    order: random.Random,
    steps_of: Callable[[Mapping[str, int]], Mapping[str, int]] = dict,
    quads: int = QUADS,
) -> tuple[dict[str, Replicate], Mapping[str, int]]:
    """One pair: both processes are made ready one after the other, then take turns block by block.

    Args:
        sides: ``base`` and ``new``.
        requests: Of each: cell, settings and length of a block, as :mod:`trainmark.against.server` reads them.
        order: Decides which is first, and in each quad.
        steps_of: From the steps that each takes in about that time to the steps of its blocks.
        quads: Of four blocks each, two of either.

    Returns:
        ``base`` and ``new``: what each measured, and the steps of its blocks.

    Raises:
        PairFailed: One could not go on; the other has been ended.
    """
    names = order.sample(["base", "new"], 2)
    begun: list[str] = []
    blocks: dict[str, list[tuple[float, float]]] = {"base": [], "new": []}
    ends: dict[str, dict[str, Any]] = {}
    doing = names[0]
    try:
        found = {}
        for doing in names:
            found[doing] = sides[doing].begin(requests[doing])
            begun.append(doing)
        steps = steps_of(found)
        for _ in range(quads):
            first, second = order.sample(["base", "new"], 2)
            for doing in (first, second, second, first):
                blocks[doing].append(sides[doing].block(steps[doing]))
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
        throttled=any(disturbance.get(name) for name in ("throttled_periods", "thermal_events", "gpu_throttled")),
        control_drift=math.log(after / before),
    )
