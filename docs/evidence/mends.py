"""Each mend of the paths of --against, git, names and exit codes, taken back: its test must fail without it.

    PYTHONPATH=. python docs/evidence/mends.py            # all, about 10 minutes; ends with 1 if a test does not fail
    PYTHONPATH=. python docs/evidence/mends.py names      # those with the word in their name

``was`` and ``command`` tell what a user met before: the command, and what it said or did.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("bench", "models", "reports", "trainmark", "tests", "docs", "conftest.py", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Mend:
    """A fault that was mended, and how it comes back.

    Attributes:
        name: What is right now.
        command: How a user met the fault.
        was: What it said or did.
        file: Where it was mended.
        old: Lines there now.
        new: What stands there without the mend.
        tests: Nodes of the tests that guard it.
    """

    name: str
    command: str
    was: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MENDS = (
    Mend(
        "skipped cells keep a record and their reason",
        "pytest bench --against self --precision fp16",
        "no record of the cell on either side, and no word of it",
        "trainmark/against/run.py",
        """                self.findings.add_record(name, Record(cell, "skipped", reason, started=now()))""",
        "                pass",
        ("tests/against/test_run.py::test_what_this_machine_cannot_run_is_kept_with_its_reason",),
    ),
    Mend(
        "compiled cells take turns where the call names them alone",
        "pytest bench --against self",
        "each process of a pair compiled, and the budget went there",
        "trainmark/workloads/stepping.py",
        'return bool(self.steps) and (not compiled or "compile" in request.given)',
        "return bool(self.steps)",
        ("tests/against/test_run.py::test_a_compiled_cell_takes_turns_only_where_the_call_names_what_to_compile",),
    ),
    Mend(
        "options of pytest-benchmark without effect are refused",
        "pytest bench --against self --benchmark-json=out.json",
        "exit code 0, and no out.json",
        "trainmark/options.py",
        """    refused += [name for name in given if name.startswith("--benchmark-") and name not in honoured]""",
        "",
        ("tests/test_options.py::test_what_does_not_go_with_a_side_is_refused",),
    ),
    Mend(
        "a budget without a comparison is refused",
        "pytest bench --budget 1m",
        "it was ignored",
        "trainmark/options.py",
        """        if alone and not option(config, "resume"):""",
        "        if False:",
        ("tests/test_options.py::test_what_is_of_a_comparison_is_refused_without_a_side",),
    ),
    Mend(
        "other tests in a call against a side are refused",
        "pytest bench tests --against self",
        "the tests did not run, and nothing said so",
        "trainmark/plugin.py",
        "    if AGAINST in config.stash and (others := [item for item in items if CELL not in item.stash]):",
        "    if False and (others := []):",
        ("tests/test_exit_codes.py::test_a_run_ends_with_the_code_of_its_row[another test]",),
    ),
    Mend(
        "each pair is kept before the next is begun",
        "kill -9 of pytest bench --against self",
        "all records and pairs were lost",
        "trainmark/against/turns.py",
        "            self.journal.append_pair(key, steps, pair, seconds)",
        "            pass",
        ("tests/against/test_turns.py::test_each_piece_is_kept_before_the_next_is_begun",),
    ),
    Mend(
        "a kept line is on the disk",
        "a power cut during pytest bench --against self",
        "what was finished was in a buffer",
        "trainmark/store/lines.py",
        "            os.fsync(self._stream.fileno())",
        "            pass",
        ("tests/store/test_journal.py::test_a_record_is_in_the_file_and_synced_before_append_returns",),
    ),
    Mend(
        "SIGTERM is answered like Ctrl-C",
        "timeout 60 pytest bench --against self",
        "nothing was kept",
        "trainmark/plugin.py",
        "    end_like_ctrl_c(config)\n",
        "",
        (
            "tests/against/test_every_workload.py::"
            "test_against_itself_each_has_a_record_on_both_sides_though_the_run_was_ended",
        ),
    ),
    Mend(
        "what was not reached decides nothing",
        "Ctrl-C in pytest bench --against self, then trainmark check latest",
        "Regressed: 2 of 2 cells are worse, failed or missing",
        "trainmark/judge/presence.py",
        """        return "missing" if facts.complete else "unmeasured\"""",
        """        return "missing\"""",
        ("tests/judge/test_presence.py::test_what_was_planned_and_not_reached_decides_nothing",),
    ),
    Mend(
        "what was left out on purpose is not missing",
        "pytest bench --model mlp --benchmark-autosave, then trainmark check BASE latest",
        "Regressed: 35 of 37 cells are worse, failed or missing",
        "trainmark/judge/presence.py",
        """    return "excluded" if is_excluded(record, other, base) else "missing\"""",
        """    return "missing\"""",
        ("tests/judge/test_presence.py::test_what_the_request_leaves_out_is_excluded_and_the_rest_is_compared",),
    ),
    Mend(
        "a narrower request is said in the first line",
        "trainmark check BASE latest",
        "No regression: 3 of 37 cells compared",
        "trainmark/judge/verdict.py",
        """        told += f"; asked for less than the base, which has {formatting.counted(left_out, 'more cell')}\"""",
        "        pass",
        ("tests/judge/test_presence.py::test_what_the_request_leaves_out_is_excluded_and_the_rest_is_compared",),
    ),
    Mend(
        "git is not led to the repository of a hook",
        "pytest bench --against HEAD~3 in a pre-commit hook",
        "the commit held the files of HEAD~3, and lost a staged one",
        "trainmark/git.py",
        "    return {**{name: value for name, value in os.environ.items() if name not in local}, **ASKED}",
        "    return {**os.environ, **ASKED}",
        ("tests/test_git.py",),
    ),
    Mend(
        "git runs no hooks of the user",
        "pytest bench --against main, with a post-checkout hook",
        "the hook ran in the checkout",
        "trainmark/git.py",
        """UNDISTURBED = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")""",
        "UNDISTURBED = ()",
        ("tests/test_git.py",),
    ),
    Mend(
        "a working tree that was moved away for a moment stays registered",
        "pytest bench --against main",
        "git worktree prune took it off the list",
        "trainmark/git.py",
        """    command = ("worktree", "remove", "--force", "--force", str(tree))""",
        """    command = ("worktree", "prune", "--expire=now")""",
        ("tests/against/test_repository_states.py",),
    ),
    Mend(
        "the reason of git is passed on",
        "pytest bench --against main, in another user's repository",
        "In a shallow clone fetch the ref first",
        "trainmark/git.py",
        """        shallow = git(folder, "rev-parse", "--is-shallow-repository") == "true\"""",
        "        shallow = True",
        ("tests/test_git.py",),
    ),
    Mend(
        "an interrupted run does not go on with edited code",
        "pytest bench --resume, after an edit",
        "both halves of the run were stored as one",
        "trainmark/measure/session.py",
        """    if before["difference"] != code.difference:""",
        "    if False:",
        ("tests/measure/test_session.py::test_a_run_is_not_resumed_under_other_conditions",),
    ),
    Mend(
        "names: an empty one is refused",
        'trainmark check "$UNSET"',
        "No regression: it had picked a control run",
        "trainmark/store/runs.py",
        "    if not name.strip():",
        "    if False:",
        ("tests/test_cli.py::test_an_empty_name_is_a_wrong_call",),
    ),
    Mend(
        "names: an exact one goes before a part",
        "trainmark check baseline latest, with a run saved as baseline-of-march",
        "2 runs fit 'baseline'",
        "trainmark/store/runs.py",
        "    fitting = _own(named_runs(name, folder) or [path for path in files if name in path.stem])",
        "    fitting = _own([path for path in files if name in path.stem])",
        ("tests/store/test_runs.py::test_a_name_that_fits_exactly_goes_before_those_that_have_it_as_a_part",),
    ),
    Mend(
        "names: latest is the run that began last",
        "touch results/*/0001_*.json; trainmark html",
        "the page of an old run",
        "trainmark/store/runs.py",
        "        return _latest(_own(files))",
        "        return max(_own(files), key=lambda path: path.stat().st_mtime)",
        ("tests/store/test_runs.py::test_the_latest_run_is_the_one_that_began_last_whenever_its_file_was_touched",),
    ),
    Mend(
        "names: a run is no base of itself",
        "trainmark check 1 1",
        "No regression",
        "trainmark/cli.py",
        "    if base.resolve() == new.resolve():",
        "    if False:",
        ("tests/test_cli.py::test_a_run_is_no_base_of_itself",),
    ),
    Mend(
        "a new cell that fails is a failure",
        "trainmark check BASE NEW --junit verdict.xml",
        "exit code 0, and the cell passed in JUnit",
        "trainmark/judge/comparison.py",
        """        return CellComparison(record.key, record.label, "failed", _told(record))""",
        """        return CellComparison(record.key, record.label, "new", _told(record))""",
        ("tests/judge/test_presence.py::test_a_new_cell_that_fails_is_a_failure",),
    ),
    Mend(
        "cells that fail on both sides are named",
        "trainmark check BASE NEW",
        "No regression, and no word of them",
        "trainmark/judge/verdict.py",
        "    if broken:",
        "    if False:",
        ("tests/judge/test_presence.py::test_cells_that_fail_on_both_sides_are_named_in_the_sentence",),
    ),
    Mend(
        "a run that the machine could not do at all is no success",
        "pytest bench --device cuda, on a machine without",
        "exit code 0",
        "trainmark/plugin.py",
        """    if code == pytest.ExitCode.OK and records and all(record.status == "skipped" for record in records):""",
        "    if False:",
        ("tests/test_exit_codes.py::test_a_run_ends_with_the_code_of_its_row[the machine lacks it]",),
    ),
    Mend(
        "an internal error never reads as a verdict",
        "pytest bench, with a plugin that breaks",
        "exit code 3, which means that nothing was decided",
        "trainmark/plugin.py",
        "        return INTERNAL  # pytest's own number says here that nothing was decided",
        "        return code",
        ("tests/test_exit_codes.py::test_a_fault_of_the_program_never_reads_as_a_verdict",),
    ),
    Mend(
        "a model file that cannot be imported is named with its line",
        "pytest bench --model nets:wide, with an error in nets.py",
        "EOFError, INTERNALERROR, exit code 3",
        "trainmark/model.py",
        """        told = f"{_where(error)}: {suite.told(error)}\"""",
        """        told = f": {suite.told(error)}\"""",
        ("tests/test_exit_codes.py::test_a_model_whose_file_fails_is_named_with_its_line",),
    ),
    Mend(
        "a budget that is too small is said beforehand",
        "pytest bench --against self --budget 1m",
        "100 s, then: no undisturbed pair was measured (0 pairs)",
        "trainmark/against/run.py",
        "        if cells and spent + needed > self.asked.budget_seconds:",
        "        if False:",
        ("tests/test_exit_codes.py::test_a_run_against_another_side_ends_with_the_code_of_its_verdict",),
    ),
    Mend(
        "records of the same code are taken over",
        "pytest bench --against main, twice",
        "each record was measured again",
        "trainmark/against/run.py",
        "        if origin in wanted\n",
        "        if False\n",
        ("tests/against/test_run.py::test_records_of_the_same_code_are_taken_over_from_an_earlier_run",),
    ),
    Mend(
        "a search path is absolute for a side",
        "cd sub; PYTHONPATH=lib pytest .. --against main",
        "ModuleNotFoundError on the side, which runs elsewhere",
        "trainmark/suite.py",
        "    return [str(absolute(entry)) for entry in variable.split(os.pathsep) if entry]",
        "    return [entry for entry in variable.split(os.pathsep) if entry]",
        ("tests/against/test_sides.py::test_a_search_path_is_absolute_for_a_side_which_runs_elsewhere",),
    ),
    Mend(
        "a search path that is set apart changes what is imported",
        "pytest bench --against env:PYTHONPATH=slow-kernels",
        "1.00x: the same code was measured twice",
        "trainmark/against/own_tree.py",
        """    sys.path[:] = [*map(guard.own, set_apart), place["root"], *map(guard.own, sys.path)]""",
        """    sys.path[:] = [place["root"], *map(guard.own, sys.path)]""",
        ("tests/against/test_sides.py::test_a_search_path_that_is_set_apart_changes_what_that_side_imports",),
    ),
    Mend(
        "a line that is none of the protocol is one sentence",
        "pytest bench --against main, where main prints while it imports",
        "a traceback of json",
        "trainmark/against/client.py",
        "        if not isinstance(document, dict):",
        "        if False:",
        (
            "tests/against/test_sides.py::test_a_line_that_is_not_of_the_protocol_is_one_sentence",
            "tests/against/test_sides.py::test_a_side_that_begins_to_print_in_between_is_one_sentence",
        ),
    ),
    Mend(
        "a reason that is kept holds no path",
        "pytest bench --against main, where a cell dies",
        "a user's home in results/pairs/*.jsonl",
        "trainmark/against/turns.py",
        "        return Record(cell, end.status, without_folders(end.reason))",
        "        return Record(cell, end.status, end.reason)",
        ("tests/against/test_turns.py::test_a_reason_that_is_kept_holds_no_path_of_this_machine",),
    ),
    Mend(
        "what reads a run reads one of two sides too",
        "trainmark markdown main",
        "No run named main",
        "trainmark/cli.py",
        "        if exact:\n            return exact[0]",
        "        if exact:\n            raise RunNotFound(name)",
        ("tests/test_cli.py::test_what_reads_a_run_reads_one_of_two_sides_too",),
    ),
    Mend(
        "a run ends in silence",
        "pytest bench --compile default",
        "resource_tracker: There appear to be 4 leaked semaphore objects",
        "trainmark/measure/worker.py",
        "        _own_resource_tracker()\n",
        "",
        (
            "tests/measure/test_worker.py::"
            "test_a_run_ends_in_silence_though_a_process_held_semaphores_and_another_was_killed_with_some",
        ),
    ),
    Mend(
        "what a killed run left is removed by the next",
        "kill -9 of pytest bench --against main",
        "folders in the temporary directory, for ever",
        "trainmark/scratch.py",
        "    _clear_left_behind(kind, clear)\n    folder",
        "    folder",
        ("tests/test_git.py",),
    ),
)


@contextmanager
def without(mend: Mend) -> Iterator[Path]:
    """A copy of the code without the mend, until the block ends.

    Raises:
        ValueError: The mend is not where it should be.
    """
    with tempfile.TemporaryDirectory(prefix="mend-") as scratch:
        folder = Path(scratch) / "code"
        folder.mkdir()
        for name in CODE:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder)
        file = folder / mend.file
        text = file.read_text(encoding="utf-8")
        if text.count(mend.old) != 1:
            raise ValueError(f"{mend.name}: {mend.file} has {text.count(mend.old)} times {mend.old!r}")
        file.write_text(text.replace(mend.old, mend.new), encoding="utf-8")
        yield folder


def fails(folder: Path, tests: Sequence[str]) -> bool:
    """Whether one of the tests fails there, with the code there."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{', '.join(tests)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode == 1


def main() -> int:
    """Takes each mend back and runs its test."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    unguarded = []
    chosen = [mend for mend in MENDS if word in mend.name]
    for mend in chosen:
        with without(mend) as folder:
            caught = fails(folder, mend.tests)
        print(f"{'fails without it' if caught else 'NOT GUARDED     '}  {mend.name}", flush=True)
        if not caught:
            unguarded.append(mend.name)
    print(f"{len(chosen) - len(unguarded)} of {len(chosen)} mends are guarded")
    return 1 if unguarded else 0


if __name__ == "__main__":
    sys.exit(main())
