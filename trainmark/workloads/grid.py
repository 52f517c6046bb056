"""Grids: the values of every parameter that a call does not name. A suite brings its own: ``grids`` of its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    compiled: tuple[str, ...] = ()

    def batch_sizes_of(self, device: str, family: str) -> tuple[int, ...]:
        """Batch sizes of a model's family on a device."""
        if self.exhaustive:
            return (16, 64, 256, 1024) if device == "cpu" else (64, 256, 1024, 4096)
        return self.batch_sizes.get((device, family), self.other_batch_sizes)

    def training_of(self, family: str) -> tuple[int, int]:
        """Epochs and seeds of the accuracy of a model's family."""
        return self.training.get(family, self.other_training)


GRIDS: dict[str, Grid] = {
    "quick": Grid("what tells most in little time"),
    "full": Grid("all that this machine can run", exhaustive=True, input_batch_sizes=(64, 256, 1024)),
}
