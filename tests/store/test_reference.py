"""The runs of known machines that come with the project: whole, small, and telling nothing of whose machine it was."""

from __future__ import annotations

import getpass
import json
import platform
import re
from pathlib import Path

import pytest

from trainmark import load_runs
from trainmark.store.folders import PATH
from trainmark.store.metrics import METRICS
from trainmark.store.runs import REFERENCE, artifact_folder, read_run, run_files

FOLDER = Path(__file__).parents[2] / "results" / REFERENCE
FILES = run_files(FOLDER)
LARGEST_BYTES = 300_000
OF_MODELS = {"train", "inference", "input", "accuracy"}
WORKLOADS = {
    "0001_cpu-amd-epyc-zen4-2-cores": OF_MODELS,
    "0002_cpu-amd-epyc-avx2-2-cores": {*OF_MODELS, "answer", "lecture", "ngram_fit", "ngram_score"},
}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def test_there_is_one_and_nothing_else_lies_beside_it() -> None:
    assert [file.stem for file in FILES] == [*WORKLOADS]
    beside = [folder for file in FILES if (folder := artifact_folder(file)).exists()]  # what its workloads left
    assert sorted([*FILES, *beside]) == sorted(FOLDER.iterdir())


@each_file
def test_a_reference_is_whole_and_of_a_clean_commit(file: Path) -> None:
    run = read_run(file)
    assert run.facts.complete
    assert {record.key for record in run.records} == set(run.facts.planned)
    assert {record.status for record in run.records} <= {"ok", "skipped"}
    assert {record.cell.workload for record in run.records} == WORKLOADS[file.stem]
    assert run.commit["dirty"] is False


@each_file
def test_a_reference_is_small(file: Path) -> None:
    assert file.stat().st_size < LARGEST_BYTES


@each_file
def test_a_reference_tells_of_no_host_no_user_and_no_folder(file: Path) -> None:
    document = json.loads(file.read_text())
    assert (document["commit_info"]["project"], document["commit_info"]["branch"]) == ("trainmark", "main")
    left = [
        re.sub(r'"pixels": "[^"]*"', "", beside.read_text())
        for beside in artifact_folder(file).glob("**/*")
        if beside.is_file()
    ]
    words = {word for text in (file.read_text(), *left) for word in re.findall(r'"((?:[^"\\]|\\.)*)"', text)}
    assert not [word for word in words if PATH.search(word)]
    assert platform.node() not in words
    assert getpass.getuser() not in words
    assert not {"node", "hostname", "user"} & words


@each_file
def test_no_step_of_a_reference_is_faster_than_the_peaks_of_its_machine(file: Path) -> None:
    used = [record.metrics.get("flops_utilisation") for record in read_run(file).records]
    assert any(used)
    assert all(0 < share <= 1 for share in used if share is not None)


@each_file
def test_a_reference_has_six_counts_of_every_step(file: Path) -> None:
    counts = [name for name, metric in METRICS.items() if metric.compared == "exact"]
    for record in read_run(file).records:
        if record.cell.workload in ("train", "inference"):
            assert sum(record.metrics.get(name) is not None for name in counts) >= 6


def test_references_are_among_the_runs_that_are_loaded() -> None:
    frame = load_runs(folder=FOLDER.parent)
    assert {file.stem for file in FILES} <= set(frame["run"])
