"""The memory of a step as it rises and falls, from the allocator's own recorder; faked, for want of a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainmark.export.terminal import timeline_line
from trainmark.meters.timeline import record_timeline, timeline
from trainmark.store.profiles import MemoryTimeline, SchemaError, read_timeline, timeline_path, write_timeline

EVENTS = [
    {"action": "segment_alloc", "size": 2_000_000, "time_us": 90},
    {"action": "alloc", "size": 300, "time_us": 100},
    {"action": "alloc", "size": 500, "time_us": 150},
    {"action": "free_requested", "size": 300, "time_us": 160},
    {"action": "free_completed", "size": 300, "time_us": 170},
]


def test_live_memory_follows_allocations_and_completed_releases() -> None:
    found = timeline(EVENTS, "train", begun_bytes=1000)
    assert found.allocated_bytes == (1000, 1300, 1800, 1500)
    assert found.seconds == pytest.approx((0, 0, 50e-6, 70e-6))
    assert found.peak == (pytest.approx(50e-6), 1800)


def test_a_step_that_allocates_nothing_is_a_line() -> None:
    assert timeline([], "train", 1000) == MemoryTimeline("train", (0.0,), (1000,))


def test_other_devices_have_no_recorder() -> None:
    assert record_timeline(lambda: None, "train", "cpu") is None


def test_the_recorder_is_on_for_the_step_alone_and_takes_no_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def record(enabled: str | None, **options: Any) -> None:
        calls.append((enabled, options.get("context", "unset")))

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: {"requested_bytes.all.current": 1000})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", record)
    monkeypatch.setattr(torch.cuda.memory, "_snapshot", lambda: {"device_traces": [EVENTS]})
    found = record_timeline(lambda: calls.append("step"), "train", "cuda")
    assert calls == [("all", None), "step", (None, "unset")]
    assert found is not None
    assert max(found.allocated_bytes) == 1800


def test_a_stored_timeline_is_the_one_that_is_read(tmp_path: Path) -> None:
    found = timeline(EVENTS, "train model=cnn", 1000)
    assert read_timeline(write_timeline(tmp_path, found)) == found
    assert "peak" not in timeline_line(found, timeline_path(tmp_path, found.key))
    assert "after 50" in timeline_line(found, timeline_path(tmp_path, found.key))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 1}', '{"version": 99, "key": "x"}', '{"version": 1, "key": "x"']
)
def test_a_damaged_timeline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.memory.json"
    path.write_text(text)
    with pytest.raises(SchemaError, match=r"x\.memory\.json"):
        read_timeline(path)
