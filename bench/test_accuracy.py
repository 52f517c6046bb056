"""Accuracy: the lecture's whole training, then the held-out accuracy after the last epoch, seed by seed."""

import pytest


@pytest.mark.workload("accuracy")
def test_accuracy(measure):
    measure()
