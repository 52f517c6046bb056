"""Damaged files: each kind of file that is read from results/ is damaged, and every command that reads it is run.

    PYTHONPATH=. python docs/evidence/fuzz.py [KIND ...] [--seconds N] [--mutations N] [--seed N]

Bytes are flipped, cut, inserted and repeated; nodes of the document are replaced at every depth by values of other
types and by numbers, texts and nestings that nothing has; keys are taken away and repeated; a folder, a pipe or a link
to nothing takes the place of the file. The commands run in a copy of this process. A finding is an exception, a death
by a signal, more seconds than ``--limit``, an exit code that no command has, an export that a strict parser refuses, an
element on a page that is on no sound one, or a number outside its range in what was read. Prints each distinct finding,
with its kind and the number of its mutation, which ``--first`` and ``--mutations`` make again; and at the end how many
mutations, commands and findings there were.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import math
import os
import random
import re
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from bench.lecture.findings import find_lecture, write_lecture
from tests.conftest import example_lecture, example_paired_run, full_run
from tests.conftest import store as store_run
from trainmark import load_runs
from trainmark.cli import main
from trainmark.measure.session import find_interrupted
from trainmark.meters.control import Best, Control
from trainmark.meters.probes import Peaks, load_peaks, store_peaks
from trainmark.store.documents import SchemaError
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.journal import Journal, read_journal
from trainmark.store.pairs import PairedRun, interrupted_pairs, paired_files, read_paired_runs, write_paired_run
from trainmark.store.profiles import MemoryTimeline, Operator, Profile, write_profile, write_timeline
from trainmark.store.record import Run
from trainmark.store.runs import UnreadableRun, artifact_folder, read_runs, run_files

LIMIT = 10.0  # seconds of a command, on a machine that does nothing else
PAGES = 16  # of so many mutations one is drawn as a page too, which takes a second
FINGERPRINT = "1a2b3c4d5e6f"

HOSTILE = (
    '<img src=x onerror="alert(1)">',
    "</script></svg><script>alert(1)</script>",
    "@everyone",
    "[a](javascript:alert(1)) https://example.org www.example.org",
    "`` ` `` | # * _ ~",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "::error::x\n::add-mask::x\n# EOF\n",
    "\x1b[31m\x07\x00\x85\u2028",
    "]]>&amp;'\"\\",
    "\ud800",
    "\u202eabc\u2066\u200b\ufeff",
    "$\\frac{",
    "{{ 7 * 7 }}{% raw %}%s%n",
    "x" * 100_000,
)


class Raw(str):
    """A piece of JSON that no value is written as."""


NOTHING_HAS = (
    *(None, True, False, 0, 1, -1, 2, 0.5, 1.5, -0.5, 5.0, -0.0, 5e-324, -5e-324, 1e-200, 1e100, 1e308, -1e308),
    *(2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400, -(10**400)),
    *map(Raw, ("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1" * 5000, "[" * 2000 + "]" * 2000, "[" * 20_000)),
    *map(
        Raw, ('{"a":1,"a":2}', '"\\ud800"', '{"\\ud800":1}', "01", "+1", "'x'", "nul", '{"a":' * 500 + "1" + "}" * 500)
    ),
    *("", " ", "x", "0", "no", "2026-13-45T99:99:99", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *("../../x", "/", "a b", "a=b", "ok", "nan", "inf", "1", "self", "latest", "cpu", "train", "mlp"),
    *([], {}, [[]], [{}], {"": None}, [None], [1, "x"], [[1, 2], [3]], {"a": {"b": {"c": [1]}}}, ["x"] * 1000),
    *HOSTILE,
)


# What is read


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        file: In the folder of runs.
        commands: Arguments of those that read it.
        readers: Functions that read it besides.
    """

    file: Path
    commands: tuple[tuple[str, ...], ...]
    readers: tuple[Callable[[], object], ...] = ()


def small(run: Run) -> Run:
    """The run with a record of each kind, so that a page takes a second."""
    wanted = ("train mlp 64 cpu fp32", "train mlp 64 cpu bf16", "train mlp 256 cpu fp32 compile=default",
              "inference mlp 256 cpu fp32", "train resnet20 256 cpu fp32")  # fmt: skip
    kept = [one for one in run.records if one.label in wanted or one.cell.workload in ("accuracy", "input")]
    kept += [one for one in run.records if one.status == "skipped"]
    disturbance = {
        "waiting_share": 0.01,
        "steal_share": None,
        "control_ratio": 1.1,
        "gpu_throttle_reasons_after": "heat",
    }
    computation = {
        "facts": {"loss": {"class": "CrossEntropyLoss"}, "optimizer": {"class": "AdamW"}},
        "steps": [
            {"samples": 8, "images": [0.5, 1.5], "outputs": [0.1, 2.0], "loss": [2.3, 2.3], "gradient": [1.0, 1.0]}
        ],
        "evaluations": [{"samples": 8, "outputs": [0.1, 2.0], "rounding": {"outputs": 1e-6}}],
        "tensors": [
            {
                "name": "0.weight",
                "shape": [10, 4],
                "before": [0.1, 1.0],
                "gradient": 0.5,
                "after": [0.2, 1.0],
                "steps": 1,
            }
        ],
    }
    told = [
        replace(one, disturbance=disturbance, computation=computation, reason=one.reason or "a word")
        if one.status == "ok" and one.cell.workload == "train"
        else one
        for one in kept
    ]
    keys = tuple(one.key for one in told)
    options = {"grid": "quick", "given": {"model": ["mlp"]}, "workloads": {"train": True}, "only": None}
    facts = replace(run.facts, planned=keys, left_out=("train model=gone",), options=options)
    gpu = {"name": "A GPU", "memory_gib": 80}
    return replace(run, records=tuple(told), facts=facts, environment={**run.environment, "gpus": [gpu]})


def paired() -> PairedRun:
    """Two sides of few benchmarks."""
    run = example_paired_run()
    base, new = small(run.base), small(run.new)
    keys = {one.key for one in base.records}
    pairs = {key: some[:8] for key, some in run.pairs.items() if key in keys}
    return replace(
        run, base=base, new=new, pairs=pairs, steps=dict.fromkeys(pairs, 1), origins={"base": "a", "new": "b"}
    )


def make_results(folder: Path) -> dict[str, Kind]:
    """A folder of runs with a file of each kind, and what reads each."""
    runs = [small(full_run(f"000{number}_1a2b3c_2026010{number}_120000", seed=number)) for number in range(1, 4)]
    files = [store_run(replace(run, facts=replace(run.facts, started=f"2026-01-0{number}T12:00:00+00:00")), folder)
             for number, run in enumerate(runs, start=1)]  # fmt: skip
    rows = [Operator("aten::addmm", "64x784, 784x256", 3.0, 1e-3, 2e-3, None, 1e6, 4096.0, "operator"),
            Operator("a_kernel", "", 3.0, 1e-3, 2e-3, None, None, None, "kernel")]  # fmt: skip
    for file, run in zip(files, runs, strict=True):
        record = run.records[0]
        profile = Profile(record.key, record.label, 10, 5e-3, "cpu", tuple(rows))
        profiled = write_profile(artifact_folder(file), profile)
        timeline = write_timeline(artifact_folder(file), MemoryTimeline(record.key, (0.0, 0.1), (10, 20)))
        lecture = write_lecture(artifact_folder(file), example_lecture())
    pair = write_paired_run(paired(), folder)
    control = write_paired_run(
        replace(paired(), side="self", new=replace(paired().new, name="20260101T080000-000000")), folder
    )
    older = folder / control.parent.name / "20260101T090000-aaaaaa.json"
    older.write_text(json.dumps(whole(paired())), encoding="utf-8")
    unfinished = replace(runs[0].facts, id="20260103T100000-abcdef", finished=None, complete=False)
    journal = Journal.begin(
        folder / JOURNALS, unfinished, FINGERPRINT, {"id": "1a2b3c", "difference": ""}, {"grid": "quick"}
    )
    for record in runs[0].records:
        journal.append(record)
    journal.close()
    peaks = store_peaks(folder / "cache", FINGERPRINT, Peaks({"fp32": 1e11}, 1e10, None, "cpu", 1, 5.0))
    moment = Control(1e-3, 1e-4, 1e-3)
    Best(folder / "cache", FINGERPRINT).ratio(moment, 1)
    best = folder / "cache" / f"control-{FINGERPRINT}-1.json"
    latest, output = files[-1], folder.parent / "out"
    output.mkdir(exist_ok=True)
    exports = [argument for name in ("json", "junit", "markdown", "github-benchmark", "bencher", "openmetrics")
               for argument in (f"--{name}", str(output / name))]  # fmt: skip
    page = ("html", "3", "--baseline", "1", "-o", str(output / "page.html"))
    of_runs = (
        ("list",),
        ("history",),
        ("compare", "1", "3"),
        ("check", "1", "3", "--github", *exports),
        ("check", "3", "1", "--allow-different-machine", "--counts", "fail"),
        ("recommend", "--run", "3"),
        ("markdown",),
        ("markdown", "3", "--baseline", "1"),
        ("diff-profile", "1", "3"),
        page,
    )
    of_pairs = (
        ("check", "20260102T090000-9f8e7d", "--github", *exports),
        ("markdown", "20260102T090000-9f8e7d"),
        ("recommend", "--run", "20260102T090000-9f8e7d"),
        ("html", "20260102T090000-9f8e7d", "-o", str(output / "page.html")),
    )
    of_older = (("check", older.stem), ("markdown", older.stem))
    of_profiles = (("profile", "mlp", "64", "fp32"), ("profile", "mlp", "--run", "3"), ("diff-profile", "1", "3"), page)
    every_pair = (
        lambda: read_paired_runs(folder),
        lambda: list(interrupted_pairs(folder)),
        lambda: paired_files(folder),
    )
    every_run = (lambda: load_runs(folder=folder), lambda: read_runs(run_files(folder)))
    return {
        "run": Kind(latest, of_runs, every_run),
        "pairs": Kind(pair, of_pairs, every_pair),
        "older-pairs": Kind(older, of_older, every_pair),
        "journal": Kind(journal.path, (), (lambda: read_journal(journal.path), lambda: find_interrupted(folder))),
        "profile": Kind(artifact_folder(latest) / profiled.name, of_profiles),
        "timeline": Kind(artifact_folder(latest) / timeline.name, of_profiles[:2]),
        "lecture": Kind(
            artifact_folder(latest) / lecture.name, (page,), (lambda: find_lecture(artifact_folder(latest)),)
        ),
        "peaks": Kind(peaks, (), (lambda: load_peaks(folder / "cache", FINGERPRINT, "cpu", 1),)),
        "control": Kind(best, (), (lambda: Best(folder / "cache", FINGERPRINT).ratio(moment, 1),)),
    }


def whole(run: PairedRun) -> dict[str, Any]:
    """The run as it was stored before each pair had a line of its own: one document."""
    from dataclasses import asdict

    def told(side: Run) -> dict[str, Any]:
        words = {
            "name": side.name,
            "environment": side.environment,
            "commit": side.commit,
            "facts": side.facts.to_json(),
        }
        return {**words, "records": [record.to_json() for record in side.records]}

    return {
        **{"schema_version": 1, "side": run.side, "seed": run.seed, "seconds": run.seconds, "margins": run.margins},
        **{"base": told(run.base), "new": told(run.new), "steps": run.steps},
        "pairs": {key: [asdict(pair) for pair in pairs] for key, pairs in run.pairs.items()},
    }


# Damage


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with a damage of some kind, once or a few times."""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        content = chance.choice((of_bytes, of_a_node, of_a_node, of_a_node, of_a_node))(content, chance)
    return content


def of_bytes(content: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut, inserted, repeated."""
    at = chance.randrange(len(content) + 1)
    end = min(len(content), at + chance.choice((1, 1, 2, 10, 1000)))
    flipped = bytes([content[at] ^ 1 << chance.randrange(8)]) if at < len(content) else b""
    return chance.choice(
        (
            content[:at] + flipped + content[at + 1 :],
            content[:at] + flipped + content[at + 1 :],
            content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :],
            content[:at],
            content[:at] + content[end:],
            content[:end] + content[at:],
            content[:at]
            + chance.choice((b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b"0", b"9" * 400))
            + content[at:],
            chance.choice((b"", b"\xef\xbb\xbf" + content, bytes(10**6), content + content, b"[" * 10**5)),
        )
    )


def of_a_node(content: bytes, chance: random.Random) -> bytes:
    """A node of a document replaced, taken away or repeated; of a file of lines, in one of them."""
    lines = content.split(b"\n") if content.startswith(b"{") and b"\n{" in content else [content]
    number = chance.randrange(len(lines))
    try:
        document = json.loads(lines[number])
        places = list(nodes(document))
        # The benchmarks of one document differ little: a depth is chosen first, so that what is rare is met as often.
        depth = chance.choice(sorted({len(place) for place in places}))
        place = chance.choice([one for one in places if len(one) == depth])
        lines[number] = written(changed(document, place, chance)).encode("utf-8", "surrogatepass")
    except (ValueError, IndexError, RecursionError):  # it is damaged already, or has no nodes
        return of_bytes(content, chance)
    return b"\n".join(lines)


def nodes(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each node of a document lies, as keys from the top on."""
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in parts:
        yield (*above, key)
        yield from nodes(value, (*above, key))


def changed(document: Any, place: Sequence[Any], chance: random.Random) -> Any:
    """The document with a change at one of its nodes."""
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    key, how = place[-1], chance.random()
    if how < 0.08:
        del holder[key]
    elif how < 0.16:
        if isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            holder[Raw(key)] = deepcopy(chance.choice(NOTHING_HAS))  # the same name once more
    elif how < 0.22 and isinstance(holder, dict):
        holder[str(chance.choice([*HOSTILE, "", "x", *holder]))] = holder.pop(key)
    elif how < 0.3:
        holder[key] = deepcopy(chance.choice(list(holder.values() if isinstance(holder, dict) else holder)))
    elif how < 0.4 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = chance.choice((-1, 0, 1e-3, 10, 1e9, 1e18)) * holder[key]
    else:
        holder[key] = deepcopy(chance.choice(NOTHING_HAS))
    return document


def written(document: Any) -> str:
    """The document as JSON, with pieces that no value is written as."""
    if isinstance(document, Raw):
        return str(document)
    if isinstance(document, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{written(value)}" for key, value in document.items()) + "}"
    if isinstance(document, list):
        return "[" + ",".join(map(written, document)) + "]"
    return json.dumps(document)


Raw.__hash__ = object.__hash__  # type: ignore[method-assign]  # a key that is there beside one that reads the same
Raw.__eq__ = object.__eq__  # type: ignore[method-assign]


@contextlib.contextmanager
def replaced(file: Path, content: bytes | str) -> Iterator[None]:
    """The file with another content, or with something that is no file in its place: folder, pipe, link or loop."""
    kept = file.read_bytes()
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.unlink()
        {"folder": file.mkdir, "pipe": lambda: os.mkfifo(file), "link": lambda: file.symlink_to("nowhere"),
         "loop": lambda: file.symlink_to(file.name), "device": lambda: file.symlink_to("/dev/zero"),
         "gone": lambda: None}[content]()  # fmt: skip
    try:
        yield
    finally:
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        file.unlink(missing_ok=True)
        file.write_bytes(kept)


NO_FILES = ("folder", "pipe", "link", "loop", "device", "gone")


# What must hold


class NotStrict(AssertionError):
    """An export that a strict parser refuses, or that holds what a text of others has made."""


def strict_json(text: str) -> Any:
    """The document in JSON without NaN, halves of characters or a name twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise NotStrict("a name twice in an object")
        return dict(pairs)

    def refuse(word: str) -> Any:
        raise NotStrict(f"{word} in JSON")

    found = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    json.dumps(found, ensure_ascii=False).encode()  # fails of half a character
    return found


_SAMPLE = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{cell="(?P<label>(?:[^"\\\n]|\\[\\"n])*)"\} '
    r"(?P<value>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)"
)


def strict_openmetrics(text: str) -> None:
    """Refuses what the OpenMetrics text format (1.0) does not have: of gauges with one label alone."""
    lines = text.split("\n")
    if lines[-2:] != ["# EOF", ""] or "# EOF" in lines[:-2]:
        raise NotStrict("OpenMetrics ends with one # EOF")
    family, families, seen = "", set[str](), set[str]()
    for line in lines[:-2]:
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            if kind != "gauge" or family in families:
                raise NotStrict(f"a family twice, or of another type: {line!r}")
            families.add(family)
        elif line.startswith("# HELP "):
            if line.split(" ")[2] != family or re.search(r"\\(?![\\n\"])", line):
                raise NotStrict(f"help of another family, or a backslash alone: {line!r}")
        else:
            found = _SAMPLE.fullmatch(line)
            if found is None or found["name"] != family or f"{found['name']} {found['label']}" in seen:
                raise NotStrict(f"no sample, or one twice: {line!r}")
            seen.add(f"{found['name']} {found['label']}")


def strict_csv(text: str) -> None:
    """Refuses a cell that a spreadsheet takes for a formula, and rows of another length."""
    rows = list(csv.reader(io.StringIO(text), strict=True))
    for row in rows:
        if len(row) != len(rows[0]):
            raise NotStrict(f"a row of {len(row)} cells under {len(rows[0])}")
        for cell in row:
            if cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not _is_number(cell):
                raise NotStrict(f"a formula in CSV: {cell[:80]!r}")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def strict_xml(text: str) -> None:
    """Refuses what is not XML, and elements that JUnit has not."""
    for element in ET.fromstring(text).iter():
        if element.tag not in ("testsuites", "testsuite", "testcase", "failure", "skipped", "error"):
            raise NotStrict(f"an element {element.tag} in JUnit XML")


def strict_markdown(text: str) -> None:
    """Refuses elements, links, mentions and control characters in Markdown."""
    for found in re.finditer(
        r"(?<!\\)<|(?<!\\)\]\(|@\w|://|\bwww\.|[^\n\x20-\U0010ffff]|[\ud800-\udfff\u202e\x7f-\x9f]", text
    ):
        raise NotStrict(f"{text[max(0, found.start() - 40) : found.end() + 40]!r} in Markdown")


def strict_log(text: str) -> None:
    """Refuses control characters, and commands to GitHub's runner that nobody here gives."""
    for line in text.split("\n"):
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", line):
            raise NotStrict(f"a control character in a terminal: {line[:200]!r}")
        command = re.match(r"\s*::(.*?)[ :]", line)
        if (command and command[1] not in ("error", "warning", "notice")) or re.match(r"\s*::error::", line):
            raise NotStrict(f"a command in a log: {line[:200]!r}")


class Shape(HTMLParser):
    """Elements of a page with the names of their attributes, and with what an address can hide in."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: set[tuple[str, ...]] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element; refuses one that could run or load something."""
        self.found.add((tag, *sorted(name for name, _ in attrs)))
        for name, value in attrs:
            if name in ("href", "src") and re.match(
                r"\s*(?!data:(?:,|image/(?:svg|png)))[a-z]+:", value or "", re.IGNORECASE
            ):
                raise NotStrict(f"{tag} leads to {value!r:.80}")
            if name.startswith("on"):
                raise NotStrict(f"{tag} has {name}")
            if name == "src" and (value or "").startswith("data:image/svg+xml;base64,"):
                strict_svg((value or "").partition(",")[2])


def strict_svg(encoded: str) -> None:
    """Refuses a picture that is no XML, or that could run or load something."""
    import base64

    for element in ET.fromstring(base64.b64decode(encoded).decode()).iter():
        name = element.tag.rpartition("}")[2]
        if name in ("script", "foreignObject", "img", "a") or any(key.startswith("on") for key in element.attrib):
            raise NotStrict(f"{name} in a picture")


def strict_page(page: str, known: set[tuple[str, ...]]) -> None:
    """Refuses an element, or an attribute of one, that no sound page has, and control characters."""
    more = {one[0] for one in Shape(page).found} - {one[0] for one in known}
    attributes = {name for one in Shape(page).found for name in one[1:]} - {name for one in known for name in one[1:]}
    if more or attributes:
        raise NotStrict(f"on a page: elements {sorted(more)}, attributes {sorted(attributes)}")
    if found := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", page):
        raise NotStrict(f"a control character on a page: {page[max(0, found.start() - 40) : found.end() + 40]!r}")


def check_exports(folder: Path, known: set[tuple[str, ...]]) -> None:
    """Reads what a command has written by strict parsers, and takes it away."""
    checks: dict[str, Callable[[str], object]] = {
        **dict.fromkeys(("json", "github-benchmark", "bencher"), strict_json),
        **{"junit": strict_xml, "markdown": strict_markdown, "openmetrics": strict_openmetrics, "page.csv": strict_csv},
        "page.jsonl": lambda text: [strict_json(line) for line in text.split("\n")[:-1]],
        "page.html": lambda text: strict_page(text, known),
    }
    for file in folder.iterdir():
        try:
            checks[file.name](file.read_bytes().decode())
        finally:
            file.unlink()


def check_numbers(folder: Path) -> None:
    """Refuses runs with a number that nothing measured."""
    for run in read_runs(run_files(folder)):
        keys = [record.key for record in run.records]
        assert len(set(keys)) == len(keys), "two records of one benchmark"
        for record in run.records:
            numbers = {name: value for name, value in record.metrics.items() if value is not None}
            assert record.status != "ok" or numbers, "ok without a metric"
            assert all(math.isfinite(value) and not isinstance(value, bool) for value in numbers.values())
            assert all(1e-12 <= seconds <= 1e10 for seconds in (*record.rounds, *record.host_rounds))
            assert numbers.get("step_seconds", 1) >= 1e-12 and 0 <= numbers.get("accuracy", 1) <= 1
            sizes = {name: value for name, value in numbers.items() if name.endswith(("_seconds", "_bytes"))}
            assert all(value >= 0 for name, value in sizes.items() if name != "workspace_bytes"), sizes
            assert record.steps_per_round is None or record.steps_per_round >= 1
            counts = [value for name, value in record.cell.axes if name in ("batch_size", "epochs")]
            assert all(isinstance(count, int) and count >= 1 for count in counts)
    for paired_run in read_paired_runs(folder):
        for pair in (pair for some in paired_run.pairs.values() for pair in some):
            assert all(0 < seconds <= 1e10 for half in (pair.base, pair.new) for seconds in half.blocks)


# Commands


CODES = (0, 1, 2, 3)


def run_all(folder: Path, kind: Kind, known: set[tuple[str, ...]], *, page: bool) -> None:
    """Runs everything that reads the file, in this process.

    Raises:
        Exception: Something is wrong; a note says of which command.
    """
    for reader in kind.readers:
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(SchemaError, UnreadableRun):
            reader()
    for arguments in kind.commands:
        if arguments[0] == "html" and not page:
            continue
        try:
            run_one(arguments, folder, known)
        except (Exception, SystemExit) as error:
            error.add_note(f"of trainmark {' '.join(arguments[:4])}")
            raise
    with warnings.catch_warnings(action="ignore"):
        check_numbers(folder)


def run_one(arguments: Sequence[str], folder: Path, known: set[tuple[str, ...]]) -> None:
    """One command, and what it printed and wrote."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main([*arguments, "--results", str(folder)])
    assert code in CODES, f"exit code {code}"
    strict_log(told.getvalue())
    if arguments[0] == "markdown" and code == 0:
        printed = [line for line in told.getvalue().split("\n") if not line.startswith("warning: ")]
        strict_markdown("\n".join(printed))
    check_exports(folder.parent / "out", known)


def in_a_copy(work: Callable[[], None], seconds: float) -> str | None:
    """Why some work in a copy of this process went wrong; None where it did not."""
    reading, writing = os.pipe()
    copy = os.fork()
    if copy == 0:
        try:
            os.close(reading)
            with open(os.devnull, "r+b", buffering=0) as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), 2)
            work()
        except BaseException:  # noqa: BLE001
            os.write(writing, traceback.format_exc().encode("utf-8", "backslashreplace")[:60_000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        if not select.select([answer], [], [], seconds)[0]:
            os.kill(copy, signal.SIGKILL)
            os.waitpid(copy, 0)
            return f"more than {seconds:.0f} s"
        told = answer.read()
    _, status = os.waitpid(copy, 0)
    if os.WIFSIGNALED(status):
        return f"died of signal {os.WTERMSIG(status)}"
    return told.decode() or None


def sound_shape(folder: Path, kinds: dict[str, Kind]) -> set[tuple[str, ...]]:
    """Elements and attributes of the pages of sound files; what draws is loaded by then."""
    known: set[tuple[str, ...]] = {("svg",), ("small",), ("details",), ("summary",), ("span", "class")}
    page = folder.parent / "out" / "page.html"
    every = [arguments for kind in kinds.values() for arguments in kind.commands]
    for arguments in dict.fromkeys([*every, ("html", "1", "-o", str(page))]):
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            code = main([*arguments, "--results", str(folder)])
        assert code in CODES, (arguments, code)
        if arguments[0] == "html":
            known |= Shape(page.read_text(encoding="utf-8")).found
    for file in page.parent.iterdir():
        file.unlink()
    return known


def fuzz(
    folder: Path,
    kinds: dict[str, Kind],
    seed: int,
    numbers: Iterator[int],
    told: Callable[[str], None],
    limit: float = LIMIT,
    names: Sequence[str] = (),
    pages: int = PAGES,
    most: int = 100,
) -> Counter[str]:
    """Damages a file, runs what reads it, and restores it, for each number.

    Args:
        folder: As :func:`make_results` made it.
        kinds: As it gave them.
        seed: Of the damage, with the number.
        numbers: Of the mutations.
        told: Takes a sentence a finding.
        limit: Seconds that all commands of a mutation may take together with a page.
        names: Kinds to damage; empty for all.
        pages: Of so many mutations one is drawn as a page too.
        most: Commands of a mutation, which are chosen by chance where there are more.

    Returns:
        ``mutations``, ``findings``, and the mutations of each kind.
    """
    known = sound_shape(folder, kinds)
    tally: Counter[str] = Counter()
    chosen = list(names or kinds)
    seen = set[str]()
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        name = chance.choices(chosen, [4 if one in ("run", "pairs") else 1 for one in chosen])[0]
        kind = kinds[name]
        kind = replace(kind, commands=tuple(chance.sample(kind.commands, min(most, len(kind.commands)))))
        content = chance.choice(NO_FILES) if chance.random() < 0.02 else damaged(kind.file.read_bytes(), chance)
        page = chance.randrange(pages) == 0
        with replaced(kind.file, content):
            wrong = in_a_copy(lambda kind=kind, page=page: run_all(folder, kind, known, page=page), limit)  # type: ignore[misc]
        for file in (folder.parent / "out").iterdir():
            file.unlink()
        tally.update(("mutations", name))
        tally["commands"] += sum(page or arguments[0] != "html" for arguments in kind.commands) + len(kind.readers)
        if wrong:
            tally["findings"] += 1
            last = " | ".join(wrong.strip().splitlines()[-6:])
            if last not in seen:
                seen.add(last)
                told(f"{name} {number}: {wrong.strip()}")
    tally["distinct findings"] = len(seen)
    return tally


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="run, pairs, journal … (default: all)")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--mutations", type=int, default=10**9)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit", type=float, default=6 * LIMIT, help="seconds that all commands of a mutation may take"
    )
    asked = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch) / "results"
        kinds = make_results(folder)
        numbers = range(asked.first, asked.first + asked.mutations)
        until = itertools.takewhile(lambda _: time.monotonic() - begun < asked.seconds, numbers)
        tally = fuzz(folder, kinds, asked.seed, until, lambda line: print(line, flush=True), asked.limit, asked.kinds)
    print(f"{dict(tally)} in {time.monotonic() - begun:.0f} s")
    return int(tally["findings"] > 0)


if __name__ == "__main__":
    sys.exit(_main())
