"""Which words follow which contexts: an index beside a table that is sorted by last words, and a draw by it.

A table finds the words before a word at once, and the words after a context by looking for each word there is. Who
draws many words makes this index first: it takes about as long as a few dozen of such looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.ngram.language_model import NgramModel
from models.ngram.pool import Pool
from models.ngram.search import ABSENT, find, find_shifted, group

MOST_DRAWN = 1000  # words from a lower order that all were seen in the higher: then all words are looked at


@dataclass(frozen=True)
class Followers:
    """The n-grams of one order by their first words.

    Attributes:
        bounds: [entries of the order below, plus 2] uint32, where those of each context begin.
        entries: [n-grams] uint32, where they stand in their level, context by context.
        parents: [n-grams] uint32, where each one's end stands in the level below; by place in the level.
        words: [n-grams] uint32, the last word of each; likewise.
    """

    bounds: NDArray[np.uint32]
    entries: NDArray[np.uint32]
    parents: NDArray[np.uint32]
    words: NDArray[np.uint32]

    def of(self, context: int) -> NDArray[np.uint32]:
        """Where the n-grams after a context stand in their level; the context by its place in the level below."""
        return self.entries[self.bounds[context] : self.bounds[context + 1]]


def index(model: NgramModel, threads: int = 1) -> list[Followers] | None:
    """The n-grams of each order from 2 on by their contexts; None where a context is no n-gram itself.

    Of a text each context is one; an ARPA file may leave some out.
    """
    levels, found = model.counts.levels, []
    contexts = words = levels[0].words
    with Pool.of(threads) as pool:
        for below, level in pairwise(levels):
            parents = level.parents.astype(np.uint32)
            if below is levels[0]:
                contexts = level.words  # of a bigram the word before its last
            elif model.smoothing == "arpa":
                contexts = find(below, contexts[parents], level.words, pool)
            else:
                contexts = find_shifted(level, below, contexts, len(levels[0]), pool)
            if (contexts == ABSENT).any():
                return None
            bounds, entries = np.zeros(len(below) + 2, np.uint32), np.empty(len(level), np.uint32)
            group(contexts, bounds, entries)
            words = words[parents]
            found.append(Followers(bounds, entries, parents, words))
    return found


class Draws:
    """Draws words from a model, each in the time that the words seen after its context take.

    Args:
        model: With any smoothing.
        followers: Its index.
    """

    def __init__(self, model: NgramModel, followers: Sequence[Followers]) -> None:
        self._model, self._followers = model, followers
        if model.estimates:
            first = np.exp(model.estimates[0].log_probabilities.astype(np.float64))
        else:
            first = model.counts.levels[0].counts.astype(np.float64)
        self._sums = np.cumsum(first)  # of the probabilities (or counts) of all words up to each

    def total(self, context: Sequence[int]) -> float:
        """What the probabilities of all words after a context add to: 1, or 0 where nothing can follow."""
        if self._model.estimates:
            return self._backed_off(list(context))[-1]
        counts, added = self._counts(context)
        return float(bool(counts.sum() + added))

    def word(self, context: Sequence[int], generator: np.random.Generator) -> int | None:
        """A word after a context, by its probability; None where it could not be told without a look at all words."""
        if self._model.estimates:
            return self._drawn(list(context), self._backed_off(list(context)), generator)
        counts, added = self._counts(context)
        at = generator.random() * (counts.sum() + added)
        if at < added:
            return int(at / added * self._model.counts.vocabulary_size)
        place = _place(np.cumsum(counts), at - added)
        return place if not context else int(self._words(context)[place])

    def _entries(self, context: Sequence[int]) -> NDArray[np.uint32]:
        """Where the n-grams stand that were seen after a context, which is not empty."""
        known = self._model.counts.find(context)
        return np.empty(0, np.uint32) if known is None else self._followers[len(context) - 1].of(known)

    def _words(self, context: Sequence[int]) -> NDArray[np.uint32]:
        return self._followers[len(context) - 1].words[self._entries(context)]

    def _counts(self, context: Sequence[int]) -> tuple[NDArray[np.float64], float]:
        """The counts of what was seen after a context, and what is added for all words together."""
        level = self._model.counts.levels[len(context)]
        counts = level.counts[self._entries(context)] if context else level.counts
        alpha = self._model.alpha if self._model.smoothing == "additive" else 0.0
        return counts.astype(np.float64), alpha * self._model.counts.vocabulary_size

    def _backed_off(self, context: list[int]) -> list[float]:
        """What all probabilities add to after the last 0, 1, ... words of a context."""
        totals = [float(self._sums[-1])]
        for length in range(1, len(context) + 1):
            words = context[len(context) - length :]
            known = self._model.counts.find(words)
            if known is None:
                totals.append(totals[-1])
                continue
            entries, estimates = self._entries(words), self._model.estimates
            parents = self._followers[length - 1].parents[entries]
            seen = float(np.exp(estimates[length].log_probabilities[entries].astype(np.float64)).sum())
            lower = float(np.exp(estimates[length - 1].log_probabilities[parents].astype(np.float64)).sum())
            weight = float(np.exp(np.float64(estimates[length - 1].log_backoffs[known])))
            totals.append(seen + weight * max(0.0, totals[-1] - lower))
        return totals

    def _drawn(self, context: list[int], totals: list[float], generator: np.random.Generator) -> int | None:
        """A word after a context: one that was seen there, or else one of the shorter context that was not."""
        if not context:
            return _place(self._sums, generator.random() * totals[0])
        entries = self._entries(context)
        followers, estimate = self._followers[len(context) - 1], self._model.estimates[len(context)]
        sums = np.cumsum(np.exp(estimate.log_probabilities[entries].astype(np.float64)))
        at = generator.random() * totals[-1]
        if len(sums) and at < sums[-1]:
            return int(followers.words[entries[_place(sums, at)]])
        seen = set(followers.words[entries].tolist())
        for _ in range(MOST_DRAWN):
            word = self._drawn(context[1:], totals[:-1], generator)
            if word not in seen:
                return word
        return None


def _place(sums: NDArray[np.float64], at: float) -> int:
    """The first place whose sum is more; the last one where rounding has left none."""
    return min(int(np.searchsorted(sums, at, side="right")), len(sums) - 1)
