"""What inference_mode saves over no_grad is said only where both were measured and told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from trainmark.advise.grad_mode import savings, savings_sentence
from trainmark.measure.settings import Settings
from trainmark.measure.steps import inference_steps
from trainmark.measure.training import evaluate
from trainmark.page.html import render
from trainmark.store.cell import Cell
from trainmark.store.record import Record


def record(seconds: float, grad_mode: str = "inference_mode", rounds: int = 20, **fields: Any) -> Record:
    times = tuple(seconds * (1 + 0.001 * number) for number in range(rounds))
    cell = Cell.of("inference", model="mlp", batch_size=256, grad_mode=grad_mode)
    return Record(cell, "ok", metrics={"step_seconds": times[rounds // 2]}, rounds=times, **fields)


def told(*records: Record) -> str:
    return savings_sentence(savings(records))


def test_the_default_keeps_the_join_keys_of_earlier_runs() -> None:
    assert Cell.of("inference", model="cnn").key == "inference model=cnn"
    assert Cell.of("inference", grad_mode="no_grad").label == "inference mlp 64 cpu fp32 no_grad"
    with pytest.raises(ValueError, match="takes no grad_mode"):
        Cell.of("train", grad_mode="no_grad")


@pytest.mark.parametrize(("grad_mode", "inference"), [("inference_mode", True), ("no_grad", False)])
def test_an_inference_goes_without_gradients_as_its_cell_says(grad_mode: str, inference: bool, tmp_path: Any) -> None:
    cell = Cell.of("inference", model="mlp", dataset="synthetic", batch_size=4, grad_mode=grad_mode)
    steps = inference_steps(cell, Settings(), tmp_path)
    with steps.context:
        result = steps.advance()
        assert torch.is_inference_mode_enabled() == inference
    assert result.is_inference() == inference
    assert not result.requires_grad


def test_the_accuracy_is_evaluated_under_no_grad_as_in_the_lecture() -> None:
    seen = []

    def forward(images: torch.Tensor, _labels: torch.Tensor) -> torch.Tensor:
        seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return images

    evaluate(forward, torch.eye(3), torch.arange(3))
    assert seen == [(False, False)]


def test_a_saving_that_is_told_apart_is_said_with_its_size() -> None:
    assert told(record(0.010), record(0.013, "no_grad")) == (
        "no_grad takes 1.30× the time of inference_mode in 1 of 1 cell."
    )
    assert told(record(0.013), record(0.010, "no_grad")) == (
        "inference_mode takes 1.30× the time of no_grad in 1 of 1 cell."
    )


@pytest.mark.parametrize(
    "both",
    [
        (record(0.010), record(0.011, "no_grad")),  # as two processes of the same code may
        (record(0.010, rounds=3), record(0.013, "no_grad")),
        (record(0.010, flags=("disturbed",)), record(0.013, "no_grad")),
        (record(0.010), record(0.013, "no_grad", flags=("unsteady",))),
    ],
)
def test_nothing_is_said_to_be_faster_where_it_is_not_told_apart(both: tuple[Record, Record]) -> None:
    assert told(*both) == "Which is faster is undecided in 1 of 1 cell."


def test_the_page_says_it_only_where_both_were_measured(stored: Any) -> None:
    run = stored.run()
    alone = replace(run, records=(record(0.013, "no_grad"),))
    assert "Gradients off " not in render([alone])
    failed = replace(record(0.010), status="oom", metrics={}, rounds=())
    assert savings([failed, record(0.013, "no_grad")]) == []
    page = render([replace(run, records=(record(0.010), record(0.013, "no_grad")))])
    assert "no_grad takes 1.30× the time of inference_mode in 1 of 1 cell." in page
