"""Input: the input pipeline alone, without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark.store.parameters import LOADING_PARAMETERS, OWN_DATA, Value
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
        """Each way of feeding on each device, of each data set."""
        given = {name: values for name, values in request.given.items() if name in self.parameters}
        choices: dict[str, Sequence[Value]] = {
            "loader": ("resident", "dataloader"),
            "device": machine.devices,
            "batch_size": request.values.input_batch_sizes,
        }
        yield from product_of(self.parameters, {**choices, **given, "dataset": self._datasets(request, machine)})

    def _datasets(self, request: Request, machine: Machine) -> Sequence[Value]:
        """Those that were asked for, else what the models are fed; a task's own data go by the name of the task."""
        models = request.models_on(machine)
        tasks = [name for name in models if machine.models[name].dataset == OWN_DATA]
        others = [machine.default_data] if len(tasks) < len(models) or not models else []
        asked = request.given.get("dataset", (*others, OWN_DATA))
        return [name for one in asked for name in (tasks if one == OWN_DATA else [one])]

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """None: there is neither arithmetic nor a model."""
        return None

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """The rounds and the process."""
        return OVERHEAD_SECONDS + 1.5 * settings.max_seconds

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """What a batch costs."""
        from trainmark.page.tables import Detail, input_table

        meaning = "What it costs to have a batch, before any arithmetic."
        yield Detail("Input pipelines", meaning, input_table(records), whole=True)

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
