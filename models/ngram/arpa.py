"""ARPA files: the text format in which n-gram models are exchanged, as KenLM and SRILM read and write it.

A file has a section for each order, and in it a line for each n-gram: the common logarithm of its
probability, its words, and the common logarithm of its backoff weight. It says nothing of counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from models.ngram.fitting import Progress
from models.ngram.kernel import kernel
from models.ngram.kneser_ney import Estimate
from models.ngram.language_model import NgramModel
from models.ngram.levels import BOUNDARY, MAX_ORDER, UNKNOWN, Counts, Level
from models.ngram.pool import Pool
from models.ngram.search import ABSENT, find
from models.ngram.vocabulary import SPECIAL, Vocabulary

WRITTEN_AT_ONCE = 1 << 16  # n-grams: their lines fit the caches
READ_AT_ONCE = 1 << 12  # likewise, as Python's objects; 1 << 16 takes a quarter longer
DECIMALS = 7  # float32 has seven digits, and most logarithms one before the point
NUMBER_BYTES = 24  # of a logarithm and what parts it from its neighbours, at most
LOG_ZERO = -99.0  # in place of the logarithm of 0, as SRILM writes it: <s> is never predicted
LN_10 = float(np.log(10.0))
BEGIN = 0xFFFFFFFE  # stands for <s> while a file is read, which must not be taken for </s>
NO_COUNTS = np.empty(0, np.uint32)


class ArpaError(ValueError):
    """A file is no ARPA file, or a model cannot be written as one."""


def write_arpa(model: NgramModel, path: Path, progress: Progress | None = None) -> None:
    """Writes a model as an ARPA file; an interrupted one leaves no file.

    Args:
        model: With Kneser-Ney smoothing, or read from an ARPA file.
        path: Of the file; one that is there is replaced.
        progress: Told how many n-grams are written.

    Raises:
        ArpaError: The model is of another kind.
    """
    if not model.estimates:
        raise ArpaError(
            f"An ARPA file holds a model that backs off, which one with {model.smoothing} smoothing does not: "
            "fit it with kneser-ney."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f"{path.name}.unfinished-{os.getpid()}"
    try:
        with unfinished.open("wb") as file:
            _write(model, file, progress)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
            file.write(_lines(ngrams, text, ends, _scaled(estimate.log_probabilities[some]), backoffs))
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
    scaled: NDArray[np.int64] = np.rint(finite * (10**DECIMALS / LN_10)).astype(np.int64)
    return scaled


def _lines(
    ngrams: NDArray[np.uint32],
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    probabilities: NDArray[np.int64],
    backoffs: NDArray[np.int64] | None,
) -> memoryview:
    """A line for each n-gram."""
    lengths = np.diff(ends, prepend=0)
    room = int(lengths[ngrams].sum()) + ngrams.size + 2 * NUMBER_BYTES * len(ngrams)
    out = np.empty(room, np.uint8)
    return out[: write_lines(ngrams, text, ends, probabilities, backoffs, out)].data


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

    def filled(self) -> bytes:
        """The next line that is not blank, without the space around it; nothing at the end of the file."""
        for line in self._file:
            self.number += 1
            if line.strip():
                return line.strip()
        self.number += 1
        return b""

    def some(self, size: int) -> list[bytes]:
        """The next lines, that many where there are as many."""
        lines = list(islice(self._file, size))
        self.number += len(lines)
        return lines

    def error(self, message: str, number: int | None = None) -> ArpaError:
        """What is wrong with the last line read, or with one whose number is given."""
        return ArpaError(f"{self.path}, line {self.number if number is None else number:,}: {message}.")


@dataclass(frozen=True)
class Section:
    """The n-grams of one order, as they stand in a file.

    Attributes:
        first_line: Number of the first one's line; the others follow.
        words: [n-grams, order] uint32, ids; BEGIN is ``<s>``.
        log_probabilities: [n-grams] float64, natural logarithm.
        log_backoffs: Likewise.
    """

    first_line: int
    words: NDArray[np.uint32]
    log_probabilities: NDArray[np.float64]
    log_backoffs: NDArray[np.float64]


def read_arpa(path: Path, progress: Progress | None = None) -> NgramModel:
    """A model that gives the probabilities of an ARPA file; it has no counts.

    Where a file lacks the end of an n-gram that it has (what SRILM prunes may be like this), that end is
    added, with the probability that backing off gives it: no word's probability changes. In a file
    without ``<unk>`` an unknown word is impossible.

    Args:
        path: Of the file.
        progress: Told how many n-grams are read.

    Raises:
        ArpaError: It is no ARPA file, or there is a mistake in it.
    """
    with path.open("rb") as file:
        lines = Lines(path, file)
        sizes = _read_sizes(lines)
        ids = {word.encode(): number for number, word in enumerate(SPECIAL)} | {b"<UNK>": UNKNOWN, b"<s>": BEGIN}
        sections, done = [], 0
        for order, size in enumerate(sizes, start=1):
            sections.append(_read_section(lines, order, size, ids))
            done += size
            if progress:
                progress("reading", done)
        if lines.filled() != b"\\end\\":
            raise lines.error(f"after {sizes[-1]:,} {len(sizes)}-grams, as many as announced, \\end\\ must stand")
    try:
        words = [word.decode() for word, number in ids.items() if len(SPECIAL) <= number < BEGIN]
    except UnicodeDecodeError as error:
        raise ArpaError(f"{path} is not UTF-8: one of its words is {error.object!r}.") from error
    counts, estimates = _trie(lines, sections, len(SPECIAL) + len(words))
    return NgramModel(Vocabulary.of(words), counts, "arpa", estimates=estimates)


def _read_sizes(lines: Lines) -> list[int]:
    """How many n-grams of each order are announced; the heading of the first section is read as well."""
    if lines.filled() != b"\\data\\":
        raise lines.error("an ARPA file begins with \\data\\")
    sizes: list[int] = []
    while (line := lines.filled()) != b"\\1-grams:":
        found = re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line)
        if not found or int(found[1]) != len(sizes) + 1:
            raise lines.error(f"expected ngram {len(sizes) + 1}=SIZE or \\1-grams:")
        sizes.append(int(found[2]))
    if not 1 <= len(sizes) <= MAX_ORDER:
        raise lines.error(f"the model is of order {len(sizes)}: it must be 1 to {MAX_ORDER}")
    return sizes


def _read_section(lines: Lines, order: int, size: int, ids: dict[bytes, int]) -> Section:
    """The n-grams of one order; those of order 1 give new words their ids."""
    if order > 1 and lines.filled() != f"\\{order}-grams:".encode():
        raise lines.error(f"after the {order - 1}-grams, as many as announced, \\{order}-grams: must stand")
    first_line = lines.number + 1
    words, probabilities, backoffs = np.empty((size, order), np.uint32), np.empty(size), np.empty(size)
    for first in range(0, size, READ_AT_ONCE):
        fields = [line.split() for line in lines.some(min(READ_AT_ONCE, size - first))]
        some = slice(first, first + len(fields))
        if order == 1:
            for new in fields:
                if len(new) > 1:
                    ids.setdefault(new[1], len(ids) - 2)  # two of the words in it have no number of their own
        if len(fields) < min(READ_AT_ONCE, size - first) or not {*map(len, fields)} <= {order + 1, order + 2}:
            raise _mistake(lines, order, ids, fields, first_line + first)
        try:
            probabilities[some] = [float(line[0]) for line in fields]
            backoffs[some] = [float(line[-1]) if len(line) > order + 1 else 0.0 for line in fields]
            for place in range(order):
                words[some, place] = [ids[line[place + 1]] for line in fields]
        except (ValueError, KeyError) as error:
            raise _mistake(lines, order, ids, fields, first_line + first) from error
    section = Section(first_line, words, probabilities * LN_10, backoffs * LN_10)
    _check(lines, section)
    return section


def _mistake(lines: Lines, order: int, ids: dict[bytes, int], fields: Sequence[list[bytes]], line: int) -> ArpaError:
    """What is wrong with the first line that has a mistake."""
    for number, (found, *others) in enumerate((line or [b""] for line in fields), start=line):
        if len(others) not in {order, order + 1}:
            return lines.error(f"expected a logarithm, {order} word{'s' * (order > 1)} and perhaps a backoff", number)
        for logarithm in (found, *others[order:]):
            try:
                float(logarithm)
            except ValueError:
                return lines.error(f"{logarithm.decode(errors='replace')} is no number", number)
        for word in others[:order]:
            if word not in ids:
                return lines.error(f"{word.decode(errors='replace')} is not among the 1-grams", number)
    return lines.error(f"the file ends among the {order}-grams", line + len(fields))


def _check(lines: Lines, section: Section) -> None:
    """Refuses numbers and words that no n-gram can have."""
    _refuse(lines, section, ~(section.log_probabilities <= 0), "a probability is more than 1")
    _refuse(lines, section, ~(section.log_backoffs < np.inf), "a backoff weight is no finite number")
    if section.words.shape[1] == 1:
        _refuse_repeated(lines, section, section.words[:, 0].astype(np.uint64))
    else:
        _refuse(lines, section, (section.words[:, 1:] == BEGIN).any(axis=1), "<s> is not the first word")
        _refuse(lines, section, (section.words[:, :-1] == BOUNDARY).any(axis=1), "</s> is not the last word")


def _refuse(lines: Lines, section: Section, wrong: NDArray[np.bool_], message: str) -> None:
    if wrong.any():
        raise lines.error(message, section.first_line + int(wrong.argmax()))


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
