"""What becomes of a check whose cells are not all there, not all decided or not the same."""

from __future__ import annotations

from dataclasses import dataclass

POLICIES = ("pass", "warn", "fail")
COUNTS = ("pass", "fail")  # what becomes of counts that explain a time


@dataclass(frozen=True)
class Policy:
    """What becomes of a check whose cells are not all there, or not all decided.

    Attributes:
        inconclusive: ``pass`` lets a check pass though nothing is decided, ``warn`` though something is
            not, ``fail`` only where every cell is decided.
        missing: ``fail`` lets a cell that is no longer there fail the check; ``warn`` tells it, ``pass`` does not.
        changed: Likewise of a cell that computes something else; None for ``fail`` where a working tree was
            measured against itself, and else ``warn``.
    """

    inconclusive: str = "warn"
    missing: str = "fail"
    changed: str | None = None
