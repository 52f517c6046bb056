"""``--executor local``: jobs are processes of this machine, and what they leave becomes one run as any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[2]
ASKED = (
    *("--model=mlp", "--precision=fp32", "--compile=off", "--batch-size=8,16", "-k", "train or input"),
    *("--benchmark-max-time=0.01", "--benchmark-autosave", "--executor=local", "--jobs=2"),
)


def test_jobs_measure_a_run_that_is_stored_once_with_its_node(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider", *ASKED]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, f"--benchmark-storage=file://{tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = run_files(tmp_path)
    run = read_run(file)
    assert run.facts.complete and len(run.records) == 6
    assert [(node.name, len(node.keys)) for node in run.facts.nodes] == [("node-1", 6)]
    assert not [*(tmp_path / JOURNALS).glob("*.jobs"), *(tmp_path / JOURNALS).glob("*.jsonl")]
