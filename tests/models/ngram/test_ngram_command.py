"""The command line of the n-gram model: what it prints, what it refuses, and what it leaves behind."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.ngram import __main__ as command
from models.ngram import fit, load, save

TEXT = b"the cat sat\nthe dog sat\n\nThe cat ran far\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_bytes(TEXT)
    (tmp_path / "held.txt").write_bytes(b"the cat sat\nthe bird sat\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str) -> int:
    return command.main(line.split())


@pytest.fixture
def model(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run("fit text.txt -n 2 --smoothing kneser-ney -o model") == 0
    capsys.readouterr()
    return folder / "model"


def test_a_model_is_fitted_saved_and_described(folder, capsys):
    assert run("fit text.txt -o model") == 0
    assert capsys.readouterr().out.startswith("model: 14 tokens, 7 words, 12 2-grams, 10 3-grams, fitted in ")
    assert load(folder / "model").counts.count([]) == 14


def test_every_option_of_fit_arrives(folder):
    assert run("fit text.txt -n 4 --smoothing additive --alpha 0.25 --engine python --lower --punctuation -o a") == 0
    found = load("a")
    assert (found.order, found.smoothing, found.alpha) == (4, "additive", 0.25)
    assert found.options == command.TextOptions(lower=True, punctuation=True)
    assert run("fit text.txt --characters --no-sentences --memory 2GB --threads 2 -o b") == 0
    assert load("b").options == command.TextOptions(characters=True, sentences=False)
    assert run("fit text.txt --min-count 2 -o c") == 0
    assert [*load("c").vocabulary][2:] == ["the", "cat", "sat"]
    assert run("fit text.txt --max-vocabulary 1 -o d") == 0
    assert [*load("d").vocabulary][2:] == ["the"]
    assert run("fit text.txt --engine torch -o e") == 0
    assert load("e").counts.count([]) == 14


def test_several_sources_and_standard_input_are_read(folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b\n")))
    assert run("fit text.txt - -o model") == 0
    assert load("model").counts.count([]) == 14 + 3


def test_the_score_of_a_text_is_printed(model, capsys):
    assert run("score model held.txt") == 0
    out = capsys.readouterr().out
    scores = load("model").score(
        load("model").vocabulary.encode(["the", "cat", "sat", "</s>", "the", "bird", "sat", "</s>"])
    )
    assert "tokens      8, of which 1 are unknown words (12.50%)" in out
    assert f"{scores.perplexity():.4f} with unknown words, {scores.perplexity(unknown=False):.4f} without" in out
    assert re.search(r"1-grams +12.50% +12.50%\n2-grams +75.00% +25.00%\n", out)


def test_an_infinite_perplexity_is_said_in_words_beside_its_cause(folder, capsys):
    run("fit text.txt -n 2 -o model")
    capsys.readouterr()
    assert run("score model held.txt") == 0
    out = capsys.readouterr().out
    assert "infinite with unknown words, infinite without" in out
    assert "because 25.00% of the tokens have probability 0" in out


def test_each_sentence_has_a_line(model, folder, capsys):
    assert run("score model held.txt --each") == 0
    found = load("model")
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2
    for line, sentence in zip(lines, ("the cat sat </s>", "the bird sat </s>"), strict=True):
        scores = found.score(found.vocabulary.encode(sentence.split()))
        logarithm = float(scores.log_probabilities.sum())
        assert [int(line[0]), int(line[1])] == [4, int("bird" in sentence)]
        assert float(line[2]) == pytest.approx(logarithm / math.log(10), abs=1e-6)
        assert float(line[3]) == pytest.approx(math.exp(-logarithm / 4), abs=1e-6)


def test_a_sentence_that_is_impossible_has_a_line_as_well(folder, capsys):
    run("fit text.txt -n 2 -o model")
    capsys.readouterr()
    assert run("score model held.txt --each") == 0
    assert capsys.readouterr().out.splitlines()[1] == "4\t1\t-inf\tinf"


def test_the_same_seed_prints_the_same_sentences(model, capsys):
    printed = []
    for seed in (1, 1, 2):
        assert run(f"sample model -n 8 --seed {seed}") == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]
    assert len(printed[0].splitlines()) == 8


def test_characters_are_put_together_again(folder, capsys):
    assert run("fit text.txt -n 6 --characters -o model") == 0
    capsys.readouterr()
    assert run("sample model -n 20 --seed 0") == 0
    assert "the cat sat" in capsys.readouterr().out.splitlines()


def test_an_exported_model_scores_the_same(model, capsys):
    assert run("export model -o out/model.arpa") == 0
    capsys.readouterr()
    run("score model held.txt")
    first = capsys.readouterr().out
    run("score out/model.arpa held.txt")
    assert capsys.readouterr().out == first


def test_an_arpa_file_is_written_in_one_command_beside_a_model_or_alone(folder, capsys):
    assert run("fit text.txt -n 2 --smoothing kneser-ney --arpa alone.arpa.gz") == 0
    assert run("fit text.txt -n 2 --smoothing kneser-ney --arpa beside.arpa -o model") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("model and beside.arpa: 14 tokens, 7 words, ")
    assert run("export model -o exported.arpa") == 0
    assert (folder / "exported.arpa").read_bytes() == (folder / "beside.arpa").read_bytes()
    assert gzip.decompress((folder / "alone.arpa.gz").read_bytes()) == (folder / "beside.arpa").read_bytes()
    assert not (folder / "alone.arpa").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fit text.txt --arpa new.arpa", "fit it with kneser-ney."),
        ("fit text.txt --smoothing kneser-ney --arpa kneser", "kneser: Is a directory."),
        ("fit missing.txt -o model", "missing.txt cannot be read: No such file or directory."),
        ("fit empty.txt -o model", "There is no word in empty.txt."),
        ("fit bad.txt -o model", "bad.txt is not UTF-8: byte 1 is 0xff. Convert it, as with iconv."),
        ("fit text.txt -o text.txt", "text.txt is there and holds no model: name another folder."),
        ("fit text.txt -n 1 --smoothing kneser-ney -o model", "order is 1: it must be 2 to 6."),
        ("fit text.txt --alpha nan -o model", "alpha is nan: it must be more than 0."),
        ("fit text.txt --device cuda -o model", "cuda is a device of the torch engine alone."),
        ("fit text.txt --min-count 9 -o model", "No word occurs 9 times: the model would have no vocabulary."),
        ("fit text.txt --memory 1MB -o model", "1 MB are too few for this text"),
        ("score missing text.txt", "missing holds no model: there is no model.json in it."),
        ("score text.txt text.txt", "text.txt, line 1: an ARPA file begins with \\data\\."),
        ("score mle missing.txt", "missing.txt cannot be read: No such file or directory."),
        ("export mle -o model.arpa", "fit it with kneser-ney."),
        ("export kneser -o kneser", "kneser: Is a directory."),
        ("export kneser -o .", ".: "),
    ],
)
@pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")
def test_what_the_user_can_mend_is_one_sentence(folder, capsys, line, message):
    (folder / "empty.txt").write_bytes(b" \n")
    (folder / "bad.txt").write_bytes(b"a\xff")
    save(fit(TEXT), folder / "mle")
    save(fit(TEXT, smoothing="kneser-ney"), folder / "kneser")
    before = {path.name for path in folder.iterdir()}
    assert run(line) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("score model text.txt", "memory does not suffice.\n"),
        ("fit text.txt -o other", "memory does not suffice: fit has --memory, "),
    ],
)
def test_want_of_memory_names_an_option_where_there_is_one(model, capsys, monkeypatch, line, message):
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(command, "read_views", exhausted)
    monkeypatch.setattr(command, "fit", exhausted)
    assert run(line) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fit text.txt", "-o/--output"),
        ("fit text.txt -n 7 -o model", "invalid choice: 7"),
        ("fit text.txt --memory much -o model", "much is no size: write 500MB or 2GB"),
        ("fit text.txt --min-count 0 -o model", "0 is no whole number from 1 on"),
        ("sample model -n x", "x is no whole number from 1 on"),
    ],
)
def test_an_option_that_cannot_be_is_refused(folder, capsys, line, message):
    with pytest.raises(SystemExit, match="2"):
        run(line)
    assert message in capsys.readouterr().err


def test_discounts_that_were_taken_instead_are_said_in_a_line(folder, capsys):
    assert run("fit text.txt -n 2 --smoothing kneser-ney -o model") == 0
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 1
    assert notes[0].startswith("Note: too few 2-grams to estimate discounts (")


def test_an_interrupt_leaves_the_old_model_and_nothing_else(model, folder, capsys, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("models.ngram.storage.json.dumps", interrupted)
    assert run("fit text.txt -n 3 -o model") == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {path.name for path in folder.iterdir()} == {"model", "text.txt", "held.txt"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_obeys_no_word_and_no_name_of_a_file(folder, monkeypatch, capsys):
    (folder / "text.txt").write_bytes("a\x9b31mb\n".encode() * 9)
    run("fit text.txt -n 2 -o model")
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert run("sample model -n 3") == 0
    assert terminal.getvalue() == "a\\x9b31mb\n" * 3
    capsys.readouterr()
    assert command.main(["score", "model", "no\x1b[31m\nfile"]) == 2
    assert capsys.readouterr().err == "no\\x1b[31m\\nfile cannot be read: No such file or directory.\n"


def test_a_terminal_is_told_how_far_it_is_and_its_line_is_gone_at_the_end(folder, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run("fit text.txt -o model")
    told = re.sub(r"\rcompiling \w+, once, \d+ s\x1b\[K", "", terminal.getvalue())
    assert re.fullmatch(
        r"\rreading 0.0 M tokens, \d+ s\x1b\[K\rcounting, \d+ s\x1b\[K\r\x1b\[K\rsaving, \d+ s\x1b\[K\r\x1b\[K", told
    )


def test_what_is_no_terminal_is_told_nothing(folder, capsys):
    run("fit text.txt -o model")
    assert capsys.readouterr().err == ""


def started(*arguments: str, folder: Path, **streams: int) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "models.ngram", *arguments]
    source = Path(command.__file__).parents[2]
    return subprocess.Popen(line, cwd=folder, env=os.environ | {"PYTHONPATH": str(source)}, **streams)


def test_whoever_reads_may_stop_reading(model, folder):
    process = started("sample", "model", "-n", "100000", folder=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_it_reads_leaves_nothing(folder, sent, code, monkeypatch):
    (folder / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "scratch"))
    arguments = ["fit", "-", "--memory", "2GB", "-o", "model"]
    process = started(*arguments, folder=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    with process:
        assert process.stdin is not None and process.stderr is not None
        with contextlib.suppress(BrokenPipeError):  # the text ends with the process
            for piece in range(100_000):
                process.stdin.write(b"the cat sat\n" * 5000)
                if piece == 50:  # more than a block, so it is at work
                    assert any((folder / "scratch").rglob("ids"))
                    process.send_signal(sent)
        assert process.wait(60) == code
        assert b"Traceback" not in process.stderr.read()
    assert {path.name for path in folder.iterdir()} == {"text.txt", "held.txt", "scratch"}
    assert not any((folder / "scratch").iterdir())


def test_torch_is_not_imported_unless_it_counts(folder):
    code = "import sys, models.ngram, models.ngram.__main__; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(command.__file__).parents[2], check=True, timeout=60)
