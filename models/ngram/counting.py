"""From word ids to the table of n-grams: the engine ``numba``.

Sorting is counting: equal n-grams come to lie side by side. The windows of the text are first dealt
into buckets by their last word, small enough for the cache and each of a range of words of its own;
then each bucket is sorted, and its runs of equal windows are counted (``sorting.py``). Sorted from the
last word backwards, the n-grams of every lower order are the prefixes of the sorted keys: the levels
are written from the deepest up, each from the different keys of the one below.

A key holds a last part that is known already, as its place in its level, and as many words to the
left of it as 64 bits have room for. The first stage begins with the last word alone; where an order
needs more bits, a further stage begins with the n-grams that the one before has found. So no
vocabulary is too large for any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ngram.counting_progress import Progress, Step
from models.ngram.instructions import prefetch
from models.ngram.kernel import kernel
from models.ngram.levels import BOUNDARY, Counts, Level
from models.ngram.pool import ALONE, Pool
from models.ngram.sorting import NO_NGRAM, Buckets, count_windows

BUCKET_WINDOWS = 1 << 14  # keys of a bucket and their copy: 256 KiB, a quarter of a core's second-level cache
MOST_BUCKETS = 1 << 12  # written to side by side: more of them miss the caches while windows are dealt
MOST_CELLS = 1 << 17  # of the table that leads a window to its bucket
KEYS_AHEAD = np.uint64(8)  # in the next cache line of its bucket: no processor foresees where so many buckets go on


def count(
    ids: NDArray[np.int32], vocabulary_size: int, order: int, threads: int = 1, progress: Progress | None = None
) -> Counts:
    """Counts the n-grams of orders 1 to ``order``.

    Args:
        ids: [tokens] int32, each sentence closed by ``BOUNDARY``.
        vocabulary_size: Ids are less than this.
        order: The largest order, 1 to 6.
        threads: Cores to use; the table is the same for any number.
        progress: Told how many tokens are counted; from any thread.

    Raises:
        ValueError: There is no token, or the last sentence is not closed.
    """
    check_ids(ids)
    words = ids.view(np.uint32)
    ends, counted = words, 1  # of each token: where its last `counted` words stand in their level
    room = np.empty(len(words), np.uint64)  # for the keys of one stage after the other: new memory is slow
    with Pool.of(threads) as pool:
        tallies = tally([words], vocabulary_size, pool)
        levels = [unigrams(tallies)]
        while counted < order:
            stage = Stage.plan(levels[-1], len(ids), vocabulary_size, counted, order)
            piece = Piece(words, ends, tallies=tallies if counted == 1 else None)
            step = Step(len(ids), (stage.known - 1) / (order - 1), stage.words / (order - 1), progress)
            added, told = run_group(stage, [piece], len(levels[-1]), (0, len(stage.bases)), pool, step, room)
            levels += added
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


def tally(pieces: Iterable[NDArray[np.uint32]], vocabulary_size: int, pool: Pool = ALONE) -> NDArray[np.uint32]:
    """[threads, vocabulary] uint32: how often each word occurs in what a thread has had of each piece of a text."""
    tallies = np.zeros((pool.threads, vocabulary_size), np.uint32)
    for words in pieces:
        parts = [words[first:last] for first, last in pool.split(len(words))]
        pool.each(lambda part: tally_words(*part), zip(parts, tallies, strict=True))
    return tallies


def unigrams(tallies: NDArray[np.uint32]) -> Level:
    """The level of order 1 of a text."""
    total = tallies.sum(axis=0, dtype=np.uint32)
    return Level(np.arange(len(total), dtype=np.uint32), total, np.array([0, len(total)], np.int64))


@dataclass(frozen=True)
class Piece:
    """A stretch of a text.

    Attributes:
        words: [tokens] uint32, ids.
        ends: [tokens] uint32, where the n-gram that each token ends stands in the last level counted; or
            NO_NGRAM where that begins with ``<s>``.
        first: Tokens before this one are there to be looked back at only.
        tallies: [threads, n-grams] uint32, how often each n-gram ends in each part, as the pool splits the
            piece; None where that is to be found out.
    """

    words: NDArray[np.uint32]
    ends: NDArray[np.uint32]
    first: int = 0
    tallies: NDArray[np.uint32] | None = None


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
    def plan(cls, level: Level, tokens: int, vocabulary_size: int, known: int, order: int) -> Stage:
        """The stage that goes on from a level.

        A bucket is a range of n-grams with about as many windows as fit the cache; one that is
        more frequent than that has a bucket of its own.
        """
        shift = max(0, len(level).bit_length() - MOST_CELLS.bit_length())
        most_windows = max(BUCKET_WINDOWS, tokens // MOST_BUCKETS)
        cells = (max(len(level), 1) - 1 >> shift) + 1
        edges, sizes = np.empty(cells + 1, np.int64), np.empty(cells, np.int64)
        buckets = fill_buckets(
            level.words, level.counts, known > 1, np.uint64(shift), np.uint64(most_windows), edges, sizes
        )
        edges, sizes = edges[: buckets + 1], sizes[:buckets]
        bases = edges[:-1] << shift
        spans = np.diff(np.minimum(edges << shift, len(level))) - 1  # what is added to a base, at most
        spans = np.maximum(spans, 0)
        bits = max(1, (vocabulary_size - 1).bit_length())
        widest = int(spans.max()).bit_length()
        most = max(1, (64 - widest) // bits)
        stages = -(-(order - known) // most)
        words = -(-(order - known) // stages)  # as many in one stage as in the other: short keys sort faster
        return cls(
            known=known,
            words=words,
            last=known + words == order,
            bits=bits,
            shift=shift,
            buckets=np.repeat(np.arange(len(bases), dtype=np.uint16), np.diff(edges)),
            bases=bases.astype(np.uint32),
            bounds=np.concatenate([[0], np.cumsum(sizes)]),
            key_bits=np.array([words * bits + int(span).bit_length() for span in spans]),
        )


def run_group(
    stage: Stage,
    pieces: Iterable[Piece],
    known: int,
    buckets: tuple[int, int],
    pool: Pool,
    step: Step,
    room: NDArray[np.uint64] | None = None,
) -> tuple[list[Level], NDArray[np.uint32] | None]:
    """Counts the windows of a range of buckets.

    Args:
        stage: What is counted.
        pieces: The whole text.
        known: N-grams in the level that the stage begins with.
        buckets: The first bucket, and the one after the last.
        pool: The threads that count.
        step: Told how far it is.
        room: For the windows' keys; None for an array of their own.

    Returns:
        The levels that the stage adds, as if these buckets were all; and for each window of these
        buckets, in the order of the text, where its n-gram stands in the last level, or NO_NGRAM where
        it begins with ``<s>``. None in place of it where no stage follows.
    """
    bounds = stage.bounds[buckets[0] : buckets[1] + 1] - stage.bounds[buckets[0]]
    bases = np.append(stage.bases, known)[buckets[0] : buckets[1] + 1].astype(np.int64)
    windows = int(bounds[-1])
    keys = np.empty(windows, np.uint64) if room is None else room[:windows]
    origins = None if stage.last else np.empty(windows, np.uint32)
    _deal_windows(stage, pieces, buckets, bounds, keys, origins, pool)
    told = None if origins is None else np.empty(windows, np.uint32)
    key_bits = stage.key_bits[buckets[0] : buckets[1]]
    dealt = Buckets(keys, bounds, bases - bases[0], key_bits, np.uint64(stage.bits))
    before = int(stage.bounds[buckets[0]])
    return count_windows(dealt, stage.words, origins, told, pool, lambda windows: step.told(before + windows)), told


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
    everything = buckets == (0, len(stage.bases))
    only = None if everything else (np.uint64(buckets[0]), np.uint64(buckets[1]))  # a window is not asked needlessly
    offset = np.uint64(piece.first)
    parts = [(first + offset, last + offset) for first, last in pool.split(len(piece.words) - piece.first)]
    sizes = np.zeros((len(parts), len(cursors)), np.uint64)  # of what lies in the parts before
    sizes[1:] = _bucket_sizes(stage, piece, parts[:-1], only, len(cursors), pool)
    part_cursors = np.cumsum(sizes, axis=0, dtype=np.uint64) + cursors
    arrivals = np.cumsum(sizes.sum(axis=1, dtype=np.uint64), dtype=np.uint64) + np.uint64(arrived)
    ends = None if piece.ends is piece.words else piece.ends

    def deal(number: int) -> np.uint64:
        first, last = parts[number]
        return deal_windows(
            piece.words,
            ends,
            stage.buckets,
            np.uint64(stage.shift),
            only,
            np.uint64(stage.known),
            np.uint64(stage.words),
            np.uint64(stage.bits),
            stage.bases,
            part_cursors[number],
            arrivals[number],
            keys,
            origins,
            first,
            last,
        )

    return part_cursors[-1], int(pool.each(deal, range(len(parts)))[-1])


def _bucket_sizes(
    stage: Stage,
    piece: Piece,
    parts: Sequence[tuple[np.uint64, np.uint64]],
    only: tuple[np.uint64, np.uint64] | None,
    buckets: int,
    pool: Pool,
) -> NDArray[np.uint64]:
    """[parts, buckets]: windows of each bucket that end in each part of a piece."""
    sizes = np.empty((len(parts), buckets), np.uint64)
    if piece.tallies is not None:
        np.add.reduceat(piece.tallies[: len(parts)], stage.bases.astype(np.int64), axis=1, out=sizes)
        return sizes
    shares = np.zeros((len(parts), pool.threads, buckets), np.uint64)  # of a part, by thread

    def measure(number: int) -> None:
        part, share = divmod(number, pool.threads)
        first, last = parts[part]
        begin, end = pool.split(int(last - first))[share]
        its_sizes = shares[part, share]
        bucket_sizes(piece.ends, stage.buckets, np.uint64(stage.shift), only, its_sizes, first + begin, first + end)

    pool.each(measure, range(len(parts) * pool.threads))
    return np.sum(shares, axis=1, out=sizes)


@kernel
def tally_words(words: NDArray[np.uint32], counts: NDArray[np.uint32]) -> None:
    """Counts how often each word occurs."""
    for word in words:
        counts[word] += np.uint32(1)


@kernel
def fill_buckets(
    words: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    deep: bool,
    shift: np.uint64,
    most: np.uint64,
    edges: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> np.uint64:
    """Gives cells to buckets in order: each has at most so many windows, or one cell. Gives how many buckets there are.

    There is a cell at least, though there be no n-gram. If ``deep``, what begins with ``<s>`` is left out.

    Args:
        edges: [cells + 1], to hold the first cell of each bucket, and the end of the last.
        sizes: [cells], to hold the windows of each bucket.
    """
    zero, one, entries, cells = np.uint64(0), np.uint64(1), np.uint64(len(words)), np.uint64(len(sizes))
    buckets = windows = zero
    edges[0] = 0
    for cell in range(cells):
        more = zero
        for entry in range(cell << shift, min((cell + one) << shift, entries)):
            if not deep or words[entry] != 0:
                more += np.uint64(counts[entry])
        if cell and windows + more > most:
            sizes[buckets] = windows
            buckets += one
            edges[buckets] = cell
            windows = zero
        windows += more
    sizes[buckets] = windows
    buckets += one
    edges[buckets] = cells
    return buckets


@kernel
def bucket_sizes(
    ends: NDArray[np.uint32],
    buckets: NDArray[np.uint16],
    shift: np.uint64,
    only: tuple[np.uint64, np.uint64] | None,
    sizes: NDArray[np.uint64],
    first: np.uint64,
    last: np.uint64,
) -> None:
    """Counts the windows of each bucket in a range that end at the tokens ``first`` to ``last``; see below."""
    for token in range(first, last):
        if ends[token] != NO_NGRAM:
            bucket = np.uint64(buckets[ends[token] >> shift])
            if only is None:
                sizes[bucket] += np.uint64(1)
            elif only[0] <= bucket < only[1]:
                sizes[bucket - only[0]] += np.uint64(1)


@kernel
def deal_windows(
    words: NDArray[np.uint32],
    ends: NDArray[np.uint32] | None,
    buckets: NDArray[np.uint16],
    shift: np.uint64,
    only: tuple[np.uint64, np.uint64] | None,
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
    cursor stands. Gives how many windows have arrived, with ``arrived`` of them before, where origins are asked for.

    Args:
        only: The first bucket of the range, and the one after its last; None for all buckets.
        ends: As in a piece; None for ``words``, where these are all that is known.
    """
    room, top = added * bits, (added - np.uint64(1)) * bits
    ahead = known - np.uint64(1)  # words between a token and the first of its context
    begin = max(first, ahead)
    context = np.uint64(0)
    for token in range(begin - min(begin - ahead, added), begin):
        context = context_after(np.uint64(words[token - ahead]), context, top, bits)
    for token in range(begin, last):
        end = words[token] if ends is None else ends[token]
        if ends is None or end != NO_NGRAM:
            bucket = np.uint64(buckets[end >> shift])
            if only is None or only[0] <= bucket < only[1]:
                cursor = bucket if only is None else bucket - only[0]
                place = cursors[cursor]
                cursors[cursor] = place + np.uint64(1)
                keys[place] = (np.uint64(end - bases[bucket]) << room) | context
                prefetch(keys, place + KEYS_AHEAD)
                if origins is not None:
                    origins[place] = np.uint32(arrived)
                    arrived += np.uint64(1)
        nearest = end if ends is None else words[token - ahead]
        context = context_after(np.uint64(nearest), context, top, bits)
    return arrived


@kernel
def context_after(word: np.uint64, context: np.uint64, top: np.uint64, bits: np.uint64) -> np.uint64:
    """The words before a token, the nearest highest, once that is passed: the farthest one is lost."""
    return (word << top) | (context >> bits) if word != BOUNDARY else np.uint64(0)
