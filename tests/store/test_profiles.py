from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from trainmark.store.call_tree import DEEPEST, Call
from trainmark.store.documents import SchemaError
from trainmark.store.profiles import (
    OTHERS,
    PROFILE_VERSION,
    Operator,
    Profile,
    list_profiles,
    profile_path,
    read_profile,
    slug,
    trace_path,
    write_profile,
)
from trainmark.store.runs import artifact_folder, run_files

ADDMM = Operator("aten::addmm", "256, 64x784, 784x256", 1.0, 2e-4, 3e-4, None, 25.7e6, 65536.0, "operator")
KERNEL = Operator("void gemm<float, 128>(float*)", "", 3.0, 1e-4, 1e-4, 1e-4, None, None, "kernel")
REST = Operator(OTHERS, "", 41.5, 5e-5, 5e-5, None, None, -20.0, "operator")
PROFILE = Profile("train batch_size=128 model=cnn", "train cnn 128 cpu fp32", 5, 1e-3, "cpu", (ADDMM, KERNEL, REST))


def changed(**parts: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(PROFILE.to_json())), **parts}


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write_profile(tmp_path / "new" / "folder", PROFILE)
    assert path == profile_path(tmp_path / "new" / "folder", PROFILE.key)
    assert read_profile(path) == PROFILE


def test_what_was_not_measured_stays_none_and_zero_stays_zero(tmp_path: Path) -> None:
    none, zero = replace(ADDMM, flops_per_step=None), replace(ADDMM, name="aten::t", flops_per_step=0.0)
    read = read_profile(write_profile(tmp_path, replace(PROFILE, operators=(none, zero))))
    assert [row.flops_per_step for row in read.operators] == [None, 0.0]


def test_unknown_keys_of_a_newer_addition_are_ignored() -> None:
    rows = [{**asdict(row), "stack": "a"} for row in PROFILE.operators]
    assert Profile.from_json(changed(mood="good", operators=rows)) == PROFILE


def test_a_newer_version_says_to_update() -> None:
    with pytest.raises(SchemaError, match="update trainmark to read it"):
        Profile.from_json(changed(profile_version=PROFILE_VERSION + 1))


@pytest.mark.parametrize("version", [None, "1", 0, True, 1.0])
def test_a_version_that_is_none_is_refused(version: Any) -> None:
    with pytest.raises(SchemaError, match="not a whole number"):
        Profile.from_json(changed(profile_version=version))


@pytest.mark.parametrize("document", [None, [], "profile", {}, {"operators": []}])
def test_what_is_no_profile_is_refused(document: Any) -> None:
    with pytest.raises(SchemaError, match="not a stored profile"):
        Profile.from_json(document)


@pytest.mark.parametrize(
    "parts",
    [
        {"step_seconds": "1"},
        {"step_seconds": None},
        {"steps": True},
        {"key": 3},
        {"operators": None},
        {"operators": [3]},
        {"operators": [{**asdict(ADDMM), "calls_per_step": None}]},
        {"operators": [{**asdict(ADDMM), "name": None}]},
        {"operators": [{"name": "aten::mm"}]},
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="not a profile"):
        Profile.from_json(changed(**parts))


@pytest.mark.parametrize("name", ["key", "label", "steps", "step_seconds", "device", "operators"])
def test_a_missing_part_is_named(name: str) -> None:
    document = changed()
    del document[name]
    with pytest.raises(SchemaError, match=name):
        Profile.from_json(document)


def test_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(SchemaError, match="kind 'thread' of aten::addmm"):
        Profile.from_json(changed(operators=[{**asdict(ADDMM), "kind": "thread"}]))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_time_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(SchemaError, match="not finite"):
        replace(PROFILE, step_seconds=number)
    with pytest.raises(SchemaError, match="not finite"):
        replace(PROFILE, operators=(replace(ADDMM, self_seconds_per_step=number),))


def test_the_time_between_operators_leaves_kernels_out() -> None:
    assert PROFILE.between_seconds == pytest.approx(1e-3 - 2e-4 - 5e-5)


@pytest.mark.parametrize(("content", "told"), [("{", "cut short"), ("[]", "not a stored profile"), ("\x00", "JSON")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str, told: str) -> None:
    path = profile_path(tmp_path, "train")
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SchemaError, match=told) as refused:
        read_profile(path)
    assert str(refused.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="No such file"):
        read_profile(tmp_path / "nowhere.profile.json")


def test_profiles_are_listed_by_label_and_an_unreadable_one_is_warned_of(tmp_path: Path) -> None:
    other = replace(PROFILE, key="inference", label="inference mlp 64 cpu fp32")
    for profile in (PROFILE, other):
        write_profile(tmp_path, profile)
    profile_path(tmp_path, "broken").write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match="cut short"):
        assert list_profiles(tmp_path) == [other, PROFILE]


def test_a_folder_that_is_not_there_has_no_profiles(tmp_path: Path) -> None:
    assert list_profiles(tmp_path / "nowhere") == []


def test_a_write_that_is_cut_off_leaves_the_old_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_profile(tmp_path, PROFILE)

    def cut_off(descriptor: int) -> None:
        os.truncate(descriptor, 20)
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", cut_off)
    with pytest.raises(OSError, match="no space"):
        write_profile(tmp_path, replace(PROFILE, steps=7))
    assert read_profile(path) == PROFILE
    assert list_profiles(tmp_path) == [PROFILE]


ODD_KEYS = [
    "train",
    "Train",
    "train model=a/b",
    "train model=a\\b",
    "train model=a:b",
    "train model=a.b",
    "train model=../../etc",
    "con",
    "",
    "   ",
    "0001_20260101",
    "ünïcode 模型",
    "模型",
    "\ud800",
    "a\x00b\nc",
    "train " + "x" * 400,
    "train " + "x" * 401,
]


def test_a_slug_is_safe_on_every_system() -> None:
    for key in ODD_KEYS:
        assert set(slug(key)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert not slug(key).startswith("-")
        assert 0 < len(slug(key)) <= 80
        assert slug(key) not in {"con", "prn", "aux", "nul"}


def test_a_slug_is_its_own_for_every_key() -> None:
    assert len({slug(key) for key in ODD_KEYS}) == len(ODD_KEYS)


def test_a_slug_can_be_read_and_never_changes() -> None:
    assert slug("train batch_size=128 model=cnn") == "train-batch-size-128-model-cnn-f078956534"


def test_the_files_of_a_cell_lie_side_by_side(tmp_path: Path) -> None:
    assert profile_path(tmp_path, "train") == tmp_path / f"{slug('train')}.profile.json"
    assert trace_path(tmp_path, "train") == tmp_path / f"{slug('train')}.trace.json.gz"


@pytest.mark.parametrize("key", ["0001_train", "2026_01 model=x", PROFILE.key])
def test_a_profile_is_not_taken_for_a_run(tmp_path: Path, key: str) -> None:
    write_profile(artifact_folder(tmp_path / "0001_1a2b3c.json"), replace(PROFILE, key=key))
    assert run_files(tmp_path) == []


def test_profiles_are_read_without_torch() -> None:
    code = "import trainmark.store.profiles, sys; assert not {'torch', 'bench', 'models', 'reports'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


TREE = (Call(None, "a", 1.0, 1e-3), Call(0, "b", 2.5, 2e-3), Call(1, "a", 1.0, -1e-6))


def test_a_call_tree_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = replace(PROFILE, tree=TREE)
    assert read_profile(write_profile(tmp_path, kept)) == kept
    older = {name: part for name, part in kept.to_json().items() if name != "tree"}
    assert Profile.from_json(json.loads(json.dumps(older))).tree == ()


@pytest.mark.parametrize(
    "part",
    [
        {"parent": 1},
        {"parent": 2},
        {"parent": -1},
        {"parent": "a"},
        {"name": None},
        {"calls_per_step": -1.0},
        {"self_seconds_per_step": math.nan},
        {"self_seconds_per_step": "1"},
    ],
)
def test_a_tree_that_does_not_end_or_is_none_is_refused(part: dict[str, Any]) -> None:
    call = {"parent": 0, "name": "b", "calls_per_step": 1.0, "self_seconds_per_step": 1e-3} | part
    first = {"parent": None, "name": "a", "calls_per_step": 1.0, "self_seconds_per_step": 1e-3}
    with pytest.raises(SchemaError):
        Profile.from_json(changed(tree=[first, call]))


def test_a_tree_too_deep_to_be_drawn_or_with_a_path_twice_is_refused() -> None:
    chain = [asdict(Call(place - 1 if place else None, "a", 1.0, 1e-6)) for place in range(DEEPEST + 1)]
    assert len(Profile.from_json(changed(tree=chain[:-1])).tree) == DEEPEST
    with pytest.raises(SchemaError, match="101 calls deep"):
        Profile.from_json(changed(tree=chain))
    with pytest.raises(SchemaError, match="a is twice in a tree"):
        Profile.from_json(changed(tree=[chain[0], chain[0]]))
