"""A paired run: two sides measured together, pair by pair, and its file beside the stored runs."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from trainmark.store.documents import SchemaError, convert
from trainmark.store.files import write_text
from trainmark.store.record import SCHEMA_VERSION, Run, RunFacts, check_schema_version, describe_records, read_records
from trainmark.store.runs import UnreadableRun

FOLDER = "pairs"  # beside the stored runs
ENDING = ".jsonl"  # a line; stock pytest-benchmark takes every .json for a run
OLDER_ENDING = ".json"
CONTROL_DRIFT = 0.4  # of the control workload within a pair: a neighbour on the core's other half changes it by 0.3
WAITING_SHARE = 0.5  # of a process's window; above it not even the quickest block had its core to itself
STEAL_SHARE = 0.1  # of the cores' time, taken by the hypervisor


@dataclass(frozen=True)
class Replicate:
    """What one process measured, as one half of a pair.

    Attributes:
        blocks: Seconds of each block of steps, in the order in which they were timed, without those in
            which it was ready and had no core.
        wall_blocks: The same by the clock.
        waiting_share: Of the window, in which its threads were ready and had no core; None where not told.
        steal_share: Of the cores' time, given to others by the hypervisor.
        throttled: Whether a quota or the temperature held the machine back meanwhile.
        control_drift: Logarithm of the time that a fixed piece of work took after the blocks, over
            the time that it took before them.
    """

    blocks: tuple[float, ...]
    wall_blocks: tuple[float, ...] = ()
    waiting_share: float | None = None
    steal_share: float | None = None
    throttled: bool = False
    control_drift: float = 0.0

    @property
    def seconds(self) -> float:
        """The geometric mean of the quicker half of the blocks: a neighbour can only add to a time.

        Of what was tried on identical code (the quickest, quartile, median, mean, ratios of neighbouring
        blocks) it differs least from pair to pair: docs/measuring.md, "Two sides together".
        """
        return geometric_mean(sorted(self.blocks)[: (len(self.blocks) + 1) // 2])

    @property
    def disturbed(self) -> bool:
        """Whether the machine was too busy with other work; says nothing of how long the blocks took."""
        return (
            (self.waiting_share or 0.0) > WAITING_SHARE
            or (self.steal_share or 0.0) > STEAL_SHARE
            or self.throttled
            or abs(self.control_drift) > CONTROL_DRIFT
        )


@dataclass(frozen=True)
class Pair:
    """Two processes, one of each side, alive together and timed by turns: the unit of statistics.

    Attributes:
        base: Of the side that is compared with.
        new: Of the side that is judged.
        generation: Number of the two servers that they were forked from.
        confirming: Whether it was measured after an alarm, to confirm it.
    """

    base: Replicate
    new: Replicate
    generation: int = 0
    confirming: bool = False

    @property
    def log_ratio(self) -> float:
        """Natural logarithm of the times, new over base."""
        return math.log(self.new.seconds / self.base.seconds)

    @property
    def disturbed(self) -> bool:
        """Whether either half was: then the pair is dropped as a pair, whatever its ratio."""
        return self.base.disturbed or self.new.disturbed


@dataclass(frozen=True)
class PairedRun:
    """Two sides measured together.

    Attributes:
        base: Records of the side that is compared with, and its environment.
        new: Likewise of the working tree.
        side: The base in the user's words, such as ``main`` or ``env:OMP_NUM_THREADS=2``.
        pairs: Join key -> the cell's pairs in the order in which they were measured.
        steps: Join key -> steps in a block.
        seed: Of the order of sides, cells and blocks.
        seconds: That the whole took.
        margins: The user's words for the margins that the run was measured for.
    """

    base: Run
    new: Run
    side: str
    pairs: Mapping[str, Sequence[Pair]]
    steps: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    margins: str = ""

    @property
    def name(self) -> str:
        """Its file's name without the ending."""
        return self.new.name

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "side": self.side,
            "seed": self.seed,
            "seconds": self.seconds,
            "margins": self.margins,
            "base": _run_to_json(self.base),
            "new": _run_to_json(self.new),
            "steps": dict(self.steps),
            "pairs": {key: [asdict(pair) for pair in pairs] for key, pairs in self.pairs.items()},
        }

    @classmethod
    def from_json(cls, name: str, document: Any) -> PairedRun:
        """The run that :meth:`to_json` wrote.

        Raises:
            SchemaError: A needed part is missing or of the wrong kind, or the schema is newer.
        """
        if not isinstance(document, dict) or "pairs" not in document:
            raise SchemaError("not a paired run")
        check_schema_version(document.get("schema_version"))
        try:
            return cls(
                base=_run_from_json(document["base"]["name"], document["base"]),
                new=_run_from_json(name, document["new"]),
                side=document["side"],
                pairs={key: tuple(map(_pair_from_json, pairs)) for key, pairs in document["pairs"].items()},
                steps=document["steps"],
                seed=document["seed"],
                seconds=document["seconds"],
                margins=document["margins"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SchemaError(f"not a paired run: {error!r}") from error


def write_paired_run(run: PairedRun, folder: Path) -> Path:
    """Stores the run among the paired runs of a folder of runs, and gives its file."""
    path = folder / FOLDER / f"{run.name}{ENDING}"
    return write_text(path, json.dumps(run.to_json(), allow_nan=False))


def paired_files(folder: Path) -> list[Path]:
    """Files of paired runs in a folder of runs, the oldest first."""
    found = (path for ending in (ENDING, OLDER_ENDING) for path in (folder / FOLDER).glob(f"*{ending}"))
    return sorted(path for path in found if re.match(r"\d{8}T", path.name))


def read_paired_run(path: Path) -> PairedRun:
    """The paired run in one file.

    Raises:
        UnreadableRun: The file is cut short, not JSON, of a newer schema, or no paired run.
    """
    try:
        return PairedRun.from_json(path.stem, json.loads(path.read_text(encoding="utf-8")))
    except SchemaError as error:
        raise UnreadableRun(f"{path}: {error}.") from error
    except (ValueError, RecursionError) as error:  # not JSON, or not text at all
        raise UnreadableRun(f"{path}: not JSON, or cut short ({error}).") from error


def is_paired(path: Path) -> bool:
    """Whether a file holds a paired run and not a stored one; a file that cannot be read is taken for none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "pairs" in document


def read_paired_runs(folder: Path) -> list[PairedRun]:
    """The paired runs of a folder of runs that can be read; each that cannot gives one warning."""
    return [run for _, run in _read_all(paired_files(folder))]


def _read_all(paths: Iterable[Path]) -> Iterator[tuple[Path, PairedRun]]:
    for path in paths:
        try:
            yield path, read_paired_run(path)
        except UnreadableRun as error:
            warnings.warn(str(error), stacklevel=3)


def find_paired(name: str, folder: Path) -> Path | None:
    """The file of a paired run; None unless one fits.

    Args:
        name: Its path, a part of its file's name, ``latest``, or the side that it was measured against in the
            user's words: the latest of these.
        folder: Of runs.
    """
    if Path(name).is_file():
        return Path(name)
    files = paired_files(folder)
    fitting = files[-1:] if name == "latest" else [path for path in files if name in path.stem]
    if not fitting:
        fitting = [path for path, run in _read_all(files) if run.side == name][-1:]
    return fitting[0] if len(fitting) == 1 else None


def _run_to_json(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "facts": run.facts.to_json(),
        "environment": dict(run.environment),
        "commit": dict(run.commit),
        "glossary": describe_records(run.records),
        "records": [record.to_json() for record in run.records],
    }


def _run_from_json(name: str, document: Mapping[str, Any]) -> Run:
    return Run(
        name=name,
        facts=RunFacts.from_json(document["facts"]),
        environment=document["environment"],
        commit=document["commit"],
        records=read_records(document["records"], document.get("glossary")),
    )


def _pair_from_json(document: Any) -> Pair:
    pair = convert(document, Pair, "a pair")
    if not all(half.blocks and half.seconds > 0 for half in (pair.base, pair.new)):
        raise ValueError("a pair has blocks, and they take time")
    return pair
