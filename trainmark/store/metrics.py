"""Metrics: the numbers that a record can hold, with unit, direction, and how two runs are compared by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trainmark.store.ranges import LARGEST, LARGEST_COUNT, LONGEST_SECONDS, SHORTEST_SECONDS, Range

BETTER = ("lower", "higher", "neither")
COMPARED = ("time", "exact", "explains", "tolerance", "points", "difference", "no")
SHARE = "share"  # unit of a number between 0 and 1 that people read in percent
OVER_SEEDS = ("points", "difference")  # judged by the interval of a mean difference over seeds
COUNTED = ("exact", "explains")  # integers
NEVER_NEGATIVE = ("", "B", "1/s", "FLOP", "FLOP/s", "B/s", "FLOP/B", "J", "W")  # units of amounts and of rates

A_SHARE, AN_AMOUNT, ANY = Range(0, 1), Range(0, LARGEST), Range(-LARGEST, LARGEST)
A_TIME, A_DURATION = Range(SHORTEST_SECONDS, LONGEST_SECONDS), Range(0, LONGEST_SECONDS)
A_COUNT = Range(0, LARGEST_COUNT, whole=True)
A_DIFFERENCE_OF_COUNTS = Range(-LARGEST_COUNT, LARGEST_COUNT, whole=True)


@dataclass(frozen=True)
class Metric:
    """A number that a record can hold.

    Attributes:
        unit: SI or field's standard unit; empty for a count or a share.
        better: ``"lower"``, ``"higher"`` or ``"neither"``.
        compared: How two runs are compared: ``"time"`` by intervals and a margin, ``"exact"``;
            ``"explains"``, a count that tells why a time has changed: told, and judged only where a check asks
            for it; ``"tolerance"`` relative to the base, ``"points"`` as a difference of shares over the seeds,
            ``"difference"`` likewise of any other number, or ``"no"``: shown, never judged.
        meaning: One line for the report.
        tolerance: For ``"tolerance"`` a share of the base, for ``"points"`` and ``"difference"`` a difference.
        signed: Whether it may be below zero, though its unit or its kind is of what is not.
    """

    unit: str
    better: str
    compared: str
    meaning: str
    tolerance: float | None = None
    signed: bool = False

    def __post_init__(self) -> None:
        if self.better not in BETTER or self.compared not in COMPARED:
            raise ValueError(f"{self.better} and {self.compared} are not how a metric is judged")
        if (self.tolerance is None) == (self.compared in ("tolerance", *OVER_SEEDS)):
            raise ValueError(f"compared by {self.compared}, a metric cannot have {self.tolerance} as its tolerance")

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1 and is read in percent."""
        return self.compared == "points" or self.unit == SHARE

    @property
    def range(self) -> Range:
        """Where its values lie, by its kind: what is outside was not measured."""
        if self.is_share:
            return A_SHARE
        if self.compared in COUNTED:
            return A_DIFFERENCE_OF_COUNTS if self.signed else A_COUNT
        if self.unit == "s" and not self.signed:
            return A_TIME if self.compared == "time" else A_DURATION
        return AN_AMOUNT if self.unit in NEVER_NEGATIVE and not self.signed else ANY

    @property
    def timed(self) -> bool:
        """Whether a neighbour on the machine moves it: a duration, or what is drawn meanwhile."""
        return self.unit in ("s", "J")


METRICS: dict[str, Metric] = {
    "step_seconds": Metric("s", "lower", "time", "median over the rounds of the time of a step"),
    "step_seconds_low": Metric("s", "lower", "no", "lower end of its 95% interval within the process"),
    "step_seconds_high": Metric("s", "lower", "no", "upper end of its 95% interval within the process"),
    "samples_per_second": Metric("1/s", "higher", "no", "throughput: samples of a step over step_seconds"),
    "latency_p50_seconds": Metric("s", "lower", "no", "median time of a single step waited for"),
    "latency_p99_seconds": Metric("s", "lower", "no", "99th percentile of the same, from 100 steps on"),
    "training_seconds": Metric("s", "lower", "time", "median over seeds of the time in training, without evaluation"),
    "accuracy": Metric("", "higher", "points", "held-out accuracy after the last epoch, mean over seeds", 0.005),
    "accuracy_lowest": Metric(SHARE, "higher", "no", "the worst seed's held-out accuracy after the last epoch"),
    "accuracy_highest": Metric(SHARE, "higher", "no", "the best seed's held-out accuracy after the last epoch"),
    "loss": Metric("", "lower", "no", "mean training loss of the last epoch, mean over seeds", signed=True),
    "compile_seconds": Metric(
        "s", "lower", "tolerance", "first step with an empty compile cache; until CUDA graphs are captured", 0.5
    ),
    "max_batch_size": Metric("", "higher", "tolerance", "largest batch that can be trained, exact to 1 in 64", 0.05),
    "peak_memory_bytes": Metric("B", "lower", "tolerance", "largest resident memory of the cell's own process", 0.1),
    "device_allocated_bytes": Metric("B", "lower", "tolerance", "peak of live tensors on the device", 0.02),
    "device_reserved_bytes": Metric("B", "lower", "tolerance", "peak of what the allocator held on the device", 0.1),
    "compile_warm_seconds": Metric("s", "lower", "tolerance", "the same with a filled compile cache", 0.5),
    "compile_peak_memory_bytes": Metric("B", "lower", "tolerance", "peak_memory_bytes up to the first step's end", 0.1),
    "compile_device_allocated_bytes": Metric(
        "B", "lower", "tolerance", "peak of live tensors on the device up to the first step's end", 0.1
    ),
    "graphs": Metric("", "lower", "exact", "unique graphs that torch.compile made"),
    "graph_breaks": Metric("", "lower", "exact", "places where a compiled model goes back to Python"),
    "recompiles": Metric("", "lower", "exact", "times that a function was compiled again"),
    "cudagraph_skips": Metric("", "lower", "exact", "times that CUDA graphs were asked for and not used"),
    "parameters": Metric("", "neither", "exact", "trainable parameters"),
    "samples_per_step": Metric("", "neither", "exact", "samples of the batch that a step was given"),
    "repeated_samples_per_epoch": Metric("", "lower", "exact", "of a batch, at the same place in the next epoch"),
    "training_samples": Metric("", "neither", "exact", "samples that a whole training was given, over all seeds"),
    "flops_per_step": Metric("FLOP", "lower", "explains", "floating-point operations of a step, 2 per multiply-add"),
    "operators_per_step": Metric("", "lower", "explains", "operators that an eager step dispatches"),
    "copies_per_step": Metric("", "lower", "explains", "of them, that copy or convert a tensor"),
    "host_reads_per_step": Metric("", "lower", "exact", "of them, whose result the host waits for"),
    "float64_operators_per_step": Metric("", "lower", "exact", "of them, that give a float64 tensor"),
    "gradient_additions_per_step": Metric("", "lower", "exact", "of them, that add to a gradient already there"),
    "new_bytes_per_step": Metric("B", "lower", "explains", "tensors that an eager step makes"),
    "moved_bytes_per_step": Metric(
        "B", "lower", "explains", "tensors that an eager step reads and writes, views left out"
    ),
    "retained_tensors_per_step": Metric("", "lower", "exact", "tensors alive that each step adds", signed=True),
    "kernel_launches_per_step": Metric("", "lower", "explains", "CUDA kernels and graphs launched"),
    "synchronisations_per_step": Metric("", "lower", "exact", "times that the host waited for the CUDA device"),
    "device_busy_share": Metric(
        SHARE,
        "neither",
        "no",
        "of step_seconds, that the device works on kernels and copies: low where launches bound it",
    ),
    "parameter_bytes": Metric("B", "lower", "exact", "parameters and buffers"),
    "gradient_bytes": Metric("B", "lower", "exact", "gradients held after a step"),
    "optimizer_bytes": Metric("B", "lower", "exact", "state of the optimizer"),
    "activation_bytes": Metric("B", "lower", "exact", "what the forward pass keeps for the backward pass"),
    "workspace_bytes": Metric(
        "B", "lower", "no", "device_allocated_bytes without all of these and the data", signed=True
    ),
    "data_seconds": Metric("s", "lower", "no", "of an instrumented step: having a batch"),
    "copy_seconds": Metric("s", "lower", "no", "of an instrumented step: host to device"),
    "forward_seconds": Metric("s", "lower", "no", "of an instrumented step: the model"),
    "loss_seconds": Metric("s", "lower", "no", "of an instrumented step: the criterion"),
    "zero_grad_seconds": Metric("s", "lower", "no", "of an instrumented step: optimizer.zero_grad"),
    "backward_seconds": Metric("s", "lower", "no", "of an instrumented step: loss.backward"),
    "optimizer_seconds": Metric("s", "lower", "no", "of an instrumented step: optimizer.step"),
    "other_seconds": Metric("s", "lower", "no", "of an instrumented step: what is between the lines"),
    "instrumented_step_seconds": Metric("s", "lower", "no", "the sum of these: a step with its phases timed"),
    "loading_cpu_seconds": Metric(
        "s", "lower", "no", "of an instrumented step: that processors worked on having a batch, workers included"
    ),
    "energy_joules_per_step": Metric("J", "lower", "tolerance", "drawn by the whole GPU, or all CPU packages", 0.1),
    "energy_joules_per_sample": Metric("J", "lower", "no", "the same over the samples of a step"),
    "power_watts": Metric("W", "neither", "no", "mean power while steps ran"),
    "idle_power_watts": Metric("W", "neither", "no", "mean power while this process did nothing"),
    "achieved_flops_per_second": Metric("FLOP/s", "higher", "no", "flops_per_step over step_seconds"),
    "flops_utilisation": Metric("", "higher", "no", "the same, of the largest rate that probes reached here"),
    "achieved_bytes_per_second": Metric("B/s", "higher", "no", "moved_bytes_per_step over step_seconds"),
    "bytes_utilisation": Metric(
        "", "higher", "no", "the same, of the largest rate that probes reached, caches included"
    ),
    "arithmetic_intensity": Metric("FLOP/B", "neither", "no", "flops_per_step over moved_bytes_per_step"),
    "ridge_intensity": Metric(
        "FLOP/B", "neither", "no", "of the roofline: arithmetic limits above it, memory below, out of caches"
    ),
    "warmup_seconds": Metric("s", "lower", "no", "time from the first step until rounds began, compilation left out"),
    "cell_seconds": Metric("s", "lower", "no", "time the whole cell took, all its processes included"),
}


def register_metrics(metrics: Mapping[str, Metric]) -> None:
    """Makes metrics known that somebody's task brings; the first of a name says what it means.

    Raises:
        ValueError: A name is taken by a metric of another unit or direction, or that is compared otherwise.
    """
    for name, metric in metrics.items():
        known = METRICS.setdefault(name, metric)
        if replace(known, meaning=metric.meaning, signed=metric.signed) != metric:
            raise ValueError(f"a metric named {name} is there already, and it is another: {known.meaning}")
