"""From files to text: what is read, what a word is, and what is no text."""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.ngram.compressed_files import COMPRESSED_SUFFIXES, DamagedFileError, Readable, decompressed
from models.ngram.padded import PADDING, Padded
from models.ngram.utf8 import first_invalid

CHUNK_BYTES = 1 << 20  # fits a core's cache
SEPARATORS = bytes(range(0x21))  # what parts words: space, tab, line feed, NUL and the other control characters
LINE_FEED = 0x0A
SPACE = "▁"  # U+2581, the token of a space where characters are tokens
TEXT_SUFFIXES = ("", ".txt", ".text", ".md", ".rst")  # of the files that are read of a folder
STANDARD_INPUT = "-"

Source = str | Path | bytes


class CorpusError(ValueError):
    """What should be a text cannot be read as one."""


@dataclass(frozen=True)
class TextOptions:
    """What is done to a text before it is parted into words.

    Attributes:
        lower: Capitals become small letters.
        punctuation: Marks and symbols at the edge of a word become words of their own; those within
            stay (``don't``, ``3.14``).
        characters: Each character (code point) is a token, a separator between words is ``▁``.
        sentences: A line feed ends a sentence. Without it the corpus is one sentence, and a line
            feed is a separator like any other.
    """

    lower: bool = False
    punctuation: bool = False
    characters: bool = False
    sentences: bool = True


def read_chunks(
    sources: Source | Iterable[Source], options: TextOptions = TextOptions(), chunk_bytes: int = CHUNK_BYTES
) -> Iterator[bytes]:
    """The text of the sources in pieces of whole lines, in UTF-8.

    A piece may end within a line that is longer than ``chunk_bytes``, but never within a word or a
    character: a word of any length stays whole. Every file ends with a line feed, its own or one
    added. A byte order mark is left out.

    Args:
        sources: One or several of: a file, compressed where its name ends in .gz, .xz or .zst; a
            folder, whose text files are read in the order of their paths; ``-``, standard input;
            text in memory, as bytes.
        options: What is done to the text.
        chunk_bytes: About how large a piece is.

    Raises:
        CorpusError: A source is missing, damaged or not UTF-8, or no source holds a word.
    """
    return map(bytes, read_views(sources, options, chunk_bytes))


def read_views(
    sources: Source | Iterable[Source], options: TextOptions = TextOptions(), chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Padded]:
    """The same without a copy: each piece is gone when the next one is asked for."""
    sources = listed(sources)
    transform = _transform(options)
    worded = False
    for source in sources:
        for name, stream in _streams(source):
            for chunk in validated(name, whole_lines(name, stream, chunk_bytes)):
                worded = worded or bool(bytes(chunk).lstrip(SEPARATORS))
                yield Padded.of(transform(bytes(chunk))) if transform else chunk
    if not worded:
        raise without_word(sources)
    if not options.sentences:
        yield Padded.of(b"\n")


def listed(sources: Source | Iterable[Source]) -> list[Source]:
    """The sources, be it one or several."""
    return [sources] if isinstance(sources, str | Path | bytes) else list(sources)


def without_word(sources: Iterable[Source]) -> CorpusError:
    """What is wrong with sources that hold no word."""
    return CorpusError(f"There is no word in {', '.join(map(_name, sources)) or 'no source at all'}.")


def tokens(chunks: Iterable[bytes]) -> Iterator[list[str]]:
    """The words of each sentence of the text in these chunks.

    Raises:
        CorpusError: ``<s>`` or ``</s>`` is among them.
    """
    sentence: list[str] = []
    for chunk in chunks:
        first, *others = chunk.decode().split("\n")
        sentence += _words(first)
        for line in others:
            yield sentence
            sentence = _words(line)
    if sentence:
        yield sentence


def split_words(text: str) -> list[str]:
    """The words of a text, parted as everywhere here: by the characters up to U+0020, and by no other."""
    return re.findall(r"[^\x00-\x20]+", text)


def _words(line: str) -> list[str]:
    words = split_words(line)
    for boundary in ("<s>", "</s>"):
        if boundary in words:
            raise CorpusError(
                f"The text has the word {boundary}, the boundary of a sentence in every model: remove it from the text."
            )
    return words


def _name(source: Source) -> str:
    if isinstance(source, bytes):
        return "the text in memory"
    return "standard input" if source == STANDARD_INPUT else str(source)


def _streams(source: Source) -> Iterator[tuple[str, Readable]]:
    """The name and the bytes of every file of a source, each closed when the next is asked for."""
    if isinstance(source, bytes):
        yield _name(source), io.BytesIO(source)
    elif source == STANDARD_INPUT:
        yield _name(source), cast("Readable", sys.stdin.buffer)
    else:
        for path in files(Path(source)):
            try:
                with path.open("rb", buffering=0) as file, decompressed(path, file) as stream:
                    yield str(path), stream
            except OSError as error:
                raise CorpusError(f"{path} cannot be read: {error.strerror or error}.") from error


def files(path: Path) -> list[Path]:
    """The text files of a folder, in the order of their paths; a file itself.

    Raises:
        CorpusError: The folder has none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if _text_suffix(file) in TEXT_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    )
    if not found:
        named = ", ".join(TEXT_SUFFIXES[1:])
        raise CorpusError(f"The folder {path} has no text file: one named {named} or without a suffix.")
    return found


def _text_suffix(path: Path) -> str:
    return path.with_suffix("").suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def whole_lines(name: str, stream: Readable, size: int) -> Iterator[Padded]:
    """The bytes of a stream, parted after a line feed; within a line without one, after a space.

    All pieces lie in the same memory, one after the other: new memory takes longer than reading into it.
    """
    buffer, filled, closed = bytearray(2 * size + PADDING), 0, True
    while read := _read(name, stream, memoryview(buffer)[filled : filled + size]):
        end = filled + read
        cut = (buffer.rfind(b"\n", filled, end) + 1) or (buffer.rfind(b" ", filled, end) + 1)
        if cut:
            closed = buffer[cut - 1] == LINE_FEED
            yield Padded(np.frombuffer(buffer, np.uint8), cut)
            buffer[: end - cut] = buffer[cut:end]
        filled = end - cut
        if filled + size + PADDING > len(buffer):
            buffer = buffer + bytes(len(buffer))
    if filled or not closed:
        buffer[filled] = LINE_FEED
        yield Padded(np.frombuffer(buffer, np.uint8), filled + 1)


def _read(name: str, stream: Readable, room: memoryview) -> int:
    try:
        return stream.readinto(room) or 0
    except DamagedFileError as error:
        raise CorpusError(f"{name} is damaged: {error}.") from error


def validated(name: str, chunks: Iterable[Padded], offset: int = 0) -> Iterator[Padded]:
    """The pieces of a file from a byte on, without a byte order mark; refuses with a CorpusError what is not UTF-8."""
    for chunk in chunks:
        at = first_invalid(chunk.text)
        if at is not None:
            raise CorpusError(
                f"{name} is not UTF-8: byte {offset + at:,} is 0x{chunk.memory[at]:02x}. Convert it, as with iconv."
            )
        mark = len(codecs.BOM_UTF8)
        yield chunk.without(mark) if not offset and chunk.text[:mark].tobytes() == codecs.BOM_UTF8 else chunk
        offset += len(chunk)


def _transform(options: TextOptions) -> Callable[[bytes], bytes] | None:
    """What the options do to a chunk; None where they leave it as it is."""
    if options == TextOptions():
        return None

    def transform(chunk: bytes) -> bytes:
        text = chunk.decode()
        if not options.sentences:
            text = text.replace("\n", " ")
        if options.lower:
            text = text.lower()
        if options.punctuation:
            text = _with_marks_apart(text)
        if options.characters:
            text = _with_characters_apart(text)
        return text.encode()

    return transform


def _with_marks_apart(text: str) -> str:
    """The text with a space on both sides of each mark that does not stand within a word."""
    codes = _codes(text)
    mark = _is_mark()[codes]
    within = np.pad(~mark & (codes > ord(" ")), 1)  # a letter, a digit or the like; none before and after the text
    (apart,) = np.nonzero(mark & ~(within[:-2] & within[2:]))
    return _text(np.insert(codes, np.concatenate([apart, apart + 1]), ord(" ")))


def _with_characters_apart(text: str) -> str:
    """The text with a space after each character, and ``▁`` for what parted the words."""
    codes = _codes(text.replace("\r\n", "\n"))
    parted = np.full(2 * len(codes), ord(" "), np.uint32)
    parted[::2] = np.where((codes <= ord(" ")) & (codes != ord("\n")), ord(SPACE), codes)
    return _text(parted)


def _codes(text: str) -> NDArray[np.uint32]:
    """[characters]: their code points."""
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _text(codes: NDArray[np.uint32]) -> str:
    return codes.tobytes().decode("utf-32-le")


@cache
def _is_mark() -> NDArray[np.bool_]:
    """[code points]: whether it is a mark or a symbol."""
    import unicodedata

    table = np.zeros(sys.maxunicode + 1, np.bool_)
    known = range(0x20000)  # none lies beyond
    table[: len(known)] = [unicodedata.category(chr(code))[0] in "PS" for code in known]
    return table
