"""The exit codes of docs/ci.md, row by row."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NETS = """
from torch import nn

def fine():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

def failing():
    return nn.Sequential(nn.Flatten(), nn.Linear(783, 10))

"""
TASKS = """
import torch
from torch import nn
from trainmark.task import HeldOut, Task

rows = (torch.zeros(64, 3), torch.zeros(64, 1))
right = Task(model=lambda: nn.Linear(3, 1), data=rows, criterion=nn.MSELoss())
wrong = Task(model=nn.Linear(3, 1), data=rows, criterion=nn.MSELoss())
judged = Task(model=lambda: nn.Linear(3, 1), data=rows, metrics={"error": HeldOut(nn.L1Loss(), "smaller")})
"""
BREAKS = """
def pytest_collection_finish(session):
    raise RuntimeError("a fault in the program")
"""
CHOSEN = ("--batch-size=8", "--precision=fp32", "--compile=off", "-k", "inference")

Call = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that is a suite."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    (folder / "broken_nets.py").write_text("from torch import nn\n\nnn.NoSuchLayer\n", encoding="utf-8")
    (folder / "test_own.py").write_text("def test_own():\n    pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "trainmark", "init", "--model", "nets:fine"]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    return folder


def environment() -> dict[str, str]:
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")  # of the run that this test is part of
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}


@pytest.fixture
def call(project: Path, tmp_path: Path) -> Call:
    """Calls ``pytest bench`` there; gives the exit code and all that was said."""

    def called(*options: str, folder: str = "bench", conftest: str = "") -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", folder, "-p", "no:cacheprovider"]
        file = project / "bench" / "conftest.py"
        file.write_text(conftest, encoding="utf-8")
        done = subprocess.run(
            [*command, f"--benchmark-storage=file://{tmp_path}", *options],
            cwd=project,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        file.unlink()
        return done.returncode, done.stdout + done.stderr

    return called


def documented(column: int) -> dict[int, str]:
    """Code -> what docs/ci.md says of it, in one of the columns of its table."""
    lines = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8").splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if re.match(r"\| \d+ \|", line)]
    return {int(row[0]): row[column].strip() for row in rows if row[column].strip() != "–"}


@pytest.mark.parametrize("column", [1, 2, 3])
def test_the_table_has_a_row_for_each_code(column: int) -> None:
    assert set(documented(column)) >= {0, 1, 2, 3}
    assert set(documented(1)) == {0, 1, 2, 3, 4, 5, 70}


ROWS: dict[str, tuple[int, Sequence[str], str]] = {
    "measured": (0, CHOSEN, "1 ok"),
    "a cell fails": (1, (*CHOSEN, "--model", "nets:failing"), "1 error"),
    "the machine lacks it": (3, (*CHOSEN, "--device", "cuda"), "nothing was measured: this machine has no cuda device"),
    "no such model": (4, (*CHOSEN, "--model", "nets:none"), "has no attribute 'none'"),
    "an option without effect": (4, ("--margin", "3%"), "--margin is of a comparison"),
    "no such side": (4, ("--against", "nowhere", "--collect-only"), "--against nowhere: no git ref"),
    "another test": (4, ("test_own.py", *CHOSEN[:-2], "--against", "self", "--budget=1s"), "leave out test_own.py"),
    "no cell": (5, ("-k", "nothing_has_this_name"), "deselected"),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes of cells are forked")
@pytest.mark.parametrize("row", ROWS)
def test_a_run_ends_with_the_code_of_its_row(call: Call, row: str) -> None:
    code, options, told = ROWS[row]
    found, output = call(*options)
    assert found == code in documented(1), output
    assert told in output
    assert "Traceback" not in output or row == "a cell fails"
    assert "INTERNALERROR" not in output


def test_a_fault_of_the_program_never_reads_as_a_verdict(call: Call) -> None:
    code, output = call(*CHOSEN, "--collect-only", conftest=BREAKS)
    assert code == 70 in documented(1), output
    assert "INTERNALERROR" in output


def test_tasks_that_are_put_together_wrongly_fail_alone(call: Call) -> None:
    """Each is one failed benchmark that names its line; the others of the same file are measured."""
    code, output = call(*CHOSEN, "--task", "tasks:right,tasks:wrong,tasks:judged")
    assert code == 1 in documented(1), output
    assert "1 ok, 2 error" in output
    assert "tasks.py, line 8, is put together wrongly: model is a module; each training begins with a new one" in output
    assert "tasks.py, line 9, is put together wrongly: a held-out metric is better when higher or lower" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("model", "told"),
    [("broken_nets:net", "broken_nets.py, line 3: AttributeError"), ("nets:nowhere.deep", "nets:nowhere.deep")],
)
def test_a_model_whose_file_fails_is_named_with_its_line(call: Call, model: str, told: str) -> None:
    code, output = call(*CHOSEN, "--model", model)
    assert code == 4, output
    assert told in output
    assert "INTERNALERROR" not in output


def test_a_model_whose_file_fails_leaves_the_others_measured(call: Call) -> None:
    code, output = call(*CHOSEN, "--model", "nets:fine,broken_nets:net")
    assert code == 4 in documented(1), output
    assert "1 ok, 1 error" in output


def test_a_run_against_another_side_ends_with_the_code_of_its_verdict(call: Call) -> None:
    """A cell whose record is there on both sides and that no pair has decided: nothing was decided."""
    code, output = call(*CHOSEN, "--against", "self", "--budget", "1s")
    assert code == 3 in documented(2), output
    assert "too small for one look at 1 cell (12 pairs of each)" in output
    assert "; 1 cell not measured." in output
    assert "not measured (the budget was spent)" in output
