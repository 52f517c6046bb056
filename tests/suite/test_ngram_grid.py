"""Which n-gram cells a run has, on machines that are made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.ngram.engines import ENGINES
from trainmark.measure.machine import Machine
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.store.parameters import Value
from trainmark.workloads import SkipReason, entries, entry_of
from trainmark.workloads.planning import Request, estimate_seconds, find_skip_reason, plan

NGRAM = ("ngram_fit", "ngram_score")
PEERS = [name for name, engine in ENGINES.items() if not engine.own]
PLAIN = Machine({}, ("cpu",), {"cpu": ("fp32",)}, {}, {}, cpu_flops=5e10)
BARE = replace(PLAIN, found={workload: {name: f"no {name} here" for name in PEERS} for workload in NGRAM})
WITH_CUDA = replace(PLAIN, devices=("cpu", "cuda"), precisions={"cpu": ("fp32",), "cuda": ("fp32",)})


def asking(grid: str = "quick", **given: Sequence[Value]) -> Request:
    return Request(grid, {axis: tuple(values) for axis, values in given.items()})


def pairs(workload: str, machine: Machine, request: Request) -> list[tuple[Value, Value]]:
    return [(item.cell["engine"], item.cell["smoothing"]) for item in plan(workload, request, machine)]


def test_the_quick_grid_has_few_ngram_cells() -> None:
    assert [item.cell for workload in NGRAM for item in plan(workload, asking(), PLAIN)] == [
        Cell.of("ngram_fit"),
        Cell.of("ngram_fit", smoothing="kneser-ney"),
        Cell.of("ngram_fit", engine="python"),
        Cell.of("ngram_score", smoothing="kneser-ney"),
    ]


def test_a_gpu_gets_the_engine_that_runs_there() -> None:
    found = [item.cell for item in plan("ngram_fit", asking(), WITH_CUDA) if item.cell["device"] == "cuda"]
    assert found == [
        Cell.of("ngram_fit", engine="torch", device="cuda", smoothing=smoothing) for smoothing in ("mle", "kneser-ney")
    ]


@pytest.mark.parametrize("machine", [PLAIN, BARE, WITH_CUDA])
@pytest.mark.parametrize("workload", NGRAM)
@pytest.mark.parametrize("grid", ["quick", "full"])
def test_no_grid_has_an_ngram_cell_twice_or_one_that_cannot_run(machine: Machine, workload: str, grid: str) -> None:
    planned = plan(workload, asking(grid), machine)
    assert planned
    assert set(Counter(item.cell.key for item in planned).values()) == {1}
    assert {item.skip_reason for item in planned} == {None}
    assert all(estimate_seconds(item, machine, Settings()) > 0 for item in planned)


def test_the_full_grid_has_every_order_smoothing_and_engine_that_is_there() -> None:
    cells = [item.cell for item in plan("ngram_fit", asking("full"), PLAIN)]
    assert {cell["order"] for cell in cells} == {1, 2, 3, 4, 5, 6}
    assert {cell["engine"] for cell in cells} == set(ENGINES)
    assert {cell["smoothing"] for cell in cells if cell["engine"] == "numba"} == {"mle", "additive", "kneser-ney"}
    assert {cell["smoothing"] for cell in cells if cell["engine"] == "lmplz"} == {"kneser-ney"}
    assert {cell["engine"] for cell in (item.cell for item in plan("ngram_fit", asking("full"), BARE))} == {
        *("numba", "torch", "python")
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"engine": ["counter"]}, [("counter", "mle")]),
        ({"engine": ["lmplz", "numba"]}, [("lmplz", "kneser-ney"), ("numba", "mle"), ("numba", "kneser-ney")]),
        ({"smoothing": ["additive"]}, [("numba", "additive"), ("python", "additive")]),
        ({"engine": ["torch"], "smoothing": ["mle"]}, [("torch", "mle")]),
    ],
)
def test_an_engine_is_given_what_it_computes(given, expected) -> None:
    assert pairs("ngram_fit", PLAIN, asking(**given)) == expected


@pytest.mark.parametrize("workload", NGRAM)
@pytest.mark.parametrize("grid", ["quick", "full"])
@pytest.mark.parametrize(
    ("axis", "asked"),
    [
        ("engine", ("numba",)),
        ("order", (5, 2)),
        ("smoothing", ("kneser-ney",)),
        ("corpus", ("zipf", "news.txt")),
        ("tokens", (0, 1_000_000)),
    ],
)
def test_a_given_axis_has_the_values_given_and_no_others(workload: str, grid: str, axis: str, asked) -> None:
    planned = plan(workload, asking(grid, **{axis: asked}), WITH_CUDA)
    assert {item.cell[axis] for item in planned} == set(asked)
    assert {item.skip_reason for item in planned} == {None}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"engine": ["counter"], "smoothing": ["kneser-ney"]}, "counter computes mle only"),
        ({"engine": ["numba"], "device": ["cuda"]}, "numba runs on cpu only"),
        ({"order": [1], "smoothing": ["kneser-ney"]}, "Kneser-Ney needs an order of 2"),
        ({"engine": ["polars"]}, "no polars here"),
        ({"engine": ["torch"], "device": ["mps"]}, "no mps device"),
    ],
)
def test_what_was_asked_for_and_cannot_run_has_its_reason(given, reason: str) -> None:
    machine = replace(WITH_CUDA, found={"ngram_fit": {"polars": "no polars here"}})
    planned = plan("ngram_fit", asking(**given), machine)
    assert planned
    assert all(item.skip_reason is not None and reason in item.skip_reason for item in planned)


@pytest.mark.parametrize("grid", ["quick", "full"])
def test_a_gpu_counts_ngrams_and_does_not_score_them(grid: str) -> None:
    """Scoring is NumPy's and numba's on the CPU: a cell of another device would be the same under a false name."""
    fits = plan("ngram_fit", asking(grid, device=["cuda"]), WITH_CUDA)
    assert {item.skip_reason for item in fits} == {None}
    assert not [item for item in plan("ngram_score", asking(grid), WITH_CUDA) if item.cell["device"] == "cuda"]
    asked = plan("ngram_score", asking(grid, device=["cuda"]), WITH_CUDA)
    assert asked
    assert all("score on the CPU" in str(item.skip_reason) for item in asked)


def test_an_order_of_one_leaves_out_what_needs_two() -> None:
    assert pairs("ngram_fit", PLAIN, asking(order=[1])) == [("numba", "mle"), ("python", "mle")]


def test_a_peer_is_not_asked_to_score() -> None:
    assert plan("ngram_score", asking("full", engine=["counter", "lmplz"]), PLAIN) == []
    reason = find_skip_reason(entry_of("ngram_score"), Cell.of("ngram_score", engine="counter"), PLAIN)
    assert reason == SkipReason("engine", "counter gives no model that scores")


@pytest.mark.parametrize("axis", ["engine", "order", "smoothing", "corpus", "tokens"])
def test_who_speaks_of_ngrams_alone_gets_nothing_else(axis: str) -> None:
    value = {"engine": "python", "order": 2, "smoothing": "mle", "corpus": "zipf", "tokens": 9}[axis]
    for workload in {entry.name for entry in entries() if not entry.option} - set(NGRAM):
        assert plan(workload, asking(**{axis: [value]}), PLAIN) == []


@pytest.mark.parametrize("axis", ["model", "batch_size", "precision", "compile", "dataset", "loader", "epochs"])
def test_who_speaks_of_models_alone_gets_no_ngrams(axis: str) -> None:
    for workload in NGRAM:
        assert plan(workload, asking(**{axis: [1]}), PLAIN) == []
        assert plan(workload, asking(**{axis: [1], "order": [2]}), PLAIN)


def test_a_larger_text_and_a_slower_engine_are_said_to_take_longer() -> None:
    def seconds(**axes: Value) -> float:
        (planned,) = plan("ngram_fit", asking(**{"smoothing": ["mle"]} | {k: [v] for k, v in axes.items()}), PLAIN)
        return estimate_seconds(planned, PLAIN, Settings())

    assert seconds(engine="numba", tokens=10**6) < seconds(engine="numba", tokens=10**8)
    assert seconds(engine="numba", tokens=10**7) < seconds(engine="nltk", tokens=10**7)
