"""The experiment behind an answer: what it takes over, what it adds, and the command that decides what was open."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainmark.advise.answer import answers, read_answer, read_evidence
from trainmark.experiment import find_answer, gather, joined, stretches, with_trainings
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Outcome
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[1]
ANSWER = Cell.of("answer", loader="resident", lr_scaling="sqrt")
TOLD = {"threads": 1, "seed": 0}


def timed(step_seconds: float, threads: int = 1, **axes: Any) -> Record:
    metrics = {"step_seconds": step_seconds, "samples_per_second": 64 / step_seconds}
    return Record(Cell.of("train", **axes), "ok", metrics=metrics, settings={"threads": threads})


def trained(finals: Sequence[float], first: int = 0, threads: int = 1, held_out: int = 1000, **axes: Any) -> Record:
    """An accuracy of some seeds."""
    seeds = range(first, first + len(finals))
    curves = [[0.5 + 0.001 * seed, final] for seed, final in zip(seeds, finals, strict=True)]
    return Record(
        Cell.of("accuracy", **axes),
        "ok",
        metrics={"accuracy": 0.9, "accuracy_lowest": 0.9, "accuracy_highest": 0.9},
        series={"seed": list(seeds), "held_out_accuracy": curves, "train_loss": [[1.0] for _ in seeds]},
        settings={"threads": threads, "train_samples": 4000, "held_out_samples": held_out},
    )


class MadeUpProcesses:
    """Trainings and pairs without a process: each setting has an accuracy and a time."""

    def __init__(self, known: Sequence[Record], accuracy: dict[int, float], log_ratio: float = math.log(0.5)) -> None:
        self.known = lambda: list(known)
        self.accuracy = accuracy
        self.log_ratio = log_ratio
        self.called: list[tuple[str, Any]] = []
        self.ends: dict[str, Outcome] = {}
        self.unspent = 0.0

    def call(self, function: str, *arguments: Any) -> Outcome:
        name = function.rpartition(":")[2]
        if name == "measure_settings":
            pairs = arguments[2]
            self.called.append((name, pairs))
            ratios = [self.log_ratio + 0.001 * number for number in range(pairs)]
            return self.ends.get(name, Outcome("ok", ratios, None, "", 1.0))
        (jobs,) = arguments
        self.called.append((name, sorted((how.seed, how.seeds) for _, how in jobs)))
        made = [self._trained(cell, how) for cell, how in jobs]
        return self.ends.get(name, Outcome("ok", made, None, "", 1.0))

    def _trained(self, cell: Cell, settings: Settings) -> Record:
        final = self.accuracy[int(cell["batch_size"])]
        seeds = range(settings.seed, settings.seed + settings.seeds)
        return trained([final + 0.0001 * seed for seed in seeds], settings.seed, **cell.settings)

    def record(self, cell: Cell, settings: Settings, outcome: Outcome) -> tuple[Record, str]:
        return Record(cell, outcome.status, outcome.reason, metrics={"cell_seconds": outcome.seconds}), outcome.log


SCREENED = (timed(3e-3), timed(6e-3, batch_size=256))
SETTINGS = Settings(answer_seconds=600.0)


def test_an_experiment_measures_pairs_then_trains_both_settings_with_the_same_seeds() -> None:
    processes = MadeUpProcesses([*SCREENED, trained([0.95, 0.951], loader="dataloader")], {64: 0.95, 256: 0.95})
    record, _ = find_answer(ANSWER, SETTINGS, processes)  # type: ignore[arg-type]  # what it asks of a context
    found = read_answer(record)
    assert found is not None
    assert found.best is not None
    assert found.best.tried.axes["lr_scaling"] == "sqrt"
    assert processes.called == [
        ("measure_settings", 3),
        ("measure_settings", 3),
        ("measure_trainings", [(0, 6), (2, 4)]),  # the default has two seeds from the run's own accuracy
    ]
    assert record.metrics["answer_speedup"] == pytest.approx(1 / found.best.ratio.middle)
    assert record.metrics["answer_missing_seconds"] == 0.0
    assert record.settings["decided"] is True


def test_what_is_worse_is_found_out_and_the_default_stays() -> None:
    processes = MadeUpProcesses(SCREENED, {64: 0.95, 256: 0.85})
    record, _ = find_answer(ANSWER, SETTINGS, processes)  # type: ignore[arg-type]
    found = read_answer(record)
    assert found is not None
    assert (found.best, found.decided) == (None, True)
    assert record.metrics["answer_speedup"] == 1.0


def test_what_is_slower_by_far_is_neither_paired_nor_trained() -> None:
    processes = MadeUpProcesses([timed(3e-3), timed(30e-3, batch_size=256)], {})
    record, _ = find_answer(ANSWER, SETTINGS, processes)  # type: ignore[arg-type]
    assert processes.called == []
    assert record.settings["decided"] is True


def test_without_time_nothing_is_begun_and_the_rest_is_told() -> None:
    processes = MadeUpProcesses(SCREENED, {64: 0.95, 256: 0.95})
    record, _ = find_answer(ANSWER, replace(SETTINGS, answer_seconds=1.0), processes)  # type: ignore[arg-type]
    assert processes.called == []
    assert record.settings["decided"] is False
    assert (record.metrics["answer_missing_seconds"] or 0.0) > 1.0


def test_a_later_experiment_adds_to_the_evidence_of_an_earlier_one() -> None:
    first = MadeUpProcesses(SCREENED, {64: 0.95, 256: 0.95})
    paired, _ = find_answer(ANSWER, replace(SETTINGS, answer_seconds=12.0), first)  # type: ignore[arg-type]
    assert [name for name, _ in first.called] == ["measure_settings"] * 2
    second = MadeUpProcesses([*SCREENED, paired], {64: 0.95, 256: 0.95})
    record, _ = find_answer(ANSWER, SETTINGS, second)  # type: ignore[arg-type]
    assert [name for name, _ in second.called] == ["measure_trainings"]
    evidence = read_evidence(record)
    assert evidence is not None
    assert len(evidence.tried[1].log_ratios) == 6
    assert record.settings["decided"] is True


def test_a_setting_that_is_no_sooner_in_three_pairs_is_not_tried_any_longer() -> None:
    processes = MadeUpProcesses(SCREENED, {}, log_ratio=-0.01)
    record, _ = find_answer(ANSWER, SETTINGS, processes)  # type: ignore[arg-type]
    assert processes.called == [("measure_settings", 3)]
    assert record.settings["decided"] is True


def test_time_that_an_answer_has_left_is_for_those_after_it() -> None:
    short = replace(SETTINGS, answer_seconds=20.0)
    processes = MadeUpProcesses(SCREENED, {64: 0.95, 256: 0.95})
    find_answer(ANSWER, short, processes)  # type: ignore[arg-type]
    assert 10.0 < processes.unspent <= 20.0  # made-up processes take no time
    find_answer(ANSWER, short, processes)  # type: ignore[arg-type]
    assert 30.0 < processes.unspent <= 40.0


def test_as_many_pairs_are_measured_as_the_time_allows() -> None:
    processes = MadeUpProcesses(SCREENED, {64: 0.95, 256: 0.95})
    find_answer(ANSWER, replace(SETTINGS, answer_seconds=4.0), processes)  # type: ignore[arg-type]
    assert processes.called[0] == ("measure_settings", 2)


def test_equal_trainings_in_two_parts_are_seen_to_be_equal() -> None:
    evidence = gather(ANSWER, SCREENED, SETTINGS)
    assert evidence is not None
    parts = [replace(trained([0.9], seed), series={"seed": [seed], "held_out_accuracy": [[0.9]]}) for seed in (0, 1)]
    assert with_trainings(evidence, joined(parts), "accuracy").tried[0].trained == ((0, 0.9),)


def test_a_training_that_fails_is_how_the_answer_ends() -> None:
    processes = MadeUpProcesses(SCREENED, {64: 0.95, 256: 0.95})
    processes.ends["measure_trainings"] = Outcome("nan", None, "the loss is not finite", "", 1.0)
    record, _ = find_answer(ANSWER, SETTINGS, processes)  # type: ignore[arg-type]
    assert (record.status, record.reason) == ("nan", "the loss is not finite")


def test_without_a_timed_training_there_is_nothing_to_answer() -> None:
    record, _ = find_answer(ANSWER, SETTINGS, MadeUpProcesses([], {}))  # type: ignore[arg-type]
    assert record.status == "skipped"
    assert "no training of it was timed" in (record.reason or "")


@pytest.mark.parametrize(
    "other",
    [
        timed(1e-3, threads=2),
        timed(1e-3, model="cnn"),
        timed(1e-3, loader="dataloader", batch_size=256),
        replace(timed(1e-3), cell=Cell.of("input")),
    ],
    ids=["threads", "model", "loader", "workload"],
)
def test_records_of_other_conditions_are_no_evidence(other: Record) -> None:
    found = gather(ANSWER, [*SCREENED, other], SETTINGS)
    assert found == gather(ANSWER, SCREENED, SETTINGS)


def test_equal_trainings_of_different_seeds_count_once() -> None:
    evidence = gather(ANSWER, SCREENED, SETTINGS)
    assert evidence is not None
    record = trained([0.9, 0.9, 0.9])
    same = {**record.series, "held_out_accuracy": [[0.5, 0.9]] * 3}
    assert with_trainings(evidence, replace(record, series=same), "accuracy").tried[0].trained == ((0, 0.9),)
    assert len(with_trainings(evidence, record, "accuracy").tried[0].trained) == 3


@pytest.mark.parametrize(
    ("seeds", "found"), [([], []), ([0, 1, 2], [(0, 3)]), ([4, 0, 1], [(0, 2), (4, 1)]), ([7], [(7, 1)])]
)
def test_seeds_are_trained_in_stretches_without_a_gap(seeds: list[int], found: list[tuple[int, int]]) -> None:
    assert stretches(seeds) == found


def test_a_stretch_is_parted_for_more_cores() -> None:
    assert stretches(range(6), 2) == [(0, 3), (3, 3)]
    assert stretches([2, 3, 4, 5, 6], 3) == [(2, 2), (4, 2), (6, 1)]


def call(folder: Path, *arguments: str) -> str:
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTHONPATH")  # of the run that this test is part of
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "-p", "no:cacheprovider", f"--benchmark-storage=file://{folder}"],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a pair is two forks")
def test_the_command_that_is_printed_decides_what_was_open_with_the_evidence_of_both_runs(tmp_path: Path) -> None:
    cells = ("--model=mlp", "--batch-size=64,512", "--epochs=1", "--compile=off", "--precision=fp32", "--device=cpu")
    told = call(tmp_path, "bench", "-k", "train or answer", "--benchmark-autosave", *cells, "--answer=1s")
    assert "mlp on cpu: not decided yet. fp32, batch 512" in told
    printed = re.search(r"^  pytest (bench -k answer .*)$", told, re.MULTILINE)
    assert printed is not None, told
    (first,) = run_files(tmp_path)
    told = call(tmp_path, *shlex.split(printed[1]))
    later = read_run(run_files(tmp_path)[-1]).records
    assert [record.cell.workload for record in later] == ["answer"]  # whose settings the first run has screened
    (found,) = answers(later)
    assert found.decided, told
    screened = {one.cell["batch_size"]: one for one in read_run(first).records if one.cell.workload == "train"}
    for tried in (found.default, found.standings[0].tried):
        seconds = tried.steps * float(screened[tried.axes["batch_size"]].metrics["step_seconds"] or 0.0)
        assert tried.seconds == pytest.approx(seconds)
    assert found.standings[0].tried.log_ratios
