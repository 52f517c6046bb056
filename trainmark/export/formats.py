"""A verdict for other programs: each function turns it into the text of one format."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

from trainmark import formatting
from trainmark.export.strict import as_json
from trainmark.judge.comparison import CellComparison, Comparison, MetricChange
from trainmark.judge.verdict import REGRESSION, Verdict, counts_sentence
from trainmark.store.metrics import METRICS

ANNOTATIONS = 10  # that GitHub shows of one kind in a step
NOT_A_NAME = re.compile("[^a-zA-Z0-9_]")  # OpenMetrics cannot write it in a metric's name
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 cannot write it


def to_json(verdict: Verdict, comparison: Comparison) -> str:
    """Everything that was found, as plain JSON types."""
    document = {
        "verdict": verdict.word,
        "exit_code": verdict.exit_code,
        "sentence": verdict.sentence,
        "details": verdict.details,
        "base": comparison.base,
        "new": comparison.new,
        "paired": comparison.paired,
        "margins": str(comparison.margins),
        "counts": comparison.counts,
        "differences": [{"name": one.name, "base": one.base, "new": one.new} for one in comparison.differences],
        "cells": [_cell_to_json(cell) for cell in comparison.cells],
    }
    return as_json(document, indent=2) + "\n"


def _cell_to_json(cell: CellComparison) -> dict[str, Any]:
    names = ("name", "base", "new", "verdict", "reason", "ratio", "low", "high", "pairs", "dropped")
    return {
        "key": cell.key,
        "label": cell.label,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "metric": cell.deciding.name if cell.deciding else None,
        "metrics": [{name: getattr(change, name) for name in names} for change in cell.changes],
    }


def to_junit(verdict: Verdict, comparison: Comparison) -> str:
    """JUnit XML: a cell is a test case; what made the check fail has failed, what was not decided is skipped."""
    failing = {cell.key for cell in verdict.regressions}
    suite = ET.Element("testsuite", name="trainmark", tests=str(len(comparison.cells)))
    for cell in comparison.cells:
        case = _within(suite, "testcase", classname=cell.key.partition(" ")[0], name=cell.label)
        told = f"{cell.verdict}: {cell.notes or 'no reason'}"
        if cell.key in failing:
            _within(case, "failure", message=told, type=cell.verdict)
        elif cell.verdict in ("inconclusive", "incomparable", "missing", "unmeasured", "excluded"):
            _within(case, "skipped", message=told)
    if verdict.exit_code and not failing:  # the whole, and no cell of it
        case = _within(suite, "testcase", classname="check", name="verdict")
        _within(case, "error", message=verdict.sentence, type=verdict.word)
        suite.set("tests", str(len(comparison.cells) + 1))
    suite.set("failures", str(len(failing)))
    suite.set("errors", str(int(bool(verdict.exit_code) and not failing)))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _within(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    """An element in another, with attributes of characters that XML can write."""
    written = {name: NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text) for name, text in attributes.items()}
    return ET.SubElement(parent, tag, written)


def to_github_annotations(verdict: Verdict, comparison: Comparison) -> str:
    """Workflow commands for a step's log: at most ten regressions, the last of them counting the rest."""
    cells = list(verdict.regressions)
    shown = cells if len(cells) <= ANNOTATIONS else cells[: ANNOTATIONS - 1]
    lines = [_command("error", f"{cell.verdict}: {cell.label}", cell.notes or cell.verdict) for cell in shown]
    if len(shown) < len(cells):
        rest = f"{len(cells) - len(shown)} more cells are worse, failed or missing: see the summary."
        lines.append(_command("error", "and more", rest))
    doubtful = verdict.exit_code or verdict.word == "changed"
    kind = "error" if verdict.exit_code == REGRESSION else "warning" if doubtful else "notice"
    if not cells:
        lines.append(_command(kind, verdict.word, f"{verdict.sentence} {counts_sentence(comparison)}."))
    return "\n".join(lines) + "\n"


def _command(kind: str, title: str, message: str) -> str:
    """``::error title=…::…`` with what would end it early escaped, as GitHub's own toolkit does."""
    body = formatting.plain(message, 1000).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    head = formatting.plain(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={head}::{body}"


def to_github_action_benchmark(comparison: Comparison) -> str:
    """``customSmallerIsBetter`` of github-action-benchmark: each time of the new side."""
    entries = [
        {
            "name": f"{cell.label} {change.name}",
            "unit": METRICS[change.name].unit,
            "value": change.new,
            "range": f"{change.low:.3f} to {change.high:.3f} of the base" if change.low and change.high else "unknown",
            "extra": f"{change.verdict}: {change.reason or 'within the margin'}",
        }
        for cell, change in _smaller_is_better(comparison)
    ]
    return as_json(entries, indent=2) + "\n"


def to_bencher(comparison: Comparison) -> str:
    """Bencher Metric Format: cell -> measure -> value of the new side, with the interval scaled to it."""
    document: dict[str, dict[str, dict[str, float]]] = {}
    for cell, change in _measured(comparison):
        value = float(change.new or 0)
        entry = {"value": value}
        if change.low and change.high and change.ratio and METRICS[change.name].compared == "time":
            entry |= {
                "lower_value": value * change.low / change.ratio,
                "upper_value": value * change.high / change.ratio,
            }
        document.setdefault(cell.label, {})[change.name] = entry
    return as_json(document, indent=2) + "\n"


def to_openmetrics(comparison: Comparison) -> str:
    """OpenMetrics text, as GitLab's metrics report reads it: one gauge a metric, one sample a cell."""
    by_name: dict[str, dict[str, float | int]] = {}  # two cells of one label are one sample: a parser refuses both
    for cell, change in _measured(comparison):
        by_name.setdefault(change.name, {}).setdefault(_escaped(cell.label), change.new or 0)
    lines = []
    for metric, samples in by_name.items():
        name = NOT_A_NAME.sub("_", f"trainmark_{metric}")
        lines += [f"# TYPE {name} gauge", f"# HELP {name} {_escaped(METRICS[metric].meaning)}"]
        lines += [f'{name}{{cell="{label}"}} {number!r}' for label, number in samples.items()]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _escaped(text: str) -> str:
    return formatting.plain(text, 500).replace("\\", "\\\\").replace('"', '\\"')


def _measured(comparison: Comparison) -> Iterable[tuple[CellComparison, MetricChange]]:
    """Metrics of the new side that were measured and are finite."""
    for cell in comparison.cells:
        for change in cell.changes:
            if change.new is not None and math.isfinite(change.new):
                yield cell, change


def _smaller_is_better(comparison: Comparison) -> Iterable[tuple[CellComparison, MetricChange]]:
    return ((cell, change) for cell, change in _measured(comparison) if change.timed)
