"""How fast do n-gram models fit, ours and the peers', on the same text, interleaved, each in a fresh process?

    python docs/evidence/ngram.py measure ROWS.csv --text TEXT ... [--engine NAME[:SMOOTHING] ...] [--order N ...]
                                  [--threads N ...] [--repetitions R] [--budget SECONDS]
    python docs/evidence/ngram.py zipf TOKENS TEXT          writes a text of that size to measure growth with

In each repetition every fit is done once, in an order of its own, with the machine's limits probed among them; each
has as many cores as threads. A fit is timed from the text's file to the table or model, imports and kernels apart. Just
before it another process takes memory and gives it back: a virtual machine's host may have taken memory away meanwhile,
and whoever came first would pay for getting it again. A row is kept as soon as it is there, and rows that are there are
not measured again: so a call may stop after its budget and another go on. ngram_tables.py beside this file prints them
as docs/ngram.md quotes them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from bench.ngram.engines import ENGINES, Task, engine_obstacle
from bench.ngram.programs import run_program

LIMITS = "limits"  # beside the engines: random updates and copies a second
TOUCHED_BYTES = 2_500_000_000  # more than any fit takes
TOUCH = f"import numpy; numpy.empty({TOUCHED_BYTES}, numpy.uint8).fill(1)"
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
    making = commands.add_parser("zipf")
    making.add_argument("tokens", type=int)
    making.add_argument("text", type=Path)
    fitting = commands.add_parser("one")
    fitting.add_argument("job")
    asked = parser.parse_args()
    if asked.command == "measure":
        measure(asked)
    elif asked.command == "zipf":
        write_zipf(asked.tokens, asked.text)
    else:
        one(json.loads(asked.job))


def measure(asked: argparse.Namespace) -> None:
    begun, longest = time.perf_counter(), 0.0
    tokens = {str(path.absolute()): count_text(path) for path in asked.text}
    done = kept(asked.rows)
    jobs = list(planned(asked))
    for number, job in enumerate(jobs, start=1):
        if named(job) in done:
            continue
        if time.perf_counter() - begun + longest > asked.budget:
            print(f"stopped for the budget before {number} of {len(jobs)}; call again to go on")
            return
        started = time.perf_counter()
        row = measured(job) | {"tokens": tokens[job.text], "text_bytes": Path(job.text).stat().st_size}
        longest = max(longest, time.perf_counter() - started)
        keep(asked.rows, named(job) | row)
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
    """Does a job in a process of its own, and gives what it says."""
    environment = {"OMP_NUM_THREADS": str(job.threads), "NUMBA_NUM_THREADS": str(job.threads)}
    os.environ |= environment
    with TemporaryDirectory() as folder:
        target = Path(folder) / "result"
        command = [sys.executable, str(Path(__file__).absolute()), "one", json.dumps(asdict(job))]
        run_program(command, Path(os.devnull), target, job.threads)
        found: dict[str, float | int | None] = json.loads(target.read_text())
    return found


def one(values: dict[str, str | int]) -> None:
    """What the fresh process does."""
    job = Job(**values)  # type: ignore[arg-type]
    if job.engine == LIMITS:
        from bench.ngram.counting_probes import measure_limits

        limits = measure_limits(job.threads, lambda _: None, Path())
        told = {"seconds": limits.seconds_taken, "peak_memory_bytes": own_peak_bytes()}
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is too small a text to estimate discounts from
            fit(task(first))
        kernels = time.perf_counter() - begun
        subprocess.run([sys.executable, "-c", TOUCH], check=True)
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
                "peak_memory_bytes": fitted.peak_memory_bytes or own_peak_bytes(),
            }
        )
    )


def own_peak_bytes() -> int:
    """The largest resident memory of this process, without those that it has started."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


FIELDS = (
    *("seconds", "encode_seconds", "count_seconds", "estimate_seconds", "kernel_seconds"),
    *("entries", "table_bytes", "peak_memory_bytes", "updates_per_second", "copy_bytes_per_second"),
)


def named(job: Job) -> dict[str, str]:
    """A job as a row names it: by the name of its text, not where that lies."""
    return {name: str(value) for name, value in (asdict(job) | {"text": Path(job.text).name}).items()}


def kept(path: Path) -> list[dict[str, str]]:
    """The jobs that are in a file of rows."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: row[name] for name in Job.__dataclass_fields__} for row in csv.DictReader(file)]


def keep(path: Path, row: dict[str, object]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*Job.__dataclass_fields__, *FIELDS, "tokens", "text_bytes"])
        if new:
            writer.writeheader()
        writer.writerow(row)


def count_text(path: Path) -> int:
    from bench.ngram.corpora import count_tokens

    with path.open("rb") as file:
        return sum(map(count_tokens, file))


def write_zipf(tokens: int, path: Path) -> None:
    from bench.ngram.corpora import write_corpus

    with TemporaryDirectory(dir=path.parent) as folder:
        corpus = write_corpus("zipf", tokens, False, None, Path(folder), lambda _: None, Path(folder))
        corpus.path.rename(path)
    print(f"{corpus.tokens:,} tokens in {path}, digest {corpus.digest}")


if __name__ == "__main__":
    main()
