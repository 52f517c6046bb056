"""Numbers as ARPA files have them: with the digits that the nearest float32 is read back from, nine at most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ngram.arpa_format import MOST_WRITTEN
from models.ngram.instructions import store_eight
from models.ngram.kernel import kernel

LOG_ZERO = -99.0  # in place of the logarithm of 0, as SRILM writes it: <s> is never predicted
POINT, MINUS, DIGIT_0, LETTER_E = (np.uint8(ord(sign)) for sign in ".-0e")
ONE, EIGHT, TEN, HUNDRED, TEN_THOUSAND = (np.uint64(number) for number in (1, 8, 10, 100, 10**4))
E8, E9 = (np.uint64(10**digits) for digits in (8, 9))
LEAST_8, LEAST_9 = 2.0**-3, 2.0**-6  # so many decimals tell a float32 from its neighbours, from these on
EVERY_2, EVERY_4 = np.uint64(0x000F000F000F000F), np.uint64(0x0000007F0000007F)
ZEROS, BY_100, BY_10 = np.uint64(0x3030303030303030), np.uint64(10486), np.uint64(103)  # 2^20 / 100, 2^10 / 10
BITS_8, BITS_16, BITS_20, BITS_32 = (np.uint64(bits) for bits in (8, 16, 20, 32))


@kernel
def write_logarithm(common: np.float32, out: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """Writes a common logarithm; gives the place after it."""
    number = LOG_ZERO if common == -np.inf else np.float64(common)
    return write_number(np.float64(min(max(number, -MOST_WRITTEN), MOST_WRITTEN)), out, place)


@kernel
def write_number(number: np.float64, out: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """Writes a number, whose nearest float32 is itself, with the digits to read it back; gives the place after it."""
    out[place] = MINUS
    place += np.uint64(number < 0)
    size = abs(number)
    if size >= LEAST_8:
        units = np.uint64(size * 1e8 + 0.5)
        place = write_whole(units // E8, out, place)
        part = units % E8
    elif size >= LEAST_9:
        units = np.uint64(size * 1e9 + 0.5)
        out[place], out[place + ONE], out[place + ONE + ONE] = DIGIT_0, POINT, DIGIT_0 + np.uint8(units // E8)
        store_eight(out, place + np.uint64(3), eight_digits(units % E8))
        return place + np.uint64(11)
    elif size == 0.0:
        out[place] = DIGIT_0
        return place + ONE
    else:
        return write_small(size, out, place)
    if part == 0:
        return place
    out[place] = POINT
    store_eight(out, place + ONE, eight_digits(part))
    return place + ONE + EIGHT


@kernel
def write_whole(number: np.uint64, out: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """Writes a whole number; gives the place after it."""
    if number < TEN:
        out[place] = DIGIT_0 + np.uint8(number)
        return place + ONE
    size, digits = TEN, ONE
    while number >= size:
        size *= TEN
        digits += ONE
    for digit in range(digits):
        out[place + digits - ONE - digit] = DIGIT_0 + np.uint8(number % TEN)
        number //= TEN
    return place + digits


@kernel
def write_small(size: np.float64, out: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """Writes a number less than 1 and more than 0 with nine digits and an exponent; gives the place after it."""
    exponent = np.uint64(0)
    while size < 1.0:
        size *= 10.0
        exponent += ONE
    units = np.uint64(size * 1e8 + 0.5)
    if units >= E9:
        units, exponent = units // TEN, exponent - ONE
    out[place], out[place + ONE] = DIGIT_0 + np.uint8(units // E8), POINT
    store_eight(out, place + np.uint64(2), eight_digits(units % E8))
    out[place + TEN], out[place + TEN + ONE] = LETTER_E, MINUS
    return write_whole(exponent, out, place + TEN + np.uint64(2))


@kernel
def eight_digits(number: np.uint64) -> np.uint64:
    """The eight digits of a number less than 10^8 as bytes, the first one lowest: two, four and eight at once.

    As told by Khuong, "How to print integers really fast", 2017.
    """
    fours = number // TEN_THOUSAND | ((number % TEN_THOUSAND) << BITS_32)
    high = ((fours * BY_100) >> BITS_20) & EVERY_4
    twos = ((fours - HUNDRED * high) << BITS_16) + high
    tens = ((twos * BY_10) >> TEN) & EVERY_2
    return (((twos - TEN * tens) << BITS_8) + tens) | ZEROS
