"""``trainmark bisect`` as far as this project's own past: which commits it looks at, and where it looks at them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trainmark.against.bisect import bisect
from trainmark.cli import main
from trainmark.suite import Suite

TOLD = "that commit is from before trainmark was a package (trainmark/against/server.py is missing)"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, tag: str) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", tag)
    git(folder, "tag", tag)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine that runs is this repository's own: ``old`` is from before, ``first`` and ``last`` have it."""
    folder = tmp_path / "repository"
    server = folder / "trainmark" / "against" / "server.py"
    server.parent.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "file").write_text("fast", encoding="utf-8")
    commit(folder, "old")
    server.touch()
    commit(folder, "first")
    (folder / "file").write_text("slow", encoding="utf-8")
    commit(folder, "last")
    monkeypatch.setattr("trainmark.__file__", str(folder / "trainmark" / "__init__.py"))
    monkeypatch.setattr("trainmark.suite._opened", [Suite(folder)])
    return folder


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for Python: judges a commit by the file where it is called, and writes down how that was."""
    script, calls = tmp_path / "python", tmp_path / "calls"
    code = f'#!/bin/sh\necho "$(pwd) $@" >> {calls}\ncase $(cat file) in slow) exit 1;; *) exit 0;; esac\n'
    script.write_text(code, encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr("trainmark.against.bisect.PYTHON", str(script))
    return calls


@pytest.mark.parametrize(("good", "bad"), [("old", "last"), ("first", "old")])
def test_a_search_across_the_first_package_is_refused_before_anything_is_checked(
    repository: Path, checks: Path, capsys: pytest.CaptureFixture[str], good: str, bad: str
) -> None:
    assert main(["bisect", good, bad]) == 4
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        f"bisect old: {TOLD}, and cannot be measured beside this one. "
        "Name a later commit, or compare stored runs: trainmark check BASE NEW"
    ]
    assert not checks.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_search_among_commits_that_have_the_engine_goes_on(
    repository: Path, checks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bisect", "first", "last", "--", "--model", "mlp"]) == 0
    output = capsys.readouterr()
    assert "last" in output.out
    assert "each commit is checked with: " in output.err
    assert "--model mlp" in output.err


def test_an_engine_that_lies_elsewhere_measures_commits_of_any_age(
    repository: Path, checks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trainmark.__file__", str(tmp_path / "site-packages" / "trainmark" / "__init__.py"))
    assert "last" in bisect("old", "last", [], repository)


def test_each_commit_is_checked_by_the_table_of_the_working_tree_and_the_call_goes_before_it(
    repository: Path, checks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"budget": 60.0, "margin": "5%,train=9%", "inconclusive": "pass", "data_root": "sets", "counts": "fail"}
    monkeypatch.setattr("trainmark.suite._opened", [Suite(repository, options=table)])
    assert main(["bisect", "first", "last", "--", "--budget", "2m"]) == 0
    call = checks.read_text(encoding="utf-8").splitlines()[0]
    for told in ("--budget=60.0", "--margin=5%,train=9%", f"--data-root={repository}/sets", "--counts=fail"):
        assert f" {told} " in call
    assert "--inconclusive=pass" not in call
    assert call.endswith("--inconclusive=fail --budget 2m")


def test_a_suite_in_a_folder_of_its_repository_is_checked_in_that_folder(
    repository: Path, checks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trainmark.__file__", str(tmp_path / "site-packages" / "trainmark" / "__init__.py"))
    inner = repository / "inner"
    inner.mkdir()
    for speed in ("fast", "slow"):
        (inner / "file").write_text(speed, encoding="utf-8")
        commit(repository, f"inner-{speed}")
    told = bisect("inner-fast", "inner-slow", [], inner, benchmarks="speed")
    assert "inner-slow" in told
    for call in checks.read_text(encoding="utf-8").splitlines():
        where, *arguments = call.split()
        assert where.endswith("/tree/inner")
        assert arguments[:3] == ["-m", "pytest", "speed"]
