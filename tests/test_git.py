"""Git at its one door, without the caller's variables and hooks; what a folder's code is; folders that go away."""

from __future__ import annotations

import fcntl
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from trainmark import git
from trainmark import scratch as scratches
from trainmark.git import Code, GitError
from trainmark.scratch import LOCK, LONGEST, keeping_in, scratch

ROOT = Path(__file__).parents[1]
LOCAL = subprocess.run(
    ["git", "rev-parse", "--local-env-vars"], check=False, capture_output=True, text=True
).stdout.split()
SETTINGS = MappingProxyType(
    {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "n",
        "GIT_AUTHOR_EMAIL": "e",
        "GIT_AUTHOR_DATE": "2026-01-01T12:00:00Z",
        "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "e",
        "GIT_COMMITTER_DATE": "2026-01-01T12:00:00Z",
    }
)
MARKING = "#!/bin/sh\necho $(basename $0) >> '{}'\n"
HOOKS = ("post-checkout", "reference-transaction", "post-index-change", "watched")  # the last is for fsmonitor


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git as it is without anybody's settings, and commits with the same ids each time."""
    for name in [*os.environ]:
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make(tmp_path / "repository")


def make(folder: Path) -> Path:
    """A repository of two commits, with a linked working tree beside it."""
    (folder / "inner").mkdir(parents=True)
    plain(folder, "init", "--quiet", "--initial-branch=main")
    (folder / ".gitignore").write_text("ignored*\n", encoding="utf-8")
    for content in ("old", "new"):
        for file in ("code.py", "inner/code.py", "inner/data"):
            (folder / file).write_text(f"{content}\n", encoding="utf-8")
        plain(folder, "add", "--all")
        plain(folder, "commit", "--quiet", f"--message={content}")
        plain(folder, "tag", content)
    plain(folder, "worktree", "add", "--quiet", "--detach", str(linked(folder)))
    return folder


def linked(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-linked")


def plain(folder: Path, *arguments: str) -> str:
    """What git says to the user."""
    environment = {name: value for name, value in os.environ.items() if name not in LOCAL}
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> str:
    plain(folder, "add", "--all")
    plain(folder, "commit", "--quiet", "--message=another")
    return plain(folder, "rev-parse", "HEAD").strip()


def files_checked_out(folder: Path) -> list[str]:
    with git.checked_out(git.commit_of("old", folder), folder, folder.with_name("tree")) as tree:
        return sorted(f"{file.relative_to(tree)} {file.read_text(encoding='utf-8')}" for file in tree.rglob("*.py"))


def removed(folder: Path) -> tuple[bool, tuple[Path, ...]]:
    git.remove(linked(folder), folder)
    return linked(folder).exists(), git.working_trees(folder)


# Every function that calls git, or says how; a test below sees to it that none is missing.
CALLS: dict[str, Callable[[Path], object]] = {
    "git": lambda folder: git.git(folder, "status", "--porcelain=2", "--branch"),
    "environment": lambda _folder: sorted(set(git.environment()) & set(LOCAL)),
    "commit_of": lambda folder: git.commit_of("old", folder / "inner"),
    "has": lambda folder: (git.has("HEAD", "code.py", folder / "inner"), git.has("HEAD", "none.py", folder / "inner")),
    "top_of": lambda folder: git.top_of(folder / "inner"),
    "within": lambda folder: git.within(folder / "inner"),
    "submodules": git.submodules,
    "working_trees": git.working_trees,
    "checked_out": files_checked_out,
    "remove": removed,
    "code_of": lambda folder: git.code_of(folder / "inner"),
    "code_on": lambda folder: git.code_on([str(folder / "inner"), str(folder / "none")]),
    "describe": lambda folder: git.describe(folder, git.code_of(folder)),
}


def test_every_function_is_looked_at() -> None:
    functions = inspect.getmembers(git, inspect.isfunction)
    public = {name for name, one in functions if one.__module__ == git.__name__ and not name.startswith("_")}
    assert public == set(CALLS)


# The caller's variables


@pytest.mark.parametrize("name", CALLS)
def test_no_call_is_led_to_the_repository_of_the_hook_that_it_is_made_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, other = tmp_path / "repository", make(tmp_path / "other")
    expected = CALLS[name](make(folder))
    for one in (folder, linked(folder)):
        shutil.rmtree(one, ignore_errors=True)
    make(folder)
    (folder / "code.py").touch()
    calls = record_calls(tmp_path, monkeypatch)
    for variable in LOCAL:
        monkeypatch.setenv(variable, str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index.lock"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.bare'='true'")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")
    assert CALLS[name](folder) == expected
    seen = calls.read_text(encoding="utf-8").split() if calls.exists() else []
    assert not set(seen) & set(LOCAL)
    assert (name == "environment") or "GIT_OPTIONAL_LOCKS" in seen


def record_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to which each call of git adds the names of its variables; which of them lead astray is asked before."""
    git.environment()
    script, calls = tmp_path / "bin" / "git", tmp_path / "calls"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nenv | sed 's/=.*//' >> '{calls}'\nexec '{shutil.which('git')}' \"$@\"\n", "utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return calls


def test_what_leads_astray_is_what_git_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LOCAL, "GIT_SSH"):
        monkeypatch.setenv(name, "/elsewhere")
    kept = git.environment()
    assert not set(LOCAL) & set(kept)
    told = {name: kept.get(name) for name in ("GIT_SSH", "GIT_OPTIONAL_LOCKS", "GIT_TERMINAL_PROMPT")}
    assert told == {"GIT_SSH": "/elsewhere", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    assert kept["PATH"] == os.environ["PATH"]


# Hooks


@pytest.fixture
def marks(repository: Path, tmp_path: Path) -> Path:
    """A file to which each hook of the repository adds its name."""
    file = tmp_path / "marks"
    for name in HOOKS:
        hook = repository / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(MARKING.format(file), encoding="utf-8")
        hook.chmod(0o755)
    plain(repository, "config", "core.fsmonitor", ".git/hooks/watched")
    plain(repository, "config", "core.hooksPath", str(repository / ".git" / "hooks"))
    return file


@pytest.mark.parametrize("name", CALLS)
def test_no_call_runs_a_hook(repository: Path, marks: Path, name: str) -> None:
    (repository / "code.py").touch()
    CALLS[name](repository)
    assert not marks.exists()


def test_the_users_own_calls_run_them(repository: Path, marks: Path) -> None:
    (repository / "code.py").touch()
    plain(repository, "status")
    plain(repository, "checkout", "--quiet", "old")
    assert set(marks.read_text(encoding="utf-8").split()) == set(HOOKS)


@pytest.mark.parametrize("name", CALLS)
def test_no_call_needs_or_breaks_the_lock_of_the_index(repository: Path, name: str) -> None:
    """In a hook of ``git commit --all`` it is held by the commit."""
    index, lock = repository / ".git" / "index", repository / ".git" / "index.lock"
    before = index.read_bytes()
    lock.write_bytes(b"held")
    os.utime(repository / "code.py", (1, 1))
    CALLS[name](repository)
    assert (index.read_bytes(), lock.read_bytes()) == (before, b"held")


# What git says


def test_without_git_it_is_one_sentence(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=r"^there is no git here$"):
        git.git(repository, "status")
    assert git.top_of(repository) is None


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_folder_that_is_none_is_not_told_as_a_git_that_is_none(repository: Path, kind: str) -> None:
    folder = repository / ("code.py" if kind == "file" else "gone")
    with pytest.raises(GitError, match=rf"^{folder} is no folder$"):
        git.git(folder, "status")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("checkout", "--quiet", "-b", "main"), "a branch named 'main' already exists"),
        (("pull",), "no tracking information"),
        (("cat-file", "-e", "HEAD:none"), "path 'none' does not exist in 'HEAD'"),
        (("rev-parse", "--verify", "--quiet", "none"), "it ended with exit code 1"),
        (("frobnicate",), "git: 'frobnicate' is not a git command"),
    ],
)
def test_gits_own_reason_is_passed_on_in_one_line(repository: Path, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(GitError) as error:
        git.git(repository, *arguments)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert not str(error.value).startswith(("fatal", "error", "hint"))


def test_an_exit_code_is_no_error_where_that_is_said(repository: Path) -> None:
    assert git.git(repository, "rev-parse", "--verify", "--quiet", "none", check=False) == ""


@pytest.mark.parametrize("ref", ["none", "", "--help", "-n", "HEAD~9", "HEAD:code.py", "new..old", "no\nne"])
def test_what_names_no_commit_is_an_error(repository: Path, ref: str) -> None:
    with pytest.raises(GitError, match=r"^no commit here has that name$"):
        git.commit_of(ref, repository)


def test_a_branch_that_only_origin_has_is_offered(repository: Path) -> None:
    plain(repository, "update-ref", "refs/remotes/origin/theirs", "HEAD")
    with pytest.raises(GitError, match=r"^no commit here has that name; there is origin/theirs$"):
        git.commit_of("theirs", repository)
    assert git.commit_of("origin/theirs", repository) == git.commit_of("HEAD", repository)


def test_a_tag_goes_before_a_branch_of_its_name(repository: Path) -> None:
    plain(repository, "branch", "old", "HEAD")
    assert git.commit_of("old", repository) == plain(repository, "rev-parse", "refs/tags/old").strip()
    assert git.commit_of("heads/old", repository) == plain(repository, "rev-parse", "HEAD").strip()


def test_an_annotated_tag_names_its_commit(repository: Path) -> None:
    plain(repository, "tag", "--annotate", "--message=m", "release")
    assert git.commit_of("release", repository) == git.commit_of("HEAD", repository)


def test_a_commit_that_a_shallow_clone_lacks_is_told_as_such(repository: Path, tmp_path: Path) -> None:
    plain(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", "shallow")
    with pytest.raises(GitError, match=r"^no commit here has that name; this clone is shallow: git fetch "):
        git.commit_of("HEAD~1", tmp_path / "shallow")


def test_a_repository_of_somebody_else_is_told_as_such(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(GitError, match=r"^detected dubious ownership in repository at .* --add safe\.directory"):
        git.commit_of("HEAD", repository)


# Paths

STRANGE = ("two words", "größe", "new\nline", " before", "after ", "last\n", "\u2028", "worktree x\nHEAD")


@pytest.mark.parametrize("name", STRANGE)
def test_a_path_may_have_any_character(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / name / name)
    inner = folder / name
    inner.mkdir()
    (inner / "code.py").touch()
    commit(folder)
    assert git.top_of(inner) == folder
    assert git.within(inner) == f"{name}/"
    assert git.within(folder) == ""
    assert git.working_trees(inner) == (folder, linked(folder))
    assert git.has("HEAD", "code.py", inner)
    assert git.has("HEAD", f"{name}/code.py", folder)
    assert git.code_of(inner).dirty is False
    with git.checked_out("HEAD", inner, tmp_path / "trees" / name) as tree:
        assert (tree / git.within(inner) / "code.py").is_file()
        assert set(git.working_trees(inner)) == {folder, linked(folder), tree}
    assert git.working_trees(inner) == (folder, linked(folder))
    before = git.code_of(inner)
    (folder / f"{name}.py").touch()
    assert git.code_of(inner) != before


def test_outside_a_repository_there_is_no_working_tree(tmp_path: Path) -> None:
    assert git.top_of(tmp_path) is None
    assert git.working_trees(tmp_path) == ()
    with pytest.raises(GitError, match="not a git repository"):
        git.within(tmp_path)


# Working trees


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_working_tree_goes_when_its_block_ends(
    repository: Path, tmp_path: Path, error: type[BaseException] | None
) -> None:
    with suppress(ValueError, KeyboardInterrupt), git.checked_out("old", repository, tmp_path / "tree") as tree:
        (tree / "code.py").write_text("changed", encoding="utf-8")
        (tree / "more").touch()
        if error:
            raise error
    assert not (tmp_path / "tree").exists()
    assert git.working_trees(repository) == (repository, linked(repository))
    assert sorted(one.name for one in (repository / ".git" / "worktrees").iterdir()) == [linked(repository).name]


def test_a_working_tree_that_cannot_be_made_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(GitError, match="nowhere"), git.checked_out("nowhere", repository, tmp_path / "tree"):
        pass
    assert git.working_trees(repository) == (repository, linked(repository))


def test_one_that_the_user_has_moved_away_for_a_moment_stays_registered(repository: Path, tmp_path: Path) -> None:
    moved = linked(repository).rename(tmp_path / "moved")
    with git.checked_out("old", repository, tmp_path / "tree"):
        pass
    git.remove(tmp_path / "never", repository)
    assert git.working_trees(repository) == (repository, linked(repository))
    moved.rename(linked(repository))
    assert plain(linked(repository), "status", "--porcelain") == ""


def test_one_whose_files_are_gone_is_forgotten(repository: Path) -> None:
    shutil.rmtree(linked(repository))
    git.remove(linked(repository), repository)
    assert git.working_trees(repository) == (repository,)


def test_one_of_another_repository_is_removed_from_that(repository: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    git.remove(linked(repository), other)
    assert git.working_trees(repository) == (repository,)
    assert git.working_trees(other) == (other, linked(other))
    assert not linked(repository).exists()


def test_what_is_no_linked_working_tree_stays(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for folder in (repository, repository / "inner", tmp_path / "folder"):
        git.remove(folder, repository)
        assert folder.is_dir()
    assert plain(repository, "status", "--porcelain") == ""


# What a folder's code is


def write(file: str, content: str = "more\n") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content, encoding="utf-8")

    return change


def called(*arguments: str) -> Callable[[Path], object]:
    return lambda folder: plain(folder, *arguments)


def one_after_another(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


CHANGES: dict[str, Callable[[Path], object]] = {
    "an edit": write("code.py"),
    "an edit in a subfolder": write("inner/code.py"),
    "an edit of what is no code": write("inner/data"),
    "a space at the end": write("inner/data", "new \n"),
    "a staged edit": one_after_another(write("code.py"), called("add", "code.py")),
    "a staged file": one_after_another(write("added"), called("add", "added")),
    "an untracked module": write("inner/added.py"),
    "an untracked module with a strange name": write(" a\nd ded.py"),
    "an untracked setting": write("added.toml"),
    "another mode": lambda folder: (folder / "code.py").chmod(0o755),
    "a deleted file": lambda folder: (folder / "code.py").unlink(),
    "a file that is no longer tracked": called("rm", "--quiet", "--cached", "code.py"),
    "a renamed file": called("mv", "code.py", "other.py"),
    "a link in the place of a file": one_after_another(
        lambda folder: (folder / "code.py").unlink(), lambda folder: (folder / "code.py").symlink_to("inner/code.py")
    ),
    "binary content": lambda folder: (folder / "inner" / "data").write_bytes(b"\0\xff"),
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "a result": write("inner/results/run.py"),
    "another time": lambda folder: os.utime(folder / "code.py", (1, 1)),
    "compiled modules": write("inner/__pycache__/code.py"),
    "an untracked note": write("notes.txt"),
    "an ignored module": write("ignored.py"),
    "a module in a folder that is built": write("build/lib/code.py"),
    "a stored result that git tracks": one_after_another(write("inner/results/run.py"), called("add", "inner/results")),
    "a tag": called("tag", "another"),
    "a branch": called("checkout", "--quiet", "-b", "another"),
}


def looked_at(folder: Path) -> Code:
    """What is measured in a folder of the repository, whose results lie there too."""
    return git.code_of(folder / "inner", [folder / "inner" / "results"])


@pytest.mark.parametrize("name", CHANGES)
def test_other_code_has_another_digest(repository: Path, name: str) -> None:
    before = looked_at(repository)
    CHANGES[name](repository)
    after = looked_at(repository)
    assert (before.dirty, after.dirty) == (False, True)
    assert before.difference == ""
    assert after.difference
    assert after.commit == before.commit == plain(repository, "rev-parse", "HEAD").strip()
    assert looked_at(repository) == after


def test_no_two_of_the_changes_have_the_same_digest(tmp_path: Path) -> None:
    digests = {}
    for number, (name, change) in enumerate(CHANGES.items()):
        folder = make(tmp_path / str(number))
        change(folder)
        digests[name] = looked_at(folder).difference
    one_after = make(tmp_path / "twice")
    for content in ("once\n", "twice\n"):
        write("added.py", content)(one_after)
        digests[content] = looked_at(one_after).difference
    alike = {"an edit": "a staged edit"}  # the code is the same
    for name, other in alike.items():
        assert digests.pop(name) == digests[other]
    assert len(set(digests.values())) == len(digests)


@pytest.mark.parametrize("name", NO_CHANGES)
@pytest.mark.parametrize("edited", [False, True])
def test_what_is_no_code_changes_no_digest(repository: Path, name: str, edited: bool) -> None:
    if edited:
        write("code.py")(repository)
    before = looked_at(repository)
    NO_CHANGES[name](repository)
    assert looked_at(repository) == before
    assert before.dirty is edited


def test_the_same_code_again_has_the_same_digest(repository: Path) -> None:
    clean = looked_at(repository)
    for content, expected in (("a\n", False), ("b\n", False), ("new\n", True)):
        write("code.py", content)(repository)
        assert (looked_at(repository) == clean) is expected
    write("added.py")(repository)
    (repository / "added.py").unlink()
    assert looked_at(repository) == clean


def test_a_commit_that_reverts_has_another_id(repository: Path) -> None:
    before = looked_at(repository)
    write("code.py", "wrong\n")(repository)
    commit(repository)
    between = looked_at(repository)
    plain(repository, "revert", "--no-edit", "HEAD")
    after = looked_at(repository)
    assert len({before.commit, between.commit, after.commit}) == 3
    assert (before.dirty, between.dirty, after.dirty) == (False, False, False)


def test_results_that_are_named_by_a_link_or_from_here_are_no_code_either(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = git.code_of(repository)
    (tmp_path / "link").symlink_to(repository)
    write("results/run.py")(repository)
    monkeypatch.chdir(repository)
    assert git.code_of(repository) != before
    for results in (tmp_path / "link" / "results", Path("results"), Path("inner", "..", "results")):
        assert git.code_of(repository, [results]) == before
        assert git.code_of(tmp_path / "link", [results]) == before


def test_results_elsewhere_leave_all_code_in(repository: Path, tmp_path: Path) -> None:
    write("code.py")(repository)
    everything = git.code_of(repository)
    for results in (tmp_path / "results", repository, tmp_path):
        assert git.code_of(repository, [results]) == everything


def test_an_edit_in_a_submodule_is_one_of_its_code(repository: Path, tmp_path: Path) -> None:
    make(tmp_path / "lent")
    allowed = ("-c", "protocol.file.allow=always")
    plain(repository, *allowed, "submodule", "--quiet", "add", f"{tmp_path}/lent", "lent")
    commit(repository)
    codes = [git.code_of(repository)]
    for content in ("once\n", "twice\n", "new\n"):
        write("lent/code.py", content)(repository)
        codes.append(git.code_of(repository))
    assert len(set(codes)) == 3
    assert codes[0] == codes[-1]


def test_no_program_of_the_users_is_asked_what_differs(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "program"
    script.write_text(MARKING.format(tmp_path / "marks"), encoding="utf-8")
    script.chmod(0o755)
    write("code.py")(repository)
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text("*.py diff=own\n", encoding="utf-8")
    before = git.code_of(repository)
    for setting in ("diff.external", "diff.own.textconv", "diff.own.command", "core.pager", "pager.diff"):
        plain(repository, "config", setting, str(script))
    assert git.code_of(repository) == before
    assert not (tmp_path / "marks").exists()


# Code that git says nothing of


@pytest.fixture(params=["outside", "before the first commit", "somebody else's"])
def unversioned(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with code that has no commit."""
    folder = tmp_path / "folder"
    for file in ("code.py", "inner/code.py"):
        write(file)(folder)
    if request.param != "outside":
        plain(folder, "init", "--quiet")
    if request.param == "somebody else's":
        commit(folder)
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        write("inner/code.py", "less\n"),
        write("inner/added.py"),
        write("added.toml"),
        lambda folder: (folder / "code.py").unlink(),
        lambda folder: (folder / "code.py").rename(folder / "other.py"),
        lambda folder: (folder / "added.py").symlink_to(folder / "nowhere.py"),
    ],
)
def test_without_a_commit_the_digest_is_that_of_all_code(unversioned: Path, change: Callable[[Path], object]) -> None:
    before = git.code_of(unversioned, [unversioned / "results"])
    assert (before.commit, before.dirty) == (None, None)
    assert git.code_of(unversioned, [unversioned / "results"]) == before
    change(unversioned)
    assert git.code_of(unversioned, [unversioned / "results"]).difference != before.difference


@pytest.mark.parametrize(
    "file",
    ["results/run.py", "__pycache__/code.py", "inner/__pycache__/code.py", "notes.txt", ".cache/code.py", "dist/a.py"],
)
def test_without_a_commit_what_is_no_code_changes_no_digest_either(unversioned: Path, file: str) -> None:
    before = git.code_of(unversioned, [unversioned / "results"])
    write(file)(unversioned)
    assert git.code_of(unversioned, [unversioned / "results"]) == before


def test_without_a_commit_an_environment_in_the_folder_is_no_code(unversioned: Path) -> None:
    before = git.code_of(unversioned)
    write("env/pyvenv.cfg")(unversioned)
    write("env/lib/module.py")(unversioned)
    assert git.code_of(unversioned) == before


def test_a_copy_elsewhere_is_the_same_code(unversioned: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(unversioned, tmp_path / "copy", ignore=shutil.ignore_patterns(".git"))
    assert git.code_of(copy) == git.code_of(unversioned)


# What a stored run says of it


def test_a_run_tells_its_commit_and_branch(repository: Path) -> None:
    plain(repository, "config", "log.showSignature", "true")
    write("added.py")(repository)
    code = git.code_of(repository)
    assert git.describe(repository, code) == {
        "id": plain(repository, "rev-parse", "HEAD").strip(),
        "time": "2026-01-01T12:00:00+00:00",
        "author_time": "2026-01-01T12:00:00+00:00",
        "dirty": True,
        "project": "repository",
        "branch": "main",
        "difference": code.difference,
    }
    plain(repository, "checkout", "--quiet", "--detach")
    assert git.describe(repository, code)["branch"] == "(detached head)"


def test_a_run_without_a_commit_is_told_by_its_digest(unversioned: Path) -> None:
    code = git.code_of(unversioned)
    told = git.describe(unversioned, code)
    assert (told["id"], told["time"], told["dirty"], told["branch"]) == ("unversioned", None, False, "(unknown)")
    assert told["difference"] == code.difference != ""


# Temporary folders


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all temporary folders are made, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


USING = """
import sys, time
from pathlib import Path
from trainmark import git
from trainmark.scratch import scratch
with scratch(sys.argv[1]) as folder:
    (folder / "file").touch()
    for repository in sys.argv[2:]:
        git.git(Path(repository), "worktree", "add", "--quiet", "--detach", str(folder / "tree"))
    print(folder, flush=True)
    sys.stdin.read()
"""


def using(kind: str, *repositories: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has taken a folder, with a working tree of the repository in it, and that folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", USING, kind, *map(str, repositories)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.communicate()


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_temporary_folder_goes_when_its_block_ends(temporary: Path, error: type[BaseException] | None) -> None:
    with suppress(ValueError, KeyboardInterrupt), scratch("x") as folder:
        assert folder.parent == temporary
        assert [one.name for one in folder.iterdir()] == [LOCK]
        (folder / "inner").mkdir()
        (folder / "inner" / "file").touch()
        if error:
            raise error
    assert not [*temporary.iterdir()]


def test_two_at_once_have_folders_of_their_own(temporary: Path) -> None:
    with scratch("x") as one:
        with scratch("x") as other:
            assert one.is_dir()
            assert one != other
        assert one.is_dir()
        assert not other.exists()


def test_what_a_killed_process_left_is_removed_by_the_next_of_its_kind(temporary: Path) -> None:
    process, left = using("x")
    end(process)
    assert (left / "file").exists()
    with scratch("y"):
        assert left.exists()
    cleared: list[bool] = []
    with scratch("x", lambda folder: cleared.append((folder / "file").exists())) as folder:
        assert [*temporary.iterdir()] == [folder]
    assert cleared == [True]


def test_what_a_living_process_uses_stays(temporary: Path) -> None:
    process, used = using("x")
    try:
        with scratch("x", lambda folder: pytest.fail(f"{folder} is in use")):
            assert (used / "file").exists()
        assert (used / "file").exists()
    finally:
        process.communicate("")
    assert not used.exists()


def test_a_working_tree_that_a_killed_process_left_is_no_longer_registered(repository: Path, temporary: Path) -> None:
    process, left = using("x", repository)
    end(process)
    assert git.working_trees(repository) == (repository, linked(repository), left / "tree")
    moved = linked(repository).rename(repository.with_name("moved"))
    with scratch("x", lambda folder: git.remove(folder / "tree", repository)):
        assert git.working_trees(repository) == (repository, linked(repository))
    assert moved.is_dir()
    assert not left.exists()


def test_the_next_may_be_in_another_repository(repository: Path, temporary: Path, tmp_path: Path) -> None:
    process, left = using("x", repository)
    end(process)
    with scratch("x", lambda folder: git.remove(folder / "tree", make(tmp_path / "other"))):
        assert not left.exists()
    assert git.working_trees(repository) == (repository, linked(repository))


def test_one_that_is_only_just_being_made_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each moment: another process looks when there is no lock yet, and when nobody holds it yet."""
    lock = fcntl.flock

    def seen_before(stream: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            monkeypatch.setattr(fcntl, "flock", lock)
            with scratch("x"):
                pass
        lock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", seen_before)
    (temporary / "trainmark-x-new").mkdir()
    with scratch("x") as folder:
        assert (folder / LOCK).is_file()
        (folder / "file").touch()
        with scratch("x"):
            assert (folder / "file").exists()
    assert [one.name for one in temporary.iterdir()] == ["trainmark-x-new"]


def test_what_another_user_left_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, left = using("x")
    end(process)
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with scratch("x"):
        pass
    assert (left / "file").exists()


def test_where_nothing_can_be_locked_folders_go_all_the_same(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratches, "fcntl", None)
    with scratch("x") as folder:
        assert folder.is_dir()
    assert not [*temporary.iterdir()]


@pytest.mark.parametrize("before", [None, "/elsewhere"])
def test_temporary_files_are_kept_in_a_folder_until_the_block_ends(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", before)
    if before is None:
        monkeypatch.delenv("TMPDIR", raising=False)
    else:
        monkeypatch.setenv("TMPDIR", before)
    with keeping_in(Path("/short")):
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == "/short"
    assert (tempfile.tempdir, os.environ.get("TMPDIR")) == (before, before)
    with keeping_in(Path("/", "long" * LONGEST)):
        assert tempfile.gettempdir() in (before, "/tmp")  # whichever is short enough, and there
    assert (tempfile.tempdir, os.environ.get("TMPDIR")) == (before, before)


def test_where_all_that_is_named_is_too_long_temporary_files_go_to_the_systems_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = "/" + "long" * LONGEST
    monkeypatch.setattr(tempfile, "tempdir", far)
    monkeypatch.setenv("TMPDIR", far)
    with keeping_in(Path(far, "server")):
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == "/tmp"
    assert (tempfile.tempdir, os.environ["TMPDIR"]) == (far, far)
