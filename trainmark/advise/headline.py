"""What the page says first: whether it got worse, and a sentence a model on which setting to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainmark import formatting
from trainmark.advise import answer_words, phrases
from trainmark.advise.answer import Answer
from trainmark.advise.recommend import Advice
from trainmark.judge.verdict import Verdict

MOST = 5  # models: more are counted
SIGNS = {"fine": "✓", "regressed": "✕", "changed": "≠", "undecided": "?", "not comparable": "≠"}


@dataclass(frozen=True)
class Finding:
    """One sentence of the headline.

    Attributes:
        kind: Its colour: a word of a verdict, or ``better``, ``default``, ``open``.
        sign: The same as a sign, for who does not see colours; empty for none.
        text: The sentence.
        link: Where the page says more.
    """

    kind: str
    sign: str
    text: str
    link: str


def headline(
    verdict: Verdict | None, answers: Sequence[Answer], advice: Sequence[Advice], measured: int
) -> list[Finding]:
    """The verdict where there is one, then a sentence a model; what was measured where there is neither.

    Args:
        verdict: On the run against its baseline.
        answers: Of the run.
        advice: Of the run: of a model that has no answer it tells what two records do.
        measured: Configurations of the run.
    """
    found = (
        [Finding(verdict.word.replace(" ", "-"), SIGNS[verdict.word], verdict.sentence, "verdict")] if verdict else []
    )
    answered = {(one.model, one.device) for one in answers}
    models = [of_answer(one, several=_devices(answers) > 1) for one in answers]
    models += [_of_advice(one) for one in advice if (one.model, one.device) not in answered]
    found += models[:MOST]
    if len(models) > MOST:
        more = formatting.counted(len(models) - MOST, "more model")
        found.append(Finding("default", "", f"{more} below", "setting"))
    return found or [
        Finding("default", "", f"{formatting.counted(measured, 'configuration')} measured", "configurations")
    ]


def of_answer(answer: Answer, *, several: bool = False) -> Finding:
    """An answer as a sentence that tells what to do.

    Args:
        answer: Of one model on one device.
        several: Whether there is more than one device to tell apart.
    """
    model = formatting.plain(answer.model, 60) + (f" on {formatting.plain(answer.device, 20)}" if several else "")
    if answer.best is not None:
        return Finding("better", "↑", f"Train {model} with {answer_words.headline(answer)}", "setting")
    if not answer.decided:
        return Finding("open", "?", f"{model}: {answer_words.short(answer)}", "setting")
    if not answer.standings:
        return Finding("default", "", f"{model}: only the default was tried", "setting")
    setting = answer_words.setting_words(answer.default.axes)
    return Finding("default", "=", f"Train {model} with the default, {setting}: nothing beats it", "setting")


def _of_advice(advice: Advice) -> Finding:
    model, choice = formatting.plain(advice.model, 60), advice.choice("speed")
    if choice is not None and choice.better:
        told = f"Train {model} with {phrases.setting(choice.record)}: {phrases.gain_words(choice)}"
        return Finding("better", "↑", told, "setting")
    if advice.untested is not None:
        setting, gain = phrases.setting(advice.untested.record), formatting.times(advice.untested.gain.middle)
        return Finding("open", "?", f"{model}: {setting} is {gain} faster, its accuracy is not measured", "setting")
    if choice is None:
        return Finding("default", "", f"{model}: nothing is known of its speed", "setting")
    default = phrases.default_stands(choice, advice)
    return Finding("default", "=", f"{model}: {default[:1].lower()}{default[1:].rstrip('.')}", "setting")


def _devices(answers: Sequence[Answer]) -> int:
    return len({one.device for one in answers})
