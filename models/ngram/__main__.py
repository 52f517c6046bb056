"""An n-gram model, without a line of Python: python -m models.ngram {fit,score,sample,next,export}.

What one command needs and another one does not is imported by it: a command begins in a fifth of a second.
"""

from __future__ import annotations

import argparse
import errno
import io
import math
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.ngram import kernel
from models.ngram.arpa_format import ArpaError, check_writable
from models.ngram.counting_progress import Progress
from models.ngram.fitting import ENGINES, SettingsError, encode_with, fit
from models.ngram.kneser_ney import FallbackDiscountsWarning
from models.ngram.language_model import SMOOTHINGS, NgramModel
from models.ngram.levels import BOUNDARY, MAX_ORDER, UNKNOWN
from models.ngram.next_words import next_words
from models.ngram.padded import Padded
from models.ngram.sampling import MAX_WORDS, NothingFollows, sample
from models.ngram.scoring import Scores, exponential
from models.ngram.spilling import MemoryTooSmall
from models.ngram.stored_arrays import ModelFileError
from models.ngram.text import SPACE, CorpusError, TextOptions, read_views

FINE, USAGE = 0, 2
INTERRUPTED, TERMINATED, BROKEN_PIPE = (128 + number for number in (2, 15, 13))  # what a shell gives for these signals
REFRESH_SECONDS = 0.1  # of the line that says how far it is
LEAST_LEFT = 1.0  # seconds: what is less is over before it is read
SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MODEL = "a folder that fit has written, or an ARPA file (also .gz, .xz, .zst)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 fine, 2 for what the user can mend, 128 and more for signals."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "fit" and not (options.output or options.arpa):
        parser.error("fit has nothing to write: give -o/--output MODEL, --arpa FILE, or both")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a sign shows the rest
    commands = {"fit": _fit, "score": _score, "sample": _sample, "next": _next, "export": _export}
    try:
        commands[options.command](options)
        sys.stdout.flush()
    except (ArpaError, CorpusError, MemoryTooSmall, ModelFileError, NothingFollows, SettingsError) as error:
        return _refused(str(error))
    except MemoryError:
        advice = (
            ": fit has --memory, --min-count and --max-vocabulary for large texts" if options.command == "fit" else ""
        )
        return _refused(f"memory does not suffice{advice}")
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return BROKEN_PIPE
    except OSError as error:
        return _refused(f"{error.filename2 or error.filename or 'the output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return FINE


def _refused(message: str) -> int:
    print(f"{_visible(message).removesuffix('.')}.", file=sys.stderr)
    return USAGE


def _visible(text: str) -> str:
    """A text of others, such as a file's name or its words, without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _fit(options: argparse.Namespace) -> None:
    folder: Path | None = options.output
    arpa: Path | None = options.arpa
    _check_outputs(folder, arpa, options.smoothing)  # now, not after hours
    begun = time.perf_counter()
    with _progress("tokens") as progress, _warnings_in_a_line():
        model = fit(
            options.source,
            options.order,
            smoothing=options.smoothing,
            alpha=options.alpha,
            engine=options.engine,
            device=options.device,
            threads=options.threads,
            options=TextOptions(options.lower, options.punctuation, options.characters, not options.no_sentences),
            min_count=options.min_count,
            max_vocabulary=options.max_vocabulary,
            memory=options.memory,
            progress=progress,
        )
        seconds = time.perf_counter() - begun
    with _progress("n-grams") as progress:
        if arpa:
            from models.ngram.arpa_writing import write_arpa

            write_arpa(model, arpa, progress, options.threads)
        if folder:
            from models.ngram.storage import save

            if progress:
                progress("saving", 0, 0)
            save(model, folder, options.threads)
    written = " and ".join(str(path) for path in (folder, arpa) if path)
    print(f"{written}: {_described(model)}, fitted in {seconds:.1f} s ({_stages(model)})")


def _check_outputs(folder: Path | None, arpa: Path | None, smoothing: str) -> None:
    """Refuses to write over what is there and is none of ours, and models that no ARPA file holds."""
    if folder:
        from models.ngram.storage import check_replaceable

        check_replaceable(folder)
    if arpa:
        check_writable(smoothing)
        if arpa.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(arpa))


def _described(model: NgramModel) -> str:
    tokens, words = model.counts.count([]), len(model.vocabulary) - UNKNOWN - 1
    ngrams = ", ".join(f"{len(level):,} {order}-grams" for order, level in enumerate(model.counts.levels[1:], start=2))
    cut_off = int(model.counts.levels[0].counts[UNKNOWN])
    parts = [f"{tokens:,} tokens", f"{words:,} words", *([ngrams] if ngrams else [])]
    return ", ".join([*parts, f"{cut_off:,} tokens unknown"] if cut_off else parts)


def _stages(model: NgramModel) -> str:
    return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in model.seconds.items())


def _score(options: argparse.Namespace) -> None:
    model = _model(options.model)
    with _progress("bytes") as progress:
        ids = encode_with(model.vocabulary, _told(read_views(options.text, model.options), progress))
    scores = model.score(ids, options.threads)
    print("\n".join(_sentence_lines(scores, ids == BOUNDARY) if options.each else _summary_lines(scores, model.order)))


def _told(chunks: Iterable[Padded], progress: Progress | None) -> Iterator[Padded]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if progress:
            progress("reading", done, 0)


def _summary_lines(scores: Scores, order: int) -> Iterator[str]:
    """Of a whole text: how probable it is, and what of it the model has seen."""
    tokens, unknown = len(scores.orders), int(scores.unknown.sum())
    yield f"tokens      {tokens:,}, of which {unknown:,} are unknown words ({_share(unknown / tokens)})"
    with_unknown, without = scores.perplexity(), scores.perplexity(unknown=False)
    yield f"perplexity  {_perplexity(with_unknown)} with unknown words, {_perplexity(without)} without"
    if math.inf in {with_unknown, without}:
        impossible = float(np.mean(np.isneginf(scores.log_probabilities)))
        yield f"            infinite because {_share(impossible)} of the tokens have probability 0"
    yield "n-grams     longest seen   not seen"
    for length in range(1, order + 1):
        longest, unseen = scores.orders == length, scores.unseen_share(length)
        if length == 1:  # <unk> stands for what was not seen
            longest, unseen = longest & ~scores.unknown, unknown / tokens
        yield f"{length}-grams {_share(float(longest.mean())):>16} {_share(unseen):>10}"


def _sentence_lines(scores: Scores, ends: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Iterator[str]:
    """Of each sentence: tokens, unknown words, the common logarithm of its probability, its perplexity."""
    last = np.flatnonzero(ends)
    first = np.concatenate([[0], last[:-1] + 1])
    sizes = last - first + 1
    unknown = np.add.reduceat(scores.unknown, first, dtype=np.int64)
    logarithms = np.add.reduceat(scores.log_probabilities, first)
    perplexities = exponential(-logarithms / sizes)
    columns = (sizes, unknown, logarithms / math.log(10), perplexities)
    for size, missing, logarithm, perplexity in zip(*(column.tolist() for column in columns), strict=True):
        yield f"{size}\t{missing}\t{logarithm:.6f}\t{perplexity:.6f}"


def _perplexity(value: float) -> str:
    return "infinite" if value == math.inf else "none" if math.isnan(value) else f"{value:.4f}"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _sample(options: argparse.Namespace) -> None:
    model = _model(options.model)
    for words in sample(model, options.sentences, np.random.default_rng(options.seed), options.max_words):
        line = "".join(words).replace(SPACE, " ") if model.options.characters else " ".join(words)
        print(_visible(line) if sys.stdout.isatty() else line, flush=True)


def _next(options: argparse.Namespace) -> None:
    for word, probability in next_words(_model(options.model), options.beginning, options.words):
        print(f"{probability:.6f}  {_visible(word) if sys.stdout.isatty() else word}")


def _export(options: argparse.Namespace) -> None:
    from models.ngram.arpa_writing import write_arpa

    model = _model(options.model)
    with _progress("n-grams") as progress:
        write_arpa(model, options.output, progress, options.threads)
    print(options.output)


def _model(path: Path) -> NgramModel:
    if not path.is_file():
        from models.ngram.storage import load

        return load(path)
    from models.ngram.arpa import read_arpa

    with _progress("n-grams") as progress:
        return read_arpa(path, progress)


@contextmanager
def _progress(unit: str) -> Iterator[Progress | None]:
    """A line on the terminal that says how far it is, and is gone at the end; None where standard error is none."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = stage_begun = time.monotonic()
    shown_stage, shown_at = "", -math.inf

    def show(stage: str, done: int, of: int) -> None:
        nonlocal shown_stage, shown_at, stage_begun
        now = time.monotonic()
        if stage != shown_stage:
            stage_begun = now
        if stage != shown_stage or now - shown_at >= REFRESH_SECONDS:
            shown_stage, shown_at = stage, now
            amount = f" {done / 1e6:,.1f} M {unit}" if done else ""
            left = (of - done) * (now - stage_begun) / done if done else 0.0
            time_left = f", {left:.0f} s left" if left >= LEAST_LEFT else ""
            print(f"\r{stage}{amount}, {now - begun:.0f} s{time_left}\x1b[K", end="", file=sys.stderr, flush=True)

    def compiling(name: str) -> None:
        show(f"compiling {name}, once", 0, 0)

    kernel.told_of_compiling = compiling
    try:
        yield show
    finally:
        kernel.told_of_compiling = None
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Says what was taken instead of discounts without a line of code beside it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FallbackDiscountsWarning)
        yield
    for warning in caught:
        print(f"Note: {warning.message}.", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.ngram", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument("model", type=Path, metavar="MODEL", help=MODEL)

    parallel = argparse.ArgumentParser(add_help=False)
    parallel.add_argument("--threads", type=_whole(1), default=_cores(), metavar="N", help="default: all cores")

    fitted = commands.add_parser("fit", parents=[parallel], help="a model of a text")
    fitted.add_argument(
        "source", nargs="+", metavar="TEXT", help="files (also .gz, .xz, .zst), folders, or - for standard input"
    )
    fitted.add_argument("-o", "--output", type=Path, metavar="MODEL", help="the folder to write")
    fitted.add_argument(
        "--arpa", type=Path, metavar="FILE", help="an ARPA file to write, beside it or instead, such as model.arpa.gz"
    )
    fitted.add_argument(
        "-n",
        "--order",
        type=int,
        default=3,
        choices=range(1, MAX_ORDER + 1),
        metavar="N",
        help=f"length of the longest n-grams, 1 to {MAX_ORDER} (default: %(default)s)",
    )
    fitted.add_argument(
        "--smoothing",
        choices=SMOOTHINGS,
        default="mle",
        help="mle: what was never seen is impossible (default); the others leave it some probability",
    )
    fitted.add_argument("--alpha", type=float, default=1.0, metavar="A", help="of additive smoothing (default: 1)")
    fitted.add_argument("--engine", choices=ENGINES, default="numba", help="what counts (default: %(default)s)")
    fitted.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the torch engine (default: cpu)")
    fitted.add_argument(
        "--memory", type=_bytes, metavar="SIZE", help="to keep to, such as 2GB; the rest goes to the disk"
    )
    fitted.add_argument("--min-count", type=_whole(1), default=1, metavar="N", help="rarer words become <unk>")
    fitted.add_argument("--max-vocabulary", type=_whole(1), metavar="N", help="as do all but the most frequent words")
    fitted.add_argument("--lower", action="store_true", help="capitals become small letters")
    fitted.add_argument("--punctuation", action="store_true", help="marks at the edge of a word are words")
    fitted.add_argument("--characters", action="store_true", help="each character is a word")
    fitted.add_argument("--no-sentences", action="store_true", help="a line feed ends no sentence")

    scored = commands.add_parser("score", parents=[stored, parallel], help="how probable a text is: its perplexity")
    scored.add_argument("text", metavar="TEXT", help="a file, a folder, or - for standard input")
    scored.add_argument(
        "--each",
        action="store_true",
        help="a line for each sentence: tokens, unknown words, common logarithm of its probability, perplexity",
    )

    sampled = commands.add_parser("sample", parents=[stored], help="sentences that the model makes up")
    sampled.add_argument("-n", "--sentences", type=_whole(1), default=5, metavar="N", help="default: %(default)s")
    sampled.add_argument("--seed", type=_whole(0), metavar="N", help="the same sentences each time")
    sampled.add_argument("--max-words", type=_whole(1), default=MAX_WORDS, metavar="N", help="default: %(default)s")

    following = commands.add_parser("next", parents=[stored], help="the most probable words after those of a sentence")
    following.add_argument("beginning", metavar="WORDS", help='its first words: "the students opened their"')
    following.add_argument("-n", "--words", type=_whole(1), default=10, metavar="N", help="default: %(default)s")

    exported = commands.add_parser(
        "export", parents=[stored, parallel], help="an ARPA file, which KenLM and SRILM read"
    )
    exported.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="such as model.arpa or model.arpa.gz"
    )
    return parser


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _whole(least: int) -> Callable[[str], int]:
    """Reads a whole number that is no less."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} on")
        return int(text)

    return read


def _bytes(text: str) -> int:
    """Reads a size, such as 500MB or 2GB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no size: write 500MB or 2GB")
    return int(float(found[1]) * SIZES[found[2].upper()])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # leaves no half-written model either
    sys.exit(main())
