"""One array of a stored model: its file is written, or mapped and told to be what it must be before it is used."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What np.save writes before an array of one axis, in format 1.0: magic, version, length of the header, a dictionary.
MAGIC = b"\x93NUMPY\x01\x00"
DESCRIBED = re.compile(rb"\{'descr': '([<|]\w\d)', 'fortran_order': False, 'shape': \((\d{1,18}),\), \} *\n")
PIECE = 1 << 20  # bytes: from a core's cache they are digested and written
HEAD_BYTES, ALIGNMENT = 4096, 64  # all of that is shorter, and a multiple of so many bytes


class ModelFileError(ValueError):
    """A folder holds no model that this version reads; the message says which and why."""


@dataclass(frozen=True)
class StoredArray:
    """An array and the file that it lies in.

    Attributes:
        array: [size], mapped.
        file: [bytes] uint8, the whole file, mapped.
        state: Device, inode, bytes, and nanoseconds of the last change of contents and of the inode.
    """

    array: NDArray[Any]
    file: NDArray[np.uint8]
    state: tuple[int, int, int, int, int]


def store_array(path: Path, array: NDArray[Any]) -> str:
    """Writes an array of one axis into a file, and gives the file's SHA-256, taken on the way to it."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    data = np.ascontiguousarray(array).view(np.uint8).data
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (head.getbuffer(), *(data[first : first + PIECE] for first in range(0, len(data), PIECE))):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def open_array(path: Path, kind: str, size: int) -> StoredArray:
    """The array in a file.

    Args:
        path: Of the file, in the format of NumPy.
        kind: The type of its items, such as ``<u4``.
        size: How many there must be.

    Raises:
        ModelFileError: It is another array, or none.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise ModelFileError(f"{path} is no file.")
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            begin = _begin(path, stream.read(HEAD_BYTES), kind, size)
            needed = begin + size * np.dtype(kind).itemsize
            if status.st_size != needed:
                raise ModelFileError(f"{path} is damaged: it has {status.st_size:,} bytes instead of {needed:,}.")
            file = np.memmap(stream, np.uint8, "r")
    except OSError as error:
        raise ModelFileError(f"{path} is missing or cannot be read: {error.strerror or error}.") from error
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return StoredArray(file[begin:].view(kind), file, state)


def _begin(path: Path, head: bytes, kind: str, size: int) -> int:
    """Where the items begin; its own header is not evaluated, but must be what it has to be."""
    described = head[len(MAGIC) + 2 :][: int.from_bytes(head[len(MAGIC) : len(MAGIC) + 2], "little")]
    found = DESCRIBED.fullmatch(described) if head.startswith(MAGIC) else None
    begin = len(MAGIC) + 2 + len(described)
    if found is None or begin % ALIGNMENT:
        raise ModelFileError(f"{path} is damaged: it does not begin like an array of one axis in NumPy's format 1.0.")
    if (found[1].decode(), int(found[2])) != (kind, size):
        told = f"{found[1].decode()} [{int(found[2])}]"
        raise ModelFileError(f"{path} holds {told}; the header of the model says {kind} [{size}].")
    return begin
