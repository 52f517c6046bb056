"""The answer: which setting trains an equal model soonest, by an experiment that goes where the evidence is thin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark.store.cell import Cell
from trainmark.store.metrics import Metric
from trainmark.store.parameters import Value
from trainmark.store.record import Record
from trainmark.workloads import SkipReason
from trainmark.workloads.stepping import ModelWorkload

if TYPE_CHECKING:
    from trainmark.measure.context import Context
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Settings
    from trainmark.page.tables import Detail
    from trainmark.workloads.planning import PlannedCell, Request


@dataclass(frozen=True, kw_only=True)
class AnswerWorkload(ModelWorkload):
    """One experiment a model: trainings and pairs of the settings whose speed the run has measured."""

    def choices(self, model: str, device: str, request: Request, machine: Machine) -> Mapping[str, Sequence[Value]]:
        """The data set and the epochs of the model's accuracy; the learning rate follows the batch size."""
        facts = machine.models[model]
        return {
            "dataset": (facts.dataset,),
            "loader": ("dataloader" if "data" in facts.own_parts else "resident",),
            "epochs": (request.values.training_of(facts.family)[0],),
            "lr_scaling": ("none" if "schedule" in facts.own_parts else "sqrt",),
        }

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """Made-up data teach nothing."""
        if cell["dataset"] == "synthetic":
            return SkipReason("dataset", "synthetic labels are random: no model is better than another")
        return super().skip_reason(cell, machine)

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """What it may take."""
        return settings.answer_seconds

    def seconds_again(self, record: Record, *, same_code: bool) -> float | None:
        """Nothing where it is decided by evidence that counts for this run too."""
        decided = same_code and record.settings.get("decided")
        return 0.0 if decided else super().seconds_again(record, same_code=same_code)

    def measure(self, cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
        """Adds evidence until the answer is decided or the time is spent."""
        from trainmark.experiment import find_answer  # which loads the statistics

        return find_answer(cell, settings, context)

    def line(self, record: Record) -> str:
        """The answer in a few words."""
        from trainmark.advise.answer import read_answer
        from trainmark.advise.answer_words import short

        found = read_answer(record)
        return "no setting was tried" if found is None else short(found)

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """What was tried, and where it stands."""
        from trainmark.page.tables import Detail, answer_table

        meaning = (
            "Each setting against the default: seconds of a whole training, from interleaved pairs, and what its "
            "models are worth, from trainings of the same seeds."
        )
        yield Detail("Settings that were tried", meaning, answer_table(records), whole=True)


ANSWER = AnswerWorkload(
    name="answer",
    parameters=("model", "dataset", "device", "loader", "epochs", "lr_scaling"),
    meaning="the setting that trains an equal model soonest",
    round_unit="experiment",
    shown=("model", "device"),
    place=200,
    of_one_run=True,
    role="answer",
    own_metrics={
        "default_training_seconds": Metric("s", "lower", "no", "of a whole training in the default setting"),
        "answer_training_seconds": Metric("s", "lower", "no", "of a whole training in the setting that is the answer"),
        "answer_speedup": Metric(
            "", "higher", "no", "how many times sooner than the default; 1 for the default itself"
        ),
        "answer_speedup_low": Metric("", "higher", "no", "lower end of its interval"),
        "answer_speedup_high": Metric("", "higher", "no", "upper end of its interval"),
        "answer_missing_seconds": Metric("s", "lower", "no", "of measuring that would decide it; 0 where decided"),
    },
)
