"""Where the sides of a paired comparison are: a tree, an interpreter, an environment."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainmark
from trainmark import git
from trainmark.scratch import scratch
from trainmark.suite import search_path

SELF = "self"
VARIABLE = "env:"
CONFTEST, PLUGIN = "conftest.py", "trainmark.plugin"  # the one that names the other makes its folder a suite
TREE = "tree"  # what is checked out, in the folder made for it
SERVER = Path("trainmark") / "against" / "server.py"  # what a tree with the engine in it has


class SideError(RuntimeError):
    """A side cannot be measured; the message says why and what to do."""


@dataclass(frozen=True)
class Place:
    """Where a side is.

    Attributes:
        name: In the user's words.
        root: What is measured: the root of a suite in a tree.
        tree: The folder that holds all of the side's own files; the root, or above it.
        repository: The working tree: what lies there and not in ``tree`` is none of the side's.
        interpreter: Python that measures it.
        variables: Set in its environment beside this process's own.
        commit: Of the tree; None for the working tree as it is.
        others: Other working trees of the repository, from which something may be installed: likewise.
        pythonpath: Folders in the repository where pytest's ini file has modules looked for too; those of the
            side's tree are meant.
    """

    name: str
    root: Path
    tree: Path
    repository: Path
    interpreter: str = sys.executable
    variables: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    others: tuple[Path, ...] = ()
    pythonpath: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What the side's own process needs to know of it, as plain JSON types."""
        not_its_own = dict.fromkeys(map(str, (self.repository, *self.others)))
        return {
            "root": str(self.root),
            "tree": str(self.tree),
            "working_trees": list(not_its_own),
            "before": search_path(self.variables.get("PYTHONPATH", "")),
        }


def working_tree(name: str, root: Path, **parts: Any) -> Place:
    """The suite as it lies in the working tree."""
    repository = repository_of(root)
    return Place(name, root, repository, repository, others=git.working_trees(root), **parts)


def repository_of(root: Path) -> Path:
    """The top of the working tree that a folder is in; the folder itself where it is in none."""
    return git.top_of(root) or root


def holds_engine(root: Path) -> bool:
    """Whether the trainmark that runs lies in this very suite: then each side measures with its own."""
    return Path(trainmark.__file__).resolve().parents[1] == root.resolve()


@dataclass(frozen=True)
class Named:
    """What ``--against`` names, looked at before anything is measured or checked out.

    Attributes:
        name: In the user's words.
        interpreter: Python that measures the side.
        variables: Set in its environment.
        commit: That is checked out for it; None for the working tree as it is.
    """

    name: str
    interpreter: str
    variables: Mapping[str, str]
    commit: str | None


def read_side(parts: Sequence[str], folder: Path) -> Named:
    """What the parts name.

    Args:
        parts: ``self``, a git ref, the path of an interpreter, ``env:NAME=value``; or several of these.
        folder: The root of the suite in the working tree.

    Raises:
        SideError: A part is none of these, or there are two refs or two interpreters.
    """
    variables: dict[str, str] = {}
    interpreters, refs = [], []
    for part in parts:
        if part.startswith(VARIABLE):
            name, equals, value = part.removeprefix(VARIABLE).partition("=")
            if not name or not equals:
                raise SideError(f"--against {part}: write env:NAME=value.")
            variables[name] = value
        elif (interpreter := shutil.which(part)) is not None and Path(part).name.startswith("python"):
            interpreters.append(str(Path(interpreter).absolute()))
        elif part != SELF:
            refs.append(part)
    name = " ".join(parts)
    if len(refs) > 1 or len(interpreters) > 1:
        raise SideError(f"--against {name}: name one git ref and one interpreter at most.")
    commit = None
    if refs:
        commit = _commit_of(refs[0], folder)
        refuse_other_suites(f"--against {name}", commit, folder)
    return Named(name, interpreters[0] if interpreters else sys.executable, variables, commit)


@contextlib.contextmanager
def place_of(named: Named, folder: Path, pythonpath: tuple[str, ...] = ()) -> Iterator[Place]:
    """The place of a side, with a commit's tree checked out until the block ends.

    Args:
        named: What ``--against`` names.
        folder: The root of the suite in the working tree.
        pythonpath: See :class:`Place`.

    Raises:
        SideError: The commit cannot be checked out.
    """
    parts: dict[str, Any] = {
        "interpreter": named.interpreter,
        "variables": named.variables,
        "pythonpath": pythonpath,
    }
    if named.commit is None:
        yield working_tree(named.name, folder, **parts)
        return
    repository, others = repository_of(folder), git.working_trees(folder)
    with ExitStack() as stack:
        try:
            scratches = stack.enter_context(scratch("side", lambda left: git.remove(left / TREE, folder)))
            tree = stack.enter_context(git.checked_out(named.commit, folder, scratches / TREE))
            root = tree / git.within(folder)
        except git.GitError as error:
            raise SideError(f"--against {named.name}: git cannot check it out: {error}.") from error
        yield Place(named.name, root, tree, repository, commit=named.commit, others=others, **parts)


def refuse_other_suites(asked: str, commit: str, folder: Path) -> None:
    """A commit must have the suite and, where the engine is part of that, one that speaks the protocol.

    Args:
        asked: What asked for the commit: what the message begins with.
        commit: Of the side.
        folder: The root of the suite in the working tree.

    Raises:
        SideError: It lacks the suite, or is from before trainmark was switched on there, or was a package.
    """
    if not git.has(commit, "", folder):
        raise SideError(f"{asked}: {folder.name} is not in that commit.")
    if holds_engine(folder) and not git.has(commit, SERVER.as_posix(), folder):
        raise SideError(
            f"{asked}: that commit is from before trainmark was a package ({SERVER} is missing), and cannot "
            "be measured beside this one. Name a later commit, or compare stored runs: trainmark check BASE NEW"
        )
    if _switches_on(folder) and PLUGIN not in git.git(folder, "show", f"{commit}:./{CONFTEST}", check=False):
        raise SideError(
            f"{asked}: that commit is from before the benchmarks (no {CONFTEST} of it switches trainmark on), and says "
            "nothing of what to measure. Name a later one."
        )


def _switches_on(folder: Path) -> bool:
    file = folder / CONFTEST
    return file.is_file() and PLUGIN in file.read_text(encoding="utf-8", errors="replace")


def _commit_of(ref: str, folder: Path) -> str:
    try:
        return git.commit_of(ref, folder)
    except git.GitError as error:
        told = "no git ref, no Python interpreter and no env:NAME=value here"
        raise SideError(f"--against {ref}: {told}; git says: {error}.") from error
