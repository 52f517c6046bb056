"""The commands printed on the example page measure again what they stand beside."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trainmark.page.anchors import anchor
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "reports" / "example" / "report.html"
QUICK = ("--benchmark-max-time=0.01", "-p", "no:cacheprovider")


def printed(workload: str) -> list[tuple[str, str]]:
    """Anchor and command of each configuration of a workload."""
    page = EXAMPLE.read_text(encoding="utf-8")
    (group,) = re.findall(rf'<details class="group"[^>]* id="of-{workload}">(.*?)</ol>', page, re.DOTALL)
    anchors = re.findall(r'<tr id="([^"]+)"', group)
    (begin,) = re.findall(r'<p class="begin"><code>(.*?)</code></p>', group)
    commands = [f"{begin} {end}" for end in re.findall(r"<li(?: hidden)?><code>(.*?)</code></li>", group)]
    return list(zip(anchors, map(html.unescape, commands), strict=True))


@pytest.mark.parametrize("workload", ["train", "inference", "ngram_fit"])
def test_a_printed_command_measures_its_configuration_and_no_other(workload: str, tmp_path: Path) -> None:
    name, text = printed(workload.replace("_", "-"))[0]
    words = shlex.split(text)
    assert words[:2] == ["pytest", "bench"]
    called = [sys.executable, "-m", "pytest", *words[1:], *QUICK, f"--benchmark-storage=file://{tmp_path}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(called, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = run_files(tmp_path)
    assert [anchor(record.key) for record in read_run(file).records] == [name]


def test_every_configuration_of_the_example_has_a_command() -> None:
    page = EXAMPLE.read_text(encoding="utf-8")
    workloads = re.findall(r'<details class="group"[^>]* id="of-([^"]+)">', page)
    assert {"train", "inference", "accuracy", "answer"} <= set(workloads)
    assert all(printed(workload) for workload in workloads)
