"""The answer: which setting trains an equal model soonest, model by model."""

import pytest


@pytest.mark.workload("answer")
def test_answer(measure):
    measure()
