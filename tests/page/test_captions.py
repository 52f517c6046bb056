"""No sentence of the page is refuted by the numbers beside it: each claim is held against a run that refutes it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from bench.lecture.findings import PUBLISHED, Claim, Lecture
from reports.lecture import lesson
from reports.lecture_plots import confusion_plot
from reports.ngram_plots import language_plots
from trainmark.advise.break_even import Payback, paybacks
from trainmark.advise.stretched import not_ranked
from trainmark.judge.comparison import CellComparison, compare, compare_paired
from trainmark.judge.verdict import judge
from trainmark.page.configurations import configurations
from trainmark.page.forest import MOST_BARS, forest
from trainmark.page.galleries import galleries
from trainmark.page.html import render, render_paired
from trainmark.page.plots.canvas import Plot
from trainmark.page.plots.cost import energy_plot, payback_plot, phases_plot, roofline_plot
from trainmark.page.plots.learning import held_out_plots
from trainmark.page.plots.speed import rounds_plot, speedup_plot, throughput_plots
from trainmark.page.tables import phases_table
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.record import Record, Run

PHASES = ("data", "copy", "forward", "loss", "zero_grad", "backward", "optimizer", "other")


def step(seconds: float, workload: str = "train", *, reach: float = 0.01, **fields: Any) -> Record:
    """A cell of the mlp whose step takes so long, within so much."""
    axes = fields.pop("axes", {})
    metrics = {
        "step_seconds": seconds,
        "step_seconds_low": seconds * (1 - reach),
        "step_seconds_high": seconds * (1 + reach),
        "samples_per_second": int(axes.get("batch_size", 64)) / seconds,
        **fields.pop("metrics", {}),
    }
    return Record(Cell.of(workload, model="mlp", **axes), "ok", metrics=metrics, **fields)


def phased(shares: dict[str, float], workload: str = "train", *, stretched: float = 1.0, **axes: Any) -> Record:
    """A cell whose instrumented step has such shares and takes so many times the timed one."""
    parts = {f"{phase}_seconds": 0.01 * stretched * shares.get(phase, 0.0) for phase in PHASES}
    return step(0.01, workload, axes=axes, metrics={**parts, "instrumented_step_seconds": 0.01 * stretched})


def of(*records: Record, stored: Any, **fields: Any) -> Run:
    return replace(stored.run(), records=records, **fields)


def found(plot: Plot | None) -> str:
    assert plot is not None
    assert plot.finding in plot.alt
    return plot.finding


BACKWARD = {"forward": 0.3, "backward": 0.6, "other": 0.1}
FORWARD = {"forward": 0.9, "other": 0.1}


def phases(stored: Any, *records: Record) -> str:
    return found(phases_plot(to_frame([of(*records, stored=stored)])))


def test_inferences_are_not_averaged_in_with_trainings(stored: Any) -> None:
    told = phases(
        stored, phased(BACKWARD), phased(FORWARD, "inference"), phased(FORWARD, "inference", precision="bf16")
    )
    assert told == "Backward takes most in 1 of 1 training, 60% of a step there; forward takes 30%."


def test_a_phase_takes_most_in_as_many_cells_as_it_does(stored: Any) -> None:
    other = {"forward": 0.6, "backward": 0.3, "other": 0.1}
    told = phases(stored, phased(BACKWARD), phased(BACKWARD, precision="bf16"), phased(other, precision="fp16"))
    assert told == "Backward takes most in 2 of 3 trainings, 50% of a step on average; forward takes 40%."


def test_without_a_training_the_caption_says_what_it_is_of(stored: Any) -> None:
    told = phases(stored, phased(FORWARD, "inference"))
    assert told == "Forward takes most in 1 of 1 cell without training, 90% of a step there; other takes 10%."


def test_no_phase_takes_most_where_two_take_the_same(stored: Any) -> None:
    told = phases(stored, phased({"forward": 0.4, "backward": 0.4, "other": 0.2}))
    assert told == "No phase alone takes most in any of 1 training."


@pytest.mark.parametrize("stretched", [2.6, 0.5])
def test_phases_of_another_step_are_not_ranked_and_said_to_be_so(stored: Any, stretched: float) -> None:
    told = phases(stored, phased(BACKWARD), phased(FORWARD, precision="bf16", stretched=stretched))
    assert told.startswith("Backward takes most in 1 of 1 training")
    assert f"Not ranked: 1 of 2 cells, where a step with its phases timed takes {stretched:.2f}× the time" in told
    alone = phases(stored, phased(FORWARD, stretched=stretched))
    assert "takes most" not in alone
    assert "Not ranked: 1 of 1 cell" in alone


def test_the_table_of_phases_says_which_are_of_another_step(stored: Any) -> None:
    records = [phased(BACKWARD), phased(FORWARD, precision="bf16", stretched=2.6)]
    (over,) = [column for column in phases_table(records).columns if column.title == "Over the timed step"]
    assert [(value.text, value.note) for value in over.values] == [("1.00×", None), ("2.60×", "another step")]
    assert "Not ranked: 1 of 2 cells" in render([of(*records, stored=stored)])
    assert not_ranked([1.0, 1.2, 0.85]) == ""


def payback(decided: bool, speedup: float, mode: str = "default") -> Payback:
    compiled = step(0.01 / speedup, axes={"compile": mode}, metrics={"compile_seconds": 10.0})
    return Payback(compiled, speedup, 1000.0 if speedup > 1 else None, decided)


def test_never_pays_back_is_said_of_decided_cells_alone() -> None:
    assert found(payback_plot([payback(True, 0.8)])) == (
        "Compiling never pays back here: each of 1 compiled cell is slower than eager."
    )
    told = found(payback_plot([payback(True, 0.8), payback(False, 0.99, "max-autotune")]))
    assert "never" not in told
    assert told == (
        "Compiling is not shown to pay back in any of 2 compiled cells; 1 are slower than eager. Undecided: 1."
    )
    assert found(payback_plot([payback(True, 1.5), payback(False, 0.9, "max-autotune")])).endswith("Undecided: 1.")


def test_the_roofline_has_the_ridge_of_the_table(stored: Any) -> None:
    metrics = {"arithmetic_intensity": 2.0, "achieved_flops_per_second": 1e11, "flops_utilisation": 0.5}
    records = to_frame([of(step(0.01, metrics=metrics), stored=stored)])
    peaks = {"flops_per_second": {"fp32": 2e11}, "bytes_per_second": 94.3e9, "copy_bytes_per_second": 25.7e9}
    told = found(roofline_plot(records, peaks, "cpu"))
    assert told.startswith("Memory as drawn moves 25.7 GB/s out of caches; 1 of 1 cell lie above it, by their caches.")
    peaks["copy_bytes_per_second"] = 60e9
    assert "0 of 1 cell lie above it" in found(roofline_plot(records, peaks, "cpu"))


def test_of_equal_shares_of_the_peak_none_is_the_largest_alone(stored: Any) -> None:
    metrics = {"arithmetic_intensity": 2.0, "achieved_flops_per_second": 1e11, "flops_utilisation": 0.5}
    cells = [step(0.01, metrics=metrics), step(0.01, metrics=metrics, axes={"batch_size": 128})]
    peaks = {"flops_per_second": {"fp32": 2e11}, "bytes_per_second": 94.3e9}
    assert "50%, train mlp 64 cpu fp32, as 1 other." in found(
        roofline_plot(to_frame([of(*cells, stored=stored)]), peaks, "cpu")
    )


def test_the_thriftiest_is_told_of_each_workload_and_with_what_equals_it(stored: Any) -> None:
    cells = [
        step(0.01, metrics={"energy_joules_per_sample": 2.0}),
        step(0.01, metrics={"energy_joules_per_sample": 2.0}, axes={"batch_size": 128}),
        step(0.01, "inference", metrics={"energy_joules_per_sample": 0.5}),
    ]
    told = found(energy_plot(to_frame([of(*cells, stored=stored)])))
    assert "in train: train mlp 64 cpu fp32, 2.00 J a sample, as 1 other" in told
    assert "in inference: inference mlp 64 cpu fp32, 0.500 J a sample" in told


def fastest(stored: Any, *records: Record) -> str:
    return throughput_plots(to_frame([of(*records, stored=stored)]))[0].finding


def test_the_fastest_is_told_apart_or_said_not_to_be(stored: Any) -> None:
    slow, fast = step(0.010), step(0.005, axes={"precision": "bf16"})
    assert fastest(stored, slow, fast).startswith("Fastest: bf16 at batch 64, ")
    near = step(0.0099, axes={"precision": "bf16"})
    assert fastest(stored, slow, near).endswith("; 1 of 1 others are not told apart from it.")
    unknown = replace(slow, metrics={**slow.metrics, "step_seconds_low": None, "step_seconds_high": None})
    assert fastest(stored, unknown, fast).startswith("Fastest by its median: ")
    assert fastest(stored, slow) == "fp32 at batch 64, 6.40 k samples/s: the only setting here."


@pytest.mark.parametrize(
    ("seconds", "flags", "told"),
    [
        (0.005, (), "Largest gain over fp32 eager: bf16, 2.00×"),
        (0.0099, (), "Largest ratio to fp32 eager: bf16, 1.01×"),
        (0.005, ("disturbed",), "Largest ratio to fp32 eager: bf16, 2.00×"),
        (0.012, (), "Nothing is faster than fp32 eager"),
    ],
)
def test_a_gain_is_told_where_the_intervals_show_one(
    stored: Any, seconds: float, flags: tuple[str, ...], told: str
) -> None:
    records = [step(0.010), step(seconds, axes={"precision": "bf16"}, flags=flags)]
    assert found(speedup_plot(to_frame([of(*records, stored=stored)]))).startswith(told)


def test_a_larger_ratio_that_shows_no_gain_is_told_beside_the_largest_gain(stored: Any) -> None:
    records = [
        step(0.010),
        step(0.008, axes={"precision": "bf16"}),
        step(0.005, axes={"precision": "fp16"}, flags=("disturbed",)),
    ]
    told = found(speedup_plot(to_frame([of(*records, stored=stored)])))
    assert told.startswith("Largest gain over fp32 eager: bf16, 1.25×, for mlp 64; of 1 larger, one side was flagged")


def test_a_picture_that_leaves_rows_out_says_how_many(stored: Any) -> None:
    cells = [
        step(seconds, axes={"batch_size": size, "precision": precision})
        for size in range(8, 38)
        for precision, seconds in (("fp32", 0.010), ("bf16", 0.005))
    ]
    told = found(speedup_plot(to_frame([of(*cells, stored=stored)])))
    assert told.endswith("Shown are 1 of 1 setting and 24 of 30 rows; all are in the numbers.")


def test_a_cell_that_is_flagged_unsteady_is_not_counted_as_steady(stored: Any) -> None:
    calm = step(0.01, rounds=(0.01,) * 10)
    flagged = step(0.01, rounds=(0.01,) * 10, axes={"batch_size": 128}, flags=("unsteady",))
    told = found(rounds_plot(to_frame([of(calm, flagged, stored=stored)])))
    assert told.startswith("1 of 2 cells are steady")
    assert "0.0%, as 1 other" in told


def learnt(*curves: list[float | None]) -> Record:
    series = {"seed": list(range(len(curves))), "held_out_accuracy": list(curves)}
    return Record(
        Cell.of("accuracy", model="mlp"), "ok", series=series, rounds=tuple(1.0 + n for n in range(len(curves)))
    )


def test_trainings_end_between_what_they_end_at(stored: Any) -> None:
    def told(record: Record) -> str:
        return held_out_plots(to_frame([of(record, stored=stored)]))[0].finding

    assert told(learnt([0.5, 0.9])) == "1 training ends at 90.00%, after 1.00 s."
    assert told(learnt([0.5, 0.9], [0.5, 0.8])) == "2 trainings end between 80.00% and 90.00%, after 1.50 s (median)."
    assert told(learnt([0.5, 0.9], [0.3, None])).startswith("1 training ends at 90.00%")  # the other has no end


def absent(run: Run, *others: Run) -> dict[str, str]:
    return {one.name: one.absent for one in galleries(run, [run, *others], paybacks(run.records)) if not one.plots}


def test_what_a_run_lacks_is_not_said_of_what_it_has(stored: Any) -> None:
    trained = of(*(one for one in stored.run().records if one.cell.workload == "accuracy"), stored=stored)
    assert max(len(record.rounds) for record in trained.records) > 1
    assert absent(trained)["steadiness"] == "no cell has several rounds of steps"
    apart = [of(step(0.01, axes={"batch_size": size}), stored=stored, name=str(size)) for size in (8, 16, 32)]
    assert absent(*apart)["history"] == "fewer than three stored runs of this machine have a time of the same cell"
    sizes = of(step(0.01), step(0.01, axes={"batch_size": 128}), stored=stored)
    assert absent(sizes)["memory"] == "no model's memory was read at two batch sizes"


def test_what_is_said_of_all_of_a_workload_holds_for_all_of_it(stored: Any) -> None:
    records = [step(0.01), step(0.01, axes={"batch_size": 128}), step(0.01, axes={"precision": "bf16"}), *inputs()]
    train, data = configurations(of(*records, stored=stored), {}).groups
    assert train.constants == "mnist-5k, cpu"  # not a precision, in which they differ
    assert [row.name for row in train.table.rows] == [
        "mlp, batch 64, fp32",
        "mlp, batch 128, fp32",
        "mlp, batch 64, bf16",
    ]
    assert data.constants == "mnist-5k, cpu"


def inputs() -> list[Record]:
    return [Record(Cell.of("input"), "ok", metrics={"step_seconds": 1e-4})]


def test_cells_without_a_bar_are_counted_by_their_verdict(stored: Any) -> None:
    comparison = compare(stored.run(), stored.run())
    verdicts = ["regressed"] * MOST_BARS + ["inconclusive"] * 2 + ["unchanged"]
    cells = tuple(CellComparison(f"k{number}", "cell", verdict) for number, verdict in enumerate(verdicts))
    assert forest(replace(comparison, cells=cells)).left_out_words == "2 inconclusive, 1 unchanged"


def test_nothing_compared_is_not_said_not_to_differ(stored: Any) -> None:
    run = stored.run("20260101T120000-abcdef")
    bare = replace(run, records=(step(0.01),))
    page = render_paired(stored.paired(bare, bare, {}), compare_paired(stored.paired(bare, bare, {})))
    assert "There was none to compare." in page
    assert "none of them differs" not in page


def test_machines_that_are_not_known_are_not_said_to_differ(stored: Any) -> None:
    run = replace(stored.run(), environment={})
    assert "in environments not known to be the same" in judge(compare(run, run)).sentence
    other = replace(stored.run(), environment={**stored.run().environment, "fingerprint": "f", "cpu": "Another"})
    assert "in different environments" in judge(compare(stored.run(), other)).sentence


def claim(verdict: str, topic: str = "Parameters") -> Claim:
    return Claim(topic, "said", "1", "1" if verdict == "holds" else "2", verdict)


def test_published_figures_are_not_said_to_be_computed() -> None:
    def told(*claims: Claim) -> str:
        return lesson(Lecture("lecture", "mnist-5k", claims, {}, (), ())).sentence

    assert told(claim("holds"), claim("fails")).endswith(" 2 of them computed in this run.")
    mixed = told(claim("holds"), claim("holds", PUBLISHED), claim("not checked"))
    assert mixed.endswith(" 1 of them computed in this run, 1 compared with figures that others have published.")


def test_what_kernels_and_maps_show_is_counted(stored: Any) -> None:
    lecture = stored.lecture()
    readings = {some.title: some.reading for some in lesson(lecture).pictures}
    assert re.search(r"\d+ of 32 before, \d+ of 32 after training", readings["First-layer kernels"])
    assert readings["Feature maps of digit 5 0"] == "The strongest maps of 3 layers, of 32x32, 16x16, 8x8 places."
    fewer = replace(
        lecture, images=tuple(one for one in lecture.images if one.group not in ("learned", "maps 5 later"))
    )
    readings = {some.title: some.reading for some in lesson(fewer).pictures}
    assert readings["By hand and learned"] == "The same digit through kernels made by hand."
    assert "2 layers, of 32x32, 16x16 places" in readings["Feature maps of digit 5 0"]


def test_the_most_frequent_mistakes_are_told_with_what_is_as_frequent() -> None:
    told = found(confusion_plot([[6, 1, 1, 1], [1, 6, 0, 0], [0, 0, 6, 0], [0, 0, 0, 6]]))
    assert told == (
        "4 of 28 digits are misread, most often 0 read as 1 (1×), 0 read as 2 (1×), 0 read as 3 (1×), and 1 other pair "
        "as often as the last."
    )


def ngrams(engines: dict[str, tuple[str, float]], corpora: tuple[str, ...] = ("pydoc",)) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"workload": "ngram_score", "status": "ok", "engine": engine, "smoothing": smoothing, "tokens": 1000,
             "order": order, "unseen_share": share, "corpus": corpus}
            for engine, (smoothing, share) in engines.items()
            for order in (2, 3)
            for corpus in corpora
        ]
    )  # fmt: skip


def test_engines_that_give_the_same_are_not_ranked_against_each_other() -> None:
    told = language_plots(ngrams({"numba": ("mle", 0.2), "counter": ("mle", 0.2)}))[0].finding
    assert told.startswith("Fewest: counter, 20.0% at order 2, as 3 others;")


def test_models_that_estimate_differently_are_said_to() -> None:
    told = language_plots(ngrams({"numba": ("mle", 0.2), "lmplz": ("kneser-ney", 0.3)}))[0].finding
    assert told.startswith("Fewest, of models that estimate differently: numba")


def test_texts_are_not_mixed_in_a_picture_of_one() -> None:
    plot = language_plots(ngrams({"numba": ("mle", 0.2)}, ("pydoc", "zipf")))[0]
    assert len(plot.numbers.rows) == 2
