"""Interpolated modified Kneser-Ney smoothing in dictionaries and float64: what the fast one is tested against.

Written after Chen and Goodman (1998, TR-10-98, section 3) with the rules of KenLM (Heafield et al. 2013).
An n-gram is a tuple of words; ``<s>`` is its first word or none, ``</s>`` its last or none.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.ngram.nested import context_of

Ngram = tuple[str, ...]
FALLBACK = (0.5, 1.0, 1.5)  # lmplz --discount_fallback


@dataclass(frozen=True)
class Smoothed:
    """A smoothed model.

    Attributes:
        order: The largest order.
        probabilities: Of every n-gram seen: of its last word, after the words before it.
        backoffs: Of every context seen: what the next lower order is multiplied by.
        discounts: Of each order: what is taken off counts of 1, of 2, and of 3 and more.
    """

    order: int
    probabilities: Mapping[Ngram, float]
    backoffs: Mapping[Ngram, float]
    discounts: tuple[tuple[float, float, float], ...]


def smooth(sentences: Iterable[Sequence[str]], order: int) -> Smoothed:
    """The model of orders 1 to ``order``, at least 2."""
    adjusted = _adjusted_counts(_count(sentences, order))
    discounts = tuple(_discounts(counts) for counts in adjusted)
    size = len(adjusted[0].keys() | {("<unk>",)})  # `</s>` is among them, `<s>` is not
    probabilities: dict[Ngram, float] = {}
    backoffs: dict[Ngram, float] = {}
    for counts, discount in zip(adjusted, discounts, strict=True):
        totals: defaultdict[Ngram, int] = defaultdict(int)
        taken: defaultdict[Ngram, float] = defaultdict(float)
        for ngram, number in counts.items():
            totals[ngram[:-1]] += number
            taken[ngram[:-1]] += discount[min(number, 3) - 1]
        for ngram, number in counts.items():
            context = ngram[:-1]
            lower = probabilities[ngram[1:]] if context else 1 / size
            kept = number - discount[min(number, 3) - 1]
            probabilities[ngram] = (kept + taken[context] * lower) / totals[context]
        backoffs |= {context: taken[context] / totals[context] for context in totals}
    probabilities.setdefault(("<unk>",), backoffs[()] / size)
    return Smoothed(order, probabilities, backoffs, discounts)


def log_probability(model: Smoothed, word: str, words_before: Sequence[str]) -> float:
    """Natural logarithm of P(word | words before), by the longest n-gram that was seen."""
    ngram = tuple(
        known if (known,) in model.probabilities or known == "<s>" else "<unk>"
        for known in (*context_of(words_before, model.order), word)
    )
    weight = 0.0
    while ngram not in model.probabilities:
        weight += math.log(model.backoffs.get(ngram[:-1], 1.0))
        ngram = ngram[1:]
    return weight + math.log(model.probabilities[ngram])


def score(model: Smoothed, sentence: Sequence[str]) -> list[float]:
    """The natural logarithm of the probability of each word and of the sentence's end."""
    words = ["<s>", *sentence, "</s>"]
    return [log_probability(model, words[place], words[:place]) for place in range(1, len(words))]


def perplexity(model: Smoothed, sentences: Iterable[Sequence[str]], *, unknown: bool = True) -> float:
    """The exponential of the mean negative log-probability of a token; of the known ones alone where asked."""
    scores = [
        logarithm
        for sentence in sentences
        for word, logarithm in zip((*sentence, "</s>"), score(model, sentence), strict=True)
        if unknown or (word != "<unk>" and (word,) in model.probabilities)
    ]
    return math.exp(-math.fsum(scores) / len(scores))


def _count(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Ngram]]:
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = ("<s>", *sentence, "</s>")
        for end in range(2, len(words) + 1):
            for length in range(1, min(order, end) + 1):
                counts[length - 1][words[end - length : end]] += 1
    return counts


def _adjusted_counts(counts: Sequence[Counter[Ngram]]) -> list[Mapping[Ngram, int]]:
    """In how many ways an n-gram is continued to the left; as it is at the largest order and after ``<s>``."""
    adjusted: list[Mapping[Ngram, int]] = []
    for level, above in pairwise(counts):
        continuations = Counter(ngram[1:] for ngram in above)
        adjusted.append({ngram: level[ngram] if ngram[0] == "<s>" else continuations[ngram] for ngram in level})
    return [*adjusted, counts[-1]]


def _discounts(counts: Mapping[Ngram, int]) -> tuple[float, float, float]:
    """Chen and Goodman's equation 26; FALLBACK where the text is too small for it."""
    n1, n2, n3, n4 = (sum(number == times for number in counts.values()) for times in (1, 2, 3, 4))
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3:  # with a discount of 0 nothing is left for the unseen
            return d1, d2, d3
    return FALLBACK
