"""The commands that documents and workflows have people and machines type: each is one that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from trainmark.cli import main

ROOT = Path(__file__).parents[1]
FILES = ("README.md", "CONTRIBUTING.md", "docs/ci.md", "docs/measuring.md", ".github/workflows/test.yml")
LINE = re.compile(r"^[ -]*(?:run: )?(?:python -m )?(pytest bench|reports) (.*?)(?: +#.*)?$", re.MULTILINE)
COMMANDS = [
    (program, arguments)
    for file in FILES
    if (ROOT / file).exists()
    for program, arguments in LINE.findall((ROOT / file).read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("arguments", [arguments for program, arguments in COMMANDS if program == "pytest bench"])
def test_pytest_has_every_option_of_a_documented_call(pytestconfig: pytest.Config, arguments: str) -> None:
    for option in re.findall(r"--([a-z-]+)", arguments):
        assert hasattr(pytestconfig.option, option.replace("-", "_")), option


@pytest.mark.parametrize("arguments", [arguments for program, arguments in COMMANDS if program == "reports"])
def test_reports_understands_every_documented_call(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is neither a run nor a repository
    assert main(shlex.split(arguments)) == (0 if arguments == "list" else 2)
    assert "usage:" not in capsys.readouterr().err
