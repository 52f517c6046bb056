"""n-gram cells in a run: their text is written once, their limits are probed with them, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.ngram.corpora import Corpus
from bench.ngram.limits import CountingLimits
from trainmark.measure.machine import Machine
from trainmark.measure.session import Invocation, Session
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits, Outcome
from trainmark.progress import cell_line
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.workloads.planning import Request

MACHINE = Machine({"fingerprint": "abc"}, ("cpu",), {"cpu": ("fp32",)}, {}, {}, cpu_flops=1e11)
MEASURING = ("measure_fit", "measure_score")
LIMITS = CountingLimits(1e8, 2e10, 1, 2.0)


class FakeWorkers:
    """Writes corpora and probes limits without a process, and remembers what it was asked for."""

    def __init__(self, **endings: Outcome) -> None:
        self.endings = endings
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def call(self, function: str, *arguments: Any, limits: Limits | None = None) -> Outcome:
        name = function.split(":")[1]
        self.calls.append((name, arguments))
        if name in self.endings:
            return self.endings[name]
        if name == "write_corpus":
            path = arguments[4] / f"{arguments[0]}-{arguments[2]}.txt"
            path.touch()
            return Outcome("ok", Corpus(path, 10, "abc"), None, "", 0.1)
        if name in MEASURING:
            return Outcome("ok", Record(arguments[0], "ok", metrics={"fit_seconds": 0.5}), None, "", 2.0)
        return Outcome("ok", {"describe": MACHINE, "measure_limits": LIMITS}[name], None, "", 0.1)

    def asked(self, *names: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called in names]


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Any]:
    """Makes a run of the quick grid's n-gram cells, begun."""
    made: list[Session] = []

    def make(**endings: Outcome) -> tuple[Session, FakeWorkers, list[Cell]]:
        run = Session(Invocation(Request(given={"order": (3,)}), Settings(), Limits()), tmp_path)
        run.workers = run.context.workers = workers = FakeWorkers(**endings)  # type: ignore[assignment]
        made.append(run)
        cells = [*run.plan("ngram_fit"), *run.plan("ngram_score")]
        run.probe_peaks(cells)
        run.begin(cells, {})
        return run, workers, cells

    yield make
    for run in made:
        run.close(None)


def test_a_text_is_written_once_for_all_cells_and_once_more_to_hold_a_part_out(begun) -> None:
    run, workers, cells = begun()
    records = [run.measure(cell).record for cell in cells]
    assert [record.status for record in records] == ["ok"] * 4
    assert [arguments[:3] for arguments in workers.asked("write_corpus")] == [("pydoc", 0, False), ("pydoc", 0, True)]
    paths = [corpus.path.name for _, _, corpus, *_ in workers.asked(*MEASURING)]
    assert paths == ["pydoc-False.txt"] * 3 + ["pydoc-True.txt"]


def test_the_limits_are_probed_in_the_run_and_stored_with_it(begun) -> None:
    run, workers, cells = begun()
    for cell in cells:
        run.measure(cell)
    run.finish()
    assert len(workers.asked("measure_limits")) == 1
    assert workers.asked("measure_fit")[0][3] == LIMITS
    assert run.facts.to_json()["peaks"]["counting"]["updates_per_second"] == 1e8


def test_probes_that_fail_cost_the_shares_alone(begun) -> None:
    run, workers, cells = begun(measure_limits=Outcome("oom", None, "no memory", "", 1.0))
    assert [run.measure(cell).record.status for cell in cells] == ["ok"] * 4
    assert [limits for _, _, _, limits in workers.asked("measure_fit")] == [None] * 3
    assert run.context.notes == ["no share of the machine's limits: its probes ended with no memory"]


def test_a_text_that_is_too_small_skips_its_cells_with_the_reason_and_is_not_written_again(begun) -> None:
    run, workers, cells = begun(write_corpus=Outcome("skipped", None, "pydoc has 10 tokens", "", 0.1))
    for cell in cells[:2]:
        record = run.measure(cell).record
        assert (record.status, record.reason) == ("skipped", "pydoc has 10 tokens")
    assert len(workers.asked("write_corpus")) == 1
    assert workers.asked(*MEASURING) == []


def test_the_texts_are_gone_when_the_run_is(begun) -> None:
    run, workers, cells = begun()
    run.measure(cells[0])
    folder = workers.asked("write_corpus")[0][4]
    assert folder.is_dir()
    run.close(None)
    assert not folder.exists()


def test_a_finished_cell_says_how_fast_and_what_it_was() -> None:
    fit = Record(
        Cell.of("ngram_fit", engine="counter"),
        "ok",
        metrics={"fit_seconds": 0.0337, "tokens_per_second": 2.72e6},
        settings={"computes": "counts of order n only"},
    )
    line = cell_line(_measured(fit), 1, 1, 0.0)
    assert "ngram_fit counter order 3 mle" in line
    assert "33.7 ms" in line and "2.72 M/s" in line
    assert "  tokens: counts of order n only  [" in line


@pytest.mark.parametrize(
    ("perplexity", "told"), [(173.0972, "perplexity 173.1"), (None, "infinite perplexity, 40.4% unseen")]
)
def test_a_finished_score_says_its_perplexity_or_that_it_is_infinite(perplexity: float | None, told: str) -> None:
    metrics = {
        "score_seconds": 0.5,
        "score_tokens_per_second": 2e6,
        "perplexity": perplexity,
        "unseen_share": 0.404,
    }
    assert told in cell_line(_measured(Record(Cell.of("ngram_score"), "ok", metrics=metrics)), 1, 1, 0.0)


def _measured(record: Record) -> Any:
    from trainmark.measure.session import Measured

    return Measured(record)
