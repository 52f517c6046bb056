"""Kernels: compiled once, kept on the disk, and called without Numba by every process after that."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import models

SOURCE = """
from typing import NamedTuple

import numpy as np
from models.ngram.kernel import kernel

STEP = np.uint64(3)

class Pair(NamedTuple):
    numbers: np.ndarray
    factor: int

@kernel
def doubled(number):
    return number + number

@kernel
def summed(pair, offsets, flag, weights):
    total = np.int64(0)
    for place in range(np.uint64(len(pair.numbers))):
        total += doubled(np.int64(pair.numbers[place]) * pair.factor)
    if offsets is not None:
        total += np.int64(offsets[0] + STEP)
    weights[0] += 0.5
    return total, flag

@kernel
def fresh(size):
    return len(np.empty(size))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "counted.py").write_text(SOURCE)
    return tmp_path / "counted.py"


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("counted", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def called(module: ModuleType) -> tuple[int, bool, float]:
    weights = np.zeros(1)
    pair = module.Pair(np.array([1, 2, 4], np.uint32), 5)
    return (*module.summed(pair, (np.uint64(7), np.uint64(0)), True, weights), float(weights[0]))


def kept(source: Path) -> list[Path]:
    return sorted((source.parent / "__pycache__").glob("*.kernel"))


def test_a_kernel_takes_arrays_numbers_none_and_tuples_and_gives_several_numbers(source: Path) -> None:
    module = imported(source)
    assert called(module) == (2 * 5 * 7 + 10, True, 0.5)
    assert module.summed(module.Pair(np.zeros(0, np.uint32), 1), None, False, np.zeros(1)) == (0, False)
    assert len(kept(source)) == 2  # one for each kind of arguments


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda data: data[:99] + b"\0" + data[100:], lambda _: b""],
    ids=["cut", "bit", "empty"],
)
def test_damaged_machine_code_is_never_run_but_compiled_again(source: Path, damage: Callable[[bytes], bytes]) -> None:
    called(imported(source))
    (file,) = kept(source)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert called(imported(source)) == (80, True, 0.5)
    assert file.stat().st_size == len(whole)


def test_another_constant_or_another_function_that_is_called_is_other_machine_code(source: Path) -> None:
    first = called(imported(source))[0]
    source.write_text(SOURCE.replace("np.uint64(3)", "np.uint64(4)"))
    assert called(imported(source))[0] == first + 1
    source.write_text(SOURCE.replace("number + number", "number + number + number"))
    assert called(imported(source))[0] == 3 * 5 * 7 + 10
    assert len(kept(source)) == 3


def test_a_named_tuple_with_its_fields_in_another_order_is_other_machine_code(source: Path) -> None:
    swapped = SOURCE.replace("    numbers: np.ndarray\n    factor: int\n", "    more: int\n    factor: int\n")
    swapped = swapped.replace("len(pair.numbers)", "3").replace("pair.numbers[place]", "pair.more")
    source.write_text(swapped)
    module = imported(source)
    assert module.summed(module.Pair(2, 5), None, True, np.zeros(1))[0] == 3 * (2 * 5 + 2 * 5)
    source.write_text(swapped.replace("more: int\n    factor: int", "factor: int\n    more: int"))
    module = imported(source)
    assert module.summed(module.Pair(5, 2), None, True, np.zeros(1))[0] == 3 * (2 * 5 + 2 * 5)
    assert len(kept(source)) == 2


def test_without_a_place_to_keep_it_a_kernel_runs_all_the_same(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source.parent / "__pycache__").write_text("no folder")
    (source.parent / "file").write_text("no folder either")
    monkeypatch.setenv("XDG_CACHE_HOME", str(source.parent / "file"))
    assert called(imported(source)) == (80, True, 0.5)


def test_an_array_with_gaps_is_refused(source: Path) -> None:
    module = imported(source)
    with pytest.raises(TypeError, match="without gaps"):
        module.summed(module.Pair(np.arange(9, dtype=np.uint32)[::2], 1), None, False, np.zeros(1))


def test_a_kernel_that_makes_arrays_is_refused(source: Path) -> None:
    with pytest.raises(Exception, match=r"array passed into the function|makes arrays"):
        imported(source).fresh(3)


def test_a_command_runs_without_numba_once_its_kernels_are_compiled(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat\nthe dog sat\n\nthe cat\n" * 9)
    code = (
        "import sys; from models.ngram.__main__ import main;"
        "main('fit text.txt --smoothing kneser-ney -o model --arpa model.arpa --threads 2'.split());"
        "main('score model.arpa text.txt'.split()); main('sample model -n 2'.split());"
        "print([name for name in ('numba', 'torch', 'scipy', 'pandas') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(models.__file__).parents[1])}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
    assert done.stdout.splitlines()[-1] == "[]"
