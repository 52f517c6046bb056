"""What the fork server imports once, so that each cell's process has it from the start."""

import trainmark.measure.protocol
from trainmark.measure.data import mnist_5k

mnist_5k()  # decoded once; every child shares the pages

__all__ = ["bench"]
