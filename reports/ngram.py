"""n-gram models on the page: how fast a text becomes a model, by what, and what the model makes of another text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from reports.ngram_plots import language_plots
from trainmark import formatting
from trainmark.page.galleries import Drawn, Gallery
from trainmark.page.tables import (
    Column,
    Detail,
    Table,
    Value,
    megabytes_column,
    number_column,
    plain_value,
    share_column,
    subject_table,
    time_column,
)
from trainmark.store.record import Record


def galleries(drawn: Drawn) -> Iterable[Gallery]:
    """Engines along the size of the corpus, and along the order."""
    yield Gallery(
        "language",
        "N-gram models",
        "Engines on the same corpus: along its size at the usual order, and along the order at the usual size.",
        tuple(language_plots(drawn.frame)),
        "no n-gram model was measured at two known sizes of one order, or two orders of one size",
    )


def fit_table(records: Sequence[Record]) -> Iterable[Detail]:
    """The table of fits, with how to read it."""
    meaning = "From a text's file to the model. Compare those that compute the same; memory is of the whole process."
    yield Detail("n-gram models: fitting", meaning, ngram_fit_table(records), whole=True)


def score_table(records: Sequence[Record]) -> Iterable[Detail]:
    """The table of scores, with how to read it."""
    meaning = (
        "Of the last tenth of the corpus, by a model of the rest. Unsmoothed, one unseen n-gram makes the perplexity "
        "infinite."
    )
    yield Detail("n-gram models: scoring", meaning, ngram_score_table(records), whole=True)


def ngram_fit_table(records: Sequence[Record]) -> Table:
    """How fast a text becomes an n-gram model, by what, and what that computes."""
    columns = [
        Column("Computes", False, "what the fit comes to", tuple(map(_computes, records))),
        time_column(records, "fit_seconds", "Fit"),
        number_column(records, "tokens_per_second", "Tokens/s"),
        time_column(records, "encode_seconds", "Text to ids"),
        time_column(records, "count_seconds", "Ids to table"),
        time_column(records, "estimate_seconds", "Table to model"),
        time_column(records, "kernel_compile_seconds", "Kernels"),
        megabytes_column(records, "peak_memory_bytes", "Peak memory (MB)"),
        number_column(records, "peak_bytes_per_token", "Bytes/token"),
        number_column(records, "table_entries", "n-grams"),
        number_column(records, "bytes_per_entry", "Bytes/n-gram"),
        share_column(records, "random_update_share", "Of random updates (%)"),
        share_column(records, "copy_share", "Of copying (%)"),
    ]
    return subject_table(records, columns)


def ngram_score_table(records: Sequence[Record]) -> Table:
    """What a model makes of a text that it has not seen."""
    columns = [
        time_column(records, "score_seconds", "Scoring"),
        number_column(records, "score_tokens_per_second", "Tokens/s"),
        Column("Perplexity", True, formatting.metric_meaning("perplexity"), tuple(map(_perplexity, records))),
        number_column(records, "perplexity_without_unknown", "Without unknown words"),
        share_column(records, "unseen_share", "Unseen n-grams (%)"),
        share_column(records, "unknown_share", "Unknown words (%)"),
        number_column(records, "vocabulary_size", "Vocabulary"),
        number_column(records, "table_entries", "n-grams"),
    ]
    return subject_table(records, columns)


def _computes(record: Record) -> Value:
    return plain_value(record.settings.get("computes"))


def _perplexity(record: Record) -> Value:
    """Infinite where the text was scored and no number came of it: a record holds none that is not finite."""
    perplexity = record.metrics.get("perplexity")
    if perplexity is None and record.metrics.get("score_seconds") is not None:
        return Value("infinite", math.inf)
    return Value(formatting.digits(perplexity, 5), perplexity)
