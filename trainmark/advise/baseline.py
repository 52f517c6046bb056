"""The stored run that a run is best compared with: the latest one of the same machine that measured the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainmark.store.record import Run


@dataclass(frozen=True)
class Offer:
    """A run that may serve as the baseline.

    Attributes:
        run: It.
        shared: How many configurations both have measured, in the same settings.
    """

    run: Run
    shared: int


def offered(subject: Run, stored: Iterable[Run]) -> Offer | None:
    """The latest stored run that the subject can be compared with; None where there is none.

    It began before the subject, on the same machine with the same software, and shares a configuration that was
    measured with the same threads and seeds.
    """
    machine = subject.environment.get("fingerprint")
    if machine is None:
        return None
    found = [
        Offer(run, shared)
        for run in stored
        if run.environment.get("fingerprint") == machine and run.facts.started < subject.facts.started
        if (shared := _shared(subject, run))
    ]
    return max(found, key=lambda one: (one.run.facts.started, one.run.name), default=None)


def _shared(one: Run, other: Run) -> int:
    measured = [
        {(record.key, *_told(record.settings)) for record in run.records if record.status == "ok"}
        for run in (one, other)
    ]
    return len(measured[0] & measured[1])


def _told(settings: object) -> tuple[str, ...]:
    found = settings if isinstance(settings, dict) else {}
    return tuple(f"{name}={found.get(name)}" for name in ("threads", "seeds", "seed"))
