"""Floating-point operations: what has a formula is counted, what computes products without one is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

from models import MODELS
from trainmark.meters.flops import call_flops, count_flops, examine_flops, lacks_formula

aten = torch.ops.aten
PRODUCT = 2 * 6 * 4 * 3  # of six images of four numbers with a matrix of four rows and three columns


@torch.library.custom_op("trainmark_tests::product", mutates_args=())
def product(left: Tensor, right: Tensor) -> Tensor:
    return left @ right


@product.register_fake
def _(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


def keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    left, right = context.saved_tensors
    return product(gradient, right.t().contiguous()), product(left.t().contiguous(), gradient)


product.register_autograd(backward, setup_context=keep)


def by_own_operator(images: Tensor, weight: Tensor) -> Tensor:
    made: Tensor = product(images, weight)
    return made


class Net(nn.Module):
    """A matrix, and whatever a stranger makes of it and of images [6, 4]."""

    def __init__(self, forward: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.more = forward

    def forward(self, images: Tensor) -> Tensor:
        return self.more(images, self.weight)


def named(forward: Callable[[Tensor, Tensor], Tensor], training: bool = False) -> tuple[str, ...]:
    found = examine_flops(Net(forward), (6, 4), training=training)
    assert found.failure is None
    assert (found.flops is None) == bool(found.without_formula)
    return found.without_formula


# Products that have no formula


@pytest.mark.parametrize("training", [False, True])
def test_a_step_with_an_operator_of_ones_own_has_no_count_and_names_it(training: bool) -> None:
    found = examine_flops(Net(by_own_operator), (6, 4), training=training)
    assert found.flops is None
    assert found.without_formula == ("trainmark_tests::product",)
    assert found.reason == "FLOPs are not counted, there is no formula for trainmark_tests::product"


def test_an_operator_of_ones_own_counts_once_it_is_given_a_formula() -> None:
    packet = torch.ops.trainmark_tests.product
    register_flop_formula(packet)(lambda left, right, **_: 2 * left[0] * left[1] * right[1])
    try:
        assert count_flops(Net(by_own_operator), (6, 4), training=False) == PRODUCT
    finally:
        del flop_registry[packet]


@pytest.mark.parametrize(
    ("forward", "names"),
    [
        (lambda images, weight: torch.fft.rfft(images).abs(), ("aten::_fft_r2c",)),
        (lambda images, weight: torch.fft.ifft(images.cfloat()).abs(), ("aten::_fft_c2c",)),
        (lambda images, weight: torch.cdist(images, weight.t()), ("aten::_cdist_forward",)),
        (lambda images, weight: images * torch.linalg.det(weight[:3]), ("aten::_linalg_det",)),
        (lambda images, weight: torch.linalg.solve(weight[:3], weight[:3]), ("aten::_linalg_solve_ex",)),
        (lambda images, weight: torch.linalg.cholesky(weight[:3]), ("aten::linalg_cholesky_ex",)),
        (lambda images, weight: torch.linalg.qr(images)[0], ("aten::linalg_qr",)),
        (
            lambda images, weight: F.bilinear(images, images, weight.t()[:, :, None].expand(3, 4, 4)),
            ("aten::_trilinear",),
        ),
        (
            lambda images, weight: F.grid_sample(images[None, None], images.view(1, 3, 4, 2), align_corners=True),
            ("aten::grid_sampler_2d",),
        ),
        (lambda images, weight: torch.addbmm(weight, images.mT[None], images[None, :, :3]), ("aten::addbmm",)),
        (lambda images, weight: torch.nn.functional.pdist(images), ("aten::_pdist_forward",)),
    ],
)
def test_products_of_pytorch_without_a_formula_are_named(forward: Any, names: tuple[str, ...]) -> None:
    assert named(forward) == names


@pytest.mark.parametrize("name", ["_sparse_addmm", "_spsolve", "sspaddmm", "_int_mm", "_scaled_mm_v2", "_grouped_mm"])
def test_products_of_sparse_narrow_and_grouped_matrices_lack_a_formula(name: str) -> None:
    assert lacks_formula(getattr(getattr(aten, name), getattr(aten, name).overloads()[0]))


@pytest.mark.parametrize("name", ["mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn", "quantized_lstm", "_ctc_loss"])
def test_operators_that_do_the_work_of_a_layer_lack_a_formula(name: str) -> None:
    assert lacks_formula(getattr(getattr(aten, name), getattr(aten, name).overloads()[0]))


def test_a_formula_for_dense_matrices_is_not_used_for_sparse_ones() -> None:
    dense = torch.eye(4)
    sparse = dense.to_sparse()
    assert call_flops(lambda: dense.mm(dense)) != {}
    assert call_flops(lambda: sparse.mm(dense)) == {}


# Multiply-and-sum


@pytest.mark.parametrize(
    "forward",
    [
        lambda images, weight: (images[:, None] * weight.t()).sum(-1),
        lambda images, weight: (images[:, :, None] * weight).sum(dim=1),
        lambda images, weight: torch.sum(images[:, :, None] * weight, -2),
        lambda images, weight: (images[:, :, None] * weight).mean(1),
        lambda images, weight: (images[:, :, None] * weight).sum().expand(6, 3),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_matrix_product_as_multiply_and_sum_is_told(forward: Any, training: bool) -> None:
    assert named(forward, training) == ("aten::mul with aten::sum, a matrix product",)


@pytest.mark.parametrize(
    "forward",
    [
        lambda images, weight: images * (images * images).sum(-1, keepdim=True) * weight.sum(),
        lambda images, weight: images * weight[:, 0],
        lambda images, weight: (images * weight[:, 0]).sum(0).expand(6, 4),
        lambda images, weight: (images[:, :, None] * weight[0]).sum(1),
        lambda images, weight: images[:, :1] * weight[0],
    ],
    ids=["norm", "scale of a layer", "sum over samples", "no dimension in common", "outer"],
)
@pytest.mark.parametrize("training", [False, True])
def test_element_wise_products_and_their_sums_are_free(forward: Any, training: bool) -> None:
    assert named(forward, training) == ()
    assert count_flops(Net(forward), (6, 4), training=training) == 0


# Products that have one


@pytest.mark.parametrize(
    ("forward", "flops"),
    [
        (lambda images, weight: torch.einsum("ni,io->no", images, weight), PRODUCT),
        (lambda images, weight: torch.zeros_like(images)[:, :3].addmm_(images, weight), PRODUCT),
        (lambda images, weight: (images.cfloat() @ weight.cfloat()).real, 4 * PRODUCT),
        (lambda images, weight: images @ weight[:, 0], PRODUCT // 3),
        (lambda images, weight: torch.addmv(images[:, 0], images, weight[:, 0]), PRODUCT // 3),
        (lambda images, weight: images[:, 0].clone().addmv_(images, weight[:, 0]), PRODUCT // 3),
        (lambda images, weight: images[0] @ weight[:, 0], PRODUCT // 18),
        (lambda images, weight: torch.vdot(images[0], weight[:, 0]), PRODUCT // 18),
    ],
    ids=["einsum", "in place", "complex", "mv", "addmv", "addmv in place", "dot", "vdot"],
)
def test_products_are_counted_in_whatever_words(forward: Any, flops: int) -> None:
    assert count_flops(Net(forward), (6, 4), training=False) == flops


def test_a_product_within_a_named_block_or_a_checkpoint_is_counted() -> None:
    def forward(images: Tensor, weight: Tensor) -> Tensor:
        with torch.profiler.record_function("a part"):
            return torch.utils.checkpoint.checkpoint(torch.mm, images, weight, use_reentrant=False)

    assert count_flops(Net(forward), (6, 4), training=False) == PRODUCT


# Models that do not run on the meta device


def raise_one_of_its_own(images: Tensor, weight: Tensor) -> Tensor:
    raise KeyError("of the model's own")


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        (raise_one_of_its_own, "KeyError: 'of the model's own'"),
        (lambda images, weight: images.nothing, "AttributeError: 'Tensor' object has no attribute 'nothing'"),
        (lambda images, weight: [images][len(images)], "IndexError: list index out of range"),
        (lambda images, weight: images * (1 / 0), "ZeroDivisionError: division by zero"),
        (lambda images, weight: images * images.sum().item(), "RuntimeError: Tensor.item() cannot be called on meta"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_whatever_a_model_raises_costs_its_count_alone_and_is_told(forward: Any, why: str, training: bool) -> None:
    found = examine_flops(Net(forward), (6, 4), training=training)
    assert found.flops is None
    assert found.reason is not None
    assert why.replace("'", "") in found.reason.replace("'", "").replace('"', "")


# Layers that must not become partial


class Around(nn.Module):
    """A layer, fed with what the images and a parameter give, so that there is something to learn."""

    def __init__(self, layer: nn.Module, *shapes: tuple[int, ...], indices: bool = False) -> None:
        super().__init__()
        self.layer, self.shapes, self.indices = layer, shapes, indices
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        if self.indices:
            given = [images.new_zeros(shape, dtype=torch.long) for shape in self.shapes]
        else:
            given = [images.new_ones(shape) * self.scale for shape in self.shapes]
        made = self.layer(*given)
        return images * (made[0] if isinstance(made, tuple) else made).sum() * self.scale


def layers() -> dict[str, nn.Module]:
    """One of each layer of torch.nn that takes tensors and gives one; losses and containers left out."""
    lines, planes, volumes = (2, 4, 8), (2, 4, 8, 8), (2, 4, 4, 4, 4)
    sized = {1: lines, 2: planes, 3: volumes}
    found: dict[str, nn.Module] = {}
    for dimensions, shape in sized.items():
        for kind in ("Conv", "ConvTranspose"):
            found[f"{kind}{dimensions}d"] = Around(getattr(nn, f"{kind}{dimensions}d")(4, 3, 3), shape)
        for kind in ("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "MaxPool"):
            found[f"{kind}{dimensions}d"] = Around(getattr(nn, f"{kind}{dimensions}d")(2), shape)
        found[f"LPPool{dimensions}d"] = Around(getattr(nn, f"LPPool{dimensions}d")(2, 2), shape)
        for kind in ("BatchNorm", "InstanceNorm"):
            found[f"{kind}{dimensions}d"] = Around(getattr(nn, f"{kind}{dimensions}d")(4), shape)
        for kind in ("ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"):
            more = (0.5,) if kind == "ConstantPad" else ()
            found[f"{kind}{dimensions}d"] = Around(getattr(nn, f"{kind}{dimensions}d")(1, *more), shape)
        found[f"Dropout{dimensions}d"] = Around(getattr(nn, f"Dropout{dimensions}d")(0.5), shape)
    for name in (
        *("CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU"),
        *("LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink"),
        *("Softsign", "Tanh", "Tanhshrink", "Dropout", "AlphaDropout", "FeatureAlphaDropout", "Flatten", "Softmax2d"),
    ):
        found[name] = Around(getattr(nn, name)(), planes)
    for name in ("Softmax", "LogSoftmax", "Softmin"):
        found[name] = Around(getattr(nn, name)(1), planes)
    square = (5, 6)
    return found | {
        "FractionalMaxPool2d": Around(nn.FractionalMaxPool2d(2, output_size=2), planes),
        "Threshold": Around(nn.Threshold(0.5, 0.0), planes),
        "Unflatten": Around(nn.Unflatten(1, (2, 2)), planes),
        "GroupNorm": Around(nn.GroupNorm(2, 4), planes),
        "LayerNorm": Around(nn.LayerNorm(8), planes),
        "RMSNorm": Around(nn.RMSNorm(8), planes),
        "LocalResponseNorm": Around(nn.LocalResponseNorm(2), planes),
        "CrossMapLRN2d": Around(nn.CrossMapLRN2d(2), planes),
        "PixelShuffle": Around(nn.PixelShuffle(2), planes),
        "PixelUnshuffle": Around(nn.PixelUnshuffle(2), planes),
        "ChannelShuffle": Around(nn.ChannelShuffle(2), planes),
        "Fold": Around(nn.Fold((4, 4), 2), (2, 8, 9)),
        "Unfold": Around(nn.Unfold(2), planes),
        "Upsample": Around(nn.Upsample(scale_factor=2, mode="bilinear"), planes),
        "UpsamplingNearest2d": Around(nn.UpsamplingNearest2d(scale_factor=2), planes),
        "UpsamplingBilinear2d": Around(nn.UpsamplingBilinear2d(scale_factor=2), planes),
        "Linear": Around(nn.Linear(6, 3), square),
        "Embedding": Around(nn.Embedding(9, 3), (5, 6), indices=True),
        "EmbeddingBag": Around(nn.EmbeddingBag(9, 3), (5, 6), indices=True),
        "CosineSimilarity": Around(nn.CosineSimilarity(), square, square),
        "PairwiseDistance": Around(nn.PairwiseDistance(), square, square),
        "RNN": Around(nn.RNN(6, 4, 2, bidirectional=True), (3, *square)),
        "LSTM": Around(nn.LSTM(6, 4, 2, batch_first=True, proj_size=2), (3, *square)),
        "GRU": Around(nn.GRU(6, 4), (3, *square)),
        "RNNCell": Around(nn.RNNCell(6, 4), square),
        "LSTMCell": Around(nn.LSTMCell(6, 4), square),
        "GRUCell": Around(nn.GRUCell(6, 4), square),
        "MultiheadAttention": Around(nn.MultiheadAttention(6, 2), *[(3, *square)] * 3),
        "Transformer": Around(nn.Transformer(6, 2, 1, 1, 8), *[(3, *square)] * 2),
        "TransformerEncoderLayer": Around(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), (3, *square)),
        "TransformerEncoder": Around(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2), (3, *square)
        ),
        "TransformerDecoderLayer": Around(nn.TransformerDecoderLayer(6, 2, 8), *[(3, *square)] * 2),
        "TransformerDecoder": Around(
            nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8), 2), *[(3, *square)] * 2
        ),
    }


LAYERS = layers()
WITH_PRODUCTS = ("Conv", "Linear", "RNN", "LSTM", "GRU", "MultiheadAttention", "Transformer")


def test_the_layers_above_are_all_that_pytorch_has() -> None:
    others = {
        *("Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"),
        *("DataParallel", "SyncBatchNorm"),  # for more than one device
        *("RNNBase", "RNNCellBase"),
        *("AdaptiveLogSoftmaxWithLoss", "NLLLoss2d"),  # losses, by another name than those below
        *("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"),  # they take what a pooling gives
        "FractionalMaxPool3d",  # does not run on the meta device
        "Bilinear",  # has no formula
    }
    there = {
        name
        for name, kind in vars(nn).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module)
        if not name.startswith("Lazy") and not name.endswith("Loss")
    }
    assert there - others <= set(LAYERS)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_pytorch_is_counted_whole(name: str, training: bool) -> None:
    found = examine_flops(LAYERS[name], (2, 10), training=training)
    assert found.reason is None
    assert found.flops is not None
    assert (found.flops > 0) == name.startswith(WITH_PRODUCTS)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [name for name in MODELS if "152" not in name])  # of the blocks of a ResNet-50
def test_a_model_of_this_suite_is_counted_whole(name: str, training: bool) -> None:
    spec = MODELS[name]
    with torch.device("meta"):
        model = spec.build()
    assert examine_flops(model, (2, *spec.input_shape), training=training).reason is None


def test_a_recurrent_layer_takes_the_products_of_its_gates() -> None:
    forward = 2 * 3 * 5 * (6 + 4) * 4 * 4  # steps, samples, inputs and state, four gates of the state
    assert count_flops(Around(nn.LSTM(6, 4), (3, 5, 6)), (2, 10), training=False) == forward
