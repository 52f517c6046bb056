"""The differential flame graph on the page: boxes below their callers, as wide as what they moved, without script."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from call_trees import held, profile

from trainmark.judge.flame import Times, difference
from trainmark.page.flame_graph import MOST, ROW, Box, flame_graph, sections
from trainmark.page.html import render

TIMES = Times(0.1, 0.009, 0.01, 0.011)
BASE = {"forward": (2.0, {"addmm": 20.0, "relu": 5.0}), "backward": (3.0, {"mm": 30.0}), "step": 10.0}
NEW = {"forward": (2.0, {"addmm": 28.0, "relu": 4.0}), "backward": (3.0, {"mm": 31.0}), "step": 12.0}
FOUND = held(BASE, NEW, (100, 110), TIMES)


def boxes(side: str) -> dict[str, Box]:
    return {re.split(r" [+\N{MINUS SIGN}]", box.text)[0]: box for box in flame_graph(FOUND).boxes if box.side == side}


def test_a_box_is_as_wide_as_what_it_moved_of_all_that_moved() -> None:
    moved = FOUND.slower + FOUND.faster
    assert moved == pytest.approx(0.012)
    slower = boxes("slower")
    assert slower["addmm"].width == pytest.approx(100 * 8 / 12, abs=0.01)
    assert slower["step"].width == pytest.approx(100 * 2 / 12, abs=0.01)
    assert boxes("faster")["relu"].width == pytest.approx(100 * 1 / 12, abs=0.01)


def test_right_less_left_is_the_difference() -> None:
    graph = flame_graph(FOUND)
    whole = {box.side: box.width for box in graph.boxes if box.top == 0}
    assert whole["slower"] - whole["faster"] == pytest.approx(100 * 0.010 / 0.012, abs=0.01)
    assert whole["slower"] + whole["faster"] == pytest.approx(100)
    assert graph.middle == pytest.approx(whole["faster"])
    assert "add up to +10.0 ms, +11.0 ms and \N{MINUS SIGN}1.00 ms, as timed without a profiler" in graph.remark


@pytest.mark.parametrize("side", ["slower", "faster"])
def test_a_box_lies_below_its_caller_and_beside_its_neighbours(side: str) -> None:
    rows: dict[int, list[Box]] = defaultdict(list)
    for box in flame_graph(FOUND).boxes:
        if box.side == side:
            rows[box.top].append(box)
    for top, some in rows.items():
        ordered = sorted(some, key=lambda box: box.left)
        assert all(a.left + a.width <= b.left + 0.01 for a, b in pairwise(ordered))
        for box in some if top else ():
            above = rows[top - ROW]
            assert any(a.left - 0.01 <= box.left and box.left + box.width <= a.left + a.width + 0.01 for a in above)


def test_words_are_shown_where_they_have_room_and_never_cut() -> None:
    shown = {
        box.title.partition(":")[0]: (box.text, box.room) for box in flame_graph(FOUND).boxes if box.side == "slower"
    }
    assert shown["addmm"] == ("addmm +8.00 ms", "roomy")  # two thirds of the width
    assert shown["step"] == ("step +2.00 ms", "tight")  # a sixth: not on a phone
    assert shown["backward"] == ("backward", "tight")  # a twelfth: without its milliseconds


def test_the_largest_is_first_in_the_numbers_and_the_others_are_counted() -> None:
    graph = flame_graph(FOUND)
    assert graph.rows[0] == ("addmm", "+8.00 ms", "1", "1")
    many = {f"op{number}": float(number) for number in range(40)}
    assert flame_graph(held(many, {"op0": 0.0}, (1000, 220))).left_out == 39 - 15


def test_nothing_that_moved_is_a_drawing_without_boxes() -> None:
    graph = flame_graph(held({"a": 5.0}, {"a": 5.0}, (10, 10)))
    assert graph.boxes == ()
    assert sections([held({"a": 5.0}, {"a": 5.0}, (10, 10))])


def test_the_page_has_the_drawing_its_sentence_and_its_numbers_without_script(stored: Any) -> None:
    page = render([stored.run()], sections=sections([FOUND]))
    drawing = re.search(r'<svg class="flame".*?\n    </svg>', page, re.DOTALL)
    assert drawing is not None
    texts = [text.text for text in ElementTree.fromstring(drawing[0]).iter("text")]
    assert "addmm +8.00 ms" in texts
    assert "+10.0% [+9.0%, +11.0%] = 8.0 from addmm, 2.0 from step" in page
    assert "itself 20.0 ms → 28.0 ms" in page
    assert '<a href="#differing-operators">' in page
    assert sections([]) == []


def test_hostile_names_are_text(stored: Any) -> None:
    name = "<script>alert(1)</script>\x1b[31m"
    found = difference(profile({name: 1.0}), profile({name: 50.0}))
    assert found is not None
    page = render([stored.run()], sections=sections([replace(found, label=name, base=name)]))
    assert "<script>alert" not in page
    assert "\x1b" not in page


def test_many_differences_stay_below_500_kb_and_those_left_out_are_counted() -> None:
    """A ResNet's step has about 150 paths, as these have."""

    def paths(more: float) -> dict[str, Any]:
        called = {f"aten::some_longer_operator{part}": 1.0 + more * part for part in range(8)}
        return {f"autograd::engine::evaluate_function: SomeBackward{number}": (0.5, called) for number in range(20)}

    found = held(paths(0.0), paths(1.0), (200, 900), Times(0.1, 0.3, 0.4, 0.5))
    (section,) = sections([found] * (MOST + 3))
    assert len(section.html.encode()) < 500_000
    assert "3 more with smaller differences are not drawn." in section.html
    assert {box.text.partition(" ")[0] for box in flame_graph(found).boxes} >= {"all", "some_longer_operator7"}
