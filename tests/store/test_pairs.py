"""Paired runs: their file, what makes a pair disturbed, and what holds for any pair."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmark.store.pairs import (
    CONTROL_DRIFT,
    STEAL_SHARE,
    WAITING_SHARE,
    Pair,
    PairedRun,
    Replicate,
    find_paired,
    is_paired,
    paired_files,
    read_paired_run,
    read_paired_runs,
    write_paired_run,
)
from trainmark.store.record import Run, RunFacts
from trainmark.store.runs import RunNotFound, UnreadableRun, run_files

PAIR = Pair(Replicate((0.02, 0.021, 0.019, 0.03), (0.03,) * 4), Replicate((0.04, 0.042, 0.038, 0.06), (0.06,) * 4), 3)
FACTS = RunFacts("20260101T120000-abcdef", "2026-01-01T12:00:00+00:00", complete=True)
RUN = PairedRun(
    base=Run("main (1a2b3c)", FACTS, {"fingerprint": "f"}, {"id": "1a2b3c"}, ()),
    new=Run(FACTS.id, FACTS, {"fingerprint": "f"}, {}, ()),
    side="main",
    pairs={"train": (PAIR, replace(PAIR, confirming=True))},
    steps={"train": 8},
    seed=5,
    margins="3%",
    pair_seconds=1.5,
)
blocks = st.lists(st.floats(1e-6, 10), min_size=1, max_size=12)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = write_paired_run(RUN, tmp_path)
    assert read_paired_run(path) == RUN
    assert read_paired_runs(tmp_path) == [RUN]


def test_paired_runs_are_not_taken_for_stored_ones(tmp_path: Path) -> None:
    path = write_paired_run(RUN, tmp_path)
    assert run_files(tmp_path) == []
    assert list(tmp_path.rglob("*.json")) == []  # which pytest-benchmark takes for runs
    assert is_paired(path)


def test_a_paired_run_of_the_older_ending_is_listed_in_its_turn_and_read(tmp_path: Path) -> None:
    runs = [replace(RUN, new=replace(RUN.new, name=f"2026010{day}T120000-abcdef")) for day in (1, 2, 3)]
    paths = [write_paired_run(run, tmp_path) for run in runs]
    paths[1].unlink()
    paths[1] = paths[1].with_suffix(".json")
    paths[1].write_text(json.dumps(whole(runs[1])), encoding="utf-8")
    runs[1] = replace(runs[1], pair_seconds=None)  # which nobody kept then
    assert paired_files(tmp_path) == paths
    assert read_paired_runs(tmp_path) == runs
    assert find_paired("20260102", tmp_path) == paths[1]
    assert is_paired(paths[0]) and is_paired(paths[1])


@pytest.mark.parametrize("name", ["latest", "20260101", "abcdef"])
def test_a_paired_run_is_named_by_a_part_of_its_file_or_as_latest(tmp_path: Path, name: str) -> None:
    path = write_paired_run(RUN, tmp_path)
    assert find_paired(name, tmp_path) == find_paired(str(path), tmp_path) == path


def test_a_side_names_the_latest_run_against_it(tmp_path: Path) -> None:
    runs = [
        replace(RUN, side=side, new=replace(RUN.new, name=f"2026010{day}T120000-abcdef"))
        for day, side in ((1, "main"), (2, "main"), (3, "self"))
    ]
    paths = [write_paired_run(run, tmp_path) for run in runs]
    assert find_paired("main", tmp_path) == paths[1]
    assert find_paired("latest", tmp_path) == find_paired("self", tmp_path) == paths[2]
    with pytest.raises(RunNotFound, match=r"3 paired runs fit 'abcdef' in .*: pairs/20260101T120000-abcdef, pairs/"):
        find_paired("abcdef", tmp_path)


@pytest.mark.parametrize("name", ["latest", "nowhere"])
def test_what_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    assert paired_files(tmp_path) == []
    assert find_paired(name, tmp_path) is None


def whole(run: PairedRun) -> dict[str, object]:
    """The run as it was stored before each pair had a line of its own: one document."""

    def told(side: Run) -> dict[str, object]:
        words = {"name": side.name, "environment": side.environment, "commit": side.commit, "records": []}
        return {**words, "facts": side.facts.to_json()}

    return {
        "schema_version": 1,
        "side": run.side,
        "seed": run.seed,
        "seconds": run.seconds,
        "margins": run.margins,
        "base": told(run.base),
        "new": told(run.new),
        "steps": run.steps,
        "pairs": {key: [asdict(pair) for pair in pairs] for key, pairs in run.pairs.items()},
    }


def broken(**parts: object) -> str:
    return json.dumps(whole(RUN) | parts)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        broken(schema_version=99),
        broken(pairs={"train": [{"base": {"blocks": []}, "new": {"blocks": []}}]}),
        broken(pairs={"train": [{"base": {"blocks": [0.0], "wall_blocks": []}, "new": {"blocks": [1.0]}}]}),
        broken(base=None),
        broken(pairs=[1]),
    ],
)
def test_a_damaged_file_is_one_sentence_and_never_a_traceback(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableRun, match=r"broken\.json"):
        read_paired_run(path)


def test_the_quicker_half_of_the_blocks_stands_for_a_side() -> None:
    assert Replicate((5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 800.0)).seconds == pytest.approx(24**0.25)
    assert Replicate((2.0,)).seconds == pytest.approx(2.0)


@pytest.mark.parametrize(
    "half",
    [
        Replicate((1.0,), waiting_share=WAITING_SHARE * 1.01),
        Replicate((1.0,), steal_share=STEAL_SHARE * 1.01),
        Replicate((1.0,), throttled=True),
        Replicate((1.0,), control_drift=-CONTROL_DRIFT * 1.01),
        Replicate((1.0,), control_drift=CONTROL_DRIFT * 1.01),
    ],
)
def test_a_pair_is_dropped_where_either_half_was_disturbed(half: Replicate) -> None:
    quiet = Replicate((1.0,), waiting_share=None, steal_share=0.0, control_drift=0.01)
    assert Pair(half, quiet).disturbed
    assert Pair(quiet, half).disturbed
    assert not Pair(quiet, quiet).disturbed


@given(blocks, blocks)
def test_whether_a_pair_is_dropped_does_not_depend_on_its_times(base: list[float], new: list[float]) -> None:
    busy = Replicate(tuple(base), waiting_share=0.9)
    assert Pair(busy, Replicate(tuple(new))).disturbed
    assert not Pair(Replicate(tuple(base)), Replicate(tuple(new))).disturbed


@given(blocks, blocks, st.floats(1e-3, 1e3))
def test_swapping_sides_inverts_the_ratio_and_scaling_both_changes_nothing(
    base: list[float], new: list[float], by: float
) -> None:
    pair = Pair(Replicate(tuple(base)), Replicate(tuple(new)))
    assert Pair(pair.new, pair.base).log_ratio == pytest.approx(-pair.log_ratio)
    scaled = Pair(Replicate(tuple(by * one for one in base)), Replicate(tuple(by * one for one in new)))
    assert scaled.log_ratio == pytest.approx(pair.log_ratio, abs=1e-9)


@given(blocks)
def test_a_side_against_itself_has_no_difference(some: list[float]) -> None:
    assert Pair(Replicate(tuple(some)), Replicate(tuple(some))).log_ratio == 0
