"""What the workloads have in common that take steps with a model: grid, skip reasons, estimate, record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from trainmark import formatting
from trainmark.scratch import scratch
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS, STEP_PARAMETERS, Value
from trainmark.workloads import SkipReason, Workload, product_of
from trainmark.workloads.terminal_line import columns, memory_of

if TYPE_CHECKING:
    from trainmark.measure.context import Context
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Settings
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.store.record import Record
    from trainmark.workloads.planning import PlannedCell, Request

# Measured on one core of a 2.6 GHz Xeon: docs/measuring.md, "The estimate".
SHARE_OF_PRODUCT_SPEED = 0.4
OVERHEAD_SECONDS = 0.8
COMPILE_SECONDS = 15.0
FASTER_IN_BF16 = 1.7
UNITS = "_per_second"
RATES = ("samples_per_second", "achieved_flops_per_second", "achieved_bytes_per_second")  # of every step
TELLING = 1.05  # of the machine's best: a moment as good as that is told of on the page alone


@dataclass(frozen=True, kw_only=True)
class ModelWorkload(Workload):
    """A workload of a model on a device, in a precision.

    Attributes:
        passes: Of a step over the model: a backward pass costs twice the forward pass.
    """

    parameters: tuple[str, ...] = STEP_PARAMETERS
    passes: int = 3

    def choices(self, model: str, device: str, request: Request, machine: Machine) -> Mapping[str, Sequence[Value]]:
        """Values of what the grid varies, for one model on one device; here, the data set that fits it."""
        return {"dataset": (machine.models[model].dataset,)}

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """Each model on each device."""
        given = {name: values for name, values in request.given.items() if name in self.parameters}
        for model, device in product(request.models_on(machine), request.given.get("device", machine.devices)):
            chosen = {**self.choices(model, str(device), request, machine), **given}
            yield from product_of(self.parameters, {**chosen, "model": (model,), "device": (device,)})

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """For want of a precision, a compiler or a convolution."""
        values, device = cell.settings, str(cell["device"])
        precision = values.get("precision", "fp32")
        if precision not in machine.precisions[device]:
            has = ", ".join(machine.precisions[device])
            sentence = f"the {device} of this machine does not compute in {precision}; it does in {has}"
            return SkipReason("precision", sentence)
        if values.get("compile", "off") != "off" and device in machine.compile_obstacle:
            return SkipReason("compile", machine.compile_obstacle[device])
        if values.get("memory_format") == "channels_last" and not machine.models[str(values["model"])].has_convolution:
            return SkipReason("memory_format", f"{values['model']} has no convolution: a memory format changes nothing")
        return None

    def step_seconds(self, cell: Cell, machine: Machine) -> float:
        """Of one step, from the model's operations and the speed of one matrix product.

        Within a factor of two; steps on accelerators are taken to cost nothing beside the fixed parts.
        """
        values = cell.settings
        flops = machine.models[str(values["model"])].sample_flops
        if values["device"] != "cpu" or not flops:
            return 2e-3
        faster = FASTER_IN_BF16 if values["precision"] == "bf16" else 1.0
        speed = SHARE_OF_PRODUCT_SPEED * machine.cpu_flops * faster
        samples = int(values["batch_size"]) * int(values.get("accumulate", 1))
        return 2e-3 + self.passes * flops * samples / speed


@dataclass(frozen=True, kw_only=True)
class StepWorkload(ModelWorkload):
    """A workload whose rounds are blocks of steps of a model."""

    measured_by: str = "trainmark.measure.protocol:measure_steps"
    computed_by: str = "trainmark.measure.computation:of_steps"
    round_unit: str = "step"

    def choices(self, model: str, device: str, request: Request, machine: Machine) -> Mapping[str, Sequence[Value]]:
        """Batch sizes and precisions; all that there is in an exhaustive grid."""
        facts, grid = machine.models[model], request.values
        precisions = machine.precisions.get(device, ("fp32",))
        chosen: dict[str, Sequence[Value]] = {
            "dataset": (facts.dataset,),
            "batch_size": self.batch_sizes(grid.batch_sizes_of(device, facts.family), exhaustive=grid.exhaustive),
            "precision": [name for name in precisions if grid.exhaustive or name in ("fp32", "bf16")],
        }
        if grid.exhaustive:
            chosen |= {name: PARAMETERS[name].values for name in ("compile", "memory_format")}
        return chosen

    def is_paired(self, cell: Cell, request: Request) -> bool:
        """Compiled ones where the call names what to compile: each process of a pair compiles anew, for seconds."""
        compiled = cell.settings.get("compile", "off") != "off"
        return bool(self.steps) and (not compiled or "compile" in request.given)

    def batch_sizes(self, sizes: tuple[int, ...], *, exhaustive: bool) -> tuple[int, ...]:
        """Of the grid's batch sizes those that this workload is measured at."""
        return sizes

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """Warm-up, rounds, what the instruments take, and compiling."""
        step = self.step_seconds(planned.cell, machine)
        rounds = max(settings.min_rounds * step, settings.max_seconds)
        compiling = COMPILE_SECONDS if planned.cell["compile"] != "off" else 0.0
        return OVERHEAD_SECONDS + compiling + 5 * step + 1.5 * rounds

    def measure(self, cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
        """The record; of a compiled cell with the first step of a second process, whose cache is warm."""
        with scratch("compiled") as cache:
            settings = replace(settings, compile_cache=cache)
            record, log = context.record(cell, settings, context.call(self.measured_by, cell, settings))
            if record.metrics.get("compile_seconds") is not None:
                again = context.call("trainmark.measure.protocol:measure_first_step", cell, settings)
                record = replace(record, metrics={**record.metrics, "compile_warm_seconds": again.value})
                if again.status != "ok":
                    record = replace(record, flags=(*record.flags, f"warm-compile-{again.status}"))
        return context.with_utilisation(record), log

    def line(self, record: Record) -> str:
        """Time of a step with its spread, throughput, memory, and what compiling took."""
        metrics = record.metrics
        unit = next((name for name in metrics if name.endswith(UNITS) and name not in RATES), None)
        rate = f"{formatting.prefixed(metrics[unit or 'samples_per_second'])}{'' if unit else '/s'}"
        more = []
        if unit:
            more.append(f"{unit.removesuffix(UNITS)}/s")
        slower = record.disturbance.get("control_ratio")
        if isinstance(slower, float) and slower > TELLING:
            more.append(f"machine {formatting.times(slower)} its best")
        if metrics.get("compile_seconds") is not None:
            more.append(f"compiled in {formatting.about(metrics['compile_seconds'])}")
        return columns(
            time=formatting.duration(metrics["step_seconds"]),
            spread=spread(record),
            rate=rate,
            memory=memory_of(record),
            more="  ".join(more),
        )


def spread(record: Record) -> str:
    """``± 1.2%``: half of the interval of the median within its process; blank where there is none."""
    low, middle, high = (record.metrics.get(name) for name in ("step_seconds_low", "step_seconds", "step_seconds_high"))
    if low is None or high is None or not middle:
        return "      "
    return f"± {max(high - middle, middle - low) / middle:4.1%}"


def speed_gallery(drawn: Drawn, workload: str, name: str, title: str, absent: str) -> Gallery:
    """Throughput against batch size, and what each setting gains."""
    from trainmark.page.galleries import Gallery, one
    from trainmark.page.plots.speed import speedup_plot, throughput_plots

    rows = drawn.of(workload)
    reading = (
        "Higher is better. A mark is the median of a cell's rounds, the line through it the 95% interval within "
        "its process."
    )
    return Gallery(name, title, reading, (*throughput_plots(rows), *one(speedup_plot(rows))), absent)
