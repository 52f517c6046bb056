"""The command line of ``pytest bench``: its options, and what they say of a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from trainmark import suite
from trainmark.against.places import VARIABLE, read_side
from trainmark.against.places import Named as Side
from trainmark.against.run import Against
from trainmark.cluster.executors import EXECUTORS
from trainmark.formatting import plain
from trainmark.judge.policy import COUNTS, POLICIES, Policy
from trainmark.judge.sequential import LOOKS
from trainmark.measure.session import Invocation
from trainmark.measure.settings import Places, Settings, default_threads
from trainmark.measure.worker import Limits
from trainmark.named import PATH_VARIABLE, put_on_path
from trainmark.store.parameters import FOLDER, PARAMETERS, Parameter, Value, split_values
from trainmark.store.shards import Shard
from trainmark.units import parse_count, parse_seconds, parse_size
from trainmark.workloads import entries
from trainmark.workloads.grid import GRIDS
from trainmark.workloads.planning import Request

DEST = "trainmark_"  # what every name in pytest's configuration begins with
DEFAULT_TIMEOUT = 900.0
DEFAULT_BUDGET = 600.0

# Options beside the parameters, with their defaults.
DEFAULTS = {
    "task": None,
    "seeds": None,
    "seed": 0,
    "timeout": DEFAULT_TIMEOUT,
    "memory_limit": None,
    "download": False,
    "in_process": False,
    "profile": False,
    "shard": None,
}
# Those of any run whose default the suite's table may give; None where the call says nothing.
OF_RUN: dict[str, Any] = {"grid": "quick", "threads": None, "data_root": "data", "answer": Settings.answer_seconds}
OF_RUN |= {"executor": None, "jobs": 1}
# Of a comparison with another side; likewise.
OF_AGAINST: dict[str, Any] = {
    "budget": DEFAULT_BUDGET,
    "margin": "",
    "inconclusive": "warn",
    "missing": "fail",
    "changed": None,
    "counts": "pass",
}
OF_CODE = ("model", "dataset")  # parameters whose values are imported, from a file where they name one
OF_THREADS = f"{VARIABLE}OMP_NUM_THREADS="
NOT_AGAINST = ("in_process", "profile", "memory_limit", "shard", "executor")
NOT_BY_EXECUTOR = ("in_process", "shard")
# pytest-benchmark's that mean something there: how long the record of a side is timed, and where runs lie.
BENCHMARK_AGAINST = ("storage", "min-rounds", "save-data", "quiet", "verbose", "enable")
# pytest-benchmark's, which an interrupted run was begun with too.
KEPT_OF_BENCHMARK = ("benchmark_autosave", "benchmark_save", "benchmark_min_rounds", "benchmark_max_time")


class Options:
    """Adds options, each under its plain name, or as ``--trainmark-NAME`` where another plugin has that.

    Args:
        parser: pytest's.
    """

    def __init__(self, parser: pytest.Parser) -> None:
        self._parser = parser
        self.renamed: dict[str, str] = {}

    def group(self, name: str, description: str = "") -> Callable[..., None]:
        """A function that adds an option to a group of the help."""
        group = self._parser.getgroup(f"trainmark: {name}", description)

        def add(option: str, **attributes: Any) -> None:
            attributes["dest"] = DEST + option.removeprefix("--").replace("-", "_")
            if not self._is_taken(option):
                with suppress(ValueError, argparse.ArgumentError):
                    group.addoption(option, **attributes)
                    return
            self.renamed[option] = f"--trainmark-{option.removeprefix('--')}"
            group.addoption(self.renamed[option], **attributes)

        return add

    def _is_taken(self, option: str) -> bool:
        """Whether another plugin has it: pytest 8 would tell only when it reads the command line."""
        groups = [*getattr(self._parser, "_groups", ()), getattr(self._parser, "_anonymous", None)]
        return any(option in known.names() for group in groups if group is not None for known in group.options)


def add_options(parser: pytest.Parser) -> dict[str, str]:
    """Adds the options of trainmark to pytest's own; gives those that could not have their plain name."""
    options = Options(parser)
    add = options.group("which benchmarks", "each takes one value or several, with commas between; it may be repeated")
    for parameter in PARAMETERS.values():
        valid = f": {', '.join(map(str, parameter.values))}" if parameter.values else ""
        add(parameter.option, action="append", metavar="VALUE,...", help=f"{parameter.meaning}{valid}")
    add(
        "--task",
        action="append",
        metavar="NAME,...",
        help="what is trained, as you say it: package.module:name of a Task",
    )
    meanings = "; ".join(f"{name}: {grid.meaning}" for name, grid in GRIDS.items())
    add("--grid", choices=tuple(GRIDS), help=meanings)
    for entry in entries():
        if entry.option:
            add(entry.option, action="store_true", help=entry.option_help)
    add(
        "--shard",
        type=_argument(_shard),
        metavar="K/N",
        help="the K-th of N shares of them, as in a CI matrix; trainmark merge makes one run of all",
    )
    add = options.group("how they are measured")
    add("--threads", type=_argument(parse_count), metavar="N", help="CPU threads; default: all cores but one")
    add("--seeds", type=_argument(parse_count), metavar="N", help="trainings of an accuracy benchmark")
    add("--seed", type=int, default=0, metavar="N", help="the first seed (default 0)")
    add(
        "--timeout",
        type=_argument(parse_seconds),
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help=f"of a benchmark (default {DEFAULT_TIMEOUT:g}); 90, 90s, 15m or 2h",
    )
    add("--memory-limit", type=_argument(parse_size), metavar="SIZE", help="resident memory of one, such as 4GB")
    add(
        "--answer",
        type=_argument(parse_seconds),
        metavar="TIME",
        help=f"for the evidence of each model's answer (default {Settings.answer_seconds:g})",
    )
    add("--profile", action="store_true", help="profile each as well: trainmark profile CELL")
    add("--resume", action="store_true", help="finish the last interrupted run, with its own options")
    add("--in-process", action="store_true", help="measure in this process, for a debugger")
    add = options.group("on other nodes", "each is measured by the same process as here; see docs/cluster.md")
    add("--executor", choices=tuple(EXECUTORS), help="what places the processes that measure; default: here")
    add("--jobs", type=_argument(parse_count), metavar="N", help="to how many jobs they are dealt (default 1)")
    add = options.group("against another side", "both sides are measured together, pair by pair")
    add(
        "--against",
        action="append",
        metavar="SIDE",
        help="a git ref, a Python interpreter, env:NAME=value or self; repeat it to combine them",
    )
    add(
        "--budget",
        type=_argument(parse_seconds),
        metavar="TIME",
        help="for all of it (default 10m)",
    )
    add(
        "--margin",
        metavar="SHARE,...",
        help="by how much a time may differ (default 3%%); for some benchmarks another: 3%%,train cnn=5%%",
    )
    add("--inconclusive", choices=POLICIES, help="benchmarks that are not decided (default warn)")
    add("--missing", choices=POLICIES, help="benchmarks that are no longer there (default fail)")
    add("--changed", choices=POLICIES, help="benchmarks that compute something else (default warn; fail against self)")
    add("--counts", choices=COUNTS, help="counts that explain a time, such as operators (default pass: they are told)")
    add = options.group("where data sets lie")
    add("--data-root", metavar="DIR", help="folder in torchvision's layout (default data)")
    add("--download", action="store_true", help="let torchvision fetch what is missing there")
    return options.renamed


def option(config: pytest.Config, name: str) -> Any:
    """The value of an option of ours."""
    return config.getoption(DEST + name)


def chosen(config: pytest.Config, name: str) -> Any:
    """What counts of an option: what the call says, else the suite's table, else the default."""
    given = option(config, name)
    return suite.current().options.get(name, {**OF_RUN, **OF_AGAINST}[name]) if given is None else given


def read_options(config: pytest.Config) -> Invocation:
    """What the command line asks for.

    Raises:
        pytest.UsageError: A value is not valid; the message lists the valid ones.
        SuiteError: The suite's table names a grid that is not there.
    """
    given, named = _given(config)
    for parameter in OF_CODE:
        put_on_path(_files(parameter, named).values())
    alone = [entry.name for entry in entries() if entry.option and option(config, _name(entry.option))]
    if len(alone) > 1:
        raise pytest.UsageError(f"{' and '.join(alone)} are measured alone: ask for one of them.")
    executor = chosen(config, "executor") if option(config, "against") is None else None
    if executor is not None:
        if executor not in EXECUTORS:
            raise suite.SuiteError(f"[{suite.TABLE}]: executor is {executor!r}, not one of {', '.join(EXECUTORS)}.")
        for name in NOT_BY_EXECUTOR:
            if option(config, name):
                raise pytest.UsageError(f"--{name.replace('_', '-')} does not go with --executor {executor}.")
    elif option(config, "jobs") is not None:
        raise pytest.UsageError(f"--jobs needs an executor: --executor {' or '.join(EXECUTORS)}.")
    places = Places(_data_root(config), option(config, "download"), named)
    return Invocation(
        request=Request(
            _grid(config),
            given,
            option(config, "seeds"),
            only=alone[0] if alone else None,
            compares=bool(option(config, "against")),
        ),
        settings=Settings(
            threads=chosen(config, "threads") or default_threads(),
            seed=option(config, "seed"),
            min_rounds=config.getoption("benchmark_min_rounds"),
            max_seconds=float(config.getoption("benchmark_max_time")),
            once=config.getoption("benchmark_disable") and not config.getoption("benchmark_enable"),
            places=places,
            answer_seconds=chosen(config, "answer"),
        ),
        limits=Limits(option(config, "timeout"), option(config, "memory_limit")),
        in_process=option(config, "in_process"),
        profile=option(config, "profile"),
        shard=None if option(config, "shard") is None else Shard.parse(option(config, "shard")),
        executor=executor,
        jobs=chosen(config, "jobs"),
    )


def _given(config: pytest.Config) -> tuple[dict[str, tuple[Value, ...]], dict[str, dict[str, Path]]]:
    """The values asked for, and where those lie on this machine that were given as a path."""
    given: dict[str, tuple[Value, ...]] = {}
    named: dict[str, dict[str, Path]] = {}
    for parameter in PARAMETERS.values():
        texts = option(config, parameter.name)
        if parameter.name == "model" and option(config, "task") is not None:
            texts = [*(texts or ()), *_tasks(option(config, "task"))]  # a task stands where a model's name does
        if texts is not None:
            values = _values(parameter, texts)
            given[parameter.name] = values if parameter.locate is None else _located(parameter, values, named)
    return given, named


def read_against(config: pytest.Config, root: Path, begun: float) -> Against | None:
    """What the command line says of another side; None where it names none.

    Args:
        config: pytest's.
        root: Of the suite.
        begun: When the call began, as ``time.monotonic`` tells it.

    Raises:
        pytest.UsageError: An option does not go with it, or without it.
        SideError: It names no side that can be measured.
    """
    if not option(config, "against"):
        alone = [name for name in OF_AGAINST if option(config, name) is not None]
        if alone and not option(config, "resume"):
            raise pytest.UsageError(f"--{alone[0]} is of a comparison: name what to compare with, as --against main.")
        return None
    refused = [f"--{name.replace('_', '-')}" for name in NOT_AGAINST if option(config, name)]
    given = [str(argument).split("=")[0] for argument in config.invocation_params.args]
    honoured = {f"--benchmark-{name}" for name in BENCHMARK_AGAINST}
    refused += [name for name in given if name.startswith("--benchmark-") and name not in honoured]
    refused += ["--benchmark-disable"] * bool(config.getoption("benchmark_disable"))  # by the ini file too
    if refused:
        raise pytest.UsageError(f"{refused[0]} does not go with --against.")
    told = {name: chosen(config, name) for name in OF_AGAINST}
    parts = tuple(option(config, "against"))
    side = read_side(parts, root)
    _refuse_files_of_one_side(config, side, root)
    of_environment = any(part.startswith(OF_THREADS) for part in parts)  # which the table must not overrule
    return Against(
        side=side,
        parts=parts,
        budget_seconds=told["budget"],
        begun=begun,
        first_look=LOOKS[0],
        threads=option(config, "threads") if of_environment else chosen(config, "threads"),
        margins=told["margin"],
        policy=Policy(told["inconclusive"], told["missing"], told["changed"]),
        counts_decide=told["counts"] == "fail",
        pythonpath=tuple(map(str, config.getini("pythonpath"))),
        invocation=keep_options(config),
    )


def _refuse_files_of_one_side(config: pytest.Config, side: Side, root: Path) -> None:
    """A side that has files of its own has none that lie outside of the suite."""
    if side.commit is None and PATH_VARIABLE not in side.variables:
        return
    _, named = _given(config)
    for parameter in OF_CODE:
        for name in _files(parameter, named):
            raise pytest.UsageError(
                f"--{parameter} {name}: the file is outside of {root}, and {side.name} has none of its own: "
                "put it into the suite to compare it."
            )


def keep_options(config: pytest.Config) -> dict[str, Any]:
    """The options that an interrupted run is resumed with, as plain JSON types."""
    ours = {name: option(config, name) for name in (*PARAMETERS, *_own_names(), "against", *OF_RUN, *OF_AGAINST)}
    given, named = _given(config)
    ours["task"] = None  # they are among the models from here on
    for parameter in OF_CODE:
        if parameter in given:
            ours[parameter] = [_from_anywhere(str(name), named.get(parameter, {})) for name in given[parameter]]
    return ours | {name: config.getoption(name) for name in KEPT_OF_BENCHMARK}


def _files(parameter: str, named: Mapping[str, Mapping[str, Path]]) -> dict[str, Path]:
    """Name -> file, of the values of a parameter that are imported from one; a folder of images is none."""
    return {name: path for name, path in named.get(parameter, {}).items() if not name.startswith(FOLDER)}


def _from_anywhere(name: str, places: Mapping[str, Path]) -> str:
    """A name that means the same wherever the user stands when the run is resumed."""
    if name not in places:
        return name
    kind = FOLDER if name.startswith(FOLDER) else ""
    return f"{kind}{places[name].parent / name.removeprefix(kind)}"


def restore_options(config: pytest.Config, kept: Mapping[str, Any]) -> None:
    """Puts the options of an interrupted run in the place of this call's.

    Raises:
        pytest.UsageError: The call asks for benchmarks of its own.
    """
    own = [parameter.option for parameter in PARAMETERS.values() if option(config, parameter.name) is not None]
    defaults = {**DEFAULTS, **dict.fromkeys(set(_own_names()) - set(DEFAULTS), False)}
    own += [f"--{name.replace('_', '-')}" for name, value in defaults.items() if option(config, name) != value]
    unsaid = [*OF_RUN, "against", *OF_AGAINST]
    unsaid.remove("budget")  # a run may be given more time
    own += [f"--{name.replace('_', '-')}" for name in unsaid if option(config, name) is not None]
    if option(config, "budget") is not None:
        kept = {**kept, "budget": option(config, "budget")}
        if not kept.get("against"):
            own.append("--budget")
    if own:
        raise pytest.UsageError(
            f"--resume goes on with the options of the interrupted run: leave out {', '.join(own)}."
        )
    for name, value in kept.items():
        if name.startswith("benchmark_"):
            saved_now = name.endswith("save") and config.getoption(name)
            setattr(config.option, name, saved_now or value)
        elif hasattr(config.option, DEST + name):
            once = name in PARAMETERS and isinstance(value, str)  # kept before an option could be repeated
            setattr(config.option, DEST + name, [value] if once else value)


def _grid(config: pytest.Config) -> str:
    """The grid's name; that of the table is looked at here, where its grids are known."""
    name = str(chosen(config, "grid"))
    if name not in GRIDS:
        file = suite.current().root / "pyproject.toml"
        raise suite.SuiteError(f"[{suite.TABLE}] in {file}: grid is {name!r}, not one of {', '.join(GRIDS)}.")
    return name


def _data_root(config: pytest.Config) -> Path:
    """Where data sets lie: from the folder of the call on, or as the table has it from the suite's."""
    root = Path(chosen(config, "data_root")).expanduser()
    of_table = option(config, "data_root") is None and "data_root" in suite.current().options
    return suite.current().root / root if of_table else root.absolute()


def _own_names() -> tuple[str, ...]:
    return (*DEFAULTS, *(_name(entry.option) for entry in entries() if entry.option))


def _name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _tasks(texts: Sequence[str]) -> list[str]:
    """The tasks that a call names.

    Raises:
        pytest.UsageError: One is no name of an object.
    """
    names = [name for text in texts for name in split_values(text)]
    wrong = next((name for name in names if ":" not in name), None)
    if wrong is not None or not names:
        raise pytest.UsageError(f"--task {wrong or ''}: write package.module:name of a Task; --model names models.")
    return names


def _values(parameter: Parameter, texts: Sequence[str]) -> tuple[Value, ...]:
    """The values of an option, from all that was said of it."""
    names = [name for text in texts for name in split_values(text)]
    if not names:
        raise pytest.UsageError(f"{parameter.option} needs a value: {parameter.meaning}.")
    if parameter.values:
        known = {str(value): value for value in parameter.values}
        wrong = [name for name in names if name not in known]
        if wrong:
            raise pytest.UsageError(f"{parameter.option} {wrong[0]}: not one of {', '.join(known)}.")
        return tuple(dict.fromkeys(known[name] for name in names))
    if isinstance(parameter.default, int):
        least = min(parameter.default, 1)
        wrong = [name for name in names if not name.isdecimal() or int(name) < least]
        if wrong:
            above = " above zero" if least else ""
            raise pytest.UsageError(f"{parameter.option} {wrong[0]}: not a whole number{above}.")
        return tuple(dict.fromkeys(int(name) for name in names))
    return tuple(dict.fromkeys(names))


def _located(parameter: Parameter, values: tuple[Value, ...], named: dict[str, dict[str, Path]]) -> tuple[Value, ...]:
    """Values as a record keeps them; where they lie on this machine goes into ``named``."""
    assert parameter.locate is not None  # asked for such parameters alone
    found: dict[Value, None] = {}
    for value in values:
        try:
            name, path = parameter.locate(str(value))
        except ValueError as error:
            raise pytest.UsageError(f"{parameter.option} {plain(value)}: {error}.") from error
        if path is not None and named.setdefault(parameter.name, {}).setdefault(name, path) != path:
            raise pytest.UsageError(f"{parameter.option}: two are named {path.name}; rename one.")
        found[name] = None
    return tuple(found)


def _shard(text: str) -> str:
    """A shard as it was written: the options of a run are kept as plain JSON."""
    return str(Shard.parse(text))


def _argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser as argparse wants it: argparse names the option in its message."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed
