"""External programs, with what they cost: their time and their own peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# The kernel counts to a program's peak what its parent held when it was started, so a small process starts it: the
# floor is then some 10 MB. It may use as many cores as there are threads asked for, whatever it starts itself.
_LAUNCHER = """
import json, os, sys, time
threads, source, target, *command = sys.argv[1:]
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
opened = [
    (os.POSIX_SPAWN_OPEN, 0, source, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
]
begun = time.perf_counter()
child = os.posix_spawn(command[0], command, os.environ, file_actions=opened)
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - begun
print(json.dumps([seconds, os.waitstatus_to_exitcode(status), used.ru_maxrss]))
"""


class ProgramFailedError(RuntimeError):
    """A program ended with an exit code other than zero."""


@dataclass(frozen=True)
class ProgramRun:
    """What a program took.

    Attributes:
        seconds: From its start to its end.
        peak_memory_bytes: Its largest resident memory, and that of what it started.
    """

    seconds: float
    peak_memory_bytes: int


def run_program(command: Sequence[str], source: Path, target: Path, threads: int = 1) -> ProgramRun:
    """Runs a program with a file as its input and another as its output.

    Args:
        command: The program's path and its arguments.
        source: Becomes its standard input.
        target: Its standard output is written there.
        threads: Cores that it may use.

    Raises:
        ProgramFailedError: It did not end well; what it said is in this process's standard error.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(threads), str(source), str(target)]
    told = subprocess.run([*launcher, *command], stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, exit_code, peak = json.loads(told)
    if exit_code != 0:
        raise ProgramFailedError(f"{Path(command[0]).name} ended with exit code {exit_code}")
    return ProgramRun(seconds, peak if sys.platform == "darwin" else peak * 1024)
