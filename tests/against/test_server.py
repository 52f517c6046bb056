"""What a real side answers: its plan, whole records, and one half of a pair of everything that can be repeated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainmark.against import server
from trainmark.against.client import Side, SideEnded
from trainmark.against.places import working_tree
from trainmark.against.turns import BLOCK_SECONDS, PairSettings, describe_cell
from trainmark.measure.context import Context
from trainmark.measure.settings import Places, Settings
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.workloads import entries

ROOT = Path(__file__).parents[2]
GIVEN = {
    "model": ["mlp"],
    "batch_size": [8],
    "loader": ["resident"],
    "precision": ["fp32"],
    "compile": ["off"],
    "device": ["cpu"],
    "engine": ["python"],
    "order": [2],
    "smoothing": ["additive"],
    "corpus": ["tiny.txt"],
}
REPEATED = [entry.name for entry in entries() if entry.steps]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a side forks its processes")


@pytest.fixture(scope="module")
def how(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that take no time, with a text of a few sentences."""
    text = tmp_path_factory.mktemp("texts") / "tiny.txt"
    text.write_text("the cat sat\nthe dog sat on the cat\n" * 10, encoding="utf-8")
    settings = Settings(max_seconds=0.01, places=Places(named={"corpus": {"tiny.txt": text}}))
    asked = PairSettings(settings, threads=1, timeout=120, budget_seconds=60, seed=0)
    return asked.to_json()


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    """This code, as it is."""
    with Side(working_tree("working tree", ROOT), timeout=120) as started:
        yield started


@pytest.fixture(scope="module")
def plan(side: Side, how: dict[str, Any]) -> dict[str, Any]:
    return side.call("plan", grid="quick", given=GIVEN, seeds=None, settings=how)


@pytest.fixture(scope="module")
def cells(plan: dict[str, Any]) -> dict[str, Cell]:
    """A cell of each workload."""
    return {one["workload"]: Cell.of(one["workload"], **one["axes"]) for one in plan["cells"]}


def test_the_plan_has_the_cells_that_were_asked_for_and_the_environment(
    plan: dict[str, Any], cells: dict[str, Cell]
) -> None:
    assert set(cells) == {*REPEATED, "accuracy"}
    assert cells["train"] == Cell.of("train", batch_size=8)
    assert cells["ngram_fit"] == Cell.of("ngram_fit", engine="python", order=2, smoothing="additive", corpus="tiny.txt")
    assert plan["environment"]["fingerprint"]
    assert plan["threads"] == 1


def test_all_that_take_steps_are_known() -> None:
    assert set(REPEATED) == {"train", "inference", "input", "ngram_fit", "ngram_score"}


@pytest.mark.parametrize("workload", REPEATED)
def test_a_record_is_that_of_the_workloads_own_entry(
    side: Side, how: dict[str, Any], cells: dict[str, Cell], workload: str
) -> None:
    document = side.call("record", cell=describe_cell(cells[workload]), settings=how)
    record = Record.from_json(document)
    assert (record.status, record.reason) == ("ok", None)
    assert record.cell == cells[workload]
    assert record.rounds
    assert record.metrics["cell_seconds"] > 0


@pytest.mark.parametrize("workload", REPEATED)
def test_whatever_takes_steps_is_measured_as_half_of_a_pair(
    side: Side, how: dict[str, Any], cells: dict[str, Cell], workload: str
) -> None:
    request = {"cell": describe_cell(cells[workload]), "settings": how, "block_seconds": BLOCK_SECONDS}
    steps = side.begin(request)
    blocks = [side.block(steps) for _ in range(4)]
    ending = side.end()
    assert steps >= 1
    assert all(own > 0 and seconds > 0 for own, seconds in blocks)
    assert {"waiting_share", "steal_share", "throttled_periods", "thermal_events"} <= ending["disturbance"].keys()
    assert all(seconds > 0 for seconds in ending["control_seconds"])


def test_what_cannot_be_recorded_is_a_record_that_says_why(side: Side, how: dict[str, Any]) -> None:
    cell = Cell.of("ngram_fit", engine="python", corpus="tiny.txt", tokens=10**6)
    record = Record.from_json(side.call("record", cell=describe_cell(cell), settings=how))
    assert record.status == "skipped"
    assert record.reason == "tiny.txt has 110 tokens, and 1000000 are asked for"


def test_what_has_no_steps_is_no_half_of_a_pair(side: Side, how: dict[str, Any], cells: dict[str, Cell]) -> None:
    request = {"cell": describe_cell(cells["accuracy"]), "settings": how, "block_seconds": BLOCK_SECONDS}
    with pytest.raises(SideEnded):
        side.begin(request)
    side.call("plan", grid="quick", given=GIVEN, seeds=None, settings=how)  # the server goes on


def test_a_model_of_the_other_side_alone_is_planned_by_neither_it_nor_by_others_in_its_place(
    side: Side, how: dict[str, Any]
) -> None:
    def planned(*models: str) -> set[tuple[str, str]]:
        given = {**GIVEN, "model": list(models)}
        found = side.call("plan", grid="quick", given=given, seeds=None, settings=how)["cells"]
        return {(one["workload"], one["axes"].get("model", "")) for one in found}

    others = {("input", ""), ("ngram_fit", ""), ("ngram_score", "")}
    assert planned("nowhere:Model") == others
    assert planned("nowhere:Model", "cnn") == others | {(name, "cnn") for name in ("train", "inference", "accuracy")}


def test_a_parameter_that_this_side_does_not_know_is_not_asked_of_it(side: Side, how: dict[str, Any]) -> None:
    given = {**GIVEN, "of_the_future": ["yes"]}
    assert side.call("plan", grid="quick", given=given, seeds=None, settings=how)["cells"]


@pytest.mark.parametrize(("asked", "energy"), [({}, True), ({"energy": False}, False), ({"energy": True}, True)])
def test_a_record_is_measured_without_energy_where_it_is_asked_for_so(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], energy: bool
) -> None:
    seen: list[Settings] = []

    def measure(self: Context, cell: Cell, settings: Settings) -> tuple[Record, str]:
        seen.append(settings)
        return Record(cell, "ok"), ""

    monkeypatch.setattr(Context, "measure", measure)
    how = PairSettings(Settings(), 1, 10.0, 60.0, 0).to_json()
    request = {"cell": describe_cell(Cell.of("train")), "settings": how, "seconds": 10.0, **asked}
    server.record(request, None, Path())  # type: ignore[arg-type]  # which takes no channel
    assert [settings.energy for settings in seen] == [energy]
