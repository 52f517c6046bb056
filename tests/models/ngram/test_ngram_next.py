"""The words that come next: the most probable first, from the beginning of a sentence on."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.ngram import CorpusError, TextOptions, fit, save
from models.ngram.__main__ import main
from models.ngram.next_words import context_of, next_words
from models.ngram.sampling import NothingFollows

STUDENTS = b"the students opened their books\n" * 3 + b"the students opened their laptops\n"
pytestmark = pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")


def test_the_most_probable_word_comes_first_with_its_probability() -> None:
    assert next_words(fit(STUDENTS, 3), "the students opened their", 10) == [("books", 0.75), ("laptops", 0.25)]
    assert next_words(fit(STUDENTS, 3), "the students opened their", 1) == [("books", 0.75)]


@pytest.mark.parametrize(
    ("smoothing", "order"),
    [("mle", 1), ("mle", 4), ("additive", 2), ("additive", 4), ("kneser-ney", 2), ("kneser-ney", 4)],
)
def test_each_word_has_what_the_model_says_of_it_and_all_make_one(smoothing: str, order: int) -> None:
    model = fit(STUDENTS, order, smoothing=smoothing)
    found = next_words(model, "the students", 100)
    words = ["<s>", "the", "students"]
    assert [share for _, share in found] == pytest.approx(
        [model.probability(word, words) for word, _ in found], rel=1e-6
    )
    assert sum(share for _, share in found) == pytest.approx(1.0, rel=1e-6)
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)


def test_an_empty_beginning_is_that_of_a_sentence_and_a_last_word_may_end_it() -> None:
    model = fit(STUDENTS, 3)
    for nothing in ("", "  ", "\n"):
        assert next_words(model, nothing, 10) == [("the", 1.0)]
    assert next_words(model, "the students opened their books", 10) == [("</s>", 1.0)]


def test_the_beginning_counts_as_one_where_fewer_words_come_before() -> None:
    model = fit(b"a b\nc a a\n", 3)
    assert context_of(model, "a") == [0, model.vocabulary.id("a")]
    assert next_words(model, "a", 10) == [("b", 1.0)]  # the other a is in the middle of its sentence
    assert next_words(model, "a b\nc", 10) == [("a", 1.0)]  # of several lines the last


def test_what_was_done_to_the_text_is_done_to_the_beginning() -> None:
    model = fit(b"The students, THE books\n", 2, options=TextOptions(lower=True, punctuation=True))
    assert next_words(model, "The students", 10) == [(",", 1.0)]
    spelt = fit(b"ab ab\n", 3, options=TextOptions(characters=True))
    assert next_words(spelt, "ab a", 10) == [("b", 1.0)]


def test_nothing_follows_what_was_never_seen_unless_the_model_is_smoothed() -> None:
    with pytest.raises(NothingFollows, match="After 'books students' the model has no next word"):
        next_words(fit(STUDENTS, 3), "books students", 5)
    assert next_words(fit(STUDENTS, 3, smoothing="kneser-ney"), "books students", 5)
    with pytest.raises(CorpusError):
        next_words(fit(STUDENTS, 3), "\ud800", 5)


def test_the_command_prints_a_line_for_each_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(fit(STUDENTS, 3), Path("model"))
    assert main(["next", "model", "the students opened their"]) == 0
    assert capsys.readouterr().out == "0.750000  books\n0.250000  laptops\n"
    assert main(["next", "model", "the students opened their", "-n", "1"]) == 0
    assert capsys.readouterr().out == "0.750000  books\n"
    assert main(["next", "model", "books books"]) == 2
    assert capsys.readouterr().err == "After 'books books' the model has no next word: its probabilities add to 0.0.\n"
