"""Parameters and floating-point operations of a model: numbers without noise."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(model: nn.Module, shape: tuple[int, ...], *, training: bool) -> int | None:
    """Floating-point operations of one step over a batch of that shape, 2 per multiply-add.

    Counted on an uncompiled copy on the meta device, so it costs no memory and no arithmetic.
    Matrix products, convolutions and attention count; element-wise work does not.

    Args:
        model: Not compiled: the counter would run it eagerly and leave it so.
        shape: [B, C, H, W].
        training: Forward and backward if true, else forward only.

    Returns:
        The count, or None where the model cannot be copied or cannot run on the meta device.
    """
    images = torch.empty(shape, device="meta")
    labels = torch.empty(shape[0], dtype=torch.long, device="meta")
    counter = FlopCounterMode(display=False)
    try:
        replica = copy.deepcopy(model).to("meta").train(training)
        with counter, torch.set_grad_enabled(training):
            logits = replica(images)
            if training:
                nn.functional.cross_entropy(logits, labels).backward()
    except (
        NotImplementedError,
        RuntimeError,
        TypeError,
    ):  # no meta kernel, values needed, or a model that no copy is of
        return None
    return int(counter.get_total_flops())
