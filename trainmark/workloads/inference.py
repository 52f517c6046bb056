"""Inference: the forward pass in eval mode, without gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark.store.parameters import PARAMETERS, STEP_PARAMETERS, Value
from trainmark.workloads.stepping import StepWorkload, speed_gallery

if TYPE_CHECKING:
    from trainmark.measure.machine import Machine
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.page.tables import Detail
    from trainmark.store.record import Record
    from trainmark.workloads.planning import Request


@dataclass(frozen=True, kw_only=True)
class Inference(StepWorkload):
    """The forward pass of a batch."""

    parameters: tuple[str, ...] = (*STEP_PARAMETERS, "grad_mode")
    passes: int = 1

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """The grid, and its first model under ``no_grad``, of which a quick one takes the smallest batch.

        So it is seen what the default saves. A call that names a value of its own, but for the device, asks for that.
        """
        cells = list(super().combinations(request, machine))
        yield from cells
        first = next(iter(request.values.models or machine.models), None)
        plain = ("precision", "compile", "memory_format")
        if set(request.given) & set(self.parameters) - {"device"}:
            return
        for device in dict.fromkeys(cell["device"] for cell in cells):
            usual = [
                cell
                for cell in cells
                if (cell["model"], cell["device"]) == (first, device)
                and all(cell.get(name, PARAMETERS[name].default) == PARAMETERS[name].default for name in plain)
            ]
            usual.sort(key=lambda cell: int(cell["batch_size"]))
            for cell in usual if request.values.exhaustive else usual[:1]:
                yield {**cell, "grad_mode": "no_grad"}

    def batch_sizes(self, sizes: tuple[int, ...], *, exhaustive: bool) -> tuple[int, ...]:
        """The largest of a quick grid: what an inference is slow at is known from the training."""
        return sizes if exhaustive else sizes[-1:]

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """What inference_mode saves over no_grad, where both were measured."""
        from trainmark.advise.grad_mode import savings, savings_sentence
        from trainmark.page.tables import Detail, grad_mode_table

        found = savings(records)
        if found:
            yield Detail("Gradients off", savings_sentence(found), grad_mode_table(found))

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """Speed."""
        yield speed_gallery(drawn, self.name, "inference", "Inference speed", "no inference was measured")


INFERENCE = Inference(
    name="inference",
    meaning="forward in eval mode without gradients",
    place=20,
    steps="trainmark.measure.steps:inference_steps",
)
