"""The words of a stored run: what it says of its own parameters, metrics and workloads, and who knows them already.

A run brings the facts that it takes to read it, so that a page opens without the suite that measured
it. What this process knows already stands: a run adds words, it changes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from trainmark.store.cell import WORKLOADS, Cell, WorkloadFacts
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.parameters import PARAMETERS, Parameter, Value

_OF_THIS_PROCESS = ("locate",)  # attributes of a parameter that no document holds


def describe(cells: Iterable[Cell], metrics: Iterable[str]) -> dict[str, Any]:
    """What it takes to read records of these cells with these metrics, as plain JSON types."""
    cells = list(cells)
    names = dict.fromkeys(name for cell in cells for name, _ in cell.axes)
    workloads = dict.fromkeys(cell.workload for cell in cells)
    return {
        "parameters": {
            name: {
                key: value for key, value in vars(PARAMETERS[name]).items() if key not in ("name", *_OF_THIS_PROCESS)
            }
            for name in names
            if name in PARAMETERS
        },
        "metrics": {name: asdict(METRICS[name]) for name in dict.fromkeys(metrics) if name in METRICS},
        "workloads": {
            name: {
                item.name: getattr(WORKLOADS[name], item.name) for item in fields(WorkloadFacts) if item.name != "name"
            }
            for name in workloads
            if name in WORKLOADS
        },
    }


def learn(document: Any) -> None:
    """Takes over what a stored run says and nobody here knows.

    Raises:
        TypeError: It is no vocabulary, or a part is missing or of the wrong kind.
    """
    if document is None:
        return  # of a run that is older than this
    for name, said in document["parameters"].items():
        PARAMETERS.get(name) or PARAMETERS.setdefault(name, _entry(Parameter, {**said, "name": name}))
    for name, said in document["metrics"].items():
        METRICS.get(name) or METRICS.setdefault(name, _entry(Metric, said))
    for name, said in document["workloads"].items():
        WORKLOADS.get(name) or WORKLOADS.setdefault(name, _entry(WorkloadFacts, {**said, "name": name}))


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
    "tolerance": (float, int, type(None)),
    "values": list,
    "parameters": list,
    "shown": list,
}


def _entry(of: type, document: Mapping[str, Any]) -> Any:
    """A dataclass from its document; keys that it does not know are ignored."""
    parts = {item.name: document[item.name] for item in fields(of) if item.name in document}
    for name, value in parts.items():
        if not isinstance(value, _KINDS.get(name, str)):
            raise TypeError(f"{name} is {value!r}")
    return of(**{name: tuple(value) if isinstance(value, list) else value for name, value in parts.items()})
