"""Writing ARPA files: blocks of lines, formatted by kernels on every core, and written one after the other.

Numbers have the digits that the nearest float32 is read back from, 9 significant ones at most; the last words of an
n-gram, which are those of the line before in most cases, are copied from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from models.ngram.arpa_format import LINE_BYTES, LN_10, ArpaError, check_writable
from models.ngram.arpa_numbers import write_logarithm
from models.ngram.compressed_files import Piece, packing
from models.ngram.counting_progress import Progress
from models.ngram.instructions import int64_at, load_eight, prefetch, store_eight, uint32_at
from models.ngram.kernel import kernel
from models.ngram.kneser_ney import Estimate
from models.ngram.language_model import NgramModel
from models.ngram.levels import MAX_ORDER, UNKNOWN, Level
from models.ngram.pool import in_order
from models.ngram.vocabulary import UNKNOWN_WORDS, Vocabulary

WRITTEN_AT_ONCE = 1 << 14  # n-grams: their lines fit the caches
BYTES_AT_ONCE = 1 << 20  # of lines, where they are not longer than usual
NUMBER_BYTES = 24  # of a logarithm and what parts it from its neighbours, at most
TAB, LINE_FEED, SPACE = (np.uint8(ord(sign)) for sign in "\t\n ")
AHEAD = np.uint64(8)  # n-grams whose first word is asked for before it is copied
ONE, FOUR, EIGHT = (np.uint64(number) for number in (1, 4, 8))
RECORD, LONG = np.uint64(16), np.uint8(255)  # bytes of a word's record, and what stands for the length of longer ones
SLACK = 16  # bytes after the lines, since eight are written at once
END = b"\n\\end\\\n"


def write_arpa(model: NgramModel, path: Path, progress: Progress | None = None, threads: int = 1) -> None:
    """Writes a model as an ARPA file; an interrupted one leaves no file.

    Args:
        model: With Kneser-Ney smoothing, or read from an ARPA file.
        path: Of the file, which is compressed where its name ends in .gz, .xz or .zst; one that is there is
            replaced.
        progress: Told how many n-grams are written.
        threads: Cores to use; the file is the same for any number.

    Raises:
        ArpaError: The model is of another kind, or has a word that such a file cannot hold.
    """
    check_writable(model.smoothing)
    _check_words(model.vocabulary)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f"{path.name}.unfinished-{os.getpid()}"
    try:
        with unfinished.open("wb", buffering=0) as file:
            _write(model, path, cast("IO[bytes]", file), progress, threads)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_words(vocabulary: Vocabulary) -> None:
    """Refuses words that would be read as something else, or not at all."""
    data = vocabulary.text.tobytes()
    if len(data.translate(None, b" \t\r\n\0")) < len(data):
        raise ArpaError("A word of the model holds a space, a line's end or a NUL, which no word of an ARPA file can.")
    if vocabulary.holds(UNKNOWN_WORDS[1]):  # of a text that was fitted before both were one
        raise ArpaError(
            "The model has <UNK> as a word beside <unk>, which readers of ARPA files take for one: fit it again."
        )
    if int(np.diff(vocabulary.ends).max()) > LINE_BYTES // (MAX_ORDER + 1):
        raise ArpaError(
            f"A word of the model is too long for an ARPA file, which is read by lines of {LINE_BYTES:,} bytes."
        )


@dataclass(frozen=True)
class Block:
    """Some n-grams of an order, whose lines are written together."""

    order: int
    first: int
    last: int


class Words(NamedTuple):
    """The words of a model, ``<s>`` the last of them, and how they are copied.

    Attributes:
        text: [bytes + SLACK] uint8, of all words.
        bounds: [ids + 1] int64, where each begins, and the last ends.
        records: [ids * RECORD] uint8: of each word its bytes, and in the last one its length; or LONG there.
    """

    text: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    records: NDArray[np.uint8]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Words:
        """Those of a vocabulary."""
        text = np.concatenate([vocabulary.text, np.frombuffer(b"<s>", np.uint8), np.zeros(SLACK, np.uint8)])
        bounds = np.concatenate([[0], vocabulary.ends, [len(text) - SLACK]])
        words = cls(text, bounds, np.zeros((len(bounds) - 1) * int(RECORD), np.uint8))
        write_records(words)
        return words


class Climb(NamedTuple):
    """Where an n-gram and its ends stand: its words from the first to the last.

    Attributes:
        path: [order] int64, the n-gram's place in its level, that of its end without the first word, and so on.
        words: [order] uint64, addresses of the first words of those levels.
        starts: [order] uint64, addresses of where the level before begins for each n-gram of this one.
        begins: [order] uint64, where each word was written, with the space before it.
    """

    path: NDArray[np.int64]
    words: NDArray[np.uint64]
    starts: NDArray[np.uint64]
    begins: NDArray[np.uint64]


def address(array: NDArray[Any]) -> int:
    """Of an array's first item."""
    return int(array.__array_interface__["data"][0])


def common_logarithms(logarithms: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n], as an ARPA file has them."""
    return (logarithms.astype(np.float64) / LN_10).astype(np.float32)


@dataclass(frozen=True)
class Lines:
    """What the lines of an ARPA file are made from.

    Attributes:
        levels: Of the model.
        first: What stands in the section of order 1, line by line.
        estimates: Of the levels; the first likewise.
        begin: Id of ``<s>``, which has one of its own here.
        words: All, by id.
    """

    levels: tuple[Level, ...]
    first: Level
    estimates: tuple[Estimate, ...]
    begin: int
    words: Words

    @classmethod
    def of(cls, model: NgramModel) -> Lines:
        """Those of a model."""
        begin = model.counts.vocabulary_size
        unigrams, words = _unigrams(model.estimates[0], begin)
        first = replace(model.counts.levels[0], words=words)
        return cls(model.counts.levels, first, (unigrams, *model.estimates[1:]), begin, Words.of(model.vocabulary))

    @property
    def sizes(self) -> list[int]:
        """Lines of each order."""
        return [len(self.first.words), *map(len, self.levels[1:])]

    @cached_property
    def longest(self) -> int:
        """Bytes of a line, at most."""
        return len(self.levels) * (int(np.diff(self.words.bounds).max()) + 1) + 2 * NUMBER_BYTES

    def blocks(self) -> Iterator[Block]:
        """All n-grams, in order; an order without any has a block for its heading."""
        for order, size in enumerate(self.sizes, start=1):
            for first in range(0, max(size, 1), WRITTEN_AT_ONCE):
                yield Block(order, first, min(first + WRITTEN_AT_ONCE, size))

    def heading(self, order: int) -> bytes:
        """What stands before the n-grams of an order."""
        sizes = "".join(f"ngram {number}={size}\n" for number, size in enumerate(self.sizes, start=1))
        data = f"\\data\\\n{sizes}" if order == 1 else ""
        return f"{data}\n\\{order}-grams:\n".encode()

    def of_block(self, block: Block, room: NDArray[np.uint8]) -> Iterator[memoryview]:
        """The lines of a block, in pieces; the first ones lie in that room."""
        if block.first == 0:
            yield memoryview(self.heading(block.order))
        estimate, some = self.estimates[block.order - 1], slice(block.first, block.last)
        probabilities = common_logarithms(estimate.log_probabilities[some])
        backoffs = common_logarithms(estimate.log_backoffs[some]) if block.order < len(self.levels) else None
        climb, done = self.climb(block), 0
        while done < len(probabilities):
            longest = self.longest + SLACK
            done, filled = write_lines(climb, self.words, probabilities, backoffs, self.begin, done, longest, room)
            yield room[:filled].data
            room = np.empty_like(room)

    def climb(self, block: Block) -> Climb:
        """Where the first n-gram of a block and its ends stand."""
        levels = self.levels[block.order - 1 :: -1] if block.order > 1 else (self.first,)
        path = np.full(block.order, block.first)
        for row, level in enumerate(levels[:-1], start=1):
            path[row] = np.searchsorted(level.starts, path[row - 1], side="right") - 1
        words = np.array([address(level.words) for level in levels], np.uint64)
        starts = np.array([0, *(address(level.starts) for level in levels[:-1])], np.uint64)
        return Climb(path, words, starts, np.zeros(block.order, np.uint64))


def _unigrams(estimate: Estimate, begin: int) -> tuple[Estimate, NDArray[np.uint32]]:
    """What stands in the section of order 1, line by line, and the words; ``<unk>`` if it is possible at all."""
    ids = np.arange(begin, dtype=np.uint32)
    places = np.concatenate([ids[UNKNOWN : UNKNOWN + 1], ids[:1], ids[:1], ids[UNKNOWN + 1 :]])
    words, probabilities, backoffs = places.copy(), estimate.log_probabilities[places], estimate.log_backoffs[places]
    words[1], probabilities[1], backoffs[2] = begin, -np.inf, 0.0  # <s> is a context only, </s> is none
    kept = slice(1 if np.isneginf(probabilities[0]) else 0, None)
    return Estimate(probabilities[kept], backoffs[kept]), words[kept]


def _write(model: NgramModel, path: Path, file: IO[bytes], progress: Progress | None, threads: int) -> None:
    lines = Lines.of(model)
    spare: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
    for _ in range(2 * threads + 1):  # as many as are under way, and the one that is written
        spare.put(np.empty(max(BYTES_AT_ONCE, lines.longest + SLACK), np.uint8))
    with packing(path, file) as packer:

        def formatted(block: Block) -> tuple[Block, NDArray[np.uint8], list[tuple[Piece, Piece]]]:
            room = spare.get()
            return block, room, [(piece, packer.pack(piece)) for piece in lines.of_block(block, room)]

        written = 0
        for block, room, pieces in in_order(formatted, lines.blocks(), threads):
            for plain, packed in pieces:
                packer.write(plain, packed)
            spare.put(room)
            written += block.last - block.first
            if progress:
                progress("writing", written, sum(lines.sizes))
        packer.write(END, packer.pack(END))


@kernel
def write_records(words: Words) -> None:
    """Writes the record of each word."""
    for word in range(np.uint64(len(words.bounds)) - ONE):
        begin, end = np.uint64(words.bounds[word]), np.uint64(words.bounds[word + ONE])
        record, length = word * RECORD, end - begin
        if length < RECORD:
            for offset in range(length):
                words.records[record + offset] = words.text[begin + offset]
        words.records[record + RECORD - ONE] = np.uint8(length) if length < RECORD else LONG


@kernel
def write_lines(
    climb: Climb,
    words: Words,
    probabilities: NDArray[np.float32],
    backoffs: NDArray[np.float32] | None,
    begin: int,
    first: int,
    longest: int,
    out: NDArray[np.uint8],
) -> tuple[int, int]:
    """Writes a line for each n-gram from ``first`` on while the longest one has room.

    Gives the n-gram after the last, and how many bytes the lines are.
    """
    place, size, order = np.uint64(0), np.uint64(len(probabilities)), np.uint64(len(climb.path))
    limit = np.uint64(len(out) - longest)
    entry, ending = np.uint64(first), np.uint64(0)
    while entry < size and place <= limit:
        changed = climb_on(climb) if entry > 0 else order - ONE  # words from the second on that the line before lacks
        if entry == np.uint64(first):
            changed = order - ONE
        far = min(AHEAD, size - ONE - entry) + np.uint64(climb.path[0])
        prefetch(words.records, np.uint64(uint32_at(climb.words[0] + FOUR * far)) * RECORD)
        place = write_logarithm(probabilities[entry], out, place)
        out[place] = TAB
        word = np.uint64(uint32_at(climb.words[0] + FOUR * np.uint64(climb.path[0])))
        word = np.uint64(begin) if word == 0 and order > ONE else word
        place = copy_word(words, word, out, place + ONE)
        for row in range(ONE, changed + ONE):
            climb.begins[row] = place
            out[place] = SPACE
            word = np.uint64(uint32_at(climb.words[row] + FOUR * np.uint64(climb.path[row])))
            place = copy_word(words, word, out, place + ONE)
        if changed + ONE < order:
            kept = climb.begins[changed + ONE]
            moved = place - kept
            for row in range(changed + ONE, order):
                climb.begins[row] += moved
            place = copy_eights(out, kept, ending, out, place)
        ending = place
        if backoffs is not None:
            out[place] = TAB
            place = write_logarithm(backoffs[entry], out, place + ONE)
        out[place] = LINE_FEED
        place += ONE
        entry += ONE
    return int(entry), int(place)


@kernel
def climb_on(climb: Climb) -> np.uint64:
    """Goes on to the next n-gram; gives how many of its words from the second on may be others."""
    climb.path[0] += 1
    row, order = ONE, np.uint64(len(climb.path))
    while row < order:
        parent = climb.path[row]
        while int64_at(climb.starts[row] + EIGHT * np.uint64(parent + 1)) <= climb.path[row - ONE]:
            parent += 1
        if parent == climb.path[row]:
            break
        climb.path[row] = parent
        row += ONE
    return row - ONE


@kernel
def copy_word(words: Words, word: np.uint64, out: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """Copies a word, and more than asked for; gives the place after it."""
    record = word * RECORD
    store_eight(out, place, np.uint64(load_eight(words.records, record)))
    store_eight(out, place + EIGHT, np.uint64(load_eight(words.records, record + EIGHT)))
    length = words.records[record + RECORD - ONE]
    if length == LONG:
        return copy_eights(words.text, np.uint64(words.bounds[word]), np.uint64(words.bounds[word + ONE]), out, place)
    return place + np.uint64(length)


@kernel
def copy_eights(
    source: NDArray[np.uint8], begin: np.uint64, end: np.uint64, out: NDArray[np.uint8], place: np.uint64
) -> np.uint64:
    """Copies bytes, and up to seven more than asked for; gives the place after those that were."""
    offset = np.uint64(0)
    while begin + offset < end:
        store_eight(out, place + offset, np.uint64(load_eight(source, begin + offset)))
        offset += EIGHT
    return place + (end - begin)
