"""The table of an n-gram model: every n-gram of every order with its count, as a suffix trie in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOUNDARY = 0  # id of the sentence boundary: </s> as the last word of an n-gram, <s> as its first
UNKNOWN = 1  # id of <unk>
MAX_ORDER = 6


@dataclass(frozen=True)
class Level:
    """The n-grams of one order k, sorted by their last word, then by the word before it, and so on.

    An n-gram is an entry of the level: its first word stands here, the other k-1 words are those of
    its parent, the n-gram of order k-1 that it ends with. So no key is ever packed into a number of
    bits, and no vocabulary is too large.

    Attributes:
        words: [entries] uint32, the first word of each n-gram. At order 1 the entries are the whole
            vocabulary in the order of ids, so an entry's index is its id.
        counts: [entries] uint32, how often it occurs; at order 1 zero for ``<unk>`` where no word
            was cut off, at higher orders at least 1. Empty where the model came without counts.
        starts: [entries of order k-1, plus 1] int64, where the n-grams of each parent begin; at
            order 1 just [0, entries].
    """

    words: NDArray[np.uint32]
    counts: NDArray[np.uint32]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def parents(self) -> NDArray[np.int64]:
        """[entries]: index of the entry's parent in the level of order k-1; at order 1 all 0."""
        return np.repeat(np.arange(len(self.starts) - 1, dtype=np.int64), np.diff(self.starts))

    @property
    def nbytes(self) -> int:
        """Bytes that the three arrays take."""
        return int(self.words.nbytes + self.counts.nbytes + self.starts.nbytes)


@dataclass(frozen=True)
class Counts:
    """The n-grams of orders 1 to n of one text.

    Every token, the end of each sentence included, is the last word of exactly one n-gram of each
    order, as long as the sentence reaches that far back: the first word of a sentence has ``<s>``
    before it, and what would lie before ``<s>`` is no n-gram. ``the cat`` thus gives the trigrams
    ``<s> the cat`` and ``the cat </s>``; this is KenLM's rule.

    Attributes:
        levels: One for each order, from 1 on.
        tokens: Words of the text, plus one end for each sentence. None where the model came without
            counts, as one of an ARPA file does.
    """

    levels: tuple[Level, ...]
    tokens: int | None

    @property
    def order(self) -> int:
        """The largest order."""
        return len(self.levels)

    @property
    def vocabulary_size(self) -> int:
        """Ids, those of the boundary and of ``<unk>`` included."""
        return len(self.levels[0])

    @property
    def sentences(self) -> int:
        """Sentences of the text: how often ``</s>`` occurs, and so ``<s>``."""
        return self.count([BOUNDARY])

    def ngrams(self, order: int, entries: NDArray[np.int64]) -> NDArray[np.uint32]:
        """[entries, order] uint32: the words of n-grams, given by where they stand in the level of their order."""
        found = np.empty((len(entries), order), np.uint32)
        for place, level in enumerate(reversed(self.levels[:order])):
            found[:, place] = level.words[entries]
            entries = np.searchsorted(level.starts, entries, side="right") - 1  # their parents
        return found

    def find(self, ngram: Sequence[int]) -> int | None:
        """Where an n-gram stands in the level of its order; None where it is unseen.

        Args:
            ngram: Ids, the first word first; ``BOUNDARY`` means ``<s>``, and in the last place ``</s>``.
        """
        entry = ngram[-1]
        for level, word in zip(self.levels[1:], reversed(ngram[:-1]), strict=False):
            first, last = level.starts[entry : entry + 2].tolist()
            entry = first + int(np.searchsorted(level.words[first:last], word))
            if entry == last or level.words[entry] != word:
                return None
        return entry

    def count(self, ngram: Sequence[int]) -> int:
        """How often an n-gram occurs; of no words, how many tokens there are. ``[BOUNDARY]`` is ``<s>`` as well.

        Raises:
            ValueError: The model came without counts.
        """
        if self.tokens is None:
            raise ValueError("this model came without counts: it has probabilities alone")
        if not ngram:
            return self.tokens
        entry = self.find(ngram)
        return 0 if entry is None else int(self.levels[len(ngram) - 1].counts[entry])
