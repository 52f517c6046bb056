"""What this machine can reach: its peak arithmetic and its peak memory traffic, and how near a step comes.

PyTorch is imported where something is measured: peaks are read and compared without it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainmark.store.documents import SchemaError, convert, read_document
from trainmark.store.files import write_text
from trainmark.store.ranges import Duration, Rate, Some

if TYPE_CHECKING:
    from torch import Tensor

    from trainmark.meters.clock import Clock

PROBES_VERSION = 1  # raised when the probes below change: peaks stored before are measured again

PASSES = 2  # over all probes, so that a neighbour's burst does not meet the best of them each time
PROBE_SECONDS = 0.03  # of repeats of a probe in a pass
BLOCK_SECONDS = 1e-3  # of calls timed together: long against every clock used, short against a neighbour's burst
HOPELESS = 0.6  # of the best so far: a probe slower than this is not repeated
LONGEST_CALL = 0.05  # seconds, were it as fast as the best so far: larger probes are for faster machines
TILE = 2**16  # random numbers, repeated to fill a probe's tensors: making them all would take longer than probing

DTYPES = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution with padding: [B, C, S, S] -> [B, D, S, S].

    Attributes:
        batch: B.
        channels: C.
        filters: D.
        size: S.
    """

    batch: int
    channels: int
    filters: int
    size: int

    @property
    def flops(self) -> int:
        """Operations of the forward pass, 2 per multiply-add, padding included, as PyTorch counts."""
        return 2 * self.batch * self.channels * self.filters * 9 * self.size**2


@dataclass(frozen=True)
class Sizes:
    """How large the probes are.

    Attributes:
        matrices: Rows of square matrices.
        convolutions: Shapes.
        cached: Elements of float32 tensors that fit a cache.
        large: Elements of a float32 tensor that fits none.
    """

    matrices: tuple[int, ...]
    convolutions: tuple[Convolution, ...]
    cached: tuple[int, ...]
    large: int


CPU_SIZES = Sizes(
    matrices=(512, 1024, 2048),
    convolutions=(Convolution(64, 32, 64, 32), Convolution(64, 64, 64, 32)),
    cached=(2**11, 2**13, 2**16),  # 8 KiB to 256 KiB: first and second level
    large=2**26,  # 256 MiB
)
GPU_SIZES = Sizes(
    matrices=(2048, 4096, 8192),
    convolutions=(Convolution(256, 32, 64, 32), Convolution(256, 64, 64, 32), Convolution(256, 256, 256, 32)),
    cached=(2**20, 2**22),  # 4 MiB and 16 MiB: second level
    large=2**27,  # 512 MiB
)


@dataclass(frozen=True)
class Peaks:
    """The most that a device was seen to do.

    Attributes:
        flops_per_second: Precision -> floating-point operations a second, 2 per multiply-add; absent
            where the device cannot compute in it.
        bytes_per_second: Read and written, in caches too, where most of a small step's traffic is.
            None where no probe fits the device.
        copy_bytes_per_second: Read and written by a copy that fits no cache; None likewise.
        device: Where.
        threads: CPU threads of PyTorch.
        seconds_taken: By the probes.
    """

    flops_per_second: Mapping[str, Rate]
    bytes_per_second: Rate | None
    copy_bytes_per_second: Rate | None
    device: str
    threads: Some
    seconds_taken: Duration


@dataclass(frozen=True)
class _StoredPeaks:
    probes_version: int
    fingerprint: str
    peaks: Peaks


@dataclass(frozen=True)
class Probe:
    """A piece of work of known size.

    Attributes:
        amount: FLOPs or bytes of a call.
        work: The call.
    """

    amount: int
    work: Callable[[], object]


def measure_peaks(
    device: str,
    precisions: Sequence[str],
    threads: int,
    report: Callable[[str], None],
    _scratch: Path,
    sizes: Sizes | None = None,
) -> Peaks:
    """Finds the peaks of a device, in a process of its own.

    The largest of several probes counts: which one it is differs between machines, and no step
    shall come out above its peak.

    Args:
        device: Where.
        precisions: Names of the axis; such as the device emulates take long.
        threads: CPU threads of PyTorch.
        report: Told what is being done.
        sizes: Of the probes; by default as they suit the device.
    """
    import torch

    from trainmark.measure.precision import set_float32_arithmetic
    from trainmark.meters.clock import clock_of

    begun = time.perf_counter()
    torch.set_num_threads(threads)
    clock = clock_of(torch.device(device).type)
    sizes = sizes or (CPU_SIZES if device == "cpu" else GPU_SIZES)
    flops: dict[str, float] = {}
    for precision in precisions:
        report(f"looking for the peak of {precision} on {device}")
        set_float32_arithmetic(precision)
        rate = best_rate(clock, arithmetic_probes(device, DTYPES[precision], sizes))
        if rate is not None:
            flops[precision] = rate
    report(f"looking for the peak of memory traffic on {device}")
    copied = best_rate(clock, [partial(copy_probe, device, sizes.large)])
    moved = best_rate(clock, traffic_probes(device, sizes))
    return Peaks(
        flops_per_second=flops,
        bytes_per_second=max((rate for rate in (copied, moved) if rate is not None), default=None),
        copy_bytes_per_second=copied,
        device=device,
        threads=threads,
        seconds_taken=time.perf_counter() - begun,
    )


def best_rate(clock: Clock, probes: Sequence[Callable[[], Probe]]) -> float | None:
    """The largest amount a second of any probe; None where the device can run none of them.

    Args:
        clock: Of the device.
        probes: Make a probe, small ones first; its tensors live as long as it is looked at.
    """
    best = 0.0
    left = list(probes)
    for _ in range(PASSES):
        hopeful = []
        for make in left:
            try:
                rate = _rate(clock, make(), best)
            except RuntimeError:  # no kernel for this dtype, or no memory for this size
                continue
            if rate >= HOPELESS * best:
                hopeful.append(make)
            best = max(best, rate)
        left = hopeful
    return best or None


def _rate(clock: Clock, probe: Probe, best: float) -> float:
    """The largest amount a second over blocks of calls; 0 where a call would take too long."""
    if best and probe.amount / best > LONGEST_CALL:
        return 0.0
    probe.work()  # the first call chooses kernels and allocates
    calls, rate, spent = 1, 0.0, 0.0
    while spent < PROBE_SECONDS:
        seconds = max(clock(partial(_repeat, probe.work, calls)).seconds, 1e-9)
        rate = max(rate, probe.amount * calls / seconds)
        spent += seconds
        if seconds < BLOCK_SECONDS:
            calls *= 2
        elif rate < HOPELESS * best:
            break
    return rate


def _repeat(work: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        work()


def arithmetic_probes(device: str, dtype: str, sizes: Sizes) -> list[Callable[[], Probe]]:
    """Matrix products, with and without a bias, and convolutions in both memory formats and directions."""
    products = [
        partial(product_probe, device, dtype, rows, biased) for rows in sizes.matrices for biased in (False, True)
    ]
    convolutions = [
        partial(convolution_probe, device, dtype, shape, channels_last, backward)
        for shape in sizes.convolutions
        for channels_last in (True, False)
        for backward in (False, True)
    ]
    return [*products, *convolutions]


def product_probe(device: str, dtype: str, rows: int, biased: bool) -> Probe:
    """A product of square matrices; ``biased`` adds a vector to it, as a linear layer does."""
    import torch

    left, right = (_noise(device, dtype, rows, rows) for _ in range(2))
    result = torch.empty_like(left)
    bias = _noise(device, dtype, rows)
    if biased:
        return Probe(2 * rows**3, lambda: torch.addmm(bias, left, right, out=result))
    return Probe(2 * rows**3, lambda: torch.mm(left, right, out=result))


def convolution_probe(device: str, dtype: str, shape: Convolution, channels_last: bool, backward: bool) -> Probe:
    """A convolution's forward pass, or its gradients by images and weights: two products of the same size."""
    import torch
    from torch.nn.functional import conv2d

    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = _noise(device, dtype, shape.batch, shape.channels, shape.size, shape.size)
    weights = _noise(device, dtype, shape.filters, shape.channels, 3, 3)
    images, weights = (tensor.contiguous(memory_format=memory_format) for tensor in (images, weights))
    if not backward:
        return Probe(shape.flops, lambda: conv2d(images, weights, padding=1))
    given = images.requires_grad_(), weights.requires_grad_()
    output = conv2d(*given, padding=1)
    gradient = _noise(device, dtype, *output.shape).contiguous(memory_format=memory_format)
    return Probe(2 * shape.flops, lambda: torch.autograd.grad(output, given, gradient, retain_graph=True))


def traffic_probes(device: str, sizes: Sizes) -> list[Callable[[], Probe]]:
    """Copies, sums and additions in caches, and a sum in none that a CPU core or a GPU has to itself."""
    cached = [partial(kind, device, elements) for elements in sizes.cached for kind in TRAFFIC]
    return [*cached, partial(sum_probe, device, sizes.large // 4)]


def copy_probe(device: str, elements: int) -> Probe:
    """Reads a float32 tensor and writes another."""
    source, target = (_numbers(device, elements) for _ in range(2))
    return Probe(8 * elements, lambda: target.copy_(source))


def sum_probe(device: str, elements: int) -> Probe:
    """Reads a float32 tensor."""
    source = _numbers(device, elements)
    return Probe(4 * elements, source.sum)


def add_probe(device: str, elements: int) -> Probe:
    """Reads two float32 tensors and writes a third."""
    import torch

    left, right, result = (_numbers(device, elements) for _ in range(3))
    return Probe(12 * elements, lambda: torch.add(left, right, out=result))


TRAFFIC = (copy_probe, sum_probe, add_probe)


def _noise(device: str, dtype: str, *shape: int) -> Tensor:
    """Random numbers: zeros would draw less power, and a GPU would clock higher than for real work."""
    import torch

    count = math.prod(shape)
    tile = torch.randn(min(count, TILE), device=device)
    return tile.repeat(math.ceil(count / tile.numel()))[:count].view(shape).to(getattr(torch, dtype))


def _numbers(device: str, elements: int) -> Tensor:
    """Numbers that are all there: an allocation that was never written takes no memory yet."""
    import torch

    return torch.arange(elements, dtype=torch.float32, device=device)


def store_peaks(folder: Path, fingerprint: str, peaks: Peaks) -> Path:
    """Keeps peaks for later runs on the same machine; a reader sees the old file or the new one.

    Args:
        folder: Made where it is not there.
        fingerprint: Of the environment in which they were measured.
        peaks: To keep.
    """
    path = _peaks_file(folder, fingerprint, peaks.device, peaks.threads)
    document = {"probes_version": PROBES_VERSION, "fingerprint": fingerprint, "peaks": asdict(peaks)}
    return write_text(path, json.dumps(document, indent=1))


def load_peaks(folder: Path, fingerprint: str, device: str, threads: int) -> Peaks | None:
    """The peaks that were stored for this device; None where there are none that can be relied on.

    A damaged file, or one of other probes, is as good as none: the peaks are measured again.
    """
    try:
        document = read_document(_peaks_file(folder, fingerprint, device, threads))
        stored = convert(document, _StoredPeaks, "stored peaks")
    except (FileNotFoundError, SchemaError):
        return None
    known, peaks = (stored.probes_version, stored.fingerprint), stored.peaks
    return (
        peaks if known == (PROBES_VERSION, fingerprint) and (peaks.device, peaks.threads) == (device, threads) else None
    )


def peaks_of(facts: Mapping[str, object]) -> Peaks | None:
    """The peaks that a run has kept of a device; None where a part of them is missing."""
    try:
        return convert(dict(facts), Peaks, "peaks")
    except SchemaError:
        return None


def _peaks_file(folder: Path, fingerprint: str, device: str, threads: int) -> Path:
    return folder / f"peaks-{fingerprint}-{device.replace(':', '-')}-{threads}.json"


def utilisation(
    flops_per_step: float | None,
    bytes_per_step: float | None,
    step_seconds: float | None,
    precision: str,
    peaks: Peaks | None,
) -> dict[str, float | None]:
    """How near a step comes to what the machine can reach; None where a number for it is missing.

    Args:
        flops_per_step: Operations that the model needs, 2 per multiply-add.
        bytes_per_step: Tensors read and written.
        step_seconds: Of an uninstrumented step.
        precision: Name of the axis; its peak is the one that counts.
        peaks: Of the device.

    Returns:
        ``achieved_flops_per_second``, ``flops_utilisation``, ``achieved_bytes_per_second``,
        ``bytes_utilisation``: shares are of the peaks. ``arithmetic_intensity`` in FLOP per byte, and
        ``ridge_intensity``: peak arithmetic over what a copy out of caches moves. Arithmetic limits a
        step above it, memory one below (Williams, Waterman and Patterson 2009, "Roofline"), where it
        runs out of caches; neither says that the limit is near.
    """
    peak_flops = None if peaks is None else peaks.flops_per_second.get(precision)
    peak_bytes = None if peaks is None else peaks.bytes_per_second
    flops_rate = _ratio(flops_per_step, step_seconds)
    bytes_rate = _ratio(bytes_per_step, step_seconds)
    return {
        "achieved_flops_per_second": flops_rate,
        "flops_utilisation": _ratio(flops_rate, peak_flops),
        "achieved_bytes_per_second": bytes_rate,
        "bytes_utilisation": _ratio(bytes_rate, peak_bytes),
        "arithmetic_intensity": _ratio(flops_per_step, bytes_per_step),
        "ridge_intensity": _ratio(peak_flops, None if peaks is None else peaks.copy_bytes_per_second),
    }


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
