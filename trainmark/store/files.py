"""Writing a file whole or not at all: the one place where that is done."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str) -> Path:
    """Writes a text as UTF-8: afterwards the file holds all of it, or what it held before; gives the path.

    It is written under another name in the same folder, made durable, and renamed. The folder is made
    where it is missing. What is no regular file, such as ``/dev/stdout``, is written to as it is.

    Raises:
        OSError: It cannot be written.
    """
    encoded = text.encode("utf-8", "backslashreplace")
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.write(encoded)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
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
    return path


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
