"""Pairs: both sides by turns and in random order, generation by generation; with made-up sides and a made-up clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainmark.against.client import SideEnded
from trainmark.against.places import Place
from trainmark.against.turns import (
    GENERATION_ROUNDS,
    QUADS,
    Findings,
    PairFailed,
    PairSettings,
    describe_cell,
    measure_pair,
    measure_pairs,
    measure_record,
)
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.pairs import Pair
from trainmark.store.record import NOT_PAIRED, Record

TRAIN, INPUT = Cell.of("train"), Cell.of("input")
HOW = PairSettings(Settings(), threads=1, timeout=10, budget_seconds=60, seed=7)
REQUEST: dict[str, Any] = {"cell": {}, "settings": {}, "block_seconds": 0.02}
QUIET = {"waiting_share": 0.0, "steal_share": 0.0, "throttled_periods": 0, "thermal_events": None}


class FakeSide:
    """Takes as long for a block as it is told, and writes down who did what."""

    def __init__(
        self,
        place: Place,
        said: list[str],
        seconds: float = 0.02,
        fails: Callable[[Mapping[str, Any], str], bool] = lambda request, doing: False,
        reason: str = "died of SIGSEGV",
        status: str = "crashed",
    ) -> None:
        self.reason = reason
        self.status = status
        self.place = place
        self.said = said
        self.seconds = seconds
        self.fails = fails
        self.request: Mapping[str, Any] = {}

    def wait_until_ready(self) -> None:
        pass

    def __enter__(self) -> FakeSide:
        self.said.append(f"{self.place.name} starts")
        return self

    def __exit__(self, *_: object) -> None:
        self.said.append(f"{self.place.name} stops")

    def _do(self, doing: str) -> None:
        self.said.append(f"{self.place.name} {doing}")
        if self.fails(self.request, doing):
            raise SideEnded(self.status, self.reason)

    def begin(self, request: Mapping[str, Any]) -> int:
        self.request = request
        self._do("begins")
        return 8 if self.place.name == "base" else 9

    def block(self, steps: int) -> tuple[float, float]:
        self._do(f"block of {steps}")
        return self.seconds * steps, 2 * self.seconds * steps

    def end(self) -> dict[str, Any]:
        self._do("ends")
        return {"disturbance": QUIET, "control_seconds": [0.001, 0.001]}

    def call(self, task: str, **request: Any) -> dict[str, Any]:
        self.request = request
        self._do(task)
        return Record(TRAIN if request["cell"]["workload"] == "train" else INPUT, "ok", metrics={"loss": 0.5}).to_json()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two cells here count as many."""
    monkeypatch.setattr("trainmark.against.turns.FEW_CELLS", 1)


def both(said: list[str], **new: Any) -> dict[str, Any]:
    return {"base": FakeSide(_place("base"), said), "new": FakeSide(_place("new"), said, **new)}


def _place(name: str) -> Place:
    return Place(name, Path(), Path(), Path())


# One pair


def test_both_processes_are_alive_before_the_first_block_and_until_the_last(said: list[str]) -> None:
    measure_pair(both(said), REQUEST, random.Random(0))
    assert {one.split()[1] for one in said[:2]} == {"begins"}
    assert {one.split()[1] for one in said[-2:]} == {"ends"}


def test_blocks_come_as_abba_or_baab_and_both_occur(said: list[str]) -> None:
    measure_pair(both(said), REQUEST, random.Random(0))
    sides = "".join(one[0] for one in said if "block" in one)
    quads = {sides[start : start + 4] for start in range(0, len(sides), 4)}
    assert len(sides) == 4 * QUADS
    assert quads == {"bnnb", "nbbn"}


def test_the_seed_decides_the_order() -> None:
    orders: list[list[str]] = [[], [], []]
    for order, seed in zip(orders, (1, 1, 2), strict=True):
        measure_pair(both(order), REQUEST, random.Random(seed))
    assert orders[0] == orders[1] != orders[2]


def test_both_sides_take_blocks_of_as_many_steps(said: list[str]) -> None:
    _, steps = measure_pair(both(said), REQUEST, random.Random(0))
    assert steps == 8
    assert {one.split()[-1] for one in said if "block" in one} == {"8"}


@pytest.mark.parametrize("what", ["throttled_periods", "thermal_events", "gpu_throttled"])
def test_a_quota_a_hot_core_and_a_gpu_held_back_are_kept_with_the_half_that_they_slowed(
    said: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setitem(QUIET, what, 1)
    halves, _ = measure_pair(both(said), REQUEST, random.Random(0))
    assert halves["new"].throttled
    assert Pair(**halves).disturbed


def test_a_pair_keeps_own_and_wall_time_apart(said: list[str]) -> None:
    halves, _ = measure_pair(both(said, seconds=0.03), REQUEST, random.Random(0))
    assert halves["new"].seconds == pytest.approx(0.24)
    assert halves["new"].wall_blocks == pytest.approx([0.48] * 2 * QUADS)
    assert Pair(**halves).log_ratio == pytest.approx(0.405, abs=1e-3)


@pytest.mark.parametrize("doing", ["begins", "block of 8", "ends"])
def test_where_one_half_fails_the_other_is_ended(said: list[str], doing: str) -> None:
    sides = both(said, fails=lambda request, now: now == doing)
    with pytest.raises(PairFailed, match="SIGSEGV") as failure:
        measure_pair(sides, REQUEST, random.Random(1))
    assert failure.value.side == "new"
    assert said.count("base begins") == said.count("base ends")


# Many pairs


def run(
    said: list[str],
    look: Callable[[Mapping[str, Sequence[Pair]]], Mapping[str, bool]],
    *,
    until: float = 1e9,
    findings: Findings | None = None,
    **new: Any,
) -> Findings:
    findings = findings or Findings()
    clock = iter(range(10**6))
    start: Any = lambda place, timeout: FakeSide(place, said, **(new if place.name == "new" else {}))  # noqa: E731  # of a fake
    places = {"base": _place("base"), "new": _place("new")}
    measure_pairs(
        places, [TRAIN, INPUT], HOW, findings, look, until, said.append, start=start, clock=lambda: float(next(clock))
    )
    return findings


def until_each_has(pairs: int, *, confirming_from: int = 10**6) -> Any:
    return lambda found: {key: len(some) >= confirming_from for key, some in found.items() if len(some) < pairs}


def test_cells_are_measured_until_none_is_open(said: list[str]) -> None:
    findings = run(said, until_each_has(12))
    assert {key: len(pairs) for key, pairs in findings.pairs.items()} == {TRAIN.key: 12, INPUT.key: 12}
    assert findings.steps == {TRAIN.key: 8, INPUT.key: 8}


def test_decided_cells_stop_and_others_go_on(said: list[str]) -> None:
    findings = run(said, lambda found: {TRAIN.key: False} if len(found[TRAIN.key]) < 24 else {})
    assert (len(findings.pairs[TRAIN.key]), len(findings.pairs[INPUT.key])) == (24, 0)


def test_the_servers_of_each_generation_are_new(said: list[str]) -> None:
    findings = run(said, until_each_has(2 * GENERATION_ROUNDS))
    assert said.count("base starts") == said.count("base stops") == said.count("new starts") == 2
    assert [pair.generation for pair in findings.pairs[TRAIN.key]] == [1] * GENERATION_ROUNDS + [2] * GENERATION_ROUNDS


def test_few_cells_have_longer_generations(said: list[str]) -> None:
    findings = run(said, lambda found: {} if found[TRAIN.key] else {TRAIN.key: False})
    assert len(findings.pairs[TRAIN.key]) == 2 * GENERATION_ROUNDS


def test_pairs_after_an_alarm_are_marked_as_confirming(said: list[str]) -> None:
    findings = run(said, until_each_has(12, confirming_from=6))
    assert [pair.confirming for pair in findings.pairs[TRAIN.key]] == [False] * 6 + [True] * 6


def test_when_time_is_up_the_pairs_so_far_are_there_and_the_servers_are_gone(said: list[str]) -> None:
    findings = run(said, until_each_has(100), until=9)
    assert 0 < sum(map(len, findings.pairs.values())) < 12
    assert said.count("base starts") == said.count("base stops")


def test_a_cell_that_one_side_cannot_measure_has_failed_there_and_the_others_go_on(said: list[str]) -> None:
    fails = lambda request, doing: request["cell"]["workload"] == "train"  # noqa: E731  # a condition
    findings = run(said, until_each_has(6), fails=fails)
    record = findings.records["new"][TRAIN.key]
    assert (record.status, record.reason) == ("crashed", "died of SIGSEGV")
    assert len(findings.pairs[INPUT.key]) == 6
    assert TRAIN.key not in findings.records["base"]


def test_two_processes_that_do_not_fit_at_once_leave_the_record_of_one(said: list[str]) -> None:
    fails = lambda request, doing: request["cell"]["workload"] == "train"  # noqa: E731  # a condition
    found = Record(TRAIN, "ok", metrics={"parameters": 5}, flags=("unsteady",))
    findings = Findings({"base": {TRAIN.key: found}, "new": {TRAIN.key: found}})
    run(said, until_each_has(6), findings=findings, fails=fails, status="oom", reason="CUDA out of memory")
    kept = findings.records["new"][TRAIN.key]
    assert (kept.status, kept.metrics) == ("ok", found.metrics)
    assert kept.flags == ("unsteady", NOT_PAIRED)
    assert kept.reason == "not paired: two processes at once have no memory: CUDA out of memory"
    assert findings.records["base"][TRAIN.key] == found
    assert len(findings.pairs[INPUT.key]) == 6
    assert findings.pairs[TRAIN.key] == []  # it is not decided, and not taken for the same


def test_a_side_that_has_no_memory_and_no_record_either_has_failed(said: list[str]) -> None:
    fails = lambda request, doing: request["cell"]["workload"] == "train"  # noqa: E731  # a condition
    findings = run(said, until_each_has(6), fails=fails, status="oom")
    assert findings.records["new"][TRAIN.key].status == "oom"


def test_a_record_of_a_pair_is_asked_for_without_energy(said: list[str]) -> None:
    side = FakeSide(_place("new"), said)
    measure_record(side, TRAIN, 1, HOW)  # type: ignore[arg-type]
    assert side.request["energy"] is False
    assert "energy" not in side.request["settings"]  # an earlier trainmark knows no such setting


def test_a_reason_that_is_kept_holds_no_path_of_this_machine(said: list[str]) -> None:
    side: Any = FakeSide(_place("new"), said, fails=lambda request, doing: True)
    side.reason = "died of SIGSEGV: OSError in /home/ada/code/net.py"
    assert measure_record(side, TRAIN, 1, HOW).reason == "died of SIGSEGV: OSError in net.py"
    findings = run(said, until_each_has(6), fails=lambda request, doing: True, reason=side.reason)
    assert {record.reason for record in findings.records["new"].values()} == {"died of SIGSEGV: OSError in net.py"}


def test_a_run_that_goes_on_keeps_its_pairs_and_begins_a_new_generation(said: list[str]) -> None:
    first = run(said, until_each_has(6))
    again = Findings(pairs={key: list(pairs) for key, pairs in first.pairs.items()}, steps=dict(first.steps))
    run(said, until_each_has(12), findings=again)
    for key, pairs in first.pairs.items():
        assert again.pairs[key][: len(pairs)] == pairs
        assert len(again.pairs[key]) == 12
        assert {pair.generation for pair in again.pairs[key]} == {1, 2}
    run(said, until_each_has(18), findings=again)
    assert [pair.generation for pair in again.pairs[TRAIN.key]] == [1] * 6 + [2] * 6 + [3] * 6


def test_each_piece_is_kept_before_the_next_is_begun(said: list[str]) -> None:
    """A journal that takes no more ends the run there: nothing is measured that could not be kept."""

    class Full:
        def append_pair(self, *_: Any) -> None:
            raise OSError(28, "No space left on device", "pairs.jsonl")

    findings = Findings(journal=Full())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No space left"):
        run(said, until_each_has(6), findings=findings)
    assert sum(map(len, findings.pairs.values())) == 1


def test_a_side_that_ends_while_recording_leaves_a_record_that_says_so(said: list[str]) -> None:
    side: Any = FakeSide(_place("new"), said, fails=lambda request, doing: request["cell"]["workload"] == "train")
    records = [measure_record(side, cell, 1, HOW) for cell in (TRAIN, INPUT)]
    assert [record.status for record in records] == ["crashed", "ok"]


def test_a_side_is_told_nothing_of_a_parameter_at_its_default_which_it_may_not_have() -> None:
    cell = Cell.of("inference", model="cnn", batch_size=8)
    assert describe_cell(cell) == {"workload": "inference", "axes": {"model": "cnn", "batch_size": 8}}
    assert Cell.of("inference", **describe_cell(cell)["axes"]) == cell
    asked = Cell.of("inference", grad_mode="no_grad")
    assert describe_cell(asked)["axes"] == {"grad_mode": "no_grad"}
