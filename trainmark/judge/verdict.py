"""The verdict on a whole comparison: one sentence, the cells that decide it, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass

from trainmark import formatting
from trainmark.judge.comparison import FAILED_ON_BOTH, CellComparison, Comparison
from trainmark.judge.policy import Policy

FINE, REGRESSION, USAGE, NOT_COMPARABLE = 0, 1, 2, 3
NAMED = 3  # cells in a sentence; the rest is counted


@dataclass(frozen=True)
class Verdict:
    """What a comparison comes to.

    Attributes:
        word: ``fine``, ``regressed``, ``changed``, ``undecided`` or ``not comparable``.
        exit_code: FINE, REGRESSION or NOT_COMPARABLE; of what is changed, as the policy has it.
        sentence: The verdict in one sentence.
        details: What else must be known to act on it, a sentence each.
        regressions: The cells that made it fail.
    """

    word: str
    exit_code: int
    sentence: str
    details: tuple[str, ...] = ()
    regressions: tuple[CellComparison, ...] = ()


def judge(comparison: Comparison, policy: Policy | None = None) -> Verdict:
    """The verdict on a comparison.

    Another machine is refused unless it was allowed; so are two runs that share no comparable cell.
    """
    policy = policy or Policy()
    if not comparison.same_machine and not comparison.allow_different_machine:
        return _refused(comparison)
    by_verdict = {
        word: [cell for cell in comparison.cells if cell.verdict == word]
        for word in ("missing", "inconclusive", "unchanged", "improved", "changed", "excluded", "unmeasured")
    }
    regressions = tuple(
        cell for cell in comparison.cells if cell.fails and (cell.verdict != "missing" or policy.missing == "fail")
    )
    if_changed = policy.changed or ("fail" if comparison.of_itself else "warn")
    changed = by_verdict["changed"]
    decided = len(by_verdict["unchanged"]) + len(by_verdict["improved"]) + len(changed)
    undecided, missing = len(by_verdict["inconclusive"]), len(by_verdict["missing"])
    left_out, unmeasured = len(by_verdict["excluded"]), len(by_verdict["unmeasured"])
    total, base = len(comparison.cells) - left_out, formatting.plain(comparison.base)
    beside = _beside(comparison, left_out, unmeasured)
    details = _details(comparison)
    if changed and if_changed == "warn":
        details = (*(f"{formatting.plain(cell.label)}: {cell.reason}." for cell in changed[:NAMED]), *details)
    if missing and policy.missing == "warn":
        verb = "has" if missing == 1 else "have"
        told = f"{formatting.counted(missing, 'cell')} of the base {verb} no record (--missing=warn)."
        details = (told, *details)
    if regressions:
        verb = "is" if len(regressions) == 1 else "are"
        sentence = (
            f"Regressed: {len(regressions)} of {total} cells {verb} worse, failed or missing against {base}{beside}."
        )
        failing = (*regressions, *(changed if if_changed == "fail" else ()))
        return Verdict("regressed", REGRESSION, sentence, details, failing)
    other = f"{len(changed)} of {total} cells {'does' if len(changed) == 1 else 'do'} not compute the same as {base}"
    if changed and if_changed == "fail":
        return Verdict("changed", REGRESSION, f"Changed: {other}{beside}.", details, tuple(changed))
    if not decided and not undecided:
        sentence = f"Not comparable: no cell was measured under the same conditions here and in {base}{beside}."
        why = tuple(f"{formatting.plain(cell.label)}: {cell.reason}." for cell in comparison.cells if cell.reason)
        return Verdict("not comparable", NOT_COMPARABLE, sentence, (*why[:1], *details))
    open_question = f", {undecided} of them undecided" if undecided else ""
    if undecided and (policy.inconclusive == "fail" or (policy.inconclusive == "warn" and not decided)):
        nothing = "nothing was decided" if not decided else f"{undecided} of {total} cells are undecided"
        sentence = f"Undecided: {nothing} against {base}{beside}."
        return Verdict("undecided", NOT_COMPARABLE, sentence, details)
    if changed and if_changed == "warn":
        word, begin = "changed", f"Changed: {other}; no cell is worse"
    else:
        word, begin = "fine", f"No regression against {base}: {decided + undecided} of {total} cells compared"
    return Verdict(word, FINE, f"{begin}{open_question}{beside}.", details)


def _beside(comparison: Comparison, left_out: int, unmeasured: int) -> str:
    """What was not compared, and why: what is narrower than its base says so at once."""
    told = ""
    if unmeasured:
        told += f"; {formatting.counted(unmeasured, 'cell')} not measured"
    if left_out:
        told += f"; asked for less than the base, which has {formatting.counted(left_out, 'more cell')}"
    broken = [cell.label for cell in comparison.cells if (cell.reason or "").startswith(FAILED_ON_BOTH)]
    if broken:
        more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        told += f"; failed on both sides: {', '.join(map(formatting.plain, broken[:NAMED]))}{more}"
    return told


def counts_sentence(comparison: Comparison) -> str:
    """How many cells have each verdict: ``2 regressed, 25 unchanged``."""
    return ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())


def _refused(comparison: Comparison) -> Verdict:
    named = f"{formatting.plain(comparison.new)} and {formatting.plain(comparison.base)}"
    how = "in different environments" if comparison.differences else "in environments not known to be the same"
    sentence = f"Not comparable: {named} were measured {how}."
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
    if comparison.paired:
        details += _details_of_pairs(comparison)
    elif not comparison.same_machine:
        facts = "; ".join(map(str, comparison.differences)) or "unknown facts"
        details.append(f"Only exact counts and accuracy were compared: the environments differ in {facts}.")
    elif any(cell.time and cell.time.verdict == "inconclusive" for cell in comparison.cells):
        details.append(
            "Two moments of one machine differ by more than most changes do. To have times decided, measure "
            "both sides together: pytest bench --against COMMIT"
        )
    if comparison.swapped:
        details.append(f"{formatting.plain(comparison.base)}, the base, is the newer run: are the two swapped?")
    again = "finish it with pytest bench --resume"
    details += [f"{formatting.plain(run)} was interrupted: {again}." for run in comparison.interrupted]
    return tuple(details)


def _details_of_pairs(comparison: Comparison) -> list[str]:
    details = []
    if comparison.differences:
        details.append(f"The sides differ in {'; '.join(map(str, comparison.differences))}.")
    margins = comparison.margins
    if margins.floor is None:
        details.append("This machine has no A/A control yet: pytest bench --against self says what it can tell apart.")
    elif margins.floor > (asked := min([margins.default, *(share for _, share in margins.named)])):
        details.append(
            f"The margin is {formatting.percent(margins.floor, 1)} and not {formatting.percent(asked, 1)}: "
            "the A/A control of this machine supports no less."
        )
    dropped = sum(cell.time.dropped or 0 for cell in comparison.cells if cell.time)
    if dropped:
        verb = "was" if dropped == 1 else "were"
        details.append(f"{formatting.counted(dropped, 'pair')} {verb} dropped because the machine was disturbed.")
    return details
