"""Files in parts of whole lines, so that each part can be read by a thread of its own."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.ngram.compressed_files import COMPRESSED_SUFFIXES
from models.ngram.padded import Padded
from models.ngram.text import CHUNK_BYTES, STANDARD_INPUT, CorpusError, Source, files, validated, whole_lines

LEAST_BYTES = 1 << 22  # of a part: with less, to bring the parts together takes as long as is won
SEARCHED_BYTES = 1 << 16  # for the end of a line, at once


@dataclass(frozen=True)
class Stretch:
    """Whole lines of a file.

    Attributes:
        path: Of the file.
        begin: Its byte with which the first line begins.
        end: The byte after the last line.
    """

    path: Path
    begin: int
    end: int


class Stretched:
    """The bytes of a stretch, to be read one after the other.

    Args:
        file: At the begin of the stretch.
        size: Its bytes.
    """

    def __init__(self, file: io.FileIO, size: int) -> None:
        self._file, self._left = file, size

    def readinto(self, buffer: memoryview, /) -> int:
        """Writes the next bytes, as many as have room at most, and gives their number; 0 at the end."""
        read = self._file.readinto(buffer[: self._left]) or 0
        self._left -= read
        return read


def parted(sources: Sequence[Source], parts: int) -> list[list[Stretch]]:
    """The text of the sources in about equally large parts, as many at most; none where it cannot be parted.

    What is compressed, in memory, a pipe or not there is not parted, nor is what is small.
    """
    if any(isinstance(source, bytes) or source == STANDARD_INPUT for source in sources):
        return []
    try:
        paths = [path for source in sources for path in files(Path(source))]  # type: ignore[arg-type]  # no bytes
        if any(path.suffix in COMPRESSED_SUFFIXES or not path.is_file() for path in paths):
            return []
        sizes = [path.stat().st_size for path in paths]
        parts = min(parts, sum(sizes) // LEAST_BYTES)
        return [list(_stretches(paths, sizes, number, parts)) for number in range(parts)] if parts > 1 else []
    except (CorpusError, OSError):  # who reads it from its begin on says what is wrong, and where
        return []


def _stretches(paths: Sequence[Path], sizes: Sequence[int], number: int, parts: int) -> Iterator[Stretch]:
    """The part with that number."""
    begin, end = (sum(sizes) * edge // parts for edge in (number, number + 1))
    for path, size in zip(paths, sizes, strict=True):
        first, last = (line_begin(path, min(max(edge, 0), size), size) for edge in (begin, end))
        if first < last:
            yield Stretch(path, first, last)
        begin, end = begin - size, end - size


def line_begin(path: Path, place: int, size: int) -> int:
    """Where the first line begins from a byte of a file on; its size where none does."""
    if place in {0, size}:
        return place
    with path.open("rb", buffering=0) as file:
        place = file.seek(place - 1)
        while block := file.read(SEARCHED_BYTES):
            if (found := block.find(b"\n")) >= 0:
                return place + found + 1
            place += len(block)
    return size


def read_stretches(stretches: Sequence[Stretch]) -> Iterator[Padded]:
    """The text of some stretches, as :func:`models.ngram.text.read_views` gives that of sources.

    Raises:
        CorpusError: A file cannot be read, or is not UTF-8.
    """
    for stretch in stretches:
        name = str(stretch.path)
        try:
            with stretch.path.open("rb", buffering=0) as file:
                file.seek(stretch.begin)
                stream = Stretched(file, stretch.end - stretch.begin)
                yield from validated(name, whole_lines(name, stream, CHUNK_BYTES), stretch.begin)
        except OSError as error:
            raise CorpusError(f"{stretch.path} cannot be read: {error.strerror or error}.") from error
