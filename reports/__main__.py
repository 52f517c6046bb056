"""What is read of stored runs: python -m reports {html,compare,check,list}."""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from reports import terminal
from reports.check import FINE, USAGE, judge
from reports.comparison import TIME_MARGIN, Comparison, compare
from results.record import Run
from results.runs import DEFAULT_FOLDER, RunNotFound, UnreadableRun, find_run, read_run, run_files

RUN = "a file, a part of its name, its number, or latest"


class EmptyRun(ValueError):
    """A run that holds no record."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 fine, 1 regression, 2 usage, 3 not comparable."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a sign shows the rest
    commands = {"html": _html, "compare": _compare, "check": _check, "list": _list}
    try:
        return commands[options.command](options)
    except (RunNotFound, UnreadableRun, EmptyRun) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Name another file or folder.", file=sys.stderr)
    return USAGE


def _html(options: argparse.Namespace) -> int:
    from reports.html import render  # here, so that the other commands need not load the plots

    runs = [_run(name, options.results) for name in options.run or ["latest"]]
    comparison = _comparison(_run(options.baseline, options.results), runs[0], options) if options.baseline else None
    output: Path = options.output or options.results / "report.html"
    output.write_text(render(runs, comparison), encoding="utf-8", errors="replace")
    print(output)
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


def _list(options: argparse.Namespace) -> int:
    print(terminal.runs_table(run_files(options.results), options.results))
    return FINE


def _run(name: str, folder: Path) -> Run:
    run = read_run(find_run(name, folder))
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
    html.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: report.html beside the runs")

    for name, told in (
        ("compare", "what changed between two runs, cell by cell"),
        ("check", "exit with 1 on a regression, 3 where the runs cannot be compared"),
    ):
        command = commands.add_parser(name, parents=[stored, judged], help=told)
        command.add_argument("base", metavar="BASE", help=f"what to compare with: {RUN}")
        command.add_argument("new", metavar="NEW", help="what is judged, named likewise")

    commands.add_parser("list", parents=[stored], help="the stored runs")
    return parser


def share(text: str) -> float:
    """A share above zero, as argparse reads an option: its name is part of argparse's message."""
    share = float(text)
    if not 0 < share < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above zero: 0.3 stands for 30%")
    return share


if __name__ == "__main__":
    sys.exit(main())
