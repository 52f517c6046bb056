"""The lecture workload: its claims computed, its networks trained, and what they learned kept as small images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.lecture.claims import computed_claims
from bench.lecture.convolutions import HORIZONTAL, SHARPEN, STAGES, VERTICAL
from bench.lecture.findings import Claim, Lecture, SmallImage, checked, quoted, write_lecture
from bench.lecture.learned import learned_claims
from trainmark.measure.batches import Batch
from trainmark.measure.data import Data, Samples, as_tensors
from trainmark.measure.failures import NotFiniteError, UnsupportedError
from trainmark.measure.protocol import measured
from trainmark.measure.settings import Settings
from trainmark.measure.steps import built, feed, task_and_data, training_parts
from trainmark.measure.training import evaluate, train_epoch
from trainmark.store.cell import Cell
from trainmark.store.record import Record

MLP_EPOCHS = 10  # the lecture's; a second on mnist-5k
MNIST_ACCURACY = 0.978  # the lecture's, of the MLP after 10 epochs on the full MNIST
SHIFTS = range(7)  # pixels; the digits have four of margin, so the largest cut off the widest
SHIFTED_DIGITS = 500  # that each shift is tested on: enough to tell points apart, in seconds on one core
INVARIANT = 0.01  # accuracy that a shift may cost where the network is called invariant
MAPS = 8  # feature maps of a layer that are kept: the strongest
MISREAD = 12  # digits that are kept
SHOWN_DIGITS = (5, 2)
BY_HAND = {"vertical": VERTICAL, "horizontal": HORIZONTAL, "sharpen": SHARPEN}


@dataclass(frozen=True)
class Trained:
    """A network before and after its training.

    Attributes:
        before: Its first weights, where they are of a convolution; else None.
        model: In eval mode.
        data: What it was trained on, adapted to it.
        held_out: Images [N, C, H, W] and labels [N].
        accuracy: On all of those.
    """

    before: Tensor | None
    model: nn.Module
    data: Data
    held_out: Batch
    accuracy: float

    def on_device(self, samples: Samples) -> Batch:
        """Samples of its data as the network takes them: images [N, C, H, W] and labels [N], where the network is."""
        return _on(as_tensors(samples, self.data.adaptation), str(next(self.model.parameters()).device))


def _on(batch: Batch, device: str) -> Batch:
    images, labels = batch
    return images.to(device), labels.to(device)


def measure(cell: Cell, settings: Settings, report: Callable[[Any], None], scratch: Path) -> Record:
    """The record of the lecture; what it found lies in ``settings.artifacts`` afterwards.

    Raises:
        UnsupportedError: The data set is not one of digits.
        NotFiniteError: A training's loss is not finite.
    """
    return measured(cell, settings, scratch, lambda: measure_lecture(cell, settings, report))


def measure_lecture(cell: Cell, settings: Settings, report: Callable[[Any], None]) -> dict[str, Any]:
    """The parts of that record.

    Raises:
        UnsupportedError: The data set is not one of digits.
        NotFiniteError: A training's loss is not finite.
    """
    begun = time.perf_counter()
    report("computing claims")
    claims = computed_claims()
    networks = {
        "mlp": trained("mlp", cell, 1 if settings.once else MLP_EPOCHS, settings, report),
        "cnn": trained("cnn", cell, 1 if settings.once else int(cell["epochs"]), settings, report),
    }
    report("shifting digits")
    shifts = {name: [shifted_accuracy(network, pixels) for pixels in SHIFTS] for name, network in networks.items()}
    mlp, cnn, dataset = networks["mlp"], networks["cnn"], str(cell["dataset"])
    training = mlp.on_device(mlp.data.train)
    claims += [_mnist_claim(dataset, mlp.accuracy), _size_claim(dataset, len(training[1]), len(mlp.held_out[1]))]
    claims += _shift_claims(shifts)
    report("looking at what was learned")
    assert cnn.before is not None, "the CNN begins with a convolution"
    held_out = {name: network.held_out for name, network in networks.items()}
    claims += learned_claims(mlp.model, cnn.model, cnn.before, held_out, training, settings.seed)
    confusion, misread = read_digits(cnn)
    images = [*kernel_images(cnn), *map_images(cnn), *hand_images(cnn), *misread]
    if settings.artifacts is not None and not settings.once:
        kept = tuple(tuple(int(count) for count in row) for row in confusion)
        write_lecture(
            settings.artifacts, Lecture(cell.key, str(cell["dataset"]), tuple(claims), shifts, kept, tuple(images))
        )
    checked = [claim for claim in claims if claim.verdict != "not checked"]
    return {
        "metrics": {
            "claims": len(checked),
            "claims_held": sum(claim.verdict == "holds" for claim in checked),
        },
        "rounds": (time.perf_counter() - begun,),
        "series": {
            "shift_pixels": list(SHIFTS),
            **{f"{name}_shifted_accuracy": curve for name, curve in shifts.items()},
        },
        "settings": {"threads": settings.threads, "seed": settings.seed},
    }


def trained(name: str, cell: Cell, epochs: int, settings: Settings, report: Callable[[Any], None]) -> Trained:
    """One of the lecture's networks, trained by its loop on the cell's digits."""
    training = Cell.of("train", model=name, dataset=cell["dataset"], device=cell["device"])
    task, data = task_and_data(training, settings)
    if data.held_out is None or data.classes != 10:
        raise UnsupportedError(f"{data.name} has no digits to read: the lecture takes mnist-5k or mnist")
    model = built(task, training, settings.seed)
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    before = first.weight.detach().clone() if isinstance(first, nn.Conv2d) else None
    step, batches = training_parts(model, training, task).step, feed(training, data)
    for epoch in range(epochs):
        report(f"training the {name}, epoch {epoch + 1} of {epochs}")
        loss, _ = train_epoch(step, batches.epoch())
        if not bool(torch.isfinite(loss)):
            raise NotFiniteError(f"the loss of the {name} is not finite after epoch {epoch + 1}")
    held_out = _on(as_tensors(data.held_out, data.adaptation), str(cell["device"]))
    model.eval()
    return Trained(before, model, data, held_out, evaluate(lambda x, _: model(x), *held_out))


def shifted_accuracy(network: Trained, pixels: int) -> float:
    """Held-out accuracy with the digits moved right, and moved down, by some pixels: the mean of both."""
    images, labels = network.held_out
    chosen = torch.arange(len(labels), device=labels.device)[:: max(1, len(labels) // SHIFTED_DIGITS)]
    moves = [(pixels, 0), (0, pixels)] if pixels else [(0, 0)]
    shares = [
        evaluate(lambda x, _: network.model(x), shifted(images[chosen], right, down), labels[chosen])
        for right, down in moves
    ]
    return sum(shares) / len(shares)


def shifted(images: Tensor, right: int, down: int) -> Tensor:
    """Images [N, C, H, W] moved by some pixels; zeros come in, and what leaves the frame is lost."""
    height, width = images.shape[-2:]
    return F.pad(images, (right, 0, down, 0))[..., :height, :width]


def _mnist_claim(dataset: str, accuracy: float) -> Claim:
    said, expected = "The MLP reaches 97.8% on MNIST", f"at least {MNIST_ACCURACY:.1%} after {MLP_EPOCHS} epochs"
    if dataset != "mnist":
        note = "Takes the full MNIST: pytest bench -k lecture --dataset mnist --download --benchmark-autosave"
        return Claim("Accuracy", said, expected, f"{accuracy:.1%} on {dataset}, another task", "not checked", note)
    verdict = "holds" if round(accuracy, 3) >= MNIST_ACCURACY else "fails"  # told to a tenth of a point
    return Claim("Accuracy", said, expected, f"{accuracy:.2%}", verdict, "One seed, the lecture's loop.")


def _size_claim(dataset: str, images: int, held_out: int) -> Claim:
    said, found = "MNIST has 60,000 training images and 10,000 test images", f"{images:,} and {held_out:,}"
    if dataset != "mnist":
        return quoted("Data", said, f"{found} here", "LeCun et al. 1998, Proc. IEEE 86(11), section III-A")
    return checked("Data", said, "60,000 and 10,000", found)


def _shift_claims(shifts: dict[str, list[float]]) -> list[Claim]:
    mlp, cnn = shifts["mlp"], shifts["cnn"]
    far = len(cnn) - 1
    invariant = cnn[0] - min(cnn) <= INVARIANT
    behind = [pixels for pixels in SHIFTS if cnn[pixels] < mlp[pixels]]
    return [
        Claim(
            "Translation",
            "A CNN reads a digit wherever it lies",
            f"at most {100 * INVARIANT:.0f} point lost when shifted",
            f"{cnn[0]:.1%} centred, {cnn[far]:.1%} shifted by {far} pixels",
            "holds" if invariant else "fails",
            "Trained on centred digits; the dense layers after the convolutions know the place.",
        ),
        Claim(
            "Translation",
            "A CNN stands shifts better than an MLP",
            "never behind the MLP",
            f"{sum(cnn) / len(cnn):.1%} against {sum(mlp) / len(mlp):.1%}, mean over 0 to {far} pixels",
            "fails" if behind else "holds",
            f"The MLP: {mlp[0]:.1%} centred, {mlp[far]:.1%} shifted by {far}.",
        ),
    ]


@torch.inference_mode()
def read_digits(network: Trained) -> tuple[np.ndarray, list[SmallImage]]:
    """How often each digit was read as which [10, 10]; and the digits misread with the most confidence."""
    images, labels = network.held_out
    shares = torch.cat([network.model(some).softmax(1) for some in images.split(1000)])  # [N, 10]
    confidence, read = shares.max(1)
    confusion = torch.zeros(10, 10, dtype=torch.long, device=labels.device)
    confusion.index_put_((labels, read), torch.ones_like(labels), accumulate=True)
    wrong = (read != labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISREAD].tolist()
    misread = [
        _image("misread", f"{int(labels[n])} read as {int(read[n])}, {confidence[n].item():.0%} sure", images[n, 0])
        for n in worst
    ]
    return confusion.cpu().numpy(), misread


def kernel_images(network: Trained) -> list[SmallImage]:
    """The first layer's kernels before and after; a grey image meets the sum over their channels."""
    assert network.before is not None, "the CNN begins with a convolution"
    after = next(layer for layer in network.model.modules() if isinstance(layer, nn.Conv2d)).weight.detach()
    pairs = ((f"kernels {word}", weights.sum(1)) for word, weights in (("before", network.before), ("after", after)))
    return [
        _image(group, f"kernel {number + 1}", kernel, signed=True)
        for group, kernels in pairs
        for number, kernel in enumerate(kernels)
    ]


@torch.inference_mode()
def map_images(network: Trained) -> list[SmallImage]:
    """The strongest feature maps of three layers, for some digits, with the digits themselves."""
    found = []
    for digit in SHOWN_DIGITS:
        x = _example(network, digit)  # [1, C, H, W]
        found.append(_image(f"digit {digit}", f"a {digit}", x[0, 0]))
        for depth, layer in enumerate(network.model.children()):
            x = layer(x)
            stage = next((name for name, place in STAGES.items() if place == depth), None)
            if stage is not None:
                strongest = x[0].mean((1, 2)).argsort(descending=True, stable=True)[:MAPS].sort().values
                found += [_image(f"maps {digit} {stage}", f"map {int(n) + 1}", x[0, n]) for n in strongest]
    return found


@torch.inference_mode()
def hand_images(network: Trained) -> list[SmallImage]:
    """The lecture's hand-made kernels on a digit, beside those learned kernels that weigh most."""
    digit = _example(network, SHOWN_DIGITS[0])[:, :1]  # [1, 1, H, W]
    learned = next(layer for layer in network.model.modules() if isinstance(layer, nn.Conv2d)).weight.sum(
        1
    )  # [D, 3, 3]
    heaviest = learned.abs().sum((1, 2)).argsort(descending=True, stable=True)[: len(BY_HAND)]
    kernels = [("by hand", name, torch.tensor(rows, device=digit.device)) for name, rows in BY_HAND.items()]
    kernels += [("learned", f"kernel {int(n) + 1}", learned[n]) for n in heaviest]
    return [
        _image(group, name, F.conv2d(digit, kernel.view(1, 1, 3, 3), padding=1)[0, 0], signed=True)
        for group, name, kernel in kernels
    ]


def _example(network: Trained, digit: int) -> Tensor:
    """The first held-out image of a digit: [1, C, H, W]."""
    images, labels = network.held_out
    found: Tensor = images[int((labels == digit).nonzero()[0])].unsqueeze(0)
    return found


def _image(group: str, caption: str, values: Tensor, *, signed: bool = False) -> SmallImage:
    return SmallImage.of(group, caption, values.detach().float().cpu().numpy(), signed=signed)
