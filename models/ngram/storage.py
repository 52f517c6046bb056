"""A model on the disk: a folder of NumPy arrays, mapped when they are read, and a header in JSON.

Format 1. ``model.json`` holds ``format``, ``order``, ``tokens`` (null in a model without counts),
``smoothing``, ``alpha``, ``discounts`` (a list of three numbers for each order, or null), ``options``
(what was done to the text) and ``arrays``: name -> type and shape of each file. ``vocabulary.text`` and
``vocabulary.ends`` are the arrays of a Vocabulary; ``K.words``, ``K.counts`` and ``K.starts`` those of
the level of order K; with Kneser-Ney smoothing, or of an ARPA file, ``K.log_probabilities`` and
``K.log_backoffs`` those of its estimate. Each lies in
a file of its own, ``NAME.npy``, in NumPy's format 1.0 (little-endian), so other programs can read it.
Nothing is pickled: reading a model runs no code of it.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ngram.kneser_ney import Estimate
from models.ngram.language_model import NgramModel
from models.ngram.levels import MAX_ORDER, Counts, Level
from models.ngram.text import TextOptions
from models.ngram.vocabulary import Vocabulary

FORMAT = 1
HEADER = "model.json"


class ModelFileError(ValueError):
    """A folder holds no model that this version reads; the message says which and why."""


def save(model: NgramModel, path: Path | str) -> None:
    """Writes a model into a folder, which is there whole or not at all; a model that it held is replaced.

    Raises:
        ModelFileError: The path is there and is no model.
        OSError: It cannot be written.
    """
    path = Path(path)
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = _arrays(model)
    header = {
        "format": FORMAT,
        "order": model.order,
        "tokens": model.counts.tokens,
        "smoothing": model.smoothing,
        "alpha": model.alpha,
        "discounts": None if model.discounts is None else model.discounts.tolist(),
        "options": asdict(model.options),
        "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()},
    }
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        for name, array in arrays.items():
            np.save(new / f"{name}.npy", array, allow_pickle=False)
        (new / HEADER).write_text(json.dumps(header, indent=1), encoding="utf-8")
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except BaseException:  # Ctrl-C too: a model that was there stays there
            if old.exists():
                old.rename(path)
            raise


def check_replaceable(path: Path) -> None:
    """Refuses with a ModelFileError to save a model over anything but a model."""
    if path.exists() and not (path / HEADER).is_file():
        raise ModelFileError(f"{path} is there and holds no model: name another folder.")


def load(path: Path | str) -> NgramModel:
    """The model in a folder. Its arrays are mapped: what is not asked for is not read.

    Raises:
        ModelFileError: There is none, it is damaged, or of a newer format.
    """
    path = Path(path)
    header = _header(path)
    try:
        arrays = {name: _array(path, name, *described) for name, described in header["arrays"].items()}
        orders = range(1, int(header["order"]) + 1)
        levels = [Level(*(arrays[f"{order}.{part}"] for part in ("words", "counts", "starts"))) for order in orders]
        estimates: tuple[Estimate, ...] = ()
        if header["smoothing"] in {"kneser-ney", "arpa"}:
            parts = ("log_probabilities", "log_backoffs")
            estimates = tuple(Estimate(*(arrays[f"{order}.{part}"] for part in parts)) for order in orders)
        model = NgramModel(
            vocabulary=Vocabulary(arrays["vocabulary.text"], arrays["vocabulary.ends"]),
            counts=Counts(tuple(levels), header["tokens"]),
            smoothing=header["smoothing"],
            alpha=header["alpha"],
            estimates=estimates,
            discounts=None if header["discounts"] is None else np.array(header["discounts"]),
            options=TextOptions(**header["options"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path / HEADER} does not describe a model: {error!r}.") from error
    _check(model, path)
    return model


def _arrays(model: NgramModel) -> dict[str, NDArray[Any]]:
    """Name -> array."""
    arrays: dict[str, NDArray[Any]] = {
        "vocabulary.text": model.vocabulary.text,
        "vocabulary.ends": model.vocabulary.ends,
    }
    for order, level in enumerate(model.counts.levels, start=1):
        arrays |= {f"{order}.words": level.words, f"{order}.counts": level.counts, f"{order}.starts": level.starts}
    for order, estimate in enumerate(model.estimates, start=1):
        arrays[f"{order}.log_probabilities"] = estimate.log_probabilities
        arrays[f"{order}.log_backoffs"] = estimate.log_backoffs
    return arrays


def _header(path: Path) -> dict[str, Any]:
    file = path / HEADER
    if not file.is_file():
        raise ModelFileError(f"{path} holds no model: there is no {HEADER} in it.")
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ModelFileError(f"{file} is damaged: {error}.") from error
    number = header.get("format") if isinstance(header, dict) else None
    if number != FORMAT:
        raise ModelFileError(f"{file} is of format {number!r}; this version reads format {FORMAT}.")
    return dict(header)


def _array(path: Path, name: str, kind: str, shape: list[int]) -> NDArray[Any]:
    file = path / f"{name}.npy"
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r" if 0 not in shape else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelFileError(f"{file} is missing or damaged: {error}.") from error
    if array.dtype.str != kind or list(array.shape) != shape:
        raise ModelFileError(f"{file} holds {array.dtype.str} {list(array.shape)}; its header says {kind} {shape}.")
    return array


def _check(model: NgramModel, path: Path) -> None:
    """Refuses levels that do not fit each other: a search in them would leave the arrays."""
    levels, size = model.counts.levels, len(model.vocabulary)
    fits = 1 <= len(levels) <= MAX_ORDER and len(levels[0]) == size
    for below, level in zip((None, *levels), levels, strict=False):
        parents = 1 if below is None else len(below)
        fits = fits and len(level.starts) == parents + 1 and int(level.starts[-1]) == len(level)
        fits = fits and len(level.counts) == (0 if model.counts.tokens is None else len(level))
        fits = fits and bool(np.all(level.starts[:-1] <= level.starts[1:])) and int(level.starts[0]) == 0
    for level, estimate in zip(levels, model.estimates, strict=False):
        fits = fits and len(level) == len(estimate.log_probabilities) == len(estimate.log_backoffs)
    if not fits:
        raise ModelFileError(f"{path} is damaged: its arrays do not fit each other.")
