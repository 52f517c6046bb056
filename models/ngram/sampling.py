"""Sentences that a model makes up: each word is drawn from the probabilities after the words before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.ngram.followers import Draws, index
from models.ngram.language_model import NgramModel
from models.ngram.levels import BOUNDARY, Counts
from models.ngram.pool import Pool
from models.ngram.search import ABSENT, find

MAX_WORDS = 100  # of a sentence whose end is not drawn before


class NothingFollows(ValueError):
    """A model knows no word that could come next."""


def sample(
    model: NgramModel, sentences: int, generator: np.random.Generator, max_words: int = MAX_WORDS
) -> Iterator[list[str]]:
    """Makes up sentences; they depend on the model and on the generator alone.

    Args:
        model: With any smoothing. What follows what is found out before the first word.
        sentences: How many.
        generator: Draws the words.
        max_words: A sentence stops there, should ``</s>`` not be drawn.

    Yields:
        The words of a sentence, ``<unk>`` perhaps among them; none where ``</s>`` was drawn at once.

    Raises:
        NothingFollows: By the model no word is possible after those before it, or all together are too probable
            for a number: an ARPA file may say so.
    """
    followers = index(model) if sentences else None
    draws = None if followers is None else Draws(model, followers)
    for _ in range(sentences):
        ids = [BOUNDARY]
        while len(ids) <= max_words:
            context = ids[max(0, len(ids) - model.order + 1) :]
            with np.errstate(all="ignore"):  # what is no number is told
                total = draws.total(context) if draws else float(distribution(model, context).sum())
            if not 0 < total < np.inf:
                raise NothingFollows(
                    f"After {len(ids) - 1} words the model has no next one: its probabilities add to {total}."
                )
            word = draws.word(context, generator) if draws else None
            if word is None:  # nearly all that the shorter context foresees was seen after the longer one
                probabilities = distribution(model, context)
                word = int(generator.choice(len(probabilities), p=probabilities / probabilities.sum()))
            if word == BOUNDARY:
                break
            ids.append(word)
        yield [model.vocabulary[number] for number in ids[1:]]


def distribution(model: NgramModel, context: Sequence[int]) -> NDArray[np.float64]:
    """[ids] float64: p(word | context) of every word, at ``BOUNDARY`` that of ``</s>``.

    Args:
        model: With any smoothing; that of one without is all 0 after a context which was never seen.
        context: At most n-1 ids; ``BOUNDARY`` in the first place means ``<s>``.
    """
    continued = _continuations(model.counts, context)
    if model.estimates:
        return _backed_off(model, context, continued)
    *_, (words, entries) = continued
    alpha = model.alpha if model.smoothing == "additive" else 0.0
    counts = np.full(model.counts.vocabulary_size, alpha)
    counts[words] += model.counts.levels[len(context)].counts[entries]
    total = model.counts.count(context) + alpha * len(counts)
    return counts / total if total else counts


def _backed_off(
    model: NgramModel, context: Sequence[int], continued: Iterator[tuple[NDArray[np.uint32], NDArray[np.uint32]]]
) -> NDArray[np.float64]:
    """The distribution by the longest n-gram that was seen, and the backoffs of the longer contexts."""
    probabilities = np.ones(model.counts.vocabulary_size)
    for length, (words, entries) in enumerate(continued):
        known = model.counts.find(context[len(context) - length :]) if length else None
        if known is not None:
            probabilities *= np.exp(float(model.estimates[length - 1].log_backoffs[known]))
        probabilities[words] = np.exp(model.estimates[length].log_probabilities[entries].astype(np.float64))
    return probabilities


def _continuations(counts: Counts, context: Sequence[int]) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.uint32]]]:
    """The words seen after the last 0, 1, ... words of a context, and where those n-grams stand in their level."""
    words = entries = np.arange(counts.vocabulary_size, dtype=np.uint32)
    yield words, entries
    with Pool.of(1) as pool:
        for level, before in zip(counts.levels[1:], reversed(context), strict=False):
            entries = find(level, entries, np.full(len(entries), before, np.uint32), pool)
            seen = entries != ABSENT
            words, entries = words[seen], entries[seen]
            yield words, entries
