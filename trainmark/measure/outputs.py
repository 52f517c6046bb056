"""What a model gives, looked at before anything is made of it: logits of its classes, one row a sample."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trainmark.measure.failures import ModelError
from trainmark.measure.training import Model, Step

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
        f"the model gave {_described(output)}; needed are logits [{samples}, {classes}], floating-point{remedy}"
    )


def checked(model: Model, classes: int) -> Model:
    """The model, with its output looked at by :func:`check_logits` at each call.

    A batch of one sample that its normalisation cannot be trained on is told as a ModelError too.
    """

    def call(images: Tensor) -> Tensor:
        try:
            output = model(images)
        except Exception as error:
            if len(images) == 1 and ONE_VALUE in str(error):
                raise ModelError(
                    f"the model cannot be trained on one sample, over which it normalises: {REMEDY}"
                ) from error
            raise
        check_logits(output, len(images), classes)
        return output

    return call


def looking_first(step: Step, looking: Step) -> Step:
    """A step that looks at the first batch of each size, and takes the others as they come.

    Args:
        step: Takes a batch.
        looking: The same with a model that is :func:`checked`.
    """
    seen: set[int] = set()

    def take(images: Tensor, labels: Tensor) -> Tensor:
        if len(labels) in seen:
            return step(images, labels)
        seen.add(len(labels))
        return looking(images, labels)

    return take


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        kind = str(output.dtype).removeprefix("torch.")
        return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} tensor {list(output.shape)}"
    kind = type(output).__name__
    return "None" if output is None else f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"
