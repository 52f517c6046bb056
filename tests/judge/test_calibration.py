"""How often a verdict is wrong, against what is promised: pairs and runs simulated with fixed seeds, one cell and many.

Ratios lie where a wrong word is likeliest: at the margin itself for a change and for "unchanged", at 1 for a control.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from trainmark.judge.comparison import control_floor
from trainmark.judge.sequential import ALPHA, CONFIRMING_LOOKS, LOOKS, Decision, Measured, decide
from trainmark.judge.statistics import between_runs_interval, paired_difference, pairs_needed, signed_rank_p
from trainmark.store.pairs import Pair, Replicate

MARGIN = 0.03
SPREAD = 0.02


def at_most(rate: float, tries: int) -> float:
    """So often may happen in so many tries what happens at that rate: two standard errors more."""
    return rate + 2 * math.sqrt(rate * (1 - rate) / tries)


def decided(
    ratio: float, cells: int, tries: int, *, confirming: int = 0, seed: int = 0
) -> Iterator[Mapping[str, Decision]]:
    """Comparisons of so many cells whose pairs, as many as are looked at, have that ratio and normal noise."""
    random = np.random.default_rng(seed)
    for _ in range(tries):
        first, then = (math.log(ratio) + SPREAD * random.standard_normal((cells, n)) for n in (LOOKS[-1], confirming))
        yield decide({str(n): Measured(MARGIN, first[n], then[n]) for n in range(cells)})


# Pairs


@pytest.mark.parametrize("cells", [1, 10])
@pytest.mark.parametrize("ratio", [1 + MARGIN, 1 / (1 + MARGIN)])
def test_a_cell_at_the_margin_is_called_unchanged_no_oftener_than_alpha(ratio: float, cells: int) -> None:
    tries = 240 // cells
    words = [one.word for found in decided(ratio, cells, tries) for one in found.values()]
    assert words.count("unchanged") / len(words) <= at_most(ALPHA, len(words))
    assert words.count("unchanged")  # it is as near as can be


@pytest.mark.parametrize(("ratio", "word"), [(1 + MARGIN, "regressed"), (1 / (1 + MARGIN), "improved")])
@pytest.mark.parametrize("cells", [1, 12])
def test_an_alarm_at_the_margin_is_no_oftener_than_alpha_in_any_of_the_cells(
    ratio: float, word: str, cells: int
) -> None:
    tries = 240 if cells == 1 else 40
    alarmed = [any(one.alarm == word for one in found.values()) for found in decided(ratio, cells, tries, seed=1)]
    assert sum(alarmed) / tries <= at_most(ALPHA, tries)


@pytest.mark.parametrize(("ratio", "word"), [(1 + MARGIN, "regressed"), (1 / (1 + MARGIN), "improved")])
def test_a_verdict_of_a_change_at_the_margin_is_hardly_ever_confirmed(ratio: float, word: str) -> None:
    words = [
        one.word for found in decided(ratio, 1, 400, confirming=CONFIRMING_LOOKS[-1], seed=2) for one in found.values()
    ]
    assert words.count(word) / len(words) <= at_most(ALPHA**2, len(words))


@pytest.mark.parametrize(("ratio", "word"), [(1.0, "unchanged"), (1.06, "regressed"), (0.94, "improved")])
@pytest.mark.parametrize("cells", [1, 10])
def test_the_same_code_and_a_change_of_twice_the_margin_are_told(ratio: float, word: str, cells: int) -> None:
    words = [
        one.word
        for found in decided(ratio, cells, 60 // cells, confirming=CONFIRMING_LOOKS[-1], seed=3)
        for one in found.values()
    ]
    assert words.count(word) / len(words) >= 0.98


def test_the_interval_of_a_ratio_holds_it_at_every_look_together() -> None:
    random = np.random.default_rng(4)
    tries = 240
    held = 0
    for _ in range(tries):
        values = math.log(1.02) + SPREAD * random.standard_normal(LOOKS[-1])
        found = [decide({"cell": Measured(MARGIN, list(values[:n]))})["cell"].ratio for n in LOOKS]
        held += all(one is not None and (one.low or 0) <= 1.02 <= (one.high or 0) for one in found)
    assert held / tries >= 1 - at_most(ALPHA, tries)


def test_so_many_pairs_as_are_said_to_be_needed_show_the_change_that_often() -> None:
    needed = pairs_needed(spread=0.03, distance=0.01, alpha=0.05, power=0.8)
    assert needed == 59  # ((1.6449 + 0.8416) * 0.03 / 0.01)^2 * pi / 3 = 58.3
    random = np.random.default_rng(5)
    seen = np.mean([signed_rank_p(random.normal(0.01, 0.03, needed)) <= 0.05 for _ in range(2000)])
    assert seen == pytest.approx(0.8, abs=0.025)


# Runs of two moments, seeds, and controls


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_two_runs_of_the_same_code_lie_within_their_interval_as_often_as_it_says(confidence: float) -> None:
    random = np.random.default_rng(6)
    runs = np.exp(0.05 * random.standard_normal((2000, 22)))
    found = [between_runs_interval(row[:20], row[20], row[21], confidence) for row in runs]
    held = np.mean([one is not None and (one.low or 0) <= 1 <= (one.high or 0) for one in found])
    assert held == pytest.approx(confidence, abs=0.025)


def test_the_difference_over_seeds_lies_above_its_lower_end_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    base, noise = np.full(5, 0.9), 0.004 * random.standard_normal((2000, 5))
    found = [paired_difference(list(base), list(base + row)) for row in noise]
    above = np.mean([one.low is not None and one.low <= 0 for one in found])
    assert above == pytest.approx(0.95, abs=0.012)


def controls(stored: Any, logs: np.ndarray) -> list[Any]:
    """An A/A run of the machine whose cells have pairs of these logarithms: [cells, pairs]."""
    run = replace(stored.run(), records=())
    pairs = {
        f"cell {number}": [Pair(Replicate((1.0,)), Replicate((math.exp(value),))) for value in row]
        for number, row in enumerate(logs)
    }
    return [replace(stored.paired(run, run, {}, side="self"), pairs=pairs)]


def test_a_control_without_a_difference_in_any_of_many_cells_gives_no_floor_as_often_as_it_says(stored: Any) -> None:
    random, tries = np.random.default_rng(8), 60
    fingerprint = stored.run().environment["fingerprint"]
    floors = [
        control_floor(controls(stored, SPREAD * random.standard_normal((20, 18))), fingerprint) for _ in range(tries)
    ]
    assert sum(floor != 0 for floor in floors) / tries <= at_most(0.05, tries)


@pytest.mark.parametrize("ratio", [1.5, 1 / 1.5])
def test_the_floor_is_the_share_by_which_a_control_is_slower_or_faster(stored: Any, ratio: float) -> None:
    logs = np.full((1, 12), math.log(ratio))
    assert control_floor(controls(stored, logs), stored.run().environment["fingerprint"]) == pytest.approx(0.5)


def test_two_runs_are_held_apart_by_students_quantile_and_the_root_mean_square_of_steps() -> None:
    history = [1.0, 1.1, 1.0, 1.25]
    steps = np.diff(np.log(history))
    half = scipy.stats.t.ppf(0.975, 3) * np.sqrt((steps**2).sum() / 3)
    found = between_runs_interval(history, 2.0, 3.0, 0.95)
    assert found is not None
    assert (found.low, found.middle, found.high) == pytest.approx((1.5 / math.exp(half), 1.5, 1.5 * math.exp(half)))
