"""Models that do what no model should: each is told by its record, the others are measured, and nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pytest

from trainmark.formatting import EXCERPT
from trainmark.store.pairs import paired_files, read_paired_run
from trainmark.store.record import Record
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SECONDS = 8  # that a cell may take
SLACK = 120.0  # seconds to end what it has started, on a busy machine: who sleeps does so for 600
PATIENCE = 60.0  # seconds until the servers of a run that has ended must have ended
FINE = "nets:fine"
ONE_CELL = (
    "--batch-size=8",
    "--precision=fp32",
    "--compile=off",
    "--device=cpu",
    "--threads=1",
    f"--timeout={SECONDS}",
)
QUICK = (*ONE_CELL, "--benchmark-autosave", "--benchmark-max-time=0.01", "--benchmark-min-rounds=2")
BENCHMARK = """
import pytest

@pytest.mark.workload("train")
def test_training(measure):
    measure()
"""

ENDED = f"not done after {SECONDS} s (--timeout)"
LEFT = "it left a process running, which was ended: "
# What a model does -> the status of its record, and words of its reason. By where it does so.
AT_IMPORT: dict[str, tuple[str, str]] = {
    "sleep": ("timeout", ENDED),
    "leave": ("crashed", "left with exit code 3 and no result while importing"),
    "leave_politely": ("error", "fails in ways.py, line "),
    "read_arguments": ("error", ": SystemExit: 2"),
    "ask": ("error", "EOFError: EOF when reading a line"),
    "die": ("crashed", "died of SIGSEGV while importing"),
    "kill_parent": ("crashed", "died of SIGKILL while importing"),
    "fork_and_leave": ("crashed", LEFT),
    "fork_and_return": ("ok", ""),
    "leave_a_daemon": ("ok", LEFT),
    "print_much": ("ok", ""),
    "complain_at_length": ("error", "characters left out"),
    "close_descriptors": ("error", "it has closed the file descriptors of its process"),
    "close_everything": ("error", "it has closed the file descriptors of its process"),
    "go_elsewhere": ("ok", ""),
    "delete_the_journal": ("ok", ""),
}
KILLED = "the process that had started it was killed while "
LATER: dict[str, tuple[str, str]] = {
    "sleep": ("timeout", ENDED),
    "leave": ("crashed", "left with exit code 3 and no result while "),
    "leave_politely": ("crashed", "it ended its process by SystemExit: no licence for this model (ways.py, line "),
    "kill_parent": ("crashed", KILLED),
    "fork_and_leave": ("crashed", f"left with exit code 0 and no result while preparing; {LEFT}"),
    "fork_and_return": ("ok", ""),
    "leave_a_daemon": ("ok", LEFT),
    "leave_a_program": ("ok", f"{LEFT}sleep"),
    "print_much": ("ok", ""),
    "complain_at_length": ("error", "characters left out"),
    "close_descriptors": ("error", "it has closed the file descriptors of its process"),
    "close_everything": ("error", "it has closed the file descriptors of its process"),
    "go_elsewhere": ("ok", ""),
    "delete_the_journal": ("ok", ""),
}
OTHERS: dict[str, tuple[str, str]] = {
    FINE: ("ok", ""),
    "import_no_python:net": ("error", "fails in import_no_python.py, line 1: SyntaxError: "),
    "import_no_package:net": ("error", 'found no module named "a_package_that_nobody_has"'),
    "nets:nothing": ("error", "building the model gave None; needed is a torch.nn.Module"),
    "nets:tensor": ("error", "building the model gave a float32 tensor [3]"),
    "nets:a_class": ("error", "building the model gave a type"),
}
SINGLE = {
    **OTHERS,
    **{f"import_{way}:net": ending for way, ending in AT_IMPORT.items()},
    **{
        f"nets:{place}({way!r})": ending
        for place in ("built", "forward", "backward")
        for way, ending in LATER.items()
        if place == "built" or way in ("sleep", "leave", "kill_parent", "leave_a_daemon", "close_descriptors")
    },
}
PAIRED = {
    FINE: ("ok", ""),
    "import_leave:net": AT_IMPORT["leave"],
    "import_sleep:net": AT_IMPORT["sleep"],
    "import_kill_parent:net": AT_IMPORT["kill_parent"],
    "nets:built('fork_and_leave')": ("crashed", "left with exit code 0 and no result while preparing"),
    "nets:built('kill_parent')": ("crashed", "died of SIGKILL"),
    "nets:forward('sleep')": LATER["sleep"],
    "nets:backward('leave_a_daemon')": LATER["leave_a_daemon"],
    "nets:forward('close_descriptors')": LATER["close_descriptors"],
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process leaves is found below another on Linux")


@dataclass(frozen=True)
class Run:
    """A call of ``pytest bench``, and what is there when it has ended.

    Attributes:
        code: Of its end.
        output: What it said.
        records: Model -> its record.
        left: Processes that it has started and that still run.
    """

    code: int
    output: str
    records: dict[str, Record]
    left: list[str]


@dataclass(frozen=True)
class Project:
    """A suite of such models, with a results folder of its own."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *options: str) -> subprocess.Popen[str]:
        outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "TRAINMARK_ROOT")
        kept = {name: value for name, value in os.environ.items() if name not in outer}
        own = {"PYTHONPATH": str(ROOT), "RESULTS": str(self.results), "COLUMNS": "160", "TMPDIR": str(self.temporary)}
        self.temporary.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider", *options],
            cwd=self.folder,
            env=kept | own,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @property
    def temporary(self) -> Path:
        """Whose path all that it starts has among its descriptors or in its environment."""
        return self.folder / "t"

    def ended(self, process: subprocess.Popen[str]) -> Run:
        output, _ = process.communicate(timeout=900)
        records: dict[str, Record] = {}
        for file in run_files(self.results):
            records |= {str(record.cell["model"]): record for record in read_run(file).records}
        return Run(process.returncode, output, records, self.left())

    def left(self) -> list[str]:
        """What is still running of it when it has had the time to end."""
        until = time.monotonic() + PATIENCE
        while (found := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def processes(self) -> list[str]:
        """What is still running of it: by the folder that it runs in or by the name of what a model starts."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("TMPDIR", "").startswith(str(self.temporary))
                of_us = ours or process.cmdline() == ["/bin/sleep", NAP]
                if of_us and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
            except psutil.Error:
                continue
        return found


NAP = "604.8"  # seconds that a program sleeps which a model has left: nobody else's sleeps as long


@cache
def options_of(*models: str) -> tuple[str, ...]:
    return tuple(option for model in models for option in ("--model", model))


def make_project(folder: Path) -> Project:
    for name in ("nets.py", "ways.py"):
        shutil.copy(HERE / name, folder)
    for way in AT_IMPORT:
        (folder / f"import_{way}.py").write_text(f"import ways\nfrom nets import fine as net\n\nways.{way}()\n")
    (folder / "import_no_python.py").write_text("def net(:\n")
    (folder / "import_no_package.py").write_text("import a_package_that_nobody_has\n")
    (folder / "conftest.py").write_text('pytest_plugins = ["trainmark.plugin"]\n')
    (folder / "pyproject.toml").write_text(f'[tool.trainmark]\nmodels = ["{FINE}"]\n')
    (folder / "bench").mkdir()
    (folder / "bench" / "test_training.py").write_text(BENCHMARK)
    return Project(folder)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All of them in one run of one side."""
    project = make_project(tmp_path_factory.mktemp("single"))
    return project.ended(project.start(*QUICK, *options_of(*SINGLE)))


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, dict[str, Record]]]:
    """Some of them on both sides of a comparison: the run, and side -> model -> record."""
    project = make_project(tmp_path_factory.mktemp("paired"))
    process = project.start("--against=self", "--budget=10m", *ONE_CELL, *options_of(*PAIRED))
    until = time.monotonic() + 600
    while sum(path.read_text().count('"record"') for path in project.results.glob("pairs/*.jsonl")) < 2 * len(PAIRED):
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)  # the pairs of those that can be measured would take their time
    run = project.ended(process)
    files = paired_files(project.results)
    assert files, run.output
    sides = read_paired_run(files[0]).sides
    return run, {name: {str(one.cell["model"]): one for one in side.records} for name, side in sides.items()}


@pytest.mark.parametrize("model", SINGLE)
def test_a_record_says_what_a_model_did_and_came_in_time(single: Run, model: str) -> None:
    status, words = SINGLE[model]
    assert model in single.records, single.output
    record = single.records[model]
    assert (record.status, words in (record.reason or "")) == (status, True), record.reason
    assert float(record.metrics.get("cell_seconds") or 0.0) < SECONDS + SLACK
    assert len(record.reason or "") < 2 * EXCERPT
    assert ("outlived" in record.flags) == (status == "ok" and LEFT in words) or status != "ok"


def test_a_model_that_cannot_be_imported_is_a_wrong_call_though_the_others_were_measured(single: Run) -> None:
    assert single.code == 4, single.output
    assert "INTERNALERROR" not in single.output


def test_nothing_is_left_running(single: Run) -> None:
    assert single.left == []


def test_the_terminal_is_written_to_in_lines_of_print(single: Run) -> None:
    assert len(single.output) < 500_000
    assert max(map(len, single.output.splitlines())) < 3 * EXCERPT
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x9b]", single.output)


def test_a_journal_that_a_model_has_deleted_is_written_anew_and_told(single: Run) -> None:
    assert "was deleted while it was written, and has been written anew" in single.output


@pytest.mark.parametrize("side", ["base", "new"])
@pytest.mark.parametrize("model", PAIRED)
def test_each_side_of_a_comparison_has_a_record_that_says_what_a_model_did(
    paired: tuple[Run, dict[str, dict[str, Record]]], model: str, side: str
) -> None:
    run, sides = paired
    status, words = PAIRED[model]
    assert model in sides[side], run.output
    record = sides[side][model]
    assert (record.status, words in (record.reason or "")) == (status, True), record.reason


def test_a_comparison_leaves_nothing_running(paired: tuple[Run, dict[str, dict[str, Record]]]) -> None:
    run, _ = paired
    assert run.left == []
    assert "INTERNALERROR" not in run.output
    assert "Traceback" not in run.output


def test_a_run_that_was_killed_among_them_leaves_nothing_running_and_is_resumed(tmp_path: Path) -> None:
    """Killed while a cell sleeps that has left a daemon; what was finished stays as it was."""
    project = make_project(tmp_path)
    models = (FINE, "nets:built('leave')", "nets:forward('leave_and_sleep')", "nets:backward('leave_a_daemon')")
    process = project.start(*QUICK, *options_of(*models))
    assert process.stdout is not None
    until = time.monotonic() + 120
    while not any("exit code 3" in path.read_text() for path in project.results.glob("journal/*.jsonl")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.05)
    time.sleep(2.0)  # until the third one sleeps
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert project.left() == []
    (journal,) = project.results.glob("journal/*.jsonl")
    before = journal.read_bytes().splitlines()
    run = project.ended(project.start("--resume"))
    assert run.code == 1, run.output
    assert len(before) >= 3
    assert {model: record.status for model, record in run.records.items()} == {
        FINE: "ok",
        "nets:built('leave')": "crashed",
        "nets:forward('leave_and_sleep')": "timeout",
        "nets:backward('leave_a_daemon')": "ok",
    }
    assert run.left == []
