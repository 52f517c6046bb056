"""Texts of others: every text of a stored run is hostile, goes through every command and format, and stays a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from docs.evidence.fuzz import HOSTILE, Kind, in_a_copy, make_results, nodes, run_all, sound_shape
from trainmark.store.pairs import read_paired_run
from trainmark.store.record import SECTION
from trainmark.store.runs import UnreadableRun, read_run

SECONDS = 120.0
PROBE = "<i>"  # as hostile as the others to a schema, which takes all of them or none
DRAWN = (HOSTILE[0], HOSTILE[12], HOSTILE[16])  # on the page of a run too, which takes two seconds
FOLDS = {"unit": "1/s", "better": "higher", "compared": "tolerance", "meaning": "folds", "tolerance": 0.05}

TEXTS = (*HOSTILE, "long and not printed \x1b[31m" + "x" * 100_000)

Place = tuple[int, tuple[Any, ...]]  # number of a line, keys from its top on


class Results:
    """A folder with a run and a paired run, which can be made hostile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kinds = make_results(folder)
        self.known = sound_shape(folder, self.kinds)
        self.texts = {
            name: with_unknown_words(name, self.kinds[name].file.read_text(encoding="utf-8"))
            for name in ("run", "pairs")
        }
        self.places = {name: self._free(name) for name in self.texts}

    def _free(self, name: str) -> list[Place]:
        """Texts that may be any, those that a reader does not refuse: found in a copy, which learns their words."""
        found = self.folder.parent / f"{name}.places"

        def look() -> None:
            lines = documents(self.texts[name])
            places = [(number, place) for number, line in enumerate(lines) for place in nodes(line)]
            texts = [(number, place) for number, place in places if isinstance(at(lines[number], place), str)]
            found.write_text(json.dumps([one for one in texts if self._reads(name, with_probe(lines, *one))]))

        assert in_a_copy(look, SECONDS) is None
        return [(number, tuple(place)) for number, place in json.loads(found.read_text())]

    def _reads(self, name: str, lines: Sequence[Any]) -> bool:
        path = self.folder.parent / self.kinds[name].file.name
        path.write_text(joined(lines), encoding="utf-8")
        told: list[str] = []
        try:
            read_run(path, told.append) if name == "run" else read_paired_run(path, told.append)
        except UnreadableRun:
            return False
        return not told

    def make_hostile(self, name: str, text: str) -> None:
        lines = documents(self.texts[name])
        for number in range(len(lines)):
            lines[number] = replaced(
                lines[number], [place for line, place in self.places[name] if line == number], text
            )
        self.kinds[name].file.write_text(joined(lines), encoding="utf-8")


def with_unknown_words(name: str, text: str) -> str:
    """The run with a metric that only its glossary knows: its unit and its meaning are text of others."""
    if name != "run":
        return text
    document = json.loads(text)
    document[SECTION]["glossary"]["metrics"]["folds"] = FOLDS
    for record in document[SECTION]["records"]:
        if record["status"] == "ok":
            record["metrics"]["folds"] = 3.5
    return json.dumps(document)


def documents(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def with_probe(lines: Sequence[Any], number: int, place: Sequence[Any]) -> list[Any]:
    return [*lines[:number], replaced(lines[number], [place], PROBE), *lines[number + 1 :]]


def joined(lines: Sequence[Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def at(document: Any, place: Sequence[Any]) -> Any:
    for key in place:
        document = document[key]
    return document


def replaced(document: Any, places: Sequence[Sequence[Any]], text: str) -> Any:
    """The document with a text in these places, of its own in each: no two benchmarks become one."""
    changed = deepcopy(document)
    for number, place in enumerate(places):
        at(changed, place[:-1])[place[-1]] = f"{text}{number or ''}"
    return changed


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(tmp_path_factory.mktemp("hostile") / "results")


def test_the_texts_that_may_be_any_are_those_that_people_and_machines_name(results: Results) -> None:
    names = {str(place[-1]) for _, place in results.places["run"]}
    assert {"model", "dataset", "cpu", "branch", "reason", "id", "unit", "meaning", "OMP_NUM_THREADS"} <= names
    assert not {"workload", "status", "started", "finished"} & names
    assert {"side", "model", "reason", "name", "key"} <= {str(place[-1]) for _, place in results.places["pairs"]}


@pytest.mark.parametrize("text", TEXTS, ids=[f"{number} {text[:12]!r}" for number, text in enumerate(TEXTS)])
@pytest.mark.parametrize("name", ["run", "pairs"])
def test_a_text_of_others_stays_a_text_in_every_format(results: Results, name: str, text: str) -> None:
    results.make_hostile(name, text)
    kind: Kind = results.kinds[name]
    work = partial(run_all, results.folder, kind, results.known, page=name == "pairs" or text in DRAWN)
    assert in_a_copy(work, SECONDS) is None
