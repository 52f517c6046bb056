"""What this project measures: a function a workload, over the values of its parameters."""

import pytest


@pytest.mark.workload("train")
def test_train(measure):
    measure()


@pytest.mark.workload("inference")
def test_inference(measure):
    measure()


@pytest.mark.workload("accuracy")
def test_accuracy(measure):
    measure()
