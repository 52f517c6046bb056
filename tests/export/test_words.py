"""The page's numbers as files, the essentials as Markdown, and the forest plot: what each says of one comparison."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from trainmark.advise.recommend import advise
from trainmark.advise.reproduce import command
from trainmark.export.essentials import essentials
from trainmark.export.numbers import as_csv, as_json_lines
from trainmark.judge.comparison import CellComparison, Comparison, MetricChange, compare
from trainmark.judge.margins import Margins
from trainmark.page.forest import MOST_BARS, WIDTH, forest
from trainmark.store.cell import Cell
from trainmark.store.journal import Journal
from trainmark.store.pairs import write_paired_run
from trainmark.store.record import Record

CNN = "train cnn 256 cpu fp32"


def test_the_json_lines_hold_verdict_and_advice_and_then_a_line_a_record(stored: Any) -> None:
    base, new = stored.run(), stored.slowed(stored.run("0002"), CNN, 2)
    text = as_json_lines(new, stored.compared(base, new), advise(new.records))
    document, *records = map(json.loads, text.splitlines())
    assert [record["key"] for record in records] == [record.key for record in new.records]
    assert [Record.from_json(record) for record in records] == list(new.records)
    assert document["run"]["id"] == new.facts.id
    assert document["verdict"]["word"] == "regressed"
    worst = document["verdict"]["cells"][0]
    assert (worst["label"], worst["verdict"]) == (CNN, "regressed")
    assert worst["low"] < worst["ratio"] < worst["high"]
    assert {one["model"] for one in document["recommended"]} == {"mlp", "mlp-residual", "cnn", "resnet20"}


def test_the_csv_has_a_line_a_record(stored: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(stored.run()))))
    assert len(rows) == len(stored.run().records)
    assert {"key", "model", "batch_size", "step_seconds", "status", "flags"} <= set(rows[0])
    assert "rounds" not in rows[0]


def test_the_html_command_leaves_both_files_beside_the_page(
    stored: Any, reports_command: Callable[..., int], tmp_path: Any
) -> None:
    stored.store(stored.run())
    page = tmp_path / "page.html"
    assert reports_command("html", "-o", str(page)) == 0
    first = page.with_suffix(".jsonl").read_text().splitlines()[0]
    assert json.loads(first)["run"]["name"] == stored.run().name
    assert page.with_suffix(".csv").read_text().startswith("run,")
    assert 'href="page.jsonl"' in page.read_text()
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ["page.csv", "page.html", "page.jsonl"]


def test_the_essentials_begin_with_the_verdict_and_its_regressions(stored: Any) -> None:
    base, new = stored.run(), stored.slowed(stored.run("0002"), CNN, 2)
    text = essentials(new, stored.compared(base, new))
    lines = text.splitlines()
    assert lines[0] == "## Intel(R) Xeon(R) Processor"
    assert lines[4].startswith("### ❌ Regressed: 1 of 31 cells is worse")
    assert re.search(rf"^\| {CNN} \| \*\*regressed\*\* \|[^|]+\|[^|]+\| 2\.0\d× ", text, re.MULTILINE)
    assert "### Which setting" in text
    assert "Stop what else runs" in text


def test_the_essentials_of_a_single_run_have_no_verdict(stored: Any) -> None:
    text = essentials(stored.run())
    assert "Regressed" not in text
    assert "| mlp (cpu) | fastest |" in text


def test_hostile_names_stay_one_line_of_plain_markdown(stored: Any) -> None:
    name = "a|b`c<script>[x](javascript:y)\n# d" + "z" * 10_000
    run = stored.changed(stored.run(), CNN, status="error", reason=name, metrics={}, rounds=())
    text = essentials(replace(run, name=name, environment={"cpu": name}), compare(stored.run(), run))
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "\n# d" not in text
    assert max(map(len, text.splitlines())) < 2000


def test_the_markdown_command_compares_where_a_baseline_is_named(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for run in (*stored.earlier, stored.run(), stored.slowed(stored.run("0002_9f8e7d_20260102_090000"), CNN, 2)):
        stored.store(run)
    assert reports_command("markdown", "0002", "--baseline", "0001") == 0
    assert "### ❌ Regressed: 1 of 31 cells" in capsys.readouterr().out


def test_the_markdown_of_a_paired_run_has_verdict_and_numbers_like_that_of_a_stored_one(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_paired_run(stored.paired_run(), stored.folder)
    assert reports_command("markdown", str(file)) == 0
    text = capsys.readouterr().out
    assert text.startswith("## Intel(R) Xeon(R) Processor")
    assert "### ❌ Regressed: 5 of 31 cells are worse" in text
    assert "### Which setting" in text and "### Before you trust these numbers" in text


def test_the_markdown_of_an_interrupted_run_has_what_was_measured_by_then(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    run = stored.run()
    facts = replace(run.facts, complete=False, finished=None)
    journal = Journal.begin(tmp_path, facts, "1a2b3c4d5e6f", {"id": "1a2b3c"})
    for record in run.records[:9]:
        journal.append(record)
    journal.close()
    assert reports_command("markdown", str(journal.path)) == 0
    assert reports_command("html", str(journal.path), "-o", str(tmp_path / "page.html")) == 0
    text = capsys.readouterr().out
    assert ": 9 cells, interrupted, 2026-01-01 12:00 UTC" in text
    assert "The run was interrupted: 9 of 31 planned cells have a record" in text
    assert "| mlp (cpu) | fastest |" in text
    assert "· 9 configurations · interrupted" in re.sub(r"\s+", " ", (tmp_path / "page.html").read_text())


def test_a_record_in_the_json_lines_has_its_command_and_its_commit(stored: Any) -> None:
    run = stored.run()
    records = [json.loads(line) for line in as_json_lines(run, None, []).splitlines()[1:]]
    assert [record["command"] for record in records] == [command(record, run) for record in run.records]
    assert {record["commit"] for record in records} == {run.commit["id"]}


def test_the_forest_puts_one_in_the_middle_and_mirrors_ratios(stored: Any) -> None:
    base = stored.run()
    new = stored.slowed(stored.slowed(stored.run(), CNN, 2), "train mlp 64 cpu fp32", 0.5)
    drawn = forest(stored.compared(base, new))
    at = {bar.cell.label: bar for bar in drawn.bars}
    assert dict(drawn.ticks)["1"] == WIDTH / 2
    assert (at[CNN].middle or 0) - WIDTH / 2 == pytest.approx(
        WIDTH / 2 - (at["train mlp 64 cpu fp32"].middle or 0), abs=0.2
    )
    assert at[CNN].low is not None and at[CNN].middle is not None and at[CNN].high is not None
    assert at[CNN].low <= at[CNN].middle <= at[CNN].high
    left, width = at[CNN].band
    assert left + width / 2 == pytest.approx(WIDTH / 2, abs=0.2)
    assert at["train resnet20 256 cpu fp32"].middle is None


def test_a_bar_lies_where_the_logarithm_of_its_ratio_is_and_its_band_is_its_own_margin() -> None:
    """The largest ratio is 4: so the half of 240 units to the right of 1 are two doublings."""

    def cell(label: str, *ratios: float) -> CellComparison:
        low, middle, high = ratios
        change = MetricChange("step_seconds", 1.0, middle, "inconclusive", None, middle, low, high)
        return CellComparison(label, label, "inconclusive", None, (change,))

    root = 2**0.5
    cells = (cell("train cnn", 0.5, root, 2.0), cell("train mlp", 0.25, 1.0, 4.0))
    margins = Margins(0.03, (("cnn", root - 1),))
    drawn = forest(Comparison("base", "new", cells, same_machine=True, differences=(), margins=margins))
    cnn, mlp = drawn.bars
    assert (cnn.low, cnn.middle, cnn.high) == (60.0, 150.0, 180.0)
    assert (mlp.middle, mlp.beyond) == (120.0, "")
    assert (mlp.low, mlp.high) == (pytest.approx(0.02 * WIDTH), pytest.approx(0.98 * WIDTH))
    assert cnn.band == (90.0, 60.0)
    assert mlp.band == pytest.approx((120 - 2.56, 2 * 2.56), abs=0.1)  # 120 log(1.03) / log(4)
    assert {"0.5": 60.0, "1": 120.0, "2": 180.0}.items() <= dict(drawn.ticks).items()


def test_the_json_lines_have_the_interval_of_a_gain_and_of_a_ratio(stored: Any) -> None:
    new = stored.slowed(stored.full_run("0003"), CNN, 2)
    eager = next(record for record in new.records if record.label == "train mlp 64 cpu fp32")
    faster = {**eager.metrics, "samples_per_second": 2 * eager.metrics["samples_per_second"]}
    compiled = replace(
        eager, cell=Cell.of("train", compile="default"), metrics=faster, rounds=tuple(one / 2 for one in eager.rounds)
    )
    new = replace(new, records=(*new.records, compiled))
    comparison = stored.compared(stored.full_run(), new)
    found = advise(new.records)
    first = json.loads(as_json_lines(new, comparison, found).splitlines()[0])
    choices = [one for advice in found for one in advice.choices]
    told = [one for advice in first["recommended"] for one in advice["choices"]]
    assert [(one["gain_low"], one["gain"], one["gain_high"]) for one in told] == [
        (one.gain.low, one.gain.middle, one.gain.high) for one in choices
    ]
    assert any(one["gain_low"] is not None and one["gain_low"] < one["gain"] < one["gain_high"] for one in told)
    for cell, written in zip(comparison.cells, first["verdict"]["cells"], strict=True):
        ends = (cell.time.low, cell.time.ratio, cell.time.high) if cell.time else (None, None, None)
        assert (written["low"], written["ratio"], written["high"]) == ends


def test_a_ratio_beyond_the_plot_is_marked_at_its_edge(stored: Any) -> None:
    drawn = forest(compare(stored.run(), stored.slowed(stored.run(), CNN, 50)))
    bar = drawn.bars[0]
    assert bar.beyond == "right"
    assert bar.middle is not None and bar.middle < WIDTH


def test_the_forest_says_how_many_it_leaves_out(stored: Any) -> None:
    comparison = compare(stored.run(), stored.run())
    many = tuple(CellComparison(f"k{number}", "cell", "new") for number in range(MOST_BARS + 5))
    drawn = forest(replace(comparison, cells=many))
    assert (len(drawn.bars), drawn.left_out) == (MOST_BARS, {"new": 5})


def test_the_page_draws_the_history_of_the_stored_runs(
    stored: Any, reports_command: Callable[..., int], tmp_path: Any
) -> None:
    for number in range(1, 4):
        run = stored.run(f"000{number}_9f8e7d_2026010{number}_090000", seed=number)
        stored.store(replace(run, facts=replace(run.facts, started=f"2026-01-0{number}T09:00:00+00:00")))
    assert reports_command("html", "3", "-o", str(tmp_path / "page.html")) == 0
    text = (tmp_path / "page.html").read_text()
    assert 'id="history"' in text
    assert "in the first of 3 runs" in text


def test_the_page_opens_in_the_browser_where_that_is_asked(
    stored: Any, reports_command: Callable[..., int], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.store(stored.run())
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert reports_command("html", "-o", str(tmp_path / "page.html")) == 0
    assert opened == []
    assert reports_command("html", "--open", "-o", str(tmp_path / "page.html")) == 0
    assert opened == [(tmp_path / "page.html").as_uri()]
