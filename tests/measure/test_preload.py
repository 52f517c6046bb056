"""What a cell's process has in memory from the start; and what it has not, since it would be measured along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainmark.measure.settings import Settings
from trainmark.measure.worker import Workers
from trainmark.store.cell import Cell
from trainmark.workloads import entry_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a fork server")

CALLER = """
import json
from pathlib import Path
from trainmark.measure.worker import Workers

if __name__ == "__main__":
    workers = Workers(Path(__file__).parent)
    outcomes = [workers.call("cells:work") for _ in range(2)]
    print(json.dumps([[outcome.status, outcome.reason, outcome.value] for outcome in outcomes]))
"""
CELLS = """
import os, sys
from pathlib import Path

def work(report, scratch):
    Path(__file__).with_name("measured").touch()
    return sys.modules["digits"].LOADED, os.getpid(), os.getppid()
"""
DIGITS = """
import os
from trainmark.measure.data import Source

LOADED = []

def preload():
    LOADED.append(os.getpid())

DATASETS = {"digits": Source(read=None, preload=preload), "others": Source(read=None)}
"""
HEAVY = ("pandas", "numba", "matplotlib", "seaborn", "scipy.stats")

Call = Callable[[str], list[Any]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Calls a function twice, in a suite with those data sets; gives status, reason and value of each call.

    The calls are made by a process of their own: the fork server of this one is there already.
    """

    def called(datasets: str) -> list[Any]:
        table = '[tool.trainmark]\ndatasets = "digits:DATASETS"\n'
        for name, text in {
            "pyproject.toml": table,
            "digits.py": datasets,
            "cells.py": CELLS,
            "caller.py": CALLER,
        }.items():
            (tmp_path / name).write_text(text)
        done = subprocess.run(
            [sys.executable, "caller.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return called


def test_what_a_data_set_preloads_is_read_once_by_the_parent_of_every_cell(call: Call) -> None:
    (first, _, (loaded, one, parent)), (second, _, (again, other, same_parent)) = call(DIGITS)
    assert first == second == "ok"
    assert loaded == again == [parent] == [same_parent]
    assert one != other


@pytest.mark.parametrize(
    ("datasets", "reason"),
    [
        ('raise RuntimeError("no digits today")', "RuntimeError: no digits today"),
        (f'{DIGITS}\nraise OSError("a disk is gone")', "OSError: a disk is gone"),
        ('raise SystemExit("not without a network")', "SystemExit: not without a network"),
        (DIGITS.replace("LOADED.append(os.getpid())", "1 / 0"), "ZeroDivisionError: division by zero"),
        (
            DIGITS.replace("import os", "import not_installed_anywhere"),
            "digits.py, line 2: No module named 'not_installed_anywhere'.",
        ),
    ],
    ids=["on import", "late on import", "by leaving", "in its preload", "for want of a module"],
)
def test_where_the_preload_fails_each_cell_is_an_error_with_the_reason_and_none_is_measured(
    call: Call, tmp_path: Path, datasets: str, reason: str
) -> None:
    """Else each process would import for itself, and the time and memory of that would be the cell's."""
    outcomes = call(datasets)
    assert [(status, value) for status, _, value in outcomes] == [("error", None)] * 2
    for _, told, _ in outcomes:
        assert told.startswith("what every cell needs cannot be imported: ")
        assert reason in told
    assert not (tmp_path / "measured").exists()


@pytest.mark.parametrize("workload", ["train", "accuracy"])
def test_the_process_of_a_cell_imports_nothing_that_only_a_page_needs(workload: str) -> None:
    cell = Cell.of(workload, **({"epochs": 1} if workload == "accuracy" else {}))
    measured_by = entry_of(workload).measured_by
    outcome = Workers().call("misbehaving:tell_modules", measured_by, cell, Settings(max_seconds=0.02))
    assert outcome.status == "ok", outcome.log
    assert {"torch", "trainmark.measure.protocol"} <= set(outcome.value)
    assert [name for name in HEAVY if name in outcome.value] == []


def test_data_that_are_not_there_are_missing_in_their_own_cells_alone(call: Call) -> None:
    absent = DIGITS.replace("LOADED.append(os.getpid())", 'raise MissingDataError("no digits here")')
    absent = absent.replace("import os", "import os\nfrom trainmark.measure.failures import MissingDataError", 1)
    assert [status for status, _, _ in call(absent)] == ["ok", "ok"]


NOBODY_ASKS = """
import sys, traceback
import torch

def refused(*arguments, **named):
    traceback.print_stack(limit=6)
    sys.exit("a GPU was asked for before the fork")

for owner, name in (
    (torch.cuda, "is_available"), (torch.cuda, "device_count"), (torch.cuda, "_lazy_init"),
    (torch.cuda, "current_device"), (torch.cuda, "get_device_properties"), (torch.accelerator, "is_available"),
    (torch.accelerator, "current_accelerator"), (torch.accelerator, "device_count"), (torch._C, "_cuda_getDeviceCount"),
):
    setattr(owner, name, refused)
from trainmark.measure import preload
assert preload.failure is None, preload.failure
from trainmark.against import server
"""


def test_what_is_forked_has_not_asked_for_a_gpu() -> None:
    """CUDA cannot be begun again in a child of a process that has begun it, even by asking how many there are.

    Source: "CUDA in multiprocessing" and the note at torch.cuda.is_available, PyTorch's documentation.
    """
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "TRAINMARK_ROOT": root}
    asked = [sys.executable, "-c", NOBODY_ASKS]
    done = subprocess.run(asked, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
