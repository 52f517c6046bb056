"""n-gram language models: counted exactly, smoothed, scored.

Each name is imported when it is asked for: a command that fits needs little of what one that reads a model needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.ngram.arpa import ArpaError, read_arpa, write_arpa
    from models.ngram.fitting import SettingsError, fit
    from models.ngram.language_model import NgramModel
    from models.ngram.levels import Counts, Level
    from models.ngram.sampling import sample
    from models.ngram.storage import ModelFileError, load, save
    from models.ngram.text import CorpusError, TextOptions
    from models.ngram.vocabulary import Vocabulary

__all__ = [
    "ArpaError",
    "CorpusError",
    "Counts",
    "Level",
    "ModelFileError",
    "NgramModel",
    "SettingsError",
    "TextOptions",
    "Vocabulary",
    "fit",
    "load",
    "read_arpa",
    "sample",
    "save",
    "write_arpa",
]
HOMES = {
    "arpa": ("ArpaError", "read_arpa", "write_arpa"),
    "fitting": ("SettingsError", "fit"),
    "language_model": ("NgramModel",),
    "levels": ("Counts", "Level"),
    "sampling": ("sample",),
    "storage": ("ModelFileError", "load", "save"),
    "text": ("CorpusError", "TextOptions"),
    "vocabulary": ("Vocabulary",),
}


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            found = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
