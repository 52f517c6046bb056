"""From a document of plain JSON types to a dataclass: the one place where its parts are looked at."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class SchemaError(ValueError):
    """A stored document is not a run or a record of a schema that this version reads."""


def convert(document: Any, of: type[T], name: str) -> T:
    """The dataclass in a document; keys that it does not know are ignored, so that a newer addition does no harm.

    Args:
        document: What JSON was read to.
        of: The dataclass; its annotations say what each part has to be.
        name: What it is, for the message.

    Raises:
        SchemaError: A needed part is missing or of the wrong kind; the message says which.
    """
    import msgspec  # here: what measures writes documents and reads none

    try:
        return msgspec.convert(document, of)
    except msgspec.ValidationError as error:
        raise SchemaError(f"not {name}: {error}") from error
