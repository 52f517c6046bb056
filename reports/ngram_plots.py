"""N-gram models: tokens a second, memory and unseen share against the order and the size of the corpus."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator, PercentFormatter

from trainmark import formatting
from trainmark.page.plots.canvas import (
    BYTES,
    LONGEST_NAME,
    RATE,
    Numbers,
    Plot,
    Style,
    as_much,
    axes,
    drawing,
    log_scale,
    named_styles,
    rate_scale,
    spots,
    svg,
)

FIT, SCORE = "ngram_fit", "ngram_score"
_NEEDED = ("tokens", "order", "engine")


def language_plots(records: pd.DataFrame) -> list[Plot]:
    """All pictures of n-gram cells; none where the run has no such cell, or its records name no engine.

    Args:
        records: Rows of any workload, as :func:`trainmark.store.runs.to_frame` gives them.
    """
    if not set(_NEEDED) <= set(records.columns):
        return []
    fits = records[records["workload"].eq(FIT) & records["status"].eq("ok")]
    scores = records[records["workload"].eq(SCORE) & records["status"].eq("ok")]
    styles = named_styles([*_names(fits), *_names(scores)])
    with drawing():
        found = [
            _against(fits, "tokens_per_second", x, "Counting speed", "tokens/s", styles) for x in ("tokens", "order")
        ]
        found += [_against(fits, "peak_memory_bytes", x, "Memory", "peak memory", styles) for x in ("tokens", "order")]
        found += [
            _against(scores, "unseen_share", x, "Unseen n-grams", "unseen share", styles) for x in ("tokens", "order")
        ]
    return [plot for plot in found if plot is not None]


def _against(
    records: pd.DataFrame, metric: str, x: str, title: str, axis: str, styles: dict[str, Style]
) -> Plot | None:
    """A metric against corpus size at the usual order, or against order at the usual size; None below two points."""
    if metric not in records.columns:
        return None
    other = "order" if x == "tokens" else "tokens"
    drawn = records[pd.to_numeric(records[metric], errors="coerce").notna() & records[x].notna()]
    if len(drawn):
        drawn = drawn[drawn[other].eq(drawn[other].mode().iloc[0])]
    if len(drawn) and "corpus" in drawn.columns:  # one text: others are longer or richer
        drawn = drawn[drawn["corpus"].eq(drawn["corpus"].mode().iloc[0])]
    if drawn[x].nunique() < 2:
        return None
    drawn = drawn.assign(
        value=pd.to_numeric(drawn[metric]),
        at=pd.to_numeric(drawn[x]).astype(float),
        name=_names(drawn),
    )
    if x == "tokens":
        drawn = drawn[drawn["at"].gt(0)]  # 0 stands for a whole corpus, of a size that the axis does not tell
        if drawn["at"].nunique() < 2:
            return None
    higher = metric == "tokens_per_second"
    ranked = drawn.sort_values(["value", "name"], ascending=[not higher, True], kind="stable")
    best, worst = ranked.iloc[0], ranked.iloc[-1]
    word = {"tokens_per_second": "Fastest", "peak_memory_bytes": "Least memory"}.get(metric, "Fewest")
    values = [_value(metric, value) for value in ranked["value"]]
    tasks = ", of models that estimate differently" if _smoothings(drawn) > 1 else ""
    finding = (
        f"{word}{tasks}: {best['name']}, {values[0]} at {_place(x, best['at'])}{as_much(values)}; "
        f"at the other end {worst['name']}, {values[-1]} at {_place(x, worst['at'])}{as_much(values[::-1])}."
    )
    canvas = axes()
    shown = {name: style for name, style in styles.items() if name in set(drawn["name"])}
    sns.lineplot(
        drawn[["at", "value", "name"]].sort_values("at", kind="stable"),
        x="at",
        y="value",
        hue="name",
        style="name",
        palette={name: style.color for name, style in shown.items()},
        markers={name: style.marker for name, style in shown.items()},
        dashes=False,
        errorbar=None,
        linewidth=1.6,
        markersize=5,
        markeredgewidth=0,
        legend=False,
        ax=canvas,
    )
    if x == "tokens":
        canvas.set_xscale("log")
        log_scale(canvas.xaxis, drawn["at"].min(), drawn["at"].max())
    else:
        canvas.xaxis.set_major_locator(MaxNLocator(integer=True))
    if metric == "unseen_share":
        canvas.set_ylim(0, 1)
        canvas.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        rate_scale(canvas, drawn["value"], BYTES if metric.endswith("bytes") else RATE)
    canvas.set(xlabel="tokens of the corpus" if x == "tokens" else "order", ylabel=axis)
    numbers = Numbers(
        ("Engine", "Tokens", "Order", axis.capitalize()),
        tuple(
            (row["name"], formatting.prefixed(row["tokens"]), str(row["order"]), _value(metric, row["value"]))
            for row in drawn.to_dict("records")
        ),
    )
    told = spots(
        canvas,
        (
            (row["at"], row["value"], f"{row['name']}, {_place(x, row['at'])}: {_value(metric, row['value'])}")
            for row in drawn[["at", "value", "name"]].to_dict("records")
        ),
    )
    panel = f"{title} by {'corpus size' if x == 'tokens' else 'order'}"
    return Plot(panel, finding, f"{panel}. {finding}", svg(canvas), numbers, tuple(shown.values()), spots=told)


def _names(records: pd.DataFrame) -> list[str]:
    """The engine, and the smoothing where it does more than the lecture's: others are another task."""
    smoothing = records.get("smoothing", pd.Series("mle", records.index))
    return [
        formatting.plain(engine if kind == "mle" or pd.isna(kind) else f"{engine} {kind}", LONGEST_NAME)
        for engine, kind in zip(records["engine"], smoothing, strict=True)
    ]


def _smoothings(records: pd.DataFrame) -> int:
    """How many tasks there are among them."""
    return int(records["smoothing"].fillna("mle").nunique()) if "smoothing" in records.columns else 1


def _value(metric: str, value: float) -> str:
    if metric == "unseen_share":
        return formatting.percent(value, 1)
    return formatting.prefixed(value, "B" if metric.endswith("bytes") else "tokens/s")


def _place(x: str, at: float) -> str:
    return f"{formatting.prefixed(at)} tokens" if x == "tokens" else f"order {at:.0f}"
