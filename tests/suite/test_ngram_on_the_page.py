"""n-gram cells on the page, in the terminal and in a verdict: alone in their run, or beside others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.ngram import ngram_fit_table, ngram_score_table
from tests.conftest import compared, example_run
from trainmark.export.terminal import comparison_table
from trainmark.judge.comparison import compare
from trainmark.judge.verdict import judge
from trainmark.page.configurations import configurations
from trainmark.page.html import render
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.metrics import METRICS
from trainmark.store.record import Record, Run

FIT = Record(
    Cell.of("ngram_fit"),
    "ok",
    metrics={
        "fit_seconds": 0.5,
        "tokens_per_second": 2e6,
        "encode_seconds": 0.1,
        "count_seconds": 0.4,
        "peak_memory_bytes": 500_000_000,
        "peak_bytes_per_token": 500,
        "table_entries": 912_671,
        "random_update_share": 0.62,
    },
    rounds=(0.5, 0.49, 0.51, 0.5, 0.5, 0.5),
    settings={"threads": 1, "seed": 0, "computes": "counts of all orders", "corpus_digest": "abc"},
)
PEER = replace(
    FIT,
    cell=Cell.of("ngram_fit", engine="counter"),
    metrics={"fit_seconds": 6.0, "tokens_per_second": 166_000},
    rounds=(6.0,) * 6,
    settings=dict(FIT.settings) | {"computes": "counts of order n only, sentences joined"},
)
SCORE = Record(
    Cell.of("ngram_score"),
    "ok",
    metrics={"score_seconds": 0.05, "perplexity": None, "unseen_share": 0.404, "unknown_share": 0.01},
    rounds=(0.05,) * 6,
    settings={"threads": 1, "seed": 0},
)
SMOOTHED = replace(
    SCORE, cell=Cell.of("ngram_score", smoothing="kneser-ney"), metrics={**SCORE.metrics, "perplexity": 139.3}
)
NGRAM = (FIT, PEER, SCORE, SMOOTHED)


def run_of(*records: Record) -> Run:
    run = example_run()
    facts = replace(run.facts, planned=tuple(record.key for record in records))
    return replace(run, facts=facts, records=records)


def earlier(run: Run) -> list[Run]:
    """Eight runs of the same code before: their times differ by up to a percent."""
    return [run_of(*(drifted(record, 1 + number / 800) for record in run.records)) for number in range(8)]


def drifted(record: Record, factor: float) -> Record:
    times = {
        name: record.metrics[name] for name in METRICS if METRICS[name].compared == "time" and name in record.metrics
    }
    drifted = {name: seconds * factor for name, seconds in times.items() if seconds is not None}
    return replace(record, metrics={**record.metrics, **drifted})


@pytest.fixture(params=["alone", "beside others"])
def run(request: pytest.FixtureRequest) -> Run:
    return run_of(*NGRAM) if request.param == "alone" else run_of(*example_run().records, *NGRAM)


def test_the_page_has_both_tables_and_no_section_without_content(run: Run) -> None:
    page = render([run])
    assert 'id="of-ngram-fit"' in page
    assert 'id="of-ngram-score"' in page
    assert "counts of order n only, sentences joined" in page
    assert ('<h3 id="throughput">' in page) == (len(run.records) > len(NGRAM))
    assert "None" not in page


def test_a_run_without_ngrams_has_no_such_section() -> None:
    assert "of-ngram-" not in render([example_run()])


def test_a_peers_row_says_its_engine_and_what_it_computes() -> None:
    table = ngram_fit_table([FIT, PEER])
    assert [row.name for row in table.rows] == ["ngram_fit numba order 3 mle", "ngram_fit counter order 3 mle"]
    titles = [column.title for column in table.columns]
    computed = titles.index("Computes")
    assert [row.values[computed].text for row in table.rows] == [
        "counts of all orders",
        "counts of order n only, sentences joined",
    ]
    assert "Of random updates (%)" in titles
    assert "Of copying (%)" not in titles  # nobody measured it


def test_an_infinite_perplexity_says_so_and_sorts_last() -> None:
    table = ngram_score_table([SCORE, SMOOTHED])
    place = [column.title for column in table.columns].index("Perplexity")
    infinite, finite = (row.values[place] for row in table.rows)
    assert (infinite.text, finite.text) == ("infinite", "139.30")
    assert infinite.order > finite.order  # type: ignore[operator]


def test_a_score_that_was_not_measured_has_no_perplexity_at_all() -> None:
    failed = Record(Cell.of("ngram_score"), "oom", "no memory")
    table = ngram_score_table([failed, SMOOTHED])
    place = [column.title for column in table.columns].index("Perplexity")
    assert table.rows[0].values[place].text == "\N{EN DASH}"


def test_all_cells_show_their_times(run: Run) -> None:
    titles = {
        group.name: [column.title.split(" (")[0] for column in group.table.columns]
        for group in configurations(run, {}).groups
    }
    assert "Fit" in titles["ngram_fit"] and "Scoring" in titles["ngram_score"]
    assert any("Step time" in some for some in titles.values()) == (len(run.records) > len(NGRAM))


def test_a_slower_fit_and_another_table_are_regressions(run: Run) -> None:
    slower = replace(
        FIT, rounds=tuple(2 * seconds for seconds in FIT.rounds), metrics={**FIT.metrics, "fit_seconds": 1.0}
    )
    other = replace(FIT, metrics={**FIT.metrics, "table_entries": 912_670})
    for changed, told in ((slower, "fit time 2.00×"), (other, "table entries changed 912,671 → 912,670")):
        new = replace(run, records=tuple(changed if record.key == FIT.key else record for record in run.records))
        comparison = compared(run, new, history=earlier(run))
        (regressed,) = [cell for cell in comparison.cells if cell.verdict == "regressed"]
        assert regressed.key == FIT.key
        assert told in regressed.notes
        assert judge(comparison).word == "regressed"
        assert told in comparison_table(comparison)


def test_a_run_compared_with_itself_is_fine(run: Run) -> None:
    comparison = compared(run, run, history=earlier(run))
    assert judge(comparison).word == "fine"
    assert 'id="of-ngram-fit"' in render([run], comparison)


def test_another_text_is_not_compared() -> None:
    other = replace(FIT, settings=dict(FIT.settings) | {"corpus_digest": "def"})
    (cell,) = compare(run_of(FIT), run_of(other)).cells
    assert cell.verdict == "incomparable"


def test_ngram_cells_are_rows_of_the_frame(run: Run) -> None:
    frame = to_frame([run])
    found = frame[frame["workload"].eq("ngram_fit")].set_index("engine")
    assert found.loc["counter", "fit_seconds"] == 6.0
    assert found.loc["numba", ["order", "smoothing", "corpus", "tokens"]].tolist() == [3, "mle", "pydoc", 0]
