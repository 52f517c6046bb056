"""Which n-gram cells a run has: engines with what they compute, where they run; and how long a cell takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from trainmark.measure.machine import Machine
from bench.ngram.engines import ENGINES
from trainmark.measure.settings import Settings
from trainmark.store.cell import AXES, WORKLOADS, Cell, Value

NGRAM_WORKLOADS = ("ngram_fit", "ngram_score")
NGRAM_AXES = {"engine", "order", "smoothing", "corpus", "tokens"}
QUICK_ORDERS, FULL_ORDERS = (3,), (1, 2, 3, 4, 5, 6)
# Engines and smoothings of the quick grid, on a CPU; elsewhere the one engine that runs there takes their place.
QUICK_PAIRS: dict[str, tuple[tuple[Value, Value], ...]] = {
    "ngram_fit": (("numba", "mle"), ("numba", "kneser-ney"), ("python", "mle")),
    "ngram_score": (("numba", "kneser-ney"),),
}

NGRAM_OVERHEAD_SECONDS = 2.0  # importing, writing the corpus, loading kernels
CORPUS_TOKENS = 100_000  # of pydoc; how many another whole corpus has, nobody knows beforehand
TOKENS_A_SECOND = {"numba": 10e6, "torch": 5e6, "nltk": 5e4}
TOKENS_A_SECOND_OTHERS = 5e5


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
    workload: str, full: bool, given: Mapping[str, tuple[Value, ...]], machine: Machine
) -> Iterator[dict[str, Value]]:
    """Engines with what they compute where they run; what does not go together only where both were asked for.

    Args:
        workload: One of NGRAM_WORKLOADS.
        full: Whether all is wanted that the machine can do.
        given: Axis -> the values asked for.
        machine: What there is.
    """
    for device in given.get("device", machine.devices):
        pairs: Iterable[tuple[Value, Value]] = [
            (_engine_on(device, name), other) for name, other in QUICK_PAIRS[workload]
        ]
        if full:
            pairs = list(product(ENGINES, AXES["smoothing"].values))
        if "engine" in given or "smoothing" in given:
            engines, smoothings = (tuple(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
            pairs = product(given.get("engine", engines), given.get("smoothing", smoothings))
        for engine, smoothing in pairs:
            choices: dict[str, tuple[Value, ...]] = {"order": FULL_ORDERS if full else QUICK_ORDERS, **given}
            choices |= {"engine": (engine,), "smoothing": (smoothing,), "device": (device,)}
            names = [name for name in WORKLOADS[workload].axes if name in choices]
            for chosen in product(*(choices[name] for name in names)):
                values = dict(zip(names, chosen, strict=True))
                clash = _clash(workload, values)
                if clash is None or clash.axes <= set(given):
                    yield values


def _engine_on(device: Value, engine: Value) -> Value:
    return engine if device == "cpu" else "torch"


def find_obstacle(cell: Cell, machine: Machine) -> tuple[str | None, str | None]:
    """Which axis stands in the way of an n-gram cell, its device apart, and why; (None, None) where none does."""
    clash = _clash(cell.workload, cell.settings)
    if clash is not None:
        return clash.blamed, clash.reason
    missing = machine.engine_obstacle.get(str(cell["engine"]))
    return ("engine", missing) if missing else (None, None)


def _clash(workload: str, values: Mapping[str, Value]) -> Clash | None:
    """What of an n-gram cell does not go together; None where all does."""
    name, smoothing = str(values["engine"]), str(values["smoothing"])
    engine = ENGINES[name]
    if workload == "ngram_score" and not engine.own:
        return Clash({"engine", "workload"}, "engine", f"{name} gives no model that scores")
    if values["device"] not in engine.devices:
        return Clash({"engine", "device"}, "engine", f"{name} runs on {', '.join(engine.devices)} only")
    if smoothing not in engine.computes:
        return Clash({"engine", "smoothing"}, "engine", f"{name} computes {', '.join(engine.computes)} only")
    if smoothing == "kneser-ney" and values["order"] == 1:
        return Clash({"order", "smoothing"}, "order", "Kneser-Ney needs an order of 2: it goes back to the one below")
    return None


def estimate_seconds(cell: Cell, settings: Settings) -> float:
    """By the order of magnitude: a peer's speed is known when it has been measured."""
    tokens = int(cell["tokens"]) or CORPUS_TOKENS
    seconds = tokens / TOKENS_A_SECOND.get(str(cell["engine"]), TOKENS_A_SECOND_OTHERS)
    return NGRAM_OVERHEAD_SECONDS + seconds + max(settings.min_rounds * seconds, settings.max_seconds)
