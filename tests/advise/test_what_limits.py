"""What limits a step is decided from its measured shares."""

from __future__ import annotations

import pytest

from trainmark.advise.what_limits import LAUNCH_SECONDS, limit, limits, limits_sentence
from trainmark.store.cell import Cell
from trainmark.store.record import Record


def step(compute: float = 0.1, bandwidth: float = 0.1, *, operators: int = 1, data: float = 0.0, **axes: str) -> Record:
    metrics = {
        "step_seconds": 0.01,
        "flops_utilisation": compute,
        "bytes_utilisation": bandwidth,
        "operators_per_step": operators,
        "instrumented_step_seconds": 0.01,
        "data_seconds": 0.01 * data,
        "forward_seconds": 0.01 * (1 - data),
    }
    return Record(Cell.of("train", **axes), "ok", metrics=metrics)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (step(0.6, 0.2), "compute"),
        (step(0.2, 0.6), "bandwidth"),
        (step(0.2, 0.2, operators=int(0.5 * 0.01 / LAUNCH_SECONDS)), "launching"),
        (step(0.2, 0.2, data=0.4), "data"),
        (step(0.6, 0.2, data=0.4), "compute"),  # the larger share
        (step(0.2, 0.2), "none"),
        (step(0.05, 0.05, operators=10**6, device="cuda"), "launching"),  # the device waits for the host
        (step(0.5, 0.05, operators=10**6, device="cuda"), "compute"),  # the host launches meanwhile
    ],
)
def test_the_largest_share_names_the_limit(record: Record, name: str) -> None:
    found = limit(record)
    assert found is not None
    assert found.name == name


def test_what_was_not_measured_is_not_decided() -> None:
    assert limit(Record(Cell.of("train"), "ok", metrics={"step_seconds": 0.01, "flops_utilisation": 0.5})) is None
    assert limit(step(compile="default")) is None


def test_the_sentence_has_the_shares_that_decide() -> None:
    found = limit(step(0.6, 0.2, operators=300))
    assert found is not None
    assert found.sentence == "compute-bound: arithmetic 60%, memory traffic 20%, launching 10% of a step"
    assert limits_sentence(limits([step(0.6), step(0.7), step(data=0.4), step()])) == (
        "Of 4 training steps: 2 compute-bound, 1 waiting for data, 1 with no single limit."
    )
    assert limits_sentence([]) == ""
