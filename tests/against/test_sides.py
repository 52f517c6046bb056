"""Sides: what --against may name, and a server that speaks, dies, hangs, or is of another trainmark."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from trainmark.against.client import Side, SideEnded
from trainmark.against.places import Place, SideError, holds_engine, place_of, read_side, working_tree
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
        commit(folder, tag)
    return folder


def commit(folder: Path, tag: str) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", tag)
    git(folder, "tag", tag)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def write_server(tree: Path, code: str) -> None:
    """An engine of nothing but a server, which is a few lines of Python."""
    package = tree / "trainmark" / "against"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "server.py").write_text(dedent(code), encoding="utf-8")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Side]]:
    """Starts a side whose server is a few lines of Python, and ends it after the test."""
    started: list[Side] = []

    def start(code: str = FORKING, timeout: float = 10.0) -> Side:
        write_server(tmp_path, code)
        started.append(Side(working_tree("main", tmp_path), timeout))
        return started[-1]

    yield start
    for side in started:
        side.close()


@contextmanager
def placed(parts: list[str], folder: Path) -> Iterator[Place]:
    """The place of the side that these parts name."""
    with place_of(read_side(parts, folder), folder) as place:
        yield place


# What --against names


def test_self_is_the_working_tree_in_this_environment(tmp_path: Path) -> None:
    with placed(["self"], tmp_path) as place:
        assert place == Place("self", tmp_path, tmp_path, tmp_path, sys.executable, {})  # tmp_path is in no repository


def test_a_variable_is_set_on_that_side(tmp_path: Path) -> None:
    with placed(["env:OMP_NUM_THREADS=4,2", "env:EMPTY="], tmp_path) as place:
        assert place.variables == {"OMP_NUM_THREADS": "4,2", "EMPTY": ""}
        assert (place.root, place.commit) == (tmp_path, None)


def test_an_interpreter_measures_the_working_tree(tmp_path: Path) -> None:
    with placed([sys.executable], tmp_path) as place:
        assert (place.interpreter, place.root) == (sys.executable, tmp_path)


def test_a_ref_is_checked_out_beside_the_working_tree_and_removed(repository: Path) -> None:
    with placed(["old", "env:A=1"], repository / "inner") as place:
        assert (place.root / "file").read_text(encoding="utf-8") == "old"
        assert place.root == place.tree / "inner"
        assert place.repository == repository
        assert place.commit == git(repository, "rev-parse", "old").strip()
        assert place.variables == {"A": "1"}
    assert not place.tree.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert (repository / "inner" / "file").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_checked_out_is_removed_after_an_interruption_too(
    repository: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), placed(["old"], repository):
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
    with pytest.raises(SideError, match=told), placed(parts, repository):
        pass


def test_a_ref_outside_a_repository_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SideError, match="git says: not a git repository"), placed(["main"], tmp_path):
        pass


# From before the engine was a package


@pytest.fixture
def own_engine(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine that runs is the repository's own, from the commit ``engine`` on."""
    write_server(repository, FORKING)
    commit(repository, "engine")
    monkeypatch.setattr("trainmark.__file__", str(repository / "trainmark" / "__init__.py"))
    assert holds_engine(repository)
    return repository


def test_a_commit_from_before_the_engine_was_a_package_is_one_sentence(own_engine: Path) -> None:
    told = (
        r"^--against old: that commit is from before trainmark was a package "
        r"\(trainmark/against/server\.py is missing\), "
        r"and cannot be measured beside this one\. .*: trainmark check BASE NEW$"
    )
    with pytest.raises(SideError, match=told), placed(["old"], own_engine):
        pass
    assert len(git(own_engine, "worktree", "list").splitlines()) == 1


def test_a_commit_with_an_engine_of_its_own_is_measured_by_that(own_engine: Path) -> None:
    with placed(["engine"], own_engine) as place, Side(place) as side:
        assert (place.root / "trainmark" / "against" / "server.py").is_file()
        assert side.call("answer")["pid"]


def test_an_engine_that_is_installed_elsewhere_measures_a_commit_without_one(repository: Path) -> None:
    assert not holds_engine(repository)
    with placed(["old"], repository) as place:
        assert (place.root / "inner" / "file").read_text(encoding="utf-8") == "old"


def test_a_commit_without_the_suite_is_one_sentence(repository: Path) -> None:
    (repository / "later").mkdir()
    (repository / "later" / "file").touch()
    commit(repository, "later")
    told = r"^--against old: later is not in that commit\.$"
    with pytest.raises(SideError, match=told), placed(["old"], repository / "later"):
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


def test_a_side_that_does_not_start_says_its_last_words(serve: Callable[..., Side]) -> None:
    with pytest.raises(SideError, match=r"does not start: .*ImportError: no torch"):
        serve('raise ImportError("no torch")')


def test_another_protocol_is_refused(serve: Callable[..., Side]) -> None:
    with pytest.raises(SideError, match=rf"speaks protocol 99 of paired measurement, and this trainmark {PROTOCOL}"):
        serve("import time\nprint('{\"protocol\": 99}', flush=True)\ntime.sleep(60)")


@pytest.mark.parametrize("line", ["hello", "[1]", "{", "{}", "3"])
def test_a_line_that_is_not_of_the_protocol_is_one_sentence(serve: Callable[..., Side], line: str) -> None:
    with pytest.raises(SideError, match=r"^main does not (start|speak the protocol of paired measurement)") as error:
        serve(f"import time\nprint({line!r}, flush=True)\ntime.sleep(60)")
    assert "\n" not in str(error.value)


def test_a_side_that_begins_to_print_in_between_is_one_sentence(serve: Callable[..., Side]) -> None:
    side = serve(f"{HELLO}\ninput()\nprint('loading weights', flush=True)\nimport time\ntime.sleep(60)")
    with pytest.raises(SideError, match="it wrote 'loading weights'"):
        side.call("answer")


def test_a_search_path_is_absolute_for_a_side_which_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Side]
) -> None:
    """Relative to the folder of the call, as it was meant; the server runs in the root of the suite."""
    caller = tmp_path / "caller"
    (caller / "lib" / "helper").mkdir(parents=True)
    (caller / "lib" / "helper" / "__init__.py").touch()
    monkeypatch.chdir(caller)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["lib", "", "../nowhere"]))
    side = serve(importing("helper"))
    assert side.call("answer") == {"file": str(caller / "lib" / "helper" / "__init__.py")}


def test_a_search_path_that_is_set_apart_changes_what_that_side_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before what the working tree has itself, and before the caller's own path."""
    root = tmp_path / "root"
    for place in (root, tmp_path / "callers", tmp_path / "apart"):
        (place / "kernels").mkdir(parents=True)
        (place / "kernels" / "__init__.py").touch()
    write_server(root, importing("kernels"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "callers"))
    monkeypatch.chdir(root)
    with placed(["env:PYTHONPATH=../apart"], root) as place, Side(place) as side:
        assert side.call("answer") == {"file": str(tmp_path / "apart" / "kernels" / "__init__.py")}
    with placed(["self"], root) as place, Side(place) as side:
        assert side.call("answer") == {"file": str(root / "kernels" / "__init__.py")}


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_CONFIG_PARAMETERS"])
def test_a_side_is_not_led_to_the_repository_of_a_hook(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Side], variable: str
) -> None:
    monkeypatch.setenv(variable, "of the hook")
    side = serve(
        f"""
        import json, os, sys
        {HELLO}
        sys.stdin.readline()
        value = {{"variable": os.environ.get({variable!r})}}
        print(json.dumps({{"status": "ok", "reason": None, "value": value}}), flush=True)
        print(json.dumps({{"gone": 0}}), flush=True)
        """
    )
    assert side.call("answer") == {"variable": None}


def test_a_variable_that_is_set_apart_is_set_whatever_the_caller_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
        import json, os, sys
        {HELLO}
        sys.stdin.readline()
        value = {{name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "KEPT")}}
        print(json.dumps({{"status": "ok", "reason": None, "value": value}}), flush=True)
        print(json.dumps({{"gone": 0}}), flush=True)
        """
    write_server(tmp_path, code)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("KEPT", "the caller's")
    with placed(["env:OMP_NUM_THREADS=7"], tmp_path) as place, Side(place) as side:
        assert side.call("answer") == {"OMP_NUM_THREADS": "7", "KEPT": "the caller's"}
    with placed(["self"], tmp_path) as place, Side(place) as side:
        assert side.call("answer") == {"OMP_NUM_THREADS": "1", "KEPT": "the caller's"}


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


FINDER = """
    import sys
    from importlib.machinery import PathFinder
    from importlib.util import spec_from_file_location
    from pathlib import Path

    MAPPING = {mapping!r}

    class Finder:
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name in MAPPING:
                return spec_from_file_location(name, Path(MAPPING[name], "__init__.py"))
            parent, _, _ = name.rpartition(".")
            return PathFinder.find_spec(name, [MAPPING[parent]]) if parent in MAPPING else None

    sys.meta_path.append(Finder)
"""


def importing(module: str) -> str:
    """A server that tells where a module comes from when it is asked, or why there is none."""
    return f"""
        import json, sys
        {HELLO}
        sys.stdin.readline()
        try:
            import {module} as found
            print(json.dumps({{"status": "ok", "reason": None, "value": {{"file": found.__file__}}}}), flush=True)
        except ModuleNotFoundError as error:
            print(json.dumps({{"status": "error", "reason": str(error)}}), flush=True)
        print(json.dumps({{"gone": 0}}), flush=True)
    """


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """A Python of its own, into which things can be installed."""
    venv.create(tmp_path / "venv", symlinks=True)
    return tmp_path / "venv" / "bin" / "python"


def install(folder: Path, interpreter: Path, way: str) -> dict[str, str]:
    """Makes the packages of a folder importable from everywhere, and gives the variables that it takes."""
    (site_packages,) = interpreter.parents[1].glob("lib/python*/site-packages")
    if way == "variable":
        return {"PYTHONPATH": str(folder)}
    if way == "path":  # what pip install --editable does for a src layout
        (site_packages / "project.pth").write_text(str(folder), encoding="utf-8")
    else:  # and for any other, as setuptools writes it
        mapping = {package.parent.name: str(package.parent) for package in folder.glob("*/__init__.py")}
        finder = dedent(FINDER).format(mapping=mapping)
        (site_packages / "project_finder.py").write_text(finder, encoding="utf-8")
        (site_packages / "project.pth").write_text("import project_finder", encoding="utf-8")
    return {}


@pytest.fixture
def grown(repository: Path) -> Path:
    """The repository with packages at its top: from ``old`` on ``shared``, from ``new`` on ``added`` too."""
    for tag, modules in (("before", ("shared",)), ("after", ("shared", "shared/added", "added"))):
        for module in modules:
            (repository / module).mkdir(exist_ok=True)
            (repository / module / "__init__.py").touch()
        commit(repository, tag)
    return repository


@pytest.mark.parametrize(
    ("way", "module", "told"),
    [
        ("finder", "added", "added is not in {tree}, and would have come from {here}/added/__init__.py: a side is"),
        (
            "finder",
            "shared.added",
            "shared.added is not in {tree}, and would have come from {here}/shared/added/__init__.py: a side is",
        ),
        ("path", "added", "No module named 'added'"),
        ("path", "shared.added", "No module named 'shared.added'"),
        ("variable", "added", "No module named 'added'"),
        ("variable", "shared.added", "No module named 'shared.added'"),
    ],
)
def test_an_older_tree_is_lent_nothing_by_an_installed_one(
    grown: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch, way: str, module: str, told: str
) -> None:
    for name, value in install(grown, interpreter, way).items():
        monkeypatch.setenv(name, value)
    with placed(["before", str(interpreter)], grown) as place:
        write_server(place.tree, f"import {module}\n{HELLO}\ninput()")
        with pytest.raises(SideError) as error:
            Side(place)
        expected = told.format(tree=place.tree, here=grown)
    assert str(error.value).startswith(f"before {interpreter} does not start: ")
    assert expected in str(error.value)


@pytest.mark.parametrize("way", ["finder", "path", "variable"])
def test_the_working_tree_is_measured_with_what_is_installed_of_it(
    grown: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for name, value in install(grown, interpreter, way).items():
        monkeypatch.setenv(name, value)
    write_server(grown, importing("shared.added"))
    with placed([str(interpreter)], grown) as place, Side(place) as side:
        assert side.call("answer") == {"file": str(grown / "shared" / "added" / "__init__.py")}


def test_a_module_that_is_lent_late_is_not_there_either(grown: Path, interpreter: Path) -> None:
    install(grown, interpreter, "finder")
    with placed(["before", str(interpreter)], grown) as place:
        write_server(place.tree, importing("shared.added"))
        told = rf"shared\.added is not in {place.tree}, .* from {grown}/shared/added/__init__\.py"
        with Side(place) as side, pytest.raises(SideEnded, match=told):
            side.call("answer")


def test_what_no_other_tree_has_is_missing_as_ever(serve: Callable[..., Side]) -> None:
    with pytest.raises(SideError, match=r"does not start: .*ModuleNotFoundError: No module named 'trainmark\.nowhere'"):
        serve("import trainmark.nowhere")


# A package in src/, with a suite beside it


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A repository with a package in src/ and a suite in perf/; ``old`` and ``new`` differ in the package."""
    folder = tmp_path / "layout"
    package, suite = folder / "src" / "package", folder / "perf"
    package.mkdir(parents=True)
    suite.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (suite / "conftest.py").touch()
    for tag in ("old", "new"):
        (package / "__init__.py").write_text(f"AGE = {tag!r}", encoding="utf-8")
        commit(folder, tag)
    return folder


@pytest.mark.parametrize("way", ["path", "variable"])
def test_a_package_in_src_that_is_on_the_path_is_each_sides_own(
    layout: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for name, value in install(layout / "src", interpreter, way).items():
        monkeypatch.setenv(name, value)
    with placed(["old", str(interpreter)], layout / "perf") as base:
        new = working_tree("new", layout / "perf", interpreter=str(interpreter))
        for place in (base, new):
            write_server(place.root, importing("package"))
            with Side(place) as side:
                assert side.call("answer") == {"file": str(place.tree / "src" / "package" / "__init__.py")}
    assert base.tree != new.tree == layout


def test_a_linked_working_tree_is_not_lent_what_is_installed_from_the_main_one(
    layout: Path, interpreter: Path, tmp_path: Path
) -> None:
    """As a search by bisection has them: each commit is checked out beside the user's own files."""
    install(layout / "src", interpreter, "path")
    linked = tmp_path / "linked"
    git(layout, "worktree", "add", "--detach", "--quiet", str(linked), "new")
    with placed(["old", str(interpreter)], linked / "perf") as base:
        new = working_tree("new", linked / "perf", interpreter=str(interpreter))
        for place in (base, new):
            write_server(place.root, importing("package"))
            with Side(place) as side:
                assert side.call("answer") == {"file": str(place.tree / "src" / "package" / "__init__.py")}
    assert new.tree == linked


def test_a_package_in_src_that_a_finder_gives_is_refused_by_name(layout: Path, interpreter: Path) -> None:
    install(layout / "src", interpreter, "finder")
    with placed(["old", str(interpreter)], layout / "perf") as base:
        write_server(base.root, importing("package"))
        told = (
            f"package is in {base.tree} too, but an editable install gives that of {layout}/src/package/__init__.py: "
            "a side is measured with its own files alone. "
            'Name its folder, as by pythonpath = ["src"] in [tool.trainmark]; '
            "or install it by its path: pip install --editable . --config-settings editable_mode=compat"
        )
        with Side(base) as side, pytest.raises(SideEnded) as end:
            side.call("answer")
    assert end.value.reason == told


def test_a_source_that_git_does_not_track_is_named_as_such(layout: Path, interpreter: Path) -> None:
    made = layout / "src" / "made" / "__init__.py"
    made.parent.mkdir()
    made.touch()
    install(layout / "src", interpreter, "finder")
    with placed(["old", str(interpreter)], layout / "perf") as base:
        write_server(base.root, importing("made"))
        with Side(base) as side, pytest.raises(SideEnded) as end:
            side.call("answer")
    assert end.value.reason == (
        f"made is not in {base.tree}, and would have come from {made}, and git does not track it: "
        "a side is measured with its own files alone"
    )


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
