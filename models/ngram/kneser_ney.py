"""Interpolated modified Kneser-Ney smoothing, with the rules of KenLM.

The estimator is that of Chen and Goodman (1998, TR-10-98, section 3), as lmplz computes it (Heafield
et al. 2013): unigrams are interpolated with the uniform distribution over the vocabulary, ``<unk>``
included; an n-gram that begins with ``<s>`` keeps its count at every order.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ngram.instructions import prefetch
from models.ngram.kernel import kernel
from models.ngram.levels import BOUNDARY, Counts, Level
from models.ngram.pool import Pool
from models.ngram.search import find_shifted

FALLBACK = (0.5, 1.0, 1.5)  # discounts where the text is too small to tell them; lmplz --discount_fallback

AHEAD = np.uint64(16)  # entries whose context is asked for before it is needed


@dataclass(frozen=True)
class Estimate:
    """The smoothed n-grams of one order.

    Attributes:
        log_probabilities: [entries] float32, natural logarithm of p(last word | the words before it).
        log_backoffs: [entries] float32, natural logarithm of the weight that the next lower order has
            after these words; 0 where nothing was seen after them. At order 1 entry 0 speaks of
            ``</s>`` as a word and of ``<s>`` as a context. At the largest order all are 0.
    """

    log_probabilities: NDArray[np.float32]
    log_backoffs: NDArray[np.float32]


class FallbackDiscountsWarning(UserWarning):
    """A text is too small to estimate its discounts."""


def estimate(counts: Counts, threads: int = 1) -> tuple[tuple[Estimate, ...], NDArray[np.float64]]:
    """The smoothed n-grams of each order; and the discounts.

    Args:
        counts: Of orders 1 to n, n at least 2.
        threads: Cores to use.

    Returns:
        The estimates of orders 1 to n, and [n, 3] float64: what was taken off n-grams that occur once,
        twice, and more often.

    Warns:
        FallbackDiscountsWarning: The text is too small for an order's discounts; FALLBACK took their place.
    """
    adjusted = list(_adjusted_counts(counts))
    discounts = np.array([_discounts(level, order) for order, level in enumerate(adjusted, start=1)])
    probabilities = [_unigrams(adjusted[0], discounts[0])]
    backoffs = []
    # What each context's n-grams count and lose; for one level after the other, since new memory is slow.
    room = np.empty((max(map(len, counts.levels[:-1])), 2))
    contexts = counts.levels[1].words  # of a bigram the word before its last, which is its first
    with Pool.of(threads) as pool:
        for level, below, its_counts, its_discounts in zip(
            counts.levels[1:], counts.levels, adjusted[1:], discounts[1:], strict=False
        ):
            if below is not counts.levels[0]:
                contexts = find_shifted(level, below, contexts, len(counts.levels[0]), pool)
            sums = room[: len(below)]
            sums[:] = 0
            add_to_contexts(its_counts, contexts, its_discounts, sums)
            probabilities.append(
                _interpolated(level, its_counts, contexts, its_discounts, sums, probabilities[-1], pool)
            )
            backoffs.append(np.ones(len(below), np.float32))
            write_shares(sums, backoffs[-1])
        for numbers in (*probabilities, *backoffs):
            _to_logarithms(numbers, pool)
    backoffs.append(np.zeros(len(counts.levels[-1]), np.float32))
    return tuple(map(Estimate, probabilities, backoffs)), discounts


def _to_logarithms(numbers: NDArray[np.float32], pool: Pool) -> None:
    """Overwrites numbers with their logarithms."""
    parts = [numbers[first:last] for first, last in pool.split(len(numbers))]
    pool.each(lambda part: np.log(part, out=part), parts)


def _interpolated(
    level: Level,
    adjusted: NDArray[np.uint32],
    contexts: NDArray[np.uint32],
    discounts: NDArray[np.float64],
    sums: NDArray[np.float64],
    lower: NDArray[np.float32],
    pool: Pool,
) -> NDArray[np.float32]:
    """[entries] float32: p(last word | context), from that of the parents."""
    found = np.empty(len(level), np.float32)
    pool.each(
        lambda part: interpolate(level.starts, adjusted, contexts, discounts, sums, lower, found, *part),
        pool.parts(level.starts),
    )
    return found


def _adjusted_counts(counts: Counts) -> Iterator[NDArray[np.uint32]]:
    """[entries] uint32 of each order: in how many ways an n-gram is continued to the left.

    The largest order has its counts as they are, and so has what begins with ``<s>``.
    """
    for order, (level, above) in enumerate(zip(counts.levels, counts.levels[1:], strict=False), start=1):
        adjusted = np.empty(len(level), np.uint32)
        count_continuations(above.starts, level.words, level.counts, order > 1, adjusted)
        yield adjusted
    yield counts.levels[-1].counts


def _discounts(adjusted: NDArray[np.uint32], order: int) -> tuple[float, float, float]:
    """What is taken off counts of 1, of 2, and of 3 and more (Chen and Goodman's equation 26)."""
    found_counts = np.zeros(5, np.int64)
    count_counts(adjusted, found_counts)
    singles, pairs, triples, quadruples = found_counts[1:].tolist()
    if singles and pairs and triples:
        share = singles / (singles + 2 * pairs)
        found = (1 - 2 * share * pairs / singles, 2 - 3 * share * triples / pairs, 3 - 4 * share * quadruples / triples)
        if all(0 < discount <= count for count, discount in enumerate(found, start=1)):
            return found
    warnings.warn(
        f"too few {order}-grams to estimate discounts ({singles} occur once, {pairs} twice, {triples} three times): "
        f"took {', '.join(map(str, FALLBACK))}",
        FallbackDiscountsWarning,
        stacklevel=3,
    )
    return FALLBACK


def _unigrams(adjusted: NDArray[np.uint32], discounts: NDArray[np.float64]) -> NDArray[np.float32]:
    """p(word), interpolated with the uniform distribution."""
    taken = np.concatenate([[0.0], discounts])[np.minimum(adjusted, 3)]
    total = adjusted.sum(dtype=np.float64)
    found: NDArray[np.float32] = ((adjusted - taken + taken.sum() / len(adjusted)) / total).astype(np.float32)
    return found


@kernel
def count_continuations(
    starts: NDArray[np.int64],
    words: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    deep: bool,
    adjusted: NDArray[np.uint32],
) -> None:
    """Writes each entry's number of children; if ``deep``, what begins with ``<s>`` has its count (else it is </s>)."""
    for entry in range(np.uint64(len(words))):
        if deep and words[entry] == np.uint32(BOUNDARY):
            adjusted[entry] = counts[entry]
        else:
            adjusted[entry] = np.uint32(starts[entry + np.uint64(1)] - starts[entry])


@kernel
def count_counts(adjusted: NDArray[np.uint32], found: NDArray[np.int64]) -> None:
    """Adds to [5] how many n-grams have the counts 1 to 4; in place 0, how many have another."""
    for count in adjusted:
        found[count if count < np.uint32(5) else np.uint32(0)] += 1


@kernel
def write_shares(sums: NDArray[np.float64], shares: NDArray[np.float32]) -> None:
    """Writes what was taken off a context's n-grams as a share of the whole, where something follows it."""
    for context in range(np.uint64(len(sums))):
        if sums[context, 0] > 0:
            shares[context] = sums[context, 1] / sums[context, 0]


@kernel
def add_to_contexts(
    adjusted: NDArray[np.uint32],
    contexts: NDArray[np.uint32],
    discounts: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Adds each n-gram's count, and what is taken off it, to its context."""
    size = np.uint64(len(adjusted))
    for entry in range(size):
        prefetch(sums, np.uint64(2) * np.uint64(contexts[min(entry + AHEAD, size - np.uint64(1))]))
        count, context = adjusted[entry], contexts[entry]
        sums[context, 0] += count
        sums[context, 1] += discounts[min(count, np.uint32(3)) - np.uint32(1)]


@kernel
def interpolate(
    starts: NDArray[np.int64],
    adjusted: NDArray[np.uint32],
    contexts: NDArray[np.uint32],
    discounts: NDArray[np.float64],
    sums: NDArray[np.float64],
    lower: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    first: int,
    last: int,
) -> None:
    """p(word | context) of the n-grams whose parents are ``first`` to ``last``."""
    size = np.uint64(len(adjusted))
    for parent in range(np.uint64(first), np.uint64(last)):
        for entry in range(np.uint64(starts[parent]), np.uint64(starts[parent + np.uint64(1)])):
            prefetch(sums, np.uint64(2) * np.uint64(contexts[min(entry + AHEAD, size - np.uint64(1))]))
            count, context = adjusted[entry], contexts[entry]
            kept = count - discounts[min(count, np.uint32(3)) - np.uint32(1)]
            probabilities[entry] = (kept + sums[context, 1] * lower[parent]) / sums[context, 0]
