"""Texts for the tests: random ones to find what nobody thought of, and one that every machine makes alike."""

from __future__ import annotations

import random

from hypothesis import strategies as st

# Few words, so that n-grams repeat; sentences may be empty, and texts be a single word.
SENTENCES = st.lists(st.lists(st.sampled_from("abcdeäß") | st.just("<unk>"), max_size=7), min_size=1, max_size=30)


def made_sentences(seed: int, sentences: int) -> list[list[str]]:
    """Sentences of some 190 words, of which few are frequent, and which depend on the word before."""
    draw = random.Random(seed).random  # the one method whose numbers Python promises to keep
    made = []
    for _ in range(sentences):
        words: list[str] = []
        while draw() < 0.9 and len(words) < 30:
            rank = int(1 / (draw() + 0.002))
            free = draw() < 0.6
            words.append(f"w{rank if free else (rank * 3 + len(words[-1] if words else '')) % 97}")
        made.append(words)
    return made
