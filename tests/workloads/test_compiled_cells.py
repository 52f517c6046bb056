"""A compiled cell is measured in three processes: its own, one that counts, one whose cache is warm."""

from __future__ import annotations

from typing import Any, cast

from trainmark.measure.context import Context
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Outcome
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.workloads.train import TRAIN

COUNTED = ({"operators_per_step": 60, "workspace_bytes": 7}, ("flops-partial",), "fft has no formula")


class Processes:
    """Answers each call by the name of its function."""

    def __init__(self, counted: Outcome, metrics: dict[str, Any]) -> None:
        self.called: list[tuple[Any, ...]] = []
        self.counted, self.metrics = counted, metrics

    def call(self, function: str, *arguments: Any) -> Outcome:
        name = function.partition(":")[2]
        self.called.append((name, *arguments))
        if name == "count_eager_step":
            return self.counted
        value = 2.5 if name == "measure_first_step" else None
        return Outcome("ok", value, None, "", 1.0)

    def record(self, cell: Cell, settings: Settings, outcome: Outcome) -> tuple[Record, str]:
        return Record(cell, "ok", metrics=self.metrics), ""

    def with_utilisation(self, record: Record) -> Record:
        return record


def measured(counted: Outcome, mode: str = "default", **settings: Any) -> tuple[Record, Processes]:
    found = {"device_allocated_bytes": 1000} | ({} if mode == "off" else {"compile_seconds": 20.0})
    processes = Processes(counted, found)
    cell = Cell.of("train", compile=mode)
    record, _ = TRAIN.measure(cell, Settings(**settings), cast(Context, processes))
    return record, processes


def test_an_eager_step_is_counted_in_a_process_without_the_compiled_model() -> None:
    record, processes = measured(Outcome("ok", COUNTED, None, "", 1.0))
    assert [name for name, *_ in processes.called] == ["measure_steps", "count_eager_step", "measure_first_step"]
    assert processes.called[1][-1] == 1000  # what the compiled steps held: the workspace is the rest of it
    assert record.metrics == {
        "device_allocated_bytes": 1000,
        "compile_seconds": 20.0,
        "operators_per_step": 60,
        "workspace_bytes": 7,
        "compile_warm_seconds": 2.5,
    }
    assert (record.flags, record.reason) == (("flops-partial",), "fft has no formula")


def test_counts_that_failed_lose_nothing_else_and_are_told() -> None:
    record, _ = measured(Outcome("oom", None, "CUDA out of memory", "", 1.0))
    assert (record.status, record.flags) == ("ok", ("instruments-oom",))
    assert record.reason == "what a step does was not counted: CUDA out of memory"
    assert record.metrics["compile_warm_seconds"] == 2.5


def test_an_eager_cell_takes_one_process_and_so_does_a_single_look() -> None:
    for options in ({"mode": "off"}, {"once": True}):
        _, processes = measured(Outcome("ok", COUNTED, None, "", 1.0), **options)
        assert "count_eager_step" not in [name for name, *_ in processes.called]
