"""What the lecture teaches of n-gram models, on a text: few n-grams are ever seen, and more text helps slowly.

    python docs/evidence/sparsity.py TEXT [TOKENS ...]

The last tenth of the sentences is held out. Prints how many n-grams of each order are seen and how many there could
be; for the first so many tokens of the rest, how the table grows and which share of the held-out n-grams was never
seen; and sentences made by models of each order. docs/ngram.md quotes it.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from bench.ngram.corpora import Corpus, write_corpus
from models.ngram import NgramModel, fit
from models.ngram.fitting import encode_with
from models.ngram.levels import BOUNDARY, UNKNOWN
from models.ngram.text import read_views

ORDER = 6
GROWING_ORDER = 3
SIZES = (10_000, 100_000, 1_000_000)
LECTURE_WORDS = 50_000  # the lecture's example of a vocabulary
SAMPLES, LONGEST = 2, 25  # sentences of each order, and words of one


def main(path: Path, sizes: list[int]) -> None:
    with TemporaryDirectory() as folder:
        whole = prepared(path, 0, Path(folder), split=True)
        assert whole.held_out is not None, "a part is held out"
        print(f"{path.name}: {whole.tokens:,} tokens fitted, {whole.held_out_tokens:,} held out\n")
        model = fit([whole.path], ORDER)
        print_sparsity(model)
        ids = encode_with(model.vocabulary, read_views([whole.path]))
        ids = np.concatenate([[np.int32(BOUNDARY)], ids])  # the first sentence begins as the others do, after an end
        generator = np.random.default_rng(0)
        for order, _ in product(range(1, ORDER + 1), range(SAMPLES)):
            print(f"- order {order}: {' '.join(sentence(model, ids, order, generator))}")
        print("\n| tokens fitted | words | n-grams of orders 1 to 3 | MB | unseen: words | bigrams | trigrams |")
        print("|---|---|---|---|---|---|---|")
        for size in sizes:
            if size < whole.tokens:
                print_growth(prepared(whole.path, size, Path(folder), split=False), whole.held_out)
        print_growth(whole, whole.held_out)


def prepared(path: Path, tokens: int, folder: Path, split: bool) -> Corpus:
    return write_corpus(path.name, tokens, split, path, folder, lambda _: None, folder)


def print_sparsity(model: NgramModel) -> None:
    print("| order | seen | possible | seen of possible | seen once |")
    print("|---|---|---|---|---|")
    for order, (level, possible) in enumerate(zip(model.counts.levels, model.possible, strict=True), start=1):
        once = (level.counts == 1).sum() / len(level)
        seen = len(level) - (1 + UNKNOWN) * (order == 1)  # the boundary and <unk> are no words
        print(f"| {order} | {seen:,} | {possible:.3g} | {seen / possible:.2g} | {once:.1%} |")
    print(f"\nOf the lecture's {LECTURE_WORDS:,} words {float(LECTURE_WORDS**3):.3g} trigrams can be made.\n")


def print_growth(corpus: Corpus, held_out: Path) -> None:
    model = fit([corpus.path], GROWING_ORDER)
    scores = model.score(encode_with(model.vocabulary, read_views([held_out])))
    unseen = [float(scores.unknown.mean()), *(scores.unseen_share(order) for order in range(2, GROWING_ORDER + 1))]
    levels = model.counts.levels
    fields = (f"{corpus.tokens:,}", f"{len(levels[0]) - 1 - UNKNOWN:,}", f"{sum(map(len, levels)):,}")
    fields += (f"{sum(level.nbytes for level in levels) / 1e6:.1f}", *(f"{share:.1%}" for share in unseen))
    print(f"| {' | '.join(fields)} |")


def sentence(model: NgramModel, ids: NDArray[np.int32], order: int, generator: np.random.Generator) -> list[str]:
    """Words as the lecture's model draws them: each is what follows a random occurrence of the ones before it."""
    words = [BOUNDARY]
    while len(words) <= LONGEST:
        context = words[max(0, len(words) - order + 1) :]
        last = len(ids) - len(context)
        occurs = np.ones(last, bool)
        for shift, word in enumerate(context):
            occurs &= ids[shift : shift + last] == word
        words.append(int(ids[len(context) + generator.choice(np.flatnonzero(occurs))]))
        if words[-1] == BOUNDARY:
            return [model.vocabulary[word] for word in words[1:-1]]
    return [*(model.vocabulary[word] for word in words[1:]), "…"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]] or list(SIZES))
