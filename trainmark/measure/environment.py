"""The machine and its software as stable facts, with a fingerprint; asked in a process of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from trainmark import suite
from trainmark.formatting import excerpt
from trainmark.measure import data
from trainmark.measure.data import Adaptation, Shape
from trainmark.measure.failures import BrokenTask, UnsupportedError
from trainmark.measure.machine import Failure, Machine, ModelFacts
from trainmark.measure.own_data import own_parts
from trainmark.measure.processes import sentence_of
from trainmark.measure.settings import Places
from trainmark.measure.worker import Limits, Outcome, SoFar, Workers
from trainmark.meters.flops import count_flops
from trainmark.model import BrokenModule, UnknownModel, load_model
from trainmark.store.metrics import register_metrics
from trainmark.store.parameters import OWN_DATA
from trainmark.task import GREY_28
from trainmark.workloads import entries

# Variables that change what is computed or how fast; their values go into the fingerprint.
VARIABLES = re.compile(
    r"(OMP|MKL|KMP|GOMP|OPENBLAS|DNNL|ONEDNN|CUDA|CUBLAS|CUDNN|NVIDIA_TF32)_\w+|"
    r"(TORCH|TORCHDYNAMO|TORCHINDUCTOR|TRITON|PYTORCH)_\w+|MALLOC_\w+|LD_PRELOAD"
)
PATH_LIKE = re.compile(r"_(HOME|PATH|DIR|ROOT|CACHE\w*)$")  # where things lie, not what they do
WHICH_GPU = re.compile(r"\w*VISIBLE_DEVICES|CUDA_DEVICE_ORDER")  # which of equal ones a scheduler gave: `gpus` tells it
OLDEST_FOR_TRITON = (7, 0)  # compute capability
Report = Callable[[Any], None]
FOLDERS = re.compile(r"[^\s:;,=]*/")  # of a path among other values: a user's folders are nobody's business


def describe(
    models: Sequence[str],
    named: Sequence[str],
    places: Places,
    threads: int,
    seconds: float | None,
    report: Report,
    _scratch: Path,
) -> Machine:
    """Looks at the machine, at the models and at the data sets that the command line names.

    Where it names no model, all that the suite has are looked at.

    Args:
        models: By name.
        named: Data sets.
        places: Where they lie.
        threads: Of the CPU.
        seconds: That the import of a model's module may take; None for no limit.
        report: Told what is being done.

    Raises:
        UnknownModel: A model is not there.
        MissingDataError: A data set, or what a workload needs, is not there.
    """
    report("looking at the models")
    looked = look_at_models(models, seconds, report)  # first: who has asked for a GPU cannot be copied any more
    for found in looked.values():
        if isinstance(found, Refusal):
            raise found.error
    facts = {name: found for name, found in looked.items() if isinstance(found, ModelFacts)}
    return describe_with(facts, named, places, threads, report)


def describe_with(
    models: Mapping[str, ModelFacts], named: Sequence[str], places: Places, threads: int, report: Report
) -> Machine:
    """The same, of models that have been looked at."""
    report("looking at the machine")
    torch.set_num_threads(threads)
    devices = _devices()
    for name in named:
        report(f"looking for the data set {name}")
        data.check(name, places)
    return Machine(
        environment=environment(),
        devices=devices,
        precisions={device: _precisions(device) for device in devices},
        compile_obstacle={device: obstacle for device in devices if (obstacle := _compile_obstacle(device))},
        models=models,
        cpu_flops=_probe_cpu(),
        default_data=suite.current().default_dataset or data.SYNTHETIC,
        found={entry.name: found for entry in entries() if (found := entry.look(places)) is not None},
    )


def environment() -> dict[str, Any]:
    """Stable facts of machine and software, and a fingerprint of them."""
    facts: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cpu_cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "cpu_threads": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": _gpus(),
        "driver": _driver(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": _version("torchvision"),
        "numpy": metadata.version("numpy"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "environment_variables": {
            name: FOLDERS.sub("", value)
            for name, value in sorted(os.environ.items())
            if VARIABLES.fullmatch(name) and not PATH_LIKE.search(name) and not WHICH_GPU.fullmatch(name)
        },
    }
    canonical = json.dumps(facts, sort_keys=True).encode()
    return {"fingerprint": hashlib.sha256(canonical).hexdigest()[:12], **facts}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> tuple[str, ...]:
    present = [
        name
        for name, found in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("xpu", torch.xpu.is_available()),
        )
        if found
    ]
    return ("cpu", *present)


def _precisions(device: str) -> tuple[str, ...]:
    """Precisions that the device computes in hardware; what it would emulate is left out."""
    if device == "cuda":
        capability = torch.cuda.get_device_capability()
        modern = ("tf32", "bf16") if capability >= (8, 0) or torch.version.hip else ()
        return ("fp32", *modern, "fp16")
    if device == "cpu":
        flags = _cpu_flags()
        found = ["fp32"]
        if flags & {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "FEAT_BF16"}:
            found.append("bf16")
        if flags & {"avx512_fp16", "amx_fp16", "asimdhp", "FEAT_FP16"}:
            found.append("fp16")
        return tuple(found)
    return ("fp32", "bf16", "fp16")


def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.lower().startswith(("flags", "features")):
                return set(line.split(":", 1)[1].split())
    if platform.system() == "Darwin":
        listed = subprocess.run(["sysctl", "hw.optional.arm"], capture_output=True, text=True, check=False).stdout
        return {line.split(":")[0].rsplit(".", 1)[-1] for line in listed.splitlines() if line.endswith(": 1")}
    return set()


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[dict[str, Any]]:
    """The GPU that a cell runs on; others are used by none, and a scheduler may hide them or not."""
    if not torch.cuda.is_available():
        return []
    gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
    return [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30)}]


def _driver() -> str | None:
    if not torch.cuda.is_available() or torch.version.hip:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # a container may hide NVML though CUDA works
        return None
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()


def _compile_obstacle(device: str) -> str | None:
    """Why torch.compile cannot work on the device."""
    if device == "mps":
        return "torch.compile on MPS is a prototype"
    if device in ("cpu", "cuda") and not (_python_headers() / "Python.h").exists():
        return f"torch.compile builds with Python.h, which is not in {_python_headers()}: install python3-dev"
    if device == "cpu":
        compiler = os.environ.get("CXX", "g++" if platform.system() == "Linux" else "clang++")
        if shutil.which(compiler) is None:
            return f"torch.compile needs a C++ compiler, and there is no {compiler}"
    return _triton_obstacle() if device == "cuda" else None


def _triton_obstacle() -> str | None:
    """Why Triton, which computes on a GPU what was compiled, cannot work."""
    if importlib.util.find_spec("triton") is None:  # by its name as a module: it is distributed by several
        return "torch.compile needs the package triton on a GPU"
    if shutil.which(os.environ.get("CC", "gcc")) is None and shutil.which("clang") is None:
        return "torch.compile needs a C compiler to build Triton's launcher"
    if not torch.version.hip and torch.cuda.get_device_capability() < OLDEST_FOR_TRITON:
        return "Triton needs a GPU of compute capability 7.0 or newer"
    return None


def _python_headers() -> Path:
    """Where Triton and inductor look for Python's headers: Debian's own scheme names a folder that has none."""
    scheme = sysconfig.get_default_scheme()
    return Path(sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme))


@dataclass(frozen=True)
class Refusal:
    """Why a call that asks for a model is wrong; nothing is measured then.

    Attributes:
        reason: One sentence.
        of_suite: Whether it is the suite's table that is wrong, and not the name.
        lent: Whether only another tree than the side's own has what it needs.
    """

    reason: str
    of_suite: bool = False
    lent: bool = False

    @property
    def error(self) -> Exception:
        """It as an error."""
        return suite.SuiteError(self.reason) if self.of_suite or self.lent else UnknownModel(self.reason)


Looked = dict[str, ModelFacts | Refusal]


def look_at_models(names: Sequence[str], seconds: float | None, report: Report = lambda _doing: None) -> Looked:
    """Facts of models, or why there are none: the models of each module in a process of their own.

    Importing a module runs whatever its author has written: it may end the process, fork, close its files, or never
    return. What that does is a failure of its own models, and the others are looked at all the same.

    Args:
        names: Of models; none for all that the suite has.
        seconds: That a process may take; None for no limit.
        report: Told what is being done.

    Raises:
        SuiteError: What the suite registers cannot be imported.
    """
    ours = suite.current()
    can_fork = hasattr(os, "fork")
    workers = Workers(in_process=not can_fork, start="fork" if can_fork else None, apart=True)
    found: Looked = {}
    if not names and isinstance(ours.models, str) and ours.models:
        report(f"importing {ours.models}")
        found |= _look_at(workers, (), seconds)
        names = ours.tasks
    for place, group in _by_place(names or (() if found else ours.model_names())).items():
        report(f"importing {place or ours.models}")
        found |= _look_at(workers, group, seconds)
    for name, facts in found.items():
        if isinstance(facts, ModelFacts):
            try:
                register_metrics(facts.metrics)  # of two modules, each of which has looked at its own alone
            except ValueError as error:
                found[name] = Refusal(f'The task "{name}": {error}.')
    return found


def _by_place(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by the module or file that they name; by nothing where they are registered."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(":")[0] if ":" in name else "", []).append(name)
    return groups


def _look_at(workers: Workers, names: Sequence[str], seconds: float | None) -> Looked:
    """Looks at models of one module, or at the registered ones.

    Where the process ends before it is done, another one goes on behind the culprit.
    """
    found: Looked = {}
    while True:
        waiting = tuple(name for name in names if name not in found)
        outcome = workers.call("trainmark.measure.environment:facts_of", waiting, limits=Limits(seconds))
        if outcome.value is None and not waiting:
            raise suite.SuiteError(f"[{suite.TABLE}]: importing {suite.current().models}: {outcome.reason}")
        waiting, known = outcome.value or (waiting, {})
        names = names or waiting
        found |= known
        if outcome.status != "ok":
            of_module = not known and outcome.status != "error" and ":" in waiting[0]  # it never came to a model of it
            for name in waiting if of_module else waiting[len(known) :][:1]:
                found[name] = _failed(name, outcome)
        if set(names) <= set(found):
            return {name: found[name] for name in names}


def _failed(name: str, outcome: Outcome) -> ModelFacts:
    left = f"; {sentence_of(outcome.outlived)}" if outcome.outlived else ""
    reason = f'Looking at the model "{name}": {outcome.reason}{left}'
    return _without_facts(name, Failure(outcome.status, reason))


def _without_facts(name: str, failure: Failure) -> ModelFacts:
    """Of a model that cannot be imported: its cells are those of one that says nothing of itself."""
    return ModelFacts(name, _default_dataset(GREY_28), None, has_convolution=True, failure=failure)


def facts_of(names: Sequence[str], report: Report, _scratch: Path) -> tuple[Sequence[str], Looked]:
    """Models of one module, or all that are registered, and their facts: those so far are handed over after each."""
    report(f"importing {names[0] if names else 'them'}")
    names = names or tuple(suite.current().models_by_name())
    found: Looked = {}
    report(SoFar((names, dict(found))))
    for name in names:
        report(f"importing {name}")
        found[name] = _facts_or_refusal(name)
        report(SoFar((names, dict(found))))
    return names, found


def _facts_or_refusal(name: str) -> ModelFacts | Refusal:
    here = Path.cwd()
    try:
        facts = _model_facts(name)
    except suite.SuiteError as error:
        return Refusal(str(error), of_suite=True)
    except UnknownModel as error:
        if getattr(error.__cause__, "lent", False):
            return Refusal(str(error.__cause__), lent=True)
        if isinstance(error, BrokenModule):
            return _without_facts(name, Failure("error", excerpt(error)))
        return Refusal(str(error))
    finally:
        os.chdir(here)  # a module may have gone elsewhere: the next one has its own names
    return replace(facts, file=_file_of(name), copies=_copies_in(suite.current().root / suite.SOURCES))


def _file_of(name: str) -> str | None:
    """The file of the module that names a model."""
    ours = suite.current()
    module = str(ours.models) if name in ours.models_by_name() else name
    return getattr(sys.modules.get(module.partition(":")[0]), "__file__", None)


def _copies_in(folder: Path) -> dict[str, str]:
    """Package of a folder -> the file that it was imported from instead: a copy that is installed."""
    packages = (file.parent.name for file in folder.glob("*/__init__.py"))
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in packages}
    return {name: file for name, file in files.items() if file and folder.resolve() not in Path(file).resolve().parents}


def _model_facts(name: str) -> ModelFacts:
    try:
        spec = load_model(name)
    except BrokenTask:  # its own cells say so, the others go on
        return ModelFacts(name, OWN_DATA, None, has_convolution=True)
    task = spec.task
    dataset = OWN_DATA if task is not None and task.data is not None else _default_dataset(spec.input_shape)
    if name not in suite.current().models_by_name():
        # A stranger's: it is built in its own cell, where it can do no harm.
        metrics = {} if task is None else task.described_metrics()
        own = () if task is None else own_parts(task)
        return ModelFacts(spec.family, dataset, None, has_convolution=True, metrics=metrics, own_parts=own)
    with torch.device("meta"):
        model = spec.build()
    return ModelFacts(
        spec.family,
        dataset,
        count_flops(model, (1, *spec.input_shape), training=False),
        any(isinstance(part, torch.nn.Conv2d) for part in model.modules()),
    )


def _default_dataset(wanted: Shape) -> str:
    """The suite's own where it fits a model's input, else made-up images."""
    name = suite.current().default_dataset
    if name in ("", data.SYNTHETIC):
        return data.SYNTHETIC
    if name not in data.sources():
        raise suite.SuiteError(f"[{suite.TABLE}]: default_dataset is {name}, and datasets has none of that name.")
    shape = data.sources()[name].shape
    if shape is None:
        return data.SYNTHETIC
    try:
        Adaptation.between(shape, wanted, name)
    except UnsupportedError:
        return data.SYNTHETIC
    return name


def _probe_cpu() -> float:
    """Floating-point operations a second of a float32 matrix product, best of five."""
    size = 512
    left = torch.ones(size, size)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        left @ left
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / min(times))
