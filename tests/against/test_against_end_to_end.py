"""``pytest bench --against SIDE`` as a user calls it: two real sides, measured together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainmark.store.pairs import PairedRun, paired_files, read_paired_run

ROOT = Path(__file__).parents[2]
TINY = ("--model=mlp", "--batch-size=8", "--precision=fp32", "--compile=off", "--device=cpu", "-k", "train")
PARTS = ("bench", "models", "reports", "trainmark", "conftest.py", "pyproject.toml")
STEP = "    optimizer.step()\n    return loss\n"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a side forks its processes")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this code: ``old`` is from before there was an engine in it that speaks, ``new`` is not."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=skipped)
        else:
            shutil.copy(source, folder / part)
    git(folder, "init", "--quiet", "--initial-branch=main")
    server = folder / "trainmark" / "against" / "server.py"
    code = server.read_bytes()
    server.unlink()
    commit(folder, "old")
    server.write_bytes(code)
    commit(folder, "new")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, name: str) -> None:
    git(folder, "add", "--all", "--force", "--", *PARTS)
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", name)
    git(folder, "tag", name)


OF_SCIKIT_LEARN = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")  # which sets them where another test imports it


def start(project: Path, runs: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider"]
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTHONPATH")  # of the run that this test is part of
    environment = {name: value for name, value in os.environ.items() if name not in (*outer, *OF_SCIKIT_LEARN)}
    quiet = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}  # two threads on a busy machine wait without spinning
    return subprocess.Popen(
        [*command, f"--benchmark-storage=file://{runs}", *TINY, *options],
        cwd=project,
        env=environment | quiet | {"COLUMNS": "160"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def against(project: Path, runs: Path, *options: str) -> tuple[int, str]:
    """Exit code and output."""
    process = start(project, runs, *options)
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def only_run(runs: Path) -> PairedRun:
    files = paired_files(runs)
    assert len(files) == 1, files
    return read_paired_run(files[0])


def check(runs: Path, arguments: Sequence[str] = ()) -> int:
    command = [sys.executable, "-m", "trainmark", "check", "latest", "--results", str(runs), *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode


def test_two_thread_settings_are_compared_end_to_end(project: Path, tmp_path: Path) -> None:
    """With so wide a margin it is over after a dozen pairs or two; of the budget a busy machine needs more."""
    code, output = against(project, tmp_path, "--against", "env:OMP_NUM_THREADS=2", "--margin=90%", "--budget=4m")
    run = only_run(tmp_path)
    assert run.side == "env:OMP_NUM_THREADS=2"
    assert [side.records[0].settings["threads"] for side in (run.base, run.new)] == [2, 1]
    assert [side.records[0].status for side in (run.base, run.new)] == ["ok", "ok"]
    assert len(run.pairs["train batch_size=8"]) >= 2, output
    assert "OMP_NUM_THREADS 2 → GOMP_SPINCOUNT 0, OMP_NUM_THREADS 1" in output
    assert "train mlp 8 cpu fp32" in output
    assert code == check(tmp_path), output
    assert code in (0, 1, 3), output


def test_a_fault_in_the_working_tree_fails_the_check_against_its_commit(project: Path, tmp_path: Path) -> None:
    """The count decides, whatever the pairs say; the budget is what a busy machine needs for both records."""
    file = project / "trainmark" / "measure" / "training.py"
    sound = file.read_text(encoding="utf-8")
    assert STEP in sound
    file.write_text(sound.replace(STEP, STEP.replace("return", "loss.item()\n    return")), encoding="utf-8")
    try:
        code, output = against(project, tmp_path, "--against", "HEAD", "--margin=90%", "--budget=4m")
    finally:
        file.write_text(sound, encoding="utf-8")
    run = only_run(tmp_path)
    assert code == 1, output
    assert "host reads per step changed" in output
    assert run.base.commit["id"] == git(project, "rev-parse", "HEAD").strip()
    assert len(git(project, "worktree", "list").splitlines()) == 1


def test_after_ctrl_c_the_pairs_so_far_are_kept_and_the_checkout_is_gone(project: Path, tmp_path: Path) -> None:
    process = start(project, tmp_path, "--against", "HEAD", "--budget=10m")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("generation 1"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert not only_run(tmp_path).new.facts.complete
    assert len(git(project, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--against", "old"], "--against old: that commit is from before trainmark was a package"),
        (["--against", "nowhere"], "no git ref, no Python interpreter and no env:NAME=value"),
        (
            ["--against", "self", "--resume"],
            "--resume goes on with the side of the interrupted run: leave out --against",
        ),
        (["--against", "self", "--margin", "much"], "write 3% or 0.03"),
        (["--against", "self", "--budget", "soon"], "argument --budget: soon: not a time; write 90, 90s, 15m or 2h"),
    ],
)
def test_what_cannot_be_compared_is_a_usage_error_in_one_sentence(
    project: Path, tmp_path: Path, options: list[str], told: str
) -> None:
    code, output = against(project, tmp_path, *options)
    assert code == 4, output
    assert told in output
    assert "Traceback" not in output
    assert paired_files(tmp_path) == []
