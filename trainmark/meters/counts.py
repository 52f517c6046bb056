"""What a step does, counted: operators, copies, reads by the host, bytes. The same number in every run."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

COPIES = {"clone", "_to_copy", "to", "contiguous"}  # where they do not give the tensor that they were given
LAUNCHES = (  # their longer names included, such as cudaLaunchKernelExC
    *("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cuGraphLaunch"),
    *("cudaLaunchCooperativeKernel", "cuLaunchCooperativeKernel"),
    *("hipLaunchKernel", "hipExtLaunchKernel", "hipModuleLaunchKernel", "hipExtModuleLaunchKernel", "hipGraphLaunch"),
)
SYNCHRONISATIONS = {  # the profiler's own end is a device-wide one
    *("cudaStreamSynchronize", "cudaEventSynchronize"),
    *("hipStreamSynchronize", "hipEventSynchronize"),  # PyTorch calls an AMD GPU cuda, and its driver's calls hip
}
HOST_READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero"}  # the host waits for their result


@dataclass
class StepCounts:
    """What a step did.

    Attributes:
        operators: Dispatched to a kernel or a view.
        copies: That copied or converted a tensor.
        host_reads: Whose result the host waits for: each stalls an accelerator.
        float64_operators: That gave a float64 tensor.
        gradient_additions: To a gradient that was there already: more than one batch accumulates.
        new_bytes: Of tensors that were made.
        moved_bytes: Of tensors read and written, views left out: what an unfused step moves.
        saved_bytes: That the forward pass kept for the backward pass: the activations. A tensor
            counts once however often it is saved; parameters do not count.
        retained_tensors: By which a step adds to those alive: above zero, something holds on to
            them. What an autograd graph holds is found too: storages are watched, not objects.
    """

    operators: int = 0
    copies: int = 0
    host_reads: int = 0
    float64_operators: int = 0
    gradient_additions: int = 0
    new_bytes: int = 0
    moved_bytes: int = 0
    saved_bytes: int = 0
    retained_tensors: int = 0


def count_step(step: Callable[[], object], model: nn.Module, device: str) -> StepCounts:
    """Takes two steps and counts what they do, backward passes and optimizer included.

    Args:
        step: Runs eagerly: a compiled one would be traced anew. It has been taken before, so that
            gradients and the state of the optimizer are there. It is slowed, and else not changed.
        model: Whose step it is.
        device: Where it runs. Reads of tensors that lie elsewhere stall nothing and do not count:
            AdamW keeps its step numbers on the host.
    """
    counter = _Counter(model, device)
    with _LiveStorages() as watch:
        with counter:
            step()
        alive = watch.count()
        counter.counts.saved_bytes = _saved_bytes(step, model)
        counter.counts.retained_tensors = watch.count() - alive
    return counter.counts


class _Counter(TorchDispatchMode):
    def __init__(self, model: nn.Module, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of PyTorch
        self.counts = StepCounts()
        self._parameters = list(model.parameters())
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = _tensors((args, kwargs))
        made = _tensors(result)
        known = {_storage(tensor) for tensor in given}
        counts = self.counts
        counts.operators += 1
        counts.copies += name == "copy_" or (name in COPIES and _storage(made[0]) not in known)
        counts.host_reads += self._is_read(name, given, made)
        counts.float64_operators += any(tensor.dtype == torch.float64 for tensor in made)
        counts.gradient_additions += name == "add_" and any(given[0] is leaf.grad for leaf in self._parameters)
        counts.new_bytes += held_bytes(tensor for tensor in made if _storage(tensor) not in known)
        if not func.is_view:
            counts.moved_bytes += held_bytes((*given, *made))
        return result

    def _is_read(self, name: str, given: list[Tensor], made: list[Tensor]) -> bool:
        """Whether the host waits for it: for a number, or for what is copied off the device."""
        if name in HOST_READS:
            return given[0].device.type == self._device
        source = given[-1] if name == "copy_" else given[0] if name in COPIES else None
        return source is not None and source.device.type == self._device != made[0].device.type


_noting: list[Callable[[Tensor], object]] = []


def note_kept(value: Any) -> None:
    """Tells whoever counts what a forward pass keeps of tensors that it keeps unseen by autograd."""
    for note in _noting:
        for tensor in _tensors(value):
            note(tensor)


def _saved_bytes(step: Callable[[], object], model: nn.Module) -> int:
    owned = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in owned:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    _noting.append(pack)
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            step()
    finally:
        _noting.remove(pack)
    return sum(kept.values())


class _LiveStorages(TorchDispatchMode):
    """Remembers, weakly, each storage that an operator makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of PyTorch
        self._made: list[StorageWeakRef] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        made = (tensor for tensor in _tensors(result) if _storage(tensor) not in known)
        self._made += [StorageWeakRef(tensor.untyped_storage()) for tensor in made]
        return result

    def count(self) -> int:
        """Storages that are still there once the garbage is collected."""
        gc.collect()
        self._made = [made for made in self._made if not made.expired()]
        return len(self._made)


@dataclass(frozen=True)
class Composition:
    """Bytes that a training holds between two steps.

    Attributes:
        parameters: Parameters and buffers.
        gradients: Of the parameters.
        optimizer: State of the optimizer.
    """

    parameters: int
    gradients: int
    optimizer: int


def composition(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> Composition:
    """What a model and its optimizers hold now."""
    parameters = list(model.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return Composition(
        parameters=held_bytes([*parameters, *model.buffers()]),
        gradients=held_bytes(gradients),
        optimizer=held_bytes(_tensors([state for one in optimizers for state in one.state.values()])),
    )


@dataclass(frozen=True)
class Launches:
    """What a step asked of the CUDA driver.

    Attributes:
        kernels: Kernels launched; a replayed CUDA graph counts once.
        synchronisations: Times that the host waited for the device.
        busy_seconds: That the device worked on kernels and copies; what ran side by side counts once.
    """

    kernels: int
    synchronisations: int
    busy_seconds: float


def count_launches(step: Callable[[], object], device: str) -> Launches | None:
    """Counts one call's launches through the profiler; None without CUDA, or where the profiler is told of none.

    A step on a GPU launches something: where nothing was seen, CUPTI is missing, or another tool has it.
    """
    if device != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()  # its own wait, which is none of the step's: see SYNCHRONISATIONS
    events = list(profile.events() or ())
    kernels = sum(event.name.startswith(LAUNCHES) for event in events)
    if not kernels:
        return None
    return Launches(
        kernels=kernels,
        synchronisations=sum(event.name in SYNCHRONISATIONS for event in events),
        busy_seconds=_covered(
            (event.time_range.start, event.time_range.end)
            for event in events
            if event.device_type.name != "CPU" and not event.is_user_annotation
        )
        / 1e6,
    )


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """How much of a line spans cover together."""
    covered, reached = 0.0, -math.inf
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


@dataclass(frozen=True)
class CompileCounts:
    """What torch.compile made of a cell so far.

    Attributes:
        graphs: Unique graphs.
        graph_breaks: Places where Python goes on by itself.
        recompiles: Times that a function was compiled again.
        cudagraph_skips: Times that CUDA graphs were asked for and could not be used.
    """

    graphs: int
    graph_breaks: int
    recompiles: int
    cudagraph_skips: int


def reset_compile_counts() -> None:
    """Starts the counts anew."""
    torch._dynamo.utils.counters.clear()
    torch._dynamo.utils.clear_compilation_metrics()


def compile_counts() -> CompileCounts | None:
    """The counts since the reset; None where this version of PyTorch keeps them elsewhere.

    They are private to PyTorch and the usual way to know: only this function and the reset read them.
    """
    try:
        counters: Mapping[str, Mapping[str, int]] = torch._dynamo.utils.counters
        compilations = torch._dynamo.utils.get_compilation_metrics()
    except AttributeError:
        return None
    return CompileCounts(
        graphs=counters.get("stats", {}).get("unique_graphs", 0),
        graph_breaks=sum(counters.get("graph_break", {}).values()),
        recompiles=sum(not str(done.compile_id).endswith("/0") for done in compilations),  # frame/attempt
        cudagraph_skips=counters.get("inductor", {}).get("cudagraph_skips", 0),
    )


def held_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors."""
    return sum(map(_bytes, tensors))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
