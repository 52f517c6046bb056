"""``docs/options.md``: as the registry has it, and every example in it is one that is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from trainmark.export.option_reference import option_reference
from trainmark.store.parameters import PARAMETERS
from trainmark.workloads import entries

DOCUMENT = Path(__file__).parents[2] / "docs" / "options.md"
TAKEN = sorted({name for entry in entries() for name in entry.parameters})


def test_the_document_is_as_the_registry_is() -> None:
    behind = "write it anew: python -m trainmark.export.option_reference > docs/options.md"
    assert DOCUMENT.read_text(encoding="utf-8") == option_reference(), behind


@pytest.mark.parametrize("name", TAKEN)
def test_each_parameter_has_meaning_values_default_and_an_example_of_valid_values(name: str) -> None:
    parameter = PARAMETERS[name]
    (section,) = re.findall(rf"^### `{parameter.option}`\n(.*?)(?=^##)", option_reference(), re.MULTILINE | re.DOTALL)
    assert parameter.meaning[1:] in section
    assert f"default `{parameter.default}`" in section
    assert all(f"`{value}`" in section for value in parameter.values)
    (example,) = re.findall(r"^pytest bench (.*)$", section, re.MULTILINE)
    words = shlex.split(example)
    values = words[words.index(parameter.option) + 1].split(",")
    assert set(values) <= set(map(str, parameter.values)) or not parameter.values
    assert all(value.isdecimal() for value in values) or not isinstance(parameter.default, int)


@pytest.mark.parametrize("name", TAKEN)
def test_what_a_value_is_told_to_be_is_told_of_a_value_that_there_is(name: str) -> None:
    assert set(PARAMETERS[name].told) <= set(PARAMETERS[name].values)


def test_options_beside_the_parameters_are_there_too() -> None:
    told = option_reference()
    for option in ("--task", "--grid", "--against", "--find-max-batch", "--threads", "--resume"):
        assert f"| `{option}" in told
