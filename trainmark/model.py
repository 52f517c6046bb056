"""A model that can be measured: how it is built, what it takes, and where one is found by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainmark import suite
from trainmark.named import UnknownObject, UnreadableName, find, layers, read_name, refuse_wrong_arguments

if TYPE_CHECKING:
    from torch import nn

GREY_28 = (1, 28, 28)  # what a factory that says nothing is taken to read: the lecture's digits
CLASSES = 10


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


class UnknownModel(ValueError):
    """No model has the name asked for."""


def load_model(name: str) -> ModelSpec:
    """The suite's model of that name, or the one behind a name of the user's own: see :mod:`trainmark.named`.

    A factory is whatever gives a new ``nn.Module`` when it is called without arguments: a function, a class of
    modules, a partial, an instance that can be called, or one of these with its arguments in the name; or it is a
    ModelSpec. A module that is built already is none: wrap it in a function that builds it.

    The attributes ``input_shape`` and ``classes`` of a factory count where it has them, those of a partial's
    function too; else it is taken to read 28x28 grey images and to tell ten classes apart.

    Raises:
        UnknownModel: No entry has that name; or its module, its file or its attribute is not there, or gives no model.
    """
    registered = suite.current().models_by_name()
    if name in registered:
        found: ModelSpec = registered[name]
        return found
    try:
        return _behind(name)
    except UnreadableName as error:
        raise UnknownModel(f'The model "{name}" cannot be read: {error}.') from error
    except UnknownObject as error:
        raise UnknownModel(str(error)) from error.__cause__


def _behind(text: str) -> ModelSpec:
    name = read_name(text)
    if name is None:
        registered = suite.current().models_by_name()
        listed = f"Name one of {', '.join(registered)}; or your own as" if registered else "Name it as"
        raise UnknownModel(f'No model named "{text}". {listed} package.module:factory or path/to/file.py:factory.')
    from torch import nn

    factory = find(name, "model")
    if isinstance(factory, ModelSpec):
        return factory
    if isinstance(layers(factory)[-1], nn.Module) or not callable(factory):
        raise UnknownModel(
            f'"{name}" is {type(layers(factory)[-1]).__name__}, not a ModelSpec or a callable that builds a model: '
            "wrap it in a function."
        )
    refuse_wrong_arguments(factory, name, "model")
    return ModelSpec(
        build=factory,
        input_shape=_declared(factory, "input_shape", GREY_28),
        classes=_declared(factory, "classes", CLASSES),
        parameters=None,
        source=str(name),
        family=str(name),
    )


def _declared(factory: Callable[..., nn.Module], attribute: str, default: Any) -> Any:
    """What a factory says of itself; what a partial's function says where the partial does not."""
    declaring = [one for one in layers(factory) if hasattr(one, attribute)]
    return getattr(declaring[0], attribute) if declaring else default
