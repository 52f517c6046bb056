"""n-gram language models: counted exactly, smoothed, scored."""

from models.ngram.counts import Counts, Level
from models.ngram.fitting import fit
from models.ngram.model import NgramModel
from models.ngram.storage import load, save
from models.ngram.text import CorpusError, TextOptions
from models.ngram.vocabulary import Vocabulary

__all__ = ["CorpusError", "Counts", "Level", "NgramModel", "TextOptions", "Vocabulary", "fit", "load", "save"]
