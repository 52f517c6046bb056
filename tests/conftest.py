"""Stored runs as they would be measured: 31 cells of four models, with every status that a run usually has."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.lecture.findings import Claim, Lecture, SmallImage, write_lecture
from trainmark.store.cell import Cell
from trainmark.store.metrics import METRICS
from trainmark.store.pairs import Pair, PairedRun, Replicate
from trainmark.store.record import AGAIN, Record, Run, RunFacts, run_section
from trainmark.suite import open_suite

open_suite(Path(__file__).parents[1])  # its workloads, parameters and metrics are those of the tests

ENVIRONMENT = {
    "fingerprint": "1a2b3c4d5e6f",
    "system": "Linux",
    "machine": "x86_64",
    "cpu": "Intel(R) Xeon(R) Processor",
    "cpu_cores": 2,
    "memory_gib": 24,
    "gpus": [],
    "driver": None,
    "python": "3.11.7",
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "cuda": None,
    "cudnn": None,
    "cpu_capability": "AVX512",
    "environment_variables": {"OMP_NUM_THREADS": "1"},
}
COMMIT = {"id": "1a2b3c4d5e6f7a8b9c0d", "dirty": False, "branch": "main", "time": "2026-01-01T11:40:00+00:00"}

# Parameters, seconds of a training step at batch 64 in fp32, FLOP of a step a sample, final accuracy.
MODELS = {
    "mlp": (270_346, 1.3e-3, 1.6e6, 0.936),
    "mlp-residual": (270_346, 1.6e-3, 1.6e6, 0.941),
    "cnn": (1_070_794, 47.3e-3, 40e6, 0.972),
    "resnet20": (272_186, 210e-3, 243e6, 0.968),
}
SPEED = {"fp32": 1.0, "bf16": 0.62}


def example_run(name: str = "0001_1a2b3c_20260101_120000", *, seed: int = 0, slower: float = 1.0) -> Run:
    """A complete run: training, inference, accuracy and input; two compiled cells, one oom, timeout, skipped each."""
    noise = random.Random(seed)
    records = [
        _steps(noise, workload, model, batch_size, precision, "off", slower)
        for workload in ("train", "inference")
        for model in MODELS
        for batch_size in (64, 256)
        for precision in SPEED
        if not (workload == "inference" and batch_size == 64)
    ]
    records += [_steps(noise, "train", model, 256, "fp32", "default", slower) for model in ("mlp", "cnn")]
    records += [_training(noise, model, slower) for model in ("mlp", "cnn")]
    records += [_input(noise, loader, slower) for loader in ("resident", "dataloader")]
    records = [_with_troubles(record) for record in records]
    records.append(
        Record(
            Cell.of("train", model="mlp", precision="fp16"),
            "skipped",
            "fp16 needs a GPU: the CPU has no fast kernels for it",
            settings={"threads": 1, "seed": 0},
        )
    )
    facts = RunFacts(
        id=name,
        started="2026-01-01T12:00:00+00:00",
        finished="2026-01-01T12:14:31+00:00",
        complete=True,
        planned=tuple(record.key for record in records),
    )
    return Run(name, facts, ENVIRONMENT, COMMIT, tuple(records))


def _steps(
    noise: random.Random, workload: str, model: str, batch_size: int, precision: str, compiled: str, slower: float
) -> Record:
    parameters, base_seconds, flops, _ = MODELS[model]
    seconds = base_seconds * SPEED[precision] * (0.15 + 0.85 * batch_size / 64) * slower
    seconds *= (0.35 if workload == "inference" else 1.0) * (1.38 if compiled != "off" else 1.0)
    rounds = _rounds(noise, seconds, 30)
    extra: dict[str, Any] = {"compile_seconds": 21.4} if compiled != "off" else {}
    return Record(
        Cell.of(workload, model=model, batch_size=batch_size, precision=precision, compile=compiled),
        "ok",
        metrics={
            **_times(rounds, batch_size),
            **extra,
            "parameters": parameters,
            "flops_per_step": int(flops * batch_size * (1 / 3 if workload == "inference" else 1)),
            "peak_memory_bytes": 412_000_000 + 90 * parameters + 21_000 * batch_size,
            "cell_seconds": 9.7,
        },
        rounds=rounds,
        steps_per_round=8,
        settings={"threads": 1, "seed": 0, "adaptation": "pad 2, repeat 3" if model == "resnet20" else None},
        started="2026-01-01T12:03:00+00:00",
    )


def _training(noise: random.Random, model: str, slower: float) -> Record:
    parameters, step_seconds, _, accuracy = MODELS[model]
    curves = [
        [round(accuracy - 0.22 * 0.55**epoch + noise.gauss(0, 0.002), 4) for epoch in range(10)] for _ in range(3)
    ]
    last = [curve[-1] for curve in curves]
    rounds = _rounds(noise, step_seconds * 10 * 63 * slower, 3)
    return Record(
        Cell.of("accuracy", model=model),
        "ok",
        metrics={
            "training_seconds": sorted(rounds)[1],
            "accuracy": sum(last) / 3,
            "accuracy_lowest": min(last),
            "accuracy_highest": max(last),
            "loss": 0.041,
            "parameters": parameters,
        },
        rounds=rounds,
        series={
            "seed": [0, 1, 2],
            "train_loss": [[round(1.1 * 0.6**epoch, 4) for epoch in range(10)] for _ in range(3)],
            "held_out_accuracy": curves,
        },
        settings={"threads": 1, "seed": 0, "seeds": 3},
    )


def _input(noise: random.Random, loader: str, slower: float) -> Record:
    rounds = _rounds(noise, {"resident": 41e-6, "dataloader": 1.9e-3}[loader] * slower, 30)
    return Record(Cell.of("input", loader=loader), "ok", metrics=_times(rounds, 64), rounds=rounds, steps_per_round=64)


def _rounds(noise: random.Random, seconds: float, count: int) -> tuple[float, ...]:
    return tuple(seconds * noise.lognormvariate(0, 0.02) for _ in range(count))


def _times(rounds: tuple[float, ...], batch_size: int) -> dict[str, float]:
    ordered = sorted(rounds)
    middle = (ordered[14] + ordered[15]) / 2
    return {
        "step_seconds": middle,
        "step_seconds_low": ordered[9],
        "step_seconds_high": ordered[20],
        "samples_per_second": batch_size / middle,
    }


def _with_troubles(record: Record) -> Record:
    unmeasured = replace(record, metrics={}, rounds=(), steps_per_round=None)
    if record.label == "train resnet20 256 cpu fp32":
        return replace(unmeasured, status="oom", reason="the kernel killed the worker at 23.1 GiB")
    if record.label == "train resnet20 256 cpu bf16":
        return replace(unmeasured, status="timeout", reason="no result after 120 s, while timing")
    if record.label == "train cnn 64 cpu bf16":
        return replace(record, flags=("disturbed",))
    if record.label == "inference mlp 256 cpu bf16":
        return replace(record, flags=("unsteady", "few-rounds"))
    return record


def store(run: Run, folder: Path) -> Path:
    """Writes a run as pytest-benchmark would, and returns its file."""
    file = folder / "Linux-CPython-3.11-64bit" / f"{run.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine_info": run.environment,
        "commit_info": run.commit,
        "benchmarks": [],
        "trainmark": run_section(run.facts, run.records),
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def changed(run: Run, label: str, **fields: Any) -> Run:
    """The run with other fields in the record of that label."""
    assert label in [record.label for record in run.records]
    return replace(run, records=tuple(replace(one, **fields) if one.label == label else one for one in run.records))


def with_metrics(run: Run, label: str, **metrics: float | int | None) -> Run:
    """The run with other metrics in the record of that label, which were confirmed where they need to be."""
    assert set(metrics) <= set(METRICS)
    record = next(one for one in run.records if one.label == label)
    disturbance = {**record.disturbance, AGAIN: 3}
    return changed(run, label, metrics={**record.metrics, **metrics}, disturbance=disturbance)


def slowed(run: Run, label: str, factor: float) -> Run:
    """The run with every round of the record of that label longer by the factor."""
    record = next(one for one in run.records if one.label == label)
    run = changed(run, label, rounds=tuple(duration * factor for duration in record.rounds))
    name = "training_seconds" if record.cell.workload == "accuracy" else "step_seconds"
    ends = [end for end in (name, f"{name}_low", f"{name}_high") if end in record.metrics]
    run = with_metrics(run, label, **{end: record.metrics[end] * factor for end in ends})
    if "samples_per_second" not in record.metrics:
        return run
    return with_metrics(run, label, samples_per_second=record.metrics["samples_per_second"] / factor)


def earlier_runs() -> list[Run]:
    """Eight runs of the same code before: they teach how much two runs differ."""
    return [example_run(f"00{number}_0a0b0c_20251201_120000", seed=number) for number in range(10, 18)]


EARLIER = earlier_runs()


def compared(base: Run, new: Run, **options: Any) -> Any:
    """The comparison of two runs on a machine with a history."""
    from trainmark.judge.comparison import compare
    from trainmark.judge.margins import Margins

    return compare(base, new, **({"history": EARLIER, "margins": Margins(0.05)} | options))


def example_lecture() -> Lecture:
    """What the lecture workload would leave: two claims of each kind, and every group of images."""
    noise = np.random.default_rng(0)
    claims = [
        Claim("Parameters", f"claim {number}", "1", "2" if verdict == "fails" else "1", verdict, "computed")
        for verdict in ("holds", "fails", "not checked")
        for number in range(2)
    ]
    groups = {"kernels before": (32, 3, True), "kernels after": (32, 3, True), "by hand": (3, 28, True),
              "learned": (3, 28, True), "digit 5": (1, 32, False), "maps 5 early": (8, 32, False),
              "maps 5 middle": (8, 16, False), "maps 5 later": (8, 8, False), "misread": (3, 28, False)}  # fmt: skip
    images = [
        SmallImage.of(group, f"{group} {number}", noise.normal(size=(side, side)), signed=signed)
        for group, (count, side, signed) in groups.items()
        for number in range(count)
    ]
    confusion = tuple(tuple(90 if read == digit else (digit + read) % 7 for read in range(10)) for digit in range(10))
    shifts = {"mlp": [0.95, 0.8, 0.5], "cnn": [0.97, 0.93, 0.8]}
    return Lecture("lecture epochs=2", "mnist-5k", tuple(claims), shifts, confusion, tuple(images))


def example_differences() -> list[Any]:
    """What two profiles would tell: a slower step and a faster one."""
    from call_trees import held

    from trainmark.judge.flame import Times

    names = ("aten::addmm", "aten::relu", "autograd::engine::evaluate_function: AddmmBackward0")
    base = {name: (2.0, {f"aten::part{number}": 5.0 for number in range(4)}) for name in names}
    new = {name: (2.5, {f"aten::part{number}": 4.0 + number for number in range(4)}) for name in names}
    return [
        held(base, new, (100, 110), Times(0.08, 0.007, 0.008, 0.009)),
        held(new, base, (110, 100), Times(0.088, -0.009, -0.008, -0.007)),
    ]


def full_run(name: str = "0002_9f8e7d_20260102_090000", seed: int = 1) -> Run:
    """A run with all that a page can show: phases, energy, peaks, device memory beside the usual."""
    run = example_run(name, seed=seed)
    records = []
    for record in run.records:
        if "step_seconds" in record.metrics and record.metrics.get("flops_per_step"):
            step, flops = record.metrics["step_seconds"], record.metrics["flops_per_step"]
            shares = {"data": 0.05, "forward": 0.35, "loss": 0.02, "zero_grad": 0.01, "backward": 0.45, "other": 0.12}
            metrics = {
                **record.metrics,
                **{f"{phase}_seconds": share * step for phase, share in shares.items()},
                "instrumented_step_seconds": step,
                "operators_per_step": 60,
                "bytes_utilisation": 0.05,
                "parameter_bytes": 4 * record.metrics["parameters"],
                "gradient_bytes": 4 * record.metrics["parameters"],
                "optimizer_bytes": 8 * record.metrics["parameters"],
                "activation_bytes": 9_000 * record.cell["batch_size"],
                "energy_joules_per_sample": 65 * step / record.cell["batch_size"],
                "achieved_flops_per_second": flops / step,
                "flops_utilisation": flops / step / 2e11,
                "arithmetic_intensity": 12.5,
            }
            records.append(replace(record, metrics=metrics))
        else:
            records.append(record)
    peaks = {"cpu": {"flops_per_second": {"fp32": 1.2e11, "bf16": 2.4e11}, "bytes_per_second": 9e10}}
    return replace(run, records=tuple(records), facts=replace(run.facts, peaks=peaks))


def pairs(ratio: float, n: int = 24, *, confirming: bool = False, disturbed: bool = False) -> list[Pair]:
    """Pairs of that ratio, give or take a percent."""
    return [
        Pair(
            Replicate((1.0,), waiting_share=0.9 if disturbed else 0.0),
            Replicate((ratio * (1 + 0.01 * ((7 * number) % n / n - 0.5)),)),
            confirming=confirming,
        )
        for number in range(n)
    ]


def paired(base: Run, new: Run, ratios: Mapping[str, float], side: str = "main") -> PairedRun:
    """Both runs as two sides, with pairs for the cells that have a ratio: join key -> ratio."""
    return PairedRun(
        base=replace(base, name=side),
        new=new,
        side=side,
        pairs={
            key: [*pairs(ratio), *(pairs(ratio, confirming=True) if abs(ratio - 1) > 0.03 else [])]
            for key, ratio in ratios.items()
        },
        steps={record.key: 1 for record in base.records},
    )


def example_paired_run() -> PairedRun:
    """A side of an older torch with every verdict: slower, faster, the same, undecided, failed, missing, new."""
    run = full_run("20260102T090000-9f8e7d")
    run = replace(run, commit={**COMMIT, "dirty": True})
    keys = [record.key for record in run.records if record.status == "ok" and record.cell.workload == "train"]
    base = replace(run, environment={**ENVIRONMENT, "torch": "2.11.0", "fingerprint": "0a0b0c0d0e0f"})
    base = replace(base, commit={"id": "77aa88bb99cc77aa88bb"}, records=base.records[:-1])
    new = replace(run, records=run.records[1:])
    gone = {"metrics": {}, "rounds": (), "status": "crashed", "reason": "died of SIGSEGV"}
    new = with_metrics(changed(new, "train mlp-residual 64 cpu fp32", **gone), "train cnn 64 cpu fp32", parameters=9)
    new = with_metrics(new, "inference cnn 256 cpu fp32", operators_per_step=61, peak_memory_bytes=900_000_000)
    measured = paired(base, new, {**dict.fromkeys(keys, 1.0), keys[2]: 1.08, keys[9]: 0.9}, "v1.2")
    some = {**measured.pairs, keys[3]: [*pairs(1.01, 9), *pairs(5.0, 3, disturbed=True)], keys[5]: pairs(1.028)}
    return replace(measured, pairs=some, seconds=412.0, seed=7, margins="3%,train mlp=5%")


class Stored:
    """Makes runs, changes them and stores them: what a test needs, without imports between test files."""

    compared = staticmethod(compared)
    earlier = EARLIER

    run = staticmethod(example_run)
    full_run = staticmethod(full_run)
    lecture = staticmethod(example_lecture)
    pairs = staticmethod(pairs)
    paired = staticmethod(paired)
    paired_run = staticmethod(example_paired_run)
    changed = staticmethod(changed)
    with_metrics = staticmethod(with_metrics)
    slowed = staticmethod(slowed)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, run: Run) -> Path:
        return store(run, self.folder)


@pytest.fixture(scope="session")
def regressed_page() -> str:
    """The page of a run with one regression against another, which it lists too."""
    from trainmark.page.html import render

    base = example_run()
    new = slowed(example_run("0002_9f8e7d_20260102_090000", seed=1), "train cnn 256 cpu fp32", 2)
    return render([new, base], compared(base, new))


def example_answers() -> tuple[Record, ...]:
    """An answer that is decided, one that is open, and one that leaves the default."""
    from trainmark.advise.answer import Evidence
    from trainmark.store.tried import SERIES, Tried

    def tried(seconds: float, pairs: Sequence[float] = (), **axes: Any) -> Tried:
        settings = Cell.of("accuracy", **{"loader": "resident", **axes}).settings
        trained = tuple((seed, 0.95 + 0.001 * seed) for seed in range(6)) if pairs else ()
        return Tried(settings, 630, seconds, 0.0, trained, tuple(pairs))

    sooner = [-0.7 - 0.01 * number for number in range(6)]
    found = {
        "mlp": (tried(2.0, sooner, model="mlp"), tried(1.0, sooner, model="mlp", batch_size=256, lr_scaling="sqrt")),
        "cnn": (tried(7.0, model="cnn"), tried(6.0, model="cnn", memory_format="channels_last")),
        "mlp-residual": (tried(2.0, model="mlp-residual"), tried(3.0, model="mlp-residual", batch_size=256)),
    }
    told = {"threads": 1, "seed": 0, "metric": "accuracy", "held_out_samples": 1000}
    return tuple(
        Record(
            Cell.of("answer", model=model),
            "ok",
            metrics={"answer_speedup": 1.0, "answer_missing_seconds": 0.0},
            rounds=(20.0,),
            series={SERIES: Evidence("accuracy", 1000, settings).to_series()},
            settings=told,
        )
        for model, settings in found.items()
    )


@pytest.fixture(scope="session")
def everything_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with every section: verdict, warnings, advice, comparison, all pictures, history, lecture."""
    from reports.lecture import sections
    from trainmark.page import compile_modes_section, flame_graph
    from trainmark.page.html import render

    base = full_run("0001_1a2b3c_20260101_120000", seed=0)
    new = slowed(slowed(full_run(), "train cnn 256 cpu fp32", 2), "train mlp 64 cpu fp32", 0.5)
    new = replace(new, commit={**COMMIT, "dirty": True}, facts=replace(new.facts, complete=False))
    new = replace(new, records=(*new.records, *example_answers()))
    older = full_run("0000_0a1b2c_20251231_120000", seed=2)
    folder = tmp_path_factory.mktemp("lecture")
    write_lecture(folder, example_lecture())
    own = [*compile_modes_section.sections(new.records), *flame_graph.sections(example_differences())]
    return render([new, base, older], compared(base, new), sections=[*own, *sections(folder)], baseline=base)


@pytest.fixture(scope="session")
def paired_page() -> str:
    """The page of two sides that were measured together."""
    from trainmark.judge.comparison import compare_paired
    from trainmark.page.html import render_paired

    run = example_paired_run()
    return render_paired(run, compare_paired(run))


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "results")


@pytest.fixture
def reports_command(stored: Stored) -> Callable[..., int]:
    """Calls ``trainmark`` in this process, on the stored runs of the test."""
    from trainmark.cli import main

    def call(*arguments: str) -> int:
        return main([*map(str, arguments), "--results", str(stored.folder)])

    return call


# The engine as strangers have it


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for name in ("trainmark", "pyproject.toml", "README.md", "LICENSE", "bench", "models", "reports", "conftest.py"):
        (copy / name).symlink_to(Path(__file__).parents[1] / name)  # a build leaves files beside its sources
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A search path that has the wheel and what it needs, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    packages = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    return os.pathsep.join(map(str, (folder, packages)))


@pytest.fixture
def call(installed: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python -m …`` in a folder, with the interpreter that this environment was made of."""

    def run(folder: Path, *command: str, path: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([*path, installed]), "COLUMNS": "160"}
        for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "TRAINMARK_ROOT", "VIRTUAL_ENV"):
            environment.pop(name, None)
        interpreter = getattr(sys, "_base_executable", sys.executable)
        return subprocess.run(
            [interpreter, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of each picture that the test has drawn, in their order."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    drawn: list[Any] = []
    write = FigureCanvasSVG.print_svg

    def note(canvas: Any, *given: Any, **options: Any) -> Any:
        drawn.extend(canvas.figure.axes)
        return write(canvas, *given, **options)

    monkeypatch.setattr(FigureCanvasSVG, "print_svg", note)
    return drawn
