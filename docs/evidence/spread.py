"""How much does the same cell differ from one process to the next?

    python docs/evidence/spread.py [PROCESSES]

Prints, for each cell, the range of the processes' medians and how often an interval from within one
process holds the median of another; docs/measuring.md quotes it.
"""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path
from statistics import median

from trainmark import suite
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Workers
from trainmark.store.cell import Cell
from trainmark.store.record import Record

ROOT = Path(__file__).parents[2]
suite.open_suite(ROOT)  # its workloads are known from here on
CELLS = (
    Cell.of("train"),
    Cell.of("train", model="cnn"),
    Cell.of("inference", model="cnn", batch_size=256, precision="bf16"),
    Cell.of("input", loader="dataloader"),
)


def main(processes: int) -> None:
    workers = Workers(ROOT)
    records: dict[Cell, list[Record]] = {cell: [] for cell in CELLS}
    for _ in range(processes):
        for cell in CELLS:  # by turns, so that a bad minute hits all of them
            records[cell].append(
                workers.call("trainmark.measure.protocol:measure_steps", cell, Settings(max_seconds=0.5)).value
            )
    for cell, found in records.items():
        medians = [record.metrics["step_seconds"] or 0.0 for record in found]
        held = [
            (one.metrics["step_seconds_low"] or 0.0)
            <= (other.metrics["step_seconds"] or 0.0)
            <= (one.metrics["step_seconds_high"] or 0.0)
            for one, other in permutations(found, 2)
        ]
        flagged = sum(bool(record.flags) for record in found)
        print(
            f"{cell.label}: {processes} processes, slowest over fastest median {max(medians) / min(medians):.3f}, "
            f"over the middle one {max(medians) / median(medians):.3f}; a process's 95% interval holds another's "
            f"median in {sum(held) / len(held):.0%} of pairs; {flagged} flagged",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
