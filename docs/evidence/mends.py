"""Each mend of the paths of --against, git, names, files and exit codes, taken back: its test must fail without it.

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
        "trainmark/named.py",
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
    Mend(
        "a cell that computes something else is changed",
        "pytest bench --against HEAD",
        "a loss summed instead of averaged was unchanged, stale logits improved",
        "trainmark/judge/comparison.py",
        "    if found.told is None:\n",
        "    if True:\n",
        ("tests/judge/test_changed.py::test_a_cell_that_computes_something_else_is_changed_and_never_improved",),
    ),
    Mend(
        "a change hides no regression",
        "pytest bench --against HEAD",
        "(new with the verdict changed)",
        "trainmark/judge/comparison.py",
        '    verdict = "regressed" if cell.verdict == "regressed" else "changed"\n',
        '    verdict = "changed"\n',
        ("tests/judge/test_changed.py::test_a_change_hides_no_regression",),
    ),
    Mend(
        "a change fails a control against itself",
        "pytest bench --against self",
        "(new with the verdict changed)",
        "trainmark/judge/verdict.py",
        '("fail" if comparison.of_itself else "warn")',
        '"warn"',
        ("tests/judge/test_changed.py::test_a_change_fails_a_check_against_itself_or_where_it_is_asked_to",),
    ),
    Mend(
        "NumPy's chance is seeded",
        "pytest bench --against self --model mine:draws",
        "its FLOPs were 2,007,040 in one run and 160,362,496 in the next",
        "trainmark/measure/switches.py",
        "    np.random.seed(seed % 2**32)  # the global one is what others draw from\n",
        "",
        ("tests/measure/test_switches.py::test_every_source_of_chance_begins_where_the_seed_says",),
    ),
    Mend(
        "Python's chance is seeded",
        "pytest bench --against self --model mine:draws",
        "likewise",
        "trainmark/measure/switches.py",
        "    random.seed(seed)\n",
        "",
        ("tests/measure/test_switches.py::test_every_source_of_chance_begins_where_the_seed_says",),
    ),
    Mend(
        "what differs between two steps is no count",
        "pytest bench -k train --model mine:deeper",
        "one of two counts was told as exact",
        "trainmark/measure/instruments.py",
        "    of_step |= dict.fromkeys(varying)\n",
        "",
        ("tests/measure/test_switches.py::test_what_differs_from_step_to_step_is_not_told_as_a_count",),
    ),
    Mend(
        "chance is seeded again after the build",
        "pytest bench -k accuracy --seeds 3 --model mine:seeds_itself",
        "81.80% (81.80% to 81.80%, 3 seeds)",
        "trainmark/measure/steps.py",
        "    switches.held().restore()\n    switches.seed_everything(seed)\n",
        "    switches.held().restore()\n",
        ("tests/measure/test_switches.py::test_seeds_that_give_the_same_curves_are_flagged_and_count_as_one",),
    ),
    Mend(
        "seeds with the same curves count as one",
        "pytest bench -k accuracy --seeds 3",
        "they counted as three",
        "trainmark/measure/protocol.py",
        '"seeds": len(different),',
        '"seeds": len(seeds),',
        ("tests/measure/test_switches.py::test_seeds_that_give_the_same_curves_are_flagged_and_count_as_one",),
    ),
    Mend(
        "switches that a model moves are set again",
        "pytest bench --threads 2 --model mine:one_thread",
        "one thread, and a record that says two",
        "trainmark/measure/steps.py",
        "    switches.held().restore()\n",
        "    switches.held().look()\n",
        ("tests/measure/test_switches.py::test_a_switch_that_a_model_moves_while_it_is_built_is_set_again_and_told",),
    ),
    Mend(
        "the record tells the threads in force",
        "pytest bench -k train --model mine:sets_threads",
        "the threads asked for",
        "trainmark/measure/protocol.py",
        '"settings": {"threads": torch.get_num_threads(), "seed": settings.seed, "adaptation"',
        '"settings": {"threads": settings.threads, "seed": settings.seed, "adaptation"',
        ("tests/measure/test_switches.py::test_what_a_forward_pass_moves_is_in_the_record",),
    ),
    Mend(
        "a traced step is flagged",
        "coverage run -m pytest bench --in-process",
        "times without a word",
        "trainmark/measure/switches.py",
        "sys.gettrace() is not None or sys.getprofile() is not None or any(",
        "any(",
        ("tests/measure/test_switches.py::test_a_step_that_somebody_traces_is_flagged",),
    ),
    Mend(
        "an operator without a formula makes FLOPs None",
        "pytest bench -k train --model mine:custom",
        "81,920 where its twin has 6,504,448",
        "trainmark/meters/flops.py",
        "    if operator.namespace not in FREE_NAMESPACES:\n        return True\n",
        "",
        ("tests/meters/test_flops.py::test_a_step_with_an_operator_of_ones_own_has_no_count_and_names_it",),
    ),
    Mend(
        "lazy layers have their sizes",
        "pytest bench -k accuracy --model mine:lazy",
        "an error of an uninitialised parameter",
        "trainmark/measure/steps.py",
        "        materialise(model, partial(torch.zeros, 2, *task.input_shape))\n",
        "        pass\n",
        ("tests/measure/test_lazy.py::test_a_lazy_mlp_has_as_many_parameters_as_the_lectures",),
    ),
    Mend(
        "the largest batch is looked for from two",
        "pytest bench --find-max-batch --model mine:norms",
        "ended at batch 1 without an answer",
        "trainmark/workloads/capacity.py",
        "                first = 2  #",
        "                first = 1  #",
        ("tests/measure/test_capacity.py",),
    ),
    Mend(
        "what was timed in a bad moment decides nothing",
        "trainmark check BASE NEW",
        "regressed by a compile time of 22.6 s and of 48.9 s",
        "trainmark/judge/comparison.py",
        "    if unreliable:\n        return replace(change",
        "    if False:\n        return replace(change",
        ("tests/judge/test_comparison.py::test_what_was_timed_in_a_bad_moment_decides_nothing",),
    ),
    Mend(
        "a tolerance says that it is a guess",
        "trainmark check BASE NEW",
        "it did not",
        "trainmark/judge/comparison.py",
        "    if len(past) < HISTORY:\n        guess",
        "    if False:\n        guess",
        ("tests/judge/test_comparison.py::test_a_tolerance_without_a_history_says_that_it_is_a_guess",),
    ),
    Mend(
        "counts that explain decide nothing",
        "pytest bench --against HEAD",
        "0.85 times the time was regressed: copies went from 0 to 1",
        "trainmark/judge/comparison.py",
        '    if metric.compared == "explains" and not conditions.counts_decide:\n',
        "    if False:\n",
        ("tests/judge/test_comparison.py::test_a_count_that_explains_is_told_and_decides_only_where_it_is_asked_to",),
    ),
    Mend(
        "the number beside a verdict is of its metric",
        "trainmark check BASE NEW",
        "regressed 0.50x, by compile time",
        "trainmark/judge/comparison.py",
        "next((change for change in _timed_first(self.changes) if change.verdict == self.verdict), None)",
        "self.time",
        ("tests/judge/test_beside.py::test_every_table_shows_the_number_of_the_metric_that_has_the_verdict",),
    ),
    Mend(
        "the accuracy is evaluated as in the lecture",
        "pytest bench -k accuracy",
        "under inference_mode",
        "trainmark/measure/training.py",
        "@torch.no_grad()\ndef evaluate(",
        "@torch.inference_mode()\ndef evaluate(",
        ("tests/advise/test_grad_mode.py::test_the_accuracy_is_evaluated_under_no_grad_as_in_the_lecture",),
    ),
    Mend(
        "a slow moment is flagged",
        "pytest bench -k train",
        "76.1 ms without a flag, where minutes before it was 45.3",
        "trainmark/measure/session.py",
        "((FLAG,) if ratio > LIMIT else ())",
        "()",
        ("tests/measure/test_session.py::test_a_cell_is_flagged_where_the_machine_was_slower_than_at_its_best",),
    ),
    Mend(
        "n-gram models: ends of words that leave the text are refused",
        "python -m models.ngram export MODEL -o model.arpa",
        "ended by SIGSEGV",
        "models/ngram/soundness.py",
        "    if ends[0] <= 0 or np.any(ends[1:] <= ends[:-1]) or ends[-1] != len(data):",
        "    if False:",
        ("tests/models/ngram/test_ngram_storage.py::test_what_no_model_can_have_is_refused_even_without_checksums",),
    ),
    Mend(
        "n-gram models: a word that is none of the vocabulary is refused",
        "python -m models.ngram export MODEL -o model.arpa",
        "IndexError, or another word",
        "models/ngram/soundness.py",
        "        if len(words) and int(words.max()) >= size:",
        "        if False:",
        ("tests/models/ngram/test_ngram_storage.py::test_what_no_model_can_have_is_refused_even_without_checksums",),
    ),
    Mend(
        "n-gram models: a number that is no logarithm of a probability is refused",
        "python -m models.ngram score MODEL TEXT",
        "perplexity nan",
        "models/ngram/soundness.py",
        "    if not np.all(probabilities <= 0) or (fitted and np.any(np.isneginf(probabilities))):",
        "    if False:",
        ("tests/models/ngram/test_ngram_storage.py::test_what_no_model_can_have_is_refused_even_without_checksums",),
    ),
    Mend(
        "n-gram models: a byte that has changed is seen",
        "python -m models.ngram score MODEL TEXT",
        "perplexity 7.8864 instead of 7.8730, and no word of it",
        "models/ngram/storage.py",
        "            if hashlib.sha256(stored[name].file.data).hexdigest() != checksum:",
        "            if False:",
        ("tests/models/ngram/test_ngram_storage.py::test_no_bit_of_a_stored_model_changes_unseen",),
    ),
    Mend(
        "n-gram models: a header that has changed is seen",
        "python -m models.ngram score MODEL TEXT",
        "another alpha, another perplexity, and no word of it",
        "models/ngram/storage.py",
        "    if digest is not None and header.checksum != digest:",
        "    if False:",
        ("tests/models/ngram/test_ngram_storage.py::test_no_bit_of_a_stored_model_changes_unseen",),
    ),
    Mend(
        "n-gram models: a header that is nested too deep is refused",
        "python -m models.ngram score MODEL TEXT",
        "RecursionError",
        "models/ngram/storage.py",
        "    except RecursionError as error:",
        "    except ZeroDivisionError as error:",
        ("tests/models/ngram/test_ngram_storage.py::test_a_header_of_any_kind_is_refused_in_a_sentence",),
    ),
    Mend(
        "n-gram models: what is no file is told so, and neither read nor waited for",
        "python -m models.ngram score MODEL TEXT, with a pipe or a device in place of an array",
        "no end",
        "models/ngram/stored_arrays.py",
        "        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for",
        "        if path.is_dir() or path.is_fifo():",  # without the pipe: its test would not end
        ("tests/models/ngram/test_ngram_storage.py::test_what_is_no_file_is_not_waited_for",),
    ),
    Mend(
        "n-gram models: a text that ends with a space has its last sentence closed",
        "printf 'a b ' > TEXT; python -m models.ngram fit TEXT -o MODEL",
        "ValueError: the last sentence is not closed by the boundary's id, 0",
        "models/ngram/text.py",
        "    if filled or not closed:",
        "    if filled:",
        ("tests/models/ngram/test_ngram_text.py::test_a_text_that_ends_with_a_space_ends_with_a_line_feed_as_well",),
    ),
    Mend(
        "ARPA: a word keeps its id whatever it holds",
        "python -m models.ngram score MODEL.arpa TEXT, with a word x\\x1fy",
        "each word after it had the probability of the next",
        "models/ngram/encoding.py",
        "        encoder.insert(vocabulary)",
        '        encoder.encode(" ".join(list(vocabulary)[len(SPECIAL) :]).encode())',
        ("tests/models/ngram/test_ngram_arpa.py::test_a_word_is_whole_whatever_stands_in_it",),
    ),
    Mend(
        "ARPA: parts stand between spaces and tabs alone",
        "python -m models.ngram score MODEL.arpa TEXT, with a word x\\x0by",
        "line 9: expected a logarithm, 1 word",
        "models/ngram/arpa.py",
        r'    if b"\v" in line or b"\f" in line:',
        "    if False:",
        ("tests/models/ngram/test_ngram_arpa.py::test_a_word_is_whole_whatever_stands_in_it",),
    ),
    Mend(
        "ARPA: <UNK> of a text is <unk>",
        "python -m models.ngram score MODEL.arpa TEXT, exported of a text with <UNK>",
        "line 12: the n-gram stands in the file twice",
        "models/ngram/encoding.py",
        "        for word in reversed(unknown_words):",
        "        for word in unknown_words[:1]:",
        ("tests/models/ngram/test_ngram_arpa.py::test_both_unknown_words_in_a_text_are_one_and_its_export_is_read",),
    ),
    Mend(
        "ARPA: more n-grams than a model can have are refused at their line",
        "python -m models.ngram score MODEL.arpa TEXT, with ngram 2=100000000000",
        "memory does not suffice: fit has --memory",
        "models/ngram/arpa.py",
        "        if len(found[2]) > len(str(MOST_NGRAMS)) or int(found[2]) > MOST_NGRAMS:",
        "        if False:",
        ("tests/models/ngram/test_ngram_arpa.py::test_a_mistake_in_a_file_is_named_by_its_line",),
    ),
    Mend(
        "ARPA: what float() takes beside numbers is told",
        "python -m models.ngram score MODEL.arpa TEXT, with -1_0",
        "it was read as -10",
        "models/ngram/arpa.py",
        '    if b" ".join(found).translate(None, PLAIN) and not all(map(NUMBER.fullmatch, found)):',
        "    if False:",
        ("tests/models/ngram/test_ngram_arpa.py::test_a_mistake_in_a_file_is_named_by_its_line",),
    ),
    Mend(
        "ARPA: a file is compressed by its name",
        "python -m models.ngram export MODEL -o model.arpa.gz",
        "a text named .gz",
        "models/ngram/compressed_files.py",
        "    elif path.suffix in COMPRESSED_SUFFIXES:",
        "    elif False:",
        ("tests/models/ngram/test_ngram_arpa.py::test_a_file_is_compressed_by_the_ending_of_its_name",),
    ),
    Mend(
        "ARPA: a compressed file is read to its checksum",
        "python -m models.ngram score MODEL.arpa.gz TEXT, with a byte changed",
        "it was read, and another perplexity told",
        "models/ngram/arpa.py",
        "        lines.finish()",
        "        pass",
        ("tests/models/ngram/test_ngram_arpa.py::test_a_compressed_file_is_held_against_its_checksum_to_the_end",),
    ),
    Mend(
        "ARPA: what stands before the header is passed over",
        "python -m models.ngram score MODEL.arpa TEXT, with a comment in its first line",
        "line 1: an ARPA file begins with \\data\\",
        "models/ngram/arpa.py",
        "        if not (line := lines.filled()):",
        "        if True:",
        ("tests/models/ngram/test_ngram_arpa.py::test_what_kenlm_or_srilm_reads_is_read",),
    ),
    Mend(
        "ARPA: blank lines are passed over",
        "python -m models.ngram score MODEL.arpa TEXT, with blank lines",
        "line 9: expected a logarithm, 1 word",
        "models/ngram/arpa_lines.py",
        "            if not line.isspace():",
        "            if True:",
        ("tests/models/ngram/test_ngram_arpa.py::test_what_kenlm_or_srilm_reads_is_read",),
    ),
    Mend(
        "ARPA: a line has an end",
        "python -m models.ngram score /dev/zero TEXT",
        "all of the file was read into memory",
        "models/ngram/arpa_lines.py",
        "        if end - self._begin > LINE_BYTES or (found < 0 and end - self._begin == LINE_BYTES):",
        "        if False:",
        ("tests/models/ngram/test_ngram_arpa.py::test_a_file_without_line_feeds_is_not_read_whole",),
    ),
    Mend(
        "n-gram models: a context is parted like a text",
        'model.probability("c", "a\\u00a0b")',
        "the probability after b",
        "models/ngram/language_model.py",
        "        words = split_words(context) if isinstance(context, str)",
        "        words = context.split() if isinstance(context, str)",
        ("tests/models/ngram/test_ngram_arpa.py::test_a_context_is_parted_into_the_words_that_a_text_is_parted_into",),
    ),
    Mend(
        "processes: a copy of one that has ended holds up nothing",
        "pytest bench --model nets:net, whose factory forks a sleeping daemon and exits",
        "silent until it was killed from outside",
        "trainmark/measure/worker.py",
        "        return child.exitcode is not None\n",
        "        return False\n",
        ("tests/measure/test_worker.py::test_a_copy_of_a_process_that_has_ended_holds_up_nothing_and_ends_too",),
    ),
    Mend(
        "processes: a daemon ends with its cell",
        "pytest bench --model nets:net, which leaves a process in a session of its own",
        "it ran on, beside all cells to come",
        "trainmark/measure/worker.py",
        "            processes.adopt_orphans()",
        "            pass",
        ("tests/measure/test_worker.py::test_a_daemon_that_a_call_has_left_is_told_and_ended[fork]",),
    ),
    Mend(
        "processes: one that closes its files is told",
        "pytest bench --model nets:net, which calls os.closerange",
        "left with exit code 1 and no result",
        "trainmark/measure/worker.py",
        "        if self._is_open():",
        "        if True:",
        ("tests/measure/test_worker.py::test_a_call_that_closes_every_file_still_ends_with_its_value",),
    ),
    Mend(
        "processes: the import of a model has a deadline",
        "pytest bench --model nets:net --timeout 10, with time.sleep(600) at the top of nets.py",
        "silent for as long as the module sleeps",
        "trainmark/measure/environment.py",
        """"trainmark.measure.environment:facts_of", waiting, limits=Limits(seconds))""",
        """"trainmark.measure.environment:facts_of", waiting)""",
        ("tests/measure/test_environment.py::test_a_module_that_never_ends_is_a_failure_of_its_own_models",),
    ),
    Mend(
        "a model that cannot be imported fails alone",
        "pytest bench --model nets:good,broken:net",
        "nothing was measured",
        "trainmark/measure/environment.py",
        "        if isinstance(error, BrokenModule):",
        "        if False:",
        ("tests/measure/test_environment.py::test_a_module_that_cannot_be_imported_is_a_failure_of_its_own_models",),
    ),
    Mend(
        "what others say is shown in print",
        "pytest bench --model nets:net, which prints 100 MB in one line, with control characters",
        "all of it went through the terminal",
        "trainmark/measure/worker.py",
        "[excerpt(line, LOG_LINE) for line in",
        "[line for line in",
        ("tests/measure/test_worker.py::test_what_a_call_says_is_kept_in_print_and_within_bounds",),
    ),
    Mend(
        "a journal that is deleted is written anew",
        "rm results/journal/*.jsonl during pytest bench",
        "the records went into a file without a name",
        "trainmark/store/lines.py",
        "            self._restore()",
        "            pass",
        ("tests/store/test_journal.py::test_a_journal_that_somebody_deletes_is_written_anew_with_all_that_it_held",),
    ),
    Mend(
        "files: a link to nothing stops no run",
        "pytest bench, with a link in results/ whose file is gone",
        "FileNotFoundError, INTERNALERROR, and nothing was measured",
        "trainmark/store/documents.py",
        "        if path.is_symlink():",
        "        if False:",
        ("tests/store/test_ranges.py::test_what_is_no_file_of_a_run_is_told_at_once_and_left_out",),
    ),
    Mend(
        "files: what lies there and is not gone for a moment alone is told before the first cell",
        "pytest bench, with filterwarnings = error and a damaged run in results/",
        "the warning was an error, and nothing was measured",
        "trainmark/measure/session.py",
        "read_runs(newest, self.notes.append)",
        "read_runs(newest)",
        ("tests/measure/test_session.py::test_a_damaged_run_stops_no_other_and_is_told_before_the_first_cell",),
    ),
    Mend(
        "files: what the types of a record do not tell is looked at as well",
        "trainmark html, of a run whose threads are a list",
        "a traceback",
        "trainmark/store/record.py",
        "        _check_facts(record)\n",
        "",
        ("tests/store/test_ranges.py::test_a_record_with_what_nothing_measured_is_left_out_by_name",),
    ),
    Mend(
        "files: a record that cannot be read is left out, and the others are read",
        "trainmark check OLD NEW, with an integer of 400 digits in a record of another run",
        "OverflowError: int too large to convert to float",
        "trainmark/store/record.py",
        """            damaged.append(f"record {number}{_named(one)}: {error}")""",
        "            raise",
        ("tests/store/test_ranges.py::test_a_record_with_what_nothing_measured_is_left_out_by_name",),
    ),
    Mend(
        "files: a number has the range of its kind",
        "trainmark check OLD NEW, with an accuracy of 5.0 and a step of -1 s",
        "No regression",
        "trainmark/store/record.py",
        "            if value is not None and value not in METRICS[name].range:",
        "            if isinstance(value, float) and not math.isfinite(value):",
        ("tests/store/test_ranges.py::test_a_record_with_what_nothing_measured_is_left_out_by_name",),
    ),
    Mend(
        "files: of two records of one benchmark neither counts",
        "trainmark check OLD NEW, with a record twice",
        "the last one was compared, and no word of it",
        "trainmark/store/record.py",
        "    kept = tuple(record for record in read if keys[record.key] == 1)",
        "    kept = tuple({record.key: record for record in read}.values())",
        ("tests/store/test_ranges.py::test_of_two_records_of_one_benchmark_neither_counts",),
    ),
    Mend(
        "files: ok needs something that was measured",
        "trainmark check OLD NEW, with a record without metrics",
        "1 of 1 cells compared",
        "trainmark/store/record.py",
        """        if record.status == "ok" and all(value is None for value in document["metrics"].values()):""",
        "        if False:",
        ("tests/store/test_ranges.py::test_ok_needs_something_that_was_measured",),
    ),
    Mend(
        "texts: a moment is one",
        "trainmark markdown, with <img src=x> for the moment of the run",
        "the element was in the comment",
        "trainmark/store/record.py",
        """        moment(found.started, "started")""",
        "        pass",
        ("tests/store/test_ranges.py::test_a_run_with_facts_that_none_has_is_refused",),
    ),
    Mend(
        "texts: no cell of the CSV is a formula",
        "trainmark html, with a model named =1+1",
        "a spreadsheet computed it",
        "trainmark/export/numbers.py",
        """    return f"'{text}" if text.startswith(_FORMULA) else text""",
        "    return text",
        ("tests/export/test_hostile_texts.py::test_a_text_of_others_stays_a_text_in_every_format",),
    ),
    Mend(
        "texts: JUnit is XML",
        "trainmark check OLD NEW --junit verdict.xml, with an escape character in a name",
        "no parser read it",
        "trainmark/export/formats.py",
        r"""{name: NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text) for name, text in attributes.items()}""",
        "attributes",
        ("tests/export/test_hostile_texts.py::test_a_text_of_others_stays_a_text_in_every_format",),
    ),
    Mend(
        "texts: JSON is strict",
        "trainmark check OLD NEW --json verdict.json, with NaN among the facts of a machine",
        "NaN, which JSON does not have",
        "trainmark/store/documents.py",
        """    raise ValueError(f"{word} is no finite number")""",
        "    return float(word)  # type: ignore[misc]",
        ("tests/store/test_ranges.py::test_what_json_has_not_is_no_document",),
    ),
    Mend(
        "texts: a terminal is given no commands",
        "trainmark compare OLD NEW, with an escape character in a reason",
        "it coloured, or cleared, the terminal",
        "trainmark/cli.py",
        "    print(formatting.for_terminal(str(text)), file=stream)",
        "    print(text, file=stream)",
        ("tests/test_cli.py::test_a_message_with_text_of_others_is_no_command_to_a_terminal",),
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
