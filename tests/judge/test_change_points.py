"""When a time changed, and which commit it was: made-up histories, and a real repository with made-up checks."""

from __future__ import annotations

import math
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainmark.against.bisect import BisectError, bisect, command
from trainmark.judge.change_points import change_points
from trainmark.store.cell import Cell
from trainmark.store.record import Record, Run, RunFacts

CNN = "train cnn 256 cpu fp32"


def history(stored: Any, factors: list[float], noise: float = 0.01) -> list[Run]:
    """Runs of one machine whose CNN takes so many times as long."""
    around = random.Random(3)
    runs = []
    for number, factor in enumerate(factors):
        run = stored.run(f"{number:04d}_0a0b0c_20260101_120000")
        run = replace(
            run, commit={"id": f"{number:040x}"}, records=tuple(one for one in run.records if one.label == CNN)
        )
        run = replace(run, facts=replace(run.facts, started=f"2026-01-{number + 1:02d}T12:00:00+00:00"))
        runs.append(stored.slowed(run, CNN, factor * around.lognormvariate(0, noise)))
    return runs


def test_a_lasting_change_is_found_between_the_runs_where_it_happened(stored: Any) -> None:
    (change,) = change_points(history(stored, [1.0] * 8 + [1.2] * 6))
    assert (change.last_before.name[:4], change.first_after.name[:4]) == ("0007", "0008")
    assert change.ratio == pytest.approx(1.2, abs=0.03)
    assert (change.label, change.metric, change.runs) == (CNN, "step_seconds", (8, 6))


def test_each_of_several_changes_is_found_the_largest_first(stored: Any) -> None:
    found = change_points(history(stored, [1.0] * 6 + [1.1] * 6 + [0.7] * 6))
    assert [(change.last_before.name[:4], round(change.ratio, 1)) for change in found] == [("0011", 0.6), ("0005", 1.1)]


@pytest.mark.parametrize("factors", [[1.0] * 16, [1.0] * 9 + [3.0] + [1.0] * 6, [1.0, 2.0], []])
def test_noise_one_outlier_and_too_few_runs_are_no_change(stored: Any, factors: list[float]) -> None:
    assert change_points(history(stored, factors)) == []


def made_up(logs: NDArray[np.float64]) -> list[Run]:
    """Runs of one cell whose times have these logarithms."""
    cell = Cell.of("train")
    records = [Record(cell, "ok", metrics={"step_seconds": math.exp(value)}) for value in logs]
    return [Run(f"{n:04d}", RunFacts(f"{n}", "2026"), {}, {}, (record,)) for n, record in enumerate(records)]


def test_noise_is_hardly_ever_a_change_and_a_shift_of_a_few_sigma_mostly_is() -> None:
    random, sigma, tries = np.random.default_rng(1), 0.03, 40
    noise = sigma * random.standard_normal((tries, 40))
    shift = np.repeat([0.0, 2.6 * sigma], 20)
    false = [len(change_points(made_up(one))) for one in noise]
    found = [[change.first_after.name for change in change_points(made_up(one + shift))] for one in noise]
    assert np.mean(np.array(false) > 0) <= 0.1
    assert np.mean([len(names) == 1 and abs(int(names[0]) - 20) <= 2 for names in found]) >= 0.65


def test_the_history_of_a_machine_names_the_commits_of_each_change(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in history(stored, [1.0] * 6 + [1.5] * 6):
        stored.store(run)
    stored.store(replace(stored.run("0099_other_20260201_120000"), environment={"fingerprint": "f"}))
    assert reports_command("history", "--fingerprint", stored.run().environment["fingerprint"]) == 0
    told = capsys.readouterr().out
    assert f"{5:040x}"[:12] + ".." + f"{6:040x}"[:12] in told
    assert "1.5" in told
    assert "trainmark bisect GOOD BAD" in told


def test_a_history_without_changes_and_one_without_runs_say_so(
    stored: Any, reports_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reports_command("history") == 2
    stored.store(stored.run())
    assert reports_command("history") == 0
    assert "No time can be followed over 1 run of this machine." in capsys.readouterr().out


# Bisecting


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Ten commits; from the seventh on the file says slow, and the fifth cannot be judged."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number in range(1, 11):
        words = {5: "broken"}.get(number, "slow" if number >= 7 else "fast")
        (folder / "file").write_text(f"{words} {number}", encoding="utf-8")
        git(folder, "add", "file")
        git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", f"commit {number}")
        git(folder, "tag", f"v{number}")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for Python: judges a commit by its file, and writes down how it was called."""
    script, calls = tmp_path / "python", tmp_path / "calls"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\ncase $(cat file) in slow*) exit 1;; broken*) exit 3;; *) exit 0;; esac\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setattr("trainmark.against.bisect.PYTHON", str(script))
    return calls


def test_the_first_slow_commit_is_found_and_the_users_files_stay(repository: Path, checks: Path) -> None:
    told = bisect("v1", "main", ["--model", "mlp"], repository)
    assert "commit 7" in told
    assert (repository / "file").read_text(encoding="utf-8") == "slow 10"
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    calls = checks.read_text(encoding="utf-8").splitlines()
    good = git(repository, "rev-parse", "v1").strip()
    assert calls[0] == f"-m pytest bench --against {good} --inconclusive=fail --model mlp"
    assert len(calls) <= 5


@pytest.mark.parametrize(("good", "bad"), [("nowhere", "main"), ("v1", "nowhere"), ("main", "v1")])
def test_what_cannot_be_searched_is_one_sentence(repository: Path, checks: Path, good: str, bad: str) -> None:
    with pytest.raises(BisectError) as caught:
        bisect(good, bad, [], repository)
    assert str(caught.value).startswith(
        "bisect nowhere: no commit here" if "nowhere" in (good, bad) else "git bisect: "
    )
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(("code", "judged"), [(0, 0), (1, 1), (2, 125), (3, 125), (4, 125), (130, 125)])
def test_only_a_verdict_judges_a_commit(code: int, judged: int) -> None:
    shell, option, script, name, *_ = command("v1", [])
    done = subprocess.run([shell, option, script, name, "sh", "-c", f"exit {code}"], check=False)
    assert done.returncode == judged
