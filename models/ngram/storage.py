"""A model on the disk: a folder of NumPy arrays, mapped when they are read, and a header in JSON.

Format 2. ``model.json`` holds ``format``, ``order``, ``tokens`` (null in a model without counts),
``smoothing``, ``alpha``, ``discounts`` (a list of three numbers for each order, or null), ``options``
(what was done to the text), ``arrays``: name -> type and shape of each file, ``checksums``: name ->
SHA-256 of each file, and ``checksum``, the SHA-256 of all that in JSON with sorted keys and no space.
``vocabulary.text`` and ``vocabulary.ends`` are the arrays of a Vocabulary; ``K.words``, ``K.counts`` and
``K.starts`` those of the level of order K; with Kneser-Ney smoothing, or of an ARPA file,
``K.log_probabilities`` and ``K.log_backoffs`` those of its estimate. Each lies in a file of its own,
``NAME.npy``, in NumPy's format 1.0 (little-endian), so other programs can read it. Nothing is pickled:
reading a model runs no code of it. Format 1 is the same without both kinds of checksums; it is read too.

This is the door. At every opening the header is held against its checksum, and types, shapes and sizes
of all files, and the ends of what leads into them, against the header. What the files hold is looked at
in full, and held against their checksums, unless these very files were found sound before.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.ngram import checked_before
from models.ngram.kneser_ney import Estimate
from models.ngram.language_model import NgramModel
from models.ngram.levels import MAX_ORDER, Counts, Level
from models.ngram.pool import Pool
from models.ngram.search import ABSENT
from models.ngram.soundness import first_fault
from models.ngram.stored_arrays import ModelFileError, open_array, store_array
from models.ngram.text import TextOptions
from models.ngram.vocabulary import SPECIAL, Vocabulary

__all__ = ["FORMAT", "HEADER", "ModelFileError", "check_replaceable", "load", "save"]

FORMAT = 2
FORMATS = (1, FORMAT)
HEADER = "model.json"
HEADER_BYTES = 1 << 20  # more than any has
SHOWN, TOLD = 40, 200  # characters of a name, and of another's message, in a message
ESTIMATED = ("kneser-ney", "arpa")  # smoothings whose models have estimates

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)]
Discounts = tuple[  # what is taken off counts of 1, of 2, and of 3 and more
    Annotated[float, msgspec.Meta(gt=0, le=1)],
    Annotated[float, msgspec.Meta(gt=0, le=2)],
    Annotated[float, msgspec.Meta(gt=0, le=3)],
]


@dataclass(frozen=True)
class Header:
    """What ``model.json`` says beside its format; the annotations are what is asked of it."""

    order: Annotated[int, msgspec.Meta(ge=1, le=MAX_ORDER)]
    tokens: Size | None
    smoothing: Literal["mle", "additive", "kneser-ney", "arpa"]
    alpha: Positive
    discounts: list[Discounts] | None
    options: TextOptions
    arrays: dict[str, tuple[str, tuple[Size]]]
    checksums: dict[str, str] | None = None
    checksum: str | None = None


def save(model: NgramModel, path: Path | str, threads: int = 1) -> None:
    """Writes a model into a folder, which is there whole or not at all; a model that it held is replaced.

    Args:
        model: Any.
        path: Of the folder.
        threads: Cores to use.

    Raises:
        ModelFileError: The path is there and is no model.
        OSError: It cannot be written.
    """
    path = Path(path)
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = _arrays(model)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        with Pool.of(threads) as pool:
            checksums = pool.each(lambda name: store_array(new / f"{name}.npy", arrays[name]), arrays)
        header = _described(model, arrays) | {"checksums": dict(zip(arrays, checksums, strict=True))}
        header["checksum"] = _digest(header)
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
    """The model in a folder. Its arrays are mapped: but for the first opening, what is not asked for is not read.

    Raises:
        ModelFileError: There is none, it is damaged, or of a newer format.
        OSError: It cannot be read.
    """
    path = Path(path)
    header, digest = _read_header(path / HEADER)
    stored = {
        name: open_array(path / f"{name}.npy", kind, header.arrays[name][1][0])
        for name, kind in _kinds(header.order, header.smoothing).items()
    }
    model = _model(header, {name: one.array for name, one in stored.items()})
    if not _sizes_fit(model):
        raise ModelFileError(f"{path} is damaged: its arrays do not fit each other.")
    states = [one.state for one in stored.values()]
    marked = checked_before.mark(digest, states)
    if not checked_before.was_checked(marked):
        if fault := first_fault(model):
            raise ModelFileError(f"{path} is damaged: {fault}.")
        for name, checksum in (header.checksums or {}).items():
            if hashlib.sha256(stored[name].file.data).hexdigest() != checksum:
                raise ModelFileError(f"{path / name}.npy is damaged: it is not what was written, by its checksum.")
        checked_before.remember(marked, states)
    return model


def _described(model: NgramModel, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The header without checksums."""
    return {
        "format": FORMAT,
        "order": model.order,
        "tokens": model.counts.tokens,
        "smoothing": model.smoothing,
        "alpha": model.alpha,
        "discounts": None if model.discounts is None else model.discounts.tolist(),
        "options": asdict(model.options),
        "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()},
    }


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


def _kinds(order: int, smoothing: str) -> dict[str, str]:
    """Name -> type of each array that such a model has."""
    kinds = {"vocabulary.text": "|u1", "vocabulary.ends": "<i8"}
    for level in range(1, order + 1):
        kinds |= {f"{level}.words": "<u4", f"{level}.counts": "<u4", f"{level}.starts": "<i8"}
        if smoothing in ESTIMATED:
            kinds |= {f"{level}.log_probabilities": "<f4", f"{level}.log_backoffs": "<f4"}
    return kinds


def _read_header(file: Path) -> tuple[Header, str]:
    """What a header says, and its digest."""
    if not file.is_file():
        raise ModelFileError(f"{file.parent} holds no model: there is no {HEADER} in it.")
    if file.stat().st_size > HEADER_BYTES:
        raise ModelFileError(f"{file} is damaged: it has more than {HEADER_BYTES:,} bytes.")
    try:
        document = msgspec.json.decode(file.read_bytes())
        number = document.get("format") if isinstance(document, dict) else None
        if type(number) is not int or number not in FORMATS:
            told = ascii(number)[:SHOWN]
            raise ModelFileError(f"{file} is of format {told}; this version reads formats {FORMATS[0]} and {FORMAT}.")
        header = msgspec.convert(document, Header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # no JSON, or not of these parts
        raise ModelFileError(f"{file} does not describe a model: {_printable(str(error))}.") from error
    except RecursionError as error:
        raise ModelFileError(f"{file} does not describe a model: it is nested too deep.") from error
    digest = _digest(document)
    if document["options"].keys() != asdict(header.options).keys():  # one that is not there would be its default
        raise ModelFileError(
            f"{file} does not describe a model: its options are not {', '.join(asdict(TextOptions()))}."
        )
    if fault := _fault(header, digest if number == FORMAT else None):
        raise ModelFileError(f"{file} does not describe a model: {fault}.")
    return header, digest


def _printable(told: str) -> str:
    """A message that may quote the file, without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in told[:TOLD])


def _digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of what a header says but for its own checksum, however it is laid out."""
    said = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _fault(header: Header, digest: str | None) -> str | None:
    """What is wrong with a header, whose parts each are of the right type; the digest is None in format 1."""
    kinds = _kinds(header.order, header.smoothing)
    other = [name for name in {*kinds, *header.arrays} if header.arrays.get(name, ("",))[0] != kinds.get(name)]
    if other:
        return f"an array {ascii(min(other))[:SHOWN]} is missing, or of another type than a model has"
    if (header.tokens is None) != (header.smoothing == "arpa"):
        return f"tokens cannot be {header.tokens} with {header.smoothing} smoothing"
    of_orders = None if header.discounts is None else len(header.discounts)
    if of_orders != (header.order if header.smoothing == "kneser-ney" else None):
        return f"there are discounts of {of_orders} orders, with {header.smoothing} smoothing of order {header.order}"
    if digest is not None and (header.checksums is None or header.checksums.keys() != kinds.keys()):
        return "it lacks checksums"
    if digest is not None and header.checksum != digest:
        return "it is not what was written, by its checksum"
    return None


def _model(header: Header, arrays: Mapping[str, NDArray[Any]]) -> NgramModel:
    orders = range(1, header.order + 1)
    levels = [Level(*(arrays[f"{order}.{part}"] for part in ("words", "counts", "starts"))) for order in orders]
    estimates: tuple[Estimate, ...] = ()
    if header.smoothing in ESTIMATED:
        parts = ("log_probabilities", "log_backoffs")
        estimates = tuple(Estimate(*(arrays[f"{order}.{part}"] for part in parts)) for order in orders)
    return NgramModel(
        vocabulary=Vocabulary(arrays["vocabulary.text"], arrays["vocabulary.ends"]),
        counts=Counts(tuple(levels), header.tokens),
        smoothing=header.smoothing,
        alpha=header.alpha,
        estimates=estimates,
        discounts=None if header.discounts is None else np.array(header.discounts, np.float64),
        options=header.options,
    )


def _sizes_fit(model: NgramModel) -> bool:
    """Whether the arrays are as long as they must be, and lead to each other's ends."""
    levels, words = model.counts.levels, model.vocabulary
    fits: Any = len(SPECIAL) <= len(words) == len(levels[0]) and int(words.ends[-1]) == len(words.text)
    for parents, level in zip((1, *map(len, levels)), levels, strict=False):
        fits = fits and len(level.starts) == parents + 1 and len(level) < int(ABSENT)
        fits = fits and int(level.starts[0]) == 0 and int(level.starts[-1]) == len(level)
        fits = fits and len(level.counts) == (0 if model.counts.tokens is None else len(level))
    for level, estimate in zip(levels, model.estimates, strict=False):
        fits = fits and len(level) == len(estimate.log_probabilities) == len(estimate.log_backoffs)
    return bool(fits)
