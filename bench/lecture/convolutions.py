"""What the lecture says of convolutions, computed: its examples, kernels, channels, pooling, and what a place sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from bench.lecture.findings import Claim, checked
from bench.lecture.practice import shape
from models import MODELS

VERTICAL = ((1.0, 0, -1), (1, 0, -1), (1, 0, -1))
HORIZONTAL = ((1.0, 1, 1), (0, 0, 0), (-1, -1, -1))
SHARPEN = ((0.0, -1, 0), (-1, 5, -1), (0, -1, 0))
STAGES = {"early": 1, "middle": 4, "later": 5}  # layers of the CNN: after each ReLU, and after the last pooling
SEEN = {"early": 3, "middle": 8, "later": 10}  # pixels a side that a place of each can depend on


def convolution_claims() -> Iterator[Claim]:
    """In the order of the lecture."""
    yield from _examples()
    yield from _kernels()
    yield from _sharing()
    yield from _channels()
    yield from _pooling()
    yield from _receptive_fields()


def residual_claims() -> Iterator[Claim]:
    """What the lecture says of ResNets beside their sizes and errors."""
    for name, depth in (("resnet18", 18), ("resnet50", 50), ("resnet152", 152)):
        with torch.device("meta"):
            model = MODELS[name].build()
        layers = [
            path
            for path, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear) and "downsample" not in path
        ]
        block = next(layer for layer in model.modules() if isinstance(layer, BasicBlock | Bottleneck))
        inner = sum(isinstance(layer, nn.Conv2d) for path, layer in block.named_modules() if "downsample" not in path)
        yield checked(
            "ResNets",
            f"{name} has {depth} layers",
            depth,
            len(layers),
            "Convolutions and linear layers; those of the shortcuts are not counted.",
        )
        yield checked(
            "ResNets",
            f"F of a block is two convolutions ({name})",
            "2 convolutions",
            f"{inner} convolutions",
            "" if inner == 2 else "A bottleneck: 1x1, 3x3, 1x1 (He et al. 2015, arXiv 1512.03385, figure 5).",
        )


def convolved(image: Sequence[Sequence[float]], kernel: Sequence[Sequence[float]]) -> Tensor:
    """An image [H, W] under a kernel [K, K], at every place where it fits: [H-K+1, W-K+1]."""
    return F.conv2d(torch.tensor(image)[None, None], torch.tensor(kernel)[None, None])[0, 0]


def _examples() -> Iterator[Claim]:
    signal, kernel = torch.tensor([1.0, 3, 2, 4, 1]), torch.tensor([1.0, 0, -1])
    output = F.conv1d(signal.view(1, 1, -1), kernel.view(1, 1, -1)).flatten()
    rises = signal[2:] > signal[:-2]
    agree = torch.equal(output < 0, rises)
    yield checked(
        "Convolution",
        "[1, 0, -1] is a difference detector: negative where values increase",
        "at 3 of 3 places",
        f"at {len(output) if agree else int(((output < 0) == rises).sum())} of {len(output)} places",
        "The signal rises by 1 and by 1 over two steps, then falls by 1.",
    )
    patch = ((1.0, 2, 0), (0, 1, 3), (2, 3, 1))
    yield checked(
        "Convolution",
        "The patch [[1, 2, 0], [0, 1, 3], [2, 3, 1]] under [[1, 0, -1]] x 3 gives -1",
        -1,
        int(convolved(patch, VERTICAL).item()),
        "(1 - 0) + (0 - 3) + (2 - 1).",
    )
    yield checked(
        "Convolution",
        "A 5x5 input under a 3x3 kernel gives 3x3",
        "3x3",
        shape(convolved([[0.0] * 5] * 5, VERTICAL)),
    )


def _kernels() -> Iterator[Claim]:
    """On an image with one edge, and on a flat one."""
    upright = [[0.0] * 4 + [1.0] * 4] * 8
    level = [[0.0] * 8] * 4 + [[1.0] * 8] * 4
    for name, kernel, its_own, other in (
        ("Vertical", VERTICAL, upright, level),
        ("Horizontal", HORIZONTAL, level, upright),
    ):
        on, off = (convolved(image, kernel).abs().max().item() for image in (its_own, other))
        yield checked(
            "Kernels",
            f"{name} edges are what its kernel detects",
            "3 on its edge, 0 on the other",
            f"{on:.0f} on its edge, {off:.0f} on the other",
            "Largest answer, in size, to images of 0 and 1 with one edge.",
        )
    sharpened = convolved(upright, SHARPEN)
    yield checked(
        "Kernels",
        "The third kernel sharpens",
        "flat stays, the step grows from 1 to 3",
        f"flat {'stays' if sharpened[:, 0].eq(0).all() and sharpened[:, -1].eq(1).all() else 'changes'}, "
        f"the step grows from 1 to {sharpened.max() - sharpened.min():.0f}",
        "It adds what a Laplacian finds: beside an edge values overshoot by 1.",
    )


def _sharing() -> Iterator[Claim]:
    layer = nn.Conv2d(1, 1, 3, bias=False)
    places = [shape(layer(torch.zeros(1, 1, side, side))[0, 0]) for side in (8, 32, 224)]
    yield checked(
        "Weight sharing",
        "A 3x3 kernel has 9 parameters, whatever the size of the image",
        9,
        sum(parameter.numel() for parameter in layer.parameters()),
        f"The same 9 give {', '.join(places)} places for images of 8, 32 and 224 pixels a side.",
    )
    image = torch.zeros(16, 16)
    image[4:7, 4], image[8:11, 8] = 1.0, 1.0  # left of each place, in three rows
    found = convolved(image.tolist(), VERTICAL)
    first, second = (found[place - 1, place - 1] for place in (5, 9))  # a kernel's middle is a pixel within it
    yield checked(
        "Weight sharing",
        "An edge that a kernel detects at (5, 5) it detects at (9, 9)",
        "the same answer",
        "the same answer" if first == second != 0 else f"{first:.0f} and {second:.0f}",
        f"{first:.0f} and {second:.0f}.",
    )


def _channels() -> Iterator[Claim]:
    layer = nn.Conv2d(3, 32, 3, padding=1)
    yield checked("Channels", "A 3x3 kernel on an RGB image is [3, 3, 3]", "3x3x3", shape(layer.weight[0]))
    one = F.conv2d(torch.ones(1, 3, 3, 3), layer.weight[:1], layer.bias[:1] if layer.bias is not None else None)
    yield checked("Channels", "At each place a kernel gives one number of all three channels", "1x1x1", shape(one[0]))
    yield checked(
        "Channels",
        "Conv2d(3, 32, 3, padding=1) has 32 x 3 x 3 x 3 + 32 = 896 parameters",
        "896",
        sum(parameter.numel() for parameter in layer.parameters()),
        "out x in x k x k + out.",
    )


def _pooling() -> Iterator[Claim]:
    pool = nn.MaxPool2d(2)
    found = pool(torch.zeros(1, 7, 16, 16))[0]
    yield checked("Pooling", "MaxPool2d(2) turns [C, 16, 16] into [C, 8, 8]", "7x8x8", shape(found), "With C = 7.")
    corners = {(row, column): torch.zeros(1, 1, 4, 4) for row in (0, 1) for column in (0, 1, 2)}
    for (row, column), image in corners.items():
        image[0, 0, row, column] = 1.0
    answers = {place: pool(image) for place, image in corners.items()}
    within = [answer[0, 0, 0, 0].item() == 1 for place, answer in answers.items() if place[1] < 2]
    beyond = torch.equal(answers[0, 0], answers[0, 2])
    yield checked(
        "Pooling",
        "The maximum captures what is found anywhere in its 2x2",
        "4 of 4 places",
        f"{sum(within)} of {len(within)} places",
        f"A shift by a pixel {'stays the same too' if beyond else 'shows'} where it leaves its 2x2: some tolerance.",
    )


def _receptive_fields() -> Iterator[Claim]:
    torch.manual_seed(0)
    seen = {name: seen_pixels(MODELS["cnn"].build(), depth) for name, depth in STAGES.items()}
    yield checked(
        "Features",
        "Later layers respond to larger structures",
        ", ".join(f"{pixels}x{pixels}" for pixels in SEEN.values()),
        ", ".join(f"{pixels}x{pixels}" for pixels in seen.values()),
        "Pixels that one place can depend on, after each convolution and at the end of the CNN's features.",
    )


def seen_pixels(model: nn.Module, depth: int) -> int:
    """Side of the square of pixels that one place depends on after a layer of a network: where it has a gradient."""
    images = torch.rand(8, 3, 32, 32).requires_grad_()
    x = images
    for layer in list(model.eval().children())[: depth + 1]:
        x = layer(x)
    side = x.shape[-1] // 2
    x[..., side, side].sum().backward()
    assert images.grad is not None
    rows = images.grad.abs().sum((0, 1, 3)).nonzero()  # of several images: a maximum is taken at one place of each
    return int(rows.max() - rows.min()) + 1
