from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.ngram import NgramModel, TextOptions, checked_before, fit, load, read_arpa, save, soundness, write_arpa
from models.ngram.kneser_ney import FallbackDiscountsWarning
from models.ngram.storage import FORMAT, HEADER, ModelFileError

TEXT = b"the cat sat\nthe dog sat\n\nthe cat ran far\n"


def fitted(smoothing: str, order: int = 3) -> NgramModel:
    return fit(TEXT, order, smoothing=smoothing, alpha=0.5, options=TextOptions(lower=True))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save(fitted("mle"), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")
@pytest.mark.parametrize("smoothing", ["mle", "additive", "kneser-ney"])
def test_a_loaded_model_says_what_the_saved_one_said(tmp_path, smoothing):
    model = fitted(smoothing)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert list(loaded.vocabulary) == list(model.vocabulary)
    assert (loaded.options, loaded.alpha, loaded.smoothing) == (model.options, 0.5, smoothing)
    ids = np.array([2, 3, 9, 0, 2, 1, 0], np.int32) % len(model.vocabulary)
    np.testing.assert_array_equal(loaded.score(ids).log_probabilities, model.score(ids).log_probabilities)


def test_the_arrays_of_a_loaded_model_are_mapped(stored):
    assert isinstance(load(stored).counts.levels[1].words.base, np.memmap | memoryview) or isinstance(
        load(stored).counts.levels[1].words, np.memmap
    )


def test_an_order_without_ngrams_is_stored_too(tmp_path):
    save(fit(b"a b\n", 6), tmp_path / "model")
    assert len(load(tmp_path / "model").counts.levels[5]) == 0


def test_saving_over_a_model_replaces_it(stored):
    save(fitted("additive", order=2), stored)
    assert load(stored).order == 2
    assert [path.name for path in stored.parent.iterdir()] == ["model"]


def test_saving_over_anything_else_is_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(ModelFileError, match="holds no model"):
        save(fitted("mle"), tmp_path / "notes")


def test_an_interrupted_save_leaves_the_old_model(stored, monkeypatch):
    def run_out_of_space(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("models.ngram.storage.store_array", run_out_of_space)
    with pytest.raises(OSError, match="no space"):
        save(fitted("mle", order=2), stored)
    assert load(stored).order == 3
    assert [path.name for path in stored.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["2.words.npy", "vocabulary.ends.npy"])
def test_a_file_cut_short_is_named(stored, name):
    data = (stored / name).read_bytes()
    (stored / name).write_bytes(data[: len(data) - 4])
    with pytest.raises(ModelFileError, match=name):
        load(stored)


def test_a_missing_file_is_named(stored):
    (stored / "3.starts.npy").unlink()
    with pytest.raises(ModelFileError, match=r"3\.starts"):
        load(stored)


def test_levels_that_lead_out_of_the_arrays_are_refused(stored):
    starts = np.load(stored / "3.starts.npy")
    starts[1] = 10_000
    np.save(stored / "3.starts.npy", starts)
    with pytest.raises(ModelFileError, match="do not fit"):
        load(stored)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "arrays": 3}'])
def test_a_header_that_is_none_is_refused(stored, text):
    (stored / HEADER).write_text(text)
    with pytest.raises(ModelFileError, match=HEADER):
        load(stored)


def test_an_array_that_could_run_code_is_refused(stored):
    header = json.loads((stored / HEADER).read_text())
    header["arrays"]["2.words"] = ["|O", [2]]
    (stored / HEADER).write_text(json.dumps(header))
    np.save(stored / "2.words.npy", np.array([object, object]), allow_pickle=True)
    with pytest.raises(ModelFileError, match=r"2\.words"):
        load(stored)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelFileError, match="holds no model"):
        load(tmp_path)


def test_a_tiny_text_says_that_its_discounts_are_the_fallback():
    with pytest.warns(FallbackDiscountsWarning, match="1-grams"):
        fitted("kneser-ney", order=2)


def test_a_model_that_cannot_take_its_place_leaves_the_old_one(stored, monkeypatch):
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(fitted("mle", order=2), stored)
    assert load(stored).order == 3


@pytest.fixture(params=["mle", "kneser-ney", "arpa"])
def any_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A stored model of that smoothing."""
    model = fitted("kneser-ney" if request.param == "arpa" else request.param)
    if request.param == "arpa":
        write_arpa(model, tmp_path / "model.arpa")
        model = read_arpa(tmp_path / "model.arpa")
    save(model, tmp_path / "model")
    return tmp_path / "model"


def rewritten(model: Path, **changes: Any) -> None:
    """Changes the header of a stored model."""
    header = json.loads((model / HEADER).read_text()) | changes
    (model / HEADER).write_text(json.dumps(header))


def without_checksums(model: Path) -> None:
    """Makes a stored model one of format 1."""
    header = json.loads((model / HEADER).read_text())
    del header["checksums"], header["checksum"]
    (model / HEADER).write_text(json.dumps(header | {"format": 1}))


@pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")
def test_no_bit_of_a_stored_model_changes_unseen(any_kind: Path) -> None:
    """One bit in every few of every file, the header's spaces alone excepted."""
    for file in sorted(any_kind.iterdir()):
        data = file.read_bytes()
        for place in range(0, len(data), 17 if file.name == HEADER else 29):
            if file.name == HEADER and data[place : place + 1].isspace():
                continue
            file.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
            with pytest.raises(ModelFileError):
                load(any_kind)
        file.write_bytes(data)
    load(any_kind)


def impossible(name: str, array: np.ndarray) -> list[np.ndarray]:
    """Arrays that no model of the few words can have in that place."""
    kind = array.dtype.kind
    if kind == "f":
        numbers: list[float] = [np.nan, np.inf, 1e38, *([0.5] if name.endswith("probabilities") else [])]
    elif name.endswith("counts"):
        numbers = [0, 1000]
    elif name == "vocabulary.text":
        numbers = [0, 9, 10, 13, 32, 0xFF, 0x80]
    else:
        numbers = [np.iinfo(array.dtype).max, 10_000, *([-1, np.iinfo(array.dtype).min] if kind == "i" else [])]
    changed = []
    for place in {0, len(array) // 2, len(array) - 1}:
        for number in numbers:
            if number != array[place]:
                changed.append(array.copy())
                changed[-1][place] = number
    return [*changed, array[:-1], np.append(array, array[-1:]), array[:0]]


@pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")
def test_what_no_model_can_have_is_refused_even_without_checksums(any_kind: Path) -> None:
    without_checksums(any_kind)
    header = json.loads((any_kind / HEADER).read_text())
    for name in header["arrays"]:
        file = any_kind / f"{name}.npy"
        data, array = file.read_bytes(), np.load(file)
        if not len(array):
            continue
        for changed in impossible(name, array):
            np.save(file, changed)
            rewritten(any_kind, arrays=header["arrays"] | {name: [array.dtype.str, [len(changed)]]})
            with pytest.raises(ModelFileError):
                load(any_kind)
        file.write_bytes(data)
    rewritten(any_kind, arrays=header["arrays"])
    load(any_kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 10_000 + "]" * 10_000, "nested too deep"),
        ('{"format": 1, "a": ' + "[" * 10_000, "nested too deep"),
        ('{"format": NaN}', "does not describe a model"),
        ('{"format": true}', "is of format True"),
        ('{"format": 3}', "is of format 3; this version reads formats 1 and 2"),
        (f'{{"format": {"9" * 400}}}', "is of format 999"),
        (f'{{"format": {"9" * 5000}}}', "out of range"),
        (" " * (1 << 20) + "{}", "more than 1,048,576 bytes"),
    ],
)
def test_a_header_of_any_kind_is_refused_in_a_sentence(stored: Path, text: str, message: str) -> None:
    (stored / HEADER).write_text(text)
    with pytest.raises(ModelFileError, match=message) as caught:
        load(stored)
    assert HEADER in str(caught.value)
    assert len(str(caught.value)) < 500


WRONG = [
    None,
    True,
    -1,
    0,
    7,
    0.5,
    10**400,
    "",
    "x",
    "../../etc/passwd",
    [],
    {},
    [[0.5]],
    [[1.0, 1.0, float("nan")]] * 3,
]


@pytest.mark.parametrize("key", ["order", "tokens", "smoothing", "alpha", "discounts", "options", "arrays"])
@pytest.mark.filterwarnings("ignore::models.ngram.kneser_ney.FallbackDiscountsWarning")
def test_a_part_of_the_header_that_cannot_be_is_refused_even_without_checksums(any_kind: Path, key: str) -> None:
    without_checksums(any_kind)
    right = json.loads((any_kind / HEADER).read_text())[key]
    for value in WRONG:
        if value == right or (key == "alpha" and value in (0.5, 7)):  # one as good as another
            continue
        rewritten(any_kind, **{key: value})
        with pytest.raises(ModelFileError):
            load(any_kind)


def test_a_name_that_leads_outside_is_not_followed(stored: Path) -> None:
    arrays = json.loads((stored / HEADER).read_text())["arrays"]
    (stored.parent / "outside.npy").write_bytes((stored / "2.words.npy").read_bytes())
    rewritten(stored, arrays=arrays | {"../outside": arrays["2.words"]})
    with pytest.raises(ModelFileError, match=r"array '\.\./outside' is missing, or of another type"):
        load(stored)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(stored: Path, make: Callable[[Path], None]) -> None:
    (stored / "2.words.npy").unlink()
    make(stored / "2.words.npy")
    with pytest.raises(ModelFileError, match=r"2\.words\.npy is no file"):
        load(stored)


def test_a_model_of_format_1_is_read(stored: Path) -> None:
    before = load(stored)
    without_checksums(stored)
    ids = np.array([2, 3, 0, 2, 1, 0], np.int32)
    np.testing.assert_array_equal(load(stored).score(ids).log_probabilities, before.score(ids).log_probabilities)
    assert FORMAT == 2


def test_checksums_are_of_the_files_and_of_the_header(stored: Path) -> None:
    header = json.loads((stored / HEADER).read_text())
    assert header["checksums"] == {
        name: hashlib.sha256((stored / f"{name}.npy").read_bytes()).hexdigest() for name in header["arrays"]
    }
    rest = {key: header[key] for key in header if key != "checksum"}
    assert (
        header["checksum"]
        == hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    )


@pytest.mark.parametrize("key", ["checksums", "checksum"])
def test_a_header_of_format_2_has_both_checksums(stored: Path, key: str) -> None:
    header = json.loads((stored / HEADER).read_text())
    del header[key]
    (stored / HEADER).write_text(json.dumps(header))
    with pytest.raises(ModelFileError, match="checksum"):
        load(stored)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[NgramModel]:
    """The models that were looked at in full, by an empty cache."""
    found: list[NgramModel] = []

    def first_fault(model: NgramModel) -> str | None:
        found.append(model)
        return soundness.first_fault(model)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("models.ngram.storage.first_fault", first_fault)
    monkeypatch.setattr(checked_before, "SETTLED_SECONDS", -1.0)
    return found


def test_a_model_is_looked_at_once_and_again_when_a_file_has_changed(stored: Path, looked_at: list[NgramModel]) -> None:
    for _ in range(3):
        load(stored)
    assert len(looked_at) == 1
    words = (stored / "2.words.npy").read_bytes()
    (stored / "2.words.npy").write_bytes(words)
    load(stored)
    assert len(looked_at) == 2
    (stored / "2.words.npy").write_bytes(words[:-1] + b"\1")
    with pytest.raises(ModelFileError, match="damaged"):
        load(stored)


def test_a_change_that_keeps_the_time_of_a_file_is_seen(stored: Path, looked_at: list[NgramModel]) -> None:
    file = stored / "2.counts.npy"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    load(stored)
    data = bytearray(file.read_bytes())
    data[-4] ^= 2
    file.write_bytes(data)
    os.utime(file, ns=times)
    with pytest.raises(ModelFileError, match="damaged"):
        load(stored)


def test_a_file_that_was_just_written_is_not_remembered(
    stored: Path, looked_at: list[NgramModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_before, "SETTLED_SECONDS", 1000.0)
    load(stored)
    load(stored)
    assert len(looked_at) == 2


def test_without_a_place_to_remember_each_opening_looks_at_all(
    stored: Path, looked_at: list[NgramModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored.parent / "no folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(stored.parent / "no folder"))
    load(stored)
    load(stored)
    assert len(looked_at) == 2


def test_as_many_models_are_remembered_as_there_is_room_for(
    stored: Path, looked_at: list[NgramModel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checked_before, "MOST_REMEMBERED", 2)
    for smoothing in ("mle", "additive", "mle"):
        save(fitted(smoothing), stored)
        load(stored)
    assert len(list((tmp_path / "cache" / "trainmark" / "sound-models").iterdir())) == 2
