"""Profiles as they are read: found by words, shown, and two explained; five of the slow-downs are really measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainmark.cli import main
from trainmark.export import terminal
from trainmark.judge.explanation import (
    CANDIDATES,
    Change,
    Explanation,
    NoProfile,
    Rest,
    artifact_links,
    explain,
    find_profile,
    fitting,
    profiles_of,
)
from trainmark.meters.profiler import measure_profile
from trainmark.store.cell import Cell
from trainmark.store.documents import SchemaError
from trainmark.store.profiles import OTHERS, Operator, Profile, profile_path, trace_path, write_profile
from trainmark.store.runs import artifact_folder

Command = Callable[..., int]


def row(name: str, milliseconds: float, calls: float = 1.0, shapes: str = "8x8", kind: str = "operator") -> Operator:
    seconds = milliseconds / 1e3
    return Operator(name, shapes, calls, seconds, seconds, None, None, None, kind)


def profile(*rows: Operator, step: float = 100.0, label: str = "train mlp 64 cpu fp32", key: str = "train") -> Profile:
    """A profile whose step takes that many milliseconds."""
    return Profile(key, label, 5, step / 1e3, "cpu", rows)


# What a profile shows


def test_the_share_of_an_operator_is_that_of_its_own_time_and_not_of_what_it_calls() -> None:
    own = Operator("mm", "8x8", 2.0, 0.010, 0.060, None, None, None, "operator")
    told = terminal.profile_table(profile(own, row("relu", 25)), top=5)
    header, _, *lines = told.splitlines()[2:6]
    assert header.split() == ["operator", "shapes", "calls", "self", "share", "total", "FLOP", "memory"]
    assert lines[0].split()[:9] == ["mm", "8x8", "2", "10.0", "ms", "10.0%", "60.0", "ms", "–"]
    assert "65.0 ms, 65.0% of a step" in told


# What explains a difference


def test_the_largest_change_comes_first_whether_it_gained_or_lost() -> None:
    base = profile(row("a", 10), row("b", 40), row("c", 10))
    new = profile(row("a", 15), row("b", 10), row("c", 20), step=85)
    explanation = explain(base, new)
    assert [change.name for change in explanation.changes] == ["b", "c", "a"]
    assert explanation.changes[0].seconds == pytest.approx(-0.030)
    assert explanation.share(explanation.changes[0].seconds) == pytest.approx(2.0)


def test_changes_rest_and_what_is_between_add_up_to_the_difference() -> None:
    base = profile(row("a", 10), row("b", 40), row("gone", 5), row("small", 3), row(OTHERS, 7))
    new = profile(row("a", 10.5), row("b", 70), row("come", 9), row("small", 2), row(OTHERS, 8), step=140)
    explained = explain(base, new)
    told = sum(change.seconds for change in explained.changes) + sum(rest.seconds for rest in explained.rest)
    assert told + explained.between_seconds == pytest.approx(explained.seconds)
    assert explained.between_seconds == pytest.approx((140 - 99.5 - 35) / 1e3)


def test_an_operator_of_one_side_counts_in_full() -> None:
    explanation = explain(profile(row("gone", 30)), profile(row("come", 50)))
    come, gone = explanation.changes
    assert (come.name, come.base_seconds, come.seconds) == ("come", None, 0.050)
    assert (gone.name, gone.new_seconds, gone.seconds) == ("gone", None, -0.030)
    assert (gone.base_calls, gone.new_calls) == (1.0, 0.0)
    assert not explanation.same_work


def test_the_same_operator_on_other_shapes_is_another_row() -> None:
    base = profile(row("mm", 10), row("mm", 20, shapes="4x4"))
    new = profile(row("mm", 30), row("mm", 20, shapes="4x4"), step=120)
    (change,) = explain(base, new).changes
    assert (change.shapes, change.seconds) == ("8x8", pytest.approx(0.020))


def test_an_added_call_on_other_shapes_is_not_mixed_with_those_that_were_there() -> None:
    new = profile(row("mm", 10), row("mm", 40, shapes="64x64"), step=140)
    (change,) = explain(profile(row("mm", 10)), new).changes
    assert (change.shapes, change.base_seconds, change.seconds) == ("64x64", None, 0.040)


def test_where_every_shape_differs_operators_meet_by_name() -> None:
    base = profile(row("mm", 10, shapes="64x8"), row("relu", 4, shapes="64"))
    new = profile(row("mm", 30, shapes="128x8"), row("relu", 14, shapes="128"), step=130)
    explanation = explain(base, new)
    assert [(change.name, change.shapes) for change in explanation.changes] == [
        ("mm", "64x8 → 128x8"),
        ("relu", "64 → 128"),
    ]
    assert not explanation.same_work


def test_several_shapes_that_meet_by_name_are_summed_up() -> None:
    base = profile(row("mm", 10, shapes="a"), row("mm", 5, shapes="b"))
    (change,) = explain(base, profile(row("mm", 45, 3, shapes="c"), step=130)).changes
    assert (change.shapes, change.base_seconds, change.base_calls) == ("2 shapes → c", pytest.approx(0.015), 2.0)
    assert (change.seconds, change.new_calls) == (pytest.approx(0.030), 3.0)


def test_rows_of_one_kernel_are_summed_up_with_their_calls() -> None:
    base = profile(row("gemm", 10, 3, shapes="x", kind="kernel"), row("gemm", 20, 2, shapes="y", kind="kernel"))
    (change,) = explain(base, profile(row("gemm", 50, 4, kind="kernel"), step=130)).changes
    assert (change.base_calls, change.new_calls) == (5.0, 4.0)
    assert (change.base_seconds, change.seconds) == (pytest.approx(0.030), pytest.approx(0.020))


def test_kernels_meet_by_name_and_are_told_from_operators_of_that_name() -> None:
    base = profile(row("gemm", 10, shapes="x", kind="kernel"), row("gemm", 5))
    new = profile(row("gemm", 40, shapes="y", kind="kernel"), row("gemm", 5), step=130)
    (change,) = explain(base, new).changes
    assert (change.kind, change.shapes, change.seconds) == ("kernel", "", pytest.approx(0.030))
    assert change.same_shapes


@pytest.mark.parametrize(("milliseconds", "is_told"), [(11.9, False), (12.1, True), (7.9, True), (8.1, False)])
def test_a_change_below_two_percent_of_the_step_is_rest(milliseconds: float, is_told: bool) -> None:
    explanation = explain(profile(row("a", 10)), profile(row("a", milliseconds)))
    assert bool(explanation.changes) is is_told
    assert [(rest.kind, rest.count) for rest in explanation.rest] == ([] if is_told else [("operator", 1)])


def test_a_change_of_calls_is_told_however_small() -> None:
    explanation = explain(profile(row("a", 0.1)), profile(row("a", 0.1, calls=2)))
    assert [change.name for change in explanation.changes] == ["a"]
    assert not explanation.same_work


def test_the_end_of_an_epoch_in_one_profile_is_no_change_of_calls() -> None:
    new = profile(row("a", 10), row("randperm", 0.1, calls=0.2))
    explanation = explain(profile(row("a", 10)), new)
    assert not explanation.changes
    assert explanation.same_work


def test_what_a_side_may_have_summed_up_is_not_called_gone() -> None:
    base = profile(row("a", 50), row("rare", 0.5), row(OTHERS, 3, calls=20))
    new = profile(row("a", 80), row("odd", 0.6), row(OTHERS, 2.9, calls=21), step=130)
    explanation = explain(base, new)
    assert [change.name for change in explanation.changes] == ["a"]
    assert explanation.rest[0].count == 3
    assert explanation.same_work


@pytest.mark.parametrize(("base_is_cut", "new_is_cut"), [(True, True), (True, False), (False, True)])
def test_small_rows_that_a_side_may_have_summed_up_do_not_meet_by_name(base_is_cut: bool, new_is_cut: bool) -> None:
    base = profile(row("a", 50), row("t", 0.5, 1, shapes="8x4"), *[row(OTHERS, 3, calls=6)] * base_is_cut)
    new = profile(row("a", 80), row("t", 0.4, 2, shapes="2x2"), *[row(OTHERS, 2.9, calls=5)] * new_is_cut, step=130)
    explanation = explain(base, new)
    assert explanation.changes[0].name == "a"
    assert all(change.same_shapes for change in explanation.changes)
    assert explanation.same_work is (base_is_cut and new_is_cut)


def test_a_small_row_that_is_summed_up_does_not_meet_an_added_large_one() -> None:
    base = profile(row("mm", 0.5, shapes="2x2"), row(OTHERS, 3))
    new = profile(row("mm", 40, shapes="64x64"), row(OTHERS, 3.5), step=140)
    (change,) = explain(base, new).changes
    assert (change.shapes, change.base_seconds, change.seconds) == ("64x64", None, 0.040)


def test_what_is_too_large_to_be_summed_up_is_gone() -> None:
    base = profile(row("a", 50), row("large", 5), row(OTHERS, 3))
    assert [change.name for change in explain(base, profile(row("a", 50), row(OTHERS, 3))).changes] == ["large"]


def test_a_whole_list_lacks_what_it_does_not_have() -> None:
    explanation = explain(profile(row("a", 50), row("rare", 0.5)), profile(row("a", 50)))
    assert [change.name for change in explanation.changes] == ["rare"]


def test_the_sum_of_all_others_never_explains() -> None:
    explanation = explain(profile(row(OTHERS, 10)), profile(row(OTHERS, 50, calls=9), step=140))
    assert not explanation.changes
    assert explanation.rest[0].seconds == pytest.approx(0.040)


def test_waiting_for_a_device_is_no_explanation_unless_it_waits_more_often() -> None:
    wait, gemm = "cudaStreamSynchronize", row("gemm", 20, kind="kernel")
    base = profile(row(wait, 20), gemm)
    slower = explain(base, profile(row(wait, 60), replace(gemm, self_seconds_per_step=0.06), step=140))
    assert [change.name for change in slower.changes] == ["gemm"]
    assert slower.between_seconds == pytest.approx(0.040)
    more = explain(base, profile(row(wait, 60, calls=2), gemm, step=140))
    assert [change.name for change in more.changes] == [wait]


def test_a_profile_against_itself_explains_nothing() -> None:
    some = profile(row("a", 10), row("b", 40), row(OTHERS, 3))
    explanation = explain(some, some)
    assert not explanation.changes
    assert explanation.same_work
    assert explanation.share(0.0) is None


def test_a_difference_within_noise_has_no_shares() -> None:
    explanation = explain(profile(row("a", 40)), profile(row("a", 45), step=101))
    assert not explanation.differs
    assert explanation.share(explanation.changes[0].seconds) is None


# Slow-downs that are planted and measured

BASE = Cell.of("train")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """An MLP whose second layer does most of the work, with a place for what is planted.

    It takes longer than all the rest of a step, which on a busy machine may double by itself; the layer in
    float64 takes less, but is the largest of a step already.
    """

    def __init__(self, planted: str | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(784, 256), nn.Linear(256, 2048), nn.Linear(2048, 10)
        self.planted = planted
        self.register_buffer("wide", torch.randn(784, 1024))
        if planted == "float64":
            self.second.double()

    def forward(self, x: Tensor) -> Tensor:  # [B, 784] -> [B, 10]
        if self.planted == "matmul":
            for _ in range(20):
                x @ self.wide  # [B, 784] -> [B, 1024]
        if self.planted == "clone":
            for _ in range(1000):
                x = x.clone()
        if self.planted == "sort":
            for _ in range(10):
                x.sort(dim=1)
        if self.planted == "sin":
            for _ in range(40):
                torch.sin(self.wide)
        x = self.first(x).relu()
        x = self.second(x.double()).float() if self.planted == "float64" else self.second(x)
        return self.last(x.relu())


def measured(planted: str | None) -> Profile:
    """A profile of the quickest of three looks: a neighbour on the machine stays for less than all of them."""
    net = Net(planted)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    images, labels = torch.randn(128, 784), torch.randint(10, (128,))

    def advance() -> Tensor:
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    advance()
    looks = [measure_profile(advance, BASE, steps=4) for _ in range(3)]
    return min(looks, key=lambda look: look.step_seconds)


@pytest.fixture(scope="module")
def plain() -> Profile:
    return measured(None)


@pytest.mark.parametrize(
    ("planted", "culprits"),
    [
        ("matmul", {("aten::mm", "128x784, 784x1024")}),
        # Forward, and backward to the input and to the weights: the layer does three products of one size.
        (
            "float64",
            {
                ("aten::addmm", "2048, 128x256, 256x2048"),
                ("aten::mm", "128x2048, 2048x256"),
                ("aten::mm", "2048x128, 128x256"),
            },
        ),
        ("clone", {("aten::copy_", "128x784, 128x784")}),
        ("sort", {("aten::sort", "128x784")}),
        ("sin", {("aten::sin", "784x1024")}),
    ],
)
def test_a_planted_slow_operator_is_named_first(
    plain: Profile,
    planted: str,
    culprits: set[tuple[str, str]],
    stored: Any,
    reports_command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slower = measured(planted)
    keep(stored, plain, slower)
    first = explain(plain, slower).changes[0]
    assert (first.name, first.shapes) in culprits
    assert first.seconds > 0
    assert reports_command("diff-profile", "1", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("-----")
    assert lines[4].split()[0] in {name for name, _ in culprits}


def test_the_same_code_profiled_twice_does_the_same_work(plain: Profile) -> None:
    assert explain(plain, measured(None)).same_work


# Which profile is meant

CELLS = [
    Cell.of("train"),
    Cell.of("train", model="mlp-residual"),
    Cell.of("train", model="cnn", batch_size=128),
    Cell.of("train", model="cnn", batch_size=128, precision="bf16"),
    Cell.of("inference", model="cnn", batch_size=256),
]
PROFILES = [replace(profile(row("a", 10)), key=cell.key, label=cell.label) for cell in CELLS]


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("inference", "inference cnn 256 cpu fp32"),
        ("infer 256", "inference cnn 256 cpu fp32"),
        ("train cnn bf16", "train cnn 128 cpu bf16"),
        ("precision=bf16", "train cnn 128 cpu bf16"),
        ("BF16 Train", "train cnn 128 cpu bf16"),
        ("mlp", "train mlp 64 cpu fp32"),
        ("resid", "train mlp-residual 64 cpu fp32"),
        ("train", "train mlp 64 cpu fp32"),  # its whole join key
        ("train cnn 128 cpu fp32", "train cnn 128 cpu fp32"),
        ("train batch_size=128 model=cnn", "train cnn 128 cpu fp32"),
    ],
)
def test_a_cell_is_found_by_words(words: str, label: str) -> None:
    assert find_profile([words], PROFILES).label == label
    assert find_profile(words.split(), PROFILES).label == label


def test_words_that_fit_several_cells_list_them() -> None:
    with pytest.raises(NoProfile) as told:
        find_profile(["cnn", "128"], PROFILES)
    assert (
        str(told.value) == "2 profiled cells fit 'cnn 128': train cnn 128 cpu fp32; train cnn 128 cpu bf16. Name one."
    )


def test_words_that_fit_no_cell_list_what_there_is() -> None:
    with pytest.raises(NoProfile, match=r"No profiled cell fits 'train vit'\. There are: train mlp 64 cpu fp32; "):
        fitting(["train", "vit"], PROFILES)


def test_a_long_list_of_cells_is_cut() -> None:
    many = [replace(PROFILES[0], label=f"train m{number}", key=f"train m{number}") for number in range(CANDIDATES + 3)]
    with pytest.raises(NoProfile, match=r"m7; and 3 more\.$"):
        fitting(["nothing"], many)


# The commands


def keep(stored: Any, *profiles: Profile) -> list[Path]:
    """Stores a run for each profile, with the profile beside it."""
    files = [stored.store(stored.run(f"000{number}_1a2b3c_20260101_120000")) for number in range(1, len(profiles) + 1)]
    for file, one in zip(files, profiles, strict=True):
        write_profile(artifact_folder(file), one)
    return files


def test_a_profile_is_shown_with_its_largest_rows(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(stored, profile(row("aten::mm", 50, 2), row("aten::relu", 20), row("aten::t", 8), row(OTHERS, 2, 9)))
    assert reports_command("profile", "train", "mlp", "--top", "2") == 0
    told = capsys.readouterr().out
    assert told.startswith("train mlp 64 cpu fp32: a profiled step takes 100 ms on cpu, mean of 5 steps.\n")
    lines = [line.split() for line in told.splitlines()]
    assert ["aten::mm", "8x8", "2", "50.0", "ms", "50.0%", "50.0", "ms", "–", "–"] in lines
    assert ["all", "others", "10", "10.0", "ms", "10.0%"] in lines
    assert "aten::t" not in told
    assert "Between operators, in Python, the profiler or waiting: 20.0 ms, 20.0% of a step." in told
    assert "longer than a measured one" in told
    assert "Perfetto" not in told


def test_kernels_have_a_table_of_their_own(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = replace(row("aten::mm", 5), device_seconds_per_step=0.03)
    keep(stored, replace(profile(row("gemm", 30, kind="kernel", shapes=""), operator), device="cuda"))
    assert reports_command("profile", "train") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines.index(["kernel", "calls", "self", "share"]) < lines.index(
        ["operator", "shapes", "calls", "self", "share", "total", "device", "FLOP", "memory"]
    )
    assert ["gemm", "1", "30.0", "ms", "30.0%"] in lines


def test_the_trace_is_named_where_there_is_one(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = keep(stored, profile(row("a", 1)))
    trace = trace_path(artifact_folder(file), "train")
    trace.write_bytes(b"")
    reports_command("profile", "train")
    assert capsys.readouterr().out.endswith(f"Perfetto opens: {trace}\n")


def test_the_latest_run_is_shown_unless_another_is_named(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(stored, profile(row("old", 1)), profile(row("recent", 1)))
    reports_command("profile", "train")
    assert "recent" in capsys.readouterr().out
    reports_command("profile", "train", "--run", "1")
    assert "old" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["nothing"], ["cpu"]])
def test_words_that_fit_no_single_cell_are_one_sentence(
    words: list[str], stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = keep(stored, PROFILES[0])
    write_profile(artifact_folder(file), PROFILES[1])
    assert reports_command("profile", *words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "train mlp 64 cpu fp32; train mlp-residual 64 cpu fp32." in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("command", [["profile", "train"], ["diff-profile", "2", "1"]])
def test_a_run_without_profiles_says_how_to_measure_one(
    command: list[str], stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.run("0002_9f8e7d_20251231_090000"))
    stored.store(stored.run())
    assert reports_command(*command) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == ("0002_9f8e7d_20251231_090000 has no profile of any cell: measure one: pytest bench --profile\n")


def test_an_unreadable_profile_is_one_sentence(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = keep(stored, PROFILES[0])
    profile_path(artifact_folder(file), PROFILES[0].key).write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match="cut short"):
        assert reports_command("profile", "train") == 2
    assert "cut short" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="cut short"), pytest.raises(SchemaError):
        profiles_of(file)


def test_each_cell_of_both_runs_is_explained(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    base_file, new_file = keep(stored, PROFILES[0], PROFILES[0])
    for one in PROFILES[1:3]:
        write_profile(artifact_folder(base_file), one)
        write_profile(artifact_folder(new_file), replace(one, step_seconds=0.2))
    write_profile(artifact_folder(base_file), PROFILES[4])
    assert reports_command("diff-profile", "1", "2") == 0
    told = capsys.readouterr().out
    assert [line.partition(":")[0] for line in told.splitlines() if "a profiled step took" in line] == [
        "train cnn 128 cpu fp32",
        "train mlp 64 cpu fp32",
        "train mlp-residual 64 cpu fp32",
    ]
    assert told.endswith("\n1 profiled cell is in one of the runs alone.\n")
    assert "machine or software" not in told
    assert reports_command("diff-profile", "1", "2", "residual") == 0
    assert capsys.readouterr().out.count("a profiled step took") == 1
    assert reports_command("diff-profile", "1", "2", "inference") == 2


def test_runs_without_a_common_profiled_cell_are_told(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(stored, PROFILES[0], PROFILES[2])
    assert reports_command("diff-profile", "1", "2") == 2
    assert capsys.readouterr().err.startswith("No cell has a profile in both 0001_1a2b3c_20260101_120000 and 0002_")


def test_runs_of_two_machines_are_explained_with_a_word_of_warning(
    stored: Any, reports_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(stored, PROFILES[0], PROFILES[0])
    run = stored.run("0002_1a2b3c_20260101_120000")
    stored.store(replace(run, environment={**run.environment, "fingerprint": "another"}))
    assert reports_command("diff-profile", "1", "2") == 0
    assert "The runs differ in machine or software" in capsys.readouterr().out


@pytest.mark.parametrize("top", ["0", "-1", "many"])
def test_a_number_of_rows_that_is_none_is_a_usage_error(top: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["profile", "train", f"--top={top}"])
    assert exit_.value.code == 2


# How an explanation reads


def explained(**parts: Any) -> Explanation:
    changes = (
        Change("aten::mm", "8x8", "operator", 0.010, 0.040, 2, 3),
        Change("gemm", "", "kernel", 0.020, None, 1, 0),
        Change("aten::sin", "4", "operator", None, 0.004, 0, 2.5),
    )
    parts = {"label": "train", "base_seconds": 0.1, "new_seconds": 0.14, "changes": changes, "same_work": False} | parts
    return Explanation(rest=(), between_seconds=0.001, **parts)


def test_an_explanation_shows_before_after_change_share_and_calls() -> None:
    text = terminal.explanation_table(explained(), top=20)
    assert text.startswith("train: a profiled step took 100 ms and takes 140 ms, +40.0 ms.\n")
    rows = [line.split() for line in text.splitlines()[4:]]
    assert rows[0] == ["aten::mm", "8x8", "10.0", "ms", "40.0", "ms", "+30.0", "ms", "75%", "2", "→", "3"]
    assert rows[1] == ["gemm", "kernel", "20.0", "ms", "–", "−20.0", "ms", "−50%", "1", "→", "0"]
    assert rows[2] == ["aten::sin", "4", "–", "4.00", "ms", "+4.00", "ms", "10%", "0", "→", "2.50"]
    assert text.splitlines()[-1].startswith("between operators")


def test_changes_beyond_the_top_are_summed_up() -> None:
    text = terminal.explanation_table(explained(), top=1)
    (line,) = [line for line in text.splitlines() if line.startswith("2 more that changed")]
    assert line.split()[4:] == ["−16.0", "ms", "−40%"]


def test_what_hardly_changed_is_summed_up_in_a_line() -> None:
    some = replace(explained(), rest=(Rest("operator", 7, -0.004), Rest("kernel", 1, 0.002)))
    lines = [line.split() for line in terminal.explanation_table(some, top=1).splitlines()]
    assert ["7", "operators", "that", "hardly", "changed", "−4.00", "ms", "−10%"] in lines
    assert ["1", "kernel", "that", "hardly", "changed", "+2.00", "ms", "5%"] in lines


def test_the_same_work_is_said_to_be_the_same() -> None:
    assert "as often: their times differ" in terminal.explanation_table(explained(same_work=True), top=1)
    assert "as often: their times differ" not in terminal.explanation_table(explained(), top=1)


def test_a_difference_within_noise_is_not_explained() -> None:
    text = terminal.explanation_table(explained(new_seconds=0.101), top=1)
    assert "too little of a difference to explain" in text
    assert "%" not in text


def test_hostile_names_send_no_control_characters_to_the_terminal() -> None:
    hostile = "\x1b[2J\u202e"
    some = profile(row(hostile, 10, shapes=hostile), label=hostile)
    changes = (Change(hostile, hostile, "operator", 0.1, 0.2, 1, 1),)
    for text in (
        terminal.profile_table(some, 5),
        terminal.explanation_table(explained(label=hostile, changes=changes), 5),
    ):
        assert "\x1b" not in text
        assert "\u202e" not in text


# Links for the page


def test_links_are_of_the_cells_that_have_files(stored: Any) -> None:
    (file,) = keep(stored, PROFILES[0])
    folder = artifact_folder(file)
    write_profile(folder, PROFILES[2])
    trace_path(folder, PROFILES[2].key).write_bytes(b"")
    assert artifact_links(file) == {
        PROFILES[0].key: (profile_path(folder, PROFILES[0].key), None),
        PROFILES[2].key: (profile_path(folder, PROFILES[2].key), trace_path(folder, PROFILES[2].key)),
    }


def test_a_run_without_artifacts_has_no_links(stored: Any) -> None:
    assert artifact_links(stored.store(stored.run())) == {}
