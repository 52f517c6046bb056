"""The small projects of examples/, each copied out of this repository and measured by the commands of its README."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainmark.judge.comparison import compare_paired
from trainmark.store.pairs import paired_files, read_paired_run
from trainmark.store.runs import read_run, run_files

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a side forks its processes")

EXAMPLES = Path(__file__).parents[1] / "examples"
COMMANDS = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINES_OF_A_README = 15


@dataclass(frozen=True)
class Example:
    """What a project is expected to be.

    Attributes:
        task: That it measures.
        workloads: Of its benchmarks.
        metric: By which a trained model is judged.
        unit: Of the throughput.
        well: The metric's value that a network which has learnt something reaches.
        page: What its page says.
    """

    task: str
    workloads: set[str]
    metric: str
    unit: str
    well: float
    page: tuple[str, ...]


STEPS = {"train", "accuracy"}
PROJECTS = {
    "tabular-regression": Example(
        "models.diabetes:progression", STEPS, "rmse", "samples", 70.0, ("Held-out rmse", "Rmse")
    ),
    "tokens": Example("models.colours:hues", STEPS, "right", "letters", 0.5, ("Held-out right", "Letters/s")),
    "segmentation": Example("models.coast:coast", STEPS, "iou", "pixels", 0.5, ("Held-out iou", "Pixels/s")),
    "series": Example("models.prices:tomorrow", STEPS, "rmse", "samples", 0.05, ("Held-out rmse", "Rmse over naive")),
    "image-folder": Example(
        "models.photographs:pieces", {*STEPS, "input"}, "accuracy", "samples", 0.6, ("Held-out accuracy",)
    ),
}


def test_each_example_is_tried_here_and_named_in_the_readme() -> None:
    """But for the many trainings in one project, which have a test of their own."""
    found = {file.parent.name for file in EXAMPLES.glob("*/pyproject.toml")}
    assert found == {*PROJECTS, "any-task"}
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"(examples/{name}/README.md)" in readme for name in found)


@pytest.mark.parametrize("name", PROJECTS)
def test_an_example_stands_for_itself(name: str) -> None:
    """A short README, a package of models, and nothing of this repository but the engine's public names."""
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= LINES_OF_A_README
    assert (EXAMPLES / name / "models" / "__init__.py").is_file()
    imports = re.compile(r"^\s*(?:from|import) (trainmark[\w.]*|bench\b|reports\b)", re.MULTILINE)
    text = "".join(file.read_text(encoding="utf-8") for file in (EXAMPLES / name).rglob("*.py"))
    assert set(imports.findall(text)) == {"trainmark.task"}


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit_twice(folder: Path) -> None:
    """A first commit of all that is there, and a second of a note that changes nothing that is measured."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Measure it")
    (folder / "NOTES.md").write_text("Nothing yet.\n", encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Keep notes")


@pytest.mark.parametrize("name", PROJECTS)
def test_an_example_is_measured_and_compared_as_its_readme_says(name: str, installed: str, tmp_path: Path) -> None:
    """Whatever a busy machine leaves undecided is fine; an error is none of that, nor is a benchmark that fails."""
    expected = PROJECTS[name]
    folder = tmp_path / "a copy" / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", "results", "images"))
    (block,) = COMMANDS.findall((folder / "README.md").read_text(encoding="utf-8"))
    making = [command.split() for command in block.splitlines() if command.startswith("python ")]
    for command in making:
        done = run(folder, installed, *command[1:])
        assert done.returncode == 0, done.stderr
    commit_twice(folder)
    allowed = {"pytest bench --benchmark-autosave": {0}, "trainmark html": {0}, "pytest bench --against HEAD~1": {0, 3}}
    assert block.splitlines()[len(making) :] == list(allowed)
    for command, codes in allowed.items():
        done = run(folder, installed, "-m", *command.split())
        assert done.returncode in codes, f"{command}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"

    measured = read_run(run_files(folder / "results")[-1])
    assert {record.status for record in measured.records} == {"ok"}
    assert {record.cell.workload for record in measured.records} == expected.workloads
    assert {record.cell["model"] for record in measured.records if record.cell.workload != "input"} == {expected.task}
    train = next(record for record in measured.records if record.cell.workload == "train")
    assert train.metrics[f"{expected.unit}_per_second"]
    judged = next(record for record in measured.records if record.cell.workload == "accuracy")
    better = max if expected.metric in ("right", "iou", "accuracy") else min
    reached = judged.metrics[expected.metric]
    assert reached is not None
    assert better(reached, expected.well) == reached
    page = (folder / "results" / "report.html").read_text(encoding="utf-8")
    assert all(text in page for text in (expected.task, *expected.page))

    paired = read_paired_run(paired_files(folder / "results")[-1])
    for side in paired.sides.values():
        assert {record.status for record in side.records} <= {"ok"}  # a busy machine may spend the budget on fewer
        assert {key.split()[0] for key in side.facts.planned} == expected.workloads
    verdicts = {cell.verdict for cell in compare_paired(paired).cells}
    assert verdicts <= {"unchanged", "improved", "inconclusive", "unmeasured"}


def run(folder: Path, installed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The interpreter that this environment was made of, with the engine from its wheel."""
    left_out = ("PYTEST_", "TRAINMARK_ROOT", "VIRTUAL_ENV", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": installed, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )
