from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import count_slowly, spelled_out, texts

from models.ngram import counting, spilling
from models.ngram.counting import count

# A first call compiles, or loads what an earlier run has compiled.
slow_start = settings(deadline=None)


@slow_start
@given(texts(), st.integers(1, 6), st.integers(1, 3))
def test_every_ngram_of_a_text_is_in_the_table_with_its_count(text, order, threads):
    ids, size = text
    assert spelled_out(count(ids, size, order, threads)) == count_slowly(ids.tolist(), order)


@slow_start
@given(texts(), st.integers(1, 6), st.integers(1, 3))
def test_buckets_of_any_size_give_the_same_table_to_any_number_of_threads(text, order, threads):
    ids, size = text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "BUCKET_WINDOWS", 3)
        assert spelled_out(count(ids, size, order, threads)) == count_slowly(ids.tolist(), order)


@slow_start
@given(texts(), st.integers(1, 6), st.integers(1, 5), st.integers(1, 2))
def test_a_text_counted_from_the_disk_in_ranges_gives_the_same_table(
    tmp_path_factory, text, order, buckets_at_once, threads
):
    ids, size = text
    folder = tmp_path_factory.mktemp("spilled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "BUCKET_WINDOWS", 3)
        patch.setattr(spilling, "PIECE_TOKENS", 7)
        patch.setattr(spilling, "_ranges", lambda stage, _: _in_steps(len(stage.bases), buckets_at_once))
        spilled = spilling.SpilledIds.of([ids], folder / "ids")
        assert spelled_out(spilling.count(spilled, size, order, 0, folder, threads)) == count_slowly(
            ids.tolist(), order
        )


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_second_stage_goes_on_from_every_range_of_the_first(tmp_path: Path, monkeypatch, at_once):
    """Ids of 17 bits: three words to a stage, so that what each range of the first has told leads to five and six."""
    words = np.random.default_rng(0).choice([2, 69_999, 40_000, 11, 12, 13], 61).astype(np.int32)
    words[[9, 25, 40, 60]] = 0
    monkeypatch.setattr(counting, "BUCKET_WINDOWS", 3)
    monkeypatch.setattr(spilling, "PIECE_TOKENS", 7)
    monkeypatch.setattr(spilling, "_ranges", lambda stage, _: _in_steps(len(stage.bases), at_once))
    counts = spilling.count(spilling.SpilledIds.of([words], tmp_path / "ids"), 70_000, 6, 0, tmp_path)
    assert len({told.name.split(".")[1] for told in tmp_path.glob("told.*")}) == 1  # one stage told the other
    assert len(list(tmp_path.glob("told.*"))) > 2
    assert spelled_out(counts) == count_slowly(words.tolist(), 6)


def _in_steps(size: int, step: int) -> list[tuple[int, int]]:
    return [(first, min(first + step, size)) for first in range(0, size, step)]


@pytest.mark.parametrize("size", [1 << 22, 1 << 26, (1 << 31) - 1])
def test_no_vocabulary_is_too_large_for_any_order(size):
    words = [2, size - 1, size - 2, 2, size - 1, size - 2, 0]
    stage_counts = _count_with_sparse_words(np.array(words * 2, np.int32), size, 6)
    assert stage_counts == count_slowly(words * 2, 6)[1:]


def _count_with_sparse_words(ids: np.ndarray, size: int, order: int) -> list[dict[tuple[int, ...], int]]:
    """Counts with keys as wide as a vocabulary of that size needs, though it holds but the words that occur."""
    different = np.unique(ids)
    with pytest.MonkeyPatch.context() as patch:
        plan = counting.Stage.plan
        patch.setattr(
            counting.Stage,
            "plan",
            classmethod(lambda _, level, tokens, _size, *known: plan(level, tokens, size, *known)),
        )
        places = np.searchsorted(different, ids).astype(np.int32)
        tables = spelled_out(count(places, len(different), order))
    return [
        {tuple(int(different[word]) for word in gram): number for gram, number in table.items()} for table in tables
    ][1:]


def test_a_text_of_one_word_repeated_is_counted():
    counts = count(np.array([2] * 1000 + [0], np.int32), 3, 4)
    assert counts.levels[3].counts.tolist() == [1, 1, 997]  # … 2 2 2 </s>, <s> 2 2 2, 2 2 2 2


def test_an_order_longer_than_every_sentence_has_no_ngrams():
    counts = count(np.array([2, 0, 0, 3, 0], np.int32), 4, 6)
    assert [len(level) for level in counts.levels] == [4, 5, 2, 0, 0, 0]


@pytest.mark.parametrize("ids", [[], [2, 3]])
def test_what_is_no_closed_text_is_refused(ids):
    with pytest.raises(ValueError):
        count(np.array(ids, np.int32), 4, 2)


def test_a_budget_too_small_for_one_frequent_word_says_how_much_it_takes(tmp_path: Path):
    ids = spilling.SpilledIds.of([np.array([2] * 100 + [0], np.int32)], tmp_path / "ids")
    with pytest.raises(spilling.MemoryTooSmall, match=r"it takes about [\d,]+ MB"):
        spilling.count(ids, 3, 3, 1_000_000, tmp_path)
