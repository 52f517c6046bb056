"""The C allocator of a cell's process: it keeps what is freed, so that a step meets the same memory each time."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt, from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Lets glibc neither give freed memory back to the system nor take large blocks from it singly.

    Left alone it may do so at every step, and fetch the same pages again in the next: that depends
    on where the heap happens to end, and makes the same step up to 20% slower in one process than
    in another (docs/measuring.md, "The allocator").

    Returns:
        Whether it was done; False where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(TRIM_THRESHOLD, -1)) and bool(libc.mallopt(MMAP_MAX, 0))
