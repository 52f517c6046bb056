"""Are the counts of a cell the same in every run? Each run in a fresh process.

    python docs/evidence/counts.py [RUNS]

Prints, for each cell, its counts and whether any of them ever differed; docs/measuring.md quotes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trainmark import suite
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Workers
from trainmark.store.cell import Cell
from trainmark.store.metrics import METRICS

ROOT = Path(__file__).parents[2]
suite.open_suite(ROOT)  # its workloads are known from here on
CELLS = (
    Cell.of("train", model="cnn"),
    Cell.of("inference", model="cnn", batch_size=256, precision="bf16"),
    Cell.of("train", compile="default"),
)
COUNTS = [name for name, metric in METRICS.items() if metric.compared == "exact"]


def main(runs: int) -> None:
    workers = Workers(ROOT)
    for cell in CELLS:
        found: dict[str, list[float]] = {name: [] for name in COUNTS}
        for _ in range(runs):
            outcome = workers.call("trainmark.measure.protocol:measure_steps", cell, Settings(max_seconds=0.05))
            if outcome.status != "ok":
                raise RuntimeError(outcome.reason)
            for name in COUNTS:
                if outcome.value.metrics.get(name) is not None:
                    found[name].append(outcome.value.metrics[name])
        told = {name: numbers for name, numbers in found.items() if numbers}
        differing = [name for name, numbers in told.items() if len(numbers) < runs or len(set(numbers)) > 1]
        print(f"{cell.label}: {len(told)} counts, {runs} runs, differing: {', '.join(differing) or 'none'}", flush=True)
        print("  " + ", ".join(f"{name} {numbers[0]:,}" for name, numbers in told.items()))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
