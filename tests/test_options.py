"""The command line: what each option takes, and what is said of a value that it does not take."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from trainmark import plugin
from trainmark.against.places import Named
from trainmark.against.run import Against
from trainmark.judge.policy import Policy
from trainmark.measure.session import Invocation
from trainmark.measure.settings import default_threads
from trainmark.options import (
    DEST,
    add_options,
    chosen,
    keep_options,
    option,
    read_against,
    read_options,
    restore_options,
)
from trainmark.store.parameters import PARAMETERS
from trainmark.suite import Suite, SuiteError
from trainmark.workloads.planning import Request

OF_PYTEST_BENCHMARK = {
    "benchmark_min_rounds": 6,
    "benchmark_max_time": 0.5,
    "benchmark_disable": False,
    "benchmark_enable": False,
    "benchmark_autosave": None,
    "benchmark_save": None,
    "benchmark_json": None,
    "benchmark_skip": False,
}


class FakeParser:
    """The part of pytest's parser that an option needs; behind it is argparse, as behind pytest's.

    Args:
        taken: Options of another plugin.
    """

    def __init__(self, *taken: str) -> None:
        self.arguments = argparse.ArgumentParser()
        for name in taken:
            self.arguments.add_argument(name)

    def getgroup(self, name: str, description: str = "") -> Any:
        return SimpleNamespace(addoption=self.arguments.add_argument_group(name, description).add_argument)


class LateParser(FakeParser):
    """That of pytest 8: what it is given goes to argparse when the command line is read."""

    def __init__(self, *taken: str) -> None:
        super().__init__()
        self.added: list[Any] = [((name,), {}) for name in taken]
        self._groups = [SimpleNamespace(options=[SimpleNamespace(names=lambda: list(taken))])]

    def getgroup(self, name: str, description: str = "") -> Any:
        return SimpleNamespace(addoption=lambda *names, **attributes: self.added.append((names, attributes)))

    def read(self) -> None:
        for names, attributes in self.added:
            self.arguments.add_argument(*names, **attributes)


class FakeConfig:
    """pytest's configuration, as far as options go."""

    def __init__(self, *command_line: str, taken: tuple[str, ...] = (), **of_pytest_benchmark: object) -> None:
        parser = FakeParser(*taken)
        add_options(parser)  # type: ignore[arg-type]
        parser.arguments.set_defaults(**(OF_PYTEST_BENCHMARK | of_pytest_benchmark))
        ours = [argument for argument in command_line if not argument.startswith("--benchmark-")]
        self.option = parser.arguments.parse_args(ours)
        self.invocation_params = SimpleNamespace(args=command_line)

    def getoption(self, name: str) -> Any:
        return getattr(self.option, name)

    def getini(self, name: str) -> list[Path]:
        return {"pythonpath": [Path("/project/src")]}[name]


def read(*command_line: str, **of_pytest_benchmark: object) -> Invocation:
    return read_options(FakeConfig(*command_line, **of_pytest_benchmark))  # type: ignore[arg-type]


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """What argparse says of a command line that it refuses: it prints that, and pytest makes a usage error of it."""

    def told(*command_line: str) -> str:
        with pytest.raises(SystemExit) as caught:
            read(*command_line)
        assert caught.value.code == 2
        return capsys.readouterr().err

    return told


@pytest.fixture(autouse=True)
def threads_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_pytest_itself_takes_every_option(pytestconfig: pytest.Config) -> None:
    for axis in PARAMETERS:
        assert option(pytestconfig, axis) is None
    assert option(pytestconfig, "grid") is None
    assert chosen(pytestconfig, "grid") == "quick"
    assert set(keep_options(pytestconfig)) > set(PARAMETERS)


def test_nothing_given_asks_for_the_quick_grid() -> None:
    asked = read()
    assert asked.request == Request("quick", {}, None)
    assert not asked.in_process
    assert (asked.limits.seconds, asked.limits.memory_bytes) == (900, None)
    assert (asked.settings.seed, asked.settings.min_rounds, asked.settings.max_seconds) == (0, 6, 0.5)
    assert asked.settings.places.root == Path("data").absolute()
    assert not asked.settings.places.download


# The suite's table


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Opens a suite whose table has these keys."""

    def opened(**options: object) -> None:
        monkeypatch.setattr("trainmark.suite._opened", [Suite(tmp_path, options=options)])

    return opened


def test_what_the_call_leaves_open_is_as_the_table_has_it(table: Callable[..., None], tmp_path: Path) -> None:
    table(grid="full", threads=3, data_root="sets")
    asked = read()
    assert (asked.request.grid, asked.settings.threads) == ("full", 3)
    assert asked.settings.places.root == tmp_path / "sets"  # of the suite's folder, wherever the call is made
    said = read("--grid", "quick", "--threads", "1", "--data-root", "here")
    assert (said.request.grid, said.settings.threads) == ("quick", 1)
    assert said.settings.places.root == Path("here").absolute()


def test_so_is_what_a_comparison_leaves_open(table: Callable[..., None]) -> None:
    table(budget=60.0, margin="5%", threads=3, inconclusive="fail", missing="pass", changed="warn", counts="fail")
    asked = read_side("--against", "self")
    assert asked is not None
    assert (asked.budget_seconds, asked.margins, asked.threads) == (60.0, "5%", 3)
    assert (asked.policy, asked.counts_decide) == (Policy("fail", "pass", "warn"), True)
    said = read_side("--against", "self", "--budget=5m", "--margin=1%", "--missing=warn", "--counts=pass")
    assert said is not None
    assert (said.budget_seconds, said.margins, said.counts_decide) == (300.0, "1%", False)
    assert said.policy == Policy("fail", "warn", "warn")
    assert read_side() is None  # and a run of one side is none the worse for a table that speaks of two


def test_threads_of_the_table_give_way_to_a_side_that_sets_its_own(table: Callable[..., None]) -> None:
    table(threads=3)
    of_environment = read_side("--against", "env:OMP_NUM_THREADS=2")
    said = read_side("--against", "env:OMP_NUM_THREADS=2", "--threads", "1")
    assert of_environment is not None
    assert said is not None
    assert (of_environment.threads, said.threads) == (None, 1)


def test_a_grid_that_the_table_names_and_nobody_has_is_told(table: Callable[..., None], tmp_path: Path) -> None:
    table(grid="tiny")
    told = rf"^\[tool.trainmark\] in {tmp_path / 'pyproject.toml'}: grid is 'tiny', not one of quick, full"
    with pytest.raises(SuiteError, match=told):
        read()


def test_a_run_that_the_table_has_shaped_is_resumed_as_it_was(table: Callable[..., None]) -> None:
    table(grid="full", threads=3, budget=60.0, margin="5%")
    begun = FakeConfig("--against", "self", "--margin", "2%")
    resumed = FakeConfig("--resume", "--budget", "5m")
    restore_options(resumed, json.loads(json.dumps(keep_options(begun))))  # type: ignore[arg-type]
    assert read_options(resumed) == read_options(begun)  # type: ignore[arg-type]
    asked = read_against(resumed, Path.cwd(), 5.0)  # type: ignore[arg-type]
    assert asked is not None
    assert (asked.margins, asked.budget_seconds, asked.threads) == ("2%", 300.0, 3)


# Names


def test_the_name_of_every_option_in_pytests_configuration_begins_with_ours() -> None:
    """Whatever another plugin calls its own."""
    parser = FakeParser()
    assert add_options(parser) == {}  # type: ignore[arg-type]
    ours = [action for action in parser.arguments._actions if action.dest != "help"]
    assert len(ours) > len(PARAMETERS)
    for action in ours:
        (name,) = action.option_strings
        assert action.dest == DEST + name.removeprefix("--").replace("-", "_")
    assert len({action.dest for action in ours}) == len(ours)


@pytest.mark.parametrize("kind", [FakeParser, LateParser])
def test_an_option_whose_name_another_plugin_has_takes_a_longer_one(kind: type[FakeParser]) -> None:
    parser = kind("--timeout", "--seed")
    renamed = add_options(parser)  # type: ignore[arg-type]
    assert renamed == {"--timeout": "--trainmark-timeout", "--seed": "--trainmark-seed"}
    if isinstance(parser, LateParser):
        parser.read()  # and argparse takes them all
    given = parser.arguments.parse_args(["--timeout", "theirs", "--trainmark-timeout", "5m", "--trainmark-seed", "3"])
    assert given.timeout == "theirs"
    assert (given.trainmark_timeout, given.trainmark_seed) == (300.0, 3)


def test_an_option_of_another_name_is_read_like_any_other() -> None:
    config = FakeConfig("--trainmark-timeout", "5m", "--timeout", "theirs", taken=("--timeout",))
    assert read_options(config).limits.seconds == 300  # type: ignore[arg-type]
    assert keep_options(config)["timeout"] == 300  # type: ignore[arg-type]


def test_the_header_says_which_options_have_another_name() -> None:
    config = SimpleNamespace(stash={plugin.SESSION: None, plugin.RENAMED: {"--timeout": "--trainmark-timeout"}})
    assert plugin.pytest_report_header(config) == [  # type: ignore[arg-type]
        "trainmark: --timeout belongs to another plugin here, and ours is --trainmark-timeout"
    ]
    del config.stash[plugin.SESSION]  # where nothing is measured, nobody needs to know
    assert plugin.pytest_report_header(config) == []  # type: ignore[arg-type]


def test_pytest_itself_takes_both_options_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["trainmark.plugin"]\n')
    (tmp_path / "other.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--timeout')\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    repository = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "other", "--help", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(repository), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    options = [line.split()[0].partition("=")[0] for line in done.stdout.splitlines() if line.startswith("  --")]
    assert options.count("--timeout") == options.count("--trainmark-timeout") == 1


# Axes


@pytest.mark.parametrize(
    ("option", "text", "axis", "expected"),
    [
        ("--model", "mlp", "model", ("mlp",)),
        ("--model", "cnn,mlp", "model", ("cnn", "mlp")),
        ("--model", " cnn , mlp ,", "model", ("cnn", "mlp")),
        ("--model", "mlp,cnn,mlp", "model", ("mlp", "cnn")),
        ("--model", "package.module:factory", "model", ("package.module:factory",)),
        ("--model", "nets:wide(width=512, depth=2),mlp", "model", ("nets:wide(width=512,depth=2)", "mlp")),
        ("--model", "a:b((1, 2), [3, {4: 5}]),a:b", "model", ("a:b((1,2),[3,{4:5}])", "a:b")),
        ("--model", "a:b('x, ) (', \"it's, \\\" ]\"),mlp", "model", ("a:b('x, ) (','it\\'s, \" ]')", "mlp")),
        ("--model", "nets:wide(1), nets:wide( 1 )", "model", ("nets:wide(1)",)),
        ("--model", "tests/moving.py : wide()", "model", ("tests/moving.py:wide",)),
        ("--batch-size", "256,64", "batch_size", (256, 64)),
        ("--batch-size", "64,064,64", "batch_size", (64,)),
        ("--epochs", "3", "epochs", (3,)),
        ("--device", "cpu,cuda", "device", ("cpu", "cuda")),
        ("--precision", "bf16", "precision", ("bf16",)),
        ("--compile", "off,max-autotune", "compile", ("off", "max-autotune")),
        ("--memory-format", "channels_last", "memory_format", ("channels_last",)),
        ("--workers", "0,1,2,16", "workers", (0, 1, 2, 16)),
        ("--prefetch", "2,8", "prefetch", (2, 8)),
        ("--accumulate", "1,4", "accumulate", (1, 4)),
        ("--optimizer-implementation", "default,fused", "optimizer_implementation", ("default", "fused")),
        ("--loader", "resident,dataloader", "loader", ("resident", "dataloader")),
        ("--dataset", "mnist,synthetic", "dataset", ("mnist", "synthetic")),
        ("--corpus", "pydoc,zipf", "corpus", ("pydoc", "zipf")),
        ("--tokens", "0,1000000", "tokens", (0, 1_000_000)),
        ("--order", "3,1,3", "order", (3, 1)),
        ("--smoothing", "mle,kneser-ney", "smoothing", ("mle", "kneser-ney")),
        ("--engine", "numba,lmplz", "engine", ("numba", "lmplz")),
    ],
)
def test_an_axis_takes_one_value_or_several(option: str, text: str, axis: str, expected: tuple[object, ...]) -> None:
    assert read(option, text).request.given == {axis: expected}


def test_an_option_that_is_repeated_adds_up() -> None:
    asked = read(
        "--model", "cnn", "--batch-size", "64,8", "--model", "mlp,cnn", "--batch-size=32", "--model", "a:b(1, 2)"
    )
    assert asked.request.given == {"model": ("cnn", "mlp", "a:b(1,2)"), "batch_size": (64, 8, 32)}


def test_brackets_of_one_option_end_with_it() -> None:
    with pytest.raises(pytest.UsageError, match=r"--model a:b\(1: its arguments cannot be read: SyntaxError"):
        read("--model", "a:b(1", "--model", "2)")


@pytest.mark.parametrize(
    "text", ["folder:a(b,folder:c", "folder:a)b,folder:c", "folder:it's,folder:Bob's", 'folder:",x']
)
def test_brackets_and_quotes_that_never_end_are_parts_of_a_name(text: str) -> None:
    names = [part.removeprefix("folder:") for part in text.split(",")]
    given = read("--dataset", text).request.given["dataset"]
    assert [str(name).removeprefix("folder:") for name in given] == names


def test_every_axis_has_an_option() -> None:
    values = {"model": "mlp", "dataset": "mnist", "batch_size": "2", "epochs": "2"}
    for axis in PARAMETERS.values():
        assert axis.name in read(axis.option, values.get(axis.name) or str(axis.default)).request.given


@pytest.mark.parametrize("axis", [axis for axis in PARAMETERS.values() if axis.values], ids=lambda axis: axis.name)
def test_an_unknown_value_is_refused_with_all_valid_ones(axis: Any) -> None:
    with pytest.raises(pytest.UsageError, match=f"{axis.option} nonsense: not one of") as caught:
        read(axis.option, f"{axis.default},nonsense")
    assert all(str(value) in str(caught.value) for value in axis.values)


@pytest.mark.parametrize("option", ["--batch-size", "--epochs", "--accumulate", "--prefetch"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "64,0", "²", "1e3"])
def test_what_is_no_whole_number_above_zero_is_refused(option: str, text: str) -> None:
    with pytest.raises(pytest.UsageError, match=rf"{option} \S+: not a whole number above zero"):
        read(f"{option}={text}")


@pytest.mark.parametrize("text", ["-1", "1.5", "1M"])
def test_tokens_are_a_whole_number_and_may_be_none(text: str) -> None:
    with pytest.raises(pytest.UsageError, match=rf"--tokens {text}: not a whole number\.$"):
        read(f"--tokens={text}")


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_an_axis_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="--model needs a value"):
        read("--model", text)


def test_an_unknown_grid_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--grid", "huge")
    assert "quick" in capsys.readouterr().err


# Numbers, times, sizes


def test_numbers_reach_the_settings() -> None:
    asked = read("--threads", "3", "--seeds", "5", "--seed", "11")
    assert (asked.settings.threads, asked.request.seeds, asked.settings.seed) == (3, 5, 11)


@pytest.mark.parametrize("option", ["--threads", "--seeds"])
@pytest.mark.parametrize("text", ["0", "two", "1.5", "²", ""])
def test_a_number_that_is_none_is_refused_with_its_option(option: str, text: str, refused: Refused) -> None:
    assert f"{option}: {text}: not a whole number above zero" in refused(f"{option}={text}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5h", 5400), ("0.5", 0.5), (" 90s ", 90)],
)
def test_a_timeout_is_in_seconds_minutes_or_hours(text: str, seconds: float) -> None:
    assert read("--timeout", text).limits.seconds == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "0.0m", "soon", "-5", "15 minutes", "2d", "m", "1h30m", "inf"])
def test_a_timeout_that_is_no_time_is_refused_with_what_is(text: str, refused: Refused) -> None:
    assert f"--timeout: {text}: not a time; write 90, 90s, 15m or 2h" in refused(f"--timeout={text}")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000),
        ("4GB", 4_000_000_000),
        ("4gb", 4_000_000_000),
        ("4G", 4_000_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2TB", 2 * 10**12),
        ("100KB", 100_000),
        ("4096", 4096),
        ("4096B", 4096),
    ],
)
def test_a_memory_limit_is_a_size(text: str, size: int) -> None:
    assert read("--memory-limit", text).limits.memory_bytes == size


@pytest.mark.parametrize("text", ["", "lots", "GB", "4GiB", "-1GB", "4 GB of it", "0", "0GB", "0.1"])
def test_a_memory_limit_that_is_no_size_is_refused_with_what_is(text: str, refused: Refused) -> None:
    assert f"--memory-limit: {text}: not a size; write 500MB or 4GB" in refused(f"--memory-limit={text}")


# What pytest-benchmark's options mean here


def test_rounds_and_their_time_are_pytest_benchmarks_options() -> None:
    settings = read(benchmark_min_rounds=9, benchmark_max_time="2.5").settings
    assert (settings.min_rounds, settings.max_seconds) == (9, 2.5)


@pytest.mark.parametrize(
    ("disable", "enable", "once"), [(False, False, False), (True, False, True), (True, True, False)]
)
def test_disabled_benchmarks_take_one_step(disable: bool, enable: bool, once: bool) -> None:
    assert read(benchmark_disable=disable, benchmark_enable=enable).settings.once == once


# Data sets


def test_a_folder_is_known_by_its_name_and_found_by_its_path(tmp_path: Path) -> None:
    asked = read("--dataset", f"folder:{tmp_path / 'secret' / 'pets'},mnist")
    assert asked.request.given["dataset"] == ("folder:pets", "mnist")
    assert asked.settings.places.named == {"dataset": {"folder:pets": tmp_path / "secret" / "pets"}}
    assert "secret" not in str(asked.request)


def test_a_folder_may_be_named_from_here_or_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    places = read("--dataset", "folder:pets,folder:~/cars,folder:./", "--data-root", "~/data").settings.places
    assert places.named["dataset"] == {
        "folder:pets": tmp_path / "pets",
        "folder:cars": tmp_path / "home" / "cars",
        f"folder:{tmp_path.name}": tmp_path,
    }
    assert places.root == tmp_path / "home" / "data"


def test_two_folders_of_one_name_are_refused() -> None:
    with pytest.raises(pytest.UsageError, match="--dataset: two are named pets; rename one"):
        read("--dataset", "folder:/a/pets,folder:/b/pets")


@pytest.mark.parametrize("again", ["/a/pets", "/a/pets/", "/a/./pets", "/a/cars/../pets"])
def test_one_folder_spelled_twice_is_one_data_set(again: str) -> None:
    asked = read("--dataset", f"folder:/a/pets,folder:{again}")
    assert asked.request.given["dataset"] == ("folder:pets",)


def test_a_folder_is_known_by_its_arguments_too_in_one_spelling(tmp_path: Path) -> None:
    written = f"folder:{tmp_path}/pets( size = 64, normalize=(( 0.5,0.5,.5), 0.25) ),folder:{tmp_path}/pets"
    asked = read("--dataset", written)
    names = ("folder:pets(size=64,normalize=((0.5,0.5,0.5),0.25))", "folder:pets")
    assert asked.request.given["dataset"] == names
    assert asked.settings.places.named["dataset"] == dict.fromkeys(names, tmp_path / "pets")


def test_a_folder_whose_own_name_has_brackets_has_no_arguments(tmp_path: Path) -> None:
    (tmp_path / "pets(size=8)").mkdir()
    asked = read("--dataset", f"folder:{tmp_path}/pets(size=8)")
    assert asked.settings.places.named["dataset"] == {"folder:pets(size=8)": tmp_path / "pets(size=8)"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("(64)", "a folder takes size= and normalize=, not 64"),
        ("(crop=3)", "a folder takes size= and normalize=, not crop"),
        ("(size='big')", "size is 'big': write pixels, as 64"),
        ("(size=0)", "size is 0: write pixels"),
        ("(size=(1,2,3))", "size is (1,2,3): write pixels"),
        ("(size=None)", "size is None: write pixels"),
        ("(normalize='half')", "normalize is 'half': write 'imagenet', or mean and standard deviation"),
        ("(normalize=(0.5,0))", "normalize is (0.5,0): write"),
        ("(normalize=((1,2),(1,2)))", "normalize is ((1,2),(1,2)): write"),
        ("(size=n)", "its argument n is no literal"),
        ("(size=3)(size=4)", "it goes on behind its arguments"),
    ],
)
def test_what_a_folder_does_not_take_is_refused_where_it_is_named(arguments: str, told: str) -> None:
    with pytest.raises(pytest.UsageError, match=re.escape(told)):
        read("--dataset", f"folder:/a/pets{arguments}")


def test_data_of_ones_own_are_named_as_models_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PYTHONPATH", "")
    (tmp_path / "rows.py").write_text("")
    (tmp_path / "pets").mkdir()
    asked = read("--dataset", f"package.rows:rows( 3 ),{tmp_path}/rows.py:rows(n = 3),folder:{tmp_path}/pets")
    assert asked.request.given["dataset"] == ("package.rows:rows(3)", "rows.py:rows(n=3)", "folder:pets")
    assert os.environ["PYTHONPATH"] == str(tmp_path)  # of the file alone


@pytest.mark.parametrize("text", ["folder:", "folder:/"])
def test_a_folder_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="--dataset folder:"):
        read("--dataset", text)


def test_a_file_outside_of_the_suite_is_known_by_its_name_and_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PYTHONPATH", "/before")
    file = tmp_path / "secret" / "own.py"
    file.parent.mkdir()
    file.write_text("")
    asked = read("--model", f"{file}:wide(width=2)")
    assert asked.request.given["model"] == ("own.py:wide(width=2)",)
    assert asked.settings.places.named == {"model": {"own.py:wide(width=2)": file}}
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["/before", str(file.parent)])  # for the processes that measure
    assert "secret" not in str(asked.request)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a:b(c)", r"--model a:b\(c\): its argument c is no literal; write numbers"),
        (
            "nowhere/own.py:wide",
            r"--model nowhere/own\.py:wide: there is no file nowhere/own\.py, neither here nor in ",
        ),
        ("a\x07/own.py:wide", r"--model a\S*/own\.py:wide: 'a\\x07/own\.py' has a character that cannot be shown"),
    ],
)
def test_a_model_that_cannot_be_read_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(pytest.UsageError, match=why) as caught:
        read("--model", text)
    assert str(caught.value).isprintable()
    assert not str(caught.value).endswith("..")


def test_a_corpus_is_known_by_its_name_and_found_by_its_path(tmp_path: Path) -> None:
    asked = read("--corpus", f"{tmp_path / 'secret' / 'news.txt.xz'},pydoc")
    assert asked.request.given["corpus"] == ("news.txt.xz", "pydoc")
    assert asked.settings.places.named == {"corpus": {"news.txt.xz": tmp_path / "secret" / "news.txt.xz"}}
    assert "secret" not in str(asked.request)


def test_two_corpora_of_one_name_are_refused() -> None:
    with pytest.raises(pytest.UsageError, match=r"--corpus: two are named news\.txt; rename one"):
        read("--corpus", "/a/news.txt,/b/news.txt")


def test_a_file_cannot_pass_for_a_corpus_that_is_made_here() -> None:
    with pytest.raises(pytest.UsageError, match="a file named pydoc would pass for the corpus of that name"):
        read("--corpus", "/a/pydoc")


def test_data_sets_lie_where_the_command_line_says(tmp_path: Path) -> None:
    places = read("--data-root", str(tmp_path), "--download").settings.places
    assert (places.root, places.download) == (tmp_path, True)


# Threads


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 3), (64, 63)])
def test_the_default_is_all_physical_cores_but_one(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 2 * cores if logical else cores)
    assert default_threads() == read().settings.threads == threads


@pytest.mark.parametrize(("logical", "threads"), [(8, 7), (None, 1)])
def test_where_physical_cores_are_not_told_the_logical_ones_count(
    monkeypatch: pytest.MonkeyPatch, logical: int | None, threads: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: None)
    monkeypatch.setattr("os.cpu_count", lambda: logical)
    assert default_threads() == threads


@pytest.mark.parametrize(("variable", "threads"), [("7", 7), ("5,2", 5), ("0", 3), ("", 3), ("many", 3), ("²", 3)])
def test_the_variable_of_openmp_goes_before_the_default(
    monkeypatch: pytest.MonkeyPatch, variable: str, threads: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert default_threads() == threads


def test_the_option_goes_before_the_variable_of_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert read("--threads", "2").settings.threads == 2


# An interrupted run


def test_an_interrupted_run_is_resumed_with_its_own_options(tmp_path: Path) -> None:
    begun = FakeConfig(
        *("--model", "cnn,mlp", "--batch-size", "32", "--dataset", f"folder:{tmp_path / 'pets'}"),
        *("--model", "nets:wide(width=512, depth=2)", "--batch-size", "64"),
        *("--grid", "full", "--threads", "2", "--seeds", "4", "--seed", "9", "--timeout", "5m"),
        *("--memory-limit", "2GB", "--data-root", str(tmp_path), "--download", "--in-process"),
        benchmark_min_rounds=8,
        benchmark_max_time=3.0,
        benchmark_autosave="1a2b3c",
    )
    kept = json.loads(json.dumps(keep_options(begun)))  # type: ignore[arg-type]
    resumed = FakeConfig("--resume")
    restore_options(resumed, kept)  # type: ignore[arg-type]
    assert read_options(resumed) == read_options(begun)  # type: ignore[arg-type]
    assert resumed.getoption("benchmark_autosave") == "1a2b3c"


def test_so_are_folders_and_data_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PYTHONPATH", "")
    (tmp_path / "rows.py").write_text("")
    monkeypatch.chdir(tmp_path)
    begun = FakeConfig("--dataset", "rows.py:rows(3),folder:pets(size=8),mnist", "--data-root", str(tmp_path))
    kept, asked = keep_options(begun), read_options(begun)  # type: ignore[arg-type]
    monkeypatch.chdir("/")
    resumed = FakeConfig("--resume")
    restore_options(resumed, kept)  # type: ignore[arg-type]
    assert read_options(resumed) == asked  # type: ignore[arg-type]


def test_a_file_is_found_from_wherever_a_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PYTHONPATH", "")
    (tmp_path / "own.py").write_text("")
    monkeypatch.chdir(Path(__file__).parent)
    begun = FakeConfig("--model", f"moving.py:wide( 2 ),{os.path.relpath(tmp_path)}/own.py:wide('a/b')")
    kept = keep_options(begun)  # type: ignore[arg-type]
    asked = read_options(begun)  # type: ignore[arg-type]
    monkeypatch.chdir("/")
    resumed = FakeConfig("--resume")
    restore_options(resumed, kept)  # type: ignore[arg-type]
    again = read_options(resumed)  # type: ignore[arg-type]
    assert again.request.given == asked.request.given == {"model": ("tests/moving.py:wide(2)", "own.py:wide('a/b')")}
    assert again.settings.places.named == asked.settings.places.named
    assert kept["model"][0] == "tests/moving.py:wide(2)"  # what is kept names no folder of this machine


def test_a_run_that_was_kept_before_an_option_could_be_repeated_is_resumed_too() -> None:
    kept = keep_options(FakeConfig("--threads", "2")) | {"model": "cnn,mlp"}  # type: ignore[arg-type]
    resumed = FakeConfig("--resume")
    restore_options(resumed, kept)  # type: ignore[arg-type]
    assert read_options(resumed).request.given == {"model": ("cnn", "mlp")}  # type: ignore[arg-type]


def test_a_run_that_was_not_to_be_saved_can_be_saved_when_it_is_resumed() -> None:
    kept = keep_options(FakeConfig())  # type: ignore[arg-type]
    resumed = FakeConfig("--resume", benchmark_save="baseline")
    restore_options(resumed, kept)  # type: ignore[arg-type]
    assert resumed.getoption("benchmark_save") == "baseline"
    assert resumed.getoption("benchmark_autosave") is None


def test_a_resumed_run_takes_no_cells_of_its_own() -> None:
    kept = keep_options(FakeConfig())  # type: ignore[arg-type]
    for given in ("--grid=quick", "--threads=2", "--data-root=data", "--margin=3%"):
        with pytest.raises(pytest.UsageError, match=f"leave out {given.partition('=')[0]}"):
            restore_options(FakeConfig("--resume", given), kept)  # type: ignore[arg-type]
    with pytest.raises(pytest.UsageError, match="leave out --model, --batch-size"):
        restore_options(FakeConfig("--resume", "--model", "cnn", "--batch-size", "3"), kept)  # type: ignore[arg-type]


def test_a_fault_while_the_call_is_read_never_ends_with_the_code_of_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault in the program")

    monkeypatch.setattr(plugin, "_begin", broken)
    monkeypatch.setattr(plugin, "_asks_for_benchmarks", lambda config: True)
    monkeypatch.setattr(plugin, "_root", lambda plugins: Path())
    config: Any = SimpleNamespace(addinivalue_line=lambda *_: None, pluginmanager=None)
    with pytest.raises(pytest.exit.Exception) as caught:
        plugin.pytest_configure(config)
    assert caught.value.returncode == 70
    assert "a fault in the program" in capsys.readouterr().err


# Against another side


def read_side(*command_line: str, **of_pytest_benchmark: object) -> Against | None:
    return read_against(FakeConfig(*command_line, **of_pytest_benchmark), Path.cwd(), 5.0)  # type: ignore[arg-type]


def test_without_a_side_nothing_is_compared() -> None:
    assert read_side() is None


@pytest.mark.parametrize(
    "option",
    [
        "--budget=5m",
        "--budget=10m",
        "--margin=3%",
        "--inconclusive=warn",
        "--missing=fail",
        "--changed=warn",
        "--counts=fail",
    ],
)
def test_what_is_of_a_comparison_is_refused_without_a_side(option: str) -> None:
    with pytest.raises(
        pytest.UsageError, match=f"{option.split('=', maxsplit=1)[0]} is of a comparison: name what to compare with"
    ):
        read_side(option)


def test_a_side_may_have_several_parts() -> None:
    asked = read_side("--against", "self", "--against", "env:A=1", "--budget", "5m", "--margin", "1%", "--threads", "2")
    assert asked is not None
    assert (asked.parts, asked.name, asked.side.variables) == (("self", "env:A=1"), "self env:A=1", {"A": "1"})
    assert (asked.budget_seconds, asked.begun, asked.threads, asked.margins) == (300.0, 5.0, 2, "1%")
    assert asked.policy == Policy("warn", "fail", None)


def test_threads_that_are_not_given_are_each_sides_own() -> None:
    asked = read_side("--against", "self")
    assert asked is not None
    assert (asked.threads, asked.budget_seconds) == (None, 600.0)


OF_BENCHMARK = (
    "json=a",
    "skip",
    "autosave",
    "save=a",
    "compare",
    "compare-fail=mean:5%",
    "histogram",
    "cprofile=tottime",
)


@pytest.mark.parametrize("option", ["--in-process", "--profile", *(f"--benchmark-{name}" for name in OF_BENCHMARK)])
def test_what_does_not_go_with_a_side_is_refused(option: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"{option.split('=', maxsplit=1)[0]} does not go with --against"):
        read_side("--against", "self", option)


def test_taking_each_benchmark_once_does_not_go_with_a_side_though_the_ini_file_says_it() -> None:
    with pytest.raises(pytest.UsageError, match="--benchmark-disable does not go with --against"):
        read_side("--against", "self", benchmark_disable=True)


def test_a_memory_limit_that_would_not_be_kept_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match="--memory-limit does not go with --against"):
        read_side("--against", "self", "--memory-limit", "4GB")


@pytest.mark.parametrize(
    ("side", "refuses"),
    [
        (Named("main", sys.executable, {}, "1a2b3c"), True),
        (Named("env:PYTHONPATH=x", sys.executable, {"PYTHONPATH": "x"}, None), True),
        (Named("env:A=1", sys.executable, {"A": "1"}, None), False),
    ],
    ids=["a commit", "another search path", "another variable"],
)
def test_a_file_outside_of_the_suite_is_refused_where_a_side_has_none_of_its_own(
    side: Named, refuses: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainmark.options.read_side", lambda *_: side)
    (tmp_path / "own.py").write_text("")
    options = ("--against", side.name, "--model", f"tests/moving.py:wide,{tmp_path}/own.py:wide")
    if not refuses:
        assert read_side(*options) is not None
        return
    with pytest.raises(pytest.UsageError, match=r"--model own\.py:wide: the file is outside of") as caught:
        read_side(*options)
    assert f"{side.name} has none of its own" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("budget", ["soon", "0", "-1", "5d"])
def test_a_budget_that_is_no_time_is_refused(budget: str, refused: Refused) -> None:
    assert f"--budget: {budget}: not a time" in refused("--against", "self", f"--budget={budget}")


# On other nodes


def test_jobs_are_placed_by_the_executor_that_the_call_or_the_table_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = read("--executor", "slurm", "--jobs", "40")
    assert (asked.executor, asked.jobs) == ("slurm", 40)
    assert (read().executor, read().jobs) == (None, 1)
    monkeypatch.setattr("trainmark.suite.current", lambda: Suite(Path(), options={"executor": "local", "jobs": 3}))
    assert (read().executor, read().jobs) == ("local", 3)
    monkeypatch.setattr("trainmark.suite.current", lambda: Suite(Path(), options={"executor": "ray"}))
    with pytest.raises(SuiteError, match="executor is 'ray', not one of local, slurm"):
        read()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--jobs", "4"), "--jobs needs an executor"),
        (("--executor", "local", "--shard", "1/2"), "--shard does not go with --executor local"),
        (("--executor", "local", "--in-process"), "--in-process does not go with --executor local"),
    ],
)
def test_what_does_not_go_with_an_executor_is_refused(given: tuple[str, ...], told: str) -> None:
    with pytest.raises(pytest.UsageError, match=told):
        read(*given)


def test_a_run_on_a_cluster_is_resumed_on_it() -> None:
    kept = json.loads(json.dumps(keep_options(FakeConfig("--executor", "slurm", "--jobs", "4"))))  # type: ignore[arg-type]
    resumed = FakeConfig("--resume")
    restore_options(resumed, kept)  # type: ignore[arg-type]
    assert read_options(resumed).executor == "slurm"  # type: ignore[arg-type]
    shard = json.loads(json.dumps(keep_options(FakeConfig("--shard", "2/4"))))  # type: ignore[arg-type]
    again = FakeConfig("--resume")
    restore_options(again, shard)  # type: ignore[arg-type]
    assert str(read_options(again).shard) == "2/4"  # type: ignore[arg-type]
