"""Python objects by the name that a user gives them on the command line.

==================================  ==========================================================================
``package.module:factory``          what a module of that name holds
``path/to/file.py:factory``         what a file holds, whatever folders of packages it lies in
``package.module:Nets.wide``        an attribute of what it holds
``nets:wide(512, depth=2)``         any of these with arguments: a ``functools.partial`` of it
``folder:path/to/images(size=64)``  a folder of images, and how they are made one size
==================================  ==========================================================================

Arguments are literals (numbers, strings, booleans, None; tuples, lists and dicts of them); nothing is evaluated.
A record keeps one spelling of a name, ``nets:wide(512,depth=2)``: no spaces outside of strings, values as Python
writes them, and arguments in the order in which they were given, which may matter to the function.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import os
import posixpath
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from trainmark import suite
from trainmark.formatting import excerpt
from trainmark.store.parameters import Named, absolute

FILE = ".py"
PATH_VARIABLE = "PYTHONPATH"
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no text, ends of lines
LITERALS = "numbers, strings, True, False, None, tuples, lists and dicts"
_IDENTIFIER = r"[^\W\d]\w*"
_DOTTED = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
_FOLDER = re.compile(r"(?P<path>.*?[^\s(])\s*(?P<call>\(.*\))", re.DOTALL)
_FORM = re.compile(rf"(?P<place>{_DOTTED}|.+?\.py)\s*:\s*(?P<attribute>{_DOTTED})\s*(?P<call>\(.*)?", re.DOTALL)


class UnknownObject(ValueError):
    """Nothing is behind a name; the message says why, and where in whose file."""


class UnreadableName(ValueError):
    """A name has the form of one and cannot be read; the message is a clause that says why."""


class FailedImport(UnknownObject):
    """The module behind a name is there, and importing it fails; the message says where."""


@dataclass(frozen=True)
class Name:
    """A name that has been read; as a string it is in the spelling that a record keeps.

    Attributes:
        place: A module, ``package.module``, or a file, ``path/to/file.py``, from the root of the suite on.
        attribute: Of the module; dotted for one of an object in it.
        args: Literals that go before all others.
        kwargs: Literals by their parameter.
    """

    place: str
    attribute: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.place}:{self.attribute}{_written_call(self.args, self.kwargs)}"

    @property
    def is_of_a_file(self) -> bool:
        """Whether its place is a file, not a module."""
        return self.place.endswith(FILE)


def read_name(text: str) -> Name | None:
    """The name that a text is; None where it has no such form, as a registered name has none.

    Raises:
        UnreadableName: Its arguments are no literals, or its path could not be shown.
    """
    form = _FORM.fullmatch(text.strip())
    if form is None:
        return None
    place, attribute, call = form.group("place", "attribute", "call")
    if place.endswith(FILE):
        place = posixpath.normpath(place.replace(os.sep, "/"))
        if any(unicodedata.category(character) in UNPRINTABLE for character in place):
            raise UnreadableName(f"{place!r} has a character that cannot be shown; rename the file or the folder")
    args, kwargs = _read_call(call) if call else ((), {})
    return Name(place, attribute, args, kwargs)


@dataclass(frozen=True)
class Normalisation:
    """By what each channel of an image is shifted, and then divided.

    Attributes:
        mean: One for each channel, or one for all.
        std: Likewise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


CHANNELS = {1, 3}  # of a folder's images there are three: a number for each, or one for all
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's, of its trained models


@dataclass(frozen=True)
class ImageOptions:
    """What is said of a folder of images.

    Attributes:
        size: Height and width that all are brought to; a single number for the shorter side, of which the square in
            the middle is taken. None for images that are of one size as they are.
        normalize: What is done to their channels; None for nothing.
    """

    size: int | tuple[int, int] | None = None
    normalize: Normalisation | None = None


def read_folder(text: str) -> tuple[str, str]:
    """Path and arguments of ``path/to/images(size=64)``, these as a record keeps them; empty where there are none.

    Raises:
        UnreadableName: See :func:`read_image_options`.
    """
    path, call = parts_of_folder(text)
    if not call or absolute(text).is_dir():  # whose own name has brackets
        return text, ""
    read_image_options(call)
    return path, _written_call(*_read_call(call))


def parts_of_folder(text: str) -> tuple[str, str]:
    """Path and arguments as they are written; empty where there are none."""
    form = _FOLDER.fullmatch(text)
    return (text, "") if form is None else (form["path"], form["call"])


def read_image_options(call: str) -> ImageOptions:
    """What the arguments of a folder say, such as ``(size=64, normalize="imagenet")``; by default nothing.

    Raises:
        UnreadableName: One is not known, or of the wrong kind.
    """
    args, given = _read_call(call) if call else ((), {})
    other = next((name for name in given if name not in ("size", "normalize")), None)
    if args or other is not None:
        raise UnreadableName(f"a folder takes size= and normalize=, not {other or _written(args[0])}")
    size, normalize = given.get("size"), given.get("normalize")
    sides = size if isinstance(size, tuple) and len(size) == 2 else (size,)
    if "size" in given and not all(type(side) is int and side > 0 for side in sides):
        raise UnreadableName(f"size is {_written(size)}: write pixels, as 64, or height and width, as (48, 64)")
    return ImageOptions(size, _normalisation(normalize) if "normalize" in given else None)


def _normalisation(given: Any) -> Normalisation:
    if given == "imagenet":
        return IMAGENET
    parts = [part if isinstance(part, tuple) else (part,) for part in given] if isinstance(given, tuple) else []
    numbers = [number for part in parts for number in part]
    are_numbers = all(type(number) in (int, float) for number in numbers)
    if len(parts) != 2 or not are_numbers or not {*map(len, parts)} <= CHANNELS or not all(parts[1]):
        raise UnreadableName(
            f"normalize is {_written(given)}: write 'imagenet', or mean and standard deviation, (0.5, 0.25), each of "
            "which may be a tuple of three"
        )
    mean, std = (tuple(map(float, part)) for part in parts)
    return Normalisation(mean, std)


def canonical(text: str) -> str:
    """The spelling that a record keeps, of a name in a suite's table or grid; what is no name stays as it is."""
    try:
        name = read_name(text)
    except UnreadableName:
        return text  # whoever looks for it says what is wrong
    return text if name is None else str(name)


def locate(text: str) -> Named:
    """The spelling that a record keeps of what a user writes, and the path of a file outside of the suite.

    A path is one from the folder that the user stands in, else from the root of the suite. A record keeps it
    from the root on; of a file that lies elsewhere it keeps the file's name alone.

    Raises:
        UnreadableName: See :func:`read_name`; or there is no such file, or it would pass for one of the suite.
    """
    name = read_name(text)
    if name is None or not name.is_of_a_file:
        return text if name is None else str(name), None
    root = suite.current().root
    file = next((file for file in (absolute(name.place), root / name.place) if file.is_file()), None)
    if file is None:
        raise UnreadableName(f"there is no file {name.place}, neither here nor in {root}")
    inside = _within(root, file)
    if inside is not None:
        return str(replace(name, place=inside)), None
    if (root / file.name).is_file():
        raise UnreadableName(f"a file outside of the suite would pass for {root / file.name}; rename it")
    return str(replace(name, place=file.name)), file


def put_on_path(files: Iterable[Path]) -> None:
    """Lets this process and those that it starts find files outside of the suite by their names alone.

    Their folders go onto PYTHONPATH: so what lies in them counts as code that is measured, too.
    """
    before = os.environ.get(PATH_VARIABLE, "")
    lacking = [str(file.parent) for file in files if str(file.parent) not in suite.search_path(before)]
    if lacking:
        os.environ[PATH_VARIABLE] = os.pathsep.join(filter(None, [before, *dict.fromkeys(lacking)]))


def find(name: Name, kind: str) -> Any:
    """The object behind a name, with its arguments bound to it where it has some; its module is imported once.

    Args:
        name: Of the object.
        kind: What it is to be, for messages: ``model``.

    Raises:
        UnknownObject: It is not there, importing its module fails, or it takes no arguments and was given some.
    """
    where_it_is = _file_of(name, kind) if name.is_of_a_file else None
    if where_it_is is None:
        _refuse_two(_folders_of_module(name.place), kind, name, f"a module {name.place}")
    try:
        module = importlib.import_module(name.place) if where_it_is is None else _import_file(name.place, where_it_is)
    except ModuleNotFoundError as error:
        kind_of_it = UnknownObject if error.name and f"{name.place}.".startswith(f"{error.name}.") else FailedImport
        raise kind_of_it(
            f'Importing the {kind} "{name}" found no module named "{error.name}"{_where(error)}.'
        ) from error
    except (Exception, SystemExit) as error:  # whatever the file does when it is imported
        told = f"{_where(error)}: {suite.told(error)}"
        raise FailedImport(f'Importing the {kind} "{name}" fails{told}.') from error
    try:
        found = attrgetter(name.attribute)(module)
    except AttributeError as error:
        told = excerpt(error).replace(module.__name__, name.place)
        raise UnknownObject(f'The {kind} "{name}" is not there: {told}.') from error
    except (Exception, SystemExit) as error:  # whatever an attribute does that is computed
        raise UnknownObject(f'Looking up the {kind} "{name}" fails{_where(error)}: {suite.told(error)}.') from error
    if not name.args and not name.kwargs:
        return found
    if not callable(found):
        raise UnknownObject(f'The {kind} "{name}" takes no arguments: it is {type(found).__name__}.')
    return functools.partial(found, *name.args, **name.kwargs)


def layers(found: Any) -> list[Any]:
    """An object; and where it is a partial, what that is of, down to what is none."""
    all_of_it = [found]
    while isinstance(all_of_it[-1], functools.partial):
        all_of_it.append(all_of_it[-1].func)
    return all_of_it


def refuse_wrong_arguments(found: Callable[..., Any], name: Name, kind: str) -> None:
    """A callable that is to be called as it is named must lack no argument and have none too many.

    Raises:
        UnknownObject: Python says what is wrong with them.
    """
    *partials, function = layers(found)
    args = [argument for one in reversed(partials) for argument in one.args]
    kwargs = {key: value for one in reversed(partials) for key, value in one.keywords.items()}
    try:
        signature = inspect.signature(function, follow_wrapped=False)  # a decorator may supply what its function takes
    except ValueError:
        return  # written in C: it says so itself when it is called
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        place = _definition(function)
        raise UnknownObject(
            f'The {kind} "{name}" cannot be called with the arguments that it has there{place}: TypeError: {error}.'
        ) from error


def _read_call(call: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of ``(512, depth=2)``, as Python reads them."""
    try:
        node = ast.parse(f"name{call}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableName(f"its arguments cannot be read: {suite.told(error)}") from error
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise UnreadableName("it goes on behind its arguments; write one pair of brackets")
    kwargs: dict[str, Any] = {}
    for one in node.keywords:
        if one.arg is None:
            raise UnreadableName("it has **; write each argument by its name")
        if one.arg in kwargs:
            raise UnreadableName(f"it has {one.arg} twice")
        kwargs[one.arg] = _literal(one.value)
    return tuple(map(_literal, node.args)), kwargs


def _literal(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
        _written(value)
    except (TypeError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableName(f"its argument {ast.unparse(node)} is no literal; write {LITERALS}") from error
    return value


def _written(value: Any) -> str:
    """A literal as Python reads it, without spaces.

    Raises:
        TypeError: It is none of those that a name may have.
    """
    if isinstance(value, dict):
        return "{" + ",".join(f"{_written(key)}:{_written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        inner = ",".join(map(_written, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float):
        return repr(value).replace("inf", "1e999")  # inf is a name to Python
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    raise TypeError(type(value).__name__)


def _written_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    written = [*map(_written, args), *(f"{name}={_written(value)}" for name, value in kwargs.items())]
    return f"({','.join(written)})" if written else ""


def _within(root: Path, file: Path) -> str | None:
    """The path of a file from the root on; None where it lies elsewhere."""
    for folder, path in ((root, file), (root.resolve(), file.parent.resolve() / file.name)):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return None


def _file_of(name: Name, kind: str) -> Path:
    """The suite's own file; else one outside of it that the command line has named."""
    root = suite.current().root
    if not Path(name.place).is_absolute() and (root / name.place).is_file():
        return root / name.place
    beside = [Path(folder) for folder in suite.search_path(os.environ.get(PATH_VARIABLE, ""))]
    found = {file.resolve(): file for folder in beside if (file := folder / name.place).is_file()}
    if not found:
        raise UnknownObject(f'The {kind} "{name}" is not there: {root} has no file {name.place}.')
    _refuse_two([file.parent for file in found.values()], kind, name, f"a file {name.place}")
    return next(iter(found.values()))


def _import_file(place: str, file: Path) -> ModuleType:
    """The module that a file is, under a name that no package has and that is the same on both sides."""
    own_name = f"trainmark_file_{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    known = sys.modules.get(own_name)
    if known is not None and known.__file__ == str(file):
        return known
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # as Python does for a script
    spec = spec_from_file_location(own_name, file)
    assert spec is not None  # by its suffix it is Python
    assert spec.loader is not None
    module = sys.modules[own_name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own_name]
        raise
    return module


def _where(error: BaseException) -> str:
    """Where in a file of the user's it went wrong."""
    place = suite.where(error)
    return "" if place.startswith(f" in {__file__},") else place


def _definition(found: Any) -> str:
    """`` in FILE, line N``, where a function is defined, or what a class or an instance is called by."""
    called = getattr(found, "__init__" if isinstance(found, type) else "__call__", None)
    code = getattr(found, "__code__", None) or getattr(called, "__code__", None)
    return f" in {code.co_filename}, line {code.co_firstlineno}" if code else ""


def _folders_of_module(module: str) -> list[Path]:
    found: dict[Path, Path] = {}
    for folder in dict.fromkeys(Path(entry or ".").resolve() for entry in sys.path):
        place = folder.joinpath(*module.split("."))
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                found.setdefault(file.resolve(), folder)
    return list(dict.fromkeys(found.values()))


def _refuse_two(folders: Sequence[Path], kind: str, name: Name, what: str) -> None:
    """What lies in two folders of the search path is nobody's: the first would stand for both.

    Raises:
        UnknownObject: It does; the message says where.
    """
    if len(folders) > 1:
        here, elsewhere = folders[:2]
        raise UnknownObject(
            f'The {kind} "{name}": {what} lies in {here} and in {elsewhere}, and the first would be '
            "measured. Call from the folder of the one that you mean, without the other on PYTHONPATH."
        )
