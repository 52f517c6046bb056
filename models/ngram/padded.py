"""A piece of text with memory after it, so that whole blocks of bytes can be looked at up to its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING = 128  # bytes after a text: two blocks of 64


@dataclass(frozen=True)
class Padded:
    """A text.

    Attributes:
        memory: [at least size + PADDING] uint8; what lies after the text means nothing.
        size: Bytes of the text.
    """

    memory: NDArray[np.uint8]
    size: int

    @classmethod
    def of(cls, text: bytes) -> Padded:
        """A copy of a text."""
        memory = bytearray(text) + bytes(PADDING)  # as a file is read into, so that a kernel is compiled for one kind
        return cls(np.frombuffer(memory, np.uint8), len(text))

    @property
    def text(self) -> NDArray[np.uint8]:
        """[size] uint8."""
        return self.memory[: self.size]

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return self.text.tobytes()

    def without(self, bytes_before: int) -> Padded:
        """The text from its byte of that number on."""
        return Padded(self.memory[bytes_before:], self.size - bytes_before)
