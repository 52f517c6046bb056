"""What ``--against`` asks for: both sides planned, recorded and measured in pairs, as one paired run."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainmark.against.client import Side, SideEnded
from trainmark.against.places import SELF, Place, SideError, place_of, working_tree
from trainmark.against.turns import Findings, Look, PairSettings, measure_pairs, measure_records
from trainmark.measure.session import Session
from trainmark.store.cell import Cell
from trainmark.store.pairs import PairedRun
from trainmark.store.record import Run, RunFacts
from trainmark.workloads import entry_of

NEW = "working tree"


@dataclass(frozen=True)
class Against:
    """What one call with ``--against`` asks for.

    Attributes:
        parts: What names the side: see :func:`trainmark.against.places.place_of`.
        budget_seconds: For the whole of it.
        threads: CPU threads of both sides; None for what each side's environment says.
        margins: The margins in the user's words.
        inconclusive: What becomes of cells that are not decided: ``pass``, ``warn`` or ``fail``.
        missing: Likewise of cells that are no longer there.
    """

    parts: tuple[str, ...]
    budget_seconds: float
    threads: int | None
    margins: str
    inconclusive: str
    missing: str


@dataclass(frozen=True)
class _Planned:
    """What a side says of itself: its environment, and its cells by their keys."""

    environment: Mapping[str, Any]
    cells: Mapping[str, Cell]


def measure_against(
    asked: Against,
    session: Session,
    chosen: Sequence[Cell],
    root: Path,
    commit: Mapping[str, Any],
    look: Callable[[Mapping[str, str]], Look],
    told: Callable[[str], None],
) -> PairedRun:
    """Measures the chosen cells on both sides until they are decided or the budget is spent.

    After Ctrl-C what has been measured so far is given as an incomplete run.

    Args:
        asked: The side and the budget.
        session: The run of the working tree: its request, settings and plan.
        chosen: Cells of the working tree to compare.
        root: Folder of the working tree.
        commit: Of the working tree, as pytest-benchmark tells it.
        look: From the cells' labels by key to what decides which cells stay open.
        told: Told how far it is.

    Raises:
        SideError: A side does not start or does not know its cells.
    """
    begun = time.monotonic()
    seed = secrets.randbits(32)
    how = PairSettings(
        session.invocation.settings, asked.threads, session.invocation.limits.seconds or 0, asked.budget_seconds, seed
    )
    findings = Findings()
    complete = False
    with place_of(asked.parts, root) as base_place:
        places = {"base": base_place, "new": working_tree(NEW, root)}
        with ExitStack() as stack:
            sides = {name: stack.enter_context(Side(place, how.timeout)) for name, place in places.items()}
            plans = {name: _plan(side, session, how) for name, side in sides.items()}
            wanted = _wanted(plans, chosen, session)
            told(f"{len(chosen)} cells of the working tree against {base_place.name}: records of both sides")
            try:
                for name, side in sides.items():
                    cells = {cell: session.seeds_of(cell) for cell in wanted[name]}
                    findings.records[name] |= measure_records(side, cells, how, told)
            except KeyboardInterrupt:
                told("interrupted")
                return _paired_run(asked, session, commit, places, plans, findings, seed, begun, complete)
        paired = [
            cell
            for cell in chosen
            if entry_of(cell.workload).steps
            and all(cell.key in records and records[cell.key].status == "ok" for records in findings.records.values())
        ]
        labels = {cell.key: cell.label for cell in paired}
        try:
            measure_pairs(places, paired, how, findings, look(labels), begun + asked.budget_seconds, told)
            complete = True
        except KeyboardInterrupt:
            told("interrupted")
    return _paired_run(asked, session, commit, places, plans, findings, seed, begun, complete)


def _plan(side: Side, session: Session, how: PairSettings) -> _Planned:
    request = session.invocation.request
    given = {axis: list(values) for axis, values in request.given.items()}
    try:
        document = side.call("plan", grid=request.grid, given=given, seeds=request.seeds, settings=how.to_json())
    except SideEnded as end:
        raise SideError(f"{side.place.name} cannot say what it measures: {end.reason}") from end
    cells = [Cell.of(one["workload"], **one["axes"]) for one in document["cells"]]
    return _Planned(document["environment"], {cell.key: cell for cell in cells})


def _wanted(plans: Mapping[str, _Planned], chosen: Iterable[Cell], session: Session) -> dict[str, list[Cell]]:
    """The cells to record on each side; those of the base alone only where no -k has left any out."""
    runnable = [cell for cell in chosen if not session.skip_reason_of(cell)]
    base = [cell for cell in runnable if cell.key in plans["base"].cells]
    everything = {cell.key for cell in chosen} >= plans["new"].cells.keys()
    if everything:
        base += [cell for key, cell in plans["base"].cells.items() if key not in plans["new"].cells]
    return {"base": base, "new": runnable}


def _paired_run(
    asked: Against,
    session: Session,
    commit: Mapping[str, Any],
    places: Mapping[str, Place],
    plans: Mapping[str, _Planned],
    findings: Findings,
    seed: int,
    begun: float,
    complete: bool,
) -> PairedRun:
    commits = {"base": commit if places["base"].commit is None else {"id": places["base"].commit}, "new": commit}
    facts = session.finished_facts(complete)
    names = {"base": _name(places["base"]), "new": facts.id}
    runs = {
        name: Run(
            names[name],
            RunFacts(**{**facts.to_json(), "planned": tuple(findings.records[name])}),
            plans[name].environment,
            commits[name],
            tuple(findings.records[name].values()),
        )
        for name in places
    }
    return PairedRun(
        base=runs["base"],
        new=runs["new"],
        side=SELF if set(asked.parts) == {SELF} else " ".join(asked.parts),
        pairs=findings.pairs,
        steps=findings.steps,
        seed=seed,
        seconds=time.monotonic() - begun,
        margins=asked.margins,
    )


def _name(place: Place) -> str:
    if place.commit is None:
        return place.name
    return place.commit[:12] if place.commit.startswith(place.name) else f"{place.name} ({place.commit[:12]})"
