"""Meters: clocks, disturbance, memory and operations, on a system that is made up."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import MODELS
from trainmark.meters import clock, disturbance, memory
from trainmark.meters.clock import Block, clock_of, event_clock, host_clock, synchronised_clock
from trainmark.meters.disturbance import STEAL_LIMIT, WAITING_LIMIT, Disturbance, DisturbanceMeter
from trainmark.meters.flops import count_flops, count_parameters
from trainmark.meters.memory import DeviceMemory, device_peak, peak_memory_bytes, reset_device_peak
from trainmark.meters.nvml import GpuState

# Clocks


class FakeDevice:
    """A device that works on after the host has gone on, and a host that waits for it."""

    def __init__(self) -> None:
        self.host = 100.0
        self.device = 100.0
        self.told: list[str] = []

    def perf_counter(self) -> float:
        self.told.append("read")
        return self.host

    def launch(self, seconds: float) -> None:
        self.told.append("work")
        self.device = max(self.device, self.host) + seconds
        self.host += 0.001

    def synchronize(self) -> None:
        self.told.append("synchronize")
        self.host = max(self.host, self.device) + 0.01

    def new_event(self, *, enable_timing: bool) -> FakeEvent:
        assert enable_timing
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, device: FakeDevice) -> None:
        self.of = device
        self.at = 0.0

    def record(self) -> None:
        self.of.told.append("record")
        self.at = max(self.of.device, self.of.host)

    def elapsed_time(self, end: FakeEvent) -> float:
        assert self.of.told[-2:] == ["synchronize", "read"], "an event is read before the device has come to it"
        return (end.at - self.at) * 1000  # milliseconds, as CUDA tells


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    fake = FakeDevice()
    monkeypatch.setattr(clock, "time", fake)
    monkeypatch.setattr(torch.cuda, "Event", fake.new_event)
    monkeypatch.setattr(torch.cuda, "synchronize", fake.synchronize)
    monkeypatch.setattr(torch.accelerator, "synchronize", fake.synchronize)
    return fake


def test_the_clock_of_cuda_takes_seconds_from_events_and_the_hosts_beside_them(device: FakeDevice) -> None:
    block = event_clock(lambda: device.launch(2.0))
    assert block.seconds == pytest.approx(2.0)
    assert block.host_seconds == pytest.approx(2.01)
    assert block.waited_seconds == block.host_seconds
    assert device.told == ["synchronize", "read", "record", "work", "record", "synchronize", "read"]


def test_work_from_before_is_not_in_the_time_of_a_block(device: FakeDevice) -> None:
    for timer in (event_clock, synchronised_clock):
        device.launch(50.0)
        assert timer(lambda: device.launch(2.0)).seconds < 3


def test_the_clock_of_other_accelerators_waits_for_the_device(device: FakeDevice) -> None:
    block = synchronised_clock(lambda: device.launch(2.0))
    assert block.seconds == pytest.approx(2.01)
    assert block.host_seconds is None
    assert block.waited_seconds == block.seconds
    assert device.told == ["synchronize", "read", "work", "synchronize", "read"]


def test_the_clock_of_the_cpu_waits_for_no_device(device: FakeDevice) -> None:
    block = host_clock(lambda: device.launch(2.0))
    assert block == Block(pytest.approx(0.001), None)
    assert device.told == ["read", "work", "read"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cpu", host_clock), ("cuda", event_clock), ("mps", synchronised_clock), ("xpu", synchronised_clock)],
)
def test_each_device_has_its_clock(name: str, expected: Callable[..., Block]) -> None:
    assert clock_of(name) is expected


# Disturbance


QUIET = disturbance._Counters(clock=10.0, waiting=1.0, steal=(5.0, 1000.0), switches=7, throttled=2, thermal=3)


def between(
    before: disturbance._Counters, after: disturbance._Counters, monkeypatch: pytest.MonkeyPatch
) -> Disturbance:
    readings = iter([before, after])
    monkeypatch.setattr(disturbance, "_read_counters", lambda: next(readings))
    with DisturbanceMeter() as meter:
        assert meter.result is None
    assert meter.result is not None
    return meter.result


def test_counters_become_shares_of_their_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 9.0, 9.0))
    after = disturbance._Counters(clock=14.0, waiting=3.0, steal=(25.0, 1400.0), switches=10, throttled=6, thermal=8)
    assert between(QUIET, after, monkeypatch) == Disturbance(
        waiting_share=0.5,
        steal_share=0.05,
        involuntary_switches=3,
        throttled_periods=4,
        thermal_events=5,
        load_before=1.5,
    )


def test_nothing_that_changes_is_zero_and_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = between(QUIET, replace(QUIET, clock=11.0, steal=(5.0, 1100.0)), monkeypatch)
    ours = {name: value for name, value in asdict(found).items() if name != "load_before" and name[:3] != "gpu"}
    assert ours == {
        "waiting_share": 0,
        "steal_share": 0,
        "involuntary_switches": 0,
        "throttled_periods": 0,
        "thermal_events": 0,
    }
    assert not found.disturbed


def test_what_the_system_does_not_tell_is_none_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    silent = disturbance._Counters(clock=1.0, waiting=None, steal=None, switches=None, throttled=None, thermal=None)
    found = between(silent, replace(silent, clock=2.0), monkeypatch)
    assert set(found.to_json().values()) == {None}
    assert not found.disturbed
    assert json.loads(json.dumps(found.to_json())) == asdict(found)


@pytest.mark.parametrize("name", ["waiting", "steal", "switches", "throttled", "thermal"])
def test_a_counter_that_falls_silent_in_between_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = between(QUIET, replace(QUIET, clock=11.0, **{name: None}), monkeypatch)
    assert [value for key, value in asdict(found).items() if name in key and key[:3] != "gpu"] == [None]


COOL = GpuState(400.0, 1980, 3201, 50, (), 0, 1.0, {"power cap": 7.0, "thermal": 2.0})
HOT = replace(COOL, power_watts=650.0, sm_clock_mhz=1200, temperature_celsius=85, throttle_reasons=("thermal",))


def beside(before: GpuState | None, after: GpuState | None, monkeypatch: pytest.MonkeyPatch) -> Disturbance:
    """A window of four seconds, with the GPU in these states."""
    states = iter([before, after])
    monkeypatch.setattr(disturbance, "_gpu_state", lambda device: next(states))
    return between(QUIET, replace(QUIET, clock=14.0), monkeypatch)


def test_the_state_of_a_gpu_is_looked_at_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    found = beside(COOL, HOT, monkeypatch)
    assert {name: value for name, value in found.to_json().items() if name[:3] == "gpu"} == {
        "gpu_throttled": 0,  # the time for which it was is known, and none
        "gpu_throttle_reasons_before": "",
        "gpu_throttle_reasons_after": "thermal",
        "gpu_held_back_share": 0,
        "gpu_other_memory_bytes": 0,
        "gpu_power_watts_before": 400.0,
        "gpu_power_watts_after": 650.0,
        "gpu_temperature_celsius_before": 50,
        "gpu_temperature_celsius_after": 85,
        "gpu_sm_clock_mhz_before": 1980,
        "gpu_sm_clock_mhz_after": 1200,
        "gpu_memory_clock_mhz_before": 3201,
        "gpu_memory_clock_mhz_after": 3201,
    }
    assert json.loads(json.dumps(found.to_json())) == asdict(found)
    assert beside(COOL, COOL, monkeypatch).gpu_throttled == 0


@pytest.mark.parametrize(("seconds", "throttled"), [(0.0, 0), (0.07, 0), (0.1, 1), (4.0, 1)])
def test_a_gpu_that_was_held_back_between_two_looks_is_throttled(
    monkeypatch: pytest.MonkeyPatch, seconds: float, throttled: int
) -> None:
    after = replace(COOL, held_back_seconds={"power cap": 7.0 + seconds, "thermal": 2.0})
    found = beside(COOL, after, monkeypatch)
    assert found.gpu_held_back_share == pytest.approx(seconds / 4)
    assert found.gpu_throttled == throttled


CAPPED = replace(COOL, throttle_reasons=("power cap",))


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        (COOL, CAPPED, 0),  # a single look at what comes and goes
        (CAPPED, COOL, 0),
        (CAPPED, CAPPED, 1),
        (COOL, HOT, 1),
        (HOT, COOL, 1),
        (CAPPED, HOT, 1),
        (COOL, COOL, 0),
        (COOL, replace(COOL, throttle_reasons=None), 0),
        (replace(COOL, throttle_reasons=None), CAPPED, 1),  # the only look there is
    ],
)
def test_a_gpu_that_counts_no_time_is_judged_by_looks_of_which_one_at_its_power_cap_says_little(
    monkeypatch: pytest.MonkeyPatch, before: GpuState, after: GpuState, throttled: int
) -> None:
    uncounted = [replace(state, held_back_seconds=None) for state in (before, after)]
    assert beside(*uncounted, monkeypatch).gpu_throttled == throttled


@pytest.mark.parametrize("looks", [(CAPPED, CAPPED), (HOT, COOL), (COOL, CAPPED)])
def test_where_the_time_is_counted_no_look_says_more(
    monkeypatch: pytest.MonkeyPatch, looks: tuple[GpuState, GpuState]
) -> None:
    assert beside(*looks, monkeypatch).gpu_throttled == 0


def test_what_a_gpu_does_not_tell_of_its_throttling_is_none_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = replace(COOL, throttle_reasons=None, held_back_seconds=None)
    found = beside(silent, silent, monkeypatch)
    assert (found.gpu_throttled, found.gpu_held_back_share, found.gpu_throttle_reasons_after) == (None, None, None)
    counting = replace(silent, held_back_seconds={"thermal": 2.0})
    assert beside(counting, counting, monkeypatch).gpu_throttled == 0
    assert beside(counting, silent, monkeypatch).gpu_held_back_share is None
    assert beside(COOL, None, monkeypatch).gpu_throttled is None


def test_a_window_shorter_than_the_kernels_tick_has_no_share_of_stolen_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert between(QUIET, replace(QUIET, clock=10.001), monkeypatch).steal_share is None


def test_threads_that_end_in_the_window_take_no_time_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their waiting goes with them from the system's list."""
    assert between(QUIET, replace(QUIET, clock=11.0, waiting=0.4), monkeypatch).waiting_share == 0


def test_a_meter_has_its_result_though_its_block_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = DisturbanceMeter()
    with pytest.raises(ZeroDivisionError), meter:
        raise ZeroDivisionError
    assert meter.result is not None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"waiting_share": WAITING_LIMIT}, False),
        ({"waiting_share": WAITING_LIMIT + 0.001}, True),
        ({"steal_share": STEAL_LIMIT}, False),
        ({"steal_share": STEAL_LIMIT + 0.001}, True),
        ({"throttled_periods": 1}, True),
        ({"thermal_events": 1}, True),
        ({"involuntary_switches": 10_000}, False),  # harmless where each is short
        ({"load_before": 64.0}, False),  # of the minute before, not of the window
    ],
)
def test_a_window_is_disturbed_above_its_limits(found: dict[str, float], expected: bool) -> None:
    assert Disturbance(**(dict.fromkeys(Disturbance.__dataclass_fields__) | found)).disturbed is expected


class FakeSystem:
    """Files of a made-up /proc and /sys."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystem:
    fake = FakeSystem(tmp_path)
    monkeypatch.setattr(disturbance, "Path", fake.path)
    stats = tuple(fake.path(str(path)) for path in disturbance.CGROUP_STATS)
    monkeypatch.setattr(disturbance, "CGROUP_STATS", stats)
    return fake


def test_a_system_without_counters_tells_nothing_but_the_time(system: FakeSystem) -> None:
    found = disturbance._read_counters()
    assert (found.waiting, found.steal, found.throttled, found.thermal) == (None, None, None, None)
    assert found.clock > 0


def test_the_waiting_of_all_threads_is_added_up(system: FakeSystem) -> None:
    system.write("/proc/self/schedstat", "900 100 5\n")
    system.write("/proc/self/task/11/schedstat", "900000000 1500000000 5\n")
    system.write("/proc/self/task/12/schedstat", "900000000 500000000 5\n")
    assert disturbance._waiting_seconds() == 2.0


def test_a_thread_that_ends_while_it_is_read_is_left_out(system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    system.write("/proc/self/schedstat", "1 1 1\n")
    system.write("/proc/self/task/11/schedstat", "1 3000000000 1\n")
    ended = FakeSystem(system.root)
    ended.write("/proc/self/task/12/schedstat", "")
    ended.path("/proc/self/task/12/schedstat").unlink()
    ended.path("/proc/self/task/12/schedstat").symlink_to("/nowhere")
    assert disturbance._waiting_seconds() == 3.0


def test_a_kernel_that_keeps_no_schedule_statistics_tells_no_waiting(system: FakeSystem) -> None:
    """It writes three zeros, though a process that asks has run."""
    for name in ("/proc/self/schedstat", "/proc/self/task/11/schedstat"):
        system.write(name, "0 0 0\n")
    assert disturbance._waiting_seconds() is None


def test_stolen_time_is_the_eighth_of_the_kernels_ticks(system: FakeSystem) -> None:
    system.write("/proc/stat", "cpu  1 2 4 8 16 32 64 128 256 512\ncpu0 9 9 9 9 9 9 9 9 9 9\n")
    assert disturbance._steal_and_total() == (128, 255)  # guests are in the user's time already


def test_a_kernel_without_stolen_time_tells_none(system: FakeSystem) -> None:
    system.write("/proc/stat", "cpu  1 2 4 8 16 32 64\n")
    assert disturbance._steal_and_total() is None


@pytest.mark.parametrize("name", ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"])
def test_throttling_is_read_from_both_kinds_of_control_groups(system: FakeSystem, name: str) -> None:
    system.write(name, "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n")
    assert disturbance._throttled_periods() == 4


def test_a_control_group_without_a_quota_tells_no_throttling(system: FakeSystem) -> None:
    system.write("/sys/fs/cgroup/cpu.stat", "usage_usec 5\n")
    assert disturbance._throttled_periods() is None


def test_the_thermal_events_of_all_cores_are_added_up(system: FakeSystem) -> None:
    for core in (0, 1, 17):
        system.write(f"/sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", f"{core}\n")
    system.write("/sys/devices/system/cpu/cpufreq/thermal_throttle/core_throttle_count", "100\n")
    assert disturbance._thermal_events() == 18


def test_a_system_without_getrusage_tells_no_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert disturbance._involuntary_switches() is None


# Memory


def test_the_peak_of_memory_is_the_kernels_high_water_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t 9000 kB\nVmHWM:\t 1234 kB\nVmRSS:\t 1000 kB\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert peak_memory_bytes() == 1234 * 1024


def test_a_kernel_that_keeps_no_mark_tells_no_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t 1000 kB\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert peak_memory_bytes() is None


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_without_proc_the_peak_is_getrusages_in_the_systems_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    fake = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=5000))
    monkeypatch.setitem(sys.modules, "resource", fake)
    monkeypatch.setattr(memory, "STATUS", tmp_path / "nothing")
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_memory_bytes() == 5000 * unit


def test_without_proc_and_getrusage_there_is_no_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(memory, "STATUS", tmp_path / "nothing")
    assert peak_memory_bytes() is None


def test_devices_that_keep_peaks_tell_them_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch, "empty", lambda size, device: None)  # which wakes the device
    monkeypatch.setattr(torch.accelerator, "reset_peak_memory_stats", lambda: told.append("reset"))
    monkeypatch.setattr(torch.accelerator, "max_memory_allocated", lambda: 100)
    monkeypatch.setattr(torch.accelerator, "max_memory_reserved", lambda: 200)
    for name in ("cuda", "xpu"):
        reset_device_peak(name)
        assert device_peak(name) == DeviceMemory(allocated=100, reserved=200)
    assert told == ["reset", "reset"]
    for name in ("cpu", "mps"):
        reset_device_peak(name)
        assert device_peak(name) == DeviceMemory(None, None)
    assert told == ["reset", "reset"]


# Operations and parameters


class Net(nn.Module):
    """One layer, and whatever a stranger's forward pass does to its output."""

    def __init__(self, forward: Callable[[Tensor, Tensor], Tensor], **kept: object) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.more = forward
        self.kept = kept

    def forward(self, images: Tensor) -> Tensor:
        return self.more(images, self.layer(images.flatten(1)))


def test_a_linear_layer_takes_two_operations_for_each_weight_and_sample() -> None:
    assert count_flops(nn.Linear(12, 7), (5, 12), training=False) == 2 * 5 * 12 * 7


def test_a_convolution_takes_two_operations_for_each_weight_and_pixel() -> None:
    layer = nn.Conv2d(3, 16, 5, stride=2, padding=1)  # [2, 3, 20, 30] -> [2, 16, 9, 14]
    assert count_flops(layer, (2, 3, 20, 30), training=False) == 2 * 2 * (3 * 5 * 5) * 16 * 9 * 14


def test_a_backward_pass_takes_two_products_more_but_for_the_images() -> None:
    model = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3))
    first, second = 2 * 5 * 12 * 7, 2 * 5 * 7 * 3
    assert count_flops(model, (5, 12), training=True) == 2 * first + 3 * second


def test_the_lectures_cnn_by_hand() -> None:
    first = 2 * (3 * 9) * 32 * 32 * 32
    second = 2 * (32 * 9) * 64 * 16 * 16
    linear = 2 * (4096 * 256 + 256 * 10)
    model = MODELS["cnn"].build()
    assert count_flops(model, (4, 3, 32, 32), training=False) == 4 * (first + second + linear)
    assert count_flops(model, (4, 3, 32, 32), training=True) == 4 * (2 * first + 3 * (second + linear))


def test_a_larger_batch_takes_as_many_times_the_operations() -> None:
    model = MODELS["resnet20"].build()
    one, seven = (count_flops(model, (size, 3, 32, 32), training=True) for size in (1, 7))
    assert one is not None
    assert seven == 7 * one


@pytest.mark.parametrize(
    "forward",
    [
        lambda images, logits: logits * images.sum().item(),
        lambda images, logits: logits if images.sum() > 0 else -logits,
        lambda images, logits: logits * len(images.nonzero()),
        lambda images, logits: logits + torch.ones(3, device="cpu") * images.cpu().sum(),
        lambda images, logits: logits * float(images.numpy().sum()),
        lambda images, logits: logits * float(np.asarray(images).sum()),
    ],
    ids=["item", "branch", "nonzero", "to the cpu", "numpy", "asarray"],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_model_that_needs_values_has_no_count(forward: Callable[[Tensor, Tensor], Tensor], training: bool) -> None:
    assert count_flops(Net(forward), (2, 4), training=training) is None


@pytest.mark.parametrize("kept", [threading.Lock(), (number for number in range(3))], ids=["lock", "generator"])
def test_a_model_that_cannot_be_copied_has_no_count(kept: object) -> None:
    """Its times are measured by then, and must not be lost for want of a count."""
    assert count_flops(Net(lambda images, logits: logits, kept=kept), (2, 4), training=False) is None


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mode", [False, True])
def test_counting_leaves_the_model_as_it_was(training: bool, mode: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train(mode)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    count_flops(model, (8, 4), training=training)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {module.training for module in model.modules()} == {mode}
    for parameter in model.parameters():
        assert (parameter.device.type, parameter.grad, parameter.requires_grad) == ("cpu", None, True)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()


def test_frozen_parameters_do_not_count() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    assert count_parameters(model) == 3 * 2 + 2


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(layer, layer)) == 4 * 4 + 4
