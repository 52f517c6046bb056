"""A recommendation in words: the same on the page, in a terminal and in a pull request."""

from __future__ import annotations

import math

from trainmark import formatting
from trainmark.advise.break_even import Payback
from trainmark.advise.recommend import PLAIN, Accuracy, Advice, Choice, axis
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import PARAMETERS
from trainmark.store.record import Record

FEWEST_SEEDS = 5
DEFAULT = "fp32, eager, contiguous, from resident data"  # what settings are held against, in words
FIRST = ("batch_size", "precision", "compile")  # that a setting always names


def setting(record: Record) -> str:
    """A record's setting in words, such as ``bf16, batch 256, compile=default``."""
    values = {name: axis(record, name) for name in (*FIRST, *PLAIN)}
    words = [str(values["precision"]), f"batch {values['batch_size']}"]
    words.append("eager" if values["compile"] == "off" else f"compile={values['compile']}")
    words += [
        PARAMETERS[name].worded(value)
        for name, value in values.items()
        if name not in FIRST and value != PARAMETERS[name].default
    ]
    return ", ".join(words)


def headline(choice: Choice, advice: Advice) -> str:
    """The answer in a few words: the setting, or that the default stands."""
    if choice.better:
        return setting(choice.record)
    return default_stands(choice, advice)


def default_stands(choice: Choice, advice: Advice) -> str:
    """Why nothing better is named: there is nothing else, or nothing else is shown to be better."""
    if choice.record.key != advice.default.key:
        return f"The default is not among what fits; of that, {setting(choice.record)} is best."
    default = setting(advice.default)
    if advice.candidates <= 1:
        return f"The default ({default}) is the only setting measured."
    held = " whose accuracy is known to hold" if advice.untested is not None else ""
    return f"No setting{held} is shown to beat the default ({default})."


def gain_words(choice: Choice) -> str:
    """What the setting gives, with the interval where it is known: ``2.12 k samples/s, 1.51× [1.40, 1.58]``."""
    unit = {"speed": "samples/s", "energy": "J a sample", "memory": "B"}[choice.goal]
    prefixed = formatting.prefixed(choice.value)
    value = f"{prefixed} {unit}" if choice.goal != "memory" else f"{prefixed}{unit}"
    if not choice.better:
        return value
    ends = "" if choice.gain.low is None else f" {formatting.interval(choice.gain.low, choice.gain.high)}"
    more = "the default's" if choice.goal == "speed" else "less than the default"
    return f"{value}, {formatting.times(choice.gain.middle)}{ends} {more}"


def missing_words(goal: str, advice: Advice) -> str:
    """Why there is no choice for a goal."""
    if not advice.candidates:
        return "no setting is known to fit in that memory"
    if goal == "energy":
        return f"not measured: no counter of the energy of {advice.device} can be read here"
    return "not measured: the default setting has no number of it"


def alone_words(advice: Advice) -> str | None:
    """What each parameter gives by itself, of the speed of steps; None where none was varied alone."""
    told = []
    for name, choice in advice.alone.items():
        value = axis(choice.record, name)
        word = f"batch {value}" if name == "batch_size" else PARAMETERS[name].worded(value)
        ends = "" if choice.gain.low is None else f" {formatting.interval(choice.gain.low, choice.gain.high)}"
        doubt = " (unsure)" if choice.doubts else ""
        told.append(f"{word} {formatting.times(choice.gain.middle)}{ends}{doubt}")
    return f"alone, in samples/s: {', '.join(told)}" if told else None


def accuracy_words(accuracy: Accuracy) -> str:
    """What is known of the accuracy, with the test and its margin."""
    if accuracy.verdict == "same arithmetic":
        return "the default's arithmetic, so its accuracy"
    name = formatting.metric_name(accuracy.metric)
    if accuracy.difference is None:
        return f"{name} not measured"
    middle, low, high, margin = (
        formatting.difference(accuracy.metric, value)
        for value in (accuracy.difference.middle, accuracy.difference.low, accuracy.difference.high, accuracy.margin)
    )
    ends = "" if accuracy.difference.low is None else f", 90% interval {low} to {high}"
    seeds = f"{accuracy.seeds} seed{'s' * (accuracy.seeds != 1)}"
    within = "" if accuracy.verdict == "without a margin" else f", margin {margin.removeprefix('+')}"
    return f"{name} {accuracy.verdict}: {middle}{ends} ({seeds}{within})"


def payback_sentence(payback: Payback | None) -> str | None:
    """After how many steps compiling has paid; None where nothing is compiled."""
    if payback is None:
        return None
    if not payback.decided:
        return (
            "whether compiling pays back is undecided: the step times do not differ by their intervals, or were flagged"
        )
    if payback.steps is None:
        return "compiling never pays back"
    return f"compiling pays back after {formatting.whole(math.ceil(payback.steps))} steps"


def doubt_words(choice: Choice) -> str | None:
    """Why the times are not to be relied upon; None where they are."""
    return f"measured {' and '.join(choice.doubts)}: measure it again" if choice.doubts else None


def seeds_to_know(accuracy: Accuracy) -> int:
    """Seeds that would narrow the interval until it clears the margin, if the difference stays what it is."""
    difference = accuracy.difference
    if difference is None or difference.low is None:
        return FEWEST_SEEDS
    better = difference.middle if METRICS[accuracy.metric].better == "higher" else -difference.middle
    reach, room = difference.middle - difference.low, better + accuracy.margin
    if room <= 0:
        return FEWEST_SEEDS
    return max(FEWEST_SEEDS, math.ceil(accuracy.seeds * min(reach / room, 1e6) ** 2))


def measure_command(advice: Advice, choice: Choice) -> str:
    """What to run to know the accuracy of a setting against the default's."""
    sizes = sorted({int(axis(one, "batch_size")) for one in (advice.default, choice.record)})
    both = (advice.default, choice.record)
    precisions = dict.fromkeys(str(axis(one, "precision")) for one in both)
    others = "".join(
        f"{PARAMETERS[name].option} {','.join(map(str, values))} "
        for name in PLAIN
        if name != "precision" and not PARAMETERS[name].same_arithmetic
        if len(values := list(dict.fromkeys(axis(one, name) for one in both))) > 1
    )
    return (
        f"pytest bench -k accuracy --benchmark-autosave --model {advice.model} "
        f"--batch-size {','.join(map(str, sizes))} --precision {','.join(precisions)} "
        f"{others}--seeds {seeds_to_know(choice.accuracy)}"
    )
