"""What training gives: accuracy against the seconds it took, and against throughput."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.ticker import PercentFormatter

from trainmark import formatting, suite
from trainmark.page.plots.canvas import (
    SECONDS,
    WIDE_INCHES,
    Numbers,
    Plot,
    axes,
    drawing,
    escaped,
    named_styles,
    panels,
    rate_scale,
    series_label,
    spots,
    svg,
)
from trainmark.page.plots.speed import unique_styles
from trainmark.store.metrics import METRICS
from trainmark.store.record import held_out_series

_PERCENT = PercentFormatter(1, decimals=None)


def held_out_plots(records: pd.DataFrame) -> list[Plot]:
    """What trained models are judged by against seconds of training: a panel a model and metric, a line a seed.

    Of accuracy with a target, where there is one.

    The epochs of a training are taken to be equally long: its time is known as a whole.

    Args:
        records: Rows as :func:`trainmark.store.runs.to_frame` gives them; those without curves are left out.
    """
    with drawing():
        return [
            _held_out(f"{title}{'' if name == 'accuracy' else f': {formatting.metric_name(name)}'}", panel, name)
            for name in judged_by(records)
            for title, panel in panels(_points(records, name))
        ]


def judged_by(records: pd.DataFrame) -> list[str]:
    """The metrics that records have curves of, the accuracy first."""
    curves = dict.fromkeys(name for series in records["series"] for name in series or ())
    found = [name for name in METRICS if held_out_series(name) in curves and f"{name}_lowest" in METRICS]
    return sorted(found, key=lambda name: name != "accuracy")


def _points(records: pd.DataFrame, name: str) -> pd.DataFrame:
    points = [
        {
            **row,
            "epoch": epoch,
            "curve": f"{row['key']} {number}",
            "seed": _at(row["series"].get("seed"), number),
            "seconds": row["rounds"][number] * epoch / len(curve) if number < len(row["rounds"]) else None,
            "held_out": share,
        }
        for row in records[records["status"].eq("ok")].to_dict("records")
        for number, curve in enumerate(row["series"].get(held_out_series(name)) or ())
        for epoch, share in enumerate(curve, start=1)
        if share is not None and curve[-1] is not None  # a training that has an end
    ]
    drawn = pd.DataFrame(points, columns=[*records.columns, "epoch", "curve", "seed", "seconds", "held_out"])
    return drawn[drawn["seconds"].notna()]


def _at(values: Any, number: int) -> Any:
    return values[number] if isinstance(values, list | tuple) and number < len(values) else number


def _held_out(title: str, panel: pd.DataFrame, name: str) -> Plot:
    styles = unique_styles(panel)
    canvas = axes()
    single = panel["epoch"].max() == 1  # a curve of one epoch is a dot: then seeds stand side by side
    seeds = {seed: place for place, seed in enumerate(dict.fromkeys(map(str, panel["seed"])))}
    panel = panel.assign(at=[seeds[str(seed)] for seed in panel["seed"]] if single else panel["seconds"])
    points = panel[["at", "held_out", "curve"]].assign(series=[style.name for style in panel["style"]])
    palette = {style.name: style.color for style in styles.values()}
    if single:
        sns.scatterplot(points, x="at", y="held_out", hue="series", palette=palette, s=42, linewidth=0, legend=False,
                        ax=canvas)  # fmt: skip
    else:
        sns.lineplot(points, x="at", y="held_out", hue="series", palette=palette, units="curve", estimator=None,
                     linewidth=1.2, alpha=0.75, marker="o", markersize=3.5, markeredgewidth=0, legend=False,
                     ax=canvas)  # fmt: skip
    last = panel[panel["epoch"].eq(panel.groupby("curve")["epoch"].transform("max"))]
    low, high = last["held_out"].min(), last["held_out"].max()
    ends = dict.fromkeys(formatting.metric(name, end) for end in (low, high))
    finding = f"{formatting.counted(len(last), 'training')} end{'s' * (len(last) == 1)} "
    finding += f"{'between' if len(ends) > 1 else 'at'} {' and '.join(ends)}, "
    finding += f"after {formatting.duration(last['seconds'].median())}{' (median)' * (len(last) > 1)}."
    target = suite.current().targets.get(str(panel["dataset"].iloc[0])) if name == "accuracy" else None
    if target is not None:
        reached = int(last["held_out"].ge(target).sum())
        finding += f" {reached} of {len(last)} reach {formatting.percent(target, 1)}."
        canvas.axhline(target, color="#8a94a0", linestyle=(0, (4, 2)), linewidth=1)
        canvas.annotate("target", (0, target), (2, 2), ("axes fraction", "data"), "offset points")
    if METRICS[name].is_share:
        canvas.yaxis.set_major_formatter(_PERCENT)
    canvas.locator_params(axis="y", nbins=6)
    if single:
        canvas.set_xticks(range(len(seeds)), [formatting.plain(seed, 12) for seed in seeds])
        canvas.set_xlim(-0.6, len(seeds) - 0.4)
    else:
        canvas.locator_params(axis="x", nbins=6)
        canvas.set_xlim(left=0)
        canvas.xaxis.set_major_formatter(SECONDS)
    what = f"held-out {formatting.metric_name(name).removeprefix('held out ')}"
    unit = "" if METRICS[name].is_share or not METRICS[name].unit else f" ({METRICS[name].unit})"
    canvas.set(xlabel="seed, one epoch each" if single else "training time", ylabel=f"{what}{unit}")
    values = spots(canvas, (
        (row["at"], row["held_out"],
         f"{series_label(row)}, seed {row['seed']}, epoch {row['epoch']}: {formatting.metric(name, row['held_out'])}")
        for row in panel.to_dict("records")
    ))  # fmt: skip
    numbers = Numbers(
        ("Setting", "Seed", "Epochs", "Training", what.capitalize()),
        tuple(
            (
                series_label(row),
                formatting.plain(row["seed"]),
                str(row["epoch"]),
                formatting.duration(row["seconds"]),
                formatting.metric(name, row["held_out"]),
            )
            for row in last.to_dict("records")
        ),
    )
    alt = f"{what.capitalize()} of {title} against training time. {finding}"
    return Plot(title, finding, alt, svg(canvas), numbers, tuple(styles.values()), spots=values)


def pareto_plot(records: pd.DataFrame) -> Plot | None:
    """Accuracy against throughput of each training, and those that no other beats in both; None below two.

    Args:
        records: Rows of accuracy; trainings on other data sets, or of other epochs, are not compared with each other.
    """
    drawn = records[records["status"].eq("ok") & records["accuracy"].notna() & records["samples_per_second"].gt(0)]
    for alike in ("dataset", "epochs"):
        if len(drawn):
            drawn = drawn[drawn[alike].eq(drawn[alike].mode().iloc[0])]
    if len(drawn) < 2:
        return None
    drawn = drawn.sort_values(["samples_per_second", "accuracy"], ascending=False, kind="stable")
    front = drawn[drawn["accuracy"].gt(drawn["accuracy"].shift(fill_value=-1).cummax())]
    styles = named_styles(formatting.plain(name, 40) for name in drawn["model"])
    dataset = formatting.plain(drawn["dataset"].iloc[0])
    names = [formatting.plain(row["label"], 60) for row in front.to_dict("records")]
    epochs = formatting.counted(int(drawn["epochs"].iloc[0]), "epoch")
    listed = "; ".join([*names[:3], *(["…"] if len(names) > 3 else [])])
    finding = f"Beaten by no other in both, after {epochs} on {dataset}: {listed}."
    numbers = Numbers(
        ("Training", "Samples/s", "Accuracy", "Lowest", "Highest", "On the front"),
        tuple(
            (
                formatting.plain(row["label"]),
                formatting.prefixed(row["samples_per_second"]),
                formatting.percent(row["accuracy"]),
                formatting.percent(row["accuracy_lowest"]),
                formatting.percent(row["accuracy_highest"]),
                "yes" if row["key"] in set(front["key"]) else "no",
            )
            for row in drawn.to_dict("records")
        ),
    )
    with drawing():
        canvas = axes(2.8, WIDE_INCHES)
        points = drawn[["samples_per_second", "accuracy"]].assign(
            model=[formatting.plain(name, 40) for name in drawn["model"]]
        )
        canvas.vlines(drawn["samples_per_second"], drawn["accuracy_lowest"], drawn["accuracy_highest"],
                      colors=[styles[name].color for name in points["model"]], linewidth=1.2, alpha=0.6)  # fmt: skip
        sns.lineplot(front, x="samples_per_second", y="accuracy", color="#8a94a0", linewidth=1, drawstyle="steps-pre",
                     estimator=None, ax=canvas)  # fmt: skip
        sns.scatterplot(points, x="samples_per_second", y="accuracy", hue="model", style="model",
                        palette={name: style.color for name, style in styles.items()},
                        markers={name: style.marker for name, style in styles.items()},
                        s=42, linewidth=0, legend=False, ax=canvas)  # fmt: skip
        for row in front.head(6).to_dict("records"):  # beside the dot and its interval, never on them
            canvas.annotate(escaped(series_label(row)), (row["samples_per_second"], row["accuracy"]), (7, 0),
                            textcoords="offset points", fontsize=7.5, va="center")  # fmt: skip
        rate_scale(canvas, drawn["samples_per_second"], which="x")
        canvas.yaxis.set_major_formatter(_PERCENT)
        canvas.set(xlabel="samples/s in training", ylabel="held-out accuracy")
        said = [
            f"{label}: {formatting.percent(share)}, {formatting.prefixed(rate)} samples/s"
            for label, share, rate in zip(drawn["label"], drawn["accuracy"], drawn["samples_per_second"], strict=True)
        ]
        values = spots(canvas, zip(drawn["samples_per_second"], drawn["accuracy"], said, strict=True))
        image = svg(canvas)
    alt = f"Accuracy of {len(drawn)} trainings on {dataset} against their throughput. {finding}"
    return Plot(
        "Accuracy against throughput", finding, alt, image, numbers, tuple(styles.values()), wide=True, spots=values
    )
