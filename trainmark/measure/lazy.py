"""Lazy layers, which learn their sizes from the first batch: given them before anybody asks for parameters."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from trainmark.measure.failures import ModelError


def materialise(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Gives lazy parameters and buffers their sizes, by a forward pass of zeros; a model without any is left alone.

    The pass is in eval mode, which is left on: no running statistics change, and no dropout is drawn.

    Args:
        model: As it was built.
        shape: Of one sample: [C, H, W].

    Returns:
        The same model.

    Raises:
        ModelError: A layer is still without its sizes, because the forward pass does not use it.
    """
    lazy = [tensor for _, tensor in _lazy(model)]
    if not lazy:
        return model
    with torch.no_grad():
        model.eval()(torch.zeros(2, *shape, device=lazy[0].device))
    left = [name for name, _ in _lazy(model)]
    if left:
        raise ModelError(f"lazy layers that the forward pass does not use have no size: {', '.join(left)}")
    return model


def _lazy(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    named = chain(model.named_parameters(), model.named_buffers())
    return [(name, tensor) for name, tensor in named if is_lazy(tensor)]
