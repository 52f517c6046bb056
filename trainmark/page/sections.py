"""Whole sections of a page that a workload brings: ready-made HTML, with what the page's head links to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from trainmark.workloads import entries


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        links: Anchor and word, for the head of the page.
        html: With a heading for each anchor; what comes from outside is escaped in it.
    """

    links: tuple[tuple[str, str], ...]
    html: Markup


def sections_of(folder: Path) -> Sequence[Section]:
    """Sections of all workloads, from the files that they left in a run's folder."""
    return [section for entry in entries() for section in entry.sections(folder)]
