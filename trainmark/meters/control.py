"""A fixed piece of work just before and after the rounds of a cell: how fast the machine was in that moment.

A neighbour on the same host slows a core, its caches or its memory, and no counter of the guest tells of it. A matrix
product and two copies, which no change of a training can touch, do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from trainmark.store.documents import SchemaError, convert, read_document
from trainmark.store.files import write_text
from trainmark.store.ranges import SHORTEST_SECONDS, Seconds

REPEATS = 9
PRODUCT = 384  # rows and columns: two milliseconds of a core
CACHED = 2**17  # bytes that stay in a core's own cache
CACHED_COPIES = 64  # in one go: a single one is shorter than a clock's tick is sure
UNCACHED = 2**23  # bytes that no cache of a core holds, and small beside what a process takes
NODE_TAKES = 12  # of all the work, for the best of a node: under a second
LIMIT = 1.5  # of the best that the machine has shown: docs/measuring.md, "A bad moment"
FLAG = "slow-moment"
VERSION = 1  # of the work: another one is not compared


@dataclass(frozen=True)
class Control:
    """Medians of what the fixed work took, in seconds.

    Attributes:
        product: A float32 matrix product.
        cached_copy: Copies within a core's cache.
        copy: A copy out of any cache.
    """

    product: Seconds
    cached_copy: Seconds
    copy: Seconds

    def slower(self, other: Control) -> Control:
        """The larger of each: a moment is as slow as its slower end."""
        return Control(*(max(getattr(self, part.name), getattr(other, part.name)) for part in fields(self)))

    def faster(self, other: Control) -> Control:
        """The smaller of each."""
        return Control(*(min(getattr(self, part.name), getattr(other, part.name)) for part in fields(self)))

    def ratio(self, best: Control) -> float:
        """How many times as long as the best the slowest part of it took."""
        return max(float(getattr(self, part.name)) / float(getattr(best, part.name)) for part in fields(self))


@dataclass(frozen=True)
class _StoredControl:
    version: int
    best: Control


def take_control() -> Control:
    """Does the work, on as many threads as PyTorch has now: about 60 ms on one core.

    PyTorch is imported here: what was kept is read without it.
    """
    import torch

    left, right, out = (torch.ones(PRODUCT, PRODUCT) for _ in range(3))
    near, near_to = torch.ones(CACHED, dtype=torch.uint8), torch.ones(CACHED, dtype=torch.uint8)
    far, far_to = torch.ones(UNCACHED, dtype=torch.uint8), torch.ones(UNCACHED, dtype=torch.uint8)

    def copies() -> None:
        for _ in range(CACHED_COPIES):
            near_to.copy_(near)

    with torch.no_grad():
        return Control(
            _median_seconds(lambda: torch.mm(left, right, out=out)),
            _median_seconds(copies),
            _median_seconds(lambda: far_to.copy_(far)),
        )


def _median_seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return median(times)


def control_of_node(threads: int, _report: Callable[..., None], _scratch: Path) -> dict[str, float]:
    """Seconds of each piece of the work, the shortest of NODE_TAKES: what tells one node from another.

    Args:
        threads: Of PyTorch.
    """
    import torch

    torch.set_num_threads(threads)
    best = take_control()
    for _ in range(NODE_TAKES - 1):
        best = best.faster(take_control())
    return asdict(best)


def to_facts(before: Control, after: Control) -> dict[str, float]:
    """As a record keeps it among its disturbances."""
    return {f"control_{name}_seconds": seconds for name, seconds in asdict(before.slower(after)).items()}


def from_facts(facts: Mapping[str, object]) -> Control | None:
    """The control in a record's disturbances; None where there is none."""
    found = [facts.get(f"control_{part.name}_seconds") for part in fields(Control)]
    if not all(isinstance(seconds, float | int) and seconds >= SHORTEST_SECONDS for seconds in found):
        return None
    return Control(*found)  # type: ignore[arg-type]  # they are numbers, as was just seen


class Best:
    """The best that a machine has shown of the fixed work, over all runs whose folder is the same.

    Args:
        folder: Where it is kept; made where it is not there.
        fingerprint: Of machine and software.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._fingerprint = fingerprint

    def ratio(self, control: Control, threads: int) -> float:
        """How the control compares with the best so far; a better one becomes the best."""
        path = self._folder / f"control-{self._fingerprint}-{threads}.json"
        known = _read(path)
        best = control if known is None else known.faster(control)
        if best != known:
            write_text(path, json.dumps({"version": VERSION, "best": asdict(best)}, indent=1))
        return control.ratio(best)


def _read(path: Path) -> Control | None:
    """What was kept; a damaged file, or one of other work, is as good as none."""
    try:
        stored = convert(read_document(path), _StoredControl, "a stored control")
    except (FileNotFoundError, SchemaError):
        return None
    return stored.best if stored.version == VERSION else None
