"""What the lecture teaches of n-gram models, on a text: few n-grams are seen, and more text helps slowly.

    python docs/evidence/sparsity.py TEXT [TOKENS ...]

The last tenth of the sentences is held out. Prints how many n-grams of each order are seen and how many there could
be, how large the share of held-out n-grams is that was never seen after so many tokens of the rest, how the table grows,
and a sentence made by each order; docs/ngram.md quotes it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.corpora import write_corpus
from bench.failures import UnsupportedError
from bench.settings import Corpus, DataPlaces
from models.ngram import NgramModel, fit

ORDERS = range(1, 7)
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
LECTURE_VOCABULARY = 50_000  # words: the lecture's example of what a trigram model would have to know
SAMPLES, WORDS = 2, 25  # sentences of each order, and their words at most


def main(path: Path, sizes: list[int]) -> None:
    with TemporaryDirectory() as folder:
        whole = prepared(path, 0, Path(folder))
        assert whole.held_out is not None
        held_out = whole.held_out.read_text(encoding="utf-8")
        model = fit([whole.path], ORDERS[-1])
        print(f"{path.name}: {whole.tokens:,} tokens fitted, {whole.held_out_tokens:,} held out\n")
        print_sparsity(model)
        print("\n| tokens fitted | words | n-grams, orders 1 to 3 | MB | unseen bigrams | unseen trigrams | unknown words |")
        print("|---|---|---|---|---|---|---|")
        for size in sizes:
            if size < whole.tokens:
                print_growth(prepared(whole.path, size, Path(folder), split=False), held_out)
        print_growth(whole, held_out)
    print()
    for order in ORDERS:
        for seed in range(SAMPLES):
            print(f"- order {order}: {' '.join(sampled(path, order, seed))}")


def prepared(path: Path, tokens: int, folder: Path, split: bool = True) -> Corpus:
    places = DataPlaces(corpora={path.name: path})
    return write_corpus(path.name, tokens, split, places, folder, lambda _: None, folder)
