"""A suite: the folder of a project that measures with trainmark, and what its pyproject.toml names as its own."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import sysconfig
import tomllib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainmark.formatting import excerpt
from trainmark.judge.margins import Margins
from trainmark.judge.policy import COUNTS, POLICIES
from trainmark.store.parameters import absolute
from trainmark.units import parse_count, parse_seconds

if TYPE_CHECKING:
    from trainmark.workloads.grid import Grid

TABLE = "tool.trainmark"
SOURCES = "src"  # where a project keeps its packages, if not beside the suite
MESSAGE = 400  # characters of an error's message: what it is about stands around it
EACH = ".*"  # behind a package: each package in it
ROOT_VARIABLE = "TRAINMARK_ROOT"  # where processes find the suite that no conftest has told them of


class SuiteError(RuntimeError):
    """A suite's table or what it names cannot be read; the message says what, where, and what to write."""


@dataclass(frozen=True)
class Suite:
    """What a project says of its benchmarks.

    Attributes:
        root: Folder of the conftest that switches trainmark on.
        benchmarks: Folder of the benchmarks: naming it on pytest's command line measures them.
        results: Folder where runs and pages land.
        pythonpath: Folders in ``root`` where modules are looked for too, such as ``src``.
        workloads: Dotted names, ``package.module:NAME`` of a sequence of Workload; ``package.*:NAME`` stands for
            each package in that package.
        models: Dotted name of a mapping of names to ModelSpec; or names such as ``package.module:factory``,
            which are measured where a call names none.
        tasks: Names such as ``package.module:name`` of Tasks, which are measured beside the models.
        datasets: Dotted name of a mapping of names to Source.
        default_dataset: What a model that it fits is fed where the command line names nothing.
        grids: Dotted name of a mapping of names to Grid; or the mapping itself.
        targets: Data set -> accuracy that pictures of it draw as a line.
        options: Option of the command line -> its value where a call gives none.
        executors: Executor -> its own options, such as a partition.
    """

    root: Path
    benchmarks: str = "bench"
    results: str = "results"
    pythonpath: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    models: str | tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    datasets: str = ""
    default_dataset: str = ""
    grids: str | Mapping[str, Grid] = field(default="", hash=False)
    targets: Mapping[str, float] = field(default_factory=dict, hash=False)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    executors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def models_by_name(self) -> Mapping[str, Any]:
        """Name -> ModelSpec, of those that are registered; importing them imports torch."""
        return _mapping(self.models) if isinstance(self.models, str) else {}

    def model_names(self) -> tuple[str, ...]:
        """What is measured where neither the call nor its grid names a model."""
        from trainmark.named import canonical  # which looks for files in the suite that is open

        models = tuple(self.models_by_name()) if isinstance(self.models, str) else self.models
        return (*models, *self.tasks) if isinstance(self.models, str) else tuple(map(canonical, (*models, *self.tasks)))

    def data(self) -> Mapping[str, Any]:
        """Name -> Source; likewise."""
        return _mapping(self.datasets)


def read_suite(root: Path) -> Suite:
    """The suite in a folder, as its pyproject.toml has it; without a table, or a file, all by default.

    Raises:
        SuiteError: The file is not TOML, or a key is not known or of the wrong kind.
    """
    file = root / "pyproject.toml"
    if not file.is_file():
        return Suite(root)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f"{file} is not TOML: {error}") from error
    table = document.get("tool", {}).get("trainmark", {})
    if not isinstance(table, dict):
        raise SuiteError(f"{TABLE} in {file} is {table!r}, not a table.")
    given: dict[str, Any] = {}
    for key, value in table.items():
        kind = _KINDS.get(key)
        if kind is None:
            raise SuiteError(f"[{TABLE}] in {file} has no key {key}; it has {', '.join(_KINDS)}.")
        try:
            given[key] = kind.read(value)
        except _WrongTable as error:
            raise SuiteError(f"[{TABLE}.{key}] in {file}: {error}.") from error
        except ValueError as error:
            raise SuiteError(f"[{TABLE}] in {file}: {key} is {value!r}, not {kind.words}.") from error
    options = {key: given.pop(key) for key in _OPTIONS if key in given}
    return Suite(root, **given, options=options)


class _WrongTable(ValueError):
    """A table in the table is wrong; the message says what of it."""


@dataclass(frozen=True)
class _Kind:
    """What a key may be: in words, and from what TOML has to what a suite keeps; else a ValueError."""

    words: str
    read: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError
    return tuple(value)


def _text_or_texts(value: Any) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else _texts(value)


def _shares(value: Any) -> Mapping[str, float]:
    if not isinstance(value, dict) or not all(isinstance(one, float) and 0 < one <= 1 for one in value.values()):
        raise ValueError
    return value


def _grids(value: Any) -> str | Mapping[str, Grid]:
    """The dotted name as it is; a table of tables as grids by their names."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise ValueError
    from trainmark.workloads.grid import WrongGrid, grid_of

    try:
        return {name: grid_of(name, one) for name, one in value.items()}
    except WrongGrid as error:
        raise _WrongTable(str(error)) from error


def _tables(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise ValueError
    return value


def _time(value: Any) -> float:
    return parse_seconds(str(value) if type(value) is int else _text(value))


def _count(value: Any) -> int:
    if type(value) is not int:
        raise ValueError
    return parse_count(str(value))


def _margins(value: Any) -> str:
    Margins.parse(_text(value))
    return str(value)


def _one_of(values: tuple[str, ...]) -> _Kind:
    def read(value: Any) -> str:
        if value not in values:
            raise ValueError
        return str(value)

    return _Kind(f"one of {', '.join(values)}", read)


_TEXT, _TEXTS = _Kind("a string", _text), _Kind("a list of strings", _texts)
# Defaults of options: of a comparison those of the tree that compares count, for both sides.
_OPTIONS = {
    "grid": _TEXT,
    "budget": _Kind("a time such as 90s or 10m", _time),
    "answer": _Kind("a time such as 90s or 10m", _time),
    "margin": _Kind("shares such as 3% or 3%,train cnn=5%", _margins),
    "inconclusive": _one_of(POLICIES),
    "missing": _one_of(POLICIES),
    "changed": _one_of(POLICIES),
    "counts": _one_of(COUNTS),
    "threads": _Kind("a whole number above zero", _count),
    "data_root": _TEXT,
    "executor": _TEXT,
    "jobs": _Kind("a whole number above zero", _count),
}
_KINDS = {
    "benchmarks": _TEXT,
    "results": _TEXT,
    "pythonpath": _TEXTS,
    "workloads": _TEXTS,
    "models": _Kind("a string or a list of strings", _text_or_texts),
    "tasks": _TEXTS,
    "datasets": _TEXT,
    "default_dataset": _TEXT,
    "grids": _Kind("a string or a table of tables", _grids),
    "executors": _Kind("a table of tables, one an executor", _tables),
    "targets": _Kind("a table of shares of one", _shares),
    **_OPTIONS,
}


def find_root(start: Path) -> Path:
    """The nearest folder, upwards from one, whose pyproject.toml has a table of ours; the start where none has."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and f"[{TABLE}]" in file.read_text(encoding="utf-8", errors="replace"):
            return folder
    return start


_opened: list[Suite] = []


def search_path(variable: str) -> list[str]:
    """The folders of a variable such as PYTHONPATH, as the one who set it means them: from where the call was made."""
    return [str(absolute(entry)) for entry in variable.split(os.pathsep) if entry]


def open_suite(root: Path) -> Suite:
    """Makes a suite the one of this process: its folder comes first on the path, its workloads and grids are known.

    Raises:
        SuiteError: What its table names cannot be imported.
    """
    suite = read_suite(root)
    if _opened and _opened[-1] == suite:
        return suite
    if str(root) not in sys.path:  # where it is, whoever started this process has said what comes before it
        sys.path.insert(0, str(root))
    for folder in reversed(suite.pythonpath):
        if (place := str(absolute(str(root / folder)))) not in sys.path:
            sys.path.insert(sys.path.index(str(root)) + 1, place)
    _opened.append(suite)  # what is imported below may ask for it
    try:
        _make_known(suite)
    except BaseException:
        _opened.pop()
        raise
    return suite


def _make_known(suite: Suite) -> None:
    from trainmark.workloads import register
    from trainmark.workloads.grid import GRIDS

    for name in suite.workloads:
        lacking = () if name.partition(":")[0].endswith(EACH) else _REQUIRED  # not each package needs to have some
        for module, attribute in _modules(name):
            register(*_resolve(f"{module}:{attribute}", lacking))
    GRIDS.update(_mapping(suite.grids) if isinstance(suite.grids, str) else suite.grids)


def current() -> Suite:
    """The suite of this process: the one opened last, else that of the environment or of the folder it runs in.

    Raises:
        SuiteError: See :func:`open_suite`.
    """
    if not _opened:
        named = os.environ.get(ROOT_VARIABLE)
        open_suite(Path(named) if named else find_root(Path.cwd()))
    return _opened[-1]


def _modules(name: str) -> list[tuple[str, str]]:
    """Module and attribute of a dotted name; of ``package.*`` each package in it."""
    module, _, attribute = name.partition(":")
    if not module.endswith(EACH):
        return [(module, attribute)]
    parent = _imported(module.removesuffix(EACH), name)
    if not hasattr(parent, "__path__"):
        raise SuiteError(f"[{TABLE}] names {name}, and {parent.__name__} is a module: only a package has packages.")
    inner = sorted(part.name for part in pkgutil.iter_modules(parent.__path__) if part.ispkg)
    return [(f"{parent.__name__}.{part}", attribute) for part in inner]


def _mapping(name: str) -> Mapping[str, Any]:
    if not name:
        return {}
    found = _resolve(name)
    if not isinstance(found, Mapping):
        raise SuiteError(f"[{TABLE}]: {name} is {type(found).__name__}, not a mapping of names.")
    return found


_REQUIRED = object()


def _resolve(name: str, lacking: Any = _REQUIRED) -> Any:
    module, _, attribute = name.partition(":")
    found = getattr(_imported(module, name), attribute, lacking)
    if found is _REQUIRED:
        raise SuiteError(f"[{TABLE}]: {module} has no {attribute or 'name after a colon'}: {name}.")
    return found


def _imported(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:  # whatever a project's own file does when it is imported
        raise SuiteError(f"[{TABLE}] names {name}, and importing it fails{where(error)}: {told(error)}.") from error


def where(error: BaseException) -> str:
    """`` in FILE, line N`` of what went wrong while a module was imported: the innermost line of a file of someone's.

    Empty where none of the lines is in a file, as of a module that is nowhere.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    files = [frame for frame in frames if not frame.filename.startswith("<") and frame.filename not in _OURS]
    files = [frame for frame in files if not _is_installed(Path(frame.filename))] or files
    return f" in {files[-1].filename}, line {files[-1].lineno}" if files else ""


def _is_installed(file: Path) -> bool:
    """Whether it is of Python itself or of a package, which do what somebody's own file has asked for."""
    return bool(_PACKAGES & set(file.parts)) or any(folder in file.parents for folder in _PYTHON)


_OURS = (__file__, importlib.__file__)
_PACKAGES = {"site-packages", "dist-packages"}
_PYTHON = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}


def first_line(error: BaseException, silent: str = "") -> str:
    """The first line of what an error says: a message may be as long as it likes, and asking for it may fail.

    Args:
        error: Of whatever code.
        silent: What is said of one without a message.
    """
    try:
        lines = str(error).strip().splitlines()
    except Exception as failure:  # noqa: BLE001  # of a class of somebody's own
        return f"its message cannot be read ({type(failure).__name__})"
    return excerpt(lines[0], MESSAGE) if lines else silent


def told(error: BaseException) -> str:
    """The first line of an error, with its kind where that says more."""
    text = first_line(error).removesuffix(".")
    if isinstance(error, SyntaxError) and error.msg:
        text = excerpt(error.msg, MESSAGE)
    return text if isinstance(error, ImportError) and text else f"{type(error).__name__}: {text}"
