"""Any supervised training, in a project outside this repository: the tasks of examples/any-task, measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainmark.judge.comparison import compare_paired
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.pairs import paired_files, read_paired_run
from trainmark.store.record import Record, Run
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "any-task"
QUICK = ("--batch-size=16", "--benchmark-max-time=0.01", "--benchmark-min-rounds=2", "--seeds=2", "--epochs=1")
PLAIN = ("--device=cpu", "--precision=fp32", "--benchmark-autosave")
COLUMNS = 20 * 32 + 32 + 32 + 1  # parameters of the regression
IMAGES = 8 * 9 + 8 + 2 * 8 + 8 * 144 * 4 + 4  # of the images' classifier
GRU = 2 * 3 * (24 * 24 + 24)
# Task -> parameters that are trained: tied ones once, frozen ones not, lazy ones after a first forward pass.
PARAMETERS = {
    "models.nets:Net": 8 * 9 + 8 + 2 * 8 + 8 * 169 * 10 + 10,
    "more/nets.py:narrow": 784 * 16 + 16 + 16 * 10 + 10,
    "tasks.columns:regression": COLUMNS,
    "tasks.columns:momentum": COLUMNS,
    "tasks.columns:fused": COLUMNS,
    "tasks.columns:accumulated": COLUMNS,
    "tasks.columns:clipped": COLUMNS,
    "tasks.columns:two_optimizers": COLUMNS,
    "tasks.columns:lazy": COLUMNS,
    "tasks.columns:wide(width=48)": 20 * 48 + 48 + 48 + 1,
    "tasks.images:normalised": IMAGES,
    "tasks.images:frozen": IMAGES - 8 * 9 - 8,
    "tasks.images:per_pixel": 8 * 9 + 8 + 2 * 8 + 2,
    "tasks.images:loaded_beside": IMAGES,
    "tasks.texts:tokens": 40 * 24 + GRU + 40 * 24,
    "tasks.texts:tied": 40 * 24 + GRU,
    "tasks.texts:two_inputs": 8 * 8 + 8,
}
TASKS = [name for name in PARAMETERS if name.startswith("tasks.")]
JUDGED_BY = {"columns": "rmse", "per_pixel": "iou", "tokens": "perplexity", "tied": "perplexity", "two_inputs": "right"}


@pytest.fixture(scope="module")
def project(
    installed: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python -m …`` in the example's folder, outside this repository, with the engine from its wheel."""
    folder = tmp_path_factory.mktemp("a stranger") / "any task"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "results", ".pytest_cache"))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": installed, "COLUMNS": "160"}
        for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "TRAINMARK_ROOT", "VIRTUAL_ENV"):
            environment.pop(name, None)
        interpreter = getattr(sys, "_base_executable", sys.executable)
        return subprocess.run(
            [interpreter, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    run.folder = folder  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def measured(project: Callable[..., subprocess.CompletedProcess[str]]) -> Run:
    """All of the example's tasks, each trained, inferred with and judged."""
    done = project("pytest", "bench", *QUICK, *PLAIN)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return read_run(run_files(project.folder / "results")[-1])  # type: ignore[attr-defined]


def of(run: Run, workload: str, task: str) -> Record:
    (found,) = (one for one in run.records if one.cell.workload == workload and one.cell["model"] == task)
    return found


def test_every_task_is_trained_inferred_with_and_judged(measured: Run) -> None:
    assert {record.status for record in measured.records} == {"ok"}
    told = {(record.cell.workload, record.cell["model"]) for record in measured.records}
    assert told >= {("train", name) for name in PARAMETERS} | {("inference", name) for name in PARAMETERS}
    assert told >= {("accuracy", name) for name in TASKS}


@pytest.mark.parametrize("task", PARAMETERS)
def test_what_can_be_counted_of_a_training_is_counted(measured: Run, task: str) -> None:
    metrics = of(measured, "train", task).metrics
    assert metrics["parameters"] == PARAMETERS[task]
    assert metrics["samples_per_step"] == 16
    phases = [metrics[f"{name}_seconds"] for name in ("forward", "loss", "zero_grad", "backward", "optimizer")]
    quiet = task == "tasks.columns:accumulated"  # two steps without a step of the optimizer
    assert all(phase is not None and phase > 0 for phase in phases if not quiet)
    assert metrics["flops_per_step"] and metrics["activation_bytes"]


@pytest.mark.parametrize("task", PARAMETERS)
def test_what_a_task_computes_is_kept(measured: Run, task: str) -> None:
    computed = of(measured, "train", task).computation
    assert computed["facts"]["optimizer"]["class"] in ("AdamW", "SGD")
    assert all("loss" in step and "images" in step and "outputs" in step for step in computed["steps"])
    assert {row["steps"] > 0 for row in computed["tensors"] if row["gradient"] is not None} == {True}


@pytest.mark.parametrize("task", TASKS)
def test_a_trained_model_is_judged_by_what_its_task_says(measured: Run, task: str) -> None:
    record = of(measured, "accuracy", task)
    module, name = task.removeprefix("tasks.").split(":")
    expected = JUDGED_BY.get(module, JUDGED_BY.get(name, "accuracy"))
    assert record.held_out_metrics == (expected,)
    curves = record.series[f"held_out_{expected}"]
    assert [len(curve) for curve in curves] == [1, 1]
    ends = [curve[-1] for curve in curves]
    assert record.metrics[expected] == pytest.approx(sum(ends) / 2)
    assert (record.metrics[f"{expected}_lowest"], record.metrics[f"{expected}_highest"]) == (min(ends), max(ends))


def test_throughput_is_told_in_the_unit_of_the_task(measured: Run) -> None:
    per_pixel = of(measured, "train", "tasks.images:per_pixel").metrics
    assert per_pixel["pixels_per_second"] == pytest.approx(144 * (per_pixel["samples_per_second"] or 0))
    texts = of(measured, "train", "tasks.texts:tokens").metrics
    assert 2 < (texts["tokens_per_second"] or 0) / (texts["samples_per_second"] or 1) < 11  # of a sentence but its last


def test_the_page_and_the_advice_speak_of_each_task(
    measured: Run, project: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = project("trainmark", "html")
    assert done.returncode == 0, done.stderr
    page = (project.folder / "results" / "report.html").read_text()  # type: ignore[attr-defined]
    assert all(text in page for text in ("Rmse (m)", "Perplexity", "Iou (%)", "Pixels/s", "Tokens/s"))
    assert "Held-out rmse" in page
    advice = project("trainmark", "recommend", "--model", "tasks.texts:tied")
    assert advice.returncode == 0 and "tasks.texts:tied on cpu" in advice.stdout


def test_a_call_names_tasks_and_a_test_may_be_for_some_values(
    project: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    listed = project("pytest", "bench", "--collect-only", "-q", "-k", "train", "--task=tasks.columns:fused", *PLAIN[:2])
    assert listed.returncode == 0, listed.stdout
    assert {line.split("[")[1].split("-")[0] for line in listed.stdout.splitlines() if "[" in line} == {
        "tasks.columns:fused"
    }
    wrong = project("pytest", "bench", "--collect-only", "-q", "--task=fused")
    assert wrong.returncode == 4 and "write package.module:name of a Task" in wrong.stderr
    own = project.folder / "bench" / "test_large.py"  # type: ignore[attr-defined]
    own.write_text(
        "import pytest\n\n\n@pytest.mark.workload('train', model='tasks.columns:lazy', batch_size=[64])\n"
        "def test_large(measure):\n    measure()\n"
    )
    listed = project("pytest", str(own), "--collect-only", "-q", *PLAIN[:2])
    own.unlink()
    assert [line for line in listed.stdout.splitlines() if "[" in line] == [
        "bench/test_large.py::test_large[tasks.columns:lazy-64-cpu-fp32-own-data]"
    ]


def test_two_sides_of_a_task_are_compared_by_what_it_is_judged_by(
    project: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = project(
        *("pytest", "bench", "--against=self", "--budget=40s", "--task=tasks.columns:regression", "-k", "accuracy"),
        *(*QUICK[:1], *QUICK[3:], *PLAIN[:2]),
    )
    assert done.returncode == 0, done.stdout[-4000:]
    METRICS.setdefault("rmse", Metric("m", "lower", "difference", "as the run says", 0.5))
    (cell,) = compare_paired(read_paired_run(paired_files(project.folder / "results")[-1])).cells  # type: ignore[attr-defined]
    (judged,) = (change for change in cell.changes if change.name == "rmse")
    assert (cell.verdict, judged.verdict, judged.base) == ("unchanged", "unchanged", judged.new)
