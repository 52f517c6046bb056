"""The lecture's n-gram model: dictionaries of counts, and a division. Also the engine ``python``.

Slow, and short enough to be seen right: the other engines are tested against it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from models.ngram.levels import BOUNDARY, Counts, Level
from models.ngram.vocabulary import UNKNOWN_WORDS, Vocabulary

Context = tuple[str, ...]
Table = Mapping[Context, Mapping[str, int]]


def fit(sentences: Iterable[Sequence[str]], order: int) -> Table:
    """Counts which words follow which contexts: context -> word -> count.

    A context is the ``order - 1`` words before a word, or fewer where the sentence begins: then
    its first word is ``<s>``. The end of a sentence is the word ``</s>``.
    """
    table: defaultdict[Context, Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        words = ["<s>", *sentence, "</s>"]
        for place in range(1, len(words)):
            table[context_of(words[:place], order)][words[place]] += 1
    return table


def context_of(words: Sequence[str], order: int) -> Context:
    """The last words, as many as a model of that order looks back to."""
    return tuple(words[max(0, len(words) - order + 1) :])


def probability(table: Table, word: str, context: Context) -> float:
    """P(word | context) = count(context, word) / count(context); 0 where either was never seen."""
    followers = table.get(context, {})
    return followers.get(word, 0) / sum(followers.values()) if followers else 0.0


def count(sentences: Iterable[Sequence[str]], order: int) -> tuple[Vocabulary, Counts]:
    """The n-grams of orders 1 to ``order``, and the words in the order in which they first occur."""
    sentences = list(sentences)
    words = dict.fromkeys(chain.from_iterable(sentences))
    vocabulary = Vocabulary.of(word for word in words if word not in UNKNOWN_WORDS)
    ids = vocabulary.encode([word for sentence in sentences for word in (*sentence, "</s>")])
    return vocabulary, count_ids(ids, len(vocabulary), order)


def count_ids(ids: NDArray[np.int32], vocabulary_size: int, order: int) -> Counts:
    """The n-grams of orders 1 to ``order``.

    Args:
        ids: [tokens], each sentence closed by ``BOUNDARY``.
        vocabulary_size: Ids are less than this.
        order: The largest order.
    """
    ngrams: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]  # last word first, the key to sort by
    backwards: tuple[int, ...] = (BOUNDARY,)  # the sentence so far
    for word in ids.tolist():
        backwards = (word, *backwards[: order - 1])
        for length in range(1, min(order, len(backwards)) + 1):
            ngrams[length - 1][backwards[:length]] += 1
        if word == BOUNDARY:
            backwards = (BOUNDARY,)
    words = range(vocabulary_size)
    levels = [
        Level(
            np.array(words, np.uint32),
            np.array([ngrams[0][word,] for word in words], np.uint32),
            np.array([0, vocabulary_size], np.int64),
        )
    ]
    parents: Sequence[tuple[int, ...]] = [(word,) for word in words]
    for counter in ngrams[1:]:
        entries = sorted(counter)
        children = Counter(entry[:-1] for entry in entries)
        starts = np.cumsum([0, *(children[parent] for parent in parents)], dtype=np.int64)
        firsts = np.array([entry[-1] for entry in entries], np.uint32)
        levels.append(Level(firsts, np.array([counter[entry] for entry in entries], np.uint32), starts))
        parents = entries
    return Counts(tuple(levels), len(ids))
