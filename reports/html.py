"""One offline HTML page of a run: verdict, conditions, warnings, plots and tables."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports import formatting, plots, tables
from reports.advice import notices
from reports.anchors import anchor
from reports.check import judge
from reports.comparison import VERDICTS, Comparison
from reports.conditions import facts, machine
from reports.payback import paybacks
from reports.profiles import Leading
from results.cell import WORKLOADS
from results.record import STATUSES, Run
from results.runs import to_frame

_STEP_WORKLOADS = {"train": "Training", "inference": "Inference"}


@dataclass(frozen=True)
class Gallery:
    """Plots under one heading."""

    title: str
    meaning: str
    plots: tuple[plots.Plot, ...]


def render(
    runs: Sequence[Run], comparison: Comparison | None = None, profiled: Sequence[Leading] = (), folder: Path = Path()
) -> str:
    """The page of the first run, as one document that loads nothing.

    The same runs give the same page: it holds no moment of its own making.

    Args:
        runs: The subject first; the others are only listed. At least one.
        comparison: Of the subject with a base.
        profiled: What leads in the subject's profiled cells.
        folder: Where the page will lie: links to traces are relative to it.
    """
    subject = runs[0]
    frame = to_frame([subject])
    accuracy = [record for record in subject.records if record.cell.workload == "accuracy"]
    inputs = [record for record in subject.records if record.cell.workload == "input"]
    stepping = [record for record in subject.records if record.metrics.get("forward_seconds") is not None]
    counted = [record for record in subject.records if record.metrics.get("operators_per_step") is not None]
    near_limits = [record for record in subject.records if record.metrics.get("flops_utilisation") is not None]
    capacities = [record for record in subject.records if record.metrics.get("max_batch_size") is not None]
    fits = [record for record in subject.records if record.metrics.get("fit_seconds") is not None]
    scored = [record for record in subject.records if record.metrics.get("score_seconds") is not None]
    compiled = paybacks(subject.records)
    compared = {cell.key: cell for cell in comparison.cells} if comparison else {}
    template = _templates().get_template("report.html")
    return template.render(
        run=subject,
        others=runs[1:],
        facts=facts(subject),
        notices=notices(subject),
        comparison=comparison,
        verdict=judge(comparison) if comparison else None,
        meanings=VERDICTS,
        known_words=(*STATUSES, *VERDICTS),
        throughput=[
            Gallery(title, WORKLOADS[workload].meaning, tuple(drawn))
            for workload, title in _STEP_WORKLOADS.items()
            if (drawn := plots.throughput_plots(frame[frame["workload"].eq(workload)]))
        ],
        curves=plots.accuracy_plots(frame[frame["workload"].eq("accuracy")]),
        accuracy=tables.accuracy_table(accuracy) if accuracy else None,
        inputs=tables.input_table(inputs) if inputs else None,
        phases=tables.phases_table(stepping) if stepping else None,
        compilation=tables.compile_table(compiled) if compiled else None,
        profiled=[
            (leading, Path(os.path.relpath(leading.trace, folder)).as_posix() if leading.trace else None)
            for leading in profiled
        ],
        limits=tables.limits_table(near_limits) if near_limits else None,
        counts=tables.counts_table(counted) if counted else None,
        capacity=tables.capacity_table(capacities) if capacities else None,
        ngram_fits=tables.ngram_fit_table(fits) if fits else None,
        ngram_scores=tables.ngram_score_table(scored) if scored else None,
        cells=tables.cells_table(subject.records, compared),
    )


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
        "moment": formatting.moment,
        "plain": formatting.plain,
        "machine": machine,
        "base64": lambda image: base64.b64encode(image).decode("ascii"),
    }
    environment.globals["interval"] = formatting.interval
    return environment
