"""``docs/extending.md`` by its patches: each touches as few places as it says, and together they are measured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainmark.store.cell import WORKLOADS
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import Record
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[1]
PATCHES = Path(__file__).parent / "extending"
PLACES = {  # files, of which a new workload's folder counts as one
    "model": {"models/registry.py"},
    "parameter": {"trainmark/store/parameters.py", "trainmark/measure/steps.py"},
    "metric": {"trainmark/store/metrics.py", "trainmark/measure/instruments.py"},
    "workload": {"bench/sorting/", "bench/test_sorting.py"},
    "picture": {"trainmark/page/plots/latency.py", "trainmark/page/galleries.py"},
    "competing-library": {"bench/ngram/engines.py"},
}
MEASURED = (
    *("--model=linear", "--label-smoothing=on", "--engine=dict"),
    *("--tokens=1000", "--batch-size=8", "--device=cpu"),
)
QUICK = (
    "--precision=fp32",
    "--compile=off",
    "--benchmark-max-time=0.01",
    "--benchmark-autosave",
    "-p",
    "no:cacheprovider",
)


def touched(patch: str) -> set[str]:
    """Files that a patch touches; those that it makes in a new folder of workloads as that folder."""
    text = (PATCHES / f"{patch}.patch").read_text()
    changed = re.findall(r"^diff --git a/(\S+) b/\S+\n(new file)?", text, re.MULTILINE)
    return {re.sub(r"^(bench/\w+/).*", r"\1", file) if made else file for file, made in changed}


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout, as it lies, with all patches applied."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("trainmark", "bench", "models", "reports"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for patch in PLACES:
        command = ["git", "apply", "--whitespace=error", str(PATCHES / f"{patch}.patch")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{patch}: {done.stderr}"
    return folder


@pytest.fixture(scope="module")
def call(extended: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRAINMARK_"))}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=extended, env=environment | {"COLUMNS": "160"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def records(extended: Path, call) -> Iterator[dict[str, Record]]:
    """What the extended suite has measured, by workload; the words that its runs bring are forgotten afterwards."""
    call("pytest", "bench", *MEASURED, *QUICK, "-k", "train or ngram_fit")
    call("pytest", "bench", "--device=cpu", *QUICK, "-k", "sorting")
    known = [(registry, dict(registry)) for registry in (PARAMETERS, METRICS, WORKLOADS)]
    runs = [read_run(file) for file in run_files(extended / "results")]
    yield {record.cell.workload: record for run in runs for record in run.records}
    for registry, before in known:
        registry.clear()
        registry.update(before)


@pytest.mark.parametrize("patch", PLACES)
def test_each_addition_touches_no_more_places_than_it_says(patch: str) -> None:
    assert touched(patch) == PLACES[patch]


def test_every_patch_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "extending.md").read_text()
    assert {path.stem for path in PATCHES.glob("*.patch")} == set(PLACES)
    for patch, places in PLACES.items():
        assert f"tests/extending/{patch}.patch" in guide
        for place in places:
            assert f"`{place}`" in guide


def test_an_added_model_parameter_and_metric_are_measured_and_stored(records: dict[str, Record]) -> None:
    training = records["train"]
    assert training.status == "ok"
    assert training.label == "train linear 8 cpu fp32 smooth=on"
    assert training.metrics["parameters"] == 7_850
    assert training.metrics["parameter_tensors"] == 2


def test_an_added_competing_library_and_workload_are_measured_and_stored(records: dict[str, Record]) -> None:
    assert records["ngram_fit"].status == records["sorting"].status == "ok"
    assert records["ngram_fit"].settings["computes"].startswith("counts of order n only")
    assert records["sorting"].metrics["sort_seconds"] > 0


def test_an_added_picture_is_on_the_page(extended: Path, call, records: dict[str, Record]) -> None:
    assert records
    call("trainmark", "html", "1")
    assert '<h3 id="latency">' in (extended / "results" / "report.html").read_text()


def test_records_from_before_a_parameter_have_the_key_of_its_default(extended: Path) -> None:
    code = (
        "import trainmark.workloads; from trainmark.store.cell import Cell;"
        "print(Cell.of('train', model='mlp', label_smoothing='off').key == 'train')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=extended, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
