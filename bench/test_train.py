"""Training: forward, loss, zero_grad, backward, step with AdamW and cross-entropy, as in the lecture."""

import pytest


@pytest.mark.workload("train")
def test_train(measure):
    measure()
