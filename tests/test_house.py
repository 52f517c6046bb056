"""The house: arrows go one way, the engine knows nothing of the suite, and no name means two things."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = sorted((ROOT / "trainmark").rglob("*.py"))
SUITE = sorted(file for name in ("bench", "models", "reports") for file in (ROOT / name).rglob("*.py"))
# What each part of the engine may import when it is imported itself; what waits inside a function is not counted.
BELOW = {
    "store": {"formatting"},
    "judge": {"store", "formatting"},
    "workloads": {"store", "formatting", "measure", "suite", "named", "scratch"},
    "advise": {"store", "judge", "formatting", "workloads"},
    "page": {"store", "judge", "advise", "formatting", "workloads", "suite"},
    "export": {"store", "judge", "advise", "formatting", "workloads"},
    "meters": {"store", "scratch"},
    "measure": {"store", "meters", "workloads", "suite", "model", "named", "task", "git", "scratch", "formatting"},
    "task": {"store"},
    "against": {"store", "measure", "meters", "workloads", "suite", "formatting", "git", "scratch"},
    "cluster": {"store", "measure", "workloads", "suite", "formatting"},
    "git": set(),
    "scratch": set(),
}
READING = ("store", "judge", "advise", "page", "export", "workloads", "cli", "suite")


def imported(file: Path) -> Iterator[str]:
    """Modules that a file imports when it is imported: not those inside functions or for type checkers alone."""

    def walk(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                yield from walk(node.orelse)
            elif isinstance(node, ast.If | ast.Try | ast.With):
                yield from walk(node.body)

    yield from walk(ast.parse(file.read_text(encoding="utf-8")).body)


def part_of(module: str) -> str:
    """``trainmark.store.cell.Cell`` is of ``store``."""
    return module.split(".")[1]


@pytest.mark.parametrize("part", BELOW)
def test_arrows_go_one_way(part: str) -> None:
    upward = {
        f"{file.relative_to(ROOT)} imports {module}"
        for file in ENGINE
        if file.relative_to(ROOT / "trainmark").parts[0] == part
        for module in imported(file)
        if module.startswith("trainmark.") and part_of(module) not in {part, *BELOW[part]}
    }
    assert not upward


def test_the_engine_names_nothing_of_the_suite() -> None:
    names = re.compile(r"^\s*(?:from|import) (bench|models|reports|results)\b", re.MULTILINE)
    assert not [file.name for file in ENGINE if names.search(file.read_text(encoding="utf-8"))]
    words = re.compile(r"lecture_|ngram|mnist(?!-5k\", \"a registered)", re.IGNORECASE)
    told = {str(file.relative_to(ROOT)) for file in ENGINE if words.search(file.read_text(encoding="utf-8"))}
    # The frozen default of the schema, the size of a data set that nobody has looked at, and the history of both.
    assert told <= {"trainmark/store/parameters.py", "trainmark/workloads/accuracy.py"}


def test_no_two_files_of_one_name_mean_different_things() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in [*ENGINE, *SUITE]:
        if file.name not in ("__init__.py", "__main__.py"):
            places[file.name].append(str(file.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_a_workload_is_decided_by_its_entry_and_not_by_its_name() -> None:
    """No comparison with the name of a workload, but for an entry's own."""
    by_name = re.compile(r"\bworkload\b[\"'\])]* *(==|!=|in|not in) *[\"'(\[]")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in [*ENGINE, *SUITE]
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if by_name.search(line)
    ]
    assert not found


@pytest.mark.parametrize("part", READING)
def test_what_reads_imports_no_torch(part: str) -> None:
    code = f"import trainmark.{part}, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_registered_is_known_without_anything_heavy() -> None:
    """Suite and all: a list of workloads, parameters and metrics takes neither torch nor tables nor kernels."""
    code = (
        "import sys; from trainmark import suite; suite.current();"
        "print([name for name in ('torch', 'numpy', 'pandas', 'numba', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_hold_no_code() -> None:
    assert not list((ROOT / "results").glob("*.py"))
