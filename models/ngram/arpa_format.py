"""What is true of every ARPA file, and of what may be wrong with one."""

from __future__ import annotations

import numpy as np

from models.ngram.search import ABSENT

LINE_BYTES = 1 << 22  # of a line that is read or written, at most
MOST_NGRAMS = int(ABSENT)  # of an order: their places are uint32, and one number stands for none
MOST_BACKOFF = 99.0  # common logarithm of a weight: what is left to the unseen is not that much
MOST_WRITTEN = 1e9  # of a logarithm, either way: what is less is 0 for everybody
LN_10 = float(np.log(10.0))


class ArpaError(ValueError):
    """A file is no ARPA file, or a model cannot be written as one."""


def check_writable(smoothing: str) -> None:
    """Refuses with an ArpaError a kind of model that no ARPA file holds."""
    if smoothing not in {"kneser-ney", "arpa"}:
        raise ArpaError(
            f"An ARPA file holds a model that backs off, which one with {smoothing} smoothing does not: "
            "fit it with kneser-ney."
        )
