"""pytest-benchmark stores measured durations to the last bit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_benchmark.stats import Stats

from trainmark.replay import measured_clock, replay, replay_instead

AWKWARD = [0.1, 0.2, 0.1 + 0.2, 1e-9, 123.456789, 5e-324, 0.0, 2.0**-30, 1 / 3]


class FakeBenchmark:
    """Times a call as pytest-benchmark's pedantic does, and whatever else it is asked to do."""

    def __init__(self, clock: Callable[[], float], *, profile: bool = False, disabled: bool = False) -> None:
        self.clock = clock
        self.profile = profile
        self.disabled = disabled
        self.durations: list[float] = []

    def pedantic(self, target: Callable[[], None], *, setup: Callable[[], None], rounds: int, iterations: int) -> None:
        assert iterations == 1
        if self.disabled:
            setup()
            target()
            return
        for _ in range(rounds):
            setup()
            start = self.clock()
            target()
            self.durations.append(self.clock() - start)
        if self.profile:
            setup()
            target()


def test_durations_are_stored_to_the_last_bit() -> None:
    benchmark = FakeBenchmark(measured_clock)
    replay(benchmark, AWKWARD)
    assert benchmark.durations == AWKWARD


def test_many_durations_are_stored_to_the_last_bit() -> None:
    generator = random.Random(0)
    durations = [generator.uniform(0, 1) ** 9 for _ in range(1000)]
    benchmark = FakeBenchmark(measured_clock)
    replay(benchmark, durations)
    assert benchmark.durations == durations


def test_one_replay_knows_nothing_of_the_one_before() -> None:
    for durations in ([7.0], [0.1, 0.2]):
        benchmark = FakeBenchmark(measured_clock)
        replay(benchmark, durations)
        assert benchmark.durations == durations


def test_disabled_benchmarks_replay_too() -> None:
    replay(FakeBenchmark(measured_clock, disabled=True), [0.5, 0.25])


def test_a_profiled_benchmark_may_call_once_more() -> None:
    benchmark = FakeBenchmark(measured_clock, profile=True)
    replay(benchmark, [0.5, 0.25])
    assert benchmark.durations == [0.5, 0.25]


def test_the_clock_stands_still_between_calls() -> None:
    assert measured_clock() == measured_clock()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Durations that pytest-benchmark itself stored, by the name of the test."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "test_replayed.py").write_text(
        f"""
import pytest
from trainmark.replay import measured_clock, replay, replay_instead

pytestmark = pytest.mark.benchmark(timer=measured_clock)

def test_awkward(benchmark):
    replay(benchmark, {AWKWARD!r})

def test_single(benchmark):
    replay(benchmark, [0.1])
"""
    )
    repository = Path(__file__).parents[1]
    outer = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")  # of the run that this test is part of
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir=.", "--benchmark-json=run.json"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "run.json").read_text())["benchmarks"]
    return {item["name"]: item["stats"]["data"] for item in found}


def test_pytest_benchmark_itself_stores_durations_to_the_last_bit(stored: dict[str, list[float]]) -> None:
    assert stored == {"test_awkward": AWKWARD, "test_single": [0.1]}


def test_the_rounds_of_another_measurement_take_the_place_of_those_that_are_stored() -> None:
    stored = SimpleNamespace(stats=Stats())
    stored.stats.update(9.0)
    assert stored.stats.median == 9.0  # which it keeps
    replay_instead(stored, [1.0, 2.0, 3.0])
    assert (stored.stats.data, stored.stats.median) == ([1.0, 2.0, 3.0], 2.0)
