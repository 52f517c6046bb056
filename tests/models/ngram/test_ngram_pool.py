from __future__ import annotations

import threading

import numpy as np
import pytest

from models.ngram.pool import Pool


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_what_is_given_for_each_item_is_in_the_order_of_the_items(threads):
    with Pool.of(threads) as pool:
        assert pool.each(lambda number: number * number, range(20)) == [number * number for number in range(20)]
        assert pool.each(abs, []) == []


def test_as_many_items_are_in_work_as_there_are_threads():
    meeting = threading.Barrier(3, timeout=60)
    with Pool.of(3) as pool:
        pool.each(lambda _: meeting.wait(), range(3))


@pytest.mark.parametrize("bad", [0, 1, 7])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_one_item_raises_is_raised_once_no_thread_is_at_work(bad, threads):
    at_work = set()

    def work(number):
        at_work.add(number)
        try:
            if number == bad:
                raise MemoryError("no room for these")
        finally:
            at_work.remove(number)

    with Pool.of(threads) as pool:
        with pytest.raises(MemoryError, match="no room"):
            pool.each(work, range(8))
        assert not at_work
        assert pool.each(abs, [-1]) == [1]


def test_parts_of_a_table_hold_about_equally_much():
    with Pool.of(2) as pool:
        parts = pool.parts(np.arange(0, 1601, 10))
    assert parts[0][0] == 0 and parts[-1][1] == 160
    assert {last - first for first, last in parts} == {10}
