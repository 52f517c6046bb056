"""Which pictures a page has, under which headings, and why some are absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainmark.advise.break_even import Payback
from trainmark.page.plots.canvas import Plot, Style
from trainmark.page.plots.cost import energy_plot, memory_plots, payback_plot, phases_plot, roofline_plot
from trainmark.page.plots.history import history_plots
from reports.ngram_plots import language_plots
from trainmark.page.plots.learning import accuracy_plots, pareto_plot
from trainmark.page.plots.speed import rounds_plot, speedup_plot, throughput_plots
from trainmark.store.record import Run
from trainmark.store.runs import to_frame


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


def galleries(run: Run, runs: Sequence[Run], compiled: Sequence[Payback]) -> list[Gallery]:
    """All galleries of a page, the empty ones among them.

    Args:
        run: The subject.
        runs: For its history; those of another machine are left out.
        compiled: Compiled cells beside their eager twins.
    """
    frame = to_frame([run])
    training, inference, accuracy = (
        frame[frame["workload"].eq(workload)] for workload in ("train", "inference", "accuracy")
    )
    interval = "A mark is the median of a cell's rounds, the line through it the 95% interval within its process."
    rooflines = [roofline_plot(frame, peaks, device) for device, peaks in run.facts.peaks.items()]
    return [
        Gallery(
            "throughput",
            "Training speed",
            f"Higher is better. {interval}",
            (*throughput_plots(training), *_one(speedup_plot(training))),
            "no training was measured",
        ),
        Gallery(
            "inference",
            "Inference speed",
            f"Higher is better. {interval}",
            (*throughput_plots(inference), *_one(speedup_plot(inference))),
            "no inference was measured",
        ),
        Gallery(
            "memory",
            "Memory",
            "Lower is better. On an accelerator: the peak of live tensors; on a CPU: of the cell's whole process.",
            tuple(memory_plots(training, run)),
            "no model was trained at two batch sizes",
        ),
        Gallery(
            "phases",
            "Where the time goes",
            "Of a step with its phases timed, for the largest batch of each model and precision.",
            _one(phases_plot(frame)),
            "no phases were timed",
        ),
        Gallery(
            "learning",
            "Accuracy",
            "Held-out accuracy after each epoch, a line a seed. The time leaves evaluation out.",
            (*accuracy_plots(accuracy), *_one(pareto_plot(accuracy))),
            "no accuracy was measured",
        ),
        Gallery(
            "payback",
            "torch.compile",
            "Above 1 the compiled training is ahead, its compilation with a cold cache included.",
            _one(payback_plot(compiled)),
            "no compiled cell has an eager twin",
        ),
        Gallery(
            "roofline",
            "Limits of the machine",
            "Below the slope memory is the limit, below a ceiling arithmetic; both as probes reached them here.",
            tuple(plot for plot in rooflines if plot is not None),
            "the machine's peaks, or the operations of a step, are not known",
        ),
        Gallery(
            "steadiness",
            "Steadiness",
            "Rounds of the cells that spread most. A steady cell is a narrow strip; two strips are two states.",
            _one(rounds_plot(frame)),
            "no cell has several rounds",
        ),
        Gallery(
            "energy",
            "Energy",
            "Lower is better. Of the whole GPU, or of all processor packages.",
            _one(energy_plot(frame)),
            "no energy counter was read",
        ),
        Gallery(
            "history",
            "History",
            "Runs of this machine in the order in which they were measured; a dashed line is a change.",
            tuple(history_plots(run, runs)),
            "fewer than three runs of this machine are stored",
        ),
        Gallery(
            "language",
            "N-gram models",
            "Engines on the same corpus: along its size at the usual order, and along the order at the usual size.",
            tuple(language_plots(frame)),
            "no n-gram model was measured at two sizes or orders",
        ),
    ]


def _one(plot: Plot | None) -> tuple[Plot, ...]:
    return () if plot is None else (plot,)
