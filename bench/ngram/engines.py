"""What can fit an n-gram model: the engines of ours, and the peers that are installed, each at its best on this file.

Nothing is imported before it is used: what is not installed is not needed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.ngram.programs import ProgramRun, run_program

if TYPE_CHECKING:
    from models.ngram import NgramModel

ALL_COUNTS = "counts of all orders"
TOP_COUNTS = "counts of order n only"
ACROSS = f"{TOP_COUNTS}, sentences joined"
KNESER_NEY = "probabilities: modified Kneser-Ney"
SMOOTHINGS = ("mle", "additive", "kneser-ney")
KENLM_MEMORY = "1G"  # of its sort buffers; it takes four fifths of the machine's memory if it is not told


@dataclass(frozen=True)
class Fitted:
    """What a fit has come to.

    Attributes:
        entries: n-grams in the table, of every order that it holds.
        seconds: From the text to the table or model.
        stages: ``encode``, ``count`` and ``estimate`` apart, in seconds, where the engine tells them.
        table_bytes: Of the arrays that hold the model; None where it is not made of arrays.
        vocabulary_size: Words, with ``</s>`` and ``<unk>``; None where the engine does not tell.
        peak_memory_bytes: Of a program of its own; None where this process did the work.
        model: Ours; None of a peer.
    """

    entries: int
    seconds: float
    stages: Mapping[str, float] = field(default_factory=dict)
    table_bytes: int | None = None
    vocabulary_size: int | None = None
    peak_memory_bytes: int | None = None
    model: NgramModel | None = None


@dataclass(frozen=True)
class Task:
    """A fit to be done.

    Attributes:
        path: The text: UTF-8, one sentence a line.
        order: Of the longest n-grams.
        smoothing: A value of the axis.
        device: Where.
        threads: CPU threads.
        scratch: Folder for what a program writes.
    """

    path: Path
    order: int
    smoothing: str
    device: str
    threads: int
    scratch: Path


@dataclass(frozen=True)
class Engine:
    """A way to fit an n-gram model.

    Attributes:
        computes: Smoothing -> what it then computes, in words; it has no others.
        fit: Does it.
        package: Name to import; None where it needs none.
        program: Name on the PATH; None likewise.
        get: How to have it.
        devices: Where it runs.
        own: Whether it is ours, and gives a model that scores.
        parting: Where it parts words otherwise than we do, at the characters up to U+0020; empty where it does not.
    """

    computes: Mapping[str, str]
    fit: Callable[[Task], Fitted]
    package: str | None = None
    program: str | None = None
    get: str = ""
    devices: tuple[str, ...] = ("cpu",)
    own: bool = False
    parting: str = ""

    def told(self, smoothing: str) -> str:
        """What it computes, for a record: with how it parts words, where a text could have others by that."""
        return f"{self.computes[smoothing]}; {self.parting}" if self.parting else self.computes[smoothing]


def engine_obstacle(name: str) -> str | None:
    """Why an engine cannot be used here; None where it can."""
    engine = ENGINES[name]
    if engine.package is not None and importlib.util.find_spec(engine.package) is None:
        return f"{name} is not installed: {engine.get}"
    if engine.program is not None and _program(engine.program) is None:
        return f"{engine.program} is not on the PATH: {engine.get}"
    return None


def _timed(work: Callable[[], int]) -> Fitted:
    begun = time.perf_counter()
    entries = work()
    return Fitted(entries, time.perf_counter() - begun)


# Ours


def _fit_own(engine: str) -> Callable[[Task], Fitted]:
    def fit_model(task: Task) -> Fitted:
        from models.ngram import fit

        begun = time.perf_counter()
        model = fit(
            [task.path],
            task.order,
            smoothing=task.smoothing,
            engine=engine,
            device=task.device,
            threads=task.threads,
        )
        seconds = time.perf_counter() - begun
        levels = model.counts.levels
        estimates = sum(part.log_probabilities.nbytes + part.log_backoffs.nbytes for part in model.estimates)
        stages = ("encode", "count", "estimate") if model.estimates else ("encode", "count")
        return Fitted(
            entries=sum(map(len, levels)),
            seconds=seconds,
            stages={stage: model.seconds[stage] for stage in stages},
            table_bytes=sum(level.nbytes for level in levels) + estimates,
            vocabulary_size=len(model.vocabulary),
            model=model,
        )

    return fit_model


# Peers in Python


def _words(task: Task) -> list[str]:
    """The text as one list of words, with a sign for each end of a sentence."""
    return task.path.read_text(encoding="utf-8").replace("\n", " </s> ").split()


def _fit_counter(task: Task) -> Fitted:
    def count() -> int:
        words = _words(task)
        return len(Counter(zip(*(words[shift:] for shift in range(task.order)), strict=False)))

    return _timed(count)


def _fit_nltk(task: Task) -> Fitted:
    from nltk.lm import MLE
    from nltk.lm.preprocessing import padded_everygram_pipeline

    def count() -> int:
        with task.path.open(encoding="utf-8") as file:
            grams, words = padded_everygram_pipeline(task.order, [line.split() for line in file])
        model = MLE(task.order)
        model.fit(grams, words)
        held = [model.counts.unigrams, *(table for n in range(2, task.order + 1) for table in model.counts[n].values())]
        return sum(map(len, held))

    return _timed(count)


def _fit_scikit_learn(task: Task) -> Fitted:
    from sklearn.feature_extraction.text import CountVectorizer

    def count() -> int:
        vectorizer = CountVectorizer(
            ngram_range=(task.order, task.order), lowercase=False, tokenizer=str.split, token_pattern=None
        )
        with task.path.open(encoding="utf-8") as file:
            vectorizer.fit_transform(file).sum(axis=0)
        return len(vectorizer.vocabulary_)

    return _timed(count)


def _fit_polars(task: Task) -> Fitted:
    os.environ["POLARS_MAX_THREADS"] = str(task.threads)  # read once, when it is imported
    import polars

    def count() -> int:
        text = task.path.read_text(encoding="utf-8").replace("\n", " </s> ")
        words = polars.Series([text]).str.split(" ").explode()
        ids = words.filter(words != "").cast(polars.Categorical).to_physical()
        last = len(ids) - task.order + 1
        grams = polars.DataFrame({f"word_{shift}": ids.slice(shift, last) for shift in range(task.order)})
        return int(grams.group_by(grams.columns).len().height)

    return _timed(count)


def _fit_duckdb(task: Task) -> Fitted:
    import duckdb

    names = [f"word_{shift}" for shift in range(task.order)]
    shifted = [f"lead(word, {shift}) OVER () AS {name}" for shift, name in enumerate(names)]
    query = f"""
        CREATE TABLE counts AS
        WITH words AS (
            SELECT unnest(string_split(line || ' </s>', ' ')) AS word
            FROM read_csv($path, columns={{'line': 'VARCHAR'}}, delim='\x01', quote='', escape='', header=false,
                          auto_detect=false)
        ), grams AS (SELECT {", ".join(shifted)} FROM words)
        SELECT {", ".join(names)}, count(*) AS number FROM grams WHERE {names[-1]} IS NOT NULL GROUP BY ALL
    """

    def count() -> int:
        with duckdb.connect() as database:
            database.execute(f"SET threads = {task.threads}")
            database.execute(query, {"path": str(task.path)})
            found = database.execute("SELECT count(*) FROM counts").fetchone()
        assert found is not None, "a count is one row"
        return int(found[0])

    return _timed(count)


# Peers that are programs


def _fit_lmplz(task: Task) -> Fitted:
    target = task.scratch / "model.arpa"
    options = ["-o", str(task.order), "-S", KENLM_MEMORY, "-T", str(task.scratch), "--discount_fallback"]
    run = _run(task, ["lmplz"], options, target)
    entries = 0
    with target.open(encoding="utf-8") as file:  # ngram 3=608470
        for line in file:
            if line.startswith("\\1-grams"):
                break
            entries += int(line.split("=")[1]) if line.startswith("ngram ") else 0
    return _of_program(run, entries)


def _fit_count_ngrams(task: Task) -> Fitted:
    target = task.scratch / "counts"
    options = ["-o", str(task.order), "-S", KENLM_MEMORY, "-T", str(task.scratch)]
    run = _run(task, ["count_ngrams"], [*options, "--write_vocab_list", str(task.scratch / "words")], target)
    return _of_program(run, target.stat().st_size // (4 * task.order + 8))  # ids of 4 bytes, a count of 8


def _fit_irstlm(task: Task) -> Fitted:
    target = task.scratch / "counts"
    options = [f"-i={task.path}", f"-n={task.order}", "-b=yes", f"-o={target}"]
    run = _run(task, ["ngt"], options, task.scratch / "said")
    with target.open("rb") as file:  # NgRaM_ 3 636295 ngram
        found = re.search(rb"(\d+) ngram", file.readline())
    if found is None:
        raise ValueError("the table of ngt begins with no number of n-grams")
    return _of_program(run, int(found[1]))


def _run(task: Task, names: list[str], options: list[str], target: Path) -> ProgramRun:
    found = _program(names[0])
    assert found is not None, "the grid has no cell of a program that is not there"
    return run_program([*found, *options], task.path, target, task.threads)


def _program(name: str) -> list[str] | None:
    """The command that runs a program, by its path; Debian hides those of IRSTLM behind one of its own."""
    found, wrapper = shutil.which(name), shutil.which("irstlm") if name == "ngt" else None
    return [found] if found else [wrapper, name] if wrapper else None


def _of_program(run: ProgramRun, entries: int) -> Fitted:
    return Fitted(entries, run.seconds, peak_memory_bytes=run.peak_memory_bytes)


# Of a text with U+00A0, U+2028, U+0085, CR, \x0b and \x1c a counter has 29 bigrams, and count_ngrams 24.
_UNICODE = "words parted at U+0085, U+00A0, U+2028 and other white space too"
_SPACES = "words parted at spaces and line feeds alone"
_BY_C = "words parted at white space of C, not at other control characters"
_BY_KENLM = "words parted at space, tab, CR and NUL, not at other control characters"

_OURS = {"mle": ALL_COUNTS, "additive": ALL_COUNTS, "kneser-ney": KNESER_NEY}
_TOP, _BARE = {"mle": TOP_COUNTS}, {"mle": f"{TOP_COUNTS}, no boundaries"}
_EXTRA = "pip install 'trainmark[peers]'"
_KENLM = "build KenLM and put its bin/ on the PATH"

ENGINES: dict[str, Engine] = {
    "numba": Engine(_OURS, _fit_own("numba"), own=True),
    "torch": Engine(_OURS, _fit_own("torch"), devices=("cpu", "cuda"), own=True),
    "python": Engine(_OURS, _fit_own("python"), own=True),
    "counter": Engine({"mle": ACROSS}, _fit_counter, parting=_UNICODE),
    "nltk": Engine({"mle": ALL_COUNTS}, _fit_nltk, package="nltk", get=_EXTRA, parting=_UNICODE),
    "scikit-learn": Engine(_BARE, _fit_scikit_learn, package="sklearn", get=_EXTRA, parting=_UNICODE),
    "polars": Engine({"mle": ACROSS}, _fit_polars, package="polars", get=_EXTRA, parting=_SPACES),
    "duckdb": Engine({"mle": ACROSS}, _fit_duckdb, package="duckdb", get=_EXTRA, parting=_SPACES),
    "lmplz": Engine({"kneser-ney": KNESER_NEY}, _fit_lmplz, program="lmplz", get=_KENLM, parting=_BY_KENLM),
    "count_ngrams": Engine(_TOP, _fit_count_ngrams, program="count_ngrams", get=_KENLM, parting=_BY_KENLM),
    "irstlm": Engine({"mle": ACROSS}, _fit_irstlm, program="ngt", get="apt-get install irstlm", parting=_BY_C),
}
