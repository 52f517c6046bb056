"""Batches of any form: how they are parted, moved and counted."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from trainmark.measure.batches import call, kind_of, mapped, on_device, part, parted_by, samples_of, tensors
from trainmark.measure.failures import ModelError

X, Y, Z = torch.rand(4, 3), torch.rand(4, 2), torch.arange(4)
Named = namedtuple("Named", ["tokens", "label"])


@dataclass
class Row:
    image: Tensor
    target: Tensor


@pytest.mark.parametrize(
    ("batch", "inputs", "targets"),
    [
        ((X, Z), X, Z),
        ([X, Z], X, Z),
        ((X, Y, Z), (X, Y), Z),
        (((X, Y), Z), (X, Y), Z),
        ({"tokens": X, "mask": Y, "label": Z}, {"tokens": X, "mask": Y}, Z),
        ({"x": X, "y": Z}, {"x": X}, Z),
        (Row(X, Z), {"image": X}, Z),
        (Named(X, Z), {"tokens": X}, Z),
        (X, X, X),
    ],
    ids=["pair", "list", "three", "nested", "names", "y", "dataclass", "namedtuple", "tensor alone"],
)
def test_a_batch_is_parted_into_inputs_and_targets(batch: Any, inputs: Any, targets: Any) -> None:
    found = part(batch)
    assert found[1] is targets
    assert list(found[0]) == list(inputs) if isinstance(inputs, dict) else True
    assert all(one is other for one, other in zip(tensors(found[0]), tensors(inputs), strict=True))


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ({"tokens": X, "mask": Y}, "a batch has tokens, mask: none of these is called target"),
        ({"label": X, "target": Z}, "a batch has label, target: more than one of these is called target"),
        ({}, "a batch has nothing"),
        ("text", "a batch is a str"),
        (None, "a batch is None"),
        ((X,), "a batch is a tuple"),
    ],
)
def test_a_batch_of_which_the_targets_cannot_be_told_is_refused_in_a_sentence(batch: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told) as refused:
        part(batch)
    assert "give the task a split=" in str(refused.value)


def test_a_split_that_gives_no_pair_is_refused_in_a_sentence() -> None:
    assert parted_by(lambda batch: (batch["x"], batch["z"]))({"x": X, "z": Z}) == (X, Z)
    with pytest.raises(ModelError, match=r"the task's split gave a float32 tensor \[4, 3\]; needed is a pair"):
        parted_by(lambda batch: batch["x"])({"x": X})


def test_a_model_is_called_with_a_tuple_as_arguments_a_mapping_by_name_and_all_else_as_one() -> None:
    def model(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    packed = pack_sequence([torch.rand(3), torch.rand(2)])
    row = Row(X, Z)
    assert call(model, X) == ((X,), {})
    assert call(model, (X, Y)) == ((X, Y), {})
    assert call(model, {"tokens": X}) == ((), {"tokens": X})
    assert call(model, packed)[0][0] is packed
    assert call(model, row)[0][0] is row


def test_every_tensor_of_a_nested_batch_is_mapped_and_all_else_stays() -> None:
    packed = pack_sequence([torch.rand(3), torch.rand(2)])
    value = {"pair": (X, [Y, "text"]), "row": Row(X, Z), "named": Named(X, 7), "none": None, "packed": packed}
    doubled = mapped(lambda tensor: 2 * tensor, value)
    assert torch.equal(doubled["pair"][1][0], 2 * Y) and doubled["pair"][1][1] == "text"
    assert torch.equal(doubled["row"].target, 2 * Z) and isinstance(doubled["row"], Row)
    assert torch.equal(doubled["named"].tokens, 2 * X) and doubled["named"].label == 7
    assert torch.equal(doubled["packed"].data, 2 * packed.data) and type(doubled["packed"]) is type(packed)
    assert doubled["none"] is None


def test_images_among_the_inputs_take_the_layout_and_nothing_else_does() -> None:
    images, masks = torch.rand(2, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.long)
    (moved, kept), targets = on_device(((images, masks), images), "cpu", torch.channels_last)
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert kept.is_contiguous() and targets.is_contiguous()


def test_a_lone_tensor_stays_input_and_target_at_once_when_it_is_moved() -> None:
    inputs, targets = on_device((X, X), "cpu", torch.contiguous_format)
    assert inputs is targets


@pytest.mark.parametrize(
    ("inputs", "targets", "samples"),
    [(X, Z, 4), (X, None, 4), ({"a": X}, torch.tensor(1.0), 4), (["a", "b", "c"], None, 3), (X, ["a", "b"], 4)],
)
def test_the_samples_of_a_batch_are_counted_by_what_has_a_first_dimension(
    inputs: Any, targets: Any, samples: int
) -> None:
    assert samples_of(inputs, targets) == samples


def test_a_batch_without_a_first_dimension_is_refused_in_a_sentence() -> None:
    with pytest.raises(ModelError, match="how many samples a batch has cannot be told"):
        samples_of({"a": torch.tensor(1.0)}, None)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (X, "a float32 tensor [4, 3]"),
        (Z, "an int64 tensor [4]"),
        ({"loss": X, "logits": Y}, "a dict with loss, logits"),
        (None, "None"),
        (3, "an int"),
        ((X, Y), "a tuple"),
    ],
)
def test_a_value_is_described_in_a_few_words(value: Any, told: str) -> None:
    assert kind_of(value) == told


@pytest.mark.parametrize("pinned", [False, True])
def test_the_host_waits_for_no_copy_of_what_is_pinned(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    said: list[Any] = []
    real = torch.Tensor.to

    def to(tensor: Tensor, *arguments: Any, **named: Any) -> Tensor:
        said.append(named.get("non_blocking"))
        return real(tensor, *arguments, **named)

    monkeypatch.setattr(torch.Tensor, "to", to)
    batch = {"images": torch.ones(2, 1, 4, 4), "lengths": torch.ones(2)}, torch.ones(2)
    on_device(batch, "cpu", torch.channels_last, pinned)
    assert said == [pinned] * 3
