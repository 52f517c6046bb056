"""How large a page of 500 and of 2,000 configurations is, how long it takes to build, and how quickly it answers.

python docs/evidence/page.py
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from trainmark import suite
from trainmark.store.cell import Cell
from trainmark.store.record import Record, Run, RunFacts, run_section

ROOT = Path(__file__).parents[2]
suite.open_suite(ROOT)  # its workloads are known from here on
TIMES = 5
MODELS = {"mlp": 1.3e-3, "mlp-residual": 1.6e-3, "cnn": 47e-3, "resnet20": 0.21, "resnet18-cifar": 2.4}
SIZES = (16, 64, 256, 1024, *range(2, 11))
SPEED = {"fp32": 1.0, "bf16": 0.6}
COMPILED = ("off", "default", "reduce-overhead", "max-autotune")
SHARES = {"data": 0.05, "forward": 0.35, "loss": 0.02, "zero_grad": 0.01, "backward": 0.45, "other": 0.12}
TYPE = """
const field = document.getElementById('filter'), took = {};
for (const text of ['c', 'cn', 'cnn', 'cnn b', 'cnn bf16', '']) {
  const begun = performance.now();
  field.value = text;
  field.dispatchEvent(new Event('input', { bubbles: true }));
  document.body.offsetHeight;
  took[text || 'all again'] = performance.now() - begun;
}
return took;
"""
SORT = """
const begun = performance.now();
document.querySelectorAll('#of-train thead button')[arguments[0]].click();
document.body.offsetHeight;
return performance.now() - begun;
"""
OPEN = """
document.body.offsetHeight;
const done = arguments[0], tell = () => done(performance.getEntriesByType('navigation')[0].loadEventEnd);
document.readyState === 'complete' ? setTimeout(tell) : addEventListener('load', () => setTimeout(tell));
"""


def made_up(name: str, seed: int, count: int) -> Run:
    """A run with all that a cell may have, each twentieth cell twice as slow by chance."""
    noise = random.Random(seed)
    records = []
    grid = product(
        ("train", "inference"), MODELS, SIZES[: 4 if count <= 640 else 13], SPEED, COMPILED,
        ("contiguous", "channels_last"),
    )  # fmt: skip
    for workload, model, size, precision, compiled, layout in grid:
        seconds = MODELS[model] * SPEED[precision] * (0.15 + 0.85 * size / 64) * noise.choice((1.0,) * 19 + (2.0,))
        rounds = tuple(seconds * noise.lognormvariate(0, 0.02) for _ in range(100))
        ordered = sorted(rounds)
        metrics: dict[str, Any] = {
            "step_seconds": ordered[50],
            "step_seconds_low": ordered[39],
            "step_seconds_high": ordered[60],
            "samples_per_second": size / ordered[50],
            "latency_p50_seconds": ordered[50],
            "peak_memory_bytes": int(4e8 + size * 9e4),
            "flops_per_step": int(1.6e8 * size),
            "operators_per_step": 60,
            "achieved_flops_per_second": 1.6e8 * size / ordered[50],
            "arithmetic_intensity": noise.uniform(2, 40),
            "energy_joules_per_sample": 65 * ordered[50] / size,
            "instrumented_step_seconds": ordered[50],
            **{f"{phase}_seconds": share * ordered[50] for phase, share in SHARES.items()},
            **({"compile_seconds": noise.uniform(5, 40)} if compiled != "off" else {}),
        }
        axes = {"batch_size": size, "precision": precision, "compile": compiled, "memory_format": layout}
        settings = {"threads": 1, "seed": 0}
        records.append(
            Record(Cell.of(workload, model=model, **axes), "ok", metrics=metrics, rounds=rounds, settings=settings)
        )
    peaks = {"cpu": {"flops_per_second": {"fp32": 2e11, "bf16": 4e11}, "bytes_per_second": 9e10}}
    kept = tuple(records[:count])
    facts = RunFacts(name, "2026-01-01T12:00:00+00:00", complete=True, planned=tuple(r.key for r in kept), peaks=peaks)
    return Run(name, facts, {"fingerprint": "f", "cpu": "made up", "memory_gib": 24}, {"id": "0"}, kept)


def store(folder: Path, count: int) -> None:
    """Two such runs, as they are stored."""
    for seed, name in enumerate(("0001_base", "0002_new")):
        run = made_up(name, seed, count)
        document = {"machine_info": run.environment, "commit_info": run.commit, "benchmarks": []}
        document["trainmark"] = run_section(run.facts, run.records)
        (folder / f"{name}.json").write_text(json.dumps(document))


def build(folder: Path) -> tuple[Path, list[float]]:
    """The page, and the seconds that it took, imports included."""
    page = folder / "report.html"
    command = [sys.executable, "-m", "trainmark", "html", "2", "--baseline", "1", "--results", folder, "-o", page]
    took = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - begun)
    return page, took


def look(page: Path) -> dict[str, list[float]]:
    """Milliseconds until the page is open, its table is sorted, a key in the filter is answered."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    chrome = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    took: dict[str, list[float]] = {"open": [], "sort": []}
    for _ in range(TIMES):
        chrome.get("about:blank")
        chrome.get(page.as_uri())
        took["open"].append(chrome.execute_async_script(OPEN))
    took["sort"] = [chrome.execute_script(SORT, column) for column in range(1, TIMES + 1)]
    for name, milliseconds in chrome.execute_script(TYPE).items():
        took[f"filter {name}"] = [milliseconds]
    chrome.quit()
    return took


def main() -> None:
    for count in (500, 2000):
        folder = Path(tempfile.mkdtemp())
        store(folder, count)
        page, built = build(folder)
        print(f"{count}: built in {told(built)} s, {page.stat().st_size / 1e6:.2f} MB")
        for name, took in look(page).items():
            print(f"{count}: {name}: {told(took, 0)} ms")
        shutil.rmtree(folder)


def told(values: list[float], digits: int = 2) -> str:
    """Their median, with the least and the largest."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f}, n = {len(values)})"


if __name__ == "__main__":
    main()
