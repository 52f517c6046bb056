"""From a file to a dataclass: the one door through which stored documents come in, and what is looked at there."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import msgspec

LARGEST_BYTES = 2**28  # of a file; a run of 500 cells of 100 rounds has 5 MB
DEEPEST = 16  # lists and objects within each other, among facts whose names nobody knows beforehand
LARGEST_INTEGER = 2**64
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)  # of ISO 8601
YEARS = range(1970, 2200)  # in which a run can have begun

T = TypeVar("T")


class SchemaError(ValueError):
    """A stored document is not a run or a record of a schema that this version reads."""


def open_file(path: Path) -> BinaryIO:
    """A file to read from; what else can have its name, such as a pipe that nobody writes to, is not waited for.

    Raises:
        OSError: It is not there, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path) -> bytes:
    """All that a file holds.

    Raises:
        OSError: It cannot be read, or is larger than anything that is stored.
    """
    with open_file(path) as stream:
        if os.fstat(stream.fileno()).st_size > LARGEST_BYTES:
            raise OSError(errno.EFBIG, f"Larger than {LARGEST_BYTES >> 20} MiB, which nothing stored is", str(path))
        return stream.read()


def parse(text: bytes) -> Any:
    """The document in a text of JSON: all its numbers are finite, and no object has a name twice.

    Raises:
        ValueError: It is no such text.
        RecursionError: It is nested too deeply.
    """
    return _STRICT.decode(text.decode("utf-8-sig"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two values of {twice[:80]!r}")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:80]} is no finite number")
    return number


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no finite number")


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_refuse_constant)


def read_document(path: Path) -> Any:
    """The document in a file of JSON.

    Raises:
        FileNotFoundError: There is none of that name.
        SchemaError: It cannot be read; the message does not name it.
    """
    try:
        return parse(read_bytes(path))
    except FileNotFoundError as error:
        if path.is_symlink():
            raise SchemaError("a link to a file that is not there") from error
        raise
    except OSError as error:
        raise SchemaError(str(error.strerror)) from error
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"not JSON, or cut short ({error})") from error


def convert(document: Any, of: type[T], name: str) -> T:
    """The dataclass in a document; keys that it does not know are ignored, so that a newer addition does no harm.

    Args:
        document: What JSON was read to.
        of: The dataclass; its annotations say what each part has to be, and in which range a number lies.
        name: What it is, for the message.

    Raises:
        SchemaError: A needed part is missing, of the wrong kind or out of its range; the message says which.
    """
    try:
        return msgspec.convert(document, of)
    except (msgspec.ValidationError, UnicodeError, RecursionError, OverflowError) as error:
        raise SchemaError(f"not {name}: {error}") from error


def check(document: Any, of: Any, name: str) -> None:
    """Refuses what :func:`convert` would refuse, and leaves a document as it is: its unknown keys stay.

    Raises:
        SchemaError: See there.
    """
    convert(document, of, name)


def facts(document: Any, name: str) -> dict[str, Any]:
    """Facts whose names nobody knows beforehand, as they are: such as those of an environment.

    Raises:
        SchemaError: They are none, are nested too deeply, or have an integer that nothing has counted.
    """
    if not isinstance(document, dict):
        raise SchemaError(f"{name} is not a set of facts")
    told = _strange(document, DEEPEST)
    if told:
        raise SchemaError(f"{name} is not a set of facts: {told}")
    return document


def _strange(value: Any, levels: int) -> str | None:
    """What a fact is that none can be; None where it can."""
    if isinstance(value, dict | list):
        if not levels:
            return f"one is nested more than {DEEPEST} deep"
        for one in value.values() if isinstance(value, dict) else value:
            if type(one) not in _HARMLESS and (told := _strange(one, levels - 1)):
                return told
        return None
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return "one is an integer of more than 64 bits"
    return None


_HARMLESS = {str, float, bool, type(None)}  # whatever their value is


def moment(text: str, name: str) -> str:
    """A stored moment, as it is.

    Raises:
        SchemaError: It is no date with its time in ISO 8601, or of a year in which nothing was measured.
    """
    try:
        then = datetime.fromisoformat(text) if MOMENT.fullmatch(text) else None
    except ValueError:
        then = None
    if then is None or then.year not in YEARS:
        raise SchemaError(f"{name} is {text[:80]!r}, which is no moment")
    return text


def version(document: Any, newest: int, name: str) -> int:
    """The version of a stored document.

    Args:
        document: What JSON was read to.
        newest: That this version of trainmark reads.
        name: The key.

    Raises:
        SchemaError: It has none, or a newer one.
    """
    found = document.get(name) if isinstance(document, Mapping) else None
    return check_version(found, newest, name.replace("_", " "))


def check_version(found: Any, newest: int, name: str) -> int:
    """The same of a version that was found already; see :func:`version`."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise SchemaError(f"its {name} is {found!r:.80}, not a whole number")
    if found > newest:
        word = name.removesuffix(" version")
        told = f"written in {word} {found!r:.20}, this version reads up to {newest}"
        raise SchemaError(f"{told}: update trainmark to read it")
    return found
