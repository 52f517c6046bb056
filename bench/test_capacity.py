"""Capacity: the largest batch that can be trained, with --find-max-batch."""

import pytest


@pytest.mark.workload("capacity")
def test_capacity(measure):
    measure()
