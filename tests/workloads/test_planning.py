"""Which cells a run has, and how long they are said to take, on machines that are made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.grids import LARGE_MODELS, SMALL_MODELS
from models import MODELS
from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.settings import Settings
from trainmark.store.cell import WORKLOADS, Cell
from trainmark.store.parameters import PARAMETERS, TRAINING_PARAMETERS, Parameter, Value
from trainmark.workloads import SkipReason, entry_of
from trainmark.workloads.grid import GRIDS, Grid
from trainmark.workloads.planning import PlannedCell, Request, estimate_seconds, find_skip_reason, plan

FACTS = {
    name: ModelFacts(
        family=spec.family,
        dataset="synthetic" if spec.input_shape[1] == 224 else "mnist-5k",
        sample_flops=10_000_000,
        has_convolution=not name.startswith("mlp"),
    )
    for name, spec in MODELS.items()
}
PLAIN = Machine({}, ("cpu",), {"cpu": ("fp32",)}, {}, FACTS, cpu_flops=5e10, default_data="mnist-5k")
WITH_BF16 = replace(PLAIN, precisions={"cpu": ("fp32", "bf16", "fp16")})
WITH_CUDA = replace(
    PLAIN, devices=("cpu", "cuda"), precisions={"cpu": ("fp32",), "cuda": ("fp32", "tf32", "bf16", "fp16")}
)
MACHINES = {"plain": PLAIN, "with bf16": WITH_BF16, "with cuda": WITH_CUDA}
ON = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
EVERY_WORKLOAD = pytest.mark.parametrize("workload", ["train", "inference", "input", "accuracy"])


def asking(grid: str = "quick", seeds: int | None = None, **given: Sequence[Value]) -> Request:
    return Request(grid, {axis: tuple(values) for axis, values in given.items()}, seeds)


def cells(workload: str, machine: Machine, request: Request | None = None) -> list[Cell]:
    return [planned.cell for planned in plan(workload, request or Request(), machine)]


def varied(cell: Cell) -> dict[str, Value]:
    """The axes of a cell that are not at their default."""
    return {axis: value for axis, value in cell.axes if value != PARAMETERS[axis].default}


def values(found: Sequence[Cell], axis: str) -> set[Value]:
    return {cell[axis] for cell in found}


def test_models_of_a_grid_have_the_spelling_that_a_record_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRIDS, "own", Grid("own", models=("nets:small( 8, depth=2 )", "mlp")))
    assert Request("own").models == ("nets:small(8,depth=2)", "mlp")


# The quick grid


@pytest.mark.parametrize(
    ("machine", "computed"),
    [
        (PLAIN, [("cpu", "fp32")]),
        (WITH_BF16, [("cpu", "fp32"), ("cpu", "bf16")]),
        (WITH_CUDA, [("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "bf16")]),
    ],
    ids=MACHINES,
)
def test_the_quick_grid_trains_the_small_models_at_two_batch_sizes_in_fp32_and_bf16(
    machine: Machine, computed: list[tuple[str, str]]
) -> None:
    found = [
        cell for cell in cells("train", machine) if cell["compile"] == "off" and cell["memory_format"] == "contiguous"
    ]
    wanted = [
        Cell.of("train", model=model, batch_size=batch_size, device=device, precision=precision)
        for model in ("mlp", "mlp-residual", "cnn", "resnet20")
        for device, precision in computed
        for batch_size in ((16, 64) if (model, device) == ("resnet20", "cpu") else (64, 256))
    ]
    assert sorted(cell.key for cell in found) == sorted(cell.key for cell in wanted)


def test_the_quick_grid_trains_what_has_convolutions_in_the_other_layout_too() -> None:
    found = [cell for cell in cells("train", PLAIN) if cell["memory_format"] == "channels_last"]
    wanted = [Cell.of("train", model=model, memory_format="channels_last") for model in ("cnn", "resnet20")]
    assert found == wanted
    for asked in ({"batch_size": [128]}, {"memory_format": ["contiguous"]}):
        assert values(cells("train", PLAIN, asking(**asked)), "memory_format") == {"contiguous"}


@pytest.mark.parametrize(
    ("machine", "compiled"),
    [
        (PLAIN, [("cpu", "mlp")]),
        (WITH_BF16, [("cpu", "mlp")]),
        (WITH_CUDA, [("cpu", "mlp"), ("cuda", "mlp"), ("cuda", "cnn"), ("cuda", "resnet20")]),
    ],
    ids=MACHINES,
)
def test_the_quick_grid_compiles_one_cell_of_each_family_that_compiles_quickly(
    machine: Machine, compiled: list[tuple[str, str]]
) -> None:
    found = [varied(cell) for cell in cells("train", machine) if cell["compile"] != "off"]
    wanted = [varied(Cell.of("train", compile="default", device=device, model=model)) for device, model in compiled]
    assert found == wanted


def test_the_quick_grid_infers_with_every_small_model() -> None:
    found = cells("inference", WITH_CUDA)
    wanted = [
        Cell.of(
            "inference",
            model=model,
            batch_size=64 if (model, device) == ("resnet20", "cpu") else 256,
            device=device,
            precision=precision,
        )
        for model in SMALL_MODELS
        for device, precision in (("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "bf16"))
    ]
    assert [cell for cell in found if cell["grad_mode"] == "inference_mode"] == wanted


def test_the_grid_infers_with_its_first_model_under_no_grad_too() -> None:
    quick, full = (
        [cell for cell in cells("inference", PLAIN, asking(grid)) if cell["grad_mode"] == "no_grad"]
        for grid in ("quick", "full")
    )
    assert quick == [Cell.of("inference", model="mlp", batch_size=256, grad_mode="no_grad")]
    assert [cell["batch_size"] for cell in full] == [16, 64, 256, 1024]
    assert {(cell["model"], cell["precision"], cell["compile"]) for cell in full} == {("mlp", "fp32", "off")}


def test_both_ways_without_gradients_can_be_asked_for() -> None:
    found = cells("inference", PLAIN, asking(model=["cnn"], grad_mode=["no_grad", "inference_mode"]))
    assert [cell["grad_mode"] for cell in found] == ["no_grad", "inference_mode"]


@ON
def test_the_quick_grid_has_the_accuracy_of_what_trains_quickly_from_resident_data(machine: Machine) -> None:
    found = plan("accuracy", Request(), machine)
    wanted = [
        (Cell.of("accuracy", model=model, loader="resident", epochs=epochs, device=device), seeds)
        for model, epochs, seeds in (("mlp", 10, 2), ("mlp-residual", 10, 2), ("cnn", 2, 2))
        for device in machine.devices
    ]
    assert [(item.cell, item.seeds) for item in found] == wanted
    named = plan("accuracy", asking(model=["resnet20"]), machine)
    assert [(item.cell["model"], item.cell["epochs"], item.seeds) for item in named] == [("resnet20", 1, 2)] * len(
        machine.devices
    )


@ON
def test_the_quick_grid_has_an_answer_for_every_small_model_and_a_comparison_has_none(machine: Machine) -> None:
    found = cells("answer", machine)
    wanted = [
        Cell.of("answer", model=model, loader="resident", epochs=epochs, device=device, lr_scaling="sqrt")
        for model, epochs in (("mlp", 10), ("mlp-residual", 10), ("cnn", 2), ("resnet20", 1))
        for device in machine.devices
    ]
    assert found == wanted
    assert cells("answer", machine, Request(compares=True)) == []


def test_made_up_data_have_no_answer() -> None:
    assert cells("answer", PLAIN, asking(model=["resnet50"])) == []
    (asked,) = plan("answer", asking(model=["mlp"], dataset=["synthetic"]), PLAIN)
    assert asked.skip_reason == "synthetic labels are random: no model is better than another"


@ON
def test_the_quick_grid_has_both_ways_of_feeding_on_every_device(machine: Machine) -> None:
    found = cells("input", machine)
    wanted = {
        Cell.of("input", loader=loader, device=device)
        for loader in ("resident", "dataloader")
        for device in machine.devices
    }
    assert set(found) == wanted
    assert len(found) == len(wanted)


OWN = ModelFacts("tasks:words", "own-data", None, has_convolution=False)


@pytest.mark.parametrize(
    ("models", "given", "wanted"),
    [
        ({"tasks:words": OWN}, {}, {"tasks:words"}),
        ({"mlp": FACTS["mlp"], "tasks:words": OWN}, {}, {"mnist-5k", "tasks:words"}),
        ({"mlp": FACTS["mlp"], "tasks:words": OWN}, {"model": ("tasks:words",)}, {"tasks:words"}),
        ({"mlp": FACTS["mlp"], "tasks:words": OWN}, {"dataset": ("own-data",)}, {"tasks:words"}),
        ({"tasks:words": OWN}, {"dataset": ("synthetic", "rows:rows")}, {"synthetic", "rows:rows"}),
        ({"mlp": FACTS["mlp"]}, {"dataset": ("own-data",)}, set()),
        ({}, {}, {"mnist-5k"}),
    ],
)
def test_the_input_of_a_task_is_its_own_data_by_the_name_of_the_task(
    models: dict[str, ModelFacts],
    given: dict[str, tuple[str, ...]],
    wanted: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(GRIDS, "own", Grid("own"))
    machine = replace(PLAIN, models=models)
    assert values(cells("input", machine, asking("own", **given)), "dataset") == wanted


@ON
@EVERY_WORKLOAD
@pytest.mark.parametrize("grid", ["quick", "full"])
def test_no_grid_has_a_cell_twice_or_one_that_cannot_run(machine: Machine, workload: str, grid: str) -> None:
    planned = plan(workload, asking(grid), machine)
    assert planned
    assert set(Counter(item.cell.key for item in planned).values()) == {1}
    assert {item.skip_reason for item in planned} == {None}


# The full grid


@ON
@pytest.mark.parametrize("workload", ["train", "inference", "input"])
def test_the_full_grid_has_all_that_the_quick_one_has_and_more(machine: Machine, workload: str) -> None:
    quick, full = (set(cells(workload, machine, asking(grid))) for grid in ("quick", "full"))
    assert quick < full


def test_the_full_grid_varies_all_that_the_machine_can_do() -> None:
    found = cells("train", WITH_CUDA, asking("full"))
    assert values(found, "model") == {*SMALL_MODELS, *LARGE_MODELS}
    assert values(found, "compile") == set(PARAMETERS["compile"].values)
    assert values(found, "memory_format") == set(PARAMETERS["memory_format"].values)
    on = {device: [cell for cell in found if cell["device"] == device] for device in ("cpu", "cuda")}
    assert values(on["cpu"], "batch_size") == {16, 64, 256, 1024}
    assert values(on["cuda"], "batch_size") == {64, 256, 1024, 4096}
    assert values(on["cpu"], "precision") == {"fp32"}
    assert values(on["cuda"], "precision") == {"fp32", "tf32", "bf16", "fp16"}
    assert values(cells("input", WITH_CUDA, asking("full")), "batch_size") == {64, 256, 1024}


def test_the_full_grid_trains_as_long_as_the_lecture_in_every_precision() -> None:
    planned = plan("accuracy", asking("full"), WITH_BF16)
    assert {(item.cell["epochs"], item.seeds) for item in planned} == {GRIDS["full"].other_training} == {(10, 3)}
    assert values([item.cell for item in planned], "precision") == {"fp32", "bf16", "fp16"}


@pytest.mark.parametrize("grid", ["quick", "full"])
def test_models_for_224_pixels_are_fed_synthetic_images_and_have_no_accuracy(grid: str) -> None:
    for workload in ("train", "inference"):
        found = cells(workload, PLAIN, asking(grid, model=["resnet50", "mlp"]))
        assert {(cell["model"], cell["dataset"]) for cell in found} == {("resnet50", "synthetic"), ("mlp", "mnist-5k")}
    assert values(cells("accuracy", PLAIN, asking(grid, model=["resnet50", "mlp"])), "model") == {"mlp"}


# What the command line asks for


@EVERY_WORKLOAD
@pytest.mark.parametrize("grid", ["quick", "full"])
@pytest.mark.parametrize(
    ("axis", "asked"),
    [
        ("model", ("resnet20",)),
        ("model", ("cnn", "mlp")),
        ("batch_size", (32,)),
        ("batch_size", (128, 8)),
        ("loader", ("dataloader",)),
        ("device", ("cuda",)),
        ("precision", ("fp32",)),
        ("compile", ("off",)),
        ("memory_format", ("contiguous",)),
        ("dataset", ("mnist",)),
        ("epochs", (3, 1)),
    ],
)
def test_an_axis_that_is_given_has_the_values_given_and_no_others(
    workload: str, grid: str, axis: str, asked: tuple[Value, ...]
) -> None:
    found = cells(workload, WITH_CUDA, asking(grid, **{axis: asked}))
    if axis in WORKLOADS[workload].parameters:
        assert values(found, axis) == set(asked)
    else:
        assert found == cells(workload, WITH_CUDA, asking(grid))


def test_given_axes_leave_one_cell_where_each_has_one_value() -> None:
    request = asking(model=["mlp"], batch_size=[32], device=["cpu"], precision=["fp32"], compile=["off"])
    assert [varied(cell) for cell in cells("train", WITH_CUDA, request)] == [{"batch_size": 32}]


def test_a_given_compile_mode_is_taken_by_every_cell() -> None:
    found = cells("train", PLAIN, asking(compile=["off", "default"]))
    assert Counter(cell["compile"] for cell in found) == {"off": 8, "default": 8}


def test_cells_are_in_the_order_in_which_models_are_asked_for() -> None:
    found = cells("inference", PLAIN, asking(model=["cnn", "mlp"]))
    assert [cell["model"] for cell in found] == ["cnn", "mlp"]


def test_the_grid_compiles_at_one_batch_size_of_those_given() -> None:
    found = cells("train", PLAIN, asking(model=["mlp"], batch_size=[16, 1024]))
    assert [cell["batch_size"] for cell in found if cell["compile"] == "default"] == [16]


def test_the_first_model_of_a_family_is_compiled_for_it() -> None:
    found = cells("train", PLAIN, asking(model=["mlp-residual", "mlp"]))
    assert [cell["model"] for cell in found if cell["compile"] == "default"] == ["mlp-residual"]


def test_a_model_of_ones_own_is_planned_with_the_facts_that_are_known() -> None:
    machine = replace(PLAIN, models={"mine:net": ModelFacts("mine:net", "mnist-5k", None, has_convolution=True)})
    for workload in ("train", "inference", "accuracy"):
        assert values(cells(workload, machine, asking(model=["mine:net"])), "model") == {"mine:net"}


@pytest.mark.parametrize("seeds", [1, 7])
def test_the_number_of_seeds_asked_for_goes_before_the_grids(seeds: int) -> None:
    assert {item.seeds for item in plan("accuracy", asking(seeds=seeds), PLAIN)} == {seeds}


def test_seeds_are_for_accuracy_alone() -> None:
    for workload in ("train", "inference", "input"):
        assert {item.seeds for item in plan(workload, asking(seeds=5), PLAIN)} == {1}


# Skip reasons


def skip_reason(cell: Cell, machine: Machine) -> SkipReason | None:
    return find_skip_reason(entry_of(cell.workload), cell, machine)


@pytest.mark.parametrize(
    ("cell", "axis", "reason"),
    [
        (Cell.of("train", device="cuda"), "device", "this machine has no cuda device; it has cpu"),
        (Cell.of("input", device="mps"), "device", "this machine has no mps device; it has cpu"),
        (
            Cell.of("train", precision="bf16"),
            "precision",
            "cpu of this machine does not compute in bf16; it does in fp32",
        ),
        (Cell.of("inference", compile="default"), "compile", "no compiler here"),
        (Cell.of("train", memory_format="channels_last"), "memory_format", "mlp has no convolution"),
        (Cell.of("accuracy", dataset="synthetic"), "dataset", "they have no accuracy"),
    ],
)
def test_a_skip_reason_names_its_parameter_and_says_why(cell: Cell, axis: str, reason: str) -> None:
    machine = replace(PLAIN, compile_obstacle={"cpu": "no compiler here"})
    found = skip_reason(cell, machine)
    assert found is not None
    assert found.parameter == axis
    assert reason in found.sentence


@pytest.mark.parametrize(
    "cell",
    [
        Cell.of("train"),
        Cell.of("train", model="cnn", memory_format="channels_last"),
        Cell.of("train", compile="default", device="cuda", precision="fp16"),
        Cell.of("train", dataset="synthetic"),
        Cell.of("input", device="cuda", dataset="synthetic"),
        Cell.of("accuracy"),
    ],
)
def test_what_can_run_has_no_skip_reason(cell: Cell) -> None:
    machine = replace(WITH_CUDA, compile_obstacle={"cpu": "no compiler here"})
    assert skip_reason(cell, machine) is None


@pytest.mark.parametrize(
    ("workload", "given"),
    [
        ("train", {"device": ("cuda",)}),
        ("input", {"device": ("cuda",)}),
        ("train", {"precision": ("bf16",)}),
        ("train", {"compile": ("default",)}),
        ("inference", {"memory_format": ("channels_last",), "model": ("mlp",)}),
        ("accuracy", {"dataset": ("synthetic",)}),
    ],
)
def test_what_was_asked_for_and_cannot_run_is_planned_with_its_skip_reason(
    workload: str, given: dict[str, tuple[Value, ...]]
) -> None:
    machine = replace(PLAIN, compile_obstacle={"cpu": "no compiler here"})
    planned = plan(workload, asking(**given), machine)
    assert planned
    assert all(item.skip_reason for item in planned)


def test_what_the_grid_alone_would_make_and_cannot_run_is_left_out() -> None:
    machine = replace(PLAIN, compile_obstacle={"cpu": "no compiler here"})
    assert values(cells("train", machine), "compile") == {"off"}
    assert values(cells("train", machine, asking("full")), "compile") == {"off"}
    full = cells("train", machine, asking("full"))
    assert "mlp" not in {cell["model"] for cell in full if cell["memory_format"] == "channels_last"}
    assert values(cells("accuracy", machine, asking("full")), "dataset") == {"mnist-5k"}


def test_of_two_devices_the_one_that_lacks_the_precision_has_the_skip_reason() -> None:
    planned = plan("inference", asking(model=["mlp"], precision=["bf16"]), WITH_CUDA)
    assert [(item.cell["device"], item.skip_reason is None) for item in planned] == [("cpu", False), ("cuda", True)]


# What the entries of parameters say of where they mean nothing

DECLARING = [
    parameter
    for parameter in PARAMETERS.values()
    if parameter.name in TRAINING_PARAMETERS
    and (parameter.devices or parameter.needs or parameter.excludes or parameter.own_part)
]
BESIDE = pytest.mark.parametrize("parameter", DECLARING, ids=lambda parameter: parameter.name)


def other_value(parameter: Parameter) -> Value:
    """One that is not the default."""
    if parameter.values:
        return next(value for value in parameter.values if value != parameter.default)
    return int(parameter.default) + 1


def cell_with(parameter: Parameter, **values: Value) -> Cell:
    device = parameter.devices[0] if parameter.devices else "cpu"
    taken = {"device": device, **parameter.needs, parameter.name: other_value(parameter), **values}
    return Cell.of("train", model="cnn", **taken)


@BESIDE
def test_a_value_with_all_that_it_needs_is_measured(parameter: Parameter) -> None:
    assert skip_reason(cell_with(parameter), WITH_CUDA) is None


@BESIDE
def test_a_value_that_means_nothing_in_a_cell_is_skipped_with_one_sentence(parameter: Parameter) -> None:
    asked = f"{parameter.option} {other_value(parameter)}"
    found = {}
    if parameter.devices:
        found["changes nothing on the cpu: it is for"] = skip_reason(cell_with(parameter, device="cpu"), WITH_CUDA)
    for other in parameter.needs:
        default = PARAMETERS[other].default
        told = f"means nothing with {PARAMETERS[other].option} {default}"
        found[told] = skip_reason(cell_with(parameter, **{other: default}), WITH_CUDA)
    for other in parameter.excludes:
        value = other_value(PARAMETERS[other])
        told = f"does not go with {PARAMETERS[other].option} {value}: "
        found[told] = skip_reason(cell_with(parameter, **{other: value}), WITH_CUDA)
    if parameter.own_part:
        task = replace(FACTS["cnn"], own_parts=(parameter.own_part,))
        told = f"the task says its own {parameter.own_part}: "
        found[told] = skip_reason(cell_with(parameter), replace(WITH_CUDA, models={"cnn": task}))
    for told, reason in found.items():
        assert reason is not None, told
        assert told in reason.sentence
        assert asked in reason.sentence


@BESIDE
@pytest.mark.parametrize("workload", ["train", "inference", "input", "accuracy"])
def test_what_a_parameter_needs_is_taken_where_a_call_says_nothing_of_it(parameter: Parameter, workload: str) -> None:
    if parameter.name not in WORKLOADS[workload].parameters:
        return
    device = parameter.devices[:1] or ("cpu",)
    given: dict[str, Sequence[Value]] = {parameter.name: (other_value(parameter),), "device": device, "model": ("cnn",)}
    planned = plan(workload, asking(**given), WITH_CUDA)
    assert planned
    assert {one.skip_reason for one in planned} == {None}
    for other, value in parameter.needs.items():
        assert {one.cell[other] for one in planned} == {value}


def test_what_is_named_beside_goes_before_what_is_needed() -> None:
    planned = plan("input", asking(prefetch=[2, 4], workers=[0, 1]), PLAIN)
    skipped = {(one.cell["workers"], one.cell["prefetch"]) for one in planned if one.skip_reason}
    assert len(planned) == 4
    assert skipped == {(0, 4)}
    assert {one.cell["loader"] for one in planned} == {"dataloader"}


@ON
@EVERY_WORKLOAD
@pytest.mark.parametrize("grid", ["quick", "full"])
def test_no_grid_varies_what_is_asked_for_alone(machine: Machine, workload: str, grid: str) -> None:
    alone = {"loader", "model", "dataset", "batch_size", "device", "precision", "compile", "memory_format"}
    for cell in cells(workload, machine, asking(grid)):
        assert set(varied(cell)) <= {*alone, "epochs", "grad_mode"}


def test_a_parameter_of_training_is_none_of_an_inference() -> None:
    for name in ("optimizer", "optimizer_implementation", "accumulate", "checkpointing"):
        assert name in WORKLOADS["train"].parameters
        assert name in WORKLOADS["accuracy"].parameters
        assert name not in WORKLOADS["inference"].parameters


# The estimate


def planned(workload: str, **axes: Value) -> PlannedCell:
    return PlannedCell(Cell.of(workload, **axes))


@pytest.mark.parametrize("workload", ["train", "inference"])
def test_a_larger_batch_is_said_to_take_longer(workload: str) -> None:
    times = [estimate_seconds(planned(workload, batch_size=size), PLAIN, Settings()) for size in (16, 64, 256, 1024)]
    assert times == sorted(set(times))


@ON
@EVERY_WORKLOAD
@pytest.mark.parametrize("grid", ["quick", "full"])
def test_every_estimate_is_above_zero(machine: Machine, workload: str, grid: str) -> None:
    assert all(estimate_seconds(item, machine, Settings()) > 0 for item in plan(workload, asking(grid), machine))


def test_a_cell_with_a_skip_reason_takes_no_time() -> None:
    assert estimate_seconds(replace(planned("train"), skip_reason="no"), PLAIN, Settings()) == 0


def test_a_cell_takes_no_less_than_the_rounds_that_are_asked_for() -> None:
    short, long = (
        estimate_seconds(planned("train"), PLAIN, Settings(max_seconds=seconds, min_rounds=1)) for seconds in (1, 20)
    )
    assert short > 1
    assert long - short == pytest.approx(1.5 * 19)


def test_more_rounds_of_a_slow_step_take_longer() -> None:
    few, many = (
        estimate_seconds(planned("train", batch_size=100_000), PLAIN, Settings(min_rounds=rounds)) for rounds in (6, 12)
    )
    assert many > 1.4 * few


def test_a_compiled_cell_takes_longer_than_an_eager_one() -> None:
    eager, compiled = (
        estimate_seconds(planned("train", compile=mode), PLAIN, Settings()) for mode in ("off", "default")
    )
    assert compiled > eager + 5


def test_training_takes_longer_than_inference_and_bf16_less_than_fp32() -> None:
    train, inference, bf16 = (
        estimate_seconds(planned(workload, batch_size=10_000, precision=precision), WITH_BF16, Settings())
        for workload, precision in (("train", "fp32"), ("inference", "fp32"), ("train", "bf16"))
    )
    assert train > inference
    assert train > bf16


def test_an_accuracy_takes_its_epochs_times_its_seeds() -> None:
    def above(epochs: int, seeds: int) -> float:
        item = replace(planned("accuracy", epochs=epochs), seeds=seeds)
        return estimate_seconds(item, PLAIN, Settings()) - estimate_seconds(replace(item, seeds=0), PLAIN, Settings())

    assert above(1, 1) > 0
    assert above(2, 3) == pytest.approx(6 * above(1, 1))


def test_a_model_of_unknown_size_has_an_estimate() -> None:
    facts = {"mine:net": ModelFacts("mine:net", "mnist-5k", None, has_convolution=True)}
    assert estimate_seconds(planned("train", model="mine:net"), replace(PLAIN, models=facts), Settings()) > 0


@pytest.mark.parametrize("workload", ["train", "inference", "accuracy", "capacity"])
def test_a_model_of_the_grid_that_a_side_does_not_have_is_left_out(workload: str) -> None:
    """An older side of a comparison knows its own grid, and may lack what it names."""
    lacking = replace(PLAIN, models={name: facts for name, facts in FACTS.items() if name != "cnn"})
    request = Request(only="capacity" if workload == "capacity" else None)
    untrained = {"resnet20"} if workload == "accuracy" else set()
    assert values(cells(workload, lacking, request), "model") == set(SMALL_MODELS) - {"cnn"} - untrained
    nothing = replace(request, given={"model": ("nowhere:factory",)})
    assert cells(workload, lacking, nothing) == []


# Of a GPU


def test_a_cell_of_a_gpu_has_its_context_and_its_energy_to_pay_for() -> None:
    cpu, gpu, unpowered = (
        estimate_seconds(planned("train", device=device), WITH_CUDA, Settings(energy=energy))
        for device, energy in (("cpu", True), ("cuda", True), ("cuda", False))
    )
    assert gpu > cpu + 5  # a process with a context takes seconds, and so do the windows of energy
    assert gpu - unpowered == pytest.approx(4)  # two windows of two seconds


def test_each_mode_of_the_compiler_takes_its_own_time() -> None:
    modes = ("off", "default", "reduce-overhead", "max-autotune")
    for device in ("cpu", "cuda"):
        found = [
            estimate_seconds(planned("train", compile=mode, device=device), WITH_CUDA, Settings()) for mode in modes
        ]
        assert found == sorted(found)
        assert found[3] > 2 * found[1]


def test_what_is_measured_once_and_quickly_is_estimated_on_every_device() -> None:
    for workload in ("accuracy", "capacity"):
        cpu, gpu = (
            estimate_seconds(planned(workload, device=device), WITH_CUDA, Settings()) for device in ("cpu", "cuda")
        )
        assert gpu > 0
        assert workload != "capacity" or gpu > cpu


def test_kernels_are_tried_out_for_few_cells_of_the_full_grid() -> None:
    full = [cell for workload in ("train", "inference") for cell in cells(workload, WITH_CUDA, asking("full"))]
    tuned = [cell for cell in full if cell["compile"] == "max-autotune"]
    assert 0 < len(tuned) < len(full) / 20
    assert {cell.workload for cell in tuned} == {"train"}
    assert values(tuned, "precision") == {"fp32", "bf16"}
    assert {(cell["device"], cell["batch_size"]) for cell in tuned} == {("cpu", 64), ("cuda", 256)}
    asked = cells("inference", WITH_CUDA, asking("full", compile=["max-autotune"], precision=["fp16"], device=["cuda"]))
    assert {cell["compile"] for cell in asked} == {"max-autotune"}  # who names it gets all of it


def test_the_full_grid_of_given_batch_sizes_tries_kernels_at_one_of_them() -> None:
    for sizes, tuned in (((32,), 32), ((32, 128, 512), 128)):
        found = cells("train", WITH_CUDA, asking("full", batch_size=sizes))
        assert {cell["batch_size"] for cell in found if cell["compile"] == "max-autotune"} == {tuned}
