"""What foreach and fused optimizers gain: steps of the same training by each of them, block by block, in one process.

    PYTHONPATH=. python docs/evidence/optimizers.py [PROCESSES [CELL ...]] [--turns N] [--kept FILE]     a CELL: cnn-64

In a process there are three trainings of a cell, each with a model of its own; blocks of steps alternate in an order
that is drawn. A process is a line of FILE: the median ratio of its blocks to those of the default. Printed is the ratio
of each over all lines that FILE holds, with its 95% interval; docs/measuring.md quotes it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

from trainmark import suite
from trainmark.judge.statistics import hodges_lehmann
from trainmark.measure.protocol import ROUND_SECONDS, set_up, timed_block
from trainmark.measure.settings import Settings
from trainmark.measure.steps import prepare
from trainmark.measure.worker import Workers
from trainmark.meters.clock import clock_of
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS

WARM_STEPS = 3
CELLS = ("mlp-64", "mlp-256", "mlp-residual-64", "mlp-residual-256", "cnn-64", "cnn-256", "resnet20-16", "resnet20-64")
USUAL = "default"
WAYS = PARAMETERS["optimizer_implementation"].values


def compare(model: str, batch_size: int, turns: int, report: Callable[[str], None], scratch: Path) -> dict[str, float]:
    """Time of a block by each implementation over that by the default: median of the turns of this process."""
    settings = Settings(threads=1)
    set_up(settings, scratch)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock = clock_of(device)
    trainings = {}
    for way in random.sample(WAYS, len(WAYS)):  # memory lies otherwise for each that comes later
        cell = Cell.of("train", model=model, batch_size=batch_size, device=device, optimizer_implementation=way)
        trainings[way] = prepare(cell, settings, scratch)
        timed_block(clock, trainings[way].advance, WARM_STEPS)
    once = timed_block(clock, trainings[USUAL].advance, WARM_STEPS).seconds / WARM_STEPS
    block = max(1, round(ROUND_SECONDS / once))
    ratios: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(turns):
        order = random.sample(WAYS, len(WAYS))
        seconds = {way: timed_block(clock, trainings[way].advance, block).seconds for way in order}
        for way in WAYS:
            ratios[way].append(seconds[way] / seconds[USUAL])
    return {str(way): median(ratios[way]) for way in WAYS if way != USUAL}


def main(processes: int, cells: Sequence[str], turns: int, kept: Path) -> None:
    suite.current()
    workers = Workers()
    with kept.open("a") as stream:
        for _ in range(processes):
            for cell in cells:  # by turns, so that a bad minute hits all of them
                model, _, batch_size = cell.rpartition("-")
                outcome = workers.call("optimizers:compare", model, int(batch_size), turns)
                if outcome.status != "ok":
                    raise RuntimeError(outcome.reason)
                stream.write(json.dumps({"cell": cell, **outcome.value}) + "\n")
                stream.flush()
    found: dict[tuple[str, str], list[float]] = {}
    for line in kept.read_text().splitlines():
        process = json.loads(line)
        for way in WAYS:
            if way in process:
                found.setdefault((process["cell"], str(way)), []).append(process[way])
    for (cell, way), ratios in found.items():
        ratio = hodges_lehmann([math.log(one) for one in ratios], 0.95)
        assert ratio.low is not None and ratio.high is not None, "six processes are the fewest"
        low, middle, high = (math.exp(end) for end in (ratio.low, ratio.middle, ratio.high))
        print(f"train {cell} {way}: {middle:.3f} [{low:.3f}, {high:.3f}], {len(ratios)} processes of {turns} turns")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processes", nargs="?", type=int, default=8)
    parser.add_argument("cells", nargs="*", default=CELLS)
    parser.add_argument("--turns", type=int, default=25, help="of blocks in a process")
    parser.add_argument("--kept", type=Path, default=Path("optimizers.jsonl"))
    options = parser.parse_args()
    main(options.processes, options.cells, options.turns, options.kept)
