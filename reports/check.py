"""The verdict on a whole comparison: one sentence, the cells that decide it, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass

from reports import formatting
from reports.comparison import CellComparison, Comparison

FINE, REGRESSION, USAGE, NOT_COMPARABLE = 0, 1, 2, 3


@dataclass(frozen=True)
class Verdict:
    """What a comparison comes to.

    Attributes:
        word: ``fine``, ``regressed`` or ``not comparable``.
        exit_code: FINE, REGRESSION or NOT_COMPARABLE.
        sentence: The verdict in one sentence.
        details: What else must be known to act on it, a sentence each.
        regressions: The cells that made it fail.
    """

    word: str
    exit_code: int
    sentence: str
    details: tuple[str, ...] = ()
    regressions: tuple[CellComparison, ...] = ()


def judge(comparison: Comparison) -> Verdict:
    """The verdict on a comparison.

    Another machine is refused unless it was allowed; so are two runs that share no comparable cell.
    """
    if not comparison.same_machine and not comparison.allow_different_machine:
        return _refused(comparison)
    regressions = tuple(cell for cell in comparison.cells if cell.fails)
    decided = [cell for cell in comparison.cells if cell.verdict in ("unchanged", "improved", "inconclusive")]
    total, base = len(comparison.cells), formatting.plain(comparison.base)
    if regressions:
        verb = "is" if len(regressions) == 1 else "are"
        sentence = f"Regressed: {len(regressions)} of {total} cells {verb} worse, failed or missing against {base}."
        return Verdict("regressed", REGRESSION, sentence, _details(comparison), regressions)
    if not decided:
        sentence = f"Not comparable: no cell was measured under the same conditions here and in {base}."
        return Verdict("not comparable", NOT_COMPARABLE, sentence, _details(comparison))
    undecided = len([cell for cell in decided if cell.verdict == "inconclusive"])
    open_question = f", {undecided} of them undecided" if undecided else ""
    sentence = f"No regression against {base}: {len(decided)} of {total} cells compared{open_question}."
    return Verdict("fine", FINE, sentence, _details(comparison))


def counts_sentence(comparison: Comparison) -> str:
    """How many cells have each verdict: ``2 regressed, 25 unchanged``."""
    return ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())


def _refused(comparison: Comparison) -> Verdict:
    named = f"{formatting.plain(comparison.new)} and {formatting.plain(comparison.base)}"
    sentence = f"Not comparable: {named} were measured in different environments."
    facts = "; ".join(map(str, comparison.differences)) or "they have no fingerprint, or facts unknown here"
    return Verdict(
        "not comparable",
        NOT_COMPARABLE,
        sentence,
        (
            f"What differs: {facts}.",
            "Measure both on one machine, or compare what is portable (exact counts and accuracy) "
            "with --allow-different-machine.",
        ),
    )


def _details(comparison: Comparison) -> tuple[str, ...]:
    details = []
    if not comparison.same_machine:
        facts = "; ".join(map(str, comparison.differences)) or "unknown facts"
        details.append(f"Only exact counts and accuracy were compared: the environments differ in {facts}.")
    elif any(cell.time for cell in comparison.cells):
        details.append(
            f"Times may differ by {formatting.percent(comparison.time_margin, 0)} before they count as changed: "
            "the runs were measured at different moments."
        )
    details += [
        f"{formatting.plain(run)} was interrupted: finish it with pytest bench --resume, then check again."
        for run in comparison.interrupted
    ]
    return tuple(details)
