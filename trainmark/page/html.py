"""One offline HTML page of a run: what got worse, which setting to use, why, and how sure that is."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainmark import formatting
from trainmark.advise import phrases, recommend
from trainmark.page import tables
from trainmark.advise.notices import notices
from trainmark.page.anchors import anchor
from trainmark.judge.verdict import judge
from trainmark.judge.comparison import FAILING, VERDICTS, CellComparison, Comparison
from trainmark.advise.conditions import facts, facts_of_both, machine
from trainmark.page.forest import forest
from trainmark.page.galleries import galleries
from reports.lecture import Lesson
from trainmark.advise.break_even import Payback, paybacks
from trainmark.judge.explanation import Leading
from trainmark.store.pairs import PairedRun
from trainmark.store.record import METRICS, STATUSES, Record, Run


def render(
    runs: Sequence[Run],
    comparison: Comparison | None = None,
    profiled: Sequence[Leading] = (),
    folder: Path = Path(),
    lesson: Lesson | None = None,
    beside: Sequence[str] = (),
    history: Sequence[Run] = (),
) -> str:
    """The page of the first run, as one document that loads nothing.

    The same runs give the same page: it holds no moment of its own making.

    Args:
        runs: The subject first; the others are listed. At least one.
        comparison: Of the subject with a base.
        profiled: What leads in the subject's profiled cells.
        folder: Where the page will lie: links to traces are relative to it.
        lesson: What the lecture's claims came to, where the run has them.
        beside: Names of files beside the page that hold its numbers.
        history: Runs to draw a history of; those of ``runs`` where none are given.
    """
    subject = runs[0]
    compiled = paybacks(subject.records)
    compared = {cell.key: cell for cell in comparison.cells} if comparison else {}
    drawn = galleries(subject, history or runs, compiled)
    return (
        _templates()
        .get_template("report.html")
        .render(
            run=subject,
            others=runs[1:],
            facts=facts(subject),
            notices=notices(subject),
            comparison=comparison,
            verdict=judge(comparison) if comparison else None,
            forest=forest(comparison) if comparison else None,
            advice=recommend.advise(subject.records),
            cells=tables.cells_table(subject.records, compared),
            galleries=[gallery for gallery in drawn if gallery.plots],
            absent=[gallery for gallery in drawn if not gallery.plots],
            details=_details(subject, compiled),
            profiled=[
                (leading, Path(os.path.relpath(leading.trace, folder)).as_posix() if leading.trace else None)
                for leading in profiled
            ],
            lesson=lesson,
            beside=beside,
        )
    )


@dataclass(frozen=True)
class Differing:
    """A number beside the times that is not the same on both sides, in words."""

    cell: CellComparison
    name: str
    base: str
    new: str
    compared: str
    verdict: str


def render_paired(paired: PairedRun, comparison: Comparison) -> str:
    """The page of two sides that were measured together, as one document that loads nothing.

    Args:
        paired: Both sides, with their pairs.
        comparison: Of the two.
    """
    beside = [change for cell in comparison.cells for change in cell.changes if not change.timed]
    return (
        _templates()
        .get_template("pairs.html")
        .render(
            run=paired.new,
            paired=paired,
            pairs=sum(map(len, paired.pairs.values())),
            comparison=comparison,
            verdict=judge(comparison),
            forest=forest(comparison, most=len(comparison.cells)),
            counted=len(beside),
            differing=_differing(comparison),
            conditions=facts_of_both(paired.base, paired.new),
        )
    )


def _differing(comparison: Comparison) -> list[Differing]:
    """The worst cells first, and of a cell what is compared exactly; without what reads the same."""
    told = [
        Differing(
            cell,
            formatting.metric_name(change.name),
            formatting.metric(change.name, change.base),
            formatting.metric(change.name, change.new),
            _how_compared(change.name),
            change.verdict,
        )
        for cell in comparison.cells
        for change in sorted(cell.others, key=lambda change: METRICS[change.name].compared != "exact")
    ]
    return [one for one in told if one.base != one.new or one.verdict != "unchanged"]


def _how_compared(metric: str) -> str:
    described = METRICS[metric]
    if described.compared == "points":
        return f"over the seeds, within {formatting.points(described.tolerance).removeprefix('+')}"
    return "exactly" if described.compared == "exact" else f"within {formatting.percent(described.tolerance, 0)}"


def _details(run: Run, compiled: Sequence[Payback]) -> list[tuple[str, str, tables.Table]]:
    """Heading, meaning and table of what the pictures do not hold in full; without those that would be empty."""

    def measured(metric: str) -> list[Record]:
        return [record for record in run.records if record.metrics.get(metric) is not None]

    accuracy = [record for record in run.records if record.cell.workload == "accuracy"]
    inputs = [record for record in run.records if record.cell.workload == "input"]
    found = [
        ("Accuracy", "Held-out accuracy after the last epoch; the training time is the median over seeds.",
         accuracy, tables.accuracy_table),
        ("Input pipelines", "What it costs to have a batch, before any arithmetic.", inputs, tables.input_table),
        ("Phases", "Shares of a step with its phases timed. Other is what lies between the lecture's lines.",
         measured("forward_seconds"), tables.phases_table),
        ("Largest batch", "The largest batch that can be trained, exact to one part in 64.",
         measured("max_batch_size"), tables.capacity_table),
        ("Limits", "Peaks are the largest rates that probes reached on this very machine.",
         measured("flops_utilisation"), tables.limits_table),
        ("Counts", "Counted over an eager step: the same in every run, so any change is a change of the code.",
         measured("operators_per_step"), tables.counts_table),
        ("n-gram models: fitting", "From a text's file to the model. Compare those alone that compute the same; peak "
         "memory is of the whole process.", measured("fit_seconds"), tables.ngram_fit_table),
        ("n-gram models: scoring", "Of the last tenth of the corpus, by a model of the rest. Unsmoothed, one unseen "
         "n-gram makes the perplexity infinite.", measured("score_seconds"), tables.ngram_score_table),
    ]  # fmt: skip
    shown = [(title, meaning, make(records)) for title, meaning, records, make in found if records]
    if compiled:
        meaning = "Compiling pays after so many steps as win back its time, against the same cell run eagerly."
        shown.insert(1, ("torch.compile", meaning, tables.compile_table(compiled)))
    return shown


def _templates() -> Environment:
    """Templates that escape whatever they print, and fail where a name is not given."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": anchor,
        "duration": formatting.duration,
        "times": formatting.times,
        "relative": formatting.relative,
        "moment": formatting.moment,
        "plain": formatting.plain,
        "machine": machine,
        "base64": lambda image: base64.b64encode(image).decode("ascii"),
    }
    environment.globals |= {
        "interval": formatting.interval,
        "phrases": phrases,
        "recommend": recommend,
        "meanings": VERDICTS,
        "failing": FAILING,
        "known_words": (*STATUSES, *VERDICTS, "holds", "fails", "unchecked"),
    }
    return environment
