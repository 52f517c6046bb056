"""Decisions by pairs: made-up pairs of known ratio and spread, and what holds for any pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainmark.judge.sequential import ALPHA, CONFIRMING_LOOKS, LOOKS, Decision, Measured, decide

MARGIN = 0.03
OPPOSITE = {"regressed": "improved", "improved": "regressed", "unchanged": "unchanged", "inconclusive": "inconclusive"}

pairs = st.lists(st.floats(-0.5, 0.5).filter(lambda value: abs(value) > 1e-6), max_size=60)


def drawn(ratio: float, n: int, spread: float = 0.02, seed: int = 0) -> list[float]:
    """Logarithms of ratios around ``ratio``, evenly and with a few far off."""
    return list(math.log(ratio) + spread * np.random.default_rng(seed).standard_t(3, n))


def one(exploring: Sequence[float], confirming: Sequence[float] = (), *, margin: float = MARGIN) -> Decision:
    return decide({"cell": Measured(margin, exploring, confirming)})["cell"]


def test_the_same_code_is_shown_to_be_unchanged() -> None:
    decision = one(drawn(1.0, 24))
    assert (decision.word, decision.open) == ("unchanged", False)
    assert decision.ratio is not None and decision.ratio.low is not None and decision.ratio.high is not None
    assert 1 / 1.03 < decision.ratio.low < 1 < decision.ratio.high < 1.03


def test_a_slower_cell_is_an_alarm_and_stays_open_until_confirmed() -> None:
    decision = one(drawn(1.1, 24))
    assert (decision.word, decision.alarm, decision.open) == ("inconclusive", "regressed", True)


@pytest.mark.parametrize(("ratio", "word"), [(1.1, "regressed"), (0.9, "improved")])
def test_a_confirmed_alarm_is_a_verdict(ratio: float, word: str) -> None:
    decision = one(drawn(ratio, 24), drawn(ratio, 24, seed=1))
    assert (decision.word, decision.open) == (word, False)


def test_an_alarm_that_other_pairs_do_not_confirm_is_inconclusive() -> None:
    decision = one(drawn(1.1, 24), drawn(1.0, CONFIRMING_LOOKS[-1], seed=1))
    assert (decision.word, decision.alarm, decision.open) == ("inconclusive", "regressed", False)


def test_a_confirmation_in_the_other_direction_is_none() -> None:
    assert one(drawn(1.1, 24), drawn(0.8, 24, seed=1)).word == "inconclusive"


def test_pairs_too_spread_to_decide_are_inconclusive_and_say_how_many_more_it_takes() -> None:
    decision = one(drawn(1.0, 24, spread=0.2))
    assert (decision.word, decision.open) == ("inconclusive", True)
    assert decision.more_pairs is not None and decision.more_pairs > 100


def test_after_the_last_look_more_pairs_change_nothing() -> None:
    values = drawn(1.03, LOOKS[-1], spread=0.1)
    assert not one(values).open
    assert one(values + drawn(2.0, 50)).word == one(values).word == "inconclusive"


@pytest.mark.parametrize("n", [0, 1, LOOKS[0] - 1])
def test_before_the_first_look_nothing_is_decided(n: int) -> None:
    decision = one(drawn(2.0, n))
    assert (decision.word, decision.alarm, decision.open) == ("inconclusive", None, True)
    assert decision.more_pairs == LOOKS[0] - n


def test_a_test_is_asked_only_where_it_could_come_out_significant() -> None:
    slower = Measured(MARGIN, [0.2 + 0.001 * n for n in range(LOOKS[0])])
    few = decide({"cell": slower, **{f"other {n}": Measured(MARGIN, ()) for n in range(20)}})
    many = decide({"cell": slower, **{f"other {n}": Measured(MARGIN, ()) for n in range(100)}})
    assert 0.5 ** LOOKS[0] * len(LOOKS) * 101 > ALPHA
    assert (few["cell"].alarm, many["cell"].alarm) == ("regressed", None)


def test_a_margin_of_its_own_decides_a_cell() -> None:
    values, more = drawn(1.05, 24, spread=0.01), drawn(1.05, 24, spread=0.01, seed=1)
    assert one(values, more, margin=0.01).word == "regressed"
    assert one(values, more, margin=0.1).word == "unchanged"


def test_looking_more_often_at_the_same_pairs_gives_the_same_decision() -> None:
    values = drawn(1.06, 48)
    first = next(n for n in range(len(values)) if one(values[:n]).alarm)
    assert all(one(values[:n]).alarm == "regressed" for n in range(first, len(values)))


@pytest.mark.parametrize("ratio", [1.0, 1 + MARGIN])
def test_false_alarms_stay_below_alpha_in_spite_of_the_looks(ratio: float) -> None:
    random = np.random.default_rng(3)
    checks, cells = 150, 5
    alarms = sum(
        any(
            decision.alarm == "regressed"
            for decision in decide(
                {str(n): Measured(MARGIN, math.log(ratio) + 0.03 * random.standard_t(3, 48)) for n in range(cells)}
            ).values()
        )
        for _ in range(checks)
    )
    assert alarms / checks <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / checks)


@settings(deadline=None)
@given(pairs, pairs)
@example([0.2 + n / 1000 for n in range(24)], [0.2 + n / 1000 for n in range(24)])  # regressed, or improved
@example([n / 10_000 for n in range(24)], [])  # unchanged
def test_swapping_the_sides_inverts_ratio_and_verdict(exploring: list[float], confirming: list[float]) -> None:
    there = one(exploring, confirming)
    back = one([-value for value in exploring], [-value for value in confirming])
    assert back.word == OPPOSITE[there.word]
    assert there.open == back.open
    if there.ratio is not None and back.ratio is not None:
        assert there.ratio.middle == pytest.approx(1 / back.ratio.middle)
        if there.ratio.low is not None and back.ratio.high is not None:
            assert there.ratio.low == pytest.approx(1 / back.ratio.high)


@given(st.integers(0, 120), st.integers(0, 60))
def test_a_sample_against_itself_is_never_regressed(n: int, confirming: int) -> None:
    assert one([0.0] * n, [0.0] * confirming).word in ("unchanged", "inconclusive")


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), pairs, min_size=1, max_size=4), st.randoms())
def test_the_order_of_the_cells_changes_nothing(cells: dict[str, list[float]], random: object) -> None:
    shuffled = list(cells)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    measure: Callable[[str], Measured] = lambda key: Measured(MARGIN, cells[key])  # noqa: E731  # one line, used twice
    assert decide({key: measure(key) for key in cells}) == decide({key: measure(key) for key in shuffled})
