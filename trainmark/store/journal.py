"""The journal of a run in progress: each finished cell is on the disk before the next begins."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainmark.store.documents import SchemaError, check, facts
from trainmark.store.lines import Content, JournalInUse, Lines, in_use, left_behind, read_lines
from trainmark.store.record import SCHEMA_VERSION, Record, Report, RunFacts, check_schema_version, read_circumstances

FOLDER = "journal"
UNVERSIONED = "unversioned"  # the commit of what git knows nothing of, in a stored run

__all__ = ["FOLDER", "Journal", "JournalInUse", "JournalState", "in_use", "interrupted", "read_journal"]


@dataclass(frozen=True)
class JournalState:
    """What a journal holds.

    Attributes:
        facts: Of the run that writes it.
        fingerprint: Of the environment that it was begun in.
        code: Of the working tree that it was begun in: see :class:`trainmark.git.Code`.
        invocation: The command-line options that it was begun with.
        records: By the join key of their cell, in the order in which they finished; of a cell that was measured again
            and did better, the later one.
        damaged: How many lines could not be read.
        environment: Facts of machine and software, as a stored run has them; in a journal of an earlier version the
            fingerprint alone.
        commit: What it tells of the code, as a stored run has it of its commit.
    """

    facts: RunFacts
    fingerprint: str | None
    code: Mapping[str, Any]
    invocation: Mapping[str, Any]
    records: dict[str, Record]
    damaged: int
    environment: Mapping[str, Any] = field(default_factory=dict)
    commit: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """The run's facts, then one record a line.

    Use :meth:`begin` or :meth:`resume`; the open journal is locked against other processes.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    @property
    def path(self) -> Path:
        """Its file."""
        return self._lines.path

    @classmethod
    def begin(
        cls,
        folder: Path,
        facts: RunFacts,
        fingerprint: str,
        code: Mapping[str, Any],
        invocation: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Journal:
        """A new journal in ``folder``, named for the run.

        Args:
            folder: Made where it is missing.
            facts: Of the run.
            fingerprint: Of the environment.
            code: Of the working tree.
            invocation: What is needed to go on with the run and is no part of it, such as paths.
            environment: What a stored run says of its machine, so that the journal alone is enough to read its records.

        Raises:
            FileExistsError: A journal of that run is there.
            OSError: It cannot be written.
        """
        header = {
            "schema_version": SCHEMA_VERSION,
            "fingerprint": fingerprint,
            "code": dict(code),
            "invocation": dict(invocation or {}),
            "environment": dict(environment or {}),
            "run": facts.to_json(),
        }
        return cls(Lines.begin(folder / f"{facts.id}.jsonl", header))

    @classmethod
    def resume(cls, path: Path) -> tuple[Journal, JournalState]:
        """The journal of an interrupted run, ready for more records, with what it holds.

        A line cut short by the interruption is removed, with a warning.

        Raises:
            JournalInUse: The run is still going on.
            SchemaError: The file is not a journal that this version reads.
        """
        lines, content = Lines.resume(path)
        try:
            return cls(lines), _state(path, content)
        except BaseException:
            lines.close()
            raise

    def append(self, record: Record) -> None:
        """Writes the record and returns when the disk has it."""
        self._lines.append({"record": record.to_json()})

    def close(self) -> None:
        """Releases the file and its lock; the journal stays."""
        self._lines.close()

    def remove(self) -> None:
        """Deletes the journal: for when its records are stored elsewhere."""
        self._lines.remove()


def read_journal(path: Path) -> JournalState:
    """What a journal holds, whether its run still goes on or not.

    A damaged line is left out with a warning; the cell it held is measured again on resume.

    Raises:
        SchemaError: The first line does not begin a journal that this version reads.
    """
    try:
        return _state(path, read_lines(path))
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror}") from error


def _state(path: Path, content: Content) -> JournalState:
    header = content.header
    if not isinstance(header, dict) or "run" not in header:
        raise SchemaError(f"{path}: its first line does not begin a journal")
    try:
        check_schema_version(header.get("schema_version"))
        found = RunFacts.from_json(header["run"])
        check(header.get("fingerprint"), str | None, "a fingerprint")
        code = facts(header.get("code") or {"id": header.get("commit")}, "its code")  # older: no difference was kept
        invocation = facts(header.get("invocation") or {}, "its options")
        environment, commit = read_circumstances(
            header.get("environment") or {"fingerprint": header.get("fingerprint")},
            {**code, "id": code.get("id") or UNVERSIONED},
        )
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error
    records: dict[str, Record] = {}
    damaged = content.damaged
    for line in content.lines:
        try:
            record = Record.from_json(line["record"])
        except (KeyError, TypeError, ValueError, RecursionError):
            damaged += 1
        else:
            records[record.key] = record
    warn_of_damage(path, damaged, f"{len(records)} finished cells recovered")
    fingerprint = header.get("fingerprint")
    return JournalState(found, fingerprint, code, invocation, records, damaged, environment, commit)


def warn_of_damage(path: Path, damaged: int, recovered: str, report: Report | None = None) -> None:
    """Says where lines of a file could not be read: as a warning, unless somebody takes the sentence."""
    if damaged:
        lines = f"{damaged} damaged line{'s' * (damaged > 1)} left out, as after a sudden stop"
        told = f"{path.name}: {lines}; {recovered}"
        report(told) if report else warnings.warn(told, stacklevel=3)


def interrupted(folder: Path) -> Iterator[Path]:
    """Journals that no process is writing, the newest run first."""
    return left_behind(folder)
