"""Inference: the forward pass in eval mode, without gradients."""

import pytest


@pytest.mark.workload("inference")
def test_inference(measure):
    measure()
