from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import texts

from models.ngram import fit, oracle
from models.ngram.counting import count
from models.ngram.kneser_ney import FALLBACK, FallbackDiscountsWarning, estimate
from models.ngram.text import read_chunks, tokens
from models.ngram.vocabulary import SPECIAL

pytestmark = pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")


def made_up_text(seed: int, sentences: int = 400) -> bytes:
    """Sentences of words that are frequent in very different degrees, so that no discount falls back."""
    words = np.random.default_rng(seed).zipf(1.3, size=(sentences, 9)) % 60
    return "\n".join(" ".join(f"w{word}" for word in row if word > 2) for row in words).encode()


@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_held_out_perplexity_is_that_of_the_dictionaries(order):
    text, held_out = made_up_text(0), made_up_text(1, 60)
    model = fit(text, order, smoothing="kneser-ney")
    slow = oracle.smooth(tokens(read_chunks(text)), order)
    sentences = list(tokens(read_chunks(held_out)))
    ids = np.concatenate([[*model.vocabulary.encode(sentence), 0] for sentence in sentences]).astype(np.int32)
    scores = model.score(ids)
    for unknown in (True, False):
        expected = oracle.perplexity(slow, sentences, unknown=unknown)
        assert scores.perplexity(unknown=unknown) == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(texts(), st.integers(2, 6), st.integers(1, 2))
def test_probabilities_after_every_seen_context_sum_to_one(text, order, threads):
    ids, size = text
    if size > 50:
        return
    counts = count(ids, size, order)
    estimates, _ = estimate(counts, threads)
    model = fit(b"x\n", order, smoothing="kneser-ney")  # for its arithmetic; the numbers are put in below
    object.__setattr__(model, "counts", counts)
    object.__setattr__(model, "estimates", estimates)
    for context in ([], [0], ids[-order:-1].tolist()):
        after = context[-(order - 1) :]
        after = after[len(after) - 1 - after[::-1].index(0) :] if 0 in after else after
        total = sum(math.exp(model._log_probability(word, after)) for word in range(size))
        assert total == pytest.approx(1, abs=1e-5)


def test_the_discounts_are_those_of_the_formula():
    text = made_up_text(2)
    _, discounts = estimate(fit(text, 2).counts)
    pairs = fit(text, 2).counts.levels[1].counts.tolist()
    ones, twos, threes, fours = (pairs.count(number) for number in (1, 2, 3, 4))
    share = ones / (ones + 2 * twos)
    formula = [1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes]
    assert discounts[1] == pytest.approx(formula)


def test_a_text_too_small_for_its_discounts_is_told_so():
    with pytest.warns(FallbackDiscountsWarning, match=r"1-grams.*took 0\.5, 1\.0, 1\.5"):
        _, discounts = estimate(fit(b"a b\na c\n", 2).counts)
    assert tuple(discounts[0]) == FALLBACK


def test_an_unknown_word_has_the_share_of_the_uniform_distribution():
    model = fit(made_up_text(3), 2, smoothing="kneser-ney")
    adjusted = np.diff(model.counts.levels[1].starts)
    taken = np.concatenate([[0], model.discounts[0]])[np.minimum(adjusted, 3)].sum()
    expected = taken / adjusted.sum() / len(model.vocabulary)
    assert math.exp(model.estimates[0].log_probabilities[SPECIAL.index("<unk>")]) == pytest.approx(expected, rel=1e-6)
    assert model.probability("never-seen", "w3") == pytest.approx(
        expected * math.exp(model.estimates[0].log_backoffs[model.vocabulary.id("w3")]), rel=1e-6
    )
