"""Every workload of the registry, measured alone, against itself, cut off and resumed, as a user calls it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainmark import suite
from trainmark.judge.comparison import compare_paired
from trainmark.store.pairs import PairedRun, paired_files, read_paired_run
from trainmark.store.runs import read_run, run_files
from trainmark.workloads import entries, entry_of

ROOT = Path(__file__).parents[2]
# One cheap cell of each workload that a call can be about beside the others.
CELLS = (
    *("--model=mlp", "--batch-size=512", "--device=cpu", "--precision=fp32", "--compile=off", "--loader=resident"),
    *("--epochs=1", "--seeds=2", "--engine=numba", "--smoothing=kneser-ney", "--order=2", "--tokens=2000"),
)
APART = {"lecture", "capacity", "scaling"}  # measured alone: what --against makes of them is told by made-up sides

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a side forks its processes")


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTHONPATH")  # of the run that this test is part of
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    command = [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider"]
    return subprocess.Popen(
        [*command, f"--benchmark-storage=file://{folder}", *options],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def cut_off(folder: Path) -> PairedRun:
    """A run against itself that was ended from outside while its pairs were measured."""
    process = start(folder, "--against=self", *CELLS, "--budget=20m")
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("  pair "):  # the first is told when some have been measured
            break
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == 2, "".join(told) + output
    assert "resume: pytest bench --resume --benchmark-storage file://" in output
    return read_paired_run(paired_files(folder)[0])


def workloads() -> set[str]:
    suite.open_suite(ROOT)
    return {entry.name for entry in entries()} - APART


def test_alone_each_has_a_record(folder: Path) -> None:
    code, output = finish(start(folder, "--benchmark-autosave", *CELLS))
    assert code == 0, output
    records = read_run(run_files(folder)[0]).records
    assert {record.cell.workload: record.status for record in records} == dict.fromkeys(workloads(), "ok")


def test_against_itself_each_has_a_record_on_both_sides_though_the_run_was_ended(cut_off: PairedRun) -> None:
    for side in cut_off.sides.values():
        found = {record.cell.workload: (record.status, record.reason) for record in side.records}
        compared = {name for name in workloads() if not entry_of(name).of_one_run}
        assert found == dict.fromkeys(compared, ("ok", None))
    comparison = compare_paired(cut_off)
    assert not {"failed", "missing", "regressed", "incomparable"} & set(comparison.counts)
    assert cut_off.new.facts.finished is None


def test_resumed_it_keeps_all_that_was_finished_and_ends(cut_off: PairedRun, folder: Path) -> None:
    code, output = finish(start(folder, "--resume", "--budget=25s"))
    (file,) = paired_files(folder)
    run = read_paired_run(file)
    assert code in (0, 3), output
    assert run.new.facts.finished is not None
    assert [side.records for side in run.sides.values()] == [side.records for side in cut_off.sides.values()]
    for key, pairs in cut_off.pairs.items():
        assert tuple(run.pairs[key])[: len(pairs)] == tuple(pairs)
    assert set(run.pairs) == {record.key for record in run.new.records if entry_of(record.cell.workload).steps}
    assert not {"failed", "missing", "regressed", "incomparable"} & set(compare_paired(run).counts)
