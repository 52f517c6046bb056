from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from trainmark.page.plots.learning import held_out_plots
from trainmark.page.plots.speed import throughput_plots
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame


def frame(stored: Any, workload: str) -> pd.DataFrame:
    records = to_frame([stored.run()])
    return records[records["workload"].eq(workload)]


def words(svg: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_there_is_a_panel_a_model_in_the_order_of_the_run(stored: Any) -> None:
    assert [plot.title for plot in throughput_plots(frame(stored, "train"))] == [
        "mlp",
        "mlp-residual",
        "cnn",
        "resnet20",
    ]


def test_each_precision_and_compile_mode_is_named(stored: Any) -> None:
    plot = throughput_plots(frame(stored, "train"))[0]
    assert {"64", "256", "samples/s", "batch size"} <= set(words(plot.svg))
    assert [style.name for style in plot.styles] == ["fp32", "bf16", "fp32 compiled"]
    assert len({(style.color, style.dashes, style.marker) for style in plot.styles}) == 3


def test_a_single_batch_size_becomes_dots_with_their_value(stored: Any) -> None:
    shown = words(throughput_plots(frame(stored, "inference"))[0].svg)
    assert "samples/s at batch size 256" in shown
    assert any(re.fullmatch(r"\d+ k", word) for word in shown)


def test_nothing_measured_gives_no_picture(stored: Any) -> None:
    records = frame(stored, "train")
    assert throughput_plots(records[records["status"].ne("ok")]) == []
    assert held_out_plots(records) == []


def test_cells_that_differ_in_another_axis_have_their_own_panel(stored: Any) -> None:
    run = stored.run()
    record = run.records[0]
    layout = replace(record, cell=Cell.of("train", model="mlp", memory_format="channels_last"))
    records = to_frame([replace(run, records=(record, layout))])
    assert [plot.title for plot in throughput_plots(records)] == ["mlp", "mlp channels_last"]


def test_accuracy_is_drawn_against_training_time_by_seed(stored: Any) -> None:
    plots = held_out_plots(frame(stored, "accuracy"))
    assert [plot.title for plot in plots] == ["mlp", "cnn"]
    assert {"training time", "held-out accuracy"} <= set(words(plots[0].svg))
    assert "3 trainings end between " in plots[0].alt
    assert len(plots[0].numbers.rows) == 3


def test_throughputs_far_apart_are_drawn_on_a_logarithmic_axis(stored: Any) -> None:
    run = stored.run()
    slow, fast = (
        replace(run.records[0], cell=Cell.of("train", batch_size=size), metrics={"samples_per_second": rate})
        for size, rate in ((1, 100.0), (64, 5000.0))
    )
    shown = words(throughput_plots(to_frame([replace(run, records=(slow, fast))]))[0].svg)
    assert {"100", "200", "500", "1 k"} <= set(shown)


def test_a_picture_follows_the_readers_dark_mode(stored: Any) -> None:
    svg = throughput_plots(frame(stored, "train"))[0].svg.decode()
    assert "prefers-color-scheme:dark" in svg
    assert "fill:var(--ink)" in svg
    assert "#57606b" not in svg.replace("--ink:#57606b", "")  # no ink is left that the theme does not reach
