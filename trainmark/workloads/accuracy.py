"""Accuracy: whole trainings, one a seed, and the held-out accuracy after the last epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark import formatting
from trainmark.store.parameters import LEARNING_PARAMETERS, Value
from trainmark.workloads import SkipReason
from trainmark.workloads.stepping import OVERHEAD_SECONDS, ModelWorkload
from trainmark.workloads.terminal_line import columns, memory_of

if TYPE_CHECKING:
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Settings
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.page.tables import Detail
    from trainmark.store.cell import Cell
    from trainmark.store.record import Record
    from trainmark.workloads.planning import PlannedCell, Request

SAMPLES = 4000  # of mnist-5k's training split: how many another data set has, nobody knows beforehand


@dataclass(frozen=True, kw_only=True)
class Accuracy(ModelWorkload):
    """A whole training, evaluated after each epoch, by the accuracy or by what its task says."""

    measured_by: str = "trainmark.measure.protocol:measure_training"
    computed_by: str = "trainmark.measure.computation:of_training"

    def choices(self, model: str, device: str, request: Request, machine: Machine) -> Mapping[str, Sequence[Value]]:
        """The grid's epochs; of an exhaustive one the lecture's slower loader, and all precisions."""
        facts, grid = machine.models[model], request.values
        return {
            "dataset": (facts.dataset,),
            "loader": ("dataloader" if request.values.exhaustive or "data" in facts.own_parts else "resident",),
            "epochs": (grid.training_of(facts.family)[0],),
            "precision": machine.precisions.get(device, ("fp32",)) if grid.exhaustive else ("fp32",),
        }

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """Each model on each device; where a call names no model, without those that take too long for the grid."""
        for values in super().combinations(request, machine):
            family = machine.models[str(values["model"])].family
            if "model" in request.given or family not in request.values.untrained:
                yield values

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """As of any model's; and synthetic labels cannot be learnt."""
        if cell["dataset"] == "synthetic":
            return SkipReason("dataset", "synthetic labels are random: they have no accuracy")
        return super().skip_reason(cell, machine)

    def seeds(self, cell: Cell, request: Request, machine: Machine) -> int:
        """Those asked for, or the grid's."""
        return request.seeds or request.values.training_of(machine.models[str(cell["model"])].family)[1]

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """All steps of all epochs and seeds."""
        cell = planned.cell
        steps = planned.seeds * int(cell["epochs"]) * SAMPLES / (int(cell["batch_size"]) * int(cell["accumulate"]))
        return OVERHEAD_SECONDS + steps * self.step_seconds(cell, machine)

    def line(self, record: Record) -> str:
        """The mean over the seeds, the lowest and highest of them, and how long a training took."""
        metrics = record.metrics
        others = [_over_seeds(record, name) for name in record.held_out_metrics if name != "accuracy"]
        known = metrics.get("accuracy")
        seeds = _ends(record, "accuracy") if known is not None else ""
        return columns(
            time=formatting.about(metrics["training_seconds"]),
            memory=memory_of(record),
            accuracy="" if known is None else formatting.percent(known),
            more=", ".join(filter(None, [seeds, *others])),
        )

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """What was learnt, and how long it took."""
        from trainmark.page.tables import Detail, accuracy_table

        meaning = "On held-out data after the last epoch; the training time is the median over seeds."
        yield Detail("Accuracy", meaning, accuracy_table(records), whole=True)

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """Curves over the epochs, and accuracy against speed."""
        from trainmark.page.galleries import Gallery, one
        from trainmark.page.plots.learning import held_out_plots, pareto_plot

        rows = drawn.of(self.name)
        yield Gallery(
            "learning",
            "Accuracy",
            "What the held-out data say after each epoch, a line a seed. The time leaves evaluation out.",
            (*held_out_plots(rows), *one(pareto_plot(rows))),
            "no accuracy was measured",
        )


def _over_seeds(record: Record, name: str) -> str:
    """``loss 0.231 (0.220 to 0.241, 3 seeds)``: a metric that has no column of its own."""
    return f"{formatting.metric_name(name)} {formatting.metric(name, record.metrics[name])} {_ends(record, name)}"


def _ends(record: Record, name: str) -> str:
    """The lowest and the highest of the seeds: ``(97.90% to 98.10%, 3 seeds)``."""
    seeds = int(record.settings.get("seeds") or len(record.rounds))
    low, high = (formatting.metric(name, record.metrics[f"{name}_{end}"]) for end in ("lowest", "highest"))
    return f"({low} to {high}, {seeds} seeds)" if seeds > 1 else "(1 seed)"


ACCURACY = Accuracy(
    name="accuracy",
    parameters=(*LEARNING_PARAMETERS, "epochs"),
    meaning="a whole training, then the held-out accuracy",
    round_unit="training",
    place=60,
    role="accuracy",
)
