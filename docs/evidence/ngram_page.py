"""Makes every figure of docs/ngram.md, and those of n-gram models in the README, again.

    python docs/evidence/ngram_page.py FOLDER TEXT [--only STEP ...] [--list] [--repetitions R] [--budget SECONDS]
                                       [--before CHECKOUT]

TEXT is the text of the page's tables, one sentence a line. Each step is one of the scripts beside this file, or a
command; what it prints lies in FOLDER/STEP.txt, and rows of measurements in FOLDER/STEP.csv, which are kept: a call
that stopped goes on with the next one. All of it takes hours; --only names what shall be made, --list what there is.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE, EVIDENCE = Path(__file__).parents[2], Path(__file__).parent
HELD_OUT_LINES = 20_000  # the last of the text
MILLION_LINES = 54_179  # the first of the text of the page: 1,000,045 tokens
SIZES = (10**6, 10**7, 10**8)
OWN = ("numba:mle", "numba:kneser-ney")
OTHERS = ("torch:mle", "duckdb", "polars", "irstlm", "counter", "scikit-learn", "python:mle")


def steps(asked: argparse.Namespace) -> Iterator[tuple[str, list[list[str]]]]:
    """What the page's sections quote, by name: the commands that print it."""
    folder, text, times = asked.folder, asked.text, str(asked.repetitions)
    zipf = [folder / f"zipf-{size}.txt" for size in SIZES]
    million, held_out = folder / "million.txt", folder / "held-out.txt"
    budget = ["--repetitions", times, "--budget", str(asked.budget)]
    script = {path.stem: [sys.executable, str(path)] for path in EVIDENCE.glob("*.py")}
    ngram, tables, commands = script["ngram"], script["ngram_tables"], script["ngram_commands"]
    ours = [sys.executable, "-m", "models.ngram"]

    def fits(name: str, texts: list[Path], *arguments: str) -> list[list[str]]:
        """Measures fits in memory, and prints their table."""
        rows = str(folder / f"{name}.csv")
        named = [part for one in texts for part in ("--text", str(one))]
        return [[*ngram, "measure", rows, *named, *budget, *arguments], [*tables, rows]]

    def whole(name: str, texts: list[Path], *arguments: str) -> list[list[str]]:
        """Measures commands from outside, and prints their table."""
        named = [part for one in texts for part in ("--text", str(one))]
        before = ["--before", str(asked.before)] if asked.before else []
        return [[*commands, str(folder / f"{name}.csv"), *named, *budget, *before, *arguments]]

    compared = ["before-arpa", "before-saved", "before-export", "before-import"] if asked.before else []
    yield "texts", [[*ngram, "zipf", str(size), str(path)] for size, path in zip(SIZES, zipf, strict=True)]
    wanted = ["--command", "fit-arpa", "fit-saved", "lmplz", "export", "import", "open", *compared]
    yield "commands", whole("commands", [text], *wanted)
    yield "commands-5", whole("commands-5", [text], "--order", "5", "--command", "fit-arpa", "fit-saved", "lmplz")
    yield "commands-zipf", whole("commands-zipf", zipf[2:], "--threads", "1", "2")
    yield "gzip", whole("gzip", [text], "--threads", "1", "2", "--command", "fit-arpa-gz")
    yield "fits", fits("fits", [text], "--order", "3", "5", "--engine", *OWN, "lmplz", "count_ngrams")
    yield "others", fits("others", [text], "--engine", *OWN, *OTHERS)
    yield "nltk", fits("nltk", [million], "--engine", *OWN, "nltk")
    yield "growth", fits("growth", zipf, "--engine", "numba:mle")
    yield "threads", fits("threads", [text, zipf[2]], "--engine", *OWN, "--threads", "1", "2")
    yield "exactness", [[*script["kenlm"], str(million), str(held_out)]]
    budgeted = [*ours, "fit", str(zipf[2]), "--memory", "1GB", "-o", str(folder / "budgeted")]
    yield "memory", [budgeted, [*budgeted[:-2], "--threads", "1", *budgeted[-2:]]]
    yield "sparsity", [[*script["sparsity"], str(text)]]
    opening = ["-n", "1", "-r", "9", "-s", "from models.ngram import load", f"load({str(folder / 'opened')!r})"]
    saved = [*ours, "fit", str(zipf[1]), "--smoothing", "kneser-ney", "-o", str(folder / "opened")]
    yield "opening", [saved, [sys.executable, "-m", "timeit", *opening]]
    small = folder / "small.txt"
    exported = folder / "small.arpa"
    made = [*ours, "fit", str(small), "--smoothing", "kneser-ney", "--arpa", str(exported)]
    yield "damage", [made, [*script["fuzz_ngram"], str(small), str(exported), "--seconds", "3600"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--only", nargs="+", metavar="STEP")
    parser.add_argument("--list", action="store_true", help="say what would be called, and call nothing")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds of one measurement")
    parser.add_argument("--before", type=Path, help="a checkout to be compared with")
    asked = parser.parse_args()
    chosen = dict(steps(asked))
    if unknown := set(asked.only or ()) - set(chosen):
        parser.error(f"there is no step {min(unknown)}: there are {', '.join(chosen)}")
    if not asked.list:
        write_parts(asked.text, asked.folder)
    for name in asked.only or chosen:
        output = asked.folder / f"{name}.txt"
        for number, command in enumerate(chosen[name]):
            print(f"{name}: {shlex.join(command)}", flush=True)
            if asked.list or (name == "texts" and Path(command[-1]).exists()):
                continue
            with output.open("a" if number else "w") as file:
                environment = os.environ | {"PYTHONPATH": str(HERE)}
                subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=True)
            print(output.read_text(), flush=True)


def write_parts(text: Path, folder: Path) -> None:
    """The first million tokens of the text, its last lines, and a few."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = text.read_bytes().splitlines(keepends=True)
    parts = {"million": lines[:MILLION_LINES], "held-out": lines[-HELD_OUT_LINES:], "small": lines[:200]}
    for name, part in parts.items():
        (folder / f"{name}.txt").write_bytes(b"".join(part))


if __name__ == "__main__":
    main()
