"""The nodes that a run was measured on: which are alike, by a fixed piece of work that each did first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trainmark.store.ranges import Seconds

MARGIN = 0.10  # by which the fixed work of two nodes may differ: docs/cluster.md, "Nodes that are not alike"
FLAG = "other-node"  # of a record whose times are of a faster or a slower node than those of the run


@dataclass(frozen=True)
class Node:
    """A machine, or a share of one, that measured a part of a run.

    Attributes:
        name: Of the node in this run; no host's name.
        fingerprint: Of machine and software.
        control: Seconds of each piece of the fixed work, the shortest of several; empty where none was done.
        keys: Join keys of what it measured.
        ratio: How many times as long as on the run's own nodes the fixed work took, where it differs most: below 1 on a
            faster node; None where it is not known.
        alike: Whether its times may be compared with those of the run's own nodes.
    """

    name: str
    fingerprint: str | None = None
    control: Mapping[str, Seconds] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    ratio: float | None = None
    alike: bool = True


def ratio_of(control: Mapping[str, float], usual: Mapping[str, float]) -> float | None:
    """How many times as long a control took as another one: of the piece of work that differs most.

    None where they have no work in common.
    """
    logs = [math.log(control[name] / usual[name]) for name in control if name in usual]
    return math.exp(max(logs, key=abs)) if logs else None


def differs(ratio: float | None, margin: float) -> bool:
    """Whether two controls differ by more than a margin, in either direction."""
    return ratio is not None and abs(math.log(ratio)) > math.log1p(margin)


def judged(nodes: Sequence[Node], margin: float) -> tuple[Node, ...]:
    """The nodes, with how each stands to those that most of the run was measured on."""
    usual = usual_control(nodes, margin)
    ratios = [ratio_of(node.control, usual) for node in nodes]
    return tuple(
        replace(node, ratio=ratio, alike=not differs(ratio, margin)) for node, ratio in zip(nodes, ratios, strict=True)
    )


def flagged(flags: Sequence[str], is_alike: bool) -> tuple[str, ...]:
    """The flags of a record, with the one that tells of an unlike node where it was measured on one."""
    return (*(flag for flag in flags if flag != FLAG), *(() if is_alike else (FLAG,)))


def unlike_words(node: Node) -> str:
    """What is said of a node that is not alike."""
    return (
        f"{node.name} took {node.ratio:.2f}x as long as the others for the same fixed work: its {len(node.keys)} times "
        f"are flagged {FLAG} and decide nothing"
    )


def usual_control(nodes: Sequence[Node], margin: float) -> Mapping[str, float]:
    """The control that most of a run's benchmarks share: of the node that is alike to the largest part of them.

    Of several such nodes the fastest counts; empty where no node has a control.
    """

    def shared(node: Node) -> tuple[int, float]:
        alike = (other for other in nodes if not differs(ratio_of(other.control, node.control), margin))
        return sum(max(1, len(other.keys)) for other in alike), -sum(node.control.values())

    known = [node for node in nodes if node.control]
    return max(known, key=shared).control if known else {}
