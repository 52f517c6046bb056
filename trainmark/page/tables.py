"""Tables of records by subject: the columns that have something to say, with values for people and for sorting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from trainmark import formatting
from trainmark.advise.answer import read_answer
from trainmark.advise.answer_words import models_words, setting_words
from trainmark.advise.break_even import Payback
from trainmark.advise.grad_mode import Saving
from trainmark.advise.stretched import is_like, stretches
from trainmark.advise.waiting import WORDS, bottleneck
from trainmark.advise.what_limits import WORDS as WORDS_OF_LIMITS
from trainmark.advise.what_limits import Limit, limit
from trainmark.page.anchors import anchor
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import Record
from trainmark.workloads import of_role

MOST_COLUMNS = 8  # beside the name: more are too wide for paper
STRIP_POINTS = 24
STRIP_REACH = 0.15
_TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
PHASES = {
    "data": "Data",
    "copy": "Copy",
    "forward": "Forward",
    "loss": "Loss",
    "zero_grad": "zero_grad",
    "backward": "Backward",
    "optimizer": "Optimizer",
    "other": "Other",
}


@dataclass(frozen=True)
class Value:
    """One field of a table.

    Attributes:
        text: What is read.
        order: What it is sorted by, where its text does not tell.
        note: Smaller text below, such as an interval.
        words: Verdict, status or flags, shown as labels.
        strip: Its rounds as the path of a line, see :func:`_strip`; empty where there are none.
    """

    text: str
    order: float | str | None = None
    note: str | None = None
    words: tuple[str, ...] = ()
    strip: str = ""


@dataclass(frozen=True)
class Column:
    """A column's header, with what its fields hold.

    Attributes:
        title: With its unit, if it has one.
        numeric: Whether it is right-aligned and first sorted from the largest.
        meaning: One line, shown where the pointer rests.
        values: One a row.
    """

    title: str
    numeric: bool
    meaning: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Row:
    """A record's row.

    Attributes:
        anchor: Of the record, for links.
        name: What is read first.
        values: Its fields.
        facets: Values that it may be chosen by, one a facet of the page; empty where it is in no filter.
        words: By which a filter finds it too, though it does not show them.
    """

    anchor: str
    name: str
    values: tuple[Value, ...]
    facets: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Table:
    """What one table shows.

    Attributes:
        columns: From left to right, the row's name not among them.
        rows: In the order of the run.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def parts(self) -> tuple[Table, ...]:
        """The table in pieces of MOST_COLUMNS at most, about equally wide: what fits a sheet of paper."""
        count = -(-len(self.columns) // MOST_COLUMNS) or 1
        width = -(-len(self.columns) // count) or 1
        starts = range(0, max(len(self.columns), 1), width)
        return tuple(
            Table(
                self.columns[start : start + width],
                tuple(replace(row, values=row.values[start : start + width]) for row in self.rows),
            )
            for start in starts
        )


@dataclass(frozen=True)
class Detail:
    """A table of the numbers of one subject.

    Attributes:
        title: Of the subject.
        meaning: How to read it, in a sentence.
        table: The numbers.
        whole: Whether it is of all records of a workload, which then has no other table.
    """

    title: str
    meaning: str
    table: Table
    whole: bool = False


def accuracy_table(records: Sequence[Record]) -> Table:
    """What was learnt, and how long it took."""
    seeds = [record.settings.get("seeds") or len(record.series.get("seed") or ()) for record in records]
    epochs = [record.cell.settings.get("epochs") for record in records]
    columns = [
        *judged_columns(records, ends=True),
        time_column(records, "training_seconds", "Training"),
        Column("Epochs", True, PARAMETERS["epochs"].meaning, tuple(map(plain_value, epochs))),
        Column("Seeds", True, "trainings that differ, each from another seed", tuple(map(plain_value, seeds))),
    ]
    return subject_table(records, columns)


def answer_table(records: Sequence[Record]) -> Table:
    """Each setting of each answer against its default."""
    told = [(record, found, one) for record in records if (found := read_answer(record)) for one in found.standings]
    columns = (
        Column(
            "Time against the default",
            True,
            "seconds of a whole training over the default's, compiling included",
            tuple(Value(formatting.times(one.ratio.middle), one.ratio.middle) for _, _, one in told),
        ),
        Column(
            "Pairs",
            True,
            "undisturbed pairs of processes; without any the ratio is of two records",
            tuple(plain_value(len(one.tried.log_ratios)) for _, _, one in told),
        ),
        Column("Shown", False, "what the times show", tuple(plain_value(one.pace) for _, _, one in told)),
        Column(
            "Models",
            False,
            "what they are worth against the default's, over the same seeds",
            tuple(plain_value(models_words(found, one)) for _, found, one in told),
        ),
    )
    rows = tuple(
        Row(
            anchor(record.key),
            formatting.plain(f"{found.model} {found.device}: {setting_words(one.tried.axes)}"),
            tuple(column.values[number] for column in columns),
        )
        for number, (record, found, one) in enumerate(told)
    )
    return Table(columns, rows)


def judged_columns(records: Sequence[Record], *, ends: bool = False) -> Iterable[Column]:
    """What trained models were judged by: the accuracy, and what tasks bring; with the seeds' ends where wanted."""
    names = dict.fromkeys(name for record in records for name in record.held_out_metrics)
    for name in names or ("accuracy",):
        title = formatting.metric_name(name).capitalize()
        for part, of in ((name, ""), (f"{name}_lowest", ", lowest"), (f"{name}_highest", ", highest")):
            if part == name or ends:
                column = share_column if METRICS[name].is_share else number_column
                unit = "%" if METRICS[name].is_share else METRICS[name].unit
                yield column(records, part, f"{title}{of}{f' ({unit})' * bool(unit)}")


def throughput_columns(records: Sequence[Record]) -> Iterable[Column]:
    """Throughput in the units of tasks that count something else than samples."""
    known = ("samples_per_second", "achieved_flops_per_second", "achieved_bytes_per_second")
    names = dict.fromkeys(name for record in records for name in record.metrics if name.endswith("_per_second"))
    for name in names:
        if name not in known and METRICS[name].unit == "1/s":
            yield number_column(records, name, f"{name.removesuffix('_per_second').capitalize()}/s")


def input_table(records: Sequence[Record]) -> Table:
    """What it costs to have a batch."""
    columns = [
        time_column(records, "step_seconds", "Batch time"),
        number_column(records, "samples_per_second", "Samples/s"),
    ]
    return subject_table(records, columns)


def phases_table(records: Sequence[Record]) -> Table:
    """Where the time of a step goes, in percent of it."""
    whole = [record.metrics.get("instrumented_step_seconds") for record in records]

    def phase(name: str) -> Column:
        parts = [record.metrics.get(f"{name}_seconds") for record in records]
        values = tuple(
            Value(formatting.DASH) if part is None or not step else Value(f"{100 * part / step:.1f}")
            for part, step in zip(parts, whole, strict=True)
        )
        return Column(f"{PHASES[name]} (%)", True, formatting.metric_meaning(f"{name}_seconds"), values)

    over = Column(
        "Over the timed step",
        True,
        "time of a step with its phases timed over that of one without",
        tuple(
            Value(formatting.times(times), note=None if times is None or is_like(times) else "another step")
            for times in stretches(records)
        ),
    )
    most = Column(
        "Most goes into",
        False,
        "by its largest part; for a training whether it waits for its data",
        tuple(map(_most, records)),
    )
    columns = [time_column(records, "instrumented_step_seconds", "Step, instrumented"), over, *map(phase, PHASES), most]
    return subject_table(records, columns)


def _most(record: Record) -> Value:
    found = bottleneck(record) if next(of_role("training", [record]), None) else None
    return Value(formatting.DASH) if found is None else Value(WORDS[found.name], note=found.sentence)


def counts_table(records: Sequence[Record]) -> Table:
    """What a step does and holds, counted: the same numbers in every run."""
    columns = [
        number_column(records, "parameters", "Parameters"),
        number_column(records, "flops_per_step", "FLOP/step"),
        number_column(records, "moved_bytes_per_step", "Bytes moved/step"),
        number_column(records, "new_bytes_per_step", "Bytes made/step"),
        number_column(records, "operators_per_step", "Operators/step"),
        number_column(records, "copies_per_step", "Copies/step"),
        number_column(records, "host_reads_per_step", "Host reads/step"),
        number_column(records, "kernel_launches_per_step", "Launches/step"),
        number_column(records, "synchronisations_per_step", "Waits/step"),
        number_column(records, "float64_operators_per_step", "float64/step"),
        megabytes_column(records, "parameter_bytes", "Parameters (MB)"),
        megabytes_column(records, "gradient_bytes", "Gradients (MB)"),
        megabytes_column(records, "optimizer_bytes", "Optimizer (MB)"),
        megabytes_column(records, "activation_bytes", "Activations (MB)"),
        megabytes_column(records, "workspace_bytes", "Workspace (MB)"),
    ]
    return subject_table(records, columns)


def limits_table(records: Sequence[Record]) -> Table:
    """How near a step comes to what the machine can reach, and what it draws."""
    columns = [
        number_column(records, "achieved_flops_per_second", "FLOP/s"),
        share_column(records, "flops_utilisation", "Of the peak (%)"),
        number_column(records, "achieved_bytes_per_second", "Bytes/s"),
        share_column(records, "bytes_utilisation", "Of peak traffic (%)"),
        number_column(records, "arithmetic_intensity", "FLOP/byte"),
        number_column(records, "ridge_intensity", "Ridge (FLOP/byte)"),
        Column("Limit", False, "which share of the step is the largest: see Why", tuple(map(_limit, records))),
        number_column(records, "energy_joules_per_sample", "Joules/sample"),
        number_column(records, "power_watts", "Power (W)"),
        number_column(records, "idle_power_watts", "Idle power (W)"),
    ]
    return subject_table(records, columns)


def _limit(record: Record) -> Value:
    found = limit(record)
    return Value(formatting.DASH) if found is None else Value(WORDS_OF_LIMITS[found.name])


def bound_table(found: Sequence[Limit]) -> Table:
    """What limits each training step, with the shares that decide it."""
    records = [one.record for one in found]

    def share(title: str, meaning: str, values: Sequence[float | None]) -> Column:
        told = [Value(formatting.DASH) if value is None else Value(f"{100 * value:.0f}") for value in values]
        return Column(title, True, meaning, tuple(told))

    columns = [
        Column("Limit", False, "the largest of the shares", tuple(Value(WORDS_OF_LIMITS[one.name]) for one in found)),
        share("Arithmetic (%)", "of a step, by itself at the probes' largest rate", [one.compute for one in found]),
        share(
            "Memory traffic (%)", "of a step, by itself at the probes' largest rate", [one.bandwidth for one in found]
        ),
        share(
            "Launching (%)",
            "operators of a step, at the cost of one that does nothing",
            [one.launching for one in found],
        ),
        share("Data (%)", "of a step, that goes into having a batch", [one.data for one in found]),
    ]
    return subject_table(records, columns)


def steadiness_table(records: Sequence[Record]) -> Table:
    """How steady a configuration and its machine were while it was measured."""

    def disturbance(title: str, name: str, meaning: str, times: float = 1.0) -> Column:
        found = [record.disturbance.get(name) for record in records]
        told = [
            Value(formatting.DASH) if not isinstance(one, int | float) else Value(f"{times * one:.2f}") for one in found
        ]
        return Column(title, True, meaning, tuple(told))

    columns = [
        disturbance(
            "Machine (×)", "control_ratio", "a fixed piece of work around the rounds, over this machine's best"
        ),
        disturbance("Waiting (%)", "waiting_share", "of the time, that the process was ready and had no core", 100),
        disturbance("Stolen (%)", "steal_share", "of the time, that the host gave to other machines", 100),
        number_column(records, "warmup_seconds", "Warm-up (s)"),
        number_column(records, "cell_seconds", "In all (s)"),
    ]
    return subject_table(records, columns)


def compile_table(paybacks: Sequence[Payback]) -> Table:
    """What torch.compile costs, and after how many steps it has paid."""
    records = [payback.compiled for payback in paybacks]
    columns = [
        time_column(records, "compile_seconds", "Compiling, cold cache"),
        time_column(records, "compile_warm_seconds", "Warm cache"),
        time_column(records, "step_seconds", "Step time"),
        Column(
            "Speed-up",
            True,
            "time of an eager step over that of a compiled one",
            tuple(Value(formatting.times(payback.speedup)) for payback in paybacks),
        ),
        Column(
            "Pays after (steps)",
            True,
            "steps that win back the compilation with a cold cache",
            tuple(map(_break_even, paybacks)),
        ),
        number_column(records, "graphs", "Graphs"),
        number_column(records, "graph_breaks", "Graph breaks"),
        number_column(records, "recompiles", "Recompiles"),
        number_column(records, "cudagraph_skips", "CUDA graphs skipped"),
        megabytes_column(records, "compile_peak_memory_bytes", "Peak memory (MB)"),
        megabytes_column(records, "compile_device_allocated_bytes", "Device memory (MB)"),
    ]
    return subject_table(records, columns)


def _break_even(payback: Payback) -> Value:
    if not payback.decided:
        return Value("undecided")
    if payback.steps is None:
        return Value("never", math.inf)
    return Value(formatting.whole(math.ceil(payback.steps)))


def grad_mode_table(savings: Sequence[Saving]) -> Table:
    """A step under ``no_grad`` beside the same step under ``inference_mode``."""
    records = [saving.record for saving in savings]
    columns = [
        time_column(records, "step_seconds", "no_grad"),
        time_column([saving.usual for saving in savings], "step_seconds", "inference_mode"),
        Column(
            "no_grad / inference_mode",
            True,
            "step time of one over that of the other",
            tuple(
                Value(
                    formatting.times(saving.ratio.middle),
                    note=formatting.interval(saving.ratio.low, saving.ratio.high) if saving.decided else "undecided",
                )
                for saving in savings
            ),
        ),
    ]
    return subject_table(records, columns)


def capacity_table(records: Sequence[Record]) -> Table:
    """The largest batch that can be trained."""
    columns = [
        number_column(records, "max_batch_size", "Largest batch"),
        megabytes_column(records, "peak_memory_bytes", "Peak memory (MB)"),
        megabytes_column(records, "device_allocated_bytes", "Device memory (MB)"),
    ]
    return subject_table(records, columns)


def subject_table(records: Sequence[Record], columns: Iterable[Column]) -> Table:
    """Some columns that belong together: rows have the cells' whole names, and lead nowhere."""
    told = tuple(column for column in columns if any(map(says_something, column.values)))
    rows = tuple(
        Row(anchor(record.key), formatting.plain(record.label), tuple(column.values[number] for column in told))
        for number, record in enumerate(records)
    )
    return Table(told, rows)


def plain_value(value: object) -> Value:
    """A field of printable text."""
    if value is None:
        return Value(formatting.DASH)
    return Value(formatting.plain(value))


def time_column(records: Sequence[Record], name: str, title: str) -> Column:
    """A column of times in the one unit that suits their median, each with its interval where it has one."""
    known = [seconds for record in records if (seconds := record.metrics.get(name)) is not None]
    size, unit = _unit(median(known) if known else 1.0)

    def ends(record: Record) -> str | None:
        low, high = record.metrics.get(f"{name}_low"), record.metrics.get(f"{name}_high")
        if low is None or high is None:
            return None
        return f"{formatting.digits(low / size)}{formatting.DASH}{formatting.digits(high / size)}"

    return _column(records, name, f"{title} ({unit})", lambda seconds: formatting.digits(seconds / size), ends)


def _unit(seconds: float) -> tuple[float, str]:
    return next(((size, unit) for size, unit in _TIME_UNITS if seconds >= size), _TIME_UNITS[-1])


def number_column(records: Sequence[Record], name: str, title: str) -> Column:
    """A column of numbers with SI prefixes."""
    return _column(records, name, title, formatting.prefixed)


def share_column(records: Sequence[Record], name: str, title: str) -> Column:
    """A column of shares in percent."""
    return _column(records, name, title, lambda share: f"{100 * share:.2f}")


def megabytes_column(records: Sequence[Record], name: str, title: str) -> Column:
    """A column of bytes in megabytes."""
    return _column(records, name, title, lambda size: formatting.whole(round(size / 1e6)))


def _column(
    records: Sequence[Record],
    name: str,
    title: str,
    text: Callable[[float], str],
    note: Callable[[Record], str | None] = lambda _: None,
) -> Column:
    values = [
        Value(formatting.DASH) if (value := record.metrics.get(name)) is None else Value(text(value), note=note(record))
        for record in records
    ]
    return Column(title, True, formatting.metric_meaning(name), tuple(values))


def says_something(value: Value) -> bool:
    """Whether a field holds more than that nothing was measured."""
    return bool(value.words or value.strip) or value.text not in ("", formatting.DASH)


def rounds_value(record: Record) -> Value:
    """The rounds of a record as a strip; nothing below two."""
    if len(record.rounds) < 2 or min(record.rounds) <= 0:
        return Value("")
    return Value("", strip=_strip(record.rounds))


def _strip(rounds: Sequence[float]) -> str:
    """A path of 100 units to the right, and 9 up for STRIP_REACH more than the median; what is farther is cut off.

    Of many rounds every n-th is drawn, so that no strip has more than STRIP_POINTS.
    """
    middle = median(rounds)
    shown = rounds[:: -(-len(rounds) // STRIP_POINTS)]
    heights = [round(10 - 9 * max(-1.0, min(1.0, (seconds / middle - 1) / STRIP_REACH))) for seconds in shown]
    places = [round(100 * number / (len(shown) - 1)) for number in range(len(shown))]
    points = list(zip(places, heights, strict=True))
    moves = " ".join(f"{right - left} {after - before}" for (left, before), (right, after) in pairwise(points))
    return f"M0 {heights[0]}l{moves}".replace(" -", "-")
