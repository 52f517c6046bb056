"""Cells: their axes, the key that joins their records, and their name for people."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainmark.store.cell import WORKLOADS, Cell, join_key, label
from trainmark.store.parameters import PARAMETERS, Parameter, Value


def test_a_cell_has_every_axis_of_its_workload_in_order() -> None:
    for name, workload in WORKLOADS.items():
        assert tuple(axis for axis, _ in Cell.of(name).axes) == workload.parameters


def test_an_axis_not_given_has_its_default() -> None:
    cell = Cell.of("train", batch_size=128)
    assert cell["batch_size"] == 128
    assert all(cell[axis] == PARAMETERS[axis].default for axis in WORKLOADS["train"].parameters if axis != "batch_size")


def test_a_value_for_an_axis_that_the_workload_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input takes no epochs, model; it takes dataset, loader, workers, "):
        Cell.of("input", model="cnn", epochs=3)


def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(KeyError, match="traim"):
        Cell.of("traim")


def test_every_workload_takes_only_known_axes() -> None:
    assert {axis for workload in WORKLOADS.values() for axis in workload.parameters} <= set(PARAMETERS)


def test_every_default_is_one_of_its_axis_values() -> None:
    assert all(axis.default in axis.values for axis in PARAMETERS.values() if axis.values)


def test_defaults_are_those_that_stored_records_were_joined_by() -> None:
    """A default that changes orphans every stored record: only additions belong here."""
    assert {name: axis.default for name, axis in PARAMETERS.items()}.items() >= {
        "model": "mlp",
        "dataset": "mnist-5k",
        "loader": "resident",
        "batch_size": 64,
        "device": "cpu",
        "precision": "fp32",
        "compile": "off",
        "memory_format": "contiguous",
        "epochs": 10,
        "workers": 0,
        "pin_memory": "off",
        "persistent_workers": "off",
        "prefetch": 2,
        "accumulate": 1,
        "checkpointing": "off",
        "cudnn_benchmark": "off",
        "optimizer": "adamw",
        "optimizer_implementation": "default",
        "corpus": "pydoc",
        "tokens": 0,
        "order": 3,
        "smoothing": "mle",
        "engine": "numba",
    }.items()


def test_an_option_is_the_name_of_its_axis_with_hyphens() -> None:
    assert PARAMETERS["batch_size"].option == "--batch-size"
    assert Parameter("model", "mlp", "").option == "--model"


def test_a_cell_of_defaults_has_the_workload_as_its_key() -> None:
    assert Cell.of("train").key == "train"


def test_a_key_names_what_is_not_default() -> None:
    assert Cell.of("train", model="cnn", batch_size=128).key == "train batch_size=128 model=cnn"


def test_a_record_made_before_an_axis_existed_has_the_same_key() -> None:
    old = {"model": "cnn", "batch_size": 64, "device": "cpu"}
    assert join_key("train", old) == Cell.of("train", model="cnn").key


def test_cells_of_two_workloads_never_share_a_key() -> None:
    assert len({Cell.of(workload).key for workload in WORKLOADS}) == len(WORKLOADS)


def values_of(axis: Parameter) -> st.SearchStrategy[Value]:
    if axis.values:
        return st.sampled_from(axis.values)
    if isinstance(axis.default, int):
        return st.integers(1, 4096)
    return st.one_of(st.just(axis.default), st.text("ab:/=.-", max_size=12))


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no bug
cells = st.sampled_from(sorted(WORKLOADS)).flatmap(
    lambda name: st.fixed_dictionaries(
        {}, optional={axis: values_of(PARAMETERS[axis]) for axis in WORKLOADS[name].parameters}
    ).map(lambda values: Cell.of(name, **values))
)


@unhurried
@given(cells, st.randoms(use_true_random=False))
def test_a_key_does_not_depend_on_the_order_of_axes(cell: Cell, shuffler: random.Random) -> None:
    pairs = list(cell.axes)
    shuffler.shuffle(pairs)
    assert join_key(cell.workload, dict(pairs)) == cell.key


@unhurried
@given(cells, st.data())
def test_a_key_stays_when_an_axis_at_its_default_is_left_out(cell: Cell, data: st.DataObject) -> None:
    at_default = sorted(name for name, value in cell.axes if value == PARAMETERS[name].default)
    left_out = data.draw(st.sets(st.sampled_from(at_default))) if at_default else set()
    rest = {name: value for name, value in cell.axes if name not in left_out}
    assert join_key(cell.workload, rest) == cell.key


@unhurried
@given(cells, st.data())
def test_a_cell_with_one_other_value_has_another_key(cell: Cell, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from(sorted(cell.settings)))
    value = data.draw(values_of(PARAMETERS[axis]))
    other = Cell.of(cell.workload, **(cell.settings | {axis: value}))
    assert (other.key == cell.key) == (value == cell[axis])


def test_a_value_with_a_space_cannot_pass_for_another_axis() -> None:
    folder = "folder:/photos model=cnn"
    assert Cell.of("train", dataset=folder).key != Cell.of("train", dataset="folder:/photos", model="cnn").key


def test_a_label_shows_the_usual_axes_and_what_is_not_default() -> None:
    assert Cell.of("train").label == "train mlp 64 cpu fp32"
    assert Cell.of("train", model="cnn", precision="bf16", compile="default").label == (
        "train cnn 64 cpu bf16 compile=default"
    )
    assert Cell.of("accuracy", epochs=3).label == "accuracy mlp 64 cpu fp32 3 epochs"


def test_a_label_of_the_input_shows_how_it_is_fed() -> None:
    assert Cell.of("input", loader="dataloader", dataset="mnist").label == "input dataloader 64 mnist"


def test_a_label_of_an_ngram_cell_shows_engine_order_and_smoothing() -> None:
    assert Cell.of("ngram_fit").label == "ngram_fit numba order 3 mle"
    scored = Cell.of("ngram_score", engine="torch", device="cuda", order=5, corpus="news.txt", tokens=1000)
    assert scored.label == "ngram_score torch order 5 mle cuda news.txt 1000 tokens"


def test_a_label_of_a_record_without_an_axis_leaves_it_out() -> None:
    assert label("train", {"model": "cnn", "batch_size": 64}) == "train cnn 64"


def test_two_cells_of_a_grid_have_different_labels() -> None:
    grid = [
        Cell.of("train", batch_size=batch_size, compile=mode, memory_format=layout, loader=loader)
        for batch_size in (64, 128)
        for mode in ("off", "default", "reduce-overhead")
        for layout in ("contiguous", "channels_last")
        for loader in ("resident", "dataloader")
    ]
    assert len({cell.label for cell in grid}) == len(grid)


def test_a_cell_is_hashable_and_equal_to_its_like() -> None:
    assert {Cell.of("train", batch_size=64), Cell.of("train")} == {Cell.of("train")}


def test_asking_a_cell_for_an_axis_that_it_has_not_is_an_error() -> None:
    with pytest.raises(KeyError, match="epochs"):
        Cell.of("train")["epochs"]
