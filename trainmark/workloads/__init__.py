"""What can be measured: one entry a workload, and one way to it for the run, its worker and both sides of --against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainmark.store.cell import WORKLOADS, Cell, WorkloadFacts
from trainmark.store.glossary import is_learned
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.parameters import PARAMETERS, Parameter, Value

if TYPE_CHECKING:
    from pathlib import Path

    from trainmark.measure.context import Context
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Places, Settings
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.page.sections import Section
    from trainmark.page.tables import Detail
    from trainmark.store.record import Record
    from trainmark.workloads.planning import PlannedCell, Request


@dataclass(frozen=True)
class SkipReason:
    """Why this machine cannot run a cell.

    Attributes:
        parameter: The one to change.
        sentence: Why.
    """

    parameter: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Workload(WorkloadFacts):
    """An entry of the registry: all that is asked of a workload. Nothing heavy is imported to know it.

    Whatever is heavy is named as ``package.module:function`` and imported in the process that measures,
    or inside a method that is called when it is needed.

    Attributes:
        place: Where it stands in a run: the cheap first.
        subject: Workloads of one subject are asked for together: a call that speaks of parameters which only
            another subject has leaves them out.
        measured_by: ``function(cell, settings, report, scratch) -> Record``, called in a process of its own.
        steps: ``function(cell, settings, scratch) -> Steps``: what both halves of a pair repeat, block by block.
            Empty where a pair is judged by its records alone.
        computed_by: ``function(cell, settings, report, scratch) -> dict``: what a small cell of it computes, see
            :mod:`trainmark.measure.computation`. Empty where exact metrics tell that.
        option: Of the command line, where it is measured only when asked for, and then alone.
        option_help: Of that option.
        keeps_files: Whether it leaves files beside its run.
        of_one_run: Whether it says something of its run alone, which a comparison with another side leaves out.
        role: What the advice reads its records for: ``training`` their speed, ``accuracy`` their curves.
        own_parameters: That it brings with it.
        own_metrics: Likewise.
    """

    place: int = 100
    subject: str = "models"
    measured_by: str = ""
    steps: str = ""
    computed_by: str = ""
    option: str = ""
    option_help: str = ""
    keeps_files: bool = False
    of_one_run: bool = False
    role: str = ""
    own_parameters: tuple[Parameter, ...] = ()
    own_metrics: Mapping[str, Metric] = field(default_factory=dict, compare=False)

    def is_meant(self, request: Request) -> bool:
        """Whether a call is about this workload, by the parameters that it names."""
        asked = set(request.given)
        return not asked & parameters_of_others(self.subject) or bool(asked & parameters_of(self.subject))

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """Values of its parameters for each cell; what is not named has its default, and twice is once."""
        given = {name: values for name, values in request.given.items() if name in self.parameters}
        yield from product_of(self.parameters, given)

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """Why the machine cannot run a cell; its device has been looked at already."""
        return None

    def seeds(self, cell: Cell, request: Request, machine: Machine) -> int:
        """Trainings that a cell takes."""
        return 1

    def is_paired(self, cell: Cell, request: Request) -> bool:
        """Whether both sides of a comparison take turns at a cell; else it is judged by a record of each."""
        return bool(self.steps)

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """Roughly how long a cell takes, where no stored run tells."""
        return 2.0

    def seconds_again(self, record: Record, *, same_code: bool) -> float | None:
        """How long a cell will take of which there is a record on this machine; None where that does not tell.

        Args:
            record: Of an earlier run.
            same_code: Whether it is of the very code that is measured now.
        """
        return record.metrics.get("cell_seconds")

    def look(self, places: Places) -> Any:
        """What it needs to know of the machine, told in ``machine.found[name]``; called where the machine is looked at.

        Raises:
            MissingDataError: What the command line names is not there.
        """
        return None

    def measure(self, cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
        """The record of a cell, and the last lines that its process printed."""
        return context.record(cell, settings, context.call(self.measured_by, cell, settings))

    def line(self, record: Record) -> str:
        """What the terminal says of a cell that was measured."""
        from trainmark import formatting

        timed = next((name for name in record.metrics if name in METRICS and METRICS[name].compared == "time"), None)
        return formatting.duration(record.metrics[timed]) if timed else "measured"

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """Tables of its records alone, which the page shows by subject."""
        return ()

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """Pictures of its records, which the page shows under headings of their own."""
        return ()

    def sections(self, folder: Path) -> Iterable[Section]:
        """Whole sections of the page, from the files that the workload left in a run's folder."""
        return ()


def register(*workloads: Workload) -> None:
    """Makes workloads known, with the parameters and metrics that they bring.

    Raises:
        ValueError: A name is taken by something else.
    """
    for workload in workloads:
        for parameter in workload.own_parameters:
            _add(PARAMETERS, parameter.name, parameter)
        for name, metric in workload.own_metrics.items():
            _add(METRICS, name, metric)
        unknown = [name for name in workload.parameters if name not in PARAMETERS]
        if unknown:
            raise ValueError(f"workload {workload.name}: no parameter named {', '.join(unknown)}")
        _add(WORKLOADS, workload.name, workload)


def _add(registry: dict[str, Any], name: str, entry: Any) -> None:
    known = registry.get(name)
    if is_learned(known):
        del registry[name]  # only a stored run told of it; what is registered takes its own place
    elif known is not None and known != entry:
        raise ValueError(f"{name} is there already, as {known}")
    registry[name] = entry


def entry_of(name: str) -> Workload:
    """The entry of a workload.

    Raises:
        KeyError: None has that name, or its facts are known from a stored run alone.
    """
    known = WORKLOADS.get(name)
    if not isinstance(known, Workload):
        listed = ", ".join(entry.name for entry in entries())
        raise KeyError(f"No workload named {name} can be measured here; there are {listed}")
    return known


def entries() -> Iterator[Workload]:
    """All that can be measured, the cheap first."""
    yield from sorted(
        (known for known in WORKLOADS.values() if isinstance(known, Workload)), key=lambda entry: entry.place
    )


def of_role(role: str, records: Iterable[Record]) -> Iterator[Record]:
    """The records of workloads that the advice reads for the same thing."""
    names = {entry.name for entry in entries() if entry.role == role}
    yield from (record for record in records if record.cell.workload in names)


def parameters_of(subject: str) -> set[str]:
    """Parameters that the workloads of a subject take, and those of no other do."""
    return {
        name for entry in entries() if entry.subject == subject for name in entry.parameters
    } - _shared_between_subjects()


def parameters_of_others(subject: str) -> set[str]:
    """Parameters that only workloads of other subjects take."""
    others = {name for entry in entries() if entry.subject != subject for name in entry.parameters}
    return others - _shared_between_subjects()


def _shared_between_subjects() -> set[str]:
    taken: dict[str, set[str]] = {}
    for entry in entries():
        for name in entry.parameters:
            taken.setdefault(name, set()).add(entry.subject)
    return {name for name, subjects in taken.items() if len(subjects) > 1}


def product_of(taken: Sequence[str], choices: Mapping[str, Sequence[Value]]) -> Iterator[dict[str, Value]]:
    """Each combination of the values chosen for the parameters that are taken."""
    from itertools import product

    names = [name for name in taken if name in choices]
    for values in product(*(choices[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def _register_built_in() -> None:
    from trainmark.workloads.accuracy import ACCURACY
    from trainmark.workloads.answering import ANSWER
    from trainmark.workloads.capacity import CAPACITY
    from trainmark.workloads.inference import INFERENCE
    from trainmark.workloads.input import INPUT
    from trainmark.workloads.scaling import SCALING
    from trainmark.workloads.train import TRAIN

    register(TRAIN, INFERENCE, INPUT, CAPACITY, SCALING, ACCURACY, ANSWER)


_register_built_in()
