"""What the instruments found, on the page: limits, compile costs, phases, and the way to a trace."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from trainmark.advise.break_even import paybacks
from trainmark.judge.explanation import leading_operators
from trainmark.page.configurations import configurations
from trainmark.page.html import render
from trainmark.page.tables import (
    Table,
    compile_table,
    counts_table,
    input_table,
    limits_table,
    phases_table,
)
from trainmark.store.cell import Cell
from trainmark.store.profiles import Operator, Profile, trace_path, write_profile
from trainmark.store.record import Record, Run, RunFacts
from trainmark.store.runs import artifact_folder, read_run


def measured(compile_mode: str = "off", **metrics: float | None) -> Record:
    return Record(Cell.of("train", compile=compile_mode), "ok", metrics=metrics, rounds=(0.01,))


def run_of(*records: Record) -> Run:
    return Run("0001", RunFacts("0001", "2026-01-01T12:00:00+00:00", complete=True), {}, {}, records)


def column(table: Table, title: str) -> list[str]:
    (found,) = [column for column in table.columns if column.title == title]
    return [value.text for value in found.values]


@pytest.mark.parametrize(
    ("compute", "bandwidth", "limit"),
    [
        (0.5, 0.2, "compute-bound"),
        (0.2, 0.5, "memory-bandwidth-bound"),
        (0.1, 0.2, "no single limit"),
        (0.5, None, "–"),
    ],
)
def test_a_step_is_limited_by_the_largest_of_its_shares(compute: float, bandwidth: float | None, limit: str) -> None:
    other = measured(step_seconds=0.01, flops_utilisation=0.9, bytes_utilisation=0.1)
    record = measured(step_seconds=0.01, flops_utilisation=compute, bytes_utilisation=bandwidth)
    assert column(limits_table([record, other]), "Limit") == [limit, "compute-bound"]


def test_without_both_shares_there_is_no_column_for_what_limits() -> None:
    table = limits_table([measured(flops_utilisation=0.5, arithmetic_intensity=5.0)])
    assert "Limit" not in [column.title for column in table.columns]


def step(compile_mode: str, seconds: float, **metrics: float) -> Record:
    ends = {"step_seconds_low": 0.99 * seconds, "step_seconds_high": 1.01 * seconds}
    return measured(compile_mode, step_seconds=seconds, **ends, **metrics)


@pytest.mark.parametrize(
    ("eager", "compiled", "told"),
    [(0.010, 0.008, "6,000"), (0.010, 0.013, "never"), (0.010, 0.00999, "undecided")],
)
def test_compiling_pays_after_some_steps_or_never_or_nobody_knows(eager: float, compiled: float, told: str) -> None:
    records = [step("off", eager), step("default", compiled, compile_seconds=12.0, compile_warm_seconds=3.0)]
    table = compile_table(paybacks(records))
    assert column(table, "Pays after (steps)") == [told]
    assert column(table, "Compiling, cold cache (s)") == ["12.0"]
    assert column(table, "Warm cache (s)") == ["3.00"]


def test_phases_are_shares_of_the_instrumented_step() -> None:
    phases = {"data_seconds": 1e-3, "forward_seconds": 3e-3, "backward_seconds": 5e-3, "other_seconds": 1e-3}
    table = phases_table([measured(instrumented_step_seconds=10e-3, **phases)])
    shares = {column.title: column.values[0].text for column in table.columns if column.title.endswith("(%)")}
    assert shares == {"Data (%)": "10.0", "Forward (%)": "30.0", "Backward (%)": "50.0", "Other (%)": "10.0"}


def test_bytes_are_told_in_megabytes_of_a_million() -> None:
    table = counts_table([measured(parameter_bytes=1_081_384, gradient_bytes=250_600_000)])
    assert (column(table, "Parameters (MB)"), column(table, "Gradients (MB)")) == (["1"], ["251"])


def test_an_interval_is_told_in_the_unit_of_its_time_and_that_suits_the_median() -> None:
    times = {"step_seconds": 0.0123, "step_seconds_low": 0.012, "step_seconds_high": 0.0131}
    table = input_table([measured(**times), measured(step_seconds=0.5), measured(step_seconds=0.002)])
    (found,) = [one for one in table.columns if one.title.startswith("Batch time")]
    assert found.title == "Batch time (ms)"
    assert [(value.text, value.note) for value in found.values] == [
        ("12.3", "12.0–13.1"),
        ("500", None),
        ("2.00", None),
    ]


def test_a_strip_of_rounds_rises_where_they_take_longer() -> None:
    """From the median at 10, nine units up for 15% more, nine down for 15% less; what is farther is cut off."""
    record = replace(measured(), rounds=(1.0, 1.15, 0.85, 1.0, 2.0))
    (group,) = configurations(run_of(record), {}).groups
    (found,) = [one for one in group.table.columns if one.title == "Rounds"]
    assert found.values[0].strip == "M0 10l25-9 25 18 25-9 25-9"


def test_the_leaders_of_a_profile_are_told_with_their_share_of_the_step(tmp_path: Path) -> None:
    rows = [Operator(name, "", 1.0, seconds, seconds, None, None, None, "operator") for name, seconds in
            (("a", 0.002), ("b", 0.005), ("a", 0.004), ("c", 0.001), ("d", 0.0005))]  # fmt: skip
    file = tmp_path / "0001_run.json"
    write_profile(artifact_folder(file), Profile("train", "train mlp", 5, 0.02, "cpu", tuple(rows)))
    (found,) = leading_operators(file)
    assert found.leaders == (("a", pytest.approx(0.3)), ("b", pytest.approx(0.25)), ("c", pytest.approx(0.05)))


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if (tag, name) == ("a", "href")]


@pytest.mark.parametrize("has_trace", [True, False])
def test_the_page_leads_to_the_trace_of_a_profiled_cell(stored: Any, has_trace: bool) -> None:
    file: Path = stored.store(stored.run())
    run = read_run(file)
    folder = artifact_folder(file)
    record = next(record for record in run.records if record.cell.workload == "train")
    row = Operator("aten::addmm", "64x784, 784x256", 2.0, 0.006, 0.006, None, 1e6, 100.0, "operator")
    write_profile(folder, Profile(record.key, record.label, 5, 0.01, "cpu", (row, replace(row, name="aten::mm"))))
    if has_trace:
        trace_path(folder, record.key).write_bytes(b"")
    links = Links(render([run], None, leading_operators(file), file.parents[1]))
    to_traces = [link for link in links.found if link.endswith(".trace.json.gz")]
    assert len(to_traces) == has_trace
    assert all((file.parents[1] / link).is_file() for link in to_traces)
