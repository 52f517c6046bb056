"""The engine ``torch`` gives the tables of the engine ``python``, however few bits its keys have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from corpora import SENTENCES, made_sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.ngram import torch_counting
from models.ngram.levels import Counts
from models.ngram.nested import count_ids

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def encoded(sentences: Sequence[Sequence[str]]) -> tuple[NDArray[np.int32], int]:
    words = list(dict.fromkeys(word for sentence in sentences for word in sentence))
    ids = [number for sentence in sentences for number in (*(words.index(word) + 2 for word in sentence), 0)]
    return np.array(ids, np.int32), len(words) + 2


def assert_same(found: Counts, expected: Counts) -> None:
    assert found.tokens == expected.tokens
    assert found.order == expected.order
    for one, other in zip(found.levels, expected.levels, strict=True):
        for name in ("words", "counts", "starts"):
            assert getattr(one, name).dtype == getattr(other, name).dtype
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@settings(deadline=None)
@given(SENTENCES, st.integers(1, 6))
def test_the_table_is_that_of_the_dictionaries(sentences: list[list[str]], order: int) -> None:
    ids, size = encoded(sentences)
    assert_same(torch_counting.count(ids, size, order), count_ids(ids, size, order))


@settings(deadline=None)
@given(SENTENCES, st.integers(1, 6), st.integers(13, 30))
def test_keys_too_short_for_the_words_are_filled_step_by_step(
    sentences: list[list[str]], order: int, key_bits: int
) -> None:
    ids, size = encoded(sentences)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_counting, "KEY_BITS", key_bits)
        assert_same(torch_counting.count(ids, size, order), count_ids(ids, size, order))


@pytest.mark.parametrize("size", [2**21, 2**21 + 1, 3 * 2**21])
def test_a_vocabulary_of_which_three_words_do_not_fit_63_bits_is_counted_all_the_same(size: int) -> None:
    ids = np.random.default_rng(0).choice([0, 2, 3, size // 2, size - 1], 1000).astype(np.int32)
    ids[-1] = 0
    few, places = np.unique(ids, return_inverse=True)
    expected = count_ids(places.astype(np.int32), len(few), 6)
    found = torch_counting.count(ids, size, 6)
    np.testing.assert_array_equal(found.levels[0].counts[few], expected.levels[0].counts)
    for one, other in zip(found.levels[1:], expected.levels[1:], strict=True):
        np.testing.assert_array_equal(one.words, few[other.words])
        np.testing.assert_array_equal(one.counts, other.counts)
    for one, other in zip(found.levels[2:], expected.levels[2:], strict=True):
        np.testing.assert_array_equal(one.starts, other.starts)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("order", [1, 3, 6])
def test_a_longer_text_has_the_same_table(order: int, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("counting on a GPU needs one")
    ids, size = encoded(made_sentences(seed=3, sentences=400))
    assert_same(torch_counting.count(ids, size, order, device), count_ids(ids, size, order))
