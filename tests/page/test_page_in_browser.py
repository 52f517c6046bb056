"""The page as a browser shows it; skipped where there is none, except in continuous integration."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainmark.advise.reproduce import command
from trainmark.judge.verdict import judge
from trainmark.page.html import render

EXAMPLE = Path(__file__).parents[2] / "reports" / "example" / "report.html"
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
    WebDriverWait(shown, 60).until(lambda it: it.find_elements("css selector", ".group thead button"))
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
        "[...document.querySelectorAll('#of-train thead button')]"
        ".find(button => button.textContent.startsWith(arguments[0])).click()",
        header,
    )


def column(browser: Any, header: str, workload: str = "train") -> list[str]:
    """The visible texts of a column of a workload's table, without their intervals."""
    return browser.execute_script(
        "const table = document.querySelector(`#of-${arguments[1]} > .paper > table`);"
        "const at = [...table.tHead.rows[0].cells].findIndex(one => one.textContent.startsWith(arguments[0]));"
        "return [...table.tBodies[0].rows].filter(row => !row.hidden)"
        ".map(row => row.cells[at].firstChild.textContent.trim())",
        header,
        workload,
    )


def shown(browser: Any) -> list[str]:
    """Workload and name of each configuration that no filter hides."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.group > .paper tbody tr[id]')].filter(row => row.checkVisibility())"
        ".map(row => `${row.dataset.f.split('|')[0]} ${row.cells[0].firstChild.textContent}`)"
    )


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace(",", "")) for text in texts if text[0].isdigit()]


def type_filter(browser: Any, words: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = browser.find_element("id", "filter")
    field.send_keys(Keys.CONTROL + "a" + Keys.NULL + Keys.DELETE + words)


def test_the_table_has_a_row_a_cell_and_the_console_no_errors(opened: Any, stored: Any) -> None:
    rows = opened.find_elements("css selector", ".group > .paper tbody tr[id]")
    assert len(rows) == len(stored.run().records)
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


def in_order(opened: Any, words: list[str]) -> list[str]:
    """As a browser orders words with numbers in them."""
    ordered = "return arguments[0].sort((a, b) => a.localeCompare(b, 'en', {numeric: true}))"
    found: list[str] = opened.execute_script(ordered, words)
    return found


def test_words_are_sorted_as_words(opened: Any) -> None:
    press(opened, "Configuration")
    names = column(opened, "Configuration")
    assert names == in_order(opened, names)
    assert names.index("cnn, batch 64, fp32") < names.index("cnn, batch 256, fp32")  # numbers in them as numbers
    assert names.index("cnn, batch 256, fp32") < names.index("mlp, batch 64, fp32")


def test_headers_are_reached_and_pressed_with_the_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    header = opened.find_element("css selector", "#of-train thead button")
    before = column(opened, "Configuration")
    header.send_keys(Keys.ENTER)
    assert opened.execute_script("return document.activeElement.tagName") == "BUTTON"
    assert column(opened, "Configuration") != before
    assert column(opened, "Configuration") == in_order(opened, before)


def test_the_filter_keeps_the_rows_that_have_every_word(opened: Any) -> None:
    type_filter(opened, "CNN bf16")
    assert shown(opened) == ["train cnn, batch 64, bf16", "train cnn, batch 256, bf16", "inference cnn, bf16"]
    assert opened.find_element("id", "shown").text == "3 of 31 configurations"
    type_filter(opened, "")
    assert opened.find_element("id", "shown").text == "31 of 31 configurations"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("compiled", ["train mlp, batch 256, fp32, compiled", "train cnn, batch 256, fp32, compiled"]),
        ("compile=default cnn", ["train cnn, batch 256, fp32, compiled"]),  # as the terminal has it
        ("oom", ["train resnet20, batch 256, fp32"]),
        ("few-rounds", ["inference mlp, bf16"]),
        ("inference eager cnn fp32", ["inference cnn, fp32"]),  # that it is eager goes without saying
    ],
)
def test_the_filter_knows_the_words_of_the_page(opened: Any, words: str, found: list[str]) -> None:
    type_filter(opened, words)
    assert shown(opened) == found


def test_each_picture_is_drawn(opened: Any) -> None:
    widths = opened.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert widths
    assert all(width > 0 for width in widths)


def test_without_javascript_table_and_verdict_are_there(browser: Any, stored: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    comparison = stored.compared(stored.run(), stored.run())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, tmp_path, render([stored.run()], comparison))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    for fold in browser.find_elements("css selector", ".group:not([open]) > summary"):
        fold.send_keys(Keys.ENTER)  # without a script a browser folds and unfolds by itself
    rows = browser.find_elements("css selector", ".group > .paper tbody tr")
    assert len(rows) == len(stored.run().records)
    assert all(row.is_displayed() for row in rows)
    assert browser.find_elements("css selector", "main button:not([type=reset])") == []
    assert not browser.find_element("css selector", ".tools").is_displayed()
    assert judge(comparison).sentence in browser.find_element("css selector", "h1").text
    commands = browser.find_elements("css selector", ".commands li code")
    assert len(commands) == len(stored.run().records)


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


def with_theme(browser: Any, name: str, media: str = "") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": media, "features": [{"name": "prefers-color-scheme", "value": name}]},
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
    from selenium.webdriver.common.keys import Keys

    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, tmp_path, paired_page)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "Regressed: 5 of 31 cells" in browser.find_element("css selector", "h1").text
    browser.find_element("css selector", ".fold:not([open]) > summary").send_keys(Keys.ENTER)
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
    assert shown(opened) == ["train cnn, batch 64, bf16", "train cnn, batch 256, bf16", "inference cnn, bf16"]
    opened.find_element("css selector", ".tools [type=reset]").send_keys(" ")
    assert opened.execute_async_script("setTimeout(arguments[0], 50, true)")
    assert opened.find_element("id", "shown").text == "31 of 31 configurations"


def test_only_regressed_shows_those_that_fail_the_check(opened: Any) -> None:
    opened.find_element("id", "worse").send_keys(" ")
    assert shown(opened) == ["train cnn, batch 256, fp32"]
    assert column(opened, "Against baseline") == ["regressed"]


def test_the_address_keeps_what_was_chosen(opened: Any) -> None:
    choose(opened, "Model", "cnn")
    type_filter(opened, "train")
    press(opened, "Step time")
    cells, address = column(opened, "Configuration"), opened.current_url
    assert {"Model=cnn", "q=train", "down=1"} <= set(address.partition("?")[2].split("&"))
    times = column(opened, "Step time")
    opened.get("about:blank")
    opened.get(address)
    assert (column(opened, "Configuration"), column(opened, "Step time")) == (cells, times)
    assert opened.find_element("id", "filter").get_attribute("value") == "train"


def test_a_link_to_a_row_leads_to_it_even_where_a_filter_hides_it(opened: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    target = opened.find_element("css selector", "#of-input tbody tr:last-child")  # in a folded part
    name, address = target.get_attribute("id"), opened.current_url
    opened.get("about:blank")
    opened.get(f"{address}?q=nothing-has-this#{name}")

    def shown() -> list[str]:
        rows = opened.find_elements("css selector", ".group > .paper tbody tr")
        return [row.get_attribute("id") for row in rows if row.is_displayed()]

    WebDriverWait(opened, 10).until(lambda _: shown())  # a busy machine draws late
    assert shown() == [name]
    assert opened.execute_script("return document.querySelector(':target').id") == name


def test_every_control_is_reached_with_the_keyboard(opened: Any) -> None:
    reached = opened.execute_script(
        "return [...document.querySelectorAll('a, button, input, select, summary, [role=group]')]"
        ".filter(one => one.getClientRects().length && one.tabIndex < 0).length"
    )
    assert reached == 0


def test_the_verdict_is_the_first_thing_on_the_page(opened: Any) -> None:
    findings = opened.find_elements("css selector", "h1 .finding")
    assert "is worse, failed or missing against 0001_1a2b3c_20260101_120000" in findings[0].text
    told = " ".join(finding.text for finding in findings[1:])
    assert all(
        f"{model}: " in told or f"Train {model} " in told for model in ("mlp", "mlp-residual", "cnn", "resnet20")
    )
    assert all(finding.rect["y"] + finding.rect["height"] < 400 for finding in findings)
    headings = opened.find_elements("css selector", "main h2")
    assert [heading.text for heading in headings[:2]] == ["Did it get worse?", "Against the baseline"]
    assert headings[0].rect["y"] < 500


UNCUT = """
const width = document.documentElement.clientWidth, told = [];
const unseen = ".unseen, .skip, .cards thead";
for (const one of document.querySelectorAll("table, tr, th, td, img, svg, code, figure, p, li, dd")) {
  const place = one.getBoundingClientRect();
  if (!one.checkVisibility() || one.closest(unseen)) continue;
  const name = `${one.tagName} ${one.className}`;
  if (place.right > width + 1 || place.left < -1) told.push(`${name} ends at ${Math.round(place.right)}`);
  const around = one.parentElement.getBoundingClientRect();
  if (one.matches("table, img") && place.right > around.right + 1) told.push(`${name} is wider than what holds it`);
}
for (const one of document.querySelectorAll("main *, header *, nav")) {
  const style = getComputedStyle(one), name = `${one.tagName} ${one.className}`;
  if (one.closest(unseen) || !one.checkVisibility() || one.closest("svg, select, input")) continue;
  if (/auto|scroll/.test(style.overflowX + style.overflowY)) told.push(`${name} scrolls`);
  if (/hidden|clip/.test(style.overflowX) && one.scrollWidth > one.clientWidth + 1) told.push(`${name} hides`);
}
return told;
"""


@pytest.mark.parametrize("page", ["everything_page", "paired_page"])
@pytest.mark.parametrize(("width", "media"), [(1280, "screen"), (400, "screen"), (718, "print")])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_and_no_box_scrolls_with_all_unfolded(
    browser: Any, request: pytest.FixtureRequest, tmp_path: Path, page: str, width: int, media: str, theme: str
) -> None:
    with_theme(browser, theme, media)
    show(browser, tmp_path, request.getfixturevalue(page), width)
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    told = browser.execute_script(UNCUT)
    scrolled = browser.execute_script("return document.documentElement.scrollWidth")
    with_theme(browser, "light")
    assert told == []
    assert scrolled <= width


def test_a_phone_has_cards_whose_fields_say_what_they_are(browser: Any, regressed_page: str, tmp_path: Path) -> None:
    show(browser, tmp_path, regressed_page, 400)
    row = "document.querySelector('#of-train tbody tr')"
    assert browser.execute_script(f"return getComputedStyle({row}).display") == "flex"
    titles = browser.execute_script(
        f"return [...{row}.cells].slice(1).map(cell => getComputedStyle(cell, '::before').content)"
    )
    headers = browser.execute_script(
        "return [...document.querySelector('#of-train thead tr').cells].slice(1).map(one => one.textContent)"
    )
    assert titles == [f'"{header}"' for header in headers]


CONTRAST = """
const channel = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const rgb = (color) => color.match(/[0-9.]+/g).map(Number);
const told = [];
let texts = 0;
for (const picture of document.querySelectorAll("div > svg")) {
  const shapes = [...picture.querySelectorAll("path, rect")].filter((one) => {
    const style = getComputedStyle(one), covers = Number(style.fillOpacity) * Number(style.opacity) > 0.5;
    return style.fill !== "none" && covers && !one.closest("defs, clipPath");
  }).map((one) => [one.getBoundingClientRect(), rgb(getComputedStyle(one).fill)]);
  const card = rgb(getComputedStyle(picture.parentElement).backgroundColor);
  for (const text of picture.querySelectorAll("text")) {
    if (!text.textContent.trim()) continue;
    texts += 1;
    const place = text.getBoundingClientRect();
    const x = (place.left + place.right) / 2, y = (place.top + place.bottom) / 2;
    const under = ([box]) => box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
    const behind = shapes.filter(under).at(-1)?.[1] ?? card;
    const both = [rgb(getComputedStyle(text).fill), behind].map(luminance).sort((a, b) => b - a);
    const ratio = (both[0] + 0.05) / (both[1] + 0.05);
    if (ratio < 4.5) told.push(`${text.textContent}: ${ratio.toFixed(2)}`);
  }
}
return [told, texts];
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_in_a_picture_has_a_contrast_of_four_and_a_half(
    browser: Any, everything_page: str, tmp_path: Path, theme: str
) -> None:
    with_theme(browser, theme)
    card = {"light": "#fff", "dark": "#171c22"}[theme]
    assert re.search(rf"--card: light-dark\([^)]*{card}", everything_page)
    pictures = [base64.b64decode(found).decode() for found in re.findall(r"svg\+xml;base64,([^\"]+)", everything_page)]
    divs = "".join(f'<div style="background: {card}">{picture}</div>' for picture in pictures)
    show(browser, tmp_path, f"<!doctype html><meta charset=utf-8>{divs}")
    told, texts = browser.execute_script(CONTRAST)
    with_theme(browser, "light")
    assert told == []
    assert texts > 300


def test_a_command_is_copied_with_its_commit(opened: Any, stored: Any) -> None:
    opened.execute_script("navigator.clipboard.writeText = async text => { window.copied = text; }")
    row = opened.find_element("css selector", "#of-train tbody tr")
    row.find_element("css selector", "th > button").send_keys(" ")
    copied = opened.execute_script("return window.copied").splitlines()
    run = stored.run()
    assert copied[0] == f"git switch --detach {run.commit['id']}"
    assert sorted(copied[1].split()) == sorted(command(run.records[0], run).split())
    assert copied[1].startswith("pytest bench ")
    line = opened.find_element("css selector", ".command")
    line.find_element("tag name", "button").send_keys(" ")
    assert opened.execute_script("return window.copied") == line.find_element("tag name", "code").text


def test_resting_on_a_mark_shows_its_value(browser: Any, everything_page: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    show(browser, tmp_path, everything_page)
    browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    browser.execute_script("document.querySelector('#why').scrollIntoView()")
    spot = browser.find_element("css selector", "#why ~ .gallery .spots circle")
    ActionChains(browser).move_to_element(spot).perform()
    tip = browser.find_element("css selector", ".tip")
    assert tip.is_displayed()
    assert re.fullmatch(r"train mlp, batch 256, fp32: data 5\.0%", tip.text)
    place, at = tip.rect, spot.rect
    assert 0 <= at["y"] - (place["y"] + place["height"]) < 12  # right above it


def test_the_example_is_read_in_a_third_of_its_old_length_and_printed_on_six_sheets(browser: Any) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(EXAMPLE.as_uri())
    assert browser.execute_script("return document.documentElement.scrollHeight") <= 13_660 / 3
    a4 = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", a4)["data"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 6
