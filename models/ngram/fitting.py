"""From a text to a model: read, encode, cut off, count, smooth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ngram import counting, spilling
from models.ngram.counting_progress import Progress
from models.ngram.encoding import Encoder
from models.ngram.kneser_ney import estimate
from models.ngram.language_model import SMOOTHINGS, NgramModel
from models.ngram.levels import MAX_ORDER, UNKNOWN, Counts
from models.ngram.padded import Padded
from models.ngram.part_encoding import encode_parts, has_word
from models.ngram.stretches import parted
from models.ngram.text import CorpusError, Source, TextOptions, listed, read_views, without_word
from models.ngram.vocabulary import SPECIAL, Vocabulary

ENGINES = ("numba", "torch", "python")
PLAIN = TextOptions()
FIRST_TOKENS = 1 << 24  # there is room for; of what is not needed the system gives no more than an address


class SettingsError(ValueError):
    """No model is fitted with such settings."""


def fit(
    sources: Source | Iterable[Source],
    order: int = 3,
    *,
    smoothing: str = "mle",
    alpha: float = 1.0,
    engine: str = "numba",
    device: str = "cpu",
    threads: int = 1,
    options: TextOptions = PLAIN,
    min_count: int = 1,
    max_vocabulary: int | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> NgramModel:
    """Fits a model to a text.

    Args:
        sources: What to read; see :func:`models.ngram.text.read_chunks`.
        order: n, 1 to 6; Kneser-Ney smoothing begins at 2.
        smoothing: ``mle``, ``additive`` or ``kneser-ney``; see :class:`NgramModel`.
        alpha: Of additive smoothing, more than 0.
        engine: ``numba``, ``torch`` or ``python``: how n-grams are counted. The table is the same.
        device: Where ``torch`` counts: ``cpu`` or ``cuda``.
        threads: Cores to use; of ``numba``.
        options: What is done to the text.
        min_count: Words that occur less often become ``<unk>``.
        max_vocabulary: Only so many words are kept, the most frequent; of equally frequent ones the earlier.
        memory: Bytes that this process may take while it counts; what has no room lies on the disk. Of
            ``numba``, and not for Kneser-Ney smoothing. None for as many as it takes.
        progress: Told how far it is.

    Raises:
        CorpusError: The sources hold no text.
        MemoryTooSmall: The memory allowed does not do.
        SettingsError: An argument is out of its range, or not for the others.
    """
    _check(order, smoothing, alpha, engine, device, threads, min_count, max_vocabulary, memory)
    seconds: dict[str, float] = {}
    with _scratch(memory is not None) as folder:
        with _timed(seconds, "encode"):
            ids: NDArray[np.int32] | spilling.SpilledIds
            if memory:
                encoder = Encoder()
                pieces = _encoded(encoder, read_views(sources, options), progress)
                ids = spilling.SpilledIds.of(pieces, folder / "ids")
                vocabulary = encoder.vocabulary
            else:
                ids, vocabulary = _encode(listed(sources), options, threads, progress)
            ids, vocabulary = _cut_off(ids, vocabulary, min_count, max_vocabulary)
        with _timed(seconds, "count"):
            if isinstance(ids, spilling.SpilledIds):
                assert memory is not None  # it is why they are spilled
                counts = spilling.count(ids, len(vocabulary), order, memory, folder, threads, progress)
            else:
                counts = count(ids, len(vocabulary), order, engine, device, threads, progress)
    model = NgramModel(vocabulary, counts, smoothing, alpha, options=options, seconds=seconds)
    if smoothing == "kneser-ney":
        if progress:
            progress("estimating", 0, 0)
        with _timed(seconds, "estimate"):
            estimates, discounts = estimate(counts, threads)
        model = replace(model, estimates=estimates, discounts=discounts)
    return model


def _check(
    order: int,
    smoothing: str,
    alpha: float,
    engine: str,
    device: str,
    threads: int,
    min_count: int,
    max_vocabulary: int | None,
    memory: int | None,
) -> None:
    """Refuses what no text could be fitted with."""
    least = 2 if smoothing == "kneser-ney" else 1
    wrong = {
        f"order is {order}: it must be {least} to {MAX_ORDER}": not least <= order <= MAX_ORDER,
        f"no smoothing named {smoothing!r}: there are {', '.join(SMOOTHINGS)}": smoothing not in SMOOTHINGS,
        f"no engine named {engine!r}: there are {', '.join(ENGINES)}": engine not in ENGINES,
        f"{device} is a device of the torch engine alone": device != "cpu" and engine != "torch",
        f"alpha is {alpha}: it must be more than 0": not 0 < alpha < math.inf,
        f"threads is {threads}: it must be 1 or more": threads < 1,
        f"min_count is {min_count}: it must be 1 or more": min_count < 1,
        f"max_vocabulary is {max_vocabulary}: it must be 1 or more": max_vocabulary is not None and max_vocabulary < 1,
        "a memory budget is kept by the numba engine alone": memory is not None and engine != "numba",
        "Kneser-Ney smoothing is estimated in memory: it keeps no budget": memory is not None
        and smoothing == "kneser-ney",
    }
    for message, holds in wrong.items():
        if holds:
            raise SettingsError(message)
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise SettingsError("this machine has no CUDA device that torch can use")


@contextmanager
def _scratch(wanted: bool) -> Iterator[Path]:
    """A folder for the length of a fit that writes to the disk; else none is made."""
    if not wanted:
        yield Path()
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="trainmark-ngram-") as folder:
        yield Path(folder)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - begun


def _new_room(size: int) -> NDArray[np.int32]:
    return np.empty(size, np.int32)


def _encoded(
    encoder: Encoder,
    chunks: Iterable[Padded],
    progress: Progress | None = None,
    room: Callable[[int], NDArray[np.int32]] = _new_room,
) -> Iterator[NDArray[np.int32]]:
    """The ids of each piece of text, written where there is room for them; at the end the words are looked at."""
    tokens = 0
    for chunk in chunks:
        ids = room(len(chunk))  # a line feed is a token of one byte
        piece = ids[: encoder.encode_into(ids, chunk)]
        yield piece
        tokens += len(piece)
        if progress:
            progress("reading", tokens, 0)
    for word in ("<s>", "</s>"):
        if encoder.knows(word):
            raise CorpusError(
                f"The text has the word {word}, the boundary of a sentence in every model: remove it from the text."
            )


def _encode(
    sources: list[Source], options: TextOptions, threads: int, progress: Progress | None
) -> tuple[NDArray[np.int32], Vocabulary]:
    """[tokens] int32, the ids of a text, on every core where its files can be parted; and its vocabulary."""
    parts = parted(sources, threads) if threads > 1 and options == PLAIN else []
    if not parts:
        encoder = Encoder()
        return gathered(encoder, read_views(sources, options), progress), encoder.vocabulary
    done = [0] * len(parts)

    def told(part: int, tokens: int) -> None:
        done[part] = tokens
        if progress:
            progress("reading", sum(done), 0)

    ids, vocabulary = encode_parts(parts, gathered, told)
    if not has_word(ids):
        raise without_word(sources)
    return ids, vocabulary


def gathered(encoder: Encoder, chunks: Iterable[Padded], progress: Progress | None = None) -> NDArray[np.int32]:
    """[tokens] int32: the ids of all pieces in one array, which grows with them."""
    ids, tokens = np.empty(FIRST_TOKENS, np.int32), 0

    def room(size: int) -> NDArray[np.int32]:
        nonlocal ids
        if tokens + size > len(ids):
            larger = np.empty(2 * (tokens + size), np.int32)  # ndarray.resize would write zeros first
            larger[:tokens] = ids[:tokens]
            ids = larger
        return ids[tokens:]

    for piece in _encoded(encoder, chunks, progress, room):
        tokens += len(piece)
    return ids[:tokens]


def encode_with(vocabulary: Vocabulary, chunks: Iterable[Padded]) -> NDArray[np.int32]:
    """[tokens] int32, the ids of a text in a vocabulary that is given; unknown words have that of ``<unk>``."""
    encoder = Encoder.of(vocabulary)
    ids = gathered(encoder, chunks)
    return np.where(ids < len(vocabulary), ids, np.int32(UNKNOWN))


def _cut_off(
    ids: NDArray[np.int32] | spilling.SpilledIds, vocabulary: Vocabulary, min_count: int, max_vocabulary: int | None
) -> tuple[NDArray[np.int32] | spilling.SpilledIds, Vocabulary]:
    """The text with rare words made ``<unk>``, and the vocabulary without them; ids keep their order."""
    words = len(vocabulary) - len(SPECIAL)
    if min_count == 1 and (max_vocabulary is None or max_vocabulary >= words):
        return ids, vocabulary
    counts = counting.tally(_pieces(ids), len(vocabulary))[0, len(SPECIAL) :].astype(np.int64)
    kept = counts >= min_count
    if max_vocabulary is not None:
        kept[np.argsort(-counts, kind="stable")[max_vocabulary:]] = False
    if not kept.any():
        raise CorpusError(f"No word occurs {min_count} times: the model would have no vocabulary.")
    new_ids = np.full(len(vocabulary), UNKNOWN, np.int32)
    new_ids[: len(SPECIAL)] = range(len(SPECIAL))
    new_ids[len(SPECIAL) :][kept] = np.arange(len(SPECIAL), len(SPECIAL) + np.count_nonzero(kept))
    remaining = [word for word, keep in zip(list(vocabulary)[len(SPECIAL) :], kept.tolist(), strict=True) if keep]
    renamed = (new_ids[piece] for piece in _pieces(ids))
    if isinstance(ids, spilling.SpilledIds):
        return spilling.SpilledIds.of(renamed, ids.path.with_name("ids-cut-off")), Vocabulary.of(remaining)
    return next(renamed), Vocabulary.of(remaining)


def _pieces(ids: NDArray[np.int32] | spilling.SpilledIds) -> Iterator[NDArray[np.uint32]]:
    if isinstance(ids, spilling.SpilledIds):
        yield from (piece for piece, _ in ids.pieces())
    else:
        yield ids.view(np.uint32)


def count(
    ids: NDArray[np.int32],
    vocabulary_size: int,
    order: int,
    engine: str = "numba",
    device: str = "cpu",
    threads: int = 1,
    progress: Progress | None = None,
) -> Counts:
    """The n-grams of orders 1 to ``order``, counted by an engine; the arguments are those of :func:`fit`."""
    if progress:
        progress("counting", 0, len(ids))
    if engine == "python":
        from models.ngram.nested import count_ids

        return count_ids(ids, vocabulary_size, order)
    if engine == "torch":
        from models.ngram.torch_counting import count as count_by_torch  # imports torch

        return count_by_torch(ids, vocabulary_size, order, device)
    return counting.count(ids, vocabulary_size, order, threads, progress)
