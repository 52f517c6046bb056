from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.lecture.findings import Claim, Lecture, SmallImage, find_lecture, read_lecture, write_lecture
from trainmark.store.documents import SchemaError

CONFUSION = tuple(tuple(9 * (read == digit) + read % 3 for read in range(10)) for digit in range(10))


@pytest.fixture
def lecture() -> Lecture:
    image = SmallImage.of("digit 5", "a 5", np.arange(6.0).reshape(2, 3))
    claim = Claim("Parameters", "mlp has 270,346 parameters", "270,346", "270,346", "holds")
    return Lecture("lecture epochs=2", "mnist-5k", (claim,), {"cnn": [0.9, 0.5]}, CONFUSION, (image,))


def test_what_was_written_is_read(lecture: Lecture, tmp_path: Path) -> None:
    path = write_lecture(tmp_path / "run", lecture)
    assert read_lecture(path) == lecture
    assert find_lecture(tmp_path / "run") == lecture
    assert find_lecture(tmp_path) is None


def test_an_image_keeps_its_range_and_its_shape() -> None:
    image = SmallImage.of("g", "c", np.array([[0.0, 2.0], [1.0, 4.0]]))
    assert image.array.tolist() == [[0, 128], [64, 255]]
    assert (image.low, image.high) == (0, 4)
    signed = SmallImage.of("g", "c", np.array([[-1.0, 0.0, 4.0]]), signed=True)
    assert (signed.low, signed.high) == (-4, 4)
    assert signed.array.tolist() == [[96, 128, 255]]  # zero is in the middle
    assert SmallImage.of("g", "c", np.zeros((2, 2))).array.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "change",
    [
        {"lecture_version": 99},
        {"lecture_version": "1"},
        {"claims": [{"topic": "a"}]},
        {"claims": [{"topic": "a", "said": "b", "expected": "c", "found": "d", "verdict": "maybe"}]},
        {"images": [{"group": "g", "caption": 1}]},
        {"shifts": 3},
        {"confusion": None},
    ],
)
def test_a_file_of_another_kind_is_refused(lecture: Lecture, tmp_path: Path, change: dict[str, object]) -> None:
    path = write_lecture(tmp_path, lecture)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SchemaError, match="nothing of the lecture"):
        read_lecture(path)
    with pytest.warns(UserWarning, match="nothing of the lecture"):
        assert find_lecture(tmp_path) is None


def test_pixels_that_do_not_fit_their_shape_are_refused(lecture: Lecture, tmp_path: Path) -> None:
    path = write_lecture(tmp_path, replace(lecture, images=(replace(lecture.images[0], width=9),)))
    with pytest.raises(SchemaError, match="6 pixels for 2x9"):
        read_lecture(path)


def test_a_file_cut_short_is_refused(lecture: Lecture, tmp_path: Path) -> None:
    path = write_lecture(tmp_path, lecture)
    path.write_text(path.read_text()[:100])
    with pytest.raises(SchemaError):
        read_lecture(path)
