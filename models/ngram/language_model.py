"""A fitted n-gram model, and what it says of words and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.ngram.kneser_ney import Estimate
from models.ngram.levels import BOUNDARY, UNKNOWN, Counts
from models.ngram.scoring import Scores, exponential, score_additive, score_kneser_ney
from models.ngram.text import TextOptions, split_words
from models.ngram.vocabulary import Vocabulary

SMOOTHINGS = ("mle", "additive", "kneser-ney")


@dataclass(frozen=True)
class NgramModel:
    """A model of order n: the probability of a word after the n-1 words before it.

    Attributes:
        vocabulary: The words and their ids.
        counts: The n-grams of orders 1 to n.
        smoothing: ``mle``, the lecture's count(context, word) / count(context), where what is unseen
            has probability 0; ``additive``, the same with ``alpha`` more of every word;
            ``kneser-ney``, interpolated and modified; or ``arpa``, as the file says that the model was
            read from.
        alpha: Of additive smoothing.
        estimates: Of Kneser-Ney smoothing or an ARPA file, one for each order; else empty.
        discounts: [n, 3] float64, of Kneser-Ney smoothing; else None.
        options: What was done to the text.
        seconds: What fitting took: ``encode``, ``count``, ``estimate``.
    """

    vocabulary: Vocabulary
    counts: Counts
    smoothing: str = "mle"
    alpha: float = 1.0
    estimates: tuple[Estimate, ...] = ()
    discounts: NDArray[np.float64] | None = None
    options: TextOptions = field(default_factory=TextOptions)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def order(self) -> int:
        """The length of its longest n-grams."""
        return self.counts.order

    def probability(self, word: str, context: Sequence[str] | str = ()) -> float:
        """p(word | context), of which the last n-1 words count.

        Args:
            word: ``</s>`` asks for the end of the sentence; an unknown word for ``<unk>``.
            context: Words, or a text, parted into words as a text is that is fitted or scored; ``<s>`` is the
                sentence's beginning.
        """
        words = split_words(context) if isinstance(context, str) else list(context)
        ids = [self.vocabulary.id(item) for item in words[max(0, len(words) - self.order + 1) :]]
        if BOUNDARY in ids:  # nothing before the beginning of a sentence counts
            ids = ids[len(ids) - 1 - ids[::-1].index(BOUNDARY) :]
        last = self.vocabulary.id(word)
        if self.estimates:
            return float(exponential(np.float64(self._log_probability(last, ids))))
        alpha = self.alpha if self.smoothing == "additive" else 0.0
        seen, possible = self.counts.count([*ids, last]), self.counts.count(ids)
        total = possible + alpha * self.counts.vocabulary_size
        return (seen + alpha) / total if total else 0.0

    def _log_probability(self, word: int, context: list[int]) -> float:
        """Natural logarithm of the estimated probability, by the longest n-gram that was seen."""
        entry = self.counts.find([*context, word])
        if entry is not None:
            return float(self.estimates[len(context)].log_probabilities[entry])
        known = self.counts.find(context)
        backoff = 0.0 if known is None else float(self.estimates[len(context) - 1].log_backoffs[known])
        return backoff + self._log_probability(word, context[1:])

    def score(self, ids: NDArray[np.int32], threads: int = 1) -> Scores:
        """What the model says of each token of a text, given as ids: see :func:`models.ngram.fitting.encode_with`."""
        if self.estimates:
            return score_kneser_ney(ids, self.counts, self.estimates, threads)
        alpha = self.alpha if self.smoothing == "additive" else 0.0
        return score_additive(ids, self.counts, alpha, threads)

    @property
    def possible(self) -> tuple[int, ...]:
        """How many n-grams of each order the words could form: the vocabulary's size to the power of the order.

        ``<unk>`` is no word here, nor is the boundary.
        """
        words = self.counts.vocabulary_size - 1 - UNKNOWN
        return tuple(words**order for order in range(1, self.order + 1))
