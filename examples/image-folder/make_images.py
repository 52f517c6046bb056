"""Cuts three photographs into a folder of images of many sizes: images/train/CLASS/*.jpg and images/test/CLASS/*.jpg.

The left three quarters of a photograph are trained on, the right quarter is held out. Put your own there instead.

Source: two photographs that scikit-learn ships, one that matplotlib does.
"""

import random
from pathlib import Path

from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_image

IMAGES = Path(__file__).parent / "images"
SIZES = (40, 80)  # pixels of a side
NUMBERS = {"train": 40, "test": 16}  # images of a class


def photographs() -> dict[str, Image.Image]:
    """By their classes."""
    with get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(file).convert("RGB")
    found = {name: Image.fromarray(load_sample_image(f"{name}.jpg")) for name in ("china", "flower")}
    return found | {"portrait": portrait}


def main() -> None:
    """Writes the images, the same ones each time."""
    chance = random.Random(0)
    for name, photograph in photographs().items():
        width, height = photograph.size
        ends = {"train": (0, 3 * width // 4), "test": (3 * width // 4, width)}
        for split, (left, right) in ends.items():
            folder = IMAGES / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(NUMBERS[split]):
                side, tall = chance.randint(*SIZES), chance.randint(*SIZES)
                x, y = chance.randint(left, right - side), chance.randint(0, height - tall)
                photograph.crop((x, y, x + side, y + tall)).save(folder / f"{number:02}.jpg")


if __name__ == "__main__":
    main()
