"""Records of measured cells: their schema, the journal of a run in progress, and stored runs."""

from trainmark.store.cell import AXES, WORKLOADS, Axis, Cell
from trainmark.store.record import METRICS, SCHEMA_VERSION, Metric, Record, Run, RunFacts
from trainmark.store.runs import load_runs

__all__ = [
    "AXES",
    "METRICS",
    "SCHEMA_VERSION",
    "WORKLOADS",
    "Axis",
    "Cell",
    "Metric",
    "Record",
    "Run",
    "RunFacts",
    "load_runs",
]
