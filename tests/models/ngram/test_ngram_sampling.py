"""Made-up sentences: they follow the model's probabilities."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from models.ngram import NgramModel, fit, read_arpa
from models.ngram.sampling import distribution, sample

TEXT = b"the cat sat\nthe dog sat down\nthe cat ran\na dog ran down the road\n\nthe cat sat down\n"
SMOOTHINGS = ("mle", "additive", "kneser-ney")
pytestmark = pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")


def fitted(smoothing: str = "mle", order: int = 3, text: bytes = TEXT) -> NgramModel:
    return fit(text, order, smoothing=smoothing, alpha=0.3)


def sentences(model: NgramModel, number: int, seed: int = 0, max_words: int = 100) -> list[list[str]]:
    return list(sample(model, number, np.random.default_rng(seed), max_words))


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_same_seed_makes_the_same_sentences_and_another_makes_others(smoothing: str) -> None:
    model = fitted(smoothing)
    assert sentences(model, 20, seed=1) == sentences(model, 20, seed=1)
    assert sentences(model, 20, seed=1) != sentences(model, 20, seed=2)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [2, 3, 4])
def test_a_distribution_is_what_the_model_says_of_each_word_and_sums_to_one(smoothing: str, order: int) -> None:
    model = fitted(smoothing, order)
    for context in ([], ["<s>"], ["the"], ["<s>", "the"], ["the", "cat"], ["sat", "down"], ["cat", "sat", "down"]):
        used = context[max(0, len(context) - order + 1) :]
        found = distribution(model, [model.vocabulary.id(word) for word in used])
        assert found == pytest.approx([model.probability(word, used) for word in model.vocabulary], rel=1e-6)
        assert found.sum() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("smoothing", ["additive", "kneser-ney"])
def test_a_smoothed_distribution_sums_to_one_after_a_context_that_was_never_seen(smoothing: str) -> None:
    model = fitted(smoothing)
    assert distribution(model, model.vocabulary.encode(["road", "a"]).tolist()).sum() == pytest.approx(1.0, rel=1e-6)


def test_without_smoothing_nothing_follows_a_context_that_was_never_seen() -> None:
    model = fitted("mle")
    assert not distribution(model, model.vocabulary.encode(["road", "a"]).tolist()).any()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_model_without_smoothing_makes_up_seen_ngrams_only(order: int) -> None:
    model = fitted("mle", order)
    for words in sentences(model, 200, max_words=30):
        padded = [0, *model.vocabulary.encode(words), *([0] if len(words) < 30 else [])]
        for end in range(2, len(padded) + 1):
            assert model.counts.count(padded[max(0, end - order) : end]) > 0


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [2, 3])
def test_words_come_as_often_as_they_are_probable(smoothing: str, order: int) -> None:
    model = fitted(smoothing, order)
    made = [["<s>", *words, "</s>"] for words in sentences(model, 1500, max_words=1000)]
    for context in (["<s>"], ["the"] if order == 2 else ["<s>", "the"]):
        drawn = Counter(
            words[place]
            for words in made
            for place in range(len(context), len(words))
            if words[place - len(context) : place] == context and (order == 2 or place == len(context))
        )
        assert drawn.total() > 300
        for word in model.vocabulary:
            probability = model.probability(word, context)
            error = np.sqrt(drawn.total() * probability * (1 - probability))
            assert abs(drawn[word] - drawn.total() * probability) <= 4.5 * error, (context, word)


def test_a_sentence_stops_at_the_largest_number_of_words() -> None:
    model = fit(b"on and on and on and on and on and on and on", 2)
    assert {len(words) for words in sentences(model, 50, max_words=3)} <= {1, 2, 3}
    assert max(len(words) for words in sentences(model, 50, max_words=3)) == 3
    assert sentences(model, 2, max_words=0) == [[], []]


def test_an_empty_sentence_of_the_text_can_be_drawn() -> None:
    assert [] in sentences(fitted(), 50)


def test_what_was_cut_off_is_made_up_as_an_unknown_word() -> None:
    model = fit(TEXT, 2, min_count=4)
    assert any("<unk>" in words for words in sentences(model, 20))


def test_sentences_are_made_one_at_a_time() -> None:
    assert len(list(islice(sample(fitted(), 10**9, np.random.default_rng(0)), 3))) == 3


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_no_word_takes_a_look_at_all_words(smoothing: str, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if smoothing == "kneser-ney" and order == 1:
        order = 4
    model = fitted(smoothing, order, TEXT * 3 + b"a road sat\nno dog ran\n")

    def refused(*_: object) -> None:
        raise AssertionError("all words were looked at")

    monkeypatch.setattr("models.ngram.sampling.distribution", refused)
    assert len(sentences(model, 50)) == 50


def test_a_model_whose_contexts_are_not_all_there_makes_up_sentences_too(tmp_path: Path) -> None:
    (tmp_path / "model.arpa").write_text(
        "\\data\\\nngram 1=4\nngram 2=1\nngram 3=1\n\n\\1-grams:\n-1 </s>\n-99 <s> -0.3\n-0.5 a -0.2\n-0.3 b -0.1\n\n"
        "\\2-grams:\n-0.6 b a -0.25\n\n\\3-grams:\n-0.001 <s> b a\n\n\\end\\\n"
    )
    model = read_arpa(tmp_path / "model.arpa")  # `<s> b` is not among its 2-grams
    made = sentences(model, 300)
    after_b = Counter(words[1] for words in made if words[:1] == ["b"] and len(words) > 1)
    assert after_b["a"] / after_b.total() > 0.7
