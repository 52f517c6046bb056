"""What the choice of cells needs to know of a machine, in plain values that any process can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainmark.store.cell import Cell
from trainmark.store.metrics import Metric


@dataclass(frozen=True)
class Failure:
    """Why nothing can be done with a model, or with a cell of it: what its record will say.

    Attributes:
        status: Of the record: ``error``, ``timeout``, ``crashed`` or ``oom``.
        reason: One sentence, with the model's name.
    """

    status: str
    reason: str


@dataclass(frozen=True)
class ModelFacts:
    """Of a model that was asked for.

    Attributes:
        family: See ``trainmark.model.ModelSpec``.
        dataset: Which it is fed where the command line names none.
        sample_flops: Forward operations for one sample; None where they are not known beforehand.
        has_convolution: Whether a memory format can matter.
        metrics: That its task brings: name -> how it is read and compared.
        own_parts: What its task says itself: see :func:`trainmark.measure.own_data.own_parts`.
        failure: What came of importing it, where that did not end well; None where it did.
        file: Of the module that names it; None where that has none.
        copies: Package of the suite's sources that it uses -> where it was imported from instead.
    """

    family: str
    dataset: str
    sample_flops: int | None
    has_convolution: bool
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    own_parts: tuple[str, ...] = ()
    failure: Failure | None = None
    file: str | None = field(default=None, compare=False)
    copies: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Machine:
    """What the machine can run; ``trainmark.measure.environment.describe`` finds it out.

    Attributes:
        environment: Stable facts and their ``fingerprint``; no host name, no user name.
        devices: Device types present, ``cpu`` first.
        precisions: Device -> precisions it computes in hardware.
        compile_obstacle: Device -> why torch.compile cannot work there; absent where it can.
        models: Facts of the models asked for.
        cpu_flops: Floating-point operations a second of one float32 product, a rough scale.
        default_data: What is fed where no model says which data set fits it.
        found: Workload -> what it has found out for itself; see ``Workload.look``.
    """

    environment: Mapping[str, Any]
    devices: tuple[str, ...]
    precisions: Mapping[str, tuple[str, ...]]
    compile_obstacle: Mapping[str, str]
    models: Mapping[str, ModelFacts]
    cpu_flops: float
    default_data: str = "synthetic"
    found: Mapping[str, Any] = field(default_factory=dict)

    def failure_of(self, cell: Cell) -> Failure | None:
        """Why a cell cannot be tried; None where it can, or has no model."""
        facts = self.models.get(str(cell.settings.get("model")))
        return None if facts is None else facts.failure
