"""What is read of stored runs: python -m reports {html,recommend,compare,check,markdown,profile,...}."""

from __future__ import annotations

import argparse
import io
import math
import re
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from reports import formatting, markdown, terminal
from reports.check import FINE, USAGE, judge
from reports.comparison import TIME_MARGIN, Comparison, compare
from reports.profiles import NoProfile, explain, find_profile, fitting, leading_operators, profiles_of
from results.lecture import find_lecture
from results.profiles import read_timeline, timeline_path, trace_path
from results.record import Run, SchemaError
from results.runs import (
    DEFAULT_FOLDER,
    RunNotFound,
    UnreadableRun,
    artifact_folder,
    find_run,
    read_run,
    read_runs,
    run_files,
)

RUN = "a file, a part of its name, its number, or latest"
CELL = "words of its label or join key, such as: train cnn 128"
HISTORY_RUNS = 12  # stored ones that a page draws the history of
TOP = 20  # rows that fit a terminal


class EmptyRun(ValueError):
    """A run that holds no record."""


class NothingToRecommend(LookupError):
    """No training fits what was asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 fine, 1 regression, 2 usage, 3 not comparable."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a sign shows the rest
    commands = {
        "html": _html,
        "compare": _compare,
        "check": _check,
        "profile": _profile,
        "diff-profile": _diff_profile,
        "list": _list,
        "markdown": _markdown,
        "recommend": _recommend,
    }
    try:
        return commands[options.command](options)
    except (RunNotFound, UnreadableRun, EmptyRun, NoProfile, NothingToRecommend, SchemaError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Name another file or folder.", file=sys.stderr)
    return USAGE


def _html(options: argparse.Namespace) -> int:
    # Here, so that the other commands need not load the plots:
    from reports.html import render
    from reports.lecture import lesson
    from reports.numbers import as_csv, as_json
    from reports.recommend import advise

    files = [find_run(name, options.results) for name in options.run or ["latest"]]
    runs = [_read(file) for file in files]
    comparison = _comparison(_run(options.baseline, options.results), runs[0], options) if options.baseline else None
    output: Path = options.output or options.results / "report.html"
    known = {file.resolve() for file in files}
    others = [] if options.run[1:] else run_files(options.results)[-HISTORY_RUNS:]
    stored = read_runs(file for file in others if file.resolve() not in known)
    history = [*runs, *(run for run in stored if run.facts.id not in {one.facts.id for one in runs})]
    lecture = find_lecture(artifact_folder(files[0]))
    numbers = {
        output.with_suffix(".json"): as_json(runs[0], comparison, advise(runs[0].records)),
        output.with_suffix(".csv"): as_csv(runs[0]),
    }
    page = render(
        runs,
        comparison,
        leading_operators(files[0]),
        output.parent,
        lesson(lecture) if lecture else None,
        [file.name for file in numbers],
        history,
    )
    for file, text in {**numbers, output: page}.items():
        file.write_text(text, encoding="utf-8", errors="replace")
    print(output)
    if options.open:
        webbrowser.open(output.absolute().as_uri())
    return FINE


def _recommend(options: argparse.Namespace) -> int:
    from reports.recommend import advise  # here, so that the other commands need not load scipy

    run = _run(options.run, options.results)
    found = [
        advice
        for advice in advise(run.records, options.max_memory)
        if options.model is None or advice.model == options.model
    ]
    if not found:
        raise NothingToRecommend(_nothing(run, options))
    print("\n\n".join(markdown.advice_text(advice, options.goal) for advice in found))
    return FINE


def _nothing(run: Run, options: argparse.Namespace) -> str:
    trained = dict.fromkeys(str(one.cell["model"]) for one in run.records if one.cell.workload == "train")
    name = formatting.plain(run.name)
    if options.model is not None and options.model not in trained:
        listed = formatting.plain(", ".join(trained)) or "none"
        return f"{name} has no training of {formatting.plain(options.model)}; it has {listed}."
    return f"{name} has no training in fp32, eager: measure it beside the others: pytest bench --benchmark-autosave"


def _markdown(options: argparse.Namespace) -> int:
    run = _run(options.run, options.results)
    base = _run(options.baseline, options.results) if options.baseline else None
    print(markdown.essentials(run, _comparison(base, run, options) if base else None))
    return FINE


def _compare(options: argparse.Namespace) -> int:
    comparison = _comparison(_run(options.base, options.results), _run(options.new, options.results), options)
    print(terminal.comparison_table(comparison))
    return FINE


def _check(options: argparse.Namespace) -> int:
    comparison = _comparison(_run(options.base, options.results), _run(options.new, options.results), options)
    verdict = judge(comparison)
    print(terminal.check_summary(verdict, comparison))
    return verdict.exit_code


def _profile(options: argparse.Namespace) -> int:
    file = find_run(options.run, options.results)
    profile = find_profile(options.cell, profiles_of(file))
    print(terminal.profile_table(profile, options.top))
    trace = trace_path(artifact_folder(file), profile.key)
    if trace.exists():
        print(f"A trace of some steps, which Perfetto opens: {trace}")
    memory = timeline_path(artifact_folder(file), profile.key)
    if memory.exists():
        print(terminal.timeline_line(read_timeline(memory), memory))
    return FINE


def _diff_profile(options: argparse.Namespace) -> int:
    base_file, new_file = (find_run(name, options.results) for name in (options.base, options.new))
    base = {profile.key: profile for profile in profiles_of(base_file)}
    new = profiles_of(new_file)
    common = [profile for profile in new if profile.key in base]
    if not common:
        raise NoProfile(
            f"No cell has a profile in both {base_file.stem} and {new_file.stem}: "
            "measure the same cells in both: pytest bench --profile"
        )
    chosen = fitting(options.cell, common) if options.cell else common
    print("\n\n".join(terminal.explanation_table(explain(base[one.key], one), options.top) for one in chosen))
    if len({_fingerprint(file) for file in (base_file, new_file)}) > 1:
        print("\nThe runs differ in machine or software: what differs may come from there.")
    left_out = len(base.keys() ^ {profile.key for profile in new})
    if left_out and not options.cell:
        print(f"\n{left_out} profiled {'cell is' if left_out == 1 else 'cells are'} in one of the runs alone.")
    return FINE


def _fingerprint(file: Path) -> str:
    return str(read_run(file).environment.get("fingerprint"))


def _list(options: argparse.Namespace) -> int:
    print(terminal.runs_table(run_files(options.results), options.results))
    return FINE


def _run(name: str, folder: Path) -> Run:
    return _read(find_run(name, folder))


def _read(file: Path) -> Run:
    run = read_run(file)
    if not run.records:
        raise EmptyRun(f"{run.name} holds no record: it was interrupted early. Measure it again: pytest bench")
    return run


def _comparison(base: Run, new: Run, options: argparse.Namespace) -> Comparison:
    return compare(base, new, time_margin=options.time_margin, allow_different_machine=options.allow_different_machine)


def _parser() -> argparse.ArgumentParser:
    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument("--results", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="where the runs are")

    judged = argparse.ArgumentParser(add_help=False)
    judged.add_argument(
        "--time-margin",
        type=share,
        default=TIME_MARGIN,
        metavar="SHARE",
        help="how much a time may differ before it counts as changed (default: %(default)s)",
    )
    judged.add_argument(
        "--allow-different-machine",
        action="store_true",
        help="where the environments differ, compare exact counts and accuracy all the same",
    )

    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    html = commands.add_parser("html", parents=[stored, judged], help="one offline page with tables and plots")
    html.add_argument("run", nargs="*", metavar="RUN", help=f"{RUN} (default: latest); the first is the subject")
    html.add_argument("--baseline", metavar="RUN", help="a run to compare the first with")
    html.add_argument("--open", action="store_true", help="open it in the browser")
    html.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: report.html beside the runs")

    for name, told in (
        ("compare", "what changed between two runs, cell by cell"),
        ("check", "exit with 1 on a regression, 3 where the runs cannot be compared"),
    ):
        command = commands.add_parser(name, parents=[stored, judged], help=told)
        command.add_argument("base", metavar="BASE", help=f"what to compare with: {RUN}")
        command.add_argument("new", metavar="NEW", help="what is judged, named likewise")

    ranked = argparse.ArgumentParser(add_help=False)
    ranked.add_argument("--top", type=count, default=TOP, metavar="N", help="rows to show (default: %(default)s)")

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
    recommend.add_argument("--model", metavar="NAME", help="default: each model of the run")
    recommend.add_argument("--goal", choices=("speed", "energy", "memory"), help="default: each of them")
    recommend.add_argument("--max-memory", type=size, metavar="SIZE", help="that a setting may take, such as 4GB")

    essentials = commands.add_parser(
        "markdown", parents=[stored, judged], help="the essentials of a run, for a terminal or a pull request"
    )
    essentials.add_argument("run", nargs="?", default="latest", metavar="RUN", help=f"{RUN} (default: %(default)s)")
    essentials.add_argument("--baseline", metavar="RUN", help="a run to compare it with")

    commands.add_parser("list", parents=[stored], help="the stored runs")
    return parser


def share(text: str) -> float:
    """A share above zero, as argparse reads an option: its name is part of argparse's message."""
    share = float(text)
    if not 0 < share < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above zero: 0.3 stands for 30%")
    return share


def size(text: str) -> int:
    """A number of bytes, likewise: ``500MB``, ``4GB``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " ")) if found else 0
    if not size:
        raise argparse.ArgumentTypeError(f"{text} is not a size: write 500MB or 4GB")
    return size


def count(text: str) -> int:
    """A whole number from one on, likewise."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return count


if __name__ == "__main__":
    sys.exit(main())
