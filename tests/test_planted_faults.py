"""Each planted fault is found by a metric of its own: the test names the one that moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import datasets
from trainmark.measure import steps as workloads
from trainmark.measure.phases import measure_phases
from trainmark.measure.protocol import measure_steps
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.parameters import Value
from trainmark.store.record import Record

QUICK = Settings(max_seconds=0.02)
SOUND = "misbehaving:Digits"
COUNTS = (
    "parameters",
    "flops_per_step",
    "operators_per_step",
    "copies_per_step",
    "host_reads_per_step",
    "float64_operators_per_step",
    "gradient_additions_per_step",
    "new_bytes_per_step",
    "moved_bytes_per_step",
    "retained_tensors_per_step",
    "activation_bytes",
    "parameter_bytes",
    "gradient_bytes",
    "optimizer_bytes",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads with a busy neighbour are slow out of all proportion."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Record]:
    """Measures a cell of batch 8 in this process; a compiled one with a compiler that takes no time."""

    def compiled_at_once(model: nn.Module, cell: Cell) -> nn.Module:
        torch._dynamo.reset()
        return torch.compile(model, backend="eager") if cell["compile"] != "off" else model

    monkeypatch.setattr(workloads, "compiled", compiled_at_once)

    def measured(workload: str = "train", model: str = SOUND, **axes: Value) -> Record:
        cell = Cell.of(workload, **({"model": model, "batch_size": 8} | axes))
        return measure_steps(cell, QUICK, lambda doing: None, tmp_path)

    return measured


@pytest.mark.parametrize(
    ("fault", "metric"),
    [
        ("Reading", "host_reads_per_step"),
        ("Upcasting", "float64_operators_per_step"),
        ("Copying", "copies_per_step"),
        ("Keeping", "retained_tensors_per_step"),
    ],
)
def test_a_fault_in_a_model_moves_its_metric(look: Callable[..., Record], fault: str, metric: str) -> None:
    sound, faulty = look().metrics, look(model=f"misbehaving:{fault}").metrics
    assert faulty[metric] > sound[metric]
    assert sound["parameters"] == faulty["parameters"]


def test_a_step_that_reads_its_loss_is_a_host_read_and_its_phases_are_timed_all_the_same(
    look: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, sound = workloads.train_step, look().metrics

    def reading(*arguments: Any) -> Tensor:
        loss = plain(*arguments)
        loss.item()
        return loss

    monkeypatch.setattr(workloads, "train_step", reading)
    metrics = look().metrics
    assert metrics["host_reads_per_step"] == sound["host_reads_per_step"] + 1
    assert metrics["backward_seconds"] > 0


def test_a_kept_graph_keeps_tensors_at_every_step(look: Callable[..., Record]) -> None:
    assert look().metrics["retained_tensors_per_step"] == 0
    assert look(model="misbehaving:Keeping").metrics["retained_tensors_per_step"] >= 1


def test_a_graph_break_is_counted(look: Callable[..., Record]) -> None:
    sound = look(compile="default").metrics
    faulty = look(model="misbehaving:Breaking", compile="default").metrics
    assert (sound["graph_breaks"], sound["graphs"], sound["recompiles"]) == (0, 1, 0)
    assert faulty["graph_breaks"] >= 1


def test_recompiling_at_every_step_is_counted_and_flagged(look: Callable[..., Record]) -> None:
    record = look(model="misbehaving:Recompiling", compile="default")
    assert record.metrics["recompiles"] > 0
    assert "recompiles" in record.flags
    assert "recompiles" not in look(compile="default").flags


def test_an_evaluation_with_gradients_keeps_activations(
    look: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look("inference").metrics["activation_bytes"] == 0
    monkeypatch.setattr(workloads.torch, "inference_mode", nullcontext)
    assert look("inference").metrics["activation_bytes"] > 0


def test_gradients_accumulated_by_mistake_are_additions(
    look: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = look().metrics

    def step_without_zero_grad(model, criterion, optimizer, images: Tensor, labels: Tensor) -> Tensor:
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    monkeypatch.setattr(workloads, "train_step", step_without_zero_grad)
    faulty = look()
    assert faulty.metrics["gradient_additions_per_step"] == 2  # those of weight and bias, to what was there
    assert sound["gradient_additions_per_step"] == 0


def test_a_slow_data_set_without_workers_is_time_in_data(
    look: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = datasets.Images.__getitem__

    def slow(images: datasets.Images, index: int) -> tuple[object, int]:
        time.sleep(0.002)
        return plain(images, index)

    monkeypatch.setattr(datasets.Images, "__getitem__", slow)
    metrics = look(loader="dataloader").metrics
    assert metrics["data_seconds"] > 0.5 * metrics["instrumented_step_seconds"]


@pytest.mark.parametrize("axes", [{}, {"precision": "bf16"}, {"workload": "inference"}, {"model": "cnn"}])
def test_counts_are_the_same_each_time(look: Callable[..., Record], axes: dict[str, str]) -> None:
    first, *others = [look(**axes).metrics for _ in range(3)]
    assert all(
        {name: metrics.get(name) for name in COUNTS} == {name: first.get(name) for name in COUNTS} for metrics in others
    )
    assert sum(first.get(name) is not None for name in COUNTS) >= 6


@pytest.mark.parametrize("axes", [{}, {"workload": "inference"}, {"loader": "dataloader"}, {"precision": "fp16"}])
def test_the_phases_sum_to_the_step(look: Callable[..., Record], axes: dict[str, str]) -> None:
    metrics = look(**axes).metrics
    training = ("loss", "zero_grad", "backward", "optimizer") if axes.get("workload") != "inference" else ()
    phases = [metrics[f"{phase}_seconds"] for phase in ("data", "copy", "forward", *training, "other")]
    assert sum(phases) == pytest.approx(metrics["instrumented_step_seconds"], rel=0.03)
    assert all(seconds >= 0 for seconds in phases)


def test_phases_leave_the_training_as_it_is(tmp_path: Path) -> None:
    """The same losses with more and with fewer steps under the stand-ins, to the last bit."""

    def last_loss(instrumented: int) -> float:
        torch.manual_seed(0)
        steps = workloads.prepare(Cell.of("train", batch_size=8), QUICK, tmp_path)
        measure_phases(steps, "cpu", instrumented)
        return [steps.advance().item() for _ in range(6 - instrumented)][-1]

    assert last_loss(instrumented=1) == last_loss(instrumented=5)
