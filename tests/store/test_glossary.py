"""The words of a run: a reader that lacks the suite learns them from the file, and changes none that it knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import trainmark
from trainmark.formatting import metric
from trainmark.store import glossary
from trainmark.store.cell import WORKLOADS, Cell, WorkloadFacts
from trainmark.store.documents import SchemaError
from trainmark.store.frame import to_frame
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.pairs import PairedRun, read_paired_run, write_paired_run
from trainmark.store.parameters import PARAMETERS, Parameter
from trainmark.store.record import SECTION, Record, Run, RunFacts, parse_run, read_records, run_section
from trainmark.store.runs import UnreadableRun, read_run
from trainmark.workloads import Workload, register

ROOT = Path(trainmark.__file__).parent.parent
FACTS = RunFacts("20260101T120000Z-1a2b", "2026-01-01T12:00:00+00:00", complete=True)

# Of a suite that nobody here has.
WIDTH = Parameter("width", 5, "of the kernel", wording="width {value}{s}", title="Kernel", values=(3, 5, 7))
MODE = Parameter("mode", "plain", "of folding", same_arithmetic=True)
FOLDS = Metric("1/s", "higher", "tolerance", "folds a second", 0.05)
FOLD = WorkloadFacts(
    name="fold", parameters=("width", "mode", "device"), meaning="paper", round_unit="fold", shown=("width",)
)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """What a test learns is forgotten after it."""
    kept = [(registry, dict(registry)) for registry in (PARAMETERS, METRICS, WORKLOADS)]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


def forget() -> None:
    """As a reader that never met that suite."""
    for registry, names in ((PARAMETERS, ("width", "mode")), (METRICS, ("folds",)), (WORKLOADS, ("fold",))):
        for name in names:
            registry.pop(name, None)  # type: ignore[attr-defined]


@pytest.fixture
def document() -> dict[str, Any]:
    """A run of that suite, as it is stored; by now the suite is gone."""
    PARAMETERS.update(width=WIDTH, mode=MODE)
    METRICS["folds"] = FOLDS
    WORKLOADS["fold"] = FOLD
    records = [Record(Cell.of("fold", width=width), "ok", metrics={"folds": 3.5}) for width in (5, 7)]
    stored = json.loads(json.dumps({"benchmarks": [], SECTION: run_section(FACTS, records)}, allow_nan=False))
    forget()
    return stored  # type: ignore[no-any-return]


def words(document: dict[str, Any]) -> dict[str, Any]:
    return document[SECTION]["glossary"]  # type: ignore[no-any-return]


# What nobody here knows


def test_a_reader_without_the_suite_learns_its_words(document: dict[str, Any]) -> None:
    run = parse_run("0001_a", document)
    assert (PARAMETERS["width"], PARAMETERS["mode"], METRICS["folds"]) == (WIDTH, MODE, FOLDS)
    assert WORKLOADS["fold"] == FOLD
    assert [record.label for record in run.records] == ["fold width 5s", "fold width 7s"]
    assert [record.key for record in run.records] == ["fold", "fold width=7"]
    assert metric("folds", run.records[0].metrics["folds"]) == "3.50 1/s"
    frame = to_frame([run])
    assert (frame["width"].tolist(), frame["folds"].tolist()) == ([5, 7], [3.5, 3.5])


def test_what_was_learned_can_be_stored_again_as_it_was(document: dict[str, Any]) -> None:
    run = parse_run("0001_a", document)
    assert json.loads(json.dumps(run_section(run.facts, run.records))) == document[SECTION]


def test_a_vocabulary_is_of_plain_json_types_and_holds_what_its_records_need_alone() -> None:
    said = glossary.describe([Cell.of("input"), Cell.of("input", loader="dataloader")], ["step_seconds"])
    assert json.loads(json.dumps(said)) == said
    assert list(said["workloads"]) == ["input"]
    assert list(said["metrics"]) == ["step_seconds"]
    assert list(said["parameters"]) == list(WORKLOADS["input"].parameters)
    assert "locate" not in said["parameters"]["dataset"]


def test_a_run_without_a_vocabulary_is_read_by_what_is_known(document: dict[str, Any]) -> None:
    record = Record(Cell.of("train", model="cnn"), "ok", metrics={"step_seconds": 0.01})
    assert read_records([record.to_json()], None) == (record,)
    foreign = read_records(document[SECTION]["records"], None)  # of a suite that is not here
    assert [one.key for one in foreign] == ["fold mode=plain width=5", "fold mode=plain width=7"]
    assert foreign[0].metrics == {}


def test_keys_of_a_later_version_do_no_harm(document: dict[str, Any]) -> None:
    for kind in words(document).values():
        for entry in kind.values():
            entry["mood"] = "good"
    words(document)["colours"] = {"red": {}}
    assert len(parse_run("a", document).records) == 2
    assert PARAMETERS["width"] == WIDTH


def test_a_paired_run_brings_its_words_too(document: dict[str, Any], tmp_path: Path) -> None:
    run = parse_run("20260101T120000-1a2b3c", document)
    side = Run(run.name, FACTS, {}, {}, run.records)
    path = write_paired_run(PairedRun(base=side, new=side, side="main", pairs={}), tmp_path)
    forget()
    read = read_paired_run(path)
    assert [record.label for record in read.new.records] == ["fold width 5s", "fold width 7s"]
    assert [record.metrics for record in read.base.records] == [{"folds": 3.5}] * 2


def fresh(code: str, folder: Path, *arguments: object) -> str:
    """What code prints in a process of its own, in a folder that is no suite."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "TRAINMARK_ROOT"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_without_the_suite_reads_labels_keys_and_metrics_as_the_suite_does(
    stored: Any, tmp_path: Path
) -> None:
    records = (
        Record(Cell.of("ngram_fit", order=4, tokens=1000), "ok", metrics={"fit_seconds": 1.5, "table_entries": 7}),
        Record(Cell.of("lecture", epochs=2), "ok", metrics={"claims": 9, "claims_held": 8}),
        Record(Cell.of("input", loader="dataloader"), "ok", metrics={"step_seconds": 0.002}),
    )
    file = stored.store(Run("0001_a", FACTS, {}, {}, records))
    code = """
import json, sys
from pathlib import Path
from trainmark.store.runs import read_run
run = read_run(Path(sys.argv[1]))
assert not {"bench", "models", "reports", "trainmark.workloads"} & set(sys.modules)
print(json.dumps([[one.label, one.key, one.metrics] for one in run.records]))
"""
    told = json.loads(fresh(code, tmp_path, file))
    assert told == [[record.label, record.key, dict(record.metrics)] for record in records]


def test_the_page_opens_without_the_suite_that_measured(stored: Any, tmp_path: Path) -> None:
    records = (Record(Cell.of("ngram_fit", order=4), "ok", metrics={"fit_seconds": 1.5}, rounds=(1.5, 1.6)),)
    file = stored.store(Run("0001_a", FACTS, {}, {}, records))
    code = """
import sys
from trainmark.cli import main
assert main(["html", sys.argv[1], "-o", "page.html", "--results", "."]) == 0
assert not {"bench", "reports"} & set(sys.modules)
"""
    fresh(code, tmp_path, file)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "numba" in page.partition('id="of-ngram-fit"')[2].partition("</table>")[0]
    assert "order 4" in page
    assert "median over the rounds of the time from text to n-gram model" in page


# What is known


def test_what_is_known_stands(document: dict[str, Any]) -> None:
    said = words(document)
    said["parameters"]["device"].update(meaning="another", values=["abacus"])
    said["metrics"]["step_seconds"] = {**said["metrics"]["folds"], "meaning": "another"}
    said["workloads"]["train"] = {**said["workloads"]["fold"], "meaning": "another"}
    before = (PARAMETERS["device"], METRICS["step_seconds"], WORKLOADS["train"])
    parse_run("a", document)
    assert (PARAMETERS["device"], METRICS["step_seconds"], WORKLOADS["train"]) == before


def test_what_one_run_brought_another_does_not_change(document: dict[str, Any]) -> None:
    other = deepcopy(document)
    words(other)["metrics"]["folds"]["meaning"] = "another"
    for one in (document, other):
        parse_run("a", one)
    assert METRICS["folds"] == FOLDS


def test_a_suite_that_is_opened_later_takes_the_place_of_what_was_learned(document: dict[str, Any]) -> None:
    parse_run("a", document)
    mode = Parameter("mode", "plain", "of folding, told anew", locate=lambda text: (text, None))
    own = Workload(
        name="fold",
        parameters=("mode", "width"),
        meaning="paper",
        round_unit="fold",
        own_parameters=(mode, WIDTH),
        own_metrics={"folds": Metric("1/s", "higher", "no", "folds a second")},
    )
    register(own)
    assert (PARAMETERS["mode"], METRICS["folds"].compared, WORKLOADS["fold"]) == (mode, "no", own)
    assert list(PARAMETERS)[-2:] == ["mode", "width"]  # in the order in which a label shows them
    parse_run("a", document)
    assert WORKLOADS["fold"] is own


def test_a_suite_opened_after_a_run_of_it_was_read_is_as_one_opened_before(stored: Any, tmp_path: Path) -> None:
    file = stored.store(
        Run("0001_a", FACTS, {}, {}, (Record(Cell.of("ngram_fit", tokens=9, corpus="a.txt"), "skipped"),))
    )
    code = f"""
import sys
from pathlib import Path
from trainmark.store.runs import read_run
from trainmark.suite import open_suite
from trainmark.store.parameters import PARAMETERS
if sys.argv[2] == "first":
    open_suite(Path({str(ROOT)!r}))
read_run(Path(sys.argv[1]))
open_suite(Path({str(ROOT)!r}))
print(list(PARAMETERS), PARAMETERS["corpus"].locate is not None, read_run(Path(sys.argv[1])).records[0].label)
"""
    assert fresh(code, tmp_path, file, "first") == fresh(code, tmp_path, file, "later")


def test_two_of_one_name_that_are_both_registered_still_clash() -> None:
    register(Workload(name="fold", parameters=("width",), meaning="", round_unit="", own_parameters=(WIDTH,)))
    with pytest.raises(ValueError, match="width is there already"):
        register(
            Workload(name="bend", parameters=(), meaning="", round_unit="", own_parameters=(Parameter("width", 9, ""),))
        )


# Defaults


def without_width(document: dict[str, Any]) -> dict[str, Any]:
    """The run with a first record from before its suite had that parameter."""
    changed = deepcopy(document)
    del changed[SECTION]["records"][0]["axes"]["width"]
    return changed


def test_a_parameter_that_is_left_out_and_has_the_same_default_stays_out(document: dict[str, Any]) -> None:
    record, _ = parse_run("a", without_width(document)).records
    assert record.key == "fold"
    assert "width" not in record.cell.settings


def test_a_parameter_whose_default_differs_here_is_filled_in(document: dict[str, Any]) -> None:
    PARAMETERS["width"] = Parameter("width", 3, "of another kernel")
    record, other = parse_run("a", without_width(document)).records
    assert record.cell["width"] == 5
    assert (record.key, other.key) == ("fold width=5", "fold width=7")
    narrow = Record(Cell("fold", (("width", 3), ("mode", "plain"), ("device", "cpu"))), "ok")
    assert narrow.key != record.key  # they are two cells, though each is at the default of its own suite


def test_a_value_that_is_given_is_kept_whatever_the_defaults(document: dict[str, Any]) -> None:
    PARAMETERS["width"] = Parameter("width", 7, "of another kernel")
    assert [record.cell["width"] for record in parse_run("a", document).records] == [5, 7]


def test_a_workload_is_given_no_parameter_that_it_does_not_take(document: dict[str, Any]) -> None:
    words(document)["workloads"]["fold"]["parameters"] = ["mode"]
    PARAMETERS["width"] = Parameter("width", 3, "of another kernel")
    record, _ = parse_run("a", without_width(document)).records
    assert "width" not in record.cell.settings


def test_a_parameter_that_a_workload_takes_and_no_record_names_leaves_the_frame_readable(
    document: dict[str, Any],
) -> None:
    words(document)["workloads"]["fold"]["parameters"].append("depth")
    frame = to_frame([parse_run("a", document)])
    assert frame["width"].tolist() == [5, 7]


# What is no glossary


def broken(kind: str, name: str, **parts: Any) -> Any:
    """A change of one entry; None takes the part away."""

    def change(said: dict[str, Any]) -> None:
        entry = said[kind][name]
        entry.update(parts)
        for key in [key for key, value in parts.items() if value is ...]:
            del entry[key]

    return change


MALFORMED = {
    "a parameter without a default": broken("parameters", "width", default=...),
    "a default that is a list": broken("parameters", "width", default=[5]),
    "a default that is a fraction": broken("parameters", "width", default=0.5),
    "no meaning": broken("parameters", "width", meaning=...),
    "a meaning that is none": broken("parameters", "width", meaning=None),
    "a wording that is a number": broken("parameters", "width", wording=3),
    "values that are a word": broken("parameters", "width", values="357"),
    "values that are tables": broken("parameters", "width", values=[{}]),
    "a truth that is a word": broken("parameters", "mode", same_arithmetic="yes"),
    "a metric without a unit": broken("metrics", "folds", unit=...),
    "a metric that is better sideways": broken("metrics", "folds", better="sideways"),
    "a metric compared by smell": broken("metrics", "folds", compared="smell"),
    "a tolerance that is missing": broken("metrics", "folds", tolerance=None),
    "a tolerance that is a word": broken("metrics", "folds", tolerance="5%"),
    "a tolerance where none belongs": broken("metrics", "folds", compared="exact"),
    "a workload without parameters": broken("workloads", "fold", parameters=...),
    "parameters that are a word": broken("workloads", "fold", parameters="width"),
    "parameters that are lists": broken("workloads", "fold", parameters=[["width"]]),
    "shown that are lists": broken("workloads", "fold", shown=[[]]),
    "a workload without a unit": broken("workloads", "fold", round_unit=...),
    "a known parameter without a default": broken("parameters", "device", default=...),
    "a metric that is a number": lambda said: said["metrics"].update(folds=3),
    "a metric that is none": lambda said: said["metrics"].update(folds=None),
    "metrics that are a list": lambda said: said.update(metrics=[]),
    "parameters that are none": lambda said: said.update(parameters=None),
    "no workloads": lambda said: said.pop("workloads"),
    "a name with a line end": lambda said: said["metrics"].update({"a\nb": said["metrics"]["folds"]}),
    "a name that rings": lambda said: said["workloads"].update({"\x07": said["workloads"]["fold"]}),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_vocabulary_is_told_and_nothing_of_it_learned(
    document: dict[str, Any], change: Any, tmp_path: Path
) -> None:
    change(words(document))
    known = [dict(registry) for registry in (PARAMETERS, METRICS, WORKLOADS)]
    with pytest.raises(SchemaError, match="what it says of its parameters and metrics cannot be read"):
        parse_run("a", document)
    assert known == [PARAMETERS, METRICS, WORKLOADS]
    path = tmp_path / "0001_a.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UnreadableRun, match=r"0001_a\.json: "):
        read_run(path)


@pytest.mark.parametrize("said", [[], {}, "words", 3, True, {"parameters": {}}])
def test_what_is_no_vocabulary_at_all_is_told(document: dict[str, Any], said: Any) -> None:
    document[SECTION]["glossary"] = said
    with pytest.raises(SchemaError, match="what it says of its parameters and metrics cannot be read"):
        parse_run("a", document)


@pytest.mark.parametrize("record", [None, 3, [], {}, {"workload": "fold"}, {"workload": "fold", "axes": 3},
                                    {"workload": [], "axes": {}}])  # fmt: skip
def test_a_record_that_is_none_is_told_as_such_and_not_as_words(document: dict[str, Any], record: Any) -> None:
    document[SECTION]["records"].append(record)
    with pytest.raises(SchemaError, match="not a record"):
        parse_run("a", document)


@pytest.mark.parametrize(
    "wording", ["{value:>999999999999}", "{value.__class__}", "{other}", "{", "}{", "{0}", "{value!z}", "{s}{value}"]
)
def test_a_wording_from_a_file_is_text_and_no_program(document: dict[str, Any], wording: str) -> None:
    words(document)["parameters"]["width"]["wording"] = wording
    run = parse_run("a", document)
    assert run.records[1].label == f"fold {wording.replace('{s}', 's').replace('{value}', '7')}"


def test_control_characters_of_a_unit_do_not_reach_a_terminal(document: dict[str, Any]) -> None:
    words(document)["metrics"]["folds"].update(unit="\x1b[2J\u202e", meaning="one\ntwo")
    parse_run("a", document)
    assert METRICS["folds"].meaning == "one two"
    assert metric("folds", 3.5).isprintable()
