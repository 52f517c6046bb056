"""Encoding a text on every core: each thread reads and encodes a part, with a table of words of its own.

The words of all parts then make one vocabulary, part by part, so that each word has the id that it has where one
thread reads the whole text; and the ids of each part are renamed while they are brought together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ngram.encoding import Encoder
from models.ngram.kernel import kernel
from models.ngram.levels import BOUNDARY
from models.ngram.pool import Pool
from models.ngram.stretches import Stretch, read_stretches
from models.ngram.text import CorpusError
from models.ngram.vocabulary import Vocabulary


@dataclass(frozen=True)
class Part:
    """A part of a text, encoded.

    Attributes:
        ids: [tokens] int32, by its own vocabulary.
        encoder: That has it.
    """

    ids: NDArray[np.int32]
    encoder: Encoder


def encode_parts(
    parts: Sequence[Sequence[Stretch]], gather: Callable[..., NDArray[np.int32]], told: Callable[[int, int], None]
) -> tuple[NDArray[np.int32], Vocabulary]:
    """[tokens] int32, the ids of a text; and its vocabulary.

    Args:
        parts: Of the text, one a thread.
        gather: Encodes the pieces of a part; see :func:`models.ngram.fitting.gathered`.
        told: Told which part has how many tokens by now; from any thread.

    Raises:
        CorpusError: What would be raised first where one thread reads all.
    """

    def encode(number: int) -> Part | CorpusError:
        encoder = Encoder()
        try:
            return Part(
                gather(encoder, read_stretches(parts[number]), lambda _stage, done, _of: told(number, done)), encoder
            )
        except CorpusError as error:
            return error

    with Pool.of(len(parts)) as pool:
        encoded: list[Part] = []
        for part in pool.each(encode, range(len(parts))):
            if isinstance(part, CorpusError):
                raise part
            encoded.append(part)
        encoder = encoded[0].encoder
        new_ids: list[NDArray[np.int32] | None] = [
            None,
            *(encoder.insert(part.encoder.vocabulary) for part in encoded[1:]),
        ]
        ends = np.cumsum([len(part.ids) for part in encoded]).tolist()
        ids = np.empty(ends[-1], np.int32)

        def bring(number: int) -> None:
            part, its = encoded[number].ids, new_ids[number]
            target = ids[ends[number] - len(part) : ends[number]]
            if its is None:
                target[:] = part
            else:
                rename(part, its, target)

        pool.each(bring, range(len(parts)))
    return ids, encoder.vocabulary


def has_word(ids: NDArray[np.int32]) -> bool:
    """Whether there is more than ends of sentences."""
    return bool((ids != BOUNDARY).any())


@kernel
def rename(ids: NDArray[np.int32], new_ids: NDArray[np.int32], target: NDArray[np.int32]) -> None:
    """Writes the new id of each."""
    for token in range(np.uint64(len(ids))):
        target[token] = new_ids[np.uint64(ids[token])]
