"""Decisions by pairs: made-up pairs of known ratio and spread, and what holds for any pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainmark.judge.sequential import ALPHA, CONFIRMING_LOOKS, FOCUS, LOOKS, Decision, Measured, decide, next_cells

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


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.45, "unchanged"), (1 / 1.45, "unchanged"), (1.55, "regressed"), (1 / 1.55, "improved")]
)
def test_a_margin_is_a_share_of_the_time_and_not_of_its_logarithm(ratio: float, word: str) -> None:
    values, more = drawn(ratio, 24, spread=0.003), drawn(ratio, 24, spread=0.003, seed=1)
    assert one(values, more, margin=0.5).word == word


def test_pairs_that_confirm_must_lie_beyond_the_margin_by_themselves() -> None:
    assert one(drawn(1.1, 24), drawn(1.02, 48, spread=0.003, seed=1)).word == "inconclusive"
    assert one(drawn(1.1, 24), drawn(1.04, 48, spread=0.003, seed=1)).word == "regressed"


def test_the_ratio_is_the_centre_of_all_pairs_those_that_confirm_too() -> None:
    # Of the 666 means of two, 78 are 0.1, 288 are 0.15 and 300 are 0.2: the median is 0.15.
    ratio = one([0.1] * 12, [0.2] * 24).ratio
    assert ratio is not None
    assert ratio.middle == pytest.approx(math.exp(0.15))


@pytest.mark.parametrize("cells", [1, 5])
def test_the_pairs_still_needed_come_from_spread_distance_and_number_of_cells(cells: int) -> None:
    values = [0.1, -0.1] * 6  # a median of 0, a median deviation of 0.1
    others = {f"other {n}": Measured(MARGIN, ()) for n in range(cells - 1)}
    found = decide({"cell": Measured(MARGIN, values), **others})["cell"]
    quantiles = scipy.stats.norm.isf(ALPHA / len(LOOKS) / cells) + scipy.stats.norm.isf(0.2)
    needed = (quantiles * 0.1 / scipy.stats.norm.isf(0.25) / math.log(1.03)) ** 2 * math.pi / 3
    assert found.more_pairs == math.ceil(needed) - 12
    assert 250 < found.more_pairs < 400


# Which cells are measured next


def undecided(p_value: float, alarm: str | None = None, word: str = "inconclusive") -> Decision:
    return Decision(word, alarm, False, p_value, None)


def after(pairs_of: dict[str, int], **decisions: Decision) -> dict[str, bool]:
    cells = {key: Measured(MARGIN, [0.0] * pairs_of.get(key, LOOKS[1])) for key in decisions}
    return next_cells(cells, decisions)


def test_all_open_cells_are_measured_until_each_has_been_looked_at_twice() -> None:
    decisions = {key: undecided(number / 10) for number, key in enumerate("abcdef")}
    assert set(after(dict.fromkeys("abcdef", LOOKS[0]), **decisions)) == set("abcdef")
    assert set(after({"a": LOOKS[1] - 1, "f": LOOKS[0]}, **decisions)) == {"a", "f"}
    assert set(after({}, **decisions)) == {"a", "b", "c"}


def test_then_the_few_that_lie_nearest_to_an_alarm_have_the_time() -> None:
    found = after({}, a=undecided(0.5), b=undecided(0.1), c=undecided(0.9), d=undecided(0.3), e=undecided(0.2))
    assert FOCUS == 3
    assert found == {"b": False, "e": False, "d": False}


def test_cells_in_alarm_are_confirmed_first_and_leave_so_many_fewer_others() -> None:
    calm = {"a": undecided(0.5), "b": undecided(0.1), "c": undecided(0.4)}
    two = {"x": undecided(0.01, "regressed"), "y": undecided(0.02, "improved")}
    assert after({}, **calm, **two) == {"x": True, "y": True, "b": False}
    more = two | {"z": undecided(0.01, "regressed"), "w": undecided(0.01, "regressed")}
    assert after({}, **calm, **more) == dict.fromkeys("xyzw", True)


def test_a_decided_cell_is_not_measured_any_more() -> None:
    assert after({}, a=undecided(0.5, word="unchanged"), b=undecided(0.01, "regressed", "regressed")) == {}


# How often it is wrong: see test_calibration.py too


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
