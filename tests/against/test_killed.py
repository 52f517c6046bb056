"""What is finished is never lost: runs that are killed, told to end, or find no room, and go on with ``--resume``."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from docs.evidence.kills import BROKEN, Kept, Runs, commit, copy_project, git
from trainmark.store.pairs import paired_files
from trainmark.store.runs import read_run, run_files

KINDS = ("paired", "single")
CELLS = ("--model=mlp", "--batch-size=8,16", "-k", "input and resident")  # two, that take little time
OF_KIND = {
    "paired": (*CELLS, "--against=self", "--budget=5m", "--margin=90%"),
    "single": (*CELLS, "--benchmark-autosave", "--benchmark-max-time=0.01"),
}
FIRST = {"paired": 2, "single": 1}  # records of a cell, until a run may be told to end
AT_ONCE = {"paired": ("--budget=1s",), "single": ()}  # what ends a run that goes on: the time is over before it begins
PAGE = 4096  # bytes that a small file system gives at once
ROOM = {
    "paired": 5,
    "single": 3,
}  # pages that a run's beginning and its first record take; a small second one may fit too

pytestmark = pytest.mark.skipif(sys.platform != "linux" or shutil.which("git") is None, reason="needs git and /proc")


@dataclass(frozen=True)
class Stopped:
    """A run that was told to end after its first records.

    Attributes:
        runs: Where it is.
        results: Its results folder as it was then, to be copied.
        code: Of its end.
        output: What it said.
        begun: Its file, before it was told.
    """

    runs: Runs
    results: Path
    code: int
    output: str
    begun: list[bytes]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def runs(project: Path, tmp_path: Path) -> Runs:
    return Runs(project, tmp_path / "results", tmp_path / "temporary")


@pytest.fixture(scope="module")
def stopped(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stopped]:
    """A run of each kind that has got SIGTERM, begun where it is asked for first."""
    known: dict[str, Stopped] = {}

    def of_kind(kind: str) -> Stopped:
        if kind not in known:
            folder = tmp_path_factory.mktemp(kind)
            runs = Runs(project, folder / "results", folder / "temporary")
            process = runs.start(*OF_KIND[kind])
            wait_until(lambda: runs.count("record") >= FIRST[kind], process)
            begun = runs.lines()
            code, output = end(process, signal.SIGTERM)
            shutil.copytree(runs.results, folder / "as it was")
            known[kind] = Stopped(runs, folder / "as it was", code, output, begun)
        return known[kind]

    return of_kind


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not reached():
        if process.poll() is not None:
            raise AssertionError(process.communicate()[0])
        time.sleep(0.02)


def wait_for_line(words: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None  # a pipe
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    raise AssertionError("".join(seen))


def end(process: subprocess.Popen[str], number: int | None = None) -> tuple[int, str]:
    """Exit code and output, after a signal."""
    if number is not None:
        process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def kill(process: subprocess.Popen[str], runs: Runs, kept: Kept) -> None:
    code, output = end(process, signal.SIGKILL)
    assert code == -signal.SIGKILL, output
    runs.refuse_processes()
    kept.see(runs)


def command_of(output: str) -> list[str]:
    """The options of the last command that it names to go on with."""
    told = re.findall(r"pytest bench (.*--resume.*)$", "\n".join(output.splitlines()[-8:]), re.MULTILINE)
    assert told, output
    return shlex.split(told[-1])


def refused(process: subprocess.Popen[str]) -> str:
    """The sentence with which a run refuses to begin, or to go on."""
    code, output = end(process)
    assert code == 4, output
    assert not any(word in output for word in BROKEN), output
    (sentence,) = [line for line in output.splitlines() if line.startswith("ERROR: ")] or re.findall(
        r"^!+ .*Exit: (.*?) !*$", output, re.MULTILINE
    )
    return sentence.removeprefix("ERROR: ")


def test_a_paired_run_that_is_killed_at_each_stage_loses_nothing(runs: Runs) -> None:
    kept = Kept()
    process = runs.start(*OF_KIND["paired"])
    wait_until(lambda: runs.count("record") > 0, process)
    kill(process, runs, kept)
    process = runs.start("--resume")
    wait_until(lambda: runs.count("pair") > 1, process)
    kill(process, runs, kept)
    process = runs.start("--resume")
    wait_for_line("collected ", process)
    kill(process, runs, kept)  # before its servers have started
    code, output = end(runs.start("--resume", *AT_ONCE["paired"]))
    assert code in (0, 1, 3), output
    kept.see(runs)
    assert runs.has_finished(), output
    assert runs.count("record") == 4  # of two cells on two sides
    runs.refuse_processes()
    runs.refuse_folders()


def test_a_run_of_one_side_that_is_killed_while_it_goes_on_loses_nothing(
    stopped: Callable[[str], Stopped], runs: Runs
) -> None:
    shutil.copytree(stopped("single").results, runs.results)
    kept = Kept(runs.lines())
    process = runs.start("--resume")
    wait_for_line("(from the journal)", process)
    kill(process, runs, kept)
    code, output = end(runs.start("--resume"))
    assert code == 0, output
    kept.see(runs)
    assert runs.has_finished(), output
    runs.refuse_processes()
    runs.refuse_folders()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_told_to_end_keeps_what_is_finished(stopped: Callable[[str], Stopped], kind: str) -> None:
    one = stopped(kind)
    assert one.code == 2, one.output
    assert not any(word in one.output for word in BROKEN), one.output
    one.runs.refuse_processes()
    Kept(one.begun).see(Runs(one.runs.project, one.results, one.runs.temporary))


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_it_names_goes_on_whichever_signal_has_ended_it(
    stopped: Callable[[str], Stopped], runs: Runs, kind: str
) -> None:
    one = stopped(kind)
    kept, known = Kept(one.begun), len(one.runs.lines())
    process = one.runs.call(*command_of(one.output))
    if kind == "paired":
        wait_until(lambda: len(one.runs.lines()) > known, process)
    else:
        wait_for_line("(from the journal)", process)  # one cell is still to come
    code, output = end(process, signal.SIGHUP)
    assert code == 2, output
    kept.see(one.runs)
    code, output = end(one.runs.call(*command_of(output), *AT_ONCE[kind]))
    assert code in (0, 1, 3), output
    kept.see(one.runs)
    assert one.runs.has_finished(), output


def test_a_run_under_nohup_goes_on_when_the_terminal_is_closed(stopped: Callable[[str], Stopped], runs: Runs) -> None:
    shutil.copytree(stopped("single").results, runs.results)
    kept = Kept(runs.lines())
    process = runs.start("--resume", before=ignore_hangup)
    wait_for_line("(from the journal)", process)
    code, output = end(process, signal.SIGHUP)
    assert code == 0, output
    kept.see(runs)
    assert runs.has_finished(), output


@pytest.mark.parametrize("kind", KINDS)
def test_other_code_than_that_of_the_beginning_is_refused(
    stopped: Callable[[str], Stopped], runs: Runs, kind: str
) -> None:
    shutil.copytree(stopped(kind).results, runs.results)
    before = git(runs.project, "rev-parse", "HEAD").strip()
    file = runs.project / "models" / "mlp.py"
    code = file.read_bytes()
    file.write_bytes(code + b"# another\n")
    try:
        assert refused(runs.start("--resume")).startswith("The code was edited since the run ")
        commit(runs.project, "another")
        assert f"began at commit {before}, and the working tree is at " in refused(runs.start("--resume"))
    finally:
        git(runs.project, "reset", "--quiet", "--hard", before)
    Kept(Runs(runs.project, stopped(kind).results, runs.temporary).lines()).see(runs)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """A file system of its own there; or the plain folder, where nobody may mount one."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False, capture_output=True
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_results_folder_that_cannot_be_written_is_refused_before_anything_is_measured(runs: Runs, kind: str) -> None:
    with mounted(runs.results, "ro") as is_mounted:
        if not is_mounted:
            if os.geteuid() == 0:
                pytest.skip("root may write everywhere, and mount nothing here")
            runs.results.chmod(0o555)
        sentence = refused(runs.start(*OF_KIND[kind]))
    assert sentence.startswith(f"Nothing can be written in {runs.results}: ")
    assert sentence.endswith("Name another: --benchmark-storage")


def test_a_file_system_without_any_room_is_refused_before_anything_is_measured(runs: Runs) -> None:
    with mounted(runs.results, f"size={PAGE}") as is_mounted:
        if not is_mounted:
            pytest.skip("nobody may mount a file system here")
        (runs.results / "filler").write_bytes(bytes(PAGE))
        sentence = refused(runs.start(*OF_KIND["single"]))
    assert sentence.startswith(f"Nothing can be written in {runs.results}: No space left on device.")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--benchmark-storage=file://{file}",), "--benchmark-storage"),
        (("--benchmark-json={file}/own.json",), "--benchmark-json"),
        (("--benchmark-json={folder}",), "--benchmark-json"),
    ],
)
def test_where_nothing_can_be_stored_is_told_by_the_option_that_names_it(
    runs: Runs, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    (tmp_path / "file").touch()
    told = [option.format(file=tmp_path / "file", folder=tmp_path) for option in options]
    assert named in refused(runs.start(*OF_KIND["single"], *told))
    assert not runs.lines()


def test_an_own_file_goes_to_a_folder_that_is_made(stopped: Callable[[str], Stopped], runs: Runs) -> None:
    shutil.copytree(stopped("single").results, runs.results)
    own = runs.results / "not" / "there" / "own.json"
    code, output = end(runs.start("--resume", f"--benchmark-json={own}"))
    assert code == 0, output
    assert read_run(own).facts.complete


@pytest.mark.parametrize("folder", ["journal", "pairs"])
def test_a_file_in_the_place_of_a_folder_of_ours_is_told_in_one_sentence(runs: Runs, folder: str) -> None:
    runs.results.mkdir()
    (runs.results / folder).touch()
    kind = "single" if folder == "journal" else "paired"
    cells = ("-k", "train and mlp-8", "--batch-size=8", "--precision=fp32", "--compile=off", "--device=cpu")
    assert str(runs.results / folder) in refused(runs.start(*OF_KIND[kind], *cells))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_finds_no_room_keeps_what_it_has_and_goes_on_when_there_is_some(runs: Runs, kind: str) -> None:
    room = ROOM[kind] * PAGE
    with mounted(runs.results, f"size={64 * 1024}") as is_mounted:
        if is_mounted:
            (runs.results / "filler").write_bytes(bytes(64 * 1024 - room))
        process = runs.start(*OF_KIND[kind], before=None if is_mounted else partial(allow_small_files, room))
        code, output = end(process)
        assert code == 4, output
        assert not any(word in output for word in BROKEN), output
        assert ("No space left on device" if is_mounted else "File too large") in output
        kept = Kept()
        kept.see(runs)
        assert runs.count("record") in (1, 2)
        assert "--resume" in output, output
        (runs.results / "filler").unlink(missing_ok=True)
        if is_mounted:
            subprocess.run(["mount", "-o", "remount,size=8m", str(runs.results)], check=True)
        code, output = end(runs.start("--resume", *AT_ONCE[kind]))
        assert code in (0, 1, 3), output
        kept.see(runs)
        assert runs.has_finished(), output


def ignore_hangup() -> None:
    """As nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def allow_small_files(size: int) -> None:
    """Lets this process write no more bytes to a file than a small file system would hold."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def trainmark(runs: Path, words: str) -> tuple[int, str]:
    """Exit code of a command line of a shell, and what it says of its errors."""
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m trainmark {words}"
    done = subprocess.run(["bash", "-c", command], cwd=runs.parent, check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("check {pairs} --results {results} --json /dev/full", 2, "/dev/full: No space left on device."),
        ("list --results {results} > /dev/full", 2, "standard output: No space left on device."),
        ("list --results {results} | head -1", 0, ""),
    ],
)
def test_a_reader_that_cannot_write_says_so_in_one_line(
    stopped: Callable[[str], Stopped], words: str, code: int, told: str
) -> None:
    results = stopped("paired").results
    (pairs,) = paired_files(results)
    command = words.format(pairs=shlex.quote(str(pairs)), results=shlex.quote(str(results)))
    found, errors = trainmark(results, command)
    assert found == code, errors
    assert "Traceback" not in errors
    assert told in errors


def test_a_run_that_was_stored_partly_is_one_with_its_end(stopped: Callable[[str], Stopped]) -> None:
    (path,) = run_files(stopped("single").results)
    assert not read_run(path).facts.complete
    records = [json.loads(line)["record"] for line in stopped("single").begun[1:]]
    assert len(read_run(path).records) >= len(records) > 0
