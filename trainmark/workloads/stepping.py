"""What the workloads have in common that take steps with a model: grid, skip reasons, estimate, record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from trainmark import formatting
from trainmark.scratch import scratch
from trainmark.store.cell import Cell
from trainmark.store.folders import without_folders
from trainmark.store.parameters import PARAMETERS, STEP_PARAMETERS, Value
from trainmark.workloads import SkipReason, Workload, product_of
from trainmark.workloads.terminal_lines import columns, memory_of

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
FASTER_IN_BF16 = 1.7
# Of a GPU, and of the modes that try kernels: chosen, until one has been measured.
START_SECONDS = {"cpu": 0.0}  # of a process, beside the above: a context, its libraries, the first kernels
OTHER_START_SECONDS = 3.0
ENERGY_SECONDS = {"cuda": 4.0}  # the window of the steps, and that of the idle power
COMPILE_SECONDS = {
    "cpu": {"default": 15.0, "reduce-overhead": 15.0, "max-autotune": 60.0},
    "cuda": {"default": 30.0, "reduce-overhead": 35.0, "max-autotune": 180.0},
}
COMPILED_PROCESSES = 3  # the cell's own, one with a warm cache, and one that counts
TUNED = ("fp32", "bf16")  # precisions in which a grid has max-autotune try kernels
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

    def overhead_seconds(self, cell: Cell) -> float:
        """Of a process of the cell, beside its steps."""
        return OVERHEAD_SECONDS + START_SECONDS.get(str(cell["device"]), OTHER_START_SECONDS)

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

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """The grid, in which kernels are tried out for few cells: that takes minutes each."""
        for values in super().combinations(request, machine):
            if "compile" in request.given or values.get("compile") != "max-autotune" or self._is_tuned(values, request):
                yield values

    def _is_tuned(self, values: Mapping[str, Value], request: Request) -> bool:
        """Trainings in two precisions at one batch size."""
        family = request.values.batch_sizes_of(str(values["device"]), "")
        sizes = request.given.get("batch_size") or family
        return bool(self.role) and values["precision"] in TUNED and values["batch_size"] == sizes[:2][-1]

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
        device, mode = str(planned.cell["device"]), str(planned.cell["compile"])
        compiling = 0.0 if mode == "off" else COMPILE_SECONDS.get(device, COMPILE_SECONDS["cuda"])[mode]
        processes = 1 if mode == "off" else COMPILED_PROCESSES
        energy = ENERGY_SECONDS.get(device, 0.0) if settings.energy else 0.0
        return processes * self.overhead_seconds(planned.cell) + compiling + energy + 5 * step + 1.5 * rounds

    def measure(self, cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
        """The record; of a compiled cell with what processes of their own tell: its counts, and a warm cache's time."""
        with scratch("compiled") as cache:
            settings = replace(settings, compile_cache=cache)
            record, log = context.record(cell, settings, context.call(self.measured_by, cell, settings))
            if record.metrics.get("compile_seconds") is not None:
                record = record if settings.once else _with_counts(record, settings, context)
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


def _with_counts(record: Record, settings: Settings, context: Context) -> Record:
    """The record with what an eager step of its cell does, counted beside no other model."""
    allocated = record.metrics.get("device_allocated_bytes")
    outcome = context.call("trainmark.measure.protocol:count_eager_step", record.cell, settings, allocated)
    if outcome.status != "ok":
        reason = record.reason or f"what a step does was not counted: {without_folders(outcome.reason or '')}"
        return replace(record, reason=reason, flags=(*record.flags, f"instruments-{outcome.status}"))
    found, flags, reason = outcome.value
    metrics = {**record.metrics, **found}
    return replace(record, metrics=metrics, flags=(*record.flags, *flags), reason=record.reason or reason)


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
