"""The lines of an ARPA file: one by one, or as many as are of the plain kind by a kernel, which is fifty times as fast.

A line of the plain kind has a logarithm, words and perhaps a weight, parted by spaces and tabs, and ends with a line
feed; its numbers have 15 digits at most. Whatever else is right or wrong is left to who reads line by line.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.ngram.arpa_format import LINE_BYTES, LN_10, MOST_BACKOFF, ArpaError
from models.ngram.compressed_files import Readable
from models.ngram.encoding import ID, KEY, LONG, SECOND, Encoder, first_slot, is_word, next_slot, word_key
from models.ngram.instructions import at_most, load_eight, trailing_zeros
from models.ngram.kernel import kernel
from models.ngram.levels import BOUNDARY
from models.ngram.vocabulary import Vocabulary

READ_BYTES = 1 << 20  # at once: they fit a core's cache
AFTER = 128  # bytes after the last that may be looked at
ONE, EIGHT, SIXTEEN = (np.uint64(number) for number in (1, 8, 16))
TAB, LINE_FEED, SPACE, PLUS, MINUS, POINT, DIGIT_0, LARGE_E, SMALL_E = (np.uint8(ord(sign)) for sign in "\t\n +-.0Ee")
MOST_DIGITS = np.uint64(
    15
)  # they are a float64, and so is the power of ten that they are multiplied with or divided by
MOST_POWER = 22
POWERS = np.array([10.0**power for power in range(MOST_POWER + 1)])
BEGIN = 0xFFFFFFFE  # stands for <s> while a file is read, which must not be taken for </s>
NO_WORD = np.uint32(0xFFFFFFFD)
MOST_WEIGHT = MOST_BACKOFF * LN_10
ZEROS, NO_DIGIT, HIGH_BITS = (np.uint64(0x0101010101010101 * byte) for byte in (0x30, 0x76, 0x80))
EVERY_2, EVERY_4 = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
BY_TENS, BY_HUNDREDS, BY_TEN_THOUSANDS = (np.uint64((10**n << 8 * n) + 1) for n in (1, 2, 4))
NOWHERE = ~np.uint64(0)


class Words(NamedTuple):
    """Where a word of the file is looked up.

    Attributes:
        slots: Of an encoder that has all words.
        ends: Likewise.
        text: Likewise.
        ids: [words] uint32, the id of each of the encoder's words.
    """

    slots: NDArray[np.uint64]
    ends: NDArray[np.int64]
    text: NDArray[np.uint8]
    ids: NDArray[np.uint32]

    @classmethod
    def of(cls, ids: dict[bytes, int]) -> Words:
        """Of some words and their ids."""
        encoder = Encoder(())
        ends = np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))
        encoder.insert(Vocabulary(np.frombuffer(b"".join(ids), np.uint8), ends), 0)
        numbers = np.fromiter((NO_WORD, *ids.values()), np.uint32, len(ids) + 1)  # its first is the boundary
        return cls(*encoder.table, numbers)


class Lines:
    """The lines of an ARPA file, and the number of the last one read."""

    def __init__(self, path: Path, file: Readable) -> None:
        self.path, self.number = path, 0
        self._file = file
        self._memory = mmap.mmap(-1, LINE_BYTES + READ_BYTES + AFTER)  # what is not needed gets no more than an address
        self._view = np.frombuffer(self._memory, np.uint8)
        self._begin = self._end = 0  # what has been read, and is no line yet

    def next(self) -> bytes:
        """The next line; nothing at the end of the file."""
        searched = self._begin
        while (found := self._memory.find(b"\n", searched, self._end)) < 0 and self._end - self._begin < LINE_BYTES:
            searched = self._end - self._begin  # the first bytes move to the front
            if not self._fill():
                break
        end = found + 1 if found >= 0 else self._end
        self.number += 1
        if end - self._begin > LINE_BYTES or (found < 0 and end - self._begin == LINE_BYTES):
            raise self.error(f"it has more than {LINE_BYTES:,} bytes, as no line of an ARPA file has")
        line = self._memory[self._begin : end]
        self._begin = end
        return line

    def _fill(self) -> bool:
        """Reads on; whether there is more."""
        left = self._end - self._begin
        if self._begin:
            self._memory.move(0, self._begin, left)
        read = self._file.readinto(memoryview(self._memory)[left : left + READ_BYTES]) or 0
        self._begin, self._end = 0, left + read
        return read > 0

    def filled(self) -> bytes:
        """The next line that is not blank, without the space around it; nothing at the end of the file."""
        while line := self.next():
            if line := line.strip():
                return line
        return b""

    def some(self, size: int) -> tuple[list[bytes], list[int]]:
        """The next lines that are not blank, at most so many, and their numbers; none at the end of the file."""
        lines: list[bytes] = []
        numbers, room = [], 2 * LINE_BYTES
        while len(lines) < size and room > 0 and (line := self.next()):
            if not line.isspace():
                lines.append(line)
                numbers.append(self.number)
                room -= len(line)
        return lines, numbers

    def plain(
        self, known: Words, words: NDArray[np.uint32], logarithms: NDArray[np.float64], first: int, last: int
    ) -> int:
        """Reads plain lines up to the first that is none, and gives how many.

        Args:
            known: Which words there are.
            words: [order, n-grams] uint32, to hold their ids.
            logarithms: [2, n-grams] float64, to hold the natural logarithms of probability and weight.
            first: Of the n-grams that are written.
            last: The one after the last.
        """
        done, before = first, np.zeros((2, len(words)), np.uint64)
        while done < last:
            read, self._begin = read_lines(
                self._view, self._begin, self._end, known, POWERS, before, words, logarithms, done, last
            )
            if read == done and not self._goes_on():
                break
            done = read
        self.number += done - first
        return done - first

    def plain_words(self, logarithms: NDArray[np.float64], first: int, last: int) -> list[bytes]:
        """Reads plain lines of 1-grams up to the first that is none, or as many as are at hand, and gives their words.

        The other arguments are those of :meth:`plain`.
        """
        while True:
            bounds = np.empty((2, last - first), np.int64)
            read, begin = read_words(self._view, self._begin, self._end, POWERS, bounds, logarithms, first, last)
            if read > first or not self._goes_on():
                break
        words = [self._memory[one:other] for one, other in zip(*bounds[:, : read - first].tolist(), strict=True)]
        if not are_words(b" ".join(words)):
            return []
        self._begin = begin
        self.number += len(words)
        return words

    def _goes_on(self) -> bool:
        """Reads on where no whole line is there; whether that brought more."""
        whole = self._memory.find(b"\n", self._begin, self._end) >= 0
        return not whole and self._end - self._begin < LINE_BYTES and self._fill()

    def finish(self) -> None:
        """Reads what is left, so that a compressed file is held against the checksum at its end."""
        self._begin = self._end
        while self._fill():
            self._begin = self._end

    def error(self, message: str, number: int | None = None) -> ArpaError:
        """What is wrong with the last line read, or with one whose number is given."""
        return ArpaError(f"{self.path}, line {self.number if number is None else number:,}: {message}.")


def are_words(text: bytes) -> bool:
    """Whether a vocabulary can hold words, given with spaces between them."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in text


@kernel
def read_words(
    text: NDArray[np.uint8],
    begin: int,
    end: int,
    powers: NDArray[np.float64],
    bounds: NDArray[np.int64],
    logarithms: NDArray[np.float64],
    first: int,
    last: int,
) -> tuple[int, int]:
    """Reads plain lines of 1-grams, and where their words begin and end; gives what :func:`read_lines` gives."""
    stop, line = np.uint64(end), np.uint64(begin)
    for ngram in range(np.uint64(first), np.uint64(last)):
        place, logarithm = read_number(text, line, powers)
        word = after_spaces(text, place, stop)
        length = word_length(text, word) if word > place and word < stop else np.uint64(0)
        place, weight = read_weight(text, word + length, stop, powers)
        if length == 0 or place >= stop or text[place] != LINE_FEED or not are_possible(logarithm, weight):
            return int(ngram), int(line)
        bounds[0, ngram - np.uint64(first)] = np.int64(word)
        bounds[1, ngram - np.uint64(first)] = np.int64(word + length)
        logarithms[0, ngram], logarithms[1, ngram] = logarithm * LN_10, weight * LN_10
        line = place + ONE
    return int(np.uint64(last)), int(line)


@kernel
def are_possible(logarithm: np.float64, weight: np.float64) -> bool:
    """Whether a probability and a weight can have these common logarithms."""
    return bool(logarithm <= 0.0 and weight * LN_10 <= MOST_WEIGHT)


@kernel
def same_bytes(text: NDArray[np.uint8], one: np.uint64, other: np.uint64, length: np.uint64) -> bool:
    """Whether two pieces of text of that length, which is not 0, are the same."""
    while length > EIGHT:
        if load_eight(text, one) != load_eight(text, other):
            return False
        one, other, length = one + EIGHT, other + EIGHT, length - EIGHT
    beyond = np.uint64(64) - EIGHT * length
    return bool(((np.uint64(load_eight(text, one)) ^ np.uint64(load_eight(text, other))) << beyond) == 0)


@kernel
def after_spaces(text: NDArray[np.uint8], place: np.uint64, stop: np.uint64) -> np.uint64:
    """The next place where there is neither space nor tab."""
    while place < stop and (text[place] == SPACE or text[place] == TAB):
        place += ONE
    return place


@kernel
def word_length(text: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """Bytes of the word that begins at a place; 0 where there is none, or one of 64 and more."""
    ends = np.uint64(at_most(text, place, SPACE))
    return np.uint64(trailing_zeros(ends)) if ends != 0 else np.uint64(0)


@kernel
def read_weight(
    text: NDArray[np.uint8], place: np.uint64, stop: np.uint64, powers: NDArray[np.float64]
) -> tuple[np.uint64, np.float64]:
    """The place after the weight at the end of a line, and the weight: 0 where the line has none."""
    number = after_spaces(text, place, stop)
    if number == place or number >= stop:
        return number, np.float64(0.0)
    return read_number(text, number, powers)


@kernel
def read_lines(
    text: NDArray[np.uint8],
    begin: int,
    end: int,
    known: Words,
    powers: NDArray[np.float64],
    before: NDArray[np.uint64],
    words: NDArray[np.uint32],
    logarithms: NDArray[np.float64],
    first: int,
    last: int,
) -> tuple[int, int]:
    """Reads plain lines; gives the n-gram after the last, and where its line begins.

    Most words but the first are those of the line before: they are held against these, and not looked up.

    Args:
        before: [2, order], room for where the words of the line before begin, and how many bytes they have.
    """
    order, stop = np.uint64(words.shape[0]), np.uint64(end)
    line = np.uint64(begin)
    for number in range(order):
        before[1, number] = np.uint64(0)
    for ngram in range(np.uint64(first), np.uint64(last)):
        place, logarithm = read_number(text, line, powers)
        row = np.uint64(0)
        while row < order and place < stop:
            begins = after_spaces(text, place, stop)
            length = word_length(text, begins) if begins > place and begins < stop else np.uint64(0)
            if length == 0:
                break
            if row > 0 and length == before[1, row] and same_bytes(text, begins, before[0, row], length):
                word = words[row, ngram - ONE]
            else:
                word = find_word(text, begins, length, known)
                if word == NO_WORD:
                    break
            if (row > 0 and word == BEGIN) or (row + ONE < order and word == BOUNDARY):
                break
            words[row, ngram] = word
            before[0, row], before[1, row] = begins, length
            place = begins + length
            row += ONE
        place, weight = read_weight(text, place, stop, powers)
        if row < order or place >= stop or text[place] != LINE_FEED or not are_possible(logarithm, weight):
            return int(ngram), int(line)
        logarithms[0, ngram], logarithms[1, ngram] = logarithm * LN_10, weight * LN_10
        line = place + ONE
    return int(np.uint64(last)), int(line)


@kernel
def read_number(text: NDArray[np.uint8], begin: np.uint64, powers: NDArray[np.float64]) -> tuple[np.uint64, np.float64]:
    """The place after a plain number, and the number; a place beyond all others where it is none."""
    place = begin
    negative = text[place] == MINUS
    place += np.uint64(negative or text[place] == PLUS)
    digits, whole = read_digits(text, place)
    place += digits
    size, decimals = np.float64(whole), np.uint64(0)
    if text[place] == POINT:
        place += ONE
        decimals, part = read_digits(text, place)
        size = size * powers[decimals] + np.float64(part)  # exact, as whole numbers of 15 digits are
        place += decimals
        if decimals == EIGHT:
            more, part = read_digits(text, place)
            size = size * powers[more] + np.float64(part)
            place += more
            decimals += more
    digits += decimals
    power, read = -np.int64(decimals), digits > 0 and digits <= MOST_DIGITS
    if text[place] == SMALL_E or text[place] == LARGE_E:
        place += ONE
        below = text[place] == MINUS
        place += np.uint64(below or text[place] == PLUS)
        figures, exponent = read_digits(text, place)
        place += figures
        read = read and figures > 0 and figures < EIGHT
        power += -np.int64(exponent) if below else np.int64(exponent)
    if not read or power > MOST_POWER or power < -MOST_POWER:
        return NOWHERE, np.float64(0.0)
    size = size / powers[np.uint64(-power)] if power < 0 else size * powers[np.uint64(power)]
    return place, -size if negative else size


@kernel
def read_digits(text: NDArray[np.uint8], place: np.uint64) -> tuple[np.uint64, np.uint64]:
    """How many digits there are from a place on, eight at most, and the number that they are: all at once.

    As told by Lemire, "Quickly parsing eight digits", 2018.
    """
    digits = np.uint64(load_eight(text, place)) ^ ZEROS  # of each byte that is a digit, what it is
    others = (digits + NO_DIGIT | digits) & HIGH_BITS  # the lowest one is right, those above may not be
    count = np.uint64(trailing_zeros(others)) >> np.uint64(3) if others != 0 else EIGHT
    if count == 0:
        return count, count
    digits <<= np.uint64(64) - EIGHT * count  # zeros before them
    twos = (digits * BY_TENS >> EIGHT) & EVERY_2
    fours = (twos * BY_HUNDREDS >> SIXTEEN) & EVERY_4
    return count, fours * BY_TEN_THOUSANDS >> np.uint64(32)


@kernel
def find_word(text: NDArray[np.uint8], begin: np.uint64, length: np.uint64, known: Words) -> np.uint32:
    """The id of a word, or NO_WORD."""
    size = np.uint64(len(known.slots))
    key, second = word_key(text, begin, length)
    long = LONG if length > SIXTEEN else np.uint64(0)
    slot = first_slot(key, size)
    while True:
        entry = known.slots[slot, ID]
        if entry == 0:
            return NO_WORD
        word = (entry ^ long) - ONE  # LONG or more where just one of both words is long
        same = (known.slots[slot, KEY] == key) & (word < LONG) & (known.slots[slot, SECOND] == second)
        if same and (not long or is_word(text, begin, length, word, known.ends, known.text)):
            return np.uint32(known.ids[word])
        slot = next_slot(slot, size)
