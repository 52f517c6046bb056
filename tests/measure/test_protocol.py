"""The protocol: how a cell gets ready, how its rounds are timed, and what its record says."""

from __future__ import annotations

import itertools
import json
import math
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import MODELS
from trainmark.measure import protocol as measurement
from trainmark.measure.failures import NotFiniteError, UnsupportedError
from trainmark.measure.protocol import (
    CLOCKS_AGREE,
    DRIFT,
    LATENCY_STEPS,
    ROUND_SECONDS,
    WARMUP_LIMIT,
    check_finite,
    clocks_disagree,
    drifts,
    percentile_99,
    single_steps,
    time_rounds,
    timed,
    timed_block,
    warm_up,
)
from trainmark.measure.settings import Settings
from trainmark.measure.steps import prepare
from trainmark.meters.clock import Block
from trainmark.meters.nvml import GpuState
from trainmark.model import ModelSpec
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.workloads import entry_of

QUICK = Settings(max_seconds=0.02, min_rounds=6)
MLP_FORWARD = 2 * (784 * 256 + 256 * 256 + 256 * 10)  # floating-point operations of one sample
BATCH = 8


class FakeTime:
    """A clock that only steps move.

    Args:
        durations: Seconds of each step, in order; the last goes on for ever.
    """

    def __init__(self, *durations: float) -> None:
        self.now = 0.0
        self.steps = 0
        self._durations = itertools.chain(durations, itertools.repeat(durations[-1]))

    def perf_counter(self) -> float:
        return self.now

    def advance(self) -> Tensor:
        self.now += next(self._durations)
        self.steps += 1
        return torch.zeros(())

    def clock(self, work: Callable[[], None]) -> Block:
        start = self.now
        work()
        return Block(self.now - start, None)


def unheard(doing: str) -> None:
    """Nobody waits to hear what is being done."""


@pytest.fixture
def timeline(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTime]:
    """Puts a made-up clock in the place of the real one."""

    def begin(*durations: float) -> FakeTime:
        fake = FakeTime(*durations)
        monkeypatch.setattr(measurement, "time", fake)
        return fake

    return begin


Timeline = Callable[..., FakeTime]


# Warm-up


@pytest.mark.parametrize(("step", "steps"), [(0.00015, 134), (0.003, 7), (0.015, 2), (0.02, 1), (0.5, 1), (30.0, 1)])
def test_a_round_has_as_many_steps_as_take_about_a_fiftieth_of_a_second(
    timeline: Timeline, step: float, steps: int
) -> None:
    fake = timeline(step)
    found = warm_up(fake.clock, fake.advance, Settings(max_seconds=100), unheard)
    assert found.steady
    assert found.steps_per_round == steps
    assert found.steps_per_round * step >= ROUND_SECONDS * 0.999
    assert found.seconds == pytest.approx(fake.now)


def test_a_steady_cell_is_warm_after_three_blocks(timeline: Timeline) -> None:
    fake = timeline(0.02)
    warm_up(fake.clock, fake.advance, Settings(), unheard)
    assert fake.steps == 3


def test_a_slow_first_step_does_not_make_the_rounds_too_short(timeline: Timeline) -> None:
    fake = timeline(1.0, 0.0011)
    found = warm_up(fake.clock, fake.advance, Settings(), unheard)
    assert found.steps_per_round == 19
    assert found.steady


def test_warm_up_goes_on_while_blocks_get_faster(timeline: Timeline) -> None:
    fake = timeline(0.12, 0.10, 0.08, 0.06, 0.05, 0.04, 0.04)
    assert warm_up(fake.clock, fake.advance, Settings(max_seconds=10), unheard).steady
    assert fake.steps == 8  # the last two are no faster than the best of those before


def test_warm_up_goes_on_while_blocks_of_several_steps_get_faster(timeline: Timeline) -> None:
    """The first step is slow, so that the first block is shorter than all that follow."""
    speeds = [step for block in (0.01, 0.008, 0.006, 0.004, 0.002) for step in [block] * 2]
    fake = timeline(0.05, 0.01, *speeds, 0.002)
    assert warm_up(fake.clock, fake.advance, Settings(max_seconds=10), unheard).steady
    assert fake.steps == 2 + 10 + 2 * 2


def test_one_slow_block_among_steady_ones_does_not_end_the_warm_up_late(timeline: Timeline) -> None:
    fake = timeline(0.05, 0.05, 0.09, 0.05)
    assert warm_up(fake.clock, fake.advance, Settings(max_seconds=10), unheard).steady
    assert fake.steps == 3  # a neighbour can only add to a block


def test_a_slow_block_does_not_pass_for_a_steady_one(timeline: Timeline) -> None:
    fake = timeline(0.10, 0.05, 0.10, 0.05)
    assert warm_up(fake.clock, fake.advance, Settings(max_seconds=10), unheard).steady
    assert fake.steps == 4  # after three the better of the last two was still faster than all before


def test_warm_up_gives_up_on_a_cell_that_never_gets_steady(timeline: Timeline) -> None:
    fake = timeline(*(0.5 * 0.9**step for step in range(200)))
    found = warm_up(fake.clock, fake.advance, Settings(max_seconds=1.0), unheard)
    assert not found.steady
    assert WARMUP_LIMIT * 1.0 <= fake.now < WARMUP_LIMIT * 1.0 + 0.5
    assert found.seconds == fake.now


def test_warm_up_tells_what_it_is_doing(timeline: Timeline) -> None:
    fake = timeline(0.02)
    told: list[str] = []
    warm_up(fake.clock, fake.advance, Settings(), told.append)
    assert told == ["warming up, 2 blocks of 1 steps", "warming up, 3 blocks of 1 steps"]


# Rounds


def test_rounds_go_on_until_their_time_is_up() -> None:
    fake = FakeTime(0.25)
    blocks = time_rounds(fake.clock, fake.advance, 1, Settings(min_rounds=6, max_seconds=2.5))
    assert len(blocks) == 10
    assert fake.steps == 10


def test_there_are_at_least_as_many_rounds_as_asked_for() -> None:
    fake = FakeTime(4.0)
    assert len(time_rounds(fake.clock, fake.advance, 1, Settings(min_rounds=6, max_seconds=1.0))) == 6


def test_a_round_has_all_its_steps() -> None:
    fake = FakeTime(0.125)
    blocks = time_rounds(fake.clock, fake.advance, 4, Settings(min_rounds=3, max_seconds=0.0))
    assert [block.seconds for block in blocks] == [0.5, 0.5, 0.5]
    assert fake.steps == 12


def test_a_block_whose_last_step_is_not_finite_is_no_time() -> None:
    results = iter([0.0, 0.0, math.nan])
    with pytest.raises(NotFiniteError, match="the result of a step is not finite"):
        timed_block(FakeTime(1.0).clock, lambda: torch.tensor(next(results)), 3)


def test_a_result_is_looked_at_after_the_clock_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at it waits for the device."""
    told: list[str] = []
    monkeypatch.setattr(measurement, "check_finite", lambda tensor, what: told.append("looked"))

    def clock(work: Callable[[], None]) -> Block:
        work()
        told.append("stopped")
        return Block(1.0, None)

    def advance() -> Tensor:
        told.append("step")
        return torch.zeros(())

    timed_block(clock, advance, 2)
    assert told == ["step", "step", "stopped", "looked"]


def test_timing_gives_the_result_and_the_block() -> None:
    fake = FakeTime(2.0)
    result, block = timed(fake.clock, fake.advance)
    assert torch.equal(result, torch.zeros(()))
    assert block == Block(2.0, None)


# Single steps


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (10.0, 2),  # at least two
        (0.5, 2),
        (0.125, 4),  # half of max_seconds
        (0.001, LATENCY_STEPS),  # at most a hundred
    ],
)
def test_single_steps_are_at_least_two_and_at_most_a_hundred(step: float, number: int) -> None:
    fake = FakeTime(step)
    assert single_steps(fake.clock, fake.advance, Settings(max_seconds=1.0)) == pytest.approx([step] * number)


def test_a_single_step_is_as_long_as_the_host_waits_for_it() -> None:
    fake = FakeTime(0.0)
    assert single_steps(lambda work: (work(), Block(1.0, 3.0))[1], fake.advance, Settings()) == [3.0, 3.0]


# What rounds say


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([1.0] * 9, False),
        ([1.0] * 3 + [1.05] * 3 + [1.09] * 3, False),
        ([1.0] * 3 + [1.05] * 3 + [1.11] * 3, True),
        ([1.11] * 3 + [1.05] * 3 + [0.9] * 3, True),  # faster and faster is no better
        ([1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 5.0], False),  # one bad round in a third
        ([1.0, 1.0, 1.0, 1.0, 1.2, 1.2], True),
        ([1.0, 1.0, 1.0, 1.0, 9.0], False),  # too few to tell
        ([1.0], False),
    ],
)
def test_rounds_drift_where_their_last_third_differs_from_the_first(rounds: list[float], expected: bool) -> None:
    assert drifts(rounds) is expected
    assert DRIFT == 0.10


@pytest.mark.parametrize(
    ("device", "host", "expected"),
    [
        ([1.0, 1.0], [1.019, 1.019], False),
        ([1.0, 1.0], [1.021, 1.021], True),
        ([1.0, 1.0], [0.979, 0.979], True),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 9.0], False),
        ([1.0, 1.0], [], False),  # the host's clock was the only one
    ],
)
def test_clocks_disagree_where_their_medians_differ(device: list[float], host: list[float], expected: bool) -> None:
    assert clocks_disagree(device, host) is expected
    assert CLOCKS_AGREE == 0.02


@pytest.mark.parametrize(("number", "expected"), [(100, 99), (200, 198), (101, 100), (99, None), (0, None)])
def test_the_99th_percentile_needs_a_hundred_steps(number: int, expected: float | None) -> None:
    assert percentile_99([float(rank) for rank in range(number, 0, -1)]) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(NotFiniteError, match=rf"^the loss is not finite \({bad}\)$"):
        check_finite(torch.tensor(bad), "the loss")
    with pytest.raises(NotFiniteError, match=r"^the output is not finite$"):
        check_finite(torch.tensor([1.0, bad, 2.0]), "the output")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_what_is_finite_passes(dtype: torch.dtype) -> None:
    check_finite(torch.ones(3, dtype=dtype), "the output")


# Whole cells


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Record]]:
    """Measures a cell here, and puts back what that sets for the whole process."""
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    random_state = torch.get_rng_state()

    def measure_here(workload: str, settings: Settings = QUICK, **axes: Any) -> Record:
        cell = Cell.of(workload, **({"batch_size": BATCH} | axes))
        measure = resolve_name(entry_of(workload).measured_by)
        record: Record = measure(cell, settings, unheard, tmp_path)
        return record

    yield measure_here
    torch.set_num_threads(before[0])
    torch.set_float32_matmul_precision(before[1])
    torch.backends.cudnn.allow_tf32 = before[2]
    torch.set_rng_state(random_state)


Measured = Callable[..., Record]


@pytest.fixture
def with_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], nn.Module]], str]:
    """Adds a model to MODELS for one test; gives its name."""

    def add(build: Callable[[], nn.Module]) -> str:
        monkeypatch.setitem(MODELS, "made-up", ModelSpec(build, (1, 28, 28), 10, None, "a test", "made-up"))
        return "made-up"

    return add


WithModel = Callable[[Callable[[], nn.Module]], str]


@pytest.mark.parametrize(
    ("workload", "parameters", "flops"),
    [
        # The images need no gradient, so the backward pass has one product less than twice the forward's.
        ("train", 270_346, BATCH * (3 * MLP_FORWARD - 2 * 784 * 256)),
        ("inference", 270_346, BATCH * MLP_FORWARD),
        ("input", None, None),
    ],
)
def test_the_record_of_a_cell_that_takes_steps(
    measured: Measured, workload: str, parameters: int | None, flops: int | None
) -> None:
    record = measured(workload)
    assert record.status == "ok"
    assert record.reason is None
    assert record.cell == Cell.of(workload, batch_size=BATCH)
    metrics = record.metrics
    assert metrics.get("parameters") == parameters
    assert metrics.get("flops_per_step") == flops
    assert len(record.rounds) >= 6
    assert record.steps_per_round is not None
    assert sum(record.rounds) * record.steps_per_round >= QUICK.max_seconds
    assert record.host_rounds == ()
    assert min(record.rounds) <= metrics["step_seconds_low"] <= metrics["step_seconds"] <= metrics["step_seconds_high"]
    assert metrics["step_seconds_high"] <= max(record.rounds)
    assert metrics["samples_per_second"] == pytest.approx(BATCH / metrics["step_seconds"])
    assert metrics["latency_p50_seconds"] > 0
    assert metrics["warmup_seconds"] > 0
    assert metrics["peak_memory_bytes"] > 10_000_000
    for name in ("compile_seconds", "device_allocated_bytes", "device_reserved_bytes"):
        assert metrics[name] is None
    assert record.settings == {"threads": 1, "seed": 0, "adaptation": "none"}
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


class Transforming(nn.Module):
    """Digits by way of their spectrum."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.fft.fft2(images).abs())
        return logits


class Branching(Transforming):
    """Does what the images tell it to."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits if images.sum() > 0 else -logits


@pytest.mark.parametrize("workload", ["train", "inference"])
@pytest.mark.parametrize(
    ("model", "flags", "reason"),
    [
        (Transforming, ("flops-partial",), "FLOPs are not counted, there is no formula for aten::_fft_"),
        (Branching, (), "FLOPs are not counted, no copy of the model runs on the meta device: RuntimeError: "),
    ],
)
def test_a_step_whose_operations_are_not_known_says_why_and_loses_nothing_else(
    measured: Measured, with_model: WithModel, workload: str, model: type[nn.Module], flags: tuple[str], reason: str
) -> None:
    record = measured(workload, model=with_model(model))
    assert record.status == "ok"
    assert record.metrics["flops_per_step"] is None
    assert tuple(flag for flag in record.flags if flag == "flops-partial") == flags
    assert str(record.reason).startswith(reason)
    assert record.metrics["parameters"] == 7850
    assert record.metrics["operators_per_step"] > 0
    assert record.metrics["moved_bytes_per_step"] > 0


def test_a_record_tells_how_images_were_adapted(measured: Measured) -> None:
    record = measured("inference", Settings(once=True), model="cnn")
    assert record.settings["adaptation"] == "pad 2, repeat 3"


def test_the_threads_and_the_seed_asked_for_are_set(measured: Measured) -> None:
    record = measured("input", Settings(threads=2, seed=5, once=True))
    assert torch.get_num_threads() == 2
    assert torch.initial_seed() == 5
    assert (record.settings["threads"], record.settings["seed"]) == (2, 5)


def test_the_record_of_an_accuracy(measured: Measured) -> None:
    record = measured("accuracy", Settings(seed=3, seeds=2), batch_size=500, epochs=2)
    metrics, accuracies = record.metrics, record.series["held_out_accuracy"]
    final = [curve[-1] for curve in accuracies]
    assert record.status == "ok"
    assert record.series["seed"] == [3, 4]
    assert [len(curve) for curve in accuracies] == [len(curve) for curve in record.series["train_loss"]] == [2, 2]
    assert metrics["accuracy"] == sum(final) / 2
    assert (metrics["accuracy_lowest"], metrics["accuracy_highest"]) == (min(final), max(final))
    assert metrics["loss"] == sum(curve[-1] for curve in record.series["train_loss"]) / 2
    assert all(0.7 < accuracy < 1 for accuracy in final)  # chance gives 0.1
    assert final[0] != final[1]
    assert all(round(accuracy * 1000) / 1000 == accuracy for curve in accuracies for accuracy in curve)  # of 1,000
    assert len(record.rounds) == 2
    assert metrics["training_seconds"] == pytest.approx(sum(record.rounds) / 2)
    assert metrics["samples_per_second"] == pytest.approx(2 * 4000 / metrics["training_seconds"])
    assert metrics["parameters"] == 270_346
    assert record.settings == {
        "threads": 1,
        "seed": 3,
        "seeds": 2,
        "adaptation": "none",
        "train_samples": 4000,
        "held_out_samples": 1000,
    }
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_an_accuracy_with_the_same_seed_repeats_to_the_last_digit(measured: Measured) -> None:
    for loader in ("resident", "dataloader"):
        first, second = (measured("accuracy", Settings(), batch_size=500, epochs=1, loader=loader) for _ in range(2))
        assert first.series == second.series


def test_a_seed_of_two_trains_as_it_does_alone(measured: Measured) -> None:
    both = measured("accuracy", Settings(seeds=2), batch_size=500, epochs=1)
    second = measured("accuracy", Settings(seed=1), batch_size=500, epochs=1)
    assert both.series["held_out_accuracy"][1] == second.series["held_out_accuracy"][0]
    assert both.series["train_loss"][1] == second.series["train_loss"][0]


def test_synthetic_labels_have_no_accuracy(measured: Measured) -> None:
    with pytest.raises(UnsupportedError, match="synthetic has random labels"):
        measured("accuracy", dataset="synthetic", epochs=1)


class Spoilt(nn.Module):
    """A model whose outputs are not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits * math.nan


@pytest.mark.parametrize(
    ("workload", "what"),
    [
        ("train", "the result of a step is not finite"),
        ("inference", "the result of a step is not finite"),
        ("accuracy", "the loss of epoch 1 with seed 0 is not finite"),
    ],
)
def test_a_model_whose_numbers_are_not_finite_has_no_record(
    measured: Measured, with_model: WithModel, workload: str, what: str
) -> None:
    with pytest.raises(NotFiniteError, match=what):
        measured(workload, Settings(once=True), model=with_model(Spoilt))


class Watched(nn.Module):
    """A model that keeps of each forward pass its mode, whether gradients are on, and the batch's size."""

    seen: list[tuple[bool, bool, int]] = []
    counted: Callable[[], None] = staticmethod(lambda: None)  # called where operations are counted

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        if images.device.type == "meta":
            self.counted()
        else:
            self.seen.append((self.training, torch.is_grad_enabled(), len(images)))
        logits: Tensor = self.layer(images.flatten(1))
        return logits


@pytest.fixture
def watched(with_model: WithModel) -> str:
    Watched.seen.clear()
    return with_model(Watched)


@pytest.mark.parametrize(("workload", "training"), [("train", True), ("inference", False)])
def test_once_takes_a_single_step(measured: Measured, watched: str, workload: str, training: bool) -> None:
    record = measured(workload, Settings(once=True), model=watched)
    assert Watched.seen == [(training, training, BATCH)]
    assert record.steps_per_round == len(record.rounds) == 1
    assert record.metrics["step_seconds_low"] is None
    assert record.flags in (("few-rounds",), ("disturbed", "few-rounds"))


def test_once_takes_two_batches_of_an_accuracy(measured: Measured, watched: str) -> None:
    record = measured("accuracy", Settings(once=True, seeds=3), model=watched, epochs=10)
    assert Watched.seen == [(True, True, BATCH)] * 2 + [(False, False, 1000)]
    assert len(record.rounds) == 1
    assert record.metrics["samples_per_second"] is None


def test_an_accuracy_trains_in_training_mode_and_evaluates_all_held_out_samples_in_eval_mode(
    measured: Measured, watched: str
) -> None:
    measured("accuracy", Settings(), model=watched, batch_size=1000, epochs=2)
    epoch = [(True, True, 1000)] * 4 + [(False, False, 1000)]
    assert Watched.seen == epoch * 2


def test_every_step_is_of_a_whole_batch(measured: Measured, watched: str) -> None:
    measured("train", QUICK, model=watched, batch_size=3000)  # of 4,000 samples
    assert len(Watched.seen) > 6
    assert set(Watched.seen) == {(True, True, 3000)}


def test_an_unsteady_cell_is_flagged(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    unsteady = measurement.Warmup(seconds=1.0, steady=False, steps_per_round=1)
    monkeypatch.setattr(measurement, "warm_up", lambda *arguments: unsteady)
    assert "unsteady" in measured("input").flags


def test_a_steady_cell_on_a_quiet_machine_has_no_flag(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = measurement.Warmup(seconds=1.0, steady=True, steps_per_round=2)
    monkeypatch.setattr(measurement, "warm_up", lambda *arguments: steady)
    monkeypatch.setattr(measurement, "time_rounds", lambda *arguments: [Block(2.0, 2.0)] * 6)
    monkeypatch.setattr("trainmark.meters.disturbance.Disturbance.disturbed", False)
    record = measured("input")
    assert record.flags == ()
    assert record.rounds == record.host_rounds == (1.0,) * 6  # of two steps each
    assert record.metrics["step_seconds"] == 1.0


def test_rounds_that_drift_are_flagged(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = measurement.Warmup(seconds=1.0, steady=True, steps_per_round=2)
    monkeypatch.setattr(measurement, "warm_up", lambda *arguments: steady)
    monkeypatch.setattr(
        measurement, "time_rounds", lambda *arguments: [Block(time, None) for time in (1, 1, 2, 2, 3, 3)]
    )
    assert "unsteady" in measured("input").flags


def test_rounds_of_a_single_step_are_its_latencies_as_the_host_waits(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = measurement.Warmup(seconds=1.0, steady=True, steps_per_round=1)
    monkeypatch.setattr(measurement, "warm_up", lambda *arguments: slow)
    monkeypatch.setattr(measurement, "time_rounds", lambda *arguments: [Block(2.0, 3.0)] * 6)
    metrics = measured("input").metrics
    assert (metrics["step_seconds"], metrics["latency_p50_seconds"]) == (2.0, 3.0)
    assert metrics["latency_p99_seconds"] is None  # six steps do not tell


def test_clocks_that_disagree_are_flagged(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "time_rounds", lambda *arguments: [Block(2.0, 3.0)] * 6)
    assert "clocks-disagree" in measured("input").flags


def test_a_disturbed_cell_is_flagged(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmark.meters.disturbance.Disturbance.disturbed", True)
    assert "disturbed" in measured("input").flags
    assert "disturbed" in measured("accuracy", Settings(once=True), epochs=1).flags


def test_a_gpu_that_was_throttled_and_shared_is_flagged_whatever_was_measured(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = GpuState(400.0, 1980, 3201, 50, ("thermal",), 10**9, None, None)
    monkeypatch.setattr("trainmark.meters.disturbance._gpu_state", lambda device: state)
    for record in (measured("input"), measured("accuracy", Settings(once=True), epochs=1)):
        assert {"throttled", "shared-gpu"} <= set(record.flags)


def test_too_few_rounds_for_an_interval_are_flagged(measured: Measured) -> None:
    record = measured("input", Settings(max_seconds=0.0, min_rounds=5), batch_size=4000)
    assert "few-rounds" in record.flags
    assert record.metrics["step_seconds_low"] is None
    assert record.metrics["step_seconds"] is not None


def test_the_peak_of_memory_is_read_before_operations_are_counted(
    measured: Measured, watched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def peak() -> int:
        told.append("memory")
        return len(told)

    monkeypatch.setattr(measurement, "peak_memory_bytes", peak)
    monkeypatch.setattr(Watched, "counted", staticmethod(lambda: told.append("operations")))
    record = measured("train", model=watched)
    assert record.metrics["peak_memory_bytes"] <= told.index("operations")


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("workload", ["train", "inference"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_images_and_kernels_lie_in_the_cells_memory_format(workload: str, memory_format: str, tmp_path: Path) -> None:
    cell = Cell.of(workload, model="cnn", batch_size=BATCH, memory_format=memory_format)
    steps = prepare(cell, Settings(), tmp_path)
    wanted = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    assert isinstance(steps.model, nn.Sequential)
    for tensor in (steps.model[0].weight, next(steps.batches)[0]):
        assert tensor.is_contiguous(memory_format=wanted)
        assert tensor.is_contiguous() == (wanted is torch.contiguous_format)


def test_compile_caches_lie_in_the_cells_own_folder(measured: Measured, tmp_path: Path) -> None:
    measured("input", Settings(once=True))
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert tmp_path in Path(os.environ[variable]).parents


def test_a_batch_and_its_loss_stay_alive_until_the_next_as_in_a_loop(tmp_path: Path) -> None:
    steps = prepare(Cell.of("train", batch_size=8), Settings(), tmp_path)
    loss = weakref.ref(steps.advance())
    batch = weakref.ref(steps.alive.batch[0])
    assert loss() is not None
    assert batch() is not None
    steps.advance()
    assert loss() is None
    assert batch() is None
