"""A run whose cells are measured by jobs: dealt, watched, collected, tried once more where the node was the cause."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainmark.cluster import job
from trainmark.cluster.executors import EXECUTORS, Executor, ExecutorError, Seen, State
from trainmark.cluster.job import Share
from trainmark.formatting import counted
from trainmark.measure.context import now
from trainmark.measure.session import Session, SessionError, other_code
from trainmark.measure.worker import setting_environment, where_things_are
from trainmark.store.cell import Cell
from trainmark.store.files import write_text
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.journal import JournalState, read_journal
from trainmark.store.merging import Part, merge, store_merged
from trainmark.store.nodes import MARGIN, Node, flagged, judged, unlike_words
from trainmark.store.record import Record, Run
from trainmark.store.shards import Shard

LOOK_SECONDS = 1.0  # between two looks at jobs and journals
TABLE_SECONDS = 10.0  # between two tables, unless a job has begun or ended
UNANSWERED = 20  # looks that an engine may leave unanswered before the run ends
ATTEMPTS = 2  # of a cell whose job ends: its node may be the cause once
LONGER = 3.0  # than it is estimated to take, and START_SECONDS, a job may take by default
START_SECONDS = 900.0
JOB = "job.json"  # in a share's folder: who measures it
Told = Callable[[str], None]


@dataclass
class _Dealt:
    """A share with its job.

    Attributes:
        folder: Of its own.
        keys: Join keys of its cells, in their order.
        job: The id of its job; None where nobody knows whether one was placed.
        attempt: Of its first cell, from 1 on.
        lost_on: The node that was the cause that the attempt before it came to nothing.
    """

    folder: Path
    keys: tuple[str, ...]
    job: str | None = None
    attempt: int = 1
    lost_on: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether a job may measure it."""
        return (self.folder / job.FILE).exists()

    def write(self) -> None:
        """Keeps it beside what its job reads."""
        told = {"keys": self.keys, "job": self.job, "attempt": self.attempt, "lost_on": self.lost_on}
        write_text(self.folder / JOB, json.dumps(told))

    @classmethod
    def read(cls, folder: Path) -> _Dealt:
        told = json.loads((folder / JOB).read_text(encoding="utf-8"))
        return cls(folder, tuple(told["keys"]), told["job"], told["attempt"], tuple(told["lost_on"]))


def fan_out(run: Session, cells: Sequence[Cell], options: Mapping[str, Any], told: Told) -> None:
    """Lets jobs measure the cells, and returns when each has a record.

    All that is needed to go on lies in a folder beside the run's journal: whoever calls this for a resumed run collects
    what jobs have measured meanwhile, waits for those that go on, and places the rest anew.

    Args:
        run: Begun, or resumed; its records are there afterwards.
        cells: All of the run.
        options: Of the executor, from the suite's table.
        told: Takes a line for the user.

    Raises:
        ExecutorError: The engine takes no jobs, or does not answer.
        SessionError: A node has other code.
    """
    folder = folder_of(run)
    name = run.invocation.executor
    assert name is not None  # else nothing is fanned out
    executor = EXECUTORS[name](folder / "logs", f"trainmark-{run.facts.id}", options)
    work = _Work(run, {cell.key: cell for cell in cells}, folder, executor, told, run.estimates(cells))
    work.finish_all()
    for left in sorted(folder.glob(f"*/{JOURNALS}/*.artifacts")):
        shutil.copytree(left, run.artifacts, dirs_exist_ok=True)
    _settle(run, work.states())


def folder_of(run: Session) -> Path:
    """Where the jobs of a run leave their journals."""
    return run.journals / f"{run.facts.id}.jobs"


def forget(run: Session) -> None:
    """Deletes what the jobs have left: for when all of it is stored."""
    shutil.rmtree(folder_of(run), ignore_errors=True)


@dataclass
class _Work:
    """The shares of a run, and what has come of them."""

    run: Session
    cells: Mapping[str, Cell]
    folder: Path
    executor: Executor
    told: Told
    estimates: Mapping[str, float]
    shares: list[_Dealt] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    _sizes: dict[Path, int] = field(default_factory=dict)
    _unanswered: int = 0
    _table: tuple[str, float] = ("", 0.0)

    def finish_all(self) -> None:
        """Returns when each cell has a record."""
        self.shares = [_Dealt.read(path.parent) for path in sorted(self.folder.glob(f"*/{JOB}"))]
        while True:
            ended = self._look()  # before what they left is read: what they append later is of those that go on
            self._collect()
            for share in ended:
                self._deal_again(share)
            missing = self._missing(self.cells)
            if not missing:
                self._show(last=True)
                return
            held = {key for share in self.shares if share.is_open for key in share.keys}
            free = [key for key in missing if key not in held]
            if free:
                self._deal([(keys, 1, ()) for keys in _shares(free, self.run.invocation.jobs)])
            self._show()
            time.sleep(LOOK_SECONDS)

    def _missing(self, keys: Iterable[str]) -> list[str]:
        return [key for key in keys if key not in self.run.records]

    def _look(self) -> list[_Dealt]:
        """Asks for all jobs that may go on; gives the shares that nobody measures any more."""
        open_ = [share for share in self.shares if share.is_open]
        known = [share.job for share in open_ if share.job is not None]
        try:
            found = self.executor.look(known) if known else {}
            self._unanswered = 0
        except ExecutorError as error:
            self._unanswered += 1
            if self._unanswered > UNANSWERED:
                raise
            if self._unanswered == 1:
                self.told(f"{error}; asking again")
            return []
        for name, seen in found.items():
            before = self.seen.get(name)
            self.seen[name] = seen if seen.node or before is None else replace(seen, node=before.node)
        return [share for share in open_ if share.job is None or not self.seen[share.job].is_alive]

    def _collect(self) -> None:
        """Takes the records that journals have got since they were read last."""
        for path in sorted(self.folder.glob(f"*/{JOURNALS}/*.jsonl")):
            size = path.stat().st_size
            if self._sizes.get(path) == size:
                continue
            self._sizes[path] = size
            state = _read_growing(path)
            if obstacle := other_code(self.run.facts.id, state.code, self.run.code):
                raise SessionError(f"A node measured other code than is here. {obstacle}")
            for key, record in state.records.items():
                if key in self.cells and key not in self.run.records:
                    self.run.take(record)
            self.run.context.peaks.update(state.facts.peaks)

    def _deal_again(self, share: _Dealt) -> None:
        """What a share whose job has ended still lacks: once more, or a record that says why not."""
        job.revoke(share.folder)
        left = self._missing(share.keys)
        if not left:
            return
        seen = Seen(State.ENDED) if share.job is None else self.seen[share.job]
        tried = share.attempt if left[0] == share.keys[0] else 1
        again = tried + 1
        if seen.state is State.OUT_OF_MEMORY:
            self._blame(left.pop(0), "oom", f"its job was ended for its memory{_on(seen.node)}")
            again = 1
        elif share.job is None:
            again = tried
        elif tried >= ATTEMPTS:
            words = f" ({seen.words})" if seen.words else ""
            self._blame(left.pop(0), "crashed", f"its job ended {ATTEMPTS} times before it had a record{words}")
            again = 1
        who = "a job that was never heard of" if share.job is None else f"job {share.job}"
        self.told(f"{who} ended{_on(seen.node)} with {counted(len(left), 'cell')} left to measure")
        lost_on = (seen.node,) if again == ATTEMPTS and seen.state is State.LOST and seen.node else ()
        if left:
            self._deal([(tuple(left), again, lost_on)])

    def _blame(self, key: str, status: str, reason: str) -> None:
        self.run.take(Record(self.cells[key], status, reason, started=now()))

    def _deal(self, wanted: Sequence[tuple[tuple[str, ...], int, tuple[str, ...]]]) -> None:
        """Places a job for each share: its keys, its attempt, and the nodes that it must not run on."""
        first = 1 + max((int(share.folder.name) for share in self.shares), default=0)
        for number, (keys, attempt, lost_on) in enumerate(wanted, first):
            share = _Dealt(self.folder / f"{number:06d}", keys, None, attempt, lost_on)
            invocation = replace(self.run.invocation, executor=None, jobs=1)
            cells = tuple(self.cells[key] for key in keys)
            pythonpath = os.environ.get("PYTHONPATH", "")
            Share(self.run.root, self.run.cache, invocation, cells, pythonpath).write(share.folder)
            share.write()
            self.shares.append(share)
        new = self.shares[-len(wanted) :]
        with setting_environment(**where_things_are(self.run.root)):
            without = {node for share in new for node in share.lost_on}
            seconds = START_SECONDS + LONGER * max(sum(map(self.estimates.__getitem__, share.keys)) for share in new)
            jobs = self.executor.submit(job.run, [share.folder for share in new], without, seconds)
        for share, name in zip(new, jobs, strict=True):
            share.job = name
            self.seen[name] = Seen(State.WAITING)
            share.write()

    def states(self) -> list[JournalState]:
        """What all journals hold."""
        return [state for share in self.shares for state in job.states(share.folder)]

    def _show(self, last: bool = False) -> None:
        """The table of all jobs, where something has changed."""
        counts = Counter((seen.node or "-", seen.state.value) for seen in self.seen.values())
        rows = [f"{node:24} {state:14} {number}" for (node, state), number in sorted(counts.items())]
        done, moment = len(self.cells) - len(self._missing(self.cells)), time.monotonic()
        state = "\n".join(rows)
        if not last and state == self._table[0] and moment - self._table[1] < TABLE_SECONDS:
            return
        self._table = state, moment
        self.told("\n".join([f"{'node':24} {'jobs':14} {done}/{len(self.cells)} cells", *rows]))


def _shares(keys: Sequence[str], number: int) -> Iterator[tuple[str, ...]]:
    """The keys dealt in turns to so many jobs, or to as many as there are keys."""
    of = min(number, len(keys))
    yield from (tuple(Shard(each, of).deal(keys)) for each in range(1, of + 1))


def _read_growing(path: Path) -> JournalState:
    """A journal that somebody may be writing to: a line that is not whole yet is no damage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_journal(path)


def _on(node: str) -> str:
    return f" on {node}" if node else ""


def _settle(run: Session, states: Sequence[JournalState]) -> None:
    """Tells nodes apart: those of another environment have a run of their own, those of another speed a flag."""
    kept = dict(run.records)
    nodes: dict[tuple[str | None, str], Node] = {}
    environments: dict[str | None, Mapping[str, Any]] = {}
    for state in states:
        environments[state.fingerprint] = state.environment
        for node in state.facts.nodes:
            known = nodes.get((state.fingerprint, node.name), node)
            keys = [key for key, record in state.records.items() if kept.get(key) == record and key not in known.keys]
            control = {name: min(seconds, known.control.get(name, seconds)) for name, seconds in node.control.items()}
            nodes[state.fingerprint, node.name] = replace(known, control=control, keys=(*known.keys, *keys))
    if not nodes:
        return
    named = [replace(node, name=f"node-{number}") for number, (_, node) in enumerate(sorted(nodes.items(), key=str), 1)]
    measured = Counter(node.fingerprint for node in named for _ in node.keys)
    main = measured.most_common(1)[0][0] if measured else named[0].fingerprint
    own = judged([node for node in named if node.fingerprint == main], MARGIN)
    for node in own:
        for key in node.keys:
            run.records[key] = replace(kept[key], flags=flagged(kept[key].flags, node.alike))
    run.notes_at_end += [unlike_words(node) for node in own if not node.alike]
    run.measured_in = environments[main]
    run.facts = replace(run.facts, nodes=own)
    for other, environment in environments.items():
        if other != main:
            _store_apart(run, environment, judged([node for node in named if node.fingerprint == other], MARGIN))


def _store_apart(run: Session, environment: Mapping[str, Any], nodes: Sequence[Node]) -> None:
    """Stores what nodes of another environment have measured as a run of its own."""
    keys = [key for node in nodes for key in node.keys]
    if not keys:
        return
    records = tuple(run.records.pop(key) for key in keys)
    facts = replace(run.facts, id=f"{run.facts.id}-{nodes[0].name}", planned=tuple(keys), nodes=tuple(nodes))
    (merged,) = merge([Part(Run(facts.id, facts, environment, run.commit, records))])
    file = store_merged(merged, run.folder)
    run.apart |= dict.fromkeys(keys, f"measured in another environment than most: its record is in {file.name}")
    left = tuple(key for key in run.facts.planned if key not in run.apart)
    run.facts = replace(run.facts, planned=left, elsewhere=(*run.facts.elsewhere, *keys))
    run.notes_at_end.append(f"{counted(len(keys), 'cell')} of nodes in another environment are kept apart: {file}")
