"""How fast do n-gram models fit, ours and the peers', on the same text, interleaved, each in a fresh process?

    python docs/evidence/ngram.py measure ROWS.csv --text TEXT ... [--engine NAME[:SMOOTHING] ...] [--order N ...]
                                  [--threads N ...] [--repetitions R] [--budget SECONDS]
    python docs/evidence/ngram.py report ROWS.csv ...
    python docs/evidence/ngram.py zipf TOKENS TEXT          writes a text of that size to measure growth with

In each repetition every fit is done once, in an order of its own, with the machine's limits probed among them; each
has as many cores as threads. A fit is timed from the text's file to the table or model, imports and kernels apart. A
row is kept as soon as it is there, and rows that are there are not measured again: so a call may stop after its budget
and another go on. The report prints what docs/ngram.md quotes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from bench.corpora import count_tokens, zipf_sentences
from bench.ngram_engines import ENGINES, Task, engine_obstacle
from bench.programs import run_program
from results.cell import OWN_ENGINES

LIMITS = "limits"  # beside the engines: random updates and copies a second
OURS = "numba"
FIRST_TEXT = "the cat sat\nthe dog sat\nthe cat\n"


@dataclass(frozen=True)
class Job:
    """One fit, or one look at the machine's limits."""

    text: str
    engine: str
    smoothing: str
    order: int
    threads: int
    repetition: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("rows", type=Path)
    measuring.add_argument("--text", type=Path, action="append", required=True)
    measuring.add_argument("--engine", nargs="+", default=None, help="NAME or NAME:SMOOTHING; default: all there are")
    measuring.add_argument("--order", nargs="+", type=int, default=[3])
    measuring.add_argument("--threads", nargs="+", type=int, default=[1])
    measuring.add_argument("--repetitions", type=int, default=5)
    measuring.add_argument("--budget", type=float, default=float("inf"))
    reporting = commands.add_parser("report")
    reporting.add_argument("rows", type=Path, nargs="+")
    making = commands.add_parser("zipf")
    making.add_argument("tokens", type=int)
    making.add_argument("text", type=Path)
    fitting = commands.add_parser("one")
    fitting.add_argument("job")
    asked = parser.parse_args()
    if asked.command == "measure":
        measure(asked)
    elif asked.command == "report":
        report(pd.concat(map(pd.read_csv, asked.rows), ignore_index=True))
    elif asked.command == "zipf":
        write_zipf(asked.tokens, asked.text)
    else:
        one(json.loads(asked.job))


# Measuring


def measure(asked: argparse.Namespace) -> None:
    begun, longest = time.perf_counter(), 0.0
    tokens = {str(path.absolute()): count_text(path) for path in asked.text}
    done = set()
    if asked.rows.exists():
        columns = list(Job.__dataclass_fields__)
        done = {tuple(row) for row in pd.read_csv(asked.rows)[columns].itertuples(index=False)}
    jobs = list(planned(asked))
    for number, job in enumerate(jobs, start=1):
        if (Path(job.text).name, *list(asdict(job).values())[1:]) in done:
            continue
        if time.perf_counter() - begun + longest > asked.budget:
            print(f"stopped for the budget before {number} of {len(jobs)}; call again to go on")
            return
        started = time.perf_counter()
        row = measured(job) | {"tokens": tokens[job.text], "text_bytes": Path(job.text).stat().st_size}
        longest = max(longest, time.perf_counter() - started)
        keep(asked.rows, asdict(job) | {"text": Path(job.text).name} | row)
        print(
            f"{number}/{len(jobs)} {Path(job.text).name} {job.engine} {job.smoothing} order {job.order} "
            f"threads {job.threads}: {row['seconds']:.3f} s, {row['peak_memory_bytes'] / 1e6:.0f} MB",
            flush=True,
        )


def planned(asked: argparse.Namespace) -> Iterator[Job]:
    """Every job of each repetition, in an order that the repetition's number decides."""
    names = asked.engine or [name for name in ENGINES if engine_obstacle(name) is None]
    pairs = []
    for name in names:
        engine, _, smoothing = name.partition(":")
        pairs += [(engine, one) for one in ([smoothing] if smoothing else ENGINES[engine].computes)]
    for repetition in range(asked.repetitions):
        jobs = [
            Job(str(text.absolute()), engine, smoothing, order, threads, repetition)
            for text, (engine, smoothing), order, threads in product(asked.text, pairs, asked.order, asked.threads)
        ]
        jobs += [Job(jobs[0].text, LIMITS, "", 0, threads, repetition) for threads in asked.threads]
        random.Random(repetition).shuffle(jobs)
        yield from jobs


def measured(job: Job) -> dict[str, float | int | None]:
    """Does a job in a process of its own: what it says, with its peak memory as the kernel counts it."""
    environment = {"OMP_NUM_THREADS": str(job.threads), "NUMBA_NUM_THREADS": str(job.threads)}
    os.environ |= environment
    with TemporaryDirectory() as folder:
        target = Path(folder) / "result"
        command = [sys.executable, str(Path(__file__).absolute()), "one", json.dumps(asdict(job))]
        run = run_program(command, Path(os.devnull), target, job.threads)
        found = json.loads(target.read_text())
    return found | {"peak_memory_bytes": found["peak_memory_bytes"] or run.peak_memory_bytes}


def one(values: dict[str, str | int]) -> None:
    """What the fresh process does."""
    job = Job(**values)  # type: ignore[arg-type]
    if job.engine == LIMITS:
        from bench.ngram_probes import measure_limits

        limits = measure_limits(job.threads, lambda _: None, Path())
        told = {"seconds": limits.seconds_taken, "peak_memory_bytes": None}
        rates = {"updates_per_second": limits.updates_per_second, "copy_bytes_per_second": limits.copy_bytes_per_second}
        print(json.dumps(dict.fromkeys(FIELDS) | told | rates))
        return
    fit = ENGINES[job.engine].fit
    with TemporaryDirectory() as folder:
        first = Path(folder) / "first.txt"
        first.write_text(FIRST_TEXT)

        def task(path: Path) -> Task:
            return Task(path, job.order, job.smoothing, "cpu", job.threads, Path(folder))

        begun = time.perf_counter()
        fit(task(first))
        kernels = time.perf_counter() - begun
        fitted = fit(task(Path(job.text)))
    print(
        json.dumps(
            dict.fromkeys(FIELDS)
            | {
                "seconds": fitted.seconds,
                "kernel_seconds": kernels,
                **{f"{stage}_seconds": seconds for stage, seconds in fitted.stages.items()},
                "entries": fitted.entries,
                "table_bytes": fitted.table_bytes,
                "peak_memory_bytes": fitted.peak_memory_bytes,
            }
        )
    )


FIELDS = (
    *("seconds", "encode_seconds", "count_seconds", "estimate_seconds", "kernel_seconds"),
    *("entries", "table_bytes", "peak_memory_bytes", "updates_per_second", "copy_bytes_per_second"),
)


def keep(path: Path, row: dict[str, object]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*Job.__dataclass_fields__, *FIELDS, "tokens", "text_bytes"])
        if new:
            writer.writeheader()
        writer.writerow(row)


def count_text(path: Path) -> int:
    with path.open("rb") as file:
        return sum(map(count_tokens, file))


def write_zipf(tokens: int, path: Path) -> None:
    taken, sentences = 0, zipf_sentences()
    with path.open("wb") as file:
        while taken < tokens:
            for line in islice(sentences, 10_000):
                file.write(line)
                taken += count_tokens(line)
                if taken >= tokens:
                    break
    print(f"{taken:,} tokens in {path}")


# Reporting


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
            if engine in OWN_ENGINES and part[f"{stage}_seconds"].notna().any()
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
    main()
