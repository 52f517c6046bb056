"""From word ids to the table of n-grams by tensor operations, on a CPU or a GPU: the engine ``torch``.

Each token becomes one integer: the n-gram that ends in it, its last word in the highest bits, so that
sorted integers are n-grams in the order of the table. One ``torch.unique`` then counts the largest
order, and every lower order is a run of equal high bits. Where an integer is too short for all the
words, it holds as many as fit; the n-grams found then get numbers, which begin the next integer.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ngram.levels import BOUNDARY, Counts, Level

KEY_BITS = 63  # of an int64 without its sign: torch sorts no uint64


def count(ids: NDArray[np.int32], vocabulary_size: int, order: int, device: str = "cpu") -> Counts:
    """Counts the n-grams of orders 1 to ``order``.

    Args:
        ids: [tokens] int32, each sentence closed by ``BOUNDARY``.
        vocabulary_size: Ids are less than this.
        order: The largest order.
        device: Where to count; the table is the same everywhere.
    """
    words = torch.tensor(ids, device=device)
    word_bits = max(1, (vocabulary_size - 1).bit_length())
    occurrences = words.bincount(minlength=vocabulary_size)
    levels = [_level(torch.arange(vocabulary_size), occurrences, occurrences.new_tensor([vocabulary_size]))]
    entries = words.long()  # of the n-gram that ends in each token: its place in the last level
    first = words  # and its first word
    while (known := len(levels)) < order:
        if known > 1:
            entries[first == BOUNDARY] = len(levels[-1])  # nothing lies to the left of <s>
        entry_bits = len(levels[-1]).bit_length()
        added = min(order - known, (KEY_BITS - entry_bits) // word_bits)
        keys = entries
        for distance in range(known, known + added):
            before = torch.zeros_like(words)
            before[distance:] = words[: max(0, len(words) - distance)]
            if distance > 1:
                before[first == BOUNDARY] = BOUNDARY
            keys <<= word_bits
            keys |= before
            first = before
        if known + added == order:
            keys, occurrences = torch.unique(keys, return_counts=True)
        else:
            keys, places, occurrences = torch.unique(keys, return_inverse=True, return_counts=True)
            entries = (_are_ngrams(keys, len(levels[-1]), added, word_bits).cumsum(0) - 1)[places]
        levels += _levels(keys, occurrences, len(levels[-1]), added, word_bits)
    return Counts(tuple(levels), len(ids))


def _levels(keys: Tensor, occurrences: Tensor, below: int, added: int, word_bits: int) -> list[Level]:
    """The levels whose n-grams are in these keys.

    Args:
        keys: [keys] sorted: an entry of the level below, then the words to the left of it.
        occurrences: [keys]: of each.
        below: Entries of the level below; a key with this number or more is no n-gram.
        added: Words to the left in a key.
        word_bits: Of each word.
    """
    mask = (1 << word_bits) - 1
    levels: list[Level] = []
    is_ngram = _are_ngrams(keys, below, added, word_bits)
    for words in range(added, 0, -1):
        parents, siblings = torch.unique_consecutive(keys >> word_bits, return_counts=True)
        is_parent = _are_ngrams(parents, below, words - 1, word_bits)
        children = _sums(is_ngram, siblings)[is_parent]
        if words == 1:
            children = torch.zeros(below, dtype=torch.long, device=keys.device).index_copy(
                0, parents[is_parent], children
            )
        levels.append(_level(keys[is_ngram] & mask, occurrences[is_ngram], children))
        keys, occurrences, is_ngram = parents, _sums(occurrences, siblings), is_parent
    return levels[::-1]


def _are_ngrams(keys: Tensor, below: int, words: int, word_bits: int) -> Tensor:
    """[keys] bool: whether keys with so many words do not reach beyond the beginning of a sentence."""
    if words < 2:
        return keys >> (word_bits * words) < below
    return (keys >> word_bits) & ((1 << word_bits) - 1) != BOUNDARY


def _sums(values: Tensor, sizes: Tensor) -> Tensor:
    """[groups]: the sum of the values of each group of neighbours, whose sizes are given."""
    totals = values.cumsum(0)[sizes.cumsum(0) - 1]
    return totals.diff(prepend=totals.new_zeros(1))


def _level(words: Tensor, occurrences: Tensor, children: Tensor) -> Level:
    """The level of these n-grams, of which each entry of the level below has so many."""
    starts = np.zeros(len(children) + 1, np.int64)
    np.cumsum(children.cpu().numpy(), out=starts[1:])
    return Level(_unsigned(words), _unsigned(occurrences), starts)


def _unsigned(numbers: Tensor) -> NDArray[np.uint32]:
    """[numbers] uint32: the low 32 bits of each, which torch has no operations on as such."""
    return numbers.to(torch.int32).cpu().numpy().view(np.uint32)
