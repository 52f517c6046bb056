"""The experiment behind an answer: evidence on a model's settings, gathered piece by piece where it is thin."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from trainmark.advise.answer import FIRST_LOOK, Answer, Evidence, answer, pair_seconds, read_evidence
from trainmark.advise.recommend import default_setting
from trainmark.against.two_settings import samples_of_a_step
from trainmark.measure.context import Context
from trainmark.measure.settings import Settings
from trainmark.measure.side_by_side import places_for
from trainmark.measure.worker import Outcome
from trainmark.store.cell import WORKLOADS, Cell
from trainmark.store.record import Record, held_out_series
from trainmark.store.tried import SERIES, Tried
from trainmark.workloads import of_role
from trainmark.workloads.accuracy import SAMPLES

START_SECONDS = 1.5  # of a process, its data and its model, beside the trainings


def find_answer(cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
    """The record of an answer: evidence is added until it is decided or the time is spent."""
    begun = time.monotonic()
    if settings.once:
        return Record(cell, "skipped", "an answer needs what is timed", settings=told(settings)), ""
    evidence = gather(cell, context.known(), settings)
    if evidence is None:
        reason = "no training of it was timed: ask for it too, as with -k 'train or answer'"
        return Record(cell, "skipped", reason, settings=told(settings)), ""
    until = begun + settings.answer_seconds + context.unspent
    experiment = Experiment(cell, settings, context, evidence, until)
    while experiment.goes_on(answer(str(cell["model"]), str(cell["device"]), experiment.evidence)):
        pass
    ended = time.monotonic()
    seconds, context.unspent = ended - begun, max(0.0, until - ended)
    if experiment.failed is not None:
        return context.record(cell, settings, replace(experiment.failed, value=None))
    return record_of(cell, settings, experiment.evidence, seconds), ""


def gather(cell: Cell, records: Sequence[Record], settings: Settings) -> Evidence | None:
    """What is known of a model's settings; None where no training in its default setting was timed.

    Args:
        cell: Of the answer.
        records: Of the same code on this machine, the oldest first.
        settings: Whose threads the records must have.
    """
    same = [one for one in records if one.status == "ok" and one.settings.get("threads") == settings.threads]
    alike = {name: cell[name] for name in ("model", "dataset", "device")}
    of_model = [one for one in same if alike.items() <= one.cell.settings.items()]
    timed = {one.key: one for one in of_role("training", of_model) if one.metrics.get("step_seconds")}
    default = default_setting(timed.values())
    if default is None:
        return None
    trained = [one for one in of_role("accuracy", of_model) if one.series.get("seed")]
    sizes = [one.settings["train_samples"] for one in trained if one.settings.get("train_samples")]
    samples = int(sizes[-1]) if sizes else SAMPLES
    loader = default.cell["loader"]
    chosen = [default, *(one for one in timed.values() if one is not default and one.cell["loader"] == loader)]
    tried = tuple(_screened(one, default, cell, samples) for one in chosen)
    earlier = [one for one in of_model if one.cell == cell]
    metric = next((name for one in trained for name in one.held_out_metrics), "accuracy")
    counts = [one.settings["held_out_samples"] for one in (*trained, *earlier) if one.settings.get("held_out_samples")]
    evidence = Evidence(metric, int(counts[-1]) if counts else None, tried)
    for record in trained:
        evidence = with_trainings(evidence, record, metric)
    return _with_earlier(evidence, earlier[-1]) if earlier else evidence


def _screened(record: Record, default: Record, cell: Cell, samples: int) -> Tried:
    """A setting by the speed of its steps."""
    names = WORKLOADS["accuracy"].parameters
    axes = {name: value for name, value in record.cell.settings.items() if name in names}
    scaling = "none" if samples_of_a_step(record.cell) == samples_of_a_step(default.cell) else cell["lr_scaling"]
    axes |= {"loader": cell["loader"], "epochs": cell["epochs"], "lr_scaling": scaling}
    steps = int(cell["epochs"]) * math.ceil(samples / samples_of_a_step(record.cell))
    step_seconds = float(record.metrics["step_seconds"] or 0.0)
    compiling = float(record.metrics.get("compile_seconds") or 0.0)
    whole = Cell.of("accuracy", **axes).settings
    return Tried(whole, steps, steps * step_seconds, compiling)


def with_trainings(evidence: Evidence, record: Record, metric: str) -> Evidence:
    """The evidence with the trainings of an accuracy record, for each setting that does its arithmetic.

    Of equal trainings of different seeds the first alone counts: they are one.
    """
    curves = record.series.get(held_out_series(metric), ())
    losses = record.series.get("train_loss") or [()] * len(curves)
    found: list[tuple[int, float]] = []
    seen: list[tuple[object, object]] = []
    for seed, curve, loss in zip(record.series["seed"], curves, losses, strict=False):
        if curve and curve[-1] is not None and (curve, loss) not in seen:
            found.append((int(seed), float(curve[-1])))
        seen.append((curve, loss))
    arithmetic = Tried({**record.cell.settings}, 1, 1.0).arithmetic
    for number, tried in enumerate(evidence.tried):
        if tried.arithmetic == arithmetic:
            evidence = evidence.with_trained(number, found)
    return evidence


def _with_earlier(evidence: Evidence, record: Record) -> Evidence:
    """With what an earlier answer rests on."""
    known = read_evidence(record)
    for number, tried in enumerate(evidence.tried):
        for one in known.tried if known is not None else ():
            if one.arithmetic == tried.arithmetic:
                evidence = evidence.with_trained(number, one.trained)
            if dict(one.axes) == dict(tried.axes):
                evidence = evidence.with_pairs(number, one.log_ratios)
    return evidence


class Experiment:
    """Gathers evidence, a piece at a time."""

    def __init__(self, cell: Cell, settings: Settings, context: Context, evidence: Evidence, until: float) -> None:
        self.cell = cell
        self.settings = settings
        self.context = context
        self.evidence = evidence
        self.until = until
        self.failed: Outcome | None = None

    def goes_on(self, found: Answer) -> bool:
        """Adds what decides most about the setting that is open; False where there is none, or no time for it."""
        standing = found.open
        if standing is None:
            return False
        number = next(place for place, one in enumerate(self.evidence.tried) if one is standing.tried)
        if standing.more_pairs:
            return self._measure_pairs(number, standing.more_pairs)
        return self._train(number, standing.judgement.seeds + standing.judgement.more_seeds)

    @property
    def _left(self) -> float:
        """Seconds for work, once a process is there."""
        return self.until - time.monotonic() - START_SECONDS

    def _measure_pairs(self, number: int, pairs: int) -> bool:
        """Measures as many pairs of a setting as are asked for, or as the time allows."""
        default, other = self.evidence.tried[0], self.evidence.tried[number]
        affordable = min(pairs, FIRST_LOOK, int(self._left / pair_seconds(other, default)))
        if affordable < 1:
            return False
        cells = [_training_cell(one) for one in (default, other)]
        step_seconds = [one.seconds / one.steps for one in (default, other)]
        outcome = self.context.call(
            "trainmark.against.two_settings:measure_settings", *cells, affordable, step_seconds, self.settings
        )
        if outcome.status != "ok":
            self.failed = outcome
            return False
        samples = math.log(_samples(other)) - math.log(_samples(default))
        self.evidence = self.evidence.with_pairs(number, [value + samples for value in outcome.value])
        return True

    def _train(self, number: int, seeds: int) -> bool:
        """Trains both the setting and the default until both have so many seeds in common."""
        wanted = range(self.settings.seed, self.settings.seed + seeds)
        missing = {
            place: [seed for seed in wanted if seed not in dict(self.evidence.tried[place].trained)]
            for place in (0, number)
        }
        places = places_for(str(self.cell["device"]), self.settings.threads)
        parts = [
            (place, first, count) for place, some in missing.items() for first, count in stretches(some, places // 2)
        ]
        costs = [count * self.evidence.tried[place].seconds for place, _, count in parts]
        if not parts or max(*costs, sum(costs) / places) > self._left:
            return False
        return self._train_seeds(parts)

    def _train_seeds(self, parts: Sequence[tuple[int, int, int]]) -> bool:
        """Trains settings, each from a first seed for a number of seeds."""
        jobs = [
            (Cell.of("accuracy", **self.evidence.tried[place].axes), replace(self.settings, seed=first, seeds=count))
            for place, first, count in parts
        ]
        outcome = self.context.call("trainmark.measure.side_by_side:measure_trainings", jobs)
        if outcome.status != "ok":
            self.failed = outcome
            return False
        by_place: dict[int, list[Record]] = {}
        for (place, _, _), record in zip(parts, outcome.value, strict=True):
            by_place.setdefault(place, []).append(record)
        for records in by_place.values():
            record = joined(records)
            self.evidence = replace(
                with_trainings(self.evidence, record, self.evidence.metric),
                held_out_samples=record.settings["held_out_samples"],
            )
        return True


def joined(records: Sequence[Record]) -> Record:
    """Trainings of one setting as one record, so that equal ones of different seeds are seen to be equal."""
    series = {name: [one for record in records for one in record.series[name]] for name in records[0].series}
    return replace(records[0], series=series)


def stretches(seeds: Sequence[int], parts: int = 1) -> list[tuple[int, int]]:
    """Seeds as stretches without a gap: the first of each, and how many there are.

    Args:
        seeds: To train.
        parts: Into how many a stretch is parted at the most, to be trained at the same time.
    """
    longest = math.ceil(len(seeds) / max(1, parts))
    found: list[tuple[int, int]] = []
    for seed in sorted(seeds):
        if found and sum(found[-1]) == seed and found[-1][1] < longest:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((seed, 1))
    return found


def _samples(tried: Tried) -> int:
    """Of a whole training, as its steps take them."""
    return tried.steps * samples_of_a_step(_training_cell(tried))


def _training_cell(tried: Tried) -> Cell:
    """The cell of its steps alone."""
    taken = WORKLOADS["train"].parameters
    return Cell.of("train", **{name: value for name, value in tried.axes.items() if name in taken})


def record_of(cell: Cell, settings: Settings, evidence: Evidence, seconds: float) -> Record:
    """The record of an answer, with all the evidence that it rests on."""
    found = answer(str(cell["model"]), str(cell["device"]), evidence)
    best = found.best
    ratio = None if best is None else best.ratio
    default = found.default.seconds + found.default.compile_seconds
    metrics = {
        "default_training_seconds": default,
        "answer_training_seconds": default if ratio is None else default * ratio.middle,
        "answer_speedup": 1.0 if ratio is None else 1 / ratio.middle,
        "answer_speedup_low": None if ratio is None or ratio.high is None else 1 / ratio.high,
        "answer_speedup_high": None if ratio is None or ratio.low is None else 1 / ratio.low,
        "answer_missing_seconds": found.more_seconds,
    }
    facts = {
        **told(settings),
        "metric": evidence.metric,
        "held_out_samples": evidence.held_out_samples,
        "decided": found.decided,
    }
    return Record(cell, "ok", metrics=metrics, rounds=(seconds,), series={SERIES: evidence.to_series()}, settings=facts)


def told(settings: Settings) -> dict[str, int]:
    """What a record of an answer says of how it was measured."""
    return {"threads": settings.threads, "seed": settings.seed}
