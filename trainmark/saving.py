"""Where pytest-benchmark stores a run, what it is called there, and how it is written: whole or not at all."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark import utils
from pytest_benchmark.storage.file import FileStorage

from trainmark import suite
from trainmark.store.files import write_text
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.pairs import FOLDER as PAIRS
from trainmark.suite import Suite, SuiteError

SCHEME = "file://"
_untyped: Any = utils


class CannotSave(RuntimeError):
    """A run cannot be stored where it should be; the message says why and what to name instead."""


def folder_of(config: pytest.Config) -> Path:
    """Where runs are stored; relative to where pytest was called."""
    return config.invocation_params.dir / Path(config.option.benchmark_storage.removeprefix(SCHEME))


def refuse_storage(config: pytest.Config) -> None:
    """Refuses before anything is measured what pytest-benchmark, or a reader of ours, would fail of at the end.

    Raises:
        CannotSave: Runs cannot be stored where they should be.
    """
    storage, folder = str(config.option.benchmark_storage), folder_of(config)
    if "://" in storage and not storage.startswith(SCHEME):
        raise CannotSave(f"--benchmark-storage {storage}: runs are read from files alone; write {SCHEME}DIR.")
    # What pytest-benchmark says of a run of another machine names the folder, and failed where that lies elsewhere.
    setattr(FileStorage, "location", property(lambda storage: os.path.relpath(storage.path)))  # noqa: B010  # a property
    looks_only = config.option.collectonly or config.option.benchmark_skip
    if looks_only or (config.option.benchmark_disable and not config.option.benchmark_enable):
        return  # nothing is kept
    for kept in (folder, folder / JOURNALS, folder / PAIRS):
        refuse_unwritable(kept, "--benchmark-storage")
    if config.option.benchmark_json:
        file = Path(config.option.benchmark_json).absolute()
        if file.is_dir():
            raise CannotSave(f"--benchmark-json {file} is a folder: name a file.")
        refuse_unwritable(file.parent, "--benchmark-json")


def refuse_unwritable(folder: Path, option: str) -> None:
    """Tries whether a file can be written in a folder, which is made where it is missing.

    Raises:
        CannotSave: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"room for a line")
            stream.flush()
    except OSError as error:
        raise CannotSave(f"Nothing can be written in {folder}: {error.strerror}. Name another: {option}") from error


def is_of(folder: Path, error: OSError) -> bool:
    """Whether it is a file in this folder that failed: other errors of the system are no full disk."""
    return error.filename is not None and folder.resolve() in Path(error.filename).resolve().parents


def tag(commit: Mapping[str, Any]) -> str:
    """What an autosaved run is called: as pytest-benchmark would call it in the folder that is measured."""
    return "_".join([commit["id"], _untyped.get_current_time(), *(["uncommitted-changes"] if commit["dirty"] else [])])


def save_whole(benchmarks: Any, failed: Callable[[str], None]) -> None:
    """Lets pytest-benchmark write whole files: what is cut short is no run.

    Args:
        benchmarks: Its session; what saves there is replaced.
        failed: Told why a run could not be written.
    """

    def write(path: Path, document: Mapping[str, Any], told: str) -> None:
        try:
            write_text(path, _untyped.safe_dumps(document, ensure_ascii=True, indent=4))
        except OSError as error:
            failed(f"{path}: {error.strerror}")
        else:
            benchmarks.logger.info(f"{told} in: {path}")

    def save(document: Mapping[str, Any], name: str) -> None:
        storage = benchmarks.storage
        write(storage.get(f"{storage._next_num}_{name}.json"), document, "Saved benchmark data")

    def save_json(document: Mapping[str, Any]) -> None:
        write(Path(benchmarks.json), document, "Wrote benchmark data")

    benchmarks.storage.save, benchmarks.save_json = save, save_json


def results_option(config: pytest.Config) -> str:
    """What a reading command needs, called where this one was, to find these runs; nothing where it does anyway."""
    here, folder = suite.find_root(Path.cwd()), folder_of(config)
    with suppress(SuiteError):
        if (here / suite.read_suite(here).results).resolve() == folder.resolve():
            return ""
    return f" --results {shlex.quote(os.path.relpath(folder))}"


def storage_option(config: pytest.Config, ours: Suite) -> str:
    """What pytest needs to find these runs again; nothing where it does anyway."""
    folder = folder_of(config)
    if (ours.root / ours.results).resolve() == folder.resolve():
        return ""
    return f" --benchmark-storage {shlex.quote(f'{SCHEME}{os.path.relpath(folder)}')}"
