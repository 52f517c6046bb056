"""Activation checkpointing: what a block of a model computes is thrown away, and computed again when it is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainmark.measure.failures import UnsupportedError
from trainmark.meters.counts import note_kept

WITHOUT_FORWARD = (nn.ModuleList, nn.ModuleDict)
STACKS = (nn.Sequential, *WITHOUT_FORWARD)
NORMS = nn.modules.batchnorm._NormBase


def checkpoint_blocks(model: nn.Module) -> None:
    """Lets a model keep the inputs of its blocks for the backward pass, and compute the rest of them again.

    Its blocks are those of :func:`blocks`. A Sequential of n single layers has none: it is cut into about √n runs of
    layers, of which all but the last are computed again. Chance (dropout) is drawn once, and running
    statistics (batch normalisation) take in a batch once: what is trained stays the same.

    Args:
        model: Its modules' ``forward`` is replaced; their names, parameters and hooks stay.

    Raises:
        UnsupportedError: It has neither blocks nor a row of layers.

    Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).
    """
    found = blocks(model)
    for block in found:
        block.forward = partial(_recomputed, block, block.forward)
    if not found:
        if not isinstance(model, nn.Sequential) or len(model) < 2:
            raise UnsupportedError("the model is of single layers: it has no blocks whose activations could be dropped")
        model.forward = partial(_recomputed_in_runs, model, model.forward)  # type: ignore[method-assign]


def blocks(module: nn.Module) -> list[nn.Module]:
    """Parts with parts of their own: the members of the innermost stacks (Sequential, ModuleList, ModuleDict) of such.

    Outside of stacks it is the smallest such parts. A single layer is none, nor is what has no forward of its own.
    """
    found: list[nn.Module] = []
    for child in filter(_has_parts, module.children()):
        itself = [] if isinstance(child, WITHOUT_FORWARD) else [child]
        if isinstance(module, STACKS) and not _holds_a_stack_of_blocks(child):
            found += itself
        else:
            found += blocks(child) or itself
    return found


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _holds_a_stack_of_blocks(module: nn.Module) -> bool:
    stacks = (part for part in module.modules() if isinstance(part, STACKS))
    return any(_has_parts(member) for stack in stacks for member in stack.children())


def _recomputed(block: nn.Module, forward: Any, *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    note_kept((inputs, named))
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=partial(_contexts, block), **named)


def _recomputed_in_runs(row: nn.Sequential, forward: Any, inputs: Any) -> Any:
    """As PyTorch's own ``checkpoint_sequential`` does it."""
    if not torch.is_grad_enabled():
        return forward(inputs)
    layers = list(row.children())
    runs = max(2, round(math.sqrt(len(layers))))
    length = len(layers) // runs
    for start in range(0, length * (runs - 1), length):
        run = nn.Sequential(*layers[start : start + length])
        inputs = _recomputed(run, run.forward, inputs)
    for layer in layers[length * (runs - 1) :]:
        inputs = layer(inputs)
    return inputs


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    """Around the first computation of a block, and around the second."""
    return nullcontext(), _unmoved_statistics(block)


@contextmanager
def _unmoved_statistics(block: nn.Module) -> Iterator[None]:
    """Running statistics take in nothing until the block ends."""
    norms = [part for part in block.modules() if isinstance(part, NORMS) and part.track_running_stats]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
