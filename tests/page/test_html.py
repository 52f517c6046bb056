from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.lecture.findings import Lecture, write_lecture
from reports.lecture import sections
from trainmark.judge.comparison import compare, compare_paired
from trainmark.page.anchors import anchor
from trainmark.page.html import render, render_paired
from trainmark.page.sections import Section, sections_of
from trainmark.store.cell import Cell
from trainmark.store.pairs import write_paired_run
from trainmark.store.record import Record, Run

ROOT = Path(__file__).parents[2]
CNN = "train cnn 256 cpu fp32"
HOSTILE = [
    "</script><script>alert(1)</script>",
    '" onmouseover="alert(1)" x=\'',
    "<img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}",
    "$\\frac{",
    "\u202egnp.exe",
    "\x00\x1b\ud800",
    "a" * 10_000,
]


class Page(HTMLParser):
    """Collects the elements, their attributes and the text of a page, and checks that they nest."""

    VOID = ("meta", "link", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.titled: list[str] = []  # elements that have a title in them
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "title":
            self.titled.append(self.open[-1])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def page(regressed_page: str) -> Page:
    return Page(regressed_page)


def test_the_page_loads_nothing(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
    assert not any("src" in attributes for attributes in page.all("script"))


def test_neither_page_nor_pictures_refer_to_the_network(regressed_page: str) -> None:
    pictures = [base64.b64decode(found).decode() for found in re.findall(r"base64,([^\"]+)", regressed_page)]
    assert pictures
    assert not re.search(r"https?://|@import|url\(", regressed_page)
    assert not any(re.search(r"(href|src)=\"(?!#)|@import|url\((?!#)", picture) for picture in pictures)


def test_the_same_runs_give_the_same_page(stored: Any) -> None:
    assert render([stored.run()]) == render([stored.run()])


def test_the_same_run_gives_the_same_bytes_in_another_folder_and_process(stored: Any, tmp_path: Path) -> None:
    file = stored.store(stored.run())
    pages = []
    for number, seed in enumerate(("1", "2")):
        folder = tmp_path / f"place {number}"
        folder.mkdir()
        shutil.copy(file, folder / file.name)
        command = [sys.executable, "-m", "trainmark", "html", str(folder / file.name), "-o", str(folder / "page.html")]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, timeout=120)
        pages.append([(folder / name).read_bytes() for name in ("page.html", "page.jsonl", "page.csv")])
    assert pages[0] == pages[1]


def test_the_page_has_language_title_and_headings_in_order(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert page.titled.count("head") == 1
    assert "body" not in page.titled  # those of drawings are shown where the pointer rests
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_table_has_a_caption_and_every_header_a_scope(everything_page: str) -> None:
    page = Page(everything_page)
    assert len(page.all("caption")) == len(page.all("table")) > 20
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}


def test_each_picture_says_what_it_shows(page: Page) -> None:
    alts = [attributes["alt"] or "" for attributes in page.all("img")]
    assert any(alt.startswith("Throughput of cnn in 3 settings. Fastest: bf16 at batch 256, ") for alt in alts)
    assert any(alt.startswith("Held-out accuracy of mlp against training time") for alt in alts)
    assert all(len(alt) > 40 for alt in alts)


def test_ids_are_unique_and_links_lead_to_them(page: Page, stored: Any) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {anchor(record.key) for record in stored.run().records} <= set(ids)
    assert {(attributes["href"] or "")[1:] for attributes in page.all("a")} <= set(ids)


def test_the_anchor_of_a_cell_is_permanent() -> None:
    assert anchor("train batch_size=256 model=cnn") == "cell-train-batch-size-256-model-cnn-bd02f9"


def test_keys_that_read_alike_have_anchors_of_their_own() -> None:
    assert anchor("train model=a-b") != anchor("train model=a_b")


def test_the_banner_gives_the_verdict_of_the_check(page: Page) -> None:
    assert "Regressed: 1 of 31 cells is worse, failed or missing against 0001_1a2b3c_20260101_120000; " in page.text


def test_another_machine_is_refused_on_the_page_too(stored: Any) -> None:
    new = replace(stored.run(), environment={"fingerprint": "f", "cpu": "Another"})
    text = Page(render([new], compare(stored.run(), new))).text
    assert "Not comparable: " in text
    assert "cpu Intel(R) Xeon(R) Processor → Another" in text


def test_the_conditions_name_machine_software_threads_and_commit(page: Page) -> None:
    for fact in ("Intel(R) Xeon(R) Processor", "2.15.0", "1a2b3c4d5e6f on main", "OMP_NUM_THREADS 1", "AVX512"):
        assert fact in page.text


def test_warnings_name_the_cells_and_what_to_do(page: Page) -> None:
    for told in (
        "the kernel killed the worker at 23.1 GiB",
        "no result after 120 s, while timing",
        "fp16 needs a GPU",
        "Stop what else runs",
        "The step time did not settle",
        "Too few rounds for a confidence interval",
    ):
        assert told in page.text


def test_clocks_that_disagree_and_unknown_flags_are_told(stored: Any) -> None:
    run = stored.changed(stored.run(), CNN, flags=("clocks-disagree", "moonlit"))
    text = Page(render([run])).text
    assert "Device events and the host's clock tell different times" in text
    assert "Flagged moonlit" in text


def test_other_runs_are_listed(page: Page) -> None:
    assert "Other runs" in page.text
    assert "0001_1a2b3c_20260101_120000" in page.text


def only(status: str) -> Callable[[Run], Run]:
    return lambda run: replace(run, records=tuple(record for record in run.records if record.status == status))


def of_workload(workload: str) -> Callable[[Run], Run]:
    return lambda run: replace(run, records=tuple(record for record in run.records if record.cell.workload == workload))


@pytest.mark.parametrize("select", [only("oom"), only("skipped"), of_workload("input"), of_workload("accuracy")])
def test_a_run_of_one_kind_of_record_has_a_page_without_empty_sections(stored: Any, select: Any) -> None:
    run = select(stored.run())
    page = Page(render([run]))
    assert page.text.count("Throughput ") == 0
    assert [attributes for attributes in page.all("tr") if attributes.get("id")] != []
    assert not re.search(r"\b(nan|NaN|None)\b", page.text)


def test_every_status_has_a_row_and_its_reason(stored: Any) -> None:
    statuses = ["oom", "timeout", "crashed", "nan", "error", "skipped"]
    run = stored.run()
    records = [
        replace(record, status=status, reason=f"because of {status}", metrics={}, rounds=(), series={})
        for record, status in zip(run.records, statuses, strict=False)
    ]
    text = Page(render([replace(run, records=tuple(records))])).text
    assert all(f"because of {status}" in text for status in statuses)


def test_an_interrupted_run_says_so(stored: Any) -> None:
    run = stored.run()
    run = replace(run, records=run.records[:9], facts=replace(run.facts, complete=False, finished=None))
    text = Page(render([run])).text
    assert "The run was interrupted: 9 of 31 planned cells have a record" in text


def test_a_run_that_knows_nothing_of_its_machine_has_a_page(stored: Any) -> None:
    run = stored.run()
    assert Page(render([replace(run, environment={}, commit={})])).text


def test_gpus_and_facts_unknown_here_are_shown(stored: Any) -> None:
    run = stored.run()
    facts = {**run.environment, "gpus": [{"name": "Fast GPU", "memory_gib": 139}], "moon": "full"}
    text = Page(render([replace(run, environment=facts)])).text
    assert "Fast GPU (139 GiB)" in text
    assert "moon full" in text


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: name[:12].encode("ascii", "backslashreplace").decode())
def test_hostile_names_execute_nothing(stored: Any, name: str) -> None:
    run = stored.run()
    ok = next(record for record in run.records if record.label == CNN)
    learnt = next(record for record in run.records if record.cell.workload == "accuracy")
    hostile = [
        replace(ok, cell=Cell.of("train", model=name, precision=name, compile=name, batch_size=8), flags=(name,)),
        replace(ok, cell=Cell.of("train", model=name, precision=name, compile=name, batch_size=16)),
        replace(ok, cell=Cell.of("inference", model=name, precision=name)),
        replace(learnt, cell=Cell.of("accuracy", model=name, precision=name)),
        Record(Cell.of("train", model="x", dataset=name), "error", name),
    ]
    run = replace(
        run,
        name=name,
        records=tuple(hostile),
        commit={"id": name, "branch": name},
        environment={"fingerprint": name, "cpu": name, name: name, "gpus": [{"name": name}]},
    )
    page = Page(render([run, run], compare(run, run)))
    assert len(page.all("script")) == 1
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)
    assert all((attributes["src"] or "").startswith("data:image/svg+xml;base64,") for attributes in page.all("img"))
    assert "49" not in {word.strip() for word in page.words}
    assert "\u202e" not in page.text
    assert max(map(len, page.text.split(" "))) <= 400


GPU = {"fingerprint": "f00d", "gpus": [{"name": "NVIDIA H100", "memory_gib": 80}], "cuda": "13.0"}


def of_one_cell(run: Run) -> Run:
    return replace(run, records=run.records[:1])


def unmeasured(run: Run) -> Run:
    failed = [
        replace(record, status="crashed", reason="died", metrics={}, rounds=(), series={}) for record in run.records
    ]
    return replace(run, records=tuple(failed))


def interrupted(run: Run) -> Run:
    return replace(run, records=run.records[:5], facts=replace(run.facts, complete=False, finished=None))


def on_a_gpu(run: Run) -> Run:
    records = [
        replace(record, cell=Cell(record.cell.workload, tuple((record.cell.settings | {"device": "cuda"}).items())),
                metrics={**record.metrics, "device_allocated_bytes": 9 * 10**9})
        for record in run.records
        if record.status == "ok"
    ]  # fmt: skip
    return replace(run, records=tuple(records), environment=GPU)


def ngrams_alone(run: Run) -> Run:
    return replace(run, records=(Record(Cell("ngram_fit", (("engine", "numba"), ("order", 3))), "ok"),))


def without_accuracy(run: Run) -> Run:
    return replace(run, records=tuple(record for record in run.records if record.cell.workload != "accuracy"))


@pytest.mark.parametrize(
    ("make", "absent"),
    [
        (of_one_cell, ["inference was measured", "no accuracy was measured"]),
        (unmeasured, ["no training was measured", "no cell has several rounds"]),
        (interrupted, ["no accuracy was measured"]),
        (on_a_gpu, ["no energy counter was read"]),
        (ngrams_alone, ["no training was measured", "nothing to hold a setting against"]),
        (without_accuracy, ["no accuracy was measured"]),
    ],
)
def test_a_partial_run_has_a_page_that_says_what_is_absent(stored: Any, make: Any, absent: list[str]) -> None:
    page = Page(render([make(stored.run())]))
    assert all(told in page.text for told in absent), page.text
    assert not re.search(r"\b(nan|NaN|None|Undefined)\b", page.text)
    headings = [tag for tag, _ in page.elements if tag == "h2"]
    assert len(headings) >= 4
    assert all(len(attributes["src"] or "") > 600 for attributes in page.all("img"))


def test_a_run_of_five_hundred_cells_is_below_two_megabytes(stored: Any) -> None:
    run = stored.full_run()
    ok = [record for record in run.records if record.status == "ok" and record.cell.workload in ("train", "inference")]
    records = [
        replace(record, cell=Cell(record.cell.workload, tuple((record.cell.settings | changes).items())),
                rounds=tuple(seconds * (1 + number / 5e3) for number in range(100) for seconds in record.rounds[:1]))
        for size in (8, 16, 32, 64, 128, 256, 512, 1024)
        for layout in ("contiguous", "channels_last")
        for compiled in ("off", "default", "reduce-overhead", "max-autotune")
        for record in ok
        for changes in [{"batch_size": size, "memory_format": layout, "compile": compiled}]
    ]  # fmt: skip
    distinct = {record.key: record for record in records}  # precisions and batch sizes of the pattern meet
    big = replace(run, records=tuple(distinct.values())[:500])
    assert len(big.records) > 400
    page = render([big], compare(big, big))
    assert len(page.encode()) < 2_000_000 * len(big.records) / 500


def lesson(lecture: Lecture, folder: Path) -> list[Section]:
    """What the page shows of a lecture, from its file."""
    write_lecture(folder, lecture)
    return list(sections(folder))


def test_the_lecture_has_its_claims_with_verdicts_and_its_images(stored: Any, tmp_path: Path) -> None:
    page = Page(render([stored.run()], sections=lesson(stored.lecture(), tmp_path)))
    assert "2 of 6 claims hold, 2 fail, 2 could not be checked here." in page.text
    assert [word for word in page.words if word in ("holds", "fails", "unchecked")] == ["fails"] * 2 + ["holds"] * 2 + [
        "unchecked"
    ] * 2
    assert sum((attributes["src"] or "").startswith("data:image/png") for attributes in page.all("img")) == 9
    assert "What was learned" not in Page(render([stored.run()])).text


def test_a_section_is_among_those_of_all_workloads_and_the_head_links_to_it(stored: Any, tmp_path: Path) -> None:
    assert sections_of(tmp_path) == []
    (section,) = lesson(stored.lecture(), tmp_path)
    assert sections_of(tmp_path) == [section]
    page = Page(render([stored.run()], sections=[section]))
    links = {attributes["href"] for attributes in page.all("a")}
    assert {f"#{anchor}" for anchor, _ in section.links} <= links
    assert {anchor for anchor, _ in section.links} <= {one["id"] for _, one in page.elements if "id" in one}


def test_hostile_words_of_a_lecture_are_text(stored: Any, tmp_path: Path) -> None:
    lecture = stored.lecture()
    claims = tuple(replace(claim, said="</script><script>alert(1)</script>" * 100) for claim in lecture.claims)
    images = tuple(replace(image, caption='" onload="alert(1)') for image in lecture.images)
    hostile = lesson(replace(lecture, claims=claims, images=images), tmp_path)
    page = Page(render([stored.run()], sections=hostile))
    assert "alert(1)" in page.text
    assert len(page.all("script")) == 1
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)


# Two sides that were measured together


@pytest.fixture
def of_pairs(paired_page: str) -> Page:
    return Page(paired_page)


def test_a_paired_run_has_a_page_that_loads_nothing_and_whose_links_lead_somewhere(of_pairs: Page) -> None:
    for tag, attributes in of_pairs.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
    ids = [attributes["id"] for _, attributes in of_pairs.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(attributes["href"] or "")[1:] for attributes in of_pairs.all("a")} <= set(ids)
    assert len(of_pairs.all("caption")) == len(of_pairs.all("table")) == 7
    assert not re.search(r"\b(nan|NaN|None|Undefined)\b", of_pairs.text)


def test_the_page_of_pairs_begins_with_the_verdict_and_gives_each_ratio_with_interval_and_pairs(of_pairs: Page) -> None:
    headings = [tag for tag, _ in of_pairs.elements if tag == "h2"]
    assert len(headings) == 4
    text = of_pairs.text
    assert text.index("Regressed: 5 of 31 cells are worse, failed or missing against v1.2; ") < text.index(
        "Did it get worse?"
    )
    assert "the working tree against v1.2 · 31 configurations · 420 pairs in 412 s" in text
    assert "train mlp 256 cpu fp32 regressed +8.0% +7.8% to +8.1% 1.00 s → 1.08 s 48 step time" in text
    assert "train mlp 256 cpu bf16 inconclusive +0.9% +0.6% to +1.3% 1.00 s → 1.01 s 9 3 dropped" in text


def test_the_band_of_a_cell_is_its_own_margin_and_its_mark_is_of_its_verdict(paired_page: str) -> None:
    rows = dict(re.findall(r"<tr id=\"(.*?)\">(.*?)</tr>", paired_page, re.DOTALL))
    wide, narrow = rows[anchor("train batch_size=256")], rows[anchor("train batch_size=256 model=cnn")]
    bands = [float(re.search(r'class="band" d="M[\d.]+ 0h([\d.]+)', row)[1]) for row in (wide, narrow)]  # type: ignore[index]
    assert bands[0] / bands[1] == pytest.approx(5 / 3, rel=0.02)  # 3%,train mlp=5%
    counted = rows[anchor("train model=cnn")]
    assert 'class="word regressed"' in counted and 'class="bar' not in counted and "parameters" in counted


def test_the_page_of_pairs_tells_what_was_counted_and_differs(of_pairs: Page, stored: Any) -> None:
    section = (
        of_pairs.text.partition("What else differs Verdict")[2] or of_pairs.text.rpartition("What else differs")[2]
    )
    assert "train cnn 64 cpu fp32 parameters 1,070,794 9 exactly regressed" in section
    assert "inference cnn 256 cpu fp32 operators per step 60 61 told, not judged incomparable" in section
    assert "inference cnn 256 cpu fp32 peak memory 514 MB 900 MB within 10% regressed" in section
    run = stored.run("20260101T120000-abcdef")
    memory = next(one for one in run.records if one.label == CNN).metrics["peak_memory_bytes"]
    same = stored.paired(run, stored.with_metrics(run, CNN, peak_memory_bytes=memory + 4096), {})  # reads the same
    assert "As they are written here, none of them differs." in Page(render_paired(same, compare_paired(same))).text


def test_the_page_of_pairs_shows_what_both_sides_were_measured_in(of_pairs: Page) -> None:
    conditions = of_pairs.text.rpartition("Baseline: v1.2")[2]
    assert "PyTorch 2.11.0 2.15.0" in conditions
    assert "Commit 77aa88bb99cc 1a2b3c4d5e6f on main, with uncommitted changes" in conditions
    assert "Processor Intel(R) Xeon(R) Processor Cores" in conditions  # said once where it is the same


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: name[:12].encode("ascii", "backslashreplace").decode())
def test_hostile_names_of_a_side_execute_nothing(stored: Any, name: str) -> None:
    run = stored.run()
    record = replace(next(one for one in run.records if one.label == CNN), cell=Cell.of("train", model=name))
    new = replace(run, name=name, records=(replace(record, metrics={**record.metrics, "parameters": 1}),))
    base = replace(run, records=(record,), environment={"cpu": name, name: name}, commit={"id": name, "branch": name})
    paired = stored.paired(base, new, {record.key: 1.08}, name)
    page = Page(render_paired(paired, compare_paired(paired)))
    assert len(page.all("script")) == 1
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)
    assert "49" not in {word.strip() for word in page.words}
    assert "\u202e" not in page.text


def test_html_takes_a_paired_run_by_its_side_its_name_or_its_file(
    stored: Any, reports_command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_paired_run(stored.paired_run(), stored.folder)
    pages = []
    for name in ("latest", "v1.2", "9f8e7d", str(file)):
        assert reports_command("html", name, "-o", tmp_path / "page.html") == 0
        pages.append((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "against v1.2" in pages[0]
    assert len(set(pages)) == 1
    stored.store(stored.run())
    assert reports_command("html", "latest", "-o", tmp_path / "page.html") == 0
    assert "against v1.2" not in (tmp_path / "page.html").read_text(encoding="utf-8")  # of stored runs the latest
    assert reports_command("html", "v1.2", "--baseline", "latest") == 2
    assert "name it alone" in capsys.readouterr().err


def test_the_margin_of_the_page_of_pairs_is_an_option(stored: Any, reports_command: Any, tmp_path: Path) -> None:
    run = stored.run("20260101T120000-abcdef")
    write_paired_run(stored.paired(run, run, {"train": 1.08}), stored.folder)
    verdicts = []
    for margin in ("3%", "20%"):
        assert reports_command("html", "abcdef", "--margin", margin, "-o", tmp_path / "page.html") == 0
        verdicts.append("Regressed" in (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert verdicts == [True, False]
