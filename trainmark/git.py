"""Git at one door: without the caller's variables, without hooks; and what it says when it cannot is passed on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

# A hook may run whatever its user likes, and what measures is none of that; the rest starts no process of its own.
UNDISTURBED = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")
ASKED = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}  # reads write nothing, and nobody is asked
# Of what git does not track, files with such a name are code, and those in such folders are none:
CODE = {".py", ".pyi", ".pyx", ".toml", ".cfg", ".ini", ".yaml", ".yml", ".c", ".cc", ".cpp", ".cu", ".h", ".so"}
NOT_CODE = {"__pycache__", "node_modules", "build", "dist"}
PATIENCE = 30.0  # seconds that a check of a search has to clear up after Ctrl-C
MANY = 20_000  # files of a folder that are looked at
LARGE = 2**24  # bytes; of a larger file the length stands for the content


class GitError(RuntimeError):
    """Git cannot do what was asked; the message is its own reason."""


@dataclass(frozen=True)
class Code:
    """What a folder's code is.

    Attributes:
        commit: Its id; None where git knows of none.
        dirty: Whether files differ from it; None without a commit.
        difference: Digest of what differs from the commit; without one, of all code in the folder.
    """

    commit: str | None
    dirty: bool | None
    difference: str

    def to_json(self) -> dict[str, Any]:
        """A document of plain JSON types."""
        return {"id": self.commit, "dirty": self.dirty, "difference": self.difference}


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """What a git command prints when it is called in a folder.

    Args:
        folder: Where it is called.
        arguments: Of git.
        check: Whether an exit code beside 0 is an error.

    Raises:
        GitError: There is no git, or it ended with another code than 0; its own words say why.
    """
    try:
        code, printed, said = _called(arguments, folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise GitError("there is no git here" if folder.is_dir() else f"{folder} is no folder") from error
    if check and code:
        raise GitError(_reason(said.decode(errors="replace").strip() or f"it ended with exit code {code}"))
    return printed.decode(errors="surrogateescape").removesuffix("\n")  # a name may end with a space


def _called(arguments: Sequence[str], folder: Path) -> tuple[int, bytes, bytes]:
    """Exit code, output and complaints of git; after Ctrl-C all that it has started may clear up first."""
    with subprocess.Popen(
        ["git", *UNDISTURBED, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process to pass on, once
    ) as process:
        try:
            printed, said = process.communicate()
        except BaseException:
            try:
                _signal(process, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=PATIENCE)  # until nobody is left who could print
            finally:
                _signal(process, signal.SIGKILL)
            raise
    return process.returncode, printed, said


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or nothing but the dead is left
        os.killpg(process.pid, number)


def environment() -> dict[str, str]:
    """This process's, without what git sets for its hooks: that would lead each call to the hook's repository."""
    local = _local_variables()
    return {**{name: value for name, value in os.environ.items() if name not in local}, **ASKED}


@functools.cache
def _local_variables() -> frozenset[str]:
    try:
        listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return frozenset()  # without git there is nobody to be led astray
    return frozenset(listed.stdout.split())


def _reason(said: str) -> str:
    """Git's own reason in a line: from its last "fatal:" or "error:" on, without that word."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("hint:")]
    first = max((number for number, line in enumerate(lines) if line.startswith(("fatal:", "error:"))), default=0)
    return " ".join(lines[first:]).removeprefix("fatal: ").removeprefix("error: ")


def commit_of(ref: str, folder: Path) -> str:
    """The id of the commit that a ref names.

    Raises:
        GitError: There is none of that name; where ``origin`` has one, the message offers it.
    """
    try:
        return git(folder, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    except GitError as error:
        of_origin = ("--verify", "--quiet", "--end-of-options", f"origin/{ref}^{{commit}}")
        if git(folder, "rev-parse", *of_origin, check=False):
            raise GitError(f"no commit here has that name; there is origin/{ref}") from error
        # Where it is the repository that git cannot read, the reason is its own:
        shallow = git(folder, "rev-parse", "--is-shallow-repository") == "true"
        fetched = f"; this clone is shallow: git fetch origin {ref}" if shallow else ""
        raise GitError(f"no commit here has that name{fetched}") from error


def has(commit: str, path: str, folder: Path) -> bool:
    """Whether a commit has a path, which is told from a folder on."""
    try:
        git(folder, "cat-file", "-e", f"{commit}:./{path}")
    except GitError:
        return False
    return True


def top_of(folder: Path) -> Path | None:
    """The top of the working tree that a folder is in; None where it is in none that git would read."""
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel")).resolve()
    except GitError:
        return None


def submodules(folder: Path) -> tuple[str, ...]:
    """Paths of the submodules of a checked-out commit, told from the top of its working tree."""
    listed = git(folder, "ls-tree", "-r", "-z", "--full-tree", "HEAD").split("\0")
    return tuple(line.partition("\t")[2] for line in listed if line.startswith("160000 "))


def within(folder: Path) -> str:
    """The path of a folder in its working tree, with a slash at its end; empty for the top."""
    return git(folder, "rev-parse", "--show-prefix")


def working_trees(folder: Path) -> tuple[Path, ...]:
    """All that is checked out of the repository that a folder is in; none where it is in no repository."""
    try:
        listed = git(folder, "worktree", "list", "--porcelain")
    except GitError:
        return ()
    paths = re.findall(r"^worktree (.+?)\n(?:HEAD [0-9a-f]+|bare)$", listed, re.MULTILINE | re.DOTALL)
    return tuple(Path(path).resolve() for path in paths)


@contextlib.contextmanager
def checked_out(commit: str, folder: Path, tree: Path) -> Iterator[Path]:
    """A commit's files in a working tree of their own, until the block ends.

    Args:
        commit: What to check out.
        folder: In the repository.
        tree: Where; nothing is there yet.

    Raises:
        GitError: Git cannot.
    """
    try:
        git(folder, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        yield tree.resolve()
    finally:
        remove(tree, folder)


def remove(tree: Path, folder: Path) -> None:
    """Removes one working tree, and no other that git may take for lost.

    Args:
        tree: To remove.
        folder: In its repository; where it is not, the tree knows its own.
    """
    command = ("worktree", "remove", "--force", "--force", str(tree))
    try:
        git(folder, *command)
    except GitError:
        with contextlib.suppress(GitError):  # it never came to be
            git((tree / git(tree, "rev-parse", "--git-common-dir")).resolve(), *command)


def code_of(folder: Path, apart: Sequence[Path] = ()) -> Code:
    """What the code in a folder is: the commit of its working tree, and what differs from that.

    Args:
        folder: The root of a suite.
        apart: Folders whose files are no code, such as that of results.
    """
    top = top_of(folder)
    try:
        commit = None if top is None else git(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitError:
        commit = None  # a repository before its first commit
    if top is None or commit is None:
        return Code(None, None, _digest(_code_files(folder, apart), folder))
    left_out = [f":(exclude,top,literal){one.resolve().relative_to(top)}" for one in apart if _lies_in(one, top)]
    whole = ("--binary", "--no-ext-diff", "--no-textconv", "--submodule=diff", "--ignore-submodules=untracked")
    changed = git(top, "diff", "HEAD", *whole, "--", ".", *left_out)
    listed = git(top, "ls-files", "-z", "--others", "--exclude-standard", "--", ".", *left_out).split("\0")
    unknown = [top / name for name in listed if name and _is_code(Path(name))]
    digest = hashlib.sha256(changed.encode(errors="surrogateescape")).hexdigest()
    more = _digest(unknown, top) if unknown else ""
    dirty = bool(changed or unknown)
    return Code(commit, dirty, hashlib.sha256(f"{digest} {more}".encode()).hexdigest()[:16] if dirty else "")


def code_on(folders: Sequence[str]) -> str:
    """Digest of the code in folders of a search path; empty where there is none."""
    told = [_code_in(Path(folder)) for folder in folders if Path(folder).is_dir()]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16] if told else ""


def _code_in(folder: Path) -> Any:
    """Of a repository its code; else names, sizes and times of files: it may be all that a machine has installed."""
    if top_of(folder) is not None:
        return code_of(folder).to_json()
    files = islice(_code_files(folder, ()), MANY)
    return [(str(file.relative_to(folder)), (stat := file.lstat()).st_size, stat.st_mtime_ns) for file in files]


def describe(folder: Path, code: Code) -> dict[str, Any]:
    """What a stored run says of its commit, in pytest-benchmark's words."""
    told: dict[str, Any] = {
        "id": "unversioned",
        "time": None,
        "author_time": None,
        "dirty": bool(code.dirty),
        "project": folder.name,
        "branch": "(unknown)",
        "difference": code.difference,
    }
    if code.commit is None:
        return told
    time, author_time = git(
        folder, "show", "--no-show-signature", "--no-patch", "--pretty=format:%cI %aI", code.commit
    ).split()
    branch = git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    named = "(detached head)" if branch == "HEAD" else branch
    return told | {"id": code.commit, "time": time, "author_time": author_time, "branch": named}


def _lies_in(path: Path, folder: Path) -> bool:
    return folder in path.resolve().parents


def _is_code(name: Path) -> bool:
    return name.suffix in CODE and not NOT_CODE & set(name.parts)


def _code_files(folder: Path, apart: Sequence[Path]) -> Iterator[Path]:
    """Files of code in a folder that git says nothing of; environments and hidden folders are none of it."""
    left_out = {one.resolve() for one in apart}
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in NOT_CODE
            and (here / name).resolve() not in left_out
            and not (here / name / "pyvenv.cfg").exists()
        )
        yield from (here / name for name in sorted(files) if _is_code(Path(name)))


def _digest(files: Iterator[Path] | Sequence[Path], folder: Path) -> str:
    """Of names and contents."""
    told = hashlib.sha256()
    for file in files:
        try:
            size = file.stat().st_size
            content = file.read_bytes() if size <= LARGE else str(size).encode()
        except OSError as error:  # such as a link that leads nowhere: then that is what it is
            content = str(error.errno).encode()
        told.update(f"{file.relative_to(folder)} {len(content)} ".encode(errors="surrogateescape") + content)
    return told.hexdigest()[:16]
