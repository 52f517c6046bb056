"""A paired run: two sides measured together, pair by pair, and its file beside the stored runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Annotated, Any, Literal

from msgspec import Meta

from trainmark.store.documents import SchemaError, convert, facts, moment, read_document
from trainmark.store.journal import warn_of_damage
from trainmark.store.lines import Content, Lines, first_line, left_behind, read_lines
from trainmark.store.ranges import Amount, Count, Duration, Integer, Seconds, Some
from trainmark.store.record import (
    SCHEMA_VERSION,
    Record,
    Report,
    Run,
    RunFacts,
    check_schema_version,
    describe_records,
    read_circumstances,
    read_records,
    refuse,
)
from trainmark.store.runs import UnreadableRun, ambiguous, is_file, refuse_empty, warn

FOLDER = "pairs"  # beside the stored runs
ENDING = ".jsonl"  # a line; stock pytest-benchmark takes every .json for a run
OLDER_ENDING = ".json"
CONTROL_DRIFT = 0.4  # of the control workload within a pair: a neighbour on the core's other half changes it by 0.3
WAITING_SHARE = 0.5  # of a process's window; above it not even the quickest block had its core to itself
STEAL_SHARE = 0.1  # of the cores' time, taken by the hypervisor
Drift = Annotated[float, Meta(ge=-100, le=100)]  # a logarithm of two times


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

    blocks: Annotated[tuple[Seconds, ...], Meta(min_length=1)]
    wall_blocks: tuple[Duration, ...] = ()
    waiting_share: Amount | None = None
    steal_share: Amount | None = None
    throttled: bool = False
    control_drift: Drift = 0.0

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
    generation: Count = 0
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
        seconds: From the call to its end; of a resumed run the last call's, of one that was cut off 0.
        margins: The user's words for the margins that the run was measured for.
        origins: ``base`` and ``new`` -> digest of what was measured and how; records of one origin are the same.
        pair_seconds: That a pair took, its start included; None where none was measured.
        code: Of the working tree: see :class:`trainmark.git.Code`.
        invocation: The command-line options that it was begun with, for ``--resume``.
    """

    base: Run
    new: Run
    side: str
    pairs: Mapping[str, Sequence[Pair]]
    steps: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    margins: str = ""
    origins: Mapping[str, str] = field(default_factory=dict)
    pair_seconds: float | None = None
    code: Mapping[str, Any] = field(default_factory=dict)
    invocation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its file's name without the ending."""
        return self.new.name

    @property
    def sides(self) -> dict[str, Run]:
        """``base`` and ``new``."""
        return {"base": self.base, "new": self.new}


@dataclass(frozen=True)
class _Side:
    """A side in the header of a paired run."""

    name: str
    facts: dict[str, Any]
    environment: dict[str, Any]
    commit: dict[str, Any]


@dataclass(frozen=True)
class _WholeSide(_Side):
    """A side in a paired run that was stored as one document."""

    records: list[Any]
    glossary: Any = None


@dataclass(frozen=True)
class _Header:
    """The first line of a paired run."""

    side: str
    seed: Integer
    margins: str
    origins: dict[str, str]
    code: dict[str, Any]
    invocation: dict[str, Any]
    sides: _Sides


@dataclass(frozen=True)
class _Sides:
    base: _Side
    new: _Side


@dataclass(frozen=True)
class _Document:
    """A paired run as it was stored before each pair had a line of its own."""

    side: str
    seed: Integer
    seconds: Duration
    margins: str
    base: _WholeSide
    new: _WholeSide
    pairs: dict[str, list[Pair]]
    steps: dict[str, Some]


@dataclass(frozen=True)
class _RecordLine:
    """A record of a side."""

    side: Literal["base", "new"]
    record: Any
    glossary: Any


@dataclass(frozen=True)
class _PairLine:
    """A pair of a cell."""

    key: str
    steps: Some
    seconds: Duration
    pair: Pair


@dataclass(frozen=True)
class _Complete:
    base: bool
    new: bool


@dataclass(frozen=True)
class _LastLine:
    """The end of a paired run."""

    finished: str | None
    seconds: Duration
    complete: _Complete


class PairsJournal:
    """The file of a paired run in progress: a header, then a line for each record and pair, and one for its end.

    Use :meth:`begin` or :meth:`resume`; it is locked against other processes, and what it holds can be read meanwhile.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    @property
    def path(self) -> Path:
        """Its file."""
        return self._lines.path

    @classmethod
    def begin(cls, folder: Path, run: PairedRun) -> PairsJournal:
        """A new file among the paired runs of a folder of runs; what the run has measured is not written.

        Raises:
            OSError: It cannot be written.
        """
        header = {
            "schema_version": SCHEMA_VERSION,
            "side": run.side,
            "seed": run.seed,
            "margins": run.margins,
            "origins": dict(run.origins),
            "code": dict(run.code),
            "invocation": dict(run.invocation),
            "sides": {name: _side_to_json(side) for name, side in run.sides.items()},
        }
        return cls(Lines.begin(folder / FOLDER / f"{run.name}{ENDING}", header))

    @classmethod
    def resume(cls, path: Path) -> tuple[PairsJournal, PairedRun]:
        """The file of an interrupted run, ready for more, with what it holds.

        Raises:
            JournalInUse: The run is still going on.
            UnreadableRun: The file is none that this version reads.
        """
        lines, content = Lines.resume(path)
        try:
            return cls(lines), _from_lines(path, content)
        except BaseException:
            lines.close()
            raise

    def append_record(self, side: str, record: Record) -> None:
        """Writes a record of a side, and returns when the disk has it; a later one of the same cell takes its place."""
        self._lines.append({"side": side, "glossary": describe_records([record]), "record": record.to_json()})

    def append_pair(self, key: str, steps: int, pair: Pair, seconds: float) -> None:
        """Likewise a pair.

        Args:
            key: Join key of its cell.
            steps: In a block.
            pair: What was measured.
            seconds: That it took, its start included.
        """
        self._lines.append({"key": key, "steps": steps, "seconds": seconds, "pair": asdict(pair)})

    def finish(self, run: PairedRun) -> None:
        """Writes that the run has ended, and how long it took; without this line it was interrupted."""
        complete = {name: side.facts.complete for name, side in run.sides.items()}
        self._lines.append({"finished": run.new.facts.finished, "seconds": run.seconds, "complete": complete})

    def close(self) -> None:
        """Releases the file and its lock."""
        self._lines.close()


def write_paired_run(run: PairedRun, folder: Path) -> Path:
    """Stores a whole run among the paired runs of a folder of runs, and gives its file."""
    journal = PairsJournal.begin(folder, run)
    for name, side in run.sides.items():
        for record in side.records:
            journal.append_record(name, record)
    for key, pairs in run.pairs.items():
        for pair in pairs:
            journal.append_pair(key, run.steps[key], pair, run.pair_seconds or 0.0)
    if run.new.facts.complete:
        journal.finish(run)
    journal.close()
    return journal.path


def interrupted_pairs(folder: Path) -> Iterator[Path]:
    """Files of paired runs that were cut off, in a folder of runs, the newest first."""
    for path in left_behind(folder / FOLDER):
        if is_paired(path) and not _has_ended(path):
            yield path


def _has_ended(path: Path) -> bool:
    try:
        content = read_lines(path)
    except OSError:
        return True  # or is none that could be gone on with
    return _is_whole(content.header) or any("finished" in line for line in content.lines if isinstance(line, dict))


def paired_files(folder: Path) -> list[Path]:
    """Files of paired runs in a folder of runs, the oldest first."""
    found = (path for ending in (ENDING, OLDER_ENDING) for path in (folder / FOLDER).glob(f"*{ending}"))
    return sorted(path for path in found if re.match(r"\d{8}T", path.name))


def read_paired_run(path: Path, report: Report | None = None) -> PairedRun:
    """The paired run in one file, finished or not.

    Args:
        path: Its file.
        report: Told what was left out of it; a warning where there is none.

    Raises:
        UnreadableRun: The file is no paired run, or of a newer schema.
    """
    try:
        if path.suffix == OLDER_ENDING or _is_whole(first_line(path)):
            return _from_document(path, lambda told: (report or warn)(f"{path}: {told}."))
        return _from_lines(path, read_lines(path), report)
    except OSError as error:
        raise UnreadableRun(f"{path}: {error.strerror}.") from error


def is_paired(path: Path) -> bool:
    """Whether a file holds a paired run and not a stored one; a file that cannot be read is taken for none."""
    try:
        header = first_line(path)
        if header is None:  # one document over many lines, or none
            header = read_document(path)
    except (OSError, SchemaError):
        return False
    return _is_whole(header) or (isinstance(header, dict) and "sides" in header)


def _is_whole(document: Any) -> bool:
    """Whether it is a whole run in one line, as they were stored before each pair had its own."""
    return isinstance(document, dict) and "pairs" in document


def _from_document(path: Path, left_out: Report) -> PairedRun:
    try:
        document = read_document(path)
        if not _is_whole(document):
            raise SchemaError("not a paired run")
        check_schema_version(document.get("schema_version"))
        found = convert(document, _Document, "a paired run")
        return PairedRun(
            base=_run_of(found.base.name, found.base, left_out),
            new=_run_of(path.stem, found.new, left_out),
            side=found.side,
            pairs={key: tuple(pairs) for key, pairs in found.pairs.items() if key in found.steps},
            steps=found.steps,
            seed=found.seed,
            seconds=found.seconds,
            margins=found.margins,
        )
    except SchemaError as error:
        raise UnreadableRun(f"{path}: {error}.") from error


def _from_lines(path: Path, content: Content, report: Report | None = None) -> PairedRun:
    damaged = content.damaged
    try:
        if not isinstance(content.header, dict) or "sides" not in content.header:
            raise SchemaError("its first line does not begin a paired run")
        check_schema_version(content.header.get("schema_version"))
        header = convert(content.header, _Header, "the first line of a paired run")
        found = PairedRun(
            base=_run_of(header.sides.base.name, header.sides.base),
            new=_run_of(path.stem, header.sides.new),
            side=header.side,
            pairs={},
            seed=header.seed,
            margins=header.margins,
            origins=header.origins,
            code=facts(header.code, "its code"),
            invocation=facts(header.invocation, "its options"),
        )
    except SchemaError as error:
        raise UnreadableRun(f"{path}: {error}.") from error
    records: dict[str, dict[str, Record]] = {"base": {}, "new": {}}
    pairs: dict[str, list[Pair]] = {}
    steps: dict[str, int] = {}
    took: list[float] = []
    ended: _LastLine | None = None
    for line in content.lines:
        try:
            if not isinstance(line, dict):
                raise SchemaError("not a line of a paired run")
            if "record" in line:
                told = convert(line, _RecordLine, "a record of a side")
                (record,) = read_records([told.record], told.glossary)
                records[told.side][record.key] = record
            elif "pair" in line:
                one = convert(line, _PairLine, "a pair")
                pairs.setdefault(one.key, []).append(one.pair)
                steps[one.key] = one.steps
                took.append(one.seconds)
            else:
                ended = convert(line, _LastLine, "the end of a paired run")
                moment(ended.finished or found.new.facts.started, "finished")
        except SchemaError:
            damaged += 1
    measured = sum(map(len, pairs.values()))
    recovered = f"{sum(map(len, records.values()))} records and {measured} pairs recovered"
    warn_of_damage(path, damaged, recovered, report)
    base, new = (_with_records(run, records[name].values(), ended, name) for name, run in found.sides.items())
    return replace(
        found,
        base=base,
        new=new,
        pairs={key: tuple(some) for key, some in pairs.items()},
        steps=steps,
        seconds=ended.seconds if ended else 0.0,
        pair_seconds=fmean(took) if took else None,
    )


def read_paired_runs(folder: Path, report: Report | None = None) -> list[PairedRun]:
    """The paired runs of a folder of runs that can be read.

    Args:
        folder: Of runs.
        report: Told of each that cannot, and what was left out of the others; a warning where there is none.
    """
    return [run for _, run in _read_all(paired_files(folder), report)]


def _read_all(paths: Iterable[Path], report: Report | None = None) -> Iterator[tuple[Path, PairedRun]]:
    for path in paths:
        try:
            yield path, read_paired_run(path, report)
        except UnreadableRun as error:
            (report or warn)(str(error))


def find_paired(name: str, folder: Path) -> Path | None:
    """The file of a paired run; None where none fits.

    Args:
        name: Its path; ``latest``, by when it began; its file's name; the side that it was measured against in the
            user's words, which is the latest of these; or a part of its file's name.
        folder: Of runs.

    Raises:
        RunNotFound: The name is empty, or fits more than one.
    """
    refuse_empty(name)
    if is_file(name):
        return Path(name)
    files = paired_files(folder)
    if name == "latest":
        return files[-1] if files else None  # their names begin with the moment
    fitting = named_paired(name, folder) or [path for path in files if name in path.stem]
    if len(fitting) > 1:
        raise ambiguous(name, "paired runs", fitting, folder)
    return fitting[0] if fitting else None


def _with_records(run: Run, records: Iterable[Record], ended: _LastLine | None, side: str) -> Run:
    complete = ended is not None and bool(getattr(ended.complete, side))
    finished = ended.finished if ended else None
    return replace(run, records=tuple(records), facts=replace(run.facts, finished=finished, complete=complete))


def named_paired(name: str, folder: Path) -> list[Path]:
    """The file of that very name; else of the latest run against that very side."""
    files = paired_files(folder)
    exact = [path for path in files if path.stem == name]
    return exact or [path for path, run in _read_all(files) if run.side == name][-1:]


def _side_to_json(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "facts": run.facts.to_json(),
        "environment": dict(run.environment),
        "commit": dict(run.commit),
    }


def _run_of(name: str, side: _Side, left_out: Report = refuse) -> Run:
    """A side of a paired run; of one that was stored as one document with its records."""
    environment, commit = read_circumstances(side.environment, side.commit)
    return Run(
        name=name,
        facts=RunFacts.from_json(side.facts),
        environment=environment,
        commit=commit,
        records=read_records(side.records, side.glossary, left_out) if isinstance(side, _WholeSide) else (),
    )
