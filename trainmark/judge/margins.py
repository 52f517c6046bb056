"""By how much a time may differ: one margin for all cells, others for those that are named."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trainmark.store.parameters import split_values

DEFAULT_MARGIN = 0.03  # about the spread of a pair on a shared two-core machine: docs/measuring.md, "Pairs"


class MarginError(ValueError):
    """A text is no share between 0 and 1; the message says what to write."""


@dataclass(frozen=True)
class Margins:
    """The margins of a comparison, as shares: 0.03 lets a time be 1.03 times as long.

    Attributes:
        default: Of cells that no words fit.
        named: Words of a label with their margin, such as ``(("train cnn", 0.05),)``; the last that fit count.
        floor: The least margin that an A/A control of this machine supports; None where there is none.
    """

    default: float = DEFAULT_MARGIN
    named: tuple[tuple[str, float], ...] = ()
    floor: float | None = None

    def of(self, label: str) -> float:
        """The margin of the cell with that label."""
        fitting = [share for words, share in self.named if set(words.split()) <= set(label.split())]
        return max(fitting[-1] if fitting else self.default, self.floor or 0.0)

    def with_floor(self, floor: float | None) -> Margins:
        """The same margins, none of them below the floor."""
        return replace(self, floor=floor)

    @classmethod
    def parse(cls, text: str) -> Margins:
        """From ``3%``, ``0.03`` or ``3%,train cnn=5%,input=10%``.

        Raises:
            MarginError: A part is no share between 0 and 1; the message says which.
        """
        default, named = DEFAULT_MARGIN, []
        for part in split_values(text):
            words, equals, share = part.rpartition("=")
            if equals:
                named.append((words.strip(), parse_share(share)))
            else:
                default = parse_share(share)
        return cls(default, tuple(named))

    def __str__(self) -> str:
        return ",".join([f"{self.default:g}", *(f"{words}={share:g}" for words, share in self.named)])


def parse_share(text: str) -> float:
    """A share of one: ``3%``, ``0.03``.

    Raises:
        MarginError: It is none between 0 and 1.
    """
    stripped = text.strip()
    try:
        share = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise MarginError(f"{text!r} is not a share between 0 and 1: write 3% or 0.03")
    return share
