from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmark.judge.margins import DEFAULT_MARGIN, MarginError, Margins


@pytest.mark.parametrize(("text", "default"), [("", DEFAULT_MARGIN), ("5%", 0.05), ("0.05", 0.05), (" 1.5% ,", 0.015)])
def test_one_share_is_for_all_cells(text: str, default: float) -> None:
    assert Margins.parse(text).of("train mlp 64 cpu fp32") == default


def test_named_cells_have_their_own_and_the_last_that_fits_counts() -> None:
    margins = Margins.parse("2%,train=4%,train cnn=8%")
    assert margins.of("inference mlp 64") == 0.02
    assert margins.of("train mlp 64") == 0.04
    assert margins.of("train cnn 64") == 0.08
    assert margins.of("train resnet20 64") == 0.04


def test_a_cell_may_be_named_by_a_model_with_arguments() -> None:
    margins = Margins.parse("2%,nets:wide(width=8,depth=2)=4%,nets:wide(width=8)=5%")
    assert margins.of("train nets:wide(width=8,depth=2) 64") == 0.04
    assert margins.of("train nets:wide(width=8) 64") == 0.05


def test_words_fit_as_wholes() -> None:
    assert Margins.parse("2%,mlp=4%").of("train mlp-residual 64") == 0.02


def test_no_margin_lies_below_the_floor() -> None:
    margins = Margins.parse("1%,cnn=9%").with_floor(0.05)
    assert (margins.of("train mlp"), margins.of("train cnn")) == (0.05, 0.09)


@pytest.mark.parametrize("text", ["0", "0%", "-1%", "100%", "1", "nan", "inf", "x", "cnn=", "cnn=x", "5%%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(MarginError, match=r"write 3% or 0\.03"):
        Margins.parse(text)


@given(st.floats(0.001, 0.9), st.floats(0.001, 0.9))
def test_margins_are_read_as_they_are_written(default: float, named: float) -> None:
    margins = Margins(default, (("train cnn", named),))
    again = Margins.parse(str(margins))
    assert again.default == pytest.approx(default, rel=1e-5)
    assert again.of("train cnn 64") == pytest.approx(named, rel=1e-5)
