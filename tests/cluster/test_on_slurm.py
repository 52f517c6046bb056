"""A run on a real Slurm cluster of two nodes, whose submitter and jobs are killed and one of whose nodes is drained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from slurm import CannotStart, Cluster, running_cluster

from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.metrics import METRICS
from trainmark.store.record import Record, Run
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[2]
SIZES = ",".join(str(size) for size in range(1, 21))
SIXTY = (
    *("--model=mlp", "--precision=fp32", "--compile=off", "--device=cpu", f"--batch-size={SIZES}"),
    *("-k", "train or input"),
    *("--benchmark-max-time=0.001", "--benchmark-min-rounds=1", "--threads=1", "--benchmark-autosave"),
)
PATIENCE = 400.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with running_cluster() as started:
            yield started
    except CannotStart as error:
        pytest.fail(f"Slurm cannot be started here: {error}", pytrace=False)


def start(folder: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "bench",
        "-p",
        "no:cacheprovider",
        f"--benchmark-storage=file://{folder}",
    ]
    told = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
    return subprocess.Popen(
        [*command, *options], cwd=ROOT, env=told, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for_records(folder: Path, number: int, process: subprocess.Popen[str]) -> None:
    """Waits until the submitting process has collected so many records."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        if any(path.read_bytes().count(b"\n") > number for path in (folder / JOURNALS).glob("*.jsonl")):
            return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[0])


def jobs_in(folder: Path) -> list[psutil.Process]:
    """Processes of jobs that measure now."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "submitit.core._submit" in (line := process.info["cmdline"] or []) and str(folder) in " ".join(line)
    ]


@pytest.fixture(scope="module")
def resumed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run after all that came in its way, and what the resuming call printed."""
    folder = tmp_path_factory.mktemp("cluster")
    submitter = start(folder, cluster.environment, *SIXTY, "--executor=slurm", "--jobs=6")
    wait_for_records(folder, 4, submitter)
    submitter.kill()
    submitter.communicate()
    killed = jobs_in(folder)[:2]
    assert killed, cluster.ask("squeue")
    for process in killed:
        process.kill()
    cluster.ask("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    again = start(folder, cluster.environment, "--resume")
    try:
        output, _ = again.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        again.send_signal(signal.SIGINT)
        raise AssertionError(again.communicate()[0]) from None
    assert again.returncode == 0, output + cluster.last_words()
    return folder, output


@pytest.fixture(scope="module")
def on_cluster(resumed: tuple[Path, str]) -> Run:
    (file,) = run_files(resumed[0])
    return read_run(file)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("local")
    process = start(folder, dict(os.environ), *SIXTY)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    (file,) = run_files(folder)
    return read_run(file)


def test_each_configuration_is_there_once(on_cluster: Run) -> None:
    assert len(on_cluster.records) == len(on_cluster.facts.planned) == 60
    assert [record.key for record in on_cluster.records if record.status != "ok"] == []
    assert sorted(record.key for record in on_cluster.records) == sorted(on_cluster.facts.planned)
    assert on_cluster.facts.complete


def test_the_run_equals_a_local_one_but_for_times_and_nodes(on_cluster: Run, local: Run) -> None:
    def same(record: Record) -> tuple[object, ...]:
        counts = {
            name: value
            for name, value in record.metrics.items()
            if METRICS[name].compared in ("exact", "explains") and name in record.metrics
        }
        return record.status, record.reason, counts, record.settings, record.computation

    assert {record.key: same(record) for record in on_cluster.records} == {
        record.key: same(record) for record in local.records
    }
    assert on_cluster.facts.planned == local.facts.planned
    assert on_cluster.commit == local.commit
    assert dict(on_cluster.facts.options) == dict(local.facts.options)


def test_each_node_says_what_it_measured_and_none_says_its_name(on_cluster: Run) -> None:
    nodes = on_cluster.facts.nodes
    assert [node.name for node in nodes] == [f"node-{number}" for number in range(1, len(nodes) + 1)]
    assert sorted(key for node in nodes for key in node.keys) == sorted(on_cluster.facts.planned)
    assert all(node.control for node in nodes)


def test_the_cluster_is_shown_in_a_table_while_it_measures(resumed: tuple[Path, str]) -> None:
    assert "60/60 cells" in resumed[1]
    assert "(from the journal)" in resumed[1]


def test_nothing_of_the_jobs_is_left_beside_the_stored_run(resumed: tuple[Path, str]) -> None:
    folder = resumed[0]
    assert list((folder / JOURNALS).glob("*.jobs")) == []
    assert list((folder / JOURNALS).glob("*.jsonl")) == []
    assert not jobs_in(folder)
