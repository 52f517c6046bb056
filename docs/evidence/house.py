"""The house against the last commit before it: step times in pairs, n-gram fits by turns, what a process holds.

    git worktree add /tmp/before 01e1b8c
    PYTHONPATH=. python docs/evidence/house.py /tmp/before steps      # about 10 minutes; prints ratios, new over old
    PYTHONPATH=. python docs/evidence/house.py /tmp/before fits
    PYTHONPATH=. python docs/evidence/house.py /tmp/before memory
    PYTHONPATH=. python docs/evidence/house.py /tmp/before commands

Each side runs its own engine: the old one by its own server, which speaks protocol 1.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainmark import suite
from trainmark.against import client
from trainmark.against.client import Side
from trainmark.against.places import Place, working_tree
from trainmark.against.turns import Findings, PairSettings, measure_pairs
from trainmark.judge.statistics import hodges_lehmann
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell

PAIRS = 120
CELLS = (("mlp", 64), ("mlp", 256), ("cnn", 64))
FIT = """
import sys, time
from models.ngram import fit
fit([sys.argv[1]], 3, threads=1)
begun = time.perf_counter()
fit([sys.argv[1]], 3, threads=1)
print(time.perf_counter() - begun)
"""
HOLDS = """
import os, sys, time
begun = time.perf_counter()
{imports}
import psutil
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]), time.perf_counter() - begun)
"""
BEFORE = "import bench.preload"
AFTER = "import os; os.environ['TRAINMARK_ROOT'] = '.'; import trainmark.measure.preload as p; assert p.failure is None"


class OldSide(Side):
    """The server of a tree from before the move: its requests name places as it knows them."""

    def _start(self) -> subprocess.Popen[bytes]:
        tree = self.place.root
        return subprocess.Popen(
            [self.place.interpreter, "-P", str(tree / "bench" / "own_tree.py"), str(tree)],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Returns when the server says what it speaks."""
        hello = self._next_line(client.START_SECONDS)
        assert hello == {"protocol": 1}, hello or self._last_words()

    def send(self, document: Mapping[str, Any]) -> None:
        """Writes one line, with places as that tree knows them."""
        if "settings" in document:
            places = {"root": "data", "download": False, "folders": {}}
            document = {**document, "settings": {**document["settings"], "places": places}}
        super().send(document)


def steps(old: Path) -> None:
    """Ratio of step times, new over old, with its 95% interval."""
    here = suite.open_suite(Path.cwd()).root
    places = {"base": Place("before", old, old, old), "new": working_tree("now", here)}
    cells = [Cell.of("train", model=model, batch_size=size) for model, size in CELLS]
    findings = Findings()

    def start(place: Place, timeout: float) -> Side:
        return (OldSide if place.name == "before" else Side)(place, timeout)

    def look(pairs: Mapping[str, Any]) -> dict[str, bool]:
        told = ", ".join(f"{len(some)} ({sum(pair.disturbed for pair in some)} disturbed)" for some in pairs.values())
        print(f"pairs so far: {told}", file=sys.stderr, flush=True)
        return {key: False for key, some in pairs.items() if len(some) < PAIRS}

    how = PairSettings(Settings(), 1, 300.0, 3600.0, random.SystemRandom().randrange(2**32))
    measure_pairs(places, cells, how, findings, look, time.monotonic() + 3600.0, lambda _line: None, start)
    for cell in cells:
        kept = [pair for pair in findings.pairs[cell.key] if not pair.disturbed]
        ratio = hodges_lehmann([pair.log_ratio for pair in kept], 0.95)
        assert ratio.low is not None and ratio.high is not None
        low, middle, high = (math.exp(end) for end in (ratio.low, ratio.middle, ratio.high))
        print(f"{cell.label}: {middle:.4f} [{low:.4f}, {high:.4f}], {len(kept)} pairs")


def fits(old: Path, turns: int = 11) -> None:
    """Seconds of an n-gram fit of a million tokens by turns, each in a fresh process, new over old."""
    from bench.ngram.corpora import write_corpus

    with tempfile.TemporaryDirectory() as scratch:
        corpus = write_corpus("zipf", 1_000_000, False, None, Path(scratch), lambda _doing: None, Path(scratch))

        def seconds(tree: Path) -> float:
            command = [sys.executable, "-c", FIT, str(corpus.path)]
            environment = {**os.environ, "PYTHONPATH": str(tree)}
            done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
            return float(done.stdout)

        logs = []
        for turn in range(turns):
            order = [old, Path.cwd()] if turn % 2 else [Path.cwd(), old]
            took = {tree: seconds(tree) for tree in order}
            logs.append(math.log(took[Path.cwd()] / took[old]))
    ratio = hodges_lehmann(logs, 0.95)
    assert ratio.low is not None and ratio.high is not None
    ends = [f"{math.exp(end):.4f}" for end in (ratio.low, ratio.high)]
    print(f"fit of {corpus.tokens} tokens: {math.exp(ratio.middle):.4f} [{', '.join(ends)}], {turns} turns")


def memory(old: Path, turns: int = 5) -> None:
    """Largest resident memory and seconds of a process that has imported what cells begin with."""
    for tree, imports in ((old, BEFORE), (Path.cwd(), AFTER)):
        found = [
            json.loads(f"[{_output(tree, HOLDS.format(imports=imports)).replace(' ', ',')}]") for _ in range(turns)
        ]
        sizes, seconds = zip(*found, strict=True)
        print(f"{tree}: {statistics.median(sizes) / 1024:.0f} MiB, {statistics.median(seconds):.2f} s, n = {turns}")


def _output(tree: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[-2]


def commands(old: Path, turns: int = 9) -> None:
    """Seconds of ``list`` and of ``html`` of 500 made-up cells, by turns."""
    with tempfile.TemporaryDirectory() as scratch:
        sys.path.insert(0, str(Path(__file__).parent))
        from page import store

        store(Path(scratch))
        lines = {
            "list": ["list", "--results", scratch],
            "html": ["html", "2", "--baseline", "1", "--results", scratch, "-o", f"{scratch}/page.html"],
        }
        for name, arguments in lines.items():
            took: dict[str, list[float]] = {"before": [], "now": []}
            for turn in range(turns):
                sides = [("before", old, "reports"), ("now", Path.cwd(), "trainmark")]
                for side, tree, module in sides if turn % 2 else reversed(sides):
                    begun = time.perf_counter()
                    environment = {**os.environ, "PYTHONPATH": str(tree)}
                    command = [sys.executable, "-m", module, *arguments]
                    subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=True)
                    took[side].append(time.perf_counter() - begun)
            told = ", ".join(f"{side} {statistics.median(times):.2f} s" for side, times in took.items())
            print(f"{name}: {told}; medians, n = {turns}")


if __name__ == "__main__":
    {"steps": steps, "fits": fits, "memory": memory, "commands": commands}[sys.argv[2]](Path(sys.argv[1]).resolve())
