"""Where a run is stored, and the commands that are printed to find it again: they work where they are printed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_benchmark.storage.file import FileStorage

from trainmark.cli import main
from trainmark.saving import (
    CannotSave,
    folder_of,
    is_of,
    refuse_storage,
    results_option,
    save_whole,
    storage_option,
    tag,
)
from trainmark.suite import Suite


def config(folder: Path | str, **options: Any) -> Any:
    """pytest's configuration of a call that was made in the current folder."""
    storage = str(folder) if "://" in str(folder) else f"file://{folder}"
    given = {"benchmark_compare": None, "benchmark_disable": False, "benchmark_enable": False, "benchmark_json": None}
    given |= {"collectonly": False, "benchmark_skip": False}
    return SimpleNamespace(
        option=SimpleNamespace(benchmark_storage=storage, **(given | options)),
        invocation_params=SimpleNamespace(dir=Path.cwd()),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A suite whose runs land in ``kept``."""
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[tool.trainmark]\nresults = "kept"\n', encoding="utf-8")
    return folder


@pytest.mark.parametrize("here", ["project", "project/sub", "."])
@pytest.mark.parametrize("storage", ["project/kept", "elsewhere", "a folder with spaces"])
def test_the_printed_commands_lead_to_the_folder_that_was_used(
    root: Path, monkeypatch: pytest.MonkeyPatch, here: str, storage: str
) -> None:
    monkeypatch.chdir(root.parent / here)
    used = config(root.parent / storage)
    reading = shlex.split(results_option(used))
    at_home = storage == "project/kept" and here != "."
    assert (reading == []) == at_home
    if reading:
        assert reading[0] == "--results"
        assert Path(reading[1]).resolve() == folder_of(used)
    measuring = shlex.split(storage_option(used, Suite(root, results="kept")))
    assert (measuring == []) == (storage == "project/kept")
    if measuring:
        assert folder_of(config(measuring[1])).resolve() == folder_of(used)


def test_a_reading_command_finds_what_it_is_told(
    stored: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored.run()
    stored.store(run)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["list", *shlex.split(results_option(config(stored.folder)))]) == 0
    assert run.name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("storage", "options", "told"),
    [
        ("elasticsearch+http://host", {}, "runs are read from files alone"),
        ("file", {}, "Nothing can be written in .*file: .*Name another: --benchmark-storage"),
        ("file/below", {}, "Nothing can be written in .*below: .*Name another: --benchmark-storage"),
        ("results", {"benchmark_json": "file/out.json"}, "Name another: --benchmark-json"),
        ("results", {"benchmark_json": "results"}, "is a folder: name a file"),
    ],
)
def test_what_would_fail_in_the_end_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, options: dict[str, Any], told: str
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    Path("file").touch()
    with pytest.raises(CannotSave, match=told) as error:
        refuse_storage(config(storage if "://" in storage else os.path.normpath(inner / storage), **options))
    assert "\n" not in str(error.value)


def test_runs_of_another_machine_can_be_compared_with_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    refuse_storage(config(tmp_path / "outside", benchmark_compare=True))
    assert FileStorage(tmp_path / "outside", logger=None).location == "../outside"


@pytest.mark.parametrize("option", ["benchmark_disable", "collectonly", "benchmark_skip"])
def test_what_keeps_nothing_needs_no_folder_and_makes_none(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    refuse_storage(config(tmp_path / "file", **{option: True}))
    refuse_storage(config(tmp_path / "none", **{option: True}))
    assert not (tmp_path / "none").exists()


def test_a_run_that_finds_no_room_is_told_and_the_one_before_stays(tmp_path: Path) -> None:
    said: list[str] = []
    storage = SimpleNamespace(get=lambda name: tmp_path / "full" / name, _next_num="0001")
    benchmarks = SimpleNamespace(
        storage=storage, json=str(tmp_path / "out.json"), logger=SimpleNamespace(info=said.append)
    )
    failed: list[str] = []
    save_whole(benchmarks, failed.append)
    (tmp_path / "full").touch()  # a file in the place of the folder
    (tmp_path / "out.json").write_text("before", encoding="utf-8")
    benchmarks.storage.save({"a": 1}, "name")
    benchmarks.save_json({"a": 1})
    assert len(failed) == 1
    assert "full/0001_name.json" in failed[0]
    assert said == [f"Wrote benchmark data in: {tmp_path / 'out.json'}"]


@pytest.mark.parametrize(
    ("filename", "ours"),
    [("results/journal/a.jsonl", True), ("results/../other/a.jsonl", False), ("elsewhere", False), (None, False)],
)
def test_only_what_fails_in_the_folder_of_runs_is_told_as_a_run_that_could_not_be_kept(
    tmp_path: Path, filename: str | None, ours: bool
) -> None:
    """Such as a process that cannot be started for want of memory: that is no full disk."""
    path = None if filename is None else str(tmp_path / filename)
    assert is_of(tmp_path / "results", OSError(12, "Cannot allocate memory", path)) == ours


@pytest.mark.parametrize("dirty", [True, False])
def test_an_autosaved_run_is_called_as_pytest_benchmark_would_call_it(dirty: bool) -> None:
    name = tag({"id": "1a2b3c", "dirty": dirty})
    assert name.startswith("1a2b3c_20")
    assert name.endswith("_uncommitted-changes") == dirty
