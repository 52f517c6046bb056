"""Stored runs: where they are, and how one is named."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from trainmark.store.documents import SchemaError, read_document
from trainmark.store.journal import FOLDER as JOURNAL_FOLDER
from trainmark.store.journal import read_journal
from trainmark.store.record import Report, Run, parse_run

DEFAULT_FOLDER = Path("results")
JOURNAL_ENDING = ".jsonl"
REFERENCE = "reference"  # holds runs of other machines that came with the project


class RunNotFound(LookupError):
    """No stored run has the name asked for."""


class AmbiguousName(RunNotFound):
    """More than one stored run has the name asked for."""


class UnreadableRun(ValueError):
    """A file is there and holds no run that can be read."""


def read_run(path: Path, report: Report | None = None) -> Run:
    """The run in one file, or what the journal of an interrupted one holds; a record that cannot be read is left out.

    Args:
        path: Its file.
        report: Told what was left out; a warning where there is none.

    Raises:
        UnreadableRun: The file is cut short, not JSON, of a newer schema, or not ours.
        RunNotFound: There is no such file.
    """
    tell = report or warn
    if path.suffix == JOURNAL_ENDING:
        return _read_partial(path)
    try:
        return parse_run(path.stem, read_document(path), lambda told: tell(f"{path}: {told}."))
    except FileNotFoundError as error:
        raise RunNotFound(f"No run at {path}.") from error
    except SchemaError as error:
        raise UnreadableRun(f"{path}: {error}.") from error


def _read_partial(path: Path) -> Run:
    """What an interrupted run has measured; of its machine a journal tells the fingerprint alone."""
    if not path.exists():
        raise RunNotFound(f"No run at {path}.")
    try:
        state = read_journal(path)
    except SchemaError as error:
        raise UnreadableRun(f"{error}.") from error
    commit = {name: state.code[name] for name in ("id", "dirty", "branch") if name in state.code}
    return Run(path.stem, state.facts, {"fingerprint": state.fingerprint}, commit, tuple(state.records.values()))


def warn(told: str) -> None:
    """Says what was left out as a warning of Python."""
    warnings.warn(told, stacklevel=2)


def run_files(folder: Path = DEFAULT_FOLDER) -> list[Path]:
    """Files of stored runs in ``folder`` and its machine folders: folder by folder, as they were numbered."""
    numbered = (path for path in folder.glob("**/*.json") if re.match(r"\d{4,}_", path.name))
    found = [path for path in numbered if path.parent.name != JOURNAL_FOLDER]
    return sorted(found, key=lambda path: (path.parent, int(path.name.split("_")[0]), path.name))


def read_runs(paths: Iterable[Path], report: Report | None = None) -> list[Run]:
    """The runs in the files that can be read.

    Of the files of one interrupted and resumed run only the fullest is kept.

    Args:
        paths: Of the files; one that is gone by now is left out.
        report: Told of each file that cannot be read, and of what was left out of the others; a warning where
            there is none.
    """
    fullest: dict[str, Run] = {}
    for path in paths:
        try:
            run = read_run(path, report)
        except UnreadableRun as error:
            (report or warn)(str(error))
            continue
        except RunNotFound:
            continue
        known = fullest.get(run.facts.id)
        if known is None or len(known.records) <= len(run.records):
            fullest[run.facts.id] = run
    return list(fullest.values())


def find_run(name: str, folder: Path = DEFAULT_FOLDER) -> Path:
    """The file of a stored run, named as a user would.

    Args:
        name: Its path; ``latest``, by when it began; a number, of the file that begins with it, as pytest-benchmark
            counts: ``3`` and ``0003`` are the same; its file's name, or what it was saved as; or a part of that.
            A run of one's own goes before one that came with the project.
        folder: Of runs.

    Raises:
        RunNotFound: The name is empty, nothing fits, or more than one thing does.
    """
    refuse_empty(name)
    if is_file(name):
        return Path(name)
    files = run_files(folder)
    if not files:
        raise RunNotFound(f"No runs in {folder}. Record one: pytest bench --benchmark-autosave")
    if name == "latest":
        return _latest(_own(files))
    fitting = _own(named_runs(name, folder) or [path for path in files if name in path.stem])
    if len(fitting) > 1:
        raise ambiguous(name, "runs", fitting, folder)
    if not fitting:
        raise RunNotFound(f'No run named "{name}" in {folder}. Record one: pytest bench --benchmark-save={name}')
    return fitting[0]


def named_runs(name: str, folder: Path = DEFAULT_FOLDER) -> list[Path]:
    """Files of stored runs that have this very number, or else this very name: their file's, or what was saved."""
    files = run_files(folder)
    numbered = [path for path in files if name.isdecimal() and path.name.startswith(f"{int(name):04d}_")]
    return numbered or [path for path in files if name in (path.stem, path.stem.partition("_")[2])]


def refuse_empty(name: str) -> None:
    """A name of nothing is a part of every name.

    Raises:
        RunNotFound: It is one.
    """
    if not name.strip():
        raise RunNotFound("The name of a run is empty: is a variable not set? trainmark list shows the runs.")


def ambiguous(name: str, kind: str, fitting: Iterable[Path], folder: Path) -> AmbiguousName:
    """What is said where a name fits several files."""
    names = [str(path.relative_to(folder).with_suffix("")) for path in fitting]
    return AmbiguousName(f"{len(names)} {kind} fit {name!r} in {folder}: {', '.join(names)}. Name one, or its file.")


def _latest(files: list[Path]) -> Path:
    """The run that began last; where none can be read, the file that was written last, which says why."""
    began: dict[Path, str] = {}
    for path in files:
        with contextlib.suppress(UnreadableRun, RunNotFound):  # gone meanwhile
            began[path] = read_run(path, _said_later).facts.started
    return max(began, key=lambda path: (began[path], files.index(path))) if began else max(files, key=written)


def written(path: Path) -> float:
    """When a file was written, in seconds since 1970; of a link that leads nowhere, the link."""
    try:
        return path.stat().st_mtime
    except OSError:
        return path.lstat().st_mtime if path.is_symlink() else 0.0


def _said_later(_told: str) -> None:
    """What is left out of a run is said when it is read for its records."""


def _own(files: list[Path]) -> list[Path]:
    """Those that were measured here; where there are none, those that came with the project."""
    return [path for path in files if path.parent.name != REFERENCE] or files


def find_saved(run_id: str, folder: Path = DEFAULT_FOLDER) -> Path | None:
    """The newest file that holds the run of that id; None where none does."""
    for path in sorted(run_files(folder), key=written, reverse=True):
        with contextlib.suppress(UnreadableRun, RunNotFound):
            if read_run(path, _said_later).facts.id == run_id:
                return path
    return None


def is_file(name: str) -> bool:
    """Whether a name is the path of a file."""
    try:
        return Path(name).is_file()
    except OSError:  # such as a name too long for a path
        return False


def artifact_folder(run_file: Path) -> Path:
    """Where a run keeps its arrays and traces: a folder beside its file, with its name."""
    return run_file.with_suffix("")
