"""n-gram models: from a text to a model, by our engines and competing libraries, and the scoring of another text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.ngram.corpora import locate
from bench.ngram.engines import ENGINES, SMOOTHINGS
from trainmark import formatting
from trainmark.store.metrics import Metric
from trainmark.store.parameters import Parameter, Value
from trainmark.workloads import SkipReason, Workload
from trainmark.workloads.terminal_line import columns, memory_of

if TYPE_CHECKING:
    from trainmark.measure.context import Context
    from trainmark.measure.machine import Machine
    from trainmark.measure.settings import Places, Settings
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.page.tables import Detail
    from trainmark.store.cell import Cell
    from trainmark.store.record import Record
    from trainmark.workloads.planning import PlannedCell, Request

OVERHEAD_SECONDS = 2.0  # importing, writing the corpus, loading kernels
CORPUS_TOKENS = 100_000  # of pydoc; how many another whole corpus has, nobody knows beforehand
TOKENS_A_SECOND = {"numba": 10e6, "torch": 5e6, "nltk": 5e4}
OTHER_TOKENS_A_SECOND = 5e5
COUNTING = "counting"  # beside the devices among the peaks of a run

PARAMETERS = (
    Parameter("corpus", "pydoc", "the text: pydoc, zipf or the path of a file", locate=locate, example="pydoc,zipf"),
    Parameter(
        "tokens",
        0,
        "words and ends of sentences taken from the corpus; 0 for all of it",
        wording="{value} tokens",
        example="1000000",
    ),
    Parameter("order", 3, "words in the longest n-grams", (1, 2, 3, 4, 5, 6), wording="order {value}"),
    Parameter("smoothing", "mle", "how an n-gram model estimates", SMOOTHINGS),
    Parameter("engine", "numba", "what fits it: an engine of ours, or a competing library", tuple(ENGINES)),
)
METRICS = {
    "fit_seconds": Metric("s", "lower", "time", "median over the rounds of the time from text to n-gram model"),
    "tokens_per_second": Metric(
        "1/s", "higher", "no", "tokens of the text, ends of sentences included, over fit_seconds"
    ),
    "encode_seconds": Metric("s", "lower", "no", "of a fit: text to ids; median"),
    "count_seconds": Metric("s", "lower", "no", "of a fit: ids to table; median"),
    "estimate_seconds": Metric("s", "lower", "no", "of a fit: table to probabilities; median"),
    "kernel_compile_seconds": Metric("s", "lower", "no", "before the first fit: compiling kernels, or loading them"),
    "peak_bytes_per_token": Metric("B", "lower", "no", "peak_memory_bytes, all of it, over the tokens of the text"),
    "table_entries": Metric("", "neither", "exact", "n-grams in the table, of every order that it holds"),
    "bytes_per_entry": Metric("B", "lower", "tolerance", "bytes of the model's arrays over table_entries", 0.01),
    "random_update_share": Metric(
        "", "higher", "no", "tokens counted a second, of the machine's random updates a second"
    ),
    "copy_share": Metric("", "higher", "no", "text, ids and table moved once a fit, of what a copy moves meanwhile"),
    "score_seconds": Metric(
        "s", "lower", "time", "median over the rounds of the time to score the ids of a held-out text"
    ),
    "score_tokens_per_second": Metric("1/s", "higher", "no", "tokens of the held-out text over score_seconds"),
    "perplexity": Metric(
        "", "lower", "tolerance", "of the held-out text, unknown words included; none if infinite", 1e-6
    ),
    "perplexity_without_unknown": Metric("", "lower", "tolerance", "the same over its known words alone", 1e-6),
    "unseen_share": Metric(
        "", "neither", "tolerance", "of held-out tokens, whose whole n-gram is not in the table", 1e-9
    ),
    "unknown_share": Metric("", "neither", "tolerance", "of held-out tokens, that the vocabulary has not", 1e-9),
    "vocabulary_size": Metric("", "neither", "exact", "words that the model knows, with </s> and <unk>"),
}


@dataclass(frozen=True, kw_only=True)
class NgramWorkload(Workload):
    """What fitting and scoring have in common.

    Attributes:
        quick: Engines and smoothings of the quick grid, on a CPU; elsewhere the one engine that runs there
            takes their place.
        scores: Whether a model is needed that scores, and a part of the text is held out for it.
    """

    parameters: tuple[str, ...] = ("engine", "order", "smoothing", "corpus", "tokens", "device")
    shown: tuple[str, ...] = ("engine", "order", "smoothing")
    subject: str = "n-grams"
    own_parameters: tuple[Parameter, ...] = PARAMETERS
    quick: tuple[tuple[Value, Value], ...] = ()
    scores: bool = False

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """See :func:`bench.ngram.choices.combinations`."""
        from bench.ngram.choices import combinations

        given = {name: values for name, values in request.given.items() if name in self.parameters}
        exhaustive = request.values.exhaustive
        return combinations(self.parameters, self.quick, exhaustive, given, machine.devices, self.scores)

    def look(self, places: Places) -> Mapping[str, str]:
        """Why an engine cannot be used here, by its name.

        Raises:
            MissingDataError: A text that the command line names is not there.
        """
        from bench.ngram.corpora import check
        from bench.ngram.engines import engine_obstacle

        check(places.named.get("corpus", {}).values())
        return {name: obstacle for name in ENGINES if (obstacle := engine_obstacle(name))}

    def skip_reason(self, cell: Cell, machine: Machine) -> SkipReason | None:
        """What does not go together, or an engine that is not installed."""
        from bench.ngram.choices import find_clash

        clash = find_clash(cell.settings, scores=self.scores)
        if clash is not None:
            return SkipReason(clash.blamed, clash.reason)
        missing = machine.found.get(self.name, {}).get(str(cell["engine"]))
        return SkipReason("engine", missing) if missing else None

    def estimate_seconds(self, planned: PlannedCell, machine: Machine, settings: Settings) -> float:
        """By the order of magnitude: a competitor's speed is known when it has been measured."""
        cell = planned.cell
        tokens = int(cell["tokens"]) or CORPUS_TOKENS
        seconds = tokens / TOKENS_A_SECOND.get(str(cell["engine"]), OTHER_TOKENS_A_SECOND)
        return OVERHEAD_SECONDS + seconds + max(settings.min_rounds * seconds, settings.max_seconds)

    def measure(self, cell: Cell, settings: Settings, context: Context) -> tuple[Record, str]:
        """The record, or that of the corpus that could not be written for it.

        The text is written once a run, in a process of its own: it shall not count to the cell's memory.
        """
        name = str(cell["corpus"])
        source = settings.places.find("corpus", name)
        asked = (name, int(cell["tokens"]), self.scores, source, context.folder)
        outcome = context.once("bench.ngram.corpora:write_corpus", *asked)
        if outcome.status == "ok":
            arguments = (cell, settings, outcome.value, *self._more(settings, context))
            outcome = context.call(self.measured_by, *arguments)
        return context.record(cell, settings, outcome)

    def _more(self, settings: Settings, context: Context) -> tuple[Any, ...]:
        """More arguments of the function that measures."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Fit(NgramWorkload):
    """From the text's file to the model."""

    def _more(self, settings: Settings, context: Context) -> tuple[Any, ...]:
        """What bounds counting here: probed in each run, since a neighbour's share of memory's speed changes."""
        probed = context.once("bench.ngram.counting_probes:measure_limits", settings.threads)
        if probed.status != "ok":
            told = f"no share of the machine's limits: its probes ended with {probed.reason}"
            context.notes[:] = dict.fromkeys([*context.notes, told])  # once a run
            return (None,)
        context.peaks[COUNTING] = asdict(probed.value)
        return (probed.value,)

    def line(self, record: Record) -> str:
        """How fast a text was fitted, and what the engine computes."""
        metrics = record.metrics
        return columns(
            time=formatting.duration(metrics["fit_seconds"]),
            rate=f"{formatting.prefixed(metrics['tokens_per_second'])}/s",
            memory=memory_of(record),
            more=f"tokens: {record.settings['computes']}",
        )

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """How fast, by what, and what that computes."""
        from reports.ngram import fit_table

        return fit_table(records)

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """Speed, memory and unseen n-grams, of both workloads."""
        from reports.ngram import galleries

        return galleries(drawn)


@dataclass(frozen=True, kw_only=True)
class Score(NgramWorkload):
    """The probability of each token of a held-out text."""

    def line(self, record: Record) -> str:
        """How fast a text was scored, and its perplexity."""
        metrics = record.metrics
        if metrics.get("perplexity") is None:
            worth = f"infinite perplexity, {formatting.percent(metrics['unseen_share'], 1)} unseen"
        else:
            worth = f"perplexity {metrics['perplexity']:.1f}"
        return columns(
            time=formatting.duration(metrics["score_seconds"]),
            rate=f"{formatting.prefixed(metrics['score_tokens_per_second'])}/s",
            memory=memory_of(record),
            more=f"tokens: {worth}",
        )

    def tables(self, records: Sequence[Record]) -> Iterable[Detail]:
        """What a model makes of a text that it has not seen."""
        from reports.ngram import score_table

        return score_table(records)


WORKLOADS = (
    Fit(
        name="ngram_fit",
        meaning="from a text to an n-gram model",
        round_unit="fit",
        place=40,
        measured_by="bench.ngram.measuring:measure_fit",
        steps="bench.ngram.measuring:fitting",
        quick=(("numba", "mle"), ("numba", "kneser-ney"), ("python", "mle")),
        own_metrics=METRICS,
    ),
    Score(
        name="ngram_score",
        meaning="the probability of each token of a held-out text",
        round_unit="pass",
        place=41,
        measured_by="bench.ngram.measuring:measure_score",
        steps="bench.ngram.measuring:scoring",
        quick=(("numba", "kneser-ney"),),
        scores=True,
    ),
)
