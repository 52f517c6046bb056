"""Benchmarks of PyTorch training: which setting to use on this machine, and whether the last change made it worse.

Nothing is imported before it is asked for: a process that measures needs no tables, and one that reads
needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from trainmark.task import HeldOut, Task

__all__ = ["HeldOut", "Task", "load_runs"]


def load_runs(paths: Iterable[Path] | None = None, folder: Path | None = None) -> pd.DataFrame:
    """All records of stored runs as one DataFrame, a row each.

    Columns: ``run``, ``run_id``, ``fingerprint``, ``commit``, ``dirty``, ``key``, ``label``,
    ``workload``; one for each parameter and one for each metric (None or NaN where absent); and
    ``status``, ``reason``, ``rounds``, ``series``, ``settings``, ``disturbance``, ``flags``, ``started``.

    Args:
        paths: Files of runs; None for all in ``folder``.
        folder: Where runs are stored; None for the results of the suite that this folder is in.

    Raises:
        trainmark.suite.SuiteError: The suite's table cannot be read.
    """
    from trainmark import suite
    from trainmark.store.frame import load_frame

    opened = suite.current()  # its parameters and metrics are columns too
    return load_frame(paths, opened.root / opened.results if folder is None else folder)


def __getattr__(name: str) -> Any:
    if name not in ("HeldOut", "Task"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainmark import task

    return getattr(task, name)
