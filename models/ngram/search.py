"""Finding n-grams in a level: which child of this parent has this first word?

The children of a parent are sorted by their first word, so a binary search finds one, and no table
beside the level is needed. Where all n-grams of a level are sought at once, those of one parent are
sought together, in a table of its children by their first word. What is read next is asked for ahead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ngram.instructions import prefetch
from models.ngram.kernel import kernel
from models.ngram.levels import Level
from models.ngram.pool import Pool

ABSENT = np.uint32(0xFFFFFFFF)  # instead of an entry
FAR, NEAR = np.uint64(32), np.uint64(16)  # searches ahead: for the bounds of the children, and for their middle


def find(level: Level, parents: NDArray[np.uint32], words: NDArray[np.uint32], pool: Pool) -> NDArray[np.uint32]:
    """[n] uint32: the entry of each pair of parent and first word, or ABSENT; of an absent parent ABSENT."""
    entries = np.empty(len(words), np.uint32)
    pool.each(
        lambda part: find_pairs(level.starts, level.words, parents, words, entries, *part), pool.split(len(words))
    )
    return entries


def find_shifted(
    level: Level, below: Level, shifted: NDArray[np.uint32], vocabulary_size: int, pool: Pool
) -> NDArray[np.uint32]:
    """[entries of level]: where its n-grams stand in the level below without their last word.

    Args:
        level: Of order k.
        below: Of order k-1, the parents of the level.
        shifted: The same for the level below: [entries], where its n-grams stand in the level of order
            k-2 without their last word.
        vocabulary_size: Words are less than this.
        pool: The threads that search.
    """
    bounds = np.zeros(len(below.starts) + 1, np.uint32)
    families, entries = np.empty(len(below), np.uint32), np.empty(len(level), np.uint32)
    group(shifted, bounds, families)

    def find_part(part: tuple[int, int]) -> None:
        child_of = np.empty(vocabulary_size, np.uint32)
        find_families(level.starts, level.words, families, bounds, below.starts, below.words, child_of, entries, *part)

    pool.each(find_part, pool.parts(bounds[:-1].astype(np.int64)))
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
def group(numbers: NDArray[np.uint32], bounds: NDArray[np.uint32], places: NDArray[np.uint32]) -> None:
    """Where in an array each number stands, the numbers in order.

    Args:
        numbers: What to group.
        bounds: [numbers there can be, plus 2], all 0; then the number g's places are those from
            ``bounds[g]`` to ``bounds[g + 1]``.
        places: To hold the places.
    """
    for number in numbers:
        bounds[np.uint64(number) + np.uint64(2)] += np.uint32(1)
    for number in range(np.uint64(2), np.uint64(len(bounds))):
        bounds[number] += bounds[number - np.uint64(1)]
    for place in range(np.uint64(len(numbers))):
        number = np.uint64(numbers[place]) + np.uint64(1)
        places[np.uint64(bounds[number])] = np.uint32(place)
        bounds[number] += np.uint32(1)


@kernel
def find_families(
    starts: NDArray[np.int64],
    words: NDArray[np.uint32],
    families: NDArray[np.uint32],
    bounds: NDArray[np.uint32],
    below_starts: NDArray[np.int64],
    below_words: NDArray[np.uint32],
    child_of: NDArray[np.uint32],
    entries: NDArray[np.uint32],
    first: int,
    last: int,
) -> None:
    """Finds the children of families among those of the n-grams ``first`` to ``last``, where all of them are.

    Args:
        starts: Where the children of each family begin.
        words: Of the children.
        families: Those whose children are among an n-gram's, one n-gram after the other.
        bounds: Where those of each n-gram begin.
        below_starts: Where the n-grams' own children begin.
        below_words: Of those.
        child_of: [words], room for the child of an n-gram that has this first word.
        entries: To hold what is found.
    """
    final = np.uint64(len(families) - 1)
    for ngram in range(np.uint64(first), np.uint64(last)):
        for child in range(np.uint64(below_starts[ngram]), np.uint64(below_starts[ngram + np.uint64(1)])):
            child_of[below_words[child]] = np.uint32(child)
        for place in range(np.uint64(bounds[ngram]), np.uint64(bounds[ngram + np.uint64(1)])):
            prefetch(starts, np.uint64(families[min(place + FAR, final)]))
            near = np.uint64(starts[families[min(place + NEAR, final)]])
            prefetch(words, near)
            prefetch(entries, near)
            family = np.uint64(families[place])
            for entry in range(np.uint64(starts[family]), np.uint64(starts[family + np.uint64(1)])):
                entries[entry] = child_of[words[entry]]
