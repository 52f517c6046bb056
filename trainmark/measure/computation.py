"""What a cell computes: a few steps of a few samples, kept as facts and numbers that another training cannot share.

The steps are those of the cell's workload, taken in full precision, eagerly, on one CPU thread and from a fixed seed:
so they are equal in every process, and what they leave behind is compared by :mod:`trainmark.judge.sameness`. A copy of
the process takes them at the same time with other rounding: how far that moves a number is kept beside it.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import pickle
import re
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from trainmark.measure.batches import Batch, call, samples_of, tensors
from trainmark.measure.data import Data, Feed
from trainmark.measure.protocol import HeldOutData, Report, set_up, train_once
from trainmark.measure.settings import Settings
from trainmark.measure.steps import TrainingParts, feed, prepare, task_and_data, training_parts
from trainmark.measure.switches import read_switches, seed_everything
from trainmark.measure.training import evaluate
from trainmark.store.cell import FEW, Cell
from trainmark.store.parameters import PARAMETERS
from trainmark.task import Task

DIGITS = 9  # of a number: a float32 has seven that count
ORDER_BATCH = 64  # in which the order of an epoch is looked at: it does not depend on it
MOST_STEPS = 16  # until an optimizer has taken one
EVERY = 3  # of a made-up evaluation one answer in so many is right
HOW = ("foreach", "fused", "capturable", "differentiable")  # of an optimizer: how it computes, not what
A_STEP, AN_EVALUATION = "a step", "an evaluation"
LISTED = 64  # numbers of a tensor; of more a digest
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PIECES = 16  # of a projection: their differences tell the size of a tensor's to a fifth
NUDGE = 1e-7  # of a weight: its last bit
WORTH_TELLING = 1e-6  # of a number's size: rounding that moves it by less is what sameness allows anyway
ANOTHER = 1e-3  # of the first outputs: more is no rounding, but chance that nobody seeds
LAYERS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)  # whose sums depend on the layout

Numbers = dict[str, list[dict[str, Any]]]  # rows of steps, evaluations and tensors
Taken = tuple["_Watch", dict[str, Any]]  # what was seen of small steps, and their facts


def of_steps(cell: Cell, settings: Settings, report: Report, scratch: Path) -> dict[str, Any]:
    """What the steps of a plain cell compute.

    Args:
        cell: See :func:`plain`.
        settings: One thread, and where data lies.
        report: Told what is being done.
        scratch: An empty folder.

    Returns:
        ``facts``, equal or not; ``steps`` and ``evaluations``: name -> a number and the size by which a
        difference of it is measured; ``tensors``: of each parameter its gradient at the first step, and
        projections of its weights before the first and after the last. ``rounding`` in each of these: how far
        rounding moves a number, as a share of its size, where that is worth telling; lacking where it is not known.

    Raises:
        UnsupportedError: Model and data set do not fit each other.
        MissingDataError: The data set's files are not there.
    """
    set_up(settings, scratch)
    report("taking small steps")
    steps = prepare(cell, settings, scratch)

    def take(_report: Report) -> Taken:
        with _Watch() as watch, steps.context:
            for number in range(MOST_STEPS):
                if number >= FEW["epochs"] and (watch.has_trained or not isinstance(steps.parts, TrainingParts)):
                    break  # a step of one's own may gather gradients before its optimizer takes a step
                watch.add_result(steps.advance(), steps.alive.batch)
        facts = watch.facts()
        if steps.model is not None:
            steps.model.eval()
            with _Watch() as looking, torch.no_grad():
                seed_everything(settings.seed)
                for inputs, _ in islice(steps.feed.single_batches(), 1):
                    call(steps.model, inputs)
            watch.evaluations += looking.evaluations
            facts |= looking.facts()
        return watch, facts

    told, facts = _with_rounding(take, report)
    if isinstance(steps.parts, TrainingParts):
        facts |= _precisions(steps.model, cell, steps.task)
    return told | {"facts": facts | order_of(steps.feed, settings.seed, Feed.endless)}


def of_training(cell: Cell, settings: Settings, report: Report, scratch: Path) -> dict[str, Any]:
    """What whole trainings of a plain cell compute: epochs of one small batch, each evaluated; likewise."""
    set_up(settings, scratch)
    report("training on a few samples")
    task, data = task_and_data(cell, settings)
    batches, held_out = feed(cell, data), HeldOutData.of(cell, task, data)
    few, judged_by = batches.some(_spread(batches.samples)), held_out.some(_spread(held_out.samples))

    def take(report: Report) -> Taken:
        with _Watch() as watch:
            training = train_once(cell, task, few, judged_by, settings.seed, FEW["epochs"], settings, report)
        for loss, step in zip(training.losses, watch.steps, strict=False):
            step["loss"] = _sized(loss)
        if held_out.whole is None:  # of the lecture's the outputs say it all
            for told, evaluation in zip(training.told, watch.evaluations, strict=False):
                evaluation |= {name: _sized(value) for name, value in told.items()}
        return watch, watch.facts()

    told, facts = _with_rounding(take, report)
    judged: list[int] = []

    def answer(images: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, classes] of which one in EVERY is right, and of the others the second best."""
        right = (torch.arange(len(labels)) + sum(judged)) % EVERY == 0
        judged.append(len(images))
        logits = nn.functional.one_hot(labels, task.classes).float()
        wrong = nn.functional.one_hot((labels + 1) % task.classes, task.classes).float()
        return torch.where(right[:, None], logits, 0.5 * logits + wrong)

    evaluation: dict[str, Any] = {"samples evaluated": held_out.samples}
    if held_out.whole is not None:
        share = evaluate(answer, *held_out.whole)
        evaluation = {"samples evaluated": sum(judged), "share of made-up answers evaluated as right": _short(share)}
    return told | {"facts": facts | evaluation | order_of(batches, settings.seed, Feed.epoch) | _facts_of(data)}


def order_of(batches: Feed, seed: int, way: Callable[[Feed], Iterator[Any]]) -> dict[str, Any]:
    """How many samples two epochs have, and a digest of their order: of numbers that stand for the samples.

    Nothing of a stream, whose order is its own.
    """
    if batches.samples is None:
        return {}
    source = batches.numbered(min(ORDER_BATCH, batches.size))
    seed_everything(seed)
    one = -(-batches.size // source.batch_size) if way is Feed.epoch else batches.size // source.batch_size
    if way is Feed.epoch:
        epochs = [torch.cat([labels for _, labels in way(source)]) for _ in range(2)]
    else:
        taken = [labels for _, labels in islice(way(source), 2 * one)]
        epochs = [torch.cat(taken[:one]), torch.cat(taken[one:])]
    return {
        "samples of an epoch": [len(epoch) for epoch in epochs],
        "different samples of an epoch": [len(epoch.unique()) for epoch in epochs],
        "order of samples": [_digest(epoch) for epoch in epochs],
    }


def _precisions(model: nn.Module | None, cell: Cell, task: Task | None) -> dict[str, Any]:
    """What a training in each precision would compute in; nothing of a step of one's own, which says so itself."""
    assert model is not None and task is not None  # as every training has them
    found: dict[str, Any] = {}
    for name in PARAMETERS["precision"].values if task.step is None else ():
        parts = training_parts(model, Cell.of(cell.workload, **(cell.settings | {"precision": name})), task)
        found[f"{name} computes in"] = str(parts.dtype or "what there is")
        found[f"loss of {name}"] = "scaled" if parts.scaler.is_enabled() else "as it is"
    return found


def _facts_of(data: Data) -> dict[str, Any]:
    found: dict[str, Any] = {"classes": data.classes, "adaptation": str(data.adaptation)}
    for name, split in (("training", data.train), ("held-out", data.held_out)):
        transform = getattr(split, "transform", None)
        if transform is not None:
            steps = getattr(transform, "steps", None)
            found[f"transform of {name} images"] = ADDRESS.sub("", str(transform if steps is None else steps))
    return found


def _with_rounding(take: Callable[[Report], Taken], report: Report) -> tuple[dict[str, Any], dict[str, Any]]:
    """The numbers of small steps, with how far rounding moves each, and their facts.

    Args:
        take: Takes the steps, from the state that this process is in now.
        report: Told what is being done.
    """

    def take_otherwise() -> Numbers:
        with _other_rounding():
            watch, _ = take(lambda _: None)
        return watch.numbers()

    with _meanwhile(take_otherwise) as result:
        watch, facts = take(report)
        numbers, others = watch.numbers(), result()
    told = {kind: [_told(row) for row in rows] for kind, rows in numbers.items()}
    if others is not None and _are_of_one_training(numbers, others):
        for kind, rows in numbers.items():
            for row, other, one in zip(rows, others[kind], told[kind], strict=False):
                one["rounding"] = _rounding(row, other)
    return told, facts


def _are_of_one_training(numbers: Numbers, others: Numbers) -> bool:
    """Whether the first outputs differ by rounding alone: of a model whose chance nobody seeds they do not."""
    rows, other_rows = ((*of["steps"], *of["evaluations"]) for of in (numbers, others))
    first = next((pair for pair in zip(rows, other_rows, strict=False) if all("outputs" in row for row in pair)), None)
    return first is not None and bool(first[0]["outputs"].moved_to(first[1]["outputs"]) < ANOTHER)


def _rounding(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """How far rounding moves the numbers of a row, as shares of their size: those that are worth telling."""
    shares = {name: one.moved_to(other[name]) for name, one in row.items() if isinstance(one, _Number)}
    if "loss" in shares:  # one number may have stayed where it was by chance; the many outputs have not
        shares["loss"] = max(shares["loss"], shares.get("outputs", 0.0))
    return {name: float(f"{share:.2g}") for name, share in shares.items() if share > WORTH_TELLING}


@contextmanager
def _meanwhile(work: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Does some work in a copy of this process, from the state that it is in now; gives what waits for the result.

    That is None where a process cannot be copied or where the copy ended without a result; the log says why.
    """
    if not hasattr(os, "fork"):
        yield lambda: None
        return
    reading, writing = os.pipe()
    copy = os.fork()
    if copy == 0:
        _send(work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:

        def result() -> Any:
            try:
                return pickle.load(answer)
            except EOFError:
                return None

        try:
            yield result
        finally:
            os.kill(copy, signal.SIGKILL)
            os.waitpid(copy, 0)


def _send(work: Callable[[], Any], writing: int) -> NoReturn:
    """What a copy of the process does. It leaves by ``_exit``: what its original has yet to clean up is not its own."""
    try:
        torch.set_num_threads(1)  # the original's other threads are not there
        with os.fdopen(writing, "wb") as answer:
            answer.write(pickle.dumps(work()))
    except BaseException:  # noqa: BLE001  # a user's model ends as it likes
        traceback.print_exc()
    finally:
        os._exit(0)


@contextmanager
def _other_rounding() -> Iterator[None]:
    """Meanwhile models round otherwise: their weights are off by the last bit, their layers get the other layout."""
    known: set[int] = set()
    contiguous: dict[int, bool] = {}

    def before(module: nn.Module, given: tuple[Any, ...]) -> Any:
        if id(module) not in known:
            known.update(id(part) for part in module.modules())
            with torch.no_grad():
                for weight in module.parameters():
                    if weight.is_floating_point():
                        weight.mul_(1 + NUDGE * _direction(weight.numel()).sign().view(weight.shape).to(weight))
        if not _is_layer_of_images(module, given):
            return None
        contiguous[id(module)] = given[0].is_contiguous()
        return (_laid_out(given[0], not given[0].is_contiguous()), *given[1:])

    def after(module: nn.Module, given: tuple[Any, ...], result: Any) -> Any:
        return _laid_out(result, contiguous[id(module)]) if _is_layer_of_images(module, given) else None

    modules = torch.nn.modules.module
    handles = (
        modules.register_module_forward_pre_hook(before),
        modules.register_module_forward_hook(after),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_layer_of_images(module: nn.Module, given: tuple[Any, ...]) -> bool:
    return isinstance(module, LAYERS) and bool(given) and isinstance(given[0], Tensor) and given[0].ndim == 4


def _laid_out(images: Tensor, contiguous: bool) -> Tensor:
    return images.contiguous(memory_format=torch.contiguous_format if contiguous else torch.channels_last)


class _Watch:
    """Looks on while steps are taken: at each call of the model, and at each step of an optimizer.

    A call without gradients is one of an evaluation, each other one of a step.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        self._modes: dict[str, list[Any]] = {A_STEP: [], AN_EVALUATION: []}
        self._depth = 0
        self._losses: list[Any] = []
        self._optimizer: list[Any] = []
        self._schedules: list[LRScheduler] = []
        self._groups: list[Any] = []
        self._names: dict[int, str] = {}
        self._tensors: dict[int, _Parameter] = {}
        self._buffers: dict[str, _Number] = {}
        self._until_left = ExitStack()

    def __enter__(self) -> _Watch:
        modules = torch.nn.modules.module
        for handle in (
            modules.register_module_forward_pre_hook(self._before_call),
            modules.register_module_forward_hook(self._after_call),
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ):
            self._until_left.callback(handle.remove)
        self._until_left.enter_context(_schedules_kept_in(self._schedules))
        return self

    def __exit__(self, *_: object) -> None:
        self._until_left.close()

    def add_result(self, result: Any, batch: Batch | None) -> None:
        """A step's loss []; of a workload that has none its outputs, and of one without a model its batch."""
        if batch is not None and result is batch[0]:
            self.steps.append({"images": _projected_all(result)})
        elif self.steps:
            if batch is not None and "images" not in self.steps[-1]:  # of a model that takes its inputs by name
                self.steps[-1] |= {"samples": samples_of(*batch), "images": _projected_all(batch[0])}
            if isinstance(result, Tensor) and result.numel() == 1:
                self.steps[-1]["loss"] = _sized(result.item())

    @property
    def has_trained(self) -> bool:
        """Whether an optimizer has taken a step."""
        return bool(self._groups)

    def facts(self) -> dict[str, Any]:
        """What must be equal: modes, the loss, the optimizer's groups, schedules, samples of each call."""
        found: dict[str, Any] = {}
        for kind, modes in self._modes.items():
            for fact in modes[0] if modes else ():
                values = [mode[fact] for mode in modes]
                found[f"{fact} in {kind}"] = values[0] if values.count(values[0]) == len(values) else values
        if self._losses:
            found["loss"] = self._losses[0]
        if self._groups:
            found["optimizer"] = self._optimizer[0]
            found["parameter groups"] = self._groups[0]
            if any(groups != self._groups[0] for groups in self._groups):
                found["parameter groups of each step"] = self._groups
        if self._schedules:
            found["schedules"] = [_schedule(one) for one in self._schedules]
        return found

    def numbers(self) -> Numbers:
        """Of each step, evaluation and tensor."""
        tensors = [one.numbers(self._names.get(key, "")) for key, one in self._tensors.items()]
        return {"steps": self.steps, "evaluations": self.evaluations, "tensors": tensors}

    def _before_call(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        if isinstance(module, nn.modules.loss._Loss):
            self._losses.append(_public(module))
            return
        mode = _mode(module)
        kind = AN_EVALUATION if mode["gradients"] == "off" else A_STEP
        if mode not in self._modes[kind]:
            self._modes[kind].append(mode)
        calls = self.steps if kind == A_STEP else self.evaluations
        calls.append({"samples": samples_of(given, None), "images": _projected_all(given)} if given else {})
        if kind == A_STEP:
            self._names.update((id(tensor), name) for name, tensor in module.named_parameters())
            if len(calls) == 1:
                self._buffers = _buffers_of(module)

    def _after_call(self, module: nn.Module, _given: Any, result: Any) -> None:
        self._depth -= 1
        if self._depth or isinstance(module, nn.modules.loss._Loss):
            return
        calls = self.evaluations if not torch.is_grad_enabled() else self.steps
        calls[-1]["outputs"] = _projected_all(result)
        if calls is self.steps and len(calls) == 1:
            self._add_buffers(module)

    def _add_buffers(self, module: nn.Module) -> None:
        """What the first step has changed of the buffers, such as running means: before rounding has grown."""
        changed = [number for name, number in _buffers_of(module).items() if number != self._buffers.get(name)]
        if changed:
            self.steps[-1]["buffers"] = _Number.whole(changed)

    def _before_step(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        self._optimizer.append({"class": type(optimizer).__name__})
        self._groups.append([_group(group) for group in optimizer.param_groups])
        gradients = []
        for tensor in _tensors_of(optimizer):
            known = self._tensors.setdefault(id(tensor), _Parameter(tensor, _projected(tensor)))
            if tensor.grad is None:
                continue
            gradients.append(_projected(tensor.grad))
            if known.gradient is None:
                known.gradient = gradients[-1]
        if self.steps:
            whole = _Number.whole(gradients)
            self.steps[-1]["gradient"] = replace(whole, value=whole.size)

    def _after_step(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        for tensor in _tensors_of(optimizer):
            self._tensors[id(tensor)].steps += 1


@dataclass
class _Parameter:
    """A tensor that an optimizer changes: its projection before the first step, its gradient there."""

    tensor: Tensor
    before: _Number
    gradient: _Number | None = None
    steps: int = 0

    def numbers(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "shape": list(self.tensor.shape),
            "before": self.before,
            "gradient": self.gradient,
            "after": _projected(self.tensor),
            "steps": self.steps,
        }


def _tensors_of(optimizer: torch.optim.Optimizer) -> Iterable[Tensor]:
    return (tensor for group in optimizer.param_groups for tensor in group["params"])


def _buffers_of(module: nn.Module) -> dict[str, _Number]:
    return {name: _projected(buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point()}


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: _value(value) for name, value in group.items() if name not in ("params", "param_names", *HOW)}
    return told | {"elements": sum(tensor.numel() for tensor in group["params"])}


def _mode(module: nn.Module) -> dict[str, Any]:
    """In which mode the model is called, and how each switch of the process stands."""
    modes = {part.training for part in module.modules()}
    switches = {name.replace("-", " "): _value(value) for name, value in read_switches().items()}
    return {"training mode": "some" if len(modes) > 1 else _value(modes.pop()), **switches}


def _value(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    if isinstance(value, Tensor):
        return _value(value.tolist()) if value.numel() <= LISTED else _digest(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return _short(value)
    return value if isinstance(value, int | str) or value is None else ADDRESS.sub("", str(value))


def _public(module: nn.Module) -> dict[str, Any]:
    """Class and settings of a criterion."""
    own = {
        name: _value(value) for name, value in vars(module).items() if not name.startswith("_") and name != "training"
    }
    buffers = {name: _value(value) for name, value in module.named_buffers()}
    return {"class": type(module).__name__, **own, **buffers}


def _schedule(schedule: LRScheduler) -> dict[str, Any]:
    moving = ("last_epoch", "_last_lr", "_step_count", "_get_lr_called_within_step")
    state = {name: _value(value) for name, value in schedule.state_dict().items() if name not in moving}
    return {"class": type(schedule).__name__, **state}


@contextmanager
def _schedules_kept_in(kept: list[LRScheduler]) -> Iterator[None]:
    """Keeps each schedule of a learning rate that is made meanwhile."""
    original = LRScheduler.__init__

    @functools.wraps(original)
    def init(self: LRScheduler, *args: Any, **kwargs: Any) -> None:
        kept.append(self)
        original(self, *args, **kwargs)

    LRScheduler.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        LRScheduler.__init__ = original  # type: ignore[method-assign]


def _spread(number: int | None) -> Tensor:
    """Places of a few samples, spread over all of them: many a data set is sorted by its labels; else the first."""
    if number is None:
        return torch.arange(FEW["batch_size"])
    return torch.linspace(0, number - 1, min(FEW["batch_size"], number)).long()


@functools.cache
def _direction(length: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(length), dtype=torch.float32)


@dataclass(frozen=True)
class _Number:
    """A number of a record.

    Attributes:
        value: Of a tensor a fixed random projection.
        size: By which a difference is measured: of a tensor its norm.
        pieces: Parts of the projection: as random ones they move as far as the tensor does, whatever their sum does.
    """

    value: float
    size: float
    pieces: tuple[float, ...]

    @classmethod
    def whole(cls, parts: Sequence[_Number]) -> _Number:
        """Of several tensors together, in whatever order."""
        pieces = tuple(piece for part in parts for piece in part.pieces)
        return cls(sum(part.value for part in parts), math.hypot(*(part.size for part in parts)), pieces)

    def moved_to(self, other: _Number) -> float:
        """How far the other lies away, as a share of their size; NaN where one is not finite."""
        size = max(self.size, other.size)
        return math.dist(self.pieces, other.pieces) / size if size else 0.0


def _projected(tensor: Tensor) -> _Number:
    with torch.no_grad():
        flat = tensor.detach().to("cpu", torch.float32).flatten().double()
        products = flat * _direction(len(flat)).double()
        length = len(products) // PIECES  # of a piece; what is left over goes to the first ones
        pieces = products[: PIECES * length].view(PIECES, length).sum(1)
        pieces[: len(products) - PIECES * length] += products[PIECES * length :]
        return _Number(float(pieces.sum()), float(flat.norm()), tuple(pieces.tolist()))


def _projected_all(value: Any) -> _Number:
    """The same of all tensors of a value together: of a batch, or of a model's output."""
    return _Number.whole([_projected(tensor) for tensor in tensors(value)])


def _sized(number: float) -> _Number:
    return _Number(number, abs(number), (number,))


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a record keeps it: each number with its size, and of a tensor's gradient the size alone."""
    told = {
        name: [_short(one.value), _short(one.size)] if isinstance(one, _Number) else one for name, one in row.items()
    }
    if "before" in row and row["gradient"] is not None:
        told["gradient"] = told["gradient"][1]
    return told


def _short(number: float) -> float | str:
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else str(number)


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
