"""What the choice of cells needs to know of a machine, in plain values that any process can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainmark.store.metrics import Metric


@dataclass(frozen=True)
class ModelFacts:
    """Of a model that was asked for.

    Attributes:
        family: See ``trainmark.model.ModelSpec``.
        dataset: Which it is fed where the command line names none.
        sample_flops: Forward operations for one sample; None where they are not known beforehand.
        has_convolution: Whether a memory format can matter.
        metrics: That its task brings: name -> how it is read and compared.
        own_parts: What its task says itself: see
            :func:`trainmark.measure.own_data.own_parts`.
    """

    family: str
    dataset: str
    sample_flops: int | None
    has_convolution: bool
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    own_parts: tuple[str, ...] = ()


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
