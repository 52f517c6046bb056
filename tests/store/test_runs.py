"""Stored runs: found by name, read one by one, and put into one DataFrame."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import trainmark
from trainmark import load_runs
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import SCHEMA_VERSION, SECTION, Record, RunFacts, run_section
from trainmark.store.runs import RunNotFound, UnreadableRun, artifact_folder, find_run, read_run, read_runs, run_files

TRAIN = Record(
    Cell.of("train", model="cnn"),
    "ok",
    metrics={"step_seconds": 0.01, "loss": 0.0, "parameters": 1_070_794, "peak_memory_bytes": None},
    rounds=(0.01, 0.011),
    flags=("unsteady",),
)
FAILED = Record(Cell.of("accuracy", epochs=3), "oom", reason="the kernel killed it at 3.9 GB")
INPUT = Record(Cell.of("input"), "ok", metrics={"step_seconds": 0.002})


def document(run_id: str, records: list[Record], /, **section: Any) -> dict[str, Any]:
    facts = RunFacts(run_id, "2026-01-01T12:00:00+00:00")
    return {
        "machine_info": {"fingerprint": "f1"},
        "commit_info": {"id": "1a2b3c", "dirty": False},
        "benchmarks": [],
        SECTION: run_section(facts, records) | section,
    }


def store(path: Path, run_id: str | None = None, records: list[Record] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(run_id or path.stem, [TRAIN] if records is None else records)))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs of one machine and one that is shipped."""
    store(tmp_path / "Linux" / "0001_baseline.json")
    store(tmp_path / "Linux" / "0002_1a2b3c_20260101_120000.json")
    store(tmp_path / "reference" / "0001_laptop.json")
    return tmp_path


def unreadable(name: str) -> bytes:
    whole = json.dumps(document("a", [TRAIN])).encode()
    return {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "cut by one byte": whole[:-1],
        "not json": b"step_seconds: 0.01\n",
        "binary": bytes(range(256)),
        "newer schema": json.dumps(document("a", [TRAIN], schema_version=SCHEMA_VERSION + 1)).encode(),
        "no schema": json.dumps(document("a", [TRAIN], schema_version=None)).encode(),
        "plain pytest-benchmark": json.dumps({"machine_info": {}, "benchmarks": [{"name": "test_x"}]}).encode(),
        "a list": b"[1, 2]",
        "a record that is none": json.dumps(document("a", [], records=[{"workload": "train"}])).encode(),
        "a run without id": json.dumps(document("a", [], run={"started": "2026"})).encode(),
        "an id that is none": json.dumps(document("a", [], run={"id": [], "started": "2026"})).encode(),
        "too deep": b"[" * 100_000,
    }[name]


UNREADABLE = {
    "empty": "not JSON, or cut short",
    "truncated": "not JSON, or cut short",
    "cut by one byte": "not JSON, or cut short",
    "not json": "not JSON, or cut short",
    "binary": "not JSON, or cut short",
    "newer schema": "update trainmark to read it",
    "no schema": "not a whole number",
    "plain pytest-benchmark": "a run of pytest-benchmark that trainmark did not measure",
    "a list": "not a stored run",
    "a record that is none": "not a record",
    "a run without id": "not the facts of a run",
    "an id that is none": "not the facts of a run",
    "too deep": "not JSON, or cut short",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_file_is_told_in_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "0001_damaged.json"
    path.write_bytes(unreadable(kind))
    with pytest.raises(UnreadableRun) as caught:
        read_run(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert UNREADABLE[kind] in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_file_leaves_the_others_readable(folder: Path, kind: str) -> None:
    (folder / "Linux" / "0003_damaged.json").write_bytes(unreadable(kind))
    with pytest.warns(UserWarning, match="0003_damaged") as caught:
        runs = read_runs(run_files(folder))
    assert [run.name for run in runs] == ["0001_baseline", "0002_1a2b3c_20260101_120000", "0001_laptop"]
    assert len(caught) == 1


def test_a_folder_named_like_a_run_leaves_the_others_readable(folder: Path) -> None:
    (folder / "Linux" / "0003_folder.json").mkdir()
    with pytest.warns(UserWarning, match="0003_folder"):
        assert len(read_runs(run_files(folder))) == 3


def test_a_file_that_is_not_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match=r"No run at .*0001_none.json"):
        read_run(tmp_path / "0001_none.json")


def test_runs_are_listed_in_the_order_they_were_made_and_shipped_ones_last(folder: Path) -> None:
    store(folder / "Linux" / "0010_later.json")
    assert [path.stem for path in run_files(folder)] == [
        "0001_baseline",
        "0002_1a2b3c_20260101_120000",
        "0010_later",
        "0001_laptop",
    ]


def test_the_ten_thousandth_run_comes_after_those_before_it(tmp_path: Path) -> None:
    for name in ("10000_a", "9999_b", "0100_c"):
        (tmp_path / f"{name}.json").touch()
    assert [path.stem for path in run_files(tmp_path)] == ["0100_c", "9999_b", "10000_a"]


def test_only_numbered_files_outside_the_journal_are_runs(folder: Path) -> None:
    for other in (
        "journal/0001_a.json",
        "report.json",
        "report.jsonl",
        "Linux/notes.json",
        "Linux/0001_a.txt",
        "Linux/00001.json",
    ):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_text("{}")
    assert len(run_files(folder)) == 3


def test_a_folder_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert run_files(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["2", "0002", "1a2b3c", "20260101_120000", "0002_1a2b3c_20260101_120000"])
def test_a_run_is_found_by_its_number_or_a_part_of_its_name(folder: Path, name: str) -> None:
    assert find_run(name, folder).name == "0002_1a2b3c_20260101_120000.json"


def test_a_run_is_found_by_a_part_of_its_name_that_is_all_digits(folder: Path) -> None:
    store(folder / "Linux" / "0003_7654321_20260102_120000.json")
    assert find_run("7654321", folder).name == "0003_7654321_20260102_120000.json"
    assert find_run("20260102", folder).name == "0003_7654321_20260102_120000.json"


def test_a_run_is_found_by_its_path(folder: Path) -> None:
    path = folder / "reference" / "0001_laptop.json"
    assert find_run(str(path), folder) == path
    elsewhere = store(folder.parent / "elsewhere.json")
    assert find_run(str(elsewhere), folder) == elsewhere


def test_the_latest_run_is_the_one_that_began_last_whenever_its_file_was_touched(folder: Path) -> None:
    files = run_files(folder)
    for seconds, path in enumerate(files):
        document = json.loads(path.read_text(encoding="utf-8"))
        document[SECTION]["run"]["started"] = f"2026-01-{28 - seconds:02d}T12:00:00+00:00"
        path.write_text(json.dumps(document), encoding="utf-8")
        os.utime(path, (seconds, seconds))
    assert find_run("latest", folder) == files[0]


def test_of_runs_that_began_together_the_one_with_the_greatest_number_is_the_latest(folder: Path) -> None:
    own = [path for path in run_files(folder) if path.parent.name != "reference"]
    assert find_run("latest", folder) == own[-1]


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_a_name_of_nothing_is_refused_though_it_is_a_part_of_every_name(folder: Path, name: str) -> None:
    with pytest.raises(RunNotFound, match="The name of a run is empty"):
        find_run(name, folder)


def test_a_name_that_fits_exactly_goes_before_those_that_have_it_as_a_part(folder: Path) -> None:
    store(folder / "0007_baseline-of-march.json")
    assert find_run("baseline-of-march", folder).stem == "0007_baseline-of-march"
    assert find_run("baseline", folder).stem == "0001_baseline"


def test_a_name_that_fits_two_runs_is_refused_with_both(folder: Path) -> None:
    store(folder / "Linux" / "0003_baseline.json")
    with pytest.raises(RunNotFound, match=r"2 runs fit 'baseline' in .*: .*0001_baseline, .*0003_baseline"):
        find_run("baseline", folder)


def test_a_number_that_two_machines_have_is_refused_so_that_one_can_choose(folder: Path) -> None:
    store(folder / "Darwin" / "0001_baseline.json")
    with pytest.raises(RunNotFound) as caught:
        find_run("1", folder)
    assert all(machine in str(caught.value) for machine in ("Darwin", "Linux"))


@pytest.mark.parametrize("name", ["1", "0001", "baseline"])
def test_a_run_of_ones_own_goes_before_one_that_came_with_the_project(folder: Path, name: str) -> None:
    store(folder / "reference" / "0001_baseline.json")
    assert find_run(name, folder) == folder / "Linux" / "0001_baseline.json"
    (folder / "Linux" / "0001_baseline.json").unlink()
    store(folder / "reference" / "0001_laptop.json").unlink()
    assert find_run(name, folder) == folder / "reference" / "0001_baseline.json"


@pytest.mark.parametrize("name", ["none", "0009", "9", "²", "none.json", "\0", "a" * 300])
def test_a_name_that_fits_nothing_is_refused_with_how_to_record_it(folder: Path, name: str) -> None:
    with pytest.raises(RunNotFound) as caught:
        find_run(name, folder)
    assert f'No run named "{name}"' in str(caught.value)
    assert f"--benchmark-save={name}" in str(caught.value)


@pytest.mark.parametrize("name", ["latest", "1", "baseline"])
def test_an_empty_folder_says_how_to_record_the_first_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunNotFound, match="Record one: pytest bench --benchmark-autosave"):
        find_run(name, tmp_path)


@pytest.mark.parametrize("swap", [False, True])
def test_of_an_interrupted_and_resumed_run_only_the_fullest_file_counts(tmp_path: Path, swap: bool) -> None:
    partial = store(tmp_path / "0001_partial.json", "same", [TRAIN])
    full = store(tmp_path / "0002_full.json", "same", [TRAIN, FAILED])
    other = store(tmp_path / "0003_other.json", "another", [INPUT])
    paths = [full, partial, other] if swap else [partial, full, other]
    assert [run.name for run in read_runs(paths)] == ["0002_full", "0003_other"]


def test_of_two_equally_full_files_of_one_run_the_later_counts(tmp_path: Path) -> None:
    paths = [store(tmp_path / f"000{number}_a.json", "same") for number in (1, 2)]
    assert [run.name for run in read_runs(paths)] == ["0002_a"]


COLUMNS = ["run", "run_id", "fingerprint", "commit", "dirty", "key", "label", "workload", *PARAMETERS, *METRICS]
COLUMNS += ["status", "reason", "rounds", "series", "settings", "disturbance", "flags", "started"]


def test_the_frame_has_a_row_a_record_and_a_column_a_fact(folder: Path) -> None:
    frame = load_runs(folder=folder)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 3
    row = frame.iloc[0]
    assert (row["run"], row["run_id"], row["fingerprint"]) == ("0001_baseline", "0001_baseline", "f1")
    assert (row["commit"], row["dirty"]) == ("1a2b3c", False)
    assert (row["key"], row["label"], row["workload"]) == (TRAIN.key, TRAIN.label, "train")
    assert (row["model"], row["batch_size"], row["rounds"], row["flags"]) == ("cnn", 64, (0.01, 0.011), ("unsteady",))


def frame_of(*records: Record, path: Path) -> pd.DataFrame:
    return to_frame([read_run(store(path / "0001_a.json", records=list(records)))])


@pytest.mark.parametrize("records", [(), (FAILED,), (TRAIN,), (INPUT, TRAIN, FAILED)])
def test_every_metric_is_a_column_of_numbers(tmp_path: Path, records: tuple[Record, ...]) -> None:
    frame = frame_of(*records, path=tmp_path)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == len(records)
    assert [name for name in METRICS if not pd.api.types.is_numeric_dtype(frame[name])] == []


def test_what_was_not_measured_is_nan_and_zero_is_zero(tmp_path: Path) -> None:
    frame = frame_of(TRAIN, FAILED, path=tmp_path)
    measured, failed = frame.iloc[0], frame.iloc[1]
    assert measured["loss"] == 0.0
    assert measured["parameters"] == 1_070_794
    assert math.isnan(measured["peak_memory_bytes"])
    assert math.isnan(measured["accuracy"])
    assert all(math.isnan(failed[name]) for name in METRICS)
    assert failed["reason"] == "the kernel killed it at 3.9 GB"
    assert pd.isna(measured["reason"])


def test_an_axis_that_the_workload_does_not_take_is_empty(tmp_path: Path) -> None:
    frame = frame_of(INPUT, FAILED, path=tmp_path).set_index("workload")
    assert pd.isna(frame.loc["input", "model"])
    assert pd.isna(frame.loc["input", "epochs"])
    assert frame.loc["accuracy", "epochs"] == 3
    assert frame["batch_size"].tolist() == [64, 64]


def test_frames_of_two_runs_join_by_key(folder: Path) -> None:
    frame = load_runs(folder=folder)
    both = frame[frame["run"] == "0001_baseline"].merge(frame[frame["run"] == "0001_laptop"], on="key")
    assert both["step_seconds_x"].tolist() == both["step_seconds_y"].tolist() == [0.01]


def test_only_the_runs_asked_for_are_loaded(folder: Path) -> None:
    frame = load_runs([folder / "reference" / "0001_laptop.json"])
    assert frame["run"].tolist() == ["0001_laptop"]


def test_no_runs_at_all_give_an_empty_frame(tmp_path: Path) -> None:
    frame = load_runs(folder=tmp_path)
    assert frame.empty
    assert list(frame.columns) == COLUMNS


def test_arrays_and_traces_of_a_run_lie_beside_its_file() -> None:
    assert artifact_folder(Path("results/Linux/0001_a.json")) == Path("results/Linux/0001_a")


def in_a_fresh_interpreter(code: str) -> str:
    command = [sys.executable, "-c", code]
    root = Path(trainmark.__file__).parent.parent
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout


def test_reading_results_imports_neither_torch_nor_what_measures() -> None:
    code = "import trainmark.store.frame, trainmark.store.pairs, trainmark.store.journal, sys; print(*sys.modules)"
    loaded = in_a_fresh_interpreter(code).split()
    assert not {"torch", "torchvision", "bench", "models", "reports"} & {name.partition(".")[0] for name in loaded}
    parts = {name.split(".")[1] for name in loaded if name.startswith("trainmark.")}
    assert parts == {"store"}


def test_loading_runs_opens_the_suite_and_leaves_torch_and_the_models_alone() -> None:
    code = "import trainmark, sys; print(len(trainmark.load_runs([]).columns)); print(*sys.modules)"
    columns, loaded = in_a_fresh_interpreter(code).splitlines()
    assert int(columns) == len(COLUMNS)
    assert not {"torch", "torchvision", "models"} & {name.partition(".")[0] for name in loaded.split()}


def test_a_file_with_sorted_keys_gives_the_same_keys_and_labels(tmp_path: Path) -> None:
    record = Record(Cell.of("train", dataset="mnist", compile="default", memory_format="channels_last"), "nan")
    path = tmp_path / "0001_a.json"
    path.write_text(json.dumps(document("a", [record]), sort_keys=True))
    (read,) = read_run(path).records
    assert (read.key, read.label) == (record.key, record.label)
