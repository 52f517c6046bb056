"""The user's repository, in whatever state it is: sides and searches leave it as it was, and say what they cannot."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from trainmark import git
from trainmark.against.bisect import BisectError, bisect
from trainmark.against.places import SideError, place_of, read_side

ROOT = Path(__file__).parents[2]
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
STRANGE = "größe of\ntwo words "


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git without anybody's settings, commits with the same ids each time, temporary folders in one that is seen."""
    for name in [*os.environ]:
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(temporary(tmp_path)))
    monkeypatch.setattr("tempfile.tempdir", str(temporary(tmp_path)))
    temporary(tmp_path).mkdir()


def temporary(tmp_path: Path) -> Path:
    return tmp_path / "temporary"


def user(folder: Path, *arguments: str, check: bool = True) -> str:
    """What git says to the user, whose repository is nobody else's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_TEST")}
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
        check=check,
        capture_output=True,
        text=True,
    )
    return done.stdout


def snapshot(folder: Path) -> dict[str, str]:
    """All that a user may have in a working tree and its repository."""
    asked = (
        "for-each-ref --format=%(refname)|%(objectname)|%(symref)",
        "rev-parse --symbolic-full-name HEAD",
        "rev-parse HEAD",
        "ls-files --stage",
        "status --porcelain=2 --branch --ignored",
        "worktree list --porcelain",
        "stash list",
        "config --list --local",
    )
    seen = {command: user(folder, *command.split(), check=False) for command in asked}
    seen |= {f"files: {name}": content for name, content in files_of(folder).items()}
    common = (folder / user(folder, "rev-parse", "--git-common-dir", check=False).removesuffix("\n")).resolve()
    return seen | {f".git: {name}": content for name, content in files_of(common).items()}


def files_of(folder: Path) -> dict[str, str]:
    """Mode and content of each file; of objects nothing, and of an index, which git may refresh, no content."""
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if name.parts[0] == ".git" or "objects" in name.parts:
            continue
        if file.is_symlink():
            found[str(name)] = str(file.readlink())
        elif file.is_file():
            content = None if file.name == "index" else file.read_text(encoding="utf-8", errors="surrogateescape")
            found[str(name)] = f"{file.stat().st_mode:o} {content}"
        else:
            found[str(name)] = "folder"
    if found.get("packed-refs", "").count("\n") == 1:  # git bisect leaves one with no more than its first line
        del found["packed-refs"]
    return found


def make(folder: Path) -> Path:
    """A repository of five commits, the last two of them slow."""
    (folder / "inner").mkdir(parents=True)
    user(folder, "init", "--quiet", "--initial-branch=main")
    for number, speed in enumerate(("fast", "fast", "fast", "slow", "slow")):
        for file in ("file", "inner/file"):
            (folder / file).write_text(f"{speed}\n", encoding="utf-8")
        (folder / "number.py").write_text(f"{number}\n", encoding="utf-8")
        commit(folder, f"commit-{number}")
    return folder


def commit(folder: Path, name: str) -> None:
    user(folder, "add", "--all")
    user(folder, "commit", "--quiet", f"--message={name}")
    user(folder, "tag", name)


# States that a repository may be in: each is made in a folder, and gives where the suite is


def plain(folder: Path) -> Path:
    return make(folder / "repository")


def in_a_subfolder(folder: Path) -> Path:
    return make(folder / "repository") / "inner"


def edited(folder: Path) -> Path:
    repository = make(folder / "repository")
    for name in ("stashed.py", "staged.py", "staged twice.py", "untracked.py"):
        (repository / name).write_text("1\n", encoding="utf-8")
        if "staged" in name:
            user(repository, "add", "--", name)
        if name == "stashed.py":
            user(repository, "stash", "--quiet")
    (repository / "staged twice.py").write_text("2\n", encoding="utf-8")
    (repository / "file").write_text("edited\n", encoding="utf-8")
    (repository / "number.py").chmod(0o755)
    (repository / "inner" / "file").unlink()
    return repository


def touched(folder: Path) -> Path:
    repository = make(folder / "repository")
    os.utime(repository / "file", (1, 1))
    return repository


def detached(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "checkout", "--quiet", "--detach")
    return repository


def packed(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "pack-refs", "--all")
    user(repository, "gc", "--quiet")
    return repository


def in_a_merge(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "checkout", "--quiet", "-b", "other", "HEAD~1")
    (repository / "number.py").write_text("other\n", encoding="utf-8")
    commit(repository, "theirs")
    user(repository, "merge", "--quiet", "main", check=False)
    assert "UU number.py" in user(repository, "status", "--porcelain")
    return repository


def in_a_search(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "bisect", "start", "HEAD", "HEAD~4")
    user(repository, "checkout", "--quiet", "--detach", "main")
    return repository


def in_a_linked_working_tree(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "worktree", "add", "--quiet", "-b", "another", str(folder / "linked"))
    return folder / "linked"


def with_one_moved_away(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "worktree", "add", "--quiet", "--detach", str(folder / "tree"))  # as those of sides are called
    (folder / "tree").rename(folder / "moved")
    return repository


def with_one_locked(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "worktree", "add", "--quiet", "--detach", str(folder / "tree"))
    user(repository, "worktree", "lock", "--reason=away", str(folder / "tree"))
    return repository


def with_settings_of_its_own(folder: Path) -> Path:
    repository = in_a_linked_working_tree(folder)
    user(repository, "config", "extensions.worktreeConfig", "true")
    user(repository, "sparse-checkout", "set", "--no-cone", "/*", "!/number.py")
    return repository


def in_a_submodule(folder: Path) -> Path:
    return with_a_submodule(folder) / "lent"


def with_a_submodule(folder: Path) -> Path:
    make(folder / "lent")
    repository = make(folder / "repository")
    user(repository, "submodule", "--quiet", "add", "../lent", "lent")
    user(repository / "lent", "checkout", "--quiet", "main")
    commit(repository, "with-lent")
    (repository / "number.py").write_text("6\n", encoding="utf-8")
    commit(repository, "after-lent")
    return repository


def shallow(folder: Path) -> Path:
    user(folder, "clone", "--quiet", "--depth=3", f"file://{make(folder / 'origin')}", "repository")
    return folder / "repository"


def with_a_name_twice(folder: Path) -> Path:
    repository = make(folder / "repository")
    user(repository, "branch", "commit-3", "HEAD~4")
    return repository


def strange(folder: Path) -> Path:
    repository = make(folder / STRANGE / STRANGE)
    (repository / STRANGE).mkdir()
    for number in (5, 6):
        (repository / STRANGE / "file").write_text("slow\n", encoding="utf-8")
        (repository / "number.py").write_text(f"{number}\n", encoding="utf-8")
        commit(repository, f"strange-{number}")
    return repository / STRANGE


States = Callable[[Path], Path]
STATES: tuple[States, ...] = (
    plain,
    in_a_subfolder,
    edited,
    touched,
    detached,
    packed,
    in_a_merge,
    in_a_search,
    in_a_linked_working_tree,
    with_one_moved_away,
    with_one_locked,
    with_settings_of_its_own,
    in_a_submodule,
    with_a_submodule,
    shallow,
    with_a_name_twice,
    strange,
)


@pytest.fixture(params=STATES, ids=lambda state: state.__name__.replace("_", " "))
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The root of a suite, in a repository of each state."""
    state: States = request.param
    return state(tmp_path)


some_states = pytest.mark.parametrize(
    "suite", [plain, in_a_linked_working_tree, in_a_submodule, shallow], ids=lambda state: state.__name__, indirect=True
)


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for Python: judges a commit by the file where it is called, and writes that down."""
    calls = tmp_path / "calls"
    monkeypatch.setattr("trainmark.against.bisect.PYTHON", str(write_checks(tmp_path, calls)))
    return calls


def write_checks(folder: Path, calls: Path, more: str = "") -> Path:
    script = folder / "python"
    code = (
        f"#!/bin/sh\ncat file >> {calls}\n{more}\ncase $(cat file) in slow) exit 1;; fast) exit 0;; *) exit 3;; esac\n"
    )
    script.write_text(code, encoding="utf-8")
    script.chmod(0o755)
    return script


def top_of(suite: Path) -> Path:
    return Path(user(suite, "rev-parse", "--show-toplevel").removesuffix("\n"))


def assert_nothing_is_left(tmp_path: Path, suite: Path) -> None:
    assert not [*temporary(tmp_path).iterdir()]
    assert str(temporary(tmp_path)) not in user(suite, "worktree", "list", "--porcelain")
    assert "refs/bisect" not in user(suite, "for-each-ref") or (top_of(suite) / ".git" / "BISECT_LOG").exists()


# What is looked at stays as it is


def test_a_side_leaves_the_repository_as_it_is(tmp_path: Path, suite: Path) -> None:
    before = snapshot(top_of(suite))
    with place_of(read_side(["HEAD~1", "env:A=1"], suite), suite) as place:
        assert place.commit == user(suite, "rev-parse", "HEAD~1").strip()
        assert (place.root / "file").is_file()
        assert user(place.root, "status", "--porcelain") == ""
        (place.root / "file").write_text("changed", encoding="utf-8")
        (place.root / "added").touch()
    assert snapshot(top_of(suite)) == before
    assert_nothing_is_left(tmp_path, suite)


@some_states
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_so_does_one_that_is_interrupted(tmp_path: Path, suite: Path, error: type[BaseException]) -> None:
    before = snapshot(top_of(suite))
    with pytest.raises(error), place_of(read_side(["HEAD~1"], suite), suite):
        raise error
    assert snapshot(top_of(suite)) == before
    assert_nothing_is_left(tmp_path, suite)


def test_so_does_a_look_at_its_code(suite: Path) -> None:
    before = snapshot(top_of(suite))
    code = git.code_of(suite, [suite / "results"])
    assert git.describe(suite, code)["id"] == user(suite, "rev-parse", "HEAD").strip()
    assert git.code_of(suite, [suite / "results"]) == code
    assert snapshot(top_of(suite)) == before


def test_a_search_leaves_the_repository_as_it_is(tmp_path: Path, suite: Path, checks: Path) -> None:
    before = snapshot(top_of(suite))
    last = user(suite, "rev-parse", "HEAD").strip()
    told = bisect("HEAD~1", "HEAD", [], suite)
    assert told.startswith(f"first bad commit: [{last}]")
    assert snapshot(top_of(suite)) == before
    assert_nothing_is_left(tmp_path, suite)


@some_states
def test_a_name_that_nobody_has_is_told_and_changes_nothing(tmp_path: Path, suite: Path, checks: Path) -> None:
    before = snapshot(top_of(suite))
    with pytest.raises(SideError, match=r"^--against nowhere: .*no commit here has that name"):
        read_side(["nowhere"], suite)
    for ends in (("nowhere", "HEAD"), ("HEAD", "nowhere")):
        with pytest.raises(BisectError, match=r"^bisect nowhere: no commit here has that name"):
            bisect(*ends, [], suite)
    assert snapshot(top_of(suite)) == before
    assert not checks.exists()
    assert_nothing_is_left(tmp_path, suite)


def test_two_sides_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    suite = plain(tmp_path)
    before = snapshot(suite)
    with place_of(read_side(["HEAD~1"], suite), suite) as one:
        with place_of(read_side(["HEAD~2"], suite), suite) as other:
            assert (other.root / "number.py").read_text(encoding="utf-8") == "2\n"
        assert (one.root / "number.py").read_text(encoding="utf-8") == "3\n"
    assert snapshot(suite) == before


def test_what_a_killed_side_left_is_removed_by_the_next_one_wherever_that_is(tmp_path: Path) -> None:
    suites = [make(tmp_path / name) for name in ("repository", "elsewhere")]
    before = snapshot(suites[0])
    for suite in suites:
        process = measure(suites[0], "HEAD~2", "wait")
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.kill()
        process.communicate()
        assert snapshot(suites[0]) != before
        with place_of(read_side(["HEAD~1"], suite), suite):
            pass
        assert snapshot(suites[0]) == before
        assert_nothing_is_left(tmp_path, suites[0])


def measure(suite: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MEASURING, str(suite), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# In a hook

# Looks at all that is asked of git, where it is called and as its variables are, and writes down what it has found.
MEASURING = """
import json, os, sys
from pathlib import Path
from trainmark import git
from trainmark.against import bisect
from trainmark.against.places import SideError, place_of, read_side

suite, ref, told, *check = Path(sys.argv[1]), *sys.argv[2:]
code = git.code_of(suite)
found = {"code": code.to_json(), "described": git.describe(suite, code)}
found["variables"] = sorted(name for name in os.environ if name.startswith("GIT_"))
try:
    with place_of(read_side([ref], suite), suite) as place:
        if told == "wait":
            print("waiting", flush=True)
            sys.stdin.read()
        found["side"] = [place.commit, (place.root / "number.py").read_text()]
        found["top"] = str(place.repository)
    if check:
        bisect.PYTHON = check[0]
        found["search"] = bisect.bisect(ref, "HEAD", [], suite)
except SideError as error:
    found["refused"] = str(error)
Path(told).write_text(json.dumps(found))
"""
COMMITS = {
    "commit": ("commit",),
    "commit all": ("commit", "--all"),
    "commit only a file": ("commit", "--only", "file"),
    "amend": ("commit", "--all", "--amend"),
    "with GIT_WORK_TREE": ("--git-dir={git}", "--work-tree={top}", "commit", "--all"),
}


@pytest.mark.parametrize(
    ("state", "name"),
    [
        *((plain, name) for name in COMMITS),
        *((state, "commit all") for state in (in_a_linked_working_tree, in_a_submodule, with_a_submodule)),
        *((state, "commit only a file") for state in (in_a_submodule, with_one_moved_away, shallow)),
        (in_a_linked_working_tree, "with GIT_WORK_TREE"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__.replace("_", " "),
)
def test_a_commit_comes_out_as_without_a_hook_that_measures(tmp_path: Path, state: States, name: str) -> None:
    """Two repositories alike: in one the hook does nothing, in the other all that it can."""
    told = tmp_path / "told"
    check = write_checks(tmp_path, tmp_path / "calls")
    measuring = [sys.executable, "-c", MEASURING, ".", "HEAD~2", str(told), str(check)]
    hooks = {"without": "exit 0", "measuring": f"PYTHONPATH={ROOT} exec {shlex.join(measuring)}"}
    after = []
    for which, code in hooks.items():
        (tmp_path / which).mkdir()
        suite = state(tmp_path / which)
        old = user(suite, "rev-parse", "HEAD~2").strip()
        (suite / "file").write_text("edited\n", encoding="utf-8")
        (suite / "staged.py").write_text("1\n", encoding="utf-8")
        user(suite, "add", "staged.py")
        hook = suite / user(suite, "rev-parse", "--git-path", "hooks/pre-commit").strip()
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{code}\n", encoding="utf-8")
        hook.chmod(0o755)
        where = {"git": user(suite, "rev-parse", "--absolute-git-dir").strip(), "top": str(suite)}
        user(suite, *(one.format(**where) for one in COMMITS[name]), "--quiet", "--message=another")
        hook.unlink()
        here = str(tmp_path / which)
        after.append({one: content.replace(here, "…") for one, content in snapshot(suite).items()})
    assert after[0] == after[1]
    found = json.loads(told.read_text(encoding="utf-8"))
    assert "GIT_INDEX_FILE" in found["variables"]
    assert ("GIT_WORK_TREE" in found["variables"]) is (name == "with GIT_WORK_TREE")
    assert found["side"][0] == old
    assert found["search"].startswith("first bad commit: [")
    assert found["code"]["dirty"]
    assert_nothing_is_left(tmp_path, suite)


@pytest.mark.parametrize("hook", ["pre-push", "post-checkout", "post-commit", "prepare-commit-msg", "pre-rebase"])
def test_other_hooks_find_the_repository_that_they_measure_too(tmp_path: Path, hook: str) -> None:
    """And one that is asked about another repository than its own finds that."""
    suite, other, told = plain(tmp_path), make(tmp_path / "other"), tmp_path / "told"
    before = snapshot(other)
    user(tmp_path, "clone", "--quiet", "--bare", str(suite), "bare")
    user(suite, "remote", "add", "origin", str(tmp_path / "bare"))
    measuring = shlex.join([sys.executable, "-c", MEASURING, str(other), "HEAD~3", str(told)])
    script = suite / ".git" / "hooks" / hook
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {measuring}\n", encoding="utf-8")
    script.chmod(0o755)
    user(suite, "commit", "--quiet", "--allow-empty", "--message=more")
    user(suite, "push", "--quiet", "origin", "main")
    user(suite, "checkout", "--quiet", "HEAD~1")
    user(suite, "rebase", "--quiet", "--force-rebase", "HEAD~1", "main")
    found = json.loads(told.read_text(encoding="utf-8"))
    assert found["top"] == str(other)
    assert found["side"] == [user(other, "rev-parse", "HEAD~3").strip(), "1\n"]
    assert snapshot(other) == before


def test_no_hook_of_the_users_runs_during_a_search(tmp_path: Path, checks: Path) -> None:
    suite, marks = plain(tmp_path), tmp_path / "marks"
    for name in ("post-checkout", "reference-transaction", "post-index-change", "watched"):
        hook = suite / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho $0 >> {marks}\n", encoding="utf-8")
        hook.chmod(0o755)
    user(suite, "config", "core.fsmonitor", str(suite / ".git" / "hooks" / "watched"))
    assert "commit-3" in bisect("commit-0", "commit-4", [], suite)
    with place_of(read_side(["HEAD~1"], suite), suite):
        pass
    ran = set(marks.read_text(encoding="utf-8").split()) if marks.exists() else set()
    assert ran <= {str(suite / ".git" / "hooks" / "reference-transaction")}  # git bisect asks no setting before that


# What cannot be looked at


def test_outside_a_repository_it_is_told_that_there_is_none(tmp_path: Path, checks: Path) -> None:
    with pytest.raises(SideError, match=r"^--against HEAD: .*not a git repository"):
        read_side(["HEAD"], tmp_path)
    with pytest.raises(BisectError, match=r"^bisect HEAD~1: not a git repository"):
        bisect("HEAD~1", "HEAD", [], tmp_path)
    assert not [*temporary(tmp_path).iterdir()]


def test_before_the_first_commit_there_is_no_name_to_give(tmp_path: Path, checks: Path) -> None:
    user(tmp_path, "init", "--quiet", "repository")
    suite = tmp_path / "repository"
    (suite / "file").touch()
    before = snapshot(suite)
    with pytest.raises(SideError, match=r"^--against HEAD: .*no commit here has that name\.$"):
        read_side(["HEAD"], suite)
    with pytest.raises(BisectError, match=r"^bisect HEAD~1: no commit here has that name\.$"):
        bisect("HEAD~1", "HEAD", [], suite)
    with place_of(read_side(["env:A=1"], suite), suite) as place:
        assert (place.root, place.commit) == (suite, None)
    assert git.describe(suite, git.code_of(suite))["id"] == "unversioned"
    assert snapshot(suite) == before


@some_states
def test_a_repository_of_somebody_else_is_told_in_gits_own_words(
    tmp_path: Path, suite: Path, checks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(top_of(suite))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SideError, match=r"^--against HEAD: .*detected dubious ownership") as refused:
        read_side(["HEAD"], suite)
    with pytest.raises(BisectError, match=r"^bisect HEAD~1: detected dubious ownership"):
        bisect("HEAD~1", "HEAD", [], suite)
    assert "shallow" not in str(refused.value)
    assert git.code_of(suite).commit is None
    assert snapshot(top_of(suite)) == before


def test_what_a_shallow_clone_lacks_is_told_as_that(tmp_path: Path, checks: Path) -> None:
    suite = shallow(tmp_path)
    with pytest.raises(SideError, match=r"^--against HEAD~4: .*this clone is shallow"):
        read_side(["HEAD~4"], suite)
    with pytest.raises(BisectError, match=r"^bisect HEAD~4: .*this clone is shallow"):
        bisect("HEAD~4", "HEAD", [], suite)


def test_a_branch_that_only_origin_has_is_offered(tmp_path: Path, checks: Path) -> None:
    user(make(tmp_path / "origin"), "branch", "theirs", "HEAD~1")
    user(tmp_path, "clone", "--quiet", str(tmp_path / "origin"), "repository")
    suite = tmp_path / "repository"
    with pytest.raises(SideError, match=r"^--against theirs: .*there is origin/theirs\.$"):
        read_side(["theirs"], suite)
    with pytest.raises(BisectError, match=r"^bisect theirs: no commit here has that name; there is origin/theirs\.$"):
        bisect("theirs", "HEAD", [], suite)
    with place_of(read_side(["origin/theirs"], suite), suite) as place:
        assert place.commit == user(suite, "rev-parse", "HEAD~1").strip()


def test_of_a_tag_and_a_branch_with_one_name_the_tag_is_meant(tmp_path: Path) -> None:
    suite = with_a_name_twice(tmp_path)
    with place_of(read_side(["commit-3"], suite), suite) as place:
        assert (place.root / "number.py").read_text(encoding="utf-8") == "3\n"


# Searches


def test_a_search_finds_the_first_slow_commit(tmp_path: Path, checks: Path) -> None:
    suite = in_a_subfolder(tmp_path)
    before = snapshot(top_of(suite))
    assert bisect("commit-0", "main", [], suite).endswith("] commit-3")
    assert set(checks.read_text(encoding="utf-8").split()) == {"fast", "slow"}
    assert snapshot(top_of(suite)) == before
    assert_nothing_is_left(tmp_path, suite)


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("HEAD", "main", r"^bisect HEAD: main is the same commit\.$"),
        ("HEAD", "HEAD~1", r"^git bisect: .*Maybe you mistook good and bad revs\?"),
        ("broken-0", "broken-3", r"^git bisect: .*cannot continue any more"),  # nothing between can be judged
    ],
)
def test_a_search_that_cannot_go_on_leaves_nothing(
    tmp_path: Path, checks: Path, good: str, bad: str, told: str
) -> None:
    suite = plain(tmp_path)
    for number in range(4):
        (suite / "file").write_text(f"broken {number}\n", encoding="utf-8")
        commit(suite, f"broken-{number}")
    before = snapshot(suite)
    with pytest.raises(BisectError, match=told):
        bisect(good, bad, [], suite)
    assert snapshot(suite) == before
    assert_nothing_is_left(tmp_path, suite)


SEARCHING = """
import sys
from pathlib import Path
from trainmark.against import bisect
bisect.PYTHON = sys.argv[2]
bisect.bisect("commit-0", "commit-4", [], Path(sys.argv[1]))
"""


@pytest.mark.parametrize("to", ["everybody", "it alone"])
def test_an_interrupted_search_ends_the_check_first_and_leaves_nothing(tmp_path: Path, to: str) -> None:
    """Ctrl-C reaches all processes of the terminal; of the check it may take a while to clear up where it is."""
    suite, calls, ended = in_a_subfolder(tmp_path), tmp_path / "calls", tmp_path / "ended"
    before = snapshot(top_of(suite))
    clearing = f"clear() {{ kill $!; sleep 1; touch written; test -f file && echo $$ > {ended}; exit 2; }}"
    check = write_checks(tmp_path, calls, f"{clearing}\ntrap clear INT TERM\necho ready\nsleep 30 & wait $!\n")
    process = subprocess.Popen(
        [sys.executable, "-c", SEARCHING, str(suite), str(check)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        while not calls.exists():
            assert process.poll() is None
        if to == "everybody":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert b"KeyboardInterrupt" in told
        assert ended.exists()
        assert snapshot(top_of(suite)) == before
        assert_nothing_is_left(tmp_path, suite)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_search_goes_on_where_an_earlier_one_was_killed(tmp_path: Path, checks: Path) -> None:
    suite = plain(tmp_path)
    before = snapshot(suite)
    check = tmp_path / "killing"
    check.write_text("#!/bin/sh\necho >> killed\nkill -9 $PARENT\n", encoding="utf-8")
    check.chmod(0o755)
    code = f"import os\nos.environ['PARENT'] = str(os.getpid())\n{SEARCHING}"
    killed = subprocess.run(
        [sys.executable, "-c", code, str(suite), str(check)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert snapshot(suite) != before
    assert bisect("commit-0", "commit-4", [], suite).endswith("] commit-3")
    assert snapshot(suite) == before
    assert_nothing_is_left(tmp_path, suite)
