from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from reports.lecture_plots import confusion_plot, shift_plot
from reports.ngram_plots import language_plots
from trainmark.advise.break_even import paybacks
from trainmark.page.galleries import Gallery, galleries
from trainmark.page.plots.canvas import Plot
from trainmark.page.plots.cost import memory_limit, memory_plots, phases_plot, roofline_plot
from trainmark.page.plots.history import history_plots
from trainmark.page.plots.learning import held_out_plots, pareto_plot
from trainmark.page.plots.speed import rounds_plot, speedup_plot, throughput_plots
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.record import Run

SVG = "{http://www.w3.org/2000/svg}"


def words(plot: Plot) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(plot.svg).iter(f"{SVG}text")]


def drawn(run: Run, *others: Run) -> dict[str, Gallery]:
    return {gallery.name: gallery for gallery in galleries(run, [run, *others], paybacks(run.records))}


def ngrams(workload: str = "ngram_fit", **metrics: Any) -> pd.DataFrame:
    rows = [
        {"workload": workload, "status": "ok", "engine": engine, "tokens": tokens, "order": order, **metrics,
         "tokens_per_second": rate * 1e6 / order, "peak_memory_bytes": tokens * 40, "unseen_share": 0.1 * order}
        for engine, rate in (("numba", 25), ("counter", 1), ("lmplz", 1.5))
        for tokens in (100_000, 1_000_000)
        for order in (1, 2, 3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_full_run_fills_every_gallery_that_it_can(stored: Any) -> None:
    found = drawn(stored.full_run(), stored.full_run("0003", seed=3), stored.full_run("0004", seed=4))
    assert [name for name, gallery in found.items() if not gallery.plots] == ["scaling", "language"]


def test_each_picture_says_what_to_see_and_has_its_numbers(stored: Any) -> None:
    run = stored.full_run()
    for gallery in drawn(run, stored.full_run("0003", seed=3), stored.full_run("0004", seed=4)).values():
        for plot in gallery.plots:
            assert plot.finding.endswith("."), plot.finding
            assert plot.finding in plot.alt
            assert plot.numbers.rows
            assert all(len(row) == len(plot.numbers.header) for row in plot.numbers.rows)
            assert not re.search(r"\b(nan|None|inf)\b", " ".join(map(" ".join, plot.numbers.rows)))


def test_a_number_in_a_picture_keeps_its_digits(stored: Any) -> None:
    run = stored.full_run()
    plot = drawn(run)["energy"].plots[0]
    assert {"0.001", "0.01", "0.1"} <= set(words(plot))


def test_speed_ups_are_told_against_fp32_eager_of_the_same_batch(stored: Any) -> None:
    run = stored.run()
    records = [record for record in run.records if record.cell.workload == "train" and record.cell["model"] == "cnn"]
    rate = {record.label: record.metrics["samples_per_second"] for record in records}
    plot = speedup_plot(to_frame([replace(run, records=tuple(records))]))
    assert plot is not None
    shown = dict(zip(plot.numbers.header, next(row for row in plot.numbers.rows if row[0] == "cnn 256"), strict=True))
    expected = rate["train cnn 256 cpu bf16"] / rate["train cnn 256 cpu fp32"]
    assert shown["bf16"] == f"{expected:.2f}×"
    assert plot.finding.startswith("Largest gain over fp32 eager: bf16, 1.")


def test_nothing_faster_than_the_default_is_said_so(stored: Any) -> None:
    run = stored.run()
    records = [
        one for one in run.records if one.label in ("train mlp 256 cpu fp32", "train mlp 256 cpu fp32 compile=default")
    ]
    plot = speedup_plot(to_frame([replace(run, records=tuple(records))]))
    assert plot is not None
    assert plot.finding.startswith("Nothing is faster than fp32 eager; the nearest is fp32 compiled, 0.7")


def test_the_limit_of_memory_is_the_devices_own(stored: Any) -> None:
    run = stored.run()
    gpu = replace(run, environment={**run.environment, "gpus": [{"name": "Fast", "memory_gib": 80}]})
    assert memory_limit(gpu, "cpu") == 24 * 2**30
    assert memory_limit(gpu, "cuda") == 80 * 2**30
    assert memory_limit(run, "cuda") is None
    assert memory_limit(replace(run, environment={"memory_gib": "much", "gpus": "none"}), "cpu") is None


def test_the_limit_is_drawn_where_a_cell_comes_near_it(stored: Any) -> None:
    run = stored.run()
    near = stored.with_metrics(run, "train mlp 256 cpu fp32", peak_memory_bytes=20 * 2**30)

    def of_mlp(run: Run) -> Plot:
        return memory_plots(to_frame([run]).query("workload == 'train' and model == 'mlp'"), run)[0]

    assert "the device's memory" in words(of_mlp(near))
    assert "the device's memory" not in words(of_mlp(run))
    assert "83% of the device's" in of_mlp(near).finding


def test_phases_are_shares_of_the_instrumented_step(stored: Any) -> None:
    plot = phases_plot(to_frame([stored.full_run()]))
    assert plot is not None
    assert plot.finding == "Backward takes most in 8 of 8 trainings, 45% of a step on average; forward takes 35%."
    assert [style.name for style in plot.styles][-1] == "other"
    assert dict(zip(plot.numbers.header, plot.numbers.rows[0], strict=True))["forward (%)"] == "35.0"


def test_a_target_is_drawn_for_the_full_mnist_alone(stored: Any) -> None:
    run = stored.run()
    record = next(one for one in run.records if one.label == "accuracy mlp 64 cpu fp32")
    other = replace(record, cell=Cell.of("accuracy", model="mlp", dataset="mnist"))
    plots = held_out_plots(to_frame([replace(run, records=(record, other))]))
    assert ["target" in words(plot) for plot in plots] == [False, True]
    assert plots[1].finding.endswith("0 of 3 reach 97.8%.")


def test_the_front_holds_what_no_other_beats_in_both(stored: Any) -> None:
    run = stored.run()
    record = next(one for one in run.records if one.cell.workload == "accuracy")
    made = [("slow", 100.0, 0.98), ("beaten", 90.0, 0.97), ("fast", 900.0, 0.90), ("middle", 500.0, 0.95)]
    records = [
        replace(record, cell=Cell.of("accuracy", model=name),
                metrics={**record.metrics, "samples_per_second": rate, "accuracy": share})
        for name, rate, share in made
    ]  # fmt: skip
    plot = pareto_plot(to_frame([replace(run, records=tuple(records))]))
    assert plot is not None
    assert {row[0].split()[1] for row in plot.numbers.rows if row[-1] == "yes"} == {"slow", "fast", "middle"}
    assert pareto_plot(to_frame([replace(run, records=tuple(records[:1]))])) is None


def test_trainings_of_other_epochs_are_in_no_front_with_the_rest(stored: Any) -> None:
    run = stored.run()
    record = next(one for one in run.records if one.cell.workload == "accuracy")
    made = [("mlp", 10, 100.0), ("mlp-residual", 10, 90.0), ("cnn", 2, 900.0)]
    records = [
        replace(record, cell=Cell.of("accuracy", model=name, epochs=epochs),
                metrics={**record.metrics, "samples_per_second": rate})
        for name, epochs, rate in made
    ]  # fmt: skip
    plot = pareto_plot(to_frame([replace(run, records=tuple(records))]))
    assert plot is not None
    assert {row[0].split()[1] for row in plot.numbers.rows} == {"mlp", "mlp-residual"}
    assert "after 10 epochs on mnist-5k" in plot.finding
    assert pareto_plot(to_frame([replace(run, records=(records[0], records[2]))])) is None


@pytest.mark.parametrize("peaks", [{}, {"flops_per_second": {"fp32": 1e11}}, {"flops_per_second": "many"}])
def test_without_peaks_there_is_no_roofline(stored: Any, peaks: dict[str, Any]) -> None:
    assert roofline_plot(to_frame([stored.full_run()]), peaks, "cpu") is None


def test_the_least_steady_cell_is_named(stored: Any) -> None:
    run = stored.run()
    rounds = tuple(0.1 * (1 + number % 2) for number in range(20))
    plot = rounds_plot(to_frame([stored.changed(run, "train cnn 256 cpu fp32", rounds=rounds)]))
    assert plot is not None
    assert "the widest is train cnn 256 cpu fp32, 66.7%." in plot.finding
    assert plot.numbers.rows[0][0] == "train cnn 256 cpu fp32"


def test_history_needs_three_runs_of_the_machine_and_marks_changes(stored: Any) -> None:
    runs = [stored.run(f"000{number}", seed=number) for number in range(6)]
    runs[3:] = [stored.slowed(run, "train cnn 256 cpu fp32", 2) for run in runs[3:]]
    runs = [
        replace(run, facts=replace(run.facts, started=f"2026-01-0{number + 1}T12:00:00+00:00"))
        for number, run in enumerate(runs)
    ]
    plots = history_plots(runs[0], runs[::-1])
    assert plots[0].title == "train cnn 256 cpu fp32"
    assert plots[0].finding.endswith("it changed at 0003.")
    assert [row[0] for row in plots[0].numbers.rows] == [run.name for run in runs]
    assert b"#b3261e" in plots[0].svg
    assert b"#b3261e" not in history_plots(runs[0], runs[:5])[0].svg  # two after it are too few
    assert history_plots(runs[0], runs[:2]) == []
    foreign = replace(runs[3], environment={"fingerprint": "another"})
    assert len(history_plots(runs[0], [*runs[:3], foreign])[0].numbers.rows) == 3


def test_engines_are_drawn_by_corpus_and_by_order() -> None:
    records = pd.concat([ngrams(), ngrams("ngram_score")])
    plots = {plot.title: plot for plot in language_plots(records)}
    assert set(plots) == {
        f"{what} by {by}" for what in ("Counting speed", "Memory", "Unseen n-grams") for by in ("corpus size", "order")
    }
    assert plots["Counting speed by order"].finding.startswith("Fastest: numba, 25.0 Mtokens/s at order 1")
    assert "order 3" in plots["Unseen n-grams by order"].finding


def test_an_engine_that_smooths_is_a_series_of_its_own() -> None:
    records = pd.concat([ngrams(smoothing="mle"), ngrams(smoothing="kneser-ney")])
    names = {style.name for style in language_plots(records)[0].styles}
    assert {"numba", "numba kneser-ney"} <= names


def test_records_that_know_no_engine_draw_no_language(stored: Any) -> None:
    assert language_plots(to_frame([stored.run()])) == []
    assert language_plots(ngrams().drop(columns="engine")) == []
    assert language_plots(ngrams().query("tokens == 100000 and order == 1")) == []


def test_shifts_and_mistakes_are_told() -> None:
    plot = shift_plot({"mlp": [0.95, 0.5], "cnn": [0.97, 0.8]})
    assert plot is not None
    assert plot.finding == "mlp: 95% centred, 50% at 1 pixel; cnn: 97% centred, 80% at 1 pixel."
    confused = confusion_plot([[9, 1, 0], [0, 10, 0], [4, 0, 6]])
    assert confused is not None
    assert confused.finding.startswith("5 of 30 digits are misread, most often 2 read as 0 (4×)")
    assert shift_plot({}) is None
    assert confusion_plot([[3, 0], [0, 3]]) is None


def test_the_pictures_of_two_calls_are_the_same_bytes(stored: Any) -> None:
    first, second = (
        [plot.svg for gallery in drawn(stored.full_run()).values() for plot in gallery.plots] for _ in range(2)
    )
    assert first == second


def test_a_series_beyond_the_palette_is_still_drawn(stored: Any) -> None:
    run = stored.run()
    records = [
        replace(run.records[0], cell=Cell.of("train", model="mlp", batch_size=size, precision=f"int{number}"))
        for number in range(12)
        for size in (8, 16)
    ]
    assert len(throughput_plots(to_frame([replace(run, records=tuple(records))]))[0].numbers.rows) == 24
