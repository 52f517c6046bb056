from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainmark.cli import main
from trainmark.judge.verdict import judge
from trainmark.store.pairs import write_paired_run
from trainmark.suite import Suite

ROOT = Path(__file__).parents[1]
Command = Callable[..., int]
CNN = "train cnn 256 cpu fp32"


@pytest.fixture
def history(stored: Any) -> None:
    """Stored runs of the same code, from which a check learns how much two runs differ."""
    for run in stored.earlier:
        stored.store(run)


@pytest.fixture
def base(stored: Any) -> Any:
    run = stored.run()
    stored.store(run)
    return run


def newer(stored: Any, **fields: Any) -> Any:
    run = stored.run("0002_9f8e7d_20260102_090000", seed=1)
    later = replace(run.facts, id="later", started="2026-01-02T09:00:00+00:00")
    return replace(run, **{"facts": later, **fields})


def test_the_command_starts_without_torch_and_without_plots() -> None:
    code = (
        "import trainmark.cli, sys;"
        "assert not {'torch', 'bench', 'models', 'matplotlib', 'seaborn', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", [("compare", "1", "2"), ("check", "1", "2"), ("list",), ("markdown", "2")])
def test_a_message_with_text_of_others_is_no_command_to_a_terminal(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    reason = "\x1b[2J\x07\n::error::x ##[add-mask]x \u202e"
    gone = {"metrics": {}, "rounds": (), "status": "crashed", "reason": reason}
    run = stored.changed(newer(stored), CNN, **gone)
    stored.store(replace(run, environment={**run.environment, "cpu": reason}, commit={"id": reason}))
    reports_command(*command)
    printed = "".join(capsys.readouterr()).replace("\n", "")
    assert printed.replace("\u200b", "").isprintable()
    assert "##[" not in printed


def test_the_command_opens_the_suite_without_torch_and_without_plots(base: Any, stored: Any) -> None:
    code = (
        "import trainmark.cli, sys;"
        f"assert trainmark.cli.main(['list', '--results', {str(stored.folder)!r}]) == 0;"
        "assert 'bench.ngram' in sys.modules;"
        "assert not {'torch', 'models', 'matplotlib', 'seaborn', 'jinja2', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("module", ["trainmark", "reports"])
def test_the_command_is_a_module_too(base: Any, stored: Any, module: str) -> None:
    command = [sys.executable, "-m", module, "list", "--results", str(stored.folder)]
    assert base.name in subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout


def test_the_page_is_drawn_without_torch() -> None:
    code = "import trainmark.page.html, sys; assert not {'torch', 'bench', 'models'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_of_the_same_numbers_passes(
    history: None, base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(newer(stored, records=base.records))
    assert reports_command("check", "1", "2", "--margin", "10%") == 0
    told = capsys.readouterr().out
    assert told.startswith("No regression against 0001_1a2b3c_20260101_120000: 28 of 31 cells compared")


def test_without_a_history_a_check_of_times_is_undecided_and_offers_the_paired_one(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.slowed(newer(stored), CNN, 2))
    assert reports_command("check", "1", "2") == 3
    told = capsys.readouterr().out
    assert told.startswith("Undecided: nothing was decided against 0001_1a2b3c_20260101_120000; failed on both sides: ")
    assert "pytest bench --against COMMIT" in told
    assert reports_command("check", "1", "2", "--inconclusive=pass") == 0


def test_a_regression_fails_the_check(
    history: None, base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.slowed(newer(stored), CNN, 2))
    assert reports_command("check", "1", "latest", "--margin", "10%") == 1
    lines = capsys.readouterr().out.splitlines()
    told = "Regressed: 1 of 31 cells is worse, failed or missing against 0001_1a2b3c_20260101_120000; failed on both "
    assert lines[0].startswith(told)
    assert lines[1].startswith(f"  {CNN}: regressed, step time 2.0")
    assert lines[2].startswith("Cells: 1 regressed, ")


def test_a_missing_cell_fails_the_check(base: Any, stored: Any, reports_command: Command) -> None:
    stored.store(newer(stored, records=base.records[1:]))
    assert reports_command("check", "1", "2") == 1


def test_a_failed_cell_fails_the_check(base: Any, stored: Any, reports_command: Command) -> None:
    stored.store(stored.changed(newer(stored), CNN, status="crashed", metrics={}, rounds=()))
    assert reports_command("check", "1", "2") == 1


def test_an_interrupted_run_is_told_how_to_go_on(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = newer(stored)
    stored.store(replace(run, records=run.records[:9], facts=replace(run.facts, complete=False, finished=None)))
    assert reports_command("check", "1", "2") == 3  # what was not reached decides nothing, and nothing else was decided
    told = capsys.readouterr().out
    assert "; 21 cells not measured" in told.splitlines()[0]
    assert "0002_9f8e7d_20260102_090000 was interrupted: finish it with pytest bench --resume." in told
    assert "0001_1a2b3c_20260101_120000 was interrupted" not in told


def test_another_machine_is_refused_and_the_difference_named(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(newer(stored, environment={**base.environment, "fingerprint": "f", "cpu": "Another"}))
    assert reports_command("check", "1", "2") == 3
    told = capsys.readouterr().out
    assert told.startswith("Not comparable: ")
    assert "cpu Intel(R) Xeon(R) Processor → Another" in told
    assert "--allow-different-machine" in told


def test_another_machine_can_be_allowed(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored.slowed(newer(stored, environment={**base.environment, "fingerprint": "f"}), CNN, 5)
    stored.store(run)
    assert reports_command("check", "1", "2", "--allow-different-machine") == 0
    assert "Only exact counts and accuracy were compared" in capsys.readouterr().out


def test_runs_without_a_common_measured_cell_are_not_comparable(stored: Any, reports_command: Command) -> None:
    for run in (stored.run(), newer(stored)):
        planned = replace(run.facts, planned=())
        stored.store(replace(run, records=tuple(one for one in run.records if one.status != "ok"), facts=planned))
    assert reports_command("check", "1", "2") == 3


def test_the_margin_of_times_is_an_option(history: None, base: Any, stored: Any, reports_command: Command) -> None:
    stored.store(stored.slowed(stored.run("0002_9f8e7d_20260102_090000"), CNN, 1.2))
    assert reports_command("check", "1", "2", "--margin", "50%") == 0
    assert reports_command("check", "1", "2", "--margin", "50%,train cnn=5%") == 1
    assert reports_command("check", "1", "2") == 1


def test_what_a_call_leaves_open_is_judged_as_the_suites_table_has_it(
    history: None, base: Any, stored: Any, reports_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = {"inconclusive": "pass", "missing": "warn", "margin": "50%,train cnn=5%"}
    monkeypatch.setattr("trainmark.suite._opened", [Suite(tmp_path, options=table)])
    stored.store(stored.slowed(newer(stored, records=base.records[1:]), CNN, 1.2))
    assert reports_command("check", "1", "2") == 1  # for the margin
    assert reports_command("check", "1", "2", "--margin", "50%") == 0
    assert reports_command("check", "1", "2", "--margin", "50%", "--missing=fail") == 1


@pytest.mark.parametrize(("margins", "code"), [("3%", 1), ("", 0)])
def test_a_paired_run_is_judged_by_its_own_margins_before_those_of_the_table(
    stored: Any, reports_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, margins: str, code: int
) -> None:
    monkeypatch.setattr("trainmark.suite._opened", [Suite(tmp_path, options={"margin": "60%"})])
    run = stored.run(PAIRED)
    key = next(record.key for record in run.records if record.cell.label == CNN)
    measured = replace(stored.paired(run, run, {key: 1.2}), margins=margins)
    write_paired_run(measured, stored.folder)
    assert reports_command("check", PAIRED) == code


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "inf", "many", "3%,cnn=", "200%"])
def test_a_margin_that_is_no_share_is_a_usage_error(margin: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["check", "1", "1", f"--margin={margin}"])
    assert exit_.value.code == 2


@pytest.mark.parametrize("command", [["check", "1", "nowhere"], ["compare", "1", "nowhere"], ["html", "nowhere"]])
def test_an_unknown_run_is_one_sentence(
    base: Any, reports_command: Command, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert reports_command(*command) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith('No run named "nowhere" in ')
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cut short"),
        ("[]", "not a stored run"),
        (json.dumps({"trainmark": {"schema_version": 99}}), "update trainmark to read it"),
        (json.dumps({"benchmarks": []}), "did not measure"),
    ],
)
def test_an_unreadable_file_is_one_sentence(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str], content: str, told: str
) -> None:
    file = stored.folder / "0002_broken.json"
    file.write_text(content, encoding="utf-8")
    assert reports_command("check", "1", "2") == 2
    error = capsys.readouterr().err
    assert told in error
    assert str(file) in error
    assert error.count("\n") == 1


def test_an_empty_run_is_a_usage_error(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(replace(stored.run(), records=()))
    assert reports_command("html") == 2
    assert "holds no record" in capsys.readouterr().err


def test_a_folder_without_runs_says_how_to_record_one(
    reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reports_command("check", "1", "2") == 2
    assert "Record one: pytest bench" in capsys.readouterr().err
    assert reports_command("list") == 0
    assert "Record one: pytest bench" in capsys.readouterr().out


def test_a_page_that_cannot_be_written_is_a_usage_error(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (stored.folder / "file").touch()
    for output, told in (("file/page.html", "file: File exists."), ("file/below/page.html", "Not a directory."),
                         ("", f"{stored.folder}: Is a directory.")):  # fmt: skip
        assert reports_command("html", "-o", str(stored.folder / output)) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_verdict_that_finds_no_space_is_a_usage_error(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(newer(stored))
    assert reports_command("check", "1", "2", "--json", "/dev/full") == 2
    assert capsys.readouterr().err == "/dev/full: No space left on device. Name another file or folder.\n"


PAIRED = "20260101T120000-abcdef"


@pytest.fixture
def paired(stored: Any) -> str:
    """The name of a run of two sides."""
    run = stored.run(PAIRED)
    write_paired_run(stored.paired(run, run, {}), stored.folder)
    return PAIRED


@pytest.mark.parametrize("name", [PAIRED, "main", "latest", "20260101"])
@pytest.mark.parametrize("command", ["html", "markdown", "recommend --run"])
def test_what_reads_a_run_reads_one_of_two_sides_too(
    paired: str, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    assert reports_command(*command.split(), name) == 0
    told = capsys.readouterr().out
    assert {"html": "report.html", "markdown": PAIRED, "recommend --run": "mlp on cpu"}[command] in told.replace(
        "\n", " "
    )


def test_a_profile_of_a_run_of_two_sides_says_that_there_is_none(
    paired: str, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reports_command("profile", "train", "--run", paired) == 2
    assert capsys.readouterr().err == f"{PAIRED} has no profile of any cell: measure one: pytest bench --profile\n"


def test_an_exact_side_goes_before_a_part_of_a_name(
    base: Any, paired: str, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.run("0005_of-main-street"))
    assert reports_command("markdown", "main") == 0
    assert PAIRED in capsys.readouterr().out
    assert reports_command("markdown", "of-main") == 0
    assert "0005" in capsys.readouterr().out


def test_two_runs_saved_under_a_name_are_told_though_a_side_is_called_so_too(
    paired: str, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (5, 6):
        stored.store(stored.run(f"000{number}_main"))
    assert reports_command("markdown", "main") == 2
    assert "2 runs fit 'main'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "check 1 1",
        "compare 1 0001",
        "diff-profile 1 latest",
        "html 1 --baseline 1",
        "markdown 1 --baseline latest",
    ],
)
def test_a_run_is_no_base_of_itself(
    base: Any, reports_command: Command, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert reports_command(*command.split()) == 2
    told = "Both names are of the same run, 0001_1a2b3c_20260101_120000: name two.\n"
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize(
    "command", ["check", "check 1", "compare 1", "html", "markdown", "recommend --run", "html 1 --baseline"]
)
def test_an_empty_name_is_a_wrong_call(
    base: Any, paired: str, reports_command: Command, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """As of a variable that is not set: it is a part of every name."""
    assert reports_command(*command.split(), "") == 2
    assert capsys.readouterr().err.startswith("The name of a run is empty")


def test_ctrl_c_ends_a_command_without_a_traceback(
    base: Any, reports_command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainmark.cli.run_files", interrupted)
    assert reports_command("list") == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_the_folder_of_a_page_is_made_where_it_is_missing(base: Any, stored: Any, reports_command: Command) -> None:
    page = stored.folder / "new" / "folder" / "page.html"
    assert reports_command("html", "-o", str(page)) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_compare_lists_every_cell_with_the_largest_change_first(
    history: None, base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.slowed(newer(stored), CNN, 2))
    assert reports_command("compare", "1", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = lines[5 : 5 + len(base.records)]
    assert rows[0].startswith(CNN)
    assert {record.label for record in base.records} == {row.split("  ")[0] for row in rows}
    assert "regressed" in rows[0]
    assert any("accuracy " in row for row in rows)


def test_compare_and_check_give_the_same_sentence(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.slowed(newer(stored), CNN, 2))
    reports_command("compare", "1", "2")
    compared = capsys.readouterr().out
    reports_command("check", "1", "2")
    assert capsys.readouterr().out.splitlines()[0] in compared


def test_list_names_each_run_and_leaves_the_readable_ones_readable(
    base: Any, stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = newer(stored, commit={"id": "9f8e7d6c5b4a3", "dirty": True})
    stored.store(replace(run, facts=replace(run.facts, complete=False)))
    (stored.folder / "0003_broken.json").write_text("{", encoding="utf-8")
    assert reports_command("list") == 0
    told = capsys.readouterr().out
    assert "1a2b3c4d5e6f" in told
    assert "9f8e7d6c5b4a (dirty)" in told
    assert "Intel(R) Xeon(R) Processor" in told
    assert "complete" in told
    assert "interrupted" in told
    assert "unreadable: " in told
    assert "0003_broken.json: not JSON, or cut short" in told


def test_hostile_names_send_no_control_characters_to_the_terminal(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored.run()
    stored.store(replace(run, environment={**run.environment, "cpu": "\x1b[2J\u202ecpu"}))
    reports_command("list")
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_the_verdict_names_each_regression(stored: Any) -> None:
    verdict = judge(stored.compared(stored.run(), stored.slowed(stored.run(), CNN, 2)))
    assert [cell.label for cell in verdict.regressions] == [CNN]
    assert verdict.word == "regressed"
