"""The first sentences of the page say what the verdict and the answers say."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tests.conftest import example_answers
from trainmark.advise.answer import answers
from trainmark.advise.headline import MOST, headline
from trainmark.advise.recommend import advise
from trainmark.judge.verdict import judge

CNN = "train cnn 256 cpu fp32"


def test_the_verdict_comes_first_and_then_a_sentence_a_model(stored: Any) -> None:
    base, new = stored.run(), stored.slowed(stored.run("0002"), CNN, 2)
    verdict = judge(stored.compared(base, new))
    found = headline(verdict, answers(example_answers()), advise(new.records), 31)
    assert found[0].text == verdict.sentence
    assert [(one.kind, one.sign) for one in found] == [
        ("regressed", "✕"),
        ("better", "↑"),
        ("open", "?"),
        ("default", "="),
        *[(one.kind, one.sign) for one in found[4:]],
    ]
    assert found[1].text.startswith("Train mlp with fp32, batch 256, lr sqrt: 2.06× sooner [")
    assert found[2].text.startswith("cnn: not decided: channels_last")
    assert found[3].text == "Train mlp-residual with the default, fp32, batch 64: nothing beats it"
    assert [one.text.partition(":")[0] for one in found[4:]] == ["resnet20"]  # it has no answer of its own


def test_without_an_answer_a_model_has_what_its_speeds_tell(stored: Any) -> None:
    run = stored.run()
    told = [one.text for one in headline(None, [], advise(run.records), 31)]
    assert re.fullmatch(r"mlp: bf16, batch 256, eager is 1\.\d\d× faster, its accuracy is not measured", told[0])
    assert all(": " in text for text in told)


def test_many_models_are_counted(stored: Any) -> None:
    run = stored.run()
    (one, *_) = answers(example_answers())
    many = [replace(one, model=f"m{number}") for number in range(MOST + 3)]
    found = headline(None, many, [], len(run.records))
    assert len(found) == MOST + 1
    assert found[-1].text == "3 more models below"


def test_where_nothing_was_trained_it_says_what_was_measured() -> None:
    assert [one.text for one in headline(None, [], [], 2)] == ["2 configurations measured"]
