"""The words of a stored run: what it says of its own parameters, metrics and workloads, and who knows them already.

A run brings the facts that it takes to read it, so that a page opens without the suite that measured
it. What this process knows already stands: a run adds words, it changes none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from trainmark.store.cell import WORKLOADS, Cell, WorkloadFacts
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.parameters import PARAMETERS, Parameter, Value

_NOT_SAID = (  # the first is the key of the rest, the second a function of this process; the others say what to measure
    *("name", "locate"),
    *("told", "example", "devices", "needs", "excludes", "own_part"),
)
_REGISTRIES: tuple[tuple[str, dict[str, Any], type], ...] = (
    ("parameters", PARAMETERS, Parameter),
    ("metrics", METRICS, Metric),
    ("workloads", WORKLOADS, WorkloadFacts),
)
NAME = re.compile(r"\w[\w.-]{0,99}")  # of a workload, a parameter or a metric: a join key has spaces between them
_learned: list[Any] = []  # entries that a stored run brought


def describe(cells: Iterable[Cell], metrics: Iterable[str]) -> dict[str, Any]:
    """What it takes to read records of these cells with these metrics, as plain JSON types."""
    cells = list(cells)
    used = {
        "parameters": dict.fromkeys(name for cell in cells for name, _ in cell.axes),
        "metrics": dict.fromkeys(metrics),
        "workloads": dict.fromkeys(cell.workload for cell in cells),
    }
    return {
        kind: {name: _said(registry[name], of) for name in used[kind] if name in registry}
        for kind, registry, of in _REGISTRIES
    }


def _said(entry: Any, of: type) -> dict[str, Any]:
    values = {item.name: getattr(entry, item.name) for item in fields(of) if item.name not in _NOT_SAID}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def learn(document: Any) -> None:
    """Takes over what a stored run says and nobody here knows: all of it, or nothing.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: It is no glossary, or a part is missing or of the
            wrong kind.
    """
    if document is None:
        return  # of a run that is older than this
    said = [
        (registry, name, _entry(of, name, one))
        for kind, registry, of in _REGISTRIES
        for name, one in document[kind].items()
    ]
    for registry, name, entry in said:
        if name not in registry:
            registry[name] = entry
            _learned.append(entry)


def is_learned(entry: Any) -> bool:
    """Whether an entry is only what a stored run told, and gives way to what this process registers itself."""
    return any(entry is one for one in _learned)


def fill(axes: Mapping[str, Value], workload: str, document: Any) -> dict[str, Value]:
    """The parameters of a record with those that it does not name at the defaults of its own run.

    Only where this process has another default: else the join key leaves both out.
    """
    if document is None or workload not in document["workloads"]:
        return dict(axes)
    own = {name: said["default"] for name, said in document["parameters"].items()}
    taken = document["workloads"][workload]["parameters"]
    lacking = {
        name: own[name] for name in taken if name in own and name not in axes and own[name] != PARAMETERS[name].default
    }
    return {**axes, **lacking}


_KINDS: dict[str, type | tuple[type, ...]] = {
    "default": (str, int),
    "same_arithmetic": bool,
    "signed": bool,
    "tolerance": (float, int, type(None)),
    "values": list,
    "parameters": list,
    "shown": list,
}


def _on_one_line(text: str) -> str:
    """A text with a space for each sign that is not printed; one may be as long as its file, and stand in each line."""
    if text.isprintable():
        return text
    for sign in set(text):
        if not sign.isprintable():
            text = text.replace(sign, " ")
    return text


def _entry(of: type, name: str, document: Mapping[str, Any]) -> Any:
    """A dataclass from its document; keys that it does not know are ignored."""
    if of is Metric:
        document = {"signed": True, **document}  # of a run that is older than this
    known = [item.name for item in fields(of)]
    parts = {key: document[key] for key in known if key in document and key not in _NOT_SAID}
    for key, value in parts.items():
        if not isinstance(value, _KINDS.get(key, str)):
            raise TypeError(f"{key} of {name} is {value!r}")
        if isinstance(value, list):
            if not all(isinstance(one, str | int) for one in value):
                raise TypeError(f"{key} of {name} are {value!r}")
            parts[key] = tuple(value)
        elif isinstance(value, str) and key != "default":
            parts[key] = _on_one_line(value)  # a terminal shows it
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name")
    return of(**parts, **({"name": name} if "name" in known else {}))
