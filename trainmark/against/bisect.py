"""Which commit made it slower: ``git bisect run``, with a paired check of each commit against the good one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# git bisect reads 0 as good, 1 to 124 as bad and 125 as "cannot be judged"; of a check only 0 and 1 are verdicts.
JUDGE = 'code=0; "$@" || code=$?; case $code in 0|1) exit $code;; *) exit 125;; esac'


PYTHON = sys.executable


class BisectError(RuntimeError):
    """The search could not be made; the message says why."""


def command(good: str, arguments: Sequence[str]) -> list[str]:
    """What ``git bisect run`` runs in each commit."""
    check = [PYTHON, "-m", "pytest", "bench", "--against", good, "--inconclusive=fail", *arguments]
    return ["sh", "-c", JUDGE, "check", *check]


def bisect(good: str, bad: str, arguments: Sequence[str], folder: Path) -> str:
    """Searches in a worktree of its own, so that the user's files stay as they are; gives what git says in the end.

    Args:
        good: A commit before.
        bad: A commit after.
        arguments: Options of ``pytest bench`` that choose cells, margin and budget.
        folder: In the repository.

    Raises:
        BisectError: There is no such commit, or git could not go on.
    """
    scratch = Path(tempfile.mkdtemp(prefix="trainmark-bisect-"))
    tree = scratch / "tree"
    commit = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{good}^{{commit}}")
    try:
        _git(folder, "worktree", "add", "--detach", "--quiet", str(tree), bad)
        _git(tree, "bisect", "start", bad, commit)
        _git(tree, "bisect", "run", *command(commit, arguments))
        return _git(tree, "bisect", "log").splitlines()[-1].removeprefix("# ")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _git(folder, "worktree", "prune")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BisectError(f"git {arguments[0]}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return done.stdout.strip()
