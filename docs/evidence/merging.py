"""What it takes to merge 200 runs of 500 benchmarks, and the page of the merged run: seconds, and the largest memory.

    python docs/evidence/merging.py           # about 3 minutes, and 1.5 GB below the folder for temporary files
    python docs/evidence/merging.py 500 20    # 10,000 benchmarks of 500 nodes: 500 shards of 20 each, journals all

The first way each run has measured all of the 500, so that each but one of 200 records of a benchmark is left out; it
reads 200 times what shards of one run would hold. The second way each shard has benchmarks of its own.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from page import made_up

from trainmark.measure.settings import Settings
from trainmark.measure.worker import Workers
from trainmark.store.cell import Cell, plain
from trainmark.store.journal import Journal
from trainmark.store.nodes import Node
from trainmark.store.record import Record, RunFacts, run_section
from trainmark.store.runs import read_run, run_files
from trainmark.store.shards import Shard

ROOT = Path(__file__).parents[2]
RUNS = 200
ENVIRONMENT = {"fingerprint": "f", "cpu": "made up", "memory_gib": 24}
STARTED = "2026-01-01T12:00:00+00:00"
CONTROL = {"product": 1e-3, "cached_copy": 2e-4, "copy": 8e-4}


def with_computation(record: Record) -> Record:
    """The record with what a measured one has beside the times: what its cell computes, here that of an MLP."""
    return replace(record, computation=_computation())


@functools.cache
def _computation() -> Mapping[str, Any]:
    outcome = Workers(ROOT).call("trainmark.measure.computation:of_steps", plain(Cell.of("train")), Settings())
    assert outcome.status == "ok", outcome.reason
    found: Mapping[str, Any] = outcome.value
    return found


def store_runs(folder: Path) -> None:
    """Files of runs that each measured the same 500 benchmarks."""
    for number in range(RUNS):
        run = made_up(f"{number:04d}_run", number)
        document = {"machine_info": run.environment, "commit_info": run.commit, "benchmarks": []}
        document["trainmark"] = run_section(run.facts, [with_computation(record) for record in run.records])
        (folder / f"{number + 1:04d}_run.json").write_text(json.dumps(document))


def store_shards(folder: Path, nodes: int, each: int) -> None:
    """Journals of shards that measured benchmarks of their own: batch sizes apart from one another."""
    template = with_computation(made_up("template", 0).records[0])
    cells = [Cell.of("train", **(template.cell.settings | {"batch_size": size + 1})) for size in range(nodes * each)]
    for number in range(1, nodes + 1):
        shard = Shard(number, nodes)
        own = shard.deal(cells)
        mine = {cell.key for cell in own}
        facts = RunFacts(
            f"{number:06d}",
            STARTED,
            options={"shard": str(shard)},
            planned=tuple(cell.key for cell in own),
            elsewhere=tuple(cell.key for cell in cells if cell.key not in mine),
            nodes=(Node(f"shard {shard}", "f", CONTROL),),
        )
        place = folder / str(number) / "journal"
        journal = Journal.begin(place, facts, "f", {"id": "0", "difference": ""}, {}, ENVIRONMENT)
        journal.close()
        with journal.path.open("a") as stream:  # one after the other, without waiting for the disk
            for cell in own:
                stream.write(json.dumps({"record": replace(template, cell=cell).to_json()}) + "\n")


def told(name: str, *command: str) -> None:
    """Runs a command and prints how long it took, and the largest resident memory of its process."""
    begun = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", "trainmark", *command], os.environ)
    _, status, used = os.wait4(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0, command
    print(f"{name}: {time.perf_counter() - begun:.1f} s, {used.ru_maxrss / 2**20:.2f} GB", flush=True)


def main() -> None:
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        folder, results = Path(scratch) / "parts", Path(scratch) / "results"
        folder.mkdir()
        if sys.argv[1:]:
            store_shards(folder, *map(int, sys.argv[1:]))
        else:
            store_runs(folder)
        size = sum(path.stat().st_size for path in folder.glob("**/*") if path.is_file())
        print(f"{size / 1e9:.2f} GB to read", flush=True)
        told("merge", "merge", str(folder), "--results", str(results))
        (merged,) = run_files(results)
        print(f"{len(read_run(merged).records)} records, {merged.stat().st_size / 1e6:.1f} MB", flush=True)
        told("page", "html", str(merged), "--results", str(results), "-o", str(results / "report.html"))
        print(f"{(results / 'report.html').stat().st_size / 1e6:.1f} MB of page")


if __name__ == "__main__":
    main()
