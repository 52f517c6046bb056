"""n-grams counted in the most obvious way, to hold every engine against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from models.ngram.levels import Counts


def count_slowly(ids: Sequence[int], order: int) -> list[dict[tuple[int, ...], int]]:
    """Of each order from 1 on: n-gram, its last word first, and how often it occurs; in the table's order."""
    tables: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]
    sentence = [0]
    for word in ids:
        sentence.append(word)
        for length in range(1, min(order, len(sentence)) + 1):
            if length < len(sentence) or length > 1:
                tables[length - 1][tuple(reversed(sentence[-length:]))] += 1
        if word == 0:
            sentence = [0]
    return [dict(sorted(table.items())) for table in tables]


def spelled_out(counts: Counts) -> list[dict[tuple[int, ...], int]]:
    """The same of a table; words that do not occur are left out."""
    tables = []
    grams: list[tuple[int, ...]] = [()]
    for level in counts.levels:
        grams = [
            (*grams[parent], word) for parent, word in zip(level.parents.tolist(), level.words.tolist(), strict=True)
        ]
        tables.append({gram: count for gram, count in zip(grams, level.counts.tolist(), strict=True) if count})
    return tables


@st.composite
def texts(draw: st.DrawFn, largest: int = 1 << 21) -> tuple[np.ndarray, int]:
    """Ids of a text with its vocabulary's size: few words, some of them with large ids, many short sentences."""
    size = draw(st.sampled_from([2, 3, 5, 50, 70_000, largest]))
    words = st.sampled_from([0, *draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=6))])
    return np.array([*draw(st.lists(words, max_size=60)), 0], np.int32), size
