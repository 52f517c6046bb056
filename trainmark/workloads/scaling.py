"""Scaling: a training on several processes of this machine, each with a copy of the model and a part of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark import formatting
from trainmark.store.cell import Cell
from trainmark.store.metrics import Metric
from trainmark.store.parameters import STEP_PARAMETERS, Parameter, Value
from trainmark.workloads import SkipReason
from trainmark.workloads.stepping import ModelWorkload, spread

if TYPE_CHECKING:
    from trainmark.measure.context import Context
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Settings
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.page.tables import Detail
    from trainmark.store.record import Record
    from trainmark.workloads.planning import PlannedCell, Request

LAUNCH_SECONDS = 8.0  # for two processes to import torch beside each other, on two cores
MODES = ("weak", "strong")
NOT_TAKEN = ("compile",)


@dataclass(frozen=True, kw_only=True)
class Scaling(ModelWorkload):
    """A step of a training that several processes take together."""

    def choices(self, model: str, device: str, request: Request, machine: Machine) -> Mapping[str, Sequence[Value]]:
        """1, 2, 4 processes, and so on to all that there are; the work of each the same, or the work of all."""
        return {
            "dataset": (machine.models[model].dataset,),
            "batch_size": request.values.batch_sizes_of(device, machine.models[model].family)[:1],
            "processes": _doublings(_places(device, machine)),
            "scaling_mode": MODES,
        }

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """For want of cores or devices, or where a batch cannot be shared out."""
        device, ranks = str(cell["device"]), int(cell["processes"])
        if device not in ("cpu", "cuda"):
            return SkipReason("device", f"processes share gradients over gloo or nccl, which do not serve {device}")
        places = _places(device, machine)
        if ranks > places:
            kind = "core" if device == "cpu" else "GPU"
            told = f"{ranks} processes need a {kind} each, and this machine has {places}"
            return SkipReason("processes", told)
        if cell["scaling_mode"] == "strong" and int(cell["batch_size"]) % ranks:
            told = f"a batch of {cell['batch_size']} cannot be shared out among {ranks} processes"
            return SkipReason("processes", told)
        return super().skip_reason(cell, machine)

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """The launch, and blocks of three kinds."""
        return LAUNCH_SECONDS + 3 * max(settings.max_seconds, 12 * self.step_seconds(planned.cell, machine))

    def measure(self, cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
        """The record; the limit of memory is that of each process."""
        outcome = context.call(self.measured_by, cell, settings, context.limits.memory_bytes)
        return context.record(cell, settings, outcome)

    def line(self, record: Record) -> str:
        """Time of a step, efficiency with its interval, and how much of a step waits for the all-reduce."""
        metrics = record.metrics
        step, exposed = metrics["step_seconds"], metrics["exposed_communication_seconds"]
        low, high = metrics["scaling_efficiency_low"], metrics["scaling_efficiency_high"]
        told = f"{formatting.duration(step):>7} {spread(record)}  efficiency {metrics['scaling_efficiency']:.2f}"
        told += f" {formatting.interval(low, high)}" if low is not None else ""
        if step and exposed is not None:
            told += f"  {max(0.0, exposed / step):.0%} waits for all-reduce"
        return told

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """Efficiency, and what is sent."""
        from trainmark.page.tables import Detail, megabytes_column, number_column, subject_table, time_column

        meaning = (
            "Efficiency is the time of a step of one process over that of all, for as much work each; where a batch is "
            "shared out, over that times their number. Both take turns within one launch."
        )
        columns = [
            number_column(records, "scaling_efficiency", "Efficiency"),
            number_column(records, "scaling_efficiency_low", "From"),
            number_column(records, "scaling_efficiency_high", "To"),
            time_column(records, "step_seconds", "Step time"),
            number_column(records, "samples_per_second", "Samples/s"),
            time_column(records, "exposed_communication_seconds", "All-reduce not hidden"),
            megabytes_column(records, "communication_bytes", "Sent a step (MB)"),
            number_column(records, "communication_buckets", "Buckets"),
            time_column(records, "launch_seconds", "Launching"),
            number_column(records, "gradient_difference", "Gradient off by"),
        ]
        yield Detail("Scaling", meaning, subject_table(records, columns))

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """Efficiency over processes."""
        from trainmark.page.galleries import Gallery
        from trainmark.page.plots.efficiency import efficiency_plots

        yield Gallery(
            "scaling",
            "Scaling",
            "1 is ideal: each process as fast as one alone. A line through a mark: its 95% interval; the dashed curve "
            "is what would be left if nothing but the all-reduce cost time.",
            tuple(efficiency_plots(drawn.of(self.name))),
            "no training on several processes was measured",
        )


def _places(device: str, machine: Machine) -> int:
    """How many processes have a core or a device each."""
    known = machine.environment.get("gpus") if device == "cuda" else machine.environment.get("cpu_cores")
    return len(known) if isinstance(known, list) else int(known or 1)


def _doublings(largest: int) -> tuple[int, ...]:
    powers = [2**power for power in range(largest.bit_length()) if 2**power <= largest]
    return tuple(dict.fromkeys([*powers, largest]))


SCALING = Scaling(
    name="scaling",
    parameters=(
        *(name for name in STEP_PARAMETERS if name not in NOT_TAKEN),
        *("optimizer", "optimizer_implementation", "processes", "scaling_mode"),
    ),
    meaning="a training step that several processes of this machine take together",
    round_unit="step",
    place=60,
    shown=("model", "batch_size", "device", "precision", "processes", "scaling_mode"),
    measured_by="trainmark.measure.launching:measure_scaling",
    option="--scaling",
    option_help="measure how a training scales over processes, and nothing else",
    own_parameters=(
        Parameter(
            "processes",
            1,
            "processes that train one model together, each with a copy of it",
            wording="processes={value}",
            title="Processes",
            example="1,2",
        ),
        Parameter(
            "scaling_mode",
            "weak",
            "what stays the same when there are more processes",
            MODES,
            title="Scaling",
            told={
                "weak": "the batch of each process: their work grows with their number",
                "strong": "the batch of all together: each has a share of it",
            },
        ),
    ),
    own_metrics={
        "scaling_efficiency": Metric("", "higher", "no", "speed of all processes over their number times that of one"),
        "scaling_efficiency_low": Metric("", "higher", "no", "lower end of its 95% interval within the launch"),
        "scaling_efficiency_high": Metric("", "higher", "no", "upper end of its 95% interval within the launch"),
        "exposed_communication_seconds": Metric(
            "s", "lower", "no", "of a step: the all-reduce that the backward pass does not hide", signed=True
        ),
        "exposed_communication_seconds_low": Metric("s", "lower", "no", "lower end of its 95% interval", signed=True),
        "exposed_communication_seconds_high": Metric("s", "lower", "no", "upper end of its 95% interval", signed=True),
        "communication_buckets": Metric("", "neither", "exact", "all-reduces of a step"),
        "communication_bytes": Metric(
            "B", "lower", "exact", "gradients that a process gives to the all-reduces of a step"
        ),
        "unequal_ranks": Metric("", "lower", "exact", "processes whose parameters differ from those of the first"),
        "gradient_difference": Metric(
            "", "lower", "no", "largest difference from one process's gradient of the same batch, of its largest entry"
        ),
        "launch_seconds": Metric("s", "lower", "no", "to start the processes, to let them meet, and to end them"),
    },
)
