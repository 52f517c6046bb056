"""The words of a model and their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SPECIAL = ("</s>", "<unk>")  # ids 0 and 1, see counts.BOUNDARY and counts.UNKNOWN
UNKNOWN_WORDS = ("<unk>", "<UNK>")  # what stands for an unknown word: KenLM reads both as one


@dataclass(frozen=True)
class Vocabulary:
    """Words by id, in the order in which the text first has them.

    Attributes:
        text: [bytes] uint8, all words in UTF-8, one after the other.
        ends: [ids] int64, where each ends; it begins where the one before ends.
    """

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """The vocabulary of these words: the first has id 2, after ``</s>`` and ``<unk>``."""
        return cls.of_encoded([word.encode() for word in words])

    @classmethod
    def of_encoded(cls, words: Sequence[bytes]) -> Vocabulary:
        """The same of words in UTF-8."""
        encoded = [*(word.encode() for word in SPECIAL), *words]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[str]:
        data, begin = self.text.tobytes(), 0
        for end in self.ends.tolist():
            yield data[begin:end].decode()
            begin = end

    def __getitem__(self, index: int) -> str:
        """The word with that id.

        Raises:
            IndexError: No word has it.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"no word has id {index}: they are 0 to {len(self) - 1}")
        begin = int(self.ends[index - 1]) if index else 0
        return self.text[begin : self.ends[index]].tobytes().decode()

    def holds(self, word: str) -> bool:
        """Whether it is one of the words; without a dictionary of all."""
        sought = np.frombuffer(word.encode(), np.uint8)
        lengths = np.diff(self.ends, prepend=0)
        begins = (self.ends - lengths)[lengths == len(sought)]
        return bool((self.text[begins[:, np.newaxis] + np.arange(len(sought))] == sought).all(axis=1).any())

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word -> id; ``<s>`` and ``</s>`` both have 0."""
        return {word: number for number, word in enumerate(self)} | {"<s>": 0}

    def id(self, word: str) -> int:
        """The id of a word; of an unknown one that of ``<unk>``."""
        return self.ids.get(word, 1)

    def encode(self, words: Sequence[str]) -> NDArray[np.int32]:
        """[words] int32: their ids."""
        return np.fromiter((self.id(word) for word in words), np.int32, len(words))
