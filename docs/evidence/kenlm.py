"""Are our Kneser-Ney models KenLM's? Needs its programs lmplz and query on the PATH.

python docs/evidence/kenlm.py TEXT HELD_OUT [ORDER]

First the text, by both: discounts, the largest difference of a logarithm, the perplexity of the
held-out text, and that of our ARPA file by KenLM and of KenLM's by us. Then 300 random texts of a few
words by the oracle in dictionaries, against lmplz: as it is, and with lmplz's one slip repeated (it
takes the raw count of the last n-gram of each lower order for its adjusted one when it counts counts).
"""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from models.ngram import NgramModel, fit, oracle
from models.ngram.arpa import read_arpa, write_arpa
from models.ngram.fitting import encode_with
from models.ngram.kneser_ney import FallbackDiscountsWarning
from models.ngram.text import read_views

TEXTS = 300
SAME = 1e-5  # base-10 logarithms: ARPA files have seven digits


def main(text: Path, held_out: Path, order: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        theirs_file, ours_file = Path(folder, "kenlm.arpa"), Path(folder, "ours.arpa")
        told = lmplz(text.read_bytes(), order, theirs_file)
        theirs, ours = read_arpa(theirs_file), fit(text, order, smoothing="kneser-ney")
        write_arpa(ours, ours_file)
        print(f"{ours.counts.tokens:,} tokens, order {order}; discounts by lmplz and by us")
        print("\n".join(re.findall(r"^\d+ \d+ D1=.*$", told, re.MULTILINE)))
        print(ours.discounts)
        for level, (one, other) in enumerate(zip(ours.estimates, theirs.estimates, strict=True), start=1):
            apart = max(
                np.abs(getattr(one, part) - getattr(other, part)).max() / math.log(10)
                for part in ("log_probabilities", "log_backoffs")
            )
            print(f"{len(one.log_probabilities):,} {level}-grams, base-10 logarithms at most {apart:.1e} apart")
        print("perplexity with unknown words and without")
        print(f"  our model by us        {perplexities(ours, held_out)}")
        print(f"  KenLM's model by KenLM {query(theirs_file, held_out)}")
        print(f"  our model by KenLM     {query(ours_file, held_out)}")
        print(f"  KenLM's model by us    {perplexities(theirs, held_out)}")
    random_texts()


def lmplz(text: bytes, order: int, output: Path) -> str:
    """Writes KenLM's model, and gives what lmplz said."""
    done = subprocess.run(
        ["lmplz", "-o", str(order), "-S", "1G", "--discount_fallback", "--arpa", str(output)],
        input=text,
        capture_output=True,
        check=True,
    )
    return done.stderr.decode()


def query(model: Path, held_out: Path) -> list[str]:
    done = subprocess.run(["query", str(model)], input=held_out.read_bytes(), capture_output=True, check=True)
    return re.findall(r"cluding OOVs:\s+([\d.]+)", done.stdout.decode())


def perplexities(model: NgramModel, held_out: Path) -> list[str]:
    scores = model.score(encode_with(model.vocabulary, read_views(held_out)))
    return [f"{scores.perplexity(unknown=unknown):.6f}" for unknown in (True, False)]


def random_texts() -> None:
    draw = random.Random(1)
    apart, with_slip = [], []
    for _ in range(TEXTS):
        order, words = draw.randint(2, 6), draw.randint(1, 12)
        sentences = [
            [chr(ord("a") + draw.randrange(words)) for _ in range(draw.randint(0, draw.choice([2, 8])))]
            for _ in range(draw.randint(1, 200))
        ]
        with tempfile.NamedTemporaryFile() as file:
            lmplz("".join(" ".join(sentence) + "\n" for sentence in sentences).encode(), order, Path(file.name))
            theirs = read_arpa(Path(file.name))
        apart.append(largest_difference(theirs, oracle.smooth(sentences, order)))
        with_slip.append(largest_difference(theirs, with_lmplz_slip(sentences, order)))
    for what, differences in (("as it is", apart), ("with the slip", with_slip)):
        same = sum(difference < SAME for difference in differences)
        print(f"random texts, {what}: {same} of {TEXTS} the same; largest difference {max(differences):.1e}")


def largest_difference(theirs: NgramModel, ours: oracle.Smoothed) -> float:
    return max(
        abs(math.log10(theirs.probability(ngram[-1], ngram[:-1])) - math.log10(probability))
        for ngram, probability in ours.probabilities.items()
    )


def with_lmplz_slip(sentences: list[list[str]], order: int) -> oracle.Smoothed:
    """The oracle, made to count counts as lmplz does."""
    counts = oracle._count(sentences, order)
    ids = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for sentence in sentences:
        for word in sentence:
            ids.setdefault(word, len(ids))
    windows = [ngram for level in counts for ngram in level if len(ngram) == order or ngram[0] == "<s>"]
    last = max(windows, key=lambda ngram: [*(ids[word] for word in reversed(ngram)), *[1] * (order - len(ngram))])
    raw = {ngram: level[ngram] for level in counts[:-1] for ngram in level if ngram == last[-len(ngram) :]}
    discounts = oracle._discounts
    try:
        oracle._discounts = lambda level: discounts({**level, **{ngram: raw[ngram] for ngram in level.keys() & raw}})
        return oracle.smooth(sentences, order)
    finally:
        oracle._discounts = discounts


if __name__ == "__main__":
    warnings.simplefilter("ignore", FallbackDiscountsWarning)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
