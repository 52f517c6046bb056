"""Input: the input pipeline alone, without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark.store.parameters import LOADING_PARAMETERS, Value
from trainmark.workloads import SkipReason, product_of
from trainmark.workloads.stepping import OVERHEAD_SECONDS, StepWorkload

if TYPE_CHECKING:
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Settings
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.page.tables import Detail
    from trainmark.store.cell import Cell
    from trainmark.store.record import Record
    from trainmark.workloads.planning import PlannedCell, Request


@dataclass(frozen=True, kw_only=True)
class Input(StepWorkload):
    """A batch, by each way of feeding."""

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """Each way of feeding on each device."""
        given = {name: values for name, values in request.given.items() if name in self.parameters}
        choices: dict[str, Sequence[Value]] = {
            "loader": ("resident", "dataloader"),
            "device": machine.devices,
            "batch_size": request.values.input_batch_sizes,
            "dataset": (machine.default_data,),
        }
        yield from product_of(self.parameters, {**choices, **given})

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """None: there is neither arithmetic nor a model."""
        return None

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """The rounds and the process."""
        return OVERHEAD_SECONDS + 1.5 * settings.max_seconds

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """What a batch costs."""
        from trainmark.page.tables import Detail, input_table

        yield Detail("Input pipelines", "What it costs to have a batch, before any arithmetic.", input_table(records))

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """None of its own."""
        return ()


INPUT = Input(
    name="input",
    parameters=("dataset", *LOADING_PARAMETERS, "batch_size", "device"),
    meaning="what it costs to have a batch",
    round_unit="batch",
    shown=("loader", "batch_size"),
    place=30,
    steps="trainmark.measure.steps:input_steps",
)
