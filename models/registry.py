"""The networks: MODELS names each model with its input, its classes and its size."""

from __future__ import annotations

from functools import partial

from torchvision.models import resnet18, resnet50, resnet152

from models.cnn import cnn
from models.mlp import ResidualMLP, mlp
from models.resnet import ResNet20, with_cifar_stem
from trainmark.model import ModelSpec

GREY_28 = (1, 28, 28)  # MNIST
COLOUR_32 = (3, 32, 32)  # CIFAR
COLOUR_224 = (3, 224, 224)  # ImageNet's usual crop
HE = "He et al. 2015, arXiv 1512.03385"


MODELS: dict[str, ModelSpec] = {
    "mlp": ModelSpec(mlp, GREY_28, 10, 270_346, "lecture", "mlp"),
    "mlp-residual": ModelSpec(ResidualMLP, GREY_28, 10, 270_346, "lecture", "mlp"),
    "cnn": ModelSpec(cnn, COLOUR_32, 10, 1_070_794, "lecture", "cnn"),
    "resnet20": ModelSpec(ResNet20, COLOUR_32, 10, 269_722, HE, "resnet"),
    "resnet18": ModelSpec(resnet18, COLOUR_224, 1000, 11_689_512, HE, "resnet"),
    "resnet50": ModelSpec(resnet50, COLOUR_224, 1000, 25_557_032, HE, "resnet"),
    "resnet152": ModelSpec(resnet152, COLOUR_224, 1000, 60_192_808, HE, "resnet"),
    "resnet18-cifar": ModelSpec(partial(with_cifar_stem, resnet18), COLOUR_32, 10, 11_173_962, HE, "resnet"),
    "resnet50-cifar": ModelSpec(partial(with_cifar_stem, resnet50), COLOUR_32, 10, 23_520_842, HE, "resnet"),
    "resnet152-cifar": ModelSpec(partial(with_cifar_stem, resnet152), COLOUR_32, 10, 58_156_618, HE, "resnet"),
}
