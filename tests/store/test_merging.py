"""Shards and runs as one: what one call would have measured, or a sentence on what is missing, twice or other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainmark import cli
from trainmark.store.journal import Journal
from trainmark.store.merging import CannotMerge, Merged, Part, find_parts, merge, read_part, store_merged
from trainmark.store.nodes import FLAG, Node
from trainmark.store.record import Run, RunFacts
from trainmark.store.runs import read_run
from trainmark.store.shards import Shard

USUAL = {"product": 1e-3, "cached_copy": 2e-4, "copy": 8e-4}
Shards = Callable[..., list[Run]]


@pytest.fixture
def shards(stored: Any) -> Shards:
    """A complete run as so many shards of it."""

    def dealt(of: int, run: Run | None = None, controls: Sequence[float] = ()) -> list[Run]:
        whole = run or stored.run()
        keys = [record.key for record in whole.records]
        parts = []
        for number in range(1, of + 1):
            shard = Shard(number, of)
            own = shard.deal(whole.records)
            mine = [record.key for record in own]
            slower = controls[number - 1] if controls else 1.0
            node = Node(f"shard {shard}", "1a2b", {name: seconds * slower for name, seconds in USUAL.items()})
            facts = replace(
                whole.facts,
                id=f"2026010{number}-{number:06x}",
                options={"grid": "quick", "shard": str(shard)},
                planned=tuple(mine),
                elsewhere=tuple(key for key in keys if key not in mine),
                nodes=(node,),
            )
            parts.append(replace(whole, name=f"000{number}_shard", facts=facts, records=tuple(own)))
        return parts

    return dealt


def joined(runs: Sequence[Run], **how: Any) -> Merged:
    (found,) = merge(map(Part, runs), **how)
    return found


@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_the_shards_of_a_run_are_the_run_in_its_order(shards: Shards, stored: Any, of: int) -> None:
    whole = stored.run()
    found = joined(list(reversed(shards(of))))
    assert found.run.records == whole.records
    assert found.run.facts.planned == whole.facts.planned
    assert found.run.facts.complete and not found.told


def test_a_missing_shard_is_named_with_what_it_was_to_measure(shards: Shards) -> None:
    first, second, third = shards(3)
    found = joined([first, third])
    assert not found.run.facts.complete and found.run.facts.finished is None
    assert found.told[0] == "1 shard is missing, of 3: 2"
    assert found.told[1].startswith(f"{len(second.records)} benchmarks have no record: {second.records[0].key}, ")
    assert set(found.run.facts.planned) - {record.key for record in found.run.records} == set(second.facts.planned)


def test_a_shard_that_was_cut_off_lacks_what_it_did_not_measure(shards: Shards) -> None:
    first, second = shards(2)
    found = joined([first, replace(second, records=second.records[:-1])])
    assert found.told == (f"1 benchmark has no record: {second.records[-1].key}",)


def test_of_a_benchmark_that_was_measured_twice_the_record_with_fewer_doubts_counts(stored: Any) -> None:
    run = stored.run()
    clean = next(record for record in run.records if record.status == "ok" and not record.flags)
    doubtful = replace(clean, flags=("disturbed",), started="2026-01-01T00:00:00+00:00")
    again = replace(run, name="again", facts=replace(run.facts, id="again"), records=(doubtful,))
    for order in ([run, again], [again, run]):
        found = joined(order)
        assert clean in found.run.records
        assert "1 benchmark was measured more than once" in found.told[0] and clean.key in found.told[0]


def test_a_run_and_its_own_journal_are_not_two_runs(stored: Any) -> None:
    run = stored.run()
    assert joined([run, replace(run, name="journal", records=run.records[:3])]).told == ()


@pytest.mark.parametrize(
    ("commit", "told"),
    [
        ({"id": "77aa88bb99cc77aa"}, "0002_shard is of commit 77aa88bb99cc, and 0001_shard of 1a2b3c4d5e6f"),
        ({"dirty": True}, "0002_shard was measured with other uncommitted changes than 0001_shard"),
        ({"difference": "f00"}, "0002_shard was measured with other uncommitted changes than 0001_shard"),
    ],
)
def test_shards_of_other_code_are_refused(shards: Shards, commit: dict[str, Any], told: str) -> None:
    first, second = shards(2)
    with pytest.raises(CannotMerge, match=told):
        joined([first, replace(second, commit={**second.commit, **commit})])


def test_shards_of_different_machines_are_refused_or_shown_apart(shards: Shards) -> None:
    first, second, third = shards(3)
    other = replace(second, environment={**second.environment, "fingerprint": "f00", "cpu": "another"})
    with pytest.raises(CannotMerge, match="0002_shard was measured in another environment than 0001_shard"):
        merge(map(Part, [first, other, third]))
    here, there = merge(map(Part, [first, other, third]), apart=True)
    assert {record.key for record in here.run.records} == {*first.facts.planned, *third.facts.planned}
    assert there.run.records == second.records and there.run.environment["cpu"] == "another"
    assert here.run.facts.id != there.run.facts.id
    assert not here.run.facts.complete and not there.run.facts.complete


def test_shards_that_were_called_otherwise_are_refused(shards: Shards) -> None:
    first, second = shards(2)
    fewer = replace(second, facts=replace(second.facts, elsewhere=second.facts.elsewhere[:-1]))
    with pytest.raises(CannotMerge, match="called with other options"):
        joined([first, fewer])
    with pytest.raises(CannotMerge, match="called with other options"):
        joined([first, shards(3)[1]])


@pytest.mark.parametrize("slower", [1.3, 1 / 1.3])
def test_times_of_a_slower_or_a_faster_node_decide_nothing(shards: Shards, slower: float) -> None:
    found = joined(shards(3, controls=[1.0, slower, 1.02]))
    unlike = {record.key for record in found.run.records if FLAG in record.flags}
    second = found.run.facts.nodes[1]
    assert unlike == set(second.keys) and not second.alike
    assert second.ratio == pytest.approx(slower, rel=0.03)
    assert [node.alike for node in found.run.facts.nodes] == [True, False, True]
    assert f"flagged {FLAG}" in found.told[0]
    assert not any(FLAG in one.flags for one in joined(shards(3, controls=[1.0, slower, 1.0]), margin=0.5).run.records)


def test_a_merged_run_can_be_merged_again(shards: Shards) -> None:
    first, second, third = shards(3, controls=[1.0, 1.3, 1.0])
    half = joined([first, second]).run
    assert joined([half, third], margin=0.1).run.records  # which is no shard any more: what both have together
    once = joined([first, second, third])
    twice = joined([once.run])
    assert twice.run.records == once.run.records
    assert [replace(node, ratio=None) for node in twice.run.facts.nodes] == [
        replace(node, ratio=None) for node in once.run.facts.nodes
    ]


def test_runs_that_are_no_shards_become_all_that_they_measured(stored: Any) -> None:
    run = stored.run()
    parts = [
        replace(run, name=name, facts=replace(run.facts, id=name, planned=tuple(r.key for r in some)), records=some)
        for name, some in (("one", run.records[:7]), ("two", run.records[7:]))
    ]
    found = joined(parts)
    assert found.run.records == run.records and found.run.facts.complete


def test_what_is_stored_can_be_read_and_has_the_entries_of_pytest_benchmark(
    shards: Shards, stored: Any, tmp_path: Path
) -> None:
    for run in shards(2):
        file = stored.store(run)
        document = json.loads(file.read_text())
        first = run.records[0]
        document["benchmarks"] = [{"group": first.cell.workload, "params": first.cell.settings, "name": run.name}]
        document |= {"datetime": "2026-01-01T12:00:00", "version": "5.3.1"}
        file.write_text(json.dumps(document))
    parts = [read_part(path, pytest.fail) for path in find_parts(tmp_path)]
    (merged,) = merge(parts)
    file = store_merged(merged, tmp_path)
    assert file.name.startswith("0003_1a2b3c4d5e6f7a8b9c0d_") and file.parent.name == "merged"
    assert read_run(file).records == stored.run().records
    document = json.loads(file.read_text())
    assert [entry["name"] for entry in document["benchmarks"]] == ["0001_shard", "0002_shard"]
    assert document["version"] == "5.3.1"


def test_a_journal_stands_for_the_run_that_did_not_come_to_be_stored(shards: Shards, tmp_path: Path) -> None:
    first, second = shards(2)
    commit = dict(first.commit)
    code = {name: commit.get(name) for name in ("id", "dirty", "difference")}
    folder = tmp_path / "journal"
    journal = Journal.begin(folder, first.facts, "1a2b3c4d5e6f", code, {}, first.environment)
    for record in first.records:
        journal.append(record)
    with pytest.raises(CannotMerge, match="still being measured"):
        read_part(journal.path, pytest.fail)
    journal.close()
    part = read_part(journal.path, pytest.fail)
    assert joined([part.run, second]).run.facts.complete
    assert part.run.environment == first.environment


class TestCommand:
    def test_it_stores_the_run_and_names_its_file(
        self, shards: Shards, stored: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for run in shards(3):
            stored.store(run)
        assert cli.main(["merge", str(tmp_path), "--results", str(tmp_path / "results")]) == 0
        told = capsys.readouterr()
        assert read_run(Path(told.out.strip())).facts.complete and not told.err

    def test_it_ends_with_3_where_a_shard_is_missing_or_of_another_machine(
        self, shards: Shards, stored: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, second, third = shards(3)
        for run in (first, second):
            stored.store(run)
        assert cli.main(["merge", str(tmp_path), "--results", str(tmp_path / "results")]) == 3
        assert "1 shard is missing, of 3: 3" in capsys.readouterr().err
        stored.store(replace(third, environment={**third.environment, "fingerprint": "f00"}))
        assert cli.main(["merge", str(stored.folder / "Linux-CPython-3.11-64bit"), "--results", str(tmp_path)]) == 3
        assert "another environment" in capsys.readouterr().err

    def test_a_folder_without_runs_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "empty").mkdir()
        assert cli.main(["merge", str(tmp_path / "empty"), "--results", str(tmp_path)]) == 3
        assert "no run and no journal" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "a/b", "1/2/3", "-1/3", "1 / 2", "٣/٨"])
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no shard: write NUMBER/OF"):
        Shard.parse(text)


def test_a_run_of_an_earlier_version_has_no_nodes(stored: Any) -> None:
    document = {
        name: value for name, value in stored.run().facts.to_json().items() if name not in ("nodes", "elsewhere")
    }
    assert RunFacts.from_json(document).nodes == ()
