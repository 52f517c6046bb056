"""What the lecture workload left beside a run, made ready for the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """Placeholder until the workload is there."""
