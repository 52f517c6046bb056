"""Random texts, orders, smoothings, cut-offs: probabilities add to one, and an ARPA file says what its model says."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngram import CorpusError, NgramModel, fit, load, read_arpa, save, write_arpa
from models.ngram.fitting import encode_with
from models.ngram.levels import BOUNDARY
from models.ngram.padded import Padded
from models.ngram.scoring import Scores

pytestmark = pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")

ODD = (
    "ß\u00a0c",
    "x\u2028y",
    "\u0085z",
    "\u3000",
    "\ufeffb",
    "<unk>",
    "<UNK>",
    "-1.5",
    "\\data\\",
    "n=1",
    "a-word-of-twenty-four-b",
)
LETTERS = st.characters(min_codepoint=0x21, exclude_categories=("Cs",))
BOUNDARIES = ("<s>", "</s>")  # no text may have them
WORDS = st.one_of(
    st.sampled_from("abc"),
    st.sampled_from(ODD),
    st.text(LETTERS, min_size=1, max_size=3).filter(lambda word: word not in BOUNDARIES),
)
TEXTS = st.lists(st.lists(WORDS, max_size=6), min_size=1, max_size=12).map(
    lambda sentences: "\n".join(map(" ".join, sentences)).encode() + b"\n"
)
SETTINGS = settings(deadline=None, max_examples=40, derandomize=True)


def fitted(
    text: bytes, order: int, smoothing: str, min_count: int = 1, max_vocabulary: int | None = None
) -> NgramModel:
    """The model of a text; of one word where the text has none that is left by the cut-off."""
    try:
        return fit(text, order, smoothing=smoothing, alpha=0.3, min_count=min_count, max_vocabulary=max_vocabulary)
    except CorpusError:
        return fit(text + b"\na a a\n", order, smoothing=smoothing, alpha=0.3)


def contexts(model: NgramModel) -> Iterator[list[str]]:
    """All that the model has seen words after, and some that it has not."""
    yield []
    for order in range(1, model.order):
        level = model.counts.levels[order - 1]
        for ids in model.counts.ngrams(order, np.arange(len(level))).tolist():
            if (ids[-1] != BOUNDARY or ids == [BOUNDARY]) and model.counts.find(ids) is not None:
                yield ["<s>" if number == BOUNDARY else model.vocabulary[number] for number in ids]
    yield ["never", "seen"]


@SETTINGS
@given(
    TEXTS,
    st.integers(1, 6),
    st.sampled_from(["mle", "additive", "kneser-ney"]),
    st.integers(1, 3),
    st.sampled_from([None, 1, 3]),
)
def test_the_probabilities_of_every_context_add_to_one(
    text: bytes, order: int, smoothing: str, min_count: int, max_vocabulary: int | None
) -> None:
    model = fitted(text, max(order, 2 if smoothing == "kneser-ney" else 1), smoothing, min_count, max_vocabulary)
    for context in contexts(model):
        total = math.fsum(model.probability(word, context) for word in model.vocabulary)
        known = [model.vocabulary.id(word) for word in context][-model.order + 1 :] if model.order > 1 else []
        seen = smoothing != "mle" or not known or model.counts.count(known) > 0
        assert total == pytest.approx(1.0 if seen else 0.0, abs=1e-6), context


def scores(model: NgramModel, text: bytes) -> Scores:
    return model.score(encode_with(model.vocabulary, [Padded.of(text)]))


@SETTINGS
@given(
    text=TEXTS, order=st.integers(2, 6), min_count=st.integers(1, 2), suffix=st.sampled_from(["", ".gz", ".xz", ".zst"])
)
def test_what_is_saved_or_exported_and_read_again_scores_the_same(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, order: int, min_count: int, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("again")
    model, held_out = fitted(text, order, "kneser-ney", min_count), text + b"a x b\nnever <UNK> b\n"
    first = scores(model, held_out)
    save(model, folder / "model")
    write_arpa(load(folder / "model"), folder / f"model.arpa{suffix}")
    loaded, read = load(folder / "model"), read_arpa(folder / f"model.arpa{suffix}")
    assert np.array_equal(scores(loaded, held_out).log_probabilities, first.log_probabilities)
    assert scores(read, held_out).log_probabilities == pytest.approx(first.log_probabilities, abs=1e-5)
    assert np.array_equal(scores(read, held_out).orders, first.orders)
    assert sorted(read.vocabulary) == sorted(model.vocabulary)


@pytest.mark.skipif(not shutil.which("query"), reason="query of KenLM is not on the PATH")
@SETTINGS
@given(text=TEXTS, order=st.integers(2, 6), min_count=st.integers(1, 2))
def test_kenlm_reads_what_is_exported_and_scores_the_same(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, order: int, min_count: int
) -> None:
    path = tmp_path_factory.mktemp("kenlm") / "model.arpa"
    model, held_out = fitted(text, order, "kneser-ney", min_count), text + b"a x b\nnever <UNK> b\n"
    write_arpa(model, path)
    done = subprocess.run(
        ["query", "-v", "word", str(path)], input=held_out, capture_output=True, check=True, timeout=60
    )
    tokens = [
        token.rsplit(b" ", 2) for line in done.stdout.split(b"\n") for token in line.split(b"\t") if b" " in token
    ]
    theirs = [float(score) for *_, length, score in tokens if length.isdigit()]
    ours = scores(model, held_out).log_probabilities / math.log(10)
    assert theirs == pytest.approx(ours, abs=1e-5, rel=5e-6)  # six digits are printed
