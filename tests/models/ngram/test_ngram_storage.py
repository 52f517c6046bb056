from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.ngram import NgramModel, TextOptions, fit, load, save
from models.ngram.kneser_ney import FallbackDiscountsWarning
from models.ngram.storage import HEADER, ModelFileError

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

    monkeypatch.setattr(np, "save", run_out_of_space)
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
