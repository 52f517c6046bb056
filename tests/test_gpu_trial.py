"""The trial of a GPU, rehearsed on the CPU: it ends in a run like any other, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.evidence.gpu import PARTS, PLANTED, RUN, Trial, is_installed
from docs.evidence.gpu_checks import CHECKS
from trainmark.cli import main
from trainmark.store.runs import find_run, read_run

ROOT = Path(__file__).parents[1]
PLACES = re.compile(r"^\| `trainmark/.*\|$", re.MULTILINE)


def rehearse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "docs/evidence/gpu.py", "--device", "cpu", "--small", "--out", str(folder), *arguments]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "TRAINMARK_ROOT")
    }
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("trial")
    first = rehearse(folder, "configurations", "pairs")
    assert first.returncode == 0, first.stdout + first.stderr
    return folder, rehearse(folder)


def test_the_rehearsal_ends_well_with_every_part_done_or_its_reason(
    rehearsal: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = rehearsal
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in (folder / "summary.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert [row[1].strip() for row in rows] == list(PARTS)
    for row in rows:
        finished, of, planned = row[2].split()
        assert (of, finished) == ("of", planned), row
    steps = [json.loads(line)["step"] for line in (folder / "checks.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps)) + 1  # the page alone is made anew: nothing is done twice
    assert {f"check {name}" for name in CHECKS} <= set(steps)


def test_what_it_leaves_is_a_run_like_any_other_with_its_page(
    rehearsal: tuple[Path, subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = rehearsal
    run = read_run(find_run("latest", folder))
    assert run.facts.complete
    assert {record.cell.workload for record in run.records} >= {"train", "inference", "capacity", "accuracy", "input"}
    assert {record.status for record in run.records} == {"ok"}
    compiled = next(record for record in run.records if record.cell.settings.get("compile") == "reduce-overhead")
    assert compiled.metrics["compile_seconds"] > compiled.metrics["step_seconds"]
    assert compiled.metrics["operators_per_step"] > 0  # of a process of its own
    assert (folder / "report.html").stat().st_size > 10_000
    assert main(["list", "--results", str(folder)]) == 0
    assert RUN.removesuffix(".json") in capsys.readouterr().out
    assert all(file.stat().st_size < 5 * 2**20 for file in folder.rglob("*") if file.is_file())


def test_a_planted_share_is_in_the_pairs(rehearsal: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    told = [json.loads(line) for line in (rehearsal[0] / "pairs.jsonl").read_text().splitlines()]
    planted = {pair["planted_percent"]: pair["steps"] for pair in told}
    assert planted[0]["base"] == planted[0]["new"]
    assert planted[5] == {"base": 20, "new": 21}


def test_a_planted_share_is_a_whole_number_of_steps() -> None:
    assert all((steps * share) % 100 == 0 for share, steps in PLANTED)


def test_the_weightiest_parts_are_announced_for_six_minutes(tmp_path: Path) -> None:
    trial = Trial("cuda", small=False, folder=tmp_path, until=0.0, data_root=tmp_path)
    first = list(PARTS)[:3]
    assert first == ["tests", "instruments", "configurations"]
    steps = [step for part in first for step in PARTS[part](trial)]
    assert sum(step.seconds for step in steps) <= 360
    assert len({step.name for step in steps}) == len(steps)
    chosen = [step.name for step in steps if step.name.startswith("record train")]
    assert len(chosen) == 12
    for value in ("tf32", "bf16", "fp16", "reduce-overhead", "channels_last", "resnet50"):
        assert any(value in name for name in chosen)


def test_a_line_that_a_kill_cut_short_costs_its_own_step_alone(tmp_path: Path) -> None:
    trial = Trial("cuda", small=False, folder=tmp_path, until=0.0, data_root=tmp_path)
    trial.keep("one", {"holds": True}, 1.0)
    trial.checks.write_text(trial.checks.read_text() + '{"step": "tw')
    again = Trial("cuda", small=False, folder=tmp_path, until=0.0, data_root=tmp_path)
    again.keep("two", {"holds": None, "reason": "left out"}, 2.0)
    last = Trial("cuda", small=False, folder=tmp_path, until=0.0, data_root=tmp_path)
    assert list(last.done) == ["one", "two"]
    assert last.done["two"]["reason"] == "left out"


def test_a_module_of_a_package_that_is_not_there_is_not_installed() -> None:
    assert is_installed("json.decoder")
    assert not any(map(is_installed, ("json.nothing", "nothing_at_all", "nothing_at_all.inside")))


def test_each_check_is_in_one_part(tmp_path: Path) -> None:
    trial = Trial("cuda", small=False, folder=tmp_path, until=0.0, data_root=tmp_path)
    names = [step.name.removeprefix("check ") for part in ("instruments", "paths") for step in PARTS[part](trial)]
    assert sorted(names) == sorted(CHECKS)


def test_where_there_is_no_time_nothing_is_begun_and_that_is_said(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "--seconds", "0", "configurations")
    assert done.returncode == 0, done.stderr
    assert "no time left for" in done.stdout
    assert not (tmp_path / RUN).exists()


def test_every_place_that_has_not_run_on_hardware_has_a_check_of_the_trial() -> None:
    text = (ROOT / "docs" / "measuring.md").read_text(encoding="utf-8").partition("## Not yet run on hardware")[2]
    rows = PLACES.findall(text)
    assert len(rows) >= 13
    for row in rows:
        checks = re.findall(r"`(\w+)`", row.rsplit("|", 2)[1])
        assert set(checks) <= set(CHECKS)
        assert checks or row.endswith(("| each record |", "| the stored run |"))
