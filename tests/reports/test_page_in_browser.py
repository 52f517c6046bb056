"""The page as a browser shows it; skipped where there is none, except in continuous integration."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.html import render

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
    """The browser with the page of a run that regressed against another, at the width of a desk."""
    return show(browser, tmp_path, regressed_page)


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
    browser.execute_script(
        "const field = document.getElementById('filter');"
        "field.value = arguments[0]; field.dispatchEvent(new Event('input'))",
        words,
    )


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
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, tmp_path, render([stored.run()], stored.compared(stored.run(), stored.run())))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    rows = browser.find_elements("css selector", "#cells ~ .scroll tbody tr")
    assert len(rows) == len(stored.run().records)
    assert all(row.is_displayed() for row in rows)
    assert browser.find_elements("css selector", "thead button") == []
    assert not browser.find_element("css selector", ".tools").is_displayed()
    assert browser.find_element("id", "verdict").text.endswith("2 of them undecided.")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_never_scrolls_sideways_even_with_hostile_names(
    browser: Any, stored: Any, tmp_path: Path, width: int
) -> None:
    from dataclasses import replace

    from results.cell import Cell

    run = stored.run()
    cell = Cell.of("train", model="m" * 10_000, precision="</script><script>document.title='owned'</script>")
    record = replace(run.records[0], cell=cell, flags=("f" * 10_000,))
    run = replace(run, name="n" * 10_000, records=(record, *run.records), environment={"cpu": "c" * 10_000})
    show(browser, tmp_path, render([run, run], stored.compared(run, run)), width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert "owned" not in browser.title
    assert browser.get_log("browser") == []
