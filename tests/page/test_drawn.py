"""What the pictures show: the data of their lines, points, bars and intervals, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from trainmark.advise.break_even import paybacks
from trainmark.page.plots.cost import energy_plot, memory_plots, payback_plot, phases_plot, roofline_plot
from trainmark.page.plots.history import history_plots
from trainmark.page.plots.learning import held_out_plots, pareto_plot
from trainmark.page.plots.speed import rounds_plot, speedup_plot, throughput_plots
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.record import Record, Run, RunFacts

Points = list[tuple[float, float]]


def run_of(*records: Record, name: str = "0001", **environment: Any) -> Run:
    facts = RunFacts(name, "2026-01-01T12:00:00+00:00", complete=True)
    return Run(name, facts, {"fingerprint": "f", **environment}, {}, records)


def step(
    seconds: float = 0.1, *, rounds: tuple[float, ...] = (), axes: Mapping[str, Any] | None = None, **metrics: float
) -> Record:
    cell = Cell.of("train", **(axes or {}))
    times = {"step_seconds": seconds, "step_seconds_low": 0.8 * seconds, "step_seconds_high": 1.25 * seconds}
    times["samples_per_second"] = int(cell["batch_size"]) / seconds
    return Record(cell, "ok", metrics=times | metrics, rounds=rounds)


def frame(*records: Record) -> Any:
    return to_frame([run_of(*records)])


def lines(axes: Axes) -> list[Points]:
    """The points of each line, those that go right across (with two ends in shares of the axes) left out."""
    return [
        list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))
        for line in axes.lines
        if line.get_transform() == axes.transData
    ]


def across(axes: Axes, which: str) -> list[float]:
    """Where lines go right across: ``y`` of the level ones, ``x`` of the upright ones."""
    found = [line for line in axes.lines if line.get_transform() != axes.transData]
    level = [line for line in found if list(line.get_xdata()) == [0, 1]]
    some = level if which == "y" else [line for line in found if line not in level]
    return [float((line.get_ydata() if which == "y" else line.get_xdata())[0]) for line in some]


def dots(axes: Axes) -> NDArray[np.float64]:
    """[points, 2]: where the points of a scatter are."""
    return np.concatenate(
        [np.asarray(one.get_offsets()) for one in axes.collections if isinstance(one, PathCollection)]
    )


def intervals(axes: Axes) -> list[Points]:
    """Both ends of each upright or level stroke."""
    (strokes,) = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [[tuple(map(float, end)) for end in segment] for segment in strokes.get_segments()]


# Speed


def test_throughput_is_drawn_at_its_batch_size_with_the_interval_of_its_step(pictures: list[Axes]) -> None:
    throughput_plots(frame(step(0.1, axes={"batch_size": 64}), step(0.2, axes={"batch_size": 256})))
    (axes,) = pictures
    assert lines(axes) == [[(64, pytest.approx(640)), (256, pytest.approx(1280))]]
    assert intervals(axes) == [
        [(64, pytest.approx(64 / 0.125)), (64, pytest.approx(64 / 0.08))],
        [(256, pytest.approx(256 / 0.25)), (256, pytest.approx(256 / 0.16))],
    ]


def test_a_single_batch_size_is_drawn_as_a_row_a_setting(pictures: list[Axes]) -> None:
    throughput_plots(frame(step(0.1), step(0.05, axes={"precision": "bf16"})))
    (axes,) = pictures
    assert sorted(map(tuple, dots(axes).tolist())) == [(pytest.approx(640), 0), (pytest.approx(1280), 1)]
    assert intervals(axes)[1] == [(pytest.approx(64 / 0.0625), 1), (pytest.approx(64 / 0.04), 1)]


def test_the_heatmap_holds_the_ratios_the_best_setting_first(pictures: list[Axes]) -> None:
    plot = speedup_plot(
        frame(
            step(0.1),
            step(0.08, axes={"compile": "default"}),
            step(0.05, axes={"precision": "bf16"}),
            step(0.4, axes={"batch_size": 256}),
            step(0.5, axes={"batch_size": 256, "compile": "default"}),
            step(0.1, axes={"batch_size": 256, "precision": "bf16"}),
        )
    )
    assert plot is not None
    assert plot.numbers.header == ("Model and batch", "bf16", "fp32 compiled")
    (mesh,) = [one for one in pictures[0].collections if isinstance(one, QuadMesh)]
    assert np.asarray(mesh.get_array()).reshape(2, 2) == pytest.approx(np.array([[2.0, 1.25], [4.0, 0.8]]))


def test_rounds_are_drawn_over_the_median_of_their_cell_the_least_steady_first(pictures: list[Axes]) -> None:
    rounds_plot(frame(step(rounds=(2.0, 2.1, 2.2)), step(rounds=(1.0, 2.0, 8.0), axes={"model": "cnn"})))
    found = dots(pictures[0])
    assert found[:, 0].tolist() == pytest.approx([0.5, 1.0, 4.0, 2 / 2.1, 1.0, 2.2 / 2.1])
    assert np.rint(found[:, 1]).tolist() == [0, 0, 0, 1, 1, 1]
    assert pictures[0].get_yticklabels()[0].get_text() == "cnn"


# Learning


def learnt(*curves: tuple[float, ...], rounds: tuple[float, ...], rate: float = 100.0, **axes: Any) -> Record:
    last = [curve[-1] for curve in curves]
    metrics = {"accuracy": sum(last) / len(last), "accuracy_lowest": min(last), "accuracy_highest": max(last),
               "samples_per_second": rate}  # fmt: skip
    series: dict[str, Any] = {"seed": list(range(len(curves))), "held_out_accuracy": list(map(list, curves))}
    return Record(Cell.of("accuracy", **axes), "ok", metrics=metrics, rounds=rounds, series=series)


def test_an_epoch_is_drawn_at_its_share_of_the_seconds_of_its_training(pictures: list[Axes]) -> None:
    held_out_plots(frame(learnt((0.5, 0.7, 0.8, 0.9), (0.4, 0.6), rounds=(10.0, 8.0))))
    assert lines(pictures[0]) == [
        [(2.5, 0.5), (5.0, 0.7), (7.5, 0.8), (10.0, 0.9)],
        [(4.0, 0.4), (8.0, 0.6)],
    ]


def test_a_training_is_drawn_at_its_throughput_and_accuracy_and_the_front_as_a_stair(pictures: list[Axes]) -> None:
    made = [("slow", 100.0, (0.97, 0.99)), ("beaten", 90.0, (0.97, 0.97)), ("fast", 900.0, (0.90, 0.91))]
    pareto_plot(frame(*(learnt(*([(one,) for one in ends]), rounds=(1.0, 1.0), rate=rate, model=name)
                        for name, rate, ends in made)))  # fmt: skip
    (axes,) = pictures
    assert sorted(map(tuple, dots(axes).tolist())) == [
        (90, pytest.approx(0.97)),
        (100, pytest.approx(0.98)),
        (900, pytest.approx(0.905)),
    ]
    assert lines(axes) == [[(100, pytest.approx(0.98)), (900, pytest.approx(0.905))]]
    assert axes.lines[0].get_drawstyle() == "steps-pre"
    assert sorted(intervals(axes)) == [[(90, 0.97), (90, 0.97)], [(100, 0.97), (100, 0.99)], [(900, 0.9), (900, 0.91)]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("samples/s in training", "held-out accuracy")


# Cost


def test_the_pay_back_has_the_compilation_in_it_and_crosses_one_where_that_is_won_back(pictures: list[Axes]) -> None:
    found = paybacks([step(0.3), step(0.2, axes={"compile": "default"}, compile_seconds=10.0)])
    payback_plot(found)
    (line,) = lines(pictures[0])
    steps, speedups = np.array(line).T
    assert (steps[0], steps[-1]) == pytest.approx((10, 1e7))
    assert speedups == pytest.approx(0.3 * steps / (10 + 0.2 * steps))
    assert speedups[0] == pytest.approx(3 / 12)
    assert np.interp(100, steps, speedups) == pytest.approx(1, abs=0.01)
    assert across(pictures[0], "y") == [1]


def phases(batch_size: int, precision: str = "fp32", **shares: float) -> Record:
    seconds = {f"{phase}_seconds": 0.2 * share for phase, share in shares.items()}
    axes = {"batch_size": batch_size, "precision": precision}
    return step(axes=axes, instrumented_step_seconds=0.2, **seconds)


def test_a_bar_has_the_shares_of_the_largest_batch_in_the_order_of_a_step(pictures: list[Axes]) -> None:
    plot = phases_plot(
        frame(
            phases(64, data=0.7, forward=0.2, backward=0.1),
            phases(256, data=0.1, forward=0.3, backward=0.6),
            phases(128, "bf16", data=0.25, forward=0.25, backward=0.5),
            phases(16, "bf16", data=1.0),
        )
    )
    assert plot is not None
    (axes,) = pictures
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "mlp, batch 256, fp32",
        "mlp, batch 128, bf16",
    ]
    colors = {style.name: style.color for style in plot.styles}
    for row, shares in ((0, (0.1, 0.3, 0.6)), (1, (0.25, 0.25, 0.5))):
        bars = [bar for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_width() > 0]
        bars = [bar for bar in bars if round(bar.get_y() + bar.get_height() / 2) == row]
        bars.sort(key=lambda bar: bar.get_x())
        assert [bar.get_width() for bar in bars] == pytest.approx(shares)
        assert [bar.get_x() for bar in bars] == pytest.approx(np.cumsum([0, *shares[:-1]]))
        assert [to_hex(bar.get_facecolor()) for bar in bars] == [colors[one] for one in ("data", "forward", "backward")]


def test_the_roof_is_the_lower_of_slope_and_ceiling_and_a_cell_lies_at_its_intensity(pictures: list[Axes]) -> None:
    records = frame(step(arithmetic_intensity=5.0, achieved_flops_per_second=4e10, flops_utilisation=0.4))
    roofline_plot(records, {"flops_per_second": {"fp32": 1e11}, "bytes_per_second": 1e10}, "cpu")
    (axes,) = pictures
    assert dots(axes).tolist() == [[5.0, 4e10]]
    (roof,) = lines(axes)
    intensities, rates = np.array(roof).T
    assert intensities.min() < 5
    assert intensities.max() > 10
    assert rates == pytest.approx(np.where(intensities < 10, 1e10 * intensities, 1e11))


def test_memory_is_the_devices_own_where_it_tells_and_the_limit_stands_where_it_is(pictures: list[Axes]) -> None:
    gib = 2**30
    small = step(axes={"batch_size": 64}, peak_memory_bytes=9 * gib, device_allocated_bytes=2 * gib)
    large = step(axes={"batch_size": 256}, peak_memory_bytes=6 * gib)
    memory_plots(frame(small, large), run_of(memory_gib=24))
    (axes,) = pictures
    assert lines(axes) == [[(64, 2 * gib), (256, 6 * gib)]]
    assert across(axes, "y") == [24 * gib]


def test_energy_is_drawn_a_row_a_cell_the_thriftiest_first(pictures: list[Axes]) -> None:
    energy_plot(
        frame(
            step(energy_joules_per_sample=3.0),
            step(energy_joules_per_sample=1.0, axes={"precision": "bf16"}),
            step(energy_joules_per_sample=2.0, axes={"model": "cnn"}),
        )
    )
    assert dots(pictures[0]).tolist() == [[1.0, 0], [2.0, 1], [3.0, 2]]
    names = [label.get_text() for label in pictures[0].get_yticklabels()]
    assert names == ["mlp, bf16", "cnn, fp32", "mlp, fp32"]


# History


def test_a_history_has_each_runs_interval_and_marks_a_change_before_its_first_run(pictures: list[Axes]) -> None:
    seconds = [1.0, 1.01, 0.99, 1.0, 2.0, 2.02, 1.98, 2.01]
    runs = [
        replace(run_of(step(one), name=f"000{number}"),
                facts=RunFacts(f"000{number}", f"2026-01-0{number + 1}T12:00:00+00:00", complete=True))
        for number, one in enumerate(seconds)
    ]  # fmt: skip
    (plot,) = history_plots(runs[0], runs)
    (axes,) = pictures
    assert lines(axes) == [[(number, one) for number, one in enumerate(seconds)]]
    assert intervals(axes) == [
        [(number, pytest.approx(0.8 * one)), (number, pytest.approx(1.25 * one))] for number, one in enumerate(seconds)
    ]
    assert across(axes, "x") == [3.5]
    assert plot.finding.endswith("it changed at 0004.")
