"""Temporary folders: each is removed when its block ends, and what a killed process left by the next that makes one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves there stays
    fcntl = None  # type: ignore[assignment]

PREFIX = "trainmark-"
OLD_SECONDS = 3600.0  # of a folder whose process was killed before it had a lock
LONGEST = 60  # characters: multiprocessing adds some 40 to the path of a socket, which may have 104
SYSTEMS = "/tmp"  # folder of temporary files
LOCK = ".in-use"  # locked by the process that made the folder, for as long as it lives


@contextlib.contextmanager
def scratch(kind: str, clear: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """An empty folder, removed with all that is in it when the block ends.

    Args:
        kind: Part of its name.
        clear: Called with each folder of this kind that a killed process has left, before that is removed.
    """
    _clear_left_behind(kind, clear)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-"))
    try:
        # Not inherited by a program that is started; a fork shares the lock, and is one that still uses the folder.
        with (folder / f"{LOCK}-soon").open("wb") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
                Path(lock.name).rename(folder / LOCK)  # locked from its first moment: others may look in between
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a killed child may have left files being written


@contextlib.contextmanager
def keeping_in(folder: Path) -> Iterator[None]:
    """Lets this process, and what it starts, put temporary files into a folder that will be removed with them.

    Where its path is so long that a socket in it would have none, they go where they always do; and where that is too
    long as well, to where the system has its own.
    """
    before, told = tempfile.tempdir, os.environ.get("TMPDIR")
    place = next((one for one in (str(folder), tempfile.gettempdir()) if len(one) <= LONGEST), SYSTEMS)
    if place == SYSTEMS and not os.access(place, os.W_OK):
        yield
        return
    tempfile.tempdir = os.environ["TMPDIR"] = place
    try:
        yield
    finally:
        tempfile.tempdir = before
        if told is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = told


def _clear_left_behind(kind: str, clear: Callable[[Path], None] | None) -> None:
    if fcntl is None:
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}{kind}-*"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            if folder.stat().st_uid != os.getuid() or not _is_left(folder):
                continue
            if clear is not None:
                clear(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether nobody holds its lock; one without a lock is only just being made, unless it is old."""
    lock = folder / LOCK
    if not lock.exists():
        return time.time() - folder.stat().st_mtime > OLD_SECONDS
    with lock.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
