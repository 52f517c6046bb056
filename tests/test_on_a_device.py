"""What a device has to show with nothing made up; on CUDA, or on the device that TRAINMARK_DEVICE names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Outcome, Workers
from trainmark.meters.clock import clock_of
from trainmark.meters.memory import device_peak, reset_device_peak
from trainmark.store.cell import Cell
from trainmark.store.record import Record

DEVICE = os.environ.get("TRAINMARK_DEVICE", "cuda")
ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture(scope="module")
def call() -> Callable[..., Outcome]:
    """Calls a function in a process of its own: this one has looked at the device, and is none to fork from."""
    workers = Workers(ROOT)
    return lambda function, *arguments: workers.call(function, *arguments, limits=Limits(240))


@pytest.fixture
def measured(call: Callable[..., Outcome]) -> Callable[..., Outcome]:
    def measure(workload: str = "train", **axes: Any) -> Outcome:
        cell = Cell.of(workload, **({"device": DEVICE, "dataset": "synthetic", "batch_size": 8} | axes))
        return call("trainmark.measure.protocol:measure_steps", cell, Settings(max_seconds=0.05, energy=False))

    return measure


@pytest.mark.parametrize("workload", ["train", "inference"])
def test_a_cell_is_measured_and_its_record_is_whole(measured: Callable[..., Outcome], workload: str) -> None:
    outcome = measured(workload)
    assert (outcome.status, outcome.reason) == ("ok", None)
    record: Record = outcome.value
    assert record.metrics["step_seconds"] > 0
    assert record.metrics["operators_per_step"] > 0
    assert Record.from_json(record.to_json()) == record
    if DEVICE == "cuda":
        assert len(record.host_rounds) == len(record.rounds)
        assert record.metrics["device_reserved_bytes"] >= record.metrics["device_allocated_bytes"] > 0
        assert record.metrics["kernel_launches_per_step"] > 0
        assert 0 < record.metrics["device_busy_share"] <= 1
        assert record.disturbance["gpu_sm_clock_mhz_before"] is not None or torch.version.hip


@pytest.mark.parametrize("axes", [{"precision": "bf16"}, {"precision": "fp16"}, {"memory_format": "channels_last"}])
def test_each_precision_and_layout_trains(measured: Callable[..., Outcome], axes: dict[str, Any]) -> None:
    outcome = measured(model="cnn", **axes)
    assert (outcome.status, outcome.reason) == ("ok", None)


def test_pinned_batches_are_loaded(measured: Callable[..., Outcome]) -> None:
    pinned = {"pin_memory": "on"} if DEVICE == "cuda" else {}
    assert measured(loader="dataloader", **pinned).status == "ok"


def test_what_has_no_memory_says_so_and_the_next_process_is_well(
    call: Callable[..., Outcome], measured: Callable[..., Outcome]
) -> None:
    outcome = call("docs.evidence.gpu_checks:run_check", "too_large", DEVICE, True, "synthetic")
    assert outcome.status == "oom"
    assert measured().status == "ok"


def test_a_block_takes_time_by_the_devices_own_clock() -> None:
    matrix = torch.randn(512, 512, device=DEVICE)
    block = clock_of(DEVICE)(lambda: matrix @ matrix @ matrix)
    assert 0 < block.seconds <= block.waited_seconds * 1.1


def test_a_peak_is_forgotten_at_its_reset() -> None:
    reset_device_peak(DEVICE)
    held = torch.ones(2**20, device=DEVICE)
    before = device_peak(DEVICE).allocated
    del held
    reset_device_peak(DEVICE)
    after = device_peak(DEVICE).allocated
    if DEVICE == "cuda":
        assert before is not None and after is not None and before - after >= 2**22
    else:
        assert (before, after) == (None, None)
