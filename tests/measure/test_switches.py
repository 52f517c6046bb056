"""Switches of the process and sources of chance: as the cell wants them, whatever a model does to them."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import moving
from trainmark.measure import switches
from trainmark.measure.protocol import measure_steps, measure_training
from trainmark.measure.settings import Settings
from trainmark.measure.steps import built
from trainmark.model import load_task
from trainmark.store.cell import Cell

QUICK = Settings(max_seconds=0.01, min_rounds=2)
COUNTED = ("flops_per_step", "operators_per_step", "copies_per_step", "host_reads_per_step", "new_bytes_per_step")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leaves the switches of this process as they were."""
    before = switches.Held()
    yield
    before.restore()


@pytest.mark.parametrize("name", switches.SWITCHES)
def test_a_switch_that_a_model_moves_while_it_is_built_is_set_again_and_told(name: str) -> None:
    before = switches.hold().values
    built(load_task(f"tests.moving:moves_{name.replace('-', '_')}"), Cell.of("train", model="mlp"), 0)
    assert switches.read_switches() == before
    assert switches.flags() == (f"moved-{name}",)


@pytest.mark.parametrize("name", switches.SWITCHES)
def test_each_switch_can_be_moved_and_read(name: str) -> None:
    before = switches.SWITCHES[name].read()
    moving.move(name)
    assert switches.SWITCHES[name].read() != before


def test_what_a_forward_pass_moves_is_in_the_record(tmp_path: Path) -> None:
    cell = Cell.of("train", model="tests.moving:InForward", batch_size=4)
    record = measure_steps(cell, QUICK, lambda _doing: None, tmp_path)
    assert "moved-threads" in record.flags
    assert record.settings["threads"] == 2


def test_a_model_that_moves_nothing_has_no_such_flag(tmp_path: Path) -> None:
    record = measure_steps(Cell.of("train", batch_size=4), QUICK, lambda _doing: None, tmp_path)
    assert not [flag for flag in record.flags if flag.startswith("moved-")]
    assert record.settings["threads"] == 1


def test_a_step_that_somebody_traces_is_flagged() -> None:
    switches.hold()
    assert "traced" not in switches.flags()
    sys.setprofile(lambda *_: None)
    try:
        assert "traced" in switches.flags()
    finally:
        sys.setprofile(None)


@pytest.mark.skipif(not hasattr(sys, "monitoring"), reason="sys.monitoring is of Python 3.12 and newer")
def test_a_step_that_a_monitoring_tool_watches_is_flagged() -> None:
    switches.hold()
    sys.monitoring.use_tool_id(3, "a coverage tool")  # type: ignore[attr-defined]
    try:
        assert "traced" in switches.flags()
    finally:
        sys.monitoring.free_tool_id(3)  # type: ignore[attr-defined]


def test_every_source_of_chance_begins_where_the_seed_says() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    switches.seed_everything(5)
    first = drawn()
    assert drawn() != first
    switches.seed_everything(5)
    assert drawn() == first


def test_seeds_that_give_the_same_curves_are_flagged_and_count_as_one(tmp_path: Path) -> None:
    def trained(model: str) -> tuple[object, bool]:
        cell = Cell.of("accuracy", model=model, dataset="mnist-5k", epochs=1)
        record = measure_training(cell, Settings(seeds=2), lambda _doing: None, tmp_path)
        return record.settings["seeds"], "equal-seeds" in record.flags

    assert trained("tests.moving:same_weights") == (2, False)  # the order of samples is still each seed's own
    assert trained("tests.moving:Unmoved") == (1, True)


@pytest.mark.parametrize("workload", ["train", "inference"])
def test_what_differs_from_step_to_step_is_not_told_as_a_count(workload: str, tmp_path: Path) -> None:
    cell = Cell.of(workload, model="tests.moving:SometimesDeeper", batch_size=4)
    records = [measure_steps(cell, QUICK, lambda _doing: None, tmp_path) for _ in range(2)]
    for record in records:
        assert "counts-vary" in record.flags
        assert record.metrics["operators_per_step"] is None
        assert record.metrics["parameters"] == 7850
    exact = [{name: record.metrics[name] for name in COUNTED} for record in records]
    assert exact[0] == exact[1]


@pytest.mark.parametrize("source", ["python_chance", "numpy_chance"])
def test_a_model_that_draws_elsewhere_is_counted_the_same_in_every_run(source: str, tmp_path: Path) -> None:
    cell = Cell.of("train", model=f"tests.moving:{source}", batch_size=4)
    first, second = (measure_steps(cell, QUICK, lambda _doing: None, tmp_path) for _ in range(2))
    assert "counts-vary" not in first.flags
    assert {name: first.metrics[name] for name in COUNTED} == {name: second.metrics[name] for name in COUNTED}
