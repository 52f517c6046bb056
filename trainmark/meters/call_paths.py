"""Which operators called which: the calls of some profiled steps, those of one path together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainmark.store.call_tree import DEEPEST, Call
from trainmark.store.folders import without_folders

COMPILED_GRAPH = re.compile(r"(CompiledFxGraph) \w+")  # its hash is another for every change of the code
PATHS = 1000  # that are kept; a step of a ResNet-50 has about 150
REST = "(rarer paths)"  # what the others took, so that totals add up
DIGITS = 10  # after the point of seconds: the profiler tells nanoseconds
MEMORY = "[memory]"  # an event that stands for nothing done


def public_name(name: str) -> str:
    """A name without the folders of this machine, and without what differs from one compilation to the next."""
    return COMPILED_GRAPH.sub(r"\1", without_folders(name))


@dataclass
class _Sums:
    calls: int = 0
    microseconds: float = 0.0


def call_tree(steps: Sequence[Iterable[Any]]) -> tuple[Call, ...]:
    """The tree of some steps, mean over them, a caller before what it called.

    Args:
        steps: Of each the ``FunctionEvent`` of PyTorch's profiler, with their callers; times in microseconds.
    """
    events = [[event for event in step if _is_call(event)] for step in steps]
    on_device = any(event.device_time_total for step in events for event in step)
    paths: dict[tuple[str, ...], _Sums] = {}
    for step in events:
        for event in step:
            if event.cpu_parent is None:
                _add(paths, (), event, on_device=on_device)
    return _listed(paths, len(steps))


def _is_call(event: Any) -> bool:
    return event.device_type.name == "CPU" and not event.is_async and event.name != MEMORY


def _add(paths: dict[tuple[str, ...], _Sums], caller: tuple[str, ...], event: Any, *, on_device: bool) -> None:
    path = (*caller, public_name(event.name)) if len(caller) < DEEPEST else caller  # deeper ones count to their caller
    sums = paths.setdefault(path, _Sums())
    sums.calls += 1
    sums.microseconds += event.self_device_time_total if on_device else event.self_cpu_time_total
    for child in event.cpu_children:
        if _is_call(child):
            _add(paths, path, child, on_device=on_device)


def _listed(paths: dict[tuple[str, ...], _Sums], steps: int) -> tuple[Call, ...]:
    """As many paths as are kept, those first met before others; what the rest took is one call more."""
    kept = dict(list(paths.items())[:PATHS])
    places = {path: place for place, path in enumerate(kept)}
    calls = [
        Call(places.get(path[:-1]), path[-1], sums.calls / steps, _seconds(sums.microseconds, steps))
        for path, sums in kept.items()
    ]
    others = [sums for path, sums in paths.items() if path not in kept]
    if others:
        sums = _Sums(sum(one.calls for one in others), sum(one.microseconds for one in others))
        calls.append(Call(None, REST, sums.calls / steps, _seconds(sums.microseconds, steps)))
    return tuple(calls)


def _seconds(microseconds: float, steps: int) -> float:
    return round(microseconds / 1e6 / steps, DIGITS)
