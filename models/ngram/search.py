"""Finding n-grams in a level: which child of this parent has this first word?

The children of a parent are sorted by their first word, so a binary search finds one, and no table
beside the level is needed. What a search will read is asked for some searches ahead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ngram.counts import Level
from models.ngram.intrinsics import prefetch
from models.ngram.kernel import kernel
from models.ngram.pool import Pool

ABSENT = np.uint32(0xFFFFFFFF)  # instead of an entry
FAR, NEAR = np.uint64(32), np.uint64(16)  # searches ahead: for the bounds of the children, and for their middle
CROWDED = np.uint64(16)  # places for each thing sought: with fewer, walking is faster than searching


def find(level: Level, parents: NDArray[np.uint32], words: NDArray[np.uint32], pool: Pool) -> NDArray[np.uint32]:
    """[n] uint32: the entry of each pair of parent and first word, or ABSENT; of an absent parent ABSENT."""
    entries = np.empty(len(words), np.uint32)
    pool.each(
        lambda part: find_pairs(level.starts, level.words, parents, words, entries, *part), pool.split(len(words))
    )
    return entries


def find_shifted(level: Level, below: Level, shifted: NDArray[np.uint32], pool: Pool) -> NDArray[np.uint32]:
    """[entries of level]: where its n-grams stand in the level below without their last word.

    Args:
        level: Of order k.
        below: Of order k-1, the parents of the level.
        shifted: The same for the level below: [entries], where its n-grams stand in the level of order
            k-2 without their last word.
        pool: The threads that search.
    """
    entries = np.empty(len(level), np.uint32)
    pool.each(
        lambda part: find_families(level.starts, level.words, shifted, below.starts, below.words, entries, *part),
        pool.parts(level.starts),
    )
    return entries


@kernel
def search(words: NDArray[np.uint32], low: np.uint64, high: np.uint64, word: np.uint32) -> np.uint64:
    """The first place from ``low`` on, before ``high``, whose word is not less; ``high`` where all are."""
    size = high - low
    while size > 1:  # without a branch: the processor could not guess it
        half = size >> np.uint64(1)
        low += half if words[low + half - np.uint64(1)] < word else np.uint64(0)
        size -= half
    return low + np.uint64(size == 1 and words[low] < word)


@kernel
def ask_for(starts: NDArray[np.int64], words: NDArray[np.uint32], parent: np.uint32) -> None:
    """Prefetches the middle child of a parent."""
    if parent != ABSENT:
        prefetch(words, np.uint64(starts[parent] + starts[np.uint64(parent) + np.uint64(1)]) >> np.uint64(1))


@kernel
def find_pairs(
    starts: NDArray[np.int64],
    level_words: NDArray[np.uint32],
    parents: NDArray[np.uint32],
    words: NDArray[np.uint32],
    entries: NDArray[np.uint32],
    first: np.uint64,
    last: np.uint64,
) -> None:
    """Writes the entry of each pair from ``first`` to ``last``, or ABSENT."""
    final = last - np.uint64(1)
    for place in range(first, last):
        far = parents[min(place + FAR, final)]
        if far != ABSENT:
            prefetch(starts, np.uint64(far))
        ask_for(starts, level_words, parents[min(place + NEAR, final)])
        parent = np.uint64(parents[place])
        entries[place] = ABSENT
        if parent != ABSENT:
            high = np.uint64(starts[parent + np.uint64(1)])
            entry = search(level_words, np.uint64(starts[parent]), high, words[place])
            if entry < high and level_words[entry] == words[place]:
                entries[place] = np.uint32(entry)


@kernel
def find_families(
    starts: NDArray[np.int64],
    words: NDArray[np.uint32],
    shifted: NDArray[np.uint32],
    below_starts: NDArray[np.int64],
    below_words: NDArray[np.uint32],
    entries: NDArray[np.uint32],
    first: int,
    last: int,
) -> None:
    """Finds the children of the parents ``first`` to ``last`` among those of ``shifted``, where all of them are.

    Both families are sorted: each search goes on from where the one before has ended.
    """
    final = np.uint64(len(shifted) - 1)
    for parent in range(np.uint64(first), np.uint64(last)):
        prefetch(below_starts, np.uint64(shifted[min(parent + FAR, final)]))
        ask_for(below_starts, below_words, shifted[min(parent + NEAR, final)])
        begin, end = np.uint64(starts[parent]), np.uint64(starts[parent + np.uint64(1)])
        low = np.uint64(below_starts[shifted[parent]])
        high = np.uint64(below_starts[np.uint64(shifted[parent]) + np.uint64(1)])
        walk = high - low <= CROWDED * (end - begin)
        for entry in range(begin, end):
            word = words[entry]
            if walk:
                while below_words[low] < word:
                    low += np.uint64(1)
            else:
                low = search(below_words, low, high, word)
            entries[entry] = np.uint32(low)
