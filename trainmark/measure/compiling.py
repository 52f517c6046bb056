"""The first steps of a cell: what torch.compile takes of them, and when a training has come to its usual step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import conv2d
from torch.utils._pytree import tree_map_only

from trainmark.measure.steps import InferenceParts, TrainingParts
from trainmark.measure.training import Step
from trainmark.store.cell import Cell

GRAPH_MODES = ("reduce-overhead", "max-autotune")  # of torch.compile, that capture CUDA graphs on a GPU
MOST_SKIPPED = 20  # steps that a scaler of losses may skip: from its 65,536 down to 1 it halves 16 times


def compiling_steps(cell: Cell) -> int:
    """Steps in which a compiled cell compiles: on a GPU the second captures the CUDA graphs of some modes.

    Source: torch.compiler_cudagraph_trees of PyTorch's documentation: a first run warms up, the next one is recorded.
    """
    return 2 if captures_graphs(cell) else 1


def captures_graphs(cell: Cell) -> bool:
    """Whether steps of a cell replay CUDA graphs."""
    return cell.settings.get("compile") in GRAPH_MODES and cell["device"] == "cuda"


def outlasting(forward: Step) -> Step:
    """The same with outputs that are there after the next call, which overwrites those of a CUDA graph.

    For a metric that keeps what it has seen; a step reads its outputs before the next one begins.
    """
    return lambda inputs, targets: tree_map_only(torch.Tensor, torch.clone, forward(inputs, targets))


def wake_libraries(device: str) -> None:
    """Loads what a first step on a GPU loads, compiled or not: cuBLAS and cuDNN; nothing on other devices."""
    if torch.device(device).type != "cuda":
        return
    images, weights = (torch.ones(8, 8, 8, 8, device=device, requires_grad=True) for _ in range(2))
    convolved = conv2d(images, weights).flatten(1)  # [8, 8, 8, 8] -> [8, 8]
    (convolved @ convolved.t()).sum().backward()
    torch.accelerator.synchronize()


def take_until_settled(take: Callable[[], object], parts: TrainingParts | InferenceParts | None) -> int:
    """Takes a step, and more while a scaler of losses skips them: until the optimizer has its state.

    Args:
        take: A step.
        parts: What it is made of.

    Returns:
        How many were taken: no more than MOST_SKIPPED, for some optimizers never have a state.
    """
    take()
    taken = 1
    if isinstance(parts, TrainingParts) and parts.scaler.is_enabled():
        while taken <= MOST_SKIPPED and not any(one.state for one in parts.optimizers):
            take()
            taken += 1
    return taken
