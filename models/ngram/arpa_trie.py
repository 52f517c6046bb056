"""From the n-grams of an ARPA file to the levels of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ngram.arpa_format import ArpaError
from models.ngram.arpa_lines import Lines
from models.ngram.kneser_ney import Estimate
from models.ngram.levels import BOUNDARY, Counts, Level
from models.ngram.pool import Pool
from models.ngram.search import ABSENT, find

BEGIN = 0xFFFFFFFE  # stands for <s> while a file is read, which must not be taken for </s>
NO_COUNTS = np.empty(0, np.uint32)


@dataclass(frozen=True)
class Section:
    """The n-grams of one order, as they stand in a file.

    Attributes:
        lines: [n-grams] int64, the numbers of their lines.
        words: [order, n-grams] uint32, ids; BEGIN is ``<s>``.
        logarithms: [2, n-grams] float64, natural logarithms of probability and backoff weight.
    """

    lines: NDArray[np.int64]
    words: NDArray[np.uint32]
    logarithms: NDArray[np.float64]

    @classmethod
    def of(cls, order: int, size: int) -> Section:
        """Room for so many n-grams."""
        return cls(np.empty(size, np.int64), np.empty((order, size), np.uint32), np.empty((2, size)))

    def __len__(self) -> int:
        return len(self.lines)

    def resized(self, size: int) -> Section:
        """The same with room for so many."""
        larger, kept = Section.of(len(self.words), size), min(size, len(self))
        for mine, its in ((self.lines, larger.lines), (self.words, larger.words), (self.logarithms, larger.logarithms)):
            its[..., :kept] = mine[..., :kept]
        return larger

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """[n-grams], natural logarithm."""
        return self.logarithms[0]

    @property
    def log_backoffs(self) -> NDArray[np.float64]:
        """[n-grams], natural logarithm."""
        return self.logarithms[1]


def refuse(lines: Lines, section: Section, wrong: NDArray[np.bool_], message: str) -> None:
    """Refuses the first of the n-grams that are wrong."""
    if wrong.any():
        raise lines.error(message, int(section.lines[wrong.argmax()]))


def refuse_repeated(lines: Lines, section: Section, keys: NDArray[np.uint64]) -> None:
    """Refuses an n-gram that is there before."""
    if len(keys) and not np.all(keys[1:] > keys[:-1]):
        repeated = np.ones(len(keys), bool)
        repeated[np.unique(keys, return_index=True)[1]] = False
        refuse(lines, section, repeated, "the n-gram stands in the file twice")


def trie(lines: Lines, sections: Sequence[Section], vocabulary_size: int) -> tuple[Counts, tuple[Estimate, ...]]:
    """The n-grams of a file, sorted into levels, and their estimates.

    The end of an n-gram that is not there itself is added, with the probability of backing off.
    """
    levels, estimates = [_words(vocabulary_size)], [_word_estimates(lines, sections[0], vocabulary_size)]
    for section in sections[1:]:
        section.words[0][section.words[0] == BEGIN] = BOUNDARY
    ends = [section.words[-1] for section in sections]  # where each one's last words stand in the last level
    with Pool.of(1) as pool:
        for order, section in enumerate(sections[1:], start=2):
            keys = _keys(ends[order - 1], section.words[0])
            refuse_repeated(lines, section, keys)
            logarithms = section.log_probabilities, section.log_backoffs
            level, estimate = _level(keys, logarithms, len(levels[-1]))
            found = [
                find(level, above, longer.words[-order], pool)
                for above, longer in zip(ends[order:], sections[order:], strict=True)
            ]
            lacking = [
                _keys(above[at == ABSENT], longer.words[-order][at == ABSENT])
                for at, above, longer in zip(found, ends[order:], sections[order:], strict=True)
            ]
            missing = np.unique(np.concatenate([keys[:0], *lacking]))
            if len(missing):
                more = _backed_off(levels, estimates, missing, pool), np.zeros(len(missing))
                logarithms = (np.concatenate(pair) for pair in zip(logarithms, more, strict=True))
                level, estimate = _level(np.concatenate([keys, missing]), tuple(logarithms), len(levels[-1]))
                found = [
                    find(level, above, longer.words[-order], pool)
                    for above, longer in zip(ends[order:], sections[order:], strict=True)
                ]
            ends[order:] = found
            levels.append(level)
            estimates.append(estimate)
    return Counts(tuple(levels), None), tuple(estimates)


def _words(vocabulary_size: int) -> Level:
    return Level(np.arange(vocabulary_size, dtype=np.uint32), NO_COUNTS, np.array([0, vocabulary_size], np.int64))


def _word_estimates(lines: Lines, section: Section, vocabulary_size: int) -> Estimate:
    ids = section.words[0]
    for word, number in (("<s>", BEGIN), ("</s>", BOUNDARY)):
        if number not in ids:
            raise ArpaError(f"{lines.path} has no {word} among its 1-grams: it is no model of sentences.")
    probabilities, backoffs = np.full(vocabulary_size, -np.inf), np.zeros(vocabulary_size)
    predicted = ids != BEGIN
    probabilities[ids[predicted]] = section.log_probabilities[predicted]
    backoffs[ids[predicted]] = section.log_backoffs[predicted]
    backoffs[BOUNDARY] = section.log_backoffs[~predicted].item()
    return _estimate(probabilities, backoffs)


def _estimate(probabilities: NDArray[np.float64], backoffs: NDArray[np.float64]) -> Estimate:
    with np.errstate(over="ignore"):  # a probability that float32 cannot tell from 0 is 0
        return Estimate(probabilities.astype(np.float32), backoffs.astype(np.float32))


def _level(
    keys: NDArray[np.uint64], logarithms: tuple[NDArray[np.float64], ...], parents: int
) -> tuple[Level, Estimate]:
    """The level with these n-grams, sorted, and what is known of each."""
    if not np.all(keys[1:] > keys[:-1]):
        places = np.argsort(keys)
        keys, logarithms = keys[places], tuple(logarithm[places] for logarithm in logarithms)
    children = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=parents)
    starts = np.concatenate([[0], np.cumsum(children, dtype=np.int64)])
    return Level(keys.astype(np.uint32), NO_COUNTS, starts), _estimate(*logarithms)


def _keys(parents: NDArray[np.uint32], firsts: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """[n-grams]: where the parent of each stands in its level, above its first word."""
    return parents.astype(np.uint64) << np.uint64(32) | firsts


def _find(levels: Sequence[Level], ngrams: NDArray[np.uint32], pool: Pool) -> NDArray[np.uint32]:
    """[n-grams]: where they stand in the level of their order, or ABSENT; the words are [n-grams, order]."""
    entries = ngrams[:, -1].copy()
    for distance, level in zip(range(2, ngrams.shape[1] + 1), levels[1:], strict=False):
        entries = find(level, entries, ngrams[:, -distance].copy(), pool)
    return entries


def _backed_off(
    levels: Sequence[Level], estimates: Sequence[Estimate], keys: NDArray[np.uint64], pool: Pool
) -> NDArray[np.float64]:
    """[keys]: natural logarithm of p(last word | context) of n-grams that the file leaves to backing off."""
    parents = (keys >> np.uint64(32)).astype(np.int64)
    shorter = Counts(tuple(levels), None).ngrams(len(levels), parents)
    contexts = _find(levels, np.column_stack([keys.astype(np.uint32), shorter[:, :-1]]), pool)
    known = contexts != ABSENT
    found = estimates[-1].log_probabilities[parents].astype(np.float64)
    found[known] += estimates[-1].log_backoffs[contexts[known]]
    return found
