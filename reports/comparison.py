"""Two runs, cell by cell: what changed, by how much, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import formatting
from reports.statistics import Position, paired_difference, position, ratio_interval
from results.record import METRICS, STATUSES, Metric, Record, Run
from results.rounds import Interval

TIME_MARGIN = 0.30
# Allowance for what differs between two processes that run the same code at different moments. In 16
# runs of identical code the medians of most cells stayed within 1.3 of each other with one thread,
# while 5% alarmed in four runs of five; a smaller change needs both sides measured in turn.

VERDICTS = {
    "failed": "gave no result, where the base did",
    "missing": "has no record, where the base has one",
    "regressed": "is worse",
    "inconclusive": "cannot be decided with what was measured",
    "improved": "is better",
    "unchanged": "is the same within the margin",
    "new": "has nothing in the base to be compared with",
    "incomparable": "was measured under other conditions, or in neither run",
}
FAILING = ("failed", "missing", "regressed")
_WORST_FIRST = ("regressed", "inconclusive", "improved", "unchanged", "incomparable")
_PORTABLE = ("exact", "points")  # kinds of metric that another machine must give too
_UNRELIABLE = ("disturbed", "unsteady")


@dataclass(frozen=True)
class MetricChange:
    """One metric of one cell in both runs.

    Attributes:
        name: A key of METRICS.
        base: Its value in the base, in the metric's unit; None where it was not measured.
        new: Likewise.
        verdict: A key of VERDICTS.
        reason: What was seen, in words; None where nothing needs saying.
        ratio: new / base; None where there is none.
        low: Lower end of the interval of the ratio, or for accuracy of the difference over seeds.
        high: Upper end of the same.
    """

    name: str
    base: float | int | None
    new: float | int | None
    verdict: str
    reason: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def size(self) -> float:
        """How large the change is, whichever its direction: the absolute logarithm of the ratio."""
        return abs(math.log(self.ratio)) if self.ratio and self.ratio > 0 else 0.0

    @property
    def timed(self) -> bool:
        """Whether it is a duration that is judged by its interval."""
        return METRICS[self.name].compared == "time"

    @property
    def summary(self) -> str:
        """The change in a few words: ``parameters 270,346 → 270,350``."""
        name = formatting.metric_name(self.name)
        if METRICS[self.name].compared == "points" and self.base is not None and self.new is not None:
            return f"{name} {formatting.points(self.new - self.base)}"
        ends = f"{formatting.metric(self.name, self.base)} → {formatting.metric(self.name, self.new)}"
        exact = METRICS[self.name].compared == "exact"
        return f"{name} {ends}" if exact or self.ratio is None else f"{name} {formatting.relative(self.ratio)}"


@dataclass(frozen=True)
class CellComparison:
    """One cell in both runs.

    Attributes:
        key: Join key of its records.
        label: Its name for people.
        verdict: A key of VERDICTS: the worst of its metrics' verdicts.
        reason: Why, in words; None where nothing needs saying.
        changes: Of each metric that both runs could have.
    """

    key: str
    label: str
    verdict: str
    reason: str | None = None
    changes: tuple[MetricChange, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether it makes a check fail."""
        return self.verdict in FAILING

    @property
    def time(self) -> MetricChange | None:
        """The change of its duration, if it has one."""
        return next((change for change in self.changes if change.timed), None)

    @property
    def others(self) -> tuple[MetricChange, ...]:
        """The metrics beside its duration that are not the same in both runs."""
        return tuple(change for change in self.changes if not change.timed and change.base != change.new)

    @property
    def notes(self) -> str:
        """Why it has its verdict, and what else changed, in words."""
        beside = [change.summary for change in self.others if not change.reason or change.verdict != self.verdict]
        return "; ".join([*([self.reason] if self.reason else []), *beside])

    @property
    def size(self) -> float:
        """The largest change of its metrics."""
        return max((change.size for change in self.changes), default=0.0)


@dataclass(frozen=True)
class Difference:
    """A fact that is not the same in both: of the environment, or of a cell's settings."""

    name: str
    base: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')} {formatting.fact(self.base)} → {formatting.fact(self.new)}"


@dataclass(frozen=True)
class Comparison:
    """A run held against a base.

    Attributes:
        base: Name of the base's file.
        new: Name of the new run's file.
        cells: Those that fail a check first, then the largest change first.
        same_machine: Whether both have the same fingerprint; unknown ones are not the same.
        differences: Facts of the environment that differ.
        allow_different_machine: Whether portable metrics were compared although it is another machine.
        time_margin: Share by which a time may differ before it is called a change.
        interrupted: Names of the runs that lack a record of a cell that they planned.
    """

    base: str
    new: str
    cells: tuple[CellComparison, ...]
    same_machine: bool
    differences: tuple[Difference, ...]
    allow_different_machine: bool
    time_margin: float
    interrupted: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> number of cells, in the order of VERDICTS; verdicts that no cell has are left out."""
        verdicts = [cell.verdict for cell in self.cells]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}


def compare(
    base: Run, new: Run, *, time_margin: float = TIME_MARGIN, allow_different_machine: bool = False
) -> Comparison:
    """What changed from ``base`` to ``new``, cell by cell.

    A time is judged by the interval of its ratio against ``1 + time_margin`` and its inverse; a count
    exactly; memory and compile time by the metric's tolerance; accuracy by its margin, where each of
    several seeds must be beyond it. Records whose settings differ are not compared at all. On another
    machine nothing is compared; or, where that is allowed, counts and accuracy.

    Args:
        base: What to compare with.
        new: What is judged.
        time_margin: A share above zero.
        allow_different_machine: See above.
    """
    same_machine = base.environment.get("fingerprint") is not None and (
        base.environment.get("fingerprint") == new.environment.get("fingerprint")
    )
    before = {record.key: record for record in base.records}
    after = {record.key: record for record in new.records}
    conditions = _Conditions(same_machine, allow_different_machine, time_margin)
    cells = [_compare_cell(before.get(key), after.get(key), conditions) for key in before | after]
    return Comparison(
        base=base.name,
        new=new.name,
        cells=tuple(sorted(cells, key=lambda cell: (_severity(cell), -cell.size, cell.label))),
        same_machine=same_machine,
        differences=() if same_machine else _differences(base.environment, new.environment),
        allow_different_machine=allow_different_machine,
        time_margin=time_margin,
        interrupted=tuple(run.name for run in (base, new) if not run.facts.complete),
    )


@dataclass(frozen=True)
class _Conditions:
    same_machine: bool
    allow_different_machine: bool
    time_margin: float


def _severity(cell: CellComparison) -> int:
    return FAILING.index(cell.verdict) if cell.fails else len(FAILING)


def _differences(base: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = dict.fromkeys([*base, *new])
    return tuple(
        Difference(name, base.get(name), new.get(name))
        for name in names
        if name != "fingerprint" and base.get(name) != new.get(name)
    )


def _compare_cell(base: Record | None, new: Record | None, conditions: _Conditions) -> CellComparison:
    known = new or base
    assert known is not None, "a key comes from one of the two runs"
    decided = _judge_presence(base, new, conditions.same_machine)
    if decided is not None or base is None or new is None:
        verdict, reason = decided or ("incomparable", None)
        return CellComparison(known.key, known.label, verdict, reason)
    if not conditions.same_machine and not conditions.allow_different_machine:
        return CellComparison(known.key, known.label, "incomparable", "measured on another machine")
    settings = _differences(base.settings, new.settings)
    if settings:
        reason = "measured with other settings: " + ", ".join(map(str, settings))
        return CellComparison(known.key, known.label, "incomparable", reason)
    changes = tuple(
        _compare_metric(name, base, new, conditions)
        for name, metric in METRICS.items()
        if metric.compared != "no" and base.metrics.get(name) is not None
    )
    return _worst(known, changes)


def _judge_presence(base: Record | None, new: Record | None, same_machine: bool) -> tuple[str, str | None] | None:
    """Verdict and reason where a side was not measured; None where both were."""
    if base is None:
        assert new is not None, "a key comes from one of the two runs"
        return "new", None if new.status == "ok" else _told(new)
    if new is None:
        return ("incomparable", "skipped in the base") if base.status == "skipped" else ("missing", None)
    if new.status == "ok":
        if base.status == "ok":
            return None
        return ("improved" if base.failed else "new"), f"the base was {_told(base)}"
    if base.status == "ok":
        lost = "failed" if new.failed else "missing" if same_machine else "incomparable"
        return lost, _told(new)
    return "incomparable", f"measured in neither run: {_told(new)}"


def _told(record: Record) -> str:
    because = f" ({formatting.plain(record.reason)})" if record.reason else ""
    return f"{record.status}: {STATUSES[record.status]}{because}"


def _worst(record: Record, changes: Sequence[MetricChange]) -> CellComparison:
    """The cell's verdict: the worst of its metrics', with the reasons of those that have it."""
    if not changes:
        return CellComparison(record.key, record.label, "incomparable", "no metric was measured in the base")
    verdict = min((change.verdict for change in changes), key=_WORST_FIRST.index)
    reasons = [change.reason for change in changes if change.verdict == verdict and change.reason]
    return CellComparison(record.key, record.label, verdict, "; ".join(reasons) or None, tuple(changes))


def _compare_metric(name: str, base: Record, new: Record, conditions: _Conditions) -> MetricChange:
    metric, before, after = METRICS[name], base.metrics[name], new.metrics.get(name)
    assert before is not None, "only what the base measured is compared"
    shown = formatting.metric_name(name)
    if not conditions.same_machine and metric.compared not in _PORTABLE:
        return MetricChange(name, before, after, "incomparable", f"{shown} is of another machine")
    if after is None:
        return MetricChange(name, before, None, "inconclusive", f"{shown} is no longer measured")
    if metric.compared == "time":
        return _compare_time(name, base, new, conditions.time_margin)
    if metric.compared == "points":
        return _compare_accuracy(name, base, new)
    return _compare_number(name, before, after)


def _compare_time(name: str, base: Record, new: Record, margin: float) -> MetricChange:
    before, after = base.metrics[name], new.metrics[name]
    shown = formatting.metric_name(name)
    if not all(duration > 0 for duration in (*base.rounds, *new.rounds)) or not base.rounds or not new.rounds:
        return MetricChange(name, before, after, "inconclusive", f"{shown} has no rounds to be judged by")
    ratio = ratio_interval(base.rounds, new.rounds)
    if ratio.low is None or ratio.high is None:
        few = f"{shown} has too few rounds for an interval ({len(base.rounds)} and {len(new.rounds)})"
        return MetricChange(name, before, after, "inconclusive", few, ratio.middle)
    found = position(ratio.low, ratio.high, 1 / (1 + margin), 1 + margin)
    verdict = _verdict(found, METRICS[name])
    reason: str | None = f"{shown} {_told_ratio(ratio)}"
    if verdict == "unchanged":
        reason = None
    elif verdict == "inconclusive":
        reason = f"{reason} reaches across the margin of {formatting.percent(margin, 0)}"
    unreliable = [flag for flag in _UNRELIABLE if flag in base.flags + new.flags]
    if unreliable and found in ("above", "below"):
        verdict, reason = "inconclusive", f"{reason}, but measured {' and '.join(unreliable)}"
    return MetricChange(name, before, after, verdict, reason, ratio.middle, ratio.low, ratio.high)


def _told_ratio(ratio: Interval) -> str:
    return f"{formatting.times(ratio.middle)} {formatting.interval(ratio.low, ratio.high)}"


def _compare_accuracy(name: str, base: Record, new: Record) -> MetricChange:
    """By the range of the seeds' differences where both runs have the same several seeds, else by the plain one."""
    metric, before, after = METRICS[name], base.metrics[name], new.metrics[name]
    assert before is not None, "only what the base measured is compared"
    assert after is not None, "and what the new run measured"
    assert metric.tolerance is not None, "a difference of points has a margin"
    low = high = after - before
    old_seeds, new_seeds = _accuracy_by_seed(base), _accuracy_by_seed(new)
    if len(old_seeds) > 1 and old_seeds.keys() == new_seeds.keys():
        over_seeds = paired_difference(list(old_seeds.values()), [new_seeds[seed] for seed in old_seeds])
        assert over_seeds.low is not None, "a range always has ends"
        assert over_seeds.high is not None, "a range always has ends"
        low, high = over_seeds.low, over_seeds.high
    verdict = _verdict(position(low, high, -metric.tolerance, metric.tolerance), metric)
    shown = formatting.metric_name(name)
    reason = None if verdict == "unchanged" else f"{shown} {formatting.points(after - before)}"
    if verdict == "inconclusive":
        reason = f"{reason}, but its seeds differ from {formatting.points(low)} to {formatting.points(high)}"
    return MetricChange(name, before, after, verdict, reason, after / before if before else None, low, high)


def _accuracy_by_seed(record: Record) -> dict[Any, float]:
    """Seed -> held-out accuracy after the last epoch, of the seeds that have one."""
    curves = zip(record.series.get("seed", ()), record.series.get("held_out_accuracy", ()), strict=False)
    return {seed: curve[-1] for seed, curve in curves if curve and curve[-1] is not None}


def _compare_number(name: str, before: float, after: float) -> MetricChange:
    """An exact metric, or one with a tolerance; both without an interval."""
    metric = METRICS[name]
    margin = metric.tolerance or 0.0
    ratio = after / before if before else None
    change = 1.0 if before == after else math.inf if ratio is None else ratio
    verdict = _verdict(position(change, change, 1 / (1 + margin), 1 + margin), metric)
    reason = None
    if verdict != "unchanged":
        ends = f"{formatting.metric(name, before)} → {formatting.metric(name, after)}"
        reason = f"{formatting.metric_name(name)} changed {ends}"
    return MetricChange(name, before, after, verdict, reason, ratio)


def _verdict(found: Position, metric: Metric) -> str:
    if found == "inside":
        return "unchanged"
    if found == "astride":
        return "inconclusive"
    worse = metric.better == "neither" or (found == "above") == (metric.better == "lower")
    return "regressed" if worse else "improved"
