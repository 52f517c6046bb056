"""The lecture's claims, computed, and what its networks learn: a workload of this suite's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainmark.store.metrics import Metric
from trainmark.store.parameters import Value
from trainmark.workloads import Workload, product_of

if TYPE_CHECKING:
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Settings
    from trainmark.page.sections import Section
    from trainmark.store.record import Record
    from trainmark.workloads.planning import PlannedCell, Request

EPOCHS = {"quick": 2, "full": 10}  # of its CNN
SECONDS = {"mnist-5k": 15.0, "mnist": 120.0}  # of the digits it can be about, with two epochs and with one


@dataclass(frozen=True, kw_only=True)
class Lecture(Workload):
    """Nothing is timed: claims are computed."""

    def is_meant(self, request: Request) -> bool:
        """By no call that asks for what it does not take."""
        return set(request.given) <= set(self.parameters)

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """The digits that were asked for, on the CPU unless another device was."""
        given = request.given
        datasets = tuple(name for name in given.get("dataset", ("mnist-5k",)) if name in SECONDS)
        own: dict[str, tuple[Value, ...]] = {"device": ("cpu",), "epochs": (EPOCHS[request.grid],)}
        yield from product_of(self.parameters, {**own, **given, "dataset": datasets})

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """By its digits."""
        return SECONDS[str(planned.cell["dataset"])]

    def line(self, record: Record) -> str:
        """How many claims hold."""
        return f"{record.metrics['claims_held']} of {record.metrics['claims']} claims hold"

    def sections(self, folder: Path) -> Iterable[Section]:
        """What was learned, and the claims with what was computed."""
        from reports.lecture import sections

        return sections(folder)


WORKLOADS = (
    Lecture(
        name="lecture",
        parameters=("dataset", "device", "epochs"),
        meaning="the lecture's claims, and what its networks learn",
        round_unit="lecture",
        place=70,
        measured_by="bench.lecture.networks:measure",
        keeps_files=True,
        own_metrics={
            "claims": Metric("", "neither", "exact", "claims of the lecture that were computed"),
            "claims_held": Metric("", "higher", "exact", "of them, that hold"),
        },
    ),
)
