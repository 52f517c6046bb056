"""Which n-gram cells a grid has: engines with what they compute, where they run, and what does not go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from bench.ngram.engines import ENGINES, SMOOTHINGS
from trainmark.store.parameters import Value
from trainmark.workloads import product_of

QUICK_ORDERS, FULL_ORDERS = (3,), (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Clash:
    """Two axes whose values do not go together.

    Attributes:
        axes: Their names; the workload is one where it is what the other cannot do.
        blamed: The axis to change.
        reason: Why, in words.
    """

    axes: set[str]
    blamed: str
    reason: str


def combinations(
    parameters: tuple[str, ...],
    quick: tuple[tuple[Value, Value], ...],
    exhaustive: bool,
    given: Mapping[str, tuple[Value, ...]],
    devices: tuple[str, ...],
    scores: bool,
) -> Iterator[dict[str, Value]]:
    """Engines with what they compute where they run; what does not go together only where both were asked for.

    Args:
        parameters: That the workload takes.
        quick: Engines and smoothings of the quick grid.
        exhaustive: Whether all is wanted that the machine can do.
        given: Parameter -> the values asked for.
        devices: That the machine has.
        scores: Whether a model is needed that scores.
    """
    for device in given.get("device", devices):
        pairs: Iterable[tuple[Value, Value]] = [(_engine_on(device, name), other) for name, other in quick]
        if exhaustive:
            pairs = list(product(ENGINES, SMOOTHINGS))
        if "engine" in given or "smoothing" in given:
            engines, smoothings = (tuple(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
            pairs = product(given.get("engine", engines), given.get("smoothing", smoothings))
        for engine, smoothing in pairs:
            choices: dict[str, tuple[Value, ...]] = {"order": FULL_ORDERS if exhaustive else QUICK_ORDERS, **given}
            choices |= {"engine": (engine,), "smoothing": (smoothing,), "device": (device,)}
            for values in product_of(parameters, choices):
                clash = find_clash(values, scores=scores)
                if clash is None or clash.axes <= set(given):
                    yield values


def _engine_on(device: Value, engine: Value) -> Value:
    return engine if device == "cpu" else "torch"


def find_clash(values: Mapping[str, Value], *, scores: bool) -> Clash | None:
    """What of an n-gram cell does not go together; None where all does."""
    name, smoothing = str(values["engine"]), str(values["smoothing"])
    engine = ENGINES[name]
    if scores and not engine.own:
        return Clash({"engine", "workload"}, "engine", f"{name} gives no model that scores")
    if values["device"] not in engine.devices:
        return Clash({"engine", "device"}, "engine", f"{name} runs on {', '.join(engine.devices)} only")
    if scores and values["device"] != "cpu":
        return Clash({"device"}, "device", "n-gram models score on the CPU, whatever counted them: --device cpu")
    if smoothing not in engine.computes:
        return Clash({"engine", "smoothing"}, "engine", f"{name} computes {', '.join(engine.computes)} only")
    if smoothing == "kneser-ney" and values["order"] == 1:
        return Clash({"order", "smoothing"}, "order", "Kneser-Ney needs an order of 2: it goes back to the one below")
    return None
