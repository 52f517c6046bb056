from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import count_slowly, spelled_out, texts

from models.ngram import counting, sorting
from models.ngram.counting import count
from models.ngram.sorting import Entries, Line, Spare, sort_buckets, write_left

# A first call compiles, or loads what an earlier run has compiled.
slow_start = settings(deadline=None)


@slow_start
@given(texts(), st.integers(2, 6))
def test_buckets_written_from_the_last_to_the_first_give_the_same_table(text, order):
    ids, size = text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "BUCKET_WINDOWS", 3)
        patch.setattr(counting, "count_windows", _count_windows_backwards)
        assert spelled_out(count(ids, size, order)) == count_slowly(ids.tolist(), order)


def _count_windows_backwards(buckets, levels, origins, told, _pool, _progress):
    """What threads do of which the one with the first bucket is slow: all others are left, and written backwards."""
    number = len(buckets.key_bits)
    entries = Entries.of(levels, len(buckets.keys), int(buckets.bases[-1]))
    line = Line.of(number, levels)
    spare = Spare.of(len(buckets.keys), origins is not None)

    def up_to(bucket):
        return buckets._replace(key_bits=buckets.key_bits[: bucket + 1])

    line.begun[0] = 1
    sort_buckets(buckets, origins, told, line, entries, spare, number)
    assert not line.written.any()
    line.begun[0] = 0
    sort_buckets(up_to(0), origins, told, line, entries, spare, number)
    assert line.written.tolist() == [True] + [False] * (number - 1)
    for bucket in reversed(range(1, number)):
        line.begun[0] = bucket
        write_left(up_to(bucket), origins, told, line, entries, spare)
        assert line.written[bucket]
    entries.starts[-1] = line.begins[-1, 0]
    return entries.levels(line.begins[-1])


def test_no_room_for_one_thread_ends_the_count_of_all(monkeypatch):
    real, told = sorting.sort_buckets, []

    def sort_some(*arguments):
        told.append(arguments)
        if len(told) == 2:
            raise MemoryError("no room for these")
        real(*arguments)

    monkeypatch.setattr(sorting, "sort_buckets", sort_some)
    with pytest.raises(MemoryError, match="no room"):
        count(np.array([2, 3, 4, 5, 6, 7, 8, 9, 0] * 9, np.int32), 10, 3, threads=2)
