"""The lecture's model, and the table that the engine ``python`` makes of a text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from corpora import SENTENCES
from hypothesis import given
from hypothesis import strategies as st

from models.ngram.nested import context_of, count, fit, probability

THE_THOUSAND = [["the", "cat"]] * 50 + [["the", "dog"]] * 30 + [["the", "rest"]] * 920


def test_the_lectures_example_holds() -> None:
    table = fit(THE_THOUSAND, order=2)
    assert sum(table["the",].values()) == 1000
    assert probability(table, "cat", ("the",)) == 0.05
    assert probability(table, "dog", ("the",)) == 0.03


def test_what_was_never_seen_has_probability_zero() -> None:
    table = fit(THE_THOUSAND, order=2)
    assert probability(table, "the", ("the",)) == 0.0
    assert probability(table, "cat", ("a",)) == 0.0


def test_a_sentence_begins_and_ends_with_a_boundary() -> None:
    table = fit([["the", "cat"], []], order=3)
    assert table == {
        ("<s>",): {"the": 1, "</s>": 1},
        ("<s>", "the"): {"cat": 1},
        ("the", "cat"): {"</s>": 1},
    }


@given(SENTENCES, st.integers(1, 6))
def test_what_follows_a_context_sums_to_one(sentences: list[list[str]], order: int) -> None:
    table = fit(sentences, order)
    for context, followers in table.items():
        assert sum(probability(table, word, context) for word in followers) == pytest.approx(1)


@given(SENTENCES, st.integers(1, 6))
def test_the_table_holds_the_lectures_counts(sentences: list[list[str]], order: int) -> None:
    vocabulary, counts = count(sentences, order)
    level, words = counts.levels[order - 1], list(vocabulary)
    ngrams = [[place] for place in range(len(level))]  # indices first, then words from the first to the last
    for higher in counts.levels[order - 1 : 0 : -1]:
        for ngram in ngrams:
            entry = ngram[-1]
            ngram[-1:] = [int(higher.words[entry]), int(higher.parents[entry])]
    found = {}
    for ngram, number in zip(ngrams, level.counts.tolist(), strict=True):
        *context, word = (words[index] for index in ngram)
        if context and context[0] == "</s>":
            context[0] = "<s>"
        found[tuple(context), word] = number
    expected = {
        (context, word): number
        for context, followers in fit(sentences, order).items()
        for word, number in followers.items()
        if len(context) == order - 1
    }
    assert {key: number for key, number in found.items() if number} == expected


@given(SENTENCES, st.integers(1, 6))
def test_entries_are_sorted_from_their_last_word_backwards(sentences: list[list[str]], order: int) -> None:
    _, counts = count(sentences, order)
    for level, below in itertools.pairwise(counts.levels[::-1]):
        assert len(level.starts) == len(below) + 1
        assert (level.starts[0], level.starts[-1]) == (0, len(level))
        keys = list(zip(level.parents.tolist(), level.words.tolist(), strict=True))
        assert keys == sorted(set(keys))


def test_a_small_text_gives_the_table_that_one_writes_by_hand() -> None:
    vocabulary, counts = count([["the", "cat"], [], ["the", "the"]], order=3)
    assert list(vocabulary) == ["</s>", "<unk>", "the", "cat"]
    assert counts.tokens == 7
    assert counts.sentences == 3
    unigrams, bigrams, trigrams = counts.levels
    assert unigrams.words.tolist() == [0, 1, 2, 3]
    assert unigrams.counts.tolist() == [3, 0, 3, 1]
    assert unigrams.starts.tolist() == [0, 4]
    #  <s> </s>, the </s>, cat </s>, <s> the, the the, the cat
    assert bigrams.words.tolist() == [0, 2, 3, 0, 2, 2]
    assert bigrams.counts.tolist() == [1, 1, 1, 2, 1, 1]
    assert bigrams.starts.tolist() == [0, 3, 3, 5, 6]
    #  the the </s>, the cat </s>, <s> the the, <s> the cat
    assert trigrams.words.tolist() == [2, 2, 0, 0]
    assert trigrams.counts.tolist() == [1, 1, 1, 1]
    assert trigrams.starts.tolist() == [0, 0, 1, 2, 2, 3, 4]


def test_the_literal_unknown_word_has_the_id_of_unknown_words() -> None:
    vocabulary, counts = count([["a", "<unk>", "<unk>"]], order=1)
    assert list(vocabulary) == ["</s>", "<unk>", "a"]
    assert counts.levels[0].counts.tolist() == [1, 2, 1]


def test_an_order_longer_than_every_sentence_gives_empty_levels() -> None:
    _, counts = count([["a"]], order=6)
    assert [len(level) for level in counts.levels] == [3, 2, 1, 0, 0, 0]
    assert [len(level.starts) for level in counts.levels] == [2, 4, 3, 2, 1, 1]


def test_the_arrays_have_the_types_that_every_engine_gives() -> None:
    for level in count([["a"]], order=4)[1].levels:
        assert [array.dtype for array in (level.words, level.counts, level.starts)] == [np.uint32, np.uint32, np.int64]


def test_the_context_is_what_a_model_of_that_order_looks_back_to() -> None:
    words = ["<s>", "the", "cat"]
    assert [context_of(words, order) for order in (1, 2, 3, 6)] == [(), ("cat",), ("the", "cat"), ("<s>", "the", "cat")]
