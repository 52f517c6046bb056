"""n-gram models: from a text to a model, and the probability of each token of a held-out text."""

import pytest


@pytest.mark.workload("ngram_fit")
def test_ngram_fit(measure):
    measure()


@pytest.mark.workload("ngram_score")
def test_ngram_score(measure):
    measure()
