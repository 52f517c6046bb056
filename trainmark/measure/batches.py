"""Batches of any form: parted into what a model takes and what its output is held against, moved, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from trainmark.measure.failures import ModelError
from trainmark.task import TARGETS

Batch = tuple[Any, Any]  # inputs and targets; of a data set of images these are [B, C, H, W] in [0, 1] and labels [B]


class MicroBatches(tuple[Any, ...]):
    """The inputs, or the targets, of the batches that one step of an optimizer adds up."""


def grouped(batches: Iterator[Batch], number: int) -> Iterator[Batch]:
    """So many batches as one: each part is :class:`MicroBatches`; the last may be of fewer. One alone is itself."""
    return batches if number == 1 else _groups(batches, number)


def _groups(batches: Iterator[Batch], number: int) -> Iterator[Batch]:
    while group := list(islice(batches, number)):
        yield MicroBatches(inputs for inputs, _ in group), MicroBatches(targets for _, targets in group)


def singly(batch: Batch) -> Iterator[Batch]:
    """The batches that one step is given: itself, or each of its :class:`MicroBatches`."""
    inputs, targets = batch
    yield from zip(inputs, targets, strict=True) if isinstance(targets, MicroBatches) else (batch,)


def part(batch: Any) -> Batch:
    """Inputs and targets of a batch as a loader gives it; see :class:`trainmark.task.Task` for how.

    Raises:
        ModelError: It has no parts, or its names do not tell which are the targets.
    """
    if isinstance(batch, Tensor):
        return batch, batch
    named = _by_name(batch)
    if named is not None:
        targets = [name for name in TARGETS if name in named]
        if len(targets) == 1:
            inputs = {name: value for name, value in named.items() if name != targets[0]}
            return inputs, named[targets[0]]
        if not isinstance(batch, tuple):
            told = ", ".join(map(str, named)) or "nothing"
            which = "none of these is" if not targets else "more than one of these is"
            raise ModelError(f"a batch has {told}: {which} called {', '.join(TARGETS)}; give the task a split=")
    if isinstance(batch, list | tuple) and len(batch) > 1:
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    raise ModelError(f"a batch is {kind_of(batch)}, of which inputs and targets cannot be told; give the task a split=")


def parted_by(split: Callable[[Any], Any]) -> Callable[[Any], Batch]:
    """A task's own way to part a batch, with what it gives looked at.

    Raises:
        ModelError: At a call: it gives no pair.
    """

    def parted(batch: Any) -> Batch:
        parts = split(batch)
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise ModelError(f"the task's split gave {kind_of(parts)}; needed is a pair: inputs and targets")
        return parts

    return parted


def call(model: Callable[..., Any], inputs: Any) -> Any:
    """The model's output: a tuple or a list are its arguments, a mapping its arguments by name, all else is one."""
    if isinstance(inputs, Tensor | PackedSequence):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, list | tuple):
        return model(*inputs)
    return model(inputs)


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The value with the function applied to each tensor in it: in tuples, lists, dicts and dataclasses, nested."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: mapped(function, one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        parts = [mapped(function, one) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: mapped(function, getattr(value, item.name)) for item in fields(value)})
    return value


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of a value, in their order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(keep, value)
    yield from found


def on_device(batch: Batch, device: str, layout: torch.memory_format, pinned: bool = False) -> Batch:
    """The batch with its tensors on a device; images [B, C, H, W] among its inputs in a memory format.

    Args:
        batch: Inputs and targets.
        device: Where they are wanted.
        layout: Of the images.
        pinned: Whether they lie in page-locked memory: then the host does not wait for the copy.
    """

    def move(tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and tensor.is_floating_point():
            return tensor.to(device, memory_format=layout, non_blocking=pinned)
        return tensor.to(device, non_blocking=pinned)

    inputs, targets = batch
    if targets is inputs:
        inputs = mapped(move, inputs)
        return inputs, inputs
    return mapped(move, inputs), mapped(lambda tensor: tensor.to(device, non_blocking=pinned), targets)


def samples_of(inputs: Any, targets: Any) -> int:
    """Samples of a batch: the first dimension of its first tensor, or how many there are of what has a length.

    Raises:
        ModelError: It has neither.
    """
    if isinstance(targets, MicroBatches):
        return sum(samples_of(*one) for one in singly((inputs, targets)))
    for value in (targets, inputs):
        for tensor in tensors(value):
            if tensor.ndim:
                return len(tensor)
    for value in (targets, inputs):
        if hasattr(value, "__len__") and not isinstance(value, Mapping):
            return len(value)
    raise ModelError("how many samples a batch has cannot be told: it has no tensor with a first dimension")


def device_type(inputs: Any) -> str:
    """Where the tensors of a batch are: ``cpu``, ``cuda``; the CPU where there are none."""
    return next((tensor.device.type for tensor in tensors(inputs)), "cpu")


def kind_of(value: Any) -> str:
    """What a value is, for a sentence: ``a float32 tensor [64, 10]``, ``a dict with logits, loss``, ``None``."""
    if isinstance(value, Tensor):
        kind = f"{str(value.dtype).removeprefix('torch.')} tensor {list(value.shape)}"
    elif value is None:
        return "None"
    else:
        kind = type(value).__name__
        if isinstance(value, Mapping) and value:
            kind += f" with {', '.join(map(str, value))}"
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def _by_name(batch: Any) -> Mapping[str, Any] | None:
    """The parts of a batch by their names, where they have any."""
    if isinstance(batch, Mapping):
        return batch
    if isinstance(batch, tuple) and hasattr(batch, "_asdict") and not isinstance(batch, PackedSequence):
        named: Mapping[str, Any] = batch._asdict()
        return named
    if is_dataclass(batch) and not isinstance(batch, type):
        return {item.name: getattr(batch, item.name) for item in fields(batch)}
    return None
