"""What an earlier version stored is still read, joined, compared and shown."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainmark
from bench.lecture.findings import find_lecture
from trainmark.cli import main
from trainmark.judge.comparison import VERDICTS, compare, compare_paired
from trainmark.judge.explanation import artifact_links
from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.session import find_interrupted
from trainmark.store.cell import WORKLOADS, Cell
from trainmark.store.folders import PATH
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.journal import Journal, in_use, interrupted, read_journal
from trainmark.store.metrics import METRICS
from trainmark.store.pairs import find_paired, paired_files, read_paired_run, read_paired_runs
from trainmark.store.pairs import write_paired_run as write_pairs
from trainmark.store.profiles import PROFILE_ENDING, list_profiles, profile_path
from trainmark.store.record import SECTION, Record, Run, RunFacts, run_section
from trainmark.store.runs import artifact_folder, find_run, read_run, read_runs, run_files
from trainmark.suite import ROOT_VARIABLE
from trainmark.workloads import entries
from trainmark.workloads.planning import Request, plan

ROOT = Path(trainmark.__file__).parents[1]
EARLIER = Path(__file__).parent / "earlier"
FOLDERS = sorted(path for path in EARLIER.iterdir() if path.is_dir())  # one a version
FIRST = EARLIER / "0.1.0"
LARGEST_BYTES = 600_000  # of a version
STEPPING = ("train", "inference")  # workloads that --profile profiles

RUNS = [file for folder in FOLDERS for file in run_files(folder)]
PAIRS = [file for folder in FOLDERS for file in paired_files(folder)]
JOURNAL_FILES = [file for folder in FOLDERS for file in sorted((folder / JOURNALS).glob("*.jsonl"))]
FILES = [*RUNS, *PAIRS, *JOURNAL_FILES]


def named(files: Sequence[Path]) -> list[str]:
    return [f"{file.relative_to(EARLIER).parts[0]}-{file.stem[:4] if file in RUNS else file.stem}" for file in files]


each_run = pytest.mark.parametrize("file", RUNS, ids=named(RUNS))
each_pair = pytest.mark.parametrize("file", PAIRS, ids=named(PAIRS))
each_file = pytest.mark.parametrize("file", FILES, ids=named(FILES))
each_journal = pytest.mark.parametrize("file", JOURNAL_FILES, ids=named(JOURNAL_FILES))


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """What the suite knows is all that is known before each test and after it."""
    kept = [(registry, dict(registry)) for registry in (METRICS, WORKLOADS)]
    yield
    assert [before for _, before in kept] == [dict(registry) for registry, _ in kept]  # an earlier file adds no word


@pytest.fixture
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def first_run(number: int) -> Run:
    return read_run(find_run(str(number), FIRST))


# The files themselves


def test_they_hold_every_workload_and_every_kind_of_file() -> None:
    workloads = {record.cell.workload for run in read_runs(RUNS) for record in run.records}
    assert workloads == {*STEPPING, "input", "capacity", "accuracy", "ngram_fit", "ngram_score", "lecture"}
    assert {record.status for run in read_runs(RUNS) for record in run.records} == {"ok", "nan", "skipped"}
    assert PAIRS
    assert JOURNAL_FILES
    endings = {"".join(path.suffixes) for path in artifact_folder(find_run("2", FIRST)).iterdir()}
    assert endings == {".profile.json", ".trace.json.gz", ".lecture.json"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_are_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*")) < LARGEST_BYTES


@each_file
def test_they_tell_of_no_host_no_user_and_no_folder(file: Path) -> None:
    profiles = artifact_folder(file).glob(f"*{PROFILE_ENDING}")
    text = "".join(one.read_text(encoding="utf-8") for one in (file, *profiles))
    words = set(re.findall(r'"((?:[^"\\]|\\.)*)"', text))
    assert not [word for word in words if PATH.search(word)]
    assert not {platform.node(), getpass.getuser(), "node", "hostname", "user"} & words


# Runs


@each_run
def test_a_run_is_read_without_a_warning_and_whole(file: Path, no_warning: None) -> None:
    run = read_run(file)
    stored = json.loads(file.read_text(encoding="utf-8"))[SECTION]["records"]
    assert [record.cell.settings for record in run.records] == [one["axes"] for one in stored]
    assert [record.metrics for record in run.records] == [one["metrics"] for one in stored]
    assert [list(record.rounds) for record in run.records] == [one["rounds"] for one in stored]
    assert [record.settings for record in run.records] == [one["settings"] for one in stored]


@each_run
def test_a_record_has_the_key_that_its_run_planned(file: Path) -> None:
    run = read_run(file)
    keys = [record.key for record in run.records]
    assert keys == list(run.facts.planned)[: len(keys)]
    assert (len(keys) == len(run.facts.planned)) == run.facts.complete


def records_of(file: Path) -> Sequence[Record]:
    if file in JOURNAL_FILES:
        return list(read_journal(file).records.values())
    if file in PAIRS:
        both = read_paired_run(file)
        return [*both.base.records, *both.new.records]
    return read_run(file).records


@each_file
def test_a_record_made_now_of_the_same_cell_joins_it(file: Path) -> None:
    for earlier in records_of(file):
        varied = {
            name: value for name, value in earlier.cell.axes if Cell.of(earlier.cell.workload).settings[name] != value
        }
        now = Record(Cell.of(earlier.cell.workload, **varied), "ok")
        assert now.cell.settings == now.cell.settings | earlier.cell.settings  # but for parameters that came later
        assert (now.key, now.label) == (earlier.key, earlier.label)


def asked(facts: RunFacts) -> Request:
    """What a call with the options of an earlier run asks for."""
    given = {name: tuple(values) for name, values in facts.options["given"].items()}
    alone = [entry.name for entry in entries() if entry.option and entry.name in facts.planned]
    return Request(facts.options["grid"], given, facts.options["seeds"], only=alone[0] if alone else None)


MODELS = ("mlp", "mlp-residual", "cnn", "resnet20", "misbehaving:NotANumber")
FACTS = {name: ModelFacts(name, "mnist-5k", 1_000_000, has_convolution=False) for name in MODELS}
MACHINE = Machine({}, ("cpu",), {"cpu": ("fp32",)}, {}, FACTS, cpu_flops=5e10, default_data="mnist-5k")


BY_ANOTHER_LOADER = {"accuracy loader=dataloader"}  # the quick grid takes it from resident data since; see CHANGELOG


@pytest.mark.parametrize("file", RUNS + JOURNAL_FILES, ids=named(RUNS + JOURNAL_FILES))
def test_the_same_call_plans_the_same_cells_now(file: Path) -> None:
    facts = read_journal(file).facts if file in JOURNAL_FILES else read_run(file).facts
    planned = [one.cell.key for entry in entries() for one in plan(entry.name, asked(facts), MACHINE)]
    assert set(facts.planned) - BY_ANOTHER_LOADER <= set(planned)
    assert len(set(planned)) == len(planned)


def test_all_of_them_are_rows_of_one_frame(no_warning: None) -> None:
    frame = trainmark.load_runs(folder=FIRST)
    assert frame["run"].value_counts().to_dict() == {run.name: len(run.records) for run in read_runs(run_files(FIRST))}
    both = frame[frame["run"].str.startswith("0001")].merge(frame[frame["run"].str.startswith("0002")], on="key")
    assert len(both) == len(first_run(1).records)
    assert both["order_x"].notna().sum() == both["workload_x"].str.startswith("ngram").sum() == 4


def test_two_earlier_runs_are_compared_in_every_cell() -> None:
    base, new = first_run(1), first_run(2)
    comparison = compare(base, new)
    assert comparison.same_machine
    cells = {cell.key: cell.verdict for cell in comparison.cells}
    shared = {record.key for record in base.records} & {record.key for record in new.records}
    assert len(shared) == len(base.records)
    assert set(cells) == {*base.facts.planned, *new.facts.planned}
    assert {cells[key] for key in shared} <= set(VERDICTS) - {"incomparable", "missing", "failed", "new"}
    assert [key for key in cells if cells[key] == "new"] == ["lecture epochs=2"]
    assert all(cell.time for cell in comparison.cells if cell.key in shared)


def stored_now(run: Run, folder: Path) -> Path:
    """The run as this version writes it."""
    file = folder / f"{run.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "machine_info": run.environment,
        "commit_info": run.commit,
        "benchmarks": [],
        SECTION: run_section(run.facts, run.records),
    }
    file.write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
    return file


@each_run
def test_an_earlier_run_and_the_same_as_it_is_stored_now_are_the_same(file: Path, tmp_path: Path) -> None:
    earlier, now = read_run(file), read_run(stored_now(read_run(file), tmp_path))
    assert now == earlier
    verdicts = {cell.key: cell.verdict for cell in compare(earlier, now).cells}
    assert list(verdicts) == list({cell.key: None for cell in compare(earlier, earlier).cells})
    measured = {record.key for record in earlier.records if record.status == "ok"}
    assert {verdicts[key] for key in measured} <= {"unchanged", "inconclusive"}  # its times have no history


# Pairs


@each_pair
def test_pairs_are_read_under_the_keys_of_their_records(file: Path, no_warning: None) -> None:
    run = read_paired_run(file)
    for side in (run.base, run.new):
        assert {record.key for record in side.records} == set(run.pairs) == set(side.facts.planned) == set(run.steps)
    assert all(len(pairs) > 1 for pairs in run.pairs.values())


@each_pair
def test_pairs_are_judged(file: Path) -> None:
    run = read_paired_run(file)
    comparison = compare_paired(run)
    assert {cell.key for cell in comparison.cells} == set(run.pairs)
    for cell in comparison.cells:
        assert cell.verdict in set(VERDICTS) - {"incomparable", "missing", "failed", "new"}
        assert cell.time is not None
        assert cell.time.low < cell.time.ratio < cell.time.high
        assert cell.time.pairs + cell.time.dropped == len(run.pairs[cell.key])


@each_pair
def test_pairs_are_found_by_their_side_and_beside_pairs_of_now(file: Path, tmp_path: Path) -> None:
    (tmp_path / file.parent.name).mkdir()
    copy = Path(shutil.copy(file, tmp_path / file.parent.name))
    assert find_paired("self", tmp_path) == copy
    earlier = read_paired_run(file)
    now = replace(earlier, new=replace(earlier.new, name="20270101T000000-a1b2c3"))
    later = write_pairs(now, tmp_path)
    assert find_paired("self", tmp_path) == find_paired("latest", tmp_path) == later
    assert [run.pairs for run in read_paired_runs(tmp_path)] == [now.pairs] * 2


# Journals


@each_journal
def test_a_journal_gives_its_records(file: Path, no_warning: None) -> None:
    state = read_journal(file)
    assert state.damaged == 0
    assert len(state.records) == file.read_bytes().count(b"\n") - 1 > 0
    assert list(state.records) == list(state.facts.planned)[: len(state.records)]
    assert not state.facts.complete
    assert all(record.status == "ok" and record.metrics["cell_seconds"] > 0 for record in state.records.values())


def test_journals_are_found_as_those_of_interrupted_runs() -> None:
    folder = FIRST / JOURNALS
    assert list(interrupted(folder)) == sorted(folder.glob("*.jsonl"), reverse=True)
    assert list(in_use(folder)) == []
    path, state = find_interrupted(FIRST)
    assert path.stem == state.facts.id == first_run(4).facts.id  # what was stored of it is incomplete
    assert list(state.records.values()) == list(first_run(4).records)


@each_journal
def test_a_journal_takes_more_records(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path))
    journal, state = Journal.resume(copy)
    more = Record(Cell.of("train", batch_size=512), "skipped", "for a test")
    journal.append(more)
    journal.close()
    assert read_journal(copy).records == {**state.records, more.key: more}


def test_resume_knows_an_earlier_journal_and_says_why_it_cannot_go_on(tmp_path: Path) -> None:
    shutil.copytree(FIRST / JOURNALS, tmp_path / JOURNALS)
    before = {path.name: path.read_bytes() for path in (tmp_path / JOURNALS).iterdir()}
    command = [sys.executable, "-m", "pytest", "bench", "--resume", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--benchmark-storage=file://{tmp_path}"],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "The run 20261128T123749-ecb91c did not keep what its code was: start anew" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / JOURNALS).iterdir()} == before


# Profiles and findings


def test_profiles_and_a_trace_are_found_beside_their_run(no_warning: None) -> None:
    file = find_run("2", FIRST)
    stepping = {record.key: record.label for record in read_run(file).records if record.cell.workload in STEPPING}
    profiles = list_profiles(artifact_folder(file))
    assert {profile.key: profile.label for profile in profiles} == stepping
    assert all(profile.steps > 0 and len(profile.operators) > 10 for profile in profiles)
    links = artifact_links(file)
    assert set(links) == set(stepping)
    assert all(links[key].profile == profile_path(artifact_folder(file), key) for key in stepping)
    assert [key for key in links if links[key].trace] == ["inference batch_size=256"]


def test_the_findings_of_the_lecture_are_found_beside_their_run(no_warning: None) -> None:
    file = find_run("2", FIRST)
    lecture = find_lecture(artifact_folder(file))
    assert lecture is not None
    (record,) = (one for one in read_run(file).records if one.cell.workload == "lecture")
    assert lecture.key == record.key
    held = [claim for claim in lecture.claims if claim.verdict == "holds"]
    computed = [claim for claim in lecture.claims if claim.verdict != "not checked"]
    assert (len(computed), len(held)) == (record.metrics["claims"], record.metrics["claims_held"])
    assert {"mlp", "cnn"} <= set(lecture.shifts)
    assert len(lecture.confusion) == 10
    assert lecture.group("kernels after")


# Commands

COMMANDS: Mapping[str, tuple[int, Sequence[str]]] = {
    "list": (0, ["0001_01e1b8c", "0005_01e1b8c", "interrupted", "complete"]),
    "markdown 1": (0, ["11 cells", "| mlp (cpu) | fastest |"]),
    "markdown 3": (0, ["4 cells, 1 failed", "The loss or the output is not finite"]),
    "markdown 2 --baseline 1": (0, ["12 cells"]),
    "compare 1 2": (0, ["ngram_fit numba order 3 kneser-ney", "lecture cpu 2 epochs", "inconclusive"]),
    "check 1 1": (2, []),  # no base of itself
    "check 1 2": (3, ["Undecided: nothing was decided"]),  # no history
    "check 1 2 --inconclusive=pass": (0, ["No regression", "11 of 12 cells compared"]),
    "check 1 4": (1, ["Regressed: ", "was interrupted"]),  # cells are missing
    "check self": (3, ["Undecided", "3 inconclusive", "pairs were dropped"]),
    "check self --margin 50% --inconclusive=pass": (0, ["No regression"]),
    "recommend --run 1": (0, ["mlp on cpu, mnist-5k", "fp32, batch 256, eager"]),
    "recommend --run 4": (2, []),  # n-grams alone
    "profile train 256 --run 2": (0, ["train mlp 256 cpu fp32: a profiled step takes", "aten::addmm"]),
    "profile inference --run 2": (0, ["A trace of some steps, which Perfetto opens", ".trace.json.gz"]),
    "profile train --run 1": (2, []),  # none was made
    "diff-profile 2 2": (2, []),
    "history": (0, ["5 runs of this machine"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_them(command: str, capsys: pytest.CaptureFixture[str], no_warning: None) -> None:
    code, expected = COMMANDS[command]
    assert main([*command.split(), "--results", str(FIRST)]) == code
    told = capsys.readouterr()
    assert [words for words in expected if words not in told.out] == []
    assert bool(told.err) == (code == 2)


def page_of(*arguments: str, output: Path) -> str:
    assert main(["html", *arguments, "--results", str(FIRST), "-o", str(output)]) == 0
    return output.read_text(encoding="utf-8")


def test_the_page_of_an_earlier_run_has_its_lecture_its_profiles_and_its_ngrams(tmp_path: Path) -> None:
    page = page_of("2", "--baseline", "1", output=tmp_path / "page.html")
    anchors = ("learned", "lecture", "profiles", "throughput", "inference", "learning", "payback", "configurations")
    for anchor in anchors:
        assert f'id="{anchor}"' in page
    assert '<a href="#lecture">Lecture</a>' in page
    lecture = find_lecture(artifact_folder(find_run("2", FIRST)))
    assert lecture is not None
    assert f"of {len(lecture.claims)} claims hold" in page
    for workload in ("ngram-fit", "ngram-score"):
        assert "numba" in page.partition(f'id="of-{workload}"')[2].partition("</table>")[0]
    assert len((tmp_path / "page.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(first_run(2).records)


@pytest.mark.parametrize("name", ["3", "4", "5", "self"])
def test_there_is_a_page_of_each_other_run(name: str, tmp_path: Path) -> None:
    page = page_of(name, output=tmp_path / "page.html")
    assert "</html>" in page
    assert 'id="lecture"' not in page


# Without the suite


def _environment(**more: str) -> dict[str, str]:
    """This process's, without what pytest and a suite leave in it."""
    foreign = (ROOT_VARIABLE, "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name not in foreign} | more


def without_the_suite(folder: Path, code: str, *arguments: str) -> Any:
    """What code prints as JSON in a process that can import the engine alone, in an empty folder."""
    (folder / "engine").mkdir()
    (folder / "engine" / "trainmark").symlink_to(Path(trainmark.__file__).parent, target_is_directory=True)
    (folder / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BARE + code, *arguments],
        cwd=folder / "here",
        env=_environment(PYTHONPATH=str(folder / "engine")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


BARE = """
import json, sys, warnings
from pathlib import Path
from trainmark import cli, suite
from trainmark.store.cell import WORKLOADS
from trainmark.store.journal import read_journal
from trainmark.store.metrics import METRICS
from trainmark.store.pairs import paired_files, read_paired_run
from trainmark.store.runs import find_run, read_run, run_files
from trainmark.judge.comparison import compare, compare_paired
assert suite.current().workloads == () and "ngram_fit" not in WORKLOADS and "fit_seconds" not in METRICS
folder = Path(sys.argv[1])
warnings.simplefilter("error")
"""


def test_the_bare_engine_reads_every_file(tmp_path: Path) -> None:
    code = """
runs = {file.name: read_run(file).records for file in run_files(folder)}
runs |= {file.name: read_paired_run(file).new.records for file in paired_files(folder)}
runs |= {file.name: read_journal(file).records.values() for file in (folder / "journal").glob("*.jsonl")}
for file in paired_files(folder):
    compare_paired(read_paired_run(file))
one, two = (read_run(find_run(number, folder)) for number in "12")
print(json.dumps([
    {name: [(one.key, one.label, one.cell.workload) for one in records] for name, records in runs.items()},
    {cell.key: (cell.verdict, cell.reason) for cell in compare(one, two).cells},
]))
"""
    told, verdicts = without_the_suite(tmp_path, code, str(FIRST))
    files = [*run_files(FIRST), *paired_files(FIRST), *sorted((FIRST / JOURNALS).glob("*.jsonl"))]
    assert set(told) == {file.name for file in files}
    for file in files:
        known = records_of(file)
        assert len(told[file.name]) == len({record.key for record in known})
        for (key, label, workload), record in zip(told[file.name], known, strict=False):
            assert workload == record.cell.workload
            if workload not in ("ngram_fit", "ngram_score"):  # its parameters are the engine's own
                assert (key, label) == (record.key, record.label)
    assert len(verdicts) == len(first_run(2).records)
    for key, (verdict, reason) in verdicts.items():
        assert verdict not in ("missing", "failed")
        # What they measure is not known here, and nothing of them may make a check pass.
        assert (verdict == "incomparable") == key.startswith("ngram_")
        assert verdict != "incomparable" or "call from its suite" in reason


def test_the_commands_of_the_bare_engine_read_them(tmp_path: Path) -> None:
    code = """
import contextlib, io
commands = {line: line.split() for line in sys.argv[2:]}
codes = {}
for line, command in commands.items():
    with contextlib.redirect_stdout(io.StringIO()):
        codes[line] = cli.main([*command, "--results", str(folder)])
print(json.dumps(codes))
"""
    commands = {line: code for line, (code, _) in COMMANDS.items() if not line.startswith("check 1")}
    pages = dict.fromkeys(("html 2 --baseline 1 -o page.html", "html self -o pairs.html"), 0)
    expected = commands | pages
    assert without_the_suite(tmp_path, code, str(FIRST), *expected) == expected
    page = (tmp_path / "here" / "page.html").read_text(encoding="utf-8")
    assert "train mlp" in page
    assert 'id="profiles"' in page


def test_a_run_stored_now_tells_the_bare_engine_what_its_ngrams_are(tmp_path: Path) -> None:
    earlier = first_run(1)
    folder = tmp_path / "results"
    document = json.loads(stored_now(earlier, folder).read_text(encoding="utf-8"))[SECTION]
    assert document["glossary"]["workloads"].keys() == {record.cell.workload for record in earlier.records}
    pairs = read_paired_run(PAIRS[0])
    lines = write_pairs(pairs, folder).read_text(encoding="utf-8").splitlines()
    written = [line for line in map(json.loads, lines) if "record" in line]
    assert {line["side"] for line in written} == {"base", "new"}
    assert all(line["record"]["workload"] in line["glossary"]["workloads"] for line in written)
    code = """
from trainmark import formatting
(file,) = run_files(folder)
run = read_run(file)
earlier = read_run(find_run("2", Path(sys.argv[2])))
print(json.dumps([
    [(one.key, one.label, one.metrics) for one in run.records],
    [vars(METRICS[name]) for name in ("fit_seconds", "perplexity", "tokens_per_second")],
    [formatting.metric("fit_seconds", 0.25), WORKLOADS["ngram_fit"].round_unit],
    [one.key for one in earlier.records],
    "bench" in sys.modules,
]))
"""
    records, metrics, words, joined, has_suite = without_the_suite(tmp_path, code, str(folder), str(FIRST))
    assert [tuple(one) for one in records] == [(one.key, one.label, dict(one.metrics)) for one in earlier.records]
    assert metrics == [vars(METRICS[name]) for name in ("fit_seconds", "perplexity", "tokens_per_second")]
    assert (metrics[0]["unit"], metrics[0]["better"], metrics[0]["compared"]) == ("s", "lower", "time")
    assert words == ["250 ms", "fit"]
    assert joined == list(first_run(2).facts.planned)  # an earlier run is joined by the words of a later one
    assert not has_suite
