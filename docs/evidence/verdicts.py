"""How often is a check wrong, and how often does it see a slow-down? Checks simulated from the pool of A/A pairs.

    python docs/evidence/verdicts.py [CHECKS]

A simulated check draws one of the pool's moments, and for each of its cells whole generations of pairs of that moment,
as the paired run would have measured them: alarmed cells get others to confirm, decided ones stop, and the time that
pairs and starts of servers take is counted against the budget. A slow-down is planted by a factor on every pair of one
cell. The rules of other tools are applied to the same processes. docs/measuring.md quotes what is printed.
"""

from __future__ import annotations

import csv
import gzip
import math
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import mannwhitneyu

from trainmark.against.turns import GENERATION_ROUNDS, rounds_of
from trainmark.judge.sequential import Measured, decide, next_cells
from trainmark.store.pairs import Pair, Replicate

POOL = Path(__file__).with_name("pool.csv.gz")
PAIR_SECONDS, START_SECONDS = 1.0, 5.0  # as the pool took to gather, with and without neighbours
CELLS = 20
MARGIN = 0.03


@dataclass(frozen=True)
class Drawn:
    """One pair of the pool."""

    log_ratio: float
    disturbed: bool
    walls: tuple[tuple[float, ...], tuple[float, ...]]


Processes = list[list[float]]  # of one run of one cell: blocks by the clock
Generations = dict[str, dict[str, list[list[Drawn]]]]  # moment -> cell -> generations of pairs


def read_pool(path: Path = POOL) -> Generations:
    found: dict[str, dict[str, dict[str, list[Drawn]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            numbers = {name: tuple(map(float, row[name].split())) for name in row if name.endswith("_us")}
            drift, waiting, steal = (tuple(map(float, row[name].split())) for name in ("drift", "waiting", "steal"))
            halves = [
                Replicate(numbers[f"{side}_us"], (), waiting[half], steal[half], row["throttled"] == "1", drift[half])
                for half, side in enumerate(("base", "new"))
            ]
            pair = Pair(*halves)
            walls = (numbers["base_wall_us"], numbers["new_wall_us"])
            found[row["moment"]][row["cell"]][row["generation"]].append(Drawn(pair.log_ratio, pair.disturbed, walls))
    return {moment: {cell: list(some.values()) for cell, some in cells.items()} for moment, cells in found.items()}


def simulate(
    generations: dict[str, list[list[Drawn]]],
    factors: Sequence[float],
    margin: float,
    budget_seconds: float,
    order: random.Random,
) -> tuple[list[str], float, int]:
    """The words of the cells, the seconds that the check took, and its disturbed pairs."""
    names = [order.choice(sorted(generations)) for _ in factors]
    pairs: list[tuple[list[float], list[float]]] = [([], []) for _ in factors]
    seconds, dropped = 2.0 * len(factors), 0  # the records before
    while True:
        measured = {str(n): Measured(margin, *some) for n, some in enumerate(pairs)}
        decisions = decide(measured)
        wanted = {int(key): confirming for key, confirming in next_cells(measured, decisions).items()}
        if not wanted or seconds > budget_seconds:
            return [decisions[str(n)].word for n in range(len(factors))], seconds, dropped
        seconds += START_SECONDS
        rounds = rounds_of(len(wanted))
        drawn = {
            n: [pair for _ in range(rounds // GENERATION_ROUNDS) for pair in order.choice(generations[names[n]])]
            for n in wanted
        }
        sign = order.choice((1, -1))  # which of the two servers is the base
        for turn in range(rounds):
            for n in wanted:
                if turn >= len(drawn[n]) or seconds > budget_seconds:
                    continue
                seconds += PAIR_SECONDS
                pair = drawn[n][turn]
                if pair.disturbed:
                    dropped += 1
                else:
                    pairs[n][wanted[n]].append(sign * pair.log_ratio + math.log(factors[n]))


def check(pool: Generations, factors: Sequence[float], margin: float, order: random.Random) -> tuple[list[str], float]:
    moments = sorted(pool)
    weights = [sum(len(some) for some in pool[moment].values()) for moment in moments]
    moment = order.choices(moments, weights)[0]
    words, seconds, _ = simulate(pool[moment], factors, margin, 60.0 * len(factors), order)
    return words, seconds


def false_alarms(pool: Generations, checks: int, order: random.Random) -> None:
    words = [check(pool, [1.0] * CELLS, MARGIN, order)[0] for _ in range(checks)]
    false = sum("regressed" in one for one in words)
    counted = {word: sum(one.count(word) for one in words) / checks / CELLS for word in ("unchanged", "inconclusive")}
    print(f"A/A: {false} of {checks} checks of {CELLS} cells regressed falsely; {told(counted)}", flush=True)
    for name, rule in RULES.items():
        failed = {
            apart: np.mean(
                [any(rule(*two_runs(pool, order, apart=apart)) for _ in range(CELLS)) for _ in range(checks)]
            )
            for apart in (False, True)
        }
        print(f"  {name}: {failed[False]:.1%} of runs within one moment, {failed[True]:.1%} of any two", flush=True)


def power(pool: Generations, checks: int, order: random.Random) -> None:
    for moments in ("quiet", "neighbour", "busy", ""):
        some = {moment: cells for moment, cells in pool.items() if moment.startswith(moments)}
        if not some:
            continue
        for factor, margin in ((1.05, MARGIN), (1.10, MARGIN), (1.03, 0.01)):
            found = [check(some, [factor] + [1.0] * 9, margin, order) for _ in range(checks)]
            caught = np.mean([words[0] == "regressed" for words, _ in found])
            wrong = np.mean(["regressed" in words[1:] for words, _ in found])
            same = np.mean([words[0] == "unchanged" for words, _ in found])
            took, part = np.median([seconds for _, seconds in found]), moments or "all"
            print(
                f"{part}: {factor - 1:.0%} in one of ten cells, margin {margin:.0%}: caught in {caught:.1%} "
                f"of {checks}, called unchanged in {same:.1%}, others alarmed {wrong:.1%}, median {took:.0f} s",
                flush=True,
            )
        for name, rule in RULES.items():
            caught = np.mean([rule(*two_runs(some, order, slower=1.05)) for _ in range(10 * checks)])
            print(f"  {name} catches 5% in {caught:.1%} of runs within one moment", flush=True)


def told(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:.1%} of cells {word}" for word, share in shares.items())


# The rules of other tools, on two runs of different moments: two processes a side, as asv has it


def two_runs(
    pool: Generations, order: random.Random, *, slower: float = 1.0, apart: bool = False
) -> tuple[Processes, Processes]:
    """Two processes of one cell a side; of one moment, or of any two."""
    moment = order.choice(sorted(pool))
    moments = [moment, order.choice(sorted(pool)) if apart else moment]
    cell = order.choice(sorted(pool[moment]))
    base, new = (
        [list(order.choice(order.choice(pool[moment][cell])).walls[0]) for _ in range(2)] for moment in moments
    )
    return base, [[slower * block for block in process] for process in new]


def over(factor: float) -> Callable[[Processes, Processes], bool]:
    """pytest-benchmark's --benchmark-compare-fail: the medians of one process each."""
    return lambda base, new: median(new[0]) > factor * median(base[0])


def asv(base: Processes, new: Processes) -> bool:
    """asv: a factor of 1.1 between the medians, and Mann and Whitney's test at 0.002."""
    before, after = ([block for process in side for block in process] for side in (base, new))
    return median(after) > 1.1 * median(before) and mannwhitneyu(before, after).pvalue < 0.002


RULES = {"pytest-benchmark median:5%": over(1.05), "pytest-benchmark median:10%": over(1.10), "asv": asv}


def describe(pool: Generations) -> None:
    for moment, cells in sorted(pool.items()):
        pairs = [pair for some in cells.values() for generation in some for pair in generation]
        logs = np.array([pair.log_ratio for pair in pairs if not pair.disturbed])
        walls = np.array([math.log(median(pair.walls[1]) / median(pair.walls[0])) for pair in pairs])
        print(
            f"{moment}: {len(pairs)} pairs, {len(cells)} cells, {len(next(iter(cells.values())))} generations; "
            f"robust spread of a pair {spread(logs):.1%} (medians by the clock {spread(walls):.1%}), "
            f"largest {np.abs(logs).max():.0%}, disturbed {1 - len(logs) / len(pairs):.1%}",
            flush=True,
        )


def spread(logs: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(logs)))


def main(checks: int) -> None:
    pool, order = read_pool(), random.Random(1)
    describe(pool)
    false_alarms(pool, checks, order)
    power(pool, max(checks // 5, 20), order)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
