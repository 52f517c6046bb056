"""The limits of counting: every update is done, and the largest rate of all is the limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.ngram.counting_probes import METHODS, measure_limits
from bench.ngram.limits import CountingLimits, counting_shares

ROOT = Path(__file__).parents[2]
LIMITS = CountingLimits(updates_per_second=1e8, copy_bytes_per_second=2e10, threads=1, seconds_taken=1.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_probe_does_every_update_it_is_paid_for_and_spreads_them(method) -> None:
    table = np.zeros(2**12, np.uint32)
    method(table, 2**16, 1)
    assert table.sum() == 2**16
    assert table.min() > 0
    assert table.max() < 60  # 16 each, were they even


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_are_found_with_as_many_threads_as_count(threads: int) -> None:
    told: list[str] = []
    limits = measure_limits(threads, told.append, Path(), tables=(2**10, 2**11), updates=2**10, copied=2**12)
    assert limits.threads == threads
    assert limits.updates_per_second > 0
    assert limits.copy_bytes_per_second > 0
    assert len(told) == 2


def test_shares_are_of_what_the_machine_can_do() -> None:
    found = counting_shares(LIMITS, 10_000_000, 45_000_000, 75_000_000, fit_seconds=0.5, count_seconds=0.2)
    assert found["random_update_share"] == pytest.approx(0.5)
    assert found["copy_share"] == pytest.approx((45e6 + 80e6 + 75e6) / 0.5 / 2e10)


@pytest.mark.parametrize(
    ("limits", "table_bytes", "count_seconds", "known"),
    [(None, 1, 1.0, set()), (LIMITS, None, 1.0, {"random_update_share"}), (LIMITS, 1, None, {"copy_share"})],
)
def test_a_share_that_lacks_a_number_is_none(limits, table_bytes, count_seconds, known) -> None:
    found = counting_shares(limits, 10, 10, table_bytes, 1.0, count_seconds)
    assert {name for name, value in found.items() if value is not None} == known


def test_the_process_of_pytest_needs_neither_numba_nor_torch_to_plan_and_keep_ngram_cells() -> None:
    code = (
        "import sys, trainmark.measure.session, trainmark.options; from trainmark import suite; suite.current(); "
        "from trainmark.workloads import entry_of; entry_of('ngram_fit'); "
        "print([name for name in ('numba', 'torch', 'polars') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert told.strip() == "[]"
