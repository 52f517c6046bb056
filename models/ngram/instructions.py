"""What a kernel may do beside Python: instructions by name; :mod:`models.ngram.intrinsics` says what each one is."""

from __future__ import annotations

from typing import Any


class Instruction:
    """A machine instruction that kernels call; only compiled code can.

    Args:
        name: Of the intrinsic.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> Any:
        """Is compiled into kernels; Python itself cannot do it."""
        raise TypeError(f"{self.name} is compiled into kernels, and nothing else can call it")


prefetch = Instruction("prefetch")
load_eight = Instruction("load_eight")
store_eight = Instruction("store_eight")
uint32_at = Instruction("uint32_at")
int64_at = Instruction("int64_at")
trailing_zeros = Instruction("trailing_zeros")
at_most = Instruction("at_most")
equal_to = Instruction("equal_to")
add = Instruction("add")
exchange = Instruction("exchange")
