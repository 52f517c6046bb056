"""Does the check see a fault that somebody puts into the code, by a metric that fits it?

    python docs/evidence/mutations.py [NAME ...]

Each fault is a small substitution in a copy of the tree; the copy and the untouched tree are the two sides. Counts,
memory, compile time and accuracy come from one record of each side; where the fault is one of time alone, pairs are
measured as well. Beside the faults there are refactorings that change nothing, of which none may be flagged, by records
or by pairs.
docs/measuring.md quotes what is printed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from trainmark.against.client import Side
from trainmark.against.places import Place, working_tree
from trainmark.against.turns import Findings, PairSettings, measure_pairs, measure_record
from trainmark.judge.comparison import Comparison, compare_paired, open_cells
from trainmark.judge.margins import Margins
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.pairs import PairedRun
from trainmark.store.record import Record, Run, RunFacts
from trainmark.workloads import entry_of

ROOT = Path(__file__).parents[2]
CODE = ("bench", "models", "trainmark")
BUDGET_SECONDS = 150.0
DEFAULT = Margins()

TRAIN, CNN = Cell.of("train"), Cell.of("train", model="cnn", batch_size=16)
BF16, LAST = Cell.of("train", precision="bf16"), Cell.of("train", model="cnn", memory_format="channels_last")
RESIDUAL = Cell.of("train", model="mlp-residual")
COMPILED = Cell.of("train", model="mlp-residual", compile="default")
INFERENCE, INPUT, LOADED = Cell.of("inference"), Cell.of("input"), Cell.of("input", loader="dataloader")
LEARNT, LECTURE = Cell.of("accuracy", epochs=1), Cell.of("accuracy", epochs=1, loader="dataloader")

TRAINING, STEPS, DATA = (f"trainmark/measure/{name}.py" for name in ("training", "steps", "data"))
PROTOCOL, MLP, MODEL_CNN = "trainmark/measure/protocol.py", "models/mlp.py", "models/cnn.py"
STEP = "    optimizer.step()\n    return loss\n"


@dataclass(frozen=True)
class Mutation:
    """A change of the code, and what it must or must not be seen by.

    Attributes:
        name: What somebody did.
        file: Where.
        old: Text that is there once or more; its first occurrence is replaced.
        new: What it becomes.
        metric: What must regress, or ``failed`` where the cell must; None for a harmless refactoring.
        cells: Where it is looked for.
        timed: Whether pairs are measured.
    """

    name: str
    file: str
    old: str
    new: str
    metric: str | None
    cells: tuple[Cell, ...] = (TRAIN,)
    timed: bool = False


FAULTS = (
    Mutation(
        "hidden synchronisation",
        TRAINING,
        STEP,
        STEP.replace("return", "loss.item()\n    return"),
        "host_reads_per_step",
    ),
    Mutation(
        "float64 upcast",
        TRAINING,
        "criterion(logits, labels)",
        "criterion(logits.double(), labels)",
        "float64_operators_per_step",
    ),
    Mutation(
        "extra copy of the batch",
        TRAINING,
        "logits = model(images)",
        "logits = model(images.clone())",
        "copies_per_step",
    ),
    Mutation(
        "graph break",
        MLP,
        "h = self.block2(h) + h",
        "__import__('torch')._dynamo.graph_break()\n        h = self.block2(h) + h",
        "graph_breaks",
        (COMPILED,),
    ),
    Mutation(
        "recompilation",
        MLP,
        "h = self.block2(h) + h",
        "self.calls = getattr(self, 'calls', 0) + 1\n        h = self.block2(h) + h * self.calls / self.calls",
        "recompiles",
        (COMPILED,),
    ),
    Mutation(
        "leak of the graph",
        TRAINING,
        STEP,
        STEP.replace("return", "kept.append(loss)\n    return") + "\n\nkept: list[Tensor] = []\n",
        "retained_tensors_per_step",
    ),
    Mutation(
        "lost channels_last",
        STEPS,
        'if cell["memory_format"] == "channels_last":',
        "if False:",
        "copies_per_step",
        (LAST,),
    ),
    Mutation(
        "quadratic Python in the loop",
        DATA,
        "            chosen = order[start : start + self.batch_size]\n",
        "            chosen = order[start : start + self.batch_size]\n"
        "            assert all(chosen.tolist().count(one) == 1 for one in chosen.tolist())\n",
        "step_seconds",
        (INPUT,),
        timed=True,
    ),
    Mutation(
        "images turned into tensors twice",
        DATA,
        "= [transforms.ToTensor()]",
        "= [transforms.ToTensor(), transforms.ToPILImage(), transforms.ToTensor()]",
        "step_seconds",
        (LOADED,),
        timed=True,
    ),
    Mutation(
        "a sleep in the loop",
        TRAINING,
        STEP,
        STEP.replace("return", "__import__('time').sleep(5e-4)\n    return"),
        "step_seconds",
        (TRAIN,),
        timed=True,
    ),
    Mutation(
        "inference in training mode",
        STEPS,
        "built(task, cell, settings.seed, source).eval()",
        "built(task, cell, settings.seed, source).train()",
        "new_bytes_per_step",
        (INFERENCE,),
    ),
    Mutation(
        "missing no_grad",
        STEPS,
        "else torch.inference_mode()",
        "else nullcontext()",
        "activation_bytes",
        (INFERENCE,),
    ),
    Mutation(
        "lost shuffle of tensors",
        DATA,
        "orders = [torch.randperm(self.size, device=self.device)",
        "orders = [torch.arange(self.size, device=self.device)",
        "repeated_samples_per_epoch",
    ),
    Mutation(
        "lost shuffle of the DataLoader",
        DATA,
        "self._loader_by(shuffle=True)",
        "self._loader_by(shuffle=False)",
        "repeated_samples_per_epoch",
        (LECTURE,),
    ),
    Mutation("wrong learning rate", TRAINING, "LEARNING_RATE = 1e-3", "LEARNING_RATE = 1e-1", "accuracy", (LEARNT,)),
    Mutation(
        "dropped epoch",
        PROTOCOL,
        "for epoch in range(epochs):\n",
        "for epoch in range(max(1, epochs - 1)):\n",
        "training_samples",
        (Cell.of("accuracy", epochs=2),),
    ),
    Mutation(
        "dropped last batch",
        DATA,
        "range(0, len(order), self.batch_size)",
        "range(0, len(order) - self.batch_size, self.batch_size)",
        "training_samples",
        (LEARNT,),
    ),
    Mutation(
        "wider layer",
        MLP,
        "*hidden(784, 256),  # [B, 784] -> [B, 256]\n        *hidden(256, 256)",
        "*hidden(784, 320),\n        *hidden(320, 256)",
        "parameters",
    ),
    Mutation(
        "optimizer with more state",
        STEPS,
        "lr=LEARNING_RATE)",
        "lr=LEARNING_RATE, amsgrad=True)",
        "optimizer_bytes",
    ),
    Mutation(
        "un-fused gradient reset",
        TRAINING,
        "optimizer.zero_grad()",
        "optimizer.zero_grad(set_to_none=False)",
        "operators_per_step",
    ),
    Mutation("missing zero_grad", TRAINING, "    optimizer.zero_grad()\n", "", "gradient_additions_per_step"),
    Mutation(
        "smaller batch reported as the same",
        DATA,
        "self.batch_size = batch_size\n",
        "self.batch_size = batch_size // 2\n",
        "samples_per_step",
    ),
    Mutation(
        "lost autocast",
        STEPS,
        "precision.autocast_dtype(name), precision",
        "None, precision",
        "activation_bytes",
        (BF16,),
    ),
    Mutation(
        "gradients of the images",
        TRAINING,
        "logits = model(images)",
        "logits = model(images.requires_grad_())",
        "new_bytes_per_step",
    ),
    Mutation(
        "forward pass done twice",
        TRAINING,
        "    loss = criterion(logits, labels)",
        "    model(images)\n    loss = criterion(logits, labels)",
        "operators_per_step",
    ),
    Mutation(
        "a larger kernel",
        MODEL_CNN,
        "nn.Conv2d(32, 64, 3, padding=1)",
        "nn.Conv2d(32, 64, 5, padding=2)",
        "flops_per_step",
        (CNN,),
    ),
    Mutation(
        "a buffer of 100 MB",
        MLP,
        "        self.head = nn.Linear(256, 10)\n",
        "        self.head = nn.Linear(256, 10)\n"
        "        self.register_buffer('cache', __import__('torch').ones(25_000_000))\n",
        "peak_memory_bytes",
        (RESIDUAL,),
    ),
    Mutation(
        "an exception",
        MLP,
        "        h = self.block2(h) + h",
        "        h = self.block2(h).view(3) + h",
        "failed",
        (RESIDUAL,),
    ),
)
HARMLESS = (
    Mutation(
        "a variable renamed",
        TRAINING,
        "    logits = model(images)  # [B, C, H, W] -> [B, classes]\n    loss = criterion(logits, labels)",
        "    scores = model(images)\n    loss = criterion(scores, labels)",
        None,
        (TRAIN, CNN),
        timed=True,
    ),
    Mutation(
        "a partial made a lambda",
        STEPS,
        "return partial(train_step, model, self.criterion, self.optimizer)",
        "return lambda images, labels: train_step(model, self.criterion, self.optimizer, images, labels)",
        None,
        (TRAIN,),
        timed=True,
    ),
    Mutation(
        "layers named",
        MLP,
        "h = self.block2(h) + h",
        "shortcut = h\n        h = self.block2(shortcut) + shortcut",
        None,
        (RESIDUAL,),
        timed=True,
    ),
    Mutation(
        "islice written out",
        DATA,
        "return islice(self.epoch(), batches)",
        "return (batch for _, batch in zip(range(batches), self.epoch()))",
        None,
        (TRAIN, LEARNT, LOADED),
        timed=True,
    ),
    Mutation(
        "a sum written as a loop",
        TRAINING,
        "        samples += size\n",
        "        seen = size\n        samples = samples + seen\n",
        None,
        (TRAIN, LEARNT),  # the line is of a training alone, which takes no pairs
        timed=True,
    ),
)


@dataclass
class Base:
    """The untouched side: its server stays, and each of its records is measured once."""

    side: Side
    records: dict[str, Record] = field(default_factory=dict)

    def measured(self, cells: tuple[Cell, ...], how: PairSettings) -> dict[str, Record]:
        """The records of the cells; those not measured yet are measured now."""
        for cell in cells:
            if cell.key not in self.records:
                self.records[cell.key] = measure_record(self.side, cell, _seeds(cell), how)
        return {cell.key: self.records[cell.key] for cell in cells}


def _seeds(cell: Cell) -> int:
    return 3 if cell.workload == "accuracy" else 1


def settings(seed: int) -> PairSettings:
    return PairSettings(Settings(), threads=1, timeout=240, budget_seconds=BUDGET_SECONDS, seed=seed)


@contextmanager
def mutated(mutation: Mutation) -> Iterator[Path]:
    """A copy of the code with the mutation in it, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="trainmark-mutation-") as folder:
        for name in CODE:
            shutil.copytree(ROOT / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        file = Path(folder) / mutation.file
        text = file.read_text(encoding="utf-8")
        if mutation.old not in text:
            raise ValueError(f"{mutation.name}: {mutation.file} has no {mutation.old!r} any more")
        file.write_text(text.replace(mutation.old, mutation.new, 1), encoding="utf-8")
        yield Path(folder)


def compare_with(
    base: Base,
    mutation: Mutation,
    *,
    margins: Margins = DEFAULT,
    budget_seconds: float = BUDGET_SECONDS,
    seed: int = 1,
    counts_decide: bool = True,
) -> Comparison:
    how = settings(seed)
    with mutated(mutation) as folder:
        places = {"base": base.side.place, "new": Place(mutation.name, folder, folder, ROOT)}
        findings = Findings()
        findings.records["base"] = base.measured(mutation.cells, how)
        with Side(places["new"], how.timeout) as side:
            for cell in mutation.cells:
                findings.add_record("new", measure_record(side, cell, _seeds(cell), how))
        if mutation.timed:
            paired = [cell for cell in mutation.cells if entry_of(cell.workload).steps]
            labels = {cell.key: cell.label for cell in paired}
            look = partial(open_cells, margins=margins, labels=labels)
            until = time.monotonic() + budget_seconds
            measure_pairs(places, paired, how, findings, look, until, lambda _told: None)
    runs = {
        name: Run(name, RunFacts("m", ""), {"fingerprint": "m"}, {}, tuple(records.values()))
        for name, records in findings.records.items()
    }
    run = PairedRun(runs["base"], runs["new"], "base", findings.pairs, findings.steps)
    return compare_paired(run, margins, counts_decide=counts_decide)


def flagged(comparison: Comparison) -> dict[str, str]:
    """Metric that regressed, or ``failed`` -> what was seen."""
    found = {}
    for cell in comparison.cells:
        if cell.verdict in ("failed", "missing"):
            found[cell.verdict] = cell.reason or ""
        found |= {change.name: change.reason or "" for change in cell.changes if change.verdict == "regressed"}
    return found


def timed(comparison: Comparison) -> str:
    """What the pairs of each cell say."""
    times = [(cell.label, cell.time) for cell in comparison.cells if cell.time is not None]
    return "; ".join(f"{label} {time.verdict}, {time.reason}" for label, time in times)


def main(names: list[str]) -> None:
    caught = flags = 0
    chosen = [one for one in (*FAULTS, *HARMLESS) if not names or any(name in one.name for name in names)]
    with Side(working_tree("untouched", ROOT), 240) as side:
        base = Base(side)
        for mutation in chosen:
            begun = time.monotonic()
            comparison = compare_with(base, mutation)
            found = flagged(comparison)
            if mutation.metric is None:
                flags += bool(found)
                told = f"{f'flagged by {found}' if found else 'not flagged'}: {timed(comparison)}"
            else:
                caught += mutation.metric in found
                told = (
                    f"caught: {found[mutation.metric]}" if mutation.metric in found else f"MISSED, {found or 'nothing'}"
                )
            print(f"{mutation.name}: {told} ({time.monotonic() - begun:.0f} s)", flush=True)
    faults = sum(one.metric is not None for one in chosen)
    print(
        f"{caught} of {faults} faults caught by their metric; {flags} of {len(chosen) - faults} harmless ones flagged"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
