"""Files that are compressed by the ending of their names: .gz, .xz and .zst. What a kind needs is imported with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

COMPRESSED_SUFFIXES = (".gz", ".xz", ".zst")
GZIP_LEVEL, XZ_PRESET = 6, 2  # beyond these a file is little smaller and takes several times as long
GZIP_HEAD = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # RFC 1952: deflate, no time, no name, of no system
GZIP_END = b"\x03\x00"  # RFC 1951: an empty last block
NARROW = 0xFFFFFFFF

Piece = memoryview | bytes


class DamagedFileError(ValueError):
    """A compressed file is cut short, is none, or is not what was written, by its checksum."""


class Readable(Protocol):
    """What bytes can be read from."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Writes the next bytes, as many as have room at most, and gives their number; 0 at the end."""


class Decompressing:
    """What a file held before it was compressed.

    Args:
        stream: That decompresses it.
        errors: That it may raise beside EOFError.
    """

    def __init__(self, stream: Readable, errors: tuple[type[Exception], ...]) -> None:
        self._stream = stream
        self._errors: tuple[type[Exception], ...] = (EOFError, *errors)

    def readinto(self, buffer: memoryview, /) -> int | None:
        """As of any stream.

        Raises:
            DamagedFileError: The file is damaged.
        """
        try:
            return self._stream.readinto(buffer)
        except self._errors as error:
            raise DamagedFileError(str(error)) from error


@contextmanager
def decompressed(path: Path, file: IO[bytes]) -> Iterator[Readable]:
    """What a file held before it was compressed; reading may raise a DamagedFileError."""
    if path.suffix not in COMPRESSED_SUFFIXES:
        yield cast("Readable", file)
        return
    stream, errors = _opened(path.suffix, file, "rb")
    with stream:
        yield Decompressing(stream, errors)


def _opened(suffix: str, file: IO[bytes], mode: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """The stream that reads or writes a compressed file, and what it may raise: the same bytes each time."""
    if suffix == ".gz":
        import zlib
        from gzip import BadGzipFile, GzipFile

        return GzipFile("", mode, GZIP_LEVEL, file, mtime=0), (BadGzipFile, zlib.error)
    if suffix == ".xz":
        import lzma

        return lzma.LZMAFile(file, mode, preset=XZ_PRESET if mode == "wb" else None), (lzma.LZMAError,)
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdFile(file, cast("Any", mode)), (zstd.ZstdError,)


@dataclass(frozen=True)
class Packing:
    """How a file is written piece by piece.

    Attributes:
        pack: Compresses a piece; any thread may, at any time. Of most kinds it leaves it as it is.
        write: Writes a piece, given as it was and packed; one after the other.
    """

    pack: Callable[[Piece], Piece]
    write: Callable[[Piece, Piece], None]


@contextmanager
def packing(path: Path, file: IO[bytes]) -> Iterator[Packing]:
    """Where to write what a file shall hold, compressed by the ending of its name: the same bytes each time."""
    if path.suffix == ".gz":
        yield from _gzip_packing(file)
    elif path.suffix in COMPRESSED_SUFFIXES:
        stream, _ = _opened(path.suffix, file, "wb")
        with stream:
            yield Packing(lambda piece: piece, lambda _, packed: write_all(stream, packed))
    else:
        yield Packing(lambda piece: piece, lambda _, packed: write_all(file, packed))


def _gzip_packing(file: IO[bytes]) -> Iterator[Packing]:
    """One gzip file of pieces that were compressed each by itself: on every core, and nobody who reads it sees it."""
    import zlib

    checksum, size = 0, 0

    def pack(piece: Piece) -> bytes:
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)

    def write(plain: Piece, packed: Piece) -> None:
        nonlocal checksum, size
        checksum, size = zlib.crc32(plain, checksum), size + len(plain)
        write_all(file, packed)

    write_all(file, GZIP_HEAD)
    yield Packing(pack, write)
    write_all(file, GZIP_END + checksum.to_bytes(4, "little") + (size & NARROW).to_bytes(4, "little"))


def write_all(stream: IO[bytes], piece: Piece) -> None:
    """Writes a piece whole: a file without a buffer may take less than it is given."""
    left = memoryview(piece)
    while left:
        left = left[stream.write(left) :]
