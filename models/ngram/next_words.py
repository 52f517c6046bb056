"""What comes next: the words that a model holds most probable after those of an unfinished sentence."""

from __future__ import annotations

import numpy as np

from models.ngram.fitting import encode_with
from models.ngram.language_model import NgramModel
from models.ngram.levels import BOUNDARY
from models.ngram.sampling import NothingFollows, distribution
from models.ngram.text import read_views, split_words


def next_words(model: NgramModel, beginning: str, most: int) -> list[tuple[str, float]]:
    """The most probable next words, each with its probability, the most probable first.

    Args:
        model: With any smoothing.
        beginning: The words so far, from the beginning of a sentence on; done to them is what was done to the
            model's text. Of several lines the last counts.
        most: Words at most; those of probability 0 are left out. ``</s>`` is the end of the sentence.

    Raises:
        NothingFollows: By the model no word is possible.
        CorpusError: The beginning is no text.
    """
    context = context_of(model, beginning)
    with np.errstate(all="ignore"):  # what is no number is told
        probabilities = distribution(model, context)
        total = float(probabilities.sum())
    if not 0 < total < np.inf:
        raise NothingFollows(f"After {beginning!r} the model has no next word: its probabilities add to {total}.")
    order = np.argsort(-probabilities, kind="stable")[:most]
    return [(model.vocabulary[int(word)], float(probabilities[word])) for word in order if probabilities[word] > 0]


def context_of(model: NgramModel, beginning: str) -> list[int]:
    """Ids of the words that the next one depends on: at most n-1, ``BOUNDARY`` for the beginning of the sentence."""
    ids = [BOUNDARY, *_encoded(model, beginning)]
    sentence = ids[len(ids) - 1 - ids[::-1].index(BOUNDARY) :]
    return sentence[max(0, len(sentence) - model.order + 1) :]


def _encoded(model: NgramModel, beginning: str) -> list[int]:
    """Without the end that every text gets."""
    if not split_words(beginning):
        return []
    ids = encode_with(model.vocabulary, read_views(beginning.encode(errors="surrogatepass"), model.options))
    return [int(number) for number in ids[:-1]]
