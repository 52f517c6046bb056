from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from trainmark.advise.phrases import accuracy_words, gain_words, measure_command, seeds_to_know, setting
from trainmark.advise.recommend import BETWEEN_PROCESSES, Advice, advise, default_setting
from trainmark.store.cell import Cell
from trainmark.store.metrics import METRICS, Metric
from trainmark.store.parameters import PARAMETERS, TRAINING_PARAMETERS, Value
from trainmark.store.record import Record
from trainmark.store.runs import REFERENCE, read_run, run_files

REFERENCE_RUNS = run_files(Path(__file__).parents[2] / "results" / REFERENCE)
COMMITTED = [pytest.param(file, id=file.stem) for file in REFERENCE_RUNS]


def trained(
    batch_size: int = 64,
    precision: str = "fp32",
    rate: float = 1000.0,
    *,
    compiled: str = "off",
    spread: float = 0.01,
    flags: tuple[str, ...] = (),
    **metrics: float,
) -> Record:
    """A training step of the mlp, so fast, with ten rounds."""
    seconds = batch_size / rate
    rounds = tuple(seconds * (1 + spread * (number - 4.5) / 4.5) for number in range(10))
    ordered = sorted(rounds)
    ends = {"step_seconds_low": ordered[1], "step_seconds_high": ordered[8]}
    return Record(
        Cell.of("train", model="mlp", batch_size=batch_size, precision=precision, compile=compiled),
        "ok",
        metrics={"samples_per_second": rate, "step_seconds": seconds, "peak_memory_bytes": 500, **ends, **metrics},
        rounds=rounds,
        flags=flags,
    )


def accuracies(*shares: float, batch_size: int = 64, precision: str = "fp32") -> Record:
    """A training of one epoch a seed, that ended so."""
    return Record(
        Cell.of("accuracy", model="mlp", batch_size=batch_size, precision=precision, loader="dataloader"),
        "ok",
        series={"seed": list(range(len(shares))), "held_out_accuracy": [[share] for share in shares]},
    )


def only(records: list[Record], **options: Any) -> Advice:
    found = advise(records, **options)
    assert len(found) == 1
    return found[0]


def speed(advice: Advice) -> Record:
    choice = advice.choice("speed")
    assert choice is not None
    return choice.record


def test_the_fastest_setting_with_the_defaults_arithmetic_is_recommended() -> None:
    default, fast = trained(), trained(compiled="default", rate=1500)
    choice = only([default, fast, trained(compiled="max-autotune", rate=1300)]).choice("speed")
    assert choice is not None
    assert choice.record is fast
    assert choice.better
    assert choice.gain.low is not None
    assert choice.gain.low < 1.5 < (choice.gain.high or 0)
    assert setting(choice.record) == "fp32, batch 64, compile=default"


def test_a_gain_within_what_two_processes_differ_by_leaves_the_default() -> None:
    default = trained()
    assert speed(only([default, trained(compiled="default", rate=1000 * (1 + BETWEEN_PROCESSES))])) is default


def test_a_gain_whose_interval_reaches_down_to_chance_leaves_the_default() -> None:
    default = trained()
    assert speed(only([default, trained(compiled="default", rate=1300, spread=0.3)])) is default


def test_too_few_rounds_for_an_interval_show_no_gain() -> None:
    default, fast = trained(), trained(compiled="default", rate=5000)
    assert speed(only([default, replace(fast, rounds=fast.rounds[:3])])) is default


def test_another_precision_is_recommended_only_with_an_accuracy_that_is_shown_to_hold() -> None:
    default, bf16 = trained(), trained(precision="bf16", rate=2000)
    same = [accuracies(0.95, 0.96, 0.955), accuracies(0.951, 0.96, 0.956, precision="bf16")]
    worse = [accuracies(0.95, 0.96, 0.955), accuracies(0.90, 0.91, 0.905, precision="bf16")]
    open_ = [accuracies(0.95, 0.96, 0.955), accuracies(0.93, 0.98, 0.955, precision="bf16")]
    assert speed(only([default, bf16, *same])) is bf16
    for evidence, verdict in ((worse, "inferior"), (open_, "undecided"), ([], "not measured")):
        advice = only([default, bf16, *evidence])
        assert speed(advice) is default
        assert advice.untested is not None
        assert advice.untested.record is bf16
        assert advice.untested.accuracy.verdict == verdict


def test_the_accuracy_is_judged_by_a_one_sided_t_test_with_its_margin() -> None:
    advice = only([trained(), trained(precision="bf16", rate=2000),
                   accuracies(0.90, 0.92), accuracies(0.903, 0.921, precision="bf16")])  # fmt: skip
    accuracy = (advice.untested or advice.choices[0]).accuracy
    assert accuracy.difference is not None
    # Differences 0.003 and 0.001: mean 0.002, standard error 0.001, t(95%, 1) = 6.314.
    assert accuracy.difference.middle == pytest.approx(0.002)
    assert accuracy.difference.low == pytest.approx(0.002 - 6.314e-3, abs=1e-6)
    assert accuracy.verdict == "not inferior"
    assert accuracy.difference.low > -accuracy.margin
    assert "2 seeds, margin 0.50 points" in accuracy_words(accuracy)


@pytest.mark.parametrize(
    ("errors", "verdict", "told"),
    [
        ((1.01, 1.00, 1.02), "not inferior", "rmse not inferior: +0.0100 m"),
        ((1.31, 1.30, 1.32), "inferior", "rmse inferior: +0.310 m"),
        ((1.10, 0.80, 1.30), "undecided", "rmse undecided: "),
    ],
)
def test_a_metric_that_is_better_when_lower_is_judged_the_other_way_round_and_in_its_unit(
    monkeypatch: pytest.MonkeyPatch, errors: tuple[float, ...], verdict: str, told: str
) -> None:
    monkeypatch.setitem(METRICS, "rmse", Metric("m", "lower", "difference", "a made-up error", 0.1))
    monkeypatch.setitem(METRICS, "rmse_lowest", Metric("m", "lower", "no", "of the seeds"))

    def judged(*values: float, precision: str = "fp32") -> Record:
        series = {"seed": [0, 1, 2], "held_out_rmse": [[value] for value in values]}
        cell = Cell.of("accuracy", model="mlp", batch_size=64, precision=precision, loader="dataloader")
        return Record(cell, "ok", metrics={"rmse": 1.0, "rmse_lowest": 0.9}, series=series)

    bf16 = trained(precision="bf16", rate=2000)
    advice = only([trained(), bf16, judged(1.0, 0.99, 1.01), judged(*errors, precision="bf16")])
    accuracy = (advice.untested or advice.choices[0]).accuracy
    assert (accuracy.metric, accuracy.verdict) == ("rmse", verdict)
    assert (speed(advice) is bf16) is (verdict == "not inferior")
    assert accuracy_words(accuracy).startswith(told) and accuracy_words(accuracy).endswith("margin 0.100 m)")


def test_a_metric_without_a_margin_recommends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "rmse", Metric("m", "lower", "no", "a made-up error"))
    monkeypatch.setitem(METRICS, "rmse_lowest", Metric("m", "lower", "no", "of the seeds"))
    series = {"seed": [0, 1], "held_out_rmse": [[1.0], [0.9]]}
    cells = [Cell.of("accuracy", model="mlp", precision=name, loader="dataloader") for name in ("fp32", "bf16")]
    judged = [Record(cell, "ok", metrics={"rmse": 1.0, "rmse_lowest": 0.9}, series=series) for cell in cells]
    advice = only([trained(), trained(precision="bf16", rate=2000), *judged])
    assert advice.untested is not None and advice.untested.accuracy.verdict == "without a margin"
    assert accuracy_words(advice.untested.accuracy) == "rmse without a margin: +0 m (2 seeds)"


def test_more_seeds_are_asked_for_where_a_few_left_it_open() -> None:
    half = (accuracies(0.94, 0.96, 0.95, 0.95), accuracies(0.95, 0.95, 0.96, 0.94, precision="bf16"))
    advice = only([trained(), trained(precision="bf16", rate=2000), *half])
    assert advice.untested is not None
    difference = advice.untested.accuracy.difference
    assert difference is not None and difference.low is not None
    # Four seeds gave an interval of 1.36 points to either side of 0, and 0.5 are wanted: (1.36 / 0.5)^2 times four.
    assert difference.low == pytest.approx(-0.0136, abs=1e-4)
    assert seeds_to_know(advice.untested.accuracy) == 30
    assert measure_command(advice, advice.untested).endswith("--seeds 30")


def test_seeds_of_other_epochs_are_no_pairs() -> None:
    long = accuracies(0.95, 0.96, 0.955, precision="bf16")
    long = replace(long, series={"seed": [0, 1, 2], "held_out_accuracy": [[0.9, 0.95], [0.9, 0.96], [0.9, 0.955]]})
    advice = only([trained(), trained(precision="bf16", rate=2000), accuracies(0.95, 0.96, 0.955), long])
    assert advice.untested is not None
    assert (advice.untested.accuracy.verdict, advice.untested.accuracy.seeds) == ("not measured", 0)


@pytest.mark.parametrize(("lost", "verdict"), [(0.001, "not inferior"), (0.0055, "undecided"), (0.008, "inferior")])
def test_a_little_worse_within_the_margin_is_not_inferior(lost: float, verdict: str) -> None:
    """Differences with a standard deviation of 0.001: three of them reach 0.00169 to either side."""
    after = [0.95 - lost + spread for spread in (-0.001, 0.0, 0.001)]
    records = [accuracies(0.95, 0.95, 0.95), accuracies(*after, precision="bf16")]
    advice = only([trained(), trained(precision="bf16", rate=2000), *records])
    accuracy = (advice.untested or advice.choices[0]).accuracy
    assert accuracy.verdict == verdict
    assert accuracy.difference is not None
    reach = 2.91999 * 0.001 / 3**0.5
    ends = (accuracy.difference.low, accuracy.difference.middle, accuracy.difference.high)
    assert ends == pytest.approx((-lost - reach, -lost, -lost + reach), abs=1e-7)


def test_a_gain_is_that_of_a_sample_with_the_interval_of_both_medians() -> None:
    default, large = trained(), trained(batch_size=256, rate=4000)
    evidence = [accuracies(0.95, 0.96, 0.955), accuracies(0.95, 0.96, 0.955, batch_size=256)]
    choice = only([default, large, *evidence]).choice("speed")
    assert choice is not None
    # Of ten rounds a percent to either side, the second and the second last are the ends of both medians.
    wide = 1 + 0.01 * 3.5 / 4.5
    assert (choice.value, choice.gain.middle) == (4000, pytest.approx(4))
    assert (choice.gain.low, choice.gain.high) == pytest.approx((4 * (2 - wide) / wide, 4 * wide / (2 - wide)))


@pytest.mark.parametrize(("sizes", "chosen"), [((256, 32, 8), 8), ((256, 64, 8), 64), ((512, 256, 1024), 256)])
def test_settings_are_held_against_the_default_batch_or_else_the_smallest(sizes: tuple[int, ...], chosen: int) -> None:
    found = default_setting([trained(batch_size=size) for size in sizes])
    assert found is not None
    assert found.cell["batch_size"] == chosen


def test_a_single_seed_decides_nothing() -> None:
    advice = only(
        [trained(), trained(precision="bf16", rate=2000), accuracies(0.9), accuracies(0.99, precision="bf16")]
    )
    assert advice.untested is not None
    assert advice.untested.accuracy.verdict == "undecided"


def test_a_larger_batch_is_another_training_and_needs_its_own_accuracy() -> None:
    default, large = trained(), trained(batch_size=256, rate=4000)
    assert speed(only([default, large])) is default
    evidence = [accuracies(0.95, 0.96, 0.955), accuracies(0.95, 0.96, 0.955, batch_size=256)]
    assert speed(only([default, large, *evidence])) is large


def test_a_disturbed_measurement_is_named_as_such() -> None:
    choice = only([trained(), trained(compiled="default", rate=2000, flags=("disturbed",))]).choice("speed")
    assert choice is not None
    assert choice.doubts == ("disturbed",)
    choice = only([trained(flags=("throttled",)), trained(compiled="default", rate=2000)]).choice("speed")
    assert choice is not None
    assert choice.doubts == ("throttled",)


def test_settings_over_the_memory_limit_are_not_considered() -> None:
    default, hungry = trained(), trained(compiled="default", rate=3000, peak_memory_bytes=9000)
    unknown = replace(trained(compiled="max-autotune", rate=4000), metrics={"samples_per_second": 4000})
    assert speed(only([default, hungry])) is hungry
    advice = only([default, hungry, unknown], max_memory_bytes=1000)
    assert speed(advice) is default
    assert advice.candidates == 1


def test_the_leanest_and_the_thriftiest_have_their_own_answers() -> None:
    default = trained(energy_joules_per_sample=2.0)
    lean = trained(compiled="default", rate=900, peak_memory_bytes=100, energy_joules_per_sample=2.0)
    thrifty = trained(compiled="max-autotune", rate=900, energy_joules_per_sample=1.0)
    advice = only([default, lean, thrifty])
    chosen = {choice.goal: choice for choice in advice.choices}
    assert chosen["speed"].record is default
    assert chosen["memory"].record is lean
    assert chosen["energy"].record is thrifty
    assert gain_words(chosen["energy"]) == "1.00 J a sample, 2.00× less than the default"


def test_a_gain_in_memory_is_how_many_times_less_the_device_holds() -> None:
    default = trained(device_allocated_bytes=900, energy_joules_per_sample=3.0)
    lean = trained(compiled="default", device_allocated_bytes=300, energy_joules_per_sample=2.0, peak_memory_bytes=5000)
    found = {choice.goal: choice for choice in only([default, lean]).choices}
    assert (found["memory"].value, found["memory"].gain.middle) == (300, 3.0)
    assert (found["energy"].value, found["energy"].gain.middle) == (2.0, 1.5)


def test_what_was_not_measured_has_no_answer() -> None:
    assert only([trained()]).choice("energy") is None
    assert advise([trained(precision="bf16")]) == []
    assert advise([replace(trained(), status="oom", metrics={}, rounds=())]) == []


def test_a_compiled_choice_says_when_it_pays_back() -> None:
    choice = only([trained(), trained(compiled="default", rate=2000, compile_seconds=32.0)]).choice("speed")
    assert choice is not None
    assert choice.payback is not None
    assert choice.payback.steps == pytest.approx(32.0 / (0.064 - 0.032))


def brute_force(records: list[Record], goal: str, candidate_of: Callable[[Record], bool]) -> Record | None:
    """The best of a model's settings by a search that shares no line with the recommendation, from the raw rounds."""

    def middle(values: tuple[float, ...]) -> float:
        ordered, half = sorted(values), len(values) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

    def cost(record: Record) -> float | None:
        if goal == "speed":
            return middle(record.rounds) / int(record.cell["batch_size"]) if record.rounds else None
        name = {"energy": "energy_joules_per_sample", "memory": "peak_memory_bytes"}[goal]
        device = record.metrics.get("device_allocated_bytes") if goal == "memory" else None
        return record.metrics.get(name) if device is None else device

    best: Record | None = None
    for record in records:
        here = cost(record)
        if here is not None and candidate_of(record) and (best is None or here < (cost(best) or 0)):
            best = record
    return best


def seeds_of(records: list[Record], like: Record) -> dict[Any, float]:
    wanted = {name: like.cell[name] for name in ("model", "device", "dataset", "batch_size", "precision")}
    for record in records:
        if record.cell.workload != "accuracy" or record.status != "ok":
            continue
        if all(record.cell[name] == value for name, value in wanted.items()):
            curves = record.series["held_out_accuracy"]
            return dict(zip(record.series["seed"], (curve[-1] for curve in curves), strict=True))
    return {}


def bears_out(records: list[Record]) -> int:
    """Checks each recommendation of a run against the search; gives how many there were."""
    checked = 0
    for advice in advise(records):
        group = [
            record
            for record in records
            if record.cell.workload == "train" and record.status == "ok" and record.cell["model"] == advice.model
        ]
        default = default_setting(group)
        assert default is not None

        def holds(record: Record, default: Record = default) -> bool:
            if all(record.cell[name] == default.cell[name] for name in ("batch_size", "precision")):
                return True
            ours, theirs = seeds_of(records, record), seeds_of(records, default)
            differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
            if len(differences) < 2:
                return False
            mean = sum(differences) / len(differences)
            spread = (sum((one - mean) ** 2 for one in differences) / (len(differences) - 1)) ** 0.5
            quantile = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132}[len(differences) - 1]
            return mean - quantile * spread / len(differences) ** 0.5 > -0.005

        for choice in advice.choices:
            best = brute_force(group, choice.goal, holds)
            assert best is not None
            assert choice.record.key in (best.key, default.key)
            if choice.record.key == best.key != default.key:
                assert choice.better
                assert choice.gain.middle > 1.05
            elif best.key != default.key:
                assert not choice.better  # the best is too near the default to be told from it
            checked += 1
    return checked


@pytest.mark.parametrize("file", COMMITTED)
def test_the_committed_runs_bear_out_what_is_recommended(file: Path) -> None:
    assert bears_out(list(read_run(file).records)) > 0


def test_a_search_through_the_raw_records_finds_the_same(stored: Any) -> None:
    records = list(stored.full_run().records)
    accuracy = [record for record in records if record.cell.workload == "accuracy"]
    bf16 = [
        replace(
            one, cell=Cell("accuracy", tuple((one.cell.settings | {"precision": "bf16", "batch_size": size}).items()))
        )
        for one, size in product(accuracy, (64, 256))
    ]
    assert bears_out(records) >= 12
    assert bears_out(records + bf16) >= 12
    found = {(advice.model, advice.choice("speed").better) for advice in advise(records + bf16)}  # type: ignore[union-attr]  # trained
    assert ("cnn", True) in found  # else nothing was put to the test


def test_the_command_answers_for_one_model_and_goal(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.full_run())
    assert reports_command("recommend", "--model", "cnn", "--goal", "speed") == 0
    told = capsys.readouterr().out
    assert told.startswith("cnn on cpu, mnist-5k: ")
    assert "least memory" not in told
    assert "pytest bench -k accuracy --benchmark-autosave --model cnn" in told


def test_the_command_names_the_models_that_there_are(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.run())
    assert reports_command("recommend", "--model", "transformer") == 2
    assert "has no training of transformer; it has mlp, mlp-residual, cnn, resnet20." in capsys.readouterr().err


def test_the_memory_limit_of_the_command_is_a_size(
    stored: Any, reports_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store(stored.run())
    assert reports_command("recommend", "--model", "cnn", "--max-memory", "1KB") == 0
    assert "cnn on cpu, mnist-5k: 0 settings" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        reports_command("recommend", "--max-memory", "much")


def test_the_defaults_are_those_of_the_axes() -> None:
    assert setting(trained(batch_size=int(PARAMETERS["batch_size"].default))) == "fp32, batch 64, eager"


# Whatever says how a training is done


HOW = [name for name in TRAINING_PARAMETERS if name not in ("model", "dataset", "device", "batch_size")]


def another(name: str) -> Value:
    parameter = PARAMETERS[name]
    others = [value for value in parameter.values if value != parameter.default]
    return others[0] if others else int(parameter.default) + 1


def varied(name: str, rate: float) -> Record:
    """The default setting but for one parameter, so many samples a second."""
    default = trained(rate=rate)
    return replace(default, cell=Cell.of("train", model="mlp", **{name: another(name)}))


@pytest.mark.parametrize("name", HOW)
def test_no_other_way_of_training_is_taken_for_the_default(name: str) -> None:
    default = trained(rate=1000)
    assert default_setting([varied(name, 2000), default]) is default
    assert default_setting([varied(name, 2000)]) is None


@pytest.mark.parametrize("name", HOW)
def test_a_faster_way_is_recommended_by_its_entry(name: str) -> None:
    samples = 2 if name == "accumulate" else 1
    fast = varied(name, 2000)
    fast = replace(fast, rounds=tuple(seconds * samples for seconds in fast.rounds))
    advice = only([trained(rate=1000), fast])
    choice = advice.choice("speed")
    assert choice is not None
    if PARAMETERS[name].same_arithmetic:
        assert choice.record is fast
        assert choice.gain.middle == pytest.approx(2.0, rel=0.05)
    else:
        assert choice.record is not fast
        assert advice.untested is not None and advice.untested.record is fast
        assert advice.untested.gain.middle == pytest.approx(2.0, rel=0.05)
        told = measure_command(advice, advice.untested)
        assert f"{PARAMETERS[name].option} {PARAMETERS[name].default},{another(name)}" in told
    if name not in ("precision", "compile"):
        assert PARAMETERS[name].worded(another(name)) in setting(fast)
