"""The lecture's claims that need no training: each is computed, and says whether it holds."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, ResNet152_Weights

from bench.lecture.convolutions import convolution_claims, residual_claims
from bench.lecture.findings import PUBLISHED, Claim, checked
from bench.lecture.practice import practice_claims
from bench.lecture.sequences import sequence_claims
from models import MODELS
from models.ngram.fitting import fit

PARAMETERS = {
    "mlp": 270_346,
    "mlp-residual": 270_346,
    "cnn": 1_070_794,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnet152": 60_192_808,
}
CNN_SHAPES = "32x32x32, 32x16x16, 64x16x16, 64x8x8, 4096, 256, 10"
SEEN = ("the", "the cat", "the dog")  # n-grams that the lecture gives counts of
TOP5_ERRORS = (
    ("ResNet-18", "10.9%", ResNet18_Weights.IMAGENET1K_V1),
    ("ResNet-50", "7.1%", ResNet50_Weights.IMAGENET1K_V1),
    ("ResNet-152", "5.7%", ResNet152_Weights.IMAGENET1K_V1),
)


def computed_claims() -> list[Claim]:
    """All of them, in the order of the lecture."""
    practice = (practice_claims, _networks, _modes)
    convolutions = (_convolutions, convolution_claims, _translation, residual_claims, _residual_networks)
    parts = (*practice, *convolutions, _ngrams, sequence_claims)
    return [claim for part in parts for claim in part()]


def _networks() -> Iterator[Claim]:
    for name in ("mlp", "mlp-residual", "cnn"):
        yield _parameters(name)
    model, shapes = MODELS["cnn"].build().eval(), []
    x = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        for layer in model.children():
            x = layer(x)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Flatten | nn.Linear):
                shapes.append(_shape(x[0]))
    yield checked("Shapes", "What the CNN's layers give for an image of 3x32x32", CNN_SHAPES, ", ".join(shapes))


def _parameters(name: str) -> Claim:
    with torch.device("meta"):
        model = MODELS[name].build()
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return checked("Parameters", f"{name} has {PARAMETERS[name]:,} parameters", f"{PARAMETERS[name]:,}", f"{count:,}")


def _convolutions() -> Iterator[Claim]:
    signal, kernel = torch.tensor([1.0, 3, 2, 4, 1]), torch.tensor([1.0, 0, -1])
    found = F.conv1d(signal.view(1, 1, -1), kernel.view(1, 1, -1)).flatten()
    yield checked(
        "Convolution",
        "[1, 3, 2, 4, 1] * [1, 0, -1] = [-1, -1, 1]",
        [-1, -1, 1],
        [int(value) for value in found],
        "As PyTorch does it, without flipping the kernel: a cross-correlation.",
    )
    image, window = torch.arange(16.0).view(4, 4) ** 2, torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    by_hand = [[int((image[y : y + 3, x : x + 3] * window).sum()) for x in range(2)] for y in range(2)]
    found = F.conv2d(image.view(1, 1, 4, 4), window.view(1, 1, 3, 3))[0, 0]
    yield checked(
        "Convolution",
        "A 2-D convolution gives the sum of window times kernel at each place",
        by_hand,
        [[int(value) for value in row] for row in found],
        "A vertical-edge kernel over the squares of 0 to 15: the sums by hand against conv2d.",
    )
    dense, shared = nn.Linear(3 * 32 * 32, 256, bias=False), nn.Conv2d(3, 1, 3)
    dense_count, shared_count = (sum(p.numel() for p in layer.parameters()) for layer in (dense, shared))
    yield checked(
        "Weight sharing", "A dense layer from 3x32x32 to 256 has 786,432 weights", "786,432", f"{dense_count:,}"
    )
    yield checked("Weight sharing", "A 3x3 filter over 3 channels has 28 parameters", 28, shared_count)
    yield checked(
        "Weight sharing",
        "That is 28,086 times fewer",
        "28,086",
        f"{dense_count // shared_count:,}",
        f"{dense_count / shared_count:,.2f} before it is cut to a whole number.",
    )
    x = torch.zeros(64, 3, 32, 32)
    yield _shaped("Conv2d(3, 32, 3) turns [64, 3, 32, 32] into [64, 32, 30, 30]", nn.Conv2d(3, 32, 3), x, "64x32x30x30")
    yield _shaped("Padding of 1 keeps height and width", nn.Conv2d(3, 32, 3, padding=1), x, "64x32x32x32")
    yield _shaped("MaxPool2d(2) halves height and width", nn.MaxPool2d(2), x, "64x3x16x16")
    yield _shaped("A stride of 2 halves them too", nn.Conv2d(3, 32, 3, stride=2, padding=1), x, "64x32x16x16")


def _shaped(said: str, layer: nn.Module, x: Tensor, expected: str) -> Claim:
    with torch.no_grad():
        return checked("Shapes", said, expected, _shape(layer(x)))


def _modes() -> Iterator[Claim]:
    """What train() and eval() change: told by the outputs of both on the same input, and by buffers."""
    torch.manual_seed(0)
    image, row = torch.randn(8, 4, 6, 6), torch.randn(8, 16)
    layers: tuple[tuple[str, nn.Module, Tensor, str], ...] = (
        ("LayerNorm uses running statistics in eval mode", nn.LayerNorm(16), row,
         "It has none: it normalises each sample by itself, in both modes."),
        ("model.train() sets LayerNorm to another mode than eval()", nn.LayerNorm(16), row,
         "It has one mode; of the lecture's layers Dropout alone has two."),
        ("BatchNorm uses running statistics in eval mode", nn.BatchNorm2d(4), image, ""),
        ("Dropout is idle in eval mode", nn.Dropout(0.5), row, ""),
    )  # fmt: skip
    for said, layer, x, note in layers:
        with torch.no_grad():
            trained, evaluated = layer.train()(x), layer.eval()(x)
        same = torch.equal(trained, evaluated)
        found = f"{'the same' if same else 'not the same'} in both modes, {len(list(layer.buffers()))} buffers"
        expected = "not the same in both modes"
        yield Claim("Modes", said, expected, found, "fails" if same else "holds", note)


def _translation() -> Iterator[Claim]:
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 8, 3, padding=1)
    image = torch.zeros(1, 1, 24, 24)
    image[..., 8:16, 8:16] = torch.rand(8, 8)
    moved = torch.roll(image, 3, -1)
    with torch.no_grad():
        once, then = conv(image), conv(moved)
    stays = (then - once).abs().max().item()
    follows = (torch.roll(once, 3, -1) - then).abs().max().item()
    yield Claim(
        "Translation",
        "Weight sharing is translation invariant",
        "the same output for a shifted input",
        f"outputs differ by up to {stays:.2f}; shifted back by {follows:.0e}",
        "holds" if stays < 1e-5 else "fails",
        "A convolution is equivariant: its output moves with its input. Pooling adds what invariance there is.",
    )


def _ngrams() -> Iterator[Claim]:
    """The lecture's maximum-likelihood estimate, on a text made up to have its counts."""
    text = "the cat\n" * 50 + "the dog\n" * 30 + "the end\n" * 920
    model = fit(text.encode(), order=2)
    counts = {words: model.counts.count([model.vocabulary.id(word) for word in words.split()]) for words in SEEN}
    note = ", ".join(f"{words}: {count:,}" for words, count in counts.items()) + "."
    yield checked("N-grams", "P(cat | the) = 0.05", "0.05", f"{model.probability('cat', 'the'):.2f}", note)
    yield checked("N-grams", "P(dog | the) = 0.03", "0.03", f"{model.probability('dog', 'the'):.2f}", note)
    yield checked("N-grams", "An unseen n-gram has probability zero", "0.0", model.probability("the", "the"))


def _residual_networks() -> Iterator[Claim]:
    for name in ("resnet18", "resnet50", "resnet152"):
        yield _parameters(name)
    for name, said, weights in TOP5_ERRORS:
        error = 100 - weights.meta["_metrics"]["ImageNet-1K"]["acc@5"]
        digits = len(said.rstrip("%").partition(".")[2])
        note = "Of one crop."
        if f"{error:.{digits}f}%" != said:
            note += " 5.71% is of ten crops, in He et al. 2015, table 3: the lecture mixes two ways to measure."
        verdict = "holds" if f"{error:.{digits}f}%" == said else "fails"
        claim = f"{name} has a top-5 error of {said}"
        source = f"torchvision, {type(weights).__name__}.{weights.name}"
        yield Claim(PUBLISHED, claim, said, f"{error:.2f}%", verdict, note, source)


def _shape(x: Tensor) -> str:
    return "x".join(map(str, x.shape))
