"""A file is written whole or not at all, whatever it is and whatever ends the writing."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trainmark
from trainmark.store.files import write_text

ROOT = Path(trainmark.__file__).parent.parent
LONG = "long enough to need more than one block\n" * 5000

posix_alone = pytest.mark.skipif(os.name != "posix", reason="permissions, links and devices as POSIX has them")


def in_a_process(code: str, *arguments: object, stdout: Any = subprocess.PIPE) -> tuple[int, str | None]:
    """Runs code that has ``write_text``, ``Path``, ``os`` and ``sys``; gives its exit code and what it printed."""
    head = "import os, sys\nfrom pathlib import Path\nfrom trainmark.store.files import write_text\n"
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=stdout, check=False)
    return done.returncode, done.stdout


def test_a_text_is_written_as_utf_8_and_its_path_given_back(tmp_path: Path) -> None:
    path = tmp_path / "verdict.md"
    assert write_text(path, "1.30 µs ✅\n") == path
    assert path.read_bytes() == b"1.30 \xc2\xb5s \xe2\x9c\x85\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_utf_8_cannot_hold_is_spelled_out(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a", "lone \ud800").read_text(encoding="utf-8") == "lone \\ud800"


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a", "one\ntwo\r\n").read_bytes() == b"one\ntwo\r\n"


def test_an_older_text_is_replaced_by_a_shorter_one(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", LONG)
    assert write_text(path, "short").read_text(encoding="utf-8") == "short"


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    assert write_text(tmp_path / "new" / "folder" / "a", "text").read_text(encoding="utf-8") == "text"


def test_a_name_as_long_as_a_name_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("模" * 80 + "x" * 15)  # 255 bytes
    assert write_text(path, "text").read_text(encoding="utf-8") == "text"


def test_a_relative_path_is_one_of_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_text(Path("a"), "text") == Path("a")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "text"


# What ends a write


@pytest.mark.parametrize(
    "ending", [OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt(), MemoryError()], ids=repr
)
@pytest.mark.parametrize("there", [True, False])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException, there: bool
) -> None:
    path = tmp_path / "a"
    if there:
        write_text(path, "old")

    def cut_off(descriptor: int) -> None:
        os.truncate(descriptor, 3)
        raise ending

    monkeypatch.setattr(os, "fsync", cut_off)
    with pytest.raises(type(ending)):
        write_text(path, LONG)
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [("a", "old")] * there


@posix_alone
def test_a_disk_that_takes_no_more_leaves_the_old_file_and_is_told_by_its_name(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", "old")
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path(sys.argv[1]), "x" * 100_000)
except OSError as error:
    print(error.errno, error.filename)
"""
    assert in_a_process(code, path) == (0, f"{errno.EFBIG} {path}\n")
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [("a", "old")]


@posix_alone
def test_a_process_killed_while_it_writes_leaves_the_old_file_readable(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.json", "old")
    code = f"os.fsync = lambda _: os.kill(os.getpid(), {signal.SIGKILL.value})\nwrite_text(Path(sys.argv[1]), 'new')"
    assert in_a_process(code, path)[0] == -signal.SIGKILL
    assert path.read_text(encoding="utf-8") == "old"
    left = [file for file in tmp_path.iterdir() if file != path]
    assert all(file.name.startswith(".") and file.suffix == ".part" for file in left)  # no run, no page, not seen
    assert write_text(path, "new").read_text(encoding="utf-8") == "new"


def test_a_text_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "a", "old")
    seen: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        seen.append(path.read_text(encoding="utf-8"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_text(path, "new")
    assert seen[0] == "old"
    assert seen[1:] == ["new"] * (os.name == "posix")  # and then the folder


def test_a_file_that_cannot_be_written_is_named_and_not_the_unfinished_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        write_text(tmp_path / "folder", "text")
    assert caught.value.filename == str(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert list((tmp_path / "folder").iterdir()) == []


@posix_alone
def test_a_folder_that_may_not_be_written_to_is_told_by_the_files_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(PermissionError) as caught:
            write_text(tmp_path / "a", "text")
    finally:
        tmp_path.chmod(0o700)
    assert caught.value.filename == str(tmp_path / "a")


# What a file was


@posix_alone
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = write_text(tmp_path / "a", "old")
    path.chmod(mode)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


@posix_alone
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_that_any_new_file_gets(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = write_text(tmp_path / "a", "text")
        assert os.umask(mask) == mask  # and the mask is as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@posix_alone
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.parent.mkdir()
    if there:
        target.write_text("old", encoding="utf-8")
    link.symlink_to("elsewhere/target")
    assert write_text(link, "new") == link
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"
    assert sorted(tmp_path.iterdir()) == [target.parent, link]
    assert list(target.parent.iterdir()) == [target]


# What is no file


PRINTED_AND_WRITTEN = 'print("before"); write_text(Path("/dev/stdout"), "text\\n"); print("after")'


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
def test_standard_output_is_written_to_in_its_turn_through_a_pipe() -> None:
    assert in_a_process(PRINTED_AND_WRITTEN) == (0, "before\ntext\nafter\n")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
@pytest.mark.parametrize("mode", ["w", "a"])
def test_standard_output_that_leads_to_a_file_keeps_what_was_printed(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "log"
    file.write_text("old\n", encoding="utf-8")
    with file.open(mode, encoding="utf-8") as stream:
        assert in_a_process(PRINTED_AND_WRITTEN, stdout=stream)[0] == 0
    assert file.read_text(encoding="utf-8") == "old\n" * (mode == "a") + "before\ntext\nafter\n"
    assert list(tmp_path.iterdir()) == [file]


@posix_alone
def test_a_named_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        write_text(pipe, "text")
        assert reader.communicate(timeout=30)[0] == "text"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_device_that_is_full_is_told_by_its_name_and_stays_there() -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_text(Path("/dev/full"), "text")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no device that takes everything")
def test_a_device_that_takes_everything_stays_one() -> None:
    write_text(Path("/dev/null"), "text")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
