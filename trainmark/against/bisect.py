"""Which commit made it slower: ``git bisect run``, with a paired check of each commit against the good one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainmark import git
from trainmark.against.places import TREE, refuse_other_suites
from trainmark.scratch import scratch

# git bisect reads 0 as good, 1 to 124 as bad and 125 as "cannot be judged"; of a check only 0 and 1 are verdicts.
JUDGE = 'cd "./$0" || exit 125; code=0; "$@" || code=$?; case $code in 0|1) exit $code;; *) exit 125;; esac'
PYTHON = sys.executable


class BisectError(RuntimeError):
    """The search could not be made; the message says why."""


def command(
    good: str,
    arguments: Sequence[str],
    benchmarks: str = "bench",
    within: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> list[str]:
    """What ``git bisect run`` runs in each commit.

    Args:
        good: What it is compared with.
        arguments: Options of pytest.
        benchmarks: Folder of the benchmarks, in the suite.
        within: Folder of the suite, in its repository.
        defaults: Option -> value, of the table in the working tree: that of a commit may say something else.
    """
    told = [f"--{name.replace('_', '-')}={value}" for name, value in (defaults or {}).items()]
    check = [PYTHON, "-m", "pytest", benchmarks, "--against", good, *told, "--inconclusive=fail", *arguments]
    return ["sh", "-c", JUDGE, within or ".", *check]


def bisect(
    good: str,
    bad: str,
    arguments: Sequence[str],
    folder: Path,
    told: Callable[[str], None] = lambda _line: None,
    benchmarks: str = "bench",
    defaults: Mapping[str, Any] | None = None,
) -> str:
    """Searches in a worktree of its own, so that the user's files stay as they are; gives what git says in the end.

    Args:
        good: A commit before.
        bad: A commit after.
        arguments: Options of pytest that choose benchmarks, margin and budget.
        folder: The root of the suite in the working tree.
        told: Told how each commit is checked, once it is known that both ends can be.
        benchmarks: Folder of the benchmarks, in the suite.
        defaults: See :func:`command`.

    Raises:
        BisectError: There is no such commit, or git could not go on.
        SideError: One of the two cannot be measured; then nor can what lies between.
    """
    ends = {ref: _commit_of(ref, folder) for ref in (good, bad)}
    for ref, end in ends.items():
        refuse_other_suites(f"bisect {ref}", end, folder)
    commit, last = ends[good], ends[bad]
    if commit == last:
        raise BisectError(f"bisect {good}: {bad} is the same commit.")
    try:
        check = command(commit, arguments, benchmarks, git.within(folder), defaults)
        told(f"each commit is checked with: {shlex.join(check)}")
        with (
            scratch("bisect", lambda left: git.remove(left / TREE, folder)) as scratches,
            git.checked_out(last, folder, scratches / TREE) as tree,
        ):
            git.git(tree, "bisect", "start", last, commit)
            git.git(tree, "bisect", "run", *check)
            return git.git(tree, "bisect", "log").splitlines()[-1].removeprefix("# ")
    except git.GitError as error:
        raise BisectError(f"git bisect: {error}") from error


def _commit_of(ref: str, folder: Path) -> str:
    try:
        return git.commit_of(ref, folder)
    except git.GitError as error:
        raise BisectError(f"bisect {ref}: {error}.") from error
