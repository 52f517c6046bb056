"""Whether arrays can be those of a model: what kernels and searches trust is looked at here, once, in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from models.ngram.arpa_format import LN_10, MOST_BACKOFF
from models.ngram.kneser_ney import Estimate
from models.ngram.language_model import NgramModel
from models.ngram.levels import BOUNDARY, UNKNOWN, Counts, Level
from models.ngram.vocabulary import SPECIAL, Vocabulary

PARTING = b" \t\n\r\0"  # in no word: it could not be told from two, nor from a shorter one


def first_fault(model: NgramModel) -> str | None:
    """What no fit writes and no ARPA file has, in words; None of a sound model.

    The sizes of the arrays fit each other already. A sound model is read without leaving its arrays, its
    searches find what is there, its probabilities are such, and it can be exported.
    """
    with np.errstate(invalid="ignore"):  # of comparisons with NaN
        return next(_faults(model), None)


def _faults(model: NgramModel) -> Iterator[str]:
    """Each looks at what those before it have found right."""
    yield from _of_vocabulary(model.vocabulary)
    yield from _of_levels(model.counts.levels)
    yield from _of_counts(model.counts)
    for order, estimate in enumerate(model.estimates, start=1):
        yield from _of_estimate(estimate, order, fitted=model.smoothing != "arpa")


def _of_vocabulary(vocabulary: Vocabulary) -> Iterator[str]:
    ends, data = vocabulary.ends, vocabulary.text.tobytes()
    if ends[0] <= 0 or np.any(ends[1:] <= ends[:-1]) or ends[-1] != len(data):
        yield "vocabulary.ends do not rise to the end of vocabulary.text"
        return
    if len(data.translate(None, PARTING)) < len(data):
        yield "a word holds what parts words"
    try:
        words = list(vocabulary)
    except UnicodeDecodeError:
        yield "a word is not UTF-8"
        return
    if tuple(words[: len(SPECIAL)]) != SPECIAL or "<s>" in words:
        yield f"its first words must be {' and '.join(SPECIAL)}, and none <s>"
    if len(set(words)) < len(words):
        yield "a word is there twice"


def _of_levels(levels: Sequence[Level]) -> Iterator[str]:
    size = len(levels[0])
    if not np.array_equal(levels[0].words, np.arange(size, dtype=np.uint32)):
        yield "its arrays do not fit each other: 1.words are not the ids of the vocabulary"
    for order, (below, level) in enumerate(pairwise(levels), start=2):
        starts, words = level.starts, level.words
        if starts[0] != 0 or np.any(starts[1:] < starts[:-1]) or starts[-1] != len(words):
            yield f"its arrays do not fit each other: {order}.starts do not rise to the end of {order}.words"
            return
        if len(words) and int(words.max()) >= size:
            yield f"{order}.words has an id that is of no word"
        rising = np.concatenate([[True], words[1:] > words[:-1]])
        rising[starts[:-1][starts[:-1] < len(words)]] = True  # the first of each parent
        if not rising.all():
            yield f"{order}.words are not sorted"
        if order > 2 and np.any(starts[1:][below.words == BOUNDARY] > starts[:-1][below.words == BOUNDARY]):
            yield f"{order}.starts tell of words before <s>"


def _of_counts(counts: Counts) -> Iterator[str]:
    if counts.tokens is None:
        return
    for order, level in enumerate(counts.levels, start=1):
        least = level.counts.min(initial=1) if order > 1 else np.delete(level.counts, UNKNOWN).min(initial=1)
        total = int(level.counts.sum(dtype=np.uint64))
        if least < 1 or (total != counts.tokens if order == 1 else total > counts.tokens):
            yield f"{order}.counts cannot be those of {counts.tokens:,} tokens"


def _of_estimate(estimate: Estimate, order: int, *, fitted: bool) -> Iterator[str]:
    probabilities, backoffs = estimate.log_probabilities, estimate.log_backoffs
    if not np.all(probabilities <= 0) or (fitted and np.any(np.isneginf(probabilities))):
        yield f"{order}.log_probabilities has a number that is no logarithm of a probability"
    if not np.all(backoffs <= np.float32(0.0 if fitted else MOST_BACKOFF * LN_10)):
        yield f"{order}.log_backoffs has a number that is no logarithm of a weight"
