"""A suite's table in pyproject.toml: what it says, what is wrong with it, and what a process knows of an opened one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainmark import suite
from trainmark.scaffold import make_suite
from trainmark.store.cell import WORKLOADS
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import PARAMETERS
from trainmark.suite import ROOT_VARIABLE, Suite, SuiteError, current, find_root, open_suite, read_suite
from trainmark.workloads import entry_of
from trainmark.workloads.grid import GRIDS, Grid

ENTRY = """
from trainmark.store.metrics import Metric
from trainmark.store.parameters import Parameter
from trainmark.workloads import Workload

SIZE = Parameter("NAME_size", 1, "how large")
SECONDS = Metric("s", "lower", "time", "how long")
WORKLOADS = [
    Workload(
        name="NAME",
        parameters=("NAME_size",),
        meaning="a test",
        round_unit="round",
        own_parameters=(SIZE,),
        own_metrics={"NAME_seconds": SECONDS},
    )
]
"""


def workload(name: str) -> str:
    """A module with one workload."""
    return ENTRY.replace("NAME", name)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a suite: the lines of its table, and files by their path; gives its folder."""

    def written(table: str, files: Mapping[str, str] | None = None) -> Path:
        for path, text in {"pyproject.toml": f"[tool.trainmark]\n{table}\n", **(files or {})}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        return tmp_path

    return written


@pytest.fixture
def _unopened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A process that has opened no suite; what it learns of one is forgotten afterwards."""
    registries: tuple[dict[str, Any], ...] = (WORKLOADS, PARAMETERS, METRICS, GRIDS)
    before = [dict(registry) for registry in registries]
    monkeypatch.setattr(suite, "_opened", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def refused(action: Callable[[], object]) -> str:
    """The one sentence with which something is refused."""
    with pytest.raises(SuiteError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The table


def test_every_key_of_the_table_is_read(write: Write) -> None:
    root = write(
        'benchmarks = "speed"\nresults = "out"\nworkloads = ["a.b:C", "a.*:D"]\nmodels = "nets:MODELS"\n'
        'datasets = "texts:DATASETS"\ndefault_dataset = "tiny"\ngrids = "grids:GRIDS"\npythonpath = ["src"]\n'
        'grid = "tiny"\nbudget = "10m"\nmargin = "3%,train=5%"\nthreads = 2\ndata_root = "sets"\n'
        'inconclusive = "fail"\nmissing = "warn"\nchanged = "fail"\ncounts = "fail"'
    )
    assert read_suite(root) == Suite(
        root=root,
        benchmarks="speed",
        results="out",
        workloads=("a.b:C", "a.*:D"),
        models="nets:MODELS",
        datasets="texts:DATASETS",
        default_dataset="tiny",
        grids="grids:GRIDS",
        pythonpath=("src",),
        options={
            "grid": "tiny",
            "budget": 600.0,
            "margin": "3%,train=5%",
            "inconclusive": "fail",
            "missing": "warn",
            "changed": "fail",
            "counts": "fail",
            "threads": 2,
            "data_root": "sets",
        },
    )


def test_models_may_be_listed_by_their_names(write: Write) -> None:
    found = read_suite(write('models = ["nets:small", "nets:large"]'))
    assert found.model_names() == found.models == ("nets:small", "nets:large")
    assert found.models_by_name() == {}


def test_models_of_a_table_have_the_spelling_that_a_record_keeps(write: Write) -> None:
    """So a call that names one of them means the same benchmark."""
    found = read_suite(write('models = ["nets:small(8, depth = 2)", "./nets.py : small()", "mlp", "nets:small(8"]'))
    assert found.model_names() == ("nets:small(8,depth=2)", "nets.py:small", "mlp", "nets:small(8")


@pytest.mark.parametrize("text", [None, "", "[project]\nname = 'other'\n", "[tool.other]\nworkloads = 3\n"])
def test_a_folder_without_a_table_is_a_suite_by_default(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    found = read_suite(tmp_path)
    assert found == Suite(tmp_path)
    assert (found.benchmarks, found.results) == ("bench", "results")
    assert (found.models_by_name(), found.model_names(), found.data()) == ({}, (), {})


def test_a_key_that_is_not_known_is_told_with_all_that_are(write: Write) -> None:
    root = write('workload = ["bench.lecture:WORKLOADS"]')
    told = refused(lambda: read_suite(root))
    assert told.startswith(f"[tool.trainmark] in {root / 'pyproject.toml'} has no key workload; it has benchmarks, ")
    assert all(key in told for key in ("results", "workloads", "models", "datasets", "default_dataset", "grids"))
    assert " root" not in told.removeprefix(f"[tool.trainmark] in {root / 'pyproject.toml'}")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("benchmarks = 3", "benchmarks is 3, not a string"),
        ('results = ["out"]', "results is ['out'], not a string"),
        ('workloads = "bench.lecture:WORKLOADS"', "workloads is 'bench.lecture:WORKLOADS', not a list of strings"),
        ("workloads = [1]", "workloads is [1], not a list of strings"),
        ("models = [true]", "models is [True], not a string or a list of strings"),
        ("grids = {quick = 1}", "grids is {'quick': 1}, not a string or a table of tables"),
        ('budget = "10x"', "budget is '10x', not a time such as 90s or 10m"),
        ("budget = 0", "budget is 0, not a time such as 90s or 10m"),
        ('margin = "300%"', "margin is '300%', not shares such as 3% or 3%,train cnn=5%"),
        ("margin = 0.03", "margin is 0.03, not shares such as 3% or 3%,train cnn=5%"),
        ('threads = "2"', "threads is '2', not a whole number above zero"),
        ("threads = 0", "threads is 0, not a whole number above zero"),
        ("threads = true", "threads is True, not a whole number above zero"),
        ('missing = "ignore"', "missing is 'ignore', not one of pass, warn, fail"),
        ('counts = "warn"', "counts is 'warn', not one of pass, fail"),
        ('pythonpath = "src"', "pythonpath is 'src', not a list of strings"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_the_right_one(write: Write, line: str, sentence: str) -> None:
    root = write(line)
    assert refused(lambda: read_suite(root)) == f"[tool.trainmark] in {root / 'pyproject.toml'}: {sentence}."


def test_a_grid_may_be_a_table(write: Write) -> None:
    root = write(
        '[tool.trainmark.grids.quick]\nmodels = ["nets:small"]\nbatch_sizes = [16, 64]\nepochs = 2\nseeds = 1\n'
        "[tool.trainmark.grids.all]\nexhaustive = true\ninput_batch_sizes = [8]"
    )
    found = read_suite(root).grids
    assert isinstance(found, dict)
    quick = found["quick"]
    assert quick.models == ("nets:small",)
    assert quick.batch_sizes_of("cpu", "any") == quick.batch_sizes_of("cuda", "other") == (16, 64)
    assert quick.training_of("any") == (2, 1)
    assert quick.input_batch_sizes == (16, 64)
    default = Grid("")
    assert found["all"].training_of("any") == default.training_of("any")
    assert (found["all"].exhaustive, found["all"].input_batch_sizes) == (True, (8,))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("batch_size = [16]", "quick has no key batch_size; it has models, batch_sizes, "),
        ("batch_sizes = 16", "batch_sizes of quick is 16, not a list of whole numbers above zero"),
        ("batch_sizes = [0]", "batch_sizes of quick is [0], not a list"),
        ("batch_sizes = []", "batch_sizes of quick is [], not a list"),
        ("epochs = true", "epochs of quick is True, not a whole number above zero"),
        ('models = "nets:small"', "models of quick is 'nets:small', not a list of strings"),
    ],
)
def test_a_grid_that_is_wrong_is_told_with_its_key(write: Write, line: str, sentence: str) -> None:
    root = write(f"[tool.trainmark.grids.quick]\n{line}")
    told = refused(lambda: read_suite(root))
    assert told.startswith(f"[tool.trainmark.grids] in {root / 'pyproject.toml'}: {sentence}")


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool]\ntrainmark = "bench"\n')
    assert refused(lambda: read_suite(tmp_path)).endswith("is 'bench', not a table.")


@pytest.mark.parametrize("content", [b"[tool.trainmark\n", b"[tool.trainmark]\nresults = out\n", b"\xff\xfe\x00"])
def test_a_file_that_is_not_toml_is_told_with_its_place(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    assert refused(lambda: read_suite(tmp_path)).startswith(f"{tmp_path / 'pyproject.toml'} is not TOML: ")


# Opening


@pytest.mark.usefixtures("_unopened")
def test_an_opened_suite_has_its_workloads_parameters_metrics_and_grids(write: Write) -> None:
    root = write(
        'workloads = ["opened_here:WORKLOADS"]\ngrids = "opened_here_too:GRIDS"',
        {
            "opened_here.py": workload("opened"),
            "opened_here_too.py": "from trainmark.workloads.grid import Grid\nGRIDS = {'tiny': Grid('a test')}\n",
        },
    )
    assert open_suite(root) == current() == read_suite(root)
    assert sys.path[0] == str(root)
    assert entry_of("opened").parameters == ("opened_size",)
    assert PARAMETERS["opened_size"].default == 1
    assert METRICS["opened_seconds"].meaning == "how long"
    assert GRIDS["tiny"] == Grid("a test")
    assert set(GRIDS) >= {"tiny", "quick", "full"}


@pytest.mark.usefixtures("_unopened")
def test_an_opened_suite_has_the_grids_of_its_table_and_finds_what_its_folders_hold(write: Write) -> None:
    root = write(
        'pythonpath = ["src", "lib"]\nworkloads = ["opened_in_lib:WORKLOADS"]\n'
        "[tool.trainmark.grids.mine]\nbatch_sizes = [3]",
        {"src/opened_in_src.py": "X = 1\n", "lib/opened_in_lib.py": "from opened_in_src import X\nWORKLOADS = []\n"},
    )
    open_suite(root)
    assert sys.path[:3] == [str(root), str(root / "src"), str(root / "lib")]
    assert GRIDS["mine"].other_batch_sizes == (3,)


@pytest.mark.usefixtures("_unopened")
def test_a_star_stands_for_each_package_that_has_some(write: Write) -> None:
    root = write(
        'workloads = ["parts.*:WORKLOADS"]',
        {
            "parts/__init__.py": "",
            "parts/second/__init__.py": workload("second"),
            "parts/first/__init__.py": workload("first"),
            "parts/first/inner/__init__.py": workload("inner"),
            "parts/helpers/__init__.py": "",
            "parts/single.py": workload("single"),
            "parts/folder/notes.txt": "no package",
        },
    )
    open_suite(root)
    assert {"first", "second"} <= set(WORKLOADS)
    assert not {"inner", "single"} & set(WORKLOADS)


@pytest.mark.usefixtures("_unopened")
def test_a_suite_that_is_opened_twice_is_opened_once(write: Write) -> None:
    root = write('workloads = ["opened_twice:WORKLOADS"]', {"opened_twice.py": workload("twice")})
    first = open_suite(root)
    path = list(sys.path)
    assert open_suite(root) == first
    assert sys.path == path


@pytest.mark.usefixtures("_unopened")
@pytest.mark.parametrize(
    ("key", "ask"),
    [
        ("workloads", open_suite),
        ("grids", open_suite),
        ("models", lambda root: open_suite(root).models_by_name()),
        ("datasets", lambda root: open_suite(root).data()),
    ],
)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("not_there:X", "names not_there:X, and importing it fails: No module named 'not_there'."),
        ("there:X", ": there has no X: there:X."),
        ("there", ": there has no name after a colon: there"),
        ("there.deeper:X", "names there.deeper:X, and importing it fails: No module named 'there.deeper'"),
    ],
)
def test_what_the_table_names_and_is_not_there_is_told(
    write: Write, key: str, ask: Callable[[Path], object], name: str, sentence: str
) -> None:
    root = write(f'{key} = ["{name}"]' if key == "workloads" else f'{key} = "{name}"', {"there.py": "Y = {}\n"})
    told = refused(lambda: ask(root))
    assert told.startswith("[tool.trainmark]")
    assert sentence in told


@pytest.mark.usefixtures("_unopened")
def test_a_star_behind_a_package_that_is_not_there_is_told(write: Write) -> None:
    root = write('workloads = ["not_there.*:WORKLOADS"]')
    assert "names not_there.*:WORKLOADS, and importing it fails" in refused(lambda: open_suite(root))


@pytest.mark.usefixtures("_unopened")
@pytest.mark.parametrize("key", ["grids", "datasets", "models"])
def test_what_should_be_a_mapping_and_is_none_is_told(write: Write, key: str) -> None:
    root = write(f'{key} = "listed:NAMES"', {"listed.py": "NAMES = ['one']\n"})

    def ask() -> None:
        opened = open_suite(root)
        opened.models_by_name()
        opened.data()

    assert refused(ask) == "[tool.trainmark]: listed:NAMES is list, not a mapping of names."


@pytest.mark.usefixtures("_unopened")
def test_a_suite_that_could_not_be_opened_is_refused_each_time(write: Write) -> None:
    """Not half of it the second time: a run without some of its workloads would pass for a whole one."""
    root = write('workloads = ["not_there:WORKLOADS"]')
    assert refused(lambda: open_suite(root)) == refused(lambda: open_suite(root))


@pytest.mark.usefixtures("_unopened")
def test_a_suite_may_be_asked_for_while_it_is_opened(write: Write) -> None:
    asks = "from trainmark import suite\nROOT = suite.current().root\nWORKLOADS = ()\n"
    root = write('workloads = ["asks:WORKLOADS"]', {"asks.py": asks})
    open_suite(root)
    assert root == sys.modules["asks"].ROOT


# Where it is


def test_the_root_is_the_nearest_folder_upwards_with_a_table(write: Write) -> None:
    root = write('results = "out"', {"inner/deeper/notes.txt": "", "inner/pyproject.toml": "[project]\n"})
    assert find_root(root / "inner" / "deeper") == find_root(root) == root


def test_without_a_table_the_root_is_where_one_is(tmp_path: Path) -> None:
    assert find_root(tmp_path) == tmp_path


@pytest.mark.usefixtures("_unopened")
def test_the_suite_of_a_process_is_that_of_its_environment_else_of_its_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write('results = "out"', {"inner/notes.txt": "", "other/pyproject.toml": "[tool.trainmark]\n"})
    monkeypatch.chdir(root / "inner")
    assert current().root == root
    monkeypatch.setattr(suite, "_opened", [])
    monkeypatch.setenv(ROOT_VARIABLE, str(root / "other"))
    assert current().root == root / "other"


# Through pytest


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('colour = "red"', "has no key colour"),
        ('workloads = ["not_there:WORKLOADS"]', "names not_there:WORKLOADS, and importing it fails"),
    ],
)
def test_a_table_that_is_wrong_is_a_usage_error_of_pytest(write: Write, table: str, sentence: str) -> None:
    root = write(table, {"conftest.py": 'pytest_plugins = ["trainmark.plugin"]\n', "bench/test_none.py": ""})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider"],
        cwd=root,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert sentence in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_model_with_quotes_in_its_arguments_is_laid_into_a_project_as_it_was_named(tmp_path: Path) -> None:
    make_suite(tmp_path, ["nets:wide( kind='a \"b\"' )", "nets.py:small"])
    assert read_suite(tmp_path).models == ("nets:wide(kind='a \"b\"')", "nets.py:small")
