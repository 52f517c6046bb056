"""What each process of a data-parallel training does: steps alone, together, and together without all-reduce."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import pickle
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from trainmark.measure import processes
from trainmark.measure.batches import Batch, call, mapped, tensors
from trainmark.measure.beats import Beats, Stage
from trainmark.measure.data import Feed
from trainmark.measure.protocol import ROUND_SECONDS, set_up, timed_block
from trainmark.measure.settings import Settings
from trainmark.measure.steps import (
    Steps,
    TrainingParts,
    built,
    feed,
    task_and_data,
    training_parts,
    training_steps,
)
from trainmark.measure.training import Step
from trainmark.measure.worker import Finished, finish
from trainmark.meters.clock import clock_of
from trainmark.meters.control import take_control, to_facts
from trainmark.meters.disturbance import DisturbanceMeter
from trainmark.meters.flops import count_parameters
from trainmark.meters.memory import device_peak, peak_memory_bytes
from trainmark.store.cell import Cell
from trainmark.store.parameters import TRAINING_PARAMETERS

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}  # device -> what its processes speak
TRIPLES = (12, 60)  # of blocks, at the least and at most
WARM_STEPS = 3  # the first builds the buckets, the second has the optimizer's state, the third is like those after it
FOLDER_OF_ENDINGS = "endings"
LATER_SECONDS = 1.0  # one that fails for want of another ends after it: the launcher tells of the first that it sees


@dataclass(frozen=True)
class RankFindings:
    """What one rank has seen.

    Attributes:
        alone: Seconds of a step of one process, block by block; no number but of rank 0.
        together: Of a step of all.
        unsynchronised: Of a step of all without all-reduce.
        steps: Of a block.
        buckets: Bytes of each bucket that a step sends, in their order.
        parameters: Of the model.
        digest: Of its parameters after all steps.
        gradient_difference: Largest difference between the gradient of all and that of one process on the same batch,
            over the largest entry of that; None where the batch or the step cannot be parted.
        peak_bytes: Largest memory: of the device where it tells, else of the process.
        begun: When it began, in seconds since 1970.
        ended: When it had done all.
        disturbance: Of rank 0.
        flags: Likewise.
        adaptation: What was done to the images to fit the model.
    """

    alone: tuple[float, ...]
    together: tuple[float, ...]
    unsynchronised: tuple[float, ...]
    steps: int
    buckets: tuple[int, ...]
    parameters: int
    digest: str
    gradient_difference: float | None
    peak_bytes: int | None
    begun: float
    ended: float
    disturbance: Mapping[str, Any]
    flags: tuple[str, ...]
    adaptation: str


def of_one_process(cell: Cell, batch_size: int) -> Cell:
    """The training of one process that a cell is made of."""
    own = {name: value for name, value in cell.settings.items() if name in TRAINING_PARAMETERS}
    return Cell.of("train", **(own | {"batch_size": batch_size}))


def batch_of_rank(cell: Cell) -> int:
    """Samples of a step of each process: all of the cell's where the work grows with them, else a share."""
    size, ranks = int(cell["batch_size"]), int(cell["processes"])
    return size if cell["scaling_mode"] == "weak" else size // ranks


def run_rank(cell: Cell, settings: Settings, folder: Path, root: Path) -> RankFindings:
    """Called by the launcher in each process; one that ends otherwise leaves its reason in a file and exits.

    Args:
        cell: What to measure.
        settings: How.
        folder: That all ranks of the cell share.
        root: Of the suite.
    """
    processes.end_with_parent(signal.SIGKILL)
    rank = int(os.environ["RANK"])
    ending = finish("trainmark.measure.ranks:measure_rank", (cell, settings, folder), root)
    if isinstance(ending.value, RankFindings):
        return ending.value
    leave_ending(folder, rank, ending)
    time.sleep(LATER_SECONDS)
    os._exit(1)


def leave_ending(folder: Path, rank: int, ending: Finished) -> None:
    """Keeps how a rank ended, and when, for the process that has started it."""
    whole = folder / FOLDER_OF_ENDINGS / f"{rank}.part"
    whole.parent.mkdir(exist_ok=True)
    whole.write_bytes(pickle.dumps((time.time(), ending)))
    whole.rename(whole.with_suffix(""))


def measure_rank(cell: Cell, settings: Settings, folder: Path) -> RankFindings:
    """Joins the other ranks, takes steps with them, and says what came of it."""
    begun = time.time()
    rank, ranks, device = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), str(cell["device"])
    beats = Beats(folder / "beats", ranks)
    beats.tell(rank, 0, Stage.STARTING)
    own = folder / f"rank-{rank}"
    own.mkdir()
    set_up(settings, own)
    if device == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group(BACKENDS[device], f"file://{folder / 'store'}", rank=rank, world_size=ranks)
    try:
        return _Rank(cell, settings, beats, rank, ranks, begun).measure()
    finally:
        dist.destroy_process_group()


class _Rank:
    """One process of the training."""

    def __init__(self, cell: Cell, settings: Settings, beats: Beats, rank: int, ranks: int, begun: float) -> None:
        self.cell, self.settings, self.rank, self.ranks, self.begun = cell, settings, rank, ranks, begun
        self.beats, self.step, self.clock = beats, 0, clock_of(str(cell["device"]))
        self.share = of_one_process(cell, batch_of_rank(cell))
        self._tell(Stage.PREPARING)
        self.task, self.data = task_and_data(self.share, settings)
        self.source = feed(self.share, self.data)
        self.checked_batch = self._whole_batch()
        self.ddp, self.parts = self._joined()
        self.batches = self._own_part().endless()
        torch.manual_seed(settings.seed + rank)  # each draws an order of its own

    def _joined(self) -> tuple[DistributedDataParallel, TrainingParts]:
        """The model as a part of all, and what its step is made of."""
        model = built(self.task, self.share, self.settings.seed, self.source)
        parts = training_parts(model, self.share, self.task)  # an optimizer is made of the model itself
        criterion = parts.criterion

        def criterion_told(*outputs: Any) -> Tensor:
            self._tell(Stage.BACKWARD)
            return criterion(*outputs)

        ids = [self.rank] if self.cell["device"] == "cuda" else None
        ddp = DistributedDataParallel(model, device_ids=ids)
        return ddp, replace(parts, model=ddp, criterion=criterion_told)

    def _own_part(self) -> Feed:
        """Batches of every so-manieth sample; of a stream, whose samples nobody can number, of all."""
        if self.source.kept:
            part = copy.copy(self.source)
            part.kept = self.source.kept[self.rank :: self.ranks] or self.source.kept
            return part
        if not self.source.size:
            return self.source
        return self.source.some(torch.arange(self.rank, self.source.size, self.ranks))

    def measure(self) -> RankFindings:
        """All blocks, then what needs no clock."""
        device, settings = str(self.cell["device"]), self.settings
        together = self.parts.step
        first = [self._block(together, 1) for _ in range(1 if settings.once else WARM_STEPS)][-1]
        peak = device_peak(device).allocated or peak_memory_bytes()  # before there are models beside it
        apart_ddp, apart_parts = self._joined()  # a step without all-reduce parts what the ranks hold
        apart = apart_parts.step
        alone = training_steps(of_one_process(self.cell, int(self.cell["batch_size"])), settings, Path())
        with apart_ddp.no_sync():
            for _ in range(WARM_STEPS):
                self._advance(apart)
        steps, triples = self._agreed(first)
        seconds: dict[str, list[float]] = {"alone": [], "together": [], "apart": []}

        def unsynchronised() -> float:
            with apart_ddp.no_sync():
                return self._block(apart, steps)

        kinds = {
            "alone": lambda: self._alone(alone, steps),
            "together": lambda: self._block(together, steps),
            "apart": unsynchronised,
        }
        control = take_control() if self.rank == 0 else None
        with DisturbanceMeter(device) as meter:
            for number in range(triples):
                for name in kinds if number % 2 else reversed(kinds):
                    seconds[name].append(kinds[name]())
        moment = to_facts(control, take_control()) if control is not None else {}
        self._tell(Stage.CHECKING)
        assert meter.result is not None  # the meter's block has ended
        return RankFindings(
            alone=tuple(seconds["alone"]),
            together=tuple(seconds["together"]),
            unsynchronised=tuple(seconds["apart"]),
            steps=steps,
            digest=_digest(self.ddp.module),
            gradient_difference=self._gradient_difference(),
            buckets=self._buckets(),
            parameters=count_parameters(self.ddp.module),
            peak_bytes=peak,
            begun=self.begun,
            ended=time.time(),
            disturbance=meter.result.to_json() | moment,
            flags=meter.result.flags,
            adaptation=str(self.data.adaptation),
        )

    def _tell(self, stage: Stage) -> None:
        self.beats.tell(self.rank, self.step, stage)

    def _advance(self, step: Step) -> Any:
        """A step of all."""
        self.step += 1
        self._tell(Stage.DATA)
        batch = next(self.batches)
        self._tell(Stage.FORWARD)
        return step(*batch)

    def _wait(self) -> None:
        self._tell(Stage.WAITING)
        dist.barrier()

    def _block(self, step: Step, steps: int) -> float:
        """Seconds of a step, in a block that all ranks begin together."""
        self._wait()
        return timed_block(self.clock, lambda: self._advance(step), steps).waited_seconds / steps

    def _alone(self, alone: Steps, steps: int) -> float:
        """Seconds of a step of one process: rank 0 takes it, and the others wait without work."""
        self._wait()
        found = math.nan
        if self.rank == 0:
            self._tell(Stage.ALONE)
            with alone.context:
                timed_block(self.clock, alone.advance, 1)  # what the others have left in the caches is no part of it
                found = timed_block(self.clock, alone.advance, steps).waited_seconds / steps
        self._wait()
        return found

    def _agreed(self, seconds: float) -> tuple[int, int]:
        """Steps of a block and number of blocks of each kind, as rank 0 has it."""
        if self.settings.once:
            return 1, 1
        steps = max(1, math.ceil(ROUND_SECONDS / seconds))
        wanted = math.ceil(self.settings.max_seconds / (steps * seconds))
        told = torch.tensor([steps, min(max(wanted, TRIPLES[0]), TRIPLES[1])], device=self._place())
        dist.broadcast(told, 0)
        return int(told[0]), int(told[1])

    def _place(self) -> str:
        return str(self.cell["device"])

    def _buckets(self) -> tuple[int, ...]:
        """Bytes of each all-reduce of a step, counted by a hook around the usual one."""
        sent: list[int] = []

        def counting(bucket: Any) -> Any:
            buffer = bucket.buffer()
            sent.append(buffer.numel() * buffer.element_size())
            return default_hooks.allreduce_hook(dist.distributed_c10d._get_default_group(), bucket)

        self.ddp.train()
        self.ddp.register_comm_hook(None, lambda _state, bucket: counting(bucket))  # whose annotations torch would read
        self._advance(self.parts.step)
        return tuple(sent)

    def _whole_batch(self) -> Batch | None:
        """The same batch on all ranks, one share of it each; None where it cannot be parted by samples."""
        cell = of_one_process(self.cell, batch_of_rank(self.cell) * self.ranks)
        _, data = task_and_data(cell, self.settings)
        torch.manual_seed(self.settings.seed)
        batch = next(feed(cell, data).endless())
        sizes = {tensor.shape[0] if tensor.ndim else 0 for tensor in tensors(batch)}
        return batch if sizes == {int(cell["batch_size"])} else None

    def _gradient_difference(self) -> float | None:
        """How far the gradient of all is from that of one process on the same batch, in eval mode and full precision.

        Dropout is off then, and a normalisation over the batch takes its stored statistics: what is left is the sum.
        """
        if self.checked_batch is None or self.parts.own_step is not None:
            return None
        size = batch_of_rank(self.cell)
        mine = mapped(lambda tensor: tensor[self.rank * size : (self.rank + 1) * size], self.checked_batch)
        one = built(self.task, self.share, self.settings.seed)
        one.load_state_dict(self.ddp.module.state_dict())
        whole = _gradient(one, one, self.parts.criterion, self.checked_batch)
        together = _gradient(self.ddp, self.ddp.module, self.parts.criterion, mine)
        largest = max((float(part.abs().max()) for part in whole if part.numel()), default=0.0)
        differences = [float((a - b).abs().max()) for a, b in zip(whole, together, strict=True) if a.numel()]
        return max(differences) / largest if largest else None


def _gradient(forward: nn.Module, model: nn.Module, criterion: Any, batch: Batch) -> list[Tensor]:
    """The gradient of a batch, a tensor a parameter that has one.

    Args:
        forward: What is called: the model, or what averages over the ranks around it.
        model: Whose parameters count.
        criterion: From outputs and targets to a mean loss.
        batch: Inputs and targets.
    """
    forward.eval()
    forward.zero_grad(set_to_none=True)
    inputs, targets = batch
    criterion(call(forward, inputs), targets).backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def _digest(model: nn.Module) -> str:
    """Of all parameters: equal in two ranks where these are, to the last bit."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
