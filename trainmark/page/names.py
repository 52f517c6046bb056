"""What the page calls a configuration: the same words in tables, in pictures, in filters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainmark import formatting
from trainmark.store.parameters import PARAMETERS

SUBJECTS = ("model", "engine")  # what a configuration is named by first
ALWAYS = ("batch_size", "device", "precision")  # told at their default too, where they vary
COMPILED = {"off": "eager", "default": "compiled"}
WORDED = {"batch_size": "batch {}", "order": "order {}", "tokens": "{} tokens"}
LONGEST_VALUE = 120  # characters of a value that somebody else has named


def value_words(parameter: str, value: Any) -> str:
    """A value as the page says it: ``batch 64``, ``compiled``, ``channels_last``."""
    if parameter == "compile":
        return COMPILED.get(str(value), f"compiled {formatting.plain(value, LONGEST_VALUE)}")
    if parameter in WORDED:
        return WORDED[parameter].format(formatting.plain(value, LONGEST_VALUE))
    known = PARAMETERS.get(parameter)
    return formatting.plain(known.worded(value) if known else value, LONGEST_VALUE)


def varying(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The parameters that some configurations do not have in common, in the order of the registry."""
    known = [*PARAMETERS, *sorted({name for one in settings for name in one} - set(PARAMETERS))]
    return tuple(name for name in known if len({str(one[name]) for one in settings if _has(one, name)}) > 1)


def name_of(settings: Mapping[str, Any], telling: Iterable[str]) -> str:
    """A configuration's name among others: its model, then what tells it from them.

    Args:
        settings: Parameter -> value.
        telling: Parameters that vary among them. Of most of them the default goes without saying.
    """
    first = [formatting.plain(settings[name], LONGEST_VALUE) for name in SUBJECTS if _has(settings, name)]
    rest = [
        value_words(name, settings[name])
        for name in telling
        if name not in SUBJECTS and _has(settings, name) and (name in ALWAYS or not _is_default(name, settings[name]))
    ]
    words = [*first, *rest]
    if not words:
        words = [value_words(name, settings[name]) for name in telling if _has(settings, name)]
    return ", ".join(words) or "the only one"


def constants(settings: Sequence[Mapping[str, Any]]) -> str:
    """What configurations have in common, in words: ``cpu, fp32, channels_last``."""
    told = []
    for name in PARAMETERS:
        values = [one[name] for one in settings if _has(one, name)]
        if name in SUBJECTS or not values or len(set(map(str, values))) > 1:
            continue
        if name in ("dataset", "device", "precision") or not _is_default(name, values[0]):
            told.append(value_words(name, values[0]))
    return ", ".join(told)


def _has(settings: Mapping[str, Any], name: str) -> bool:
    value = settings.get(name)
    return value is not None and str(value) not in ("nan", "<NA>")  # pandas' gaps are no values


def _is_default(name: str, value: Any) -> bool:
    return name in PARAMETERS and str(PARAMETERS[name].default) == str(value)
