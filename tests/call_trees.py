"""Profiles made of a few calls, for tests of what is told of two of them."""

from __future__ import annotations

from typing import Any

from trainmark.judge.flame import Difference, Times, difference
from trainmark.store.call_tree import Call
from trainmark.store.profiles import Profile

Tree = dict[str, Any]  # name -> own milliseconds, or those with what it called


def profile(tree: Tree, step: float = 100.0, key: str = "train") -> Profile:
    """A profile whose step takes that many milliseconds; ``{"a": (1.0, {"b": 2.0})}`` is b called by a."""
    calls: list[Call] = []

    def add(parent: int | None, some: Tree) -> None:
        for name, own in some.items():
            milliseconds, called = own if isinstance(own, tuple) else (own, {})
            calls.append(Call(parent, name, 1.0, milliseconds / 1e3))
            add(len(calls) - 1, called)

    add(None, tree)
    return Profile(key, f"{key} mlp 64 cpu fp32", 5, step / 1e3, "cpu", (), tuple(calls))


def held(base: Tree, new: Tree, steps: tuple[float, float] = (100.0, 100.0), times: Times | None = None) -> Difference:
    """The difference of two such profiles, whose steps take so many milliseconds."""
    found = difference(profile(base, steps[0]), profile(new, steps[1]), times)
    assert found is not None
    return found
