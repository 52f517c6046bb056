"""From word ids to the table of n-grams: the engine ``numba``.

Sorting is counting: equal n-grams come to lie side by side. The windows of the text are first dealt
into buckets by their last word, small enough for the cache and each of a range of words of its own;
then each bucket is sorted by a radix sort and its runs of equal windows are counted. Sorted from the
last word backwards, the n-grams of every lower order are the prefixes of the sorted keys: the levels
are written from the deepest up, each from the different keys of the one below.

A key holds a last part that is known already, as its place in its level, and as many words to the
left of it as 64 bits have room for. The first stage begins with the last word alone; where an order
needs more bits, a further stage begins with the n-grams that the one before has found. So no
vocabulary is too large for any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from models.ngram.counts import BOUNDARY, Counts, Level
from models.ngram.kernel import kernel
from models.ngram.pool import ALONE, Pool

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
    ends, counted = words, 1  # of each token: where its last `counted` words stand in their level
    room = np.empty(len(words), np.uint64)  # for the keys of one stage after the other: new memory is slow
    with Pool.of(threads) as pool:
        levels = [unigrams([words], vocabulary_size, pool)]
        while counted < order:
            stage = Stage.plan(levels[-1], vocabulary_size, counted, order)
            added, told = run_group(stage, [Piece(words, ends)], len(levels[-1]), (0, len(stage.bases)), pool, room)
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


def unigrams(pieces: Iterable[NDArray[np.uint32]], vocabulary_size: int, pool: Pool = ALONE) -> Level:
    """The level of order 1 of a text in pieces."""
    counts = np.zeros((pool.threads, vocabulary_size), np.uint32)
    for words in pieces:
        _tally_parts(words, counts, pool)
    total = counts.sum(axis=0, dtype=np.uint32)
    return Level(np.arange(vocabulary_size, dtype=np.uint32), total, np.array([0, vocabulary_size], np.int64))


def _tally_parts(words: NDArray[np.uint32], counts: NDArray[np.uint32], pool: Pool) -> None:
    """Each thread counts the words of a part in a row of its own."""
    parts = pool.split(len(words))
    pool.each(lambda number: tally(words[slice(*parts[number])], counts[number]), range(len(parts)))


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
        cells = windows_by_cell(level.words, level.counts, known > 1, np.uint64(shift))
        so_far = np.cumsum(cells)
        edges = bucket_edges(cells, np.int64(max(BUCKET_WINDOWS, int(so_far[-1]) // MOST_BUCKETS)))
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
            bounds=np.concatenate([[0], so_far[edges[1:] - 1]]),
            key_bits=np.array([words * bits + int(span).bit_length() for span in spans]),
        )


def run_group(
    stage: Stage,
    pieces: Iterable[Piece],
    known: int,
    buckets: tuple[int, int],
    pool: Pool,
    room: NDArray[np.uint64] | None = None,
) -> tuple[list[Level], NDArray[np.uint32] | None]:
    """Counts the windows of a range of buckets.

    Args:
        stage: What is counted.
        pieces: The whole text.
        known: N-grams in the level that the stage begins with.
        buckets: The first bucket, and the one after the last.
        pool: The threads that count.
        room: For the windows' keys; None for an array of their own.

    Returns:
        The levels that the stage adds, as if these buckets were all; and for each window of these
        buckets, in the order of the text, where its n-gram stands in the last level, or NO_NGRAM where
        it begins with ``<s>``. None in place of it where no stage follows.
    """
    bounds = stage.bounds[buckets[0] : buckets[1] + 1] - stage.bounds[buckets[0]]
    bases = np.append(stage.bases, known)[buckets[0] : buckets[1] + 1].astype(np.int64)
    group = Group(stage, bounds, bases - bases[0], stage.key_bits[buckets[0] : buckets[1]])
    windows = int(bounds[-1])
    keys = np.empty(windows, np.uint64) if room is None else room[:windows]
    origins = None if stage.last else np.empty(windows, np.uint32)
    _deal_windows(stage, pieces, buckets, bounds, keys, origins, pool)
    told = None if origins is None else np.empty(windows, np.uint32)
    whole = group.room(windows, int(group.bases[-1]))
    ranges = pool.parts(bounds)
    if len(ranges) == 1:
        sizes = _count_range(group, keys, origins, *ranges[0], whole)
        if origins is not None and told is not None:
            tell_ends(keys, origins, np.uint32(0), told)
    else:
        sizes = _count_ranges(group, keys, origins, ranges, whole, told, pool)
    return whole.levels(sizes, int(group.bases[-1])), told


def _count_ranges(
    group: Group,
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    ranges: Sequence[tuple[int, int]],
    whole: Entries,
    told: NDArray[np.uint32] | None,
    pool: Pool,
) -> NDArray[np.int64]:
    """Counts ranges of buckets side by side; gives how many entries each level has.

    Each thread counts in memory of its own, and moves what it has found to where the ranges before end.
    """
    most_windows = max(int(group.bounds[last] - group.bounds[first]) for first, last in ranges)
    most_parents = max(int(group.bases[last] - group.bases[first]) for first, last in ranges)
    rooms: SimpleQueue[Entries] = SimpleQueue()
    for _ in range(pool.threads):
        rooms.put(group.room(most_windows, most_parents))
    begins: list[Future[NDArray[np.int64]]] = [Future() for _ in range(len(ranges) + 1)]
    begins[0].set_result(np.zeros(group.stage.words, np.int64))

    def count_range(number: int) -> None:
        first, last = ranges[number]
        parents = int(group.bases[first])
        entries = rooms.get()
        try:
            sizes = _count_range(group, keys, origins, first, last, entries)
            begin = begins[number].result()  # ranges are begun in order: the one before is in work or done
            begins[number + 1].set_result(begin + sizes)
            whole.put(entries.levels(sizes, int(group.bases[last]) - parents), begin, parents)
        except BaseException as error:
            if not begins[number + 1].done():
                begins[number + 1].set_exception(error)  # else the next one waits for ever
            raise
        finally:
            rooms.put(entries)
        if origins is not None and told is not None:
            inside = slice(group.bounds[first], group.bounds[last])
            tell_ends(keys[inside], origins[inside], np.uint32(begin[-1]), told)

    pool.each(count_range, range(len(ranges)))
    return begins[-1].result()


@dataclass(frozen=True)
class Group:
    """Buckets that are counted together.

    Attributes:
        stage: What is counted.
        bounds: [buckets + 1] int64, where the windows of each begin.
        bases: [buckets + 1] int64, where the known n-grams of each begin, counted from the first one's.
        key_bits: [buckets] int64, bits that differ within the keys of each.
    """

    stage: Stage
    bounds: NDArray[np.int64]
    bases: NDArray[np.int64]
    key_bits: NDArray[np.int64]

    def room(self, windows: int, parents: int) -> Entries:
        """Memory for the entries of so many windows; of what is not needed the system gives no more than an address."""
        words, counts = (np.empty((self.stage.words, windows), np.uint32) for _ in range(2))
        deeper_starts = np.empty((self.stage.words - 1, windows + 1), np.int64)
        return Entries(words, counts, np.empty(parents + 1, np.int64), deeper_starts)


@dataclass(frozen=True)
class Entries:
    """Memory for the entries of the levels that a stage adds.

    Attributes:
        words: [levels, windows] uint32.
        counts: [levels, windows] uint32.
        starts: [known n-grams + 1] int64, of the first level.
        deeper_starts: [levels - 1, windows + 1] int64, of the others.
    """

    words: NDArray[np.uint32]
    counts: NDArray[np.uint32]
    starts: NDArray[np.int64]
    deeper_starts: NDArray[np.int64]

    def levels(self, sizes: NDArray[np.int64], parents: int) -> list[Level]:
        """The levels, with so many entries each, and so many parents of the first."""
        starts = [self.starts, *self.deeper_starts]
        return [
            Level(words[:size], counts[:size], its_starts[: above + 1])
            for words, counts, its_starts, size, above in zip(
                self.words, self.counts, starts, sizes, [parents, *sizes[:-1]], strict=True
            )
        ]

    def put(self, part: Sequence[Level], begins: NDArray[np.int64], parents: int) -> None:
        """Copies levels of some buckets to where their entries begin, with so many known n-grams before them."""
        starts = [self.starts, *self.deeper_starts]
        for place, (level, begin, above) in enumerate(zip(part, begins, [parents, *begins[:-1]], strict=True)):
            self.words[place, begin : begin + len(level)] = level.words
            self.counts[place, begin : begin + len(level)] = level.counts
            np.add(level.starts, begin, out=starts[place][above : above + len(level.starts)])


def _count_range(
    group: Group,
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    first: int,
    last: int,
    entries: Entries,
) -> NDArray[np.int64]:
    """Counts the buckets ``first`` to ``last`` as if they were all; gives how many entries each level has."""
    largest = int(np.diff(group.bounds[first : last + 1]).max())
    sizes = np.zeros(group.stage.words, np.int64)
    count_buckets(
        keys,
        origins,
        np.empty(largest, np.uint64),
        np.empty(largest, np.uint32),
        np.empty(largest if origins is not None else 0, np.uint32),
        group.bounds,
        group.bases,
        group.key_bits,
        np.uint64(group.stage.bits),
        np.uint64(first),
        np.uint64(last),
        entries.words,
        entries.counts,
        entries.starts[: int(group.bases[last] - group.bases[first]) + 1],
        entries.deeper_starts,
        sizes,
    )
    return sizes


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
    shift = np.uint64(stage.shift)
    offset = np.uint64(piece.first)
    parts = [(first + offset, last + offset) for first, last in pool.split(len(piece.words) - piece.first)]
    shares = np.zeros((len(parts) - 1, pool.threads, len(cursors)), np.uint64)  # of a part's windows, by thread

    def measure(number: int) -> None:
        part, share = divmod(number, pool.threads)
        first, last = parts[part]
        begin, end = pool.split(int(last - first))[share]
        bucket_sizes(piece.ends, stage.buckets, shift, only, shares[part, share], first + begin, first + end)

    pool.each(measure, range(len(shares) * pool.threads))
    sizes = np.zeros((len(parts), len(cursors)), np.uint64)  # of what lies in the parts before
    sizes[1:] = shares.sum(axis=1)
    part_cursors = np.cumsum(sizes, axis=0, dtype=np.uint64) + cursors
    arrivals = np.cumsum(sizes.sum(axis=1, dtype=np.uint64), dtype=np.uint64) + np.uint64(arrived)
    ends = None if piece.ends is piece.words else piece.ends

    def deal(number: int) -> np.uint64:
        first, last = parts[number]
        return deal_windows(
            piece.words,
            ends,
            stage.buckets,
            shift,
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
def bucket_edges(cells: NDArray[np.int64], target: np.int64) -> NDArray[np.int64]:
    """Where ranges of cells begin, and the end of the last: each of at most ``target`` windows, or of one cell."""
    edges = np.zeros(len(cells) + 1, np.int64)
    buckets, windows = np.uint64(0), np.int64(0)
    for cell in range(np.uint64(len(cells))):
        if cell and windows + cells[cell] > target:
            buckets += np.uint64(1)
            edges[buckets] = np.int64(cell)
            windows = np.int64(0)
        windows += cells[cell]
    edges[buckets + np.uint64(1)] = len(cells)
    return edges[: buckets + np.uint64(2)]


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


@kernel
def count_buckets(
    keys: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    spare: NDArray[np.uint64],
    run_sizes: NDArray[np.uint32],
    spare_origins: NDArray[np.uint32],
    bounds: NDArray[np.int64],
    bases: NDArray[np.int64],
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
        spare: Room for the keys of any one of the buckets; and so ``run_sizes``, and ``spare_origins`` for origins.
        words: [levels, windows], to hold the entries' first words.
        counts: [levels, windows], to hold their counts.
        starts: [known n-grams + 1], to hold where each one's entries in the first level begin.
        deeper_starts: [levels - 1, windows + 1], the same for the other levels.
        sizes: [levels], all 0; afterwards how many entries each has.
    """
    counters = np.empty((2, 1 << DIGIT_BITS), np.uint32)
    levels = np.uint64(len(sizes))
    deepest = levels - np.uint64(1)
    for row in range(deepest):
        deeper_starts[row, 0] = 0
    opened = np.uint64(0)  # known n-grams whose entries have begun
    for bucket in range(first, last):
        low, high = bounds[bucket], bounds[bucket + np.uint64(1)]
        if low == high:
            continue
        its_keys, its_spare, key_size = keys[low:high], spare[: high - low], np.uint64(key_bits[bucket])
        if origins is not None:
            moved = radix_sort(its_keys, its_spare, origins[low:high], spare_origins, key_size, counters)
        else:
            moved = radix_sort(its_keys, its_spare, None, None, key_size, counters)
        runs = count_runs(its_spare if moved else its_keys, its_spare, run_sizes)
        if origins is not None:
            note_entries(its_spare[:runs], run_sizes, bool(deepest > np.uint64(0)), bits, sizes[deepest], its_keys)
        for number in range(deepest):  # from the deepest level on
            level = deepest - number
            above = level - np.uint64(1)
            runs, sizes[level] = add_entries(
                its_spare[:runs],
                run_sizes,
                bool(above > np.uint64(0)),
                bits,
                words[level],
                counts[level],
                deeper_starts[above],
                np.uint64(sizes[level]),
                np.uint64(sizes[above]),
            )
        parent = np.uint64(bases[bucket] - bases[first])
        opened, sizes[0] = add_first_entries(
            its_spare[:runs], run_sizes, bits, words[0], counts[0], starts, opened, np.uint64(sizes[0]), parent
        )
    starts[opened:] = sizes[0]


@kernel
def radix_sort(
    keys: NDArray[np.uint64],
    spare: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    spare_origins: NDArray[np.uint32] | None,
    bits: np.uint64,
    counters: NDArray[np.uint32],
) -> bool:
    """Sorts keys by their low ``bits``, from the least significant digit on, and their origins with them.

    Gives whether the sorted keys lie in ``spare``; the origins are always where they were.
    """
    passes = (bits + np.uint64(DIGIT_BITS - 1)) // np.uint64(DIGIT_BITS)
    digit_bits = (bits + passes - np.uint64(1)) // passes
    mask = (np.uint64(1) << digit_bits) - np.uint64(1)
    counters[0, : mask + np.uint64(1)] = np.uint32(0)
    for key in keys:
        counters[0, key & mask] += np.uint32(1)
    for number in range(passes):
        shift, turn = number * digit_bits, number & np.uint64(1)
        digits, following = counters[turn], counters[np.uint64(1) - turn]
        if turn:
            radix_pass(spare, keys, spare_origins, origins, shift, digit_bits, digits, following)
        else:
            radix_pass(keys, spare, origins, spare_origins, shift, digit_bits, digits, following)
    moved = passes & np.uint64(1) != 0
    if moved and origins is not None and spare_origins is not None:
        origins[:] = spare_origins[: len(origins)]
    return bool(moved)


@kernel
def radix_pass(
    source: NDArray[np.uint64],
    target: NDArray[np.uint64],
    origins: NDArray[np.uint32] | None,
    target_origins: NDArray[np.uint32] | None,
    shift: np.uint64,
    digit_bits: np.uint64,
    counters: NDArray[np.uint32],
    following: NDArray[np.uint32],
) -> None:
    """Deals keys out by one digit, in a stable way, and counts the next digit on the way.

    Args:
        counters: How many keys have each digit; overwritten.
        following: To hold how many have each of the next one.
    """
    mask = (np.uint64(1) << digit_bits) - np.uint64(1)
    begin = np.uint32(0)
    for digit in range(mask + np.uint64(1)):
        size = counters[digit]
        counters[digit] = begin
        begin += size
        following[digit] = np.uint32(0)
    for place in range(np.uint64(len(source))):
        key = source[place]
        digit = (key >> shift) & mask
        position = counters[digit]
        counters[digit] = position + np.uint32(1)
        target[np.uint64(position)] = key
        following[(key >> shift >> digit_bits) & mask] += np.uint32(1)
        if origins is not None and target_origins is not None:
            target_origins[np.uint64(position)] = origins[place]


@kernel
def count_runs(keys: NDArray[np.uint64], different: NDArray[np.uint64], run_sizes: NDArray[np.uint32]) -> np.uint64:
    """Writes the different ones of sorted keys, which may lie in the same place, and the size of each one's run."""
    # Whether a key is new is a toss-up: the processor shall not guess, so a run is always written, and may go on.
    run = begin = np.uint64(0)
    key = keys[0]
    for place in range(np.uint64(1), np.uint64(len(keys))):
        following = keys[place]
        different[run] = key
        run_sizes[run] = np.uint32(place - begin)
        is_new = key != following
        run += np.uint64(is_new)
        begin = np.uint64(place) if is_new else begin
        key = following
    different[run] = key
    run_sizes[run] = np.uint32(np.uint64(len(keys)) - begin)
    return run + np.uint64(1)


@kernel
def add_entries(
    keys: NDArray[np.uint64],
    sizes: NDArray[np.uint32],
    deep: bool,
    bits: np.uint64,
    words: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    entry: np.uint64,
    parent: np.uint64,
) -> tuple[np.uint64, np.int64]:
    """Writes the entries of a level, and makes the different keys in order, with their sizes, those of the level above.

    Args:
        keys: They end with the word that this level adds.
        sizes: [keys], windows.
        deep: Whether the level above is not the first: then it lacks what has ``<s>`` before its first word.
        entry: The first to write.
        parent: The first entry that the level above will get from these keys.

    Returns:
        How many keys there are now, and the entry after the last.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    aboves = size_above = np.uint64(0)
    last_above = ~(keys[0] >> bits)
    for number in range(np.uint64(len(keys))):
        key, size = keys[number], np.uint64(sizes[number])
        above = key >> bits
        is_new = above != last_above
        last_above = above
        aboves += np.uint64(is_new)
        size_above = size if is_new else size_above + size
        keys[aboves - np.uint64(1)], sizes[aboves - np.uint64(1)] = above, np.uint32(size_above)
        parent += np.uint64(is_new & (not deep or (above >> bits) & mask != 0))
        words[entry], counts[entry] = np.uint32(key & mask), np.uint32(size)
        entry += np.uint64(above & mask != 0)  # nothing lies to the left of <s>
        starts[parent] = entry  # where the parent's entries end, as far as is known, and the next one's begin
    return aboves, np.int64(entry)


@kernel
def add_first_entries(
    keys: NDArray[np.uint64],
    sizes: NDArray[np.uint32],
    bits: np.uint64,
    words: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    opened: np.uint64,
    entry: np.uint64,
    parent: np.uint64,
) -> tuple[np.uint64, np.int64]:
    """Writes the entries of the level whose parents are the known n-grams.

    Args:
        keys: Different ones in order: a known n-gram, and the word before it.
        sizes: [keys], windows.
        opened: How many of the known n-grams have their start written.
        entry: The first to write.
        parent: The known n-gram that is a key's 0.

    Returns:
        How many known n-grams have their start written now, and the entry after the last.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    for number in range(np.uint64(len(keys))):
        while opened <= parent + (keys[number] >> bits):
            starts[opened] = entry
            opened += np.uint64(1)
        words[entry], counts[entry] = np.uint32(keys[number] & mask), sizes[number]
        entry += np.uint64(1)
    return opened, np.int64(entry)


@kernel
def note_entries(
    different: NDArray[np.uint64],
    run_sizes: NDArray[np.uint32],
    deep: bool,
    bits: np.uint64,
    entry: np.int64,
    entries: NDArray[np.uint64],
) -> None:
    """Writes the entry that each window of a bucket has in the last level; NO_NGRAM if from ``<s>`` on.

    Args:
        deep: Whether a key has more than one word after its known part.
        entry: The first that the bucket has in the last level.
        entries: [windows], to hold them.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    window = np.uint64(0)
    for run in range(np.uint64(len(different))):
        key = different[run]
        is_entry = not deep or (key >> bits) & mask != 0
        noted = np.uint64(entry) if is_entry and key & mask != 0 else np.uint64(NO_NGRAM)
        entry += np.int64(is_entry)
        for _ in range(run_sizes[run]):
            entries[window] = noted
            window += np.uint64(1)


@kernel
def tell_ends(
    entries: NDArray[np.uint64], origins: NDArray[np.uint32], begin: np.uint32, ends: NDArray[np.uint32]
) -> None:
    """Writes each window's entry, counted from ``begin`` on, where the window arrived in the order of the text."""
    for window in range(np.uint64(len(entries))):
        entry = np.uint32(entries[window])
        ends[origins[window]] = entry + begin if entry != NO_NGRAM else NO_NGRAM
