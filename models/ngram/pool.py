"""Threads for kernels, which run without the interpreter's lock: each thread does a part of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

PARTS_A_THREAD = 8  # so that a thread whose parts were easy helps the others

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pool:
    """A number of threads.

    Attributes:
        threads: How many.
        executor: What runs all but the calling one; None where that does it all.
    """

    threads: int
    executor: ThreadPoolExecutor | None

    @classmethod
    @contextmanager
    def of(cls, threads: int) -> Iterator[Pool]:
        """A pool of so many threads, for the length of a block."""
        if threads == 1:
            yield cls(1, None)
            return
        from concurrent.futures import ThreadPoolExecutor  # which one thread does without

        with ThreadPoolExecutor(threads - 1) as executor:
            yield cls(threads, executor)

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """What ``work`` gives for each item; raises what one of them raised.

        Each thread takes the next item that none has begun.
        """
        if self.executor is None:
            return list(map(work, items))
        from concurrent.futures import wait

        left: SimpleQueue[tuple[int, Item]] = SimpleQueue()
        for numbered in enumerate(items):
            left.put(numbered)
        results: dict[int, Result] = {}

        def take_turns() -> None:
            while True:
                try:
                    number, item = left.get_nowait()
                except Empty:
                    return
                results[number] = work(item)

        others = [self.executor.submit(take_turns) for _ in range(self.threads - 1)]
        try:
            take_turns()
        finally:
            wait(others)
        for other in others:
            other.result()
        return [results[number] for number in range(len(results))]

    def split(self, size: int) -> list[tuple[np.uint64, np.uint64]]:
        """The ranges of equal parts of that many things, one a thread."""
        edges = [np.uint64(size * part // self.threads) for part in range(self.threads + 1)]
        return list(pairwise(edges))

    def parts(self, bounds: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Ranges of buckets with about equally much in them, given where each bucket ends."""
        if self.threads == 1:
            return [(0, len(bounds) - 1)]
        parts = self.threads * PARTS_A_THREAD
        wanted = bounds[-1] * np.arange(1, parts) // parts
        edges = np.unique(np.concatenate([[0], np.searchsorted(bounds, wanted), [len(bounds) - 1]])).tolist()
        return list(pairwise(edges))


ALONE = Pool(1, None)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """What ``work`` gives for each item, in the order of the items; some are worked at ahead, two a thread at most."""
    if threads == 1:
        yield from map(work, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as executor:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(ahead) == 2 * threads:
                    yield ahead.popleft().result()
                ahead.append(executor.submit(work, item))
            while ahead:
                yield ahead.popleft().result()
        finally:
            for left in ahead:
                left.cancel()
