"""A run: planned once, each record kept before the next cell, resumed only where that makes sense."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainmark.git import Code
from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.session import Invocation, Session, SessionError, find_interrupted
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Outcome
from trainmark.meters.control import FLAG, LIMIT, Control, to_facts
from trainmark.meters.probes import Peaks
from trainmark.store.cell import Cell
from trainmark.store.journal import read_journal
from trainmark.store.record import Record
from trainmark.workloads import entry_of
from trainmark.workloads.planning import Request

CPU = Machine(
    environment={"fingerprint": "abc", "cpu": "a processor", "gpus": [], "torch": "2.15.0"},
    devices=("cpu",),
    precisions={"cpu": ("fp32",)},
    compile_obstacle={},
    models={"mlp": ModelFacts("mlp", "mnist-5k", 500_000, has_convolution=False)},
    cpu_flops=1e11,
)
CODE = Code("c1", True, "d1")
REQUEST = Request(given={"model": ("mlp",), "batch_size": (8, 16), "precision": ("fp32", "tf32"), "compile": ("off",)})


class FakeWorkers:
    """Answers without a process: the machine, then a record or what ``endings`` says."""

    def __init__(self, machine: Machine = CPU, **endings: Any) -> None:
        self.machine = machine
        self.endings = endings
        self.measured: list[Cell] = []

    def call(self, function: str, *arguments: Any, limits: Limits | None = None) -> Outcome:
        if function in self.endings:
            return self.endings[function](arguments[0])
        if function == "trainmark.measure.environment:describe":
            return self.endings.get("describe", Outcome("ok", self.machine, None, "", 0.1))
        if function.startswith("trainmark.measure.computation:"):
            numbers: dict[str, Any] = {"steps": [], "evaluations": [], "tensors": []}
            return Outcome("ok", {"facts": {"of": arguments[0].label}, **numbers}, None, "", 0.1)
        cell = arguments[0]
        self.measured.append(cell)
        record = Record(cell, "ok", metrics={"step_seconds": 0.5}, rounds=(0.5,))
        return self.endings.get("measure", Outcome("ok", record, None, "", 2.0))


@pytest.fixture
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Session]:
    """Makes sessions over the same folder, and closes them in the end."""

    def make(workers: FakeWorkers | None = None, code: Code = CODE) -> Session:
        made = Session(Invocation(REQUEST, Settings(), Limits()), tmp_path, code=code)
        made.workers = made.context.workers = workers or FakeWorkers()
        request.addfinalizer(lambda: made.close(None))
        return made

    return make


def begin(run: Session) -> list[Cell]:
    """Plans the training cells and begins; the cells that this machine can run come first."""
    cells = sorted(run.plan("train"), key=lambda cell: cell["precision"])
    run.begin(cells, {"grid": "quick"})
    return cells


def test_each_record_is_on_the_disk_before_the_next_cell(session: Callable[..., Session], tmp_path: Path) -> None:
    run = session()
    cells = begin(run)
    for number, cell in enumerate(cells, start=1):
        run.measure(cell)
        assert len(read_journal(next(run.journals.iterdir())).records) == number


def test_a_record_knows_how_long_all_processes_of_its_cell_took(session: Callable[..., Session]) -> None:
    run = session()
    cells = begin(run)
    assert run.measure(cells[0]).record.metrics["cell_seconds"] == 2.0 + 0.1  # timed; then what it computes


def test_a_skip_reason_is_recorded_without_starting_a_process(session: Callable[..., Session], tmp_path: Path) -> None:
    workers = FakeWorkers()
    run = session(workers)
    cells = begin(run)
    blocked = next(cell for cell in cells if cell["precision"] == "tf32")
    record = run.measure(blocked).record
    assert record.status == "skipped"
    assert "does not compute in tf32" in (record.reason or "")
    assert workers.measured == []


def test_a_bad_ending_is_a_record_with_its_reason(session: Callable[..., Session], tmp_path: Path) -> None:
    workers = FakeWorkers(measure=Outcome("timeout", None, "not done after 5 s", "its last words", 5.0))
    run = session(workers)
    cells = begin(run)
    measured = run.measure(cells[0])
    assert (measured.record.status, measured.record.reason) == ("timeout", "not done after 5 s")
    assert measured.log == "its last words"
    assert measured.record.rounds == ()


def test_a_resumed_run_measures_only_what_is_missing(session: Callable[..., Session], tmp_path: Path) -> None:
    first = session()
    cells = begin(first)
    kept = first.measure(cells[0]).record
    first.close(None)
    workers = FakeWorkers()
    second = session(workers)
    assert set(second.plan("train")) == set(cells)
    path, state = find_interrupted(tmp_path)
    assert state.invocation == {"grid": "quick"}
    second.resume(path)
    assert second.facts.id == first.facts.id
    measured = second.measure(cells[0])
    assert (measured.record, measured.recovered) == (kept, True)
    second.measure(cells[1])
    assert workers.measured == [cells[1]]


@pytest.mark.parametrize(
    ("machine", "code", "sentence"),
    [
        (CPU, Code("c2", False, ""), "began at commit c1, and the working tree is at c2"),
        (CPU, Code("c1", True, "d2"), "The code was edited since the run .* began"),
        (CPU, Code("c1", False, ""), "The code was edited since the run .* began"),
        (CPU, Code(None, None, "d1"), "began at commit c1, and the working tree is at None"),
        (replace(CPU, environment={"fingerprint": "xyz"}), CODE, "began in environment abc, and this is xyz"),
    ],
)
def test_a_run_is_not_resumed_under_other_conditions(
    session: Callable[..., Session], tmp_path: Path, machine: Machine, code: Code, sentence: str
) -> None:
    first = session()
    cells = begin(first)
    first.measure(cells[0])
    first.close(None)
    path, _ = find_interrupted(tmp_path)
    with pytest.raises(SessionError, match=sentence):
        session(FakeWorkers(machine), code).resume(path)
    assert len(read_journal(path).records) == 1


def test_a_run_that_was_cut_off_has_no_moment_at_which_it_finished(session: Callable[..., Session]) -> None:
    run = session()
    cells = begin(run)
    run.measure(cells[0])
    run.finish()
    assert (run.facts.complete, run.facts.finished) == (False, None)
    for cell in cells[1:]:
        run.measure(cell)
    run.finish()
    assert run.facts.complete
    assert run.facts.finished is not None


def test_without_an_interrupted_run_there_is_nothing_to_resume(session: Callable[..., Session], tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"No interrupted run in .*: start one with pytest bench"):
        find_interrupted(tmp_path)


def test_a_run_going_on_is_not_taken_for_an_interrupted_one(session: Callable[..., Session], tmp_path: Path) -> None:
    begin(session())
    with pytest.raises(SessionError, match="No interrupted run"):
        find_interrupted(tmp_path)


def test_the_journal_goes_only_when_the_complete_run_is_stored(session: Callable[..., Session], tmp_path: Path) -> None:
    run = session()
    cells = begin(run)
    run.measure(cells[0])
    run.close(tmp_path / "0001_run.json")
    assert run.left_in_journal
    second = session()
    second.plan("train")
    second.resume(find_interrupted(tmp_path)[0])
    for cell in cells:
        second.measure(cell)
    assert second.complete
    second.close(tmp_path / "0001_run.json")
    assert not second.left_in_journal


def test_what_a_stored_run_says_of_its_options_holds_no_path(session: Callable[..., Session], tmp_path: Path) -> None:
    assert "/" not in str(session().facts.options)


def test_a_model_that_is_not_there_ends_the_session_with_its_sentence(
    session: Callable[..., Session], tmp_path: Path
) -> None:
    workers = FakeWorkers(describe=Outcome("error", None, 'No model named "mpl".', "", 0.1))
    with pytest.raises(SessionError, match=re.escape('No model named "mpl".')):
        session(workers).look_at_machine()


@pytest.mark.parametrize("value", [None, Record(Cell.of("train", batch_size=8), "ok", rounds=(0.5,))])
def test_a_reason_is_kept_without_the_folders_of_this_machine(
    session: Callable[..., Session], value: Record | None
) -> None:
    ending = Outcome(
        "error", value, "OSError: cannot read '/home/ada/My Data/x.csv' from /home/ada/code/net.py", "", 1.0
    )
    run = session(FakeWorkers(measure=ending))
    record = run.measure(begin(run)[0]).record
    assert record.reason == "OSError: cannot read 'x.csv' from net.py"


def test_estimates_come_from_the_journal_then_from_the_size(session: Callable[..., Session], tmp_path: Path) -> None:
    run = session()
    cells = begin(run)
    estimates = run.estimates(cells)
    assert set(estimates) == {cell.key for cell in cells}
    assert all(seconds == 0 for key, seconds in estimates.items() if "tf32" in key)
    assert all(seconds > 0 for key, seconds in estimates.items() if "tf32" not in key)


@pytest.mark.filterwarnings("error")  # as a project may have it
def test_a_damaged_run_stops_no_other_and_is_told_before_the_first_cell(
    session: Callable[..., Session], tmp_path: Path
) -> None:
    (tmp_path / "0002_gone.json").symlink_to("nowhere")
    (tmp_path / "0003_huge.json").write_text(f'{{"trainmark": {10**400}}}', encoding="utf-8")
    (tmp_path / "0004_folder.json").mkdir()
    run = session()
    cells = begin(run)
    assert set(run.estimates(cells)) == {cell.key for cell in cells}
    named = sorted(Path(note.split(":")[0]).stem for note in run.notes)
    assert named == ["0002_gone", "0003_huge", "0004_folder"]


def test_estimates_are_those_of_the_newest_runs_of_this_machine(
    session: Callable[..., Session], stored: Any, tmp_path: Path
) -> None:
    """Three of them are asked, by when their files were written; of a cell that more than one has the newest counts."""
    run = session()
    cells = [cell for cell in begin(run) if cell["precision"] == "fp32"]
    both, known = cells

    def keep(number: int, seconds: dict[Cell, float], fingerprint: str = "abc") -> None:
        records = [Record(cell, "ok", metrics={"cell_seconds": took}) for cell, took in seconds.items()]
        made = replace(stored.run(f"000{number}_a"), environment={"fingerprint": fingerprint}, records=tuple(records))
        made = replace(made, facts=replace(made.facts, id=f"{number}"))
        moment = 1e9 + number
        os.utime(stored.store(made), (moment, moment))

    keep(1, {both: 1000.0, known: 1000.0})
    keep(2, {both: 20.0})
    keep(3, {both: 30.0})
    keep(4, {both: 40.0}, fingerprint="another")
    estimates = run.estimates(cells)
    assert estimates[both.key] == 30.0
    assert estimates[known.key] not in (0.0, 1000.0)  # by its size: the run that knew it is too old
    keep(5, {known: 50.0})
    assert run.estimates(cells) == {both.key: 30.0, known.key: 50.0}


def test_an_answer_that_is_decided_for_this_code_takes_no_time_again() -> None:
    told = {"decided": True}
    record = Record(Cell.of("answer"), "ok", metrics={"cell_seconds": 20.0}, settings=told)
    again = entry_of("answer").seconds_again
    assert (again(record, same_code=True), again(record, same_code=False)) == (0.0, 20.0)
    assert again(replace(record, settings={"decided": False}), same_code=True) == 20.0


def test_evidence_is_of_this_code_on_this_machine_and_a_damaged_run_is_none(
    session: Callable[..., Session], stored: Any, tmp_path: Path
) -> None:
    run = session()
    first, *_ = begin(run)
    ours = {"id": run.code.commit, "difference": run.code.difference}
    kept = {
        "1_same": ({"fingerprint": "abc"}, ours),
        "2_other_machine": ({"fingerprint": "another"}, ours),
        "3_other_commit": ({"fingerprint": "abc"}, {**ours, "id": "another"}),
        "4_edited": ({"fingerprint": "abc"}, {**ours, "difference": "another"}),
    }
    for name, (environment, commit) in kept.items():
        record = Record(first, "ok", metrics={"cell_seconds": float(name[0])})
        made = replace(stored.run(f"000{name}"), environment=environment, commit=commit, records=(record,))
        stored.store(replace(made, facts=replace(made.facts, id=name)))
    (tmp_path / "0005_gone.json").symlink_to("nowhere")
    assert [record.metrics["cell_seconds"] for record in run.context.known()] == [1.0]
    assert ["0005_gone.json" in note for note in run.notes_at_end] == [True]
    run.measure(first)
    assert len(run.context.known()) == 2
    assert len(run.notes_at_end) == 1  # the files are read once


def find_capacity(session: Callable[..., Session], attempt: Callable[[Cell], Outcome]) -> Record:
    run = session(FakeWorkers(**{"trainmark.measure.protocol:try_batch": attempt}))
    run.invocation = replace(run.invocation, request=replace(REQUEST, given={"model": ("mlp",)}, only="capacity"))
    run.context.limits = Limits(None, 10**9)
    (cell,) = run.plan("capacity")
    return run.measure(cell).record


def test_the_largest_batch_is_found_by_what_ran_out_of_memory(session: Callable[..., Session]) -> None:
    def attempt(cell: Cell) -> Outcome:
        fits = int(cell["batch_size"]) <= 5000
        return Outcome("ok", 1000, None, "", 1.0) if fits else Outcome("oom", None, "no memory", "", 1.0)

    record = find_capacity(session, attempt)
    assert record.status == "ok"
    assert 5000 - 5000 // 64 <= record.metrics["max_batch_size"] <= 5000
    assert record.metrics["cell_seconds"] == len(record.rounds)


def test_a_peak_over_the_limit_does_not_fit_though_nobody_saw_it_then(session: Callable[..., Session]) -> None:
    record = find_capacity(session, lambda cell: Outcome("ok", int(cell["batch_size"]) * 10**7, None, "", 1.0))
    assert 98 <= record.metrics["max_batch_size"] <= 100
    assert record.metrics["peak_memory_bytes"] == record.metrics["max_batch_size"] * 10**7


@pytest.mark.parametrize("status", ["crashed", "timeout", "error"])
def test_a_search_that_ends_otherwise_says_how(session: Callable[..., Session], status: str) -> None:
    record = find_capacity(session, lambda cell: Outcome(status, None, "as it said", "", 1.0))
    assert (record.status, record.reason) == (status, "as it said")


def test_where_not_even_one_sample_fits_the_record_is_out_of_memory(session: Callable[..., Session]) -> None:
    assert find_capacity(session, lambda cell: Outcome("oom", None, "no memory", "", 1.0)).status == "oom"


PEAKS = Peaks({"fp32": 1e9}, 1e9, 1e9, "cpu", 1, 2.0)


def test_peaks_are_probed_once_a_machine_and_give_utilisation(session: Callable[..., Session]) -> None:
    probed: list[str] = []

    def probe(device: str) -> Outcome:
        probed.append(device)
        return Outcome("ok", PEAKS, None, "", 2.0)

    record = Record(Cell.of("train"), "ok", metrics={"step_seconds": 0.5, "flops_per_step": 250_000_000}, rounds=(0.5,))
    for _ in range(2):
        run = session(
            FakeWorkers(
                measure=Outcome("ok", record, None, "", 2.0), **{"trainmark.meters.probes:measure_peaks": probe}
            )
        )
        cells = run.plan("train")
        run.probe_peaks(cells)
        assert run.measure(cells[0]).record.metrics["flops_utilisation"] == 0.5
    assert probed == ["cpu"]


def test_a_precision_that_is_probed_later_leaves_the_peaks_of_the_others(session: Callable[..., Session]) -> None:
    probed: list[tuple[str, ...]] = []

    def make(precisions: tuple[str, ...]) -> Session:
        class Probing(FakeWorkers):
            def call(self, function: str, *arguments: Any, limits: Limits | None = None) -> Outcome:
                if function != "trainmark.meters.probes:measure_peaks":
                    return super().call(function, *arguments, limits=limits)
                probed.append(arguments[1])
                rates = {name: {"fp32": 1e9, "tf32": 7e9}[name] for name in arguments[1]}
                return Outcome("ok", replace(PEAKS, flops_per_second=rates), None, "", 2.0)

        run = session(Probing(replace(CPU, precisions={"cpu": ("fp32", "tf32")})))
        run.probe_peaks([cell for cell in run.plan("train") if cell["precision"] in precisions])
        return run

    assert make(("fp32",)).facts.peaks["cpu"]["flops_per_second"] == {"fp32": 1e9}
    assert make(("fp32", "tf32")).facts.peaks["cpu"]["flops_per_second"] == {"fp32": 1e9, "tf32": 7e9}
    assert make(("tf32",)).facts.peaks["cpu"]["flops_per_second"] == {"fp32": 1e9, "tf32": 7e9}
    assert probed == [("fp32",), ("tf32",)]


def test_a_single_sample_over_the_limit_is_out_of_memory_though_it_ended_well(session: Callable[..., Session]) -> None:
    record = find_capacity(session, lambda cell: Outcome("ok", 2 * 10**9, None, "", 1.0))
    assert record.status == "oom"
    assert "more than --memory-limit" in (record.reason or "")


def test_without_peaks_utilisation_is_not_measured(session: Callable[..., Session]) -> None:
    run = session(
        FakeWorkers(**{"trainmark.meters.probes:measure_peaks": lambda device: Outcome("error", None, "no", "", 0.1)})
    )
    cells = run.plan("train")
    run.probe_peaks(cells)
    assert run.notes == ["no utilisation on cpu: its probes ended with no"]
    assert "flops_utilisation" not in run.measure(cells[0]).record.metrics


@pytest.mark.parametrize(("times", "flagged"), [(1.0, False), (LIMIT * 0.99, False), (LIMIT * 1.01, True)])
def test_a_cell_is_flagged_where_the_machine_was_slower_than_at_its_best(
    session: Callable[..., Session], times: float, flagged: bool
) -> None:
    one = session()
    best = Control(product=0.002, cached_copy=0.001, copy=0.005)
    slow = Control(product=0.002 * times, cached_copy=0.001, copy=0.005)
    cell = Cell.of("train")
    one.in_its_moment(Record(cell, "ok", disturbance=to_facts(best, best)))
    found = one.in_its_moment(Record(cell, "ok", disturbance=to_facts(best, slow)))
    assert found.disturbance["control_ratio"] == pytest.approx(times)
    assert (FLAG in found.flags) == flagged


def test_a_cell_without_such_work_has_no_such_ratio(session: Callable[..., Session]) -> None:
    record = Record(Cell.of("train"), "ok")
    assert session().in_its_moment(record) == record


class Moments(FakeWorkers):
    """Measures each time in another moment: how slow it is, which flags the cell gets, and how fast it is itself.

    A cell is asked for in turn; what it takes is the seconds of the fake.
    """

    def __init__(self, *moments: tuple[float, tuple[str, ...], float], seconds: float = 2.0) -> None:
        super().__init__()
        self.moments = list(moments)
        self.seconds = seconds

    def call(self, function: str, *arguments: Any, limits: Limits | None = None) -> Outcome:
        outcome = super().call(function, *arguments, limits=limits)
        if not isinstance(outcome.value, Record):
            return outcome
        ratio, flags, step_seconds = self.moments.pop(0)
        if not step_seconds:
            return Outcome("crashed", None, "it died", "", self.seconds)
        best = Control(product=0.002, cached_copy=0.001, copy=0.005)
        facts = to_facts(best, replace(best, product=best.product * ratio))
        metrics = {"step_seconds": step_seconds}
        record = replace(outcome.value, metrics=metrics, rounds=(step_seconds,), disturbance=facts, flags=flags)
        return Outcome("ok", record, None, "", self.seconds)


GOOD = (1.0, (), 0.5)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ((2.0, (), 0.5), (1.1, (), 0.9), 0.9),  # the quicker moment, though the cell was slower
        ((1.2, ("disturbed", "unsteady"), 0.5), (1.3, ("unsteady",), 0.9), 0.9),
        ((1.2, ("disturbed",), 0.9), (1.3, ("disturbed",), 0.5), 0.9),
        ((1.3, ("unsteady",), 0.9), (1.2, ("unsteady", "flops-partial"), 0.8), 0.8),  # which is no flag of a time
        ((2.0, (), 0.9), (1.0, ("disturbed", "unsteady"), 0.5), 0.9),
        ((2.0, (), 0.9), (1.0, (), 0.0), 0.9),  # it crashed
    ],
)
def test_of_two_measurements_the_one_of_the_better_moment_is_kept(
    session: Callable[..., Session], first: Any, second: Any, kept: float
) -> None:
    run = session(Moments(GOOD, first, second))
    cells = begin(run)[:2]
    for cell in cells:
        run.measure(cell)
    again = list(run.measure_again(60.0))
    assert [measured.again for measured in again] == [True]
    assert again[0].record.key == cells[1].key
    assert [run.records[cell.key].metrics["step_seconds"] for cell in cells] == [0.5, kept]
    state = read_journal(next(run.journals.glob("*.jsonl")))
    assert state.records == run.records
    assert not state.damaged


@pytest.mark.parametrize(("seconds", "measured"), [(0.0, 1), (4.0, 1), (4.2, 2)])
def test_cells_are_measured_again_once_and_while_time_allows(
    session: Callable[..., Session], seconds: float, measured: int
) -> None:
    slow = (2.0, ("disturbed",), 0.5)
    run = session(Moments(slow, slow, slow, slow, slow))
    for cell in begin(run)[:2]:
        run.measure(cell)
    assert len(list(run.measure_again(seconds))) == measured


@pytest.mark.parametrize("how", ["recovered", "in this process", "once", "with profiles", "well"])
def test_a_cell_is_not_measured_again(session: Callable[..., Session], how: str) -> None:
    workers = Moments((2.0, () if how == "well" else ("disturbed",), 0.5), GOOD)
    run = session(workers)
    cell = begin(run)[0]
    run.measure(cell)
    if how == "well":
        run.records[cell.key] = replace(run.records[cell.key], flags=("few-rounds", "recompiles"))
    elif how == "recovered":
        path = next(run.journals.glob("*.jsonl"))
        run.close(None)
        run = session(workers)
        run.plan("train")
        run.resume(path)
        assert run.measure(cell).recovered
    else:
        asked = run.invocation
        run.invocation = {
            "in this process": replace(asked, in_process=True),
            "once": replace(asked, settings=replace(asked.settings, once=True)),
            "with profiles": replace(asked, profile=True),
        }[how]
    assert list(run.measure_again(60.0)) == []
    assert len(workers.measured) == 1


def test_what_ends_a_second_measurement_leaves_the_first_record(session: Callable[..., Session]) -> None:
    run = session(Moments((2.0, ("disturbed",), 0.5)))
    cell = begin(run)[0]
    first = run.measure(cell).record
    with pytest.raises(IndexError):  # the fake has no second moment
        list(run.measure_again(60.0))
    assert run.records == read_journal(next(run.journals.glob("*.jsonl"))).records == {cell.key: first}
