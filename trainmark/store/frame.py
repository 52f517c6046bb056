"""Stored runs as one DataFrame: a row a record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from trainmark.store.cell import WORKLOADS
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import PARAMETERS, Value, default_of
from trainmark.store.record import Record, Run
from trainmark.store.runs import read_runs, run_files


def to_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """The records of the runs as a DataFrame, one row a record.

    Columns: ``run``, ``run_id``, ``fingerprint``, ``commit``, ``dirty``, ``key``, ``label``,
    ``workload``; one for each axis and one for each metric (None or NaN where absent); and
    ``status``, ``reason``, ``rounds``, ``series``, ``settings``, ``disturbance``, ``flags``,
    ``started``.
    """
    rows = [
        {
            "run": run.name,
            "run_id": run.facts.id,
            "fingerprint": run.environment.get("fingerprint"),
            "commit": run.commit.get("id"),
            "dirty": run.commit.get("dirty"),
            "key": record.key,
            "label": record.label,
            "workload": record.cell.workload,
            **_axes(record),
            **{metric: record.metrics.get(metric) for metric in METRICS},
            "status": record.status,
            "reason": record.reason,
            "rounds": record.rounds,
            "series": record.series,
            "settings": record.settings,
            "disturbance": record.disturbance,
            "flags": record.flags,
            "started": record.started,
        }
        for run in runs
        for record in run.records
    ]
    columns = ["run", "run_id", "fingerprint", "commit", "dirty", "key", "label", "workload", *PARAMETERS, *METRICS]
    columns += ["status", "reason", "rounds", "series", "settings", "disturbance", "flags", "started"]
    frame = pd.DataFrame(rows, columns=columns)
    for axis in PARAMETERS.values():
        if isinstance(axis.default, int):
            frame[axis.name] = frame[axis.name].astype("Int64")  # whole numbers with gaps
    frame[list(METRICS)] = pd.DataFrame({metric: pd.to_numeric(frame[metric]) for metric in METRICS})
    return frame.copy()  # in one piece: pandas warns of a frame that was put together column by column


def _axes(record: Record) -> dict[str, Value | None]:
    """Each axis with its value; its default where the record is older; None where the workload takes none."""
    workload = WORKLOADS.get(record.cell.workload)
    defaults = {name: default_of(name) for name in workload.parameters} if workload else {}
    return {name: record.cell.settings.get(name, defaults.get(name)) for name in PARAMETERS}


def load_frame(paths: Iterable[Path] | None, folder: Path) -> pd.DataFrame:
    """All records of stored runs as one DataFrame; see :func:`to_frame` for its columns.

    Args:
        paths: Files of runs; None for all in ``folder``.
        folder: Where runs are stored.
    """
    return to_frame(read_runs(run_files(folder) if paths is None else paths))
