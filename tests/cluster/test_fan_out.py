"""Jobs that are lost, killed, never heard of or out of memory: each cell has one record in the end, and none waits."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainmark.cluster import executors, fan_out, job
from trainmark.cluster.executors import ExecutorError, Seen, Slurm, State
from trainmark.cluster.job import Share
from trainmark.git import Code
from trainmark.measure.machine import Machine, ModelFacts
from trainmark.measure.session import Invocation, Session, SessionError
from trainmark.measure.settings import Settings
from trainmark.measure.worker import Limits
from trainmark.store.cell import Cell
from trainmark.store.journal import Journal
from trainmark.store.nodes import FLAG, Node
from trainmark.store.record import Record, RunFacts
from trainmark.store.runs import read_run, run_files
from trainmark.workloads.planning import Request

USUAL = {"product": 1e-3, "copy": 1e-3}
CODE = Code(None, None, "d1")
MACHINE = Machine(
    environment={"fingerprint": "login", "cpu": "a processor", "gpus": [], "torch": "2.15.0"},
    devices=("cpu",),
    precisions={"cpu": ("fp32",)},
    compile_obstacle={},
    models={"mlp": ModelFacts("mlp", "mnist-5k", 500_000, has_convolution=False)},
    cpu_flops=1e11,
)


class Cluster:
    """An engine in this process: a job is done as soon as somebody looks, as its script says.

    Args:
        scripts: What becomes of each job, in the order in which they are placed: how many cells it measures before it
            ends, or None for all; and how it is seen then, or None for as one that has ended by itself.
        nodes: Name -> fingerprint and how slow it is; jobs go over them in turns.
    """

    def __init__(
        self,
        scripts: Sequence[tuple[int | None, State | None]] = (),
        nodes: Mapping[str, tuple[str, float]] | None = None,
        code: Code = CODE,
    ) -> None:
        self.scripts, self.code = list(scripts), code
        self.nodes = nodes or {"n1": ("abc", 1.0), "n2": ("abc", 1.0)}
        self.placed: list[tuple[Path, str]] = []
        self.without: list[set[str]] = []
        self.measured: list[str] = []

    def submit(
        self, function: Callable[[str], None], folders: Sequence[Path], without: Iterable[str], seconds: float
    ) -> list[str]:
        assert function is job.run
        self.without.append(excluded := set(without))
        for folder in folders:
            free = [name for name in self.nodes if name not in excluded]
            self.placed.append((folder, free[len(self.placed) % len(free)]))
        return [str(number) for number in range(len(self.placed) - len(folders), len(self.placed))]

    def look(self, jobs: Sequence[str]) -> Mapping[str, Seen]:
        return {name: self._run(int(name)) for name in jobs}

    def _run(self, number: int) -> Seen:
        folder, node = self.placed[number]
        many, state = self.scripts[number] if number < len(self.scripts) else (None, None)
        share: Share = pickle.loads((folder / job.FILE).read_bytes())
        fingerprint, slow = self.nodes[node]
        control = {name: seconds * slow for name, seconds in USUAL.items()}
        facts = RunFacts(f"job-{number}", "2026-01-01T12:00:00+00:00", nodes=(Node(node, fingerprint, control),))
        environment = {"fingerprint": fingerprint, "cpu": "of a node"}
        place = folder / "journal"
        journal = Journal.begin(place, facts, fingerprint, self.code.to_json(), {}, environment)
        for cell in share.cells[:many]:
            self.measured.append(cell.key)
            journal.append(Record(cell, "ok", metrics={"step_seconds": 0.1 * slow}, rounds=(0.1 * slow,) * 6))
        journal.close()
        return Seen(state or State.ENDED, node)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Session, list[Cell]]]:
    """A run of six cells that has begun."""
    monkeypatch.setattr(fan_out, "LOOK_SECONDS", 0.0)
    given: dict[str, Any] = {"model": ("mlp",), "batch_size": (1, 2, 3, 4, 5, 6), "precision": ("fp32",)}
    asked = Invocation(Request(given={**given, "compile": ("off",)}), Settings(), Limits(), executor="made up", jobs=2)
    session = Session(asked, tmp_path, code=CODE)
    session._machine = MACHINE
    cells = session.plan("train")
    session.begin(cells, {})
    yield session, cells
    session.close(None)


def fanned_out(run: tuple[Session, list[Cell]], cluster: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs it on the cluster; gives what was told."""
    told: list[str] = []
    monkeypatch.setitem(executors.EXECUTORS, "made up", lambda *_: cluster)  # type: ignore[arg-type]
    fan_out.fan_out(*run, {}, told.append)
    return told


def test_each_cell_is_measured_once_and_the_run_is_of_the_nodes(run, monkeypatch) -> None:
    session, cells = run
    cluster = Cluster()
    told = fanned_out(run, cluster, monkeypatch)
    assert sorted(cluster.measured) == sorted(cell.key for cell in cells)
    assert {record.status for record in session.records.values()} == {"ok"}
    assert session.environment == {"fingerprint": "abc", "cpu": "of a node"}
    assert [node.name for node in session.facts.nodes] == ["node-1", "node-2"]
    assert "6/6 cells" in told[-1]


def test_a_job_that_is_lost_with_its_node_goes_on_once_on_another(run, monkeypatch) -> None:
    session, cells = run
    cluster = Cluster([(1, State.LOST), (None, None)])
    fanned_out(run, cluster, monkeypatch)
    assert sorted(cluster.measured) == sorted(cell.key for cell in cells)
    assert cluster.without == [set(), {"n1"}]
    assert session.complete


def test_a_cell_whose_job_ends_twice_has_a_record_that_says_so_and_the_others_are_measured(run, monkeypatch) -> None:
    session, _ = run
    cluster = Cluster([(1, State.LOST), (None, None), (0, State.LOST)])
    fanned_out(run, cluster, monkeypatch)
    failed = [record for record in session.records.values() if record.status != "ok"]
    assert [(record.status, record.reason) for record in failed] == [
        ("crashed", "its job ended 2 times before it had a record")
    ]
    assert len(session.records) == 6


def test_what_takes_too_much_memory_for_its_job_is_not_tried_again(run, monkeypatch) -> None:
    session, cells = run
    cluster = Cluster([(1, State.OUT_OF_MEMORY)])
    fanned_out(run, cluster, monkeypatch)
    (failed,) = [record for record in session.records.values() if record.status != "ok"]
    assert failed.status == "oom" and failed.key == cells[2].key  # the second of the first share
    assert failed.key not in cluster.measured


def test_a_run_that_is_resumed_collects_what_jobs_have_measured_meanwhile(run, monkeypatch, tmp_path) -> None:
    session, cells = run

    class Dying(Cluster):
        def look(self, jobs: Sequence[str]) -> Mapping[str, Seen]:
            raise KeyboardInterrupt

    first = Dying()
    with pytest.raises(KeyboardInterrupt):
        fanned_out(run, first, monkeypatch)
    assert not session.records
    again = Cluster()
    again.placed = first.placed
    fanned_out(run, again, monkeypatch)
    assert len(again.placed) == 2  # nothing was placed anew
    assert sorted(again.measured) == sorted(cell.key for cell in cells)


def test_a_share_whose_job_nobody_knows_is_revoked_and_placed_anew(run, monkeypatch) -> None:
    session, cells = run

    class Refusing(Cluster):
        def submit(self, function: Any, folders: Sequence[Path], without: Iterable[str], seconds: float) -> list[str]:
            raise ExecutorError("Slurm takes no jobs")

    with pytest.raises(ExecutorError):
        fanned_out(run, Refusing(), monkeypatch)
    (before, _) = sorted(path.parent for path in fan_out.folder_of(session).glob(f"*/{job.FILE}"))
    cluster = Cluster()
    fanned_out(run, cluster, monkeypatch)
    assert not (before / job.FILE).exists()
    assert sorted(cluster.measured) == sorted(cell.key for cell in cells)


def test_times_of_a_slower_node_are_flagged(run, monkeypatch) -> None:
    session, _ = run
    fanned_out(run, Cluster(nodes={"n1": ("abc", 1.0), "n2": ("abc", 1.4)}), monkeypatch)
    slow = session.facts.nodes[1]
    assert [node.alike for node in session.facts.nodes] == [True, False]
    assert {key for key, record in session.records.items() if FLAG in record.flags} == set(slow.keys)
    assert "1.40x as long" in session.notes_at_end[0]


def test_what_nodes_of_another_environment_measured_is_a_run_of_its_own(run, monkeypatch, tmp_path) -> None:
    session, cells = run
    cluster = Cluster([(None, None), (1, State.LOST)], nodes={"n1": ("abc", 1.0), "n2": ("other", 1.0)})
    fanned_out(run, cluster, monkeypatch)
    (file,) = run_files(tmp_path)
    apart = read_run(file)
    assert apart.environment["fingerprint"] == "other" and len(apart.records) == 1
    assert apart.records[0].key not in session.records
    assert session.environment["fingerprint"] == "abc" and session.complete
    cell = next(cell for cell in cells if cell.key == apart.records[0].key)
    assert file.name in str(session.measure(cell).record.reason)


def test_nodes_with_other_code_are_refused(run, monkeypatch) -> None:
    with pytest.raises(SessionError, match="A node measured other code"):
        fanned_out(run, Cluster(code=replace(CODE, difference="d2")), monkeypatch)


def test_an_engine_that_does_not_answer_for_a_while_is_asked_again(run, monkeypatch) -> None:
    class Busy(Cluster):
        asked = 0

        def look(self, jobs: Sequence[str]) -> Mapping[str, Seen]:
            self.asked += 1
            if self.asked < 4:
                raise ExecutorError("Slurm does not answer: a timeout")
            return super().look(jobs)

    cluster = Busy()
    told = fanned_out(run, cluster, monkeypatch)
    assert sum("asking again" in line for line in told) == 1
    assert len(cluster.measured) == 6


class TestSlurm:
    @pytest.fixture
    def answers(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
        """Puts a squeue on the path that prints what it is told."""

        def answer(text: str, code: int = 0) -> None:
            program = tmp_path / "bin" / "squeue"
            program.parent.mkdir(exist_ok=True)
            (tmp_path / "said").write_text(text)
            stream = ">&2" if code else ""
            program.write_text(f"#!/bin/sh\ncat {tmp_path}/said {stream}\nexit {code}\n")
            program.chmod(0o755)
            monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

        return answer

    def test_its_words_are_told(self, answers, tmp_path: Path) -> None:
        answers("7_0|RUNNING|n1\n7_1|PENDING|\n7_2|NODE_FAIL|n2\n7_3|OUT_OF_MEMORY|n1\n7_4|FAILED|n1\n8|PREEMPTED|n2\n")
        jobs = ["7_0", "7_1", "7_2", "7_3", "7_4", "8", "9"]
        seen = Slurm(tmp_path, "name", {}).look(jobs)
        assert [(seen[one].state, seen[one].node) for one in jobs] == [
            (State.RUNNING, "n1"),
            (State.WAITING, ""),
            (State.LOST, "n2"),
            (State.OUT_OF_MEMORY, "n1"),
            (State.ENDED, "n1"),
            (State.LOST, "n2"),
            (State.ENDED, ""),  # which it has forgotten
        ]

    def test_all_forgotten_is_all_ended(self, answers, tmp_path: Path) -> None:
        answers("slurm_load_jobs error: Invalid job id specified\n", 1)
        assert Slurm(tmp_path, "name", {}).look(["7"])["7"].state is State.ENDED

    def test_no_answer_is_told(self, answers, tmp_path: Path) -> None:
        answers("slurm_load_jobs error: Unable to contact slurm controller\n", 1)
        with pytest.raises(ExecutorError, match=r"Slurm does not answer: .*Unable to contact"):
            Slurm(tmp_path, "name", {}).look(["7"])

    @pytest.mark.parametrize("options", [{"no_such_option": 1}, {}])
    def test_what_it_does_not_take_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))  # without sbatch
        with pytest.raises(ExecutorError, match="Slurm takes no jobs"):
            Slurm(tmp_path, "name", options).submit(job.run, [tmp_path / "1"], (), 60.0)


def test_the_local_executor_has_no_options(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="has no option partition"):
        executors.Local(tmp_path, "name", {"partition": "main"})
