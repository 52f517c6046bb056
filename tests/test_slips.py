"""The slips that docs/evidence/slips.py makes one by one: each still fits the code, and one is made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.evidence.slips import CODE, FILES, ROOT, SLIPS, Slip, copied, failure, made, slipped


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.name)
def test_every_slip_still_fits_the_code_and_compiles(slip: Slip) -> None:
    text = (ROOT / slip.file).read_text(encoding="utf-8")
    with_it = slipped(slip, text)
    assert with_it != text
    compile(with_it, slip.file, "exec")
    assert slip.tests
    assert all((ROOT / test.partition("::")[0]).exists() for test in slip.tests)


def test_a_slip_that_is_not_where_it_was_is_refused() -> None:
    with pytest.raises(ValueError, match=r"holm by one hypothesis too few: .* has 0 times"):
        slipped(next(slip for slip in SLIPS if slip.name == "holm by one hypothesis too few"), "nothing of it")


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    assert len(SLIPS) >= 60
    assert len({slip.name for slip in SLIPS}) == len(SLIPS)
    assert len({(slip.file, slip.old, slip.new) for slip in SLIPS}) == len(SLIPS)


def test_a_slip_makes_its_test_fail_and_is_undone_after_it() -> None:
    slip = next(slip for slip in SLIPS if slip.name == "holm by one hypothesis too few")
    node = ("tests/judge/test_statistics.py::test_holm_asks_most_of_the_smallest",)
    with copied() as folder:
        assert {Path(name) for name in (*CODE, *FILES) if (folder / name).exists()} == set(map(Path, (*CODE, *FILES)))
        with made(slip, folder):
            assert failure(folder, node) == node[0]
        assert failure(folder, node) is None
