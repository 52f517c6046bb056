"""Several threads give the ids that one would give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngram.encoding import Encoder
from models.ngram.parallel_encoding import encode_pieces

PIECE = st.lists(st.integers(0, 40).map(lambda number: f"word-number-{number}" if number % 3 else f"w{number}"))


@settings(deadline=None)
@given(st.lists(PIECE.map(lambda words: (" ".join(words) + "\n").encode()), max_size=12), st.integers(2, 4))
def test_ids_and_words_are_those_of_a_single_thread(pieces: list[bytes], threads: int) -> None:
    alone, common = Encoder(), Encoder()
    expected = [alone.encode(piece).tolist() for piece in pieces]
    assert [ids.tolist() for ids in encode_pieces(common, pieces, threads)] == expected
    assert list(common.vocabulary) == list(alone.vocabulary)


def test_words_by_the_thousand_are_those_of_a_single_thread() -> None:
    numbers = np.random.default_rng(0).zipf(1.3, 60_000) % 20_000
    words = [f"w{number}" if number % 2 else f"a-rather-long-word-{number}" for number in numbers]
    pieces = [(" ".join(words[begin : begin + 5_000]) + "\n").encode() for begin in range(0, len(words), 5_000)]
    alone, common = Encoder(), Encoder()
    expected = [alone.encode(piece) for piece in pieces]
    for ids, other in zip(encode_pieces(common, pieces, 2), expected, strict=True):
        np.testing.assert_array_equal(ids, other)
    assert list(common.vocabulary) == list(alone.vocabulary)


def test_what_a_piece_raises_reaches_the_caller() -> None:
    def pieces():
        yield b"a b\n"
        raise ValueError("the text ends here")

    with pytest.raises(ValueError, match="ends here"):
        list(encode_pieces(Encoder(), pieces(), 2))
