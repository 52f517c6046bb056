"""The largest batch that fits: by doubling, then by bisection, each attempt in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

LARGEST = 2**20  # a batch that no model here is trained with
RESOLUTION = 64  # the answer is exact to one part in so many


def largest_that_fits(fits: Callable[[int], bool], first: int = 1, largest: int = LARGEST) -> int:
    """The largest number for which ``fits`` is true, to one part in RESOLUTION; 0 where none is.

    Args:
        fits: Whether a number fits; once one does not, no larger one does.
        first: Where the doubling begins.
        largest: Where it ends.
    """
    low, high = 0, first
    while high <= largest and fits(high):
        low, high = high, 2 * high
    if high > largest:
        return low
    while high - low > max(1, low // RESOLUTION):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
