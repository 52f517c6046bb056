"""Whole checks as a user would run them, of the same code and of code that is slower by a known share.

    python docs/evidence/real.py KIND SECONDS [checks.csv]      KIND is one of a/a, 5%, 10%, 3%

Each check measures three cells on two sides, with servers of their own; the new side is a copy of the tree. A slow-down
is planted in that copy by computing on for a share of the time that each step has taken, in the cell of batch 64 alone.
Against the default margin of 3%, but for 3%, which is sought with a margin of 1%. Checks are repeated until SECONDS
have passed, and one row a cell is appended to the file.
"""

from __future__ import annotations

import csv
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from docs.evidence.mutations import ROOT, STEPS, Base, Mutation, compare_with
from trainmark.against.client import Side
from trainmark.against.places import working_tree
from trainmark.judge.margins import Margins
from trainmark.store.cell import Cell

CHECKS = Path(__file__).with_name("checks.csv")
CELLS = (Cell.of("train"), Cell.of("train", batch_size=256), Cell.of("inference", batch_size=256))
PLANTED = CELLS[0]
BUDGET_SECONDS = {"a/a": 180.0, "5%": 180.0, "10%": 180.0, "3%": 600.0}
STEP = """\
        self.alive.batch = batch = next(self.batches)
        self.alive.result = result = self.step(*batch)
"""
SLOWER = """\
        begun = thread_time()
        self.alive.batch = batch = next(self.batches)
        self.alive.result = result = self.step(*batch)
        if self.shape[0] == 64:
            until = begun + (1 + SHARE) * (thread_time() - begun)
            while thread_time() < until:
                pass
"""
COLUMNS = ("begun", "kind", "seconds", "cell", "planted", "verdict", "ratio", "low", "high", "pairs", "dropped")


def main(kind: str, seconds: float, file: Path) -> None:
    share = 0.0 if kind == "a/a" else float(kind.removesuffix("%")) / 100
    margins = Margins(0.01) if kind == "3%" else Margins()
    code = SLOWER.replace("SHARE", str(share)).replace("thread_time", "__import__('time').thread_time")
    mutation = Mutation(kind, STEPS, STEP, code if share else STEP, None, CELLS, timed=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun, started = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%S")
        with Side(working_tree("untouched", ROOT), 240) as side:
            seed = random.SystemRandom().getrandbits(32)
            comparison = compare_with(
                Base(side), mutation, margins=margins, budget_seconds=BUDGET_SECONDS[kind], seed=seed
            )
        took = time.monotonic() - begun
        new = not file.exists()
        with file.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(COLUMNS)
            for cell in comparison.cells:
                change = cell.time
                assert change is not None  # each of them takes steps
                numbers = [None if one is None else round(one, 4) for one in (change.ratio, change.low, change.high)]
                planted_here = bool(share) and cell.key == PLANTED.key
                row = [started, kind, round(took), cell.label, int(planted_here), change.verdict]
                writer.writerow([*row, *numbers, change.pairs, change.dropped])
        print(
            kind, {cell.label: cell.time.verdict for cell in comparison.cells if cell.time}, f"{took:.0f} s", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else CHECKS)
