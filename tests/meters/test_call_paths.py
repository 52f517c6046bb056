"""The call tree of profiled steps: paths, means, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.profiler import profile

from trainmark.meters import call_paths as module
from trainmark.meters.call_paths import REST, call_tree
from trainmark.store.call_tree import Call

HOST = SimpleNamespace(name="CPU")


@dataclass
class Event:
    """What the tree reads of PyTorch's ``FunctionEvent``; microseconds."""

    name: str
    self_cpu_time_total: float
    cpu_children: list[Event] = field(default_factory=list)
    cpu_parent: Event | None = None
    self_device_time_total: float = 0.0
    device_time_total: float = 0.0
    is_async: bool = False
    device_type: Any = field(default_factory=lambda: HOST)

    def __post_init__(self) -> None:
        for child in self.cpu_children:
            child.cpu_parent = self


def flat(*roots: Event) -> list[Event]:
    return [event for root in roots for event in (root, *flat(*root.cpu_children))]


def test_calls_of_one_path_are_one_and_the_mean_over_the_steps() -> None:
    first = flat(Event("a", 10, [Event("b", 4), Event("b", 6)]), Event("b", 1))
    second = flat(Event("a", 20))
    assert call_tree([first, second]) == (
        Call(None, "a", 1.0, 15e-6),
        Call(0, "b", 1.0, 5e-6),
        Call(None, "b", 0.5, 0.5e-6),
    )


def test_memory_kernels_and_what_runs_beside_are_no_calls() -> None:
    kernel = Event("gemm", 0, device_type=SimpleNamespace(name="CUDA"))
    events = flat(Event("a", 1, [Event("[memory]", 0)]), Event("wait", 5, is_async=True), kernel)
    assert call_tree([events]) == (Call(None, "a", 1.0, 1e-6),)


def test_with_kernels_the_time_is_that_of_the_kernels_an_operator_launched() -> None:
    launches = Event("aten::mm", 3, self_device_time_total=50, device_time_total=50)
    events = flat(Event("aten::linear", 7, [launches], device_time_total=50))
    assert call_tree([events]) == (Call(None, "aten::linear", 1.0, 0.0), Call(0, "aten::mm", 1.0, 50e-6))


def test_rare_paths_beyond_the_limit_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATHS", 2)
    events = flat(Event("a", 1, [Event("b", 2, [Event("c", 3)])]), Event("d", 4))
    assert call_tree([events]) == (
        Call(None, "a", 1.0, 1e-6),
        Call(0, "b", 1.0, 2e-6),
        Call(None, REST, 2.0, 7e-6),
    )


def test_calls_that_are_too_deep_count_to_the_last_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEEPEST", 2)
    events = flat(Event("a", 1, [Event("b", 2, [Event("c", 3, [Event("d", 4)])])]))
    assert call_tree([events]) == (Call(None, "a", 1.0, 1e-6), Call(0, "b", 3.0, 9e-6))


def test_a_real_step_adds_up_to_the_operators_of_its_averages() -> None:
    x = torch.randn(64, 64, requires_grad=True)
    with profile() as profiler:
        torch.nn.functional.linear(x, x).relu().sum().backward()
    tree = call_tree([profiler.events()])
    paths = []
    for call in tree:
        paths.append((*(paths[call.parent] if call.parent is not None else ()), call.name))
    assert ("aten::linear", "aten::matmul", "aten::mm") in paths or any("aten::addmm" in path for path in paths)
    averages = sum(event.self_cpu_time_total for event in profiler.key_averages() if event.key != "[memory]")
    assert sum(call.self_seconds_per_step for call in tree) == pytest.approx(averages / 1e6, rel=1e-3)
