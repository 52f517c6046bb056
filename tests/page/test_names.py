"""What the page calls a configuration: nothing that tells it from others is cut off or left out."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
import pytest

from trainmark.page.names import name_of, value_words, varying
from trainmark.page.plots.canvas import NAME_CHARACTERS, row_names, wrapped
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import Record, Run, RunFacts

MANY = [
    Cell.of("train", model=model, batch_size=size, precision=precision, compile=mode, memory_format=layout, workers=2)
    for model, size, precision, mode, layout in product(
        ("mlp", "a_package.with_modules.of_long_names:a_factory_of_a_network(width=512, depth=24)"),
        (64, 1024),
        ("fp32", "bf16"),
        ("off", "default", "max-autotune"),
        ("contiguous", "channels_last"),
    )
]


def test_names_tell_what_varies_and_leave_out_what_all_have() -> None:
    settings = [cell.settings for cell in MANY]
    assert varying(settings) == ("model", "batch_size", "precision", "compile", "memory_format")
    names = [name_of(one, varying(settings)) for one in settings]
    assert names[0] == "mlp, batch 64, fp32"
    assert names[5] == "mlp, batch 64, fp32, compiled max-autotune, channels_last"
    assert len(set(names)) == len(names)


def frame(cells: list[Cell]) -> pd.DataFrame:
    records = tuple(Record(cell, "ok", metrics={"step_seconds": 1.0}) for cell in cells)
    return to_frame([Run("0001", RunFacts("0001", "2026-01-01T12:00:00+00:00"), {}, {}, records)])


def test_rows_of_a_picture_have_whole_names_in_as_many_lines_as_they_need() -> None:
    names = row_names(frame(MANY))
    lines = [wrapped(name) for name in names]
    assert ["".join(line.split()) for line in lines] == ["".join(name.split()) for name in names]
    assert not any("…" in name for name in names)
    assert max(len(part) for line in lines for part in line.split("\n")) <= NAME_CHARACTERS


def test_rows_that_read_alike_are_told_apart_by_a_number() -> None:
    long = "x" * 200
    names = row_names(frame([Cell.of("train", model=f"{long}{middle}{long}") for middle in ("1", "2")]))
    assert names[1] == f"{names[0]} (2)"


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("compile", "off", "eager"),
        ("compile", "default", "compiled"),
        ("compile", "max-autotune", "compiled max-autotune"),
        ("batch_size", 64, "batch 64"),
        ("epochs", 1, "1 epoch"),
        ("epochs", 10, "10 epochs"),
        ("unheard_of", "x", "x"),
    ],
)
def test_a_value_is_said_in_the_words_of_the_field(parameter: str, value: Any, words: str) -> None:
    assert value_words(parameter, value) == words


def test_every_value_of_every_parameter_has_a_word_of_its_own() -> None:
    for name, parameter in PARAMETERS.items():
        told = [value_words(name, value) for value in parameter.values]
        assert len(set(told)) == len(told)
