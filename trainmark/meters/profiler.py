"""Where the time of a step goes: its operators and kernels in a table, and some steps as a trace."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from trainmark.meters.call_paths import call_tree, public_name
from trainmark.meters.clock import Clock, clock_of
from trainmark.meters.flops import Call, call_flops, flops_of_call
from trainmark.meters.timeline import record_timeline
from trainmark.scratch import scratch
from trainmark.store.cell import Cell
from trainmark.store.files import write_bytes
from trainmark.store.profiles import OTHERS, Operator, Profile, trace_path, write_profile, write_timeline

ROWS = 100  # of each kind; below the hundredth an operator takes less than 1% of what they take together
TRACED_STEPS = 3  # enough to see what repeats; a step of a ResNet-18 is about 5,000 events
SHAPES_LENGTH = 120  # characters; an optimizer is given every parameter at once
DIGITS = 10  # after the point of seconds: the profiler tells nanoseconds

ACTIVITIES = {"cuda": ProfilerActivity.CUDA, "xpu": ProfilerActivity.XPU}  # MPS has none: host alone

# What a trace keeps of an event, all else could name the machine or its user. Links between operators,
# their backward passes and kernels; what they were given; how a kernel was launched.
KEPT = ("name", "ph", "cat", "ts", "dur", "pid", "tid", "id", "bp", "s")
KEPT_DETAILS = {
    *("External id", "Sequence number", "Fwd thread id", "correlation"),
    *("Input Dims", "Input type"),
    *("device", "stream", "grid", "block", "registers per thread", "shared memory"),
    *("blocks per SM", "warps per SM", "est. achieved occupancy %"),
    *("bytes", "memory bandwidth (GB/s)"),
}
METADATA = {"process_labels", "process_sort_index", "thread_sort_index"}  # their names are given anew


def profile_steps(advance: Callable[[], Tensor], cell: Cell, folder: Path, steps: int = 10) -> None:
    """Stores the table of operators of some steps, a trace of a few more, and on CUDA the memory of one.

    A pass of its own, after the cell was timed: a profiled step takes up to 2.7 times as long,
    and nothing of this is in a record. Takes ``steps`` + 6 steps at most.

    Args:
        advance: Does a step, in the context that the cell's steps need; warm already.
        cell: What is profiled.
        folder: Of the run's artifacts; made where it is missing.
        steps: To profile; the table is the mean of the quicker half.
    """
    write_profile(folder, measure_profile(advance, cell, steps))
    write_trace(advance, cell, folder, min(steps, TRACED_STEPS))
    memory = record_timeline(advance, cell.key, str(cell["device"]))
    if memory is not None:
        write_timeline(folder, memory)


def measure_profile(advance: Callable[[], Tensor], cell: Cell, steps: int = 10) -> Profile:
    """Where the time of a step goes, mean over the quicker half of some steps, after one more to warm up.

    A neighbour on the machine can only add time, and adds it to whatever operator was running: the
    slower half tells of the neighbour. Each step has a profiler of its own and is waited for.
    """
    device = str(cell["device"])
    clock = clock_of(device)
    known = call_flops(advance) if cell.settings.get("compile", "off") == "off" else None
    _profiled_step(advance, clock, device)
    profiled = sorted((_profiled_step(advance, clock, device) for _ in range(steps)), key=lambda step: step.seconds)
    quicker = profiled[: math.ceil(steps / 2)]
    return Profile(
        key=cell.key,
        label=cell.label,
        steps=len(quicker),
        step_seconds=round(sum(step.seconds for step in quicker) / len(quicker), DIGITS),
        device=device,
        operators=operator_rows([event for step in quicker for event in step.averages], len(quicker), known),
        tree=call_tree([step.events for step in quicker]),
    )


@dataclass(frozen=True)
class _ProfiledStep:
    seconds: float
    averages: Sequence[Any]
    events: Sequence[Any]


def _profiled_step(advance: Callable[[], Tensor], clock: Clock, device: str) -> _ProfiledStep:
    with _profiler(device, with_memory=True) as profiler:
        block = clock(lambda: _do(advance))
    return _ProfiledStep(block.waited_seconds, profiler.key_averages(group_by_input_shape=True), profiler.events())


def _do(advance: Callable[[], Tensor]) -> None:
    advance()


def write_trace(advance: Callable[[], Tensor], cell: Cell, folder: Path, steps: int) -> Path:
    """Stores some steps as a Chrome trace, without what names this machine or its user.

    It is gzipped trace-event JSON, which Perfetto opens.
    """
    device = str(cell["device"])
    with _profiler(device, with_memory=False) as profiler:
        for number in range(steps):
            with record_function(f"step {number + 1}"):
                advance()
        if device != "cpu":
            torch.accelerator.synchronize()
    with scratch("trace") as scratches:
        exported = scratches / "trace.json"
        profiler.export_chrome_trace(str(exported))
        document = json.loads(exported.read_text(encoding="utf-8", errors="replace"))
    path = trace_path(folder, cell.key)
    text = json.dumps(anonymous_trace(document), separators=(",", ":"))
    return write_bytes(path, gzip.compress(text.encode(), mtime=0))


def _profiler(device: str, *, with_memory: bool) -> profile:
    return profile(
        activities=[ProfilerActivity.CPU, *([ACTIVITIES[device]] if device in ACTIVITIES else [])],
        record_shapes=True,
        profile_memory=with_memory,
        with_flops=with_memory,
    )


def operator_rows(
    events: Iterable[Any], steps: int, known: Mapping[Call, int | None] | None = None
) -> tuple[Operator, ...]:
    """The profiler's averages as rows: largest self time first, ROWS of each kind, then all others as one.

    Args:
        events: ``FunctionEventAvg`` of PyTorch, grouped by name and input shapes; times in microseconds.
        steps: That they were summed over.
        known: FLOPs of each call; None where the profiler's own are all there is.
    """
    wanted = [event for event in events if _is_work(event)]
    has_kernels = any(_is_kernel(event) for event in wanted)
    rows: dict[tuple[str, str, str], Operator] = {}
    for event in wanted:
        row = _row(event, steps, has_kernels, known)
        before = rows.get((row.kind, row.name, row.shapes))
        rows[row.kind, row.name, row.shapes] = row if before is None else _summed(before, row)
    ordered = sorted(rows.values(), key=lambda row: -row.self_seconds_per_step)
    return (*_longest(ordered, "kernel"), *_longest(ordered, "operator"))


def _longest(ordered: Sequence[Operator], kind: str) -> list[Operator]:
    of_kind = [row for row in ordered if row.kind == kind]
    return [*of_kind[:ROWS], *([_sum_of_others(of_kind[ROWS:])] if len(of_kind) > ROWS else [])]


def _sum_of_others(rows: Sequence[Operator]) -> Operator:
    """One row for many; its total is their self time, for some of them call others."""
    own = sum(row.self_seconds_per_step for row in rows)
    return Operator(
        name=OTHERS,
        shapes="",
        calls_per_step=sum(row.calls_per_step for row in rows),
        self_seconds_per_step=own,
        total_seconds_per_step=own,
        device_seconds_per_step=_sum_known(row.device_seconds_per_step for row in rows),
        flops_per_step=_sum_known(row.flops_per_step for row in rows),
        allocated_bytes_per_step=_sum_known(row.allocated_bytes_per_step for row in rows),
        kind=rows[0].kind,
    )


def _summed(one: Operator, other: Operator) -> Operator:
    return Operator(
        name=one.name,
        shapes=one.shapes,
        calls_per_step=one.calls_per_step + other.calls_per_step,
        self_seconds_per_step=one.self_seconds_per_step + other.self_seconds_per_step,
        total_seconds_per_step=one.total_seconds_per_step + other.total_seconds_per_step,
        device_seconds_per_step=_sum_known((one.device_seconds_per_step, other.device_seconds_per_step)),
        flops_per_step=_sum_known((one.flops_per_step, other.flops_per_step)),
        allocated_bytes_per_step=_sum_known((one.allocated_bytes_per_step, other.allocated_bytes_per_step)),
        kind=one.kind,
    )


def _sum_known(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _row(event: Any, steps: int, has_kernels: bool, known: Mapping[Call, int | None] | None) -> Operator:
    is_kernel = _is_kernel(event)
    on_device = event.self_device_time_total
    own, total = (on_device, on_device) if is_kernel else (event.self_cpu_time_total, event.cpu_time_total)
    allocated = event.self_device_memory_usage if has_kernels else event.self_cpu_memory_usage
    return Operator(
        name=public_name(event.key),
        shapes="" if is_kernel else shapes_text(event.input_shapes),
        calls_per_step=event.count / steps,
        self_seconds_per_step=_seconds(own, steps),
        total_seconds_per_step=_seconds(total, steps),
        device_seconds_per_step=_seconds(on_device, steps) if has_kernels else None,
        flops_per_step=_flops(event, known) / steps or None,
        allocated_bytes_per_step=None if is_kernel else allocated / steps,
        kind="kernel" if is_kernel else "operator",
    )


def _flops(event: Any, known: Mapping[Call, int | None] | None) -> float:
    """Of all calls; 0 where there is no formula for them."""
    if known is None:
        return float(event.flops)
    return float(event.count * (flops_of_call(event.key, event.input_shapes or (), known) or 0))


def _seconds(microseconds: float, steps: int) -> float:
    return round(microseconds / 1e6 / steps, DIGITS)


def _is_work(event: Any) -> bool:
    """Whether an average stands for something done: not for memory given back, nor for a range drawn on a device."""
    return event.key != "[memory]" and not event.is_async and not (_is_kernel(event) and event.is_user_annotation)


def _is_kernel(event: Any) -> bool:
    return str(event.device_type.name) != "CPU"


def shapes_text(shapes: Sequence[Any] | None) -> str:
    """The shapes of an operator's tensors: ``64x784, 784x256``; numbers among its inputs are left out.

    What is too long to be read is cut, and stays different from what else begins like it.
    """
    text = ", ".join(_shape_text(shape) for shape in shapes or () if shape)
    if len(text) <= SHAPES_LENGTH:
        return text
    return f"{text[:SHAPES_LENGTH]}… {hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _shape_text(shape: Sequence[Any]) -> str:
    if any(isinstance(size, Sequence) for size in shape):  # a list of tensors
        return f"({', '.join(_shape_text(one) for one in shape)})"
    return "x".join(str(size) for size in shape)


def anonymous_trace(document: dict[str, Any]) -> dict[str, Any]:
    """The trace that PyTorch exported, without host, process, file and boot time; its clock starts at zero.

    Only what is known to be harmless is kept: another version of PyTorch may add more that is not.
    """
    # Marks of the profiler itself lie in processes and threads that are named instead of numbered.
    numbered = [event for event in document["traceEvents"] if _is_numbered(event)]
    begin = min((event["ts"] for event in numbered if event["ph"] != "M"), default=0.0)
    return {
        "schemaVersion": document.get("schemaVersion", 1),
        "displayTimeUnit": "ms",
        "traceEvents": [_anonymous(event, begin) for event in numbered],
    }


def _is_numbered(event: dict[str, Any]) -> bool:
    return isinstance(event.get("pid"), int) and isinstance(event.get("tid"), int)


def _anonymous(event: dict[str, Any], begin: float) -> dict[str, Any]:
    kept = {name: event[name] for name in KEPT if name in event}
    kept["name"] = public_name(str(event["name"]))
    kept["ts"] = 0 if event["ph"] == "M" else round(event["ts"] - begin, 3)
    details = event.get("args", {})
    if event["ph"] != "M":
        details = {name: value for name, value in details.items() if name in KEPT_DETAILS}
    elif event["name"] == "process_name":
        details = {"name": "trainmark"}
    elif event["name"] == "thread_name":
        details = {"name": _thread_name(str(details.get("name", "")), event["tid"])}
    elif event["name"] not in METADATA:
        details = {}
    return kept | ({"args": details} if details else {})


def _thread_name(name: str, number: int) -> str:
    """A stream of a device keeps its name; a thread's own would hold that of its process."""
    return name if re.fullmatch(r"stream \d+", name.strip()) else f"thread {number}"
