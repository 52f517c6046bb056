"""PyTorch's process-wide switches: held still while a model is built, and what a model changed of them is told."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MONITORING_TOOLS = 6  # of sys.monitoring: their numbers go from 0 to 5


@dataclass(frozen=True)
class Switch:
    """A setting of the whole process that changes what is computed, or how fast.

    Attributes:
        read: Its value now.
        write: Sets it.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _flushes_denormals() -> bool:
    return bool(np.float32(1e-40) * np.float32(1) == 0)  # nothing tells but arithmetic


def _write_deterministic(level: str) -> None:
    torch.use_deterministic_algorithms(level != "off", warn_only=level == "warn")


def _read_deterministic() -> str:
    if not torch.are_deterministic_algorithms_enabled():
        return "off"
    return "warn" if torch.is_deterministic_algorithms_warn_only_enabled() else "on"


def _autocast(device: str) -> Switch:
    return Switch(lambda: torch.is_autocast_enabled(device), lambda value: torch.set_autocast_enabled(device, value))


def _attribute(owner: Any, name: str) -> Switch:
    return Switch(lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


SWITCHES: Mapping[str, Switch] = {
    "threads": Switch(torch.get_num_threads, torch.set_num_threads),
    "default-dtype": Switch(torch.get_default_dtype, torch.set_default_dtype),
    "default-device": Switch(
        lambda: str(torch.get_default_device()),
        lambda value: torch.set_default_device(None if value == "cpu" else value),
    ),
    "gradients": Switch(torch.is_grad_enabled, torch.set_grad_enabled),
    "deterministic": Switch(_read_deterministic, _write_deterministic),
    "anomaly-detection": Switch(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "denormals-flushed": Switch(_flushes_denormals, torch.set_flush_denormal),
    "onednn": Switch(
        lambda: torch.backends.mkldnn.enabled,
        torch.backends.mkldnn.set_flags,
    ),
    "cudnn": _attribute(torch.backends.cudnn, "enabled"),
    "cudnn-benchmark": _attribute(torch.backends.cudnn, "benchmark"),
    "cudnn-deterministic": _attribute(torch.backends.cudnn, "deterministic"),
    "matmul-precision": Switch(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "autocast-cpu": _autocast("cpu"),
    "autocast-cuda": _autocast("cuda"),
}


def read_switches() -> dict[str, Any]:
    """Name -> value now."""
    return {name: switch.read() for name, switch in SWITCHES.items()}


class Held:
    """The switches as a cell wants them.

    Attributes:
        values: Name -> value.
        moved: Names of those that somebody has changed meanwhile.
    """

    def __init__(self) -> None:
        self.values = read_switches()
        self.moved: dict[str, None] = {}

    def look(self) -> None:
        """Notes which switches are no longer as they were."""
        now = read_switches()
        self.moved.update((name, None) for name, value in self.values.items() if now[name] != value)

    def restore(self) -> None:
        """Notes them, and sets them again."""
        now = read_switches()
        for name, value in self.values.items():
            if now[name] != value:
                self.moved[name] = None
                SWITCHES[name].write(value)

    def keep(self, name: str) -> None:
        """Takes the value that a switch has now for the one that is wanted."""
        self.values[name] = SWITCHES[name].read()


_held: list[Held] = []


def hold() -> Held:
    """Remembers the switches of this process, for all that is built in it from now on."""
    _held[:] = [Held()]
    return _held[0]


def held() -> Held:
    """What was remembered last; now, where nothing was."""
    return _held[0] if _held else hold()


def flags() -> tuple[str, ...]:
    """Words of warning: which switches a model has moved, and whether a tool watches each line or call of Python."""
    found = held()
    found.look()
    watched = ("traced",) if is_traced() else ()
    return (*(f"moved-{name}" for name in found.moved), *watched)


def is_traced() -> bool:
    """Whether a debugger, a profiler or a coverage tool is told of each line or call, which slows every step."""
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    tools = () if monitoring is None else map(monitoring.get_tool, range(MONITORING_TOOLS))
    return sys.gettrace() is not None or sys.getprofile() is not None or any(tool is not None for tool in tools)


def seed_everything(seed: int) -> None:
    """Seeds each source of chance that a model may draw from: PyTorch's, NumPy's and Python's own."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # the global one is what others draw from
    random.seed(seed)
