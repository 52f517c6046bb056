"""Trainings at the same time: what each learns alone, in the order of the jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainmark.measure.settings import Settings
from trainmark.measure.side_by_side import places_for
from trainmark.measure.worker import Limits, Workers
from trainmark.store.cell import Cell

ROOT = Path(__file__).parents[2]
MEASURE = "trainmark.measure.side_by_side:measure_trainings"
CELL = Cell.of("accuracy", loader="resident", batch_size=512, epochs=1)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each is a fork")


def test_each_learns_what_it_learns_alone_in_the_order_of_the_jobs() -> None:
    jobs = [(CELL, Settings(seed=seed)) for seed in (3, 1)]
    together = Workers(ROOT).call(MEASURE, jobs, limits=Limits(120.0))
    assert (together.status, together.reason) == ("ok", None)
    assert [record.series["seed"] for record in together.value] == [[3], [1]]
    alone = Workers(ROOT).call("trainmark.measure.protocol:measure_training", CELL, Settings(seed=1))
    assert together.value[1].series == alone.value.series


def test_one_that_fails_says_why() -> None:
    jobs = [(CELL, Settings()), (Cell.of("accuracy", **{**CELL.settings, "model": "nowhere:factory"}), Settings())]
    outcome = Workers(ROOT).call(MEASURE, jobs, limits=Limits(120.0))
    assert outcome.status == "error"
    assert "nowhere" in (outcome.reason or "")


def test_trainings_on_a_device_that_they_would_share_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: range(8), raising=False)
    assert (places_for("cuda", 1), places_for("cpu", 2), places_for("cpu", 16)) == (1, 4, 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: range(2), raising=False)
    assert places_for("cpu", 1) == 2  # of a machine that has more
