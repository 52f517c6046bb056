"""Energy over a window, from counters and a clock that are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainmark.meters import energy
from trainmark.meters.energy import Energy, EnergyMeter, measure_energy, measure_idle_power

METRICS = ("energy_joules_per_step", "energy_joules_per_sample", "power_watts", "idle_power_watts")


class FakeMachine:
    """Time passes where the machine sleeps or works; what it draws goes to all listeners."""

    def __init__(self) -> None:
        self.now = 100.0
        self.behind = 0.0  # seconds of work that the device has still to do
        self.idle_watts = 10.0
        self.busy_watts = 50.0
        self.meters: list[Callable[[float], None]] = []
        self.told: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.told.append("sleep")
        self.pass_time(seconds, self.idle_watts)

    def work(self, seconds: float) -> None:
        self.told.append("work")
        self.pass_time(seconds, self.busy_watts)

    def pass_time(self, seconds: float, watts: float) -> None:
        self.now += seconds
        for meter in self.meters:
            meter(seconds * watts)

    def launch(self, seconds: float) -> None:
        """Work that the device does after the host has gone on."""
        self.told.append("launch")
        self.behind += seconds
        self.pass_time(0.0001, self.idle_watts)

    def synchronize(self, device: object) -> None:
        self.told.append("synchronize")
        self.pass_time(self.behind, self.busy_watts)
        self.behind = 0.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeMachine:
    fake = FakeMachine()
    monkeypatch.setattr(energy, "time", fake)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(torch.cuda, "synchronize", fake.synchronize)
    return fake


class Zone:
    """A RAPL domain in a folder; it counts what the machine draws, its share of it."""

    def __init__(self, folder: Path, microjoules: int, limit: int, share: float) -> None:
        self.folder, self.microjoules, self.limit, self.share = folder, microjoules, limit, share

    def draw(self, joules: float) -> None:
        self.microjoules = (self.microjoules + round(joules * self.share * 1e6)) % self.limit
        (self.folder / "energy_uj").write_text(f"{self.microjoules}\n")


def add_zone(
    machine: FakeMachine,
    folder: str,
    name: str = "package-0",
    microjoules: int = 5_000_000,
    limit: int = 262_143_328_850,
    share: float = 1.0,
) -> Path:
    path = energy.POWERCAP / folder
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{limit}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    machine.meters.append(Zone(path, microjoules, limit, share).draw)
    return path


class FakeGpu:
    """A GPU with a counter, which may be missing."""

    def __init__(self, machine: FakeMachine, joules: float | None) -> None:
        self.machine, self.joules = machine, joules
        self.closed = 0
        machine.meters.append(self.draw)

    def draw(self, joules: float) -> None:
        if self.joules is not None:
            self.joules += joules

    def energy_joules(self) -> float | None:
        assert self.machine.told[-1:] == ["synchronize"], "the counter is read before the device is done"
        self.machine.told.append("read")
        return self.joules

    def close(self) -> None:
        self.closed += 1


def add_gpu(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, joules: float | None = 1e6) -> FakeGpu:
    gpu = FakeGpu(machine, joules)
    monkeypatch.setattr(energy, "open_gpu", lambda device: gpu if device.startswith("cuda") else None)
    return gpu


def drawn(device: str, work: Callable[[], object]) -> Energy | None:
    with EnergyMeter(device) as meter:
        assert meter.result is None
        work()
    return meter.result


# CPU


def test_a_cpu_window_has_joules_seconds_and_watts(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    found = drawn("cpu", lambda: machine.work(3.0))
    assert found is not None
    assert found == Energy(pytest.approx(150.0), pytest.approx(3.0))
    assert found.watts == pytest.approx(50.0)


def test_what_was_drawn_before_and_after_the_window_does_not_count(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    machine.work(9.0)
    meter = EnergyMeter("cpu")
    machine.work(9.0)
    with meter:
        machine.work(1.0)
    machine.work(9.0)
    assert meter.result == Energy(pytest.approx(50.0), pytest.approx(1.0))


def test_packages_are_added_up_and_their_parts_left_out(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0", "package-0", share=0.5)
    add_zone(machine, "intel-rapl:0:0", "core", share=0.4)
    add_zone(machine, "intel-rapl:0:1", "dram", share=0.1)
    add_zone(machine, "intel-rapl:1", "package-1", share=0.25)
    add_zone(machine, "intel-rapl:2", "psys", share=1.0)
    add_zone(machine, "intel-rapl-mmio:0", "package-0", share=0.5)  # the same package once more
    assert drawn("cpu", lambda: machine.work(2.0)) == Energy(pytest.approx(75.0), pytest.approx(2.0))


def test_a_counter_that_begins_anew_is_followed(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0", microjoules=299_000_000, limit=300_000_000)
    assert drawn("cpu", lambda: machine.work(2.0)) == Energy(pytest.approx(100.0), pytest.approx(2.0))


def test_one_of_two_counters_may_begin_anew(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0", "package-0", microjoules=0, limit=300_000_000, share=0.5)
    add_zone(machine, "intel-rapl:1", "package-1", microjoules=599_000_000, limit=600_000_000, share=0.5)
    assert drawn("cpu", lambda: machine.work(2.0)) == Energy(pytest.approx(100.0), pytest.approx(2.0))


def test_a_cpu_that_draws_nothing_is_zero_and_not_none(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    machine.busy_watts = 0.0
    assert drawn("cpu", lambda: machine.work(2.0)) == Energy(0.0, pytest.approx(2.0))


def test_without_counters_there_is_no_energy(machine: FakeMachine) -> None:
    assert drawn("cpu", lambda: machine.work(3.0)) is None
    add_zone(machine, "intel-rapl:0", "psys")
    assert drawn("cpu", lambda: machine.work(3.0)) is None


def test_where_the_system_has_no_such_folder_there_is_no_energy(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", energy.POWERCAP / "nothing")
    assert drawn("cpu", lambda: machine.work(3.0)) is None


@pytest.mark.parametrize("part", ["name", "energy_uj", "max_energy_range_uj"])
def test_a_counter_for_root_alone_is_none_and_so_is_the_sum_with_others(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    add_zone(machine, "intel-rapl:0", "package-0")
    locked = add_zone(machine, "intel-rapl:1", "package-1") / part
    read_text = Path.read_text

    def refuse(path: Path, *args: Any, **kwargs: Any) -> str:
        if path == locked:
            raise PermissionError(path)
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert drawn("cpu", lambda: machine.work(3.0)) is None


def test_a_counter_that_goes_away_in_the_window_is_none(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0", "package-0")
    gone = add_zone(machine, "intel-rapl:1", "package-1")

    def work() -> None:
        machine.work(3.0)
        (gone / "name").write_text("nothing\n")

    assert drawn("cpu", work) is None


def test_a_cpu_window_shorter_than_a_tenth_of_a_second_is_none(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    assert drawn("cpu", lambda: machine.work(0.09)) is None
    assert drawn("cpu", lambda: machine.work(0.11)) is not None


# GPU


def test_a_gpu_is_waited_for_before_its_counter_is_read_at_both_ends(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = add_gpu(machine, monkeypatch)
    machine.launch(30.0)  # of another time
    found = drawn("cuda", lambda: machine.launch(4.0))
    assert found == Energy(pytest.approx(200.0, rel=1e-3), pytest.approx(4.0, rel=1e-3))
    assert machine.told == ["launch", "synchronize", "read", "launch", "synchronize", "read"]
    assert gpu.closed == 1


def test_a_gpu_window_shorter_than_two_seconds_is_none(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_gpu(machine, monkeypatch)
    assert drawn("cuda", lambda: machine.work(1.99)) is None
    assert drawn("cuda:1", lambda: machine.work(2.01)) is not None


def test_a_gpu_without_a_counter_is_none_and_let_go(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = add_gpu(machine, monkeypatch, joules=None)
    assert drawn("cuda", lambda: machine.work(3.0)) is None
    assert gpu.closed == 1


def test_a_gpu_that_nvml_does_not_know_is_none_and_not_waited_for(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "open_gpu", lambda device: None)
    assert drawn("cuda", lambda: machine.work(3.0)) is None
    assert "synchronize" not in machine.told


def test_a_gpu_whose_counter_began_anew_is_none(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = add_gpu(machine, monkeypatch)

    def work() -> None:
        machine.work(3.0)
        gpu.joules = 5.0

    assert drawn("cuda", work) is None


def test_a_gpu_whose_counter_falls_silent_is_none(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = add_gpu(machine, monkeypatch)

    def work() -> None:
        machine.work(3.0)
        gpu.joules = None

    assert drawn("cuda", work) is None


def test_the_energy_of_a_gpu_is_not_the_cpus(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_zone(machine, "intel-rapl:0", share=7.0)
    add_gpu(machine, monkeypatch)
    assert drawn("cuda", lambda: machine.work(4.0)) == Energy(pytest.approx(200.0), pytest.approx(4.0))
    assert drawn("cpu", lambda: machine.work(4.0)) == Energy(pytest.approx(1400.0), pytest.approx(4.0))


@pytest.mark.parametrize("device", ["mps", "xpu"])
def test_other_devices_have_no_counter(machine: FakeMachine, device: str) -> None:
    add_zone(machine, "intel-rapl:0")
    assert drawn(device, lambda: machine.work(4.0)) is None


def test_a_block_that_fails_has_no_energy_and_the_gpu_is_let_go(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = add_gpu(machine, monkeypatch)
    meter = EnergyMeter("cuda")
    with pytest.raises(RuntimeError, match="lost"), meter:
        fail("cuda")
    assert meter.result is None
    assert gpu.closed == 1
    assert machine.told.count("synchronize") == 1  # a device that has failed is not waited for


def test_a_device_that_fails_while_it_is_waited_for_is_let_go(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = add_gpu(machine, monkeypatch)
    with pytest.raises(RuntimeError, match="lost"), EnergyMeter("cuda"):
        monkeypatch.setattr(torch.cuda, "synchronize", fail)
    assert gpu.closed == 1


def fail(device: object) -> None:
    raise RuntimeError("the device is lost")


def test_a_meter_that_is_used_again_forgets_its_first_result(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    meter = EnergyMeter("cpu")
    with meter:
        machine.work(2.0)
    with meter:
        machine.work(0.01)
    assert meter.result is None


# Idle


def test_idle_power_is_what_is_drawn_while_nothing_runs(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    assert measure_idle_power("cpu", seconds=1.0) == pytest.approx(10.0)
    assert machine.told == ["sleep"]


def test_without_a_counter_nobody_waits_for_idle_power(machine: FakeMachine) -> None:
    assert measure_idle_power("cpu") is None
    assert machine.told == []


def test_idle_power_of_a_gpu_needs_a_window_of_two_seconds(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_gpu(machine, monkeypatch)
    assert measure_idle_power("cuda", seconds=1.0) is None
    assert measure_idle_power("cuda") == pytest.approx(10.0)


# Steps


def steps_of(machine: FakeMachine, seconds: float) -> Callable[[], torch.Tensor]:
    def advance() -> torch.Tensor:
        machine.work(seconds)
        return torch.zeros(())

    return advance


def test_steps_are_run_for_the_window_and_share_what_it_drew(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    found = measure_energy(steps_of(machine, 0.25), "cpu", samples_per_step=5)
    assert tuple(found) == METRICS
    assert found == {
        "energy_joules_per_step": pytest.approx(12.5),
        "energy_joules_per_sample": pytest.approx(2.5),
        "power_watts": pytest.approx(50.0),
        "idle_power_watts": pytest.approx(10.0),
    }
    assert machine.told == ["sleep", *["work"] * 8]


def test_a_step_longer_than_the_window_is_run_once(machine: FakeMachine) -> None:
    add_zone(machine, "intel-rapl:0")
    found = measure_energy(steps_of(machine, 7.0), "cpu", samples_per_step=1)
    assert found["energy_joules_per_step"] == pytest.approx(350.0)
    assert machine.told == ["sleep", "work"]


def test_where_nothing_can_be_read_all_is_none_and_no_step_is_run(machine: FakeMachine) -> None:
    found = measure_energy(steps_of(machine, 0.25), "cpu", samples_per_step=5)
    assert found == dict.fromkeys(METRICS)
    assert machine.told == []
    assert machine.now == 100.0


def test_where_a_gpu_has_no_counter_no_step_is_run(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_gpu(machine, monkeypatch, joules=None)
    found = measure_energy(steps_of(machine, 0.25), "cuda", samples_per_step=5)
    assert found == dict.fromkeys(METRICS)
    assert set(machine.told) == {"synchronize", "read"}


def test_a_window_too_short_for_the_counter_gives_none(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_gpu(machine, monkeypatch)
    found = measure_energy(steps_of(machine, 0.25), "cuda", samples_per_step=5, window_seconds=1.0)
    assert found == dict.fromkeys(METRICS)


def test_a_device_is_never_far_behind_the_host(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host launches a step in a tenth of a millisecond: unchecked it would queue 20,000 of them."""
    add_gpu(machine, monkeypatch)

    def advance() -> torch.Tensor:
        machine.launch(0.01)
        return torch.zeros(())

    found = measure_energy(advance, "cuda", samples_per_step=1)
    assert found["energy_joules_per_step"] == pytest.approx(0.5, rel=0.01)
    assert machine.told.count("launch") < 250
    assert machine.told.count("synchronize") < 40
