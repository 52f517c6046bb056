"""pytest's side of trainmark: its options and hooks, and the ``measure`` fixture.

A project switches it on in the ``conftest.py`` beside its folder of benchmarks::

    pytest_plugins = ["trainmark.plugin"]
"""

from __future__ import annotations

import os
import shlex
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from trainmark import git, progress, suite
from trainmark.against.places import SideError
from trainmark.against.run import Against, measure_against
from trainmark.against.turns import Look
from trainmark.export.terminal import comparison_table
from trainmark.formatting import readable
from trainmark.judge.comparison import compare_paired, control_floor, open_cells
from trainmark.judge.margins import MarginError, Margins
from trainmark.judge.verdict import NOT_COMPARABLE, Verdict, judge
from trainmark.measure.session import Measured, Session, SessionError, find_interrupted, other_code
from trainmark.options import add_options, keep_options, option, read_against, read_options, restore_options
from trainmark.replay import measured_clock, replay, replay_instead
from trainmark.saving import (
    CannotSave,
    folder_of,
    is_of,
    refuse_storage,
    results_option,
    save_whole,
    storage_option,
    tag,
)
from trainmark.signals import end_like_ctrl_c
from trainmark.store.cell import Cell
from trainmark.store.documents import SchemaError
from trainmark.store.journal import FOLDER as JOURNALS
from trainmark.store.journal import JournalInUse, in_use
from trainmark.store.pairs import FOLDER as PAIRS
from trainmark.store.pairs import read_paired_run, read_paired_runs
from trainmark.store.record import SECTION, Record, run_section
from trainmark.store.runs import UnreadableRun, find_saved
from trainmark.suite import Suite, SuiteError
from trainmark.workloads import entry_of, terminal_line

NAME = "trainmark.plugin"  # as a conftest names it
SUITE = pytest.StashKey[Suite]()
RENAMED = pytest.StashKey[dict[str, str]]()  # options whose plain name another plugin has
SESSION = pytest.StashKey[Session]()
RESUMED = pytest.StashKey[Path]()  # the journal to go on with
ESTIMATES = pytest.StashKey[dict[str, float]]()  # join key -> seconds, of the cells still to come
AGAINST = pytest.StashKey[Against]()
VERDICT = pytest.StashKey[Verdict]()  # of a run against another side
CELL = pytest.StashKey[Cell]()
MEASURED = pytest.StashKey[Measured]()
BEGUN = pytest.StashKey[float]()  # when the first cell was about to be measured, by the monotonic clock

# What the user can mend, told in a sentence.
MENDABLE = (
    *(SessionError, SideError, SuiteError, JournalInUse, SchemaError, UnreadableRun),
    *(MarginError, CannotSave, git.GitError),
)
AGAIN_SHARE = 0.15  # of the time that a run has taken: for measuring again what had a bad moment
INTERNAL = 70  # an error of the program itself: EX_SOFTWARE of sysexits.h

# What pytest-benchmark needs to be told, where the user has said nothing else.
SUPPLIED = {
    "--benchmark-save-data": ("benchmark_save_data", True),  # an autosave without it drops the raw rounds
    "--benchmark-max-time": ("benchmark_max_time", "0.5"),  # seconds of rounds in a cell
    "--benchmark-min-rounds": ("benchmark_min_rounds", 6),  # fewer give no 95% interval of a median
    "--benchmark-columns": ("benchmark_columns", ["median", "iqr", "ops", "rounds"]),
}
# Its table tells quartiles of rounds, and of attempts: each benchmark has its line here, unless the call asks for it.
OF_ITS_TABLE = tuple(
    f"--benchmark-{name}"
    for name in ("columns", "sort", "group-by", "name", "compare", "histogram", "cprofile", "verbose", "time-unit")
)
WITHOUT_ITS_TABLE = {"--benchmark-quiet": ("benchmark_quiet", True)}


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    config = pluginmanager.get_plugin("pytestconfig")
    assert isinstance(config, pytest.Config)  # it is there before any conftest is
    config.stash[SUITE] = Suite(Path.cwd())  # until it is known where the conftest lies
    root = _root(pluginmanager)
    if root is not None:
        with _as_usage_errors():
            config.stash[SUITE] = suite.open_suite(root)  # its parameters are options too
    config.stash[RENAMED] = add_options(parser)


@pytest.hookimpl(tryfirst=True)  # pytest-benchmark reads its options when it is configured
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "workload(name, **values): measures a workload of trainmark's registry, at all values or at these",
    )
    if not _asks_for_benchmarks(config):
        return
    if _root(config.pluginmanager) is None:
        raise pytest.UsageError(
            f'No conftest.py switches trainmark on: write pytest_plugins = ["{NAME}"] into the one beside '
            "the folder of benchmarks, or call trainmark init there."
        )
    try:
        _begin(config, time.monotonic())
    except pytest.UsageError:
        raise
    except Exception as error:  # noqa: BLE001  # a fault of this program; pytest's own code for it would read as a verdict
        traceback.print_exc()
        pytest.exit(f"internal error: {error!r}", INTERNAL)


def _begin(config: pytest.Config, begun: float) -> None:
    """Reads the call, and refuses what cannot be done, before anything is measured."""
    end_like_ctrl_c(config)
    _refuse_what_disturbs(config)
    _supply_options(config)
    root = config.stash[SUITE].root
    with _as_usage_errors():
        refused = read_against(config, root, begun)  # before what is resumed: an option without effect is refused
        if option(config, "resume"):
            if refused is not None:
                raise pytest.UsageError("--resume goes on with the side of the interrupted run: leave out --against.")
            config.stash[RESUMED], state = find_interrupted(folder_of(config))
            restore_options(config, state.invocation)
        against = read_against(config, root, begun)
        run = Session(read_options(config), folder_of(config), root)
        if RESUMED in config.stash:
            obstacle = other_code(config.stash[RESUMED].stem, state.code, run.code)
            if obstacle:
                raise SessionError(obstacle)
        if against is not None:
            config.stash[AGAINST] = against
            Margins.parse(against.margins)
        refuse_storage(config)
    run.asks_for_all = _names_all(config)
    if config.option.benchmark_autosave:  # pytest-benchmark's name for it is of the folder one stands in
        with _as_usage_errors():
            config.option.benchmark_autosave = tag(git.describe(root, run.code))
    config.stash[SESSION] = run


def _root(plugins: pytest.PytestPluginManager) -> Path | None:
    """The folder of the conftest that switches trainmark on; None where none does."""
    for plugin in plugins.get_plugins():
        named = getattr(plugin, "pytest_plugins", ())
        file = getattr(plugin, "__file__", None)
        if file and NAME in ([named] if isinstance(named, str) else list(named)):
            return Path(file).resolve().parent
    return None


def _asks_for_benchmarks(config: pytest.Config) -> bool:
    """Whether the command line names the folder of benchmarks, or something in it."""
    ours = config.stash[SUITE]
    folder = ours.root / ours.benchmarks
    asked = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    return any(path == folder or folder in path.parents for path in asked)


def _names_all(config: pytest.Config) -> bool:
    """Whether the command line names the whole folder of benchmarks, or a folder around it."""
    ours = config.stash[SUITE]
    folder = ours.root / ours.benchmarks
    asked = [(config.invocation_params.dir / argument).resolve() for argument in config.args if "::" not in argument]
    return any(path == folder or path in folder.parents for path in asked)


def _refuse_what_disturbs(config: pytest.Config) -> None:
    """Other plugins that would measure themselves along, or measure several cells at once."""
    given = config.option
    if getattr(given, "dist", "no") != "no" or hasattr(config, "workerinput"):
        raise pytest.UsageError("Benchmarks are measured one at a time: add -n0, and leave out --dist.")
    if getattr(given, "workers", None) or getattr(given, "tests_per_worker", None):
        raise pytest.UsageError(
            "Benchmarks are measured one at a time: leave out --workers and --tests-per-worker of pytest-parallel."
        )
    if config.pluginmanager.hasplugin("_cov") and not getattr(given, "no_cov", False):
        raise pytest.UsageError("--cov slows every step that is measured: add --no-cov.")


def _supply_options(config: pytest.Config) -> None:
    """Tells pytest-benchmark where runs land and how much to keep; what the user says stands."""
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("trainmark stores its runs by pytest-benchmark: leave out -p no:benchmark.")
    ours, given = config.stash[SUITE], _given(config)
    supplied = {**SUPPLIED, **({} if any(one.startswith(OF_ITS_TABLE) for one in given) else WITHOUT_ITS_TABLE)}
    supplied = {**supplied, "--benchmark-storage": ("benchmark_storage", f"file://{ours.root / ours.results}")}
    for name, (attribute, value) in supplied.items():
        if not any(one == name or one.startswith(f"{name}=") for one in given):
            setattr(config.option, attribute, value)


def _given(config: pytest.Config) -> list[str]:
    """All arguments: of the environment, of the ini file, of the command line."""
    return [
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
        *config.getini("addopts"),
        *map(str, config.invocation_params.args),
    ]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which options have another name here."""
    if SESSION not in config.stash:
        return []
    return [
        f"trainmark: {plain} belongs to another plugin here, and ours is {own}"
        for plain, own in config.stash[RENAMED].items()
    ]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks are measured where their folder is named, and never in passing."""
    ours = config.stash[SUITE]
    folder = ours.root / ours.benchmarks
    if SESSION in config.stash or (collection_path != folder and folder not in collection_path.parents):
        return None
    return True


def pytest_collection(session: pytest.Session) -> None:
    """Looks at the machine first: what is wrong with the command line is said before anything runs."""
    if SESSION in session.config.stash:
        with _as_usage_errors():
            session.config.stash[SESSION].look_at_machine()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a cell; its axes are the parameters, so pytest-benchmark stores them."""
    marker = metafunc.definition.get_closest_marker("workload")
    if marker is None or SESSION not in metafunc.config.stash:
        return
    axes = entry_of(marker.args[0]).parameters
    foreign = next((name for name in marker.kwargs if name not in axes), None)
    if foreign is not None:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: {marker.args[0]} has no parameter {foreign}.")
    cells = [
        cell for cell in metafunc.config.stash[SESSION].plan(marker.args[0]) if _is_of(cell, marker.kwargs)
    ]  # of all that the call asks for, what this test is for
    metafunc.fixturenames.extend(axis for axis in axes if axis not in metafunc.fixturenames)
    names = [cell.label.removeprefix(f"{cell.workload} ").replace(" ", "-") for cell in cells]
    metafunc.parametrize(axes, [[cell[axis] for axis in axes] for cell in cells], ids=names)


def pytest_itemcollected(item: pytest.Item) -> None:
    marker = item.get_closest_marker("workload")
    values = getattr(getattr(item, "callspec", None), "params", None)
    if marker is None or not values or not all(isinstance(value, str | int) for value in values.values()):
        return  # no cell; or pytest's stand-in for a workload that has none
    item.stash[CELL] = Cell.of(marker.args[0], **values)
    item.add_marker(pytest.mark.benchmark(timer=measured_clock, group=marker.args[0]))
    # A failed cell has no time to store, and pytest-benchmark would complain of that:
    item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"))
    if item.config.pluginmanager.hasplugin("timeout"):
        item.add_marker(pytest.mark.timeout(0))  # ours ends the cell, and keeps its record


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cheap workloads first; of an interrupted run the cells that it had."""
    if SESSION not in config.stash or not any(CELL in item.stash for item in items):
        return
    order = {key: number for number, key in enumerate(config.stash[SESSION].planned_keys)}
    empty = [item for item in items if item.get_closest_marker("workload") and CELL not in item.stash]
    items[:] = [item for item in items if item not in empty]  # stand-ins for workloads without a cell
    if AGAINST in config.stash and (others := [item for item in items if CELL not in item.stash]):
        raise pytest.UsageError(
            f"--against measures benchmarks and runs no other test: leave out {others[0].nodeid.split('::')[0]}."
        )
    items.sort(key=lambda item: _turn(item.stash[CELL], order) if CELL in item.stash else (-1, 0))
    if RESUMED in config.stash:
        session = config.stash[SESSION]
        with _as_usage_errors():
            if AGAINST not in config.stash:
                session.resume(config.stash[RESUMED])
            else:
                session.facts = read_paired_run(config.stash[RESUMED]).new.facts
                named = {item.stash[CELL].key for item in items if CELL in item.stash}
                if not set(session.facts.planned) <= named:
                    raise SessionError(
                        "--resume goes on with all benchmarks of an interrupted comparison: "
                        "leave out -k, and name their whole folder."
                    )
        foreign = [item for item in items if CELL in item.stash and not session.is_planned(item.stash[CELL])]
        if foreign:
            config.hook.pytest_deselected(items=foreign)
            items[:] = [item for item in items if item not in foreign]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins the run, and says how long it will take."""
    config = session.config
    cells = [item.stash[CELL] for item in session.items if CELL in item.stash]
    if SESSION not in config.stash or not cells or config.option.collectonly or config.option.benchmark_skip:
        return
    if AGAINST in config.stash:
        return  # pytest_runtestloop goes another way
    run = config.stash[SESSION]
    lines = _others(run.folder, config.stash.get(RESUMED, None))
    if not run.invocation.settings.once and RESUMED not in config.stash:
        with _as_usage_errors():
            run.probe_peaks(cells)
            run.begin(cells, keep_options(config))
    config.stash[BEGUN] = time.monotonic()
    config.stash[ESTIMATES] = run.estimates(cells)
    lines += run.notes
    lines += [progress.opening(run, len(cells), sum(config.stash[ESTIMATES].values())), "", terminal_line.header()]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter._show_progress_info = False  # each line tells how many are done: a lone [100%] would stand below them
        reporter.write("\n" + "\n".join(lines) + "\n")


def _resume_command(config: pytest.Config) -> str:
    ours = config.stash[SUITE]
    folder = os.path.relpath(ours.root / ours.benchmarks)
    return f"pytest {shlex.quote(folder)} --resume{storage_option(config, ours)}"


def _others(folder: Path, resumed: Path | None) -> list[str]:
    """A sentence for each other run that is being measured now."""
    busy = [path for path in (*in_use(folder / JOURNALS), *in_use(folder / PAIRS)) if path != resumed]
    return [f"another run is being measured now, {path.stem}: both will be slow" for path in busy]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With --against the cells are not measured one by one, but all of them together with the other side's."""
    config = session.config
    cells = [item.stash[CELL] for item in session.items if CELL in item.stash]
    if AGAINST not in config.stash or session.testsfailed or config.option.collectonly or not cells:
        return None
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    run, asked, folder = config.stash[SESSION], config.stash[AGAINST], folder_of(config)
    resumed = config.stash.get(RESUMED, None)

    def told(line: str) -> None:
        if reporter is not None:
            reporter.write_line(readable(line))

    earlier = [one for one in read_paired_runs(folder, told) if resumed is None or one.name != resumed.stem]
    margins = Margins.parse(asked.margins)
    margins = margins.with_floor(control_floor(earlier, run.machine.environment["fingerprint"]))

    def look(labels: Mapping[str, str]) -> Look:
        return lambda pairs: open_cells(pairs, margins, labels)

    for line in _others(folder, resumed):
        told(line)
    run.choose(cells)
    with _as_usage_errors():
        commit = git.describe(run.root, run.code)
        try:
            paired = measure_against(asked, run, cells, run.root, commit, look, told, earlier, resumed)
        except OSError as error:
            if not is_of(folder, error):
                raise
            raise CannotSave(_cut_off(error, config)) from error
        except KeyboardInterrupt:
            if resumed is not None:
                told(f"resume: {_resume_command(config)}")
            raise
    comparison = compare_paired(paired, margins, counts_decide=asked.counts_decide)
    verdict = config.stash[VERDICT] = judge(comparison, asked.policy)
    stored = results_option(config)
    told("\n" + comparison_table(comparison, verdict))
    told(f"\npairs:  {folder / PAIRS / paired.name}.jsonl\npage:   trainmark html {paired.name}{stored}")
    told(f"export: trainmark check {paired.name} --markdown FILE --junit FILE --github{stored}")
    if paired.new.facts.finished is None:
        told(f"resume: {_resume_command(config)}")
        raise KeyboardInterrupt  # answered by keeping what there was; now it is pytest's again
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Tells each finished cell in a line of its own, in place of pytest's dots; the last one measures some again."""
    reporter = item.config.pluginmanager.get_plugin("terminalreporter")
    if CELL in item.stash and reporter is not None:
        reporter.currentfspath = item.path  # else pytest writes the file's name before every line
    result = yield
    if MEASURED in item.stash and reporter is not None:
        left = item.config.stash[ESTIMATES]
        left.pop(item.stash[CELL].key, None)
        total = sum(CELL in other.stash for other in item.session.items)
        reporter.write(progress.cell_line(item.stash[MEASURED], total - len(left), total, sum(left.values())) + "\n")
    if nextitem is None and BEGUN in item.config.stash:
        _measure_again(item.session, AGAIN_SHARE * (time.monotonic() - item.config.stash[BEGUN]))
    return result


def _measure_again(session: pytest.Session, seconds: float) -> None:
    """Cells that had a bad moment; pytest-benchmark is given the times of the record that is kept."""
    config = session.config
    items = {item.stash[CELL].key: item for item in session.items if MEASURED in item.stash}
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    with _leaving_unsaved(config):
        for measured in config.stash[SESSION].measure_again(seconds):
            item = items[measured.record.key]
            item.stash[MEASURED] = measured
            for stored in _benchmarks(config).benchmarks:
                if stored.fullname == item.nodeid:
                    stored.extra_info.update(_extra_info(measured.record))
                    replay_instead(stored, measured.record.rounds)
            if reporter is not None:
                reporter.write_line(progress.cell_line(measured, len(items), len(items), 0.0))


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """No dot for a cell: its line says more."""
    if isinstance(report, pytest.TestReport) and "workload" in report.keywords and report.when == "call":
        return report.outcome, "", report.outcome.upper()
    return None


@pytest.fixture
def measure(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[], Record]:
    """Measures the cell of this test and gives its record.

    A cell that this machine cannot run is skipped, one that gives no result fails; both have
    their record, and neither leaves a time.
    """

    def measure_cell() -> Record:
        with _leaving_unsaved(request.config):
            measured = request.config.stash[SESSION].measure(request.node.stash[CELL])
        request.node.stash[MEASURED] = measured
        record = measured.record
        if record.status == "skipped":
            pytest.skip(record.reason or "")
        if record.failed:
            pytest.fail("\n".join(filter(None, [f"{record.status}: {record.reason}", measured.log])), pytrace=False)
        benchmark.extra_info.update(_extra_info(record))
        replay(benchmark, record.rounds)
        return record

    return measure_cell


def _extra_info(record: Record) -> dict[str, float | int]:
    """What pytest-benchmark keeps beside the times."""
    return {name: value for name, value in record.metrics.items() if value is not None}


@contextmanager
def _leaving_unsaved(config: pytest.Config) -> Iterator[None]:
    """Ends the run where a record cannot be kept."""
    try:
        yield
    except OSError as error:
        if not is_of(folder_of(config), error):
            raise
        _leave_unsaved(config, error)


def _leave_unsaved(config: pytest.Config, error: OSError) -> NoReturn:
    """Those records that came before are in the journal."""
    benchmarks = _benchmarks(config)
    benchmarks.save = benchmarks.autosave = benchmarks.json = None
    pytest.exit(_cut_off(error, config), pytest.ExitCode.USAGE_ERROR)


def _cut_off(error: OSError, config: pytest.Config) -> str:
    kept = "what was measured before is kept; make room, and go on with"
    return f"{error.filename}: {error.strerror}: {kept}: {_resume_command(config)}"


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_commit_info(config: pytest.Config) -> dict[str, Any] | None:
    """Of the project that is measured, and not of the folder one stands in."""
    if SESSION not in config.stash:
        return None
    run = config.stash[SESSION]
    return git.describe(run.root, run.code)


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any] | None:
    """Stable facts only, in the place of pytest-benchmark's, which hold the host's name and its clock's mood."""
    if SESSION not in config.stash:
        return None
    with _as_usage_errors():
        return dict(config.stash[SESSION].machine.environment)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    if SESSION in config.stash:
        run = config.stash[SESSION]
        run.finish()
        output_json[SECTION] = run_section(run.facts, list(run.records.values()))


def pytest_sessionstart(session: pytest.Session) -> None:
    if SESSION in session.config.stash:
        save_whole(_benchmarks(session.config), session.config.stash[SESSION].unsaved.append)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """pytest-benchmark has stored the run by now, unless no cell has a time to store: then this does."""
    config = session.config
    if SESSION not in config.stash:
        return
    run = config.stash[SESSION]
    if run.records:
        name = config.option.benchmark_save or config.option.benchmark_autosave
        if name and not _benchmarks(config).benchmarks:
            _save_without_times(config, name)
        try:
            run.close(find_saved(run.facts.id, run.folder) if name and not run.unsaved else None)
        except OSError as error:  # what it holds is stored, and it stays as well
            run.notes_at_end.append(f"{error.filename or run.folder}: {error.strerror}")
    session.exitstatus = _exit_code(config, session.exitstatus)


def _save_without_times(config: pytest.Config, name: str) -> None:
    if config.stash[SESSION].invocation.settings.once:
        return
    benchmarks = _benchmarks(config)
    document = config.hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=[],
        include_data=True,
        machine_info=benchmarks.get_machine_info(),
        commit_info=config.hook.pytest_benchmark_generate_commit_info(config=config),
    )
    pytest_benchmark_update_json(config, document)
    benchmarks.storage.save(document, name)


def _exit_code(config: pytest.Config, code: int) -> int:
    """What the call comes to: see docs/ci.md."""
    if code == pytest.ExitCode.INTERNAL_ERROR:
        return INTERNAL  # pytest's own number says here that nothing was decided
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and VERDICT in config.stash:
        return config.stash[VERDICT].exit_code
    run = config.stash[SESSION]
    if run.unsaved:
        run.notes_at_end += [f"not saved: {reason}" for reason in run.unsaved]
        return pytest.ExitCode.USAGE_ERROR
    if code == pytest.ExitCode.TESTS_FAILED and run.broken_models:
        return pytest.ExitCode.USAGE_ERROR
    records = run.records.values()
    if code == pytest.ExitCode.OK and records and all(record.status == "skipped" for record in records):
        reasons = dict.fromkeys(str(record.reason) for record in records)
        run.notes_at_end.append(f"nothing was measured: {'; '.join(reasons)}")
        return NOT_COMPARABLE
    return code


def _benchmarks(config: pytest.Config) -> Any:
    return config._benchmarksession  # type: ignore[attr-defined]  # pytest-benchmark's only way in


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if SESSION in config.stash and config.stash[SESSION].records:
        terminalreporter.section("trainmark")
        run = config.stash[SESSION]
        told = progress.summary(run, _resume_command(config), results_option(config))
        for line in (*told, *run.context.notes, *run.notes_at_end):
            terminalreporter.write_line(line)


def _turn(cell: Cell, planned: Mapping[str, int]) -> tuple[int, int]:
    """When a cell is measured: the cheap workloads first, and in the order of their plan whoever shuffles tests."""
    return entry_of(cell.workload).place, planned.get(cell.key, 0)


@contextmanager
def _as_usage_errors() -> Iterator[None]:
    """What the user can mend becomes one sentence, and exit code 4."""
    try:
        yield
    except MENDABLE as error:
        raise pytest.UsageError(readable(error)) from error
    except OSError as error:
        named = ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
        raise pytest.UsageError(readable(named or error)) from error


def _is_of(cell: Cell, wanted: Mapping[str, Any]) -> bool:
    """Whether a cell has the values that a test's marker names: one a parameter, or a list or tuple of them."""
    return all(
        cell[name] in (values if isinstance(values, list | tuple) else (values,)) for name, values in wanted.items()
    )
