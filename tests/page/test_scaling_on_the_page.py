"""Scaling on the page: efficiency, the ideal, where communication takes over; and the nodes of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainmark.page.html import render
from trainmark.page.plots.efficiency import efficiency_plots
from trainmark.store.cell import Cell
from trainmark.store.frame import to_frame
from trainmark.store.nodes import FLAG, Node
from trainmark.store.record import Record, Run

STEP = 1e-2


def scaled(processes: int, efficiency: float, exposed: float) -> Record:
    return Record(
        Cell.of("scaling", model="mlp", processes=processes),
        "ok",
        metrics={
            "step_seconds": STEP,
            "scaling_efficiency": efficiency,
            "scaling_efficiency_low": efficiency - 0.02,
            "scaling_efficiency_high": efficiency + 0.02,
            "exposed_communication_seconds": exposed * STEP,
            "communication_bytes": 1_081_384,
            "communication_buckets": 1,
        },
        rounds=(STEP,) * 12,
    )


def run_of(stored: Any, *records: Record) -> Run:
    run: Run = stored.run()
    return replace(run, records=records)


def test_efficiency_is_drawn_over_processes_with_where_communication_takes_over(stored: Any) -> None:
    run = run_of(stored, scaled(1, 0.99, 0.0), scaled(2, 0.8, 0.15), scaled(4, 0.41, 0.55), scaled(8, 0.2, 0.75))
    (plot,) = efficiency_plots(to_frame([run]))
    assert "0.20 [0.18, 0.22] on 8 processes; 75% of a step waits for the all-reduce" in plot.finding
    assert "more than half from 4 processes on" in plot.finding
    assert plot.numbers.rows[1] == ("2", "0.80", "[0.78, 0.82]", "1.50 ms")
    assert b"ideal" in plot.svg and b"communication takes over" in plot.svg


def test_where_communication_never_takes_over_no_line_says_so(stored: Any) -> None:
    (plot,) = efficiency_plots(to_frame([run_of(stored, scaled(1, 0.99, 0.0), scaled(2, 0.9, 0.05))]))
    assert b"takes over" not in plot.svg and "more than half" not in plot.finding


def test_one_process_alone_is_no_picture(stored: Any) -> None:
    assert not list(efficiency_plots(to_frame([run_of(stored, scaled(1, 0.99, 0.0))])))


def test_the_page_has_picture_and_table_of_a_scaling(stored: Any) -> None:
    page = render([run_of(stored, scaled(1, 0.99, 0.0), scaled(2, 0.8, 0.15))])
    assert "All-reduce not hidden" in page and "Efficiency" in page


def test_the_page_lists_the_nodes_of_a_run_and_those_that_are_not_alike(stored: Any) -> None:
    run = stored.run()
    first, second = run.records[0], run.records[1]
    nodes = (
        Node("node-1", "1a2b", {"copy": 1e-3}, (first.key,), 1.0, True),
        Node("<b>node-2", "1a2b", {"copy": 1.3e-3}, (second.key,), 1.3, False),
    )
    records = (first, replace(second, flags=(FLAG,)), *run.records[2:])
    page = render([replace(run, records=records, facts=replace(run.facts, nodes=nodes))])
    assert "not alike" in page and "1.30×" in page and "&lt;b&gt;node-2" in page
    assert "measured on a faster or a slower node" in page
    assert 'id="nodes"' not in render([run])
