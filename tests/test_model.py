"""A model by its name: the suite's own, or one of the user's behind package.module:factory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import MODELS
from trainmark.model import UnknownModel, load_model

OWN_MODULE = """
import functools
from torch import nn
from trainmark.model import ModelSpec

def plain():
    return nn.Linear(1, 1)

class Tiny(nn.Module):
    input_shape = (3, 8, 8)
    classes = 4
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 4)
    def forward(self, x):
        return self.head(x.flatten(1))

def sized(width, depth=1):
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)])

sized.input_shape = (1, 1, 16)
sized.classes = 16

class Builder:
    input_shape = (1, 2, 2)
    def __init__(self, width):
        self.width = width
    def __call__(self):
        return nn.Linear(self.width, 10)

wide = functools.partial(sized, 16)
other = functools.partial(sized, 16)
other.classes = 3
builder = Builder(4)
spec = ModelSpec(plain, (1, 1, 1), 1, 2, "a test", "linear")
built = plain()
number = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "module_of_a_user.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "module_of_a_user"


def test_a_known_name_loads_its_entry() -> None:
    assert load_model("cnn") is MODELS["cnn"]


def test_a_factory_of_the_user_is_taken_to_read_mnist(own_module: str) -> None:
    spec = load_model(f"{own_module}:plain")
    assert (spec.input_shape, spec.classes, spec.parameters) == ((1, 28, 28), 10, None)
    assert isinstance(spec.build(), nn.Linear)


def test_a_factory_of_the_user_may_declare_its_input_and_its_classes(own_module: str) -> None:
    spec = load_model(f"{own_module}:Tiny")
    assert (spec.input_shape, spec.classes) == ((3, 8, 8), 4)
    logits: Tensor = spec.build()(torch.zeros(2, *spec.input_shape))
    assert logits.shape == (2, 4)


def test_two_factories_of_the_user_are_two_families(own_module: str) -> None:
    assert load_model(f"{own_module}:plain").family != load_model(f"{own_module}:Tiny").family


def test_a_spec_of_the_user_is_taken_as_it_is(own_module: str) -> None:
    assert load_model(f"{own_module}:spec").family == "linear"


@pytest.mark.parametrize("name", ["", "mpl", "MLP", "mlp:", ":mlp", "no such:model", ".relative:model", "a..b:model"])
def test_an_unknown_name_is_told_the_known_ones_and_how_to_bring_an_own_model(name: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        load_model(name)
    message = str(caught.value)
    assert f'"{name}"' in message
    assert "package.module:factory" in message
    assert all(known in message for known in MODELS)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownModel, match='no module named "not_installed_anywhere"'):
        load_model("not_installed_anywhere:model")


def test_a_module_that_the_users_module_misses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_misses_one.py").write_text("import not_installed_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownModel, match='no module named "not_installed_either"'):
        load_model("module_that_misses_one:model")


def test_an_attribute_that_is_not_there_is_named(own_module: str) -> None:
    with pytest.raises(UnknownModel, match="'module_of_a_user' has no attribute 'plian'"):
        load_model(f"{own_module}:plian")


@pytest.mark.parametrize("attribute", ["built", "number", "built(1)"])
def test_an_attribute_that_builds_no_model_is_refused(own_module: str, attribute: str) -> None:
    with pytest.raises(UnknownModel, match="not a ModelSpec or a callable that builds a model: wrap it in a"):
        load_model(f"{own_module}:{attribute}")


# What a factory may be


def test_a_factory_with_arguments_builds_with_them(own_module: str) -> None:
    spec = load_model(f"{own_module}:sized(16, depth=3)")
    assert len(list(spec.build().children())) == 3
    assert (spec.input_shape, spec.classes) == ((1, 1, 16), 16)  # those of the function
    assert spec.family == spec.source == f"{own_module}:sized(16,depth=3)"


def test_two_sets_of_arguments_are_two_families_and_two_spellings_are_one(own_module: str) -> None:
    names = ("sized(16)", "sized( 16, )", "sized(16, depth=1)")
    assert [load_model(f"{own_module}:{name}").family for name in names] == [
        f"{own_module}:{name}" for name in ("sized(16)", "sized(16)", "sized(16,depth=1)")
    ]


@pytest.mark.parametrize(
    ("factory", "shape", "classes"),
    [
        ("wide", (1, 1, 16), 16),
        ("other", (1, 1, 16), 3),
        ("other(depth=2)", (1, 1, 16), 3),
        ("builder", (1, 2, 2), 10),
        ("Tiny", (3, 8, 8), 4),
    ],
)
def test_a_partial_an_instance_and_a_class_are_factories_with_what_they_declare(
    own_module: str, factory: str, shape: tuple[int, int, int], classes: int
) -> None:
    spec = load_model(f"{own_module}:{factory}")
    assert (spec.input_shape, spec.classes) == (shape, classes)
    assert isinstance(spec.build(), nn.Module)


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("sized", r"in \S+module_of_a_user\.py, line 18: TypeError: missing a required argument: 'width'\.$"),
        ("Builder", r"in \S+module_of_a_user\.py, line 26: TypeError: missing a required argument: 'width'\.$"),
        ("plain(3)", r"in \S+module_of_a_user\.py, line 6: TypeError: too many positional arguments\.$"),
        ("spec(3)", r"takes no arguments: it is ModelSpec\.$"),
        ("sized(n)", r"cannot be read: its argument n is no literal; write numbers, \S+"),
    ],
)
def test_a_factory_with_wrong_arguments_is_refused_before_it_is_measured(
    own_module: str, factory: str, why: str
) -> None:
    with pytest.raises(UnknownModel, match=why) as caught:
        load_model(f"{own_module}:{factory}")
    assert f'The model "{own_module}:{factory}" ' in str(caught.value)


def test_a_factory_of_a_file_is_found_from_the_root_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    spec = load_model("models/mlp.py:mlp")
    assert spec.family == "models/mlp.py:mlp"
    assert spec.build()(torch.zeros(2, *spec.input_shape)).shape == (2, 10)


# A package of one name in two folders


@pytest.fixture
def two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A package of the same name in each, both on the search path, the first of them in front."""
    folders = tmp_path / "mine", tmp_path / "yours"
    for folder in reversed(folders):
        (folder / "networks_of_a_user").mkdir(parents=True)
        (folder / "networks_of_a_user" / "__init__.py").write_text(OWN_MODULE)
        monkeypatch.syspath_prepend(folder)
    return folders


def test_a_module_that_lies_in_two_folders_is_refused_with_both_named(two_folders: tuple[Path, Path]) -> None:
    with pytest.raises(UnknownModel) as caught:
        load_model("networks_of_a_user:plain")
    here, elsewhere = two_folders
    assert f"a module networks_of_a_user lies in {here} and in {elsewhere}, and the first" in str(caught.value)
    assert "without the other on PYTHONPATH" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "networks_of_a_user" not in sys.modules  # and neither is imported


def test_a_package_whose_folder_is_on_the_path_twice_lies_in_one(
    own_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link"), *sys.path, f"{tmp_path}/"])
    assert load_model(f"{own_module}:plain").source == f"{own_module}:plain"


def test_a_registered_name_is_found_whatever_lies_on_the_path(
    two_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "networks_of_a_user:plain", MODELS["mlp"])
    assert load_model("networks_of_a_user:plain") is MODELS["mlp"]
