"""What a step does, counted: on the CPU for real, on a GPU that is made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from trainmark.measure.instruments import count_launches, workspace_bytes
from trainmark.meters import counts
from trainmark.meters.counts import Launches, StepCounts, count_step

LAYER = nn.Linear(4, 3)


def counted(step: Callable[[Tensor], object], device: str = "cpu") -> StepCounts:
    images = torch.ones(2, 4)
    return count_step(lambda: step(images), LAYER, device)


# Reads by the host


@pytest.mark.parametrize(
    ("step", "reads"),
    [
        (lambda images: images.sum(), 0),
        (lambda images: images.sum().item(), 1),
        (lambda images: images.sum() > 0 and None, 1),
        (lambda images: images.nonzero(), 1),
        (lambda images: images.to("meta"), 1),  # off the device, as .cpu() is from a GPU
        (lambda images: torch.empty(2, 4, device="meta").copy_(images), 1),
        (lambda images: images.to(torch.float64), 0),  # stays where it is
        (lambda images: images.clone(), 0),
        (lambda images: torch.empty(2, 4).copy_(images), 0),
    ],
)
def test_what_the_host_waits_for_is_counted(step: Callable[[Tensor], object], reads: int) -> None:
    assert counted(step).host_reads == reads


def test_what_is_read_elsewhere_than_on_the_device_stalls_nothing() -> None:
    assert counted(lambda images: images.sum().item(), device="cuda").host_reads == 0
    assert counted(lambda images: images.to("meta"), device="cuda").host_reads == 0


# Bytes that are kept


class Scaled(nn.Module):
    """A layer, and a buffer that its output is multiplied by: backward needs the input of the one and the other."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("scale", torch.full((3,), 2.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images) * self.scale  # type: ignore[no-any-return]  # a Tensor


def test_activations_are_what_a_step_keeps_beside_parameters_and_buffers() -> None:
    model, images = Scaled(), torch.ones(5, 4)
    found = count_step(lambda: model(images).sum().backward(), model, "cpu")
    assert found.saved_bytes == 5 * 4 * 4  # the images; neither the weights nor the buffer


def test_a_model_holds_its_buffers_beside_its_parameters() -> None:
    model = Scaled()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(5, 4)).sum().backward()
    optimizer.step()
    held = counts.composition(model, [optimizer])
    weights = 4 * (4 * 3 + 3)
    assert (held.parameters, held.gradients) == (weights + 4 * 3, weights)
    assert held.optimizer == 2 * weights + 2 * 4  # two moments of each, and a step number of each tensor


def test_a_view_moves_nothing_and_a_copy_what_it_reads_and_writes() -> None:
    images = torch.ones(2, 4)
    assert count_step(lambda: images.view(4, 2), LAYER, "cpu").moved_bytes == 0
    found = count_step(images.clone, LAYER, "cpu")
    assert (found.moved_bytes, found.new_bytes, found.copies) == (64, 32, 1)


# Launches


@pytest.fixture(autouse=True)
def _no_device_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


class FakeProfile:
    """A profiler that saw these calls; it knows whether the step was run within it."""

    def __init__(self, calls: dict[str, int], spans: Sequence[tuple[float, float]] = ()) -> None:
        self.calls = calls
        self.spans = spans
        self.activities: list[Any] = []
        self.is_on = False

    def __call__(self, *, activities: list[Any]) -> FakeProfile:
        self.activities = activities
        return self

    def __enter__(self) -> FakeProfile:
        self.is_on = True
        return self

    def __exit__(self, *ending: object) -> None:
        self.is_on = False

    def events(self) -> list[FunctionEvent]:
        names = [name for name, number in self.calls.items() for _ in range(number)]
        calls = [FunctionEvent(number, name, 1, 0.0, 1.0) for number, name in enumerate(names)]
        return [*calls, *(_on_device(*span) for span in self.spans)]


def _on_device(begin: float, end: float, *, is_user_annotation: bool = False) -> FunctionEvent:
    """Work of the device; its times are in microseconds."""
    annotated = {"is_user_annotation": is_user_annotation}
    return FunctionEvent(0, "kernel", 7, begin, end, device_type=DeviceType.CUDA, **annotated)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("calls", "kernels", "synchronisations"),
    [
        ({"cudaLaunchKernel": 7, "cudaLaunchKernelExC": 2}, 9, 0),
        ({"cuLaunchKernel": 3, "cuLaunchKernelEx": 1}, 4, 0),  # of Triton
        ({"cudaLaunchCooperativeKernel": 1, "cuLaunchCooperativeKernel": 1}, 2, 0),
        ({"cudaGraphLaunch": 1}, 1, 0),
        ({"hipLaunchKernel": 3, "hipExtModuleLaunchKernel": 1, "hipStreamSynchronize": 2, "hipMemcpyAsync": 5}, 4, 2),
        ({"cudaLaunchKernel": 1, "cudaStreamSynchronize": 2, "cudaEventSynchronize": 1}, 1, 3),
        ({"cudaLaunchKernel": 1, "cudaDeviceSynchronize": 1}, 1, 0),  # the profiler's own, at its end
        (
            {"cudaLaunchKernel": 1, "cudaMemcpyAsync": 4, "cudaMemsetAsync": 4, "cudaEventRecord": 2, "void gemm()": 9},
            1,
            0,
        ),
    ],
)
def test_calls_of_the_driver_become_launches_and_waits(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, int], kernels: int, synchronisations: int
) -> None:
    profile = FakeProfile(calls)
    monkeypatch.setattr(torch.profiler, "profile", profile)
    steps = []
    found = counts.count_launches(lambda: steps.append(profile.is_on), "cuda")
    assert found == Launches(kernels, synchronisations, 0.0)
    assert steps == [True]  # once, and watched
    assert profile.activities == [torch.profiler.ProfilerActivity.CUDA]


@pytest.mark.parametrize(
    "calls", [{}, {"cudaDeviceSynchronize": 1}, {"cudaMemcpyAsync": 2, "cudaStreamSynchronize": 1}]
)
def test_a_profiler_that_sees_no_launch_has_counted_nothing(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, int]
) -> None:
    """CUPTI is missing, or another tool has it: a step that launches nothing is none."""
    monkeypatch.setattr(torch.profiler, "profile", FakeProfile(calls))
    assert counts.count_launches(lambda: None, "cuda") is None


@pytest.mark.parametrize(
    ("spans", "microseconds"),
    [
        ([], 0),
        ([(10, 30), (50, 60)], 30),
        ([(10, 30), (20, 40)], 30),  # two streams at once
        ([(20, 25), (10, 40), (40, 41)], 31),
    ],
)
def test_a_device_is_busy_while_anything_runs_on_it(
    monkeypatch: pytest.MonkeyPatch, spans: list[tuple[float, float]], microseconds: float
) -> None:
    monkeypatch.setattr(torch.profiler, "profile", FakeProfile({"cudaLaunchKernel": 1}, spans))
    found = counts.count_launches(lambda: None, "cuda")
    assert found is not None
    assert found.busy_seconds == pytest.approx(microseconds / 1e6)


def test_a_range_that_is_drawn_on_a_device_is_no_work_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = FakeProfile({"cudaLaunchKernel": 1}, [(0, 5)])
    drawn = _on_device(0, 100, is_user_annotation=True)
    kernel = profile.events()
    monkeypatch.setattr(profile, "events", lambda: [*kernel, drawn])
    monkeypatch.setattr(torch.profiler, "profile", profile)
    found = counts.count_launches(lambda: None, "cuda")
    assert found is not None
    assert found.busy_seconds == pytest.approx(5e-6)


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu"])
def test_without_cuda_no_step_is_run_for_its_launches(device: str) -> None:
    steps: list[int] = []
    assert counts.count_launches(lambda: steps.append(1), device) is None
    assert steps == []


def test_launches_that_nobody_counted_are_no_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = SimpleNamespace(endless=lambda: iter([(torch.ones(1), torch.ones(1))]))
    steps: Any = SimpleNamespace(context=torch.inference_mode(), feed=feed, step=lambda images, labels: images)
    assert count_launches(steps, "cpu", 1e-3, 0) == {}
    profile = FakeProfile({"cudaLaunchKernel": 5}, [(0, 250)])
    monkeypatch.setattr(torch.profiler, "profile", profile)
    found = {"kernel_launches_per_step": 5, "synchronisations_per_step": 0}
    assert count_launches(steps, "cuda", 1e-3, 0) == found | {"device_busy_share": pytest.approx(0.25)}
    assert count_launches(steps, "cuda", 1e-4, 0) == found | {"device_busy_share": 1}  # a profiled kernel takes longer


# Compilations


def test_a_frame_that_is_compiled_again_is_a_recompilation_and_its_first_time_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compilations = [SimpleNamespace(compile_id=name) for name in ("0/0", "1/0", "0/1", "0/2", "10/0")]
    found = {"stats": {"unique_graphs": 4}, "graph_break": {"a": 2, "b": 3}, "inductor": {"cudagraph_skips": 6}}
    monkeypatch.setattr("torch._dynamo.utils.get_compilation_metrics", lambda: compilations)
    monkeypatch.setattr("torch._dynamo.utils.counters", found)
    assert counts.compile_counts() == counts.CompileCounts(graphs=4, graph_breaks=5, recompiles=2, cudagraph_skips=6)


# Memory by what holds it


HELD = {"parameter_bytes": 1000, "gradient_bytes": 1000, "optimizer_bytes": 2000, "activation_bytes": 300}


def prepared(resident: tuple[Tensor, ...] | None) -> Any:
    size = sum(tensor.numel() * tensor.element_size() for tensor in resident or ())
    return SimpleNamespace(feed=SimpleNamespace(resident_bytes=size))


def test_the_workspace_is_what_nothing_else_accounts_for() -> None:
    resident = torch.ones(10, 4), torch.ones(10, dtype=torch.int64)  # 160 and 80 bytes
    assert workspace_bytes(HELD, 5000, prepared(resident)) == 5000 - 4300 - 240
    assert workspace_bytes(HELD, 5000, prepared(None)) == 700


@pytest.mark.parametrize("name", sorted(HELD))
def test_a_workspace_is_not_known_where_a_part_is_not(name: str) -> None:
    assert workspace_bytes(HELD | {name: None}, 5000, prepared(None)) is None
    assert workspace_bytes(HELD, None, prepared(None)) is None
