"""Several runs and journals as one: joined by environment and commit, with what is missing, or there twice, said."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainmark.store.cell import join_key
from trainmark.store.documents import SchemaError, read_document
from trainmark.store.files import write_text
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.journal import in_use, read_journal
from trainmark.store.nodes import MARGIN, Node, flagged, judged, unlike_words
from trainmark.store.record import SECTION, UNRELIABLE, Record, Report, Run, RunFacts, parse_run, run_section
from trainmark.store.runs import RunNotFound, UnreadableRun, run_files
from trainmark.store.shards import Shard

MERGED = "merged"  # folder of such runs beside those of the machines
NAMED = 3  # of what is listed in a sentence
HEAD = ("datetime", "version")  # of pytest-benchmark, beside its parts of a document


class CannotMerge(ValueError):
    """The parts are not of one run; the message says which are not, and what to do."""


@dataclass(frozen=True)
class Part:
    """What one call measured.

    Attributes:
        run: As it is stored, or as its journal has it.
        entries: Join key -> what pytest-benchmark stored beside the record; none of a journal.
        head: What it said of the whole.
    """

    run: Run
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Merged:
    """One run of several.

    Attributes:
        run: That they are together.
        document: As pytest-benchmark would have stored it.
        told: A sentence for each thing that is missing, there twice or not alike.
    """

    run: Run
    document: Mapping[str, Any]
    told: tuple[str, ...]


def find_parts(path: Path) -> list[Path]:
    """Files of runs and journals in a folder, or the file itself."""
    return [*run_files(path), *sorted(path.glob(f"**/{JOURNALS}/*.jsonl"))] if path.is_dir() else [path]


def read_part(path: Path, report: Report) -> Part:
    """What is in one file.

    Args:
        path: Of a stored run, or of a journal.
        report: Told of each record that cannot be read.

    Raises:
        RunNotFound: There is no such file.
        UnreadableRun: It holds no run.
        CannotMerge: Its run is still being measured.
    """
    if path.suffix == ".jsonl":
        return _of_journal(path)
    try:
        document = read_document(path)
        run = parse_run(path.stem, document, lambda told: report(f"{path}: {told}."))
    except FileNotFoundError as error:
        raise RunNotFound(f"No run at {path}.") from error
    except SchemaError as error:
        raise UnreadableRun(f"{path}: {error}.") from error
    entries = document.get("benchmarks")
    stored = dict(filter(None, map(_keyed, entries if isinstance(entries, list) else ())))
    return Part(run, stored, {name: document[name] for name in HEAD if name in document})


def _keyed(entry: Any) -> tuple[str, Mapping[str, Any]] | None:
    """An entry of pytest-benchmark with the join key of its cell; None of one that is no cell's."""
    try:
        return join_key(str(entry["group"]), entry["params"]), entry
    except (KeyError, TypeError, AttributeError):
        return None


def _of_journal(path: Path) -> Part:
    if path in in_use(path.parent):
        raise CannotMerge(f"{path.stem} is still being measured: wait for its end, or leave it out.")
    if not path.is_file():
        raise RunNotFound(f"No run at {path}.")
    try:
        state = read_journal(path)
    except SchemaError as error:
        raise UnreadableRun(f"{error}.") from error
    return Part(Run(path.stem, state.facts, state.environment, state.commit, tuple(state.records.values())))


def merge(parts: Iterable[Part], *, margin: float = MARGIN, apart: bool = False) -> list[Merged]:
    """The parts as one run; as one for each machine where ``apart`` is said.

    Of a benchmark that was measured more than once the record with the fewest doubts counts, of equals the earlier one.

    Args:
        parts: Of one commit; they are read one after the other, and a record that does not count is not kept.
        margin: By how much the fixed work of two nodes may differ until their times are not comparable.
        apart: Whether parts of several machines become several runs; else they are refused.

    Raises:
        CannotMerge: They are of several commits or machines, or shards of several wholes.
    """
    machines: dict[Any, _Joint] = {}
    first: Run | None = None
    for part in parts:
        first = first or part.run
        _refuse_other_commit(first, part.run)
        fingerprint = part.run.environment.get("fingerprint")
        if machines and fingerprint not in machines and not apart:
            other = next(iter(machines.values())).names[0]
            raise CannotMerge(
                f"{part.run.name} was measured in another environment than {other} ({fingerprint}, not "
                f"{next(iter(machines))}): their times are not comparable. Merge those of one machine, or write "
                "--apart for a run of each."
            )
        machines.setdefault(fingerprint, _Joint()).add(part)
    if first is None:
        raise CannotMerge("There is nothing to merge: no run and no journal was named.")
    joints = sorted(machines.values(), key=lambda joint: -len(joint.kept))
    whole = _common_whole(joints)
    return [joint.merged(whole, margin, several=len(joints) > 1) for joint in joints]


def _code_of(commit: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return commit.get("id"), bool(commit.get("dirty")), commit.get("difference")


def _refuse_other_commit(first: Run, run: Run) -> None:
    if _code_of(first.commit) == _code_of(run.commit):
        return
    if first.commit.get("id") == run.commit.get("id"):
        told = f"{run.name} was measured with other uncommitted changes than {first.name}"
    else:
        ids = [str(one.commit.get("id"))[:12] for one in (run, first)]
        told = f"{run.name} is of commit {ids[0]}, and {first.name} of {ids[1]}"
    raise CannotMerge(f"{told}: they did not measure the same code. Merge those of one commit.")


@dataclass
class _Joint:
    """Parts of one machine, as far as they have come."""

    names: list[str] = field(default_factory=list)
    facts: list[RunFacts] = field(default_factory=list)
    environment: Mapping[str, Any] = field(default_factory=dict)
    commit: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    kept: dict[str, tuple[Record, str, Mapping[str, Any] | None]] = field(default_factory=dict)  # with its node
    nodes: dict[str, Node] = field(default_factory=dict)
    twice: Counter[str] = field(default_factory=Counter)
    _of_run: dict[str, set[str]] = field(default_factory=dict)  # the file of a run and its journal are no two runs

    def add(self, part: Part) -> None:
        run = part.run
        self.names.append(run.name)
        self.facts.append(run.facts)
        self.environment = max(self.environment, run.environment, key=len)
        self.commit = max(self.commit, run.commit, key=len)
        self.head = self.head or part.head
        places = self._places(run)
        known = self._of_run.setdefault(run.facts.id, set())
        for record in run.records:
            place = places.get(record.key, run.name)
            if record.key in self.kept:
                if record.key not in known:
                    self.twice[record.key] += 1
                if _doubts(record) >= _doubts(self.kept[record.key][0]):
                    continue
            self.kept[record.key] = record, place, part.entries.get(record.key)
        known.update(record.key for record in run.records)

    def _places(self, run: Run) -> dict[str, str]:
        """Join key -> name of the node that measured it; a run that says nothing of nodes is one."""
        own = run.facts.nodes or (Node(_place_name(run)),)
        places: dict[str, str] = {}
        for node in own:
            name = node.name or _place_name(run)
            known = self.nodes.get(name)
            if known is not None and known.control != node.control and node.control:
                name = f"{name} ({run.facts.id})"
            self.nodes[name] = replace(node, name=name, fingerprint=run.environment.get("fingerprint"))
            places |= dict.fromkeys(node.keys or (record.key for record in run.records), name)
        return places

    def merged(self, whole: Sequence[str] | None, margin: float, several: bool) -> Merged:
        """All of it as one run.

        Args:
            whole: Join keys of what all shards were to measure; None where the parts are no shards.
            margin: See :func:`merge`.
            several: Whether other machines have measured a part of the whole.
        """
        planned = dict.fromkeys(whole or (key for facts in self.facts for key in facts.planned))
        order = [*(key for key in planned if key in self.kept), *(key for key in self.kept if key not in planned)]
        nodes = self._judged(margin)
        unlike = {node.name for node in nodes if not node.alike}
        records = [_marked(self.kept[key][0], self.kept[key][1] in unlike) for key in order]
        missing = [key for key in planned if key not in self.kept]
        facts = self._facts(tuple(planned), not missing, nodes)
        run = Run(facts.id, facts, self.environment, self.commit, tuple(records))
        document = {
            "machine_info": self.environment,
            "commit_info": self.commit,
            "benchmarks": [entry for key in order if (entry := self.kept[key][2]) is not None],
            **self.head,
            SECTION: run_section(facts, records),
        }
        return Merged(run, document, tuple(self._told(missing, nodes, several)))

    def _judged(self, margin: float) -> tuple[Node, ...]:
        """The nodes with what each has measured, and whether it is like the others."""
        keys: dict[str, list[str]] = {}
        for key, (_, place, _) in self.kept.items():
            keys.setdefault(place, []).append(key)
        found = [replace(node, keys=tuple(keys.get(name, ()))) for name, node in self.nodes.items()]
        return judged(found, margin)

    def _facts(self, planned: tuple[str, ...], complete: bool, nodes: tuple[Node, ...]) -> RunFacts:
        started = min(facts.started for facts in self.facts)
        ends = [facts.finished for facts in self.facts]
        finished = max((end for end in ends if end is not None), default=None) if complete else None
        digest = hashlib.sha256(" ".join(sorted(facts.id for facts in self.facts)).encode()).hexdigest()
        options = dict(self.facts[0].options)
        for facts in self.facts[1:]:
            options = {name: value for name, value in options.items() if facts.options.get(name) == value}
        out = dict.fromkeys(key for facts in self.facts for key in facts.left_out)
        peaks: dict[str, Any] = {}
        for facts in self.facts:
            peaks = {**facts.peaks, **peaks}
        return RunFacts(
            id=f"{_digits(started)}-merged-{digest[:6]}",
            started=started,
            finished=finished,
            complete=complete,
            options={name: value for name, value in options.items() if name != "shard"},
            planned=planned,
            left_out=tuple(key for key in out if key not in planned),
            peaks=peaks,
            nodes=nodes,
        )

    def _told(self, missing: Sequence[str], nodes: Sequence[Node], several: bool) -> Iterator[str]:
        shards = [Shard.parse(facts.options["shard"]) for facts in self.facts if facts.options.get("shard")]
        if shards and not several:
            absent = sorted(set(range(1, shards[0].of + 1)) - {shard.number for shard in shards})
            if absent:
                told = "shard is" if len(absent) == 1 else "shards are"
                yield f"{len(absent)} {told} missing, of {shards[0].of}: {_some([str(number) for number in absent])}"
        if missing and not several:
            told = "benchmark has" if len(missing) == 1 else "benchmarks have"
            yield f"{len(missing)} {told} no record: {_some(missing)}"
        if self.twice:
            told = "benchmark was" if len(self.twice) == 1 else "benchmarks were"
            yield (
                f"{len(self.twice)} {told} measured more than once, and the record with the fewest doubts counts: "
                f"{_some(list(self.twice))}"
            )
        yield from (unlike_words(node) for node in nodes if not node.alike)


def _common_whole(joints: Sequence[_Joint]) -> list[str] | None:
    """Join keys of what the shards are to measure together, in their order; None where none of the parts is one.

    Raises:
        CannotMerge: They are shards of several wholes.
    """
    whole: list[str] | None = None
    for joint in joints:
        for name, facts in zip(joint.names, joint.facts, strict=True):
            if not facts.options.get("shard"):
                continue
            shard = Shard.parse(str(facts.options["shard"]))
            found = shard.whole(facts.planned, facts.elsewhere)
            if whole is None:
                whole, first, of = found, name, shard.of
            elif found != whole or shard.of != of:
                raise CannotMerge(
                    f"{name} is shard {shard} of {len(found)} benchmarks, and {first} one of {of} of {len(whole)}: "
                    "they were called with other options, or their machines cannot run the same. Call all shards alike."
                )
    return whole


def _place_name(run: Run) -> str:
    shard = run.facts.options.get("shard")
    return f"shard {shard}" if shard else run.name


def _doubts(record: Record) -> tuple[bool, int, str]:
    """By which of two records of a benchmark the smaller counts."""
    return record.status != "ok", len(set(record.flags) & set(UNRELIABLE)), record.started or ""


def _marked(record: Record, is_unlike: bool) -> Record:
    flags = flagged(record.flags, not is_unlike)
    return record if flags == record.flags else replace(record, flags=flags)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _digits(moment: str) -> str:
    """``20260102T090000`` of a moment in ISO 8601."""
    return moment[:19].replace("-", "").replace(":", "").replace(" ", "T")


def store_merged(merged: Merged, folder: Path) -> Path:
    """Writes a merged run among the stored ones, as the next in their number; gives its file."""
    import json

    numbers = [int(path.name.split("_")[0]) for path in run_files(folder)]
    commit = "".join(sign for sign in str(merged.run.commit.get("id") or "") if sign.isalnum()) or "unversioned"
    name = f"{max(numbers, default=0) + 1:04d}_{commit[:40]}_{merged.run.facts.id}.json"
    return write_text(folder / MERGED / name, json.dumps(merged.document, allow_nan=False))
