"""What places jobs: one small interface, and an entry for each engine that has it."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import psutil

from trainmark.formatting import excerpt

ASKING_SECONDS = 30.0  # for an answer of Slurm


# The batch script is the job: a step of srun beside it would be one more thing to be killed alone.
HOW = {"stderr_to_stdout": True, "use_srun": False}


class ExecutorError(RuntimeError):
    """Jobs cannot be placed or asked for; the message says why, and what to do."""


class State(Enum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"  # with its node, or to somebody of higher rank
    OUT_OF_MEMORY = "out of memory"  # for which what it measured is the cause


@dataclass(frozen=True)
class Seen:
    """What an executor says of a job.

    Attributes:
        state: Where it is.
        node: Where it runs or ran; empty where that is not known.
        words: The engine's own word for its state.
    """

    state: State
    node: str = ""
    words: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether more may come of it."""
        return self.state in (State.WAITING, State.RUNNING)


class Executor(Protocol):
    """An engine that runs a function somewhere else. Folders are the same everywhere."""

    def submit(
        self, function: Callable[[str], None], folders: Sequence[Path], without: Iterable[str], seconds: float
    ) -> list[str]:
        """Lets a job call the function for each folder; gives the ids of the jobs.

        Args:
            function: Of a module that can be imported everywhere.
            folders: Each the argument of one job.
            without: Nodes on which none may run.
            seconds: That each may take; one that takes longer may be ended, and goes on as another job.

        Raises:
            ExecutorError: The engine does not take them.
        """

    def look(self, jobs: Sequence[str]) -> Mapping[str, Seen]:
        """Where each job is; one that the engine does not know any more has ended.

        Raises:
            ExecutorError: The engine does not answer.
        """


class Local:
    """Processes of this machine, through submitit's local executor: as many at once as there are jobs.

    Args:
        folder: For logs and what submitit keeps.
        name: Of the jobs.
        options: None are known.
    """

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]) -> None:
        del name  # a process has none
        if options:
            raise ExecutorError(f"The local executor has no option {next(iter(options))}: leave it out of the table.")
        self._folder = folder

    def submit(
        self, function: Callable[[str], None], folders: Sequence[Path], without: Iterable[str], seconds: float
    ) -> list[str]:
        """See :class:`Executor`."""
        import submitit

        del without  # there is one node alone
        engine = submitit.LocalExecutor(self._folder)
        engine.update_parameters(timeout_min=math.ceil(seconds / 60))
        return [engine.submit(function, str(folder)).job_id for folder in folders]

    def look(self, jobs: Sequence[str]) -> Mapping[str, Seen]:
        """See :class:`Executor`: a job is the process that controls it."""
        return {job: Seen(State.RUNNING if _controls_a_job(int(job)) else State.ENDED, "here") for job in jobs}


def _controls_a_job(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any("submitit" in word for word in process.cmdline())
    except psutil.Error:
        return False


# Slurm's words, of squeue(1), "JOB STATE CODES".
_STATES = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"), State.WAITING),
    **dict.fromkeys(("RESV_DEL_HOLD", "SPECIAL_EXIT", "SUSPENDED", "STOPPED"), State.WAITING),
    **dict.fromkeys(("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"), State.RUNNING),
    **dict.fromkeys(("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"), State.LOST),
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
}


class Slurm:
    """An array of jobs through submitit; where they are, squeue says, which needs no accounting.

    Args:
        folder: For logs and what submitit keeps; seen by all nodes.
        name: Of the jobs.
        options: Of submitit's Slurm executor, which are those of sbatch: ``partition``, ``cpus_per_task``, ``mem`` …
    """

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]) -> None:
        self._folder, self._name, self._options = folder, name, dict(options)

    def submit(
        self, function: Callable[[str], None], folders: Sequence[Path], without: Iterable[str], seconds: float
    ) -> list[str]:
        """See :class:`Executor`."""
        import submitit

        try:
            engine = submitit.SlurmExecutor(self._folder, python=sys.executable)
            told = {"job_name": self._name, "time": math.ceil(seconds / 60), **HOW, **self._options}
            excluded = ",".join(filter(None, [str(told.pop("exclude", "")), *without]))
            engine.update_parameters(**told, **({"exclude": excluded} if excluded else {}))
            return [job.job_id for job in engine.map_array(function, list(map(str, folders)))]
        except (RuntimeError, NameError, ValueError, TypeError) as error:  # submitit's ways to refuse an option
            raise ExecutorError(f"Slurm takes no jobs: {excerpt(error)}") from error

    def look(self, jobs: Sequence[str]) -> Mapping[str, Seen]:
        """See :class:`Executor`."""
        arrays = ",".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%N", f"--jobs={arrays}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ASKING_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExecutorError(f"Slurm does not answer: {error}") from error
        if done.returncode and "Invalid job id" not in done.stderr:
            raise ExecutorError(f"Slurm does not answer: {excerpt(done.stderr)}")
        told = _read_squeue(done.stdout)
        return {job: told.get(job, Seen(State.ENDED, words="forgotten")) for job in jobs}


def _read_squeue(output: str) -> dict[str, Seen]:
    """Job -> what a line of squeue says of it."""
    found = {}
    for line in output.splitlines():
        job, _, rest = line.strip().partition("|")
        words, _, node = rest.partition("|")
        found[job] = Seen(_STATES.get(words, State.ENDED), node, words)
    return found


EXECUTORS: Mapping[str, Callable[[Path, str, Mapping[str, Any]], Executor]] = {"local": Local, "slurm": Slurm}
