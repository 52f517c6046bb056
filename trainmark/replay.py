"""Hands measured durations to pytest-benchmark, so that it stores exactly what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class _Time:
    now = 0.0


def measured_clock() -> float:
    """The timer of every cell: it stands still, but for the durations that :func:`replay` lets pass."""
    return _Time.now


def replay(benchmark: Any, rounds: Sequence[float]) -> None:
    """Lets pytest-benchmark time one call a round, each as long by the clock as the round was.

    Args:
        benchmark: Its fixture, made with :func:`measured_clock` as the timer.
        rounds: Seconds; at least one.
    """
    remaining = iter(rounds)

    def rewind() -> None:
        _Time.now = 0.0  # so that the difference is the duration itself, to the last bit

    def advance() -> None:
        _Time.now = next(remaining, 0.0)  # --benchmark-cprofile calls once more

    benchmark.pedantic(advance, setup=rewind, rounds=len(rounds), iterations=1)


def replay_instead(stored: Any, rounds: Sequence[float]) -> None:
    """Puts the rounds of another measurement in the place of those that pytest-benchmark has stored.

    Args:
        stored: Its entry of the cell.
        rounds: Seconds; at least one.
    """
    stored.stats = type(stored.stats)()  # it keeps what it has once computed
    for seconds in rounds:
        stored.stats.update(seconds)
