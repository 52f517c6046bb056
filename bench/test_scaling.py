"""Scaling: a training on several processes of this machine, with --scaling."""

import pytest


@pytest.mark.workload("scaling")
def test_scaling(measure):
    measure()
