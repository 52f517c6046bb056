"""What is trained: MODELS names each network with its input, its classes and its size; and the n-gram model.

Torch is imported when a network is asked for, not before: counting n-grams needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.registry import MODELS

__all__ = ["MODELS"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from models import registry

    return getattr(registry, name)
