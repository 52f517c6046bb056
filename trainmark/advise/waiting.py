"""Whether a training waits for its data, what for, and what would stop that: by the phases of its step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainmark import formatting
from trainmark.advise.stretched import is_like, stretch
from trainmark.store.parameters import COPIES_ASIDE, PARAMETERS
from trainmark.store.record import Record
from trainmark.workloads import of_role

WAITS = 0.10  # share of a step that goes into having a batch: a training that takes less would gain little
FIXED = 0.25  # share of the optimizer from which on a larger batch, or another implementation, is worth a try
BUSY = 0.5  # share of the loading in which processors work: below it they wait for what they read
LAUNCHED = 0.10  # of what an accelerator can reach: in a step below it the device waits for the host
LAUNCH_BOUND = 0.5  # share of a step in which the device works: below it the step waits for launches

WORDS = {
    "reading": "reading its data",
    "preparing": "preparing its data",
    "loading": "having its data",
    "copying": "copying its data to the device",
    "computing": "the model",
    "optimizer": "the optimizer",
    "host": "the host",
    "launches": "launching kernels, which the device waits for: the step is launch-bound",
}
FOR_DATA = ("reading", "preparing", "loading", "copying")


@dataclass(frozen=True)
class Bottleneck:
    """Where most of a training's step goes.

    Attributes:
        record: Of the training.
        name: A key of WORDS.
        share: Of the step, that it takes.
        waiting: Share of the step that goes into having a batch on the device.
        data: What that share is for most: a key of WORDS too.
    """

    record: Record
    name: str
    share: float
    waiting: float
    data: str

    @property
    def waits(self) -> bool:
        """Whether the training waits for its data."""
        return self.waiting >= WAITS

    @property
    def sentence(self) -> str:
        """What it waits for, if it does, and where its time goes: in a sentence."""
        share = formatting.percent(self.share, 0)
        if self.waits and self.name in FOR_DATA:
            return f"It waits for its data: {share} of a step goes into {WORDS[self.name]}."
        told = f"{share} of a step goes into {WORDS[self.name]}"
        waiting = formatting.percent(self.waiting, 0)
        if self.waits:
            return f"It waits for its data: {waiting} of a step goes into {WORDS[self.data]}, and {told}."
        return f"It does not wait for its data, which take {waiting} of a step: {told}."

    @property
    def remedy(self) -> str:
        """What would stop that: a sentence."""
        return _REMEDIES[self.data if self.waits else self.name](self.record)


def bottleneck(record: Record) -> Bottleneck | None:
    """Of a training step; None where its phases are not known, or are those of another step than the timed one."""
    metrics = record.metrics
    whole = metrics.get("instrumented_step_seconds")
    if not whole or not is_like(stretch(metrics.get("step_seconds"), whole)):
        return None
    took = {
        name: sum(metrics.get(f"{phase}_seconds") or 0.0 for phase in phases) / whole
        for name, phases in {
            "loading": ("data",),
            "copying": ("copy",),
            "computing": ("forward", "loss", "backward"),
            "optimizer": ("optimizer", "zero_grad"),
            "host": ("other",),
        }.items()
    }
    data = _what_loading_is(record) if took["loading"] >= took["copying"] else "copying"
    largest = max(took, key=lambda name: took[name])
    name = data if largest in ("loading", "copying") else largest
    busy = record.metrics.get("device_busy_share")
    if largest in ("computing", "optimizer", "host") and busy is not None and busy < LAUNCH_BOUND:
        largest = name = "launches"
        took[name] = 1 - busy
    elif largest == "computing":
        if took["optimizer"] >= FIXED:
            largest = name = "optimizer"
        elif _waits_for_launches(record):
            name = "host"
    return Bottleneck(record, name, took[largest], took["loading"] + took["copying"], data)


def bottlenecks(records: Sequence[Record]) -> list[Bottleneck]:
    """Of each training whose phases are known."""
    return [found for record in of_role("training", records) if (found := bottleneck(record)) is not None]


def summary(found: Sequence[Bottleneck]) -> str:
    """How many trainings wait for their data; empty where nothing is known of any."""
    if not found:
        return ""
    waiting = [one for one in found if one.waits]
    trainings = formatting.counted(len(found), "training")
    if not waiting:
        most = formatting.percent(max(one.waiting for one in found), 0)
        return f"Of {trainings} none waits for its data, which take at most {most} of a step."
    return f"Of {trainings} {len(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for data."


def _what_loading_is(record: Record) -> str:
    """Reading or preparing: whether processors work while a batch is loaded, or wait themselves."""
    if _value(record, "loader") == "resident":
        return "loading"
    worked, took = record.metrics.get("loading_cpu_seconds"), record.metrics.get("data_seconds")
    workers = _value(record, "workers")
    available = took if not workers else int(workers) * (record.metrics.get("instrumented_step_seconds") or 0.0)
    if worked is None or not available:
        return "loading"
    return "preparing" if worked >= BUSY * available else "reading"


def _waits_for_launches(record: Record) -> bool:
    """Whether a device does so little in a step that the host cannot keep it busy; where nobody saw how busy it is."""
    if record.metrics.get("device_busy_share") is not None:
        return False
    reached = [record.metrics.get(name) for name in ("flops_utilisation", "bytes_utilisation")]
    known = [share for share in reached if share is not None]
    return _value(record, "device") != "cpu" and bool(known) and max(known) < LAUNCHED


def _value(record: Record, name: str) -> str | int:
    return record.cell.settings.get(name, PARAMETERS[name].default)


def _read(record: Record) -> str:
    return f"{_more_workers(record, 'read')}; where the data fit, --loader resident reads nothing."


def _prepare(record: Record) -> str:
    return f"{_more_workers(record, 'prepare')}, given processors; or prepare the data once, beforehand."


def _more_workers(record: Record, do: str) -> str:
    workers = int(_value(record, "workers"))
    how = "more of them at a time" if workers else "while the model computes"
    return f"--workers {2 * workers or 1} would {do} {how}"


def _load(record: Record) -> str:
    if _value(record, "loader") == "resident":
        return "The batches are put together on the device: a larger --batch-size does it more seldom."
    return f"{_more_workers(record, 'load')}."


def _copy(record: Record) -> str:
    if _value(record, "pin_memory") == "off" and _value(record, "device") in COPIES_ASIDE:
        return (
            "--pin-memory on would copy while the host goes on; where the data fit, --loader resident copies nothing."
        )
    return "Copy less: bytes that become numbers on the device; or --loader resident, where the data fit."


def _compute(_record: Record) -> str:
    return "Its data are not what to look at: a narrower --precision, --compile or a smaller model are."


def _optimize(record: Record) -> str:
    fused = "" if _value(record, "optimizer_implementation") == "fused" else "--optimizer-implementation fused, or "
    return f"Its steps are small beside what each costs by itself: {fused}a larger --batch-size."


def _host(_record: Record) -> str:
    return "The interpreter is what is waited for: --compile, a larger --batch-size, or less Python in a step."


def _launch(record: Record) -> str:
    graphs = "--compile reduce-overhead launches a whole step at once; " * (_value(record, "compile") == "off")
    return f"{graphs}a larger --batch-size gives each launch more to do."


_REMEDIES: dict[str, Callable[[Record], str]] = {
    "reading": _read,
    "preparing": _prepare,
    "loading": _load,
    "copying": _copy,
    "computing": _compute,
    "optimizer": _optimize,
    "host": _host,
    "launches": _launch,
}
