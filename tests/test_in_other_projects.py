"""The engine in projects outside this repository, installed from its wheel: what it measures, and what it refuses."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from trainmark.store.metrics import METRICS
from trainmark.store.pairs import paired_files, read_paired_run
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[1]
OTHER_PLUGINS = ROOT / "build" / "other-plugins"  # where CI has installed those that own options of the same name
QUICK = ("--benchmark-autosave", "--benchmark-max-time=0.01", "--batch-size=8", "--device=cpu", "--precision=fp32")
FACTORY = """
    from torch import nn

    def small():
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""


Call = Callable[..., "subprocess.CompletedProcess[str]"]


def project(folder: Path, files: dict[str, str]) -> Path:
    """A project with these files."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    return folder


def suite(folder: Path, **files: str) -> Path:
    """A project whose benchmarks measure its own factory ``nets:small``."""
    own = {name.replace("__", "/"): text for name, text in files.items()}
    return project(
        folder,
        {
            "conftest.py": 'pytest_plugins = ["trainmark.plugin"]\n',
            "bench/test_benchmarks.py": """
                import pytest

                @pytest.mark.workload("train")
                def test_train(measure):
                    measure()

                @pytest.mark.workload("input")
                def test_input(measure):
                    measure()
            """,
            "pyproject.toml": '[tool.trainmark]\nmodels = ["nets:small"]\n',
            "nets.py": FACTORY,
            **own,
        },
    )


def parameters(folder: Path) -> set[float | int | None]:
    """Parameters of the models that the project's last run has trained."""
    run = read_run(run_files(folder / "results")[-1])
    assert [record.status for record in run.records] == ["ok"] * len(run.records)
    return {record.metrics.get("parameters") for record in run.records if record.cell.workload == "train"}


# In no package, with a neighbour, and with an argument whose default does not do.
BY_PATH = {
    "our nets/neighbour.py": "WIDER = 0\n",
    "our nets/wide.py": """
        from neighbour import WIDER
        from torch import nn

        def wide(width=None, name=""):
            width += WIDER
            return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))
    """,
}
PER_WIDTH = 784 + 1 + 10  # parameters of it, beside the ten of the last bias


def test_a_factory_of_a_file_is_measured_with_the_arguments_of_its_name(tmp_path: Path, call: Call) -> None:
    folder = project(suite(tmp_path), BY_PATH)
    models = (
        "--model=our nets/wide.py:wide(width=32)",
        "--model",
        "wide.py:wide( 16, name='a, \"b\"; <i> \\n' ), nets:small",
    )
    done = call(folder / "our nets", "pytest", "../bench", *QUICK, *models, "-k", "train and wide")
    assert done.returncode == 0, done.stdout + done.stderr
    assert parameters(folder) == {32 * PER_WIDTH + 10, 16 * PER_WIDTH + 10}
    (file,) = run_files(folder / "results")
    names = {str(record.cell["model"]) for record in read_run(file).records}
    assert names == {"our nets/wide.py:wide(width=32)", "our nets/wide.py:wide(16,name='a, \"b\"; <i> \\n')"}
    assert str(tmp_path) not in file.read_text()
    done = call(folder, "trainmark", "html")
    assert done.returncode == 0, done.stderr
    page = (folder / "results" / "report.html").read_text()
    assert "our nets/wide.py:wide(width=32)" in page
    assert "<i> " not in page
    with (folder / "results" / "report.csv").open(newline="") as rows:
        assert {row["model"] for row in csv.DictReader(rows)} == names
    model = "our nets/wide.py:wide( width=32 )"
    assert "wide(width=32)" in call(folder, "trainmark", "recommend", "--model", model).stdout


def test_a_factory_of_a_file_outside_of_the_project_is_measured_by_the_name_of_its_file(
    tmp_path: Path, call: Call
) -> None:
    folder = suite(tmp_path / "app")
    project(tmp_path, {name.replace("our nets", "secret"): text for name, text in BY_PATH.items()})
    done = call(folder, "pytest", "bench", *QUICK, "--model=../secret/wide.py:wide(width=8)", "-k", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert parameters(folder) == {8 * PER_WIDTH + 10}
    (file,) = run_files(folder / "results")
    assert {record.cell["model"] for record in read_run(file).records} == {"wide.py:wide(width=8)"}
    assert "secret" not in file.read_text()


def test_each_side_of_a_comparison_imports_the_file_of_its_own_tree(tmp_path: Path, call: Call) -> None:
    folder = project(suite(tmp_path), BY_PATH | {".gitignore": "results/\n__pycache__/\n"})
    for command in (
        ("init", "--quiet"),
        ("add", "--all"),
        ("-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message=wide"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    (folder / "our nets" / "neighbour.py").write_text("WIDER = 2\n")  # the base has it as it was
    options = ("--model=our nets/wide.py:wide(width=8)", "--batch-size=8", "--device=cpu", "--precision=fp32")
    limits = ("--margin=90%", "--budget=60s", "--changed=warn", "-k", "train")
    done = call(folder, "pytest", "bench", "--against", "HEAD", *options, *limits)
    (file,) = paired_files(folder / "results")
    run = read_paired_run(file)
    sides = {
        name: [record.metrics.get("parameters") for record in side.records]
        for name, side in (("base", run.base), ("new", run.new))
    }
    assert sides == {"base": [8 * PER_WIDTH + 10], "new": [(8 + 2) * PER_WIDTH + 10]}, done.stdout + done.stderr


def test_the_wheel_holds_one_import_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"trainmark"}


def test_a_project_with_packages_of_the_same_names_has_its_own_model_measured(tmp_path: Path, call: Call) -> None:
    """Its ``models`` is its own, and so are ``bench``, ``reports`` and ``results``."""
    names = ("models", "bench", "reports", "results")
    folder = project(tmp_path / "a project", {f"{name}/__init__.py": f"NAME = {name!r}\n" for name in names})
    project(folder, {"models/mlp.py": "import bench, reports, results\n" + dedent(FACTORY)})
    made = call(folder, "trainmark", "init", "--model", "models.mlp:small")
    assert made.returncode == 0, made.stderr
    done = call(folder, "pytest", "bench", *QUICK, "-k", "train")
    assert done.returncode == 0, done.stdout
    assert parameters(folder) == {7_850}
    page = call(folder, "trainmark", "html")
    assert page.returncode == 0, page.stderr
    assert "models.mlp:small" in (folder / "results" / "report.html").read_text()


def test_a_project_with_modules_of_the_same_names_has_its_own_model_measured(tmp_path: Path, call: Call) -> None:
    beside = {"bench.py": "NAME = 'bench'\n", "results.py": "NAME = 'results'\n"}
    folder = project(suite(tmp_path), beside)
    project(folder, {"nets.py": "import bench, results\nassert bench.NAME + results.NAME\n" + dedent(FACTORY)})
    done = call(folder, "pytest", "bench", *QUICK, "-k", "train")
    assert done.returncode == 0, done.stdout
    assert parameters(folder) == {7_850}
    assert call(folder, "trainmark", "html").returncode == 0


def test_a_second_package_of_the_name_on_the_path_is_refused_with_both_folders(tmp_path: Path, call: Call) -> None:
    """The one found first would be measured under the other's name."""
    files = {"models/__init__.py": "", "models/mlp.py": FACTORY}
    ours, theirs = project(suite(tmp_path / "ours"), files), project(tmp_path / "theirs", files)
    options = ("--model=models.mlp:small", "--collect-only", "-q")
    done = call(ours, "pytest", "bench", *options, path=[str(theirs)])
    assert done.returncode == 4
    assert "a module models.mlp lies in" in done.stderr
    assert str(ours) in done.stderr
    assert str(theirs) in done.stderr


def test_plain_pytest_runs_the_projects_tests_and_measures_nothing(tmp_path: Path, call: Call) -> None:
    same_name = {"tests/test_benchmarks.py": "def test_own():\n    assert True\n"}
    folder = project(suite(tmp_path), same_name)
    done = call(folder, "pytest", "-q")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("where", "asked"),
    [("", "app/bench/test_benchmarks.py::test_input"), ("app/src", "../bench")],
)
def test_a_suite_is_found_from_wherever_pytest_is_called(where: str, asked: str, tmp_path: Path, call: Call) -> None:
    """A repository of several projects, whose ini file lies above them."""
    repository = project(tmp_path, {"pytest.ini": "[pytest]\n", "app/src/readme": ""})
    suite(repository / "app")
    done = call(repository / where, "pytest", asked, *QUICK, "-k", "input and resident")
    assert done.returncode == 0, done.stdout
    assert len(run_files(repository / "app" / "results")) == 1
    assert not (repository / "results").exists()


def test_a_project_without_an_ini_file_is_a_suite_by_its_conftest_alone(tmp_path: Path, call: Call) -> None:
    folder = suite(tmp_path)
    (folder / "pyproject.toml").unlink()
    done = call(folder, "pytest", "bench", *QUICK, "--model=nets:small", "-k", "train")
    assert done.returncode == 0, done.stdout
    assert parameters(folder) == {7_850}


def test_a_projects_own_options_stand(tmp_path: Path, call: Call) -> None:
    addopts = "--import-mode=importlib -W error --strict-markers -ra"
    folder = project(suite(tmp_path), {"pytest.ini": f"[pytest]\naddopts = {addopts}\n"})
    done = call(folder, "pytest", "bench", *QUICK, "-k", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert parameters(folder) == {7_850}


def test_what_the_plugin_supplies_gives_way_to_what_the_user_says(tmp_path: Path, call: Call) -> None:
    folder = suite(tmp_path)
    options = ("--benchmark-storage=file://elsewhere", "--benchmark-min-rounds=3", "-k", "input and resident")
    done = call(folder, "pytest", "bench", *QUICK, *options)
    assert done.returncode == 0, done.stdout
    (file,) = run_files(folder / "elsewhere")
    assert read_run(file).facts.options["min_rounds"] == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("-n2",), "one at a time: add -n0"),
        (("-p", "no:benchmark"), "leave out -p no:benchmark"),
        (("--model", "nets:absent"), 'The model "nets:absent" is not there'),
        (("--model", "nowhere:small"), 'no module named "nowhere"'),
        (("--model", "nets.py:absent"), "module 'nets.py' has no attribute 'absent'"),
        (("--model", "nets:small(3)"), "nets.py, line 4: TypeError: too many positional arguments"),
        (("--model", "nowhere.py:small"), "there is no file nowhere.py, neither here nor in"),
        (("--model", "nets:small(size)"), "its argument size is no literal"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(
    options: Sequence[str], sentence: str, tmp_path: Path, call: Call
) -> None:
    done = call(suite(tmp_path), "pytest", "bench", *options)
    assert done.returncode == 4, done.stdout
    assert sentence in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_a_plugin_that_nobody_switched_on_says_what_is_missing(tmp_path: Path, call: Call) -> None:
    folder = suite(tmp_path)
    (folder / "conftest.py").unlink()
    done = call(folder, "pytest", "-p", "trainmark.plugin", "bench")
    assert done.returncode == 4
    assert "No conftest.py switches trainmark on" in done.stderr


def test_an_option_that_another_plugin_owns_has_a_name_of_our_own(tmp_path: Path, call: Call) -> None:
    other = """
        def pytest_addoption(parser):
            for name in ("--timeout", "--profile", "--device"):
                parser.addoption(name, default=None)
    """
    folder = project(suite(tmp_path), {"theirs.py": other})
    options = ("--trainmark-timeout=60", "--trainmark-device=cpu", "-k", "input and resident")
    done = call(folder, "pytest", "-p", "theirs", "bench", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--timeout belongs to another plugin here, and ours is --trainmark-timeout" in done.stdout


@pytest.mark.skipif(not OTHER_PLUGINS.is_dir(), reason="the plugins whose options clash are installed in CI alone")
def test_a_suite_is_measured_beside_the_plugins_whose_options_clash(tmp_path: Path, call: Call) -> None:
    """pytest-timeout, -playwright, -profiling, -parallel, -randomly and -cov, all installed."""
    folder = suite(tmp_path)
    path = [str(OTHER_PLUGINS)]
    options = ("--benchmark-autosave", "--benchmark-max-time=0.01", "--batch-size=8", "--precision=fp32", "-k", "train")
    done = call(folder, "pytest", "bench", "--timeout=1", *options, path=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert parameters(folder) == {7_850}
    for name in ("timeout", "profile", "device"):
        assert f"ours is --trainmark-{name}" in done.stdout
    refused = call(folder, "pytest", "bench", "--cov=nets", path=path)
    assert refused.returncode == 4
    assert "add --no-cov" in refused.stderr


def test_a_page_opens_without_the_suite_that_measured_it(tmp_path: Path, call: Call) -> None:
    """An n-gram run of this suite, read where neither its workloads nor its parameters are known."""
    (tmp_path / "somewhere").mkdir()
    made = subprocess.run(
        [sys.executable, "-m", "pytest", "bench", "-k", "ngram_fit and mle and numba", "--benchmark-max-time=0.01",
         "--benchmark-autosave", f"--benchmark-storage=file://{tmp_path / 'results'}", "-p", "no:cacheprovider"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout
    (file,) = run_files(tmp_path / "results")
    page = tmp_path / "page.html"
    done = call(tmp_path / "somewhere", "trainmark", "html", str(file), "-o", str(page))
    assert done.returncode == 0, done.stderr
    assert "ngram_fit numba" in page.read_text()
    assert METRICS["fit_seconds"].meaning in page.read_text()
