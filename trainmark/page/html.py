"""One offline HTML page of a run: what got worse, which setting to use, why, and how sure that is."""

from __future__ import annotations

import base64
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainmark import formatting
from trainmark.advise import answer_words, phrases, recommend
from trainmark.advise.answer import answers, goals_beside
from trainmark.advise.baseline import Offer
from trainmark.advise.break_even import Payback, paybacks
from trainmark.advise.conditions import facts, facts_of_both, machine
from trainmark.advise.headline import headline
from trainmark.advise.notices import flag_meanings, notices
from trainmark.advise.stretched import not_ranked, stretches
from trainmark.advise.waiting import bottlenecks, summary
from trainmark.advise.what_limits import limits, limits_sentence
from trainmark.judge.beside import reading
from trainmark.judge.comparison import FAILING, VERDICTS, CellComparison, Comparison
from trainmark.judge.explanation import Leading
from trainmark.judge.verdict import judge
from trainmark.page import tables
from trainmark.page.anchors import anchor
from trainmark.page.configurations import configurations
from trainmark.page.forest import forest
from trainmark.page.galleries import galleries
from trainmark.page.plots.distribution import Times, distribution_plots
from trainmark.page.sections import Section
from trainmark.store.metrics import METRICS, OVER_SEEDS
from trainmark.store.pairs import PairedRun
from trainmark.store.record import STATUSES, Record, Run
from trainmark.workloads import entries

WHY = ("phases", "holding")  # galleries that say where time and memory go


def render(
    runs: Sequence[Run],
    comparison: Comparison | None = None,
    profiled: Sequence[Leading] = (),
    folder: Path = Path(),
    sections: Sequence[Section] = (),
    beside: Sequence[str] = (),
    history: Sequence[Run] = (),
    baseline: Run | None = None,
    offer: Offer | None = None,
    offer_command: str = "",
) -> str:
    """The page of the first run, as one document that loads nothing.

    The same runs give the same page: it holds no moment of its own making.

    Args:
        runs: The subject first; the others are listed. At least one.
        comparison: Of the subject with a base.
        profiled: What leads in the subject's profiled cells.
        folder: Where the page will lie: links to traces are relative to it.
        sections: That workloads bring.
        beside: Names of files beside the page that hold its numbers.
        history: Runs to draw a history of; those of ``runs`` where none are given.
        baseline: What the subject was compared with, for its times; None where it is not at hand.
        offer: A run that may be its baseline, where it was not compared.
        offer_command: What compares the two.
    """
    subject = runs[0]
    compiled = paybacks(subject.records)
    compared = {cell.key: cell for cell in comparison.cells} if comparison else {}
    verdict = judge(comparison) if comparison else None
    found, advice = answers(subject.records), recommend.advise(subject.records)
    bound = limits(subject.records)
    drawn = galleries(subject, history or runs, compiled)
    return (
        templates()
        .get_template("report.html")
        .render(
            run=subject,
            others=runs[1:],
            headline=headline(verdict, found, advice, len(subject.records)),
            facts=facts(subject),
            notices=notices(subject),
            comparison=comparison,
            verdict=verdict,
            offer=offer,
            offer_command=offer_command,
            forest=forest(comparison) if comparison else None,
            distributions=distribution_plots(comparison.cells, _rounds(baseline, subject)) if comparison else (),
            flagged=_flagged(subject, baseline),
            reading=reading(comparison) if comparison else None,
            answers=found,
            answered={(one.model, one.device) for one in found},
            advice=advice,
            limits_sentence=limits_sentence(bound),
            limits=tables.bound_table(bound) if bound else None,
            configurations=configurations(subject, compared),
            why=[plot for gallery in drawn if gallery.name in WHY for plot in gallery.plots],
            galleries=[gallery for gallery in drawn if gallery.plots and gallery.name not in WHY],
            absent=[gallery for gallery in drawn if not gallery.plots],
            details=_details(subject, compiled),
            of_why=[gallery.title for gallery in drawn if gallery.name in WHY],
            told=[gallery.title for gallery in drawn if gallery.plots or gallery.name in WHY],
            profiled=[
                (leading, Path(os.path.relpath(leading.trace, folder)).as_posix() if leading.trace else None)
                for leading in profiled
            ],
            sections=sections,
            beside=beside,
        )
    )


def _rounds(baseline: Run | None, subject: Run) -> Times:
    """The rounds of each configuration that both runs have timed."""
    before = {record.key: record.rounds for record in baseline.records} if baseline else {}
    return {record.key: (before[record.key], record.rounds) for record in subject.records if record.key in before}


def _flagged(*runs: Run | None) -> Mapping[str, tuple[str, ...]]:
    """Join key -> warnings about either side; nothing of what has none."""
    found: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for record in (record for run in runs if run is not None for record in run.records if record.flags):
        found[record.key] = tuple(dict.fromkeys((*found[record.key], *map(formatting.plain, record.flags))))
    return found


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
    verdict = judge(comparison)
    return (
        templates()
        .get_template("pairs.html")
        .render(
            run=paired.new,
            headline=headline(verdict, (), (), len(paired.new.records)),
            paired=paired,
            pairs=sum(map(len, paired.pairs.values())),
            comparison=comparison,
            verdict=verdict,
            forest=forest(comparison, most=len(comparison.cells)),
            distributions=distribution_plots(comparison.cells, _of_pairs(paired)),
            flagged=_flagged(paired.base, paired.new),
            reading=reading(comparison),
            counted=len(beside),
            differing=_differing(comparison),
            conditions=facts_of_both(paired.base, paired.new),
        )
    )


def _of_pairs(paired: PairedRun) -> Times:
    """Seconds of a step in each process of each side, as the ratio of a pair has them; noisy pairs are left out."""
    found = {}
    for key, pairs in paired.pairs.items():
        kept, steps = [pair for pair in pairs if not pair.disturbed], paired.steps.get(key, 1)
        found[key] = ([one.base.seconds / steps for one in kept], [one.new.seconds / steps for one in kept])
    return found


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
        for change in sorted(cell.others, key=lambda change: METRICS[change.name].compared not in ("exact", "explains"))
    ]
    return [one for one in told if one.base != one.new or one.verdict != "unchanged"]


def _how_compared(metric: str) -> str:
    described = METRICS[metric]
    if described.compared == "explains":
        return "told, not judged"
    if described.compared in OVER_SEEDS:
        return f"over the seeds, within {formatting.difference(metric, described.tolerance).removeprefix('+')}"
    return "exactly" if described.compared == "exact" else f"within {formatting.percent(described.tolerance, 0)}"


def _details(run: Run, compiled: Sequence[Payback]) -> list[tables.Detail]:
    """Tables of what the pictures do not hold in full, by subject; without those that would be empty."""

    def measured(metric: str) -> list[Record]:
        return [record for record in run.records if record.metrics.get(metric) is not None]

    general = [
        ("Where the time goes", " ".join(filter(None, [
            "Shares of a step with its phases timed. Other is what lies between the lecture's lines.",
            not_ranked(stretches(measured("forward_seconds"))), summary(bottlenecks(run.records))])),
         measured("forward_seconds"), tables.phases_table),
        ("Limits of the machine", "Peaks are the largest rates that probes reached on this very machine.",
         measured("flops_utilisation"), tables.limits_table),
        ("Steadiness", "What else the machine did, and how long a configuration took in all.",
         measured("cell_seconds"), tables.steadiness_table),
        ("Counts", "Counted over an eager step, and not timed: what the code and its software do.",
         measured("operators_per_step"), tables.counts_table),
    ]  # fmt: skip
    shown = [tables.Detail(title, meaning, make(records)) for title, meaning, records, make in general if records]
    if compiled:
        meaning = "Compiling pays after so many steps as win back its time, against the same cell run eagerly."
        shown.insert(0, tables.Detail("torch.compile", meaning, tables.compile_table(compiled)))
    own = [
        detail
        for entry in entries()
        if (records := [record for record in run.records if record.cell.workload == entry.name])
        for detail in entry.tables(records)
        if not detail.whole
    ]
    return [*own, *shown]


def _shown(value: object) -> object:
    """Whatever a template prints: of a text of others, what is no printable character is spelled out."""
    return formatting.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _css_string(text: str) -> str:
    """A text as a string of CSS, for an attribute: whatever could end it is spelled out."""
    return '"' + re.sub(r'["\\\n<>;{}]', lambda found: f"\\{ord(found[0]):x} ", formatting.printable(text)) + '"'


def templates(*own: BaseLoader) -> Environment:
    """Templates that escape whatever they print, and fail where a name is not given.

    Args:
        own: Where a suite's own templates lie; they may use the page's macros.
    """
    environment = Environment(
        loader=ChoiceLoader([*own, PackageLoader("trainmark.page")]),
        autoescape=True,
        finalize=_shown,
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
        "slug": lambda name: re.sub(r"[^a-z0-9]+", "-", name.lower()),
        "css_string": _css_string,
        "base64": lambda image: base64.b64encode(image).decode("ascii"),
    }
    environment.globals |= {
        "dash": formatting.DASH,
        "phrases": phrases,
        "answer_words": answer_words,
        "goals_beside": goals_beside,
        "recommend": recommend,
        "meanings": VERDICTS,
        "failing": FAILING,
        "word_meanings": {**flag_meanings(), **STATUSES, **{word: f"it {told}" for word, told in VERDICTS.items()}},
        "known_words": (*STATUSES, *VERDICTS, "holds", "fails", "unchecked"),
    }
    return environment
