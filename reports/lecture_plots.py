"""What the lecture workload measured: accuracy on shifted digits, and which digits are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, PercentFormatter

from trainmark import formatting
from trainmark.page.plots.canvas import (
    WIDE_INCHES,
    Numbers,
    Plot,
    axes,
    drawing,
    named_styles,
    spots,
    svg,
    write_legibly,
)

_MISTAKES = LinearSegmentedColormap.from_list("mistakes", ["#eef0f2", "#e0812f", "#7c2d12"])


def shift_plot(shifts: Mapping[str, Sequence[float]]) -> Plot | None:
    """Held-out accuracy against the shift, a line a network; None without any."""
    curves = {formatting.plain(name, 24): list(curve) for name, curve in shifts.items() if len(curve) > 1}
    if not curves:
        return None
    styles = named_styles(curves)
    told = [
        f"{name}: {formatting.percent(curve[0], 0)} centred, "
        f"{formatting.percent(curve[-1], 0)} at {formatting.counted(len(curve) - 1, 'pixel')}"
        for name, curve in curves.items()
    ]
    finding = f"{'; '.join(told)}."
    points = pd.DataFrame(
        [
            {"network": name, "pixels": pixels, "accuracy": share}
            for name, curve in curves.items()
            for pixels, share in enumerate(curve)
        ]
    )
    with drawing():
        canvas = axes(2.4, WIDE_INCHES)
        sns.lineplot(
            points,
            x="pixels",
            y="accuracy",
            hue="network",
            style="network",
            palette={name: style.color for name, style in styles.items()},
            markers={name: style.marker for name, style in styles.items()},
            dashes=False,
            markeredgewidth=0,
            markersize=6,
            estimator=None,
            legend=False,
            ax=canvas,
        )
        canvas.set_ylim(0, 1)
        canvas.yaxis.set_major_formatter(PercentFormatter(1))
        canvas.xaxis.set_major_locator(MaxNLocator(integer=True))
        canvas.set(xlabel="shift of the digits in pixels", ylabel="held-out accuracy")
        values = spots(
            canvas,
            (
                (place, share, f"{name}, {formatting.counted(place, 'pixel')}: {formatting.percent(share, 1)}")
                for name, curve in curves.items()
                for place, share in enumerate(curve)
            ),
        )
        image = svg(canvas)
    longest = max(map(len, curves.values()))
    rows = tuple(
        (
            str(pixels),
            *(formatting.percent(curve[pixels] if pixels < len(curve) else None, 1) for curve in curves.values()),
        )
        for pixels in range(longest)
    )
    alt = f"Accuracy on digits shifted by 0 to {longest - 1} pixels. {finding}"
    numbers = Numbers(("Pixels", *curves), rows)
    return Plot(
        "Trained centred, tested shifted", finding, alt, image, numbers, tuple(styles.values()), wide=True, spots=values
    )


def confusion_plot(confusion: Sequence[Sequence[int]]) -> Plot | None:
    """Mistakes by digit and by what it was read as; None where there is no mistake."""
    counts = np.array(confusion)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.sum() == np.trace(counts):
        return None
    mistakes = counts - np.diag(np.diag(counts))
    order = sorted(zip(*mistakes.nonzero(), strict=True), key=lambda place: (-mistakes[place], place))
    told = [f"{digit} read as {read} ({mistakes[digit, read]}×)" for digit, read in order[:3]]
    rest = [mistakes[place] for place in order[3:]]
    alike = sum(int(times == mistakes[order[2]]) for times in rest)
    also = f", and {formatting.counted(alike, 'other pair')} as often as the last" if alike else ""
    finding = f"{mistakes.sum()} of {counts.sum()} digits are misread, most often {', '.join(told)}{also}."
    with drawing():
        canvas = axes(3.2, 3.4, left_inches=0.55)
        sns.heatmap(
            pd.DataFrame(mistakes).mask(mistakes == 0),
            annot=True,
            fmt=".0f",
            annot_kws={"size": 8},
            cmap=_MISTAKES,
            vmin=0,
            cbar=False,
            ax=canvas,
        )
        write_legibly(canvas)
        canvas.grid(visible=True, linewidth=0.4)
        canvas.tick_params(axis="y", labelrotation=0)
        canvas.set(xlabel="read as", ylabel="digit")
        values = spots(
            canvas,
            ((read + 0.5, digit + 0.5, f"{digit} read as {read}: {mistakes[digit, read]}×") for digit, read in order),
        )
        image = svg(canvas)
    rows = tuple((str(digit), str(read), str(mistakes[digit, read])) for digit, read in order)
    alt = f"Mistakes of the CNN, digit by digit. {finding}"
    return Plot(
        "The most confused digits", finding, alt, image, Numbers(("Digit", "Read as", "Times"), rows), spots=values
    )
