"""``--shard`` as a CI matrix calls it: what all shards have measured is what one call plans."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.metrics import METRICS
from trainmark.store.record import Run
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[1]
ASKED = ("--model=mlp", "--precision=fp32", "--compile=off", "--batch-size=8,16", "--benchmark-max-time=0.01")
STEPS = ("-k", "train or input")  # an answer says something of its own run alone


def call(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    whole = [sys.executable, "-m", *command]
    return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    storage = f"--benchmark-storage=file://{folder}"
    return call("pytest", "bench", "-p", "no:cacheprovider", storage, *ASKED, *STEPS, *options)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three shards, of which the second was not stored: its journal is there."""
    folder = tmp_path_factory.mktemp("shards")
    for number in (1, 2, 3):
        done = bench(folder / str(number), f"--shard={number}/3", *(["--benchmark-autosave"] if number != 2 else []))
        assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("whole")
    done = bench(folder, "--benchmark-autosave")
    assert done.returncode == 0, done.stdout
    return read_run(run_files(folder)[0])


@pytest.fixture(scope="module")
def merged(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    results = tmp_path_factory.mktemp("merged")
    done = call("trainmark", "merge", str(shards), "--results", str(results), "--node-margin", "90%")
    assert done.returncode == 0, done.stderr
    return read_run(Path(done.stdout.strip()))


def test_merged_shards_are_the_run_that_one_call_plans(merged: Run, whole: Run) -> None:
    assert [record.key for record in merged.records] == list(whole.facts.planned)
    assert merged.facts.planned == whole.facts.planned
    assert merged.facts.left_out == whole.facts.left_out  # by -k
    assert merged.facts.complete


def test_what_is_counted_is_the_same(merged: Run, whole: Run) -> None:
    def exact(run: Run) -> dict[str, dict[str, object]]:
        return {
            record.key: {name: value for name, value in record.metrics.items() if METRICS[name].compared == "exact"}
            for record in run.records
        }

    assert exact(merged) == exact(whole)
    assert any("operators_per_step" in record.metrics for record in merged.records)
    assert [record.computation for record in merged.records] == [record.computation for record in whole.records]


def test_each_shard_is_a_node_of_the_merged_run(merged: Run) -> None:
    assert sorted(node.name for node in merged.facts.nodes) == ["shard 1/3", "shard 2/3", "shard 3/3"]
    assert sorted(key for node in merged.facts.nodes for key in node.keys) == sorted(merged.facts.planned)
    assert all(node.control for node in merged.facts.nodes)


def test_a_shard_that_is_missing_is_said(shards: Path, tmp_path: Path) -> None:
    parts = [str(shards / "1"), str(shards / "3")]
    done = call("trainmark", "merge", *parts, "--results", str(tmp_path), "--node-margin", "90%")
    assert done.returncode == 3
    assert "1 shard is missing, of 3: 2" in done.stderr


def test_a_shard_is_resumed_as_that_shard(shards: Path, whole: Run) -> None:
    """The second was measured, and not saved."""
    second = shards / "2"
    assert list((second / JOURNALS).glob("*.jsonl"))
    storage = f"--benchmark-storage=file://{second}"
    refused = call("pytest", "bench", "--resume", "--shard=2/3", storage)
    assert refused.returncode == 4 and "leave out --shard" in refused.stderr
    done = call("pytest", "bench", "-p", "no:cacheprovider", "--resume", storage, *STEPS, "--benchmark-autosave")
    assert done.returncode == 0, done.stdout
    assert read_run(run_files(second)[0]).facts.planned == whole.facts.planned[1::3]


def test_a_shard_does_not_go_with_another_side(tmp_path: Path) -> None:
    refused = bench(tmp_path, "--shard=1/2", "--against=self")
    assert refused.returncode == 4 and "--shard does not go with --against" in refused.stderr


def test_a_shard_beyond_the_last_is_refused(tmp_path: Path) -> None:
    refused = bench(tmp_path, "--shard=4/3")
    assert refused.returncode == 4 and "is no shard" in refused.stderr
