"""Where numbers lie: every number of a stored run has a range by its kind, and one outside of it is no number."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from docs.evidence.fuzz import nodes, small
from trainmark.store.documents import LARGEST_BYTES, SchemaError, parse, read_document
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.record import SECTION, parse_run, run_section
from trainmark.store.runs import UnreadableRun, read_run, read_runs, run_files


@pytest.fixture
def document(stored: Any) -> dict[str, Any]:
    run = small(stored.full_run())
    return {
        "machine_info": dict(run.environment),
        "commit_info": dict(run.commit),
        SECTION: json.loads(json.dumps(run_section(run.facts, run.records))),
    }


def at(document: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def with_value(document: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = deepcopy(document)
    at(changed, place[:-1])[place[-1]] = value
    return changed


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Numbers


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e300, -1e300, []])
def test_no_number_of_a_record_can_be_just_any(document: dict[str, Any], value: Any) -> None:
    records = (SECTION, "records")
    places = [place for place in nodes(at(document, records)) if is_number(at(at(document, records), place))]
    assert len(places) > 300
    free = {place[-1] for place in places if is_read(with_value(document, (*records, *place), value))}
    assert free == set()


def is_read(document: dict[str, Any]) -> bool:
    try:
        parse_run("0001_a", document)
    except SchemaError:
        return False
    return True


IMPOSSIBLE = {
    "a round of no time": (("rounds", 0), 0.0),
    "a round before it began": (("rounds", 0), -1.0),
    "a share below 0": (("metrics", "accuracy"), -1),
    "a share above 1": (("metrics", "accuracy"), 5.0),
    "the worst seed above 1": (("metrics", "accuracy_lowest"), 5.0),
    "a step before it began": (("metrics", "step_seconds"), -1),
    "a step that no clock can tell": (("metrics", "step_seconds"), 5e-324),
    "a step of no time": (("metrics", "step_seconds"), 0),
    "half a parameter": (("metrics", "parameters"), 0.5),
    "fewer than no parameters": (("metrics", "parameters"), -1),
    "a truth for a count": (("metrics", "parameters"), True),
    "fewer bytes than none": (("metrics", "peak_memory_bytes"), -1),
    "a batch of nothing": (("axes", "batch_size"), 0),
    "half a batch": (("axes", "batch_size"), 0.5),
    "a batch in words": (("axes", "batch_size"), "64"),
    "a model in figures": (("axes", "model"), 3),
    "no steps in a round": (("steps_per_round",), 0),
    "a date that is none": (("started",), "2026-13-45T00:00:00"),
    "a word for a date": (("started",), "<img src=x>"),
    "a curve above 1": (("series", "held_out_accuracy"), [[0.5, 5.0]]),
    "a curve of words": (("series", "held_out_accuracy"), [["good"]]),
    "no threads": (("settings", "threads"), 0),
    "a share of steal below 0": (("disturbance", "steal_share"), -0.1),
    "a number in words": (("disturbance", "control_ratio"), "much"),
    "flags that are a word": (("flags",), "disturbed"),
    "a workload of two words": (("workload",), "train model=x"),
    "a computation without its steps": (("computation",), {"facts": {}}),
}


@pytest.mark.parametrize(("place", "value"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_record_with_what_nothing_measured_is_left_out_by_name(
    document: dict[str, Any], place: tuple[Any, ...], value: Any, tmp_path: Path
) -> None:
    number = 0 if place[0] not in ("series",) and "accuracy" not in str(place) else next(
        number for number, record in enumerate(document[SECTION]["records"]) if record["workload"] == "accuracy"
    )  # fmt: skip
    changed = with_value(document, (SECTION, "records", number, *place), value)
    path = tmp_path / "0001_a.json"
    path.write_text(json.dumps(changed), encoding="utf-8")
    told: list[str] = []
    assert len(read_run(path, told.append).records) == len(document[SECTION]["records"]) - 1
    (sentence,) = told
    assert sentence.startswith(f"{path}: record {number + 1} ")
    assert sentence.endswith("left out.") and "\n" not in sentence


def test_ok_needs_something_that_was_measured(document: dict[str, Any]) -> None:
    record = document[SECTION]["records"][0]
    for metrics in ({}, dict.fromkeys(record["metrics"])):
        with pytest.raises(SchemaError, match="is ok, and nothing of it was measured"):
            parse_run("a", with_value(document, (SECTION, "records", 0, "metrics"), metrics))


def test_of_two_records_of_one_benchmark_neither_counts(document: dict[str, Any], tmp_path: Path) -> None:
    records = document[SECTION]["records"]
    records.append(with_value(records[0], ("metrics", "step_seconds"), 9.0))
    path = tmp_path / "0001_a.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    told: list[str] = []
    kept = read_run(path, told.append).records
    assert len(kept) == len(records) - 2
    assert told == [f"{path}: 2 records are of one benchmark, train; left out."]


FACTS = {
    "complete in words": (("run", "complete"), "no"),
    "complete in figures": (("run", "complete"), 1),
    "a beginning that is no date": (("run", "started"), "yesterday"),
    "a beginning before there were computers": (("run", "started"), "0001-01-01T00:00:00+14:00"),
    "an end that is no date": (("run", "finished"), "2026-02-30T00:00:00"),
    "a peak of nothing": (("run", "peaks"), {"cpu": {"flops_per_second": {"fp32": 0}}}),
    "a peak in words": (("run", "peaks"), {"cpu": {"bytes_per_second": "fast"}}),
    "a plan in figures": (("run", "planned"), [1]),
    "options that are a word": (("run", "options"), "quick"),
    "values of an option that are one": (("run", "options"), {"given": {"model": "mlp"}}),
}


@pytest.mark.parametrize(("place", "value"), FACTS.values(), ids=FACTS)
def test_a_run_with_facts_that_none_has_is_refused(
    document: dict[str, Any], place: tuple[Any, ...], value: Any
) -> None:
    with pytest.raises(SchemaError):
        parse_run("a", with_value(document, (SECTION, *place), value))


@pytest.mark.parametrize(
    ("metric", "inside", "outside"),
    [
        (Metric("s", "lower", "time", "a time"), (1e-9, 1, 1e6), (0, -1, 5e-324, 1e11)),
        (Metric("s", "lower", "no", "a part of a step"), (0, 0.5), (-1e-9, 1e11)),
        (Metric("share", "higher", "no", "a share"), (0, 1, 0.5), (-0.1, 1.1)),
        (Metric("", "higher", "points", "a share", 0.01), (0, 1), (-1, 5.0)),
        (Metric("", "lower", "exact", "a count"), (0, 7), (-1, 0.5, 2**64)),
        (Metric("B", "lower", "tolerance", "a size", 0.1), (0, 1.5, 10**15), (-1, 1e200)),
        (Metric("1/s", "higher", "no", "a rate"), (0, 1e12), (-1, 1e200)),
        (Metric("", "lower", "no", "a loss", signed=True), (-3.5, 0, 1e30), (1e200, -1e200)),
        (Metric("m", "lower", "difference", "a distance", 0.05), (-3.5, 2), (1e200,)),
    ],
)
def test_a_new_metric_has_its_range_from_its_kind(metric: Metric, inside: Any, outside: Any) -> None:
    assert [value for value in inside if value not in metric.range] == []
    assert [value for value in (*outside, float("nan"), float("inf"), 10**400) if value in metric.range] == []


def test_every_metric_leaves_out_what_nothing_measures() -> None:
    for name, metric in METRICS.items():
        assert not any(value in metric.range for value in (float("nan"), float("-inf"), 1e200, -1e200)), name
        assert metric.signed or metric.unit not in ("", "s", "B", "share", "1/s") or -1 not in metric.range, name


# Texts and files


@pytest.mark.parametrize(
    "text",
    [b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": 1, "a": 1}', b"\xff", b"",
     b'{"b": {"a": 1, "c": 2, "a": 3}}', b"1" * 5000, b"[" * 100_000, b"{} {}", b'"\x00"'],
)  # fmt: skip
def test_what_json_has_not_is_no_document(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "0001_a.json"
    path.write_bytes(text)
    with pytest.raises(SchemaError, match="not JSON, or cut short"):
        read_document(path)


def test_a_mark_before_the_text_does_no_harm() -> None:
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("deep", [20, 900])
def test_facts_are_no_deeper_than_a_reader_follows(document: dict[str, Any], deep: int) -> None:
    value: Any = 1
    for _ in range(deep):
        value = {"a": value}
    for place in (
        ("machine_info", "cpu_cores"),
        ("commit_info", "x"),
        (SECTION, "run", "options"),
        (SECTION, "records", 0, "settings"),
    ):
        with pytest.raises(SchemaError, match="nested more than"):
            parse_run("a", with_value(document, place, value))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def too_large(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(LARGEST_BYTES + 1)


@pytest.mark.parametrize("make", [Path.mkdir, pipe, link_to_nothing, loop, device, too_large])
def test_what_is_no_file_of_a_run_is_told_at_once_and_left_out(stored: Any, make: Callable[[Path], None]) -> None:
    stored.store(stored.run())
    path = stored.folder / "0009_a.json"
    make(path)
    told: list[str] = []
    assert [run.name for run in read_runs(run_files(stored.folder), told.append)] == [stored.run().name]
    (sentence,) = told
    assert sentence.startswith(f"{path}: ")
    with pytest.raises(UnreadableRun):
        read_run(path)


def test_what_is_written_of_a_run_is_read_again(stored: Any) -> None:
    run = stored.full_run()
    assert read_run(stored.store(run)) == replace(run, records=run.records)
