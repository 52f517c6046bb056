"""Counting a text that is larger than memory: its ids lie on the disk, and a range of last words is counted at a time.

The table is sorted by last words, so what ends in a range of them is a stretch of the table. For
each range the text is read once more, and what ends in other words is passed over. The kernels are
those of :mod:`models.ngram.counting`; nothing is merged; what is found is appended to the table's
files. Passing over a token takes a nanosecond or two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.ngram.counting import Piece, Stage, run_group, tally, unigrams
from models.ngram.counting_progress import Progress, Step
from models.ngram.levels import MAX_ORDER, Counts, Level
from models.ngram.pool import Pool
from models.ngram.sorting import NO_NGRAM

PIECE_TOKENS = 1 << 20  # read at once: 4 MB, and as much again for where their n-grams stand
RESERVE_BYTES = 64 << 20  # for pieces of the text, what sorting needs beside keys, and what Python takes meanwhile
SPREAD = 0.03  # by which what a process takes differs from one time to the next
Number = TypeVar("Number", bound=np.generic)

LEAST_WINDOWS = 1 << 18  # of a range: with fewer, a text would be read for little


class MemoryTooSmall(ValueError):
    """A text cannot be counted within so few bytes."""


@dataclass(frozen=True)
class SpilledIds:
    """Ids of a text in a file.

    Attributes:
        path: Of int32 numbers.
        tokens: How many.
    """

    path: Path
    tokens: int

    @classmethod
    def of(cls, pieces: Iterable[NDArray[np.int32]], path: Path) -> SpilledIds:
        """Writes the ids of a text that comes in pieces."""
        tokens = 0
        with path.open("wb") as file:
            for piece in pieces:
                piece.tofile(file)
                tokens += len(piece)
        return cls(path, tokens)

    def pieces(self, lookback: int = 0) -> Iterator[tuple[NDArray[np.uint32], int]]:
        """Stretches of the text, each after up to ``lookback`` of the tokens before it, and how many those are."""
        for begin in range(0, self.tokens, PIECE_TOKENS):
            first = max(0, begin - lookback)
            size = min(begin + PIECE_TOKENS, self.tokens) - first
            yield np.fromfile(self.path, np.uint32, size, offset=4 * first), begin - first


@dataclass(frozen=True)
class Told:
    """Where the windows of a range of buckets stand in the last level of a stage.

    Attributes:
        last: The bucket after the range.
        offset: Where the range's entries begin in the level.
        path: File of uint32: of each window, in the order of the text, its entry counted from ``offset``, or NO_NGRAM.
    """

    last: int
    offset: int
    path: Path


@dataclass(frozen=True)
class Text:
    """A text on the disk, read with what the stages so far have found.

    Attributes:
        ids: Of its words.
        stages: That have counted, and what each told.
    """

    ids: SpilledIds
    stages: tuple[tuple[Stage, tuple[Told, ...]], ...] = ()

    def pieces(self) -> Iterator[Piece]:
        """The text, each token with where its n-gram stands in the last level counted."""
        if not self.stages:
            for words, first in self.ids.pieces(MAX_ORDER):
                yield Piece(words, words, first)
            return
        stage, told = self.stages[-1]
        lasts = np.array([part.last for part in told])
        read = np.zeros(len(told), np.int64)
        for piece in Text(self.ids, self.stages[:-1]).pieces():
            ends = np.full(len(piece.words), NO_NGRAM)
            counted = np.flatnonzero(piece.ends[piece.first :] != NO_NGRAM) + piece.first
            buckets = stage.buckets[piece.ends[counted] >> np.uint32(stage.shift)]
            parts = np.searchsorted(lasts, buckets, side="right")
            for number, part in enumerate(told):
                its_tokens = counted[parts == number]
                entries = np.fromfile(part.path, np.uint32, len(its_tokens), offset=4 * int(read[number]))
                read[number] += len(its_tokens)
                ends[its_tokens] = np.where(entries == NO_NGRAM, entries, entries + np.uint32(part.offset))
            yield Piece(piece.words, ends, piece.first)


class LevelFile:
    """A level that grows on the disk.

    Args:
        folder: For its files.
        order: Of its n-grams.
    """

    def __init__(self, folder: Path, order: int) -> None:
        self.size = 0
        self._paths = {name: folder / f"{order}.{name}" for name in ("words", "counts", "starts")}
        for path in self._paths.values():
            path.touch()

    def append(self, part: Level) -> None:
        """Adds entries, and where those of their parents begin."""
        self._write("words", part.words)
        self._write("counts", part.counts)
        self._write("starts", part.starts[:-1] + self.size)
        self.size += len(part)

    def finished(self) -> Level:
        """The level, mapped from its files."""
        self._write("starts", np.array([self.size]))
        return Level(
            _mapped(self._paths["words"], np.uint32),
            _mapped(self._paths["counts"], np.uint32),
            _mapped(self._paths["starts"], np.int64),
        )

    def _write(self, name: str, array: NDArray[np.generic]) -> None:
        with self._paths[name].open("ab") as file:
            array.tofile(file)


def _mapped(path: Path, kind: type[Number]) -> NDArray[Number]:
    return np.memmap(path, kind, "r") if path.stat().st_size else np.empty(0, kind)


def count(
    ids: SpilledIds,
    vocabulary_size: int,
    order: int,
    memory: int,
    folder: Path,
    threads: int = 1,
    progress: Progress | None = None,
) -> Counts:
    """Counts the n-grams of orders 1 to ``order``; the same table as :func:`models.ngram.counting.count`.

    Args:
        ids: Of the text; each sentence is closed by ``BOUNDARY``.
        vocabulary_size: Ids are less than this.
        order: The largest order.
        memory: Bytes that this process may take, all that it has already included.
        folder: For the table's files. The table is mapped from them; on Linux and macOS they may be
            deleted while it is in use.
        threads: Cores to use.
        progress: Told how many tokens are counted; from any thread.

    Raises:
        MemoryTooSmall: Not even the windows of one frequent word have room.
    """
    levels = [unigrams(tally((words for words, _ in ids.pieces()), vocabulary_size))]
    text = Text(ids)
    counted = 1
    with Pool.of(threads) as pool:
        while counted < order:
            stage = Stage.plan(levels[-1], ids.tokens, vocabulary_size, counted, order)
            files = [LevelFile(folder, counted + place) for place in range(1, stage.words + 1)]
            told = []
            step = Step(ids.tokens, (stage.known - 1) / (order - 1), stage.words / (order - 1), progress)
            for buckets in _ranges(stage, memory):
                offset = files[-1].size
                added, entries = run_group(stage, text.pieces(), len(levels[-1]), buckets, pool, step)
                for file, level in zip(files, added, strict=True):
                    file.append(level)
                if entries is not None:
                    path = folder / f"told.{counted}.{buckets[0]}"
                    entries.tofile(path)
                    told.append(Told(buckets[1], offset, path))
            levels += [file.finished() for file in files]
            text = Text(ids, (*text.stages, (stage, tuple(told))))
            counted += stage.words
    return Counts(tuple(levels), ids.tokens)


def _ranges(stage: Stage, memory: int) -> Iterator[tuple[int, int]]:
    """Ranges of buckets whose windows have room, each as large as the memory then left allows."""
    import psutil  # which nothing else needs

    window_bytes = 16 + 16 * stage.words  # its key, origin and told entry; word, count and start of its entries
    first = 0
    while first < len(stage.bases):
        left = memory - psutil.Process().memory_info().rss - RESERVE_BYTES
        windows = left // window_bytes
        last = int(np.searchsorted(stage.bounds, stage.bounds[first] + windows, side="right")) - 1
        if windows < LEAST_WINDOWS or last <= first:
            wanted = max(LEAST_WINDOWS, int(stage.bounds[first + 1] - stage.bounds[first])) * window_bytes
            needed = memory - left + wanted
            needed_mb = math.ceil(needed * (1 + SPREAD) / 1e6)
            raise MemoryTooSmall(f"{memory / 1e6:,.0f} MB are too few for this text: it takes about {needed_mb:,} MB")
        yield first, last
        first = last
