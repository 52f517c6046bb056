"""What the lecture says of sequences, computed: its examples, n-grams on a real text, and what a model needs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from bench.lecture.convolutions import STAGES, seen_pixels
from bench.lecture.findings import Claim, checked
from bench.ngram.corpora import HELD_OUT_SHARE, pydoc_sentences
from models import MODELS
from models.ngram import NgramModel, fit
from models.ngram.fitting import encode_with
from models.ngram.kneser_ney import FallbackDiscountsWarning
from models.ngram.levels import MAX_ORDER
from models.ngram.next_words import next_words
from models.ngram.text import read_views

TEXT = "Python's own help"
LONG = "the cat that i saw yesterday at the park near the river was orange"
STUDENTS = ("books", "laptops", "elephants")  # after "the students opened their", likely to unlikely
COMMAND = 'python -m models.ngram next MODEL "the students opened their"'


def sequence_claims() -> Iterator[Claim]:
    """In the order of the lecture."""
    sentences = list(pydoc_sentences())
    kept = round(len(sentences) * (1 - HELD_OUT_SHARE))
    text, held_out = b"".join(sentences[:kept]), b"".join(sentences[kept:])
    plain, smoothed = fitted(text, 3), fitted(text, 3, "kneser-ney")
    yield from _properties(sentences)
    yield _students(smoothed)
    yield from _short_contexts(smoothed, held_out)
    yield from _sparsity(plain, smoothed, held_out)
    yield from _needs_of_ngrams()
    yield from _needs_of_cnns()


def fitted(text: bytes, order: int, smoothing: str = "mle") -> NgramModel:
    """A model of a text; tiny ones have no discounts of their own, which is no matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackDiscountsWarning)
        return fit(text, order, smoothing=smoothing)


def sentence_probability(model: NgramModel, sentence: str) -> float:
    """Of a sentence from its beginning to its end."""
    words, product = ["<s>", *sentence.split(), "</s>"], 1.0
    for place in range(1, len(words)):
        product *= model.probability(words[place], words[:place])
    return product


def _properties(sentences: list[bytes]) -> Iterator[Claim]:
    pair = ("dog bites man", "man bites dog")
    text = "\n".join([pair[0]] * 3 + [pair[1]]).encode() + b"\n"
    one, two = fitted(text, 1), fitted(text, 2)
    unordered = [sentence_probability(one, sentence) for sentence in pair]
    ordered = [sentence_probability(two, sentence) for sentence in pair]
    yield Claim(
        "Sequences",
        "Order matters: 'Dog bites man' is not 'Man bites dog'",
        "two probabilities",
        " and ".join(f"{value:.3f}" for value in ordered),
        "holds" if ordered[0] != ordered[1] else "fails",
        f"By pairs of words, after reading the first three times and the second once; by single words both have "
        f"{unordered[0]:.3f}.",
    )
    lengths = [len(sentence.split()) for sentence in sentences]
    yield Claim(
        "Sequences",
        "Sentences have different numbers of words",
        "more than one length",
        f"{min(lengths)} to {max(lengths)} words",
        "holds" if len(set(lengths)) > 1 else "fails",
        f"{len(sentences):,} sentences of {TEXT}.",
    )
    words = LONG.split()
    distance = words.index("was") - words.index("cat")
    yield checked(
        "Sequences",
        "'The cat that I saw … was orange' joins words that are far apart",
        "farther than our longest n-grams reach",
        f"{'farther than' if distance > MAX_ORDER - 1 else 'as far as'} our longest n-grams reach",
        f"'was' is {distance} words after 'cat'; an n-gram of order {MAX_ORDER} sees {MAX_ORDER - 1} words back.",
    )


def _students(model: NgramModel) -> Claim:
    said = "After 'The students opened their': books is likely, laptops less, elephants unlikely"
    expected = " > ".join(STUDENTS)
    context = "the students opened their"
    known = [word for word in STUDENTS if word in model.vocabulary.ids]
    likely = ", ".join(f"{word} {share:.1%}" for word, share in next_words(model, context, 5))
    note = f"By Kneser-Ney of order {model.order} on {TEXT} most likely: {likely}. On a text of your own: {COMMAND}"
    if len(known) < len(STUDENTS):
        missing = ", ".join(word for word in STUDENTS if word not in known)
        return Claim("Language model", said, expected, f"no {missing} in the text", "not checked", note)
    shares = [model.probability(word, context) for word in STUDENTS]
    found = ", ".join(f"{word} {share:.2g}" for word, share in zip(STUDENTS, shares, strict=True))
    verdict = "holds" if shares == sorted(shares, reverse=True) and len(set(shares)) == len(shares) else "fails"
    return Claim("Language model", said, expected, found, verdict, note)


def _short_contexts(smoothed: NgramModel, held_out: bytes) -> Iterator[Claim]:
    ids = encode_with(smoothed.vocabulary, read_views(held_out))
    perplexity, words = smoothed.score(ids).perplexity(), len(smoothed.vocabulary)
    yield Claim(
        "N-grams",
        "N-grams work reasonably well for short contexts",
        f"far better than guessing among {words:,} words",
        f"perplexity {perplexity:,.0f}",
        "holds" if perplexity < words / 10 else "fails",
        f"Of the last tenth of {TEXT}, by Kneser-Ney of order {smoothed.order} on the rest; guessing has {words:,}.",
    )


def _sparsity(plain: NgramModel, smoothed: NgramModel, held_out: bytes) -> Iterator[Claim]:
    elephants = "the purple flower\nthe grey elephant\n" * 5
    exact, spread = fitted(elephants.encode(), 3), fitted(elephants.encode(), 3, "kneser-ney")
    yield checked(
        "N-grams",
        "P(elephant | the purple) = 0 where it was never seen",
        "0",
        f"{exact.probability('elephant', 'the purple'):g}",
        f"By counts alone, as the lecture has it; with Kneser-Ney it is "
        f"{spread.probability('elephant', 'the purple'):.2f}.",
    )
    yield checked("N-grams", "50,000 words have 1.25e14 trigrams", "1.25e+14", f"{50_000**3:.3g}")
    seen, possible = len(plain.counts.levels[2]), plain.possible[2]
    yield Claim(
        "N-grams",
        "A corpus covers a tiny fraction of the trigrams",
        "less than 1 in 1,000",
        f"1 in {possible / seen:,.0f}",
        "holds" if seen / possible < 1e-3 else "fails",
        f"{seen:,} of {possible:.3g} in {TEXT}, {plain.counts.count([]):,} tokens.",
    )
    ids = encode_with(plain.vocabulary, read_views(held_out))
    scores = plain.score(ids)
    unseen, without, smooth = scores.unseen_share(3), scores.perplexity(), smoothed.score(ids).perplexity()
    yield Claim(
        "N-grams",
        "N-grams memorise and do not generalise",
        "most new trigrams are unseen",
        f"{unseen:.0%} unseen",
        "holds" if unseen > 0.5 else "fails",
        f"Trigrams of the last tenth of {TEXT} that the rest does not have. Smoothing gives each of them some "
        f"probability: perplexity {'infinite' if without == math.inf else f'{without:,.0f}'} without, {smooth:,.0f} "
        "with it.",
    )


def _needs_of_ngrams() -> Iterator[Claim]:
    """Numbered as the lecture numbers what sequence models need."""
    lengths = (1, 5, 50)
    scored = fitted(b"a a a\na\n", 2)
    finite = [length for length in lengths if sentence_probability(scored, " ".join("a" * length)) > 0]
    yield checked(
        "Needs",
        "N-grams fail at (1), sequences of variable length",
        "no probability for some lengths",
        "no probability for some lengths" if len(finite) < len(lengths) else "a probability for each length",
        f"Of sentences of {', '.join(map(str, lengths))} words. What is fixed is the context, which is need (2).",
    )
    text = b"the cat near the river was orange\nthe cats near the river were orange\n"
    model = fitted(text, 3)
    shares = [model.probability("was", f"{subject} near the river") for subject in ("the cat", "the cats")]
    yield checked(
        "Needs",
        "N-grams fail at (2), long-range dependencies",
        "'was' as likely after 'the cats … river' as after 'the cat … river'",
        f"'was' {'as' if shares[0] == shares[1] else 'not as'} likely after 'the cats … river' as after "
        "'the cat … river'",
        f"By trigrams of both sentences: {shares[0]:.2f} and {shares[1]:.2f}.",
    )
    apart = _by_gradient_descent()
    yield Claim(
        "Needs",
        "N-grams fail at (3), training by gradient descent",
        "no gradient leads to their counts",
        f"within {apart:.3f} of them",
        "fails" if apart < 0.01 else "holds",
        "Counting needs none; but a table of logits, trained by cross-entropy, comes to the same P(next | word).",
    )


def _by_gradient_descent() -> float:
    """How far a table of logits, trained on the lecture's pairs of words, stays from the counts' probabilities."""
    words = torch.tensor([50.0, 30.0, 920.0])  # what follows "the"
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (-(words / words.sum()) * F.log_softmax(logits, 0)).sum().backward()
        optimizer.step()
    return (logits.detach().softmax(0) - words / words.sum()).abs().max().item()


def _needs_of_cnns() -> Iterator[Claim]:
    torch.manual_seed(0)
    model = MODELS["cnn"].build()
    larger = torch.zeros(1, 3, 40, 40)
    try:
        model(larger)
        refused = "takes an image of 40x40"
    except RuntimeError:
        refused = "refuses an image of 40x40"
    features = nn.Sequential(*(layer for layer in model.children() if isinstance(layer, nn.Conv2d | nn.MaxPool2d)))
    sides = "x".join(map(str, features(larger).shape[2:]))
    yield checked(
        "Needs",
        "CNNs are limited on (1), inputs of variable size",
        "refuses an image of 40x40",
        refused,
        f"Its dense layers know one size; its convolutions alone give {sides} places.",
    )
    seen = seen_pixels(MODELS["cnn"].build(), STAGES["later"])
    yield Claim(
        "Needs",
        "CNNs are limited on (2): a fixed receptive field",
        "less than the image's 32 pixels",
        f"{seen} pixels",
        "holds" if seen < 32 else "fails",
        "That a place at the end of the CNN's features can depend on.",
    )
    F.cross_entropy(model(torch.rand(4, 3, 32, 32)), torch.arange(4)).backward()
    led = [parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in model.parameters()]
    yield checked(
        "Needs",
        "CNNs handle (3), training by gradient descent",
        "a finite gradient for 8 of 8 parameters",
        f"a finite gradient for {sum(led)} of {len(led)} parameters",
    )
    layer, x = nn.Conv2d(3, 32, 3), torch.rand(2, 3, 32, 32)
    columns = F.unfold(x, 3)  # [B, C*K*K, H*W]
    product = (layer.weight.flatten(1) @ columns + layer.bias.view(-1, 1)).view(2, 32, 30, 30)  # type: ignore[union-attr]
    yield checked(
        "Needs",
        "CNNs handle (4): they are parallel",
        "one matrix product for all places",
        "one matrix product for all places" if torch.allclose(product, layer(x), atol=1e-5) else "something else",
        "No place waits for another: conv2d is the product of all kernels with all windows.",
    )
