"""Two settings of one training in pairs, each half a fork of the process that asks."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from trainmark.against.turns import QUADS
from trainmark.against.two_settings import FEWEST_QUADS, log_of_a_sample, quads_of
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Workers
from trainmark.store.cell import Cell
from trainmark.store.pairs import Pair, Replicate

DEFAULT, OTHER = Cell.of("train", dataset="synthetic"), Cell.of("train", dataset="synthetic", batch_size=256)
MEASURE = "trainmark.against.two_settings:measure_settings"
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each half is a fork")


def test_a_ratio_is_of_the_time_a_sample_whatever_the_blocks_hold() -> None:
    pair = Pair(Replicate((0.02, 0.02)), Replicate((0.03, 0.03)))
    steps = {"base": 10, "new": 5}  # 640 samples in 20 ms, 1280 in 30
    found = log_of_a_sample(pair, steps, {"base": DEFAULT, "new": OTHER})
    assert found == pytest.approx(math.log((0.03 / 1280) / (0.02 / 640)))


def test_pairs_are_measured_in_processes_that_are_gone_afterwards() -> None:
    outcome = Workers(ROOT).call(MEASURE, DEFAULT, OTHER, 2, (3e-3, 6e-3), Settings(), limits=Limits(120.0))
    assert (outcome.status, outcome.reason) == ("ok", None)
    assert len(outcome.value) <= 2  # a disturbed one is left out
    assert all(math.isfinite(value) for value in outcome.value)


def test_a_setting_that_does_not_run_is_told_with_its_name() -> None:
    broken = Cell.of("train", dataset="synthetic", model="nowhere:factory")
    outcome = Workers(ROOT).call(MEASURE, DEFAULT, broken, 2, (3e-3, 3e-3), Settings(), limits=Limits(120.0))
    assert outcome.status == "error"
    assert outcome.reason is not None
    assert "nowhere:factory" in outcome.reason


def test_long_blocks_are_fewer() -> None:
    assert (quads_of([0.02, 0.02]), quads_of([0.5, 0.1])) == (QUADS, FEWEST_QUADS)
