"""What docs/evidence/ngram.py has measured, as the tables of docs/ngram.md.

    python docs/evidence/ngram_tables.py ROWS.csv ...

Prints speed, memory and n-grams of each engine with how many times as long it takes as ours, the slope of time over
tokens where there are several texts, and what more threads bring. A ratio is the median over the repetitions of the
ratio within one, with its bootstrap interval at 95%; other numbers are medians, lowest to highest.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from bench.ngram.engines import ENGINES

LIMITS = "limits"  # what the machine's limits are called among the engines
OURS = "numba"


def report(rows: pd.DataFrame) -> None:
    rows["rate"] = rows["tokens"] / rows["seconds"]
    limits, fits = rows[rows["engine"].eq(LIMITS)], rows[rows["engine"].ne(LIMITS)]
    print_limits(limits)
    for (text, order, threads), group in fits.groupby(["text", "order", "threads"], sort=True):
        print_engines(f"{text}, {group['tokens'].iloc[0]:,} tokens, order {order}, {threads} thread(s)", group, limits)
    print_growth(fits)
    print_threads(fits)


def print_limits(limits: pd.DataFrame) -> None:
    for threads, group in limits.groupby("threads"):
        updates, copies = group["updates_per_second"] / 1e6, group["copy_bytes_per_second"] / 1e9
        print(
            f"limits, {threads} thread(s), {len(group)} times: {spread(updates)} M random updates/s, "
            f"copy {spread(copies)} GB/s read and written"
        )


def print_engines(title: str, group: pd.DataFrame, limits: pd.DataFrame) -> None:
    """A row an engine: speed, then how many times as long it takes as ours with either smoothing, paired."""
    header = ("engine", "computes", "n", "M tokens/s", "over ours, mle", "over ours, kneser-ney", "peak MB")
    header += ("bytes/token", "n-grams", "bytes/n-gram", "counted, of random updates")
    print(f"\n{title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    ours = {name: paired(group, OURS, name) for name in ("mle", "kneser-ney")}
    parts = [(*pair, part) for pair, part in group.groupby(["engine", "smoothing"])]
    for engine, smoothing, part in sorted(parts, key=lambda item: -item[2]["rate"].median()):
        own = paired(group, engine, smoothing)
        memory, tokens, entries = part["peak_memory_bytes"].median(), part["tokens"].iloc[0], part["entries"].iloc[0]
        table = part["table_bytes"].median()
        fields = (f"{engine} {smoothing}", ENGINES[engine].computes[smoothing], len(part), spread(part["rate"] / 1e6))
        fields += tuple(ratio(own, other) for other in ours.values())
        fields += (f"{memory / 1e6:,.0f}", f"{memory / tokens:.1f}", f"{entries:,.0f}")
        fields += ("–" if np.isnan(table) else f"{table / entries:.1f}", update_share(part, limits))
        print(f"| {' | '.join(map(str, fields))} |")
    print()
    for engine, smoothing, part in parts:
        stages = [
            f"{stage} {spread(1e3 * part[f'{stage}_seconds'])} ms"
            for stage in ("encode", "count", "estimate", "kernel")
            if ENGINES[engine].own and part[f"{stage}_seconds"].notna().any()
        ]
        if stages:
            print(f"{engine} {smoothing}: {', '.join(stages)}")


def update_share(part: pd.DataFrame, limits: pd.DataFrame) -> str:
    """Tokens counted a second, of the random updates a second of the same repetition."""
    if part["count_seconds"].isna().all():
        return "–"
    threads = part["threads"].iloc[0]
    updates = limits[limits["threads"].eq(threads)].groupby("repetition")["updates_per_second"].max()
    shares = (part["tokens"] / part["count_seconds"]).to_numpy() / updates.reindex(part["repetition"]).to_numpy()
    return spread(pd.Series(100 * shares)) + "%"


def print_growth(fits: pd.DataFrame) -> None:
    """Slope of log time over log tokens, where there are several texts."""
    for (engine, smoothing, order, threads), part in fits.groupby(["engine", "smoothing", "order", "threads"]):
        if part["text"].nunique() < 2:
            continue
        byte_a_token = part.groupby("tokens")["peak_memory_bytes"].median()
        middle = slope(part)
        chosen = random.Random(0)
        again = sorted(slope(resampled(part, chosen)) for _ in range(1000))
        print(
            f"\ngrowth, {engine} {smoothing} order {order}, {threads} thread(s): slope {middle:.3f} "
            f"[{again[25]:.3f}, {again[974]:.3f}] over "
            + ", ".join(
                f"{tokens / 1e6:.3g} M: {seconds:.3g} s, {byte_a_token[tokens] / tokens:.1f} B/token"
                for tokens, seconds in part.groupby("tokens")["seconds"].median().items()
            )
        )


def slope(part: pd.DataFrame) -> float:
    medians = part.groupby("tokens")["seconds"].median()
    return float(np.polyfit(np.log(medians.index), np.log(medians), 1)[0])


def resampled(part: pd.DataFrame, chosen: random.Random) -> pd.DataFrame:
    groups = [
        group.iloc[[chosen.randrange(len(group)) for _ in range(len(group))]] for _, group in part.groupby("tokens")
    ]
    return pd.concat(groups)


def print_threads(fits: pd.DataFrame) -> None:
    """Time with one thread over time with several, of the same repetition."""
    for (text, engine, smoothing, order), part in fits.groupby(["text", "engine", "smoothing", "order"]):
        alone = part[part["threads"].eq(1)].set_index("repetition")
        if not len(alone):
            continue
        for threads, together in part[part["threads"].gt(1)].groupby("threads"):
            several = together.set_index("repetition")
            told = [
                f"{name} {ratio(alone[column], several[column])}"
                for name, column in (
                    ("whole fit", "seconds"),
                    ("encode", "encode_seconds"),
                    ("count", "count_seconds"),
                    ("estimate", "estimate_seconds"),
                )
                if part[column].notna().any() and len(alone)
            ]
            print(f"\n{threads} threads over 1, {text}, {engine} {smoothing} order {order}: {', '.join(told)}")


def paired(group: pd.DataFrame, engine: str, smoothing: str) -> pd.Series:
    """Seconds by repetition."""
    part = group[group["engine"].eq(engine) & group["smoothing"].eq(smoothing)]
    return part.set_index("repetition")["seconds"]


def ratio(longer: pd.Series, shorter: pd.Series) -> str:
    """Median of the repetitions' ratios, with its bootstrap interval at 95%."""
    logs = np.log((longer / shorter).dropna().to_numpy(float))
    if not len(logs):
        return "–"
    middle = np.exp(np.median(logs))
    if len(logs) < 3 or np.ptp(logs) == 0:
        return f"{middle:.2f}"
    interval = bootstrap((logs,), np.median, confidence_level=0.95, rng=0, method="percentile").confidence_interval
    return f"{middle:.2f} [{np.exp(interval.low):.2f}, {np.exp(interval.high):.2f}]"


def spread(numbers: Sequence[float] | pd.Series) -> str:
    """Median, lowest to highest."""
    values = [float(number) for number in numbers]
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    report(pd.concat(map(pd.read_csv, sys.argv[1:]), ignore_index=True))
