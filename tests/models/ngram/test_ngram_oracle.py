"""Kneser-Ney in dictionaries, held against what KenLM's lmplz and query (0.3.0) gave for the same text."""

from __future__ import annotations

import math

import pytest
from corpora import SENTENCES, made_sentences
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngram.oracle import FALLBACK, log_probability, perplexity, score, smooth

# order -> discounts of the higher orders, perplexity with unknown words and without
KENLM = {
    2: ([(0.611034, 1.17445, 1.2102)], 14.129362180109778, 13.742974056000753),
    3: ([(0.600778, 1.21587, 1.0811), (0.727769, 0.966248, 1.46492)], 14.856777815883111, 14.450008033358195),
    4: (
        [(0.600778, 1.21587, 1.0811), (0.726746, 0.999591, 1.43592), (0.794946, 1.02303, 1.51998)],
        15.869572822047509,
        15.453925060279989,
    ),
    5: (
        [
            (0.600778, 1.21587, 1.0811),
            (0.726746, 0.999591, 1.43592),
            (0.796038, 1.03886, 1.43071),
            (0.869619, 1.25214, 1.17466),
        ],
        16.280933715356362,
        15.853642096307318,
    ),
    6: (
        [
            (0.600778, 1.21587, 1.0811),
            (0.726746, 0.999591, 1.43592),
            (0.796038, 1.03886, 1.43071),
            (0.872643, 1.28007, 1.31574),
            (0.936575, 1.37041, 1.3281),
        ],
        16.338033696431477,
        15.909511488933918,
    ),
}


@pytest.mark.parametrize("order", KENLM)
def test_a_made_text_has_kenlms_discounts_and_perplexity(order: int) -> None:
    model = smooth(made_sentences(seed=7, sentences=3000), order)
    held_out = made_sentences(seed=8, sentences=300)
    discounts, with_unknown, without = KENLM[order]
    assert model.discounts[0] == FALLBACK
    for found, expected in zip(model.discounts[1:], discounts, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)  # lmplz prints six digits
    assert perplexity(model, held_out) == pytest.approx(with_unknown, rel=1e-6)  # its probabilities are float32
    assert perplexity(model, held_out, unknown=False) == pytest.approx(without, rel=1e-6)


def test_a_text_of_two_words_has_kenlms_probabilities_and_backoffs() -> None:
    model = smooth([["the", "cat"]], order=3)
    logarithms = {ngram: round(math.log10(p), 5) for ngram, p in model.probabilities.items()}
    assert logarithms == {
        ("<unk>",): -0.90309,
        ("</s>",): -0.53511,
        ("the",): -0.53511,
        ("cat",): -0.53511,
        ("cat", "</s>"): -0.18988,
        ("<s>", "the"): -0.18988,
        ("the", "cat"): -0.18988,
        ("the", "cat", "</s>"): -0.08464,
        ("<s>", "the", "cat"): -0.08464,
    }
    contexts = [("<s>",), ("the",), ("cat",), ("<s>", "the"), ("the", "cat")]
    assert [round(math.log10(model.backoffs[context]), 5) for context in contexts] == [-0.30103] * 5


def test_empty_lines_are_sentences_as_in_kenlm() -> None:
    model = smooth([["a", "b"], [], ["a", "c"]], order=3)
    assert math.log10(model.probabilities["</s>",]) == pytest.approx(-0.45593196, abs=1e-6)
    assert math.log10(model.probabilities["<s>", "</s>"]) == pytest.approx(-0.4663974, abs=1e-6)
    assert math.log10(model.probabilities["<s>", "a", "b"]) == pytest.approx(-0.37588984, abs=1e-6)


@settings(deadline=None)
@given(SENTENCES, st.integers(2, 6), st.lists(st.sampled_from("abcdxyz"), max_size=6))
def test_the_probabilities_after_any_words_sum_to_one(
    sentences: list[list[str]], order: int, words_before: list[str]
) -> None:
    model = smooth(sentences, order)
    words = [ngram[0] for ngram in model.probabilities if len(ngram) == 1]
    for context in (["<s>", *words_before], words_before):
        assert math.fsum(math.exp(log_probability(model, word, context)) for word in words) == pytest.approx(1)


@settings(deadline=None)
@given(SENTENCES, st.integers(2, 6))
def test_words_in_the_order_of_the_sentence_give_its_probability(sentences: list[list[str]], order: int) -> None:
    model = smooth(sentences, order)
    sentence = [*sentences[0], "never seen"]
    assert len(score(model, sentence)) == len(sentence) + 1
    assert all(logarithm < 0 or logarithm == pytest.approx(0) for logarithm in score(model, sentence))
