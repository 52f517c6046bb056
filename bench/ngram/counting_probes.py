"""What bounds counting on this machine: random updates of a table in memory, and copying, each a second.

A count of n-grams by hashing changes one word of memory for each token, anywhere in a table; so no such count is
faster than random updates are. One that sorts instead moves its keys, so no such count is faster than copying is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.ngram.limits import CountingLimits
from models.ngram.kernel import kernel

PASSES = 3  # over every method and size: the best is the machine's limit, the others met a neighbour
UPDATES = 2**22  # of one pass: some 30 ms
TABLES = (2**25, 2**26)  # words of 4 bytes: 128 and 256 MiB, beyond the caches of nearly every processor
COPIED = 2**27  # bytes
_MULTIPLIER, _INCREMENT = np.uint64(6364136223846793005), np.uint64(1442695040888963407)  # Knuth, MMIX
_HIGH = np.uint64(32)  # the low bits of such a generator repeat soon


@kernel
def update_in_turn(table: NDArray[np.uint32], updates: int, seed: int) -> None:
    """Increments words at random places, one after the other; the processor overlaps them as it can."""
    mask, state = np.uint64(len(table) - 1), np.uint64(seed)
    for _ in range(updates):
        state = state * _MULTIPLIER + _INCREMENT
        table[(state >> _HIGH) & mask] += np.uint32(1)


@kernel
def update_in_streams(table: NDArray[np.uint32], updates: int, seed: int) -> None:
    """The same by four generators, so that not even their arithmetic waits for each other's."""
    mask = np.uint64(len(table) - 1)
    a, b, c, d = np.uint64(seed), np.uint64(seed + 1), np.uint64(seed + 2), np.uint64(seed + 3)
    for _ in range(updates // 4):
        a = a * _MULTIPLIER + _INCREMENT
        b = b * _MULTIPLIER + _INCREMENT
        c = c * _MULTIPLIER + _INCREMENT
        d = d * _MULTIPLIER + _INCREMENT
        table[(a >> _HIGH) & mask] += np.uint32(1)
        table[(b >> _HIGH) & mask] += np.uint32(1)
        table[(c >> _HIGH) & mask] += np.uint32(1)
        table[(d >> _HIGH) & mask] += np.uint32(1)


METHODS = (update_in_turn, update_in_streams)


def measure_limits(
    threads: int,
    report: Callable[[str], None],
    _scratch: Path,
    tables: tuple[int, ...] = TABLES,
    updates: int = UPDATES,
    copied: int = COPIED,
) -> CountingLimits:
    """Finds both limits, with as many threads as counting has.

    The largest rate of several methods and sizes counts: which one it is differs between machines.

    Args:
        threads: That work at the same time on one table.
        report: Told what is being done.
        tables: Sizes in words, powers of two.
        updates: Of one pass.
        copied: Bytes of the array that is copied.
    """
    begun = time.perf_counter()
    report("looking for the limit of random updates")
    for method in METHODS:
        method(np.zeros(8, np.uint32), 8, 1)  # compiles, or loads
    with ThreadPoolExecutor(threads) as pool:
        updated = 0.0
        for words in tables:
            table = np.ones(words, np.uint32)  # ones: what was never written is not in memory yet
            for method in METHODS * PASSES:
                work = [partial(method, table, updates // threads, 4 * number) for number in range(threads)]
                updated = max(updated, updates / _seconds(pool, work))
        del table
        report("looking for the limit of copying")
        source, target = (np.array_split(np.ones(copied, np.uint8), threads) for _ in range(2))
        work = [partial(np.copyto, *pair) for pair in zip(target, source, strict=True)]  # it lets other threads go on
        moved = max(2 * copied / _seconds(pool, work) for _ in range(PASSES))
    return CountingLimits(updated, moved, threads, time.perf_counter() - begun)


def _seconds(pool: ThreadPoolExecutor, work: list[partial[None]]) -> float:
    """How long the threads take together for a piece of work each."""
    begun = time.perf_counter()
    for done in [pool.submit(piece) for piece in work]:
        done.result()
    return time.perf_counter() - begun
