"""External programs: their output, their time, their own peak memory, and how they fail."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from bench.ngram.programs import ProgramFailedError, run_program

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="starts programs as POSIX does")
PYTHON = [sys.executable, "-I", "-S", "-c"]


def run(folder: Path, *command: str, text: bytes = b"the cat\n", threads: int = 1):
    source, target = folder / "source", folder / "target"
    source.write_bytes(text)
    return run_program(command, source, target, threads), target.read_bytes()


def test_a_program_reads_one_file_and_writes_the_other(tmp_path: Path) -> None:
    cat = shutil.which("cat")
    assert cat is not None
    result, output = run(tmp_path, cat)
    assert output == b"the cat\n"
    assert result.seconds > 0


def test_the_peak_is_the_programs_own_and_not_that_of_a_large_process_which_starts_it(tmp_path: Path) -> None:
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])  # so that it is in memory
    small, _ = run(tmp_path, *PYTHON, "pass")
    large, _ = run(tmp_path, *PYTHON, "x = bytearray(100_000_000); x[::4096] = b'x' * len(x[::4096])")
    assert small.peak_memory_bytes < 50_000_000
    assert 100_000_000 < large.peak_memory_bytes < 150_000_000
    del held


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system binds no process to cores")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_program_has_as_many_cores_as_threads(tmp_path: Path, threads: int) -> None:
    _, output = run(tmp_path, *PYTHON, "import os; print(len(os.sched_getaffinity(0)))", threads=threads)
    assert int(output) == min(threads, len(os.sched_getaffinity(0)))


def test_a_program_that_fails_is_an_error_with_its_name(tmp_path: Path) -> None:
    name = Path(sys.executable).name
    with pytest.raises(ProgramFailedError, match=f"{name} ended with exit code 3"):
        run(tmp_path, *PYTHON, "raise SystemExit(3)")
