"""The profile of a cell: what its operators and kernels took, and the files that hold it beside a run's."""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from trainmark.store.call_tree import Call, check_tree
from trainmark.store.documents import SchemaError, check_version, convert, read_document
from trainmark.store.files import write_text
from trainmark.store.ranges import Amount, Count, Duration, Number, OwnSeconds, Seconds, Some

PROFILE_VERSION = 1
# 1  first version: key, label, steps, step_seconds, device, operators; later ones have a tree, which may be missing.

KINDS = {
    "operator": "called on the host; its self time is the host's",
    "kernel": "run by the accelerator; its self time is the accelerator's",
}
OTHERS = "(all others)"  # the row that sums up what is not listed by itself, so that totals add up
PROFILE_ENDING = ".profile.json"
TRACE_ENDING = ".trace.json.gz"
TIMELINE_ENDING = ".memory.json"


@dataclass(frozen=True)
class Operator:
    """An operator on inputs of some shapes, or a kernel: one row of a profile, mean over its steps.

    Attributes:
        name: Such as ``aten::addmm``, a kernel's name, or OTHERS.
        shapes: Of the tensors it was given, such as ``64x784, 784x256``; empty for a kernel.
        calls_per_step: How often a step called it.
        self_seconds_per_step: In itself, without the operators that it called.
        total_seconds_per_step: With them.
        device_seconds_per_step: Of the kernels it launched itself; None where that was not measured.
        flops_per_step: Of matrix products and convolutions, by PyTorch's formula; None for other operators.
        allocated_bytes_per_step: Memory it took less memory it gave back, itself; None for a kernel.
        kind: A key of KINDS.
    """

    name: str
    shapes: str
    calls_per_step: Amount
    self_seconds_per_step: OwnSeconds
    total_seconds_per_step: Duration
    device_seconds_per_step: Duration | None
    flops_per_step: Amount | None
    allocated_bytes_per_step: Number | None
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SchemaError(f"kind {self.kind!r} of {self.name} is not one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Profile:
    """Where the time of a cell's steps goes.

    A profiled step takes up to 2.7 times as long as a measured one, the more so the shorter its
    operators are: its times tell shares, and are compared with those of another profile alone.

    Attributes:
        key: Join key of the cell.
        label: Its name for people.
        steps: Steps that the numbers are the mean of.
        step_seconds: Wall time of a profiled step.
        device: Where the cell ran.
        operators: Largest self time first, of each kind the others as a row of their own.
        tree: Which operators called which, a caller before what it called; empty where that was not kept.
    """

    key: str
    label: str
    steps: Some
    step_seconds: Seconds
    device: str
    operators: tuple[Operator, ...]
    tree: tuple[Call, ...] = ()

    def __post_init__(self) -> None:
        check_tree(self.tree)
        numbers = [self.step_seconds] + [row.self_seconds_per_step for row in self.operators]
        if not all(math.isfinite(number) for number in numbers):
            raise SchemaError(f"a time in the profile of {self.label} is not finite")

    @property
    def between_seconds(self) -> float:
        """Of a step, outside every operator: Python, the profiler itself, and waiting for a device."""
        return self.step_seconds - sum(row.self_seconds_per_step for row in self.operators if row.kind == "operator")

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "profile_version": PROFILE_VERSION,
            **asdict(self),
            "operators": [asdict(row) for row in self.operators],
            "tree": [asdict(call) for call in self.tree],
        }

    @classmethod
    def from_json(cls, document: Any) -> Profile:
        """The profile that :meth:`to_json` wrote; unknown keys are ignored.

        Raises:
            SchemaError: It is no profile, one of a newer version, or a part is missing or of the wrong kind.
        """
        if not isinstance(document, Mapping) or "profile_version" not in document:
            raise SchemaError("not a stored profile")
        check_version(document["profile_version"], PROFILE_VERSION, "profile version")
        return convert(document, cls, "a profile")


@dataclass(frozen=True)
class MemoryTimeline:
    """Memory of live tensors on a device through one step.

    Attributes:
        key: Join key of the cell.
        seconds: Of each allocation and release, from the first on.
        allocated_bytes: Live after each of them; one for each of ``seconds``.
    """

    key: str
    seconds: Annotated[tuple[Duration, ...], Meta(min_length=1)]
    allocated_bytes: tuple[Count, ...]

    def __post_init__(self) -> None:
        if len(self.seconds) != len(self.allocated_bytes):
            times, sizes = len(self.seconds), len(self.allocated_bytes)
            raise SchemaError(f"a memory timeline with {times} times for {sizes} sizes")

    @property
    def peak(self) -> tuple[float, int]:
        """When the most was allocated, and how much."""
        most = max(self.allocated_bytes)
        return self.seconds[self.allocated_bytes.index(most)], most


def slug(key: str) -> str:
    """A file's name for a cell: readable, the same on every system, and its own for every key.

    No underscore is in it: a file with digits before one is taken for a run.
    """
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "-", key.lower())[:60].strip("-")
    return f"{readable}-{digest}" if readable else digest


def profile_path(folder: Path, key: str) -> Path:
    """The file of a cell's profile in a run's folder of artifacts."""
    return folder / f"{slug(key)}{PROFILE_ENDING}"


def trace_path(folder: Path, key: str) -> Path:
    """The file of a cell's trace there."""
    return folder / f"{slug(key)}{TRACE_ENDING}"


def timeline_path(folder: Path, key: str) -> Path:
    """The file of a cell's memory timeline there."""
    return folder / f"{slug(key)}{TIMELINE_ENDING}"


def write_timeline(folder: Path, timeline: MemoryTimeline) -> Path:
    """Stores a memory timeline and returns its file; the folder is made where it is missing."""
    document = {"version": PROFILE_VERSION, **asdict(timeline)}
    return write_text(timeline_path(folder, timeline.key), json.dumps(document))


def read_timeline(path: Path) -> MemoryTimeline:
    """The memory timeline in one file.

    Raises:
        SchemaError: The file cannot be read, or holds none that this version reads.
    """
    document = _read(path)
    try:
        check_version(document.get("version") if isinstance(document, dict) else None, PROFILE_VERSION, "version")
        return convert(document, MemoryTimeline, "a memory timeline")
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}.") from error


def _read(path: Path) -> Any:
    """The document in a file that was just listed; one that is gone by now cannot be read either."""
    try:
        return read_document(path)
    except FileNotFoundError as error:
        raise SchemaError(f"{path}: {error.strerror}.") from error
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}.") from error


def write_profile(folder: Path, profile: Profile) -> Path:
    """Stores a profile, whole or not at all, and returns its file; the folder is made where it is missing."""
    return write_text(profile_path(folder, profile.key), json.dumps(profile.to_json(), indent=1, allow_nan=False))


def read_profile(path: Path) -> Profile:
    """The profile in one file.

    Raises:
        SchemaError: The file cannot be read, or holds no profile that this version reads.
    """
    document = _read(path)
    try:
        return Profile.from_json(document)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}.") from error


def list_profiles(folder: Path) -> list[Profile]:
    """The profiles in a run's folder of artifacts, by label; each that cannot be read gives one warning."""
    found = []
    for path in sorted(folder.glob(f"*{PROFILE_ENDING}")):
        try:
            found.append(read_profile(path))
        except SchemaError as error:
            warnings.warn(str(error), stacklevel=2)
    return sorted(found, key=lambda profile: (profile.label, profile.key))
