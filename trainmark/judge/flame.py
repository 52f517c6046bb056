"""Two profiles held against each other call by call: which operators a difference of the step is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from trainmark import formatting
from trainmark.judge.comparison import Comparison, MetricChange
from trainmark.store.call_tree import Call
from trainmark.store.cell import Cell, join_key
from trainmark.store.parameters import PARAMETERS
from trainmark.store.profiles import Profile, list_profiles
from trainmark.store.record import Record

OUTSIDE = "outside operators"  # Python, launching, waiting: what of a step no operator takes
BASE = "the base"
STEP = "step_seconds"
SUBJECTS = ("model", "dataset", "batch_size", "device")  # parameters that say what is done, and not how
TERMS = 3  # operators that a sentence names at most
TERM = 0.05  # of all that moved: what is less is among the others


class Times(NamedTuple):
    """A step as it was timed with nothing attached, in two settings.

    Attributes:
        base: Its seconds in the base.
        low: By how many seconds the new one is longer, at least.
        middle: Likewise, as measured.
        high: Likewise, at most.
    """

    base: float
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Node:
    """A path of calls in both profiles.

    Attributes:
        name: Of the operator at its end.
        base_seconds: What it took itself in a step of the base; None where the base has no such path.
        new_seconds: Likewise of the new one.
        base_calls: In a step of the base.
        new_calls: In a step of the new one.
        children: What it called, those that moved most first.
    """

    name: str
    base_seconds: float | None
    new_seconds: float | None
    base_calls: float = 0.0
    new_calls: float = 0.0
    children: tuple[Node, ...] = ()

    @property
    def seconds(self) -> float:
        """By how much it takes longer itself."""
        return (self.new_seconds or 0.0) - (self.base_seconds or 0.0)

    @property
    def slower(self) -> float:
        """Seconds that it and what it calls gained wherever they took longer."""
        return sum(max(node.seconds, 0.0) for node in self.walk())

    @property
    def faster(self) -> float:
        """Seconds that they saved wherever they took less, above zero."""
        return sum(max(-node.seconds, 0.0) for node in self.walk())

    def walk(self) -> Iterator[Node]:
        """Itself and all that it calls."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class Term:
    """What one operator contributes, wherever it is called.

    Attributes:
        name: Of the operator, or OUTSIDE.
        seconds: By how much a step is longer for it.
        base_calls: In a step of the base.
        new_calls: In a step of the new one.
    """

    name: str
    seconds: float
    base_calls: float
    new_calls: float


@dataclass(frozen=True)
class Difference:
    """Why a step takes another time, call by call.

    Attributes:
        key: Join key of what was profiled.
        label: Its name for people.
        base: Name of what it is held against.
        base_seconds: A profiled step of the base.
        new_seconds: Likewise of the new one.
        roots: What no operator called, and what is outside of them all. Their changes add up to ``seconds``.
        times: The same step without a profiler; None where that was not measured.
    """

    key: str
    label: str
    base: str
    base_seconds: float
    new_seconds: float
    roots: tuple[Node, ...]
    times: Times | None = None

    @property
    def seconds(self) -> float:
        """By how much the step is longer, as it was timed where that is known: the sum of all boxes."""
        return sum(root.slower - root.faster for root in self.roots)

    @property
    def slower(self) -> float:
        """Seconds of all that takes longer."""
        return sum(root.slower for root in self.roots)

    @property
    def faster(self) -> float:
        """Seconds of all that takes less, above zero."""
        return sum(root.faster for root in self.roots)

    @property
    def is_shown(self) -> bool:
        """Whether the steps differ at all by what is known of them."""
        return self.times is None or not self.times.low <= 0 <= self.times.high

    @property
    def terms(self) -> list[Term]:
        """Each operator once, the one that moved the step most in the direction of the difference first."""
        sums: dict[str, list[float]] = {}
        for root in self.roots:
            for node in root.walk():
                found = sums.setdefault(node.name, [0.0, 0.0, 0.0])
                for place, more in enumerate((node.seconds, node.base_calls, node.new_calls)):
                    found[place] += more
        direction = 1 if self.seconds >= 0 else -1
        return sorted((Term(name, *of) for name, of in sums.items()), key=lambda term: -direction * term.seconds)


def difference(base: Profile, new: Profile, times: Times | None = None, against: str = "") -> Difference | None:
    """Two profiles path by path; None where one has no call tree.

    Args:
        base: What the other is held against.
        new: The other.
        times: The same step without a profiler: then it is that which the profiles divide.
        against: Name of the base.
    """
    if not _calls(base) or not _calls(new):
        return None
    before, after = _as_timed(base, new, times)
    outside = Node(OUTSIDE, _outside(before), _outside(after))
    roots = (*_merged(_children(before.tree), _children(after.tree), None, None), outside)
    ordered = tuple(sorted(roots, key=_moved))
    return Difference(new.key, new.label, against or base.label, base.step_seconds, new.step_seconds, ordered, times)


def _as_timed(base: Profile, new: Profile, times: Times | None) -> tuple[Profile, Profile]:
    """Both profiles with the steps that were timed without a profiler, divided as the profiles say.

    The profiler takes as long for each call on both sides: by how much the profiled step is longer, over its calls, the
    less of both. What it is longer still comes from the moment, and is taken from all alike.
    """
    if times is None:
        return base, new
    later = times.base + times.middle
    each = min(_longer(base, times.base), _longer(new, later))
    return _scaled(base, each, times.base), _scaled(new, each, later)


def _longer(profile: Profile, seconds: float) -> float:
    """By how much a profiled step is longer than one that was timed, for each of its calls."""
    return max(0.0, profile.step_seconds - seconds) / _calls(profile)


def _scaled(profile: Profile, each: float, seconds: float) -> Profile:
    """The profile without so much of each call, in as many seconds as its step took."""
    scale = seconds / (profile.step_seconds - each * _calls(profile))
    tree = [
        replace(call, self_seconds_per_step=scale * (call.self_seconds_per_step - each * call.calls_per_step))
        for call in profile.tree
    ]
    return replace(profile, step_seconds=seconds, tree=tuple(tree))


def _calls(profile: Profile) -> float:
    return sum(call.calls_per_step for call in profile.tree)


def _outside(profile: Profile) -> float:
    return profile.step_seconds - sum(call.self_seconds_per_step for call in profile.tree)


def _moved(node: Node) -> tuple[float, str]:
    return -(node.slower + node.faster), node.name


_Children = Mapping[int | None, Mapping[str, tuple[int, Call]]]


def _children(tree: Sequence[Call]) -> _Children:
    """Caller -> name -> place and call."""
    found: dict[int | None, dict[str, tuple[int, Call]]] = {}
    for place, call in enumerate(tree):
        found.setdefault(call.parent, {})[call.name] = place, call
    return found


def _merged(base: _Children, new: _Children, ours: int | None, theirs: int | None) -> tuple[Node, ...]:
    """What both callers called, by name; -1 stands for a caller that is not there."""
    before, after = base.get(ours, {}), new.get(theirs, {})
    nodes = []
    for name in dict.fromkeys([*before, *after]):
        (one, call), (other, called) = before.get(name, (-1, None)), after.get(name, (-1, None))
        nodes.append(
            Node(
                name,
                call.self_seconds_per_step if call else None,
                called.self_seconds_per_step if called else None,
                call.calls_per_step if call else 0.0,
                called.calls_per_step if called else 0.0,
                _merged(base, new, one, other),
            )
        )
    return tuple(sorted(nodes, key=_moved))


def sentence(found: Difference) -> str:
    """Such as ``+3.1% [+2.8%, +3.4%] = 2.8 from addmm, 0.3 outside operators``.

    In percent of the base's step: as it was timed where that is known, else as it was profiled.
    """
    of = found.times.base if found.times else found.base_seconds
    terms, moved = found.terms, found.slower + found.faster
    ordered = [*terms[:1], *sorted(terms[1:], key=lambda term: -abs(term.seconds))]
    named = [term for term in ordered[:TERMS] if abs(term.seconds) >= TERM * moved]
    parts = [f"{_points(term.seconds, of)} {_from(term.name)}" for term in named]
    rest = found.seconds - sum(term.seconds for term in named)
    if len(terms) > len(named):
        parts.append(f"{_points(rest, of)} from {formatting.counted(len(terms) - len(named), 'other')}")
    interval = f" [{_percent(found.times.low, of)}, {_percent(found.times.high, of)}]" if found.times else ""
    return f"{_percent(found.seconds, of)}{interval} = {', '.join(parts)}"


def _from(name: str) -> str:
    return name if name == OUTSIDE else f"from {formatting.plain(name.removeprefix('aten::'), 60)}"


def _percent(seconds: float, of: float) -> str:
    return f"{100 * seconds / of:+.1f}%".replace("-", "\N{MINUS SIGN}")


def _points(seconds: float, of: float) -> str:
    return f"{round(100 * seconds / of, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


class Profiled(NamedTuple):
    """A run with the folder of its profiles."""

    folder: Path
    records: Sequence[Record]


def differences(base: Profiled, new: Profiled, comparison: Comparison | None = None) -> list[Difference]:
    """Of each benchmark that is profiled in both runs, those that are shown to differ most first.

    Args:
        base: The run that the other is held against.
        new: The other.
        comparison: Of both: the intervals of its times are taken where it has some.
    """
    before = {profile.key: profile for profile in list_profiles(base.folder)}
    records = {record.key: record for record in base.records}
    cells = comparison.cells if comparison else ()
    ratios = {cell.key: change for cell in cells for change in cell.changes if change.name == STEP}
    found = []
    for key, (profile, record) in _with_records(new).items():
        if key in before and key in records and profile.device == before[key].device:
            times = times_of(records[key], record, ratios.get(key))
            found.append(difference(before[key], profile, times, comparison.base if comparison else BASE))
    return sorted((one for one in found if one is not None), key=_largest)


def of_settings(run: Profiled) -> list[Difference]:
    """Of a run's profiles, each setting beside its twin, which differs in one parameter and has its default there."""
    profiled = _with_records(run)
    found = []
    for profile, record in profiled.values():
        for twin in _twins(record.cell):
            if twin in profiled:
                base, default = profiled[twin]
                found.append(difference(base, profile, times_of(default, record)))
    return sorted((one for one in found if one is not None), key=_largest)


def times_of(base: Record, new: Record, change: MetricChange | None = None) -> Times | None:
    """The step of both records without a profiler; None where one was not timed.

    Args:
        base: What the other is held against.
        new: The other.
        change: How their times were judged: its interval counts where it has one, else those within both processes.
    """
    before, after = base.metrics.get(STEP), new.metrics.get(STEP)
    if not before or not after:
        return None
    if change is not None and change.low is not None and change.high is not None and change.ratio is not None:
        low, middle, high = (before * (ratio - 1) for ratio in (change.low, change.ratio, change.high))
        return Times(before, low, middle, high)
    (least, most), (new_least, new_most) = (
        [record.metrics.get(f"{STEP}_{end}") or record.metrics[STEP] or 0.0 for end in ("low", "high")]
        for record in (base, new)
    )
    return Times(before, new_least - most, after - before, new_most - least)


def _with_records(run: Profiled) -> dict[str, tuple[Profile, Record]]:
    records = {record.key: record for record in run.records}
    return {one.key: (one, records[one.key]) for one in list_profiles(run.folder) if one.key in records}


def _twins(cell: Cell) -> Iterator[str]:
    """Join keys of the same benchmark with one of its settings at its default."""
    for name, value in cell.axes:
        if name in PARAMETERS and name not in SUBJECTS and value != PARAMETERS[name].default:
            yield join_key(cell.workload, {**cell.settings, name: PARAMETERS[name].default})


def _largest(found: Difference) -> tuple[bool, float]:
    times = found.times
    return not found.is_shown, -abs(found.seconds / (times.base if times else found.base_seconds))
