"""What each rank is doing, in a file that all of them share: who waits for whom can be told while they do."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

ENTRY = struct.Struct("qqq")  # process, step, stage


class Stage(IntEnum):
    """What a rank does in a step, in the order in which it comes to it."""

    STARTING = 0
    PREPARING = 1
    ALONE = 2
    DATA = 3
    FORWARD = 4
    BACKWARD = 5
    CHECKING = 6
    WAITING = 7


WORDS = {
    Stage.STARTING: "starting",
    Stage.PREPARING: "preparing",
    Stage.ALONE: "taking steps alone",
    Stage.DATA: "having a batch",
    Stage.FORWARD: "in its forward pass",
    Stage.BACKWARD: "in its backward pass, all-reduce and optimizer",
    Stage.CHECKING: "comparing gradients and parameters",
    Stage.WAITING: "waiting for the others",
}


@dataclass(frozen=True)
class Beat:
    """Where a rank is.

    Attributes:
        process: Its id; 0 before it has begun.
        step: How many steps it has begun.
        stage: What it does in that step.
    """

    process: int
    step: int
    stage: Stage

    def __str__(self) -> str:
        return WORDS[self.stage] + (f" of step {self.step}" if Stage.DATA <= self.stage <= Stage.BACKWARD else "")


class Beats:
    """The file, mapped into the memory of whoever opens it: to write to it costs less than a microsecond.

    Args:
        path: Made where it is not there.
        ranks: How many write to it.
    """

    def __init__(self, path: Path, ranks: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.truncate(descriptor, ENTRY.size * ranks)
        self._ranks = ranks
        self._memory = mmap.mmap(descriptor, ENTRY.size * ranks)
        os.close(descriptor)

    def tell(self, rank: int, step: int, stage: Stage) -> None:
        """Says where a rank is."""
        ENTRY.pack_into(self._memory, ENTRY.size * rank, os.getpid(), step, stage)

    def read(self) -> list[Beat]:
        """Where each rank is, in their order."""
        entries = (ENTRY.unpack_from(self._memory, ENTRY.size * rank) for rank in range(self._ranks))
        return [Beat(process, step, Stage(stage)) for process, step, stage in entries]


def told(beats: Sequence[Beat]) -> str:
    """Which rank the others wait for: ``rank 1 of 2 is in its forward pass of step 12``."""
    behind = min((beat.step, beat.stage) for beat in beats)
    late = [rank for rank, beat in enumerate(beats) if (beat.step, beat.stage) == behind]
    where = beats[late[0]]
    if len(late) == len(beats):
        return f"each of {len(beats)} ranks is {where}"
    named = f"rank {late[0]}" if len(late) == 1 else f"ranks {', '.join(map(str, late))}"
    verb = "is" if len(late) == 1 else "are"
    return f"{named} of {len(beats)} {verb} {where}, and the others wait"
