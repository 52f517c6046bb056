"""The lecture's training loop: the five lines of a step, an epoch, an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from trainmark.measure.data import Batch
from trainmark.measure.failures import NotFiniteError

Step = Callable[[Tensor, Tensor], Tensor]  # from images [B, C, H, W] and labels [B] to a loss or to logits
Model = Callable[[Tensor], Tensor]  # from images [B, C, H, W] to logits [B, classes]
Criterion = Callable[[Tensor, Tensor], Tensor]  # from logits and labels [B] to a mean loss []
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
    with torch.autocast(images.device.type, dtype):
        logits = model(images)
        loss = criterion(logits, labels)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss


def train_epoch(step: Step, batches: Iterable[Batch]) -> tuple[Tensor, int]:
    """One pass over the batches; gives the mean loss of its samples, a tensor [], and how many they were.

    The loss stays on the device: nothing waits for it inside the epoch.
    """
    total = torch.zeros(())
    samples = 0
    for images, labels in batches:
        loss = step(images, labels)
        total = total.to(loss.device) + loss.detach() * len(labels)
        samples += len(labels)
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
