"""Inference: the forward pass in eval mode, without gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark.workloads.stepping import StepWorkload, speed_gallery

if TYPE_CHECKING:
    from trainmark.page.galleries import Drawn, Gallery


@dataclass(frozen=True, kw_only=True)
class Inference(StepWorkload):
    """The forward pass of a batch."""

    passes: int = 1

    def batch_sizes(self, sizes: tuple[int, ...], *, exhaustive: bool) -> tuple[int, ...]:
        """The largest of a quick grid: what an inference is slow at is known from the training."""
        return sizes if exhaustive else sizes[-1:]

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """Speed."""
        yield speed_gallery(drawn, self.name, "inference", "Inference speed", "no inference was measured")


INFERENCE = Inference(
    name="inference",
    meaning="forward in eval mode without gradients",
    place=20,
    steps="trainmark.measure.steps:inference_steps",
)
