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
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ngram.arpa_format import LN_10, MOST_BACKOFF, MOST_NGRAMS, ArpaError
from models.ngram.arpa_lines import BEGIN, Lines, Words
from models.ngram.arpa_trie import Section, refuse_repeated, trie
from models.ngram.arpa_writing import write_arpa
from models.ngram.compressed_files import DamagedFileError, Readable, decompressed
from models.ngram.counting_progress import Progress
from models.ngram.language_model import NgramModel
from models.ngram.levels import BOUNDARY, MAX_ORDER, UNKNOWN
from models.ngram.vocabulary import SPECIAL, Vocabulary

__all__ = ["ArpaError", "read_arpa", "write_arpa"]

READ_AT_ONCE = 1 << 6  # lines, as Python's objects: those after them may be plain again
FIRST_ROOM = 1 << 23  # n-grams; what is not needed gets no more than an address, and there is more where need be
TOLD_EACH = 1 << 18  # n-grams: how often is told how far it is
SHOWN = 40  # characters of a file's text in a message
DATA, FIRST_SECTION, END = b"\\data\\", b"\\1-grams:", b"\\end\\"
PART = re.compile(rb"[^ \t\r\n]+")
PLAIN = b"0123456789+-.eE "  # of numbers that float() reads as everybody does
NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf)", re.IGNORECASE)


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
        sections: list[Section] = []
        known: Words | None = None

        def told(read: int) -> None:
            if progress:
                progress("reading", read + sum(map(len, sections)), sum(sizes))

        for order, size in enumerate(sizes, start=1):
            sections.append(_read_section(lines, order, size, ids, known, told))
            known = known or Words.of(ids)
        if lines.filled() != END:
            raise lines.error(f"after {sizes[-1]:,} {len(sizes)}-grams, as many as announced, \\end\\ must stand")
        lines.finish()
    words = [word for word, number in ids.items() if len(SPECIAL) <= number < BEGIN]
    vocabulary = Vocabulary.of_encoded(words)
    counts, estimates = trie(lines, sections, len(vocabulary))
    return NgramModel(vocabulary, counts, "arpa", estimates=estimates)


@contextmanager
def _opened(path: Path) -> Iterator[Readable]:
    try:
        with path.open("rb", buffering=0) as file, decompressed(path, file) as stream:
            yield stream
    except DamagedFileError as error:
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


def _read_section(
    lines: Lines, order: int, size: int, ids: dict[bytes, int], known: Words | None, told: Callable[[int], None]
) -> Section:
    """The n-grams of one order; those of order 1, where no word is known yet, give new words their ids.

    What is announced is read piece by piece: it may be more than there is, or than there is memory for.
    """
    if order > 1 and lines.filled() != f"\\{order}-grams:".encode():
        raise lines.error(f"after the {order - 1}-grams, as many as announced, \\{order}-grams: must stand")
    section, done, last = Section.of(order, min(size, FIRST_ROOM)), 0, lines.number
    while done < size:
        if plain := _read_plain(lines, section, ids, known, done, min(len(section), done + TOLD_EACH)):
            section.note_line(done, lines.number - plain + 1)
            done, last = done + plain, lines.number
            told(done)
            continue
        if done == len(section):
            section = section.resized(min(size, 2 * len(section)))
            continue
        found, numbers = lines.some(min(READ_AT_ONCE, len(section) - done))
        if not found:
            raise lines.error(f"the file ends among the {order}-grams", last + 1)
        piece = slice(done, done + len(found))
        words, logarithms = _read_piece(lines, order, ids, found, numbers, last, size)
        _check(lines, words, logarithms, numbers)
        section.words[:, piece], section.logarithms[:, piece] = words, logarithms
        for ngram, number in enumerate(numbers, start=done):
            section.note_line(ngram, number)
        done, last = done + len(found), numbers[-1]
        told(done)
    if order == 1:
        refuse_repeated(lines, section, section.words[0].astype(np.uint64))
    return section


def _read_plain(
    lines: Lines, section: Section, ids: dict[bytes, int], known: Words | None, first: int, last: int
) -> int:
    """Reads plain lines into a section; gives how many."""
    if known:
        return lines.plain(known, section.words, section.logarithms, first, last)
    found = lines.plain_words(section.logarithms, first, last)
    for word in found:
        _give_id(ids, word)
    section.words[0, first : first + len(found)] = [ids[word] for word in found]
    return len(found)


def _give_id(ids: dict[bytes, int], word: bytes) -> None:
    """The next free id to a new word: two of those that are there from the begin on have no number of their own."""
    ids.setdefault(word, len(ids) - 2)


def _read_piece(
    lines: Lines, order: int, ids: dict[bytes, int], found: list[bytes], numbers: list[int], last: int, size: int
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """[order, lines], the words of some lines, and [2, lines], their logarithms.

    ``last`` is the number of the line before them, ``size`` what was announced.
    """
    fields = [_parts(line) for line in found]
    if order == 1:
        for new in fields:
            if len(new) > 1:
                _give_id(ids, new[1])
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
    return words.T, np.stack([probabilities, backoffs]) * LN_10


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


def _check(lines: Lines, words: NDArray[np.uint32], logarithms: NDArray[np.float64], numbers: Sequence[int]) -> None:
    """Refuses numbers and words that no n-gram can have, of some lines; the kernel leaves none of those it reads."""
    log_probabilities, log_backoffs = logarithms
    wrong = {
        "a probability is more than 1": ~(log_probabilities <= 0),
        "a backoff weight is no finite number": ~(log_backoffs < np.inf),
        f"a backoff weight is more than 10^{MOST_BACKOFF:.0f}": log_backoffs > MOST_BACKOFF * LN_10,
        "<s> is not the first word": (words[1:] == BEGIN).any(axis=0),
        "</s> is not the last word": (words[:-1] == BOUNDARY).any(axis=0),
    }
    for message, those in wrong.items():
        if those.any():
            raise lines.error(message, numbers[int(those.argmax())])
