"""A cell: one workload at one value of every parameter it takes, with its join key and its label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainmark.store.parameters import PARAMETERS, Value


@dataclass(frozen=True, kw_only=True)
class WorkloadFacts:
    """What a stored record's workload is, for whoever reads it.

    Attributes:
        name: The key of its entry.
        parameters: Names of those it takes, in the order in which they are stored.
        meaning: One line for the report.
        round_unit: What one number in ``Record.rounds`` is the duration of.
        shown: Parameters that a label always shows; others only where they are not at their default.
    """

    name: str
    parameters: tuple[str, ...]
    meaning: str
    round_unit: str
    shown: tuple[str, ...] = ("model", "batch_size", "device", "precision")


# Those that can be measured are entries of trainmark.workloads; a run that was measured elsewhere brings its own facts.
WORKLOADS: dict[str, WorkloadFacts] = {}


@dataclass(frozen=True)
class Cell:
    """One workload at one value of every axis it takes: the unit that is run, saved, compared.

    Attributes:
        workload: A key of WORKLOADS.
        axes: Pairs of axis name and value; see :meth:`of`.
    """

    workload: str
    axes: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, workload: str, /, **values: Value) -> Cell:
        """A cell with the axes that the workload takes; those not given have their default.

        Raises:
            KeyError: The workload is not known.
            ValueError: A value was given for an axis that the workload does not take.
        """
        taken = WORKLOADS[workload].parameters
        foreign = sorted(set(values) - set(taken))
        if foreign:
            raise ValueError(f"{workload} takes no {', '.join(foreign)}; it takes {', '.join(taken)}")
        return cls(workload, tuple((name, values.get(name, PARAMETERS[name].default)) for name in taken))

    def __getitem__(self, axis: str) -> Value:
        return self.settings[axis]

    @property
    def settings(self) -> dict[str, Value]:
        """Parameter name -> value."""
        return dict(self.axes)

    @property
    def key(self) -> str:
        """The join key of this cell's records."""
        return join_key(self.workload, self.settings)

    @property
    def label(self) -> str:
        """What a person reads, such as ``train cnn 64 cpu bf16``: see :func:`label`."""
        return label(self.workload, self.settings)


# How a cell computes, set to what is plain, and how much: whatever cells then have in common, they compute alike.
PLAIN: Mapping[str, Value] = {"precision": "fp32", "device": "cpu"}
FEW = {"batch_size": 8, "epochs": 3}
ORDERING = ("loader",)  # the same arithmetic over another order of samples


def plain(cell: Cell) -> Cell:
    """The small cell that stands for all that differ from it only in how, and how much, they compute."""
    same = {name for name in cell.settings if name in PARAMETERS and PARAMETERS[name].same_arithmetic} - {*ORDERING}
    usual = {name: PARAMETERS[name].default for name in same}
    own = {name: value for name, value in {**usual, **PLAIN, **FEW}.items() if name in cell.settings}
    return Cell.of(cell.workload, **(cell.settings | own))


def join_key(workload: str, axes: Mapping[str, Value]) -> str:
    """The name under which records of two runs meet.

    An axis at its default is left out, so a record made before an axis existed has the same key
    as one made after. The pytest node id is not used: it changes with every new axis.
    """
    varied = (f"{name}={_quoted(value)}" for name, value in sorted(axes.items()) if not _is_default(name, value))
    return " ".join([workload, *varied])


def label(workload: str, axes: Mapping[str, Value]) -> str:
    """A short name for people: what tells such cells apart at once, then what is not default."""
    always = WORKLOADS[workload].shown if workload in WORKLOADS else WorkloadFacts.shown
    shown = [_worded(name, axes[name]) for name in always if name in axes]
    rest = [
        _worded(name, value)
        for name, value in sorted(axes.items(), key=lambda item: _place(item[0]))
        if name not in always and not _is_default(name, value)
    ]
    return " ".join([workload, *shown, *rest])


def _worded(name: str, value: Value) -> str:
    return PARAMETERS[name].worded(value) if name in PARAMETERS else str(value)


def _place(name: str) -> tuple[int, str]:
    """Where a label shows an axis: in the order of PARAMETERS, and after them one that a newer version knows."""
    return (list(PARAMETERS).index(name) if name in PARAMETERS else len(PARAMETERS), name)


def _quoted(value: Value) -> str:
    """The value without spaces, which part the axes of a key."""
    return str(value).replace("%", "%25").replace(" ", "%20")


def _is_default(name: str, value: Value) -> bool:
    return name in PARAMETERS and PARAMETERS[name].default == value
