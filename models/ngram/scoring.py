"""What a model says of a text: the log-probability of every token, and how long the n-gram was that told it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from models.ngram.kneser_ney import Estimate
from models.ngram.levels import BOUNDARY, UNKNOWN, Counts
from models.ngram.pool import Pool
from models.ngram.search import ABSENT, find

Number = TypeVar("Number", np.float64, NDArray[np.float64])

TOKENS_AT_ONCE = 1 << 18  # of a long text: what is known of them fits the caches


@dataclass(frozen=True)
class Scores:
    """Of each token of a text, the ends of sentences included.

    Attributes:
        log_probabilities: [tokens] float64, natural logarithm; -inf where the model holds a token impossible.
        orders: [tokens] uint8, length of the longest n-gram ending in the token that the model has seen.
        reaches: [tokens] uint8, length of the longest that there is: from ``<s>`` on, at most the model's order.
        unknown: [tokens] bool, whether the word is not in the vocabulary.
    """

    log_probabilities: NDArray[np.float64]
    orders: NDArray[np.uint8]
    reaches: NDArray[np.uint8]
    unknown: NDArray[np.bool_]

    def perplexity(self, *, unknown: bool = True) -> float:
        """The exponential of the mean negative log-probability: inf where a token is impossible, NaN of no tokens.

        Args:
            unknown: Whether unknown words count.
        """
        kept = self.log_probabilities if unknown else self.log_probabilities[~self.unknown]
        return float(exponential(-kept.mean())) if len(kept) else float("nan")

    def unseen_share(self, order: int) -> float:
        """Share of the tokens whose n-gram of that order was not seen; near ``<s>`` the longest that there is."""
        return float(np.mean(self.orders < np.minimum(self.reaches, order)))


def exponential(logarithms: Number) -> Number:
    """The same as :func:`numpy.exp`, and without a warning inf of what is too large for a number."""
    with np.errstate(over="ignore"):
        return cast("Number", np.exp(logarithms))


@dataclass(frozen=True)
class Matches:
    """Which of a model's n-grams end in each token of a piece of text.

    Attributes:
        entries: [tokens] uint32 for each order from 1 on: where in its level the n-gram stands, or ABSENT.
        reaches: [tokens]: the length of the longest that there is.
    """

    entries: Sequence[NDArray[np.uint32]]
    reaches: NDArray[np.int64]

    @property
    def orders(self) -> NDArray[np.uint8]:
        """[tokens]: the length of the longest that the model has; what is longer is absent as well."""
        orders: NDArray[np.uint8] = np.sum([entries != ABSENT for entries in self.entries], axis=0, dtype=np.uint8)
        return orders

    def contexts(self, order: int) -> NDArray[np.uint32]:
        """[tokens]: where the ``order`` words before each token stand in their level; ``<s>`` in order 1 is entry 0."""
        first = BOUNDARY if order == 1 else ABSENT
        return np.concatenate([np.array([first], np.uint32), self.entries[order - 1][:-1]])


def match(ids: NDArray[np.int32], counts: Counts, pool: Pool) -> Matches:
    """Finds the n-grams that end in each token. The piece is taken to begin with a sentence."""
    words = ids.view(np.uint32)
    entries = [words]
    for order in range(2, counts.order + 1):
        before = np.zeros_like(words)  # order - 1 tokens before: <s> where there is none
        before[order - 1 :] = words[: len(words) - order + 1]
        entries.append(find(counts.levels[order - 1], entries[-1], before, pool))
    places = np.arange(len(ids))
    begins = np.maximum.accumulate(np.where(np.concatenate([[True], ids[:-1] == BOUNDARY]), places, 0))
    return Matches(entries, np.minimum(places - begins + 2, counts.order))


def score_kneser_ney(ids: NDArray[np.int32], counts: Counts, estimates: Sequence[Estimate], threads: int = 1) -> Scores:
    """Scores by the longest n-gram that was seen, and the backoffs of the longer contexts.

    Args:
        ids: [tokens] int32, the end of each sentence included.
        counts: Of the model.
        estimates: Likewise.
        threads: Cores to use.
    """

    def log_probabilities(matches: Matches) -> NDArray[np.float64]:
        found = np.zeros(len(matches.reaches))
        orders = matches.orders
        for order, (entries, estimate) in enumerate(zip(matches.entries, estimates, strict=True), start=1):
            longest = orders == order
            found[longest] += estimate.log_probabilities[entries[longest]]
            if order < counts.order:
                contexts = matches.contexts(order)
                backs_off = (orders <= order) & (contexts != ABSENT)
                found[backs_off] += estimate.log_backoffs[contexts[backs_off]]
        return found

    return _score(ids, counts, log_probabilities, threads)


def score_additive(ids: NDArray[np.int32], counts: Counts, alpha: float, threads: int = 1) -> Scores:
    """Scores by (count + alpha) / (count of the context + alpha * size of the vocabulary); the lecture's with alpha 0.

    The other arguments are those of :func:`score_kneser_ney`.
    """

    def log_probabilities(matches: Matches) -> NDArray[np.float64]:
        seen = np.zeros(len(matches.reaches))
        possible = np.full(len(matches.reaches), float(counts.count([])))
        for order, (level, entries) in enumerate(zip(counts.levels, matches.entries, strict=True), start=1):
            here = matches.reaches == order if order > 1 or counts.order > 1 else np.ones(len(seen), bool)
            seen[here] = _counts(level.counts, entries[here])
            if order > 1:
                possible[here] = _counts(counts.levels[order - 2].counts, matches.contexts(order - 1)[here])
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.log((seen + alpha) / (possible + alpha * counts.vocabulary_size))
        return np.where(np.isnan(found), -np.inf, found)  # an unseen context: 0 / 0

    return _score(ids, counts, log_probabilities, threads)


def _counts(counts: NDArray[np.uint32], entries: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """[n]: the count of each entry; 0 of an absent one."""
    absent = entries == ABSENT
    return np.where(absent, np.uint32(0), counts[np.where(absent, 0, entries)])


def _score(
    ids: NDArray[np.int32], counts: Counts, log_probabilities: Callable[[Matches], NDArray[np.float64]], threads: int
) -> Scores:
    """Scores a text piece by piece; each piece is matched together with the few tokens before it."""
    scores = Scores(np.empty(len(ids)), np.empty(len(ids), np.uint8), np.empty(len(ids), np.uint8), ids == UNKNOWN)
    with Pool.of(threads) as pool:
        for begin in range(0, len(ids), TOKENS_AT_ONCE):
            end = min(begin + TOKENS_AT_ONCE, len(ids))
            first = max(0, begin - counts.order + 1)
            matches = match(ids[first:end], counts, pool)
            new = slice(begin - first, None)
            scores.log_probabilities[begin:end] = log_probabilities(matches)[new]
            scores.orders[begin:end] = matches.orders[new]
            scores.reaches[begin:end] = matches.reaches[new]
    return scores
