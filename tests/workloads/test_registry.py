"""The registry: what each entry answers, and what is refused of one that is new."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from models import MODELS
from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.settings import Settings
from trainmark.store.cell import WORKLOADS, Cell, WorkloadFacts
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.parameters import PARAMETERS, Parameter
from trainmark.store.record import Record
from trainmark.workloads import Workload, entries, entry_of, register
from trainmark.workloads.planning import Request, estimate_seconds, plan

EVERY = pytest.mark.parametrize("entry", list(entries()), ids=lambda entry: entry.name)
MACHINE = Machine(
    environment={},
    devices=("cpu",),
    precisions={"cpu": ("fp32",)},
    compile_obstacle={},
    models={name: ModelFacts(spec.family, "mnist-5k", 10_000_000, True) for name, spec in MODELS.items()},
    cpu_flops=5e10,
)


def request(entry: Workload, grid: str) -> Request:
    """A call that is about it."""
    return Request(grid, only=entry.name if entry.option else None)


def test_the_registry_has_the_engines_workloads_and_the_suites_the_cheap_first() -> None:
    assert [entry.name for entry in entries()] == [
        *("train", "inference", "input", "ngram_fit", "ngram_score", "capacity"),
        *("scaling", "accuracy", "lecture", "answer"),
    ]


@EVERY
def test_every_entry_says_what_it_is(entry: Workload) -> None:
    assert entry_of(entry.name) is entry
    assert entry.meaning
    assert entry.round_unit
    assert entry.parameters
    assert len(set(entry.parameters)) == len(entry.parameters)
    assert set(entry.parameters) <= set(PARAMETERS)
    assert set(entry.own_metrics) <= set(METRICS)
    assert {parameter.name for parameter in entry.own_parameters} <= set(entry.parameters)
    assert Cell.of(entry.name).label.split()[0] == entry.name


@EVERY
def test_every_entry_has_a_line_for_a_record_that_is_well(entry: Workload) -> None:
    record = Record(
        Cell.of(entry.name), "ok", metrics=dict.fromkeys(METRICS, 1), rounds=(0.5, 0.6), settings={"computes": "all"}
    )
    line = entry.line(record)
    assert line.strip()
    assert line.isprintable()
    assert "None" not in line


@EVERY
@pytest.mark.parametrize("grid", ["quick", "full"])
def test_every_entry_has_cells_and_an_estimate_of_each(entry: Workload, grid: str) -> None:
    planned = plan(entry.name, request(entry, grid), MACHINE)
    assert planned
    for item in planned:
        assert item.seeds >= 1
        assert estimate_seconds(item, MACHINE, Settings()) > 0


@EVERY
def test_what_measures_an_entry_is_there_and_takes_what_it_is_called_with(entry: Workload) -> None:
    """A process of its own would find out late."""
    measures_itself = type(entry).measure is not Workload.measure
    assert entry.measured_by or measures_itself
    if entry.measured_by:
        taken = list(inspect.signature(resolve_name(entry.measured_by)).parameters)
        assert taken[:2] == ["cell", "settings"]
        assert [name.removeprefix("_") for name in taken[-2:]] == ["report", "scratch"]
        assert measures_itself or len(taken) == 4


@EVERY
def test_what_a_pair_repeats_is_there_and_takes_what_it_is_called_with(entry: Workload) -> None:
    if entry.steps:
        taken = inspect.signature(resolve_name(entry.steps)).parameters
        assert [name.removeprefix("_") for name in taken] == ["cell", "settings", "scratch"]


@EVERY
def test_every_entry_has_tables_of_no_records_and_sections_of_an_empty_folder(entry: Workload, tmp_path: Path) -> None:
    assert len({detail.title for detail in entry.tables([])}) == len(list(entry.tables([])))
    assert list(entry.sections(tmp_path)) == []


def test_what_is_asked_for_alone_is_planned_alone() -> None:
    for entry in entries():
        assert bool(plan(entry.name, Request(), MACHINE)) == (not entry.option)
        assert bool(plan(entry.name, Request(only="capacity"), MACHINE)) == (entry.name == "capacity")


def test_a_call_that_speaks_of_one_subject_leaves_the_other_out() -> None:
    about = {
        name: {entry.subject for entry in entries() if entry.is_meant(Request(given={name: values}))}
        for name, values in {"model": ("mlp",), "order": (2,), "device": ("cpu",)}.items()
    }
    assert about == {"model": {"models"}, "order": {"n-grams"}, "device": {"models", "n-grams"}}


# What is new


NEW = Workload(name="made_up", parameters=("device",), meaning="a test", round_unit="round")


@pytest.fixture
def _put_back() -> Iterator[None]:
    registries: tuple[dict[str, Any], ...] = (WORKLOADS, PARAMETERS, METRICS)
    before = [dict(registry) for registry in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        registry.clear()
        registry.update(known)


@pytest.mark.usefixtures("_put_back")
def test_a_workload_brings_its_parameters_and_metrics_with_it() -> None:
    own = Parameter("depth", 3, "how deep")
    seconds = Metric("s", "lower", "time", "how long")
    new = replace(NEW, parameters=("depth",), own_parameters=(own,), own_metrics={"dive_seconds": seconds})
    register(new)
    register(new)  # once more is the same
    assert entry_of("made_up") is new
    assert (PARAMETERS["depth"], METRICS["dive_seconds"]) == (own, seconds)
    (planned,) = plan("made_up", Request(), MACHINE)
    assert planned.cell == Cell.of("made_up", depth=3)
    assert estimate_seconds(planned, MACHINE, Settings()) > 0
    record = Record(planned.cell, "ok", metrics={"dive_seconds": 0.25})
    assert new.line(record) == "250 ms"
    assert new.line(replace(record, metrics={})) == "measured"


@pytest.mark.usefixtures("_put_back")
def test_a_parameter_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="workload made_up: no parameter named depth"):
        register(replace(NEW, parameters=("device", "depth")))
    assert "made_up" not in WORKLOADS


@pytest.mark.usefixtures("_put_back")
@pytest.mark.parametrize(
    "new",
    [
        replace(NEW, name="train"),
        replace(NEW, own_parameters=(Parameter("device", "cuda", "another default"),)),
        replace(NEW, own_metrics={"step_seconds": Metric("", "higher", "exact", "something else")}),
    ],
    ids=["workload", "parameter", "metric"],
)
def test_a_name_that_means_something_else_already_is_refused(new: Workload) -> None:
    with pytest.raises(ValueError, match="is there already"):
        register(new)
    assert WORKLOADS["train"].round_unit == "step"
    assert PARAMETERS["device"].default == "cpu"
    assert METRICS["step_seconds"].compared == "time"


def test_a_name_that_no_workload_has_is_told_with_those_that_are() -> None:
    with pytest.raises(KeyError, match="No workload named tain can be measured here; there are train, inference"):
        entry_of("tain")


@pytest.mark.usefixtures("_put_back")
def test_what_is_known_from_a_stored_run_alone_cannot_be_measured() -> None:
    WORKLOADS["theirs"] = WorkloadFacts(name="theirs", parameters=("device",), meaning="of another", round_unit="round")
    assert "theirs" not in {entry.name for entry in entries()}
    with pytest.raises(KeyError, match="theirs"):
        entry_of("theirs")
