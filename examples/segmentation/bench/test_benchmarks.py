"""What this project measures: a function a workload."""

import pytest


@pytest.mark.workload("train", precision="fp32")
def test_train(measure):
    measure()


@pytest.mark.workload("accuracy")
def test_accuracy(measure):
    measure()
