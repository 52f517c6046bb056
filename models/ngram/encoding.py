"""From the bytes of a text to word ids, and the vocabulary on the way.

Words go through in batches, in three steps. Sixty-four bytes are held against the space at once, and the
bits of the result tell where words begin and end. A word's first sixteen bytes make its key in the
table of words, and are asked for there. By the time the last key of a batch is made, the table's
lines for the first are there, so the memory's latency is paid once a batch. A word of up to sixteen
bytes is found without a look at any other bytes; of a longer one all are compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.ngram.instructions import at_most, equal_to, load_eight, prefetch, trailing_zeros
from models.ngram.kernel import kernel
from models.ngram.levels import UNKNOWN
from models.ngram.padded import Padded
from models.ngram.vocabulary import SPECIAL, UNKNOWN_WORDS, Vocabulary

BLOCK = 64  # bytes looked at together
BATCH = 128  # tokens whose table lines are under way at once; one block may add some
INSERTED = 1 << 13  # words that are looked up at once, where they are given
ROOM = BATCH + BLOCK + 1  # for the tokens of a batch, and one that is overwritten

SPACE, LINE_FEED = 0x20, 0x0A
LONG = np.uint64(0x8000000000000000)  # beside the id of a word longer than two times eight bytes
KEY, SECOND, ID, SLOT = (
    np.uint64(0),
    np.uint64(1),
    np.uint64(2),
    np.uint64(4),
)  # of a slot, and the items it has room for
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing


class Encoder:
    """Gives ids to words, the next free one to each new word. A text may come in several pieces.

    Args:
        unknown_words: Those that have the id of ``<unk>``, which is the first of them.
    """

    def __init__(self, unknown_words: Sequence[str] = UNKNOWN_WORDS) -> None:
        self._size = 0  # words so far
        self._slots = np.zeros(
            (1 << 18, SLOT), np.uint64
        )  # a word's key, second part and id, plus 1: by open addressing
        self._ends = np.zeros(1 << 17, np.int64)  # as many as words may be before the table grows
        self._text = np.zeros(1 << 14, np.uint8)
        self._batch = np.empty((4, ROOM), np.uint64)
        boundary = SPECIAL[0].encode()
        self.encode(b"\n")  # found like a word, by a key that no word has
        self._text[: len(boundary)] = np.frombuffer(boundary, np.uint8)
        self._ends[0] = len(boundary)
        for word in reversed(unknown_words):  # all are found as id 1, and the last is its word
            self._size = UNKNOWN
            self.encode(word.encode())

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Encoder:
        """An encoder that knows these words: what it gives new ids to is unknown to the vocabulary."""
        own = [word for word in UNKNOWN_WORDS[1:] if vocabulary.holds(word)]  # of models from before they were one
        encoder = cls(UNKNOWN_WORDS[:1] if own else UNKNOWN_WORDS)
        encoder.insert(vocabulary)
        return encoder

    def insert(self, vocabulary: Vocabulary, since: int = len(SPECIAL)) -> NDArray[np.int32]:
        """Looks the words of a vocabulary up, whole: those of an ARPA file may hold what parts words in a text.

        Args:
            vocabulary: Whose words; what is new gets the next free id.
            since: The first of them that is looked up; those before it have their own ids.

        Returns:
            [words] int32, the id of each.
        """
        text = Padded.of(vocabulary.text.tobytes())
        self._make_room(len(text))
        ends = vocabulary.ends.astype(np.uint64)
        begins = np.concatenate([np.zeros(1, np.uint64), ends[:-1]])
        lengths, ids = ends - begins, np.arange(len(vocabulary), dtype=np.int32)
        batch = np.empty((4, INSERTED), np.uint64)
        for first in range(since, len(vocabulary), INSERTED):
            while self._size + INSERTED > len(self._ends):
                self._grow()
            some, kept = slice(first, first + INSERTED), (self._slots, self._ends, self._text, np.uint64(self._size))
            self._size = int(insert_words(text.memory, begins[some], lengths[some], *kept, batch, ids[some]))
        return ids

    @property
    def table(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint8]]:
        """The table of words, where each ends, and their text: what a kernel looks a word up in."""
        return self._slots, self._ends, self._text

    @property
    def vocabulary(self) -> Vocabulary:
        """The words so far."""
        ends = self._ends[: self._size].copy()
        return Vocabulary(self._text[: ends[-1]].copy(), ends)

    def knows(self, word: str) -> bool:
        """Whether some text has had this word; the boundary has come in none."""
        return bool(has_word(np.frombuffer(word.encode(), np.uint8), self._ends[: self._size], self._text))

    def encode(self, text: bytes) -> NDArray[np.int32]:
        """[tokens] int32: the ids of a piece of text, which must end between two words.

        Words are parted by bytes up to 0x20. A line feed gives the boundary's id.
        """
        ids = np.empty(len(text), np.int32)
        return ids[: self.encode_into(ids, Padded.of(text))]

    def encode_into(self, ids: NDArray[np.int32], text: Padded) -> int:
        """Writes the ids of a piece of text, and gives their number; there must be room for one a byte."""
        self._make_room(len(text))
        block = begin = tokens = 0
        while block <= len(text):  # where the last word ends
            if self._size + ROOM > len(self._ends):
                self._grow()
            block, begin, tokens, self._size = encode_words(  # type: ignore[assignment]  # Numba gives int for uint64
                text.memory,
                np.uint64(block),
                np.uint64(begin),
                np.uint64(len(text)),
                self._slots,
                self._ends,
                self._text,
                np.uint64(self._size),
                ids,
                np.uint64(tokens),
                self._batch,
            )
        return int(tokens)

    def _make_room(self, more: int) -> None:
        """Lets that many bytes of new words be kept."""
        used = int(self._ends[self._size - 1]) if self._size else 0
        if used + more > len(self._text):
            text = np.empty(max(2 * len(self._text), used + more), np.uint8)
            text[:used] = self._text[:used]
            self._text = text

    def _grow(self) -> None:
        """Twice as much room for words."""
        slots = np.zeros((2 * len(self._slots), SLOT), np.uint64)
        move_words(self._slots, slots)
        self._slots = slots
        self._ends = np.append(self._ends, np.zeros_like(self._ends))


@kernel
def first_slot(key: np.uint64, size: np.uint64) -> np.uint64:
    """The slot where the search for a key begins, of so many: a power of two."""
    return np.uint64((key * ODD) >> (np.uint64(64) - np.uint64(trailing_zeros(size))))


@kernel
def next_slot(slot: np.uint64, size: np.uint64) -> np.uint64:
    """The slot after one; after the last, the first."""
    return (slot + np.uint64(1)) & (size - np.uint64(1))


@kernel
def encode_words(
    text: NDArray[np.uint8],
    block: np.uint64,
    begin: np.uint64,
    end: np.uint64,
    slots: NDArray[np.uint64],
    word_ends: NDArray[np.int64],
    word_text: NDArray[np.uint8],
    words: np.uint64,
    ids: NDArray[np.int32],
    tokens: np.uint64,
    batch: NDArray[np.uint64],
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Encodes from a block on, until the text ends or the table may be full; ``batch`` is room for four of ROOM.

    Gives the block it has come to and where the word begins that reaches into it, and how many tokens
    and how many words there are now.
    """
    begins, lengths, keys, seconds = batch[0], batch[1], batch[2], batch[3]
    while block <= end and words + np.uint64(ROOM) <= np.uint64(len(word_ends)):
        found, block, begin = find_tokens(text, block, begin, end, begins, lengths)
        make_keys(text, begins, lengths, found, slots, keys, seconds)
        words = look_up(
            text,
            begins,
            lengths,
            keys,
            seconds,
            slots,
            word_ends,
            word_text,
            words,
            ids[tokens : tokens + found],
        )
        tokens += found
    return block, begin, tokens, words


@kernel
def find_tokens(
    text: NDArray[np.uint8],
    block: np.uint64,
    begin: np.uint64,
    end: np.uint64,
    begins: NDArray[np.uint64],
    lengths: NDArray[np.uint64],
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Where the tokens of the next blocks begin, and how many bytes they have; a line feed is a token.

    Gives how many there are, the block after these, and where the word begins that reaches into it.
    """
    found = np.uint64(0)
    while block <= end and found < np.uint64(BATCH):
        separators, line_feeds = np.uint64(at_most(text, block, SPACE)), np.uint64(equal_to(text, block, LINE_FEED))
        if end - block < np.uint64(BLOCK):  # the end parts words too, and what lies after it is no text
            the_end = np.uint64(1) << (end - block)
            separators = (separators & (the_end - np.uint64(1))) | the_end
            line_feeds &= the_end - np.uint64(1)
        while separators != 0:
            # What separates is a toss-up: the processor shall not guess, so a token is always written, and may be over.
            bit = np.uint64(trailing_zeros(separators))
            place = block + bit
            begins[found], lengths[found] = begin, place - begin
            found += np.uint64(place != begin)
            begins[found], lengths[found] = place, np.uint64(1)
            found += (line_feeds >> bit) & np.uint64(1)
            begin = place + np.uint64(1)
            separators &= separators - np.uint64(1)
        block += np.uint64(BLOCK)
    return found, block, begin


@kernel
def make_keys(
    text: NDArray[np.uint8],
    begins: NDArray[np.uint64],
    lengths: NDArray[np.uint64],
    tokens: np.uint64,
    slots: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    seconds: NDArray[np.uint64],
) -> None:
    """The key of each token and its bytes from the ninth on, hashed where they are more than eight.

    A key and the second eight bytes tell the first eight. The table's line for each is asked for.
    """
    size, eight = np.uint64(len(slots)), np.uint64(8)
    for token in range(tokens):  # word_key written out: a call for each token is felt
        begin, length = begins[token], lengths[token]
        first, second = np.uint64(load_eight(text, begin)), np.uint64(0)
        if length <= eight:
            first &= ~np.uint64(0) >> (np.uint64(64) - eight * length)
        elif length <= np.uint64(16):
            second = np.uint64(load_eight(text, begin + eight)) & (~np.uint64(0) >> (np.uint64(128) - eight * length))
        else:
            for offset in range(eight, length - eight, eight):
                second = (second ^ np.uint64(load_eight(text, begin + offset))) * ODD
            second ^= np.uint64(load_eight(text, begin + length - eight))
        keys[token] = first ^ (second * ODD)
        seconds[token] = second
        prefetch(slots, first_slot(keys[token], size) * SLOT)


@kernel
def word_key(text: NDArray[np.uint8], begin: np.uint64, length: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The key of a word, and its bytes from the ninth on, hashed where they are more than eight."""
    eight = np.uint64(8)
    first, second = np.uint64(load_eight(text, begin)), np.uint64(0)
    if length <= eight:
        first &= ~np.uint64(0) >> (np.uint64(64) - eight * length)
    elif length <= np.uint64(16):
        second = np.uint64(load_eight(text, begin + eight)) & (~np.uint64(0) >> (np.uint64(128) - eight * length))
    else:
        for offset in range(eight, length - eight, eight):
            second = (second ^ np.uint64(load_eight(text, begin + offset))) * ODD
        second ^= np.uint64(load_eight(text, begin + length - eight))
    return first ^ (second * ODD), second


@kernel
def look_up(
    text: NDArray[np.uint8],
    begins: NDArray[np.uint64],
    lengths: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    seconds: NDArray[np.uint64],
    slots: NDArray[np.uint64],
    word_ends: NDArray[np.int64],
    word_text: NDArray[np.uint8],
    words: np.uint64,
    ids: NDArray[np.int32],
) -> np.uint64:
    """Writes the id of each token, the next free one where it is new. Gives how many words there are now."""
    size = np.uint64(len(slots))
    for token in range(np.uint64(len(ids))):
        begin, length, key, second = begins[token], lengths[token], keys[token], seconds[token]
        long = LONG if length > np.uint64(16) else np.uint64(0)
        slot = first_slot(key, size)
        while True:
            entry = slots[slot, ID]
            if entry == 0:
                word = words
                slots[slot, KEY], slots[slot, SECOND], slots[slot, ID] = key, second, (word + np.uint64(1)) | long
                keep_word(text, begin, length, word, word_ends, word_text)
                words += np.uint64(1)
                break
            word = (entry ^ long) - np.uint64(1)  # LONG or more where just one of both words is long
            same = (slots[slot, KEY] == key) & (word < LONG) & (slots[slot, SECOND] == second)
            if same and (not long or is_word(text, begin, length, word, word_ends, word_text)):
                break
            slot = next_slot(slot, size)
        ids[token] = np.int32(word)
    return words


@kernel
def insert_words(
    text: NDArray[np.uint8],
    begins: NDArray[np.uint64],
    lengths: NDArray[np.uint64],
    slots: NDArray[np.uint64],
    word_ends: NDArray[np.int64],
    word_text: NDArray[np.uint8],
    words: np.uint64,
    batch: NDArray[np.uint64],
    ids: NDArray[np.int32],
) -> np.uint64:
    """Looks up words that are given by where they stand, a batch at most, and writes their ids.

    Gives how many words there are now.
    """
    size, keys, seconds = np.uint64(len(begins)), batch[2], batch[3]
    make_keys(text, begins, lengths, size, slots, keys, seconds)
    return look_up(text, begins, lengths, keys, seconds, slots, word_ends, word_text, words, ids)


@kernel
def is_word(
    text: NDArray[np.uint8],
    begin: np.uint64,
    length: np.uint64,
    word: np.uint64,
    word_ends: NDArray[np.int64],
    word_text: NDArray[np.uint8],
) -> bool:
    """Whether a piece of text is the word with that id, which is not the first."""
    word_begin = np.uint64(word_ends[word - np.uint64(1)])
    same = np.uint64(word_ends[word]) - word_begin == length
    if same:
        for offset in range(length):
            same &= text[begin + offset] == word_text[word_begin + offset]
    return bool(same)


@kernel
def has_word(sought: NDArray[np.uint8], word_ends: NDArray[np.int64], word_text: NDArray[np.uint8]) -> bool:
    """Whether a word is among those that are kept, the first left out."""
    for word in range(np.uint64(1), np.uint64(len(word_ends))):
        if is_word(sought, np.uint64(0), np.uint64(len(sought)), np.uint64(word), word_ends, word_text):
            return True
    return False


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
    for number in range(np.uint64(len(slots))):
        if slots[number, ID] == 0:
            continue
        slot = first_slot(slots[number, KEY], size)
        while larger[slot, ID] != 0:
            slot = next_slot(slot, size)
        for item in range(SLOT):
            larger[slot, item] = slots[number, item]
