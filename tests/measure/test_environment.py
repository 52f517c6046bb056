"""The machine as stable facts: nothing of its user, and a fingerprint that follows what matters."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from models import MODELS
from trainmark.measure import environment as module
from trainmark.measure.environment import Refusal, describe, environment, look_at_models
from trainmark.measure.failures import MissingDataError
from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.settings import Places
from trainmark.model import UnknownModel
from trainmark.suite import Suite, SuiteError

SECRET = "/home/alice/secret"


def fingerprint() -> str:
    found = environment()["fingerprint"]
    assert isinstance(found, str)
    return found


def strings(value: Any) -> Iterator[str]:
    """Every key and every value of a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)
    else:
        yield str(value)


# Facts and privacy


def test_the_environment_is_plain_json() -> None:
    facts = environment()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["torch"] == torch.__version__
    assert facts["python"] == platform.python_version()
    assert facts["cpu_threads"] >= facts["cpu_cores"] >= 1
    assert facts["memory_gib"] >= 1


def test_the_environment_names_no_host_no_user_and_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "alices-laptop")
    for variable, value in (
        ("USER", "alice"),
        ("LOGNAME", "alice"),
        ("HOME", "/home/alice"),
        ("HOSTNAME", "alices-laptop"),
    ):
        monkeypatch.setenv(variable, value)
    told = list(strings(environment()))
    for private in ("alice", platform.node()):
        assert not [text for text in told if private in text]
    real = {getpass.getuser(), str(Path.home())} - {"", "/", "root"}
    assert not [text for text in told if any(private in text for private in real)]


@pytest.mark.parametrize(
    "variable",
    [
        "TORCH_HOME",
        "CUDA_PATH",
        "TORCH_EXTENSIONS_DIR",
        "CUDA_ROOT",
        "PYTORCH_KERNEL_CACHE_PATH",
        "TORCHINDUCTOR_CACHE_DIR",
        "TORCHINDUCTOR_CACHE",
        "LD_PRELOAD",
        "TORCH_TRACE",
        "TORCH_LOGS_OUT",
        "CUDA_MPS_LOG_DIRECTORY",
    ],
)
def test_no_variable_tells_where_its_user_keeps_things(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, f"{SECRET}/first:{SECRET}/second")
    assert not [text for text in strings(environment()) if "alice" in text or "secret" in text]


def test_a_preloaded_library_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another allocator changes how fast everything is."""
    monkeypatch.setenv("LD_PRELOAD", f"{SECRET}/libjemalloc.so.2")
    assert environment()["environment_variables"]["LD_PRELOAD"] == "libjemalloc.so.2"


# The fingerprint


def test_the_fingerprint_is_the_same_each_time() -> None:
    assert fingerprint() == fingerprint()
    assert len(fingerprint()) == 12


@pytest.mark.parametrize(
    "variable",
    [
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "KMP_AFFINITY",
        "NVIDIA_TF32_OVERRIDE",
        "PYTORCH_CUDA_ALLOC_CONF",
        "TORCHINDUCTOR_MAX_AUTOTUNE",
        "TORCHDYNAMO_DISABLE",
        "ONEDNN_MAX_CPU_ISA",
        "MALLOC_ARENA_MAX",
    ],
)
def test_the_fingerprint_follows_a_variable_that_changes_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    without = fingerprint()
    monkeypatch.setenv(variable, "1")
    one = fingerprint()
    monkeypatch.setenv(variable, "2")
    assert len({without, one, fingerprint()}) == 3


@pytest.mark.parametrize(
    "chosen", ["3", "GPU-8a7b6c5d-0000-1111-2222-333344445555", "MIG-8a7b6c5d-0000-1111-2222-333344445555", "1,0"]
)
@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"])
def test_the_fingerprint_is_not_moved_by_which_of_equal_gpus_a_scheduler_gave(
    monkeypatch: pytest.MonkeyPatch, variable: str, chosen: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    before = fingerprint()
    monkeypatch.setenv(variable, chosen)
    assert fingerprint() == before
    assert variable not in module.environment()["environment_variables"]


@pytest.mark.parametrize(
    "variable",
    ["PATH", "HOME", "EDITOR", "MY_OMP_NUM_THREADS", "TORCH_HOME", "CUDA_PATH", "TORCHINDUCTOR_CACHE_DIR", "OMPHALOS"],
)
def test_the_fingerprint_is_not_moved_by_other_variables(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    before = fingerprint()
    monkeypatch.setenv(variable, "/somewhere/else")
    assert fingerprint() == before


def test_the_fingerprint_is_not_moved_by_where_a_preloaded_library_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    before = fingerprint()
    monkeypatch.setenv("LD_PRELOAD", f"{SECRET}/libjemalloc.so.2")
    assert fingerprint() == before


def test_the_fingerprint_follows_the_software(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert fingerprint() != before


def test_the_fingerprint_follows_the_flags_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark)
    assert fingerprint() != before


# Devices and precisions


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (set(), ("fp32",)),
        ({"sse2", "avx2", "avx512f"}, ("fp32",)),
        ({"avx512_bf16"}, ("fp32", "bf16")),
        ({"amx_bf16", "amx_tile"}, ("fp32", "bf16")),
        ({"avx512_bf16", "avx512_fp16"}, ("fp32", "bf16", "fp16")),
        ({"asimdhp", "bf16"}, ("fp32", "bf16", "fp16")),  # ARM as Linux tells
        ({"FEAT_FP16"}, ("fp32", "fp16")),  # ARM as macOS tells
    ],
)
def test_the_cpu_computes_in_what_its_flags_name(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(module, "_cpu_flags", lambda: flags)
    assert module._precisions("cpu") == expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((9, 0), ("fp32", "tf32", "bf16", "fp16")),
        ((8, 0), ("fp32", "tf32", "bf16", "fp16")),
        ((7, 5), ("fp32", "fp16")),
    ],
)
def test_a_gpu_computes_in_what_its_generation_can(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.version, "hip", None)
    assert module._precisions("cuda") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nmodel\t\t: 7\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: other\n", {"fpu", "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
    ],
)
def test_flags_are_those_of_the_first_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: set[str]
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / "cpuinfo")
    assert module._cpu_flags() == expected


def test_flags_of_a_mac_are_those_that_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "hw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_SME: 0\nhw.optional.arm.FEAT_FP16: 1\n"
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / "nothing")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: SimpleNamespace(stdout=listed))
    assert module._cpu_flags() == {"FEAT_BF16", "FEAT_FP16"}


def test_the_name_of_the_cpu_is_its_model_name_and_not_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Fast 9000 @ 2.6GHz\n")
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / "cpuinfo")
    assert module._cpu_name() == "Fast 9000 @ 2.6GHz"


def test_devices_are_those_present_with_the_cpu_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend, present in ((torch.cuda, True), (torch.backends.mps, False), (torch.xpu, True)):
        monkeypatch.setattr(backend, "is_available", lambda present=present: present)
    assert module._devices() == ("cpu", "cuda", "xpu")


def test_of_several_gpus_that_is_named_on_which_cells_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that hides the others, or does not, gives the same machine."""
    names = ["T4", "H200"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(name=names[index], total_memory=140 * 2**30, uuid="secret"),
    )
    assert module._gpus() == [{"name": "H200", "memory_gib": 140}]


class FakeNVMLError(Exception):
    """What NVML raises."""


@pytest.mark.parametrize(("hidden", "expected"), [(False, "570.1"), (True, None)])
def test_the_driver_is_none_where_nvml_is_hidden(
    monkeypatch: pytest.MonkeyPatch, hidden: bool, expected: str | None
) -> None:
    def begin() -> None:
        if hidden:
            raise FakeNVMLError

    fake = types.ModuleType("pynvml")
    fake.__dict__.update(
        NVMLError=FakeNVMLError, nvmlInit=begin, nvmlShutdown=lambda: None, nvmlSystemGetDriverVersion=lambda: "570.1"
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", None)
    assert module._driver() == expected


# What stands in the way of torch.compile


def test_without_a_compiler_the_cpu_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert module._compile_obstacle("cpu") == "torch.compile needs a C++ compiler, and there is no g++"


def test_the_compiler_of_the_users_choice_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "my-c++")
    assert "there is no my-c++" in str(module._compile_obstacle("cpu"))
    (tmp_path / "my-c++").touch(mode=0o755)
    assert module._compile_obstacle("cpu") is None


def test_a_gpu_needs_triton_and_a_c_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert "C compiler" in str(module._compile_obstacle("cuda"))
    (tmp_path / "gcc").touch(mode=0o755)
    assert module._compile_obstacle("cuda") is None
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    assert "7.0" in str(module._compile_obstacle("cuda"))
    monkeypatch.setattr(torch.version, "hip", "7.0")  # which counts otherwise
    assert module._compile_obstacle("cuda") is None
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert "package triton" in str(module._compile_obstacle("cuda"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_compiles_needs_pythons_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str) -> None:
    """Triton and inductor build against them: without, each compiled cell would end in a compiler's error."""
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name, scheme: str(tmp_path))
    monkeypatch.setattr(module, "_triton_obstacle", lambda: None)
    assert f"Python.h, which is not in {tmp_path}" in str(module._compile_obstacle(device))
    (tmp_path / "Python.h").touch()
    assert module._compile_obstacle(device) is None


def test_headers_are_looked_for_where_debian_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name, scheme: asked.append(scheme) or "/")
    for own in ("posix_local", "venv"):
        monkeypatch.setattr(module.sysconfig, "get_default_scheme", lambda own=own: own)
        module._python_headers()
    assert asked == ["posix_prefix", "venv"]


def test_mps_cannot_compile_and_xpu_can() -> None:
    assert module._compile_obstacle("mps") is not None
    assert module._compile_obstacle("xpu") is None


# The whole description


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Looks at this machine, and puts back the number of threads."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(module, "_probe_cpu", lambda: 5e10)

    def look(*models: str, datasets: tuple[str, ...] = (), places: Places | None = None) -> Machine:
        return describe(models, datasets, places or Places(tmp_path), 1, None, lambda doing: None, tmp_path)

    yield look
    torch.set_num_threads(threads)


def test_a_description_has_the_facts_of_each_model_asked_for(described: Any) -> None:
    machine = described("mlp", "resnet50")
    assert set(machine.models) == {"mlp", "resnet50"}
    mlp, resnet50 = machine.models["mlp"], machine.models["resnet50"]
    assert mlp == ModelFacts("mlp", "mnist-5k", 2 * (784 * 256 + 256 * 256 + 256 * 10), has_convolution=False)
    assert (resnet50.family, resnet50.dataset, resnet50.has_convolution) == ("resnet", "synthetic", True)
    assert resnet50.sample_flops == pytest.approx(2 * 4.09e9, rel=0.01)  # 4.09 G multiply-adds, He et al. 2015
    assert machine.devices[0] == "cpu"
    assert set(machine.precisions) == set(machine.devices)
    assert machine.environment["fingerprint"] == fingerprint()


def test_every_model_for_small_images_is_fed_real_digits(described: Any) -> None:
    machine = described(*MODELS)
    assert {name for name, facts in machine.models.items() if facts.dataset == "synthetic"} == {
        name for name, spec in MODELS.items() if spec.input_shape[1] == 224
    }
    assert {name for name, facts in machine.models.items() if not facts.has_convolution} == {"mlp", "mlp-residual"}
    assert all(facts.sample_flops for facts in machine.models.values())


def test_a_model_of_ones_own_is_not_built_to_be_described(described: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> None:
        raise AssertionError("built outside of its own cell")

    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(net=build))
    assert described("mine:net").models["mine:net"] == ModelFacts("mine:net", "mnist-5k", None, has_convolution=True)


def test_a_model_that_is_not_there_is_told(described: Any) -> None:
    with pytest.raises(UnknownModel, match='No model named "mpl"'):
        described("mlp", "mpl")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, ModelFacts | Refusal]]:
    """Looks at models of modules with these texts."""

    def look(seconds: float | None = None, **texts: str) -> dict[str, ModelFacts | Refusal]:
        monkeypatch.setattr("trainmark.suite._opened", [Suite(tmp_path)])
        monkeypatch.syspath_prepend(tmp_path)
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(f"from torch import nn\n{text}\nnet = other = nn.Identity\n")
        return look_at_models([f"{name}:{of}" for name in texts for of in ("net", "other")], seconds)

    return look


def failures(looked: dict[str, ModelFacts | Refusal]) -> dict[str, str | None]:
    """Model -> status of its failure."""
    return {name: None if facts.failure is None else facts.failure.status for name, facts in looked.items()}  # type: ignore[union-attr]


def test_a_module_that_cannot_be_imported_is_a_failure_of_its_own_models(modules: Any) -> None:
    looked = modules(first="raise OSError('no')", second="import os; os._exit(3)", third="nowhere = 1")
    assert failures(looked) == {
        "first:net": "error",
        "first:other": "error",
        "second:net": "crashed",
        "second:other": "crashed",
        "third:net": None,
        "third:other": None,
    }
    assert "first.py, line 2: OSError: no" in looked["first:other"].failure.reason
    assert looked["second:other"].failure.reason.startswith(
        'Looking at the model "second:other": left with exit code 3'
    )


def test_a_module_that_never_ends_is_a_failure_of_its_own_models(modules: Any) -> None:
    looked = modules(3.0, waiting="import time; time.sleep(20)", well="")
    assert failures(looked) == {
        "waiting:net": "timeout",
        "waiting:other": "timeout",
        "well:net": None,
        "well:other": None,
    }
    assert "not done after 3 s (--timeout), while importing waiting:net" in looked["waiting:net"].failure.reason


def test_a_name_that_a_module_does_not_have_is_refused(modules: Any) -> None:
    assert set(failures(modules(well="")).values()) == {None}
    (refused,) = look_at_models(["well:nothing"], None).values()
    assert isinstance(refused, Refusal)
    assert "has no attribute 'nothing'" in str(refused.error)


def test_a_data_set_that_is_not_there_is_told(described: Any) -> None:
    with pytest.raises(MissingDataError, match='No data set named "mnst"'):
        described("mlp", datasets=("mnist-5k", "mnst"))
    with pytest.raises(MissingDataError, match="No mnist in"):
        described("mlp", datasets=("mnist",))


def test_data_sets_that_are_there_are_no_hindrance(described: Any) -> None:
    assert described("mlp", datasets=("mnist-5k", "synthetic")).models


def test_only_obstacles_are_named(described: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_compile_obstacle", lambda device: None)
    assert described("mlp").compile_obstacle == {}
    monkeypatch.setattr(module, "_compile_obstacle", lambda device: "no")
    assert described("mlp").compile_obstacle["cpu"] == "no"


def test_the_speed_of_a_product_is_a_number_of_operations_a_second() -> None:
    assert module._probe_cpu() > 1e6


# What the suite has


def test_what_workloads_find_out_for_themselves_is_told_by_their_name(described: Any) -> None:
    machine = described("mlp")
    assert machine.default_data == "mnist-5k"
    assert set(machine.found) == {"ngram_fit", "ngram_score"}
    assert "numba" not in machine.found["ngram_fit"]  # that engine is there, so nothing stands in its way


def test_a_text_that_is_not_there_is_told_before_anything_is_measured(described: Any, tmp_path: Path) -> None:
    places = Places(named={"corpus": {"news.txt": tmp_path / "news.txt"}})
    with pytest.raises(MissingDataError, match=r"news\.txt"):
        described("mlp", places=places)


@pytest.fixture
def of_suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Puts a made-up suite in the place of this one."""

    def put(**table: Any) -> None:
        monkeypatch.setattr("trainmark.suite._opened", [Suite(tmp_path, **table)])

    return put


def test_where_no_model_is_named_all_that_the_suite_has_are_looked_at(described: Any) -> None:
    assert set(described().models) == set(MODELS)


def test_in_a_suite_without_data_sets_every_model_is_fed_synthetic_images(
    described: Any, of_suite: Callable[..., None]
) -> None:
    of_suite(models=("models.mlp:mlp", "models.cnn:cnn"))
    machine = described()
    assert machine.default_data == "synthetic"
    assert {name: facts.dataset for name, facts in machine.models.items()} == {
        "models.mlp:mlp": "synthetic",
        "models.cnn:cnn": "synthetic",
    }


def test_a_default_data_set_that_the_suite_has_not_is_told(described: Any, of_suite: Callable[..., None]) -> None:
    of_suite(models=("models.mlp:mlp",), datasets="bench.datasets:DATASETS", default_dataset="mnst")
    with pytest.raises(SuiteError, match="default_dataset is mnst, and datasets has none of that name"):
        described()
