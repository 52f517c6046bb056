"""What is to be known before a run's numbers are trusted: what was seen, a likely cause, what to do."""

from __future__ import annotations

from dataclasses import dataclass

from trainmark import formatting
from trainmark.advise.waiting import WORDS, Bottleneck, bottlenecks
from trainmark.store.record import FAILED, STATUSES, Record, Run

_FLAGS = {
    "disturbed": (
        "Other work ran on the machine meanwhile",
        "These times may be too long. Stop what else runs, then measure these cells again.",
    ),
    "throttled": (
        "The GPU was held back for its power or temperature",
        "These times are of a slower GPU. Let it cool, or raise its power limit, then measure these cells again.",
    ),
    "shared-gpu": (
        "Other processes held memory on the GPU",
        "They may have computed as well. Stop them, then measure these cells again.",
    ),
    "unsteady": (
        "The step time did not settle",
        "A changing clock frequency or temperature is the usual cause. Let the machine rest, or fix its "
        "clocks, then measure these cells again.",
    ),
    "clocks-disagree": (
        "Device events and the host's clock tell different times",
        "The device may wait for the host. Look at a profile of the step before you trust either clock.",
    ),
    "few-rounds": (
        "Too few rounds for a confidence interval",
        "Read these times as a single look. Give the cells more time to be sure of them.",
    ),
    "recompiles": (
        "torch.compile went on compiling in the steady state",
        "Something in the model changes from step to step. TORCH_LOGS=recompiles says what.",
    ),
    "outlived": (
        "A process that a model had started went on after its cell",
        "It was ended. While it ran it shared the cores with the steps that were timed: let the model end what it "
        "starts, then measure these cells again.",
    ),
    "slow-moment": (
        "The machine itself was slower than at its best",
        "A neighbour on the same host, or its clock, is the usual cause: these times are too long. Measure these cells "
        "again.",
    ),
    "other-node": (
        "A part of the run was measured on a faster or a slower node",
        "These times are not compared with the others. Choose nodes that are alike, or measure these cells again; "
        "trainmark merge --node-margin says how much nodes may differ.",
    ),
    "gradients-differ": (
        "Several processes together do not compute the gradient of one",
        "The times hold; what is trained is another model. A loss that is a sum, or a mean over something else than "
        "samples, is the usual cause: the gradients of all processes are averaged.",
    ),
    "traced": (
        "A debugger, a profiler or a coverage tool was told of each line of Python",
        "It slows every step. Measure without it.",
    ),
    "equal-seeds": (
        "Several seeds gave the same curves",
        "They count as one. A model that seeds for itself, or that learns nothing, is the usual cause.",
    ),
    "counts-vary": (
        "Two steps of a cell do different work",
        "What differs is missing among the counts, and the times are a mean over such steps. A model that draws what "
        "to compute is the usual cause.",
    ),
    "search-bounded": (
        "Something else than memory ended the search for the largest batch",
        "What is told has been trained, and more may fit: the reason is beside the cell's status.",
    ),
    "not-paired": (
        "Two processes at once have no memory for a cell",
        "Its record holds, and its time decides nothing. Take a smaller batch, or compare two stored runs.",
    ),
    "flops-partial": (
        "A model computes products for which there is no FLOP formula",
        "The times hold; FLOPs and utilisation are missing, and the cell's status names the operators. Give them a "
        "formula: torch.utils.flop_counter.register_flop_formula.",
    ),
}
_ENDINGS = (
    (
        "instruments-",
        "An instrument beside the timing failed",
        "The times hold; what is missing beside them was not read.",
    ),
    (
        "computation-",
        "What a cell computes could not be looked at",
        "The times hold; whether two runs train the same is not known.",
    ),
    ("warm-compile-", "Compiling with a warm cache failed", "The cold compile time holds; the warm one is missing."),
)
_MOVED = "moved-"
_MOVED_ADVICE = (
    "It was set again after the model was built. Where the forward pass changes it, the times are of what the model "
    "set: the record tells the threads in force."
)
_STATUSES = {
    "oom": "Use a smaller batch, a smaller model or a narrower precision.",
    "timeout": "Raise --timeout, or leave these cells out.",
    "crashed": "Run one of these cells with --in-process under a debugger.",
    "nan": "Lower the learning rate.",
    "error": "Run one of these cells with --in-process to see the whole traceback.",
    "skipped": "Nothing needs to be done where that is expected.",
}


@dataclass(frozen=True)
class Notice:
    """One thing to know, and the cells that it holds for.

    Attributes:
        kind: ``failed``, ``warning`` or ``note``.
        title: What was seen.
        advice: What to do.
        records: Those that it was seen in.
    """

    kind: str
    title: str
    advice: str
    records: tuple[Record, ...] = ()


def notices(run: Run) -> list[Notice]:
    """All that is to be known of a run, the gravest first."""
    seen = [*_interruption(run), *_failures(run), *_dirty_tree(run), *_flags(run)]
    return [*seen, *_waiting(run), *_launch_bound(run), *_skipped(run)]


def flag_meanings() -> dict[str, str]:
    """Flag -> what was seen, in a few words, for where the flag stands beside a number."""
    return {flag: title for flag, (title, _) in _FLAGS.items()}


def _interruption(run: Run) -> list[Notice]:
    if run.facts.complete:
        return []
    planned = f" of {len(run.facts.planned)} planned cells" if run.facts.planned else " cells"
    title = f"The run was interrupted: {len(run.records)}{planned} have a record"
    return [Notice("warning", title, "Go on where it stopped: pytest bench --resume")]


def _dirty_tree(run: Run) -> list[Notice]:
    if not run.commit.get("dirty"):
        return []
    title = "The working tree had uncommitted changes"
    return [Notice("warning", title, "The commit does not say what was measured. Commit, then measure again.")]


def _failures(run: Run) -> list[Notice]:
    return [
        Notice("failed", _capital(STATUSES[status]), _failure_advice(status, found), found)
        for status in FAILED
        if (found := tuple(record for record in run.records if record.status == status))
    ]


def _failure_advice(status: str, found: tuple[Record, ...]) -> str:
    """What to do; a precision is named only where a narrower or a wider one is left."""
    precisions = {str(record.cell.settings.get("precision")) for record in found}
    if status == "nan" and not precisions & {"fp32", "None"}:
        return "Lower the learning rate, or use fp32: narrow precisions overflow first."
    if status == "oom" and precisions <= {"bf16", "fp16", "None"}:
        return "Use a smaller batch or a smaller model."
    return _STATUSES[status]


def _flags(run: Run) -> list[Notice]:
    flags = dict.fromkeys([*_FLAGS, *(flag for record in run.records for flag in record.flags)])
    return [
        Notice("warning", *(_FLAGS.get(flag) or _unlisted(flag)), found)
        for flag in flags
        if (found := tuple(record for record in run.records if flag in record.flags))
    ]


def _unlisted(flag: str) -> tuple[str, str]:
    """Title and advice of a flag that names how something ended, or that this version does not know."""
    if flag.startswith(_MOVED):
        return f"A model changed a switch of PyTorch: {flag.removeprefix(_MOVED)}", _MOVED_ADVICE
    for begin, title, advice in _ENDINGS:
        if flag.startswith(begin) and flag.removeprefix(begin) in STATUSES:
            return f"{title}: {STATUSES[flag.removeprefix(begin)]}", advice
    return f"Flagged {flag}", "This version knows no more of it."


def _waiting(run: Run) -> list[Notice]:
    """Trainings that wait for their data, those of one cause and one remedy together."""
    groups: dict[tuple[str, str], list[Bottleneck]] = {}
    for found in bottlenecks(run.records):
        if found.waits:
            groups.setdefault((found.data, found.remedy), []).append(found)
    return [
        Notice("note", f"Training waits for {WORDS[data]}", _shares(of) + remedy, tuple(one.record for one in of))
        for (data, remedy), of in groups.items()
    ]


def _launch_bound(run: Run) -> list[Notice]:
    """Trainings whose device waits for the host to launch something, those of one remedy together."""
    groups: dict[str, list[Bottleneck]] = {}
    for found in bottlenecks(run.records):
        if found.name == "launches":
            groups.setdefault(found.remedy, []).append(found)
    return [
        Notice("note", "Training is launch-bound", _busy(of) + remedy, tuple(one.record for one in of))
        for remedy, of in groups.items()
    ]


def _busy(found: list[Bottleneck]) -> str:
    shares = [1 - one.share for one in found]
    ends = dict.fromkeys(formatting.percent(share, 0) for share in (min(shares), max(shares)))
    return f"The device works for {' to '.join(ends)} of a step, and waits for launches otherwise. "


def _shares(found: list[Bottleneck]) -> str:
    shares = [one.waiting for one in found]
    ends = dict.fromkeys(formatting.percent(share, 0) for share in (min(shares), max(shares)))
    return f"That takes {' to '.join(ends)} of a step. "


def _skipped(run: Run) -> list[Notice]:
    found = tuple(record for record in run.records if record.status == "skipped")
    return [Notice("note", _capital(STATUSES["skipped"]), _STATUSES["skipped"], found)] if found else []


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
