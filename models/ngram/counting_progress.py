"""How far a fit is: what is told to who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str, int, int], None]  # what is being done, how much is done, and of how much, 0 if unknown


@dataclass(frozen=True)
class Step:
    """How far the tokens of a text are when a stage begins, for who wants to know.

    Attributes:
        tokens: Of the text.
        before: Share of the counting that is done.
        share: What the stage does of it.
        progress: Who is told.
    """

    tokens: int
    before: float
    share: float
    progress: Progress | None

    def told(self, windows: int) -> None:
        """Tells that so many windows are counted."""
        if self.progress:
            done = self.tokens * self.before + windows * self.share
            self.progress("counting", min(int(done), self.tokens), self.tokens)
