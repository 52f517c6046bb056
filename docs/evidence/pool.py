"""Gathers pairs of identical code, the raw data of what docs/measuring.md says of false alarms and power.

    python docs/evidence/pool.py MOMENT SECONDS [pool.csv.gz]

Both sides are the working tree, each with its own server, started anew every GENERATION_ROUNDS pairs of each cell.
MOMENT is a word for the circumstances, such as quiet-1 or busy-2. Pairs are appended: one row a pair, with the twelve
block times of each side in microseconds a step, without and with waiting for a core.
"""

from __future__ import annotations

import csv
import gzip
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trainmark import suite
from trainmark.against.client import Side
from trainmark.against.places import working_tree
from trainmark.against.turns import BLOCK_SECONDS, GENERATION_ROUNDS, WARM_SECONDS, measure_pair
from trainmark.store.cell import Cell

ROOT = Path(__file__).parents[2]
POOL = Path(__file__).with_name("pool.csv.gz")
suite.open_suite(ROOT)  # its workloads are known from here on
CELLS = (
    Cell.of("train"),
    Cell.of("train", batch_size=256),
    Cell.of("train", model="mlp-residual"),
    Cell.of("train", model="cnn", batch_size=16),
    Cell.of("train", precision="bf16"),
    Cell.of("inference", batch_size=256),
    Cell.of("inference", model="cnn", batch_size=16),
    Cell.of("input", loader="dataloader"),
)
COLUMNS = ("moment", "generation", "cell", "steps", "base_us", "new_us", "base_wall_us", "new_wall_us")
COLUMNS += ("waiting", "steal", "throttled", "drift")


def _micros(blocks: Sequence[float], steps: int) -> str:
    return " ".join(f"{1e6 * block / steps:.4g}" for block in blocks)


def main(moment: str, seconds: float, path: Path) -> None:
    order = random.Random()
    place = working_tree("self", ROOT)
    until = time.monotonic() + seconds
    steps: dict[Cell, int] = {}
    settings = {
        "threads": 1,
        "max_seconds": WARM_SECONDS,
        "places": {"root": "data", "download": False, "named": {}},
        "compile_cache": None,
    }
    while time.monotonic() < until:
        generation = order.getrandbits(31)
        rows = []
        with Side(place) as base, Side(place) as new:
            sides = {"base": base, "new": new}
            for _ in range(GENERATION_ROUNDS):
                for cell in order.sample(CELLS, len(CELLS)):
                    request = {
                        "cell": {"workload": cell.workload, "axes": cell.settings},
                        "settings": settings,
                        "block_seconds": BLOCK_SECONDS,
                    }
                    pair, steps[cell] = measure_pair(sides, request, order, steps.get(cell))
                    halves = (pair["base"], pair["new"])
                    rows.append(
                        (
                            moment,
                            generation,
                            cell.label,
                            steps[cell],
                            *(_micros(half.blocks, steps[cell]) for half in halves),
                            *(_micros(half.wall_blocks, steps[cell]) for half in halves),
                            *(
                                " ".join(f"{value:.3f}" for value in values)
                                for values in (
                                    [half.waiting_share or 0.0 for half in halves],
                                    [half.steal_share or 0.0 for half in halves],
                                )
                            ),
                            int(any(half.throttled for half in halves)),
                            " ".join(f"{half.control_drift:.3f}" for half in halves),
                        )
                    )
        exists = path.exists()
        with gzip.open(path, "at", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if not exists:
                writer.writerow(COLUMNS)
            writer.writerows(rows)
        print(f"{len(rows)} pairs, {until - time.monotonic():.0f} s left", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else POOL)
