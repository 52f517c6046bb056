"""What a model and a criterion give, looked at before anything is made of it: logits, a loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainmark.measure.batches import kind_of, samples_of
from trainmark.measure.failures import ModelError
from trainmark.measure.training import Criterion, Model, Step

ONE_VALUE = "more than 1 value per channel when training"  # PyTorch's words where a normalisation has one sample
REMEDY = "choose a batch size that leaves no batch of one sample"


def check_logits(output: Any, samples: int, classes: int) -> None:
    """Refuses what is not a floating-point tensor [samples, classes].

    Args:
        output: Whatever the model gave.
        samples: In the batch.
        classes: That the model promises: ``ModelSpec.classes``.

    Raises:
        ModelError: It is something else; the message says what came and what was needed.
    """
    if isinstance(output, Tensor) and output.is_floating_point() and output.shape == (samples, classes):
        return
    remedy = f": {REMEDY}" if samples == 1 else ""
    raise ModelError(
        f"the model gave {kind_of(output)}; needed are logits [{samples}, {classes}], floating-point{remedy}"
    )


def checked(model: Model, classes: int | None) -> Model:
    """The model, with its output looked at by :func:`check_logits` at each call, where the classes are known.

    A batch of one sample that its normalisation cannot be trained on is told as a ModelError too.
    """

    def call(*inputs: Any, **named: Any) -> Any:
        try:
            output = model(*inputs, **named)
        except Exception as error:
            if ONE_VALUE in str(error) and samples_of((inputs, named), None) == 1:
                raise ModelError(
                    f"the model cannot be trained on one sample, over which it normalises: {REMEDY}"
                ) from error
            raise
        if classes is not None:
            check_logits(output, len(inputs[0]), classes)
        return output

    return call


def checked_loss(criterion: Criterion, what: str = "the criterion") -> Criterion:
    """The criterion, or a step of one's own, with what it gives looked at: one number that can be trained on.

    Raises:
        ModelError: At a call: it is something else, or no parameter has a part in it.
    """

    def call(*arguments: Any) -> Any:
        loss = criterion(*arguments)
        if not (isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point()):
            raise ModelError(f"{what} gave {kind_of(loss)}; needed is a loss, a floating-point tensor of one number")
        if what == "the criterion" and torch.is_grad_enabled() and not loss.requires_grad:
            raise ModelError("the loss depends on no parameter that is trained: nothing is left to train")
        return loss

    return call


def looking_first(step: Step, looking: Step) -> Step:
    """A step that looks at the first batch of each size, and takes the others as they come.

    Args:
        step: Takes a batch.
        looking: The same with a model that is :func:`checked`.
    """
    seen: set[int] = set()

    def take(images: Any, labels: Any) -> Any:
        size = len(labels) if isinstance(labels, Tensor) else samples_of(images, labels)
        if size in seen:
            return step(images, labels)
        seen.add(size)
        return looking(images, labels)

    return take
