"""How long do commands take, from their start to the file they write? Ours, lmplz, and those of another checkout.

    python docs/evidence/ngram_commands.py ROWS.csv --text TEXT ... [--command NAME ...] [--order N ...]
                                   [--threads N ...] [--repetitions R] [--budget SECONDS] [--before CHECKOUT]

Each command is a fresh process, timed by the process that starts it: Python's start, imports, kernels from their cache
and the writing of the file are all in it. In each repetition every command is run once, in an order of its own, after
memory was taken and given back as in ngram.py. Rows are kept and not measured again. At the end ratios are printed,
medians of the ratio within one repetition with bootstrap intervals at 95%, and rates in MB of the file a second.

fit-arpa and fit-saved fit with Kneser-Ney smoothing and write an ARPA file or our own folder; before-arpa and
before-saved do that by the code of --before, where an ARPA file takes a second command. export, import and open begin
with what is there: import reads an ARPA file to score one line with it, open does so with a saved model that was opened
before.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

import pandas as pd
from ngram import TOUCH
from ngram_tables import ratio, spread

from bench.ngram.engines import KENLM_MEMORY, _program
from bench.ngram.programs import run_program
from models.ngram.checked_before import SETTLED_SECONDS

HERE = Path(__file__).parents[2]
COMMANDS = ("fit-arpa", "fit-saved", "fit-arpa-gz", "lmplz", "export", "import", "open")
BEFORE = ("before-arpa", "before-saved", "before-export", "before-import")
RATIOS = (  # whose seconds over whose
    *(("lmplz", "fit-arpa"), ("lmplz", "fit-saved"), ("before-arpa", "fit-arpa"), ("before-saved", "fit-saved")),
    *(("before-export", "export"), ("before-import", "import")),
)
WRITTEN, READ = {"export", "before-export"}, {"import", "before-import"}


@dataclass(frozen=True)
class Job:
    """One command on one text."""

    text: str
    command: str
    order: int
    threads: int
    repetition: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--text", type=Path, action="append", required=True)
    parser.add_argument(
        "--command", nargs="+", choices=(*COMMANDS, *BEFORE), default=["fit-arpa", "fit-saved", "lmplz"]
    )
    parser.add_argument("--order", nargs="+", type=int, default=[3])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--budget", type=float, default=float("inf"))
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    asked = parser.parse_args()
    begun, longest = time.perf_counter(), 0.0
    with TemporaryDirectory() as folder:
        for job in planned(asked):
            if named(job) in kept(asked.rows):
                continue
            if time.perf_counter() - begun + longest > asked.budget:
                print("stopped for the budget; call again to go on")
                break
            started = time.perf_counter()
            keep(asked.rows, named(job) | measured(job, asked.before, Path(folder)))
            longest = max(longest, time.perf_counter() - started)
    report(pd.read_csv(asked.rows))


def planned(asked: argparse.Namespace) -> Iterator[Job]:
    """Every job of each repetition, in an order that the repetition's number decides."""
    for repetition in range(asked.repetitions):
        jobs = [
            Job(str(text.absolute()), command, order, threads, repetition)
            for text, command, order, threads in product(asked.text, asked.command, asked.order, asked.threads)
            if command != "lmplz" or threads == min(asked.threads)  # it has one thread for most of its work
        ]
        random.Random(repetition).shuffle(jobs)
        yield from jobs


def measured(job: Job, before: Path | None, folder: Path) -> dict[str, float]:
    """Runs a command, and gives its seconds, its peak memory and the bytes of the ARPA file or the model."""
    ours = [sys.executable, "-m", "models.ngram"]
    checkout = HERE
    if job.command.startswith("before-"):
        assert before is not None, "--before names the checkout"
        checkout = before.absolute()
    os.environ |= {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(job.threads)}
    own = os.environ | {"PYTHONPATH": str(HERE)}
    what, threads = job.command.removeprefix("before-"), ["--threads", str(job.threads)]
    arpa, model = folder / f"{Path(job.text).stem}-{job.order}.arpa", folder / f"{Path(job.text).stem}-{job.order}"
    fit = [*ours, "fit", job.text, "--order", str(job.order), "--smoothing", "kneser-ney", *threads]
    line = folder / "line.txt"
    line.write_text("the cat sat\n")
    if what in {"export", "open"}:
        model = model.with_name(f"{model.name}-kept")
        if not model.exists():
            subprocess.run([*fit, "-o", str(model)], check=True, stdout=subprocess.DEVNULL, env=own)
            time.sleep(SETTLED_SECONDS)  # then its first opening is remembered
            subprocess.run([*ours, "score", str(model), str(line)], check=True, stdout=subprocess.DEVNULL, env=own)
    if what == "import" and not arpa.exists():
        subprocess.run([*fit, "--arpa", str(arpa)], check=True, stdout=subprocess.DEVNULL, env=own)
    lmplz = [*(_program("lmplz") or []), "-o", str(job.order), "-S", KENLM_MEMORY, "-T", str(folder)]
    export = [*ours, "export", str(model), "-o", str(arpa), *(threads if checkout == HERE else [])]
    commands: dict[str, list[list[str]]] = {
        "fit-arpa": [[*fit, "--arpa", str(arpa)]],
        "fit-arpa-gz": [[*fit, "--arpa", f"{arpa}.gz"]],
        "fit-saved": [[*fit, "-o", str(model)]],
        "saved": [[*fit, "-o", str(model)]],
        "arpa": [[*fit, "-o", str(model)], export],
        "lmplz": [[*lmplz, "--discount_fallback", "--text", job.text, "--arpa", str(folder / "lmplz.arpa")]],
        "export": [export],
        "import": [[*ours, "score", str(arpa), str(line), *threads]],
        "open": [[*ours, "score", str(model), str(line), *threads]],
    }
    subprocess.run([sys.executable, "-c", TOUCH], check=True)
    runs = [run_program(command, Path(os.devnull), folder / "said", job.threads) for command in commands[what]]
    files = {"lmplz": folder / "lmplz.arpa", "fit-arpa-gz": Path(f"{arpa}.gz")}
    written = files.get(what, model if what in {"fit-saved", "saved", "open"} else arpa)
    size = sum(file.stat().st_size for file in (written.iterdir() if written.is_dir() else [written]))
    seconds, peak = sum(run.seconds for run in runs), max(run.peak_memory_bytes for run in runs)
    print(f"{Path(job.text).name} order {job.order} threads {job.threads} {job.command}: {seconds:.3f} s", flush=True)
    return {"seconds": seconds, "peak_memory_bytes": peak, "file_bytes": size}


def report(rows: pd.DataFrame) -> None:
    """Prints seconds, rates and ratios."""
    for (text, order, threads), group in rows.groupby(["text", "order", "threads"]):
        print(f"\n{text}, order {order}, {threads} thread(s)")
        seconds = {command: part.set_index("repetition")["seconds"] for command, part in group.groupby("command")}
        for command, taken in seconds.items():
            part = group[group["command"].eq(command)]
            size, peak = part["file_bytes"].median(), part["peak_memory_bytes"].median()
            told = f"{command}: {spread(taken)} s, n = {len(taken)}, peak {peak / 1e6:,.0f} MB"
            rate = f", {spread(size / taken / 1e6)} MB/s" if command in WRITTEN | READ else ""
            print(f"{told}, {size / 1e6:,.1f} MB{rate}")
        if threads > 1 and "lmplz" not in seconds:  # measured beside one thread
            alone = rows[rows["text"].eq(text) & rows["order"].eq(order) & rows["command"].eq("lmplz")]
            seconds["lmplz"] = alone.set_index("repetition")["seconds"]
        for longer, shorter in RATIOS:
            if len(seconds.get(longer, ())) and shorter in seconds:
                print(f"{longer} over {shorter}: {ratio(seconds[longer], seconds[shorter])}")
    several = rows[rows["threads"].gt(1)]
    for (text, order, command, threads), part in several.groupby(["text", "order", "command", "threads"]):
        alone = rows[rows["threads"].eq(1)].merge(part[["text", "order", "command", "repetition"]])
        if len(alone):
            told = ratio(alone.set_index("repetition")["seconds"], part.set_index("repetition")["seconds"])
            print(f"\n{text}, order {order}, {command}: one thread over {threads}: {told}")


def named(job: Job) -> dict[str, str]:
    return {name: str(value) for name, value in (asdict(job) | {"text": Path(job.text).name}).items()}


def kept(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: row[name] for name in Job.__dataclass_fields__} for row in csv.DictReader(file)]


def keep(path: Path, row: dict[str, object]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
