"""Each series has the colour of its legend, each column the numbers of its title, each caption those of its picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex

from reports.lecture_plots import confusion_plot, shift_plot
from reports.ngram import ngram_fit_table, ngram_score_table
from reports.ngram_plots import language_plots
from trainmark.advise.break_even import paybacks
from trainmark.advise.grad_mode import savings
from trainmark.advise.what_limits import limits
from trainmark.judge.comparison import CellComparison
from trainmark.page import tables
from trainmark.page.configurations import configurations
from trainmark.page.plots.canvas import BLUE, COLORS, ORANGE, Plot
from trainmark.page.plots.cost import energy_plot, memory_plots, payback_plot, roofline_plot
from trainmark.page.plots.distribution import distribution_plots
from trainmark.page.plots.history import history_plots
from trainmark.page.plots.holding import COLORS as HELD
from trainmark.page.plots.holding import holding_plot
from trainmark.page.plots.learning import held_out_plots, pareto_plot
from trainmark.page.plots.speed import rounds_plot, speedup_plot, throughput_plots
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.record import Record, Run, RunFacts

FP32, BF16 = COLORS["fp32"], COLORS["bf16"]


def run_of(*records: Record, name: str = "0001", started: str = "2026-01-01T12:00:00+00:00") -> Run:
    return Run(name, RunFacts(name, started, complete=True), {"fingerprint": "f", "memory_gib": 24}, {}, records)


def frame(*records: Record) -> Any:
    return to_frame([run_of(*records)])


def step(
    seconds: float = 0.1, workload: str = "train", *, axes: Mapping[str, Any] | None = None, **more: Any
) -> Record:
    cell = Cell.of(workload, **(axes or {}))
    metrics = {"step_seconds": seconds, "step_seconds_low": 0.9 * seconds, "step_seconds_high": 1.1 * seconds}
    metrics["samples_per_second"] = int(cell["batch_size"]) / seconds
    rounds = more.pop("rounds", (seconds,) * 6)
    return Record(cell, "ok", metrics=metrics | more, rounds=rounds)


def learnt(*shares: float, rate: float = 100.0, **axes: Any) -> Record:
    metrics = {"accuracy": shares[-1], "accuracy_lowest": shares[-1], "accuracy_highest": shares[-1],
               "samples_per_second": rate}  # fmt: skip
    series = {"seed": [0], "held_out_accuracy": [list(shares)]}
    return Record(Cell.of("accuracy", **axes), "ok", metrics=metrics, rounds=(1.0,), series=series)


def both(**metrics: Any) -> tuple[Record, ...]:
    """fp32 and bf16 at two batch sizes, bf16 twice as fast."""
    return tuple(
        step(seconds, axes={"precision": precision, "batch_size": size}, **metrics)
        for precision, seconds in (("fp32", 0.1), ("bf16", 0.05))
        for size in (64, 256)
    )


def lines(axes: Axes) -> list[str]:
    return [to_hex(line.get_color()) for line in axes.lines if line.get_transform() == axes.transData]


def dots(axes: Axes) -> list[str]:
    found = [one for one in axes.collections if isinstance(one, PathCollection)]
    return [to_hex(color) for one in found for color in np.atleast_2d(np.asarray(one.get_facecolor()))]


def legend(plot: Plot) -> list[str]:
    return [style.color for style in plot.styles]


# Colours: those of the legend, series by series


def test_throughput_and_memory_have_a_colour_a_precision(pictures: list[Axes]) -> None:
    records = frame(*both(peak_memory_bytes=4 * 10**8))
    (speed,) = throughput_plots(records)
    (memory,) = memory_plots(records, run_of())
    assert [lines(axes) for axes in pictures] == [[FP32, BF16]] * 2 == [legend(speed), legend(memory)]


def test_a_gain_is_blue_and_a_loss_orange_in_the_heatmap(pictures: list[Axes]) -> None:
    speedup_plot(frame(step(0.1), step(0.05, axes={"precision": "bf16"}), step(0.2, axes={"compile": "default"})))
    (mesh,) = [one for one in pictures[0].collections if isinstance(one, QuadMesh)]
    gain, loss = np.asarray(mesh.get_facecolor())[:2, :3]
    assert gain[2] > gain[0] and loss[0] > loss[2]  # of red, green, blue


def test_flags_stand_at_their_ratio_in_the_heatmap_and_in_its_numbers(pictures: list[Axes]) -> None:
    slow = step(0.05, axes={"precision": "bf16"})
    flagged = Record(slow.cell, "ok", metrics=slow.metrics, rounds=slow.rounds, flags=("unsteady",))
    plot = speedup_plot(frame(step(0.1), flagged, step(0.08, axes={"compile": "default"})))
    assert plot is not None
    assert [text.get_text() for text in pictures[0].texts] == ["2.00!", "1.25"]
    assert plot.numbers.rows == (("mlp 64", "2.00× (unsteady)", "1.25×"),)


def test_pay_back_energy_and_roofline_have_the_colours_of_their_legends(pictures: list[Axes]) -> None:
    compiled = step(0.05, axes={"compile": "default"}, compile_seconds=10.0)
    pay = payback_plot(paybacks([step(0.1), compiled]))
    energy_plot(frame(*both(energy_joules_per_sample=1.0)))
    limit = {"arithmetic_intensity": 5.0, "achieved_flops_per_second": 4e10}
    roof = roofline_plot(frame(*both(**limit)), {"flops_per_second": {"fp32": 1e11}, "bytes_per_second": 1e10}, "cpu")
    assert pay is not None and roof is not None
    assert lines(pictures[0]) == legend(pay)
    assert dots(pictures[1]) == [FP32, FP32, BF16, BF16]
    assert dots(pictures[2]) == [FP32, FP32, BF16, BF16]
    assert legend(roof) == [FP32, BF16]
    assert lines(pictures[2]) == [FP32]  # the ceiling of fp32


def test_rounds_and_history_are_blue(pictures: list[Axes]) -> None:
    rounds_plot(frame(step(rounds=(1.0, 1.1, 1.2))))
    runs = [run_of(step(), name=f"000{day}", started=f"2026-01-0{day}T12:00:00+00:00") for day in (1, 2, 3)]
    history_plots(runs[0], runs)
    assert set(dots(pictures[0])) == {BLUE}
    assert lines(pictures[1]) == [BLUE]


def test_curves_have_a_colour_a_precision_and_the_front_a_colour_a_model(pictures: list[Axes]) -> None:
    (curves,) = held_out_plots(frame(learnt(0.5, 0.9), learnt(0.5, 0.8, precision="bf16")))
    front = pareto_plot(frame(learnt(0.9), learnt(0.8, rate=900.0, model="cnn")))
    assert front is not None
    assert lines(pictures[0]) == legend(curves) == [FP32, BF16]
    drawn = dict(zip(np.asarray(pictures[1].collections[-1].get_offsets())[:, 0], dots(pictures[1]), strict=True))
    assert drawn == {900.0: front.styles[0].color, 100.0: front.styles[1].color}
    assert [style.name for style in front.styles] == ["cnn", "mlp"]


def test_a_single_epoch_is_a_dot_a_seed(pictures: list[Axes]) -> None:
    seeds = {"seed": [0, 7], "held_out_accuracy": [[0.9], [0.8]]}
    record = Record(Cell.of("accuracy", epochs=1), "ok", rounds=(1.0, 2.0), series=seeds)
    held_out_plots(frame(record))
    (axes,) = pictures
    assert lines(axes) == []
    assert np.asarray(axes.collections[0].get_offsets()).tolist() == [[0, 0.9], [1, 0.8]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "7"]
    assert dots(axes) == [FP32, FP32]


PARTS = {"parameter_bytes": 10**7, "gradient_bytes": 2 * 10**7, "optimizer_bytes": 3 * 10**7}


def test_memory_is_stacked_in_its_parts_above_the_floor(pictures: list[Axes]) -> None:
    train = step(peak_memory_bytes=6 * 10**8, activation_bytes=4 * 10**7, **PARTS)
    lean = step(workload="inference", peak_memory_bytes=45 * 10**7, parameter_bytes=10**7)
    plot = holding_plot(frame(train), frame(train, lean))
    assert plot is not None
    bars = sorted(pictures[0].patches, key=lambda bar: bar.get_x())  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in bars] == pytest.approx([1e7, 2e7, 3e7, 4e7, 6e7])  # above 440 MB
    assert [to_hex(bar.get_facecolor()) for bar in bars] == list(HELD.values()) == legend(plot)
    assert plot.numbers.header == (
        *("Configuration", "Floor", "parameters", "gradients", "optimizer", "activations", "rest", "Peak"),
    )
    assert plot.numbers.rows[0][1:] == ("440 MB", "10.0 MB", "20.0 MB", "30.0 MB", "40.0 MB", "60.0 MB", "600 MB")
    assert "160 MB above the floor" in plot.finding and "takes 38%." in plot.finding


def test_memory_of_a_device_has_no_floor() -> None:
    train = step(device_allocated_bytes=10**8, axes={"device": "cuda"}, activation_bytes=4 * 10**7, **PARTS)
    plot = holding_plot(frame(train), frame(train))
    assert plot is not None
    assert plot.numbers.rows[0][1] == "0 B"
    assert "The floor" not in plot.finding


def test_the_baseline_is_blue_and_the_candidate_orange(pictures: list[Axes]) -> None:
    cell = CellComparison("k", "train mlp", "regressed")
    (plot,) = distribution_plots([cell], {"k": ((1.0, 2.0, 3.0, 4.0), (6.0, 7.0, 8.0, 9.0))})
    assert lines(pictures[0]) == [BLUE, ORANGE] == legend(plot)
    baseline, candidate = ([float(x) for x in line.get_xdata()[1:]] for line in pictures[0].lines)  # type: ignore[index,union-attr]
    assert (baseline, candidate) == ([1, 2, 3, 4], [6, 7, 8, 9])
    assert plot.finding == "Regressed: medians 2.00 s and 7.00 s; the two do not overlap."
    assert plot.numbers.rows[1] == ("candidate", "4", "6.00 s", "7.00 s", "8.00 s")


def test_sides_that_share_a_time_overlap() -> None:
    cell = CellComparison("k", "train mlp", "unchanged")
    (plot,) = distribution_plots([cell], {"k": ((1.0, 2.0, 3.0, 4.0), (4.0, 5.0, 6.0, 7.0))})
    assert plot.finding.endswith("the two overlap.")
    assert distribution_plots([cell], {"k": ((1.0, 2.0), (4.0, 5.0))}) == []


def test_networks_and_engines_have_the_colours_of_their_legends(pictures: list[Axes]) -> None:
    shifted = shift_plot({"mlp": [0.9, 0.5], "cnn": [0.9, 0.8]})
    rows = [
        {"workload": "ngram_fit", "status": "ok", "engine": engine, "tokens": 1000, "order": order, "smoothing": "mle",
         "tokens_per_second": rate, "peak_memory_bytes": 10}
        for engine, rate in (("numba", 1e6), ("counter", 1e5)) for order in (2, 3)
    ]  # fmt: skip
    engines = language_plots(pd.DataFrame(rows))
    assert shifted is not None
    assert lines(pictures[0]) == legend(shifted)
    assert lines(pictures[1]) == legend(engines[0])


def test_the_most_mistakes_are_the_darkest(pictures: list[Axes]) -> None:
    confusion_plot([[9, 1, 0], [0, 9, 5], [0, 0, 9]])
    (mesh,) = [one for one in pictures[0].collections if isinstance(one, QuadMesh)]
    shades = np.asarray(mesh.get_facecolor()).reshape(3, 3, 4)[..., :3].sum(axis=-1)
    assert shades[1, 2] < shades[0, 1]


# Every interval beside its label, never through it


def test_no_interval_strikes_through_a_label(pictures: list[Axes], stored: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection

    wide = [step(0.1, axes={"precision": precision}) for precision in ("fp32", "bf16")]
    throughput_plots(frame(*wide))
    ends = {"accuracy_lowest": 0.7, "accuracy_highest": 0.95}
    records = [learnt(0.9), learnt(0.8, rate=900.0, model="cnn")]
    pareto_plot(frame(*(Record(one.cell, "ok", metrics={**one.metrics, **ends}) for one in records)))
    for axes in pictures:
        figure = axes.get_figure(root=True)
        assert figure is not None
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[arg-type]
        labels = [text.get_window_extent(renderer) for text in axes.texts]
        assert labels
        for strokes in (one for one in axes.collections if isinstance(one, LineCollection)):
            for segment in strokes.get_segments():
                (left, low), (right, high) = axes.transData.transform(segment)
                assert not any(
                    box.x0 <= max(left, right) and min(left, right) <= box.x1
                    and box.y0 <= max(low, high) and min(low, high) <= box.y1
                    for box in labels
                )  # fmt: skip


# Columns: each has the numbers of its title


NUMBERS: dict[str, float | int] = {
    "step_seconds": 0.5, "samples_per_second": 201.0, "latency_p50_seconds": 0.51, "latency_p99_seconds": 0.52,
    "training_seconds": 12.0, "compile_seconds": 21.0, "compile_warm_seconds": 3.0, "peak_memory_bytes": 411_000_000,
    "device_allocated_bytes": 222_000_000, "accuracy": 0.95, "accuracy_lowest": 0.94, "accuracy_highest": 0.96,
    "graphs": 2, "graph_breaks": 3, "recompiles": 4, "cudagraph_skips": 5, "compile_peak_memory_bytes": 333_000_000,
    "compile_device_allocated_bytes": 111_000_000, "instrumented_step_seconds": 0.5, "data_seconds": 0.005,
    "copy_seconds": 0.01, "forward_seconds": 0.015, "loss_seconds": 0.02, "zero_grad_seconds": 0.025,
    "backward_seconds": 0.03, "optimizer_seconds": 0.035, "other_seconds": 0.04, "parameters": 11,
    "flops_per_step": 12, "moved_bytes_per_step": 13, "new_bytes_per_step": 14, "operators_per_step": 15,
    "copies_per_step": 16, "host_reads_per_step": 17, "kernel_launches_per_step": 18,
    "synchronisations_per_step": 19, "float64_operators_per_step": 20, "parameter_bytes": 21_000_000,
    "gradient_bytes": 22_000_000, "optimizer_bytes": 23_000_000, "activation_bytes": 24_000_000,
    "workspace_bytes": 25_000_000, "achieved_flops_per_second": 31e9, "flops_utilisation": 0.32,
    "achieved_bytes_per_second": 33e9, "bytes_utilisation": 0.34, "arithmetic_intensity": 35.0,
    "ridge_intensity": 36.0, "energy_joules_per_sample": 37.0, "power_watts": 38.0, "idle_power_watts": 39.0,
    "max_batch_size": 4096, "warmup_seconds": 41.0, "cell_seconds": 42.0, "fit_seconds": 1.5,
    "tokens_per_second": 51e6, "encode_seconds": 0.52, "count_seconds": 0.53, "estimate_seconds": 0.54,
    "kernel_compile_seconds": 5.5, "peak_bytes_per_token": 56.0, "table_entries": 57, "bytes_per_entry": 58.0,
    "random_update_share": 0.59, "copy_share": 0.6, "score_seconds": 0.61, "score_tokens_per_second": 62e6,
    "perplexity": 63.0, "perplexity_without_unknown": 64.0, "unseen_share": 0.65, "unknown_share": 0.66,
    "vocabulary_size": 67,
}  # fmt: skip
DISTURBED = {"control_ratio": 1.25, "waiting_share": 0.02, "steal_share": 0.03}
TRAIN = Record(Cell.of("train"), "ok", metrics=NUMBERS, rounds=(0.5,) * 6, disturbance=DISTURBED, settings={"seeds": 3})
EAGER = Record(Cell.of("train"), "ok", metrics=NUMBERS | {"step_seconds": 1.0})
COMPILED = Record(Cell.of("train", compile="default"), "ok", metrics=NUMBERS)
GRAD_MODES = [step(0.2, "inference"), step(0.3, "inference", axes={"grad_mode": "no_grad"})]
FITTED = Record(Cell.of("accuracy"), "ok", metrics=NUMBERS, settings={"seeds": 3, "computes": "counts"})

COLUMNS: dict[str, tuple[Callable[[], tables.Table], dict[str, str]]] = {
    "accuracy": (lambda: tables.accuracy_table([FITTED]), {
        "Accuracy (%)": "95.00", "Accuracy, lowest (%)": "94.00", "Accuracy, highest (%)": "96.00",
        "Training (s)": "12.0", "Epochs": "10", "Seeds": "3"}),
    "input": (lambda: tables.input_table([TRAIN]), {"Batch time (ms)": "500", "Samples/s": "201"}),
    "phases": (lambda: tables.phases_table([TRAIN]), {
        "Step, instrumented (ms)": "500", "Over the timed step": "1.00×", "Data (%)": "1.0", "Copy (%)": "2.0",
        "Forward (%)": "3.0", "Loss (%)": "4.0", "zero_grad (%)": "5.0", "Backward (%)": "6.0", "Optimizer (%)": "7.0",
        "Other (%)": "8.0"}),
    "counts": (lambda: tables.counts_table([TRAIN]), {
        "Parameters": "11", "FLOP/step": "12", "Bytes moved/step": "13", "Bytes made/step": "14",
        "Operators/step": "15", "Copies/step": "16", "Host reads/step": "17", "Launches/step": "18",
        "Waits/step": "19", "float64/step": "20", "Parameters (MB)": "21", "Gradients (MB)": "22",
        "Optimizer (MB)": "23", "Activations (MB)": "24", "Workspace (MB)": "25"}),
    "limits": (lambda: tables.limits_table([TRAIN]), {
        "FLOP/s": "31.0 G", "Of the peak (%)": "32.00", "Bytes/s": "33.0 G", "Of peak traffic (%)": "34.00",
        "FLOP/byte": "35.0", "Ridge (FLOP/byte)": "36.0", "Limit": "memory-bandwidth-bound", "Joules/sample": "37.0",
        "Power (W)": "38.0", "Idle power (W)": "39.0"}),
    "what limits": (lambda: tables.bound_table(limits([TRAIN])), {
        "Limit": "memory-bandwidth-bound", "Arithmetic (%)": "32", "Memory traffic (%)": "34", "Launching (%)": "0",
        "Data (%)": "3"}),
    "steadiness": (lambda: tables.steadiness_table([TRAIN]), {
        "Machine (×)": "1.25", "Waiting (%)": "2.00", "Stolen (%)": "3.00", "Warm-up (s)": "41.0",
        "In all (s)": "42.0"}),
    "compile": (lambda: tables.compile_table(paybacks([EAGER, COMPILED])), {
        "Compiling, cold cache (s)": "21.0", "Warm cache (s)": "3.00", "Step time (ms)": "500", "Speed-up": "2.00×",
        "Graphs": "2", "Graph breaks": "3", "Recompiles": "4", "CUDA graphs skipped": "5", "Peak memory (MB)": "333",
        "Device memory (MB)": "111"}),
    "grad mode": (lambda: tables.grad_mode_table(savings(GRAD_MODES)), {
        "no_grad (ms)": "300", "inference_mode (ms)": "200", "no_grad / inference_mode": "1.50×"}),
    "capacity": (lambda: tables.capacity_table([TRAIN]), {
        "Largest batch": "4.10 k", "Peak memory (MB)": "411", "Device memory (MB)": "222"}),
    "n-gram fit": (lambda: ngram_fit_table([FITTED]), {
        "Computes": "counts", "Fit (s)": "1.50", "Tokens/s": "51.0 M", "Text to ids (ms)": "520",
        "Ids to table (ms)": "530", "Table to model (ms)": "540", "Kernels (s)": "5.50", "Peak memory (MB)": "411",
        "Bytes/token": "56.0", "n-grams": "57", "Bytes/n-gram": "58.0", "Of random updates (%)": "59.00",
        "Of copying (%)": "60.00"}),
    "n-gram score": (lambda: ngram_score_table([FITTED]), {
        "Scoring (ms)": "610", "Tokens/s": "62.0 M", "Perplexity": "63.000", "Without unknown words": "64.0",
        "Unseen n-grams (%)": "65.00", "Unknown words (%)": "66.00", "Vocabulary": "67", "n-grams": "57"}),
    "train": (lambda: configurations(run_of(TRAIN), {}).groups[0].table, {
        "Step time (ms)": "500", "Samples/s": "201", "Latency p50 (ms)": "510", "Latency p99 (ms)": "520",
        "Training (s)": "12.0", "Compile time (s)": "21.0", "Peak memory (MB)": "411", "Device memory (MB)": "222"}),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_has_the_numbers_of_its_title(name: str) -> None:
    make, expected = COLUMNS[name]
    table = make()
    shown = {column.title: column.values[0].text for column in table.columns}
    assert expected.items() <= shown.items(), {title: shown.get(title) for title in expected}
    assert [tuple(value.text for value in row.values) for row in table.rows] == [tuple(shown.values())]


def test_the_order_of_the_answers_columns_is_that_of_their_numbers(stored: Any) -> None:
    from tests.conftest import example_answers

    (first, *_), titles = example_answers(), ["Time against the default", "Pairs", "Shown", "Models"]
    table = tables.answer_table([first])
    assert [column.title for column in table.columns] == titles
    assert [value.text for value in table.rows[0].values][:3] == ["0.48×", "6", "sooner"]


def test_a_wide_table_is_split_and_loses_no_column() -> None:
    table = tables.counts_table([TRAIN])
    parts = table.parts
    assert [len(part.columns) for part in parts] == [8, 7]
    assert [column.title for part in parts for column in part.columns] == [column.title for column in table.columns]
    assert [value for part in parts for value in part.rows[0].values] == list(table.rows[0].values)


def test_verdict_and_warnings_stand_in_the_row_of_their_numbers() -> None:
    flagged = Record(TRAIN.cell, "ok", metrics=NUMBERS, flags=("unsteady",))
    gone = Record(Cell.of("train", batch_size=256), "oom", "killed at 23 GiB")
    compared = {flagged.key: CellComparison(flagged.key, "train", "regressed"), "train x=1": CellComparison(
        "train x=1", "train of before", "missing")}  # fmt: skip
    (group,) = configurations(run_of(flagged, gone), compared).groups
    titles = [column.title for column in group.table.columns]
    rows = {row.name: dict(zip(titles, row.values, strict=True)) for row in group.table.rows}
    assert rows["mlp, batch 64"]["Status"].words == ("unsteady",)
    assert rows["mlp, batch 64"]["Against baseline"].words == ("regressed",)
    failed = rows["mlp, batch 256"]["Status"]
    assert (failed.words, failed.note) == (("oom",), "killed at 23 GiB")
    assert rows["train of before"]["Against baseline"].words == ("missing",)
