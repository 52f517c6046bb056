"""The essentials of a run in words: as Markdown, which a terminal and a pull request show alike; and advice alone."""

from __future__ import annotations

from collections.abc import Sequence

from trainmark import formatting
from trainmark.advise import answer_words, phrases
from trainmark.advise.answer import Answer, answers, goals_beside
from trainmark.advise.conditions import machine
from trainmark.advise.notices import Notice, notices
from trainmark.advise.recommend import GOALS, Advice, Choice, advise
from trainmark.export.markdown import render, text
from trainmark.judge.comparison import Comparison
from trainmark.judge.verdict import judge
from trainmark.store.record import Run


def essentials(run: Run, comparison: Comparison | None = None) -> str:
    """What got worse, which setting to use, and what to know before believing it."""
    failed = sum(record.failed for record in run.records)
    counts = formatting.counted(len(run.records), "cell") + (f", {failed} failed" if failed else "")
    state = "" if run.facts.complete else ", interrupted"
    parts = [
        f"## {text(machine(run))}",
        f"{text(run.name)}: {counts}{state}, {text(formatting.moment(run.facts.started))}",
    ]
    if comparison is not None:
        parts.append(render(judge(comparison), comparison).rstrip())
    found, advice = answers(run.records), advise(run.records)
    if found or advice:
        parts.append("### Which setting")
    if found:
        parts.append("\n".join(f"- {text(answer_words.sentence(one))}" for one in found))
    if advice:
        parts.append("\n".join(_advice_rows(advice, found)))
    known = [f"- **{text(notice.title)}**{_in_cells(notice)}. {text(notice.advice)}" for notice in notices(run)]
    if known:
        parts += ["### Before you trust these numbers", "\n".join(known)]
    return "\n\n".join(parts)


def _in_cells(notice: Notice) -> str:
    return f" ({formatting.counted(len(notice.records), 'cell')})" if notice.records else ""


def _advice_rows(found: list[Advice], answered: list[Answer]) -> list[str]:
    rows = ["| model | goal | setting | what it gives | accuracy |", "|---|---|---|---|---|"]
    for advice in found:
        told = goals_beside(answered, advice.model, advice.device)
        for choice in (one for one in advice.choices if one.goal in told):
            words = phrases.accuracy_words(choice.accuracy) if choice.better else ""
            said = (phrases.headline(choice, advice), phrases.gain_words(choice), words)
            fields = (f"{advice.model} ({advice.device})", GOALS[choice.goal], *said)
            rows.append(f"| {' | '.join(map(text, fields))} |")
    return rows


def answer_text(answer: Answer) -> str:
    """An answer as plain lines, with the command for what is missing."""
    more = answer_words.command(answer)
    lines = [answer_words.sentence(answer), *([f"  {more}"] if more else [])]
    return "\n".join(formatting.plain(line, 600) for line in lines)


def advice_text(advice: Advice, goals: Sequence[str] = tuple(GOALS)) -> str:
    """Advice for one model as plain lines, for some goals."""
    where = f"{formatting.plain(advice.model)} on {formatting.plain(advice.device)}, {formatting.plain(advice.dataset)}"
    lines = [f"{where}: {formatting.counted(advice.candidates, 'setting')}, against {phrases.setting(advice.default)}"]
    for goal in goals:
        lines += _choice_lines(goal, advice.choice(goal), advice)
    alone = phrases.alone_words(advice)
    if alone is not None and "speed" in goals:
        lines.append(f"  {formatting.plain(alone, 300)}")
    if advice.untested is not None and "speed" in goals:
        lines += [
            f"  Faster still, if its accuracy is good enough: {phrases.setting(advice.untested.record)}",
            f"    {phrases.gain_words(advice.untested)}; {phrases.accuracy_words(advice.untested.accuracy)}",
            f"    to know: {formatting.plain(phrases.measure_command(advice, advice.untested), 300)}",
        ]
    return "\n".join(lines)


def _choice_lines(goal: str, choice: Choice | None, advice: Advice) -> list[str]:
    title = GOALS[goal]
    if choice is None:
        return [f"  {title}: {formatting.plain(phrases.missing_words(goal, advice))}"]
    beside = [phrases.accuracy_words(choice.accuracy), phrases.payback_sentence(choice.payback)]
    said = [words for words in (*beside, phrases.doubt_words(choice)) if words]
    return [
        f"  {title}: {formatting.plain(phrases.headline(choice, advice))}",
        f"    {phrases.gain_words(choice)}; {'; '.join(said)}",
    ]
