"""The models have the lecture's and the papers' layers, shapes and sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import MODELS
from models.cnn import cnn
from models.mlp import ResidualMLP, mlp
from models.resnet import Block, ResNet20
from trainmark.model import ModelSpec


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def counts_of_layers(model: nn.Module) -> list[int]:
    """Parameters of each layer that has any, in the order of the forward pass."""
    leaves = (module for module in model.modules() if not list(module.children()))
    return [count(leaf) for leaf in leaves if count(leaf)]


def on_meta(spec: ModelSpec) -> nn.Module:
    """The model without memory behind its weights: built in no time, whatever its size."""
    with torch.device("meta"):
        return spec.build()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_exactly_the_parameters_it_declares(name: str) -> None:
    assert count(on_meta(MODELS[name])) == MODELS[name].parameters


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_one_logit_a_class_for_each_sample(name: str) -> None:
    spec = MODELS[name]
    logits = on_meta(spec)(torch.empty(2, *spec.input_shape, device="meta"))
    assert logits.shape == (2, spec.classes)


@pytest.mark.parametrize("name", ["mlp", "mlp-residual", "cnn", "resnet20"])
def test_every_parameter_of_a_small_model_gets_a_finite_gradient(name: str) -> None:
    spec = MODELS[name]
    model = spec.build()
    loss = nn.functional.cross_entropy(model(torch.randn(4, *spec.input_shape)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


def test_two_builds_share_no_weights() -> None:
    for name in ("mlp", "mlp-residual", "cnn", "resnet20"):
        first, second = MODELS[name].build(), MODELS[name].build()
        assert not {p.data_ptr() for p in first.parameters()} & {p.data_ptr() for p in second.parameters()}


@pytest.mark.parametrize("build", [mlp, ResidualMLP])
def test_the_layers_of_both_mlps_have_the_lectures_sizes(build: type[nn.Module]) -> None:
    assert counts_of_layers(build()) == [200_960, 512, 65_792, 512, 2_570]


def test_the_blocks_of_the_mlp_are_linear_relu_layernorm_dropout_in_this_order() -> None:
    layers = [module for module in mlp().modules() if not list(module.children())]
    block = [nn.Linear, nn.ReLU, nn.LayerNorm, nn.Dropout]
    assert [type(layer) for layer in layers] == [nn.Flatten, *block, *block, nn.Linear]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.1, 0.1]


def test_the_layers_of_the_cnn_have_the_lectures_sizes() -> None:
    assert counts_of_layers(cnn()) == [896, 18_496, 1_048_832, 2_570]


def test_the_cnn_has_the_lectures_shapes_on_the_way() -> None:
    shapes = []
    model = cnn()
    for layer in model:
        layer.register_forward_hook(lambda layer, _, output: shapes.append((type(layer), tuple(output.shape))))
    model(torch.zeros(5, 3, 32, 32))
    assert shapes == [
        (nn.Conv2d, (5, 32, 32, 32)),
        (nn.ReLU, (5, 32, 32, 32)),
        (nn.MaxPool2d, (5, 32, 16, 16)),
        (nn.Conv2d, (5, 64, 16, 16)),
        (nn.ReLU, (5, 64, 16, 16)),
        (nn.MaxPool2d, (5, 64, 8, 8)),
        (nn.Flatten, (5, 4096)),
        (nn.Linear, (5, 256)),
        (nn.ReLU, (5, 256)),
        (nn.Dropout, (5, 256)),
        (nn.Linear, (5, 10)),
    ]


def test_the_cnn_drops_three_in_ten() -> None:
    assert [layer.p for layer in cnn() if isinstance(layer, nn.Dropout)] == [0.3]


@pytest.mark.parametrize(
    ("name", "published"), [("resnet18", 11_689_512), ("resnet50", 25_557_032), ("resnet152", 60_192_808)]
)
def test_torchvisions_resnets_have_their_published_sizes(name: str, published: int) -> None:
    assert count(on_meta(MODELS[name])) == published


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet152"])
def test_a_cifar_stem_changes_the_first_convolution_and_the_classes_only(name: str) -> None:
    stock, small = on_meta(MODELS[name]), on_meta(MODELS[f"{name}-cifar"])
    of_stock = {key: tuple(value.shape) for key, value in stock.state_dict().items()}
    of_small = {key: tuple(value.shape) for key, value in small.state_dict().items()}
    changed = {key for key, shape in of_stock.items() if of_small.pop(key) != shape}
    assert changed == {"conv1.weight", "fc.weight", "fc.bias"}
    assert not of_small


def test_a_cifar_stem_keeps_all_32_pixels_for_the_first_stage() -> None:
    seen: list[tuple[int, ...]] = []
    model = on_meta(MODELS["resnet18-cifar"])
    model.get_submodule("layer1").register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    model(torch.empty(2, 3, 32, 32, device="meta"))
    assert seen == [(2, 64, 32, 32)]


def test_resnet20_has_the_papers_stages() -> None:
    def conv(inputs: int, outputs: int) -> int:
        return 3 * 3 * inputs * outputs + 2 * outputs  # its weights, then scale and shift of its BatchNorm

    model = ResNet20()
    assert count(model.stem) == conv(3, 16) == 464
    assert count(model.stage1) == 6 * conv(16, 16) == 14_016
    assert count(model.stage2) == conv(16, 32) + 5 * conv(32, 32) == 51_072
    assert count(model.stage3) == conv(32, 64) + 5 * conv(64, 64) == 203_520
    assert count(model.head) == 64 * 10 + 10
    weighted = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 20


def test_resnet20_halves_the_image_and_doubles_the_channels_twice() -> None:
    shapes = []
    model = ResNet20()
    for stage in (model.stem, model.stage1, model.stage2, model.stage3):
        stage.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
    model(torch.zeros(2, 3, 32, 32))
    assert shapes == [(2, 16, 32, 32), (2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]


def test_the_shortcut_of_option_a_skips_pixels_and_adds_channels_of_zeros() -> None:
    images = torch.randn(2, 16, 8, 8)
    passed = Block(16, 32, stride=2).shortcut(images)
    assert passed.shape == (2, 32, 4, 4)
    assert torch.equal(passed[:, :16], images[:, :, ::2, ::2])
    assert not passed[:, 16:].any()


def test_the_shortcut_of_a_block_that_changes_no_shape_is_the_identity() -> None:
    images = torch.randn(2, 16, 8, 8)
    assert torch.equal(Block(16, 16).shortcut(images), images)


def test_a_block_without_residual_is_its_shortcut() -> None:
    block = Block(16, 16)
    for parameter in block.residual.parameters():
        nn.init.zeros_(parameter)
    images = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(images), images.relu())


def test_the_residual_mlp_adds_what_went_into_its_second_block() -> None:
    model = ResidualMLP().eval()
    images = torch.randn(3, 1, 28, 28)
    hidden = model.block1(images.flatten(1))
    assert torch.equal(model(images), model.head(model.block2(hidden) + hidden))


def test_the_residual_mlp_without_its_second_block_passes_the_first_on() -> None:
    model = ResidualMLP().eval()
    norm = model.block2[2]
    assert isinstance(norm, nn.LayerNorm)
    nn.init.zeros_(norm.weight)  # block2 gives 0 then
    images = torch.randn(3, 1, 28, 28)
    assert torch.equal(model(images), model.head(model.block1(images.flatten(1))))


def test_layernorm_is_the_same_in_training_and_in_evaluation() -> None:
    """The lecture says that it uses running statistics in eval mode: it has none."""
    norm = next(module for module in mlp().modules() if isinstance(module, nn.LayerNorm))
    assert not list(norm.buffers())
    features = torch.randn(8, 256) * 3 + 1
    assert torch.equal(norm.train()(features), norm.eval()(features))


def test_batchnorm_of_a_resnet_differs_between_training_and_evaluation() -> None:
    norm = ResNet20().stem[1]
    features = torch.randn(8, 16, 4, 4) * 3 + 1
    assert not torch.allclose(norm.train()(features), norm.eval()(features))


@pytest.mark.parametrize("name", ["mlp", "mlp-residual", "cnn"])
def test_dropout_makes_training_random_and_evaluation_repeatable(name: str) -> None:
    spec = MODELS[name]
    model = spec.build()
    images = torch.randn(4, *spec.input_shape)
    torch.manual_seed(0)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet18-cifar"])
def test_the_resnets_have_no_dropout(name: str) -> None:
    assert not [module for module in on_meta(MODELS[name]).modules() if isinstance(module, nn.Dropout)]
