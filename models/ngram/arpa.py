r"""ARPA files: the text format in which n-gram models are exchanged, as KenLM and SRILM read and write it.

A file has a section for each order, and in it a line for each n-gram: the common logarithm of its
probability, its words, and the common logarithm of its backoff weight. It says nothing of counts.

What is read beside that, since KenLM or SRILM reads it too: text before ``\data\`` and after
``\end\``, a byte order mark, blank lines, lines that end with CR LF, parts between which there are
several spaces or tabs, ``<UNK>`` for ``<unk>``, ``-inf``. Nothing else parts words: U+00A0, U+2028 and
control characters are of the word that they stand in. Files named .gz, .xz and .zst are compressed.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from models.ngram.fitting import Progress
from models.ngram.kernel import kernel
from models.ngram.kneser_ney import Estimate
from models.ngram.language_model import NgramModel
from models.ngram.levels import BOUNDARY, MAX_ORDER, UNKNOWN, Counts, Level
from models.ngram.pool import Pool
from models.ngram.search import ABSENT, find
from models.ngram.text import DAMAGED, compressed, decompressed
from models.ngram.vocabulary import SPECIAL, UNKNOWN_WORDS, Vocabulary

WRITTEN_AT_ONCE = 1 << 16  # n-grams: their lines fit the caches
READ_AT_ONCE = 1 << 12  # likewise, as Python's objects; 1 << 16 takes a quarter longer
BYTES_AT_ONCE = 1 << 23  # where lines are much longer than usual
LINE_BYTES = 1 << 22  # of a line that is read or written, at most
SHOWN = 40  # characters of a file's text in a message
MOST_NGRAMS = int(ABSENT)  # of an order: their places are uint32, and one number stands for none
DECIMALS = 7  # float32 has seven digits, and most logarithms one before the point
NUMBER_BYTES = 24  # of a logarithm and what parts it from its neighbours, at most
LOG_ZERO = -99.0  # in place of the logarithm of 0, as SRILM writes it: <s> is never predicted
MOST_BACKOFF = 99.0  # common logarithm of a weight: what is left to the unseen is not that much
MOST_WRITTEN = 1e9  # of a logarithm, either way: what is less is 0 for everybody
LN_10 = float(np.log(10.0))
BEGIN = 0xFFFFFFFE  # stands for <s> while a file is read, which must not be taken for </s>
NO_COUNTS = np.empty(0, np.uint32)
DATA, FIRST_SECTION, END = b"\\data\\", b"\\1-grams:", b"\\end\\"
PART = re.compile(rb"[^ \t\r\n]+")
PLAIN = b"0123456789+-.eE "  # of numbers that float() reads as everybody does
NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf)", re.IGNORECASE)


class ArpaError(ValueError):
    """A file is no ARPA file, or a model cannot be written as one."""


def write_arpa(model: NgramModel, path: Path, progress: Progress | None = None) -> None:
    """Writes a model as an ARPA file; an interrupted one leaves no file.

    Args:
        model: With Kneser-Ney smoothing, or read from an ARPA file.
        path: Of the file, which is compressed where its name ends in .gz, .xz or .zst; one that is there is
            replaced.
        progress: Told how many n-grams are written.

    Raises:
        ArpaError: The model is of another kind, or has a word that such a file cannot hold.
    """
    if not model.estimates:
        raise ArpaError(
            f"An ARPA file holds a model that backs off, which one with {model.smoothing} smoothing does not: "
            "fit it with kneser-ney."
        )
    _check_words(model.vocabulary)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f"{path.name}.unfinished-{os.getpid()}"
    try:
        with unfinished.open("wb") as file, compressed(path, file) as stream:
            _write(model, stream, progress)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_words(vocabulary: Vocabulary) -> None:
    """Refuses words that would be read as something else, or not at all."""
    data = vocabulary.text.tobytes()
    if len(data.translate(None, b" \t\r\n\0")) < len(data):
        raise ArpaError("A word of the model holds a space, a line's end or a NUL, which no word of an ARPA file can.")
    if UNKNOWN_WORDS[1] in vocabulary.ids:  # of a text that was fitted before both were one
        raise ArpaError(
            "The model has <UNK> as a word beside <unk>, which readers of ARPA files take for one: fit it again."
        )
    if int(np.diff(vocabulary.ends).max()) > LINE_BYTES // (MAX_ORDER + 1):
        raise ArpaError(
            f"A word of the model is too long for an ARPA file, which is read by lines of {LINE_BYTES:,} bytes."
        )


def _write(model: NgramModel, file: IO[bytes], progress: Progress | None) -> None:
    counts = model.counts
    text = np.concatenate([model.vocabulary.text, np.frombuffer(b"<s>", np.uint8)])
    ends = np.append(model.vocabulary.ends, len(text))
    begin = counts.vocabulary_size  # <s> has an id of its own here
    unigrams, words = _unigrams(model.estimates[0], begin)
    sizes = [len(words), *map(len, counts.levels[1:])]
    header = "".join(f"ngram {order}={size}\n" for order, size in enumerate(sizes, start=1))
    file.write(f"\\data\\\n{header}".encode())
    written = 0
    for order, size in enumerate(sizes, start=1):
        file.write(f"\n\\{order}-grams:\n".encode())
        estimate = model.estimates[order - 1] if order > 1 else unigrams
        for first in range(0, size, WRITTEN_AT_ONCE):
            some = slice(first, min(first + WRITTEN_AT_ONCE, size))
            if order == 1:
                ngrams = words[some, np.newaxis]
            else:
                ngrams = counts.ngrams(order, np.arange(some.start, some.stop))
                ngrams[:, 0][ngrams[:, 0] == BOUNDARY] = begin
            backoffs = _scaled(estimate.log_backoffs[some]) if order < counts.order else None
            for lines in _lines(ngrams, text, ends, _scaled(estimate.log_probabilities[some]), backoffs):
                file.write(lines)
            written += len(ngrams)
            if progress:
                progress("writing", written)
    file.write(b"\n\\end\\\n")


def _unigrams(estimate: Estimate, begin: int) -> tuple[Estimate, NDArray[np.uint32]]:
    """What stands in the section of order 1, line by line, and the words; ``<unk>`` if it is possible at all."""
    ids = np.arange(begin, dtype=np.uint32)
    places = np.concatenate([ids[UNKNOWN : UNKNOWN + 1], ids[:1], ids[:1], ids[UNKNOWN + 1 :]])
    words, probabilities, backoffs = places.copy(), estimate.log_probabilities[places], estimate.log_backoffs[places]
    words[1], probabilities[1], backoffs[2] = begin, -np.inf, 0.0  # <s> is a context only, </s> is none
    kept = slice(1 if np.isneginf(probabilities[0]) else 0, None)
    return Estimate(probabilities[kept], backoffs[kept]), words[kept]


def _scaled(logarithms: NDArray[np.float32]) -> NDArray[np.int64]:
    """Common logarithms as whole numbers of the last decimal."""
    finite = np.where(np.isneginf(logarithms), LOG_ZERO * LN_10, logarithms.astype(np.float64))
    common = np.clip(finite / LN_10, -MOST_WRITTEN, MOST_WRITTEN)
    scaled: NDArray[np.int64] = np.rint(common * 10**DECIMALS).astype(np.int64)
    return scaled


def _lines(
    ngrams: NDArray[np.uint32],
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    probabilities: NDArray[np.int64],
    backoffs: NDArray[np.int64] | None,
) -> Iterator[memoryview]:
    """A line for each n-gram, in pieces."""
    rooms = np.diff(ends, prepend=0)[ngrams].sum(axis=1) + ngrams.shape[1] + 2 * NUMBER_BYTES
    pieces = np.cumsum(rooms) // BYTES_AT_ONCE
    for piece in range(int(pieces[-1]) + 1):
        some = slice(*np.searchsorted(pieces, [piece, piece + 1]))
        out = np.empty(int(rooms[some].sum()), np.uint8)
        backing_off = None if backoffs is None else backoffs[some]
        yield out[: write_lines(ngrams[some], text, ends, probabilities[some], backing_off, out)].data


@kernel
def write_number(number: np.int64, out: NDArray[np.uint8], place: int) -> int:
    """Writes a number that is given in units of its last decimal; gives the place after it."""
    if number < 0:
        out[place] = ord("-")
        place += 1
        number = -number
    whole, digits = number // 10**DECIMALS, 1
    while whole >= 10**digits:
        digits += 1
    for digit in range(digits - 1, -1, -1):
        out[place + digit] = ord("0") + whole % 10
        whole //= 10
    place += digits
    part = number % 10**DECIMALS
    if part == 0:
        return place
    out[place] = ord(".")
    for digit in range(DECIMALS, 0, -1):
        out[place + digit] = ord("0") + part % 10
        part //= 10
    return place + 1 + DECIMALS


@kernel
def write_lines(
    ngrams: NDArray[np.uint32],
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    probabilities: NDArray[np.int64],
    backoffs: NDArray[np.int64] | None,
    out: NDArray[np.uint8],
) -> int:
    """Writes a line for each n-gram; gives how many bytes they are."""
    place = 0
    for entry in range(len(ngrams)):
        place = write_number(probabilities[entry], out, place)
        for number in range(ngrams.shape[1]):
            out[place] = ord("\t") if number == 0 else ord(" ")
            place += 1
            word = np.int64(ngrams[entry, number])
            for letter in range(ends[word - 1] if word > 0 else 0, ends[word]):
                out[place] = text[letter]
                place += 1
        if backoffs is not None:
            out[place] = ord("\t")
            place = write_number(backoffs[entry], out, place + 1)
        out[place] = ord("\n")
        place += 1
    return place


class Lines:
    """The lines of an ARPA file, and the number of the last one read."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.number = path, 0
        self._file = file

    def _next(self) -> bytes:
        """The next line; nothing at the end of the file."""
        line = self._file.readline(LINE_BYTES)
        self.number += 1
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            raise self.error(f"it has more than {LINE_BYTES:,} bytes, as no line of an ARPA file has")
        return line

    def filled(self) -> bytes:
        """The next line that is not blank, without the space around it; nothing at the end of the file."""
        while line := self._next():
            if line := line.strip():
                return line
        return b""

    def some(self, size: int) -> tuple[list[bytes], list[int]]:
        """The next lines that are not blank, at most so many, and their numbers; none at the end of the file."""
        lines: list[bytes] = []
        numbers, room = [], BYTES_AT_ONCE
        while len(lines) < size and room > 0 and (line := self._next()):
            if not line.isspace():
                lines.append(line)
                numbers.append(self.number)
                room -= len(line)
        return lines, numbers

    def finish(self) -> None:
        """Reads what is left, so that a compressed file is held against the checksum at its end."""
        while self._file.read(LINE_BYTES):
            pass

    def error(self, message: str, number: int | None = None) -> ArpaError:
        """What is wrong with the last line read, or with one whose number is given."""
        return ArpaError(f"{self.path}, line {self.number if number is None else number:,}: {message}.")


@dataclass(frozen=True)
class Section:
    """The n-grams of one order, as they stand in a file.

    Attributes:
        lines: [n-grams] int64, the numbers of their lines.
        words: [n-grams, order] uint32, ids; BEGIN is ``<s>``.
        log_probabilities: [n-grams] float64, natural logarithm.
        log_backoffs: Likewise.
    """

    lines: NDArray[np.int64]
    words: NDArray[np.uint32]
    log_probabilities: NDArray[np.float64]
    log_backoffs: NDArray[np.float64]


def read_arpa(path: Path, progress: Progress | None = None) -> NgramModel:
    """A model that gives the probabilities of an ARPA file; it has no counts.

    Where a file lacks the end of an n-gram that it has (what SRILM prunes may be like this), that end is
    added, with the probability that backing off gives it: no word's probability changes. In a file
    without ``<unk>`` an unknown word is impossible.

    Args:
        path: Of the file, compressed where its name ends in .gz, .xz or .zst.
        progress: Told how many n-grams are read.

    Raises:
        ArpaError: It is no ARPA file, or there is a mistake in it.
    """
    with _opened(path) as file:
        lines = Lines(path, file)
        sizes = _read_sizes(lines)
        ids = {word.encode(): number for number, word in enumerate(SPECIAL)} | {b"<UNK>": UNKNOWN, b"<s>": BEGIN}
        sections, done = [], 0
        for order, size in enumerate(sizes, start=1):
            sections.append(_read_section(lines, order, size, ids))
            done += size
            if progress:
                progress("reading", done)
        if lines.filled() != END:
            raise lines.error(f"after {sizes[-1]:,} {len(sizes)}-grams, as many as announced, \\end\\ must stand")
        lines.finish()
    words = [word.decode() for word, number in ids.items() if len(SPECIAL) <= number < BEGIN]
    counts, estimates = _trie(lines, sections, len(SPECIAL) + len(words))
    return NgramModel(Vocabulary.of(words), counts, "arpa", estimates=estimates)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb", buffering=0) as file, decompressed(path, file) as stream:
            yield io.BufferedReader(cast("io.RawIOBase", stream))
    except DAMAGED as error:
        raise ArpaError(f"{path} is damaged: {error}.") from error


def _read_sizes(lines: Lines) -> list[int]:
    """How many n-grams of each order are announced; the heading of the first section is read as well."""
    line = lines.filled().removeprefix(codecs.BOM_UTF8)
    first = lines.number
    while line != DATA:  # what stands before it is no part of the model
        if not (line := lines.filled()):
            raise lines.error("an ARPA file begins with \\data\\", first)
    sizes: list[int] = []
    while (line := lines.filled()) != FIRST_SECTION:
        found = re.fullmatch(rb"ngram\s+0*(\d{1,9})\s*=\s*0*(\d+)", line)
        if not found or int(found[1]) != len(sizes) + 1:
            raise lines.error(f"expected ngram {len(sizes) + 1}=SIZE or \\1-grams:")
        if len(found[2]) > len(str(MOST_NGRAMS)) or int(found[2]) > MOST_NGRAMS:
            told = _shown(found[2])
            raise lines.error(f"{told} {len(sizes) + 1}-grams are more than a model can have, {MOST_NGRAMS:,}")
        sizes.append(int(found[2]))
    if not 1 <= len(sizes) <= MAX_ORDER:
        raise lines.error(f"the model is of order {len(sizes)}: it must be 1 to {MAX_ORDER}")
    return sizes


def _read_section(lines: Lines, order: int, size: int, ids: dict[bytes, int]) -> Section:
    """The n-grams of one order; those of order 1 give new words their ids.

    What is announced is read piece by piece: it may be more than there is, or than there is memory for.
    """
    if order > 1 and lines.filled() != f"\\{order}-grams:".encode():
        raise lines.error(f"after the {order - 1}-grams, as many as announced, \\{order}-grams: must stand")
    pieces, left, last = [_nothing(order)], size, lines.number
    while left:
        found, numbers = lines.some(min(READ_AT_ONCE, left))
        if not found:
            raise lines.error(f"the file ends among the {order}-grams", last + 1)
        pieces.append(_read_piece(lines, order, ids, found, numbers, last, size))
        left, last = left - len(found), numbers[-1]
    section = Section(
        np.concatenate([piece.lines for piece in pieces]),
        np.concatenate([piece.words for piece in pieces]),
        np.concatenate([piece.log_probabilities for piece in pieces]),
        np.concatenate([piece.log_backoffs for piece in pieces]),
    )
    _check(lines, section)
    return section


def _nothing(order: int) -> Section:
    return Section(np.empty(0, np.int64), np.empty((0, order), np.uint32), np.empty(0), np.empty(0))


def _read_piece(
    lines: Lines, order: int, ids: dict[bytes, int], found: list[bytes], numbers: list[int], last: int, size: int
) -> Section:
    """The n-grams of some lines; ``last`` is the number of the one before them, ``size`` what was announced."""
    fields = [_parts(line) for line in found]
    if order == 1:
        for new in fields:
            if len(new) > 1:
                ids.setdefault(new[1], len(ids) - 2)  # two of the words in it have no number of their own
    try:
        if not {*map(len, fields)} <= {order + 1, order + 2}:
            raise ValueError
        if order == 1:
            _check_text(b" ".join(line[1] for line in fields))
        probabilities = _numbers([line[0] for line in fields])
        backoffs = _numbers([line[-1] if len(line) > order + 1 else b"0" for line in fields])
        words = np.array([[ids[word] for word in line[1 : order + 1]] for line in fields], np.uint32)
    except (ValueError, KeyError) as error:
        raise _mistake(lines, order, ids, fields, numbers, last, size) from error
    return Section(np.array(numbers, np.int64), words, probabilities * LN_10, backoffs * LN_10)


def _parts(line: bytes) -> list[bytes]:
    """What stands between the spaces and tabs of a line."""
    if b"\v" in line or b"\f" in line:  # at which split() parts as well, and ARPA does not
        return PART.findall(line)
    return line.split()


def _numbers(found: list[bytes]) -> NDArray[np.float64]:
    """Numbers as ARPA files have them; float() alone would take ``nan`` and ``1_0``.

    Raises:
        ValueError: One is none.
    """
    if b" ".join(found).translate(None, PLAIN) and not all(map(NUMBER.fullmatch, found)):
        raise ValueError
    return np.array([float(number) for number in found])


def _check_text(words: bytes) -> None:
    """Refuses with a ValueError words that no vocabulary can hold."""
    words.decode()
    if b"\0" in words:
        raise ValueError


def _mistake(
    lines: Lines,
    order: int,
    ids: dict[bytes, int],
    fields: Sequence[list[bytes]],
    numbers: Sequence[int],
    last: int,
    size: int,
) -> ArpaError:
    """What is wrong with the first line that has a mistake."""
    for before, number, (found, *others) in zip((last, *numbers), numbers, fields, strict=False):
        expected = f"expected a logarithm, {order} word{'s' * (order > 1)} and perhaps a backoff"
        if found.startswith(b"\\"):  # the next heading: named is the line where something is missing
            return lines.error(f"{expected}, as {size:,} {order}-grams are announced", before + 1)
        if len(others) not in {order, order + 1}:
            return lines.error(expected, number)
        for logarithm in (found, *others[order:]):
            if not NUMBER.fullmatch(logarithm):
                return lines.error(f"{_shown(logarithm)} is no number", number)
        for word in others[:order]:
            if word not in ids:
                return lines.error(f"{_shown(word)} is not among the 1-grams", number)
            try:
                _check_text(word)
            except UnicodeDecodeError:
                return lines.error(f"the word {_shown(word)} is not UTF-8", number)
            except ValueError:
                return lines.error(f"the word {_shown(word)} holds a NUL, as no word of a text does", number)
    raise AssertionError("there is a mistake in one of the lines")


def _shown(text: bytes) -> str:
    """A piece of a file in a message: not too long, and without what a terminal would obey."""
    told = "".join(
        sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text[: 4 * SHOWN].decode(errors="replace")
    )
    return f"{told[:SHOWN]}..." if len(told) > SHOWN else told


def _check(lines: Lines, section: Section) -> None:
    """Refuses numbers and words that no n-gram can have."""
    _refuse(lines, section, ~(section.log_probabilities <= 0), "a probability is more than 1")
    _refuse(lines, section, ~(section.log_backoffs < np.inf), "a backoff weight is no finite number")
    too_large = section.log_backoffs > MOST_BACKOFF * LN_10
    _refuse(lines, section, too_large, f"a backoff weight is more than 10^{MOST_BACKOFF:.0f}")
    if section.words.shape[1] == 1:
        _refuse_repeated(lines, section, section.words[:, 0].astype(np.uint64))
    else:
        _refuse(lines, section, (section.words[:, 1:] == BEGIN).any(axis=1), "<s> is not the first word")
        _refuse(lines, section, (section.words[:, :-1] == BOUNDARY).any(axis=1), "</s> is not the last word")


def _refuse(lines: Lines, section: Section, wrong: NDArray[np.bool_], message: str) -> None:
    if wrong.any():
        raise lines.error(message, int(section.lines[wrong.argmax()]))


def _refuse_repeated(lines: Lines, section: Section, keys: NDArray[np.uint64]) -> None:
    repeated = np.ones(len(keys), bool)
    repeated[np.unique(keys, return_index=True)[1]] = False
    _refuse(lines, section, repeated, "the n-gram stands in the file twice")


def _trie(lines: Lines, sections: Sequence[Section], vocabulary_size: int) -> tuple[Counts, tuple[Estimate, ...]]:
    """The n-grams of a file, sorted into levels, and their estimates."""
    levels, estimates = [_words(vocabulary_size)], [_word_estimates(lines, sections[0], vocabulary_size)]
    for section in sections[1:]:
        section.words[:, 0][section.words[:, 0] == BEGIN] = BOUNDARY
    with Pool.of(1) as pool:
        for order, section in enumerate(sections[1:], start=2):
            keys = _keys(levels, section.words, pool)
            _refuse_repeated(lines, section, keys)
            ends = [_keys(levels, longer.words[:, -order:], pool) for longer in sections[order:]]
            missing = np.setdiff1d(np.concatenate([keys[:0], *ends]), keys)
            probabilities = [section.log_probabilities, _backed_off(levels, estimates, missing, pool)]
            backoffs = [section.log_backoffs, np.zeros(len(missing))]
            keys = np.concatenate([keys, missing])
            places = np.argsort(keys)
            levels.append(_level(keys[places], len(levels[-1])))
            estimates.append(_estimate(np.concatenate(probabilities)[places], np.concatenate(backoffs)[places]))
    return Counts(tuple(levels), None), tuple(estimates)


def _words(vocabulary_size: int) -> Level:
    return Level(np.arange(vocabulary_size, dtype=np.uint32), NO_COUNTS, np.array([0, vocabulary_size], np.int64))


def _word_estimates(lines: Lines, section: Section, vocabulary_size: int) -> Estimate:
    ids = section.words[:, 0]
    for word, number in (("<s>", BEGIN), ("</s>", BOUNDARY)):
        if number not in ids:
            raise ArpaError(f"{lines.path} has no {word} among its 1-grams: it is no model of sentences.")
    probabilities, backoffs = np.full(vocabulary_size, -np.inf), np.zeros(vocabulary_size)
    predicted = ids != BEGIN
    probabilities[ids[predicted]] = section.log_probabilities[predicted]
    backoffs[ids[predicted]] = section.log_backoffs[predicted]
    backoffs[BOUNDARY] = section.log_backoffs[~predicted].item()
    return _estimate(probabilities, backoffs)


def _estimate(probabilities: NDArray[np.float64], backoffs: NDArray[np.float64]) -> Estimate:
    with np.errstate(over="ignore"):  # a probability that float32 cannot tell from 0 is 0
        return Estimate(probabilities.astype(np.float32), backoffs.astype(np.float32))


def _level(keys: NDArray[np.uint64], parents: int) -> Level:
    """The level with these n-grams, sorted."""
    starts = np.searchsorted(keys, np.arange(parents + 1, dtype=np.uint64) << np.uint64(32))
    return Level(keys.astype(np.uint32), NO_COUNTS, starts)


def _keys(levels: Sequence[Level], ngrams: NDArray[np.uint32], pool: Pool) -> NDArray[np.uint64]:
    """[n-grams]: their parent's place in its level, which has them all, above their first word."""
    parents = _find(levels, ngrams[:, 1:], pool)
    return parents.astype(np.uint64) << np.uint64(32) | ngrams[:, 0]


def _find(levels: Sequence[Level], ngrams: NDArray[np.uint32], pool: Pool) -> NDArray[np.uint32]:
    """[n-grams]: where they stand in the level of their order, or ABSENT."""
    entries = ngrams[:, -1].copy()
    for distance, level in zip(range(2, ngrams.shape[1] + 1), levels[1:], strict=False):
        entries = find(level, entries, ngrams[:, -distance].copy(), pool)
    return entries


def _backed_off(
    levels: Sequence[Level], estimates: Sequence[Estimate], keys: NDArray[np.uint64], pool: Pool
) -> NDArray[np.float64]:
    """[keys]: natural logarithm of p(last word | context) of n-grams that the file leaves to backing off."""
    parents = (keys >> np.uint64(32)).astype(np.int64)
    shorter = Counts(tuple(levels), None).ngrams(len(levels), parents)
    contexts = _find(levels, np.column_stack([keys.astype(np.uint32), shorter[:, :-1]]), pool)
    known = contexts != ABSENT
    found = estimates[-1].log_probabilities[parents].astype(np.float64)
    found[known] += estimates[-1].log_backoffs[contexts[known]]
    return found
