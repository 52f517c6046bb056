"""Which cells a run has: the quick and the full grid, what the command line asks for, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from bench.ngram import grid as ngram_grid
from trainmark.measure.machine import Machine
from bench.ngram.grid import NGRAM_AXES, NGRAM_WORKLOADS
from trainmark.measure.settings import Settings
from trainmark.store.cell import AXES, WORKLOADS, Cell, Value

SMALL_MODELS = ("mlp", "mlp-residual", "cnn", "resnet20")
LARGE_MODELS = ("resnet18-cifar", "resnet50-cifar", "resnet18", "resnet50", "resnet152")
GRIDS = ("quick", "full")

# Epochs and seeds that fit the quick grid into three minutes on two cores; the full grid takes the lecture's 10.
QUICK_TRAINING = {"mlp": (10, 2), "cnn": (2, 2)}
QUICK_TRAINING_OTHERS = (1, 2)
QUICK_BATCH_SIZES = {("cpu", "resnet"): (16, 64)}  # device and family: a CPU core takes a second for 256
QUICK_BATCH_SIZES_OTHERS = (64, 256)
FULL_TRAINING = (10, 3)
MODEL_AXES = set(AXES) - NGRAM_AXES - {"device"}
QUICK_COMPILED = ("mlp", "cnn")  # others take more than 20 s to compile on a CPU core

# Measured on one core of a 2.6 GHz Xeon: docs/measuring.md, "The estimate".
SHARE_OF_PRODUCT_SPEED = 0.4
OVERHEAD_SECONDS = 0.8
COMPILE_SECONDS = 15.0
LECTURE_EPOCHS = {"quick": 2, "full": 10}  # of its CNN
LECTURE_SECONDS = {"mnist-5k": 15.0, "mnist": 120.0}  # of the digits it can be about, with two epochs and with one
CAPACITY_SECONDS = 60.0  # twenty attempts; nobody knows beforehand how large they get


@dataclass(frozen=True)
class Request:
    """What the command line says of the cells.

    Attributes:
        grid: ``quick`` or ``full``.
        given: Axis -> the values asked for, for the axes that were.
        seeds: Trainings of an accuracy cell; None for the grid's own number.
        capacity: Whether to look for the largest batches, and for nothing else.
    """

    grid: str = "quick"
    given: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    seeds: int | None = None
    capacity: bool = False

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the grid, or those asked for."""
        asked = self.given.get("model")
        if asked:
            return tuple(str(name) for name in asked)
        return SMALL_MODELS if self.grid == "quick" else SMALL_MODELS + LARGE_MODELS


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a run.

    Attributes:
        cell: What to measure.
        seeds: Trainings, for an accuracy cell.
        obstacle: Why this machine cannot run it; None where it can.
    """

    cell: Cell
    seeds: int = 1
    obstacle: str | None = None


def plan(workload: str, request: Request, machine: Machine) -> list[PlannedCell]:
    """The cells of one workload, each once.

    A cell that the machine cannot run is in the plan, with its obstacle, where the command line
    asked for what is in the way; where only the grid did, it is left out.
    """
    if (workload == "capacity") != request.capacity or not _is_meant(workload, request):
        return []
    if _is_beside_the_point(workload, request):
        return []
    given = request.given
    planned: dict[Cell, PlannedCell] = {}
    for values in _combinations(workload, request, machine):
        cell = Cell.of(workload, **values)
        blamed, obstacle = find_obstacle(cell, machine)
        if obstacle is None or blamed in given:
            planned.setdefault(cell, PlannedCell(cell, _seeds(cell, request, machine), obstacle))
    return list(planned.values())


def _is_meant(workload: str, request: Request) -> bool:
    """Whether a call is about the workload: the lecture is meant by none that asks for what it does not take."""
    return workload != "lecture" or set(request.given) <= set(WORKLOADS[workload].axes)


def _is_beside_the_point(workload: str, request: Request) -> bool:
    """Whether the command line speaks of n-gram cells and this is none, or of models only and this is one."""
    asked = set(request.given)
    own, others = (NGRAM_AXES, MODEL_AXES) if workload in NGRAM_WORKLOADS else (MODEL_AXES, NGRAM_AXES)
    return bool(asked & others) and not asked & own


def _combinations(workload: str, request: Request, machine: Machine) -> Iterator[dict[str, Value]]:
    taken = WORKLOADS[workload].axes
    given = {name: values for name, values in request.given.items() if name in taken}
    if workload == "lecture":
        lecture: dict[str, Sequence[Value]] = {"device": ("cpu",), "epochs": (LECTURE_EPOCHS[request.grid],)}
        datasets = [name for name in given.get("dataset", ("mnist-5k",)) if name in LECTURE_SECONDS]
        yield from _product(taken, {**lecture, **given, "dataset": datasets})
        return
    if workload in NGRAM_WORKLOADS:
        yield from ngram_grid.combinations(workload, request.grid == "full", given, machine)
        return
    if "model" not in taken:
        yield from _product(taken, _input_choices(request, machine) | given)
        return
    for model, device in product(request.models, request.given.get("device", machine.devices)):
        choices = _model_choices(workload, model, str(device), request, machine) | given
        choices |= {"model": (model,), "device": (device,)}
        yield from _product(taken, choices)
        if workload == "train" and "compile" not in choices and _compiles_quickly(model, str(device), request, machine):
            smallest = {name: (min(values) if name == "batch_size" else values[0],) for name, values in choices.items()}
            yield from _product(taken, smallest | {"compile": ("default",)})


def _input_choices(request: Request, machine: Machine) -> dict[str, Sequence[Value]]:
    batch_sizes = (64, 256, 1024) if request.grid == "full" else (64,)
    return {"loader": ("resident", "dataloader"), "device": machine.devices, "batch_size": batch_sizes}


def _model_choices(
    workload: str, model: str, device: str, request: Request, machine: Machine
) -> dict[str, Sequence[Value]]:
    """The grid's values of the axes that it varies, for one model on one device."""
    dataset = (machine.models[model].dataset,)
    precisions = machine.precisions.get(device, ("fp32",))
    if workload == "capacity":
        return {"dataset": dataset, "precision": [name for name in precisions if name in ("fp32", "bf16")]}
    if workload == "accuracy":
        return {
            "dataset": dataset,
            "loader": ("dataloader",),  # the lecture's
            "epochs": (_training(model, request, machine)[0],),
            "precision": precisions if request.grid == "full" else ("fp32",),
        }
    if request.grid == "quick":
        family = machine.models[model].family
        batch_sizes = QUICK_BATCH_SIZES.get((device, family), QUICK_BATCH_SIZES_OTHERS)
        return {
            "dataset": dataset,
            "batch_size": batch_sizes if workload == "train" else batch_sizes[-1:],
            "precision": [name for name in precisions if name in ("fp32", "bf16")],
        }
    return {
        "dataset": dataset,
        "batch_size": (16, 64, 256, 1024) if device == "cpu" else (64, 256, 1024, 4096),
        "precision": precisions,
        "compile": AXES["compile"].values,
        "memory_format": AXES["memory_format"].values,
    }


def _compiles_quickly(model: str, device: str, request: Request, machine: Machine) -> bool:
    """Whether the quick grid compiles this model: one of each family, where it takes seconds."""
    family = machine.models[model].family
    first = next(name for name in request.models if machine.models[name].family == family)
    return model == first and (device != "cpu" or family in QUICK_COMPILED)


def _product(taken: Sequence[str], choices: Mapping[str, Sequence[Value]]) -> Iterator[dict[str, Value]]:
    names = [name for name in taken if name in choices]
    for values in product(*(choices[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def _training(model: str, request: Request, machine: Machine) -> tuple[int, int]:
    """Epochs and seeds that the grid gives to a model's accuracy."""
    if request.grid == "full":
        return FULL_TRAINING
    return QUICK_TRAINING.get(machine.models[model].family, QUICK_TRAINING_OTHERS)


def _seeds(cell: Cell, request: Request, machine: Machine) -> int:
    if cell.workload != "accuracy":
        return 1
    return request.seeds or _training(str(cell["model"]), request, machine)[1]


def find_obstacle(cell: Cell, machine: Machine) -> tuple[str | None, str | None]:
    """Which axis the machine cannot serve, and why; (None, None) where it can run the cell."""
    device = str(cell["device"])
    if device not in machine.devices:
        return "device", f"this machine has no {device} device; it has {', '.join(machine.devices)}"
    find = ngram_grid.find_obstacle if cell.workload in NGRAM_WORKLOADS else _find_model_obstacle
    return find(cell, machine)


def _find_model_obstacle(cell: Cell, machine: Machine) -> tuple[str | None, str | None]:
    values, device = cell.settings, str(cell["device"])
    precision = values.get("precision", "fp32")
    if precision not in machine.precisions[device]:
        has = ", ".join(machine.precisions[device])
        return "precision", f"the {device} of this machine does not compute in {precision}; it does in {has}"
    if values.get("compile", "off") != "off" and device in machine.compile_obstacle:
        return "compile", machine.compile_obstacle[device]
    if values.get("memory_format") == "channels_last" and not machine.models[str(values["model"])].has_convolution:
        return "memory_format", f"{values['model']} has no convolution: a memory format changes nothing"
    if cell.workload == "accuracy" and values["dataset"] == "synthetic":
        return "dataset", "synthetic labels are random: they have no accuracy"
    return None, None


def estimate_seconds(planned: PlannedCell, machine: Machine, settings: Settings) -> float:
    """Roughly how long a cell takes, where no stored run tells.

    From the model's operations and the speed of one matrix product, so within a factor of two;
    steps on accelerators are taken to cost nothing beside the fixed parts.
    """
    if planned.obstacle:
        return 0.0
    cell = planned.cell
    if cell.workload == "capacity":
        return CAPACITY_SECONDS
    if cell.workload == "lecture":
        return LECTURE_SECONDS[str(cell["dataset"])]
    if cell.workload in NGRAM_WORKLOADS:
        return ngram_grid.estimate_seconds(cell, settings)
    step = _step_seconds(cell, machine)
    if cell.workload == "accuracy":
        return OVERHEAD_SECONDS + planned.seeds * int(cell["epochs"]) * 4000 / int(cell["batch_size"]) * step
    rounds = max(settings.min_rounds * step, settings.max_seconds)
    compiling = COMPILE_SECONDS if cell.settings.get("compile", "off") != "off" else 0.0
    return OVERHEAD_SECONDS + compiling + 5 * step + 1.5 * rounds


def _step_seconds(cell: Cell, machine: Machine) -> float:
    values = cell.settings
    flops = machine.models[str(values["model"])].sample_flops if "model" in values else 0
    if values["device"] != "cpu" or not flops:
        return 2e-3
    passes = 1 if cell.workload == "inference" else 3  # backward costs twice the forward pass
    faster = 1.7 if values["precision"] == "bf16" else 1.0
    work = passes * flops * int(values["batch_size"]) / (SHARE_OF_PRODUCT_SPEED * machine.cpu_flops * faster)
    return 2e-3 + work
