"""The fixed work around a cell's rounds: what it tells of the moment, and what follows from that."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainmark.meters.control import FLAG, LIMIT, Best, Control, from_facts, take_control, to_facts
from trainmark.store.record import UNRELIABLE

BEST = Control(product=0.002, cached_copy=0.001, copy=0.005)
FIELDS = ("product", "cached_copy", "copy")


def slower(name: str, times: float) -> Control:
    return Control(**{one: getattr(BEST, one) * (times if one == name else 1.0) for one in FIELDS})


@pytest.mark.parametrize("name", FIELDS)
def test_a_moment_is_as_slow_as_the_slowest_part_of_the_work(name: str) -> None:
    assert slower(name, 1.3).ratio(BEST) == pytest.approx(1.3)
    assert BEST.slower(slower(name, 1.3)) == slower(name, 1.3).slower(BEST) == slower(name, 1.3)
    assert BEST.faster(slower(name, 1.3)) == BEST


def test_the_work_takes_time_and_leaves_the_threads_alone() -> None:
    import torch

    threads = torch.get_num_threads()
    found = take_control()
    assert all(0 < getattr(found, name) < 10 for name in FIELDS)
    assert torch.get_num_threads() == threads


def test_what_a_record_keeps_is_of_the_slower_end() -> None:
    facts = to_facts(BEST, slower("copy", 2.0))
    assert from_facts(facts) == slower("copy", 2.0)
    assert from_facts({}) is None
    assert from_facts({**facts, "control_copy_seconds": None}) is None


def test_the_best_is_kept_for_later_runs_and_only_ever_gets_better(tmp_path: Path) -> None:
    assert Best(tmp_path, "f").ratio(slower("product", 1.5), 1) == 1.0  # nothing better is known yet
    assert Best(tmp_path, "f").ratio(BEST, 1) == 1.0
    assert Best(tmp_path, "f").ratio(slower("product", 1.5), 1) == pytest.approx(1.5)
    assert Best(tmp_path, "f").ratio(slower("product", 1.5), 2) == 1.0  # of other threads
    assert Best(tmp_path, "g").ratio(slower("product", 1.5), 1) == 1.0  # and of another machine


def test_a_damaged_best_is_as_good_as_none(tmp_path: Path) -> None:
    Best(tmp_path, "f").ratio(BEST, 1)
    (file,) = tmp_path.iterdir()
    for text in ("", "{}", '{"version": 1, "best": {"product": 0, "cached_copy": 1, "copy": 1}}'):
        file.write_text(text)
        assert Best(tmp_path, "f").ratio(slower("copy", 3.0), 1) == 1.0


def test_a_cell_of_a_slow_moment_decides_nothing() -> None:
    assert FLAG in UNRELIABLE
    assert LIMIT > 1
