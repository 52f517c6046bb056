"""Under which conditions a run was measured: machine, software, commit and moment."""

from __future__ import annotations

from trainmark import formatting
from trainmark.store.record import Run

_FACTS = {
    "cpu": "Processor",
    "cpu_cores": "Cores",
    "cpu_threads": "Hardware threads",
    "memory_gib": "Memory (GiB)",
    "gpus": "GPUs",
    "system": "System",
    "machine": "Architecture",
    "python": "Python",
    "torch": "PyTorch",
    "torchvision": "torchvision",
    "numpy": "NumPy",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "driver": "Driver",
    "cpu_capability": "CPU capability",
    "deterministic_algorithms": "Deterministic algorithms",
    "cudnn_benchmark": "cuDNN benchmark",
    "environment_variables": "Variables",
    "fingerprint": "Fingerprint",
}


def machine(run: Run) -> str:
    """The machine in a few words: its GPUs where it has some, else its processor."""
    gpus = run.environment.get("gpus")
    if gpus:
        return formatting.fact(gpus)
    return formatting.fact(run.environment.get("cpu") or run.environment.get("machine"))


def facts(run: Run) -> list[tuple[str, str]]:
    """What was measured where and when: names with their values, those not known left out."""
    commit = formatting.plain(run.commit.get("id") or formatting.DASH)[:12]
    branch = f" on {formatting.plain(run.commit['branch'])}" if run.commit.get("branch") else ""
    dirty = ", with uncommitted changes" if run.commit.get("dirty") else ""
    threads = sorted({str(one.settings["threads"]) for one in run.records if one.settings.get("threads") is not None})
    unnamed = [name for name in run.environment if name not in _FACTS]
    told = [
        ("Commit", commit + branch + dirty),
        ("Started", formatting.moment(run.facts.started)),
        ("Finished", formatting.moment(run.facts.finished) if run.facts.complete else "interrupted"),
        ("Threads", formatting.plain(", ".join(threads))),
        *((_FACTS[name], formatting.fact(run.environment.get(name))) for name in _FACTS),
        *((formatting.plain(name), formatting.fact(run.environment[name])) for name in unnamed),
    ]
    return [(name, value) for name, value in told if value not in ("", formatting.DASH)]


def facts_of_both(base: Run, new: Run) -> list[tuple[str, str, str]]:
    """What two sides were measured in: name, and the value of each; those that differ first."""
    before, after = dict(facts(base)), dict(facts(new))
    told = [(name, before.get(name, formatting.DASH), after.get(name, formatting.DASH)) for name in before | after]
    return sorted(told, key=lambda fact: fact[1] == fact[2])
