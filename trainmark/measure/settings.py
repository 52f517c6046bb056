"""How cells are measured, beside their axes: what the command line says once for a whole run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Places:
    """Where data lies on this machine; never part of a record.

    Attributes:
        root: Folder in torchvision's layout.
        download: Whether what is missing there may be fetched.
        named: Parameter -> the name that a record keeps -> path, of values that were given as one.
    """

    root: Path = Path("data")
    download: bool = False
    named: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)

    def find(self, parameter: str, name: str) -> Path | None:
        """Where a value lies; None where it was not given as a path."""
        return self.named.get(parameter, {}).get(name)


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
        answer_seconds: That an answer may take to gather evidence, with what those before it have left.
        energy: Whether the energy of a step is measured, which takes seconds where there is a counter.
    """

    threads: int = 1
    seed: int = 0
    seeds: int = 1
    min_rounds: int = 6
    max_seconds: float = 1.0
    once: bool = False
    places: Places = field(default_factory=Places)
    artifacts: Path | None = None
    compile_cache: Path | None = None
    answer_seconds: float = 40.0
    energy: bool = True


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else all physical cores but one.

    One core is left to the rest of the machine: OpenMP threads wait for each other after every
    operator, so a single one that loses its core holds up all (docs/measuring.md, "Threads").
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return max(1, (psutil.cpu_count(logical=False) or os.cpu_count() or 2) - 1)
