"""A paired run: two sides measured together, pair by pair, and its file beside the stored runs."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any

from trainmark.store.documents import SchemaError, convert
from trainmark.store.journal import warn_of_damage
from trainmark.store.lines import Content, Lines, first_line, left_behind, read_lines
from trainmark.store.record import (
    SCHEMA_VERSION,
    Record,
    Run,
    RunFacts,
    check_schema_version,
    describe_records,
    read_records,
)
from trainmark.store.runs import UnreadableRun, ambiguous, is_file, refuse_empty

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
    content = read_lines(path)
    return _is_whole(content.header) or any("finished" in line for line in content.lines if isinstance(line, dict))


def paired_files(folder: Path) -> list[Path]:
    """Files of paired runs in a folder of runs, the oldest first."""
    found = (path for ending in (ENDING, OLDER_ENDING) for path in (folder / FOLDER).glob(f"*{ending}"))
    return sorted(path for path in found if re.match(r"\d{8}T", path.name))


def read_paired_run(path: Path) -> PairedRun:
    """The paired run in one file, finished or not.

    Raises:
        UnreadableRun: The file is no paired run, or of a newer schema.
    """
    if path.suffix == OLDER_ENDING or _is_whole(first_line(path)):
        return _from_document(path)
    return _from_lines(path, read_lines(path))


def is_paired(path: Path) -> bool:
    """Whether a file holds a paired run and not a stored one; a file that cannot be read is taken for none."""
    header = first_line(path)
    if header is None:  # one document over many lines, or none
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return False
    return _is_whole(header) or (isinstance(header, dict) and "sides" in header)


def _is_whole(document: Any) -> bool:
    """Whether it is a whole run in one line, as they were stored before each pair had its own."""
    return isinstance(document, dict) and "pairs" in document


def _from_document(path: Path) -> PairedRun:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not _is_whole(document):
            raise SchemaError("not a paired run")
        check_schema_version(document.get("schema_version"))
        return PairedRun(
            base=_run_from_json(document["base"]["name"], document["base"]),
            new=_run_from_json(path.stem, document["new"]),
            side=document["side"],
            pairs={key: tuple(map(_pair_from_json, pairs)) for key, pairs in document["pairs"].items()},
            steps=document["steps"],
            seed=document["seed"],
            seconds=document["seconds"],
            margins=document["margins"],
        )
    except SchemaError as error:
        raise UnreadableRun(f"{path}: {error}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableRun(f"{path}: not a paired run: {error!r}.") from error
    except (ValueError, RecursionError) as error:  # not JSON, or not text at all
        raise UnreadableRun(f"{path}: not JSON, or cut short ({error}).") from error


def _from_lines(path: Path, content: Content) -> PairedRun:
    header, damaged = content.header, content.damaged
    try:
        check_schema_version(header["schema_version"])
        found = PairedRun(
            base=_side_from_json(header["sides"]["base"]["name"], header["sides"]["base"]),
            new=_side_from_json(path.stem, header["sides"]["new"]),
            side=header["side"],
            pairs={},
            seed=header["seed"],
            margins=header["margins"],
            origins=header["origins"],
            code=header["code"],
            invocation=header["invocation"],
        )
    except SchemaError as error:
        raise UnreadableRun(f"{path}: {error}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableRun(f"{path}: its first line does not begin a paired run ({error!r}).") from error
    records: dict[str, dict[str, Record]] = {"base": {}, "new": {}}
    pairs: dict[str, list[Pair]] = {}
    steps: dict[str, int] = {}
    took: list[float] = []
    ended: Mapping[str, Any] = {}
    for line in content.lines:
        try:
            if "record" in line:
                (record,) = read_records([line["record"]], line["glossary"])
                records[line["side"]][record.key] = record
            elif "pair" in line:
                pair = _pair_from_json(line["pair"])
                pairs.setdefault(line["key"], []).append(pair)
                steps[line["key"]] = line["steps"]
                took.append(line["seconds"])
            else:
                ended = {name: line[name] for name in ("finished", "seconds", "complete")}
        except (KeyError, TypeError, AttributeError, ValueError):
            damaged += 1
    measured = sum(map(len, pairs.values()))
    warn_of_damage(path, damaged, f"{sum(map(len, records.values()))} records and {measured} pairs recovered")
    base, new = (_with_records(run, records[name].values(), ended, name) for name, run in found.sides.items())
    return replace(
        found,
        base=base,
        new=new,
        pairs={key: tuple(some) for key, some in pairs.items()},
        steps=steps,
        seconds=ended.get("seconds", 0.0),
        pair_seconds=fmean(took) if took else None,
    )


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


def _with_records(run: Run, records: Iterable[Record], ended: Mapping[str, Any], side: str) -> Run:
    complete = bool(ended and ended["complete"][side])
    facts = replace(run.facts, finished=ended.get("finished"), complete=complete)
    return replace(run, records=tuple(records), facts=facts)


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


def _side_from_json(name: str, document: Mapping[str, Any]) -> Run:
    facts = RunFacts.from_json(document["facts"])
    return Run(name, facts, dict(document["environment"]), dict(document["commit"]), ())


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
