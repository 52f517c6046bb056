"""In which range a number lies, by what it is: the types that stored documents are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from msgspec import Meta

SHORTEST_SECONDS = 1e-12  # of what was timed: no clock tells less
LONGEST_SECONDS = 1e10  # three centuries
LARGEST_COUNT = 2**63 - 1
LARGEST = 1e150  # of any number: the ratio of two is finite still

Seconds: TypeAlias = Annotated[float, Meta(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)]  # of what was timed
Duration: TypeAlias = Annotated[float, Meta(ge=0, le=LONGEST_SECONDS)]  # that may be too short to be seen
OwnSeconds: TypeAlias = Annotated[float, Meta(gt=-1, le=LONGEST_SECONDS)]  # calls that overlap leave less than nothing
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Amount: TypeAlias = Annotated[float, Meta(ge=0, le=LARGEST)]  # a rate, a ratio, a mean of counts
Rate: TypeAlias = Annotated[float, Meta(ge=1 / LARGEST, le=LARGEST)]  # that others are divided by
Number: TypeAlias = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]
Some: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_COUNT)]  # a count of what there is at least one of
Integer: TypeAlias = Annotated[int, Meta(ge=-LARGEST_COUNT, le=LARGEST_COUNT)]
Real: TypeAlias = Integer | Number


@dataclass(frozen=True)
class Range:
    """Where the values of a metric lie: ``0.5 in Range(0, 1)``.

    Attributes:
        least: The smallest.
        most: The largest.
        whole: Whether they are integers.
    """

    least: float
    most: float
    whole: bool = False

    def __contains__(self, value: float | int) -> bool:
        return self.least <= value <= self.most and (not self.whole or isinstance(value, int))

    def __str__(self) -> str:
        return f"{'an integer' if self.whole else 'a number'} from {self.least:g} to {self.most:g}"
