"""Is a change of what is trained seen, by the facts alone, and is a refactoring let pass?

    python docs/evidence/changes.py [NAME ...]

Each change is a small substitution in a copy of the tree; the copy and the untouched tree are the two sides. Nothing is
timed: a change must be ``changed``, ``regressed`` or ``incomparable`` by one record of each side, a refactoring none of
these. Those of changes.json were written from the README alone, without a look at how a change is seen.
docs/measuring.md quotes what is printed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from docs.evidence.mutations import (
    DATA,
    MLP,
    MODEL_CNN,
    PROTOCOL,
    RESIDUAL,
    STEPS,
    TRAIN,
    TRAINING,
    Base,
    Mutation,
    compare_with,
)
from trainmark.against.client import Side
from trainmark.against.places import working_tree
from trainmark.judge.comparison import Comparison
from trainmark.store.cell import Cell

SEEN = ("changed", "regressed", "incomparable", "failed")
RESNET20, CNN = Cell.of("train", model="resnet20", batch_size=16), Cell.of("train", model="cnn", batch_size=16)
LEARNT = Cell.of("accuracy", epochs=1, loader="dataloader", dataset="mnist-5k")
DIGITS = Cell.of("train", dataset="mnist-5k")
MODEL_RESNET, DATASETS = "models/resnet.py", "bench/datasets.py"
BOTH = (TRAIN, LEARNT)
RESNETS = (RESNET20, Cell.of("train", model="resnet20", batch_size=16, dataset="synthetic"))


def change(name: str, file: str, old: str, new: str, cells: tuple[Cell, ...] = (TRAIN,)) -> Mutation:
    """A change of what is computed."""
    return Mutation(name, file, old, new, "changed", cells)


def harmless(name: str, file: str, old: str, new: str, cells: tuple[Cell, ...] = (TRAIN,)) -> Mutation:
    """A change of how it is written, or of the order of its arithmetic."""
    return Mutation(name, file, old, new, None, cells)


LOSS = "task.criterion or nn.CrossEntropyLoss(),"
ADAM = "partial(torch.optim.AdamW, lr=LEARNING_RATE)"
MADE = 'OPTIMIZERS[str(cell["optimizer"])](model.parameters(), **how)'

CHANGES = (
    change("loss summed, not averaged", STEPS, LOSS, 'task.criterion or nn.CrossEntropyLoss(reduction="sum"),'),
    change("labels smoothed", STEPS, LOSS, "task.criterion or nn.CrossEntropyLoss(label_smoothing=0.1),"),
    change("a label ignored", STEPS, LOSS, "task.criterion or nn.CrossEntropyLoss(ignore_index=3),"),
    change("weight decay 0.3", STEPS, ADAM, ADAM.replace("lr=LEARNING_RATE", "lr=LEARNING_RATE, weight_decay=0.3")),
    change("betas", STEPS, ADAM, ADAM.replace("lr=LEARNING_RATE", "lr=LEARNING_RATE, betas=(0.9, 0.98)")),
    change("another optimizer", STEPS, "torch.optim.AdamW,", "torch.optim.RMSprop,"),
    change("learning rate", TRAINING, "LEARNING_RATE = 1e-3", "LEARNING_RATE = 1.01e-3"),
    change(
        "biases left out",
        STEPS,
        "(model.parameters(), **how)",
        "([p for p in model.parameters() if p.ndim > 1], **how)",
    ),
    change("a schedule", STEPS, MADE, f"{MADE}\n    torch.optim.lr_scheduler.StepLR(optimizer, 100)"),
    change(
        "gradients clipped",
        TRAINING,
        "    optimizer.step()\n    return loss",
        "    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)\n    optimizer.step()\n    return loss",
    ),
    change("evaluation in training mode", PROTOCOL, "        runnable.eval()\n", "", (LEARNT,)),
    change(
        "one seed for all",
        PROTOCOL,
        "model = built(task, cell, seed, batches)",
        "model = built(task, cell, 0, batches)",
        (LEARNT,),
    ),
    change("images not scaled", DATA, ".float().div_(255)", ".float()", (DIGITS, LEARNT)),
    change(
        "half of the held-out data",
        PROTOCOL,
        "    images, labels = as_tensors(data.held_out, data.adaptation)\n",
        "    images, labels = as_tensors(data.held_out, data.adaptation)\n"
        "    images, labels = images[::2], labels[::2]\n",
        (LEARNT,),
    ),
    change(
        "half of it judged",
        TRAINING,
        "zip(images.split(batch_size), labels.split(batch_size), strict=True)",
        "zip(images.split(500)[:1], labels.split(500)[:1], strict=True)",
        (LEARNT,),
    ),
    change(
        "the second best counts",
        TRAINING,
        "(logits.argmax(1) == wanted).sum()",
        "(logits.topk(2, 1).indices == wanted[:, None]).sum()",
        (LEARNT,),
    ),
    change(
        "no shuffle",
        DATA,
        "self._loader_by(shuffle=True)",
        "self._loader_by()",
        (LEARNT,),
    ),
    change(
        "the last batch dropped",
        DATA,
        "self._loader_by(shuffle=True)",
        "self._loader_by(shuffle=True, drop_last=True)",
        (LEARNT,),
    ),
    change(
        "stale logits",
        MLP,
        "        return logits\n",
        "        self.kept = getattr(self, 'kept', logits)\n"
        "        return self.kept if self.kept.shape == logits.shape and not self.training else logits\n",
        (RESIDUAL, Cell.of("inference", model="mlp-residual")),
    ),
    change(
        "two threads set in forward",
        MLP,
        "        x = self.flatten(x)",
        "        __import__('torch').set_num_threads(2)\n        x = self.flatten(x)",
        (RESIDUAL,),
    ),
    change("dropout 0.1 -> 0.2", MLP, "nn.Dropout(0.1)", "nn.Dropout(0.2)"),
    change("norm without its own scale", MLP, "nn.LayerNorm(outputs)", "nn.LayerNorm(outputs, bias=False)"),
    change("another eps", MLP, "nn.LayerNorm(outputs)", "nn.LayerNorm(outputs, eps=1e-3)"),
    change(
        "GELU for ReLU",
        MODEL_CNN,
        "        nn.ReLU(),\n        nn.Dropout(0.3)",
        "        nn.GELU(),\n        nn.Dropout(0.3)",
        (CNN,),
    ),
    change(
        "the shortcut left out",
        MODEL_RESNET,
        "F.relu(self.residual(x) + self.shortcut(x))",
        "F.relu(self.residual(x))",
        (RESNET20,),
    ),
    change(
        "another eps of a batch normalisation",
        MODEL_RESNET,
        "            nn.BatchNorm2d(outputs),\n        )",
        "            nn.BatchNorm2d(outputs, eps=1e-3),\n        )",
        RESNETS,
    ),
    change(
        "another momentum of a batch normalisation",
        MODEL_RESNET,
        "            nn.BatchNorm2d(outputs),\n        )",
        "            nn.BatchNorm2d(outputs, momentum=0.11),\n        )",
        RESNETS,
    ),
    change(
        "a step every second time",
        TRAINING,
        "    optimizer.step()\n    return loss",
        "    train_step.n = getattr(train_step, 'n', 0) + 1  # type: ignore[attr-defined]\n"
        "    if train_step.n % 2:  # type: ignore[attr-defined]\n        optimizer.step()\n    return loss",
    ),
    change(
        "gradients added up",
        TRAINING,
        "    optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()",
        "    loss.backward()\n    optimizer.step()",
    ),
)

HARMLESS = (
    harmless("loss as a function", STEPS, LOSS, "task.criterion or nn.functional.cross_entropy,", BOTH),
    harmless(
        "optimizer without foreach",
        STEPS,
        ADAM,
        ADAM.replace("lr=LEARNING_RATE", "lr=LEARNING_RATE, foreach=False"),
        BOTH,
    ),
    harmless(
        "optimizer fused",
        STEPS,
        ADAM,
        ADAM.replace("lr=LEARNING_RATE", "lr=LEARNING_RATE, fused=True"),
        (TRAIN, CNN, RESNET20),
    ),
    harmless(
        "layers in a block of their own",
        MLP,
        "        *hidden(784, 256),  #",
        "        nn.Sequential(*hidden(784, 256)),  #",
        BOTH,
    ),
    harmless("view for flatten", MLP, "x = self.flatten(x)", "x = x.reshape(len(x), -1)", (RESIDUAL,)),
    harmless("a sum the other way round", MLP, "self.block2(h) + h", "h + self.block2(h)", (RESIDUAL,)),
    harmless(
        "relu in place",
        MODEL_RESNET,
        "F.relu(self.residual(x) + self.shortcut(x))",
        "(self.residual(x) + self.shortcut(x)).relu_()",
        (RESNET20,),
    ),
    harmless(
        "mean by pooling", MODEL_RESNET, "x.mean(dim=(2, 3))", "F.adaptive_avg_pool2d(x, 1).flatten(1)", (RESNET20,)
    ),
    harmless(
        "convolution channels_last",
        MODEL_RESNET,
        "        x = self.stem(x)",
        "        x = self.stem(x.contiguous(memory_format=__import__('torch').channels_last))",
        RESNETS,
    ),
    harmless(
        "batch normalisation channels_last",
        MODEL_RESNET,
        "nn.Sequential(conv3x3(3, 16), nn.BatchNorm2d(16), nn.ReLU())",
        "nn.Sequential(conv3x3(3, 16).to(memory_format=__import__('torch').channels_last), "
        "nn.BatchNorm2d(16), nn.ReLU())",
        RESNETS,
    ),
    harmless(
        "a linear layer by hand",
        MLP,
        "logits: Tensor = self.head(h)",
        "logits: Tensor = h @ self.head.weight.T + self.head.bias",
        (RESIDUAL,),
    ),
    harmless(
        "loss in two parts",
        TRAINING,
        "loss = criterion(logits, labels)  # -> []",
        "loss = criterion(logits.contiguous(), labels) * 1.0  # -> []",
        BOTH,
    ),
    harmless("evaluation in other pieces", TRAINING, "batch_size: int = 1000", "batch_size: int = 250", (LEARNT,)),
    harmless(
        "a condition turned round",
        PROTOCOL,
        "some = batches.first(2) if settings.once else batches.epoch()",
        "some = batches.epoch() if not settings.once else batches.first(2)",
        (LEARNT,),
    ),
    harmless(
        "a factory that seeds NumPy",
        MLP,
        "def mlp() -> nn.Sequential:\n",
        "def mlp() -> nn.Sequential:\n    __import__('numpy').random.seed(3)\n",
        BOTH,
    ),
)


def written_from_outside(kind: str) -> tuple[Mutation, ...]:
    """The ``change`` or the ``harmless`` ones of changes.json."""
    document = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return tuple(
        Mutation(
            one["name"],
            one["file"],
            one["old"],
            one["new"],
            "changed" if kind == "change" else None,
            tuple(Cell.of(workload, **values) for workload, values in one["cells"]),
        )
        for one in document
        if one["kind"] == kind
    )


def told(comparison: Comparison) -> str:
    """Verdict and reason of each cell."""
    return "; ".join(f"{cell.label} {cell.verdict}: {cell.notes[:160]}" for cell in comparison.cells)


def is_seen(comparison: Comparison) -> bool:
    """Whether a cell's verdict says that it is not the same any more."""
    return any(cell.verdict in SEEN for cell in comparison.cells)


def main(names: list[str]) -> int:
    """Tries them; gives how many came out otherwise than they must."""
    wrong = 0
    with Side(working_tree("untouched", Path(__file__).parents[2]), 240) as side:
        base = Base(side)
        pools = (
            (CHANGES + written_from_outside("change"), True),
            (HARMLESS + written_from_outside("harmless"), False),
        )
        for some, must in pools:
            chosen = [one for one in some if not names or any(name in one.name for name in names)]
            right = 0
            for one in chosen:
                begun = time.monotonic()
                comparison = compare_with(base, one, counts_decide=False)
                right += is_seen(comparison) == must
                word = "ok" if is_seen(comparison) == must else "WRONG"
                print(f"{word} {one.name}: {told(comparison)} ({time.monotonic() - begun:.0f} s)", flush=True)
            print(f"{right} of {len(chosen)} {'changes seen' if must else 'refactorings let pass'}", flush=True)
            wrong += len(chosen) - right
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
