"""Whether two records are of the same training: what they compute on a few samples, held against each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainmark import formatting

TOLERANCE = 1e-5  # of a number's own size: float32 arithmetic in another order stays well below it, mostly
SAFETY = 10  # times as far as rounding was seen to move a number, another rounding may move it
NEGLIGIBLE = 1e-4  # of all gradients: what is smaller is rounding, and an optimizer makes steps of it all the same
NAMED = 3  # differences in a sentence
# What a step does in its order: images come in, outputs and a loss come out, gradients follow.
QUANTITIES = ("samples", "images", "outputs", "buffers", "loss", "gradient")
SHOWN_BY_SIZE = ("images", "outputs", "buffers")  # a projection says nothing to a reader; the norm does
# Facts that are told where something differs, and make no difference alone: another name for the same thing.
BY_NAME = ("loss", "optimizer")


@dataclass(frozen=True)
class Found:
    """What the computations of two records differ in.

    Attributes:
        told: ``another training since step 1: loss 2.31 → 147.9``; None where they are the same.
        rounding: The largest difference that is only one of rounding, as a share; 0 where there is none.
    """

    told: str | None = None
    rounding: float = 0.0


def compare_computations(base: Mapping[str, Any], new: Mapping[str, Any]) -> Found:
    """What two records of a cell differ in: facts must be equal, numbers up to rounding.

    That is TOLERANCE of their size, or SAFETY times as far as the records say that rounding moves a number.

    Args:
        base: As :mod:`trainmark.measure.computation` gives it; empty where it was not looked at.
        new: Likewise.
    """
    if not base or not new:
        return Found()
    facts = list(_facts(base["facts"], new["facts"]))
    rounding = _Rounding()
    steps = _first(base["steps"], new["steps"], rounding)
    evaluations = _first(base["evaluations"], new["evaluations"], rounding)
    tensors = list(_tensors(base, new, rounding))
    since = f" since step {steps[0]}" if steps else ""
    differences = [*facts, *(steps[1] if steps else tensors), *(evaluations[1] if evaluations and not steps else ())]
    if not differences:
        return Found(rounding=rounding.largest)
    of_training = steps or tensors or not (evaluations or all(_EVALUATION in fact for fact in facts))
    what = "training" if of_training else "evaluation"
    more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
    return Found(f"another {what}{since}: {', '.join(differences[:NAMED])}{more}", rounding.largest)


class _Rounding:
    """The largest difference that was taken for rounding."""

    def __init__(self) -> None:
        self.largest = 0.0

    def differs(self, base: Sequence[Any], new: Sequence[Any], tolerance: float = TOLERANCE) -> bool:
        """Whether two numbers with their sizes differ by more than the tolerance."""
        if base == new:
            return False
        numbers = (*base, *new)
        if not all(isinstance(number, float | int) for number in numbers):
            return True  # one of them is not finite
        size = max(base[1], new[1])
        share = max(abs(base[0] - new[0]), abs(base[1] - new[1])) / size if size else 0.0
        if share > tolerance:
            return True
        self.largest = max(self.largest, share)
        return False


def _tolerance(base: Mapping[str, Any], new: Mapping[str, Any], name: str) -> float:
    """Of a number in two rows: as far as rounding moves it on either side. An older record does not know that."""
    if "rounding" not in base or "rounding" not in new:
        return TOLERANCE
    return max(TOLERANCE, *(SAFETY * float(row["rounding"].get(name, 0.0)) for row in (base, new)))


def _facts(base: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Facts that both know and that differ; what only one version of trainmark looks at is no difference."""
    same_loss = _class_of(base.get("loss")) == _class_of(new.get("loss"))
    for name in base:
        if name not in new or base[name] == new[name] or (name in BY_NAME and not (name == "loss" and same_loss)):
            continue
        yield from _told(name, base[name], new[name])
    yield from (f"{name}: none before" for name in _TELLING if name in new and name not in base)
    yield from (f"{name}: none now" for name in _TELLING if name in base and name not in new)
    if _EVALUATED in base and _EVALUATED not in new:
        yield "no evaluation without gradients"


# Facts that are there only where somebody has them, or where there is anything to tell of.
_TELLING = ("schedules", "parameter groups of each step")
_EVALUATION = "evaluat"  # in the names of facts of it alone
_EVALUATED = "gradients in an evaluation"


def _class_of(fact: Any) -> Any:
    return fact.get("class") if isinstance(fact, Mapping) else None


def _told(name: str, base: Any, new: Any) -> Iterator[str]:
    """A fact that differs, taken apart into what differs in it."""
    if isinstance(base, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*base, *new]):
            if base.get(key) != new.get(key):
                yield f"{key} {formatting.fact(base.get(key))} → {formatting.fact(new.get(key))}"
    elif _are_groups(base) and _are_groups(new) and len(base) == len(new):
        for number, (before, after) in enumerate(zip(base, new, strict=True), start=1):
            of = f" of group {number}" if len(base) > 1 else ""
            yield from (f"{one}{of}" for one in _told(name, before, after))
    elif name == "order of samples":
        yield name
    else:
        yield f"{name} {formatting.fact(base)} → {formatting.fact(new)}"


def _are_groups(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _first(
    base: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], rounding: _Rounding
) -> tuple[int, list[str]] | None:
    """Number of the first step that differs, and what differs in it."""
    for number, (before, after) in enumerate(zip(base, new, strict=False), start=1):
        differences = []
        own = [name for name in before if name not in (*QUANTITIES, "rounding") and name in after]  # of a task
        for name in (*QUANTITIES, *own):
            one, other = before.get(name), after.get(name)
            if one == other or (name == "buffers" and None in (one, other)):  # which an older record does not have
                continue
            tolerance = _tolerance(before, after, name)
            if isinstance(one, list) and isinstance(other, list) and not rounding.differs(one, other, tolerance):
                continue
            differences.append(_changed(name, one, other))
        if differences:
            return number, differences
    if len(base) != len(new):
        return min(len(base), len(new)) + 1, [f"calls of the model {len(base)} → {len(new)}"]
    return None


def _named(name: str) -> str:
    return f"norm of the {name}" if name in SHOWN_BY_SIZE else "norm of the gradients" if name == "gradient" else name


def _changed(name: str, base: Any, new: Any) -> str:
    """A quantity of a step that differs, with as many digits as it takes to see that."""
    for digits in (4, 8):
        ends = [_shown(name, value, digits) for value in (base, new)]
        if ends[0] != ends[1]:
            return f"{_named(name)} {ends[0]} → {ends[1]}"
    return name  # of one size, and pointing elsewhere


def _shown(name: str, value: Any, digits: int) -> str:
    if not isinstance(value, list):
        return formatting.fact(value)
    number = value[1] if name in SHOWN_BY_SIZE else value[0]
    return f"{number:.{digits}g}" if isinstance(number, float | int) else str(number)


def _tensors(base: Mapping[str, Any], new: Mapping[str, Any], rounding: _Rounding) -> Iterator[str]:
    """Parameters that differ: by name, or where names have changed by shape and size."""
    before, after = base["tensors"], new["tensors"]
    if {row["name"] for row in before} != {row["name"] for row in after}:
        before, after = sorted(before, key=_place), sorted(after, key=_place)
    else:
        order = {row["name"]: row for row in after}
        after = [order[row["name"]] for row in before] if len(order) == len(before) else after
    if len(before) != len(after):
        yield f"trained tensors {len(before)} → {len(after)}"
        return
    whole = max([*(row["gradient"] or 0.0 for row in (*before, *after) if _is_number(row["gradient"])), 0.0])
    for one, other in zip(before, after, strict=True):
        yield from _tensor(one, other, whole, rounding)


def _tensor(one: Mapping[str, Any], other: Mapping[str, Any], whole: float, rounding: _Rounding) -> Iterator[str]:
    name = one["name"] or other["name"] or "a tensor"
    if one["shape"] != other["shape"]:
        yield f"shape of {name} {formatting.fact(one['shape'])} → {formatting.fact(other['shape'])}"
        return
    if rounding.differs(one["before"], other["before"]):
        yield f"first weights of {name}"
        return
    if (one["gradient"] is None) != (other["gradient"] is None):
        yield f"{name} {'is no longer trained' if other['gradient'] is None else 'is trained now'}"
        return
    sizes = [row["gradient"] for row in (one, other)]
    small = all(_is_number(size) and size < NEGLIGIBLE * whole for size in sizes)
    if small or sizes == [None, None]:
        return
    before, after = ([size, size] for size in sizes)
    if rounding.differs(before, after, _tolerance(one, other, "gradient")):
        yield (
            f"gradient of {name} {sizes[0]:.4g} → {sizes[1]:.4g}"
            if all(map(_is_number, sizes))
            else f"gradient of {name}"
        )
    elif (
        rounding.differs(one["after"], other["after"], _tolerance(one, other, "after"))
        or one["steps"] != other["steps"]
    ):
        yield f"weights of {name} after {formatting.counted(one['steps'], 'step')}"


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    sizes = (row["before"][1], row["gradient"])
    return (row["shape"], *(size if _is_number(size) else math.inf for size in sizes))


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int)
