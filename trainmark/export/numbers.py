"""A page's numbers as files for other programs: JSON Lines with everything, CSV with a line a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainmark import formatting
from trainmark.advise.answer import Answer, answers
from trainmark.advise.answer_words import sentence
from trainmark.advise.phrases import setting
from trainmark.advise.recommend import Advice, Choice
from trainmark.advise.reproduce import command
from trainmark.export.strict import as_json
from trainmark.judge.comparison import Comparison
from trainmark.judge.verdict import judge
from trainmark.store.frame import to_frame
from trainmark.store.record import Record, Run

LONGEST_CELL = 32_000  # characters: spreadsheets take 32,767
_FORMULA = tuple(
    "=+-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
_NESTED = ("rounds", "series", "settings", "disturbance")


def as_json_lines(run: Run, comparison: Comparison | None, advice: Sequence[Advice], benchmarks: str = "bench") -> str:
    """The run, the verdict on it and what is recommended in the first line; then a line a record.

    Args:
        run: The subject.
        comparison: With its baseline.
        advice: Of the run.
        benchmarks: The suite's folder of them, for the command of each record.
    """
    document = {
        "run": {"name": run.name, **run.facts.to_json()},
        "environment": dict(run.environment),
        "commit": dict(run.commit),
        "verdict": _verdict(comparison) if comparison else None,
        "answers": [_answer(one) for one in answers(run.records)],
        "recommended": [_advice(one) for one in advice],
    }
    lines = [document, *(_record(record, run, benchmarks) for record in run.records)]
    return "".join(as_json(line) + "\n" for line in lines)


def as_csv(run: Run) -> str:
    """Axes, metrics, status and flags of each record; lists stay in the JSON."""
    frame = to_frame([run]).drop(columns=list(_NESTED))
    frame["flags"] = frame["flags"].map(" ".join)
    frame.columns = frame.columns.map(_cell)
    words = frame.select_dtypes(exclude="number").columns
    frame[words] = frame[words].map(_cell)
    return frame.to_csv(index=False, lineterminator="\n")


def _record(record: Record, run: Run, benchmarks: str) -> dict[str, Any]:
    """All of a record, with the command and the commit that measured it."""
    made = {"command": command(record, run, benchmarks), "commit": run.commit.get("id")}
    return record.to_json() | {"key": record.key, "label": record.label, **made}


def _answer(answer: Answer) -> dict[str, Any]:
    best = answer.best
    return {
        "model": answer.model,
        "device": answer.device,
        "decided": answer.decided,
        "setting": dict(answer.default.axes if best is None else best.tried.axes),
        "is_default": best is None,
        "time_ratio": None if best is None else best.ratio.middle,
        "time_ratio_low": None if best is None else best.ratio.low,
        "time_ratio_high": None if best is None else best.ratio.high,
        "missing_seconds": answer.more_seconds,
        "sentence": sentence(answer),
    }


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, in one line."""
    if not isinstance(value, str):
        return value
    text = formatting.plain(value, LONGEST_CELL)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _verdict(comparison: Comparison) -> dict[str, Any]:
    verdict = judge(comparison)
    return {
        "word": verdict.word,
        "sentence": verdict.sentence,
        "base": comparison.base,
        "cells": [
            {
                "key": cell.key,
                "label": cell.label,
                "verdict": cell.verdict,
                "reason": cell.reason,
                "metric": change.name if change else None,
                "ratio": change.ratio if change else None,
                "low": change.low if change else None,
                "high": change.high if change else None,
            }
            for cell in comparison.cells
            for change in [cell.deciding]
        ],
    }


def _advice(advice: Advice) -> dict[str, Any]:
    return {
        "model": advice.model,
        "device": advice.device,
        "dataset": advice.dataset,
        "default": advice.default.key,
        "choices": [_choice(choice) for choice in advice.choices],
        "untested": _choice(advice.untested) if advice.untested else None,
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "goal": choice.goal,
        "key": choice.record.key,
        "setting": setting(choice.record),
        "better": choice.better,
        "value": choice.value,
        "gain": choice.gain.middle,
        "gain_low": choice.gain.low,
        "gain_high": choice.gain.high,
        "accuracy": choice.accuracy.verdict,
        "doubts": list(choice.doubts),
    }
