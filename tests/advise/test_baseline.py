"""Which stored run is offered as the baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainmark.advise.baseline import offered
from trainmark.store.record import Run


def at(stored: Any, day: int, **fields: Any) -> Run:
    run = stored.run(f"000{day}")
    return replace(run, facts=replace(run.facts, started=f"2026-01-0{day}T12:00:00+00:00"), **fields)


def test_the_latest_run_of_the_machine_before_the_subject_is_offered(stored: Any) -> None:
    subject = at(stored, 5)
    offer = offered(subject, [at(stored, 3), at(stored, 4), at(stored, 1), at(stored, 6), subject])
    assert offer is not None
    assert offer.run.name == "0004"
    assert offer.shared == sum(record.status == "ok" for record in subject.records)


def test_a_run_of_another_machine_or_of_nothing_in_common_is_not_offered(stored: Any) -> None:
    other = at(stored, 4, environment={"fingerprint": "another"})
    apart = at(stored, 3, records=())
    assert offered(at(stored, 5), [other, apart]) is None
    unknown = at(stored, 5, environment={})
    assert offered(unknown, [at(stored, 4, environment={})]) is None


def test_records_of_other_threads_or_seeds_are_not_in_common(stored: Any) -> None:
    base = at(stored, 4)
    other = replace(base, records=tuple(replace(one, settings={**one.settings, "threads": 9}) for one in base.records))
    assert offered(at(stored, 5), [other]) is None


def test_the_page_offers_it_with_its_command(stored: Any, reports_command: Any, tmp_path: Any) -> None:
    for day in (1, 2):
        run = stored.run(f"000{day}_9f8e7d_2026010{day}_090000", seed=day)
        stored.store(replace(run, facts=replace(run.facts, started=f"2026-01-0{day}T09:00:00+00:00")))
    assert reports_command("html", "2", "-o", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text()
    assert "with 28 of 31 configurations" in text
    assert "trainmark html 0002_9f8e7d_20260102_090000 --baseline 0001_9f8e7d_20260101_090000" in text
    assert reports_command("html", "2", "--baseline", "1", "-o", tmp_path / "page.html") == 0
    assert "Not compared" not in (tmp_path / "page.html").read_text()
