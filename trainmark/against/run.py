"""What ``--against`` asks for: both sides planned, recorded and measured in pairs, as one paired run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainmark import formatting, git
from trainmark.against.client import Side, SideEnded
from trainmark.against.own_tree import is_own
from trainmark.against.places import SELF, Named, Place, SideError, place_of, working_tree
from trainmark.against.turns import Findings, Look, PairSettings, measure_pairs, measure_record, rounds_of
from trainmark.formatting import about, counted, excerpt
from trainmark.measure.context import now
from trainmark.measure.session import Session
from trainmark.store import glossary
from trainmark.store.cell import Cell
from trainmark.store.folders import without_folders
from trainmark.store.pairs import PairedRun, PairsJournal
from trainmark.store.record import AGAIN, Record, Run, beyond_tolerance, with_better
from trainmark.suite import SOURCES, TABLE, search_path
from trainmark.workloads import entry_of

if TYPE_CHECKING:
    from trainmark.judge.policy import Policy

NEW = "working tree"
PAIR_SECONDS = 1.5  # of a pair, where no stored run tells: two processes made ready, and their blocks
PLAN_SECONDS = 120.0  # to look at the machine, beside what the import of each model may take
START_SECONDS = 8.0  # of both servers, which import torch
PAIRS_SHARE = 1 / 3  # of the budget, which records leave for pairs: these decide
CONFIRMATIONS = 3  # times that a record is measured anew whose numbers are beyond their tolerance
CONFIRMING_SHARE = 0.3  # of the time that is left then: the rest is for pairs


@dataclass(frozen=True)
class Against:
    """What one call with ``--against`` asks for.

    Attributes:
        side: What is measured beside the working tree.
        parts: The user's words for it.
        budget_seconds: For the whole of it.
        begun: When the call began, as ``time.monotonic`` tells it: the budget counts from there.
        first_look: Pairs of a cell after which it is looked at for the first time.
        threads: CPU threads of both sides; None for what each side's environment says.
        margins: The margins in the user's words.
        policy: What becomes of cells that are not decided, not there or not the same.
        counts_decide: Whether counts that explain a time are judged too.
        pythonpath: Folders in the working tree where pytest's ini file has modules looked for too.
        invocation: The options that an interrupted run is resumed with.
    """

    side: Named
    parts: tuple[str, ...]
    budget_seconds: float
    begun: float
    first_look: int
    threads: int | None
    margins: str
    policy: Policy
    counts_decide: bool
    pythonpath: tuple[str, ...] = ()
    invocation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The side in the user's words."""
        return SELF if set(self.parts) == {SELF} else " ".join(self.parts)


@dataclass(frozen=True)
class _Planned:
    """What a side says of itself.

    Attributes:
        environment: Of the machine and its software.
        packages: Digest of what is installed.
        cells: By their keys.
        skipped: Key -> why it cannot run that cell.
        failed: Key -> status and reason of a cell whose model cannot be imported.
        files: Model -> where the module that names it was imported from.
        copies: Package of the side's tree -> where it was imported from instead.
    """

    environment: Mapping[str, Any]
    packages: str
    cells: Mapping[str, Cell]
    skipped: Mapping[str, str]
    failed: Mapping[str, tuple[str, str]]
    files: Mapping[str, str]
    copies: Mapping[str, str]


def measure_against(
    asked: Against,
    session: Session,
    chosen: Sequence[Cell],
    root: Path,
    commit: Mapping[str, Any],
    look: Callable[[Mapping[str, str]], Look],
    told: Callable[[str], None],
    earlier: Sequence[PairedRun] = (),
    resumed: Path | None = None,
) -> PairedRun:
    """Measures the chosen cells on both sides until they are decided or the budget is spent.

    Each record and each pair is on the disk before the next is begun. After Ctrl-C what has been measured
    so far is given as a run that has not finished.

    Args:
        asked: The side and the budget.
        session: The run of the working tree: its request, settings and plan.
        chosen: Cells of the working tree to compare.
        root: Folder of the working tree.
        commit: Of the working tree, as a stored run tells it.
        look: From the cells' labels by key to what decides which cells stay open.
        told: Told how far it is.
        earlier: Paired runs of this folder: records of the same code are taken over, not measured again.
        resumed: The file of an interrupted run to go on with.

    Raises:
        SideError: A side does not start or does not know its cells, or an interrupted run was of other code.
        JournalInUse: The interrupted run still goes on.
        UnreadableRun: It cannot be read.
        OSError: What was measured cannot be kept.
    """
    settings, timeout = session.invocation.settings, session.invocation.limits.seconds or 0
    work: _Work | None = None
    with ExitStack() as stack:
        base_place = stack.enter_context(place_of(asked.side, root, asked.pythonpath))
        places = {"base": base_place, "new": working_tree(NEW, root, pythonpath=asked.pythonpath)}
        how = PairSettings(settings, asked.threads, timeout, asked.budget_seconds, secrets.randbits(32))
        try:
            with ExitStack() as both:
                sides = {name: both.enter_context(Side.launch(place, timeout)) for name, place in places.items()}
                for side in sides.values():
                    side.wait_until_ready()
                plans = _plans(places, sides, session, how)
                wanted = _wanted(plans, chosen, session)
                run = _begun(asked, session, commit, places, plans, wanted, how)
                if resumed is None:
                    journal = PairsJournal.begin(session.folder, run)
                    stack.callback(journal.close)
                else:
                    journal, before = PairsJournal.resume(resumed)
                    stack.callback(journal.close)
                    _refuse_other_conditions(before, run)
                    run, how = before, replace(how, seed=before.seed)
                findings = _recovered(run, journal)
                work = _Work(asked, session, wanted, findings, told, asked.begun + asked.budget_seconds)
                work.take_over(run, plans, earlier)
                work.say_what_it_takes(earlier, run.new.environment.get("fingerprint"), base_place.name)
                work.measure_records(sides, how)
                work.confirm_records(sides, how)
            paired = work.paired()
            labels = {cell.key: cell.label for cell in paired}
            measure_pairs(places, paired, how, findings, look(labels), work.until, told)
            if work.lacking(unpaired=True) and time.monotonic() < work.until:  # all is decided, and time is left
                with ExitStack() as both:
                    again = {name: both.enter_context(Side.launch(place, timeout)) for name, place in places.items()}
                    for name, side in again.items():
                        side.wait_until_ready()
                        side.words = sides[name].words
                    work.measure_records(again, how, before_pairs=False)
            finished = _so_far(run, findings, asked.begun, finished=now())
            journal.finish(finished)
            return finished
        except KeyboardInterrupt:
            if work is None:
                raise  # nothing has been measured by this call
            told("interrupted")
            return _so_far(run, work.findings, asked.begun)


@dataclass
class _Work:
    """What is to be measured, and how much time there is for it."""

    asked: Against
    session: Session
    wanted: Mapping[str, Sequence[Cell]]
    findings: Findings
    told: Callable[[str], None]
    until: float

    def lacking(self, *, unpaired: bool = False) -> list[tuple[str, Cell]]:
        """Sides and cells that have no record yet, both sides of a cell together: those that are paired come first.

        Args:
            unpaired: Only those that are not paired.
        """
        request = self.session.invocation.request
        order = dict.fromkeys([*self.wanted["new"], *self.wanted["base"]])
        apart = {cell: not entry_of(cell.workload).is_paired(cell, request) for cell in order}
        return [
            (name, cell)
            for cell in sorted(order, key=lambda cell: apart[cell])
            for name in ("base", "new")
            if cell in self.wanted[name] and cell.key not in self.findings.records[name]
            if apart[cell] or not unpaired
        ]

    def take_over(self, run: PairedRun, plans: Mapping[str, _Planned], earlier: Sequence[PairedRun]) -> None:
        """Records that need no measuring: of what a side cannot run, and of the same code in an earlier run."""
        for name, cell in self.lacking():
            reason = plans[name].skipped.get(cell.key) or (self.session.skip_reason_of(cell) if name == "new" else None)
            if reason:
                self.findings.add_record(name, Record(cell, "skipped", reason, started=now()))
            elif cell.key in plans[name].failed:
                status, reason = plans[name].failed[cell.key]
                self.findings.add_record(name, Record(cell, status, without_folders(reason), started=now()))
        known = _known_records(run, earlier)
        for name, cell in self.lacking():
            record = known.get((run.origins[name], cell.key))
            if record is not None and record.settings.get("seeds", 1) == self.session.seeds_of(cell):
                self.findings.add_record(name, record)

    def measure_records(self, sides: Mapping[str, Side], how: PairSettings, *, before_pairs: bool = True) -> None:
        """One record of each cell on each side that has none, for as long as there is time.

        Args:
            sides: Both.
            how: Settings.
            before_pairs: Leave a share of the budget for pairs, where there is a cell that takes turns.
        """
        lacking = self.lacking(unpaired=not before_pairs)
        for number, (name, cell) in enumerate(lacking, start=1):
            kept = PAIRS_SHARE * self.asked.budget_seconds if before_pairs and self.paired() else 0.0
            left = self.until - time.monotonic()
            if left < kept:
                spent = "the budget is spent" if left < 0 else "the rest of the budget is for pairs"
                self.told(f"{spent}: {counted(len(lacking) - number + 1, 'record')} not measured")
                return
            self.told(f"record {number} of {len(lacking)}: {sides[name].place.name}: {cell.label}")
            record = measure_record(sides[name], cell, self.session.seeds_of(cell), how)
            self.findings.add_record(name, self.session.in_its_moment(record))

    def confirm_records(self, sides: Mapping[str, Side], how: PairSettings) -> None:
        """Measures anew what differs by more than its tolerance: one process of a code may take more than another.

        Peak memory varied by 17% between two processes of one training here. Of each such number the better one
        counts, on both sides alike: chance adds to a peak, and takes nothing from it.
        """
        until = time.monotonic() + CONFIRMING_SHARE * (self.until - time.monotonic())
        for cell in self.wanted["new"]:
            while found := self._to_confirm(cell, until):
                names, attempts = found
                self.told(f"once more on both sides, for its {' and '.join(names)}: {cell.label}")
                for name, of in self.findings.records.items():
                    again = measure_record(sides[name], cell, self.session.seeds_of(cell), how)
                    self.findings.add_record(name, with_better(of[cell.key], again, attempts + 1))

    def _to_confirm(self, cell: Cell, until: float) -> tuple[list[str], int] | None:
        """What both records of a cell differ in too much, and how often they were measured anew; None to go on."""
        both = [of[cell.key] for of in self.findings.records.values() if cell.key in of]
        names = beyond_tolerance(*both) if len(both) == 2 else []
        attempts = max((int(record.disturbance.get(AGAIN) or 0) for record in both), default=0)
        seconds = sum(float(record.metrics.get("cell_seconds") or 0.0) for record in both)
        if not names or attempts >= CONFIRMATIONS or time.monotonic() + seconds > until:
            return None
        return [formatting.metric_name(name) for name in names], attempts

    def paired(self) -> list[Cell]:
        """The cells that both sides have measured well, and that take turns."""
        records, request = self.findings.records, self.session.invocation.request
        return [
            cell
            for cell in self.wanted["new"]
            if entry_of(cell.workload).is_paired(cell, request)
            and all(cell.key in of and of[cell.key].status == "ok" for of in records.values())
        ]

    def say_what_it_takes(self, earlier: Sequence[PairedRun], fingerprint: Any, base: str) -> None:
        """How long it takes to look at each cell once, where the budget does not last so long."""
        lacking = self.lacking()
        cells = [cell for cell in self.wanted["new"] if self._may_be_paired(cell)]
        here = [run for run in earlier if run.new.environment.get("fingerprint") == fingerprint and run.pair_seconds]
        pair_seconds = here[-1].pair_seconds if here else PAIR_SECONDS
        assert pair_seconds is not None  # asked for above
        look, measured = self.asked.first_look, self.findings.pairs
        missing = {cell.key: max(look - len(measured.get(cell.key, ())), 0) for cell in cells}
        generations = math.ceil(max(missing.values(), default=0) / rounds_of(len(cells)))
        estimates = self.session.estimates([cell for _, cell in lacking if self.session.has_planned(cell)])
        records = sum(estimates.get(cell.key, 0.0) for _, cell in lacking)
        needed = records + sum(missing.values()) * pair_seconds + generations * START_SECONDS
        kept = sum(map(len, self.findings.records.values()))
        known = f", {kept} of them known" if kept else ""
        self.told(
            f"{counted(len(self.wanted['new']), 'cell')} of the working tree against {base}: records of both sides"
            f"{known}, then pairs of {len(cells)}; a budget of {about(self.asked.budget_seconds)}"
        )
        spent = time.monotonic() - self.asked.begun
        if cells and spent + needed > self.asked.budget_seconds:
            minutes = math.ceil((spent + needed) / 60)
            self.told(
                f"That budget is too small for one look at {counted(len(cells), 'cell')} ({look} pairs of each): "
                f"about {about(spent + needed)} would do, --budget {minutes}m. Fewer cells are decided sooner."
            )

    def _may_be_paired(self, cell: Cell) -> bool:
        records = [of.get(cell.key) for of in self.findings.records.values()]
        ruled_out = any(record is not None and record.status != "ok" for record in records)
        both = cell in self.wanted["base"]
        return both and not ruled_out and entry_of(cell.workload).is_paired(cell, self.session.invocation.request)


def _plan(side: Side, session: Session, how: PairSettings) -> _Planned:
    request = session.invocation.request
    given = {axis: list(values) for axis, values in request.given.items()}
    asked = {"grid": request.grid, "given": given, "seeds": request.seeds, "only": request.only}
    try:
        within = PLAN_SECONDS + how.timeout * (1 + len(session.machine.models))
        document = side.call("plan", within=within, **asked, settings=how.to_json())
    except SideEnded as end:
        raise SideError(f"{side.place.name} cannot say what it measures: {end.reason}") from end
    side.words = document.get("glossary")
    glossary.learn(side.words)
    cells = {
        (cell := Cell.of(one["workload"], **one["axes"])).key: (cell, one.get("skipped")) for one in document["cells"]
    }
    return _Planned(
        document["environment"],
        document.get("packages", ""),
        {key: cell for key, (cell, _) in cells.items()},
        {key: reason for key, (_, reason) in cells.items() if reason},
        _failed(document["cells"]),
        document.get("files", {}),
        document.get("copies", {}),
    )


def _failed(cells: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Key -> status and reason, of cells that a side cannot try; a side of an earlier trainmark says nothing of it."""
    failures = {Cell.of(one["workload"], **one["axes"]).key: one.get("failed") for one in cells}
    return {key: (one["status"], excerpt(one["reason"])) for key, one in failures.items() if one}


def _plans(
    places: Mapping[str, Place], sides: Mapping[str, Side], session: Session, how: PairSettings
) -> dict[str, _Planned]:
    """What each side says of itself.

    Raises:
        SideError: It does not; or with a commit, what it would measure is not the commit's own.
    """
    plans, base = {}, places["base"]
    for name in ("new", "base"):  # the working tree first: it knows what a commit lacks
        plans[name] = _plan(sides[name], session, how)
        if base.commit is not None:
            _refuse_borrowed(places[name], plans[name])
            _refuse_submodules(base, plans[name])
    return plans


def _refuse_borrowed(place: Place, plan: _Planned) -> None:
    """A side is measured with its own code: what is installed would be measured twice as the same.

    Raises:
        SideError: A model's module is not of the side's tree.
    """
    for name, file in plan.copies.items():
        raise SideError(
            f"{name} was imported from {file}, an installed copy, and not from {SOURCES}/ of the repository: "
            f'both sides would measure the copy. Write pythonpath = ["{SOURCES}"] into [{TABLE}].'
        )
    for name, file in plan.files.items():
        if not is_own(Path(file), place.tree):
            raise SideError(
                f"{name} comes from {file} and not from the repository: both sides would measure the same code. Name a "
                "function of this project that builds it, or compare with an environment or an interpreter."
            )


def _refuse_submodules(base: Place, new: _Planned) -> None:
    """A submodule is not checked out with a commit: its folder is empty there.

    Raises:
        SideError: A model of the working tree is in one.
    """
    inside = {base.repository / path: path for path in git.submodules(base.tree)}
    for name, file in new.files.items():
        for folder, path in inside.items():
            if folder in Path(file).resolve().parents:
                raise SideError(
                    f"{name} is in the submodule {path}, which is not checked out with a commit. Compare with a copy "
                    "of it: --against env:PYTHONPATH=FOLDER."
                )


def _wanted(plans: Mapping[str, _Planned], chosen: Iterable[Cell], session: Session) -> dict[str, list[Cell]]:
    """The cells of each side; those of the base alone only where no -k has left any out."""
    new = list(chosen)
    base = [cell for cell in new if cell.key in plans["base"].cells]
    everything = {cell.key for cell in new} >= plans["new"].cells.keys()
    if everything and session.asks_for_all:
        base += [cell for key, cell in plans["base"].cells.items() if key not in plans["new"].cells]
    return {"base": base, "new": new}


def _begun(
    asked: Against,
    session: Session,
    commit: Mapping[str, Any],
    places: Mapping[str, Place],
    plans: Mapping[str, _Planned],
    wanted: Mapping[str, Sequence[Cell]],
    how: PairSettings,
) -> PairedRun:
    """The run before anything is measured."""
    commits = {"base": commit if places["base"].commit is None else {"id": places["base"].commit}, "new": commit}
    names = {"base": _name(places["base"]), "new": session.facts.id}
    runs = {
        name: Run(
            names[name],
            replace(session.facts, planned=tuple(cell.key for cell in wanted[name])),
            plans[name].environment,
            commits[name],
            (),
        )
        for name in places
    }
    return PairedRun(
        base=runs["base"],
        new=runs["new"],
        side=asked.name,
        pairs={},
        seed=how.seed,
        margins=asked.margins,
        origins={name: _origin(places[name], commits[name], plans[name], how) for name in places},
        code=dict(session.code.to_json()),
        invocation=asked.invocation,
    )


def _origin(place: Place, commit: Mapping[str, Any], plan: _Planned, how: PairSettings) -> str:
    """Digest of what a record of this side depends on: two records of a cell with the same one are the same."""
    told = [
        commit.get("id"),
        commit.get("difference", ""),
        plan.environment.get("fingerprint"),
        plan.packages,
        git.code_on(_beside(place)),
        place.interpreter,
        sorted(place.variables.items()),
        how.to_json(),
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _beside(place: Place) -> list[str]:
    """Folders of the search path that are not the repository's: of those the commit tells what they hold."""
    folders = search_path(place.variables.get("PYTHONPATH", os.environ.get("PYTHONPATH", "")))
    return [folder for folder in folders if not is_own(Path(folder), place.repository)]


def _known_records(run: PairedRun, earlier: Sequence[PairedRun]) -> dict[tuple[str, str], Record]:
    """(origin, join key) -> record, of what earlier runs have measured well with the same code."""
    wanted = set(run.origins.values())
    return {
        (origin, record.key): record
        for one in earlier
        for name, origin in one.origins.items()
        if origin in wanted
        for record in one.sides[name].records
        if record.status == "ok"
    }


def _recovered(run: PairedRun, journal: PairsJournal) -> Findings:
    """What the run has already; nothing where it is new."""
    return Findings(
        records={name: {record.key: record for record in side.records} for name, side in run.sides.items()},
        pairs={key: list(pairs) for key, pairs in run.pairs.items()},
        steps=dict(run.steps),
        journal=journal,
    )


def _refuse_other_conditions(run: PairedRun, now_begun: PairedRun) -> None:
    """An interrupted run goes on with the same code on both sides, in the same environments.

    Raises:
        SideError: One of these is another.
    """
    again = "Start anew, without --resume."
    for name, side in now_begun.sides.items():
        before = run.sides[name]
        if before.environment.get("fingerprint") != side.environment.get("fingerprint"):
            raise SideError(f"The run {run.name} was begun in another environment of {side.name}. {again}")
    if run.origins["base"] != now_begun.origins["base"]:
        raise SideError(f"The run {run.name} was begun against another state of {run.side}. {again}")


def _so_far(run: PairedRun, findings: Findings, begun: float, finished: str | None = None) -> PairedRun:
    sides: dict[str, Any] = {}
    for name, side in run.sides.items():
        records = tuple(findings.records[name].values())
        complete = finished is not None and set(side.facts.planned) <= {record.key for record in records}
        facts = replace(side.facts, finished=finished, complete=complete)
        sides[name] = replace(side, facts=facts, records=records)
    pairs = {key: tuple(some) for key, some in findings.pairs.items()}
    seconds = time.monotonic() - begun
    return replace(run, **sides, pairs=pairs, steps=dict(findings.steps), seconds=seconds)


def _name(place: Place) -> str:
    if place.commit is None:
        return place.name
    return place.commit[:12] if place.commit.startswith(place.name) else f"{place.name} ({place.commit[:12]})"
