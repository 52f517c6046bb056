"""Which cells a run has: what the command line asks for, and the grid's values of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.settings import Settings
from trainmark.named import canonical
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS, Parameter, Value
from trainmark.workloads import SkipReason, Workload, entry_of
from trainmark.workloads.grid import GRIDS, Grid


@dataclass(frozen=True)
class Request:
    """What the command line says of the cells.

    Attributes:
        grid: A key of GRIDS.
        given: Parameter -> the values asked for, for the parameters that were.
        seeds: Trainings of an accuracy cell; None for the grid's own number.
        only: The workload that was asked for by an option of its own; None for all others.
        compares: Whether another side is measured too.
    """

    grid: str = "quick"
    given: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    seeds: int | None = None
    only: str | None = None
    compares: bool = False

    @property
    def values(self) -> Grid:
        """The grid that was asked for."""
        return GRIDS[self.grid]

    @property
    def models(self) -> tuple[str, ...]:
        """The models asked for, or those of the grid; none where the suite's registered ones are meant."""
        asked = self.given.get("model")
        return tuple(str(name) for name in asked) if asked else tuple(map(canonical, self.values.models))

    def with_needs(self) -> Request:
        """The same with what the parameters asked for need: workers load for a ``DataLoader`` alone, say."""
        given = dict(self.given)
        for name in self.given:
            for other, value in PARAMETERS[name].needs.items():
                given.setdefault(other, (value,))
        return replace(self, given=given)

    def models_on(self, machine: Machine) -> tuple[str, ...]:
        """The models to measure, by name; without those that the machine's side of a comparison does not have."""
        return tuple(name for name in self.models or machine.models if name in machine.models)


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a run.

    Attributes:
        cell: What to measure.
        seeds: Trainings, for an accuracy cell.
        skip_reason: Why this machine cannot run it; None where it can.
    """

    cell: Cell
    seeds: int = 1
    skip_reason: str | None = None


def plan(workload: str, request: Request, machine: Machine) -> list[PlannedCell]:
    """The cells of one workload, each once.

    A cell that the machine cannot run is in the plan, with its reason, where the command line
    asked for what is in the way; where only the grid did, it is left out.
    """
    entry = entry_of(workload)
    if not is_asked(entry, request):
        return []
    request = request.with_needs()
    planned: dict[Cell, PlannedCell] = {}
    for values in entry.combinations(request, machine):
        cell = Cell.of(workload, **values)
        reason = find_skip_reason(entry, cell, machine)
        if reason is None or reason.parameter in request.given:
            sentence = None if reason is None else reason.sentence
            planned.setdefault(cell, PlannedCell(cell, entry.seeds(cell, request, machine), sentence))
    return list(planned.values())


def is_asked(entry: Workload, request: Request) -> bool:
    """Whether a call is about a workload: by the parameters that it names, or by an option of the workload's own."""
    if request.compares and entry.of_one_run:
        return False
    asked_for = entry.name == request.only if entry.option or request.only else True
    return asked_for and entry.is_meant(request)


def find_skip_reason(entry: Workload, cell: Cell, machine: Machine) -> SkipReason | None:
    """Why the machine cannot run a cell: for want of its device, else as its workload says."""
    device = cell.settings.get("device")
    if device is not None and device not in machine.devices:
        has = ", ".join(machine.devices)
        return SkipReason("device", f"this machine has no {device} device; it has {has}")
    facts = machine.models.get(str(cell.settings.get("model")))
    for name, value in reversed(cell.axes):  # what needs another comes after it
        reason = None if value == PARAMETERS[name].default else _idle(PARAMETERS[name], value, cell, facts)
        if reason is not None:
            return reason
    return entry.skip_reason(cell, machine)


def _idle(parameter: Parameter, value: Value, cell: Cell, facts: ModelFacts | None) -> SkipReason | None:
    """Why a value beside the default means nothing in a cell, by the entry of its parameter; None where it does."""
    asked, device = f"{parameter.option} {value}", cell.settings.get("device")
    if facts is not None and parameter.own_part in facts.own_parts:
        return SkipReason(parameter.name, parameter.left_to_task(value))
    if parameter.devices and device not in parameter.devices:
        told = f"{asked} changes nothing on the {device}: it is for {' and '.join(parameter.devices)}"
        return SkipReason(parameter.name, told)
    for other in parameter.needs:
        if cell[other] == PARAMETERS[other].default:
            return SkipReason(parameter.name, f"{asked} means nothing with {PARAMETERS[other].option} {cell[other]}")
    for other, why in parameter.excludes.items():
        if cell[other] != PARAMETERS[other].default:  # which the grid alone may have added
            return SkipReason(other, f"{asked} does not go with {PARAMETERS[other].option} {cell[other]}: {why}")
    return None


def estimate_seconds(planned: PlannedCell, machine: Machine, settings: Settings) -> float:
    """Roughly how long a cell takes, where no stored run tells; nothing where it is skipped."""
    if planned.skip_reason:
        return 0.0
    return entry_of(planned.cell.workload).estimate_seconds(planned, machine, settings)
