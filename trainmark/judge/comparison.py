"""Two runs, cell by cell: what changed, by how much, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import Any

from trainmark import formatting
from trainmark.judge.margins import Margins
from trainmark.judge.presence import absence, interruption
from trainmark.judge.sameness import compare_computations
from trainmark.judge.sequential import Decision, Measured, decide, next_cells
from trainmark.judge.statistics import Position, between_runs_interval, hodges_lehmann, paired_difference, position
from trainmark.store.cell import WORKLOADS
from trainmark.store.metrics import METRICS, OVER_SEEDS, Metric
from trainmark.store.pairs import Pair, PairedRun
from trainmark.store.record import AGAIN, NOT_PAIRED, STATUSES, UNRELIABLE, Record, Run, held_out_series
from trainmark.store.rounds import Interval

HISTORY = 6  # stored runs of a cell that teach how two runs differ; fewer leave its time undecided
CONFIDENCE = 0.95
FAILED_ON_BOTH = "failed on both sides"
A_A = "self"  # the side of a run that measures the working tree against itself

VERDICTS = {
    "failed": "gave no result, where the base did",
    "missing": "has no record, where the base has one",
    "regressed": "is worse",
    "changed": "trains or evaluates something else",
    "inconclusive": "cannot be decided with what was measured",
    "improved": "is better",
    "unchanged": "is the same within the margin",
    "new": "has nothing in the base to be compared with",
    "incomparable": "was measured under other conditions, or in neither run",
    "unmeasured": "was not reached before its run ended",
    "excluded": "was left out of the new run on purpose",
}
FAILING = ("failed", "missing", "regressed")
_LAST = ("unmeasured", "excluded")  # what is not there is told after what is
_WORST_FIRST = ("regressed", "inconclusive", "improved", "unchanged", "noted", "incomparable")
_NOTED = "noted"  # of a metric alone: it tells why, and decides nothing
_PORTABLE = ("exact", "explains", *OVER_SEEDS)  # kinds of metric that another machine must give too
_SOFTWARE = ("python", "torch")  # facts of an environment; where they differ, so may the operators of a step
_OF_THE_MODEL = ("parameters", "flops_per_step", "parameter_bytes", "samples_per_step", "training_samples")


@dataclass(frozen=True)
class MetricChange:
    """One metric of one cell in both runs.

    Attributes:
        name: A key of METRICS.
        base: Its value in the base, in the metric's unit; None where it was not measured.
        new: Likewise.
        verdict: A key of VERDICTS; or ``noted``, of a count that explains a time and decides nothing.
        reason: What was seen, in words; None where nothing needs saying.
        ratio: new / base; None where there is none.
        low: Lower end of the interval of the ratio, or for accuracy of the difference over seeds.
        high: Upper end of the same.
        pairs: Undisturbed pairs of processes that it was judged by; None where it was not judged by pairs.
        dropped: Disturbed pairs beside them.
    """

    name: str
    base: float | int | None
    new: float | int | None
    verdict: str
    reason: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int | None = None
    dropped: int | None = None

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
        if METRICS[self.name].compared in OVER_SEEDS and self.base is not None and self.new is not None:
            return f"{name} {formatting.difference(self.name, self.new - self.base)}"
        ends = f"{formatting.metric(self.name, self.base)} → {formatting.metric(self.name, self.new)}"
        exact = METRICS[self.name].compared in ("exact", "explains")
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
        note: What else is known of it and changes no verdict; None where there is nothing.
        by: The change that is told beside its verdict, where that is not of one of its metrics; None where it is.
    """

    key: str
    label: str
    verdict: str
    reason: str | None = None
    changes: tuple[MetricChange, ...] = ()
    note: str | None = None
    by: MetricChange | None = None

    @property
    def fails(self) -> bool:
        """Whether it makes a check fail."""
        return self.verdict in FAILING

    @property
    def time(self) -> MetricChange | None:
        """The change of its duration, if it has one."""
        return next((change for change in self.changes if change.timed), None)

    @property
    def deciding(self) -> MetricChange | None:
        """The change that its verdict is of, its duration first; None where no metric decided it."""
        if self.by is not None:
            return self.by
        return next((change for change in _timed_first(self.changes) if change.verdict == self.verdict), None)

    @property
    def others(self) -> tuple[MetricChange, ...]:
        """The metrics beside its duration that are not the same in both runs."""
        return tuple(change for change in self.changes if not change.timed and change.base != change.new)

    @property
    def notes(self) -> str:
        """Why it has its verdict, and what else changed, in words."""
        said, time = self.reason or "", self.time
        aside = [time.reason or time.summary] if time and time.ratio and time is not self.deciding else []
        others = [one.summary for one in self.others if not one.reason or one.reason not in said]
        noted = [self.note] if self.note else []
        return "; ".join([*([said] if said else []), *(words for words in aside if words not in said), *others, *noted])

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
        name = formatting.plain(self.name).replace("_", " ")
        return f"{name} {formatting.fact(self.base)} → {formatting.fact(self.new)}"


@dataclass(frozen=True)
class Comparison:
    """A run held against a base.

    Attributes:
        base: Name of the base's file, or the side that was measured beside the working tree.
        new: Name of the new run's file.
        cells: Those that fail a check first, then the largest change first.
        same_machine: Whether both have the same fingerprint; unknown ones are not the same.
        differences: Facts of the environment that differ.
        allow_different_machine: Whether portable metrics were compared although it is another machine.
        margins: Shares by which times may differ before they are called a change.
        interrupted: Names of the runs that lack a record of a cell that they planned.
        paired: Whether both sides were measured together, pair by pair.
        swapped: Whether the base was measured after the new run.
        of_itself: Whether the working tree was measured against itself.
    """

    base: str
    new: str
    cells: tuple[CellComparison, ...]
    same_machine: bool
    differences: tuple[Difference, ...]
    allow_different_machine: bool = False
    margins: Margins = field(default_factory=Margins)
    interrupted: tuple[str, ...] = ()
    paired: bool = False
    swapped: bool = False
    of_itself: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> number of cells, in the order of VERDICTS; verdicts that no cell has are left out."""
        verdicts = [cell.verdict for cell in self.cells]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}


def compare(
    base: Run,
    new: Run,
    *,
    margins: Margins | None = None,
    allow_different_machine: bool = False,
    history: Sequence[Run] = (),
    counts_decide: bool = False,
) -> Comparison:
    """What changed from ``base`` to ``new``, two runs of different moments, cell by cell.

    A time is judged by how much earlier runs of this machine differ from each other: see
    :func:`trainmark.judge.statistics.between_runs_interval`; without enough of them it is not decided. A count is
    judged exactly; memory and compile time by the metric's tolerance; accuracy by non-inferiority over the
    seeds. Records whose settings differ are not compared at all. On another machine nothing is compared;
    or, where that is allowed, counts and accuracy.

    Args:
        base: What to compare with.
        new: What is judged.
        margins: Shares by which times may differ.
        allow_different_machine: See above.
        history: Earlier runs, in the order of their moments; those of another fingerprint are left out.
        counts_decide: Whether counts that explain a time are judged exactly too.
    """
    fingerprint = base.environment.get("fingerprint")
    same_machine = fingerprint is not None and fingerprint == new.environment.get("fingerprint")
    history = [run for run in history if run.environment.get("fingerprint") == fingerprint]
    conditions = _Conditions(
        same_machine=same_machine,
        allow_different_machine=allow_different_machine,
        margins=margins or Margins(),
        history=history,
        family=max(1, sum(record.status == "ok" for record in base.records)),
        counts_decide=counts_decide,
        same_software=all(base.environment.get(fact) == new.environment.get(fact) for fact in _SOFTWARE),
    )
    return Comparison(
        base=base.name,
        new=new.name,
        cells=_compare_cells(base, new, conditions),
        same_machine=same_machine,
        differences=() if same_machine else _differences(base.environment, new.environment),
        allow_different_machine=allow_different_machine,
        margins=conditions.margins,
        interrupted=tuple(run.name for run in (base, new) if not run.facts.complete),
        swapped=base.facts.started > new.facts.started,
    )


def compare_paired(run: PairedRun, margins: Margins | None = None, *, counts_decide: bool = False) -> Comparison:
    """What a side and the working tree, measured together, differ in, cell by cell.

    A time is judged by its pairs: see :mod:`trainmark.judge.sequential`. The rest is judged as between two stored
    runs. What the user has set apart, such as another torch or a variable, is told and no obstacle; with
    other software only what the model alone decides is compared exactly.
    """
    margins = margins or Margins.parse(run.margins)
    conditions = _Conditions(
        same_machine=True,
        margins=margins,
        pairs=run.pairs,
        decisions=decide_pairs(run.pairs, margins, {record.key: record.label for record in run.base.records}),
        steps=run.steps,
        same_software=all(run.base.environment.get(fact) == run.new.environment.get(fact) for fact in _SOFTWARE),
        counts_decide=counts_decide,
    )
    return Comparison(
        base=run.base.name,
        new=run.new.name,
        cells=_compare_cells(run.base, run.new, conditions),
        same_machine=True,
        differences=_differences(run.base.environment, run.new.environment),
        margins=margins,
        interrupted=() if run.new.facts.complete or run.new.facts.finished else (run.new.name,),
        paired=True,
        of_itself=run.side == A_A,
    )


def decide_pairs(
    pairs: Mapping[str, Sequence[Pair]], margins: Margins, labels: Mapping[str, str]
) -> dict[str, Decision]:
    """What the pairs of each cell say by now; disturbed pairs are left out."""
    return decide(_measured(pairs, margins, labels))


def open_cells(pairs: Mapping[str, Sequence[Pair]], margins: Margins, labels: Mapping[str, str]) -> dict[str, bool]:
    """The cells to measure more pairs of now, with whether these are to confirm an alarm."""
    measured = _measured(pairs, margins, labels)
    return next_cells(measured, decide(measured))


def _measured(pairs: Mapping[str, Sequence[Pair]], margins: Margins, labels: Mapping[str, str]) -> dict[str, Measured]:
    # A cell that has lost its record since has pairs and no label.
    kept = {key: [pair for pair in some if not pair.disturbed] for key, some in pairs.items() if key in labels}
    return {
        key: Measured(
            margins.of(labels[key]),
            exploring=[pair.log_ratio for pair in some if not pair.confirming],
            confirming=[pair.log_ratio for pair in some if pair.confirming],
        )
        for key, some in kept.items()
    }


def control_floor(runs: Sequence[PairedRun], fingerprint: str | None) -> float | None:
    """The least margin that A/A runs of this machine support: the largest difference they show of identical code.

    What they show is a ratio whose interval leaves out 1, at a confidence that is shared among all their cells.

    Args:
        runs: Paired runs; those of another fingerprint or against anything but the tree itself are left out.
        fingerprint: Of this machine and software.

    Returns:
        A share; 0 where they show no difference, None where there are none.
    """
    controls = [
        [pair.log_ratio for pair in pairs if not pair.disturbed]
        for run in runs
        if run.side == A_A and run.new.environment.get("fingerprint") == fingerprint
        for pairs in run.pairs.values()
    ]
    if not controls:
        return None
    centres = [hodges_lehmann(logs, 1 - (1 - CONFIDENCE) / len(controls)) for logs in controls if logs]
    shown = [
        abs(centre.middle)
        for centre in centres
        if centre.low is not None and centre.high is not None and not centre.low <= 0 <= centre.high
    ]
    return math.expm1(max(shown, default=0.0))


@dataclass(frozen=True)
class _Conditions:
    """Under which two runs are compared; ``decisions`` are there where they were measured in pairs."""

    same_machine: bool
    margins: Margins
    allow_different_machine: bool = False
    history: Sequence[Run] = ()
    family: int = 1
    pairs: Mapping[str, Sequence[Pair]] | None = None
    decisions: Mapping[str, Decision] | None = None
    steps: Mapping[str, int] | None = None
    same_software: bool = True
    counts_decide: bool = False

    @cached_property
    def past(self) -> Mapping[str, Sequence[Record]]:
        """Records of the history by their join key: to look for each again takes longer than all else of a page."""
        found: dict[str, list[Record]] = {}
        for record in (record for run in self.history for record in run.records):
            found.setdefault(record.key, []).append(record)
        return found


def _compare_cells(base: Run, new: Run, conditions: _Conditions) -> tuple[CellComparison, ...]:
    before = {record.key: record for record in base.records}
    after = {record.key: record for record in new.records}
    cells = [
        _compare_cell(before[key], after[key], conditions)
        if key in before and key in after
        else _compare_lone(before[key], new, base)
        if key in before
        else _compare_new(after[key], base, new)
        for key in before | after
    ]
    cells = [*_without_bought_speed(cells, before), *_never_reached(new, before | after)]
    return tuple(sorted(cells, key=lambda cell: (_severity(cell), -cell.size, cell.label)))


def _never_reached(new: Run, known: Mapping[str, Record]) -> list[CellComparison]:
    """Cells that the new run planned and neither side has reached: nothing but their keys is known."""
    if new.facts.complete:
        return []
    reason = f"not measured ({interruption(new)})"
    return [CellComparison(key, key, "unmeasured", reason) for key in new.facts.planned if key not in known]


def _compare_lone(record: Record, new: Run, base: Run) -> CellComparison:
    """A cell that the base alone has."""
    verdict = "incomparable" if record.status == "skipped" else absence(record, new, base)
    reasons = {"incomparable": "skipped in the base", "unmeasured": f"not measured ({interruption(new)})"}
    return CellComparison(record.key, record.label, verdict, reasons.get(verdict))


def _compare_new(record: Record, base: Run, new: Run) -> CellComparison:
    """A cell that the new run alone has."""
    if record.failed:
        return CellComparison(record.key, record.label, "failed", _told(record))
    if record.status == "ok" and absence(record, base, new) == "unmeasured":
        reason = f"not measured in the base ({interruption(base)})"
        return CellComparison(record.key, record.label, "unmeasured", reason)
    return CellComparison(record.key, record.label, "new", None if record.status == "ok" else _told(record))


def _without_bought_speed(cells: Sequence[CellComparison], records: Mapping[str, Record]) -> list[CellComparison]:
    """Cells that became faster while what the same model has learnt became worse have not improved."""
    worse = {
        str(records[cell.key].cell.settings.get("model")): change
        for cell in cells
        for change in cell.changes
        if METRICS[change.name].compared in OVER_SEEDS and change.verdict == "regressed"
    }
    return [
        replace(
            cell,
            verdict="regressed",
            reason=f"{worse[model].summary}: faster and worse is no gain; {cell.reason}",
            by=worse[model],
        )
        if cell.verdict == "improved"
        and cell.key in records
        and (model := str(records[cell.key].cell.settings.get("model"))) in worse
        else cell
        for cell in cells
    ]


def _severity(cell: CellComparison) -> int:
    if cell.fails:
        return FAILING.index(cell.verdict)
    if cell.verdict == "changed":
        return len(FAILING)
    return len(FAILING) + 1 + (_LAST.index(cell.verdict) + 1 if cell.verdict in _LAST else 0)


def _differences(base: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = dict.fromkeys([*base, *new])
    return tuple(
        Difference(name, base.get(name), new.get(name))
        for name in names
        if name != "fingerprint" and base.get(name) != new.get(name)
    )


def _compare_cell(base: Record, new: Record, conditions: _Conditions) -> CellComparison:
    known = new
    decided = _judge_presence(base, new, conditions.same_machine)
    if decided is not None:
        return CellComparison(known.key, known.label, *decided)
    if not conditions.same_machine and not conditions.allow_different_machine:
        return CellComparison(known.key, known.label, "incomparable", "measured on another machine")
    if known.cell.workload not in WORKLOADS:  # of a run that brings no words of its own: its metrics were left out
        unknown = f"what {formatting.plain(known.cell.workload)} measures is not known here: call from its suite"
        return CellComparison(known.key, known.label, "incomparable", unknown)
    settings = _differences(base.settings, new.settings)
    if conditions.decisions is not None:
        settings = tuple(one for one in settings if one.name != "threads")  # set apart by the user
    if settings:
        reason = "measured with other settings: " + ", ".join(map(str, settings))
        return CellComparison(known.key, known.label, "incomparable", reason)
    changes = tuple(
        _compare_metric(name, base, new, conditions)
        for name, metric in METRICS.items()
        if metric.compared != "no" and base.metrics.get(name) is not None
        if metric.compared != "time" or conditions.decisions is None or base.key in conditions.decisions
    )
    return _with_computation(_worst(known, changes), base, new, conditions)


def _with_computation(cell: CellComparison, base: Record, new: Record, conditions: _Conditions) -> CellComparison:
    """The cell; ``changed`` where the two sides do not compute the same, unless it is worse than that."""
    found = compare_computations(base.computation, new.computation)
    other_ends = _told_of_other_epochs(base, new)
    if other_ends:
        words = [found.told, f"another evaluation: {other_ends} is the mean of the last epochs on one side alone"]
        found = replace(found, told="; ".join(filter(None, words)))
    if found.told is None:
        rounding = f"computes the same up to rounding ({found.rounding:.0e})" if found.rounding else None
        return replace(cell, note=rounding)
    if not conditions.same_software or not conditions.same_machine:
        return replace(cell, note=f"{found.told}, with other software or on another machine")
    verdict = "regressed" if cell.verdict == "regressed" else "changed"
    reasons = [cell.reason, found.told] if verdict == "regressed" else [found.told, cell.reason]
    by = cell.by or (cell.deciding if verdict == "regressed" else cell.time)
    return replace(cell, verdict=verdict, reason="; ".join(filter(None, reasons)), by=by)


def _told_of_other_epochs(base: Record, new: Record) -> str:
    """The metric that is of the last epochs on one side alone; a side without curves says nothing."""
    for name, metric in METRICS.items():
        if metric.compared in OVER_SEEDS and {_is_of_last_epochs(name, side) for side in (base, new)} == {True, False}:
            return formatting.metric_name(name)
    return ""


def _is_of_last_epochs(name: str, record: Record) -> bool | None:
    """Whether what is told is the mean of what the seeds have ended at; None where there is none."""
    told, curves = record.metrics.get(name), record.series.get(held_out_series(name)) or ()
    ends = [curve[-1] for curve in curves if curve]
    if told is None or not ends or None in ends:
        return None
    return math.isclose(told, sum(ends) / len(ends), abs_tol=1e-9)


def _judge_presence(base: Record, new: Record, same_machine: bool) -> tuple[str, str | None] | None:
    """Verdict and reason where a side was not measured well; None where both were."""
    if new.status == "ok":
        if base.status == "ok":
            return None
        return ("improved" if base.failed else "new"), f"the base was {_told(base)}"
    if base.status == "ok":
        lost = "failed" if new.failed else "missing" if same_machine else "incomparable"
        return lost, _told(new)
    if base.status == "skipped" and new.failed:
        return "failed", _told(new)
    return (
        "incomparable",
        f"{FAILED_ON_BOTH if base.failed and new.failed else 'measured in neither run'}: {_told(new)}",
    )


def _told(record: Record) -> str:
    because = f" ({formatting.plain(record.reason)})" if record.reason else ""
    return f"{record.status}: {STATUSES[record.status]}{because}"


def _worst(record: Record, changes: Sequence[MetricChange]) -> CellComparison:
    """The cell's verdict: the worst of its metrics', with the reasons of those that have it, its duration's first.

    A duration that may have changed is told behind them, where the verdict is another metric's.
    """
    if not changes:
        return CellComparison(record.key, record.label, "incomparable", "no metric was measured in the base")
    worst = min((change.verdict for change in changes), key=_WORST_FIRST.index)
    ordered = _timed_first(changes)
    moved = [one for one in ordered if one.timed and one.verdict not in (worst, "unchanged", "incomparable")]
    having = [change for change in ordered if change.verdict == worst]
    reasons = [change.reason for change in (*having, *moved) if change.reason]
    verdict = "unchanged" if worst == _NOTED else worst
    return CellComparison(record.key, record.label, verdict, "; ".join(reasons) or None, tuple(changes))


def _timed_first(changes: Sequence[MetricChange]) -> list[MetricChange]:
    return sorted(changes, key=lambda change: not change.timed)


def _compare_metric(name: str, base: Record, new: Record, conditions: _Conditions) -> MetricChange:
    metric, before, after = METRICS[name], base.metrics[name], new.metrics.get(name)
    assert before is not None, "only what the base measured is compared"
    shown = formatting.metric_name(name)
    if not conditions.same_machine and metric.compared not in _PORTABLE:
        return MetricChange(name, before, after, "incomparable", f"{shown} is of another machine")
    if after is None:
        return MetricChange(name, before, None, "inconclusive", f"{shown} is no longer measured")
    if metric.compared == "time":
        judge = _compare_time if conditions.decisions is None else _judge_pairs
        return judge(name, base, new, conditions)
    if metric.compared in OVER_SEEDS:
        return _compare_over_seeds(name, base, new)
    return _judge_number(name, base, new, conditions)


def _judge_number(name: str, base: Record, new: Record, conditions: _Conditions) -> MetricChange:
    """A count, or a number with a tolerance."""
    metric, before, after = METRICS[name], base.metrics[name], new.metrics[name]
    assert before is not None, "only what the base measured is compared"
    assert after is not None, "and what the new run measured"
    counted = metric.compared in ("exact", "explains")
    if counted and not conditions.same_software and name not in _OF_THE_MODEL and before != after:
        reason = f"{formatting.metric_name(name)} was counted by other software"
        return MetricChange(name, before, after, "incomparable", reason)
    change = _compare_number(name, before, after)
    if change.verdict == "unchanged":
        return change
    if metric.compared == "explains" and not conditions.counts_decide:
        return replace(change, verdict=_NOTED, reason=None)
    if conditions.decisions is not None and metric.compared == "tolerance" and not (_again(base) or _again(new)):
        return replace(change, verdict="inconclusive", reason=f"{change.reason}, but once: nothing has confirmed it")
    return _of_reliable(change, base, new, conditions) if metric.timed else change


def _again(record: Record) -> int:
    """How often it was measured anew, for what differed by more than its tolerance."""
    return int(record.disturbance.get(AGAIN) or 0)


def _of_reliable(change: MetricChange, base: Record, new: Record, conditions: _Conditions) -> MetricChange:
    """A duration that is beyond its tolerance: of undisturbed cells alone, and by how runs of this machine differ."""
    unreliable = _unreliable(base, new)
    if unreliable:
        return replace(change, verdict="inconclusive", reason=f"{change.reason}, but measured {unreliable}")
    past = _past(change.name, base, conditions)
    if len(past) < HISTORY:
        guess = f"beyond a fixed tolerance of {formatting.percent(METRICS[change.name].tolerance, 0)}, which is a guess"
        return replace(change, reason=f"{change.reason} ({guess}: {len(past)} of {HISTORY} earlier runs here)")
    if not change.base or not change.new:
        return change
    ratio = between_runs_interval(past, change.base, change.new, 1 - (1 - CONFIDENCE) / conditions.family)
    margin = METRICS[change.name].tolerance or 0.0
    assert ratio is not None, "enough runs have an interval"
    assert ratio.low is not None and ratio.high is not None, "of which both ends are known"
    verdict = _verdict(position(ratio.low, ratio.high, 1 / (1 + margin), 1 + margin), METRICS[change.name])
    told = f"{formatting.metric_name(change.name)} {_told_ratio(ratio)}"
    return replace(change, verdict=verdict, reason=told, low=ratio.low, high=ratio.high)


def _unreliable(base: Record, new: Record) -> str:
    """Which flags make what was timed no evidence; empty where there is none."""
    return " and ".join(flag for flag in UNRELIABLE if flag in base.flags + new.flags)


def _past(name: str, base: Record, conditions: _Conditions) -> list[float]:
    """What earlier runs of this machine measured of the same cell."""
    return [
        value
        for record in conditions.past.get(base.key, ())
        if record.settings == base.settings and (value := record.metrics.get(name) or 0) > 0
    ]


def _judge_pairs(name: str, base: Record, new: Record, conditions: _Conditions) -> MetricChange:
    """A time by the pairs of its cell: the new side's is what their ratio makes of the base's median.

    The median of the new side's own blocks could contradict the ratio, which is taken within each pair.
    """
    assert conditions.decisions is not None and conditions.pairs is not None and conditions.steps is not None
    decision, pairs = conditions.decisions[base.key], conditions.pairs[base.key]
    kept = [pair for pair in pairs if not pair.disturbed]
    counts = {"pairs": len(kept), "dropped": len(pairs) - len(kept)}
    told = formatting.pairs(**counts)
    if decision.ratio is None:
        apart = next((record.reason for record in (base, new) if NOT_PAIRED in record.flags), None)
        why = formatting.plain(apart or f"no undisturbed pair was measured ({told})")
        return MetricChange(name, None, None, "inconclusive", why, **counts)
    steps = conditions.steps[base.key]
    ratio = decision.ratio
    before = median(pair.base.seconds for pair in kept) / steps
    after = before * ratio.middle
    ends = [formatting.relative(end) for end in (ratio.low, ratio.high)]
    change = (
        f"{formatting.relative(ratio.middle)} [{', '.join(ends)}]" if ratio.low else formatting.relative(ratio.middle)
    )
    reason: str | None = f"{formatting.metric_name(name)} {change} over {told}"
    if decision.word == "inconclusive":
        margin = formatting.percent(conditions.margins.of(base.label), 1)
        reason = f"{reason}, against a margin of {margin}: {_told_open(decision)}"
    return MetricChange(name, before, after, decision.word, reason, ratio.middle, ratio.low, ratio.high, **counts)


def _told_open(decision: Decision) -> str:
    """Why pairs do not decide, and how many more would."""
    alarm = f"{decision.alarm} at first, and not confirmed; " if decision.alarm else ""
    if decision.more_pairs is None:
        return f"{alarm}it lies at the margin itself, where no number of pairs decides"
    return f"{alarm}about {decision.more_pairs} more pairs would decide"


def _compare_time(name: str, base: Record, new: Record, conditions: _Conditions) -> MetricChange:
    """A time of two moments, by how much earlier runs of the cell differ."""
    before, after = base.metrics[name], new.metrics[name]
    shown, margin = formatting.metric_name(name), conditions.margins.of(base.label)
    if not before or not after or before < 0 or after < 0:
        return MetricChange(name, before, after, "inconclusive", f"{shown} is not above zero")
    past = _past(name, base, conditions)
    ratio = None
    if len(past) >= HISTORY:
        ratio = between_runs_interval(past, before, after, 1 - (1 - CONFIDENCE) / conditions.family)
    if ratio is None or ratio.low is None or ratio.high is None:
        reason = (
            f"{shown} {formatting.times(after / before)}: with {len(past)} stored runs of this cell here, of {HISTORY} "
            "that it takes to know how two runs differ, time cannot be decided"
        )
        return MetricChange(name, before, after, "inconclusive", reason, after / before)
    found = position(ratio.low, ratio.high, 1 / (1 + margin), 1 + margin)
    verdict = _verdict(found, METRICS[name])
    reason = f"{shown} {_told_ratio(ratio)}"
    if verdict == "inconclusive":
        reason = f"{reason} reaches across the margin of {formatting.percent(margin, 1)}"
    unreliable = _unreliable(base, new)
    if unreliable and found in ("above", "below"):
        verdict, reason = "inconclusive", f"{reason}, but measured {unreliable}"
    return MetricChange(
        name, before, after, verdict, None if verdict == "unchanged" else reason, ratio.middle, ratio.low, ratio.high
    )


def _told_ratio(ratio: Interval) -> str:
    return f"{formatting.times(ratio.middle)} {formatting.interval(ratio.low, ratio.high)}"


def _compare_over_seeds(name: str, base: Record, new: Record) -> MetricChange:
    """By the interval of the mean difference over the seeds that both runs have.

    Worse is what lies beyond the margin with its whole interval, each end at 95%; not worse what lies
    within it. The same number in every seed has no spread and is unchanged; one seed that differs says nothing.
    """
    metric, before, after = METRICS[name], base.metrics[name], new.metrics[name]
    assert before is not None, "only what the base measured is compared"
    assert after is not None, "and what the new run measured"
    assert metric.tolerance is not None, "a difference has a margin"
    shown, ratio = formatting.metric_name(name), after / before if before else None
    old_seeds, new_seeds = _by_seed(name, base), _by_seed(name, new)
    common = [seed for seed in old_seeds if seed in new_seeds]
    if [old_seeds[seed] for seed in common] == [new_seeds[seed] for seed in common] and before == after:
        return MetricChange(name, before, after, "unchanged", None, ratio, 0.0, 0.0)
    told = f"{shown} {formatting.difference(name, after - before)}"
    if len(common) < 2:
        alone = f"{told}, of {len(common)} common seed: --seeds 3 tells a change from luck"
        return MetricChange(name, before, after, "inconclusive", alone, ratio)
    over_seeds = paired_difference([old_seeds[seed] for seed in common], [new_seeds[seed] for seed in common])
    assert over_seeds.low is not None and over_seeds.high is not None, "two seeds and more have an interval"
    low, high = over_seeds.low, over_seeds.high
    verdict = _verdict(position(low, high, -metric.tolerance, metric.tolerance), metric)
    reason: str | None = None if verdict == "unchanged" else told
    if verdict == "inconclusive":
        ends = f"{formatting.difference(name, low)} to {formatting.difference(name, high)}"
        reason = f"{told}, which over {len(common)} seeds may be {ends}"
    return MetricChange(name, before, after, verdict, reason, ratio, low, high)


def _by_seed(name: str, record: Record) -> dict[Any, float]:
    """Seed -> a metric after the last epoch; seeds whose curves are those of another one count once."""
    curves = record.series.get(held_out_series(name), ())
    losses = record.series.get("train_loss", ())
    known: list[Any] = []
    found: dict[Any, float] = {}
    for place, (seed, curve) in enumerate(zip(record.series.get("seed", ()), curves, strict=False)):
        whole = (curve, losses[place]) if place < len(losses) else None
        if curve and curve[-1] is not None and (whole is None or whole not in known):
            found[seed] = curve[-1]
        known.append(whole)
    return found


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
