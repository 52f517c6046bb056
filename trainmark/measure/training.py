"""The lecture's training loop: the five lines of a step, an epoch, an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainmark.measure.batches import Batch, MicroBatches, device_type, kind_of, samples_of, singly
from trainmark.measure.failures import ModelError, NotFiniteError
from trainmark.task import HeldOut

# The lecture's are of images [B, C, H, W], logits [B, classes] and labels [B]; a task may have others.
Step = Callable[[Any, Any], Any]  # from inputs and targets to a loss [] or to outputs
Model = Callable[..., Any]  # from inputs to outputs
Criterion = Callable[[Any, Any], Tensor]  # from outputs and targets to a mean loss []
LEARNING_RATE = 1e-3  # the lecture's


def train_step(
    model: Model, criterion: Criterion, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> Tensor:
    """One step of training in full precision; gives the loss, a tensor [].

    Args:
        model: In training mode.
        criterion: From logits and labels to a mean loss.
        optimizer: Of the model's parameters.
        images: [B, C, H, W].
        labels: [B].

    Source: the lecture's loop, line by line.
    """
    logits = model(images)  # [B, C, H, W] -> [B, classes]
    loss = criterion(logits, labels)  # -> []
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def mixed_precision_step(
    model: Model,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    dtype: torch.dtype,
    scaler: torch.amp.GradScaler,
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    """The same five lines with autocast, and with the loss scaled where the scaler is enabled.

    Source: PyTorch's recipe for automatic mixed precision.
    """
    with torch.autocast(device_type(images), dtype):
        logits = model(images)
        loss = criterion(logits, labels)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss


def accumulating_step(
    model: Model,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    dtype: torch.dtype | None,
    scaler: torch.amp.GradScaler,
    images: MicroBatches,
    labels: MicroBatches,
) -> Tensor:
    """One step of the optimizer by the gradients of several batches; gives their mean loss, a tensor [].

    Each loss counts by the samples of its batch, so the gradient is that of the mean over all of them: of one large
    batch, but for what a model computes over a batch, such as a batch normalisation.

    Args:
        model: In training mode.
        criterion: From logits and labels to a mean loss.
        optimizer: Of the model's parameters.
        dtype: Of autocast; None for full precision.
        scaler: Of the loss; disabled except for fp16.
        images: Of each batch.
        labels: Likewise.
    """
    samples = samples_of(images, labels)
    losses = []
    optimizer.zero_grad()
    for some, wanted in singly((images, labels)):
        with torch.autocast(device_type(some), dtype, enabled=dtype is not None):
            loss = criterion(model(some), wanted) * (samples_of(some, wanted) / samples)
        scaler.scale(loss).backward()
        losses.append(loss.detach())
    scaler.step(optimizer)
    scaler.update()
    return torch.stack(losses).sum()  # [batches] -> []


def train_epoch(step: Step, batches: Iterable[Batch]) -> tuple[Tensor, int]:
    """One pass over the batches; gives the mean loss of its samples, a tensor [], and how many they were.

    The loss stays on the device: nothing waits for it inside the epoch.
    """
    total = torch.zeros(())
    samples = 0
    for images, labels in batches:
        loss = step(images, labels)
        size = len(labels) if isinstance(labels, Tensor) else samples_of(images, labels)
        total = total.to(loss.device) + loss.detach() * size
        samples += size
    return total / samples, samples


@torch.no_grad()
def evaluate(forward: Step, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
    """Share of samples that are labelled rightly; without gradients as the lecture's evaluation is, by ``no_grad``.

    Args:
        forward: From images [B, C, H, W], and labels that it leaves alone, to logits [B, classes];
            its model is in eval mode.
        images: [N, C, H, W].
        labels: [N].
        batch_size: Samples in one forward pass.

    Raises:
        NotFiniteError: An output is NaN, which has no largest.
    """
    right = 0
    for some, wanted in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        logits = forward(some, wanted)  # [B, C, H, W] -> [B, classes]
        if bool(logits.isnan().any()):
            raise NotFiniteError("an output of the evaluation is not finite (nan)")
        right += int((logits.argmax(1) == wanted).sum())
    return right / len(labels)


@torch.no_grad()
def evaluate_task(forward: Step, batches: Iterable[Batch], metrics: Mapping[str, HeldOut]) -> dict[str, float]:
    """What a task's metrics say of its trained model; without gradients, as the lecture's evaluation.

    Args:
        forward: From inputs, and targets that it leaves alone, to outputs; its model is in eval mode.
        batches: Of the held-out data.
        metrics: Name -> what is told: a mean over samples, or what an object says that has seen all batches.

    Raises:
        ModelError: A metric gives no single number.
        NotFiniteError: It gives NaN.
    """
    functions = {name: metric.function for name, metric in metrics.items()}
    seeing = {name: function() for name, function in functions.items() if _sees_all(function)}
    totals, samples = dict.fromkeys(functions, 0.0), 0
    for inputs, targets in batches:
        outputs, size = forward(inputs, targets), samples_of(inputs, targets)
        for name, function in functions.items():
            if name in seeing:
                seeing[name].update(outputs, targets)
            else:
                totals[name] += size * _number(name, function(outputs, targets))
        samples += size
    found = {name: total / samples for name, total in totals.items() if name not in seeing}
    found |= {name: _number(name, metric.compute()) for name, metric in seeing.items()}
    for name, value in found.items():
        if value != value:  # noqa: PLR0124  # NaN alone is not itself
            raise NotFiniteError(f"{name} on the held-out data is not finite (nan)")
    return {name: found[name] for name in functions}


def _sees_all(function: Any) -> bool:
    """Whether it makes an object that is shown each batch and asked at the end."""
    return all(hasattr(function, name) for name in ("update", "compute"))


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    raise ModelError(f"the metric {name} gave {kind_of(value)}; needed is one number")
