"""Whether bytes are UTF-8, and where they are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ngram.instructions import at_most, trailing_zeros
from models.ngram.kernel import kernel

BLOCK = 64  # bytes looked at together while they are ASCII
ASCII = np.uint64(0xFFFFFFFFFFFFFFFF)  # a block with nothing else: a bit for each byte


def first_invalid(text: NDArray[np.uint8]) -> int | None:
    """Where the first byte is that does not begin a character of UTF-8; None where all do."""
    place = int(valid_bytes(text))
    return place if place < len(text) else None


@kernel
def valid_bytes(text: NDArray[np.uint8]) -> np.uint64:
    """How many bytes from the first on are whole characters, by the table of RFC 3629, section 4."""
    place, size = np.uint64(0), np.uint64(len(text))
    while place < size:
        if place + np.uint64(BLOCK) <= size:
            ascii_bytes = np.uint64(at_most(text, place, 0x7F))
            if ascii_bytes == ASCII:
                place += np.uint64(BLOCK)
                continue
            place += np.uint64(trailing_zeros(~ascii_bytes))
        lead = text[place]
        if lead < 0x80:
            place += np.uint64(1)
            continue
        length = np.uint64(2 if lead < 0xE0 else 3 if lead < 0xF0 else 4)
        if lead < 0xC2 or lead > 0xF4 or place + length > size:
            return place
        second = text[
            place + np.uint64(1)
        ]  # the others may be 0x80 to 0xBF; no surrogates, no longer form than need be
        least = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        most = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        valid = least <= second <= most
        for offset in range(np.uint64(2), length):
            valid &= text[place + offset] & 0xC0 == 0x80
        if not valid:
            return place
        place += length
    return size
