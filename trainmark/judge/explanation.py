"""The profiles of a run: one found by some words, and two explained against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from trainmark.store.documents import SchemaError
from trainmark.store.profiles import (
    KINDS,
    OTHERS,
    PROFILE_ENDING,
    Operator,
    Profile,
    list_profiles,
    profile_path,
    read_profile,
    trace_path,
)
from trainmark.store.runs import artifact_folder

NOISE = 0.02  # of a step: what operators of identical code differ by from one profile to the next
CALLS = 0.5  # of a step: the end of an epoch may lie among the steps of one profile and not of the other
WAITS = {"cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize"}  # as long as the device takes
CANDIDATES = 8  # labels that a sentence lists


class NoProfile(LookupError):
    """No profile fits what was asked for."""


class Artifacts(NamedTuple):
    """The files of a cell beside its run; None where there is none."""

    profile: Path
    trace: Path | None


def artifact_links(run_file: Path) -> Mapping[str, Artifacts]:
    """Join key -> the files of each profiled cell of a run; empty where none was profiled."""
    folder = artifact_folder(run_file)
    found = {}
    for profile in list_profiles(folder):
        trace = trace_path(folder, profile.key)
        found[profile.key] = Artifacts(profile_path(folder, profile.key), trace if trace.exists() else None)
    return found


class Leading(NamedTuple):
    """The operators or kernels that take most of a profiled cell's step, for a page.

    Attributes:
        key: Join key of the cell.
        label: Its name for people.
        leaders: Name and share of the step, the largest first.
        trace: The file of its trace; None where there is none.
    """

    key: str
    label: str
    leaders: tuple[tuple[str, float], ...]
    trace: Path | None


def leading_operators(run_file: Path, top: int = 3) -> list[Leading]:
    """What leads in each profiled cell of a run: kernels where it has some, else operators."""
    found = []
    for profile in list_profiles(artifact_folder(run_file)):
        kinds = {row.kind for row in profile.operators}
        rows = [row for row in profile.operators if row.kind == ("kernel" if "kernel" in kinds else "operator")]
        shares: dict[str, float] = {}
        for row in rows:
            shares[row.name] = shares.get(row.name, 0.0) + row.self_seconds_per_step / profile.step_seconds
        leaders = sorted(shares.items(), key=lambda item: -item[1])[:top]
        trace = artifact_links(run_file)[profile.key].trace
        found.append(Leading(profile.key, profile.label, tuple(leaders), trace))
    return found


def profiles_of(run_file: Path) -> list[Profile]:
    """The profiles of a run.

    Raises:
        NoProfile: It has none.
        SchemaError: It has some, and none can be read.
    """
    folder = artifact_folder(run_file)
    files = sorted(folder.glob(f"*{PROFILE_ENDING}"))
    if not files:
        raise NoProfile(f"{run_file.stem} has no profile of any cell: measure one: pytest bench --profile")
    profiles = list_profiles(folder)
    if not profiles:
        read_profile(files[0])  # says what is wrong
        raise SchemaError(f"{files[0]}: was changed while it was read.")
    return profiles


def fitting(words: Sequence[str], profiles: Sequence[Profile]) -> list[Profile]:
    """The profiles of cells in whose label or join key every word occurs.

    Where the words are all of a cell's label, or all of its join key, that cell alone; else, where
    each is a whole word of some cells, those: ``mlp`` is not ``mlp-residual``, unless there is no other.

    Raises:
        NoProfile: There is none.
    """
    asked = " ".join(words)
    wanted = asked.lower().split()
    named = [profile for profile in profiles if asked in (profile.label, profile.key)]
    within = [one for one in profiles if all(word in f"{one.label} {one.key}".lower() for word in wanted)]
    whole = [one for one in within if set(wanted) <= _words(one)]
    found = named or whole or within
    if not found:
        raise NoProfile(f"No profiled cell fits {asked!r}. There are: {_listed(profiles)}.")
    return found


def find_profile(words: Sequence[str], profiles: Sequence[Profile]) -> Profile:
    """The one profile that fits.

    Raises:
        NoProfile: None does, or more than one.
    """
    found = fitting(words, profiles)
    if len(found) > 1:
        raise NoProfile(f"{len(found)} profiled cells fit {' '.join(words)!r}: {_listed(found)}. Name one.")
    return found[0]


def _words(profile: Profile) -> set[str]:
    return {word for text in (profile.label, profile.key) for word in text.lower().replace("=", " ").split()}


def _listed(profiles: Sequence[Profile]) -> str:
    labels = [profile.label for profile in profiles[:CANDIDATES]]
    more = len(profiles) - len(labels)
    return "; ".join(labels) + (f"; and {more} more" if more else "")


@dataclass(frozen=True)
class Change:
    """What an operator or a kernel took in two profiles.

    Attributes:
        name: Of the operator.
        shapes: Of its inputs; those of both sides where they differ.
        kind: A key of ``trainmark.store.profiles.KINDS``.
        base_seconds: Its self time in a step of the base; None where the base does not call it.
        new_seconds: Likewise of the new one.
        base_calls: In a step of the base.
        new_calls: In a step of the new one.
        same_shapes: Whether both sides gave it inputs of the same shapes.
    """

    name: str
    shapes: str
    kind: str
    base_seconds: float | None
    new_seconds: float | None
    base_calls: float
    new_calls: float
    same_shapes: bool = True

    @property
    def seconds(self) -> float:
        """How much more of a step it takes: all of it where only one side has it."""
        return (self.new_seconds or 0.0) - (self.base_seconds or 0.0)

    @property
    def calls_changed(self) -> bool:
        """Whether it is called more or less often than before."""
        return abs(self.new_calls - self.base_calls) >= CALLS


@dataclass(frozen=True)
class Rest:
    """Changes that are too small to be told from noise, summed up.

    Attributes:
        kind: A key of ``trainmark.store.profiles.KINDS``.
        count: How many operators.
        seconds: Their changes together.
    """

    kind: str
    count: int
    seconds: float


@dataclass(frozen=True)
class Explanation:
    """Why a step of a cell takes another time than it did.

    The changes of operators, their rest and ``between_seconds`` add up to ``seconds``. Kernels run
    while the host goes on: their changes are told in seconds of a step too, and do not add to those.

    Attributes:
        label: Of the cell.
        base_seconds: Of a profiled step of the base.
        new_seconds: Of a profiled step of the new one.
        changes: The largest first, whether it gained or lost time.
        rest: What was too small, by kind.
        between_seconds: Change of what lies between operators: Python, the profiler, waiting for a device.
        same_work: Whether both do the same operators, on the same shapes, as often.
    """

    label: str
    base_seconds: float
    new_seconds: float
    changes: tuple[Change, ...]
    rest: tuple[Rest, ...]
    between_seconds: float
    same_work: bool

    @property
    def seconds(self) -> float:
        """By how much the new step is longer."""
        return self.new_seconds - self.base_seconds

    @property
    def differs(self) -> bool:
        """Whether the steps differ by more than noise."""
        return abs(self.seconds) >= NOISE * self.base_seconds

    def share(self, seconds: float) -> float | None:
        """How much of the difference some seconds are; None where the steps do not differ."""
        return seconds / self.seconds if self.differs else None


def explain(base: Profile, new: Profile) -> Explanation:
    """Which operators make the difference of a step, largest first.

    Operators meet by name and shapes, kernels by name; where neither side has the other's shapes, by
    name alone. What changed by less than NOISE of a step and is called as often goes into the rest.
    """
    noise = NOISE * base.step_seconds
    pairs = _paired(base, new, noise)
    unlisted = [change for change in pairs if _may_be_unlisted(change, base, new, noise)]
    known = [change for change in pairs if change not in unlisted]
    waits = [change for change in known if change.name in WAITS and not change.calls_changed]
    ranked = [change for change in known if change not in waits and (_is_large(change, noise) or change.calls_changed)]
    small = [change for change in pairs if change not in ranked and change not in waits]
    return Explanation(
        label=new.label,
        base_seconds=base.step_seconds,
        new_seconds=new.step_seconds,
        changes=tuple(sorted(ranked, key=lambda change: (-abs(change.seconds), change.name, change.shapes))),
        rest=tuple(
            Rest(kind, len(some), sum(change.seconds for change in some))
            for kind in KINDS
            if (some := [change for change in small if change.kind == kind])
        ),
        between_seconds=new.between_seconds - base.between_seconds + sum(change.seconds for change in waits),
        same_work=all(change.same_shapes and not change.calls_changed for change in known),
    )


def _is_large(change: Change, noise: float) -> bool:
    return abs(change.seconds) >= noise


def _may_be_unlisted(change: Change, base: Profile, new: Profile, noise: float) -> bool:
    """Whether a side may have summed it up among the others: then its calls there are not known."""
    if change.name == OTHERS:
        return True
    if max(change.base_seconds or 0.0, change.new_seconds or 0.0) >= noise:
        return False
    sides = ((base, change.base_seconds), (new, change.new_seconds))
    lacking = [side for side, seconds in sides if seconds is None or not change.same_shapes]
    return any(_sums_up(side, change.kind) for side in lacking)


def _sums_up(profile: Profile, kind: str) -> bool:
    return any(row.name == OTHERS and row.kind == kind for row in profile.operators)


_Sums = tuple[float, float]  # self seconds and calls of a step


def _paired(base: Profile, new: Profile, noise: float) -> list[Change]:
    """Each operator of either side once: by name and shapes, then by name what is left on both, then what is left."""
    bases, news = _rows(base.operators), _rows(new.operators)
    changes = []
    for kind, name in dict.fromkeys([*bases, *news]):
        ours, theirs = dict(bases.get((kind, name), {})), dict(news.get((kind, name), {}))
        common = [shapes for shapes in ours if shapes in theirs]
        changes += [_change(kind, name, shapes, ours.pop(shapes), theirs.pop(shapes)) for shapes in common]
        # What the other side may have among its others does not meet what is large here by chance of its name:
        small_ours = _small(ours, noise) if _sums_up(new, kind) else {}
        small_theirs = _small(theirs, noise) if _sums_up(base, kind) else {}
        if (small_ours, small_theirs) != (ours, theirs):
            changes += [_change(kind, name, shapes, ours.pop(shapes), None) for shapes in small_ours]
            changes += [_change(kind, name, shapes, None, theirs.pop(shapes)) for shapes in small_theirs]
        if ours and theirs:
            shapes = f"{_together(ours)} → {_together(theirs)}"
            changes.append(replace(_change(kind, name, shapes, _sum(ours), _sum(theirs)), same_shapes=False))
        else:
            changes += [_change(kind, name, shapes, sums, None) for shapes, sums in ours.items()]
            changes += [_change(kind, name, shapes, None, sums) for shapes, sums in theirs.items()]
    return changes


def _small(rows: Mapping[str, _Sums], noise: float) -> dict[str, _Sums]:
    return {shapes: sums for shapes, sums in rows.items() if sums[0] < noise}


def _rows(operators: Iterable[Operator]) -> dict[tuple[str, str], dict[str, _Sums]]:
    """Kind and name -> shapes -> seconds and calls."""
    rows: dict[tuple[str, str], dict[str, _Sums]] = defaultdict(dict)
    for row in operators:
        shapes = "" if row.kind == "kernel" else row.shapes
        seconds, calls = rows[row.kind, row.name].get(shapes, (0.0, 0.0))
        rows[row.kind, row.name][shapes] = (seconds + row.self_seconds_per_step, calls + row.calls_per_step)
    return rows


def _sum(rows: Mapping[str, _Sums]) -> _Sums:
    return sum(seconds for seconds, _ in rows.values()), sum(calls for _, calls in rows.values())


def _together(rows: Mapping[str, _Sums]) -> str:
    return next(iter(rows)) if len(rows) == 1 else f"{len(rows)} shapes"


def _change(kind: str, name: str, shapes: str, base: _Sums | None, new: _Sums | None) -> Change:
    return Change(
        name=name,
        shapes=shapes,
        kind=kind,
        base_seconds=base[0] if base else None,
        new_seconds=new[0] if new else None,
        base_calls=base[1] if base else 0.0,
        new_calls=new[1] if new else 0.0,
    )
