"""Which pictures a page has, under which headings, and why some are absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from trainmark.advise.break_even import Payback
from trainmark.page.plots.canvas import Plot, Style
from trainmark.page.plots.cost import energy_plot, payback_plot, phases_plot, roofline_plot
from trainmark.page.plots.history import history_plots
from trainmark.page.plots.holding import holding_plot
from trainmark.page.plots.speed import rounds_plot
from trainmark.store.frame import to_frame
from trainmark.store.record import Run
from trainmark.workloads import entries


@dataclass(frozen=True)
class Gallery:
    """Pictures under one heading.

    Attributes:
        name: For links.
        title: The heading.
        reading: How to read them, in a sentence.
        plots: The pictures.
        absent: Why there are none.
    """

    name: str
    title: str
    reading: str
    plots: tuple[Plot, ...]
    absent: str

    @property
    def styles(self) -> tuple[Style, ...]:
        """The legend of its narrow panels: each series once."""
        return tuple({style.name: style for plot in self.plots if not plot.wide for style in plot.styles}.values())


@dataclass(frozen=True)
class Drawn:
    """What pictures are drawn of.

    Attributes:
        run: The subject of the page.
        frame: Its records, a row each.
    """

    run: Run
    frame: pd.DataFrame

    def of(self, workload: str) -> pd.DataFrame:
        """The rows of one workload."""
        return self.frame[self.frame["workload"].eq(workload)]


def galleries(run: Run, runs: Sequence[Run], compiled: Sequence[Payback]) -> list[Gallery]:
    """All galleries of a page, the empty ones among them: those of each workload, and those of all.

    Args:
        run: The subject.
        runs: For its history; those of another machine are left out.
        compiled: Compiled cells beside their eager twins.
    """
    drawn = Drawn(run, to_frame([run]))
    models = [gallery for entry in entries() if entry.subject == "models" for gallery in entry.galleries(drawn)]
    others = [gallery for entry in entries() if entry.subject != "models" for gallery in entry.galleries(drawn)]
    return [*models, *_of_all(drawn, runs, compiled), *others]


def _of_all(drawn: Drawn, runs: Sequence[Run], compiled: Sequence[Payback]) -> list[Gallery]:
    """Pictures that several workloads are in."""
    run, frame = drawn.run, drawn.frame
    trainings = frame[frame["workload"].isin([entry.name for entry in entries() if entry.role == "training"])]
    rooflines = [roofline_plot(frame, peaks, device) for device, peaks in run.facts.peaks.items()]
    return [
        Gallery(
            "phases",
            "Where the time goes",
            "Of a step with its phases timed: the largest batch of a workload, model and precision, eager if measured.",
            one(phases_plot(frame)),
            "no phases were timed",
        ),
        Gallery(
            "holding",
            "Where the memory goes",
            "Of the largest batch of each model: what a training holds above what any process of the run holds.",
            one(holding_plot(trainings, frame)),
            "no training tells what its memory holds",
        ),
        Gallery(
            "payback",
            "torch.compile",
            "Above 1 the compiled training is ahead, its compilation with a cold cache included.",
            one(payback_plot(compiled)),
            "no compiled cell has an eager twin",
        ),
        Gallery(
            "roofline",
            "Limits of the machine",
            "The slope is what memory allows, the ceilings what arithmetic does, as probes reached them out of caches.",
            tuple(plot for plot in rooflines if plot is not None),
            "the machine's peaks, or the operations of a step, are not known",
        ),
        Gallery(
            "steadiness",
            "Steadiness",
            "Rounds of the cells that spread most. A steady cell is a narrow strip; two strips are two states.",
            one(rounds_plot(frame)),
            "no cell has several rounds of steps",
        ),
        Gallery(
            "energy",
            "Energy",
            "Lower is better. Of the whole GPU, or of all processor packages.",
            one(energy_plot(frame)),
            "no energy counter was read",
        ),
        Gallery(
            "history",
            "History",
            "Runs of this machine in the order in which they were measured; a dashed line is a change.",
            tuple(history_plots(run, runs)),
            "fewer than three stored runs of this machine have a time of the same cell",
        ),
    ]


def one(plot: Plot | None) -> tuple[Plot, ...]:
    """A picture as pictures: none where there is none."""
    return () if plot is None else (plot,)
