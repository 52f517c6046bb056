"""What the lecture workload found, and the file that holds it beside a run's: claims, curves and small images."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from trainmark import formatting
from trainmark.store.documents import SchemaError, convert, read_document, version
from trainmark.store.files import write_text
from trainmark.store.profiles import slug
from trainmark.store.ranges import Count, Number, Share

LECTURE_VERSION = 1
# 1  first version: key, claims, shifts, confusion, images; later claims have a source, which may be missing.

VERDICTS = {
    "holds": "what was computed here is what the lecture says",
    "fails": "what was computed here is something else",
    "not checked": "what it takes is not on this machine",
}
PUBLISHED = "Published errors"  # topic of the claims that are held against others' figures, and not computed
LECTURE_ENDING = ".lecture.json"
Side = Annotated[int, Meta(ge=1, le=4096)]  # of an image, in pixels
Digits = Annotated[tuple[Count, ...], Meta(min_length=10, max_length=10)]  # a number for each digit


@dataclass(frozen=True)
class Claim:
    """A number or a sentence of the lecture, and what was computed of it.

    Attributes:
        topic: What it is about, in a word or two.
        said: The claim.
        expected: What it comes to, where it is true.
        found: What was computed here.
        verdict: A key of VERDICTS.
        note: How it was computed, or what is true in its place.
        source: Where it comes from, of what was not computed in this run alone; empty of all else.
    """

    topic: str
    said: str
    expected: str
    found: str
    verdict: str
    note: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise SchemaError(f"verdict {self.verdict!r} is not one of {', '.join(VERDICTS)}")


def checked(topic: str, said: str, expected: object, found: object, note: str = "", source: str = "") -> Claim:
    """A claim that holds where what was computed reads as what was expected."""
    verdict = "holds" if str(expected) == str(found) else "fails"
    return Claim(topic, said, str(expected), str(found), verdict, note, source)


def quoted(topic: str, said: str, found: str, source: str) -> Claim:
    """A claim that was not computed, with where it comes from."""
    return Claim(topic, said, formatting.DASH, found, "not checked", source=source)


@dataclass(frozen=True)
class SmallImage:
    """A digit, a kernel or a feature map.

    Attributes:
        group: Which images it belongs to, such as ``kernels after``.
        caption: What it is.
        height: In pixels.
        width: In pixels.
        low: The value of a pixel of 0.
        high: The value of a pixel of 255.
        pixels: One byte each, row by row, in base64.
    """

    group: str
    caption: str
    height: Side
    width: Side
    low: Number
    high: Number
    pixels: str

    @classmethod
    def of(cls, group: str, caption: str, values: np.ndarray, *, signed: bool = False) -> SmallImage:
        """The image of values [H, W]; a signed one has its zero in the middle of its range."""
        low, high = float(values.min()), float(values.max())
        if signed:
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        scaled = np.rint((values - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
        height, width = values.shape
        return cls(group, caption, height, width, low, high, base64.b64encode(scaled.tobytes()).decode("ascii"))

    @property
    def array(self) -> np.ndarray:
        """The pixels as uint8 [H, W].

        Raises:
            SchemaError: There are more or fewer than the shape says.
        """
        values = np.frombuffer(base64.b64decode(self.pixels, validate=True), np.uint8)
        if len(values) != self.height * self.width:
            raise SchemaError(f"{self.caption}: {len(values)} pixels for {self.height}x{self.width}")
        return values.reshape(self.height, self.width)


@dataclass(frozen=True)
class Lecture:
    """All that the workload found.

    Attributes:
        key: Join key of the cell.
        dataset: The digits.
        claims: In the order of the lecture.
        shifts: Model -> held-out accuracy with the digits moved by 0, 1, 2 ... pixels.
        confusion: Row: the digit; column: what the CNN read; both from 0 to 9.
        images: Kernels, feature maps and digits.
    """

    key: str
    dataset: str
    claims: tuple[Claim, ...]
    shifts: Mapping[str, Sequence[Share]]
    confusion: Annotated[tuple[Digits, ...], Meta(min_length=10, max_length=10)]
    images: tuple[SmallImage, ...]

    def group(self, name: str) -> list[SmallImage]:
        """The images of one group, in their order."""
        return [image for image in self.images if image.group == name]


def write_lecture(folder: Path, lecture: Lecture) -> Path:
    """Stores what was found, whole or not at all, and returns its file; the folder is made where it is missing."""
    path = folder / f"{slug(lecture.key)}{LECTURE_ENDING}"
    document = {"lecture_version": LECTURE_VERSION, **asdict(lecture)}
    return write_text(path, json.dumps(document, indent=1, allow_nan=False))


def read_lecture(path: Path) -> Lecture:
    """What the workload found, from its file; unknown keys are ignored.

    Raises:
        SchemaError: The file cannot be read, or holds none that this version reads.
    """
    try:
        document = read_document(path)
        version(document, LECTURE_VERSION, "lecture_version")
        lecture = convert(document, Lecture, "the lecture's findings")
        for image in lecture.images:
            image.array  # noqa: B018  # raises where the pixels do not fit
    except (FileNotFoundError, ValueError) as error:
        raise SchemaError(f"{path}: nothing of the lecture ({error}).") from error
    return lecture


def find_lecture(folder: Path) -> Lecture | None:
    """The lecture in a run's folder of artifacts; None where it has none, with a warning where none can be read."""
    for path in sorted(folder.glob(f"*{LECTURE_ENDING}")):
        try:
            return read_lecture(path)
        except SchemaError as error:
            warnings.warn(str(error), stacklevel=2)
    return None
