"""The protocol of n-gram cells, with an engine and a clock that are made up."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.ngram.corpora import Corpus
from bench.ngram.engines import ENGINES, Engine, Fitted, Task
from bench.ngram.limits import CountingLimits
from bench.ngram.measuring import FIRST_TEXT, fitting, measure_fit, measure_score, scoring
from models.ngram import fit as fit_model
from trainmark.measure.failures import UnsupportedError
from trainmark.measure.settings import Places, Settings
from trainmark.meters.memory import DeviceMemory
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.workloads import entry_of

SLOW = 0.5  # seconds of a fit: more than a round needs
LIMITS = CountingLimits(updates_per_second=1000.0, copy_bytes_per_second=10_000.0, threads=1, seconds_taken=0.0)


class FakeEngine:
    """Says how long it took, and remembers of what."""

    def __init__(self, *seconds: float, **parts: Any) -> None:
        self.seconds = iter((*seconds, *[seconds[-1]] * 1000))
        self.parts = {"stages": {"encode": 0.1, "count": 0.2, "estimate": 0.05}, "table_bytes": 800} | parts
        self.texts: list[bytes] = []
        self.tasks: list[Task] = []

    def fit(self, task: Task) -> Fitted:
        self.texts.append(task.path.read_bytes())
        self.tasks.append(task)
        return Fitted(entries=100, seconds=next(self.seconds), **self.parts)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    path, held_out = tmp_path / "text.txt", tmp_path / "held-out.txt"
    path.write_bytes(b"the cat sat on the mat\n" * 10)  # 230 bytes
    held_out.write_bytes(b"the dog\n")
    return Corpus(path, 70, "abc123", held_out, 3)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, corpus: Corpus) -> Callable[..., Record]:
    def run(
        engine: FakeEngine,
        cell: Cell | None = None,
        own: bool = True,
        limits: CountingLimits | None = None,
        **settings: Any,
    ) -> Record:
        cell = cell or Cell.of("ngram_fit", smoothing="kneser-ney")
        made = Engine({str(cell["smoothing"]): "what it computes"}, engine.fit, own=own)
        monkeypatch.setitem(ENGINES, str(cell["engine"]), made)
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        chosen = replace(Settings(min_rounds=6, max_seconds=0.01), **settings)
        if cell.workload == "ngram_fit":
            return measure_fit(cell, chosen, corpus, limits, lambda _: None, scratch)
        return measure_score(cell, chosen, corpus, lambda _: None, scratch)

    return run


def test_the_first_fit_compiles_the_second_warms_up_and_only_the_others_are_rounds(measured) -> None:
    engine = FakeEngine(30.0, 9.0, *[SLOW + number / 10 for number in range(6)])
    record = measured(engine)
    assert engine.texts[0] == FIRST_TEXT
    assert set(engine.texts[1:]) == {b"the cat sat on the mat\n" * 10}
    assert record.rounds == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert record.metrics["fit_seconds"] == pytest.approx(0.75)
    assert record.metrics["tokens_per_second"] == pytest.approx(70 / 0.75)
    assert record.metrics["warmup_seconds"] == 9.0
    assert 0 < (record.metrics["kernel_compile_seconds"] or 0) < 9  # by the real clock, of which a fake takes little


def test_stages_are_apart_and_shares_are_of_the_limits_of_this_run(measured) -> None:
    metrics = measured(FakeEngine(SLOW), limits=LIMITS).metrics
    assert [metrics[f"{stage}_seconds"] for stage in ("encode", "count", "estimate")] == [0.1, 0.2, 0.05]
    assert metrics["random_update_share"] == pytest.approx(70 / 0.2 / 1000)
    assert metrics["copy_share"] == pytest.approx((230 + 8 * 70 + 800) / SLOW / 10_000)
    assert metrics["table_entries"] == 100
    assert metrics["bytes_per_entry"] == 8


def test_what_was_not_measured_is_none(measured) -> None:
    metrics = measured(FakeEngine(SLOW, stages={}, table_bytes=None), own=False).metrics
    for name in (
        *("encode_seconds", "count_seconds", "estimate_seconds", "kernel_compile_seconds"),
        *("bytes_per_entry", "random_update_share", "copy_share", "vocabulary_size"),
    ):
        assert metrics[name] is None, name


def test_memory_is_the_processs_own_or_the_programs(measured, corpus: Corpus) -> None:
    own = measured(FakeEngine(SLOW)).metrics
    assert own["peak_memory_bytes"] > 50_000_000  # Python and torch are in it
    assert own["peak_bytes_per_token"] == own["peak_memory_bytes"] / 70


def test_the_memory_of_a_program_is_the_largest_of_its_runs(measured) -> None:
    engine = FakeEngine(SLOW)
    sizes = iter([9000, *[1000, 7000] * 100])
    fit = engine.fit
    engine.fit = lambda task: replace(fit(task), peak_memory_bytes=next(sizes))  # type: ignore[method-assign]
    metrics = measured(engine, own=False).metrics
    assert (metrics["peak_memory_bytes"], metrics["peak_bytes_per_token"]) == (7000, 100)


def test_the_fit_that_warms_up_counts_neither_in_the_stages_nor_in_the_memory_of_a_program(measured) -> None:
    engine = FakeEngine(SLOW)
    fits = iter([(9000, 9.0), (8000, 8.0), *[(1000, 1.0), (7000, 3.0)] * 100])  # kernels, warm-up, rounds
    fit = engine.fit

    def fit_once(task: Any) -> Any:
        size, seconds = next(fits)
        return replace(fit(task), peak_memory_bytes=size, stages={"count": seconds})

    engine.fit = fit_once  # type: ignore[method-assign]
    metrics = measured(engine, own=False).metrics
    assert (metrics["peak_memory_bytes"], metrics["count_seconds"]) == (7000, 2.0)


def test_short_fits_are_done_several_times_in_a_round(measured) -> None:
    record = measured(FakeEngine(0.004))
    assert record.steps_per_round == 5  # 20 ms
    assert record.rounds == pytest.approx([0.004] * 6)


def test_rounds_go_on_for_as_long_as_they_are_asked_to(measured) -> None:
    assert len(measured(FakeEngine(SLOW), max_seconds=4.1).rounds) == 9


def test_once_is_a_single_fit_after_the_first(measured) -> None:
    engine = FakeEngine(0.001)
    record = measured(engine, once=True)
    assert len(record.rounds) == 1
    assert len(engine.texts) == 3  # kernels, the first, the one
    assert "few-rounds" in record.flags


def test_no_fit_begins_while_the_model_of_another_is_held(measured) -> None:
    engine = FakeEngine(SLOW)
    alive: list[object] = []

    class Model:
        def __init__(self) -> None:
            alive.append(id(self))

        def __del__(self) -> None:
            alive.remove(id(self))

    fit = engine.fit

    def fit_alone(task: Task) -> Fitted:
        assert not alive
        return replace(fit(task), model=Model())  # type: ignore[arg-type]

    engine.fit = fit_alone  # type: ignore[method-assign]
    measured(engine)
    assert len(engine.tasks) == 8


def test_a_record_says_of_which_text_it_is_and_what_was_computed(measured) -> None:
    record = measured(FakeEngine(SLOW), threads=2)
    assert record.settings["computes"] == "what it computes"
    assert (record.settings["corpus_digest"], record.settings["corpus_tokens"]) == ("abc123", 70)
    assert record.settings["threads"] == 2
    assert not [value for value in record.settings.values() if "/" in str(value)]


@pytest.mark.parametrize("threads", [1, 2])
def test_pytorch_has_the_threads_of_the_run(measured, threads: int) -> None:
    engine, before = FakeEngine(SLOW), torch.get_num_threads()
    found: set[int] = set()
    fit = engine.fit

    def fit_and_look(task: Task) -> Fitted:
        found.add(torch.get_num_threads())
        return fit(task)

    engine.fit = fit_and_look  # type: ignore[method-assign]
    measured(engine, threads=threads)
    torch.set_num_threads(before)
    assert found == {threads}


def test_a_fit_that_slows_down_is_flagged(measured) -> None:
    assert "unsteady" in measured(FakeEngine(0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.9, 0.9)).flags


# Scoring


@pytest.fixture
def fitted() -> Callable[..., FakeEngine]:
    """An engine whose model is a real one, of the corpus, by either smoothing."""

    def make(smoothing: str, text: str = "the cat sat on the mat\n" * 10) -> FakeEngine:
        return FakeEngine(SLOW, model=fit_model(text.encode(), order=2, smoothing=smoothing))

    return make


def test_a_score_is_of_the_held_out_text_by_a_model_of_the_rest(measured, fitted) -> None:
    engine = fitted("additive")
    record = measured(engine, Cell.of("ngram_score", smoothing="additive", order=2))
    metrics = record.metrics
    assert [text for text in engine.texts if text != FIRST_TEXT] == [b"the cat sat on the mat\n" * 10]
    # "the dog </s>": 10 of 10 sentences begin so, 0 of 20 "the" go on so, 0 of 0 unknown words end one; and 7 ids
    probabilities = [11 / 17, 1 / 27, 1 / 7]
    assert metrics["perplexity"] == pytest.approx(math.prod(probabilities) ** (-1 / 3))
    assert metrics["perplexity_without_unknown"] == pytest.approx((11 / 17 / 7) ** -0.5)
    assert (metrics["unseen_share"], metrics["unknown_share"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert metrics["vocabulary_size"] == 7
    assert metrics["table_entries"] == 7 + 7
    assert metrics["score_tokens_per_second"] == pytest.approx(3 / (metrics["score_seconds"] or 0))
    assert record.settings["held_out_tokens"] == 3


def test_an_infinite_perplexity_is_none_beside_the_unseen_share(measured, fitted) -> None:
    metrics = measured(fitted("mle"), Cell.of("ngram_score", order=2)).metrics
    assert (metrics["perplexity"], metrics["perplexity_without_unknown"]) == (None, None)
    assert metrics["unseen_share"] == pytest.approx(2 / 3)


def test_a_peer_that_gives_no_model_cannot_score(measured) -> None:
    with pytest.raises(UnsupportedError, match="numba gives no model that scores"):
        measured(FakeEngine(SLOW), Cell.of("ngram_score"), own=False)


@pytest.mark.parametrize("workload", ["ngram_fit", "ngram_score"])
def test_the_functions_are_where_the_entry_looks_for_them(workload: str) -> None:
    entry = entry_of(workload)
    assert pkgutil.resolve_name(entry.measured_by) in (measure_fit, measure_score)
    assert pkgutil.resolve_name(entry.steps) in (fitting, scoring)


# As half of a pair


@pytest.fixture
def text(tmp_path: Path) -> Settings:
    """Settings with a text of twenty sentences, the last two of which are held out where some are."""
    path = tmp_path / "tiny.txt"
    path.write_bytes(b"the cat sat\n" * 18 + b"the dog\n" * 2)
    return Settings(places=Places(named={"corpus": {"tiny.txt": path}}))


def test_a_fit_is_repeated_as_a_whole_and_gives_the_entries_of_its_table(text: Settings, tmp_path: Path) -> None:
    cell = Cell.of("ngram_fit", engine="python", order=1, corpus="tiny.txt")
    repeated = fitting(cell, text, tmp_path)
    found = fit_model((tmp_path / "tiny.txt").read_bytes(), order=1, engine="python")
    with repeated.context:
        assert [repeated.advance().item() for _ in range(2)] == [sum(map(len, found.counts.levels))] * 2


def test_each_repeated_fit_reads_the_text_anew(text: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(SLOW)
    monkeypatch.setitem(ENGINES, "numba", Engine({"mle": "what it computes"}, engine.fit, own=True))
    repeated = fitting(Cell.of("ngram_fit", corpus="tiny.txt"), text, tmp_path)
    assert engine.texts == []
    repeated.advance()
    repeated.advance()
    assert engine.texts == [(tmp_path / "tiny.txt").read_bytes()] * 2


def test_a_pass_is_over_the_held_out_text_by_a_model_that_was_fitted_before(
    text: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(SLOW, model=fit_model(b"the cat sat\n" * 18, order=2, smoothing="additive"))
    monkeypatch.setitem(ENGINES, "numba", Engine({"additive": "what it computes"}, engine.fit, own=True))
    repeated = scoring(Cell.of("ngram_score", order=2, smoothing="additive", corpus="tiny.txt"), text, tmp_path)
    assert engine.texts == [b"the cat sat\n" * 18]
    assert [repeated.advance().item() for _ in range(2)] == [6, 6]  # two sentences of two words and an end
    assert len(engine.texts) == 1


def test_what_gives_no_model_is_no_half_of_a_pair_of_scores(
    text: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "numba", Engine({"mle": "what it computes"}, FakeEngine(SLOW).fit))
    with pytest.raises(UnsupportedError, match="numba gives no model that scores"):
        scoring(Cell.of("ngram_score", corpus="tiny.txt"), text, tmp_path)


@pytest.mark.parametrize(
    ("device", "stages", "told"),
    [
        ("cpu", {"estimate": 0.05}, "what it computes"),
        ("cuda", {"estimate": 0.05}, "what it computes, counted on cuda and estimated on the CPU"),
        ("cuda", {}, "what it computes"),
    ],
)
def test_a_fit_on_a_gpu_says_what_of_it_is_done_there(
    measured, monkeypatch: pytest.MonkeyPatch, device: str, stages: dict[str, float], told: str
) -> None:
    for name in ("reset_device_peak", "device_peak"):
        stand_in = (lambda device: None) if name[0] == "r" else lambda device: DeviceMemory(None, None)
        monkeypatch.setattr(f"bench.ngram.measuring.{name}", stand_in)
    engine = FakeEngine(SLOW, stages={"encode": 0.1, "count": 0.2} | stages)
    record = measured(engine, Cell.of("ngram_fit", engine="torch", device=device, smoothing="kneser-ney"))
    assert record.settings["computes"] == told
