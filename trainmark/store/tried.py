"""Settings that an answer has tried, as its record keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainmark.store.documents import SchemaError, convert
from trainmark.store.parameters import PARAMETERS, Value
from trainmark.store.ranges import Duration, Integer, Number, Seconds, Some

SERIES = "tried"  # of a record: the evidence


@dataclass(frozen=True)
class Tried:
    """A setting, and what is known of it.

    Attributes:
        axes: Parameters of its training, as an accuracy cell has them.
        steps: Of a whole training.
        seconds: Of a whole training without compiling, by the time of its steps when it was screened.
        compile_seconds: Of the first step with an empty cache; 0 where nothing is compiled.
        trained: Seed -> the metric after the last epoch, as pairs; of equal trainings the first alone.
        log_ratios: Logarithms of its seconds a training over the default's, of undisturbed pairs.
    """

    axes: Mapping[str, Value]
    steps: Some
    seconds: Seconds
    compile_seconds: Duration = 0.0
    trained: tuple[tuple[Integer, Number], ...] = ()
    log_ratios: tuple[Number, ...] = ()

    @property
    def arithmetic(self) -> tuple[tuple[str, Value], ...]:
        """What decides its accuracy: every parameter that may change a result."""
        return tuple(
            (name, value)
            for name, value in sorted(self.axes.items())
            if name not in PARAMETERS or not PARAMETERS[name].same_arithmetic
        )


def read_tried(documents: Sequence[Any]) -> tuple[Tried, ...]:
    """The settings in a record's series, the default first.

    Raises:
        SchemaError: One of them is none; or they are not of one model.
    """
    if not isinstance(documents, list | tuple):
        raise SchemaError("not settings that were tried: they are no list")
    tried = tuple(convert(one, Tried, "a setting that was tried") for one in documents)
    for one in tried:
        for name in ("model", "dataset", "device", "epochs", "batch_size"):
            value = one.axes.get(name)
            if value is None or (name in PARAMETERS and not PARAMETERS[name].allows(value)):
                raise SchemaError(f"not a setting that was tried: its {name} is {str(value)[:80]!r}")
    return tried
