"""Lazy layers, which learn their sizes from the first batch: given them before anybody asks for parameters."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from trainmark.measure.batches import call, mapped
from trainmark.measure.failures import ModelError


def materialise(model: nn.Module, inputs: Callable[[], Any]) -> nn.Module:
    """Gives lazy parameters and buffers their sizes, by a forward pass; a model without any is left alone.

    The pass is in eval mode, which is left on: no running statistics change, and no dropout is drawn.

    Args:
        model: As it was built.
        inputs: Gives what the model takes, such as zeros [2, C, H, W].

    Returns:
        The same model.

    Raises:
        ModelError: A layer is still without its sizes, because the forward pass does not use it.
    """
    lazy = [tensor for _, tensor in _lazy(model)]
    if not lazy:
        return model
    with torch.no_grad():
        device = lazy[0].device
        call(model.eval(), mapped(lambda tensor: tensor.to(device), inputs()))
    left = [name for name, _ in _lazy(model)]
    if left:
        raise ModelError(f"lazy layers that the forward pass does not use have no size: {', '.join(left)}")
    return model


def _lazy(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    named = chain(model.named_parameters(), model.named_buffers())
    return [(name, tensor) for name, tensor in named if is_lazy(tensor)]
