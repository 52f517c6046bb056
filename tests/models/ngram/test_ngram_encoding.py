from __future__ import annotations

import itertools
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngram.encoding import BATCH, ODD, Encoder, is_word
from models.ngram.padded import Padded

WORDS = st.text(st.sampled_from("aé漢b"), min_size=1, max_size=30)
SEPARATORS = st.sampled_from([" ", "\n", "\t", "\0", "  ", "\r\n", "\x1f"])


def encode_slowly(text: str) -> tuple[list[int], list[str]]:
    ids = {"</s>": 0, "<unk>": 1}
    tokens = [
        0 if token == "\n" else ids.setdefault(token, len(ids)) for token in re.findall(r"\n|[^\x00-\x20]+", text)
    ]
    return tokens, list(ids)


@settings(deadline=None)
@given(
    st.lists(WORDS, min_size=1, max_size=8).flatmap(
        lambda words: st.lists(st.tuples(st.sampled_from(words), SEPARATORS))
    )
)
def test_words_are_numbered_in_the_order_in_which_they_come(parts):
    text = "".join(word + separator for word, separator in parts)
    encoder = Encoder()
    assert (encoder.encode(text.encode()).tolist(), list(encoder.vocabulary)) == encode_slowly(text)


def test_a_text_in_pieces_has_the_same_ids_as_in_one():
    text = "".join(f"word{number % 5000} short\n" for number in range(20_000))
    whole, pieces = Encoder(), Encoder()
    in_pieces = [token for line in text.splitlines(keepends=True) for token in pieces.encode(line.encode()).tolist()]
    assert whole.encode(text.encode()).tolist() == in_pieces == encode_slowly(text)[0]


def test_words_with_the_same_first_eight_bytes_are_told_apart():
    words = ["abcdefgh", "abcdefghi", "abcdefghj", "abcdefg", "abcdefghabcdefgh", "abcdefghabcdefgi"]
    assert len(set(Encoder().encode(" ".join(words).encode()).tolist())) == len(words)


def test_long_words_with_the_same_hash_are_compared_by_their_letters():
    text = np.frombuffer(b"a-long-word-here", np.uint8)
    ends = np.array([4, 20], np.int64)
    for kept, same in ((b"</s>a-long-word-here", True), (b"</s>a-long-word-hers", False)):
        words = np.frombuffer(kept, np.uint8)
        assert is_word(text, np.uint64(0), np.uint64(len(text)), np.uint64(1), ends, words) is same


def colliding_words() -> tuple[bytes, bytes]:
    """Two words of 24 letters with the same first eight and the same hash of the others: key and second part agree.

    The hash of two further parts a and b is (a * ODD) ^ b, so that any other a has a b that gives the same.
    """
    first, middle, last = b"thefirst", b"partions", b"endings!"
    odd, mask = int(ODD), (1 << 64) - 1
    wanted = (int.from_bytes(middle, "little") * odd & mask) ^ int.from_bytes(last, "little")
    for number in itertools.count():
        other = f"{number:08d}".encode()
        end = ((int.from_bytes(other, "little") * odd & mask) ^ wanted).to_bytes(8, "little")
        if all(0x21 <= byte < 0x7F for byte in end):
            return first + middle + last, first + other + end
    raise AssertionError("there is always one")


def test_long_words_that_collide_are_two_words():
    one, other = colliding_words()
    assert one != other
    encoder = Encoder()
    assert encoder.encode(b" ".join([one, other, one, other])).tolist() == [2, 3, 2, 3]
    assert list(encoder.vocabulary)[2:] == [one.decode(), other.decode()]


def test_a_word_of_a_megabyte_is_a_word():
    word = "x" * 1_000_000
    encoder = Encoder()
    assert encoder.encode(f"{word} y {word}\n".encode()).tolist() == [2, 3, 2, 0]
    assert encoder.vocabulary[2] == word


def test_more_words_than_the_table_began_with_have_room():
    words = [f"w{number}" for number in range(200_000)]
    assert Encoder().encode(" ".join(words).encode()).tolist() == list(range(2, 200_002))


def test_the_boundary_is_no_word_of_a_text_and_is_noticed():
    encoder = Encoder()
    assert not encoder.knows("</s>")
    assert encoder.encode(b"a </s> <unk>").tolist() == [2, 3, 1]
    assert encoder.knows("</s>")
    assert not encoder.knows("<s>")


def test_an_encoder_of_a_vocabulary_gives_its_ids():
    encoder = Encoder()
    encoder.encode(" ".join(f"w{number}" for number in range(3 * BATCH)).encode())
    again = Encoder.of(encoder.vocabulary)
    assert again.encode(b"w7 w90 new").tolist() == [9, 92, 2 + 3 * BATCH]


def test_what_lies_after_a_text_is_no_part_of_it():
    memory = np.frombuffer(b"the cat sat\n on" + b"x\ny " * 60, np.uint8)
    for size in range(12):
        encoder, ids = Encoder(), np.empty(size, np.int32)
        tokens = encoder.encode_into(ids, Padded(memory, size))
        assert (ids[:tokens].tolist(), list(encoder.vocabulary)) == encode_slowly(memory[:size].tobytes().decode())
