"""What bounds counting on this machine, as plain numbers, and how near a fit comes to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CountingLimits:
    """The most that this machine was seen to do.

    Attributes:
        updates_per_second: Increments of words at random places, independent of each other.
        copy_bytes_per_second: Read and written by a copy that fits no cache.
        threads: That did it together.
        seconds_taken: By the probes.
    """

    updates_per_second: float
    copy_bytes_per_second: float
    threads: int
    seconds_taken: float


def counting_shares(
    limits: CountingLimits | None,
    tokens: int,
    text_bytes: int,
    table_bytes: int | None,
    fit_seconds: float,
    count_seconds: float | None,
) -> dict[str, float | None]:
    """How near a fit comes to both limits; None where a number for it is missing.

    Returns:
        ``random_update_share``: tokens counted a second, of random updates a second. ``copy_share``:
        the traffic that no fit can do without (text read, 4 bytes of id a token written and read,
        table written) a second, of what a copy moves.
    """
    if limits is None:
        return {"random_update_share": None, "copy_share": None}
    moved = None if table_bytes is None else text_bytes + 8 * tokens + table_bytes
    return {
        "random_update_share": None if not count_seconds else tokens / count_seconds / limits.updates_per_second,
        "copy_share": None if moved is None else moved / fit_seconds / limits.copy_bytes_per_second,
    }
