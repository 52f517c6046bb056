"""ARPA files: what KenLM writes is read, what is written is read by KenLM, and mistakes are named by their line."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngram import NgramModel, fit, load, save
from models.ngram.arpa import ArpaError, read_arpa, write_arpa
from models.ngram.fitting import encode_with
from models.ngram.padded import Padded

pytestmark = pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")

TEXT = b"\nthe cat sat\nthe dog sat\n\nthe cat\n"
# What lmplz -o 3 --discount_fallback makes of this text.
KENLM = """\
\\data\\
ngram 1=7
ngram 2=8
ngram 3=7

\\1-grams:
-0.9822712	<unk>	0
0	<s>	-0.079181254
-0.9822712	</s>	0
-0.8120095	the	-0.25527254
-0.8120095	cat	-0.25527254
-0.48258412	sat	-0.23408322
-0.8120095	dog	-0.25527254

\\2-grams:
-0.5960696	<s> </s>	0
-0.5526984	cat </s>	0
-0.32108977	sat </s>	0
-0.89119077	<s> the	-0.30103
-0.5116321	the cat	-0.30103
-0.39244568	cat sat	-0.30103
-0.20251442	dog sat	-0.30103
-0.5116321	the dog	-0.30103

\\3-grams:
-0.40888384	the cat </s>
-0.13152292	cat sat </s>
-0.13152292	dog sat </s>
-0.31223163	<s> the cat
-0.344337	the cat sat
-0.08955842	the dog sat
-0.49403393	<s> the dog

\\end\\
"""
# A pruned model, as SRILM may write one: "a b" is missing though "b a b" is there, and there is no <unk>.
PRUNED = """
\\data\\
ngram 1=4
ngram 2=2
ngram 3=1

\\1-grams:
-1.0 </s>
-99 <s> -0.3
-0.5 a -0.2
-0.4 b -0.1

\\2-grams:
-0.3 <s> a
-0.6 b a -0.25

\\3-grams:
-0.2 b a b

\\end\\
"""


def fitted(text: bytes = TEXT, order: int = 3) -> NgramModel:
    return fit(text, order, smoothing="kneser-ney")


def written(model: NgramModel, folder: Path) -> str:
    write_arpa(model, folder / "model.arpa")
    return (folder / "model.arpa").read_text(encoding="utf-8")


def read(text: str, folder: Path) -> NgramModel:
    (folder / "read.arpa").write_text(text, encoding="utf-8")
    return read_arpa(folder / "read.arpa")


def ngrams(text: str) -> dict[str, tuple[float, ...]]:
    """Logarithms by n-gram."""
    lines = [line.split("\t") for line in text.split("\n") if "\t" in line]
    return {words: tuple(map(float, (probability, *backoff))) for probability, words, *backoff in lines}


def test_what_is_written_has_the_form_that_kenlm_writes(tmp_path: Path) -> None:
    lines, theirs = written(fitted(), tmp_path).splitlines(), KENLM.splitlines()
    assert [len(line.split("\t")) for line in lines] == [len(line.split("\t")) for line in theirs]
    assert [line for line in lines if "\t" not in line] == [line for line in theirs if "\t" not in line]


def test_what_is_written_has_the_numbers_that_kenlm_writes(tmp_path: Path) -> None:
    ours, theirs = ngrams(written(fitted(), tmp_path)), ngrams(KENLM)
    assert ours.keys() == theirs.keys()
    assert ours.pop("<s>") == pytest.approx((-99.0, theirs.pop("<s>")[1]), abs=1e-6)
    for words, logarithms in ours.items():
        assert logarithms == pytest.approx(theirs[words], abs=1e-6), words


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.skipif(not shutil.which("lmplz"), reason="lmplz of KenLM is not on the PATH")
def test_a_model_equals_that_of_kenlm(order: int, tmp_path: Path) -> None:
    text = b"".join(b"w%d w%d w%d\n" % (n % 7, n * n % 11, n**3 % 13) for n in range(200))
    done = subprocess.run(
        ["lmplz", "-o", str(order), "--discount_fallback"], input=text, capture_output=True, check=True, timeout=60
    )
    ours, theirs = ngrams(written(fitted(text, order), tmp_path)), ngrams(done.stdout.decode())
    assert ours.keys() == theirs.keys()
    assert all(ours[words] == pytest.approx(theirs[words], abs=1e-5) for words in ours if words != "<s>")


def test_a_model_that_kenlm_wrote_says_what_ours_says(tmp_path: Path) -> None:
    ours, theirs = fitted(), read(KENLM, tmp_path)
    for words in (["the", "cat"], ["<s>", "the"], ["dog", "sat"], ["sat", "sat"], ["bird"], []):
        for word in ("the", "cat", "sat", "</s>", "bird"):
            assert theirs.probability(word, words) == pytest.approx(ours.probability(word, words), rel=1e-6)


SENTENCES = st.lists(
    st.lists(st.sampled_from(["a", "b", "ä", "ß\u00a0c", "<unk>"]), max_size=6), min_size=1, max_size=9
)


@settings(deadline=None, max_examples=50)
@given(SENTENCES.filter(any), st.integers(2, 6))
def test_a_model_that_is_written_and_read_scores_the_same(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[str]], order: int
) -> None:
    text = "\n".join(map(" ".join, sentences)).encode() + b"\n"
    model, folder = fitted(text, order), tmp_path_factory.mktemp("arpa")
    again = read(written(model, folder), folder)
    held_out = [Padded.of(text + b"a x b\nb a a ss b\n")]
    first, second = (one.score(encode_with(one.vocabulary, held_out)) for one in (model, again))
    assert second.log_probabilities == pytest.approx(first.log_probabilities, abs=2e-6)
    assert np.array_equal(second.orders, first.orders)
    assert np.array_equal(second.unknown, first.unknown)


def test_a_model_that_was_read_is_written_as_it_was(tmp_path: Path) -> None:
    text = written(fitted(), tmp_path)
    again = written(read(text, tmp_path), tmp_path)
    assert ngrams(again) == {words: pytest.approx(numbers, abs=2e-7) for words, numbers in ngrams(text).items()}


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_blocks_of_any_size_give_the_same_file_and_model(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = written(fitted(), tmp_path)
    monkeypatch.setattr("models.ngram.arpa.WRITTEN_AT_ONCE", at_once)
    monkeypatch.setattr("models.ngram.arpa.READ_AT_ONCE", at_once)
    assert written(fitted(), tmp_path) == whole
    assert ngrams(written(read(whole, tmp_path), tmp_path)).keys() == ngrams(whole).keys()


@pytest.mark.parametrize("smoothing", ["mle", "additive"])
def test_a_model_that_does_not_back_off_is_not_written(smoothing: str, tmp_path: Path) -> None:
    with pytest.raises(ArpaError, match=f"{smoothing} smoothing does not: fit it with kneser-ney"):
        write_arpa(fit(TEXT, 3, smoothing=smoothing), tmp_path / "model.arpa")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text("old")

    def interrupt(stage: str, done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_arpa(fitted(), path, interrupt)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("model.arpa", "old")]


def test_the_end_of_an_ngram_that_a_file_lacks_has_the_probability_of_backing_off(tmp_path: Path) -> None:
    model = read(PRUNED, tmp_path)
    assert math.log10(model.probability("b", "b a")) == pytest.approx(-0.2, abs=1e-6)
    assert math.log10(model.probability("b", "a a")) == pytest.approx(-0.2 - 0.4, abs=1e-6)
    assert math.log10(model.probability("b", "<s> a")) == pytest.approx(-0.2 - 0.4, abs=1e-6)
    assert math.log10(model.probability("a", "b a")) == pytest.approx(-0.25 - 0.2 - 0.5, abs=1e-6)
    scores = model.score(model.vocabulary.encode(["b", "a", "b", "</s>"]))
    expected = [-0.3 - 0.4, -0.6, -0.2, -0.1 - 1.0]
    assert scores.log_probabilities / math.log(10) == pytest.approx(expected, abs=1e-6)


def test_a_model_that_was_read_can_be_stored(tmp_path: Path) -> None:
    model = read(PRUNED, tmp_path)
    save(model, tmp_path / "model")
    ids = model.vocabulary.encode(["b", "a", "b", "bird", "</s>"])
    loaded = load(tmp_path / "model")
    assert np.array_equal(loaded.score(ids).log_probabilities, model.score(ids).log_probabilities)
    assert loaded.counts.tokens is None


def test_an_unknown_word_is_impossible_where_a_file_has_none(tmp_path: Path) -> None:
    model = read(PRUNED, tmp_path)
    assert model.probability("bird", "a") == 0.0
    scores = model.score(model.vocabulary.encode(["a", "bird", "</s>"]))
    assert scores.perplexity() == math.inf
    assert math.isfinite(scores.perplexity(unknown=False))
    assert "<unk>" not in ngrams(written(model, tmp_path))


def test_a_model_that_was_read_has_no_counts_and_says_so(tmp_path: Path) -> None:
    counts = read(KENLM, tmp_path).counts
    assert counts.tokens is None
    with pytest.raises(ValueError, match="came without counts"):
        counts.count([2])
    with pytest.raises(ValueError, match="came without counts"):
        _ = counts.sentences


@pytest.mark.parametrize(
    ("right", "wrong", "line", "message"),
    [
        ("\\data\\", "data", 2, "begins with"),
        ("ngram 2=2", "ngram 3=2", 4, "expected ngram 2=SIZE"),
        ("ngram 2=2", "ngram 2=3", 16, "a logarithm, 2 words and perhaps a backoff"),
        ("ngram 2=2", "ngram 2=1", 15, "as many as announced, \\\\3-grams: must stand"),
        ("-0.6 b a", "-0.6 b c", 15, "c is not among the 1-grams"),
        ("-0.6 b a", "x b a", 15, "x is no number"),
        ("-0.6 b a", "0.6 b a", 15, "a probability is more than 1"),
        ("-0.6 b a", "nan b a", 15, "a probability is more than 1"),
        ("-0.25", "inf", 15, "a backoff weight is no finite number"),
        ("-0.6 b a", "-0.6 <s> a", 15, "twice"),
        ("-0.4 b", "-0.4 a", 11, "twice"),
        ("-0.6 b a", "-0.6 a <s>", 15, "<s> is not the first word"),
        ("-0.6 b a", "-0.6 </s> a", 15, "</s> is not the last word"),
        ("-0.2 b a b", "", 18, "a logarithm, 3 words"),
        ("\n\\end\\", "", 20, "must stand"),
        ("-0.2 b a b\n\n\\end\\\n", "", 18, "the file ends among the 3-grams"),
        ("-99 <s> -0.3", "-99 c -0.3", None, "no <s> among its 1-grams"),
        ("-1.0 </s>", "-1.0 c", None, "no </s> among its 1-grams"),
    ],
)
def test_a_mistake_in_a_file_is_named_by_its_line(
    right: str, wrong: str, line: int | None, message: str, tmp_path: Path
) -> None:
    assert PRUNED.count(right) == 1
    with pytest.raises(ArpaError, match=message) as caught:
        read(PRUNED.replace(right, wrong), tmp_path)
    assert line is None or f"line {line}:" in str(caught.value)


def test_a_word_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.arpa").write_bytes(PRUNED.encode().replace(b" b", b" b\xff"))
    with pytest.raises(ArpaError, match="not UTF-8"):
        read_arpa(tmp_path / "bad.arpa")


def test_orders_beyond_six_are_refused(tmp_path: Path) -> None:
    header = "".join(f"ngram {order}=1\n" for order in range(1, 8))
    with pytest.raises(ArpaError, match="of order 7: it must be 1 to 6"):
        read(f"\\data\\\n{header}\n\\1-grams:\n", tmp_path)


def test_an_order_without_ngrams_is_read(tmp_path: Path) -> None:
    model = read(PRUNED.replace("ngram 3=1", "ngram 3=0").replace("-0.2 b a b", ""), tmp_path)
    assert math.log10(model.probability("b", "b a")) == pytest.approx(-0.25 - 0.2 - 0.4, abs=1e-6)
    assert model.score(model.vocabulary.encode(["b", "a", "b", "</s>"])).orders.tolist() == [1, 2, 1, 1]


def test_a_model_of_order_one_is_read_as_well(tmp_path: Path) -> None:
    head, _, _ = PRUNED.replace("ngram 2=2\nngram 3=1\n", "").partition("\\2-grams:")
    model = read(f"{head}\\end\\\n", tmp_path)
    assert math.log10(model.probability("b", "a")) == pytest.approx(-0.4, abs=1e-6)
