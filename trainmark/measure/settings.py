"""How cells are measured, beside their axes: what the command line says once for a whole run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from trainmark.meters.probes import CountingLimits


@dataclass(frozen=True)
class DataPlaces:
    """Where data sets lie on this machine; never part of a record.

    Attributes:
        root: Folder in torchvision's layout.
        download: Whether torchvision may fetch what is missing there.
        folders: Name after ``folder:`` -> path.
        corpora: Name of a text -> path.
    """

    root: Path = Path("data")
    download: bool = False
    folders: Mapping[str, Path] = field(default_factory=dict)
    corpora: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """A text as n-gram cells read it: UTF-8, one sentence a line.

    Attributes:
        path: Of what is fitted.
        tokens: Its words, and one end for each sentence.
        digest: First 12 hexadecimal digits of the SHA-256 of the whole text: what a record names it by.
        held_out: Path of the sentences that follow it; None where none are held out.
        held_out_tokens: Of these.
    """

    path: Path
    tokens: int
    digest: str
    held_out: Path | None = None
    held_out_tokens: int = 0


@dataclass(frozen=True)
class Settings:
    """How a cell is measured.

    Attributes:
        threads: CPU threads of PyTorch.
        seed: Of the weights, the order of samples and dropout; the first of ``seeds``.
        seeds: Trainings of an ``accuracy`` cell.
        min_rounds: Rounds at the least.
        max_seconds: Rounds go on until they have taken this long together.
        once: Take a single step and nothing more, to see that a cell runs.
        places: Where data sets lie.
        artifacts: Folder for a profile and a trace of each cell; None for no profiling.
        compile_cache: Where torch.compile keeps what it made; None for a folder of the cell's own.
        corpus: The text of an n-gram cell; None for the others.
        counting_limits: What bounds counting here; None where it was not probed.
    """

    threads: int = 1
    seed: int = 0
    seeds: int = 1
    min_rounds: int = 6
    max_seconds: float = 1.0
    once: bool = False
    places: DataPlaces = field(default_factory=DataPlaces)
    artifacts: Path | None = None
    compile_cache: Path | None = None
    corpus: Corpus | None = None
    counting_limits: CountingLimits | None = None


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else all physical cores but one.

    One core is left to the rest of the machine: OpenMP threads wait for each other after every
    operator, so a single one that loses its core holds up all (docs/measuring.md, "Threads").
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return max(1, (psutil.cpu_count(logical=False) or os.cpu_count() or 2) - 1)
