"""From the n-grams of an ARPA file to the levels of a model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from models.ngram.arpa_format import ArpaError
from models.ngram.arpa_lines import BEGIN, Lines
from models.ngram.kernel import kernel
from models.ngram.kneser_ney import Estimate
from models.ngram.levels import BOUNDARY, Counts, Level
from models.ngram.pool import Pool
from models.ngram.search import ABSENT, find

NO_COUNTS, NO_KEYS = np.empty(0, np.uint32), np.empty(0, np.uint64)


@dataclass(frozen=True)
class Section:
    """The n-grams of one order, as they stand in a file.

    Attributes:
        lines: N-grams and the numbers of their lines, where these do not follow the one before.
        words: [order, n-grams] uint32, ids; BEGIN is ``<s>``.
        logarithms: [2, n-grams] float64, natural logarithms of probability and backoff weight.
    """

    lines: list[tuple[int, int]]
    words: NDArray[np.uint32]
    logarithms: NDArray[np.float64]

    @classmethod
    def of(cls, order: int, size: int) -> Section:
        """Room for so many n-grams."""
        return cls([], np.empty((order, size), np.uint32), np.empty((2, size)))

    def __len__(self) -> int:
        return int(self.words.shape[1])

    def resized(self, size: int) -> Section:
        """The same with room for so many."""
        larger, kept = Section.of(len(self.words), size), min(size, len(self))
        larger.words[:, :kept], larger.logarithms[:, :kept] = self.words[:, :kept], self.logarithms[:, :kept]
        return replace(larger, lines=self.lines)

    def note_line(self, ngram: int, number: int) -> None:
        """Notes the number of an n-gram's line; those after it are taken to follow."""
        if not self.lines or number - self.lines[-1][1] != ngram - self.lines[-1][0]:
            self.lines.append((ngram, number))

    def line(self, ngram: int) -> int:
        """The number of an n-gram's line."""
        first, number = self.lines[bisect_right(self.lines, ngram, key=itemgetter(0)) - 1]
        return number + ngram - first

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """[n-grams], natural logarithm."""
        found: NDArray[np.float64] = self.logarithms[0]
        return found

    @property
    def log_backoffs(self) -> NDArray[np.float64]:
        """[n-grams], natural logarithm."""
        found: NDArray[np.float64] = self.logarithms[1]
        return found


def refuse_repeated(lines: Lines, section: Section, keys: NDArray[np.uint64]) -> None:
    """Refuses the first n-gram that is there before."""
    repeated = np.ones(len(keys), bool)
    repeated[np.unique(keys, return_index=True)[1]] = False
    if repeated.any():
        raise lines.error("the n-gram stands in the file twice", section.line(int(repeated.argmax())))


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
            level, estimate = _level(lines, section, ends[order - 1], len(levels[-1]))
            found = [
                find(level, above, longer.words[-order], pool)
                for above, longer in zip(ends[order:], sections[order:], strict=True)
            ]
            lacking = [
                _keys(above[at == ABSENT], longer.words[-order][at == ABSENT])
                for at, above, longer in zip(found, ends[order:], sections[order:], strict=True)
            ]
            missing = np.unique(np.concatenate([NO_KEYS, *lacking]))
            if len(missing):
                more = np.stack([_backed_off(levels, estimates, missing, pool), np.zeros(len(missing))])
                keys = np.concatenate([_keys(ends[order - 1], section.words[0]), missing])
                logarithms = np.concatenate([section.logarithms, more], axis=1)
                level, estimate = _sorted_level(keys, logarithms, len(levels[-1]))
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
    lines: Lines, section: Section, parents: NDArray[np.uint32], number_of_parents: int
) -> tuple[Level, Estimate]:
    """The level with the n-grams of a section, whose parents are given, and what is known of each."""
    starts = np.empty(number_of_parents + 1, np.int64)
    if write_starts(parents, section.words[0], starts):  # sorted already, as fitted models are written
        return Level(section.words[0].copy(), NO_COUNTS, starts), _estimate(*section.logarithms)
    keys = _keys(parents, section.words[0])
    refuse_repeated(lines, section, keys)
    return _sorted_level(keys, section.logarithms, number_of_parents)


@kernel
def write_starts(parents: NDArray[np.uint32], firsts: NDArray[np.uint32], starts: NDArray[np.int64]) -> bool:
    """Writes where the n-grams of each parent begin, as long as they are sorted; gives whether all are."""
    parent = np.uint64(0)
    starts[parent] = 0
    for entry in range(np.uint64(len(parents))):
        while parent < parents[entry]:
            parent += np.uint64(1)
            starts[parent] = np.int64(entry)
        before = entry - np.uint64(1)
        if entry > 0 and (
            parents[entry] < parents[before] or (parent == parents[before] and firsts[entry] <= firsts[before])
        ):
            return False
    for empty in range(parent + np.uint64(1), np.uint64(len(starts))):
        starts[empty] = len(parents)
    return True


def _sorted_level(keys: NDArray[np.uint64], logarithms: NDArray[np.float64], parents: int) -> tuple[Level, Estimate]:
    """The level with these n-grams, sorted here, and what is known of each."""
    places = np.argsort(keys)
    keys, logarithms = keys[places], logarithms[:, places]
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
