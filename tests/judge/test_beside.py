"""The number beside a verdict is of the metric that has it: in every format that shows a comparison."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from trainmark.export import formats, markdown, terminal
from trainmark.export.numbers import as_csv, as_json_lines
from trainmark.judge.beside import beside
from trainmark.judge.comparison import CellComparison, Comparison, compare_paired
from trainmark.judge.verdict import judge
from trainmark.page.anchors import anchor
from trainmark.page.forest import WIDTH, forest
from trainmark.page.html import render, render_paired
from trainmark.store.record import Run

CNN = "train cnn 256 cpu fp32"
LEARNT = "accuracy cnn 64 cpu fp32"
COMPILED = "train cnn 256 cpu fp32 compile=default"


def worse_accuracy(stored: Any, run: Run) -> Run:
    record = next(one for one in run.records if one.label == LEARNT)
    curves = [[share - 0.04 for share in curve] for curve in record.series["held_out_accuracy"]]
    run = stored.changed(run, LEARNT, series={**record.series, "held_out_accuracy": curves})
    return stored.with_metrics(run, LEARNT, accuracy=record.metrics["accuracy"] - 0.04)


def metric_of(run: Run, label: str, name: str) -> float:
    return next(record for record in run.records if record.label == label).metrics[name] or 0.0


def from_compile_time(stored: Any, run: Run) -> Run:
    """Twice as long to compile, and a step that takes half the time."""
    return stored.with_metrics(stored.slowed(run, COMPILED, 0.5), COMPILED, compile_seconds=42.8)


def from_memory(stored: Any, run: Run) -> Run:
    bytes_ = metric_of(run, CNN, "peak_memory_bytes")
    return stored.with_metrics(stored.slowed(run, CNN, 0.5), CNN, peak_memory_bytes=2 * bytes_)


def from_counts(stored: Any, run: Run) -> Run:
    return stored.with_metrics(stored.slowed(run, CNN, 0.5), CNN, parameters=1_070_798)


def from_accuracy(stored: Any, run: Run) -> Run:
    return worse_accuracy(stored, run)


def from_another_cells_accuracy(stored: Any, run: Run) -> Run:
    return stored.slowed(worse_accuracy(stored, run), CNN, 0.5)


def from_step_time(stored: Any, run: Run) -> Run:
    return stored.slowed(run, CNN, 2)


def from_two_at_once(stored: Any, run: Run) -> Run:
    return stored.with_metrics(stored.slowed(run, CNN, 6.13), CNN, parameters=1_070_798)


# What is made, in which cell, and of what metric the number is that stands beside its verdict.
CASES = [
    pytest.param(from_compile_time, COMPILED, "compile_seconds", "compile time", r"2\.00×", id="compile time"),
    pytest.param(from_memory, CNN, "peak_memory_bytes", "peak memory", r"2\.00×", id="memory"),
    pytest.param(from_counts, CNN, "parameters", "parameters", r"\+4", id="counts"),
    pytest.param(from_accuracy, LEARNT, "accuracy", "accuracy", "−4.00 points", id="accuracy"),
    pytest.param(from_another_cells_accuracy, CNN, "accuracy", "accuracy", "−4.00 points", id="accuracy of another"),
    pytest.param(from_step_time, CNN, "step_seconds", "", r"2\.0\d×", id="step time"),
    pytest.param(from_two_at_once, CNN, "step_seconds", "", r"6\.\d\d×", id="two at once"),
]


class Rows(HTMLParser):
    """The rows of all tables of a page, as the texts of their fields."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.ids: list[str | None] = []
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
            self.ids.append(dict(attrs).get("id"))
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.open = True

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")


def numbers_in_terminal(comparison: Comparison, _new: Run, label: str) -> list[str]:
    line = next(line for line in terminal.comparison_table(comparison).splitlines() if line.startswith(f"{label}  "))
    fields = re.split(r"\s{2,}", line)
    return [" ".join(fields[3:6])]


def numbers_in_markdown(comparison: Comparison, _new: Run, label: str) -> list[str]:
    rows = [line for line in markdown.render(judge(comparison), comparison).splitlines() if line.startswith("| ")]
    fields = next(row for row in rows if row.startswith(f"| {label} |")).split(" | ")
    return [f"{fields[4]} {fields[1]}"]


def numbers_on_the_page(comparison: Comparison, new: Run, label: str) -> list[str]:
    page = Rows(render([new], comparison))
    place = anchor(next(record.key for record in new.records if record.label == label))
    found = zip(page.rows, page.ids, strict=True)
    rows = [row for row, name in found if name == place or (row and row[0].strip() == label)]
    at = [(row, next((n for n, field in enumerate(row) if "regressed" in field), None)) for row in rows]
    return [" ".join(row[n : n + 3]) for row, n in at if n is not None]


def numbers_in_json_lines(comparison: Comparison, new: Run, label: str) -> list[str]:
    document = json.loads(as_json_lines(new, comparison, ()).splitlines()[0])
    return [f"{one['ratio']} {one['metric']}" for one in document["verdict"]["cells"] if one["label"] == label]


def numbers_in_json(comparison: Comparison, _new: Run, label: str) -> list[str]:
    cell = next(one for one in json.loads(formats.to_json(judge(comparison), comparison))["cells"]
                if one["label"] == label)  # fmt: skip
    return [cell["metric"]]


def first_said(text: str) -> str:
    return text.split("regressed: ", 1)[-1]


def words_of_junit(comparison: Comparison, label: str) -> str:
    suite = ET.fromstring(formats.to_junit(judge(comparison), comparison))
    case = next(case for case in suite.iter("testcase") if case.get("name") == label)
    return first_said(case.find("failure").get("message") or "")  # type: ignore[union-attr]  # it has failed


def words_of_github(comparison: Comparison, label: str) -> str:
    lines = formats.to_github_annotations(judge(comparison), comparison).splitlines()
    return next(line for line in lines if f"regressed%3A {label}::" in line).split("::", 2)[2]


def words_of_check(comparison: Comparison, label: str) -> str:
    lines = terminal.check_summary(judge(comparison), comparison).splitlines()
    return next(line for line in lines if line.startswith(f"  {label}: ")).split("regressed, ")[1]


def words_of_json(comparison: Comparison, label: str) -> str:
    cells = json.loads(formats.to_json(judge(comparison), comparison))["cells"]
    return next(one for one in cells if one["label"] == label)["reason"]


@pytest.fixture
def make(stored: Any) -> Callable[[Any], tuple[Comparison, Run]]:
    def made(change: Any) -> tuple[Comparison, Run]:
        new = change(stored, stored.run("0002_9f8e7d_20260102_090000"))
        return stored.compared(stored.run(), new), new

    return made


@pytest.mark.parametrize(("change", "label", "metric", "name", "ratio"), CASES)
def test_every_table_shows_the_number_of_the_metric_that_has_the_verdict(
    make: Any, change: Any, label: str, metric: str, name: str, ratio: str
) -> None:
    comparison, new = make(change)
    for numbers in (numbers_in_terminal, numbers_in_markdown, numbers_on_the_page):
        shown = numbers(comparison, new, label)
        assert shown, numbers.__name__
        for told in shown:
            assert re.search(ratio, told), (numbers.__name__, told)
            assert name in told, (numbers.__name__, told)
    assert len(numbers_on_the_page(comparison, new, label)) == 2  # among all cells, and against the base


@pytest.mark.parametrize(("change", "label", "metric", "name", "ratio"), CASES)
def test_a_number_for_programs_names_its_metric(
    make: Any, change: Any, label: str, metric: str, name: str, ratio: str
) -> None:
    comparison, new = make(change)
    cell = next(cell for cell in comparison.cells if cell.label == label)
    assert cell.deciding is not None
    assert numbers_in_json(comparison, new, label) == [metric]
    assert numbers_in_json_lines(comparison, new, label) == [f"{cell.deciding.ratio} {metric}"]


@pytest.mark.parametrize(("change", "label", "metric", "name", "ratio"), CASES)
def test_every_sentence_begins_with_the_metric_that_has_the_verdict(
    make: Any, change: Any, label: str, metric: str, name: str, ratio: str
) -> None:
    comparison, _ = make(change)
    for words in (words_of_junit, words_of_github, words_of_check, words_of_json):
        assert words(comparison, label).startswith(name or "step time"), words.__name__


@pytest.mark.parametrize(("change", "label", "metric", "name", "ratio"), CASES)
def test_the_plot_draws_the_metric_that_has_the_verdict(
    make: Any, change: Any, label: str, metric: str, name: str, ratio: str
) -> None:
    comparison, _ = make(change)
    bar = next(bar for bar in forest(comparison).bars if bar.cell.label == label)
    if metric in ("accuracy", "parameters"):
        assert bar.middle is None  # a difference has no place among ratios
    else:
        assert bar.middle is not None and bar.middle > WIDTH / 2


@pytest.mark.parametrize(("change", "label", "metric", "name", "ratio"), CASES)
def test_no_verdict_of_another_metric_stands_by_a_value_for_programs(
    make: Any, change: Any, label: str, metric: str, name: str, ratio: str
) -> None:
    comparison, new = make(change)
    cell = next(cell for cell in comparison.cells if cell.label == label)
    for entry in json.loads(formats.to_github_action_benchmark(comparison)):
        timed = next((one for one in cell.changes if entry["name"] == f"{label} {one.name}"), None)
        assert timed is None or entry["extra"].startswith(f"{timed.verdict}: ")
    values = {one.name: one.new for one in cell.changes}
    assert {name: one["value"] for name, one in json.loads(formats.to_bencher(comparison))[label].items()} == values
    samples = dict(
        re.findall(rf'^trainmark_(\w+)\{{cell="{label}"\}} (\S+)$', formats.to_openmetrics(comparison), re.M)
    )
    assert {name: float(value) for name, value in samples.items()} == values
    assert "verdict" not in next(csv.reader(io.StringIO(as_csv(new))))


def test_a_slow_down_is_among_the_reasons_first_whatever_else_is_worse(make: Any) -> None:
    comparison, _ = make(from_two_at_once)
    cell = next(cell for cell in comparison.cells if cell.label == CNN)
    assert re.match(r"step time 6\.\d\d× .*; parameters changed 1,070,794 → 1,070,798$", cell.reason or "")


def test_every_metric_that_is_worse_by_itself_is_among_the_reasons(stored: Any) -> None:
    new = stored.slowed(stored.run("0002"), CNN, 2)
    new = stored.with_metrics(new, CNN, parameters=1, peak_memory_bytes=9 * 10**9)
    (cell,) = [cell for cell in stored.compared(stored.run(), new).cells if cell.label == CNN]
    worse = [change for change in cell.changes if change.verdict == "regressed"]
    assert {change.name for change in worse} >= {"step_seconds", "parameters", "peak_memory_bytes"}
    assert all((change.reason or "absent") in (cell.reason or "") for change in worse)


def test_a_time_that_nobody_can_decide_is_told_beside_a_worse_count(stored: Any) -> None:
    new = stored.with_metrics(stored.slowed(stored.run("0002"), CNN, 6.13), CNN, parameters=1)
    (cell,) = [cell for cell in stored.compared(stored.run(), new, history=()).cells if cell.label == CNN]
    assert (cell.verdict, beside(cell).name) == ("regressed", "parameters")
    assert "step time 6." in (cell.reason or "")


@pytest.mark.parametrize("ratio", [0.5, 0.93, 1.0, 1.01, 1.08, 6.13])
def test_base_times_ratio_is_new_where_pairs_were_measured(stored: Any, ratio: float) -> None:
    run = stored.run()
    key = next(record.key for record in run.records if record.label == CNN)
    paired = stored.paired(run, run, {key: ratio})
    # Both sides of later pairs are slower: medians of each side alone would then say another ratio.
    some = [
        replace(
            pair,
            base=replace(pair.base, blocks=(number + 1.0,)),
            new=replace(pair.new, blocks=(ratio * (number + 1.0),)),
        )
        for number, pair in enumerate(paired.pairs[key])
    ]  # fmt: skip
    lopsided = replace(paired, pairs={key: [*some[:-3], *(replace(one, base=replace(one.base, blocks=(99.0,)))
                                                          for one in some[-3:])]})  # fmt: skip
    for one in (paired, lopsided):
        comparison = compare_paired(one)
        (time,) = [cell.time for cell in comparison.cells if cell.key == key]
        assert time is not None and time.base is not None and time.ratio is not None
        assert time.new == pytest.approx(time.base * time.ratio)


def test_the_table_says_how_the_new_time_of_pairs_comes_about(stored: Any) -> None:
    run = stored.paired_run()
    comparison = compare_paired(run)
    line = "New is the base's median times the ratio, which is estimated over the pairs."
    assert line in terminal.comparison_table(comparison)
    assert line in markdown.render(judge(comparison), comparison)
    assert line in unescape(render_paired(run, comparison))
    apart = stored.compared(stored.run(), stored.run())
    assert line not in terminal.comparison_table(apart) + markdown.render(judge(apart), apart)


def test_a_cell_that_no_metric_decided_has_no_number_beside_it() -> None:
    shown = beside(CellComparison("k", "cell", "failed", "died of SIGSEGV"))
    assert (shown.name, shown.base, shown.new, shown.ratio, shown.interval) == ("", "–", "–", "–", "–")
