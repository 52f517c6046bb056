"""How a configuration is measured again: the command, and the commit that it was measured at."""

from __future__ import annotations

import shlex
from typing import Any

from trainmark import formatting
from trainmark.store.cell import WORKLOADS
from trainmark.store.parameters import PARAMETERS, default_of
from trainmark.store.record import Record, Run

# Parameters that no grid varies: a call that does not name them measures their default.
UNVARIED = (
    *("workers", "prefetch", "pin_memory", "persistent_workers", "cudnn_benchmark"),
    *("optimizer", "optimizer_implementation", "accumulate", "checkpointing"),
)
LONGEST_WORD = 300  # characters of a value: of a longer one no command is made, but the page stays one
OF_RUN = {"max_seconds": ("--benchmark-max-time", 0.5), "min_rounds": ("--benchmark-min-rounds", 6)}


def command(record: Record, run: Run, benchmarks: str = "bench") -> str:
    """The call that measures one configuration again, and no other.

    Args:
        record: Of the configuration.
        run: That it is of.
        benchmarks: The suite's folder of benchmarks.
    """
    workload = record.cell.workload
    alone = getattr(WORKLOADS.get(workload), "option", "")  # of a workload that is measured only when asked for
    words = ["pytest", benchmarks, *([alone] if alone else ["-k", f"test_{workload}"]), "--benchmark-autosave"]
    for name, value in record.cell.axes:
        if name not in UNVARIED or value != default_of(name):
            option = PARAMETERS[name].option if name in PARAMETERS else "--" + name.replace("_", "-")
            words += [option, str(value)]
    return " ".join(shlex.quote(formatting.plain(word, LONGEST_WORD)) for word in [*words, *_settings(record, run)])


def _settings(record: Record, run: Run) -> list[str]:
    """What it was run with beside its parameters, where a call would take something else."""
    words: list[str] = []
    told: dict[str, Any] = dict(record.settings)
    if told.get("threads") is not None:
        words += ["--threads", str(told["threads"])]
    if told.get("seeds") is not None:
        words += ["--seeds", str(told["seeds"])]
    if told.get("seed"):
        words += ["--seed", str(told["seed"])]
    for name, (option, default) in OF_RUN.items():
        value = run.facts.options.get(name)
        if isinstance(value, int | float) and value != default:
            words += [option, f"{value:g}"]
    return words


def commit(run: Run) -> str:
    """The commit that a run was measured at; empty where it is not known."""
    found = formatting.plain(run.commit.get("id") or "", 64)
    return f"{found} with uncommitted changes" if found and run.commit.get("dirty") else found


def checkout(run: Run) -> str:
    """The command that gets that commit; empty where it is not known."""
    found = run.commit.get("id")
    return f"git switch --detach {shlex.quote(formatting.plain(found, 64))}" if found else ""
