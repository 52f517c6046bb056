"""Input: what it costs to have a batch, by each way of feeding."""

import pytest


@pytest.mark.workload("input")
def test_input(measure):
    measure()
