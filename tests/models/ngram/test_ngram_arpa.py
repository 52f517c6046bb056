"""ARPA files: what KenLM writes is read, what is written is read by KenLM, and mistakes are named by their line."""

from __future__ import annotations

import gzip
import lzma
import math
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.ngram import NgramModel, Vocabulary, fit, load, save
from models.ngram.arpa import ArpaError, read_arpa, write_arpa
from models.ngram.arpa_lines import Lines
from models.ngram.arpa_numbers import write_number
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
    monkeypatch.setattr("models.ngram.arpa_writing.WRITTEN_AT_ONCE", at_once)
    monkeypatch.setattr("models.ngram.arpa.READ_AT_ONCE", at_once)
    monkeypatch.setattr("models.ngram.arpa.TOLD_EACH", at_once)
    monkeypatch.setattr("models.ngram.arpa.FIRST_ROOM", at_once)
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

    def interrupt(stage: str, done: int, of: int) -> None:
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
        ("-0.6 b a", "nan b a", 15, "nan is no number"),
        ("-0.6 b a", "-1_0 b a", 15, "-1_0 is no number"),
        ("-0.6 b a", "\u0661 b a", 15, "\u0661 is no number"),
        ("-0.6 b a", "0x1p-3 b a", 15, "0x1p-3 is no number"),
        ("-0.6 b a", "+1 b a", 15, "a probability is more than 1"),
        ("-0.6 b a", "inf b a", 15, "a probability is more than 1"),
        ("-0.6 b a", "\x1b[31m b a", 15, r"\\x1b\[31m is no number"),
        ("-0.6 b a", f"-{'9' * 90}x b a", 15, f"-{'9' * 39}... is no number"),
        ("-0.25", "nan", 15, "nan is no number"),
        ("-0.25", "inf", 15, "a backoff weight is no finite number"),
        ("-0.25", "1e39", 15, r"a backoff weight is more than 10\^99"),
        ("-0.4 b", "-0.4 b\0", 11, "holds a NUL"),
        ("ngram 2=2", "ngram 2=100000000000", 4, "100000000000 2-grams are more than a model can have"),
        ("ngram 2=2", f"ngram 2=1{'0' * 20}", 4, f"1{'0' * 20} 2-grams are more than a model can have"),
        ("ngram 2=2", f"ngram 2={'9' * 5000}", 4, "9... 2-grams are more than a model can have"),
        (
            "ngram 2=2",
            "ngram 2=4000000000",
            16,
            "2 words and perhaps a backoff, as 4,000,000,000 2-grams are announced",
        ),
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
    with pytest.raises(ArpaError, match=r"line 11: the word .* is not UTF-8"):
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


PARTS_NO_WORD = ["\x1f", "\x1c", "\x0b", "\x0c", "\x01", "\x85", "\u00a0", "\u2028", "\u2029", "\u3000", "\ufeff"]


@pytest.mark.parametrize("sign", PARTS_NO_WORD)
def test_a_word_is_whole_whatever_stands_in_it(sign: str, tmp_path: Path) -> None:
    text = PRUNED.replace("1=4", "1=5").replace("-0.5 a", f"-0.7 x{sign}y\n-0.5 a")
    model = read(text, tmp_path)
    assert list(model.vocabulary)[2:] == [f"x{sign}y", "a", "b"]
    scores = model.score(encode_with(model.vocabulary, [Padded.of(b"a b\n")]))
    assert scores.log_probabilities / math.log(10) == pytest.approx([-0.3, -0.2 - 0.4, -0.1 - 1.0], abs=1e-6)
    assert list(read(written(model, tmp_path), tmp_path).vocabulary) == list(model.vocabulary)


@pytest.mark.parametrize("sign", [sign for sign in PARTS_NO_WORD if sign > " "])
def test_a_context_is_parted_into_the_words_that_a_text_is_parted_into(sign: str) -> None:
    model = fitted(f"a{sign}b c\nb d\n".encode(), 2)
    assert model.probability("c", f"a{sign}b") == model.probability("c", [f"a{sign}b"])
    assert model.probability("c", f"a{sign}b") != model.probability("c", ["b"])


@pytest.mark.parametrize("order", [2, 3])
def test_both_unknown_words_in_a_text_are_one_and_its_export_is_read(order: int, tmp_path: Path) -> None:
    text = b"a <UNK> b\na <unk> c\n<UNK> <UNK>\n"
    model = fitted(text, order)
    assert list(model.vocabulary) == ["</s>", "<unk>", "a", "b", "c"]
    assert model.probability("b", "<UNK>") == model.probability("b", "<unk>") == model.probability("b", "never-seen")
    again = read(written(model, tmp_path), tmp_path)
    first, second = (one.score(encode_with(one.vocabulary, [Padded.of(text)])) for one in (model, again))
    assert second.log_probabilities == pytest.approx(first.log_probabilities, abs=2e-6)


def test_a_vocabulary_that_has_both_unknown_words_keeps_its_ids_and_is_not_exported(tmp_path: Path) -> None:
    model = fitted(b"a b c\n")
    old = replace(model, vocabulary=Vocabulary.of(["<UNK>", "b", "c"]))  # as one that was saved before they were one
    assert encode_with(old.vocabulary, [Padded.of(b"<UNK> b c <unk>\n")]).tolist() == [2, 3, 4, 1, 0]
    with pytest.raises(ArpaError, match="<UNK> as a word beside <unk>"):
        write_arpa(old, tmp_path / "model.arpa")


def test_a_word_that_an_arpa_file_cannot_hold_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ArpaError, match="no word of an ARPA file can"):
        write_arpa(replace(fitted(b"a b c\n"), vocabulary=Vocabulary.of(["a b", "b", "c"])), tmp_path / "model.arpa")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text.lstrip(),
        lambda text: "# made by hand\nand so on\n" + text,
        lambda text: text + "\nwhat comes after\n",
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n \t\n"),
        lambda text: text.replace(" a", "\t  a"),
        lambda text: text.replace("ngram 1=4", "ngram  1 = 0004"),
        lambda text: text.replace("-99", "-inf"),
        lambda text: text.replace("-0.2 b a b\n", "-0.2 b a b 0\n"),
        lambda text: text.replace("-0.5", "-5.0e-1"),
    ],
    ids=["mark", "preamble", "after", "blank", "CR LF", "spaces", "tabs", "header", "-inf", "backoff", "exponent"],
)
def test_what_kenlm_or_srilm_reads_is_read(change: Callable[[str], str], tmp_path: Path) -> None:
    plain, changed = read(PRUNED, tmp_path), read(change(PRUNED), tmp_path)
    ids = plain.vocabulary.encode(["b", "a", "b", "</s>"])
    assert changed.score(ids).log_probabilities == pytest.approx(plain.score(ids).log_probabilities)


def test_a_mistake_after_blank_lines_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(ArpaError, match="line 29: x is no number"):
        read(PRUNED.replace("-0.6 b a", "x b a").replace("\n", "\n\n"), tmp_path)


def test_a_file_without_line_feeds_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    with path.open("wb") as file:
        file.truncate(1 << 28)
    with pytest.raises(ArpaError, match="line 1: it has more than 4,194,304 bytes"):
        read_arpa(path)


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".gz", b"\x1f\x8b"), (".xz", b"\xfd7zXZ"), (".zst", b"\x28\xb5\x2f\xfd")]
)
def test_a_file_is_compressed_by_the_ending_of_its_name(suffix: str, begins: bytes, tmp_path: Path) -> None:
    path, plain = tmp_path / f"model.arpa{suffix}", written(fitted(), tmp_path)
    write_arpa(fitted(), path)
    first = path.read_bytes()
    assert first.startswith(begins)
    write_arpa(fitted(), path)
    assert path.read_bytes() == first
    assert written(read_arpa(path), tmp_path) == written(read(plain, tmp_path), tmp_path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_compressed_file_that_is_cut_short_or_none_is_damaged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.arpa{suffix}"
    write_arpa(fitted(), path)
    for data in (path.read_bytes()[:-5], PRUNED.encode()):
        path.write_bytes(data)
        with pytest.raises(ArpaError, match="is damaged: "):
            read_arpa(path)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("after", [0, 100_000])
def test_a_compressed_file_is_held_against_its_checksum_to_the_end(
    suffix: str, pack: Callable[[bytes], bytes], after: int, tmp_path: Path
) -> None:
    path = tmp_path / f"model.arpa{suffix}"
    data = bytearray(pack(PRUNED.encode() + b"\n" * after))  # more than is read at once, so that its end is not seen
    data[-6 if suffix == ".gz" else data.rindex(b"YZ") - 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArpaError, match="is damaged: "):
        read_arpa(path)


def test_logarithms_of_any_size_are_written(tmp_path: Path) -> None:
    for number, expected in (("-1e30", -1e9), ("-1e39", -99), ("-1e999", -99)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = read(PRUNED.replace("-0.6 b a", f"{number} b a"), tmp_path)
        assert ngrams(written(model, tmp_path))["b a"][0] == expected


def test_long_words_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(b"".join(b"%d%s a\n" % (number, b"x" * 50) for number in range(20)))
    whole = written(model, tmp_path)
    monkeypatch.setattr("models.ngram.arpa_writing.BYTES_AT_ONCE", 300)
    assert written(model, tmp_path) == whole


def digits(number: np.float32) -> str:
    out = np.empty(64, np.uint8)
    return out[: write_number(np.float64(number), out, np.uint64(0))].tobytes().decode()


@settings(deadline=None)  # a first call compiles
@given(st.floats(-1e9, 1e9, width=32))
@example(-0.125)
@example(-0.015625)
@example(-0.99999994)
@example(-1.1754944e-38)
@example(-1e-45)
def test_a_number_is_read_back_from_its_digits(number: float) -> None:
    assert np.float32(digits(np.float32(number))) == np.float32(number)


def test_numbers_of_every_size_are_read_back_from_their_digits() -> None:
    draw = np.random.default_rng(0)
    numbers = -(2.0 ** draw.uniform(-140, 29, 20_000)).astype(np.float32)
    usual = -(2.0 ** draw.uniform(-12, 5, 20_000)).astype(np.float32)
    for number in (*numbers, *usual):
        assert np.float32(digits(number)) == number


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_any_number_of_threads_writes_the_same_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.ngram.arpa_writing.WRITTEN_AT_ONCE", 3)
    files = [tmp_path / f"{threads}.arpa{suffix}" for threads in (1, 2, 5)]
    for threads, file in zip((1, 2, 5), files, strict=True):
        write_arpa(fitted(TEXT * 9, 4), file, threads=threads)
    assert len({file.read_bytes() for file in files}) == 1
    unpacked = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}[suffix](files[0].read_bytes())
    assert unpacked.decode() == written(fitted(TEXT * 9, 4), tmp_path)


@pytest.mark.parametrize("read_bytes", [1 << 20, 64, 7])
@pytest.mark.parametrize("text", [KENLM, PRUNED, PRUNED.replace("\n", "\r\n"), KENLM.replace("-0.5", "-5e-1")])
def test_the_kernel_reads_what_is_read_line_by_line(
    text: str, read_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.ngram.arpa_lines.READ_BYTES", read_bytes)
    fast = read(text, tmp_path)
    monkeypatch.setattr(Lines, "plain", lambda *_: 0)
    monkeypatch.setattr(Lines, "plain_words", lambda *_: [])
    slow = read(text, tmp_path)
    for one, other in zip((*fast.counts.levels, *fast.estimates), (*slow.counts.levels, *slow.estimates), strict=True):
        assert all(map(np.array_equal, vars(one).values(), vars(other).values()))


def test_what_is_written_is_read_by_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arpa(fitted(TEXT * 9, 4), tmp_path / "model.arpa")

    monkeypatch.setattr("models.ngram.arpa.READ_AT_ONCE", 0)  # whoever reads none of the lines that are left gives up
    assert read_arpa(tmp_path / "model.arpa").order == 4
