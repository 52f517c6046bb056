"""The command beside a configuration measures that one, and no other."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.workloads.test_planning import MACHINES
from trainmark.advise.reproduce import checkout, command, commit
from trainmark.measure.machine import Machine
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS, Value
from trainmark.store.record import Record, Run, RunFacts
from trainmark.workloads.planning import Request, plan


def run_of(record: Record, **options: Any) -> Run:
    facts = RunFacts("0001", "2026-01-01T12:00:00+00:00", complete=True, options=options)
    return Run("0001", facts, {}, {"id": "1a2b3c4d", "dirty": False}, (record,))


def asked(text: str) -> tuple[str, dict[str, tuple[Value, ...]]]:
    """The workload and the values of the parameters that a command names."""
    words = shlex.split(text)
    assert words[:2] == ["pytest", "bench"]
    options = dict(pairwise(words[2:]))
    given = {
        name: (type(parameter.default)(options[parameter.option]),)
        for name, parameter in PARAMETERS.items()
        if parameter.option in options
    }
    return options["-k"].removeprefix("test_"), given


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("workload", ["train", "inference", "input", "accuracy", "answer"])
@pytest.mark.parametrize("grid", ["quick", "full"])
def test_each_configuration_of_a_grid_is_measured_alone_by_its_command(
    machine: Machine, workload: str, grid: str
) -> None:
    planned = plan(workload, Request(grid), machine)
    assert planned
    for one in planned:
        record = Record(one.cell, "skipped")
        name, given = asked(command(record, run_of(record)))
        assert [again.cell for again in plan(name, Request("quick", given), machine)] == [one.cell]


def test_a_parameter_that_no_grid_varies_is_named_where_it_is_not_at_its_default() -> None:
    plain, other = Record(Cell.of("train"), "ok"), Record(Cell.of("train", optimizer="sgd", accumulate=4), "ok")
    assert "--optimizer" not in command(plain, run_of(plain))
    assert "--accumulate 4" in command(other, run_of(other))
    assert "--optimizer sgd" in command(other, run_of(other))


def test_threads_seeds_and_the_time_of_the_rounds_are_those_of_the_run() -> None:
    record = Record(Cell.of("accuracy"), "ok", settings={"threads": 3, "seeds": 5, "seed": 7})
    told = command(record, run_of(record, max_seconds=2.0, min_rounds=6))
    assert told.endswith("--threads 3 --seeds 5 --seed 7 --benchmark-max-time 2")


def test_names_of_others_are_quoted_for_the_shell() -> None:
    record = Record(Cell.of("train", model="nets:wide(width=512, name='a b')"), "ok")
    assert "--model" in shlex.split(command(record, run_of(record)))
    assert shlex.split(command(record, run_of(record)))[6] == "nets:wide(width=512, name='a b')"


def test_what_is_measured_only_when_asked_for_is_asked_for() -> None:
    record = Record(Cell.of("capacity"), "ok")
    assert command(record, run_of(record)).startswith("pytest bench --find-max-batch --benchmark-autosave --model mlp")


def test_the_commit_is_told_with_what_was_not_in_it() -> None:
    record = Record(Cell.of("train"), "ok")
    run = run_of(record)
    assert (commit(run), checkout(run)) == ("1a2b3c4d", "git switch --detach 1a2b3c4d")
    dirty = replace(run, commit={"id": "1a2b3c4d", "dirty": True})
    assert commit(dirty) == "1a2b3c4d with uncommitted changes"
    assert (commit(replace(run, commit={})), checkout(replace(run, commit={}))) == ("", "")
