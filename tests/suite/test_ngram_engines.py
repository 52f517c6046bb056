"""Engines: each peer that is installed counts what it says it counts; what is not installed says how to have it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.ngram import engines as ngram_engines
from bench.ngram.engines import ACROSS, ALL_COUNTS, ENGINES, KNESER_NEY, TOP_COUNTS, Engine, Task, engine_obstacle
from trainmark.store.parameters import PARAMETERS

OWN_ENGINES = ("numba", "torch", "python")
PEERS = ("counter", "nltk", "scikit-learn", "polars", "duckdb", "lmplz", "count_ngrams", "irstlm")
SENTENCES = [line.split() for line in ("the cat sat", "the dog sat on the cat", "the cat sat", "a dog", "on")]


def padded(order: int) -> list[list[str]]:
    return [["<s>"] * (order - 1) + words + ["</s>"] for words in SENTENCES]


def grams(sentences: list[list[str]], order: int) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(words[start : start + order]) for words in sentences for start in range(len(words) - order + 1)
    )


def expected_entries(name: str, order: int) -> int:
    """How many n-grams an engine's own rules find in SENTENCES, counted by hand."""
    if name in ("counter", "polars", "duckdb"):
        return len(grams([[word for words in SENTENCES for word in (*words, "</s>")]], order))
    if name == "scikit-learn":
        return len(grams(SENTENCES, order))
    if name == "nltk":  # pads both ends
        both = [["<s>"] * (order - 1) + words + ["</s>"] * (order - 1) for words in SENTENCES]
        return sum(len(grams(both, n)) for n in range(1, order + 1))
    if name == "count_ngrams":  # each word is the end of one n-gram, padded with <s>; of words also <s> and <unk>
        return len(grams(padded(order), order)) + 2 * (order == 1)
    if name == "irstlm":  # begins the text, not the sentence; and adds some "to make table consistent"
        flat = [word for words in SENTENCES for word in words]
        return len(grams([["<s>"] * order + flat], order)) + order - 1
    at_most_one = [["<s>", *words, "</s>"] for words in SENTENCES]
    return 1 + sum(  # <unk>
        len(grams(at_most_one, n)) for n in range(1, order + 1)
    )


def fit(name: str, folder: Path, order: int, smoothing: str | None = None):
    path = folder / "text.txt"
    path.write_text("".join(" ".join(words) + "\n" for words in SENTENCES))
    engine = ENGINES[name]
    return engine.fit(Task(path, order, smoothing or next(iter(engine.computes)), "cpu", 1, folder))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_finds_the_ngrams_that_it_says_it_counts(name: str, order: int, tmp_path: Path) -> None:
    missing = engine_obstacle(name)
    if missing:
        pytest.skip(missing)
    fitted = fit(name, tmp_path, order)
    assert fitted.entries == expected_entries(name, order)
    assert fitted.seconds > 0


def test_every_engine_of_the_axis_is_there_with_what_it_computes() -> None:
    assert tuple(ENGINES) == PARAMETERS["engine"].values == (*OWN_ENGINES, *PEERS)
    assert {name for name, engine in ENGINES.items() if engine.own} == set(OWN_ENGINES)
    known = {ALL_COUNTS, TOP_COUNTS, ACROSS, KNESER_NEY, f"{TOP_COUNTS}, no boundaries"}
    for engine in ENGINES.values():
        assert engine.computes
        assert set(engine.computes) <= set(PARAMETERS["smoothing"].values)
        assert set(engine.computes.values()) <= known


def test_a_package_that_is_not_there_is_named_with_the_way_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Engine({"mle": TOP_COUNTS}, lambda task: None, package="no_such_package", get="pip install it")  # type: ignore[arg-type,return-value]
    monkeypatch.setitem(ngram_engines.ENGINES, "polars", missing)
    assert engine_obstacle("polars") == "polars is not installed: pip install it"


@pytest.mark.parametrize("name", ["lmplz", "count_ngrams", "irstlm"])
def test_a_program_that_is_not_there_is_named_with_the_way_to_have_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = engine_obstacle(name)
    assert told is not None
    assert "is not on the PATH: " in told


@pytest.mark.parametrize("wrapped", [False, True])
def test_irstlm_is_found_by_its_own_name_or_by_debians(
    wrapped: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / ("irstlm" if wrapped else "ngt")
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine_obstacle("irstlm") is None
    assert ngram_engines._program("ngt") == ([str(program), "ngt"] if wrapped else [str(program)])


def test_ours_need_nothing_beside_the_project() -> None:
    assert [engine_obstacle(name) for name in OWN_ENGINES] == [None] * 3


@pytest.mark.parametrize("smoothing", ["mle", "additive", "kneser-ney"])
@pytest.mark.parametrize("name", OWN_ENGINES)
@pytest.mark.filterwarnings("ignore:.*discounts")  # the text is too small to tell them
def test_ours_find_every_order_and_say_how_long_each_stage_took(name: str, smoothing: str, tmp_path: Path) -> None:
    fitted = fit(name, tmp_path, 3, smoothing)
    assert fitted.entries == expected_entries("lmplz", 3) - 1  # </s> and <s> are one entry here
    assert set(fitted.stages) == {"encode", "count", *(["estimate"] if smoothing == "kneser-ney" else [])}
    assert sum(fitted.stages.values()) <= fitted.seconds
    assert fitted.vocabulary_size == 6 + 2
    assert fitted.table_bytes is not None
    assert fitted.model is not None


def test_a_kneser_ney_model_takes_more_bytes_than_its_counts(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="discounts"):
        smoothed = fit("numba", tmp_path, 3, "kneser-ney").table_bytes
    counted = fit("numba", tmp_path, 3, "mle").table_bytes
    assert smoothed is not None and counted is not None
    assert smoothed > counted
