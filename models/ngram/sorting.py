"""From keys in buckets to the entries of the levels: each bucket is sorted, and its runs of equal keys are counted.

Threads take the next bucket that none has begun. Where its entries belong is known once all buckets
before it have been sorted; a bucket that is sorted before that is left, and written when all are. So
no thread ever waits for another.

Kernels copy and add in loops: an expression of whole arrays takes a second or two to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.ngram.instructions import add, exchange
from models.ngram.kernel import kernel
from models.ngram.levels import Level
from models.ngram.pool import Pool

DIGIT_BITS = 12  # of a radix pass: its 4,096 counters fill half of a first-level cache
BUCKETS_AT_ONCE = 64  # by a thread, before it tells how far it is: some 20 ms
NO_NGRAM = np.uint32(0xFFFFFFFF)  # in place of an n-gram's index: nothing lies to the left of <s>
ITEM, ONE = np.uint64(0), np.uint64(1)  # of an array of one item


class Buckets(NamedTuple):
    """Windows, dealt into buckets.

    A key's known part is the n-gram, counted from its bucket's first, that a stage before has counted.

    Attributes:
        keys: [windows] uint64, a known n-gram, then the words before it, the nearest first.
        bounds: [buckets + 1] int64, where the windows of each begin.
        bases: [buckets + 1] int64, where the known n-grams of each begin, counted from the first one's.
        key_bits: [buckets] int64, bits that differ within the keys of each.
        bits: Of a word.
    """

    keys: NDArray[np.uint64]
    bounds: NDArray[np.int64]
    bases: NDArray[np.int64]
    key_bits: NDArray[np.int64]
    bits: np.uint64


class Entries(NamedTuple):
    """Memory for the entries of the levels that a stage adds; what is not needed gets no more than an address.

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

    @classmethod
    def of(cls, levels: int, windows: int, parents: int) -> Entries:
        """Room for what so many windows can add to so many known n-grams."""
        words, counts = (np.empty((levels, windows), np.uint32) for _ in range(2))
        return cls(words, counts, np.empty(parents + 1, np.int64), np.empty((levels - 1, windows + 1), np.int64))

    def levels(self, sizes: NDArray[np.int64]) -> list[Level]:
        """The levels, with so many entries each."""
        starts = [self.starts, *self.deeper_starts]
        parents = [len(self.starts) - 1, *sizes[:-1]]
        return [
            Level(words[:size], counts[:size], its_starts[: above + 1])
            for words, counts, its_starts, size, above in zip(
                self.words, self.counts, starts, sizes, parents, strict=True
            )
        ]


class Spare(NamedTuple):
    """Memory that a thread sorts in: as much as its largest bucket takes.

    Attributes:
        keys: [windows] uint64.
        run_sizes: [windows] uint32.
        origins: [windows] uint32; none where no origins are asked for.
        counters: [2, digits] uint32, of a radix pass and of the next.
    """

    keys: NDArray[np.uint64]
    run_sizes: NDArray[np.uint32]
    origins: NDArray[np.uint32]
    counters: NDArray[np.uint32]

    @classmethod
    def of(cls, windows: int, with_origins: bool) -> Spare:
        """Room for a bucket of so many windows."""
        origins = np.empty(windows if with_origins else 0, np.uint32)
        counters = np.empty((2, 1 << DIGIT_BITS), np.uint32)
        return cls(np.empty(windows, np.uint64), np.empty(windows, np.uint32), origins, counters)


class Line(NamedTuple):
    """How far threads are that share buckets.

    Attributes:
        begun: [1] uint64, buckets that some thread has taken.
        sizes: [buckets, levels] int64, entries of each.
        sized: [buckets] uint64, 1 where those are known.
        begins: [buckets + 1, levels] int64, where the entries of each begin.
        known: [1] uint64, buckets, from the first on, of which all are sized.
        locked: [1] uint64, 1 while a thread finds out where buckets begin.
        written: [buckets] bool, whether its entries are in their place.
    """

    begun: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    sized: NDArray[np.uint64]
    begins: NDArray[np.int64]
    known: NDArray[np.uint64]
    locked: NDArray[np.uint64]
    written: NDArray[np.bool_]

    @classmethod
    def of(cls, buckets: int, levels: int) -> Line:
        """Of buckets that nobody has begun."""
        begun, known, locked = np.zeros((3, 1), np.uint64)
        sizes, begins = np.zeros((buckets, levels), np.int64), np.zeros((buckets + 1, levels), np.int64)
        return cls(begun, sizes, np.zeros(buckets, np.uint64), begins, known, locked, np.zeros(buckets, np.bool_))


def count_windows(
    buckets: Buckets,
    levels: int,
    origins: NDArray[np.uint32] | None,
    told: NDArray[np.uint32] | None,
    pool: Pool,
    progress: Callable[[int], None],
) -> list[Level]:
    """Counts the windows of some buckets as if these were all.

    Args:
        buckets: Their keys are overwritten.
        levels: To add: words before the known part of each key.
        origins: [windows], where each key's window arrived in the order of the text; overwritten. None if
            no stage follows.
        told: [windows], to hold in that order where the window's n-gram stands in the last level, or
            NO_NGRAM where it begins with ``<s>``. None as above.
        pool: The threads that count.
        progress: Told how many windows are counted; from any thread.
    """
    entries = Entries.of(levels, len(buckets.keys), int(buckets.bases[-1]))
    line = Line.of(len(buckets.key_bits), levels)
    largest = int(np.diff(buckets.bounds).max())
    spares = [Spare.of(largest, origins is not None) for _ in range(pool.threads)]

    def sort(spare: Spare) -> None:
        while sort_buckets(buckets, origins, told, line, entries, spare, BUCKETS_AT_ONCE):
            progress(int(buckets.bounds[min(int(line.begun[0]), len(buckets.key_bits))]))

    pool.each(sort, spares)
    line.begins[1:] = np.cumsum(line.sizes, axis=0)
    line.begun[0] = 0
    pool.each(lambda spare: write_left(buckets, origins, told, line, entries, spare), spares)
    entries.starts[-1] = line.begins[-1, 0]
    return entries.levels(line.begins[-1])


@kernel
def sort_buckets(
    buckets: Buckets,
    origins: NDArray[np.uint32] | None,
    told: NDArray[np.uint32] | None,
    line: Line,
    entries: Entries,
    spare: Spare,
    most: int,
) -> bool:
    """Sorts buckets until all are begun or so many done, and writes the entries of those whose place is known by then.

    Gives whether there may be more.
    """
    for _ in range(most):
        bucket = add(line.begun, ITEM, ONE)
        if bucket >= np.uint64(len(buckets.key_bits)):
            return False
        low, high = buckets.bounds[bucket], buckets.bounds[bucket + ONE]
        keys, spare_keys = buckets.keys[low:high], spare.keys[: high - low]
        its_origins = None if origins is None else origins[low:high]
        spare_origins = None if origins is None else spare.origins
        key_bits = np.uint64(buckets.key_bits[bucket])
        moved = radix_sort(keys, spare_keys, its_origins, spare_origins, key_bits, spare.counters)
        ordered, different = (spare_keys, keys) if moved else (keys, spare_keys)
        runs = count_runs(ordered, different, spare.run_sizes)
        its_turn = add(line.known, ITEM, np.uint64(0)) == bucket  # then its entries are counted as they are written
        if not its_turn:
            measure_levels(different[:runs], buckets.bits, line.sizes[bucket])
        if its_turn or line_up(line, bucket):
            write_bucket(bucket, different[:runs], spare.run_sizes, its_origins, told, buckets, line, entries)
        elif moved:
            for place in range(np.uint64(len(keys))):
                keys[place] = spare_keys[place]
        if its_turn:
            line_up(line, bucket)
    return True


@kernel
def write_left(
    buckets: Buckets,
    origins: NDArray[np.uint32] | None,
    told: NDArray[np.uint32] | None,
    line: Line,
    entries: Entries,
    spare: Spare,
) -> None:
    """Writes the entries of the buckets that were sorted before their place was known."""
    bucket = add(line.begun, ITEM, ONE)
    while bucket < np.uint64(len(buckets.key_bits)):
        if not line.written[bucket]:
            low, high = buckets.bounds[bucket], buckets.bounds[bucket + ONE]
            runs = count_runs(buckets.keys[low:high], spare.keys, spare.run_sizes)
            its_origins = None if origins is None else origins[low:high]
            write_bucket(bucket, spare.keys[:runs], spare.run_sizes, its_origins, told, buckets, line, entries)
        bucket = add(line.begun, ITEM, ONE)


@kernel
def line_up(line: Line, bucket: np.uint64) -> bool:
    """Makes it known that a bucket's sizes are, and gives whether those of all before it are."""
    add(line.sized, bucket, ONE)
    if not exchange(line.locked, ITEM, ONE):  # else another thread is at it, and this bucket may be left
        known = line.known[ITEM]
        while known < np.uint64(len(line.sized)) and add(line.sized, known, np.uint64(0)):
            for level in range(np.uint64(line.sizes.shape[1])):
                line.begins[known + ONE, level] = line.begins[known, level] + line.sizes[known, level]
            known += ONE
        exchange(line.known, ITEM, known)
        exchange(line.locked, ITEM, np.uint64(0))
    return bool(bucket <= add(line.known, ITEM, np.uint64(0)))


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

    There are as many spare keys as keys.

    Gives whether the sorted keys lie in ``spare``; the origins are always where they were.
    """
    passes = (bits + np.uint64(DIGIT_BITS - 1)) // np.uint64(DIGIT_BITS)
    digit_bits = (bits + passes - np.uint64(1)) // passes
    mask = (np.uint64(1) << digit_bits) - np.uint64(1)
    for digit in range(mask + np.uint64(1)):
        counters[0, digit] = np.uint32(0)
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
        for place in range(np.uint64(len(origins))):
            origins[place] = spare_origins[place]
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
    if not len(keys):
        return run
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
def measure_levels(different: NDArray[np.uint64], bits: np.uint64, sizes: NDArray[np.int64]) -> None:
    """Finds out how many entries each level gets from the different keys of a bucket, in order.

    Args:
        sizes: [levels], to hold that.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    levels = np.uint64(len(sizes))
    for level in range(levels):
        shift = (levels - np.uint64(1) - level) * bits
        always = np.uint64(level == 0)  # is there an entry; a deeper level has none to the left of <s>
        size = np.uint64(0)
        for run in range(np.uint64(len(different))):
            ngram = different[run] >> shift
            is_new = run == 0 or ngram != different[run - ONE] >> shift
            size += np.uint64(is_new & (((ngram >> bits) & mask | always) != 0))
        sizes[level] = size


@kernel
def write_bucket(
    bucket: np.uint64,
    different: NDArray[np.uint64],
    run_sizes: NDArray[np.uint32],
    origins: NDArray[np.uint32] | None,
    told: NDArray[np.uint32] | None,
    buckets: Buckets,
    line: Line,
    entries: Entries,
) -> None:
    """Writes the entries of all levels that the keys of a bucket add, and how many these are.

    Nothing is written where those of another bucket belong: that may have been written before.

    Args:
        different: [runs], its different keys in order; overwritten.
        run_sizes: [runs] or more, windows of each; overwritten.
        origins: [windows], of the sorted keys.
    """
    begins, runs = line.begins[bucket], np.uint64(len(different))
    deepest = np.uint64(len(begins)) - ONE
    if origins is not None and told is not None:
        tell_ends(different, run_sizes, bool(deepest > 0), buckets.bits, begins[deepest], origins, told)
    for number in range(deepest):  # from the deepest level on
        level = deepest - number
        above = level - ONE
        runs, end = add_entries(
            different[:runs],
            run_sizes,
            bool(above > 0),
            buckets.bits,
            entries.words[level],
            entries.counts[level],
            entries.deeper_starts[above],
            np.uint64(begins[level]),
            np.uint64(begins[above]),
        )
        line.sizes[bucket, level] = np.int64(end) - begins[level]
    line.sizes[bucket, 0] = runs
    parents = np.uint64(buckets.bases[bucket]), np.uint64(buckets.bases[bucket + ONE])
    add_first_entries(
        different[:runs],
        run_sizes,
        buckets.bits,
        entries.words[0],
        entries.counts[0],
        entries.starts,
        np.uint64(begins[0]),
        *parents,
    )
    line.written[bucket] = True


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
) -> tuple[np.uint64, np.uint64]:
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
    last_above = ~(keys[0] >> bits) if len(keys) else np.uint64(0)
    last = np.uint64(len(keys))  # after it no key is an entry, and where the next one would be another bucket's begin
    while last and (keys[last - ONE] >> bits) & mask == 0:
        last -= ONE
    starts[parent] = entry
    for number in range(np.uint64(len(keys))):
        key, size = keys[number], np.uint64(sizes[number])
        above = key >> bits
        is_new = above != last_above
        last_above = above
        aboves += np.uint64(is_new)
        size_above = size if is_new else size_above + size
        keys[aboves - np.uint64(1)], sizes[aboves - np.uint64(1)] = above, np.uint32(size_above)
        parent += np.uint64(is_new & (not deep or (above >> bits) & mask != 0))
        if number < last:
            words[entry], counts[entry] = np.uint32(key & mask), np.uint32(size)
        entry += np.uint64(above & mask != 0)  # nothing lies to the left of <s>
        starts[parent] = entry  # where the parent's entries end, as far as is known, and the next one's begin
    return aboves, entry


@kernel
def add_first_entries(
    keys: NDArray[np.uint64],
    sizes: NDArray[np.uint32],
    bits: np.uint64,
    words: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    entry: np.uint64,
    parent: np.uint64,
    last_parent: np.uint64,
) -> None:
    """Writes the entries of the level whose parents are the known n-grams.

    Args:
        keys: Different ones in order: a known n-gram, and the word before it.
        sizes: [keys], windows.
        entry: The first to write.
        parent: The known n-gram that is a key's 0.
        last_parent: The one after the last of the bucket.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    opened = parent
    for number in range(np.uint64(len(keys))):
        while opened <= parent + (keys[number] >> bits):
            starts[opened] = entry
            opened += np.uint64(1)
        words[entry], counts[entry] = np.uint32(keys[number] & mask), sizes[number]
        entry += np.uint64(1)
    for empty in range(opened, last_parent):
        starts[empty] = entry


@kernel
def tell_ends(
    different: NDArray[np.uint64],
    run_sizes: NDArray[np.uint32],
    deep: bool,
    bits: np.uint64,
    entry: np.int64,
    origins: NDArray[np.uint32],
    told: NDArray[np.uint32],
) -> None:
    """Writes the entry that each window of a bucket has in the last level; NO_NGRAM if from ``<s>`` on.

    Args:
        deep: Whether a key has more than one word after its known part.
        entry: The first that the bucket has in the last level.
        origins: [windows], where each arrived in the order of the text.
        told: To hold the entries in that order.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    window = np.uint64(0)
    for run in range(np.uint64(len(different))):
        key = different[run]
        is_entry = not deep or (key >> bits) & mask != 0
        noted = np.uint32(entry) if is_entry and key & mask != 0 else NO_NGRAM
        entry += np.int64(is_entry)
        for _ in range(run_sizes[run]):
            told[origins[window]] = noted
            window += np.uint64(1)
