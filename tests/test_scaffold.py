"""``trainmark init``: what it finds in a project, what it writes, and what it leaves as it is."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from trainmark.cli import main
from trainmark.scaffold import ScaffoldError, folder_of, make_suite
from trainmark.suite import read_suite


def write(root: Path, *files: str, text: str = "") -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def table(root: Path) -> list[str]:
    """The lines that count, of what is written into pyproject.toml."""
    lines = (root / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    return [line.partition("  #")[0] for line in lines if line and not line.startswith("#")]


def test_an_empty_project_gets_three_files_that_a_second_call_leaves_alone(tmp_path: Path) -> None:
    written = make_suite(tmp_path, ["nets:small"])
    assert [file.relative_to(tmp_path).as_posix() for file in written] == [
        "conftest.py",
        "pyproject.toml",
        "bench/test_benchmarks.py",
    ]
    before = {file: file.read_bytes() for file in written}
    assert make_suite(tmp_path, ["others:large"], "speed") == [tmp_path / "speed" / "test_benchmarks.py"]
    assert make_suite(tmp_path, ["nets:small"]) == []
    assert {file: file.read_bytes() for file in written} == before
    assert table(tmp_path) == ["[tool.trainmark]", 'models = ["nets:small"]']


def test_each_line_that_may_be_set_is_right_once_its_sign_is_taken_away(tmp_path: Path) -> None:
    """And says what counts without it."""
    make_suite(tmp_path)
    file = tmp_path / "pyproject.toml"
    lines = file.read_text(encoding="utf-8").splitlines()
    settings = [line.removeprefix("# ") for line in lines if " = " in line or line.startswith("# [")]
    file.write_text("\n".join(["[tool.trainmark]", *settings]), encoding="utf-8")
    found = read_suite(tmp_path)
    assert found.models == ("package.module:factory",)
    assert found.options == {
        "answer": 40.0,
        "budget": 600.0,
        "margin": "3%",
        "inconclusive": "warn",
        "missing": "fail",
        "changed": "warn",
        "counts": "pass",
        "threads": 1,
        "data_root": "data",
        "grid": "quick",
    }
    assert isinstance(found.grids, dict)
    assert found.grids["quick"].training_of("any") == (10, 3)
    assert found.grids["quick"].batch_sizes_of("cpu", "any") == (64, 256)


@pytest.mark.parametrize(
    ("files", "model", "lines"),
    [
        (["src/package/__init__.py"], "package.nets:small", ['pythonpath = ["src"]']),
        (["src/package/nets.py"], "package.nets:small", ['pythonpath = ["src"]']),  # without an __init__.py
        (["src/nets.py"], "nets:small", ['pythonpath = ["src"]']),
        (["python/package/__init__.py"], "package.nets:small", ['pythonpath = ["python"]']),
        (["package/__init__.py"], "package.nets:small", []),
        (["package/nets.py"], "package.nets:small", []),
        (["venv/pyvenv.cfg", "venv/nets.py"], "nets:small", []),
    ],
)
def test_where_a_package_lies_is_written_where_that_is_needed(
    tmp_path: Path, files: list[str], model: str, lines: list[str]
) -> None:
    make_suite(write(tmp_path, *files), [model])
    assert table(tmp_path) == ["[tool.trainmark]", f'models = ["{model}"]', *lines]


def test_without_a_model_the_projects_own_package_is_the_example(tmp_path: Path) -> None:
    make_suite(write(tmp_path, "src/package/__init__.py", "tests/__init__.py"))
    assert '# models = ["package.module:factory"]' in (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    assert table(tmp_path) == ["[tool.trainmark]", 'pythonpath = ["src"]']


def test_a_module_that_is_nowhere_is_in_no_folder(tmp_path: Path) -> None:
    assert folder_of("nets", tmp_path) is None
    assert folder_of("nets.deeper", write(tmp_path, "nets.py")) == "."


def test_what_a_project_has_stays_before_what_is_added(tmp_path: Path) -> None:
    project = '[project]\nname = "theirs"\n'
    write(tmp_path, "pyproject.toml", text=project)
    write(tmp_path, "conftest.py", text="import pytest\n")
    write(tmp_path, "bench/test_own.py", text="def test_own(): pass\n")
    written = make_suite(tmp_path, ["nets:small"])
    assert [file.name for file in written] == ["conftest.py", "pyproject.toml"]
    assert (tmp_path / "conftest.py").read_text(encoding="utf-8").startswith("import pytest\n\n")
    text = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    assert text.startswith(project)
    assert tomllib.loads(text)["project"] == {"name": "theirs"}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("conftest.py", 'pytest_plugins = ["theirs"]\n', 'add "trainmark.plugin" to them'),
        ("pyproject.toml", "[tool\n", "is not TOML"),
        ("bench", "a file", "name another folder with --folder"),
    ],
)
def test_what_cannot_be_added_to_is_told_and_nothing_is_written(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    write(tmp_path, name, text=text)
    with pytest.raises(ScaffoldError, match=sentence):
        make_suite(tmp_path, ["nets:small"])
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_what_comes_next_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--model", "nets:small"]) == 0
    told = capsys.readouterr().out
    assert "No module of this project is named as nets:small has it" in told
    assert "pytest bench --benchmark-autosave\n" in told
    assert "pytest bench --against main, once these files are committed" in told
    assert "not the top" not in told
    write(tmp_path, "nets.py")
    assert main(["init"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Nothing to do: this project is a suite already.\n")
    assert "No module" not in told


def test_a_project_in_a_larger_repository_is_told_how_it_is_called_from_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    write(tmp_path, "apps/vision/nets.py")
    monkeypatch.chdir(tmp_path / "apps" / "vision")
    assert main(["init", "--model", "nets:small"]) == 0
    told = capsys.readouterr().out
    assert "there call pytest apps/vision/bench for the benchmarks, and add --ignore=apps/vision" in told
