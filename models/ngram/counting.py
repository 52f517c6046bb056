"""From word ids to the table of n-grams: the engine ``numba``.

Sorting is counting: equal n-grams come to lie side by side. The windows of the text are first dealt
into buckets by their last word, small enough for the cache and each of a range of words of its own;
then each bucket is sorted by a radix sort and its runs of equal windows are counted. Sorted from the
last word backwards, the n-grams of every lower order are the prefixes of the sorted keys.

A key holds a last part that is known already, as its place in its level, and as many words to the
left of it as 64 bits have room for. The first stage begins with the last word alone; where an order
needs more bits, a further stage begins with the n-grams that the one before has found. So no
vocabulary is too large for any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ngram.counts import BOUNDARY, Counts, Level
from models.ngram.kernel import kernel
from models.ngram.pool import Pool

BUCKET_WINDOWS = 1 << 14  # keys of a bucket and their copy: 256 KiB, a quarter of a core's second-level cache
MOST_BUCKETS = 1 << 12  # written to side by side: more of them miss the caches while windows are dealt
MOST_CELLS = 1 << 17  # of the table that leads a window to its bucket
DIGIT_BITS = 12  # of a radix pass: its 4,096 counters fill half of a first-level cache
NO_NGRAM = np.uint32(0xFFFFFFFF)  # in place of an n-gram's index: nothing lies to the left of <s>


def count(ids: NDArray[np.int32], vocabulary_size: int, order: int, threads: int = 1) -> Counts:
    """Counts the n-grams of orders 1 to ``order``.

    Args:
        ids: [tokens] int32, each sentence closed by ``BOUNDARY``.
        vocabulary_size: Ids are less than this.
        order: The largest order, 1 to 6.
        threads: Cores to use; the table is the same for any number.

    Raises:
        ValueError: There is no token, or the last sentence is not closed.
    """
    check_ids(ids)
    words = ids.view(np.uint32)
    levels = [unigrams([words], vocabulary_size)]
    ends, counted = words, 1  # of each token: where its last `counted` words stand in their level
    room = np.empty(len(words), np.uint64)  # for the keys of one stage after the other: new memory is slow
    with Pool.of(threads) as pool:
        while counted < order:
            stage = Stage.plan(levels[-1], vocabulary_size, counted, order)
            parts, told = run_group(stage, [Piece(words, ends)], len(levels[-1]), (0, len(stage.bases)), pool, room)
            levels += [joined([part[place] for part in parts], pool) for place in range(stage.words)]
            counted += stage.words
            if told is not None:
                following = np.full(len(words), NO_NGRAM)
                following[ends != NO_NGRAM] = told
                ends = following
    return Counts(tuple(levels), len(ids))


def check_ids(ids: NDArray[np.int32]) -> None:
    """Refuses what is no text with a ValueError."""
    if not len(ids):
        raise ValueError("a text without a token has no n-grams")
    if ids[-1] != BOUNDARY:
        raise ValueError("the last sentence is not closed by the boundary's id, 0")


def unigrams(pieces: Iterable[NDArray[np.uint32]], vocabulary_size: int) -> Level:
    """The level of order 1 of a text in pieces."""
    counts = np.zeros(vocabulary_size, np.uint32)
    for words in pieces:
        tally(words, counts)
    return Level(np.arange(vocabulary_size, dtype=np.uint32), counts, np.array([0, vocabulary_size], np.int64))


@dataclass(frozen=True)
class Piece:
    """A stretch of a text.

    Attributes:
        words: [tokens] uint32, ids.
        ends: [tokens] uint32, where the n-gram that each token ends stands in the last level counted; or
            NO_NGRAM where that begins with ``<s>``.
        first: Tokens before this one are there to be looked back at only.
    """

    words: NDArray[np.uint32]
    ends: NDArray[np.uint32]
    first: int = 0


@dataclass(frozen=True)
class Stage:
    """How one sort is done: what its keys hold, and which bucket a window goes to.

    Attributes:
        known: Words at the end of a window that the stage before has counted.
        words: Words that this stage adds to the left of them.
        last: Whether no stage follows, so that nobody asks where a window's n-gram is.
        bits: Of an id.
        shift: An n-gram's cell is its index without this many low bits.
        buckets: [cells] uint16, the bucket of each cell.
        bases: [buckets] uint32, the first n-gram of each bucket.
        bounds: [buckets + 1] int64, where each bucket lies among the sorted windows.
        key_bits: [buckets] int64, bits that differ within the keys of a bucket.
    """

    known: int
    words: int
    last: bool
    bits: int
    shift: int
    buckets: NDArray[np.uint16]
    bases: NDArray[np.uint32]
    bounds: NDArray[np.int64]
    key_bits: NDArray[np.int64]

    @classmethod
    def plan(cls, level: Level, vocabulary_size: int, known: int, order: int) -> Stage:
        """The stage that goes on from a level.

        A bucket is a range of n-grams with about as many windows as fit the cache; one that is
        more frequent than that has a bucket of its own.
        """
        shift = max(0, len(level).bit_length() - MOST_CELLS.bit_length())
        so_far = np.cumsum(windows_by_cell(level.words, level.counts, known > 1, np.uint64(shift)))
        target = max(BUCKET_WINDOWS, int(so_far[-1]) // MOST_BUCKETS)
        edges = _edges(so_far, target)
        bases = edges[:-1] << shift
        spans = np.diff(np.minimum(edges << shift, len(level))) - 1  # what is added to a base, at most
        spans = np.maximum(spans, 0)
        bits = max(1, (vocabulary_size - 1).bit_length())
        widest = int(spans.max()).bit_length()
        words = min(order - known, max(1, (64 - widest) // bits))
        return cls(
            known=known,
            words=words,
            last=known + words == order,
            bits=bits,
            shift=shift,
            buckets=np.repeat(np.arange(len(bases), dtype=np.uint16), np.diff(edges)),
            bases=bases.astype(np.uint32),
            bounds=np.concatenate([[0], so_far[edges[1:] - 1]]),
            key_bits=np.array([words * bits + int(span).bit_length() for span in spans]),
        )


def _edges(so_far: NDArray[np.int64], target: int) -> NDArray[np.int64]:
    """Where ranges of cells begin, and the end of the last: each of at most ``target`` windows, or of one cell."""
    edges = [0]
    while edges[-1] < len(so_far):
        taken = so_far[edges[-1] - 1] if edges[-1] else 0
        edges.append(max(edges[-1] + 1, int(np.searchsorted(so_far, taken + target, side="right"))))
    return np.array(edges)


def run_group(
    stage: Stage,
    pieces: Iterable[Piece],
    known: int,
    buckets: tuple[int, int],
    pool: Pool,
    room: NDArray[np.uint64] | None = None,
) -> tuple[list[list[Level]], NDArray[np.uint32] | None]:
    """Counts the windows of a range of buckets.

    Args:
        stage: What is counted.
        pieces: The whole text.
        known: N-grams in the level that the stage begins with.
        buckets: The first bucket, and the one after the last.
        pool: The threads that count.
        room: For the windows' keys; None for an array of their own.

    Returns:
        Parts that follow each other, each with the levels that the stage adds; and for each window of
        these buckets, in the order of the text, where its n-gram stands among those of the last level,
        or NO_NGRAM where it begins with ``<s>``. None in place of it where no stage follows.
    """
    bounds = stage.bounds[buckets[0] : buckets[1] + 1] - stage.bounds[buckets[0]]
    windows = int(bounds[-1])
    keys = np.empty(windows, np.uint64) if room is None else room[:windows]
    origins = None if stage.last else np.empty(windows, np.uint32)
    _deal_windows(stage, pieces, buckets, bounds, keys, origins, pool)
    ranges = pool.parts(bounds)
    parts = pool.each(lambda part: _count_part(stage, keys, origins, bounds, known, buckets[0], *part), ranges)
    if origins is None:
        return parts, None
    told = np.empty(windows, np.uint32)
    begin = 0
    for (first, last), part in zip(ranges, parts, strict=True):
        inside = slice(bounds[first], bounds[last])
        tell_ends(keys[inside], origins[inside], np.uint32(begin), told)
        begin += len(part[-1])
    return parts, told


def _count_part(
    stage: Stage,
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    bounds: NDArray[np.int64],
    known: int,
    offset: int,
    first: int,
    last: int,
) -> list[Level]:
    """The n-grams of some buckets, ``first`` to ``last`` counted from ``offset``, as if they were all."""
    windows = int(bounds[last] - bounds[first])
    bases, key_bits = stage.bases[offset:], stage.key_bits[offset:]
    first_known, end_known = (int(bases[place]) if place < len(bases) else known for place in (first, last))
    # Of what is not needed of these, the system never gives more than an address.
    words, counts = (np.empty((stage.words, windows), np.uint32) for _ in range(2))
    starts = [np.empty(end_known - first_known + 1, np.int64)]
    deeper_starts = np.empty((stage.words - 1, windows + 1), np.int64)
    sizes = np.zeros(stage.words, np.int64)
    count_buckets(
        keys,
        origins,
        bounds,
        bases,
        key_bits,
        np.uint64(stage.bits),
        np.uint64(first),
        np.uint64(last),
        words,
        counts,
        starts[0],
        deeper_starts,
        sizes,
    )
    starts += [row[: size + 1] for row, size in zip(deeper_starts, sizes[:-1], strict=True)]
    return [Level(words[place, :size], counts[place, :size], starts[place]) for place, size in enumerate(sizes)]


def joined(parts: list[Level], pool: Pool) -> Level:
    """One level of levels that follow each other."""
    if len(parts) == 1:
        return parts[0]
    begins = np.cumsum([0, *map(len, parts)])
    parents = np.cumsum([0, *(len(part.starts) - 1 for part in parts)])
    whole = Level(np.empty(begins[-1], np.uint32), np.empty(begins[-1], np.uint32), np.empty(parents[-1] + 1, np.int64))
    whole.starts[-1] = begins[-1]

    def copy(number: int) -> None:
        part, entries = parts[number], slice(begins[number], begins[number + 1])
        whole.words[entries] = part.words
        whole.counts[entries] = part.counts
        np.add(part.starts[:-1], begins[number], out=whole.starts[parents[number] : parents[number + 1]])

    pool.each(copy, range(len(parts)))
    return whole


def _deal_windows(
    stage: Stage,
    pieces: Iterable[Piece],
    buckets: tuple[int, int],
    bounds: NDArray[np.int64],
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    pool: Pool,
) -> None:
    """Writes the key of each window of a range of buckets into its bucket, in the order of the text."""
    cursors, arrived = bounds[:-1].astype(np.uint64), 0
    for piece in pieces:
        cursors, arrived = _deal_piece(stage, piece, buckets, cursors, arrived, keys, origins, pool)


def _deal_piece(
    stage: Stage,
    piece: Piece,
    buckets: tuple[int, int],
    cursors: NDArray[np.uint64],
    arrived: int,
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    pool: Pool,
) -> tuple[NDArray[np.uint64], int]:
    """Deals the windows of one piece, each thread those of a part; gives where the cursors then stand."""
    table = (stage.buckets, np.uint64(stage.shift), np.uint64(buckets[0]), np.uint64(buckets[1]))
    layout = (np.uint64(stage.known), np.uint64(stage.words), np.uint64(stage.bits), stage.bases)
    offset = np.uint64(piece.first)
    parts = [(first + offset, last + offset) for first, last in pool.split(len(piece.words) - piece.first)]
    sizes = np.zeros((len(parts), len(cursors)), np.uint64)  # of what lies in the parts before

    def measure(number: int) -> None:
        bucket_sizes(piece.ends, *table, sizes[number + 1], *parts[number])

    pool.each(measure, range(len(parts) - 1))
    part_cursors = np.cumsum(sizes, axis=0, dtype=np.uint64) + cursors
    arrivals = np.cumsum(sizes.sum(axis=1, dtype=np.uint64), dtype=np.uint64) + np.uint64(arrived)

    def deal(number: int) -> np.uint64:
        into = (part_cursors[number], arrivals[number], keys, origins)
        return deal_windows(piece.words, piece.ends, *table, *layout, *into, *parts[number])

    return part_cursors[-1], int(pool.each(deal, range(len(parts)))[-1])


@kernel
def tally(words: NDArray[np.uint32], counts: NDArray[np.uint32]) -> None:
    """Counts how often each word occurs."""
    for word in words:
        counts[word] += np.uint32(1)


@kernel
def windows_by_cell(
    words: NDArray[np.uint32], counts: NDArray[np.uint32], deep: bool, shift: np.uint64
) -> NDArray[np.int64]:
    """[cells]: how often the n-grams of each cell occur; if ``deep``, what begins with ``<s>`` is left out.

    There is a cell at least, though there be no n-gram.
    """
    cells = np.zeros((max(np.uint64(len(words)), np.uint64(1)) - np.uint64(1) >> shift) + np.uint64(1), np.int64)
    for entry in range(np.uint64(len(words))):
        if not deep or words[entry] != 0:
            cells[entry >> shift] += counts[entry]
    return cells


@kernel
def bucket_sizes(
    ends: NDArray[np.uint32],
    buckets: NDArray[np.uint16],
    shift: np.uint64,
    first_bucket: np.uint64,
    last_bucket: np.uint64,
    sizes: NDArray[np.uint64],
    first: np.uint64,
    last: np.uint64,
) -> None:
    """Counts the windows of each bucket in a range that end at the tokens ``first`` to ``last``."""
    for token in range(first, last):
        if ends[token] != NO_NGRAM:
            bucket = np.uint64(buckets[ends[token] >> shift])
            if first_bucket <= bucket < last_bucket:
                sizes[bucket - first_bucket] += np.uint64(1)


@kernel
def deal_windows(
    words: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    buckets: NDArray[np.uint16],
    shift: np.uint64,
    first_bucket: np.uint64,
    last_bucket: np.uint64,
    known: np.uint64,
    added: np.uint64,
    bits: np.uint64,
    bases: NDArray[np.uint32],
    cursors: NDArray[np.uint64],
    arrived: np.uint64,
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    first: np.uint64,
    last: np.uint64,
) -> np.uint64:
    """Writes the key of each window of a range of buckets that ends at the tokens ``first`` to ``last``.

    A key: the n-gram known already, counted from its bucket's first; then the words before it, the
    nearest first. Before ``<s>`` there is nothing, written as ``<s>``. It goes where its bucket's
    cursor stands. Gives how many windows have arrived, with ``arrived`` of them before.
    """
    for token in range(first, last):
        end = ends[token]
        if end == NO_NGRAM:
            continue
        bucket = np.uint64(buckets[end >> shift])
        if bucket < first_bucket or bucket >= last_bucket:
            continue
        key = np.uint64(end - bases[bucket])
        word = np.uint32(1)
        for distance in range(known, known + added):
            word = words[token - distance] if word != 0 and distance <= token else np.uint32(0)
            key = (key << bits) | np.uint64(word)
        place = cursors[bucket - first_bucket]
        cursors[bucket - first_bucket] = place + np.uint64(1)
        keys[place] = key
        if origins is not None:
            origins[place] = np.uint32(arrived)
        arrived += np.uint64(1)
    return arrived


@kernel
def count_buckets(
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    bounds: NDArray[np.int64],
    bases: NDArray[np.uint32],
    key_bits: NDArray[np.int64],
    bits: np.uint64,
    first: np.uint64,
    last: np.uint64,
    words: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    deeper_starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """Sorts the buckets ``first`` to ``last``, and writes the entries of all levels that their keys add.

    With origins, the keys are then overwritten: each with its window's entry in the last level, or
    NO_NGRAM.

    Args:
        words: [levels, windows], to hold the entries' first words.
        counts: [levels, windows], to hold their counts.
        starts: [known n-grams + 1], to hold where each one's entries in the first level begin.
        deeper_starts: [levels - 1, windows + 1], the same for the other levels.
        sizes: [levels], all 0; afterwards how many entries each has.
    """
    largest = 0
    for bucket in range(first, last):
        largest = max(largest, bounds[bucket + np.uint64(1)] - bounds[bucket])
    spare = np.empty(largest, np.uint64)
    spare_origins = np.empty(largest if origins is not None else 0, np.uint32)
    run_ends = np.empty(largest, np.uint32)
    counters = np.empty(1 << DIGIT_BITS, np.uint32)
    levels = np.uint64(len(sizes))
    opened = np.zeros(levels, np.int64)  # parents of each level whose entries have begun
    for bucket in range(first, last):
        low, high = bounds[bucket], bounds[bucket + np.uint64(1)]
        if low == high:
            continue
        its_keys = keys[low:high]
        if origins is not None:
            radix_sort(its_keys, spare, origins[low:high], spare_origins, np.uint64(key_bits[bucket]), counters)
        else:
            radix_sort(its_keys, spare, None, None, np.uint64(key_bits[bucket]), counters)
        different = its_keys[: count_runs(its_keys, run_ends)]
        parent = np.int64(bases[bucket]) - np.int64(bases[first])
        for level in range(levels):
            entry = sizes[level]
            add_entries(
                different,
                run_ends,
                np.uint64(level),
                bits * (levels - np.uint64(1) - level),
                bits,
                parent,
                words[level],
                counts[level],
                starts if level == 0 else deeper_starts[level - np.uint64(1)],
                opened[level : level + np.uint64(1)],
                sizes[level : level + np.uint64(1)],
            )
            parent = entry
        if origins is not None:
            note_entries(its_keys, different, run_ends, bool(levels > np.uint64(1)), bits, parent)
    for level in range(levels):
        row = starts if level == 0 else deeper_starts[level - np.uint64(1)]
        parents = len(starts) - 1 if level == 0 else sizes[level - np.uint64(1)]
        row[opened[level] : parents + 1] = sizes[level]


@kernel
def radix_sort(
    keys: NDArray[np.uint64],
    spare: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    spare_origins: NDArray[np.uint32] | None,
    bits: np.uint64,
    counters: NDArray[np.uint32],
) -> None:
    """Sorts keys by their low ``bits``, from the least significant digit on, and their origins with them."""
    if len(keys) < 2:
        return
    size = len(keys)
    passes = (bits + np.uint64(DIGIT_BITS - 1)) // np.uint64(DIGIT_BITS)
    digit_bits = (bits + passes - np.uint64(1)) // passes
    for number in range(passes):
        if number & np.uint64(1):
            radix_pass(spare[:size], keys, spare_origins, origins, number * digit_bits, digit_bits, counters)
        else:
            radix_pass(keys, spare, origins, spare_origins, number * digit_bits, digit_bits, counters)
    if passes & np.uint64(1):
        keys[:] = spare[:size]
        if origins is not None and spare_origins is not None:
            origins[:] = spare_origins[:size]


@kernel
def radix_pass(
    source: NDArray[np.uint64],
    target: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    target_origins: NDArray[np.uint32] | None,
    shift: np.uint64,
    digit_bits: np.uint64,
    counters: NDArray[np.uint32],
) -> None:
    """Deals keys out by one digit, in a stable way."""
    mask = np.uint64((np.uint64(1) << digit_bits) - np.uint64(1))
    counters[: mask + np.uint64(1)] = np.uint32(0)
    for key in source:
        counters[(key >> shift) & mask] += np.uint32(1)
    begin = np.uint32(0)
    for digit in range(mask + np.uint64(1)):
        size = counters[digit]
        counters[digit] = begin
        begin += size
    for place in range(np.uint64(len(source))):
        key = source[place]
        digit = (key >> shift) & mask
        position = counters[digit]
        counters[digit] = position + np.uint32(1)
        target[np.uint64(position)] = key
        if origins is not None and target_origins is not None:
            target_origins[np.uint64(position)] = origins[place]


@kernel
def count_runs(keys: NDArray[np.uint64], run_ends: NDArray[np.uint32]) -> int:
    """Moves the different ones of sorted keys to the front, and tells where the run of each ends."""
    size = np.uint64(len(keys))
    if size == 0:
        return 0
    run = np.uint64(0)
    key = keys[0]
    for place in range(np.uint64(1), size):
        following = keys[place]
        keys[run] = key
        run_ends[run] = place
        run += np.uint64(key != following)
        key = following
    keys[run] = key
    run_ends[run] = size
    return int(run + np.uint64(1))


@kernel
def add_entries(
    keys: NDArray[np.uint64],
    run_ends: NDArray[np.uint32],
    level: np.uint64,
    low: np.uint64,
    bits: np.uint64,
    first_parent: np.int64,
    words: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    opened: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """Writes the entries that a bucket's different keys, in order, have in one of the levels.

    Args:
        level: Which, from 0 on.
        low: Bits of a key below the word that this level adds.
        first_parent: Of level 0 the n-gram that a key of 0 begins with; else the parent of the first key.
        opened: [1], how many parents have their start written.
        sizes: [1], how many entries there are.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    entries, parents = np.uint64(sizes[0]), np.uint64(opened[0])
    # Whether a key begins an entry is a toss-up: the processor shall not guess, so its numbers are always written.
    word = words[entries - np.uint64(1)] if entries else np.uint32(0)
    count = counts[entries - np.uint64(1)] if entries else np.uint32(0)
    parent = np.uint64(first_parent) - np.uint64(1)
    last_ngram = ~(keys[0] >> low)
    last_above = ~(keys[0] >> low >> bits)
    run_begin = np.uint32(0)
    for number in range(np.uint64(len(keys))):
        ngram = keys[number] >> low
        above = ngram >> bits
        size = run_ends[number] - run_begin
        run_begin = run_ends[number]
        alive = np.uint64(1)
        if level == 0:
            parent = np.uint64(first_parent) + above
            while parents <= parent:
                starts[parents] = entries
                parents += np.uint64(1)
        else:
            is_entry = level == np.uint64(1) or (above >> bits) & mask != 0
            if is_entry and above != last_above:
                parent += np.uint64(1)
                starts[parent] = entries
            last_above = above
            alive = np.uint64(above & mask != 0)  # nothing lies to the left of <s>
        is_new = alive & np.uint64(ngram != last_ngram)
        last_ngram = ngram
        entries += is_new
        count = (np.uint32(0) if is_new else count) + (size if alive else np.uint32(0))
        word = np.uint32(ngram & mask) if alive else word
        place = entries - np.uint64(entries > 0)
        words[place], counts[place] = word, count
    sizes[0] = entries
    opened[0] = parents if level == 0 else parent + np.uint64(1)


@kernel
def note_entries(
    keys: NDArray[np.uint64],
    different: NDArray[np.uint64],
    run_ends: NDArray[np.uint32],
    deep: bool,
    bits: np.uint64,
    entry: np.int64,
) -> None:
    """Overwrites a bucket's keys with the entry that each window has in the last level; NO_NGRAM if from ``<s>`` on.

    From the last run back, so that no different key is overwritten before it has been read.

    Args:
        deep: Whether a key has more than one word after its known part.
        entry: The first that the bucket has in the last level.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    for key in different:
        entry += np.int64(not deep or (key >> bits) & mask != 0)
    for run in range(len(different) - 1, -1, -1):
        key = different[run]
        is_entry = not deep or (key >> bits) & mask != 0
        entry -= np.int64(is_entry)
        noted = np.uint64(entry) if is_entry and key & mask != 0 else np.uint64(NO_NGRAM)
        for window in range(run_ends[run - 1] if run else np.uint32(0), run_ends[run]):
            keys[window] = noted


@kernel
def tell_ends(
    entries: NDArray[np.uint64], origins: NDArray[np.uint32], begin: np.uint32, ends: NDArray[np.uint32]
) -> None:
    """Writes each window's entry, counted from ``begin`` on, where the window arrived in the order of the text."""
    for window in range(np.uint64(len(entries))):
        entry = np.uint32(entries[window])
        ends[origins[window]] = entry + begin if entry != NO_NGRAM else NO_NGRAM
