"""What a training waits for, told rightly of trainings that are made up, and what would stop that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainmark.advise.notices import notices
from trainmark.advise.waiting import WORDS, Bottleneck, bottleneck, bottlenecks, summary
from trainmark.page.html import render
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import Record

MODEL = {"forward": 2.0, "loss": 0.2, "zero_grad": 0.1, "backward": 4.0, "optimizer": 0.7, "other": 0.2}


def step(
    *,
    cpu: float | None = None,
    said: dict[str, Any] | None = None,
    reached: float | None = None,
    busy: float | None = None,
    **phases: float,
) -> Record:
    """A training step whose phases take so many milliseconds, those not named as MODEL has them."""
    took = {"data": 0.1, "copy": 0.0, **MODEL, **phases}
    whole = sum(took.values()) / 1e3
    metrics: dict[str, float | int | None] = {f"{name}_seconds": value / 1e3 for name, value in took.items()}
    metrics |= {"step_seconds": whole, "instrumented_step_seconds": whole, "samples_per_second": 64 / whole}
    metrics |= {"loading_cpu_seconds": None if cpu is None else cpu / 1e3, "flops_utilisation": reached}
    metrics |= {"device_busy_share": busy}
    return Record(Cell.of("train", **{"loader": "dataloader"} | (said or {})), "ok", metrics=metrics)


CUDA = {"device": "cuda"}
TRAININGS: dict[str, tuple[Record, str, bool, str]] = {
    # name -> its record, where most of its time goes, whether it waits for its data, what would stop that
    "slow disk": (step(data=20.0, cpu=1.0), "reading", True, "--workers 1"),
    "slow transform": (step(data=20.0, cpu=19.0), "preparing", True, "--workers 1"),
    "slow copy": (step(copy=12.0, cpu=0.1, said=CUDA), "copying", True, "--pin-memory on"),
    "small model": (
        step(forward=0.3, loss=0.05, backward=0.5, optimizer=0.5, zero_grad=0.05, other=0.05, cpu=0.1),
        "optimizer", False, "--optimizer-implementation fused",
    ),
    "large model": (step(forward=80.0, backward=160.0, data=3.0, cpu=3.0), "computing", False, "--precision"),
    "slow host": (step(other=15.0, cpu=0.1), "host", False, "--compile"),
    # and others like them
    "slow disk of two workers": (step(data=20.0, cpu=4.0, said={"workers": 2}), "reading", True, "--workers 4"),
    "slow transform of two workers": (step(data=20.0, cpu=50.0, said={"workers": 2}), "preparing", True, "--workers 4"),
    "slow copy of pinned memory": (step(copy=12.0, said=CUDA | {"pin_memory": "on"}), "copying", True, "bytes"),
    "launches that a GPU waits for": (step(cpu=0.1, said=CUDA, reached=0.02), "host", False, "--compile"),
    "a GPU that is full": (step(cpu=0.1, said=CUDA, reached=0.6), "computing", False, "--precision"),
    "a GPU that is seen to wait for launches": (
        step(cpu=0.1, said=CUDA, reached=0.02, busy=0.3), "launches", False, "--compile reduce-overhead",
    ),
    "launches of a step that is compiled": (
        step(cpu=0.1, said=CUDA | {"compile": "default"}, busy=0.3), "launches", False, "a larger --batch-size gives",
    ),
    "small kernels that fill a GPU": (step(cpu=0.1, said=CUDA, reached=0.02, busy=0.9), "computing", False, "--prec"),
    "a GPU that waits for its data": (step(data=20.0, cpu=1.0, said=CUDA, busy=0.2), "reading", True, "--workers 1"),
    "an older record of a slow loader": (step(data=20.0), "loading", True, "--workers 1"),
    "resident data that are put together": (
        step(data=20.0, cpu=20.0, said={"loader": "resident"}), "loading", True, "--batch-size",
    ),
    "a small model with a fused optimizer": (
        step(optimizer=6.0, said={"optimizer_implementation": "fused"}),
        "optimizer", False, "itself: a larger --batch-size",
    ),
}  # fmt: skip


def found(record: Record) -> Bottleneck:
    named = bottleneck(record)
    assert named is not None
    return named


@pytest.mark.parametrize("training", TRAININGS)
def test_the_bottleneck_of_a_training_is_named_with_what_would_stop_it(training: str) -> None:
    record, name, waits, remedy = TRAININGS[training]
    assert (found(record).name, found(record).waits) == (name, waits)
    assert remedy in found(record).remedy
    assert WORDS[name] in found(record).sentence
    assert found(record).sentence.startswith("It waits for" if waits else "It does not wait for")


def test_a_model_that_takes_most_may_wait_for_its_data_all_the_same() -> None:
    both = found(step(data=3.0, cpu=0.1))
    assert (both.name, both.waits, both.data) == ("computing", True, "reading")
    assert (
        both.sentence
        == "It waits for its data: 29% of a step goes into reading its data, and 61% of a step goes into the model."
    )
    assert "--workers 1 would read while the model computes" in both.remedy


def test_nothing_is_told_of_phases_that_are_not_known_or_of_another_step() -> None:
    record = step(data=20.0, cpu=1.0)
    assert bottleneck(replace(record, metrics={"step_seconds": 0.01})) is None
    assert bottleneck(replace(record, metrics={**record.metrics, "step_seconds": 1e-3})) is None


def test_what_a_remedy_names_is_an_option(stored: Any) -> None:
    options = {parameter.option for parameter in PARAMETERS.values()}
    for record, *_ in TRAININGS.values():
        named = {word.strip(",.;") for word in found(record).remedy.split() if word.startswith("--")}
        assert named <= options


def test_the_page_says_which_trainings_wait_for_what(stored: Any) -> None:
    records = tuple(record for name in ("slow disk", "large model") for record in TRAININGS[name][:1])
    records = (records[0], replace(records[1], cell=Cell.of("train", model="cnn", loader="dataloader")))
    run = replace(stored.run(), records=records)
    (notice,) = [one for one in notices(run) if one.records]
    assert notice.title == "Training waits for reading its data"
    assert notice.advice.startswith("That takes 74% of a step. --workers 1 would read")
    assert notice.records == records[:1]
    page = render([run])
    assert "Of 2 trainings 1 waits for data." in page
    assert found(records[1]).sentence in page


def test_a_run_that_waits_for_nothing_says_so() -> None:
    told = summary(bottlenecks([TRAININGS["large model"][0], TRAININGS["slow host"][0]]))
    assert told == "Of 2 trainings none waits for its data, which take at most 1% of a step."
    assert summary(bottlenecks([Record(Cell.of("inference"), "ok", metrics={"step_seconds": 1.0})])) == ""


def test_a_launch_bound_training_is_called_so_with_how_busy_its_device_is(stored: Any) -> None:
    record = step(said=CUDA, busy=0.23)
    assert found(record).sentence.endswith("77% of a step goes into launching kernels, which the device waits for: the "
                                           "step is launch-bound.")  # fmt: skip
    run = replace(stored.run(), records=(record, TRAININGS["a GPU that is full"][0]))
    (notice,) = [one for one in notices(run) if one.title == "Training is launch-bound"]
    assert notice.records == (record,)
    assert notice.advice.startswith("The device works for 23% of a step, and waits for launches otherwise. --compile")
