"""A text that is encoded in parts: the same ids, the same words and the same mistakes as of one thread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngram import CorpusError, fit, stretches
from models.ngram.fitting import _encode
from models.ngram.text import TextOptions

WORDS = [
    "a",
    "b",
    "ab",
    "ä",
    "<unk>",
    "<UNK>",
    "a-word-of-more-than-sixteen-bytes",
    "a-word-of-more-than-sixteen-bytez",
]
TEXTS = st.lists(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), max_size=12).map("\n".join),
    min_size=1,
    max_size=3,
)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "LEAST_BYTES", 1)


def encoded(paths: list[str | Path | bytes], threads: int) -> tuple[list[int], list[str]] | str:
    try:
        ids, vocabulary = _encode(paths, TextOptions(), threads, None)
    except CorpusError as error:
        return str(error)
    return ids.tolist(), list(vocabulary)


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.integers(2, 7), st.booleans())
def test_parts_give_what_one_thread_gives(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], threads: int, marked: bool
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_bytes(b"\xef\xbb\xbf" * marked + text.encode())
    assert encoded([folder], threads) == encoded([folder], 1)


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a b\n" * 9 + b"c \xff d\n" + b"a b\n" * 9 + b"\xfe\n", "byte 38 is 0xff"),
        (b"a b\n" * 9 + b"</s>\n", "the word </s>"),
        (b" \n" * 40, "There is no word in"),
    ],
)
def test_the_first_mistake_is_told_whoever_finds_it(tmp_path: Path, text: bytes, message: str, threads: int) -> None:
    (tmp_path / "text.txt").write_bytes(text)
    told = encoded([tmp_path / "text.txt"], threads)
    assert isinstance(told, str)
    assert message in told
    assert told == encoded([tmp_path / "text.txt"], 1)


def test_a_file_is_parted_at_ends_of_lines_and_read_whole(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"one two\n" * 10 + b"x" * 100 + b"\nlast")
    parts = stretches.parted([tmp_path / "text.txt"], 4)
    assert len(parts) == 4
    read = [b"".join(map(bytes, stretches.read_stretches(part))) for part in parts]
    assert all(part.endswith(b"\n") for part in read if part)
    assert b"".join(read) == b"one two\n" * 10 + b"x" * 100 + b"\nlast\n"


@pytest.mark.parametrize("name", ["text.txt.gz", "missing.txt"])
def test_what_cannot_be_parted_is_read_by_one_thread(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt.gz").write_bytes(b"no gzip")
    assert stretches.parted([tmp_path / name], 2) == []
    assert stretches.parted([b"a b\n" * 99], 2) == []
    with pytest.raises(CorpusError, match=name):
        fit(tmp_path / name, threads=2)


def test_any_number_of_threads_gives_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"".join(b"w%d w%d w%d\n" % (n % 7, n * n % 11, n**3 % 13) for n in range(200)))
    one, three = (fit(tmp_path / "text.txt", 3, smoothing="kneser-ney", threads=threads) for threads in (1, 3))
    for first, second in zip(one.counts.levels, three.counts.levels, strict=True):
        assert all(map(np.array_equal, vars(first).values(), vars(second).values()))
    for first, second in zip(one.estimates, three.estimates, strict=True):
        assert all(map(np.array_equal, vars(first).values(), vars(second).values()))
