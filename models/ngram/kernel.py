"""How every kernel of the fast engine is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def kernel(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compiles a function at its first call, and keeps the machine code on the disk for the next process.

    It runs without the interpreter's lock, so threads run side by side. Indices in kernels are
    unsigned: for a signed one Numba also looks whether it counts from the end, which took a third
    of the time of a radix pass.
    """
    compiled: Callable[Arguments, Result] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled
