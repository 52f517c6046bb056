"""The journal: a finished cell outlives whatever happens to its run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import trainmark
from trainmark.store.cell import Cell
from trainmark.store.documents import SchemaError
from trainmark.store.journal import Journal, JournalInUse, in_use, interrupted, read_journal
from trainmark.store.record import SCHEMA_VERSION, Record, RunFacts

FACTS = RunFacts(
    id="20260101T120000Z-1a2b",
    started="2026-01-01T12:00:00+00:00",
    options={"--model": ["mlp"]},
    planned=("train", "train batch_size=128"),
)
CODE = {"id": "1a2b3c", "dirty": True, "difference": "4d5e6f"}
RECORDS = [
    Record(Cell.of("train", batch_size=size), "ok", metrics={"step_seconds": 0.01, "loss": None}, rounds=(0.01, 0.02))
    for size in (64, 128, 256)
]


def begin(folder: Path, records: list[Record] | None = None) -> Journal:
    journal = Journal.begin(folder, FACTS, fingerprint="f1", code=CODE)
    for record in RECORDS if records is None else records:
        journal.append(record)
    return journal


def finished(folder: Path, records: list[Record] | None = None) -> Path:
    """The file of a journal whose process is gone."""
    journal = begin(folder, records)
    journal.close()
    return journal.path


def test_a_journal_gives_back_what_was_put_in(tmp_path: Path) -> None:
    state = read_journal(finished(tmp_path / "journal"))
    assert list(state.records.values()) == RECORDS
    assert list(state.records) == [record.key for record in RECORDS]
    assert (state.facts, state.fingerprint, state.code, state.damaged) == (FACTS, "f1", CODE, 0)


@pytest.mark.parametrize("way", ["deleted", "with its folder", "replaced"])
def test_a_journal_that_somebody_deletes_is_written_anew_with_all_that_it_held(tmp_path: Path, way: str) -> None:
    journal = begin(tmp_path / "journal", RECORDS[:2])
    if way == "with its folder":
        shutil.rmtree(tmp_path / "journal")
    else:
        journal.path.unlink()
    if way == "replaced":
        journal.path.write_text("another's")
    with pytest.warns(UserWarning, match="was deleted while it was written, and has been written anew"):
        journal.append(RECORDS[2])
    assert list(in_use(tmp_path / "journal")) == [journal.path]
    assert list(read_journal(journal.path).records.values()) == RECORDS
    journal.path.unlink()
    journal.remove()  # which finds nothing to delete


def test_a_journal_can_be_read_while_its_run_goes_on(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    assert len(read_journal(journal.path).records) == len(RECORDS)
    journal.close()


def test_a_record_is_in_the_file_and_synced_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begin(tmp_path, [])
    in_file_when_synced: list[bytes] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        assert os.path.samestat(os.fstat(handle), journal.path.stat())
        in_file_when_synced.append(journal.path.read_bytes())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    for done, record in enumerate(RECORDS, start=1):
        journal.append(record)
        assert len(in_file_when_synced) == done
        last = in_file_when_synced[-1].splitlines(keepends=True)[-1]
        assert last.endswith(b"\n")
        assert Record.from_json(json.loads(last)["record"]) == record
    journal.close()


@pytest.mark.skipif(os.name != "posix", reason="a folder cannot be synced elsewhere")
def test_a_new_journal_and_its_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    begin(tmp_path, []).close()
    assert synced == [False, True]


def test_the_same_run_cannot_begin_twice(tmp_path: Path) -> None:
    path = finished(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        begin(tmp_path)
    assert path.read_bytes() == before


def test_a_resumed_journal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = finished(tmp_path, RECORDS[:1])
    journal, state = Journal.resume(path)
    assert list(state.records.values()) == RECORDS[:1]
    for record in RECORDS[1:]:
        journal.append(record)
    journal.close()
    assert list(read_journal(path).records.values()) == RECORDS


def test_a_journal_can_be_resumed_twice(tmp_path: Path) -> None:
    path = finished(tmp_path, RECORDS[:1])
    for record in RECORDS[1:]:
        journal, _ = Journal.resume(path)
        journal.append(record)
        journal.close()
    assert list(read_journal(path).records.values()) == RECORDS


def test_a_cell_measured_again_replaces_its_first_record(tmp_path: Path) -> None:
    failed = Record(Cell.of("train"), "timeout", reason="took longer than 60 s")
    path = finished(tmp_path, [failed, RECORDS[1], RECORDS[0]])
    assert read_journal(path).records[RECORDS[0].key] == RECORDS[0]


def test_a_journal_cut_at_any_byte_keeps_every_whole_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the disk is not what is tested
    original = finished(tmp_path / "original", RECORDS[:2]).read_bytes()
    ends = [place + 1 for place, byte in enumerate(original) if byte == ord("\n")]
    path = tmp_path / "cut.jsonl"
    for cut in range(len(original) + 1):
        path.write_bytes(original[:cut])
        whole = sum(end <= cut for end in ends)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if not whole:  # not even the first line: there is nothing to go on with
                with pytest.raises(SchemaError):
                    Journal.resume(path)
                continue
            journal, state = Journal.resume(path)
        assert list(state.records.values()) == RECORDS[: whole - 1], cut
        assert [str(warning.message).startswith("cut.jsonl: 1 damaged line") for warning in caught] == (
            [] if cut in ends else [True]
        ), cut
        journal.append(RECORDS[2])
        journal.close()
        after = read_journal(path)
        assert list(after.records.values()) == [*RECORDS[: whole - 1], RECORDS[2]], cut
        assert after.damaged == 0, cut


def test_what_was_cut_is_gone_though_the_next_record_is_shorter(tmp_path: Path) -> None:
    long = Record(Cell.of("accuracy"), "nan", settings={"padding": "x" * 5000})
    path = finished(tmp_path, [RECORDS[0], long])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="1 damaged line"):
        journal, _ = Journal.resume(path)
    journal.append(RECORDS[1])
    journal.close()
    assert list(read_journal(path).records.values()) == RECORDS[:2]
    assert b"x" * 100 not in path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00" * 40,
        b"\xff\xfe\x80",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"record": null}',
        b'{"record": {"workload": "train"}}',
        b'{"record": {"workload": null, "axes": {}, "status": "ok", "metrics": {}}}',
        b'{"record": {"workload": "train", "axes": {}, "status": "ok", "metrics": {"step_seconds": NaN}}}',
        b"[" * 100_000,
    ],
    ids=lambda damage: repr(damage[:70]),
)
def test_a_damaged_line_in_the_middle_costs_only_its_own_cell(tmp_path: Path, damage: bytes) -> None:
    path = finished(tmp_path)
    lines = path.read_bytes().splitlines()
    lines[2] = damage
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.warns(UserWarning, match=r"1 damaged line left out.*2 finished cells recovered"):
        state = read_journal(path)
    assert list(state.records.values()) == [RECORDS[0], RECORDS[2]]
    assert state.damaged == 1


def test_a_resumed_journal_keeps_a_damaged_line_and_what_follows_it(tmp_path: Path) -> None:
    path = finished(tmp_path)
    lines = path.read_bytes().splitlines()
    lines[1] = lines[1][:20]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.warns(UserWarning, match="1 damaged line"):
        journal, _ = Journal.resume(path)
    journal.append(RECORDS[0])
    journal.close()
    with pytest.warns(UserWarning, match="1 damaged line"):
        state = read_journal(path)
    assert list(state.records.values()) == [*RECORDS[1:], RECORDS[0]]


def test_a_journal_that_is_written_cannot_be_resumed(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    before = journal.path.read_bytes()
    with pytest.raises(JournalInUse, match="20260101T120000Z-1a2b is still being measured"):
        Journal.resume(journal.path)
    assert journal.path.read_bytes() == before
    journal.append(RECORDS[0])
    journal.close()


def test_a_closed_journal_is_free_again(tmp_path: Path) -> None:
    path = finished(tmp_path)
    journal, _ = Journal.resume(path)
    with pytest.raises(JournalInUse):
        Journal.resume(path)
    journal.close()
    Journal.resume(path)[0].close()


def rewritten(path: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """The journal with another first line."""
    lines = path.read_bytes().splitlines(keepends=True)
    header = json.loads(lines[0])
    changed = change(header)
    path.write_bytes(json.dumps(header if changed is None else changed).encode() + b"\n" + b"".join(lines[1:]))
    return path


@pytest.mark.parametrize("read", [read_journal, Journal.resume])
def test_a_journal_of_a_newer_schema_is_refused_and_left_alone(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = rewritten(finished(tmp_path), lambda header: header.update(schema_version=SCHEMA_VERSION + 1))
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="update trainmark to read it"):
        read(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("run") and None,
        lambda header: header.pop("schema_version") and None,
        lambda header: header.update(run=[]),
        lambda header: header.update(run={"id": "a"}),
        lambda _: [],
        lambda _: "header",
        lambda _: 3,
    ],
)
def test_a_file_that_begins_otherwise_is_no_journal(
    tmp_path: Path, change: Callable[[dict[str, object]], object]
) -> None:
    with pytest.raises(SchemaError):
        read_journal(rewritten(finished(tmp_path), change))


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00\x01\xff\n", b"not json\n"])
def test_a_file_without_a_readable_first_line_is_no_journal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(SchemaError, match="does not begin a journal"):
        read_journal(path)


def test_a_refused_journal_is_not_kept_locked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"not json\n")
    with pytest.raises(SchemaError) as caught:
        Journal.resume(path)
    assert list(interrupted(tmp_path)) == [path]
    assert caught.tb is not None  # the traceback, and all that it holds, is still alive here


def test_a_removed_journal_is_gone(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    journal.remove()
    assert not journal.path.exists()
    assert list(interrupted(tmp_path)) == []


def test_interrupted_journals_are_listed_newest_first_without_those_in_use(tmp_path: Path) -> None:
    def named(name: str) -> Journal:
        return Journal.begin(tmp_path, RunFacts(name, "2026-01-01T12:00:00+00:00"), "f1", {})

    for name in ("20260101", "20260103"):
        named(name).close()
    running = named("20260102")
    assert [path.stem for path in interrupted(tmp_path)] == ["20260103", "20260101"]
    assert [path.stem for path in in_use(tmp_path)] == ["20260102"]
    running.close()
    assert [path.stem for path in interrupted(tmp_path)] == ["20260103", "20260102", "20260101"]
    assert list(in_use(tmp_path)) == []


def test_a_folder_that_is_not_there_has_no_journals(tmp_path: Path) -> None:
    assert list(interrupted(tmp_path / "none")) == []
    assert list(in_use(tmp_path / "none")) == []


def test_a_journal_can_be_resumed_while_the_interrupted_ones_are_gone_through(tmp_path: Path) -> None:
    path = finished(tmp_path)
    for found in interrupted(tmp_path):
        assert found == path
        Journal.resume(found)[0].close()


def test_a_number_that_json_does_not_have_leaves_the_journal_whole(tmp_path: Path) -> None:
    journal = begin(tmp_path, RECORDS[:1])
    with pytest.raises(ValueError, match="JSON"):
        journal.append(Record(Cell.of("accuracy"), "nan", series={"loss": [[float("nan")]]}))
    journal.append(RECORDS[1])
    journal.close()
    assert list(read_journal(journal.path).records.values()) == RECORDS[:2]


WRITER = """
import sys
from itertools import count
from pathlib import Path
import trainmark.workloads
from trainmark.store.cell import Cell
from trainmark.store.journal import Journal
from trainmark.store.record import Record, RunFacts

journal = Journal.begin(Path(sys.argv[1]), RunFacts("killed", "2026-01-01T12:00:00+00:00"), "f1", {})
for size in count(1):
    cell = Cell.of("train", batch_size=size)
    journal.append(Record(cell, "ok", metrics={"loss": 0.5}, settings={"padding": "x" * 20_000}))
    print(size, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_every_cell_that_was_reported_outlives_sigkill(tmp_path: Path) -> None:
    root = Path(trainmark.__file__).parent.parent
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdout.readline()
        assert [path.stem for path in in_use(tmp_path)] == ["killed"]
        writer.send_signal(signal.SIGKILL)
        reported = 20 + len(writer.stdout.read().splitlines())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a line that was being written
        journal, state = Journal.resume(tmp_path / "killed.jsonl")
    journal.close()
    sizes = [record.cell["batch_size"] for record in state.records.values()]
    assert sizes == list(range(1, len(sizes) + 1))
    assert len(sizes) >= reported
