"""Whether a setting's models are no worse, from paired trainings that are looked at several times."""

from __future__ import annotations

import random

import pytest

from trainmark.judge.non_inferiority import ALPHA, SEED_LOOKS, judge_differences

MARGIN = 0.01
SAMPLES = 1000  # held out: an accuracy is a multiple of a thousandth


def simulated(difference: float, spread: float, trials: int, samples: int | None = SAMPLES) -> dict[str, int]:
    """How often each word is the last one, of trainings that go on until they are decided or all looks are taken."""
    chance = random.Random(7)
    words: dict[str, int] = {}
    for _ in range(trials):
        drawn = [chance.gauss(difference, spread) for _ in range(SEED_LOOKS[-1])]
        if samples:
            drawn = [round(samples * value) / samples for value in drawn]
        for look in SEED_LOOKS:
            found = judge_differences(drawn[:look], MARGIN, 1 / samples if samples else 0.0)
            if found.decided:
                break
        words[found.word] = words.get(found.word, 0) + 1
    return words


@pytest.mark.parametrize("spread", [0.0005, 0.002, 0.007])
@pytest.mark.parametrize("samples", [None, 1000, 200])
def test_a_setting_that_is_worse_by_the_margin_is_accepted_in_no_more_than_a_twentieth(
    spread: float, samples: int | None
) -> None:
    trials = 600
    accepted = simulated(-MARGIN, spread, trials, samples).get("not inferior", 0)
    assert accepted <= ALPHA * trials + 3 * (ALPHA * (1 - ALPHA) * trials) ** 0.5


def test_an_equal_setting_is_accepted_in_most_cases_and_a_bad_one_refused() -> None:
    assert simulated(0.0, 0.006, 200)["not inferior"] > 180
    assert simulated(-0.03, 0.006, 200)["inferior"] == 200


def test_looking_again_at_the_same_trainings_changes_nothing() -> None:
    differences = [0.001, -0.004, 0.003, 0.002, -0.001, 0.0]
    first = judge_differences(differences, MARGIN)
    assert first.word == "not inferior"
    later = judge_differences([*differences, -0.5, -0.5, -0.5], MARGIN)
    assert later.word == "not inferior"  # it was decided at the look before


@pytest.mark.parametrize("count", range(1, SEED_LOOKS[0]))
def test_too_few_trainings_decide_nothing_however_equal_they_are(count: int) -> None:
    found = judge_differences([0.0] * count, MARGIN, 1 / SAMPLES)
    assert (found.word, found.seeds, found.decided) == ("undecided", count, False)
    assert found.more_seeds == SEED_LOOKS[0] - count


def test_without_a_training_nothing_is_known() -> None:
    found = judge_differences([], MARGIN)
    assert (found.word, found.difference, found.more_seeds) == ("not measured", None, SEED_LOOKS[0])


def test_equal_numbers_do_not_show_that_there_is_no_spread() -> None:
    coarse = judge_differences([-0.009] * 6, MARGIN, resolution=0.01)
    fine = judge_differences([-0.009] * 6, MARGIN, resolution=0.0001)
    assert (coarse.word, fine.word) == ("undecided", "not inferior")


def test_the_more_they_scatter_the_more_seeds_it_would_take() -> None:
    few = judge_differences([0.004, -0.004] * 3, MARGIN)
    many = judge_differences([0.012, -0.012] * 3, MARGIN)
    assert few.decided or few.more_seeds == 3
    assert many.more_seeds > 3


def test_after_the_last_look_more_seeds_would_not_be_looked_at() -> None:
    found = judge_differences([0.03, -0.05] * 10, MARGIN)
    assert (found.word, found.more_seeds) == ("undecided", 0)
