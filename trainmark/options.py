"""The command line of ``pytest bench``: its options, and what they say of a run."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainmark.against.run import Against
from bench.ngram.corpora import MADE
from trainmark.workloads.planning import GRIDS, Request
from trainmark.measure.session import Invocation
from trainmark.measure.settings import DataPlaces, Settings, default_threads
from trainmark.measure.worker import Limits
from trainmark.store.cell import AXES, Axis, Value

DEFAULT_TIMEOUT = 900.0
SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
FOLDER = "folder:"

# Options of this suite, beside the axes, with their defaults.
DEFAULTS = {
    "grid": "quick",
    "find_max_batch": False,
    "seeds": None,
    "seed": 0,
    "threads": None,
    "timeout": DEFAULT_TIMEOUT,
    "memory_limit": None,
    "data_root": "data",
    "download": False,
    "in_process": False,
    "profile": False,
}
POLICIES = ("pass", "warn", "fail")
NOT_AGAINST = ("find_max_batch", "resume", "in_process", "profile", "memory_limit", "benchmark_disable")
# What an interrupted run was begun with and --resume goes on with, beside the axes.
KEPT = (
    *DEFAULTS,
    "benchmark_autosave",
    "benchmark_save",
    "benchmark_min_rounds",
    "benchmark_max_time",
)


def add_options(parser: pytest.Parser) -> None:
    """Adds the options of the suite to pytest's own."""
    cells = parser.getgroup("trainmark: which cells", "each takes one value or several, with commas between")
    for axis in AXES.values():
        valid = f": {', '.join(map(str, axis.values))}" if axis.values else ""
        cells.addoption(axis.option, dest=axis.name, metavar="VALUE,...", help=f"{axis.meaning}{valid}")
    cells.addoption("--grid", choices=GRIDS, default="quick", help="quick: three minutes on two cores; full: all")
    cells.addoption("--find-max-batch", action="store_true", help="look for the largest batch that fits, nothing else")
    how = parser.getgroup("trainmark: how they are measured")
    how.addoption("--threads", type=_positive, metavar="N", help="CPU threads; default: all cores but one")
    how.addoption("--seeds", type=_positive, metavar="N", help="trainings of an accuracy cell")
    how.addoption("--seed", type=int, default=0, metavar="N", help="the first seed (default 0)")
    how.addoption(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help=f"of a cell (default {DEFAULT_TIMEOUT:g}); 90, 90s, 15m or 2h",
    )
    how.addoption("--memory-limit", type=_bytes, metavar="SIZE", help="resident memory of a cell, such as 4GB")
    how.addoption("--profile", action="store_true", help="profile each cell as well: trainmark profile CELL")
    how.addoption("--resume", action="store_true", help="finish the last interrupted run, with its own options")
    how.addoption("--in-process", action="store_true", help="run cells in this process, for a debugger")
    against = parser.getgroup("trainmark: against another side", "both sides are measured together, pair by pair")
    against.addoption(
        "--against",
        action="append",
        metavar="SIDE",
        help="a git ref, a Python interpreter, env:NAME=value or self; repeat it to combine them",
    )
    against.addoption("--budget", type=_budget, default=600.0, metavar="TIME", help="for all of it (default 10m)")
    against.addoption(
        "--margin",
        default="",
        metavar="SHARE,...",
        help="by how much a time may differ (default 3%%); for some cells another: 3%%,train cnn=5%%",
    )
    against.addoption("--inconclusive", choices=POLICIES, default="warn", help="cells that are not decided")
    against.addoption("--missing", choices=POLICIES, default="fail", help="cells that are no longer there")
    where = parser.getgroup("trainmark: where data sets lie")
    where.addoption("--data-root", default="data", metavar="DIR", help="folder in torchvision's layout (default data)")
    where.addoption("--download", action="store_true", help="let torchvision fetch what is missing there")


def read_options(config: pytest.Config) -> Invocation:
    """What the command line asks for.

    Raises:
        pytest.UsageError: A value is not valid; the message lists the valid ones.
    """
    given: dict[str, tuple[Value, ...]] = {}
    folders: dict[str, Path] = {}
    for axis in AXES.values():
        text = config.getoption(axis.name)
        if text is not None:
            given[axis.name] = _values(axis, text)
    if "dataset" in given:
        given["dataset"] = tuple(dict.fromkeys(_name_folder(str(name), folders) for name in given["dataset"]))
    corpora: dict[str, Path] = {}
    if "corpus" in given:
        given["corpus"] = tuple(dict.fromkeys(_name_corpus(str(name), corpora) for name in given["corpus"]))
    option = config.getoption
    return Invocation(
        request=Request(option("grid"), given, option("seeds"), option("find_max_batch")),
        settings=Settings(
            threads=option("threads") or default_threads(),
            seed=option("seed"),
            min_rounds=option("benchmark_min_rounds"),
            max_seconds=float(option("benchmark_max_time")),
            once=option("benchmark_disable") and not option("benchmark_enable"),
            places=DataPlaces(Path(option("data_root")).expanduser().absolute(), option("download"), folders, corpora),
        ),
        limits=Limits(option("timeout"), option("memory_limit")),
        in_process=option("in_process"),
        profile=option("profile"),
    )


def read_against(config: pytest.Config) -> Against | None:
    """What the command line says of another side; None where it names none.

    Raises:
        pytest.UsageError: An option does not go with it.
    """
    option = config.getoption
    if not option("against"):
        return None
    for name in NOT_AGAINST:
        if option(name):
            raise pytest.UsageError(f"--{name.replace('_', '-')} does not go with --against.")
    return Against(
        parts=tuple(option("against")),
        budget_seconds=option("budget"),
        threads=option("threads"),
        margins=option("margin"),
        inconclusive=option("inconclusive"),
        missing=option("missing"),
    )


def keep_options(config: pytest.Config) -> dict[str, Any]:
    """The options that an interrupted run is resumed with, as plain JSON types."""
    return {name: config.getoption(name) for name in (*AXES, *KEPT)}


def restore_options(config: pytest.Config, kept: Mapping[str, Any]) -> None:
    """Puts the options of an interrupted run in the place of this call's.

    Raises:
        pytest.UsageError: The call asks for cells of its own.
    """
    own = [axis.option for axis in AXES.values() if config.getoption(axis.name) is not None]
    own += [f"--{name.replace('_', '-')}" for name, value in DEFAULTS.items() if config.getoption(name) != value]
    if own:
        raise pytest.UsageError(
            f"--resume goes on with the options of the interrupted run: leave out {', '.join(own)}."
        )
    for name, value in kept.items():
        saved_now = name.startswith("benchmark_") and name.endswith("save") and config.getoption(name)
        setattr(config.option, name, saved_now or value)


def _values(axis: Axis, text: str) -> tuple[Value, ...]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise pytest.UsageError(f"{axis.option} needs a value: {axis.meaning}.")
    if axis.values:
        known = {str(value): value for value in axis.values}
        wrong = [name for name in names if name not in known]
        if wrong:
            raise pytest.UsageError(f"{axis.option} {wrong[0]}: not one of {', '.join(known)}.")
        return tuple(dict.fromkeys(known[name] for name in names))
    if isinstance(axis.default, int):
        least = min(axis.default, 1)
        wrong = [name for name in names if not name.isdecimal() or int(name) < least]
        if wrong:
            above = " above zero" if least else ""
            raise pytest.UsageError(f"{axis.option} {wrong[0]}: not a whole number{above}.")
        return tuple(dict.fromkeys(int(name) for name in names))
    return tuple(dict.fromkeys(names))


def _name_folder(name: str, folders: dict[str, Path]) -> str:
    """``folder:PATH`` as ``folder:NAME``: a record names the data, not where it lies."""
    if not name.startswith(FOLDER):
        return name
    given = name.removeprefix(FOLDER)
    path = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100  # Path.absolute leaves a/../b as it is
    if not given or not path.name:
        raise pytest.UsageError(f"--dataset {name}: write folder:PATH, with train/ and test/ in it.")
    if folders.setdefault(path.name, path) != path:
        raise pytest.UsageError(f"--dataset: two folders are named {path.name}; rename one.")
    return FOLDER + path.name


def _name_corpus(name: str, corpora: dict[str, Path]) -> str:
    """A file as its name: a record names the text, not where it lies."""
    if name in MADE:
        return name
    path = Path(os.path.abspath(Path(name).expanduser()))  # noqa: PTH100  # Path.absolute leaves a/../b as it is
    if path.name in MADE:
        raise pytest.UsageError(
            f"--corpus: a file named {path.name} would pass for the corpus of that name; rename it."
        )
    if corpora.setdefault(path.name, path) != path:
        raise pytest.UsageError(f"--corpus: two files are named {path.name}; rename one.")
    return path.name


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: not a whole number above zero.")  # argparse names the option
    return int(text)


def _seconds(text: str) -> float:
    return _time("--timeout", text)


def _budget(text: str) -> float:
    return _time("--budget", text)


def _time(option: str, text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or float(found[1]) == 0:
        raise pytest.UsageError(f"{option} {text}: not a time; write 90, 90s, 15m or 2h.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * SIZES[found[2].upper()]) if found else 0
    if not size:
        raise pytest.UsageError(f"--memory-limit {text}: not a size; write 500MB or 4GB.")
    return size
