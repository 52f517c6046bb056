"""The networks: MODELS names each model with its input, its classes and its size."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from torch import nn
from torchvision.models import resnet18, resnet50, resnet152

from models.cnn import cnn
from models.mlp import ResidualMLP, mlp
from models.resnet import ResNet20, with_cifar_stem

__all__ = ["MODELS", "ModelSpec", "UnknownModel", "load"]

GREY_28 = (1, 28, 28)  # MNIST
COLOUR_32 = (3, 32, 32)  # CIFAR
COLOUR_224 = (3, 224, 224)  # ImageNet's usual crop
HE = "He et al. 2015, arXiv 1512.03385"


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be measured.

    Attributes:
        build: Gives a new model with random weights on the CPU.
        input_shape: Of one sample: channels, height, width.
        classes: Logits that it gives for a sample.
        parameters: Trainable parameters, exactly; None where nobody has counted them.
        source: The lecture or the paper it is from.
        family: Models of one family share what torch.compile makes of them.
    """

    build: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int | None
    source: str
    family: str


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


class UnknownModel(ValueError):
    """No model has the name asked for."""


def load(name: str) -> ModelSpec:
    """The entry of MODELS with that name, or the model of your own behind ``package.module:factory``.

    A factory is a ModelSpec, or a callable that gives an ``nn.Module``. Of a callable the
    attributes ``input_shape`` and ``classes`` count where it has them; else it is taken to read
    28x28 grey images and to tell ten classes apart.

    Raises:
        UnknownModel: No entry has that name, or its module or attribute is not there.
    """
    if name in MODELS:
        return MODELS[name]
    module_name, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise UnknownModel(
            f'No model named "{name}". Name one of {", ".join(MODELS)}; or your own as package.module:factory.'
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnknownModel(f'Importing the model "{name}" found no module named "{error.name}".') from error
    try:
        factory = attrgetter(attribute)(module)
    except AttributeError as error:
        raise UnknownModel(f'The model "{name}" is not there: {error}.') from error
    if isinstance(factory, ModelSpec):
        return factory
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UnknownModel(f'"{name}" is {type(factory).__name__}, not a ModelSpec or a callable that builds a model.')
    return ModelSpec(
        build=factory,
        input_shape=getattr(factory, "input_shape", GREY_28),
        classes=getattr(factory, "classes", 10),
        parameters=None,
        source=name,
        family=name,
    )
