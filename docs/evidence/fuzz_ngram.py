"""Damages what n-gram commands read, saved models, ARPA files and texts, and runs every command that reads it.

    python docs/evidence/fuzz_ngram.py                             # 60 seconds, all kinds by turns
    python docs/evidence/fuzz_ngram.py model arpa --seconds 3600   # an hour, two kinds
    python docs/evidence/fuzz_ngram.py arpa --first 17 --mutations 1 --seed 3   # one of them again

Each mutation is tried in a child process, which is forked once kernels are loaded. A finding is a
traceback, a signal, an exit code that is neither 0 nor 2, a refusal that is not one sentence, more than
10 s of the processor, more than 1 GB of memory, and, where the files have a checksum, a file that is
accepted and yet gives another score, sample, export or model than before it was damaged. It ends with 1
where there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import lzma
import os
import random
import re
import resource
import select
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from models.ngram import fit, save
from models.ngram import storage as stored
from models.ngram.__main__ import main as command
from models.ngram.arpa import write_arpa

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROCESSOR_SECONDS, WALL_SECONDS = 10, 120  # of one mutation; the second is for what waits
MEMORY_BYTES = 10**9
MOST_BYTES = 10**6  # of a file that is still made larger
ROOM_BYTES = 4 * 10**9  # that a child may ask for, so that the machine is none of what is tried
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "naïve",
    "漢字",
    "a\u00a0b",
    "x\u2028y",
    "<unk>",
    "far-away-from-here-on",
]
ORDERS = {"mle": 3, "additive": 2, "kneser-ney": 3}
READING = (
    ("score", "{file}", "{text}", "--threads", "1"),
    ("score", "{file}", "{text}", "--each", "--threads", "2"),
    ("sample", "{file}", "-n", "2", "--seed", "1", "--max-words", "9"),
    ("export", "{file}", "-o", "{out}/export.arpa"),
)
FITTING = (
    ("fit", "{file}", "-o", "{out}/mle", "--threads", "1"),
    ("fit", "{file}", "-o", "{out}/smoothed", "-n", "2", "--smoothing", "kneser-ney", "--lower", "--punctuation"),
    ("fit", "{file}", "-o", "{out}/spilled", "-n", "2", "--memory", "2GB", "--characters"),
    ("score", "{model}", "{file}", "--each", "--threads", "1"),
)


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        name: Of the kind; a file's ending says how it is compressed.
        commands: What reads it.
        damage: Damages the file or folder, and says how.
        checked: Whether it has a checksum: what is accepted must then be what it was.
    """

    name: str
    commands: Sequence[Sequence[str]]
    damage: Callable[[random.Random, Path], str]
    checked: bool


@dataclass(frozen=True)
class Finding:
    """What a command did that it must not do."""

    kind: str
    number: int
    damage: str
    command: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.number}, {self.damage}: {self.command}\n    {self.what}"


@dataclass
class Fuzzed:
    """What came of it: how many mutations of each kind were refused by all commands, or accepted by one."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def mutations(self) -> int:
        """How many were tried."""
        return self.outcomes.total()


def fuzz(kinds: Sequence[str], *, seconds: float, mutations: int, seed: int, first: int = 0) -> Fuzzed:
    """Tries mutations by turns, until there were so many of each kind or the time is over."""
    fuzzed, end = Fuzzed(), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # what is remembered of these models is of no use
        make_originals(folder)
        chosen = [KINDS[kind] for kind in kinds]
        before = {  # in this process, so that its children have all kernels
            kind.name: [_called(folder, words, folder / "originals" / kind.name) for words in kind.commands]
            for kind in chosen
        }
        for kind in chosen:
            wrong = [fault for result in before[kind.name] for fault in faults(result, None)]
            assert not wrong, f"{kind.name} as it was: {wrong}"
        for number in range(first, first + mutations):
            for kind in chosen:
                if time.monotonic() >= end:
                    return fuzzed
                mutate(folder, kind, number, seed, before[kind.name], fuzzed)
    return fuzzed


def mutate(folder: Path, kind: Kind, number: int, seed: int, before: Sequence[Result], fuzzed: Fuzzed) -> None:
    """Tries one mutation, and notes what came of it."""
    damaged = folder / "damaged" / kind.name
    shutil.rmtree(damaged.parent, ignore_errors=True)
    damaged.parent.mkdir()
    original = folder / "originals" / kind.name
    shutil.copytree(original, damaged) if original.is_dir() else shutil.copyfile(original, damaged)
    told = kind.damage(random.Random(f"{seed} {kind.name} {number}"), damaged)
    results = tried(folder, kind, damaged)
    accepted = any(result.code == 0 for result in results)
    fuzzed.outcomes[kind.name, "accepted" if accepted else "refused"] += 1
    for result, whole in zip(results, before, strict=False):
        for fault in faults(result, whole if kind.checked else None):
            fuzzed.findings.append(Finding(kind.name, number, told, " ".join(result.command), fault))


# What a command does


@dataclass(frozen=True)
class Result:
    """What a command gave, printed and wrote; a code of None where its process ended before it did."""

    command: Sequence[str]
    code: int | None
    printed: str = ""
    told: str = ""
    written: str = ""
    died: str = ""


def tried(folder: Path, kind: Kind, file: Path) -> list[Result]:
    """What each command makes of a file, in a child; the last one is that in which the child died, where it did."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    child = os.fork()
    if not child:
        os.close(reader)
        _be_the_child(folder, kind, file, writer)
    os.close(writer)
    told, died = b"", ""
    end = time.monotonic() + WALL_SECONDS
    while not died:
        ready, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
        piece = os.read(reader, 1 << 16) if ready else None
        if piece is None:
            os.kill(child, 9)
            died = f"no end after {WALL_SECONDS} s"
        elif not piece:
            break
        else:
            told += piece
    os.close(reader)
    _, status, used = os.wait4(child, 0)
    results = [Result(**json.loads(line)) for line in told.splitlines()]
    if os.WIFSIGNALED(status):
        died = died or f"ended by signal {os.WTERMSIG(status)}"
    elif used.ru_maxrss * 1024 - own > MEMORY_BYTES:
        died = f"took {used.ru_maxrss * 1024 - own:,} bytes of memory"
    if died:
        results.append(Result(kind.commands[min(len(results), len(kind.commands) - 1)], None, died=died))
    return results


def _be_the_child(folder: Path, kind: Kind, file: Path, writer: int) -> None:
    """Runs the commands, writes a line for each, and ends the process."""
    try:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + ROOM_BYTES, now + ROOM_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("always")
        for words in kind.commands:
            result = _called(folder, words, file)
            os.write(writer, json.dumps(result.__dict__).encode() + b"\n")
    except BaseException:  # noqa: BLE001  # of the fuzzer itself: shown, and the process must not go on
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _called(folder: Path, words: Sequence[str], file: Path) -> Result:
    """Calls a command in this process."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    places = {"file": file, "text": folder / "held.txt", "model": folder / "model", "out": out}
    arguments = [word.format(**places) for word in words]
    streams = [(folder / name).open("w+", encoding="utf-8", errors="backslashreplace") for name in ("printed", "told")]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            code: int | None = command(arguments)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else None
        except BaseException:  # noqa: BLE001  # whatever it is, it is what is looked for
            code = None
            traceback.print_exc()
    printed, told = (_whole(stream) for stream in streams)
    return Result(list(words), code, re.sub(r"fitted in .*", "", printed), told, _digest(out))


def _whole(stream: Any) -> str:
    stream.seek(0)
    text = stream.read()
    stream.close()
    return str(text)


def _digest(folder: Path) -> str:
    """Of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def faults(result: Result, whole: Result | None) -> Iterator[str]:
    """What a command did that it must not do; ``whole`` is what it has to give, where that is known."""
    lines = result.told.splitlines()
    if result.died:
        yield result.died
    elif "Traceback" in result.told or result.code not in {0, 2}:
        yield f"exit code {result.code}: {' / '.join(lines[-3:])}"
    elif result.code == 2 and not (len(lines) == 1 and lines[0].endswith(".") and len(lines[0]) < 1000):
        yield f"refused in {len(lines)} lines: {result.told[:300]!r}"
    elif result.code == 2 and "memory does not suffice" in result.told:
        yield lines[0]
    elif not all(line.isprintable() for line in lines):
        yield f"control characters: {result.told[:300]!r}"
    elif result.code == 0 and any(not line.startswith("Note: ") for line in lines):
        yield f"warnings: {result.told[:300]!r}"
    elif result.code == 0 and re.search(r"\bnan\b", result.printed) and result.command[0] == "score":
        yield f"printed: {result.printed[:300]!r}"
    elif result.code == 0 and whole and (result.printed, result.written) != (whole.printed, whole.written):
        yield f"accepted, and silently different: {result.printed[:200]!r} instead of {whole.printed[:200]!r}"


# Undamaged files


def make_originals(folder: Path) -> None:
    """Writes a file or folder of each kind, a text to score, and a model to score with."""
    draw = random.Random(0)
    sentences = [" ".join(draw.choices(WORDS, k=draw.randrange(9))) for _ in range(60)]
    text = "\n".join(sentences).encode() + b"\n"
    (folder / "held.txt").write_bytes("\n".join([*sentences[::3], "the bird sat", "a x b"]).encode())
    originals = folder / "originals"
    originals.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = {smoothing: fit(text, order, smoothing=smoothing) for smoothing, order in ORDERS.items()}
    save(models["kneser-ney"], folder / "model")
    for name in KINDS:
        path = originals / name
        if "arpa" in name:
            write_arpa(models["kneser-ney"], path)
        elif name.startswith("text"):
            pack = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstd.compress}.get(path.suffix[1:], bytes)
            path.write_bytes(pack(text))
        else:
            save(models[name.partition("_")[0]], path)
            if name.endswith("_format_1"):
                _rewrite(
                    path, lambda header: {key: header[key] for key in header if "checksum" not in key} | {"format": 1}
                )


def _rewrite(model: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = model / stored.HEADER
    file.write_text(json.dumps(change(json.loads(file.read_text()))), encoding="utf-8")


# Damage


def damage_file(draw: random.Random, file: Path) -> str:
    """Changes the bytes of a file, whatever it holds."""
    data = bytearray(file.read_bytes())
    told = []
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        how = draw.choice(BYTES)
        told.append(how.__name__.strip("_").replace("_", " "))
        how(draw, data)
    file.write_bytes(data)
    return f"{file.name}: {', '.join(told)}"


def _place(draw: random.Random, data: bytearray) -> slice:
    begin = draw.randrange(len(data) + 1)
    return slice(begin, begin + draw.choice([1, 1, 2, 8, 100, len(data)]))


def _flip_a_bit(draw: random.Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut_the_end(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _delete(draw: random.Random, data: bytearray) -> None:
    del data[_place(draw, data)]


def _insert(draw: random.Random, data: bytearray) -> None:
    begin = draw.randrange(len(data) + 1)
    data[begin:begin] = draw.choice([draw.randbytes(draw.choice([1, 4, 300])), *INSERTED])


def _overwrite(draw: random.Random, data: bytearray) -> None:
    where = _place(draw, data)
    data[where] = draw.choice([bytes, lambda size: b"\xff" * size, draw.randbytes])(len(data[where]))


def _repeat(draw: random.Random, data: bytearray) -> None:
    where = _place(draw, data)
    data[where] = data[where] * (draw.choice([2, 3, 50]) if len(data) < MOST_BYTES else 1)


def _move(draw: random.Random, data: bytearray) -> None:
    piece = data[where := _place(draw, data)]
    del data[where]
    begin = draw.randrange(len(data) + 1)
    data[begin:begin] = piece


BYTES = (_flip_a_bit, _flip_a_bit, _cut_the_end, _delete, _insert, _overwrite, _repeat, _move)
INSERTED = [
    sign.encode()
    for sign in (
        "\0",
        "\t",
        "\n",
        "\n\n",
        "\r",
        " ",
        "\v",
        "\f",
        "\x1c",
        "\x1f",
        "\x1b[31m",
        "\x85",
        "\u00a0",
        "\u2028",
        "\ufeff",
    )
] + [b"\xff", b"\xc3", b"\xed\xa0\x80", b"<s>", b" </s> ", b"<UNK>", b"<unk>", b"x" * 100_000]
NUMBERS = ["0", "-0", "1", "+1", "-1", "-1_0", "1_0", "nan", "-nan", "inf", "-inf", "infinity", "1e5", "-1e5", "1e38"]
NUMBERS += [
    "-1e38",
    "1e39",
    "-1e39",
    "1e999",
    "-1e999",
    "1e-999",
    "0x1p-3",
    ".5",
    "5.",
    ".",
    "-",
    "+",
    "e",
    "-99",
    "99",
]
NUMBERS += ["-99.9999999", "100", "4294967295", "4294967296", "100000000000", "100000000000000000000", "-1,5", "--1"]
NUMBERS += ["\u0661", "\u22121", "1.5.5"]  # a digit and a minus that are not ASCII
NUMBERS += ["9" * 400, "9" * 5000, "-0." + "1" * 5000]


def damage_arpa(draw: random.Random, file: Path) -> str:
    """Changes numbers, words and lines of an ARPA file, or its bytes."""
    lines = file.read_bytes().split(b"\n")
    number = draw.randrange(len(lines))
    how = draw.randrange(7)
    if how == 0:
        found = list(re.finditer(rb"-?\d+(\.\d+)?", lines[number]))
        if found:
            where, value = draw.choice(found), draw.choice(NUMBERS)
            lines[number] = lines[number][: where.start()] + value.encode() + lines[number][where.end() :]
        told = "a number"
    elif how == 1:
        del lines[number : number + draw.choice([1, 1, 5])]
        told = "lines deleted"
    elif how == 2:
        lines.insert(
            draw.randrange(len(lines)), draw.choice([lines[number], b"", b" \t", b"# no line", b"\\end\\", b"\\data\\"])
        )
        told = "a line inserted"
    elif how == 3:
        words = re.split(rb"([ \t])", lines[number])
        words[draw.randrange(len(words))] = draw.choice([draw.choice(INSERTED), *draw.choice(lines).split()[:3]])
        lines[number] = b"".join(words)
        told = "a part of a line"
    elif how == 4:
        other = draw.randrange(len(lines))
        lines[number], lines[other] = lines[other], lines[number]
        told = "lines swapped"
    elif how == 5:
        lines = draw.choice([[b"\r\n".join(lines)], [b"\xef\xbb\xbf" + b"\n".join(lines)], [b" ".join(lines)]])
        told = "ends of lines"
    else:
        return damage_file(draw, file)
    file.write_bytes(b"\n".join(lines))
    return f"line {number + 1}, {told}"


def damage_model(draw: random.Random, model: Path) -> str:
    """Changes a file of a model: its bytes, a number, a node of the header, or what it is at all."""
    file = draw.choice(sorted(model.iterdir()))
    how = draw.randrange(6)
    if how < 2:
        return damage_header(draw, model)
    if how == 2 and file.suffix == ".npy":
        return damage_array(draw, file)
    if how == 3:
        return _replace_file(draw, file)
    return damage_file(draw, file)


def damage_resealed(draw: random.Random, model: Path) -> str:
    """Changes what a model says, and makes its checksums and shapes fit, as somebody could who means harm."""
    told = []
    for _ in range(draw.choice([1, 1, 2, 4])):
        arrays = [file for file in sorted(model.iterdir()) if file.suffix == ".npy"]
        told.append(damage_array(draw, draw.choice(arrays)) if draw.random() < 0.8 else damage_header(draw, model))
    with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):  # no header any more
        _rewrite(model, partial(_resealed, model))
    return "; ".join(told)


def _resealed(model: Path, header: dict[str, Any]) -> dict[str, Any]:
    for file in model.glob("*.npy"):
        array = np.load(file)
        header["arrays"][file.stem] = [array.dtype.str, list(array.shape)]
        header["checksums"][file.stem] = hashlib.sha256(file.read_bytes()).hexdigest()
    header["checksum"] = stored._digest(header)
    return header


def damage_array(draw: random.Random, file: Path) -> str:
    """Changes numbers of an array, or how many there are; it stays an array of its type."""
    array = np.load(file)
    how = draw.choice(["a number", "a number", "a number", "shorter", "longer", "sorted", "turned round"])
    if how == "a number" and len(array):
        for _ in range(draw.choice([1, 1, 3])):
            array[draw.randrange(len(array))] = _extreme(draw, array)
    elif how == "shorter":
        array = array[: draw.randrange(len(array) + 1)]
    elif how == "longer":
        array = np.concatenate([array, array[: draw.randrange(1, 9)]])
    elif how == "sorted":
        array = np.sort(array)
    else:
        array = array[::-1].copy()
    np.save(file, array)
    return f"{file.name}: {how}"


def _extreme(draw: random.Random, array: Any) -> Any:
    if array.dtype.kind == "f":
        return array.dtype.type(
            draw.choice([np.nan, np.inf, -np.inf, 0.0, 1.0, 1e-9, -1e38, 1e38, draw.uniform(-9, 9)])
        )
    limits = np.iinfo(array.dtype)
    near = int(array[draw.randrange(len(array))])
    value = draw.choice(
        [limits.min, limits.max, 0, 1, 2, 10, 32, len(array), near - 1, near, near + 1, 0xFFFFFFFF, 1 << 40]
    )
    return array.dtype.type(min(max(value, limits.min), limits.max))


VALUES: list[Any] = [None, True, False, 0, 1, 2, 3, 6, 7, -1, 0.5, -0.5, 1e308, 5e-324, 1 << 31, 1 << 63, 1 << 64]
VALUES += [
    10**19,
    10**400,
    "",
    "mle",
    "additive",
    "kneser-ney",
    "arpa",
    "x" * 10_000,
    "../../../etc/passwd",
    "/dev/zero",
]
VALUES += [
    "\x1b[31m",
    "<u4",
    "|O",
    "|u1",
    [],
    {},
    [None],
    [0],
    [1, 2],
    [-1],
    [10**20],
    {"a": 1},
    [[0.5, 1.0, 1.5]],
    [[]],
]
RAW = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"1" * 5000,
    b"[" * 10_000,
    b'{"a":' * 10_000,
    b"[" * 10_000 + b"]" * 10_000,
]


def damage_header(draw: random.Random, model: Path) -> str:
    """Changes a node of the header: its value, its key, or that it is there."""
    file = model / stored.HEADER
    try:
        header = json.loads(file.read_text())
    except (ValueError, RecursionError):  # damaged before
        return damage_file(draw, file)
    path, holder, key = draw.choice(list(_nodes(header, (), None, None)))
    how = draw.choice(["replaced", "replaced", "replaced", "raw", "removed", "renamed", "added", "laid out anew"])
    if how == "laid out anew" or holder is None:
        file.write_text(json.dumps(header, indent=draw.choice([None, 0, 3])), encoding="utf-8")
        return "the header laid out anew"
    if how == "removed":
        del holder[key]
    elif how == "renamed" and isinstance(holder, dict):
        holder[f"{key}{draw.choice(['', ' ', 'x', '/../x'])}"] = holder.pop(key)
    elif how == "added":
        holder.append(draw.choice(VALUES)) if isinstance(holder, list) else holder.update({"more": draw.choice(VALUES)})
    else:
        value = draw.choice(VALUES)
        holder[key] = "here it is" if how == "raw" else value
    text = json.dumps(header).encode()
    file.write_bytes(text.replace(b'"here it is"', draw.choice(RAW)))
    return f"{'.'.join(map(str, path))} of the header {how}"


def _nodes(node: Any, path: tuple[Any, ...], holder: Any, key: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    yield path, holder, key
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from _nodes(child, (*path, name), node, name)


def _replace_file(draw: random.Random, file: Path) -> str:
    """Makes a file something else: gone, a folder, a pipe, a link, another of the folder's files."""
    others = [other for other in sorted(file.parent.iterdir()) if other != file]
    how = draw.choice(
        ["gone", "empty", "a folder", "a pipe", "a link elsewhere", "a link to itself", "another file", "swapped"]
    )
    other = draw.choice(others)
    data = other.read_bytes()
    own = file.read_bytes()
    file.unlink()
    if how == "empty":
        file.touch()
    elif how == "a folder":
        file.mkdir()
    elif how == "a pipe":
        os.mkfifo(file)
    elif how.startswith("a link"):
        file.symlink_to(
            file if how.endswith("itself") else draw.choice(["/etc/passwd", "/dev/zero", "/nowhere", other])
        )
    elif how != "gone":
        file.write_bytes(data)
        if how == "swapped":
            other.write_bytes(own)
    return f"{file.name}: {how}"


def _kinds() -> Iterator[Kind]:
    for smoothing in ORDERS:
        yield Kind(smoothing, READING, damage_model, True)
        yield Kind(f"{smoothing}_format_1", READING, damage_model, False)
        yield Kind(f"{smoothing}_resealed", READING, damage_resealed, False)
    yield Kind("model.arpa", READING, damage_arpa, False)
    yield Kind("text.txt", FITTING, damage_file, False)
    for suffix, checked in (("gz", True), ("xz", True), ("zst", False)):
        yield Kind(f"model.arpa.{suffix}", READING, damage_file, checked)
        yield Kind(f"text.txt.{suffix}", FITTING, damage_file, checked)


KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _kinds()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"names, or parts of them, of {', '.join(KINDS)}")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mutations", type=int, default=sys.maxsize >> 1, help="of each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    options = parser.parse_args()
    kinds = [name for name in KINDS if not options.kinds or any(part in name for part in options.kinds)]
    begun = time.monotonic()
    fuzzed = fuzz(kinds, seconds=options.seconds, mutations=options.mutations, seed=options.seed, first=options.first)
    for finding in fuzzed.findings:
        print(finding)
    for kind in kinds:
        refused, accepted = (fuzzed.outcomes[kind, outcome] for outcome in ("refused", "accepted"))
        print(f"{kind:24} {refused + accepted:7,} mutations, {accepted:,} of them accepted")
    print(f"{fuzzed.mutations:,} mutations, {len(fuzzed.findings)} findings, in {time.monotonic() - begun:.0f} s")
    return 1 if fuzzed.findings else 0


if __name__ == "__main__":
    sys.exit(main())
