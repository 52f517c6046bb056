"""The commands that documents and workflows have people and machines type: each is one that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from trainmark import suite
from trainmark.cli import main
from trainmark.options import DEST
from trainmark.suite import Suite

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
FILES = ("README.md", "CONTRIBUTING.md", *DOCUMENTS, ".github/workflows/test.yml")
LINE = re.compile(r"^[ -]*(?:run: )?(?:python -m )?(pytest bench|trainmark) (.*?)(?: +#.*)?$", re.MULTILINE)
COMMANDS = [
    (program, arguments)
    for file in FILES
    if (ROOT / file).exists()
    for program, arguments in LINE.findall((ROOT / file).read_text(encoding="utf-8"))
]


def test_both_programs_are_documented() -> None:
    assert {program for program, _ in COMMANDS} == {"pytest bench", "trainmark"}  # else nothing is tested below


@pytest.mark.parametrize("arguments", [arguments for program, arguments in COMMANDS if program == "pytest bench"])
def test_pytest_has_every_option_of_a_documented_call(pytestconfig: pytest.Config, arguments: str) -> None:
    for option in re.findall(r"--([a-z-]+)", arguments):
        name = option.replace("-", "_")
        assert hasattr(pytestconfig.option, DEST + name) or hasattr(pytestconfig.option, name), option


@pytest.mark.parametrize("arguments", [arguments for program, arguments in COMMANDS if program == "trainmark"])
def test_trainmark_understands_every_documented_call(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is neither a run nor a repository
    monkeypatch.setattr(suite, "_opened", [Suite(tmp_path)])
    assert main(shlex.split(arguments)) == (0 if arguments.split(maxsplit=1)[0] in ("list", "init") else 2)
    assert "usage:" not in capsys.readouterr().err
