"""Profiles: of a small model, really taken on the CPU, and of a GPU that is made up."""

from __future__ import annotations

import getpass
import gzip
import json
import math
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainmark.measure.settings import Settings
from trainmark.measure.steps import prepare
from trainmark.meters import profiler as profiling
from trainmark.meters.flops import call_flops, count_flops, flops_of_call
from trainmark.meters.profiler import (
    ROWS,
    SHAPES_LENGTH,
    anonymous_trace,
    measure_profile,
    operator_rows,
    profile_steps,
    public_name,
    shapes_text,
)
from trainmark.store.cell import Cell
from trainmark.store.profiles import OTHERS, Operator, Profile, list_profiles, profile_path, read_profile, trace_path

CELL = Cell.of("train")
STEPS = 3


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_training() -> Callable[[], Tensor]:
    """A step of a small MLP: three linear layers of 256."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    images, labels = torch.randn(128, 64), torch.randint(10, (128,))

    def advance() -> Tensor:
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return advance


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which one small training was profiled."""
    folder = tmp_path_factory.mktemp("run") / "not" / "there"
    advance = small_training()
    advance()
    profile_steps(advance, CELL, folder, steps=STEPS)
    return folder


@pytest.fixture(scope="module")
def taken(artifacts: Path) -> Profile:
    return read_profile(profile_path(artifacts, CELL.key))


@pytest.fixture(scope="module")
def trace(artifacts: Path) -> Any:
    return json.loads(gzip.decompress(trace_path(artifacts, CELL.key).read_bytes()))


def rows_named(profile: Profile, name: str) -> list[Operator]:
    return [row for row in profile.operators if row.name == name]


# The table


def test_the_profile_is_of_the_cell(artifacts: Path, taken: Profile) -> None:
    assert list_profiles(artifacts) == [taken]
    assert (taken.key, taken.label, taken.device) == (CELL.key, CELL.label, "cpu")
    assert taken.steps == 2  # the quicker half of three, rounded up


def test_nothing_unfinished_is_left(artifacts: Path) -> None:
    assert set(artifacts.iterdir()) == {profile_path(artifacts, CELL.key), trace_path(artifacts, CELL.key)}


def test_the_linear_layers_are_rows_of_their_own(taken: Profile) -> None:
    assert {row.shapes for row in rows_named(taken, "aten::addmm")} == {
        "256, 128x64, 64x256",
        "256, 128x256, 256x256",
        "10, 128x256, 256x10",
    }


def test_calls_are_counted_in_a_step(taken: Profile) -> None:
    assert [row.calls_per_step for row in rows_named(taken, "aten::addmm")] == [1.0] * 3
    assert sum(row.calls_per_step for row in rows_named(taken, "aten::mm")) == 5.0  # two a layer, one for the first
    assert sum(row.calls_per_step for row in rows_named(taken, "aten::relu")) == 2.0


def test_self_times_add_up_to_the_step(taken: Profile) -> None:
    own = [row.self_seconds_per_step for row in taken.operators]
    assert min(own) >= 0
    assert max(own) > 0
    assert 0.1 * taken.step_seconds < sum(own) <= 1.05 * taken.step_seconds
    assert taken.between_seconds == pytest.approx(taken.step_seconds - sum(own))


def test_the_total_time_holds_the_self_time(taken: Profile) -> None:
    assert all(row.total_seconds_per_step >= row.self_seconds_per_step - 1e-9 for row in taken.operators)
    (linear,) = [row for row in rows_named(taken, "aten::linear") if "256x256" in row.shapes]
    (addmm,) = [row for row in rows_named(taken, "aten::addmm") if "256x256" in row.shapes]
    assert linear.total_seconds_per_step > addmm.self_seconds_per_step


def test_rows_have_the_longest_first(taken: Profile) -> None:
    own = [row.self_seconds_per_step for row in taken.operators if row.name != OTHERS]
    assert own == sorted(own, reverse=True)


def test_flops_and_memory_are_those_of_a_step(taken: Profile) -> None:
    (addmm,) = [row for row in rows_named(taken, "aten::addmm") if "256x256" in row.shapes]
    assert addmm.flops_per_step == 2 * 128 * 256 * 256
    assert addmm.allocated_bytes_per_step == 128 * 256 * 4
    assert {row.flops_per_step for row in rows_named(taken, "aten::relu")} == {None}


@pytest.mark.parametrize("axes", [{}, {"precision": "bf16"}, {"memory_format": "channels_last"}])
@pytest.mark.parametrize("workload", ["train", "inference"])
def test_the_rows_of_a_step_hold_all_of_its_flops(workload: str, axes: dict[str, str], tmp_path: Path) -> None:
    """Convolutions forward and backward, and products: as many as the model's own count."""
    cell = Cell.of(workload, model="cnn", batch_size=4, **axes)
    steps = prepare(cell, Settings(), tmp_path)
    with steps.context:
        steps.advance()
        taken = measure_profile(steps.advance, cell, steps=1)
    assert steps.model is not None and steps.shape is not None
    whole = count_flops(steps.model, steps.shape, training=workload == "train")
    assert sum(row.flops_per_step or 0 for row in taken.operators) == whole
    emulated = cell["precision"] == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    kinds = {"aten::_slow_conv2d_forward" if emulated else "aten::mkldnn_convolution", "aten::addmm"}
    kinds |= {"aten::convolution_backward", "aten::mm"} if workload == "train" else set()
    # The smallest of them may be among the others, where a neighbour made more than a hundred rows longer.
    assert kinds <= {row.name for row in taken.operators}
    assert {row.name for row in taken.operators if row.flops_per_step} <= kinds | {OTHERS}


def test_calls_that_read_alike_and_differ_have_no_flops() -> None:
    """Two convolutions of the same images and as many weights, with one stride and with another."""
    images, weights, bias = torch.ones(1, 2, 8, 8), torch.ones(3, 2, 3, 3), torch.ones(3)
    conv2d = nn.functional.conv2d
    shapes: list[list[int]] = [[1, 2, 8, 8], [3, 2, 3, 3], [3], [], []]
    known = call_flops(lambda: conv2d(images, weights, bias, padding=1))
    assert flops_of_call("aten::mkldnn_convolution", shapes, known) == 2 * 8 * 8 * 3 * 2 * 9
    assert flops_of_call("aten::cudnn_convolution", shapes[:2], known) == 2 * 8 * 8 * 3 * 2 * 9  # adds no bias itself
    assert flops_of_call("aten::convolution", shapes, known) is None  # its kernel has them
    both = call_flops(lambda: (conv2d(images, weights, bias, padding=1), conv2d(images, weights, bias, stride=2)))
    assert flops_of_call("aten::mkldnn_convolution", shapes, both) is None


def test_a_compiled_step_has_the_flops_that_the_profiler_knows() -> None:
    (row,) = operator_rows([average("aten::mm", 1.0, shapes=[[2, 3], [3, 4]], flops=96)], steps=1)
    assert row.flops_per_step == 96
    (row,) = operator_rows([average("aten::mm", 1.0, shapes=[[2, 3], [3, 4]], flops=96)], 1, known={})
    assert row.flops_per_step is None
    lists = [[[2, 3], [3, 4]], [3]]
    (row,) = operator_rows([average("aten::_foreach_add_", 1.0, shapes=lists)], 1, known={})
    assert row.flops_per_step is None


def test_a_cpu_has_no_device_times_and_no_kernels(taken: Profile) -> None:
    assert {row.device_seconds_per_step for row in taken.operators} == {None}
    assert {row.kind for row in taken.operators} == {"operator"}


def test_the_slower_half_of_the_steps_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up clock: each second step is disturbed for 100 seconds."""
    told = iter([9.0, 1.0, 100.0, 1.2, 100.0, 100.0])  # the first warms the profiler up

    def clock(work: Callable[[], None]) -> SimpleNamespace:
        work()
        return SimpleNamespace(waited_seconds=next(told))

    monkeypatch.setattr(profiling, "clock_of", lambda device: clock)
    taken = measure_profile(lambda: torch.ones(3).add(1), CELL, steps=4)
    assert taken.steps == 2
    assert taken.step_seconds == pytest.approx(1.1)
    assert [row.calls_per_step for row in rows_named(taken, "aten::add")] == [1.0]


def test_every_step_is_taken_once(tmp_path: Path) -> None:
    calls = []

    def advance() -> Tensor:
        calls.append(1)
        return torch.ones(2)

    profile_steps(advance, CELL, tmp_path, steps=6)
    assert len(calls) == 1 + 1 + 6 + 3  # for FLOPs, to warm up, for the table, for the trace


# Rows of averages that are made up


def average(
    key: str, own: float, *, device: str = "CPU", on_device: float = 0.0, shapes: Any = (), **parts: Any
) -> SimpleNamespace:
    """What PyTorch's profiler tells of an operator; times in microseconds."""
    defaults = {
        "count": 4,
        "cpu_time_total": own,
        "flops": 0,
        "self_cpu_memory_usage": 8,
        "self_device_memory_usage": 16,
        "is_async": False,
        "is_user_annotation": False,
    }
    return SimpleNamespace(
        key=key,
        self_cpu_time_total=own,
        self_device_time_total=on_device,
        input_shapes=shapes,
        device_type=SimpleNamespace(name=device),
        **(defaults | parts),
    )


def test_kernels_become_rows_of_their_own_kind() -> None:
    events = [
        average("aten::mm", 30.0, on_device=400.0, shapes=[[2, 3], [3, 4]], flops=96),
        average("void gemm<float>()", 0.0, device="CUDA", on_device=400.0),
    ]
    kernel, operator = operator_rows(events, steps=2)
    assert (kernel.kind, operator.kind) == ("kernel", "operator")
    assert kernel.self_seconds_per_step == kernel.device_seconds_per_step == pytest.approx(200e-6)
    assert kernel.allocated_bytes_per_step is None
    assert operator.self_seconds_per_step == pytest.approx(15e-6)
    assert operator.device_seconds_per_step == pytest.approx(200e-6)
    assert (operator.shapes, operator.calls_per_step, operator.flops_per_step) == ("2x3, 3x4", 2.0, 48.0)
    assert operator.allocated_bytes_per_step == 8.0  # of the device


def test_an_operator_without_kernels_took_no_device_time_where_others_have_some() -> None:
    rows = operator_rows([average("aten::t", 1.0), average("k", 0.0, device="CUDA", on_device=5.0)], steps=1)
    assert [row.device_seconds_per_step for row in rows] == [pytest.approx(5e-6), 0.0]


def test_a_range_drawn_on_the_device_is_not_counted_twice() -> None:
    events = [
        average("Optimizer.step", 7.0, is_user_annotation=True),
        average("Optimizer.step", 0.0, device="CUDA", on_device=900.0, is_user_annotation=True),
        average("k", 0.0, device="CUDA", on_device=900.0),
    ]
    assert [(row.name, row.kind) for row in operator_rows(events, 1)] == [
        ("k", "kernel"),
        ("Optimizer.step", "operator"),
    ]


def test_memory_given_back_is_no_row() -> None:
    assert [row.name for row in operator_rows([average("[memory]", 0.0), average("aten::mm", 1.0)], 1)] == ["aten::mm"]


def test_a_range_that_overlaps_others_is_left_out() -> None:
    assert operator_rows([average("waits", 1e6, is_async=True)], 1) == ()


def test_the_same_operator_of_several_steps_is_one_row() -> None:
    (row,) = operator_rows([average("aten::mm", 10.0, shapes=[[2, 2]], flops=6) for _ in range(2)], steps=2)
    assert (row.calls_per_step, row.flops_per_step) == (4.0, 6.0)
    assert row.self_seconds_per_step == pytest.approx(10e-6)


def test_what_is_beyond_the_longest_rows_is_summed_up() -> None:
    events = [average(f"op{number}", float(number), flops=2) for number in range(1, ROWS + 21)]
    rows = operator_rows(events, steps=1)
    assert len(rows) == ROWS + 1
    assert (rows[0].name, rows[-1].name) == (f"op{ROWS + 20}", OTHERS)
    assert rows[-1].self_seconds_per_step == pytest.approx(sum(range(1, 21)) * 1e-6)
    assert (rows[-1].calls_per_step, rows[-1].flops_per_step) == (80.0, 40)
    assert sum(row.self_seconds_per_step for row in rows) == pytest.approx(sum(range(1, ROWS + 21)) * 1e-6)


def test_as_many_rows_as_are_kept_need_no_sum() -> None:
    rows = operator_rows([average(f"op{number}", 1.0) for number in range(ROWS)], steps=1)
    assert len(rows) == ROWS
    assert OTHERS not in {row.name for row in rows}


def test_shapes_are_those_of_tensors() -> None:
    assert shapes_text([[128, 64], [], [10]]) == "128x64, 10"
    assert shapes_text([[[2, 3], [4]], [5]]) == "(2x3, 4), 5"
    assert shapes_text(None) == ""


def test_shapes_that_are_too_long_stay_different() -> None:
    one, other = ([[[8, 8]] * 100 + [[last]]] for last in (1, 2))
    assert len(shapes_text(one)) <= SHAPES_LENGTH + 8
    assert shapes_text(one) != shapes_text(other)


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("aten::addmm", "aten::addmm"),
        ("Torch-Compiled Region: 0/0", "Torch-Compiled Region: 0/0"),
        ("void f<a::b<int> >(int*, float/int)", "void f<a::b<int> >(int*, float/int)"),
        ("/home/ada/models/net.py(12): forward", "net.py(12): forward"),
        ("load /home/ada/my-data/x.bin twice", "load x.bin twice"),
        (r"C:\Users\ada\net.py(3)", "net.py(3)"),
        ("## Call CompiledFxGraph fcgh6ri5vsaa2so75r ##", "## Call CompiledFxGraph ##"),
    ],
)
def test_names_lose_folders_and_hashes(name: str, public: str) -> None:
    assert public_name(name) == public


# The trace


REQUIRED = {"X": {"dur"}, "s": {"id"}, "f": {"id"}, "i": {"s"}, "M": {"args"}}


def test_the_trace_is_of_events_that_a_viewer_reads(trace: Any) -> None:
    assert len(trace["traceEvents"]) > 100
    for event in trace["traceEvents"]:
        assert {"name", "ph", "ts", "pid", "tid"} | REQUIRED[event["ph"]] <= event.keys()
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert math.isfinite(event["ts"])
        assert event["ts"] >= 0
        assert event.get("dur", 0) >= 0


def test_the_trace_shows_each_of_three_steps(trace: Any) -> None:
    steps = [event for event in trace["traceEvents"] if event["name"].startswith("step ")]
    assert [event["name"] for event in steps] == ["step 1", "step 2", "step 3"]
    layers = [event for event in trace["traceEvents"] if event["name"] == "aten::addmm"]
    assert len(layers) == 9
    for event in layers:
        inside = [step for step in steps if step["ts"] <= event["ts"] <= step["ts"] + step["dur"]]
        assert len(inside) == 1


def test_the_trace_tells_shapes_and_links_to_the_backward_pass(trace: Any) -> None:
    (first, *_) = [event for event in trace["traceEvents"] if event["name"] == "aten::addmm"]
    assert first["args"]["Input Dims"][:3] == [[256], [128, 64], [64, 256]]
    starts, ends = ({event["id"] for event in trace["traceEvents"] if event["ph"] == phase} for phase in "sf")
    assert starts == ends != set()


def test_the_clock_of_the_trace_starts_at_zero(trace: Any) -> None:
    assert min(event["ts"] for event in trace["traceEvents"] if event["ph"] != "M") == 0
    assert max(event["ts"] for event in trace["traceEvents"]) < 60e6


def test_the_trace_names_neither_host_nor_user_nor_folders(artifacts: Path, trace: Any) -> None:
    assert set(trace) == {"schemaVersion", "displayTimeUnit", "traceEvents"}
    words = {word for event in trace["traceEvents"] for word in strings(event)}
    host, user = socket.gethostname(), getpass.getuser()
    for word in words:
        assert not re.search(rf"\b({re.escape(host)}|{re.escape(user)})\b", word)
        assert str(Path.home()) not in word
        assert not re.search(r"(^|\s)(/\w+){2,}", word)
    packed = trace_path(artifacts, CELL.key).read_bytes()
    assert packed[3] == 0  # no file name in the header of gzip
    assert packed[4:8] == bytes(4)  # nor a moment


def strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield name
            yield from strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from strings(value)
    elif isinstance(tree, str):
        yield tree


def test_what_a_trace_of_a_gpu_would_tell_of_its_machine_is_left_out() -> None:
    secret = "ada-laptop"
    events = [
        {"ph": "M", "name": "process_name", "pid": 7, "tid": 0, "ts": 5.0, "args": {"name": f"python {secret}"}},
        {"ph": "M", "name": "process_labels", "pid": 0, "tid": 0, "ts": 5.0, "args": {"labels": "GPU 0"}},
        {"ph": "M", "name": "thread_name", "pid": 0, "tid": 7, "ts": 5.0, "args": {"name": "stream 7 "}},
        {"ph": "M", "name": "thread_name", "pid": 7, "tid": 9, "ts": 5.0, "args": {"name": f"thread 9 ({secret})"}},
        {"ph": "M", "name": "process_host", "pid": 7, "tid": 9, "ts": 5.0, "args": {"name": secret}},
        {"ph": "X", "name": "span", "pid": "Spans", "tid": secret, "ts": 1.0, "dur": 1.0},
        {
            **{"ph": "X", "cat": "kernel", "name": "triton_fused", "pid": 0, "tid": 7, "ts": 105.0, "dur": 2.0},
            "args": {"stream": 7, "grid": [1, 1, 1], "kernel_file": f"/tmp/{secret}/x.py", "correlation": 3},
        },
        {"ph": "s", "cat": "ac2g", "name": "ac2g", "pid": 7, "tid": 9, "ts": 102.0, "id": 3, "host": secret},
    ]
    document = {"host_name": secret, "traceName": f"/home/{secret}/t.json", "traceEvents": events, "env": {"A": secret}}
    clean = anonymous_trace(document)
    assert secret not in json.dumps(clean)
    assert clean["traceEvents"][0]["args"] == {"name": "trainmark"}
    assert [event["args"]["name"].strip() for event in clean["traceEvents"] if event["name"] == "thread_name"] == [
        "stream 7",
        "thread 9",
    ]
    (kernel,) = [event for event in clean["traceEvents"] if event["name"] == "triton_fused"]
    assert kernel["args"] == {"stream": 7, "grid": [1, 1, 1], "correlation": 3}
    assert (kernel["ts"], kernel["dur"]) == (3.0, 2.0)


@pytest.mark.parametrize("device", ["cuda", "xpu", "mps"])
def test_a_device_that_the_profiler_knows_is_watched(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(profiling, "profile", lambda **options: asked.update(options))
    profiling._profiler(device, with_memory=True)
    names = [activity.name for activity in asked["activities"]]
    assert names == {"cuda": ["CPU", "CUDA"], "xpu": ["CPU", "XPU"], "mps": ["CPU"]}[device]
    assert asked["record_shapes"] and asked["profile_memory"] and asked["with_flops"]
