"""The machine and its software as stable facts, with a fingerprint; asked in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from trainmark import suite
from trainmark.measure import data
from trainmark.measure.data import Adaptation, Shape
from trainmark.measure.failures import BrokenTask, UnsupportedError
from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.settings import Places
from trainmark.meters.flops import count_flops
from trainmark.model import load_model
from trainmark.store.parameters import OWN_DATA
from trainmark.workloads import entries

# Variables that change what is computed or how fast; their values go into the fingerprint.
VARIABLES = re.compile(
    r"(OMP|MKL|KMP|GOMP|OPENBLAS|DNNL|ONEDNN|CUDA|CUBLAS|CUDNN|NVIDIA_TF32)_\w+|"
    r"(TORCH|TORCHDYNAMO|TORCHINDUCTOR|TRITON|PYTORCH)_\w+|MALLOC_\w+|LD_PRELOAD"
)
PATH_LIKE = re.compile(r"_(HOME|PATH|DIR|ROOT|CACHE\w*)$")  # where things lie, not what they do
FOLDERS = re.compile(r"[^\s:;,=]*/")  # of a path among other values: a user's folders are nobody's business


def describe(
    models: Sequence[str], named: Sequence[str], places: Places, threads: int, report: Any, _scratch: Path
) -> Machine:
    """Looks at the machine, at the models and at the data sets that the command line names.

    Where it names no model, all that the suite has registered are looked at.

    Raises:
        UnknownModel: A model is not there.
        MissingDataError: A data set, or what a workload needs, is not there.
    """
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
        models={name: _model_facts(name) for name in models or suite.current().model_names()},
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
            if VARIABLES.fullmatch(name) and not PATH_LIKE.search(name)
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
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30)} for gpu in found]


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
    if device == "cpu":
        compiler = os.environ.get("CXX", "g++" if platform.system() == "Linux" else "clang++")
        if shutil.which(compiler) is None:
            return f"torch.compile needs a C++ compiler, and there is no {compiler}"
    if device == "cuda":
        try:
            metadata.version("triton")
        except metadata.PackageNotFoundError:
            return "torch.compile needs the package triton on a GPU"
        if shutil.which(os.environ.get("CC", "gcc")) is None and shutil.which("clang") is None:
            return "torch.compile needs a C compiler to build Triton's launcher"
    if device == "mps":
        return "torch.compile on MPS is a prototype"
    return None


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
        return ModelFacts(spec.family, dataset, None, has_convolution=True, metrics=metrics)
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
