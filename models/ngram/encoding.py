"""From the bytes of a text to word ids, and the vocabulary on the way.

Eight bytes are looked at together. A word of up to eight bytes is its own key in the table of words,
so finding it compares nothing else; a longer one has a hash for a key, and its bytes are compared.
Words go through in small batches: the table's lines for a batch are asked for before the first of
them is needed, so the memory's latency is paid once a batch.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from models.ngram.counts import BOUNDARY
from models.ngram.intrinsics import load_eight, prefetch, trailing_zeros
from models.ngram.kernel import kernel
from models.ngram.vocabulary import SPECIAL, Vocabulary

BATCH = 32  # words whose table lines are under way at once
PADDING = 16  # spaces after a text, so that eight bytes can be loaded from its last one
LINE_FEED = np.uint8(10)
SPACE = np.uint8(32)

HIGH_BITS = np.uint64(0x8080808080808080)
FIRST_NO_SPACE = np.uint64(0x2121212121212121)  # bytes below 0x21 part words
LONG = np.uint64(0x8000000000000000)  # beside the id of a word longer than eight bytes
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing


class Encoder:
    """Gives ids to words, the next free one to each new word. A text may come in several pieces."""

    def __init__(self) -> None:
        self._size = 1  # words so far: the boundary, which no piece of text is
        self._slots = np.zeros(1 << 13, np.uint64)  # a key and an id by turns, by open addressing; no word has key 0
        self._ends = np.zeros(1 << 11, np.int64)  # as many as words may be before the table grows
        self._text = np.zeros(1 << 14, np.uint8)
        self._piece = np.empty(0, np.uint8)  # of the text, with room to look beyond its end
        boundary, unknown = (np.frombuffer(word.encode(), np.uint8) for word in SPECIAL)
        self._text[: len(boundary)] = boundary
        self._ends[0] = len(boundary)
        self.encode(unknown.tobytes())

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Encoder:
        """An encoder that knows these words: what it gives new ids to is unknown to the vocabulary."""
        encoder = cls()
        encoder.encode(" ".join(islice(vocabulary, len(SPECIAL), None)).encode())
        return encoder

    @property
    def vocabulary(self) -> Vocabulary:
        """The words so far."""
        ends = self._ends[: self._size].copy()
        return Vocabulary(self._text[: ends[-1]].copy(), ends)

    def knows(self, word: str) -> bool:
        """Whether some text has had this word."""
        sought = np.frombuffer(word.encode(), np.uint8)
        ends = self._ends[: self._size]
        ends = ends[np.diff(ends, prepend=0) == len(sought)]
        ends = ends[ends != self._ends[0]]  # the boundary has come in no text
        letters = self._text[ends[:, np.newaxis] + np.arange(-len(sought), 0)]  # [words of that length, letters]
        return bool((letters == sought).all(axis=1).any())

    def encode(self, text: bytes) -> NDArray[np.int32]:
        """[tokens] int32: the ids of a piece of text, which must end between two words.

        Words are parted by bytes up to 0x20. A line feed gives the boundary's id.
        """
        if len(text) + PADDING > len(self._piece):
            self._piece = np.empty(len(text) + PADDING, np.uint8)
        self._piece[: len(text)] = np.frombuffer(text, np.uint8)
        self._piece[len(text) : len(text) + PADDING] = SPACE
        self._make_room(len(text))
        ids = np.empty(len(text) + BATCH, np.int32)  # a line feed is a token of one byte
        done = tokens = 0
        while done < len(text):
            if self._size + BATCH > len(self._ends):
                self._grow()
            done, tokens, self._size = encode_words(  # type: ignore[assignment]  # Numba gives int for uint64
                self._piece,
                np.uint64(done),
                np.uint64(len(text)),
                self._slots,
                self._ends,
                self._text,
                np.uint64(self._size),
                ids,
                np.uint64(tokens),
            )
        return ids[:tokens]

    def _make_room(self, more: int) -> None:
        """Lets that many bytes of new words be kept."""
        used = int(self._ends[self._size - 1]) if self._size else 0
        if used + more > len(self._text):
            text = np.empty(max(2 * len(self._text), used + more), np.uint8)
            text[:used] = self._text[:used]
            self._text = text

    def _grow(self) -> None:
        """Twice as much room for words."""
        slots = np.zeros(2 * len(self._slots), np.uint64)
        move_words(self._slots, slots)
        self._slots = slots
        self._ends = np.concatenate([self._ends, np.zeros_like(self._ends)])


@kernel
def first_slot(key: np.uint64, size: np.uint64) -> np.uint64:
    """Where the search for a key begins: the high half of its hash, scaled to a table of any size; as an index."""
    mixed = key * ODD
    mixed = (mixed ^ (mixed >> np.uint64(32))) * ODD
    return (((mixed >> np.uint64(32)) * (size >> np.uint64(1))) >> np.uint64(32)) << np.uint64(1)


@kernel
def next_slot(slot: np.uint64, size: np.uint64) -> np.uint64:
    """The slot after one; after the last, the first."""
    return slot + np.uint64(2) if slot + np.uint64(2) < size else np.uint64(0)


@kernel
def encode_words(
    text: NDArray[np.uint8],
    place: np.uint64,
    end: np.uint64,
    slots: NDArray[np.uint64],
    word_ends: NDArray[np.int64],
    word_text: NDArray[np.uint8],
    words: np.uint64,
    ids: NDArray[np.int32],
    tokens: np.uint64,
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Encodes from ``place`` on, until the text ends or the table may be full.

    Gives the place it has come to, and how many tokens and how many words there are now.
    """
    keys = np.empty(BATCH, np.uint64)
    first_slots = np.empty(BATCH, np.uint64)
    begins = np.empty(BATCH, np.uint64)
    lengths = np.empty(BATCH, np.uint64)  # 0 for a line feed
    size = np.uint64(len(slots))
    while place < end and words + np.uint64(BATCH) <= np.uint64(len(word_ends)):
        waiting = np.uint64(0)
        while waiting < BATCH and place < end:
            if text[place] <= SPACE:
                if text[place] == LINE_FEED:
                    lengths[waiting] = np.uint64(0)
                    waiting += np.uint64(1)
                place += np.uint64(1)
                continue
            begins[waiting] = place
            key, place = read_word(text, place)
            slot = first_slot(key, size)
            prefetch(slots, slot)
            keys[waiting], first_slots[waiting] = key, slot
            lengths[waiting] = place - begins[waiting]
            waiting += np.uint64(1)
        for number in range(waiting):
            word = np.uint64(BOUNDARY)
            length, key, slot = lengths[number], keys[number], first_slots[number]
            while length:
                word = slots[slot + np.uint64(1)]
                if slots[slot] == key and (
                    word < LONG
                    if length <= np.uint64(8)
                    else word >= LONG and is_word(text, begins[number], length, word ^ LONG, word_ends, word_text)
                ):
                    word &= ~LONG
                    break
                if slots[slot] == 0:
                    word = words
                    slots[slot] = key
                    slots[slot + np.uint64(1)] = word if length <= np.uint64(8) else word | LONG
                    keep_word(text, begins[number], length, word, word_ends, word_text)
                    words += np.uint64(1)
                    break
                slot = next_slot(slot, size)
            ids[tokens] = np.int32(word)
            tokens += np.uint64(1)
    return place, tokens, words


@kernel
def read_word(text: NDArray[np.uint8], place: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The key of the word that begins there, and where it ends."""
    eight = np.uint64(load_eight(text, place))
    # A byte below 0x21 borrows from its high bit; the lowest one that is marked is such a byte for certain.
    spaces = (eight - FIRST_NO_SPACE) & ~eight & HIGH_BITS
    if spaces != 0:
        bits = trailing_zeros(spaces) & ~np.uint64(7)
        return eight & ((np.uint64(1) << bits) - np.uint64(1)), place + (bits >> np.uint64(3))
    key, length = np.uint64(0), np.uint64(0)
    while spaces == 0:
        key = (key ^ (key >> np.uint64(29)) ^ eight) * ODD
        length += np.uint64(8)
        eight = np.uint64(load_eight(text, place + length))
        spaces = (eight - FIRST_NO_SPACE) & ~eight & HIGH_BITS
    bits = trailing_zeros(spaces) & ~np.uint64(7)
    length += bits >> np.uint64(3)
    if length == 8:
        return np.uint64(load_eight(text, place)), place + length
    key = (key ^ (key >> np.uint64(29)) ^ (eight & ((np.uint64(1) << bits) - np.uint64(1)))) * ODD
    return max(key, np.uint64(1)), place + length


@kernel
def is_word(
    text: NDArray[np.uint8],
    begin: np.uint64,
    length: np.uint64,
    word: np.uint64,
    word_ends: NDArray[np.int64],
    word_text: NDArray[np.uint8],
) -> bool:
    """Whether a piece of text is the word with that id."""
    word_begin = np.uint64(word_ends[word - np.uint64(1)]) if word else np.uint64(0)
    same = np.uint64(word_ends[word]) - word_begin == length
    if same:
        for offset in range(length):
            same &= text[begin + offset] == word_text[word_begin + offset]
    return bool(same)


@kernel
def keep_word(
    text: NDArray[np.uint8],
    begin: np.uint64,
    length: np.uint64,
    word: np.uint64,
    word_ends: NDArray[np.int64],
    word_text: NDArray[np.uint8],
) -> None:
    """Copies a new word behind those that are kept already."""
    word_begin = np.uint64(word_ends[word - np.uint64(1)]) if word else np.uint64(0)
    for offset in range(length):
        word_text[word_begin + offset] = text[begin + offset]
    word_ends[word] = np.int64(word_begin + length)


@kernel
def move_words(slots: NDArray[np.uint64], larger: NDArray[np.uint64]) -> None:
    """Puts all words of a table into an empty one."""
    size = np.uint64(len(larger))
    for number in range(np.uint64(0), np.uint64(len(slots)), np.uint64(2)):
        if slots[number] == 0:
            continue
        slot = first_slot(slots[number], size)
        while larger[slot] != 0:
            slot = next_slot(slot, size)
        larger[slot], larger[slot + np.uint64(1)] = slots[number], slots[number + np.uint64(1)]
