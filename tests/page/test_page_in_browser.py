"""The page as a browser shows it; skipped where there is none, except in continuous integration."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainmark.judge.verdict import judge
from trainmark.page.html import render

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


AXE = "axe_playwright_python"  # ships axe-core, which is all that is taken of it


def lacking(what: str) -> None:
    """Skips, or fails in continuous integration, where a browser is promised."""
    if os.environ.get("CI"):
        pytest.fail(f"no {what}: install chromium and its driver", pytrace=False)
    pytest.skip(f"no {what}: install chromium and its driver to run these tests")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ModuleNotFoundError:
        lacking("selenium")
    if program is None or driver is None:
        lacking("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = program or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def opened(browser: Any, regressed_page: str, tmp_path: Path) -> Any:
    """The browser with the page of a run that regressed against another, at the width of a desk, its script run."""
    from selenium.webdriver.support.wait import WebDriverWait

    shown = show(browser, tmp_path, regressed_page)
    # On a loaded machine the driver may answer from the page before: the buttons are what the script makes.
    WebDriverWait(shown, 60).until(lambda it: it.find_elements("css selector", "#cells ~ .scroll thead button"))
    return shown


def show(browser: Any, folder: Path, text: str, width: int = 1280) -> Any:
    page = folder / "report.html"
    page.write_text(text, encoding="utf-8", errors="replace")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(page.as_uri())
    return browser


def press(browser: Any, header: str) -> None:
    browser.execute_script(
        "[...document.querySelectorAll('#cells ~ .scroll thead button')]"
        ".find(button => button.textContent.startsWith(arguments[0])).click()",
        header,
    )


def column(browser: Any, header: str) -> list[str]:
    """The visible texts of a column of the main table, without their intervals."""
    return browser.execute_script(
        "const table = document.querySelector('#cells ~ .scroll table');"
        "const at = [...table.tHead.rows[0].cells].findIndex(one => one.textContent.startsWith(arguments[0]));"
        "return [...table.tBodies[0].rows].filter(row => !row.hidden)"
        ".map(row => row.cells[at].firstChild.textContent.trim())",
        header,
    )


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace(",", "")) for text in texts if text[0].isdigit()]


def type_filter(browser: Any, words: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = browser.find_element("id", "filter")
    field.send_keys(Keys.CONTROL + "a" + Keys.NULL + Keys.DELETE + words)


def test_the_table_has_a_row_a_cell_and_the_console_no_errors(opened: Any, stored: Any) -> None:
    assert len(column(opened, "Cell")) == len(stored.run().records)
    assert opened.get_log("browser") == []


def test_pressing_a_header_sorts_and_pressing_again_reverses(opened: Any) -> None:
    press(opened, "Step time")
    descending = numbers(column(opened, "Step time"))
    assert descending == sorted(descending, reverse=True)
    press(opened, "Step time")
    texts = column(opened, "Step time")
    assert numbers(texts) == sorted(descending)
    assert not texts[-1][0].isdigit()  # what was not measured stays last
    sorted_by = opened.execute_script("return [...document.querySelectorAll('[aria-sort]')].map(h => h.ariaSort)")
    assert sorted_by == ["ascending"]


def test_words_are_sorted_as_words(opened: Any) -> None:
    press(opened, "Precision")
    precisions = [word for word in column(opened, "Precision") if word.isalnum()]
    assert precisions == sorted(precisions)


def test_headers_are_reached_and_pressed_with_the_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    header = opened.find_element("css selector", "#cells ~ .scroll thead button")
    header.send_keys(Keys.ENTER)
    assert opened.execute_script("return document.activeElement.tagName") == "BUTTON"
    assert column(opened, "Cell") == sorted(column(opened, "Cell"))


def test_the_filter_keeps_the_rows_that_have_every_word(opened: Any) -> None:
    type_filter(opened, "CNN bf16")
    assert column(opened, "Cell") == ["train cnn", "train cnn", "inference cnn"]
    assert opened.find_element("id", "shown").text == "3 of 31 cells"
    type_filter(opened, "")
    assert opened.find_element("id", "shown").text == "31 of 31 cells"


def test_each_picture_is_drawn(opened: Any) -> None:
    widths = opened.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert widths
    assert all(width > 0 for width in widths)


def test_without_javascript_table_and_verdict_are_there(browser: Any, stored: Any, tmp_path: Path) -> None:
    comparison = stored.compared(stored.run(), stored.run())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, tmp_path, render([stored.run()], comparison))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    rows = browser.find_elements("css selector", "#cells ~ .scroll tbody tr")
    assert len(rows) == len(stored.run().records)
    assert all(row.is_displayed() for row in rows)
    assert browser.find_elements("css selector", "thead button") == []
    assert not browser.find_element("css selector", ".tools").is_displayed()
    assert browser.find_element("id", "verdict").text.endswith(judge(comparison).sentence)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_never_scrolls_sideways_even_with_hostile_names(
    browser: Any, stored: Any, tmp_path: Path, width: int
) -> None:
    from dataclasses import replace

    from trainmark.store.cell import Cell

    run = stored.run()
    cell = Cell.of("train", model="m" * 10_000, precision="</script><script>document.title='owned'</script>")
    record = replace(run.records[0], cell=cell, flags=("f" * 10_000,))
    run = replace(run, name="n" * 10_000, records=(record, *run.records), environment={"cpu": "c" * 10_000})
    show(browser, tmp_path, render([run, run], stored.compared(run, run)), width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert "owned" not in browser.title
    assert browser.get_log("browser") == []


def with_theme(browser: Any, name: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]}
    )


@pytest.fixture(scope="module")
def axe() -> str:
    package = importlib.util.find_spec(AXE)
    if package is None or package.origin is None:
        lacking(AXE)
    return (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("page", ["everything_page", "paired_page"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_no_violation(
    browser: Any, request: pytest.FixtureRequest, tmp_path: Path, axe: str, page: str, theme: str, width: int
) -> None:
    with_theme(browser, theme)
    show(browser, tmp_path, request.getfixturevalue(page), width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.execute_script(axe)
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    told = [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
    assert told == []
    assert len(found["passes"]) > 20


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_the_theme_and_the_button_overrules_it(opened: Any, theme: str) -> None:
    with_theme(opened, theme)
    opened.refresh()
    background = "return getComputedStyle(document.body).backgroundColor"
    before = opened.execute_script(background)
    assert (before == "rgb(16, 20, 24)") == (theme == "dark")
    button = opened.find_element("id", "theme")
    seen = []
    for _ in range(3):
        button.click()
        seen.append((button.text, opened.execute_script(background) == "rgb(16, 20, 24)"))
    assert seen == [("Theme: light", False), ("Theme: dark", True), ("Theme: system", theme == "dark")]


@pytest.mark.parametrize("page", ["everything_page", "paired_page"])
def test_nothing_is_requested_beside_the_page(
    browser: Any, request: pytest.FixtureRequest, tmp_path: Path, page: str
) -> None:
    show(browser, tmp_path, request.getfixturevalue(page))
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []


def test_the_page_of_pairs_is_whole_without_javascript_and_follows_the_button_with_it(
    browser: Any, paired_page: str, tmp_path: Path
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, tmp_path, paired_page)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "Regressed: 5 of 31 cells" in browser.find_element("id", "verdict").text
    rows = browser.find_elements("css selector", "table.pairs tbody tr")
    assert len(rows) == 31
    assert all(row.is_displayed() for row in rows)
    assert not browser.find_element("id", "theme").is_displayed()
    with_theme(browser, "light")
    browser.refresh()
    browser.find_element("id", "theme").click()
    browser.find_element("id", "theme").click()
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 24)"
    assert browser.get_log("browser") == []


def choose(browser: Any, title: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    label = next(one for one in browser.find_elements("css selector", "#facets label") if one.text.startswith(title))
    Select(label.find_element("tag name", "select")).select_by_visible_text(value)


def test_facets_narrow_the_table_and_showing_all_widens_it(opened: Any, stored: Any) -> None:
    choose(opened, "Model", "cnn")
    choose(opened, "Precision", "bf16")
    assert column(opened, "Cell") == ["train cnn", "train cnn", "inference cnn"]
    assert set(column(opened, "Precision")) == {"bf16"}
    opened.find_element("css selector", ".tools [type=reset]").send_keys(" ")
    assert opened.execute_async_script("setTimeout(arguments[0], 50, true)")
    assert len(column(opened, "Cell")) == len(stored.run().records)


def test_only_regressed_shows_those_that_fail_the_check(opened: Any) -> None:
    opened.find_element("id", "worse").send_keys(" ")
    assert column(opened, "Cell") == ["train cnn"]
    assert column(opened, "Against base") == ["regressed"]


def test_the_address_keeps_what_was_chosen(opened: Any) -> None:
    choose(opened, "Model", "cnn")
    type_filter(opened, "train")
    press(opened, "Step time")
    cells, address = column(opened, "Cell"), opened.current_url
    assert {"Model=cnn", "q=train", "down=1"} <= set(address.partition("?")[2].split("&"))
    times = column(opened, "Step time")
    opened.get("about:blank")
    opened.get(address)
    assert (column(opened, "Cell"), column(opened, "Step time")) == (cells, times)
    assert opened.find_element("id", "filter").get_attribute("value") == "train"


def test_a_link_to_a_row_leads_to_it_even_where_a_filter_hides_it(opened: Any) -> None:
    target = opened.find_element("css selector", "#cells ~ .scroll tbody tr:last-child")
    name, address = target.get_attribute("id"), opened.current_url
    opened.get("about:blank")
    opened.get(f"{address}?q=nothing-has-this#{name}")
    shown = [row for row in opened.find_elements("css selector", "#cells ~ .scroll tbody tr") if row.is_displayed()]
    assert [row.get_attribute("id") for row in shown] == [name]
    assert opened.execute_script("return document.querySelector(':target').id") == name


def test_every_control_is_reached_with_the_keyboard(opened: Any) -> None:
    reached = opened.execute_script(
        "return [...document.querySelectorAll('a, button, input, select, summary, [role=group]')]"
        ".filter(one => one.getClientRects().length && one.tabIndex < 0).length"
    )
    assert reached == 0


def test_the_verdict_is_the_first_thing_on_the_page(opened: Any) -> None:
    headings = opened.find_elements("css selector", "main h2")
    assert "is worse, failed or missing against 0001_1a2b3c_20260101_120000" in headings[0].text
    assert headings[0].rect["y"] < 400
