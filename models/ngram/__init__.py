"""n-gram language models: counted exactly, smoothed, scored."""

from models.ngram.arpa import ArpaError, read_arpa, write_arpa
from models.ngram.fitting import SettingsError, fit
from models.ngram.language_model import NgramModel
from models.ngram.levels import Counts, Level
from models.ngram.sampling import sample
from models.ngram.storage import ModelFileError, load, save
from models.ngram.text import CorpusError, TextOptions
from models.ngram.vocabulary import Vocabulary

__all__ = [
    "ArpaError",
    "CorpusError",
    "Counts",
    "Level",
    "ModelFileError",
    "NgramModel",
    "SettingsError",
    "TextOptions",
    "Vocabulary",
    "fit",
    "load",
    "read_arpa",
    "sample",
    "save",
    "write_arpa",
]
