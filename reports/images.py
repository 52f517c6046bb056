"""Small images as PNG: one by one, or side by side in a sheet; the same bytes for the same pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bench.lecture.findings import SmallImage

GAP = 1  # pixel between the images of a sheet
GREY = [level for step in range(256) for level in (step, step, step)]
_BLUE, _WHITE, _ORANGE = (32, 95, 159), (245, 246, 247), (181, 86, 28)


def _between(low: tuple[int, ...], high: tuple[int, ...], share: float) -> list[int]:
    return [round(start + (end - start) * share) for start, end in zip(low, high, strict=True)]


# From blue for the least over white for zero to orange for the most: told apart by colour-blind readers.
SIGNED = [
    level
    for step in range(256)
    for level in (
        _between(_BLUE, _WHITE, step / 127.5) if step < 128 else _between(_WHITE, _ORANGE, (step - 127.5) / 127.5)
    )
]


@dataclass(frozen=True)
class Sheet:
    """Images side by side.

    Attributes:
        title: What they are.
        alt: What they show, in words.
        png: The sheet.
        width: As it is shown, in pixels of the page.
        captions: Of each image, where they are few enough to be read.
    """

    title: str
    alt: str
    png: bytes
    width: int
    captions: tuple[str, ...] = ()


def sheet(
    title: str, alt: str, images: Sequence[SmallImage], columns: int, width: int, *, captions: bool = False
) -> Sheet:
    """Images of one size in rows of so many; signed ones in two hues, others in greys."""
    rows = -(-len(images) // columns)
    height, breadth = max(image.height for image in images), max(image.width for image in images)
    signed = all(image.low < 0 for image in images)
    page = np.full((rows * (height + GAP) - GAP, min(columns, len(images)) * (breadth + GAP) - GAP), 255, np.uint8)
    mask = np.zeros_like(page)
    for number, image in enumerate(images):
        top, left = number // columns * (height + GAP), number % columns * (breadth + GAP)
        page[top : top + image.height, left : left + image.width] = image.array
        mask[top : top + image.height, left : left + image.width] = 1
    picture = Image.fromarray(np.where(mask, np.minimum(page, 254), 255), "P")
    picture.putpalette(SIGNED if signed else GREY)
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=255, optimize=False)
    return Sheet(title, alt, file.getvalue(), width, tuple(image.caption for image in images) if captions else ())
