"""One verdict through every format: each is read back by a parser of its own."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from trainmark.export import formats as exports
from trainmark.export import markdown
from trainmark.export.terminal import comparison_table
from trainmark.judge.comparison import CellComparison, Comparison, MetricChange
from trainmark.judge.policy import Policy
from trainmark.judge.verdict import Verdict, judge

CNN = "train cnn 256 cpu fp32"
HOSTILE = '\x00</testsuite><script> | `@everyone` ::error::\n"%0A" \u202e <img src=x>'


@pytest.fixture
def comparison(stored: Any) -> Comparison:
    new = stored.slowed(stored.run("0002_9f8e7d_20260102_090000"), CNN, 2)
    return stored.compared(stored.run(), replace(new, records=new.records[1:]))


@pytest.fixture
def verdict(comparison: Comparison) -> Verdict:
    return judge(comparison)


@pytest.fixture
def hostile(comparison: Comparison) -> Comparison:
    cells = (CellComparison("train model=x", HOSTILE, "regressed", HOSTILE), *comparison.cells)
    return replace(comparison, cells=cells, base=HOSTILE)


@pytest.fixture
def huge(comparison: Comparison) -> Comparison:
    cells = tuple(CellComparison(f"train n={n}", f"cell {n}", "regressed", "because " * 40) for n in range(2000))
    return replace(comparison, cells=cells)


def test_json_holds_every_cell_and_metric(verdict: Verdict, comparison: Comparison) -> None:
    document = json.loads(exports.to_json(verdict, comparison))
    assert (document["verdict"], document["exit_code"]) == ("regressed", 1)
    assert [cell["label"] for cell in document["cells"]] == [cell.label for cell in comparison.cells]
    time = next(metric for metric in document["cells"][1]["metrics"] if metric["name"] == "step_seconds")
    assert time["low"] < time["ratio"] < time["high"]
    assert time["ratio"] == pytest.approx(2)


def test_junit_fails_what_fails_the_check_and_skips_what_is_open(verdict: Verdict, comparison: Comparison) -> None:
    suite = ET.fromstring(exports.to_junit(verdict, comparison)).find("testsuite")
    assert suite is not None
    failed = {case.get("name") for case in suite if case.find("failure") is not None}
    assert failed == {cell.label for cell in verdict.regressions}
    skipped = {case.get("name") for case in suite if case.find("skipped") is not None}
    assert skipped == {cell.label for cell in comparison.cells if cell.verdict in ("inconclusive", "incomparable")}
    assert (suite.get("failures"), suite.get("tests")) == ("2", "31")


def test_junit_says_where_the_whole_fails_and_no_cell_does(stored: Any) -> None:
    comparison = stored.compared(stored.run(), replace(stored.run(), environment={"fingerprint": "f"}))
    suite = ET.fromstring(exports.to_junit(judge(comparison), comparison)).find("testsuite")
    assert suite is not None
    error = suite.find("testcase/error")
    assert suite.get("errors") == "1"
    assert error is not None
    assert "different environments" in (error.get("message") or "")


def test_a_missing_cell_that_is_let_pass_is_skipped_and_not_failed(comparison: Comparison) -> None:
    verdict = judge(comparison, Policy(missing="warn"))
    suite = ET.fromstring(exports.to_junit(verdict, comparison)).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"


def test_a_comment_shows_regressions_first_and_every_cell(verdict: Verdict, comparison: Comparison) -> None:
    text = markdown.render(verdict, comparison)
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert text.startswith("### ❌ Regressed: 2 of 31 cells")
    assert len(rows) == 31
    assert all("**missing**" in row or "**regressed**" in row for row in rows[:2])
    assert "2.00× \\[" in text


def test_a_comment_stays_below_the_limit_and_counts_what_it_leaves_out(huge: Comparison) -> None:
    text = markdown.render(judge(huge), huge)
    rows = len(re.findall(r"^\| cell \d", text, re.MULTILINE))
    assert len(text) < markdown.LIMIT
    assert f"{2000 - rows:,} more cells not shown." in text
    assert rows > 100


def test_hostile_names_neither_break_out_of_a_table_nor_call_anybody(hostile: Comparison) -> None:
    text = markdown.render(judge(hostile), hostile)
    assert "<script>" not in text
    assert "<img" not in text
    assert "@everyone" not in text
    assert "\u202e" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_hostile_names_leave_xml_readable(hostile: Comparison) -> None:
    suite = ET.fromstring(exports.to_junit(judge(hostile), hostile)).find("testsuite")
    assert suite is not None
    assert len(suite) == 32


def test_hostile_names_give_one_command_a_line(hostile: Comparison) -> None:
    lines = exports.to_github_annotations(judge(hostile), hostile).splitlines()
    assert all(line.startswith("::error title=") for line in lines)
    assert len(lines) == 3


def test_at_most_ten_annotations_are_made_and_the_rest_counted(huge: Comparison) -> None:
    lines = exports.to_github_annotations(judge(huge), huge).splitlines()
    assert len(lines) == 10
    assert "1991 more cells" in lines[-1]


@pytest.mark.parametrize(("factor", "kind"), [(1, "notice"), (None, "warning")])
def test_a_check_without_regressions_is_told_too(stored: Any, factor: int | None, kind: str) -> None:
    history = stored.earlier if factor else ()
    comparison = stored.compared(stored.run(), stored.run(), history=history)
    assert exports.to_github_annotations(judge(comparison), comparison).startswith(f"::{kind} title=")


def test_github_action_benchmark_gets_each_time_with_its_unit(comparison: Comparison) -> None:
    entries = json.loads(exports.to_github_action_benchmark(comparison))
    cnn = next(entry for entry in entries if entry["name"].startswith(CNN))
    assert {"name", "unit", "value", "range", "extra"} == set(cnn)
    assert (cnn["unit"], cnn["extra"].split(":")[0]) == ("s", "regressed")
    assert all(isinstance(entry["value"], float) for entry in entries)


def test_bencher_gets_values_with_their_interval(comparison: Comparison) -> None:
    document = json.loads(exports.to_bencher(comparison))
    time = document[CNN]["step_seconds"]
    assert time["lower_value"] < time["value"] < time["upper_value"]
    assert document[CNN]["parameters"] == {"value": 1_070_794}


# Exact numbers


def made_up() -> Comparison:
    """Two cells whose numbers all differ: of a base, of the new side, of their ratio and its interval."""
    time = MetricChange("step_seconds", 0.004, 0.006, "regressed", "slower", 1.5, 1.25, 2.0, pairs=24, dropped=3)
    count = MetricChange("parameters", 11, 13, "regressed", "changed", 13 / 11)
    faster = MetricChange("step_seconds", 0.5, 0.25, "improved", None, 0.5, 0.4, 0.625)
    cells = (
        CellComparison("train", "train mlp", "regressed", "slower; changed", (time, count)),
        CellComparison("train model=cnn", "train cnn", "improved", None, (faster,)),
    )
    return Comparison("before", "after", cells, same_machine=True, differences=())


def test_json_tells_both_sides_and_the_interval_of_each_metric() -> None:
    document = json.loads(exports.to_json(judge(made_up()), made_up()))
    time, count = document["cells"][0]["metrics"]
    assert {name: time[name] for name in ("base", "new", "ratio", "low", "high", "pairs", "dropped")} == {
        "base": 0.004, "new": 0.006, "ratio": 1.5, "low": 1.25, "high": 2.0, "pairs": 24, "dropped": 3,
    }  # fmt: skip
    assert (count["base"], count["new"], document["base"], document["new"]) == (11, 13, "before", "after")


def test_openmetrics_tells_the_number_of_the_new_side() -> None:
    lines = exports.to_openmetrics(made_up()).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'trainmark_step_seconds{cell="train mlp"} 0.006',
        'trainmark_step_seconds{cell="train cnn"} 0.25',
        'trainmark_parameters{cell="train mlp"} 13',
    ]


def test_github_action_benchmark_tells_the_time_of_the_new_side_and_its_range_against_the_base() -> None:
    slower, faster = json.loads(exports.to_github_action_benchmark(made_up()))
    assert (slower["name"], slower["value"], slower["unit"]) == ("train mlp step_seconds", 0.006, "s")
    assert (slower["range"], slower["extra"]) == ("1.250 to 2.000 of the base", "regressed: slower")
    assert (faster["value"], faster["range"], faster["extra"]) == (
        0.25,
        "0.400 to 0.625 of the base",
        "improved: within the margin",
    )


def test_bencher_gets_the_interval_of_the_ratio_around_the_time_of_the_new_side() -> None:
    document = json.loads(exports.to_bencher(made_up()))
    assert document["train mlp"]["step_seconds"] == pytest.approx(
        {"value": 0.006, "lower_value": 0.005, "upper_value": 0.008}
    )
    assert document["train cnn"]["step_seconds"] == pytest.approx(
        {"value": 0.25, "lower_value": 0.2, "upper_value": 0.3125}
    )
    assert document["train mlp"]["parameters"] == {"value": 13}


def test_junit_counts_what_failed_and_what_was_left_open() -> None:
    open_ = CellComparison("input", "input", "inconclusive", "cannot be told")
    comparison = replace(made_up(), cells=(*made_up().cells, open_))
    suite = ET.fromstring(exports.to_junit(judge(comparison), comparison)).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip


def test_a_comment_and_a_table_have_the_base_before_the_new_side() -> None:
    comment = markdown.render(judge(made_up()), made_up())
    assert "| train mlp | **regressed** | 4.00 ms | 6.00 ms | 1.50× \\[1.25, 2.00\\] | slower; changed |" in comment
    assert "| train cnn | improved | 500 ms | 250 ms | 0.50× \\[0.40, 0.62\\] |" in comment
    row = next(line for line in comparison_table(made_up()).splitlines() if line.startswith("train mlp"))
    assert row.split("  ")[0] == "train mlp"
    assert re.split(r"\s{2,}", row)[1:6] == ["4.00 ms", "6.00 ms", "1.50×", "[1.25, 2.00]", "regressed"]


def test_openmetrics_has_one_family_a_metric_and_ends_as_it_must(hostile: Comparison) -> None:
    lines = exports.to_openmetrics(hostile).splitlines()
    assert lines[-1] == "# EOF"
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    sample = re.compile(r'trainmark_\w+\{cell="(?:[^"\\]|\\.)*"\} \S+')
    assert all(sample.fullmatch(line) for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("option", ["json", "junit", "markdown", "github-benchmark", "bencher", "openmetrics"])
def test_each_format_is_an_option_of_check(stored: Any, reports_command: Any, option: str) -> None:
    for name in ("0001_baseline", "0002_later"):
        stored.store(stored.run(name))
    file = stored.folder / "out"
    reports_command("check", "1", "2", f"--{option}", str(file))
    assert file.read_text(encoding="utf-8")


def test_the_summary_of_a_step_is_appended_to(
    stored: Any, reports_command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0001_baseline", "0002_later"):
        stored.store(stored.run(name))
    summary = stored.folder / "summary"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    reports_command("check", "1", "2", "--github")
    assert summary.read_text(encoding="utf-8").startswith("before\n### ❔ Undecided")
    assert "::warning title=undecided::" in capsys.readouterr().out
