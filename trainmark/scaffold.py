"""``trainmark init``: the few files that make a project a suite."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from trainmark.named import canonical
from trainmark.store.files import write_text

PLUGIN = 'pytest_plugins = ["trainmark.plugin"]'
CONFTEST = f'''"""Makes this project a suite: ``pytest {{folder}}`` measures it."""

{PLUGIN}
'''
BENCHMARKS = '''"""What this project measures: a function a workload, over the values of its parameters."""

import pytest


@pytest.mark.workload("train")
def test_train(measure):
    measure()


@pytest.mark.workload("inference")
def test_inference(measure):
    measure()


@pytest.mark.workload("input")
def test_input(measure):
    measure()
'''


class ScaffoldError(RuntimeError):
    """A project cannot be made a suite as it is; the message says what to do by hand."""


def make_suite(root: Path, models: Sequence[str] = (), folder: str = "bench") -> list[Path]:
    """Lays a minimal suite into a project, and gives the files that were written; what is there stays.

    Args:
        root: Folder of the project.
        models: ``package.module:factory``, measured where a call names none.
        folder: Where the benchmarks go.

    Raises:
        ScaffoldError: The project's conftest or pyproject has what this would change.
    """
    conftest, tests, project = root / "conftest.py", root / folder / "test_benchmarks.py", root / "pyproject.toml"
    if (root / folder).exists() and not (root / folder).is_dir():
        raise ScaffoldError(f"{root / folder} is a file: name another folder with --folder.")
    texts = {conftest: _conftest(conftest, folder), project: _table(project, models, folder)}
    if not any((root / folder).glob("test_*.py")):
        texts[tests] = BENCHMARKS
    return [write_text(file, text) for file, text in texts.items() if text is not None]


def _conftest(file: Path, folder: str) -> str | None:
    """The conftest with the plugin switched on; None where it is."""
    if not file.exists():
        return CONFTEST.format(folder=folder)
    text = file.read_text(encoding="utf-8")
    if "trainmark.plugin" in text:
        return None
    if re.search(r"^pytest_plugins\b", text, re.MULTILINE):
        raise ScaffoldError(f'{file} names pytest_plugins already: add "trainmark.plugin" to them.')
    return f"{text.rstrip()}\n\n{PLUGIN}\n"


def _table(file: Path, models: Sequence[str], folder: str) -> str | None:
    """The pyproject with a table of ours; None where it has one."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScaffoldError(f"{file} is not TOML: {error}.") from error
    if "trainmark" in tables.get("tool", {}):
        return None
    lines = ["[tool.trainmark]"]
    if models:
        listed = ", ".join(json.dumps(canonical(name), ensure_ascii=False) for name in models)
        lines.append(f"models = [{listed}]  # measured where a call names none")
    else:
        lines.append('# models = ["package.module:factory"]  # measured where a call names none')
    if folder != "bench":
        lines.append(f'benchmarks = "{folder}"')
    before = f"{text.rstrip()}\n\n" if text.strip() else ""
    return before + "\n".join(lines) + "\n"
