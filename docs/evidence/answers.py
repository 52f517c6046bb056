"""Is the answer right? Every setting trained with many seeds, and held against what the default run says.

    PYTHONPATH=. python docs/evidence/answers.py [MODEL,...] [--seeds N] [--out FILE]

By brute force: each setting that the quick grid times is trained with N seeds (10; of ResNet-20 half as many), the
settings of a seed one after the other in a new random order, so that a slow moment meets all of them. A line a
training goes into FILE at once (answers.jsonl), and what is there is not trained again. Prints a table a model: mean
and spread of the held-out metric, seconds of a whole training, and the soonest setting of those whose mean is no worse
than the default's by more than the margin. Ten minutes for the small models, half an hour with ResNet-20.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from trainmark import suite
from trainmark.advise.answer import COARSE_MARGIN
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Workers
from trainmark.store.cell import Cell
from trainmark.store.parameters import USUAL_BATCH

ROOT = Path(__file__).parents[2]
suite.open_suite(ROOT)
EPOCHS = {"mlp": 10, "mlp-residual": 10, "cnn": 2, "resnet20": 1}
SETTINGS: dict[str, Sequence[dict[str, Any]]] = {
    "mlp": ({}, {"batch_size": 256}, {"compile": "default"}),
    "mlp-residual": ({}, {"batch_size": 256}),
    "cnn": ({}, {"batch_size": 256}, {"memory_format": "channels_last"}),
    "resnet20": ({}, {"batch_size": 16}, {"memory_format": "channels_last"}),
}


def cells(model: str) -> Iterator[Cell]:
    """The trainings that are compared, the default first."""
    for changed in SETTINGS[model]:
        scaling = "none" if changed.get("batch_size", USUAL_BATCH) == USUAL_BATCH else "sqrt"
        yield Cell.of("accuracy", model=model, epochs=EPOCHS[model], lr_scaling=scaling, **changed)


def train(model: str, seeds: int, out: Path) -> None:
    """Trains what is missing."""
    known = {(row["key"], row["seed"]) for row in rows(out)}
    workers, order = Workers(ROOT), random.Random(model)
    for seed in range(seeds):
        for cell in order.sample(list(cells(model)), len(SETTINGS[model])):
            if (cell.key, seed) in known:
                continue
            outcome = workers.call("trainmark.measure.protocol:measure_training", cell, Settings(seed=seed))
            if outcome.status != "ok":
                raise SystemExit(f"{cell.label}: {outcome.reason}")
            row = {
                "model": model,
                "key": cell.key,
                "seed": seed,
                "accuracy": outcome.value.metrics["accuracy"],
                "seconds": outcome.value.rounds[0],  # with the first step's compilation, evaluation left out
            }
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def rows(out: Path) -> list[dict[str, Any]]:
    """What was trained by now."""
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def report(model: str, out: Path) -> None:
    """The table of a model."""
    trained: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(out):
        if row["model"] == model:
            trained[row["key"]].append(row)
    default = next(cells(model)).key
    usual = {row["seed"]: row for row in trained[default]}
    holding = {}
    print(f"\n{model}, {EPOCHS[model]} epochs")
    for cell in cells(model):
        found = trained[cell.key]
        accuracies, ratios = (
            [row["accuracy"] for row in found],
            [row["seconds"] / usual[row["seed"]]["seconds"] for row in found if row["seed"] in usual],
        )
        spread = stdev(accuracies) if len(accuracies) > 1 else 0.0
        print(
            f"  {cell.label:60} {mean(accuracies):7.2%} ± {spread:.2%}  {median(ratios):5.2f} of the default's time, "
            f"n = {len(found)}"
        )
        if mean(accuracies) > mean(row["accuracy"] for row in trained[default]) - COARSE_MARGIN:
            holding[cell.label] = median(ratios)
    print(f"  soonest of those that hold: {min(holding, key=holding.__getitem__)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="?", default=",".join(SETTINGS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("answers.jsonl"))
    asked = parser.parse_args()
    for model in asked.models.split(","):
        train(model, asked.seeds if model != "resnet20" else (asked.seeds + 1) // 2, asked.out)
        report(model, asked.out)


if __name__ == "__main__":
    main()
