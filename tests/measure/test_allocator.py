"""Memory that a step frees is there for the next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from trainmark.measure.allocator import keep_freed_memory

FAULTS = """
import ctypes, resource
from trainmark.measure.allocator import keep_freed_memory
if {keep}: assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def step():
    block = libc.malloc(30_000_000)
    ctypes.memset(block, 1, 30_000_000)
    libc.free(block)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_was_freed_is_met_again_without_a_page_fault() -> None:
    left_alone, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in (False, True)
    )
    assert left_alone >= 30_000_000 // (2 << 20)  # one a page, at the largest page there is
    assert kept <= 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
