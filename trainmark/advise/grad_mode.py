"""What ``inference_mode`` saves over ``no_grad``, where both were measured in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainmark import formatting
from trainmark.advise.recommend import BETWEEN_PROCESSES
from trainmark.judge.statistics import ratio_interval
from trainmark.store.cell import Cell
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import UNRELIABLE, Record
from trainmark.store.rounds import Interval

OTHER = "no_grad"


@dataclass(frozen=True)
class Saving:
    """A cell under ``no_grad`` beside the same cell under the default.

    Attributes:
        record: Of the cell under ``no_grad``.
        usual: Of the same cell under ``inference_mode``.
        ratio: Step time under ``no_grad`` over that under ``inference_mode``; without ends for too few rounds.
        decided: Whether the whole interval lies beyond what two processes of the same code differ by, unflagged.
    """

    record: Record
    usual: Record
    ratio: Interval
    decided: bool


def savings(records: Sequence[Record]) -> list[Saving]:
    """Each cell under ``no_grad`` whose twin was measured too."""
    measured = {one.key: one for one in records if one.status == "ok" and one.rounds}
    found = []
    for record in measured.values():
        if record.cell.settings.get("grad_mode") != OTHER:
            continue
        settings = record.cell.settings | {"grad_mode": PARAMETERS["grad_mode"].default}
        usual = measured.get(Cell(record.cell.workload, tuple(settings.items())).key)
        if usual is not None:
            found.append(_saving(record, usual))
    return found


def savings_sentence(found: Sequence[Saving]) -> str:
    """In how many cells one of the two is shown to be faster, and by how much."""
    told = []
    for ahead, behind, sign in (("inference_mode", "no_grad", 1), ("no_grad", "inference_mode", -1)):
        won = [one.ratio.middle**sign for one in found if one.decided and one.ratio.middle**sign > 1]
        if won:
            ends = " to ".join(dict.fromkeys(map(formatting.times, (min(won), max(won)))))
            cells = f"{len(won)} of {formatting.counted(len(found), 'cell')}"
            told.append(f"{behind} takes {ends} the time of {ahead} in {cells}")
    undecided = sum(not one.decided for one in found)
    if undecided:
        told.append(f"which is faster is undecided in {undecided} of {formatting.counted(len(found), 'cell')}")
    sentence = "; ".join(told)
    return f"{sentence[:1].upper()}{sentence[1:]}." if told[0].startswith("which") else f"{sentence}."


def _saving(record: Record, usual: Record) -> Saving:
    ratio = ratio_interval(usual.rounds, record.rounds)
    flagged = any(flag in UNRELIABLE for flag in record.flags + usual.flags)
    least = 1 + BETWEEN_PROCESSES
    beyond = ratio.low is not None and ratio.high is not None and (ratio.low > least or ratio.high < 1 / least)
    return Saving(record, usual, ratio, beyond and not flagged)
