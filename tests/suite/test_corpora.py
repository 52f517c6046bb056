"""Texts for n-gram models: what is written, counted, held out, and refused."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from bench.ngram.corpora import (
    Corpus,
    check,
    count_tokens,
    locate,
    pydoc_sentences,
    spell,
    write_corpus,
    zipf_sentences,
)
from trainmark.measure.failures import MissingDataError, UnsupportedError

THREE = b"the cat sat\nthe dog\nthe bird\n"


def written(folder: Path, text: bytes, tokens: int = 0, split: bool = False, name: str = "a.txt") -> Corpus:
    source = folder / "source"
    source.mkdir()
    (source / name).write_bytes(text)
    return write_corpus(name, tokens, split, source / name, folder, lambda _: None, folder)


def test_the_help_of_python_is_lower_cased_english_with_its_punctuation_split_off() -> None:
    sentences = [line.decode() for line in pydoc_sentences()]
    assert all(line.endswith("\n") and line.strip() == line[:-1] and "  " not in line for line in sentences)
    tokens = [token for line in sentences for token in line.split()]
    assert all(token == token.lower() for token in tokens)
    assert not [token for token in tokens if re.search(r"[.,;:!?()]", token) and len(token) > 1]
    words = [token for token in tokens if token[0].isalnum()]
    assert 50_000 < len(words) < 90_000
    assert Counter(words).most_common(1)[0][0] == "the"
    assert "see also :" in " ".join(tokens)


def test_a_file_is_written_as_it_is_and_known_by_its_digest(tmp_path: Path) -> None:
    corpus = written(tmp_path, THREE)
    assert corpus.path.read_bytes() == THREE
    assert corpus == Corpus(corpus.path, 10, hashlib.sha256(THREE).hexdigest()[:12])


def test_a_last_line_without_a_line_feed_is_a_sentence_like_the_others(tmp_path: Path) -> None:
    corpus = written(tmp_path, b"the cat\nthe dog")
    assert (corpus.path.read_bytes(), corpus.tokens) == (b"the cat\nthe dog\n", 6)


@pytest.mark.parametrize(
    ("name", "packed"),
    [("a.txt.gz", gzip.compress(THREE, mtime=0)), ("a.txt.xz", lzma.compress(THREE))],
    ids=[".gz", ".xz"],  # the bytes of the first would hold the time
)
def test_a_compressed_file_is_read(tmp_path: Path, name: str, packed: bytes) -> None:
    assert written(tmp_path, packed, name=name).path.read_bytes() == THREE


@pytest.mark.parametrize(("asked", "taken", "lines"), [(1, 4, 1), (4, 4, 1), (5, 7, 2), (7, 7, 2), (10, 10, 3)])
def test_whole_sentences_are_taken_until_the_tokens_are_there(
    tmp_path: Path, asked: int, taken: int, lines: int
) -> None:
    corpus = written(tmp_path, THREE, asked)
    assert corpus.tokens == taken
    assert corpus.path.read_bytes() == b"".join(THREE.splitlines(keepends=True)[:lines])


def test_a_corpus_that_is_too_small_is_an_obstacle_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"a\.txt has 10 tokens, and 11 are asked for"):
        written(tmp_path, THREE, 11)


def test_an_empty_corpus_is_an_obstacle(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="has 0 tokens"):
        written(tmp_path, b"")


def test_the_last_tenth_of_the_sentences_is_held_out(tmp_path: Path) -> None:
    text = b"".join(b"sentence %d\n" % number for number in range(20))
    corpus = written(tmp_path, text, split=True)
    assert corpus.held_out is not None
    assert corpus.path.read_bytes() + corpus.held_out.read_bytes() == text
    assert corpus.held_out.read_bytes() == b"sentence 18\nsentence 19\n"
    assert (corpus.tokens, corpus.held_out_tokens) == (54, 6)
    assert corpus.digest == hashlib.sha256(text).hexdigest()[:12]


def test_a_corpus_of_one_sentence_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="1 sentences: too few"):
        written(tmp_path, b"the cat\n", split=True)


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        (b"\n", 1),
        (b"the cat\n", 3),
        (b"  the\t cat \n", 3),
        (b"the\x00cat\x1fsat\n", 4),
        ("the\u00a0cat\n".encode(), 2),  # only bytes up to the space part words
    ],
)
def test_tokens_are_words_and_one_end(line: bytes, tokens: int) -> None:
    assert count_tokens(line) == tokens


def test_a_file_that_is_not_utf8_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"a\.txt is not UTF-8: line 2, byte 5"):
        written(tmp_path, b"the cat\nthe \xff\n")


def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="cannot be read"):
        written(tmp_path, gzip.compress(THREE)[:-9], name="a.gz")


def test_a_file_that_is_not_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "there.txt").touch()
    check([tmp_path / "there.txt"])
    with pytest.raises(MissingDataError, match=r"No corpus gone\.txt"):
        check([tmp_path / "there.txt", tmp_path / "gone.txt"])


def test_a_file_is_named_by_its_last_part_and_what_is_made_here_has_no_place(tmp_path: Path) -> None:
    assert locate(str(tmp_path / "secret" / "news.txt.xz")) == ("news.txt.xz", tmp_path / "secret" / "news.txt.xz")
    assert (locate("pydoc"), locate("zipf")) == (("pydoc", None), ("zipf", None))
    with pytest.raises(ValueError, match="a file named zipf would pass for the corpus of that name"):
        locate(str(tmp_path / "zipf"))


def test_no_other_text_stands_in_for_a_file_that_nobody_has_told_of(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"No corpus news\.txt"):
        write_corpus("news.txt", 10, False, None, tmp_path, lambda _: None, tmp_path)


def test_the_made_up_text_is_the_same_each_time_and_another_by_another_seed() -> None:
    first, again, other = (list(islice(zipf_sentences(seed), 50)) for seed in (0, 0, 1))
    assert first == again != other


def test_the_made_up_words_follow_the_law_and_the_sentences_are_as_long_as_english() -> None:
    sentences = [line.split() for line in islice(zipf_sentences(), 20_000)]
    counts = Counter(word for line in sentences for word in line)
    total = counts.total()
    assert 16 < total / len(sentences) < 18
    for rank in (0, 9, 99):  # each expected more than 300 times: a tenth is more than two deviations
        share = (rank + 1 + 2.7) ** -1.35 / sum((other + 2.7) ** -1.35 for other in range(1, 2**19 + 1))
        assert counts[spell(rank)] / total == pytest.approx(share, rel=0.1)


def test_no_two_ranks_are_spelled_alike_and_the_first_are_the_shortest() -> None:
    words = [spell(rank) for rank in range(120_000)]
    assert len(set(words)) == len(words)
    assert [len(words[rank]) for rank in (0, 99, 100, 10_099, 10_100)] == [2, 2, 4, 4, 6]
