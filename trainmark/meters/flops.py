"""Parameters and floating-point operations of a model, and of each operator's call: numbers without noise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

CONVOLUTION = "aten::convolution"
CONVOLUTION_KERNELS = {  # what computes it, on a CPU and on GPUs
    *("aten::mkldnn_convolution", "aten::_slow_conv2d_forward"),
    *("aten::cudnn_convolution", "aten::miopen_convolution", "aten::_conv_depthwise2d"),
}

Call = tuple[str, tuple[tuple[int, ...], ...]]  # an operator's name, and the shapes that tell what a call computes


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


def call_flops(step: Callable[[], object]) -> dict[Call, int | None]:
    """Floating-point operations of each call of an eager step, counted as by :func:`count_flops`.

    None for calls that cannot be told apart by their shapes and differ, as by their stride.
    """
    is_training = torch.is_grad_enabled()
    formulas = _Formulas()
    with torch.inference_mode(False), torch.set_grad_enabled(is_training), formulas:  # else it sees no products
        step()
    return formulas.found


def flops_of_call(name: str, shapes: Iterable[Any], known: Mapping[Call, int | None]) -> int | None:
    """Of a call that a profiler saw; a convolution's are those of the kernel, which is called within it.

    Args:
        name: Such as ``aten::addmm``.
        shapes: Of all inputs, empty for what is no tensor.
        known: From :func:`call_flops`.
    """
    tensors = [shape for shape in shapes if shape]
    if name == CONVOLUTION or not all(isinstance(size, int) for shape in tensors for size in shape):
        return None  # lists of tensors: an optimizer's
    return known.get(_call(CONVOLUTION if name in CONVOLUTION_KERNELS else name, tensors))


def _call(name: str, shapes: Sequence[Sequence[int]]) -> Call:
    telling = shapes[:2] if name == CONVOLUTION else shapes  # some kernels are given the bias, and some are not
    return name, tuple(tuple(shape) for shape in telling)


class _Formulas(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of PyTorch
        self.found: dict[Call, int | None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            shapes = [tensor.shape for tensor in args if isinstance(tensor, Tensor) and tensor.ndim]
            call = _call(f"aten::{func.overloadpacket.__name__}", shapes)
            flops = int(formula(*args, **(kwargs or {}), out_val=result))
            self.found[call] = flops if self.found.get(call, flops) == flops else None
        return result
