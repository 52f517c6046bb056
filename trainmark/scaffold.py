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
BENCHMARKS = '''"""What this project measures: a function a workload, over the values of its parameters.

    pytest {folder} --benchmark-autosave     # what does a step cost, and where does its time go?
    pytest {folder} --against HEAD~1         # did the last commit make it slower?
    pytest {folder} -k train --batch-size 64 # less of it
"""

import pytest


@pytest.mark.workload("train")  # forward, loss, backward, optimizer step
def test_train(measure):
    measure()


@pytest.mark.workload("inference")  # forward alone
def test_inference(measure):
    measure()


@pytest.mark.workload("input")  # having a batch, without a model
def test_input(measure):
    measure()


@pytest.mark.workload("accuracy")  # a whole training, and what the held-out data say
def test_accuracy(measure):
    measure()


@pytest.mark.workload("answer")  # the setting that trains an equal model soonest
def test_answer(measure):
    measure()
'''
SETTINGS = """\
# What counts where a call says nothing, so that CI calls `pytest {folder} --against main` and nothing else:
# budget = "10m"         # of a comparison
# margin = "3%"          # by which a time may differ; for some benchmarks another: "3%,inference=5%"
# inconclusive = "warn"  # benchmarks that are not decided: pass, warn or fail
# missing = "fail"       # benchmarks that are no longer there
# changed = "warn"       # benchmarks that compute something else
# counts = "pass"        # counts that explain a time, such as operators; fail judges them
# answer = "40s"         # for the evidence of each model's answer
# threads = 1            # CPU threads; without this line all cores but one
# data_root = "data"     # where data sets lie
# grid = "quick"         # which of the grids
#
# [tool.trainmark.grids.quick]
# batch_sizes = [64, 256]
# epochs = 10            # of a benchmark of the accuracy
# seeds = 3
"""
NOT_PACKAGES = {"build", "dist", "docs", "node_modules", "results", "test", "tests"}


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
        texts[tests] = BENCHMARKS.format(folder=folder)
    return [write_text(file, text) for file, text in texts.items() if text is not None]


def folder_of(module: str, root: Path) -> str | None:
    """The folder of a project in which a module is found; ``.`` for the project's own, None where there is none.

    Args:
        module: Dotted name: its first part is looked for.
        root: Of the project.
    """
    name = module.partition(".")[0]
    inner = [place for place in root.iterdir() if place.is_dir() and not place.name.startswith(".")]
    inner = [place for place in inner if not _is_no_place(place)]
    for place in (root, *sorted(inner, key=lambda one: (one.name != "src", one.name))):
        if (place / f"{name}.py").is_file() or (place / name / "__init__.py").is_file():
            return place.relative_to(root).as_posix()
    namespace = next((place for place in (root, root / "src") if any((place / name).glob("*.py"))), None)
    return None if namespace is None else namespace.relative_to(root).as_posix()


def packages_of(root: Path) -> list[str]:
    """The project's packages, those in ``src`` before those beside it."""
    found = [file.parent for place in (root / "src", root) for file in sorted(place.glob("*/__init__.py"))]
    return list(dict.fromkeys(place.name for place in found if not _is_no_place(place)))


def _is_no_place(folder: Path) -> bool:
    """Whether nobody's packages are there: an environment, or what a project has beside its code."""
    return folder.name in NOT_PACKAGES or (folder / "pyvenv.cfg").exists()


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
        lines.append(f"models = [{listed}]  # package.module:factory; measured where a call names none")
    else:
        package = next(iter(packages_of(file.parent)), "package")
        lines.append(f'# models = ["{package}.module:factory"]  # measured where a call names none')
    folders = _folders_of(models, file.parent)
    if folders:
        listed = ", ".join(f'"{name}"' for name in folders)
        lines.append(f"pythonpath = [{listed}]  # where the packages are, beside this folder")
    if folder != "bench":
        lines.append(f'benchmarks = "{folder}"  # the folder that pytest measures where it is named')
    before = f"{text.rstrip()}\n\n" if text.strip() else ""
    return before + "\n".join(lines) + "\n" + SETTINGS.format(folder=folder)


def _folders_of(models: Sequence[str], root: Path) -> list[str]:
    """Folders that the search path needs: of the models' packages, or without models ``src`` where it has some."""
    if not models:
        return ["src"] if any(file.parent.name in packages_of(root) for file in root.glob("src/*/__init__.py")) else []
    found = dict.fromkeys(folder_of(name.partition(":")[0], root) for name in models)
    return [folder for folder in found if folder not in (None, ".")]
