"""Texts for n-gram models: one that every Python has, a file of the user's, and one made up at any size."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from trainmark.measure.failures import MissingDataError, UnsupportedError
from trainmark.store.parameters import Named, absolute

MADE = ("pydoc", "zipf")  # corpora that need no file
HELD_OUT_SHARE = 0.1  # of the sentences: the last ones, as a text goes on

# English as it is read: words, with what joins their parts, and the signs of a sentence. Markup and operators are
# left out.
_TOKEN = re.compile(r"[^\W_](?:[\w'\u2019-]*[^\W_])?|[.,;:!?()\"]")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_CONTROLS = bytes(32 if byte < 32 else byte for byte in range(256))  # what parts words, as our models see it

# Zipf-Mandelbrot: the word of rank r comes with a probability of 1 / (r + SHIFT) ** EXPONENT, up to a constant.
# With these it has 44 thousand different words after a million, 181 thousand after ten, 458 thousand after a
# hundred: twice to four times as many as English, so that no table is flattered.
RANKS = 2**19
SHIFT = 2.7  # Mandelbrot's own for English
EXPONENT = 1.35
SENTENCE_SHAPE, SENTENCE_SCALE = 2.0, 8.25  # of a gamma distribution: mean of 17 words, most of them 3 to 45
SEED = 0  # there is one such text: records that name it are of the same words
CHUNK = 2**20  # words drawn at once
_OPENINGS, _VOWELS = "bcdfghjklmnpqrstvwyz", "aeiou"


@dataclass(frozen=True)
class Corpus:
    """A text as n-gram cells read it: UTF-8, one sentence a line.

    Attributes:
        path: Of what is fitted.
        tokens: Its words, and one end for each sentence.
        digest: First 12 hexadecimal digits of the SHA-256 of the whole text: what a record names it by.
        held_out: Path of the sentences that follow it; None where none are held out.
        held_out_tokens: Of these.
    """

    path: Path
    tokens: int
    digest: str
    held_out: Path | None = None
    held_out_tokens: int = 0


def locate(text: str) -> Named:
    """A file as its name: a record names the text, not where it lies.

    Raises:
        ValueError: The file is named like a corpus that needs none.
    """
    if text in MADE:
        return text, None
    path = absolute(text)
    if path.name in MADE:
        raise ValueError(f"a file named {path.name} would pass for the corpus of that name; rename it")
    return path.name, path


def write_corpus(
    name: str,
    tokens: int,
    split: bool,
    source: Path | None,
    folder: Path,
    report: Callable[[str], None],
    _scratch: Path,
) -> Corpus:
    """Writes a corpus as cells read it: UTF-8, one sentence a line, words parted by spaces.

    Args:
        name: ``pydoc``, ``zipf``, or that of a file.
        tokens: How many are taken, ends of sentences included; the last sentence is taken whole. 0 for all.
        split: Whether its last sentences are held out, in a file of their own.
        source: The file; None for a corpus that needs none.
        folder: Where to write.
        report: Told what is being done.

    Raises:
        MissingDataError: The file is not there, or is not UTF-8.
        UnsupportedError: It has fewer tokens than asked for, or none.
    """
    report(f"writing the corpus {name}")
    path = folder / f"{Path(name).stem}-{tokens}.txt"
    digest, taken, lines = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        for line in _lines(name, source):
            if tokens and taken >= tokens:
                break
            file.write(line)
            digest.update(line)
            taken += count_tokens(line)
            lines += 1
    if taken < max(tokens, 1):
        raise UnsupportedError(f"{name} has {taken} tokens, and {tokens or 1} are asked for")
    if not split:
        return Corpus(path, taken, digest.hexdigest()[:12])
    return _split(path, lines, digest.hexdigest()[:12])


def _split(path: Path, lines: int, digest: str) -> Corpus:
    """The corpus in two files: what is fitted, and the last sentences, which are held out."""
    fitted, held_out = path.with_suffix(".fit.txt"), path.with_suffix(".held-out.txt")
    tokens = {fitted: 0, held_out: 0}
    with path.open("rb") as whole:
        for part, number in ((fitted, round(lines * (1 - HELD_OUT_SHARE))), (held_out, lines)):
            with part.open("wb") as file:
                for line in islice(whole, number):
                    file.write(line)
                    tokens[part] += count_tokens(line)
    path.unlink()
    if not all(tokens.values()):
        raise UnsupportedError(f"{path.stem} has {lines} sentences: too few to hold some of them out")
    return Corpus(fitted, tokens[fitted], digest, held_out, tokens[held_out])


def count_tokens(line: bytes) -> int:
    """Words of a line, and one for its end."""
    return len(line.translate(_CONTROLS).split()) + 1


def check(paths: Iterable[Path]) -> None:
    """Makes sure that the files that the command line names are there.

    Raises:
        MissingDataError: One is not.
    """
    for path in paths:
        if not path.is_file():
            raise MissingDataError(f"No corpus {path.name}: {path} is not a file.")


def _lines(name: str, source: Path | None) -> Iterator[bytes]:
    """The sentences, each with its line feed."""
    if source is not None:
        yield from _file_lines(name, source)
    elif name == "pydoc":
        yield from pydoc_sentences()
    elif name == "zipf":
        yield from zipf_sentences()
    else:
        raise MissingDataError(f"No corpus {name}: give the path of its file.")


def _file_lines(name: str, path: Path) -> Iterator[bytes]:
    number = 0
    try:
        with _open(path) as file:
            for line in file:
                number += 1
                line.decode("utf-8")
                yield line if line.endswith(b"\n") else line + b"\n"
    except UnicodeDecodeError as error:
        raise MissingDataError(f"{name} is not UTF-8: line {number}, byte {error.start + 1}.") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise MissingDataError(f"{name} cannot be read: {error}.") from error


def _open(path: Path) -> gzip.GzipFile | lzma.LZMAFile | IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".xz":
        return lzma.open(path)
    return path.open("rb")


def pydoc_sentences() -> Iterator[bytes]:
    """The English of Python's own help, lower-cased, punctuation split off, one sentence a line.

    Some 64,000 words and 19,000 signs; it differs a little between versions of Python.
    """
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        for paragraph in _PARAGRAPH_END.split(topics[topic].lower()):
            for sentence in _SENTENCE_END.split(paragraph):
                found = _TOKEN.findall(sentence)
                if any(token[0].isalpha() for token in found):
                    yield (" ".join(found) + "\n").encode()


def zipf_sentences(seed: int = SEED) -> Iterator[bytes]:
    """Sentences without end, of words that follow the law of Zipf and Mandelbrot, independent of each other.

    So pairs and triples repeat less than in a language: a table of them is larger.

    Source: Mandelbrot 1953, "An informational theory of the statistical structure of language".
    """
    import numpy as np  # here: knowing what corpora there are needs none of it

    generator = np.random.default_rng(seed)
    weights = (np.arange(1, RANKS + 1) + SHIFT) ** -EXPONENT
    shares = np.cumsum(weights / weights.sum())
    shares[-1] = 1.0  # whatever rounding made of it: no draw lies above
    words = [spell(rank) for rank in range(RANKS)]
    while True:
        lengths = 1 + generator.gamma(SENTENCE_SHAPE, SENTENCE_SCALE, CHUNK // 16).astype(np.int64)
        ends = np.cumsum(lengths)
        ends = ends[: np.searchsorted(ends, CHUNK)].tolist()
        ranks = np.searchsorted(shares, generator.random(ends[-1]), side="right").tolist()
        text = [words[rank] for rank in ranks]
        begin = 0
        for end in ends:
            yield b" ".join(text[begin:end]) + b"\n"
            begin = end


def spell(rank: int) -> bytes:
    """A word that can be spoken, shorter for the more frequent: ``ba``, ``be`` … ``baba``."""
    syllables = ""
    number = rank + 1
    while number:
        number, syllable = divmod(number - 1, len(_OPENINGS) * len(_VOWELS))
        opening, vowel = divmod(syllable, len(_VOWELS))
        syllables = _OPENINGS[opening] + _VOWELS[vowel] + syllables
    return syllables.encode()
