"""What a precision means for the machine's flags and for the step."""

from __future__ import annotations

import warnings

import torch

SWITCHES = ("matmul-precision",)  # that a precision sets, of trainmark.measure.switches
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def set_float32_arithmetic(precision: str) -> None:
    """Lets float32 products use TensorFloat-32 for ``tf32`` and for nothing else.

    Set for the whole process, convolutions included: PyTorch allows TF32 in cuDNN by default,
    which would make an ``fp32`` cell something else on NVIDIA GPUs.
    """
    allowed = precision == "tf32"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # newer PyTorch announces another spelling of the same
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed


def autocast_dtype(precision: str) -> torch.dtype | None:
    """The dtype that autocast computes in; None where the step runs without autocast."""
    return AUTOCAST.get(precision)


def grad_scaler(precision: str, device: str) -> torch.amp.GradScaler:
    """The loss scaler of a training: enabled for fp16, whose gradients underflow without one."""
    return torch.amp.GradScaler(device, enabled=precision == "fp16")
