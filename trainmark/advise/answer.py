"""The answer: the setting that trains an equal model soonest, and how far the evidence goes.

A setting's time is that of a whole training: the epochs of the cell, which are fixed beforehand, at its seconds a
sample, with what compiling takes; evaluation is left out. Its seconds are those of the default times a ratio that
interleaved pairs measured. It is the answer where it is shown to be sooner than the default by more than GAIN, and its
model to be no worse: by the default's arithmetic, or by trainings of the same seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from trainmark.advise.recommend import BETWEEN_PROCESSES, GOALS
from trainmark.judge.non_inferiority import Judgement, judge_differences
from trainmark.judge.statistics import hodges_lehmann, signed_rank_p
from trainmark.store.documents import SchemaError
from trainmark.store.metrics import METRICS
from trainmark.store.record import Record
from trainmark.store.rounds import Interval
from trainmark.store.tried import SERIES, Tried, read_tried
from trainmark.workloads import of_role

GAIN = 0.05  # a setting that is sooner by less is not worth a change
ALPHA = 0.05
FIRST_LOOK = 3  # undisturbed pairs: a setting that is sooner in none of them is not tried any longer
PAIR_LOOKS = (6, 12, 24)  # of six that all agree the signed-rank test is sure enough
PAIR_OVERHEAD_SECONDS = 1.0
STEPS_OF_A_PAIR = 6  # of long steps: some to be steady, then blocks of one
COARSE_SAMPLES = 10_000  # of fewer held-out samples
COARSE_MARGIN = 0.01  # a share may be lower by as much: two seeds of one setting differ by half of it


@dataclass(frozen=True)
class Standing:
    """Where a setting stands against the default.

    Attributes:
        tried: The setting.
        ratio: Its seconds a training over the default's, compiling included; the interval holds at each look.
        pace: ``sooner``, ``no sooner`` or ``undecided``.
        judgement: Of its models.
        more_pairs: Until the next look at its pace; 0 where it is decided or will not be.
    """

    tried: Tried
    ratio: Interval
    pace: str
    judgement: Judgement
    more_pairs: int

    @property
    def is_better(self) -> bool:
        """Whether it is shown to train an equal model sooner."""
        return self.pace == "sooner" and self.judgement.word == "not inferior"

    @property
    def is_out(self) -> bool:
        """Whether it is shown not to."""
        return self.pace == "no sooner" or self.judgement.word == "inferior"


@dataclass(frozen=True)
class Answer:
    """What the evidence says for one model on one device.

    Attributes:
        model: Its name.
        device: Where.
        metric: What its models are judged by.
        margin: By how much that may be worse; None where its task does not say.
        default: What settings are held against.
        best: The setting that is shown to be better; None where none is.
        open: The setting that may still be, and sooner than that; None where the answer is decided.
        standings: Of all that were tried, the soonest first.
    """

    model: str
    device: str
    metric: str
    margin: float | None
    default: Tried
    best: Standing | None
    open: Standing | None
    standings: tuple[Standing, ...]

    @property
    def decided(self) -> bool:
        """Whether more evidence would change nothing."""
        return self.open is None

    @property
    def more_seconds(self) -> float:
        """Roughly how long it would take to decide about the setting that is open."""
        if self.open is None:
            return 0.0
        judgement, tried = self.open.judgement, self.open.tried
        seeds = 0 if judgement.decided else judgement.more_seeds
        wanted = judgement.seeds + seeds
        trainings = max(wanted - len(self.default.trained), 0) * self.default.seconds + seeds * tried.seconds
        return trainings + self.open.more_pairs * pair_seconds(tried, self.default)


@dataclass(frozen=True)
class Evidence:
    """All that is known of a model's settings on a device.

    Attributes:
        metric: What its models are judged by.
        held_out_samples: By how many; None where no training was judged yet.
        tried: The default first.
    """

    metric: str
    held_out_samples: int | None
    tried: tuple[Tried, ...]

    @property
    def margin(self) -> float | None:
        """By how much the metric may be worse; None where its task does not say."""
        known = METRICS[self.metric]
        few = self.held_out_samples is not None and self.held_out_samples < COARSE_SAMPLES
        if known.tolerance is not None and known.is_share and few:
            return max(known.tolerance, COARSE_MARGIN)
        return known.tolerance

    def with_trained(self, number: int, trained: Sequence[tuple[int, float]]) -> Evidence:
        """With more trainings of one setting; of a seed the first counts."""
        known = dict(self.tried[number].trained)
        merged = tuple(sorted({**dict(trained), **known}.items()))
        return self._with(number, replace(self.tried[number], trained=merged))

    def with_pairs(self, number: int, log_ratios: Sequence[float]) -> Evidence:
        """With more pairs of one setting."""
        return self._with(number, replace(self.tried[number], log_ratios=(*self.tried[number].log_ratios, *log_ratios)))

    def _with(self, number: int, tried: Tried) -> Evidence:
        return replace(self, tried=(*self.tried[:number], tried, *self.tried[number + 1 :]))

    def to_series(self) -> list[dict[str, Any]]:
        """As a record keeps it."""
        return [asdict(one) for one in self.tried]


@dataclass(frozen=True)
class _Judge:
    """Decides about settings by the evidence."""

    evidence: Evidence

    @cached_property
    def default(self) -> Tried:
        return self.evidence.tried[0]

    def standing(self, tried: Tried) -> Standing:
        ratios = [self._whole(value, tried) for value in tried.log_ratios]
        if not ratios:
            ratio = Interval((tried.seconds + tried.compile_seconds) / self.default.seconds, None, None)
            far = ratio.middle > (1 + BETWEEN_PROCESSES) / (1 + GAIN)
            pace, more = ("no sooner", 0) if far else ("undecided", PAIR_LOOKS[0])
        else:
            centre = hodges_lehmann(ratios, 1 - 2 * ALPHA / len(PAIR_LOOKS))  # each end is a test
            ends = (None if end is None else math.exp(end) for end in (centre.low, centre.high))
            ratio = Interval(math.exp(centre.middle), *ends)
            pace, more = _pace(ratios)
        return Standing(tried, ratio, pace, self.judgement(tried), more)

    def _whole(self, log_ratio: float, tried: Tried) -> float:
        """The logarithm of the ratio of whole trainings, compiling included."""
        return math.log(math.exp(log_ratio) + tried.compile_seconds / self.default.seconds)

    def judgement(self, tried: Tried) -> Judgement:
        if tried.arithmetic == self.default.arithmetic:
            return Judgement("not inferior", None, 0, 0)
        margin, samples = self.evidence.margin, self.evidence.held_out_samples
        if margin is None:
            return Judgement("undecided", None, 0, 0)
        ours, theirs = dict(tried.trained), dict(self.default.trained)
        sign = 1 if METRICS[self.evidence.metric].better == "higher" else -1
        differences = [sign * (ours[seed] - theirs[seed]) for seed in sorted(set(ours) & set(theirs))]
        resolution = 1 / samples if samples and METRICS[self.evidence.metric].is_share else 0.0
        return judge_differences(differences, margin, resolution)


def _pace(ratios: Sequence[float]) -> tuple[str, int]:
    """Whether trainings are sooner than the default's by more than GAIN, and the pairs until the next look.

    Nobody is promised anything by ``no sooner``: it ends the trying.
    """
    bound = -math.log1p(GAIN)
    if len(ratios) >= FIRST_LOOK and min(ratios[:FIRST_LOOK]) > bound:
        return "no sooner", 0
    looks = [look for look in PAIR_LOOKS if look <= len(ratios)]
    for look in looks:
        shifted = [value - bound for value in ratios[:look]]
        if len(PAIR_LOOKS) * signed_rank_p([-value for value in shifted]) <= ALPHA:
            return "sooner", 0
        if len(PAIR_LOOKS) * signed_rank_p(shifted) <= ALPHA:
            return "no sooner", 0
    later = [look for look in PAIR_LOOKS if look > len(ratios)]
    return ("undecided", later[0] - len(ratios)) if later else ("no sooner", 0)  # a gain so near to GAIN is none


def answer(model: str, device: str, evidence: Evidence) -> Answer:
    """What the evidence says; the same evidence says the same, however often one asks."""
    judge = _Judge(evidence)
    standings = sorted((judge.standing(one) for one in evidence.tried[1:]), key=lambda one: one.ratio.middle)
    best = next((one for one in standings if one.is_better), None)
    ahead = standings if best is None else standings[: standings.index(best)]
    undecided = (one for one in ahead if not one.is_out and _may_be_decided(one))
    return Answer(
        model,
        device,
        evidence.metric,
        evidence.margin,
        evidence.tried[0],
        best,
        next(undecided, None),
        tuple(standings),
    )


def _may_be_decided(standing: Standing) -> bool:
    """Whether more evidence helps: all looks may have been taken, or the task have no margin."""
    return standing.more_pairs > 0 if standing.judgement.decided else standing.judgement.more_seeds > 0


def answers(records: Iterable[Record]) -> list[Answer]:
    """The answers that a run found, in its order.

    Raises:
        SchemaError: The evidence of one is none.
    """
    of_answers = (record for record in of_role("answer", records) if record.status == "ok")
    return [found for record in of_answers if (found := read_answer(record)) is not None]


def goals_beside(found: Iterable[Answer], model: str, device: str) -> tuple[str, ...]:
    """The goals that advice for a model is worth telling: an answer says more of its speed than two records do."""
    answered = any((one.model, one.device) == (model, device) for one in found)
    return tuple(goal for goal in GOALS if not (answered and goal == "speed"))


def read_answer(record: Record) -> Answer | None:
    """The answer that a record's evidence gives; None where it has none.

    Raises:
        SchemaError: Its evidence is none.
    """
    evidence = read_evidence(record)
    if evidence is None:
        return None
    return answer(str(record.cell["model"]), str(record.cell["device"]), evidence)


def read_evidence(record: Record) -> Evidence | None:
    """The evidence in a record; None where it has none.

    Raises:
        SchemaError: It is none.
    """
    tried = read_tried(record.series.get(SERIES, ()))
    if not tried:
        return None
    samples = record.settings.get("held_out_samples")
    metric = str(record.settings.get("metric", "accuracy"))
    if metric not in METRICS:
        raise SchemaError(f"not an answer: its metric is {metric!r}, which it does not describe")
    return Evidence(metric, samples if isinstance(samples, int) else None, tried)


def pair_seconds(tried: Tried, default: Tried) -> float:
    """Roughly how long a pair takes: both processes made ready, and their blocks."""
    return PAIR_OVERHEAD_SECONDS + STEPS_OF_A_PAIR * sum(one.seconds / one.steps for one in (tried, default))
