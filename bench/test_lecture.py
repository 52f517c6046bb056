"""The lecture: its claims computed, its networks trained, what they learned kept beside the run."""

import pytest


@pytest.mark.workload("lecture")
def test_lecture(measure):
    measure()
