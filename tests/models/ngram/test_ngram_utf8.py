"""Where bytes stop being UTF-8: as the standard library's decoder says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngram import utf8

NEAR = (
    b"\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xffa"  # ends of ranges
)


def first_invalid(text: bytes) -> int | None:
    return utf8.first_invalid(np.frombuffer(text, np.uint8))


def by_decoding(text: bytes) -> int | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


@settings(deadline=None)  # the first call compiles
@given(st.text(max_size=200))
def test_every_text_is_valid(text: str) -> None:
    assert first_invalid(text.encode()) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_judged_as_the_decoder_judges_them(text: bytes) -> None:
    assert first_invalid(text) == by_decoding(text)


@settings(deadline=None)
@given(st.integers(0, 140), st.lists(st.sampled_from(list(NEAR)), max_size=12).map(bytes), st.integers(0, 140))
def test_the_ends_of_all_ranges_are_right_at_any_place(before: int, text: bytes, after: int) -> None:
    text = b"a" * before + text + b"a" * after
    assert first_invalid(text) == by_decoding(text)


@pytest.mark.parametrize("text", [b"", b"\xe6\xbc", b"a" * 63 + "漢".encode(), b"a" * 62 + "漢".encode()[:2]])
def test_a_text_may_end_within_a_character_or_a_block(text: bytes) -> None:
    assert first_invalid(text) == by_decoding(text)
