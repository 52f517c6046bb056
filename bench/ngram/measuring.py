"""The protocol of the n-gram cells: kernels first, then whole fits or whole passes over a held-out text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.ngram.corpora import Corpus, write_corpus
from bench.ngram.engines import ENGINES, Fitted, Task
from bench.ngram.limits import CountingLimits, counting_shares
from trainmark.measure.context import now
from trainmark.measure.failures import UnsupportedError
from trainmark.measure.protocol import ROUND_SECONDS, drifts
from trainmark.measure.settings import Settings
from trainmark.meters.disturbance import DisturbanceMeter
from trainmark.meters.memory import device_peak, peak_memory_bytes, reset_device_peak
from trainmark.store.cell import Cell
from trainmark.store.record import Record
from trainmark.store.rounds import median_interval

if TYPE_CHECKING:
    from models.ngram import NgramModel
    from models.ngram.scoring import Scores

Metrics = dict[str, float | int | None]

FIRST_TEXT = b"the cat sat\nthe dog sat\nthe cat\n"  # what kernels are compiled with: too small to take time


def measure_fit(
    cell: Cell,
    settings: Settings,
    corpus: Corpus,
    limits: CountingLimits | None,
    report: Callable[[str], None],
    scratch: Path,
) -> Record:
    """Measures an ``ngram_fit`` cell in this process.

    Args:
        cell: What to measure.
        settings: How.
        corpus: The text.
        limits: What bounds counting here; None where it was not probed.
        report: Told what is being done.
        scratch: An empty folder for this cell alone.
    """
    return _record(cell, settings, lambda: _fit_parts(cell, corpus, limits, settings, report, scratch))


def measure_score(
    cell: Cell, settings: Settings, corpus: Corpus, report: Callable[[str], None], scratch: Path
) -> Record:
    """Measures an ``ngram_score`` cell in this process; arguments as above.

    Raises:
        UnsupportedError: The engine is none that scores.
    """
    return _record(cell, settings, lambda: _score_parts(cell, corpus, settings, report, scratch))


def _record(cell: Cell, settings: Settings, work: Callable[[], dict[str, Any]]) -> Record:
    torch.set_num_threads(settings.threads)
    return Record(cell=cell, status="ok", started=now(), **work())


@dataclass(frozen=True)
class Repeated:
    """A fit or a pass over a text, as a pair of processes repeats it by turns.

    Attributes:
        work: Does it, and gives how many it has counted.
        context: To be entered around all of it.
    """

    work: Callable[[], int]
    context: AbstractContextManager[object]

    def advance(self) -> torch.Tensor:
        """Does it once; gives that number, a tensor []."""
        return torch.tensor(self.work())


def fitting(cell: Cell, settings: Settings, scratch: Path) -> Repeated:
    """Fits of the cell's corpus, which is written to the scratch folder first."""
    corpus = _write(cell, settings, scratch, split=False)
    task, engine = _task(cell, corpus.path, settings, scratch), ENGINES[str(cell["engine"])]
    return Repeated(lambda: engine.fit(task).entries, nullcontext())


def scoring(cell: Cell, settings: Settings, scratch: Path) -> Repeated:
    """Passes over the held-out part of the cell's corpus, by a model of the rest."""
    corpus = _write(cell, settings, scratch, split=True)
    model = ENGINES[str(cell["engine"])].fit(_task(cell, corpus.path, settings, scratch)).model
    if model is None or corpus.held_out is None:
        raise UnsupportedError(f"{cell['engine']} gives no model that scores")
    ids = _encoded(model, corpus.held_out)
    return Repeated(lambda: len(model.score(ids, settings.threads).unknown), nullcontext())


def _write(cell: Cell, settings: Settings, scratch: Path, *, split: bool) -> Corpus:
    name = str(cell["corpus"])
    source = settings.places.find("corpus", name)
    return write_corpus(name, int(cell["tokens"]), split, source, scratch, lambda _doing: None, scratch)


def _fit_parts(
    cell: Cell,
    corpus: Corpus,
    limits: CountingLimits | None,
    settings: Settings,
    report: Callable[[str], None],
    scratch: Path,
) -> dict[str, Any]:
    """The parts of a record of fits, each from the text's file to the model."""
    engine, device = ENGINES[str(cell["engine"])], str(cell["device"])
    compiled = _compile_kernels(cell, settings, report, scratch, scores=False)
    fits: list[Fitted] = []

    def fit_once() -> float:
        if fits:  # the tables of two fits at once would be counted as the memory of one
            fits[-1] = replace(fits[-1], model=None)
        fits.append(engine.fit(_task(cell, corpus.path, settings, scratch)))
        return fits[-1].seconds

    rounds = _time_rounds(fit_once, device, settings, report, "fitting")
    fits = fits[-len(rounds.seconds) * rounds.repeats :]  # without the first, which warms up
    last = fits[-1]
    host_peak, peak = peak_memory_bytes(), device_peak(device)
    if last.peak_memory_bytes is not None:
        host_peak = max(fit.peak_memory_bytes or 0 for fit in fits)
    stages = {name: median(fit.stages[name] for fit in fits) for name in last.stages}
    seconds = median(rounds.seconds)
    metrics: Metrics = {
        "fit_seconds": seconds,
        "tokens_per_second": corpus.tokens / seconds,
        "encode_seconds": stages.get("encode"),
        "count_seconds": stages.get("count"),
        "estimate_seconds": stages.get("estimate"),
        "kernel_compile_seconds": compiled,
        "warmup_seconds": rounds.warmup_seconds,
        "peak_memory_bytes": host_peak,
        "peak_bytes_per_token": None if host_peak is None else host_peak / corpus.tokens,
        "device_allocated_bytes": peak.allocated,
        "device_reserved_bytes": peak.reserved,
        "table_entries": last.entries,
        "bytes_per_entry": None if last.table_bytes is None else last.table_bytes / last.entries,
        "vocabulary_size": last.vocabulary_size,
        **counting_shares(
            limits if device == "cpu" else None,
            corpus.tokens,
            corpus.path.stat().st_size,
            last.table_bytes,
            seconds,
            stages.get("count"),
        ),
    }
    computes = engine.told(str(cell["smoothing"]))
    if device != "cpu" and "estimate" in stages:  # which is NumPy's and numba's, wherever it was counted
        computes = f"{computes}, counted on {device} and estimated on the CPU"
    return _parts(metrics, rounds, settings, corpus, computes=computes)


def _score_parts(
    cell: Cell, corpus: Corpus, settings: Settings, report: Callable[[str], None], scratch: Path
) -> dict[str, Any]:
    """The parts of a record of passes over the held-out text by a model of the rest."""
    engine, device = ENGINES[str(cell["engine"])], str(cell["device"])
    if not engine.own:
        raise UnsupportedError(f"{cell['engine']} gives no model that scores")
    assert corpus.held_out is not None, "the session holds out a part of the corpus of such a cell"
    compiled = _compile_kernels(cell, settings, report, scratch, scores=True)
    report("fitting")
    model = engine.fit(_task(cell, corpus.path, settings, scratch)).model
    assert model is not None, "an engine of ours gives its model"
    ids = _encoded(model, corpus.held_out)
    scores: list[Scores] = []

    def score_once() -> float:
        begun = time.perf_counter()
        scores[:] = [model.score(ids, settings.threads)]
        return time.perf_counter() - begun

    rounds = _time_rounds(score_once, device, settings, report, "scoring")
    seconds = median(rounds.seconds)
    (found,) = scores
    metrics: Metrics = {
        "score_seconds": seconds,
        "score_tokens_per_second": corpus.held_out_tokens / seconds,
        "kernel_compile_seconds": compiled,
        "warmup_seconds": rounds.warmup_seconds,
        "perplexity": _finite(found.perplexity()),
        "perplexity_without_unknown": _finite(found.perplexity(unknown=False)),
        "unseen_share": found.unseen_share(model.order),
        "unknown_share": float(found.unknown.mean()),
        "table_entries": sum(map(len, model.counts.levels)),
        "vocabulary_size": len(model.vocabulary),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    return _parts(metrics, rounds, settings, corpus, computes=engine.told(str(cell["smoothing"])))


@dataclass(frozen=True)
class Rounds:
    """What was timed.

    Attributes:
        seconds: Of one fit or pass, a number a round.
        repeats: Fits or passes in a round.
        warmup_seconds: Of the first one, which is in no round.
        disturbance: What else the machine did meanwhile.
        disturbed: Whether that was too much.
    """

    seconds: tuple[float, ...]
    repeats: int
    warmup_seconds: float
    disturbance: dict[str, float | int | str | None]
    disturbed: bool


def _time_rounds(
    once: Callable[[], float], device: str, settings: Settings, report: Callable[[str], None], doing: str
) -> Rounds:
    """One to warm up, then rounds: as many as the settings ask for.

    Args:
        once: Does the work and gives the seconds it took.
        device: Where.
        settings: How many rounds, and for how long.
        report: Told what is being done.
        doing: That, in a word.
    """
    report(f"{doing}, to warm up")
    first = once()
    repeats = 1 if settings.once else max(1, math.ceil(ROUND_SECONDS / max(first, 1e-9)))
    seconds: list[float] = []
    with DisturbanceMeter(device) as meter:
        while not _enough(seconds, repeats, settings):
            report(f"{doing}, round {len(seconds) + 1}")
            seconds.append(sum(once() for _ in range(repeats)) / repeats)
    disturbance = meter.result
    assert disturbance is not None  # the meter's block has ended
    return Rounds(tuple(seconds), repeats, first, disturbance.to_json(), disturbance.disturbed)


def _enough(seconds: Sequence[float], repeats: int, settings: Settings) -> bool:
    if settings.once:
        return len(seconds) == 1
    return len(seconds) >= settings.min_rounds and sum(seconds) * repeats >= settings.max_seconds


def _compile_kernels(
    cell: Cell, settings: Settings, report: Callable[[str], None], scratch: Path, *, scores: bool
) -> float | None:
    """Seconds of the first fit of all, of a few words: kernels are compiled, or loaded from their cache on disk.

    None of a peer, which has none; a package that it needs is imported all the same.
    """
    report("compiling kernels")
    reset_device_peak(str(cell["device"]))
    path = scratch / "first.txt"
    path.write_bytes(FIRST_TEXT)
    engine = ENGINES[str(cell["engine"])]
    begun = time.perf_counter()
    model = engine.fit(_task(cell, path, settings, scratch)).model
    if scores and model is not None:
        model.score(_encoded(model, path), settings.threads)
    return time.perf_counter() - begun if engine.own else None


def _encoded(model: NgramModel, path: Path) -> NDArray[np.int32]:
    from models.ngram.fitting import encode_with
    from models.ngram.text import read_views

    return encode_with(model.vocabulary, read_views([path]))


def _task(cell: Cell, path: Path, settings: Settings, scratch: Path) -> Task:
    return Task(
        path=path,
        order=int(cell["order"]),
        smoothing=str(cell["smoothing"]),
        device=str(cell["device"]),
        threads=settings.threads,
        scratch=scratch,
    )


def _parts(metrics: Metrics, rounds: Rounds, settings: Settings, corpus: Corpus, computes: str) -> dict[str, Any]:
    flags = {
        "disturbed": rounds.disturbed,
        "unsteady": drifts(rounds.seconds),
        "few-rounds": median_interval(rounds.seconds).low is None,
    }
    return {
        "metrics": metrics,
        "rounds": rounds.seconds,
        "steps_per_round": rounds.repeats,
        "settings": {
            "threads": settings.threads,
            "seed": settings.seed,
            "corpus_digest": corpus.digest,
            "corpus_tokens": corpus.tokens,
            "held_out_tokens": corpus.held_out_tokens or None,
            "computes": computes,
        },
        "disturbance": rounds.disturbance,
        "flags": tuple(name for name, raised in flags.items() if raised),
    }


def _finite(number: float) -> float | None:
    """The number; None where it is infinite, as one unseen n-gram of probability 0 makes it, or of no tokens."""
    return number if math.isfinite(number) else None
