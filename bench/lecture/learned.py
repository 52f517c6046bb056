"""What the lecture says of trained networks, measured on those of this run: wasted connections, layers of features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from bench.lecture.convolutions import STAGES
from bench.lecture.findings import Claim, quoted
from bench.lecture.practice import BATCH, with_rms_norm
from models.mlp import mlp
from trainmark import formatting
from trainmark.measure.batches import Batch
from trainmark.measure.training import LEARNING_RATE, evaluate, train_step

FAR = 10  # pixels between two that are called distant
NEAR = 2  # pixels from a neuron's heaviest weight: a 5x5 around it
POINT = 0.01  # accuracy that counts as kept
SPARED = (0.9, 0.75, 0.5, 0.25)  # shares of the weights, the smallest first, that may do without
NORMS_APART = 0.05  # accuracy after one epoch: of one network seeds differ by 2 points and more
PLACES = 8  # a side, that feature maps are averaged to: the same for every layer


def learned_claims(dense: nn.Module, convolutional: nn.Module, before: Tensor, held_out: Mapping[str, Batch],
                   training: Batch, seed: int) -> Iterator[Claim]:  # fmt: skip
    """Of the lecture's trained networks.

    Args:
        dense: The MLP, in eval mode.
        convolutional: The CNN, likewise.
        before: Its first kernels before the training, [D, C, K, K].
        held_out: Images and labels for ``mlp`` and for ``cnn``.
        training: For the MLP: images [N, 1, 28, 28] and labels [N].
        seed: Of what is trained here.
    """
    yield from _connections(dense, held_out["mlp"])
    yield _norms(training, held_out["mlp"], seed)
    yield _edges(before, _first_weight(convolutional).detach())
    yield quoted(
        "Features",
        "Middle layers combine edges into textures, corners and repeated patterns",
        "needs photographs",
        "Zeiler and Fergus 2014, arXiv 1311.2901, figure 2, of a network trained on ImageNet",
    )
    yield _meaning(convolutional, held_out["cnn"])


def _first_weight(model: nn.Module) -> Tensor:
    return next(layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))


def _connections(dense: nn.Module, held_out: Batch) -> Iterator[Claim]:
    beside, distant_pixels = (likeness(held_out[0], apart) for apart in (1, FAR))
    yield Claim(
        "Locality",
        "Nearby pixels are related, distant ones are not",
        "more alike side by side",
        f"{beside:.2f}, {distant_pixels:.2f} at {FAR} pixels",
        "holds" if beside > abs(distant_pixels) else "fails",
        "Correlation of two pixels in a row, over all held-out digits.",
    )
    weights = _first_weight(dense).detach()  # [256, 784]
    distant, total = distant_weights(weights), weights.numel()
    yield Claim(
        "Locality",
        "A dense layer connects every pixel to every neuron, near or distant",
        "most look at distant pixels",
        f"{distant:,} of {total:,} weights",
        "holds" if distant > total / 2 else "fails",
        f"Farther than {NEAR} pixels from the heaviest weight of their neuron, in the MLP's first layer.",
    )
    whole, spared = spared_share(dense, held_out)
    yield Claim(
        "Locality",
        "Most of those connections are wasted",
        "half and more can be zero within 1 point of accuracy",
        f"{formatting.percent(spared, 0)} can be zero" if spared else "a quarter cannot be zero",
        "holds" if spared >= 0.5 else "fails",
        f"The smallest weights of the first layer; the accuracy was {whole:.1%}. "
        f"Tried: {', '.join(formatting.percent(share, 0) for share in SPARED)}.",
    )


def likeness(images: Tensor, apart: int) -> float:
    """Correlation of pixels that lie so far apart in a row, over images [N, C, H, W]."""
    pairs = torch.stack([images[..., :-apart].flatten(), images[..., apart:].flatten()])
    return float(torch.corrcoef(pairs)[0, 1])


def distant_weights(weights: Tensor) -> int:
    """How many of a first layer's weights [neurons, H*W] lie farther than NEAR pixels from their neuron's heaviest."""
    side = round(weights.shape[1] ** 0.5)
    pixels = torch.arange(weights.shape[1], device=weights.device)
    rows, columns = pixels // side, pixels % side
    heaviest = weights.abs().argmax(1, keepdim=True)
    apart = torch.maximum((rows - rows[heaviest]).abs(), (columns - columns[heaviest]).abs())
    return int((apart > NEAR).sum())


@torch.no_grad()
def spared_share(dense: nn.Module, held_out: Batch) -> tuple[float, float]:
    """Accuracy of a network, and the largest share of its first layer that may be zero; the layer stays as it was."""
    weights = _first_weight(dense)
    kept = weights.detach().clone()
    whole = evaluate(lambda x, _: dense(x), *held_out)
    for share in SPARED:
        smallest = kept.abs().flatten().kthvalue(round(share * kept.numel())).values
        weights.copy_(torch.where(kept.abs() <= smallest, 0.0, kept))
        pruned = evaluate(lambda x, _: dense(x), *held_out)
        weights.copy_(kept)
        if pruned >= whole - POINT:
            return whole, share
    return whole, 0.0


def _norms(training: Batch, held_out: Batch, seed: int) -> Claim:
    torch.manual_seed(seed)
    layer_norm = mlp()
    torch.manual_seed(seed)
    rms_norm = with_rms_norm(mlp())
    ours, theirs = (_after_an_epoch(model, training, held_out) for model in (layer_norm, rms_norm))
    return Claim(
        "Parameters",
        "A network learns with nn.RMSNorm as with LayerNorm",
        f"within {100 * NORMS_APART:.0f} points",
        f"{theirs:.1%} and {ours:.1%}",
        "holds" if abs(ours - theirs) <= NORMS_APART else "fails",
        "Held-out accuracy of the MLP after one epoch from the same weights, one seed.",
    )


def _after_an_epoch(model: nn.Module, training: Batch, held_out: Batch) -> float:
    images, labels = training
    model.to(images.device).train()
    optimizer, criterion = torch.optim.AdamW(model.parameters(), LEARNING_RATE), nn.CrossEntropyLoss()
    for some in torch.randperm(len(labels)).split(BATCH):
        train_step(model, criterion, optimizer, images[some], labels[some])
    model.eval()
    return evaluate(lambda x, _: model(x), *held_out)


def _edges(before: Tensor, after: Tensor) -> Claim:
    shares = [plane_share(kernels) for kernels in (before, after)]
    return Claim(
        "Features",
        "Early layers learn edges: slopes from one side to the other",
        "more of a kernel is a plane than before training",
        f"{shares[1]:.2f}, before {shares[0]:.2f}",
        "holds" if shares[1] > shares[0] else "fails",
        "Mean share of what a first kernel varies by that a plane explains, as a grey image meets it.",
    )


def plane_share(kernels: Tensor) -> float:
    """Mean over kernels [D, C, K, K], summed over their channels, of the share of their variation that is a plane."""
    values = kernels.sum(1)  # [D, K, K]
    values = values - values.mean((1, 2), keepdim=True)
    side = torch.arange(float(values.shape[-1]), device=values.device) - (values.shape[-1] - 1) / 2
    slopes = [(values * axis).sum((1, 2)) ** 2 for axis in (side, side.unsqueeze(1))]
    length = (side**2).sum() * len(side)
    return float(((slopes[0] + slopes[1]) / length / (values**2).sum((1, 2))).mean())


@torch.no_grad()
def _meaning(convolutional: nn.Module, held_out: Batch) -> Claim:
    images, labels = held_out
    found: dict[str, float] = {}
    x = images
    for depth, layer in enumerate(convolutional.children()):
        x = layer(x)
        found |= {name: by_class_means(x, labels) for name, place in STAGES.items() if place == depth}
        if depth == max(STAGES.values()):
            break
    order = list(found.values())
    return Claim(
        "Features",
        "Later layers are more semantic",
        "the class is nearer at hand in later layers",
        ", ".join(f"{name} {share:.1%}" for name, share in found.items()),
        "holds" if order[-1] > order[0] else "fails",
        f"Digits named by the nearest class mean of their maps, averaged to {PLACES}x{PLACES}: means of one half of "
        "the held-out digits, accuracy on the other.",
    )


def by_class_means(maps: Tensor, labels: Tensor) -> float:
    """Accuracy of naming the class by the nearest mean of maps [N, C, H, W]: of every second, judged by the rest."""
    features = nn.functional.adaptive_avg_pool2d(maps, PLACES).flatten(1)
    known, asked = features[::2], features[1::2]
    means = torch.stack([known[labels[::2] == label].mean(0) for label in labels.unique()])
    return float((labels.unique()[torch.cdist(asked, means).argmin(1)] == labels[1::2]).float().mean())
