"""How every kernel of the fast engine is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def kernel(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compiles a function at its first call, and keeps the machine code on the disk for the next process.

    It runs without the interpreter's lock, so threads run side by side. Indices in kernels are
    unsigned: for a signed one Numba also looks whether it counts from the end, which took a third
    of the time of a radix pass.
    """
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder to keep it in: neither beside the source nor in the user's cache
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return cast("Callable[Arguments, Result]", compiled)
