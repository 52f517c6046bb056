"""What ``--against`` measures of two sides whose cells are not the same; the sides are made up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmark.against.client import SideEnded
from trainmark.against.places import Place, SideError, read_side
from trainmark.against.run import Against, measure_against
from trainmark.git import Code
from trainmark.judge.comparison import compare_paired
from trainmark.judge.policy import Policy
from trainmark.judge.verdict import Verdict, judge
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits
from trainmark.store.cell import WORKLOADS, Cell
from trainmark.store.pairs import PairedRun, interrupted_pairs
from trainmark.store.record import NOT_PAIRED, Record, RunFacts
from trainmark.workloads import entry_of
from trainmark.workloads.planning import Request

TRAIN, INFERENCE, INPUT, ACCURACY = map(Cell.of, ("train", "inference", "input", "accuracy"))
CELL_SECONDS = 0.5
RENAMED = Cell.of("train", model="mlp-2")


class MadeUpSide:
    """A side that has cells, some of which end in a way of their own."""

    def __init__(
        self,
        place: Place,
        cells: Sequence[Cell],
        ends: dict[Cell, BaseException],
        accuracy: float,
        peaks: Sequence[int] = (),
    ) -> None:
        self.place = place
        self.cells = cells
        self.ends = ends
        self.accuracy = accuracy
        self.peaks = iter(peaks)

    def wait_until_ready(self) -> None:
        pass

    def __enter__(self) -> MadeUpSide:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, task: str, **request: Any) -> dict[str, Any]:
        if task == "plan":
            if not self.cells:
                raise SideEnded("error", "ImportError: no torch")
            cells = [{"workload": cell.workload, "axes": cell.settings} for cell in self.cells]
            return {"environment": {"fingerprint": "f"}, "cells": cells}
        assert hasattr(self, "words"), "a side is told the words of its tasks' metrics before it measures"
        cell = Cell.of(request["cell"]["workload"], **request["cell"]["axes"])
        if cell in self.ends:
            raise self.ends[cell]
        if cell.workload == "accuracy":
            curves = [[self.accuracy + seed / 1000] for seed in range(3)]
            series = {"seed": [0, 1, 2], "held_out_accuracy": curves}
            return Record(cell, "ok", metrics={"accuracy": self.accuracy + 0.001}, series=series).to_json()
        peak = next(self.peaks, 100)
        metrics = {"parameters": 5, "peak_memory_bytes": peak, "cell_seconds": CELL_SECONDS}
        return Record(cell, "ok", metrics=metrics).to_json()


numbers = count()  # of sessions: each run has a name of its own


def stood_in_session(skipped: dict[Cell, str], folder: Path, seeds: int = 1, asks_for_all: bool = True) -> Any:
    return SimpleNamespace(
        invocation=SimpleNamespace(settings=Settings(), limits=Limits(10), request=Request("quick", {}, None)),
        machine=SimpleNamespace(models={}, environment={"fingerprint": "f"}),
        in_its_moment=lambda record: record,
        skip_reason_of=skipped.get,
        seeds_of=lambda cell: seeds,
        has_planned=lambda cell: True,
        estimates=lambda cells: {},
        asks_for_all=asks_for_all,
        code=Code("c", False, ""),
        facts=RunFacts(f"20260101T12{next(numbers):04d}-abcdef", "2026-01-01T12:00:00+00:00"),
        folder=folder,
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., PairedRun]:
    """Measures the cells of a base and of a working tree, without pairs."""

    def measure(
        base: Sequence[Cell],
        new: Sequence[Cell],
        chosen: Sequence[Cell] | None = None,
        ends: dict[Cell, BaseException] | None = None,
        skipped: dict[Cell, str] | None = None,
        accuracies: tuple[float, float] = (0.9, 0.9),
        earlier: Sequence[PairedRun] = (),
        budget: float = 60,
        told: list[str] | None = None,
        seeds: int = 1,
        asks_for_all: bool = True,
        variable: str = "env:A=1",
        resumed: Path | None = None,
        peaks: Sequence[int] = (),
    ) -> PairedRun:
        def side(place: Place, timeout: float) -> MadeUpSide:
            of_base = place.name == variable
            accuracy = accuracies[0] if of_base else accuracies[1]
            return MadeUpSide(
                place,
                base if of_base else new,
                {} if of_base else ends or {},
                accuracy,
                () if of_base else peaks,
            )

        monkeypatch.setattr("trainmark.against.run.Side.launch", side)
        parts = (variable,)
        asked = Against(read_side(parts, tmp_path), parts, budget, time.monotonic(), 12, None, "3%", "warn", "fail")
        return measure_against(
            asked,
            stood_in_session(skipped or {}, tmp_path, seeds, asks_for_all),
            new if chosen is None else chosen,
            tmp_path,
            {"id": "c"},
            lambda labels: lambda pairs: {},
            (told if told is not None else []).append,
            earlier,
            resumed,
        )

    return measure


def verdict_of(run: PairedRun, missing: str = "fail") -> Verdict:
    return judge(compare_paired(run), Policy(missing=missing))


def labels(records: Sequence[Record]) -> list[Cell]:
    return [record.cell for record in records]


def test_a_benchmark_that_was_removed_is_missing(measured: Any) -> None:
    run = measured([TRAIN, INPUT], [TRAIN])
    assert (labels(run.base.records), labels(run.new.records)) == ([TRAIN, INPUT], [TRAIN])
    verdict = verdict_of(run)
    assert [(cell.key, cell.verdict) for cell in verdict.regressions] == [(INPUT.key, "missing")]
    assert (verdict.exit_code, verdict_of(run, missing="warn").exit_code) == (1, 0)


def test_a_benchmark_that_was_renamed_is_missing_and_another_new(measured: Any) -> None:
    run = measured([TRAIN, INPUT], [RENAMED, INPUT])
    assert compare_paired(run).counts == {"missing": 1, "unchanged": 1, "new": 1}
    assert verdict_of(run).exit_code == 1


def test_what_the_user_left_out_is_not_missing(measured: Any) -> None:
    run = measured([TRAIN, INFERENCE, INPUT], [TRAIN, INFERENCE], chosen=[TRAIN])
    assert labels(run.base.records) == labels(run.new.records) == [TRAIN]
    assert verdict_of(run).exit_code == 0


def test_a_benchmark_that_was_broken_has_failed_with_its_reason(measured: Any) -> None:
    run = measured([TRAIN, INPUT], [TRAIN, INPUT], ends={TRAIN: SideEnded("error", "TypeError: no")})
    verdict = verdict_of(run)
    assert [(cell.key, cell.verdict) for cell in verdict.regressions] == [(TRAIN.key, "failed")]
    assert "TypeError: no" in (verdict.regressions[0].reason or "")
    assert verdict.exit_code == 1
    assert list(run.pairs) == [INPUT.key]  # there is nothing to pair the other with


@pytest.mark.parametrize(("accuracies", "verdict"), [((0.9, 0.9), "unchanged"), ((0.9, 0.5), "regressed")])
def test_a_benchmark_that_takes_no_steps_is_judged_by_its_records(
    measured: Any, accuracies: tuple[float, float], verdict: str
) -> None:
    run = measured([TRAIN, ACCURACY], [TRAIN, ACCURACY], accuracies=accuracies)
    assert list(run.pairs) == [TRAIN.key]  # without an accuracy among them
    verdicts = {cell.key: cell.verdict for cell in compare_paired(run).cells}
    assert verdicts[ACCURACY.key] == verdict


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_each_workload_has_a_record_on_both_sides_and_pairs_where_it_takes_turns(measured: Any, workload: str) -> None:
    cell = Cell.of(workload)
    run = measured([cell], [cell])
    assert labels(run.base.records) == labels(run.new.records) == [cell]
    assert list(run.pairs) == ([cell.key] if entry_of(workload).steps else [])


def test_a_compiled_cell_takes_turns_only_where_the_call_names_what_to_compile() -> None:
    compiled = Cell.of("train", compile="default")
    assert not entry_of("train").is_paired(compiled, Request("full", {"model": ("mlp",)}))
    assert entry_of("train").is_paired(compiled, Request("quick", {"compile": ("off", "default")}))


def test_records_of_the_same_code_are_taken_over_from_an_earlier_run(measured: Any) -> None:
    """What would measure them again must not: each side is asked once for its plan, and for nothing else."""
    first = measured([TRAIN, INPUT], [TRAIN, INPUT])
    broken = {cell: SideEnded("error", "measured again") for cell in (TRAIN, INPUT)}
    again = measured([TRAIN, INPUT], [TRAIN, INPUT], ends=broken, earlier=[first])
    assert again.new.records == first.new.records
    assert again.base.records == first.base.records
    assert again.origins == first.origins
    assert first.origins["base"] != first.origins["new"]  # a variable was set


@pytest.mark.parametrize("change", [{"origins": {}}, {"origins": {"base": "other", "new": "other"}}])
def test_records_of_other_code_are_measured_anew(measured: Any, change: dict[str, Any]) -> None:
    first = replace(measured([TRAIN], [TRAIN]), **change)
    again = measured([TRAIN], [TRAIN], ends={TRAIN: SideEnded("error", "measured again")}, earlier=[first])
    assert [record.reason for record in again.new.records] == ["measured again"]


def test_a_record_of_another_variable_or_of_fewer_seeds_is_measured_anew(measured: Any) -> None:
    first = measured([TRAIN], [TRAIN])
    other = measured([TRAIN], [TRAIN], variable="env:A=2")
    assert other.origins["new"] == first.origins["new"]
    assert other.origins["base"] != first.origins["base"]
    broken = {TRAIN: SideEnded("error", "measured again")}
    again = measured([TRAIN], [TRAIN], ends=broken, earlier=[first], seeds=3)
    assert [record.reason for record in again.new.records] == ["measured again"]


def test_cells_of_the_base_alone_are_measured_only_where_the_whole_folder_is_named(measured: Any) -> None:
    assert labels(measured([TRAIN, INPUT], [TRAIN], asks_for_all=False).base.records) == [TRAIN]
    assert labels(measured([TRAIN, INPUT], [TRAIN], asks_for_all=True).base.records) == [TRAIN, INPUT]


def test_an_interrupted_run_goes_on_against_the_same_base_alone(measured: Any, tmp_path: Path) -> None:
    measured([TRAIN, INPUT], [TRAIN, INPUT], ends={TRAIN: KeyboardInterrupt()})
    (file,) = interrupted_pairs(tmp_path)
    with pytest.raises(SideError, match="was begun against another state of env:A=1"):
        measured([TRAIN, INPUT], [TRAIN, INPUT], variable="env:A=2", resumed=file)
    run = measured([TRAIN, INPUT], [TRAIN, INPUT], resumed=file)
    assert run.new.facts.complete
    assert run.name == file.stem


def test_the_budget_that_would_do_counts_the_newest_runs_pairs_and_the_start_of_the_servers(measured: Any) -> None:
    """Twelve pairs of two cells at 4.8 s and one start of 8 s: 123 s; without the start it would be two minutes."""
    told: list[str] = []
    first = measured([TRAIN, INPUT], [TRAIN, INPUT])
    earlier = [replace(first, origins={}, pair_seconds=seconds) for seconds in (1.0, 4.8)]
    measured([TRAIN, INPUT], [TRAIN, INPUT], budget=0.0, told=told, earlier=earlier)
    assert any("about 2 min 03 s would do, --budget 3m" in line for line in told), told


def test_a_record_that_failed_is_tried_again(measured: Any) -> None:
    first = measured([TRAIN], [TRAIN], ends={TRAIN: SideEnded("oom", "no memory")})
    again = measured([TRAIN], [TRAIN], earlier=[first])
    assert [record.status for record in again.new.records] == ["ok"]


@pytest.mark.parametrize(
    ("peaks", "verdict"),
    [((100, 100), "unchanged"), ((120, 100), "unchanged"), ((120, 120, 120, 120, 100), "regressed")],
)
def test_a_peak_of_memory_beyond_its_tolerance_is_measured_anew_up_to_three_times(
    measured: Any, peaks: tuple[int, ...], verdict: str
) -> None:
    told: list[str] = []
    run = measured([TRAIN], [TRAIN], peaks=peaks, told=told)
    assert [cell.verdict for cell in compare_paired(run).cells] == [verdict]
    anew = [line for line in told if line.startswith("once more on both sides, for its peak memory")]
    assert len(anew) == {"unchanged": peaks.count(120), "regressed": 3}[verdict]
    assert run.new.records[0].metrics["peak_memory_bytes"] == min(peaks[:4])


def test_a_peak_beyond_its_tolerance_that_there_is_no_time_to_confirm_decides_nothing(measured: Any) -> None:
    run = measured([TRAIN], [TRAIN], peaks=(120, 100), budget=2 * CELL_SECONDS)
    (cell,) = compare_paired(run).cells
    assert cell.verdict == "inconclusive"
    assert "peak memory changed 100 B → 120 B, but once: nothing has confirmed it" in (cell.reason or "")


def test_a_budget_that_is_spent_leaves_the_rest_unmeasured_and_says_so(measured: Any) -> None:
    told: list[str] = []
    run = measured([TRAIN, INPUT], [TRAIN, INPUT], budget=0.0, told=told)
    assert run.new.facts.finished is not None
    assert not run.new.facts.complete
    assert any("That budget is too small for one look at 2 cells (12 pairs of each): about " in line for line in told)
    assert "the budget is spent: 4 records not measured" in told
    assert compare_paired(run).counts == {"unmeasured": 2}


def test_what_this_machine_cannot_run_is_kept_with_its_reason(measured: Any) -> None:
    run = measured([TRAIN, INPUT], [TRAIN, INPUT], skipped={TRAIN: "bf16 needs more"})
    assert [record.status for record in run.base.records] == ["ok", "ok"]  # its interpreter may know what ours does not
    kept = {record.cell: (record.status, record.reason) for record in run.new.records}
    assert kept == {TRAIN: ("skipped", "bf16 needs more"), INPUT: ("ok", None)}


def test_a_side_that_cannot_say_what_it_has_is_one_sentence(measured: Any) -> None:
    with pytest.raises(SideError, match=r"^env:A=1 cannot say what it measures: ImportError: no torch$"):
        measured([], [TRAIN])


def test_after_an_interruption_the_records_so_far_are_an_incomplete_run(measured: Any) -> None:
    run = measured([TRAIN, INPUT], [TRAIN, INPUT], ends={TRAIN: KeyboardInterrupt()})
    assert not run.new.facts.complete
    assert labels(run.base.records) == [TRAIN]
    verdict = verdict_of(run)
    assert {cell.verdict for cell in compare_paired(run).cells} == {"unmeasured"}
    assert verdict.exit_code == 3
    assert any("was interrupted: finish it with pytest bench --resume" in detail for detail in verdict.details)


def test_records_leave_a_share_of_the_budget_for_pairs_and_are_gone_on_with_when_these_are_decided(
    measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainmark.against.run.PAIRS_SHARE", 1.0)  # from the first record on
    told: list[str] = []
    run = measured([ACCURACY, TRAIN], [ACCURACY, TRAIN], told=told)
    assert labels(run.new.records)[0] == TRAIN  # what is paired comes first
    assert "the rest of the budget is for pairs: 2 records not measured" in told
    assert set(labels(run.base.records)) == set(labels(run.new.records)) == {TRAIN, ACCURACY}
    assert run.new.facts.complete


def test_where_nothing_takes_turns_no_share_is_kept(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmark.against.run.PAIRS_SHARE", 1.0)
    told: list[str] = []
    run = measured([ACCURACY], [ACCURACY], told=told)
    assert labels(run.new.records) == [ACCURACY]
    assert not [line for line in told if "for pairs:" in line]


def test_a_cell_of_which_no_two_processes_fit_is_not_decided_and_says_why(measured: Any) -> None:
    run = measured([TRAIN, INPUT], [TRAIN, INPUT])
    flagged = [
        replace(record, metrics={"step_seconds": 0.1}, reason="not paired: no memory", flags=(NOT_PAIRED,))
        if record.cell == TRAIN
        else record
        for record in run.new.records
    ]
    base = [replace(record, metrics={"step_seconds": 0.1}) for record in run.base.records]
    run = replace(run, new=replace(run.new, records=tuple(flagged)), base=replace(run.base, records=tuple(base)))
    (cell,) = [cell for cell in compare_paired(run).cells if cell.key == TRAIN.key]
    assert (cell.verdict, cell.reason) == ("inconclusive", "not paired: no memory")
