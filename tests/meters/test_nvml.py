"""The state of a GPU, on a machine that is made up: NVML knows it by other numbers than PyTorch does."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from trainmark.meters.nvml import HELD_BACK_WORDS, SETTINGS, THROTTLE_WORDS, Gpu, GpuState, open_gpu, throttle_words

FIRST, SECOND = "11111111-aaaa-bbbb-cccc-000000000001", "22222222-aaaa-bbbb-cccc-000000000002"
INSTANCE = "33333333-aaaa-bbbb-cccc-000000000003"


class NotTold(pynvml.NVMLError):  # type: ignore[misc]
    """What NVML raises; the real one asks a library that is not there for its words."""

    def __new__(cls) -> NotTold:
        return Exception.__new__(cls)


@dataclass
class Handle:
    """A GPU or a part of one, as NVML sees it."""

    facts: dict[str, Any] = field(default_factory=dict)
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    parent: Handle | None = None
    divided: bool | None = None  # None: a GPU that cannot be


class FakeNvml:
    """The functions of pynvml that are asked; a fact that a handle does not have is not supported."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_DEVICE_MIG_ENABLE = pynvml.NVML_DEVICE_MIG_ENABLE
    NVML_SUCCESS = pynvml.NVML_SUCCESS

    def __init__(self) -> None:
        self.handles: dict[str, Handle] = {}
        self.opened = 0
        self.closed = 0
        self.asked: list[str] = []

    def fact(self, handle: Handle, name: str) -> Any:
        assert self.opened > self.closed, "NVML was asked before it was opened or after it was let go"
        self.asked.append(name)
        if name not in handle.facts:
            raise NotTold
        return handle.facts[name]

    def nvmlInit(self) -> None:  # noqa: N802  # the names are NVML's
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.closed += 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Handle:  # noqa: N802
        if uuid not in self.handles:
            raise NotTold
        return self.handles[uuid]

    def nvmlDeviceGetMigMode(self, handle: Handle) -> list[int]:  # noqa: N802
        if handle.divided is None:
            raise NotTold
        return [int(handle.divided), 1 - int(handle.divided)]  # the second is for after a reset

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Handle) -> Handle:  # noqa: N802
        if handle.parent is None:
            raise NotTold
        return handle.parent

    def nvmlDeviceGetPowerUsage(self, handle: Handle) -> int:  # noqa: N802
        return int(self.fact(handle, "power"))

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Handle) -> int:  # noqa: N802
        return int(self.fact(handle, "energy"))

    def nvmlDeviceGetClockInfo(self, handle: Handle, kind: int) -> int:  # noqa: N802
        return int(self.fact(handle, {self.NVML_CLOCK_SM: "sm", self.NVML_CLOCK_MEM: "memory"}[kind]))

    def nvmlDeviceGetTemperatureV(self, handle: Handle, sensor: int) -> int:  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return int(self.fact(handle, "temperature"))

    def nvmlDeviceGetTemperature(self, handle: Handle, sensor: int) -> int:  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return int(self.fact(handle, "old temperature"))

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Handle) -> int:  # noqa: N802
        return int(self.fact(handle, "reasons"))

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Handle) -> int:  # noqa: N802
        return int(self.fact(handle, "old reasons"))

    def nvmlDeviceGetFieldValues(self, handle: Handle, fields: list[int]) -> list[SimpleNamespace]:  # noqa: N802
        held_back = self.fact(handle, "held back")
        return [
            SimpleNamespace(
                fieldId=number,
                nvmlReturn=pynvml.NVML_SUCCESS if number in held_back else pynvml.NVML_ERROR_NOT_SUPPORTED,
                value=SimpleNamespace(ullVal=held_back.get(number, 2**63)),  # what is not told is anything
            )
            for number in fields
        ]

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Handle) -> list[SimpleNamespace]:  # noqa: N802
        return self.processes(handle, "processes")

    def nvmlDeviceGetComputeRunningProcesses_v2(self, handle: Handle) -> list[SimpleNamespace]:  # noqa: N802
        return self.processes(handle, "old processes")

    def processes(self, handle: Handle, name: str) -> list[SimpleNamespace]:
        self.fact(handle, name)
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in handle.processes]


def whole_gpu() -> Handle:
    facts = {"power": 250_500, "energy": 7_000_250, "sm": 1410, "memory": 1215, "temperature": 61, "reasons": 0x4}
    facts["held back"] = {74: 1_500_000_000, 75: 0}
    return Handle(facts | {"processes": True}, [(os.getpid(), 100)])


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    fake.handles = {f"GPU-{FIRST}": whole_gpu(), f"GPU-{SECOND}": whole_gpu()}
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    visible(monkeypatch, FIRST, SECOND)
    return fake


def visible(monkeypatch: pytest.MonkeyPatch, *uuids: str) -> None:
    """PyTorch sees these GPUs, in this order; the first is the current one."""
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(uuids))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=Uuid(uuids[index])))


@dataclass(frozen=True)
class Uuid:
    """As of PyTorch: no string, though it has one."""

    text: str

    def __str__(self) -> str:
        return self.text


def state_of(device: str = "cuda") -> GpuState:
    gpu = open_gpu(device)
    assert gpu is not None
    with gpu:
        return gpu.state()


def test_a_gpu_tells_its_state_in_the_units_of_the_names(nvml: FakeNvml) -> None:
    nvml.handles[f"GPU-{FIRST}"].processes += [(1, 4000), (2, 500)]
    assert state_of() == GpuState(
        power_watts=250.5,
        sm_clock_mhz=1410,
        memory_clock_mhz=1215,
        temperature_celsius=61,
        throttle_reasons=("power cap",),
        other_memory_bytes=4500,
        energy_joules=7000.25,
        held_back_seconds={"power cap": 1.5, "thermal": 0.0},
    )


def test_the_gpu_is_found_by_its_uuid_however_the_visible_ones_are_ordered(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.handles[f"GPU-{FIRST}"].facts["sm"] = 1000
    nvml.handles[f"GPU-{SECOND}"].facts["sm"] = 2000
    assert state_of("cuda").sm_clock_mhz == 1000
    assert state_of("cuda:1").sm_clock_mhz == 2000
    visible(monkeypatch, SECOND, FIRST)  # CUDA_VISIBLE_DEVICES=1,0
    assert state_of("cuda").sm_clock_mhz == 2000
    assert state_of("cuda:1").sm_clock_mhz == 1000
    visible(monkeypatch, SECOND)
    assert state_of("cuda:0").sm_clock_mhz == 2000


def test_without_an_index_it_is_the_current_gpu(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.handles[f"GPU-{SECOND}"].facts["sm"] = 2000
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert state_of("cuda").sm_clock_mhz == 2000
    assert state_of("cuda:0").sm_clock_mhz == 1410


@pytest.mark.parametrize("kind", ["GPU-", "MIG-"])
def test_a_uuid_that_has_its_kind_already_is_found_too(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    visible(monkeypatch, kind + FIRST)
    assert state_of().sm_clock_mhz == 1410


# Where nothing can be told


@pytest.mark.parametrize(
    "name",
    ["power_watts", "sm_clock_mhz", "memory_clock_mhz", "temperature_celsius", "throttle_reasons", "held_back_seconds"],
)
def test_what_a_gpu_does_not_support_is_none_and_the_rest_is_there(nvml: FakeNvml, name: str) -> None:
    key = {
        "power_watts": "power",
        "sm_clock_mhz": "sm",
        "memory_clock_mhz": "memory",
        "temperature_celsius": "temperature",
        "throttle_reasons": "reasons",
        "held_back_seconds": "held back",
    }[name]
    before = asdict(state_of())
    del nvml.handles[f"GPU-{FIRST}"].facts[key]
    assert asdict(state_of()) == before | {name: None}


def test_a_gpu_without_an_energy_counter_has_no_energy(nvml: FakeNvml) -> None:
    del nvml.handles[f"GPU-{FIRST}"].facts["energy"]
    assert state_of().energy_joules is None


def test_a_gpu_that_supports_nothing_is_all_none_and_not_zero(nvml: FakeNvml) -> None:
    nvml.handles[f"GPU-{FIRST}"] = Handle()
    assert set(asdict(state_of()).values()) == {None}


def test_a_gpu_at_rest_draws_what_it_draws_and_zero_is_zero(nvml: FakeNvml) -> None:
    nvml.handles[f"GPU-{FIRST}"].facts |= {"power": 0, "energy": 0, "reasons": 0}
    found = state_of()
    assert (found.power_watts, found.energy_joules, found.throttle_reasons) == (0, 0, ())


def test_other_devices_and_amd_have_no_nvml(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_gpu("cpu") is None
    assert open_gpu("mps") is None
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert open_gpu("cuda") is None
    assert nvml.opened == 0


def test_without_a_gpu_nvml_is_not_opened(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    visible(monkeypatch)
    assert open_gpu("cuda") is None
    assert nvml.opened == 0


def test_without_a_driver_or_with_nvml_hidden_there_is_no_gpu(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NotTold

    monkeypatch.setattr(nvml, "nvmlInit", fail)
    assert open_gpu("cuda") is None
    assert nvml.closed == 0  # what was not opened is not closed


def test_a_gpu_that_nvml_does_not_know_is_none_and_nvml_let_go(nvml: FakeNvml) -> None:
    nvml.handles.clear()
    assert open_gpu("cuda") is None
    assert (nvml.opened, nvml.closed) == (1, 1)


def test_nvml_is_opened_once_and_let_go_once_though_the_block_failed(nvml: FakeNvml) -> None:
    gpu = open_gpu("cuda")
    assert gpu is not None
    gpu.state()
    gpu.state()
    with pytest.raises(ZeroDivisionError), gpu:
        raise ZeroDivisionError
    assert (nvml.opened, nvml.closed) == (1, 1)


# Spellings


def test_the_newer_spellings_are_asked_first(nvml: FakeNvml) -> None:
    nvml.handles[f"GPU-{FIRST}"].facts |= {"old temperature": 99, "old reasons": 0x8, "old processes": True}
    found = state_of()
    assert (found.temperature_celsius, found.throttle_reasons) == (61, ("power cap",))
    assert not [name for name in nvml.asked if name.startswith("old")]


@pytest.mark.parametrize("missing_in", ["the package", "the driver"])
def test_the_older_spellings_are_asked_where_the_newer_are_missing(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, missing_in: str
) -> None:
    board = nvml.handles[f"GPU-{FIRST}"]
    board.facts |= {"old temperature": 62, "old reasons": 0x80, "old processes": True}
    board.processes.append((1, 77))
    if missing_in == "the driver":
        for name in ("temperature", "reasons", "processes"):
            del board.facts[name]
    else:
        for name in ("TemperatureV", "CurrentClocksEventReasons", "ComputeRunningProcesses_v3"):
            monkeypatch.delattr(FakeNvml, f"nvmlDeviceGet{name}")
    found = state_of()
    assert (found.temperature_celsius, found.throttle_reasons) == (62, ("power brake",))
    assert found.other_memory_bytes == 77


def test_every_function_that_is_asked_is_one_of_the_package() -> None:
    asked = [name for name in vars(FakeNvml) if name.startswith("nvml")]
    assert len(asked) == 15
    assert [name for name in asked if not callable(getattr(pynvml, name, None))] == []


def test_the_package_calls_the_drivers_functions_with_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real wrappers, over a driver that is made up: signatures and units are not only believed."""
    driver = FakeDriver()
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", driver.function)
    board = pynvml.c_nvmlDevice_t()
    found = Gpu(pynvml, board, board).state()
    assert found == GpuState(
        power_watts=123.456,
        sm_clock_mhz=1501,
        memory_clock_mhz=1502,
        temperature_celsius=71,
        throttle_reasons=("thermal",),
        other_memory_bytes=4096,
        energy_joules=9.5,
        held_back_seconds={"power cap": 2.5},
    )


class FakeDriver:
    """The C functions, which write their answer where a pointer shows."""

    def function(self, name: str) -> Any:
        return getattr(self, name.removeprefix("nvmlDeviceGet"))

    def PowerUsage(self, handle: Any, answer: Any) -> int:  # noqa: N802
        return told(answer, 123_456)

    def TotalEnergyConsumption(self, handle: Any, answer: Any) -> int:  # noqa: N802
        return told(answer, 9_500)

    def ClockInfo(self, handle: Any, kind: Any, answer: Any) -> int:  # noqa: N802
        return told(answer, 1500 + kind.value)

    def TemperatureV(self, handle: Any, answer: Any) -> int:  # noqa: N802
        assert answer._obj.sensorType == pynvml.NVML_TEMPERATURE_GPU
        answer._obj.temperature = 71
        return int(pynvml.NVML_SUCCESS)

    def CurrentClocksEventReasons(self, handle: Any, answer: Any) -> int:  # noqa: N802
        return told(answer, pynvml.nvmlClocksEventReasonSwThermalSlowdown)

    def FieldValues(self, handle: Any, count: Any, answer: Any) -> int:  # noqa: N802
        for one in answer._obj[: count.value]:
            one.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
            if one.fieldId == pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP:
                one.nvmlReturn, one.value.ullVal = pynvml.NVML_SUCCESS, 2_500_000_000
        return int(pynvml.NVML_SUCCESS)

    def ComputeRunningProcesses_v3(self, handle: Any, count: Any, answer: Any) -> int:  # noqa: N802
        count._obj.value = 2
        if answer is None:
            return int(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
        answer[0].pid, answer[0].usedGpuMemory = os.getpid(), 1024
        answer[1].pid, answer[1].usedGpuMemory = 1, 4096
        return int(pynvml.NVML_SUCCESS)


def told(answer: Any, number: int) -> int:
    assert isinstance(answer._obj, ctypes.c_uint | ctypes.c_ulonglong | ctypes.c_uint64)
    answer._obj.value = number
    return int(pynvml.NVML_SUCCESS)


# Throttling


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("SwPowerCap", "power cap"),
        ("HwSlowdown", "hardware slowdown"),
        ("SyncBoost", "sync boost"),
        ("SwThermalSlowdown", "thermal"),
        ("HwThermalSlowdown", "thermal"),
        ("HwPowerBrakeSlowdown", "power brake"),
        ("BoardLimit", "board limit"),
        ("Reliability", "reliability"),
    ],
)
def test_each_reason_has_its_word(name: str, word: str) -> None:
    assert throttle_words(getattr(pynvml, f"nvmlClocksThrottleReason{name}")) == (word,)
    later = getattr(pynvml, f"nvmlClocksEventReason{name}", None)
    assert later is None or throttle_words(later) == (word,)


@pytest.mark.parametrize("name", ["None", "GpuIdle", "ApplicationsClocksSetting", "UserDefinedClocks"])
def test_rest_and_the_users_own_settings_are_no_throttling(name: str) -> None:
    assert throttle_words(getattr(pynvml, f"nvmlClocksEventReason{name}")) == ()


def test_a_displays_setting_is_no_throttling() -> None:
    assert throttle_words(pynvml.nvmlClocksEventReasonDisplayClockSetting) == ()


def test_all_that_the_package_knows_has_a_word_or_is_a_setting() -> None:
    known = pynvml.nvmlClocksEventReasonAll | pynvml.nvmlClocksThrottleReasonAll
    assert known == SETTINGS | sum(THROTTLE_WORDS)
    assert len(throttle_words(known)) == len(set(THROTTLE_WORDS.values()))


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("PERF_POLICY_POWER", "power cap"),
        ("PERF_POLICY_THERMAL", "thermal"),
        ("PERF_POLICY_SYNC_BOOST", "sync boost"),
        ("PERF_POLICY_BOARD_LIMIT", "board limit"),
        ("PERF_POLICY_RELIABILITY", "reliability"),
        ("CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN", "thermal"),
        ("CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN", "thermal"),
        ("CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN", "power brake"),
    ],
)
def test_each_counter_of_lost_time_has_its_word(field: str, word: str) -> None:
    assert HELD_BACK_WORDS[getattr(pynvml, f"NVML_FI_DEV_{field}")] == word


def test_of_several_counters_of_a_reason_the_largest_counts(nvml: FakeNvml) -> None:
    """They tell of the same time: the older one of heat, and those that part it by software and hardware."""
    nvml.handles[f"GPU-{FIRST}"].facts["held back"] = {75: 3_000_000_000, 269: 2_000_000_000, 270: 1_000_000_000}
    assert state_of().held_back_seconds == {"thermal": 3.0}


def test_a_driver_that_counts_none_of_the_reasons_tells_no_lost_time(nvml: FakeNvml) -> None:
    nvml.handles[f"GPU-{FIRST}"].facts["held back"] = {}
    assert state_of().held_back_seconds is None


def test_several_reasons_are_told_once_each() -> None:
    assert throttle_words(0x1 | 0x4 | 0x20 | 0x40) == ("power cap", "thermal")


def test_a_reason_of_a_later_driver_is_told_by_its_number() -> None:
    assert throttle_words(0x4 | 0x2 | 0x1000) == ("power cap", "reason 0x1000")


# Other processes


def test_alone_on_the_gpu_others_hold_zero(nvml: FakeNvml) -> None:
    assert state_of().other_memory_bytes == 0


@pytest.mark.parametrize("processes", [[], [(1, 4000)]])
def test_where_our_own_process_is_not_listed_nothing_is_told_of_others(
    nvml: FakeNvml, processes: list[tuple[int, int | None]]
) -> None:
    """In a container the list is empty, or its numbers are the host's."""
    nvml.handles[f"GPU-{FIRST}"].processes = processes
    assert state_of().other_memory_bytes is None


def test_a_process_that_holds_nobody_knows_how_much_makes_the_sum_none(nvml: FakeNvml) -> None:
    nvml.handles[f"GPU-{FIRST}"].processes += [(1, 4000), (2, None)]
    assert state_of().other_memory_bytes is None


def test_what_we_hold_ourselves_need_not_be_known(nvml: FakeNvml) -> None:
    nvml.handles[f"GPU-{FIRST}"].processes = [(os.getpid(), None), (1, 4000)]
    assert state_of().other_memory_bytes == 4000


# MIG


def test_a_mig_instance_has_its_own_processes_and_the_clocks_of_its_gpu(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = whole_gpu()
    board.processes.append((1, 9999))  # on another instance
    nvml.handles[f"MIG-{INSTANCE}"] = Handle({"processes": True}, [(os.getpid(), 100), (2, 30)], parent=board)
    visible(monkeypatch, INSTANCE)
    found = state_of()
    assert (found.sm_clock_mhz, found.temperature_celsius, found.throttle_reasons) == (1410, 61, ("power cap",))
    assert found.other_memory_bytes == 30


def test_power_and_energy_that_mig_instances_share_are_nobodys(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.handles[f"MIG-{INSTANCE}"] = Handle({"power": 5, "energy": 5}, parent=whole_gpu())
    visible(monkeypatch, INSTANCE)
    found = state_of()
    assert (found.power_watts, found.energy_joules) == (None, None)


def test_a_divided_gpu_that_is_seen_under_its_own_uuid_tells_only_what_is_true_of_all_its_parts(
    nvml: FakeNvml,
) -> None:
    before = asdict(state_of())
    nvml.handles[f"GPU-{FIRST}"].divided = True
    assert asdict(state_of()) == before | dict.fromkeys(("power_watts", "energy_joules", "other_memory_bytes"))


def test_a_gpu_that_could_be_divided_and_is_not_tells_everything(nvml: FakeNvml) -> None:
    before = state_of()
    nvml.handles[f"GPU-{FIRST}"].divided = False
    assert state_of() == before


def test_a_mig_instance_whose_gpu_is_hidden_is_none_and_nvml_let_go(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.handles[f"MIG-{INSTANCE}"] = Handle()
    visible(monkeypatch, INSTANCE)
    assert open_gpu("cuda") is None
    assert (nvml.opened, nvml.closed) == (1, 1)
