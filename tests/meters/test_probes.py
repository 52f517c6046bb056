"""Peaks of a machine: found among probes on a clock that is made up, kept in a file, compared with steps."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainmark.meters import probes
from trainmark.meters.clock import Block
from trainmark.meters.probes import (
    CPU_SIZES,
    GPU_SIZES,
    Convolution,
    Peaks,
    Probe,
    Sizes,
    add_probe,
    arithmetic_probes,
    best_rate,
    convolution_probe,
    copy_probe,
    load_peaks,
    measure_peaks,
    product_probe,
    store_peaks,
    sum_probe,
    traffic_probes,
    utilisation,
)

SMALL = Sizes(matrices=(8, 16), convolutions=(Convolution(2, 3, 4, 8),), cached=(64,), large=1024)
PEAKS = Peaks({"fp32": 1e12, "bf16": 8e12}, 5e11, 1e11, "cpu", 2, 3.5)


# Finding the largest rate


class Bench:
    """A clock that probes move, and a diary of what was called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.made: list[str] = []

    def clock(self, work: Callable[[], None]) -> Block:
        start = self.now
        work()
        return Block(self.now - start, None)

    def probe(self, name: str, amount: int, *seconds: float) -> Callable[[], Probe]:
        """A probe whose calls take these times, the last one from then on."""
        left = list(seconds)

        def work() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        def make() -> Probe:
            self.made.append(name)
            return Probe(amount, work)

        return make


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_fastest_probe_counts(bench: Bench) -> None:
    several = [bench.probe("a", 100, 0.002), bench.probe("b", 300, 0.004), bench.probe("c", 200, 0.004)]
    assert best_rate(bench.clock, several) == pytest.approx(75_000)


def test_the_best_call_of_a_probe_counts_and_not_the_mean(bench: Bench) -> None:
    probe = bench.probe("a", 100, 0.01, 0.01, 0.009, 0.005, 0.01)
    assert best_rate(bench.clock, [probe]) == pytest.approx(20_000)


def test_the_first_call_is_not_timed(bench: Bench) -> None:
    """It chooses kernels; here it is the fastest by an error."""
    assert best_rate(bench.clock, [bench.probe("a", 100, 0.001, 0.01)]) == pytest.approx(10_000)


def test_short_calls_are_timed_many_together(bench: Bench) -> None:
    blocks = []

    def clock(work: Callable[[], None]) -> Block:
        blocks.append(bench.clock(work))
        return blocks[-1]

    assert best_rate(clock, [bench.probe("a", 100, 1e-6)]) == pytest.approx(1e8)
    long = [block for block in blocks if block.seconds >= probes.BLOCK_SECONDS]
    assert sum(block.seconds for block in long) > 0.9 * sum(block.seconds for block in blocks)


def test_a_probe_far_below_the_best_is_timed_once_and_never_again(bench: Bench) -> None:
    several = [bench.probe("fast", 1000, 0.005), bench.probe("slow", 100, 0.005)]
    best_rate(bench.clock, several)
    assert bench.calls.count("slow") == 2  # the first call, and one that was timed
    assert bench.made == ["fast", "slow", "fast"]


def test_a_probe_near_the_best_is_looked_at_in_each_pass(bench: Bench) -> None:
    several = [bench.probe("a", 100, 0.01), bench.probe("b", 70, *[0.01] * 5, 0.005)]  # a neighbour left
    assert best_rate(bench.clock, several) == pytest.approx(14_000)
    assert bench.made == ["a", "b"] * probes.PASSES


def test_a_probe_that_would_take_too_long_is_not_begun(bench: Bench) -> None:
    longer = round(1.1 * probes.LONGEST_CALL * 1000)
    several = [bench.probe("a", 10, 0.01), bench.probe("long", longer, 0.01)]
    assert best_rate(bench.clock, several) == pytest.approx(1000)
    assert "long" not in bench.calls


def test_the_first_probe_is_run_however_large(bench: Bench) -> None:
    assert best_rate(bench.clock, [bench.probe("a", 10**6, 5.0)]) == pytest.approx(2e5)


def test_a_clock_too_coarse_for_a_call_is_no_division_by_zero(bench: Bench) -> None:
    ticks = iter(range(10**6))

    def coarse(work: Callable[[], None]) -> Block:
        work()
        return Block(0.0 if next(ticks) < 3 else 0.05, None)

    assert best_rate(coarse, [bench.probe("a", 100, 0.0)]) is not None


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError, torch.OutOfMemoryError])
def test_a_probe_that_cannot_run_is_left_out(bench: Bench, kind: type[Exception]) -> None:
    def fail() -> object:
        raise kind("no kernel for this")

    def fail_to_make() -> Probe:
        raise kind("no memory for this")

    several = [lambda: Probe(100, fail), fail_to_make, bench.probe("a", 100, 0.01)]
    assert best_rate(bench.clock, several) == pytest.approx(10_000)


def test_where_no_probe_can_run_there_is_no_rate(bench: Bench) -> None:
    def fail() -> Probe:
        raise NotImplementedError

    assert best_rate(bench.clock, [fail]) is None
    assert best_rate(bench.clock, []) is None


def test_an_error_of_our_own_is_not_taken_for_a_machines_limit(bench: Bench) -> None:
    def fail() -> Probe:
        raise TypeError

    with pytest.raises(TypeError):
        best_rate(bench.clock, [fail])


# What the probes do


def counted(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("number", range(len(arithmetic_probes("cpu", "float32", SMALL))))
def test_each_arithmetic_probe_does_as_many_operations_as_it_says(number: int) -> None:
    probe = arithmetic_probes("cpu", "float32", SMALL)[number]()
    assert probe.amount == counted(probe.work) > 0


def test_products_and_convolutions_are_probed_in_all_their_forms() -> None:
    amounts = sorted(make().amount for make in arithmetic_probes("cpu", "float32", SMALL))
    forward = SMALL.convolutions[0].flops
    assert amounts == sorted([2 * 8**3] * 2 + [2 * 16**3] * 2 + [forward] * 2 + [2 * forward] * 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_computed_in_its_dtype_of_numbers_that_are_not_zero(dtype: str, biased: bool) -> None:
    result = product_probe("cpu", dtype, 16, biased).work()
    assert isinstance(result, torch.Tensor)
    assert result.dtype == getattr(torch, dtype)
    assert len(result.unique()) > 200


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_convolution_is_computed_in_its_dtype_and_memory_format(dtype: str, channels_last: bool) -> None:
    shape = Convolution(2, 3, 4, 8)
    result = convolution_probe("cpu", dtype, shape, channels_last, backward=False).work()
    assert isinstance(result, torch.Tensor)
    assert result.shape == (2, 4, 8, 8)
    assert result.dtype == getattr(torch, dtype)
    assert result.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert len(result.unique()) > 100


def test_a_backward_probe_gives_both_gradients_each_time() -> None:
    probe = convolution_probe("cpu", "float32", Convolution(2, 3, 4, 8), channels_last=True, backward=True)
    for _ in range(2):
        gradients: Any = probe.work()
        assert [tuple(gradient.shape) for gradient in gradients] == [(2, 3, 8, 8), (4, 3, 3, 3)]


def test_the_bytes_of_a_probe_are_those_read_and_written() -> None:
    assert copy_probe("cpu", 10).amount == 10 * (4 + 4)
    assert sum_probe("cpu", 10).amount == 10 * 4
    assert add_probe("cpu", 10).amount == 10 * (4 + 4 + 4)


def test_traffic_probes_do_what_they_are_named_for() -> None:
    for make in (copy_probe, add_probe, sum_probe):
        result: Any = make("cpu", 4).work()
        assert result.tolist() == {"copy_probe": [0, 1, 2, 3], "add_probe": [0, 2, 4, 6], "sum_probe": 6}[make.__name__]


def test_traffic_is_probed_at_each_size_that_a_cache_holds() -> None:
    amounts = {make().amount for make in traffic_probes("cpu", replace(SMALL, cached=(10, 100)))}
    assert {80, 40, 120, 800, 400, 1200} <= amounts


@pytest.mark.parametrize("sizes", [CPU_SIZES, GPU_SIZES])
def test_sizes_grow_so_that_small_probes_tell_whether_large_ones_take_too_long(sizes: Sizes) -> None:
    assert list(sizes.matrices) == sorted(sizes.matrices)
    flops = [shape.flops for shape in sizes.convolutions]
    assert flops == sorted(flops)
    assert max(sizes.cached) * 16 <= sizes.large


# All of it


@dataclass(frozen=True)
class Setting:
    """What was set when the probes of a precision ran."""

    dtype: str
    matmul: str
    device: str


def measured(**changed: Any) -> Peaks:
    given: dict[str, Any] = {"device": "cpu", "precisions": ("fp32", "bf16"), "threads": 1, "sizes": SMALL}
    given |= changed
    return measure_peaks(
        given["device"], given["precisions"], given["threads"], lambda doing: None, Path(), sizes=given["sizes"]
    )


@pytest.fixture
def unchanged_torch() -> Any:
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    allowed = torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = allowed


def test_peaks_are_found_for_real(unchanged_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_SECONDS", 1e-4)
    found = measured()
    assert set(found.flops_per_second) == {"fp32", "bf16"}
    assert found.copy_bytes_per_second is not None and found.bytes_per_second is not None
    assert min(*found.flops_per_second.values(), found.copy_bytes_per_second) > 0
    assert found.bytes_per_second >= found.copy_bytes_per_second
    assert (found.device, found.threads) == ("cpu", 1)
    assert found.seconds_taken > 0
    assert torch.get_num_threads() == 1
    assert pickle.loads(pickle.dumps(found)) == found


def test_each_precision_is_probed_in_its_own_arithmetic(unchanged_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Setting] = []
    told: list[str] = []

    def look(device: str, dtype: str, sizes: Sizes) -> list[Callable[[], Probe]]:
        assert sizes is SMALL
        seen.append(Setting(dtype, torch.get_float32_matmul_precision(), device))
        return []

    monkeypatch.setattr(probes, "arithmetic_probes", look)
    monkeypatch.setattr(probes, "PROBE_SECONDS", 1e-4)
    torch.set_float32_matmul_precision("medium")
    found = measure_peaks("cpu", ("fp32", "tf32", "bf16", "fp16"), 1, told.append, Path(), sizes=SMALL)
    assert seen == [
        Setting("float32", "highest", "cpu"),
        Setting("float32", "high", "cpu"),
        Setting("bfloat16", "highest", "cpu"),
        Setting("float16", "highest", "cpu"),
    ]
    assert found.flops_per_second == {}  # nothing could run
    assert [word for line in told for word in line.split() if word in probes.DTYPES] == list(probes.DTYPES)


def test_peaks_are_the_largest_of_what_was_found(unchanged_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([7.0, 50.0, 20.0])
    monkeypatch.setattr(probes, "best_rate", lambda clock, several: next(rates))
    found = measured(precisions=("fp32",))
    assert (found.flops_per_second, found.copy_bytes_per_second, found.bytes_per_second) == ({"fp32": 7.0}, 50.0, 50.0)
    rates = iter([None, None, 20.0])
    found = measured(precisions=("fp32",))
    assert (found.flops_per_second, found.copy_bytes_per_second, found.bytes_per_second) == ({}, None, 20.0)
    rates = iter([None, None, None])
    assert measured(precisions=("fp32",)).bytes_per_second is None


@pytest.mark.parametrize(("device", "sizes"), [("cpu", CPU_SIZES), ("cuda", GPU_SIZES), ("mps", GPU_SIZES)])
def test_a_device_has_its_clock_and_its_sizes(
    unchanged_torch: None, monkeypatch: pytest.MonkeyPatch, device: str, sizes: Sizes
) -> None:
    from trainmark.meters.clock import clock_of

    asked: list[object] = []
    monkeypatch.setattr(probes, "arithmetic_probes", lambda device, dtype, sizes: asked.append((device, sizes)))
    monkeypatch.setattr(probes, "best_rate", lambda clock, several: asked.append(clock))
    measured(device=device, precisions=("fp32",), sizes=None)
    assert asked == [(device, sizes), *[clock_of(device)] * 3]


def test_peaks_are_read_and_compared_without_torch() -> None:
    """The process that runs a session neither imports torch nor touches a device."""
    code = (
        f"import pickle, sys; pickle.loads({pickle.dumps(PEAKS)!r}); "
        "import trainmark.meters.probes; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Keeping


def test_stored_peaks_are_found_again(tmp_path: Path) -> None:
    path = store_peaks(tmp_path / "new" / "folder", "abc", PEAKS)
    assert load_peaks(tmp_path / "new" / "folder", "abc", "cpu", 2) == PEAKS
    assert list(path.parent.iterdir()) == [path]


def test_peaks_that_are_not_known_are_kept_as_such(tmp_path: Path) -> None:
    some = replace(PEAKS, flops_per_second={}, bytes_per_second=None, copy_bytes_per_second=None)
    store_peaks(tmp_path, "abc", some)
    assert load_peaks(tmp_path, "abc", "cpu", 2) == some


def test_peaks_hold_for_their_machine_device_and_threads_alone(tmp_path: Path) -> None:
    store_peaks(tmp_path, "abc", PEAKS)
    store_peaks(tmp_path, "abc", replace(PEAKS, threads=1, bytes_per_second=1.0))
    store_peaks(tmp_path, "abc", replace(PEAKS, device="cuda", bytes_per_second=2.0))
    store_peaks(tmp_path, "def", replace(PEAKS, bytes_per_second=3.0))
    assert load_peaks(tmp_path, "abc", "cpu", 2) == PEAKS
    assert load_peaks(tmp_path, "abc", "cpu", 1) == replace(PEAKS, threads=1, bytes_per_second=1.0)
    assert load_peaks(tmp_path, "abc", "cuda", 2) == replace(PEAKS, device="cuda", bytes_per_second=2.0)
    for other in (("abc", "cuda:1", 2), ("abc", "cpu", 4), ("xyz", "cpu", 2)):
        assert load_peaks(tmp_path, *other) is None


def test_newer_peaks_take_the_place_of_older(tmp_path: Path) -> None:
    store_peaks(tmp_path, "abc", PEAKS)
    newer = replace(PEAKS, bytes_per_second=9e12)
    store_peaks(tmp_path, "abc", newer)
    assert load_peaks(tmp_path, "abc", "cpu", 2) == newer


def test_a_reader_never_sees_a_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_peaks(tmp_path, "abc", PEAKS)
    seen = []
    replace_file = Path.replace

    def look_and_replace(path: Path, target: Path) -> Path:
        seen.append(load_peaks(tmp_path, "abc", "cpu", 2))  # all is written by now, under another name
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", look_and_replace)
    store_peaks(tmp_path, "abc", replace(PEAKS, bytes_per_second=1.0))
    assert seen == [PEAKS]


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert load_peaks(tmp_path / "nothing", "abc", "cpu", 2) is None


def damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def of(content: bytes) -> bytes:
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return of


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff\xfe" + content,
        lambda content: b"[]",
        lambda content: b"null",
        damaged(lambda document: document.pop("peaks")),
        damaged(lambda document: document.update(peaks=[])),
        damaged(lambda document: document.update(probes_version=0)),
        damaged(lambda document: document.pop("probes_version")),
        damaged(lambda document: document.update(fingerprint="xyz")),
        damaged(lambda document: document["peaks"].pop("threads")),
        damaged(lambda document: document["peaks"].update(threads=3)),
        damaged(lambda document: document["peaks"].update(device="cuda")),
        damaged(lambda document: document["peaks"].update(flops_per_second=None)),
        damaged(lambda document: document["peaks"].update(flops_per_second={"fp32": "fast"})),
        damaged(lambda document: document["peaks"].update(flops_per_second={"fp32": 0.0})),
        damaged(lambda document: document["peaks"].update(bytes_per_second=-1.0)),
        damaged(lambda document: document["peaks"].update(bytes_per_second=float("inf"))),
        damaged(lambda document: document["peaks"].update(copy_bytes_per_second=float("nan"))),
    ],
)
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = store_peaks(tmp_path, "abc", PEAKS)
    path.write_bytes(damage(path.read_bytes()))
    assert load_peaks(tmp_path, "abc", "cpu", 2) is None


# Utilisation


def test_utilisation_is_what_was_done_over_what_can_be_done() -> None:
    found = utilisation(flops_per_step=2e9, bytes_per_step=1e8, step_seconds=0.004, precision="fp32", peaks=PEAKS)
    assert found == {
        "achieved_flops_per_second": pytest.approx(5e11),
        "flops_utilisation": pytest.approx(0.5),
        "achieved_bytes_per_second": pytest.approx(2.5e10),
        "bytes_utilisation": pytest.approx(0.05),
        "arithmetic_intensity": pytest.approx(20.0),
        "ridge_intensity": pytest.approx(10.0),
    }


def test_a_precision_has_its_own_peak_and_its_own_ridge() -> None:
    found = utilisation(2e9, 1e8, 0.004, "bf16", PEAKS)
    assert found["flops_utilisation"] == pytest.approx(0.0625)
    assert found["ridge_intensity"] == pytest.approx(80.0)


def test_the_ridge_is_where_peak_arithmetic_meets_a_copy_out_of_caches() -> None:
    peaks = replace(PEAKS, flops_per_second={"fp32": 6e11}, bytes_per_second=9e12, copy_bytes_per_second=2e10)
    assert utilisation(1e9, 1e8, 1.0, "fp32", peaks)["ridge_intensity"] == pytest.approx(30.0)


def test_what_limits_a_step_does_not_depend_on_its_time() -> None:
    found = utilisation(2e9, 1e8, None, "fp32", PEAKS)
    assert found == {
        "achieved_flops_per_second": None,
        "flops_utilisation": None,
        "achieved_bytes_per_second": None,
        "bytes_utilisation": None,
        "arithmetic_intensity": pytest.approx(20.0),
        "ridge_intensity": pytest.approx(10.0),
    }


def none_of(**changed: Any) -> set[str]:
    given: dict[str, Any] = {
        "flops_per_step": 2e9,
        "bytes_per_step": 1e8,
        "step_seconds": 0.004,
        "precision": "fp32",
        "peaks": PEAKS,
    }
    return {name for name, value in utilisation(**(given | changed)).items() if value is None}


def test_what_is_missing_makes_none_of_what_needs_it_and_of_nothing_else() -> None:
    assert none_of() == set()
    intensity = {"arithmetic_intensity"}
    assert none_of(flops_per_step=None) == {"achieved_flops_per_second", "flops_utilisation"} | intensity
    assert none_of(bytes_per_step=None) == {"achieved_bytes_per_second", "bytes_utilisation"} | intensity
    assert none_of(peaks=None) == {"flops_utilisation", "bytes_utilisation", "ridge_intensity"}
    assert none_of(precision="fp16") == {"flops_utilisation", "ridge_intensity"}
    assert none_of(peaks=replace(PEAKS, bytes_per_second=None)) == {"bytes_utilisation"}
    assert none_of(peaks=replace(PEAKS, copy_bytes_per_second=None)) == {"ridge_intensity"}


def test_a_step_without_operations_is_zero_and_not_none() -> None:
    found = utilisation(0, 1e8, 0.004, "fp32", PEAKS)
    assert found["flops_utilisation"] == 0
    assert found["arithmetic_intensity"] == 0


def test_a_step_that_moves_nothing_has_no_intensity() -> None:
    found = utilisation(2e9, 0, 0.004, "fp32", PEAKS)
    assert found["bytes_utilisation"] == 0
    assert found["arithmetic_intensity"] is None
