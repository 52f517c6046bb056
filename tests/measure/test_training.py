"""The lecture's loop: its order, its arithmetic, and what a precision makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from models.mlp import mlp
from trainmark.measure.failures import UnsupportedError
from trainmark.measure.precision import autocast_dtype, grad_scaler, set_float32_arithmetic
from trainmark.measure.steps import inference_parts, training_parts
from trainmark.measure.training import LEARNING_RATE, evaluate, mixed_precision_step, train_epoch, train_step
from trainmark.store.cell import Cell
from trainmark.task import Task

LECTURES = Task(model=mlp)
IMAGES = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8)


class Told(list[str]):
    """What was called, in order."""


class FakeLoss:
    """A loss that tells of its backward pass, also when it was scaled."""

    def __init__(self, told: Told) -> None:
        self.told = told

    def backward(self) -> None:
        self.told.append("backward")


class FakeOptimizer:
    def __init__(self, told: Told) -> None:
        self.told = told

    def zero_grad(self) -> None:
        self.told.append("zero_grad")

    def step(self) -> None:
        self.told.append("step")


class FakeScaler:
    def __init__(self, told: Told) -> None:
        self.told = told

    def scale(self, loss: FakeLoss) -> FakeLoss:
        self.told.append("scale")
        return loss

    def step(self, optimizer: FakeOptimizer) -> None:
        optimizer.step()

    def update(self) -> None:
        self.told.append("update")


def fakes(told: Told, loss: FakeLoss) -> tuple[object, object, FakeOptimizer]:
    """A model, a criterion and an optimizer that tell when they are called, and with what."""

    def model(images: Tensor) -> str:
        assert images is IMAGES
        told.append("forward")
        return "logits"

    def criterion(logits: str, labels: Tensor) -> FakeLoss:
        assert (logits, labels is LABELS) == ("logits", True)
        told.append("loss")
        return loss

    return model, criterion, FakeOptimizer(told)


@pytest.fixture
def float32_arithmetic() -> Iterator[None]:
    """Puts back the flags of this process."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_a_step_has_the_lectures_five_lines_in_the_lectures_order() -> None:
    told = Told()
    loss = FakeLoss(told)
    assert train_step(*fakes(told, loss), IMAGES, LABELS) is loss  # type: ignore[arg-type]
    assert told == ["forward", "loss", "zero_grad", "backward", "step"]


def test_a_mixed_precision_step_has_the_same_order_around_the_scaler() -> None:
    told = Told()
    loss = FakeLoss(told)
    model, criterion, optimizer = fakes(told, loss)
    given = mixed_precision_step(model, criterion, optimizer, torch.bfloat16, FakeScaler(told), IMAGES, LABELS)  # type: ignore[arg-type]
    assert given is loss
    assert told == ["forward", "loss", "zero_grad", "scale", "backward", "step", "update"]


def test_five_steps_give_the_weights_of_a_loop_written_by_hand() -> None:
    torch.manual_seed(0)
    model = mlp().train()
    step = training_parts(model, Cell.of("train"), LECTURES).step
    losses = [step(IMAGES, LABELS).item() for _ in range(5)]

    torch.manual_seed(0)
    twin = mlp().train()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-3)
    for loss in losses:
        wanted = nn.functional.cross_entropy(twin(IMAGES), LABELS)
        optimizer.zero_grad()
        wanted.backward()
        optimizer.step()
        assert loss == wanted.item()

    assert losses[-1] < losses[0]
    for weight, wanted in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(weight, wanted)


def test_the_learning_rate_is_the_lectures() -> None:
    assert LEARNING_RATE == 0.001


def test_gradients_do_not_add_up_over_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _ in range(3):
        train_step(model, nn.MSELoss(), optimizer, torch.ones(1, 1), torch.zeros(1, 1))
    assert torch.equal(model.weight.grad, 2 * model.weight.detach())


def test_the_mean_loss_of_an_epoch_weighs_each_sample_the_same() -> None:
    losses = iter([1.0, 2.0, 6.0])
    batches = [(torch.zeros(size, 1), torch.zeros(size)) for size in (4, 4, 2)]
    loss, samples = train_epoch(lambda images, labels: torch.tensor(next(losses)), batches)
    assert samples == 10
    assert loss.item() == pytest.approx((4 * 1 + 4 * 2 + 2 * 6) / 10)  # 2.4, and 3.0 if each batch weighed the same


def test_the_mean_loss_of_an_epoch_holds_no_graph() -> None:
    weight = torch.ones((), requires_grad=True)
    loss, _ = train_epoch(lambda images, labels: weight * 2, [(IMAGES, LABELS)])
    assert not loss.requires_grad


def test_an_epoch_takes_one_step_a_batch() -> None:
    seen = []

    def step(images: Tensor, labels: Tensor) -> Tensor:
        seen.append(labels.tolist())
        return torch.tensor(0.0)

    train_epoch(step, [(IMAGES[:2], torch.tensor([1, 2])), (IMAGES[:1], torch.tensor([3]))])
    assert seen == [[1, 2], [3]]


def test_an_evaluation_counts_the_samples_labelled_rightly() -> None:
    scores = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.1], [0.0, 3.0], [5.0, 0.0]])
    labels = torch.tensor([1, 0, 1, 1, 1])  # right, right, wrong, right, wrong
    assert evaluate(lambda some, wanted: some, scores, labels) == 3 / 5


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 1000])
def test_an_evaluation_is_the_same_in_batches_of_any_size(batch_size: int) -> None:
    sizes = []

    def forward(some: Tensor, wanted: Tensor) -> Tensor:
        assert len(some) == len(wanted)
        sizes.append(len(some))
        return some

    assert evaluate(forward, torch.eye(5), torch.tensor([0, 1, 2, 3, 0]), batch_size) == 4 / 5
    assert sum(sizes) == 5
    assert max(sizes) <= batch_size


def test_an_evaluation_keeps_no_gradients() -> None:
    model = nn.Linear(784, 10)
    seen = []

    def forward(images: Tensor, wanted: Tensor) -> Tensor:
        logits: Tensor = model(images.flatten(1))
        seen.append(logits.requires_grad)
        return logits

    evaluate(forward, IMAGES, LABELS)
    assert seen == [False]


def test_bf16_computes_the_forward_pass_in_bfloat16_and_keeps_float32_weights() -> None:
    torch.manual_seed(0)
    model = mlp().train()
    seen: list[torch.dtype] = []
    linear = model[-1]
    linear.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    before = [weight.detach().clone() for weight in model.parameters()]
    step = training_parts(model, Cell.of("train", precision="bf16"), LECTURES).step
    loss = step(IMAGES, LABELS)
    assert seen == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert {weight.grad.dtype for weight in model.parameters() if weight.grad is not None} == {torch.float32}
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_full_precision_computes_the_forward_pass_in_float32() -> None:
    model = mlp().train()
    seen: list[torch.dtype] = []
    model[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    training_parts(model, Cell.of("train"), LECTURES).step(IMAGES, LABELS)
    assert seen == [torch.float32]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_inference_computes_in_the_precision_of_its_cell(precision: str, dtype: torch.dtype) -> None:
    forward = inference_parts(mlp().eval(), Cell.of("inference", precision=precision), LECTURES).step
    with torch.inference_mode():
        assert forward(IMAGES, LABELS).dtype == dtype


def test_fp16_scales_the_loss_and_bf16_does_not() -> None:
    for precision, scale in (("fp16", 2.0**16), ("bf16", 1.0)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        seen: list[float] = []
        model[-1].weight.register_hook(lambda gradient, seen=seen: seen.append(gradient.abs().max().item()))
        torch.manual_seed(0)
        training_parts(model, Cell.of("train", precision=precision), LECTURES).step(IMAGES, LABELS)
        assert (seen[0] > 100) == (scale > 1), precision


@pytest.mark.parametrize(("precision", "enabled"), [("fp32", False), ("tf32", False), ("bf16", False), ("fp16", True)])
def test_the_loss_scaler_is_enabled_for_fp16_alone(precision: str, enabled: bool) -> None:
    assert grad_scaler(precision, "cpu").is_enabled() == enabled


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", None), ("tf32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_autocast_is_for_the_16_bit_precisions(precision: str, dtype: torch.dtype | None) -> None:
    assert autocast_dtype(precision) == dtype


@pytest.mark.usefixtures("float32_arithmetic")
@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("bf16", False), ("fp16", False)])
def test_tensorfloat_32_is_allowed_for_tf32_alone_in_products_and_in_convolutions(
    precision: str, allowed: bool
) -> None:
    set_float32_arithmetic("fp32" if allowed else "tf32")
    set_float32_arithmetic(precision)
    assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")
    assert torch.backends.cudnn.allow_tf32 == allowed


@pytest.mark.parametrize(("rule", "factor"), [("none", 1.0), ("sqrt", 2.0), ("linear", 4.0)])
def test_the_learning_rate_follows_the_batch_size_by_the_rule_that_is_named(rule: str, factor: float) -> None:
    cell = Cell.of("accuracy", batch_size=256, lr_scaling=rule)
    parts = training_parts(mlp(), cell, LECTURES)
    assert [group["lr"] for group in parts.optimizer.param_groups] == [factor * LEARNING_RATE]


def test_at_the_usual_batch_size_no_rule_changes_the_learning_rate() -> None:
    for rule in ("none", "sqrt", "linear"):
        parts = training_parts(mlp(), Cell.of("accuracy", lr_scaling=rule), LECTURES)
        assert parts.optimizer.param_groups[0]["lr"] == LEARNING_RATE


def test_all_groups_and_all_optimizers_of_a_task_follow() -> None:
    def two(model: nn.Module) -> list[torch.optim.Optimizer]:
        first, *rest = model.parameters()
        groups = [{"params": [first], "lr": 0.1}, {"params": rest, "lr": 0.2}]
        return [torch.optim.SGD(groups), torch.optim.SGD(model.parameters(), lr=0.4)]

    task = Task(model=mlp, optimizer=two, step=lambda *_: None)
    parts = training_parts(mlp(), Cell.of("accuracy", batch_size=128, lr_scaling="linear"), task)
    assert [group["lr"] for one in parts.optimizer for group in one.param_groups] == [0.2, 0.4, 0.8]


def test_a_schedule_of_ones_own_and_a_rule_for_the_learning_rate_do_not_go_together() -> None:
    task = Task(model=mlp, schedule=torch.optim.lr_scheduler.StepLR)
    with pytest.raises(UnsupportedError, match="the task's schedule sets the learning rate"):
        training_parts(mlp(), Cell.of("accuracy", lr_scaling="sqrt"), task)
    assert training_parts(mlp(), Cell.of("accuracy"), task).schedule is not None
