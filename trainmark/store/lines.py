"""An append-only file of JSON lines: each is on the disk when it has been written, and one process writes at a time."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainmark.store.documents import LARGEST_BYTES, open_file, parse, read_bytes
from trainmark.store.files import sync_folder

try:
    import fcntl
except ImportError:  # Windows: two processes on one file are not told apart there
    fcntl = None  # type: ignore[assignment]


OLD_SECONDS = 60.0  # a file without its first line that is older was left by a killed process
ASKING_SECONDS = 0.05


class JournalInUse(RuntimeError):
    """Another process is writing this file now."""


@dataclass(frozen=True)
class Content:
    """What such a file holds.

    Attributes:
        header: Its first line; None where that cannot be read.
        lines: The others, in their order.
        damaged: How many lines could not be read, the last one that was cut short included.
        end: Bytes up to the end of the last whole line.
    """

    header: Any
    lines: list[Any]
    damaged: int
    end: int


class Lines:
    """Such a file, open and locked. Use :meth:`begin` or :meth:`resume`."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream

    @classmethod
    def begin(cls, path: Path, header: Mapping[str, Any]) -> Lines:
        """A new file, which is there once its first line is.

        Args:
            path: Its folder is made where it is missing.
            header: The first line.

        Raises:
            FileExistsError: It is there already.
            OSError: It cannot be written; ``filename`` says which.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(path)
        for left in path.parent.glob("*.new"):  # by a process that was killed at this very place
            if _is_free(left) and time.time() - left.stat().st_mtime > OLD_SECONDS:
                left.unlink(missing_ok=True)
        unborn = path.with_suffix(".new")
        lines = cls(path, unborn.open("x+b", buffering=0))
        try:
            _lock(lines._stream, path)
            lines._write(header)
            unborn.rename(path)
        except BaseException:
            lines.close()
            unborn.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        return lines

    @classmethod
    def resume(cls, path: Path) -> tuple[Lines, Content]:
        """A file that is there, ready for more lines, with what it holds; a line that was cut short is removed.

        Raises:
            JournalInUse: Another process is writing it.
        """
        stream = path.open("r+b", buffering=0)
        _lock(stream, path)
        content = read_lines(path)
        stream.truncate(content.end)
        stream.seek(content.end)
        return cls(path, stream), content

    def append(self, line: Mapping[str, Any]) -> None:
        """Writes a line, and returns when the disk has it.

        Raises:
            OSError: The disk is full, or gone; ``filename`` is this file.
        """
        try:
            self._restore()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        unwritten = memoryview(json.dumps(line, allow_nan=False).encode() + b"\n")
        end = self._stream.tell()
        try:
            while unwritten:
                unwritten = unwritten[self._stream.write(unwritten) :]
            os.fsync(self._stream.fileno())
        except BaseException as error:
            if unwritten:  # of a line that found no room, or that Ctrl-C has cut, nothing stays
                self._stream.truncate(end)
                self._stream.seek(end)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            raise

    def _restore(self) -> None:
        """Writes the file anew where somebody has deleted or replaced it: what it held is still there to be read."""
        if self.path.is_file() and os.path.samestat(self.path.stat(), os.fstat(self._stream.fileno())):
            return
        self._stream.seek(0)
        unwritten = memoryview(self._stream.read())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        again = self.path.with_suffix(".new")
        stream = again.open("w+b", buffering=0)
        try:
            _lock(stream, self.path)
            while unwritten:
                unwritten = unwritten[stream.write(unwritten) :]
            os.fsync(stream.fileno())
            again.replace(self.path)
        except BaseException:
            stream.close()
            again.unlink(missing_ok=True)
            raise
        self._stream.close()
        self._stream = stream
        warnings.warn(f"{self.path} was deleted while it was written, and has been written anew", stacklevel=3)

    def close(self) -> None:
        """Releases the file and its lock."""
        self._stream.close()

    def remove(self) -> None:
        """Deletes the file: for when what it holds is stored elsewhere."""
        self._stream.close()
        self.path.unlink(missing_ok=True)


def read_lines(path: Path) -> Content:
    """What a file holds, whether it is still being written or not.

    Raises:
        OSError: It cannot be read.
    """
    content = read_bytes(path)
    end = content.rfind(b"\n") + 1
    header, lines, damaged = None, [], int(end < len(content))
    for number, text in enumerate(content[:end].splitlines()):
        try:
            document = parse(text)
        except (ValueError, RecursionError):
            damaged += bool(number)  # without a header there is nothing to count
            continue
        if number:
            lines.append(document)
        else:
            header = document
    return Content(header, lines, damaged, end)


def first_line(path: Path) -> Any:
    """The first line of a file of JSON lines; None where it is not whole.

    Raises:
        OSError: The file cannot be read.
    """
    with open_file(path) as stream:
        text = stream.readline(LARGEST_BYTES)
    try:
        return parse(text) if text.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None


def left_behind(folder: Path) -> Iterator[Path]:
    """Such files that no process is writing, those with the greatest name first."""
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        if _is_free(path):
            yield path


def in_use(folder: Path) -> Iterator[Path]:
    """Those that another process is writing now."""
    for path in sorted(folder.glob("*.jsonl")):
        if _is_free(path) is False:
            yield path


def _lock(stream: BinaryIO, path: Path) -> None:
    if fcntl is None:
        return
    for last in (False, False, True):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if last:
                stream.close()
                raise JournalInUse(f"the run {path.stem} is still being measured by another process") from error
            time.sleep(ASKING_SECONDS)  # somebody may only just be asking whether it is
        else:
            return


def _is_free(path: Path) -> bool | None:
    """Whether no process writes the file; asked with a shared lock, which two readers may hold.

    None where it is gone, or is none that could be read.
    """
    if fcntl is None:
        return True
    try:
        with open_file(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True  # closing the file gave the lock back
