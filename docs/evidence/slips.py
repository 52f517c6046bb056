"""Does a test notice a slip of the pen? Some hundred plausible ones, each made in a copy of the tree by itself.

    PYTHONPATH=. python docs/evidence/slips.py              # all, about half an hour; ends with 1 if one is not noticed
    PYTHONPATH=. python docs/evidence/slips.py holm ratio   # those with one of the words in their name

Where docs/evidence/mutations.py asks whether a measurement shows a fault in what is measured, this asks whether the
tests show one in what measures, judges and draws: a sign, a factor, a bound, an end of an interval. A slip is as an
author would make it, one or two lines that still run. First the tests are run without any slip: they must pass.
docs/measuring.md quotes what is printed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the suite lies there, and is not installed

from docs.evidence.gpu_slips import GPU_SLIPS

ROOT = Path(__file__).parents[2]
CODE = ("bench", "models", "reports", "trainmark", "tests", "docs", "results/reference")
FILES = ("conftest.py", "pyproject.toml", "README.md", "CONTRIBUTING.md", "Makefile")
SECONDS = 600.0  # for the tests of a slip; one that makes them hang is noticed by that


@dataclass(frozen=True)
class Slip:
    """A substitution that somebody might make by mistake.

    Attributes:
        name: What is wrong with it.
        file: Where.
        old: Text that is there once.
        new: What it becomes.
        tests: What pytest is given: files or nodes, one of which must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


STATISTICS, SEQUENTIAL, MARGINS, COMPARISON, CHANGE_POINTS, VERDICT, PRESENCE, EXPLANATION = (
    f"trainmark/judge/{name}.py"
    for name in (
        "statistics",
        "sequential",
        "margins",
        "comparison",
        "change_points",
        "verdict",
        "presence",
        "explanation",
    )
)
RECOMMEND, BREAK_EVEN, PHRASES = (f"trainmark/advise/{name}.py" for name in ("recommend", "break_even", "phrases"))
COST, SPEED, LEARNING, HISTORY, HOLDING, DISTRIBUTION, CANVAS = (
    f"trainmark/page/plots/{name}.py"
    for name in ("cost", "speed", "learning", "history", "holding", "distribution", "canvas")
)
CONFIGURATIONS, LECTURE_PLOTS, NGRAM_PLOTS, NGRAM_TABLES = (
    *("trainmark/page/configurations.py", "reports/lecture_plots.py"),
    *("reports/ngram_plots.py", "reports/ngram.py"),
)
FOREST, TABLES, GALLERIES = (f"trainmark/page/{name}.py" for name in ("forest", "tables", "galleries"))
FORMATS, NUMBERS, MARKDOWN, TERMINAL = (
    f"trainmark/export/{name}.py" for name in ("formats", "numbers", "markdown", "terminal")
)
SESSION, SETTINGS, INSTRUMENTS, PHASES = (
    f"trainmark/measure/{name}.py" for name in ("session", "settings", "instruments", "phases")
)
TRAINING, CHECKPOINTING = (f"trainmark/measure/{name}.py" for name in ("training", "checkpointing"))
WAITING = "trainmark/advise/waiting.py"
CLIENT, RUN, TURNS = (f"trainmark/against/{name}.py" for name in ("client", "run", "turns"))
PAIRS, RECORD, RUNS, ROUNDS, JOURNAL = (
    f"trainmark/store/{name}.py" for name in ("pairs", "record", "runs", "rounds", "journal")
)
COUNTS, DISTURBANCE, ENERGY, PROBES = (
    f"trainmark/meters/{name}.py" for name in ("counts", "disturbance", "energy", "probes")
)
PLUGIN, CLI = "trainmark/plugin.py", "trainmark/cli.py"
ENCODING, SCORING, SPILLING, KNESER_NEY, SAMPLING = (
    f"models/ngram/{name}.py" for name in ("encoding", "scoring", "spilling", "kneser_ney", "sampling")
)
MEASURING, CHOICES, LIMITS = (f"bench/ngram/{name}.py" for name in ("measuring", "choices", "limits"))

IN_CALIBRATION = ("tests/judge/test_calibration.py",)
IN_STATISTICS = ("tests/judge/test_statistics.py",)
IN_SEQUENTIAL = ("tests/judge/test_sequential.py",)
IN_COMPARISON = ("tests/judge/test_comparison.py",)
IN_CHANGE_POINTS = ("tests/judge/test_change_points.py",)
IN_VERDICT = ("tests/judge/test_verdict.py",)
IN_PRESENCE = ("tests/judge/test_presence.py",)
IN_EXPLANATION = ("tests/judge/test_explanation.py",)
IN_RECOMMEND = ("tests/advise/test_recommend.py",)
IN_WAITING = ("tests/advise/test_waiting.py",)
IN_OPTIMIZING = ("tests/measure/test_optimizing.py",)
IN_LOADING = ("tests/measure/test_loading.py",)
IN_BREAK_EVEN = ("tests/advise/test_break_even.py",)
IN_PLOTS = ("tests/page/test_drawn.py",)
IN_COLOURS = ("tests/page/test_colours_and_columns.py",)
IN_CAPTIONS = ("tests/page/test_captions.py",)
IN_TABLES = ("tests/page/test_instruments_on_the_page.py",)
IN_WORDS = ("tests/export/test_words.py",)
IN_FORMATS = ("tests/export/test_formats.py",)
IN_SESSION = ("tests/measure/test_session.py",)
IN_TURNS = ("tests/against/test_turns.py",)
IN_RUN = ("tests/against/test_run.py",)
IN_SIDES = ("tests/against/test_sides.py",)
IN_PAIRS = ("tests/store/test_pairs.py",)
IN_RECORD = ("tests/store/test_record.py",)
IN_RUNS = ("tests/store/test_runs.py",)
IN_COUNTS = ("tests/meters/test_counts.py",)
IN_METERS = ("tests/meters/test_meters.py",)
IN_ENERGY = ("tests/meters/test_energy.py",)
IN_PROBES = ("tests/meters/test_probes.py",)
IN_PLUGIN = ("tests/test_plugin.py",)

SLIPS = (
    # judge: statistics
    Slip("pairs needed by 3/pi for pi/3", STATISTICS, "* math.pi / 3)", "* 3 / math.pi)", IN_STATISTICS),
    Slip(
        "pairs needed without the power",
        STATISTICS,
        "norm.isf(alpha) + norm.ppf(power)",
        "norm.isf(alpha)",
        IN_STATISTICS,
    ),
    Slip("zeros count as positive ranks", STATISTICS, "array[order] > 0]", "array[order] >= 0]", IN_STATISTICS),
    Slip(
        "tail of the rank sum without its own value",
        STATISTICS,
        "return np.cumsum(mass[::-1])[::-1]",
        "return 1 - np.cumsum(mass)",
        IN_STATISTICS,
    ),
    Slip("centre's interval of one side", STATISTICS, "(1 - confidence) / 2))", "1 - confidence))", IN_STATISTICS),
    Slip(
        "holm by one hypothesis too few",
        STATISTICS,
        "(len(p_values) - place)",
        "(len(p_values) - place - 1)",
        IN_STATISTICS,
    ),
    Slip(
        "holm without its running maximum",
        STATISTICS,
        "largest = max(largest, (",
        "largest = max(0.0, (",
        IN_STATISTICS,
    ),
    Slip("paired difference by n for its root", STATISTICS, "/ math.sqrt(n))", "/ n)", IN_STATISTICS),
    Slip("paired difference with the spread of a population", STATISTICS, ".std(ddof=1)", ".std()", IN_STATISTICS),
    Slip(
        "runs apart by half of their variance",
        STATISTICS,
        "float(np.mean(steps**2))",
        "float(np.mean(steps**2)) / 2",
        IN_CALIBRATION,
    ),
    Slip(
        "runs apart by a quantile of one side",
        STATISTICS,
        "student.ppf((1 + confidence) / 2, len(steps))",
        "student.ppf(confidence, len(steps))",
        IN_CALIBRATION,
    ),
    Slip(
        "runs apart by a mean that is not squared",
        STATISTICS,
        "math.sqrt(float(np.mean(steps**2)))",
        "float(np.mean(np.abs(steps)))",
        IN_CALIBRATION,
    ),
    Slip(
        "ratio between ends of one kind", STATISTICS, "above.low / below.high", "above.low / below.low", IN_STATISTICS
    ),
    Slip("median's interval of one side", ROUNDS, "if 2 * tail > 1", "if tail > 1", ("tests/store/test_rounds.py",)),
    # judge: the sequential rule
    Slip(
        "unchanged without the correction for looks",
        SEQUENTIAL,
        "len(LOOKS) * max(signed",
        "max(signed",
        IN_CALIBRATION,
    ),
    Slip(
        "changed without the correction for looks",
        SEQUENTIAL,
        "len(looks) * signed_rank_p(shifted[:n])",
        "signed_rank_p(shifted[:n])",
        IN_CALIBRATION,
    ),
    Slip("slower without the correction for cells", SEQUENTIAL, "worse = holm({", "worse = dict({", IN_CALIBRATION),
    Slip("faster without the correction for cells", SEQUENTIAL, "better = holm(", "better = dict(", IN_CALIBRATION),
    Slip(
        "unchanged by one of both tests",
        SEQUENTIAL,
        "len(LOOKS) * max(signed",
        "len(LOOKS) * min(signed",
        IN_SEQUENTIAL,
    ),
    Slip(
        "more pairs for the farthest from an alarm",
        SEQUENTIAL,
        "key=lambda key: decisions[key].p_value",
        "key=lambda key: -decisions[key].p_value",
        IN_SEQUENTIAL,
    ),
    Slip("focus beside the alarms", SEQUENTIAL, "[: max(FOCUS - len(alarmed), 0)]", "[:FOCUS]", IN_SEQUENTIAL),
    Slip("focus after the first look", SEQUENTIAL, "exploring) < LOOKS[1]]", "exploring) < LOOKS[0]]", IN_SEQUENTIAL),
    Slip(
        "the margin for its logarithm",
        SEQUENTIAL,
        "    bound = math.log1p(cell.margin)\n",
        "    bound = cell.margin\n",
        IN_SEQUENTIAL,
    ),
    Slip(
        "a gain confirmed as a loss", SEQUENTIAL, 'sign = 1 if alarm == "regressed" else -1', "sign = 1", IN_SEQUENTIAL
    ),
    Slip(
        "confirmed by the pairs of the alarm",
        SEQUENTIAL,
        "[sign * value for value in cell.confirming]",
        "[sign * value for value in cell.exploring]",
        IN_SEQUENTIAL,
    ),
    Slip(
        "confirmed against no change",
        SEQUENTIAL,
        "_smallest_p(confirming, bound, 1, CONFIRMING_LOOKS)",
        "_smallest_p(confirming, 0.0, 1, CONFIRMING_LOOKS)",
        IN_SEQUENTIAL,
    ),
    Slip("interval that forgets the looks", SEQUENTIAL, "1 - ALPHA / len(LOOKS))", "1 - ALPHA)", IN_CALIBRATION),
    Slip(
        "ratio without the confirming pairs",
        SEQUENTIAL,
        "everything = [*cell.exploring, *cell.confirming]",
        "everything = [*cell.exploring]",
        IN_SEQUENTIAL,
    ),
    Slip("spread by the bare median deviation", SEQUENTIAL, "spread = 1.4826 *", "spread =", IN_SEQUENTIAL),
    Slip(
        "more pairs as if there were one cell",
        SEQUENTIAL,
        "ALPHA / len(LOOKS) / family",
        "ALPHA / len(LOOKS)",
        IN_SEQUENTIAL,
    ),
    Slip(
        "more pairs with those that are there",
        SEQUENTIAL,
        "max(needed - len(array), 1)",
        "max(needed, 1)",
        IN_SEQUENTIAL,
    ),
    # judge: margins, comparison, verdict, presence
    Slip(
        "the floor adds to the margin",
        MARGINS,
        "self.default, self.floor or 0.0)",
        "self.default, 0.0) + (self.floor or 0.0)",
        ("tests/judge/test_margins.py",),
    ),
    Slip(
        "the floor of the A/A control not applied by check",
        CLI,
        "compare_paired(run, margins.with_floor(floor), ",
        "compare_paired(run, margins, ",
        IN_VERDICT,
    ),
    Slip(
        "the floor of the A/A control not applied while measuring",
        PLUGIN,
        "    margins = margins.with_floor(control_floor(earlier",
        "    margins.with_floor(control_floor(earlier",
        IN_PLUGIN,
    ),
    Slip(
        "an accuracy margin times the baseline",
        COMPARISON,
        "-metric.tolerance, metric.tolerance)",
        "-metric.tolerance * before, metric.tolerance * before)",
        IN_COMPARISON,
    ),
    Slip("a control that is faster shows nothing", COMPARISON, "abs(centre.middle)", "centre.middle", IN_CALIBRATION),
    Slip(
        "a control at the confidence of one cell",
        COMPARISON,
        "1 - (1 - CONFIDENCE) / len(controls)",
        "CONFIDENCE",
        IN_CALIBRATION,
    ),
    Slip("any paired run as a control", COMPARISON, "if run.side == A_A and ", "if ", IN_VERDICT),
    Slip(
        "the floor as a logarithm",
        COMPARISON,
        "math.expm1(max(shown, default=0.0))",
        "max(shown, default=0.0)",
        IN_CALIBRATION,
    ),
    Slip(
        "two runs without the correction for cells",
        COMPARISON,
        'family=max(1, sum(record.status == "ok" for record in base.records))',
        "family=1",
        IN_COMPARISON,
    ),
    Slip(
        "a margin that is wider for faster",
        COMPARISON,
        "found = position(ratio.low, ratio.high, 1 / (1 + margin), 1 + margin)",
        "found = position(ratio.low, ratio.high, 1 - margin, 1 + margin)",
        IN_COMPARISON,
    ),
    Slip(
        "the time of a block for that of a step",
        COMPARISON,
        "for pair in kept) / steps",
        "for pair in kept) / 1",
        IN_VERDICT,
    ),
    Slip(
        "disturbed pairs judged with the others",
        COMPARISON,
        "[pair for pair in some if not pair.disturbed]",
        "list(some)",
        IN_VERDICT,
    ),
    Slip(
        "seeds paired by their place",
        COMPARISON,
        "[new_seeds[seed] for seed in common])\n    assert",
        "[*new_seeds.values()][: len(common)])\n    assert",
        IN_COMPARISON,
    ),
    Slip(
        "left out cells in the total", VERDICT, "len(comparison.cells) - left_out", "len(comparison.cells)", IN_PRESENCE
    ),
    Slip(
        "a warning of missing cells that fails",
        VERDICT,
        'policy.missing == "fail")',
        'policy.missing != "pass")',
        IN_VERDICT,
    ),
    Slip("undecided for one open cell", VERDICT, '== "warn" and not decided)', '== "warn")', IN_VERDICT),
    Slip("the widest margin told as asked for", VERDICT, "min([margins.default", "max([margins.default", IN_VERDICT),
    Slip(
        "cut off for lost",
        PRESENCE,
        'return "missing" if facts.complete else "unmeasured"',
        'return "unmeasured" if facts.complete else "missing"',
        IN_PRESENCE,
    ),
    Slip("what was asked for as left out", PRESENCE, "axes[name] not in values", "axes[name] in values", IN_PRESENCE),
    Slip(
        "a smaller grid lost its cells",
        PRESENCE,
        'options.get("grid") != base',
        'options.get("grid") == base',
        IN_PRESENCE,
    ),
    # judge: change points, explanation
    Slip(
        "sigma without its root of two",
        CHANGE_POINTS,
        " / math.sqrt(2), NOISE_FLOOR",
        ", NOISE_FLOOR",
        IN_CHANGE_POINTS,
    ),
    Slip("sigma by the bare median deviation", CHANGE_POINTS, "max(1.4826 * float", "max(float", IN_CHANGE_POINTS),
    Slip("a penalty of sigma for its square", CHANGE_POINTS, "3 * sigma**2 *", "3 * sigma *", IN_CHANGE_POINTS),
    Slip(
        "a penalty without the number of runs",
        CHANGE_POINTS,
        "3 * sigma**2 * math.log(len(points))",
        "3 * sigma**2",
        IN_CHANGE_POINTS,
    ),
    Slip("a change of less than the noise", CHANGE_POINTS, "> 2 * sigma]", "> 0]", IN_CHANGE_POINTS),
    Slip(
        "noise of a step as seconds", EXPLANATION, "noise = NOISE * base.step_seconds", "noise = NOISE", IN_EXPLANATION
    ),
    Slip("calls of one shape lost", EXPLANATION, "calls + row.calls_per_step", "row.calls_per_step", IN_EXPLANATION),
    Slip(
        "waits that vanish",
        EXPLANATION,
        "base.between_seconds + sum(",
        "base.between_seconds + 0 * sum(",
        IN_EXPLANATION,
    ),
    Slip(
        "leaders in seconds for shares",
        EXPLANATION,
        " / profile.step_seconds",
        "",
        ("tests/page/test_instruments_on_the_page.py",),
    ),
    # advise
    Slip(
        "the largest batch as default",
        RECOMMEND,
        '!= usual, axis(one, "batch_size"))',
        '!= usual, -int(axis(one, "batch_size")))',
        IN_RECOMMEND,
    ),
    Slip(
        "seeds paired though the epochs differ",
        RECOMMEND,
        ".setdefault((seed, len(curve)), ",
        ".setdefault(seed, ",
        IN_RECOMMEND,
    ),
    Slip(
        "inferior by a test of two sides",
        RECOMMEND,
        "stdtrit(len(seeds) - 1, CONFIDENCE)",
        "stdtrit(len(seeds) - 1, (1 + CONFIDENCE) / 2)",
        IN_RECOMMEND,
    ),
    Slip(
        "a gain of the step for that of the sample",
        RECOMMEND,
        "[seconds / _samples(one) for",
        "[seconds for",
        IN_RECOMMEND,
    ),
    Slip(
        "added up: a gain of the batch for that of the step",
        RECOMMEND,
        'int(axis(record, "batch_size")) * int(axis(record, "accumulate"))',
        'int(axis(record, "batch_size"))',
        IN_RECOMMEND,
    ),
    Slip("added up: losses unweighed", TRAINING, " * (samples_of(some, wanted) / samples)", "", IN_OPTIMIZING),
    Slip(
        "added up: a step of a batch each",
        TRAINING,
        "        losses.append(loss.detach())\n",
        "        losses.append(loss.detach())\n        scaler.step(optimizer)\n",
        IN_OPTIMIZING,
    ),
    Slip(
        "computed again: running statistics moved twice",
        CHECKPOINTING,
        "        norm.momentum, norm.num_batches_tracked = 0.0, None\n",
        "        pass\n",
        IN_OPTIMIZING,
    ),
    Slip("waiting: a disk for a transform", WAITING, "if worked >= BUSY", "if worked < BUSY", IN_WAITING),
    Slip("waiting: workers that do not count", PHASES, "(own_cpu + of_workers)", "own_cpu", IN_LOADING),
    Slip(
        "a need in the place of what a call says",
        "trainmark/workloads/planning.py",
        "given.setdefault(other, (value,))",
        "given[other] = (value,)",
        ("tests/workloads/test_planning.py",),
    ),
    Slip("not inferior only where better", RECOMMEND, "if worst > -margin else", "if worst > 0 else", IN_RECOMMEND),
    Slip(
        "doubts of the default unsaid",
        RECOMMEND,
        "flag in record.flags + default.flags",
        "flag in record.flags",
        IN_RECOMMEND,
    ),
    Slip(
        "the host's memory for the device's",
        RECOMMEND,
        "return device if device is not None else",
        "return device if device is None else",
        IN_RECOMMEND,
    ),
    Slip(
        "energy turned round",
        RECOMMEND,
        "Interval(usual / value if value",
        "Interval(value / usual if value",
        IN_RECOMMEND,
    ),
    Slip(
        "seeds by the ratio for its square",
        PHRASES,
        "min(reach / room, 1e6) ** 2)",
        "min(reach / room, 1e6))",
        IN_RECOMMEND,
    ),
    Slip(
        "compiling decided within the intervals",
        BREAK_EVEN,
        "return high < other_low or other_high < low",
        "return high < other_high or other_high < high",
        IN_BREAK_EVEN,
    ),
    Slip(
        "compiling decided where it is faster alone",
        BREAK_EVEN,
        "return high < other_low or other_high < low",
        "return high < other_low",
        IN_BREAK_EVEN,
    ),
    # page: pictures
    Slip(
        "the front with its axes swapped",
        LEARNING,
        'points, x="samples_per_second", y="accuracy", hue',
        'points, y="samples_per_second", x="accuracy", hue',
        IN_PLOTS,
    ),
    Slip(
        "the front's line with its axes swapped",
        LEARNING,
        'front, x="samples_per_second", y="accuracy"',
        'front, y="samples_per_second", x="accuracy"',
        IN_PLOTS,
    ),
    Slip(
        "seeds of the front from the lowest to the lowest",
        LEARNING,
        'drawn["accuracy_lowest"], drawn["accuracy_highest"],',
        'drawn["accuracy_lowest"], drawn["accuracy_lowest"],',
        IN_PLOTS,
    ),
    Slip(
        "training time times epochs",
        LEARNING,
        '["rounds"][number] * epoch / len(curve)',
        '["rounds"][number] * epoch',
        IN_PLOTS,
    ),
    Slip("epochs counted from zero", LEARNING, "enumerate(curve, start=1)", "enumerate(curve)", IN_PLOTS),
    Slip(
        "a pay-back without the compile time",
        COST,
        "n * eager / (cost + n * compiled)",
        "n * eager / (n * compiled)",
        IN_PLOTS,
    ),
    Slip(
        "phases of the smallest batch",
        COST,
        '"batch_size", ascending=False, kind="stable").drop_duplicates(',
        '"batch_size", ascending=True, kind="stable").drop_duplicates(',
        IN_PLOTS,
    ),
    Slip(
        "a roof above the roof",
        COST,
        "np.minimum(reach * traffic, rate)",
        "np.maximum(reach * traffic, rate)",
        IN_PLOTS,
    ),
    Slip(
        "the roofline's axes swapped",
        COST,
        'points, x="arithmetic_intensity", y="achieved_flops_per_second"',
        'points, y="arithmetic_intensity", x="achieved_flops_per_second"',
        IN_PLOTS,
    ),
    Slip("the limit at the largest", COST, "drawn.axhline(limit,", "drawn.axhline(largest,", IN_PLOTS),
    Slip(
        "host memory drawn for the device's",
        COST,
        "device.where(device.notna(), ",
        "device.where(device.isna(), ",
        IN_PLOTS,
    ),
    Slip("phases drawn equally long", COST, 'weights="share"', "weights=None", IN_PLOTS),
    Slip(
        "a rate's interval that ends in itself",
        SPEED,
        '_samples(panel) / panel["step_seconds_high"]',
        '_samples(panel) / panel["step_seconds"]',
        IN_PLOTS,
    ),
    Slip(
        "rounds over their longest",
        SPEED,
        '"relative": seconds / median(row["rounds"])',
        '"relative": seconds / max(row["rounds"])',
        IN_PLOTS,
    ),
    Slip(
        "speed-ups of the first settings",
        SPEED,
        "(-table[name].median(), name)",
        "(table[name].median(), name)",
        IN_PLOTS,
    ),
    Slip(
        "an interval of history that is none",
        HISTORY,
        'points["step_seconds_low"], points["step_seconds_high"]',
        'points["step_seconds_low"], points["step_seconds_low"]',
        IN_PLOTS,
    ),
    Slip("a change marked after its run", HISTORY, "order[name] - 0.5", "order[name] + 0.5", IN_PLOTS),
    # page: tables and forest
    Slip(
        "a forest twice as wide",
        FOREST,
        "math.log(ratio) / math.log(reach) / 2",
        "math.log(ratio) / math.log(reach)",
        IN_WORDS,
    ),
    Slip(
        "a band with the common margin",
        FOREST,
        "margin = comparison.margins.of(cell.label)",
        "margin = comparison.margins.default",
        IN_WORDS,
    ),
    Slip(
        "a bar from high to low", FOREST, "for end in (low, ratio, high))", "for end in (high, ratio, low))", IN_WORDS
    ),
    Slip("mebibytes as megabytes", TABLES, "round(size / 1e6)", "round(size / 2**20)", IN_TABLES),
    Slip(
        "an interval in seconds beside milliseconds",
        TABLES,
        "{formatting.digits(low / size)}",
        "{formatting.digits(low)}",
        IN_TABLES,
    ),
    Slip("a strip upside down", TABLES, "round(10 - 9 *", "round(10 + 9 *", IN_TABLES),
    # page: captions, colours and columns, one for each gallery and each table
    Slip(
        "the slowest told as the fastest",
        SPEED,
        'sort_values("samples_per_second", ascending=False, kind="stable")\n    best',
        'sort_values("samples_per_second", ascending=True, kind="stable")\n    best',
        IN_CAPTIONS,
    ),
    Slip(
        "a gain that no interval shows told as the largest",
        SPEED,
        "shown = max(apart)",
        "shown = max(every)",
        IN_CAPTIONS,
    ),
    Slip("flagged cells told as steady", SPEED, "spread.lt(STEADY) & ~flagged", "spread.lt(STEADY)", IN_CAPTIONS),
    Slip(
        "most memory told of the leanest",
        HOLDING,
        "most = max(range(len(totals))",
        "most = min(range(len(totals))",
        IN_COLOURS,
    ),
    Slip(
        "the share of a phase told of another",
        COST,
        "shares[first].mean(), 0)",
        "shares.mean().mean(), 0)",
        IN_CAPTIONS,
    ),
    Slip(
        "most energy told as the least",
        COST,
        '].gt(0)].sort_values(name, kind="stable")',
        '].gt(0)].sort_values(name, ascending=False, kind="stable")',
        IN_PLOTS,
    ),
    Slip(
        "never told of what is undecided",
        COST,
        "never = [one for one in found if one.decided and one.steps is None]",
        "never = [one for one in found if one.steps is None]",
        IN_CAPTIONS,
    ),
    Slip(
        "cells below the slope told as above",
        COST,
        '"achieved_flops_per_second"].gt(drawn',
        '"achieved_flops_per_second"].lt(drawn',
        IN_CAPTIONS,
    ),
    Slip(
        "the first and the last run swapped in the history",
        HISTORY,
        'points["seconds"].iloc[0], points["seconds"].iloc[-1]',
        'points["seconds"].iloc[-1], points["seconds"].iloc[0]',
        IN_PLOTS,
    ),
    Slip(
        "trainings that end at their highest alone",
        LEARNING,
        'last["held_out"].min(), last["held_out"].max()',
        'last["held_out"].max(), last["held_out"].max()',
        IN_CAPTIONS,
    ),
    Slip(
        "medians of one side",
        DISTRIBUTION,
        "quantile(seconds, 0.5) for seconds in sides.values()",
        "quantile(base, 0.5) for seconds in sides.values()",
        IN_COLOURS,
    ),
    Slip("sides that overlap told apart", DISTRIBUTION, "min(new) > max(base)", "min(new) >= max(base)", IN_COLOURS),
    Slip(
        "the most frequent mistakes told last",
        LECTURE_PLOTS,
        "(-mistakes[place], place)",
        "(mistakes[place], place)",
        IN_CAPTIONS,
    ),
    Slip(
        "the slowest engine told as the fastest",
        NGRAM_PLOTS,
        "ascending=[not higher, True]",
        "ascending=[higher, True]",
        IN_CAPTIONS,
    ),
    Slip(
        "each series in the colour of the first",
        SPEED,
        "            color=style.color,\n            linestyle=dashes",
        "            color=next(iter(styles.values())).color,\n            linestyle=dashes",
        IN_COLOURS,
    ),
    Slip(
        "parts of memory in one colour",
        HOLDING,
        "color=COLORS[part], linewidth=0",
        "color=COLORS[REST], linewidth=0",
        IN_COLOURS,
    ),
    Slip("memory above no floor", HOLDING, 'float(row["peak"]) - floor - sum', 'float(row["peak"]) - sum', IN_COLOURS),
    Slip(
        "ceilings in the colour of other precisions",
        COST,
        'setting_style({"precision": precision, "compile": "off"})',
        'setting_style({"precision": "other", "compile": "off"})',
        IN_COLOURS,
    ),
    Slip(
        "energy in the colour of one precision", COST, "c=colors, s=36", "c=colors[:1] * len(colors), s=36", IN_COLOURS
    ),
    Slip(
        "rounds in the colour of a candidate",
        SPEED,
        'y="place", color=BLUE, s=9',
        'y="place", color="#e0812f", s=9',
        IN_COLOURS,
    ),
    Slip(
        "history in the colour of a candidate",
        HISTORY,
        'y="seconds", color=BLUE',
        'y="seconds", color="#e0812f"',
        IN_COLOURS,
    ),
    Slip(
        "curves in the colour of one precision",
        LEARNING,
        "palette = {style.name: style.color for style in styles.values()}",
        "palette = {name: next(iter(styles.values())).color for name in styles}",
        IN_COLOURS,
    ),
    Slip(
        "models of the front in one colour",
        LEARNING,
        'style="model",\n                        palette={name: style.color for name, style in styles.items()}',
        'style="model",\n                        palette={name: "#3d7fc4" for name in styles}',
        IN_COLOURS,
    ),
    Slip(
        "baseline and candidate in each other's colour",
        DISTRIBUTION,
        '{"baseline": BLUE, "candidate": ORANGE}',
        '{"baseline": ORANGE, "candidate": BLUE}',
        IN_COLOURS,
    ),
    Slip(
        "the fewest mistakes darkest",
        LECTURE_PLOTS,
        '["#eef0f2", "#e0812f", "#7c2d12"]',
        '["#7c2d12", "#e0812f", "#eef0f2"]',
        IN_COLOURS,
    ),
    Slip(
        "white on white in a heatmap",
        CANVAS,
        "luminance(color[:3]) > EQUALLY_LEGIBLE",
        "luminance(color[:3]) < EQUALLY_LEGIBLE",
        ("tests/page/test_page_in_browser.py",),
    ),
    Slip("a label on its interval", SPEED, "(end, row), (7, 0)", "(rate, row), (7, 0)", IN_COLOURS),
    Slip("a ratio without its flag", SPEED, 'text + "!" * bool', 'text + "" * bool', IN_COLOURS),
    Slip(
        "the lowest accuracy as the mean",
        TABLES,
        'for part, of in ((name, ""), (f"{name}_lowest"',
        'for part, of in ((f"{name}_lowest", ""), (name',
        IN_COLOURS,
    ),
    Slip(
        "samples of the step time",
        TABLES,
        'number_column(records, "samples_per_second", "Samples/s"),\n    ]',
        'number_column(records, "step_seconds", "Samples/s"),\n    ]',
        IN_COLOURS,
    ),
    Slip(
        "a phase in the column of another",
        TABLES,
        'parts = [record.metrics.get(f"{name}_seconds") for record in records]',
        'parts = [record.metrics.get("data_seconds") for record in records]',
        IN_COLOURS,
    ),
    Slip(
        "gradients in the column of parameters",
        TABLES,
        'megabytes_column(records, "parameter_bytes"',
        'megabytes_column(records, "gradient_bytes"',
        IN_COLOURS,
    ),
    Slip(
        "traffic in the column of arithmetic",
        TABLES,
        'share_column(records, "flops_utilisation"',
        'share_column(records, "bytes_utilisation"',
        IN_COLOURS,
    ),
    Slip(
        "launching in the column of data",
        TABLES,
        "[one.data for one in found]",
        "[one.launching for one in found]",
        IN_COLOURS,
    ),
    Slip("waiting as a share of one", TABLES, 'had no core", 100)', 'had no core", 1)', IN_COLOURS),
    Slip(
        "the warm cache in the column of the cold",
        TABLES,
        'time_column(records, "compile_seconds", "Compiling, cold cache")',
        'time_column(records, "compile_warm_seconds", "Compiling, cold cache")',
        IN_COLOURS,
    ),
    Slip(
        "no_grad in the column of inference_mode",
        TABLES,
        "time_column([saving.usual for saving in savings]",
        "time_column([saving.record for saving in savings]",
        IN_COLOURS,
    ),
    Slip(
        "peak memory for the largest batch",
        TABLES,
        'number_column(records, "max_batch_size"',
        'number_column(records, "peak_memory_bytes"',
        IN_COLOURS,
    ),
    Slip(
        "ids in the column of text",
        NGRAM_TABLES,
        'time_column(records, "encode_seconds"',
        'time_column(records, "count_seconds"',
        IN_COLOURS,
    ),
    Slip(
        "unknown words in the column of unseen n-grams",
        NGRAM_TABLES,
        'share_column(records, "unseen_share"',
        'share_column(records, "unknown_share"',
        IN_COLOURS,
    ),
    Slip(
        "device memory in the column of the process",
        CONFIGURATIONS,
        'megabytes_column(records, "peak_memory_bytes"',
        'megabytes_column(records, "device_allocated_bytes"',
        IN_COLOURS,
    ),
    Slip(
        "warnings without their status",
        CONFIGURATIONS,
        '() if record.status == "ok" else (record.status,)',
        "()",
        IN_COLOURS,
    ),
    Slip(
        "columns lost where a table is split",
        TABLES,
        "row.values[start : start + width]",
        "row.values[:width]",
        IN_COLOURS,
    ),
    # export
    Slip(
        "the baseline's value for OpenMetrics",
        FORMATS,
        "_escaped(cell.label), change.new or 0)",
        "_escaped(cell.label), change.base or 0)",
        IN_FORMATS,
    ),
    Slip(
        "the baseline's value for github-action-benchmark",
        FORMATS,
        '"value": change.new,',
        '"value": change.base,',
        IN_FORMATS,
    ),
    Slip(
        "a Bencher interval around the ratio",
        FORMATS,
        "value * change.low / change.ratio",
        "value * change.low",
        IN_FORMATS,
    ),
    Slip(
        "a comment with its sides swapped",
        MARKDOWN,
        "(shown.base, shown.new)",
        "(shown.new, shown.base)",
        IN_FORMATS,
    ),
    Slip(
        "a gain from high to high",
        NUMBERS,
        '"gain_low": choice.gain.low',
        '"gain_low": choice.gain.high',
        IN_WORDS,
    ),
    Slip(
        "a table with its sides swapped",
        TERMINAL,
        "(shown.base, shown.new, shown.ratio, shown.interval)",
        "(shown.new, shown.base, shown.ratio, shown.interval)",
        IN_FORMATS,
    ),
    Slip(
        "the share of all that an operator calls",
        TERMINAL,
        "_share(row.self_seconds_per_step, step_seconds)",
        "_share(row.total_seconds_per_step, step_seconds)",
        ("tests/judge/test_explanation.py", "tests/meters/test_profiler.py"),
    ),
    # store
    Slip("a NaN among the host's rounds", RECORD, "(*self.rounds, *self.host_rounds)", "self.rounds", IN_RECORD),
    Slip(
        "the slower half of the blocks",
        PAIRS,
        "geometric_mean(sorted(self.blocks)[",
        "geometric_mean(sorted(self.blocks, reverse=True)[",
        IN_PAIRS,
    ),
    Slip(
        "a pair kept for its quiet half",
        PAIRS,
        "self.base.disturbed or self.new.disturbed",
        "self.base.disturbed and self.new.disturbed",
        IN_PAIRS,
    ),
    Slip("a drift of one direction", PAIRS, "abs(self.control_drift)", "self.control_drift", IN_PAIRS),
    Slip("the seconds of all pairs as one's", PAIRS, "fmean(took) if took", "sum(took) if took", IN_PAIRS),
    Slip(
        "the emptiest of a run's files",
        RUNS,
        "len(known.records) <= len(run.records)",
        "len(known.records) >= len(run.records)",
        IN_RUNS,
    ),
    Slip(
        "runs in the order of their letters", RUNS, 'int(path.name.split("_")[0])', 'path.name.split("_")[0]', IN_RUNS
    ),
    Slip(
        "the first record of a cell kept",
        JOURNAL,
        "records[record.key] = record",
        "records.setdefault(record.key, record)",
        ("tests/store/test_journal.py",),
    ),
    # measure
    Slip("estimates from the oldest runs", SESSION, "[-HISTORY:]", "[:HISTORY]", IN_SESSION),
    Slip(
        "estimates from any machine",
        SESSION,
        'if run.environment.get("fingerprint") == fingerprint:',
        "if run.environment:",
        IN_SESSION,
    ),
    Slip(
        "peaks of one precision forget the others",
        SESSION,
        "{**known, **outcome.value.flops_per_second}",
        "{**outcome.value.flops_per_second}",
        IN_SESSION,
    ),
    Slip(
        "complete where anything is planned",
        SESSION,
        "set(self.facts.planned) <= set(self.records)",
        "set(self.facts.planned) >= set(self.records)",
        IN_SESSION,
    ),
    Slip(
        "an edit since the run began unseen",
        SESSION,
        'if before["difference"] != code.difference:',
        "if False:",
        IN_SESSION,
    ),
    Slip(
        "foreign cells kept on --resume",
        PLUGIN,
        "        _leave_out(config, items, session.is_planned)\n",
        "",
        IN_PLUGIN,
    ),
    Slip(
        "all cores for PyTorch",
        SETTINGS,
        "os.cpu_count() or 2) - 1)",
        "os.cpu_count() or 2))",
        ("tests/test_options.py",),
    ),
    Slip(
        "phases of longer steps for longer",
        INSTRUMENTS,
        "settings.max_seconds / step_seconds",
        "settings.max_seconds * step_seconds",
        ("tests/measure/test_phases.py",),
    ),
    Slip(
        "a phase with what is nested in it",
        PHASES,
        "self._between(begin, end) - sum(",
        "self._between(begin, end) - 0 * sum(",
        ("tests/measure/test_phases.py",),
    ),
    # against
    Slip(
        "the caller's environment beats env:NAME=",
        CLIENT,
        "{**git.environment(), **same_hashes(), processes.MARK: self._mark, **asked}",
        "{**asked, **git.environment(), **same_hashes(), processes.MARK: self._mark}",
        IN_SIDES,
    ),
    Slip(
        "cells of the base in spite of a chosen file",
        RUN,
        "if everything and session.asks_for_all:",
        "if everything:",
        IN_RUN,
    ),
    Slip(
        "a record of fewer seeds taken over",
        RUN,
        ' and record.settings.get("seeds", 1) == self.session.seeds_of(cell)',
        "",
        IN_RUN,
    ),
    Slip("a failed record taken over", RUN, '        if record.status == "ok"\n    }', "    }", IN_RUN),
    Slip("records of another environment taken over", RUN, "        sorted(place.variables.items()),\n", "", IN_RUN),
    Slip(
        "resumed against another base",
        RUN,
        'run.origins["base"] != now_begun.origins["base"]',
        'run.origins["new"] != now_begun.origins["new"]',
        IN_RUN,
    ),
    Slip("a budget without the starts", RUN, " + generations * START_SECONDS", "", IN_RUN),
    Slip("pairs as long as in the oldest run", RUN, "here[-1].pair_seconds", "here[0].pair_seconds", IN_RUN),
    Slip(
        "a hot core unseen",
        TURNS,
        '("throttled_periods", "thermal_events", "gpu_throttled")',
        '("throttled_periods", "gpu_throttled")',
        IN_TURNS,
    ),
    Slip(
        "generations counted anew on --resume",
        TURNS,
        "generation = max((pair.generation",
        "generation = min((pair.generation",
        IN_TURNS,
    ),
    Slip(
        "blocks by strict turns",
        TURNS,
        "in (first, second, second, first):",
        "in (first, second, first, second):",
        IN_TURNS,
    ),
    # meters
    Slip(
        "buffers counted as activations",
        COUNTS,
        "for tensor in (*model.parameters(), *model.buffers())}",
        "for tensor in model.parameters()}",
        IN_COUNTS,
    ),
    Slip("views that move bytes", COUNTS, "if not func.is_view:", "if func:", IN_COUNTS),
    Slip(
        "a composition without buffers",
        COUNTS,
        "held_bytes([*parameters, *model.buffers()])",
        "held_bytes(parameters)",
        IN_COUNTS,
    ),
    Slip(
        "each compilation a recompilation",
        COUNTS,
        'not str(done.compile_id).endswith("/0")',
        "bool(str(done.compile_id))",
        IN_COUNTS,
    ),
    Slip("waiting in seconds for a share", DISTURBANCE, "max(waiting, 0.0) / window", "max(waiting, 0.0)", IN_METERS),
    Slip(
        "steal of all time since boot", DISTURBANCE, "/ total if total > 0", "/ after.steal[1] if total > 0", IN_METERS
    ),
    Slip("time for disks as steal", DISTURBANCE, "(ticks[7], sum(ticks))", "(ticks[4], sum(ticks))", IN_METERS),
    Slip(
        "a quota that stopped nobody",
        DISTURBANCE,
        "(self.throttled_periods or 0) > 0",
        "(self.throttled_periods or 0) > 1",
        IN_METERS,
    ),
    Slip("packages with their parts", ENERGY, 'if name.startswith("package-"):', "if name:", IN_ENERGY),
    Slip("a short window for energy", ENERGY, "seconds >= SHORTEST_WINDOW[self._kind]", "seconds > 0", IN_ENERGY),
    Slip("joules times samples", ENERGY, "joules / samples_per_step", "joules * samples_per_step", IN_ENERGY),
    Slip("a multiply-add as one operation", PROBES, "return 2 * self.batch *", "return self.batch *", IN_PROBES),
    Slip("a copy that only reads", PROBES, "Probe(8 * elements", "Probe(4 * elements", IN_PROBES),
    Slip("one gradient for two", PROBES, "Probe(2 * shape.flops,", "Probe(shape.flops,", IN_PROBES),
    Slip(
        "a ridge within the caches",
        PROBES,
        "else peaks.copy_bytes_per_second)",
        "else peaks.bytes_per_second)",
        IN_PROBES,
    ),
    # n-grams
    Slip(
        "long words that collide are one",
        ENCODING,
        "if same and (not long or is_word(text, begin, length, word, word_ends, word_text)):",
        "if same:",
        ("tests/models/ngram/test_ngram_encoding.py",),
    ),
    Slip(
        "a score without the words before a piece",
        SCORING,
        "first = max(0, begin - counts.order + 1)",
        "first = begin",
        ("tests/models/ngram/test_ngram_fitting.py",),
    ),
    Slip(
        "a score with one word less before a piece",
        SCORING,
        "first = max(0, begin - counts.order + 1)",
        "first = max(0, begin - counts.order + 2)",
        ("tests/models/ngram/test_ngram_fitting.py",),
    ),
    Slip(
        "a count without the words before a piece",
        SPILLING,
        "first = max(0, begin - lookback)",
        "first = begin",
        ("tests/models/ngram/test_ngram_counting.py",),
    ),
    Slip(
        "entries of a range from zero",
        SPILLING,
        "entries + np.uint32(part.offset)",
        "entries",
        ("tests/models/ngram/test_ngram_counting.py",),
    ),
    Slip(
        "perplexity of the unknown words",
        SCORING,
        "[~self.unknown]",
        "[self.unknown]",
        ("tests/models/ngram/test_ngram_kneser_ney.py",),
    ),
    Slip(
        "seen n-grams as unseen",
        SCORING,
        "np.mean(self.orders < np",
        "np.mean(self.orders <= np",
        ("tests/models/ngram/test_ngram_fitting.py",),
    ),
    Slip(
        "alpha once for the vocabulary",
        SCORING,
        "(possible + alpha * counts.vocabulary_size)",
        "(possible + alpha)",
        ("tests/models/ngram/test_ngram_fitting.py",),
    ),
    Slip(
        "a discount by pairs for triples",
        KNESER_NEY,
        "2 - 3 * share * triples / pairs",
        "2 - 3 * share * pairs / triples",
        ("tests/models/ngram/test_ngram_kneser_ney.py",),
    ),
    Slip(
        "the warm-up among the fits",
        MEASURING,
        "fits = fits[-len(rounds.seconds) * rounds.repeats :]",
        "fits = fits[:]",
        ("tests/suite/test_ngram_measuring.py",),
    ),
    Slip(
        "a round's fits as one",
        MEASURING,
        "range(repeats)) / repeats)",
        "range(repeats)))",
        ("tests/suite/test_ngram_measuring.py",),
    ),
    Slip(
        "tokens of the training text a second of scoring",
        MEASURING,
        "corpus.held_out_tokens / seconds",
        "corpus.tokens / seconds",
        ("tests/suite/test_ngram_measuring.py",),
    ),
    Slip(
        "a clash though one was not asked for",
        CHOICES,
        "clash.axes <= set(given)",
        "clash.axes & set(given)",
        ("tests/suite/test_ngram_grid.py",),
    ),
    *(Slip(*said, (test,)) for *said, test in GPU_SLIPS),
)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the tree, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="trainmark-slips-") as scratch:
        folder = Path(scratch) / "code"
        for name in CODE:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        for name in FILES:
            shutil.copy2(ROOT / name, folder / name)
        yield folder


def slipped(slip: Slip, text: str) -> str:
    """The text of the slip's file with the slip in it.

    Raises:
        ValueError: What it replaces is not there exactly once.
    """
    if text.count(slip.old) != 1:
        raise ValueError(f"{slip.name}: {slip.file} has {text.count(slip.old)} times {slip.old!r}")
    return text.replace(slip.old, slip.new)


@contextmanager
def made(slip: Slip, folder: Path) -> Iterator[None]:
    """The slip in a copy of the tree, until the block ends."""
    file = folder / slip.file
    file.write_text(slipped(slip, file.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        yield
    finally:
        shutil.copy2(ROOT / slip.file, file)


def failure(folder: Path, tests: Sequence[str], seconds: float = SECONDS) -> str | None:
    """The first test that fails there, with the code there, or what else ends them; None where all pass.

    Raises:
        RuntimeError: They could not be run.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that what the tests have started can be ended with them
    ) as running:
        try:
            told, _ = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"they hang: not done after {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(running.pid, signal.SIGKILL)
    if running.returncode < 0:
        return f"them, which die of {signal.Signals(-running.returncode).name}"
    if running.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(tests)}: exit code {running.returncode}\n{told}")
    failed = [line.split(" ")[1] for line in told.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return (failed[0] if failed else "a test") if running.returncode else None


def main(words: Sequence[str]) -> int:
    """Makes each slip and runs its tests; gives the exit code."""
    chosen = [slip for slip in SLIPS if not words or any(word in slip.name for word in words)]
    unnoticed = 0
    with copied() as folder:
        broken = failure(folder, tuple(dict.fromkeys(test for slip in chosen for test in slip.tests)), 4 * SECONDS)
        if broken is not None:
            print(f"without any slip: {broken}")
            return 1
        for slip in chosen:
            begun = time.monotonic()
            with made(slip, folder):
                found = failure(folder, slip.tests)
            unnoticed += found is None
            told = "NOT NOTICED" if found is None else f"noticed by {found}"
            print(f"{slip.name}: {told} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} slips noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
