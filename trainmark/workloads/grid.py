"""Grids: the values of every parameter that a call does not name. A suite brings its own: ``grids`` of its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Grid:
    """Values for a call that names none.

    Attributes:
        meaning: One line for ``--help``.
        models: Names, or ``package.module:factory``.
        exhaustive: Whether everything is taken that the machine can run; else what tells most in little time.
        batch_sizes: Of a device and a family of models.
        other_batch_sizes: Of the others.
        input_batch_sizes: Of the input pipeline alone.
        training: Family -> epochs and seeds of an accuracy.
        other_training: Of the others.
        untrained: Families whose accuracy takes longer than such a grid should; their answers still train.
        compiled: Families that are compiled on a CPU, where it takes long; an exhaustive grid compiles all.
    """

    meaning: str
    models: tuple[str, ...] = ()
    exhaustive: bool = False
    batch_sizes: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    other_batch_sizes: tuple[int, ...] = (64, 256)
    input_batch_sizes: tuple[int, ...] = (64,)
    training: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    other_training: tuple[int, int] = (10, 3)
    untrained: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()

    def batch_sizes_of(self, device: str, family: str) -> tuple[int, ...]:
        """Batch sizes of a model's family on a device."""
        if self.exhaustive:
            return (16, 64, 256, 1024) if device == "cpu" else (64, 256, 1024, 4096)
        return self.batch_sizes.get((device, family), self.other_batch_sizes)

    def training_of(self, family: str) -> tuple[int, int]:
        """Epochs and seeds of the accuracy of a model's family."""
        return self.training.get(family, self.other_training)


class WrongGrid(ValueError):
    """A table describes no grid; the message says what of it."""


def grid_of(name: str, table: Mapping[str, Any]) -> Grid:
    """A grid as TOML has it: the same values for each family of models.

    Args:
        name: Its name.
        table: ``models``, ``batch_sizes``, ``input_batch_sizes``, ``epochs``, ``seeds``, ``exhaustive``, ``meaning``;
            what it lacks has the default of :class:`Grid`.

    Raises:
        WrongGrid: A key is not known or of the wrong kind.
    """
    for key, value in table.items():
        if key not in _KEYS:
            raise WrongGrid(f"{name} has no key {key}; it has {', '.join(_KEYS)}")
        words, fits = _KEYS[key]
        if not fits(value):
            raise WrongGrid(f"{key} of {name} is {value!r}, not {words}")
    sizes = tuple(table.get("batch_sizes", Grid.other_batch_sizes))
    epochs, seeds = Grid.other_training
    return Grid(
        table.get("meaning", "of pyproject.toml"),
        models=tuple(table.get("models", ())),
        exhaustive=table.get("exhaustive", False),
        other_batch_sizes=sizes,
        input_batch_sizes=tuple(table.get("input_batch_sizes", table.get("batch_sizes", Grid.input_batch_sizes))),
        other_training=(table.get("epochs", epochs), table.get("seeds", seeds)),
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_count, value))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_COUNT, _COUNTS = ("a whole number above zero", _is_count), ("a list of whole numbers above zero", _are_counts)
_KEYS = {
    "models": ("a list of strings", _are_names),
    "batch_sizes": _COUNTS,
    "input_batch_sizes": _COUNTS,
    "epochs": _COUNT,
    "seeds": _COUNT,
    "exhaustive": ("true or false", lambda value: isinstance(value, bool)),
    "meaning": ("a string", lambda value: isinstance(value, str)),
}

GRIDS: dict[str, Grid] = {
    "quick": Grid("what tells most in little time"),
    "full": Grid("all that this machine can run", exhaustive=True, input_batch_sizes=(64, 256, 1024)),
}
