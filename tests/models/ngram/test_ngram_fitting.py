from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from models.ngram import CorpusError, TextOptions, fit
from models.ngram.fitting import encode_with
from models.ngram.spilling import MemoryTooSmall
from models.ngram.text import read_views

LECTURE = "\n".join(["the cat"] * 50 + ["the dog"] * 30 + ["the"] * 920).encode()


@pytest.mark.parametrize("engine", ["numba", "torch", "python"])
def test_the_lectures_example_holds(engine):
    model = fit(LECTURE, 2, engine=engine)
    assert model.counts.count([model.vocabulary.id("the")]) == 1000
    assert model.probability("cat", "the") == 0.05
    assert model.probability("dog", "the") == 0.03
    assert model.probability("the", "<s>") == 1.0


def test_what_is_unseen_has_probability_zero_and_makes_the_perplexity_infinite():
    model = fit(LECTURE, 2)
    assert model.probability("the", "cat") == 0.0
    assert model.probability("cow", "the") == 0.0
    assert model.probability("cat", "cow") == 0.0
    scores = model.score(encode_with(model.vocabulary, read_views(b"the cat the\n")))
    assert scores.perplexity() == math.inf
    assert scores.unseen_share(2) == 0.25  # "cat the", of four tokens


def test_perplexity_of_what_is_seen_is_that_of_its_probabilities():
    model = fit(LECTURE, 2)
    scores = model.score(encode_with(model.vocabulary, read_views(b"the dog\n")))
    assert scores.perplexity() == pytest.approx((1.0 * 0.03 * 1.0) ** (-1 / 3))
    assert scores.orders.tolist() == [2, 2, 2]


def test_additive_smoothing_gives_every_word_a_share():
    model = fit(LECTURE, 2, smoothing="additive", alpha=0.5)
    size = model.counts.vocabulary_size
    assert model.probability("cat", "the") == (50 + 0.5) / (1000 + 0.5 * size)
    assert sum(model.probability(word, "the") for word in model.vocabulary) == pytest.approx(1)
    assert model.probability("cat", "cow") == 1 / size


@pytest.mark.parametrize("smoothing", ["mle", "additive"])
def test_a_text_is_scored_as_its_words_one_by_one_are(smoothing):
    model = fit(b"a b c a b d\na b c\nc a\n", 3, smoothing=smoothing)
    sentences = [["a", "b", "c"], ["c", "x", "a", "b"], []]
    ids = encode_with(model.vocabulary, read_views("\n".join(map(" ".join, sentences)).encode() + b"\n"))
    expected = []
    for sentence in sentences:
        before = ["<s>"]
        for word in [*sentence, "</s>"]:
            expected.append(model.probability(word, before))
            before.append(word)
    np.testing.assert_allclose(np.exp(model.score(ids).log_probabilities), expected)


def test_a_long_text_is_scored_as_in_one_piece(monkeypatch):
    model = fit(LECTURE, 3)
    ids = encode_with(model.vocabulary, read_views(LECTURE[:300] + b"\n"))
    whole = model.score(ids)
    monkeypatch.setattr("models.ngram.scoring.TOKENS_AT_ONCE", 3)
    pieces = model.score(ids, threads=2)
    np.testing.assert_array_equal(whole.log_probabilities, pieces.log_probabilities)
    np.testing.assert_array_equal(whole.orders, pieces.orders)


@pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")
@pytest.mark.parametrize("at_once", [1, 2, 4, 5, 7])
@pytest.mark.parametrize("options", [{"smoothing": "kneser-ney"}, {"smoothing": "additive"}, {}])
def test_a_sentence_longer_than_a_piece_keeps_the_words_before_it(monkeypatch, at_once, options):
    text = b"a b c d e f g h i\nb c d e f g\na b c d e x g h i\n" * 3 + b"c d e\ng h i\n"
    model = fit(text, 4, **options)
    ids = encode_with(model.vocabulary, read_views(b"a b c d e f g h x b c d e f g\nb c d\ng h i a b c d\n"))
    whole = model.score(ids)
    assert (whole.orders == 4).sum() > 5
    monkeypatch.setattr("models.ngram.scoring.TOKENS_AT_ONCE", at_once)
    pieces = model.score(ids, threads=2)
    np.testing.assert_array_equal(whole.log_probabilities, pieces.log_probabilities)
    np.testing.assert_array_equal(whole.orders, pieces.orders)
    np.testing.assert_array_equal(whole.reaches, pieces.reaches)


def test_rare_words_become_unknown_and_count_as_such():
    model = fit(b"a a b\na c\n", 2, min_count=2)
    assert list(model.vocabulary) == ["</s>", "<unk>", "a"]
    assert model.counts.levels[0].counts.tolist() == [2, 2, 3]
    assert model.probability("c", "a") == model.probability("never", "a") == 2 / 3


def test_only_the_most_frequent_words_are_kept():
    assert list(fit(b"c b a b a\n", 1, max_vocabulary=2).vocabulary)[2:] == ["b", "a"]


def test_a_cut_off_that_leaves_no_word_is_an_error():
    with pytest.raises(CorpusError, match="no vocabulary"):
        fit(b"a b\n", 2, min_count=3)


@pytest.mark.parametrize("word", ["<s>", "</s>"])
@pytest.mark.parametrize("engine", ["numba", "torch", "python"])
def test_a_boundary_in_the_text_is_an_error(word, engine):
    with pytest.raises(CorpusError, match=word):
        fit(f"a {word} b\n".encode(), 2, engine=engine)


def test_a_budget_gives_the_table_of_no_budget():
    spilled, held = (fit(LECTURE, 3, memory=memory, min_count=40) for memory in (2_000_000_000, None))
    for one, other in zip(spilled.counts.levels, held.counts.levels, strict=True):
        np.testing.assert_array_equal(one.words, other.words)
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_array_equal(one.starts, other.starts)


def test_a_budget_below_what_python_takes_says_what_it_takes():
    with pytest.raises(MemoryTooSmall, match="it takes"):
        fit(LECTURE, 3, memory=1_000_000)


def test_a_corpus_may_be_one_sentence():
    model = fit(b"a b\na b\n", 2, options=TextOptions(sentences=False))
    assert model.counts.sentences == 1
    assert model.probability("a", "b") == 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": 0}, "order is 0: it must be 1 to 6"),
        ({"order": 7}, "order is 7"),
        ({"order": 1, "smoothing": "kneser-ney"}, "it must be 2 to 6"),
        ({"smoothing": "witten-bell"}, "there are mle, additive, kneser-ney"),
        ({"engine": "fortran"}, "there are numba, torch, python"),
        ({"alpha": 0}, "alpha is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"min_count": 0}, "min_count is 0"),
        ({"max_vocabulary": 0}, "max_vocabulary is 0"),
        ({"memory": 10**9, "engine": "torch"}, "budget"),
        ({"memory": 10**9, "smoothing": "kneser-ney"}, "keeps no budget"),
    ],
)
def test_an_argument_out_of_its_range_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        fit(LECTURE, **wrong)


def test_counting_imports_no_torch():
    code = "import sys; import models.ngram as n; n.fit(b'a b\\n', 2); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
