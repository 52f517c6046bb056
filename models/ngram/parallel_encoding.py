"""A text encoded by several threads, each with a table of words of its own, to the ids that one alone would give."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from models.ngram.encoding import Encoder

AHEAD = 2  # pieces that each thread may have before they are asked for


def encode_pieces(encoder: Encoder, pieces: Iterable[bytes], threads: int = 1) -> Iterator[NDArray[np.int32]]:
    """The ids of each piece of a text, which must end between two words.

    Args:
        encoder: Gives the ids, and knows all words in the end.
        pieces: Of the text, in order.
        threads: Cores to use.
    """
    if threads == 1:
        yield from map(encoder.encode, pieces)
        return
    with ExitStack() as stack:
        helpers = [Helper(stack.enter_context(ThreadPoolExecutor(1))) for _ in range(threads)]
        waiting: deque[tuple[Helper, Future[tuple[NDArray[np.int32], bytes]]]] = deque()
        for number, piece in enumerate(pieces):
            helper = helpers[number % threads]
            waiting.append((helper, helper.executor.submit(helper.encode, piece)))
            if len(waiting) > AHEAD * threads:
                first, future = waiting.popleft()
                yield first.translate(*future.result(), encoder)
        for helper, future in waiting:
            yield helper.translate(*future.result(), encoder)


class Helper:
    """A thread with an encoder of its own, and what that one's ids are called by the common one.

    A word is new to the common encoder in the piece that has it first, and then it is new to the
    helper as well. So told of each piece's new words in the order of the text, it numbers them as if
    it had read the text itself.
    """

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.executor = executor
        self._own = Encoder()
        self._common_ids = np.arange(len(self._own), dtype=np.int32)  # what every encoder knows from the start

    def encode(self, piece: bytes) -> tuple[NDArray[np.int32], bytes]:
        """In the thread: the helper's own ids of a piece, and the words that are new to it."""
        known = len(self._own)
        return self._own.encode(piece), self._own.words_from(known)

    def translate(self, own_ids: NDArray[np.int32], new_words: bytes, encoder: Encoder) -> NDArray[np.int32]:
        """The common encoder's ids of a piece; it must be the next of this helper's."""
        self._common_ids = np.append(self._common_ids, encoder.encode(new_words))
        return self._common_ids[own_ids]
