"""Sizes and times as users write them."""

from __future__ import annotations

import re

SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
TIMES = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_size(text: str) -> int:
    """Bytes: ``500MB``, ``4GB``, ``1.5g``.

    Raises:
        ValueError: It is none, or none above zero; the message says what to write.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * SIZES[found[2].upper()]) if found else 0
    if not size:
        raise ValueError(f"{text}: not a size; write 500MB or 4GB.")
    return size


def parse_seconds(text: str) -> float:
    """Seconds: ``90``, ``90s``, ``15m``, ``2h``.

    Raises:
        ValueError: It is no time, or none above zero; the message says what to write.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    seconds = float(found[1]) * TIMES[found[2]] if found else 0.0
    if not seconds:
        raise ValueError(f"{text}: not a time; write 90, 90s, 15m or 2h.")
    return seconds


def parse_count(text: str) -> int:
    """A whole number above zero.

    Raises:
        ValueError: It is none.
    """
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{text}: not a whole number above zero.")
    return int(text)
