"""A process of its own for each call: whatever happens to it is told, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import torch

from trainmark.measure import worker
from trainmark.measure.worker import Limits, Workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and process groups")


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers()


def wait_until(condition, seconds: float = 10) -> bool:
    """Whether it comes true; the wait is for other processes to end, and ends with them."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_call_gives_its_value_from_another_process(workers: Workers) -> None:
    outcome = workers.call("misbehaving:give", 42)
    value, had_scratch, pid = outcome.value
    assert (outcome.status, outcome.reason, value, had_scratch) == ("ok", None, 42, True)
    assert pid != os.getpid()


def test_each_call_has_a_process_of_its_own_and_leaves_nothing_behind(workers: Workers, tmp_path, monkeypatch) -> None:
    workers.call("misbehaving:give", None)  # the fork server has a folder of its own until the end of the run
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pids = [workers.call("misbehaving:give", None).value[2] for _ in range(2)]
    assert pids[0] != pids[1]
    assert list(tmp_path.iterdir()) == []


HOLDING = """
import sys
from trainmark.measure.worker import Limits, Workers

if __name__ == "__main__":
    workers = Workers()
    print(workers.call("misbehaving:hold_semaphores", False).status)
    print(workers.call("misbehaving:hold_semaphores", True, limits=Limits(seconds=2)).status)
"""


def test_a_run_ends_in_silence_though_a_process_held_semaphores_and_another_was_killed_with_some(
    tmp_path: Path,
) -> None:
    """Python's keeper of semaphores would complain at the end of the run, of each that nobody gave back."""
    script = tmp_path / "script.py"
    script.write_text(HOLDING, encoding="utf-8")
    folders = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(worker.__file__).parents[2])])
    with tempfile.TemporaryDirectory() as short:  # as a temporary folder is: a socket has to lie in it
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": folders, "TMPDIR": short},
            capture_output=True,
            text=True,
            check=True,
        )
        assert list(Path(short).iterdir()) == []
    assert (done.stdout.split(), done.stderr) == (["ok", "timeout"], "")


def test_an_abort_is_a_crash_that_says_where(workers: Workers) -> None:
    outcome = workers.call("misbehaving:abort")
    assert outcome.status == "crashed"
    assert outcome.reason.startswith("died of SIGABRT while aborting, in misbehaving.py line")
    assert outcome.reason.endswith(", abort")
    assert "Fatal Python error" in outcome.log
    assert "/" not in outcome.reason


def test_leaving_without_a_word_is_a_crash(workers: Workers) -> None:
    outcome = workers.call("misbehaving:leave")
    assert (outcome.status, outcome.reason) == ("crashed", "left with exit code 3 and no result while starting")


def test_what_sleeps_for_ever_is_stopped_and_says_what_it_was_doing(workers: Workers) -> None:
    outcome = workers.call("misbehaving:sleep_for_ever", limits=Limits(seconds=1))
    assert (outcome.status, outcome.reason) == ("timeout", "not done after 1 s (--timeout), while sleeping")


def test_what_a_stopped_call_has_started_ends_with_it(workers: Workers, tmp_path) -> None:
    pids = tmp_path / "pids"
    assert workers.call("misbehaving:sleep_beside", pids, limits=Limits(seconds=1)).status == "timeout"
    assert all(wait_until(lambda pid=pid: gone(pid)) for pid in map(int, pids.read_text().split()))


def test_a_copy_of_a_process_that_has_ended_holds_up_nothing_and_ends_too(workers: Workers, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = workers.call("misbehaving:fork_and_leave", pids, limits=Limits(seconds=60))
    assert (outcome.status, outcome.reason) == ("crashed", "left with exit code 0 and no result while starting")
    assert outcome.seconds < 30
    assert len(outcome.outlived) == 1
    assert all(wait_until(lambda pid=pid: gone(pid)) for pid in map(int, pids.read_text().split()))


def test_of_a_process_that_comes_back_twice_one_goes_on(workers: Workers) -> None:
    outcome = workers.call("misbehaving:fork_and_return", limits=Limits(seconds=60))
    assert (outcome.status, outcome.value, outcome.outlived) == ("ok", 1, ())


@pytest.mark.skipif(sys.platform != "linux", reason="a daemon is found below its server on Linux alone")
@pytest.mark.parametrize("start", [None, "fork"])
def test_a_daemon_that_a_call_has_left_is_told_and_ended(tmp_path: Path, start: str | None) -> None:
    pids = tmp_path / "pids"
    outcome = Workers(start=start).call("misbehaving:leave_a_daemon", pids, limits=Limits(seconds=60))
    assert (outcome.status, outcome.value) == ("ok", 1)
    assert len(outcome.outlived) == 1
    assert gone(int(pids.read_text()))


def test_a_call_that_kills_its_parent_says_so_and_the_next_is_well(workers: Workers) -> None:
    outcome = workers.call("misbehaving:kill_parent", limits=Limits(seconds=60))
    assert outcome.status == "crashed"
    assert outcome.reason == "the process that had started it was killed while killing"
    assert workers.call("misbehaving:give", 1).status == "ok"


def test_a_call_apart_may_kill_its_parent_and_nobody_else(workers: Workers) -> None:
    outcome = Workers(start="fork", apart=True).call("misbehaving:kill_parent", limits=Limits(seconds=60))
    assert (outcome.status, outcome.reason) == ("crashed", "died of SIGKILL while killing")
    assert Workers(start="fork", apart=True).call("misbehaving:give", 1).status == "ok"


@pytest.mark.parametrize("first", [0, 3])
def test_a_call_that_closes_every_file_still_ends_with_its_value(workers: Workers, first: int) -> None:
    outcome = workers.call("misbehaving:close_descriptors", first, limits=Limits(seconds=60))
    assert (outcome.status, outcome.value) == ("ok", 1)


def test_what_is_left_in_the_place_of_the_last_message_and_is_none_is_said(workers: Workers) -> None:
    outcome = workers.call("misbehaving:leave_junk", limits=Limits(seconds=60))
    assert (outcome.status, outcome.reason) == ("error", "what it left in the place of its last message is none")


def test_what_is_no_message_is_an_error(workers: Workers) -> None:
    outcome = workers.call("misbehaving:write_everywhere", limits=Limits(seconds=60))
    reason = "something else was written to the pipe of its results while starting"
    assert (outcome.status, outcome.reason) == ("error", reason)
    assert workers.call("misbehaving:give", 1).status == "ok"


def test_what_a_call_says_is_kept_in_print_and_within_bounds(workers: Workers) -> None:
    outcome = workers.call("misbehaving:print_much")
    assert outcome.status == "error"
    assert outcome.reason.startswith(r"ValueError: \u001b]0;title\u0007yyy")
    assert "characters left out]" in outcome.reason
    assert "(misbehaving.py, line " in outcome.reason
    assert len(outcome.reason) < 1000
    assert outcome.log.startswith("[")
    assert "bytes of its log left out]" in outcome.log.splitlines()[0]
    assert len(outcome.log) < 30_000
    assert all(line.isprintable() for line in outcome.log.splitlines())


def test_a_log_that_grows_too_long_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOG_BYTES", 100)
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as stream:
        stream.write(b"x" * 101)
        worker._shorten(log)
        stream.write(b"after")
    assert log.read_bytes() == b"after"


@pytest.mark.parametrize(
    ("function", "status", "told"),
    [
        ("exit_politely", "crashed", "it ended its process by SystemExit: no licence (misbehaving.py, line "),
        ("ask", "error", "EOFError: EOF when reading a line (misbehaving.py, line "),
    ],
)
def test_who_ends_the_process_or_asks_its_user_is_told_with_the_line(
    workers: Workers, function: str, status: str, told: str
) -> None:
    outcome = workers.call(f"misbehaving:{function}")
    assert outcome.status == status
    assert outcome.reason.startswith(told)


def test_time_that_calls_before_it_have_taken_counts(workers: Workers) -> None:
    outcome = workers.call("misbehaving:sleep_for_ever", limits=Limits(seconds=1000, spent=999.5))
    assert (outcome.status, outcome.reason) == ("timeout", "not done after 1000 s (--timeout), while sleeping")
    assert outcome.seconds < 60


def test_memory_over_the_limit_is_out_of_memory(workers: Workers) -> None:
    outcome = workers.call("misbehaving:take_memory", limits=Limits(memory_bytes=900_000_000, seconds=60))
    assert outcome.status == "oom"
    assert outcome.reason.startswith("stopped while taking memory: ")
    assert "over the limit of 0.90 GB (--memory-limit)" in outcome.reason


def test_an_allocation_that_fails_is_out_of_memory(workers: Workers) -> None:
    outcome = workers.call("misbehaving:ask_for_too_much")
    assert outcome.status == "oom"
    assert "can't allocate memory" in outcome.reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), False),
        (ValueError("out of memory"), False),  # somebody's own word
    ],
)
def test_a_lack_of_memory_is_known_by_its_type_or_its_words(error: Exception, expected: bool) -> None:
    assert worker._is_out_of_memory(error) is expected


def test_an_exception_is_an_error_with_its_first_line_and_a_log(workers: Workers) -> None:
    outcome = workers.call("misbehaving:divide")
    lines = (Path(__file__).parents[1] / "misbehaving.py").read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if "of one by nothing" in text)
    reason = f"ZeroDivisionError: of one by nothing (misbehaving.py, line {line})"
    assert (outcome.status, outcome.reason) == ("error", reason)
    assert "before the fault" in outcome.log
    assert "on the other stream" in outcome.log
    assert "in divide" in outcome.log


def test_what_a_call_prints_does_not_reach_the_terminal(workers: Workers, capfd) -> None:
    workers.call("misbehaving:divide")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("function", "status"), [("diverge", "nan"), ("refuse", "skipped")])
def test_a_known_ending_has_its_own_status(workers: Workers, function: str, status: str) -> None:
    outcome = workers.call(f"misbehaving:{function}")
    assert outcome.status == status
    assert outcome.reason


def test_the_next_call_is_well_after_each_bad_ending(workers: Workers) -> None:
    for function in ("abort", "leave", "divide"):
        workers.call(f"misbehaving:{function}")
        assert workers.call("misbehaving:give", 1).status == "ok"


def test_in_process_calls_stay_in_this_process(workers: Workers) -> None:
    outcome = Workers(in_process=True).call("misbehaving:give", 42)
    assert outcome.value == (42, True, os.getpid())


def test_a_child_and_its_children_end_when_the_process_that_asked_is_killed(tmp_path) -> None:
    pids = tmp_path / "pids"
    program = (
        "from pathlib import Path\nfrom trainmark.measure.worker import Workers\n"
        f"if __name__ == '__main__':\n    Workers().call('misbehaving:sleep_beside', Path({str(pids)!r}))\n"
    )
    script = tmp_path / "caller.py"
    script.write_text(program)
    root, here = Path(__file__).parents[2], Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(here)])}
    caller = subprocess.Popen([sys.executable, str(script)], env=environment)
    assert wait_until(lambda: pids.exists() and pids.read_text(), 60)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert all(wait_until(lambda pid=pid: gone(pid)) for pid in map(int, pids.read_text().split()))


def test_a_process_killed_by_the_kernel_for_memory_is_out_of_memory() -> None:
    assert worker.explain_death(-signal.SIGKILL, "training", "", kernel_killed=True) == (
        "oom",
        "killed by the kernel for want of memory while training",
    )
    assert worker.explain_death(-signal.SIGKILL, "training", "", kernel_killed=False)[0] == "crashed"


def test_a_machine_with_no_memory_left_stops_the_call(monkeypatch) -> None:
    memory = psutil.virtual_memory()._replace(available=1_000_000, total=100_000_000)
    monkeypatch.setattr(worker.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(worker, "_cgroup_memory", lambda: ())
    assert "only 0.00 GB left of 0.10 GB" in worker._memory_excess(psutil.Process(), Limits())


def test_the_limit_of_a_control_group_counts(monkeypatch, tmp_path) -> None:
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.current").write_text("999000000\n")
    monkeypatch.setattr(worker, "CGROUP", tmp_path)
    assert "only 0.00 GB left of 1.00 GB" in worker._memory_excess(psutil.Process(), Limits())
    (tmp_path / "memory.max").write_text("max\n")
    assert list(worker._cgroup_memory()) == []


@pytest.mark.parametrize("asked", [None, "7"])
def test_strings_are_hashed_alike_in_every_run_unless_the_user_says_otherwise(asked: str | None) -> None:
    code = (
        "from pathlib import Path\n"
        "from trainmark.measure.worker import Workers\n"
        "if __name__ == '__main__':\n"
        "    print(Workers(Path.cwd()).call('tests.misbehaving:hash_a_word').value)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    seeded = {} if asked is None else {"PYTHONHASHSEED": asked}

    def said(*command: str, **variables: str) -> str:
        root = Path(__file__).parents[2]
        done = subprocess.run(
            command, cwd=root, env={**environment, **variables}, check=True, capture_output=True, text=True
        )
        return done.stdout

    found = said(sys.executable, "-c", code, **seeded)
    assert found == said(sys.executable, "-c", "print(hash('a word'))", PYTHONHASHSEED=asked or "0")
