"""From files to text: whole words, clear errors, and the options."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from models.ngram.text import CorpusError, TextOptions, read_chunks, tokens

WORDS = st.text(st.characters(exclude_categories=["Cs"]).filter(lambda sign: sign > " "), min_size=1, max_size=9)
LINES = st.lists(st.lists(WORDS, max_size=6).map(" ".join), min_size=1, max_size=12).filter(any)


def text(*sources: bytes | str | Path, chunk_bytes: int = 1 << 20, **options: bool) -> str:
    return b"".join(read_chunks(sources, TextOptions(**options), chunk_bytes)).decode()


def words(source: bytes, **options: bool) -> list[list[str]]:
    return list(tokens(read_chunks(source, TextOptions(**options))))


def test_bytes_pass_through_as_they_are() -> None:
    assert text("Der Käse,\tklein \0 ist\u00a0gut\r\n\n".encode()) == "Der Käse,\tklein \0 ist\u00a0gut\r\n\n"


def test_a_missing_last_line_feed_is_added_and_one_that_is_there_is_not() -> None:
    assert text(b"the cat", b"the dog\n", b"a") == "the cat\nthe dog\na\n"


@settings(deadline=None)
@given(LINES, st.integers(1, 40))
def test_the_chunks_are_the_text_and_end_between_words(lines: list[str], chunk_bytes: int) -> None:
    source = "\n".join(lines) + "\n"
    chunks = list(read_chunks(source.encode(), chunk_bytes=chunk_bytes))
    assert b"".join(chunks).decode() == source.removeprefix("\ufeff")
    assert all(chunk.endswith((b" ", b"\n")) for chunk in chunks)


def test_pieces_may_be_kept(tmp_path: Path) -> None:
    lines = [b"line %d\n" % number for number in range(100)]
    (tmp_path / "text").write_bytes(b"".join(lines))
    assert b"".join(list(read_chunks(tmp_path / "text", chunk_bytes=16))) == b"".join(lines)


@settings(deadline=None)
@given(LINES, st.integers(1, 40))
def test_the_sentences_do_not_depend_on_the_size_of_the_chunks(lines: list[str], chunk_bytes: int) -> None:
    lines = [line.removeprefix("\ufeff") for line in lines]
    source = "\n".join(lines).encode() + b"\n"
    expected = [line.split(" ") if line else [] for line in lines]
    assert [[word for word in line if word] for line in expected] == list(
        tokens(read_chunks(source, chunk_bytes=chunk_bytes))
    )


@pytest.mark.parametrize(
    "options", [{"lower": True}, {"punctuation": True}, {"characters": True}, {"sentences": False}]
)
@settings(deadline=None)
@given(lines=LINES, chunk_bytes=st.integers(1, 40))
def test_no_option_sees_where_a_chunk_ends(lines: list[str], chunk_bytes: int, options: dict[str, bool]) -> None:
    source = "\n".join(lines).encode()
    whole = read_chunks(source, TextOptions(**options))
    parted = read_chunks(source, TextOptions(**options), chunk_bytes)
    assert list(tokens(parted)) == list(tokens(whole))


def test_a_word_of_a_megabyte_is_one_word() -> None:
    word = "ä" * 500_000
    chunks = list(read_chunks(f"a {word} b\n".encode(), chunk_bytes=1000))
    assert list(tokens(chunks)) == [["a", word, "b"]]


def test_control_characters_part_words_and_a_no_break_space_does_not() -> None:
    assert words("a\0b\tc\x1fd\re \u00a0f\u2028g\x85h\n".encode()) == [["a", "b", "c", "d", "e", "\u00a0f\u2028g\x85h"]]


def test_an_empty_line_is_an_empty_sentence() -> None:
    assert words(b"a\n\nb") == [["a"], [], ["b"]]


@pytest.mark.parametrize("boundary", ["<s>", "</s>"])
def test_a_boundary_among_the_words_is_refused(boundary: str) -> None:
    with pytest.raises(CorpusError, match=f"the word {boundary}"):
        words(f"a {boundary} b".encode())


def test_capitals_become_small_letters() -> None:
    assert words("Ärger IM Staat".encode(), lower=True) == [["ärger", "im", "staat"]]


def test_marks_at_the_edge_of_a_word_are_split_off_and_those_within_stay() -> None:
    assert words("«Don't», (he) said: 3.14--no… $5 हिन्दी!".encode(), punctuation=True) == [
        ["«", "Don't", "»", ",", "(", "he", ")", "said", ":", "3.14", "-", "-", "no", "…", "$", "5", "हिन्दी", "!"]
    ]


def test_each_character_is_a_token_and_a_space_is_shown() -> None:
    assert words(b"a cat\r\n\nis\tit", characters=True) == [list("a▁cat"), [], list("is▁it")]


def test_without_sentences_the_corpus_is_one_sentence_across_files() -> None:
    assert text(b"a b\nc", b"d\n", sentences=False) == "a b c d \n"


def test_a_byte_order_mark_is_no_part_of_the_first_word() -> None:
    assert words(b"\xef\xbb\xbfthe cat") == [["the", "cat"]]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstd.compress)],
)
def test_a_compressed_file_is_read_as_what_it_holds(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / f"corpus.txt{suffix}"
    file.write_bytes(compress(b"the cat\n"))
    assert text(file) == text(str(file)) == text(tmp_path) == "the cat\n"


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstd.compress)]
)
def test_a_compressed_file_that_was_cut_short_is_an_error(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / f"corpus.txt{suffix}"
    file.write_bytes(compress(bytes(range(32, 127)) * 3)[:-9])
    with pytest.raises(CorpusError, match=f"corpus.txt{suffix} is damaged"):
        text(file)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_file_that_is_not_compressed_as_its_name_says_is_an_error(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"corpus{suffix}"
    file.write_bytes(b"the cat sat on the mat\n")
    with pytest.raises(CorpusError, match=f"corpus{suffix}"):
        text(file)


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z", "a/c.md", "a/picture.png", ".hidden.txt", ".git/x.txt", "tables.npy.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert text(tmp_path) == "a/c.md\na/z\nb.txt\n"


def test_a_folder_without_text_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(CorpusError, match=r"has no text file: one named \.txt"):
        text(tmp_path)


def test_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat")))
    assert text("-") == "the cat\n"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt cannot be read: No such file"):
        text("nowhere.txt")


@pytest.mark.parametrize("chunk_bytes", [1, 7, 40_000, 1 << 20])
def test_invalid_utf8_is_reported_with_its_source_and_byte(tmp_path: Path, chunk_bytes: int) -> None:
    file = tmp_path / "latin1.txt"
    file.write_bytes("ä€😀 b\n".encode() * 5_000 + b"K\xe4se\n")
    with pytest.raises(CorpusError, match=r"latin1\.txt is not UTF-8: byte 60,001 is 0xe4"):
        text(file, chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("cut", ["ä", "€", "😀"])
def test_a_character_cut_at_the_end_of_a_file_is_invalid(cut: str) -> None:
    with pytest.raises(CorpusError, match="the text in memory is not UTF-8: byte 2 is"):
        text(b"a " + cut.encode()[:-1])


@pytest.mark.parametrize("source", [b"", b"\n\n", b" \t\0\r\n"])
def test_a_corpus_without_a_word_is_an_error(source: bytes) -> None:
    with pytest.raises(CorpusError, match="no word in the text in memory"):
        text(source)


def test_an_empty_file_beside_one_with_words_is_none() -> None:
    assert text(b"", b"a\n", b"\n") == "a\n\n"


@pytest.mark.parametrize("chunk_bytes", [1, 3, 1 << 20])
@pytest.mark.parametrize("text", [b"a b ", b"a b\n c ", b" ", b"a", b"a\n", b"a \n"])
def test_a_text_that_ends_with_a_space_ends_with_a_line_feed_as_well(text, chunk_bytes):
    ended = text if text.endswith(b"\n") else text + b"\n"
    assert b"".join(read_chunks([text, b"z\n"], chunk_bytes=chunk_bytes)) == ended + b"z\n"
