"""What is read of stored runs: trainmark {html,recommend,compare,check,markdown,merge,history,bisect,...}."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import signal
import sys
import warnings
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from trainmark import formatting, git, suite
from trainmark.advise import phrases
from trainmark.advise.baseline import offered
from trainmark.against.bisect import BisectError, bisect
from trainmark.against.places import CONFTEST, SideError
from trainmark.export import essentials, markdown, terminal
from trainmark.export import formats as exports
from trainmark.judge.change_points import change_points
from trainmark.judge.comparison import Comparison, compare, compare_paired, control_floor
from trainmark.judge.explanation import NoProfile, explain, find_profile, fitting, leading_operators, profiles_of
from trainmark.judge.flame import Difference, Profiled, differences, of_settings, sentence
from trainmark.judge.margins import MarginError, Margins, parse_share
from trainmark.judge.policy import COUNTS, POLICIES, Policy
from trainmark.judge.verdict import FINE, NOT_COMPARABLE, USAGE, Verdict, judge
from trainmark.named import canonical
from trainmark.scaffold import ScaffoldError, folder_of, make_suite
from trainmark.store.documents import SchemaError
from trainmark.store.files import write_text
from trainmark.store.merging import CannotMerge, find_parts, merge, read_part, store_merged
from trainmark.store.nodes import MARGIN as NODE_MARGIN
from trainmark.store.pairs import (
    PairedRun,
    find_paired,
    is_paired,
    named_paired,
    read_paired_run,
    read_paired_runs,
)
from trainmark.store.profiles import read_timeline, timeline_path, trace_path
from trainmark.store.record import Run
from trainmark.store.runs import (
    AmbiguousName,
    RunNotFound,
    UnreadableRun,
    artifact_folder,
    find_run,
    is_file,
    named_runs,
    read_run,
    read_runs,
    run_files,
)
from trainmark.units import parse_count, parse_size
from trainmark.workloads import of_role

RUN = "a file, a part of its name, its number, or latest"
PAIRED = "a run of --against, by its file or its SIDE"
CELL = "words of its label or join key, such as: train cnn 128"
HISTORY_RUNS = 12  # stored ones that a page draws the history of
TOP = 20  # rows that fit a terminal
INTERRUPTED = 130  # as a shell tells it
# What becomes of a check where neither the call nor the suite's table says it:
JUDGED = {"inconclusive": "warn", "missing": "fail", "changed": None, "counts": "pass"}
NO_SIDE = 4  # a commit that cannot be measured beside this one: pytest's code for --against too


class EmptyRun(ValueError):
    """A run that holds no record."""


class NothingToRecommend(LookupError):
    """No training fits what was asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Returns:
        0 fine, 1 regression, 2 usage, 3 not comparable or undecided, 4 a commit that cannot be measured,
        130 interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        opened = suite.current()  # what it measures has a line, tables and pictures of its own
    except suite.SuiteError as error:
        _say(formatting.readable(error), sys.stderr)
        return USAGE
    if getattr(options, "results", "") is None:
        options.results = _from_here(opened.root / opened.results)
    for name, default in JUDGED.items():
        if getattr(options, name, "") is None:
            setattr(options, name, opened.options.get(name, default))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a sign shows the rest
    commands = {
        "html": _html,
        "compare": _compare,
        "check": _check,
        "history": _history,
        "bisect": _bisect,
        "init": _init,
        "profile": _profile,
        "diff-profile": _diff_profile,
        "list": _list,
        "markdown": _markdown,
        "merge": _merge,
        "recommend": _recommend,
    }
    try:
        with _warnings_in_a_line():
            code = commands[options.command](options)
        sys.stdout.flush()  # while what goes wrong can still be said
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever reads has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except CannotMerge as error:
        _say(formatting.readable(error), sys.stderr)
        return NOT_COMPARABLE
    except (
        RunNotFound,
        UnreadableRun,
        EmptyRun,
        NoProfile,
        NothingToRecommend,
        SchemaError,
        BisectError,
        ScaffoldError,
    ) as error:
        _say(formatting.readable(error), sys.stderr)
    except OSError as error:
        if error.filename is None:  # what was printed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _say(f"{error.filename or 'standard output'}: {error.strerror}. Name another file or folder.", sys.stderr)
    return USAGE


def _say(text: object, stream: TextIO | None = None) -> None:
    """Prints what may hold text of others: the one way in which a command does."""
    print(formatting.for_terminal(str(text)), file=stream)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """What was left out is said in a sentence, without the line of code that says it."""
    usual = warnings.formatwarning

    def in_a_line(message: Warning | str, category: type[Warning], *_where: object) -> str:
        said = f"warning: {message}" if category is UserWarning else f"{category.__name__}: {message}"
        return f"{formatting.for_terminal(formatting.readable(said))}\n"

    warnings.formatwarning = in_a_line  # type: ignore[assignment]  # it takes what the usual one takes
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _from_here(path: Path) -> Path:
    """The path as one would write it in the folder one stands in."""
    here = Path.cwd()
    return path.relative_to(here) if here == path or here in path.parents else path


def _html(options: argparse.Namespace) -> int:
    # Here, so that the other commands need not load the plots:
    from trainmark.advise.recommend import advise
    from trainmark.export.numbers import as_csv, as_json_lines
    from trainmark.page import compile_modes_section, flame_graph
    from trainmark.page.html import render, render_paired
    from trainmark.page.sections import sections_of

    output: Path = options.output or options.results / "report.html"
    paired = _paired_file(options.run[0] if options.run else "latest", options.results)
    if paired is not None:
        if options.run[1:] or options.baseline is not None:
            raise RunNotFound(f"{paired.stem} was measured against its base: name it alone.")
        both = read_paired_run(paired)
        return _write({output: render_paired(both, _paired_comparison(both, options))}, output, options)
    files = [find_run(name, options.results) for name in options.run or ["latest"]]
    runs = [_read(file) for file in files]
    baseline = _baseline(files[0], options)
    comparison = _comparison(baseline, runs[0], options) if baseline else None
    known = {file.resolve() for file in files}
    others = [] if options.run[1:] else run_files(options.results)[-HISTORY_RUNS:]
    stored = read_runs(file for file in others if file.resolve() not in known)
    history = [*runs, *(run for run in stored if run.facts.id not in {one.facts.id for one in runs})]
    offer = offered(runs[0], stored) if comparison is None else None
    numbers = {
        output.with_suffix(".jsonl"): as_json_lines(
            runs[0], comparison, advise(runs[0].records), suite.current().benchmarks
        ),
        output.with_suffix(".csv"): as_csv(runs[0]),
    }
    page = render(
        runs,
        comparison,
        leading_operators(files[0]),
        output.parent,
        [
            *compile_modes_section.sections(runs[0].records),
            *flame_graph.sections(_differing(files[0], comparison, options)),
            *sections_of(artifact_folder(files[0])),
        ],
        [file.name for file in numbers],
        history,
        baseline=baseline,
        offer=offer,
        offer_command="" if offer is None else _comparing(offer.run, runs[0], options),
    )
    return _write({**numbers, output: page}, output, options)


def _differing(file: Path, comparison: Comparison | None, options: argparse.Namespace) -> list[Difference]:
    """What a page explains by its operators: profiles against those of the base, and settings against each other."""
    profiled = _profiled(file)
    if comparison is None:
        return of_settings(profiled)
    base = _profiled(find_run(options.baseline, options.results))
    return [*differences(base, profiled, comparison), *of_settings(profiled)]


def _profiled(file: Path) -> Profiled:
    return Profiled(artifact_folder(file), _stored(file).records)


def _comparing(base: Run, new: Run, options: argparse.Namespace) -> str:
    """The command that gives the page with a verdict."""
    words = ["trainmark", "html", new.name, "--baseline", base.name]
    if options.results != _from_here(suite.current().root / suite.current().results):
        words += ["--results", str(options.results)]
    return shlex.join(words)


def _write(texts: Mapping[Path, str], page: Path, options: argparse.Namespace) -> int:
    for file, text in texts.items():
        write_text(file, text)
    _say(page)
    if options.open:
        webbrowser.open(page.absolute().as_uri())
    return FINE


def _paired_file(name: str, folder: Path) -> Path | None:
    """The file of the paired run of that name; None where a stored run has it."""
    file = _file(name, folder)
    return file if is_paired(file) else None


def _file(name: str, folder: Path) -> Path:
    """The file of a stored or a paired run: of that very name before one that has it as a part.

    Raises:
        RunNotFound: None has it, or several have.
    """
    if name.strip() and not is_file(name) and not named_runs(name, folder):
        exact = named_paired(name, folder)
        if exact:
            return exact[0]
    try:
        return find_run(name, folder)
    except AmbiguousName:
        raise
    except RunNotFound:
        paired = find_paired(name, folder)
        if paired is None:
            raise
        return paired


def _recommend(options: argparse.Namespace) -> int:
    from trainmark.advise.answer import answers, goals_beside  # here, so that the other commands need not load scipy
    from trainmark.advise.recommend import advise

    run = _run(options.run, options.results)

    found = answers(run.records) if options.goal in (None, "time") and options.max_memory is None else []
    told = [essentials.answer_text(one) for one in found if options.model in (None, one.model)]
    for one in advise(run.records, options.max_memory) if options.goal != "time" else ():
        if options.model in (None, one.model):
            goals = (options.goal,) if options.goal else goals_beside(found, one.model, one.device)
            told.append(essentials.advice_text(one, goals))
    if not told:
        raise NothingToRecommend(_nothing(run, options))
    _say("\n\n".join(told))
    return FINE


def _nothing(run: Run, options: argparse.Namespace) -> str:
    trained = dict.fromkeys(str(one.cell["model"]) for one in of_role("training", run.records))
    name = formatting.plain(run.name)
    if options.goal == "time" and options.max_memory is None:
        return f"{name} has no answer of it: measure one: pytest bench -k 'train or answer' --benchmark-autosave"
    if options.model is not None and options.model not in trained:
        listed = formatting.plain(", ".join(trained)) or "none"
        return f"{name} has no training of {formatting.plain(options.model)}; it has {listed}."
    missing = f"{name} has no training in the default setting ({phrases.DEFAULT})"
    return f"{missing}: measure it beside the others: pytest bench --benchmark-autosave"


def _markdown(options: argparse.Namespace) -> int:
    file = _file(options.run, options.results)
    if is_paired(file) and options.baseline is None:
        both = read_paired_run(file)
        _say(essentials.essentials(_read(file), _paired_comparison(both, options)))
    else:
        _say(essentials.essentials(_read(file), _against_baseline(file, options)))
    return FINE


def _against_baseline(file: Path, options: argparse.Namespace) -> Comparison | None:
    """The run held against the one that ``--baseline`` names; None where it names none."""
    base = _baseline(file, options)
    return _comparison(base, _stored(file), options) if base else None


def _baseline(file: Path, options: argparse.Namespace) -> Run | None:
    """The run that ``--baseline`` names; None where it names none."""
    if options.baseline is None:
        return None
    base = find_run(options.baseline, options.results)
    _refuse_same(base, file)
    return _stored(base)


def _compare(options: argparse.Namespace) -> int:
    base, new = _two_files(options)
    _say(terminal.comparison_table(_comparison(_stored(base), _stored(new), options)))
    return FINE


def _check(options: argparse.Namespace) -> int:
    explained: list[Difference] = []
    if options.new is None:
        comparison = _paired_comparison(_paired_run(options.base, options.results), options)
    else:
        base, new = _two_files(options)
        comparison = _comparison(_stored(base), _stored(new), options)
        explained = differences(_profiled(base), _profiled(new), comparison)
    verdict = judge(comparison, Policy(options.inconclusive, options.missing, options.changed))
    _say(terminal.check_summary(verdict, comparison))
    _export(verdict, comparison, explained, options)
    return verdict.exit_code


def _two_files(options: argparse.Namespace) -> tuple[Path, Path]:
    """Files of a base and of a new run.

    Raises:
        RunNotFound: One is not there, or both are the same.
    """
    base, new = (find_run(name, options.results) for name in (options.base, options.new))
    _refuse_same(base, new)
    return base, new


def _refuse_same(base: Path, new: Path) -> None:
    """A run is no base of itself: nothing could differ."""
    if base.resolve() == new.resolve():
        raise RunNotFound(f"Both names are of the same run, {base.stem}: name two.")


def _paired_run(name: str, folder: Path) -> PairedRun:
    file = find_paired(name, folder)
    if file is None:
        raise RunNotFound(
            f'No paired run named "{name}" in {folder}. '
            "Measure one: pytest bench --against COMMIT; or name two stored runs: check BASE NEW"
        )
    return read_paired_run(file)


def _paired_comparison(run: PairedRun, options: argparse.Namespace) -> Comparison:
    if not run.new.records:
        raise EmptyRun(f"{run.name} holds no record: it was interrupted early. Measure it again with --against")
    try:
        measured_for = Margins.parse(run.margins) if run.margins else _margins_of_table()
    except MarginError as error:
        raise UnreadableRun(f"{run.name}: its margins are none: {error}") from error
    margins = options.margin or measured_for or Margins()
    floor = control_floor(read_paired_runs(options.results), run.new.environment.get("fingerprint"))
    return compare_paired(run, margins.with_floor(floor), counts_decide=options.counts == "fail")


def _export(
    verdict: Verdict, comparison: Comparison, explained: Sequence[Difference], options: argparse.Namespace
) -> None:
    """Writes what was asked for; what is for GitHub goes to the log and to the step's summary."""
    texts: dict[str, Callable[[], str]] = {
        "json": lambda: exports.to_json(verdict, comparison),
        "junit": lambda: exports.to_junit(verdict, comparison),
        "markdown": lambda: markdown.render(verdict, comparison, explained=explained),
        "github_benchmark": lambda: exports.to_github_action_benchmark(comparison),
        "bencher": lambda: exports.to_bencher(comparison),
        "openmetrics": lambda: exports.to_openmetrics(comparison),
    }
    for name, text in texts.items():
        file: Path | None = getattr(options, name)
        if file is not None:
            write_text(file, text())
    if options.github:
        print(exports.to_github_annotations(verdict, comparison), end="")
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(markdown.render(verdict, comparison, explained=explained))


def _merge(options: argparse.Namespace) -> int:
    named = [Path(name) if Path(name).exists() else find_run(name, options.results) for name in options.run]
    files = dict.fromkeys(file for path in named for file in find_parts(path))
    parts = (read_part(file, lambda told: _say(told, sys.stderr)) for file in files)
    found = merge(parts, margin=options.node_margin, apart=options.apart)
    for merged in found:
        for told in merged.told:
            _say(told, sys.stderr)
        _say(store_merged(merged, options.results))
    return FINE if all(merged.run.facts.complete for merged in found) else NOT_COMPARABLE


def _history(options: argparse.Namespace) -> int:
    runs = sorted(read_runs(run_files(options.results)), key=lambda run: run.facts.started)
    latest = runs[-1] if runs else None
    if latest is None:
        raise RunNotFound(f"No runs in {options.results}. Record one: pytest bench --benchmark-autosave")
    fingerprint = options.fingerprint or latest.environment.get("fingerprint")
    same = [run for run in runs if run.environment.get("fingerprint") == fingerprint]
    _say(terminal.history_table(change_points(same), same))
    return FINE


def _init(options: argparse.Namespace) -> int:
    folder = Path.cwd()
    written = make_suite(folder, options.model, options.folder)
    for file in written:
        print(f"wrote {_from_here(file)}")
    if not written:
        print("Nothing to do: this project is a suite already.")
    made = suite.read_suite(folder)
    names = made.models if isinstance(made.models, tuple) else ()
    nowhere = [name for name in names if folder_of(name.partition(":")[0], folder) is None]
    for name in nowhere:
        print(f"No module of this project is named as {name} has it: install it, or add its folder to pythonpath.")
    top = git.top_of(folder)
    if top not in (None, folder.resolve()):
        within = folder.resolve().relative_to(top)
        print(
            f"This is not the top of its repository, where pytest stops at such a {CONFTEST}: there call "
            f"pytest {within / made.benchmarks} for the benchmarks, and add --ignore={within} for all else."
        )
    named = "" if made.models else " --model package.module:factory"
    print(f"Measure it:       pytest {made.benchmarks} --benchmark-autosave{named}")
    print(f"Compare a change: pytest {made.benchmarks} --against main{named}, once these files are committed there")
    print(f"Runs land in {made.results}/, which git need not track. Their page: trainmark html")
    return FINE


def _bisect(options: argparse.Namespace) -> int:
    ours = suite.current()
    for name in ("SIGTERM", "SIGHUP"):  # the search has a session of its own, which must be told to end
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        found = bisect(
            options.good,
            options.bad,
            options.arguments,
            ours.root,
            lambda line: print(line, file=sys.stderr),
            ours.benchmarks,
            _defaults_of_a_search(ours),
        )
    except SideError as error:
        _say(formatting.readable(error), sys.stderr)
        return NO_SIDE
    _say(found)
    return FINE


def _defaults_of_a_search(ours: suite.Suite) -> dict[str, object]:
    """What the table says of a comparison: each commit is checked by it, and not by the table that it has itself."""
    told = {name: value for name, value in ours.options.items() if name != "inconclusive"}  # a search needs a decision
    if "data_root" in told:
        told["data_root"] = ours.root / Path(told["data_root"]).expanduser()
    return told


def _profile(options: argparse.Namespace) -> int:
    file = _file(options.run, options.results)
    profile = find_profile(options.cell, profiles_of(file))
    _say(terminal.profile_table(profile, options.top))
    trace = trace_path(artifact_folder(file), profile.key)
    if trace.exists():
        _say(f"A trace of some steps, which Perfetto opens: {trace}")
    memory = timeline_path(artifact_folder(file), profile.key)
    if memory.exists():
        _say(terminal.timeline_line(read_timeline(memory), memory))
    return FINE


def _diff_profile(options: argparse.Namespace) -> int:
    base_file, new_file = _two_files(options)
    base = {profile.key: profile for profile in profiles_of(base_file)}
    new = profiles_of(new_file)
    common = [profile for profile in new if profile.key in base]
    if not common:
        raise NoProfile(
            f"No cell has a profile in both {base_file.stem} and {new_file.stem}: "
            "measure the same cells in both: pytest bench --profile"
        )
    chosen = fitting(options.cell, common) if options.cell else common
    said = {one.key: sentence(one) for one in differences(_profiled(base_file), _profiled(new_file))}
    tables = {one.key: terminal.explanation_table(explain(base[one.key], one), options.top) for one in chosen}
    _say("\n\n".join(f"{table}\n{said[key]}" if key in said else table for key, table in tables.items()))
    if len({_fingerprint(file) for file in (base_file, new_file)}) > 1:
        print("\nThe runs differ in machine or software: what differs may come from there.")
    left_out = len(base.keys() ^ {profile.key for profile in new})
    if left_out and not options.cell:
        print(f"\n{left_out} profiled {'cell is' if left_out == 1 else 'cells are'} in one of the runs alone.")
    return FINE


def _fingerprint(file: Path) -> str:
    return str(read_run(file).environment.get("fingerprint"))


def _list(options: argparse.Namespace) -> int:
    _say(terminal.runs_table(run_files(options.results), options.results))
    return FINE


def _run(name: str, folder: Path) -> Run:
    return _read(_file(name, folder))


def _read(file: Path) -> Run:
    """The run in a file; of two sides measured together that of the working tree."""
    return _held(read_paired_run(file).new) if is_paired(file) else _stored(file)


def _stored(file: Path) -> Run:
    return _held(read_run(file))


def _held(run: Run) -> Run:
    if not run.records:
        raise EmptyRun(f"{run.name} holds no record: it was interrupted early. Measure it again: pytest bench")
    return run


def _comparison(base: Run, new: Run, options: argparse.Namespace) -> Comparison:
    """With the runs of the folder as history, but for the two themselves."""
    stored = read_runs(run_files(options.results))
    earlier = sorted((run for run in stored if run.facts.id != new.facts.id), key=lambda run: run.facts.started)
    return compare(
        base,
        new,
        margins=options.margin or _margins_of_table(),
        allow_different_machine=options.allow_different_machine,
        history=earlier,
        counts_decide=options.counts == "fail",
    )


def _margins_of_table() -> Margins | None:
    """What the suite's table says of margins; None where it says nothing."""
    told = suite.current().options.get("margin")
    return Margins.parse(told) if told else None


def _judged() -> argparse.ArgumentParser:
    """Options of the commands that compare."""
    judged = argparse.ArgumentParser(add_help=False)
    judged.add_argument(
        "--margin",
        type=margins,
        metavar="SHARE,...",
        help="how much a time may differ before it counts as changed (default 3%%); for some cells another: "
        "3%%,train cnn=5%%",
    )
    judged.add_argument(
        "--allow-different-machine",
        action="store_true",
        help="where the environments differ, compare exact counts and accuracy all the same",
    )
    judged.add_argument(
        "--counts", choices=COUNTS, help="counts that explain a time: told (default), or judged exactly (fail)"
    )
    return judged


def _parser() -> argparse.ArgumentParser:
    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument("--results", type=Path, metavar="DIR", help="where the runs are (default: the suite's results)")

    judged = _judged()

    parser = argparse.ArgumentParser(prog="trainmark", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    html = commands.add_parser("html", parents=[stored, judged], help="one offline page with tables and plots")
    html.add_argument(
        "run", nargs="*", metavar="RUN", help=f"{RUN} (default: latest); the first is the subject, or {PAIRED}"
    )
    html.add_argument("--baseline", metavar="RUN", help="a run to compare the first with")
    html.add_argument("--open", action="store_true", help="open it in the browser")
    html.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: report.html beside the runs")

    compared = commands.add_parser("compare", parents=[stored, judged], help="what changed, cell by cell")
    compared.add_argument("base", metavar="BASE", help=f"what to compare with: {RUN}")
    compared.add_argument("new", metavar="NEW", help="what is judged, named likewise")

    check = commands.add_parser(
        "check",
        parents=[stored, judged],
        help="exit with 1 on a regression, 3 where nothing can be compared or nothing was decided",
    )
    check.add_argument("base", metavar="BASE", help=f"what to compare with: {RUN}; alone, {PAIRED}")
    check.add_argument("new", nargs="?", metavar="NEW", help="what is judged, named likewise")
    check.add_argument("--inconclusive", choices=POLICIES, help="cells that are not decided (default warn)")
    check.add_argument("--missing", choices=POLICIES, help="cells that are no longer there (default fail)")
    check.add_argument(
        "--changed", choices=POLICIES, help="cells that compute something else (default warn; fail against self)"
    )
    for option, told in (
        ("--json", "everything that was found"),
        ("--junit", "JUnit XML"),
        ("--markdown", "a comment for a pull request"),
        ("--github-benchmark", "customSmallerIsBetter of github-action-benchmark"),
        ("--bencher", "Bencher Metric Format"),
        ("--openmetrics", "OpenMetrics text, for GitLab"),
    ):
        check.add_argument(option, type=Path, metavar="FILE", help=told)
    check.add_argument("--github", action="store_true", help="annotations in the log, and the summary of the step")

    history = commands.add_parser("history", parents=[stored], help="when the time of a cell changed, over all runs")
    history.add_argument("--fingerprint", metavar="ID", help="of the machine (default: that of the latest run)")

    bisecting = commands.add_parser("bisect", help="which commit made it slower: git bisect with paired checks")
    bisecting.add_argument("good", metavar="GOOD", help="a commit before it became slower")
    bisecting.add_argument("bad", metavar="BAD", help="a commit after")
    bisecting.add_argument("arguments", nargs="*", metavar="OPTION", help="of pytest bench, after --")

    ranked = argparse.ArgumentParser(add_help=False)
    ranked.add_argument(
        "--top", type=_argument(parse_count), default=TOP, metavar="N", help="rows to show (default: %(default)s)"
    )

    profile = commands.add_parser("profile", parents=[stored, ranked], help="where the time of a profiled cell goes")
    profile.add_argument("cell", nargs="+", metavar="CELL", help=f"{CELL}, which fit one cell")
    profile.add_argument("--run", default="latest", metavar="RUN", help=f"{RUN} (default: %(default)s)")

    difference = commands.add_parser(
        "diff-profile", parents=[stored, ranked], help="which operators explain the difference between two runs"
    )
    difference.add_argument("base", metavar="A", help=f"what to explain the difference from: {RUN}")
    difference.add_argument("new", metavar="B", help="what differs, named likewise")
    difference.add_argument("cell", nargs="*", metavar="CELL", help=f"{CELL} (default: every cell of both)")

    recommend = commands.add_parser("recommend", parents=[stored], help="which setting to train with on this machine")
    recommend.add_argument("--run", default="latest", metavar="RUN", help=f"{RUN} (default: %(default)s)")
    recommend.add_argument("--model", type=canonical, metavar="NAME", help="default: each model of the run")
    recommend.add_argument(
        "--goal",
        choices=("time", "speed", "energy", "memory"),
        help="time is that of an equal model; default: each of them",
    )
    recommend.add_argument(
        "--max-memory", type=_argument(parse_size), metavar="SIZE", help="that a setting may take, such as 4GB"
    )

    essential = commands.add_parser(
        "markdown", parents=[stored, judged], help="the essentials of a run, for a terminal or a pull request"
    )
    essential.add_argument("run", nargs="?", default="latest", metavar="RUN", help=f"{RUN} (default: %(default)s)")
    essential.add_argument("--baseline", metavar="RUN", help="a run to compare it with")

    _add_merge(commands.add_parser("merge", parents=[stored], help="one run of shards, of other runs and of journals"))

    commands.add_parser("list", parents=[stored], help="the stored runs")

    init = commands.add_parser("init", help="make the project in this folder a suite")
    init.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="package.module:factory; repeatable",
    )
    init.add_argument("--folder", default="bench", metavar="NAME", help="of the benchmarks (default: %(default)s)")
    return parser


def _add_merge(merging: argparse.ArgumentParser) -> None:
    merging.add_argument("run", nargs="+", metavar="RUN", help=f"{RUN}; a journal; a folder of them")
    merging.add_argument("--apart", action="store_true", help="a run of each machine, where there are several")
    merging.add_argument(
        "--node-margin",
        type=_argument(parse_share),
        default=NODE_MARGIN,
        metavar="SHARE",
        help="how much the fixed work of two nodes may differ until their times decide nothing (default 10%%)",
    )


def margins(text: str) -> Margins:
    """Margins, as argparse reads an option: its name is part of argparse's message."""
    try:
        return Margins.parse(text)
    except MarginError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _argument(parse: Callable[[str], float]) -> Callable[[str], float]:
    """A parser as argparse wants it: argparse names the option in its message."""

    def parsed(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


if __name__ == "__main__":
    sys.exit(main())
