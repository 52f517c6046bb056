"""The journal of a run in progress: each finished cell is on the disk before the next begins."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trainmark.store.documents import SchemaError
from trainmark.store.files import sync_folder
from trainmark.store.record import SCHEMA_VERSION, Record, RunFacts, check_schema_version

try:
    import fcntl
except ImportError:  # Windows: two processes on one journal are not told apart there
    fcntl = None  # type: ignore[assignment]

FOLDER = "journal"


class JournalInUse(RuntimeError):
    """Another process is writing this journal now."""


@dataclass(frozen=True)
class JournalState:
    """What a journal holds.

    Attributes:
        facts: Of the run that writes it.
        fingerprint: Of the environment that it was begun in.
        commit: Of the working tree that it was begun in.
        invocation: The command-line options that it was begun with.
        records: By the join key of their cell, in the order in which they finished.
        damaged: How many lines could not be read.
        end: Bytes up to the end of the last whole line.
    """

    facts: RunFacts
    fingerprint: str | None
    commit: str | None
    invocation: Mapping[str, Any]
    records: dict[str, Record]
    damaged: int
    end: int


class Journal:
    """An append-only file of JSON lines: the run's facts first, then one record a line.

    Use :meth:`begin` or :meth:`resume`; the open journal is locked against other processes.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self._stream = stream

    @classmethod
    def begin(
        cls,
        folder: Path,
        facts: RunFacts,
        fingerprint: str,
        commit: str | None,
        invocation: Mapping[str, Any] | None = None,
    ) -> Journal:
        """A new journal in ``folder``, named for the run.

        Args:
            folder: Made where it is missing.
            facts: Of the run.
            fingerprint: Of the environment.
            commit: Of the working tree.
            invocation: What is needed to go on with the run and is no part of it, such as paths.

        Raises:
            FileExistsError: A journal of that run is there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{facts.id}.jsonl"
        if path.exists():
            raise FileExistsError(path)
        unborn = path.with_suffix(".new")  # a journal is there once its first line is
        journal = cls(path, unborn.open("xb"))
        _lock(journal._stream, path)
        journal._append(
            {
                "schema_version": SCHEMA_VERSION,
                "fingerprint": fingerprint,
                "commit": commit,
                "invocation": dict(invocation or {}),
                "run": facts.to_json(),
            }
        )
        unborn.rename(path)
        sync_folder(folder)
        return journal

    @classmethod
    def resume(cls, path: Path) -> tuple[Journal, JournalState]:
        """The journal of an interrupted run, ready for more records, with what it holds.

        A line cut short by the interruption is removed, with a warning.

        Raises:
            JournalInUse: The run is still going on.
            SchemaError: The file is not a journal that this version reads.
        """
        stream = path.open("r+b")
        _lock(stream, path)
        try:
            state = read_journal(path)
        except BaseException:
            stream.close()
            raise
        stream.truncate(state.end)
        stream.seek(state.end)
        return cls(path, stream), state

    def append(self, record: Record) -> None:
        """Writes the record and returns when the disk has it."""
        self._append({"record": record.to_json()})

    def close(self) -> None:
        """Releases the file and its lock; the journal stays."""
        self._stream.close()

    def remove(self) -> None:
        """Deletes the journal: for when its records are stored elsewhere."""
        self._stream.close()
        self.path.unlink()

    def _append(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


def read_journal(path: Path) -> JournalState:
    """What a journal holds, whether its run still goes on or not.

    A damaged line is left out with a warning; the cell it held is measured again on resume.

    Raises:
        SchemaError: The first line does not begin a journal that this version reads.
    """
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    lines = content[:end].splitlines()
    try:
        header = json.loads(lines[0])
        check_schema_version(header["schema_version"])
        facts = RunFacts.from_json(header["run"])
    except SchemaError:
        raise
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise SchemaError("its first line does not begin a journal") from error
    records: dict[str, Record] = {}
    damaged = int(end < len(content))
    for line in lines[1:]:
        try:
            record = Record.from_json(json.loads(line)["record"])
        except (KeyError, TypeError, ValueError, RecursionError):
            damaged += 1
        else:
            records[record.key] = record
    if damaged:
        warnings.warn(
            f"{path.name}: {damaged} damaged line{'s' * (damaged > 1)} left out, as after a sudden stop; "
            f"{len(records)} finished cells recovered",
            stacklevel=2,
        )
    return JournalState(
        facts, header.get("fingerprint"), header.get("commit"), header.get("invocation") or {}, records, damaged, end
    )


def interrupted(folder: Path) -> Iterator[Path]:
    """Journals that no process is writing, the newest run first."""
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        if _is_free(path):
            yield path


def in_use(folder: Path) -> Iterator[Path]:
    """Journals that another process is writing now."""
    for path in sorted(folder.glob("*.jsonl")):
        if not _is_free(path):
            yield path


def _lock(stream: IO[bytes], path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise JournalInUse(f"the run {path.stem} is still being measured by another process") from error


def _is_free(path: Path) -> bool:
    """Whether no process writes the journal; asked with a shared lock, which two readers may hold."""
    if fcntl is None:
        return True
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True  # closing the file gave the lock back
