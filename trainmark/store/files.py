"""Writing a file whole or not at all: the one place where that is done."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}  # where they lead to a file, it is another's to replace


def write_text(path: Path, text: str) -> Path:
    """Writes a text as UTF-8: afterwards the file holds all of it, or what it held before; gives the path.

    It is written under another name in the same folder, made durable, and renamed. The folder is made
    where it is missing. What is no regular file, such as ``/dev/stdout``, is written to as it is.

    Raises:
        OSError: It cannot be written; its ``filename`` is the path asked for.
    """
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, encoded: bytes) -> Path:
    """The same of bytes: see :func:`write_text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if str(path) in _STREAMS:
            _write_stream(_STREAMS[str(path)], encoded)
        elif path.exists() and not path.is_file():
            with path.open("wb") as stream:
                stream.write(encoded)
        else:
            _write_file(path, encoded)
    except OSError as error:  # may name the unfinished file, or none
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def _write_stream(descriptor: int, encoded: bytes) -> None:
    sys.stdout.flush()  # what was printed before comes before
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(encoded)


def _write_file(path: Path, encoded: bytes) -> None:
    target = path.resolve()  # a link stays a link
    descriptor, unfinished = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, _mode(target)) if hasattr(os, "fchmod") else None
            stream.write(encoded)
            stream.flush()
            os.fsync(stream.fileno())
        Path(unfinished).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(unfinished).unlink()
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode(path: Path) -> int:
    """The permissions that a file has, or that a new one would get."""
    if path.exists():
        return path.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
