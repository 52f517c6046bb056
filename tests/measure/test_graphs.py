"""CUDA graphs overwrite what the last replay gave: each step reads its outputs before the next one begins."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainmark.measure import protocol as measurement
from trainmark.measure import steps
from trainmark.measure.compiling import outlasting
from trainmark.measure.protocol import measure_steps, measure_training
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.parameters import OWN_DATA
from trainmark.store.record import Record
from trainmark.task import HeldOut, Task


class Replayed(nn.Module):
    """A model whose outputs are gone as soon as it is called again, as those of a CUDA graph are.

    Inputs may be others in each call: PyTorch copies them to where the graph reads.
    Source: "Limitations" of CUDAGraph Trees, PyTorch's documentation.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.given: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        if self.given is not None:
            self.given.fill_(float("nan"))
        output = self.model(images)
        self.given = output.detach()  # the same memory
        return output  # type: ignore[no-any-return]  # of a module


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (steps, measurement):
        monkeypatch.setattr(module, "compiled", lambda model, cell: Replayed(model))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def measured(tmp_path: Path, workload: str, **axes: Any) -> Record:
    measure = measure_training if workload == "accuracy" else measure_steps
    cell = Cell.of(workload, **({"batch_size": 64, "compile": "reduce-overhead"} | axes))
    return measure(cell, Settings(max_seconds=0.02), lambda _doing: None, tmp_path)


@pytest.mark.parametrize(
    ("workload", "axes"),
    [
        ("train", {}),
        ("train", {"precision": "bf16"}),
        ("train", {"accumulate": 3}),
        ("train", {"loader": "dataloader"}),
        ("inference", {}),
        ("inference", {"precision": "bf16"}),
    ],
)
def test_no_step_reads_what_the_one_before_gave(
    replayed: None, tmp_path: Path, workload: str, axes: dict[str, Any]
) -> None:
    record = measured(tmp_path, workload, **axes)  # a NaN would end it
    assert (record.status, len(record.rounds) >= 6) == ("ok", True)


def test_a_training_by_graphs_learns_what_an_eager_one_does(
    replayed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measured(tmp_path, "accuracy", epochs=1)
    monkeypatch.undo()
    eager = measured(tmp_path, "accuracy", epochs=1, compile="off")
    assert found.metrics["accuracy"] == eager.metrics["accuracy"] > 0.5


class Keeping:
    """A metric that keeps each output until it is asked, as one over ranks has to."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []

    def update(self, outputs: Tensor, _targets: Any) -> None:
        self.outputs.append(outputs)

    def compute(self) -> float:
        return float(torch.cat(self.outputs).mean())


def test_a_metric_that_keeps_outputs_has_them_still(
    replayed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.randn(256, 4), torch.randn(256, 1)
    module = ModuleType("keeping_metric")
    module.task = Task(  # type: ignore[attr-defined]
        model=lambda: nn.Linear(4, 1),
        data=(rows, rows),
        criterion=nn.MSELoss(),
        metrics={"kept": HeldOut(Keeping, "lower")},
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(measurement, "captures_graphs", lambda cell: True)
    record = measured(tmp_path, "accuracy", model="keeping_metric:task", dataset=OWN_DATA, epochs=1)
    assert record.status == "ok"
    assert record.metrics["kept"] == record.metrics["kept"]  # a number


def test_outputs_outlast_the_next_call_whatever_holds_them() -> None:
    buffer = torch.zeros(2)
    forward = outlasting(lambda inputs, _targets: {"logits": (buffer.copy_(inputs), "name")})
    first, _ = forward(torch.ones(2), None), forward(torch.zeros(2), None)
    assert first["logits"][0].tolist() == [1, 1]
    assert first["logits"][1] == "name"
