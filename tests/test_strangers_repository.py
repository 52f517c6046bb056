"""A stranger's repository, with trainmark installed from its wheel: whose code is measured, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from trainmark.git import code_of
from trainmark.judge.comparison import compare_paired
from trainmark.store.pairs import paired_files, read_paired_run
from trainmark.store.runs import read_run, run_files

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a side forks its processes")

TINY = ("-k", "train", "--batch-size=8", "--device=cpu", "--precision=fp32")
WIDE, WIDER = 3_190, 4_780  # parameters of the model in the first commit and in the second
NETS = """
    from torch import nn


    def small():
        return nn.Sequential(nn.Flatten(), nn.Linear(784, {width}), nn.Linear({width}, 10))
"""
BENCHMARKS = """
    import pytest


    @pytest.mark.workload("train")
    def test_train(measure):
        measure()
"""
Call = Callable[..., "subprocess.CompletedProcess[str]"]


def nets(width: int) -> str:
    return NETS.format(width=width)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def suite(folder: Path, table: str = 'models = ["nets:small"]') -> Path:
    """A suite in a folder, without its model."""
    return write(
        folder,
        {
            "conftest.py": 'pytest_plugins = ["trainmark.plugin"]\n',
            "bench/test_benchmarks.py": BENCHMARKS,
            "pyproject.toml": f"[tool.trainmark]\n{table}\n",
            ".gitignore": "results/\n__pycache__/\n",
        },
    )


def grown(folder: Path, module: str) -> Path:
    """The repository around a suite, with two commits that differ in the model's width."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    for width in (4, 6):
        write(folder, {module: nets(width)})
        commit(folder, f"width {width}")
    return folder


@dataclass(frozen=True)
class Recorded:
    """What a comparison has measured before its first pairs.

    Attributes:
        parameters: Of the model, on the base and in the working tree.
        commits: Of both, as the run tells them.
        output: Of the call.
        run: Its name.
    """

    parameters: tuple[int, int]
    commits: tuple[str, str]
    output: str
    run: str


@pytest.fixture
def against(installed: str) -> Callable[..., Recorded]:
    """Calls ``pytest … --against SIDE`` until both sides have their record; the pairs are nobody's business here."""

    def run(
        where: Path,
        *arguments: str,
        results: Path,
        python: Path | None = None,
        path: Sequence[str] = (),
        side: str = "HEAD~1",
    ) -> Recorded:
        environment = environment_of(installed, path, python)
        command = [str(python or interpreter()), "-m", "pytest", *arguments, "--against", side, *TINY]
        lines = []
        with subprocess.Popen(
            command, cwd=where, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith("generation 1"):
                    process.send_signal(signal.SIGINT)
        output = "".join(lines)
        assert process.returncode == 2, output
        found = read_paired_run(paired_files(results)[-1])
        both = [[record for record in one.records if record.status == "ok"] for one in (found.base, found.new)]
        assert [len(records) for records in both] == [1, 1], output
        parameters = tuple(records[0].metrics["parameters"] for records in both)
        return Recorded(parameters, (found.base.commit["id"], found.new.commit["id"]), output, found.name)

    return run


def interpreter() -> str:
    return str(getattr(sys, "_base_executable", sys.executable))


def environment_of(installed: str, path: Sequence[str], python: Path | None) -> dict[str, str]:
    """With the engine and what it needs on the path, or in the environment of an interpreter of its own."""
    left_out = ("PYTEST_", "TRAINMARK_ROOT", "VIRTUAL_ENV", "PYTHONPATH", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    folders = [*path, *([installed] if python is None else [])]
    return kept | {"PYTHONPATH": os.pathsep.join(folders), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def python(tmp_path: Path, installed: str) -> Path:
    """An interpreter of the stranger's own, with the engine in its environment."""
    venv.create(tmp_path / "venv", symlinks=True)
    (site_packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site_packages / "engine.pth").write_text("\n".join(installed.split(os.pathsep)), encoding="utf-8")
    return tmp_path / "venv" / "bin" / "python"


def site_packages_of(python: Path) -> Path:
    (found,) = python.parents[1].glob("lib/python*/site-packages")
    return found


# Which code each side measures


@pytest.mark.parametrize(
    ("inner", "where", "asked"),
    [(".", "notes/deeper", "../../bench"), ("apps/vision", ".", "apps/vision/bench")],
)
def test_each_side_is_measured_with_its_own_files_wherever_the_call_is_made(
    inner: str, where: str, asked: str, tmp_path: Path, against: Callable[..., Recorded]
) -> None:
    repository = tmp_path / "a project"
    suite(repository / inner)
    write(repository, {"notes/deeper/file": ""})
    grown(repository, f"{inner}/nets.py")
    found = against(repository / where, asked, results=repository / inner / "results")
    assert found.parameters == (WIDE, WIDER)
    assert found.commits == (git(repository, "rev-parse", "HEAD~1"), git(repository, "rev-parse", "HEAD"))
    assert git(repository, "status", "--porcelain") == ""
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_package_may_have_the_name_of_one_of_this_repository(
    tmp_path: Path, against: Callable[..., Recorded]
) -> None:
    suite(tmp_path, 'models = ["models.nets:small"]')
    write(tmp_path, {"models/__init__.py": ""})
    grown(tmp_path, "models/nets.py")
    assert against(tmp_path, "bench", results=tmp_path / "results").parameters == (WIDE, WIDER)


@pytest.mark.parametrize("way", ["table", "pytest", "variable"])
def test_a_package_in_src_is_each_sides_own_however_it_is_found(
    way: str, tmp_path: Path, against: Callable[..., Recorded]
) -> None:
    of_pytest = '\n[tool.pytest.ini_options]\npythonpath = ["src"]' if way == "pytest" else ""
    of_ours = '\npythonpath = ["src"]' if way == "table" else ""
    suite(tmp_path, f'models = ["package.nets:small"]{of_ours}{of_pytest}')
    write(tmp_path, {"src/package/__init__.py": ""})
    grown(tmp_path, "src/package/nets.py")
    path = ["src"] if way == "variable" else []
    assert against(tmp_path, "bench", results=tmp_path / "results", path=path).parameters == (WIDE, WIDER)


FINDER = """
    import sys
    from importlib.machinery import PathFinder
    from importlib.util import spec_from_file_location


    class Finder:
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name == "package":
                return spec_from_file_location(name, {package!r} + "/__init__.py")
            return PathFinder.find_spec(name, [{package!r}]) if name.startswith("package.") else None


    sys.meta_path.append(Finder)
"""


def install_editable(package: Path, python: Path, way: str) -> None:
    """As pip installs a package in editable mode: a folder on the path, or a finder."""
    folder = site_packages_of(python)
    if way == "path":
        (folder / "project.pth").write_text(str(package.parent), encoding="utf-8")
    else:
        (folder / "project_finder.py").write_text(dedent(FINDER).format(package=str(package)), encoding="utf-8")
        (folder / "project.pth").write_text("import project_finder", encoding="utf-8")


@pytest.mark.parametrize(("way", "table"), [("path", ""), ("finder", '\npythonpath = ["src"]')])
def test_so_is_one_that_is_installed_in_editable_mode(
    way: str, table: str, tmp_path: Path, against: Callable[..., Recorded], python: Path
) -> None:
    repository = suite(tmp_path / "repository", f'models = ["package.nets:small"]{table}')
    write(repository, {"src/package/__init__.py": ""})
    grown(repository, "src/package/nets.py")
    install_editable(repository / "src" / "package", python, way)
    assert against(repository, "bench", results=repository / "results", python=python).parameters == (WIDE, WIDER)


def test_what_is_not_committed_is_of_the_working_tree_alone_and_its_table_is_the_policy_of_both(
    tmp_path: Path, against: Callable[..., Recorded]
) -> None:
    grown(suite(tmp_path), "nets.py")
    table = '[tool.trainmark]\nmodels = ["nets:small"]\nmargin = "7%"\n'
    write(tmp_path, {"nets.py": nets(8), "pyproject.toml": table})
    found = against(tmp_path, "bench", results=tmp_path / "results", side="HEAD")
    assert found.parameters == (WIDER, 6_370)
    assert found.commits[0] == found.commits[1] == git(tmp_path, "rev-parse", "HEAD")
    run = read_paired_run(paired_files(tmp_path / "results")[-1])
    assert run.new.commit["dirty"]
    assert run.margins == "7%"


# What a stored run and its readers say


def test_a_stored_run_and_its_history_are_of_the_project(tmp_path: Path, call: Call) -> None:
    repository = grown(suite(tmp_path / "a project"), "nets.py")
    write(repository, {"notes/file": ""})
    done = call(repository / "notes", "pytest", "../bench", *TINY, "--benchmark-autosave", "--benchmark-max-time=0.01")
    assert done.returncode == 0, done.stdout
    (file,) = run_files(repository / "results")
    commit = read_run(file).commit
    assert commit["id"] == git(repository, "rev-parse", "HEAD")
    assert (commit["project"], commit["branch"]) == ("a project", "main")
    assert code_of(repository, [repository / "results"]).commit == commit["id"]
    told = call(repository / "notes", "trainmark", "history")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("No time can be followed over 1 run of this machine.")


# What is refused, in a sentence, before anything is measured


def refused(done: subprocess.CompletedProcess[str], results: Path, code: int = 4) -> str:
    """The sentence with which a call was refused."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not paired_files(results)
    return done.stderr.strip().splitlines()[-1].removeprefix("ERROR: ")


def test_a_model_of_an_installed_package_is_refused_against_a_commit_and_fine_against_an_environment(
    tmp_path: Path, call: Call, against: Callable[..., Recorded]
) -> None:
    """Measured all the same, both sides would be the installed one: 1.00x whatever was changed."""
    repository = grown(suite(tmp_path / "repository"), "nets.py")
    shop = str(write(tmp_path / "site-packages", {"shop/__init__.py": nets(4)}))
    options = ("bench", "--model=shop:small", *TINY)
    told = refused(call(repository, "pytest", *options, "--against=HEAD~1", path=[shop]), repository / "results")
    assert told == (
        f"shop:small comes from {shop}/shop/__init__.py and not from the repository: both sides would measure the same "
        "code. Name a function of this project that builds it, or compare with an environment or an interpreter."
    )
    found = against(
        repository, "bench", "--model=shop:small", results=repository / "results", path=[shop], side="env:A=1"
    )
    assert found.parameters == (WIDE, WIDE)


def test_a_copy_of_the_projects_package_that_is_installed_is_refused(tmp_path: Path, call: Call) -> None:
    repository = suite(tmp_path / "repository", 'models = ["build_nets:small"]')
    write(repository, {"src/package/__init__.py": "", "build_nets.py": "from package.nets import small\n"})
    grown(repository, "src/package/nets.py")
    files = {"package/__init__.py": "", "package/nets.py": nets(6)}
    copy = str(write(tmp_path / "site-packages", files))
    done = call(repository, "pytest", "bench", *TINY, "--against=HEAD~1", path=[copy])
    assert refused(done, repository / "results") == (
        f"package was imported from {copy}/package/__init__.py, an installed copy, and not from src/ of the "
        'repository: both sides would measure the copy. Write pythonpath = ["src"] into [tool.trainmark].'
    )


def test_a_package_that_a_finder_gives_is_refused_with_what_mends_it(
    tmp_path: Path, installed: str, python: Path
) -> None:
    repository = suite(tmp_path / "repository", 'models = ["package.nets:small"]')
    write(repository, {"src/package/__init__.py": ""})
    grown(repository, "src/package/nets.py")
    install_editable(repository / "src" / "package", python, "finder")
    command = [str(python), "-m", "pytest", "bench", *TINY, "--against=HEAD~1"]
    environment = environment_of(installed, (), python)
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    told = refused(done, repository / "results")
    assert "an editable install gives that of" in told
    assert 'pythonpath = ["src"] in [tool.trainmark]' in told


def test_a_model_in_a_submodule_is_refused(tmp_path: Path, call: Call) -> None:
    (tmp_path / "theirs").mkdir()
    theirs = grown(tmp_path / "theirs", "nets.py")
    repository = suite(tmp_path / "repository", 'models = ["vendored.nets:small"]')
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "submodule", "--quiet", "add", str(theirs), "vendored")
    commit(repository, "first")
    write(repository, {"file.py": ""})
    commit(repository, "second")
    told = refused(call(repository, "pytest", "bench", *TINY, "--against=HEAD~1"), repository / "results")
    assert "vendored" in told
    assert "submodule" in told


@pytest.mark.parametrize(
    ("state", "side", "sentence"),
    [
        ("no git", "main", "--against main: no git ref, no Python interpreter and no env:NAME=value here; git says: "),
        ("no commit", "main", "git says: no commit here has that name."),
        ("two commits", "nowhere", "git says: no commit here has that name."),
        (
            "late suite",
            "HEAD~1",
            "that commit is from before the benchmarks (no conftest.py of it switches",
        ),
        ("late folder", "HEAD~1", "--against HEAD~1: inner is not in that commit."),
        ("wrong table", "HEAD~1", "has no key colour; it has benchmarks, results, "),
        ("wrong budget", "HEAD~1", "budget is 'soon', not a time such as 90s or 10m."),
        ("wrong base", "HEAD~1", "HEAD~1 does not start: [tool.trainmark] in "),
    ],
)
def test_what_is_not_there_to_compare_with_is_one_sentence(
    state: str, side: str, sentence: str, tmp_path: Path, call: Call
) -> None:
    inner = tmp_path / "inner" if state == "late folder" else tmp_path
    if state == "no commit":
        git(tmp_path, "init", "--quiet", "--initial-branch=main")
        write(suite(tmp_path), {"nets.py": nets(4)})
    elif state in ("late suite", "late folder"):
        git(tmp_path, "init", "--quiet", "--initial-branch=main")
        write(tmp_path, {"nets.py": nets(4), "conftest.py": "import pytest\n"})
        commit(tmp_path, "before")
        write(suite(inner), {"nets.py": nets(4)})
        commit(tmp_path, "benchmarks")
    elif state == "no git":
        write(suite(tmp_path), {"nets.py": nets(4)})
    else:
        suite(tmp_path, 'colour = "red"' if state == "wrong base" else 'models = ["nets:small"]')
        grown(tmp_path, "nets.py")
        table = {"wrong table": 'colour = "red"\n', "wrong budget": 'budget = "soon"\n'}.get(state, "")
        write(tmp_path, {"pyproject.toml": f'[tool.trainmark]\nmodels = ["nets:small"]\n{table}'})
    assert sentence in refused(call(inner, "pytest", "bench", *TINY, f"--against={side}"), inner / "results")


@pytest.mark.parametrize(
    ("ends", "code", "sentence"),
    [
        (("nowhere", "HEAD"), 2, "bisect nowhere: no commit here has that name."),
        (("HEAD~2", "HEAD"), 4, "bisect HEAD~2: that commit is from before the benchmarks"),
    ],
)
def test_so_it_is_of_a_search(ends: tuple[str, str], code: int, sentence: str, tmp_path: Path, call: Call) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    write(tmp_path, {"nets.py": nets(4)})
    commit(tmp_path, "before")
    grown(suite(tmp_path), "nets.py")
    assert refused(call(tmp_path, "trainmark", "bisect", *ends), tmp_path / "results", code).startswith(sentence)


# What comes of it

FORWARD = """
    from torch import nn


    class Net(nn.Sequential):
        def forward(self, x):{dropped}
            return super().forward(x)


    def small():
        return Net(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
"""
DROPPED = "\n            self[1].weight @ self[1].weight.T  # of no use"
SETTINGS = """models = ["nets:small"]
budget = "75s"
margin = "25%"
counts = "fail"
threads = 1

[tool.trainmark.grids.quick]
batch_sizes = [16]"""


@pytest.mark.parametrize(
    ("dropped", "codes", "words"),
    [(DROPPED, {1}, {"regressed"}), ("  # a comment", {0, 3}, {"unchanged", "inconclusive"})],
)
def test_a_slower_commit_regresses_and_a_harmless_one_does_not(
    dropped: str, codes: set[int], words: set[str], tmp_path: Path, call: Call
) -> None:
    """By the table's settings alone: the count of operators decides, though a busy machine may spoil all pairs."""
    git(suite(tmp_path, SETTINGS), "init", "--quiet", "--initial-branch=main")
    for text in ("", dropped):
        write(tmp_path, {"nets.py": FORWARD.format(dropped=text)})
        commit(tmp_path, "a commit")
    done = call(tmp_path, "pytest", "bench", "--against", "HEAD~1", "--device=cpu", "--precision=fp32")
    assert done.returncode in codes, done.stdout
    run = read_paired_run(paired_files(tmp_path / "results")[-1])
    assert run.margins == "25%"
    (cell,) = compare_paired(run, counts_decide=True).cells
    assert cell.verdict in words, done.stdout
