"""The answer: which setting trains an equal model soonest, by the evidence that there is."""

from __future__ import annotations

import html
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from trainmark.advise.answer import (
    GAIN,
    PAIR_LOOKS,
    Answer,
    Evidence,
    answer,
    answers,
    read_answer,
    read_evidence,
)
from trainmark.advise.answer_words import command, sentence, setting_words, short
from trainmark.export.essentials import essentials
from trainmark.export.numbers import as_json_lines
from trainmark.judge.non_inferiority import SEED_LOOKS
from trainmark.page.html import render
from trainmark.store.cell import Cell
from trainmark.store.documents import SchemaError
from trainmark.store.record import Record, Run
from trainmark.store.tried import Tried
from trainmark.workloads.answering import ANSWER

SEEDS = range(SEED_LOOKS[0])


def axes(**changed: Any) -> dict[str, Any]:
    return Cell.of("accuracy", **{"loader": "resident", **changed}).settings


def tried(seconds: float, ratio: float | None = None, accuracy: float | None = None, **changed: Any) -> Tried:
    """A setting whose pairs and trainings scatter a little."""
    pairs = () if ratio is None else tuple(math.log(ratio) + 0.001 * number for number in range(PAIR_LOOKS[0]))
    trained = () if accuracy is None else tuple((seed, accuracy + 0.001 * (seed % 3)) for seed in SEEDS)
    return Tried(axes(**changed), 630, seconds, 0.0, trained, pairs)


DEFAULT = tried(2.0, accuracy=0.95)


def answered(*others: Tried, default: Tried = DEFAULT, samples: int = 1000) -> Answer:
    return answer("mlp", "cpu", Evidence("accuracy", samples, (default, *others)))


def test_a_setting_that_is_sooner_and_no_worse_is_the_answer() -> None:
    found = answered(tried(1.0, 0.5, 0.95, batch_size=256, lr_scaling="sqrt"))
    assert found.best is not None
    assert (found.best.tried.axes["batch_size"], found.decided) == (256, True)
    assert 1 / found.best.ratio.middle == pytest.approx(2.0, rel=0.01)
    assert sentence(found).startswith(
        "mlp on cpu: fp32, batch 256, lr sqrt: 2.00× sooner [1.99, 2.00]. "
        "1.00 s for 10 epochs, where the default (fp32, batch 64) takes 2.00 s; accuracy is no worse: "
    )
    assert "accuracy is no worse: +0.00 points [−0.13, +0.13]" in sentence(found)
    assert "(6 seeds, margin 1.00 points)" in sentence(found)
    assert command(found) is None


def test_a_setting_of_the_defaults_arithmetic_needs_no_training() -> None:
    found = answered(tried(1.7, 0.85, memory_format="channels_last"), default=tried(2.0))
    assert found.best is not None
    assert "its models are the default's: the same arithmetic" in sentence(found)


def test_a_setting_that_is_sooner_and_worse_is_out_and_the_next_one_counts() -> None:
    worse = tried(0.8, 0.4, 0.90, batch_size=256)
    good = tried(1.2, 0.6, 0.95, precision="bf16")
    found = answered(worse, good)
    assert found.best is not None
    assert found.best.tried.axes["precision"] == "bf16"
    assert found.decided


@pytest.mark.parametrize(
    ("seconds", "ratio"), [(1.99, 0.99), (1.96, 1 / (1 + GAIN / 2)), (2.4, 1.2), (2.4, None), (9.0, None)]
)
def test_a_setting_that_is_no_sooner_by_more_than_it_takes_to_matter_leaves_the_default(
    seconds: float, ratio: float | None
) -> None:
    found = answered(tried(seconds, ratio, 0.95, batch_size=256))
    assert (found.best, found.decided) == (None, True)
    assert "Nothing that was tried beats the default (fp32, batch 64) by more than 5%" in sentence(found)
    assert short(found) == "nothing beats the default"


def test_a_setting_that_may_be_sooner_is_open_until_pairs_and_trainings_have_decided() -> None:
    looked = answered(tried(1.0, batch_size=256))
    assert looked.open is not None
    assert (looked.open.more_pairs, looked.open.judgement.more_seeds) == (PAIR_LOOKS[0], SEED_LOOKS[0])
    paired = answered(tried(1.0, 0.5, batch_size=256))
    assert paired.open is not None
    assert (paired.open.more_pairs, paired.open.judgement.word) == (0, "not measured")
    assert paired.more_seconds == pytest.approx(6 * 1.0)  # the default has its six already
    assert sentence(paired).startswith(
        "mlp on cpu: not decided yet. fp32, batch 256 may be sooner (2.00×), but accuracy"
    )
    assert command(paired) == (
        "pytest bench -k answer --benchmark-autosave --model mlp --device cpu --epochs 10 --answer 1m"
    )


def test_a_better_setting_with_one_ahead_of_it_that_is_open_is_told_with_both() -> None:
    found = answered(tried(0.8, 0.4, batch_size=256), tried(1.2, 0.6, 0.95, precision="bf16"))
    assert found.best is not None
    assert found.open is not None
    assert "bf16, batch 64: 1.66× sooner" in sentence(found)
    assert "fp32, batch 256 may be sooner still" in sentence(found)


def test_what_compiling_takes_is_part_of_the_time() -> None:
    quick = Tried(axes(compile="default"), 630, 1.0, 0.2, (), tuple(math.log(0.5) for _ in range(6)))
    slow = replace(quick, compile_seconds=15.0)
    assert answered(quick).best is not None
    assert answered(slow).best is None


def test_equal_models_are_asked_for_by_a_finer_margin_where_more_samples_are_held_out() -> None:
    near = tried(1.0, 0.5, 0.943, batch_size=256)
    assert answered(near, samples=1000).best is not None
    assert answered(near, samples=10_000).best is None


def test_a_task_whose_metric_has_no_margin_is_answered_by_equal_arithmetic_alone() -> None:
    evidence = Evidence("loss", 1000, (DEFAULT, tried(1.0, 0.5, 0.95, batch_size=256)))
    found = answer("task", "cpu", evidence)
    assert (found.best, found.decided, found.margin) == (None, True, None)


def test_pairs_are_judged_at_their_looks_and_no_gain_is_shown_by_chance_more_often_than_said() -> None:
    chance = random.Random(3)
    shown = 0
    for _ in range(300):
        pairs = [-math.log1p(GAIN) + chance.gauss(0, 0.05) for _ in range(PAIR_LOOKS[-1])]
        for look in PAIR_LOOKS:
            found = answered(replace(tried(1.9, memory_format="channels_last"), log_ratios=tuple(pairs[:look])))
            if found.decided:
                break
        shown += found.best is not None
    assert shown <= 0.05 * 300 + 3 * (0.05 * 0.95 * 300) ** 0.5


def test_evidence_comes_back_from_a_record_and_damage_is_told() -> None:
    evidence = Evidence("accuracy", 1000, (DEFAULT, tried(1.0, 0.5, 0.95, batch_size=256)))
    cell = Cell.of("answer", loader="resident")
    record = Record(
        cell,
        "ok",
        metrics={"answer_speedup": 1.0},
        series={"tried": evidence.to_series()},
        settings={"metric": "accuracy", "held_out_samples": 1000},
    )
    again = Record.from_json(record.to_json())
    assert read_evidence(again) == evidence
    assert read_answer(again) == answer("mlp", "cpu", evidence)
    assert answers([again, Record(cell, "skipped", "why")]) == [answer("mlp", "cpu", evidence)]
    broken = {**evidence.to_series()[0], "seconds": -1.0}
    for documents in ([broken], [{**broken, "seconds": 1.0, "axes": {}}], [1], {"a": 1}, [[0.5]]):
        damaged = replace(record, series={"tried": documents})
        with pytest.raises(SchemaError):
            read_evidence(damaged)
        with pytest.raises(SchemaError):
            Record.from_json(damaged.to_json())
    with pytest.raises(SchemaError):
        Record.from_json(replace(record, settings={"metric": "nothing"}).to_json())
    assert read_evidence(Record(cell, "ok")) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "fp32, batch 64"),
        ({"batch_size": 256, "lr_scaling": "sqrt"}, "fp32, batch 256, lr sqrt"),
        ({"precision": "bf16", "compile": "default"}, "bf16, batch 64, compile=default"),
        ({"memory_format": "channels_last"}, "fp32, batch 64, channels_last"),
    ],
)
def test_a_setting_is_told_by_what_it_varies(changed: dict[str, Any], words: str) -> None:
    assert setting_words(axes(**changed)) == words


def test_a_parameter_that_nobody_here_knows_is_told_all_the_same() -> None:
    assert setting_words({**axes(), "memory_form": "folded"}) == "fp32, batch 64, memory_form=folded"


def stored_answer(*others: Tried) -> Record:
    evidence = Evidence("accuracy", 1000, (DEFAULT, *others))
    told = {"threads": 1, "metric": "accuracy", "held_out_samples": 1000}
    series = {"tried": evidence.to_series()}
    return Record(Cell.of("answer"), "ok", metrics={"answer_speedup": 1.0}, rounds=(9.0,), series=series, settings=told)


def test_the_answer_is_on_the_page_and_in_the_exports_with_the_command_for_what_is_open(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored.run()
    run = replace(run, records=(*run.records, stored_answer(tried(1.0, batch_size=256))))
    found = "mlp on cpu: not decided yet. fp32, batch 256 may be sooner (2.00×)"
    asks = "pytest bench -k answer --benchmark-autosave --model mlp --device cpu --epochs 10 --answer 1m"
    assert found in essentials(run)
    page = html.unescape(re.sub(r"<[^>]+>", "", render([run])))
    assert "mlp: not decided: batch 256 2.00×" in page
    assert asks in page
    document = json.loads(as_json_lines(run, None, []).splitlines()[0])["answers"]
    assert [(one["model"], one["decided"], one["is_default"]) for one in document] == [("mlp", False, True)]
    stored.store(run)
    for goal in ([], ["--goal", "time"]):
        assert reports_command("recommend", "--model", "mlp", *goal) == 0
        said = capsys.readouterr().out
        assert found in said
        assert asks in said
    assert reports_command("recommend", "--goal", "speed") == 0
    assert found not in capsys.readouterr().out


def test_where_there_is_an_answer_nothing_else_speaks_of_that_models_speed(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored.run()
    answered = replace(run, records=(*run.records, stored_answer(tried(1.0, 0.5, 0.95, batch_size=256))))

    def rows(of: Run) -> list[str]:
        return [line for line in essentials(of).splitlines() if line.startswith("| mlp (cpu) | fastest")]

    def cards(of: Run) -> int:
        page = render([of])
        return page.count("Fastest") + page.count("Faster still")

    assert (len(rows(run)), len(rows(answered))) == (1, 0)
    assert cards(run) - cards(answered) == 2  # its row and what is untested of it
    stored.store(answered)
    reports_command("recommend", "--model", "mlp")
    assert "fastest" not in capsys.readouterr().out
    reports_command("recommend", "--model", "mlp", "--goal", "speed")
    assert "fastest" in capsys.readouterr().out


def test_a_run_without_an_answer_says_how_to_have_one(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.run())
    assert reports_command("recommend", "--goal", "time") != 0
    assert "measure one: pytest bench -k 'train or answer' --benchmark-autosave" in capsys.readouterr().err


def test_a_line_of_the_terminal_has_the_answer_in_few_words() -> None:
    line = ANSWER.line(stored_answer(tried(1.0, 0.5, 0.95, batch_size=256, lr_scaling="sqrt")))
    assert line == "batch 256, lr sqrt: 2.00× sooner [1.99, 2.00]"


def test_every_setting_is_in_the_table_with_what_is_known_of_it() -> None:
    record = stored_answer(tried(1.0, 0.5, 0.95, batch_size=256), tried(2.5, precision="bf16"))
    (detail,) = ANSWER.tables([record])
    rows = [[value.text for value in row.values] for row in detail.table.rows]
    assert [row.name for row in detail.table.rows] == ["mlp cpu: fp32, batch 256", "mlp cpu: bf16, batch 64"]
    assert [row[:3] for row in rows] == [["0.50×", "6", "sooner"], ["1.25×", "0", "no sooner"]]
    assert rows[0][3].startswith("accuracy is no worse: +0.00 points [")
    assert rows[1][3] == "accuracy not measured"
