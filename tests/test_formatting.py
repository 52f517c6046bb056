from __future__ import annotations

import math

import pytest

from trainmark import formatting

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.3e-3, "1.30 ms"),
        (64.2e-6, "64.2 µs"),
        (12.44, "12.4 s"),
        (0.99999, "1.00 s"),
        (3e-9, "3.00 ns"),
        (0.0, "0 s"),
    ],
)
def test_a_duration_takes_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(33_712.3, "33.7 k"), (999_999, "1.00 M"), (512, "512"), (0.25, "0.250"), (0, "0"), (1.2e15, "1.20 P")],
)
def test_a_large_number_takes_a_prefix(value: float, text: str) -> None:
    assert formatting.prefixed(value) == text


def test_a_size_is_read_in_decimal_megabytes() -> None:
    assert formatting.prefixed(412_000_000, "B") == "412 MB"


def test_rounding_up_to_a_power_of_ten_keeps_three_digits() -> None:
    assert formatting.digits(9.999) == "10.0"
    assert formatting.digits(0.05) == "0.0500"
    assert formatting.digits(-1310.4) == f"{MINUS}1,310"


@pytest.mark.parametrize("absent", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    "show",
    [
        formatting.digits,
        formatting.whole,
        formatting.prefixed,
        formatting.duration,
        formatting.percent,
        formatting.points,
        formatting.times,
        formatting.relative,
    ],
)
def test_what_was_not_measured_is_a_dash_and_never_zero(show: object, absent: float | None) -> None:
    assert callable(show)
    assert show(absent) == DASH


def test_changes_carry_their_sign() -> None:
    assert formatting.relative(1.32) == "+32.0%"
    assert formatting.relative(0.9999) == formatting.relative(1.0001) == "+0.0%"
    assert formatting.points(-0.012) == f"{MINUS}1.20 points"


def test_a_moment_is_shown_in_utc() -> None:
    assert formatting.moment("2026-01-01T13:30:00+01:30") == "2026-01-01 12:00 UTC"
    assert formatting.moment(None) == DASH
    assert formatting.moment("once") == "once"


def test_direction_and_control_marks_are_spelled_out() -> None:
    assert formatting.plain("a\u202eb\x1b[31m\nc") == "a\\u202eb\\u001b[31m c"


def test_a_long_name_loses_its_middle() -> None:
    short = formatting.plain("a" * 5000 + "z" * 5000, 41)
    assert len(short) == 41
    assert short.startswith("aaa")
    assert short.endswith("zzz")


def test_a_long_sentence_says_how_much_of_it_is_left_out() -> None:
    assert formatting.excerpt("short") == "short"
    told = formatting.excerpt("begin" + "x" * 5_000_000 + "end")
    assert told.startswith("beginxxx")
    assert told.endswith("xxxend")
    assert "[4,999,408 characters left out]" in told
    assert len(told) < 2 * formatting.EXCERPT


def test_what_somebody_else_says_is_shown_line_by_line_without_control_marks() -> None:
    assert formatting.readable("one\x1b[2J\ntwo\x9b\u202e") == "one\\u001b[2J\ntwo\\u009b\\u202e"


def test_facts_of_every_kind_fit_in_a_line() -> None:
    assert formatting.fact([{"name": "GPU A", "memory_gib": 139}]) == "GPU A (139 GiB)"
    assert formatting.fact([]) == "none"
    assert formatting.fact(None) == DASH
    assert formatting.fact({"OMP_NUM_THREADS": "1"}) == "OMP_NUM_THREADS 1"
    assert formatting.fact(value=True) == "yes"
