"""The schema: what a record may hold, and its way through JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainmark.store.cell import Cell
from trainmark.store.documents import SchemaError
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.record import (
    FAILED,
    SCHEMA_VERSION,
    SECTION,
    STATUSES,
    Record,
    RunFacts,
    check_schema_version,
    parse_run,
    run_section,
)

FULL = Record(
    cell=Cell.of("train", model="cnn", batch_size=128, precision="bf16"),
    status="ok",
    metrics={"step_seconds": 0.0125, "parameters": 1_070_794, "peak_memory_bytes": None, "loss": 0.0},
    rounds=(0.0124, 0.0125, 0.0127),
    host_rounds=(0.0130, 0.0131, 0.0129),
    steps_per_round=8,
    series={"held_out_accuracy": [[0.91, 0.95], [0.90, 0.96]]},
    settings={"threads": 1, "seeds": 2},
    disturbance={"steal_share": 0.0, "load": None},
    flags=("disturbed", "few-rounds"),
    started="2026-01-01T12:00:00+00:00",
)
FACTS = RunFacts(
    id="20260101T120000Z-1a2b",
    started="2026-01-01T12:00:00+00:00",
    finished="2026-01-01T12:30:00+00:00",
    complete=True,
    options={"--model": ["cnn"], "--full": False},
    planned=("train model=cnn", "train"),
)


def through_json(document: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    return copy


def document_of(**changes: Any) -> dict[str, Any]:
    """FULL as JSON, with these parts in place of its own."""
    return through_json(FULL.to_json()) | changes


def test_a_record_comes_back_from_json_as_it_was() -> None:
    assert Record.from_json(through_json(FULL.to_json())) == FULL


@pytest.mark.parametrize("status", STATUSES)
def test_a_record_of_nothing_but_its_status_comes_back(status: str) -> None:
    metrics = {"step_seconds": 0.1} if status == "ok" else {}  # which needs something that was measured
    record = Record(Cell.of("input"), status, metrics=metrics)
    assert Record.from_json(through_json(record.to_json())) == record


def test_none_stays_none_and_zero_stays_zero() -> None:
    metrics = Record.from_json(through_json(FULL.to_json())).metrics
    assert metrics["peak_memory_bytes"] is None
    assert metrics["loss"] == 0.0
    assert "accuracy" not in metrics


def test_a_document_names_the_workload_and_each_axis() -> None:
    document = FULL.to_json()
    assert document["workload"] == "train"
    assert document["axes"]["batch_size"] == 128
    assert "cell" not in document


def test_an_unknown_key_and_an_unknown_metric_do_no_harm() -> None:
    document = document_of(colour="green")
    document["metrics"]["joules_of_a_later_version"] = 3.0
    assert Record.from_json(document) == FULL


def test_a_record_made_before_an_axis_existed_meets_its_like() -> None:
    document = document_of()
    del document["axes"]["memory_format"]
    assert Record.from_json(document).key == FULL.key


@pytest.mark.parametrize("status", ["ok ", "OK", "", "passed"])
def test_an_unknown_status_is_refused(status: str) -> None:
    with pytest.raises(SchemaError, match="is not one of ok, oom"):
        Record(Cell.of("train"), status)


def test_an_unknown_metric_is_refused_when_a_record_is_made() -> None:
    with pytest.raises(SchemaError, match="no metric named step_secs"):
        Record(Cell.of("train"), "ok", metrics={"step_secs": 1.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_is_a_number_or_none(value: float) -> None:
    with pytest.raises(SchemaError, match="what was not measured is None"):
        Record(Cell.of("train"), "ok", metrics={"step_seconds": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["rounds", "host_rounds"])
def test_a_round_is_a_finite_number_by_either_clock(name: str, value: float) -> None:
    with pytest.raises(SchemaError, match="has no finite duration"):
        Record(Cell.of("train"), "ok", **{name: (1.0, value)})  # type: ignore[arg-type]  # of both kinds


@pytest.mark.parametrize("missing", ["workload", "axes", "status", "metrics"])
def test_a_record_without_a_needed_part_is_refused(missing: str) -> None:
    document = document_of()
    del document[missing]
    with pytest.raises(SchemaError):
        Record.from_json(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": None},
        {"workload": 7},
        {"workload": ["train"]},
        {"axes": None},
        {"axes": ["model", "cnn"]},
        {"axes": "model"},
        {"axes": {"model": ["cnn"]}},
        {"status": None},
        {"status": []},
        {"metrics": None},
        {"metrics": [1.0]},
        {"metrics": {"step_seconds": "0.0125"}},
        {"metrics": {"step_seconds": float("nan")}},
        {"metrics": {"step_seconds": {}}},
        {"rounds": None},
        {"rounds": 0.0125},
        {"rounds": ["fast"]},
        {"rounds": "0.01"},
        {"settings": None},
        {"disturbance": 3},
        {"flags": 3},
    ],
    ids=str,
)
def test_a_record_with_a_part_of_the_wrong_kind_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        Record.from_json(document_of(**changes))


@pytest.mark.parametrize("document", [None, 3, "record", [], [1, 2], {}])
def test_what_is_no_record_at_all_is_refused(document: Any) -> None:
    with pytest.raises(SchemaError):
        Record.from_json(document)


def test_a_failed_record_was_tried() -> None:
    assert [status for status in STATUSES if Record(Cell.of("train"), status).failed] == list(FAILED)
    assert "skipped" not in FAILED
    assert "ok" not in FAILED


def test_every_metric_says_how_it_is_compared() -> None:
    for name, metric in METRICS.items():
        assert metric.better in {"lower", "higher", "neither"}, name
        assert metric.compared in {"time", "exact", "explains", "tolerance", "points", "no"}, name
        assert (metric.tolerance is not None) == (metric.compared in {"tolerance", "points"}), name


@pytest.mark.parametrize(
    ("better", "compared", "tolerance"),
    [
        ("more", "exact", None),
        ("lower", "smell", None),
        ("lower", "tolerance", None),
        ("lower", "points", None),
        ("lower", "time", 0.1),
        ("lower", "no", 0.0),
    ],
)
def test_a_metric_that_nothing_could_judge_is_refused(better: str, compared: str, tolerance: float | None) -> None:
    with pytest.raises(ValueError):
        Metric("s", better, compared, "", tolerance)


@pytest.mark.parametrize(
    ("ending", "unit"),
    [
        ("_seconds", "s"),
        ("_bytes", "B"),
        ("samples_per_second", "1/s"),
        ("flops_per_second", "FLOP/s"),
        ("bytes_per_second", "B/s"),
        ("bytes_per_step", "B"),
        ("flops_per_step", "FLOP"),
        ("_watts", "W"),
    ],
)
def test_a_metrics_name_carries_its_unit(ending: str, unit: str) -> None:
    assert {metric.unit for name, metric in METRICS.items() if name.endswith(ending)} == {unit}


def test_facts_of_a_run_come_back_from_json_as_they_were() -> None:
    assert RunFacts.from_json(through_json(FACTS.to_json())) == FACTS


def test_facts_of_a_run_in_progress_have_no_end() -> None:
    facts = RunFacts.from_json({"id": "a", "started": "2026-01-01T12:00:00+00:00"})
    assert facts.finished is None
    assert not facts.complete


def test_an_unknown_fact_does_no_harm() -> None:
    assert RunFacts.from_json(through_json(FACTS.to_json()) | {"weather": "rain"}) == FACTS


@pytest.mark.parametrize("document", [None, [], 3, "run", {}, {"id": "a"}, {"id": "a", "started": "b", "planned": 3}])
def test_what_is_not_the_facts_of_a_run_is_refused(document: Any) -> None:
    with pytest.raises(SchemaError):
        RunFacts.from_json(document)


def stored(**changes: Any) -> dict[str, Any]:
    return {
        "machine_info": {"fingerprint": "f1"},
        "commit_info": {"id": "1a2b3c", "dirty": False, "branch": "main"},
        "benchmarks": [],
        SECTION: through_json(run_section(FACTS, [FULL])) | changes,
    }


def test_a_stored_run_comes_back_as_it_was() -> None:
    run = parse_run("0001_1a2b3c", stored())
    assert run.name == "0001_1a2b3c"
    assert run.facts == FACTS
    assert run.records == (FULL,)
    assert run.environment == {"fingerprint": "f1"}
    assert run.commit["id"] == "1a2b3c"


@pytest.mark.parametrize("document", [None, [], 3, "run", {}, {SECTION: None}, {SECTION: []}])
def test_what_is_no_stored_run_is_refused(document: Any) -> None:
    with pytest.raises(SchemaError, match="not a stored run"):
        parse_run("a", document)


def test_a_run_that_only_pytest_benchmark_measured_is_told_apart() -> None:
    with pytest.raises(SchemaError, match="a run of pytest-benchmark that trainmark did not measure"):
        parse_run("a", {"machine_info": {}, "benchmarks": [{"name": "test_x"}]})


@pytest.mark.parametrize("changes", [{"run": None}, {"records": None}, {"records": {}}, {"run": []}])
def test_a_stored_run_without_its_facts_or_records_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="its run or its records are missing"):
        parse_run("a", stored(**changes))


def test_a_run_without_environment_and_commit_is_read() -> None:
    document = stored()
    del document["machine_info"], document["commit_info"]
    run = parse_run("a", document)
    assert (dict(run.environment), dict(run.commit)) == ({}, {})


def test_this_version_and_every_older_one_is_read() -> None:
    for version in range(1, SCHEMA_VERSION + 1):
        check_schema_version(version)


def test_a_newer_schema_is_refused_with_what_to_do() -> None:
    with pytest.raises(SchemaError, match=f"reads up to {SCHEMA_VERSION}: update trainmark"):
        parse_run("a", stored(schema_version=SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.0, True, [], {}])
def test_what_is_no_schema_version_is_refused(version: Any) -> None:
    with pytest.raises(SchemaError, match="not a whole number"):
        check_schema_version(version)
