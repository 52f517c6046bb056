"""All configurations of a run: a table a workload, with verdict and warnings beside the numbers, and their commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trainmark import formatting, suite
from trainmark.advise import reproduce
from trainmark.judge.beside import beside
from trainmark.judge.comparison import CellComparison
from trainmark.page.anchors import anchor
from trainmark.page.names import SUBJECTS, constants, name_of, value_words, varying
from trainmark.page.tables import (
    Column,
    Detail,
    Row,
    Table,
    Value,
    judged_columns,
    megabytes_column,
    number_column,
    rounds_value,
    says_something,
    throughput_columns,
    time_column,
)
from trainmark.store.cell import WORKLOADS
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import Record, Run
from trainmark.workloads import Workload, entries

AGAINST = "Against baseline"
STATUS = "Status"
_OPTION = re.compile(r" (?=--|-k )")  # what an option begins with; values are quoted


@dataclass(frozen=True)
class Commands:
    """How the configurations of a workload are measured again.

    Attributes:
        begin: What all commands begin with.
        ends: What each has of its own, in the order of the rows.
    """

    begin: str
    ends: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """The configurations of one workload.

    Attributes:
        name: Of the workload.
        meaning: What is measured, in a line.
        reading: How to read its table; empty where nothing needs saying.
        table: A row a configuration.
        constants: What all of them have in common, in words.
        commands: One a configuration.
        open: Whether it is unfolded at first.
    """

    name: str
    meaning: str
    reading: str
    table: Table
    constants: str
    commands: Commands
    open: bool


@dataclass(frozen=True)
class Configurations:
    """All of a run.

    Attributes:
        groups: One a workload, in the order of the run.
        facets: What rows may be chosen by: workload, model and each parameter that varies, as titles.
        checkout: The command that gets the commit they were measured at; empty where it is not known.
        commit: That commit, in words.
    """

    groups: tuple[Group, ...]
    facets: tuple[str, ...]
    checkout: str
    commit: str

    @property
    def count(self) -> int:
        """Of configurations, those among them that the baseline alone has."""
        return sum(len({row.anchor for row in group.table.rows}) for group in self.groups)


def configurations(run: Run, compared: Mapping[str, CellComparison]) -> Configurations:
    """Every record with what was measured of it, and its verdict where it was compared.

    Args:
        run: The subject.
        compared: Join key -> comparison; cells that the baseline alone has are rows too.
    """
    axes = _facets(run.records)
    by_workload: dict[str, list[Record]] = {}
    for record in run.records:
        by_workload.setdefault(record.cell.workload, []).append(record)
    here = {record.key for record in run.records}
    absent: dict[str, list[CellComparison]] = {}
    for key, cell in compared.items():
        if key not in here:
            absent.setdefault(key.partition(" ")[0], []).append(cell)
    groups = [
        _group(workload, by_workload.get(workload, []), run, axes, compared, absent.get(workload, []))
        for workload in dict.fromkeys([*by_workload, *absent])
    ]
    if not any(group.open for group in groups):
        groups[:1] = [replace(group, open=True) for group in groups[:1]]
    titles = ("Workload", "Model", *(_title(name) for name in axes))
    return Configurations(tuple(groups), titles, reproduce.checkout(run), reproduce.commit(run))


def _facets(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(name for name in varying([record.cell.settings for record in records]) if name not in SUBJECTS)


def _title(parameter: str) -> str:
    known = PARAMETERS.get(parameter)
    return (known.title if known else "") or parameter.replace("_", " ").capitalize()


def _group(
    workload: str,
    records: Sequence[Record],
    run: Run,
    axes: Sequence[str],
    compared: Mapping[str, CellComparison],
    absent: Sequence[CellComparison],
) -> Group:
    settings = [record.cell.settings for record in records]
    telling = varying(settings)
    names = [name_of(one, telling) for one in settings]
    known, entry = WORKLOADS.get(workload), _entry(workload)
    whole = _whole(entry, records)
    own = whole.table if whole else Table(*_usual(records, entry.own_metrics if entry else {}))
    table = _table(own, records, names, axes, compared)
    if absent and AGAINST not in [column.title for column in table.columns]:
        verdicts = Column(AGAINST, False, "the verdict", tuple(Value(formatting.DASH) for _ in table.rows))
        rows = tuple(replace(row, values=(verdicts.values[0], *row.values)) for row in table.rows)
        table = Table((verdicts, *table.columns), rows)
    missing = [_absent_row(cell, table.columns, axes) for cell in absent]
    folder = suite.current().benchmarks
    commands = _with_common_begin([reproduce.command(record, run, folder) for record in records])
    return Group(
        formatting.plain(workload, 40),
        formatting.plain(known.meaning if known else ""),
        whole.meaning if whole else "",
        Table(table.columns, (*table.rows, *missing)),
        constants(settings),
        commands,
        getattr(known, "role", "") == "training",
    )


def _with_common_begin(commands: Sequence[str]) -> Commands:
    """What commands have in common first, which is written once: options and their values, in whatever order."""
    parted = [_OPTION.split(command) for command in commands]
    common = [part for part in (parted[0] if parted else ()) if all(part in some for some in parted)]
    ends = tuple(" ".join(part for part in some if part not in common) for some in parted)
    return Commands(" ".join(common), ends)


def _table(
    own: Table,
    records: Sequence[Record],
    names: Sequence[str],
    axes: Sequence[str],
    compared: Mapping[str, CellComparison],
) -> Table:
    """The verdict, the workload's own columns or the usual ones, the rounds, and the warnings."""
    rows_of: dict[str, list[Row | None]] = {}
    for row in own.rows:
        rows_of.setdefault(row.anchor, []).append(row)
    places = [  # a record's number, one of its rows, whether it is the first of them
        (number, row, place == 0)
        for number, record in enumerate(records)
        for place, row in enumerate(rows_of.get(anchor(record.key), [None]))
    ]
    several = len(places) > len(records)
    columns = [
        Column(
            AGAINST,
            False,
            "the verdict, and candidate over baseline of the metric that has it: the step time where no other is named",
            tuple(_verdict(compared.get(records[number].key)) if first else Value("") for number, _, first in places),
        ),
        *(
            Column(
                column.title,
                column.numeric,
                column.meaning,
                tuple(row.values[at] if row else Value(formatting.DASH) for _, row, _ in places),
            )
            for at, column in enumerate(own.columns)
        ),
        Column(
            "Rounds",
            False,
            "each round in the order measured, against their median: half of the height is 15%",
            tuple(rounds_value(records[number]) if first and not several else Value("") for number, _, first in places),
        ),
        Column(
            STATUS,
            False,
            "why it has no numbers, and warnings about those it has",
            tuple(_status(records[number]) if first else Value("") for number, _, first in places),
        ),
    ]
    told = tuple(column for column in columns if any(map(says_something, column.values)))
    rows = tuple(
        Row(
            anchor(records[number].key),
            row.name if several and row else names[number],
            tuple(column.values[place] for column in told),
            _chosen_by(records[number], axes),
            _unsaid(records[number].label, names[number]),
        )
        for place, (number, row, _) in enumerate(places)
    )
    return Table(told, rows)


def _entry(workload: str) -> Workload | None:
    """The workload's entry; None where it is known from a stored run alone."""
    return next((one for one in entries() if one.name == workload), None)


def _whole(entry: Workload | None, records: Sequence[Record]) -> Detail | None:
    """The table that a workload says is of all its configurations; None where it has none."""
    return next((one for one in entry.tables(records) if one.whole), None) if entry else None


def _usual(records: Sequence[Record], own: Iterable[str]) -> tuple[tuple[Column, ...], tuple[Row, ...]]:
    """Columns of a workload that has no table of its own: whatever of these, and of its own metrics, was measured."""
    counted = [name for name in own if METRICS[name].compared != "time"]
    columns = [
        time_column(records, "step_seconds", "Step time"),
        number_column(records, "samples_per_second", "Samples/s"),
        time_column(records, "latency_p50_seconds", "Latency p50"),
        time_column(records, "latency_p99_seconds", "Latency p99"),
        time_column(records, "training_seconds", "Training"),
        *judged_columns(records),
        *throughput_columns(records),
        *(time_column(records, name, title) for name, title in _other_times()),
        *(number_column(records, name, formatting.metric_name(name).capitalize()) for name in counted),
        time_column(records, "compile_seconds", "Compile time"),
        megabytes_column(records, "peak_memory_bytes", "Peak memory (MB)"),
        megabytes_column(records, "device_allocated_bytes", "Device memory (MB)"),
    ]
    told = tuple(column for column in columns if any(map(says_something, column.values)))
    rows = tuple(
        Row(anchor(record.key), "", tuple(column.values[number] for column in told))
        for number, record in enumerate(records)
    )
    return told, rows


def _other_times() -> Iterable[tuple[str, str]]:
    """Durations that are judged, of the suite's own workloads, with their titles."""
    for name, metric in METRICS.items():
        if metric.compared == "time" and name not in ("step_seconds", "training_seconds"):
            yield name, name.removesuffix("_seconds").replace("_", " ").capitalize()


def _unsaid(label: str, name: str) -> str:
    """The words of a label that the row's name has not."""
    known = set(name.replace(",", "").split())
    return " ".join(word for word in label.split()[1:] if word not in known)


def _chosen_by(record: Record, axes: Sequence[str]) -> tuple[str, ...]:
    settings = record.cell.settings
    subject = next((formatting.plain(settings[name], 40) for name in SUBJECTS if name in settings), "")
    values = [value_words(name, settings[name]) if name in settings else "" for name in axes]
    return (formatting.plain(record.cell.workload, 40), subject, *values)


def _absent_row(cell: CellComparison, columns: Sequence[Column], axes: Sequence[str]) -> Row:
    """A configuration that the baseline alone has: its name and its verdict."""
    values = tuple(
        Value("", words=(cell.verdict,)) if column.title == AGAINST else Value(formatting.DASH) for column in columns
    )
    workload = formatting.plain(cell.key.partition(" ")[0], 40)
    return Row(anchor(cell.key), formatting.plain(cell.label), values, (workload, *[""] * (len(axes) + 1)))


def _verdict(cell: CellComparison | None) -> Value:
    if cell is None:
        return Value(formatting.DASH)
    shown = beside(cell)
    if shown.ratio == formatting.DASH:
        return Value("", words=(cell.verdict,), note=shown.name or None)
    told = [part for part in (shown.name, shown.interval) if part not in ("", formatting.DASH)]
    return Value(shown.ratio, note=" ".join(told) or None, words=(cell.verdict,))


def _status(record: Record) -> Value:
    """What went wrong, and warnings; nothing of what is as it should be."""
    words = (*(() if record.status == "ok" else (record.status,)), *map(formatting.plain, record.flags))
    return Value("", note=formatting.plain(record.reason, 300) if record.reason else None, words=words)
