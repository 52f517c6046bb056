"""A whole cell on a GPU that is made up: its tensors lie on the host, all else of CUDA and NVML is told by a fake."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import create_autospec

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from trainmark.measure import protocol as measurement
from trainmark.measure import steps
from trainmark.measure.protocol import count_eager_step, measure_first_step, measure_steps, try_batch
from trainmark.measure.settings import Settings
from trainmark.meters import disturbance, energy, memory
from trainmark.meters.clock import Block
from trainmark.meters.nvml import GpuState
from trainmark.store.cell import Cell
from trainmark.store.parameters import Value
from trainmark.store.profiles import read_timeline, timeline_path
from trainmark.store.record import Record

STATE = GpuState(400.0, 1980, 3201, 50, (), 0, None, {"power cap": 1.0})


class FakeGpu:
    """PyTorch's and NVML's functions of a GPU, each call remembered by its name."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.peaks = [3_000_000]  # one after each reset, the last for ever
        self.state = STATE
        self.joules = 0.0

    def synchronize(self, *device: object) -> None:
        self.told.append("synchronize")

    def reset(self) -> None:
        self.told.append("reset")

    @property
    def peak(self) -> int:
        return self.peaks[min(self.told.count("reset"), len(self.peaks)) - 1]

    def record_history(self, enabled: str | None, **options: object) -> None:
        self.told.append(f"history {enabled}")

    def snapshot(self) -> dict[str, Any]:
        return {"device_traces": [[{"action": "alloc", "size": 512, "time_us": 7}]]}

    def __enter__(self) -> FakeGpu:
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()

    def close(self) -> None:
        self.told.append("closed")

    def energy_joules(self) -> float:
        self.told.append("energy")
        self.joules += 30.0
        return self.joules


class FakeEvent:
    """Its device is as fast as the host."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        signature(torch.cuda.Event.__new__).bind(torch.cuda.Event, enable_timing=enable_timing)

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: FakeEvent) -> float:
        return (end.at - self.at) * 1e3


class FakeProfile:
    """A profiler that saw 42 launches and a wait, and 10 microseconds of work.

    Args:
        told: Where it says that it was begun.
        options: Of the real one.
    """

    def __init__(self, told: list[str], **options: Any) -> None:
        signature(torch.profiler.profile.__init__).bind(self, **options)
        self.told = told

    def __enter__(self) -> FakeProfile:
        self.told.append("profile")
        return self

    def __exit__(self, *ending: object) -> None:
        pass

    def events(self) -> list[FunctionEvent]:
        names = [*["cudaLaunchKernel"] * 42, "cudaStreamSynchronize"]
        kernel = FunctionEvent(0, "kernel", 7, 5.0, 15.0, device_type=DeviceType.CUDA)  # type: ignore[no-untyped-call]
        return [*(FunctionEvent(number, name, 1, 0.0, 1.0) for number, name in enumerate(names)), kernel]  # type: ignore[no-untyped-call]


def held_to(real: Any, fake: Callable[..., Any]) -> Callable[..., Any]:
    """The fake, which takes what the real function takes and nothing else."""
    return cast(Callable[..., Any], create_autospec(real, side_effect=fake))


@pytest.fixture(scope="module")
def _dynamo_knows_torch() -> None:
    """It looks up torch's functions once, and shall find them before they are faked."""
    torch.compile(torch.sin, backend="eager")(torch.ones(1))


@pytest.fixture
def gpu(_dynamo_knows_torch: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    fake = FakeGpu()
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    for owner, name, stand_in in (
        (torch.cuda, "synchronize", fake.synchronize),
        (torch.cuda, "memory_stats", lambda: {"requested_bytes.all.current": 1000}),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda.memory, "_record_memory_history", fake.record_history),
        (torch.cuda.memory, "_snapshot", fake.snapshot),
        (torch.accelerator, "synchronize", fake.synchronize),
        (torch.accelerator, "reset_peak_memory_stats", fake.reset),
        (torch.accelerator, "max_memory_allocated", lambda: fake.peak),
        (torch.accelerator, "max_memory_reserved", lambda: 2 * fake.peak),
    ):
        monkeypatch.setattr(owner, name, held_to(getattr(owner, name), stand_in))
    monkeypatch.setattr(disturbance, "_gpu_state", lambda device: fake.state)
    monkeypatch.setattr(energy, "open_gpu", lambda device: fake)
    monkeypatch.setattr(energy, "SHORTEST_WINDOW", {"cuda": 0.01})
    monkeypatch.setattr(measurement, "measure_energy", partial(energy.measure_energy, window_seconds=0.02))
    monkeypatch.setattr(torch.profiler, "profile", partial(FakeProfile, fake.told))
    monkeypatch.setattr(measurement, "wake_libraries", lambda device: fake.told.append(f"awake {device}"))
    monkeypatch.setattr(steps, "compiled", compiled_at_once)
    waking = SimpleNamespace(empty=lambda size, device: torch.empty(size), accelerator=torch.accelerator)
    monkeypatch.setattr(memory, "torch", waking)
    real = steps.prepare

    def prepare(cell: Cell, settings: Settings, scratch: Path) -> steps.Steps:
        return real(Cell.of(cell.workload, **(cell.settings | {"device": "cpu"})), settings, scratch)

    monkeypatch.setattr(measurement, "prepare", prepare)
    threads = torch.get_num_threads()
    yield fake
    torch.set_num_threads(threads)


def compiled_at_once(model: nn.Module, cell: Cell) -> nn.Module:
    torch._dynamo.reset()
    return torch.compile(model, backend="eager") if cell["compile"] != "off" else model


@pytest.fixture
def look(gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Record]:
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "")

    def measured(workload: str = "train", artifacts: Path | None = None, energy: bool = True, **axes: Value) -> Record:
        cell = Cell.of(workload, **({"batch_size": 8, "device": "cuda"} | axes))
        settings = Settings(max_seconds=0.02, artifacts=artifacts, energy=energy)
        return measure_steps(cell, settings, lambda doing: None, tmp_path)

    return measured


@pytest.mark.parametrize("workload", ["train", "inference"])
def test_a_record_of_a_gpu_has_what_only_a_gpu_tells(look: Callable[..., Record], workload: str) -> None:
    record = look(workload)
    metrics = record.metrics
    assert len(record.host_rounds) == len(record.rounds) >= 6
    assert metrics["kernel_launches_per_step"] == 42
    assert metrics["synchronisations_per_step"] == 1
    assert metrics["device_busy_share"] == pytest.approx(min(1, 10e-6 / metrics["step_seconds"]))
    assert (metrics["device_allocated_bytes"], metrics["device_reserved_bytes"]) == (3_000_000, 6_000_000)
    assert metrics["energy_joules_per_step"] > 0
    assert metrics["energy_joules_per_sample"] == pytest.approx(metrics["energy_joules_per_step"] / 8)
    assert metrics["power_watts"] > 0
    assert metrics["idle_power_watts"] > 0
    assert record.disturbance["gpu_sm_clock_mhz_before"] == 1980
    assert record.disturbance["gpu_throttled"] == 0
    assert not {"throttled", "shared-gpu"} & set(record.flags)
    assert Record.from_json(record.to_json()) == record


def test_the_memory_of_a_step_is_parted_by_what_holds_it(look: Callable[..., Record]) -> None:
    metrics = look().metrics
    parts = ("parameter_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes", "workspace_bytes")
    data = 4000 * (784 * 4 + 8)  # the resident images and labels
    assert sum(metrics[name] for name in parts) + data == metrics["device_allocated_bytes"]


def test_what_the_compiler_tried_out_is_no_memory_of_a_step(gpu: FakeGpu, look: Callable[..., Record]) -> None:
    gpu.peaks = [5_000_000, 3_000_000]  # of the first step, which compiles; of all others
    compiled = look(compile="default").metrics
    assert compiled["compile_device_allocated_bytes"] == 5_000_000
    assert compiled["device_allocated_bytes"] == 3_000_000


def test_an_eager_step_has_one_peak_with_its_first(gpu: FakeGpu, look: Callable[..., Record]) -> None:
    gpu.peaks = [5_000_000, 3_000_000]
    metrics = look().metrics
    assert metrics["compile_device_allocated_bytes"] is None
    assert metrics["device_allocated_bytes"] == 5_000_000


@pytest.mark.parametrize(
    ("state", "flag"),
    [
        (replace(STATE, throttle_reasons=("thermal",), held_back_seconds=None), "throttled"),
        (replace(STATE, other_memory_bytes=4_000_000_000), "shared-gpu"),
    ],
)
def test_a_gpu_that_is_throttled_or_shared_is_flagged(
    gpu: FakeGpu, look: Callable[..., Record], state: GpuState, flag: str
) -> None:
    gpu.state = state
    assert flag in look().flags


def test_the_profile_of_a_gpu_has_the_memory_of_a_step_beside_it(
    gpu: FakeGpu, look: Callable[..., Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table and the trace are made from a real profile of the host; the recorder is the fake's."""
    monkeypatch.setattr("trainmark.meters.profiler.ACTIVITIES", {})
    record = look(artifacts=tmp_path / "run")
    found = read_timeline(timeline_path(tmp_path / "run", record.key))
    assert found.allocated_bytes == (1000, 1512)
    assert [told for told in gpu.told if told.startswith("history")] == ["history all", "history None"]


def test_every_nvml_that_was_opened_is_let_go(gpu: FakeGpu, look: Callable[..., Record]) -> None:
    look()
    assert gpu.told.count("closed") == 2  # idle power, and power


def test_the_largest_batch_is_looked_for_in_the_memory_of_the_device(gpu: FakeGpu, tmp_path: Path) -> None:
    cell = Cell.of("train", batch_size=8, device="cuda")
    assert try_batch(cell, Settings(), lambda doing: None, tmp_path) == 3_000_000
    assert "reset" in gpu.told


def test_compiling_again_is_timed_until_the_device_is_done(gpu: FakeGpu, tmp_path: Path) -> None:
    cell = Cell.of("train", batch_size=8, device="cuda", compile="default")
    assert measure_first_step(cell, Settings(), lambda doing: None, tmp_path) > 0
    assert gpu.told[-1] == "synchronize"


def test_energy_is_measured_before_a_profiler_has_been_there(gpu: FakeGpu, look: Callable[..., Record]) -> None:
    """A session of it leaves CUPTI attached, and each step takes longer from then on."""
    look()
    last = max(place for place, told in enumerate(gpu.told) if told == "energy")
    assert last < gpu.told.index("profile")


def test_energy_that_nobody_asks_for_takes_no_window(gpu: FakeGpu, look: Callable[..., Record]) -> None:
    metrics = look(energy=False).metrics
    assert "energy" not in gpu.told
    assert metrics.get("energy_joules_per_step") is None
    assert metrics["kernel_launches_per_step"] == 42


@pytest.mark.parametrize(("mode", "steps"), [("default", 1), ("reduce-overhead", 2), ("max-autotune", 2)])
def test_compiling_is_timed_until_graphs_are_captured(
    gpu: FakeGpu, look: Callable[..., Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, steps: int
) -> None:
    """The first run of a CUDA graph warms up, the second is recorded."""
    seconds = iter([5.0, 3.0])

    def clock(work: Callable[[], None]) -> Block:
        work()
        taken = next(seconds, 0.02)
        return Block(taken, taken)

    monkeypatch.setattr(measurement, "clock_of", lambda device: clock)
    assert look(compile=mode).metrics["compile_seconds"] == {1: 5, 2: 8}[steps]
    seconds = iter([5.0, 3.0])
    cell = Cell.of("train", batch_size=8, device="cuda", compile=mode)
    assert measure_first_step(cell, Settings(), lambda doing: None, tmp_path) == {1: 5, 2: 8}[steps]


def test_libraries_are_awake_before_compiling_is_timed(
    gpu: FakeGpu, look: Callable[..., Record], tmp_path: Path
) -> None:
    look(compile="default")
    assert gpu.told.index("awake cuda") < gpu.told.index("synchronize")
    gpu.told.clear()
    cell = Cell.of("train", batch_size=8, device="cuda", compile="default")
    measure_first_step(cell, Settings(), lambda doing: None, tmp_path)
    assert gpu.told.index("awake cuda") < gpu.told.index("synchronize")


def test_what_a_compiled_step_does_is_counted_without_the_compiled_model(
    gpu: FakeGpu, look: Callable[..., Record], tmp_path: Path
) -> None:
    compiled = look(compile="default")
    assert "operators_per_step" not in compiled.metrics
    found, flags, reason = count_eager_step(compiled.cell, Settings(), 3_000_000, lambda doing: None, tmp_path)
    assert (flags, reason) == ((), None)
    assert found == {name: look().metrics[name] for name in found}
