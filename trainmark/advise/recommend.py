"""Which setting to train a model with on this machine, by speed, energy or memory, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.special import stdtrit  # of Student's t: scipy.stats takes a second to import

from trainmark.advise.break_even import Payback, paybacks
from trainmark.judge.statistics import ratio_interval
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import LEARNING_PARAMETERS, PARAMETERS, TRAINING_PARAMETERS, Value
from trainmark.store.record import UNRELIABLE, Record, held_out_series
from trainmark.store.rounds import Interval
from trainmark.workloads import of_role

Arithmetic = tuple[tuple[str, Value], ...]
SUBJECT = ("model", "dataset", "device", "batch_size")  # what is trained; all else is how
PLAIN = tuple(name for name in TRAINING_PARAMETERS if name not in SUBJECT)  # at their defaults in the default setting
GOALS = {"speed": "fastest", "energy": "least energy", "memory": "least memory"}
BETWEEN_PROCESSES = 0.13  # one process of a code is faster than another by less, 19 times in 20: docs/measuring.md
CONFIDENCE = 0.95
Evidence = tuple[str, Mapping[object, float]]  # a metric, and seed and epochs -> what it was after the last of them


@dataclass(frozen=True)
class Accuracy:
    """What is known of a setting's accuracy against that of the default.

    Attributes:
        verdict: ``same arithmetic``, ``not inferior``, ``inferior``, ``undecided``, ``not measured``, or ``without a
            margin`` where its task does not say how much worse is worse.
        difference: Of the mean over seeds, with the lower end of a one-sided 95% interval and the upper
            end of its mirror image; None where nothing was compared.
        seeds: Pairs that it rests on.
        metric: What the trained models were judged by: the accuracy, or what their task says first.
    """

    verdict: str
    difference: Interval | None = None
    seeds: int = 0
    metric: str = "accuracy"

    @property
    def margin(self) -> float:
        """By how much the metric may be worse; 0 where it has none."""
        return METRICS[self.metric].tolerance or 0.0

    @property
    def holds(self) -> bool:
        """Whether the setting may be recommended."""
        return self.verdict in ("same arithmetic", "not inferior")


@dataclass(frozen=True)
class Choice:
    """The setting that is best for a goal.

    Attributes:
        goal: A key of GOALS.
        record: Of the setting; the default's own where none beats it.
        value: What the goal looks at: samples a second, joules a sample, or bytes.
        gain: How many times better than the default; the interval is known for speed alone.
        better: Whether it beats the default by more than two processes of the same code differ.
        doubts: Flags of either record that make the gain unsure.
        accuracy: Against the default's.
        payback: Of compiling, where the setting compiles.
    """

    goal: str
    record: Record
    value: float
    gain: Interval
    better: bool
    doubts: tuple[str, ...]
    accuracy: Accuracy
    payback: Payback | None


@dataclass(frozen=True)
class Advice:
    """What to train one model with on one device.

    Attributes:
        model: Its name.
        device: Where.
        dataset: What it was fed.
        default: What settings are held against: fp32, eager, contiguous.
        candidates: How many settings were considered.
        choices: One a goal that was measured.
        untested: The fastest setting whose accuracy is open, where it would beat the choice for speed.
        alone: Parameter -> the speed of its best value, all else as in the default setting.
    """

    model: str
    device: str
    dataset: str
    default: Record
    candidates: int
    choices: tuple[Choice, ...]
    untested: Choice | None
    alone: Mapping[str, Choice]

    def choice(self, goal: str) -> Choice | None:
        """The choice for a goal; None where what it looks at was not measured."""
        return next((choice for choice in self.choices if choice.goal == goal), None)


def advise(records: Sequence[Record], max_memory_bytes: float | None = None) -> list[Advice]:
    """Advice for each model, device and data set that was trained in its default setting too, in the run's order.

    Args:
        records: Of one run.
        max_memory_bytes: Settings whose peak memory is larger, or not known, are not considered.
    """
    trained = [record for record in of_role("training", records) if _speed(record) is not None]
    groups: dict[tuple[Value, ...], list[Record]] = {}
    for record in trained:
        groups.setdefault(tuple(axis(record, name) for name in ("model", "device", "dataset")), []).append(record)
    evidence = _accuracies(records)
    compiled = {payback.compiled.key: payback for payback in paybacks(records)}
    found = []
    for (model, device, dataset), group in groups.items():
        default = default_setting(group)
        if default is None:
            continue
        fitting = [one for one in group if _fits(one, max_memory_bytes)]
        judged = [(record, judge_accuracy(record, default, evidence)) for record in fitting]
        choices = tuple(
            choice for goal in GOALS if (choice := _choose(goal, judged, default, compiled, must_hold=True)) is not None
        )
        fastest = _choose("speed", judged, default, compiled, must_hold=False)
        secured = next((choice for choice in choices if choice.goal == "speed"), None)
        is_open = fastest is not None and fastest.better and not fastest.accuracy.holds
        untested = fastest if is_open and (secured is None or fastest.value > secured.value) else None  # type: ignore[union-attr]  # is_open
        alone = _alone(judged, default, compiled)
        found.append(Advice(str(model), str(device), str(dataset), default, len(fitting), choices, untested, alone))
    return found


def default_setting(records: Iterable[Record]) -> Record | None:
    """Of a model's trainings the one in fp32, eager and contiguous, at the default batch size or else the smallest."""
    plain = [
        record for record in records if all(axis(record, name) == PARAMETERS[name].default for name in _how(record))
    ]
    usual = PARAMETERS["batch_size"].default
    return min(plain, key=lambda one: (axis(one, "batch_size") != usual, axis(one, "batch_size")), default=None)


def value_of(record: Record, goal: str) -> float | None:
    """What a goal looks at, in its own unit; None where it was not measured."""
    if goal == "speed":
        return _speed(record)
    if goal == "energy":
        return record.metrics.get("energy_joules_per_sample")
    device = record.metrics.get("device_allocated_bytes")
    return device if device is not None else record.metrics.get("peak_memory_bytes")


def judge_accuracy(record: Record, default: Record, evidence: Mapping[Arithmetic, Evidence]) -> Accuracy:
    """Whether a setting's accuracy is not inferior to the default's, by a one-sided paired t-test over seeds.

    Of a task that is judged otherwise it is its first metric, and all of this holds of that.

    A setting that only compiles, lays out or loads otherwise does the default's arithmetic. Any other needs
    trainings of its own with the same seeds; it is not inferior where the 95% lower bound of the mean
    difference is above the margin, and inferior where the upper bound is below it; mirrored where lower is better.

    Source: the non-inferiority test of Wellek, Testing Statistical Hypotheses of Equivalence, chapter 5.
    """
    if _arithmetic(record) == _arithmetic(default):
        return Accuracy("same arithmetic")
    (metric, ours), (_, theirs) = (evidence.get(_arithmetic(one), ("accuracy", {})) for one in (record, default))
    seeds = sorted(set(ours) & set(theirs), key=str)
    if not seeds:
        return Accuracy("not measured", metric=metric)
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    middle = mean(differences)
    margin = METRICS[metric].tolerance
    if margin is None or len(seeds) < 2:
        verdict = "without a margin" if margin is None else "undecided"
        return Accuracy(verdict, Interval(middle, None, None), len(seeds), metric)
    reach = float(stdtrit(len(seeds) - 1, CONFIDENCE)) * stdev(differences) / math.sqrt(len(seeds))
    low, high = middle - reach, middle + reach
    worst, best = (low, high) if METRICS[metric].better == "higher" else (-high, -low)
    verdict = "not inferior" if worst > -margin else "inferior" if best < -margin else "undecided"
    return Accuracy(verdict, Interval(middle, low, high), len(seeds), metric)


def _choose(
    goal: str,
    judged: Sequence[tuple[Record, Accuracy]],
    default: Record,
    compiled: Mapping[str, Payback],
    *,
    must_hold: bool,
) -> Choice | None:
    """The best setting for a goal, or the default where that is not clearly better; None where not measured."""
    sign = -1 if goal == "speed" else 1
    known = [
        (sign * value, record.key, record, accuracy)
        for record, accuracy in judged
        if (value := value_of(record, goal)) is not None and (accuracy.holds or not must_hold)
    ]
    if not known or value_of(default, goal) is None:
        return None
    _, _, record, accuracy = min(known, key=lambda one: one[:2])
    best = _choice(goal, record, default, accuracy, compiled)
    same = next((one for one in known if one[2].key == default.key), None)
    if best.better or same is None:
        return best
    return _choice(goal, default, default, same[3], compiled)


def _alone(
    judged: Sequence[tuple[Record, Accuracy]], default: Record, compiled: Mapping[str, Payback]
) -> dict[str, Choice]:
    """What each parameter gives by itself: of the settings that differ from the default in it alone, the fastest."""
    found: dict[str, Choice] = {}
    for record, accuracy in judged:
        changed = [name for name in ("batch_size", *_how(record)) if axis(record, name) != axis(default, name)]
        if len(changed) == 1:
            choice = _choice("speed", record, default, accuracy, compiled)
            best = found.get(changed[0])
            found[changed[0]] = choice if best is None or choice.value > best.value else best
    return found


def _choice(goal: str, record: Record, default: Record, accuracy: Accuracy, compiled: Mapping[str, Payback]) -> Choice:
    value, usual = value_of(record, goal), value_of(default, goal)
    assert value is not None and usual is not None, "only what was measured is chosen"
    gain = _gain(goal, record, default, value, usual)
    doubts = tuple(flag for flag in UNRELIABLE if goal != "memory" and flag in record.flags + default.flags)
    least = gain.low or 0.0 if goal == "speed" else gain.middle  # without an interval nothing is shown
    margin = BETWEEN_PROCESSES if goal == "speed" else tolerance(goal)
    better = record.key != default.key and least > 1 + margin
    return Choice(goal, record, value, gain, better, doubts, accuracy, compiled.get(record.key))


def _gain(goal: str, record: Record, default: Record, value: float, usual: float) -> Interval:
    """How many times better than the default; for speed with the interval of the ratio of the times a sample."""
    if goal != "speed":
        return Interval(usual / value if value else math.inf, None, None)
    if record.key == default.key:
        return Interval(1.0, None, None)
    if not record.rounds or not default.rounds:
        return Interval(value / usual, None, None)
    mine, theirs = ([seconds / _samples(one) for seconds in one.rounds] for one in (record, default))
    return ratio_interval(mine, theirs)


def tolerance(goal: str) -> float:
    """The share by which energy or memory must be better to count: what its metric may differ by."""
    name = {"energy": "energy_joules_per_step", "memory": "peak_memory_bytes"}[goal]
    return METRICS[name].tolerance or 0.0


def _speed(record: Record) -> float | None:
    return record.metrics.get("samples_per_second") if record.status == "ok" else None


def _fits(record: Record, max_memory_bytes: float | None) -> bool:
    if max_memory_bytes is None:
        return True
    memory = value_of(record, "memory")
    return memory is not None and memory <= max_memory_bytes


def axis(record: Record, name: str) -> Value:
    """An axis of a record, its default where an older record does not name it."""
    settings = record.cell.settings
    return settings[name] if name in settings else PARAMETERS[name].default  # nobody here may know the name


def _how(record: Record) -> tuple[str, ...]:
    """Parameters that say how a record was trained: PLAIN, and those that a suite or a newer version has beside."""
    return (*PLAIN, *(name for name in record.cell.settings if name in PARAMETERS and name not in (*PLAIN, *SUBJECT)))


def _samples(record: Record) -> int:
    """Of a step."""
    return int(axis(record, "batch_size")) * int(axis(record, "accumulate"))


def _arithmetic(record: Record) -> Arithmetic:
    """What decides a training's accuracy, beside its seed and its epochs: every parameter that may change a result."""
    names = set(LEARNING_PARAMETERS) | set(record.cell.settings) - {"epochs"}
    return tuple(
        (name, axis(record, name))
        for name in sorted(names)
        if name not in PARAMETERS or not PARAMETERS[name].same_arithmetic
    )


def _accuracies(records: Iterable[Record]) -> dict[Arithmetic, Evidence]:
    """What decides the accuracy -> what it, or what its task is judged by first, was with each seed."""
    found: dict[Arithmetic, tuple[str, dict[object, float]]] = {}
    for record in of_role("accuracy", records):
        if record.status != "ok":
            continue
        metric = next(iter(record.held_out_metrics), "accuracy")
        curves = record.series.get(held_out_series(metric), ())
        for seed, curve in zip(record.series.get("seed", ()), curves, strict=False):
            if curve and curve[-1] is not None:
                _, seeds = found.setdefault(_arithmetic(record), (metric, {}))
                seeds.setdefault((seed, len(curve)), float(curve[-1]))
    return dict(found)
