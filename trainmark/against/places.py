"""Where the sides of a paired comparison are: a tree, an interpreter, an environment."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainmark

SELF = "self"
VARIABLE = "env:"
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
    """

    name: str
    root: Path
    tree: Path
    repository: Path
    interpreter: str = sys.executable
    variables: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    others: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What the side's own process needs to know of it, as plain JSON types."""
        not_its_own = dict.fromkeys(map(str, (self.repository, *self.others)))
        return {"root": str(self.root), "tree": str(self.tree), "working_trees": list(not_its_own)}


def working_tree(name: str, root: Path, **parts: Any) -> Place:
    """The suite as it lies in the working tree."""
    repository = repository_of(root)
    return Place(name, root, repository, repository, others=_working_trees(root), **parts)


def repository_of(root: Path) -> Path:
    """The top of the working tree that a folder is in; the folder itself where it is in none."""
    try:
        return Path(_git(root, "rev-parse", "--show-toplevel")).resolve()
    except SideError:
        return root


def _working_trees(root: Path) -> tuple[Path, ...]:
    """All that git has checked out of the repository that a folder is in."""
    try:
        listed = _git(root, "worktree", "list", "--porcelain").splitlines()
    except SideError:
        return ()
    return tuple(Path(line.removeprefix("worktree ")).resolve() for line in listed if line.startswith("worktree "))


def holds_engine(root: Path) -> bool:
    """Whether the trainmark that runs lies in this very suite: then each side measures with its own."""
    return Path(trainmark.__file__).resolve().parents[1] == root.resolve()


@contextlib.contextmanager
def place_of(parts: Sequence[str], folder: Path) -> Iterator[Place]:
    """The side that ``--against`` names, with a git ref's tree checked out until the block ends.

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
            interpreters.append(interpreter)
        elif part != SELF:
            refs.append(part)
    if len(refs) > 1 or len(interpreters) > 1:
        raise SideError(f"--against {' '.join(parts)}: name one git ref and one interpreter at most.")
    interpreter = interpreters[0] if interpreters else sys.executable
    name = " ".join(parts)
    if not refs:
        yield working_tree(name, folder, interpreter=interpreter, variables=variables)
        return
    commit = _commit_of(refs[0], folder)
    refuse_other_engines(f"--against {name}", commit, folder)
    with _checked_out(commit, folder) as (tree, root):
        repository, others = repository_of(folder), _working_trees(folder)
        yield Place(name, root, tree, repository, interpreter, variables, commit, others)


def refuse_other_engines(asked: str, commit: str, folder: Path) -> None:
    """A commit must have the suite and, where the engine is part of that, one that speaks the protocol.

    Args:
        asked: What asked for the commit: what the message begins with.
        commit: Of the side.
        folder: The root of the suite in the working tree.

    Raises:
        SideError: It lacks the suite, or is from before trainmark was a package.
    """
    if not _has(commit, "", folder):
        raise SideError(f"{asked}: {folder.name} is not in that commit.")
    if holds_engine(folder) and not _has(commit, SERVER.as_posix(), folder):
        raise SideError(
            f"{asked}: that commit is from before trainmark was a package ({SERVER} is missing), and cannot "
            "be measured beside this one. Name a later commit, or compare stored runs: trainmark check BASE NEW"
        )


def _has(commit: str, path: str, folder: Path) -> bool:
    """Whether a commit has a path, which is told from a folder on."""
    try:
        _git(folder, "cat-file", "-e", f"{commit}:./{path}")
    except SideError:
        return False
    return True


def _commit_of(ref: str, folder: Path) -> str:
    try:
        return _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except SideError as error:
        raise SideError(
            f"--against {ref}: no git ref, no Python interpreter and no env:NAME=value here. "
            "In a shallow clone fetch the ref first: git fetch origin REF."
        ) from error


@contextlib.contextmanager
def _checked_out(commit: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    """The commit's files in a worktree of its own, and in it the place that ``folder`` has in its repository."""
    scratch = Path(tempfile.mkdtemp(prefix="trainmark-side-"))
    tree = scratch / "tree"
    within = _git(folder, "rev-parse", "--show-prefix")
    try:
        _git(folder, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        yield tree.resolve(), tree.resolve() / within
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _git(folder, "worktree", "prune")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise SideError("There is no git here: name an interpreter or env:NAME=value instead of a ref.") from error
    except subprocess.CalledProcessError as error:
        raise SideError(f"git {arguments[0]}: {error.stderr.strip()}") from error
    return done.stdout.strip()
