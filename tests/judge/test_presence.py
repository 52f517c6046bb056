"""What it means that a run lacks a cell of its base: lost, not reached, or left out on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainmark.export.markdown import render
from trainmark.export.terminal import comparison_table
from trainmark.judge.comparison import compare, compare_paired, open_cells
from trainmark.judge.margins import Margins
from trainmark.judge.presence import absence
from trainmark.judge.verdict import Verdict, judge
from trainmark.store.cell import Cell
from trainmark.store.pairs import PairedRun
from trainmark.store.record import Record, Run, RunFacts

TRAIN, BATCH, INFERENCE, CNN = (
    Cell.of("train"),
    Cell.of("train", batch_size=256),
    Cell.of("inference"),
    Cell.of("train", model="cnn"),
)
ALL = (TRAIN, BATCH, INFERENCE, CNN)
WHOLE = {"grid": "quick", "exhaustive": False, "only": None, "given": {}, "whole": True}
WHOLE |= {"workloads": {"train": True, "inference": True}}


def run(*cells: Cell, planned: tuple[Cell, ...] | None = None, **facts: Any) -> Run:
    """A finished run of these cells, which asked for the whole grid."""
    keys = tuple(cell.key for cell in (cells if planned is None else planned))
    words = {"started": "2026-01-01", "finished": "2026-01-02", "complete": True, "options": WHOLE, "planned": keys}
    records = tuple(Record(cell, "ok", metrics={"parameters": 5}) for cell in cells)
    return Run("run", RunFacts("id", **(words | facts)), {"fingerprint": "f"}, {}, records)


def asked(**options: Any) -> dict[str, Any]:
    return {"options": WHOLE | options}


def counts(base: Run, new: Run) -> dict[str, int]:
    return compare(base, new).counts


def verdict(base: Run, new: Run) -> Verdict:
    return judge(compare(base, new))


def test_what_was_asked_for_and_not_planned_is_missing() -> None:
    new = run(TRAIN, INFERENCE, CNN)
    assert counts(run(*ALL), new) == {"missing": 1, "unchanged": 3}
    assert verdict(run(*ALL), new).exit_code == 1


def test_what_was_planned_and_has_no_record_in_a_complete_run_is_missing() -> None:
    assert absence(run(BATCH).records[0], run(TRAIN, planned=(TRAIN, BATCH)), run(*ALL)) == "missing"


@pytest.mark.parametrize(("finished", "why"), [(None, "interrupted"), ("2026-01-02", "the budget was spent")])
def test_what_was_planned_and_not_reached_decides_nothing(finished: str | None, why: str) -> None:
    new = run(TRAIN, planned=ALL, complete=False, finished=finished)
    comparison = compare(run(*ALL), new)
    assert comparison.counts == {"unchanged": 1, "unmeasured": 3}
    assert {cell.reason for cell in comparison.cells if cell.verdict == "unmeasured"} == {f"not measured ({why})"}
    assert verdict(run(*ALL), new).exit_code == 0
    assert "; 3 cells not measured." in verdict(run(*ALL), new).sentence


def test_what_the_base_did_not_reach_is_not_called_new() -> None:
    base = run(TRAIN, planned=ALL, complete=False, finished=None)
    assert counts(base, run(*ALL)) == {"unchanged": 1, "unmeasured": 3}


def test_a_run_that_reached_nothing_is_no_regression() -> None:
    new = run(planned=(), complete=False, finished=None)
    assert counts(run(*ALL), new) == {"unmeasured": 4}
    assert verdict(run(*ALL), new).exit_code == 3


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        (asked(given={"model": ["mlp"]}), (TRAIN, BATCH, INFERENCE)),
        (asked(given={"batch_size": [64], "model": ["mlp", "cnn"]}), (TRAIN, INFERENCE, CNN)),
        (asked(workloads={"train": True, "inference": False}), (TRAIN, BATCH, CNN)),
        (asked(whole=False, workloads={"train": True}), (TRAIN, BATCH, CNN)),
        (asked(only="inference", workloads={}), (INFERENCE,)),
        (asked(grid="small"), (TRAIN,)),
        ({"left_out": (BATCH.key, CNN.key)}, (TRAIN, INFERENCE)),  # as by -k
    ],
    ids=["a model", "a batch size", "parameters of others", "a file of tests", "an option", "a grid", "-k"],
)
def test_what_the_request_leaves_out_is_excluded_and_the_rest_is_compared(
    facts: dict[str, Any], left: tuple[Cell, ...]
) -> None:
    new = run(*left, **facts)
    found = counts(run(*ALL), new)
    assert found == {"unchanged": len(left), "excluded": len(ALL) - len(left)}
    told = verdict(run(*ALL), new)
    assert told.exit_code == 0
    assert f"{len(left)} of {len(left)} cells compared; asked for less than the base" in told.sentence


def test_a_request_for_more_lets_no_cell_be_lost() -> None:
    """The base measured less, on purpose; what it had must still be there."""
    base = run(TRAIN, BATCH, **asked(given={"model": ["mlp"]}))
    assert counts(base, run(TRAIN, INFERENCE, CNN)) == {"missing": 1, "unchanged": 1, "new": 2}
    assert counts(base, run(TRAIN, **asked(grid="full", exhaustive=True))) == {"missing": 1, "unchanged": 1}


def test_a_file_of_tests_that_is_gone_is_missing_where_all_were_asked_for() -> None:
    assert counts(run(*ALL), run(TRAIN, BATCH, CNN, **asked(workloads={"train": True})))["missing"] == 1


def test_what_an_option_of_its_own_measures_is_not_missing_without_it() -> None:
    base = run(INFERENCE, **asked(only="inference"))
    assert counts(base, run(TRAIN)) == {"new": 1, "excluded": 1}


def test_what_is_left_out_is_told_after_what_was_compared() -> None:
    new = run(
        TRAIN, **asked(given={"batch_size": [64], "model": ["mlp"]}, workloads={"train": True, "inference": False})
    )
    cells = compare(run(*ALL), new).cells
    assert [cell.verdict for cell in cells] == ["unchanged", "excluded", "excluded", "excluded"]


def test_what_is_left_out_is_counted_and_not_listed() -> None:
    workloads = {"train": True, "inference": False}
    new = run(TRAIN, **asked(given={"batch_size": [64], "model": ["mlp"]}, workloads=workloads))
    comparison = compare(run(*ALL), new)
    for text in (comparison_table(comparison), render(judge(comparison), comparison)):
        assert "has 3 more cells" in text
        assert "3 excluded" in text
        assert TRAIN.label in text
        assert CNN.label not in text


# Cells that fail


def failing(of: Run, *cells: Cell) -> Run:
    records = (Record(one.cell, "error", "TypeError: no") if one.cell in cells else one for one in of.records)
    return replace(of, records=tuple(records))


def test_a_new_cell_that_fails_is_a_failure() -> None:
    new = failing(run(*ALL), CNN)
    assert counts(run(TRAIN, BATCH, INFERENCE), new) == {"failed": 1, "unchanged": 3}
    assert verdict(run(TRAIN, BATCH, INFERENCE), new).exit_code == 1


def test_a_cell_that_the_base_skipped_and_that_fails_now_is_a_failure() -> None:
    skipped = replace(run(TRAIN, CNN), records=(run(TRAIN).records[0], Record(CNN, "skipped", "no compiler")))
    assert counts(skipped, failing(run(TRAIN, CNN), CNN)) == {"failed": 1, "unchanged": 1}


def test_cells_that_fail_on_both_sides_are_named_in_the_sentence() -> None:
    told = verdict(failing(run(*ALL), CNN, BATCH), failing(run(*ALL), CNN, BATCH))
    assert told.exit_code == 0
    assert told.sentence.endswith("; failed on both sides: train cnn 64 cpu fp32, train mlp 256 cpu fp32.")
    assert verdict(failing(run(*ALL), *ALL), failing(run(*ALL), *ALL)).sentence.count("train") == 2
    assert " and 1 more." in verdict(failing(run(*ALL), *ALL), failing(run(*ALL), *ALL)).sentence


def test_pairs_of_a_cell_that_has_lost_its_record_since_do_no_harm() -> None:
    """As where a process died in a pair, and the run was resumed."""
    assert open_cells({"train": [], "input": []}, Margins(), {"train": "train mlp 64"}) == {"train": False}


def test_two_sides_measured_together_know_what_was_not_reached() -> None:
    new = run(TRAIN, planned=ALL, complete=False, finished=None)
    both = PairedRun(run(*ALL), new, "main", {}, {})
    comparison = compare_paired(both)
    assert comparison.counts["unmeasured"] == 3
    assert "missing" not in comparison.counts
    assert comparison.interrupted == ("run",)
