"""A training on several processes: what it finds, and which rank ended it where it failed; nothing of it stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from trainmark.measure import launching
from trainmark.measure.context import Context
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Workers
from trainmark.store.cell import Cell
from trainmark.store.record import Record

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")
QUICK = Settings(max_seconds=0.05)
Measure = Callable[..., Record]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """The record of a training on two processes."""
    workers = Workers()

    def record(seconds: float = 120.0, memory: int | None = None, **values: str | int) -> Record:
        cell = Cell.of("scaling", **{"dataset": "synthetic", "batch_size": 8, "processes": 2, **values})
        found, log = Context(workers, Limits(seconds, memory)).measure(cell, QUICK)
        print(log)
        return found

    return record


def left_running() -> list[str]:
    """Command lines of ranks that go on."""
    lines = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TORCHELASTIC_RUN_ID") and process.status() != psutil.STATUS_ZOMBIE:
                lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


@pytest.fixture(scope="module")
def weak(measure: Measure) -> Record:
    return measure(model="mlp", batch_size=16)


def test_both_processes_train_one_model_with_the_gradient_of_one(weak: Record) -> None:
    assert weak.status == "ok", weak.reason
    assert weak.metrics["gradient_difference"] <= 1e-5
    assert weak.metrics["unequal_ranks"] == 0
    assert weak.metrics["samples_per_step"] == 32


def test_what_is_sent_is_each_gradient_once(weak: Record) -> None:
    assert weak.metrics["communication_bytes"] == 4 * weak.metrics["parameters"]
    assert weak.metrics["communication_buckets"] >= 1


def test_efficiency_and_what_is_not_hidden_have_intervals(weak: Record) -> None:
    for name in ("scaling_efficiency", "exposed_communication_seconds", "step_seconds"):
        low, middle, high = (weak.metrics[f"{name}{end}"] for end in ("_low", "", "_high"))
        assert low <= middle <= high
    assert 0 < weak.metrics["scaling_efficiency"] < 3
    assert weak.metrics["launch_seconds"] > 0
    assert len(weak.rounds) >= 12


def test_a_sum_that_is_averaged_over_processes_is_flagged(measure: Measure) -> None:
    summed = measure(model="failing_tasks:summed", dataset="own-data")
    assert summed.status == "ok", summed.reason
    assert summed.metrics["gradient_difference"] == pytest.approx(0.5, abs=1e-3)
    assert "gradients-differ" in summed.flags


@pytest.mark.parametrize(
    ("model", "limits", "status", "told"),
    [
        ("Killed", {}, "crashed", "rank 1 of 2 died of SIGKILL while in its forward pass of step "),
        ("OutOfMemory", {}, "oom", "rank 1 of 2 ended while in its forward pass of step "),
        ("Hanging", {"seconds": 25.0}, "timeout", "while rank 1 of 2 is in its forward pass of step "),
        ("Greedy", {"memory": 1_200_000_000}, "oom", "rank 1 of 2 took "),
    ],
)
def test_a_rank_that_ends_badly_is_named_and_nothing_is_left(
    measure: Measure, model: str, limits: dict[str, float], status: str, told: str
) -> None:
    record = measure(model=f"failing_ranks:{model}", **limits)
    assert record.status == status, record.reason
    assert told in str(record.reason)
    assert not left_running()


def test_ranks_meet_over_files_and_loopback(tmp_path: Path) -> None:
    config = launching._config(2, tmp_path)
    assert config.rdzv_configs["store_type"] == "file"
    assert config.rdzv_endpoint.startswith(str(tmp_path))
    assert any(one.address.startswith("127.") for one in psutil.net_if_addrs()[launching.loopback()])
