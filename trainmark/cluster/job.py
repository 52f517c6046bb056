"""What a job does: it measures its share of a run's cells as a local run would, and leaves a journal."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainmark import suite
from trainmark.measure.session import Invocation, Session
from trainmark.store.cell import Cell
from trainmark.store.files import write_bytes
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.journal import JournalState, read_journal
from trainmark.workloads import entries

FILE = "share.pickle"  # in a share's folder, as long as somebody may measure it
NODE_VARIABLE = "SLURMD_NODENAME"


@dataclass(frozen=True)
class Share:
    """What one job is to measure.

    Attributes:
        root: Of the suite.
        cache: Where it is kept what each machine can reach.
        invocation: How.
        cells: In their order.
        pythonpath: The variable as it is where the run was begun: a part of what the code is.
    """

    root: Path
    cache: Path
    invocation: Invocation
    cells: tuple[Cell, ...]
    pythonpath: str = ""

    def write(self, folder: Path) -> None:
        """Puts it into a folder of its own."""
        write_bytes(folder / FILE, pickle.dumps(self))


def run(folder: str) -> None:
    """Measures a share; what the same share's journals hold already is left out, and a share that was revoked too."""
    here = Path(folder)
    try:
        share: Share = pickle.loads((here / FILE).read_bytes())
    except FileNotFoundError:
        return  # revoked before it began
    os.environ["PYTHONPATH"] = share.pythonpath
    suite.open_suite(share.root)
    done = {key for state in states(here) for key in state.records}
    session = Session(share.invocation, here, share.root, cache=share.cache, node=node_name())
    session.look_at_machine()
    for entry in entries():
        session.plan(entry.name)
    cells = [cell for cell in share.cells if cell.key not in done]
    session.probe_peaks([cell for cell in cells if session.has_planned(cell)])
    session.begin(cells, {})
    for cell in cells:
        if not (here / FILE).exists():
            break
        session.measure(cell)
    session.close(None)


def states(folder: Path) -> Iterator[JournalState]:
    """What the journals of a share hold, of each attempt one."""
    for path in sorted((folder / JOURNALS).glob("*.jsonl")):
        yield read_journal(path)


def revoke(folder: Path) -> None:
    """Lets nobody measure a share any more: whoever does ends before its next cell."""
    (folder / FILE).unlink(missing_ok=True)


def node_name() -> str:
    """The node of this process, as its engine calls it; of an engine that has no name for it, the host's."""
    return os.environ.get(NODE_VARIABLE) or socket.gethostname()
