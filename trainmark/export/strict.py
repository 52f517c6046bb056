"""JSON as its standard has it, whatever a document holds: other programs read it by other parsers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")  # half of a character, which no encoding has
_HALF_WRITTEN = re.compile(r"\\ud[89a-f]")


def as_json(document: Any, indent: int | None = None) -> str:
    """The document as JSON: a number that is not finite is null, half of a character is one that stands for any."""
    try:
        written = json.dumps(document, indent=indent, allow_nan=False)
        if not _HALF_WRITTEN.search(written):
            return written
    except (TypeError, ValueError):  # of another type, or not finite
        pass
    return json.dumps(_plain(document), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_whole(str(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else _whole(str(value))


def _whole(text: str) -> str:
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
