"""The mends that docs/evidence/mends.py takes back one by one: each is still where it says, and two are taken back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from docs.evidence.mends import MENDS, Mend, fails, without

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mend", MENDS, ids=lambda mend: mend.name)
def test_a_mend_is_where_it_was_made_and_the_code_without_it_is_code(mend: Mend) -> None:
    text = (ROOT / mend.file).read_text(encoding="utf-8")
    assert text.count(mend.old) == 1
    compile(text.replace(mend.old, mend.new), mend.file, "exec")
    for test in mend.tests:
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not name or name.partition("[")[0] in functions


@pytest.mark.parametrize("name", ["names: a run is no base of itself", "a new cell that fails is a failure"])
def test_without_a_mend_its_test_fails(name: str) -> None:
    mend = next(one for one in MENDS if one.name == name)
    with without(mend) as folder:
        assert fails(folder, mend.tests)
