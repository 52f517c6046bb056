"""Competing libraries that part words otherwise than we do are told so in the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.ngram.engines import ENGINES, Task, engine_obstacle

SIGNS = ("\t", "\x0b", "\x1c", "\x1f", "\x85", "\u00a0", "\u2028")


def entries(name: str, text: str, folder: Path) -> int:
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    smoothing = next(iter(ENGINES[name].computes))
    return ENGINES[name].fit(Task(folder / "text.txt", 2, smoothing, "cpu", 1, folder)).entries


@pytest.mark.parametrize("name", [name for name, engine in ENGINES.items() if not engine.own])
def test_whoever_parts_words_at_other_signs_than_we_do_says_so(name: str, tmp_path: Path) -> None:
    if obstacle := engine_obstacle(name):
        pytest.skip(obstacle)
    parted = entries(name, "a b c\n" * 3, tmp_path)
    otherwise = [sign for sign in SIGNS if (entries(name, f"a{sign}b c\n" * 3, tmp_path) == parted) != (sign <= " ")]
    assert bool(ENGINES[name].parting) == bool(otherwise), f"{name} parts words otherwise at {otherwise}"
    assert ENGINES[name].parting in ENGINES[name].told(next(iter(ENGINES[name].computes)))
