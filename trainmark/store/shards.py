"""A shard: the share of a run's benchmarks that one of several calls measures, such as a job of a CI matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One of several equal shares, dealt in turns: ``3/8`` has the third benchmark, the eleventh, and so on.

    Attributes:
        number: From 1 on.
        of: How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that ``3/8`` names.

        Raises:
            ValueError: It names none; the message says what to write.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip(), re.ASCII)
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of:
            raise ValueError(f"{text!r} is no shard: write NUMBER/OF, such as 3/8")
        return cls(number, of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def deal(self, whole: Sequence[T]) -> list[T]:
        """Its own share of a whole, in the order of the whole."""
        return list(whole[self.number - 1 :: self.of])

    def whole(self, own: Sequence[T], others: Sequence[T]) -> list[T]:
        """The whole again, in its order, from this share and what all others have together."""
        mine, rest = iter(own), iter(others)
        size = len(own) + len(others)
        return [next(mine if place % self.of == self.number - 1 else rest) for place in range(size)]
