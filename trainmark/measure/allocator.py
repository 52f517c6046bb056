"""The C allocator of a cell's process: it keeps what is freed, so that a step meets the same memory each time."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h
LARGEST_ON_HEAP = 32 * 2**20  # where glibc's own threshold, which moves as blocks are freed, ends


def keep_freed_memory() -> bool:
    """Lets glibc keep the freed end of its heap, and keep blocks up to LARGEST_ON_HEAP there.

    Left alone it may give that memory back at every step and fetch the same pages again in the
    next: that depends on where the heap happens to end, and makes the same step up to 20% slower
    in one process than in another (docs/measuring.md, "The allocator"). Larger blocks come from
    the system singly and go back to it, as they do by default.

    Returns:
        Whether it was done; False where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(TRIM_THRESHOLD, -1)) and bool(libc.mallopt(MMAP_THRESHOLD, LARGEST_ON_HEAP))
