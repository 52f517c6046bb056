"""Whether the phases of a step say where its time goes: not where timing them made another step of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainmark import formatting
from trainmark.store.record import Record

TOLERANCE = 0.25  # by which a step with its phases timed may be longer or shorter, and still be read as the step


def stretch(step_seconds: float | None, instrumented_seconds: float | None) -> float | None:
    """Time of a step with its phases timed over that of one without; None where either is not known."""
    if not step_seconds or not instrumented_seconds:
        return None
    found = instrumented_seconds / step_seconds
    return found if math.isfinite(found) else None


def is_like(stretched: float | None) -> bool:
    """Whether phases of such a step can be ranked as those of the step itself."""
    return stretched is not None and 1 / (1 + TOLERANCE) <= stretched <= 1 + TOLERANCE


def not_ranked(stretches: Sequence[float | None]) -> str:
    """A sentence on those that cannot; empty where all can."""
    unlike = [stretched for stretched in stretches if not is_like(stretched)]
    if not unlike:
        return ""
    known = sorted(stretched for stretched in unlike if stretched is not None)
    cells = f"Not ranked: {len(unlike)} of {formatting.counted(len(stretches), 'cell')}"
    if not known:
        return f"{cells}, where the time of a step without its phases timed is not known."
    told = " to ".join(dict.fromkeys(map(formatting.times, (known[0], known[-1]))))
    return f"{cells}, where a step with its phases timed takes {told} the time of one without."


def stretches(records: Sequence[Record]) -> list[float | None]:
    """Of each record."""
    return [stretch(one.metrics.get("step_seconds"), one.metrics.get("instrumented_step_seconds")) for one in records]
