"""The call tree of a profile: which operators called which, and what each took itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainmark.store.documents import SchemaError
from trainmark.store.ranges import Amount, Count, OwnSeconds

DEEPEST = 100  # calls within each other that are told apart; those of PyTorch's own operators are ten at most


@dataclass(frozen=True)
class Call:
    """An operator within those that called it: the calls of one path together, mean over a profile's steps.

    Attributes:
        parent: Place of its caller in the tree; None where no operator called it.
        name: Of the operator.
        calls_per_step: How often a step took this path.
        self_seconds_per_step: In itself, without what it called: of the kernels that it launched where the profile
            has kernels, else of the host.
    """

    parent: Count | None
    name: str
    calls_per_step: Amount
    self_seconds_per_step: OwnSeconds


def check_tree(tree: Sequence[Call]) -> None:
    """Each path is there once, below the DEEPEST, and each caller before what it called: so a tree ends.

    Raises:
        SchemaError: It is otherwise, or a time is not finite.
    """
    depths: list[int] = []
    paths: set[tuple[int | None, str]] = set()
    for place, call in enumerate(tree):
        if call.parent is not None and call.parent >= place:
            raise SchemaError(f"call {place} of a tree is called by {call.parent}, which is not before it")
        depths.append(1 if call.parent is None else depths[call.parent] + 1)
        if depths[-1] > DEEPEST:
            raise SchemaError(f"call {place} of a tree is {depths[-1]} calls deep: {DEEPEST} are read")
        if (call.parent, call.name) in paths:
            raise SchemaError(f"{call.name} is twice in a tree, below one caller")
        paths.add((call.parent, call.name))
        if not math.isfinite(call.self_seconds_per_step):
            raise SchemaError(f"the time of {call.name} in a tree is not finite")
