"""An answer in words: the same in the terminal, on the page and in a pull request."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping

from trainmark import formatting
from trainmark.advise.answer import GAIN, Answer, Standing
from trainmark.store.metrics import METRICS
from trainmark.store.parameters import OWN_DATA, PARAMETERS, Value

SETTING = ("precision", "batch_size", "lr_scaling", "compile", "memory_format")  # the first two are always told
ALWAYS = 2
SLACK = 1.3  # of the time that an estimate asks for: the machine may be slower then


def setting_words(axes: Mapping[str, Value], *, short: bool = False) -> str:
    """A setting such as ``fp32, batch 256, lr sqrt``; short, only what is not the default's."""
    words = []
    names = (*SETTING, *(name for name in axes if name not in (*SETTING, *_OTHER)))
    for place, name in enumerate(names):
        if name not in PARAMETERS:  # of a suite that is not here, or of a newer version
            words.append(f"{name}={axes[name]}")
            continue
        value, default = axes.get(name, PARAMETERS[name].default), PARAMETERS[name].default
        if value == default and (short or place >= ALWAYS):
            continue
        words.append(f"batch {value}" if name == "batch_size" else PARAMETERS[name].worded(value))
    return ", ".join(words) or "the default"


_OTHER = ("model", "dataset", "device", "loader", "epochs")  # the same in all settings of an answer


def short(answer: Answer) -> str:
    """For the line of a terminal."""
    if answer.best is not None:
        ends = _ends(answer.best)
        words = f"{setting_words(answer.best.tried.axes, short=True)}: {_times(answer.best)} sooner{ends}"
        return words if answer.decided else f"{words}; {_open(answer, short=True)}"
    if answer.decided:
        return "nothing beats the default" if answer.standings else "only the default was tried"
    return _open(answer, short=True)


def headline(answer: Answer) -> str:
    """The answer in the words that one looks for: a setting, and how many times sooner."""
    if answer.best is not None:
        return f"{setting_words(answer.best.tried.axes)}: {_times(answer.best)} sooner{_ends(answer.best)}"
    if not answer.standings:
        return "only the default was tried"
    return "the default: nothing beats it" if answer.decided else "not decided yet"


def details(answer: Answer) -> str:
    """What the headline rests on: times, intervals, what the models are worth, and what is open."""
    default = f"the default ({setting_words(answer.default.axes)})"
    if answer.best is not None:
        took = formatting.duration(answer.default.seconds * answer.best.ratio.middle)
        text = (
            f"{took} for {_epochs(answer)}, where {default} takes {formatting.duration(answer.default.seconds)}; "
            f"{models_words(answer, answer.best)}."
        )
    elif not answer.standings:
        text = f"Ask for other settings than {default} too, as with --batch-size 64,256."
    elif answer.decided:
        text = f"Nothing that was tried beats {default} by more than {GAIN:.0%}{_of(answer)}."
    else:
        text = ""
    return text if answer.decided else f"{text} {_open(answer)}".strip()


def sentence(answer: Answer) -> str:
    """The whole answer: setting, how many times sooner, how sure, what the models are worth; or why there is none."""
    return f"{answer.model} on {answer.device}: {headline(answer)}. {details(answer)}"


def models_words(answer: Answer, standing: Standing) -> str:
    """What the models of a setting are worth, against the default's."""
    judgement, name = standing.judgement, formatting.metric_name(answer.metric)
    if judgement.difference is None:
        known = "its models are the default's: the same arithmetic" if judgement.decided else f"{name} not measured"
        return known if answer.margin is not None or judgement.decided else f"{name} has no margin"
    sign = 1 if METRICS[answer.metric].better == "higher" else -1
    told, low, high = (
        "" if end is None else formatting.difference(answer.metric, sign * end)
        for end in (judgement.difference.middle, judgement.difference.low, judgement.difference.high)
    )
    ends = (low, high) if sign > 0 else (high, low)
    unit = told.partition(" ")[1] + told.partition(" ")[2]
    interval = f" [{ends[0].removesuffix(unit)}, {ends[1].removesuffix(unit)}]" if low and high else ""
    margin = formatting.difference(answer.metric, answer.margin).removeprefix("+") if answer.margin else "no margin"
    seeds = formatting.counted(judgement.seeds, "seed")
    return f"{name} {_WORDS[judgement.word]}: {told}{interval} ({seeds}, margin {margin})"


_WORDS = {
    "not inferior": "is no worse",
    "inferior": "is worse",
    "undecided": "is not decided",
    "not measured": "was not measured",
}


def command(answer: Answer, benchmarks: str = "bench") -> str | None:
    """What to call for the evidence that is missing; None where the answer is decided."""
    if answer.decided:
        return None
    asked = {name: answer.default.axes[name] for name in ("model", "device", "epochs")}
    dataset = answer.default.axes["dataset"]
    asked |= {"dataset": dataset} if dataset != PARAMETERS["dataset"].default and dataset != OWN_DATA else {}
    asked |= {"lr_scaling": "linear"} if any(_is_linear(one) for one in answer.standings) else {}
    options = " ".join(f"{PARAMETERS[name].option} {shlex.quote(str(value))}" for name, value in asked.items())
    return f"pytest {benchmarks} -k answer --benchmark-autosave {options} --answer {minutes_to_decide(answer)}m"


def _is_linear(standing: Standing) -> bool:
    return standing.tried.axes.get("lr_scaling") == "linear"


def minutes_to_decide(answer: Answer) -> int:
    """Roughly, and rounded up."""
    return max(1, math.ceil(SLACK * answer.more_seconds / 60))


def _times(standing: Standing) -> str:
    return formatting.times(1 / standing.ratio.middle)


def _ends(standing: Standing) -> str:
    low, high = standing.ratio.low, standing.ratio.high
    return "" if low is None or high is None else f" [{1 / high:.2f}, {1 / low:.2f}]"


def _epochs(answer: Answer) -> str:
    return formatting.counted(int(answer.default.axes.get("epochs", 1)), "epoch")


def _of(answer: Answer) -> str:
    tried = formatting.counted(len(answer.standings), "other setting")
    return f" ({tried}; {_epochs(answer)})"


def _open(answer: Answer, *, short: bool = False) -> str:
    assert answer.open is not None  # only asked where it is not decided
    standing = answer.open
    what = "its time" if standing.more_pairs else formatting.metric_name(answer.metric)
    words = setting_words(standing.tried.axes, short=short)
    minutes = minutes_to_decide(answer)
    more = f"about {formatting.counted(minutes, 'minute')} more would decide"
    if short:
        return f"not decided: {words} {_maybe(standing)}, {what} open; {more}"
    faster = "may be sooner still" if answer.best is not None else "may be sooner"
    return f"{words} {faster} ({_maybe(standing)}), but {what} is not decided; {more}."


def _maybe(standing: Standing) -> str:
    return formatting.times(1 / standing.ratio.middle)
