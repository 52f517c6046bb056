"""Is anything lost that was finished when a run is killed? Runs killed at random moments, and resumed until they end.

    PYTHONPATH=. python docs/evidence/kills.py [TRIALS] [--kind paired|single] [--budget TIME] [--seed N]

A trial starts a run with a small grid and kills it (SIGKILL, its main process alone) after a random time, which is at
most what a run takes that is left alone. Then it goes on with --resume, which is killed in its turn with probability
1/2, until the run has ended. All of it happens in a copy of the tree, with a results folder and a temporary folder of
the trial's own. Each line that was whole on the disk at a kill must be there at the end, in the same order and byte for
byte; no pair and no record of a side may be there twice; and of the run no process and no folder may be left. Prints a
line a trial and a summary; 50 trials of pairs take about two hours.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.pairs import FOLDER as PAIRS
from trainmark.store.record import AGAIN, Record
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[2]
PARTS = ("bench", "models", "reports", "trainmark", "conftest.py", "pyproject.toml")
GRID = ("--model=mlp", "--batch-size=8,16", "--precision=fp32", "--compile=off", "--device=cpu")
NGRAMS = ("--engine=python,counter", "--smoothing=mle", "--order=2", "--tokens=1000")
CHOSEN = ("-k", "train or input or (ngram_fit and mle)")
OUTER = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTHONPATH")  # of a run that this one may be part of
PATIENCE = 60.0  # seconds until what a killed run has started must have ended
BROKEN = ("Traceback", "INTERNALERROR")


class Lost(AssertionError):
    """What was finished is not there, or something is left that should not be."""


def copy_project(folder: Path) -> Path:
    """A repository of its own with this code: who edits the tree meanwhile must not stop a run from being resumed."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "all")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all", "--force", "--", *PARTS)
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--allow-empty", "--message", message)


@dataclass
class Runs:
    """Calls of pytest in a copy of the tree, all with the same results folder and the same temporary folder.

    Attributes:
        project: The copy.
        results: Folder of runs.
        temporary: Whose path all that these calls start has in its environment.
    """

    project: Path
    results: Path
    temporary: Path

    def start(self, *options: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        """``pytest bench`` with these options.

        Args:
            options: Of pytest.
            before: Called in the new process, before it becomes pytest.
        """
        return self.call(f"--benchmark-storage=file://{self.results}", *options, before=before)

    def call(self, *options: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        """Likewise without a word on where runs lie."""
        self.temporary.mkdir(parents=True, exist_ok=True)

        def begin() -> None:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever called this may ignore it, as nohup does
            if before is not None:
                before()

        environment = {name: value for name, value in os.environ.items() if name not in OUTER}
        quiet = {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider", *options],
            cwd=self.project,
            env=environment | quiet,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=begin,  # noqa: PLW1509  # this process has one thread
        )

    def lines(self) -> list[bytes]:
        """The whole lines of the one journal or paired run that is there; none where there is none."""
        files = [path for folder in (JOURNALS, PAIRS) for path in (self.results / folder).glob("*.jsonl")]
        if len(files) > 1:
            raise Lost(f"one run has become several: {[path.name for path in files]}")
        return [line for path in files for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def count(self, kind: str) -> int:
        """How many records, or pairs, are on the disk."""
        return sum(kind in json.loads(line) for line in self.lines()[1:])

    def has_finished(self) -> bool:
        """Whether the paired run has its last line, or the run of one side is stored whole and its journal gone."""
        lines = self.lines()
        if lines:
            return any("finished" in json.loads(line) for line in lines[1:])
        return any(read_run(path).facts.complete for path in run_files(self.results))

    def processes(self) -> list[str]:
        """What these calls have started and is still running."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(self.temporary) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
            except psutil.Error:  # gone meanwhile, or another user's
                continue
        return found

    def refuse_processes(self) -> None:
        """Waits until all that a call has started has ended.

        Raises:
            Lost: Something goes on for long.
        """
        until = time.monotonic() + PATIENCE
        while found := self.processes():
            if time.monotonic() > until:
                raise Lost(f"still running: {found}")
            time.sleep(0.1)

    def refuse_folders(self) -> None:
        """Looks for temporary folders that a call which has ended, or one before it, has left.

        Raises:
            Lost: There are some.
        """
        if found := sorted(path.name for path in self.temporary.glob("trainmark-*")):
            raise Lost(f"left in the temporary folder: {found}")


@dataclass
class Kept:
    """What was on the disk at each interruption: all of it must stay.

    Attributes:
        lines: Whole lines of the run's file, the first one included.
    """

    lines: list[bytes] = field(default_factory=list)

    def see(self, runs: Runs) -> None:
        """Compares with what is there now, and remembers that.

        Raises:
            Lost: A line is missing, changed, at another place, or there twice.
        """
        lines = runs.lines()
        if not lines and runs.has_finished():
            _refuse_missing([json.loads(line) for line in self.lines[1:]], runs)
            return
        if lines[: len(self.lines)] != self.lines:
            raise Lost(f"{len(self.lines)} lines were on the disk, and are not what {len(lines)} lines begin with")
        refuse_twice([json.loads(line) for line in lines[1:]])
        self.lines = lines


def _refuse_missing(lines: Sequence[Mapping[str, Any]], runs: Runs) -> None:
    """The records of a journal, in their order, must begin those of the run that was stored."""
    before = [Record.from_json(line["record"]) for line in lines]
    for path in run_files(runs.results):
        run = read_run(path)
        if run.facts.complete and list(run.records[: len(before)]) == before:
            keys = [record.key for record in run.records]
            if sorted(keys) != sorted(run.facts.planned):
                raise Lost(f"{path.name} has not exactly one record of each cell")
            return
    raise Lost(f"no stored run begins with the {len(before)} records that were in the journal")


def refuse_twice(lines: Sequence[Mapping[str, Any]]) -> None:
    """A pair is there once, and so is a record, but for one that was measured anew or tells why its side failed.

    Raises:
        Lost: One is there twice.
    """
    pairs = Counter(json.dumps(line, sort_keys=True) for line in lines if "pair" in line)
    if any(number > 1 for number in pairs.values()):
        raise Lost("a pair is there twice")
    seen = set()
    for line in lines:
        if "record" in line:
            record = Record.from_json(line["record"])
            name = (line.get("side"), record.key)
            if name in seen and record.status == "ok" and AGAIN not in record.disturbance:
                raise Lost(f"a record of {name} is there twice")
            seen.add(name)


def try_once(runs: Runs, begin: Sequence[str], usual: float, moments: random.Random) -> tuple[int, int, int]:
    """One trial; gives how often it was killed, and how many records and pairs there were at the last kill.

    Raises:
        Lost: Something was lost or left.
    """
    kept, kills, records, pairs = Kept(), 0, 0, 0
    while not runs.has_finished():  # also where it was killed when all was on the disk already
        process = runs.start(*(["--resume"] if kept.lines else begin))
        left_alone = kills > 0 and moments.random() < 0.5
        try:
            output, _ = process.communicate(timeout=None if left_alone else moments.uniform(0, usual))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            runs.refuse_processes()
            kept.see(runs)
            kills, records, pairs = kills + 1, runs.count("record"), runs.count("pair")
            continue
        if process.returncode in (2, 4, 5, 70) or any(word in output for word in BROKEN):
            raise Lost(f"a run that was left alone ended with {process.returncode}:\n{output}")
        runs.refuse_processes()
        runs.refuse_folders()
        kept.see(runs)
        if not runs.has_finished():
            raise Lost(f"a run that was left alone has not finished:\n{output}")
    return kills, records, pairs


def main(trials: int, kind: str, budget: str, seed: int) -> None:
    moments = random.Random(seed)
    begin = [*GRID, *NGRAMS, *CHOSEN]
    begin += ["--against=self", f"--budget={budget}"] if kind == "paired" else ["--benchmark-autosave"]
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        project = copy_project(folder / "project")
        begun = time.monotonic()
        alone = Runs(project, folder / "alone", folder / "temporary-alone")
        alone.start(*begin).communicate()
        usual = time.monotonic() - begun
        print(f"a {kind} run that is left alone takes {usual:.0f} s", flush=True)
        kills = failures = kept_records = kept_pairs = 0
        for number in range(1, trials + 1):
            runs = Runs(project, folder / f"results-{number}", folder / f"temporary-{number}")
            try:
                times, records, pairs = try_once(runs, begin, usual, moments)
            except Lost as loss:
                failures += 1
                print(f"trial {number}: {loss}", flush=True)
                continue
            kills, kept_records, kept_pairs = kills + times, kept_records + records, kept_pairs + pairs
            others = sorted({path.name.split("-")[0] for path in runs.temporary.iterdir()})
            told = f"; others' temporary files: {', '.join(others)}" if others else ""
            print(
                f"trial {number}: {times} kills, at the last {records} records and {pairs} pairs on the disk{told}",
                flush=True,
            )
    print(
        f"{kind}: {trials} trials, {kills} kills, {kept_records} records and {kept_pairs} pairs on the disk at the "
        f"last kill of a trial: {failures} trials lost or left something"
    )
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="?", type=int, default=50)
    parser.add_argument("--kind", choices=("paired", "single"), default="paired")
    parser.add_argument("--budget", default="60s", help="of each call of a paired run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    main(options.trials, options.kind, options.budget, options.seed)
