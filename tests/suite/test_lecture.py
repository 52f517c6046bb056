from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from bench.lecture import claims
from bench.lecture import networks as lecture
from bench.lecture.findings import Claim, find_lecture
from bench.lecture.networks import Trained, measure_lecture, read_digits, shifted, shifted_accuracy
from trainmark.measure.failures import UnsupportedError
from trainmark.measure.machine import Machine
from trainmark.measure.settings import Settings
from trainmark.store.cell import Cell
from trainmark.workloads.planning import Request, plan


def verdicts(part: Callable[[], Iterable[Claim]] = claims.computed_claims) -> dict[str, str]:
    return {claim.said: claim.verdict for claim in part()}


def test_what_the_lecture_says_rightly_holds_and_what_it_does_not_fails() -> None:
    failing = {said for said, verdict in verdicts().items() if verdict == "fails"}
    assert failing == {
        "softmax of [2.0, 0.5, -1.0] = [0.79, 0.17, 0.04]",
        "To predict stock prices, only the model and the data change",
        "LayerNorm uses running statistics in eval mode",
        "model.train() sets LayerNorm to another mode than eval()",
        "F of a block is two convolutions (resnet50)",
        "F of a block is two convolutions (resnet152)",
        "N-grams fail at (1), sequences of variable length",
        "N-grams fail at (3), training by gradient descent",
        "Weight sharing is translation invariant",
        "ResNet-152 has a top-5 error of 5.7%",
    }


def test_a_network_with_other_parameters_makes_its_claim_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(claims.PARAMETERS, "mlp", 270_347)
    assert verdicts(claims._networks)["mlp has 270,347 parameters"] == "fails"


def test_a_layer_of_another_size_makes_the_shapes_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    wider = nn.Sequential(nn.Conv2d(3, 33, 3, padding=1), nn.Flatten(), nn.Linear(33 * 32 * 32, 10))
    spec = claims.MODELS["cnn"]
    monkeypatch.setitem(claims.MODELS, "cnn", type(spec)(lambda: wider, *list(vars(spec).values())[1:]))
    found = verdicts(claims._networks)
    assert found["What the CNN's layers give for an image of 3x32x32"] == "fails"
    assert found["cnn has 1,070,794 parameters"] == "fails"


def test_a_layernorm_that_kept_statistics_would_make_the_lecture_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims.nn, "LayerNorm", nn.BatchNorm1d)
    assert verdicts(claims._modes)["LayerNorm uses running statistics in eval mode"] == "holds"


def test_images_move_and_zeros_come_in() -> None:
    image = torch.arange(1.0, 10).view(1, 1, 3, 3)
    assert shifted(image, 1, 0).view(3, 3).tolist() == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    assert shifted(image, 0, 2).view(3, 3).tolist() == [[0, 0, 0], [0, 0, 0], [1, 2, 3]]
    assert torch.equal(shifted(image, 0, 0), image)


class Corner(nn.Module):
    """Reads the class from the brightest pixel of the first row: it knows nothing but the place."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0]


def placed(width: int = 10) -> Trained:
    """A network and ten images, each with one bright pixel in the column of its label."""
    images = torch.zeros(width, 1, width, width)
    images[range(width), 0, 0, range(width)] = 1
    return Trained(None, Corner(), None, (images, torch.arange(width)), 1.0)  # type: ignore[arg-type]  # no data is read


def test_a_network_that_knows_the_place_loses_all_by_a_shift() -> None:
    assert shifted_accuracy(placed(), 0) == 1
    assert shifted_accuracy(placed(), 3) == pytest.approx((0 + 0.1) / 2)  # down: only zeros, which read as class 0


def test_the_confusion_counts_each_digit_once_and_the_surest_mistake_comes_first() -> None:
    network = placed()
    images, _ = network.held_out
    images[4] = 0
    images[4, 0, 0, 7] = 9  # a 4 that looks like a 7
    confusion, misread = read_digits(network)
    assert confusion.sum() == 10
    assert confusion[4, 7] == 1
    assert [image.caption.split(",")[0] for image in misread] == ["4 read as 7"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory):
    """The workload with one epoch of the smaller network alone, twice: quick, and all of it is real."""
    folder = tmp_path_factory.mktemp("artifacts")
    cell = Cell.of("lecture", epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lecture, "MLP_EPOCHS", 1)
        patch.setattr(lecture, "SHIFTS", range(2))
        patch.setattr(lecture, "SHIFTED_DIGITS", 50)
        findings = measure_lecture(cell, Settings(artifacts=folder), lambda _: None)
    return findings, find_lecture(folder)


def test_the_workload_leaves_claims_curves_and_images(measured) -> None:
    findings, found = measured
    assert found is not None
    assert findings["metrics"]["claims"] == sum(claim.verdict != "not checked" for claim in found.claims)
    assert 0 < findings["metrics"]["claims_held"] < findings["metrics"]["claims"]
    assert set(found.shifts) == {"mlp", "cnn"}
    assert found.shifts["cnn"][0] > 0.8
    assert sum(map(sum, found.confusion)) == 1000
    sizes = {(image.group, image.height) for image in found.images}
    assert {("kernels before", 3), ("maps 5 early", 32), ("maps 5 middle", 16), ("maps 5 later", 8)} <= sizes
    assert len(found.group("kernels after")) == 32
    assert [image.caption for image in found.group("by hand")] == ["vertical", "horizontal", "sharpen"]


def test_training_changes_the_kernels(measured) -> None:
    _, found = measured
    before, after = ([image.pixels for image in found.group(f"kernels {word}")] for word in ("before", "after"))
    assert sum(one != other for one, other in zip(before, after, strict=True)) > 16


def test_the_accuracy_on_mnist_is_not_judged_by_other_digits(measured) -> None:
    _, found = measured
    claim = next(claim for claim in found.claims if "97.8%" in claim.said)
    assert claim.verdict == "not checked"
    assert "--dataset mnist" in claim.note
    assert lecture._mnist_claim("mnist", 0.9801).verdict == "holds"
    assert lecture._mnist_claim("mnist", 0.9777).verdict == "holds"  # the lecture tells a tenth of a point
    assert lecture._mnist_claim("mnist", 0.9774).verdict == "fails"


def test_images_that_are_no_digits_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="mnist-5k or mnist"):
        measure_lecture(Cell.of("lecture", dataset="synthetic"), Settings(), lambda _: None)


MACHINE = Machine({}, ("cpu", "cuda"), {"cpu": ("fp32",), "cuda": ("fp32",)}, {}, {}, 1e11)


@pytest.mark.parametrize(
    ("given", "datasets"),
    [
        ({}, ["mnist-5k"]),
        ({"dataset": ("mnist", "cifar10")}, ["mnist"]),
        ({"dataset": ("cifar10",)}, []),
        ({"model": ("mlp",)}, []),
        ({"device": ("cpu",), "epochs": (3,)}, ["mnist-5k"]),
    ],
)
def test_the_lecture_is_one_cell_of_a_call_that_asks_for_nothing_else(given, datasets) -> None:
    planned = plan("lecture", Request(given=given), MACHINE)
    assert [item.cell["dataset"] for item in planned] == datasets
    assert all(item.cell["device"] == "cpu" for item in planned)
