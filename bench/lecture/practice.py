"""What the lecture says of PyTorch in practice, computed: data, modules, the loop, the loss, both modes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from bench.lecture.findings import Claim, checked, quoted
from models.mlp import ResidualMLP, mlp

BATCH, TEST_BATCH = 64, 1000  # the lecture's two loaders
# Layers, width, words and positions of GPT-3: Brown et al. 2020, table 2.1; the vocabulary is GPT-2's.
GPT3_LAYERS, GPT3_WIDTH, GPT3_WORDS, GPT3_POSITIONS = 96, 12_288, 50_257, 2048


def practice_claims() -> Iterator[Claim]:
    """In the order of the lecture."""
    yield from _data()
    yield from _modules()
    yield from _sizes()
    yield from _loading()
    yield from _loop()
    yield from _losses()
    yield _no_grad()


def _data() -> Iterator[Claim]:
    picture = Image.fromarray((np.arange(28 * 28) % 256).astype(np.uint8).reshape(28, 28))
    digit = transforms.ToTensor()(picture)
    yield checked(
        "Data",
        "ToTensor() turns a grey image of 28x28 into [C, H, W] in [0, 1]",
        "1x28x28, 0 to 1",
        f"{shape(digit)}, {digit.min():.0f} to {digit.max():.0f}",
        "Of an image that has every grey from 0 to 255.",
    )
    batch = torch.stack([digit] * BATCH)
    yield checked(
        "Data",
        "A batch of 64 is [64, 1, 28, 28], and [64, 784] once it is flattened",
        "64x1x28x28, 64x784",
        f"{shape(batch)}, {shape(nn.Flatten()(batch))}",
    )
    scaled = transforms.Normalize((digit.mean().item(),), (digit.std().item(),))(digit)
    yield checked(
        "Data",
        "Normalize centres and scales the pixels",
        "mean 0.00, deviation 1.00",
        f"mean {abs(scaled.mean()):.2f}, deviation {scaled.std():.2f}",
        f"From mean {digit.mean():.2f} and deviation {digit.std():.2f}.",
    )


class _Registering(nn.Module):
    """A module with one attribute of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.weight = nn.Parameter(torch.ones(2))
        self.tensor = torch.ones(2)
        self.layers = [nn.Linear(3, 2)]

    def forward(self, x: Tensor) -> Tensor:
        """Something of each row: [B, 3] -> [B, 2]."""
        outputs: Tensor = self.layer(x) * self.weight
        return outputs


def _modules() -> Iterator[Claim]:
    module = _Registering()
    yield checked(
        "Modules",
        "A module or parameter that is assigned is registered, and parameters() gives it",
        "layer.bias, layer.weight, weight",
        ", ".join(sorted(name for name, _ in module.named_parameters())),
        "A plain tensor and a list of layers, assigned too, are not registered: ParameterList and ModuleList are.",
    )
    devices = {parameter.device.type for parameter in _Registering().to("meta").parameters()}
    yield checked(
        "Modules",
        "model.to(device) moves the parameters",
        "all on meta",
        f"all on {'/'.join(sorted(devices))}",
        "To the device meta, which every machine has; the plain tensor stays where it was.",
    )
    x = torch.ones(4, 3)
    yield checked(
        "Modules",
        "model(x) calls model.forward(x)",
        "the same",
        "the same" if torch.equal(module(x), module.forward(x)) else "not the same",
        "Hooks run around the first alone.",
    )
    model = mlp().eval()
    images = torch.linspace(0, 1, 2 * 784).view(2, 1, 28, 28)
    with torch.no_grad():
        by_hand = images
        for layer in model:
            by_hand = layer(by_hand)
        same = torch.equal(by_hand, model(images))
    said = "nn.Sequential executes its layers in order"
    yield checked("Modules", said, "the same", "the same" if same else "not the same")


def _sizes() -> Iterator[Claim]:
    """Layer by layer, and beside the large ones."""
    with torch.device("meta"):
        model, replaced = ResidualMLP(), with_rms_norm(mlp())
    sizes = [
        f"{sum(parameter.numel() for parameter in layer.parameters()):,}"
        for layer in model.modules()
        if isinstance(layer, nn.Linear | nn.LayerNorm)
    ]
    yield checked(
        "Parameters",
        "784 x 256 + 256 = 200,960 and 512; 256 x 256 + 256 = 65,792 and 512; 256 x 10 + 10 = 2,570",
        "200,960; 512; 65,792; 512; 2,570",
        "; ".join(sizes),
        "Linear and LayerNorm of both blocks, and the head.",
    )
    ours = sum(parameter.numel() for parameter in model.parameters())
    theirs = sum(parameter.numel() for parameter in replaced.parameters())
    yield checked(
        "Parameters",
        "nn.RMSNorm may stand in LayerNorm's place",
        f"logits of {BATCH}x10",
        f"logits of {shape(with_rms_norm(mlp())(torch.zeros(BATCH, 1, 28, 28)))}",
        f"With {theirs:,} parameters, {ours - theirs:,} fewer: RMSNorm scales and does not shift.",
    )
    large = gpt3_parameters()
    yield checked(
        "Parameters",
        "GPT-3 has 175B parameters",
        "175B",
        f"{large / 1e9:.0f}B",
        f"{large:,}: {large / ours:,.0f} times the MLP's {ours:,}.",
        "computed from the sizes in Brown et al. 2020, arXiv 2005.14165, table 2.1",
    )
    yield quoted(
        "Parameters",
        "GPT-4 is estimated at 1.8 trillion parameters",
        "its size is not published",
        "OpenAI 2023, arXiv 2303.08774, section 2, gives no size; the number is an estimate of others",
    )


def gpt3_parameters() -> int:
    """Of a decoder of GPT-3's sizes: attention and feed-forward layers with biases, norms, embeddings."""
    width = GPT3_WIDTH
    layer = (4 * width**2 + 4 * width) + (8 * width**2 + 5 * width) + 4 * width
    return GPT3_LAYERS * layer + (GPT3_WORDS + GPT3_POSITIONS) * width + 2 * width


def with_rms_norm(model: nn.Sequential) -> nn.Sequential:
    """The same layers with RMSNorm wherever there is LayerNorm."""

    def norm(layer: nn.Module) -> nn.Module:
        return nn.RMSNorm(layer.normalized_shape[0]) if isinstance(layer, nn.LayerNorm) else layer

    return nn.Sequential(*map(norm, model))


def _loading() -> Iterator[Claim]:
    digits = TensorDataset(torch.arange(1000))
    loader = DataLoader(digits, BATCH, shuffle=True, generator=torch.Generator().manual_seed(0))
    once, again = (torch.cat([numbers for (numbers,) in loader]) for _ in range(2))
    whole = len(DataLoader(range(60_000), BATCH))  # type: ignore[arg-type]  # a range has items and a length
    yield checked(
        "Loading",
        "A DataLoader batches by 64 and shuffles anew each epoch",
        "64 a batch, another order, each once",
        f"{len(next(iter(loader))[0])} a batch, {'the same' if torch.equal(once, again) else 'another'} order, "
        f"{'each once' if torch.equal(once.sort().values, again.sort().values) else 'not the same'}",
        f"The 60,000 of MNIST are {whole} batches, the last of {60_000 - (whole - 1) * BATCH}.",
    )
    plain = torch.cat([numbers for (numbers,) in DataLoader(digits, TEST_BATCH)])
    said = "Without shuffle the order stays"
    yield checked("Loading", said, "as stored", "as stored" if torch.equal(plain, torch.arange(1000)) else "another")


def _loop() -> Iterator[Claim]:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)

    def gradient(*, cleared: bool) -> float:
        for _ in range(2):
            if cleared:
                optimizer.zero_grad()
            weight.sum().backward()
        assert weight.grad is not None
        return weight.grad[0].item()

    found = [f"{gradient(cleared=cleared):.0f}" for cleared in (True, False)]
    yield checked(
        "Loop",
        "zero_grad() clears old gradients",
        "1",
        found[0],
        f"After two backward passes of a gradient of 1; two more without it: {found[1]}, the sum of three.",
    )
    yield _another_loss()


def _another_loss() -> Claim:
    torch.manual_seed(0)
    model, rows, prices = nn.Linear(4, 1), torch.randn(16, 4), torch.rand(16, 1)

    def steepest(loss: nn.Module) -> float:
        model.zero_grad()
        loss(model(rows), prices).backward()
        assert model.weight.grad is not None
        return model.weight.grad.abs().max().item()

    by_entropy = steepest(nn.CrossEntropyLoss())
    return Claim(
        "Loop",
        "To predict stock prices, only the model and the data change",
        "gradients that are not 0",
        f"gradients up to {by_entropy:.2g}",
        "fails" if by_entropy == 0 else "holds",
        f"The loss changes too: cross-entropy of one output is 0 whatever it is; nn.MSELoss gives "
        f"gradients up to {steepest(nn.MSELoss()):.2g}.",
    )


def _losses() -> Iterator[Claim]:
    logits = torch.tensor([[2.0, 0.5, -1.0]])
    shares = logits.softmax(1)[0].tolist()
    yield checked(
        "Loss",
        "softmax of [2.0, 0.5, -1.0] = [0.79, 0.17, 0.04]",
        "[0.79, 0.17, 0.04]",
        f"[{', '.join(f'{share:.2f}' for share in shares)}]",
        f"The second is {shares[1]:.4f}, which rounds to {shares[1]:.2f}.",
    )
    loss = F.cross_entropy(logits, torch.tensor([0])).item()
    yield checked(
        "Loss",
        "The example's cross-entropy is 0.241",
        "0.241",
        f"{loss:.3f}",
        f"Of the first class, whose probability is {math.exp(-loss):.4f}; -log of the rounded 0.79 is "
        f"{-math.log(0.79):.3f}.",
    )
    yield checked("Loss", "-log(0.95) = 0.05", "0.05", f"{-math.log(0.95):.2f}", f"{-math.log(0.95):.4f}.")
    large = torch.tensor([[1000.0, 0.0]])
    naive = -torch.log(torch.exp(large) / torch.exp(large).sum())[0]
    stable = [F.cross_entropy(large, torch.tensor([label])) for label in (0, 1)]
    yield checked(
        "Loss",
        "nn.CrossEntropyLoss is numerically stable",
        "losses 0 and 1000",
        f"losses {' and '.join(f'{value:.0f}' for value in stable)}",
        f"Of the logits 1000 and 0, by class; exp, divide and log one after the other give "
        f"{' and '.join(f'{value:.0f}' for value in naive)}.",
    )


def _no_grad() -> Claim:
    model, images = mlp(), torch.zeros(TEST_BATCH, 1, 28, 28)
    kept = kept_bytes(model, images)
    with torch.no_grad():
        without = kept_bytes(model, images)
    return Claim(
        "Modes",
        "torch.no_grad() saves memory: it builds no graph",
        f"less than the {kept / 1e6:.1f} MB kept without it",
        f"{without / 1e6:.1f} MB kept",
        "holds" if without < kept else "fails",
        f"Tensors that a forward pass of the MLP on {TEST_BATCH:,} digits keeps for its backward pass.",
    )


def kept_bytes(model: nn.Module, images: Tensor) -> int:
    """What a forward pass keeps for the backward pass, parameters and the images themselves apart."""
    there = {parameter.untyped_storage().data_ptr() for parameter in (*model.parameters(), images)}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(images)
    del outputs
    return sum(size for place, size in kept.items() if place not in there)


def shape(x: Tensor) -> str:
    """Such as ``64x10``."""
    return "x".join(map(str, x.shape))
