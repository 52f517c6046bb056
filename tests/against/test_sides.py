"""Sides: what --against may name, and a server that speaks, dies, hangs, or is of another trainmark."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from trainmark.against.sides import Place, Side, SideEnded, SideError, place_of

from trainmark.against.server import PROTOCOL, own_seconds

HELLO = f"print('{{\"protocol\": {PROTOCOL}}}', flush=True)"
FORKING = f"""
    import json, os, sys, time
    {HELLO}
    for line in sys.stdin:
        task = json.loads(line)["task"]
        if task == "vanish":
            os._exit(3)
        child = os.fork()
        if child == 0:
            if task == "crash":
                print("a last word", file=sys.stderr, flush=True)
                os.abort()
            if task == "hang":
                time.sleep(60)
            status = "ok" if task == "answer" else "nan"
            print(json.dumps({{"status": status, "reason": task, "value": {{"pid": os.getpid()}}}}), flush=True)
            os._exit(0)
        _, code = os.waitpid(child, 0)
        print(json.dumps({{"gone": os.waitstatus_to_exitcode(code)}}), flush=True)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one file, of two commits: the older one is tagged ``old``."""
    folder = tmp_path / "repository"
    (folder / "inner").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for content, tag in (("old", "old"), ("new", "new")):
        (folder / "inner" / "file").write_text(content, encoding="utf-8")
        git(folder, "add", "--all")
        git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", tag)
        git(folder, "tag", tag)
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Side]]:
    """Starts a side whose server is a few lines of Python, and ends it after the test."""
    started: list[Side] = []

    def start(code: str = FORKING, timeout: float = 10.0) -> Side:
        (tmp_path / "bench").mkdir()
        (tmp_path / "bench" / "__init__.py").touch()
        (tmp_path / "bench" / "side.py").write_text(dedent(code), encoding="utf-8")
        started.append(Side(Place("main", tmp_path), timeout))
        return started[-1]

    yield start
    for side in started:
        side.close()


# What --against names


def test_self_is_the_working_tree_in_this_environment(tmp_path: Path) -> None:
    with place_of(["self"], tmp_path) as place:
        assert place == Place("self", tmp_path, sys.executable, {})


def test_a_variable_is_set_on_that_side(tmp_path: Path) -> None:
    with place_of(["env:OMP_NUM_THREADS=4,2", "env:EMPTY="], tmp_path) as place:
        assert place.variables == {"OMP_NUM_THREADS": "4,2", "EMPTY": ""}
        assert (place.folder, place.commit) == (tmp_path, None)


def test_an_interpreter_measures_the_working_tree(tmp_path: Path) -> None:
    with place_of([sys.executable], tmp_path) as place:
        assert (place.interpreter, place.folder) == (sys.executable, tmp_path)


def test_a_ref_is_checked_out_beside_the_working_tree_and_removed(repository: Path) -> None:
    with place_of(["old", "env:A=1"], repository / "inner") as place:
        assert (place.folder / "file").read_text(encoding="utf-8") == "old"
        assert place.folder.name == "inner"
        assert place.commit == git(repository, "rev-parse", "old").strip()
        assert place.variables == {"A": "1"}
    assert not place.folder.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert (repository / "inner" / "file").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_checked_out_is_removed_after_an_interruption_too(
    repository: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), place_of(["old"], repository):
        raise error
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (["nowhere"], "no git ref, no Python interpreter and no env:NAME=value"),
        (["--help"], "no git ref"),
        (["env:NAME"], "write env:NAME=value"),
        (["env:=1"], "write env:NAME=value"),
        (["old", "new"], "one git ref and one interpreter at most"),
        ([sys.executable, sys.executable], "one git ref and one interpreter at most"),
    ],
)
def test_what_names_no_side_is_one_sentence(repository: Path, parts: list[str], told: str) -> None:
    with pytest.raises(SideError, match=told), place_of(parts, repository):
        pass


def test_a_ref_outside_a_repository_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SideError, match="no git ref"), place_of(["main"], tmp_path):
        pass


# Its server


def test_each_task_is_done_in_a_process_of_its_own(serve: Callable[..., Side]) -> None:
    side = serve()
    assert side.call("answer")["pid"] != side.call("answer")["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("task", "status", "told"),
    [("crash", "crashed", "died of SIGABRT: a last word"), ("nan", "nan", "nan"), ("vanish", "crashed", "exit code 3")],
)
def test_whatever_becomes_of_a_task_is_told_and_the_next_one_is_served(
    serve: Callable[..., Side], task: str, status: str, told: str
) -> None:
    side = serve()
    with pytest.raises(SideEnded) as end:
        side.call(task)
    assert end.value.status == status
    assert told in end.value.reason
    assert side.call("answer")["pid"]


def test_a_task_that_hangs_is_ended_and_the_next_one_is_served(serve: Callable[..., Side]) -> None:
    side = serve(timeout=0.2)
    with pytest.raises(SideEnded, match="--timeout") as end:
        side.call("hang")
    side.timeout = 10
    assert end.value.status == "timeout"
    assert side.call("answer")["pid"]


def test_an_older_trainmark_is_told_apart_from_a_broken_one(tmp_path: Path, serve: Callable[..., Side]) -> None:
    (tmp_path / "old" / "bench").mkdir(parents=True)
    (tmp_path / "old" / "bench" / "__init__.py").touch()
    with pytest.raises(SideError, match=r"it has no bench/side\.py"):
        Side(Place("v0.1", tmp_path / "old"))
    with pytest.raises(SideError, match=r"does not start: .*ImportError: no torch"):
        serve('raise ImportError("no torch")')


def test_another_protocol_is_refused(serve: Callable[..., Side]) -> None:
    with pytest.raises(SideError, match=rf"speaks protocol 99 of paired measurement, and this trainmark {PROTOCOL}"):
        serve("import time\nprint('{\"protocol\": 99}', flush=True)\ntime.sleep(60)")


def test_the_side_sees_its_own_folder_first_and_its_own_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Side]
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    side = serve(
        f"""
        import json, os, sys
        {HELLO}
        sys.stdin.readline()
        value = {{"path": os.environ["PYTHONPATH"]}}
        print(json.dumps({{"status": "ok", "reason": None, "value": value}}), flush=True)
        print(json.dumps({{"gone": 0}}), flush=True)
        """
    )
    assert side.call("answer") == {"path": f"{tmp_path}{os.pathsep}/elsewhere"}


# What it is made of


EDITABLE = """
    import sys
    from importlib.machinery import PathFinder

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            parent, _, _ = name.rpartition(".")
            if name in {names}:
                return PathFinder.find_spec(name, [{tree!r}])
            return PathFinder.find_spec(name, [{tree!r} + "/" + parent]) if parent in {names} else None

    sys.meta_path.append(Finder)
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A tree with a package and a module that an older one lacks."""
    tree = tmp_path / "newer"
    for name in ("bench", "models"):
        (tree / name).mkdir(parents=True)
        (tree / name / "__init__.py").touch()
    (tree / "bench" / "added.py").touch()
    return tree


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """A Python of its own, into which things can be installed."""
    venv.create(tmp_path / "venv", symlinks=True)
    return tmp_path / "venv" / "bin" / "python"


def install(newer: Path, interpreter: Path, way: str) -> dict[str, str]:
    """Makes the newer tree importable from everywhere, and gives the variables that it takes."""
    (packages,) = interpreter.parents[1].glob("lib/python*/site-packages")
    if way == "variable":
        return {"PYTHONPATH": str(newer)}
    if way == "path":  # setup.py develop, and editable_mode=compat
        (packages / "newer.pth").write_text(str(newer), encoding="utf-8")
    else:  # what pip install --editable does
        finder = dedent(EDITABLE).format(tree=str(newer), names=["bench", "models"])
        (packages / "newer_finder.py").write_text(finder, encoding="utf-8")
        (packages / "newer.pth").write_text("import newer_finder", encoding="utf-8")
    return {}


@pytest.mark.parametrize(
    ("way", "lent", "origin"),
    [
        ("finder", "models", "models/__init__.py"),
        ("finder", "bench.added", "bench/added.py"),
        ("path", "models", "models/__init__.py"),
        ("variable", "models", "models/__init__.py"),
    ],
)
def test_an_older_tree_is_lent_nothing_by_an_installed_one(
    tmp_path: Path, newer: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch, way: str, lent: str, origin: str
) -> None:
    for name, value in install(newer, interpreter, way).items():
        monkeypatch.setenv(name, value)
    older = tmp_path / "older"
    (older / "bench").mkdir(parents=True)
    (older / "bench" / "__init__.py").touch()
    (older / "bench" / "side.py").write_text(f"import {lent}\n{HELLO}\ninput()", encoding="utf-8")
    told = f"main does not start: {lent} is not in {older}, and would have come from {newer / origin}: a side is"
    with pytest.raises(SideError, match=told):
        Side(Place("main", older, str(interpreter)))


def test_a_module_that_is_lent_late_is_not_there_either(tmp_path: Path, newer: Path, interpreter: Path) -> None:
    install(newer, interpreter, "finder")
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()
    late = f"""
        import json, sys
        {HELLO}
        sys.stdin.readline()
        try:
            import bench.added
        except ModuleNotFoundError as error:
            print(json.dumps({{"status": "error", "reason": str(error)}}), flush=True)
        print(json.dumps({{"gone": 0}}), flush=True)
    """
    (tmp_path / "bench" / "side.py").write_text(dedent(late), encoding="utf-8")
    told = rf"bench\.added is not in {tmp_path}, .* from {newer}/bench/added\.py"
    with Side(Place("main", tmp_path, str(interpreter))) as side, pytest.raises(SideEnded, match=told):
        side.call("answer")


def test_what_no_other_tree_has_is_missing_as_ever(serve: Callable[..., Side]) -> None:
    with pytest.raises(SideError, match=r"does not start: .*ModuleNotFoundError: No module named 'bench\.nowhere'"):
        serve("import bench.nowhere")


# A block's own time


@pytest.mark.parametrize(
    ("seconds", "waited", "worked", "own"),
    [
        (0.040, 0.0, 0.040, 0.040),
        (0.040, 0.015, 0.025, 0.025),  # a neighbour had the core
        (0.040, 0.0, 0.010, 0.040),  # it slept, or waited for data
        (0.040, 0.035, 0.025, 0.025),  # the kernel told late of a wait before
    ],
)
def test_a_blocks_own_time_leaves_out_the_queue_for_a_core_and_nothing_else(
    seconds: float, waited: float, worked: float, own: float
) -> None:
    assert own_seconds(seconds, waited, worked) == pytest.approx(own)
