"""``pytest bench`` as a user calls it: what is measured, kept, resumed and said."""

from __future__ import annotations

import getpass
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainmark import load_runs
from trainmark.judge.explanation import artifact_links
from trainmark.measure.session import PEAKS
from trainmark.meters.control import Best, Control
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.journal import read_journal
from trainmark.store.record import SECTION
from trainmark.store.runs import read_run, run_files

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
TINY = ("--model=mlp", "--precision=fp32", "--compile=off", "--device=cpu", "--benchmark-max-time=0.01")
STEPS = ("-k", "train or inference or input")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """``pytest bench`` with its runs in the folder; tests/ can be imported, for models of one's own."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "bench",
        "-p",
        "no:cacheprovider",
        f"--benchmark-storage=file://{folder}",
    ]
    environment = os.environ | {"PYTHONPATH": str(HERE), "COLUMNS": "160"}
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):  # of the run that this test is part of
        environment.pop(name, None)
    return subprocess.Popen(
        [*command, *options], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def bench(folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output."""
    process = start(folder, *options)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def only_run(folder: Path) -> Path:
    files = run_files(folder)
    assert len(files) == 1, files
    return files[0]


def journal(folder: Path) -> list[Path]:
    return sorted((folder / JOURNALS).glob("*.jsonl"))


def wait_for_records(folder: Path, number: int, process: subprocess.Popen[str]) -> None:
    """Waits until the journal holds so many records."""
    while process.poll() is None:
        if any(path.read_bytes().count(b"\n") > number for path in journal(folder)):
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small run and what it printed."""
    folder = tmp_path_factory.mktemp("results")
    code, output = bench(folder, *TINY, "--batch-size=8,16", "--epochs=1", "--seeds=2", "--benchmark-autosave")
    assert code == 0, output
    return folder, output


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_every_cell_has_a_record_in_valid_json(finished) -> None:
    folder, _ = finished
    text = only_run(folder).read_text()
    json.loads(text, parse_constant=refuse_constant)
    assert "UNSERIALIZABLE" not in text
    run = read_run(only_run(folder))
    assert run.facts.complete
    assert {record.key for record in run.records} == set(run.facts.planned)
    assert [record.status for record in run.records] == ["ok"] * 11  # 2 batch sizes x (3 + 2 loaders), and the answer


def test_pytest_benchmark_stores_exactly_the_rounds_that_were_measured(finished) -> None:
    folder, _ = finished
    stored = json.loads(only_run(folder).read_text())["benchmarks"]
    records = read_run(only_run(folder)).records
    assert sorted(tuple(sorted(item["stats"]["data"])) for item in stored) == sorted(
        tuple(sorted(record.rounds)) for record in records
    )


def test_axes_are_stored_as_plain_parameters(finished) -> None:
    folder, _ = finished
    stored = json.loads(only_run(folder).read_text())["benchmarks"]
    training = next(item for item in stored if item["group"] == "train")
    assert training["params"] == {
        "model": "mlp",
        "dataset": "mnist-5k",
        "loader": "resident",
        "workers": 0,
        "pin_memory": "off",
        "persistent_workers": "off",
        "prefetch": 2,
        "batch_size": 8,
        "accumulate": 1,
        "device": "cpu",
        "precision": "fp32",
        "compile": "off",
        "checkpointing": "off",
        "memory_format": "contiguous",
        "cudnn_benchmark": "off",
        "optimizer": "adamw",
        "optimizer_implementation": "default",
    }


def test_a_stored_run_names_neither_host_nor_user_nor_path(finished) -> None:
    folder, _ = finished
    document = json.loads(only_run(folder).read_text())
    del document["commit_info"]  # pytest-benchmark's own: the branch may be named as it likes
    text = json.dumps(document)
    assert platform.node() not in text
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


def test_what_was_not_measured_is_none_and_what_was_is_a_number(finished) -> None:
    folder, _ = finished
    for record in read_run(only_run(folder)).records:
        assert record.metrics["cell_seconds"] > 0
        assert record.metrics.get("device_allocated_bytes") is None
        assert record.cell.workload == "answer" or record.metrics["peak_memory_bytes"] > 100e6
    training = next(record for record in read_run(only_run(folder)).records if record.cell.workload == "train")
    assert training.metrics["parameters"] == 270_346
    assert training.metrics["compile_seconds"] is None
    assert training.metrics["step_seconds_low"] <= training.metrics["step_seconds"]


def test_no_step_is_faster_than_the_peaks_of_its_machine(finished) -> None:
    folder, _ = finished
    run = read_run(only_run(folder))
    used = [
        record.metrics["flops_utilisation"] for record in run.records if record.cell.workload in ("train", "inference")
    ]
    assert all(0 < share <= 1 for share in used)
    assert run.facts.peaks["cpu"]["flops_per_second"]["fp32"] > 1e9


def test_accuracy_is_that_of_the_last_epoch_over_all_seeds(finished) -> None:
    folder, _ = finished
    frame = load_runs(run_files(folder))
    row = frame[frame.workload == "accuracy"].iloc[0]
    final = [curve[-1] for curve in row.series["held_out_accuracy"]]
    assert row.series["seed"] == [0, 1]
    assert row.accuracy == pytest.approx(sum(final) / 2)
    assert 0.8 < row.accuracy < 1


def test_each_cell_has_its_line_and_the_end_says_where_the_records_are(finished) -> None:
    folder, output = finished
    assert "11 cells on " in output
    assert "train mlp 8 cpu fp32" in output
    assert "[11/11]" in output
    assert f"records: {only_run(folder)}" in output
    assert "report:  trainmark html" in output


def test_a_cell_of_a_bad_moment_is_measured_again_at_the_end(finished, tmp_path) -> None:
    """Every moment is a bad one beside a machine that has once been a thousand times as fast."""
    fingerprint = json.loads(only_run(finished[0]).read_text())["machine_info"]["fingerprint"]
    peaks = tmp_path / JOURNALS / PEAKS
    peaks.mkdir(parents=True)
    for threads in range(1, 3 + (os.cpu_count() or 1)):
        Best(peaks, fingerprint).ratio(Control(product=1e-6, cached_copy=1e-6, copy=1e-6), threads)
    code, output = bench(tmp_path, *TINY, "-k", "inference or input", "--batch-size=8", "--benchmark-autosave")
    assert code == 0, output
    assert output.count("(measured again)") >= 1
    assert output.index("[3/3]") < output.index("(measured again)")
    document = json.loads(only_run(tmp_path).read_text())
    records = {record.label: record for record in read_run(only_run(tmp_path)).records}
    assert len(document["benchmarks"]) == len(document[SECTION]["records"]) == len(records) == 3
    assert sorted(sorted(item["stats"]["data"]) for item in document["benchmarks"]) == sorted(
        sorted(record.rounds) for record in records.values()
    )
    for item in document["benchmarks"]:
        assert any(item["extra_info"]["cell_seconds"] == one.metrics["cell_seconds"] for one in records.values())
    assert journal(tmp_path) == []


def test_the_journal_of_a_stored_run_is_gone(finished) -> None:
    folder, _ = finished
    assert journal(folder) == []


def test_stock_pytest_benchmark_reads_the_run(finished) -> None:
    folder, _ = finished
    for command, shown in (("list", only_run(folder).name), ("compare", "test_train[mlp-8-cpu-fp32]")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest_benchmark", f"--storage=file://{folder}", command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout


def test_a_run_killed_at_random_moments_and_resumed_measures_every_cell_once(tmp_path) -> None:
    moments = random.Random(0)
    begun = (*TINY, *STEPS, "--batch-size=4,8,16,32", "--benchmark-autosave")
    seen: dict[str, str] = {}  # key of a record that was in a journal -> when it was measured
    for kill in range(3):
        process = start(tmp_path, *(("--resume",) if kill else begun))
        wait_for_records(tmp_path, len(seen) + 1, process)
        time.sleep(moments.uniform(0, 1.5))
        process.kill()
        process.communicate()
        (path,) = journal(tmp_path)
        recovered = read_journal(path).records
        assert {key: recovered[key].started for key in seen} == seen
        seen = {key: record.started for key, record in recovered.items()}
    code, output = bench(tmp_path, "--resume")
    assert code == 0, output
    run = read_run(only_run(tmp_path))
    assert len(run.records) == len(run.facts.planned) == 16
    assert {record.key for record in run.records} == set(run.facts.planned)
    assert {record.key: record.started for record in run.records if record.key in seen} == seen
    assert output.count("(from the journal)") == len(seen)
    assert journal(tmp_path) == []


def test_ctrl_c_stores_what_is_done_and_the_rest_can_be_resumed(tmp_path) -> None:
    process = start(tmp_path, *TINY, *STEPS, "--batch-size=4,8,16,32", "--benchmark-autosave")
    wait_for_records(tmp_path, 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "cells are missing; measure them with: pytest bench --resume" in output
    partial = read_run(only_run(tmp_path))
    assert not partial.facts.complete
    assert 2 <= len(partial.records) < 16
    code, output = bench(tmp_path, "--resume")
    assert code == 0, output
    assert len(run_files(tmp_path)) == 2
    frame = load_runs(run_files(tmp_path))
    assert len(frame) == frame.key.nunique() == 16  # of the two files the fuller one counts


def test_cells_that_end_badly_leave_records_and_the_others_go_on(tmp_path) -> None:
    names = ("Hungry", "Aborting", "Sleeping", "NotANumber")
    models = ",".join([*(f"misbehaving:{name}" for name in names), "mlp"])
    options = ("-k", "train", f"--model={models}", "--batch-size=8", "--timeout=15", "--memory-limit=2GB")
    code, output = bench(tmp_path, *TINY[1:], *options, "--benchmark-autosave")
    assert code == 1, output
    records = {record.cell["model"]: record for record in read_run(only_run(tmp_path)).records}
    assert {name: records[f"misbehaving:{name}"].status for name in names} == {
        "Hungry": "oom",
        "Aborting": "crashed",
        "Sleeping": "timeout",
        "NotANumber": "nan",
    }
    assert all(record.reason for model, record in records.items() if model != "mlp")
    assert all(record.rounds == () for model, record in records.items() if model != "mlp")
    assert records["mlp"].status == "ok"
    stored = json.loads(only_run(tmp_path).read_text())["benchmarks"]
    assert [item["params"]["model"] for item in stored] == ["mlp"]  # nothing failed has a time


def test_the_largest_batch_is_found_in_processes_of_a_limited_memory(tmp_path) -> None:
    model = "misbehaving:Spacious"  # 8 MB for each sample
    options = ("--find-max-batch", f"--model={model}", "--precision=fp32", "--memory-limit=1200MB")
    code, output = bench(tmp_path, *options, "--benchmark-autosave")
    assert code == 0, output
    (record,) = read_run(only_run(tmp_path)).records
    found, peak = record.metrics["max_batch_size"], record.metrics["peak_memory_bytes"]
    two_steps = (1 + found // 64 + 1) * 16_000_000  # 16 MB a sample: the old space stays while the new one is made
    assert peak <= 1_200_000_000 < peak + two_steps


def test_a_profile_lies_beside_its_run_and_can_be_read(tmp_path) -> None:
    options = (*TINY, "--batch-size=8", "-k", "train", "--profile", "--benchmark-autosave")
    code, output = bench(tmp_path, *options)
    assert code == 0, output
    assert "USDT" not in output
    run = only_run(tmp_path)
    (artifacts,) = artifact_links(run).values()
    assert artifacts.trace is not None
    metrics = read_run(run).records[0].metrics
    phases = ("data", "copy", "forward", "loss", "zero_grad", "backward", "optimizer", "other")
    whole = metrics["instrumented_step_seconds"]
    assert sum(metrics[f"{phase}_seconds"] for phase in phases) == pytest.approx(whole, rel=0.03)
    done = subprocess.run(
        [sys.executable, "-m", "trainmark", "profile", "train", "mlp", f"--results={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "aten::addmm" in done.stdout
    assert [path.name for path in (tmp_path / JOURNALS).iterdir()] == ["peaks"]  # kept for the machine, not for the run


def test_an_instrument_that_dies_does_not_lose_what_was_timed(tmp_path) -> None:
    options = ("--model=misbehaving:ShyOfProfilers", "--batch-size=8", "-k", "train", "--benchmark-autosave")
    code, output = bench(tmp_path, *TINY[1:], *options)
    assert code == 0, output
    (record,) = read_run(only_run(tmp_path)).records
    assert record.status == "ok"
    assert record.rounds
    assert record.metrics.get("operators_per_step") is None
    assert "instruments-crashed" in record.flags
    assert "died of SIGABRT while counting" in record.reason


def test_a_run_of_failures_alone_is_stored_too(tmp_path) -> None:
    options = (*TINY[1:], "--model=misbehaving:NotANumber", "--batch-size=8", "-k", "train", "--benchmark-autosave")
    code, output = bench(tmp_path, *options)
    assert code == 1
    assert [record.status for record in read_run(only_run(tmp_path)).records] == ["nan"], output


def test_a_run_that_was_not_saved_can_be_saved_without_measuring_again(tmp_path) -> None:
    code, output = bench(tmp_path, *TINY, "-k", "train", "--batch-size=8")
    assert code == 0
    told = re.search(r"not saved; save the records with: pytest (bench --resume .*--benchmark-autosave)", output)
    assert told is not None, output
    assert f"--benchmark-storage file://{os.path.relpath(tmp_path, ROOT)}" in told[1]
    measured = read_journal(journal(tmp_path)[0]).records
    code, output = bench(tmp_path, "--resume", "--benchmark-autosave")
    assert code == 0, output
    assert {record.key: record for record in read_run(only_run(tmp_path)).records} == measured


def test_what_the_machine_cannot_run_is_skipped_and_the_run_says_why(tmp_path) -> None:
    options = ("--precision=fp32,tf32", "--model=mlp", "--batch-size=8", "--device=cpu", "--compile=off", TINY[-1])
    code, output = bench(tmp_path, *options, "-k", "train", "--benchmark-autosave")
    assert code == 0, output
    records = {record.cell["precision"]: record for record in read_run(only_run(tmp_path)).records}
    assert records["fp32"].status == "ok"
    assert records["tf32"].status == "skipped"
    assert "does not compute in tf32" in records["tf32"].reason


def test_disabled_benchmarks_run_each_cell_once_and_keep_nothing(tmp_path) -> None:
    code, output = bench(tmp_path, *TINY, "--batch-size=8", "--benchmark-disable")
    assert code == 0, output
    assert "[6/6]" in output
    assert run_files(tmp_path) == journal(tmp_path) == []


def test_collecting_only_lists_the_cells_and_measures_nothing(tmp_path) -> None:
    code, output = bench(tmp_path, *TINY, "--batch-size=8", "--collect-only", "-q")
    assert code == 0
    assert "bench/test_train.py::test_train[mlp-8-cpu-fp32]" in output
    assert run_files(tmp_path) == journal(tmp_path) == []


def test_the_first_failure_ends_the_run_where_asked(tmp_path) -> None:
    models = "--model=misbehaving:NotANumber,mlp"
    code, output = bench(tmp_path, *TINY[1:], models, "--batch-size=8", "-k", "train", "-x", "--benchmark-autosave")
    assert code == 1
    run = read_run(only_run(tmp_path))
    assert [record.status for record in run.records] == ["nan"], output
    assert not run.facts.complete


def test_a_run_can_go_to_a_file_of_ones_own_beside_another_to_compare_with(finished, tmp_path) -> None:
    folder, _ = finished
    own = tmp_path / "own.json"
    options = (*TINY, "--batch-size=8", "-k", "train", f"--benchmark-json={own}", "--benchmark-compare")
    code, output = bench(folder, *options, "--benchmark-columns=mean")
    assert code == 0, output
    assert "(NOW)" in output
    assert len(read_run(own).records) == 1
    for path in journal(folder):  # it was not saved, so its journal stays
        path.unlink()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--precision=fp8"], "--precision fp8: not one of fp32, tf32, bf16, fp16."),
        (["--batch-size=0"], "--batch-size 0: not a whole number above zero."),
        (["--timeout=soon"], "argument --timeout: soon: not a time; write 90, 90s, 15m or 2h."),
        (["--resume"], "No interrupted run in "),
        (["-n", "2"], "Benchmarks are measured one at a time: add -n0, and leave out --dist."),
        (["--model=mpl"], 'No model named "mpl". Name one of mlp, mlp-residual, cnn, '),
        (["--dataset=mnist-6k"], 'No data set named "mnist-6k". Name one of mnist-5k, mnist, '),
        (["--dataset=mnist", "--data-root=nowhere"], "add --download, or give --data-root."),
    ],
)
def test_a_wrong_command_line_is_told_in_one_sentence(options: Sequence[str], sentence: str, tmp_path) -> None:
    code, output = bench(tmp_path, *options)
    assert code == 4, output
    assert sentence in output
    assert "Traceback" not in output
    assert journal(tmp_path) == []


def test_ngram_cells_are_of_a_text_that_is_known_by_its_name_alone(tmp_path: Path) -> None:
    text = tmp_path / "secret" / "news.txt"
    text.parent.mkdir()
    text.write_text("the cat sat\nthe dog sat on the cat\n" * 20)
    options = ("--engine=python,counter", "--smoothing=mle", "--order=2", f"--corpus={text}", "--tokens=100,1000")
    code, output = bench(tmp_path / "results", *options, "--benchmark-max-time=0.01", "--benchmark-autosave")
    assert code == 0, output
    stored = only_run(tmp_path / "results").read_text()
    assert "secret" not in stored
    json.loads(stored, parse_constant=refuse_constant)
    records = {record.label: record for record in read_run(only_run(tmp_path / "results")).records}
    assert {label: record.status for label, record in records.items()} == {
        "ngram_fit python order 2 mle news.txt 100 tokens": "ok",
        "ngram_fit counter order 2 mle news.txt 100 tokens": "ok",
        "ngram_fit python order 2 mle news.txt 1000 tokens": "skipped",
        "ngram_fit counter order 2 mle news.txt 1000 tokens": "skipped",
        "ngram_score python order 2 mle news.txt 100 tokens": "ok",
        "ngram_score python order 2 mle news.txt 1000 tokens": "skipped",
    }
    assert records["ngram_score python order 2 mle news.txt 1000 tokens"].reason == (
        "news.txt has 220 tokens, and 1000 are asked for"
    )
    fitted = records["ngram_fit python order 2 mle news.txt 100 tokens"]
    assert fitted.settings["corpus_tokens"] == 103  # 19 whole sentences, of 4 and 7 by turns
    assert fitted.metrics["table_entries"] == 7 + 9
    assert fitted.metrics["random_update_share"] is not None
