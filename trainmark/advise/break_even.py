"""Whether torch.compile pays: what it costs once against what it saves at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import NOT_OF_TIMES, Record


@dataclass(frozen=True)
class Payback:
    """A compiled cell beside the same cell run eagerly.

    Attributes:
        compiled: The compiled cell's record.
        speedup: Time of an eager step over that of a compiled one, medians.
        steps: Steps after which the compile time is won back, from a cold cache; None for never.
        decided: Whether the two step times differ by their intervals, and neither is flagged.
    """

    compiled: Record
    speedup: float
    steps: float | None
    decided: bool


def paybacks(records: Sequence[Record]) -> list[Payback]:
    """Each compiled cell of a run whose eager twin was measured in the same run."""
    eager = {record.key: record for record in records if record.cell.settings.get("compile") == "off"}
    found = []
    for record in records:
        if record.cell.settings.get("compile", "off") == "off" or record.metrics.get("compile_seconds") is None:
            continue
        settings = record.cell.settings | {"compile": PARAMETERS["compile"].default}
        twin = eager.get(Cell(record.cell.workload, tuple(settings.items())).key)
        if twin is not None and twin.metrics.get("step_seconds") is not None:
            found.append(_payback(record, twin))
    return found


def break_even_steps(compile_seconds: float, eager_step: float, compiled_step: float) -> float | None:
    """Steps after which compiling has won back what it cost; None where it never does.

    All in seconds. The first compiled step counts to the compilation.
    """
    saved = eager_step - compiled_step
    return compile_seconds / saved if saved > 0 else None


def _payback(compiled: Record, eager: Record) -> Payback:
    cost = compiled.metrics["compile_seconds"] or 0.0
    before, after = eager.metrics["step_seconds"] or 0.0, compiled.metrics["step_seconds"] or 0.0
    return Payback(compiled, before / after, break_even_steps(cost, before, after), _differ(compiled, eager))


def _differ(one: Record, other: Record) -> bool:
    if {*one.flags, *other.flags} - NOT_OF_TIMES:
        return False
    ends = [
        (record.metrics.get("step_seconds_low"), record.metrics.get("step_seconds_high")) for record in (one, other)
    ]
    (low, high), (other_low, other_high) = ends
    if low is None or high is None or other_low is None or other_high is None:
        return False
    return high < other_low or other_high < low
